"""What the books have of an item is a narrow row of its own: a million wide ones were written anew, with their index entries, when they were booked."""

from alembic import op

from migrations.tools import SQL, protect, run_sql

revision = "0044"
down_revision: str | None = "0043"
branch_labels = None
depends_on = None

CREATE = """
CREATE TABLE recon_booking (
  merchant_id uuid NOT NULL, item_id uuid NOT NULL, key text COLLATE "C" NOT NULL, fee_minor bigint DEFAULT 0 NOT NULL,
  rate_minor bigint DEFAULT 0 NOT NULL, times bigint DEFAULT 1 NOT NULL, CONSTRAINT pk_recon_booking PRIMARY KEY (merchant_id, item_id))
"""
FILL = """
INSERT INTO recon_booking (merchant_id, item_id, key, fee_minor, rate_minor, times)
  SELECT merchant_id, id, posted_key, posted_fee_minor, posted_rate_minor, posted_times FROM recon_item WHERE posted_key IS NOT NULL
"""
BACK = """
UPDATE recon_item i SET posted_key = k.key, posted_fee_minor = k.fee_minor, posted_rate_minor = k.rate_minor, posted_times = k.times
  FROM recon_booking k WHERE k.merchant_id = i.merchant_id AND k.item_id = i.id
"""


def upgrade() -> None:
    op.execute(CREATE)
    protect(op, "recon_booking", grants="SELECT, INSERT, UPDATE")
    op.execute(FILL)
    run_sql(op, "recon_booking")
    for column in ("posted_key", "posted_fee_minor", "posted_rate_minor", "posted_times"):
        op.execute(f"ALTER TABLE recon_item DROP COLUMN {column}")


def downgrade() -> None:
    op.execute("ALTER TABLE recon_item ADD COLUMN posted_key text")
    for column in ("posted_fee_minor", "posted_rate_minor", "posted_times"):
        op.execute(f"ALTER TABLE recon_item ADD COLUMN {column} bigint DEFAULT 0 NOT NULL")
    op.execute(BACK)
    _collect_as_before()
    op.execute("DROP TABLE recon_booking")


def _collect_as_before() -> None:
    """Make the function what the file that first made it says, with the settings it was given later."""
    text = (SQL / "recon_books.sql").read_text(encoding="utf-8")
    text = text[text.index("CREATE FUNCTION recon_collect_due(") : text.index("\n-- Book some of the plain ones")]
    text = text.replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
    text = text.replace("LANGUAGE plpgsql AS", "LANGUAGE plpgsql SET enable_nestloop = off SET work_mem = '128MB' AS", 1)
    op.get_bind().exec_driver_sql(text, execution_options={"no_parameters": True})
