"""The licences of everything inside a bundle, as one text.

What is inside is taken from PyInstaller's own lists of source files. Each is looked up among the
installed packages; what belongs to none is of Python itself, or of the system that builds.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

OWN = "denoisetool"
TEXTS = Path(__file__).resolve().parent / "licences"
_RULE = "=" * 88
_IS_LICENCE = re.compile(r"(LICEN[CS]E|COPYING|COPYRIGHT|NOTICE)", re.IGNORECASE)
_LGPL = {"pyside6_essentials", "shiboken6", "pyside6_addons", "pyside6"}
_LGPL_NOTE = """\
Used under the GNU Lesser General Public License, version 3, which follows with the General Public
License that it is a part of. These are unchanged libraries in files of their own, below
_internal/PySide6 and _internal/shiboken6: you may replace them by other builds of the same version.
Their source is at https://download.qt.io/official_releases/QtForPython/ and
https://download.qt.io/official_releases/qt/."""


@dataclass(frozen=True, slots=True)
class Part:
    """Something inside that has a licence.

    Attributes:
        name, version: of it.
        licence: in a few words.
        home: where it comes from; may be empty.
        texts: the licences themselves, each under its title.
    """

    name: str
    version: str
    licence: str
    home: str
    texts: tuple[tuple[str, str], ...]

    @property
    def title(self) -> str:
        """Name and version."""
        return f"{self.name} {self.version}".strip()


def parts_of(sources: Iterable[Path]) -> list[Part]:
    """What the files of a bundle came from, by name.

    Args:
        sources: the files on this machine that went into it.
    """
    owners = _owners()
    named: dict[str, metadata.Distribution] = {}
    strangers: set[Path] = set()
    for source in sources:
        owner = owners.get(source) or owners.get(source.resolve())
        if owner is not None:
            named[owner.metadata["Name"]] = owner
        else:
            strangers.add(source.resolve())
    for name in ("pyinstaller",):  # its bootloader is the start of both programs
        named[name] = metadata.distribution(name)
    named.pop(OWN, None)
    parts = [_part(distribution) for distribution in named.values()]
    parts += [_python(), *_system(path for path in strangers if not _is_pythons(path))]
    return sorted(parts, key=lambda part: part.name.lower())


def text(parts: Iterable[Part]) -> str:
    """The list, then every licence; the same text only once."""
    parts = list(parts)
    lines = [
        "This program contains the following, under the licences given here in full.",
        "Its own licence is in LICENSE.txt.",
        "",
        *(f"{part.title}: {part.licence}" for part in parts),
    ]
    seen: dict[str, str] = {}
    for part in parts:
        lines += ["", _RULE, part.title, part.licence, part.home, _RULE]
        for title, content in part.texts:
            key = " ".join(content.split())
            if key in seen:
                lines += ["", f"-- {title}: the same as {seen[key]}"]
                continue
            seen[key] = f"{title} of {part.name}"
            lines += ["", f"-- {title}", "", content.strip()]
    return "\n".join(lines) + "\n"


def _owners() -> dict[Path, metadata.Distribution]:
    """Which installed package each installed file belongs to."""
    owners = {}
    for distribution in metadata.distributions():
        for file in distribution.files or ():
            owners[Path(str(distribution.locate_file(file)))] = distribution
    return owners


def _part(distribution: metadata.Distribution) -> Part:
    about = distribution.metadata
    texts = list(_licence_texts(distribution))
    name = about["Name"]
    if name.lower().replace("-", "_") in _LGPL:
        texts += [("how it is used", _LGPL_NOTE), *_stored("LGPL-3.0", "GPL-3.0")]
    if not texts:
        raise SystemExit(f"{name} has no licence file: add its text to {TEXTS} and to {__file__}")
    return Part(name, distribution.version, _short(about), _home(about), tuple(texts))


def _licence_texts(distribution: metadata.Distribution) -> Iterator[tuple[str, str]]:
    for file in distribution.files or ():
        folder, _, inside = file.as_posix().partition(".dist-info/")
        if not inside or "/" in folder or not (
            inside.startswith("licenses/") or _IS_LICENCE.search(inside)
        ):  # fmt: skip
            continue
        path = Path(str(distribution.locate_file(file)))
        if path.is_file():
            yield inside.removeprefix("licenses/"), path.read_text("utf-8", "replace")


def _stored(*names: str) -> list[tuple[str, str]]:
    return [(name, (TEXTS / f"{name}.txt").read_text("utf-8")) for name in names]


def _short(about: metadata.PackageMetadata) -> str:
    """A licence in a few words, from where a package says it."""
    if _field(about, "Name") == "pyinstaller":  # its classifier does not tell all
        return "GPL-2.0-or-later WITH Bootloader-exception"
    said = _field(about, "License-Expression")
    if not said:
        classes = about.get_all("Classifier") or []
        said = ", ".join(c.rpartition(" :: ")[2] for c in classes if c.startswith("License ::"))
    if not said:
        said = _field(about, "License").strip().partition("\n")[0]
    return said or "see below"


def _field(about: metadata.PackageMetadata, name: str) -> str:
    return str((about.get_all(name) or [""])[0])


def _home(about: metadata.PackageMetadata) -> str:
    links = dict(link.split(", ", 1) for link in about.get_all("Project-URL") or [] if "," in link)
    found = _field(about, "Home-page")
    for label, address in links.items():
        if not found and label.lower() in (
            "homepage",
            "home",
            "repository",
            "source",
            "source code",
        ):
            found = address
    return found


def _is_pythons(path: Path) -> bool:
    """Whether a file belongs to Python itself."""
    homes = {sys.base_prefix, sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib")}
    name = path.name.lower()
    return name.startswith(("libpython", "python3")) or any(
        path.is_relative_to(Path(home).resolve()) for home in homes if home != "/usr"
    )


def _python() -> Part:
    stdlib, debian = Path(sysconfig.get_path("stdlib")), Path("/usr/share/doc") / _debians_python()
    places = (stdlib / "LICENSE.txt", Path(sys.base_prefix) / "LICENSE.txt", debian / "copyright")
    found = next((place for place in places if place.is_file()), None)
    if found is None:
        raise SystemExit("Python's LICENSE.txt is not with it: build with another Python")
    version = ".".join(map(str, sys.version_info[:3]))
    text = (found.name, found.read_text("utf-8", "replace"))
    return Part(
        "Python", version, "Python Software Foundation License", "https://www.python.org/", (text,)
    )


def _debians_python() -> str:
    return f"python{sys.version_info[0]}.{sys.version_info[1]}"


def _system(paths: Iterable[Path]) -> Iterator[Part]:
    """Libraries of the building system, by the package they came in."""
    packages: dict[str, list[str]] = {}
    for path in sorted(paths):
        if re.search(r"\.(so|dylib|dll)\b", path.name):
            packages.setdefault(_package(path), []).append(path.name)
    for package, names in packages.items():
        copyright_file = Path("/usr/share/doc") / package / "copyright"
        files = ", ".join(sorted(set(names)))
        texts = [("files", files)]
        if package and copyright_file.is_file():
            texts.append(("copyright", copyright_file.read_text("utf-8", "replace")))
            texts += _common(texts[-1][1])
        licence = f"{files}; see below" if len(texts) > 1 else f"{files}, of the building system"
        yield Part(package or "libraries of the system", "", licence, "", tuple(texts))


def _package(path: Path) -> str:
    """The Debian package of a file; empty elsewhere."""
    if shutil.which("dpkg-query") is None:
        return ""
    spellings = [str(path), str(path).removeprefix("/usr")]  # /lib is /usr/lib by now
    for spelling in spellings:
        ran = subprocess.run(
            ["dpkg-query", "-S", spelling], capture_output=True, text=True, check=False
        )
        if ran.returncode == 0:
            return ran.stdout.split(":")[0]
    return ""


def _common(text: str) -> list[tuple[str, str]]:
    """The licences that a Debian copyright file only points to."""
    found = sorted(
        set(re.findall(r"/usr/share/common-licenses/([A-Za-z]+(?:-[0-9](?:\.[0-9])?)?)", text))
    )
    places = [(name, Path("/usr/share/common-licenses") / name) for name in found]
    return [(n, p.read_text("utf-8", "replace")) for n, p in places if p.is_file()]
