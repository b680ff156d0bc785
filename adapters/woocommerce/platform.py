"""WooCommerce as a platform: installing, proving who speaks, and opening a store."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from typing import Final
from urllib.parse import urlencode, urlsplit

from adapters.woocommerce import guard, signing
from adapters.woocommerce.answers import NotJson, parse
from adapters.woocommerce.client import Lines
from adapters.woocommerce.guard import Guard
from adapters.woocommerce.store import WooStore
from adapters.woocommerce.wire import boot_clock
from connector.domain import strict_json
from connector.domain.connecting import Facts, Hint
from connector.domain.orders import OrderRef
from connector.domain.platform import (
    BadSignature,
    Grant,
    HttpRequest,
    Malformed,
    ShopClaim,
    ShopDomain,
    StaffFacts,
    Visit,
    WebhookEvent,
)  # fmt: skip

APP_NAME: Final = "Retour"
_DOOR = re.compile(r"/webhooks/woocommerce/([A-Za-z0-9_-]{8,200})\Z", re.ASCII)
_LARGEST_GRANT: Final = 10_000
# What WooCommerce posts (10.5), and how each looks.
_GRANTED: Final = {
    "consumer_key": re.compile(r"ck_[0-9A-Za-z]{16,100}", re.ASCII),
    "consumer_secret": re.compile(r"cs_[0-9A-Za-z]{16,100}", re.ASCII),
    "key_permissions": re.compile(r"read|write|read_write"),
    "user_id": re.compile(r"[A-Za-z0-9._~-]{8,500}", re.ASCII),
}
_CODE = re.compile(r"[a-z0-9_-]{1,100}", re.ASCII)


class WooPlatform:
    """WooCommerce, no store known. It keeps the connections of its stores, so there is one of it in a process.

    `dev` allows http, loopback and any port. `roots` is a file of further certificates to trust. `look_up` stands in for the name service,
    `stopwatch` for the clock that whole runs of questions are timed by.
    """

    name: str = "woocommerce"

    def __init__(
        self,
        *,
        dev: bool = False,
        roots: str | None = None,
        look_up: guard.LookUp | None = None,
        stopwatch: Callable[[], timedelta] = boot_clock,
    ) -> None:
        self._dev = dev
        self._lines = Lines(Guard(dev, look_up), roots=roots, stopwatch=stopwatch)

    def shop_at(self, address: str) -> ShopDomain:
        """Host, path of the installation, and in development the port. Raises `NotConnectable`."""
        return guard.address(address, dev=self._dev).domain

    def install_url(self, shop: ShopDomain, *, state: str, return_url: str, callback_url: str) -> str:
        """WooCommerce's own page of consent (wc-auth): it posts the keys to `callback_url`, with `state` as its `user_id`."""
        asked = {
            "app_name": APP_NAME,
            "scope": "read_write",
            "user_id": state,
            "return_url": return_url,
            "callback_url": callback_url,
        }
        return f"{guard.of_shop(shop, dev=self._dev).url}/wc-auth/v1/authorize?{urlencode(asked)}"

    def finish_install(self, request: HttpRequest) -> Grant:
        """The keys that a store posted (unsigned: only the state says whose they are, and only a probe whether they are any good).

        Raises:
            BadSignature: it is not what WooCommerce posts.
        """
        try:
            fields = strict_json.loads(request.body) if len(request.body) <= _LARGEST_GRANT else None
        except strict_json.Malformed:
            fields = None
        if request.method != "POST" or not isinstance(fields, dict):
            raise BadSignature("not what WooCommerce posts")
        texts = {name: value for name in _GRANTED if isinstance(value := fields.get(name), str)}
        found = [texts[name] for name, pattern in _GRANTED.items() if pattern.fullmatch(texts.get(name, ""))]
        key_id = fields.get("key_id")
        if len(found) < len(_GRANTED) or type(key_id) is not int or not 0 < key_id < 2**63:
            raise BadSignature("not what WooCommerce posts")
        key, secret, permissions, state = found
        credentials = {"consumer_key": key, "consumer_secret": secret, "key_id": str(key_id), "permissions": permissions}
        return Grant(ShopDomain(""), credentials, state=state)

    def claimed_shop(self, request: HttpRequest) -> ShopClaim:
        """The opaque word at the end of the address; what the headers say of the source is no proof and not read."""
        try:
            door = _DOOR.search(urlsplit(request.url).path)
        except ValueError:  # no address at all
            door = None
        return ShopClaim(path_token=door[1]) if door else ShopClaim()

    def read_webhook(self, request: HttpRequest, keys: Sequence[bytes]) -> WebhookEvent:
        """The delivery, verified over its raw bytes. Raises `BadSignature`."""
        return signing.read(request, keys)

    def hint(self, topic: str, body: bytes) -> Hint:
        """The order that a delivery is about. Raises `Malformed`."""
        try:
            fields = parse(body)
        except NotJson:
            raise Malformed("no JSON") from None
        if not isinstance(fields, dict):
            raise Malformed("no object")
        if "id" not in fields:
            return _without_id(fields)
        ref, status = fields["id"], fields.get("status", "")
        if type(ref) is not int or not 0 < ref < 2**63 or not isinstance(status, str):
            raise Malformed("no id of an order")
        # `checkout-draft`: a checkout that was left, delivered like an order (10.5, verified). Of other topics we asked for none.
        return Hint(OrderRef(str(ref))) if topic.startswith("order.") and status != "checkout-draft" else Hint()

    def read_visit(self, request: HttpRequest, keys: Sequence[bytes]) -> Visit:
        """A store without our plugin signs no visits. Raises `BadSignature`."""
        del request, keys
        raise BadSignature("a store without the plugin signs no visits")

    def staff(self, visit: Visit) -> StaffFacts:
        """A store without our plugin vouches for nobody. Raises `BadSignature`."""
        del visit
        raise BadSignature("a store without the plugin vouches for nobody")

    def connect(self, shop: ShopDomain, credentials: Mapping[str, str], facts: Facts) -> WooStore:
        """The store behind these keys. Its address is the one that the last probe ended at. Asks nobody."""
        url = facts.get("url") or credentials.get("url") or guard.of_shop(shop, dev=self._dev).url
        return WooStore(self._lines.to(shop, url, credentials, auth=facts.get("auth", "")), shop, credentials, facts, dev=self._dev)


def _without_id(fields: Mapping[str, object]) -> Hint:
    """A signed body that is no order: an action with the id of a refund, or the error that WooCommerce met while it wrote the body."""
    code = fields.get("code")
    if isinstance(code, str) and _CODE.fullmatch(code):
        return Hint(sweep=True, trouble=code)
    if isinstance(fields.get("action"), str):
        return Hint(sweep=True)
    raise Malformed("neither an order nor an action nor an error")
