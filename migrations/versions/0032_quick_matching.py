"""Large files are compared with less to write and to read: no column twice, each side by itself, and what is left over collected once."""

from alembic import op

from migrations.tools import SQL, run_sql

revision = "0032"
down_revision: str | None = "0031"
branch_labels = None
depends_on = None

NEW = ("recon_reopen(uuid, integer)", "recon_leave_over(uuid)", "recon_look_up(uuid)")
BEFORE = {
    "recon_match": ("recon_expect", "recon_wanted_breaks"),
    "recon_bank": ("recon_turned_days",),
    "recon_lines": ("recon_open_lines", "recon_pass_named", "recon_pass_reference", "recon_pass_differing", "recon_keep_pairs"),
}


def upgrade() -> None:
    for name in ("recon_quick_expect", "recon_quick_lines", "recon_quick_breaks"):
        run_sql(op, name)
    op.execute("DROP FUNCTION recon_turned_days(uuid)")


def downgrade() -> None:
    for function in NEW:
        op.execute(f"DROP FUNCTION {function}")
    for name, functions in BEFORE.items():
        for function in functions:
            _as_before(name, function)


def _as_before(name: str, function: str) -> None:
    """Make a function what the file that first made it says."""
    text = (SQL / f"{name}.sql").read_text(encoding="utf-8")
    begin = text.index(f"CREATE FUNCTION {function}(")
    end = text.find("\nCREATE FUNCTION ", begin)
    said = text[begin : end if end > 0 else len(text)].replace("CREATE FUNCTION", "CREATE OR REPLACE FUNCTION", 1)
    op.get_bind().exec_driver_sql(said, execution_options={"no_parameters": True})
