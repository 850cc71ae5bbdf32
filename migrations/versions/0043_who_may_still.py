"""Who knows the secrets and keys of OAuth clients that work now; the passwords that people had before."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import ARRAY

revision = "0043"
down_revision: str | None = "0041"
branch_labels = None
depends_on = None

# Who knew the client before this was written down may know any of its secrets.
KNOWN = "UPDATE api_client_secret s SET known_to = c.known_to FROM api_client c WHERE c.merchant_id = s.merchant_id AND c.id = s.client_id"
KEYS = "UPDATE api_client SET keys_known_to = known_to WHERE method = 'private_key_jwt'"


def upgrade() -> None:
    op.add_column("api_client_secret", sa.Column("known_to", ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False))
    op.add_column("api_client", sa.Column("keys_known_to", ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False))
    op.add_column("person", sa.Column("passwords_before", ARRAY(sa.Text()), server_default=sa.text("'{}'"), nullable=False))
    op.create_check_constraint(op.f("ck_person_passwords_before"), "person", "cardinality(passwords_before) <= 3")
    op.execute(KNOWN)
    op.execute(KEYS)


def downgrade() -> None:
    op.drop_column("person", "passwords_before")
    op.drop_column("api_client", "keys_known_to")
    op.drop_column("api_client_secret", "known_to")
