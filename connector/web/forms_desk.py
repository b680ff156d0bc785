"""What staff typed or pressed, from untrusted fields into domain values."""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from marshmallow import EXCLUDE, Schema, ValidationError, fields, validate
from werkzeug.datastructures import MultiDict

from connector.domain.orders import ChargeRef, LineRef
from connector.domain.rma import Disposition
from connector.domain.wanted import Payout
from connector.services.desk import Judged
from connector.services.queues import Place, Queue

LONGEST_WHY: Final = 1000  # characters
LONGEST_REFERENCE: Final = 200
ARRIVED: Final = "n:"  # and the line's reference
JUDGED: Final = "d:"  # and a disposition, a colon, and the line's reference
VERDICTS: Final = (Disposition.RESTOCK, Disposition.REFURBISH, Disposition.DAMAGED, Disposition.DISPOSE, Disposition.SENT_BACK)
_COUNT: Final = validate.Regexp(re.compile(r"[0-9]{0,4}\Z", re.ASCII))  # no sign, no exponent, no full-width digit (A18-A20)
_REF: Final = validate.Length(min=1, max=200)
_MOST_LINES: Final = 500


class Wrong(Exception):
    """Something cannot be meant as it was typed: a code for each field."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        super().__init__(", ".join(problems.values()))
        self.problems = dict(problems)


@dataclass(frozen=True, slots=True)
class Choice:
    """How staff want to give the money back, and the total that they saw (minor units)."""

    payout: Payout
    expected: int
    also: tuple[ChargeRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed, to be shown again beside what is wrong with it."""

    values: Mapping[str, str] = field(default_factory=dict)

    def get(self, name: str) -> str:
        return self.values.get(name, "")


class _Text(Schema):
    class Meta:
        unknown = EXCLUDE

    email = fields.String(load_default="", validate=validate.Length(max=300))
    link = fields.String(load_default="", validate=validate.Length(max=100))


class _Choice(Schema):
    class Meta:
        unknown = EXCLUDE

    payout = fields.Enum(Payout, by_value=True, required=True)
    expected = fields.String(required=True, validate=validate.Regexp(re.compile(r"[0-9]{1,15}\Z", re.ASCII)))
    also = fields.List(fields.String(validate=_REF), load_default=list, validate=validate.Length(max=20))


class _Look(Schema):
    class Meta:
        unknown = EXCLUDE

    queue = fields.Enum(Queue, by_value=True, load_default=Queue.DECIDE)
    after = fields.String(load_default="", validate=validate.Length(max=100))
    q = fields.String(load_default="", validate=validate.Length(max=200))


_COUNTS: Final = fields.Dict(keys=fields.String(validate=_REF), values=fields.String(validate=_COUNT))


def printable(text: str, longest: int = 300) -> str:
    """What was typed, as it may be shown again."""
    return "".join(sign for sign in text if sign.isprintable())[:longest]


def prose(text: str) -> str:
    """Several lines of a person's own words, as both databases take them."""
    plain = text.replace("\r\n", "\n")
    return "".join(sign for sign in plain if sign == "\n" or sign.isprintable()).strip()


def email(form: MultiDict[str, str]) -> str:
    """An address that somebody typed; empty where nobody can have."""
    return _text(form, "email")


def secret(form: MultiDict[str, str]) -> str:
    """The secret of a link."""
    return _text(form, "link")


def typed(form: MultiDict[str, str]) -> Typed:
    """Everything that was typed, cut to what may be shown again."""
    return Typed({name: printable(value, LONGEST_WHY) for name, value in list(form.items())[:_MOST_LINES]})


def arrived(form: MultiDict[str, str], awaited: Mapping[LineRef, int]) -> Mapping[LineRef, int]:
    """How many of each line were in the parcel; all that is awaited where that was pressed. Raises `Wrong`."""
    if form.get("all"):
        return {ref: count for ref, count in awaited.items() if count}
    counts = {LineRef(name.removeprefix(ARRIVED)): count for name, count in _counts(form, ARRIVED).items()}
    problems = {f"{ARRIVED}{ref}": "too_many" for ref, count in counts.items() if count > awaited.get(ref, 0)}
    if not problems and not any(counts.values()):
        problems = {"counts": "nothing"}
    if problems:
        raise Wrong(problems)
    return {ref: count for ref, count in counts.items() if count}


def judged(form: MultiDict[str, str], received: Mapping[LineRef, int]) -> Sequence[Judged]:
    """What became of the units of each line; back to stock with all of them where that was pressed. Raises `Wrong`."""
    if form.get("all"):
        return [Judged(ref, Disposition.RESTOCK, count) for ref, count in received.items() if count]
    found: list[Judged] = []
    for name, count in _counts(form, JUDGED).items():
        what, _, ref = name.removeprefix(JUDGED).partition(":")
        if what not in {each.value for each in VERDICTS}:
            raise Wrong({name: "unknown"})
        found += [Judged(LineRef(ref), Disposition(what), count)] if count else []
    sums: dict[LineRef, int] = {}
    for one in found:
        sums[one.line] = sums.get(one.line, 0) + one.quantity
    problems = {f"{JUDGED}{VERDICTS[0]}:{ref}": "too_many" for ref, count in sums.items() if count > received.get(ref, 0)}
    if problems or not found:
        raise Wrong(problems or {"verdicts": "nothing"})
    return found


def why(form: MultiDict[str, str]) -> str:
    """The reason that a shopper will read. Raises `Wrong`."""
    text = prose(form.get("why", ""))
    if not text or len(text) > LONGEST_WHY:
        raise Wrong({"why": "long" if text else "empty"})
    return text


def reference(form: MultiDict[str, str], name: str) -> str:
    """The number under which a shop's books show a payment. Raises `Wrong`."""
    text = form.get(name, "").strip()
    if not text or len(text) > LONGEST_REFERENCE or not text.isprintable():
        raise Wrong({name: "shape" if text else "empty"})
    return text


def choice(form: MultiDict[str, str]) -> Choice | None:
    """What was decided about the money; None: nobody can have pressed that."""
    try:
        payout = form.get("payout", "")
        sent = {"payout": payout, "expected": form.get(f"expected-{payout}", ""), "also": form.getlist("also")}
        values: dict[str, Any] = _Choice().load(sent)
    except ValidationError:
        return None
    return Choice(values["payout"], int(values["expected"]), also(form))


def also(form: MultiDict[str, str]) -> tuple[ChargeRef, ...]:
    """The shipping and fee entries that go back as well, each once."""
    return tuple(dict.fromkeys(ChargeRef(ref) for ref in form.getlist("also")[:20] if 0 < len(ref) <= 200))


def asked(form: MultiDict[str, str]) -> uuid.UUID | None:
    """Which decision a second person saw; None: nobody can have seen that."""
    try:
        return uuid.UUID(hex=form.get("asked", ""))
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Look:
    """Which queue, from where on, or what is searched."""

    queue: Queue = Queue.DECIDE
    after: Place | None = None
    text: str = ""


def look(query: MultiDict[str, str]) -> Look:
    """What an address asks for. A forged place is nothing but a place: the shop is never taken from it (A68)."""
    try:
        values: dict[str, Any] = _Look().load({name: query[name] for name in ("queue", "after", "q") if name in query})
    except ValidationError:
        return Look()
    return Look(values["queue"], _place(values["after"]), printable(values["q"]).strip())


def written(place: Place) -> str:
    """A place as an address carries it."""
    return f"{place.at.isoformat()}_{place.id.hex}"


def _place(text: str) -> Place | None:
    at, _, ref = text.partition("_")
    try:
        moment = datetime.fromisoformat(at)
        return Place(moment.astimezone(UTC), uuid.UUID(hex=ref)) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):  # the latter: a moment that is before the first year, or after the last, in UTC
        return None


def _text(form: MultiDict[str, str], name: str) -> str:
    try:
        found: str = _Text().load({name: form.get(name, "")})[name]
    except ValidationError:
        return ""
    return found


def _counts(form: MultiDict[str, str], sign: str) -> dict[str, int]:
    """The fields whose name begins with `sign`, as whole numbers; empty ones are zero. Raises `Wrong`."""
    sent = {name: values[0].strip(" ") for name, values in form.lists() if name.startswith(sign)}
    twice = {name: "shape" for name, values in form.lists() if name.startswith(sign) and len(values) > 1}
    if twice or len(sent) > _MOST_LINES:
        raise Wrong(twice or {"counts": "shape"})
    try:
        counts: dict[str, str] = _COUNTS.deserialize(sent)
    except ValidationError as error:
        faulty = error.messages if isinstance(error.messages, dict) else ["counts"]
        raise Wrong(dict.fromkeys(faulty, "shape")) from None
    return {name: int(count or "0") for name, count in counts.items()}
