"""Stripe: itemised payout reconciliation and balance reports. Amounts in these CSV files are major units (its API has minor ones).

The key of a line is ``balance_transaction_id``, the batch is ``automatic_payout_id``. Instant and manual payouts are not itemised by Stripe.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import BinaryIO

from app.core.money import Money
from app.reconciliation.domain.formats.rows import Row, amount, day, line_of, moment, required, same, table
from app.reconciliation.domain.lines import PAID_OUT, FileRefused, Line, LineKind, Tally

NEEDED = ("balance_transaction_id", "currency", "gross", "fee", "net", "reporting_category")

KINDS = {
    "charge": LineKind.CHARGE,
    "charge_failure": LineKind.REFUND,
    "partial_capture_reversal": LineKind.REFUND,
    "refund": LineKind.REFUND,
    "refund_failure": LineKind.REFUND_REVERSAL,
    "dispute": LineKind.DISPUTE,
    "dispute_reversal": LineKind.DISPUTE_REVERSAL,
    "fee": LineKind.FEE,
    "network_cost": LineKind.FEE,
    "tax": LineKind.FEE,
    "payout": LineKind.PAYOUT,
    "payout_reversal": LineKind.PAYOUT_REVERSAL,
    "payout_minimum_balance_hold": LineKind.RESERVE_HOLD,
    "payout_minimum_balance_release": LineKind.RESERVE_RELEASE,
    "risk_reserved_funds": LineKind.RESERVE_HOLD,
    "connect_reserved_funds": LineKind.RESERVE_HOLD,
    "currency_conversion": LineKind.CONVERSION,
    "topup": LineKind.TOPUP,
    "topup_reversal": LineKind.TOPUP,
    "transfer": LineKind.TRANSFER,
    "transfer_reversal": LineKind.TRANSFER,
    "connect_collection_transfer": LineKind.TRANSFER,
    "platform_earning": LineKind.ADJUSTMENT,
    "platform_earning_refund": LineKind.ADJUSTMENT,
    "contribution": LineKind.ADJUSTMENT,
    "other_adjustment": LineKind.ADJUSTMENT,
    "advance": LineKind.ADJUSTMENT,
    "advance_funding": LineKind.ADJUSTMENT,
    "anticipation_repayment": LineKind.ADJUSTMENT,
}


def read(source: BinaryIO, tally: Tally) -> Iterator[Line]:
    """Every line; a payout whose lines do not add up to it refuses the file."""
    left: defaultdict[tuple[str, str], int] = defaultdict(int)
    last: dict[tuple[str, str], int] = {}
    paid: set[tuple[str, str]] = set()
    for row in table(source, needed=NEEDED):
        line = line_of(row, _line, ext_id=row["balance_transaction_id"], raw_type=row["reporting_category"])
        if line.net is not None and line.batch is not None:
            key = (line.batch, line.net.currency)
            left[key] += line.net.minor
            last[key] = row.number
            if line.kind in PAID_OUT:
                paid.add(key)
        yield line
    if not paid:
        return  # a report without payout lines: its batches are proven by the bank
    for key, minor in left.items():
        if key not in paid:
            raise FileRefused(f"{key[0]} has lines but no payout in {key[1]}, although the file lists payouts.", line=last[key])
        if minor:
            raise FileRefused(
                f"{key[0]} does not add up: its lines and its payout differ by {Money(minor, key[1]).decimal()} {key[1]}.", line=last[key]
            )
        tally.total(*key).is_proven = True


def _line(row: Row) -> Line:
    currency, category = required(row, "currency").upper(), row["reporting_category"]
    gross, fee, net = (amount(row[column], currency) for column in ("gross", "fee", "net"))
    payout = row["automatic_payout_id"]
    return Line(
        number=row.number,
        kind=KINDS.get(category, LineKind.UNKNOWN),
        raw_type=category,
        ext_id=required(row, "balance_transaction_id"),
        # the payment intent is what a payment is known by to whoever started it
        parent_ext_id=same(row.first("payment_intent_id", "charge_id", "source_id")),
        merchant_ref=same(_our_reference(row)),
        batch=same(payout),
        gross=gross,
        fee=fee,
        net=net,
        occurred_at=moment(row.first("created_utc", "created")),
        available_on=day(row.first("available_on_utc", "available_on")),
        references=[value for value in (payout, row["trace_id"], row["source_id"], row["charge_id"]) if value],
        text=same(row["description"]),
        problem=None if net == gross - fee else f"net {net.decimal()} is not gross {gross.decimal()} less fee {fee.decimal()}.",
    )


def _our_reference(row: Row) -> str:
    """What we sent with the payment; merchants choose the name of the metadata themselves, so the first one there is."""
    return next((value for name, value in row.fields.items() if value and name.startswith("payment_metadata[")), "")
