"""Readers of settlement files and bank statements: what is in a file comes out, and a file that does not add up stays out."""

import io
import os
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from app.cli.main import run
from app.core.errors import Invalid
from app.core.money import Money
from app.reconciliation.domain import formats
from app.reconciliation.domain.formats import FORMATS
from app.reconciliation.domain.formats.mapped import ColumnMapping, Field
from app.reconciliation.domain.lines import FileRefused, LineKind, Side, Tally
from tests.reconciliation import files
from tests.reconciliation.files import lines_of, totals_of

VENDOR_DATA = Path(os.environ.get("VENDOR_DATA", Path(__file__).parents[3] / "shared" / "data"))
AMOUNTS = [(10_000, 320), (2_550, 0), (-4_000, 0), (1, 1)]
ENTRIES = [968_000, -2_500, 1]

MAPPING = ColumnMapping(
    columns={
        Field.EXT_ID: "Nummer",
        Field.GROSS: "Brutto",
        Field.FEE: "Gebühr",
        Field.NET: "Netto",
        Field.BATCH: "Lauf",
        Field.OCCURRED_AT: "Zeit",
        Field.TYPE: "Art",
    },
    delimiter=";",
    encoding="cp1252",
    decimal_comma=True,
    date_format="%d.%m.%Y %H:%M",
    time_zone="Europe/Berlin",
    currency="EUR",
    kinds={"Verkauf": LineKind.CHARGE, "Erstattung": LineKind.REFUND, "Auszahlung": LineKind.PAYOUT},
    closes_to_zero=True,
)


def mapped(amounts: list[tuple[int, int]]) -> bytes:
    comma = lambda minor: files.major(minor).replace(".", ",")  # noqa: E731
    lines = ["Nummer;Brutto;Gebühr;Netto;Lauf;Zeit;Art"]
    for i, (g, f) in enumerate(amounts):
        lines.append(f"n{i};{comma(g)};{comma(f)};{comma(g - f)};7;02.03.2026 11:00;{'Verkauf' if g >= 0 else 'Erstattung'}")
    paid = comma(-sum(g - f for g, f in amounts))
    return "\n".join([*lines, f"out;{paid};0;{paid};7;03.03.2026 00:00;Auszahlung"]).encode("cp1252")


PSP_FILES: dict[str, Callable[[list[tuple[int, int]]], bytes]] = {
    "simulated": files.simulated,
    "stripe": files.stripe,
    "adyen": files.adyen,
    "paypal": files.paypal,
    "braintree": files.braintree,
    "square": files.square,
    "csv": mapped,
}
BANK_FILES: dict[str, Callable[[list[int]], bytes]] = {"camt053": files.camt053, "mt940": files.mt940, "bai2": files.bai2}
MAPPINGS = {"csv": MAPPING}

amounts = st.lists(st.tuples(st.integers(-5_000_000, 5_000_000).filter(bool), st.integers(0, 50_000)), min_size=1, max_size=12)
entries = st.lists(st.integers(-5_000_000, 5_000_000).filter(bool), max_size=12)


@pytest.mark.parametrize("name", PSP_FILES)
class TestSettlementFiles:
    @given(amounts)
    @hypothesis_settings(max_examples=25)
    def test_what_is_written_is_read(self, name: str, amounts: list[tuple[int, int]]) -> None:
        content = PSP_FILES[name](amounts)
        lines = [line for line in lines_of(name, content, MAPPINGS.get(name)) if line.kind is not LineKind.PAYOUT]
        assert [(line.gross.minor, line.fee.minor) for line in lines if line.gross and line.fee] == amounts
        assert all(line.kind is (LineKind.REFUND if line.gross and line.gross.is_negative else LineKind.CHARGE) for line in lines)
        assert [line.problem for line in lines if line.problem] == []

    def test_its_totals_are_proven(self, name: str) -> None:
        (total,) = totals_of(name, PSP_FILES[name](AMOUNTS), MAPPINGS.get(name)).values()
        assert (total.gross_minor, total.fee_minor, total.net_minor) == (8_551, 321, 8_230)
        assert total.is_proven
        assert total.paid_out_minor == (8_230 if name != "paypal" else 0)

    def test_one_changed_amount_refuses_the_whole_file(self, name: str) -> None:
        content = PSP_FILES[name](AMOUNTS).decode("utf-8" if name != "csv" else "cp1252")
        amount = next(amount for amount in ("25.50", "2550", "25,50") if amount in content)
        altered = content.replace(amount, amount.replace("25", "26", 1))
        with pytest.raises(FileRefused) as refused:
            totals_of(name, altered.encode("cp1252" if name == "csv" else "utf-8"), MAPPINGS.get(name))
        assert re.search(r"1[.,]00|100|differ|come to", refused.value.reason)


@pytest.mark.parametrize("name", BANK_FILES)
class TestBankStatements:
    @given(entries)
    @hypothesis_settings(max_examples=25)
    def test_what_is_written_is_read(self, name: str, entries: list[int]) -> None:
        lines = lines_of(name, BANK_FILES[name](entries))
        assert [line.net.minor for line in lines if line.net] == entries
        assert all(line.side is Side.BANK and f"E2E{i}" in line.references for i, line in enumerate(lines))
        assert all(line.text and f"set_{i}" in line.text for i, line in enumerate(lines))

    def test_its_balances_are_proven(self, name: str) -> None:
        (total,) = totals_of(name, BANK_FILES[name](ENTRIES)).values()
        assert total.is_proven
        assert (total.opening_minor, total.closing_minor, total.net_minor, total.count) == (100_000, 1_065_501, 965_501, 3)

    def test_a_balance_off_by_a_cent_refuses_the_statement(self, name: str) -> None:
        content = BANK_FILES[name](ENTRIES, closing=1_065_502)  # type: ignore[call-arg]
        with pytest.raises(FileRefused, match=r"10655\.01.*10655\.02"):
            totals_of(name, content)

    def test_an_entry_says_when_and_where(self, name: str) -> None:
        line = lines_of(name, BANK_FILES[name](ENTRIES))[0]
        assert (line.booked_on, line.available_on) == (date(2026, 3, 3), date(2026, 3, 3))
        assert line.account is not None
        assert line.ext_id.startswith("BANK")


class TestQuirks:
    def test_stripe_lines_without_payout_lines_are_left_to_the_bank(self) -> None:
        content = b"\n".join(files.stripe(AMOUNTS).splitlines()[:-1])
        assert [total.is_proven for total in totals_of("stripe", content).values()] == [False]

    def test_a_payout_without_its_line_refuses_a_stripe_file_that_lists_payouts(self) -> None:
        second = b"\n".join(files.stripe(AMOUNTS, batch="po_2").splitlines()[1:-1])
        with pytest.raises(FileRefused, match="po_2 has lines but no payout"):
            totals_of("stripe", files.stripe(AMOUNTS) + second)

    def test_yen_have_no_decimals_in_stripe_and_are_hundredths_in_paypal(self) -> None:
        (stripe, _) = lines_of("stripe", files.stripe([(5_000, 180)], currency="jpy"))
        (paypal,) = lines_of("paypal", files.paypal([(5_000, 180)], currency="JPY", scale=100))
        assert stripe.gross == paypal.gross == Money(5_000, "JPY")

    def test_columns_are_found_by_name_in_any_order(self) -> None:
        head, *body = [line.split(",") for line in files.adyen(AMOUNTS).decode().splitlines()]
        turned = "\n".join(",".join(reversed(["new", *fields])) for fields in [head, *body]).encode()
        assert lines_of("adyen", turned) == lines_of("adyen", files.adyen(AMOUNTS))

    def test_times_are_of_the_zone_the_line_names(self) -> None:
        (line, _) = lines_of("adyen", files.adyen([(100, 0)]))
        assert line.occurred_at == datetime(2026, 3, 2, 9, tzinfo=UTC)
        (line, _) = lines_of("csv", mapped([(100, 0)]), MAPPING)
        assert line.occurred_at == datetime(2026, 3, 2, 10, tzinfo=UTC)

    def test_the_penalty_of_an_adyen_chargeback_is_in_its_markup(self) -> None:
        content = files.adyen([(10_000, 0), (-2_000, 750)]).replace(b"Refunded", b"Chargeback")
        line = lines_of("adyen", content)[1]
        assert (line.kind, line.gross, line.fee, line.net) == (
            LineKind.DISPUTE, Money(-2_000, "EUR"), Money(750, "EUR"), Money(-2_750, "EUR"),
        )  # fmt: skip

    def test_an_adyen_line_settled_in_another_currency_follows_its_rate(self) -> None:
        record = {
            "Psp Reference": "P", "Type": "Settled", "Gross Currency": "USD", "Gross Credit (GC)": "10.00", "Exchange Rate": "0.9153",
            "Net Currency": "EUR", "Net Credit (NC)": "8.95", "Markup (NC)": "0.20", "Batch Number": "1",
        }  # fmt: skip
        payout = {"Type": "MerchantPayout", "Net Currency": "EUR", "Net Debit (NC)": "8.95", "Batch Number": "1"}
        assert lines_of("adyen", files.rows(files.ADYEN, record, payout))[0].problem is None
        wrong = lines_of("adyen", files.rows(files.ADYEN, record | {"Exchange Rate": "0.99"}, payout))[0]
        assert wrong.problem is not None
        assert "at 0.99" in wrong.problem

    def test_an_unknown_type_is_put_aside_and_the_rest_is_read(self) -> None:
        tally = formats.prove("simulated", io.BytesIO(files.simulated(AMOUNTS).replace(b",refund,", b",moonshot,")))
        assert (tally.unknown_types, tally.problems) == (1, 0)

    def test_a_line_that_fails_its_own_sum_is_listed_with_the_reason(self) -> None:
        # two lines are off by the same amount in opposite directions, so that the batch still closes
        content = (
            files.simulated([(1_000, 10), (2_000, 20)]).replace(b"1000,10,990", b"1000,10,991").replace(b"2000,20,1980", b"2000,20,1979")
        )
        problems = [line.problem for line in lines_of("simulated", content) if line.problem]
        assert problems == ["net 9.91 is not gross 10.00 less fee 0.10.", "net 19.79 is not gross 20.00 less fee 0.20."]

    def test_several_braintree_transfers_have_one_name(self) -> None:
        content = files.braintree(AMOUNTS, transfer='"tr_2, tr_1"')
        assert {line.batch for line in lines_of("braintree", content)} == {"tr_1,tr_2"}
        assert lines_of("braintree", content)[0].references == ["tr_1", "tr_2"]

    def test_a_square_payout_of_one_object_a_line(self) -> None:
        one = files.square(AMOUNTS)
        assert lines_of("square", one + b"\n" + one.replace(b"po_1", b"po_2").replace(b"poe_", b"qoe_"))[4].batch == "po_2"
        with pytest.raises(FileRefused, match=r"payout po_1 is 82\.31 USD, its entries come to 82\.30"):
            totals_of("square", files.square(AMOUNTS, paid=8_231))

    @pytest.mark.parametrize(
        "first, second, reason",
        [
            ({"number": 7}, {"number": 9}, "there is one missing"),
            ({"number": 7}, {"number": 8, "opening": 100_001}, "the one before closed"),
        ],
    )
    @pytest.mark.parametrize("name", ["camt053", "mt940"])
    def test_statements_follow_each_other(self, name: str, first: dict[str, int], second: dict[str, int], reason: str) -> None:
        if name == "mt940":
            content = files.mt940([], **first) + files.mt940([], **second)
        else:
            later = files.statement([], **{"opening": 100_000} | second)
            content = files.camt053([], **first).replace(b"</BkToCstmrStmt>", later.encode() + b"</BkToCstmrStmt>")
        with pytest.raises(FileRefused, match=reason):
            totals_of(name, content)

    def test_a_refused_statement_names_the_line_it_ends_in(self) -> None:
        content = files.camt053([100, 200], closing=7).replace(b"<Ntry>", b"\n<Ntry>").replace(b"</Stmt>", b"\n</Stmt>")
        with pytest.raises(FileRefused) as refused:
            totals_of("camt053", content)
        assert refused.value.line == content.count(b"\n", 0, content.index(b"</Stmt>")) + 1
        assert [line.number for line in lines_of("camt053", files.camt053([100, 200]).replace(b"<Ntry>", b"\n<Ntry>"))] == [3, 4]

    @pytest.mark.parametrize("name", ["camt053", "mt940"])
    def test_entries_without_a_name_are_told_apart_across_days_and_years(self, name: str) -> None:
        """Banks number entries anew in each statement and statements anew each year: the same number is not the same money."""

        def nameless(year: int) -> list[str]:
            if name == "mt940":
                content = re.sub(rb"//BANK[^\r]*", b"", files.mt940([100, 200])).replace(b"2603", f"{year % 100}03".encode())
            else:
                content = re.sub(rb"<AcctSvcrRef>[^<]*-(\d)</AcctSvcrRef>", rb"<NtryRef>\1</NtryRef>", files.camt053([100, 200]))
                content = content.replace(b"2026-", f"{year}-".encode())
            return [line.ext_id for line in lines_of(name, content)]

        assert nameless(2026) == nameless(2026)
        assert len({*nameless(2026), *nameless(2027)}) == 4

    @pytest.mark.parametrize(
        "code, side, kind",
        [
            ("T1107", "DR", LineKind.REFUND),
            ("T1108", "CR", LineKind.FEE),
            ("T1110", "DR", LineKind.RESERVE_HOLD),
            ("T1111", "CR", LineKind.RESERVE_RELEASE),
            ("T1105", "CR", LineKind.RESERVE_RELEASE),
        ],
    )
    def test_paypals_reversals_are_not_all_refunds(self, code: str, side: str, kind: LineKind) -> None:
        content = files.paypal([(500, 0) if side == "CR" else (-500, 0)])
        content = content.replace(b"T0006" if side == "CR" else b"T1107", code.encode())
        (line,) = lines_of("paypal", content)
        assert (line.kind, line.net) == (kind, Money(500 if side == "CR" else -500, "USD"))

    def test_a_collective_entry_is_read_by_its_parts(self) -> None:
        parts = "".join(
            f'<TxDtls><Refs><EndToEndId>E{i}</EndToEndId></Refs><Amt Ccy="EUR">{size}</Amt><CdtDbtInd>CRDT</CdtDbtInd></TxDtls>'
            for i, size in enumerate(("4.00", "6.00"))
        )
        content = re.sub(rb"<TxDtls>.*</TxDtls>", parts.encode(), files.camt053([1_000]))
        assert [(line.ext_id, line.net, line.references) for line in lines_of("camt053", content)] == [
            ("BANK7-0#1", Money(400, "EUR"), ["E0"]),
            ("BANK7-0#2", Money(600, "EUR"), ["E1"]),
        ]

    @pytest.mark.parametrize(
        "place, stated", [("49", "the amounts of the account"), ("98", "the accounts of the group"), ("99", "the groups of")]
    )
    def test_every_control_total_of_bai2_is_checked(self, place: str, stated: str) -> None:
        content = re.sub(rf"^{place},\d+".encode(), f"{place},1".encode(), files.bai2(ENTRIES), flags=re.MULTILINE)
        with pytest.raises(FileRefused, match=stated):
            totals_of("bai2", content)

    @pytest.mark.parametrize("newest_first", [False, True])
    def test_a_running_balance_proves_a_mapped_statement(self, newest_first: bool) -> None:
        mapping = ColumnMapping(
            columns={Field.EXT_ID: "id", Field.CREDIT: "in", Field.DEBIT: "out", Field.BALANCE: "saldo"}, side=Side.BANK, currency="EUR"
        )
        lines = ["1,5.00,,105.00", "2,,10.00,95.00", "3,1.00,,96.00"]
        content = "\n".join(["id,in,out,saldo", *(reversed(lines) if newest_first else lines)]).encode()
        assert sorted(line.net.minor for line in lines_of("csv", content, mapping) if line.net) == [-1_000, 100, 500]
        with pytest.raises(FileRefused, match="running balance"):
            lines_of("csv", content.replace(b"95.00", b"95.01"), mapping)


HOSTILE: dict[str, bytes] = {
    "nothing": b"",
    "a picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40,
    "zeroes": bytes(10_000),
    "utf-16": "automatic_payout_id,currency\n".encode("utf-16"),
    "latin-1": "Straße,Größe\nä,ö\n".encode("latin-1"),
    "one endless line": b"a" * ((1 << 20) + 7),
    "an endless field": b'a,b\n"' + b"x" * 200_000 + b'"\n',
    "an open quote": b'a,b\n"never closed,1\n' * 3,
    "prose": b"Dear customer,\nplease find attached nothing at all.\n",
    "brackets": b"[" * 100_000,
    "a laugh": b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]><Document><Stmt>&b;</Stmt></Document>',
    "a thief": b'<?xml version="1.0"?><!DOCTYPE l [<!ENTITY x SYSTEM "file:///etc/passwd">]><Document>&x;</Document>',
    "deep xml": b"<a>" * 50_000,
}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("what", HOSTILE)
def test_what_is_no_such_file_is_refused_with_a_reason(name: str, what: str) -> None:
    with pytest.raises(Invalid) as refused:
        formats.prove(name, io.BytesIO(HOSTILE[what]), mapping=MAPPING)
    assert len(refused.value.detail) > 10


@pytest.mark.parametrize("name", FORMATS)
@given(st.binary(max_size=300), st.integers(0, 2_000), st.integers(0, 40))
@hypothesis_settings(max_examples=60)
def test_a_damaged_file_is_read_or_refused_and_nothing_else(name: str, garbage: bytes, at: int, less: int) -> None:
    whole = PSP_FILES[name](AMOUNTS) if name in PSP_FILES else BANK_FILES[name](ENTRIES)
    damaged = whole[:at] + garbage + whole[at + less :]
    try:
        formats.prove(name, io.BytesIO(damaged), mapping=MAPPING)
    except Invalid as refused:
        assert refused.detail  # noqa: PT017 - either way is right, an exception of another kind is not


@pytest.mark.parametrize("name", ["simulated", "stripe", "adyen"])
def test_memory_does_not_grow_with_the_file(name: str) -> None:
    class Endless(io.RawIOBase):
        """A hundred thousand rows that are never all there."""

        def __init__(self) -> None:
            head, *body = PSP_FILES[name]([(100, 0)]).splitlines(keepends=True)
            self.rows = iter([head] + [body[0]] * 20_000)
            self.read_so_far = 0

        def readline(self, size: int | None = -1) -> bytes:
            row = next(self.rows, b"")
            self.read_so_far += len(row)
            return row

    source = Endless()
    lines = formats.read(name, source, Tally())  # type: ignore[arg-type]
    next(lines)
    # the first line is out before more than the first rows are in
    assert source.read_so_far < 2_000


SAMPLES = {
    "stripe": ("stripe/balance_change_from_activity.csv", 2),
    "adyen": ("adyen/wmf_payments_accounting.csv", 1),
    "adyen reordered": ("adyen/wmf_reordered_columns.csv", 2),
    "paypal": ("paypal/STL-20260106.csv", 5),
    "braintree": ("braintree/disbursement_graphql.ndjson", 2),
}


@pytest.mark.parametrize("sample", SAMPLES)
def test_the_providers_own_samples_are_read(sample: str, capfd: pytest.CaptureFixture[str]) -> None:
    name, count = SAMPLES[sample]
    path = VENDOR_DATA / "settlement" / name
    if not path.exists():
        pytest.skip("the providers' samples are not here (VENDOR_DATA)")
    assert run(["recon", "read", "--format", sample.split(maxsplit=1)[0], str(path)]) == 0
    shown = [msgspec.json.decode(line) for line in capfd.readouterr().out.splitlines()]
    assert [line["problem"] for line in shown if line["type"] == "line"] == [None] * count
    assert shown[-1] == {"type": "summary", "format": sample.split(maxsplit=1)[0], "lines": count, "problems": 0, "unknown_types": 0}


class TestCommand:
    def test_a_refused_file_shows_nothing_but_the_reason(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        file = tmp_path / "settlement.csv"
        file.write_bytes(files.simulated(AMOUNTS).replace(b"2550,0,2550", b"2551,0,2551"))
        assert run(["recon", "read", "--format", "simulated", str(file)]) == 1
        said = capfd.readouterr()
        assert said.out == ""
        assert "Line 6: batch set_1 does not add up" in said.err

    def test_any_csv_is_read_by_a_mapping(self, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
        (tmp_path / "m.json").write_bytes(msgspec.json.encode(MAPPING))
        (tmp_path / "f.csv").write_bytes(mapped(AMOUNTS))
        call = ["recon", "read", "--format", "csv", str(tmp_path / "f.csv")]
        assert run(call) == 2
        capfd.readouterr()
        assert run([*call, "--mapping", str(tmp_path / "m.json")]) == 0
        assert len(capfd.readouterr().out.splitlines()) == 5 + 1 + 1
        (tmp_path / "m.json").write_text('{"columns": {}, "colour": "blue"}')
        assert run([*call, "--mapping", str(tmp_path / "m.json")]) == 1
        assert "m.json" in capfd.readouterr().err
