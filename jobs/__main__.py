"""`python -m jobs worker` and `python -m jobs clock`: the two background processes."""

from __future__ import annotations

import os
import sys

from connector import logs
from connector.config import Misconfigured, Settings
from jobs import clock, drain, worker
from jobs.handlers import HANDLERS


def main(argv: list[str]) -> int:
    """Run one process until it is told to stop."""
    try:
        settings = Settings.from_env()
    except Misconfigured as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    logs.to_stderr(os.environ.get("RETOUR_LOG", "info"))
    if unknown := sorted((settings.kinds or set()) - set(HANDLERS)):
        sys.stderr.write(
            f"RETOUR_KINDS names {', '.join(unknown)}, which this version does not know; it knows {', '.join(sorted(HANDLERS))}\n"
        )
        return 2
    match argv:
        case ["worker"]:
            return worker.main(settings, drain.run, drain.stop)
        case ["clock"]:
            return clock.main(settings)
        case _:
            sys.stderr.write("usage: python -m jobs worker|clock\n")
            return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
