"""Pages about sellers."""

from litestar import get, post
from litestar.di import NamedDependency
from litestar.params import FromPath
from litestar.response import Response
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.ids import SellerId, public_id
from app.core.money import Money
from app.sellers import queries, service
from app.sellers.domain import FeeTerms, basis_points
from app.sellers.schemas import CurrencyForm, FeeForm, ReasonForm, SellerForm, SellerFormPage
from app.web.context import HttpRequest
from app.web.forms import InvalidForm, read_form
from app.web.guards import requires
from app.web.rendering import answer_invalid_with, redirect, render

LIST = ("sellers/list.html", "sellers/_rows.html")
FORM = ("sellers/form.html", "sellers/_form.html")
STATUS = ("sellers/status.html", "sellers/_status.html")
FEE = ("sellers/fee.html", "sellers/_fee.html")


def _id(text: str) -> SellerId:
    return queries.seller_id(text)


@get("/sellers", name="sellers:list", guards=[requires("sellers.read")])
async def list_sellers(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Everybody who sells here."""
    asked = request.query_params
    page = await queries.seller_list_page(
        session, merchant_id=actor.merchant, query=asked.get("q", ""), status=asked.get("status", ""), after=asked.get("after")
    )
    return render(request, LIST[0], page, fragment=LIST[1])


@get("/sellers/new", name="sellers:new", guards=[requires("sellers.write")])
async def new_seller(request: HttpRequest) -> Response[str]:
    """The form of a new seller."""
    return render(request, FORM[0], SellerFormPage(), fragment=FORM[1])


@post("/sellers", name="sellers:add", status_code=200, guards=[requires("sellers.write")])
async def add_seller(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Add a seller."""
    answer_invalid_with(request, FORM[0], SellerFormPage(), fragment=FORM[1])
    form = await read_form(request, SellerForm)
    if not form.reference:
        raise InvalidForm("Some of it cannot be accepted.", fields={"reference": "Enter a reference."})
    seller = await service.add_seller(session, actor, reference=form.reference, name=form.name, email=form.email, country=form.country)
    return redirect(request, f"/sellers/{public_id('sel', seller.id)}", toast=f"{seller.name} was added")


@get("/sellers/{seller_id:str}", name="sellers:show", guards=[requires("sellers.read")])
async def show_seller(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """One seller."""
    return render(
        request, "sellers/show.html", await queries.seller_detail_page(session, merchant_id=actor.merchant, seller_id=_id(seller_id))
    )


@get("/sellers/{seller_id:str}/edit", name="sellers:edit_form", guards=[requires("sellers.write")])
async def edit_seller_form(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """The form of a seller that is there."""
    page = await queries.seller_form_page(session, merchant_id=actor.merchant, seller_id=_id(seller_id))
    return render(request, FORM[0], page, fragment=FORM[1])


@post("/sellers/{seller_id:str}/edit", name="sellers:edit", status_code=200, guards=[requires("sellers.write")])
async def edit_seller(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Change how a seller is called and reached."""
    page = await queries.seller_form_page(session, merchant_id=actor.merchant, seller_id=_id(seller_id))
    answer_invalid_with(request, FORM[0], page, fragment=FORM[1])
    form = await read_form(request, SellerForm)
    await service.edit_seller(session, actor, seller_id=_id(seller_id), name=form.name, email=form.email, country=form.country)
    return redirect(request, f"/sellers/{seller_id}", toast="Changes saved")


@get("/sellers/{seller_id:str}/block", name="sellers:block_form", guards=[requires("sellers.write")])
async def block_seller_form(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """The question before a seller is blocked."""
    return render(
        request,
        STATUS[0],
        await queries.seller_status_page(session, merchant_id=actor.merchant, seller_id=_id(seller_id), event="block"),
        fragment=STATUS[1],
    )


@post("/sellers/{seller_id:str}/block", name="sellers:block", status_code=200, guards=[requires("sellers.write")])
async def block_seller(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Block a seller from new orders."""
    return await _change_status(request, session, actor, seller_id, event="block", toast="{name} takes no new orders now")


@get("/sellers/{seller_id:str}/unblock", name="sellers:unblock_form", guards=[requires("sellers.write")])
async def unblock_seller_form(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """The question before a seller may sell again."""
    return render(
        request,
        STATUS[0],
        await queries.seller_status_page(session, merchant_id=actor.merchant, seller_id=_id(seller_id), event="unblock"),
        fragment=STATUS[1],
    )


@post("/sellers/{seller_id:str}/unblock", name="sellers:unblock", status_code=200, guards=[requires("sellers.write")])
async def unblock_seller(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Let a blocked seller sell again."""
    return await _change_status(request, session, actor, seller_id, event="unblock", toast="{name} may sell again")


async def _change_status(
    request: HttpRequest, session: AsyncSession, actor: Actor, seller_id: str, *, event: str, toast: str
) -> Response[str]:
    page = await queries.seller_status_page(session, merchant_id=actor.merchant, seller_id=_id(seller_id), event=event)
    answer_invalid_with(request, STATUS[0], page, fragment=STATUS[1])
    form = await read_form(request, ReasonForm)
    seller = await service.change_status(session, actor, seller_id=_id(seller_id), event=event, reason=form.reason)
    return redirect(request, f"/sellers/{seller_id}", toast=toast.format(name=seller.name))


@get("/sellers/fees", name="sellers:general_fee_form", guards=[requires("sellers.write")])
async def general_fee_form(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """The form of what the platform keeps of everybody's sales."""
    return await _fee_form(request, session, actor, None)


@post("/sellers/fees", name="sellers:set_general_fee", status_code=200, guards=[requires("sellers.write", fresh=True)])
async def set_general_fee(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Set what the platform keeps of everybody's sales in a currency."""
    return await _set_fee(request, session, actor, None)


@post("/sellers/fees/remove", name="sellers:remove_general_fee", status_code=200, guards=[requires("sellers.write", fresh=True)])
async def remove_general_fee(request: HttpRequest, session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]) -> Response[str]:
    """Keep nothing in a currency any more, except from sellers with a fee of their own."""
    return await _remove_fee(request, session, actor, None)


@get("/sellers/{seller_id:str}/fees", name="sellers:fee_form", guards=[requires("sellers.write")])
async def fee_form(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """The form of one seller's own fee."""
    return await _fee_form(request, session, actor, _id(seller_id))


@post("/sellers/{seller_id:str}/fees", name="sellers:set_fee", status_code=200, guards=[requires("sellers.write", fresh=True)])
async def set_fee(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Set one seller's own fee in a currency."""
    return await _set_fee(request, session, actor, _id(seller_id))


@post("/sellers/{seller_id:str}/fees/remove", name="sellers:remove_fee", status_code=200, guards=[requires("sellers.write", fresh=True)])
async def remove_fee(
    request: HttpRequest, seller_id: FromPath[str], session: NamedDependency[AsyncSession], actor: NamedDependency[Actor]
) -> Response[str]:
    """Let a seller follow the merchant's fee again."""
    return await _remove_fee(request, session, actor, _id(seller_id))


async def _fee_form(request: HttpRequest, session: AsyncSession, actor: Actor, seller_id: SellerId | None) -> Response[str]:
    currency = request.query_params.get("currency", "")
    page = await queries.fee_form_page(session, merchant_id=actor.merchant, seller_id=seller_id, currency=currency)
    return render(request, FEE[0], page, fragment=FEE[1])


async def _set_fee(request: HttpRequest, session: AsyncSession, actor: Actor, seller_id: SellerId | None) -> Response[str]:
    currency = request.query_params.get("currency", "")
    page = await queries.fee_form_page(session, merchant_id=actor.merchant, seller_id=seller_id, currency=currency)
    answer_invalid_with(request, FEE[0], page, fragment=FEE[1])
    form = await read_form(request, FeeForm)
    terms = FeeTerms(basis_points=basis_points(form.percent), fixed_minor=form.fixed.minor)
    await service.set_fee(session, actor, currency=form.fixed.currency, terms=terms, seller_id=seller_id)
    example = terms.of(Money.parse("100", form.fixed.currency))
    return redirect(request, page.back, toast=f"Fee saved: {example.format()} of each {Money.parse('100', example.currency).format()}")


async def _remove_fee(request: HttpRequest, session: AsyncSession, actor: Actor, seller_id: SellerId | None) -> Response[str]:
    form = await read_form(request, CurrencyForm)
    await service.remove_fee(session, actor, currency=form.currency, seller_id=seller_id)
    back = "/sellers" if seller_id is None else f"/sellers/{public_id('sel', seller_id)}"
    return redirect(request, back, toast=f"{form.currency} fee removed")


ROUTES = [
    list_sellers,
    new_seller,
    add_seller,
    show_seller,
    edit_seller_form,
    edit_seller,
    block_seller_form,
    block_seller,
    unblock_seller_form,
    unblock_seller,
    general_fee_form,
    set_general_fee,
    remove_general_fee,
    fee_form,
    set_fee,
    remove_fee,
]
