"""Forms become structs, and everything that is wrong is said at once, field by field.

msgspec stops at the first problem, so each field is converted on its own. The texts speak to the person at the form.
"""

import re
import types
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, TypeVar, Union, get_args, get_origin, get_type_hints
from uuid import UUID

import msgspec
from litestar.datastructures import UploadFile

from app.core.errors import AppError, Invalid
from app.core.money import MalformedAmount, Money, UnknownCurrency
from app.web.context import HttpRequest

MAX_LENGTH = 2000
MAX_VALUES = 200
_CARD = re.compile(r"(?<!\d)(?:\d[ -]?){12,18}\d(?!\d)")
# control characters other than tab and line feeds have no business in a form
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

Values = dict[str, list[str]]
FormType = TypeVar("FormType", bound=msgspec.Struct)


class InvalidForm(Invalid):
    """Something in the form cannot be accepted; the fields say what."""

    code = "invalid_form"
    title = "There is a problem"

    def __init__(self, detail: str = "", *, fields: Mapping[str, str] | None = None, values: Values | None = None) -> None:
        super().__init__(detail, fields=fields)
        self.values: Values = values or {}


class Problem(msgspec.Struct, frozen=True):
    """One line of the error summary; `field` is where it is, if it is in a field."""

    text: str
    field: str | None = None


class FormState(msgspec.Struct, frozen=True):
    """What was posted and what was wrong with it, so that the form can be shown again as it was."""

    path: str = ""
    values: Values = {}
    errors: dict[str, str] = {}
    problems: tuple[Problem, ...] = ()
    takes_focus: bool = True

    @property
    def headline(self) -> str:
        """The first line of the error summary."""
        return "There is a problem" if len(self.problems) == 1 else f"There are {len(self.problems)} problems"


EMPTY = FormState()


def state_after(error: AppError, path: str, values: Values) -> FormState:
    """The form as it must be shown again after this error."""
    problems = tuple(Problem(text, name) for name, text in error.fields.items()) or (Problem(error.detail),)
    return FormState(path=path, values=values, errors=dict(error.fields), problems=problems)


async def read_form(request: HttpRequest, form: type[FormType]) -> FormType:
    """The posted form as a struct; raises InvalidForm naming every field that is wrong."""
    values = await posted_values(request)
    return parse_form(values, form)


async def posted_values(request: HttpRequest) -> Values:
    """The text fields of the posted form, as they came."""
    data = await request.form()
    values: Values = {}
    for name, value in data.multi_items():
        if isinstance(value, UploadFile):
            continue
        values.setdefault(str(name), []).append(str(value))
    return values


def parse_form(values: Mapping[str, Sequence[str]], form: type[FormType]) -> FormType:
    """The values as a struct, or InvalidForm with every problem."""
    hints = get_type_hints(form, include_extras=True)
    parsed: dict[str, object] = {}
    errors: dict[str, str] = {}
    for field in msgspec.structs.fields(form):
        try:
            given = _read(field.encode_name, hints[field.name], values)
        except _Wrong as wrong:
            errors[field.encode_name] = wrong.text
            continue
        if given is not _MISSING:
            parsed[field.name] = given
        elif field.required:
            errors[field.encode_name] = _required(field.encode_name)
    if not errors:
        return form(**parsed)
    kept = {name: list(texts) for name, texts in values.items()}
    raise InvalidForm("Some of it cannot be accepted.", fields=errors, values=kept)


class _Wrong(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text


class _Missing:
    """Nothing was posted for the field."""


_MISSING = _Missing()


def _read(name: str, hint: object, values: Mapping[str, Sequence[str]]) -> object:
    kind, metas, optional = _unwrap(hint)
    if kind is bool:
        return bool(values.get(name)) and values[name][-1].lower() not in {"", "off", "false", "0"}
    if kind is Money:
        return _money(name, values, optional)
    if get_origin(kind) in {list, tuple, set, frozenset}:
        return _many(name, kind, metas, values)
    text = _clean(values.get(name, [""])[-1])
    if text == "" and (optional or name not in values or not _takes_empty(kind, metas)):
        return None if optional and name in values else _MISSING
    return _one(text, kind, metas)


def _unwrap(hint: object) -> tuple[object, tuple[object, ...], bool]:
    metas: tuple[object, ...] = ()
    optional = False
    while True:
        origin = get_origin(hint)
        if origin is Annotated:
            hint, *extra = get_args(hint)
            metas += tuple(extra)
        elif origin in {Union, types.UnionType} and type(None) in get_args(hint):
            optional = True
            (hint,) = [part for part in get_args(hint) if part is not type(None)]
        else:
            return hint, metas, optional


def _takes_empty(kind: object, metas: Sequence[object]) -> bool:
    return kind is str and not any(isinstance(meta, msgspec.Meta) and (meta.min_length or 0) > 0 for meta in metas)


def _clean(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _one(text: str, kind: object, metas: Sequence[object]) -> object:
    if kind is str:
        _check_text(text, metas)
    annotated: object = Annotated[(kind, *metas)] if metas else kind
    try:
        return msgspec.convert(text, type=annotated, strict=False)
    except msgspec.ValidationError as error:
        raise _Wrong(_explain(kind, metas, str(error))) from None


def _check_text(text: str, metas: Sequence[object]) -> None:
    limit = min([meta.max_length for meta in metas if isinstance(meta, msgspec.Meta) and meta.max_length] or [MAX_LENGTH])
    if len(text) > limit:
        raise _Wrong(f"Use at most {limit} characters; this has {len(text)}.")
    if _CONTROL.search(text):
        raise _Wrong("Remove the characters that cannot be shown.")
    if contains_card_number(text):
        raise _Wrong("Do not enter a card number here. Card numbers are typed only on the payment provider’s page.")


def contains_card_number(text: str) -> bool:
    """Whether the text holds 13 to 19 digits that pass the card checksum."""
    return any(_luhn([int(char) for char in match.group() if char.isdigit()]) for match in _CARD.finditer(text))


def _luhn(digits: Sequence[int]) -> bool:
    doubled = (digit * 2 - 9 * (digit > 4) if i % 2 else digit for i, digit in enumerate(reversed(digits)))
    return any(digits) and sum(doubled) % 10 == 0


def _many(name: str, kind: object, metas: Sequence[object], values: Mapping[str, Sequence[str]]) -> object:
    texts = [text for text in map(_clean, values.get(name, [])) if text]
    if len(texts) > MAX_VALUES:
        raise _Wrong(f"Choose at most {MAX_VALUES}.")
    if not texts and name not in values:
        return _MISSING
    item, item_metas, _ = _unwrap((get_args(kind) or (str,))[0])
    items = [_one(text, item, item_metas) for text in texts]
    annotated: object = Annotated[(kind, *metas)] if metas else kind
    try:
        return msgspec.convert(items, type=annotated)
    except msgspec.ValidationError:
        raise _Wrong("Choose at least one." if not items else "This choice is not possible.") from None


def _money(name: str, values: Mapping[str, Sequence[str]], optional: bool) -> object:
    text = _clean(values.get(name, [""])[-1])
    currency = _clean((values.get(f"{name}_currency") or values.get("currency") or [""])[-1]).upper()
    if text == "":
        return None if optional and name in values else _MISSING
    if not currency:
        raise _Wrong("Choose a currency.")
    try:
        return Money.parse(text, currency)
    except (MalformedAmount, UnknownCurrency) as error:
        raise _Wrong(error.detail) from None


def filter_of(asked: Mapping[str, str], name: str, options: type[StrEnum], *, of: str) -> str:
    """A filter of a list in an address, empty for all. A word that is none of the options is refused: the whole list would be taken for the one
    that was asked for."""
    text = asked.get(name, "")
    if text and text not in set(options):
        raise Invalid(f"There is no such {name} of {of}.", fields={name: f"Use one of {', '.join(options)}."})
    return text


def _required(name: str) -> str:
    return f"Enter {_words(name)}."


def _words(name: str) -> str:
    words = name.replace("_", " ").removesuffix(" id")
    return ("an " if words[:1] in "aeio" else "a ") + words if words and not words.endswith("s") else words


def _explain(kind: object, metas: Sequence[object], reason: str) -> str:
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        return "Choose one of the options."
    if kind in _EXPECTED:
        bounds = [meta for meta in metas if isinstance(meta, msgspec.Meta)]
        if "Expected `int`" in reason and any(b.ge is not None or b.le is not None for b in bounds) and ("<=" in reason or ">=" in reason):
            return _bounds(bounds)
        return _EXPECTED[kind]
    if "length >=" in reason:
        return "This is too short: " + reason.rsplit("length >= ", maxsplit=1)[-1].split("`", maxsplit=1)[0] + " characters or more."
    return "This does not have the right form."


_EXPECTED: dict[object, str] = {
    int: "Enter a whole number.",
    date: "Enter a date like 2026-11-20.",
    datetime: "Enter a date and time like 2026-11-20T14:32.",
    UUID: "Choose one of the options.",
}


def _bounds(metas: Sequence[msgspec.Meta]) -> str:
    low = max([meta.ge for meta in metas if meta.ge is not None], default=None)
    high = min([meta.le for meta in metas if meta.le is not None], default=None)
    if low is not None and high is not None:
        return f"Enter a number from {low} to {high}."
    return f"Enter {low} or more." if low is not None else f"Enter {high} or less."
