"""What a model card must say, and how the errors name what is wrong with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from denoisetool import modelcard
from denoisetool.errors import ModelError

REQUIRED = {
    "card_version": "1",
    "name": '"fast"',
    "title": '"Fast"',
    "net": '"unet"',
    "net_args": "{ widths = [24, 48] }",
    "weights_sha256": '"00ff"',
}


def text(**changes: str | None) -> str:
    """A card with some keys changed, or left out where None."""
    return "\n".join(f"{k} = {v}" for k, v in (REQUIRED | changes).items() if v is not None)


def test_the_shortest_card() -> None:
    card = modelcard.parse(text())
    assert (card.name, card.net_args) == ("fast", {"widths": [24, 48]})
    assert (card.channels, card.stride, card.sigma_range) == (3, 1, (0.0, 50.0))


def test_a_full_card() -> None:
    card = modelcard.parse(
        text(
            channels="1", stride="8", receptive_radius="60", overlap="64", sigma_range="[0, 75]",
            color_space='"linear"', kmac_per_pixel="18", parameters="1000", licence='"Apache-2.0"',
            training_data='[{ name = "a", licence = "CC0" }]',
            scores="{ cbsd68 = { psnr = 31.1 } }", provenance="{ seed = 1 }",
        )
    )  # fmt: skip
    assert card.sigma_range == (0.0, 75.0)
    assert card.kmac_per_pixel == 18
    assert card.scores["cbsd68"]["psnr"] == 31.1


def test_kinds_of_noise_can_have_an_overlap_and_a_stride_of_their_own() -> None:
    card = modelcard.parse(
        text(stride="32", overlap="64", overlaps="{ soft = 96 }", strides="{ white = 8 }")
    )
    assert [card.stride_for(kind) for kind in (None, "camera", "white")] == [32, 32, 8]
    assert [card.overlap_for(kind) for kind in (None, "white", "soft")] == [64, 64, 96]


@pytest.mark.parametrize(
    ("key", "value"),
    [("overlaps", "{ white = -1 }"), ("overlaps", "{ white = 8.0 }"), ("strides", "{ white = 0 }"),
     ("strides", '{ white = "8" }'), ("strides", "{ white = true }"), ("stride", "0"),
     ("strides", "{ white = 4096 }"), ("stride", "4096")],
)  # fmt: skip
def test_strides_and_overlaps_are_whole_numbers_that_can_be(key: str, value: str) -> None:
    with pytest.raises(ModelError, match=r"(overlaps'|strides) must be whole numbers"):
        modelcard.parse(text(**{key: value}))


def test_unknown_keys_are_ignored() -> None:
    assert modelcard.parse(text(added_next_year="[1, 2]")) == modelcard.parse(text())


@pytest.mark.parametrize("key", [k for k in REQUIRED if k != "card_version"])
def test_a_missing_key_is_named(key: str) -> None:
    with pytest.raises(ModelError, match=f"lacks '{key}'"):
        modelcard.parse(text(**{key: None}))


@pytest.mark.parametrize(
    ("key", "value"),
    [("name", "3"), ("net_args", "[]"), ("channels", "true"), ("channels", "3.0"),
     ("sigma_range", "25"), ("kmac_per_pixel", '"18"'), ("bytes_per_pixel", "[]"),
     ("training_data", '"DIV2K"'),
     ("scores", "[1]"), ("weights_sha256", "12")],
)  # fmt: skip
def test_a_value_of_the_wrong_kind_is_named(key: str, value: str) -> None:
    with pytest.raises(ModelError, match=f"'{key}' has the wrong kind"):
        modelcard.parse(text(**{key: value}))


@pytest.mark.parametrize(
    ("key", "value"),
    [("channels", "4"), ("channels", "0"), ("overlap", "-1"), ("scale", "3"),
     ("bytes_per_pixel", "-1"), ("bytes_per_pixel", "nan")],
)  # fmt: skip
def test_impossible_values(key: str, value: str) -> None:
    with pytest.raises(ModelError, match="impossible"):
        modelcard.parse(text(**{key: value}))


@pytest.mark.parametrize("version", [None, "2", '"1"'])
def test_another_card_version_is_refused_with_advice(version: str | None) -> None:
    with pytest.raises(ModelError, match="version") as caught:
        modelcard.parse(text(card_version=version))
    assert "update" in caught.value.hint


def test_what_is_not_toml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not valid TOML") as caught:
        modelcard.parse("name = ", tmp_path / "model.toml")
    assert caught.value.path == tmp_path / "model.toml"
    assert caught.value.exit_code == 4


def test_loading_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no model card") as caught:
        modelcard.load(tmp_path)
    assert caught.value.path == tmp_path / "model.toml"
    (tmp_path / "model.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ModelError, match="cannot be read"):
        modelcard.load(tmp_path)
    (tmp_path / "model.toml").write_text(text())
    assert modelcard.load(tmp_path).title == "Fast"
    with pytest.raises(ModelError, match=r"no model card|cannot be read"):
        modelcard.load(tmp_path / "model.toml")
