"""All ways to a bank by a call, by the name of the provider that offers them; a new one is one folder and one word here."""

from collections.abc import Callable, Mapping

from app.payouts.adapters import simulated
from app.payouts.domain.port import RailAdapter

RAILS: dict[str, Callable[[Mapping[str, str]], RailAdapter]] = {"simulated": simulated.connect}
