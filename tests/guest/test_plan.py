"""When a device may be formatted: the one decision that could destroy data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.guest.agent.filesystems import KINDS, MARKER, Signature, parse, plan
from atoll.guest.agent.system import AgentError

OURS = "11111111-2222-3333-4444-555555555555"
OTHER = "99999999-2222-3333-4444-555555555555"
signatures = st.builds(
    Signature,
    st.sampled_from(["ext4", "xfs", "ext3", "LVM2_member", "crypto_LUKS", "swap", "gpt", "dos"]),
    st.sampled_from([OURS, OTHER, ""]),
    st.sampled_from([MARKER, "data", ""]),
)


@given(st.lists(signatures, max_size=3), st.booleans())
def test_only_nothing_and_our_own_unfinished_file_system_are_formatted(
    carried: list[Signature], may_format: bool
) -> None:
    try:
        action = plan(carried, OURS, may_format)
    except AgentError:
        return  # refused: nothing is written
    if action == "make":
        assert may_format
        assert carried == []
        return
    ((kind, uuid, label),) = carried
    assert kind in KINDS
    if action == "remake":
        assert may_format
        assert (uuid, label) == (OURS, MARKER)
    else:
        assert label != MARKER
        assert (action == "use") == (uuid == OURS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_clone_is_adopted_and_never_formatted(kind: str) -> None:
    clone = [Signature(kind, OTHER, "")]
    assert plan(clone, OURS, may_format=False) == "adopt"
    with pytest.raises(AgentError, match="already carries"):
        plan(clone, OURS, may_format=True)


def test_labels_may_hold_commas() -> None:
    words = f"# offset,uuid,label,type\n0x438,{OURS.upper()},a,b,ext4\n0x1fe,,,dos"
    assert parse(words) == [Signature("ext4", OURS, "a,b"), Signature("dos", "", "")]
