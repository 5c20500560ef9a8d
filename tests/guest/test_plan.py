"""When a device may be formatted: the one decision that could destroy data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.guest.agent.filesystems import MARKER, plan
from atoll.guest.agent.system import AgentError

OURS = "11111111-2222-3333-4444-555555555555"
found = st.fixed_dictionaries(
    {},
    optional={
        "TYPE": st.sampled_from(["ext4", "xfs", "ext3", "LVM2_member", "crypto_LUKS", "swap"]),
        "PTTYPE": st.sampled_from(["gpt", "dos"]),
        "UUID": st.sampled_from([OURS, OURS.upper(), "99999999-2222-3333-4444-555555555555"]),
        "LABEL": st.sampled_from([MARKER, "data", ""]),
    },
)


@given(found, st.booleans())
def test_only_nothing_and_our_own_unfinished_file_system_are_formatted(
    carried: dict[str, str], may_format: bool
) -> None:
    try:
        action = plan(carried, OURS, may_format)
    except AgentError:
        return  # refused: nothing is written
    if action == "make":
        assert may_format
        assert not carried
    elif action == "remake":
        assert may_format
        assert carried["LABEL"] == MARKER
        assert carried["UUID"].lower() == OURS
    else:
        assert carried["TYPE"] in ("ext4", "xfs")
        assert carried.get("LABEL") != MARKER
        assert (action == "use") == (carried.get("UUID", "").lower() == OURS)


@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_a_clone_is_adopted_and_never_formatted(kind: str) -> None:
    clone = {"TYPE": kind, "UUID": "99999999-2222-3333-4444-555555555555"}
    assert plan(clone, OURS, may_format=False) == "adopt"
    with pytest.raises(AgentError, match="already carries"):
        plan(clone, OURS, may_format=True)
