"""Reads a report as a browser would: what is in it, and whether it keeps to itself."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

EMPTY = {"meta", "img", "input", "br"}
LOADS = {"src", "srcset", "data", "poster", "action", "background"}


@dataclass
class Page(HTMLParser):
    """A page of HTML; reading one that is not well-formed, or that loads anything, fails."""

    tags: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    texts: list[tuple[str, str]] = field(default_factory=list)
    open: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)

    @classmethod
    def read(cls, path: Path) -> Page:
        page = cls()
        text = path.read_text(encoding="utf-8")
        assert text.startswith("<!DOCTYPE html>")
        page.feed(text)
        page.close()
        assert page.open == []
        assert "://" not in text
        assert "url(" not in text
        assert "@import" not in text
        anchors = [attributes["id"] for attributes in page.of("article")]
        assert len(set(anchors)) == len(anchors)
        assert {a["href"].removeprefix("#") for a in page.of("a")} == set(anchors)
        assert len(page.of("script")) == 1
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        assert len(attributes) == len(attrs)
        assert not any(name.startswith("on") for name in attributes)
        for name in LOADS & set(attributes):
            assert attributes[name].startswith("data:image/webp;base64,")
        assert tag != "link"
        self.tags.append((tag, attributes))
        if tag not in EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def of(self, tag: str) -> list[dict[str, str]]:
        """The attributes of all elements of a kind."""
        return [attributes for name, attributes in self.tags if name == tag]

    def said(self, tag: str) -> list[str]:
        """The texts directly in elements of a kind."""
        return [text for name, text in self.texts if name == tag]

    @property
    def tiles(self) -> dict[str, str]:
        """The summary at the top, and the facts of the last photo that has any of that name."""
        return dict(zip(self.said("dt"), self.said("dd"), strict=True))

    def pictures(self) -> list[npt.NDArray[Any]]:
        """The pixels of all pictures, before and after by turns."""
        return [picture(attributes["src"]) for attributes in self.of("img")]


def picture(uri: str) -> npt.NDArray[Any]:
    """The pixels of a data URI."""
    kind, data = uri.split(",")
    assert kind == "data:image/webp;base64"
    with Image.open(io.BytesIO(base64.b64decode(data, validate=True))) as image:
        return np.asarray(image)
