"""The steps of the arithmetic in English, one sentence each, with the figures: for the command line, `because` and staff.

Whoever reads the sentences with a pocket calculator comes to every cent. Shoppers never see them: the portal has translated
templates for the same codes.
"""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from types import MappingProxyType

from connector.domain.money import show
from connector.domain.steps import Fact, Step, StepCode

SENTENCES: Mapping[StepCode, str] = MappingProxyType(
    {
        StepCode.UNITS: (
            "{part}, {component}: {first}..{after} of {of} units are worth {whole} x {after}/{of} = {upto}"
            " less {whole} x {before}/{of} = {sofar}, each rounded down: {portion}."
        ),
        StepCode.LEFT: "{part}, {component}: {paid} paid - {refunded} refunded so far = {left} left.",
        StepCode.OVER_REFUNDED: (
            "{part}, {component}: {paid} paid, {refunded} refunded so far; nothing is left, and the {over} too much"
            " comes off the rest of the part."
        ),
        StepCode.LOWERED: (
            "{part}, {component}: {paid} paid - {refunded} refunded so far - {lowered} that was refunded too much"
            " on the rest of the part = {left} left."
        ),
        StepCode.LAST_UNIT: (
            "{part}, {component}: all units are back; {left} left differs from {portion} by at most a minor unit for each of the"
            " {tolerance} units refunded before, which is rounding, so the last unit takes the {left}."
        ),
        StepCode.LIMITED: "{part}, {component}: {portion} is more than what is left, so it is {left}.",
        StepCode.WITHHELD: (
            "{part}, {component}: all units are back, but {left} left - {portion} = {withheld} is more than rounding:"
            " it was withheld on purpose and stays withheld."
        ),
        StepCode.SHARE: (
            "{part}, {component}: {paid} x {after}/{whole} = {upto} less {paid} x {before}/{whole} = {sofar},"
            " each rounded half up: {share}."
        ),
        StepCode.SHARE_LIMITED: "{part}, {component}: {share} does not lie between 0 and the {left} left, so it is {tax}.",
        StepCode.NET_SHARE: "{part}, net: {amount} asked - {taxes} tax = {net}.",
        StepCode.EVENED: (
            "{part}: net would not lie between 0 and the {left} left, so {moved} moves from net to {component}: tax {tax}, net {net}."
        ),
        StepCode.PART: "{part}: {net} net + {taxes} tax = {gross}.",
        StepCode.PART_CLAMPED: "{part}: the portion would be {asked}, {given} is given.",
        StepCode.SUM: "All parts together: {gross}.",
        StepCode.PLAIN_AMOUNT: "{gross} is asked for the order as a whole.",
        StepCode.CLOSES: "This closes the order, which has exactly {rest} left.",
        StepCode.CLOSES_ROUNDED: (
            "This closes the order: it has {rest} left, which differs from {gross} by at most a minor unit for each of its"
            " {entries} lines, shipping and fee entries, so the return takes {rest}."
        ),
        StepCode.CLOSES_APART: (
            "This closes the order: it has {rest} left, which differs from {gross} by more than a minor unit for each of its"
            " {entries} lines, shipping and fee entries, so the parts stay as they are."
        ),
        StepCode.REST: "Left of the order: {total} total - {refunded} refunded - {kept} kept = {rest}.",
        StepCode.CAPTURED_REST: "Left of what was paid: {captured} captured - {refunded} refunded - {kept} kept = {rest}.",
        StepCode.OPEN_TENDERS: "The tenders can take back {open} together.",
        StepCode.CAPPED: "{gross} is more than the least of these, so {cap} may move.",
        StepCode.RESTOCKING: "Restocking fee: {percent} % of the returned lines' {lines} = {fee}, rounded half up.",
        StepCode.DEDUCTED: "Less {taken} ({kind}): {before} - {taken} = {after}.",
        StepCode.DEDUCTION_LIMITED: "{kind} asks for {asked}, but only {before} is there: {before} - {taken} = {after}.",
        StepCode.TOTAL: "To give back: {moving} - {deductions} deductions = {total}.",
        StepCode.BONUS: "Bonus: {percent} % of {total} = {bonus}, rounded half up, on top.",
        StepCode.CREDIT: "{total} is given as store credit.",
        StepCode.TENDER: "{tender} takes {minor} of at most {room} ({captured} captured, {refunded} refunded); {rest} goes on to the next.",
        StepCode.REMAINING: "Left of the order after this: {rest} - {total} - {deductions} deductions = {remaining}.",
        StepCode.OTHER_CURRENCY: "The return is in {asked}, the order in {currency}.",
        StepCode.NOT_PAID: "The order is not paid.",
        StepCode.UNKNOWN_PART: "The order has no {part}.",
        StepCode.ASKED_NOT_POSITIVE: "{part}: {asked} was asked, which is zero, negative or of the wrong sign.",
        StepCode.NOTHING_ASKED: "Nothing is asked for.",
        StepCode.NO_REST: "The order has nothing left: {total} total - {refunded} refunded - {kept} kept = {rest}.",
        StepCode.TOO_MANY_UNITS: "{part}: {asked} units asked, {left} left.",
        StepCode.BEYOND_PART: "{part}: {amount} asked, {left} left.",
        StepCode.NO_TENDER_LEFT: "Nothing can go back to any tender of the order.",
        StepCode.BEYOND_CAP: "{amount} is asked in explicit amounts, and at most {cap} may move.",
        StepCode.PARTS_CANCEL_OUT: "The parts cancel out: together they are {gross}.",
        StepCode.PARTS_ARE_ZERO: "Nothing of what is asked for has a value.",
    }
)

FIRST_UNITS = "{part}, {component}: {after} of {of} units are worth {whole} x {after}/{of}, rounded down: {portion}."


def sentence(step: Step, places: int) -> str:
    """`step` in English; `places` is the number of decimals of its amounts."""
    words = {name: _fact(value) for name, value in step.facts} | {name: show(minor, places) for name, minor in step.money}
    if "component" in words:
        words["component"] = f"{words['component']} {words.get('rate', '')}".strip()
    template = FIRST_UNITS if step.code is StepCode.UNITS and words["before"] == "0" else SENTENCES[step.code]
    return template.format_map(words)


def _fact(fact: Fact) -> str:
    """A fact as text: fractions as plain decimals, or as `1/3` where there is none."""
    if not isinstance(fact, Fraction):
        return str(fact)
    places = next((places for places in range(1001) if 10**places % fact.denominator == 0), None)
    return str(fact) if places is None else show(int(fact * 10**places), places)
