"""Tables of people's own security: mails, passkeys, and what happened to whose sign-in."""

import sqlalchemy as sa
from alembic import op

from migrations.tools import APP, PERSON, append_only, definer, due, grant, protect

revision = "0021"
down_revision: str | None = "0019"
branch_labels = None
depends_on = None

TIME = sa.DateTime(timezone=True)


# Everything a person's sign-in goes through is in the audit of every merchant that lets this person in.
TELL_MERCHANTS = """
CREATE FUNCTION tell_merchants() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    INSERT INTO audit_entry (merchant_id, id, at, actor_kind, actor_id, actor_name, address, request_id, action, object_type, object_id, after)
    SELECT b.merchant_id, new_id(NEW.at), NEW.at, 'user', p.id, p.name, NEW.address, '', 'person.' || NEW.what, 'person', p.id,
           CASE WHEN NEW.note = '' THEN NULL ELSE jsonb_build_object('note', NEW.note) END
    FROM person p JOIN membership b ON b.person_id = p.id JOIN merchant m ON m.id = b.merchant_id
    WHERE p.id = NEW.person_id AND m.status = 'active' AND m.sandbox_of IS NULL;
    RETURN NULL;
END $$
"""
ENROLLED_BEFORE = "p.totp_enrolled_at IS NOT NULL, p.theme"
ENROLLED = "p.totp_enrolled_at IS NOT NULL OR EXISTS (SELECT FROM passkey k WHERE k.person_id = p.id), p.theme"


def upgrade() -> None:
    _mail()
    _passkeys()
    _events()
    _password_reset()
    _invitation()
    _factor_reset()
    _replace_visitor(ENROLLED_BEFORE, ENROLLED)


def _replace_visitor(before: str, after: str) -> None:
    """Say one thing in the function differently and leave the rest as an earlier migration wrote it."""
    op.execute(
        f"DO $do$ BEGIN EXECUTE replace(pg_get_functiondef('visitor(bytea, timestamptz, interval)'::regprocedure),"
        f" '{before}', '{after}'); END $do$"
    )


def _passkeys() -> None:
    op.create_table(
        "passkey",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("credential_id", sa.LargeBinary(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("counter", sa.BigInteger(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("last_used_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_passkey"),
        sa.UniqueConstraint("credential_id", name="uq_passkey_credential_id"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_passkey_person_id_person", ondelete="CASCADE"),
    )
    op.create_index("ix_passkey_person_id", "passkey", ["person_id"])
    grant(op, "passkey")
    op.create_table(
        "passkey_challenge",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("asker", sa.Text(), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("digest", name="pk_passkey_challenge"),
    )
    grant(op, "passkey_challenge")


# The merchant is not known before the key says which it is.
INVITATION_MERCHANT = """
CREATE FUNCTION invitation_merchant(p_digest bytea) RETURNS uuid LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS
$$ SELECT i.merchant_id FROM invitation i WHERE i.digest = p_digest $$
"""


def _invitation() -> None:
    op.create_table(
        "invitation",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("email_lc", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("invited_by", sa.Uuid(), nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("sent_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_invitation"),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name="fk_invitation_merchant_id_merchant"),
        sa.ForeignKeyConstraint(["invited_by"], ["person.id"], name="fk_invitation_invited_by_person"),
        sa.CheckConstraint("status in ('open', 'accepted', 'revoked')", name=op.f("ck_invitation_status")),
    )
    op.create_index(
        "uq_invitation_open", "invitation", ["merchant_id", "email_lc"], unique=True, postgresql_where=sa.text("status = 'open'")
    )
    op.create_index("uq_invitation_digest", "invitation", ["digest"], unique=True)
    protect(op, "invitation", grants="SELECT, INSERT, UPDATE")
    op.execute(INVITATION_MERCHANT)
    definer(op, "invitation_merchant(bytea)")


# One merchant must not weaken the door of another; a merchant and its sandbox are one.
WORKS_ELSEWHERE = """
CREATE FUNCTION works_elsewhere(p_person uuid, p_merchant uuid) RETURNS boolean
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT EXISTS (SELECT FROM membership b JOIN merchant m ON m.id = b.merchant_id JOIN merchant h ON h.id = p_merchant
                   WHERE b.person_id = p_person AND m.id <> h.id AND m.sandbox_of IS DISTINCT FROM h.id AND h.sandbox_of IS DISTINCT FROM m.id)
$$
"""


def _factor_reset() -> None:
    people = [
        sa.ForeignKeyConstraint([c], ["person.id"], name=f"fk_factor_reset_{c}_person")
        for c in ("person_id", "requested_by", "approved_by")
    ]
    op.create_table(
        "factor_reset",
        sa.Column("merchant_id", sa.Uuid(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("requested_by", sa.Uuid(), nullable=False),
        sa.Column("requested_at", TIME, nullable=False),
        sa.Column("approved_by", sa.Uuid()),
        sa.Column("approved_at", TIME),
        sa.Column("due_at", TIME),
        sa.Column("ended_at", TIME),
        sa.PrimaryKeyConstraint("merchant_id", "id", name="pk_factor_reset"),
        sa.ForeignKeyConstraint(["merchant_id"], ["merchant.id"], name="fk_factor_reset_merchant_id_merchant"),
        *people,
        sa.CheckConstraint("status in ('requested', 'approved', 'done', 'cancelled')", name=op.f("ck_factor_reset_status")),
        sa.CheckConstraint(
            "approved_by <> requested_by and approved_by <> person_id and requested_by <> person_id", name=op.f("ck_factor_reset_four_eyes")
        ),
        sa.CheckConstraint(
            "status not in ('approved', 'done') or (approved_by is not null and due_at is not null)", name=op.f("ck_factor_reset_approved")
        ),
    )
    pending = sa.text("status in ('requested', 'approved')")
    op.create_index("uq_factor_reset_pending", "factor_reset", ["merchant_id", "person_id"], unique=True, postgresql_where=pending)
    op.create_index("ix_factor_reset_due", "factor_reset", ["due_at"], postgresql_where=sa.text("status = 'approved'"))
    protect(op, "factor_reset", grants="SELECT, INSERT, UPDATE")
    # the person it is about sees it from wherever they are
    op.execute(f"CREATE POLICY own_resets ON factor_reset FOR SELECT TO {APP} USING (person_id = {PERSON})")
    op.execute(WORKS_ELSEWHERE)
    definer(op, "works_elsewhere(uuid, uuid)")
    due(op, "factor_resets_due", table="factor_reset", where="t.status = 'approved' AND t.due_at <= moment", order="t.due_at")


def _password_reset() -> None:
    op.create_table(
        "password_reset",
        sa.Column("digest", sa.LargeBinary(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.Column("used_at", TIME),
        sa.PrimaryKeyConstraint("digest", name="pk_password_reset"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_password_reset_person_id_person", ondelete="CASCADE"),
    )
    op.create_index("ix_password_reset_person_id", "password_reset", ["person_id"])
    grant(op, "password_reset")


def _events() -> None:
    op.create_table(
        "person_event",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("person_id", sa.Uuid(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("what", sa.Text(), nullable=False),
        sa.Column("address", sa.Text()),
        sa.Column("user_agent", sa.Text(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_person_event"),
        sa.ForeignKeyConstraint(["person_id"], ["person.id"], name="fk_person_event_person_id_person"),
    )
    op.create_index("ix_person_event_person_id_id", "person_event", ["person_id", "id"])
    grant(op, "person_event", "SELECT, INSERT")
    append_only(op, "person_event")
    op.execute(TELL_MERCHANTS)
    op.execute("REVOKE ALL ON FUNCTION tell_merchants() FROM PUBLIC")
    op.execute("CREATE TRIGGER tell_merchants AFTER INSERT ON person_event FOR EACH ROW EXECUTE FUNCTION tell_merchants()")


def _mail() -> None:
    op.create_table(
        "mail",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("recipient", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("sealed_body", sa.Text()),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("attempts", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("retry_at", TIME, nullable=False),
        sa.Column("error", sa.Text()),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("sent_at", TIME),
        sa.PrimaryKeyConstraint("id", name="pk_mail"),
        sa.CheckConstraint("state in ('waiting', 'sent', 'given_up')", name=op.f("ck_mail_state")),
    )
    op.create_index("ix_mail_due", "mail", ["retry_at"], postgresql_where=sa.text("state = 'waiting'"))
    grant(op, "mail")


def downgrade() -> None:
    _replace_visitor(ENROLLED, ENROLLED_BEFORE)
    op.execute("DROP FUNCTION factor_resets_due(timestamptz, integer)")
    op.execute("DROP FUNCTION works_elsewhere(uuid, uuid)")
    op.drop_table("factor_reset")
    op.execute("DROP FUNCTION invitation_merchant(bytea)")
    op.drop_table("invitation")
    op.drop_table("person_event")
    op.execute("DROP FUNCTION tell_merchants()")
    for table in ("password_reset", "passkey_challenge", "passkey", "mail"):
        op.drop_table(table)
