"""Files that are odd, broken or meant to do harm: each is refused, or a line of it listed, in words; none brings the reading down."""

import io
import re
import time
from collections.abc import Callable
from contextlib import suppress

import pytest

from app.core.money import Money
from app.reconciliation.domain import formats
from app.reconciliation.domain.formats.mapped import ColumnMapping, Field, MappingIncomplete
from app.reconciliation.domain.lines import FileRefused, Line, Tally
from tests.reconciliation import files
from tests.reconciliation.files import lines_of

COLUMNS = {Field.EXT_ID: "id", Field.NET: "net", Field.OCCURRED_AT: "at"}


def mapping(**values: object) -> ColumnMapping:
    return ColumnMapping(**({"columns": COLUMNS, "currency": "EUR", "delimiter": ";"} | values))  # type: ignore[arg-type]


class TestDecimalComma:
    @pytest.mark.parametrize(
        ("text", "minor"), [("12,50", 1_250), ("1.234,50", 123_450), ("-1.234.567,8", -123_456_780), ("1.234", 123_400), ("7", 700)]
    )
    def test_points_stand_between_thousands(self, text: str, minor: int) -> None:
        (line,) = lines_of("csv", f"id;net;at\n1;{text};2026-03-02\n".encode(), mapping(decimal_comma=True))
        assert (line.net, line.problem) == (Money(minor, "EUR"), None)

    @pytest.mark.parametrize("text", ["12.50", "1234.5", "1.23", "1,234.50", "12.3456,00"])
    def test_a_decimal_point_is_not_read_as_a_hundred_times_as_much(self, text: str) -> None:
        (line,) = lines_of("csv", f"id;net;at\n1;{text};2026-03-02\n".encode(), mapping(decimal_comma=True))
        assert line.net is None and line.problem is not None and "decimal comma" in line.problem


class TestMapping:
    @pytest.mark.parametrize("pattern", ["%d%d", "%Q", "%", "%d.%m.%Y %d"])
    def test_a_pattern_that_reads_no_date_is_refused_when_it_is_set(self, pattern: str) -> None:
        with pytest.raises(MappingIncomplete) as refused:
            mapping(date_format=pattern).check()
        assert "date_format" in refused.value.fields

    @pytest.mark.parametrize("pattern", ["", "%d.%m.%Y", "%Y-%m-%dT%H:%M:%S%z", "%d %b %y", "%m/%d/%Y %I:%M %p"])
    def test_usual_patterns_are_taken(self, pattern: str) -> None:
        mapping(date_format=pattern).check()

    @pytest.mark.parametrize(
        ("name", "value"), [("delimiter", "\n"), ("delimiter", '"'), ("time_zone", "Mars/Base"), ("currency", "EURO"), ("currency", "ZZZ")]
    )
    def test_what_no_line_could_be_read_by_is_refused_when_it_is_set(self, name: str, value: str) -> None:
        with pytest.raises(MappingIncomplete) as refused:
            mapping(**{name: value}).check()
        assert name in refused.value.fields

    def test_a_time_before_the_first_is_listed(self) -> None:
        (line,) = lines_of("csv", b"id;net;at\n1;5.00;01.01.0001\n", mapping(date_format="%d.%m.%Y", time_zone="Asia/Tokyo"))
        assert line.problem is not None and "01.01.0001" in line.problem


def test_an_exchange_rate_with_an_exponent_is_not_worked_out() -> None:
    content = files.adyen([(10_000, 320)]).replace(b",1,EUR", b",1e99999999,EUR")
    assert b"1e99999999" in content
    began = time.monotonic()
    assert any("not an exchange rate" in (line.problem or "") for line in _lines_even_when_refused("adyen", content))
    assert time.monotonic() - began < 5


def _lines_even_when_refused(name: str, content: bytes) -> list[Line]:
    """What was read before the file was refused, if it was."""
    found: list[Line] = []
    with suppress(FileRefused):
        found.extend(formats.read(name, io.BytesIO(content), Tally()))
    return found


class TestJson:
    @pytest.mark.parametrize(
        ("name", "content"),
        [
            ("square", files.square([(10_000, 320)]).replace(b"poe_0", b"poe\\u00000")),
            ("square", files.square([(10_000, 320)]).replace(b"poe_0", b"poe\\ud8000")),
            ("square", files.square([(10_000, 320)]).replace(b"sq_0", b"sq\\udc00\\ud83d")),
            ("braintree", b'{"id": "a\\u0000b", "status": "SETTLED"}\n'),
            ("braintree", b'{"id": "a\\udfffb", "status": "SETTLED"}\n'),
        ],
    )
    def test_what_no_database_keeps_is_refused_before_it_sees_it(self, name: str, content: bytes) -> None:
        with pytest.raises(FileRefused, match="no character of a text"):
            lines_of(name, content)

    def test_two_halves_of_a_character_are_one(self) -> None:
        (line,) = lines_of("square", files.square([(10_000, 320)]).replace(b"poe_0", b"\\ud83d\\ude00"))
        assert line.ext_id == "😀"

    def test_what_is_no_text_within_an_entry_is_listed(self) -> None:
        content = files.square([(10_000, 320)]).replace(b'"sq_0"', b'"\xaa"')
        assert any("cannot be read" in (line.problem or "") for line in _lines_even_when_refused("square", content))


NOTHING = [
    ("camt053", files.camt053, rb"<AcctSvcrRef>[^<]*", b"<AcctSvcrRef>NONREF"),
    ("camt053", files.camt053, rb"<AcctSvcrRef>[^<]*", b"<AcctSvcrRef>NOTPROVIDED"),
    ("mt940", files.mt940, rb"//BANK[0-9-]*", b"//0000000000"),
    ("bai2", files.bai2, rb"BANK[0-9]+", b"000000000000"),
]


@pytest.mark.parametrize(("name", "write", "given", "nothing"), NOTHING)
def test_a_word_for_no_reference_does_not_make_the_entries_of_two_days_one(
    name: str, write: Callable[..., bytes], given: bytes, nothing: bytes
) -> None:
    """Banks write it into every entry; taken for a name, the second day's would be the first day's with another amount."""
    first, second = (re.sub(given, nothing, write([1_000, 2_000], opening=opening)) for opening in (100_000, 103_000))
    second = second.replace(b"2026-03-03", b"2026-03-04").replace(b"260303", b"260304").replace(b"00007/001", b"00008/001")
    second = second.replace(b"<ElctrncSeqNb>7", b"<ElctrncSeqNb>8")
    lines = [*lines_of(name, first), *lines_of(name, second)]
    assert len({line.ext_id for line in lines}) == len(lines) == 4
    assert not any(nothing.decode().rpartition(">")[2].strip("/") in line.references for line in lines)


def test_what_cannot_be_read_of_a_statement_is_not_written_into_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(FileRefused):
        lines_of("mt940", files.mt940([1_000]).replace(b":61:2603030303C", b":61:260303 Anna Berg owes C"))
    assert "Anna Berg" not in caplog.text


def test_a_footer_with_a_separator_of_old_terminals_is_read() -> None:
    content = files.paypal([(10_000, 320)])
    odd = re.sub(rb"(SF[^0-9\n]*)([0-9])", lambda found: found[1] + b"\x1d" + found[2], content)
    assert b"\x1d" in odd and lines_of("paypal", odd) == lines_of("paypal", content)
