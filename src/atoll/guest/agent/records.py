"""What the agent stores of each share, and the checks of what a request names."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from . import samba
from .system import ROOT, AgentError, read, write

RECORDS = ROOT / "var/lib/atoll/shares"
SHARE_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
PATH = r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*){2,16}"
SERIAL = r"[A-Za-z0-9._-]{1,64}"
HOSTNAME = r"[a-z0-9_-]{0,63}"
FSID = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
Json = dict[str, Any]


def check(args: Json, patterns: dict[str, str]) -> None:
    """Refuse malformed arguments before anything is changed."""
    for key, pattern in patterns.items():
        value = args.get(key)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise AgentError("invalid", f"{key} is malformed: {str(value)[:100]!r}")
    if args.get("name", "").lower() in samba.RESERVED:
        raise AgentError("invalid", f"{args['name']!r} can't be a share's name.")


def cifs_name(share: Json) -> str:
    """The name that CIFS clients use."""
    return str(share["name"] or Path(share["path"]).name)


def boot_id() -> str:
    """The id of the instance's present boot."""
    return read(Path("/proc/sys/kernel/random/boot_id")).strip()


def load_record(share_id: str) -> Json:
    """The last request for this share; empty if there was none."""
    try:
        record = json.loads(read(RECORDS / f"{share_id}.json", "{}"))
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def save_record(share_id: str, record: Json) -> None:
    """Store the last request for this share."""
    write(RECORDS / f"{share_id}.json", json.dumps(record, sort_keys=True))


def records() -> dict[str, Json]:
    """The records of all served shares; those of removed shares have only a fence."""
    found = {path.stem: load_record(path.stem) for path in sorted(RECORDS.glob("*.json"))}
    return {share_id: record for share_id, record in found.items() if "path" in record}


def pass_fence(share_id: str, fence: int) -> Json:
    """Refuse an operation with an old fence, else store its fence; return the record."""
    record = load_record(share_id)
    if fence < record.get("fence", 0):
        raise AgentError(
            "stale_fence",
            f"A newer operation, with fence {record['fence']}, has acted on the share.",
        )
    if fence > record.get("fence", -1):
        record["fence"] = fence
        save_record(share_id, record)
    return record
