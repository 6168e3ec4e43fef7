"""Walking: what is found, what is skipped, what is told, and in which order."""

import os
import random
import socket
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from denoisetool import errors
from denoisetool.files import (
    Found,
    Problem,
    Skipped,
    Source,
    fold,
    look,
    natural_key,
    split_suffix,
    walk,
)

JPEG = b"\xff\xd8\xff" + b"jpeg" * 20
PNG = b"\x89PNG" + b"png" * 20


def sniff(head: bytes) -> str | None:
    assert head
    assert len(head) <= 65_536
    kinds = {b"\xff\xd8\xff": "jpeg", b"\x89PNG": "png", b"II*\0": "tiff"}
    return next((kind for start, kind in kinds.items() if head.startswith(start)), None)


def unsupported(head: bytes) -> str | None:
    if head.startswith(b"GIF89a"):
        return "GIF animation"
    return "camera raw" if head.startswith(b"II*\0raw") else None


def found(*inputs: Path, exclude: Sequence[Path] = ()) -> list[Found]:
    return list(walk(inputs, sniff=sniff, unsupported=unsupported, exclude=exclude))


def places(items: list[Found]) -> list[str]:
    return [str(item.relative) for item in items if isinstance(item, Source)]


def problems(items: list[Found]) -> dict[str, errors.DenoiseError]:
    return {item.path.name: item.error for item in items if isinstance(item, Problem)}


def skipped(items: list[Found]) -> dict[str, str]:
    return {item.path.name: item.reason for item in items if isinstance(item, Skipped)}


def put(path: Path, data: bytes = JPEG) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def test_a_folder_is_mirrored_in_natural_order(tmp_path: Path) -> None:
    for name in ("img10.jpg", "img2.jpg", "IMG1.jpg", "b/x.jpg", "b10/x.jpg", "b2/deep/er/x.jpg"):
        put(tmp_path / name)
    items = found(tmp_path)
    assert places(items) == [
        *("IMG1.jpg", "img2.jpg", "img10.jpg"),
        *("b/x.jpg", "b2/deep/er/x.jpg", "b10/x.jpg"),
    ]
    first = items[0]
    assert isinstance(first, Source)
    status = (tmp_path / "IMG1.jpg").stat()
    assert (first.path, first.root, first.format) == (tmp_path / "IMG1.jpg", tmp_path, "jpeg")
    assert (first.size, first.mtime_ns) == (status.st_size, status.st_mtime_ns)
    assert (first.device, first.inode) == (status.st_dev, status.st_ino)


def test_a_named_file_is_taken_whatever_its_name(tmp_path: Path) -> None:
    hidden = put(tmp_path / ".hidden")
    (item,) = found(hidden)
    assert isinstance(item, Source)
    assert (item.relative, item.root) == (Path(".hidden"), None)


def test_named_files_that_cannot_be_done_are_problems(tmp_path: Path) -> None:
    put(tmp_path / "empty.jpg", b"")
    put(tmp_path / "text.jpg", b"hello")
    put(tmp_path / "notes.txt", b"hello")
    put(tmp_path / "anim.gif", b"GIF89a...")
    os.mkfifo(tmp_path / "pipe")
    names = ("empty.jpg", "text.jpg", "notes.txt", "anim.gif", "pipe", "gone.jpg", "x" * 300)
    told = problems(found(*(tmp_path / name for name in names)))
    assert list(told) == list(names)
    unsupported_names = {n for n, e in told.items() if isinstance(e, errors.UnsupportedPhoto)}
    assert unsupported_names == {"notes.txt", "anim.gif", "pipe"}
    assert "empty" in told["empty.jpg"].what
    assert "no such file" in told["gone.jpg"].what
    assert "GIF animation" in told["anim.gif"].what
    assert all(error.path == tmp_path / name for name, error in told.items())


def test_a_name_that_no_system_call_takes_is_a_problem() -> None:
    assert isinstance(problems(found(Path("a\0b.jpg")))["a\0b.jpg"], errors.UnreadablePhoto)


def test_junk_inside_a_folder_is_skipped_quietly(tmp_path: Path) -> None:
    junk = ["._a.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "notes.txt", "empty", "Icon\r"]
    junk += [".denoisetool-host-123-0123456789abcdef.part"]
    for name in junk:
        put(tmp_path / name, b"" if name == "empty" else b"junk")
    for folder in ("@eaDir", "__MACOSX", ".git"):
        put(tmp_path / folder / "a.jpg")
        junk.append(folder)
    put(tmp_path / "a.jpg")
    items = found(tmp_path)
    assert places(items) == ["a.jpg"]
    assert not problems(items)
    assert set(skipped(items)) == set(junk)
    assert "unfinished" in skipped(items)[".denoisetool-host-123-0123456789abcdef.part"]


def test_content_decides_not_the_name(tmp_path: Path) -> None:
    put(tmp_path / "photo", JPEG)
    put(tmp_path / "wrong.jpg", PNG)
    assert places(found(tmp_path)) == ["photo", "wrong.jpg"]


def test_what_the_user_takes_for_a_photo_is_told(tmp_path: Path) -> None:
    put(tmp_path / "a.JPG", b"")
    put(tmp_path / "b.tiff", b"text")
    put(tmp_path / "c.gif", b"GIF89a")
    put(tmp_path / "d.dat", b"II*\0raw")  # a refusal wins over a format that also knows it
    put(tmp_path / "e.tif", b"II*\0yes")
    items = found(tmp_path)
    assert places(items) == ["e.tif"]
    told = problems(items)
    assert set(told) == {"a.JPG", "b.tiff", "c.gif", "d.dat"}
    assert "camera raw" in told["d.dat"].what
    assert all(error.exit_code == 1 for error in told.values())


def test_links(tmp_path: Path) -> None:
    real = put(tmp_path / "photos/z_real/a.jpg").parent
    photos = tmp_path / "photos"
    (photos / "a_link").symlink_to(real, target_is_directory=True)
    (photos / "up").symlink_to(tmp_path, target_is_directory=True)
    (real / "loop").symlink_to(real, target_is_directory=True)
    (photos / "file.jpg").symlink_to(real / "a.jpg")
    (photos / "dangling.jpg").symlink_to("nowhere")
    (photos / "self").symlink_to("self")
    put(tmp_path / "beside.jpg")
    items = found(photos)
    # The real folder goes by its own name; the link up leads to what was not seen before.
    assert places(items) == ["file.jpg", "z_real/a.jpg", "up/beside.jpg"]
    told = problems(items)
    assert set(told) == {"dangling.jpg", "self"}
    assert "not there" in told["dangling.jpg"].what


def test_a_folder_or_file_is_listed_once(tmp_path: Path) -> None:
    a, b = put(tmp_path / "p/a.jpg"), put(tmp_path / "p/sub/b.jpg")
    p, sub = tmp_path / "p", tmp_path / "p/sub"
    assert places(found(p, sub, p, b)) == ["a.jpg", "sub/b.jpg"]
    assert places(found(sub, p)) == ["b.jpg", "a.jpg"]
    assert places(found(a, a, tmp_path / "p/sub/../a.jpg", p)) == ["a.jpg", "sub/b.jpg"]
    (tmp_path / "alias").symlink_to(p)
    assert places(found(tmp_path / "alias", p)) == ["a.jpg", "sub/b.jpg"]


def test_hard_links_are_photos_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "b.jpg").hardlink_to(put(tmp_path / "a.jpg"))
    assert places(found(tmp_path)) == ["a.jpg", "b.jpg"]


def test_the_output_folder_is_never_entered(tmp_path: Path) -> None:
    clean = put(tmp_path / "clean/old.jpg").parent
    put(tmp_path / "a.jpg")
    put(clean / "sub/old.jpg")
    (tmp_path / "link").symlink_to(clean / "sub")
    assert places(found(tmp_path, exclude=[clean])) == ["a.jpg"]
    assert places(found(clean, exclude=[clean])) == []
    assert places(found(clean / "sub", exclude=[clean])) == ["old.jpg"]
    assert places(found(tmp_path, exclude=[tmp_path / "not/there"])) == [
        *("a.jpg", "clean/old.jpg", "clean/sub/old.jpg")
    ]


def test_an_output_folder_around_the_input_hides_nothing(tmp_path: Path) -> None:
    put(tmp_path / "photos/a.jpg")
    put(tmp_path / "other/b.jpg")
    (tmp_path / "photos/link").symlink_to(tmp_path / "other")
    assert places(found(tmp_path / "photos", exclude=[tmp_path])) == ["a.jpg", "link/b.jpg"]


def test_pipes_sockets_and_devices_are_never_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "null.jpg").symlink_to("/dev/null")
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket.jpg")
        items = found(tmp_path)
    assert skipped(items) == {
        "pipe.jpg": "named pipe",
        "socket.jpg": "socket",
        "null.jpg": "device",
    }


def test_no_permission_is_told(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg").chmod(0)
    if os.access(tmp_path / "a.jpg", os.R_OK):
        pytest.skip("this user reads everything")
    (tmp_path / "locked").mkdir(mode=0)
    told = problems(found(tmp_path))
    assert set(told) == {"a.jpg", "locked"}
    assert all("permission" in error.what for error in told.values())


def test_unreadable_files_and_folders_are_told_for_root_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(tmp_path / "a.jpg")
    put(tmp_path / "locked/b.jpg")
    put(tmp_path / "z/c.jpg")
    scandir, open_file = os.scandir, os.open

    def refuse_folder(path: Path) -> object:
        if path.name == "locked":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    def refuse_file(path: Path, flags: int) -> int:
        if path.name == "a.jpg":
            raise OSError(5, "Input/output error")
        return open_file(path, flags)

    monkeypatch.setattr(os, "scandir", refuse_folder)
    monkeypatch.setattr(os, "open", refuse_file)
    items = found(tmp_path)
    assert places(items) == ["z/c.jpg"]
    told = problems(items)
    assert "permission" in told["locked"].what
    assert "Input/output error" in told["a.jpg"].what


def test_files_that_vanish_meanwhile_are_no_problem(tmp_path: Path) -> None:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        put(tmp_path / name)
    items: list[Found] = []
    for item in walk([tmp_path], sniff=sniff, unsupported=unsupported):
        items.append(item)
        (tmp_path / "b.jpg").unlink(missing_ok=True)
    assert places(items) == ["a.jpg", "c.jpg"]
    assert skipped(items) == {"b.jpg": "gone meanwhile"}


@pytest.mark.parametrize(
    "name",
    [
        *("new\nline.jpg", " spaces .jpg", "-rf.jpg", "caf\u00e9.jpg", "cafe\u0301.jpg"),
        *(os.fsdecode(b"latin-\xe9.jpg"), "x" * 251 + ".jpg", "\U0001f4f7.jpg", "a\\b.jpg", "{x}"),
    ],
)
def test_odd_names(tmp_path: Path, name: str) -> None:
    put(tmp_path / name)
    assert places(found(tmp_path)) == [name]
    assert places(found(tmp_path / name)) == [name]


def test_a_tree_deeper_than_a_path_may_be_long(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg")
    here = os.open(tmp_path, os.O_RDONLY)
    for _ in range(20):
        os.mkdir("d" * 250, dir_fd=here)
        below = os.open("d" * 250, os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(here)
    items = found(tmp_path)
    assert places(items) == ["a.jpg"]
    (error,) = problems(items).values()
    assert "too long" in error.what


def test_many_files_take_little_time(tmp_path: Path) -> None:
    source = put(tmp_path / "photos/0/0.jpg")
    for folder in range(4):
        (tmp_path / f"photos/{folder}").mkdir(exist_ok=True)
        for number in range(500):
            target = tmp_path / f"photos/{folder}/{number}.jpg"
            if target != source:
                target.hardlink_to(source)
    start = time.process_time()
    assert len(places(found(tmp_path / "photos"))) == 2000
    assert time.process_time() - start < 1.0


names = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=12)


@given(st.lists(names, unique=True), st.randoms(use_true_random=False))
def test_natural_order_is_total(some: list[str], shuffle: random.Random) -> None:
    ordered = sorted(some, key=natural_key)
    shuffle.shuffle(some)
    assert sorted(some, key=natural_key) == ordered


@given(names)
def test_names_fold_to_one_fixed_point(name: str) -> None:
    assert fold(fold(name)) == fold(name)
    assert "".join(split_suffix(name)) == name


def test_names_that_a_disk_may_take_for_one_fold_alike() -> None:
    assert fold("CAF\u00c9.JPG") == fold("cafe\u0301.jpg")
    assert fold("Stra\u00dfe") == fold("STRASSE")
    assert fold("a.jpg") != fold("b.jpg")


def test_only_the_ending_of_a_picture_is_a_suffix() -> None:
    assert split_suffix("a.b.JPG") == ("a.b", ".JPG")
    assert split_suffix("holiday.2024") == ("holiday.2024", "")
    assert split_suffix(".jpg") == (".jpg", "")
    assert split_suffix("raw.CR2") == ("raw", ".CR2")


def test_what_is_known_is_not_opened(tmp_path: Path) -> None:
    old, new = put(tmp_path / "old.jpg"), put(tmp_path / "sub" / "new.jpg")
    asked: list[Path] = []

    def known(path: Path, status: os.stat_result) -> bool:
        assert status.st_size == len(JPEG)
        asked.append(path)
        return path == old

    items = list(walk([tmp_path], sniff=sniff, unsupported=unsupported, known=known))
    assert places(items) == ["sub/new.jpg"]
    assert skipped(items) == {"old.jpg": "known"}
    assert asked == [old, new]


def test_subfolders_can_be_left_out(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg")
    put(tmp_path / "sub" / "b.jpg")
    (tmp_path / "link").symlink_to(tmp_path / "sub")
    items = list(walk([tmp_path], sniff=sniff, unsupported=unsupported, recursive=False))
    assert places(items) == ["a.jpg"]


@pytest.mark.parametrize(
    "name", ["a.jpg", "b.txt", ".hidden.jpg", "out/made.jpg", "way/made.jpg", ".git/x.jpg", "gone"]
)
def test_one_look_says_what_a_walk_says(name: str, tmp_path: Path) -> None:
    for each in ("a.jpg", ".hidden.jpg", "out/made.jpg", ".git/x.jpg"):
        put(tmp_path / each)
    put(tmp_path / "b.txt", b"text")
    (tmp_path / "way").symlink_to(tmp_path / "out")
    exclude = [tmp_path / "out"]
    one = look(tmp_path / name, tmp_path, sniff=sniff, unsupported=unsupported, exclude=exclude)
    walked = found(tmp_path, exclude=exclude)
    assert isinstance(one, Source) == (name in places(walked))
    assert not isinstance(one, Problem)
    if isinstance(one, Source):
        assert one in walked
