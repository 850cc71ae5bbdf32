"""All payment service providers the house can talk to; a new one is one folder and one word here."""

from app.psp.adapters import simulated
from app.psp.domain import Provider

ADAPTERS: dict[str, Provider] = {provider.name: provider for provider in (simulated.PROVIDER,)}
