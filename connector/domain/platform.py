"""The port: what Retour asks of a shop platform, and what it may be told.

`Platform` knows no shop; `Store` is one installed shop, made by `Platform.connect`, so no method takes credentials.
Errors say what is *now true*, not what HTTP said. Money is asked for once and looked for ever after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NewType, Protocol

from connector.domain.connecting import CreditRest, Facts, Hint, UsedCredit
from connector.domain.money import Money, MoneyBag
from connector.domain.orders import CustomerRef, LineRef, Order, OrderRef, RefundRef, TenderRef, Worth
from connector.domain.rma import Disposition

ShopDomain = NewType("ShopDomain", str)
ReturnRef = NewType("ReturnRef", str)
ReasonRef = NewType("ReasonRef", str)


# ── Errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


class PlatformError(Exception):
    """Something that a platform said or failed to say."""


class Rejected(PlatformError):
    """This attempt did nothing, and asking the same again is pointless."""


class Throttled(PlatformError):
    """This attempt did nothing, not now: come back after `retry_after`. Also where no connection came about."""

    def __init__(self, retry_after: timedelta, message: str = "") -> None:
        """`retry_after` may be anything the far side said; the drain bounds it."""
        super().__init__(message or f"busy for {retry_after}")
        self.retry_after = retry_after


class Overdue(Throttled):
    """The same, because what was asked for needs more questions than there was time for: all that was given before stands."""


class Voided(PlatformError):
    """This attempt did nothing: it was no longer ours, or too old, when its request was to be written."""


class OutcomeUnknown(PlatformError):
    """The request may have left; nobody said what became of it. `words` are the far side's own, for the desk."""

    def __init__(self, words: str = "") -> None:
        """`words` must hold nothing personal."""
        super().__init__(words)
        self.words = words


class Revoked(PlatformError):
    """This attempt did nothing: the shop's credentials were refused before anything ran, and it needs to be connected again.

    Nothing is deleted for it. An adapter that cannot be sure that nothing ran raises `OutcomeUnknown`.
    """


class Malformed(PlatformError):
    """A verified delivery that nobody can make sense of. The message quotes nothing of it."""


class BadSignature(PlatformError):
    """The visitor's fault: the request proves nothing."""


# ── Requests and proofs ─────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request as it came, over which proofs are checked. Header names are lower case; repeated headers stay repeated."""

    method: str
    url: str
    headers: tuple[tuple[str, str], ...]
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Grant:
    """What an installation or a renewal gave us. Secret.

    `state` is the one-time word that the installation began with, where the far side only gives that back: WooCommerce's
    callback names no store (10.5: key, secret, permissions and our own `user_id`), so `shop` is empty then.
    """

    shop: ShopDomain
    credentials: Mapping[str, str] = field(repr=False)
    expires_at: datetime | None = None
    state: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class ShopClaim:
    """Which shop a request says it is from. Unproven: it only finds the keys to try."""

    shop: ShopDomain | None = None
    path_token: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class WebhookEvent:
    """A verified delivery: a hint to read something again, never a source of facts. What it is about is read later.

    `delivery` is the sender's id of it where that can be trusted to name one delivery; WooCommerce gives one id to different
    events of a second (10.5, verified), so there it is None. An empty topic is a delivery to answer and forget.
    """

    topic: str
    delivery: str | None = None
    sent_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Visit:
    """A verified visitor: a signed-in shopper, a guest, or staff."""

    shop: ShopDomain
    customer: CustomerRef | None = None
    staff: str | None = None
    locale: str = ""


@dataclass(frozen=True, slots=True)
class StaffFacts:
    """What the platform says about a member of staff."""

    owner: bool
    scopes: frozenset[str]


# ── Standing ────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What this shop can do today, as its last probe found it."""

    quiet_period: timedelta  # after an unanswered request: how long until nothing can happen any more
    request_deadline: timedelta  # the longest that one request of ours may take, connection to last byte
    longest_run: timedelta  # the longest that the far side may go on with a request that we gave up
    store_credit: bool = False
    restocks_per_line: bool = False
    restocks_whole_refund: bool = False  # all lines of one refund or none
    refund_gateways: frozenset[str] | None = None  # those that can send money back; None: it does not say
    currency: str = ""
    prices_include_tax: bool = False
    time_zone: str = "UTC"
    clock_offset: timedelta = timedelta(0)
    version: str = ""  # of the platform


@dataclass(frozen=True, slots=True)
class WebhookHealth:
    """Whether deliveries will come, and what was mended."""

    active: bool
    mended: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unread:
    """An order that the platform lists and cannot show, or not so that anybody can read it. None: it does not even say which."""

    ref: OrderRef | None


@dataclass(frozen=True, slots=True)
class Reached:
    """Whatever changed or was refunded up to this time was given: a reading may go on from here, also where no order carries it."""

    at: datetime


@dataclass(frozen=True, slots=True)
class ImportPage:
    """Some orders of the past, and where to go on; `cursor` is None at the end."""

    orders: tuple[Order, ...]
    cursor: str | None
    unread: tuple[Unread, ...] = ()  # what the page holds besides


@dataclass(frozen=True, slots=True)
class Contact:
    """Who to write to. Personal: kept encrypted with the RMA, and erased."""

    email: str = field(repr=False)
    name: str = field(default="", repr=False)
    locale: str = ""


# ── Money ───────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ReturnedLine:
    """Units of one order line that a refund books, what they are worth in full, and what became of them.

    Lines are booked in full; only the amount of the refund is lowered by deductions. `quantity` is 0 for an amount
    without units. `worth` is in minor units.
    """

    line: LineRef
    quantity: int
    worth: Worth
    dispositions: tuple[tuple[Disposition, int], ...] = ()
    location: str = ""


@dataclass(frozen=True, slots=True)
class TenderPart:
    """What goes back to one tender, minor units."""

    tender: TenderRef
    minor: int


@dataclass(frozen=True, slots=True)
class RefundOrder:
    """An instruction to give money back to the original tenders.

    `key` names the money row and never changes; adapters derive every idempotency key and marker from it.
    """

    key: str
    order: OrderRef
    rma: str
    amount: Money
    parts: tuple[TenderPart, ...]
    lines: tuple[ReturnedLine, ...] = ()
    charges: tuple[ReturnedLine, ...] = ()  # shipping and fee lines, quantity 0
    note: str = ""


@dataclass(frozen=True, slots=True)
class CreditOrder:
    """An instruction to give store credit: `amount` is the value given up, `bonus` stands beside it.

    `code` is what the shopper will type, drawn from the key with a secret of ours, so that nobody can guess it and every
    try makes the same one.
    """

    key: str
    order: OrderRef
    rma: str
    amount: Money
    bonus: Money
    lines: tuple[ReturnedLine, ...] = ()
    charges: tuple[ReturnedLine, ...] = ()
    note: str = ""
    code: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class Attempt:
    """One try at a money row.

    Times are the database's. `still_mine` is to be called directly before the request is written, and the request is
    written only if it says yes (else raise `Voided`): a worker that slept must not pay when it wakes.
    """

    number: int
    key: str
    marked_at: datetime
    not_after: datetime
    asked_first_at: datetime
    looked_at: datetime
    before: Mapping[str, str] = field(default_factory=dict)  # the pre-image: what the order showed before this attempt
    still_mine: Callable[[], bool] = field(default=lambda: False, repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Receipt:
    """The platform's word that money moved.

    `worth`: what a code of store credit can buy, as the platform counts it (WooCommerce: net in a tax-exclusive shop).
    """

    reference: RefundRef
    amount: Money
    worth: Money | None = None


class SightingKind(StrEnum):
    """What a look for an earlier attempt found."""

    ABSENT = "absent"  # a proof: the far side did not and will not execute this key, or will replay it harmlessly
    IN_DOUBT = "in_doubt"
    SETTLED = "settled"


@dataclass(frozen=True, slots=True)
class Sighting:
    """The answer of a look. `burned`: ABSENT came from a fence, so every earlier attempt is dead for good.

    Raises:
        ValueError: SETTLED without a receipt, which would be read as unpaid, or a receipt of what is not settled.
    """

    kind: SightingKind
    receipt: Receipt | None = None
    burned: bool = False
    words: str = ""

    def __post_init__(self) -> None:
        """SETTLED names its receipt, and nothing else has one."""
        if (self.kind is SightingKind.SETTLED) != (self.receipt is not None):
            raise ValueError(f"{self.kind.value}, and the receipt is {self.receipt}")


# ── Records ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ReturnView:
    """An RMA as the platform should show it; `marker` finds it again."""

    marker: str
    rma: str
    order: OrderRef
    state: str
    lines: tuple[ReturnedLine, ...]


class Platform(Protocol):
    """One platform, no shop known. What it verifies needs keys, not a shop row."""

    name: str

    def shop_at(self, address: str) -> ShopDomain:
        """The one name of the shop at an address that a person typed. Raises `NotConnectable`."""

    def install_url(self, shop: ShopDomain, *, state: str, return_url: str, callback_url: str) -> str:
        """Where the merchant's browser goes to approve us."""

    def finish_install(self, request: HttpRequest) -> Grant:
        """The credentials that an approval brought. Raises `BadSignature`."""

    def claimed_shop(self, request: HttpRequest) -> ShopClaim:
        """Which shop the request says it is from; unproven."""

    def read_webhook(self, request: HttpRequest, keys: Sequence[bytes]) -> WebhookEvent:
        """The delivery, verified over its raw bytes; the body is not parsed. Raises `BadSignature`."""

    def hint(self, topic: str, body: bytes) -> Hint:
        """What a verified delivery is about. Raises `Malformed` where nobody can say."""

    def read_visit(self, request: HttpRequest, keys: Sequence[bytes]) -> Visit:
        """A signed shopper visit or a staff token. Raises `BadSignature`."""

    def staff(self, visit: Visit) -> StaffFacts:
        """Owner, scopes or capabilities of a verified member of staff."""

    def connect(self, shop: ShopDomain, credentials: Mapping[str, str], facts: Facts) -> Store:
        """The shop behind these credentials, with the facts of its last probe; asks nobody."""


class Store(Protocol):
    """One installed shop."""

    def renew(self) -> Grant | None:
        """Fresh credentials where they expire; None: still good. Raises `Revoked`."""

    def probe(self) -> Facts:
        """Ask the shop what it is and what it can do: at install before its keys are trusted, and daily.

        Raises `NotConnectable`, with the misfortune's name.
        """

    def capabilities(self) -> Capabilities:
        """What this shop can do, as far as the facts of its last probe say; asks nobody."""

    def ensure_webhooks(self, base_url: str) -> WebhookHealth:
        """Make the deliveries what they should be; repeating it changes nothing."""

    def leave(self) -> None:
        """Take back what we set up over there, as far as the shop still lets us; the merchant disconnects."""

    def order(self, ref: OrderRef) -> Order:
        """The full order: tenders, refunds, returnable quantities, from one read."""

    def orders(self, refs: Sequence[OrderRef]) -> Sequence[Order]:
        """Brief orders, batched; those in the bin too. What the platform does not know any more is left out."""

    def orders_changed(self, since: datetime) -> Iterator[Order | Unread | Reached]:
        """Brief orders changed or refunded after `since` (UTC), oldest change first: the reconciliation poll. May repeat one.

        One that cannot be read holds up no other: it is named in its place. Raises `Overdue` in the end where there is more.
        """

    def import_orders(self, cursor: str | None) -> ImportPage:
        """History after install, resumable. Raises `Overdue` where not even a page could be read."""

    def find_order(self, number: str, email: str) -> Order | None:
        """The order with exactly this number and e-mail, else None."""

    def orders_of(self, customer: CustomerRef) -> Sequence[Order]:
        """The orders of a signed-in customer, newest first."""

    def search_orders(self, text: str) -> Sequence[Order]:
        """The desk's search by name."""

    def contact(self, ref: OrderRef) -> Contact:
        """Who placed the order."""

    def return_reasons(self) -> Sequence[ReasonRef]:
        """The platform's own reasons, where it has some."""

    def suggested_refund(self, order: OrderRef, lines: Sequence[ReturnedLine]) -> MoneyBag | None:
        """What the platform would give back; None where it does not say."""

    def refund(self, refund: RefundOrder, attempt: Attempt) -> Receipt:
        """Give the money back. Asks `attempt.still_mine()` directly before the request is written.

        Raises: `Rejected`, `Throttled`, `Voided` (nothing happened), `OutcomeUnknown`, `Revoked`.
        """

    def find_refund(self, refund: RefundOrder, attempt: Attempt) -> Sighting:
        """What became of an earlier attempt. ABSENT is a proof, not a missing row.

        What the platform lists is looked at first, so that a payment that it shows is never called absent.
        Raises `Throttled`, `Revoked`.
        """

    def issue_credit(self, credit: CreditOrder, attempt: Attempt) -> Receipt:
        """Give store credit, under the same promises as `refund`."""

    def find_credit(self, credit: CreditOrder, attempt: Attempt) -> Sighting:
        """What became of an earlier attempt to give credit, under the same promises as `find_refund`."""

    def reissue_credit(self, used: UsedCredit) -> CreditRest:
        """Give what a used credit has left its own code, where the platform would lose it. Convergent: safe to repeat.

        Raises: `Throttled`, `OutcomeUnknown`, `Revoked`; `Rejected` where the code or the order is gone.
        """

    def mirror_return(self, view: ReturnView) -> ReturnRef:
        """Show the RMA on the platform: one convergent upsert, safe to repeat."""
