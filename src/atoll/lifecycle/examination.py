"""Examines a share server: asks its instance, the cloud, and the database about other servers."""

from __future__ import annotations

import time
from collections.abc import Mapping

from atoll.db import share_servers
from atoll.driver.answer import Answer
from atoll.lifecycle import stand_ins
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.recovery import Diagnosis, is_widespread
from atoll.model.keys import server_key
from atoll.model.records import ShareServer

TOGETHER = 120.0
"""Servers that fell silent within this many seconds of each other may have a common cause."""


def examine(backend: Backend, server: ShareServer, details: Mapping[str, str]) -> Diagnosis:
    """What is known of the server's instance now. It may take some seconds."""
    manager = backend.driver(None).service_instance_manager
    was_silent, renewal_wanted = server["unhealthy_since"] is not None, server["renewal_wanted"]
    # An instance that is gone or stopped need not be asked. One in error may still answer.
    is_off = manager.instance_is_off(details, or_failed=False)
    answer = Answer.SILENT if is_off else manager.answer(details)
    if answer != Answer.SILENT:
        backend.silences.ended(server["id"])
        return Diagnosis(answer, was_silent, renewal_wanted)
    instance = backend.cloud.compute.get_instance(details["instance_id"])
    window = max(TOGETHER, 2 * backend.settings.worker.reconcile_interval)
    with backend.database.read() as connection:
        silent, active = share_servers.count_silent(
            connection, server["host"], silent_since(server), window
        )
    silence = backend.silences.seen(
        server["id"],
        server["unhealthy_since"],
        longest_gap=backend.settings.driver.replace_dead_after / 2,
        counts=server["cure_confirmed"] or not is_widespread(silent, active),
    )
    is_served = instance is not None and manager.serves_nfs(details)
    return Diagnosis(
        answer,
        was_silent,
        renewal_wanted,
        silence.seconds,
        silence.reset_for,
        instance,
        manager.fence.look(server_key(server["id"]), details["instance_id"]),
        silent_together=max(1, silent),
        active=max(1, active),
        is_served=is_served,
        is_cut_off=instance is not None and not is_served and manager.serves_clients(details),
        is_confirmed=server["cure_confirmed"],
        has_stand_in=server["share_network_subnet_id"] is not None and stand_ins.is_ready(backend),
    )


def silent_since(server: ShareServer) -> float:
    """When the server was first found silent, in epoch seconds, but never a time in the future.

    Such a time was written while the clock was ahead.
    """
    now = time.time()
    return min(server["unhealthy_since"] or now, now)
