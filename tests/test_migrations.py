"""Migrations on both databases: there and back, never half way (F48), one at a time; and what the tables themselves refuse."""

from __future__ import annotations

import os
import textwrap
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import BigInteger, CheckConstraint, Integer, UniqueConstraint, func, insert, inspect, select, text
from sqlalchemy.exc import DBAPIError, IntegrityError

from connector import migrate, revisions
from connector.db import Database
from connector.domain.rma import Disposition, MoneyState, RmaState
from connector.models import (
    Alarm,
    AlarmKind,
    Base,
    Budget,
    ContactRow,
    Credit,
    CreditUseRow,
    Entry,
    EntryText,
    HintRow,
    Install,
    Mail,
    MailedCode,
    MoneyKind,
    OrderRow,
    OutboxRow,
    Policy,
    ReceiptRow,
    Refund,
    Resolution,
    Rma,
    RmaLine,
    Role,
    Seal,
    Shop,
    Spending,
    StaffLink,
    StaffMember,
    Sync,
    Units,
    Unsealed,
)
from connector.models import Link as StatusLink
from tests.processes import Link, child, together
from tests.world import START

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty database of either kind, with little patience."""
    made = Database(database_url, patience=0.2)
    yield made
    made.dispose()


@dataclass(frozen=True)
class Ids:
    """The rows of `fill`."""

    shop: uuid.UUID = field(default_factory=uuid.uuid4)
    policy: uuid.UUID = field(default_factory=uuid.uuid4)
    rma: uuid.UUID = field(default_factory=uuid.uuid4)
    line: uuid.UUID = field(default_factory=uuid.uuid4)
    resolution: uuid.UUID = field(default_factory=uuid.uuid4)
    refund: uuid.UUID = field(default_factory=uuid.uuid4)
    again: uuid.UUID = field(default_factory=uuid.uuid4)
    credit: uuid.UUID = field(default_factory=uuid.uuid4)
    entry: uuid.UUID = field(default_factory=uuid.uuid4)
    staff: uuid.UUID = field(default_factory=uuid.uuid4)


def a_refund(ids: Ids, **values: object) -> dict[str, Any]:
    """A money row that stands, and what is to be otherwise."""
    return {
        "id": uuid.uuid4(),
        "shop_id": ids.shop,
        "resolution_id": ids.resolution,
        "order_ref": "1001",
        "kind": MoneyKind.REFUND,
        "state": MoneyState.PENDING,
        "minor": 1200,
        "deducted": 0,
        "currency": "EUR",
        "instruction": b"{}",
        "attempt": 0,
        "reserved_at": START,
    } | values


def fill(database: Database, ids: Ids) -> None:
    """At least one row in every table."""
    with database.transaction() as session:
        session.add(Shop(id=ids.shop, platform="toy", domain="one.example", credentials=b"", installed_at=START))
        session.flush()
        session.add_all(
            [
                OrderRow(shop_id=ids.shop, ref="1001"),
                Policy(
                    id=ids.policy,
                    shop_id=ids.shop,
                    version=1,
                    text="",
                    effective_from=date(2026, 1, 1),
                    published_at=START,
                    published_by="owner",
                ),
                Spending(shop_id=ids.shop, day=date(2026, 3, 2), currency="EUR", minor=1200),
                OutboxRow(shop_id=ids.shop, kind="settle", subject_id=ids.refund, put_at=START, available_at=START),
                Alarm(shop_id=ids.shop, kind=AlarmKind.PAID_TWICE, subject="x", facts=b"{}", raised_at=START),
                Install(
                    state_digest=ids.shop.hex, platform="woocommerce", address="https://shop.example", begun_at=START, shop_id=ids.shop
                ),
                HintRow(shop_id=ids.shop, topic="order.updated", digest=b"x", received_at=START),
                Sync(shop_id=ids.shop, watermark=START, poll_at=START, probe_at=START),
                Budget(subject=ids.shop.hex, window_began_at=START, spent=1),
                StaffMember(
                    id=ids.staff, shop_id=ids.shop, email_digest="x", email=b"x", role=Role.VIEW, invited_at=START, invited_by="owner"
                ),
            ]
        )
        session.flush()
        session.add(
            Rma(
                id=ids.rma,
                shop_id=ids.shop,
                order_ref="1001",
                number="ABCD2345",
                state=RmaState.RESOLVED,
                policy_id=ids.policy,
                decision=b"{}",
                form_token="form",
                requested_at=START,
            )
        )
        session.flush()
        session.add_all(
            [
                ContactRow(rma_id=ids.rma, sealed=b"x"),
                StatusLink(rma_id=ids.rma, digest=ids.rma.hex, made_at=START),
                MailedCode(shop_id=ids.shop, order_ref="1001", digest="x", made_at=START),
                StaffLink(staff_id=ids.staff, digest=ids.staff.hex, made_at=START),
                Mail(shop_id=ids.shop, rma_id=ids.rma, event="requested", once=ids.rma.hex, message_id=ids.rma.hex, made_at=START),
                RmaLine(id=ids.line, rma_id=ids.rma, line_ref="line-1", quantity=1, reason="", condition=""),
                Resolution(
                    id=ids.resolution,
                    shop_id=ids.shop,
                    rma_id=ids.rma,
                    order_ref="1001",
                    kind=MoneyKind.REFUND,
                    currency="EUR",
                    total=1200,
                    deducted=0,
                    bonus=0,
                    quote=b"{}",
                    booked=b"{}",
                    form_token="form",
                    decided_by="sam",
                    decided_at=START,
                ),
                Entry(
                    id=ids.entry,
                    shop_id=ids.shop,
                    rma_id=ids.rma,
                    happened_at=START,
                    who="sam",
                    what="x",
                    for_shopper=False,
                    commitment=b"",
                ),
            ]
        )
        session.flush()
        settled = {"state": MoneyState.SETTLED, "platform_reference": "re_1"}
        session.execute(insert(Refund).values(a_refund(ids, id=ids.refund, **settled)))
        session.execute(insert(Refund).values(a_refund(ids, id=ids.again, made_again_from=ids.refund)))
        session.add_all(
            [
                Units(rma_line_id=ids.line, disposition=Disposition.RESTOCK, quantity=1),
                Credit(id=ids.credit, shop_id=ids.shop, refund_id=ids.refund, code="x", minor=1200, currency="EUR", issued_at=START),
                EntryText(entry_id=ids.entry, salt=b"", text="{}"),
                Unsealed(entry_id=ids.entry, shop_id=ids.shop),
                Seal(shop_id=ids.shop, position=1, entry_id=ids.entry, hash=b"x"),
                ReceiptRow(
                    shop_id=ids.shop,
                    refund_id=ids.refund,
                    attempt=1,
                    reference="re_1",
                    minor=1200,
                    currency="EUR",
                    recorded_at=START,
                    recorded_by="machine",
                ),
            ]
        )
        session.flush()
        session.add(CreditUseRow(shop_id=ids.shop, credit_id=ids.credit, order_ref="1002", next_code="x-2"))


@pytest.fixture
def filled(database: Database) -> tuple[Database, Ids]:
    """The newest version with something in every table."""
    ids = Ids()
    migrate.to(database)
    fill(database, ids)
    return database, ids


def rows(database: Database) -> dict[str, int]:
    with database.reading() as session:
        return {name: session.execute(select(func.count()).select_from(table)).scalar_one() for name, table in Base.metadata.tables.items()}


def tables(database: Database) -> set[str]:
    with database.reading() as session:
        return set(inspect(session.connection()).get_table_names())


# ── There and back ──────────────────────────────────────────────────────────────────────────────────────────────────


def test_an_empty_database_is_brought_to_the_newest_version(database: Database) -> None:
    assert revisions.current(database) is None

    migrate.to(database)

    assert revisions.current(database) == revisions.newest()
    assert tables(database) == {*Base.metadata.tables, "alembic_version"}
    migrate.to(database)  # again: nothing to do
    assert revisions.current(database) == revisions.newest()


def test_models_and_migrations_agree(database: Database) -> None:
    migrate.to(database)

    assert migrate.drift(database) == []
    assert checks_of(database) == {
        name: {str(each.name) for each in table.constraints if isinstance(each, CheckConstraint)}
        for name, table in Base.metadata.tables.items()
    }


def checks_of(database: Database) -> dict[str, set[str]]:
    """The CHECK constraints, which Alembic does not compare."""
    with database.reading() as session:
        inspector = inspect(session.connection())
        return {name: {str(check["name"]) for check in inspector.get_check_constraints(name)} for name in Base.metadata.tables}


@pytest.mark.parametrize(
    "change",
    [
        "ALTER TABLE shops ADD COLUMN extra VARCHAR",
        "ALTER TABLE shops DROP COLUMN paused_until",
        "DROP INDEX ix_refunds_of_order",
        "DROP TABLE alarms",
    ],
)
def test_a_drift_would_be_found(database: Database, change: str) -> None:
    migrate.to(database)
    with database.transaction() as session:
        session.execute(text(change))

    assert migrate.drift(database)


def test_down_to_the_ground_and_up_again_with_something_in_every_table(filled: tuple[Database, Ids]) -> None:
    database, _ = filled
    assert min(rows(database).values()) >= 1

    migrate.back(database)
    left, functions = tables(database), own_functions(database)
    migrate.to(database)

    assert left == {"alembic_version"}
    assert functions == 0
    assert set(rows(database).values()) == {0}
    assert migrate.drift(database) == []
    fill(database, Ids())


def own_functions(database: Database) -> int:
    if database.dialect == "sqlite":
        return 0
    with database.reading() as session:
        query = "SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
        count: int = session.execute(text(query)).scalar_one()
        return count


# ── Several at once ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_processes_that_migrate_at_once_wait_for_each_other(database: Database, database_url: str) -> None:
    outcome = together(migrate_now, [(database_url,)] * 3)

    assert outcome == [revisions.newest()] * 3
    assert migrate.drift(database) == []


def migrate_now(meet: Callable[[], object], url: str) -> str | None:
    database = Database(url, patience=0.05)  # a migration is waited for longer than that
    meet()
    migrate.to(database)
    return revisions.current(database)


def test_a_migration_waits_for_a_long_one_with_more_patience_than_a_writer_has(database: Database, database_url: str) -> None:
    with child(be_slow, database_url) as process:
        process.hear()
        with child(migrate_alone, database_url) as other:
            other.hear()
            assert not other._connection.poll(0.5)  # two and a half times a writer's patience
            process.tell("go on")
            assert other.result() == revisions.newest()
        process.result()


def be_slow(link: Link, url: str) -> None:
    database = Database(url, patience=0.2)
    with database.migrating():
        link.say("at it")
        link.hear()


def migrate_alone(link: Link, url: str) -> str | None:
    database = Database(url, patience=0.2)
    link.say("waiting")
    migrate.to(database)
    return revisions.current(database)


# ── F48: half way ───────────────────────────────────────────────────────────────────────────────────────────────────


def next_step(directory: Path, body: str) -> Path:
    """A migration after the newest one, in a place of its own."""
    head = f'import os\nimport sqlalchemy as sa\nfrom alembic import op\nrevision = "next"\ndown_revision = "{revisions.newest()}"\n'
    (directory / "next.py").write_text(head + "def upgrade():\n" + textwrap.indent(textwrap.dedent(body).strip(), "    "), encoding="utf-8")
    return directory


def go_on(database: Database, place: Path) -> None:
    """`migrate.to`, with the steps that lie in `place` too."""
    with database.migrating() as connection:
        config = migrate._config(connection)
        config.set_main_option("version_locations", os.pathsep.join([str(ROOT / "connector/migrations/versions"), str(place)]))
        command.upgrade(config, "head")


HALF = """
op.create_table("half", sa.Column("id", sa.Integer(), primary_key=True))
op.execute("INSERT INTO half VALUES (1)")
op.add_column("shops", sa.Column("extra", sa.String()))
op.execute("UPDATE shops SET domain = 'changed'")
"""


def is_untouched(database: Database) -> bool:
    with database.reading() as session:
        domains = session.execute(select(Shop.domain)).scalars().all()
    untouched = revisions.current(database) == revisions.newest() and "half" not in tables(database) and domains == ["one.example"]
    return untouched and migrate.drift(database) == []


@pytest.mark.parametrize("end", ["op.execute('SELECT nothing FROM nowhere')", "raise ZeroDivisionError"])
def test_f48_a_migration_that_fails_half_way_leaves_the_old_version(filled: tuple[Database, Ids], tmp_path: Path, end: str) -> None:
    database, _ = filled

    with pytest.raises((DBAPIError, ZeroDivisionError)):
        go_on(database, next_step(tmp_path, HALF + end))

    assert is_untouched(database)
    with database.transaction() as session:  # the turn, the lock and the connection are free
        session.execute(text("UPDATE shops SET time_zone = 'Europe/Zurich'"))


def test_f48_a_migration_that_is_killed_half_way_leaves_the_old_version_and_can_be_run_again(
    filled: tuple[Database, Ids], database_url: str, tmp_path: Path
) -> None:
    database, _ = filled
    place = next_step(tmp_path, HALF + "os._exit(137) if os.environ.get('DIE') else None")

    with child(die_half_way, database_url, place) as process:
        process._process.join(60)
        assert process._process.exitcode == 137
    untouched = is_untouched(database)
    go_on(database, place)

    assert untouched
    assert revisions.current(database) == "next"
    assert "half" in tables(database)


def die_half_way(_link: Link, url: str, place: Path) -> None:
    os.environ["DIE"] = "1"
    go_on(Database(url), place)


def test_a_table_that_others_refer_to_can_be_made_anew(filled: tuple[Database, Ids], tmp_path: Path) -> None:
    """SQLite changes a column by copying its table, and refuses to drop the old one while references are checked."""
    database, _ = filled
    before = rows(database)
    widen = """
    with op.batch_alter_table("shops") as shops:
        shops.alter_column("time_zone", type_=sa.String(64), existing_type=sa.String())
    """

    go_on(database, next_step(tmp_path, widen))

    assert rows(database) == before
    with pytest.raises(IntegrityError), database.transaction() as session:  # checked again afterwards
        session.execute(insert(OrderRow).values(shop_id=uuid.uuid4(), ref="orphan", lock_version=0))


def test_a_migration_that_leaves_orphans_is_taken_back(filled: tuple[Database, Ids], tmp_path: Path) -> None:
    database, _ = filled

    with pytest.raises((IntegrityError, RuntimeError), match=r"refer|foreign key"):
        go_on(database, next_step(tmp_path, HALF + "op.execute(sa.table('shops').delete())"))

    assert is_untouched(database)


# ── Append-only ─────────────────────────────────────────────────────────────────────────────────────────────────────

CHANGES = {
    "receipts": "minor = 1",
    "timeline": "who = 'nobody'",
    "seals": "position = 2",
}


@pytest.mark.parametrize("table", sorted(CHANGES))
def test_r3_evidence_can_neither_be_changed_nor_deleted(filled: tuple[Database, Ids], table: str) -> None:
    database, _ = filled
    statements = [f"UPDATE {table} SET {CHANGES[table]}", f"DELETE FROM {table}"]  # noqa: S608 - of this test
    if database.dialect == "postgresql":
        statements.append(f"TRUNCATE {table} CASCADE")
    else:
        statements.append(f"INSERT OR REPLACE INTO {table} SELECT * FROM {table}")  # noqa: S608 - of this test
    before = rows(database)

    for statement in statements:
        with pytest.raises(IntegrityError, match=f"{table} is append-only"), database.transaction() as session:
            session.execute(text(statement))

    assert rows(database) == before


def test_what_is_append_only_is_still_appended_to(filled: tuple[Database, Ids]) -> None:
    database, ids = filled

    with database.transaction() as session:
        receipt = {"attempt": 2, "reference": "re_2", "minor": 1, "currency": "EUR", "recorded_at": START, "recorded_by": "sam"}
        session.execute(insert(ReceiptRow).values(id=uuid.uuid4(), shop_id=ids.shop, refund_id=ids.refund, **receipt))

    assert rows(database)["receipts"] == 2


# ── What a money row refuses ────────────────────────────────────────────────────────────────────────────────────────

ASKED = {"asked_first_at": START, "asked_first_attempt": 1, "marked_at": START, "quiet_until": START, "attempt": 1}
NONSENSE: dict[str, list[dict[str, Any]]] = {
    "ck_refunds_positive": [{"minor": 0}, {"minor": -1}],
    "ck_refunds_deducted_not_negative": [{"deducted": -1}],
    "ck_refunds_settled_has_reference": [
        {"state": MoneyState.SETTLED},
        *({"state": state, "platform_reference": "re_9"} for state in (MoneyState.PENDING, MoneyState.REFUSED)),
        {"state": MoneyState.PARKED, "parked_because": "x", "platform_reference": "re_9"},
        {**ASKED, "state": MoneyState.SENT, "platform_reference": "re_9"},
    ],
    "ck_refunds_parked_says_why": [
        {"state": MoneyState.PARKED},
        {"state": MoneyState.PENDING, "parked_because": "x"},
        {"state": MoneyState.SETTLED, "platform_reference": "re_9", "parked_because": "x"},
    ],
    "ck_refunds_sent_was_asked": [{"state": MoneyState.SENT}],
    "ck_refunds_pending_was_not_asked": [{**ASKED, "state": MoneyState.PENDING}],
    "ck_refunds_asked_by_an_attempt": [
        {**ASKED, "state": MoneyState.SENT, "asked_first_attempt": None},
        {"state": MoneyState.REFUSED, "asked_first_attempt": 1, "attempt": 1},
    ],
    "ck_refunds_asked_before_now": [{**ASKED, "state": MoneyState.SENT, "asked_first_attempt": 2}],
    "ck_refunds_asked_was_marked": [
        {**ASKED, "state": MoneyState.SENT, "marked_at": None},
        {**ASKED, "state": MoneyState.SENT, "quiet_until": None},
    ],
    "ck_refunds_reference_says_something": [{"state": MoneyState.SETTLED, "platform_reference": ""}],
    "uq_refunds_one_row_per_receipt": [{"state": MoneyState.SETTLED, "platform_reference": "re_1"}],
    "uq_refunds_made_again_once": [{"made_again_from": "refund"}],
}
COLUMNS = {"uq_refunds_one_row_per_receipt": "refunds.platform_reference", "uq_refunds_made_again_once": "refunds.made_again_from"}


@pytest.mark.parametrize("constraint", sorted(NONSENSE))
def test_a_money_row_refuses_nonsense(filled: tuple[Database, Ids], constraint: str) -> None:
    database, ids = filled
    named = f"{constraint}|{COLUMNS.get(constraint, constraint)}"  # SQLite names the columns of a unique one

    for values in NONSENSE[constraint]:
        known = {"made_again_from": ids.refund} if "made_again_from" in values else {}
        with pytest.raises(IntegrityError, match=named), database.transaction() as session:
            session.execute(insert(Refund).values(a_refund(ids, **values) | known))

    assert rows(database)["refunds"] == 2


def test_two_requests_for_one_order_are_never_under_way_at_once(filled: tuple[Database, Ids]) -> None:
    database, ids = filled

    with database.transaction() as session:
        session.execute(insert(Refund).values(a_refund(ids, **ASKED, state=MoneyState.SENT)))
    with pytest.raises(IntegrityError, match=r"uq_refunds_one_sent|refunds\.order_ref"), database.transaction() as session:
        session.execute(insert(Refund).values(a_refund(ids, **ASKED, state=MoneyState.SENT)))

    assert rows(database)["refunds"] == 3


def test_a_return_has_one_decision_that_stands(filled: tuple[Database, Ids]) -> None:
    database, ids = filled
    with database.reading() as session:
        first = session.get_one(Resolution, ids.resolution)
        again = {column.name: getattr(first, column.name) for column in Resolution.__table__.columns} | {
            "id": uuid.uuid4(),
            "form_token": "2",
        }

    with pytest.raises(IntegrityError, match=r"uq_resolutions_one_standing|resolutions\.rma_id"), database.transaction() as session:
        session.execute(insert(Resolution).values(again))
    with database.transaction() as session:
        session.execute(insert(Resolution).values(again | {"voided_at": START}))


def test_every_constraint_of_a_money_row_is_tried() -> None:
    kinds = (CheckConstraint, UniqueConstraint)

    assert {str(each.name) for each in Refund.metadata.tables["refunds"].constraints if isinstance(each, kinds)} == set(NONSENSE)


@pytest.mark.parametrize(
    "values",
    [
        {},
        {**ASKED, "state": MoneyState.SENT},
        {"state": MoneyState.SETTLED, "platform_reference": "re_2"},
        {**ASKED, "state": MoneyState.PARKED, "parked_because": "outcome_unknown"},
        {"state": MoneyState.REFUSED, "words": "the gateway says no"},
    ],
)
def test_a_money_row_takes_what_happens(filled: tuple[Database, Ids], values: dict[str, Any]) -> None:
    database, ids = filled

    with database.transaction() as session:
        session.execute(insert(Refund).values(a_refund(ids, **values)))

    assert rows(database)["refunds"] == 3


def test_one_reference_may_be_used_in_two_shops(filled: tuple[Database, Ids]) -> None:
    database, _ = filled
    other = Ids()

    with database.transaction() as session:
        session.execute(text("UPDATE shops SET domain = 'two.example'"))
    fill(database, other)

    assert rows(database)["refunds"] == 4


@pytest.mark.parametrize(
    ("row", "constraint"),
    [
        (Resolution, "ck_resolutions_not_negative"),
        (RmaLine, "ck_rma_lines_positive"),
        (Units, "ck_units_positive"),
        (Spending, "ck_spending_not_negative"),
    ],
)
def test_no_quantity_and_no_sum_is_negative(filled: tuple[Database, Ids], row: type[Base], constraint: str) -> None:
    database, _ = filled
    column = {"resolutions": "bonus", "spending": "minor"}.get(row.__tablename__, "quantity")

    with pytest.raises(IntegrityError, match=constraint), database.transaction() as session:
        session.execute(text(f"UPDATE {row.__tablename__} SET {column} = -1"))  # noqa: S608 - of this test


def test_every_row_belongs_to_a_shop_an_order_and_a_case_that_exist(filled: tuple[Database, Ids]) -> None:
    database, ids = filled
    orphans: list[dict[str, Any]] = [
        {"shop_id": uuid.uuid4()},
        {"order_ref": "9999"},
        {"resolution_id": uuid.uuid4()},
        {"made_again_from": uuid.uuid4()},
    ]

    for orphan in orphans:
        with pytest.raises(IntegrityError, match=r"(?i)foreign key"), database.transaction() as session:
            session.execute(insert(Refund).values(a_refund(ids, **orphan)))


# ── Large numbers, and times ────────────────────────────────────────────────────────────────────────────────────────


def test_a84_every_whole_number_has_room_for_more_than_32_bits(filled: tuple[Database, Ids]) -> None:
    database, ids = filled
    large = 2**62

    with database.transaction() as session:
        large_row = a_refund(
            ids, **ASKED | {"minor": large, "deducted": large, "attempt": large, "asked_first_attempt": large, "state": MoneyState.SENT}
        )
        session.execute(insert(Refund).values(large_row))
        session.execute(text("UPDATE orders SET lock_version = 4611686018427387904"))
    with database.reading() as session:
        row = session.execute(select(Refund).where(Refund.minor == large)).scalar_one()
        inspector = inspect(session.connection())
        integers = {
            f"{table}.{column['name']}": column["type"]
            for table in Base.metadata.tables
            for column in inspector.get_columns(table)
            if isinstance(column["type"], Integer)
        }
        assert session.execute(select(OrderRow.lock_version)).scalar_one() == large

    assert (row.deducted, row.attempt, row.asked_first_attempt) == (large, large, large)
    assert len(integers) >= 15
    assert {name for name, type_ in integers.items() if not isinstance(type_, BigInteger)} == set()


def test_a_number_that_does_not_fit_is_refused_and_never_cut(filled: tuple[Database, Ids]) -> None:
    database, ids = filled

    with pytest.raises((DBAPIError, OverflowError)), database.transaction() as session:
        session.execute(insert(Refund).values(a_refund(ids, minor=2**63)))

    assert rows(database)["refunds"] == 2


def test_times_come_back_aware_in_utc_to_the_microsecond_whatever_zone_they_were_given_in(filled: tuple[Database, Ids]) -> None:
    database, ids = filled
    at = START.replace(microsecond=123456)

    with database.transaction() as session:
        session.get_one(Refund, ids.again).reserved_at = at.astimezone(ZoneInfo("Asia/Kathmandu"))
    with database.reading() as session:
        found = session.get_one(Refund, ids.again).reserved_at

    assert found == at
    assert found.utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_refused(filled: tuple[Database, Ids]) -> None:
    database, ids = filled

    with pytest.raises(Exception, match="a time without a zone"), database.transaction() as session:
        session.execute(insert(Refund).values(a_refund(ids, reserved_at=START.replace(tzinfo=None))))


def test_the_names_of_the_files_say_what_alembic_knows() -> None:
    steps = list(ScriptDirectory.from_config(migrate._config(None)).walk_revisions())

    assert revisions.newest() == steps[0].revision
    assert all(revisions.knows(step.revision) for step in steps)
    assert not revisions.knows("9999")
