"""The bare floors under measurement: a handler, a statement, and nothing of the product, so that they start at once."""

from typing import Any

import psycopg
from jinja2 import DictLoader, Environment
from litestar import Litestar, Request, Response, get, post
from psycopg_pool import AsyncConnectionPool

from app.core.ids import new_id
from app.core.settings import settings

BARE = "create table bench_bare (id uuid primary key, body jsonb not null, at timestamptz not null default now())"
ROWS = """
select id, amount_minor, currency, status, buyer_name, buyer_email, order_reference, last4, created_at from payment
where merchant_id = %s order by id desc limit 25
"""
PAGE = """<!doctype html><html lang="en"><head><title>Payments</title></head><body><h1>Payments</h1><table>
{%- for row in rows %}<tr><td>{{ row.amount_minor }} {{ row.currency }}</td><td>{{ row.status }}</td><td>{{ row.last4 }}</td>
<td>{{ row.buyer_name }}</td><td>{{ row.buyer_email }}</td><td>{{ row.order_reference }}</td><td>{{ row.created_at }}</td></tr>{% endfor -%}
</table></body></html>"""


def _bare(*handlers: Any) -> tuple[Litestar, "AsyncConnectionPool[Any]"]:
    pool: AsyncConnectionPool[Any] = AsyncConnectionPool(
        settings().database_url,
        min_size=0,
        max_size=10,
        open=False,
        kwargs={"autocommit": True, "row_factory": psycopg.rows.namedtuple_row},
    )

    async def close() -> None:
        await pool.close()

    app = Litestar(route_handlers=list(handlers), on_startup=[pool.open], on_shutdown=[close], openapi_config=None, logging_config=None)
    app.state.pool = pool
    return app, pool


@post("/v1/payments")
async def insert(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Keep the body in one row and say so."""
    body = await request.body()
    async with request.app.state.pool.connection() as connection:
        await connection.execute("insert into bench_bare (id, body) values (%s, %s)", (new_id(), body.decode()), prepare=True)
    return Response(body, status_code=201, media_type="application/json")


def bare_insert() -> Litestar:
    """The floor of a pay-in: one handler, one insert."""
    return _bare(insert)[0]


@get("/bare/{merchant:uuid}")
async def rows(request: Request[Any, Any, Any]) -> Response[str]:
    """25 rows by one index as a page."""
    async with request.app.state.pool.connection() as connection:
        found = await (await connection.execute(ROWS, (request.path_params["merchant"],), prepare=True)).fetchall()
    return Response(request.app.state.page.render(rows=found), media_type="text/html")


def bare_list() -> Litestar:
    """The floor of a list: one handler, one indexed query, one small template."""
    app, _ = _bare(rows)
    app.state.page = Environment(loader=DictLoader({"page": PAGE}), autoescape=True).get_template("page")
    return app
