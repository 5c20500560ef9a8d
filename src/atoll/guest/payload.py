"""The guest agent as it is sent to a service instance at connect: compiled, and as text."""

from __future__ import annotations

import functools
import marshal
import zlib
from importlib import resources
from importlib.util import MAGIC_NUMBER

MODULES = (
    "system",
    "rules",
    "devices",
    "filesystems",
    "freezing",
    "mounts",
    "caches",
    "nfs",
    "listings",
    "samba",
    "shares",
    "server",
)
"""The agent's modules, each after those that it imports."""

BOOTSTRAP = "import sys;f=sys.stdin.buffer;exec(f.read(int(f.readline())))"
"""What the remote Python is started with: a constant, so nothing is ever quoted for a shell."""

LOADER = """
import marshal, types, zlib
magic, compiled, sources = marshal.loads(zlib.decompress(f.read(int(f.readline()))))
if magic == sys.modules["_frozen_importlib_external"].MAGIC_NUMBER:
    modules = marshal.loads(compiled)
else:
    modules = {
        name: compile(source, "atoll_agent/" + name + ".py", "exec")
        for name, source in sources.items()
    }
package = sys.modules["atoll_agent"] = types.ModuleType("atoll_agent")
package.__path__ = []
for name, code in modules.items():
    module = sys.modules["atoll_agent." + name] = types.ModuleType("atoll_agent." + name)
    module.__package__ = "atoll_agent"
    setattr(package, name, module)
    exec(code, module.__dict__)
sys.modules["atoll_agent.server"].main()
"""
"""Compiling takes an emulated instance a second, so a Python of our own kind is spared it."""


@functools.cache
def agent_payload() -> bytes:
    """What ``BOOTSTRAP`` and then ``LOADER`` read, each with its length in a line before it.

    The loader's text; and, packed: the kind of Python that the compiled modules are for, these
    modules, and their sources.
    """
    folder = resources.files("atoll.guest.agent")
    sources = {name: (folder / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    compiled = {
        name: compile(source, f"atoll_agent/{name}.py", "exec", dont_inherit=True)
        for name, source in sources.items()
    }
    # Only what is in ``compiled`` differs between kinds of Python; this form is known to all.
    agent = marshal.dumps((MAGIC_NUMBER, marshal.dumps(compiled), sources), 2)
    parts = (LOADER.encode(), zlib.compress(agent, 9))
    return b"".join(b"%d\n%s" % (len(part), part) for part in parts)
