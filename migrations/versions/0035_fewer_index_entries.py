"""A pay-in writes fewer index entries: none for what is not known yet, none that nothing looks for, and the parts stay on their page."""

import sqlalchemy as sa
from alembic import op

revision = "0035"
down_revision: str | None = "0034"
branch_labels = None
depends_on = None

METHOD = "case when method_brand is null then method_kind else method_brand end"
# name, table, columns, and what is known only when the provider has answered
LATER: tuple[tuple[str, str, list[str], str], ...] = (
    ("ix_payment_last4", "payment", ["merchant_id", "last4", "id"], "last4 is not null"),
    ("ix_payment_provider_reference", "payment", ["merchant_id", "provider_reference"], "provider_reference is not null"),
    ("ix_payment_attempt_provider_reference", "payment_attempt", ["merchant_id", "provider_reference"], "provider_reference is not null"),
)


def upgrade() -> None:
    op.drop_index("ix_outbox_object", "outbox")
    # the filter by method never used its index: row security lets no coalesce(…) of a person's filter into one
    op.drop_index("ix_payment_method", "payment")
    op.create_index(
        "ix_payment_method", "payment", ["merchant_id", sa.text(f"({METHOD})"), "id"], postgresql_where=sa.text(f"{METHOD} is not null")
    )
    for name, table, columns, known in LATER:
        op.drop_index(name, table)
        op.create_index(name, table, columns, postgresql_where=sa.text(known))
    # each part is changed soon after it was written, when its payment is captured: with room on its page no index learns of it
    op.execute("ALTER TABLE payment_part SET (fillfactor = 60)")


def downgrade() -> None:
    op.execute("ALTER TABLE payment_part RESET (fillfactor)")
    for name, table, columns, _ in LATER:
        op.drop_index(name, table)
        op.create_index(name, table, columns)
    op.drop_index("ix_payment_method", "payment")
    op.create_index("ix_payment_method", "payment", ["merchant_id", sa.text("coalesce(method_brand, method_kind)"), "id"])
    op.create_index("ix_outbox_object", "outbox", ["object_id"])
