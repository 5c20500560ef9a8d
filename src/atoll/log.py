"""Structured logs on standard error: JSON for machines, coloured lines for a terminal.

Request, operation and resource ids are bound once (``structlog.contextvars``) and appear on every
line of that request or operation. Secrets are never logged on purpose; as a safeguard, values whose
key sounds like a secret are blanked.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from typing import Any, Literal

import structlog

SECRET = ("token", "password", "private_key", "host_key", "secret", "auth_key")
VERBOSE = ("keystoneauth", "keystoneclient", "keystonemiddleware", "openstack", "urllib3")
"""Libraries that log whole requests at level debug, including the keys of instances."""


def _blank_secrets(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    for key in event:
        if any(word in key for word in SECRET):
            event[key] = "***"
    return event


def configure(level: str = "info", style: Literal["auto", "json", "console"] = "auto") -> None:
    """Set up logging for this process, also for loggers of the standard library."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _blank_secrets,
    ]
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *shared,
            structlog.processors.StackInfoRenderer(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
    last: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if console
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *last],
        )
    )
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    for name in VERBOSE:
        logging.getLogger(name).setLevel(max(logging.INFO, logging.getLogger().level))
