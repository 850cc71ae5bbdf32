"""The audit trail is chained: blocks of entries, each hashed with the one before it and signed."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import append_only, definer, protect, run_sql

revision = "0017"
down_revision: str | None = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "audit_block",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("content", sa.Text(), nullable=False),
        sa.Column("previous", sa.Text(), nullable=False),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("signature", sa.Text(), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "number", name=op.f("pk_audit_block")),
    )
    op.create_table(
        "audit_sealed",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("entry_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("merchant_id", "entry_id", name=op.f("pk_audit_sealed")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "entry_id"], ["audit_entry.merchant_id", "audit_entry.id"], name=op.f("fk_audit_sealed_merchant_id_audit_entry")
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "number"],
            ["audit_block.merchant_id", "audit_block.number"],
            name=op.f("fk_audit_sealed_merchant_id_audit_block"),
        ),
    )
    op.create_index("ix_audit_sealed_number", "audit_sealed", ["merchant_id", "number"])
    op.create_table(
        "audit_check",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("checked_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("checked_by", sa.Text(), nullable=False),
        sa.Column("blocks", sa.BigInteger(), nullable=False),
        sa.Column("entries", sa.BigInteger(), nullable=False),
        sa.Column("head", sa.Text(), nullable=False),
        sa.Column("problem", sa.Text()),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_audit_check")),
    )
    for table in ("audit_block", "audit_sealed", "audit_check"):
        protect(op, table, grants="SELECT, INSERT")
        append_only(op, table)
    run_sql(op, "audit_chain")
    definer(op, "audit_to_seal(interval)")
    definer(op, "audit_chains()")


def downgrade() -> None:
    for function in ("audit_chains()", "audit_to_seal(interval)", "audit_content(uuid, uuid[])", "audit_unsealed(uuid, interval, integer)"):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP FUNCTION audit_entry_hash(audit_entry)")
    for table in ("audit_check", "audit_sealed", "audit_block"):
        op.drop_table(table)
