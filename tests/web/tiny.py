"""A platform of the tests' own, as small as the port allows: its stores know one key each, and answer for a probe alone."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from urllib.parse import urlencode

from adapters.simulators.toy import ToyStore
from connector.domain.connecting import Facts, Hint, Misfortune, NotConnectable
from connector.domain.platform import (
    BadSignature,
    Grant,
    HttpRequest,
    ShopClaim,
    ShopDomain,
    StaffFacts,
    Store,
    Visit,
    WebhookEvent,
)  # fmt: skip

FACTS: Facts = {
    "version": "10.5.0",
    "currency": "EUR",
    "prices_include_tax": "no",
    "gateways": "stripe,ppcp-gateway",
    "time_zone": "Europe/Amsterdam",
    "wp_cron": "yes",
    "auth": "basic",
    "clock_offset": "2",
}


@dataclass(slots=True)
class TinyStore(ToyStore):
    """A store that somebody asks with some keys."""

    domain: str = ""
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)
    town: TinyPlatform | None = None

    def probe(self) -> Facts:
        assert self.town is not None
        self.far.close()
        return self.town.answer(self.domain, self.keys)


@dataclass(slots=True)
class TinyPlatform:
    """`stores`: the consumer key that each store knows. `trouble` is what the next probes meet; `open_when` holds them up."""

    stores: dict[str, str] = field(default_factory=lambda: {"shop.example.com": f"ck_{'a' * 40}"})
    facts: Facts = field(default_factory=lambda: dict(FACTS))
    trouble: NotConnectable | None = None
    asked: list[tuple[str, str]] = field(default_factory=list)
    open_when: threading.Event | None = None
    name: str = "woocommerce"

    def shop_at(self, address: str) -> ShopDomain:
        domain = address.removeprefix("https://").rstrip("/").lower()
        if domain.startswith("127."):
            raise NotConnectable(Misfortune.PRIVATE_ADDRESS)
        if "." not in domain or " " in domain:
            raise NotConnectable(Misfortune.BAD_ADDRESS)
        return ShopDomain(domain)

    def install_url(self, shop: ShopDomain, *, state: str, return_url: str, callback_url: str) -> str:
        asked = {"app_name": "Retour", "scope": "read_write", "user_id": state, "return_url": return_url, "callback_url": callback_url}
        return f"https://{shop}/wc-auth/v1/authorize?{urlencode(asked)}"

    def finish_install(self, request: HttpRequest) -> Grant:
        try:
            told = json.loads(request.body)
            keys = {"consumer_key": str(told["consumer_key"]), "consumer_secret": str(told["consumer_secret"])}
            return Grant(ShopDomain(""), keys, state=str(told["user_id"]))
        except (ValueError, KeyError, TypeError):
            raise BadSignature("no grant") from None

    def claimed_shop(self, request: HttpRequest) -> ShopClaim:
        return ShopClaim()

    def read_webhook(self, request: HttpRequest, keys: Sequence[bytes]) -> WebhookEvent:
        raise BadSignature("this platform delivers nothing")

    def hint(self, topic: str, body: bytes) -> Hint:
        return Hint()

    def read_visit(self, request: HttpRequest, keys: Sequence[bytes]) -> Visit:
        raise BadSignature("nobody visits")

    def staff(self, visit: Visit) -> StaffFacts:
        raise BadSignature("nobody works here")

    def connect(self, shop: ShopDomain, credentials: Mapping[str, str], facts: Facts) -> Store:
        return TinyStore(":memory:", domain=shop, keys=credentials, town=self)

    def answer(self, domain: str, keys: Mapping[str, str]) -> Facts:
        """What a probe of the store at `domain` comes to."""
        self.asked.append((domain, keys["consumer_key"]))
        if self.open_when is not None and not self.open_when.wait(20):
            raise NotConnectable(Misfortune.SLOW)
        if self.trouble is not None:
            raise self.trouble
        if self.stores.get(domain) != keys["consumer_key"]:
            raise NotConnectable(Misfortune.WRONG_KEYS)
        return self.facts
