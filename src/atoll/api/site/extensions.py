"""Extensions: ``/extensions``. Manila's old way to add features; microversions replaced it."""

from __future__ import annotations

from atoll.api.frame.call import Call
from atoll.api.frame.routing import Body, Routes

routes = Routes()


@routes.get("/extensions", policy=None, answers={"extensions": list[dict[str, str]]})
def index(call: Call) -> Body:
    """None."""
    return {"extensions": []}
