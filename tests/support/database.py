"""A migrated database per test process, given back as it was after every test.

The application commits for real, so nothing can be rolled back. Instead one generated function deletes what a test wrote:
only tables that hold rows are touched, triggers and foreign keys rest meanwhile, and rows that migrations brought are restored.
"""

import os
import subprocess
import sys
from pathlib import Path

import psycopg
from psycopg import sql

from app.core.embedded import EmbeddedPostgres, Urls
from app.core.roles import APP, BROKER, DATABASE, OWNER, RELAY, create_database

ROOT = Path(__file__).parents[2]

TABLES = """
select n.nspname, c.relname,
       array(select a.attname::text from pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = '' order by a.attnum)
from pg_class c join pg_namespace n on n.oid = c.relnamespace
where c.relkind in ('r', 'p') and not c.relispartition and n.nspname not in ('pg_catalog', 'information_schema', 'pristine')
  and c.relname <> 'alembic_version'
order by 1, 2
"""


def migrate(server: EmbeddedPostgres) -> None:
    """Bring the server's application database to the newest migration; later clones are copies of it."""
    environment = os.environ | {"DATABASE_URL": server.urls.app, "COUNTINGHOUSE_OWNER_DATABASE_URL": server.urls.owner}
    command = [sys.executable, "-m", "alembic", "upgrade", "head"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"the migrations failed:\n{done.stdout}\n{done.stderr[-4000:]}")


def clone(server: EmbeddedPostgres, name: str) -> Urls:
    """A database of its own with every migration applied, and one for its queue: tests that run at the same time must not take each other's messages."""
    queue = f"{name}_broker"
    with psycopg.connect(server.url(), autocommit=True) as connection:
        for each in (name, queue):
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(each)))
        create_database(connection, name, owner=OWNER, users=(APP, RELAY), template=DATABASE)
        create_database(connection, queue, owner=BROKER)
    return Urls(owner=server.url(OWNER, name), app=server.url(APP, name), relay=server.url(RELAY, name), broker=server.url(BROKER, queue))


def remember(superuser_url: str) -> None:
    """Write down what the migrations left in the tables and generate `pristine.reset()`, which brings it back."""
    with psycopg.connect(superuser_url) as connection:
        connection.execute("DROP SCHEMA IF EXISTS pristine CASCADE; CREATE SCHEMA pristine")
        steps = [reset_step(connection, *row) for row in connection.execute(TABLES).fetchall()]
        body = sql.SQL("\n").join(steps)
        connection.execute(
            sql.SQL(
                "CREATE FUNCTION pristine.reset() RETURNS void LANGUAGE plpgsql "
                "SET session_replication_role = replica SET lock_timeout = '10s' AS $reset$ BEGIN\n{}\nEND $reset$"
            ).format(body)
        )


def reset_step(connection: psycopg.Connection, schema: str, name: str, columns: list[str]) -> sql.Composable:
    """The statements that give one table back."""
    table = sql.Identifier(schema, name)
    clear = sql.SQL("IF EXISTS (SELECT FROM {0}) THEN DELETE FROM {0}; END IF;").format(table)
    filled = connection.execute(sql.SQL("SELECT EXISTS (SELECT FROM {})").format(table)).fetchone()
    if not filled or not filled[0]:
        return clear
    copy, fields = sql.Identifier("pristine", f"{schema}_{name}"), sql.SQL(", ").join(map(sql.Identifier, columns))
    connection.execute(sql.SQL("CREATE TABLE {} AS SELECT {} FROM {}").format(copy, fields, table))
    restore = sql.SQL("DELETE FROM {0}; INSERT INTO {0} ({1}) OVERRIDING SYSTEM VALUE SELECT {1} FROM {2};")
    return restore.format(table, fields, copy)
