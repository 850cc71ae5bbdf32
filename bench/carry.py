"""The relay with one route more, to a job that does nothing: `python -m bench.carry`."""

from workers import relay
from workers.processes import run_process
from workers.routes import ROUTES

ROUTES["bench.tick"] = ("echo.nothing",)

if __name__ == "__main__":
    run_process(relay.run)
