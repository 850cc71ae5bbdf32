"""Logs: one line an event, whatever is in it, and never a secret."""

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from app.core import logs
from app.core.logs import contains_card, looks_like_card, redact
from app.core.settings import load

CARDS = ["4242424242424242", "4242 4242 4242 4242", "5555-5555-5555-4444", "378282246310005", "6011111111111117"]
KEYS = ["ch_live_abcdefghijkl", "ch_test_ABC-def_123456", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "sk_sim_0123456789"]
NAMES = [
    "password",
    "secret_key",
    "webhook_secret",
    "token",
    "Authorization",
    "cookie",
    "totp",
    "api_key",
    "recovery_codes",
    "credentials",
    "signature",
]


class Request(msgspec.Struct):
    token: str
    amount: int


@pytest.fixture(params=["json", "pretty"])
def lines(request: pytest.FixtureRequest) -> Iterator[Callable[[], list[str]]]:
    before, level = logging.getLogger().handlers[:], logging.getLogger().level
    environ = {"DATABASE_URL": "x", "COUNTINGHOUSE_LOG_FORMAT": request.param, "COUNTINGHOUSE_LOG_LEVEL": "info"}
    logs.configure(load(environ))
    written = io.StringIO()
    logging.getLogger().handlers[0].setStream(written)  # type: ignore[attr-defined]
    yield lambda: written.getvalue().splitlines()
    structlog.reset_defaults()
    logging.getLogger().handlers[:], logging.getLogger().level = before, level


class TestWritten:
    @pytest.mark.parametrize("planted", [*CARDS, *KEYS])
    def test_no_planted_secret_gets_through_however_it_is_logged(self, lines: Callable[[], list[str]], planted: str) -> None:
        log = structlog.get_logger()
        log.info(f"paid with {planted} today")  # noqa: G004 - a careless caller is the point
        log.info(
            "event", a=planted, b={"c": [planted, {"d": (planted,)}]}, e=planted.encode(), f={planted}, g=Request(token=planted, amount=1)
        )
        log.info("event", error=ValueError(f"no {planted}"), h={planted: 1})
        try:
            raise RuntimeError(f"failed for {planted}")  # noqa: TRY301
        except RuntimeError:
            log.exception("it failed")
        logging.getLogger("library").warning("library says %s", planted)
        text = "\n".join(lines())
        assert planted not in text and text.count("[redacted]") >= 8
        assert "it failed" in text and "library says" in text

    @pytest.mark.parametrize("name", NAMES)
    def test_what_is_called_a_secret_is_one(self, lines: Callable[[], list[str]], name: str) -> None:
        structlog.get_logger().info("event", **{name: "hunter2"}, nested={name: ["hunter2"], "deep": [{name: {"x": "hunter2"}}]})
        assert "hunter2" not in "\n".join(lines()) and lines()

    def test_a_struct_does_not_smuggle_its_fields(self, lines: Callable[[], list[str]]) -> None:
        structlog.get_logger().info("event", asked=Request(token="hunter2", amount=5), many=[Request(token="hunter2", amount=6)])
        assert "hunter2" not in "\n".join(lines()) and lines()

    @pytest.mark.parametrize("nasty", ["a\r\nINFO forged", "a\nb\nc", "\x1b[2J\x1b[31mred", "a\x00b", "\u2028x\u2029", "a\x85b", "\x9b31m"])
    def test_an_event_stays_one_line_and_says_nothing_to_the_terminal(self, lines: Callable[[], list[str]], nasty: str) -> None:
        structlog.get_logger().info(f"event {nasty}", value=nasty, key={"x": nasty})
        logging.getLogger("library").warning("%s", nasty)
        assert len(lines()) == 2, lines()
        for line in lines():
            assert not set(line) & set("\x00\x9b\u2028\u2029\x85")
            assert "\x1b[2J" not in line and "\x1b[31mred" not in line

    def test_json_lines_are_json(self, lines: Callable[[], list[str]], request: pytest.FixtureRequest) -> None:
        structlog.get_logger().info("event", n=1, text="ü")
        if "[json]" in request.node.name:
            entry = json.loads(lines()[0])
            assert (entry["event"], entry["level"], entry["n"], entry["text"]) == ("event", "info", 1, "ü") and entry["timestamp"].endswith(
                "Z"
            )


class TestRedact:
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=5), inner),
            max_leaves=8,
        )
    )
    def test_what_is_no_secret_is_left_as_it_is(self, value: Any) -> None:
        if not contains_card(json.dumps(value)) and not logs._KEY.search(json.dumps(value)):
            assert json.dumps(redact(value)) == json.dumps(value)

    @pytest.mark.parametrize("text", ["1234567890123456", "order 20261121094500123", "1" * 30, "pay_01jd5z2k3m4n5p6q7r8s9t0v1w"])
    def test_other_numbers_are_left_alone(self, text: str) -> None:
        assert redact(text) == text

    @pytest.mark.parametrize("card", CARDS)
    def test_cards_are_recognised(self, card: str) -> None:
        assert looks_like_card(card) and contains_card(f"x {card} y") and not looks_like_card(card[:-1] + ("0" if card[-1] != "0" else "1"))

    def test_numbers_and_switches_keep_their_value_under_any_name(self) -> None:
        assert redact({"token_count": 5, "has_password": True, "password": None}) == {
            "token_count": 5,
            "has_password": True,
            "password": None,
        }
