"""The application under any WSGI server: loaded before or after the fork, it keeps deliveries in the process that serves."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bench.intake import kept
from bench.load import Order
from bench.stage import Stage, await_door, crew, free_port, gunicorn, send
from connector.config import Misconfigured
from connector.web import wsgi


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


def test_what_cannot_be_configured_is_said_when_the_server_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BASE_URL", "nowhere")
    with pytest.raises(Misconfigured, match="BASE_URL"):
        wsgi.application()
