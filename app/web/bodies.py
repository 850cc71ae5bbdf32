"""JSON bodies, read strictly: of the right type, and numbers that are numbers. What the framework would quietly convert is refused."""

import re
from typing import Any

import msgspec
from litestar import Request
from litestar.datastructures import FormMultiDict, State
from litestar.exceptions import ClientException, HTTPException, ValidationException

_WHERE = re.compile(r"^(.*?)(?: - at `\$\.?(.*)`)?$", re.DOTALL)


class StrictRequest(Request[object, object, State]):
    """A request whose JSON body must fit what its handler declares, without “100” becoming 100 or 1.0 becoming 1."""

    _seen: State | None = None

    @property
    def state(self) -> State:
        """What the frame put down for this request; the framework would make a new view of it, with a lock, for each look."""
        if self._seen is None:
            self._seen = super().state
        return self._seen

    async def form(self) -> FormMultiDict:
        """The body as a form; one in an encoding that does not exist, or that it is not written in, cannot be read."""
        try:
            return await super().form()
        except (LookupError, UnicodeError):
            raise ClientException("The form is not written in the encoding that it names.") from None

    async def json(self) -> Any:
        """The body as JSON."""
        if await self.body() and self.headers.get("content-type") and not _is_json(self.content_type[0]):
            raise HTTPException(status_code=415)
        try:
            value = await super().json()
        except RecursionError:
            raise ClientException("The body is nested too deeply.") from None
        except UnicodeDecodeError:
            raise ClientException("The body is not UTF-8.") from None
        declared = self.route_handler.parsed_data_field
        if declared is not None:
            _refuse_converted(value, declared.annotation)
        return value


def _is_json(media_type: str) -> bool:
    return media_type == "application/json" or media_type.endswith("+json")


def _refuse_converted(value: object, kind: Any) -> None:
    """Refuse what only fits after a conversion; what does not fit at all is left to the framework, which names every field."""
    try:
        msgspec.convert(value, kind)
    except msgspec.ValidationError as error:
        try:
            msgspec.convert(value, kind, strict=False)
        except msgspec.ValidationError:
            return
        found = _WHERE.match(str(error))
        message, where = found.groups() if found else (str(error), None)
        raise ValidationException(extra=[{"key": where or "body", "message": message}]) from None
