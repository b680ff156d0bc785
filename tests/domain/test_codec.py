"""Values to bytes and back: nothing is lost, equal values give equal bytes, and other bytes are refused."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, date, datetime, timedelta, timezone
from enum import StrEnum
from fractions import Fraction
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from connector.domain import codec
from connector.domain.orders import Buyer, CustomerRef, Order
from connector.domain.platform import CreditOrder, RefundOrder, ReturnView
from connector.domain.policy import Claim, Decision, decide
from connector.domain.quote import Quote, price
from connector.domain.standing import Booked
from connector.domain.steps import Step, StepCode, step
from connector.domain.terms import Authorise, FeeTerms, Policy
from connector.domain.wanted import Wanted, WantedLine
from tests.domain.at_random import orders, wishes
from tests.world import an_order

T = TypeVar("T")

PLAIN: Mapping[Any, st.SearchStrategy[Any]] = {
    bool: st.booleans(),
    int: st.integers(),
    str: st.text(max_size=8) | st.sampled_from(["1/3", "null", "2026-03-02", "\x00", "\u2028", '"', "é", "e\u0301", "🎁"]),
    Fraction: st.fractions(),
    date: st.dates(),
    datetime: st.datetimes(timezones=st.just(UTC) | st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))),
}


def anything(kind: Any, names: Mapping[Any, Any] = types.MappingProxyType({})) -> st.SearchStrategy[Any]:
    """Any value of a type, every field drawn: what no careful example would hold."""
    kind = names.get(kind, kind)
    if kind in PLAIN:
        return PLAIN[kind]
    if hasattr(kind, "__supertype__"):  # NewType
        return anything(kind.__supertype__)
    origin, args = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return st.one_of([st.none() if each is type(None) else anything(each, names) for each in args])
    if origin is tuple and args[-1] is Ellipsis:
        return st.lists(anything(args[0], names), max_size=2).map(tuple)
    if origin is tuple:
        return st.tuples(*(anything(each, names) for each in args))
    if origin is not None:  # Part[LineRef]
        return anything(origin, dict(zip(origin.__parameters__, args, strict=True)))
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return st.sampled_from(kind)
    hints = get_type_hints(kind)
    return st.deferred(lambda: st.builds(kind, **{each.name: anything(hints[each.name], names) for each in fields(kind)}))


# ── There and back ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", [Order, RefundOrder, CreditOrder, ReturnView, Booked, Quote, Decision, Step, Claim])
def test_whatever_a_value_holds_comes_back(kind: type[object]) -> None:
    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    @given(anything(kind))
    def check(value: object) -> None:
        written = codec.write(value)

        read = codec.read(written, kind)

        assert read == value
        assert codec.write(read) == written
        assert hash(read) == hash(value)

    check()


@given(st.data())
def test_a_real_quote_comes_back_with_every_step_of_its_arithmetic(data: st.DataObject) -> None:
    order = data.draw(orders())
    quote = price(order, data.draw(wishes(order)))
    if isinstance(quote, Quote):
        assert codec.read(codec.write(quote), Quote) == quote
    assert codec.read(codec.write(order), Order) == order


def test_a_quote_comes_back_with_its_percentages_as_exact_as_they_were() -> None:
    wanted = Wanted(lines=(WantedLine(an_order().lines[0].id, 1),), restocking_percent=Fraction(100, 7))

    quote = price(an_order(), wanted)

    assert isinstance(quote, Quote)
    back = codec.read(codec.write(quote), Quote)
    assert [dict(one.facts)["percent"] for one in back.because if one.code is StepCode.RESTOCKING] == [Fraction(100, 7)]


@pytest.mark.parametrize("fact", ["1/3", "10/1", "0", 7, 0, -1, 10**30, Fraction(1, 3), Fraction(10), Fraction(-7, 2), ""], ids=repr)
def test_a_fact_keeps_its_type(fact: int | str | Fraction) -> None:
    made = step(StepCode.UNITS, {"x": fact})

    ((_, back),) = codec.read(codec.write(made), Step).facts

    assert (back, type(back)) == (fact, type(fact))


@pytest.mark.parametrize("automatic", [True, False])
@pytest.mark.parametrize("units", [0, 1, 4, -1])
def test_a_decision_comes_back_with_every_finding(automatic: bool, units: int) -> None:
    policy = Policy(
        authorise=Authorise(automatic=automatic),
        restocking=FeeTerms(percent=Fraction(25, 2), free_for=frozenset({"faulty"})),
        bonus_percent=Fraction(10, 3),
    )

    decision = decide(policy, an_order(), [Claim(an_order().lines[0].id, units, "faulty")], taken={}, today=date(2026, 3, 9))

    assert codec.read(codec.write(decision), Decision) == decision


def test_times_come_back_to_the_microsecond_in_their_own_zone() -> None:
    at = datetime(2026, 3, 29, 1, 30, 0, 1, tzinfo=timezone(timedelta(hours=-9, minutes=-30)))

    back = codec.read(codec.write(at), datetime)

    assert (back, back.utcoffset()) == (at, at.utcoffset())
    assert codec.read(codec.write(date(1, 1, 1)), date) == date(1, 1, 1)


# ── Canonical ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_equal_values_give_equal_bytes() -> None:
    assert codec.write({"b": 1, "a": (2, 3)}) == codec.write({"a": [2, 3], "b": 1}) == b'{"a":[2,3],"b":1}'
    assert codec.write(frozenset({"b", "a"})) == codec.write({"a", "b"}) == b'["a","b"]'
    assert codec.write("é\u2028") == '"é\u2028"'.encode()


@given(st.dictionaries(st.text(), st.integers() | st.text()))
def test_written_bytes_are_json_that_anybody_can_read(value: dict[str, int | str]) -> None:
    written = codec.write(value)

    assert json.loads(written) == value
    assert written == json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def test_what_is_plain_is_plain_all_the_way() -> None:
    def is_plain(value: object) -> bool:
        if isinstance(value, dict):
            return all(type(key) is str and is_plain(each) for key, each in value.items())
        return all(map(is_plain, value)) if isinstance(value, list | tuple) else isinstance(value, str | int | None)

    quote = price(an_order(), Wanted(lines=(WantedLine(an_order().lines[0].id, 1),), restocking_percent=Fraction(1, 3)))

    assert is_plain(codec.plain(quote))
    assert is_plain(codec.plain(an_order()))


# ── Anything else is refused ────────────────────────────────────────────────────────────────────────────────────────

REFUSED = (ValueError, KeyError, TypeError)


@dataclass(frozen=True)
class Old:
    """What an earlier version wrote."""

    ref: str
    gone: int = 7


@dataclass(frozen=True)
class New:
    """What this one reads."""

    ref: str
    added: int = 1


def test_a_field_that_came_later_has_its_default_and_one_that_went_is_left_out() -> None:
    """A rolling deploy: old and new code read each other's rows (F48)."""
    assert codec.read(codec.write(Old("1001")), New) == New("1001")
    assert codec.read(codec.write(New("1001")), Old) == Old("1001")


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        b"\xff",
        b"{",
        b"null",
        b"1",
        b"[]",
        b"{}",
        b'{"ref":"1","currency":"EUR"}',
        b'{"ref":null,"currency":"EUR","total":1}',
        b'{"ref":1,"currency":"EUR","total":1}',
        b'{"ref":"1","currency":"EUR","total":"1"}',
        b'{"ref":"1","currency":"EUR","total":1.0}',
        b'{"ref":"1","currency":"EUR","total":true}',
        b'{"ref":"1","currency":"EUR","total":NaN}',
        b'{"ref":"1","currency":"EUR","total":1,"paid":1}',
        b'{"ref":"1","currency":"EUR","total":1,"placed_at":"yesterday"}',
        b'{"ref":"1","currency":"EUR","total":1,"placed_at":5}',
        b'{"ref":"1","currency":"EUR","total":1,"lines":5}',
        b'{"ref":"1","currency":"EUR","total":1,"lines":"abc"}',
        b'{"ref":"1","currency":"EUR","total":1,"lines":[null]}',
        b'{"ref":"1","currency":"EUR","total":1,"tenders":[{"id":"c","captured":1,"kind":"barter"}]}',
    ],
)
def test_bytes_that_are_no_order_are_refused(broken: bytes) -> None:
    with pytest.raises(REFUSED):
        codec.read(broken, Order)


@pytest.mark.parametrize("broken", [b'"1/0"', b'"a"', b"0.5", b"1", b"null", b"[]"])
def test_what_is_no_fraction_is_refused(broken: bytes) -> None:
    with pytest.raises(REFUSED):
        codec.read(broken, Fraction)


@pytest.mark.parametrize("broken", ["null", "0.5", "true", "[]", "{}", '{"fraction":"1/0"}', '{"fraction":1}'])
def test_what_is_no_fact_is_refused(broken: str) -> None:
    with pytest.raises(REFUSED):
        codec.read(f'{{"code":"units","facts":[["x",{broken}]]}}'.encode(), Step)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
    max_leaves=4,
)


def planted(value: object, path: Sequence[int], other: object) -> object:
    """`value` with `other` somewhere in it."""
    if not path or not isinstance(value, dict | list) or not value:
        return other
    if isinstance(value, dict):
        key = sorted(value)[path[0] % len(value)]
        return value | {key: planted(value[key], path[1:], other)}
    place = path[0] % len(value)
    return [*value[:place], planted(value[place], path[1:], other), *value[place + 1 :]]


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(anything(Order), st.lists(st.integers(0, 30), min_size=1, max_size=4), JSON)
def test_an_order_with_something_else_in_it_is_refused_or_is_an_order_and_nothing_in_between(
    order: Order, path: list[int], other: object
) -> None:
    changed = json.dumps(planted(json.loads(codec.write(order)), path, other)).encode()

    try:
        read = codec.read(changed, Order)
    except REFUSED:
        return
    assert codec.read(codec.write(read), Order) == read


def test_a_text_that_no_database_could_keep_is_refused_when_it_is_written() -> None:
    """A15: a lone surrogate."""
    with pytest.raises(ValueError, match="surrogates"):
        codec.write(Buyer(country="\ud800", customer=CustomerRef("1")))
