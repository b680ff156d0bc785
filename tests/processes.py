"""Processes of their own for tests: forked quickly from a server that has imported us, told things, listened to, and killed if need be."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any, Final, Generic, TypeVar

T = TypeVar("T")

_PATIENCE: Final = 60.0  # seconds for whatever a child is to do, on a busy machine
_CONTEXT: Final = get_context("forkserver")
_CONTEXT.set_forkserver_preload(["pytest", "hypothesis", "psycopg", "connector.migrate", "connector.config", "jobs.drain", "tests.world"])


class Link:
    """A child's end."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def say(self, what: object) -> None:
        """Something that the test is to hear."""
        self._connection.send(("said", what))

    def hear(self) -> Any:
        """What the test tells next."""
        return self._connection.recv()


class Child(Generic[T]):
    """A process that runs `what(link, *args)`. Its exception is raised in the test."""

    def __init__(self, what: Callable[..., T], *args: object) -> None:
        self._connection, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=_live, args=(theirs, what, args), daemon=True)
        self._process.start()
        theirs.close()
        assert self._process.pid
        self.pid: int = self._process.pid

    def tell(self, what: object) -> None:
        """Something that the child hears."""
        self._connection.send(what)

    def hear(self) -> Any:
        """What the child says next."""
        return self._next("said")

    def result(self) -> T:
        """What it returned. It is gone after that."""
        result: T = self._next("returned")
        self._process.join(_PATIENCE)
        return result

    def kill(self) -> list[Any]:
        """SIGKILL. What it had said and nobody had heard."""
        self._process.kill()
        self._process.join(_PATIENCE)
        unheard = []
        try:
            while self._connection.poll():
                unheard.append(self._connection.recv()[1])
        except (EOFError, OSError):  # the last message may be half of one
            pass
        return unheard

    def close(self) -> None:
        """It is gone, and leaves nothing behind."""
        self._process.kill()
        self._process.join(_PATIENCE)
        self._process.close()
        self._connection.close()

    def _next(self, wanted: str) -> Any:
        assert self._connection.poll(_PATIENCE), "the child says nothing"
        kind, what = self._connection.recv()
        assert kind == wanted, f"the child {kind} {what}"
        return what


@contextmanager
def child(what: Callable[..., T], *args: object) -> Iterator[Child[T]]:
    """A process for the block."""
    process = Child(what, *args)
    try:
        yield process
    finally:
        process.close()


def together(what: Callable[..., T], each: Sequence[tuple[object, ...]]) -> list[T]:
    """Run `what(meet, *args)` in one process for each `args`, at once. `meet()` waits until all have come to it."""
    barrier = _CONTEXT.Barrier(len(each), timeout=_PATIENCE)
    children = [Child(_meeting, what, barrier, *args) for args in each]
    results: list[T] = []
    broken: list[AssertionError] = []
    for one in children:
        try:
            results.append(one.result())
        except AssertionError as error:
            broken.append(error)
        finally:
            one.close()
    if broken:
        raise min(broken, key=lambda error: "BrokenBarrierError" in str(error))  # the cause before those that it held up
    return results


def _meeting(_link: Link, what: Callable[..., T], barrier: Any, *args: object) -> T:
    try:
        return what(barrier.wait, *args)
    except BaseException:
        barrier.abort()  # nobody waits for us
        raise


def _live(connection: Connection, what: Callable[..., object], args: tuple[object, ...]) -> None:
    try:
        connection.send(("returned", what(Link(connection), *args)))
    except Exception:  # noqa: BLE001 - the test raises it
        connection.send(("raised", traceback.format_exc()))
