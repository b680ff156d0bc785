"""Every case of the casebook, through the very command that prices it."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from fractions import Fraction
from math import floor

import pytest

from connector.domain.cases import command, read
from connector.domain.quote import price
from connector.domain.refusals import Refusal, Unpriceable
from connector.domain.steps import StepCode
from tests.domain.casebook import Entry, entries

ENTRIES = entries()
GOOD = [entry for entry in ENTRIES if "malformed" not in entry.expect]
QUOTED = [entry for entry in GOOD if "refused" not in entry.expect]
KEYS = ["refused", "lines", "shipping", "order_fees", "deductions", "gross", "total", "bonus", "tenders", "clamped", "remaining", "because"]


NUMBER = r"-?\d+(?:\.\d+)?"


def run(raw: bytes) -> tuple[int, str, str]:
    stdout, stderr = io.BytesIO(), io.StringIO()
    code = command([], io.BytesIO(raw), stdout, stderr)
    return code, stdout.getvalue().decode(), stderr.getvalue()


def by_name(entry: Entry) -> str:
    return entry.name


@pytest.mark.parametrize("entry", GOOD, ids=by_name)
def test_the_result_is_what_was_worked_out_by_hand(entry: Entry) -> None:
    code, out, err = run(entry.raw)

    assert (code, err) == (0, "")
    result = json.loads(out)
    assert list(result) == KEYS
    refused = result["refused"] and result["refused"]["code"]
    assert refused == entry.expect.get("refused"), result["refused"]
    for key in entry.expect.keys() - {"refused", "because"}:
        assert result[key] == entry.expect[key], key
    for words in entry.expect.get("because", []):
        assert any(words in sentence for sentence in result["because"]), (words, result["because"])


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if "malformed" in entry.expect], ids=by_name)
def test_a_malformed_case_says_which_key_and_what_was_expected(entry: Entry) -> None:
    code, out, err = run(entry.raw)

    assert (code, out) == (2, "")
    assert entry.expect["malformed"] in err
    assert err.startswith("malformed: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("entry", QUOTED, ids=by_name)
def test_every_figure_of_a_result_is_in_a_sentence(entry: Entry) -> None:
    result = json.loads(run(entry.raw)[1])

    figures = {number for sentence in result["because"] for number in re.findall(NUMBER, sentence)}
    assert {amount for amount in amounts(result) if amount.strip("0.")} <= figures


@pytest.mark.parametrize("entry", QUOTED, ids=by_name)
def test_every_plain_sum_and_difference_in_a_sentence_is_right(entry: Entry) -> None:
    checked = 0
    for sentence in json.loads(run(entry.raw)[1])["because"]:
        for left, right in re.findall(rf"({NUMBER}[a-z ]*(?: [+-] {NUMBER}[a-z ]*)+) = ({NUMBER})", sentence):
            terms = re.findall(rf"(?:([+-]) )?({NUMBER})", left)
            total = sum((-1 if sign == "-" else 1) * scaled(number) for sign, number in terms)
            assert total == scaled(right), sentence
            checked += 1
    assert checked >= 3  # the rest of the order before and after, and the total


@pytest.mark.parametrize("entry", QUOTED, ids=by_name)
def test_every_fraction_in_a_sentence_is_right(entry: Entry) -> None:
    for sentence in json.loads(run(entry.raw)[1])["because"]:
        for whole, part, of, result in re.findall(rf"({NUMBER}) x ({NUMBER})/({NUMBER}) = ({NUMBER})", sentence):
            unit = 10 ** len(result.partition(".")[2])
            exact = Fraction(whole) * Fraction(part) / Fraction(of) * unit
            rounded = abs(exact) + Fraction(1, 2) if "half up" in sentence else abs(exact)
            assert abs(Fraction(result) * unit) == floor(rounded), sentence


def scaled(number: str) -> int:
    whole, _, fraction = number.partition(".")
    return int(whole + fraction.ljust(4, "0"))


def amounts(value: object) -> Iterator[str]:
    """Every amount of a result, at whatever depth."""
    match value:
        case dict():
            for key, inner in value.items():
                if key != "because":
                    yield from amounts(inner)
        case list():
            for inner in value:
                yield from amounts(inner)
        case str() if re.fullmatch(r"-?\d+(\.\d+)?", value):
            yield value
        case _:
            pass


@pytest.mark.parametrize("entry", GOOD, ids=by_name)
def test_a_refusal_holds_nothing_and_a_quote_adds_up(entry: Entry) -> None:
    order, wanted, _ = read(entry.raw)
    quote = price(order, wanted)

    rest = order.total - order.refunded - order.kept
    if isinstance(quote, Unpriceable):
        assert quote.remaining == rest
    else:
        assert rest == quote.total + sum(fee.minor for fee in quote.deductions) + quote.remaining
        assert sum(part.minor for part in quote.tenders) in {0, quote.total}


def test_the_casebook_knows_every_refusal_and_every_step() -> None:
    answers = [price(*read(entry.raw)[:2]) for entry in GOOD]

    refusals = [answer for answer in answers if isinstance(answer, Unpriceable)]
    steps = {step.code for answer in answers if not isinstance(answer, Unpriceable) for step in answer.because}
    assert {answer.refusal for answer in refusals} == set(Refusal)
    assert steps | {answer.because.code for answer in refusals} == set(StepCode)


def test_many_prices_the_whole_casebook_line_by_line() -> None:
    lines = [entry.raw.replace(b"\n", b" ") for entry in ENTRIES]
    stdout = io.BytesIO()
    assert command(["--many"], io.BytesIO(b"\n".join(lines)), stdout, io.StringIO()) == 0

    results = [json.loads(line) for line in stdout.getvalue().split(b"\n")[:-1]]
    assert len(results) == len(ENTRIES) >= 70
    for entry, result in zip(ENTRIES, results, strict=True):
        code, out, err = run(entry.raw)
        assert result == ({"malformed": err.removeprefix("malformed: ").rstrip("\n")} if code else json.loads(out))


def test_every_case_has_a_name_of_its_own_and_says_why() -> None:
    assert len({entry.name for entry in ENTRIES}) == len(ENTRIES)
    assert all(entry.why.endswith((".", "?")) for entry in ENTRIES)
