"""The webhooks that we keep in a store: made, mended, and taken away again.

A webhook is ours where the end of its address is our door. Its secret cannot be read back, so its name says, by a digest,
which secret it was given.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from adapters.woocommerce.client import Client
from adapters.woocommerce.fields import At
from connector.domain.platform import Rejected, WebhookHealth

PATH: Final = "/webhooks/woocommerce/"
# There is no topic for refunds; that action's body names the refund, not the order. A permanent deletion sends nothing (10.5).
TOPICS: Final = ("order.created", "order.updated", "order.deleted", "order.restored", "action.woocommerce_refund_created")


@dataclass(frozen=True, slots=True)
class Door:
    """Where deliveries come to, and what signs them."""

    address: str
    secret: str = field(repr=False)

    def name(self, topic: str) -> str:
        return f"Retour {topic} {hashlib.sha256(self.secret.encode()).hexdigest()[:8]}"

    def wanted(self, topic: str) -> dict[str, object]:
        """No webhook of ours, when it is right, differs from this; its secret is as its name says."""
        return {"name": self.name(topic), "topic": topic, "delivery_url": self.address, "status": "active"}


def ensure(client: Client, base_url: str, door: str, secret: str) -> WebhookHealth:
    """One active webhook for each topic. `mended` says `topic: what was done`.

    Raises: `Rejected`, `Throttled`, `Revoked`, `OutcomeUnknown`.
    """
    our = Door(f"{base_url.rstrip('/')}{PATH}{door}", secret)
    kept: dict[str, At] = {}
    mended: list[str] = []
    for webhook in sorted(_ours(client, door), key=lambda each: each.whole("id", lowest=1)):
        topic = webhook.text("topic")
        if topic in TOPICS and topic not in kept:
            kept[topic] = webhook
        else:
            _delete(client, webhook)
            mended.append(f"{topic}: deleted")
    for topic in TOPICS:
        made = None
        if topic not in kept:
            made, done = client.write("POST", "webhooks", {**our.wanted(topic), "secret": secret}), "created"
        elif wrong := _wrong(kept[topic], our, topic):
            made, done = client.write("PUT", f"webhooks/{kept[topic].whole('id')}", {**our.wanted(topic), "secret": secret}), wrong
        else:
            continue
        mended.append(f"{topic}: {done}")
        kept[topic] = made
    return WebhookHealth(all(webhook.text("status") == "active" for webhook in kept.values()), tuple(mended))


def take_back(client: Client, door: str) -> None:
    """Delete what is ours. Raises as `ensure` does."""
    for webhook in list(_ours(client, door)):
        _delete(client, webhook)


def _ours(client: Client, door: str) -> Iterator[At]:
    """Also those of an address that we had before. WooCommerce cannot list by address."""
    for webhook in client.pages("webhooks"):
        there = webhook.table().get("delivery_url")  # somebody else's may be anything
        if door and isinstance(there, str) and re.split("[?#]", there)[0].endswith(f"{PATH}{door}"):
            yield webhook


def _wrong(webhook: At, our: Door, topic: str) -> str:
    """What is to be mended, in one word; empty where it is right. A store switches a webhook off after seven failures in a row."""
    if webhook.text("delivery_url") != our.address:
        return "moved"
    if webhook.text("status") != "active":
        return "enabled"
    return "signed anew" if webhook.text("name") != our.name(topic) else ""


def _delete(client: Client, webhook: At) -> None:
    try:
        client.write("DELETE", f"webhooks/{webhook.whole('id')}", params={"force": "true"})
    except Rejected:  # somebody else was quicker
        return
