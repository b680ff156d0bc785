"""`retour demo` with its real processes: O1, and what is left when it is stopped, killed and started again."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest
import requests

from connector.config import Misconfigured
from connector.demo import ports
from tests.test_supervisor import lives, wait_until

pytestmark = pytest.mark.timeout(300)


@dataclass
class Demo:
    """One that runs."""

    process: subprocess.Popen[str]
    said: str = ""
    _lines: Queue[str] = field(default_factory=Queue)

    def __post_init__(self) -> None:
        Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._lines.put(line)
        self._lines.put("")

    def up(self) -> None:
        while "Ctrl-C" not in self.said:
            line = self._lines.get(timeout=200)
            assert line, self.said
            self.said += line

    def address(self, of: str) -> str:
        found = re.search(rf"{of}\s+(http://\S+)", self.said)
        assert found, self.said
        return found[1]

    def children(self) -> list[int]:
        asked = ["ps", "-A", "-o", "pid=,ppid="] if sys.platform != "linux" else None
        if asked is not None:
            told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout.splitlines()
            pairs = [tuple(map(int, line.split())) for line in told]
        else:
            stats = [path.read_text().rpartition(")") for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
            pairs = [(int(head.split()[0]), int(tail.split()[1])) for head, _, tail in stats]
        return [pid for pid, parent in pairs if parent == self.process.pid]


@contextmanager
def demo(data: Path, port: int) -> Iterator[Demo]:
    environ = {name: value for name, value in os.environ.items() if not name.startswith("RETOUR_")} | {"PORT": str(port)}
    command = [sys.executable, "-m", "connector.cli", "demo", "--data", str(data)]
    with subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield Demo(process)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
                process.wait(60)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def listens(address: str) -> bool:
    return ports.answers(int(address.split(":")[2].partition("/")[0]))


def test_o1_the_demo_comes_up_keeps_its_data_moves_and_leaves_nothing_behind(tmp_path: Path) -> None:
    data = tmp_path / "demo"
    with demo(data, free_port()) as first:
        first.up()
        pages = [first.address(name) for name in ("As a shopper", "As the merchant", "The shop", "The mailbox")]
        assert [requests.get(page, timeout=30).status_code for page in pages] == [200] * 4
        assert requests.get(pages[0].split("/returns")[0] + "/readyz", timeout=30).status_code == 200
        orders = requests.get(pages[2], timeout=30).text
        children = first.children()
        first.process.send_signal(signal.SIGINT)
        assert first.process.wait(60) == 0
    assert len(children) == 6
    wait_until(lambda: not any(lives(pid) for pid in children))
    assert not any(listens(page) for page in pages)

    with demo(data, free_port()) as second:
        second.up()
        assert second.address("As a shopper") != pages[0]
        assert second.address("As a shopper").split("/returns")[1] == pages[0].split("/returns")[1]
        assert second.address("The shop") == pages[2]
        assert requests.get(pages[2], timeout=30).text == orders
        children = second.children()
        second.process.kill()
        second.process.wait(60)
    wait_until(lambda: not any(lives(pid) for pid in children))
    assert not any(listens(page) for page in pages[2:])


def test_a_directory_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")

    with demo(tmp_path, free_port()) as refused:
        assert refused.process.wait(60) == 1

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_port_that_is_taken_is_named_with_what_to_do(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"port {port} is in use by something else; choose another: make demo PORT="):
            ports.chosen(tmp_path, {"PORT": str(port)})


@pytest.mark.parametrize("port", ["http", "80", "-1", "99999", "\uff11\uff12"])
def test_a_port_that_is_none_is_named(tmp_path: Path, port: str) -> None:
    with pytest.raises(Misconfigured, match="PORT must be a number between 1024 and 65000"):
        ports.chosen(tmp_path, {"PORT": port})


def test_the_shop_keeps_its_port_and_says_who_took_it(tmp_path: Path) -> None:
    first = ports.chosen(tmp_path, {"PORT": str(free_port())})
    assert ports.chosen(tmp_path, {"PORT": str(free_port())}).shop == first.shop

    with socket.create_server(("127.0.0.1", first.shop)), pytest.raises(Misconfigured, match=f"port {first.shop}, where the demo's shop"):
        ports.chosen(tmp_path, {"PORT": str(free_port())})
