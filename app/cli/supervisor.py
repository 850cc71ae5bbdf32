"""Keeps the processes of an installation running in one terminal: readable logs, restarts, and a clean end."""

import itertools
import os
import re
import signal
import subprocess
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import IO

import click
import psutil

COLOURS = ("cyan", "magenta", "yellow", "blue", "green", "bright_red")
STOP_SECONDS = 15.0
# A process that lived this long before it died is restarted at once; one that dies at birth waits longer each time.
HEALTHY_SECONDS = 30.0
LONGEST_WAIT = 10.0
TROUBLE = re.compile(r"\b(warning|error|critical|traceback|exception)\b", re.IGNORECASE)


class Child:
    """One process the supervisor keeps alive."""

    def __init__(self, name: str, command: list[str], environ: Mapping[str, str], write: Callable[[str], None]) -> None:
        self.name = name
        self.command = command
        self.environ = {**environ, "PYTHONUNBUFFERED": "1"}
        self.write = write
        self.process: subprocess.Popen[bytes] | None = None
        self.deaths = 0
        self.began = self.not_before = 0.0
        self.last_lines: deque[str] = deque(maxlen=30)
        self._reader: threading.Thread | None = None

    @property
    def is_running(self) -> bool:
        """Tell whether the process lives."""
        return self.process is not None and self.process.poll() is None

    def start(self) -> None:
        """Start the process; its lines go to the terminal with its name before them."""
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            self.command,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches only the supervisor, which stops everything in order.
        )
        assert self.process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self.process.stdout,), daemon=True)
        self._reader.start()

    def restart_when_dead(self) -> None:
        """Start the process again after it died, at once or, when it keeps dying, after a growing wait."""
        if self.process is None:
            if time.monotonic() >= self.not_before:
                self.start()
            return
        code = self.process.poll()
        if code is None:
            return
        lived = time.monotonic() - self.began
        self.deaths = 0 if lived > HEALTHY_SECONDS else self.deaths + 1
        wait = min(LONGEST_WAIT, 0.25 * 2**self.deaths)
        self.write(click.style(f"ended with {ended(code)}; starting again in {wait:.1f} s", fg="red"))
        self.process, self.not_before = None, time.monotonic() + wait

    def ask_to_stop(self) -> None:
        """Ask the process to finish what it has begun and end."""
        if self.process is not None and self.is_running:
            self.process.send_signal(signal.SIGTERM)

    def wait_or_kill(self, seconds: float) -> None:
        """Wait for the end; kill the process and what it started when it takes too long."""
        if self.process is None:
            return
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.write(click.style(f"did not end within {seconds:.0f} s and was killed", fg="red"))
            kill_tree(self.process.pid)
            self.process.wait()
        if self._reader is not None:
            self._reader.join(1.0)

    def _read(self, lines: IO[bytes]) -> None:
        with lines:
            for line in lines:
                text = line.decode(errors="replace").rstrip()
                self.last_lines.append(text)
                self.write(text)


class Supervisor:
    """The processes of one installation, in the order they are started; they are stopped in the reverse order."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.environ = {**os.environ, **environ}
        # While things start only trouble is worth a line.
        self.quiet = True
        self.children: list[Child] = []
        self._colours = itertools.cycle(COLOURS)
        self._print = threading.Lock()

    def start(self, name: str, command: list[str]) -> Child:
        """Start a process under a name."""
        prefix = click.style(f"{name:>9} │ ", fg=next(self._colours))
        child = Child(name, command, self.environ, lambda line: self._show(prefix, line))
        self.children.append(child)
        child.start()
        return child

    def watch(self, also: Callable[[], None]) -> None:
        """Keep everything running; Ctrl-C leaves."""
        while True:
            time.sleep(0.2)
            for child in self.children:
                child.restart_when_dead()
            also()

    def stop(self) -> None:
        """Stop everything, last started first."""
        for child in reversed(self.children):
            child.ask_to_stop()
            child.wait_or_kill(STOP_SECONDS)

    def _show(self, prefix: str, line: str) -> None:
        with self._print:
            if not self.quiet or TROUBLE.search(line):
                click.echo(prefix + line)


def kill_tree(pid: int) -> None:
    """Kill a process and everything it started."""
    try:
        parent = psutil.Process(pid)
        family = [*parent.children(recursive=True), parent]
    except psutil.NoSuchProcess:
        return
    for process in family:
        try:
            process.kill()
        except psutil.NoSuchProcess:
            continue


def ended(code: int) -> str:
    """How a process ended, in words."""
    return f"exit code {code}" if code >= 0 else signal.Signals(-code).name
