"""The whole application with a shop, for approvals of every kind."""

from tests.support.console import app, call_api, open_as, owner, psp, shop

__all__ = ["app", "call_api", "open_as", "owner", "psp", "shop"]
