"""Packs the guest agent, which is sent to a service instance at each connection."""

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
    "superblocks",
    "filesystems",
    "freezing",
    "mounts",
    "caches",
    "nfs",
    "listings",
    "samba",
    "records",
    "state",
    "clients",
    "soundness",
    "report",
    "shares",
    "server",
)
"""The agent's modules, in an order in which each follows those that it imports."""

BOOTSTRAP = "import sys;f=sys.stdin.buffer;exec(f.read(int(f.readline())))"
"""The remote Python's program: a constant, so that nothing must be quoted for a shell."""

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
"""Uses compiled modules if the Python versions match; compiling takes an emulated instance 1 s."""


@functools.cache
def agent_payload() -> bytes:
    """The data that ``BOOTSTRAP`` and ``LOADER`` read, each part after a line with its length.

    The first part is the loader's source. The second, compressed, has the magic number of the
    Python that has compiled the modules, the compiled modules, and their sources.
    """
    folder = resources.files("atoll.guest.agent")
    sources = {name: (folder / f"{name}.py").read_text(encoding="utf-8") for name in MODULES}
    compiled = {
        name: compile(source, f"atoll_agent/{name}.py", "exec", dont_inherit=True)
        for name, source in sources.items()
    }
    # Only the contents of ``compiled`` depend on the Python version; all versions read this format.
    agent = marshal.dumps((MAGIC_NUMBER, marshal.dumps(compiled), sources), 2)
    parts = (LOADER.encode(), zlib.compress(agent, 9))
    return b"".join(b"%d\n%s" % (len(part), part) for part in parts)
