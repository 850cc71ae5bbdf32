"""Who began a payment is in the audit trail, as with every other act: written by the call that begins it."""

from alembic import op

revision = "0031"
down_revision: str | None = "0030"
branch_labels = None
depends_on = None

BEGIN = "payments_begin(uuid, json)"
NEXT = "  told AS (\n    INSERT INTO outbox"
TRAIL = """  trail AS (
    INSERT INTO audit_entry (merchant_id, id, at, actor_kind, actor_id, actor_name, address, factor_at, request_id, action, object_type, object_id, after)
      SELECT p_merchant, new_id(w.at), w.at, w.actor_kind, w.actor_id, w.actor_name, w.address, w.factor_at, coalesce(w.request_id, ''),
             'payment.created', 'payment', w.payment, w.named || jsonb_build_object('amount_minor', w.total_minor, 'currency', w.currency) FROM wish w),
"""
FIELDS = ("actor_id uuid", "address text", "factor_at timestamptz", "request_id text")


def upgrade() -> None:
    op.execute("ALTER TYPE payment_wish " + ", ".join(f"ADD ATTRIBUTE {field}" for field in FIELDS))
    _say_otherwise(NEXT, TRAIL + NEXT)


def downgrade() -> None:
    _say_otherwise(TRAIL + NEXT, NEXT)
    op.execute("ALTER TYPE payment_wish " + ", ".join(f"DROP ATTRIBUTE {field.split()[0]}" for field in FIELDS))


def _say_otherwise(before: str, after: str) -> None:
    """Say one thing in the function differently; stop when it does not say what is to be replaced."""
    op.execute(f"""
        DO $do$ DECLARE was text := pg_get_functiondef('{BEGIN}'::regprocedure); said text;
        BEGIN
          said := replace(was, $x${before}$x$, $x${after}$x$);
          IF said = was THEN RAISE EXCEPTION '{BEGIN} is not what this migration knows'; END IF;
          EXECUTE said;
        END $do$""")
