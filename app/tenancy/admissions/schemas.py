"""What crosses the edge where people come in by their team's own provider."""

from typing import Annotated

import msgspec


class SsoEmailForm(msgspec.Struct):
    email: Annotated[str, msgspec.Meta(min_length=3, max_length=254)]
    next: str = "/"


class SsoSignInPage(msgspec.Struct, kw_only=True):
    """``asked`` is the domain that was asked for; ``key`` and ``name`` say where it leads, and are empty when it leads nowhere."""

    next: str = "/"
    email: str = ""
    asked: str = ""
    key: str = ""
    name: str = ""


class SsoConfirmPage(msgspec.Struct, kw_only=True):
    provider: str
    merchant: str
    email: str
    account: str


class SsoConnectedPage(msgspec.Struct, kw_only=True):
    key: str
    provider: str
