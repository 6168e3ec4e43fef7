"""`--scale`: enlarging from the command line, with tiny models of random weights."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import ExifTags, Image

from denoisetool import bicubic, formats
from tests import tiny
from tests.conftest import Cli
from tests.e2e import pictures, processes
from tests.e2e.pictures import Array


@pytest.fixture
def upscalers(home: Path) -> Path:
    """Models for both scales in the user's registry."""
    shelf = home / "data" / "models"
    for scale in (2, 4):
        tiny.upscaler(shelf / f"upscale-x{scale}", scale)
    return shelf


def _open(path: Path) -> Image.Image:
    with Image.open(path) as image:
        image.load()
        return image


def _plain(pixels: Array, scale: int) -> Array:
    return bicubic.enlarged(pixels, scale, np.iinfo(pixels.dtype).max)


def test_photos_are_enlarged_by_the_model_of_that_scale(
    photos: Path, tmp_path: Path, upscalers: Path, cli: Cli
) -> None:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif).update({40962: 64, 40963: 48})
    (photos / "a.jpg").write_bytes(pictures.jpeg(seed=1, exif=exif.tobytes(), dpi=(300, 300)))
    run = cli(photos, "-o", tmp_path / "big", "--scale", "2", "--json")
    assert run.code == 0, run.err
    (start,) = run.of("start")
    assert (start["model"], start["scale"]) == ("upscale-x2", 2)
    for event in run.of("photo"):
        assert (event["scale"], event["width"], event["height"]) == (2, 128, 96)
        assert event["megapixels"] == pytest.approx(64 * 48 / 1e6)
        assert event["noise"] > 0  # found by the model that goes first
        assert event["shift_mean"] is not None
        assert not event["clean"]
    image = _open(tmp_path / "big" / "a.jpg")
    assert image.size == (128, 96)
    assert image.info["dpi"] == (300, 300)
    inner = image.getexif().get_ifd(ExifTags.IFD.Exif)
    assert (inner[40962], inner[40963]) == (128, 96)
    assert _open(tmp_path / "big" / "sub" / "c.jpg").size == (128, 96)
    small = pictures.upright(photos / "b.png")
    large = pictures.upright(tmp_path / "big" / "b.png").astype(int)
    difference = np.abs(large - _plain(small, 2))
    assert 0 < difference.mean() < 20  # random weights, but taken from the enlargement
    assert "enlarged 2 times to 128 x 96" in run.err


def test_a_named_model_uses_its_own_scale(photos: Path, tmp_path: Path, upscalers: Path,
                                          cli: Cli) -> None:  # fmt: skip
    one = photos / "b.png"
    run = cli(one, "-o", tmp_path / "x4.png", "--model", "upscale-x4", "--json")
    assert run.code == 0, run.err
    assert _open(tmp_path / "x4.png").size == (256, 192)
    for words, told in (
        (["--model", "upscale-x4", "--scale", "2"],
         "model 'upscale-x4' enlarges 4 times, and scale is 2 (use --model upscale-x2; or"),
        (["--model", "upscale-x4", "--scale", "1"], "scale is 1 (use --model fast; or"),
        (["--model", "fast", "--scale", "4"],
         "model 'fast' does not enlarge, and scale is 4 (use --model upscale-x4; or use a --scale"),
        (["--scale", "2", "--strength", "1.5"], "takes a second pass, which model 'upscale-x2'"),
        (["--scale", "3"], "scale must be one of 1, 2, 4, not 3"),
    ):  # fmt: skip
        run = cli(one, "-o", tmp_path / "none.png", *words)
        assert (run.code, run.out) == (2, "")
        assert told in run.err
        assert not (tmp_path / "none.png").exists()


def test_auto_at_scale_1_never_enlarges(photos: Path, tmp_path: Path, upscalers: Path,
                                        cli: Cli) -> None:  # fmt: skip
    run = cli(photos / "b.png", "-o", tmp_path / "out.png", "--scale", "1", "--json")
    assert run.of("start")[0]["model"] == "fast"
    (event,) = run.of("photo")
    assert (event["scale"], event["width"], event["noise"] > 0) == (1, 64, True)


@pytest.mark.usefixtures("only_fast")
def test_no_model_of_that_scale(photos: Path, tmp_path: Path, home: Path, cli: Cli) -> None:
    tiny.upscaler(home / "data" / "models" / "upscale-x2", 2)
    run = cli(photos, "-o", tmp_path / "big", "--scale", "4")
    assert run.code == 4
    assert "no model that enlarges 4 times is installed (`denoisetool models install" in run.err


@pytest.mark.usefixtures("only_fast")
def test_a_model_of_another_name_does_too(photos: Path, tmp_path: Path, home: Path,
                                          cli: Cli) -> None:  # fmt: skip
    shelf = home / "data" / "models"
    tiny.upscaler(shelf / "upscale-x2", 4)  # the card decides, not the name
    tiny.upscaler(shelf / "larger", 2)
    run = cli(photos / "b.png", "-o", tmp_path / "out.png", "--scale", "2", "--json")
    assert run.of("start")[0]["model"] == "larger"


def test_strength_zero_is_the_plain_enlargement(photos: Path, tmp_path: Path, upscalers: Path,
                                                cli: Cli) -> None:  # fmt: skip
    run = cli(photos / "b.png", "-o", tmp_path / "out.png", "--scale", "4", "-s", "0", "--json")
    assert run.of("photo")[0]["changed"]
    wanted = _plain(pictures.upright(photos / "b.png"), 4)
    np.testing.assert_array_equal(pictures.upright(tmp_path / "out.png"), wanted)


def test_depth_alpha_and_format_stay(tmp_path: Path, upscalers: Path, cli: Cli) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "deep.png").write_bytes(pictures.png16())
    pictures.tiff(folder / "scan.tif", pictures.noisy().astype(np.uint16) * 257, compression="zlib")
    pictures.tiff(folder / "float.tif", pictures.noisy().astype(np.float32) / 255)
    rgba = np.dstack([pictures.noisy(), np.tile(np.arange(64, dtype=np.uint8) * 4, (48, 1))])
    Image.fromarray(rgba).save(folder / "layer.webp", lossless=True, exact=True)
    Image.fromarray(pictures.noisy(channels=1)[..., 0]).save(folder / "grey.png")
    Image.fromarray(pictures.noisy()).quantize(64).save(folder / "palette.png")
    turned = Image.Exif()
    turned[274] = 6
    (folder / "turned.jpg").write_bytes(pictures.jpeg(exif=turned.tobytes()))
    Image.fromarray(pictures.noisy()).convert("CMYK").save(folder / "print.jpg")
    run = cli(folder, "-o", tmp_path / "out", "--scale", "2", "--json")
    assert run.code == 1
    (failed,) = [event for event in run.of("photo") if event["status"] == "failed"]
    assert Path(failed["source"]).name == "print.jpg"
    assert (failed["width"], failed["scale"]) == (None, 1)
    found: dict[str, Any] = {
        path.name: formats.read(path) for path in sorted((tmp_path / "out").iterdir())
    }
    shapes = {name: (photo.pixels.shape, str(photo.pixels.dtype)) for name, photo in found.items()}
    assert shapes == {
        "deep.png": ((96, 128, 3), "uint16"), "float.tif": ((96, 128, 3), "float32"),
        "grey.png": ((96, 128, 1), "uint8"), "layer.webp": ((96, 128, 3), "uint8"),
        "palette.png": ((96, 128, 3), "uint8"), "scan.tif": ((96, 128, 3), "uint16"),
        "turned.jpg": ((128, 96, 3), "uint8"),
    }  # fmt: skip
    wanted = _plain(rgba[..., 3:], 2)[..., 0]
    np.testing.assert_array_equal(found["layer.webp"].alpha, wanted)
    assert found["turned.jpg"].orientation == 6
    with tifffile.TiffFile(tmp_path / "out" / "scan.tif") as tiff:
        page: Any = tiff.pages[0]
        assert (page.tags[256].value, page.tags[257].value, int(page.compression)) == (128, 96, 8)


def test_what_is_done_is_skipped_and_another_scale_is_made_anew(
    photos: Path, tmp_path: Path, upscalers: Path, cli: Cli
) -> None:
    command = (photos, "-o", tmp_path / "out", "--json")
    assert [e["status"] for e in cli(*command, "--scale", "2").of("photo")] == ["done"] * 3
    again = cli(*command, "--scale", "2")
    assert {e["reason"] for e in again.of("photo")} == {"already done"}
    other = cli(*command, "--scale", "4")
    assert other.code == 1
    assert all("made with other settings" in e["reason"] for e in other.of("photo"))
    assert cli(*command, "--scale", "4", "--overwrite").code == 0
    assert _open(tmp_path / "out" / "b.png").size == (256, 192)


def test_names_can_tell_the_scale(photos: Path, tmp_path: Path, upscalers: Path, cli: Cli) -> None:
    run = cli(photos, "-o", tmp_path / "out", "--scale", "2", "--name", "{stem}_x{scale}")
    assert run.code == 0, run.err
    assert (tmp_path / "out" / "a_x2.jpg").exists()
    assert (tmp_path / "out" / "sub" / "c_x2.jpg").exists()
    run = cli(photos, "-o", tmp_path / "out", "--name", "x{scale}")
    assert "every photo would get this name" in run.err


def test_a_dry_run_tells_sizes_and_space(
    photos: Path, tmp_path: Path, upscalers: Path, cli: Cli
) -> None:
    words = (photos, "-o", tmp_path / "out", "--dry-run")
    run = cli(*words, "--scale", "4", "--json")
    assert run.code == 0, run.err
    assert {(e["scale"], e["megapixels"]) for e in run.of("planned")} == {(4, 0.003)}
    needed = [cli(*words, "--scale", s, "--json").of("forecast")[0]["bytes"] for s in ("1", "4")]
    assert needed[1] == pytest.approx(16 * needed[0])
    assert "(0.0 MP, enlarged 4 times: 0.0 MP)" in cli(*words, "--scale", "4").out
    assert not (tmp_path / "out").exists()


def test_what_would_be_too_large_is_refused_with_the_way_out(
    photos: Path, tmp_path: Path, upscalers: Path, cli: Cli
) -> None:
    words = (photos / "b.png", "-o", tmp_path / "out.png", "--scale", "4")
    run = cli(*words, "--max-megapixels", "0.04")
    assert run.code == 3
    assert "enlarged 4 times it has 0.0 megapixels (256 x 192)" in run.err
    assert "--max-megapixels 1" in run.err
    assert cli(*words, "--max-megapixels", "0.06").code == 0


def test_a_format_that_cannot_hold_the_result_is_told_before_the_work(
    tmp_path: Path, upscalers: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    from denoisetool.denoiser import Denoiser

    monkeypatch.setattr(Denoiser, "denoise", pytest.fail)
    Image.new("RGB", (5000, 2)).save(tmp_path / "wide.webp")
    run = cli(tmp_path / "wide.webp", "-o", tmp_path / "out.webp", "--scale", "4")
    assert run.code == 3
    assert "WebP holds up to 16383 pixels a side, and this would be 20000 x 8 pixels" in run.err


def test_the_setting_can_be_kept(photos: Path, tmp_path: Path, upscalers: Path, cli: Cli) -> None:
    assert cli("config", "set", "scale", "2").code == 0
    assert "scale" in cli("config", "show").out
    assert cli(photos / "b.png", "-o", tmp_path / "out.png").code == 0
    assert _open(tmp_path / "out.png").size == (128, 96)
    run = cli("evaluate", photos / "b.png", photos / "b.png", "--json")  # not enlarging, ever
    assert run.code == 0, run.err
    run = cli("evaluate", photos / "b.png", photos / "b.png", "--model", "upscale-x2")
    assert (run.code, "enlarges 2 times, and scale is 1" in run.err) == (2, True)


def test_reports_show_before_as_large_as_after(
    photos: Path, tmp_path: Path, upscalers: Path, cli: Cli
) -> None:
    page, out = tmp_path / "run.html", tmp_path / "out"
    run = cli(photos / "b.png", "-o", out, "--scale", "2", "--report", page)
    assert run.code == 0, run.err
    text = page.read_text()
    for word in ("128 × 96", "2 times, before is bicubic", "Mean estimated noise"):
        assert word in text
    assert "Noise removed" not in text
    assert cli("compare", photos / "b.png", out / "b.png", "-o", tmp_path / "two.html").code == 0
    assert "2 times, before is bicubic" in (tmp_path / "two.html").read_text()


def test_models_that_enlarge_are_told_apart_and_not_fine_tuned(
    photos: Path, upscalers: Path, home: Path, cli: Cli
) -> None:
    assert "enlarges           2 times" in cli("models", "info", "upscale-x2").out
    listed = {e["name"]: e["card"] for e in cli("models", "list", "--json").events}
    assert listed["upscale-x4"]["scale"] == 4
    run = cli("finetune", photos, "--from", "upscale-x2", "--dry-run")
    assert (run.code, run.out) == (4, "")
    assert "model 'upscale-x2' enlarges 2 times, and cannot be fine-tuned" in run.err
    tiny.model(home / "data" / "models" / "detail", "dncnn", depth=3, width=4, batch_norm=False)
    run = cli("finetune", photos, "--from", "detail")
    assert (run.code, "'detail' is a dncnn, and cannot be fine-tuned" in run.err) == (4, True)


def test_a_denoiser_at_full_resolution_is_a_model_by_name(
    photos: Path, tmp_path: Path, home: Path, cli: Cli
) -> None:
    tiny.model(home / "data" / "models" / "detail", width=8, blocks=2, kernel=3)
    run = cli(photos, "-o", tmp_path / "out", "--model", "detail", "--json")
    assert run.code == 0, run.err
    assert {(e["scale"], e["width"], e["noise"] > 0) for e in run.of("photo")} == {(1, 64, True)}


def test_through_pipes(upscalers: Path, home: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "denoisetool", "-", "-o", "-", "--scale", "2"]
    run = subprocess.run(
        command, input=pictures.jpeg(), capture_output=True, timeout=processes.LIMIT, check=False,
        cwd=processes.ROOT, env=processes.environment(home, OMP_NUM_THREADS="1"),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    with Image.open(io.BytesIO(run.stdout)) as image:
        assert (image.format, image.size) == ("JPEG", (128, 96))
    assert b"enlarged 2 times to 128 x 96" in run.stderr


def test_a_pipe_into_a_file_tells_both_sizes(
    photos: Path, tmp_path: Path, upscalers: Path, home: Path
) -> None:
    command = [sys.executable, "-m", "denoisetool", "-", "-o", str(tmp_path / "out.png"),
               "--scale", "4", "--json"]  # fmt: skip
    run = subprocess.run(
        command, input=(photos / "b.png").read_bytes(), capture_output=True, check=False,
        timeout=processes.LIMIT, cwd=processes.ROOT,
        env=processes.environment(home, OMP_NUM_THREADS=os.environ.get("OMP_NUM_THREADS", "1")),
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert b'"megapixels": 0.003' in run.stdout
    assert b'"scale": 4, "width": 256, "height": 192' in run.stdout


def test_watching_enlarges_too(photos: Path, tmp_path: Path, upscalers: Path, cli: Cli) -> None:
    run = cli("watch", photos, "-o", tmp_path / "out", "--once", "--scale", "2", "--settle", "0",
              "--archive", tmp_path / "kept", "--name", "{stem}-{scale}", "--json")  # fmt: skip
    assert run.code == 0, run.err
    assert {(e["scale"], e["width"]) for e in run.of("photo")} == {(2, 128)}
    assert _open(tmp_path / "out" / "a-2.jpg").size == (128, 96)
    assert (tmp_path / "kept" / "a.jpg").exists()  # after its output was verified
    run = cli("watch", photos, "--once", "--scale", "2", "--strength", "2")
    assert (run.code, "second pass" in run.err) == (2, True)
