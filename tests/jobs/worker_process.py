"""A worker process with a stand-in drain: `python -m tests.jobs.worker_process REDIS_URL DIRECTORY OPTIONS`.

The drain notes in DIRECTORY/drains what it does. It goes on while DIRECTORY/hold exists, and fails while DIRECTORY/fail exists.
"""

from __future__ import annotations

import json
import logging
import signal
import sys
import time
from pathlib import Path
from typing import Any

from connector.bell import connect
from connector.config import Settings
from jobs.worker import DrainWorker, main


def run(url: str, directory: Path, options: dict[str, Any]) -> int:
    def note(word: str) -> None:
        with (directory / "drains").open("a", encoding="ascii") as file:
            file.write(f"{word}\n")

    def drain() -> None:
        note("begun")
        if (directory / "fail").exists():
            note("failed")
            raise RuntimeError("somebody's secret")
        while (directory / "hold").exists():
            time.sleep(0.01)
        alarm = signal.getsignal(signal.SIGALRM) != signal.SIG_DFL or signal.alarm(0) != 0
        note("alarmed" if alarm else "ended")

    if "kinds" in options:
        settings = Settings.from_env({"RETOUR_DATA": str(directory), "REDIS_URL": url, "RETOUR_KINDS": "mail"})
        return main(settings, drain, lambda: note("stop"))
    worker = DrainWorker(connect(url, patience=5.0), drain, lambda: note("stop"), **options)
    return 0 if worker.work() else 1


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s %(levelname)s", stream=sys.stdout)
    sys.exit(run(sys.argv[1], Path(sys.argv[2]), json.loads(sys.argv[3])))
