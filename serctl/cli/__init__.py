"""The `serctl` command: one thin module per subcommand, errors turned into one line each."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from serctl import __version__
from serctl.cli import console
from serctl.cli.usage import CommandLineError, name_values, to_usage_error
from serctl.errors import SerctlError, UnknownNameError, escape_controls, explain_os_error
from serctl.interrupt import sigterm_as_interrupt

RESUMABLE = ("init", "transcribe", "layers", "extract", "train", "export-logits", "run")


class ErrorHandlingGroup(TyperGroup):
    """Print a `SerctlError` or a usage error as one line on stderr and exit with its code."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Return the flags before the subcommand, with values in plain words."""
        return name_values(super().get_params(ctx), ctx)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Find a subcommand, with values in plain words and its first sentence as short help."""
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            name_values(command.get_params(ctx), ctx)
            command.short_help = f"{(command.help or '').split('. ')[0].rstrip('.')}."
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run the subcommand; ``SERCTL_DEBUG=1`` keeps the traceback."""
        with _one_line_errors(ctx):
            return super().invoke(ctx)

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read the flags before the subcommand; without any arguments, print the help."""
        console.accept_all_text()
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(ctx.get_help(), err=True)
            raise typer.Exit(2)
        with _one_line_errors(ctx):
            return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the subcommand; an unknown one is an error that lists the known ones."""
        if not ctx.resilient_parsing and args[0] not in self.commands:
            see = f"See: {ctx.command_path} --help"
            raise UnknownNameError("command", args[0], self.commands, see)
        return super().resolve_command(ctx, args)


@contextmanager
def _one_line_errors(ctx: Any) -> Iterator[None]:
    try:
        with sigterm_as_interrupt():
            yield
    except BrokenPipeError:  # the reader has enough: `| head`
        raise
    except Exception as error:
        known = _to_known_error(error, ctx)
        if known is None or os.environ.get("SERCTL_DEBUG"):
            raise
        text = _escape(escape_controls(str(known)))
        soft = not console.err.is_terminal
        console.err.print(f"[bold red]Error:[/] {text}", soft_wrap=soft)
        raise typer.Exit(known.exit_code) from None
    except KeyboardInterrupt:
        resumes = ctx.invoked_subcommand in RESUMABLE
        kept = "Finished work is kept. Run the same command again to continue."
        if console.err.is_terminal:
            console.err.file.write("\r")  # the line begins over the ^C that the terminal shows
        console.say(f"Interrupted. {kept if resumes else 'Run the same command to start again.'}")
        raise typer.Exit(130) from None


def _to_known_error(error: Exception, ctx: Any) -> SerctlError | None:
    """Return an error that a user can cause as one line; None for a bug of serctl."""
    if isinstance(error, SerctlError):
        return error
    if isinstance(error, CommandLineError):
        return to_usage_error(error, ctx)
    if isinstance(error, OSError):
        file = f"'{error.filename}'" if error.filename else "a file or the output"
        return SerctlError(f"Cannot read or write {file}: {explain_os_error(error)}")
    # torch, which this package does not import, has an error of its own for devices.
    if type(error).__name__ == "OutOfMemoryError" or "can't allocate memory" in str(error):
        return SerctlError(
            "The device is out of memory. Use smaller batches: --batch-seconds N; train: "
            "accumulate = 4, or a smaller --hidden"
        )
    return None


def _escape(text: str) -> str:
    from rich.markup import escape

    return escape(text)


app = typer.Typer(
    cls=ErrorHandlingGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"serctl {__version__}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Recognise the emotion of speech with frozen encoders, one command for each step.

    With recordings and a trained system: predict. With a corpus: init, then run RECIPE.
    """


COMMANDS = (
    "init",
    "transcribe",
    "encoders",
    "layers",
    "extract",
    "train",
    "export_logits",
    "stack",
    "evaluate",
    "report",
    "run",
    "predict",
    "serve",
    "doctor",
)
"""Subcommands in the order of the pipeline; each is ``serctl.cli.<name>:<name>``."""
GROUPS = ("manifest", "cache", "bundle")
"""Subcommands with subcommands of their own: a ``typer.Typer`` each."""

for _name in COMMANDS:
    _module = import_module(f"serctl.cli.{_name}")
    app.command(_name.replace("_", "-"))(getattr(_module, _name))
for _name in GROUPS:
    app.add_typer(
        getattr(import_module(f"serctl.cli.{_name}"), _name), name=_name, cls=ErrorHandlingGroup
    )
