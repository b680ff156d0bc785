"""Orders of one store, read: one in full, many in brief, and what the store can do as its facts say. Changes nothing."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

from adapters.woocommerce import translate
from adapters.woocommerce.answers import Broken
from adapters.woocommerce.booking import Scale
from adapters.woocommerce.client import Client
from adapters.woocommerce.fields import At, Untranslatable
from connector.domain import money
from connector.domain.connecting import Facts
from connector.domain.orders import Order, OrderRef
from connector.domain.platform import Capabilities, Rejected, Unread

DRAFT: Final = "checkout-draft"  # a checkout that was left: listed and delivered like an order (10.5, verified)
QUIET: Final = timedelta(minutes=15)
DEADLINE: Final = timedelta(seconds=130)  # a write's 120 s and the connection before it
LONGEST_RUN: Final = timedelta(minutes=10)
_ID = re.compile(r"[1-9][0-9]{0,17}", re.ASCII)
_TOGETHER: Final = 100
MOST_LOST: Final = 16  # orders of one page that break it: past that it is the shop that fails

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Fresh:
    """An order and its refunds as they were read just now, both as a value and as the store wrote them."""

    order: Order
    body: At
    refunds: tuple[At, ...] = field(repr=False)

    @property
    def places(self) -> int:
        return money.decimals(self.order.currency)


@dataclass(slots=True)
class Orders:
    """The reading half of a store. `facts` are replaced by the next probe."""

    client: Client
    facts: Facts
    _paying_back: dict[str, bool] = field(default_factory=dict)

    def capabilities(self) -> Capabilities:
        facts, gateways = self.facts, self.facts.get("gateways")
        offset = facts.get("clock_offset", "0")
        return Capabilities(
            quiet_period=QUIET,
            request_deadline=DEADLINE,
            longest_run=LONGEST_RUN,
            store_credit=facts.get("coupons") != "no",
            restocks_whole_refund=True,
            refund_gateways=None if gateways is None else frozenset(each for each in gateways.split(",") if each),
            currency=facts.get("currency", ""),
            prices_include_tax=facts.get("prices_include_tax") == "yes",
            time_zone=facts.get("time_zone", "UTC"),
            clock_offset=timedelta(seconds=int(offset)) if re.fullmatch(r"-?[0-9]{1,9}", offset) else timedelta(0),
            version=facts.get("version", ""),
        )

    def scale(self, places: int) -> Scale:
        shown = self.facts.get("decimals", "")
        return Scale(places, int(shown) if shown.isdecimal() and len(shown) < 3 else None)

    def fresh(self, ref: OrderRef) -> Fresh:
        """An order in full. Raises `Rejected` (there is none), `Throttled`, `Revoked`, `Untranslatable`."""
        body = At(self.client.read(f"orders/{number(ref)}"))
        refunds = tuple(self.client.pages(f"orders/{number(ref)}/refunds"))
        gateways = self._gateways(body)
        try:
            order = translate.order(body.value, [refund.value for refund in refunds], gateways=gateways)
        except Untranslatable as error:
            if error.key != "refunds":
                raise
            refunds = tuple(self.client.pages(f"orders/{number(ref)}/refunds"))  # one was made between the two reads
            order = translate.order(body.value, [refund.value for refund in refunds], gateways=gateways)
        return Fresh(order, body, refunds)

    def _gateways(self, body: At) -> frozenset[str] | None:
        """Through which gateways money goes back. One that the last probe did not know is asked for now."""
        known, method = self.capabilities().refund_gateways, body.text("payment_method")
        if known is None or method in known or method in translate.MANUAL:
            return known
        if method not in self._paying_back:
            self._paying_back[method] = self._pays_back(method)
        return known | {method} if self._paying_back[method] else known

    def _pays_back(self, method: str) -> bool:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", method):
            return False
        try:
            gateway = At(self.client.read(f"payment_gateways/{method}"))
        except Rejected:  # its plugin is gone
            return False
        return supports_refunds(gateway)

    def brief(self, bodies: Iterable[At]) -> Iterator[Order]:
        """What lists show, without drafts. Raises `Untranslatable`."""
        for body in bodies:
            if body.text_or_nothing("status") != DRAFT:
                yield translate.order(body.value, None)

    def each(self, bodies: Iterable[At | Unread]) -> Iterator[Order | Unread]:
        """The same, for who goes through many: an order that makes none is named, so that it does not hold up the others."""
        for body in bodies:
            if isinstance(body, Unread):
                yield body
                continue
            try:
                yield from self.brief([body])
            except Untranslatable as error:
                shown = _shown(body)
                log.error("order.untranslatable", extra={"order": shown, "key": error.key})  # noqa: TRY400 - no traceback is needed
                yield Unread(None if shown is None else OrderRef(str(shown)))

    def readable(self, bodies: Iterable[At]) -> Iterator[Order]:
        """The same without those."""
        return (order for order in self.each(bodies) if isinstance(order, Order))

    def apart(self, refs: Sequence[OrderRef]) -> Iterator[Order | Unread]:
        """Many orders by their ids. One that breaks the answer for all is found by halves. Raises `Broken` where too many do."""
        yield from self.each(self._halved(refs, []))

    def _halved(self, refs: Sequence[OrderRef], lost: list[OrderRef]) -> Iterator[At | Unread]:
        try:
            bodies = tuple(self.together(refs))
        except Broken:
            if len(lost) >= MOST_LOST:
                raise
            if len(refs) == 1:
                lost.append(refs[0])
                yield Unread(refs[0])
                return
        else:
            yield from bodies
            return
        yield from self._halved(refs[: len(refs) // 2], lost)
        yield from self._halved(refs[len(refs) // 2 :], lost)

    def together(self, refs: Sequence[OrderRef]) -> Iterator[At]:
        """Many orders at once, as the store writes them. Lists leave the bin out, so who is missing there is asked for alone."""
        wanted = list(dict.fromkeys(ref for ref in refs if _ID.fullmatch(ref)))
        for start in range(0, len(wanted), _TOGETHER):
            some = wanted[start : start + _TOGETHER]
            asked = {"include": ",".join(some), "status": "any", "per_page": str(_TOGETHER), "orderby": "id"}
            bodies = tuple(At(self.client.read("orders", asked)).items())
            listed = {OrderRef(str(body.whole("id"))) for body in bodies}
            if not listed <= set(some):
                raise Untranslatable("orders", "others than were asked for")
            yield from bodies
            yield from self._alone(ref for ref in some if ref not in listed)

    def _alone(self, refs: Iterable[OrderRef]) -> Iterator[At]:
        for ref in refs:
            try:
                yield At(self.client.read(f"orders/{ref}"))
            except Rejected:  # it is gone for good
                continue


def supports_refunds(gateway: At) -> bool:
    """Whether a gateway can send money back, switched on or not: what was paid through it before it was switched off still can."""
    listed = gateway.table().get("method_supports")
    return isinstance(listed, list) and "refunds" in listed


def _shown(body: At) -> int | None:
    """The id of an order that nobody can read, if it has one."""
    found = body.value.get("id") if isinstance(body.value, dict) else None
    return found if type(found) is int else None


def number(ref: str) -> str:
    """A reference as it stands in a path. Raises `Rejected`."""
    if not _ID.fullmatch(ref):
        raise Rejected("a reference that is none of WooCommerce's")
    return ref
