"""`denoisetool config`: every setting, its value, and where the value came from."""

from __future__ import annotations

from typing import Annotated

import typer

from denoisetool import events
from denoisetool.cli import options
from denoisetool.cli.console import print_error, print_line
from denoisetool.settings import (
    PREFIX,
    SETTINGS,
    Value,
    config_path,
    find,
    resolve,
    unknown_variables,
)

app = typer.Typer(help="Show and change the settings.", no_args_is_help=True, rich_markup_mode=None)

Key = Annotated[str, typer.Argument(metavar="NAME", show_default=False)]
NewValue = Annotated[str, typer.Argument(metavar="VALUE", show_default=False)]


@app.command()
def show(json: options.Json = False) -> None:
    """Show every setting with its value and where the value came from."""
    resolved = resolve({})
    for setting in SETTINGS:
        value, origin = getattr(resolved.settings, setting.name), resolved.origins[setting.name]
        if json:
            print_line(
                events.record(
                    "setting", name=setting.name, value=value, origin=origin,
                    variable=setting.variable, help=setting.help,
                )
            )  # fmt: skip
        else:
            print_line(f"{setting.name:15} {_text(value):10} {origin:12} {setting.help}")
    for variable in unknown_variables():
        print_error(f"note: {variable} is set, but there is no setting of this name")


@app.command("set")
def set_(name: Key, value: NewValue) -> None:
    """Set a setting in the user's config file; comments there are kept."""
    from denoisetool.files import config

    setting = find(name)
    parsed = config.set_value(name, value)
    print_error(f"{setting.name} is {_text(parsed)} from now on, in {config_path()}")
    _warn_if_overruled(setting.name)


@app.command()
def unset(name: Key) -> None:
    """Take a setting out of the user's config file, back to its default."""
    from denoisetool.files import config

    key = config.unset(name)
    print_error(f"{key} is no longer set in {config_path()}")


@app.command()
def path() -> None:
    """Show where the config file is, or would be."""
    print_line(str(config_path()))


def _text(value: Value) -> str:
    """A value as one would write it on the command line."""
    if value is None:
        return "auto"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _warn_if_overruled(name: str) -> None:
    """An environment variable wins over the file that was just written."""
    import os

    variable = PREFIX + name.upper()
    if os.environ.get(variable):
        print_error(f"note: {variable} is set too, and wins over the file")
