"""Step-up: acts that matter need a second factor shown lately, and one proof of it is good for so much money.

The question interrupts the act, carries its form and sends it again. A program that acts with a person's session is answered as RFC 9470
says: 401, ``insufficient_user_authentication`` and how fresh the factor must be.
"""

from collections.abc import Awaitable, Callable, Collection
from datetime import timedelta

import msgspec
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.clock import now
from app.core.db import unit_of_work
from app.core.errors import AppError, Forbidden, Invalid
from app.core.money import Money, exponent, total
from app.core.settings import settings
from app.web import csrf, sessions
from app.web.context import CSRF_FIELD, HttpRequest, wants_json
from app.web.sessions import Visitor

STEP_UP_FIELD = "step_up_code"
_FORMS = ("application/x-www-form-urlencoded", "multipart/form-data")


class KeptField(msgspec.Struct, frozen=True):
    """One field of the form that the step-up interrupted."""

    name: str
    value: str


class StepUpRequired(Forbidden):
    """This needs a second factor shown in the last minutes; answer with the dialog, which sends the same form again with a code."""

    code = "step_up_required"
    title = "Confirm it is you"

    def __init__(self, *, path: str, kept: list[KeptField], problem: str | None, has_form: bool) -> None:
        super().__init__(problem or "Enter a code from your authenticator app to go on.")
        self.path, self.kept, self.problem, self.has_form = path, kept, problem, has_form


class FactorTooOld(AppError):
    """The person's second factor is older than this act allows: prove it anew (POST /step-up) and repeat; `max_age` is in seconds (RFC 9470)."""

    status = 401
    code = "insufficient_user_authentication"
    title = "A fresher second factor is needed"

    @property
    def challenge(self) -> str:
        """The WWW-Authenticate header that says what is missing."""
        parts = {"error": self.code, "error_description": "A fresher second factor is needed", "max_age": str(self.extra["max_age"])}
        return 'Bearer realm="countinghouse", ' + ", ".join(f'{name}="{text}"' for name, text in parts.items())


StepUp = Callable[[HttpRequest, Visitor, str], Awaitable[Visitor]]
"""Check a code and renew the session; answered by a higher floor. Raises Invalid when the code is not right."""


async def demand(request: HttpRequest, actor: Actor, visitor: Visitor, *, permission: str | None, own: bool) -> None:
    """Go on only with a factor as fresh as the permission asks; a code that came with the form makes it fresh.

    ``own``: the act is about the person's own account, not about a merchant or the platform.
    """
    minutes = _minutes(visitor, permission or "")
    is_fresh = _is_fresh(actor, minutes)
    if visitor.factor == (sessions.MERCHANTS_PROVIDER if own else sessions.RECOVERY_CODE):
        # the account is good at other merchants too: what one merchant's provider says of a factor does not open it;
        # and a recovery code opens the account, where another factor is set up, and moves no money
        is_fresh = False
    code = next((field.value for field in await _fields(request) if field.name == STEP_UP_FIELD), "")
    problem = None
    if code:
        try:
            await request.app.state.step_up(request, visitor, code)
        except Invalid as refused:
            # should the amount ask for the factor once more, the dialog says what was wrong with this one
            problem = request.state.step_up_problem = refused.detail
        else:
            return
    if not is_fresh:
        raise await _question(request, max_age=minutes * 60, problem=problem)


def _minutes(visitor: Visitor, permission: str) -> int:
    return min(settings().step_up_minutes, visitor.fresh_minutes.get(permission, settings().step_up_minutes))


def _is_fresh(actor: Actor, minutes: int) -> bool:
    return actor.factor_at is not None and now() - actor.factor_at <= timedelta(minutes=minutes)


async def demand_also(request: HttpRequest, permissions: Collection[str]) -> None:
    """The same where an act turns out to be done under further permissions: the strictest of them holds.

    A code that came with the form was taken at the door already.
    """
    visitor: Visitor | None = request.state.visitor
    minutes = min((_minutes(visitor, permission) for permission in permissions), default=None) if visitor is not None else None
    if minutes is not None and not _is_fresh(request.state.actor, minutes):
        raise await _question(request, max_age=minutes * 60, problem=getattr(request.state, "step_up_problem", None))


_MAJOR_PER_PROOF = 25_000


def default_limit(currency: str) -> int:
    """How much, in minor units, one proof is good for until the merchant says otherwise: 25,000, or 2,500,000 where there are no decimals."""
    places = exponent(currency)
    return _MAJOR_PER_PROOF * (10**places if places else 100)


async def spend(request: HttpRequest, *amounts: Money, session: AsyncSession | None = None) -> None:
    """Count money that is about to leave against what one proof of the factor is good for; above it the person is asked, however fresh it is.

    In the act's own transaction where there is one, so that an act that fails has spent nothing.
    """
    visitor: Visitor | None = request.state.visitor
    if visitor is None:
        return
    if session is None:
        async with unit_of_work(None) as own:
            await spend(request, *amounts, session=own)
        return
    for currency in sorted({amount.currency for amount in amounts}):
        amount = total([one for one in amounts if one.currency == currency], currency)
        limit = visitor.money_limits.get(currency, default_limit(currency))
        if not await sessions.spend_proof(session, visitor.session_id, amount, limit_minor=limit):
            raise await _question(request, max_age=60, problem=getattr(request.state, "step_up_problem", None))


async def _question(request: HttpRequest, *, max_age: int, problem: str | None) -> AppError:
    if wants_json(request):
        return FactorTooOld(problem or "Show the second factor and repeat.", max_age=max_age)
    has_form = request.method not in csrf.SAFE_METHODS
    kept = [field for field in await _fields(request) if field.name not in {STEP_UP_FIELD, CSRF_FIELD}]
    path = request.url.path + (f"?{request.url.query}" if request.url.query else "")
    if any("secret" in field.name for field in kept):
        # a credential must not travel through the dialog's page: the form is opened again and filled in anew
        return StepUpRequired(path=path, kept=[], problem=problem, has_form=False)
    return StepUpRequired(path=path, kept=kept, problem=problem, has_form=has_form)


async def _fields(request: HttpRequest) -> list[KeptField]:
    if request.method in csrf.SAFE_METHODS or request.content_type[0] not in _FORMS:
        return []
    return [KeptField(name, value) for name, value in (await request.form()).multi_items() if isinstance(value, str)]
