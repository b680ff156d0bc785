"""Simulated workers: threads that run one at a time and hand over at every step that matters.

The code that they run is the real one. Whoever schedules them decides at each step who goes on, who dies there, who sleeps,
and who loses the database.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from connector.db import Database
from connector.services import outbox
from jobs import drain
from jobs.handlers import HANDLERS
from jobs.site import Site
from tests.world import Clock

_here = threading.local()


class Stage(Protocol):
    """What a worker tells whoever schedules it."""

    rung: bool
    broken: list[str]

    def note(self, what: str) -> None:
        """Something to trace."""


class Killed(BaseException):
    """kill -9, as a thread can feel it: nothing after this line happens."""


class Stepped(Database):
    """The real database, with a step before and after each transaction, where a worker may be stopped."""

    def __init__(self, url: str, clock: Clock) -> None:
        """`clock` is the database's."""
        super().__init__(url, clock=lambda _session: clock.now, ring=ring)
        self.test_clock = clock

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A write: it may be lost before its commit, and its answer after."""
        step("before a transaction")
        with super().transaction() as session:
            yield session
            stopped_inside()
        step("after a commit")

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A read."""
        step("before a read")
        with super().reading() as session:
            yield session


def step(name: str) -> None:
    """Hand over to whoever the schedule picks, if this is a worker; the main thread just goes on."""
    worker: Worker | None = getattr(_here, "worker", None)
    if worker is not None:
        worker.hand_over(name)


@contextmanager
def on_behalf_of(worker: Worker | None) -> Iterator[None]:
    """A thread of the far side works for this worker, which waits for its answer: its steps are the worker's."""
    _here.worker = worker
    try:
        yield
    finally:
        _here.worker = None


def far_step(name: str) -> None:
    """A step over there. Whoever asked may be dead by now: the far side goes on, and the worker dies when it is back."""
    with suppress(Killed):
        step(name)


def working() -> Worker | None:
    """The worker of this thread, if it is one's."""
    found: Worker | None = getattr(_here, "worker", None)
    return found


def stopped_inside() -> None:
    """Die or lose the database just before a commit, where the schedule said so."""
    worker: Worker | None = getattr(_here, "worker", None)
    if worker is not None:
        worker.inside()


def ring() -> None:
    """A commit put something into the outbox: the bell rings, if Redis still knows."""
    schedule: Stage | None = getattr(_here, "schedule", None)
    if schedule is not None:
        schedule.rung = True


@dataclass(eq=False)
class Worker:
    """One worker process: claims a row, works it, again. Dies and is started anew by its supervisor."""

    name: str
    schedule: Stage
    site: Site
    at: str = "idle"
    asleep_until: timedelta = timedelta(0)
    fate: str = ""
    row: str = ""
    _go: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _back: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    _thread: threading.Thread | None = None
    ended: bool = False

    def proceed(self) -> None:
        """Let it run to its next step."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, daemon=True)
            self._thread.start()
        self._go.release()
        self._back.acquire()

    def hand_over(self, name: str) -> None:
        """Called by the worker's own thread at each step."""
        self.at = name
        self._back.release()
        self._go.acquire()
        if self.fate == "killed":
            raise Killed
        if self.fate == "database gone" and name == "after a commit":
            self.fate = ""
            raise OperationalError("COMMIT", None, ConnectionError("the answer to the commit was lost"))

    def inside(self) -> None:
        """Called just before a commit."""
        if self.fate == "killed before the commit":
            raise Killed
        if self.fate == "database gone before the commit":
            self.fate = ""
            raise OperationalError("COMMIT", None, ConnectionError("the server went away"))

    def _live(self) -> None:
        _here.worker, _here.schedule = self, self.schedule
        self._go.acquire()
        while not self.ended:
            try:
                self._work()
            except Killed:
                self.schedule.note(f"{self.name} is dead")
            except OperationalError:
                self.schedule.note(f"{self.name} lost the database")
            except BaseException:  # noqa: BLE001 - whatever it is, the schedule must hear of it
                self.schedule.broken.append(traceback.format_exc())
            self.fate, self.row = "", ""
            self.at = "idle"
            self._back.release()
            self._go.acquire()

    def _work(self) -> None:
        """What the drain does with one row."""
        with self.site.db.transaction() as session:
            rows = outbox.claim(session, kinds=HANDLERS, limit=1, now=self.site.db.now(session))
        if not rows:
            self.schedule.rung = False
            return
        self.row = rows[0].kind
        drain.work_one(self.site, rows[0])

    def end(self) -> None:
        """Stop the thread; the schedule is over."""
        self.ended = True
        if self._thread is not None:
            self.fate = "killed"
            while self._thread.is_alive():
                self._go.release()
                self._thread.join(0.01)
