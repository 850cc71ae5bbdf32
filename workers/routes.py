"""Who acts on what: every topic with the actors that hear of it, in which line they stand, and what the clock brings."""

from enum import StrEnum

import msgspec

ROUTES: dict[str, tuple[str, ...]] = {
    "reconciliation.file_received": ("reconciliation.take_file",),
    "reconciliation.comparison_due": ("reconciliation.compare_one",),
    "reconciliation.fetch_asked": ("reconciliation.fetch",),
    "clock.reports_due": ("reconciliation.fetch_due",),
    "clock.drops_due": ("reconciliation.sweep_drops",),
    "psp.event_received": ("payments.apply_psp_event", "payouts.apply_psp_event"),
    "clock.outcomes_due": ("payments.ask_due",),
    "clock.payments_due": ("payments.expire_due",),
    "clock.payouts_due": ("payouts.send_due", "payouts.ask_due"),
    "clock.payouts_expiring": ("payouts.expire_due",),
    "clock.payout_schedules_due": ("payouts.run_schedules",),
    "clock.orders_due": ("orders.expire_due",),
    "clock.funds_due": ("wallets.release_due",),
    "clock.balances_due": ("ledger.roll_up",),
    "clock.partitions_due": ("ledger.ensure_partitions",),
    "clock.figures_due": ("reports.count_events",),
    "clock.seals_due": ("ledger.seal",),
    "clock.reconciliation_due": ("reconciliation.compare_all",),
    "clock.audit_due": ("audit.seal",),
    "clock.audit_check_due": ("audit.check_all",),
    "audit.check_asked": ("audit.check",),
    "person.password_reset_asked": ("identity.send_password_reset",),
    "person.password_refused": ("identity.note_wrong_password",),
    "member.rights_lost": ("api_access.ask_for_renewal",),
    "mail.written": ("mail.send_due",),
    "clock.mail_due": ("mail.send_due",),
    "clock.factor_resets_due": ("tenancy.finish_resets",),
    "clock.absences_due": ("tenancy.shut_out_unused",),
    "clock.approvals_due": ("approvals.expire_due",),
    "clock.tidying_due": ("identity.tidy", "upkeep.forget_jobs"),
}
"""Topic of an event -> the actors, named `<module under workers>.<function>`. A topic nobody listens to needs no line."""


class Queue(StrEnum):
    """The lines jobs wait in. A worker takes from all of them, the first before the last, unless it is told which ones are its own."""

    CRITICAL = "critical"
    DEFAULT = "default"
    BULK = "bulk"


QUEUES: dict[str, Queue] = {
    "payments.apply_psp_event": Queue.CRITICAL,
    "payments.ask_due": Queue.CRITICAL,
    "reconciliation.take_file": Queue.BULK,
    "reconciliation.compare_one": Queue.BULK,
    "reconciliation.fetch_due": Queue.BULK,
    "reconciliation.sweep_drops": Queue.BULK,
    "reports.count_events": Queue.BULK,
    "audit.check": Queue.BULK,
    "audit.check_all": Queue.BULK,
    "identity.tidy": Queue.BULK,
    "tenancy.shut_out_unused": Queue.BULK,
    "upkeep.forget_jobs": Queue.BULK,
}
"""Actors that somebody's money waits for, and those that nobody waits for; all others stand in the default line."""


def queue_of(actor: str) -> Queue:
    """The line an actor's jobs wait in."""
    return QUEUES.get(actor, Queue.DEFAULT)


class Recurring(msgspec.Struct, frozen=True):
    """An event the clock publishes: a crontab line, read in a time zone; a line of six fields begins with the seconds."""

    cron: str
    timezone: str = "UTC"


CALENDAR: dict[str, Recurring] = {
    "clock.outcomes_due": Recurring("*/5 * * * * *"),
    "clock.payments_due": Recurring("* * * * *"),
    "clock.payouts_due": Recurring("*/5 * * * * *"),
    "clock.payout_schedules_due": Recurring("*/30 * * * * *"),
    "clock.payouts_expiring": Recurring("* * * * *"),
    "clock.orders_due": Recurring("* * * * *"),
    "clock.funds_due": Recurring("* * * * *"),
    "clock.balances_due": Recurring("*/5 * * * * *"),
    "clock.partitions_due": Recurring("7 * * * *"),
    "clock.figures_due": Recurring("*/30 * * * * *"),
    "clock.seals_due": Recurring("12 * * * *"),
    "clock.audit_due": Recurring("* * * * *"),
    "clock.audit_check_due": Recurring("40 3 * * *"),
    "clock.drops_due": Recurring("*/15 * * * * *"),
    "clock.reports_due": Recurring("*/30 * * * * *"),
    "clock.reconciliation_due": Recurring("30 4 * * *"),
    "clock.mail_due": Recurring("* * * * *"),
    "clock.factor_resets_due": Recurring("* * * * *"),
    "clock.absences_due": Recurring("50 2 * * *"),
    "clock.approvals_due": Recurring("* * * * *"),
    "clock.tidying_due": Recurring("17 * * * *"),
}
"""Topic the scheduler publishes -> when."""
