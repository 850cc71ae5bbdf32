"""Writes of psp: connections, the webhook inbox, health."""

from app.psp.service.connections import (
    adapter_for,
    adapter_of,
    add_connection,
    approve_change,
    balance_adapter,
    disable_connection,
    enable_connection,
    propose_change,
    provider,
    read_config,
    record_test,
    reject_change,
    reporter_for,
    reporting_providers,
    set_policy,
)
from app.psp.service.health import count_bad_signature, record_call, write_tallies
from app.psp.service.inbox import mark_applied, mark_failed, mark_ignored, receive_webhook, retry_event

__all__ = [
    "adapter_for",
    "adapter_of",
    "add_connection",
    "approve_change",
    "balance_adapter",
    "count_bad_signature",
    "disable_connection",
    "enable_connection",
    "mark_applied",
    "mark_failed",
    "mark_ignored",
    "propose_change",
    "provider",
    "read_config",
    "receive_webhook",
    "record_call",
    "record_test",
    "reject_change",
    "reporter_for",
    "reporting_providers",
    "retry_event",
    "set_policy",
    "write_tallies",
]
