"""Every setting: its name, kind, default and help, defined once; and where its value came from.

Precedence: command-line flag > `DENOISETOOL_<NAME>` environment variable > the user's config file >
default. The command line, the config file, `config show` and the documentation all read `SETTINGS`.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from denoisetool.errors import UsageError

APP = "denoisetool"
HOME_VARIABLE = "DENOISETOOL_HOME"
PREFIX = "DENOISETOOL_"

Value = str | int | float | bool | None
Origin = Literal["flag", "environment", "file", "default"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        name: attribute of `Settings`, key in the file, and (upper case) environment variable.
        kind: Python type of its value.
        default: what it is when nobody says anything.
        help: one line for people.
        choices: allowed values, if they are few.
        low, high: allowed range of numbers.
        optional: whether `auto` (None) is a value.
    """

    name: str
    kind: type
    default: Value
    help: str
    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    optional: bool = False

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return PREFIX + self.name.upper()

    def parse(self, value: object) -> Value:
        """Bring `value`, text from a shell or a TOML value, to its kind.

        Raises:
            UsageError: not of that kind, not among the choices, or out of range.
        """
        if self.optional and (value is None or str(value).lower() == "auto"):
            return None
        if value is None or value == "":
            raise UsageError(f"{self.name} needs a value", hint=self.help)
        if self.kind is bool:
            words = {"true": True, "1": True, "yes": True, "on": True,
                     "false": False, "0": False, "no": False, "off": False}  # fmt: skip
            parsed: Value = value if isinstance(value, bool) else words.get(str(value).lower())
            if parsed is None:
                raise UsageError(f"{self.name} must be true or false, not {value!r}")
            return parsed
        try:
            if isinstance(value, (bool, list, dict)):
                raise ValueError
            parsed = self.kind(str(value)) if self.kind is not float else float(str(value))
        except ValueError:
            noun = {int: "a whole number", float: "a number"}.get(self.kind, "text")
            raise UsageError(f"{self.name} must be {noun}, not {value!r}") from None
        if self.choices and str(parsed) not in self.choices:
            raise UsageError(
                f"{self.name} must be one of {', '.join(self.choices)}, not {parsed!r}"
            )
        if isinstance(parsed, (int, float)):
            low, high = self.low, self.high
            within = (low is None or parsed >= low) and (high is None or parsed <= high)
            if not within:  # NaN is within nothing
                raise UsageError(f"{self.name} must be from {low:g} to {high:g}, not {parsed:g}")
        return parsed


@dataclass(frozen=True, slots=True)
class Settings:
    """The value of every setting; what each means stands in `SETTINGS`."""

    model: str
    camera_models: bool
    device: str
    precision: str
    scale: int | None
    strength: float
    luma: float
    chroma: float
    color_lock: bool
    tile: int | None
    jobs: int | None
    format: str
    quality: int | None
    name: str | None
    strip: bool
    low_priority: bool
    max_megapixels: float
    offline: bool

    def fingerprint(self, weights_sha256: str) -> str:
        """A text that changes whenever the pixels or metadata of an output would.

        Device, precision and tile size are left out: they only move the last rounding. Scale is the
        model's.
        """
        keys = ("strength", "luma", "chroma", "color_lock", "format", "quality", "strip")
        return " ".join([weights_sha256[:16], *(f"{key}={getattr(self, key)}" for key in keys)])


SETTINGS: tuple[Setting, ...] = (
    Setting("model", str, "auto", "Model name or folder; auto picks one for the device."),
    Setting("camera_models", bool, True, "Where the model is picked, take one fine-tuned for the"
            " photo's camera and ISO, if there is one."),
    Setting("device", str, "auto", "Where to compute; a named device is strict, never replaced.",
            ("auto", "cpu", "cuda", "mps", "xpu")),
    Setting("precision", str, "auto", "Arithmetic of the model; auto checks it against fp32.",
            ("auto", "fp32", "bf16", "fp16")),
    Setting("scale", int, None, "Enlarge photos so many times on each side, denoised before; auto"
            " is what a named model does, else 1.", ("1", "2", "4"), optional=True),
    Setting("strength", float, 1.0, "How much of the noise to remove: 0 none, 1 all that the model"
            " finds, up to 2 with a second pass (not when photos are enlarged).", low=0, high=2),
    Setting("luma", float, 1.0, "Share of the brightness noise to remove.", low=0, high=1),
    Setting("chroma", float, 1.0, "Share of the colour noise to remove.", low=0, high=1),
    Setting("color_lock", bool, True, "Keep the coarse colour where the photo has it."),
    Setting("tile", int, None, "Tile side in pixels; auto picks it from the free memory.",
            low=64, high=16384, optional=True),
    Setting("jobs", int, None, "Threads that decode and encode; auto is 2 to 4 by the cores.",
            low=1, high=64, optional=True),
    Setting("format", str, "keep", "File format of the results.",
            ("keep", "jpeg", "png", "tiff", "webp", "avif", "bmp")),
    Setting("quality", int, None, "1-100 for lossy formats; auto reuses the source's own tables.",
            low=1, high=100, optional=True),
    Setting("name", str, None, "Name of the results, such as '{stem}_clean'; auto keeps the name.",
            optional=True),
    Setting("strip", bool, False, "Leave out EXIF, XMP, IPTC and comments (ICC stays)."),
    Setting("low_priority", bool, False, "Give way to other programs on this machine."),
    Setting("max_megapixels", float, 500.0, "Refuse larger pictures.", low=0.01, high=20000),
    Setting("offline", bool, False, "Never use the network."),
)  # fmt: skip
BY_NAME: Mapping[str, Setting] = {s.name: s for s in SETTINGS}
assert tuple(BY_NAME) == tuple(f.name for f in fields(Settings))


@dataclass(frozen=True, slots=True)
class Resolved:
    """Settings together with where each value came from."""

    settings: Settings
    origins: dict[str, Origin]


def folder(kind: Literal["config", "data", "cache", "state", "log"]) -> Path:
    """A platform directory of this program; `DENOISETOOL_HOME` moves all of them at once."""
    home = os.environ.get(HOME_VARIABLE)
    if home:
        return Path(os.path.expanduser(home)) / kind  # noqa: PTH111 - raises nothing
    import platformdirs

    return Path(getattr(platformdirs, f"user_{kind}_path")(APP, appauthor=False))


def config_path() -> Path:
    """The user's config file, which need not exist."""
    return folder("config") / "config.toml"


def read_file(path: Path) -> dict[str, Value]:
    """The settings in a config file; {} when there is none.

    Raises:
        UsageError: unreadable, not TOML, an unknown key, or a bad value; names file and key.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        what = f"the config file cannot be read: {error}"
        raise UsageError(what, path=path, hint="correct it, or remove it") from error
    values: dict[str, Value] = {}
    for key, value in data.items():
        try:
            setting = find(key)
            values[setting.name] = setting.parse(value)
        except UsageError as error:
            error.path = path
            error.hint = error.hint or f"correct it with `denoisetool config set {key} VALUE`"
            raise
    return values


def find(name: str) -> Setting:
    """The setting called `name` (dashes count as underscores). Raises UsageError."""
    setting = BY_NAME.get(name.replace("-", "_"))
    if setting is None:
        import difflib

        near = difflib.get_close_matches(name.replace("-", "_"), BY_NAME, n=1)
        hint = f"did you mean {near[0]}?" if near else "`denoisetool config show` lists them"
        raise UsageError(f"there is no setting {name!r}", hint=hint)
    return setting


def resolve(
    flags: Mapping[str, Any],
    environment: Mapping[str, str] | None = None,
    path: Path | None = None,
) -> Resolved:
    """Put the settings together.

    Args:
        flags: values given on the command line; None means not given.
        environment: environment variables, this process's by default.
        path: config file, the user's by default.

    Raises:
        UsageError: a bad value anywhere; the message names where it stands.
    """
    environment = os.environ if environment is None else environment
    file = read_file(path or config_path())
    values: dict[str, Any] = {}
    origins: dict[str, Origin] = {}
    for setting in SETTINGS:
        name, variable = setting.name, setting.variable
        if flags.get(name) is not None:
            flag = "--" + name.replace("_", "-")
            values[name] = _parsed(setting, flags[name], f"given with {flag}")
            origins[name] = "flag"
        elif environment.get(variable):
            where = f"set in the environment variable {variable}"
            values[name] = _parsed(setting, environment[variable], where)
            origins[name] = "environment"
        elif name in file:
            values[name], origins[name] = file[name], "file"
        else:
            values[name], origins[name] = setting.default, "default"
    return Resolved(Settings(**values), origins)


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """Environment variables that look like settings of ours and are none."""
    environment = os.environ if environment is None else environment
    known = {HOME_VARIABLE, *(setting.variable for setting in SETTINGS)}
    return sorted(v for v in environment if v.startswith(PREFIX) and v not in known)


def _parsed(setting: Setting, value: object, where: str) -> Value:
    """Parse a value, and on failure say where it stands."""
    try:
        return setting.parse(value)
    except UsageError as error:
        error.hint = where
        raise
