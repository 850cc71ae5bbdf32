"""Reads about roles: those of the house and those that the merchant made, what each allows and who holds it."""

from uuid import UUID

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from app.core.actors import Actor
from app.core.errors import Invalid
from app.core.ids import MalformedId, parse_id, path_id, public_id
from app.tenancy.domain import OTHER_ROLE, PERMISSIONS, KnownRole, Role, RoleNotFound, house_roles
from app.tenancy.models import Membership, Merchant, MerchantRole
from app.tenancy.schemas import PermissionGroup, PermissionRow, RoleFormPage, RoleOption, RoleRow, RolesPage


async def _is_sandbox(session: AsyncSession, actor: Actor) -> bool:
    return await session.scalar(select(Merchant.sandbox_of).where(Merchant.id == actor.merchant)) is not None


async def own_roles(session: AsyncSession, actor: Actor) -> list[KnownRole]:
    """The roles that the merchant made, by name."""
    rows = await session.scalars(select(MerchantRole).where(MerchantRole.merchant_id == actor.merchant).order_by(MerchantRole.name_lc))
    return [known(row) for row in rows]


def known(row: MerchantRole) -> KnownRole:
    """A role that the merchant made, as one that can be given."""
    permissions = frozenset(row.permissions) & PERMISSIONS.keys()
    return KnownRole(name=OTHER_ROLE, label=row.name, summary=row.summary, permissions=permissions, id=row.id)


async def known_roles(session: AsyncSession, actor: Actor) -> list[KnownRole]:
    """Every role that can be held at the merchant."""
    return house_roles(sandbox=await _is_sandbox(session, actor)) + await own_roles(session, actor)


async def own_role(session: AsyncSession, actor: Actor, *, role_id: UUID, lock: bool = False) -> MerchantRole:
    """One of the roles that the merchant made."""
    statement = select(MerchantRole).where(MerchantRole.merchant_id == actor.merchant, MerchantRole.id == role_id)
    found = await session.scalar(statement.with_for_update() if lock else statement)
    if found is None:
        raise RoleNotFound()
    return found


async def role(session: AsyncSession, actor: Actor, wanted: Role | UUID) -> KnownRole:
    """A role of the house, or one of the merchant's own by its id."""
    if isinstance(wanted, UUID):
        return known(await own_role(session, actor, role_id=wanted, lock=True))
    return next(one for one in house_roles(sandbox=await _is_sandbox(session, actor)) if one.name == wanted)


def chosen(text: str) -> Role | UUID:
    """The role that a form or an address names."""
    if text in set(Role):
        return Role(text)
    try:
        return parse_id("rol", text)
    except MalformedId:
        raise Invalid(fields={"role": "Choose one of the options."}) from None


def written(role: Role | UUID) -> str:
    """A role as forms, addresses and invitations name it."""
    return public_id("rol", role) if isinstance(role, UUID) else role.value


def role_id(text: str) -> UUID:
    """The id of a merchant's own role in an address."""
    return path_id("rol", text, otherwise=RoleNotFound())


async def roles_page(session: AsyncSession, actor: Actor) -> RolesPage:
    """Which role may do what at this merchant, and how many hold it."""
    found = await known_roles(session, actor)
    counted = select(Membership.role, Membership.role_id, func.count()).where(Membership.merchant_id == actor.merchant)
    rows = await session.execute(counted.group_by(Membership.role, Membership.role_id))
    members = {(name, own): count for name, own, count in rows}
    return RolesPage(
        roles=[
            RoleRow(
                value=one.value,
                label=one.label,
                summary=one.summary,
                members=members.get((one.name, one.id), 0),
                is_own=one.id is not None,
                permissions=len(one.permissions),
            )
            for one in found
        ],
        groups=_groups([one.permissions for one in found]),
        sandbox=await _is_sandbox(session, actor),
        may_change=actor.can("team.write"),
    )


def _groups(granted: list[frozenset[str]]) -> list[PermissionGroup]:
    groups: dict[str, list[PermissionRow]] = {}
    for name, one in PERMISSIONS.items():
        row = PermissionRow(name=name, meaning=one.meaning, granted=[name in permissions for permissions in granted])
        groups.setdefault(one.group, []).append(row)
    return [PermissionGroup(title=title, permissions=rows) for title, rows in groups.items()]


async def new_role_page(session: AsyncSession, actor: Actor, *, copy: str = "") -> RoleFormPage:
    """The form of a new role, empty or filled from another one."""
    source = await role(session, actor, chosen(copy)) if copy else None
    name = f"{source.label} copy" if source else ""
    held = source.permissions & actor.grantable if source else frozenset[str]()
    left_out = sorted(source.permissions - actor.grantable) if source else []
    return _form(actor, action="/team/roles", name=name, summary=source.summary if source else "", held=held, left_out=left_out)


async def edit_role_page(session: AsyncSession, actor: Actor, *, role_id: UUID) -> RoleFormPage:
    """The form to change a role that the merchant made."""
    found = known(await own_role(session, actor, role_id=role_id))
    return _form(actor, action=f"/team/roles/{found.value}/edit", name=found.label, summary=found.summary, held=found.permissions)


def _form(actor: Actor, *, action: str, name: str, summary: str, held: frozenset[str], left_out: list[str] | None = None) -> RoleFormPage:
    offered: dict[str, list[tuple[str, str]]] = {}
    for permission, one in PERMISSIONS.items():
        if permission in actor.grantable | held:
            offered.setdefault(one.group, []).append((permission, one.meaning))
    groups = list(offered.items())
    return RoleFormPage(action=action, name=name, summary=summary, held=sorted(held), groups=groups, left_out=left_out or [])


async def options(session: AsyncSession, actor: Actor, *, is_owner: bool) -> list[RoleOption]:
    """The roles that this actor may give: those that allow nothing they may not do themselves; and the owner's only by an owner."""
    found = await known_roles(session, actor)
    return [
        RoleOption(one.value, one.label, one.summary)
        for one in found
        if one.permissions <= actor.grantable and (one.name != Role.OWNER or is_owner)
    ]
