import pytest
import torch

from pipeline.engine.active import ActiveGradient
from pipeline.engine.gradient import ImageGradient
from pipeline.engine.networks import truncate
from pipeline.engine.objectives import Term

TERMS = [Term("mixed3a"), Term("mixed4a", channels=(3, 5)), Term("mixed4c")]


@pytest.fixture
def made(dreamnet):
    """The gradient, and the sets of terms it was made for, in order."""
    sets = []

    def make(chosen: tuple[int, ...]) -> ImageGradient:
        sets.append(chosen)
        return ImageGradient(dreamnet, [TERMS[k] for k in chosen])

    return ActiveGradient(make, len(TERMS)), sets


@pytest.mark.parametrize(
    ("weights", "counting"),
    [
        ([[1.0, 0, 0]], (0,)),
        ([[0.5, -0.2, 0]], (0, 1)),
        ([[0, 1.0, 0], [0, 0, 2.0]], (1, 2)),
        ([[0.0, 0, 0]], (0,)),
        ([[1.0, 1, 1]], (0, 1, 2)),
    ],
)
def test_only_terms_with_a_weight_are_made_and_the_gradient_is_the_same(
    made, dreamnet, weights, counting
):
    gradient, sets = made
    images = torch.rand(len(weights), 3, 64, 80, generator=torch.Generator().manual_seed(1))
    found, value = gradient(images, torch.tensor(weights))
    whole, expected = ImageGradient(dreamnet, TERMS)(images, torch.tensor(weights))
    assert sets == list(dict.fromkeys([(0, 1, 2), counting]))
    assert torch.allclose(found, whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))
    assert torch.allclose(value, expected, rtol=1e-5)
    gradient(images, torch.tensor(weights))
    assert len(sets) <= 2


def test_channels_of_each_samples_own_go_with_their_terms(dreamnet):
    terms = [Term("mixed3a"), Term("mixed3b", "mean", "each"), Term("mixed4a", "mean", "each")]
    gradient = ActiveGradient(
        lambda chosen: ImageGradient(dreamnet, [terms[k] for k in chosen]), 3, each=[1, 2]
    )
    images = torch.rand(2, 3, 64, 80, generator=torch.Generator().manual_seed(1))
    for weights in ([0.0, 0, 1, 9, 4], [0.5, 1, 0, 0, 4], [1.0, 0, 0, 9, 4]):
        knobs = torch.tensor([weights, weights])
        found, value = gradient(images, knobs)
        whole, expected = ImageGradient(dreamnet, terms)(images, knobs)
        assert torch.allclose(found, whole, rtol=1e-4, atol=1e-5 * float(whole.abs().max()))
        assert torch.allclose(value, expected, rtol=1e-5)


def test_the_network_ends_where_the_last_of_them_is_read(dreamnet):
    lengths = [len(truncate(dreamnet, [t.node for t in TERMS[:k]]).graph.nodes) for k in (1, 2, 3)]
    assert lengths[0] < 0.5 * lengths[2]
    assert lengths[1] < 0.75 * lengths[2]
