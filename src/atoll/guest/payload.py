"""The guest agent as one program text, as it is sent to a service instance at connect."""

from __future__ import annotations

import functools
from importlib import resources

MODULES = (
    "system",
    "rules",
    "devices",
    "filesystems",
    "freezing",
    "mounts",
    "nfs",
    "samba",
    "shares",
    "server",
)
"""The agent's modules, each after those that it imports."""

BOOTSTRAP = "import sys;f=sys.stdin.buffer;exec(f.read(int(f.readline())))"
"""What the remote Python is started with: a constant, so nothing is ever quoted for a shell."""

LOADER = """
import sys, types
package = sys.modules["atoll_agent"] = types.ModuleType("atoll_agent")
package.__path__ = []
for name, source in SOURCES.items():
    module = sys.modules["atoll_agent." + name] = types.ModuleType("atoll_agent." + name)
    module.__package__ = "atoll_agent"
    setattr(package, name, module)
    exec(compile(source, "atoll_agent/" + name + ".py", "exec"), module.__dict__)
sys.modules["atoll_agent.server"].main()
"""


@functools.cache
def agent_payload() -> bytes:
    """What ``BOOTSTRAP`` reads: the length of the program in a line, then the program."""
    folder = resources.files("atoll.guest.agent")
    sources = {name: (folder / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    program = f"SOURCES = {sources!r}\n{LOADER}".encode()
    return b"%d\n%s" % (len(program), program)
