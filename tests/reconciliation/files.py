"""Small settlement files and bank statements, written by the rules of their formats."""

import io
from collections.abc import Mapping, Sequence
from decimal import Decimal

from app.core.money import exponent
from app.reconciliation.domain import formats
from app.reconciliation.domain.formats.mapped import ColumnMapping
from app.reconciliation.domain.lines import ControlTotal, Line, Tally

Amounts = tuple[int, int]
"""Gross and fee of one line, in minor units."""


def lines_of(name: str, content: bytes, mapping: ColumnMapping | None = None) -> list[Line]:
    """Everything in a file."""
    return list(formats.read(name, io.BytesIO(content), Tally(), mapping=mapping))


def totals_of(name: str, content: bytes, mapping: ColumnMapping | None = None) -> dict[tuple[str | None, str], ControlTotal]:
    """A file's control totals by batch and currency."""
    return {(total.batch, total.currency): total for total in formats.prove(name, io.BytesIO(content), mapping=mapping).totals()}


def major(minor: int, currency: str = "EUR") -> str:
    """An amount as a decimal number."""
    return f"{Decimal(minor).scaleb(-exponent(currency)):f}"


def rows(head: Sequence[str], *records: Mapping[str, object] | Sequence[object]) -> bytes:
    """A CSV file."""
    lines = [",".join(head)]
    for record in records:
        values = [record.get(name, "") for name in head] if isinstance(record, Mapping) else record
        lines.append(",".join(str(value) for value in values))
    return ("\n".join(lines) + "\n").encode()


SIMULATED = ("batch", "line", "type", "payment", "reference", "created_at", "available_on", "currency", "gross", "fee", "net")


def simulated(amounts: Sequence[Amounts], *, batch: str = "set_1", currency: str = "EUR") -> bytes:
    """A batch of the simulated provider with its payout."""
    records: list[Sequence[object]] = [
        (batch, f"{batch}_{i}", "charge" if g >= 0 else "refund", f"sim_{i}", f"pay_{i}", "2026-03-02T10:00:00Z", "", currency, g, f, g - f)
        for i, (g, f) in enumerate(amounts)
    ]
    paid = -sum(g - f for g, f in amounts)
    return rows(SIMULATED, *records, (batch, f"{batch}_out", "payout", "", "", "", "", currency, paid, 0, paid))


STRIPE = (
    "automatic_payout_id",
    "balance_transaction_id",
    "created_utc",
    "currency",
    "gross",
    "fee",
    "net",
    "reporting_category",
    "charge_id",
)


def stripe(amounts: Sequence[Amounts], *, batch: str = "po_1", currency: str = "eur") -> bytes:
    """A payout with its lines; the payout's own line last."""
    code = currency.upper()
    records: list[Sequence[object]] = [
        (
            batch,
            f"txn_{i}",
            "2026-03-02 10:00:00",
            currency,
            major(g, code),
            major(f, code),
            major(g - f, code),
            "charge" if g >= 0 else "refund",
            f"ch_{i}",
        )
        for i, (g, f) in enumerate(amounts)
    ]
    paid = major(-sum(g - f for g, f in amounts), code)
    return rows(STRIPE, *records, (batch, "txn_out", "2026-03-03 00:00:00", currency, paid, major(0, code), paid, "payout", ""))


ADYEN = (
    *("Merchant Account", "Psp Reference", "Merchant Reference", "Creation Date", "TimeZone", "Type", "Modification Reference"),
    *("Gross Currency", "Gross Debit (GC)", "Gross Credit (GC)", "Exchange Rate", "Net Currency", "Net Debit (NC)", "Net Credit (NC)"),
    *("Commission (NC)", "Markup (NC)", "Scheme Fees (NC)", "Interchange (NC)", "Batch Number"),
)


def adyen(amounts: Sequence[Amounts], *, batch: str = "7") -> bytes:
    """A batch with its merchant payout. Fees stand in the markup column."""
    records = [_adyen_line(i, g, f, batch) for i, (g, f) in enumerate(amounts)]
    paid = sum(g - f for g, f in amounts)
    side = {"Net Debit (NC)": major(paid)} if paid >= 0 else {"Net Credit (NC)": major(-paid)}
    payout = {"Type": "MerchantPayout", "Net Currency": "EUR", "Batch Number": batch, "Modification Reference": f"TX1 batch {batch}"} | side
    return rows(ADYEN, *records, payout)


def _adyen_line(i: int, gross: int, fee: int, batch: str) -> dict[str, object]:
    net = gross - fee
    return {
        "Merchant Account": "Shop",
        "Psp Reference": f"PSP{i}",
        "Merchant Reference": f"pay_{i}",
        "Creation Date": "2026-03-02 10:00:00",
        "TimeZone": "CET",
        "Type": "Settled" if gross >= 0 else "Refunded",
        "Modification Reference": f"MOD{i}",
        "Gross Currency": "EUR",
        "Exchange Rate": "1",
        "Net Currency": "EUR",
        "Markup (NC)": major(fee),
        "Batch Number": batch,
        "Gross Credit (GC)" if gross >= 0 else "Gross Debit (GC)": major(abs(gross)),
        "Net Credit (NC)" if net >= 0 else "Net Debit (NC)": major(abs(net)),
    }


PAYPAL = (
    *("CH", "Transaction ID", "Invoice ID", "Transaction Event Code", "Transaction Completion Date", "Transaction Debit or Credit"),
    *("Gross Transaction Amount", "Gross Transaction Currency", "Fee Debit or Credit", "Fee Amount", "Fee Currency"),
)


def paypal(amounts: Sequence[Amounts], *, currency: str = "USD", scale: int = 1) -> bytes:
    """A report of one section. ``scale`` turns minor units into PayPal's hundredths."""
    lines = ["\ufeffRH,2026/03/03 02:00:00 -0800,A,ACCOUNT,11", "FH,1", "SH,2026/03/02 00:00:00 -0800,2026/03/02 23:59:59 -0800,ACCOUNT"]
    lines.append(",".join(PAYPAL))
    for i, (gross, fee) in enumerate(amounts):
        code, side = ("T0006", "CR") if gross >= 0 else ("T1107", "DR")
        fee_side = "DR" if fee >= 0 else "CR"
        when = "2026/03/02 10:00:00 -0800"
        lines.append(f"SB,PP{i},pay_{i},{code},{when},{side},{abs(gross) * scale},{currency},{fee_side},{abs(fee) * scale},{currency}")
    sums = [
        sum(gross for gross, _ in amounts if gross > 0),
        -sum(gross for gross, _ in amounts if gross < 0),
        -sum(fee for _, fee in amounts if fee < 0),
        sum(fee for _, fee in amounts if fee > 0),
    ]
    footer = ",".join([currency, *(str(minor * scale) for minor in sums)])
    lines += [f"SF,{footer}", f"SC,{len(amounts)}", f"RF,{footer}", f"RC,{len(amounts)}", f"FF,{len(amounts)}"]
    return "\n".join(lines).encode()


BRAINTREE_SUMMARY = ("Merchant Account ID", "Transfer ID(s)", "Bank Account", "Currency", "Net Disbursed Amount")
BRAINTREE = ("Record ID", "Order ID", "Transfer ID(s)", "Currency", "Gross Settlement Amount", "Total Net Fees", "Net Disbursed Amount")


def braintree(amounts: Sequence[Amounts], *, transfer: str = "tr_1") -> bytes:
    """A disbursement: its summary, then its details."""
    paid = major(sum(g - f for g, f in amounts))
    details = [(f"bt_{i}", f"pay_{i}", transfer, "EUR", major(g), major(f), major(g - f)) for i, (g, f) in enumerate(amounts)]
    return rows(BRAINTREE_SUMMARY, ("shop_eur", transfer, "…1234", "EUR", paid)) + b"\n" + rows(BRAINTREE, *details)


def square(amounts: Sequence[Amounts], *, paid: int | None = None) -> bytes:
    """A batch payout with its entries."""
    money = '{{"amount": {}, "currency": "USD"}}'.format
    entries = ",".join(
        f'{{"id": "poe_{i}", "payout_id": "po_1", "effective_at": "2026-03-02T10:00:00Z", "type": "{"CHARGE" if g >= 0 else "REFUND"}",'
        f'"gross_amount_money": {money(g)}, "fee_amount_money": {money(f)}, "net_amount_money": {money(g - f)},'
        f'"type_charge_details": {{"payment_id": "sq_{i}"}}}}'
        for i, (g, f) in enumerate(amounts)
    )
    whole = sum(g - f for g, f in amounts) if paid is None else paid
    payout = f'{{"id": "po_1", "status": "PAID", "type": "BATCH", "amount_money": {money(whole)}, "end_to_end_id": "E2E1"}}'
    return f'{{"payout": {payout}, "payout_entries": [{entries}]}}'.encode()


def camt053(entries: Sequence[int], *, opening: int = 100_000, closing: int | None = None, number: int = 7) -> bytes:
    """A statement with booked entries of these amounts, and a pending one that does not count."""
    return (f'<?xml version="1.0" encoding="UTF-8"?>\n<Document xmlns="urn:iso:std:iso:20022:tech:xsd:camt.053.001.08"><BkToCstmrStmt>'
            f"{statement(entries, opening=opening, closing=closing, number=number)}</BkToCstmrStmt></Document>").encode()  # fmt: skip


def statement(entries: Sequence[int], *, opening: int, closing: int | None = None, number: int = 7) -> str:
    """One Stmt element."""
    end = opening + sum(entries) if closing is None else closing
    booked = "".join(
        f"<Ntry>{_signed(minor)}<Sts><Cd>BOOK</Cd></Sts><BookgDt><Dt>2026-03-03</Dt></BookgDt><ValDt><Dt>2026-03-03</Dt></ValDt>"
        f"<AcctSvcrRef>BANK{number}-{i}</AcctSvcrRef><NtryDtls><TxDtls><Refs><EndToEndId>E2E{i}</EndToEndId></Refs>"
        f"<RmtInf><Ustrd>batch set_{i}</Ustrd></RmtInf></TxDtls></NtryDtls></Ntry>"
        for i, minor in enumerate(entries)
    )
    pending = f"<Ntry>{_signed(99)}<Sts><Cd>PDNG</Cd></Sts></Ntry>"
    return (f"<Stmt><Id>S{number}</Id><ElctrncSeqNb>{number}</ElctrncSeqNb><Acct><Id><IBAN>DE02120300000000202051</IBAN></Id><Ccy>EUR</Ccy></Acct>"
            f"{_balance('OPBD', opening)}{_balance('CLBD', end)}{booked}{pending}</Stmt>")  # fmt: skip


def _balance(kind: str, minor: int) -> str:
    return f"<Bal><Tp><CdOrPrtry><Cd>{kind}</Cd></CdOrPrtry></Tp>{_signed(minor)}<Dt><Dt>2026-03-03</Dt></Dt></Bal>"


def _signed(minor: int) -> str:
    return f'<Amt Ccy="EUR">{major(abs(minor))}</Amt><CdtDbtInd>{"CRDT" if minor >= 0 else "DBIT"}</CdtDbtInd>'


def mt940(entries: Sequence[int], *, opening: int = 100_000, closing: int | None = None, number: int = 7) -> bytes:
    """A statement in SWIFT's tags."""
    end = opening + sum(entries) if closing is None else closing
    lines = [":20:STARTUMS", ":25:12030000/0000202051", f":28C:{number:05d}/001", f":60F:{_mt_sign(opening)}260302EUR{_comma(opening)}"]
    for i, minor in enumerate(entries):
        lines += [f":61:2603030303{_mt_sign(minor)}{_comma(minor)}NTRFE2E{i}//BANK{number}-{i}", f":86:batch set_{i} Zürich"]
    return "\r\n".join([*lines, f":62F:{_mt_sign(end)}260303EUR{_comma(end)}", "-", ""]).encode("latin-1")


def _mt_sign(minor: int) -> str:
    return "C" if minor >= 0 else "D"


def _comma(minor: int) -> str:
    return major(abs(minor)).replace(".", ",")


def bai2(entries: Sequence[int], *, opening: int = 100_000, closing: int | None = None, currency: str = "USD") -> bytes:
    """One group with one account."""
    end = opening + sum(entries) if closing is None else closing
    lines = [
        "01,BANK,SHOP,260303,0300,1,80,10,2/",
        f"02,SHOP,BANK,1,260303,0000,{currency},2/",
        f"03,202051,{currency},010,{opening},,,015,{end},,/",
    ]
    for i, minor in enumerate(entries):
        lines += [f"16,{'165' if minor >= 0 else '475'},{abs(minor)},Z,BANK{i},E2E{i},batch set_{i}", "88,and more, with a comma"]
    total = opening + end + sum(abs(minor) for minor in entries)
    count = 2 + 2 * len(entries)
    return "\n".join([*lines, f"49,{total},{count}/", f"98,{total},1,{count + 2}/", f"99,{total},1,{count + 4}/"]).encode()
