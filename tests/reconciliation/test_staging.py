"""Lines on their way to the database: whatever a file says arrives as it was said."""

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from app.core.ids import new_id, public_id
from app.core.money import Money
from app.reconciliation.domain.lines import Line, LineKind, Side
from app.reconciliation.domain.staging import COLUMNS, blocks, our_id

TODAY = date(2026, 3, 3)
ESCAPED = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}


def copied(line: Line) -> dict[str, str | None]:
    """What COPY makes of the block, by the rules of its text format."""
    (block,) = blocks(iter([line]), TODAY)
    text = block.decode()
    assert text.endswith("\n")
    cells = text[:-1].split("\t")
    return dict(zip(COLUMNS, [_unescaped(cell) if cell else None for cell in cells], strict=True))


def _unescaped(cell: str) -> str:
    assert "\n" not in cell
    parts, place = [], 0
    while place < len(cell):
        width = 2 if cell[place] == "\\" else 1
        parts.append(ESCAPED[cell[place : place + 2]] if width == 2 else cell[place])
        place += width
    return "".join(parts)


def a_line(ext_id: str, text: str, references: list[str], problem: str | None = None) -> Line:
    money = Money(-5, "EUR")
    values = {"number": 1, "kind": LineKind.BANK_ENTRY, "raw_type": "x", "side": Side.BANK}
    return Line(ext_id=ext_id, text=text, references=references, gross=money, net=money, problem=problem, **values)  # type: ignore[arg-type]


class TestBlocks:
    @given(st.text(min_size=1), st.text(min_size=1), st.sampled_from([None, "is\tnot\\right"]))
    def test_any_text_arrives_as_it_was(self, ext_id: str, text: str, problem: str | None) -> None:
        cells = copied(a_line(ext_id, text, [], problem))
        assert (cells["ext_id"], cells["words"], cells["net_minor"], cells["day"]) == (ext_id, text, "-5", "2026-03-03")
        assert (cells["content"] is None) == (problem is None)

    def test_references_are_one_array(self) -> None:
        assert copied(a_line("e", "t", ['a"b', "c\\d", "e,f"]))["refs"] == '{"a\\"b","c\\\\d","e,f"}'

    @given(st.builds(new_id), st.sampled_from(["att", "pay", "cap"]))
    def test_our_ids_are_read(self, id: object, prefix: str) -> None:
        assert our_id(public_id(prefix, id)) == id.hex  # type: ignore[arg-type, attr-defined]

    def test_what_is_no_id_of_ours_is_none(self) -> None:
        assert [our_id(text) for text in ("att_", "att_0lovely", "att_" + "z" * 26)] == [None, None, None]
