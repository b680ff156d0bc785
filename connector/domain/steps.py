"""The steps of the arithmetic, as codes with values: why a quote is what it is, before anyone puts it into words.

`narrate` says a step in English for the command line and for staff; the portal has translated sentences of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

Fact = int | str | Fraction


class StepCode(StrEnum):
    """What a step does. The comment names the rule of `docs/amounts.md`."""

    # one line, shipping or fee entry
    UNITS = "units"  # 1: the portion of some units
    LEFT = "left"  # 2: paid less refunded
    OVER_REFUNDED = "over_refunded"  # 2: a component that lowers the others
    LOWERED = "lowered"  # 2: a component that was lowered
    LAST_UNIT = "last_unit"  # 2: rounding goes to the last unit
    LIMITED = "limited"  # 2: a portion is capped by what is left
    WITHHELD = "withheld"  # 2: what stays withheld
    SHARE = "share"  # 3: a rate's share of an explicit amount
    SHARE_LIMITED = "share_limited"  # 3: ... clamped to what is left
    NET_SHARE = "net_share"  # 3: what the taxes leave of an explicit amount
    EVENED = "evened"  # 3: moved between net and a rate
    PART = "part"  # net and taxes together
    PART_CLAMPED = "part_clamped"  # 2: less than the portion, in all
    # the whole return
    SUM = "sum"
    PLAIN_AMOUNT = "plain_amount"
    CLOSES = "closes"  # 4: the parts are what the order has left
    CLOSES_ROUNDED = "closes_rounded"  # 4: gross takes the rounding
    CLOSES_APART = "closes_apart"  # 4: too far apart for rounding
    REST = "rest"  # 5: total - refunded - kept
    CAPTURED_REST = "captured_rest"  # 5: captured - refunded - kept
    OPEN_TENDERS = "open_tenders"  # 5: what tenders can take back
    CAPPED = "capped"  # 5: computed parts give way
    RESTOCKING = "restocking"  # 6: the percentage of the returned lines
    DEDUCTED = "deducted"  # 6
    DEDUCTION_LIMITED = "deduction_limited"  # 6: no more than is left
    TOTAL = "total"
    BONUS = "bonus"  # 6
    CREDIT = "credit"
    TENDER = "tender"
    REMAINING = "remaining"
    # why nothing is priced
    OTHER_CURRENCY = "other_currency"
    NOT_PAID = "not_paid"
    UNKNOWN_PART = "unknown_part"
    ASKED_NOT_POSITIVE = "asked_not_positive"
    NOTHING_ASKED = "nothing_asked"
    NO_REST = "no_rest"
    TOO_MANY_UNITS = "too_many_units"
    BEYOND_PART = "beyond_part"
    NO_TENDER_LEFT = "no_tender_left"
    BEYOND_CAP = "beyond_cap"
    PARTS_CANCEL_OUT = "parts_cancel_out"
    PARTS_ARE_ZERO = "parts_are_zero"


@dataclass(frozen=True, slots=True)
class Step:
    """One step: its amounts in minor units, and what else it names (parts, rates, numbers of units, percentages)."""

    code: StepCode
    money: tuple[tuple[str, int], ...] = ()
    facts: tuple[tuple[str, Fact], ...] = ()


def step(code: StepCode, facts: Mapping[str, Fact] | None = None, /, **money: int) -> Step:
    """A step with its amounts as keywords."""
    return Step(code, tuple(money.items()), tuple((facts or {}).items()))
