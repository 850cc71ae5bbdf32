"""Pages of payouts."""

from app.payouts.pages import details, lists, rules, schedules

ROUTES = [*lists.ROUTES, *schedules.ROUTES, *rules.ROUTES, *details.ROUTES]
