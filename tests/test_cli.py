from __future__ import annotations

import errno
import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from denoisetool import __version__, session
from denoisetool import cli as package
from denoisetool.cli import app as application
from denoisetool.registry.places import bundled_models
from tests.conftest import Cli
from tests.e2e import pictures, processes
from tests.e2e.fakes import BrokenEngine, IdentityEngine, NaNEngine, SmoothingEngine

HEAVY = ("torch", "tifffile", "imagecodecs", "PIL", "numpy", "tqdm", "sqlite3", "rich")


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "Engine", SmoothingEngine)


def tree(folder: Path) -> dict[str, bytes | None]:
    return {
        str(p.relative_to(folder)): None if p.is_dir() else p.read_bytes()
        for p in sorted(folder.rglob("*"))
    }


# -- start ---------------------------------------------------------------------------------------


def loaded_by(*words: str, home: Path) -> set[str]:
    """Top-level modules that a command imports."""
    code = (
        "import sys\nfrom denoisetool.cli import main\n"
        "try:\n    main()\nexcept SystemExit: pass\n"
        "print('\\n' + ' '.join(m for m in sys.modules if '.' not in m))"
    )
    ran = processes.run(("-c", code), *words, home=home)
    return set(ran.stdout.splitlines()[-1].split())


def test_help_and_its_like_load_nothing_heavy(tmp_path: Path) -> None:
    for words in (
        ["--help"],
        ["--version"],
        [],
        ["config", "show"],
        ["modles"],
        ["train", "--help"],
        ["watch", "--help"],
        ["compare", "--help"],
    ):
        assert not loaded_by(*words, home=tmp_path).intersection(HEAVY), words


def test_listing_models_and_planning_load_no_torch(photos: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    assert not loaded_by("models", "list", home=home) & {"torch", "numpy", "PIL", "tifffile"}
    planning = loaded_by(str(photos), "-o", str(tmp_path / "out"), "--dry-run", home=home)
    assert not planning & {"torch", "PIL", "tifffile", "imagecodecs"}


def test_help_takes_little_longer_than_to_load_its_library(tmp_path: Path) -> None:
    """Twice as long; side by side, since machines are slow or busy."""
    library, best = ("-c", "import typer"), dict[tuple[str, ...], float]()
    for _ in range(6):
        for words in (library, (*processes.REAL, "--help")):
            started = time.perf_counter()
            assert processes.run(words, home=tmp_path).returncode == 0
            took = time.perf_counter() - started
            best[words] = min(took, best.get(words, took))
    assert best[*processes.REAL, "--help"] <= 3 * best[library]


def test_help_shows_options_commands_and_exit_codes(cli: Cli) -> None:
    ran = cli("--help")
    assert ran.code == 0
    for word in ("--strength", "--skip-existing", "models", "evaluate", "130/143", "./config"):
        assert word in ran.out
    assert ran.err == ""
    assert cli("photos", "--help").out == ran.out
    assert cli("-h").out == ran.out
    assert cli("--version").out == f"denoisetool {__version__}\n"


def test_no_arguments_is_help_and_exit_2(cli: Cli) -> None:
    ran = cli()
    assert ran.code == 2
    assert ran.out == ""
    assert "denoisetool photos/ -o clean/" in ran.err


@pytest.mark.parametrize("command", ["models", "config", "train", "evaluate", "doctor", "compare"])
def test_every_command_has_help(command: str, cli: Cli) -> None:
    ran = cli(command, "--help")
    assert ran.code == 0
    assert ran.out.startswith(f"Usage: denoisetool {command}")


# -- words ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["modles", "list"], 2, "did you mean `denoisetool models`?"),
        (["docter"], 2, "did you mean `denoisetool doctor`?"),
        (["evalaute", "a", "b"], 2, "did you mean `denoisetool evaluate`?"),
        (["-v", "evaluate", "a"], 2, "a command comes first: `denoisetool evaluate ...`"),
        (["models", "lsit"], 2, "Did you mean 'list'"),
        (["nowhere"], 3, "nowhere: no such file or folder"),
        ([""], 2, "an input is empty"),
        (["photos", "-o", ""], 2, "-o is empty"),
        (["--fromat", "png", "x"], 2, "no such option: --fromat (Possible options: "),
        (["--device"], 2, "requires an argument"),
        (["--overwrite"], 2, "missing argument 'PHOTOS...'"),
        (["x", "--overwrite", "--skip-existing"], 3, "no such file"),
        (["models", "info"], 2, "missing argument 'NAME'"),
    ],
)
def test_words_that_cannot_be_understood(
    words: list[str], code: int, message: str, cli: Cli
) -> None:
    ran = cli(*words)
    assert (ran.code, ran.out) == (code, "")
    assert ran.err.startswith("error: ")
    assert message in ran.err
    assert ran.err.count("\n") == 1


@pytest.mark.parametrize("words", [["--fromat", "x"], ["nowhere"], ["modles"]])
def test_json_tells_errors_too(words: list[str], cli: Cli) -> None:
    ran = cli("--json", *words)
    (event,) = ran.events
    assert event["event"] == "error"
    assert event["exit_code"] == ran.code
    assert event["what"]


@pytest.mark.usefixtures("fake_engine")
@pytest.mark.parametrize("words", [["./config"], ["--", "config"], ["-v", "./config"]])
def test_a_folder_called_like_a_command(
    words: list[str], tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config").mkdir()
    Path("config/a.jpg").write_bytes(pictures.jpeg())
    ran = cli("-o", "clean", *words)
    assert ran.code == 0, ran.err
    assert Path("clean/a.jpg").exists()


@pytest.mark.usefixtures("fake_engine")
def test_options_may_stand_anywhere(photos: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli("-o", f"{tmp_path}/one/", photos).code == 0
    assert cli(photos, f"--output={tmp_path}/two").code == 0
    assert cli(photos / "a.jpg", "-o", tmp_path / "three", photos / "b.png").code == 0
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert sorted(tree(tmp_path / "three")) == ["a.jpg", "b.png"]


@pytest.mark.usefixtures("fake_engine")
def test_default_places(photos: Path, cli: Cli) -> None:
    assert cli(photos).code == 0
    assert (photos.parent / "photos-clean" / "sub" / "c.jpg").exists()
    assert cli(photos / "a.jpg").code == 0
    assert (photos / "a_clean.jpg").exists()


@pytest.mark.usefixtures("fake_engine")
def test_one_photo_into_one_file(photos: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli(photos / "a.jpg", "-o", tmp_path / "x" / "new.jpg").code == 0
    assert sorted(tree(tmp_path / "x")) == ["new.jpg"]
    ran = cli(photos, "-o", tmp_path / "y.jpg")
    assert ran.code == 2
    assert "several photos cannot go into one file" in ran.err


@pytest.mark.usefixtures("fake_engine")
def test_name_and_format(photos: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    assert cli(photos, "-o", out, "--name", "{stem}_x", "--format", "webp").code == 0
    assert [str(p.relative_to(out)) for p in processes.finished(out)] == [
        "a_x.webp", "b_x.webp", "sub/c_x.webp",
    ]  # fmt: skip
    for path in processes.finished(out):
        assert path.read_bytes()[8:12] == b"WEBP"


# -- streams -------------------------------------------------------------------------------------


@pytest.mark.usefixtures("fake_engine")
def test_people_read_stderr(photos: Path, tmp_path: Path, cli: Cli) -> None:
    ran = cli(photos, "-o", tmp_path / "out")
    assert ran.out == ""
    lines = ran.err.splitlines()
    assert lines[0] == "fast on cpu in fp32: this is a fake"
    assert f"{photos / 'a.jpg'} -> {tmp_path / 'out' / 'a.jpg'}" in lines[1]
    assert lines[-1].startswith("3 done in ")
    assert len(lines) == 5
    assert "\x1b" not in ran.err
    again = cli(photos, "-o", tmp_path / "out")
    assert (again.code, again.err) == (0, "0 done, 3 skipped\n")


@pytest.mark.usefixtures("fake_engine")
def test_quiet_says_only_what_failed(photos: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli(photos, "-o", tmp_path / "one", "-q").err == ""
    (photos / "bad.jpg").write_bytes(b"")
    ran = cli(photos, "-o", tmp_path / "two", "-q")
    assert ran.code == 1
    lines = ran.err.splitlines()
    assert lines[0] == f"FAILED {photos / 'bad.jpg'}: the file is empty"
    assert lines[1].startswith("3 done, 1 FAILED in ")


@pytest.mark.usefixtures("fake_engine")
def test_verbose_says_more(photos: Path, tmp_path: Path, cli: Cli) -> None:
    ran = cli(photos, "-o", tmp_path / "out", "-v")
    assert f"passed over {photos / 'notes.txt'}: not a picture" in ran.err
    assert "colour shift" in ran.err
    assert "1 other files passed over" in ran.err
    again = cli(photos, "-o", tmp_path / "out", "-v")
    assert f"skipped {photos / 'a.jpg'}: already done" in again.err
    for path in photos.rglob("*.*g"):
        path.unlink()
    nothing = cli(photos, "-v")
    assert nothing.code == 3
    assert "passed over" in nothing.err.splitlines()[0]


@pytest.mark.usefixtures("fake_engine")
def test_json_is_all_there_is_on_stdout(photos: Path, tmp_path: Path, cli: Cli) -> None:
    (photos / "bad.jpg").write_bytes(b"")
    ran = cli(photos, "-o", tmp_path / "out", "--json")
    assert [e["event"] for e in ran.events] == [
        "photo",
        "start",
        "photo",
        "photo",
        "photo",
        "summary",
    ]
    assert {e["v"] for e in ran.events} == {1}
    assert [e["status"] for e in ran.of("photo")] == ["failed", "done", "done", "done"]
    (summary,) = ran.of("summary")
    assert (summary["done"], summary["failed"], summary["exit_code"]) == (3, 1, 1)
    assert ran.code == 1
    again = cli(photos, "-o", tmp_path / "out", "--json")
    assert [e["status"] for e in again.of("photo")] == ["failed"] + ["skipped"] * 3


@pytest.mark.usefixtures("fake_engine")
def test_odd_names_break_neither_lines_nor_terminals(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "line\nbreak\x1b[31m.jpg").write_bytes(pictures.jpeg())
    ran = cli(folder, "-o", tmp_path / "out", "-v")
    assert ran.code == 0
    assert "\x1b" not in ran.err
    assert r"line\nbreak\x1b[31m.jpg" in ran.err
    listed = cli(folder, "-o", tmp_path / "new", "--dry-run")
    assert len(listed.out.splitlines()) == 1
    as_json = cli(folder, "-o", tmp_path / "out", "--json", "--overwrite")
    assert as_json.of("photo")[0]["source"] == str(folder / "line\nbreak\x1b[31m.jpg")


def test_a_reader_that_leaves_ends_the_run_quietly(photos: Path, tmp_path: Path) -> None:
    for number in range(60):
        (photos / f"{number}.png").write_bytes(pictures.png(seed=number))
    process = processes.start(
        processes.fake(0.01), photos, "-o", tmp_path / "out", "--json", home=tmp_path / "home"
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err
    assert not processes.leftovers(tmp_path / "out")
    for path in processes.finished(tmp_path / "out"):
        pictures.upright(path)


def test_a_full_disk_under_stdout(photos: Path, tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        ran = processes.run(
            processes.fake(), photos, "-o", tmp_path / "out", "--json", home=tmp_path / "home",
            capture_output=False, stdout=full, stderr=subprocess.PIPE,
        )  # fmt: skip
    assert ran.returncode == 6
    assert "standard output cannot be written: No space left on device" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert "Exception ignored" not in ran.stderr


# -- pipes ---------------------------------------------------------------------------------------


class _Stdin:
    def __init__(self, data: bytes, *, terminal: bool = False) -> None:
        self.buffer, self.terminal = io.BytesIO(data), terminal

    def isatty(self) -> bool:
        return self.terminal


def test_through_pipes(photos: Path, tmp_path: Path) -> None:
    data = (photos / "a.jpg").read_bytes()
    home = tmp_path / "home"
    ran = processes.run(processes.fake(), "-", home=home, input=data, text=False)
    assert ran.returncode == 0
    result = bytes(ran.stdout)  # type: ignore[arg-type]
    assert result[:2] == b"\xff\xd8"
    assert result != data
    (tmp_path / "result.jpg").write_bytes(result)
    assert pictures.upright(tmp_path / "result.jpg").shape == (48, 64, 3)
    named = processes.run(processes.fake(), photos / "a.jpg", "-o", "-", home=home, text=False)
    assert bytes(named.stdout) == result  # type: ignore[arg-type]
    with processes.start(processes.fake(), photos / "a.jpg", "-o", "-", home=home) as cut:
        cut.stdout.close()
        err = cut.stderr.read()
        assert cut.wait(60) == 1
    assert b"Traceback" not in err
    assert b"Exception ignored" not in err


@pytest.mark.usefixtures("fake_engine")
def test_standard_input_into_a_file(
    photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = (photos / "b.png").read_bytes()
    target = tmp_path / "new.tif"

    def run(*words: str | Path) -> tuple[int, str]:
        monkeypatch.setattr(sys, "stdin", _Stdin(data))
        ran = cli("-", "-o", target, *words)
        return ran.code, ran.err + ran.out

    assert run()[0] == 0
    assert target.read_bytes()[:2] in (b"II", b"MM")
    assert pictures.upright(target).shape == (48, 64, 3)
    first = target.stat().st_mtime_ns
    code, text = run()
    assert code == 1
    assert "--overwrite replaces it" in text
    assert run("--skip-existing")[0] == 0
    assert target.stat().st_mtime_ns == first
    assert run("--overwrite")[0] == 0
    assert target.stat().st_mtime_ns != first
    code, text = run("--overwrite", "--json", "-q")
    events = [json.loads(line) for line in text.splitlines()]
    assert [event["event"] for event in events] == ["start", "photo", "summary"]
    assert (events[1]["source"], events[1]["target"]) == ("-", str(target))


@pytest.mark.usefixtures("fake_engine")
@pytest.mark.parametrize(
    ("words", "data", "code", "message"),
    [
        (["-"], b"", 3, "standard input: there is nothing in it"),
        (["-"], b"text", 3, "standard input: not a picture"),
        (["-", "-o", "x.jpg"], pictures.jpeg()[:500], 1, "standard input: the JPEG file is"),
        (["-", "a.jpg"], b"x", 2, "- stands for one photo"),
        (["-", "--dry-run"], b"x", 2, "cannot look into a pipe"),
        (["-", "-o", "a.png", "--name", "{stem}"], b"x", 2, "is named by -o"),
        (["-", "--json"], b"x", 2, "cannot share standard output"),
        (["-", "-o", "."], b"x", 2, "-o must be a file here"),
        (["-", "-o", "new/"], b"x", 2, "-o must be a file here"),
        (["gone.jpg", "-o", "-"], b"", 3, "no such file"),
        ([".", "-o", "-"], b"", 3, "cannot be read: Is a directory"),
    ],
)
def test_pipes_misused(
    words: list[str],
    data: bytes,
    code: int,
    message: str,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "stdin", _Stdin(data))
    ran = cli(*words)
    assert (ran.code, message in ran.err) == (code, True), ran.err
    assert [p.name for p in tmp_path.iterdir() if p.name != "home"] == []


@pytest.mark.usefixtures("fake_engine")
@pytest.mark.parametrize(
    ("stream", "words", "code"),
    [("stdin", ["-", "-o", "x.png"], 2), ("stdout", ["a.png", "-o", "-"], 2),
     ("stdout", ["a.png", "--json"], 6)],
)  # fmt: skip
def test_closed_streams(
    stream: str, words: list[str], code: int, cli: Cli, monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(pictures.png())
    monkeypatch.setattr(sys, stream, None)
    ran = cli(*words)
    assert ran.code == code
    assert "is closed" in ran.err


@pytest.mark.usefixtures("fake_engine")
def test_a_stderr_that_takes_nothing_costs_no_photo(
    photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(errno.ENOSPC, f"No space left on device: {text}")

    monkeypatch.setattr(sys, "stderr", Full())
    assert cli(photos, "-o", tmp_path / "out").code == 0
    assert (tmp_path / "out" / "a.jpg").is_file()


def test_terminals_are_no_pipes(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", _Stdin(b"", terminal=True))
    ran = cli("-")
    assert ran.code == 2
    assert "standard input is a terminal" in ran.err


# -- exit codes ----------------------------------------------------------------------------------


@pytest.mark.usefixtures("fake_engine")
def test_exit_0_done_or_nothing_to_do(photos: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli(photos, "-o", tmp_path / "out").code == 0
    assert cli(photos, "-o", tmp_path / "out").code == 0


def test_exit_1_some_failed(
    photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "Engine", NaNEngine)
    ran = cli(photos, "-o", tmp_path / "out", "--json")
    assert ran.code == 1
    assert {e["error"] for e in ran.of("photo")} == {"ImplausibleResult"}
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "words",
    [
        ["--strength", "9"], ["--device", "gpu"], ["--format", "gif"], ["--name", "{x}"],
        ["--overwrite", "--skip-existing"], ["--quality", "high"],
    ],
)  # fmt: skip
def test_exit_2_usage(words: list[str], photos: Path, tmp_path: Path, cli: Cli) -> None:
    ran = cli(photos, "-o", tmp_path / "out", *words)
    assert ran.code == 2, ran.err
    assert not (tmp_path / "out").exists()


def test_exit_2_configuration(photos: Path, cli: Cli, home: Path) -> None:
    (home / "config").mkdir(parents=True)
    (home / "config" / "config.toml").write_text("strength = 9")
    ran = cli(photos)
    assert ran.code == 2
    assert "config.toml: strength must be from 0 to 2, not 9" in ran.err


@pytest.mark.usefixtures("fake_engine")
def test_exit_3_no_readable_input(photos: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli(photos / "notes.txt").code == 3
    assert cli(photos / "gone.jpg", photos / "gone too.jpg").code == 3
    (tmp_path / "empty").mkdir()
    assert cli(tmp_path / "empty").code == 3
    (photos / "cut.jpg").write_bytes(pictures.jpeg()[:300])
    assert cli(photos / "cut.jpg", "-o", tmp_path / "out").code == 3


def test_exit_4_model(photos: Path, tmp_path: Path, cli: Cli) -> None:
    ran = cli(photos, "-o", tmp_path / "out", "--model", "fasst")
    assert ran.code == 4
    assert "did you mean fast?" in ran.err
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.toml").write_text("not a card")
    assert cli(photos, "-o", tmp_path / "out", "--model", folder).code == 4
    assert not (tmp_path / "out").exists()


def test_exit_4_corrupt_weights(photos: Path, tmp_path: Path, cli: Cli) -> None:
    bundled = bundled_models()
    assert bundled is not None
    folder = Path(shutil.copytree(bundled / "fast", tmp_path / "mine"))
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    ran = cli(photos, "-o", tmp_path / "out", "--model", folder, "--json")
    assert ran.code == 4
    (event,) = ran.events
    assert (event["kind"], event["path"]) == ("ModelError", str(weights))
    assert not (tmp_path / "out").exists()


def test_exit_5_device(
    photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    ran = cli(photos, "-o", tmp_path / "out", "--device", "cuda", "--json")
    assert ran.code == 5
    assert ran.events[-1]["kind"] == "DeviceError"
    assert "--device auto" in ran.events[-1]["hint"]
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("fake_engine")
def test_exit_6_output(photos: Path, tmp_path: Path, cli: Cli) -> None:
    ran = cli(photos, "-o", "/proc/sys/denoisetool-clean/")
    assert ran.code == 6, ran.err
    (tmp_path / "taken").write_text("a file")
    ran = cli(photos, "-o", f"{tmp_path}/taken/")
    assert ran.code == 6
    assert "a file is in the way of this folder" in ran.err
    assert (tmp_path / "taken").read_text() == "a file"


def test_exit_6_file_too_large(photos: Path, tmp_path: Path) -> None:
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))

    ran = processes.run(
        processes.fake(), photos, "-o", tmp_path / "out", home=tmp_path / "home",
        preexec_fn=limit,
    )  # fmt: skip
    assert ran.returncode == 6
    assert "too large for this disk" in ran.stderr
    assert "Traceback" not in ran.stderr
    assert processes.finished(tmp_path / "out") == []
    assert processes.leftovers(tmp_path) == []


def test_exit_130_while_planning(photos: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from denoisetool.cli import photos as photos_command

    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(photos_command, "prepare", interrupted)
    ran = cli(photos)
    assert (ran.code, ran.err) == (130, "")


def test_a_bug_shows_its_traceback(photos: Path, monkeypatch: pytest.MonkeyPatch, cli: Cli) -> None:
    from denoisetool.cli import photos as photos_command

    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(photos_command, "prepare", broken)
    monkeypatch.setattr(sys, "argv", ["denoisetool", str(photos)])
    with pytest.raises(ZeroDivisionError):
        package.main()


# -- settings reach the work ---------------------------------------------------------------------


def test_strength_0_copies(photos: Path, tmp_path: Path, cli: Cli) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "Engine", lambda *_: BrokenEngine(AssertionError()))
        ran = cli(photos, "-o", tmp_path / "out", "--strength", "0")
    assert ran.code == 0
    assert ran.err.count("nothing changed") == 3
    for path in processes.finished(tmp_path / "out"):
        original = photos / path.relative_to(tmp_path / "out")
        assert path.read_bytes() == original.read_bytes()


@pytest.mark.usefixtures("fake_engine")
def test_environment_and_file_reach_the_work(
    photos: Path, tmp_path: Path, cli: Cli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert cli("config", "set", "format", "png").code == 0
    cli(photos / "a.jpg", "-o", tmp_path / "file")
    assert sorted(tree(tmp_path / "file")) == ["a.png"]
    monkeypatch.setenv("DENOISETOOL_FORMAT", "webp")
    cli(photos / "a.jpg", "-o", tmp_path / "environment")
    assert sorted(tree(tmp_path / "environment")) == ["a.webp"]
    cli(photos / "a.jpg", "-o", tmp_path / "flag", "--format", "bmp")
    assert sorted(tree(tmp_path / "flag")) == ["a.bmp"]


def test_max_megapixels(photos: Path, tmp_path: Path, cli: Cli) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(session, "Engine", IdentityEngine)
        (photos / "large.png").write_bytes(pictures.png(150, 150))
        ran = cli(photos, "-o", tmp_path / "out", "--max-megapixels", "0.02")
    assert ran.code == 1
    assert "--max-megapixels" in ran.err


def test_low_priority_gives_way(photos: Path, tmp_path: Path) -> None:
    code = (
        "import os, sys; from tests.e2e import fakes; from denoisetool import session, cli\n"
        "tell = lambda: print(os.nice(0), file=sys.stderr)\n"
        "session.Engine = lambda *_: fakes.GatedEngine(tell)\n"
        "cli.main()"
    )
    words = (photos / "a.jpg", "-o", tmp_path / "out", "-q")
    plain = processes.run(("-c", code), *words, home=tmp_path / "home")
    low = processes.run(("-c", code), *words, "--low-priority", "--overwrite", "--luma", "0.5",
                        home=tmp_path / "home")  # fmt: skip
    assert int(low.stderr.split()[0]) > int(plain.stderr.split()[0])


# -- dry run -------------------------------------------------------------------------------------


def test_a_dry_run_writes_nothing_at_all(photos: Path, tmp_path: Path, cli: Cli) -> None:
    before = tree(tmp_path)
    ran = cli(photos, "-o", tmp_path / "out" / "deep", "--dry-run")
    assert ran.code == 0
    assert tree(tmp_path) == before
    assert len(ran.out.splitlines()) == 3
    assert ran.out.startswith("denoise ")
    assert "3 to denoise (0.0 MP), 0 to skip, 0 refused; needs about" in ran.err
    assert "time not known yet" in ran.err


@pytest.mark.usefixtures("fake_engine")
def test_a_dry_run_knows_space_and_time(photos: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    (photos / "large.png").write_bytes(pictures.png(1100, 1000))
    assert cli(photos / "large.png", "-o", out).code == 0
    (out / "a.jpg").write_bytes(b"somebody's")
    ran = cli(photos, "-o", out, "--dry-run", "--json")
    assert ran.code == 1  # the real run would refuse one
    (plan,) = ran.of("forecast")
    assert (plan["denoise"], plan["skip"], plan["refuse"]) == (2, 1, 1)
    sizes = (photos / "b.png").stat().st_size + (photos / "sub" / "c.jpg").stat().st_size
    assert plan["bytes"] == sizes
    assert plan["free_bytes"] > 0
    assert plan["seconds"] is not None
    assert [e["action"] for e in ran.of("planned")] == ["denoise", "denoise", "skip", "refuse"]
    other = cli(photos, "-o", tmp_path / "new", "--dry-run", "--json", "--format", "bmp")
    (plan,) = other.of("forecast")
    assert plan["bytes"] == pytest.approx(3e6 * plan["megapixels"], rel=0.01)
    (tmp_path / "home" / "cache" / "speed.json").write_text('{"x": "y"}')
    assert cli(photos, "-o", out, "--dry-run", "--json").of("forecast")[0]["seconds"] is None


def test_a_dry_run_of_nothing(tmp_path: Path, cli: Cli) -> None:
    assert cli(tmp_path, "--dry-run").code == 3
    (tmp_path / "bad.jpg").write_bytes(b"")
    assert cli(tmp_path / "bad.jpg", "--dry-run").code == 3


def test_the_default_command_has_no_name() -> None:
    group = application.command()
    names = [name for name in group.commands if name.isprintable()]
    assert names == [
        "watch",
        "doctor",
        "compare",
        "evaluate",
        "finetune",
        "train",
        "gui",
        "models",
        "config",
        "desktop",
    ]
