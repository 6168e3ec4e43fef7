from typing import Any

import pytest
import torch

from denoisetool import nets
from denoisetool.errors import ModelError
from denoisetool.nets.ensemble import LOOKS, SelfEnsemble
from denoisetool.nets.experts import (
    SECOND,
    THIRD,
    ColourUNet,
    Experts,
    around,
    coarse_colour,
    evened,
    fine,
    found_apart,
    members,
    mildness,
    told_apart,
    told_coarse,
    told_firmly,
)
from denoisetool.nets.parts import joined, kmac_per_pixel, phases, shuffled
from denoisetool.nets.unet import Level, UNet

SMALL = {"widths": [8, 16, 24], "blocks": [1, 1, 1]}


@pytest.fixture(params=[(0, 3), (8, 3), (8, 1)], ids=["blind", "levels", "pointwise"])
def net(request: pytest.FixtureRequest) -> UNet:
    torch.manual_seed(0)
    level_width, second = request.param
    built = nets.build("unet", SMALL | {"level_width": level_width, "second_kernel": second})
    assert isinstance(built, UNet)
    for parameter in built.parameters():
        torch.nn.init.normal_(parameter, 0, 0.05)
    return built.eval()


def test_shape_and_stride(net: UNet) -> None:
    assert net.stride == 8
    for height, width in ((8, 8), (24, 40)):
        assert net(torch.rand(2, 3, height, width)).shape == (2, 3, height, width)


def test_an_untrained_net_finds_no_noise() -> None:
    built = nets.build("unet", SMALL)
    assert built(torch.rand(1, 3, 16, 16)).abs().max() == 0


def test_it_is_homogeneous_around_middle_grey(net: UNet) -> None:
    """Without biases half the contrast has half the noise: that is why it generalises."""
    x = torch.rand(1, 3, 32, 32) - 0.5
    with torch.inference_mode():
        torch.testing.assert_close(net(x * 0.5 + 0.5), net(x + 0.5) * 0.5, atol=1e-5, rtol=1e-4)


def test_nothing_beyond_the_receptive_radius_matters_and_the_bound_is_not_idle(net: UNet) -> None:
    side, radius = 512, net.receptive_radius
    x = torch.rand(1, 3, 16, side)
    other = x.clone()
    other[..., side // 2 :] = torch.rand(1, 3, 16, side // 2)
    with torch.inference_mode():
        moved = (net(x) - net(other)).abs().amax((0, 1, 2)) > 0
    first = int(torch.nonzero(moved).min())
    assert side // 2 - first <= radius
    assert side // 2 - first >= radius // 2


def test_cost_is_counted_as_by_hand() -> None:
    shape = {"widths": [8, 16], "blocks": [1, 1], "down_blocks": [0]}
    built = nets.build("unet", dict(shape))
    half = 12 * 8 * 9 + 2 * 8 * 8 * 9 + 8 * 12 * 9
    quarter = 8 * 4 * 16 + 2 * 16 * 16 * 9 + 16 * 4 * 8
    assert kmac_per_pixel(built) == pytest.approx((half / 4 + quarter / 16) / 1000)
    pointwise = nets.build("unet", shape | {"second_kernel": 1})
    spared = (8 * 8 * 8 / 4 + 16 * 16 * 8 / 16) / 1000
    assert kmac_per_pixel(pointwise) == pytest.approx(kmac_per_pixel(built) - spared)
    told = nets.build("unet", shape | {"level_width": 4})
    level = 48 * 4 * 9 + 3 * 4 * 4 * 9 + 4 * 9 + 16 * 9
    assert kmac_per_pixel(told) == pytest.approx((half / 4 + (quarter + level) / 16) / 1000)


def test_the_steps_up_are_a_pixel_shuffle() -> None:
    x = torch.rand(2, 12, 3, 5)
    usual = torch.nn.functional.pixel_shuffle(x, 2)  # orders channels by colour, row, column
    ours = x.view(2, 3, 4, 3, 5).transpose(1, 2).reshape(2, 12, 3, 5)
    torch.testing.assert_close(shuffled(ours, 2), usual)
    torch.testing.assert_close(shuffled(ours, 2, usual), usual * 2)
    with torch.no_grad():
        torch.testing.assert_close(shuffled(ours, 2, usual.clone()), usual * 2)


def test_a_told_level_is_obeyed(net: UNet) -> None:
    x = torch.rand(1, 3, 32, 32)
    if net.levels is None:
        with pytest.raises(ValueError, match="no noise level"):
            net.level(x)
        return
    level = net.level(x)
    assert level.shape == (1, 1, 8, 8)
    assert (level >= 0).all()
    torch.testing.assert_close(net(x, level), net(x))
    assert (net(x, level + 0.1) - net(x)).abs().max() > 1e-4


def test_the_level_told_is_the_mean_of_the_neighbourhood() -> None:
    level = torch.rand(2, 1, 40, 50)
    told = around(level)
    torch.testing.assert_close(told[:, :, 20, 30], level[:, :, 12:29, 22:39].mean((2, 3)))
    torch.testing.assert_close(told[:, :, 0, 49], level[:, :, :9, 41:].mean((2, 3)))
    torch.testing.assert_close(around(torch.full((1, 1, 3, 5), 0.2)), torch.full((1, 1, 3, 5), 0.2))


@pytest.mark.parametrize(
    "args",
    [
        {"widths": [8], "blocks": [1, 2]},
        {"widths": [], "blocks": []},
        {"widths": [8], "blocks": [1]},
        {"widths": [8, 16], "blocks": [1, 1], "down_blocks": [1, 1]},
        {"widths": [8, 16], "blocks": [1, 1], "unshuffle": 4, "level_width": 8},
        {"widths": [8, 16], "blocks": [1, 1], "second_kernel": 2},
    ],
)
def test_impossible_arguments(args: dict[str, Any]) -> None:
    with pytest.raises(Exception, match=r"same length|one entry less|unshuffle 2|is 1 or 3"):
        nets.build("unet", dict(args))


def test_each_expert_is_a_net_of_its_own_and_a_photo_pays_for_one() -> None:
    torch.manual_seed(0)
    both = nets.build("experts", SMALL | {"level_width": 8})
    assert isinstance(both, Experts)
    for parameter in both.parameters():
        torch.nn.init.normal_(parameter, 0, 0.05)
    x = torch.rand(1, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(both(x), both.camera(x))
        assert both.white.levels is not None
        level = both.white.level(x)
        assert level.std() > 0.2 * level.mean()
        torch.testing.assert_close(both(x, "white"), both.white(x, around(level)))
        torch.testing.assert_close(both.for_kind("white").level(x), level)
        assert not torch.equal(both(x), both(x, "white"))
    one = nets.build("unet", SMALL | {"level_width": 8})
    assert isinstance(one, UNet)
    assert kmac_per_pixel(both) == kmac_per_pixel(one)
    assert (both.stride, both.receptive_radius) == (one.stride, one.receptive_radius + 32)
    assert tuple(members(both)) == both.kinds
    assert members(one) == {"": one}


def _check_radius(net: Experts) -> None:
    """Nothing in a soft photo changes what is found further away than the net says."""
    wide = torch.rand(1, 3, 32, 2048)
    other = wide.clone()
    other[..., 1024:] = 0.3
    with torch.inference_mode():
        moved = (net(wide, "soft") != net(other, "soft")).any(2).any(1)[0]
    assert not moved[: 1024 - net.receptive_radius].any()


def test_two_experts_look_at_soft_photos_and_each_can_have_a_size_of_its_own() -> None:
    torch.manual_seed(0)
    both = nets.build(
        "experts",
        SMALL | {"level_width": 4, "soft": 2, "own": True, "camera": {"widths": [4, 8, 8]}},
    )
    assert isinstance(both, Experts)
    assert both.kinds == ("camera", "white", "soft", "own")
    assert both.own is not None
    shapes = [
        [tuple(p.shape) for p in net.parameters()] for net in (both.camera, both.own, both.white)
    ]
    assert shapes[0] == shapes[1] != shapes[2]
    assert both.stride == 2 * both.white.stride
    for net in (both.camera, both.white):
        torch.nn.init.normal_(net.tail.weight, 0, 0.05)
    x = torch.rand(2, 3, 64, 96)
    assert both.camera.levels is not None
    with torch.inference_mode():
        both.camera.levels.last.weight *= 5 / 255 / both.camera.level(x).mean()
        level = both.camera.level(x)
        even = evened(level)
        assert level.std() > 1.5 * even.std() > 0
        second = found_apart(both.white, x, told_apart(even), 2)
        wanted = torch.lerp(both.camera(x, even), second, SECOND * mildness(even))
        torch.testing.assert_close(both(x, "soft"), wanted)
        assert not torch.equal(second, both.camera(x))
        torch.testing.assert_close(both.for_kind("soft").level(x), level)
    _check_radius(both)
    assert kmac_per_pixel(both.for_kind("soft")) > kmac_per_pixel(both.for_kind("white"))


def test_other_nets_can_look_apart_firmly_and_at_colours_in_smaller_pictures() -> None:
    torch.manual_seed(0)
    small = {"widths": [4, 8, 8]}
    args = SMALL | {"level_width": 4, "soft": 3, "apart": small}
    args |= {"coarse": {"widths": [6, 8, 8]}, "coarse_by": [2, 4]}
    net = nets.build("experts", args)
    assert isinstance(net, Experts)
    assert net.apart is not None
    assert net.coarse is not None
    assert tuple(members(net)) == ("camera", "white", "apart", "coarse")
    assert [net.apart.head.out_channels, net.coarse.head.out_channels] == [4, 6]
    assert net.stride == 32
    assert [net.for_kind(kind).stride for kind in net.kinds] == [8, 8, 32]
    for each in (net.camera, net.white, net.apart, net.coarse):
        torch.nn.init.normal_(each.tail.weight, 0, 0.05)
    x = torch.rand(2, 3, 64, 96)
    assert net.camera.levels is not None
    with torch.inference_mode():
        net.camera.levels.last.weight *= 5 / 255 / net.camera.level(x).mean()
        level = evened(net.camera.level(x))
        second = found_apart(net.apart, x, told_apart(level), 2)
        mild = mildness(level)
        found = torch.lerp(net.camera(x, level), second, SECOND * mild)
        third = net.apart(x, told_firmly(level))
        assert not torch.equal(third, net.apart(x, level))
        found = found + THIRD * mild * fine(third - found)
        for by in (2, 4):
            more = coarse_colour(net.coarse, x - found, told_coarse(level, by), by)
            luma = (more * torch.tensor([0.2126, 0.7152, 0.0722])[:, None, None]).sum(1)
            assert luma.abs().max() < 1e-6 < 1e-3 < more.abs().max()
            found = found + more
        torch.testing.assert_close(net(x, "soft"), found)
    costs = {name: kmac_per_pixel(each) for name, each in members(net).items()}
    about = costs["camera"] + 2 * costs["apart"] + costs["coarse"] * (1 / 4 + 1 / 16)
    assert kmac_per_pixel(net.for_kind("soft")) == pytest.approx(about, rel=0.1)
    _check_radius(net)


def test_the_coarse_colours_of_a_flat_picture_are_found_where_they_are() -> None:
    """A net that takes everything for noise shows what becomes of a picture on the way."""

    class Everything(ColourUNet):
        def forward(self, x: torch.Tensor, level: Level = None) -> torch.Tensor:
            assert isinstance(level, torch.Tensor)
            assert level.shape[-1] * 4 == x.shape[-1]
            return x

    ramp = torch.linspace(-1, 1, 64).expand(1, 3, 48, 64) * torch.tensor([1, 0, 0])[:, None, None]
    net = Everything(widths=[8, 16, 24], blocks=[1, 1, 1])
    for by in (2, 4):
        found = coarse_colour(net, ramp, torch.zeros(1, 1, 12, 16), by)
        torch.testing.assert_close(found[..., by:-by], ramp[..., by:-by], atol=1e-3, rtol=0)


def test_the_net_for_coarse_colours_sees_no_border() -> None:
    class Mean(ColourUNet):
        def forward(self, x: torch.Tensor, level: Level = None) -> torch.Tensor:
            assert isinstance(level, torch.Tensor)
            assert level.shape[2:] == (x.shape[2] // 4, x.shape[3] // 4)
            return torch.nn.functional.avg_pool2d(x, 5, 1, 2)  # darker where zeros begin

    flat = torch.full((1, 3, 48, 64), 0.6)
    net = Mean(widths=[8, 16, 24], blocks=[1, 1, 1])
    for by in (2, 4):
        found = coarse_colour(net, flat, torch.zeros(1, 1, 12, 16), by)
        torch.testing.assert_close(found, flat)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"apart": {}, "soft": 1}, "looks at soft photos"),
        ({"soft": 4}, "0 to 3 looks"),
        ({"coarse": {}, "coarse_by": [2]}, "looks at soft photos"),
        ({"coarse": {}, "coarse_by": [2], "soft": 1, "channels": 1}, "for colour photos"),
        ({"coarse": {}, "soft": 1}, "coarse_by is 2, 4 or 8"),
        ({"coarse": {}, "coarse_by": [3], "soft": 1}, "coarse_by is 2, 4 or 8"),
        ({"coarse_by": [2], "soft": 1}, "coarse_by is 2, 4 or 8"),
        ({"own": "soft"}, "own is camera"),
    ],
)
def test_impossible_looks(more: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        nets.build("experts", SMALL | {"level_width": 4} | more)


def test_the_mean_of_all_looks_turns_with_the_picture(net: UNet) -> None:
    x = torch.rand(2, 3, 32, 48)
    both = SelfEnsemble(net, 2)
    with torch.inference_mode():
        upside_down = net(x.flip(2)).flip(2)
        torch.testing.assert_close(both(x), (net(x) + upside_down) / 2)
        assert not torch.allclose(net(x), upside_down, atol=1e-3)
        wanted = SelfEnsemble(net, 8)(x)
        for turned in (torch.flip, torch.rot90):
            found = turned(SelfEnsemble(net, 8)(turned(x, dims=(2, 3))), dims=(2, 3))
            found = found if turned is torch.flip else torch.rot90(found, 2, (2, 3))
            torch.testing.assert_close(found, wanted)
        if net.levels is not None:
            torch.testing.assert_close(both.level(x), net.level(x))
    assert both.levels is net.levels
    assert len(set(LOOKS)) == 8


def test_experts_can_look_several_times_at_every_picture() -> None:
    torch.manual_seed(0)
    args = SMALL | {"level_width": 4, "soft": 3}
    once, four = nets.build("experts", args), nets.build("experts", args | {"ensemble": 4})
    assert isinstance(once, Experts)
    assert isinstance(four, Experts)
    for net in (once.camera, once.white):
        torch.nn.init.normal_(net.tail.weight, 0, 0.05)
    four.load_state_dict(once.state_dict())
    x = torch.rand(1, 3, 64, 32)
    with torch.inference_mode():
        for kind in once.kinds:
            wanted = SelfEnsemble(once.for_kind(kind), 4)(x)
            torch.testing.assert_close(four(x, kind), wanted)
            assert not torch.allclose(wanted, once(x, kind), atol=1e-4)
            cost = [kmac_per_pixel(net.for_kind(kind), side=64) for net in (once, four)]
            assert cost[1] == 4 * cost[0]
    assert members(four)["camera"] is four.camera
    assert (four.stride, four.receptive_radius) == (once.stride, once.receptive_radius)
    for wrong in (0, 9):
        with pytest.raises(ModelError, match="1 to 8 looks"):
            nets.build("experts", args | {"ensemble": wrong})


def test_levels_of_soft_photos_are_the_neighbourhoods_where_noise_is_mild() -> None:
    level = torch.full((1, 1, 64, 64), 2 / 255)
    level[..., 30:34, 30:34] = 4 / 255
    assert evened(level).max() < 2.2 / 255
    torch.testing.assert_close(evened(5 * level), 5 * level)
    told = [255 * float(told_apart(torch.full((1, 1, 1, 1), of / 255))) for of in (1, 3, 4, 6, 20)]
    assert told == pytest.approx([2.6, 7.8, 6.725, 7, 21], abs=1e-3)
    shares = [mildness(torch.full((1, 1, 2, 2), of / 255)) for of in (1, 12, 16, 20, 40)]
    assert shares[0].shape == (1, 1, 8, 8)
    assert [float(s[0, 0, 3, 3]) for s in shares] == pytest.approx([1, 1, 0.5, 0, 0])
    levels = [torch.full((1, 1, 1, 1), of / 255) for of in (1, 5, 7.5, 20)]
    firmly = [255 * float(told_firmly(level)) for level in levels]
    assert firmly == pytest.approx([4.5, 22.5, 33.75, 55], abs=1e-3)
    told = [255 * float(told_coarse(level, 2)) for level in levels]
    assert told == pytest.approx([0.799, 3.9952, 5.9927, 10.9956], abs=1e-3)
    further = [255 * 2**1.5 * float(told_coarse(level, 4)) for level in levels]
    assert further == pytest.approx(told)


def test_what_is_fine_is_what_a_smaller_picture_does_not_show() -> None:
    ramp = torch.linspace(0, 1, 96).expand(2, 3, 64, 96)
    grid = torch.tensor([1.0, -1.0]).repeat(48).expand(2, 3, 64, 96)
    assert fine(ramp)[..., 8:-8].abs().max() < 1e-4
    torch.testing.assert_close(fine(ramp + grid)[..., 8:-8], grid[..., 8:-8], atol=1e-4, rtol=0)


def test_phases_are_all_that_a_share_of_the_pixels_shows() -> None:
    x = torch.rand(2, 3, 24, 36)
    for by in (2, 3):
        parts = phases(x, by)
        assert torch.equal(joined(parts, by), x)
        for place in range(by**2):
            top, left = divmod(place, by)
            assert torch.equal(parts[place], x[0, :, top::by, left::by])
        assert torch.equal(parts[by**2], x[1, :, ::by, ::by])
