"""Where sellers' money goes: their bank accounts."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import protect

revision = "0014"
down_revision: str | None = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bank_account",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("seller_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("verification", sa.Text(), nullable=False),
        sa.Column("verified_by", sa.Text(), nullable=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("country", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("holder_name", sa.Text(), nullable=False),
        sa.Column("bank_name", sa.Text(), nullable=False),
        sa.Column("bic", sa.Text(), nullable=False),
        sa.Column("routing", sa.Text(), nullable=False),
        sa.Column("number", sa.Text(), nullable=False),
        sa.Column("last4", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("digest", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("requested_by_name", sa.Text(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("approved_by", sa.Uuid(), nullable=True),
        sa.Column("decided_by_name", sa.Text(), nullable=True),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("usable_from", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("kind in ('iban', 'us', 'uk')", name=op.f("ck_bank_account_kind")),
        sa.CheckConstraint("status in ('proposed', 'active', 'rejected', 'retired')", name=op.f("ck_bank_account_status")),
        sa.CheckConstraint(
            "status not in ('active', 'retired') or (approved_by is not null and usable_from is not null)",
            name=op.f("ck_bank_account_approved"),
        ),
        sa.CheckConstraint("verification in ('unverified', 'verified', 'failed')", name=op.f("ck_bank_account_verification")),
        sa.CheckConstraint("approved_by <> requested_by", name=op.f("ck_bank_account_second_person")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "seller_id"], ["seller.merchant_id", "seller.id"], name=op.f("fk_bank_account_merchant_id_seller_id_seller")
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_bank_account")),
    )
    op.create_index("ix_bank_account_fingerprint", "bank_account", ["merchant_id", "fingerprint"], unique=False)
    op.create_index("ix_bank_account_status", "bank_account", ["merchant_id", "status", "id"], unique=False)
    op.create_index(
        "uq_bank_account_active",
        "bank_account",
        ["merchant_id", "seller_id", "currency"],
        unique=True,
        postgresql_where=sa.text("status = 'active'"),
    )
    op.create_index(
        "uq_bank_account_proposed",
        "bank_account",
        ["merchant_id", "seller_id", "currency"],
        unique=True,
        postgresql_where=sa.text("status = 'proposed'"),
    )
    protect(op, "bank_account", grants="SELECT, INSERT, UPDATE")


def downgrade() -> None:
    op.drop_table("bank_account")
