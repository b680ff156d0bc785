"""Requests and responses at their barest, and the three ways of WSGI to answer badly."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

Environ: TypeAlias = dict[str, Any]
StartResponse: TypeAlias = Callable[..., Any]

HTML: Final = "text/html; charset=UTF-8"
JSON: Final = "application/json; charset=UTF-8"
_PHRASES: Final = {200: "OK", 201: "Created", 301: "Moved Permanently", 302: "Found", 404: "Not Found", 500: "Internal Server Error"}


class Cut(ConnectionError):
    """The connection is closed now, whatever was promised."""


@dataclass(frozen=True, slots=True)
class Request:
    """What came in. `path` is unescaped, `uri` as it came; header names are lower case."""

    method: str
    uri: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes
    scheme: str

    @classmethod
    def read(cls, environ: Environ) -> Request:
        headers = {key[5:].replace("_", "-").lower(): value for key, value in environ.items() if key.startswith("HTTP_")}
        headers |= {"content-type": environ.get("CONTENT_TYPE") or ""}
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = environ["wsgi.input"].read(length) if length else b""
        path = (environ.get("SCRIPT_NAME", "") + environ["PATH_INFO"]).encode("latin-1").decode("utf-8", "replace")
        uri = environ.get("REQUEST_URI") or path
        return cls(environ["REQUEST_METHOD"], uri, path, environ.get("QUERY_STRING", ""), headers, body, environ["wsgi.url_scheme"])

    def cookies(self) -> dict[str, str]:
        pairs = (one.strip().partition("=") for one in self.headers.get("cookie", "").split(";"))
        return {name: unquote(value) for name, _, value in pairs if name}


@dataclass(frozen=True, slots=True)
class Response:
    """What goes out."""

    status: int = 200
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = field(default=())
    content_type: str = HTML

    def send(self, start: StartResponse, *, head: bool = False) -> Iterable[bytes]:
        """Whole, as it should be."""
        self.promise(start)
        return [] if head else [self.body]

    def truncated(self, start: StartResponse) -> Iterator[bytes]:
        """Half of what was promised, and the connection closed."""
        self.promise(start)
        yield self.body[: len(self.body) // 2]
        raise Cut

    def dripping(self, start: StartResponse, seconds: float) -> Iterator[bytes]:
        """Byte by byte."""
        self.promise(start)
        for place in range(len(self.body)):
            yield self.body[place : place + 1]
            time.sleep(seconds)

    def endless(self, start: StartResponse) -> Iterator[bytes]:
        """The answer, and then blanks for ever, of no length that anybody was told."""
        self.promise(start, length=False)
        yield self.body
        while True:
            yield b" " * 65536

    def promise(self, start: StartResponse, *, length: bool = True) -> None:
        told = (("Content-Length", str(len(self.body))),) if length else ()
        start(f"{self.status} {_PHRASES.get(self.status, 'Answer')}", [("Content-Type", self.content_type), *self.headers, *told])


def html(text: str, status: int = 200, *headers: tuple[str, str]) -> Response:
    return Response(status, text.encode(), headers)


def redirect(to: str, status: int = 302) -> Response:
    return Response(status, b"", (("Location", to),))
