"""Text from outside, such as file names, made fit to be shown."""

from __future__ import annotations


def printable(text: str, encoding: str = "utf-8") -> str:
    """Text that stays on its line, steers nothing, and can be written, whatever is in it.

    Control characters, marks that turn the direction of writing and the like are shown by their
    escapes, and bytes of a file name that are no text (PEP 383) by those bytes.

    Args:
        text: anything.
        encoding: what it will be written in; characters that this lacks are escaped too.
    """
    if not text.isprintable():
        text = "".join(c if c.isprintable() else _escaped(c) for c in text)
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _escaped(character: str) -> str:
    """A control character by its escape, and a byte that is no text by that byte."""
    if 0xDC80 <= ord(character) <= 0xDCFF:
        return f"\\x{ord(character) - 0xDC00:02x}"
    return character.encode("unicode_escape").decode("ascii")
