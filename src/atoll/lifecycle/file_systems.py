"""File systems of shares that have met errors: told to users once, and to operators.

Such a share stays ``available``, because most of them can still be read. What was found is kept
among the driver's data about the share, until its file system is sound again or the share is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import structlog

from atoll.db import private_data
from atoll.db.audit import FILE_SYSTEM_STATE
from atoll.db.messages import Action, Resource
from atoll.engine.operation import Operation
from atoll.guest.base import Health
from atoll.lifecycle.message import tell
from atoll.model.keys import share_key
from atoll.model.records import Share
from atoll.model.states import FileSystemState

log = structlog.get_logger(__name__)

TOLD: Mapping[FileSystemState, str] = {
    FileSystemState.ERRORS: "The share's file system has recorded errors. It is still served. Ask "
    "the administrator to have it checked.",
    FileSystemState.READ_ONLY: "The share's file system has met an error, and can only be read "
    "now. Ask the administrator to have it repaired.",
    FileSystemState.SHUT_DOWN: "The share's file system has met an error, and can't be read or "
    "written now. Ask the administrator to have it repaired.",
}


def note(operation: Operation, served: Iterable[Share], health: Health) -> None:
    """Store and tell what an instance found of the file systems of its mounted shares.

    ``served`` have the ``file_system_state`` that is stored. Only changes are written.
    """
    found = {one.share_id: one.file_system_state for one in health.shares if one.mounted}
    for share in served:
        state = found.get(share["id"], share["file_system_state"])
        if state != share["file_system_state"]:
            _change(operation, share, state)


def _change(operation: Operation, share: Share, state: FileSystemState) -> None:
    key = share_key(share["id"])
    with operation.transaction() as connection:
        if state == FileSystemState.SOUND:
            private_data.forget(connection, key, FILE_SYSTEM_STATE)
        else:
            private_data.write(connection, key, {FILE_SYSTEM_STATE: state}, sealed=False)
            tell(connection, operation, share, Resource.SHARE, Action.UPDATE, TOLD[state])
    if state == FileSystemState.SOUND:
        log.info("file_system.became_sound", share_id=share["id"])
    else:
        log.error("file_system.damaged", share_id=share["id"], state=state)
