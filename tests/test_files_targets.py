"""Planning: one target each, inside the output, the same whatever the order, never an input."""

import random
import time
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoisetool.errors import OutputError, OutputExists, UsageError
from denoisetool.files import Destination, Plan, Source, destination, plan, target_key

WEBP = (".webp",)
JPEG = (".jpg", ".jpeg")
OUT = Path("/nonexistent/out")


def photo(relative: str, root: str | None = "/nonexistent/photos", inode: int = 0) -> Source:
    place = Path(relative)
    path = place if root is None else Path(root) / place
    return Source(
        path=path,
        relative=Path(place.name) if root is None else place,
        root=None if root is None else Path(root),
        format="jpeg",
        size=1,
        mtime_ns=1,
        device=1,
        inode=inode,
    )


def real(path: Path, root: Path | None = None) -> Source:
    status = path.stat()
    relative = Path(path.name) if root is None else path.relative_to(root)
    times = (status.st_size, status.st_mtime_ns, status.st_dev, status.st_ino)
    return Source(path, relative, root, "jpeg", *times)


def targets(made: Plan, below: Path = OUT) -> dict[str, str]:
    assert not made.problems
    return {str(p.source.path): str(p.target.relative_to(below)) for p in made.outputs}


def names(
    *sources: str | Source, name: str | None = None, to: Sequence[str] | None = None
) -> list[str]:
    """The targets of photos in /nonexistent/photos, in the plan's order."""
    found = [photo(item) if isinstance(item, str) else item for item in sources]
    suffixes = None if to is None else lambda _: to
    made = plan(found, Destination(folder=OUT), name=name, suffixes=suffixes)
    return list(targets(made).values())


# Where


def test_what_an_output_means(tmp_path: Path) -> None:
    a, folder = tmp_path / "a.jpg", tmp_path / "photos"
    a.touch()
    folder.mkdir()
    (tmp_path / "dir.jpg").mkdir()
    (tmp_path / "plain").touch()
    out = tmp_path / "out"
    assert destination([a], out) == Destination(folder=out, exclude=(out,))
    assert destination([a], f"{out}.jpg/").folder == Path(f"{out}.jpg")
    assert destination([a], tmp_path / "dir.jpg").folder == tmp_path / "dir.jpg"
    assert destination([a], tmp_path / "new.PNG").file == tmp_path / "new.PNG"
    assert destination([a], tmp_path / "plain").file == tmp_path / "plain"
    assert destination([tmp_path / "gone.jpg"], "b.jpg").file == Path("b.jpg")
    for inputs, output in (
        ([a, a], "b.jpg"),
        ([folder], "b.jpg"),
        ([folder], tmp_path / "plain"),
        ([a, folder], "b.jpg"),
    ):
        with pytest.raises(UsageError) as told:
            destination(inputs, output)
        assert told.value.hint


def test_output_in_place_excludes_nothing(tmp_path: Path) -> None:
    assert destination([tmp_path], tmp_path) == Destination(folder=tmp_path)
    assert destination([tmp_path / "x", tmp_path], tmp_path).exclude == (tmp_path,)


def test_beside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = tmp_path / "photos"
    (photos / "sub").mkdir(parents=True)
    for name in ("a.jpg", "sub/b.JPG"):
        (photos / name).touch()
    where = destination([photos], None)
    assert where == Destination(exclude=(tmp_path / "photos-clean",))
    made = plan([real(photos / "sub/b.JPG", photos)], where)
    assert made.outputs[0].target == tmp_path / "photos-clean/sub/b.JPG"
    made = plan([real(photos / "a.jpg")], destination([photos / "a.jpg"], None))
    assert made.outputs[0].target == photos / "a_clean.jpg"
    made = plan([real(photos / "a.jpg")], Destination(), name="{stem}!")
    assert made.outputs[0].target == photos / "a!.jpg"
    monkeypatch.chdir(photos)
    assert destination([Path()], None).exclude == (Path(f"{photos}-clean"),)
    monkeypatch.chdir(photos / "sub")
    assert destination([Path("..")], None).exclude == (Path(f"{photos}-clean"),)
    with pytest.raises(UsageError):
        destination([Path("/")], None)


def test_one_file_gets_the_name_given(tmp_path: Path) -> None:
    where = Destination(file=tmp_path / "new.png")
    made = plan([photo("x.jpg", None)], where)
    assert [p.target for p in made.outputs] == [tmp_path / "new.png"]
    with pytest.raises(UsageError):
        plan([photo("x.jpg", None)], where, name="{stem}")
    with pytest.raises(UsageError):
        plan([photo("x.jpg", None), photo("y.jpg", None)], where)
    assert plan([], where).outputs == ()


def test_trees_are_mirrored_and_merged() -> None:
    sources = [photo("a/b.jpg", "/n/p"), photo("a/c.jpg", "/n/q"), photo("/n/z/d.jpg", None)]
    made = plan(sources, Destination(folder=OUT))
    assert list(targets(made).values()) == ["a/b.jpg", "a/c.jpg", "d.jpg"]
    assert made.folders == (OUT / "a", OUT)


# Names


def test_a_name_stays_as_it_is() -> None:
    kept = ["IMG.JPG", "a.b.jpeg", "holiday.2024", "no suffix", ".jpg", "{stem}.jpg", "\udce9.jpg"]
    assert set(names(*kept)) == set(kept)


def test_a_change_of_format_changes_the_suffix() -> None:
    assert names("a.jpg", to=WEBP) == ["a.webp"]
    assert names("a.JPG", "b.jpeg", "c.png", to=JPEG) == ["a.JPG", "b.jpeg", "c.jpg"]
    assert names("holiday.2024", to=WEBP) == ["holiday.2024.webp"]
    assert names("scan", to=WEBP) == ["scan.webp"]
    assert names("a.jpg", to=()) == ["a.jpg"]


@pytest.mark.parametrize(
    ("template", "expected"),
    [
        ("{stem}_clean", "x_clean.webp"),
        ("{stem}{suffix}", "x.webp"),
        ("{stem}_1.{suffix}", "x_1.webp"),
        ("clean_{name}", "clean_x.webp"),
        ("{suffix}_{stem}", ".webp_x.webp"),
        ("{parent}-{stem}", "sub-x.webp"),
        ("done/{stem}", "done/x.webp"),
        ("{index:03d}_{stem}", "001_x.webp"),
        ("{index}", "1.webp"),
        ("{{{stem}}}", "{x}.webp"),
        ("fixed", "fixed.webp"),
    ],
)
def test_templates(template: str, expected: str) -> None:
    assert names("sub/x.jpg", name=template, to=WEBP) == [f"sub/{expected}"]


@pytest.mark.parametrize(
    "template",
    [
        *("", "{", "{}", "{0}", "{stem.__class__}", "{stem!r}", "{stem:>9}", "{index:99999999}"),
        *("{camera}", "../{stem}", "a/../../{stem}", "/{stem}", "{stem}/", "a//{stem}", "./{stem}"),
        *("a\\{stem}", "\0{stem}", "{stem}.jpg", "{stem}.PNG", "{stem}/..", "{stem[0]}"),
    ],
)
def test_templates_that_cannot_be_used(template: str) -> None:
    with pytest.raises(UsageError):
        names("x.jpg", name=template)


def test_a_template_without_fields_is_for_one_photo() -> None:
    with pytest.raises(UsageError):
        names("a.jpg", "b.jpg", name="same")


def test_a_photos_own_name_cannot_lead_out() -> None:
    made = plan([photo("..", None)], Destination(folder=OUT), name="{stem}/{stem}")
    assert not made.outputs
    assert isinstance(made.problems[0].error, UsageError)


# Collisions


def test_one_name_from_two_formats_keeps_the_source_suffix() -> None:
    made = names("a.png", "a.jpg", "a.tif", "b.png", to=WEBP)
    assert made == ["a.webp", "a.png.webp", "a.tif.webp", "b.webp"]
    assert names("a.jpg", "a.webp", to=WEBP) == ["a.jpg.webp", "a.webp"]


def test_names_that_differ_only_in_case_or_composition_are_kept_apart() -> None:
    assert names("a.JPG", "A.jpg") == ["A.jpg", "a (photos).JPG"]
    assert names("caf\u00e9.jpg", "cafe\u0301.jpg") == ["cafe\u0301.jpg", "caf\u00e9 (photos).jpg"]
    three = names("a.jpg", "A.jpg", "a.JPG", "A.JPG")
    assert three == ["A.JPG", "A (photos).jpg", "a (2).JPG", "a (3).jpg"]


def test_folders_that_differ_only_in_case_are_one_place() -> None:
    assert names("D/x.jpg", "d/x.jpg") == ["D/x.jpg", "d/x (photos).jpg"]


def test_merged_trees_name_the_folder_a_photo_came_from() -> None:
    sources = [photo("DCIM/1.jpg", f"/n/card{n}") for n in (2, 1, 3)]
    expected = ["DCIM/1.jpg", "DCIM/1 (card2).jpg", "DCIM/1 (card3).jpg"]
    assert names(*sources) == expected
    named = [photo("/n/2023/x.jpg", None), photo("/n/2024/x.jpg", None)]
    assert names(*named) == ["x.jpg", "x (2024).jpg"]


def test_giving_way_never_takes_a_name_from_another() -> None:
    sources = [photo("1.jpg", "/n/p"), photo("1.jpg", "/n/q"), photo("1 (q).jpg", "/n/p")]
    assert names(*sources) == ["1 (q).jpg", "1.jpg", "1 (2).jpg"]


def test_a_file_never_takes_the_place_of_a_folder() -> None:
    sources = [photo("x.jpg", "/n/p"), photo("x.jpg/y.jpg", "/n/q")]
    assert names(*sources) == ["x (p).jpg", "x.jpg/y.jpg"]


def test_renaming_is_told() -> None:
    made = plan([photo("a.jpg"), photo("A.jpg")], Destination(folder=OUT))
    assert [bool(p.note) for p in made.outputs] == [False, True]


def test_two_spellings_of_one_folder_collide(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    sources = [photo(f"{tmp_path}/real/a.jpg", None), photo(f"{tmp_path}/link/a.png", None)]
    made = plan(sources, Destination(), suffixes=lambda _: WEBP)
    resolved = {p.target.resolve() for p in made.outputs}
    assert len(resolved) == 2


# Never an input


def test_an_input_is_never_a_target(tmp_path: Path) -> None:
    a, b = tmp_path / "a.jpg", tmp_path / "b.jpg"
    a.write_bytes(b"a")
    b.write_bytes(b"b")
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.jpg").hardlink_to(a)
    (out / "b.jpg").symlink_to(b)
    made = plan([real(a), real(b)], Destination(folder=out))
    assert not made.outputs
    assert all(isinstance(p.error, OutputExists) for p in made.problems)
    in_place = plan([real(a, tmp_path), real(b, tmp_path)], Destination(folder=tmp_path))
    assert len(in_place.problems) == 2
    one = plan([real(a)], Destination(file=tmp_path / "out/../a.jpg"))
    assert len(one.problems) == 1


def test_a_file_in_the_way_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "sub").touch()
    sources = [photo("sub/deep/a.jpg"), photo("b.jpg")]
    made = plan(sources, Destination(folder=tmp_path))
    assert [p.target.name for p in made.outputs] == ["b.jpg"]
    (problem,) = made.problems
    assert isinstance(problem.error, OutputError)
    assert problem.error.path == tmp_path / "sub"


def test_a_name_too_long_is_told_beforehand() -> None:
    made = plan([photo("x" * 250 + ".jpg")], Destination(folder=OUT), name="{stem}_clean")
    assert isinstance(made.problems[0].error, OutputError)


# All of it, for any names

letters = st.sampled_from("aA\u00e9\u00c9\u0301e1 .-{}\u00df\n\udce9(2)")
stems = st.text(letters, min_size=1, max_size=4).filter(lambda s: s not in {".", ".."})
endings = st.sampled_from(["", ".jpg", ".JPG", ".png", ".webp", ".2024"])
files = st.builds(lambda stem, ending: stem + ending, stems, endings)
trees = st.builds(
    lambda root, folders, name: photo("/".join([*folders, name]), f"/nonexistent/{root}"),
    st.sampled_from(["p", "q", "x/p"]),
    st.lists(stems, max_size=2),
    files,
)
templates = st.sampled_from([None, "{stem}_c", "{parent}", "s/{stem}", "{name}", "{stem}/{index}"])


@settings(max_examples=150)
@given(
    st.lists(trees, max_size=25, unique_by=lambda s: s.path),
    templates,
    st.sampled_from([None, WEBP, JPEG]),
    st.randoms(use_true_random=False),
)
def test_any_plan_is_free_of_collisions_inside_and_the_same_in_any_order(
    sources: list[Source],
    name: str | None,
    to: Sequence[str] | None,
    shuffle: random.Random,
) -> None:
    suffixes = None if to is None else lambda _: to
    made = plan(sources, Destination(folder=OUT), name=name, suffixes=suffixes)
    assert len(made.outputs) + len(made.problems) == len(sources)
    keys = {unicodedata.normalize("NFC", str(p.target)).casefold() for p in made.outputs}
    assert len(keys) == len(made.outputs)
    for planned in made.outputs:
        assert ".." not in planned.target.parts
        assert planned.target.is_relative_to(OUT)
        folder = unicodedata.normalize("NFC", str(planned.target.parent)).casefold()
        assert folder not in keys
    shuffle.shuffle(sources)
    again = plan(sources, Destination(folder=OUT), name=name, suffixes=suffixes)
    assert again.outputs == made.outputs


@settings(max_examples=60)
@given(st.lists(trees, max_size=15, unique_by=lambda s: s.path))
def test_a_photo_without_a_rival_keeps_its_name(sources: list[Source]) -> None:
    made = plan(sources, Destination(folder=OUT))
    for planned in made.outputs:
        if not planned.note:
            assert planned.target == OUT / planned.source.relative


def test_twenty_thousand_photos_are_planned_quickly() -> None:
    sources = [photo(f"{n % 50}/IMG_{n}.jpg") for n in range(20_000)]
    start = time.process_time()
    assert len(plan(sources, Destination(folder=OUT)).outputs) == 20_000
    assert time.process_time() - start < 3.0


def test_twenty_thousand_photos_that_want_one_name_are_planned_quickly() -> None:
    sources = [photo(f"{n}.jpg") for n in range(20_000)]
    start = time.process_time()
    assert len(set(names(*sources, name="{parent}"))) == 20_000
    assert time.process_time() - start < 6.0


def test_a_target_of_an_earlier_plan_is_given_way_to() -> None:
    earlier = {target_key(OUT / "A.jpg"), target_key(OUT / "a (photos).jpg")}
    made = plan([photo("a.jpg")], Destination(folder=OUT), claimed=earlier.__contains__)
    assert list(targets(made).values()) == ["a (2).jpg"]
    free = plan([photo("b.jpg")], Destination(folder=OUT), claimed=earlier.__contains__)
    assert list(targets(free).values()) == ["b.jpg"]


def test_a_folder_that_is_made_meanwhile_is_not_in_the_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def asked(path: Path) -> bool:
        found = path.is_dir()
        (tmp_path / "out").mkdir(exist_ok=True)
        return found

    monkeypatch.setattr("denoisetool.files.targets.is_folder", asked)
    found = plan([photo("a.jpg")], Destination(folder=tmp_path / "out"))
    assert not found.problems
