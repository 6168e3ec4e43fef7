from __future__ import annotations

import os

import pytest

from denoisetool.text import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.jpg", "plain name.jpg"),
        ("grüße 🐈", "grüße 🐈"),
        ("a\nb\tc", r"a\nb\tc"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\u202egpj", r"\u202egpj"),
        (os.fsdecode(b"\xff.jpg"), r"\xff.jpg"),
        ("\ud800", r"\ud800"),
    ],
)
def test_odd_text_is_shown_by_its_escapes(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_an_encoding_lacks_is_escaped() -> None:
    assert printable("é🐈", "latin-1") == "é\\U0001f408"
