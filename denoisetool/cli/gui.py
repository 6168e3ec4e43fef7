"""`denoisetool gui`: open the window, which is not part of the command line."""

from __future__ import annotations

from typing import Annotated

import typer

from denoisetool.errors import UsageError


def gui(
    context: typer.Context,
    photos: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[PHOTOS...]", help="Photos and folders to open in it.", show_default=False
        ),
    ] = None,
) -> None:
    """Open the window: photos in a queue, before and after, watch and fine-tune.

    It needs PySide6: pip install 'denoisetool[gui]'.
    """
    if context.obj is None:
        raise UsageError("this program was built without the window")
    raise typer.Exit(context.obj(photos or []))
