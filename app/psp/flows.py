"""Calls to providers outside of a payment: testing a connection, and trying an adapter by hand."""

from collections.abc import Mapping

import msgspec

from app.core.actors import Actor
from app.core.db import unit_of_work
from app.core.errors import Invalid
from app.core.failpoints import failpoint
from app.core.ids import ConnectionId
from app.core.money import Money
from app.psp import service
from app.psp.domain import Instruction, Operation, PspAdapter, Result


class VerbUnknown(Invalid):
    """The verb is not one a provider understands."""

    code = "verb_unknown"
    title = "There is no such verb"


async def test_connection(actor: Actor, *, connection_id: ConnectionId) -> Result:
    """Make one harmless call with a connection's credentials and keep what came of it."""
    async with unit_of_work(actor.merchant) as session:
        adapter = await service.adapter_for(session, merchant_id=actor.merchant, connection_id=connection_id)
    result = await adapter.ping()
    await failpoint("psp.tested")
    async with unit_of_work(actor.merchant) as session:
        await service.record_test(session, actor, connection_id=connection_id, result=result)
        await service.record_call(session, merchant_id=actor.merchant, connection_id=connection_id, result=result)
    return result


async def call(
    *,
    psp: str,
    credentials: Mapping[str, str],
    verb: str,
    key: str,
    amount: Money | None = None,
    token: str | None = None,
    reference: str | None = None,
    return_url: str | None = None,
    capture: bool = False,
) -> dict[str, object]:
    """Make one call to a provider by hand and say in one line what it meant.

    For `authorise` the key is also our reference; for `capture`, `refund` and `void` the reference is the provider's; for `lookup` it is ours.
    """
    of = service.provider(psp)
    adapter = of.adapter(service.read_config(of, credentials))
    instruction = Instruction(
        amount=amount or Money.zero("EUR"),
        reference=key,
        idempotency_key=key,
        token=token,
        return_url=return_url,
        capture=capture,
        original=reference,
    )
    result = await _perform(adapter, verb, instruction, reference or key)
    return {
        "outcome": result.outcome,
        "code": result.code,
        "category": result.category,
        "provider_reference": result.provider_reference,
        "retryable": result.retryable,
        "status": result.status,
        "amount": None if result.amount is None else f"{result.amount.decimal()} {result.amount.currency}",
        "network_code": result.network_code,
        "redirect_url": result.redirect_url,
        "latency_ms": result.latency_ms,
    }


def describe(psp: str) -> dict[str, object]:
    """What an adapter needs and can do: the JSON Schema of its settings, its capabilities, its webhook kinds."""
    of = service.provider(psp)
    return {
        "psp": of.name,
        "title": of.title,
        "credentials": msgspec.json.schema(of.config),
        "capabilities": sorted(of.capabilities),
        "webhook_kinds": sorted(of.webhook_kinds),
    }


async def _perform(adapter: PspAdapter, verb: str, instruction: Instruction, reference: str) -> Result:
    match verb:
        case Operation.AUTHORISE:
            return await adapter.authorise(instruction)
        case Operation.START_REDIRECT:
            return await adapter.start_redirect(instruction)
        case Operation.CAPTURE:
            return await adapter.capture(instruction)
        case Operation.REFUND:
            return await adapter.refund(instruction)
        case Operation.VOID:
            return await adapter.void(instruction)
        case Operation.LOOKUP:
            return await adapter.lookup(reference)
        case _:
            raise VerbUnknown(f"“{verb[:40]}” is not a verb; use one of {', '.join(Operation)}.")
