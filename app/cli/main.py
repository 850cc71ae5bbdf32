"""The command `countinghouse`: one entry point to everything that is not a web page."""

import sys
from importlib import import_module
from pathlib import Path

import click

from app.cli.installation import DATA
from app.cli.output import JSON_FLAG, plain_when_asked, report
from app.core.errors import AppError, Unavailable
from app.core.programs import EmbeddedPostgresError
from app.core.settings import SettingsError

# Loaded when called: `--help` and the processes start at once.
COMMANDS = {
    "demo": "app.cli.demo:demo",
    "dev": "app.cli.demo:dev",
    "web": "app.cli.processes:web",
    "worker": "app.cli.processes:worker",
    "relay": "app.cli.processes:relay",
    "scheduler": "app.cli.processes:scheduler",
    "simulator": "app.cli.processes:simulator",
    "migrate": "app.cli.migrate:migrate",
    "seed": "app.cli.operations:seed",
    "user": "app.cli.people:user",
    "operator": "app.cli.operators:operator",
    "code": "app.cli.people:code",
    "ledger": "app.cli.books:ledger",
    "audit": "app.cli.trail:audit",
    "check": "app.cli.invariants:check",
    "psp": "app.cli.providers:psp",
    "recon": "app.cli.settlements:recon",
    "outbox": "app.cli.outbox:outbox",
    "keys": "app.cli.operations:keys",
    "settings": "app.cli.operations:show_settings",
    "errors": "app.cli.operations:errors",
    "docs": "app.cli.documents:docs",
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order a newcomer meets them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command's module."""
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command


class ServerMissing(Unavailable):
    """The private PostgreSQL does not start."""

    code = "embedded_postgres_failed"
    title = "The private PostgreSQL does not start"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "--data", type=click.Path(file_okay=False, path_type=Path), default=DATA, show_default="var", help="Directory of the demo's data."
)
@click.pass_obj
def cli(settled: dict[str, object], data: Path) -> None:
    """Countinghouse: the open payments back office.

    \b
    Examples:
      countinghouse demo                      everything on this machine, with demo data
      countinghouse ledger check              do all the books balance?
      countinghouse outbox list --json        what waits to be published
    \b
    --json after any command gives JSON. Exit codes: 0 done, 1 it went wrong, 2 it was called wrongly.
    Commands work on DATABASE_URL or, without one, on the demo's database.
    """
    settled["data"] = data.absolute()


def main() -> None:
    """Run the command line; what went wrong is one clear line and an exit code."""
    arguments = [argument for argument in sys.argv[1:] if argument != JSON_FLAG]
    as_json = len(arguments) < len(sys.argv) - 1
    plain_when_asked()
    sys.exit(run(arguments, as_json=as_json))


def run(arguments: list[str], *, as_json: bool = False) -> int:
    """Run one command and give its exit code."""
    try:
        result = cli.main(args=arguments, prog_name="countinghouse", standalone_mode=False, obj={"json": as_json})
    except click.ClickException as error:
        error.show()
        return 2
    except click.Abort:
        click.echo("Stopped.", err=True)
        return 1
    except SettingsError as error:
        click.echo(str(error), err=True)
        return 2
    except EmbeddedPostgresError as error:
        report(ServerMissing(str(error)), as_json=as_json)
        return 1
    except AppError as error:
        report(error, as_json=as_json)
        return 1
    return result if isinstance(result, int) else 0


if __name__ == "__main__":
    main()
