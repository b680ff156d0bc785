"""One WooCommerce store behind the port."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from adapters.woocommerce import crediting, deliveries, paying, probing, reissuing, sweeps
from adapters.woocommerce.client import Client
from adapters.woocommerce.fields import At, Untranslatable
from adapters.woocommerce.reading import DRAFT, Orders, number
from connector.domain.connecting import CreditRest, Facts, UsedCredit
from connector.domain.money import MoneyBag
from connector.domain.orders import CustomerRef, Order, OrderRef
from connector.domain.platform import (
    Attempt,
    Capabilities,
    Contact,
    CreditOrder,
    Grant,
    ImportPage,
    Reached,
    ReasonRef,
    Receipt,
    RefundOrder,
    Rejected,
    ReturnedLine,
    ReturnRef,
    ReturnView,
    ShopDomain,
    Sighting,
    Unread,
    WebhookHealth,
)  # fmt: skip

_SEARCHED: Final = 3  # pages of a search, which is a scan of the shop's tables
_FOUND: Final = 20
_MENDING: Final = timedelta(seconds=100)  # of the deliveries
_TOGETHER: Final = timedelta(seconds=45)  # of many orders


class WooStore:
    """One store, without our plugin in it. `facts` are those of its last probe."""

    def __init__(self, client: Client, shop: ShopDomain, credentials: Mapping[str, str], facts: Facts, *, dev: bool = False) -> None:
        self._shop, self._credentials, self._dev = shop, credentials, dev
        self._orders = Orders(client, facts)

    def __repr__(self) -> str:
        return f"<{self._shop}>"

    # ── standing ──

    def renew(self) -> Grant | None:
        """Keys do not expire."""
        return None

    def probe(self) -> Facts:
        """Ask the store what it is. From here on this object goes by what it said. Raises `NotConnectable`."""
        client, facts = probing.probe(self._orders.client, self._credentials, dev=self._dev)
        self._orders = Orders(client, facts)
        return facts

    def capabilities(self) -> Capabilities:
        return self._orders.capabilities()

    def ensure_webhooks(self, base_url: str) -> WebhookHealth:
        keys = self._credentials
        return deliveries.ensure(
            self._orders.client.within(_MENDING), base_url, keys["door"], secret=keys["delivery_secret"], key=keys["consumer_key"]
        )

    def leave(self) -> None:
        """Our webhooks go. Keys cannot be deleted over REST: that is the merchant's to do."""
        deliveries.take_back(self._orders.client, self._credentials.get("door", ""))

    # ── orders ──

    def order(self, ref: OrderRef) -> Order:
        return self._orders.fresh(ref).order

    def orders(self, refs: Sequence[OrderRef]) -> Sequence[Order]:
        """Raises `Untranslatable` where one of them makes no order or breaks the answer: what is left out is gone for good."""
        orders = replace(self._orders, client=self._orders.client.within(_TOGETHER))
        return list(orders.brief(orders.together(refs)))

    def orders_changed(self, since: datetime) -> Iterator[Order | Unread | Reached]:
        return sweeps.changed(self._orders, since)

    def import_orders(self, cursor: str | None) -> ImportPage:
        return sweeps.history(self._orders, cursor)

    def find_order(self, number: str, email: str) -> Order | None:
        """WooCommerce finds neither by number nor by e-mail alone: what it lists is compared here."""
        wanted, who = number.strip(), email.strip().casefold()
        if not wanted or not who:
            return None
        body = next((body for body in self._candidates(wanted, who) if _is(body, wanted, who)), None)
        return None if body is None else self.order(OrderRef(str(body.whole("id", lowest=1))))

    def orders_of(self, customer: CustomerRef) -> Sequence[Order]:
        asked = {"customer": number(customer), "orderby": "date", "order": "desc", "per_page": "100"}
        found = self._orders.readable(At(self._orders.client.read("orders", asked)).items())
        return [order for order in found if order.buyer.customer == customer]

    def search_orders(self, text: str) -> Sequence[Order]:
        """WooCommerce's own search: a part of a name, an address, an e-mail, an article. The newest 20."""
        left_out = self._unsignable()
        wanted = " ".join("".join(char if char.isprintable() and char not in left_out else " " for char in text[:200]).split())
        if not wanted:
            return ()
        return list(self._orders.readable(At(self._orders.client.read("orders", {"search": wanted, "per_page": str(_FOUND)})).items()))

    def contact(self, ref: OrderRef) -> Contact:
        billing = At(self._orders.client.read(f"orders/{number(ref)}")).key("billing")
        name = " ".join(part for part in (billing.text_or_nothing("first_name"), billing.text_or_nothing("last_name")) if part)
        return Contact(billing.text_or_nothing("email"), name)

    def return_reasons(self) -> Sequence[ReasonRef]:
        return ()

    def suggested_refund(self, order: OrderRef, lines: Sequence[ReturnedLine]) -> MoneyBag | None:
        """It does not say: its amounts come from the lines that it is told."""
        del order, lines
        return None

    def _candidates(self, wanted: str, who: str) -> Iterator[At]:
        """The order whose id is the number, as most shops have it, then what a search for the e-mail lists."""
        client = self._orders.client
        if wanted.isascii() and wanted.isdecimal() and len(wanted) < 19 and not wanted.startswith("0"):
            with suppress(Rejected):
                yield At(client.read(f"orders/{wanted}"))
        if len(who) > 254 or any(char in who for char in self._unsignable()):
            return
        for page in range(1, _SEARCHED + 1):
            asked = {"search": who, "per_page": "100", "page": str(page), "_fields": "id,number,status,billing"}
            found = list(At(client.read("orders", asked)).items())
            yield from found
            if len(found) < 100:
                return

    def _unsignable(self) -> str:
        """What the official client (3.0.0, verified) signs wrongly, where requests are signed at all: over http, in development."""
        return "%/" if self._orders.client.url.startswith("http:") else ""

    # ── money ──

    def refund(self, refund: RefundOrder, attempt: Attempt) -> Receipt:
        return paying.refund(self._orders, refund, attempt)

    def find_refund(self, refund: RefundOrder, attempt: Attempt) -> Sighting:
        del attempt  # the list says the same of each
        return paying.find(self._orders, refund)

    def issue_credit(self, credit: CreditOrder, attempt: Attempt) -> Receipt:
        return crediting.issue(self._orders, credit, attempt)

    def find_credit(self, credit: CreditOrder, attempt: Attempt) -> Sighting:
        return crediting.find(self._orders, credit, attempt)

    def reissue_credit(self, used: UsedCredit) -> CreditRest:
        return reissuing.reissue(self._orders, used)

    # ── records ──

    def mirror_return(self, view: ReturnView) -> ReturnRef:
        """The state of the RMA as meta of its order. What stands there already is left alone: a change would be delivered to us."""
        key, path = f"_retour_rma_{view.rma}", f"orders/{number(view.order)}"
        units = {line.line: line.quantity for line in view.lines}
        value = json.dumps({"state": view.state, "lines": units}, sort_keys=True)
        shown = [
            meta.key("value").value for meta in At(self._orders.client.read(path)).key("meta_data").items() if meta.key("key").value == key
        ]
        if shown != [value]:
            self._orders.client.write("PUT", path, {"meta_data": [{"key": key, "value": value}]})
        return ReturnRef(f"{view.order}/{key}")


def _is(body: At, wanted: str, who: str) -> bool:
    """Whether this is the order. One that nobody can read is not, and does not hide the others."""
    try:
        number, email = body.text("number"), body.key("billing").text("email")
        return body.text("status") != DRAFT and number == wanted and email.casefold() == who
    except Untranslatable:
        return False
