"""Drafts the next migration: ``python -m atoll.db.migrations "what changes"``."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.script import ScriptDirectory

from atoll.db.database import Database
from atoll.db.migrations import upgrade
from atoll.db.migrations.runner import config

with tempfile.TemporaryDirectory() as directory:
    database = Database(f"sqlite:///{Path(directory) / 'draft.db'}")
    heads = len(list(ScriptDirectory.from_config(config()).walk_revisions()))
    if heads:
        upgrade(database)
    with database.engine.connect() as connection:
        command.revision(
            config(connection),
            message=" ".join(sys.argv[1:]),
            autogenerate=True,
            rev_id=f"{heads + 1:04d}",
        )
