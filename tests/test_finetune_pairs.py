from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.TiffImagePlugin import IFDRational

from denoisetool.errors import NoInputError
from denoisetool.finetune import pairs
from denoisetool.formats.exif import Shot, shot


def _photo(path: Path, seed: int = 0, exif: Image.Exif | None = None, scene: int = 0) -> Path:
    """A small photo: a scene that its number tells, with noise of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    coarse = np.random.default_rng(scene).integers(40, 220, (6, 8, 3)).astype(np.uint8)
    picture = np.asarray(Image.fromarray(coarse).resize((320, 240), Image.Resampling.BICUBIC))
    noise = np.random.default_rng((scene, seed)).normal(0, 8, picture.shape)
    image = Image.fromarray(np.clip(picture + noise, 0, 255).astype(np.uint8))
    image.save(path, quality=92, exif=exif or Image.Exif())
    return path


def _exif(
    taken: datetime, camera: tuple[str, str] = ("Sample", "SC-1"), iso: int = 3200,
    seconds: tuple[int, int] = (1, 30), fraction: str = "",
) -> Image.Exif:  # fmt: skip
    exif = Image.Exif()
    exif[271], exif[272] = camera
    how = exif.get_ifd(34665)
    how[36867] = taken.strftime("%Y:%m:%d %H:%M:%S")
    how[34855], how[33434] = iso, IFDRational(*seconds)
    if fraction:
        how[37521] = fraction
    return exif


def _names(found: pairs.Found) -> dict[str, list[str]]:
    return {scene.name: [p.name for p in scene.frames] for scene in found.scenes}


def test_suffixes(tmp_path: Path) -> None:
    for name in ("sea_a", "sea_b", "hill-1", "hill-2", "hill-3", "alone_a", "IMG_1234"):
        _photo(tmp_path / f"{name}.jpg")
    (tmp_path / "notes.txt").write_text("no photo")
    found = pairs.find(tmp_path)
    assert _names(found) == {"sea": ["sea_a.jpg", "sea_b.jpg"],
                             "hill": ["hill-1.jpg", "hill-2.jpg", "hill-3.jpg"]}  # fmt: skip
    assert {name: reason for name, _, reason in found.rejected} == {
        "alone": "it has no partner", "img_1234": "it has no partner",
    }  # fmt: skip
    assert not found.supervised
    assert len(found.scenes[1].pairs()) in (2, 6)
    assert sorted(len(scene.pairs()) for scene in found.scenes) == [2, 6]


def test_suffixes_that_tell_noisy_and_clean(tmp_path: Path) -> None:
    for name in ("sea_noisy", "sea_clean", "hill_1", "hill_2", "hill_gt"):
        _photo(tmp_path / f"{name}.jpg")
    found = pairs.find(tmp_path)
    assert found.supervised
    assert {s.name: (len(s.frames), s.clean.name if s.clean else None) for s in found.scenes} == {
        "sea": (1, "sea_clean.jpg"), "hill": (2, "hill_gt.jpg"),
    }  # fmt: skip
    assert all(target == s.clean for s in found.scenes for _, target in s.pairs())


def test_two_folders(tmp_path: Path) -> None:
    for name in ("a/one.jpg", "b/one.jpg", "a/two.jpg", "b/two.png", "b/three.jpg"):
        _photo(tmp_path / name, seed=ord(name[0]), scene=len(name) + ord(name[3]))
    found = pairs.find(tmp_path)
    assert sorted(scene.name for scene in found.scenes) == ["one", "two"]
    assert "a/ and b/" in found.how
    assert [name for name, _, _ in found.rejected] == ["three.jpg"]


@pytest.mark.parametrize(("noisy", "clean"), [("noisy", "clean"), ("noisy", "gt")])
def test_noisy_and_clean_folders(tmp_path: Path, noisy: str, clean: str) -> None:
    _photo(tmp_path / noisy / "01_noise.jpg")
    _photo(tmp_path / clean / "01_gt.jpg")
    found = pairs.find(tmp_path)
    assert found.supervised
    (scene,) = found.scenes
    assert [p.parent.name for p in scene.frames] == [noisy]
    assert scene.clean is not None
    assert scene.clean.parent.name == clean


def test_a_folder_for_each_scene(tmp_path: Path) -> None:
    for name in ("sea/x.jpg", "sea/y.jpg", "hill/p.jpg", "hill/q.jpg", "hill/r.jpg", "one/z.jpg"):
        _photo(tmp_path / name)
    found = pairs.find(tmp_path)
    assert {name: len(frames) for name, frames in _names(found).items()} == {"sea": 2, "hill": 3}
    assert [name for name, _, _ in found.rejected] == ["one"]


def test_two_scenes_whose_photos_have_the_same_names(tmp_path: Path) -> None:
    for scene, folder in enumerate(("sea", "hill")):
        for index in range(2):
            _photo(tmp_path / folder / f"{index}.jpg", seed=index, scene=scene)
    assert _names(pairs.find(tmp_path)) == {
        "hill": ["0.jpg", "1.jpg"], "sea": ["0.jpg", "1.jpg"],
    }  # fmt: skip


def test_more_frames_than_are_of_use_are_told(tmp_path: Path) -> None:
    for index in range(pairs.MOST_FRAMES + 2):
        _photo(tmp_path / "sea" / f"{index}.jpg", seed=index)
    _photo(tmp_path / "hill" / "1.jpg", scene=1)
    found = pairs.find(tmp_path)
    assert len(found.scenes[0].frames) == pairs.MOST_FRAMES
    assert sum("frames of this scene already" in reason for _, _, reason in found.rejected) == 2


def test_bursts(tmp_path: Path) -> None:
    start = datetime(2024, 5, 1, 12, 0, 0)
    shots = [  # name, seconds after the start, scene, more
        ("p1", 0, 1, {}), ("p2", 1, 1, {}), ("p3", 2, 1, {"iso": 800}),
        ("p4", 60, 2, {}), ("p5", 61, 3, {}), ("p6", 200, 4, {}),
        ("p7", 300, 5, {}), ("p8", 301, 5, {"camera": ("Other", "X")}),
        ("p9", 400, 6, {}), ("p10", 401, 6, {"seconds": (1, 8)}),
        ("p11", 500, 7, {}), ("p12", 501, 7, {}), ("p13", 502, 8, {}),
    ]  # fmt: skip
    for name, after, scene, more in shots:
        exif = _exif(start + timedelta(seconds=after), **more)  # type: ignore[arg-type]
        _photo(tmp_path / f"{name}.jpg", seed=after, exif=exif, scene=scene)
    _photo(tmp_path / "untold.jpg")
    found = pairs.find(tmp_path, bursts=True)
    assert sorted(_names(found).values()) == [["p1.jpg", "p2.jpg"], ["p11.jpg", "p12.jpg"]]
    reasons = {name: reason for name, _, reason in found.rejected}
    assert reasons["untold.jpg"] == "it does not tell when it was taken"
    assert reasons["p13.jpg"] == "no other photo was taken like it then"
    with pytest.raises(NoInputError, match="by their names"):
        pairs.find(tmp_path)


def test_what_is_no_folder_of_pairs_is_told(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match="no such folder"):
        pairs.find(tmp_path / "none")
    with pytest.raises(NoInputError, match="no photo"):
        pairs.find(tmp_path)
    one = _photo(tmp_path / "one.jpg")
    with pytest.raises(NoInputError, match="one photo here; it takes two"):
        pairs.find(tmp_path)
    with pytest.raises(NoInputError, match="is a file"):
        pairs.find(one)
    _photo(tmp_path / "two.jpg")
    with pytest.raises(NoInputError, match="no two of the 2 photos") as caught:
        pairs.find(tmp_path)
    assert "scene1_a.jpg" in caught.value.hint
    with pytest.raises(NoInputError, match="by time, camera"):
        pairs.find(tmp_path, bursts=True)


def test_what_exif_tells_of_a_shot() -> None:
    taken = datetime(2024, 5, 1, 12, 0, 3)
    exif = _exif(taken, ("NIKON CORPORATION", "NIKON D40"), 1600, (1, 8), "25")
    found = shot(exif.tobytes()[6:])
    assert found == Shot("NIKON D40", 1600, 0.125, taken + timedelta(seconds=0.25))
    assert shot(None) == shot(b"junk") == shot(exif.tobytes()[6:20]) == Shot()
