"""Commands for whoever runs an installation: settings, keys, demo data, the error catalogue."""

import asyncio
from importlib import import_module
from pathlib import Path

import click
import msgspec
import psycopg
from psycopg import sql

from app.cli.installation import ROOT, attached
from app.cli.output import emit, table
from app.core import secrets
from app.core import settings as core_settings
from app.core.errors import AppError, catalogue
from app.core.settings import settings

# Every column that holds a sealed secret, for the rotation of keys; a test compares this with the models.
SEALED = (
    ("person", "totp_secret"),
    ("mail", "sealed_body"),
    ("psp_connection", "credentials"),
    ("psp_credential_change", "credentials"),
    ("sso_provider", "sealed_secret"),
)


@click.command("settings")
@click.option("--markdown", is_flag=True, help="As the table of the README.")
def show_settings(markdown: bool) -> None:
    """List every setting with its default and meaning.

    \b
    Example:
      countinghouse settings
    """
    rows = [list(row) for row in core_settings.table()]
    text = settings_markdown() if markdown else table(["setting", "default", "meaning"], rows)
    emit([{"name": name, "default": default, "meaning": meaning} for name, default, meaning in core_settings.table()], text)


def settings_markdown() -> str:
    """The configuration table of the README."""
    lines = ["| setting | default | meaning |", "|---|---|---|"]
    lines += [f"| `{name}` | {f'`{default}`' if default else ''} | {meaning} |" for name, default, meaning in core_settings.table()]
    return "\n".join(lines)


@click.command()
@click.option("--markdown", is_flag=True, help="As docs/errors.md.")
def errors(markdown: bool) -> None:
    """List every error a caller can meet, with its code and status.

    \b
    Example:
      countinghouse errors --json
    """
    found = all_errors()
    rows = [[error.code, str(error.status), error.title] for error in found]
    text = errors_markdown() if markdown else table(["code", "status", "title"], rows)
    emit([{"code": error.code, "status": error.status, "title": error.title, "meaning": meaning(error)} for error in found], text)


def all_errors() -> list[type[AppError]]:
    """Every error class of the house, by status and code."""
    for path in sorted((ROOT / "app").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if not module.startswith(("app.cli", "app.main")):
            import_module(module)
    kept = {error for error in catalogue() if error.__module__.startswith("app.") and not error.__module__.startswith("app.cli")}
    return sorted(kept, key=lambda error: (error.status, error.code))


def meaning(error: type[AppError]) -> str:
    """What the class says about itself, on one line."""
    own = error.__dict__.get("__doc__") or ""
    return " ".join(own.split())


def errors_markdown() -> str:
    """The error catalogue of the documentation."""
    lines = ["# Errors", "", "The code is part of the API and does not change. Written by `countinghouse errors --markdown`.", ""]
    for status in sorted({error.status for error in all_errors()}):
        lines += [f"## {status}", "", "| code | title | meaning |", "|---|---|---|"]
        lines += [f"| `{error.code}` | {error.title} | {meaning(error)} |" for error in all_errors() if error.status == status]
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


@click.group()
def keys() -> None:
    """The key ring that seals secrets."""


@keys.command("create")
@click.pass_obj
def create_keys(settled: dict[str, Path]) -> None:
    """Make the key ring of a new installation; an existing one is left alone.

    \b
    Example:
      countinghouse keys create
    """
    with attached(settled["data"]):
        path = Path(settings().key_file)
        made = not path.exists()
        if made:
            secrets.write_ring(path, secrets.new_ring())
    emit(
        {"path": str(path), "made": made},
        f"{path} {'is made. Keep a copy: without it no secret can be opened.' if made else 'is there already.'}",
    )


@keys.command()
@click.pass_obj
def rotate(settled: dict[str, Path]) -> None:
    """Add a key, seal new secrets with it, and wrap the keys of the old ones anew; the secrets themselves stay as they are.

    \b
    Example:
      countinghouse keys rotate
    """
    with attached(settled["data"]):
        path = Path(settings().key_file)
        ring = secrets.read_ring(path).rotated()
        secrets.write_ring(path, ring)
        count = rewrap_all(settings().owner_database_url or settings().database_url, ring)
    emit(
        {"current": ring.current, "rewrapped": count},
        f"{ring.current} is the current key; {count} secrets are wrapped with it. Keep a copy of {path}.",
    )


def rewrap_all(owner_url: str, ring: secrets.KeyRing) -> int:
    """Wrap every sealed secret with the ring's current key, in one transaction."""
    count = 0
    with psycopg.connect(owner_url) as connection:
        for name, column in SEALED:
            words = {"table": sql.Identifier(name), "column": sql.Identifier(column)}
            found = connection.execute(
                sql.SQL("select ctid, {column} from {table} where {column} is not null for update").format(**words)
            ).fetchall()
            update = sql.SQL("update {table} set {column} = %s where ctid = %s").format(**words)
            for place, token in found:
                connection.execute(update, (secrets.rewrap(token, keys=ring), place))
            count += len(found)
    return count


@click.command()
@click.option("--force", is_flag=True, help="Although there are merchants already.")
@click.pass_obj
def seed(settled: dict[str, Path], force: bool) -> None:
    """Make the demo's people, merchants, sellers and orders by calling the services.

    \b
    Example:
      countinghouse seed
    """
    from app.cli.demo import is_empty
    from app.seed import plant

    with attached(settled["data"]):
        if not force and not is_empty(settings().owner_database_url or settings().database_url):
            raise click.UsageError("there are merchants already; --force adds the demo's to them")
        planted = asyncio.run(plant(simulator_url=settings().simulator_url))
    emit(planted, msgspec.json.format(msgspec.json.encode(planted), indent=2).decode())
