"""May this come back, at what fee, and why: what a shopper claims, the rules, and the decision.

`decide` evaluates every rule and keeps each finding with its inputs, so that a decision explains itself. The rules are
data: `FORM` looks at the claim alone, `RULES` at its line; a further rule is a further entry. Nothing here reads a clock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, tzinfo
from enum import StrEnum
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Final

from connector.domain.money import half_up
from connector.domain.orders import LineRef, Order, OrderLine
from connector.domain.parts import worth_of_units
from connector.domain.refundable import units_left as units_not_refunded
from connector.domain.terms import Authorise, FeeTerms, Outcome, Policy, Resolution, Start, amount_in

__all__ = [
    "FORM",
    "RULES",
    "Case",
    "Claim",
    "ClaimDecision",
    "Decision",
    "Fee",
    "Finding",
    "Outcome",
    "Policy",
    "Refusal",
    "Resolution",
    "RuleCode",
    "decide",
    "restocking",
]


class Refusal(StrEnum):
    """Why something may not come back."""

    NOTHING_CLAIMED = "nothing_claimed"
    NOT_ON_ORDER = "not_on_order"
    NOT_WHOLE = "not_whole"
    NOT_POSITIVE = "not_positive"
    LISTED_TWICE = "listed_twice"
    ORDER_CANCELLED = "order_cancelled"
    NOT_PAID = "not_paid"
    REASON_UNKNOWN = "reason_unknown"
    UNITS_GONE = "units_gone"
    NOT_DELIVERED = "not_delivered"
    OUTSIDE_WINDOW = "outside_window"
    FINAL_SALE = "final_sale"
    NOT_RETURNABLE = "not_returnable"


class RuleCode(StrEnum):
    """The rules, as explanations name them."""

    SOMETHING_CLAIMED = "something_claimed"
    ON_ORDER = "on_order"
    WHOLE_UNITS = "whole_units"
    AT_LEAST_ONE = "at_least_one"
    LISTED_ONCE = "listed_once"
    ORDER_STANDS = "order_stands"
    PAID = "paid"
    REASON_KNOWN = "reason_known"
    UNITS_LEFT = "units_left"
    WINDOW = "window"
    FINAL_SALE = "final_sale"
    RETURNABLE = "returnable"
    AUTHORISE = "authorise"
    RESTOCKING_FEE = "restocking_fee"
    RETURN_SHIPPING_FEE = "return_shipping_fee"


# ── A claim and its decision ────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Claim:
    """What a shopper wants to send back of one line. Reason and condition are the merchant's codes."""

    line: LineRef
    quantity: int
    reason: str = ""
    condition: str = ""


@dataclass(frozen=True, slots=True)
class Finding:
    """What one rule came to, and on what: dates as ISO, amounts in minor units, all written out for the record."""

    rule: RuleCode
    outcome: Outcome
    inputs: tuple[tuple[str, str], ...] = ()
    refusal: Refusal | None = None


@dataclass(frozen=True, slots=True)
class ClaimDecision:
    """What becomes of one claim, with every rule that was evaluated."""

    claim: Claim
    outcome: Outcome
    because: tuple[Finding, ...]

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Why not, in the order of the rules."""
        return tuple(finding.refusal for finding in self.because if finding.refusal is not None)


@dataclass(frozen=True, slots=True)
class Fee:
    """A fee that applies: `percent` of what `lines` give back, or `minor` units once. `rule` charges it."""

    rule: RuleCode
    lines: tuple[LineRef, ...]
    percent: Fraction = Fraction(0)
    minor: int = 0


@dataclass(frozen=True, slots=True)
class Decision:
    """REFUSE: the request is not taken, and some claim says why. PERSON: taken, and somebody decides. ALLOW: authorised at once."""

    outcome: Outcome
    claims: tuple[ClaimDecision, ...]
    because: tuple[Finding, ...]
    fees: tuple[Fee, ...]
    resolutions: tuple[Resolution, ...]
    bonus_percent: Fraction

    @property
    def refusals(self) -> tuple[Refusal, ...]:
        """Every reason once, in the order in which they were found."""
        own = [finding.refusal for finding in self.because if finding.refusal is not None]
        return tuple(dict.fromkeys(own + [refusal for claim in self.claims for refusal in claim.refusals]))

    def fee(self, rule: RuleCode) -> Fee | None:
        """The fee that `rule` charges, or None."""
        return next((fee for fee in self.fees if fee.rule is rule), None)


@dataclass(frozen=True, slots=True)
class Case:
    """One claim beside its line: all that a rule may look at. `taken`: units spoken for by refunds and other RMAs."""

    policy: Policy
    order: Order
    claim: Claim
    line: OrderLine
    taken: int
    today: date
    zone: tzinfo


def decide(
    policy: Policy, order: Order, claims: Sequence[Claim], *, taken: Mapping[LineRef, int], today: date, zone: tzinfo = UTC
) -> Decision:
    """Whether the claims may come back, each with every reason for and against.

    `taken` counts units that refunds and other RMAs hold already (never fewer than the order shows as refunded are
    assumed). `today` is the day in `zone`, the shop's time zone. Fees speak of the claims that are not refused.
    """
    times = Counter(claim.line for claim in claims)
    judged: list[ClaimDecision] = []
    for claim in claims:
        line = order.line(claim.line)
        findings = [rule(claim, line, times[claim.line]) for rule in FORM]
        if line is not None and all(finding.outcome is Outcome.ALLOW for finding in findings):
            case = Case(policy, order, claim, line, max(taken.get(line.id, 0), line.refunded_quantity), today, zone)
            findings += [rule(case) for rule in RULES]
        judged.append(ClaimDecision(claim, _worst([finding.outcome for finding in findings]), tuple(findings)))
    open_claims = [one.claim for one in judged if one.outcome is not Outcome.REFUSE]
    whole = [] if claims else [Finding(RuleCode.SOMETHING_CLAIMED, Outcome.REFUSE, refusal=Refusal.NOTHING_CLAIMED)]
    fees: list[Fee] = []
    if open_claims:
        for terms, make in ((policy.restocking, _restocking_fee), (policy.return_shipping, _return_shipping_fee)):
            finding, fee = make(terms, order, open_claims)
            whole.append(finding)
            fees.extend([fee] if fee else [])
    if claims and len(open_claims) == len(claims):
        whole.append(_authorise(policy.authorise, order, open_claims))
    outcome = _worst([*(one.outcome for one in judged), *(finding.outcome for finding in whole)])
    return Decision(outcome, tuple(judged), tuple(whole), tuple(fees), policy.resolutions, policy.bonus_percent)


def _worst(outcomes: Sequence[Outcome]) -> Outcome:
    return next((worse for worse in (Outcome.REFUSE, Outcome.PERSON) if worse in outcomes), Outcome.ALLOW)


def _finding(rule: RuleCode, refusal: Refusal, *, when: bool, **inputs: object) -> Finding:
    """A finding that refuses `when`, and allows otherwise."""
    return Finding(rule, Outcome.REFUSE if when else Outcome.ALLOW, _written(inputs), refusal if when else None)


def _written(inputs: Mapping[str, object]) -> tuple[tuple[str, str], ...]:
    return tuple((name, str(value)) for name, value in inputs.items())


# ── Rules over the claim alone ──────────────────────────────────────────────────────────────────────────────────────


def on_order(claim: Claim, line: OrderLine | None, _times: int) -> Finding:
    """The line belongs to this order."""
    return _finding(RuleCode.ON_ORDER, Refusal.NOT_ON_ORDER, when=line is None, line=claim.line)


def whole_units(claim: Claim, _line: OrderLine | None, _times: int) -> Finding:
    """The quantity is a whole number, whatever a careless caller passed: `True` and `1.5` are none."""
    return _finding(RuleCode.WHOLE_UNITS, Refusal.NOT_WHOLE, when=type(claim.quantity) is not int, type=type(claim.quantity).__name__)


def at_least_one(claim: Claim, _line: OrderLine | None, _times: int) -> Finding:
    """The quantity is at least one."""
    few = type(claim.quantity) is int and claim.quantity < 1
    return _finding(RuleCode.AT_LEAST_ONE, Refusal.NOT_POSITIVE, when=few, quantity=claim.quantity)


def listed_once(_claim: Claim, _line: OrderLine | None, times: int) -> Finding:
    """The line is claimed once in this request."""
    return _finding(RuleCode.LISTED_ONCE, Refusal.LISTED_TWICE, when=times > 1, times=times)


FORM: Final[tuple[Callable[[Claim, OrderLine | None, int], Finding], ...]] = (on_order, whole_units, at_least_one, listed_once)


# ── Rules over the claim and its line ───────────────────────────────────────────────────────────────────────────────


def order_stands(case: Case) -> Finding:
    """The order was not cancelled."""
    return _finding(RuleCode.ORDER_STANDS, Refusal.ORDER_CANCELLED, when=case.order.cancelled)


def paid(case: Case) -> Finding:
    """The order was paid."""
    return _finding(RuleCode.PAID, Refusal.NOT_PAID, when=not case.order.paid)


def reason_known(case: Case) -> Finding:
    """The reason is one of the policy's, where it lists any."""
    unknown = bool(case.policy.reasons) and case.claim.reason not in case.policy.reasons
    return _finding(RuleCode.REASON_KNOWN, Refusal.REASON_UNKNOWN, when=unknown, reason=case.claim.reason)


def units_left(case: Case) -> Finding:
    """So many units are still with the shopper, unclaimed, and the platform would take them back."""
    bought, returnable = case.line.quantity, case.line.returnable
    free = max(0, bought - case.taken)
    free = free if returnable is None else min(free, max(0, returnable))
    inputs = {"bought": bought, "taken": case.taken, "claimed": case.claim.quantity, "free": free}
    return _finding(RuleCode.UNITS_LEFT, Refusal.UNITS_GONE, when=case.claim.quantity > free, **inputs)


def within_window(case: Case) -> Finding:
    """Today is not after the last day."""
    window = case.policy.window
    start, day = next(((start, day) for start in window.starts if (day := _day(start, case))), (None, None))
    if start is None or day is None:
        refusal = Refusal.NOT_DELIVERED if window.undated is Outcome.REFUSE else None
        return Finding(RuleCode.WINDOW, window.undated, _written({"sought": " ".join(window.starts), "today": case.today}), refusal)
    last = date.fromordinal(min(day.toordinal() + window.days, date.max.toordinal()))
    inputs = {"counted_from": start, "start": day, "days": window.days, "last_day": last, "today": case.today}
    return _finding(RuleCode.WINDOW, Refusal.OUTSIDE_WINDOW, when=case.today > last, **inputs)


def _day(start: Start, case: Case) -> date | None:
    if start is Start.DELIVERED:
        return case.line.delivered_on
    if start is Start.FULFILLED:
        return case.line.fulfilled_on
    return None if case.order.placed_at is None else case.order.placed_at.astimezone(case.zone).date()


def not_final_sale(case: Case) -> Finding:
    """No tag says that the sale was final."""
    tags = _shared(case.policy.final_sale_tags, case.line.product.tags)
    return _finding(RuleCode.FINAL_SALE, Refusal.FINAL_SALE, when=bool(tags), matched=tags)


def returnable(case: Case) -> Finding:
    """Neither type, tag nor SKU is on the policy's list of what never comes back."""
    never, product = case.policy.not_returnable, case.line.product
    skus = [pattern for pattern in never.skus if product.sku and fnmatchcase(product.sku.casefold(), pattern.casefold())]
    matched = " ".join(filter(None, (_shared(never.types, (product.kind,)), _shared(never.tags, product.tags), *skus)))
    return _finding(RuleCode.RETURNABLE, Refusal.NOT_RETURNABLE, when=bool(matched), matched=matched)


def _shared(listed: Sequence[str], found: Sequence[str]) -> str:
    wanted = {text.strip().casefold() for text in listed}
    return " ".join(text for text in found if text.strip().casefold() in wanted)


RULES: Final[tuple[Callable[[Case], Finding], ...]] = (
    order_stands,
    paid,
    reason_known,
    units_left,
    within_window,
    not_final_sale,
    returnable,
)


# ── Authorisation and fees: over all claims together ────────────────────────────────────────────────────────────────


def _authorise(terms: Authorise, order: Order, claims: Sequence[Claim]) -> Finding:
    """Whether a machine may say yes. The value is what the units would give back, before fees."""
    value = sum(worth_of_units(line, claim.quantity).worth.gross for claim in claims if (line := order.line(claim.line)))
    limit = amount_in(terms.up_to, order.currency)
    within = not terms.up_to or (limit is not None and value <= limit)
    inputs = {"automatic": terms.automatic, "value": value, "up_to": "" if limit is None else limit, "currency": order.currency}
    return Finding(RuleCode.AUTHORISE, Outcome.ALLOW if terms.automatic and within else Outcome.PERSON, _written(inputs))


def _restocking_fee(terms: FeeTerms, order: Order, claims: Sequence[Claim]) -> tuple[Finding, Fee | None]:
    """Charged on the lines whose reason is not free; a percentage is of what they give back, an amount comes once."""
    return _fee(RuleCode.RESTOCKING_FEE, terms, order, [claim.line for claim in claims if claim.reason not in terms.free_for])


def _return_shipping_fee(terms: FeeTerms, order: Order, claims: Sequence[Claim]) -> tuple[Finding, Fee | None]:
    """One parcel, one fee; free for all of it where one claim in it is free, since the parcel travels anyway."""
    free = any(claim.reason in terms.free_for for claim in claims)
    return _fee(RuleCode.RETURN_SHIPPING_FEE, terms, order, [] if free else [claim.line for claim in claims])


def _fee(rule: RuleCode, terms: FeeTerms, order: Order, lines: Sequence[LineRef]) -> tuple[Finding, Fee | None]:
    minor = amount_in(terms.amounts, order.currency) or 0
    inputs = {"percent": terms.percent, "minor": minor, "currency": order.currency, "lines": " ".join(lines)}
    if not lines or not (terms.percent or minor):
        return Finding(rule, Outcome.FREE, _written(inputs)), None
    return Finding(rule, Outcome.CHARGED, _written(inputs)), Fee(rule, tuple(lines), terms.percent, 0 if terms.percent else minor)


def restocking(fee: Fee | None, order: Order, units: Mapping[LineRef, int]) -> tuple[Fraction, int]:
    """The fee for `units` of the order, as a quote wants it: a percentage of the whole return, or an amount in minor units.

    Where the percentage is not of every line that comes back (a reason was free), it is worked out here as an amount.
    """
    charged = {line: count for line, count in units.items() if fee is not None and line in fee.lines and count > 0}
    if fee is None or not charged:
        return Fraction(0), 0
    if not fee.percent or len(charged) == len(units):
        return fee.percent, fee.minor
    parts = [(line, min(count, units_not_refunded(line))) for ref, count in charged.items() if (line := order.line(ref))]
    gross = sum(worth_of_units(line, count).worth.gross for line, count in parts if count)
    return Fraction(0), half_up(gross * fee.percent.numerator, 100 * fee.percent.denominator)
