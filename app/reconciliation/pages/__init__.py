"""Pages about reconciliation."""

from app.reconciliation.pages import breaks, overview, sources

ROUTES = [*overview.ROUTES, *breaks.ROUTES, *sources.ROUTES]
