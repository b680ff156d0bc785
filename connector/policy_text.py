"""A policy as a merchant writes it: TOML, format 1, read into frozen values.

Every fault names its line, its key and what was expected, all of them at once. A file may hold its own test cases
(`[[test]]`), which `failing_tests` runs: a version whose cases fail is not published.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from importlib import resources
from typing import Any, Final

from marshmallow import ValidationError

from connector.domain.money import Money
from connector.domain.orders import NOTHING, LineRef, Order, OrderLine, OrderRef, Product, Worth
from connector.domain.policy import Claim, Decision, Refusal, RuleCode, decide, restocking
from connector.domain.quote import Quote, price
from connector.domain.terms import Policy
from connector.domain.wanted import Wanted, WantedLine
from connector.policy_fields import Expected
from connector.policy_schema import Example, FileTable, PolicyFile

LARGEST: Final = 64 * 1024  # bytes of UTF-8

_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(?:#.*)?")
_KEY = re.compile(r"""\s*((?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[A-Za-z0-9_-]+|"[^"]*"|'[^']*'))*)\s*=""")
_AT_LINE = re.compile(r" ?\(at (?:line (\d+), column \d+|end of document)\)")
_WORDS: Final[Mapping[Expected, str]] = {
    Expected.TOML: "text in TOML",
    Expected.SMALLER: "a smaller file",
    Expected.KNOWN_KEY: "one of the keys that there are",
    Expected.KEY: "this key, which is missing",
    Expected.TABLE: "a table",
    Expected.TABLES: "a list of tables",
    Expected.WHOLE_NUMBER: "a whole number",
    Expected.PERCENT: "a percentage with at most three decimals",
    Expected.AMOUNT: "an amount in the currency's own decimals",
    Expected.CURRENCY: "a currency in three capital letters",
    Expected.YES_OR_NO: "true or false",
    Expected.DATE: "a date without quotes",
    Expected.TEXT: "a text in quotes",
    Expected.LIST: "a list in square brackets",
    Expected.CODE: "a code in quotes",
    Expected.ONE_OF: "one of these words",
    Expected.ONCE: "every entry once",
    Expected.ONLY_ONE: "only one of these keys",
}


@dataclass(frozen=True, slots=True, order=True)
class Fault:
    """One thing that is wrong. `line` counts from 1; where a key is missing it is the line of its table."""

    line: int
    key: str
    expected: Expected
    detail: str = ""

    def __str__(self) -> str:
        wanted = f"{_WORDS[self.expected]} ({self.detail})" if self.detail else _WORDS[self.expected]
        return f"line {self.line}: {self.key}: expected {wanted}" if self.key else f"line {self.line}: expected {wanted}"


class FaultyPolicy(ValueError):
    """A text that is no policy. `faults` are all of them, by line."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        """`faults` has at least one."""
        super().__init__("\n".join(map(str, faults)))
        self.faults = faults


@dataclass(frozen=True, slots=True)
class FailingTest:
    """A test case of the file that does not hold: `key` is what it said."""

    name: str
    key: str
    expected: str
    got: str

    def __str__(self) -> str:
        return f"{self.name}: {self.key} should be {self.expected}, but is {self.got}"


def default_text() -> str:
    """The policy that a new shop starts with."""
    return resources.files("connector").joinpath("default_policy.toml").read_text("utf-8")


def read(text: str) -> Policy:
    """The policy that the text says. Raises `FaultyPolicy`."""
    return _load(text).policy


def failing_tests(text: str) -> tuple[FailingTest, ...]:
    """The test cases of the file that do not hold, in its order. Raises `FaultyPolicy`."""
    file = _load(text)
    return tuple(failing for example in file.examples for failing in _differences(file.policy, example))


def _load(text: str) -> PolicyFile:
    if len(text) > LARGEST or len(text.encode("utf-8", "surrogatepass")) > LARGEST:
        raise FaultyPolicy((Fault(1, "", Expected.SMALLER, f"at most {LARGEST // 1024} KiB"),))
    text = text.removeprefix("\ufeff")
    tables = _parse(text)
    try:
        file: PolicyFile = FileTable().load(tables)
    except ValidationError as error:
        lines = _lines(text)
        raise FaultyPolicy(tuple(sorted(_fault(path, message, lines) for path, message in _walk(error.messages)))) from None
    return file


def _parse(text: str) -> dict[str, Any]:
    """The tables of the text. Numbers with a point stay texts, so that no amount is ever a float."""
    try:
        return tomllib.loads(text, parse_float=str)
    except tomllib.TOMLDecodeError as error:
        found = _AT_LINE.search(str(error))
        line = text.count("\n") + 1 if found is None or found[1] is None else int(found[1])
        raise FaultyPolicy((Fault(line, "", Expected.TOML, _AT_LINE.sub("", str(error))),)) from None
    except (RecursionError, ValueError):  # thousands of brackets, thousands of digits
        raise FaultyPolicy((Fault(1, "", Expected.TOML, "less deeply nested, and with shorter numbers"),)) from None


# ── Where a fault stands ────────────────────────────────────────────────────────────────────────────────────────────

Path = tuple[str, ...]


def _walk(messages: list[Any] | dict[Any, Any], path: Path = ()) -> Iterator[tuple[Path, str]]:
    """Every message of a marshmallow error, with its path."""
    if isinstance(messages, dict):
        for key, inner in messages.items():
            yield from _walk(inner, path if key == "_schema" else (*path, str(key)))
    else:
        yield from ((path, str(message)) for message in messages)


def _fault(path: Path, message: str, lines: Mapping[Path, int]) -> Fault:
    code, _, detail = message.partition(": ")
    line = next((lines[path[:size]] for size in range(len(path), 0, -1) if path[:size] in lines), 1)
    return Fault(line, _shown(path), Expected(code), detail)


def _shown(path: Path) -> str:
    """`test[2].today`: places count from 1, as people do."""
    return "".join(f"[{int(key) + 1}]" if key.isdecimal() else f".{key}" for key in path).removeprefix(".")


def _lines(text: str) -> dict[Path, int]:
    """The line of each table and key. Best effort: good for any file that a person would write."""
    found: dict[Path, int] = {}
    table: Path = ()
    tables: Counter[Path] = Counter()
    within = ""  # the quotes of the text of many lines that we are in
    for number, line in enumerate(text.split("\n"), start=1):
        if within:
            within = "" if within in line else within
            continue
        header, key = _HEADER.fullmatch(line), _KEY.match(line)
        if header:
            table = _keys(header[2])
            if header[1] == "[[":
                tables[table] += 1
                table = (*table, str(tables[table] - 1))
            found.setdefault(table, number)
        elif key:
            found.setdefault((*table, *_keys(key[1])), number)
        within = next((quotes for quotes in ('"""', "'''") if line.count(quotes) % 2), "")
    return found


def _keys(dotted: str) -> Path:
    return tuple(part.strip().strip("\"'") for part in dotted.split("."))


# ── A file's own test cases ─────────────────────────────────────────────────────────────────────────────────────────

_LINE: Final = LineRef("line")


def _differences(policy: Policy, example: Example) -> Iterator[FailingTest]:
    order = _order(example)
    reason = next(iter(policy.reasons), "") if example.reason is None else example.reason
    decision = decide(policy, order, (Claim(_LINE, example.claimed, reason),), taken={_LINE: example.taken}, today=example.today)
    if decision.outcome is not example.expect:
        yield FailingTest(example.name, "expect", example.expect, decision.outcome)
    if example.refusals is not None and set(example.refusals) != set(decision.refusals):
        yield FailingTest(example.name, "refusals", _listed(example.refusals), _listed(decision.refusals))
    if example.refund is not None and example.refund != (given := _refund(order, decision)):
        yield FailingTest(example.name, "refund", str(example.refund), str(given))


def _listed(refusals: tuple[Refusal, ...]) -> str:
    return ", ".join(refusals) or "none"


def _order(example: Example) -> Order:
    product = Product(sku=example.sku, kind=example.type, tags=example.tags)
    total = example.price.minor * example.bought
    return Order(
        OrderRef("test"),
        example.price.currency,
        total,
        lines=(OrderLine(_LINE, example.bought, Worth(total), 0, NOTHING, product, example.fulfilled, example.delivered),),
        paid=example.paid,
        cancelled=example.cancelled,
        placed_at=None if example.placed is None else datetime.combine(example.placed, time(12), UTC),
    )


def _refund(order: Order, decision: Decision) -> Money:
    """What the shopper would be given for the claim; nothing where it is refused."""
    claim, shipping = decision.claims[0].claim, decision.fee(RuleCode.RETURN_SHIPPING_FEE)
    percent, minor = restocking(decision.fee(RuleCode.RESTOCKING_FEE), order, {_LINE: claim.quantity})
    wanted = Wanted(
        lines=(WantedLine(_LINE, claim.quantity),),
        restocking_percent=percent,
        restocking_fee=minor,
        return_shipping_fee=shipping.minor if shipping else 0,
    )
    quote = None if decision.refusals else price(order, wanted)
    return Money(quote.total if isinstance(quote, Quote) else 0, order.currency)
