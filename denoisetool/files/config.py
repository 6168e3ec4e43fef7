"""Changing the user's config file: one line of it, everything else stays."""

from __future__ import annotations

from typing import Any

from denoisetool.errors import UsageError
from denoisetool.files.atomic import atomic_write
from denoisetool.settings import Value, config_path, find


def set_value(name: str, value: object) -> Value:
    """Set one setting, and return what it is now.

    Raises:
        UsageError: no such setting, a bad value, or the file cannot be read.
        OutputError: the file cannot be written.
    """
    setting = find(name)
    parsed = setting.parse(value)
    _edit(setting.name, parsed)
    return parsed


def unset(name: str) -> str:
    """Take one setting out of the file, also one that another version knew; its name there.

    Raises:
        UsageError: no such setting, or the file cannot be read.
        OutputError: the file cannot be written.
    """
    key = name if name in _document() else find(name).name
    _edit(key, None)
    return key


def _document() -> Any:
    """The config file as it is, comments and all; empty if there is none."""
    import tomlkit
    import tomlkit.exceptions

    target = config_path()
    try:
        return tomlkit.parse(target.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return tomlkit.document()
    except (OSError, UnicodeDecodeError, tomlkit.exceptions.TOMLKitError) as error:
        what = f"the config file cannot be read: {error}"
        raise UsageError(what, path=target, hint="correct it, or remove it") from error


def _edit(name: str, value: Value) -> None:
    """Change one line of the config file, where None takes it out."""
    import tomlkit

    document = _document()
    if "_" in name:
        document.pop(name.replace("_", "-"), None)  # the other spelling of the same setting
    if value is None:
        document.pop(name, None)
    else:
        document[name] = value
    with atomic_write(config_path().resolve(), overwrite=True) as out:
        out.write(tomlkit.dumps(document).encode())
