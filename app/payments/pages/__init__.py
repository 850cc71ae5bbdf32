"""Pages of payments."""

from app.payments.pages import details, lists, operations

ROUTES = [*lists.ROUTES, *details.ROUTES, *operations.ROUTES]
