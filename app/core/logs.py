"""Structured logs without secrets: one line an event, JSON for machines or coloured text for people."""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any

import structlog

from app.core.settings import Settings

_SECRET = re.compile(r"secret|password|token|authorization|cookie|credential|totp|signature|api_key|recovery", re.IGNORECASE)
_CARD = re.compile(r"(?<!\d)\d(?:[ -]?\d){12,18}(?!\d)")
_KEY = re.compile(r"ch_(?:live|test)_[A-Za-z0-9_-]{8,}|whsec_[A-Za-z0-9+/=]+|sk_[a-z]+_[A-Za-z0-9]+")
HIDDEN = "[redacted]"


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


def redact(value: object, name: str = "") -> object:
    """The value with secrets and card numbers taken out, however deep they lie."""
    if name and _SECRET.search(name) and value is not None and not isinstance(value, bool | int | float):
        return HIDDEN
    if isinstance(value, dict):
        return {key: redact(inner, str(key)) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact(inner) for inner in value]
    if isinstance(value, str):
        text = _KEY.sub(HIDDEN, value)
        return _CARD.sub(lambda match: HIDDEN if looks_like_card(match.group()) else match.group(), text)
    return value


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
    renderer: Any = structlog.dev.ConsoleRenderer(colors=True) if pretty else structlog.processors.JSONRenderer()
    level = getattr(logging, settings.log_level.upper())
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer], foreign_pre_chain=shared
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for noisy in ("httpx2", "httpcore2", "uvicorn.access", "apscheduler"):
        logging.getLogger(noisy).setLevel(max(level, logging.WARNING))
