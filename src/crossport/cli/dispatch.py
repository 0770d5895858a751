"""Find the command that the arguments name, and call it with its session."""

from collections.abc import Sequence
from typing import Any

from cyclopts import App, CycloptsError, MissingArgumentError

from crossport import __version__, errors
from crossport.cli.option import Options, picked
from crossport.cli.output import Output
from crossport.cli.session import Session
from crossport.cli.surroundings import Surroundings
from crossport.cli.table import COMMANDS, overview

__all__ = ["application", "dispatch"]

USAGE = 2


def application(output: Output) -> App:
    """Return the tree of commands; each is imported only when it is used."""
    app = App(
        name="crossport",
        help=overview(),
        version=__version__,
        version_flags=["--version"],
        help_format="plaintext",
        help_formatter="default" if output.live else "plain",
        result_action="return_value",
    )
    for command in COMMANDS:
        app.command(command.target, name=command.name)
    return app


def dispatch(arguments: Sequence[str], surroundings: Surroundings) -> int:
    """Run the command; return its exit status."""
    output = Output(
        surroundings.stdout, surroundings.stderr, surroundings.environment, as_json="--json" in arguments
    )
    try:
        options, words = picked(arguments)
        output.as_json = options.as_json
        return _called(words, surroundings, options, output)
    except CycloptsError as error:
        output.error(_usage(error))
        return USAGE
    except errors.Error as error:
        output.error(error)
        return error.exit_code


def _called(words: list[str], surroundings: Surroundings, options: Options, output: Output) -> int:
    if words in (["--help"], ["-h"], []):
        output.stdout.write(overview())
        return 0
    app = application(output)
    console = output.console() if output.live else _plain(output)
    command, bound, ignored = app.parse_args(
        words, console=console, exit_on_error=False, print_error=False, help_on_error=False
    )
    session = Session(surroundings, options)
    extra: dict[str, Any] = {"session": session} if "session" in ignored else {}
    try:
        result = command(*bound.args, **bound.kwargs, **extra)
    finally:
        session.close()
    if command == app.help_print and not set(words) & {"--help", "-h"}:
        return USAGE  # a group without its command
    return result if isinstance(result, int) else 0


def _plain(output: Output) -> Any:
    from rich.console import Console  # noqa: PLC0415

    return Console(file=output.stdout, no_color=True, highlight=False, width=100)


def _usage(error: CycloptsError) -> errors.Invalid:
    """Return a parsing error as one of ours."""
    chain = " ".join(["crossport", *(error.command_chain or ())])
    text = " ".join(str(error).split())
    if isinstance(error, MissingArgumentError) and error.argument and not error.keyword:
        text = f"{error.argument.name} is missing."
    return errors.Invalid("cli.usage", text, remedy=f"See `{chain} --help`.")
