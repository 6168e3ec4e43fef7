from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from denoisetool import tiling

sizes = st.integers(1, 400)


@given(sizes, st.integers(8, 300), st.integers(0, 40), st.sampled_from([1, 2, 4, 16]))
def test_spans_cover_every_pixel_with_weights_that_sum_to_one(
    length: int, tile: int, margin: int, stride: int
) -> None:
    total = np.zeros(length, np.float64)
    for span in tiling.spans(length, tile, margin, stride):
        total[span.inner_start : span.inner_stop] += span.weights()
    np.testing.assert_allclose(total, 1, atol=1e-6)


@given(sizes, st.integers(8, 300), st.integers(0, 40), st.sampled_from([1, 2, 4, 16]))
def test_every_counting_pixel_has_its_margin_of_real_context(
    length: int, tile: int, margin: int, stride: int
) -> None:
    spans = tiling.spans(length, tile, margin, stride)
    for span in spans:
        assert (span.stop - span.start) % stride == 0
        assert span.start % stride == 0
        assert span.start >= 0
        if span.inner_start > 0:
            assert span.inner_start - span.start >= margin
        if span.inner_stop < length:
            assert span.stop - span.inner_stop >= margin
    assert len({s.stop - s.start for s in spans}) == 1


@pytest.mark.parametrize(("stride", "margin"), [(1, 11), (8, 24), (16, 33)])
def test_windows_begin_and_end_with_the_picture_and_none_is_left_out(
    stride: int, margin: int
) -> None:
    shared = 2 * -(-margin // stride) * stride + -(-tiling.RAMP // stride) * stride
    for tile in (64, 128, 300, 735):
        for length in range(1, 4000, 7):
            spans = tiling.spans(length, tile, margin, stride)
            case = length, tile
            assert spans[0].start == 0, case
            assert spans[-1].stop == -(-length // stride) * stride, case
            for one, following in pairwise(spans):
                assert one.start < following.start <= one.stop - shared, case


@settings(max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(8, 60), st.integers(0, 8), st.data())
def test_tiles_of_an_identity_give_the_picture_back(
    height: int, width: int, tile: int, margin: int, data: st.DataObject
) -> None:
    stride = data.draw(st.sampled_from([1, 2, 4]))
    rng = np.random.default_rng(height * 1000 + width)
    pixels = rng.integers(0, 256, (height, width, 3), np.uint8)
    total = np.zeros((height, width, 3), np.float16)
    for window in tiling.plan(height, width, tile, margin, stride):
        tiling.blend(total, tiling.extract(pixels, window, 255).astype(np.float16), window)
    # float16 is exact to a sixteenth of a level near white, and up to four tiles meet: rounded to
    # levels the picture is there again.
    np.testing.assert_array_equal(np.rint(total.astype(np.float32) * 255), pixels)


def test_a_local_filter_sees_no_seam() -> None:
    rng = np.random.default_rng(0)
    pixels = rng.random((150, 170, 1)).astype(np.float32)

    def box(window: tiling.Float) -> tiling.Float:
        height, width = window.shape[:2]
        around = np.pad(window, ((3, 3), (3, 3), (0, 0)))  # as convolutions see a border
        return (
            sum(  # type: ignore[return-value]
                around[dy : dy + height, dx : dx + width] for dy in range(7) for dx in range(7)
            )
            / np.float32(49)
        )

    def run(tile: int) -> tiling.Float:
        total = np.zeros(pixels.shape, np.float16)
        for window in tiling.plan(150, 170, tile, margin=4, stride=4):
            found = box(tiling.extract(pixels, window, 1.0))
            tiling.blend(total, found.astype(np.float16), window)
        return total.astype(np.float32)

    assert len(tiling.plan(150, 170, 64, 4, 4)) >= 4
    np.testing.assert_allclose(run(64), run(4096), atol=1e-3)


def test_too_small_a_margin_would_be_noticed() -> None:
    """The seam test above must be able to fail: with no context the filter does see seams."""
    pixels = np.linspace(0, 1, 150 * 170, dtype=np.float32).reshape(150, 170, 1)

    def run(tile: int) -> tiling.Float:
        total = np.zeros(pixels.shape, np.float16)
        for window in tiling.plan(150, 170, tile, margin=0, stride=4):
            noise = tiling.extract(pixels, window, 1.0)
            tiling.blend(total, np.full_like(noise, noise.mean()), window)
        return total.astype(np.float32)

    assert np.abs(run(64) - run(4096)).max() > 1e-2  # whole picture: one constant


@pytest.mark.parametrize("length", [1, 2, 3, 17])
def test_reflection_repeats_for_tiny_pictures(length: int) -> None:
    line = np.arange(length, dtype=np.uint8).reshape(length, 1, 1)
    (window,) = tiling.plan(length, 1, 64, 8, 16)
    out = tiling.extract(line, window, 255)
    expected = np.pad(line[:, 0, 0], (0, window.rows.stop - length), mode="reflect")
    np.testing.assert_allclose(out[:, 0, 0] * 255, expected, atol=1e-4)


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([256, 512, 1024]))
def test_tiles_stay_within_the_area_and_waste_little(height: int, width: int, side: int) -> None:
    tiles = tiling.plan(height, width, side, 48, 16)
    assert len({tile.shape for tile in tiles}) == 1
    high, wide = tiles[0].shape
    assert high * wide <= max(side * side, 192 * 192)
    covered = np.zeros((height, width), np.float32)
    for tile in tiles:
        rows, columns = tile.rows, tile.columns
        part = covered[rows.inner_start : rows.inner_stop, columns.inner_start : columns.inner_stop]
        part += rows.weights()[:, None] * columns.weights()[None, :]
    np.testing.assert_allclose(covered, 1, atol=1e-5)
    if side == 1024:
        padded = (height + 64) * (width + 64)
        assert high * wide * len(tiles) <= 1.45 * padded + 40_000


@given(
    height=st.integers(1, 5000), width=st.integers(1, 5000), count=st.integers(1, 9),
    stride=st.sampled_from([1, 4, 8]),
)  # fmt: skip
def test_samples_are_small_and_lie_in_the_picture(
    height: int, width: int, count: int, stride: int
) -> None:
    found = tiling.samples(height, width, 128, count, stride)
    assert len(found) == count
    for tile in found:
        for span, length in ((tile.rows, height), (tile.columns, width)):
            assert 0 < span.stop - span.start <= 128
            assert span.start % stride == (span.stop - span.start) % stride == 0
            assert 0 <= span.start < span.inner_stop <= length
            assert span.stop - length < stride
    if min(height, width) >= 128 * (count + 1):
        assert len({tile.rows.start for tile in found}) == count
        assert len({tile.columns.start for tile in found}) == count


def test_the_net_sees_what_a_float_picture_has_beyond_black_and_white() -> None:
    pixels = np.linspace(-3, 4, 64, dtype=np.float32).reshape(8, 8, 1)
    (window,) = tiling.plan(8, 8, 64, 0, 8)
    rows, columns = (slice(-span.start, 8 - span.start) for span in (window.rows, window.columns))
    seen = tiling.extract(pixels, window, 1.0)[rows, columns]
    np.testing.assert_array_equal(seen, np.clip(pixels, -1, 2))
