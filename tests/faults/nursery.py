"""Processes born of one that has loaded the application: the tests start dozens, and loading takes each of them some seconds of a processor."""

import multiprocessing
import os
import runpy
import sys
from collections.abc import Mapping, Sequence
from multiprocessing.process import BaseProcess
from pathlib import Path

_LOADED = [
    *("app.main", "app.cli.installation", "app.cli.output", "app.cli.processes", "app.web.accepting"),
    *("dramatiq.cli", "workers.broker", "workers.jobs", "workers.rabbit", "workers.tries"),
]
"""What every process of the house needs; no module that is run itself, and none that looks at the settings while it is loaded."""
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(_LOADED)


def born(command: Sequence[str], environ: Mapping[str, str], log: Path) -> BaseProcess:
    """Run ``python -m module arguments…`` in a session of its own, with this environment and no other, its output in a file."""
    _, option, module, *arguments = command
    assert option == "-m", command
    process = _context.Process(target=_become, args=(module, arguments, dict(environ), log))
    process.start()
    return process


def _become(module: str, arguments: list[str], environ: dict[str, str], log: Path) -> None:
    os.setsid()
    with Path(os.devnull).open("rb") as nothing, log.open("ab") as lines:
        for number, file in enumerate((nothing, lines, lines)):
            os.dup2(file.fileno(), number)
    sys.stdin = os.fdopen(0)
    os.environ.clear()
    os.environ.update(environ)
    sys.argv = [module, *arguments]
    multiprocessing.set_start_method("fork", force=True)  # for its own children: they too find everything loaded
    runpy.run_module(module, run_name="__main__", alter_sys=True)
