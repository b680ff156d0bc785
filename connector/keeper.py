"""`python -m connector.keeper DIRECTORY`: what `retour run` becomes once its settings are found to be good.

It keeps the processes of one machine running and holds next to nothing in memory itself: no page, no adapter, no database.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, NoReturn

from connector import logs
from connector.embedded import Valkey
from connector.supervisor import AlreadyRunning, Child, Supervisor

_CHILDREN: Final = {"web": ("connector.web.server",), "worker": ("jobs", "worker"), "clock": ("jobs", "clock")}  # as in the Procfile


def become(directory: Path) -> NoReturn:
    """Go on as this program, in this process and with its environment."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-m", "connector.keeper", str(directory)])  # noqa: S606 - ourselves


def main(directory: Path) -> int:
    """Keep them running until told to stop, with a Valkey of their own unless REDIS_URL names another server."""
    logs.to_stderr(os.environ.get("RETOUR_LOG", "info"))
    children = [Child(name, [sys.executable, "-m", *module]) for name, module in _CHILDREN.items()]
    environ = dict(os.environ)
    if not os.environ.get("REDIS_URL"):
        valkey = Valkey(directory)
        children.insert(0, valkey.child())
        environ["REDIS_URL"] = valkey.url
    try:
        return Supervisor(directory, children, environ).run()
    except AlreadyRunning as other:
        sys.stderr.write(f"Error: {other}\n")
        return 1


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1])))
