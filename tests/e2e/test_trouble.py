"""A folder with more than thirty kinds of trouble, and what must come of it."""

from __future__ import annotations

import contextlib
import os
import socket
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from denoisetool import session
from denoisetool.denoiser import Denoiser
from denoisetool.files import atomic, digest
from denoisetool.session import Session
from tests.conftest import Cli, Ran
from tests.e2e import pictures, processes
from tests.e2e.fakes import SmoothingEngine

NFC, NFD = (unicodedata.normalize(form, "Élan.jpg") for form in ("NFC", "NFD"))
BYTES = os.fsdecode(b"caf\xe9.jpg")
LONG = "x" * 251 + ".jpg"
RGB = Image.fromarray(pictures.noisy())
EXIF_SIDEWAYS = Image.Exif()
EXIF_SIDEWAYS[0x112] = 6


def rgba() -> Image.Image:
    image = RGB.copy()
    image.putalpha(Image.fromarray(pictures.noisy(seed=3)[:, :, 0]))
    return image


GOOD: dict[str, Callable[[], bytes]] = {
    "plain.jpg": pictures.jpeg,
    "plain.png": pictures.png,
    "deep.png": pictures.png16,
    "photo.webp": lambda: pictures.saved(RGB, "WEBP"),
    "photo.avif": lambda: pictures.saved(RGB, "AVIF"),
    "photo.bmp": lambda: pictures.saved(RGB, "BMP"),
    "grey.jpg": lambda: pictures.saved(RGB.convert("L"), "JPEG"),
    "alpha.png": lambda: pictures.saved(rgba(), "PNG"),
    "palette.png": lambda: pictures.saved(RGB.quantize(64), "PNG"),
    "sideways.jpg": lambda: pictures.jpeg(exif=EXIF_SIDEWAYS.tobytes()),
    "progressive.jpg": lambda: pictures.jpeg(progressive=True),
    "png called.jpg": pictures.png,
    "no suffix": pictures.jpeg,
    "SHOUT.JPEG": pictures.jpeg,
    "two\nlines.jpg": pictures.jpeg,
    "\x1b[31mred.jpg": pictures.jpeg,
    NFC: lambda: pictures.jpeg(seed=1),
    NFD: lambda: pictures.jpeg(seed=2),
    "-dash.jpg": pictures.jpeg,
    BYTES: pictures.jpeg,
    LONG: pictures.jpeg,
    "A.jpg": lambda: pictures.jpeg(seed=4),
    "a.jpg": lambda: pictures.jpeg(seed=5),
    "dot.png": lambda: pictures.png(1, 1),
    "strip.png": lambda: pictures.png(3000, 16),
    "folder.jpg/inside.jpg": pictures.jpeg,
    "deep/er/and deeper/photo.jpg": pictures.jpeg,
    "linked.jpg": pictures.jpeg,
}
"""Files that must be denoised."""

RENAMED = {NFC: None, NFD: None, "A.jpg": None, "a.jpg": None}
"""Of each of these pairs one gives way."""

BAD: dict[str, tuple[Callable[[], bytes], str, str]] = {
    "empty.jpg": (lambda: b"", "UnreadablePhoto", "the file is empty"),
    "cut.jpg": (lambda: pictures.jpeg()[:700], "UnreadablePhoto", "JPEG file is"),
    "cut.png": (lambda: pictures.png()[:900], "UnreadablePhoto", "PNG file is"),
    "headless.jpg": (lambda: pictures.jpeg()[:20], "UnreadablePhoto", "JPEG file is"),
    "text.jpg": (lambda: b"Dear diary,", "UnreadablePhoto", "not an image, whatever the name"),
    "page.png": (lambda: b"<!doctype html><p>404", "UnreadablePhoto", "not an image"),
    "zeros.jpg": (lambda: bytes(5000), "UnreadablePhoto", "not an image"),
    "moving.gif": (lambda: pictures.animation("GIF"), "UnsupportedPhoto", "GIF"),
    "moving.webp": (lambda: pictures.animation("WEBP"), "UnsupportedPhoto", "animat"),
    "moving.png": (lambda: pictures.animation("PNG"), "UnsupportedPhoto", "animat"),
    "cmyk.jpg": (lambda: pictures.saved(RGB.convert("CMYK"), "JPEG"), "UnsupportedPhoto", "CMYK"),
    "bomb.png": (pictures.bomb, "PhotoTooLarge", "--max-megapixels 3600"),
    "foreign.jpg": (pictures.jpeg, "OutputExists", "--overwrite replaces it"),
}
"""Files that must fail, with the kind and a piece of the reason."""

QUIET = ("._plain.jpg", ".hidden.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt",
         "sidecar.xmp", "deep/._photo.jpg", ".git/config.jpg", "empty without suffix")  # fmt: skip


def build(folder: Path) -> None:
    """Make the folder."""
    for name, make in GOOD.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(make())
    for name, (make, _, _) in BAD.items():
        (folder / name).write_bytes(make())
    for name in QUIET:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"" if "empty" in name else b"of no interest")
    pictures.tiff(folder / "scan.tif", pictures.noisy(), compression="zlib")
    pictures.tiff(folder / "deep.tif", pictures.noisy().astype(np.uint16) * 200)
    pictures.tiff(folder / "float.tif", (pictures.noisy() / 255).astype(np.float32))
    pictures.tiff(folder / "pages.tif", pictures.noisy(), pages=3)
    (folder / "linked.jpg").rename(folder.parent / "elsewhere.jpg")
    (folder / "linked.jpg").symlink_to(folder.parent / "elsewhere.jpg")
    (folder / "dangling.jpg").symlink_to("nowhere.jpg")
    (folder / "loop.jpg").symlink_to("loop.jpg")
    (folder / "again").symlink_to("..", target_is_directory=True)
    (folder / "nothing in it").mkdir()
    os.mkfifo(folder / "pipe.jpg")
    (folder / "zz deleted.jpg").write_bytes(pictures.jpeg())
    (folder / "forbidden.jpg").write_bytes(pictures.jpeg())
    (folder / "forbidden.jpg").chmod(0)
    out = folder / "clean"
    out.mkdir()
    (out / "foreign.jpg").write_bytes(b"somebody's")
    (out / "earlier.jpg").write_bytes(pictures.jpeg())
    (out / f".denoisetool-{atomic._host()}-4194999-0123456789abcdef.part").write_bytes(b"half")


def contents(folder: Path, without: Path) -> dict[str, bytes]:
    """Hash of every regular file, without the output folder."""
    found = {}
    for path in folder.rglob("*"):
        if not path.is_relative_to(without) and path.is_file() and not path.is_symlink():
            if not os.access(path, os.R_OK):
                continue
            found[str(path)] = digest(path.read_bytes())
    return found


@pytest.fixture(scope="module")
def trouble(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trouble") / "photos"
    folder.mkdir()
    build(folder)
    with contextlib.chdir(folder), socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.jpg")  # by a short name: the address of a socket has little room
    return folder


@pytest.fixture(autouse=True)
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "Engine", SmoothingEngine)


@pytest.fixture
def deleting(trouble: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One photo goes when the plan is made and the model is loaded."""
    load = Session.denoiser

    def delete_then_load(made: Session) -> Denoiser:
        (trouble / "zz deleted.jpg").unlink(missing_ok=True)  # each run loads it
        return load(made)

    monkeypatch.setattr(Session, "denoiser", delete_then_load)


@pytest.fixture
def forbidden(trouble: Path) -> bool:
    """Whether permissions mean anything to who runs the tests."""
    return not os.access(trouble / "forbidden.jpg", os.R_OK)


@pytest.mark.usefixtures("deleting")
def test_thirty_kinds_of_trouble(trouble: Path, cli: Cli, forbidden: bool) -> None:
    out = trouble / "clean"
    before = contents(trouble, out)
    before.pop(str(trouble / "zz deleted.jpg"))
    assert len(GOOD) + len(BAD) + len(QUIET) + 12 > 30

    ran = cli(trouble, "-o", out, "--json")

    assert ran.code == 1, ran.err
    assert contents(trouble, out) == before
    check_failures(trouble, ran, forbidden=forbidden)
    check_outputs(trouble, ran, forbidden=forbidden)
    ignored = ran.of("summary")[0]["ignored"]
    assert ignored >= len(QUIET) - 1  # .git is passed over as a whole
    assert not processes.leftovers(trouble)

    again = cli(trouble, "-o", out, "--json")
    statuses = {e["source"]: e["status"] for e in again.of("photo")}
    done = [e["source"] for e in ran.of("photo") if e["status"] == "done"]
    assert all(statuses[source] == "skipped" for source in done)
    assert len(again.of("summary")) == 1
    assert again.of("summary")[0]["done"] == 0
    assert contents(trouble, out) == before


def check_failures(folder: Path, ran: Ran, *, forbidden: bool) -> None:
    """Exactly the right failures, each with its reason, for programs and for people."""
    failed = {e["source"]: e for e in ran.of("photo") if e["status"] == "failed"}
    expected = {name: (kind, reason) for name, (_, kind, reason) in BAD.items()}
    expected["pages.tif"] = ("UnsupportedPhoto", "page")
    expected["dangling.jpg"] = ("UnreadablePhoto", "a link to something that is not there")
    expected["loop.jpg"] = ("UnreadablePhoto", "a link that leads back to itself")
    expected["zz deleted.jpg"] = ("UnreadablePhoto", "the file is gone")
    if forbidden:
        expected["forbidden.jpg"] = ("UnreadablePhoto", "no permission to read this file")
    assert {os.path.relpath(source, folder) for source in failed} == set(expected)
    for name, (kind, reason) in expected.items():
        event = failed[str(folder / name)]
        assert event["error"] == kind, event
        assert reason in event["reason"], event
        assert "\n" not in event["reason"]
        assert f"FAILED {folder / name}: {event['reason']}" in ran.err
    assert ran.of("summary")[0]["failed"] == len(expected)


def check_outputs(folder: Path, ran: Ran, *, forbidden: bool) -> None:
    """Exactly the right files, all of them whole, changed, and of the kind they were."""
    out = folder / "clean"
    done = {
        os.path.relpath(e["source"], folder): Path(e["target"])
        for e in ran.of("photo")
        if e["status"] == "done"
    }
    good = {*GOOD, "scan.tif", "deep.tif", "float.tif"}
    if not forbidden:
        good.add("forbidden.jpg")
    again = {name for name in done if name.startswith("again/")}
    assert set(done) - again == good
    # What the link leads to is the parent: only what was not met inside the folder is new there.
    assert again == {"again/elsewhere.jpg"}
    there = {p for p in processes.finished(out) if p.name not in ("foreign.jpg", "earlier.jpg")}
    assert there == set(done.values())
    for name, target in done.items():
        source = folder / name
        assert target.read_bytes() != b""
        assert target.read_bytes()[:2] == source.read_bytes()[:2]
        if name not in RENAMED:
            assert target == out / name
        if not name.endswith((".tif", "deep.png", "palette.png")):
            before, after = pictures.upright(source), pictures.upright(target)
            assert (before.shape, before.dtype) == (after.shape, after.dtype)
            assert name == "dot.png" or not np.array_equal(before, after)
    kept = {done[name].name for name in RENAMED}
    assert len({unicodedata.normalize("NFC", name).lower() for name in kept}) == 4
    assert (out / "foreign.jpg").read_bytes() == b"somebody's"


def test_one_name_for_two_photos(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(pictures.jpeg(seed=1))
    (folder / "a.png").write_bytes(pictures.png(seed=2))
    ran = cli(folder, "-o", tmp_path / "out", "--format", "webp", "--strength", "0")
    assert ran.code == 0
    assert [p.name for p in processes.finished(tmp_path / "out")] == ["a.png.webp", "a.webp"]
    assert "a.webp is the output of another photo" in ran.err


def test_an_output_folder_that_cannot_be_written(tmp_path: Path, cli: Cli, forbidden: bool) -> None:
    (tmp_path / "a.jpg").write_bytes(pictures.jpeg())
    place = tmp_path / "read-only"
    place.mkdir(mode=0o500)
    out = place / "out" if forbidden else Path("/proc/denoisetool-out")
    ran = cli(tmp_path / "a.jpg", "-o", f"{out}/", "--strength", "0", "--json")
    assert ran.code == 6
    (event,) = ran.of("photo")
    assert event["error"] == "OutputError"


def test_the_same_folder_in_and_out(tmp_path: Path, cli: Cli) -> None:
    """Nothing may replace an input, however the command is put."""
    (tmp_path / "a.jpg").write_bytes(pictures.jpeg())
    data = (tmp_path / "a.jpg").read_bytes()
    for words in ([tmp_path, "-o", tmp_path], [tmp_path, "-o", tmp_path, "--overwrite"],
                  [tmp_path / "a.jpg", "-o", tmp_path / "a.jpg", "--overwrite"]):  # fmt: skip
        ran = cli(*words)
        assert ran.code == 1, ran.err
        assert "would replace an input" in ran.err
        assert (tmp_path / "a.jpg").read_bytes() == data
