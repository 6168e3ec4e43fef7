"""The settings, which are the command's, and what the window remembers of itself."""

from __future__ import annotations

from typing import Any

from PySide6.QtCore import QObject, QSettings, QTimer, Signal

from denoisetool.errors import DenoiseError
from denoisetool.settings import BY_NAME, SETTINGS, Origin, Value, folder, resolve

SAVE_AFTER = 400
"""Milliseconds after the last change before the file is written."""


class Preferences(QObject):
    """Every setting as the command would have it, changed here and written to the same file.

    Signals:
        changed: a setting has another value; its name.
        failed: the file cannot be read or written; a sentence.
    """

    changed = Signal(str)
    failed = Signal(str)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self.problem = ""
        self._values: dict[str, Value] = {each.name: each.default for each in SETTINGS}
        self.origins: dict[str, Origin] = {}
        self._unsaved: set[str] = set()
        self._timer = QTimer(self, singleShot=True, interval=SAVE_AFTER)
        self._timer.timeout.connect(self.save)
        self.window = QSettings(
            str(folder("config") / "window.ini"), QSettings.Format.IniFormat, self
        )
        try:
            resolved = resolve({})
        except DenoiseError as error:
            self.problem = str(error)  # the defaults are shown; nothing is written over it
        else:
            self.origins = resolved.origins
            self._values = {n: getattr(resolved.settings, n) for n in self._values}

    def get(self, name: str) -> Any:
        """The value of a setting."""
        return self._values[name]

    def set(self, name: str, value: object) -> None:
        """Change a setting; it is written a moment later. Raises UsageError for a bad value."""
        parsed = BY_NAME[name].parse("auto" if value is None else value)
        if parsed != self._values[name]:
            self._values[name] = parsed
            self._unsaved.add(name)
            self._timer.start()
            self.changed.emit(name)

    def reset(self, *names: str) -> None:
        """Put settings back to their defaults."""
        for name in names:
            self.set(name, BY_NAME[name].default)

    def save(self) -> None:
        """Write what was changed; a default is taken out of the file.

        What cannot be written is tried again the next time.
        """
        from denoisetool.files import config

        self._timer.stop()
        try:
            for name in sorted(self._unsaved):
                if self._values[name] == BY_NAME[name].default:
                    config.unset(name)
                else:
                    config.set_value(name, self._values[name])
                self._unsaved.discard(name)
        except DenoiseError as error:
            self.failed.emit(str(error))

    def request(self) -> dict[str, Value]:
        """All settings as the worker takes them."""
        return {name: "auto" if v is None else v for name, v in self._values.items()}
