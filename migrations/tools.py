"""What every migration needs: row security, grants and append-only tables, each in one line.

``op`` is Alembic's; the statements are fixed text with table names of our own, never anything from outside.
"""

from pathlib import Path
from typing import Protocol

APP = "countinghouse_app"
RELAY = "countinghouse_relay"
MERCHANT = "nullif(current_setting('app.merchant_id', true), '')::uuid"
PERSON = "nullif(current_setting('app.person_id', true), '')::uuid"
ALL = "SELECT, INSERT, UPDATE, DELETE"
SQL = Path(__file__).parent / "sql"


class Operations(Protocol):
    """The part of Alembic's ``op`` that is used here."""

    def execute(self, sqltext: str) -> object:
        """Run one statement."""


def grant(op: Operations, table: str, grants: str = ALL, *, role: str = APP) -> None:
    """Let the application (or another role) use the table."""
    op.execute(f"GRANT {grants} ON {table} TO {role}")


def protect(op: Operations, table: str, *, grants: str = ALL, column: str = "merchant_id") -> None:
    """Force row security by merchant on the table, for its owner too, and grant its use."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY")
    op.execute(f"CREATE POLICY merchant_wall ON {table} TO {APP} USING ({column} = {MERCHANT}) WITH CHECK ({column} = {MERCHANT})")
    op.execute(f"CREATE POLICY owner_door ON {table} TO current_user USING (true) WITH CHECK (true)")
    grant(op, table, grants)


def append_only(op: Operations, table: str) -> None:
    """Refuse to change or remove what was written once."""
    op.execute(f"CREATE TRIGGER append_only BEFORE UPDATE OR DELETE ON {table} FOR EACH ROW EXECUTE FUNCTION refuse_change()")
    op.execute(f"CREATE TRIGGER append_only_truncate BEFORE TRUNCATE ON {table} FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()")


def definer(op: Operations, signature: str, *, role: str = APP) -> None:
    """Close a SECURITY DEFINER function to everybody but the role that needs it."""
    op.execute(f"REVOKE ALL ON FUNCTION {signature} FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION {signature} TO {role}")


def due(op: Operations, name: str, *, table: str, where: str, order: str) -> None:
    """A look across merchants for what is due: only whose and which, so that a worker can then work inside that merchant's wall."""
    op.execute(
        f"CREATE FUNCTION {name}(moment timestamptz, most integer) RETURNS TABLE (merchant_id uuid, id uuid)"
        f" LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS"
        f" $$ SELECT t.merchant_id, t.id FROM {table} t WHERE {where} ORDER BY {order} LIMIT most $$"
    )
    definer(op, f"{name}(timestamptz, integer)")


def run_sql(op: object, name: str) -> None:
    """Run a file of migrations/sql as it stands: its colons and percent signs are not parameters."""
    text = (SQL / f"{name}.sql").read_text(encoding="utf-8")
    op.get_bind().exec_driver_sql(text, execution_options={"no_parameters": True})  # type: ignore[attr-defined]
