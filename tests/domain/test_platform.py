"""The port's values and errors: what they say when they are printed, and what they never say."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError, replace
from datetime import UTC, datetime, timedelta

import pytest

from connector.domain.money import Money
from connector.domain.orders import OrderRef, RefundRef
from connector.domain.platform import (
    Attempt,
    BadSignature,
    Capabilities,
    Contact,
    Grant,
    HttpRequest,
    Malformed,
    OutcomeUnknown,
    PlatformError,
    Receipt,
    RefundOrder,
    Rejected,
    Revoked,
    ShopClaim,
    ShopDomain,
    Sighting,
    SightingKind,
    Throttled,
    Voided,
)

SECRET = "shpat_hunter2"
AT = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
ATTEMPT = Attempt(1, "row-1", AT, AT + timedelta(seconds=10), AT, AT)
RECEIPT = Receipt(RefundRef("re_1"), Money(1200, "EUR"))


# ── Errors ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_error_of_the_port_is_one_of_its_kinds() -> None:
    kinds = {Rejected, Throttled, Voided, OutcomeUnknown, Revoked, BadSignature, Malformed}

    assert {kind for kind in PlatformError.__subclasses__() if kind.__module__ == PlatformError.__module__} == kinds
    for kind in kinds:  # none is another: each promises something else
        assert kind.__mro__[1] is PlatformError


@pytest.mark.parametrize("wait", [timedelta(seconds=3), timedelta(0), timedelta(seconds=-5), timedelta(days=3650)])
def test_f12_busy_says_for_how_long_whatever_the_far_side_said(wait: timedelta) -> None:
    assert Throttled(wait).retry_after == wait
    assert str(Throttled(wait)) == f"busy for {wait}"
    assert str(Throttled(wait, "maintenance")) == "maintenance"


def test_an_unknown_outcome_keeps_the_gateways_words_for_the_desk() -> None:
    assert OutcomeUnknown("Do not honour (05)").words == str(OutcomeUnknown("Do not honour (05)")) == "Do not honour (05)"
    assert OutcomeUnknown().words == ""


# ── Sightings ───────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_settled_sighting_names_its_receipt_and_no_other_has_one() -> None:
    assert Sighting(SightingKind.SETTLED, RECEIPT).receipt == RECEIPT
    assert Sighting(SightingKind.ABSENT, burned=True).receipt is None
    assert Sighting(SightingKind.IN_DOUBT, words="still running").receipt is None


@pytest.mark.parametrize(
    ("kind", "receipt"), [(SightingKind.SETTLED, None), (SightingKind.ABSENT, RECEIPT), (SightingKind.IN_DOUBT, RECEIPT)]
)
def test_a_sighting_that_contradicts_itself_cannot_be_made(kind: SightingKind, receipt: Receipt | None) -> None:
    """SETTLED without a receipt would be read as unpaid, and paid again."""
    with pytest.raises(ValueError, match=kind.value):
        Sighting(kind, receipt)


# ── Attempts ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_attempt_that_nobody_gave_leave_to_is_nobodys() -> None:
    assert not ATTEMPT.still_mine()
    assert replace(ATTEMPT, still_mine=lambda: True).still_mine()


def test_two_readings_of_one_attempt_are_equal_whoever_watches_over_them() -> None:
    assert replace(ATTEMPT, still_mine=lambda: True) == ATTEMPT
    assert "still_mine" not in repr(ATTEMPT)
    assert ATTEMPT.before == {}


def test_values_of_the_port_do_not_change() -> None:
    with pytest.raises(FrozenInstanceError):
        ATTEMPT.number = 2  # type: ignore[misc]
    with pytest.raises(FrozenInstanceError):
        RECEIPT.amount = Money(1, "EUR")  # type: ignore[misc]


# ── A71 ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "value",
    [
        Grant(ShopDomain("one.example"), {"access_token": SECRET}),
        HttpRequest("POST", "/webhooks", (), SECRET.encode()),
        ShopClaim(path_token=SECRET),
        Contact(email=SECRET, name=SECRET),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a71_what_is_secret_or_personal_is_not_printed(value: object) -> None:
    assert SECRET not in f"{value} {value!r} {[value]}"


# ── What an adapter need not say ────────────────────────────────────────────────────────────────────────────────────


def test_a_shop_can_do_nothing_special_unless_its_adapter_says_so() -> None:
    can = Capabilities(timedelta(minutes=2), timedelta(seconds=20), timedelta(seconds=30))

    assert not can.store_credit
    assert not can.restocks_per_line
    assert (can.time_zone, can.clock_offset) == ("UTC", timedelta(0))


def test_an_instruction_books_nothing_unless_told() -> None:
    told = RefundOrder("row-1", OrderRef("1001"), "ABCD2345", Money(1200, "EUR"), ())

    assert (told.lines, told.charges, told.note) == ((), (), "")
    assert pickle.loads(pickle.dumps(told)) == told  # noqa: S301 - our own bytes
