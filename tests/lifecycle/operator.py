"""Who has a shell on the machine of a deployment, and backups of its database."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from sqlalchemy import delete, insert, select
from typer.testing import CliRunner, Result

from atoll.cli.main import app
from atoll.db.tables import metadata
from harness.memory_deployment import MemoryDeployment

Backup = dict[str, list[dict[str, Any]]]


class Operator:
    """Runs commands, makes backups and puts them back."""

    def __init__(self, deployment: MemoryDeployment) -> None:
        self._deployment = deployment
        chosen = deployment.settings
        self._config = Path(chosen.state_dir) / "atoll.toml"
        self._config.write_text(
            f'state_dir = "{chosen.state_dir}"\ncloud = "memory"\nhost = "{chosen.host}"\n'
            f'[database]\nurl = "{chosen.database_url}"\n'
        )

    def run(self, *words: str) -> Result:
        """A command, whatever becomes of it."""
        return CliRunner().invoke(app, ["--config", str(self._config), *words])

    def servers(self) -> dict[str, dict[str, Any]]:
        """Share servers by their ids."""
        done = self.run("server", "list", "--json")
        assert done.exit_code == 0, done.output
        return {server["id"]: server for server in json.loads(done.stdout)}

    def finding(self, check: str) -> dict[str, Any]:
        """What ``atoll doctor`` says about this; empty if it says nothing."""
        findings = json.loads(self.run("doctor", "--json").stdout)
        return next((found for found in findings if found["check"] == check), {})

    def backup(self) -> Backup:
        """All rows as they are."""
        with self._deployment.database.read() as connection:
            return {
                table.name: [dict(row) for row in connection.execute(select(table)).mappings()]
                for table in metadata.sorted_tables
            }

    def release(self) -> None:
        """End the hold that a restore has begun, and accept the tokens of the backup."""
        done = self.run("restore", "release", "--keep-tokens", "--yes")
        assert done.exit_code == 0, done.output

    def renew_token(self) -> None:
        """Make all further requests with a new token, which is accepted during a hold."""
        made = self.run("token", "create", "default", "--role", "admin", "--role", "member")
        assert made.exit_code == 0, made.output
        self._deployment.use_token(made.stdout.strip())

    def restore(self, backup: Backup) -> None:
        """Put the rows of a backup in the place of all that there are."""
        with self._deployment.database.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(delete(table))
            for table in metadata.sorted_tables:
                if backup[table.name]:
                    connection.execute(insert(table), backup[table.name])
