"""Pages about sellers' bank accounts."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.sellers import queries as sellers
from app.sellers.domain.bank_accounts import BankAccountStatus
from app.sellers.queries import bank_accounts as queries
from app.sellers.schemas import ReasonForm
from app.sellers.schemas.bank_accounts import ApproveForm, BankAccountForm, BankAccountPage, VerifyForm
from app.sellers.service import bank_accounts as service
from app.web.context import HttpRequest
from app.web.forms import read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

FORM = ("sellers/bank_account_new.html", "sellers/_bank_account_new.html")
APPROVE = ("sellers/bank_account_approve.html", "sellers/_bank_account_approve.html")
REJECT = ("sellers/bank_account_reject.html", "sellers/_bank_account_reject.html")
WITHDRAW = ("sellers/bank_account_withdraw.html", "sellers/_bank_account_withdraw.html")
VERIFY = ("sellers/bank_account_verify.html", "sellers/_bank_account_verify.html")


@get("/bank-accounts", name="bank_accounts:list", guards=[requires("payouts.read")])
async def list_bank_accounts(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Every seller's bank accounts."""
    asked = request.query_params
    page = await queries.bank_account_list_page(
        session, merchant_id=actor.merchant, status=asked.get("status", ""), after=asked.get("after")
    )
    return render(request, "sellers/bank_accounts.html", page)


@get("/bank-accounts/{bank_account_id:str}", name="bank_accounts:show", guards=[requires("payouts.read")])
async def show_bank_account(
    request: HttpRequest, bank_account_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One bank account."""
    page = await queries.bank_account_page(session, actor, account_id=queries.bank_account_id(bank_account_id))
    return render(request, "sellers/bank_account.html", page)


@get("/sellers/{seller_id:str}/bank-accounts", name="bank_accounts:of_seller", guards=[requires("payouts.read")])
async def seller_bank_accounts(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """The bank accounts of one seller."""
    page = await queries.seller_bank_accounts_page(session, merchant_id=actor.merchant, seller_id=sellers.seller_id(seller_id))
    return render(request, "sellers/bank_accounts_of.html", page, fragment="sellers/_bank_accounts_of.html")


@get("/sellers/{seller_id:str}/bank-accounts/new", name="bank_accounts:new", guards=[requires("payouts.request")])
async def new_bank_account(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """The form of a new bank account."""
    page = await queries.bank_account_form_page(session, merchant_id=actor.merchant, seller_id=sellers.seller_id(seller_id))
    return render(request, FORM[0], page, fragment=FORM[1])


@post(
    "/sellers/{seller_id:str}/bank-accounts",
    name="bank_accounts:propose",
    status_code=200,
    guards=[requires("payouts.request", fresh=True)],
)
async def propose_bank_account(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Propose where a seller's money shall go."""
    page = await queries.bank_account_form_page(session, merchant_id=actor.merchant, seller_id=sellers.seller_id(seller_id))
    answer_invalid_with(request, FORM[0], page, fragment=FORM[1])
    form = await read_form(request, BankAccountForm)
    await service.propose_account(
        session,
        actor,
        seller_id=sellers.seller_id(seller_id),
        kind=form.kind,
        currency=form.currency,
        holder_name=form.holder_name,
        number=form.number,
        routing=form.routing or "",
    )
    return redirect(request, f"/sellers/{seller_id}", toast="Proposed; somebody else has to approve it")


async def _page(request: HttpRequest, session: AsyncSession, actor: Actor, account_id: str, templates: tuple[str, str]) -> BankAccountPage:
    page = await queries.bank_account_page(session, actor, account_id=queries.bank_account_id(account_id))
    answer_invalid_with(request, templates[0], page, fragment=templates[1])
    return page


@get("/bank-accounts/{bank_account_id:str}/approve", name="bank_accounts:approve_form", guards=[requires("payouts.approve")])
async def approve_form(
    request: HttpRequest, bank_account_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """What a second person looks at before agreeing."""
    page = await _page(request, session, actor, bank_account_id, APPROVE)
    return render(request, APPROVE[0], page, fragment=APPROVE[1])


@post(
    "/bank-accounts/{bank_account_id:str}/approve",
    name="bank_accounts:approve",
    status_code=200,
    guards=[requires("payouts.approve", fresh=True)],
)
async def approve_bank_account(
    request: HttpRequest, bank_account_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Agree to a proposed bank account."""
    await _page(request, session, actor, bank_account_id, APPROVE)
    form = await read_form(request, ApproveForm)
    await service.approve_account(
        session, actor, account_id=queries.bank_account_id(bank_account_id), digest=form.digest, verified_by=form.verified_by
    )
    return redirect(request, f"/bank-accounts/{bank_account_id}", toast="Approved; it can be paid to when the cool-off ends")


@get("/bank-accounts/{bank_account_id:str}/reject", name="bank_accounts:reject_form", guards=[requires("payouts.approve")])
async def reject_form(
    request: HttpRequest, bank_account_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """The question before a proposal is refused."""
    page = await _page(request, session, actor, bank_account_id, REJECT)
    return render(request, REJECT[0], page, fragment=REJECT[1])


@post(
    "/bank-accounts/{bank_account_id:str}/reject",
    name="bank_accounts:reject",
    status_code=200,
    guards=[requires("payouts.approve", fresh=True)],
)
async def reject_bank_account(
    request: HttpRequest, bank_account_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Refuse a proposal."""
    await _page(request, session, actor, bank_account_id, REJECT)
    form = await read_form(request, ReasonForm)
    await service.reject_account(session, actor, account_id=queries.bank_account_id(bank_account_id), reason=form.reason)
    return redirect(request, f"/bank-accounts/{bank_account_id}", toast="The proposal is closed; nothing changed")


@get("/bank-accounts/{bank_account_id:str}/withdraw", name="bank_accounts:withdraw_form", guards=[requires("payouts.request")])
async def withdraw_form(
    request: HttpRequest, bank_account_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """The question before a proposal is taken back or an account used no more."""
    page = await _page(request, session, actor, bank_account_id, WITHDRAW)
    return render(request, WITHDRAW[0], page, fragment=WITHDRAW[1])


@post(
    "/bank-accounts/{bank_account_id:str}/withdraw",
    name="bank_accounts:withdraw",
    status_code=200,
    guards=[requires("payouts.request", fresh=True)],
)
async def withdraw_bank_account(
    request: HttpRequest, bank_account_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Take a proposal back, or use an account no more."""
    page = await _page(request, session, actor, bank_account_id, WITHDRAW)
    form, account_id = await read_form(request, ReasonForm), queries.bank_account_id(bank_account_id)
    if page.account.status is BankAccountStatus.ACTIVE:
        await service.retire_account(session, actor, account_id=account_id, reason=form.reason)
        return redirect(request, f"/bank-accounts/{bank_account_id}", toast="Nothing is paid to this account any more")
    await service.reject_account(session, actor, account_id=account_id, reason=form.reason)
    return redirect(request, f"/bank-accounts/{bank_account_id}", toast="The proposal is closed; nothing changed")


@get("/bank-accounts/{bank_account_id:str}/verify", name="bank_accounts:verify_form", guards=[requires("payouts.approve")])
async def verify_form(
    request: HttpRequest, bank_account_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """How the account was verified."""
    page = await _page(request, session, actor, bank_account_id, VERIFY)
    return render(request, VERIFY[0], page, fragment=VERIFY[1])


@post(
    "/bank-accounts/{bank_account_id:str}/verify",
    name="bank_accounts:verify",
    status_code=200,
    guards=[requires("payouts.approve", fresh=True)],
)
async def verify_bank_account(
    request: HttpRequest, bank_account_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Say that the account is the seller's."""
    await _page(request, session, actor, bank_account_id, VERIFY)
    form = await read_form(request, VerifyForm)
    await service.verify_account(session, actor, account_id=queries.bank_account_id(bank_account_id), verified_by=form.verified_by)
    return redirect(request, f"/bank-accounts/{bank_account_id}", toast="Verified")


ROUTES = [
    list_bank_accounts,
    show_bank_account,
    seller_bank_accounts,
    new_bank_account,
    propose_bank_account,
    approve_form,
    approve_bank_account,
    reject_form,
    reject_bank_account,
    withdraw_form,
    withdraw_bank_account,
    verify_form,
    verify_bank_account,
]
