"""The webhooks that we keep in a store: made, mended, and taken away again.

A webhook is ours where the end of its address is our door. Neither its secret nor its owner can be read back, so its name says,
by digests, which secret it was given and with which key it was made.
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
    """Where deliveries come to, what signs them, and who asks for them."""

    address: str
    secret: str = field(repr=False)
    key: str = field(repr=False)

    def name(self, topic: str) -> str:
        return f"Retour {topic} {_digest(self.secret)} {_digest(self.key)}"

    def made(self, webhook: At) -> bool:
        """Whether it was made with this key, so that it still shows what the key's person may see.

        A webhook belongs to whoever made it, writes each body as that person sees the order, and keeps him through a PUT (10.5).
        """
        return webhook.text_or_nothing("name").endswith(f" {_digest(self.key)}")

    def wanted(self, topic: str) -> dict[str, object]:
        """No webhook of ours, when it is right, differs from this; its secret is as its name says."""
        return {"name": self.name(topic), "topic": topic, "delivery_url": self.address, "status": "active"}


def ensure(client: Client, base_url: str, door: str, *, secret: str, key: str) -> WebhookHealth:
    """One active webhook for each topic, made with this key. `mended` says `topic: what was done`.

    Raises: `Rejected`, `Throttled`, `Revoked`, `OutcomeUnknown`.
    """
    our = Door(f"{base_url.rstrip('/')}{PATH}{door}", secret, key)
    there: dict[str, list[At]] = {topic: [] for topic in TOPICS}
    kept: list[At] = []
    mended: list[str] = []
    for webhook in sorted(_ours(client, door), key=lambda each: each.whole("id", lowest=1)):
        topic = webhook.text("topic")
        if topic in there:
            there[topic].append(webhook)
        else:
            _delete(client, webhook)
            mended.append(f"{topic}: deleted")
    for topic, webhooks in there.items():
        webhook, done = _one(client, our, topic, webhooks)
        kept.append(webhook)
        mended += [f"{topic}: {each}" for each in done]
    return WebhookHealth(all(webhook.text("status") == "active" for webhook in kept), tuple(mended))


def _one(client: Client, our: Door, topic: str, there: list[At]) -> tuple[At, list[str]]:
    """The one webhook of a topic, the oldest that was made with our key, and what was done. It is right before another one goes."""
    mine = next((each for each in there if our.made(each)), None)
    others = [each for each in there if each is not mine]
    body, done = {**our.wanted(topic), "secret": our.secret}, []
    if mine is None:
        mine, done = client.write("POST", "webhooks", body), ["made anew" if others else "created"]
    elif wrong := _wrong(mine, our, topic):
        mine, done = client.write("PUT", f"webhooks/{mine.whole('id')}", body), [wrong]
    for each in others:
        _delete(client, each)
    return mine, done if done == ["made anew"] else [*done, *("deleted" for _ in others)]


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


def _digest(word: str) -> str:
    return hashlib.sha256(word.encode()).hexdigest()[:8]


def _delete(client: Client, webhook: At) -> None:
    try:
        client.write("DELETE", f"webhooks/{webhook.whole('id')}", params={"force": "true"})
    except Rejected:  # somebody else was quicker
        return
