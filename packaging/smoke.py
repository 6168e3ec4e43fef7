"""Prove that a built bundle works: `python packaging/smoke.py BUNDLE`, the unpacked folder.

The programs of the bundle get an environment in which there is no Python: an empty folder as PATH,
a home of their own, and no variable of Python's. What they make is compared, byte by byte, with
what the command makes that is installed beside the Python that runs this.
"""

from __future__ import annotations

import argparse
import filecmp
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import samples

ROOT = Path(__file__).resolve().parents[1]
HELP_SECONDS = 0.6
WINDOW_CHECK = "DENOISETOOL_WINDOW_CHECK"
"""With this variable, a folder, the window denoises the photos that it was started with into that
folder, as its user would have it do, and closes with the exit code."""
OPEN_SECONDS = 5
OFFSCREEN = {"QT_QPA_PLATFORM": "offscreen"}
RECIPE = """\
name = "smoke"
title = "Three steps, to see that an optimiser runs"
net = "unet"
net_args = { channels = 3, widths = [8, 8], blocks = [1, 1], down_blocks = [0], unshuffle = 2 }
steps = 3
batch = 2
patch = 32
tail_patch = 32
tail_batch = 2
log_every = 1
mix = { gaussian = 1.0 }
"""


class Missing(Exception):
    """The bundle was made without something."""


@dataclass(frozen=True)
class Bundle:
    """The bundle under test.

    Attributes:
        folder: where it is; work: where files of the test may go.
    """

    folder: Path
    work: Path

    @property
    def console(self) -> Path:
        """The command line's program."""
        return self.folder / ("denoisetool.exe" if os.name == "nt" else "denoisetool")

    @property
    def window(self) -> Path:
        """The window's program."""
        places = {"win32": "DenoisetoolWindow.exe",
                  "darwin": "Denoisetool.app/Contents/MacOS/DenoisetoolWindow"}  # fmt: skip
        return self.folder / places.get(sys.platform, "Denoisetool")

    def environment(self) -> dict[str, str]:
        """What the bundle's programs see: no Python, and nothing of this user's."""
        home, empty = self.work / "home", self.work / "empty"
        for place in (home, empty):
            place.mkdir(exist_ok=True)
        needed = ("SYSTEMROOT", "TEMP", "TMP", "WINDIR", "TMPDIR", "NUMBER_OF_PROCESSORS")
        seen = {name: os.environ[name] for name in needed if name in os.environ}
        seen |= {"PATH": str(empty), "HOME": str(home), "USERPROFILE": str(home)}
        return seen | {"DENOISETOOL_HOME": str(home / "denoisetool")}

    def run(
        self, *words: str | Path, program: Path | None = None, code: int | None = 0,
        more: Mapping[str, str] | None = None, seconds: float = 900,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        """Run the bundle; its exit code must be `code` unless that is None."""
        command = [str(program or self.console), *map(str, words)]
        ran = subprocess.run(
            command, env=self.environment() | dict(more or {}), cwd=self.work, timeout=seconds,
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
            text=True, encoding="utf-8", errors="replace",
        )  # fmt: skip
        if code is not None and ran.returncode != code:
            raise AssertionError(
                f"{' '.join(map(str, words))}: exit code {ran.returncode}\n{ran.stdout[-2000:]}"
                f"\n{ran.stderr[-4000:]}"
            )
        return ran


def installed(bundle: Bundle, *words: str | Path) -> str:
    """What the installed command says; it must work."""
    home = {"DENOISETOOL_HOME": str(bundle.work / "installed")}
    ran = subprocess.run(
        [sys.executable, "-m", "denoisetool", *map(str, words)], env={**os.environ, **home},
        cwd=bundle.work, capture_output=True, text=True, encoding="utf-8", check=True,
    )  # fmt: skip
    return ran.stdout


# -- the steps ----------------------------------------------------------------------------------


def no_python(bundle: Bundle) -> str:
    """The environment has no Python, and no variable that could lead to one."""
    seen = bundle.environment()
    for name in ("python", "python3", "py"):
        assert shutil.which(name, path=seen["PATH"]) is None, f"{name} is on the PATH"
    assert not [name for name in seen if name.startswith(("PYTHON", "VIRTUAL_ENV", "CONDA"))]
    return f"{len(seen)} variables, an empty PATH"


def version(bundle: Bundle) -> str:
    """Both say the same version."""
    said = bundle.run("--version").stdout.strip()
    assert said == installed(bundle, "--version").strip(), said
    return said


def help_text(bundle: Bundle) -> str:
    """The help is that of the installed command, and comes at once."""
    times: list[float] = []
    while len(times) < 5 or (min(times) > HELP_SECONDS and len(times) < 30):  # others are busy too
        started = time.perf_counter()
        said = bundle.run("--help").stdout
        times.append(time.perf_counter() - started)
    assert said == installed(bundle, "--help")
    assert min(times) <= HELP_SECONDS, f"{min(times):.2f} s"
    return f"best of {len(times)} {min(times):.2f} s, worst {max(times):.2f} s"


def no_arguments(bundle: Bundle) -> str:
    """Without a screen and without arguments: the help, as installed."""
    ran = bundle.run(code=2)
    assert "Usage" in ran.stderr + ran.stdout
    return "help, exit code 2"


def licences(bundle: Bundle) -> str:
    """The licences are there, and name what is inside."""
    text = (bundle.folder / "THIRD-PARTY-LICENCES.txt").read_text(encoding="utf-8")
    names = ["Python", "torch", "numpy", "pillow", "imagecodecs", "pyinstaller"]
    if bundle.window.exists():
        names.append("PySide6_Essentials")
    missing = [name for name in names if f"\n{name} " not in text]
    assert not missing, f"not named: {missing}"
    assert (bundle.folder / "LICENSE.txt").is_file()
    return f"{len(text) / 1e3:.0f} kB"


def models(bundle: Bundle) -> str:
    """The shipped models are there, and whole."""
    said = [json.loads(line) for line in bundle.run("models", "list", "--json").stdout.splitlines()]
    names = [each["name"] for each in said]
    shipped = sorted(p.parent.name for p in (ROOT / "models").glob("*/model.toml"))
    assert sorted(names) == shipped, names
    return ", ".join(names)


def doctor(bundle: Bundle) -> str:
    """The bundle's own check of this machine passes."""
    said = [json.loads(line) for line in bundle.run("doctor", "--json").stdout.splitlines()]
    assert all(check["ok"] is not False for check in said)
    return f"{len(said)} checks"


def first_photo(bundle: Bundle) -> str:
    """From the command to the first photo."""
    source = ROOT / "tests" / "photos" / "still_life.jpg"
    bundle.run(source, "-o", bundle.work / "first.jpg")
    assert (bundle.work / "first.jpg").is_file()
    return "still_life.jpg"


def folder(bundle: Bundle) -> str:
    """A folder of every format: the same files, byte by byte, as the installed command makes."""
    photos = bundle.work / "photos"
    shutil.copytree(ROOT / "tests" / "photos", photos, ignore=shutil.ignore_patterns("*.py", "__*"))
    samples.write(photos / "kinds")
    bundle.run(photos, "-o", bundle.work / "by-bundle")
    installed(bundle, photos, "-o", bundle.work / "by-installed")
    return same(bundle.work / "by-bundle", bundle.work / "by-installed", photos)


def same(made: Path, expected: Path, photos: Path) -> str:
    """Two folders hold the same files, one for every photo."""
    names = sorted(p.relative_to(expected) for p in expected.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(made) for p in made.rglob("*") if p.is_file())
    assert names == sorted(p.relative_to(photos) for p in photos.rglob("*") if p.is_file())
    differing = [n for n in names if not filecmp.cmp(made / n, expected / n, shallow=False)]
    assert not differing, f"not the same: {', '.join(map(str, differing))}"
    return f"{len(names)} files, all the same"


def deep(bundle: Bundle) -> str:
    """16 bits stay 16 bits in PNG and TIFF, and their values change."""
    import imagecodecs
    import tifffile

    kinds, made = bundle.work / "photos" / "kinds", bundle.work / "by-bundle" / "kinds"
    for name, read in (
        ("rgb16.png", lambda p: imagecodecs.png_decode(p.read_bytes())),
        ("rgb16.tif", tifffile.imread),
    ):
        before, after = read(kinds / name), read(made / name)
        assert after.dtype == np.uint16, f"{name}: {after.dtype}"
        assert after.shape == before.shape
        assert (after % 257 != 0).mean() > 0.9, f"{name}: 8 bits made wide"
        change = np.abs(after.astype(int) - before.astype(int)).mean()
        assert 100 < change < 5000, f"{name}: {change}"
    return "PNG and TIFF"


def watch(bundle: Bundle) -> str:
    """The watch's worker is a process of the bundle too; a program of the system's is not."""
    inbox, seen = bundle.work / "inbox", bundle.work / "environment.txt"
    shutil.copytree(ROOT / "tests" / "photos" / "trip", inbox)
    more: tuple[str, ...] = ()
    if os.name == "posix":
        more = ("--on-done", f"/bin/sh -c '/usr/bin/env > \"{seen}\"'")
    words = ("watch", inbox, "-o", bundle.work / "watched", "--once", "--settle", "0.1")
    bundle.run(*words, *more)
    made = [p.name for p in (bundle.work / "watched").iterdir()]
    assert made == ["valley.jpg"], made
    if more:
        libraries = [line for line in seen.read_text().splitlines() if "LIBRARY_PATH" in line]
        assert not libraries, f"other programs would load the bundle's libraries: {libraries}"
    return "1 photo"


def train(bundle: Bundle) -> str:
    """Three steps of an optimiser, and the model that comes out works."""
    recipe = bundle.work / "recipe.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    where = ("--run", bundle.work / "run", "-o", bundle.work / "models")
    bundle.run("train", recipe, "--data", ROOT / "tests" / "photos", *where, "--device", "cpu")
    steps = (bundle.work / "run" / "log.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(steps) == 3, steps
    return f"{json.loads(steps[-1])['step']} steps"


def finetune(bundle: Bundle) -> str:
    """Three steps on two shots of one scene."""
    shown = bundle.run("finetune", "--help", code=None)
    if shown.returncode != 0 or "--steps" not in shown.stdout:
        raise Missing("there is no command `finetune`")
    pairs = bundle.work / "pairs"
    samples.write_pairs(pairs)
    ran = bundle.run("finetune", pairs, "--steps", "3", "--device", "cpu", code=None)
    said = ran.stdout + ran.stderr
    # After three steps a model may well be refused as no better; then the code is 1.
    assert ran.returncode in (0, 1), said[-3000:]
    assert "unexpected" not in said, said[-3000:]
    assert "Traceback" not in said, said[-3000:]
    return said.strip().splitlines()[-1]


def window_opens(bundle: Bundle) -> str:
    """The window opens without a screen, with a photo that is dropped on its icon, and stays."""
    if not bundle.window.exists():
        raise Missing(f"there is no {bundle.window.name}")
    photo = bundle.work / "photos" / "old_scan.jpg"
    with (bundle.work / "window.log").open("w+", encoding="utf-8") as log:
        window = subprocess.Popen(
            [bundle.window, photo], env=bundle.environment() | OFFSCREEN, cwd=bundle.work,
            stdin=subprocess.DEVNULL, stdout=log, stderr=log,
        )  # fmt: skip
        try:
            code: int | None = window.wait(OPEN_SECONDS)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            window.kill()
            window.wait()
        log.seek(0)
        assert code is None, f"exit code {code}\n{log.read()[-3000:]}"
    return f"open for {OPEN_SECONDS} s"


def window_denoises(bundle: Bundle) -> str:
    """A photo goes through the window, and comes out as from the command."""
    if not bundle.window.exists():
        raise Missing(f"there is no {bundle.window.name}")
    photo, out = bundle.work / "photos" / "old_scan.jpg", bundle.work / "by-window"
    out.mkdir()
    more = OFFSCREEN | {WINDOW_CHECK: str(out)}
    bundle.run(photo, program=bundle.window, more=more, seconds=120)
    made = [p for p in out.rglob("*") if p.is_file()]
    assert len(made) == 1, made
    assert filecmp.cmp(made[0], bundle.work / "by-bundle" / "old_scan.jpg", shallow=False)
    return "old_scan.jpg, the same as by the command"


def window_hands_over(bundle: Bundle) -> str:
    """The window program given a command is the command line, as children that it starts need."""
    if not bundle.window.exists():
        raise Missing(f"there is no {bundle.window.name}")
    ran = bundle.run("config", "path", program=bundle.window)
    if os.name != "nt":  # a windowed program on Windows has no standard streams
        assert ran.stdout == bundle.run("config", "path").stdout
    return "config path"


def desktop(bundle: Bundle) -> str:
    """The desktop entry starts the bundle's window, and goes again without a trace."""
    if not bundle.window.exists():
        raise Missing(f"there is no {bundle.window.name}")
    home = bundle.work / "desktop-home"
    more = {"HOME": str(home), "XDG_DATA_HOME": str(home / "share"), "APPDATA": str(home)}
    home.mkdir()
    if os.name == "nt":  # made by PowerShell
        more["PATH"] = os.environ["PATH"]
    bundle.run("desktop", "install", more=more)
    bundle.run("desktop", "status", more=more)
    written = [p for p in home.rglob("*") if p.is_file()]
    if sys.platform == "linux":
        text = (home / "share" / "applications" / "denoisetool.desktop").read_text("utf-8")
        assert f'Exec="{bundle.window}" %F' in text, text
    bundle.run("desktop", "remove", more=more)
    assert not list(home.iterdir()), "something is left"
    return f"{len(written)} files, and none"


STEPS: tuple[Callable[[Bundle], str], ...] = (
    no_python, version, help_text, no_arguments, licences, models, first_photo, folder, deep, watch,
    train, finetune, window_opens, window_denoises, window_hands_over, desktop, doctor,
)  # fmt: skip


def run(bundle: Bundle, without: set[str]) -> Iterator[tuple[str, bool | None, str]]:
    """Each step's name, whether it passed (None: not in this build), and what there is to say."""
    for step in STEPS:
        name = step.__name__
        started = time.perf_counter()
        passed: bool | None
        try:
            said, passed = step(bundle), True
        except Missing as error:
            passed, said = (None if name in without else False), f"NOT IN THIS BUILD: {error}"
        except (AssertionError, OSError, subprocess.SubprocessError, ValueError) as error:
            passed, said = False, f"{type(error).__name__}: {error}"
            said += getattr(error, "stderr", None) or ""
        yield name, passed, f"{said}  [{time.perf_counter() - started:.1f} s]"


def main() -> int:
    """Run all steps; 1 if one of them failed."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("bundle", type=Path, help="the unpacked folder")
    parser.add_argument("--without", action="append", default=[], metavar="STEP",
                        help="a step whose part may be missing from this build")  # fmt: skip
    options = parser.parse_args()
    if importlib.util.find_spec("denoisetool") is None:
        raise SystemExit("denoisetool must be installed here, to compare with")
    with tempfile.TemporaryDirectory(prefix="smoke-") as place:
        bundle = Bundle(options.bundle.resolve(), Path(place).resolve())
        failed, missing = 0, 0
        for name, passed, said in run(bundle, set(options.without)):
            mark = {True: "ok", False: "FAILED", None: "--"}[passed]
            print(f"{mark:7}{name:18}{said}", flush=True)
            failed += passed is False
            missing += passed is None
    files = [p for p in bundle.folder.rglob("*") if p.is_file() and not p.is_symlink()]
    size = sum(p.stat().st_size for p in files)
    print(
        f"{size / 1e6:.0f} MB in {len(files)} files; {failed} failed, {missing} not in this build"
    )
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
