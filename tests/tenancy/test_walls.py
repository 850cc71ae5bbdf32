"""The database's own walls, read from its catalogue: no table, key, view or function lets one merchant reach another."""

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import ProgrammingError

from app.core.db import unit_of_work
from app.core.ids import PersonId
from tests.support.factories.api_access import make_key
from tests.support.factories.tenancy import Tenant, make_tenant

# a merchant's column without a merchant's wall: what runs before a merchant is known, or never serves one
NO_WALL = {
    "public.job_run": "workers' bookkeeping, written before a job's merchant is entered",
    "public.web_session": "a person's, not a merchant's",
}
# looked up before the merchant is known, by 192 random bits
NO_PREFIX = {"uq_invitation_digest", "uq_api_key_digest", "uq_api_token_digest"}
# of one merchant only, and seen by who has proven it in its DNS
PROVEN = {"uq_sso_domain_proven"}
DEFINERS = {"public": {"visitor", "api_key_holders", "api_client_merchant"}}

TENANT_TABLES = """
select n.nspname || '.' || c.relname, c.relrowsecurity, c.relforcerowsecurity
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attname = 'merchant_id' and not a.attisdropped
where c.relkind in ('r', 'p') and not c.relispartition and n.nspname in ('public', 'ledger') order by 1
"""


@pytest.fixture
def walls(superuser: psycopg.Connection, database: object) -> psycopg.Connection:
    return superuser


class TestCatalogue:
    def test_every_tenant_table_forces_row_security(self, walls: psycopg.Connection) -> None:
        rows = walls.execute(TENANT_TABLES).fetchall()
        assert len(rows) > 15
        assert [name for name, enabled, forced in rows if not (enabled and forced) and name not in NO_WALL] == []

    def test_the_merchant_itself_is_walled(self, walls: psycopg.Connection) -> None:
        assert walls.execute("select relrowsecurity and relforcerowsecurity from pg_class where oid = 'merchant'::regclass").fetchone() == (
            True,
        )

    def test_every_wall_compares_with_the_transactions_merchant(self, walls: psycopg.Connection) -> None:
        open_doors = walls.execute(
            "select tablename, policyname, roles from pg_policies where schemaname in ('public', 'ledger') and 'countinghouse_app' = any(roles)"
            " and qual not like '%%current_setting%%' and coalesce(with_check, '') not like '%%current_setting%%'"
        ).fetchall()
        assert open_doors == []

    def test_every_key_between_tenant_tables_begins_with_the_merchant(self, walls: psycopg.Connection) -> None:
        keys = walls.execute(
            "select conname, (select attname from pg_attribute where attrelid = conrelid and attnum = conkey[1]) from pg_constraint"
            " where contype = 'f' and connamespace in ('public'::regnamespace, 'ledger'::regnamespace)"
            " and exists (select from pg_attribute where attrelid = conrelid and attname = 'merchant_id')"
            " and exists (select from pg_attribute where attrelid = confrelid and attname = 'merchant_id')"
        ).fetchall()
        assert len(keys) > 5
        assert [name for name, first in keys if first != "merchant_id"] == []

    def test_no_unique_index_tells_of_other_merchants(self, walls: psycopg.Connection) -> None:
        indexes = walls.execute(
            "select i.relname, (select attname from pg_attribute where attrelid = x.indrelid and attnum = x.indkey[0])"
            " from pg_index x join pg_class i on i.oid = x.indexrelid join pg_class c on c.oid = x.indrelid"
            " where x.indisunique and c.relnamespace in ('public'::regnamespace, 'ledger'::regnamespace) and not c.relispartition"
            " and exists (select from pg_attribute where attrelid = x.indrelid and attname = 'merchant_id')"
        ).fetchall()
        names = {name for name, first in indexes if first != "merchant_id"} - NO_PREFIX - PROVEN
        assert names <= {"pk_outbox", "pk_job_run", "pk_web_session", "uq_web_session_digest"}, (
            "time-ordered ids of our own, never looked up by a merchant"
        )

    def test_views_run_with_the_readers_rights(self, walls: psycopg.Connection) -> None:
        views = walls.execute(
            "select relname, relkind from pg_class where relkind in ('v', 'm') and relnamespace in ('public'::regnamespace, 'ledger'::regnamespace)"
            " and not coalesce('security_invoker=true' = any(reloptions), false)"
        ).fetchall()
        assert views == []

    def test_functions_with_the_owners_rights_are_few_and_closed(self, walls: psycopg.Connection) -> None:
        rows = walls.execute(
            "select n.nspname, p.proname, has_function_privilege('public', p.oid, 'execute'), coalesce(array_to_string(p.proconfig, ','), '')"
            " from pg_proc p join pg_namespace n on n.oid = p.pronamespace where p.prosecdef and n.nspname not in ('pg_catalog', 'information_schema')"
        ).fetchall()
        assert {name for schema, name, *_ in rows if schema == "public"} >= DEFINERS["public"]
        assert [name for _, name, everybody, _ in rows if everybody] == []
        assert [name for _, name, _, config in rows if "search_path=" not in config] == []

    def test_the_application_owns_nothing_and_stands_above_nothing(self, walls: psycopg.Connection) -> None:
        owned = walls.execute("select relname from pg_class where relowner = 'countinghouse_app'::regrole").fetchall()
        above = walls.execute(
            "select rolsuper or rolbypassrls or rolcreaterole or rolcreatedb from pg_roles where rolname = 'countinghouse_app'"
        ).fetchone()
        assert (owned, above) == ([], (False,))


class TestInTheTransaction:
    async def test_without_a_merchant_nothing_is_seen(self, tenant: Tenant) -> None:
        await make_key(tenant.id)
        async with unit_of_work(None) as session:
            for table in ("merchant", "membership", "api_key", "audit_entry", "outbox"):
                assert await session.scalar(text(f"select count(*) from {table}")) == 0, table

    async def test_another_merchants_rows_are_not_there(self, tenant: Tenant) -> None:
        stranger = await make_tenant()
        async with unit_of_work(stranger.id) as session:
            for table in ("merchant", "membership", "audit_entry"):
                foreign = "id" if table == "merchant" else "merchant_id"
                assert await session.scalar(text(f"select count(*) from {table} where {foreign} = :one"), {"one": tenant.id}) == 0
                assert await session.scalar(text(f"select count(*) from {table}")) >= 1, "the positive control"

    async def test_a_row_cannot_be_given_to_another_merchant(self, tenant: Tenant) -> None:
        await make_key(tenant.id)
        stranger = await make_tenant()
        with pytest.raises(ProgrammingError, match="row-level security"):
            async with unit_of_work(tenant.id) as session:
                await session.execute(text("update api_key set merchant_id = :other"), {"other": stranger.id})

    async def test_a_person_sees_their_own_memberships_everywhere_and_nobody_elses(self, tenant: Tenant) -> None:
        await make_tenant()
        async with unit_of_work(None, person_id=PersonId(tenant.owner.id)) as session:
            seen = (await session.execute(text("select merchant_id from membership"))).scalars().all()
            names = (await session.execute(text("select id from merchant"))).scalars().all()
        assert set(seen) == set(names) == {tenant.live.id, tenant.sandbox.id}

    async def test_the_scope_does_not_outlive_the_transaction(self, tenant: Tenant) -> None:
        for _ in range(30):
            async with unit_of_work(tenant.id):
                pass
            async with unit_of_work(None) as session:
                assert await session.scalar(text("select count(*) from merchant")) == 0
