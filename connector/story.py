"""`retour story`: one return on a genuine order, from the claim to the shop's books, told as a story.

The embedded default runs it: SQLite, a Valkey server, a worker and a clock as processes of their own. Only the shop is simulated;
its books are a file of its own, so what it paid does not depend on what happens to us. In the middle the worker is killed.
"""

from __future__ import annotations

import os
import secrets
import sys
import textwrap
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final

from adapters.simulators.toy import Fault, Proof, ToyStore
from connector import migrate, wiring
from connector.bell import Bell
from connector.config import Settings
from connector.db import Database
from connector.domain import codec, number
from connector.domain.money import decimals, show
from connector.domain.narrate import sentence
from connector.domain.orders import LineRef, Order
from connector.domain.platform import Contact, ShopDomain
from connector.domain.policy import Claim, Decision, Finding, RuleCode
from connector.domain.quote import Quote
from connector.domain.rma import Disposition, MoneyState
from connector.domain.terms import Outcome
from connector.embedded import Valkey
from connector.models import Refund
from connector.services import desk, policies, refunds, seals, shopper, shops, timeline
from connector.services.desk import Judged, Settlement
from connector.services.shops import ShopKeys, keys_of
from connector.supervisor import Child, Supervisor

_ANSWER_TAKES: Final = 120.0  # seconds that the shop keeps its answer back: the worker does not live to hear it
_PATIENCE: Final = 90.0
_LINE: Final = 110
POLICY: Final = """
format = 1
reasons = ["too_small", "changed_mind", "defective"]
resolutions = ["refund", "store_credit"]

[window]
days = 30

[restocking_fee]
percent = 10
free_for = ["defective"]

[return_shipping_fee]
amount = { CAD = "4.90" }
free_for = ["defective"]

[authorise]
automatic = true
up_to = { CAD = "100.00" }
"""

WORDS: Final[Mapping[tuple[RuleCode, Outcome], str]] = {
    (RuleCode.UNITS_LEFT, Outcome.ALLOW): "{bought} bought, {taken} taken back so far, {claimed} claimed.",
    (RuleCode.WINDOW, Outcome.ALLOW): "{counted_from} on {start}, {days} days to return: until {last_day}; today is {today}.",
    (RuleCode.FINAL_SALE, Outcome.ALLOW): "Not a final sale.",
    (RuleCode.RESTOCKING_FEE, Outcome.CHARGED): "Restocking fee: {percent} % of what comes back (free only for defects).",
    (RuleCode.RETURN_SHIPPING_FEE, Outcome.CHARGED): "Return shipping: {minor}, once (free only for defects).",
    (RuleCode.AUTHORISE, Outcome.ALLOW): "Worth {value}: up to {up_to} the policy may say yes by itself.",
    (RuleCode.AUTHORISE, Outcome.PERSON): "Worth {value}: a person looks first.",
}


class StoryFailed(Exception):
    """The story did not come out as it must; the message says where."""


@dataclass(slots=True)
class Story:
    """Prints what happens, chapter by chapter."""

    say: Callable[[str], object]
    chapters: int = 0

    def chapter(self, title: str) -> None:
        """A heading."""
        self.chapters += 1
        self.say(f"\n{self.chapters}. {title}")

    def tell(self, text: str, *, mark: str = "") -> None:
        """A paragraph, or an item of a list."""
        lead = f"   {mark} " if mark else "   "
        self.say(textwrap.fill(text, _LINE, initial_indent=lead, subsequent_indent=" " * len(lead)))

    def row(self, what: str, amount: str) -> None:
        """An amount at the end of its line."""
        self.say(f"     {what:<60}{amount:>14}")


@dataclass(slots=True)
class Stage:
    """The stage: settings, database, shop."""

    settings: Settings
    db: Database
    toy: ToyStore
    story: Story
    shop: ShopKeys = field(init=False)

    def money(self, minor: int, currency: str) -> str:
        """An amount as a merchant reads it."""
        return f"{currency} {show(minor, decimals(currency))}"

    def install(self) -> None:
        """The shop is connected and its policy published."""
        vault = wiring.vault(self.settings)
        with self.db.transaction() as session:
            now = self.db.now(session)
            credentials = {"books": str(self.toy.books), "proof": self.toy.proof.value}
            domain = ShopDomain("canvas-and-wool.example")
            shop = shops.connect(
                session, platform="toy", domain=domain, credentials=credentials, vault=vault, time_zone="America/Toronto", now=now
            )
            policies.publish(session, shop, POLICY, effective_from=(now - timedelta(days=30)).date(), who="owner", now=now)
            self.shop = keys_of(session, shop)

    def place(self, name: str) -> Order:
        """A genuine WooCommerce order, delivered three days ago, in the shop's books."""
        order = wiring.sample_order(name)
        with self.db.reading() as session:
            now = self.db.now(session)
        delivered = (now - timedelta(days=3)).date()
        lines = tuple(replace(line, delivered_on=delivered) for line in order.lines)
        self.toy.place(replace(order, lines=lines, placed_at=now - timedelta(days=6)))
        return self.toy.order(order.ref)

    def read(self, order: Order) -> tuple[datetime, Order]:
        """The order fresh from the shop, and when the read began."""
        with self.db.reading() as session:
            began = self.db.now(session)
        return began, self.toy.order(order.ref)


def play(settings: Settings, say: Callable[[str], object]) -> None:
    """The whole story. Raises `StoryFailed` where it does not come out as it must."""
    database = wiring.database(settings, ring=Bell(settings.redis_url).ring)
    migrate.to(database)
    stage = Stage(settings, database, ToyStore(settings.data_dir / "shop-books.db", Proof.NONE), Story(say))
    stage.install()
    order = stage.place("order-taxed-coupon-variation")
    _order(stage, order)
    rma = _claim(stage, order, {"622": 2, "624": 1})
    _parcel(stage, rma)
    row = _refund(stage, rma, order)
    _books(stage, order, row)
    _timeline(stage)


def _order(stage: Stage, order: Order) -> None:
    story = stage.story
    story.chapter("The order")
    story.tell(f"A genuine WooCommerce order, no. {order.number}: a coupon, two tax rates (one upon the other), taxed shipping.")
    for line in order.lines:
        title = f"{line.quantity} x {line.product.title}"
        taxes = " + ".join(show(tax.minor, 2) for tax in line.worth.tax)
        story.row(f"{title}   {show(line.worth.net, 2)}{' + tax ' + taxes if taxes else ''}", show(line.worth.gross, 2))
    for charge in order.shipping:
        story.row(f"{charge.title or 'Shipping'}   {show(charge.worth.net, 2)} + tax", show(charge.worth.gross, 2))
    story.row("Paid by card", stage.money(order.total, order.currency))


def _claim(stage: Stage, order: Order, units: Mapping[str, int]) -> uuid.UUID:
    story = stage.story
    story.chapter("The claim, the decision, and why")
    named = {line.id: line.product.title for line in order.lines}
    story.tell(f"The shopper sends back {' and '.join(f'{count} x {named[LineRef(ref)]}' for ref, count in units.items())}: too small.")
    began, fresh = stage.read(order)
    with stage.db.transaction() as session:
        rma = shopper.request_return(
            session,
            stage.shop,
            fresh,
            [Claim(LineRef(ref), count, reason="too_small") for ref, count in units.items()],
            read_began=began,
            contact=Contact(fresh.buyer.email, "", "en"),
            form_token=secrets.token_urlsafe(16),
            vault=wiring.vault(stage.settings),
            now=stage.db.now(session),
        )
        decision = codec.read(rma.decision, Decision)
        if decision.outcome is Outcome.PERSON:
            desk.authorise(session, rma.id, who="sam", now=stage.db.now(session))
    for one in decision.claims:
        reasons = [text for finding in one.because if (text := _because(finding, order.currency))]
        story.tell(f"{named[one.claim.line]}: {'yes' if one.outcome is Outcome.ALLOW else one.outcome}. {' '.join(reasons)}", mark="-")
    for finding in decision.because:
        story.tell(_because(finding, order.currency), mark="-")
    who = "Sam, of the staff," if decision.outcome is Outcome.PERSON else "The policy"
    story.tell(f"{who} authorises the return. Its number: {number.show(rma.number)}")
    wrong = rma.number[:2] + rma.number[3] + rma.number[2] + rma.number[4:]
    if wrong != rma.number:
        story.tell(f"(Swap two characters, {number.show(wrong)}, and it is {'taken' if number.check(wrong) else 'no number any more'}.)")
    return rma.id


def _because(finding: Finding, currency: str) -> str:
    """A finding in a merchant's words; empty for the checks of form, which a merchant need not read."""
    facts = dict(finding.inputs) | {"currency": currency}
    if "counted_from" in facts:
        facts["counted_from"] = facts["counted_from"].capitalize()
    for name in ("minor", "value", "up_to"):
        if facts.get(name):
            facts[name] = f"{currency} {show(int(facts[name]), decimals(currency))}"
    template = WORDS.get((finding.rule, finding.outcome))
    return template.format_map(facts) if template else ""


def _parcel(stage: Stage, rma: uuid.UUID) -> None:
    story = stage.story
    story.chapter("The parcel")
    with stage.db.transaction() as session:
        desk.receive(session, rma, {LineRef("622"): 2, LineRef("624"): 1}, who="dock", now=stage.db.now(session))
    judged = [
        Judged(LineRef("622"), Disposition.RESTOCK, 1),
        Judged(LineRef("622"), Disposition.DAMAGED, 1),
        Judged(LineRef("624"), Disposition.RESTOCK, 1),
    ]
    with stage.db.transaction() as session:
        desk.inspect(session, rma, judged, who="dock", now=stage.db.now(session))
    story.tell("The dock counts 3 units and looks at each: one tote and the tee go back on the shelf, one tote has a stain.")


def _refund(stage: Stage, rma: uuid.UUID, order: Order) -> uuid.UUID:
    story = stage.story
    story.chapter("What it pays, to the cent")
    began, fresh = stage.read(order)
    with stage.db.reading() as session:
        quote = desk.preview(session, rma, fresh, Settlement(expected=0, form_token=""))
    _tell_quote(stage, quote, order)

    story.chapter("The refund, with the worker killed half-way")
    stage.toy.fail_next("refund", Fault.HANG, _ANSWER_TAKES)
    environ = os.environ | {"RETOUR_DATA": str(stage.settings.data_dir), "RETOUR_DEV": "1", "RETOUR_LOG": "error"}
    with _background(stage.settings, environ) as supervisor:
        settlement = Settlement(expected=quote.total, form_token=secrets.token_urlsafe(16))
        with stage.db.transaction() as session:
            vault, now = wiring.vault(stage.settings), stage.db.now(session)
            made = desk.resolve(session, rma, fresh, settlement, read_began=began, vault=vault, who="sam", now=now)
            row = refunds.of(session, made.id)[0].id
        story.tell(f"Sam says yes. {stage.money(quote.total, quote.currency)} is reserved before anybody is asked to pay.")
        _until("the shop to pay", lambda: bool(stage.toy.payments(order.ref)))
        first = supervisor.pids()["worker"]
        story.tell(f"The worker (process {first}) asked the shop, and the shop has paid. Its answer is still on the way ...")
        supervisor.kill("worker")
        story.tell(
            f"... and the worker is killed (kill -9 {first}). Our row says only: asked, outcome unknown. Nobody may ask again unlooked-at."
        )
        _until("a new worker", lambda: supervisor.pids().get("worker", first) != first)
        story.tell(f"A new worker starts (process {supervisor.pids()['worker']}). The lease of the dead one runs out within 20 seconds ...")
        _until("the refund to be settled", lambda: _state(stage, row) is MoneyState.SETTLED)
        story.tell("... then it looks before it sends, finds the payment by its key, and records the receipt.")
        _until("the timeline to be sealed", lambda: not _waiting(stage))
    return row


def _tell_quote(stage: Stage, quote: Quote, order: Order) -> None:
    """Every step of the arithmetic, with names in place of references."""
    names = {f"line:{line.id}": line.product.title for line in order.lines} | {
        "tax 1": "GST",
        "tax 2": "QST",
        "txn_1001": "The card",
        "_": " ",
    }
    for step in quote.because:
        text = sentence(step, decimals(quote.currency))
        for reference, name in names.items():
            text = text.replace(reference, name)
        stage.story.tell(text, mark="-")
    stage.story.row("The shopper gets", stage.money(quote.total, quote.currency))


def _books(stage: Stage, order: Order, row: uuid.UUID) -> None:
    story = stage.story
    story.chapter("The books of the shop")
    payments = stage.toy.payments(order.ref)
    for payment in payments:
        story.row(
            f"{payment.reference}  refund of order {payment.order}", stage.money(payment.told.amount.minor, payment.told.amount.currency)
        )
    with stage.db.reading() as session:
        ours = session.get_one(Refund, row)
    if len(payments) != 1 or ours.platform_reference != payments[0].reference or ours.minor != payments[0].told.amount.minor:
        raise StoryFailed(f"the shop's books show {len(payments)} payments; ours say {ours.platform_reference}")
    left = stage.toy.order(order.ref)
    story.tell(f"One payment, although the worker died after it was made. Our books say the same: {ours.platform_reference}.")
    back, kept = stage.money(left.refunded, left.currency), stage.money(left.kept, left.currency)
    story.tell(f"The order shows {back} given back and {kept} withheld as fees.")


def _timeline(stage: Stage) -> None:
    story = stage.story
    story.chapter("The timeline, verified")
    with stage.db.reading() as session:
        for entry in timeline.entries(session, stage.shop.id):
            story.tell(f"{entry.happened_at:%H:%M:%S}  {entry.who:<8} {entry.what}")
        verdicts = list(seals.verify(session, stage.settings.seal_key.encode()))
    for verdict in verdicts:
        if verdict.faults or verdict.unsealed:
            raise StoryFailed(f"the timeline does not verify: {verdict}")
        story.tell(f"Sealed up to entry {verdict.sealed} ({verdict.last[:16]}...): nothing was changed, left out or put in.")


@contextmanager
def _background(settings: Settings, environ: Mapping[str, str]) -> Iterator[Supervisor]:
    """Valkey, a worker and a clock, which die with us whatever happens."""
    valkey = Valkey(settings.data_dir)
    children = [valkey.child(), *(Child(name, [sys.executable, "-m", "jobs", name]) for name in ("worker", "clock"))]
    with Supervisor(settings.data_dir, children, {**environ, "REDIS_URL": valkey.url}, grace=10.0) as supervisor:
        yield supervisor


def _state(stage: Stage, row: uuid.UUID) -> MoneyState:
    with stage.db.reading() as session:
        return session.get_one(Refund, row).state


def _waiting(stage: Stage) -> bool:
    with stage.db.reading() as session:
        return bool(seals.waiting(session))


def _until(what: str, done: Callable[[], bool]) -> None:
    until = time.monotonic() + _PATIENCE
    while not done():
        if time.monotonic() > until:
            raise StoryFailed(f"waited {_PATIENCE:.0f} s for {what}")
        time.sleep(0.2)
