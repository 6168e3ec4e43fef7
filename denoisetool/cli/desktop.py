"""`denoisetool desktop`: the window in the file manager's menus."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from denoisetool import events, program
from denoisetool.cli import options
from denoisetool.cli.console import print_error, print_line
from denoisetool.errors import UsageError

if TYPE_CHECKING:
    from denoisetool.desktop import Entry

app = typer.Typer(
    help="Put the window into the file manager's menus, or take it out.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
_WORDS = {
    "installed": "is installed",
    "outdated": "is installed, but not as this program would: run `denoisetool desktop install`",
    "changed": "was changed since it was installed, and is left alone",
    "missing": "was installed, and is gone",
    "foreign": "is not of this program, and is left alone",
    "none": "is not installed",
}


@app.command()
def install() -> None:
    """Add the window: a .desktop entry on Linux, "Send to" on Windows, a Quick Action on macOS.

    Nothing but the files named is written, and no file of others is replaced.
    """
    from denoisetool import desktop

    entry = _entry()
    if not program.has_window():
        raise UsageError("this bundle was made without the window, which a desktop entry opens")
    for path in desktop.install(entry):
        print_error(f"wrote {path}")
    print_error(f"{entry.what}; `denoisetool desktop remove` takes it away")


@app.command()
def remove() -> None:
    """Remove exactly what install wrote."""
    from denoisetool import desktop

    pieces = desktop.remove(_entry())
    for piece in pieces:
        changed = piece.state == "changed"
        print_error(f"{piece.path}: {_WORDS['changed']}" if changed else f"removed {piece.path}")
    if not pieces:
        print_error("nothing is installed")


@app.command()
def status(json: options.Json = False) -> None:
    """Show what is installed; 1 if it is not all there and up to date."""
    from denoisetool import desktop

    pieces = desktop.status(_entry())
    for piece in pieces:
        if json:
            print_line(events.record("desktop", path=str(piece.path), state=piece.state))
        else:
            print_line(f"{piece.path}: {_WORDS[piece.state]}")
    raise typer.Exit(int(any(piece.state != "installed" for piece in pieces)))


def _entry() -> Entry:
    from denoisetool import desktop

    return desktop.describe(program.window())
