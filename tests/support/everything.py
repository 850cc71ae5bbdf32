"""`make test`: the checks and the tests side by side; pytest's closing line comes last."""

import os
import subprocess
import sys
import threading

from tests.support import checks, chromium


def main() -> int:
    """Run everything and say at the end what a reader of the last line needs."""
    browser = find_browser()
    outcome: list[tuple[bool, str]] = []
    beside = threading.Thread(target=lambda: outcome.extend(checks.check(name) for name in checks.CHECKS))
    beside.start()
    # classes in the order of their files: those with few tests are the long ones, and would come last if the many came first
    share = ["-n", str(processes()), "--dist", "loadscope", "--no-loadscope-reorder"]
    # a test that hangs takes its process along, and would be tried again in every new one
    share += ["--max-worker-restart", "1"]
    command = [sys.executable, "-m", "pytest", "-q", *share, *sys.argv[1:]]
    closing, code = run_tests(command, browser)
    beside.join()
    good = [checks.show(result) for result in outcome]
    if not all(good):
        print(f"{good.count(False)} of {len(good)} checks failed")
    print(closing)
    return code if all(good) else code or 1


def run_tests(command: list[str], browser: str | None) -> tuple[str, int]:
    """Run pytest, passing its lines on; give its closing line and exit code."""
    environment = os.environ | ({"CHROMIUM_PATH": browser} if browser else {})
    # dozens of processes start the application: the first one compiles it for all of them
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    closing = ""
    with subprocess.Popen(command, cwd=checks.ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as tests:
        assert tests.stdout is not None
        for line in tests.stdout:
            closing = line.rstrip() or closing
            print(line, end="", flush=True)
    return closing, tests.returncode


def find_browser() -> str | None:
    """The browser for the journeys; without one those tests fail and say so."""
    try:
        return chromium.find()
    except chromium.ChromiumMissing as missing:
        chromium.say(str(missing))
        return None


def processes() -> int:
    """One test process more than there are cores, at most four: each has a database and maybe a browser, and many wait for another process."""
    return max(2, min(4, (os.cpu_count() or 1) + 1))


if __name__ == "__main__":
    sys.exit(main())
