"""`denoisetool config`: every setting, its value, and where the value came from."""

from __future__ import annotations

import json as jsonlib
from typing import Annotated

import typer

from denoisetool.cli import options
from denoisetool.cli.console import print_line
from denoisetool.errors import OutputError
from denoisetool.settings import SETTINGS, config_path, find, read_file, resolve

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
            body = {"v": 1, "event": "setting", "name": setting.name, "value": value}
            body |= {"origin": origin, "variable": setting.variable, "help": setting.help}
            print_line(jsonlib.dumps(body))
        else:
            shown = (
                "auto" if value is None else str(value).lower() if setting.kind is bool else value
            )
            print_line(f"{setting.name:15} {shown!s:10} {origin:12} {setting.help}")


@app.command("set")
def set_(name: Key, value: NewValue) -> None:
    """Set a setting in the user's config file; comments there are kept."""
    setting = find(name)
    parsed = setting.parse(value)
    _edit(setting.name, parsed)


@app.command()
def unset(name: Key) -> None:
    """Take a setting out of the user's config file, back to its default."""
    _edit(find(name).name, None)


@app.command()
def path() -> None:
    """Show where the config file is, or would be."""
    print_line(str(config_path()))


def _edit(name: str, value: str | int | float | bool | None) -> None:
    import tomlkit

    from denoisetool.files import atomic_write

    target = config_path()
    read_file(target)  # refuses a broken file before it is rewritten
    try:
        text = target.read_text(encoding="utf-8")
    except FileNotFoundError:
        text = ""
    except OSError as error:
        raise OutputError(f"the config file cannot be read: {error}", path=target) from error
    document = tomlkit.parse(text)
    if value is None:
        document.pop(name, None)
    else:
        document[name] = value
    with atomic_write(target, overwrite=True) as out:
        out.write(tomlkit.dumps(document).encode())
