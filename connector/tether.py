"""Run a command that must not outlive whoever asked for it, even if that one is killed: `tether.py become|watch PARENT LEASH COMMAND…`.

A program of its own, because what a process does between fork and exec is unsafe once it has threads. LEASH is the reading end of a pipe
whose other end only the parent holds.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
from types import FrameType
from typing import NoReturn

_PR_SET_PDEATHSIG = 1


def become(parent: int, leash: int, command: list[str]) -> NoReturn:
    """Turn into the command; the kernel kills it with its parent. Linux only."""
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")
    if os.getppid() != parent:  # it died before the kernel was told
        sys.exit(1)
    os.close(leash)
    os.execvp(command[0], command)  # noqa: S606 - the command is the supervisor's own


def watch(leash: int, command: list[str]) -> int:
    """Run the command and watch the leash: anywhere, at the price of a process."""
    child = subprocess.Popen(command)  # noqa: S603 - the command is the supervisor's own

    def forward(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    signal.signal(signal.SIGTERM, forward)
    signal.signal(signal.SIGINT, forward)
    while child.poll() is None:
        if select.select([leash], [], [], 0.1)[0]:  # nobody ever writes, so the parent is gone
            child.kill()
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


if __name__ == "__main__":
    if sys.argv[1] == "become":
        become(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
    sys.exit(watch(int(sys.argv[3]), sys.argv[4:]))
