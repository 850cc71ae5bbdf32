"""The approvals: one list of everything that waits for a second person, and one dialog to decide."""

from litestar import Response, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, FromQuery

from app.approvals.domain import Waiting
from app.core.actors import Actor
from app.inbox import flows
from app.inbox.schemas import ChosenForm, DecisionForm, DecisionPage, InboxPage, RequestedPage
from app.payments.refund_requests import flows as refunds
from app.web import step_up
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

Who = NamedDependency[Actor]
REQUESTED = "/approvals/requested"
LIST, DIALOG = "inbox/list.html", ("inbox/decide.html", "inbox/_decide.html")
DECIDING = [requires("approvals.decide", fresh=True)]


async def _page(
    actor: Actor, *, kind: str = "", after: str | None = None, results: list[tuple[str, str, bool, str]] | None = None
) -> InboxPage:
    counts = await flows.counts(actor)
    return InboxPage(
        waiting=await flows.waiting(actor, kind=kind, after=after),
        kinds=[("", "All", sum(counts.values())), *((name, flows.KINDS[name].label, count) for name, count in counts.items())],
        kind=kind,
        results=results or [],
        may_ask=actor.can("payments.refund"),
    )


@get("/approvals", name="approvals:list", guards=[requires("approvals.decide")])
async def list_approvals(request: HttpRequest, actor: Who, kind: FromQuery[str] = "", after: FromQuery[str] = "") -> Response[str]:
    """Everything that waits for a yes or no, oldest first."""
    return render(request, LIST, await _page(actor, kind=kind if kind in flows.KINDS else "", after=after or None))


@post("/approvals", name="approvals:approve_many", status_code=200, guards=DECIDING)
async def approve_many(request: HttpRequest, actor: Who) -> Response[str]:
    """Agree to the chosen ones, each as it was shown, and say for each what came of it."""
    answer_invalid_with(request, LIST, await _page(actor))
    form = await read_form(request, ChosenForm)
    parts = [(kind, item, digest) for kind, item, digest in (text.split(":", 2) for text in form.chosen if text.count(":") >= 2)]
    found = await flows.some(actor, [(kind, item) for kind, item, _ in parts])
    chosen = [(found[kind, item], digest) for kind, item, digest in parts if (kind, item) in found and found[kind, item].may_decide]
    await step_up.demand_also(request, _decided_under(actor, {kind for kind, _, _ in parts}))
    await step_up.spend(request, *(each.amount for each, _ in chosen if each.amount is not None))
    results = await flows.approve_each(actor, chosen)
    gone = len(form.chosen) - len(chosen)
    results += [("What does not wait any more", "/approvals", False, f"{gone} of the chosen")] if gone else []
    done = sum(1 for _, _, is_done, _ in results if is_done)
    return render(request, LIST, await _page(actor, results=results), toast=f"{done} of {len(form.chosen)} approved")


@get(REQUESTED, name="approvals:requested", guards=[requires("payments.refund")])
async def list_requested(request: HttpRequest, actor: Who) -> Response[str]:
    """What one asked others to agree to and what still waits."""
    page = RequestedPage(waiting=await refunds.requested(actor), may_decide=actor.can("approvals.decide"))
    return render(request, "inbox/requested.html", page)


@post(f"{REQUESTED}/{{asked_id:str}}/withdraw", name="approvals:withdraw", status_code=200, guards=[requires("payments.refund")])
async def withdraw(request: HttpRequest, asked_id: FromPath[str], actor: Who) -> Response[str]:
    """Take one's own request back."""
    await refunds.withdraw(actor, item=asked_id)
    return redirect(request, REQUESTED, toast="Taken back; nothing was moved")


def _decided_under(actor: Actor, kinds: set[str]) -> frozenset[str]:
    """The permissions by which the person decides about these kinds: how fresh a factor each of them asks for holds here as well."""
    return frozenset(name for kind in kinds if kind in flows.KINDS for name in flows.KINDS[kind].permissions) & actor.permissions


async def _shown(request: HttpRequest, actor: Actor, kind: str, item: str) -> tuple[flows.Kind, Waiting]:
    found, each = await flows.item(actor, kind=kind, item=item)
    answer_invalid_with(request, DIALOG[0], DecisionPage(label=found.label, item=each), fragment=DIALOG[1])
    return found, each


@get("/approvals/{kind:str}/{item_id:str}", name="approvals:decide_form", guards=[requires("approvals.decide")])
async def show_decision(request: HttpRequest, kind: FromPath[str], item_id: FromPath[str], actor: Who) -> Response[str]:
    """What an approver looks at before deciding."""
    found, each = await _shown(request, actor, kind, item_id)
    return render(request, DIALOG[0], DecisionPage(label=found.label, item=each), fragment=DIALOG[1])


@post("/approvals/{kind:str}/{item_id:str}", name="approvals:decide", status_code=200, guards=DECIDING)
async def decide(request: HttpRequest, kind: FromPath[str], item_id: FromPath[str], actor: Who) -> Response[str]:
    """Say yes or no to exactly what was shown."""
    found, each = await _shown(request, actor, kind, item_id)
    await step_up.demand_also(request, _decided_under(actor, {found.name}))
    form = await read_form(request, DecisionForm)
    if form.decision == "approve" and each.amount is not None:
        await step_up.spend(request, each.amount)
    said = await flows.decide(actor, kind=found, shown=each, digest=form.digest, approve=form.decision == "approve", reason=form.reason)
    return redirect(request, "/approvals", toast=said)


ROUTES = [list_approvals, approve_many, list_requested, withdraw, show_decision, decide]
