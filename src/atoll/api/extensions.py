"""Extensions: ``/extensions``. Manila's old way to add features; microversions replaced it."""

from __future__ import annotations

from atoll.api.call import Call
from atoll.api.routing import Body, Routes

routes = Routes()


@routes.get("/extensions", policy=None)
def index(call: Call) -> Body:
    """None."""
    return {"extensions": []}
