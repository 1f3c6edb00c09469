from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engine.ascent import StepSettings, ascend, normalise
from pipeline.engine.gradient import ImageGradient
from pipeline.engine.objectives import Term
from pipeline.engine.tiles import ALIGN, OVERLAP, SMALLEST_TILE, Split, TiledGradient, tile_starts


def smooth_noise(height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    small = torch.rand(1, 3, height // 8, width // 8, generator=generator)
    return torch.nn.functional.interpolate(small, size=(height, width), mode="bicubic").clamp(0, 1)


@given(st.integers(1, 5000), st.integers(SMALLEST_TILE, 2000))
def test_tiles_cover_a_side_on_the_networks_grid(side, tile):
    cover = tile_starts(side, tile)
    assert cover.length <= tile
    assert cover.starts[0] == 0
    assert cover.starts[-1] + cover.length == side
    for a, b in zip(cover.starts, cover.starts[1:], strict=False):
        assert a < b <= a + cover.length - OVERLAP
        assert b % ALIGN == 0


def test_a_tile_too_small_for_the_grid_is_refused():
    with pytest.raises(ValueError, match="at least 192"):
        tile_starts(500, 191)


def test_an_early_layer_is_exact_away_from_the_seams(dreamnet):
    gradient = ImageGradient(dreamnet, [Term("conv2")])
    picture = smooth_noise(320, 416)
    weights = torch.ones(1, 1)
    whole, value = gradient(picture, weights)
    tiled, tiled_value = TiledGradient(gradient, split=Split(tile=256))(picture, weights)
    reach = 40  # conv2 sees 27 pixels, and a gradient reaches as far again
    sides = tile_starts(320, 256), tile_starts(416, 256)
    assert all(len(side.starts) == 2 for side in sides)
    clean = []
    for side, length in zip(sides, (320, 416), strict=True):
        far = torch.ones(length, dtype=torch.bool)
        for edge in (side.starts[1], side.starts[0] + side.length):
            far[edge - reach : edge + reach] = False
        clean.append(far)
    inside = clean[0][:, None] & clean[1][None, :]
    assert inside.float().mean() > 0.2
    assert (tiled - whole)[0][:, inside].norm() <= 1e-5 * whole[0][:, inside].norm()
    torch.testing.assert_close(tiled_value, value, rtol=0.1, atol=0)


def test_a_deep_layer_agrees_overall(bvlc, assets):
    import cv2

    photo = cv2.imread(str(assets / "photos/dog_1.jpg"), cv2.IMREAD_COLOR_RGB)
    photo = cv2.resize(photo, (640, 448), interpolation=cv2.INTER_AREA)
    picture = torch.from_numpy(photo).permute(2, 0, 1)[None].float() / 255
    gradient = ImageGradient(bvlc, [Term("inception_4c")])
    whole, _ = gradient(picture, torch.ones(1, 1))
    tiled, _ = TiledGradient(gradient, split=Split(tile=352))(picture, torch.ones(1, 1))
    cosine = torch.cosine_similarity(whole.flatten(), tiled.flatten(), dim=0)
    assert cosine >= 0.9


def test_chunks_change_nothing_but_rounding(dreamnet):
    gradient = ImageGradient(dreamnet, [Term("mixed3b")])
    batch = torch.rand(5, 3, 96, 96)
    weights = torch.ones(5, 1)
    whole, values = TiledGradient(gradient)(batch, weights)
    parts, part_values = TiledGradient(gradient, split=Split(chunk=2))(batch, weights)
    assert (whole - parts).norm() <= 1e-5 * whole.norm()
    torch.testing.assert_close(values, part_values, rtol=1e-5, atol=0)


def test_running_out_of_memory_halves_the_batch_then_the_tile():
    largest = 230 * 230
    seen = []

    def gradient(pictures, weights):
        seen.append(tuple(pictures.shape))
        if pictures.shape[0] * pictures.shape[2] * pictures.shape[3] > largest:
            raise torch.OutOfMemoryError("no")
        return torch.ones_like(pictures), weights.sum(1)

    tiled = TiledGradient(gradient)
    result, _ = tiled(torch.rand(4, 3, 384, 416), torch.ones(4, 1))
    assert result.shape == (4, 3, 384, 416)
    assert tiled.split == Split(tile=208, chunk=1)
    first = len(seen)
    tiled(torch.rand(4, 3, 384, 416), torch.ones(4, 1))
    assert all(n * h * w <= largest for n, _, h, w in seen[first:])


def test_out_of_memory_with_one_small_tile_says_so():
    def gradient(pictures, weights):
        raise torch.OutOfMemoryError("no")

    with pytest.raises(MemoryError, match="one tile of"):
        TiledGradient(gradient)(torch.rand(1, 3, 300, 300), torch.ones(1, 1))


def test_normalising_tiles_makes_every_tile_count_alike():
    def gradient(pictures, weights):  # ten times as steep in the left tile
        return pictures * 10, weights.sum(1)

    picture = torch.ones(1, 3, 192, 320)
    picture[..., 160:] = 0.1
    plain, _ = TiledGradient(gradient, split=Split(tile=192))(picture, torch.ones(1, 1))
    tiled = TiledGradient(
        gradient, split=Split(tile=192), normalise_tile=partial(normalise, kind="mean_abs")
    )
    even, _ = tiled(picture, torch.ones(1, 1))
    assert plain[..., :64].mean() == pytest.approx(10 * plain[..., -64:].mean().item(), rel=1e-4)
    assert even[..., :64].mean() < 3 * even[..., -64:].mean()


def test_a_jitter_of_half_a_tile_moves_the_seams_everywhere():
    """Where the seam between two tiles of 400 pixels falls in the picture, step after step."""
    places = []

    def ramp(pictures, weights):  # steepest at the left of every tile
        slope = torch.linspace(1, 0, pictures.shape[3]).expand_as(pictures)
        return slope.contiguous(), weights.sum(1)

    tiled = TiledGradient(ramp, split=Split(tile=400))
    picture = torch.full((1, 3, 64, 720), 0.5)
    for iteration in range(40):
        settings = [StepSettings(step=0.1, jitter=200, sigma=0.0, weights=(1.0,))]
        stepped, _ = ascend(
            picture, tiled, keys=[iteration], octave=0, iterations=1, settings=settings,
            smoothing="none",
        )  # fmt: skip
        rise = (stepped - picture).diff(dim=3)[0, 0, 0]
        places.append(int(rise.argmax()))  # where the last tile ends and the first begins
    assert len({place // 40 for place in places}) >= 8  # of the 10 stripes it can reach
