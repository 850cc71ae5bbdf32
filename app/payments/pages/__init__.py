"""Pages of payments."""

from app.payments.pages import cancellation, checkout, conflicts, details, lists, operations

ROUTES = [*lists.ROUTES, *details.ROUTES, *operations.ROUTES, *checkout.ROUTES, *cancellation.ROUTES, *conflicts.ROUTES]
