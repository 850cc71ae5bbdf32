"""Operators of the platform from the command line: only who owns the database says who is one."""

from pathlib import Path

import click
import psycopg

from app.cli.installation import attached
from app.cli.output import emit
from app.core.clock import now
from app.core.settings import settings
from app.identity.domain import PersonNotFound, normalised

_ADD = (
    "insert into operator (person_id, added_at) select id, %s from person where email_lc = %s and status = 'active'"
    " on conflict (person_id) do update set added_at = operator.added_at returning person_id"
)
_REMOVE = "delete from operator o using person p where p.id = o.person_id and p.email_lc = %s returning o.person_id"


@click.group()
def operator() -> None:
    """People who run the platform; they are members of no merchant."""


@operator.command()
@click.argument("email")
@click.pass_obj
def add(settled: dict[str, Path], email: str) -> None:
    """Let a person into the operators' console.

    \b
    Example:
      countinghouse operator add mara@platform.example
    """
    with attached(settled["data"]):
        appoint(settings().owner_database_url or settings().database_url, email)
    emit({"operator": email}, f"{email} runs the platform now; the console is at /operator.")


@operator.command()
@click.argument("email")
@click.pass_obj
def remove(settled: dict[str, Path], email: str) -> None:
    """Shut a person out of the operators' console, with their next click.

    \b
    Example:
      countinghouse operator remove mara@platform.example
    """
    with attached(settled["data"]):
        _change(settings().owner_database_url or settings().database_url, _REMOVE, (normalised(email),))
    emit({"operator": None}, f"{email} no longer runs the platform.")


def appoint(owner_url: str, email: str) -> None:
    """Write, as the owner of the database, that a person runs the platform."""
    _change(owner_url, _ADD, (now(), normalised(email)))


def _change(owner_url: str, statement: str, values: tuple[object, ...]) -> None:
    with psycopg.connect(owner_url) as connection:
        if connection.execute(statement.encode(), values).fetchone() is None:
            raise PersonNotFound("Nobody with this e-mail address is here, or they run nothing.")
