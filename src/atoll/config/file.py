"""Reads the settings from the file and the environment."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar, get_origin

import msgspec

from atoll.config.section import Section
from atoll.config.settings import Settings
from atoll.errors import ConfigurationError

DEFAULT_FILE = Path("/etc/atoll/atoll.toml")


def load(file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings: ``overrides``, then the environment, then the file.

    Raises ``ConfigurationError``, which lists all mistakes at once.
    """
    chosen = file or Path(os.environ.get("ATOLL_CONFIG", DEFAULT_FILE))
    if file is not None and not file.exists():
        raise ConfigurationError(f"The configuration file {file} does not exist.")
    try:
        table = tomllib.loads(chosen.read_text(encoding="utf-8")) if chosen.exists() else {}
    except ValueError as error:
        raise ConfigurationError(f"{chosen} is not valid TOML: {error}.") from error
    reader = _Reader(os.environ)
    settings = reader.section(Settings, table)
    reader.report_unknown_variables()
    if reader.mistakes:
        source = chosen if chosen.exists() else "the environment"
        raise ConfigurationError(f"In {source}: {'; '.join(reader.mistakes)}.")
    return msgspec.structs.replace(settings, **overrides)


S = TypeVar("S", bound=Section)


class _Reader:
    """Turns tables and variables into sections, option by option, and collects the mistakes."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._variables: set[str] = set()
        self.mistakes: list[str] = []

    def section(self, kind: type[S], table: object, at: str = "") -> S:
        """Read one section from the environment and a table of the file."""
        if not isinstance(table, dict):
            self.mistakes.append(f"{at.rstrip('.')}: a table is expected")
            table = {}
        fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
        self.mistakes += [f"{at}{name}: unknown option" for name in table if name not in fields]
        values: dict[str, Any] = {}
        for name, expected in fields.items():
            option = f"{at}{name}"
            variable = f"ATOLL_{option.replace('.', '__').upper()}"
            self._variables.add(variable)
            if isinstance(expected, type) and issubclass(expected, Section):
                values[name] = self.section(expected, table.get(name, {}), f"{option}.")
            elif variable in self._environment:
                self._convert(values, name, self._environment[variable], expected, variable)
            elif name in table:
                self._convert(values, name, table[name], expected, option)
        return kind(**values)

    def _convert(
        self, values: dict[str, Any], name: str, given: object, expected: Any, source: str
    ) -> None:
        """Check one option; the text of an environment variable may stand for a number or list."""
        is_text = source.startswith("ATOLL_")
        try:
            if is_text and str(given).startswith("[") and get_origin(expected) is tuple:
                given = msgspec.json.decode(str(given))
            values[name] = msgspec.convert(given, expected, strict=not is_text, dec_hook=_decoded)
        except msgspec.ValidationError as error:
            self.mistakes.append(f"{source}: {error}")
        except msgspec.DecodeError as error:
            self.mistakes.append(f"{source}: not a JSON list: {error}")

    def report_unknown_variables(self) -> None:
        """Report variables that look like options but are not."""
        for name in self._environment:
            if name.startswith("ATOLL_") and "__" in name and name not in self._variables:
                self.mistakes.append(f"{name}: unknown option")


def _decoded(expected: type, given: object) -> object:
    """Convert to types that msgspec does not support: paths, ``Cidr`` and ``SshHost``."""
    if expected is Path and isinstance(given, str | Path):
        return Path(given)
    if issubclass(expected, str) and isinstance(given, str):
        try:
            return expected(given)
        except ValueError as error:
            raise msgspec.ValidationError(str(error)) from error
    raise msgspec.ValidationError(f"Expected `{expected.__name__}`, got `{type(given).__name__}`")
