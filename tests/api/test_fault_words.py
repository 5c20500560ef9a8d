"""What the API answers with an error: Atoll's own sentences, whatever the error itself says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import falcon
import pytest
from falcon.testing import TestClient
from sqlalchemy.exc import DataError
from structlog.testing import capture_logs

from atoll import errors
from atoll.api.auth.filter import AuthFilter
from atoll.api.frame import faults
from atoll.api.frame.edge import Application, Environ, StartResponse
from atoll.api.frame.policy import Identity

WORDS = "http://controller:5000 refused; /var/lib/atoll/secret.key; ssh root@10.254.0.9"


def tree(kind: type[errors.AtollError]) -> Iterator[type[errors.AtollError]]:
    """An error class and all below it."""
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


LATER = {errors.KeystoneUnavailable: 503, errors.NeutronUnavailable: 503, errors.DiskFull: 507}
"""What passes by itself, and is answered so; the rest is a defect to a caller."""
KINDS = [kind for kind in tree(errors.AtollError) if kind.__module__ == errors.__name__]


def made(kind: type[errors.AtollError]) -> errors.AtollError:
    return kind(WORDS, **({"waits_for": WORDS} if kind is errors.Postponed else {}))


@pytest.mark.parametrize("kind", KINDS)
def test_no_class_makes_its_public_sentence_of_its_message(kind: type[errors.AtollError]) -> None:
    error = made(kind)
    assert error.public == kind.public
    assert WORDS not in error.public
    assert error.public.endswith(".")
    assert WORDS in str(error)
    assert issubclass(kind, errors.Refusal) == (WORDS in error.answer)


def test_a_class_of_its_own_has_a_sentence_of_its_own() -> None:
    class DiskOnFire(errors.OutOfCapacity):
        """The disk is on fire."""

    class Silent(DiskOnFire):
        pass

    assert DiskOnFire(WORDS).public == Silent(WORDS).public == "The disk is on fire."
    assert DiskOnFire(WORDS, public="Call the brigade.").answer == "Call the brigade."


class Failing(AuthFilter):
    """Finds out who asks, and fails."""

    def __init__(self, inner: Application, error: errors.AtollError) -> None:
        super().__init__(inner)
        self._error = error

    def identify(self, environ: Environ) -> Identity | None:
        raise self._error


def nothing(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    raise AssertionError("nobody gets here")


@pytest.mark.parametrize("kind", [kind for kind in KINDS if not issubclass(kind, errors.Refusal)])
def test_no_answer_has_the_words(kind: type[errors.AtollError]) -> None:
    with capture_logs() as lines:
        answer = TestClient(Failing(nothing, made(kind))).simulate_get("/v2/shares")
    assert answer.status_code == LATER.get(kind, 500)
    for word in ("controller", "secret.key", "10.254", "ssh"):
        assert word not in answer.text
    if answer.status_code == 500:
        [line] = [line for line in lines if line["event"] == "unhandled error"]
        assert WORDS in str(line["exc_info"])


def test_a_value_that_the_database_refuses_is_400_and_quotes_nothing_of_it() -> None:
    class Resource:
        def on_get(self, request: falcon.Request, response: falcon.Response) -> None:
            raise DataError(f"INSERT {WORDS}", {}, ValueError(WORDS))

    app = falcon.App()
    for kind, handler in faults.HANDLERS:
        app.add_error_handler(kind, handler)
    app.add_route("/", Resource())
    with capture_logs() as lines:
        answer = TestClient(app).simulate_get("/")
    assert answer.status_code == 400
    assert "too long" in answer.json["badRequest"]["message"]
    assert "controller" not in answer.text
    assert any(WORDS in str(line) for line in lines)


def test_a_refusal_says_what_it_says() -> None:
    assert faults.of(errors.Forbidden("You may not.", hint="Ask."), {}) == (
        403,
        "You may not. Ask.",
    )
