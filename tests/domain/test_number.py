"""The RMA number: what its check character catches, and what people may type."""

from __future__ import annotations

import math
import random
import secrets
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain import number

NUMBERS = [number.draw(random.Random(seed).randrange) for seed in range(300)]  # noqa: S311  reproducible, nothing secret
numbers = st.integers(0, 2**64).map(lambda seed: number.draw(random.Random(seed).randrange))  # noqa: S311


def test_a_drawn_number_has_seven_random_characters_and_a_check_character() -> None:
    drawn = number.draw(secrets.randbelow)

    assert len(drawn) == 8
    assert set(drawn) <= set(number.ALPHABET)
    assert number.check(drawn)


def test_thirty_bits_at_least_are_random() -> None:
    assert math.log2(len(number.ALPHABET) ** number.RANDOM) > 34
    assert not set(number.ALPHABET) & set("01ILO")


def test_every_random_character_is_asked_for_below_the_size_of_the_alphabet() -> None:
    asked: list[int] = []

    def random_below(limit: int) -> int:
        asked.append(limit)
        return len(asked) - 1

    assert number.draw(random_below)[:7] == "2345678"
    assert asked == [31] * 7


@pytest.mark.parametrize("good", NUMBERS)
def test_every_single_wrong_character_is_caught(good: str) -> None:
    wrong = [good[:at] + char + good[at + 1 :] for at in range(8) for char in number.ALPHABET if char != good[at]]

    assert len(wrong) == 8 * 30
    assert not any(number.check(text) for text in wrong)


@pytest.mark.parametrize("good", NUMBERS)
def test_every_swap_of_two_neighbours_is_caught(good: str) -> None:
    swapped = [good[:at] + good[at + 1] + good[at] + good[at + 2 :] for at in range(7) if good[at] != good[at + 1]]

    assert not any(number.check(text) for text in swapped)


def test_every_character_is_drawn_equally_often() -> None:
    source, rounds = random.Random(20261121), 4_000  # noqa: S311
    seen = Counter("".join(number.draw(source.randrange)[:7] for _ in range(rounds)))

    expected = rounds * 7 / 31
    chi_square = sum((seen[char] - expected) ** 2 / expected for char in number.ALPHABET)
    assert chi_square < 59.7  # 30 degrees of freedom, one in a thousand


def test_two_draws_differ() -> None:
    assert len({number.draw(secrets.randbelow) for _ in range(2_000)}) == 2_000


@given(numbers)
def test_it_reads_what_it_shows(drawn: str) -> None:
    assert number.read(number.show(drawn)) == drawn
    assert number.show(drawn) == f"{drawn[:4]}-{drawn[4:]}"


@given(numbers, st.sampled_from(["", "RMA-", "R ", "ZURÜCK ", "#", "22", "Retour/"]))
def test_it_reads_the_merchants_prefix_and_does_not_need_it(drawn: str, prefix: str) -> None:
    assert number.read(f"{prefix}{number.show(drawn)}", prefix=prefix) == drawn
    assert number.read(number.show(drawn), prefix=prefix) == drawn


@given(numbers, st.randoms(use_true_random=False))
def test_blanks_case_and_hyphens_do_not_matter(drawn: str, source: random.Random) -> None:
    typed = "".join(
        source.choice(("", " ", "-", "\u2011", "\u00a0", "\t", "\u200b")) + source.choice((char, char.lower())) for char in drawn
    )

    assert number.read(f" #rma {typed}\n") == drawn


@pytest.mark.parametrize(
    ("looks_like", "typed"), [("Q", "O"), ("Q", "0"), ("J", "I"), ("7", "1"), ("T", "L"), ("S", "\u017f"), ("A", "\uff21")]
)
def test_a_character_outside_the_alphabet_is_refused_not_guessed(looks_like: str, typed: str) -> None:
    good = next(drawn for drawn in NUMBERS if looks_like in drawn)

    assert number.read(good.replace(looks_like, typed, 1)) is None


@pytest.mark.parametrize("text", ["", " ", "-", "#", "RMA", "ABCD", "2" * 9, "2" * 10_000, "\u202e", "١٢٣٤٥٦٧٨"])
def test_what_is_no_number_is_none(text: str) -> None:
    assert number.read(text) is None


@given(st.text())
def test_whatever_is_typed_gives_a_number_or_none(text: str) -> None:
    assert (found := number.read(text)) is None or number.check(found)


@pytest.mark.parametrize("text", [NUMBERS[0].lower(), number.show(NUMBERS[0]), f" {NUMBERS[0]}", NUMBERS[0][:7], f"{NUMBERS[0]}2"])
def test_check_takes_the_bare_form_only(text: str) -> None:
    assert not number.check(text)
