"""Where reconciliation stands, its runs, and the nightly proof."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import public_id
from app.reconciliation import flows
from app.reconciliation.invariants import queries as invariant_queries
from app.reconciliation.runs import queries as run_queries
from app.reconciliation.runs import service as runs
from app.web.context import HttpRequest
from app.web.guards import requires
from app.web.rendering import redirect, render

READ, WRITE = "reconciliation.read", "reconciliation.write"
BASE = "/reconciliation"


@get(BASE, name="reconciliation:overview", guards=[requires(READ)])
async def show_overview(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Where reconciliation stands."""
    return render(request, "reconciliation/overview.html", await run_queries.overview_page(session, merchant_id=actor.merchant))


@post(f"{BASE}/runs", name="reconciliation:compare", status_code=200, guards=[requires(WRITE)])
async def compare(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Compare everything now."""
    run = await runs.compare(session, actor)
    return redirect(request, f"{BASE}/runs/{public_id(run_queries.RUN, run.id)}", toast=f"Compared: {run.open_breaks} breaks are open")


@get(f"{BASE}/runs", name="reconciliation:runs", guards=[requires(READ)])
async def list_runs(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Every run."""
    page = await run_queries.run_list_page(session, merchant_id=actor.merchant, after=request.query_params.get("after"))
    return render(request, "reconciliation/runs.html", page)


@get(f"{BASE}/runs/{{run_id:str}}", name="reconciliation:run", guards=[requires(READ)])
async def show_run(
    request: HttpRequest, run_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One run."""
    page = await run_queries.run_page(session, merchant_id=actor.merchant, run_id=run_queries.run_id(run_id))
    return render(request, "reconciliation/run.html", page)


@get(f"{BASE}/invariants", name="reconciliation:invariants", guards=[requires(READ)])
async def show_invariants(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """The nightly proof."""
    page = await invariant_queries.invariant_page(session, merchant_id=actor.merchant)
    return render(request, "reconciliation/invariants.html", page)


@post(f"{BASE}/invariants", name="reconciliation:prove", status_code=200, guards=[requires(WRITE)])
async def check_invariants(request: HttpRequest, actor: NamedDependency[Actor]) -> Response[str]:
    """Prove it now, and ask the providers first."""
    proof = await flows.prove(actor)
    return redirect(request, f"{BASE}/invariants", toast="Everything holds" if proof.is_sound else "Something does not hold")


ROUTES = [show_overview, list_runs, compare, show_run, show_invariants, check_invariants]
