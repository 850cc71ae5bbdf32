"""What people enter about reconciliation."""

from datetime import date
from typing import Annotated

import msgspec

from app.core.money import Money
from app.reconciliation.domain.breaks import BulkAction
from app.reconciliation.domain.formats.mapped import Field
from app.reconciliation.domain.journals import Target
from app.reconciliation.domain.lines import LineKind, Side


class SourceForm(msgspec.Struct, kw_only=True):
    """A new source."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
    format: str
    connection: str = ""
    bank: str = ""
    time_zone: Annotated[str, msgspec.Meta(max_length=64)] = "UTC"
    file_days: Annotated[int, msgspec.Meta(ge=1, le=60)] | None = None


class FeedForm(msgspec.Struct, kw_only=True):
    """What is fetched for a source by the clock."""

    feed_connection: str = ""
    minutes: int
    since: date
    is_on: bool = False


class MappingForm(msgspec.Struct, kw_only=True):
    """Which column of a CSV file holds what; one field per thing a column can hold."""

    side: Side = Side.PSP
    ext_id: str = ""
    type: str = ""
    gross: str = ""
    fee: str = ""
    net: str = ""
    debit: str = ""
    credit: str = ""
    balance: str = ""
    currency_column: str = ""
    batch: str = ""
    merchant_ref: str = ""
    parent_ext_id: str = ""
    occurred_at: str = ""
    booked_on: str = ""
    reference: str = ""
    text: str = ""
    delimiter: str = ","
    encoding: str = "utf-8"
    date_format: str = ""
    time_zone: str = "UTC"
    currency: str = ""
    skip_lines: Annotated[int, msgspec.Meta(ge=0, le=100)] = 0
    decimal_comma: bool = False
    minor_units: bool = False
    fee_is_negative: bool = False
    closes_to_zero: bool = False
    charges: str = ""
    refunds: str = ""
    fees: str = ""
    payouts: str = ""

    def columns(self) -> dict[Field, str]:
        """The columns that were named."""
        named = {Field.CURRENCY: self.currency_column} | {
            field: getattr(self, field.value) for field in Field if field is not Field.CURRENCY and hasattr(self, field.value)
        }
        return {field: column for field, column in named.items() if column}

    def kinds(self) -> dict[str, LineKind]:
        """The words of the file for our kinds of line."""
        said = {LineKind.CHARGE: self.charges, LineKind.REFUND: self.refunds, LineKind.FEE: self.fees, LineKind.PAYOUT: self.payouts}
        return {word.strip(): kind for kind, words in said.items() for word in words.split(",") if word.strip()}


class ReasonForm(msgspec.Struct, kw_only=True):
    """Why."""

    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""


class ApproveForm(msgspec.Struct, kw_only=True):
    """The amount, and where it would go, that were shown to whoever approves."""

    amount: Money
    parts: str = ""


class ChosenForm(msgspec.Struct, kw_only=True):
    """Several breaks and what is to be done about them."""

    action: BulkAction
    id: list[str] = []
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""
    person: str = ""
    target: Target | None = None


class AdjustForm(msgspec.Struct, kw_only=True):
    """Where what is left over goes, in one or two parts."""

    target: Target
    amount: Money
    other_target: Target | None = None
    other_amount: Money | None = None
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=500)]


class LinkForm(msgspec.Struct, kw_only=True):
    """What a break's item is the same money as."""

    item: str
    reason: Annotated[str, msgspec.Meta(max_length=500)] = ""
