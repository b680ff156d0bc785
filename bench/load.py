"""`python -m bench.load`: the sender, in a process of its own. It is told what to send on its standard input, and answers in one line.

One thread and one selector over kept connections: many threads would measure their own wait for the interpreter.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from bench.deliveries import Mould, moulds, refund

BURSTS = 20  # a second
_PATIENCE = 30.0  # seconds without any answer


@dataclass(frozen=True, slots=True)
class Order:
    """What to send: `count` deliveries about `orders` orders. `over`: seconds to spread them over, in bursts; 0: as fast as it goes.

    `seconds` ends it however many were sent. The answers of the first `warm` seconds are counted, and not timed. Of `refunds` deliveries
    one tells of a refund; 0: none does.
    """

    port: int
    count: int
    orders: int = 64
    connections: int = 8
    over: float = 0.0
    seconds: float = 3600.0
    warm: float = 0.0
    first: int = 0
    refunds: int = 0


@dataclass(frozen=True, slots=True)
class Answers:
    """What came back: how many of each status (0: the connection ended), how many a second, and how long they took, in milliseconds.

    `busy` is the share of one processor that the sender itself took.
    """

    statuses: Mapping[str, int]
    rate: float
    p50: float
    p99: float
    worst: float
    busy: float

    @property
    def kept(self) -> int:
        """How many were answered with 200."""
        return self.statuses.get("200", 0)

    @property
    def all_kept(self) -> bool:
        return set(self.statuses) == {"200"}


@dataclass(slots=True)
class _Sender:
    """The connections, what flies on each, and what came back."""

    order: Order
    idle: list[socket.socket] = field(default_factory=list)
    flying: dict[socket.socket, float] = field(default_factory=dict)
    told: list[tuple[int, float, float]] = field(default_factory=list)  # status, when, seconds
    selector: selectors.BaseSelector = field(default_factory=selectors.DefaultSelector)

    def connect(self) -> None:
        line = socket.create_connection(("127.0.0.1", self.order.port), timeout=_PATIENCE)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.selector.register(line, selectors.EVENT_READ)
        self.idle.append(line)

    def send(self, pieces: Sequence[bytes], since: float) -> None:
        line = self.idle.pop()
        self.flying[line] = since
        try:
            line.sendall(b"".join(pieces))
        except OSError:
            self.drop(line)

    def hear(self, wait: float) -> None:
        for key, _ in self.selector.select(wait):
            line = key.fileobj
            assert isinstance(line, socket.socket)
            answer = _answer(line)
            if line in self.flying and answer:
                now = time.perf_counter()
                self.told.append((int(answer[9:12]), now, now - self.flying.pop(line)))
                self.idle.append(line)
                if answer.startswith(b"HTTP/1.1 200") and b"onnection: close" not in answer:
                    continue
            self.drop(line)

    def drop(self, line: socket.socket) -> None:
        """Begin a connection anew; what flew on it has no answer."""
        if (since := self.flying.pop(line, None)) is not None:
            now = time.perf_counter()
            self.told.append((0, now, now - since))
        if line in self.idle:
            self.idle.remove(line)
        self.selector.unregister(line)
        line.close()
        self.connect()


def _answer(line: socket.socket) -> bytes:
    """An answer without a body; nothing where the connection ended."""
    answer = b""
    try:
        while b"\r\n\r\n" not in answer:
            if not (more := line.recv(65536)):
                return b""
            answer += more
    except OSError:
        return b""
    return answer


def flood(order: Order) -> Answers:
    """Send them, and wait for every answer."""
    plan = _plan(order, list(moulds(order.orders)))
    sender = _Sender(order)
    for _ in range(order.connections):
        sender.connect()
    begun, took = time.perf_counter(), time.process_time()
    due = next(plan, None)
    while due is not None or sender.flying:
        now = time.perf_counter()
        if now - begun > order.seconds:
            due = None
            if not sender.flying:
                break
        while due is not None and sender.idle and due[0] <= now - begun:
            sender.send(due[1], begun + due[0] if order.over else time.perf_counter())
            due = next(plan, None)
        sender.hear(max(0.0, begun + due[0] - time.perf_counter()) if due is not None and sender.idle else _PATIENCE)
    ended = time.perf_counter()
    for line in sender.idle:
        line.close()
    return _sum(sender, begun, ended, (time.process_time() - took) / (ended - begun))


def _plan(order: Order, shapes: Sequence[Mould]) -> Iterator[tuple[float, Sequence[bytes]]]:
    """When each is due, in seconds after the beginning. What happens to one order comes close together, as it does in a shop."""
    for n in range(order.count):
        shape = shapes[n * order.orders // order.count if order.over else n % order.orders]
        about_a_refund = order.refunds and n % order.refunds == order.refunds - 1
        sent = refund(order.first + n) if about_a_refund else shape.delivery(order.first + n)
        yield int(n * order.over * BURSTS / order.count) / BURSTS, sent


def _sum(sender: _Sender, begun: float, ended: float, busy: float) -> Answers:
    warm = begun + sender.order.warm
    timed = sorted(seconds for _, at, seconds in sender.told if at >= warm) or [0.0]
    p50, p99 = (timed[int(len(timed) * share)] * 1000 for share in (0.5, 0.99))
    statuses = Counter(str(status) for status, _, _ in sender.told)
    return Answers(dict(statuses), len(timed) / max(ended - warm, 0.001), p50, p99, timed[-1] * 1000, busy)


def main() -> None:
    """One order in, one line out."""
    sys.stdout.write(json.dumps(asdict(flood(Order(**json.load(sys.stdin))))) + "\n")


if __name__ == "__main__":
    main()
