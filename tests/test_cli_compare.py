"""`denoisetool compare`, and `--report` of the main command."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from denoisetool import report as reports
from denoisetool import session
from denoisetool.cli.pairs import find_results
from denoisetool.errors import DeviceError, DiskFull, NoInputError
from denoisetool.report import writer
from tests.conftest import Cli
from tests.e2e import pictures, processes
from tests.e2e.fakes import BrokenEngine, GatedEngine, IdentityEngine, NaNEngine, SmoothingEngine
from tests.pages import Page


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "Engine", SmoothingEngine)


def make(folder: Path, *names: str) -> Path:
    """A folder of small photos; the kind is told by the suffix."""
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = pictures.jpeg if name.lower().endswith((".jpg", ".webp")) else pictures.png
        path.write_bytes(kind(seed=seed))
    return folder


# -- pairs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        (["a.jpg", "sub/b.png"], ["a.jpg", "sub/b.png"],
         {"a.jpg": "a.jpg", "sub/b.png": "sub/b.png"}),
        (["a.jpg", "b.png"], ["a.webp", "b.JPG"], {"a.jpg": "a.webp", "b.png": "b.JPG"}),
        (["a.jpg", "b.jpg"], ["a_clean.jpg", "b_clean.png"],
         {"a.jpg": "a_clean.jpg", "b.jpg": "b_clean.png"}),
        (["a.jpg", "a.png"], ["a.webp", "a.png.webp"], {"a.jpg": "a.webp", "a.png": "a.png.webp"}),
        (["a.jpg", "a.png", "b.jpg"], ["a.webp", "b.webp"], {"b.jpg": "b.webp"}),
        (["A.JPG"], ["a.jpg"], {"A.JPG": "a.jpg"}),
        (["sub/a.jpg", "b.jpg"], ["a.jpg", "b.jpg"], {"b.jpg": "b.jpg"}),
        (["a.jpg"], ["a.jpg", "a_clean.jpg"], {"a.jpg": "a.jpg"}),
    ],
)  # fmt: skip
def test_photos_and_results_are_matched_by_name(
    before: list[str], after: list[str], expected: dict[str, str], tmp_path: Path
) -> None:
    left, right = make(tmp_path / "in", *before), make(tmp_path / "out", *after)
    found = find_results(left, right)
    assert {str(a.relative_to(left)): str(b.relative_to(right)) for a, b in found.pairs} == expected
    alone = len(before) + len(after) - 2 * len(expected)
    assert bool(alone) == bool(found.notes)


def test_results_may_lie_beside_their_photos(tmp_path: Path) -> None:
    folder = make(tmp_path / "in", "a.jpg", "a_clean.jpg", "b.jpg", "c.png", "c_clean.png")
    found = find_results(folder, folder)
    assert [(a.name, b.name) for a, b in found.pairs] == [
        ("a.jpg", "a_clean.jpg"), ("c.png", "c_clean.png"),
    ]  # fmt: skip
    assert found.notes == [f"left out, with no partner in {folder}: b.jpg"]


@pytest.mark.parametrize(("photos", "results"), [("in", "in/clean"), ("out/raw", "out")])
def test_one_folder_may_lie_in_the_other(photos: str, results: str, tmp_path: Path) -> None:
    for folder in (photos, results):
        make(tmp_path / folder, "a.jpg", "sub/b.png")
    found = find_results(tmp_path / photos, tmp_path / results)
    assert [a.name for a, _ in found.pairs] == ["a.jpg", "b.png"]
    assert found.notes == []


def test_no_partner_at_all_says_how_names_are_matched(tmp_path: Path) -> None:
    with pytest.raises(NoInputError) as raised:
        find_results(make(tmp_path / "in", "a.jpg"), make(tmp_path / "out", "x.jpg"))
    assert "same place and name" in raised.value.hint
    assert "photo_clean" in raised.value.hint


# -- compare -------------------------------------------------------------------------------------


def test_compare_two_photos(photos: Path, tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "clean.png").write_bytes(pictures.png(seed=5))
    target = tmp_path / "r.html"
    ran = cli("compare", photos / "b.png", tmp_path / "clean.png", "-o", target)
    assert (ran.code, ran.out) == (0, "")
    assert ran.err == f"1 compared: {target}\n"
    page = Page.read(target)
    assert page.said("h3") == ["b.png"]
    before, after = page.pictures()
    assert (before == pictures.upright(photos / "b.png")).all()
    assert (after == pictures.upright(tmp_path / "clean.png")).all()
    assert page.tiles["Size"] == "64 × 48, 0.0 MP"


@pytest.mark.usefixtures("fake_engine")
def test_compare_what_was_denoised(photos: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli(photos, "-o", tmp_path / "out", "-q").code == 0
    ran = cli("compare", photos, tmp_path / "out", "-o", tmp_path / "r.html", "-q")
    assert (ran.code, ran.out, ran.err) == (0, "", "")
    page = Page.read(tmp_path / "r.html")
    assert page.said("h3") == ["a.jpg", "b.png", "sub/c.jpg"]
    assert page.said("h3") == page.said("a")
    assert float(page.tiles["Mean noise removed"]) > 5


def test_compare_finishes_what_can_be_compared(tmp_path: Path, cli: Cli) -> None:
    left = make(tmp_path / "in", "a.jpg", "b.png", "c.jpg", "alone.jpg")
    right = make(tmp_path / "out", "a.jpg", "b.png", "c.jpg")
    (left / "junk.jpg").write_bytes(b"text")
    (right / "b.png").write_bytes(pictures.png(20, 30))
    (right / "c.jpg").write_bytes(pictures.jpeg()[:300])
    ran = cli("compare", left, right, "-o", tmp_path / "r.html")
    assert ran.code == 1
    assert f"note: left out, with no partner in {right}: alone.jpg" in ran.err
    assert (
        f"FAILED {right / 'b.png'}: the two differ in size: 64 x 48 before, 30 x 20 after"
        in ran.err
    )
    assert f"FAILED {right / 'c.jpg'}: the JPEG file is" in ran.err
    assert f"FAILED {left / 'junk.jpg'}: " in ran.err
    assert ran.err.endswith(f"1 compared, 3 FAILED: {tmp_path / 'r.html'}\n")
    page = Page.read(tmp_path / "r.html")
    assert page.said("h3") == ["a.jpg"]
    assert page.tiles["Failed"] == "3"
    assert any("30 x 20 after" in text for text in page.said("td"))
    assert any("alone.jpg" in text for text in page.said("p"))


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["in", "nowhere", "-o", "r.html"], 3, "nowhere: no such file or folder"),
        (["nowhere", "in", "-o", "r.html"], 3, "nowhere: no such file or folder"),
        (["in/a.jpg", "out", "-o", "r.html"], 2, "a photo and a folder cannot be compared"),
        (["in", "empty", "-o", "r.html"], 3, "empty: no photo here"),
        (["in", "other", "-o", "r.html"], 3, "other: no photo of in has its result here"),
        (["in/a.jpg", "text.jpg", "-o", "r.html"], 3, "text.jpg: not a picture of a known kind"),
        (["text.jpg", "in/a.jpg", "-o", "r.html"], 3, "text.jpg: not a picture of a known kind"),
        (["in/a.jpg", "small.jpg", "-o", "r.html"], 2,
         "small.jpg: the two differ in size: 64 x 48 before, 30 x 20 after"),
        (["in/a.jpg", "in/a.jpg", "-o", "r.html"], 2, "one and the same file"),
        (["in", "smaller", "-o", "r.html"], 2, "64 x 48 before, 30 x 20 after"),
        (["in", "cut", "-o", "r.html"], 3, "no pair could be compared"),
        (["in", "out"], 2, "missing option '--output' / '-o'"),
        (["in"], 2, "missing argument 'OUT'"),
        (["in", "out", "-o", ""], 2, "-o is empty"),
        (["in", "out", "-o", "r.jpg"], 2, "'r.jpg' is no name for one (name it like -o"),
        (["in", "out", "-o", "-"], 2, "'-' is no name for one"),
        (["in", "out", "-o", "there.html"], 1, "there.html: the report exists already (--over"),
        (["in", "out", "-o", "folder.html"], 6, "folder.html: there is a folder of that name"),
        (["in", "out", "-o", "/proc/x/r.html"], 6, "/proc/x/r.html: "),
    ],
)  # fmt: skip
def test_compare_misused(
    words: list[str], code: int, message: str, tmp_path: Path, cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    make(Path("in"), "a.jpg", "b.jpg")
    make(Path("out"), "a.jpg")
    make(Path("other"), "x.jpg")
    Path("empty").mkdir()
    Path("folder.html").mkdir()
    Path("text.jpg").write_text("text")
    Path("there.html").write_text("mine")
    Path("smaller").mkdir()
    for name in ("small.jpg", "smaller/a.jpg"):
        Path(name).write_bytes(pictures.jpeg(20, 30))
    Path("cut").mkdir()
    for name in ("cut/a.jpg", "cut/b.jpg"):
        Path(name).write_bytes(pictures.jpeg()[:300])
    ran = cli("compare", *words)
    assert (ran.code, ran.out) == (code, "")
    assert message in ran.err
    assert Path("there.html").read_text() == "mine"
    assert not Path("r.html").exists()


def test_compare_refuses_what_is_too_large_and_says_how_to_go_on(tmp_path: Path, cli: Cli) -> None:
    names = [tmp_path / "a.png", tmp_path / "b.png"]
    for path in names:
        path.write_bytes(pictures.png(150, 150))
    ran = cli("compare", *names, "-o", tmp_path / "r.html", "--max-megapixels", "0.02")
    assert ran.code == 3
    assert "raise the limit with --max-megapixels" in ran.err
    assert cli("compare", *names, "-o", tmp_path / "r.html").code == 0


def test_compare_replaces_a_page_when_asked(photos: Path, tmp_path: Path, cli: Cli) -> None:
    target = tmp_path / "r.html"
    target.write_text("old")
    (tmp_path / "clean.png").write_bytes(pictures.png(seed=5))
    words = ("compare", photos / "b.png", tmp_path / "clean.png", "-o", target)
    assert cli(*words).code == 1
    assert cli(*words, "--overwrite").code == 0
    Page.read(target)


def test_compare_loads_no_torch(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "clean.png").write_bytes(pictures.png(seed=5))
    code = (
        "import sys\nfrom denoisetool.cli import main\n"
        "try:\n    main()\nexcept SystemExit as ended: print(ended.code)\n"
        "print('torch' in sys.modules, 'PIL' in sys.modules)"
    )
    words = ("compare", photos / "b.png", tmp_path / "clean.png", "-o", tmp_path / "r.html")
    ran = processes.run(("-c", code), *words, home=tmp_path / "home")
    assert ran.stdout.split() == ["0", "False", "True"]
    assert (tmp_path / "r.html").exists()


# -- the report of a run -------------------------------------------------------------------------


@pytest.mark.usefixtures("fake_engine")
def test_a_run_with_a_report(photos: Path, tmp_path: Path, cli: Cli) -> None:
    (photos / "bad.jpg").write_bytes(b"")
    target = tmp_path / "r.html"
    ran = cli(photos, "-o", tmp_path / "out", "--report", target)
    assert ran.code == 1
    assert f"report: {target}" in ran.err
    page = Page.read(target)
    tiles = page.tiles
    assert (tiles["Photos done"], tiles["Skipped"], tiles["Failed"]) == ("3", "0", "1")
    assert (tiles["Model"], tiles["Device"]) == ("fast", "cpu, fp32")
    assert float(tiles["Mean estimated noise"]) > 5
    assert "this is a fake" in page.said("p")[0]
    assert str(photos / "bad.jpg") in page.said("td")
    assert "the file is empty" in page.said("td")
    assert page.said("h3") == [str(photos / name) for name in ("a.jpg", "b.png", "sub/c.jpg")]
    before, after = page.pictures()[2:4]
    assert (before == pictures.upright(photos / "b.png")).all()
    assert (after == pictures.upright(tmp_path / "out" / "b.png")).all()
    assert (before != after).any()


@pytest.mark.usefixtures("fake_engine")
def test_skipped_photos_are_counted(photos: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli(photos / "a.jpg", "-o", tmp_path / "out").code == 0
    assert cli(photos, "-o", tmp_path / "out", "--report", tmp_path / "1.html").code == 0
    page = Page.read(tmp_path / "1.html")
    assert (page.tiles["Photos done"], page.tiles["Skipped"]) == ("2", "1")
    assert len(page.said("h3")) == 2
    assert cli(photos, "-o", tmp_path / "out", "--report", tmp_path / "2.html").code == 0
    page = Page.read(tmp_path / "2.html")
    assert (page.tiles["Photos done"], page.tiles["Skipped"]) == ("0", "3")
    assert "Model" not in page.tiles
    assert page.of("img") == []


def test_the_kind_of_noise_is_told(
    photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kinds(SmoothingEngine):
        kinds = ("camera", "white")

    monkeypatch.setattr(session, "Engine", Kinds)
    assert cli(photos / "b.png", "-o", tmp_path / "out", "--report", tmp_path / "r.html").code == 0
    assert Page.read(tmp_path / "r.html").tiles["Estimated noise"].endswith(", white")


@pytest.mark.parametrize(("strength", "said"), [("1", "already clean"), ("0", "nothing changed")])
def test_photos_that_did_not_change_have_no_pictures(
    strength: str,
    said: str,
    photos: Path,
    tmp_path: Path,
    cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "Engine", IdentityEngine)
    report = tmp_path / "r.html"
    assert cli(photos, "-o", tmp_path / "out", "-s", strength, "--report", report).code == 0
    page = Page.read(report)
    assert page.of("img") == []
    assert page.said("td").count(said) == 3


def test_every_failure_is_listed(
    photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(session, "Engine", NaNEngine)
    assert cli(photos, "-o", tmp_path / "out", "--report", tmp_path / "r.html").code == 1
    page = Page.read(tmp_path / "r.html")
    assert "3 photos failed" in page.said("h2")
    assert page.tiles["Failed"] == "3"
    assert {str(photos / name) for name in ("a.jpg", "b.png", "sub/c.jpg")} < set(page.said("td"))


@pytest.mark.usefixtures("fake_engine")
def test_few_of_many_are_shown(tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "MOST_PICTURES", 2)
    folder = make(tmp_path / "in", *(f"{number}.png" for number in range(8)))
    assert cli(folder, "-o", tmp_path / "out", "--report", tmp_path / "r.html").code == 0
    page = Page.read(tmp_path / "r.html")
    assert page.said("h3") == [str(folder / "0.png"), str(folder / "4.png")]
    assert len(page.of("tr")) == 9
    assert "Pictures of 2 of 8 photos; the table at the end has all of them." in page.said("p")


@pytest.mark.parametrize("signals", [1, 2])
def test_an_interrupted_run_tells_what_was_done(
    signals: int, photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def interrupt() -> None:
        seen.append(1)
        if len(seen) == 6:
            for _ in range(signals):
                os.kill(os.getpid(), signal.SIGINT)

    folder = make(tmp_path / "in", *(f"{number}.png" for number in range(10)))
    monkeypatch.setattr(session, "Engine", lambda *_: GatedEngine(interrupt))
    ran = cli(folder, "-o", tmp_path / "out", "--report", tmp_path / "r.html", "--json", "-j", "2")
    assert ran.code == 130
    (summary,) = ran.of("summary")
    page = Page.read(tmp_path / "r.html")
    assert page.tiles["Photos done"] == str(summary["done"])
    assert page.tiles["Not begun"] == str(summary["left"])
    assert len(page.said("h3")) == summary["done"] >= 1
    assert summary["left"] >= 1
    assert any(text.startswith("Interrupted: ") for text in page.said("p"))


def test_a_photo_that_is_gone_afterwards_is_done_all_the_same(
    photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second photo is taken away while the third is in hand: no crops, and no failure."""
    calls: list[int] = []

    def take_away() -> None:
        calls.append(1)
        if len(calls) == 1:
            (photos / "a.jpg").unlink()

    monkeypatch.setattr(session, "Engine", lambda *_: GatedEngine(take_away))
    ran = cli(photos, "-o", tmp_path / "out", "--report", tmp_path / "r.html")
    assert ran.code == 0, ran.err
    page = Page.read(tmp_path / "r.html")
    assert page.tiles["Photos done"] == "3"
    assert len(page.said("h3")) == 2
    assert any("no pictures: cannot be read: " in text for text in page.said("span"))


# -- the report of a run, refused or failing -----------------------------------------------------


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--report", "there.html"], 1, "there.html: the report exists already (--over"),
        (["--report", "there.html", "--dry-run", "--json"], 0, ""),
        (["--report", "r.pdf"], 2, "name it like --report report.html"),
        (["--report", "photo.html", "--overwrite"], 1, "photo.html: this is a photo"),
        (["--report", "folder.html"], 6, "there is a folder of that name (choose"),
        (["--report", ""], 2, "--report is empty"),
        (["--report", "/proc/x/r.html"], 6, "/proc/x/r.html: "),
    ],
)  # fmt: skip
def test_reports_refused_before_any_work(
    words: list[str], code: int, message: str, photos: Path, tmp_path: Path, cli: Cli,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setattr(session, "Engine", lambda *_: BrokenEngine(AssertionError("no work")))
    monkeypatch.chdir(tmp_path)
    Path("there.html").write_text("mine")
    Path("photo.html").write_bytes(pictures.jpeg())
    Path("folder.html").mkdir()
    ran = cli(photos, "-o", "out", *words)
    assert ran.code == code, ran.err
    assert message in ran.err
    assert Path("there.html").read_text() == "mine"
    assert Path("photo.html").read_bytes() == pictures.jpeg()
    assert not Path("out").exists()
    assert not Path("r.html").exists()


def test_a_report_in_the_way_is_told_before_folders_are_looked_through(
    photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from denoisetool.cli import photos as photos_command

    def looked(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(photos_command, "prepare", looked)
    (tmp_path / "r.html").write_text("mine")
    assert cli(photos, "-o", tmp_path / "out", "--report", tmp_path / "r.html").code == 1


def test_a_pipe_has_no_report(tmp_path: Path, cli: Cli, photos: Path) -> None:
    for words in (["-"], [str(photos / "a.jpg"), "-o", "-"]):
        ran = cli(*words, "--report", tmp_path / "r.html")
        assert ran.code == 2
        assert "this one goes through a pipe" in ran.err
    assert not (tmp_path / "r.html").exists()


@pytest.mark.usefixtures("fake_engine")
def test_a_dry_run_writes_no_report(photos: Path, tmp_path: Path, cli: Cli) -> None:
    assert cli(photos, "--dry-run", "--report", tmp_path / "r.html").code == 0
    assert not (tmp_path / "r.html").exists()


@pytest.mark.usefixtures("fake_engine")
def test_a_report_does_not_take_the_name_of_a_result(
    photos: Path, tmp_path: Path, cli: Cli
) -> None:
    (photos / "a.jpg").rename(photos / "a.html")
    ran = cli(photos, "-o", tmp_path / "out", "--report", tmp_path / "out" / "a.html")
    assert ran.code == 2
    assert "would have the name of a result" in ran.err
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("fake_engine")
def test_a_report_that_cannot_be_written_costs_no_photo(
    photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: object, *_: object) -> None:
        raise DiskFull("the disk is full", path=tmp_path / "r.html", hint="the photos are kept")

    monkeypatch.setattr(reports.Report, "write", full)
    words = (photos, "-o", tmp_path / "out", "--report", tmp_path / "r.html")
    ran = cli(*words, "--json")
    assert ran.code == 6
    assert [event["event"] for event in ran.events][-2:] == ["summary", "error"]
    (summary,) = ran.of("summary")
    assert (summary["done"], summary["exit_code"]) == (3, 6)
    assert f"error: {tmp_path / 'r.html'}: the disk is full (the photos are kept)" in ran.err
    assert len(processes.finished(tmp_path / "out")) == 3
    assert not (tmp_path / "r.html").exists()


def test_a_run_that_cannot_begin_leaves_no_report(
    photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: object) -> None:
        raise DeviceError("no such device")

    monkeypatch.setattr(session, "Engine", missing)
    place = tmp_path / "place"
    place.mkdir()
    ran = cli(photos, "-o", tmp_path / "out", "--report", place / "r.html")
    assert ran.code == 5
    assert list(place.iterdir()) == []


@pytest.mark.usefixtures("fake_engine")
def test_ctrl_c_while_a_photo_is_looked_at_keeps_its_row(
    photos: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: object, *_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(reports.RunReport, "_look", interrupted)
    ran = cli(photos, "-o", tmp_path / "out", "--report", tmp_path / "r.html", "--json")
    assert ran.code == 130
    page = Page.read(tmp_path / "r.html")
    assert page.tiles["Photos done"] == str(ran.of("summary")[0]["done"]) == "1"


@pytest.mark.usefixtures("fake_engine")
def test_names_that_are_no_text_reach_the_page(tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff<script>.jpg")).write_bytes(pictures.jpeg())
    ran = cli(folder, "-o", tmp_path / "out", "--report", tmp_path / "r.html", "--json")
    assert ran.code == 0, ran.err
    assert json.loads(ran.out.splitlines()[-1])["done"] == 1
    assert Page.read(tmp_path / "r.html").said("h3") == [f"{folder}/\\xff<script>.jpg"]
