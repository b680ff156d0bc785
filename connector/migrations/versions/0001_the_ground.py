"""The ground: shops, policies, orders, RMAs, money, outbox, timeline."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

APPEND_ONLY = ("receipts", "timeline", "seals")


def upgrade() -> None:
    """One step forward; works beside the running version."""
    op.create_table(
        "shops",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("platform", sa.String(), nullable=False),
        sa.Column("domain", sa.String(), nullable=False),
        sa.Column("status", sa.String(32), nullable=False),
        sa.Column("credentials", sa.LargeBinary(), nullable=False),
        sa.Column("connected_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("time_zone", sa.String(), nullable=False),
        sa.Column("paused_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("installed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_shops")),
        sa.UniqueConstraint("platform", "domain", name=op.f("uq_shops_one_per_domain")),
    )
    op.create_table(
        "alarms",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.Column("raised_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("cleared_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("cleared_by", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_alarms_shop_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alarms")),
        sa.UniqueConstraint("shop_id", "kind", "subject", name=op.f("uq_alarms_once")),
    )
    op.create_table(
        "orders",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("ref", sa.String(), nullable=False),
        sa.Column("lock_version", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.String(), nullable=True),
        sa.Column("snapshot", sa.LargeBinary(), nullable=True),
        sa.Column("read_began_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("email_digest", sa.String(), nullable=True),
        sa.Column("postal_digest", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_orders_shop_id")),
        sa.PrimaryKeyConstraint("shop_id", "ref", name=op.f("pk_orders")),
    )
    op.create_index("ix_orders_look_up", "orders", ["shop_id", "number", "email_digest"], unique=False)

    op.create_table(
        "outbox",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("subject_id", sa.Uuid(), nullable=False),
        sa.Column("put_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("available_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("leased_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("parked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("parked_because", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_outbox_shop_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_outbox")),
    )
    op.create_index("ix_outbox_done", "outbox", ["done_at"], unique=False)
    op.create_index(
        "ix_outbox_due",
        "outbox",
        ["shop_id", "available_at"],
        unique=False,
        sqlite_where=sa.text("done_at IS NULL AND parked_at IS NULL"),
        postgresql_where=sa.text("done_at IS NULL AND parked_at IS NULL"),
    )

    op.create_table(
        "policies",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.BigInteger(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("effective_from", sa.Date(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("published_by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_policies_shop_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_policies")),
        sa.UniqueConstraint("shop_id", "version", name=op.f("uq_policies_one_per_version")),
    )
    op.create_index("ix_policies_in_force", "policies", ["shop_id", "effective_from", "version"], unique=False)

    op.create_table(
        "spending",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("minor", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("minor >= 0", name=op.f("ck_spending_not_negative")),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_spending_shop_id")),
        sa.PrimaryKeyConstraint("shop_id", "day", "currency", name=op.f("pk_spending")),
    )
    op.create_table(
        "rmas",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("order_ref", sa.String(), nullable=False),
        sa.Column("number", sa.String(), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("policy_id", sa.Uuid(), nullable=False),
        sa.Column("decision", sa.LargeBinary(), nullable=False),
        sa.Column("form_token", sa.String(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_on", sa.Date(), nullable=True),
        sa.Column("platform_return_ref", sa.String(), nullable=True),
        sa.ForeignKeyConstraint(["policy_id"], ["policies.id"], name=op.f("fk_rmas_policy_id")),
        sa.ForeignKeyConstraint(["shop_id", "order_ref"], ["orders.shop_id", "orders.ref"], name=op.f("fk_rmas_shop_id_order_ref")),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_rmas_shop_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rmas")),
        sa.UniqueConstraint("shop_id", "form_token", name=op.f("uq_rmas_one_per_form")),
        sa.UniqueConstraint("shop_id", "number", name=op.f("uq_rmas_one_per_number")),
    )
    op.create_index("ix_rmas_of_order", "rmas", ["shop_id", "order_ref"], unique=False)

    op.create_table(
        "contacts",
        sa.Column("rma_id", sa.Uuid(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["rma_id"], ["rmas.id"], name=op.f("fk_contacts_rma_id")),
        sa.PrimaryKeyConstraint("rma_id", name=op.f("pk_contacts")),
    )
    op.create_table(
        "resolutions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("rma_id", sa.Uuid(), nullable=False),
        sa.Column("order_ref", sa.String(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("total", sa.BigInteger(), nullable=False),
        sa.Column("deducted", sa.BigInteger(), nullable=False),
        sa.Column("bonus", sa.BigInteger(), nullable=False),
        sa.Column("quote", sa.LargeBinary(), nullable=False),
        sa.Column("booked", sa.LargeBinary(), nullable=False),
        sa.Column("form_token", sa.String(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("confirmed_by", sa.String(), nullable=True),
        sa.Column("voided_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("total >= 0 AND deducted >= 0 AND bonus >= 0", name=op.f("ck_resolutions_not_negative")),
        sa.ForeignKeyConstraint(["rma_id"], ["rmas.id"], name=op.f("fk_resolutions_rma_id")),
        sa.ForeignKeyConstraint(["shop_id", "order_ref"], ["orders.shop_id", "orders.ref"], name=op.f("fk_resolutions_shop_id_order_ref")),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_resolutions_shop_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_resolutions")),
        sa.UniqueConstraint("shop_id", "form_token", name=op.f("uq_resolutions_one_per_form")),
    )
    op.create_index("ix_resolutions_of_order", "resolutions", ["shop_id", "order_ref"], unique=False)
    op.create_index("ix_resolutions_rma_id", "resolutions", ["rma_id"], unique=False)
    standing = sa.text("voided_at IS NULL")
    op.create_index("uq_resolutions_one_standing", "resolutions", ["rma_id"], unique=True, sqlite_where=standing, postgresql_where=standing)

    op.create_table(
        "rma_lines",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rma_id", sa.Uuid(), nullable=False),
        sa.Column("line_ref", sa.String(), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("condition", sa.String(), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_rma_lines_positive")),
        sa.ForeignKeyConstraint(["rma_id"], ["rmas.id"], name=op.f("fk_rma_lines_rma_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rma_lines")),
        sa.UniqueConstraint("rma_id", "line_ref", name=op.f("uq_rma_lines_one_per_line")),
    )
    op.create_index("ix_rma_lines_rma_id", "rma_lines", ["rma_id"], unique=False)

    op.create_table(
        "timeline",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("rma_id", sa.Uuid(), nullable=True),
        sa.Column("happened_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("who", sa.String(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("for_shopper", sa.Boolean(), nullable=False),
        sa.Column("commitment", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["rma_id"], ["rmas.id"], name=op.f("fk_timeline_rma_id")),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_timeline_shop_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_timeline")),
    )
    op.create_index("ix_timeline_of_rma", "timeline", ["rma_id", "happened_at"], unique=False)
    op.create_index("ix_timeline_of_shop", "timeline", ["shop_id", "happened_at"], unique=False)

    op.create_table(
        "refunds",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("resolution_id", sa.Uuid(), nullable=False),
        sa.Column("order_ref", sa.String(), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("minor", sa.BigInteger(), nullable=False),
        sa.Column("deducted", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("instruction", sa.LargeBinary(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("marked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("quiet_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("asked_first_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("asked_first_attempt", sa.BigInteger(), nullable=True),
        sa.Column("before", sa.LargeBinary(), nullable=True),
        sa.Column("platform_reference", sa.String(), nullable=True),
        sa.Column("parked_because", sa.String(), nullable=True),
        sa.Column("words", sa.String(), nullable=True),
        sa.Column("reserved_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("made_again_from", sa.Uuid(), nullable=True),
        sa.CheckConstraint("(state = 'parked') = (parked_because IS NOT NULL)", name=op.f("ck_refunds_parked_says_why")),
        sa.CheckConstraint("(state = 'settled') = (platform_reference IS NOT NULL)", name=op.f("ck_refunds_settled_has_reference")),
        sa.CheckConstraint("state <> 'sent' OR asked_first_at IS NOT NULL", name=op.f("ck_refunds_sent_was_asked")),
        sa.CheckConstraint("state <> 'pending' OR asked_first_at IS NULL", name=op.f("ck_refunds_pending_was_not_asked")),
        sa.CheckConstraint("(asked_first_at IS NULL) = (asked_first_attempt IS NULL)", name=op.f("ck_refunds_asked_by_an_attempt")),
        sa.CheckConstraint("asked_first_attempt IS NULL OR asked_first_attempt <= attempt", name=op.f("ck_refunds_asked_before_now")),
        sa.CheckConstraint(
            "asked_first_at IS NULL OR (marked_at IS NOT NULL AND quiet_until IS NOT NULL)", name=op.f("ck_refunds_asked_was_marked")
        ),
        sa.CheckConstraint("platform_reference IS NULL OR platform_reference <> ''", name=op.f("ck_refunds_reference_says_something")),
        sa.CheckConstraint("deducted >= 0", name=op.f("ck_refunds_deducted_not_negative")),
        sa.CheckConstraint("minor > 0", name=op.f("ck_refunds_positive")),
        sa.ForeignKeyConstraint(["made_again_from"], ["refunds.id"], name=op.f("fk_refunds_made_again_from")),
        sa.ForeignKeyConstraint(["resolution_id"], ["resolutions.id"], name=op.f("fk_refunds_resolution_id")),
        sa.ForeignKeyConstraint(["shop_id", "order_ref"], ["orders.shop_id", "orders.ref"], name=op.f("fk_refunds_shop_id_order_ref")),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_refunds_shop_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refunds")),
        sa.UniqueConstraint("made_again_from", name=op.f("uq_refunds_made_again_once")),
        sa.UniqueConstraint("shop_id", "platform_reference", name=op.f("uq_refunds_one_row_per_receipt")),
    )
    op.create_index("ix_refunds_by_state", "refunds", ["shop_id", "state"], unique=False)
    sent = sa.text("state = 'sent'")
    op.create_index("uq_refunds_one_sent", "refunds", ["shop_id", "order_ref"], unique=True, sqlite_where=sent, postgresql_where=sent)
    op.create_index("ix_refunds_of_order", "refunds", ["shop_id", "order_ref"], unique=False)
    op.create_index("ix_refunds_resolution_id", "refunds", ["resolution_id"], unique=False)

    op.create_table(
        "seals",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["entry_id"], ["timeline.id"], name=op.f("fk_seals_entry_id")),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_seals_shop_id")),
        sa.PrimaryKeyConstraint("shop_id", "position", name=op.f("pk_seals")),
        sa.UniqueConstraint("entry_id", name=op.f("uq_seals_sealed_once")),
    )
    op.create_table(
        "timeline_texts",
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["entry_id"], ["timeline.id"], name=op.f("fk_timeline_texts_entry_id")),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_timeline_texts")),
    )
    op.create_table(
        "units",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rma_line_id", sa.Uuid(), nullable=False),
        sa.Column("disposition", sa.String(32), nullable=False),
        sa.Column("quantity", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("quantity > 0", name=op.f("ck_units_positive")),
        sa.ForeignKeyConstraint(["rma_line_id"], ["rma_lines.id"], name=op.f("fk_units_rma_line_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_units")),
        sa.UniqueConstraint("rma_line_id", "disposition", name=op.f("uq_units_one_per_disposition")),
    )
    op.create_index("ix_units_rma_line_id", "units", ["rma_line_id"], unique=False)

    op.create_table(
        "unsealed",
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(["entry_id"], ["timeline.id"], name=op.f("fk_unsealed_entry_id")),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_unsealed_shop_id")),
        sa.PrimaryKeyConstraint("entry_id", name=op.f("pk_unsealed")),
    )
    op.create_index("ix_unsealed_of_shop", "unsealed", ["shop_id"], unique=False)

    op.create_table(
        "receipts",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("refund_id", sa.Uuid(), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("reference", sa.String(), nullable=False),
        sa.Column("minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("recorded_by", sa.String(), nullable=False),
        sa.ForeignKeyConstraint(["refund_id"], ["refunds.id"], name=op.f("fk_receipts_refund_id")),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_receipts_shop_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_receipts")),
        sa.UniqueConstraint("refund_id", "reference", name=op.f("uq_receipts_once")),
    )
    op.create_index("ix_receipts_refund_id", "receipts", ["refund_id"], unique=False)
    _protect()


def downgrade() -> None:
    """The same step back."""
    _unprotect()
    for table in (
        "receipts",
        "unsealed",
        "units",
        "timeline_texts",
        "seals",
        "refunds",
        "timeline",
        "rma_lines",
        "resolutions",
        "contacts",
        "rmas",
        "spending",
        "policies",
        "outbox",
        "orders",
        "alarms",
        "shops",
    ):
        op.drop_table(table)


def _protect() -> None:
    """Receipts, the timeline and its seals are append-only: the database itself refuses to change or delete a row."""
    if op.get_bind().dialect.name == "postgresql":
        op.execute(
            "CREATE FUNCTION append_only() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME USING ERRCODE = 'integrity_constraint_violation'; END $$"
        )
        for table in APPEND_ONLY:
            op.execute(f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION append_only()")
            op.execute(f"CREATE TRIGGER append_only_all BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION append_only()")
    else:
        for table in APPEND_ONLY:
            for verb in ("UPDATE", "DELETE"):
                op.execute(
                    f"CREATE TRIGGER append_only_{table}_{verb.lower()} BEFORE {verb} ON {table} "
                    f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
                )


def _unprotect() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for table in APPEND_ONLY:
            op.execute(f"DROP TRIGGER append_only ON {table}")
            op.execute(f"DROP TRIGGER append_only_all ON {table}")
        op.execute("DROP FUNCTION append_only()")
    else:
        for table in APPEND_ONLY:
            for verb in ("update", "delete"):
                op.execute(f"DROP TRIGGER append_only_{table}_{verb}")
