"""Structured logs without secrets: one line an event, JSON for machines or coloured text for people."""

import json
import logging
import re
import sys
from collections.abc import MutableMapping
from datetime import date
from functools import lru_cache
from typing import Any
from uuid import UUID

import msgspec
import structlog

from app.core.settings import Settings

_SECRET = re.compile(r"secret|password|token|authorization|cookie|credential|totp|signature|api_key|recovery", re.IGNORECASE)
_CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_KEY = re.compile(r"ch_(?:live|test)_[A-Za-z0-9_-]{8,}|whsec_[A-Za-z0-9+/=]+|sk_[a-z]+_[A-Za-z0-9]+")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
HIDDEN = "[redacted]"
_FINISHED = "is_a_finished_line"
_JSON = json.JSONEncoder(default=repr)


def looks_like_card(text: str) -> bool:
    """Whether the digits pass the check that card numbers pass (Luhn)."""
    digits = [int(c) for c in text if c.isdigit()]
    if not 13 <= len(digits) <= 19:
        return False
    doubled = [d if i % 2 == 0 else (d * 2 - 9 if d > 4 else d * 2) for i, d in enumerate(reversed(digits))]
    return sum(doubled) % 10 == 0


def contains_card(text: str) -> bool:
    """Whether a card number seems to stand in the text."""
    return any(looks_like_card(match.group()) for match in _CARD.finditer(text))


@lru_cache(maxsize=1024)
def _names_a_secret(name: str) -> bool:
    return _SECRET.search(name) is not None


def redact(value: object, name: str = "") -> object:
    """The value with secrets and card numbers taken out, however deep they lie."""
    if name and _names_a_secret(name) and value is not None and not isinstance(value, bool | int | float):
        return HIDDEN
    match value:
        case dict():
            return {_hide(str(key)): redact(inner, str(key)) for key, inner in value.items()}
        case list() | tuple() | set() | frozenset():
            return [redact(inner) for inner in value]
        case msgspec.Struct():
            return redact(msgspec.structs.asdict(value))
        case str():
            return _hide(value)
        case bytes():
            return _hide(value.decode(errors="replace"))
        case None | bool() | int() | float() | date() | UUID():
            return value
        case _:
            # Errors and whatever else a line is given: what would be printed of it is looked through.
            return _hide(repr(value))


def _hide(text: str) -> str:
    text = _KEY.sub(HIDDEN, text)
    return _CARD.sub(lambda match: HIDDEN if looks_like_card(match.group()) else match.group(), text)


def _escaped(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Nothing in a line for people ends the line or speaks to the terminal; only tracebacks have lines of their own."""
    return {key: _escape(value, keep="\n" if key == "exception" else "") for key, value in event.items()}


def _escape(value: object, *, keep: str = "") -> object:
    if isinstance(value, str):
        return _CONTROL.sub(lambda match: match.group() if match.group() in keep else ascii(match.group())[1:-1], value)
    return value


def _for_machines(_logger: object, _method: str, event: MutableMapping[str, Any]) -> str:
    """One line of JSON, in ASCII alone: nothing in it ends the line or speaks to the terminal."""
    return _JSON.encode(event)


def _written_once(_logger: object, _method: str, line: MutableMapping[str, Any] | str) -> tuple[tuple[object], dict[str, Any]]:
    """Hand the finished line to the standard library, which is not to work on it again."""
    return (line,), {"extra": {_FINISHED: True}}


class _Formatter(structlog.stdlib.ProcessorFormatter):
    """Writes our own lines as they come, and makes those of libraries look the same."""

    def format(self, record: logging.LogRecord) -> str:
        return str(record.msg) if hasattr(record, _FINISHED) else super().format(record)


def _redacted(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    return {key: redact(value, key) if key != "event" else redact(value) for key, value in event.items()}


def configure(settings: Settings) -> None:
    """Set up logging for this process; the standard library's lines go the same way."""
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        _redacted,
    ]
    pretty = settings.log_format == "pretty"
    renderers: list[Any] = [_escaped, structlog.dev.ConsoleRenderer(colors=True)] if pretty else [_for_machines]
    level = getattr(logging, settings.log_level.upper())
    # no line says where in the code, in which thread or in which task it was written: do not find it out for each
    logging._srcfile = None  # noqa: SLF001 - the documented way
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    structlog.configure(
        processors=[*shared, *renderers, _written_once],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        _Formatter(processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *renderers], foreign_pre_chain=shared)
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx2", "httpcore2", "uvicorn.access", "apscheduler"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
