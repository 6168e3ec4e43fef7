"""The template behind `--name`: a few fields, nothing else, and no way out of the folder."""

from __future__ import annotations

import os
import re
import string
from dataclasses import dataclass

from denoisetool.errors import UsageError
from denoisetool.files.names import PHOTO_SUFFIXES, split_suffix

_OF_RUN = "scale"
_FIELDS = ("stem", "name", "suffix", "parent", "index", _OF_RUN)
_INDEX_SPEC = re.compile(r"0?[0-9]?d?")
FIELDS_HINT = "fields: " + " ".join(f"{{{name}}}" for name in _FIELDS)


@dataclass(frozen=True, slots=True)
class Template:
    """A checked name template: literal text and fields in turn."""

    parts: tuple[tuple[str, str | None, str], ...]
    adds_suffix: bool

    @classmethod
    def parse(cls, text: str) -> Template:
        """Check a template before any photo is looked at. Raises UsageError."""
        try:
            parsed = list(string.Formatter().parse(text))
        except ValueError as error:
            raise UsageError(f"--name {text!r}: {error}", hint=FIELDS_HINT) from error
        parts = []
        for literal, name, spec, conversion in parsed:
            _check_field(text, name, spec or "", conversion)
            parts.append((literal, name, spec or ""))
        _check_literals(text, "".join(literal for literal, _, _ in parts))
        return cls(tuple(parts), parts[-1][1] not in ("suffix", "name"))

    @property
    def has_fields(self) -> bool:
        """Whether the name depends on the photo at all."""
        return any(name not in (None, _OF_RUN) for _, name, _ in self.parts)

    def fill(self, values: dict[str, str | int], suffix: str) -> str:
        """The name, with `/` between folders, for one photo."""
        pieces = []
        for literal, name, spec in self.parts:
            doubled = name == "suffix" and literal.endswith(".")
            pieces.append(literal[:-1] if doubled else literal)
            if name is not None:
                pieces.append(format(values[name], spec) if spec else str(values[name]))
        return "".join(pieces) + (suffix if self.adds_suffix else "")


def _check_field(text: str, name: str | None, spec: str, conversion: str | None) -> None:
    """Only our own fields, bare; the index may be padded."""
    if name is None:
        return
    if name not in _FIELDS:
        raise UsageError(f"--name {text!r}: no field {{{name}}}", hint=FIELDS_HINT)
    if conversion or (spec and not (name == "index" and _INDEX_SPEC.fullmatch(spec))):
        what = f"--name {text!r}: only {{index:04}} takes a format"
        raise UsageError(what, hint=FIELDS_HINT)


def _check_literals(text: str, literals: str) -> None:
    """Nothing in the fixed text that leads elsewhere, or means elsewhere on another system."""
    pieces = text.split("/")
    if "\\" in literals or "\0" in literals or (os.name == "nt" and ":" in literals):
        raise UsageError(f"--name {text!r}: only / may separate folders")
    if any(piece in ("", ".", "..") for piece in pieces):
        raise UsageError(f"--name {text!r}: must stay inside the output folder")
    ending = split_suffix(f"x{pieces[-1]}")[1].lower()
    if ending in PHOTO_SUFFIXES:
        hint = "leave it out; --format chooses another"
        raise UsageError(f"--name {text!r}: the suffix {ending} is added by itself", hint=hint)
