"""Free parts of address ranges."""

from __future__ import annotations

from ipaddress import ip_network

from hypothesis import given
from hypothesis import strategies as st

from atoll.driver.network import cuts
from atoll.ranges import first_free, overlaps


@given(
    taken=st.lists(st.tuples(st.integers(0, 255), st.integers(24, 29)), max_size=12),
    mask=st.integers(24, 29),
)
def test_a_cut_is_the_lowest_that_overlaps_with_none(
    taken: list[tuple[int, int]], mask: int
) -> None:
    pool = cuts.pool("10.0.0.0/24", mask)
    ranges = [str(ip_network(f"10.0.0.{at}/{prefix}", strict=False)) for at, prefix in taken]
    free = [
        str(block)
        for block in pool.subnets(new_prefix=mask)
        if not any(block.overlaps(ip_network(other)) for other in ranges)
    ]
    found = first_free(pool, mask, map(ip_network, [*ranges, "fd00::/64"]))
    assert (str(found) if found else None) == (free[0] if free else None)


def test_a_large_range_costs_no_more_than_what_is_taken() -> None:
    taken = [ip_network("fd00::/64"), ip_network("fd00:0:0:1::/64")]
    assert str(first_free(ip_network("fd00::/16"), 64, taken)) == "fd00:0:0:2::/64"


def test_ranges_overlap_where_they_share_an_address() -> None:
    others = [ip_network("10.0.0.0/28"), ip_network("fd00::/64")]
    assert overlaps(ip_network("10.0.0.0/8"), others)
    assert not overlaps(ip_network("10.0.0.16/28"), others)
