"""An amount over the payments of an order."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain.orders import Tender, TenderRef
from connector.domain.platform import TenderPart
from connector.domain.tenders import TenderOrder, ordered, room, spread

A, B, C = TenderRef("a"), TenderRef("b"), TenderRef("c")
THREE = (Tender(A, 1000), Tender(B, 500, refunded=200), Tender(C, 700, refunded=900))


def test_a_tender_has_room_for_what_it_brought_and_did_not_get_back() -> None:
    assert [room(tender) for tender in THREE] == [1000, 300, 0]


def test_the_newest_comes_first() -> None:
    assert [tender.id for tender in ordered(THREE, TenderOrder())] == [C, B, A]
    assert [tender.id for tender in ordered(THREE, TenderOrder(oldest_first=True))] == [A, B, C]


def test_named_tenders_come_before_the_others() -> None:
    assert [tender.id for tender in ordered(THREE, TenderOrder(first=(B,)))] == [B, C, A]
    assert [tender.id for tender in ordered(THREE, TenderOrder(first=(B, A)))] == [B, A, C]
    assert [tender.id for tender in ordered(THREE, TenderOrder(first=(B,), oldest_first=True))] == [B, A, C]


def test_a_named_tender_that_the_order_lacks_changes_nothing() -> None:
    assert [tender.id for tender in ordered(THREE, TenderOrder(first=(TenderRef("ghost"),)))] == [C, B, A]


def test_the_overflow_goes_to_the_next_and_nobody_gets_nothing() -> None:
    assert spread(450, THREE, TenderOrder()) == (TenderPart(B, 300), TenderPart(A, 150))
    assert spread(300, THREE, TenderOrder()) == (TenderPart(B, 300),)
    assert spread(0, THREE, TenderOrder()) == ()


def test_what_fits_nowhere_is_an_error() -> None:
    with pytest.raises(ValueError, match="1 minor units fit into no tender"):
        spread(1301, THREE, TenderOrder())


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 99)), max_size=5), st.data())
def test_the_parts_are_the_amount_and_each_fits(figures: list[tuple[int, int]], data: st.DataObject) -> None:
    tenders = [Tender(TenderRef(str(place)), captured, refunded) for place, (captured, refunded) in enumerate(figures)]
    amount = data.draw(st.integers(0, sum(map(room, tenders))))
    order = TenderOrder(tuple(TenderRef(ref) for ref in data.draw(st.permutations("01234"))), data.draw(st.booleans()))

    parts = spread(amount, tenders, order)

    rooms = {tender.id: room(tender) for tender in tenders}
    assert sum(part.minor for part in parts) == amount
    assert all(0 < part.minor <= rooms[part.tender] for part in parts)
    assert all(part.minor == rooms[part.tender] for part in parts[:-1])
