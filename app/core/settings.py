"""The settings of a deployment: one table, read once from the environment, refused whole when anything is wrong or unknown."""

import os
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Literal, get_type_hints

import msgspec

PREFIX = "COUNTINGHOUSE_"
BARE = frozenset({"DATABASE_URL", "BROKER_URL", "MAIL_URL", "ALLOW_INSECURE_PSP_URLS"})
"""Names that are also understood without the prefix, because every platform sets them so."""


def _doc(text: str) -> msgspec.Meta:
    return msgspec.Meta(description=text)


class SettingsError(Exception):
    """The settings cannot be used; the message lists every problem and what to do about it."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a deployment may set. Durations carry their unit in the name."""

    environment: Annotated[Literal["production", "development", "demo", "test"], _doc("What kind of installation this is.")] = "production"
    database_url: Annotated[str, _doc("PostgreSQL 15+ as the application role (owns nothing, obeys row security).")]
    owner_database_url: Annotated[str, _doc("The same database as its owner, for migrations only.")] = ""
    relay_database_url: Annotated[str, _doc("The same database as the outbox relay's role.")] = ""
    broker_url: Annotated[str, _doc("Where jobs travel: postgresql://… or amqp://…; empty means the relay's database.")] = ""
    key_file: Annotated[str, _doc("The key ring that seals secrets (JSON, mode 0600).")] = "var/keys.json"
    public_url: Annotated[str, _doc("The address at which people and PSPs reach this installation.")] = "http://127.0.0.1:8000"
    allowed_hosts: Annotated[str, _doc("Comma-separated further host names to answer to, besides the public address's own.")] = ""
    host: Annotated[str, _doc("Address the web server listens on.")] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65535, description="Port the web server listens on.")] = 8000
    metrics_host: Annotated[str, _doc("Address of the private metrics port.")] = "127.0.0.1"
    metrics_port: Annotated[int, msgspec.Meta(ge=0, le=65535, description="Port of the private metrics page; 0 turns it off.")] = 0
    web_workers: Annotated[int, msgspec.Meta(ge=1, le=64, description="Web server processes.")] = 2
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _doc("What is worth a line.")] = "info"
    log_format: Annotated[Literal["json", "pretty"], _doc("Lines for machines or for people.")] = "json"
    database_pool_size: Annotated[int, msgspec.Meta(ge=1, le=200, description="Database connections per process.")] = 10
    trusted_proxies: Annotated[str, _doc("Comma-separated addresses whose X-Forwarded-For is believed.")] = ""
    allow_insecure_psp_urls: Annotated[bool, _doc("Allow http and loopback PSP addresses (simulator, development).")] = False
    simulator_url: Annotated[str, _doc("Where the PSP simulator listens, for the demo.")] = ""
    drop_folder: Annotated[
        str, _doc("Where other programs move settlement files in, below mer_…/rsc_… (merchant and source); empty turns it off.")
    ] = ""
    session_idle_minutes: Annotated[
        int, msgspec.Meta(ge=1, le=1440, description="A quiet session of somebody who may act ends after this.")
    ] = 15
    session_idle_minutes_reading: Annotated[
        int, msgspec.Meta(ge=1, le=1440, description="A quiet session of somebody who only reads ends after this, if it is longer.")
    ] = 60
    session_absolute_hours: Annotated[int, msgspec.Meta(ge=1, le=168, description="Any session ends after this.")] = 12
    mail_url: Annotated[
        str, _doc("The mail server: smtps://user:password@host or smtp://… (STARTTLS); without one the demo shows mails on a page.")
    ] = ""
    mail_from: Annotated[str, _doc("The address that mails come from.")] = "countinghouse@localhost"
    dns_server: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^([0-9a-fA-F.:]+:[0-9]{1,5})?$",
            description="Name server (address:port) that is asked for the proofs of domains; empty means the system’s.",
        ),
    ] = ""
    unused_days: Annotated[
        int,
        msgspec.Meta(
            ge=0, le=3650, description="Who did not sign in for so many days is shut out until their team lets them in; 0 turns it off."
        ),
    ] = 90
    step_up_minutes: Annotated[int, msgspec.Meta(ge=1, le=60, description="How long a second factor counts as fresh.")] = 15
    worker_grace_seconds: Annotated[
        float, msgspec.Meta(gt=0, le=600, description="Time for begun jobs when a worker is asked to stop; then they go back.")
    ] = 8.0
    psp_connect_seconds: Annotated[float, msgspec.Meta(gt=0, le=30, description="Time to reach a PSP.")] = 3.0
    psp_total_seconds: Annotated[float, msgspec.Meta(gt=0, le=60, description="Time for a whole PSP call.")] = 10.0
    payment_budget_seconds: Annotated[float, msgspec.Meta(gt=0, le=60, description="Longest wait of a payment call; then 202.")] = 15.0
    requests_per_minute: Annotated[
        int, msgspec.Meta(ge=1, description="Rate limit per address on pages, and apart from them on API calls without a key that works.")
    ] = 600
    api_requests_per_minute: Annotated[int, msgspec.Meta(ge=1, description="Rate limit per API key or OAuth client.")] = 120_000
    sign_in_providers: Annotated[str, _doc("Sign-in through OpenID Connect or GitHub: a JSON list; see docs/how-to/sso.md.")] = ""
    failpoints: Annotated[str, _doc("For tests: name=kill, name=raise or name=sleep:ms, comma-separated. Refused in production.")] = ""


def _fields() -> dict[str, object]:
    return get_type_hints(Settings, include_extras=True)


def _given(environ: Mapping[str, str]) -> dict[str, str]:
    names = {PREFIX + field.upper(): field for field in _fields()} | {name: name.lower() for name in BARE}
    prefixed_last = sorted(environ, key=lambda name: name.startswith(PREFIX))
    return {names[name]: environ[name] for name in prefixed_last if name in names}


def load(environ: Mapping[str, str]) -> Settings:
    """Read the settings; every unknown, missing or unreadable one is named at once."""
    fields = _fields()
    known = {PREFIX + field.upper() for field in fields}
    problems = [
        f"{name} is not a setting; see the configuration table in README.md."
        for name in environ
        if name.startswith(PREFIX) and name not in known
    ]
    given, values = _given(environ), {}
    for field, kind in fields.items():
        if field not in given:
            continue
        try:
            values[field] = msgspec.convert(given[field], kind, strict=False)
        except msgspec.ValidationError as error:
            problems.append(f"{PREFIX}{field.upper()}: {error}.")
    if "database_url" not in given:
        problems.append("DATABASE_URL is missing; set it, or use “make demo”, which brings its own database.")
    if values.get("environment", "production") == "production" and values.get("failpoints"):
        problems.append(f"{PREFIX}FAILPOINTS may not be set in production.")
    if not str(values.get("mail_url", "")).startswith(("smtp://", "smtps://")) and values.get("mail_url"):
        problems.append("MAIL_URL must begin with smtps:// or smtp://.")
    if problems:
        raise SettingsError("The settings cannot be used:\n" + "\n".join(f"  - {problem}" for problem in sorted(problems)))
    return msgspec.convert(values, Settings)


@cache
def settings() -> Settings:
    """The settings of this process."""
    return load(os.environ)


def table() -> list[tuple[str, str, str]]:
    """Name, default and meaning of every setting, for the README and the command line."""
    rows = []
    for field in msgspec.structs.fields(Settings):
        meta = _description(field.type)
        name = field.name.upper() if field.name.upper() in BARE else PREFIX + field.name.upper()
        default = "required" if field.required else ("" if field.default == "" else str(field.default))
        rows.append((name, default, meta))
    return rows


def _description(kind: object) -> str:
    for meta in getattr(kind, "__metadata__", ()):
        if meta.description:
            return str(meta.description)
    return ""
