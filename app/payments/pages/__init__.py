"""Pages of payments."""

from app.payments.pages import checkout, details, lists, operations

ROUTES = [*lists.ROUTES, *details.ROUTES, *operations.ROUTES, *checkout.ROUTES]
