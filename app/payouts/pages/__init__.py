"""Pages of payouts."""

from app.payouts.pages import decisions, details, holds, lists, rules, schedules

ROUTES = [*lists.ROUTES, *schedules.ROUTES, *rules.ROUTES, *holds.ROUTES, *details.ROUTES, *decisions.ROUTES]
