"""`retour demo` as a process: what it says, where its pages are, and that it goes away."""

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


@dataclass
class Demo:
    """One that runs."""

    process: subprocess.Popen[str]
    said: str = ""
    signed_in: bool = False
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
