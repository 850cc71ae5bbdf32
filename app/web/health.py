"""Whether this process lives (`/healthz`) and whether it may take work (`/readyz`), with the reasons when not."""

from functools import cache
from pathlib import Path

import msgspec
from litestar import Response, get
from sqlalchemy import text

from app.core.db import call
from app.web.guards import public

_MIGRATIONS = Path(__file__).parents[2] / "migrations" / "versions"
_SAFE_COMMIT = frozenset({"on", "remote_apply"})
_QUESTION = text(
    "select current_setting('fsync') as fsync, current_setting('full_page_writes') as full_page_writes,"
    " current_setting('synchronous_commit') as synchronous_commit, pg_is_in_recovery() as in_recovery,"
    " (select version_num from alembic_version) as version,"
    " (select rolsuper or rolbypassrls from pg_roles where rolname = current_user) as above_walls"
)


class Readiness(msgspec.Struct, frozen=True):
    """The answer of /readyz: ready, or every reason why not."""

    ready: bool
    problems: list[str]


@cache
def newest_migration() -> str:
    """The migration this version of the program needs: the last number. To ask Alembic would cost every worker 12 MB and a start 0.1 s."""
    return max(file.name for file in _MIGRATIONS.glob("[0-9]*.py")).partition("_")[0]


async def readiness() -> Readiness:
    """Ask the database whether money is safe in it: durable commits, the primary, the right tables, a role behind the walls."""
    try:
        row = await call(_QUESTION, {})
    except Exception:
        return Readiness(False, ["The database does not answer."])
    if row is None:
        return Readiness(False, ["The database gives no answer."])
    problems = [f"{name} is off; commits could be lost." for name in ("fsync", "full_page_writes") if getattr(row, name) != "on"]
    if row.synchronous_commit not in _SAFE_COMMIT:
        problems.append(f"synchronous_commit is {row.synchronous_commit}; it must be on or remote_apply.")
    if row.in_recovery:
        problems.append("This is a standby; money needs the primary.")
    if row.version != newest_migration():
        problems.append(
            f"The database is at migration {row.version}, this program needs {newest_migration()}. Run “countinghouse migrate”."
        )
    if row.above_walls:
        problems.append("The application's role bypasses row security; use countinghouse_app.")
    return Readiness(not problems, problems)


@get("/healthz", name="health:live", guards=[public(machine=True)])
async def live() -> dict[str, str]:
    """This process answers."""
    return {"status": "ok"}


@get("/readyz", name="health:ready", guards=[public(machine=True)])
async def ready() -> Response[Readiness]:
    """This process may take requests; otherwise 503 with the reasons."""
    found = await readiness()
    return Response(found, status_code=200 if found.ready else 503)


ROUTES = [live, ready]
