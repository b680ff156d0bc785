"""`python -m connector.web.server`: the web process. waitress, which reads a request whole before a thread sees it, and leaves gracefully.

Told to stop, it takes the connections that wait at its socket, closes that, finishes every request that it was sent, and ends.
"""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from waitress import wasyncore
from waitress.adjustments import Adjustments
from waitress.channel import HTTPChannel
from waitress.server import TcpWSGIServer
from waitress.task import WSGITask

from connector import logs
from connector.config import Misconfigured, Settings
from connector.secrets import UnusableKey
from connector.signals import StopSignals
from connector.web import wsgi
from connector.web.intake import Intake

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

THREADS: Final = 16  # most of them wait for the disk, together
GRACE: Final = 25.0  # seconds to finish what was begun; hosts kill after thirty
LARGEST_BODY: Final = 4 * 1024 * 1024  # bytes; what a door takes is its own business, and less
SLOWEST: Final = 60.0  # seconds for a request to come in, however it drips
_CONNECTIONS: Final = 1000
_BACKLOG: Final = 1024
_IDLE: Final = 1.0  # seconds of silence after which a leaving server hangs up
_TICK: Final = 0.1

log = logging.getLogger(__name__)


class _Task(WSGITask):
    """One request. While the server leaves, its answer says that the connection ends with it."""

    def build_response_header(self) -> bytes:
        if not self.channel.server.accepting:
            self.set_close_on_finish()
        return super().build_response_header()


class _Channel(HTTPChannel):
    """One connection. Remembers when the request that it reads began, so that nobody holds it with a byte now and then (A14)."""

    task_class = _Task
    reading_since: float | None = None

    def received(self, data: bytes) -> bool:
        took = super().received(data)
        self.reading_since = (self.reading_since or time.monotonic()) if self.request is not None else None
        return took

    @property
    def busy(self) -> bool:
        """Whether a request is being read, worked or answered."""
        return bool(self.requests or self.request is not None or self.total_outbufs_len)


class Server:
    """One web process' server: listens from the start, serves in `run`."""

    def __init__(self, app: WSGIApplication, host: str, port: int, *, threads: int = THREADS, slowest: float = SLOWEST) -> None:
        self._slowest, self._looked_at = slowest, time.monotonic()
        self._open: dict[int, Any] = {}  # the socket, the trigger and the connections, by file
        self._ended, self._ending = False, threading.Lock()
        listener = _listener(host, port)
        self.port: int = listener.getsockname()[1]
        settings = Adjustments(
            host="127.0.0.1",  # it looks up the name of a host to listen on; ours listens already
            port=self.port,
            threads=threads,
            connection_limit=_CONNECTIONS,
            max_request_body_size=LARGEST_BODY,
            max_request_header_size=64 * 1024,
            ident=None,
            clear_untrusted_proxy_headers=False,  # who wrote X-Forwarded-For, and whether it is believed, `guards` knows
        )
        where = listener.family, listener.type, listener.proto, listener.getsockname()
        self._server = TcpWSGIServer(app, self._open, _sock=listener, adj=settings, sockinfo=where, bind_socket=False)
        self._server.channel_class = _Channel

    def run(self, stopping: Callable[[], bool], *, grace: float = GRACE) -> bool:
        """Serve until `stopping` says so, then finish what was begun. False where `grace` seconds were not enough for that."""
        while not stopping():
            self._turn(0.5)
        self._close_the_door()
        until = time.monotonic() + grace
        while self._channels() and time.monotonic() < until:
            self._turn(_TICK)
            self._hang_up()
        left = len(self._channels())
        self._server.task_dispatcher.shutdown(timeout=0 if left else 5)
        with self._ending:
            self._ended = True
            wasyncore.close_all(self._open)
        return not left

    def wake(self) -> None:
        """Make `run` look at once whether it is to stop. Nothing where it has ended."""
        with self._ending:
            if not self._ended:
                self._server.pull_trigger()

    def _turn(self, seconds: float) -> None:
        wasyncore.loop(timeout=seconds, use_poll=True, map=self._open, count=1)
        if (now := time.monotonic()) - self._looked_at > _TICK:
            self._looked_at = now
            for channel in self._channels():
                if channel.reading_since is not None and now - channel.reading_since > self._slowest:
                    channel.will_close = True

    def _close_the_door(self) -> None:
        """Take in who waits at the socket: the kernel has accepted them for us and would now reset them."""
        before = -1
        while before < (before := len(self._open)):
            self._server.handle_accept()
        self._server.accepting = False
        wasyncore.dispatcher.close(self._server)  # its own close would take the trigger along, which answers need

    def _hang_up(self) -> None:
        """Close the connections on which nothing goes on. One that is silent for a moment may have a request on its way."""
        for channel in self._channels():
            if not channel.busy and time.time() - channel.last_activity > _IDLE:
                channel.will_close = True

    def _channels(self) -> list[_Channel]:
        return [each for each in list(self._open.values()) if isinstance(each, _Channel)]


def _listener(host: str, port: int) -> socket.socket:
    """A socket that listens. `::` takes in IPv4 as well, where the machine can do that. Raises `OSError`."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    return socket.create_server((host, port), family=family, backlog=_BACKLOG, dualstack_ipv6=both)


def address(environ: Mapping[str, str], *, dev: bool) -> tuple[str, int]:
    """Where to listen: PORT (8000), and HOST. A host that gives us a PORT comes in from outside; anybody else means this machine only.

    Raises:
        Misconfigured: PORT is no port.
    """
    port = environ.get("PORT", "")
    if port and not (port.isascii() and port.isdecimal() and len(port) < 6 and int(port) < 65536):
        raise Misconfigured(f"PORT must be a whole number below 65536, not {port[:20]!r}")
    outside = "0.0.0.0" if port and not dev else "127.0.0.1"  # noqa: S104 - where PORT is given, the host's router stands in front
    return environ.get("HOST") or outside, int(port or 8000)


def _only_events(record: logging.LogRecord) -> bool:
    """Waitress writes sentences, and the path of a request in some of them, which may hold a secret."""
    record.msg, record.args = "web.noticed", ()
    return True


def main() -> int:
    """Serve until told to stop: 0, or 1 where something that was begun could not be finished in time. 2: it cannot be configured so."""
    try:
        settings = Settings.from_env()
        host, port = address(os.environ, dev=settings.dev)
        whole = wsgi.intake(settings)
    except (Misconfigured, UnusableKey) as problem:
        sys.stderr.write(f"{problem}\n")
        return 2
    logs.to_stderr(os.environ.get("RETOUR_LOG", "info"))
    logging.getLogger("waitress").addFilter(_only_events)
    logging.getLogger("waitress.queue").setLevel(logging.ERROR)  # it tells of every request that waits for a moment
    try:
        server = Server(whole, host, port)
    except OSError as trouble:
        why = (trouble.strerror or "").partition(" (")[0]  # without what Python adds in brackets
        sys.stderr.write(f"cannot listen on {host}:{port}: {why}; set HOST to an address of this machine and PORT to one that is free\n")
        return 2
    return serve(server, whole)


def serve(server: Server, intake: Intake) -> int:
    """Serve until SIGTERM or SIGINT, finish what was begun, and keep every delivery that waits. The exit code."""
    stopping = threading.Event()

    def stop() -> None:
        stopping.set()
        server.wake()

    with StopSignals() as signals:
        signals.listen(stop)
        log.info("web.started", extra={"port": server.port})
        finished = server.run(stopping.is_set)
        intake.close()
        log.info("web.stopped", extra={"finished": finished})
    return 0 if finished else 1


if __name__ == "__main__":
    sys.exit(main())
