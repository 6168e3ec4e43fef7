"""The application: its commands, and the default one that needs no name."""

from __future__ import annotations

import difflib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from denoisetool import __version__
from denoisetool.cli import (
    compare,
    config,
    denoise,
    desktop,
    doctor,
    evaluate,
    finetune,
    gui,
    models,
    train,
    watch,
)

DEFAULT = "\0"
"""The default command's name: one that no folder and no word of a command line can have."""
INTRO = """Take the noise out of photographs.

  denoisetool photos/ -o clean/      a file, several files, or folders (tree mirrored)

Same names, metadata, colours, format and bit depth; the originals are never touched. A folder or
file called like a command is given as ./config or after --."""


class DefaultGroup(TyperGroup):
    """A group whose default command is run when the first word is no command."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert the default command where none is named."""
        own = {name for p in self.get_params(ctx) for name in (*p.opts, *p.secondary_opts)}
        position = 0
        while position < len(args) and args[position] in own:
            position += 1
        if position < len(args) and args[position] not in self.commands:
            options = args[: args.index("--")] if "--" in args else args
            if not {"-h", "--help"}.isdisjoint(options):
                args, position = ["--help"], 1
            else:
                args = [*args[:position], DEFAULT, *args[position:]]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        """The default command goes by no name in messages."""
        name, found, rest = super().resolve_command(ctx, args)
        return ("" if name == DEFAULT else name), found, rest

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The default command's arguments and options, then the other commands."""
        formatter.write_usage("denoisetool", "[OPTIONS] PHOTOS... | COMMAND ...")
        formatter.write("\n" + INTRO + "\n")
        default = self.commands[DEFAULT]
        records = [p.get_help_record(ctx) for p in (*default.params, *self.get_params(ctx))]
        with formatter.section("Options"):
            formatter.write_dl([record for record in records if record is not None])
        self.format_commands(ctx, formatter)
        formatter.write(
            "\nExit codes: 0 done or nothing to do, 1 some photos failed, 2 usage, 3 no readable"
            " input,\n4 model, 5 device, 6 output not writable or disk full, 130/143 interrupted.\n"
        )


def _version(value: bool) -> None:
    if value:
        typer.echo(f"denoisetool {__version__}")
        raise typer.Exit


app = typer.Typer(
    cls=DefaultGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Take the noise out of photographs."""


def command() -> Any:
    """The whole command line, ready to parse."""
    return typer.main.get_command(app)


def nearest_command(word: str) -> str | None:
    """The command that a mistyped word may have meant; None if it resembles none."""
    names = [name for name in command().commands if name != DEFAULT]
    near = difflib.get_close_matches(word, names, n=1)
    return near[0] if near else None


app.command(DEFAULT, hidden=True)(denoise.denoise)
app.command(cls=watch.WatchCommand)(watch.watch)
app.add_typer(models.app, name="models")
app.add_typer(config.app, name="config")
app.add_typer(desktop.app, name="desktop")
app.command()(doctor.doctor)
app.command()(compare.compare)
app.command()(evaluate.evaluate)
app.command()(finetune.finetune)
app.command()(train.train)
app.command()(gui.gui)
