"""The server's front: what slow, silent, greedy or malformed clients can't do to the others."""

from __future__ import annotations

import json
import re
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psutil
import pytest

from harness.wait import wait
from tests.api.live import Api, is_closed, live, read_all

TIMEOUT = 2.0
"""Seconds that the API under test gives a request."""
AT_ONCE = 1.0
GET = "GET /v2/ HTTP/1.1\r\nHost: x\r\n"
HALF = "GET /v2/ HTTP/1.1\r\nHost: x\r\nX: "


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    state = tmp_path_factory.mktemp("front")
    options: dict[str, Any] = {"api__request_timeout": TIMEOUT, "api__idle_timeout": 4}
    with live(state, **options) as running:
        yield running


def post(token: str, length: int, more: str = "") -> str:
    return (
        f"POST /v2/shares HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {token}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {length}\r\n{more}\r\n"
    )


def chunked(token: str) -> str:
    return post(token, 0).replace("Content-Length: 0", "Transfer-Encoding: chunked")


def others_are_served(api: Api) -> None:
    for path in ("/v2/", "/v2/shares", "/metrics"):
        answers = [api.ask(path) for _ in range(3)]
        assert {status for status, _, _ in answers} == {200}, path
        # a busy machine may delay one of them; what hangs would delay all
        assert min(seconds for _, _, seconds in answers) < AT_ONCE, path


@pytest.mark.parametrize("kind", ["nothing", "half", "line", "body", "some of a body", "chunks"])
def test_what_is_not_sent_whole_stops_nobody_and_is_cut(api: Api, kind: str) -> None:
    sent = {
        "nothing": "",
        "half": HALF,
        "line": "GET /v2/shar",
        "body": post(api.token, 100),
        "some of a body": post(api.token, 100) + '{"share": ',
        "chunks": chunked(api.token) + "5\r\n{    ",
    }[kind]
    held = [api.send(sent) for _ in range(40)]
    try:
        others_are_served(api)
        assert all(is_closed(one, 3 * TIMEOUT + 4) for one in held)
    finally:
        for one in held:
            one.close()


@pytest.mark.parametrize("kind", ["header", "body", "chunk", "blank lines"])
def test_a_trickle_is_cut_after_the_deadline(api: Api, kind: str) -> None:
    sent, drop = {
        "header": (HALF, b"x"),
        "body": (post(api.token, 1000), b" "),
        "chunk": (chunked(api.token), b"1\r\n \r\n"),
        "blank lines": ("", b"\r\n\r\n"),
    }[kind]
    with api.send(sent) as connection:
        begun = time.monotonic()
        while time.monotonic() - begun < 20:
            try:
                connection.sendall(drop)
            except (ConnectionResetError, BrokenPipeError):
                break
            if is_closed(connection, 0.2):
                break
        assert TIMEOUT * 0.9 < time.monotonic() - begun < 10


def test_who_is_too_slow_is_told_so(api: Api) -> None:
    answer = api.say(HALF)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["computeFault"]["code"] == 408


def test_thousands_of_idle_connections_cost_nothing(api: Api) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    memory = psutil.Process(api.process.pid).memory_info().rss
    held = [api.connect() for _ in range(3000)]
    try:
        before = api.cpu()
        seconds = [api.ask("/v2/")[2] for _ in range(100)]
        assert sorted(seconds)[50] < AT_ONCE
        assert api.cpu() - before < 1.5
        assert psutil.Process(api.process.pid).memory_info().rss - memory < 40 * 2**20
    finally:
        for one in held:
            one.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_more_connections_than_there_are_places_cost_the_idle_ones(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with live(tmp_path_factory.mktemp("full"), api__connections=32) as api:
        held = [api.send(HALF) for _ in range(20)] + [api.connect() for _ in range(60)]
        others_are_served(api)
        for one in held:
            one.close()


def test_a_client_that_never_reads_stops_nobody(api: Api) -> None:
    ask = f"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {api.token}\r\n\r\n"
    held = []
    for _ in range(12):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.connect(("127.0.0.1", api.port))
        one.settimeout(0.5)
        try:
            for _ in range(400):
                one.sendall(ask.encode() * 20)
        except OSError:
            pass  # it is not read from, or was cut
        held.append(one)
    others_are_served(api)
    end = time.monotonic() + 30
    while psutil.Process(api.process.pid).num_fds() > 60 and time.monotonic() < end:
        time.sleep(0.2)
    assert psutil.Process(api.process.pid).num_fds() <= 60
    for one in held:
        one.close()


def test_a_connection_serves_many_requests_also_sent_at_once(api: Api) -> None:
    one = "GET /v2/ HTTP/1.1\r\nHost: x\r\n\r\n"
    last = "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    assert api.say(one * 5 + last).count(b"HTTP/1.1 200 OK") == 6


@pytest.mark.parametrize(
    ("request_text", "code"),
    [
        (f"{GET}Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: x\r\nContent-Length: +4\r\n\r\nabcd", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: x\r\nX : y\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: x\r\nX: y\r\n folded\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: x/evil?\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: user@x\r\n\r\n", 400),
        ("GET /v2/ HTTP/1.1\r\nHost: x:port\r\n\r\n", 400),
        ("GET /v2/ HTTP/2.0\r\nHost: x\r\n\r\n", 400),
        ("GET /v2/\r\n\r\n", 400),
        ("what is this\r\n\r\n", 400),
        (f"GET /v2/?{'a' * 9000} HTTP/1.1\r\nHost: x\r\n\r\n", 414),
        (f"GET /v2/ HTTP/1.1\r\nHost: x\r\nX: {'a' * 70000}\r\n\r\n", 431),
        ("GET /v2/ HTTP/1.1\r\nHost: x\r\n" + "X: y\r\n" * 200 + "\r\n", 431),
        (f"POST{GET[3:]}Content-Length: 200000\r\n\r\n{'x' * 200000}", 413),
        (f"{GET}Content-Length: {'9' * 5000}\r\n\r\n", 400),
        ("GET http://[/v2/ HTTP/1.1\r\nHost: x\r\n\r\n", 400),
        # who asks for permission to send it is refused before sending it
        (f"POST{GET[3:]}Content-Length: 200000\r\nExpect: 100-continue\r\n\r\n", 413),
        (f"POST{GET[3:]}Transfer-Encoding: gzip\r\nExpect: 100-continue\r\n\r\n", 501),
    ],
)  # fmt: skip
def test_what_is_ambiguous_or_too_large_is_refused(api: Api, request_text: str, code: int) -> None:
    answer = api.say(request_text)
    # one answer: nothing behind it was taken for a request
    assert re.findall(rb"HTTP/1\.\d (\d{3}) ", answer) == [b"%d" % code], answer[:300]
    fault = json.loads(answer.partition(b"\r\n\r\n")[2])
    assert next(iter(fault.values()))["code"] == code


def test_bodies_come_in_chunks_or_after_a_permission(api: Api) -> None:
    body = b'{"share_network": {"name": "by chunks"}}'
    head = (
        f"POST /v2/share-networks HTTP/1.1\r\nHost: x\r\nX-Auth-Token: {api.token}\r\n"
        "Connection: close\r\nContent-Type: application/json\r\n"
    ).encode()
    pieces = b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (body[:7], body[7:])) + b"0\r\n\r\n"
    answer = api.say(head + b"Transfer-Encoding: chunked\r\n\r\n" + pieces)
    assert answer.startswith(b"HTTP/1.1 200 "), answer
    with api.send(head + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)) as one:
        assert one.recv(100).startswith(b"HTTP/1.1 100 ")
        one.sendall(body)
        assert read_all(one).startswith(b"HTTP/1.1 200 ")


def test_without_a_body_nobody_waits_for_one(api: Api) -> None:
    expect = f"{GET}Connection: close\r\nExpect: 100-continue\r\n\r\n"
    assert api.say(expect).startswith(b"HTTP/1.1 200 ")


def test_a_body_that_does_not_come_after_the_permission_is_told_so(api: Api) -> None:
    answer = api.say(post(api.token, 100, "Expect: 100-continue\r\n"))
    assert re.findall(rb"HTTP/1\.\d (\d{3}) ", answer) == [b"100", b"408"]


def test_few_descriptors_are_enough(tmp_path_factory: pytest.TempPathFactory) -> None:
    with live(tmp_path_factory.mktemp("few"), descriptors=128) as api:
        held = [api.send(HALF) for _ in range(200)]
        before = api.cpu()
        others_are_served(api)
        time.sleep(1)  # what spins would take all of it
        assert api.cpu() - before < AT_ONCE
        for one in held:
            one.close()


@pytest.mark.parametrize(
    "path", ["/", "/v2", "/v2/", "/healthcheck", "/metrics", "/v2/shares", "/v2/shares/none", "/no"]
)
def test_head_is_get_without_its_body(api: Api, path: str) -> None:
    text = f" {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Auth-Token: {api.token}\r\n\r\n"
    head, get = api.say("HEAD" + text), api.say("GET" + text)
    assert head.split(b" ", 2)[1] == get.split(b" ", 2)[1]
    assert head.endswith(b"\r\n\r\n")
    if path != "/metrics":  # which has counted the first one
        length = re.compile(rb"(?i)content-length: (\d+)")
        assert length.findall(head) == length.findall(get)


def test_http_1_0_is_served(api: Api) -> None:
    answer = api.say("GET /v2/ HTTP/1.0\r\n\r\n")
    assert answer.startswith(b"HTTP/1.0 200 OK")


def test_a_client_that_closes_its_side_gets_its_answer(api: Api) -> None:
    with api.send("GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n") as connection:
        connection.shutdown(socket.SHUT_WR)
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")


def test_forwarded_headers_of_anybody_change_nothing(api: Api) -> None:
    answer = api.say(
        "GET /v2/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Forwarded-Host: evil\r\n"
        "X-Forwarded-Proto: https\r\nForwarded: host=evil;proto=https\r\n\r\n"
    )
    assert b"http://x/v2/" in answer
    assert b"evil" not in answer


def test_metrics_stay_small_whatever_methods_are_sent(api: Api) -> None:
    with api.connect() as connection:
        for number in range(0, 2000, 50):
            text = "".join(
                f"M{each} {path} HTTP/1.1\r\nHost: x\r\n\r\n"
                for each in range(number, number + 50)
                for path in ("/healthcheck", "/v2/shares", "/none")
            )
            connection.sendall(text.encode())
            seen = 0
            while seen < 150:
                seen += connection.recv(65536).count(b"HTTP/1.1 4")
    _, content, _ = api.ask("/metrics")
    assert b'method="other"' in content
    assert b'method="M' not in content
    assert len(content) < 200_000


def test_answers_under_way_are_finished_at_the_end(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with live(tmp_path_factory.mktemp("end")) as api:
        statuses: list[int] = []
        stop = threading.Event()

        def keep_asking() -> None:
            while not stop.is_set():
                try:
                    statuses.append(api.ask("/v2/shares/detail")[0])
                except ConnectionError:
                    return  # refused: it listens no more

        with ThreadPoolExecutor(4) as pool:
            for _ in range(4):
                pool.submit(keep_asking)
            while len(statuses) < 20:
                time.sleep(0.01)
            held = [api.connect(), api.send(HALF)]
            begun = time.monotonic()
            api.process.send_signal(signal.SIGTERM)
            assert api.process.wait(15) == 0
            assert time.monotonic() - begun < 5
            stop.set()
        assert set(statuses) == {200}
        for one in held:
            one.close()


def test_several_processes_answer_and_one_that_dies_comes_back(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    with live(tmp_path_factory.mktemp("many"), api__processes=2) as api:
        parent = psutil.Process(api.process.pid)

        def workers() -> list[int]:
            return sorted(child.pid for child in parent.children())

        first = workers()
        assert len(first) == 2
        psutil.Process(first[0]).kill()

        def is_replaced() -> bool:
            assert api.ask("/v2/")[0] == 200
            return len(workers()) == 2 and workers() != first

        wait("another worker", is_replaced, 20)
        assert api.ask("/v2/shares")[0] == 200
        api.process.send_signal(signal.SIGTERM)
        assert api.process.wait(15) == 0
        assert not any(psutil.pid_exists(pid) for pid in first)
