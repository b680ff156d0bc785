"""What a measurement stands on: fresh databases with one connected shop, Valkey, and our processes as they run in production."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from adapters.woocommerce.platform import WooPlatform
from bench.deliveries import DOOR, PATH, SECRET
from bench.load import Answers, Order
from connector import migrate, wiring
from connector.config import Settings
from connector.db import Database
from connector.models import Shop
from connector.secrets import new_key
from connector.services import shops
from tests import servers

THREADS: Final = 16  # of every server
ROOT: Final = Path(__file__).parent.parent
_PATIENCE: Final = 60.0


def gunicorn(app: str, port: int) -> Sequence[str]:
    kind = ("--worker-class", "gthread", "--workers", "1", "--threads", str(THREADS), "--keep-alive", "30", "--log-level", "error")
    return ("-m", "gunicorn", *kind, "--bind", f"127.0.0.1:{port}", f"{app}()")


def granian(app: str, port: int) -> Sequence[str]:
    kind = ("--interface", "wsgi", "--factory", "--workers", "1", "--blocking-threads", str(THREADS), "--http", "1", "--no-ws")
    return ("-m", "granian", *kind, "--log-level", "error", "--host", "127.0.0.1", "--port", str(port), app)


def waitress(_app: str, _port: int) -> Sequence[str]:
    """Our own server; it takes its port from the environment."""
    return ("-m", "connector.web.server")


_KEYS: Final = ("RETOUR_SECRET_KEYS", "RETOUR_DIGEST_KEY", "RETOUR_SEAL_KEY")
_FOREIGN: Final = {"DATABASE_URL", "REDIS_URL", "BASE_URL", "HOST", "PORT", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
SERVERS: Final[Mapping[str, Callable[[str, int], Sequence[str]]]] = {"gunicorn": gunicorn, "granian": granian, "waitress": waitress}


@dataclass(slots=True)
class Crew:
    """Processes of ours. Whoever leaves the block ends them: asked first, then killed."""

    environ: Mapping[str, str]
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self, *words: str, log: Path | None = None) -> subprocess.Popen[bytes]:
        with (log or Path(os.devnull)).open("ab") as out:
            process = subprocess.Popen(  # noqa: S603 - our own commands
                (sys.executable, *words),
                env=dict(self.environ),
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )
        self.running.append(process)
        return process

    def stop(self) -> None:
        for process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
        for process in self.running:
            with suppress(subprocess.TimeoutExpired):
                process.wait(35)
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.running.clear()


@contextmanager
def crew(environ: Mapping[str, str]) -> Iterator[Crew]:
    """A crew for the block."""
    hands = Crew(environ)
    try:
        yield hands
    finally:
        hands.stop()


@dataclass(slots=True)
class Stage:
    """A directory on a disk, the keys of one installation, and where its servers are."""

    directory: Path
    keys: Mapping[str, str] = field(default_factory=lambda: {name: new_key() for name in _KEYS}, repr=False)
    valkey: str = ""
    postgres: servers.Postgres | None = None
    shop: Mapping[str, str] = field(default_factory=dict)  # credentials of the simulated shop, where one runs

    def environ(self, database_url: str, *, port: int = 0, redis_url: str | None = None) -> dict[str, str]:
        """The environment of our processes; nothing of the developer's own settings."""
        kept = {
            name: value for name, value in os.environ.items() if name.upper() not in _FOREIGN and not name.startswith(("RETOUR_", "PG"))
        }
        ours = {"DATABASE_URL": database_url, "REDIS_URL": self.valkey if redis_url is None else redis_url, "RETOUR_DEV": "1"}
        told = {"PORT": str(port), "BASE_URL": f"http://127.0.0.1:{port}"} if port else {}
        return {**kept, **self.keys, **ours, **told, "RETOUR_DATA": str(self.directory), "RETOUR_LOG": "error"}

    def settings(self, database_url: str) -> Settings:
        return Settings.from_env(self.environ(database_url))

    @contextmanager
    def database(self, kind: str, *, paused: bool = False) -> Iterator[str]:
        """A fresh database with the shop in it. A `paused` shop's work waits, as if it had asked for that: its rows can be counted."""
        name = f"bench_{uuid.uuid4().hex}"
        if kind == "postgresql":
            assert self.postgres is not None
            url = self.postgres.create_database(name)
        else:
            url = f"sqlite:///{self.directory / name}.db"
        self.connect(url, paused=paused)
        try:
            yield url
        finally:
            if kind == "postgresql" and self.postgres is not None:
                self.postgres.drop_database(name)
            for file in self.directory.glob(f"{name}.db*"):
                file.unlink()

    def connect(self, url: str, *, paused: bool = False) -> None:
        """Migrate, and connect the shop. It was never read, so nobody polls: what is read is read because of deliveries."""
        settings = self.settings(url)
        database, vault = wiring.database(settings), wiring.vault(settings)
        migrate.to(database)
        platform = WooPlatform(dev=True)
        home = {"url": "http://127.0.0.1:9", "consumer_key": "ck", "consumer_secret": "cs", **self.shop}
        words = {**home, "key_id": "1", "permissions": "read_write", "door": DOOR, "delivery_secret": SECRET}
        domain = platform.shop_at(words["url"])
        facts = platform.connect(domain, words, {}).probe() if self.shop else {}
        with database.transaction() as session:
            now = database.now(session)
            shop = shops.connect(
                session, platform=platform.name, domain=domain, credentials=words, vault=vault, time_zone="UTC", now=now, facts=facts
            )
            row = session.get_one(Shop, shop)
            row.door, row.paused_until = vault.digest("door", DOOR), now + timedelta(days=1) if paused else None
        database.dispose()

    def open(self, url: str) -> Database:
        return wiring.database(self.settings(url))


@contextmanager
def stage(*, postgres: bool = True) -> Iterator[Stage]:
    """A stage for the block. /var/tmp lies on a disk where /tmp may lie in memory; TMPDIR says otherwise."""
    with ExitStack() as stack:
        directory = Path(tempfile.mkdtemp(prefix="retour-bench-", dir=os.environ.get("TMPDIR") or "/var/tmp"))  # noqa: S108 - 0700
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        built = Stage(directory, valkey=stack.enter_context(servers.valkey()).url)
        if postgres:
            built.postgres = stack.enter_context(servers.postgres(durable=directory.parent))
        yield built


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


def await_door(port: int, process: subprocess.Popen[bytes] | None = None, *, patience: float = _PATIENCE) -> bool:
    """Wait until the port answers a delivery that nobody signed with what it must: a 401. False once the patience is over."""
    question = urllib.request.Request(f"http://127.0.0.1:{port}{PATH}", b"{}", {"X-WC-Webhook-Topic": "order.updated"})
    until = time.monotonic() + patience
    while time.monotonic() < until and (process is None or process.poll() is None):
        try:
            urllib.request.urlopen(question, timeout=5)  # noqa: S310 - as above
        except urllib.error.HTTPError as answer:
            if answer.code == 401:
                return True
        except OSError:
            pass
        time.sleep(0.05)
    return False


def send(order: Order) -> Answers:
    """Have a process of its own send this."""
    told = subprocess.run(
        (sys.executable, "-m", "bench.load"), input=json.dumps(asdict(order)).encode(), stdout=subprocess.PIPE, cwd=ROOT, check=True
    )
    answers: dict[str, Any] = json.loads(told.stdout)
    return Answers(**answers)


def until(true: Callable[[], bool], *, patience: float = _PATIENCE, every: float = 0.05) -> bool:
    """Whether it came true in time."""
    late = time.monotonic() + patience
    while not true():
        if time.monotonic() > late:
            return False
        time.sleep(every)
    return True
