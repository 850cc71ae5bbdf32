"""What the catalogue of a migrated database says: tenants are walled in, the application owns nothing, doors are few and named."""

from typing import Any

import psycopg
import pytest

from app.cli.migrate import drift
from app.core.embedded import EmbeddedPostgres, Urls
from tests.support.database import clone

pytestmark = pytest.mark.usefixtures("database")

Connection = psycopg.Connection[Any]

# Tables with a merchant_id that are the house's own: the column says whose work it was, no merchant ever reads them.
HOUSE_TABLES = {
    "outbox": "events of the house itself carry no merchant, so the key cannot begin with one; row security is in force",
    "job_run": "the workers' count of tries, also of work of the house; row security is in force inside a merchant",
    "web_session": "a person's; the column is the merchant the person looks at",
}

# Looked up before the merchant is known, by a value nobody can guess.
LOOKED_UP = {"uq_api_key_digest", "uq_api_token_digest", "uq_invitation_digest"}
# A domain is one merchant's: that another has it is learned only by who has proven, in its DNS, that it is theirs.
ACROSS = {"uq_sso_domain_proven"}

TENANT_TABLES = """
select c.oid::regclass::text, c.relrowsecurity, c.relforcerowsecurity, a.attnotnull
from pg_class c join pg_namespace n on n.oid = c.relnamespace
join pg_attribute a on a.attrelid = c.oid and a.attname = 'merchant_id' and not a.attisdropped
where c.relkind in ('r', 'p') and not c.relispartition and n.nspname in ('public', 'ledger') order by 1
"""
KEYS = """
select con.conrelid::regclass::text, con.conname, con.contype::text,
       (select array_agg(a.attname::text order by k.n) from unnest(con.conkey) with ordinality k(attnum, n)
        join pg_attribute a on a.attrelid = con.conrelid and a.attnum = k.attnum),
       con.confrelid::regclass::text
from pg_constraint con join pg_attribute m on m.attrelid = con.conrelid and m.attname = 'merchant_id' and not m.attisdropped
join pg_namespace n on n.oid = con.connamespace
where con.contype in ('p', 'u', 'f') and con.conparentid = 0 and n.nspname in ('public', 'ledger') order by 1, 2
"""
UNIQUE_INDEXES = """
select i.indrelid::regclass::text, i.indexrelid::regclass::text, a.attname
from pg_index i join pg_class c on c.oid = i.indrelid join pg_namespace n on n.oid = c.relnamespace
join pg_attribute m on m.attrelid = c.oid and m.attname = 'merchant_id' and not m.attisdropped
left join pg_attribute a on a.attrelid = c.oid and a.attnum = i.indkey[0]
where i.indisunique and not c.relispartition and n.nspname in ('public', 'ledger') order by 1, 2
"""
DEFINERS = """
select p.oid::regprocedure::text, coalesce((select s from unnest(p.proconfig) s where s like 'search_path=%'), ''),
       has_function_privilege('public', p.oid, 'execute')
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where p.prosecdef and n.nspname in ('public', 'ledger') order by 1
"""


def rows(connection: Connection, query: str) -> list[tuple[Any, ...]]:
    return connection.execute(query).fetchall()


class TestTenants:
    def test_every_table_of_a_merchant_has_forced_row_security(self, superuser: Connection) -> None:
        tables = rows(superuser, TENANT_TABLES)
        assert len(tables) > 3
        open_tables = [table for table, enabled, forced, _ in tables if not (enabled and forced) and table not in HOUSE_TABLES]
        assert open_tables == []

    def test_every_row_of_a_merchant_says_whose_it_is(self, superuser: Connection) -> None:
        assert [table for table, _, _, required in rows(superuser, TENANT_TABLES) if not required and table not in HOUSE_TABLES] == []

    def test_every_key_begins_with_the_merchant(self, superuser: Connection) -> None:
        loose = [
            f"{table}.{key} ({', '.join(columns)})"
            for table, key, kind, columns, _ in rows(superuser, KEYS)
            if table not in HOUSE_TABLES and columns[0] != "merchant_id" and kind != "f"
        ]
        assert loose == []

    def test_no_reference_can_cross_merchants(self, superuser: Connection) -> None:
        tenants = {table for table, *_ in rows(superuser, TENANT_TABLES)}
        crossing = [
            f"{table}.{key} ({', '.join(columns)}) -> {target}"
            for table, key, kind, columns, target in rows(superuser, KEYS)
            if kind == "f" and target in tenants and columns[0] != "merchant_id"
        ]
        assert crossing == []

    def test_every_unique_index_begins_with_the_merchant(self, superuser: Connection) -> None:
        indexes = rows(superuser, UNIQUE_INDEXES)
        assert [
            index
            for table, index, first in indexes
            if table not in HOUSE_TABLES and first != "merchant_id" and index not in LOOKED_UP | ACROSS
        ] == []


class TestRoles:
    def test_the_application_owns_nothing(self, superuser: Connection) -> None:
        owned = (
            "select oid::regclass::text from pg_class where relowner = any(array['countinghouse_app', 'countinghouse_relay']::regrole[])"
        )
        assert rows(superuser, owned) == []

    def test_the_application_cannot_make_or_alter_tables(self, database: Urls) -> None:
        with psycopg.connect(database.app) as connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("create table public.smuggled (id int)")

    def test_the_relay_reads_no_table_but_its_own(self, superuser: Connection) -> None:
        readable = rows(
            superuser,
            "select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace "
            "where c.relkind in ('r', 'p', 'v') and n.nspname in ('public', 'ledger') "
            "and has_any_column_privilege('countinghouse_relay', c.oid, 'select') order by 1",
        )
        assert readable == [("outbox",), ("recurring_job",)]

    def test_nobody_is_mighty(self, superuser: Connection) -> None:
        mighty = "select rolname from pg_roles where rolname like 'countinghouse%' and (rolsuper or rolbypassrls or rolcreaterole or rolcreatedb)"
        assert rows(superuser, mighty) == []


class TestDefiners:
    def test_every_door_through_row_security_is_closed_to_the_public_and_pins_its_search_path(self, superuser: Connection) -> None:
        doors = rows(superuser, DEFINERS)
        assert doors
        assert [door for door, path, _ in doors if not path.endswith("pg_temp")] == []
        assert [door for door, _, public in doors if public] == []

    def test_the_doors_are_the_known_ones(self, superuser: Connection) -> None:
        names = {door.split("(")[0] for door, _, _ in rows(superuser, DEFINERS)}
        assert names <= DOORS, names - DOORS


# Every SECURITY DEFINER function. A new one is a new way around row security: say here why it must be one.
# the merchant is not known before they answer
WHO_IS_IT = {
    *("api_key_holders", "api_client_merchant", "visitor", "standing", "psp_connection_merchant"),
    *("works_elsewhere", "invitation_merchant", "sso_provider_merchant", "sso_provider_of_domain"),
    # a person's session can enter each of their merchants, and a password must be made of the name of none of them
    *("person_acts", "session_idle", "workplaces"),
}
# across merchants, only during a visit; each list is read onwards and backwards
OPERATORS = {
    *("operator_standing", "operator_visit_open", "operator_queue_counts", "operator_note_look"),
    *(f"operator_{what}{way}" for what in ("queue", "dead_jobs", "merchants") for way in ("", "_back")),
}
WHOSE_TURN = {
    "attempts_due",
    "audit_chains",
    "audit_to_seal",
    "factor_resets_due",
    "people_unused",
    "funds_due",
    "approvals_expired",
    "orders_expired",
    "payments_expired",
    "payout_attempts_due",
    "payout_holds_expiring",
    "payout_schedules_due",
    "payouts_due",
    "payouts_expiring",
    "recon_sources_due",
    "recon_feeds_due",
    "reports_due",
}  # the clock asks across merchants and gets ids only
# Only these functions may write the books; what they write is checked by the database itself.
BOOKS = {
    *(
        "ledger.post",
        "ledger.post1",
        "ledger.reverse",
        "ledger.hold",
        "ledger.end_hold",
        "ledger.open_book",
        "ledger.open_book_of_merchant",
        "ledger.open_account",
        "ledger.open_accounts",
    ),
    *(
        "ledger.set_account_status",
        "ledger.close_period",
        "ledger.lock_available",
        "ledger.lock_available_many",
        "ledger.roll_up",
        "ledger.books_to_roll_up",
        "ledger.books_to_seal",
    ),
    *("ledger.check_transaction", "ledger.ensure_partitions"),
}
TOLD = {"tell_merchants"}  # a person belongs to no merchant, their sign-ins are in the audit of each
AGAIN = {"jobs_requeue"}  # the application writes events and never changes one
DOORS = WHO_IS_IT | OPERATORS | WHOSE_TURN | BOOKS | AGAIN | TOLD


def test_models_and_migrations_agree(server: EmbeddedPostgres, worker_id: str) -> None:
    drift(clone(server, f"drift_{worker_id}").owner)
