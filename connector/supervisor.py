"""Run Retour's processes on one machine: start them, restart what dies, take them all down together.

One supervisor to a data directory. Its children die with it, also when it is killed. Only names, process ids and exit codes are logged: a
command or an environment may hold a secret.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from connector.signals import StopSignals

_TETHER: Final = Path(__file__).with_name("tether.py")
_TICK: Final = 0.05  # seconds between two looks at the children
_STEADY: Final = 30.0  # seconds of life after which a death is a first one again
_SLOWEST: Final = 30.0  # seconds before a restart, at most
_READY: Final = 10.0  # seconds for a child that others need to answer

log = logging.getLogger(__name__)


class AlreadyRunning(Exception):
    """Another supervisor has this data directory. The message names its process."""


@dataclass(frozen=True, slots=True)
class Child:
    """A command to keep running. If others need it, `answers` says when it is ready: it starts before them and stops after them."""

    name: str
    command: Sequence[str]
    answers: Callable[[], bool] | None = None


class _Run:
    """A child's present process and its luck so far."""

    def __init__(self, child: Child) -> None:
        self.child = child
        self.process: subprocess.Popen[bytes] | None = None
        self.started_at = 0.0
        self.due_at = 0.0
        self.deaths = 0


class Supervisor:
    """Keeps `children` running while the block lasts, or from `start` to `stop`.

    `environ` is what they get. `grace` is how many seconds they have to finish what they are at when they are stopped.
    """

    def __init__(
        self, data_dir: Path, children: Iterable[Child], environ: Mapping[str, str], *, grace: float = 30.0, tether: str | None = None
    ) -> None:
        self._data_dir = data_dir
        self._environ = dict(environ)
        self._grace = grace
        self._tether = tether or ("become" if sys.platform == "linux" else "watch")
        self._runs = {child.name: _Run(child) for child in children}
        self._lock = threading.Lock()  # a process id is signalled or reaped, never both
        self._up, self._stopping, self._hurried = threading.Event(), threading.Event(), threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="supervisor", daemon=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start every child, those that others need first, and return once all are started.

        Raises:
            AlreadyRunning: if another process has this data directory.
        """
        claim = _claim(self._data_dir)
        self._leash, held = os.pipe()  # children get the reading end; the other closes with this process
        self._handles = [claim, self._leash, held]
        self._keeper.start()
        self._up.wait()

    def stop(self) -> None:
        """Ask every child to stop, kill after `grace` seconds those that have not, and give the data directory free."""
        self._stopping.set()
        self._keeper.join()
        while self._handles:
            os.close(self._handles.pop())

    def run(self) -> int:
        """Start, and stop on SIGTERM or SIGINT; a second one kills at once. For a main program: its exit code.

        Raises:
            AlreadyRunning: if another process has this data directory.
        """
        with StopSignals() as signals, self:
            while not (asked := signals.wait(1.0)) and self._keeper.is_alive():
                pass
            log.info("supervisor.stopping")
            self._stopping.set()
            while self._keeper.is_alive():
                if signals.wait(_TICK):
                    self._hurried.set()
        return 0 if asked else 1

    def pids(self) -> dict[str, int]:
        """The process ids of the children that live, by name."""
        with self._lock:
            return {name: run.process.pid for name, run in self._runs.items() if run.process is not None and run.process.poll() is None}

    def kill(self, name: str) -> None:
        """Kill a child as a crash would (SIGKILL). It is restarted."""
        self._signal(self._runs[name], signal.SIGKILL)

    def _keep(self) -> None:
        """In one thread from first to last, because the kernel ties a child to the thread that made it."""
        runs = self._runs.values()
        needed, rest = [run for run in runs if run.child.answers], [run for run in runs if not run.child.answers]
        try:
            for run in needed:
                self._start(run)
                self._await(run)
            for run in rest:
                self._start(run)
            self._up.set()
            while not self._stopping.wait(_TICK):
                for run in (*needed, *rest):
                    self._revive(run)
        finally:
            self._up.set()
            self._end(rest, self._grace)
            self._end(needed, min(self._grace, 5.0))

    def _await(self, run: _Run) -> None:
        answers, late = run.child.answers, time.monotonic() + _READY
        while answers is not None and not answers() and time.monotonic() < late and not self._stopping.wait(_TICK):
            self._revive(run)

    def _start(self, run: _Run) -> None:
        command = (sys.executable, "-I", "-S", str(_TETHER), self._tether, str(os.getpid()), str(self._leash), *run.child.command)
        try:
            process = subprocess.Popen(  # noqa: S603 - the caller's own commands
                command, env=self._environ, pass_fds=(self._leash,), stdin=subprocess.DEVNULL, start_new_session=True
            )
        except OSError as error:  # no more processes, or no memory, at the moment
            log.warning("child.unstarted", extra={"child": run.child.name, "reason": type(error).__name__})
            run.due_at = time.monotonic() + 1.0
            return
        with self._lock:
            run.process, run.started_at = process, time.monotonic()
        log.info("child.started", extra={"child": run.child.name, "child_pid": process.pid})

    def _revive(self, run: _Run) -> None:
        """Restart a dead child: at once after a life, later and later after one death upon another."""
        if run.process is not None:
            with self._lock:
                process, code = run.process, run.process.poll()
                if code is None:
                    return
                run.process = None
            _sweep(process.pid)
            run.deaths = 0 if time.monotonic() - run.started_at >= _STEADY else run.deaths + 1
            run.due_at = time.monotonic() + (min(0.1 * 2 ** min(run.deaths, 10), _SLOWEST) if run.deaths else 0.0)
            log.warning("child.died", extra={"child": run.child.name, "child_pid": process.pid, "code": code})
        if time.monotonic() >= run.due_at:
            self._start(run)

    def _end(self, runs: Sequence[_Run], grace: float) -> None:
        for run in runs:
            self._signal(run, signal.SIGTERM)
        late = time.monotonic() + grace
        while self._living(runs) and time.monotonic() < late and not self._hurried.wait(_TICK):
            pass
        for run in self._living(runs):
            log.warning("child.killed", extra={"child": run.child.name})
        for run in runs:
            self._signal(run, signal.SIGKILL)
            if run.process is not None:
                run.process.wait()
                _sweep(run.process.pid)

    def _living(self, runs: Sequence[_Run]) -> list[_Run]:
        with self._lock:
            return [run for run in runs if run.process is not None and run.process.poll() is None]

    def _signal(self, run: _Run, number: signal.Signals) -> None:
        """To the child alone if it may still act on it; a kill is for its whole group."""
        with self._lock:
            if run.process is None or run.process.poll() is not None:
                return
            if number == signal.SIGKILL:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(run.process.pid, number)
            run.process.send_signal(number)


def _sweep(group: int) -> None:
    """What a dead child left behind in its group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # macOS says the latter of a zombie
        os.killpg(group, signal.SIGKILL)


def _claim(data_dir: Path) -> int:
    """The data directory, for this process alone; the kernel gives it free however the process ends."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(data_dir / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(handle, 32).decode("ascii", "replace").strip() or "unknown"
        os.close(handle)
        raise AlreadyRunning(
            f"Retour already runs on {data_dir}, as process {holder}. Stop that one first, or start this one with another RETOUR_DATA."
        ) from None
    os.ftruncate(handle, 0)
    os.write(handle, f"{os.getpid()}\n".encode("ascii"))
    return handle
