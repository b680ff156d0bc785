"""Logs: one line of JSON per event, whatever somebody put into it (A73), and nothing of an exception but its kind and place (A71)."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.logs import OneLine

SECRET = "kim@example.com"
STANDARD = {"at", "level", "event", "logger"}


def line(event: str, /, *args: object, level: int = logging.INFO, error: BaseException | None = None, **extra: object) -> str:
    """What the formatter makes of a record."""
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.getLogger("connector.test").makeRecord("connector.test", level, __file__, 7, event, args, info, extra=extra)
    return OneLine().format(record)


def read(text: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)
    return found


def test_an_event_is_one_line_of_json_with_its_facts() -> None:
    shop = uuid.uuid4()

    told = read(line("refund.settled", rma="ABCD2345", shop=shop, attempt=2, late=False, words=None))

    at = datetime.fromisoformat(told.pop("at"))
    assert at.utcoffset() == timedelta(0)
    assert abs(at - datetime.now(UTC)) < timedelta(seconds=10)
    assert told == {
        "level": "info",
        "event": "refund.settled",
        "logger": "connector.test",
        "rma": "ABCD2345",
        "shop": str(shop),
        "attempt": 2,
        "late": False,
        "words": None,
    }


@pytest.mark.parametrize("level", [logging.DEBUG, logging.WARNING, logging.ERROR, logging.CRITICAL])
def test_the_level_is_named(level: int) -> None:
    assert read(line("x", level=level))["level"] == logging.getLevelName(level).lower()


def test_a_message_of_a_library_is_filled_in() -> None:
    assert read(line("worker %s has %d jobs", "w1", 3))["event"] == "worker w1 has 3 jobs"


@pytest.mark.parametrize(
    "attack",
    [
        "x\r\n{'level': 'critical'}",
        "x\n2026-01-01 ERROR forged",
        "\x1b[2J\x1b[31mred",
        "\x9b31m",
        "\u2028 \u2029 \x85 \x0b \x0c",
        "\u202e reversed",
        "\x00\x07\x08",
        "\ud800",
        '"}, {"level": "critical',
    ],
)
def test_a73_nobody_writes_a_second_line_or_moves_the_cursor(attack: str) -> None:
    for text in (line(attack), line("x", words=attack), line("%s", attack), line("x", facts={attack: [attack]})):
        assert len(text.splitlines()) == 1
        assert text.isascii()
        assert text.isprintable()
        assert read(text)["level"] == "info"


@given(st.text(), st.dictionaries(st.text(), st.text() | st.integers() | st.none() | st.floats()))
def test_a73_whatever_is_logged_stays_one_line_that_can_be_read(event: str, facts: dict[str, object]) -> None:
    text = line(event, facts=facts)

    assert len(text.splitlines()) == 1
    assert read(text)["event"] == event


def test_a73_a_fact_cannot_pass_for_the_event_itself() -> None:
    told = read(line("shop.revoked", error=raised(), at="1970", event="refund.settled", logger="root", exception="None"))

    assert (told["event"], told["logger"], told["exception"]) == ("shop.revoked", "connector.test", "ValueError")
    assert told["at"] != "1970"


def test_what_json_has_no_form_for_is_written_out() -> None:
    told = read(line("x", at_=datetime(2026, 3, 2, tzinfo=UTC), kinds=["a", ("b", 1)], names={"n": timedelta(seconds=2)}))

    assert told["at_"] == "2026-03-02 00:00:00+00:00"
    assert told["kinds"] == ["a", ["b", 1]]
    assert told["names"] == {"n": "0:00:02"}


def test_a_fact_that_cannot_be_written_costs_the_facts_and_never_the_event() -> None:
    circle: list[object] = []
    circle.append(circle)

    for fact in ({("a", "b"): SECRET}, float("nan"), circle):
        told = read(line("refund.settled", rma="1", fact=fact))
        assert told["event"] == "refund.settled"
        assert told["unshown"] == ["fact", "rma"]
        assert set(told) == STANDARD | {"unshown"}


# ── A71: exceptions ─────────────────────────────────────────────────────────────────────────────────────────────────


def raised() -> BaseException:
    """A deep one, whose words, cause, notes and locals all hold a secret."""
    shoppers: dict[str, object] = {}

    def deeper(secret: str) -> object:
        try:
            return shoppers[secret]
        except KeyError as cause:
            cause.add_note(secret)
            raise ValueError(f"no such shopper: {secret}") from cause

    with pytest.raises(ValueError, match=SECRET) as caught:
        deeper(SECRET)
    return caught.value


def test_a71_of_an_exception_its_kind_and_place_are_told_and_nothing_else() -> None:
    text = line("work.failed", level=logging.ERROR, error=raised())

    told = read(text)
    assert told["exception"] == "ValueError"
    assert told["raised_at"].startswith("test_logs.py:")
    assert set(told) == STANDARD | {"exception", "raised_at"}
    assert SECRET not in text


def test_a71_an_exception_among_the_facts_is_its_kind_too() -> None:
    text = line("work.failed", error_=raised(), errors=[raised()])

    assert read(text)["error_"] == "ValueError"
    assert read(text)["errors"] == ["ValueError"]
    assert SECRET not in text


def test_an_exception_that_was_never_raised_has_no_place() -> None:
    told = read(line("x", error=ValueError("never raised")))

    assert told["exception"] == "ValueError"
    assert "raised_at" not in told


def test_an_error_that_is_none_is_not_told() -> None:
    record = logging.getLogger("connector.test").makeRecord("connector.test", logging.ERROR, __file__, 7, "x", (), (None, None, None))

    assert set(read(OneLine().format(record))) == STANDARD


# ── Where it goes ───────────────────────────────────────────────────────────────────────────────────────────────────

PROGRAM = """
import logging, sys
from connector.logs import to_stderr
logging.basicConfig(stream=sys.stdout)  # somebody was first
to_stderr(*sys.argv[1:])
log = logging.getLogger("connector.demo")
log.debug("detail")
log.info("refund.settled", extra={"rma": "ABCD2345"})
try:
    1 / 0
except ZeroDivisionError:
    log.exception("work.failed")
"""


@pytest.mark.parametrize(
    ("level", "events"),
    [
        ([], ["refund.settled", "work.failed"]),
        (["debug"], ["detail", "refund.settled", "work.failed"]),
        (["ERROR"], ["work.failed"]),
        (["nonsense"], ["refund.settled", "work.failed"]),
    ],
)
def test_a_process_logs_to_standard_error_and_nowhere_else(level: list[str], events: list[str]) -> None:
    ran = subprocess.run([sys.executable, "-c", PROGRAM, *level], capture_output=True, text=True, check=True)

    assert ran.stdout == ""
    assert [read(each)["event"] for each in ran.stderr.splitlines()] == events
