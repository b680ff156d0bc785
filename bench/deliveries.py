"""Signed deliveries as WooCommerce sends them, 8 to 25 kB each, made from genuine ones: other orders, more lines, no two alike."""

from __future__ import annotations

import base64
import copy
import hashlib
import hmac
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final

SMALLEST, LARGEST = 8_000, 25_000  # bytes of a body
FIRST_ORDER: Final = 100_000
DOOR: Final = "the-door-of-the-bench"
SECRET: Final = "the-secret-of-the-bench"  # noqa: S105 - made up
PATH: Final = f"/webhooks/woocommerce/{DOOR}"
PERSONAL: Final = ("zoe@example.com", "1 Test St", "H2X 1Y4", "555-0100", '"first_name":"Zo')  # of every body; too long to occur by chance
_SAMPLES: Final = Path(__file__).parent.parent / "tests" / "data" / "woocommerce"
_NAMES: Final = ("order-created", "order-updated-after-refund")
_TAIL: Final = 20  # bytes of a body that are its own
_STANDS_FOR: Final = 987_654_321  # an order's id, until it has one
_HEAD: Final = (
    "POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: WooCommerce/10.5.0 Hookshot (WordPress/6.9.7)\r\nAccept: */*\r\n"
    "Accept-Encoding: deflate, gzip, br, zstd\r\nContent-Type: application/json\r\nX-WC-Webhook-Source: https://store.example.com/\r\n"
    "X-WC-Webhook-Topic: {resource}.{event}\r\nX-WC-Webhook-Resource: {resource}\r\nX-WC-Webhook-Event: {event}\r\nX-WC-Webhook-ID: 14\r\n"
    "X-WC-Webhook-Delivery-ID: 5a412cc696c393cac2b69e80bba30c05\r\nContent-Length: {length}\r\nX-WC-Webhook-Signature: "
)


@dataclass(frozen=True, slots=True)
class Mould:
    """The part that the deliveries about one order share, and its digest so far: one more delivery costs the sender next to nothing."""

    head: bytes = field(repr=False)
    body: bytes = field(repr=False)
    state: hmac.HMAC = field(repr=False)

    @classmethod
    def of(cls, ref: int, size: int) -> Mould:
        """A body of at least `size` bytes about the order `ref`; its last field, the transaction's id, is what differs."""
        body = _padded(ref % len(_NAMES), size).replace(str(_STANDS_FOR), str(ref)).encode()
        head = _HEAD.format(path=PATH, resource="order", event="updated", length=len(body) + _TAIL)
        return cls(head.encode(), body, hmac.new(SECRET.encode(), body, hashlib.sha256))

    def delivery(self, n: int) -> Sequence[bytes]:
        """The whole request, in pieces. `n` tells it from every other one."""
        tail = b'txn_%014d"}' % n
        assert len(tail) == _TAIL
        signed = self.state.copy()
        signed.update(tail)
        return self.head, base64.b64encode(signed.digest()), b"\r\n\r\n", self.body, tail


def refund(n: int) -> Sequence[bytes]:
    """The whole request of a delivery that tells of a refund by its number, and not of which order, in pieces."""
    body = b'{"action":"woocommerce_refund_created","arg":%d}' % n
    head = _HEAD.format(path=PATH, resource="action", event="woocommerce_refund_created", length=len(body))
    return head.encode(), base64.b64encode(hmac.digest(SECRET.encode(), body, "sha256")), b"\r\n\r\n", body


def order(ref: int) -> dict[str, Any]:
    """A genuine order under another id."""
    fields = copy.deepcopy(_genuine()[ref % len(_NAMES)])
    return {**fields, "id": ref, "number": str(ref)}


def moulds(orders: int) -> Iterator[Mould]:
    """One for each of so many orders. Their sizes are spread evenly, and do not grow with the id."""
    for n in range(orders):
        yield Mould.of(FIRST_ORDER + n, SMALLEST + (LARGEST - SMALLEST - 1000) * (n * 7 % 16) // 15)


@cache
def _padded(kind: int, size: int) -> str:
    """The JSON of a genuine order with as many lines as make it so large, but for its end."""
    fields = {key: value for key, value in _genuine()[kind].items() if key != "transaction_id"}
    fields |= {"id": _STANDS_FOR, "number": str(_STANDS_FOR)}
    lines = fields["line_items"] = list(fields["line_items"])
    few = len(lines)
    while len(text := _php({**fields, "transaction_id": ""})) + _TAIL < size:
        lines.append({**lines[len(lines) % few], "id": len(lines)})
    return text.removesuffix('"}')


@cache
def _genuine() -> Sequence[dict[str, Any]]:
    return [json.loads(json.loads((_SAMPLES / f"webhook-{name}.json").read_text(encoding="utf-8"))["body_raw"]) for name in _NAMES]


def _php(fields: Mapping[str, Any]) -> str:
    """JSON as PHP writes it."""
    return json.dumps(fields, separators=(",", ":")).replace("/", "\\/")
