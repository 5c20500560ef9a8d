"""What the API says when Keystone is away, and what it needs of it not to be."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest
from falcon.testing import TestClient

pytest.importorskip("keystonemiddleware", reason="the extra [openstack] is not installed")

from atoll.api.app import create_app
from atoll.config import Settings
from atoll.db.database import Database
from atoll.errors import ConfigurationError
from tests.api import keystones
from tests.api.conftest import Client
from tests.api.keystone_double import KeystoneDouble, running
from tests.api.keystones import Keystone

keystone = keystones.keystone
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def port() -> int:
    """Where nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def behind(url: str, database: Database, state: Path, **more: object) -> TestClient:
    options = {"auth_url": url, "password": "x", "username": "svc", "project_name": "svc", **more}
    given = {"api": {"auth_strategy": "keystone"}, "keystone": options}
    settings = msgspec.convert(given, Settings)
    return TestClient(create_app(msgspec.structs.replace(settings, state_dir=state), database))


def test_keystone_is_away_and_comes_back(database: Database, tmp_path: Path, port: int) -> None:
    http = behind(f"http://127.0.0.1:{port}", database, tmp_path)
    someone = Client(http, "gAAAA-not-checked", "")
    answer = someone("GET", "/shares")
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "5"
    fault = answer.json["serviceUnavailable"]
    assert "Keystone can't be asked at the moment" in fault["message"]
    assert someone("GET", "/").status_code == 200
    with running(KeystoneDouble(), port) as back:
        made = keystones.Keystone(keystones.administrator(back), back)
        made.settings(tmp_path, username="svc", project_name="svc", password="x")
        member = Client(http, keystones.token(made.person("member", project="blue")), "")
        assert member("GET", "/shares").status_code == 200
    other = Client(http, "gAAAA-another", "")
    assert other("GET", "/shares").status_code == 503


def test_keystone_accepts_and_never_answers(database: Database, tmp_path: Path) -> None:
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        http = behind(url, database, tmp_path, http_connect_timeout=1)
        begun = time.monotonic()
        assert Client(http, "gAAAA-x", "")("GET", "/shares").status_code == 503
        assert time.monotonic() - begun < 10


def test_our_own_password_is_wrong(
    keystone: Keystone, tmp_path: Path, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    settings = keystone.settings(tmp_path)
    wrong = msgspec.structs.replace(settings.keystone, password="wr0ng-one")
    http = TestClient(create_app(msgspec.structs.replace(settings, keystone=wrong), database))
    member = Client(http, keystones.token(keystone.person("member", project="blue")), "")
    assert member("GET", "/shares").status_code == 503
    assert "wr0ng-one" not in caplog.text
    assert "wr0ng-one" not in repr(wrong)
    assert member.token not in caplog.text


def test_what_is_not_configured_is_told_at_start(database: Database, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"keystone\.auth_url"):
        behind("", database, tmp_path)
    with pytest.raises(ConfigurationError, match="password"):
        behind("http://x:5000", database, tmp_path, password="")
    (tmp_path / "keystone.password").write_text("secret\n")
    behind("http://x:5000", database, tmp_path, password="")


def test_tokens_of_our_own_load_none_of_it(database: Database) -> None:
    program = (
        "import sys; from pathlib import Path; from atoll.api.app import create_app\n"
        "from atoll.config import Settings; from atoll.db.database import Database\n"
        "create_app(Settings(state_dir=Path('/x')), Database(sys.argv[1]))\n"
        "large = 'keystonemiddleware', 'keystoneauth1', 'openstack', 'webob', 'requests'\n"
        "print([name for name in sys.modules if name.split('.')[0] in large])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, database.url.render_as_string(False)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"


def test_our_own_token_runs_out(keystone: Keystone, database: Database, tmp_path: Path) -> None:
    if keystone.double is None:
        pytest.skip("a real Keystone's tokens live for an hour")
    http = TestClient(create_app(keystone.settings(tmp_path), database))
    for _ in range(3):
        member = Client(http, keystones.token(keystone.person("member", project="blue")), "")
        assert member("GET", "/shares").status_code == 200
        for token_id, token in keystone.double.tokens.items():
            if token["user"]["name"] == f"{keystone.run}-service":
                keystone.double.expire(token_id)


def test_many_ask_at_once(keystone: Keystone, database: Database, tmp_path: Path) -> None:
    app = create_app(keystone.settings(tmp_path), database)
    tokens = {
        name: keystones.token(keystone.person("member", project=name)) for name in ("blue", "red")
    }

    def ask(number: int) -> tuple[int, int]:
        name = ("blue", "red")[number % 2]
        other = ("red", "blue")[number % 2]
        own = Client(TestClient(app), tokens[name], "")
        return (
            own("GET", f"/{keystone.project(name)}/shares").status_code,
            own("GET", f"/{keystone.project(other)}/shares").status_code,
        )

    assert ask(0) == ask(1) == (200, 400)
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(200))) == {(200, 400)}
    fresh = create_app(keystone.settings(tmp_path), database)
    with ThreadPoolExecutor(8) as pool:  # who come first, all at once
        answers = pool.map(
            lambda _: Client(TestClient(fresh), tokens["blue"], "")("GET", "/shares").status_code,
            range(16),
        )
        assert set(answers) == {200}
