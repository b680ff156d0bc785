"""`make bench`: a flood of genuine deliveries against the web process as it runs in production, and what becomes of it.

Ten thousand signed deliveries about some 2,500 orders come in ten seconds, in bursts; before that as many as fast as they go, against
us and against an application that only reads the body and answers, on the same server. Then the drain reads the orders from a simulated
shop. Numbers are printed and judged by people; what must be true of any number is checked, and ends this with 1.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import selectors
import socket
import statistics
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

SAMPLES: Final = Path(__file__).parent.parent / "tests" / "data" / "woocommerce"
BURSTS: Final = 20  # a second
PERSONAL: Final = ("zoe@example.com", "Test St", "555-0100", "H2X 1Y4")


# ── Deliveries ──


@dataclass(frozen=True, slots=True)
class Post:
    """One delivery as it goes over the wire, and when it is due, in seconds after the start."""

    wire: bytes = field(repr=False)
    due: float = 0.0


def bodies(count: int, orders: int) -> Iterator[bytes]:
    """Genuine bodies, each different: what happens to one order comes close together, as it does in a shop."""
    genuine = [
        json.loads((SAMPLES / f"webhook-{name}.json").read_text(encoding="utf-8"))
        for name in ("order-created", "order-updated-after-refund")
    ]
    for n in range(count):
        head, rest = genuine[n % 2]["body_raw"].encode().split(b",", 1)
        assert head.startswith(b'{"id":')
        ref = 100_000 + n * orders // count
        yield b'{"id":%d,"transaction_id":"txn_%d",%s' % (ref, n, rest)


def posts(door: str, secret: bytes, texts: Iterable[bytes], *, seconds: float, count: int) -> Iterator[Post]:
    """The requests, signed, spread over so many seconds in bursts."""
    for n, body in enumerate(texts):
        signature = base64.b64encode(hmac.digest(secret, body, hashlib.sha256)).decode()
        head = (
            f"POST /webhooks/woocommerce/{door} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: WooCommerce/10.5.0 Hookshot (WordPress/6.9.7)\r\n"  # noqa: E501 - one address
            f"Accept: */*\r\nContent-Type: application/json\r\nX-WC-Webhook-Source: https://store.example.com/\r\n"
            f"X-WC-Webhook-Topic: order.{'updated' if n % 2 else 'created'}\r\nX-WC-Webhook-Resource: order\r\n"
            f"X-WC-Webhook-Signature: {signature}\r\nX-WC-Webhook-ID: 14\r\nX-WC-Webhook-Delivery-ID: {secrets.token_hex(16)}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        yield Post(head.encode() + body, int(n * seconds * BURSTS / count) / BURSTS)


# ── The flood ──


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back: how many of each status, how long each took from when it was due (seconds), and how long all took."""

    statuses: Mapping[int, int]
    took: Sequence[float] = field(repr=False)
    seconds: float

    @property
    def rate(self) -> float:
        return len(self.took) / self.seconds

    def line(self, what: str) -> str:
        cuts = statistics.quantiles(self.took, n=100)
        told = ", ".join(f"{count:,} × {status}" for status, count in sorted(self.statuses.items()))
        p50, p95, p99 = (f"{cuts[place] * 1000:,.0f} ms" for place in (49, 94, 98))
        return f"{what:<28}{self.rate:>8,.0f}/s   p50 {p50:>8}   p95 {p95:>8}   p99 {p99:>8}   {told}"


def flood(port: int, waiting: Sequence[Post], connections: int) -> Answers:
    """Send them all over so many connections, each when it is due; connections are kept, as a proxy in front of us does.

    One thread and one selector: many threads would measure their own wait for the interpreter.
    """
    todo, told, flying = deque(waiting), list[tuple[int, float]](), dict[socket.socket, float]()
    lines = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    idle = list(lines)
    started = time.monotonic()
    with selectors.DefaultSelector() as selector:
        for line in lines:
            line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            selector.register(line, selectors.EVENT_READ)
        while todo or flying:
            now = time.monotonic() - started
            while todo and idle and todo[0].due <= now:
                post, line = todo.popleft(), idle.pop()
                line.sendall(post.wire)  # some kilobytes: the kernel takes them at once
                flying[line] = post.due or now
            wait = max(0.0, todo[0].due - now) if todo and idle else 5.0
            for key, _ in selector.select(wait):
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                line = ready
                answer = line.recv(65536)
                while answer and b"\r\n\r\n" not in answer:
                    answer += line.recv(65536)
                told.append((int(answer[9:12] or 0), time.monotonic() - started - flying.pop(line)))
                idle.append(line)
    seconds = time.monotonic() - started
    for line in lines:
        line.close()
    return Answers(Counter(status for status, _ in told), [took for _, took in told], seconds)


def bare(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    """The least that an endpoint can do: read the body, answer."""
    environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
    start_response("200 OK", [("Content-Length", "0")])
    return []
