"""Connected shops: installs, deliveries, how far a shop is read, store credit."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op
from sqlalchemy.types import TypeEngine

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_SHOPS: dict[str, TypeEngine[Any]] = {
    "uninstalled_at": _TIME, "redacted_at": _TIME, "door": sa.String(), "facts": sa.JSON(), "trouble": sa.String(),
    "trouble_detail": sa.String(),
}  # fmt: skip


def upgrade() -> None:
    """One step forward; works beside the running version, which knows none of it."""
    for name, kind in _SHOPS.items():
        op.add_column("shops", sa.Column(name, kind, nullable=True))
    op.create_index("uq_shops_door", "shops", ["door"], unique=True)
    op.add_column("orders", sa.Column("gone_at", _TIME, nullable=True))
    _installs()
    _hints()
    _syncs()
    _credits()


def downgrade() -> None:
    """One step back; what only the newer version knew is lost."""
    for table in ("credit_uses", "credits", "syncs", "hints", "installs"):
        op.drop_table(table)
    op.drop_column("orders", "gone_at")
    op.drop_index("uq_shops_door", table_name="shops")
    for name in reversed(_SHOPS):
        op.drop_column("shops", name)


def _installs() -> None:
    op.create_table(
        "installs",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("state_digest", sa.String(), nullable=False),
        sa.Column("platform", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("begun_at", _TIME, nullable=False),
        sa.Column("grant", sa.LargeBinary(), nullable=True),
        sa.Column("granted_at", _TIME, nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("shop_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_installs_shop_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_installs")),
        sa.UniqueConstraint("state_digest", name=op.f("uq_installs_one_per_state")),
    )
    op.create_index("ix_installs_begun_at", "installs", ["begun_at"], unique=False)


def _hints() -> None:
    op.create_table(
        "hints",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("delivery", sa.String(), nullable=True),
        sa.Column("body", sa.LargeBinary(), nullable=True),
        sa.Column("received_at", _TIME, nullable=False),
        sa.Column("taken_at", _TIME, nullable=True),
        sa.Column("ref", sa.String(), nullable=True),
        sa.Column("sweep", sa.Boolean(), nullable=False),
        sa.Column("poisoned_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_hints_shop_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hints")),
    )
    pending, poisoned = sa.text("taken_at IS NULL"), sa.text("poisoned_at IS NOT NULL")
    op.create_index(
        "uq_hints_pending", "hints", ["shop_id", "topic", "digest"], unique=True, sqlite_where=pending, postgresql_where=pending
    )
    op.create_index("uq_hints_delivery", "hints", ["shop_id", "delivery"], unique=True)
    op.create_index("ix_hints_shop_id_taken_at", "hints", ["shop_id", "taken_at"], unique=False)
    op.create_index("ix_hints_poisoned_at", "hints", ["poisoned_at"], unique=False, sqlite_where=poisoned, postgresql_where=poisoned)


def _syncs() -> None:
    op.create_table(
        "syncs",
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("watermark", _TIME, nullable=False),
        sa.Column("poll_at", _TIME, nullable=False),
        sa.Column("polled_at", _TIME, nullable=True),
        sa.Column("probe_at", _TIME, nullable=False),
        sa.Column("probed_at", _TIME, nullable=True),
        sa.Column("deliveries_ok", sa.Boolean(), nullable=True),
        sa.Column("deliveries_mended", sa.BigInteger(), nullable=False),
        sa.Column("import_cursor", sa.String(), nullable=True),
        sa.Column("imported", sa.BigInteger(), nullable=False),
        sa.Column("imported_until", _TIME, nullable=True),
        sa.Column("import_done_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_syncs_shop_id")),
        sa.PrimaryKeyConstraint("shop_id", name=op.f("pk_syncs")),
    )
    op.create_index("ix_syncs_poll_at", "syncs", ["poll_at"], unique=False)
    op.create_index("ix_syncs_probe_at", "syncs", ["probe_at"], unique=False)


def _credits() -> None:
    op.create_table(
        "credits",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("refund_id", sa.Uuid(), nullable=False),
        sa.Column("code", sa.String(), nullable=False),
        sa.Column("minor", sa.BigInteger(), nullable=False),
        sa.Column("currency", sa.String(), nullable=False),
        sa.Column("issued_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_credits_shop_id")),
        sa.ForeignKeyConstraint(["refund_id"], ["refunds.id"], name=op.f("fk_credits_refund_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credits")),
        sa.UniqueConstraint("shop_id", "code", name=op.f("uq_credits_one_per_code")),
    )
    op.create_index("ix_credits_refund_id", "credits", ["refund_id"], unique=False)
    op.create_table(
        "credit_uses",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("credit_id", sa.Uuid(), nullable=False),
        sa.Column("order_ref", sa.String(), nullable=False),
        sa.Column("next_code", sa.String(), nullable=False),
        sa.Column("use", sa.String(32), nullable=False),
        sa.Column("seen_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_credit_uses_shop_id")),
        sa.ForeignKeyConstraint(["credit_id"], ["credits.id"], name=op.f("fk_credit_uses_credit_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_credit_uses")),
        sa.UniqueConstraint("credit_id", "order_ref", name=op.f("uq_credit_uses_one_per_order")),
        sa.UniqueConstraint("shop_id", "next_code", name=op.f("uq_credit_uses_one_per_next_code")),
    )
    op.create_index("ix_credit_uses_of_order", "credit_uses", ["shop_id", "order_ref"], unique=False)
