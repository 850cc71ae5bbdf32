"""The web application: every feature's routes behind one frame."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from litestar import Litestar

from app.api_access import api as api_access_api
from app.api_access import pages as api_access_pages
from app.api_access import queries as api_access
from app.approvals import pages as approvals
from app.core import db, logs, outbound
from app.core.settings import settings
from app.identity import pages as identity
from app.identity.providers import queries as sign_in
from app.inbox import pages as inbox
from app.ledger import pages as ledger
from app.ops import pages as ops
from app.ops.console import pages as console
from app.ops.queue import pages as queue
from app.orders import api as orders_api
from app.orders import pages as orders
from app.payments import api as payments_api
from app.payments import pages as payments
from app.payouts import api as payouts_api
from app.payouts import pages as payouts
from app.psp import api as psp_api
from app.psp import pages as psp
from app.reconciliation import pages as reconciliation
from app.reports import pages as reports
from app.routing import pages as routing
from app.sellers import api as sellers_api
from app.sellers import pages as sellers
from app.tenancy import pages as tenancy
from app.tenancy import queries as people
from app.tenancy.admissions import pages as admissions
from app.tenancy.audit import pages as audit
from app.tenancy.domain import SENSITIVE_READS
from app.tenancy.invitations import pages as invitations
from app.tenancy.members import pages as members
from app.tenancy.resets import pages as resets
from app.tenancy.roles import pages as roles
from app.tenancy.rules import pages as rules
from app.tenancy.sso import pages as sso
from app.wallets import api as wallets_api
from app.wallets import pages as wallets
from app.web import health, mails, metrics, patterns, problems, requests, violations
from app.web.bodies import StrictRequest
from app.web.static import static_route

FEATURES = (
    health,
    violations,
    patterns,
    mails,
    identity,
    tenancy,
    audit,
    invitations,
    resets,
    members,
    roles,
    rules,
    sso,
    admissions,
    approvals,
    api_access_pages,
    api_access_api,
    psp,
    psp_api,
    routing,
    sellers,
    sellers_api,
    wallets,
    wallets_api,
    ledger,
    orders,
    orders_api,
    payments,
    payments_api,
    payouts,
    payouts_api,
    reconciliation,
    reports,
    inbox,
    ops,
    console,
    queue,
)


@asynccontextmanager
async def _lifespan(_app: Litestar) -> AsyncIterator[None]:
    metrics.serve(settings())
    yield
    outbound.close()
    await db.dispose()


def create_app() -> Litestar:
    """Put the house together: routes, dependencies, the frame around every request."""
    logs.configure(settings())
    sign_in.providers()  # a setting that cannot be read stops the server, not somebody's sign-in
    app = Litestar(
        route_handlers=[static_route(), *(route for feature in FEATURES for route in feature.ROUTES)],
        dependencies=requests.DEPENDENCIES,
        exception_handlers=problems.EXCEPTION_HANDLERS,
        request_class=StrictRequest,
        request_max_body_size=requests.MAX_BODY,
        lifespan=[_lifespan],
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    requests.install(app, visitors=people.visitor, key_holders=api_access.key_holder, step_up=identity.step_up, sensitive=SENSITIVE_READS)
    return app
