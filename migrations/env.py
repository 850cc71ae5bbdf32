"""Runs the migrations: as the owner role, one transaction per migration, never waiting long for a lock the application holds."""

from collections.abc import Callable, MutableMapping
from importlib import import_module
from pathlib import Path
from typing import Any

from alembic import context
from sqlalchemy import Connection, MetaData, create_engine, pool
from sqlalchemy.dialects.postgresql.base import ischema_names
from sqlalchemy.types import UserDefinedType

import app
from app.core.db import Base
from app.core.settings import settings

# A migration that cannot get its lock fails and is run again: waiting would queue every query behind it.
LOCK_TIMEOUT = "5s"


def metadata() -> MetaData:
    """The tables of every feature: importing a models module registers them."""
    root = Path(app.__file__).parent
    patterns = ("core/*.py", "web/sessions.py", "web/limits.py", "*/models.py", "*/models/__init__.py")
    for path in (path for pattern in patterns for path in root.glob(pattern)):
        import_module(".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__"))
    return Base.metadata


class TransactionNumber(UserDefinedType[str]):
    """PostgreSQL's xid8, which SQLAlchemy does not know when it reads a database back."""

    cache_ok = True

    def get_col_spec(self, **_: object) -> str:
        """The type's name in DDL."""
        return "XID8"


def compared() -> MetaData | None:
    """The tables to compare with, for the commands that compare; an upgrade runs the files as they are and loads no feature."""
    command = getattr(context.config.cmd_opts, "cmd", (None,))[0]
    wanted = context.config.attributes.get("compare", False) or getattr(command, "__name__", "") in ("check", "revision")
    if wanted:
        ischema_names["xid8"] = TransactionNumber
    return metadata() if wanted else None


def wanted_names(connection: Connection) -> Callable[[str | None, str, MutableMapping[Any, str | None]], bool]:
    """What a comparison looks at: not the partitions, which follow their parent."""
    partitions = {name for (name,) in connection.exec_driver_sql("select relname from pg_class where relispartition")}

    def wanted(name: str | None, kind: str, parents: MutableMapping[Any, str | None]) -> bool:
        return kind != "table" or name not in partitions

    return wanted


def migrate(connection: Connection) -> None:
    """Run what the command asked for on an open connection."""
    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    wanted = wanted_names(connection)
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=compared(),
        transaction_per_migration=True,
        include_schemas=True,
        include_name=wanted,
        compare_type=True,
        compare_server_default=False,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Use the caller's connection when there is one (tests, the drift check), otherwise connect as the owner."""
    given = context.config.attributes.get("connection")
    if given is not None:
        migrate(given)
        return
    engine = create_engine(str(settings().owner_database_url), poolclass=pool.NullPool)
    with engine.connect() as connection:
        migrate(connection)


main()
