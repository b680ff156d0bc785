"""HTTP for a WSGI application that wants to answer badly: kept-alive connections, a number of PHP workers, and real cuts."""

from __future__ import annotations

import io
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, TypeAlias
from urllib.parse import unquote_to_bytes

from adapters.simulators.woocommerce.web import Cut, Environ

Wsgi: TypeAlias = Callable[[Environ, Callable[..., Any]], Iterable[bytes]]
_IDLE: Final = 5  # seconds that a connection is kept open with nothing on it


@contextmanager
def serving(
    app: Wsgi, arriving: Callable[[], AbstractContextManager[None]], workers: int, port: int, clock: Callable[[], float]
) -> Iterator[int]:
    """Serve on loopback until the block ends; gives the port. Requests beyond `workers` wait in line."""
    line = threading.BoundedSemaphore(workers)

    class Handler(_Handler):
        def work(self) -> None:
            with arriving(), line:
                self.run(app, clock())

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        block_on_close = False
        request_queue_size = 128

        def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ANN401 - the signature of socketserver
            """Clients go away in the middle; that is nothing to print."""

    with Server(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    timeout = _IDLE
    disable_nagle_algorithm = True

    def work(self) -> None:
        """Answer the request that was just read."""

    def __getattr__(self, name: str) -> Callable[[], None]:
        """Every method is answered alike."""
        if name.startswith("do_"):
            return self.work
        raise AttributeError(name)

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def run(self, app: Wsgi, now: float) -> None:
        """Call the application and write what it says, as it says it."""
        told: list[tuple[str, list[tuple[str, str]]]] = []
        begun = False
        try:
            for chunk in app(self._environ(), lambda status, headers, *_: told.append((status, headers))):
                if not begun:
                    begun = True
                    self._head(*told[-1], now)
                self.wfile.write(chunk)
            if not begun:
                self._head(*told[-1], now)
        except Cut:
            self._cut()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def _cut(self) -> None:
        """Closed without another byte."""
        self.close_connection = True
        self.connection.shutdown(socket.SHUT_RDWR)

    def _head(self, status: str, headers: list[tuple[str, str]], now: float) -> None:
        if not any(name.lower() == "content-length" for name, _ in headers):
            self.close_connection = True
            headers = [*headers, ("Connection", "close")]
        headers = [("Date", formatdate(now, usegmt=True)), ("Server", "nginx"), *headers]
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers)
        self.wfile.write(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1", "replace"))

    def _environ(self) -> Environ:
        path, _, query = self.path.partition("?")
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length) if length else b""
        named = {f"HTTP_{name.upper().replace('-', '_')}": value for name, value in self.headers.items()}
        return {
            "REQUEST_METHOD": self.command,
            "REQUEST_URI": self.path,
            "SCRIPT_NAME": "",
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "wsgi.input": io.BytesIO(body),
            "wsgi.url_scheme": "http",
            **named,
        }
