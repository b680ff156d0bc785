"""Used store credit: whatever becomes of its orders, what can be spent and what was spent never exceed what was given.

The one exception is said: TWICE, which is for a person.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from adapters.simulators.woocommerce import Bought, Fault, Kind, Problem, ShopSettings, WooShop
from adapters.simulators.woocommerce.serving import serving
from adapters.simulators.woocommerce.web import Cut, Environ, StartResponse
from connector.domain import money
from connector.domain.connecting import CreditRest, CreditUse, UsedCredit
from connector.domain.money import Money
from connector.domain.orders import OrderRef
from connector.domain.platform import OutcomeUnknown, PlatformError, Rejected
from tests.adapters.woo_money import Subject
from tests.adapters.woo_simulator import Clock

KEY: Final = "k" * 32
CODE: Final = "2222222X-AAAABBBBCCCC"
NEXT: Final = f"{CODE}-2"
UNTAXED: Final = ShopSettings(rates=())
DEAD: Final = {"cancelled", "failed", "trash", "checkout-draft"}
WAITING, GIVEN_BACK, SPENT, REISSUED, TWICE = CreditUse


@dataclass(eq=False)
class Between:
    """The shop's web server, and what happens just before the n-th request from now on, or to its answer."""

    shop: WooShop
    count: int = 0
    before: dict[int, Callable[[], object]] = field(default_factory=dict)
    lost: set[int] = field(default_factory=set)
    mutex: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: Environ, start: StartResponse) -> Iterable[bytes]:
        with self.mutex:
            self.count += 1
            number = self.count
        self.before.pop(number, lambda: None)()
        answer = list(self.shop.app(environ, start))
        if number in self.lost:
            raise Cut
        return answer

    def quiet(self) -> None:
        """Nothing more happens of itself."""
        self.count, self.before, self.lost = 0, {}, set()


@dataclass(eq=False)
class Credit(Subject):
    """A shop with a code of ours that is worth 50.00."""

    between: Between
    worth: int = 5000

    @property
    def places(self) -> int:
        return money.decimals(self.shop.settings.currency)

    def use(self, spends: str, code: str = CODE, **how: Any) -> OrderRef:
        """An order of so much, before the code, that uses it."""
        return self.place([Bought("Shirt", 1, net=spends, gross=spends * self.shop.settings.prices_include_tax)], coupons=[code], **how)

    def used(self, ref: OrderRef, code: str = CODE, next_code: str = NEXT, worth: int = 0) -> UsedCredit:
        return UsedCredit(code, ref, next_code, Money(worth or self.worth, self.shop.settings.currency))

    def follow(self, ref: OrderRef, **which: Any) -> tuple[CreditUse, int]:
        found: CreditRest = self.store().reissue_credit(self.used(ref, **which))
        return found.use, found.rest.minor

    def says(self, code: str) -> tuple[int, int]:
        """What the code is worth, and how often it was used."""
        coupon = self.shop.coupon(code)
        assert coupon is not None
        return money.parse(coupon["amount"], self.places), coupon["usage_count"]

    def spendable(self) -> int:
        """What could be typed into a checkout now."""
        left = [(each, (each["usage_limit"] or 99) - each["usage_count"]) for each in self.shop.coupons() if each["status"] == "publish"]
        return sum(money.parse(each["amount"], self.places) * max(0, uses) for each, uses in left)

    def spent(self) -> int:
        """What orders that are alive took."""
        alive = [body for ref in self.shop.orders() if (body := self.shop.order(ref))["status"] not in DEAD]
        return sum(money.parse(f"{float(line['discount']):.2f}", 2) for body in alive for line in body["coupon_lines"])


@contextmanager
def given(settings: ShopSettings = UNTAXED, amount: str = "50.00", worth: int = 5000) -> Iterator[Credit]:
    shop = WooShop(clock=Clock(datetime.now(UTC)), settings=settings)
    between = Between(shop)
    with serving(between, shop.app.arriving, 8, 0, lambda: shop.clock().timestamp()) as port:
        shop.site.url = f"http://127.0.0.1:{port}"
        shop.add_coupon(CODE, amount, usage_limit=1, email_restrictions=["kim@example.com"], description="Store credit")
        (coupon,) = shop.site.shelves.all("coupon")
        shop.site.shelves.put("coupon", coupon | {"meta_data": [{"id": 1, "key": "_rma_ref", "value": KEY}]}, name=coupon["code"])
        yield Credit(shop, Clock(), shop.add_key(), between, worth)
    shop.close()


@pytest.fixture
def credit() -> Iterator[Credit]:
    with given() as one:
        yield one


# ── What becomes of a code ──────────────────────────────────────────────────────────────────────────────────────────


def test_m7_what_an_order_left_gets_a_code_of_its_own_and_the_old_one_says_what_was_spent(credit: Credit) -> None:
    ref = credit.use("20.00")

    assert credit.follow(ref) == (REISSUED, 3000)

    assert (credit.says(CODE), credit.says(NEXT)) == ((2000, 1), (3000, 0))
    made = credit.shop.coupon(NEXT)
    assert made is not None
    assert (made["usage_limit"], made["discount_type"], made["email_restrictions"]) == (1, "fixed_cart", ["kim@example.com"])
    assert {meta["key"]: meta["value"] for meta in made["meta_data"]}["_rma_ref"] == KEY
    writes = len([each for each in credit.shop.requests if each.method != "GET"])
    assert credit.follow(ref) == (REISSUED, 3000)
    assert len([each for each in credit.shop.requests if each.method != "GET"]) == writes


@pytest.mark.parametrize(
    ("status", "paid", "use"),
    [
        ("pending", False, WAITING),
        ("on-hold", False, WAITING),
        ("on-hold", True, WAITING),
        ("checkout-draft", False, WAITING),
        ("cancelled", False, GIVEN_BACK),
        ("failed", False, GIVEN_BACK),
        ("processing", True, REISSUED),
        ("completed", True, REISSUED),
        ("refunded", True, REISSUED),
    ],
)
def test_each_state_of_an_order_is_a_use_of_the_code(credit: Credit, status: str, paid: bool, use: CreditUse) -> None:
    ref = credit.use("20.00", status="processing" if status == "refunded" else status, paid=paid)
    if status == "refunded":
        credit.shop.set_status(int(ref), "refunded")

    assert credit.follow(ref) == (use, 3000 if use is REISSUED else 0)
    assert credit.says(CODE)[0] == (2000 if use is REISSUED else 5000)


@pytest.mark.parametrize("spends", ["50.00", "80.00"])
def test_a_code_that_was_spent_whole_has_no_rest(credit: Credit, spends: str) -> None:
    assert credit.follow(credit.use(spends)) == (SPENT, 0)
    assert len(credit.shop.coupons()) == 1


def test_an_order_in_the_bin_gives_its_use_back(credit: Credit) -> None:
    ref = credit.use("20.00")
    credit.shop.trash(int(ref))

    assert credit.follow(ref) == (GIVEN_BACK, 0)
    assert credit.says(CODE) == (5000, 0)


def test_m7_cancelled_and_restored_after_the_rest_was_given_nothing_is_doubled(credit: Credit) -> None:
    ref = credit.use("20.00")
    credit.follow(ref)

    credit.shop.cancel(int(ref))
    assert credit.follow(ref) == (REISSUED, 3000)
    assert (credit.spendable(), credit.spent()) == (5000, 0)
    credit.shop.reopen(int(ref))
    assert credit.follow(ref) == (REISSUED, 3000)
    assert (credit.spendable(), credit.spent()) == (3000, 2000)


def test_m7_what_was_given_back_spent_elsewhere_and_restored_is_told(credit: Credit) -> None:
    first = credit.use("20.00")
    credit.shop.cancel(int(first))
    second = credit.use("50.00")
    credit.shop.reopen(int(first))

    assert credit.follow(first)[0] is TWICE
    assert credit.follow(second, next_code=f"{CODE}-3")[0] is TWICE
    assert len(credit.shop.coupons()) == 1


def test_m7_an_order_that_comes_back_when_another_took_its_part_gets_no_more_than_is_left(credit: Credit) -> None:
    first = credit.use("10.00")
    credit.shop.cancel(int(first))
    second = credit.use("20.00")
    credit.follow(second, next_code=f"{CODE}-3")  # 30.00 go into a code of their own
    credit.shop.cancel(int(second))
    credit.shop.reopen(int(first))

    assert credit.follow(first) == (REISSUED, 1000)
    assert (credit.spent(), credit.spendable()) == (1000, 4000)


def test_m7_an_order_that_grows_after_its_rest_was_given_is_told(credit: Credit) -> None:
    ref = credit.use("20.00")
    credit.follow(ref)
    body = credit.shop.site.shelves.get("order", int(ref))
    assert body is not None
    body["coupon_lines"][0]["discount"] = "45"  # as a plugin writes it; WooCommerce itself takes what the code says by now
    credit.shop.site.shelves.put("order", body)

    assert credit.follow(ref)[0] is TWICE


def test_a_next_code_that_was_spent_and_deleted_is_not_made_again(credit: Credit) -> None:
    ref = credit.use("20.00")
    credit.follow(ref)
    credit.use("30.00", NEXT)
    coupon = credit.shop.coupon(NEXT)
    assert coupon is not None
    credit.shop.site.shelves.drop("coupon", coupon["id"])

    assert credit.follow(ref) == (REISSUED, 3000)
    assert credit.shop.coupon(NEXT) is None


def test_the_rest_of_a_rest_is_followed_alike(credit: Credit) -> None:
    credit.follow(credit.use("20.00"))
    second = credit.use("10.00", NEXT)

    assert credit.follow(second, code=NEXT, next_code=f"{CODE}-3", worth=3000) == (REISSUED, 2000)
    assert (credit.spent(), credit.spendable()) == (3000, 2000)


# ── Taxes and currencies ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("settings", "amount", "spends", "rest"),
    [
        (ShopSettings(), "50.00", "19.99", 3001),
        (ShopSettings(prices_include_tax=True), "50.00", "20.00", 3000),
        (ShopSettings(prices_include_tax=True, round_at_subtotal=True), "50.00", "20.01", 2999),
        (ShopSettings(prices_include_tax=True, round_at_subtotal=True), "50.00", "0.01", 4999),
        (ShopSettings(currency="JPY", decimals=0), "5000", "2001", 2999),
        (ShopSettings(currency="JPY", decimals=0, prices_include_tax=True), "5000", "2001", 2999),
        (ShopSettings(currency="KWD", decimals=3), "50.000", "20.001", 29999),
        (ShopSettings(currency="KWD", decimals=3, prices_include_tax=True, round_at_subtotal=True), "50.000", "20.001", 29999),
        (ShopSettings(currency="EUR", decimals=0, rates=()), "50", "20", 3000),
        (ShopSettings(version="9.4.3", prices_include_tax=True, round_at_subtotal=True), "50.00", "20.01", 2999),
    ],
)
def test_a23_the_rest_is_exact_in_every_mode_of_taxes(settings: ShopSettings, amount: str, spends: str, rest: int) -> None:
    places = money.decimals(settings.currency)
    worth = money.parse(amount, places)
    with given(settings, amount, worth) as credit:
        ref = credit.use(spends)

        assert credit.follow(ref) == (REISSUED, rest)
        assert credit.says(CODE)[0] + credit.says(NEXT)[0] == worth
        credit.shop.cancel(int(ref))
        again = credit.use(amount)  # it takes the lowered code, and no more
        assert money.parse(str(money.show(credit.says(CODE)[0], places)), places) == worth - rest
        assert credit.follow(again, next_code=f"{CODE}-3")[0] is SPENT


# ── Where a run dies, and what happens in between ───────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("afterwards", "uses"),
    [
        ((), {REISSUED}),
        (("cancel",), {REISSUED, GIVEN_BACK}),
        (("trash",), {REISSUED, GIVEN_BACK}),
        (("cancel", "reopen"), {REISSUED}),
        (("delete",), {REISSUED, TWICE}),  # it keeps the use: whether that was its own, nobody can say
    ],
)
@pytest.mark.parametrize("lost", [False, True], ids=["request", "answer"])
@pytest.mark.parametrize("number", range(1, 8))
def test_f02_wherever_a_run_dies_the_next_one_finishes_it(
    credit: Credit, number: int, lost: bool, afterwards: tuple[str, ...], uses: set[CreditUse]
) -> None:
    ref = credit.use("20.00")
    credit.between.before = {} if lost else {number: cut}
    credit.between.lost = {number} if lost else set()
    with suppress(PlatformError):
        credit.follow(ref)
    credit.between.quiet()

    for act in afterwards:
        getattr(credit.shop, act)(int(ref))
    with suppress(Rejected):  # deleted, and nothing was begun
        use, rest = credit.follow(ref)
        assert use in uses
        assert rest == (3000 if use is REISSUED else 0)

    assert credit.spent() + credit.spendable() <= 5000
    if "delete" not in afterwards:
        assert credit.spent() + credit.spendable() == 5000


def cut() -> None:
    raise Cut


@pytest.mark.parametrize("dies", [False, True], ids=["", "and dies after the next"])
@pytest.mark.parametrize("number", range(2, 8))
@pytest.mark.parametrize(
    "acts",
    [
        "cancel",
        "cancel use",
        "cancel use reopen",
        "cancel use follow",
        "cancel use follow cancel",
        "cancel use half cancel",
        "follow",
        "delete",
    ],
)
def test_f57_whatever_happens_between_two_requests_is_within_the_worth_or_told(credit: Credit, number: int, acts: str, dies: bool) -> None:
    """A run that slept decides by what it read before; where no order came back to life it gives nothing too much, told or not."""
    ref = credit.use("20.00")
    others: list[OrderRef] = []
    said: list[CreditUse] = []

    def second(which: OrderRef, next_code: str) -> None:
        with suppress(PlatformError):
            said.append(credit.follow(which, next_code=next_code)[0])

    def meanwhile() -> None:
        for act in acts.split():
            match act:
                case "use":
                    with suppress(ValueError):
                        others.append(credit.use("30.00"))
                case "follow" | "half":  # half: it dies before it can say that the next code was made
                    credit.between.before |= {credit.between.count + 7: cut} if act == "half" else {}
                    second(*((others[0], f"{CODE}-3") if others else (ref, NEXT)))
                case _:
                    getattr(credit.shop, act)(int(([ref, *others])[-1]))
        if dies:
            credit.between.before[credit.between.count + 1] = cut

    credit.between.before[number] = meanwhile
    second(ref, NEXT)
    credit.between.quiet()
    for other in others:
        second(other, f"{CODE}-3")
    second(ref, NEXT)

    assert (TWICE in said and "reopen" in acts) or credit.spent() + credit.spendable() <= 5000


def test_f13_two_runs_at_the_same_time_make_one_rest(credit: Credit) -> None:
    ref = credit.use("20.00")

    with ThreadPoolExecutor(2) as pool:
        found = [each.result() for each in [pool.submit(credit.follow, ref) for _ in range(2)]]

    assert found == [(REISSUED, 3000)] * 2
    assert sorted(coupon["amount"] for coupon in credit.shop.coupons()) == ["20.00", "30.00"]


def test_a_mark_whose_amount_was_not_saved_lowers_nothing(credit: Credit) -> None:
    """WooCommerce saves meta before the amount; PHP may die in between."""
    ref = credit.use("20.00")
    coupon = credit.shop.site.shelves.all("coupon")[0]
    coupon["meta_data"].append({"id": 2, "key": f"_rma_low_{NEXT.lower()}", "value": "2000/5000"})
    credit.shop.site.shelves.put("coupon", coupon, name=coupon["code"])
    credit.shop.cancel(int(ref))

    assert credit.follow(ref) == (GIVEN_BACK, 0)
    assert credit.spendable() == 5000
    credit.shop.reopen(int(ref))
    assert credit.follow(ref) == (REISSUED, 3000)
    assert (credit.says(CODE), credit.says(NEXT)) == ((2000, 1), (3000, 0))


# ── The merchant's hands ────────────────────────────────────────────────────────────────────────────────────────────


def edit(credit: Credit, code: str, **values: object) -> None:
    coupon = next(each for each in credit.shop.site.shelves.all("coupon") if each["code"] == code.lower())
    credit.shop.site.shelves.put("coupon", coupon | values, name=coupon["code"])


def test_a_merchant_who_lowered_the_code_is_not_overruled(credit: Credit) -> None:
    ref = credit.use("20.00")
    edit(credit, CODE, amount="25")

    assert credit.follow(ref) == (REISSUED, 500)


def test_a_merchant_who_took_the_code_back_is_asked(credit: Credit) -> None:
    ref = credit.use("20.00")
    edit(credit, CODE, amount="0")

    assert credit.follow(ref)[0] is TWICE
    assert credit.shop.coupon(NEXT) is None


def test_a_merchant_who_raised_the_code_after_its_use_gives_no_more_by_that(credit: Credit) -> None:
    ref = credit.use("20.00")
    edit(credit, CODE, amount="90", usage_limit=None)

    assert credit.follow(ref) == (REISSUED, 3000)
    assert credit.spendable() == 3000


@pytest.mark.parametrize("who", ["nobody", "another key"])
def test_a_code_that_is_gone_or_not_ours_is_refused(credit: Credit, who: str) -> None:
    ref = credit.use("20.00")
    edit(credit, CODE, meta_data=[] if who == "nobody" else [{"id": 1, "key": "_rma_ref", "value": "another"}])
    if who == "another key":
        credit.shop.add_coupon(NEXT, "1.00")

    with pytest.raises(Rejected):
        credit.follow(ref)
    assert credit.says(CODE)[0] == 5000


def test_an_order_that_is_gone_is_refused(credit: Credit) -> None:
    ref = credit.use("20.00")
    credit.shop.delete(int(ref))

    with pytest.raises(Rejected):
        credit.follow(ref)


def test_a_next_code_that_appears_by_another_hand_is_for_a_person(credit: Credit) -> None:
    ref = credit.use("20.00")
    credit.between.before[5] = lambda: credit.shop.add_coupon(NEXT, "90.00")  # after the old one was lowered

    with pytest.raises(OutcomeUnknown):
        credit.follow(ref)
    with pytest.raises(Rejected):
        credit.follow(ref)


@pytest.mark.parametrize("said", [{"amount": "50.00"}, {"amount": ""}, {"amount": None}, {}])
def test_an_answer_that_does_not_say_that_the_code_was_lowered_makes_no_next_one(credit: Credit, said: dict[str, object]) -> None:
    ref = credit.use("20.00")
    answer = json.dumps({"id": 1, "usage_count": 1, "meta_data": [], **said})
    credit.shop.fail_next("PUT coupon", Fault(Kind.ANSWER, status=200, words=answer, content_type="application/json"))

    with pytest.raises(OutcomeUnknown):
        credit.follow(ref)

    assert credit.shop.coupon(NEXT) is None
    assert credit.follow(ref) == (REISSUED, 3000)


# ── At random ───────────────────────────────────────────────────────────────────────────────────────────────────────


HAPPENS: Final = ("cancel", "reopen", "follow", "use")


class Life(RuleBasedStateMachine):
    """Shoppers, a merchant and a machine that dies, in any order. At the end everything is followed once more, and counted."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = given()
        self.credit = self.opened.__enter__()
        self.uses: list[UsedCredit] = []
        self.told = False  # a person was asked
        self.is_exact = True  # nobody took anything away
        self.codes = {CODE: 5000}

    @rule(code=st.integers(0, 3), spends=st.sampled_from(["10.00", "20.00", "50.00"]), status=st.sampled_from(["processing", "pending"]))
    def use(self, code: int, spends: str, status: str) -> None:
        name = sorted(self.codes)[code % len(self.codes)]
        with suppress(ValueError):
            ref = self.credit.use(spends, name, status=status, paid=status == "processing")
            next_code = f"{CODE}-{len(self.uses) + 2}"
            self.uses.append(self.credit.used(ref, name, next_code, self.codes[name]))

    @precondition(lambda self: self.uses)
    @rule(which=st.integers(0, 9), act=st.sampled_from(["cancel", "reopen", "complete", "trash", "untrash", "cancel", "reopen"]))
    def move(self, which: int, act: str) -> None:
        self.do(act, self.pick(which))

    @precondition(lambda self: self.uses)
    @rule(which=st.integers(0, 9))
    def delete(self, which: int) -> None:
        self.is_exact = False
        self.do("delete", self.pick(which))

    @rule(which=st.integers(0, 3), amount=st.sampled_from(["0", "15"]))
    def lower(self, which: int, amount: str) -> None:
        self.is_exact = False
        code = sorted(self.codes)[which % len(self.codes)]
        if (coupon := self.credit.shop.coupon(code)) and money.parse(coupon["amount"], 2) > int(amount) * 100:
            edit(self.credit, code, amount=amount)

    @rule(which=st.integers(0, 3))
    def drop(self, which: int) -> None:
        """The merchant tidies up codes that were used."""
        coupon = self.credit.shop.coupon(sorted(self.codes)[which % len(self.codes)])
        if coupon and coupon["usage_count"]:
            self.is_exact = False
            self.credit.shop.site.shelves.drop("coupon", coupon["id"])

    @precondition(lambda self: self.uses)
    @rule(
        which=st.integers(0, 9),
        number=st.integers(1, 8),
        happens=st.lists(st.tuples(st.sampled_from(HAPPENS), st.integers(0, 9)), max_size=5),
        dies=st.booleans(),
    )
    def follow(self, which: int, number: int, happens: list[tuple[str, int]], dies: bool) -> None:
        """A run, in the middle of which things happen."""

        def meanwhile() -> None:
            for act, other in happens:
                match act:
                    case "follow":
                        self.ask(self.pick(other))
                    case "use":
                        self.use(other, "20.00", "processing")
                    case _:
                        self.do(act, self.pick(other))
            if dies:
                self.credit.between.before[self.credit.between.count + 1] = cut

        self.credit.between.before[number] = meanwhile
        self.ask(self.pick(which))
        self.credit.between.quiet()

    def teardown(self) -> None:
        try:
            for _ in range(2):
                for used in self.uses:
                    self.ask(used)
            whole = self.credit.spent() + self.credit.spendable()
            assert self.told or whole <= 5000
            undecided = [ref for ref in self.credit.shop.orders() if self.credit.shop.order(ref)["status"] == "pending"]
            if self.is_exact and not self.told and not undecided:
                assert whole == 5000
        finally:
            self.opened.__exit__(None, None, None)

    def pick(self, which: int) -> UsedCredit:
        return self.uses[which % len(self.uses)]

    def do(self, act: str, used: UsedCredit) -> None:
        with suppress(KeyError, Problem):
            ref = int(used.order)
            if (self.credit.shop.order(ref)["status"] == "trash") is (act == "untrash"):
                getattr(self.credit.shop, act)(ref)

    def ask(self, used: UsedCredit) -> None:
        with suppress(PlatformError):
            found = self.credit.store().reissue_credit(used)
            self.told = self.told or found.use is TWICE
            if found.use is REISSUED:
                self.codes.setdefault(used.next_code, found.rest.minor)


def test_m7_no_life_of_a_code_gives_more_than_it_was_worth_and_none_loses_a_cent() -> None:
    run_state_machine_as_test(Life, settings=hypothesis_settings(max_examples=30, stateful_step_count=12, deadline=None))
