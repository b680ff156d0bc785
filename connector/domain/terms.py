"""The values of a return policy: what a shop's merchant has decided, in one frozen shape.

Percentages are `Fraction(10)` for 10 %, amounts minor units of their currency, days calendar days of the shop's time zone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from connector.domain.money import Money


class Start(StrEnum):
    """The day that the return window is counted from."""

    DELIVERED = "delivered"
    FULFILLED = "fulfilled"
    PLACED = "placed"


class Outcome(StrEnum):
    """What a rule comes to. The last two are those of fees."""

    ALLOW = "allow"
    REFUSE = "refuse"
    PERSON = "person"  # a person decides
    CHARGED = "charged"
    FREE = "free"


class Resolution(StrEnum):
    """What a shopper may be offered for what comes back."""

    REFUND = "refund"
    STORE_CREDIT = "store_credit"
    EXCHANGE = "exchange"
    REPLACEMENT = "replacement"
    REPAIR = "repair"
    KEEP_ITEM = "keep_item"


Amounts = tuple[Money, ...]  # one figure per currency; nothing is ever converted


def amount_in(amounts: Amounts, currency: str) -> int | None:
    """The figure for `currency` in minor units; None: there is none."""
    return next((amount.minor for amount in amounts if amount.currency == currency), None)


@dataclass(frozen=True, slots=True)
class Window:
    """How long something may come back.

    `days` after the first of the days in `starts` that the platform knows, that last day included. Where it knows none
    of them, `undated` decides: ALLOW, REFUSE or PERSON.
    """

    days: int = 30
    starts: tuple[Start, ...] = (Start.DELIVERED, Start.FULFILLED, Start.PLACED)
    undated: Outcome = Outcome.PERSON


@dataclass(frozen=True, slots=True)
class NotReturnable:
    """Articles that never come back: product types and tags (case does not matter), SKU patterns (`GIFT-*`)."""

    types: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    skus: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FeeTerms:
    """A fee, once per return: `percent` (`Fraction(10)` is 10 %) or an amount per currency; free for some reasons.

    A currency that `amounts` does not name is not charged.
    """

    percent: Fraction = Fraction(0)
    amounts: Amounts = ()
    free_for: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Authorise:
    """Whether a machine may say yes, up to what value of the units claimed. No figure: whatever the value.

    Where there are figures, a currency without one goes to a person.
    """

    automatic: bool = False
    up_to: Amounts = ()


@dataclass(frozen=True, slots=True)
class Limits:
    """Above what amount a person must confirm a refund, and what may go out in a day, per currency."""

    confirm_above: Amounts = ()
    daily_cap: Amounts = ()


@dataclass(frozen=True, slots=True)
class Policy:
    """One version of a shop's policy. `reasons` are the codes a shopper may give (empty: any); percentages as `Fraction(10)`."""

    window: Window = Window()
    reasons: tuple[str, ...] = ()
    final_sale_tags: tuple[str, ...] = ()
    not_returnable: NotReturnable = NotReturnable()
    restocking: FeeTerms = FeeTerms()
    return_shipping: FeeTerms = FeeTerms()
    authorise: Authorise = Authorise()
    limits: Limits = Limits()
    resolutions: tuple[Resolution, ...] = (Resolution.REFUND,)
    bonus_percent: Fraction = Fraction(0)
    expiry_days: int = 30


class Limit(StrEnum):
    """A bound of money that a machine may not pass alone."""

    CONFIRM_ABOVE = "confirm_above"
    DAILY_CAP = "daily_cap"


def beyond(limits: Limits, amount: Money, *, given_today: int) -> tuple[Limit, ...]:
    """The limits that giving `amount` passes, `given_today` minor units of its currency having gone out already.

    A limit that has figures, but none for this currency, counts as passed: a person decides.
    """
    bounds = ((Limit.CONFIRM_ABOVE, limits.confirm_above, amount.minor), (Limit.DAILY_CAP, limits.daily_cap, given_today + amount.minor))
    passed: list[Limit] = []
    for limit, figures, reached in bounds:
        bound = amount_in(figures, amount.currency)
        if figures and (bound is None or reached > bound):
            passed.append(limit)
    return tuple(passed)
