"""A payout that a program requests is also a wish of whoever knows the program's secret: they cannot approve it."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0040"
down_revision: str | None = "0039"
branch_labels = None
depends_on = None

TABLES = ("api_key", "api_client")
NAME_THEM = """
CREATE FUNCTION name_who_knows_the_key() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  NEW.edited_by := NEW.edited_by
    || coalesce((SELECT k.known_to FROM api_key k WHERE k.merchant_id = NEW.merchant_id AND k.id = NEW.requested_by), '{}')
    || coalesce((SELECT c.known_to FROM api_client c WHERE c.merchant_id = NEW.merchant_id AND c.id = NEW.requested_by), '{}');
  RETURN NEW;
END $$
"""


def upgrade() -> None:
    for table in TABLES:
        op.add_column(table, sa.Column("known_to", ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False))
    op.execute(NAME_THEM)
    op.execute("CREATE TRIGGER who_knows_the_key BEFORE INSERT ON payout FOR EACH ROW EXECUTE FUNCTION name_who_knows_the_key()")


def downgrade() -> None:
    op.execute("DROP TRIGGER who_knows_the_key ON payout")
    op.execute("DROP FUNCTION name_who_knows_the_key()")
    for table in TABLES:
        op.drop_column(table, "known_to")
