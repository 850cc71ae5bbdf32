"""The database roles and databases of an installation: who owns, who serves, who publishes, who carries the job queue."""

from collections.abc import Mapping

import psycopg
from psycopg import sql

SUPERUSER = "postgres"
OWNER, APP, RELAY, BROKER = "countinghouse_owner", "countinghouse_app", "countinghouse_relay", "countinghouse_broker"
DATABASE = "countinghouse"
BROKER_DATABASE = "countinghouse_broker"
ROLES = (OWNER, APP, RELAY, BROKER)


def provision(superuser_url: str, passwords: Mapping[str, str]) -> None:
    """Create the roles and databases that are missing; what exists is left as it is."""
    with psycopg.connect(superuser_url, autocommit=True) as connection:
        roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        databases = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        for role in ROLES:
            if role not in roles:
                create_role(connection, role, passwords[role])
        for database, owner, users in ((DATABASE, OWNER, (APP, RELAY)), (BROKER_DATABASE, BROKER, ())):
            if database not in databases:
                create_database(connection, database, owner=owner, users=users)


def create_role(connection: psycopg.Connection, role: str, password: str) -> None:
    """Create a role that owns nothing and cannot bypass row security; the password travels and is stored only as a SCRAM verifier."""
    verifier = connection.pgconn.encrypt_password(password.encode(), role.encode(), b"scram-sha-256").decode()
    statement = sql.SQL("CREATE ROLE {} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOBYPASSRLS NOINHERIT PASSWORD {}")
    connection.execute(statement.format(sql.Identifier(role), sql.Literal(verifier)))
    if role == BROKER:
        # The queue lives in the same write-ahead log as the outbox: once the relay's mark is on disk, so is the message before it.
        connection.execute(sql.SQL("ALTER ROLE {} SET synchronous_commit = off").format(sql.Identifier(role)))


def create_database(
    connection: psycopg.Connection, name: str, *, owner: str, users: tuple[str, ...] = (), template: str = "template0"
) -> None:
    """Create a database that only its owner and the named roles may enter."""
    database = sql.Identifier(name)
    made = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(database, sql.Identifier(owner), sql.Identifier(template))
    connection.execute(made)
    connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(database))
    for user in users:
        # files of settlements are read into tables of one transaction
        rights = sql.SQL("CONNECT, TEMPORARY" if user == APP else "CONNECT")
        connection.execute(sql.SQL("GRANT {} ON DATABASE {} TO {}").format(rights, database, sql.Identifier(user)))
