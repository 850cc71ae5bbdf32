"""Files on their way in: their bytes until they are read, how far the reading is, and what is fetched by the clock."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import due, protect

revision = "0019"
down_revision: str | None = "0018"
branch_labels = None
depends_on = None

TABLES = {
    "recon_arrival": "SELECT, INSERT, UPDATE",
    "recon_arrival_piece": "SELECT, INSERT, DELETE",
    "recon_feed": "SELECT, INSERT, UPDATE",
}


def upgrade() -> None:
    op.create_table(
        "recon_arrival",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("origin", sa.Text(), nullable=False),
        sa.Column("report", sa.Text(collation="C"), nullable=True),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("read_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("read_lines", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("file_id", sa.Uuid(), nullable=True),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("reason_line", sa.BigInteger(), nullable=True),
        sa.Column("brought_by", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("origin in ('upload', 'fetch', 'drop')", name=op.f("ck_recon_arrival_origin")),
        sa.CheckConstraint(
            "status in ('received', 'reading', 'comparing', 'compared', 'refused', 'repeated')", name=op.f("ck_recon_arrival_status")
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "file_id"],
            ["recon_file.merchant_id", "recon_file.id"],
            name=op.f("fk_recon_arrival_merchant_id_file_id_recon_file"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "run_id"],
            ["recon_run.merchant_id", "recon_run.id"],
            name=op.f("fk_recon_arrival_merchant_id_run_id_recon_run"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "source_id"],
            ["recon_source.merchant_id", "recon_source.id"],
            name=op.f("fk_recon_arrival_merchant_id_source_id_recon_source"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_recon_arrival")),
    )
    op.create_index("ix_recon_arrival_newest", "recon_arrival", ["merchant_id", "source_id", "id"], unique=False)
    op.create_index(
        "uq_recon_arrival_report",
        "recon_arrival",
        ["merchant_id", "source_id", "report"],
        unique=True,
        postgresql_where=sa.text("report is not null"),
    )
    op.create_index(
        "uq_recon_arrival_under_way",
        "recon_arrival",
        ["merchant_id", "source_id", "sha256"],
        unique=True,
        postgresql_where=sa.text("status in ('received', 'reading', 'comparing')"),
    )
    op.create_table(
        "recon_arrival_piece",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("arrival_id", sa.Uuid(), nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("content", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(
            ["merchant_id", "arrival_id"],
            ["recon_arrival.merchant_id", "recon_arrival.id"],
            name=op.f("fk_recon_arrival_piece_merchant_id_arrival_id_recon_arrival"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "arrival_id", "number", name=op.f("pk_recon_arrival_piece")),
    )
    op.create_table(
        "recon_feed",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("source_id", sa.Uuid(), nullable=False),
        sa.Column("connection_id", sa.Uuid(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("minutes", sa.BigInteger(), nullable=False),
        sa.Column("since", sa.Date(), nullable=False),
        sa.Column("is_on", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("next_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("claim", sa.Uuid(), nullable=True),
        sa.Column("tried_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("tries", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.CheckConstraint("outcome in ('fetched', 'nothing_new', 'failed', 'unknown')", name=op.f("ck_recon_feed_outcome")),
        sa.CheckConstraint("report in ('settlement', 'statement')", name=op.f("ck_recon_feed_report")),
        sa.ForeignKeyConstraint(
            ["merchant_id", "connection_id"],
            ["psp_connection.merchant_id", "psp_connection.id"],
            name=op.f("fk_recon_feed_merchant_id_connection_id_psp_connection"),
        ),
        sa.ForeignKeyConstraint(
            ["merchant_id", "source_id"],
            ["recon_source.merchant_id", "recon_source.id"],
            name=op.f("fk_recon_feed_merchant_id_source_id_recon_source"),
        ),
        sa.PrimaryKeyConstraint("merchant_id", "id", name=op.f("pk_recon_feed")),
        sa.UniqueConstraint("merchant_id", "source_id", name=op.f("uq_recon_feed_merchant_id_source_id")),
    )
    op.create_index("ix_recon_feed_due", "recon_feed", ["next_at"], unique=False, postgresql_where=sa.text("is_on"))
    for table, grants in TABLES.items():
        protect(op, table, grants=grants)
    # the bytes are compressed by whoever sent them, or are about to go: compressing them here would cost more than the disk
    op.execute("ALTER TABLE recon_arrival_piece ALTER COLUMN content SET STORAGE EXTERNAL")
    due(op, "recon_feeds_due", table="recon_feed", where="t.is_on AND t.next_at <= moment", order="t.next_at")


def downgrade() -> None:
    op.execute("DROP FUNCTION recon_feeds_due(timestamptz, integer)")
    for table in reversed(TABLES):
        op.drop_table(table)
