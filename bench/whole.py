"""The embedded default as it comes, `retour run`: its memory, how soon a delivery takes effect, and a burst of ten thousand."""

from __future__ import annotations

import base64
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Final

from sqlalchemy import func, select

from bench.deliveries import FIRST_ORDER, PERSONAL, Mould
from bench.intake import Untrue
from bench.load import Answers, Order
from bench.shop import Shop
from bench.stage import Stage, await_door, crew, free_port, send, until
from connector.db import Database
from connector.models import HintRow, Kind, OrderRow, OutboxRow, Sync
from connector.models import Shop as ShopRow
from connector.services.inbox import POLL_AFTER

REFUNDS: Final = 10  # of so many deliveries of a burst one tells of a refund
_CIPHERTEXT: Final = b"gAAAAA"  # how a Fernet token of this century begins
_CONNECTIONS: Final = 32  # of a burst: shops do not wait for each other
_OUTCOME: Final = 120.0  # seconds


@dataclass(frozen=True, slots=True)
class Embedded:
    """A running `retour run` on SQLite."""

    stage: Stage
    shop: Shop
    port: int
    pid: int
    database: Database


@dataclass(frozen=True, slots=True)
class Burst:
    """What became of a burst. `left`: ciphertexts of bodies in pages that SQLite has given free and not overwritten yet.

    `polls`: how many were asked for by the deliveries that tell of a refund, of which they do not say the order.
    """

    answers: Answers
    requests: int
    polls: int
    seconds: float  # until the last order was read
    left: int


@contextmanager
def embedded(stage: Stage, shop: Shop) -> Iterator[Embedded]:
    """Running, for the block. The shop is read up to now: what is polled is polled because of deliveries."""
    stage.shop = shop.credentials
    url, port = f"sqlite:///{stage.directory / 'retour.db'}", free_port()
    stage.connect(url)
    _read(stage, url)
    environ = stage.environ(url, port=port)
    del environ["DATABASE_URL"], environ["REDIS_URL"]
    with crew(environ) as hands:
        process = hands.start("-m", "connector.cli", "run", log=stage.directory / "log")
        if not await_door(port, process):
            raise Untrue(f"retour run does not come up\n{(stage.directory / 'log').read_text(errors='replace')[-2000:]}")
        database = stage.open(url)
        try:
            yield Embedded(stage, shop, port, process.pid, database)
        finally:
            database.dispose()


def _read(stage: Stage, url: str) -> None:
    database = stage.open(url)
    with database.transaction() as session:
        now = database.now(session)
        later = now + timedelta(days=1)
        owner = session.execute(select(ShopRow.id)).scalar_one()
        session.add(Sync(shop_id=owner, watermark=now, polled_at=now, poll_at=later, probe_at=later, import_done_at=now))
    database.dispose()


def memory(pid: int) -> dict[str, int]:
    """What a process and its children take, in bytes by name: their share of what they share (PSS). Nothing where /proc does not say."""
    taken: dict[str, int] = {}
    for each in (pid, *_below(pid)):
        try:
            told = Path(f"/proc/{each}/smaps_rollup").read_text(encoding="ascii").split("\n")
            words = Path(f"/proc/{each}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        name = " ".join(os.fsdecode(word).rpartition("/")[2] for word in words if word and not word.startswith(b"-"))[:40]
        pss = next((line for line in told if line.startswith("Pss:")), "Pss: 0")
        taken[f"{name} ({each})"] = int(pss.split()[1]) * 1024
    return taken


def _below(pid: int) -> list[int]:
    found: list[int] = []
    for file in Path("/proc").glob(f"{pid}/task/*/children"):
        for child in map(int, file.read_text(encoding="ascii").split()):
            found += [child, *_below(child)]
    return found


def effect(here: Embedded, times: int) -> list[float]:
    """Seconds from a delivery to the row of its order, nothing else being done."""
    took = []
    for n in range(times):
        time.sleep(3.0 + 0.7 * n % 2)  # at any point of the clock's round
        ref = FIRST_ORDER + n
        begun = time.perf_counter()
        _post(here.port, Mould.of(ref, 8000).delivery(10**9 + n))
        if not until(lambda ref=ref: _known(here.database, str(ref)) == 1, every=0.01):  # type: ignore[misc]  # a default binds it
            raise Untrue(f"order {ref} was not read")
        took.append(time.perf_counter() - begun)
    return took


def burst(here: Embedded, count: int, orders: int, seconds: float) -> Burst:
    """So many deliveries about so many orders in so many seconds: all acknowledged, all read, and nothing personal left."""
    here.shop.asked()
    begun = time.perf_counter()
    answers = send(Order(here.port, count, orders=orders, over=seconds, connections=_CONNECTIONS, refunds=REFUNDS))
    if not answers.all_kept:
        raise Untrue(f"not every delivery was answered with 200: {dict(answers.statuses)}")
    if not until(lambda: _hints(here.database) == 0, patience=_OUTCOME, every=0.2):
        raise Untrue(f"{_hints(here.database):,} hints were not worked off")
    took = time.perf_counter() - begun
    if (known := _known(here.database)) < orders:
        raise Untrue(f"{known:,} orders of {orders:,} were read")
    polls = _polls(here.database)
    if not 1 <= polls <= 2 + (time.perf_counter() - begun) / POLL_AFTER.total_seconds():
        raise Untrue(f"{count // REFUNDS:,} deliveries that tell of a refund asked for {polls:,} polls")
    asked, files = here.shop.asked(), _files(here.stage.directory)
    if found := personal(here.stage.directory):
        raise Untrue(f"{found} is left in a file")
    return Burst(answers, asked, polls, took, sum(file.count(_CIPHERTEXT) for file in files))


def personal(directory: Path) -> list[str]:
    """What of `PERSONAL` is left in any byte of the files below: plain, as JSON, or within base64 of anything."""
    files = _files(directory)
    return [word for word in PERSONAL if any(form in file for form in _forms(word) for file in files)]


def _files(directory: Path) -> list[bytes]:
    return [file.read_bytes() for file in directory.rglob("*") if file.is_file() and file.name != "log"]


def _forms(word: str) -> set[bytes]:
    """How it may be written. Base64 writes a text in three ways, by what stands before it; what depends on its neighbours is left out."""
    plain = word.encode()
    shifted = {base64.b64encode(bytes(n) + plain)[-(-n * 8 // 6) : (n + len(plain)) * 8 // 6] for n in range(3)}
    return {plain, json.dumps(word)[1:-1].encode(), *shifted}


def _post(port: int, pieces: object) -> None:
    assert isinstance(pieces, tuple)
    with socket.create_connection(("127.0.0.1", port), timeout=30) as line:
        line.sendall(b"".join(pieces))
        if not (answer := line.recv(4096)).startswith(b"HTTP/1.1 200"):
            raise Untrue(f"a delivery was answered with {answer[:30]!r}")


def _hints(database: Database) -> int:
    with database.reading() as session:
        count: int = session.execute(select(func.count()).select_from(HintRow)).scalar_one()
    return count


def _polls(database: Database) -> int:
    with database.reading() as session:
        count: int = session.execute(select(func.count()).select_from(OutboxRow).where(OutboxRow.kind == Kind.POLL.value)).scalar_one()
    return count


def _known(database: Database, ref: str | None = None) -> int:
    query = select(func.count()).select_from(OrderRow).where(OrderRow.snapshot.is_not(None))
    with database.reading() as session:
        count: int = session.execute(query if ref is None else query.where(OrderRow.ref == ref)).scalar_one()
    return count
