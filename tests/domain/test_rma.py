"""The three axes of an RMA: every pair is either in its table or refused, and nothing leads out of an end."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.rma import (
    ACCEPTED,
    BECOMES,
    HOLDS_UNITS,
    JUDGED,
    MONEY_MOVES,
    MOVES,
    OPEN,
    RESERVES,
    Disposition,
    IllegalMove,
    MoneyMove,
    MoneyState,
    Move,
    RmaState,
    after,
    disposed,
    money_after,
    open_to,
)

# What is expected stands here in words of its own, so that a slip in a table is a failing test.
CASE = {
    "requested": {"authorise": "authorised", "decline": "declined", "cancel": "cancelled"},
    "authorised": {"cancel": "cancelled", "expire": "expired", "receive": "received", "waive_receipt": "received"},
    "received": {"receive": "received", "resolve": "resolved"},
    "resolved": {"reopen": "received"},
    "expired": {"receive": "received"},
    "declined": {},
    "cancelled": {},
}
MONEY = {
    "pending": {"mark": "sent", "settle": "settled", "refuse": "refused", "park": "parked"},
    "sent": {"mark": "sent", "unmark": "pending", "settle": "settled", "refuse": "refused", "park": "parked"},
    "parked": {"settle": "settled", "refuse": "refused"},
    "settled": {},
    "refused": {"settle": "settled"},
}
UNIT = {
    "awaited": {"received", "kept", "missing", "restock", "damaged", "refurbish", "dispose"},
    "received": {"restock", "damaged", "refurbish", "dispose", "sent_back"},
    "restock": {"restock", "damaged", "refurbish", "dispose", "sent_back"},
    "damaged": {"restock", "damaged", "refurbish", "dispose", "sent_back"},
    "refurbish": {"restock", "damaged", "refurbish", "dispose", "sent_back"},
    "dispose": {"restock", "damaged", "refurbish", "dispose", "sent_back"},
    "missing": {"received", "restock", "damaged", "refurbish", "dispose"},
    "kept": set[str](),
    "sent_back": set[str](),
}

Step = Callable[[Any, Any], StrEnum]


@pytest.mark.parametrize(
    ("expected", "states", "moves", "step"),
    [(CASE, RmaState, Move, after), (MONEY, MoneyState, MoneyMove, money_after)],
    ids=["case", "money"],
)
def test_every_move_from_every_state_leads_where_it_should_or_is_refused(
    expected: Mapping[str, Mapping[str, str]], states: type[StrEnum], moves: type[StrEnum], step: Step
) -> None:
    assert set(expected) == set(states)
    for state, move in product(states, moves):
        if move in expected[state]:
            assert step(state, move) == expected[state][move]
        else:
            with pytest.raises(IllegalMove, match=f"{move} is not possible from {state}") as refused:
                step(state, move)
            assert (refused.value.state, refused.value.move) == (state, move)


@pytest.mark.parametrize(("was", "becomes"), list(product(Disposition, Disposition)))
def test_every_disposition_follows_where_it_should_or_is_refused(was: Disposition, becomes: Disposition) -> None:
    if becomes in UNIT[was]:
        assert disposed(was, becomes) is becomes
    else:
        with pytest.raises(IllegalMove):
            disposed(was, becomes)


@pytest.mark.parametrize("state", list(RmaState))
def test_the_desk_is_offered_exactly_what_the_table_allows(state: RmaState) -> None:
    offered = open_to(state)

    assert set(offered) == set(CASE[state])
    assert list(offered) == [move for move in Move if move in offered]


def test_declined_and_cancelled_are_ends_of_a_case_and_settled_of_its_money() -> None:
    assert {state for state in RmaState if not open_to(state)} == {RmaState.DECLINED, RmaState.CANCELLED}
    assert set(MoneyState) - {state for state, _ in MONEY_MOVES} == {MoneyState.SETTLED}
    assert {was for was, next_ones in BECOMES.items() if not next_ones} == {Disposition.KEPT, Disposition.SENT_BACK}


def test_every_state_but_the_first_is_led_to() -> None:
    assert set(MOVES.values()) == set(RmaState) - {RmaState.REQUESTED}
    assert set(MONEY_MOVES.values()) == set(MoneyState)
    assert {one for next_ones in BECOMES.values() for one in next_ones} == set(Disposition) - {Disposition.AWAITED}


def test_nobody_writes_into_the_tables() -> None:
    for table in (MOVES, MONEY_MOVES, BECOMES):
        with pytest.raises(TypeError):
            table["x"] = "y"  # type: ignore[index]


def test_units_are_held_until_a_case_ends_without_them() -> None:
    assert set(RmaState) - HOLDS_UNITS == {RmaState.DECLINED, RmaState.CANCELLED, RmaState.EXPIRED}


def test_money_is_reserved_until_it_is_settled_or_refused_and_a_machine_works_only_what_no_person_has() -> None:
    assert set(MoneyState) - RESERVES == {MoneyState.SETTLED, MoneyState.REFUSED}
    assert {MoneyState.PARKED} == RESERVES - OPEN


def test_the_shopper_is_given_something_for_what_was_judged_or_may_be_kept() -> None:
    assert {Disposition.KEPT} == ACCEPTED - JUDGED
    assert not ACCEPTED & {Disposition.AWAITED, Disposition.RECEIVED, Disposition.MISSING, Disposition.SENT_BACK}


@given(st.lists(st.sampled_from(Move), max_size=40))
def test_whatever_is_tried_a_case_stays_in_its_table(tried: list[Move]) -> None:
    state, path = RmaState.REQUESTED, [RmaState.REQUESTED]
    for move in tried:
        try:
            state = after(state, move)
        except IllegalMove:
            assert move not in open_to(state)
        else:
            path.append(state)

    assert path.count(RmaState.REQUESTED) == 1
    assert RmaState.RESOLVED not in path or RmaState.RECEIVED in path[: path.index(RmaState.RESOLVED)]
    for end in (RmaState.DECLINED, RmaState.CANCELLED):
        assert end not in path[:-1]


@given(st.lists(st.sampled_from(MoneyMove), max_size=40))
def test_whatever_is_tried_settled_money_stays_settled(tried: list[MoneyMove]) -> None:
    state, ended = MoneyState.PENDING, False
    for move in tried:
        try:
            state = money_after(state, move)
        except IllegalMove:
            continue
        assert not ended
        ended = state is MoneyState.SETTLED
