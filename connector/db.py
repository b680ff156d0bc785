"""The database: two kinds of transaction, the only commit in the project, the locks, and the clock that decides.

`transaction()` may write, `reading()` may not. No platform is ever called inside either.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Literal

from sqlalchemy import Connection, CursorResult, Engine, ExceptionContext, Executable, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import QueuePool

Dialect = Literal["sqlite", "postgresql"]
Clock = Callable[[Session], datetime]

_BUSY_AFTER: Final = 5.0  # seconds that a writer waits for its turn
_MIGRATES: Final = 600  # seconds that a migration waits for another one
_COURTESY: Final = 0.25  # seconds that a writer lets those go first who queued before it
_NAP: Final = 0.001
_WRITES: Final = "retour_writes"
_PUT: Final = "retour_put"


class Busy(Exception):
    """Other writers kept the database for too long; nothing was written. Answer 503, or come back later."""


@dataclass(slots=True)
class _Turn:
    """SQLite's writers, one at a time: its own busy handler starves them (measured: stalls of half a second).

    First the process's thread lock, then a lock on a side file, released in reverse. Before each stands a queue with room
    for one, so that who has just written cannot overtake who waits (measured without it: five seconds and more). The queue
    is a courtesy, and the lock decides: a process that was stopped in the queue only slows the others down.
    """

    path: Path
    patience: float
    _next: threading.Lock = field(default_factory=threading.Lock)
    _mutex: threading.Lock = field(default_factory=threading.Lock)
    _files: tuple[int, int] | None = None

    @contextmanager
    def taken(self, patience: float | None = None) -> Iterator[None]:
        """Hold the turn, or raise `Busy` once the patience is at its end."""
        until = time.monotonic() + (self.patience if patience is None else patience)
        if not self._thread_enters(until):
            raise Busy("another thread is writing")
        try:
            turn = self._process_enters(until)
            try:
                yield
            finally:
                fcntl.flock(turn, fcntl.LOCK_UN)
        finally:
            self._mutex.release()

    def anew(self) -> _Turn:
        """The turn of a child process. Its copies of the parent's files are closed: they would hold a lock that the parent dies with."""
        for file in self._files or ():
            with suppress(OSError):
                os.close(file)
        return _Turn(self.path, self.patience)

    def _thread_enters(self, until: float) -> bool:
        if not self._next.acquire(timeout=max(0.0, until - time.monotonic())):
            return False
        try:
            return self._mutex.acquire(timeout=max(0.0, until - time.monotonic()))
        finally:
            self._next.release()

    def _process_enters(self, until: float) -> int:
        """The locked file."""
        if self._files is None:
            names = (self.path.with_name(f"{self.path.name}.{word}") for word in ("next", "turn"))
            first, second = (os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600) for name in names)
            self._files = first, second
        queue, turn = self._files
        polite_until, queued = time.monotonic() + _COURTESY, False
        try:
            while True:
                queued = queued or _flock(queue)
                if (queued or time.monotonic() > polite_until) and _flock(turn):
                    return turn
                if time.monotonic() > until:
                    raise Busy("another process is writing")
                time.sleep(_NAP)
        finally:
            if queued:
                fcntl.flock(queue, fcntl.LOCK_UN)


def _flock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


class Database:
    """One database, opened once per process. SQLite (WAL, `synchronous=FULL`) and PostgreSQL (READ COMMITTED) behave alike."""

    def __init__(
        self,
        url: str,
        *,
        clock: Clock | None = None,
        ring: Callable[[], object] | None = None,
        pool: int = 10,
        patience: float = _BUSY_AFTER,
    ) -> None:
        """`ring` is called after a commit that put something into the outbox; `clock` replaces the database's own in tests.

        `patience`: seconds to wait for a turn, a lock or a connection before `Busy`.
        """
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
            self._turn = _Turn(path, patience)
            self.engine = create_engine(
                self.url,
                connect_args={"timeout": patience, "isolation_level": None},
                pool_size=pool,
                pool_timeout=patience,
                hide_parameters=True,
            )
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
            event.listen(self.engine, "checkin", _end_sqlite)
        else:
            options = f"-c lock_timeout={int(patience * 1000)} -c idle_in_transaction_session_timeout=30000 -c timezone=UTC"
            self.engine = create_engine(
                self.url,
                connect_args={"options": options, "connect_timeout": 5},
                pool_size=pool,
                pool_timeout=patience,
                pool_pre_ping=True,
                isolation_level="READ COMMITTED",
                hide_parameters=True,
            )
            event.listen(self.engine, "handle_error", _hide_values)
        one_state = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True} if self.dialect == "postgresql" else {}
        self._writer: Engine = self.engine.execution_options(**{_WRITES: True})
        self._reader: Engine = self.engine.execution_options(**{_WRITES: False, **one_state})
        _databases.add(self)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A transaction that may write: commits at the end, rolls back on any exception, then rings if something was put.

        Raises:
            Busy: SQLite's turn, a lock or a connection was not to be had in time.
        """
        alone = self._turn.taken() if self._turn else nullcontext()
        with alone, Session(self._writer, expire_on_commit=False) as session, _or_busy():
            yield session
            session.commit()
        if self._ring is not None and session.info.get(_PUT):  # the turn is over: a bell may take its time
            self._ring()

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that sees one state and may not write; the database itself refuses. Raises `Busy`."""
        with Session(self._reader, expire_on_commit=False, autoflush=False) as session, _or_busy():
            yield session

    @contextmanager
    def migrating(self) -> Iterator[Connection]:
        """A connection for migrations, one at a time: the turn on SQLite, an advisory lock on PostgreSQL.

        SQLite changes a table by making it anew, which it refuses while others refer to it: the steps check references themselves.
        """
        alone = self._turn.taken(_MIGRATES) if self._turn else nullcontext()
        with alone, self._writer.connect() as connection:
            if self.dialect == "sqlite":
                connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")  # without a transaction, in which it does nothing
            else:
                connection.execute(text(f"SET LOCAL lock_timeout = '{_MIGRATES}s'"))
                connection.execute(text("SELECT pg_advisory_lock(hashtextextended('retour:migrate', 0))"))
                connection.commit()
            try:
                yield connection
                connection.commit()
            finally:
                connection.rollback()
                if self.dialect == "sqlite":
                    connection.connection.cursor().execute("PRAGMA foreign_keys=ON")
                else:
                    connection.execute(text("SELECT pg_advisory_unlock(hashtextextended('retour:migrate', 0))"))
                    connection.commit()

    def now(self, session: Session) -> datetime:
        """The database's clock, aware UTC: it decides leases, quiet periods and marks, whatever the hosts' clocks say."""
        return self._clock(session) if self._clock is not None else database_clock(session)

    def dispose(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def forked(self) -> None:
        """In a child process: begin anew. Connections stay the parent's, and whoever held a lock is not here.

        SQLite forbids that it is open across a fork (its locks are the process's): the child is then refused.
        """
        pool = self.engine.pool
        if isinstance(pool, QueuePool) and pool.checkedin() + pool.checkedout():
            _inherited.append(pool)  # and never closed: that would be felt by the parent
            if self.dialect == "sqlite":
                event.listen(self.engine, "do_connect", _refuse)
        self.engine.dispose(close=False)
        if self._turn is not None:
            self._turn = self._turn.anew()


_databases: Final[weakref.WeakSet[Database]] = weakref.WeakSet()
_inherited: Final[list[QueuePool]] = []


def _refuse(*_connect: object) -> None:
    raise RuntimeError("this process was forked off while SQLite was open; open the database after the fork")


def _after_fork() -> None:
    for database in list(_databases):
        database.forked()


os.register_at_fork(after_in_child=_after_fork)


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
    """Run an UPDATE, DELETE or upsert and say how many rows it met: the heart of every compare-and-set."""
    result = session.execute(statement, execution_options={"preserve_rowcount": True})  # else -1 for an INSERT on PostgreSQL
    assert isinstance(result, CursorResult)  # noqa: S101 - typing only
    return result.rowcount


def skip_locked(session: Session, statement: Any, *, of: type[Any] | None = None) -> Any:  # noqa: ANN401 - any SELECT
    """`statement` with FOR UPDATE SKIP LOCKED on PostgreSQL (of one table, where it joins some). On SQLite writers take turns."""
    return statement.with_for_update(skip_locked=True, of=of) if session.get_bind().dialect.name == "postgresql" else statement


def for_update(session: Session, statement: Any) -> Any:  # noqa: ANN401 - any SELECT
    """`statement` with FOR NO KEY UPDATE on PostgreSQL: rows that refer to it may still be made. On SQLite writers take turns.

    For an order, call `services.orders.lock`.
    """
    return statement.with_for_update(key_share=True) if session.get_bind().dialect.name == "postgresql" else statement


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


_AWAY_SQLITE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_READONLY,
    }
)
_AWAY_POSTGRESQL: Final = ("08", "25P03", "40", "53", "55", "57", "58")  # connection, timeout, rollback, resources, locks, shutdown, system


def is_away(error: OperationalError) -> bool:
    """Whether the database could not be asked, or could not do it now. False: it answered, and asking again changes nothing."""
    code = getattr(error.orig, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in _AWAY_SQLITE
    state = getattr(error.orig, "sqlstate", None)
    return state is None or state.startswith(_AWAY_POSTGRESQL)


@contextmanager
def _or_busy() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        sqlite_code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
        if sqlite_code == sqlite3.SQLITE_BUSY or getattr(error.orig, "sqlstate", None) == "55P03":  # lock_not_available
            raise Busy("another transaction holds the lock") from error
        raise
    except NoConnection as error:
        raise Busy("every connection is in use") from error


def _hide_values(context: ExceptionContext) -> None:
    """PostgreSQL quotes the whole row in its DETAIL, and the input where it cannot read it: neither may reach a log (A71)."""
    error, wrapped = context.original_exception, context.sqlalchemy_exception
    told = getattr(getattr(error, "diag", None), "message_primary", None)
    if told is None:  # not the server's words
        return
    state = getattr(error, "sqlstate", None) or ""
    error.args = ("the input does not fit" if state.startswith("22") else told,)
    if wrapped is not None:
        wrapped.args = (f"({type(error).__module__}.{type(error).__name__}) {error.args[0]}",)


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection
    cursor = connection.cursor()
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "recursive_triggers=ON"):  # the last: REPLACE deletes, and must say so
        cursor.execute(f"PRAGMA {pragma}")
    until = time.monotonic() + _BUSY_AFTER
    while not _is_wal(cursor):  # SQLite does not wait here, and the first processes of a fresh database meet here
        if time.monotonic() > until:
            raise Busy("another process is opening the database")
        time.sleep(_NAP)
    cursor.close()


def _is_wal(cursor: Any) -> bool:  # noqa: ANN401 - a DBAPI cursor
    try:
        mode: str = cursor.execute("PRAGMA journal_mode=WAL").fetchone()[0]
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY:
            raise
        return False
    return mode in {"wal", "memory"}


def _end_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - a DBAPI connection, or None
    if connection is not None and connection.in_transaction:  # a COMMIT that failed leaves it open; SQLAlchemy thinks that it is over
        connection.rollback()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get(_WRITES, True)
    connection.exec_driver_sql(f"PRAGMA query_only={'OFF' if writes else 'ON'}")
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
