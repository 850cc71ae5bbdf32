"""Runs the migrations: as the owner role, one transaction per migration, never waiting long for a lock the application holds."""

from importlib import import_module
from pathlib import Path

from alembic import context
from sqlalchemy import Connection, MetaData, create_engine, pool

import app
from app.core.db import Base
from app.core.settings import settings

# A migration that cannot get its lock fails and is run again: waiting would queue every query behind it.
LOCK_TIMEOUT = "5s"


def metadata() -> MetaData:
    """The tables of every feature: importing a models module registers them."""
    root = Path(app.__file__).parent
    for path in [*root.glob("core/*.py"), *root.glob("*/models.py"), *root.glob("*/models/__init__.py")]:
        import_module(".".join(path.relative_to(root.parent).with_suffix("").parts).removesuffix(".__init__"))
    return Base.metadata


def compared() -> MetaData | None:
    """The tables to compare with, for the commands that compare; an upgrade runs the files as they are and loads no feature."""
    command = getattr(context.config.cmd_opts, "cmd", (None,))[0]
    wanted = context.config.attributes.get("compare", False) or getattr(command, "__name__", "") in ("check", "revision")
    return metadata() if wanted else None


def migrate(connection: Connection) -> None:
    """Run what the command asked for on an open connection."""
    connection.exec_driver_sql(f"SET lock_timeout = '{LOCK_TIMEOUT}'")
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=compared(),
        transaction_per_migration=True,
        include_schemas=True,
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
