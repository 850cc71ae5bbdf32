"""One payout: its page, and the dialogs that decide about it."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import public_id
from app.payouts import flows, queries
from app.payouts.pages.holds import end_of
from app.payouts.queries import details
from app.payouts.schemas import DecisionForm, EditForm, HoldForm, ReasonForm, RejectForm
from app.payouts.schemas.details import PayoutDetailPage
from app.payouts.service import approvals, holds, requests
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render
from app.web.step_up import spend

PAGE = ("payouts/show.html", "payouts/_detail.html")


def _dialog(name: str) -> tuple[str, str]:
    return f"payouts/{name}.html", f"payouts/_{name}.html"


APPROVE, REJECT, CANCEL, HOLD, EDIT, RETRY = (_dialog(name) for name in ("approve", "reject", "cancel", "hold", "edit", "retry"))


async def _page(request: HttpRequest, session: AsyncSession, actor: Actor, payout_id: str, templates: tuple[str, str]) -> PayoutDetailPage:
    page = await details.payout_detail_page(session, actor, payout_id=queries.payout_id(payout_id))
    answer_invalid_with(request, templates[0], page, fragment=templates[1])
    return page


async def _show(request: HttpRequest, session: AsyncSession, actor: Actor, payout_id: str, templates: tuple[str, str]) -> Response[str]:
    return render(request, templates[0], await _page(request, session, actor, payout_id, templates), fragment=templates[1])


@get("/payouts/{payout_id:str}", name="payouts:detail", guards=[requires("payouts.read")])
async def show_payout(
    request: HttpRequest, payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One payout."""
    return await _show(request, session, actor, payout_id, PAGE)


@get("/payouts/{payout_id:str}/approve", name="payouts:approve_form", guards=[requires("payouts.approve")])
async def approve_form(
    request: HttpRequest, payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """What an approver looks at before agreeing."""
    return await _show(request, session, actor, payout_id, APPROVE)


@post("/payouts/{payout_id:str}/approve", name="payouts:approve", status_code=200, guards=[requires("payouts.approve", fresh=True)])
async def approve(
    request: HttpRequest, payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Agree to a payout exactly as it was shown."""
    page = await _page(request, session, actor, payout_id, APPROVE)
    form = await read_form(request, DecisionForm)
    await spend(request, page.row.amount, session=session)
    payout = await approvals.approve_payout(session, actor, payout_id=queries.payout_id(payout_id), digest=form.digest, reason=form.reason)
    done = payout.status != "pending_approval"
    toast = f"Approved; it leaves on {payout.value_on:%d %B}" if done and payout.value_on else "Approved; others have to agree too"
    return redirect(request, f"/payouts/{payout_id}", toast=toast)


@get("/payouts/{payout_id:str}/reject", name="payouts:reject_form", guards=[requires("payouts.approve")])
async def reject_form(
    request: HttpRequest, payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """The question before a payout is refused."""
    return await _show(request, session, actor, payout_id, REJECT)


@post("/payouts/{payout_id:str}/reject", name="payouts:reject", status_code=200, guards=[requires("payouts.approve", fresh=True)])
async def reject(
    request: HttpRequest, payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Refuse a payout; the money goes back to the wallet."""
    await _page(request, session, actor, payout_id, REJECT)
    form = await read_form(request, RejectForm)
    await approvals.reject_payout(session, actor, payout_id=queries.payout_id(payout_id), digest=form.digest, reason=form.reason)
    return redirect(request, f"/payouts/{payout_id}", toast="Rejected; the wallet has the money again")


@get("/payouts/{payout_id:str}/cancel", name="payouts:cancel_form", guards=[requires("payouts.request")])
async def cancel_form(
    request: HttpRequest, payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """The question before a payout is taken back."""
    return await _show(request, session, actor, payout_id, CANCEL)


@post("/payouts/{payout_id:str}/cancel", name="payouts:cancel", status_code=200, guards=[requires("payouts.request", fresh=True)])
async def cancel(
    request: HttpRequest, payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Take a payout back."""
    await _page(request, session, actor, payout_id, CANCEL)
    form = await read_form(request, ReasonForm)
    await requests.cancel_payout(session, actor, payout_id=queries.payout_id(payout_id), reason=form.reason)
    return redirect(request, f"/payouts/{payout_id}", toast="Cancelled; the wallet has the money again")


@get("/payouts/{payout_id:str}/hold", name="payouts:hold_form", guards=[requires("payouts.request")])
async def hold_form(
    request: HttpRequest, payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Why a payout is held, and until when."""
    return await _show(request, session, actor, payout_id, HOLD)


@post("/payouts/{payout_id:str}/hold", name="payouts:hold", status_code=200, guards=[requires("payouts.request", fresh=True)])
async def hold(
    request: HttpRequest, payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Stop a payout until somebody releases it, or until the end of a day."""
    await _page(request, session, actor, payout_id, HOLD)
    form = await read_form(request, HoldForm)
    await holds.hold_payout(session, actor, payout_id=queries.payout_id(payout_id), reason=form.reason, expires_at=end_of(form))
    return redirect(request, f"/payouts/{payout_id}", toast="On hold; it is not sent before the hold ends")


@get("/payouts/{payout_id:str}/edit", name="payouts:edit_form", guards=[requires("payouts.request")])
async def edit_form(
    request: HttpRequest, payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """What may still be changed."""
    return await _show(request, session, actor, payout_id, EDIT)


@post("/payouts/{payout_id:str}/edit", name="payouts:edit", status_code=200, guards=[requires("payouts.request", fresh=True)])
async def edit(
    request: HttpRequest, payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Change a payout; what was approved so far is void."""
    await _page(request, session, actor, payout_id, EDIT)
    form = await read_form(request, EditForm)
    await requests.edit_payout(
        session, actor, payout_id=queries.payout_id(payout_id), amount=form.amount, statement_text=form.statement_text
    )
    return redirect(request, f"/payouts/{payout_id}", toast="Changed; it needs every approval anew")


@get("/payouts/{payout_id:str}/retry", name="payouts:retry_form", guards=[requires("payouts.request")])
async def retry_form(
    request: HttpRequest, payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """What happens when a payout that failed or came back is paid again."""
    return await _show(request, session, actor, payout_id, RETRY)


@post("/payouts/{payout_id:str}/retry", name="payouts:retry", status_code=200, guards=[requires("payouts.request", fresh=True)])
async def retry(
    request: HttpRequest, payout_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Pay again what failed or came back, to the seller's present account."""
    await _page(request, session, actor, payout_id, RETRY)
    fresh = await requests.retry_payout(session, actor, payout_id=queries.payout_id(payout_id))
    return redirect(request, f"/payouts/{public_id('po', fresh.id)}", toast="Requested anew; others approve it")


@post("/payouts/{payout_id:str}/ask", name="payouts:ask", status_code=200, guards=[requires("payouts.read")])
async def ask(request: HttpRequest, payout_id: FromPath[str], actor: NamedDependency[Actor]) -> Response[str]:
    """Ask the bank about the payout now."""
    found = queries.payout_id(payout_id)
    await flows.refresh(merchant_id=actor.merchant, payout_id=found)
    async with unit_of_work(actor.merchant) as session:
        payout = await queries.payout(session, merchant_id=actor.merchant, payout_id=found)
    return redirect(request, f"/payouts/{payout_id}", toast=f"The payout is {payout.status.replace('_', ' ')}")


ROUTES = [
    show_payout,
    approve_form,
    approve,
    reject_form,
    reject,
    cancel_form,
    cancel,
    hold_form,
    hold,
    edit_form,
    edit,
    retry_form,
    retry,
    ask,
]
