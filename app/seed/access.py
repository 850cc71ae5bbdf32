"""What the demo shows of roles and approvals: a role of the merchant's own, a member with a limit, and a refund that waits for others."""

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.ids import PaymentId, parse_id
from app.core.money import Money
from app.payments.refund_requests import flows as requests
from app.tenancy import queries as teams
from app.tenancy.domain import Role
from app.tenancy.members import service as members
from app.tenancy.roles import service as roles

CLERK = ("merchant.read", "orders.read", "orders.write", "payments.read", "payments.create", "customers.read")


async def leave_for_today(*, owner: Actor, support: Actor, payment_id: PaymentId, currency: str) -> None:
    """Somebody asks for a refund above their limit; others find it in their approvals."""
    async with unit_of_work(owner.merchant) as session:
        await roles.create_role(
            session, owner, name="Order desk", summary="Takes orders and payments; gives nothing back.", permissions=CLERK
        )
        team = await teams.team(session, owner)
        member = next(one for one in team.members if one.role == Role.SUPPORT)
        most = Money(200, currency)
        await members.set_limit(session, owner, member_id=parse_id("mem", member.id), permission="payments.refund", most=most)
    await requests.ask(support, payment_id=payment_id, amount=Money(300, currency), split=None, reason="Goodwill", keep_fee=False)
