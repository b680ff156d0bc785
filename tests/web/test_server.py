"""The web process: where it listens, how long it waits for whoever is slow, and how it leaves. F33, A14, A71."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
import requests

from connector import migrate, wiring
from connector.config import Misconfigured, Settings
from connector.web.server import Server, address, main
from tests.web.postbox import at_home, everything_of, status_of, until

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

EVERYWHERE: Final = "0.0.0.0"  # noqa: S104 - for as long as a test lasts
GET: Final = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Counter:
    """An application that answers when it may, and says how many it has begun."""

    def __init__(self) -> None:
        self.begun = 0
        self.may = threading.Event()
        self.may.set()
        self._lock = threading.Lock()

    def __call__(self, environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        with self._lock:
            self.begun += 1
        assert self.may.wait(60)
        body = environ["wsgi.input"].read()
        start("200 OK", [("Content-Length", str(len(body)))])
        return [body]


# ── where ──


@pytest.mark.parametrize(
    ("environ", "dev", "where"),
    [
        ({}, False, ("127.0.0.1", 8000)),
        ({"PORT": "80"}, False, (EVERYWHERE, 80)),
        ({"PORT": "80"}, True, ("127.0.0.1", 80)),
        ({"HOST": "::"}, False, ("::", 8000)),
        ({"HOST": "10.0.0.1", "PORT": "65535"}, False, ("10.0.0.1", 65535)),
        ({"HOST": "", "PORT": ""}, False, ("127.0.0.1", 8000)),
    ],
)
def test_it_listens_to_this_machine_until_a_host_gives_it_a_port(environ: Mapping[str, str], dev: bool, where: tuple[str, int]) -> None:
    assert address(environ, dev=dev) == where


@pytest.mark.parametrize("port", ["eighty", "-1", "65536", "8000.0", " 80", "٨٠", "tcp://172.17.0.1:80"])
def test_a_port_that_is_none_is_explained(port: str) -> None:
    with pytest.raises(Misconfigured, match=r"^PORT must be a whole number below 65536"):
        address({"PORT": port}, dev=False)


@pytest.mark.parametrize("host", ["127.0.0.1", EVERYWHERE])
def test_it_listens_where_it_is_told_to_and_looks_up_no_name(host: str) -> None:
    with at_home(Counter(), host=host) as server:
        assert requests.get(f"http://127.0.0.1:{server.port}/", timeout=30).status_code == 200


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
@pytest.mark.may_skip
def test_every_address_is_ipv4_as_well() -> None:
    with at_home(Counter(), host="::") as server:
        for host in ("127.0.0.1", "[::1]"):
            assert requests.get(f"http://{host}:{server.port}/", timeout=30).status_code == 200


# ── how long ──


def test_a14_who_drips_is_cut_off_and_holds_up_nobody() -> None:
    """Headers and bodies alike; a request that is answered slowly is another matter."""
    app = Counter()
    with at_home(app, slowest=0.3) as server:
        drips = [socket.create_connection(("127.0.0.1", server.port), timeout=60) for _ in range(40)]
        for n, drip in enumerate(drips):
            drip.sendall(b"POST / HTTP/1.1\r\nHost: x\r\n" + (b"Content-Length: 100\r\n\r\n" if n % 2 else b""))
        assert requests.get(f"http://127.0.0.1:{server.port}/", timeout=30).status_code == 200

        cut: set[int] = set()
        late = time.monotonic() + 60
        while len(cut) < len(drips) and time.monotonic() < late:
            for n, drip in enumerate(drips):
                with contextlib.suppress(OSError):
                    drip.send(b"x")  # one byte now and then
                    continue
                cut.add(n)
            time.sleep(0.02)
        for drip in drips:
            drip.close()

    assert len(cut) == len(drips)
    assert app.begun == 1


def test_who_is_answered_slowly_is_not_cut_off() -> None:
    app = Counter()
    app.may.clear()
    with at_home(app, slowest=0.1) as server, socket.create_connection(("127.0.0.1", server.port), timeout=60) as line:
        line.sendall(GET)
        until(lambda: app.begun == 1)
        time.sleep(0.4)
        app.may.set()
        assert status_of(line.recv(65536)) == 200


def test_a_connection_serves_one_request_after_another() -> None:
    with at_home(Counter()) as server, requests.Session() as web:
        for n in range(5):
            assert web.post(f"http://127.0.0.1:{server.port}/", data=str(n), timeout=30).text == str(n)


# ── leaving ──


@contextlib.contextmanager
def leaving(app: Counter, *, grace: float = 30) -> Iterator[tuple[Server, threading.Event, list[bool]]]:
    """A server that is told to leave by the test; what `run` came to."""
    server, stopping, came = Server(app, "127.0.0.1", 0, threads=2), threading.Event(), list[bool]()
    thread = threading.Thread(target=lambda: came.append(server.run(stopping.is_set, grace=grace)))
    thread.start()
    try:
        yield server, stopping, came
    finally:
        stopping.set()
        server.wake()
        app.may.set()
        thread.join()


def test_f33_what_waits_at_the_socket_or_in_line_is_answered_before_it_leaves() -> None:
    app = Counter()
    app.may.clear()
    lines = []
    with leaving(app) as (server, stopping, came):
        for _ in range(30):  # two are at work, and the others in line
            line = socket.create_connection(("127.0.0.1", server.port), timeout=60)
            line.sendall(GET)
            lines.append(line)
        until(lambda: app.begun == 2)
        stopping.set()
        server.wake()
        app.may.set()
        answers = [everything_of(line) for line in lines]
        for line in lines:
            line.close()

    assert [status_of(answer) for answer in answers] == [200] * 30
    assert came == [True]


def test_f33_a_connection_that_is_only_kept_open_holds_up_nobody() -> None:
    app = Counter()
    with leaving(app) as (server, _, came):
        line = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        line.sendall(GET)
        assert status_of(line.recv(65536)) == 200
    assert everything_of(line) == b""
    line.close()
    assert came == [True]


def test_what_takes_longer_than_the_grace_is_given_up_and_said() -> None:
    app = Counter()
    app.may.clear()
    with leaving(app, grace=0.2) as (server, stopping, came):
        line = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        line.sendall(GET)
        until(lambda: app.begun == 1)
        stopping.set()
        server.wake()
        until(lambda: came == [False])
        line.close()


# ── the process ──


@contextlib.contextmanager
def process(data: Path, **environ: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`python -m connector.web.server`, and its port."""
    command = [sys.executable, "-m", "connector.web.server"]
    env = {**os.environ, "RETOUR_DATA": str(data), "PORT": "0", "HOST": "127.0.0.1", **environ}
    with subprocess.Popen(command, env=env, stderr=subprocess.PIPE, text=True) as running:
        try:
            assert running.stderr is not None
            yield running, started_at(running.stderr)
        finally:
            running.kill()


def started_at(told: Iterable[str]) -> int:
    """The port that the log names."""
    for line in told:
        event: dict[str, Any] = json.loads(line)
        if event["event"] == "web.started":
            return int(event["port"])
    raise AssertionError("it did not start")


def test_o3_a_host_is_told_whether_it_is_up_and_ready(tmp_path: Path) -> None:
    with process(tmp_path) as (running, port):
        base = f"http://127.0.0.1:{port}"
        assert requests.get(f"{base}/healthz", timeout=30).text == "ok\n"
        assert requests.get(f"{base}/readyz", timeout=30).status_code == 503  # nobody has migrated yet
        migrate.to(wiring.database(Settings.from_env({"RETOUR_DATA": str(tmp_path)})))
        assert requests.get(f"{base}/readyz", timeout=30).text == "ready\n"
        assert requests.get(f"{base}/install/woocommerce", timeout=30).status_code == 200
        running.send_signal(signal.SIGTERM)
        assert running.wait(60) == 0
        assert running.stderr is not None
        assert '"event": "web.stopped"' in running.stderr.read()


def test_a71_no_address_of_a_request_reaches_the_log(tmp_path: Path) -> None:
    with process(tmp_path, RETOUR_LOG="debug") as (running, port):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
            line.sendall(b"GET /secret-word HTTP/1.1\r\nHost: x\r\nSecret Word: 1\r\n\r\n")
            assert status_of(everything_of(line)) == 400
        assert requests.post(f"http://127.0.0.1:{port}/webhooks/woocommerce/secret-word", data=b"{}", timeout=30).status_code == 503
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 0
        assert running.stderr is not None
        said = running.stderr.read()
        assert "secret-word" not in said
        assert "Traceback" not in said
        assert all(json.loads(line)["event"] for line in said.splitlines())


def test_a_port_that_is_taken_is_said_in_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        told = subprocess.run(
            [sys.executable, "-m", "connector.web.server"],
            env={**os.environ, "RETOUR_DATA": str(tmp_path), "PORT": str(port), "HOST": "127.0.0.1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert told.returncode == 2
    sentence = "Address already in use; set HOST to an address of this machine and PORT to one that is free"
    assert told.stderr == f"cannot listen on 127.0.0.1:{port}: {sentence}\n"


@pytest.mark.parametrize("wrong", [{"PORT": "http"}, {"BASE_URL": "nowhere"}, {"RETOUR_SECRET_KEYS": "short"}])
def test_settings_that_cannot_be_are_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: dict[str, str]
) -> None:
    for name, value in {"RETOUR_DATA": str(tmp_path), **wrong}.items():
        monkeypatch.setenv(name, value)

    assert main() == 2
    told = capsys.readouterr().err
    assert next(iter(wrong)) in told
    assert told.count("\n") == 1
