"""The whole application, a shop, and browsers."""

from tests.support.console import app, call_api, open_as, owner, psp, shop, stranger

__all__ = ["app", "call_api", "open_as", "owner", "psp", "shop", "stranger"]
