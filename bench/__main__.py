"""``python -m bench [NAME …] [--json]``: runs benchmarks, and prints a table for each."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from atoll import log
from atoll.cli.progress import Heartbeat, make_console, say
from bench.number import Number, table

BENCHMARKS = {
    "api": "API process, CPU of a request with 1,000 shares",
    "memory": "Memory of atoll serve",
    "create": "Shares on the simulated cloud",
    "rules": "Access rules on the simulated cloud",
    "queue": "The operations' queue",
    "restart": "A start with 1,000 shares",
    "local": "Virtual machines on this machine",
    "outages": "What clients waited in the rounds of make test-chaos",
    "openstack": "The OpenStack that OS_CLOUD names",
}
ON_DEMAND = ("local", "outages", "openstack")
"""These run only if they are named, because they need root or a cloud, and an idle machine, or the
results of other runs."""


def measure(name: str) -> list[Number]:
    """Run one benchmark."""
    numbers: list[Number] = importlib.import_module(f"bench.{name}").run()
    return numbers


def main(arguments: Sequence[str]) -> int:
    """Run the chosen benchmarks; return 1 if a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(BENCHMARKS))
    parser.add_argument("--json", action="store_true", help="print JSON, for machines")
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.names) - set(BENCHMARKS):
        parser.error(f"no benchmark is called {', '.join(sorted(unknown))}")
    names = chosen.names or [name for name in BENCHMARKS if name not in ON_DEMAND]
    log.configure("warning")
    console = make_console()
    calm = make_console(stderr=True)
    found = {}
    with tempfile.TemporaryDirectory(prefix="atoll-bytecode-") as directory:
        as_installed(directory)
        for name in names:
            # A spinner would use CPU and distort the measurement.
            say(calm, f"measuring {name}")
            with Heartbeat(calm, f"measuring {name}"):
                found[name] = measure(name)
            if not chosen.json:
                console.print(table(BENCHMARKS[name], f"python -m bench {name}", found[name]))
    if chosen.json:
        facts = {name: [one.facts() for one in numbers] for name, numbers in found.items()}
        print(json.dumps(facts, indent=2))
    return int(any(one.verdict == "missed" for numbers in found.values() for one in numbers))


def as_installed(directory: str) -> None:
    """Write bytecode even if the environment disables it, as an installation would have it.

    Otherwise each start would compile all modules, which takes seconds and memory.
    """
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ["PYTHONPYCACHEPREFIX"] = directory
        modules = "import atoll.cli.main, atoll.cli.worker, atoll.cli.api, atoll.api.app"
        subprocess.run([sys.executable, "-c", modules], check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
