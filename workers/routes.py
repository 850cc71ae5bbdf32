"""Who acts on what: every topic with the actors that hear of it, and what the clock brings."""

import msgspec

ROUTES: dict[str, tuple[str, ...]] = {
    "psp.event_received": ("payments.apply_psp_event",),
    "clock.outcomes_due": ("payments.ask_due",),
    "clock.payments_due": ("payments.expire_due",),
    "clock.orders_due": ("orders.expire_due",),
    "clock.funds_due": ("wallets.release_due",),
    "clock.balances_due": ("ledger.roll_up",),
    "clock.partitions_due": ("ledger.ensure_partitions",),
    "clock.figures_due": ("reports.count_events",),
    "clock.seals_due": ("ledger.seal",),
    "clock.reconciliation_due": ("reconciliation.compare_all",),
    "clock.tidying_due": ("identity.tidy", "upkeep.forget_jobs"),
}
"""Topic of an event -> the actors, named `<module under workers>.<function>`. A topic nobody listens to needs no line."""


class Recurring(msgspec.Struct, frozen=True):
    """An event the clock publishes: a crontab line, read in a time zone; a line of six fields begins with the seconds."""

    cron: str
    timezone: str = "UTC"


CALENDAR: dict[str, Recurring] = {
    "clock.outcomes_due": Recurring("*/5 * * * * *"),
    "clock.payments_due": Recurring("* * * * *"),
    "clock.orders_due": Recurring("* * * * *"),
    "clock.funds_due": Recurring("* * * * *"),
    "clock.balances_due": Recurring("*/5 * * * * *"),
    "clock.partitions_due": Recurring("7 * * * *"),
    "clock.figures_due": Recurring("*/30 * * * * *"),
    "clock.seals_due": Recurring("12 * * * *"),
    "clock.reconciliation_due": Recurring("30 4 * * *"),
    "clock.tidying_due": Recurring("17 * * * *"),
}
"""Topic the scheduler publishes -> when."""
