"""The web application for any WSGI server with threads: `gunicorn -k gthread 'connector.web.wsgi:application()'`, `granian --factory …`.

It is made in the process that serves, at its first request: deliveries are written by a thread, and no thread outlives a fork.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from connector import logs, wiring
from connector.app import create_app
from connector.config import Settings
from connector.db import Database
from connector.web.intake import Intake

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


def intake(settings: Settings, database: Database | None = None) -> Intake:
    """The whole application: the door for deliveries, and the pages behind it.

    Without a bell: what a delivery puts is due in two seconds, and then the clock rings.
    """
    platforms = wiring.platforms(settings)
    return Intake(
        create_app(settings, platforms=platforms),
        db=wiring.database(settings) if database is None else database,
        platforms=platforms,
        vault=wiring.vault(settings),
        base_url=settings.base_url,
    )


class Application:
    """`intake`, made once in each process that it is called in, and closed when that ends: what waits is written."""

    def __init__(self, settings: Settings, database: Callable[[], Database] | None = None) -> None:
        wiring.vault(settings)  # keys that cannot be used are said now, not at the first request
        self._settings, self._database = settings, database
        self._forget()
        os.register_at_fork(after_in_child=self._forget)
        atexit.register(self._close)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return (self._made or self._make())(environ, start_response)

    def _forget(self) -> None:
        self._made: Intake | None = None
        self._lock = threading.Lock()

    def _make(self) -> Intake:
        with self._lock:
            if self._made is None:
                self._made = intake(self._settings, self._database() if self._database else None)
            return self._made

    def _close(self) -> None:
        if self._made is not None:
            self._made.close()


def application() -> Application:
    """The application of the environment. Raises `Misconfigured`, `UnusableKey`."""
    settings = Settings.from_env()
    logs.to_stderr(os.environ.get("RETOUR_LOG", "info"))
    return Application(settings)
