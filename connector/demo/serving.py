"""A few pages for one person on this machine."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from importlib.resources import files
from types import TracebackType
from typing import Any, Final, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from jinja2 import Environment, PackageLoader, StrictUndefined

CSS: Final = "text/css; charset=utf-8"
HTML: Final = "text/html; charset=utf-8"


def pages() -> Environment:
    """The demo's own templates."""
    return Environment(loader=PackageLoader("connector", "templates/demo"), undefined=StrictUndefined, autoescape=True)


def sheet() -> bytes:
    """The style sheet of Retour's own pages, which the demo's lie beside."""
    return (files("connector") / "static" / "retour.css").read_bytes()


def said(start: Any, kind: str, body: bytes, *headers: tuple[str, str], status: str = "200 OK") -> Iterable[bytes]:  # noqa: ANN401 - WSGI
    """An answer of a WSGI application."""
    start(status, [("Content-Type", kind), ("Content-Length", str(len(body))), *headers])
    return [body]


class _Quiet(WSGIRequestHandler):
    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Pages:
    """Serves an application on loopback as long as the block lasts."""

    def __init__(self, app: Callable[[dict[str, Any], Any], Iterable[bytes]], port: int) -> None:
        """Listens at once. Raises `OSError` where the port is taken."""
        self._server: WSGIServer = make_server("127.0.0.1", port, app, handler_class=_Quiet)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)

    def __enter__(self) -> Self:
        """Begin."""
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End."""
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
