"""The application under any WSGI server: loaded before or after the fork, it keeps deliveries in the process that serves."""

from __future__ import annotations

import base64
import hmac
import io
import os
import signal
import socket
from http import HTTPStatus
from pathlib import Path

import pytest

from bench.deliveries import FIRST_ORDER, SECRET, SMALLEST, Mould
from bench.intake import kept
from bench.load import Order
from bench.stage import SERVERS, Stage, await_door, crew, free_port, gunicorn, send
from connector.config import Misconfigured
from connector.web import wsgi
from connector.web.intake import LARGEST, Unanswerable, _body
from tests.web.postbox import status_of


class Cut(io.RawIOBase):
    """A body whose chunks end early, as gunicorn says it."""

    def read(self, _size: int = -1) -> bytes:
        raise OSError("no more data")


@pytest.mark.parametrize("more", [(), ("--preload", "--workers", "2")], ids=["loaded after the fork", "loaded before it"])
def test_every_process_of_a_server_that_forks_keeps_deliveries_and_stops_when_told(more: tuple[str, ...], tmp_path: Path) -> None:
    stage, port = Stage(tmp_path), free_port()
    with stage.database("sqlite", paused=True) as url, crew(stage.environ(url, port=port)) as hands:
        server = hands.start(*gunicorn("connector.web.wsgi:application", port), *more, log=tmp_path / "log")
        assert await_door(port, server), (tmp_path / "log").read_text(encoding="utf-8")
        assert send(Order(port, 60)).kept == 60
        os.kill(server.pid, signal.SIGTERM)
        assert server.wait(30) == 0
        assert kept(stage, url) == 60


def _chunked(body: bytes, *chunks: bytes) -> bytes:
    """A delivery signed over this body, whose length is said by its chunks."""
    head, _, _ = b"".join(Mould.of(FIRST_ORDER, SMALLEST).delivery(0)).partition(b"\r\n\r\n")
    signed = base64.b64encode(hmac.digest(SECRET.encode(), body, "sha256"))
    kept = [line for line in head.split(b"\r\n") if not line.startswith((b"Content-Length", b"X-WC-Webhook-Signature"))]
    more = (b"X-WC-Webhook-Signature: " + signed, b"Transfer-Encoding: chunked", b"Connection: close", b"", b"")
    return b"\r\n".join((*kept, *more)) + b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks)


@pytest.mark.parametrize("server", SERVERS)
def test_a07_a14_chunks_are_put_together_under_every_server_as_far_as_a_delivery_may_go(server: str, tmp_path: Path) -> None:
    def status(request: bytes) -> int:
        with socket.create_connection(("127.0.0.1", port), timeout=60) as line:
            line.sendall(request)
            return status_of(line.recv(65536))

    stage, port = Stage(tmp_path), free_port()
    body, large = b'{"id":1}', b"x" * LARGEST
    with stage.database("sqlite", paused=True) as url, crew(stage.environ(url, port=port)) as hands:
        process = hands.start(*SERVERS[server]("connector.web.wsgi:application", port), log=tmp_path / "log")
        assert await_door(port, process), (tmp_path / "log").read_text(encoding="utf-8")
        assert status(_chunked(body, body[:3], body[3:], b"")) == 200
        assert status(_chunked(large, large, b"")) == 200
        assert status(_chunked(large + b"x", large, b"x", b"")) == 413
        assert status(_chunked(body, b"other", b"")) == 401
        assert kept(stage, url) == 2


@pytest.mark.parametrize(
    ("environ", "status"),
    [
        ({"wsgi.input": io.BytesIO(b"x")}, HTTPStatus.LENGTH_REQUIRED),  # nobody promises that it ends
        ({"wsgi.input": io.BytesIO(b""), "wsgi.input_terminated": True}, HTTPStatus.LENGTH_REQUIRED),
        ({"wsgi.input": io.BytesIO(b"x" * (LARGEST + 1)), "wsgi.input_terminated": True}, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
        ({"wsgi.input": Cut(), "wsgi.input_terminated": True}, HTTPStatus.BAD_REQUEST),
    ],
    ids=["without an end", "empty", "too large", "cut off"],
)
def test_a07_a_body_without_a_length_is_refused_where_it_has_no_good_end(environ: dict[str, object], status: HTTPStatus) -> None:
    with pytest.raises(Unanswerable) as end:
        _body(environ)
    assert end.value.status is status


def test_what_cannot_be_configured_is_said_when_the_server_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_URL", "nowhere")
    with pytest.raises(Misconfigured, match="BASE_URL"):
        wsgi.application()
