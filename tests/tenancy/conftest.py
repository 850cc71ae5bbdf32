"""The same browsers as the web floor's tests, and the payments' tests' provider."""

from tests.payments.conftest import psp
from tests.web.conftest import app, browser, open_browser, owner, tenant

__all__ = ["app", "browser", "open_browser", "owner", "psp", "tenant"]
