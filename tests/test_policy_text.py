"""The policy file: what it reads, how it refuses, and the test cases that it holds."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector import policy_text
from connector.domain.money import Money
from connector.domain.terms import Authorise, FeeTerms, Limits, NotReturnable, Outcome, Policy, Resolution, Start, Window
from connector.policy_fields import Expected
from connector.policy_text import FailingTest, Fault, FaultyPolicy, failing_tests, read

EVERYTHING = """\
format = 1
reasons = ["changed_mind", "defective"]
resolutions = ["store_credit", "exchange"]
expires_after_days = 14

[window]
days = 100
from = ["fulfilled"]
undated = "refuse"

[final_sale]
tags = ["sale", "Soldé"]

[not_returnable]
types = ["Gift Card"]
tags = ["hygiene"]
skus = ["GIFT-*"]

[restocking_fee]
percent = 12.5
free_for = ["defective"]

[return_shipping_fee]
amount = { EUR = 4.90, "JPY" = 500, KWD = "1.250" }

[store_credit]
bonus_percent = "10"

[authorise]
automatic = true
up_to = { EUR = 150 }

[limits]
confirm_above = { EUR = "250.00" }
daily_cap = { EUR = "2500.00" }
"""


def faults(text: str) -> list[str]:
    with pytest.raises(FaultyPolicy) as refused:
        read(text)
    assert str(refused.value) == "\n".join(str(fault) for fault in refused.value.faults)
    return [str(fault) for fault in refused.value.faults]


def found(text: str) -> tuple[Fault, ...]:
    with pytest.raises(FaultyPolicy) as refused:
        read(text)
    return refused.value.faults


# ── Reading ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_key_becomes_a_value() -> None:
    assert read(EVERYTHING) == Policy(
        window=Window(100, (Start.FULFILLED,), Outcome.REFUSE),
        reasons=("changed_mind", "defective"),
        final_sale_tags=("sale", "Soldé"),
        not_returnable=NotReturnable(("Gift Card",), ("hygiene",), ("GIFT-*",)),
        restocking=FeeTerms(percent=Fraction(25, 2), free_for=frozenset({"defective"})),
        return_shipping=FeeTerms(amounts=(Money(490, "EUR"), Money(500, "JPY"), Money(1250, "KWD"))),
        authorise=Authorise(automatic=True, up_to=(Money(15000, "EUR"),)),
        limits=Limits((Money(25000, "EUR"),), (Money(250_000, "EUR"),)),
        resolutions=(Resolution.STORE_CREDIT, Resolution.EXCHANGE),
        bonus_percent=Fraction(10),
        expiry_days=14,
    )


def test_what_the_file_does_not_mention_is_the_default() -> None:
    assert read("format = 1") == Policy()
    assert read("\ufeffformat = 1\r\n[window]\r\n[limits]\r\n") == Policy()


def test_an_amount_of_the_restocking_fee() -> None:
    assert read('format = 1\n[restocking_fee]\namount = { EUR = "5.00" }').restocking == FeeTerms(amounts=(Money(500, "EUR"),))


def test_a_new_shop_starts_with_a_policy_whose_own_cases_hold() -> None:
    text = policy_text.default_text()

    policy = read(text)
    assert failing_tests(text) == ()
    assert text.count("[[test]]") >= 5
    assert policy.window.days >= 14  # what the law gives in the EU
    assert policy.reasons
    assert not policy.restocking.percent


def test_every_line_that_the_default_policy_offers_as_a_remark_is_good() -> None:
    text = policy_text.default_text().replace("percent = 0\n", "\n", 1)

    policy = read(text.replace("# amount =", "amount ="))
    assert policy.restocking.amounts
    assert policy.return_shipping.amounts


# ── Faults ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("line", "key", "expected"),
    [
        ("format = 2", "format", Expected.WHOLE_NUMBER),
        ("format = true", "format", Expected.WHOLE_NUMBER),
        ("expires_after_days = 0", "expires_after_days", Expected.WHOLE_NUMBER),
        ("expires_after_days = 1.5", "expires_after_days", Expected.WHOLE_NUMBER),
        ("window.days = -1", "window.days", Expected.WHOLE_NUMBER),
        ('window.days = "30"', "window.days", Expected.WHOLE_NUMBER),
        ("window.from = []", "window.from", Expected.LIST),
        ('window.from = "delivered"', "window.from", Expected.LIST),
        ('window.from = ["delivered", "arrived"]', "window.from[2]", Expected.ONE_OF),
        ('window.from = ["placed", "placed"]', "window.from[2]", Expected.ONCE),
        ('window.undated = "charged"', "window.undated", Expected.ONE_OF),
        ("window.undated = []", "window.undated", Expected.ONE_OF),
        ("window = 30", "window", Expected.TABLE),
        ('resolutions = ["cash"]', "resolutions[1]", Expected.ONE_OF),
        ("resolutions = []", "resolutions", Expected.LIST),
        ('reasons = ["Too small"]', "reasons[1]", Expected.CODE),
        ("reasons = [1]", "reasons[1]", Expected.CODE),
        ("reasons = [[]]", "reasons[1]", Expected.CODE),
        ('final_sale.tags = [""]', "final_sale.tags[1]", Expected.TEXT),
        ('final_sale.tags = ["a\\u0000"]', "final_sale.tags[1]", Expected.TEXT),
        (f'not_returnable.skus = ["{"*" * 101}"]', "not_returnable.skus[1]", Expected.TEXT),
        ("not_returnable.types = [1]", "not_returnable.types[1]", Expected.TEXT),
        (f"not_returnable.tags = {[f't{n}' for n in range(501)]}", "not_returnable.tags", Expected.LIST),
        ("restocking_fee.percent = 100.001", "restocking_fee.percent", Expected.PERCENT),
        ("restocking_fee.percent = -1", "restocking_fee.percent", Expected.PERCENT),
        ("restocking_fee.percent = 1.0001", "restocking_fee.percent", Expected.PERCENT),
        ("restocking_fee.percent = 1e1", "restocking_fee.percent", Expected.PERCENT),
        ("restocking_fee.percent = nan", "restocking_fee.percent", Expected.PERCENT),
        ('restocking_fee.percent = "１０"', "restocking_fee.percent", Expected.PERCENT),  # noqa: RUF001
        ("restocking_fee.percent = true", "restocking_fee.percent", Expected.PERCENT),
        ('restocking_fee = { percent = 1, amount = { EUR = "1" } }', "restocking_fee.amount", Expected.ONLY_ONE),
        ("return_shipping_fee.percent = 1", "return_shipping_fee.percent", Expected.KNOWN_KEY),
        ("return_shipping_fee.amount = 4.90", "return_shipping_fee.amount", Expected.TABLE),
        ("return_shipping_fee.amount = {}", "return_shipping_fee.amount", Expected.TABLE),
        ("return_shipping_fee.amount.EUR = 4.905", "return_shipping_fee.amount.EUR", Expected.AMOUNT),
        ('return_shipping_fee.amount.EUR = "4,90"', "return_shipping_fee.amount.EUR", Expected.AMOUNT),
        ("return_shipping_fee.amount.EUR = -4.90", "return_shipping_fee.amount.EUR", Expected.AMOUNT),
        ("return_shipping_fee.amount.EUR = true", "return_shipping_fee.amount.EUR", Expected.AMOUNT),
        ("return_shipping_fee.amount.EUR = 1_000.5", "return_shipping_fee.amount.EUR", Expected.AMOUNT),
        ("return_shipping_fee.amount.EUR = 10000000000000", "return_shipping_fee.amount.EUR", Expected.AMOUNT),
        ("return_shipping_fee.amount.JPY = 4.90", "return_shipping_fee.amount.JPY", Expected.AMOUNT),
        ("return_shipping_fee.amount.eur = 4.90", "return_shipping_fee.amount.eur", Expected.CURRENCY),
        ('authorise.automatic = "yes"', "authorise.automatic", Expected.YES_OR_NO),
        ("limits.daily_cap = [250]", "limits.daily_cap", Expected.TABLE),
        ("store_credit.bonus_percent = 101", "store_credit.bonus_percent", Expected.PERCENT),
        ("colour = 1", "colour", Expected.KNOWN_KEY),
        ("window.colour = 1", "window.colour", Expected.KNOWN_KEY),
        ("test = 1", "test", Expected.TABLES),
        ("test = [1]", "test[1]", Expected.TABLE),
    ],
)
def test_a_wrong_value_is_named_by_line_key_and_what_was_expected(line: str, key: str, expected: Expected) -> None:
    text = f"# a remark\n\n{line}\n" + ("" if line.startswith("format") else "format = 1\n")

    assert [(fault.line, fault.key, fault.expected) for fault in found(text)] == [(3, key, expected)]


def test_all_faults_come_at_once_in_the_order_of_the_file() -> None:
    text = (
        EVERYTHING.replace("days = 100", "days = 3.5")
        .replace('undated = "refuse"', 'undatet = "refuse"')
        .replace("EUR = 4.90", "EUR = 4.9051")
    )

    assert faults(text.replace("format = 1\n", "\n")) == [
        "line 1: format: expected this key, which is missing",
        "line 7: window.days: expected a whole number (0 to 3650)",
        "line 9: window.undatet: expected one of the keys that there are (days, from, undated)",
        "line 24: return_shipping_fee.amount.EUR: expected an amount in the currency's own decimals (49.00)",
    ]


def test_a_reason_that_nobody_can_give_makes_no_fee_free() -> None:
    text = 'format = 1\nreasons = ["other"]\n[restocking_fee]\nfree_for = ["defectve"]\n[return_shipping_fee]\nfree_for = ["other", "x"]'

    assert faults(text) == [
        "line 4: restocking_fee.free_for: expected one of these words (other)",
        "line 6: return_shipping_fee.free_for: expected one of these words (other)",
    ]
    assert read(text.replace('reasons = ["other"]', "")).restocking.free_for == {"defectve"}
    assert "free_for" not in " ".join(faults(text.replace('"other"]\n[re', "3]\n[re")))


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("format = 1\nwindow", 2, "Expected '='"),
        ("format = 1\nformat = 1", 2, "Cannot overwrite a value"),
        ("format = 1\n[window", 2, "Expected ']'"),
        ('format = 1\nx = """\n\n', 4, "Unterminated"),
        ("format = 1\n\nx = \x00", 3, "Invalid value"),
        ("x = 2026-02-30", 1, "Invalid date"),
        ("x = " + "[" * 5_000, 1, "less deeply nested"),
        ("x = " + "9" * 5_000, 1, "shorter numbers"),
        ("\ud800", 1, "Invalid statement"),
    ],
)
def test_what_is_no_toml_is_named_by_line(text: str, line: int, says: str) -> None:
    (fault,) = found(text)

    assert (fault.line, fault.key, fault.expected) == (line, "", Expected.TOML)
    assert says in fault.detail
    assert str(fault).startswith(f"line {line}: expected text in TOML (")


@pytest.mark.parametrize("filler", ["x" * (64 * 1024), "é" * (33 * 1024)])
def test_a_file_is_no_larger_than_64_kib(filler: str) -> None:
    assert faults(f"format = 1\n# {filler}") == ["line 1: expected a smaller file (at most 64 KiB)"]


def test_lines_are_found_in_tables_quoted_keys_and_around_texts_of_many_lines() -> None:
    text = """\
[ "window" ]  # counted
note = '''
days = 1
[limits]
'''
"days" = 1.5

[[test]]
name = "x"
[[ test ]]
name = 3
"""

    assert [(fault.line, fault.key) for fault in found(text)] == [
        (1, "format"),
        (2, "window.note"),
        (6, "window.days"),
        (8, "test[1].expect"),
        (8, "test[1].today"),
        (10, "test[2].expect"),
        (10, "test[2].today"),
        (11, "test[2].name"),
    ]


@given(st.text() | st.binary().map(lambda data: data.decode("utf-8", "replace")))
def test_any_text_is_a_policy_or_has_faults(text: str) -> None:
    lines = None
    try:
        read(text)
    except FaultyPolicy as refused:
        lines = [fault.line for fault in refused.faults]
    assert lines is None or min(lines) >= 1


KEYS = sorted({key for key in EVERYTHING.replace("=", " ").split() if key.isidentifier()} | {"test", "name", "today", "expect"})
VALUES = ["1", "-1", "1.5", '""', '"x"', "true", "[]", "{}", "[1]", "2026-01-01", "12:00:00", '{ EUR = "1" }', '["x"]', "{ a = { b = 1 } }"]


@given(st.lists(st.tuples(st.sampled_from(KEYS), st.sampled_from(KEYS), st.sampled_from(VALUES)), max_size=6))
def test_a16_any_value_under_any_key_is_read_or_refused(entries: list[tuple[str, str, str]]) -> None:
    text = "format = 1\n" + "".join(f"{table}.{key} = {value}\n{key} = {value}\n" for table, key, value in entries)

    refused: tuple[Fault, ...] | None = None
    try:
        failing_tests(text)
    except FaultyPolicy as error:
        refused = error.faults
    assert refused != ()


# ── Test cases of the file ──────────────────────────────────────────────────────────────────────────────────────────


def case(lines: str, policy: str = EVERYTHING) -> tuple[FailingTest, ...]:
    return failing_tests(f'{policy}\n[[test]]\nname = "case"\ntoday = 2026-06-30\n{lines}')


DELIVERED = 'fulfilled = 2026-06-01\nbought = 2\nprice = { EUR = "40.00" }\n'


@pytest.mark.parametrize(
    "lines",
    [
        DELIVERED + 'expect = "allow"\nrefusals = []\nrefund = { EUR = "30.10" }',  # 40.00 - 12.5 % - 4.90
        DELIVERED + 'expect = "allow"\nreason = "defective"\nrefund = { EUR = "35.10" }',
        DELIVERED + 'expect = "allow"\nclaimed = 2\nrefund = { EUR = "65.10" }',
        DELIVERED + 'expect = "refuse"\ntaken = 1\nclaimed = 2\nrefusals = ["units_gone"]\nrefund = { EUR = "0" }',
        DELIVERED + 'expect = "refuse"\nclaimed = 0\nrefusals = ["not_positive"]',
        DELIVERED + 'expect = "refuse"\npaid = false\ncancelled = true\nrefusals = ["not_paid", "order_cancelled"]',
        DELIVERED + 'expect = "refuse"\ntype = "gift card"\ntags = ["SALE"]\nsku = "gift-1"\nrefusals = ["final_sale", "not_returnable"]',
        'fulfilled = 2026-06-01\nprice = { EUR = "150.01" }\nexpect = "person"',
        'fulfilled = 2026-06-01\nexpect = "allow"\nrefund = { EUR = "0" }',  # a gift: nothing to refund, nothing to refuse
        'fulfilled = 2026-06-01\nprice = { USD = "10.00" }\nrefund = { USD = "8.75" }\nexpect = "person"',
        'delivered = 2026-06-29\nplaced = 2026-06-01\nexpect = "refuse"\nrefusals = ["not_delivered"]',
    ],
)
def test_a_case_that_holds_says_nothing(lines: str) -> None:
    assert case(lines) == ()


def test_the_day_of_the_order_counts_where_the_policy_says_so() -> None:
    policy = 'format = 1\nwindow = { days = 14, from = ["placed"] }\nauthorise.automatic = true\n'

    assert case('placed = 2026-06-16\nexpect = "allow"', policy) == ()
    assert case('placed = 2026-06-15\nexpect = "refuse"\nrefusals = ["outside_window"]', policy) == ()


def test_a_case_that_does_not_hold_says_what_came_instead() -> None:
    failing = case(DELIVERED + 'expect = "refuse"\nrefusals = ["final_sale", "not_returnable"]\nrefund = { EUR = "40.00" }')

    assert [str(one) for one in failing] == [
        "case: expect should be refuse, but is allow",
        "case: refusals should be final_sale, not_returnable, but is none",
        "case: refund should be 40.00 EUR, but is 30.10 EUR",
    ]


@pytest.mark.parametrize(
    ("lines", "key", "expected"),
    [
        ('expect = "maybe"', "test[1].expect", Expected.ONE_OF),
        ('expect = "charged"', "test[1].expect", Expected.ONE_OF),
        ('expect = "allow"\ndelivered = "2026-06-01"', "test[1].delivered", Expected.DATE),
        ('expect = "allow"\ndelivered = 2026-06-01T12:00:00Z', "test[1].delivered", Expected.DATE),
        ('expect = "allow"\nprice = { EUR = "1", USD = "1" }', "test[1].price", Expected.TABLE),
        ('expect = "allow"\nprice = { USD = "1" }\nrefund = { EUR = "1" }', "test[1].refund", Expected.CURRENCY),
        ('expect = "refuse"\nrefusals = ["too_late"]', "test[1].refusals[1]", Expected.ONE_OF),
    ],
)
def test_a_faulty_case_is_a_fault_of_the_file(lines: str, key: str, expected: Expected) -> None:
    with pytest.raises(FaultyPolicy) as refused:
        case(lines)

    assert [(fault.key, fault.expected) for fault in refused.value.faults] == [(key, expected)]
