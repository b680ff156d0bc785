"""The command of docs/amounts.md, and what strangers may send it."""

from __future__ import annotations

import io
import json
import runpy
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.domain import quote
from connector.domain.cases import command, read, run
from connector.domain.strict_json import LONGEST, Malformed, loads

CASE: dict[str, Any] = {
    "currency": "EUR",
    "decimals": 2,
    "prices_include_tax": False,
    "total": "20.00",
    "refunded": "0.00",
    "kept": "0.00",
    "lines": [
        {
            "id": "a",
            "quantity": 2,
            "net": "20.00",
            "tax": [{"rate": "vat", "amount": "0.00"}],
            "refunded": {"quantity": 0, "net": "0.00", "tax": []},
        }
    ],
    "shipping": [{"id": "post", "net": "0.00", "tax": [], "refunded": {"net": "0.00", "tax": []}}],
    "order_fees": [{"id": "wrap", "net": "0.00", "tax": [], "refunded": {"net": "0.00", "tax": []}}],
    "tenders": [{"id": "card", "kind": "card", "captured": "20.00", "refunded": "0.00"}],
    "paid": True,
    "return": {
        "lines": [{"id": "a", "quantity": 1, "amount": "5.00"}],
        "shipping": [{"id": "post"}],
        "order_fees": [{"id": "wrap"}],
        "currency": "EUR",
        "restocking_fee": {"percent": "10"},
        "return_shipping_fee": "0.00",
        "no_rma_fee": "0.00",
        "as": "store_credit",
        "bonus": {"percent": "10"},
        "tender_order": ["card"],
    },
}
SMALL = b'{"currency": "EUR", "total": "1.00", "return": {"amount": "1.00"}}'


def many(raw: bytes) -> list[dict[str, Any]]:
    stdout = io.BytesIO()
    assert command(["--many"], io.BytesIO(raw), stdout, io.StringIO()) == 0
    return [json.loads(line) for line in stdout.getvalue().splitlines()]


def places(value: object, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """The path to every value inside `value`."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] + [found for key, one in inner for found in places(one, (*path, key))]


def changed(path: tuple[str | int, ...], value: object) -> bytes:
    """The case with `value` at `path`."""
    if not path:
        return json.dumps(value).encode()
    case = json.loads(json.dumps(CASE))
    inside = case
    for key in path[:-1]:
        inside = inside[key]
    inside[path[-1]] = value
    return json.dumps(case).encode()


def test_a_case_with_every_key_is_priced() -> None:
    assert run(json.dumps(CASE).encode())["total"] == "4.50"


WRONG: list[object] = [None, True, False, 0, -1, 1.5, "", "x", "1e3", [], {}, [None], [[]], {"x": 1}]


@pytest.mark.parametrize("path", places(CASE), ids=str)
def test_a_wrong_type_anywhere_is_malformed_or_fine_but_never_a_traceback(path: tuple[str | int, ...]) -> None:
    results = many(b"\n".join(changed(path, wrong) for wrong in WRONG))

    assert [("malformed" in result) != ("refused" in result) for result in results] == [True] * len(WRONG)
    assert sum("malformed" in result for result in results) >= len(WRONG) - 6


@pytest.mark.parametrize("path", places(CASE), ids=str)
def test_null_is_never_the_same_as_omitted(path: tuple[str | int, ...]) -> None:
    (result,) = many(changed(path, None))

    assert "malformed" in result


OBJECTS = dict.fromkeys(path[:-1] for path in places(CASE) if path and isinstance(path[-1], str))


@pytest.mark.parametrize("path", OBJECTS, ids=str)
def test_an_unknown_key_in_any_object_is_malformed(path: tuple[str | int, ...]) -> None:
    (result,) = many(changed((*path, "surprise"), 1))

    assert "unknown key 'surprise'" in result["malformed"]


HOSTILE = [
    b"",
    b" ",
    b"null",
    b"\xff\xfe{}",
    b"\xef\xbb\xbf" + SMALL,
    SMALL.decode().encode("utf-16"),
    b"\x00",
    SMALL + b"\x00",
    SMALL + SMALL,
    b"[" * 100_000,
    b"[" * 100_000 + b"]" * 100_000,
    b'{"return":' * 50_000,
    b'{"currency": "EUR", "total": "' + b"9" * 5_000 + b'"}',
    b'{"currency": "EUR", "total": "' + b"9" * 10_000_000 + b'"}',
    b'{"currency": "EUR", "total": ' + b"9" * 5_000 + b"}",
    b'{"currency": "EUR", "total": 1' + b"0" * 5_000 + b".5}",
    b'{"currency": "EUR", "decimals": 1' + b"0" * 900 + b', "total": "1"}',
    b'{"currency": "EUR", "decimals": 1' + b"0" * 9_000 + b', "total": "1"}',
    b'{"currency": "\\ud800", "total": "1"}',
    b'{"\\ud800": 1, "currency": "EUR", "total": "1"}',
    b'{"currency": "EUR", "total": "\\ud83d"}',
    b'{"currency": "EUR", "total": "1.00", "paid": "\\u0000"}',
    b'{"currency": "EUR\n", "total": "1.00"}',
    b'{"currency": "EUR\\n", "total": "1.00"}',
    b'{"currency": "EUR", "total": "1.00", "return": {"as": "\\udfff"}}',
    b'{"currency": "EUR", "total": "1.00", "return": {"tender_order": ["\\udfff"]}}',
    b"{'currency': 'EUR'}",
    b'{"currency": "EUR", "total": "1.00",}',
]


@pytest.mark.parametrize("raw", HOSTILE, ids=lambda raw: f"{raw[:40]!r} of {len(raw)}")
def test_hostile_input_is_malformed_with_a_message_that_can_be_printed(raw: bytes) -> None:
    stdout, stderr = io.BytesIO(), io.StringIO()

    assert command([], io.BytesIO(raw), stdout, stderr) == 2
    assert stdout.getvalue() == b""
    message = stderr.getvalue()
    assert message.startswith("malformed: ")
    assert message.isascii()
    assert len(message) < 2 * LONGEST


@given(st.binary())
def test_any_bytes_at_all_are_malformed(raw: bytes) -> None:
    with pytest.raises(Malformed):
        run(raw)


@given(
    st.recursive(st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))
)
def test_any_json_but_a_case_is_malformed(value: object) -> None:
    with pytest.raises(Malformed):
        run(json.dumps(value).encode())


def test_the_longest_amounts_are_computed_and_printed() -> None:
    huge = "9" * LONGEST
    case = {"currency": "EUR", "decimals": 18, "total": huge, "return": {"amount": huge, "as": "store_credit", "bonus": {"percent": huge}}}

    result = run(json.dumps(case).encode())

    assert result["total"] == f"{huge}.{'0' * 18}"
    assert str(result["bonus"]).startswith("9" * (LONGEST - 1))


def test_many_answers_each_line_and_goes_on_after_a_broken_one() -> None:
    results = many(SMALL + b"\n" + b"broken\n" + b"\n" + SMALL + b"\r\n" + SMALL)

    assert ["malformed" if "malformed" in result else result["total"] for result in results] == [
        "1.00",
        "malformed",
        "malformed",
        "1.00",
        "1.00",
    ]


def test_many_without_lines_answers_nothing() -> None:
    assert many(b"") == []
    assert len(many(SMALL + b"\n")) == 1


def test_only_a_line_feed_ends_a_line() -> None:
    case = {
        "currency": "EUR",
        "total": "1.00",
        "shipping": [{"id": "a\u2028b\x85c", "net": "1.00"}],
        "return": {"shipping": [{"id": "a\u2028b\x85c"}]},
    }

    (result,) = many(json.dumps(case, ensure_ascii=False).encode())

    assert result["shipping"][0]["id"] == "a\u2028b\x85c"


def test_a_line_is_answered_before_the_next_is_sent() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "connector.domain.quote", "--many"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as running:
        assert running.stdin
        assert running.stdout
        for _ in range(2):
            running.stdin.write(SMALL + b"\n")
            running.stdin.flush()
            assert json.loads(running.stdout.readline())["total"] == "1.00"


def test_the_command_answers_in_utf_8_whatever_the_locale() -> None:
    case = {
        "currency": "EUR",
        "total": "1.00",
        "shipping": [{"id": "Päckchen", "net": "1.00"}],
        "return": {"shipping": [{"id": "Päckchen"}]},
    }

    done = subprocess.run(
        [sys.executable, "-m", "connector.domain.quote"],
        input=json.dumps(case, ensure_ascii=False).encode(),
        capture_output=True,
        check=True,
        env={"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"},
    )

    assert "Päckchen".encode() in done.stdout
    assert done.stderr == b""


def test_the_command_ends_with_2_for_a_malformed_case_and_for_an_unknown_option() -> None:
    for options, raw in (([], b"{}"), (["--few"], SMALL)):
        done = subprocess.run([sys.executable, "-m", "connector.domain.quote", *options], input=raw, capture_output=True, check=False)
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"Traceback" not in done.stderr
        assert done.stderr


def test_the_module_is_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = io.BytesIO()
    monkeypatch.setattr(sys, "argv", ["quote"])
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(SMALL)))
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(buffer=stdout))

    with pytest.raises(SystemExit) as ended:
        runpy.run_path(quote.__file__, run_name="__main__")

    assert ended.value.code == 0
    assert json.loads(stdout.getvalue())["total"] == "1.00"


def test_the_kind_of_a_tender_may_be_anything() -> None:
    case = {"currency": "EUR", "total": "1.00", "tenders": [{"id": "a", "kind": "gift_card"}, {"id": "b", "kind": "barter"}, {"id": "c"}]}

    order, _, _ = read(json.dumps(case).encode())

    assert [tender.kind for tender in order.tenders] == ["gift_card", "other", "other"]


def test_whole_numbers_stay_whole_and_text_stays_text() -> None:
    assert loads(b'{"a": [-0, 12345678901234567890, "1.10"]}') == {"a": [0, 12345678901234567890, "1.10"]}
