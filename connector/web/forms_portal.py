"""What a shopper typed or chose, from untrusted fields into domain values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from marshmallow import EXCLUDE, Schema, ValidationError, fields, post_load, validate
from werkzeug.datastructures import MultiDict

from connector.domain.orders import LineRef
from connector.domain.policy import Claim
from connector.domain.terms import Resolution

CONDITIONS: Final = ("unopened", "opened", "worn")
QUANTITY: Final = "n:"  # and the line's reference
REASON: Final = "why:"
CONDITION: Final = "is:"
WANTED: Final = "as"
LONGEST_SAID: Final = 1000  # characters
_LONGEST_CODE: Final = 64
_LONGEST_REF: Final = 200
_MOST_LINES: Final = 500
_WHOLE: Final = re.compile(r"[0-9]{1,6}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Chosen:
    """Units of one line, with a reason and a condition once they were given."""

    line: LineRef
    quantity: int
    reason: str = ""
    condition: str = ""

    @property
    def claim(self) -> Claim:
        """The same for the policy."""
        return Claim(self.line, self.quantity, self.reason, self.condition)


@dataclass(frozen=True, slots=True)
class Choices:
    """Everything that was chosen so far: it travels in the address of each page. `malformed`: some of it nobody can have chosen."""

    lines: tuple[Chosen, ...] = ()
    wanted: Resolution | None = None
    malformed: frozenset[str] = frozenset()  # references of lines; empty text: something else

    @property
    def claims(self) -> tuple[Claim, ...]:
        return tuple(line.claim for line in self.lines)

    def line(self, ref: LineRef) -> Chosen | None:
        return next((each for each in self.lines if each.line == ref), None)

    def query(self, *, upto: str = WANTED) -> dict[str, str]:
        """The same as fields of an address; `upto` the quantities, the reasons, or all of it."""
        found: dict[str, str] = {}
        for each in self.lines:
            found[f"{QUANTITY}{each.line}"] = str(each.quantity)
            if upto != QUANTITY:
                found |= {f"{REASON}{each.line}": each.reason} if each.reason else {}
                found |= {f"{CONDITION}{each.line}": each.condition} if each.condition else {}
        return found | ({WANTED: self.wanted.value} if upto == WANTED and self.wanted else {})

    def known(self, reasons: tuple[str, ...]) -> Choices:
        """Without the reasons that are not on this list."""
        kept = tuple(each if each.reason in reasons else replace(each, reason="") for each in self.lines)
        return replace(self, lines=kept)


class _Whole(fields.Field[int]):
    """Plain ASCII digits: no sign, no blank, no full-width digit, no exponent (A18-A20)."""

    def _deserialize(self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any) -> int:  # noqa: ANN401 - marshmallow's
        del attr, data, kwargs
        if not isinstance(value, str) or not _WHOLE.fullmatch(value):
            raise ValidationError("no whole number")
        return int(value)


class _Line(Schema):
    line = fields.String(required=True, validate=validate.Length(min=1, max=_LONGEST_REF))
    quantity = _Whole(load_default=0)
    reason = fields.String(load_default="", validate=validate.Length(max=_LONGEST_CODE))
    condition = fields.String(load_default="", validate=validate.OneOf(("", *CONDITIONS)))

    @post_load
    def chosen(self, values: dict[str, Any], **_more: Any) -> Chosen:  # noqa: ANN401 - marshmallow's
        return Chosen(LineRef(values["line"]), values["quantity"], values["reason"], values["condition"])


class _Choices(Schema):
    class Meta:
        unknown = EXCLUDE

    wanted = fields.Enum(Resolution, by_value=True, load_default=None, data_key=WANTED)


class _Look(Schema):
    class Meta:
        unknown = EXCLUDE

    number = fields.String(load_default="", validate=validate.Length(max=1000))
    email = fields.String(load_default="", validate=validate.Length(max=1000))
    code = fields.String(load_default="", validate=validate.Length(max=100))


@dataclass(frozen=True, slots=True)
class Look:
    """What a guest typed to be recognised."""

    number: str = ""
    email: str = field(default="", repr=False)
    code: str = field(default="", repr=False)


def look(form: MultiDict[str, str]) -> Look:
    """What was typed; empty where nobody can have typed it, such as a field that comes twice."""
    try:
        return Look(**_Look().load(_once(form, ("number", "email", "code"))))
    except ValidationError:
        return Look()


def choices(sent: MultiDict[str, str]) -> Choices:
    """What was chosen, line by line. What nobody can have chosen is told, and never guessed at."""
    lines: dict[str, dict[str, str]] = {}
    malformed: set[str] = set()
    for name, values in sent.lists():
        for sign, key in ((QUANTITY, "quantity"), (REASON, "reason"), (CONDITION, "condition")):
            if name.startswith(sign):
                ref = name.removeprefix(sign)
                lines.setdefault(ref, {"line": ref})[key] = values[0]
                malformed |= {ref} if len(values) > 1 else set()
    if len(lines) > _MOST_LINES:
        return Choices(malformed=frozenset({""}))
    found = [each for ref, values in lines.items() if ref not in malformed and (each := _line(values, malformed))]
    try:
        wanted: Resolution | None = _Choices().load(_once(sent, (WANTED,)))["wanted"]
    except ValidationError:
        wanted = None
    return Choices(tuple(each for each in found if each.quantity > 0), wanted, frozenset(malformed))


def said(form: MultiDict[str, str]) -> str:
    """What a shopper wrote in their own words, as both databases take it; cut nowhere, so that who calls can tell that it is too long."""
    text = form.get("said", "").replace("\r\n", "\n").replace("\0", "")
    return "".join(sign for sign in text if sign == "\n" or sign.isprintable() or sign.isspace()).strip()


def _line(values: Mapping[str, str], malformed: set[str]) -> Chosen | None:
    try:
        chosen: Chosen = _Line().load(values)
    except ValidationError:
        malformed.add(values["line"])
        return None
    return chosen


def _once(sent: MultiDict[str, str], names: tuple[str, ...]) -> dict[str, str]:
    """The fields that came exactly once."""
    return {name: values[0] for name in names if len(values := sent.getlist(name)) == 1}
