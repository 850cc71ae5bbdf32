"""What crosses the edge about API keys and OAuth clients."""

from datetime import datetime, timedelta
from typing import Annotated, Literal
from urllib.parse import urlencode

import msgspec

from app.api_access.domain import Ending
from app.core.clock import now
from app.core.paging import Page

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=80)]
PerMinute = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
Overlap = Literal["0", "1", "24", "168"]
Days = Literal["30", "90", "365", "never"]


class KeyRow(msgspec.Struct, kw_only=True):
    id: str
    name: str
    prefix: str
    state: str
    scopes: list[str]
    networks: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    renew: list[str] = []


def _href(path: str, **asked: str | None) -> str:
    text = urlencode({name: value for name, value in asked.items() if value})
    return f"{path}?{text}" if text else path


class KeyListPage(msgspec.Struct, kw_only=True):
    rows: Page[KeyRow]
    query: str
    state: str
    is_sandbox: bool
    may_change: bool

    @property
    def is_filtered(self) -> bool:
        """Whether something narrows the list."""
        return bool(self.query or self.state)

    def href(self, **change: str | None) -> str:
        """This list with something changed in its address."""
        return _href("/api-clients", **{"q": self.query, "state": self.state, **change})


class KeyForm(msgspec.Struct):
    name: Name
    scopes: list[str] = []
    expires: Days = "90"
    networks: str = ""
    requests_per_minute: PerMinute | None = None


class KeyNewPage(msgspec.Struct, kw_only=True):
    scopes: list[tuple[str, str]]
    is_sandbox: bool


class ShownPage(msgspec.Struct, kw_only=True):
    """A secret, this once; `client_id` goes with the secrets of OAuth clients."""

    name: str
    secret: str
    back: str
    client_id: str | None = None


class RotateForm(msgspec.Struct):
    overlap: Overlap = "24"
    expires: Days = "90"


class RevokeForm(msgspec.Struct):
    name: str = ""


class KeyPage(msgspec.Struct, kw_only=True):
    key: KeyRow


class EditForm(msgspec.Struct):
    """What can be changed of a key and of an OAuth client alike."""

    name: Name
    scopes: list[str] = []
    expires: Literal["keep", "30", "90", "365", "never"] = "keep"
    networks: str = ""
    requests_per_minute: PerMinute | None = None

    @property
    def ends(self) -> Ending | None:
        """When it is to end; none keeps its end."""
        return None if self.expires == "keep" else Ending(end_of(self.expires))


def end_of(days: Days) -> datetime | None:
    """The moment so many days from now."""
    return None if days == "never" else now() + timedelta(days=int(days))


class EditPage(msgspec.Struct, kw_only=True):
    """The form that changes a key or an OAuth client."""

    id: str
    name: str
    scopes: list[tuple[str, str]]
    chosen: list[str]
    networks: list[str]
    requests_per_minute: int | None
    expires_at: datetime | None


class ClientRow(msgspec.Struct, kw_only=True):
    id: str
    name: str
    method: str
    state: str
    scopes: list[str]
    networks: list[str]
    created_by: str
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    renew: list[str] = []


class ClientListPage(msgspec.Struct, kw_only=True):
    rows: Page[ClientRow]
    query: str
    state: str
    may_change: bool

    @property
    def is_filtered(self) -> bool:
        """Whether something narrows the list."""
        return bool(self.query or self.state)

    def href(self, **change: str | None) -> str:
        """This list with something changed in its address."""
        return _href("/api-clients/oauth", **{"q": self.query, "state": self.state, **change})


class ClientForm(msgspec.Struct):
    name: Name
    scopes: list[str] = []
    method: Literal["client_secret_basic", "private_key_jwt"] = "client_secret_basic"
    jwks: str = ""
    jwks_url: str = ""
    expires: Days = "never"
    networks: str = ""
    requests_per_minute: PerMinute | None = None


class ClientNewPage(msgspec.Struct, kw_only=True):
    scopes: list[tuple[str, str]]
    is_sandbox: bool


class SecretRow(msgspec.Struct, kw_only=True):
    prefix: str
    created_at: datetime
    expires_at: datetime | None


class ClientPage(msgspec.Struct, kw_only=True):
    """One OAuth client with its secrets or keys."""

    client: ClientRow
    token_url: str
    secrets: list[SecretRow]
    key_ids: list[str]
    jwks_url: str | None
    jwks_fetched_at: datetime | None
    living_tokens: int
    may_change: bool


class SecretForm(msgspec.Struct):
    overlap: Overlap = "24"


class KeysForm(msgspec.Struct):
    jwks: str = ""
    jwks_url: str = ""
