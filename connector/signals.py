"""Being asked to stop, without running code in a signal handler."""

from __future__ import annotations

import os
import select
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Final, Self

_ASKED: Final = (signal.SIGTERM, signal.SIGINT)


class StopSignals:
    """SIGTERM and SIGINT while the block lasts. Entered in the main thread.

    The interpreter writes each signal's number into a pipe. A handler that set an event, logged or talked to Redis could deadlock with the
    very thread that it interrupts.
    """

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._write, False)
        self._listener: threading.Thread | None = None
        self._wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        self._handlers = {number: signal.signal(number, _nothing) for number in _ASKED}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(self._wakeup)
        os.close(self._write)  # a listener's wait ends
        if self._listener is not None:
            self._listener.join()
        os.close(self._read)

    def wait(self, timeout: float | None = None) -> bool:
        """Whether a stop was asked for within `timeout` seconds (None: until it is, or the block ends). Each request is told once."""
        ready, _, _ = select.select([self._read], [], [], timeout)
        return bool(ready) and any(number in _ASKED for number in os.read(self._read, 1))

    def listen(self, stop: Callable[[], None]) -> None:
        """Call `stop` once, in a thread of its own, when asked to stop."""

        def listener() -> None:
            if self.wait():
                stop()

        self._listener = threading.Thread(target=listener, name="stop-signals", daemon=True)
        self._listener.start()


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Its being there is what keeps the default action away."""
