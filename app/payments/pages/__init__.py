"""Pages of payments."""

from app.payments.pages import lists

ROUTES = [*lists.ROUTES]
