"""The database: tables' base class, the unit of work (the only place that commits), and server-side calls.

Row-level security is the second wall between merchants: every unit of work says for which merchant (and person) it runs, for
exactly one transaction, so a pooled connection never carries a merchant over to the next borrower.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import date, datetime
from functools import cache
from typing import Any, ClassVar, LiteralString, TypeVar, cast
from uuid import UUID
from weakref import WeakKeyDictionary

import msgspec
from psycopg import AsyncConnection, OperationalError
from psycopg.errors import DeadlockDetected
from psycopg.pq import TransactionStatus
from psycopg.rows import namedtuple_row
from psycopg.types.json import set_json_loads
from psycopg_pool import AsyncConnectionPool
from sqlalchemy import BigInteger, Date, DateTime, LargeBinary, MetaData, Text, TextClause, Uuid, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import DeclarativeBase, configure_mappers

from app.core.ids import MerchantId, PersonId
from app.core.settings import settings

LIMITS = "-c lock_timeout=5000 -c statement_timeout=15000 -c idle_in_transaction_session_timeout=30000"
_BEGIN = "begin; select set_config('app.merchant_id', '{}', true), set_config('app.person_id', '{}', true)"

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """What every table starts from: names of constraints by one rule, and Python types to column types by one table."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        int: BigInteger,
        bytes: LargeBinary,
        UUID: Uuid,
        datetime: DateTime(timezone=True),
        date: Date,
        dict[str, Any]: JSONB,
        dict[str, str]: JSONB,
        list[str]: JSONB,
    }


Row = TypeVar("Row", bound=Base)


class _Known:
    """The values of a row, and nothing of the ORM: it cannot be written, and what it was not told it does not know."""


def known(_kind: type[Row], /, **values: object) -> Row:
    """A row whose values are known without reading it, for code that only reads it. It is no object of the ORM, whose bookkeeping for each
    object and each value that is read would on the hottest path cost more than the call to the database."""
    row = _Known()
    row.__dict__ = values
    return cast(Row, row)


@cache
def _shape(kind: type[Row]) -> type[msgspec.Struct]:
    """A table's columns as JSON holds them."""
    return msgspec.defstruct(kind.__name__, [(column.key, column.type.python_type | None) for column in kind.__table__.columns])


def known_from(kind: type[Row], document: bytes | msgspec.Raw) -> Row:
    """As ``known``, from a row that the database gave as JSON."""
    return known(kind, **msgspec.structs.asdict(msgspec.json.decode(document, type=_shape(kind))))


def changed(row: Row, /, **changes: object) -> Row:
    """A copy of a known row with some values changed; the row itself stays as it is."""
    copy = _Known()
    copy.__dict__ = row.__dict__ | changes
    return cast(Row, copy)


class Database:
    """The connections of one event loop to one database. A transaction begins with the statement that says for whom: see ``unit_of_work``."""

    def __init__(self, url: str, *, pool_size: int) -> None:
        configure_mappers()  # now, and not within the first request
        self.engine: AsyncEngine = create_async_engine(
            url,
            pool_size=pool_size,
            max_overflow=pool_size,
            pool_timeout=10,
            pool_recycle=1800,
            isolation_level="AUTOCOMMIT",
            connect_args={"options": LIMITS, "application_name": "countinghouse"},
            json_serializer=lambda value: msgspec.json.encode(value).decode(),
            json_deserializer=msgspec.json.decode,
        )
        self.sessions = async_sessionmaker(self.engine, expire_on_commit=False)

        self._calls = AsyncConnectionPool(
            url,
            min_size=0,
            max_size=pool_size,
            open=False,
            configure=_read_json,
            kwargs={"autocommit": True, "row_factory": namedtuple_row, "options": LIMITS, "application_name": "countinghouse"},
        )

    async def calls(self) -> AsyncConnectionPool[AsyncConnection[Any]]:
        """Connections for server-side calls, opened on first use."""
        if self._calls.closed:
            await self._calls.open()
        return self._calls

    async def dispose(self) -> None:
        """Close every connection."""
        await self.engine.dispose()
        await self._calls.close()


async def _read_json(connection: AsyncConnection[Any]) -> None:
    """Read JSON as quickly as on the engine's connections."""
    set_json_loads(msgspec.json.decode, connection)


_TRIES = 4
_databases: WeakKeyDictionary[asyncio.AbstractEventLoop, Database] = WeakKeyDictionary()


def database() -> Database:
    """The application's database for the running event loop, opened on first use."""
    loop = asyncio.get_running_loop()
    found = _databases.get(loop)
    if found is None:
        found = _databases[loop] = Database(settings().database_url, pool_size=settings().database_pool_size)
    return found


async def dispose() -> None:
    """Close the running loop's connections, if it has any."""
    found = _databases.pop(asyncio.get_running_loop(), None)
    if found is not None:
        await found.dispose()


class TransactionLost(Exception):
    """Somebody caught an error of the database inside a unit of work and went on, or ended the transaction: a mistake in our own code."""


@asynccontextmanager
async def unit_of_work(merchant_id: MerchantId | None, *, person_id: PersonId | None = None) -> AsyncIterator[AsyncSession]:
    """One transaction for one merchant: everything in the block happens, or nothing does."""
    async with database().sessions() as session:
        await _begin(session, merchant_id, person_id)
        yield session
        await session.flush()
        if driver(session).info.transaction_status is not TransactionStatus.INTRANS:
            # PostgreSQL answers the COMMIT of a transaction that has failed with a rollback and no error
            raise TransactionLost("The transaction ended or failed before its unit of work did; nothing of it was kept.")
        await session.commit()


async def _begin(session: AsyncSession, merchant_id: MerchantId | None, person_id: PersonId | None) -> None:
    """Begin the transaction and say for whom it runs, in one round trip; only what was read as a UUID stands in the statement."""
    await session.connection()
    statement = _BEGIN.format(*("" if one is None else UUID(int=one.int) for one in (merchant_id, person_id)))
    try:
        await driver(session).execute(statement.encode(), prepare=False)
    except OperationalError:
        # the server went away: no connection of this pool is better than this one
        await session.invalidate()
        await database().engine.dispose()
        raise


def driver(session: AsyncSession) -> AsyncConnection[Any]:
    """The driver's connection that the unit of work runs on."""
    connection = session.sync_session.connection().connection.driver_connection
    assert isinstance(connection, AsyncConnection)
    return connection


Record = Any
"""A row whose columns the statement's own source names."""


async def read(session: AsyncSession, statement: TextClause | str, values: Mapping[str, object]) -> list[Record]:
    """The rows of a read in the present unit of work, straight from the driver: for pages, which ask often and change nothing.

    Building a statement from objects costs several times what PostgreSQL needs to answer it. Nothing that came from outside is part of the
    text; a text that is put together writes a value as ``%(name)s``.
    """
    cursor = driver(session).cursor(row_factory=namedtuple_row)
    await cursor.execute((statement if isinstance(statement, str) else _driver_text(statement.text)).encode(), values)
    return await cursor.fetchall()


async def call(statement: TextClause, values: Mapping[str, object]) -> Record:
    """Call one server-side function as a transaction of its own, in one round trip; returns its row.

    For the few hot writes whose whole work is a function in the database. The function itself says for which merchant it runs.
    """
    rows = await call_all(statement, values)
    return rows[0] if rows else None


async def call_all(statement: TextClause, values: Mapping[str, object]) -> list[Record]:
    """As ``call``, for a function that returns a row for each thing it was given.

    Calls for many may want the same rows in another order; the one that PostgreSQL gives up did nothing, and is made again.
    """
    pool = await database().calls()
    # each statement is a transaction of its own: there is none to end when the connection goes back
    connection = await pool.getconn()
    try:
        for left in reversed(range(_TRIES)):
            try:
                cursor = await connection.execute(_driver_text(statement.text), values, prepare=True)
                break
            except DeadlockDetected:
                if not left:
                    raise
        return await cursor.fetchall()
    finally:
        is_lost = connection.closed
        await pool.putconn(connection)
        if is_lost:
            # the server went away from all of them: they are looked at now, so that one caller hears of it and not one for each
            await pool.check()


@cache
def _driver_text(text: str) -> LiteralString:
    """The statement as the driver wants it: ``:name`` becomes ``%(name)s``. Only statements of our own, written as constants, come here."""
    return re.sub(r"(?<!:):(\w+)", r"%(\1)s", text)


async def enter_merchant(session: AsyncSession, merchant_id: MerchantId | None) -> None:
    """Continue the present transaction for another merchant, as when an object's owner is found only after looking it up."""
    await session.execute(text("select set_config('app.merchant_id', :merchant, true)"), {"merchant": str(merchant_id or "")})
