from dataclasses import replace

import cv2
import pytest
import torch
from machine import native_bf16
from safetensors.torch import load_file

from pipeline.engine import networks
from pipeline.engine.ascent import StepSettings
from pipeline.engine.assembly import random_state
from pipeline.engine.dreamer import Dreamer
from pipeline.engine.layers import resolve
from pipeline.engine.objectives import Term
from pipeline.engine.octaves import usable_octaves
from pipeline.engine.tiles import Split

STEP = StepSettings(step=0.012, jitter=8, sigma=0.5, weights=(1.0,))


def pictures(count: int = 1, size: tuple[int, int] = (72, 96)) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(count, 3, size[0] // 8, size[1] // 8, generator=generator)
    return torch.nn.functional.interpolate(small, size=size, mode="bicubic").clamp(0, 1)


def dream(dreamer: Dreamer, seeds: torch.Tensor, iterations: int = 3, **changes):
    count = len(seeds)
    arguments = {"keys": list(range(count)), "settings": [STEP] * count} | changes
    return dreamer(seeds, iterations=iterations, **arguments)


def test_a_dream_is_repeatable_in_range_and_stronger(dreamnet):
    dreamer = Dreamer(dreamnet, [Term("mixed3b")], octaves=3, smallest=16)
    weak, strong = dream(dreamer, pictures(), 1), dream(dreamer, pictures(), 8)
    assert torch.equal(strong.pictures, dream(dreamer, pictures(), 8).pictures)
    assert 0 <= strong.pictures.min() < strong.pictures.max() <= 1
    assert strong.strength > 1.5 * weak.strength > 0
    assert not torch.equal(strong.pictures, dream(dreamer, pictures(), 8, keys=[9]).pictures)


def test_a_dream_grows_within_its_reach(dreamnet):
    dreamer = Dreamer(dreamnet, [Term("mixed3b")], octaves=1, smallest=16)
    seeds, reach = pictures(2), torch.ones(2, 1, 72, 96)
    reach[1, :, :, 48:] = 0
    whole, part = dream(dreamer, seeds, 5), dream(dreamer, seeds, 5, reach=reach)
    assert torch.equal(part.pictures[0], whole.pictures[0])
    assert torch.equal(part.pictures[1, ..., 48:], seeds[1, ..., 48:])
    assert (part.pictures[1, ..., :48] - seeds[1, ..., :48]).abs().mean() > 0.02


def test_no_iterations_give_the_seeds_back(dreamnet):
    dreamer = Dreamer(dreamnet, [Term("mixed3b")])
    seeds = pictures() * 1.5 - 0.2
    assert torch.equal(dream(dreamer, seeds, 0).pictures, seeds.clamp(0, 1))


@pytest.mark.parametrize("merge", ["detail", "replace", "blend"])
def test_octaves_dream_at_every_scale(dreamnet, merge):
    """With three octaves the dream has more low frequencies than with one."""

    def low_share(octaves: int) -> float:
        dreamer = Dreamer(dreamnet, [Term("mixed3a")], octaves=octaves, ratio=2, merge=merge)
        seeds = pictures(size=(128, 160))
        added = dream(dreamer, seeds, 4).pictures - seeds
        return (torch.nn.functional.avg_pool2d(added, 8).std() / added.std()).item()

    assert low_share(3) > 1.05 * low_share(1)


def test_detail_keeps_the_seed_sharp_and_replace_does_not(dreamnet):
    sharp = torch.zeros(1, 3, 96, 96)
    sharp[..., ::2] = 1
    nothing = StepSettings(step=0.0, jitter=0, sigma=0.5, weights=(1.0,))
    kept, blurred = (
        Dreamer(dreamnet, [Term("mixed3a")], octaves=2, ratio=2, merge=merge)(
            sharp, iterations=1, keys=[0], settings=[nothing]
        ).pictures
        for merge in ("detail", "replace")
    )
    torch.testing.assert_close(kept, sharp)
    assert (blurred - sharp).abs().mean() > 0.3


def test_octaves_below_what_the_layer_sees_are_left_out(dreamnet):
    few = Dreamer(dreamnet, [Term("mixed3b")], octaves=1)
    many = Dreamer(dreamnet, [Term("mixed3b")], octaves=9, ratio=1.4, smallest=60)
    assert torch.equal(dream(few, pictures()).pictures, dream(many, pictures()).pictures)
    with pytest.raises(ValueError, match="below the network's 100 pixels"):
        dream(Dreamer(dreamnet, [Term("mixed3b")], smallest=100), pictures())


def test_a_pyramid_deeper_than_the_picture_stops_where_the_layer_sees_nothing():
    """VGG19 is often given eight octaves; halved seven times, 96 pixels are none."""
    facts = networks.spec("vgg19")
    state = random_state(facts, classifier=False)
    layer = resolve("vgg19", "features.12")
    dreamer = Dreamer(
        networks.build("vgg19", state), [Term(layer.node, "norm")], octaves=8, ratio=2.0,
        smallest=layer.smallest, octave_blur=0.5, smoothing="laplacian",
    )  # fmt: skip
    assert len(usable_octaves((96, 72), 8, 2.0, layer.smallest)) == 5
    seeds = pictures()
    step = replace(STEP, jitter=32, rotate=5.0)
    dreamed = dream(dreamer, seeds, 1, settings=[step]).pictures
    assert dreamed.isfinite().all()
    assert (dreamed - seeds).abs().mean() > 0.002


def test_weights_that_end_early_are_dreamed_with(assets):
    """What the file lacks lies on no device."""
    file = assets / "weights/inception_v3_2015_to_Mixed_7a_fp16.safetensors"
    network = networks.build("inception_v3", load_file(file))
    dreamed = dream(Dreamer(network, [Term("Mixed_5b")], octaves=1), pictures(size=(96, 96)), 1)
    assert dreamed.strength > 0


def test_mixed_up_batches_are_refused(dreamnet):
    with pytest.raises(ValueError, match="got 2 seeds, 1 keys, 2 settings"):
        dream(Dreamer(dreamnet, [Term("mixed3b")]), pictures(2), keys=[1])


def test_weights_choose_between_layers(dreamnet):
    dreamer = Dreamer(dreamnet, [Term("mixed3a"), Term("mixed4a")], octaves=1)
    alone = Dreamer(dreamnet, [Term("mixed4a")], octaves=1)
    first = dream(dreamer, pictures(), settings=[StepSettings(0.012, 8, 0.5, (0.0, 1.0))])
    assert (first.pictures - dream(alone, pictures()).pictures).abs().max() < 1e-3


def test_tiles_look_like_the_whole(dreamnet):
    seeds = pictures(size=(256, 320))
    whole = dream(Dreamer(dreamnet, [Term("mixed3b")], octaves=1), seeds, 4).pictures - seeds
    tiled = Dreamer(dreamnet, [Term("mixed3b")], octaves=1, split=Split(tile=192))
    difference = dream(tiled, seeds, 4).pictures - seeds
    assert torch.cosine_similarity(whole.flatten(), difference.flatten(), dim=0) > 0.9


@native_bf16
def test_bf16_reaches_95_per_cent_of_the_objective(bvlc, dreamnet, assets):
    """Mean over photos: dreams are chaotic, each alone may come out a little weaker or stronger."""
    photos = [
        cv2.resize(
            cv2.imread(str(assets / f"photos/{name}.jpg"), cv2.IMREAD_COLOR_RGB),
            (160, 120),
            interpolation=cv2.INTER_AREA,
        )
        for name in ("dog_1", "sky", "city_1", "coral")
    ]
    seeds = torch.stack([torch.from_numpy(p).permute(2, 0, 1).float() / 255 for p in photos])
    for network, layer in ((bvlc, "inception_4c"), (dreamnet, "mixed4a")):
        reached = {}
        for dtype in (torch.float32, torch.bfloat16):
            dreamer = Dreamer(network, [Term(layer)], octaves=2, smallest=32, dtype=dtype)
            dreamed = dream(dreamer, seeds, 8).pictures
            judge = Dreamer(network, [Term(layer)], octaves=1, smallest=32)
            reached[dtype] = dream(judge, dreamed, 1).strength.mean()
        assert reached[torch.bfloat16] >= 0.95 * reached[torch.float32]


@pytest.mark.cuda
def test_cuda_dreams_as_strongly(dreamnet, cuda):
    on_cpu = dream(Dreamer(dreamnet, [Term("mixed3b")]), pictures(), 6).strength
    on_gpu = dream(Dreamer(dreamnet, [Term("mixed3b")], device=cuda), pictures(), 6).strength
    torch.testing.assert_close(on_gpu.cpu(), on_cpu, rtol=0.1, atol=0)
