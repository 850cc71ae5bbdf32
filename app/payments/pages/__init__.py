"""Pages of payments."""

from app.payments.pages import cancellation, checkout, conflicts, decisions, details, lists, operations

ROUTES = [*lists.ROUTES, *details.ROUTES, *operations.ROUTES, *checkout.ROUTES, *cancellation.ROUTES, *conflicts.ROUTES, *decisions.ROUTES]
