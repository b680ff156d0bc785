"""The database: two kinds of transaction, the only commit in the project, the locks, and the clock that decides.

`transaction()` may write, `reading()` may not. No platform is ever called inside either.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import Connection, CursorResult, Engine, Executable, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

Dialect = Literal["sqlite", "postgresql"]
Clock = Callable[[Session], datetime]

_BUSY_AFTER: Final = 5.0  # seconds that a writer waits for its turn
_WRITES: Final = "retour_writes"
_PUT: Final = "retour_put"


class Busy(Exception):
    """Other writers kept the database for too long; nothing was written. Answer 503, or come back later."""


@dataclass(slots=True)
class _Turn:
    """SQLite's writers, one at a time: its own busy handler starves them (measured: stalls of half a second).

    First the process's thread lock, then a lock on a side file, released in reverse. The file is opened in the process
    that uses it, because a lock taken before a fork would be shared.
    """

    path: Path
    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _file: int = -1
    _pid: int = -1

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold the turn, or raise `Busy` after five seconds."""
        until = time.monotonic() + _BUSY_AFTER
        if not self._mutex.acquire(timeout=_BUSY_AFTER):
            raise Busy("another thread is writing")
        try:
            self._lock_file(until)
            try:
                yield
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        finally:
            self._mutex.release()

    def _lock_file(self, until: float) -> None:
        if self._pid != os.getpid():
            self._file, self._pid = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), os.getpid()
        nap = 0.0005
        while True:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > until:
                    raise Busy("another process is writing") from None
                time.sleep(nap)
                nap = min(nap * 1.5, 0.01)
            else:
                return


class Database:
    """One database, opened once per process. SQLite (WAL, `synchronous=FULL`) and PostgreSQL (READ COMMITTED) behave alike."""

    def __init__(self, url: str, *, clock: Clock | None = None, ring: Callable[[], object] | None = None, pool: int = 10) -> None:
        """`ring` is called after a commit that put something into the outbox; `clock` replaces the database's own in tests."""
        self.url = make_url(url)
        if self.url.get_backend_name() not in {"sqlite", "postgresql"}:
            raise ValueError("only sqlite and postgresql are supported")
        self.dialect: Dialect = "sqlite" if self.url.get_backend_name() == "sqlite" else "postgresql"
        self._clock = clock
        self._ring = ring
        self._turn: _Turn | None = None
        if self.dialect == "sqlite":
            path = Path(self.url.database or "retour.db").absolute()
            path.parent.mkdir(parents=True, exist_ok=True)
            self._turn = _Turn(path.with_name(path.name + ".turn"))
            self.engine = create_engine(
                self.url, connect_args={"timeout": _BUSY_AFTER, "isolation_level": None}, pool_size=pool, hide_parameters=True
            )
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
        else:
            options = "-c lock_timeout=5000 -c idle_in_transaction_session_timeout=30000 -c timezone=UTC"
            self.engine = create_engine(
                self.url,
                connect_args={"options": options, "connect_timeout": 5},
                pool_size=pool,
                pool_pre_ping=True,
                isolation_level="READ COMMITTED",
                hide_parameters=True,
            )
        self._writer: Engine = self.engine.execution_options(**{_WRITES: True})
        self._reader: Engine = self.engine.execution_options(**{_WRITES: False, "postgresql_readonly": True})

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction that may write: commits at the end, rolls back on any exception, then rings if something was put.

        Raises:
            Busy: SQLite's turn, or a lock, was not to be had in five seconds.
        """
        if self._turn is None:
            yield from self._written()
        else:
            with self._turn.taken():
                yield from self._written()

    def _written(self) -> Iterator[Session]:
        with Session(self._writer, expire_on_commit=False) as session:
            try:
                yield session
                session.commit()
            except OperationalError as error:
                if getattr(error.orig, "sqlstate", None) == "55P03":  # lock_not_available
                    raise Busy("another transaction holds the row") from error
                raise
        if self._ring is not None and session.info.get(_PUT):
            self._ring()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees one state and may not write; the database itself refuses."""
        with Session(self._reader, expire_on_commit=False, autoflush=False) as session:
            yield session

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A connection for migrations, one at a time: the turn on SQLite, an advisory lock on PostgreSQL."""
        with self._turn.taken() if self._turn else nullcontext(), self._writer.connect() as connection:
            if self.dialect == "postgresql":
                connection.execute(text("SELECT pg_advisory_lock(hashtextextended('retour:migrate', 0))"))
                connection.commit()
            try:
                yield connection
                connection.commit()
            finally:
                if self.dialect == "postgresql":
                    connection.rollback()
                    connection.execute(text("SELECT pg_advisory_unlock(hashtextextended('retour:migrate', 0))"))
                    connection.commit()

    def now(self, session: Session) -> datetime:
        """The database's clock, aware UTC: it decides leases, quiet periods and marks, whatever the hosts' clocks say."""
        return self._clock(session) if self._clock is not None else database_clock(session)

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def database_clock(session: Session) -> datetime:
    """The database's own clock, not the start of the transaction. Aware UTC."""
    if session.get_bind().dialect.name == "postgresql":
        told: datetime = session.execute(text("SELECT clock_timestamp()")).scalar_one()
        return told.astimezone(UTC)
    said: str = session.execute(text("SELECT strftime('%Y-%m-%dT%H:%M:%f', 'now')")).scalar_one()
    return datetime.fromisoformat(said).replace(tzinfo=UTC)


def will_ring(session: Session) -> None:
    """Note that this transaction put something into the outbox."""
    session.info[_PUT] = True


def upsert(session: Session, row: type[Any]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT of `row`'s table that knows ON CONFLICT in the session's dialect."""
    return postgresql.insert(row) if session.get_bind().dialect.name == "postgresql" else sqlite.insert(row)


def changed(session: Session, statement: Executable) -> int:
    """Run an UPDATE or DELETE and say how many rows it met: the heart of every compare-and-set."""
    result = session.execute(statement)
    assert isinstance(result, CursorResult)  # noqa: S101 - typing only
    return result.rowcount


def skip_locked(session: Session, statement: Any) -> Any:  # noqa: ANN401 - any SELECT
    """`statement` with FOR UPDATE SKIP LOCKED on PostgreSQL. On SQLite writers take turns, so nothing is locked."""
    return statement.with_for_update(skip_locked=True) if session.get_bind().dialect.name == "postgresql" else statement


def for_update(session: Session, statement: Any) -> Any:  # noqa: ANN401 - any SELECT
    """`statement` with FOR UPDATE on PostgreSQL; on SQLite writers take turns. For an order, call `services.orders.lock`."""
    return statement.with_for_update() if session.get_bind().dialect.name == "postgresql" else statement


def advisory(session: Session, name: str) -> bool:
    """Try to be the only transaction that does `name` until it ends. On SQLite writers take turns, so always yes."""
    if session.get_bind().dialect.name == "sqlite":
        return True
    got: bool = session.execute(text("SELECT pg_try_advisory_xact_lock(hashtextextended(:name, 0))"), {"name": name}).scalar_one()
    return got


def boot_clock() -> timedelta:
    """A clock of this machine that only goes forward and counts the time it slept: for windows inside one process."""
    clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
    return timedelta(seconds=time.clock_gettime(clock))


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, True)
    connection.exec_driver_sql(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
