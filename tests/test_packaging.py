"""What makes the bundle, as far as it can be tested without making one."""

import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from PIL import Image
from tifffile import TiffFile

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripts of `packaging/` can be imported."""
    before = set(sys.modules)
    monkeypatch.setattr(sys, "path", [str(ROOT / "packaging"), *sys.path])
    yield
    for name in set(sys.modules) - before:
        if (ROOT / "packaging" / f"{name}.py").is_file():
            del sys.modules[name]


# -- the icon -------------------------------------------------------------------------------------


def test_the_drawings_are_those_of_the_script() -> None:
    import icon

    assert icon.SVG.read_text(encoding="utf-8") == icon.svg()
    with Image.open(icon.PNG) as stored:
        assert stored.size == (256, 256)
        difference = np.asarray(stored, int) - np.asarray(icon.draw(256), int)
    assert np.abs(difference).max() <= 2  # versions of Pillow round differently


def test_the_icon_is_half_grainy_and_half_smooth() -> None:
    import icon

    picture = np.asarray(icon.draw(128).convert("RGB"), float)
    left, right = picture[40:88, 30:58], picture[40:88, 72:100]
    assert np.abs(np.diff(left, axis=1)).mean() > 10 * np.abs(np.diff(right, axis=1)).mean()
    assert icon.draw(32).getpixel((0, 0))[3] == 0  # type: ignore[index]


def test_the_svg_is_well_formed() -> None:
    import icon

    root = ET.fromstring(icon.svg())
    assert root.get("viewBox") == "0 0 512 512"
    assert len(list(root.iter("{http://www.w3.org/2000/svg}rect"))) > 90


def test_ico_and_icns_hold_many_sizes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import icon

    monkeypatch.setattr(icon, "_OVER", 2)  # quick
    icon.write_ico(tmp_path / "x.ico")
    icon.write_icns(tmp_path / "x.icns")
    with Image.open(tmp_path / "x.ico") as ico:
        assert {(16, 16), (32, 32), (48, 48), (256, 256)} <= set(ico.info["sizes"])
    with Image.open(tmp_path / "x.icns") as icns:
        assert {(16, 16, 2), (128, 128, 1), (512, 512, 2)} <= set(icns.info["sizes"])


# -- what is left out -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "torch/test/cpp/x", "torch/bin/protoc", "torch/include/ATen/ATen.h", "torch/lib/c10.lib",
        "torch/lib/libtorchbind_test.so", "torch/testing/_internal/common_utils.py",
        "numpy/_core/tests/data.txt", "PySide6/Qt/translations/qtdeclarative_de.qm",
        "PySide6\\translations\\linguist_de.qm", "PySide6/Qt/plugins/platformthemes/libqgtk3.so",
        "PySide6\\plugins\\imageformats\\qtiff.dll", "PySide6/QtNetwork.abi3.so",
    ],
)  # fmt: skip
def test_left_out(place: str) -> None:
    import trim

    assert trim.is_left_out(place)


@pytest.mark.parametrize(
    "place",
    [
        "torch/bin/torch_shm_manager", "torch/lib/libtorch_cpu.so", "torch/lib/torch_cpu.dll",
        "torch/_inductor/config.py", "torch/functional.py", "torch/testing/_comparison.pyc",
        "numpy/_core/_multiarray_umath.so", "PySide6/Qt/plugins/platforms/libqoffscreen.so",
        "PySide6/Qt/plugins/platforms/libqxcb.so", "PySide6\\plugins\\platforms\\qwindows.dll",
        "PySide6/QtWidgets.abi3.so", "PySide6/Qt/translations/qtbase_de.qm",
        "denoisetool/_models/fast/weights.safetensors",
        "imagecodecs/_png.abi3.so",
    ],
)  # fmt: skip
def test_kept(place: str) -> None:
    import trim

    assert not trim.is_left_out(place)


def test_what_only_left_out_parts_needed_goes_too() -> None:
    import trim

    plugins = "PySide6/Qt/plugins/platformthemes"
    needs = {
        "/gtk": ["libgtk.so.3", "libglib.so.0"], "/gtk3": ["libgdk.so.3"],
        "/core": ["libglib.so.0"],
    }  # fmt: skip
    entries = [
        (f"{plugins}/libqgtk3.so", "/gtk", "BINARY"),
        ("libgtk.so.3", "/gtk3", "BINARY"),
        ("libgdk.so.3", "/gdk", "BINARY"),
        ("libgdk.so", "libgdk.so.3", "SYMLINK"),
        ("PySide6/libQt6Core.so.6", "/core", "BINARY"),
        ("libQt6Core.so.6", "PySide6/libQt6Core.so.6", "SYMLINK"),
        ("libglib.so.0", "/glib", "BINARY"),
        ("libloaded-by-name.so", "/x", "BINARY"),
        ("data.txt", "/data", "DATA"),
    ]
    left = [place for place, _, _ in trim.kept(entries, lambda source: needs.get(source, []))]
    assert left == [
        "PySide6/libQt6Core.so.6", "libQt6Core.so.6", "libglib.so.0", "libloaded-by-name.so",
        "data.txt",
    ]  # fmt: skip


def test_few_libraries_are_stripped() -> None:
    import trim

    assert trim.strips("torch/lib/libtorch_cpu.so") == "--strip-unneeded"
    assert trim.strips("libpython3.12.so.1.0") == "--strip-debug"
    assert trim.strips("python3.11/lib-dynload/_json.cpython-311-x86_64-linux-gnu.so")
    assert not trim.strips("numpy.libs/libscipy_openblas64_.so")
    assert not trim.strips("torch/lib/libc10.so")


_WITH_THESE_CODECS_ALONE = """
import sys
from pathlib import Path

class Absent:
    def find_spec(self, name, path=None, target=None):
        package, _, codec = name.partition(".")
        if package == "imagecodecs" and codec.startswith("_") and codec not in allowed:
            raise ModuleNotFoundError(f"left out: {name}", name=name)

allowed = {"_imagecodecs", *sys.argv[2].split()}
sys.meta_path.insert(0, Absent())
from denoisetool import formats
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        formats.read(path)
    except Exception as error:
        print(f"{path.name}: {error!r}")
"""


def test_the_codecs_that_are_kept_read_every_kind(tmp_path: Path) -> None:
    import samples
    import trim

    from denoisetool.formats.tiff import READABLE

    samples.write(tmp_path / "kinds")
    found = set()
    for path in (tmp_path / "kinds").glob("*.tif"):
        with TiffFile(path) as file:
            found.add(int(file.pages.first.compression))
    aliases = {33003: 34712, 33005: 34712}  # three numbers of JPEG 2000
    assert {aliases.get(each, each) for each in READABLE} <= found
    words = [sys.executable, "-c", _WITH_THESE_CODECS_ALONE, str(tmp_path / "kinds")]
    ran = subprocess.run([*words, " ".join(trim.CODECS)], capture_output=True, text=True, cwd=ROOT)
    assert ran.stdout + ran.stderr == ""
    less = " ".join(set(trim.CODECS) - {"_zstd"})
    ran = subprocess.run([*words, less], capture_output=True, text=True, cwd=ROOT)
    assert "zstd.tif" in ran.stdout, "the test sees it where a codec is missing"


# -- licences -------------------------------------------------------------------------------------


def test_licences_of_what_is_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    import licences
    import tqdm
    import typer

    tqdms = metadata.distribution("tqdm")  # PyInstaller need not be here
    monkeypatch.setattr(metadata, "distribution", lambda name: tqdms)
    inside = [Path(tqdm.__file__), Path(typer.__file__), Path(subprocess.__file__)]
    parts = licences.parts_of(inside)
    assert {part.name for part in parts} == {"Python", "tqdm", "typer"}
    text = licences.text(parts)
    assert "tqdm" in text
    assert "MIT" in text
    assert "PYTHON SOFTWARE FOUNDATION" in text.upper()


def test_a_licence_is_given_once_in_full() -> None:
    import licences

    one = licences.Part("one", "1", "MIT", "", (("LICENSE", "You may\ndo this."),))
    two = licences.Part("two", "2", "MIT", "https://two", (("COPYING", "You  may do this."),))
    text = licences.text([one, two])
    assert text.count("do this.") == 1
    assert "the same as LICENSE of one" in text
    assert "two 2: MIT" in text


def test_qt_comes_with_the_texts_of_its_licence() -> None:
    import licences

    names = [name for name, text in licences._stored("LGPL-3.0", "GPL-3.0") if len(text) > 5000]
    assert names == ["LGPL-3.0", "GPL-3.0"]


# -- the build ------------------------------------------------------------------------------------


def test_the_version_resource_is_of_this_version() -> None:
    import build

    text = build.version_resource("1.20.3")
    assert text.count("(1, 20, 3, 0)") == 2
    assert "StringStruct('ProductVersion', '1.20.3')" in text
    compile(text, "version.txt", "eval")


def test_the_lists_of_pyinstaller_are_read(tmp_path: Path) -> None:
    import build

    inside = tmp_path / "a.py"
    inside.touch()
    (tmp_path / "x").mkdir()
    (tmp_path / "x" / "PYZ-00.toc").write_text(
        repr(("out.pyz", [("a", str(inside), "PYMODULE"), ("b", "-", "PYMODULE")]))
    )
    (tmp_path / "COLLECT-00.toc").write_text(repr(([("gone", "/nowhere/gone", "BINARY")],)))
    assert build.sources(tmp_path) == [inside]


@pytest.mark.skipif(shutil.which("xz") is None, reason="xz packs it")
def test_the_archive_is_whole_and_has_its_checksum(tmp_path: Path) -> None:
    import hashlib

    import build

    folder = tmp_path / "denoisetool"
    folder.mkdir()
    (folder / "program").write_text("x")
    (folder / "program").chmod(0o755)
    (folder / "link").symlink_to("program")
    archive = build.pack(folder, tmp_path)
    digest, name = archive.with_name(archive.name + ".sha256").read_text().split()
    assert name == archive.name
    assert digest == hashlib.sha256(archive.read_bytes()).hexdigest()
    with tarfile.open(archive) as tar:
        found = {each.name: each for each in tar.getmembers()}
    assert found["denoisetool/program"].mode & 0o111
    assert found["denoisetool/link"].issym()
    assert {each.uname for each in found.values()} == {""}


def test_the_script_of_the_app_follows_links(tmp_path: Path) -> None:
    import build

    place = tmp_path / "some where" / "denoisetool"
    macos = place / "Denoisetool.app" / "Contents" / "MacOS"
    macos.mkdir(parents=True)
    for path, text in (
        (macos / "denoisetool", '#!/bin/sh\nprintf "%s|" "$@"\n'),
        (place / "denoisetool", build._SCRIPT),
    ):  # fmt: skip
        path.write_text(text)
        path.chmod(0o755)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "two").symlink_to(place / "denoisetool")
    (tmp_path / "bin" / "one").symlink_to("two")
    ran = subprocess.run([tmp_path / "bin" / "one", "a b", "c"], capture_output=True, text=True)
    assert ran.stdout == "a b|c|"


# -- the smoke test -------------------------------------------------------------------------------


@pytest.fixture
def stand_in(tmp_path: Path) -> Path:
    """A bundle whose program is a shell script."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    program = folder / "denoisetool"
    program.write_text('#!/bin/sh\necho "$PATH|$HOME|$PYTHONPATH|$1"\ntest "$1" != fail\n')
    program.chmod(0o755)
    return folder


def test_the_smoke_test_hides_python(
    stand_in: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import smoke

    monkeypatch.setenv("PYTHONPATH", "/somewhere")
    bundle = smoke.Bundle(stand_in, tmp_path)
    path, home, python, word = bundle.run("x").stdout.strip().split("|")
    assert (python, word) == ("", "x")
    assert home == str(tmp_path / "home")
    assert list(Path(path).iterdir()) == []
    with pytest.raises(AssertionError, match="exit code 1"):
        bundle.run("fail")


def test_the_smoke_test_tells_what_is_missing_and_fails(stand_in: Path, tmp_path: Path) -> None:
    import smoke

    def absent(bundle: smoke.Bundle) -> str:
        raise smoke.Missing("no such part")

    def wrong(bundle: smoke.Bundle) -> str:
        raise AssertionError("not the same")

    smoke.STEPS = (absent, wrong, smoke.no_python)
    bundle = smoke.Bundle(stand_in, tmp_path)
    assert [passed for _, passed, _ in smoke.run(bundle, set())] == [False, False, True]
    found = list(smoke.run(bundle, {"absent"}))
    assert [passed for _, passed, _ in found] == [None, False, True]
    assert "NOT IN THIS BUILD" in found[0][2]


def test_folders_that_differ_are_told(tmp_path: Path) -> None:
    import smoke

    made, expected, photos = (tmp_path / name for name in ("made", "expected", "photos"))
    for folder in (made, expected, photos):
        folder.mkdir()
        (folder / "a.png").write_bytes(b"x")
    assert "1 files" in smoke.same(made, expected, photos)
    (made / "a.png").write_bytes(b"y")
    with pytest.raises(AssertionError, match=r"a\.png"):
        smoke.same(made, expected, photos)
    (made / "b.png").write_bytes(b"y")
    with pytest.raises(AssertionError):
        smoke.same(made, expected, photos)


def test_the_workflow_builds_on_all_three() -> None:
    text = (ROOT / ".github" / "workflows" / "bundle.yml").read_text(encoding="utf-8")
    for word in ("ubuntu-22.04", "windows-2022", "macos-14", "packaging/build.py",
                 "packaging/smoke.py", ".ci/run"):  # fmt: skip
        assert word in text, word
