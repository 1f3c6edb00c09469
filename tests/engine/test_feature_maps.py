import pytest
import torch

from pipeline.engine.feature_maps import strongest_maps
from pipeline.engine.networks import truncate


def test_maps_are_the_activations_strongest_first(dreamnet):
    picture = torch.rand(3, 64, 80, generator=torch.Generator().manual_seed(0))
    found = strongest_maps(dreamnet, "mixed3b", picture, 12)
    mean = torch.tensor(dreamnet.mean).view(3, 1, 1)
    (activation,) = truncate(dreamnet, ["mixed3b"])((picture - mean)[None])
    assert [each.mean for each in found] == sorted((each.mean for each in found), reverse=True)
    assert found[0].mean == pytest.approx(activation[0].mean((1, 2)).max().item())
    for each in found:
        assert torch.equal(each.map, activation[0, each.channel])
        assert each.peak == each.map.max()


def test_the_borders_of_a_picture_excite_nothing(dreamnet):
    """A flat picture has flat maps; zero padding alone would draw a frame around them."""
    maps = strongest_maps(dreamnet, "mixed3b", torch.full((3, 96, 80), 0.8), 20)
    assert len(maps) >= 3
    assert {tuple(each.map.shape) for each in maps} == {(12, 10)}
    assert max(float(each.map.max() - each.map.min()) / each.peak for each in maps) < 1e-3


def test_channels_that_do_not_answer_are_left_out(dreamnet):
    maps = strongest_maps(dreamnet, "mixed4a", torch.full((3, 48, 48), 0.5), 10_000)
    assert 0 < len(maps) < 320
    assert all(each.peak > 0 for each in maps)
