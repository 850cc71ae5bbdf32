"""Whoever changes a payout cannot approve it: those who did are named on the payout, and the table of approvals refuses them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0039"
down_revision: str | None = "0037"
branch_labels = None
depends_on = None

REFUSE = """
CREATE FUNCTION refuse_payout_editor() RETURNS trigger LANGUAGE plpgsql SET search_path = public, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM payout p WHERE p.merchant_id = NEW.merchant_id AND p.id = NEW.payout_id AND NEW.approver_id = ANY (p.edited_by)) THEN
    RAISE EXCEPTION 'whoever changed a payout cannot decide about it'
      USING ERRCODE = 'check_violation', CONSTRAINT = 'ck_payout_approval_no_editor', TABLE = 'payout_approval';
  END IF;
  RETURN NEW;
END $$
"""


def upgrade() -> None:
    op.add_column("payout", sa.Column("edited_by", ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False))
    op.execute(REFUSE)
    op.execute("CREATE TRIGGER no_editor BEFORE INSERT ON payout_approval FOR EACH ROW EXECUTE FUNCTION refuse_payout_editor()")


def downgrade() -> None:
    op.execute("DROP TRIGGER no_editor ON payout_approval")
    op.execute("DROP FUNCTION refuse_payout_editor()")
    op.drop_column("payout", "edited_by")
