"""Pages: a handle for each shop, links, budgets, mailed codes, staff, mail, and what a shopper wants."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """One step forward; works beside the running version, which knows none of it."""
    op.add_column("shops", sa.Column("handle", sa.String(), nullable=True))
    op.create_index("uq_shops_handle", "shops", ["handle"], unique=True)
    op.add_column("rmas", sa.Column("wanted", sa.String(), nullable=True))
    op.create_index("ix_rmas_by_state", "rmas", ["shop_id", "state", "requested_at", "id"], unique=False)
    op.create_index("ix_rmas_by_age", "rmas", ["shop_id", "requested_at", "id"], unique=False)
    op.add_column("contacts", sa.Column("said", sa.LargeBinary(), nullable=True))
    _links()
    _guests()
    _staff()
    _mails()


def downgrade() -> None:
    """One step back; what only the newer version knew is lost."""
    for table in ("mails", "staff_links", "staff", "mailed_codes", "budgets", "links"):
        op.drop_table(table)
    op.drop_column("contacts", "said")
    for name in ("ix_rmas_by_age", "ix_rmas_by_state"):
        op.drop_index(name, table_name="rmas")
    op.drop_column("rmas", "wanted")
    op.drop_index("uq_shops_handle", table_name="shops")
    op.drop_column("shops", "handle")


def _links() -> None:
    op.create_table(
        "links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("rma_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("made_at", _TIME, nullable=False),
        sa.Column("revoked_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["rma_id"], ["rmas.id"], name=op.f("fk_links_rma_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_links")),
        sa.UniqueConstraint("digest", name=op.f("uq_links_one_per_digest")),
    )
    op.create_index(op.f("ix_links_rma_id"), "links", ["rma_id"], unique=False)


def _guests() -> None:
    op.create_table(
        "budgets",
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("window_began_at", _TIME, nullable=False),
        sa.Column("spent", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("spent > 0", name=op.f("ck_budgets_positive")),
        sa.PrimaryKeyConstraint("subject", "window_began_at", name=op.f("pk_budgets")),
    )
    op.create_index("ix_budgets_window_began_at", "budgets", ["window_began_at"], unique=False)
    op.create_table(
        "mailed_codes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("order_ref", sa.String(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("made_at", _TIME, nullable=False),
        sa.Column("tries", sa.BigInteger(), nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_mailed_codes_shop_id")),
        sa.ForeignKeyConstraint(["shop_id", "order_ref"], ["orders.shop_id", "orders.ref"], name=op.f("fk_mailed_codes_shop_id_order_ref")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mailed_codes")),
    )
    op.create_index("ix_mailed_codes_of_order", "mailed_codes", ["shop_id", "order_ref"], unique=False)
    op.create_index("ix_mailed_codes_made_at", "mailed_codes", ["made_at"], unique=False)


def _staff() -> None:
    op.create_table(
        "staff",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("email_digest", sa.String(), nullable=False),
        sa.Column("email", sa.LargeBinary(), nullable=False),
        sa.Column("role", sa.String(32), nullable=False),
        sa.Column("invited_at", _TIME, nullable=False),
        sa.Column("invited_by", sa.String(), nullable=False),
        sa.Column("removed_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_staff_shop_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff")),
        sa.UniqueConstraint("shop_id", "email_digest", name=op.f("uq_staff_one_per_address")),
    )
    op.create_index("ix_staff_email_digest", "staff", ["email_digest"], unique=False)
    op.create_table(
        "staff_links",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("staff_id", sa.Uuid(), nullable=False),
        sa.Column("digest", sa.String(), nullable=False),
        sa.Column("made_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.Column("ended_at", _TIME, nullable=True),
        sa.ForeignKeyConstraint(["staff_id"], ["staff.id"], name=op.f("fk_staff_links_staff_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_staff_links")),
        sa.UniqueConstraint("digest", name=op.f("uq_staff_links_one_per_digest")),
    )
    op.create_index(op.f("ix_staff_links_staff_id"), "staff_links", ["staff_id"], unique=False)
    op.create_index("ix_staff_links_made_at", "staff_links", ["made_at"], unique=False)


def _mails() -> None:
    op.create_table(
        "mails",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("shop_id", sa.Uuid(), nullable=False),
        sa.Column("rma_id", sa.Uuid(), nullable=True),
        sa.Column("subject_id", sa.Uuid(), nullable=True),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("once", sa.String(), nullable=False),
        sa.Column("message_id", sa.String(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("state", sa.String(32), nullable=False),
        sa.Column("attempt", sa.BigInteger(), nullable=False),
        sa.Column("made_at", _TIME, nullable=False),
        sa.Column("marked_at", _TIME, nullable=True),
        sa.Column("handed_at", _TIME, nullable=True),
        sa.Column("words", sa.String(), nullable=True),
        sa.CheckConstraint(
            "rma_id IS NOT NULL OR sealed IS NOT NULL OR state IN ('handed', 'refused', 'dropped')", name=op.f("ck_mails_has_an_address")
        ),
        sa.ForeignKeyConstraint(["shop_id"], ["shops.id"], name=op.f("fk_mails_shop_id")),
        sa.ForeignKeyConstraint(["rma_id"], ["rmas.id"], name=op.f("fk_mails_rma_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
        sa.UniqueConstraint("once", name=op.f("uq_mails_once")),
        sa.UniqueConstraint("message_id", name=op.f("uq_mails_one_per_message_id")),
    )
    op.create_index("ix_mails_of_rma", "mails", ["rma_id"], unique=False)
    op.create_index("ix_mails_made_at", "mails", ["made_at"], unique=False)
