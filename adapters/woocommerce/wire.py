"""One request on one connection, by one deadline: what `requests` and `urllib3` leave open is closed here.

- A connection goes to an address that the guard has checked, and to no other.
- Whether a request may still be sent is asked once the connection is open, directly before its first byte is written.
- The deadline covers everything from the look-up of the name to the last byte: a watch cuts the connection, so that an answer
  that drips byte by byte ends too. The answer is bounded, also after it was unpacked.
- Nothing is repeated, no redirect is followed, no cookie is kept, no proxy and no password file of the environment is used.
"""

from __future__ import annotations

import logging
import os
import socket
import ssl
import threading
import time
import zlib
from collections.abc import Callable
from contextvars import ContextVar
from copy import copy
from dataclasses import dataclass, field
from datetime import timedelta
from http.client import HTTPException
from http.cookiejar import DefaultCookiePolicy
from typing import Any, Final, Self

import requests
import urllib3
from requests.adapters import HTTPAdapter
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError, NewConnectionError

from adapters.woocommerce.answers import Answer
from adapters.woocommerce.guard import Guard
from connector.domain.platform import Overdue, Voided

CONNECT: Final = timedelta(seconds=10)
LARGEST: Final = 20_000_000  # bytes of an answer, unpacked
_CHUNK: Final = 65536
_TOO_LARGE: Final = "the answer is too large"
TOO_SLOW: Final = "no complete answer in time"
NO_CONNECTION: Final = "no connection"
BAD_CERTIFICATE: Final = "the certificate does not hold"
_CUT_OFF: Final = "the connection broke"

# Its messages quote addresses, and ours hold keys where a store takes them nowhere else.
logging.getLogger("urllib3").setLevel(logging.CRITICAL)


@dataclass(slots=True)
class Call:
    """One request on its way. `still_mine` is asked when the connection is open; None: nobody needs to be asked."""

    deadline: timedelta
    guard: Guard
    still_mine: Callable[[], bool] | None = None
    alone: bool = False  # on a new connection: a kept one may be closed by the other side just as we write
    written: bool = False
    reused: bool = False
    late: bool = False
    began: float = field(default_factory=time.monotonic)
    _twin: socket.socket | None = None
    _over: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def left(self) -> float:
        """Seconds."""
        return max(0.001, self.began + self.deadline.total_seconds() - time.monotonic())

    def hold(self, sock: socket.socket) -> None:
        """Keep a second handle of the connection: TLS takes the first one away, and the watch has to reach it."""
        with self._lock:
            self._let_go()
            self._twin = socket.socket(fileno=os.dup(sock.fileno()))
            if self.late:
                self._cut()

    def cut(self) -> None:
        """The deadline has passed."""
        with self._lock:
            if not self._over:
                self.late = True
                self._cut()

    def end(self) -> None:
        with self._lock:
            self._over = True
            self._let_go()

    def _cut(self) -> None:
        if self._twin is not None:
            try:
                self._twin.shutdown(socket.SHUT_RDWR)
            except OSError:  # it is closed already
                return

    def _let_go(self) -> None:
        if self._twin is not None:
            self._twin.close()
            self._twin = None


_CALL: ContextVar[Call] = ContextVar("call")


class _Careful:
    """What both kinds of connection do otherwise than urllib3's own. They are used from within `Wire.send` only."""

    def _new_conn(self: Any) -> socket.socket:
        self.served = False
        call = _CALL.get()
        failed: OSError = OSError(NO_CONNECTION)
        within = timedelta(seconds=min(call.left, CONNECT.total_seconds()))
        try:
            found = call.guard.addresses(self.host.strip("[]"), self.port, within=within)
        except OSError:
            raise NewConnectionError(self, NO_CONNECTION) from None
        for one in found:
            try:
                sock = socket.create_connection((one, self.port), timeout=min(call.left, CONNECT.total_seconds()))
            except OSError as error:
                failed = error
                continue
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            call.hold(sock)
            return sock
        raise NewConnectionError(self, NO_CONNECTION) from failed

    def request(self: Any, *args: object, **kwargs: object) -> None:
        call = _CALL.get()
        if self.sock is not None and self.served:
            call.reused = True
            if call.alone:
                self.close()
                call.reused = False
        if self.sock is None:
            self.connect()
        call.hold(self.sock)
        self.sock.settimeout(call.left)
        if call.still_mine is not None and not call.still_mine():
            raise Voided("not ours any more when its request was to be written")
        call.written = self.served = True
        super().request(*args, **kwargs)  # type: ignore[misc]


class _Plain(_Careful, HTTPConnection):
    pass


class _Tls(_Careful, HTTPSConnection):
    pass


class _PlainPool(HTTPConnectionPool):
    ConnectionCls = _Plain


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _Tls


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, connections: int, maxsize: int, block: bool = False, **pool_kwargs: object) -> None:  # noqa: FBT001, FBT002 - its base's
        super().init_poolmanager(connections, maxsize, block, **pool_kwargs)
        self.poolmanager.pool_classes_by_scheme = {"http": _PlainPool, "https": _TlsPool}


class _Session(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None is ever followed, and so no body of one is read without a bound (`requests` reads it whole to find the next)."""
        del resp
        return None


def boot_clock() -> timedelta:
    """It goes on while this machine sleeps."""
    return timedelta(seconds=time.clock_gettime(getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)))


class Wire:
    """Sends requests over kept connections. Safe to use from several threads."""

    def __init__(self, guard: Guard, *, roots: str | None = None, stopwatch: Callable[[], timedelta] = boot_clock) -> None:
        self.guard = guard
        self._stopwatch, self.until = stopwatch, timedelta.max
        self._session = _Session()
        self._session.trust_env = False
        self._session.verify = roots or True
        self._session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(pool_connections=100, pool_maxsize=2, max_retries=0))

    @property
    def left(self) -> timedelta:
        """How long requests may still be sent here."""
        return self.until - self._stopwatch()

    def within(self, longest: timedelta) -> Self:
        """The same connections for requests that may take so long from now on, all together."""
        found = copy(self)
        found.until = min(self.until, self._stopwatch() + longest)
        return found

    def send(self, request: requests.Request, call: Call) -> Answer:
        """The whole answer, or one without status. Never an exception of the network.

        Raises:
            Voided: `still_mine` said no; nothing was written.
            NotConnectable: the guard lets nobody through to that address.
            Overdue: there is no time left, and nothing was changed.
        """
        left = self.left
        if left <= timedelta(0):
            raise Overdue(timedelta(0), "no time left")
        if left < call.deadline:
            call.began, call.deadline = time.monotonic(), left
        got = self._sent(request, call)
        if got.status == 0 and self.left <= timedelta(0) and (request.method == "GET" or not got.written):
            raise Overdue(timedelta(0), "no time left")
        return got

    def _sent(self, request: requests.Request, call: Call) -> Answer:
        watch = threading.Timer(call.left, call.cut)
        watch.daemon = True
        watch.start()
        here = _CALL.set(call)
        try:
            return self._send(request, call)
        except (requests.RequestException, HTTPError, HTTPException, OSError, ValueError) as error:
            return Answer(0, written=call.written, why=_why(error, call))
        finally:
            _CALL.reset(here)
            watch.cancel()
            call.end()

    def _send(self, request: requests.Request, call: Call) -> Answer:
        prepared = self._session.prepare_request(request)
        timeout = (min(CONNECT.total_seconds(), call.left), call.left)
        with self._session.send(prepared, stream=True, allow_redirects=False, timeout=timeout, verify=self._session.verify) as got:
            headers = {name.lower(): value for name, value in got.headers.items()}
            body = _body(got.raw, headers.get("content-encoding", "").strip().lower())
        if call.late:
            return Answer(0, why=TOO_SLOW)
        if body is None:
            return Answer(0, why=_TOO_LARGE)
        return Answer(got.status_code, headers, body)


def _why(error: BaseException, call: Call) -> str:
    if call.written:
        return TOO_SLOW if call.late or isinstance(error, requests.Timeout) else _CUT_OFF
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return BAD_CERTIFICATE
        inner = cause.args[0] if cause.args and isinstance(cause.args[0], BaseException) else getattr(cause, "reason", None)
        cause = inner if isinstance(inner, BaseException) else None
    return NO_CONNECTION


def _body(raw: urllib3.BaseHTTPResponse, encoding: str) -> bytes | None:
    """The body, unpacked; None where it is too large or packed in a way that nobody asked for."""
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        return None
    unpack = zlib.decompressobj(16 + zlib.MAX_WBITS) if encoding.endswith("gzip") else None
    found = bytearray()
    try:
        while chunk := raw.read(_CHUNK, decode_content=False):
            found += unpack.decompress(chunk, LARGEST + 1 - len(found)) if unpack else chunk
            if len(found) > LARGEST or (unpack and unpack.unconsumed_tail):
                return None
        if unpack and not unpack.eof and found:
            raise OSError(_CUT_OFF)
    except zlib.error:
        raise OSError(_CUT_OFF) from None
    return bytes(found)
