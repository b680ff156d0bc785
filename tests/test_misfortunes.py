"""What a merchant reads where a shop does not work."""

from __future__ import annotations

import re

import pytest

from connector.domain.connecting import Misfortune
from connector.misfortunes import SENTENCES, sentence

# What a merchant, or their host, can do about it.
ACTS = re.compile(r"\b(type|check|ask|have|try again|wait|allow|activate|choose|add|approve|create|let|start over|update|exclude)\b")


@pytest.mark.parametrize("why", Misfortune)
@pytest.mark.parametrize("detail", ["", "9.1.2"])
def test_every_misfortune_has_one_sentence_that_says_what_to_do(why: Misfortune, detail: str) -> None:
    told = sentence(why, detail)

    assert told[0].isupper()
    assert told.endswith(".")
    assert not re.search(r"[.!?] [A-Z]", told)
    wrong, _, todo = told.partition(": ")
    assert wrong
    assert ACTS.search(todo), told


def test_no_two_say_the_same() -> None:
    assert len(set(SENTENCES.values())) == len(Misfortune)


@pytest.mark.parametrize("why", [Misfortune.TOO_OLD, Misfortune.OTHER_STORE])
def test_the_stores_own_fact_is_told_where_it_helps(why: Misfortune) -> None:
    assert "7.1.0" in sentence(why, "7.1.0")
    assert "{" not in sentence(why)


def test_a73_a_detail_is_short_and_on_one_line() -> None:
    told = sentence(Misfortune.OTHER_STORE, "a\r\n\x1b[31m{}{0}" + "x" * 5000)

    assert "\n" not in told
    assert "\x1b" not in told
    assert len(told) < 400
