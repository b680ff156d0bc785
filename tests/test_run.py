"""`retour run`: the whole of Retour on one machine, from a delivery to what we know, and nothing left of it when it is told to stop."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pytest
import requests
from click.testing import CliRunner
from sqlalchemy import select

from adapters.simulators.woocommerce import WooShop
from adapters.woocommerce.deliveries import TOPICS
from connector import migrate, wiring
from connector.cli import main
from connector.config import Settings
from connector.db import Database
from connector.models import HintRow, Kind, OrderRow, OutboxRow, Sync
from tests.web.postbox import until

CHILDREN: Final = {"valkey", "web", "worker", "clock"}


@dataclass(slots=True)
class Run:
    """A `retour run` in a session of its own, and what it says."""

    data: Path
    port: int
    env: dict[str, str]
    process: subprocess.Popen[str]
    said: list[dict[str, Any]] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(json.loads(line) if line.startswith("{") else {"event": line})

    def events(self) -> set[str]:
        return {str(told["event"]) for told in self.said}

    def children(self) -> dict[str, int]:
        """The process id of each child that was started."""
        return {str(told["child"]): int(told["child_pid"]) for told in self.said if told["event"] == "child.started"}

    def stop(self, number: signal.Signals) -> int:
        """As a host does, or a terminal, which tells the whole group."""
        if number == signal.SIGINT:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        return self.process.wait(90)


def a_port() -> int:
    """One that is free, and that no connection is given by chance."""
    for port in random.sample(range(15_000, 30_000), 100):
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
    raise AssertionError("no port is free")


@contextmanager
def run(data: Path) -> Iterator[Run]:
    """Everything up: the pages answer, a worker works, the clock ticks."""
    port = a_port()
    env = {"RETOUR_DATA": str(data), "RETOUR_DEV": "1", "PORT": str(port), "BASE_URL": f"http://127.0.0.1:{port}"}
    migrate.to(wiring.database(Settings.from_env(env)))
    command = [sys.executable, "-m", "connector.cli", "run"]
    with subprocess.Popen(command, env=os.environ | env, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        running = Run(data, port, env, process)
        listener = threading.Thread(target=running.listen)
        listener.start()
        try:
            until(lambda: process.poll() is not None or {"web.started", "worker.started"} <= running.events())
            assert process.poll() is None, running.said
            yield running
        finally:
            if process.poll() is None:
                process.kill()  # its children die with it
            process.wait()
            listener.join()


def lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "Ctrl-C"])
def test_o1_everything_comes_up_and_goes_down_together(tmp_path: Path, number: signal.Signals) -> None:
    with run(tmp_path) as running:
        assert requests.get(f"{running.base}/healthz", timeout=30).text == "ok\n"
        assert requests.get(f"{running.base}/readyz", timeout=30).text == "ready\n"
        children = running.children()
        assert children.keys() == CHILDREN
        assert running.stop(number) == 0

    assert not [name for name, pid in children.items() if lives(pid)]
    assert {"web.stopped", "worker.stopped", "supervisor.stopping"} <= running.events()
    assert not {"child.died", "child.killed"} & running.events()
    assert all("Traceback" not in told["event"] for told in running.said)


def test_a_second_one_on_the_same_directory_is_refused_and_disturbs_nobody(tmp_path: Path) -> None:
    with run(tmp_path) as running:
        command = [sys.executable, "-m", "connector.cli", "run"]
        second = subprocess.run(command, env=os.environ | running.env, capture_output=True, text=True, check=False, timeout=120)
        assert second.returncode == 1
        assert "Retour already runs on" in second.stderr
        assert requests.get(f"{running.base}/readyz", timeout=30).status_code == 200


def test_f55_a_web_process_that_dies_is_back(tmp_path: Path) -> None:
    with run(tmp_path) as running:
        os.kill(running.children()["web"], signal.SIGKILL)
        until(lambda: [told["event"] for told in running.said].count("web.started") == 2)
        assert requests.get(f"{running.base}/readyz", timeout=30).status_code == 200


def test_w1_w2_an_order_that_a_shop_delivers_is_read_and_kept(tmp_path: Path) -> None:
    """The main way through everything: connect, make the webhooks, receive a signed delivery, read the order, keep it."""
    shop = WooShop(":memory:")
    with run(tmp_path) as running, shop.serving():
        key, secret = shop.add_key()
        told = CliRunner(env=running.env).invoke(main, ["shop", "connect", shop.url, "--key", key], input=f"{secret}\n")
        assert told.exit_code == 0, told.output
        database = wiring.database(Settings.from_env(running.env))
        until(lambda: imported(database) and [hook["status"] for hook in shop.webhooks()] == ["active"] * 4)

        ref = str(shop.place())
        assert shop.scheduler_tick() >= 1
        assert [hook["failures"] for hook in shop.webhooks()] == [0] * len(TOPICS)
        until(lambda: known(database) == {ref})
        until(lambda: not waiting(database))
        assert running.stop(signal.SIGTERM) == 0
        database.dispose()
    shop.close()


def imported(database: Database) -> bool:
    """Whether the shop's history was read, so that what is read next is read because of a delivery."""
    with database.reading() as session:
        return session.execute(select(Sync.import_done_at)).scalar_one_or_none() is not None


def known(database: Database) -> set[str]:
    with database.reading() as session:
        return set(session.execute(select(OrderRow.ref).where(OrderRow.snapshot.is_not(None))).scalars())


def waiting(database: Database) -> bool:
    """Whether a hint is left, or a refresh that has not come to its end."""
    refreshes = select(OutboxRow.id).where(OutboxRow.kind == Kind.REFRESH.value, OutboxRow.done_at.is_(None))
    with database.reading() as session:
        return bool(session.execute(select(HintRow.id)).first() or session.execute(refreshes).first())
