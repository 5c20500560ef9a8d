# Everything sets itself up; running it again uses what is there.
.PHONY: demo test test-fast test-long test-chaos test-openstack check docs bench setup

CLOUD = local
ROUNDS = 100
WARM = 0

demo: setup  ## the main job end to end, on this machine; CLOUD=openstack: on the one that OS_CLOUD names
	scripts/run python -m demo $(CLOUD)

test: setup  ## the tests, those that boot virtual machines included
	scripts/test all

test-fast: setup  ## linters, types and the tests that need no virtual machine
	scripts/test fast

test-long: setup  ## the tests that make test leaves out because they take long
	scripts/test long

test-chaos: setup  ## ROUNDS (100) bad days of instances while clients write and hold locks; results in chaos.jsonl
	ATOLL_CHAOS_ROUNDS=$(ROUNDS) ATOLL_CHAOS_WARM=$(WARM) scripts/test chaos

test-openstack: setup  ## the tests on the OpenStack that OS_CLOUD names
	scripts/test openstack

check: setup  ## linters and types alone
	scripts/test check

bench: setup  ## the numbers in docs/reference/numbers.md
	scripts/run python -m bench

docs: setup  ## the documentation, in docs/_build
	scripts/run sphinx-build -W -q docs docs/_build

setup:
	scripts/setup
