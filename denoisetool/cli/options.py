"""Every option of every command, defined once; what the settings mean stands in settings.py."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from denoisetool.errors import UsageError
from denoisetool.settings import BY_NAME, Settings, resolve


def settings_from(given: Mapping[str, Any]) -> Settings:
    """The settings of a command, from all of its parameters; those that are none are left out.

    Raises:
        UsageError: a value is not allowed, or the command's options contradict each other.
    """
    settings = resolve({name: given[name] for name in BY_NAME if name in given}).settings
    if given["overwrite"] and given["skip_existing"]:
        raise UsageError("--overwrite and --skip-existing contradict each other")
    return settings


def _setting(name: str, *flags: str, metavar: str | None = None) -> Any:
    setting = BY_NAME[name]
    default = "auto" if setting.default is None else setting.default
    text = f"{setting.help} [default: {default}]"
    if setting.choices and metavar is None:
        metavar = "|".join(setting.choices)
    return typer.Option(*flags, help=text, metavar=metavar, show_default=False)


def _flag(name: str, *flags: str, text: str | None = None) -> Any:
    return typer.Option(*flags, help=text or BY_NAME[name].help, show_default=False)


Model = Annotated[str | None, _setting("model", "--model", "-m", metavar="NAME")]
CameraModels = Annotated[bool | None, _flag("camera_models", "--camera-models/--no-camera-models")]
Device = Annotated[str | None, _setting("device", "--device")]
Precision = Annotated[str | None, _setting("precision", "--precision")]
Scale = Annotated[str | None, _setting("scale", "--scale")]
Strength = Annotated[str | None, _setting("strength", "--strength", "-s", metavar="0..2")]
Luma = Annotated[str | None, _setting("luma", "--luma", metavar="0..1")]
Chroma = Annotated[str | None, _setting("chroma", "--chroma", metavar="0..1")]
ColorLock = Annotated[bool | None, _flag("color_lock", "--color-lock/--no-color-lock")]
Tile = Annotated[str | None, _setting("tile", "--tile", metavar="PIXELS")]
Jobs = Annotated[str | None, _setting("jobs", "--jobs", "-j", metavar="N")]
Format = Annotated[str | None, _setting("format", "--format", "-f")]
Quality = Annotated[str | None, _setting("quality", "--quality", metavar="1..100")]
Name = Annotated[str | None, _setting("name", "--name", metavar="TEMPLATE")]
Strip = Annotated[bool | None, _flag("strip", "--strip/--no-strip")]
LowPriority = Annotated[bool | None, _flag("low_priority", "--low-priority/--normal-priority")]
MaxMegapixels = Annotated[str | None, _setting("max_megapixels", "--max-megapixels", metavar="MP")]
Offline = Annotated[bool | None, _flag("offline", "--offline/--online")]

Photos = Annotated[
    list[str],
    typer.Argument(help="Photos and folders; - reads one photo from standard input.",
                   metavar="PHOTOS...", show_default=False),
]  # fmt: skip
Output = Annotated[
    str | None,
    typer.Option("--output", "-o", metavar="PATH", show_default=False,
                 help="Folder (or file, for one photo; - is standard output). [default: beside"
                      " the input: photo_clean.jpg, photos-clean/]"),
]  # fmt: skip
Report = Annotated[
    str | None,
    typer.Option("--report", metavar="FILE.html", show_default=False,
                 help="Write a page to look at: crops before and after, noise, colour, failures."),
]  # fmt: skip
ReportOutput = Annotated[
    str,
    typer.Option("--output", "-o", metavar="FILE.html", show_default=False,
                 help="The page to write."),
]  # fmt: skip
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace existing outputs.")]
SkipExisting = Annotated[
    bool, typer.Option("--skip-existing", help="Leave existing outputs, whatever made them.")
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", "-n", help="Show what would be done, space and time; do not.")
]
Json = Annotated[
    bool, typer.Option("--json", help="One versioned JSON object per line on standard output.")
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say only what failed.")]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Say more: every photo, colour shift, what was"
                                               " passed over.")
]  # fmt: skip
