"""The handler of each type of resource."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.engine.operation import Handler
from atoll.engine.periodic import Periodic
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.reconcile import Reconciliation
from atoll.lifecycle.share import ShareHandler
from atoll.lifecycle.share_network import ShareNetworkHandler
from atoll.lifecycle.share_server import ShareServerHandler
from atoll.lifecycle.snapshot import SnapshotHandler


def handlers(backend: Backend) -> Mapping[str, Handler | Periodic]:
    """The handlers by resource type, as in an operation's ``<type>/<id>``."""
    interval = backend.settings.worker.reconcile_interval
    return {
        "share": ShareHandler(backend),
        "snapshot": SnapshotHandler(backend),
        "share_network": ShareNetworkHandler(backend),
        "share_server": ShareServerHandler(backend),
        "reconcile": Periodic("reconcile", interval, Reconciliation(backend).run),
    }
