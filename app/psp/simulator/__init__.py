"""A small payment service provider of our own: a separate process with its own store, so that faults are real."""

from app.psp.simulator.server import create_simulator, serve

__all__ = ["create_simulator", "serve"]
