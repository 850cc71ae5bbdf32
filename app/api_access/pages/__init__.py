"""Pages about API keys and OAuth clients."""

from app.api_access.pages import clients, keys

ROUTES = [*keys.ROUTES, *clients.ROUTES]
