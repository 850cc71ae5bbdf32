"""The same browsers as the web floor's tests."""

from tests.web.conftest import app, browser, open_browser, owner, tenant

__all__ = ["app", "browser", "open_browser", "owner", "tenant"]
