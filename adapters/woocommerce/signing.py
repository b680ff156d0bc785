"""Who speaks: the signature of a delivery, over its raw bytes (WooCommerce 10.5: base64 of HMAC-SHA256, `X-WC-Webhook-Signature`)."""

from __future__ import annotations

import base64
import hmac
import re
from collections.abc import Sequence
from typing import Final

from connector.domain.platform import BadSignature, HttpRequest, WebhookEvent

_SIGNATURE: Final = "x-wc-webhook-signature"
_TOPIC: Final = "x-wc-webhook-topic"
_TOPICS = re.compile(r"[a-z0-9_]{1,100}\.[a-z0-9_]{1,100}", re.ASCII)
_PING = re.compile(rb"webhook_id=[0-9]{1,20}")


def sign(body: bytes, key: bytes) -> bytes:
    """The one form in which WooCommerce writes a signature."""
    return base64.b64encode(hmac.digest(key, body, "sha256"))


def read(request: HttpRequest, keys: Sequence[bytes]) -> WebhookEvent:
    """The delivery, proven by one of `keys`. An empty key proves nothing.

    WooCommerce announces itself with an unsigned `webhook_id=2` while a webhook is created: that one is answered and forgotten.

    Raises:
        BadSignature: no signature, several, none of these keys', or no topic.
    """
    if is_ping(request):
        return WebhookEvent(topic="")
    claimed = _only(request, _SIGNATURE).encode("utf-8", "surrogatepass")  # bytes: compare_digest refuses texts that are not ASCII
    proven = [hmac.compare_digest(claimed, sign(request.body, key)) for key in keys if key]
    if not any(proven):
        raise BadSignature("not signed with a key of this shop")
    topic = _only(request, _TOPIC)
    if not _TOPICS.fullmatch(topic):
        raise BadSignature("no topic")
    # Its delivery id is a hash of webhook and second: different events share it (10.5, verified), so it names nothing.
    return WebhookEvent(topic=topic)


def is_ping(request: HttpRequest) -> bool:
    """The unsigned greeting: it carries no header of a delivery, and nothing to act on."""
    return _PING.fullmatch(request.body) is not None and not any(name.lower().startswith("x-wc-") for name, _ in request.headers)


def _only(request: HttpRequest, name: str) -> str:
    found = [value for header, value in request.headers if header.lower() == name]
    if len(found) != 1:
        raise BadSignature(f"{len(found)} headers {name}, where one was expected")
    return found[0]
