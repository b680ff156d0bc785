"""The merchant of the demo: connects the shop by its own wc-auth pages over HTTP, as a browser would, and publishes a policy."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from html import unescape
from typing import Final
from zoneinfo import ZoneInfo

import requests
from sqlalchemy import select

from adapters.simulators.woocommerce import PASSWORD
from connector.db import Database
from connector.demo import DemoFailed
from connector.models import Shop, ShopStatus
from connector.services import policies

_PATIENCE: Final = 60  # seconds for each page
_WHO: Final = "merchant"
HANDLE: Final = "atelier-nord"

POLICY: Final = """\
# The demo's policy. `retour policy check FILE` reads one of your own.
format = 1
reasons = ["too_small", "too_large", "changed_mind", "not_as_described", "defective", "damaged_in_transit", "wrong_item", "other"]
resolutions = ["store_credit", "refund"]
expires_after_days = 21

[window]
days = 30
from = ["delivered", "fulfilled", "placed"]

[not_returnable]
skus = ["GIFT-*", "POSTER*"]

[restocking_fee]
percent = 10
free_for = ["not_as_described", "defective", "damaged_in_transit", "wrong_item"]

[return_shipping_fee]
amount = { EUR = "4.90" }
free_for = ["not_as_described", "defective", "damaged_in_transit", "wrong_item"]

[store_credit]
bonus_percent = 10

[authorise]
automatic = true
up_to = { EUR = "150.00" }

[limits]
confirm_above = { EUR = "400.00" }
daily_cap = { EUR = "5000.00" }
"""


@dataclass(slots=True)
class Merchant:
    """A browser of a merchant who wants to be done."""

    base: str
    shop: str
    web: requests.Session = field(default_factory=requests.Session)
    page: requests.Response = field(default_factory=requests.Response)

    def connect(self) -> None:
        """Type the address, sign in over there, approve, and have the shop checked. Raises `DemoFailed`."""
        self.web.trust_env = False  # no proxy stands between two processes of one machine
        begin = f"{self.base}/install/woocommerce"
        self._open(begin)
        self._send(begin, token=self._hidden("token"), address=self.shop)
        self._send(self.page.url, username="owner", password=PASSWORD, login="Login")
        approve = re.search(r'<a href="([^"]+)" class="button wc-auth-approve"', self.page.text)
        if approve is None:
            raise DemoFailed(f"the shop did not ask for approval (status {self.page.status_code})")
        self._open(unescape(approve[1]))
        self._send(f"{begin}/check", install=self._hidden("install"))
        if not self.page.url.startswith(f"{begin}/connected"):
            raise DemoFailed(f"the check of the shop did not come out (status {self.page.status_code})")

    def _hidden(self, name: str) -> str:
        found = re.search(rf'name="{name}" value="([^"]*)"', self.page.text)
        if found is None:
            raise DemoFailed(f"a page lacks {name!r} (status {self.page.status_code})")
        return unescape(found[1])

    def _open(self, url: str) -> None:
        self.page = self.web.get(url, timeout=_PATIENCE)

    def _send(self, url: str, **form: str) -> None:
        self.page = self.web.post(url, data=form, timeout=_PATIENCE)


def connected(database: Database) -> Shop | None:
    """The demo's shop, once it is connected."""
    with database.reading() as session:
        return session.execute(select(Shop).where(Shop.status == ShopStatus.ACTIVE).limit(1)).scalar_one_or_none()


def settle_in(database: Database, shop: Shop) -> Shop:
    """Publish the demo's policy, in force from the day on which the default one is, and give the pages a name that reads well."""
    with database.transaction() as session:
        now = database.now(session)
        day = now.astimezone(ZoneInfo(shop.time_zone)).date()
        policies.publish(session, shop.id, POLICY, effective_from=day, who=_WHO, now=now)
        named = session.get_one(Shop, shop.id)
        named.handle = HANDLE
        return named
