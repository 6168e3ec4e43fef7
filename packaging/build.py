"""Build the bundle for the system this runs on: `python packaging/build.py [--to FOLDER]`.

Run it in a virtual environment of its own that has the package with its `gui` and `bundle` extras
and nothing else: what is installed there may end up inside. One folder is made, and one archive of
it with its checksum. `python packaging/smoke.py FOLDER/denoisetool` then proves that it works.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path
from typing import BinaryIO

import icon
import licences
import trim

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from denoisetool import __version__, program  # noqa: E402 - of this checkout

MEGABYTE = 1e6


def main() -> int:
    """Build; returns 0, or stops with a reason."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--to", type=Path, default=ROOT / "dist", help="where it goes [dist/]")
    parser.add_argument("--without-window", action="store_true", help="the console program alone")
    parser.add_argument("--no-archive", action="store_true", help="the folder alone")
    options = parser.parse_args()
    if not options.without_window:
        for needed in ("PySide6", "denoisetool.gui"):
            if importlib.util.find_spec(needed) is None:
                raise SystemExit(f"{needed} is not here: pip install '.[gui,bundle]'")
    if importlib.util.find_spec("nvidia") is not None:
        raise SystemExit(
            "torch is here with CUDA, which is several GB: install its CPU build first"
        )
    target, work = options.to.resolve(), ROOT / "build" / "bundle"
    work.mkdir(parents=True, exist_ok=True)
    draw(work)
    freeze(target, work, window=not options.without_window)
    folder = target / "denoisetool"
    if sys.platform == "darwin":
        into_app(target)
    else:
        strip(folder)
    finish(folder, work)
    print(f"{folder}: {size(folder) / MEGABYTE:.0f} MB")
    if not options.no_archive:
        archive = pack(folder, target)
        print(f"{archive}: {archive.stat().st_size / MEGABYTE:.0f} MB")
    return 0


def draw(work: Path) -> None:
    """The icons, and Windows's version resource."""
    icon.write_ico(work / "denoisetool.ico")
    icon.write_icns(work / "denoisetool.icns")
    (work / "version.txt").write_text(version_resource(__version__), encoding="utf-8")


def version_resource(version: str) -> str:
    """What Windows shows as a program's properties, in PyInstaller's form."""
    numbers = tuple([*(int(n) for n in version.split(".") if n.isdecimal()), 0, 0, 0, 0][:4])
    strings = {
        "CompanyName": "Denoisetool",
        "FileDescription": "Denoisetool: takes the noise out of photographs",
        "FileVersion": version,
        "InternalName": "denoisetool",
        "LegalCopyright": "Apache License 2.0",
        "ProductName": "Denoisetool",
        "ProductVersion": version,
    }
    table = ", ".join(f"StringStruct({key!r}, {value!r})" for key, value in strings.items())
    return (
        f"VSVersionInfo(ffi=FixedFileInfo(filevers={numbers}, prodvers={numbers}, mask=0x3F,"
        " flags=0, OS=0x40004, fileType=1, subtype=0, date=(0, 0)), kids=["
        f"StringFileInfo([StringTable('040904B0', [{table}])]),"
        " VarFileInfo([VarStruct('Translation', [1033, 1200])])])\n"
    )


def freeze(target: Path, work: Path, *, window: bool) -> None:
    """Run PyInstaller."""
    environment = {**os.environ, "DENOISETOOL_BUILD": str(work)}
    environment["DENOISETOOL_BUILD_WINDOW"] = str(int(window))
    subprocess.run(
        [sys.executable, "-m", "PyInstaller", "--noconfirm", "--clean", "--log-level", "WARN",
         "--distpath", str(target), "--workpath", str(work), str(HERE / "denoisetool.spec")],
        env=environment, cwd=work, check=True,
    )  # fmt: skip


def strip(folder: Path) -> None:
    """Take the symbols out of the libraries where there are many; they are for debuggers."""
    if not sys.platform.startswith("linux"):
        return
    for path in folder.rglob("*.so*"):
        if path.is_file() and not path.is_symlink():
            kind = trim.strips(path.relative_to(folder / "_internal").as_posix())
            if kind:
                subprocess.run(["strip", kind, str(path)], check=True)


_SCRIPT = f"""\
#!/bin/sh
# The command line; it may be started through a link.
here=$0
while [ -L "$here" ]; do
    there=$(readlink "$here")
    case $there in
        /*) here=$there ;;
        *) here=$(dirname "$here")/$there ;;
    esac
done
exec "$(dirname "$here")/Denoisetool.app/Contents/MacOS/{program.CONSOLE}" "$@"
"""


def into_app(target: Path) -> None:
    """On macOS: the application in the folder, and beside it the command line as a script."""
    folder = target / "denoisetool"
    shutil.rmtree(folder)
    folder.mkdir()
    (target / "Denoisetool.app").rename(folder / "Denoisetool.app")
    script = folder / program.CONSOLE
    script.write_text(_SCRIPT, encoding="utf-8")
    script.chmod(0o755)


def finish(folder: Path, work: Path) -> None:
    """Put the licences in."""
    shutil.copy(ROOT / "LICENSE", folder / "LICENSE.txt")
    parts = licences.parts_of(sources(work))
    (folder / "THIRD-PARTY-LICENCES.txt").write_text(licences.text(parts), encoding="utf-8")


def sources(work: Path) -> list[Path]:
    """The files on this machine that went into the bundle, by PyInstaller's lists."""
    found = set()
    for name in ("PYZ-*.toc", "COLLECT-*.toc"):
        for listing in work.rglob(name):
            for entry in _entries(ast.literal_eval(listing.read_text(encoding="utf-8"))):
                found.add(Path(entry[1]))
    return sorted(path for path in found if path.is_absolute() and path.is_file())


def _entries(value: object) -> list[tuple[str, str, str]]:
    """All entries somewhere in one of PyInstaller's lists."""
    if isinstance(value, tuple) and len(value) == 3 and all(isinstance(v, str) for v in value):
        return [value]
    if isinstance(value, (list, tuple)):
        return [entry for each in value for entry in _entries(each)]
    return []


def size(folder: Path) -> int:
    """Bytes of all files."""
    return sum(p.stat().st_size for p in folder.rglob("*") if p.is_file() and not p.is_symlink())


def archive_name() -> str:
    """The archive's name, without its suffix."""
    system = {"darwin": "macos", "win32": "windows"}.get(sys.platform, "linux")
    machine = {"amd64": "x86_64"}.get(platform.machine().lower(), platform.machine().lower())
    return f"denoisetool-{__version__}-{system}-{machine}"


def pack(folder: Path, target: Path) -> Path:
    """The folder as one archive, with its checksum in a file beside it."""
    started = time.monotonic()
    if sys.platform == "linux":
        archive = target / f"{archive_name()}.tar.xz"
        with archive.open("wb") as out, _xz(out) as packer:
            with tarfile.open(fileobj=packer.stdin, mode="w|") as tar:
                tar.add(folder, folder.name, filter=_anonymous)
            assert packer.stdin is not None
            packer.stdin.close()
        if packer.returncode:
            raise SystemExit(f"xz ended with code {packer.returncode}")
    elif sys.platform == "darwin":  # keeps links and permissions
        archive = target / f"{archive_name()}.zip"
        command = ["ditto", "-c", "-k", "--keepParent", str(folder), str(archive)]
        subprocess.run(command, check=True)
    else:
        archive = target / f"{archive_name()}.zip"
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
            for path in sorted(folder.rglob("*")):
                out.write(path, path.relative_to(target))
    with archive.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    line = f"{digest}  {archive.name}\n"
    archive.with_name(archive.name + ".sha256").write_text(line, encoding="ascii", newline="\n")
    print(f"packed in {time.monotonic() - started:.0f} s; sha256 {digest}")
    return archive


def _xz(out: BinaryIO) -> subprocess.Popen[bytes]:
    """The packer, on all cores, which Python's own is not."""
    return subprocess.Popen(["xz", "-9", "-T0"], stdin=subprocess.PIPE, stdout=out)


def _anonymous(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """An entry without the names of who built it."""
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    return entry


if __name__ == "__main__":
    sys.exit(main())
