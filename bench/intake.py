"""How many deliveries a second are kept, by which server in front of which database. Every 200 must be a row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import func, select

from bench.load import Answers, Order
from bench.stage import SERVERS, Stage, await_door, crew, free_port, send
from connector.models import HintRow

OURS: Final = "connector.web.wsgi:application"
BARE: Final = "bench.apps:bare"
RINGING: Final = "bench.apps:ringing"
NOBODY: Final = "unix:///nobody/listens/here.sock"
_MANY: Final = 1_000_000


class Untrue(Exception):
    """A number that means nothing: what must be true of it is not."""


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the table."""

    server: str
    database: str = ""  # none: the bare endpoint
    app: str = OURS
    valkey: bool = True

    @property
    def title(self) -> str:
        if not self.database:
            return f"bare Flask endpoint, {self.server}"
        more = f"{', a bell on every commit' if self.app == RINGING else ''}{'' if self.valkey else ', Valkey down'}"
        return f"{_TITLES[self.database]}, {self.server}{more}"


_TITLES: Final = {"sqlite": "SQLite FULL", "postgresql": "PostgreSQL"}
DENOMINATOR: Final = Line("gunicorn", app=BARE)
LINES: Final = (
    DENOMINATOR,
    *(Line(server, database) for database in _TITLES for server in SERVERS),
    Line("granian", "sqlite", valkey=False),
    Line("granian", "sqlite", app=RINGING),
)


def measure(stage: Stage, line: Line, *, seconds: float, warm: float = 0.5, count: int = _MANY) -> Answers:
    """One round of one line: as many as go through in so many seconds. Raises `Untrue`."""
    order = Order(0, count, seconds=seconds + warm, warm=warm)
    if not line.database:
        return _sent(stage, line, order, "sqlite:///:nowhere:")
    with stage.database(line.database, paused=True) as url:
        answers = _sent(stage, line, order, url)
        rows = kept(stage, url)
    if rows != answers.kept:
        raise Untrue(f"{line.title}: {answers.kept:,} were answered with 200, and {rows:,} rows are there")
    return answers


def kept(stage: Stage, url: str) -> int:
    """How many deliveries are in the inbox."""
    database = stage.open(url)
    with database.reading() as session:
        rows: int = session.execute(select(func.count()).select_from(HintRow)).scalar_one()
    database.dispose()
    return rows


def _sent(stage: Stage, line: Line, order: Order, url: str) -> Answers:
    port = free_port()
    with crew(stage.environ(url, port=port, redis_url=None if line.valkey else NOBODY)) as hands:
        log = stage.directory / "log"
        if line.database:
            for name in ("worker", "clock"):
                hands.start("-m", "jobs", name, log=log)
        server = hands.start(*SERVERS[line.server](line.app, port), log=log)
        if not await_door(port, server):
            raise Untrue(f"{line.title}: it does not come up\n{log.read_text(errors='replace')[-2000:]}")
        answers = send(Order(port, order.count, seconds=order.seconds, warm=order.warm))
    if not answers.all_kept:
        raise Untrue(f"{line.title}: not every delivery was answered with 200: {dict(answers.statuses)}")
    return answers
