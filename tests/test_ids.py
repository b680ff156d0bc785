"""Ids that sort as things happened."""

from __future__ import annotations

from datetime import timedelta

from connector.ids import ordered_id
from tests.world import START


def test_ids_of_one_instant_sort_as_they_were_made_however_many_there_are() -> None:
    made = [ordered_id(START) for _ in range(10_000)]

    assert made == sorted(made)
    assert {(one.version, one.variant) for one in made} == {(7, "specified in RFC 4122")}


def test_ids_sort_by_their_time_first() -> None:
    later = ordered_id(START + timedelta(milliseconds=1))

    assert ordered_id(START) < later < ordered_id(START + timedelta(milliseconds=2))
