"""Pages of payouts."""

from app.payouts.pages import details, holds, lists, rules, schedules

ROUTES = [*lists.ROUTES, *schedules.ROUTES, *rules.ROUTES, *holds.ROUTES, *details.ROUTES]
