import pytest
import torch

from pipeline.engine import objectives
from pipeline.engine.objectives import OBJECTIVES, Term, climb, seeds, vocabulary


@pytest.fixture
def activation() -> torch.Tensor:
    return torch.randn(3, 5, 4, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("channels", [None, (2,), (0, 4)])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_direction_times_scale_is_the_gradient_of_the_value(objective, channels, activation):
    term = Term("layer", objective, channels)
    a = activation.double().requires_grad_()
    chosen = a if channels is None else a[:, list(channels)]
    plain = {
        "mean_square": lambda c: c.square().mean((1, 2, 3)),
        "norm": lambda c: c.flatten(1).norm(dim=1),
        "mean": lambda c: c.mean((1, 2, 3)),
        "neuron": lambda c: c[:, :, 2, 3].mean(1),
    }[objective](chosen)
    (expected,) = torch.autograd.grad(plain.sum(), a)
    got = climb(term, activation)
    torch.testing.assert_close(got.value.double(), plain, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        (got.direction * got.scale[:, None, None, None]).double(), expected, rtol=1e-5, atol=1e-7
    )


@pytest.mark.parametrize("channels", [None, (4, 1)])
@pytest.mark.parametrize("match", ["best", "mean"])
def test_following_a_guide_is_the_gradient_of_its_value(match, channels, activation, monkeypatch):
    """Against a loss of dot products and autograd; the blocks of products are small here."""
    monkeypatch.setattr(objectives, "_PRODUCTS_AT_ONCE", 50)
    guide = torch.randn(1, 5, 3, 7, generator=torch.Generator().manual_seed(4))
    chosen = list(channels or range(5))
    a = activation.double().requires_grad_()
    features = guide.double()[0, chosen].flatten(1)
    if match == "mean":
        features = features.mean(1, keepdim=True)
    products = torch.einsum("nchw,cf->nhwf", a[:, chosen], features)
    plain = products.amax(-1).sum((1, 2)) / a[0, chosen].numel()
    (expected,) = torch.autograd.grad(plain.sum(), a)
    term = Term("layer", "guide", channels)
    got = climb(term, activation, vocabulary(guide, match))
    torch.testing.assert_close(got.value.double(), plain.detach(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(
        (got.direction * got.scale[:, None, None, None]).double(), expected, rtol=1e-5, atol=1e-7
    )
    assert got.direction.shape == activation.shape


def test_a_guide_is_matched_per_sample(activation):
    features = vocabulary(
        torch.randn(1, 5, 2, 2, generator=torch.Generator().manual_seed(4)), "best"
    )
    together = climb(Term("a", "guide"), activation, features)
    for k in range(3):
        alone = climb(Term("a", "guide"), activation[k : k + 1], features)
        assert torch.equal(alone.direction[0], together.direction[k])
        torch.testing.assert_close(alone.value[0], together.value[k])


def test_a_guide_in_half_precision_is_summed_in_float32(activation):
    guide = torch.randn(1, 5, 9, 9, generator=torch.Generator().manual_seed(4))
    half = climb(Term("a", "guide"), activation.bfloat16(), vocabulary(guide.bfloat16(), "best"))
    exact = climb(
        Term("a", "guide"),
        activation.bfloat16().float(),
        vocabulary(guide.bfloat16().float(), "best"),
    )
    assert half.direction.dtype == torch.bfloat16
    assert torch.equal(half.value, exact.value)
    assert torch.equal(half.direction.float(), exact.direction)


def test_a_guide_that_is_not_there_is_missed(activation):
    with pytest.raises(ValueError, match="layer is to follow a guide, and there is none"):
        climb(Term("layer", "guide"), activation)


def test_a_channel_that_is_not_there_is_named(activation):
    with pytest.raises(ValueError, match=r"channels 0\.\.4; got \[5\]"):
        climb(Term("layer", channels=(1, 5)), activation)


def test_an_unknown_objective_lists_the_known_ones():
    with pytest.raises(ValueError, match="mean_square, norm, mean, neuron, guide"):
        Term("layer", "l3")


def test_several_terms_weigh_as_their_gradients_do(activation):
    other = torch.randn(3, 7, 2, 3, generator=torch.Generator().manual_seed(1))
    weights = torch.tensor([[1.0, 2.0], [0.0, 1.0], [0.5, -3.0]])
    climbs = [climb(Term("a"), activation), climb(Term("b", "norm"), other)]
    directions, factor, value = seeds(climbs, weights)
    for k, c in enumerate(climbs):
        expected = c.direction * (c.scale * weights[:, k])[:, None, None, None]
        torch.testing.assert_close(directions[k] * factor[:, None, None, None], expected)
        assert directions[k].abs().max() <= c.direction.abs().max() * (1 + 1e-6)
    torch.testing.assert_close(
        value, (climbs[0].value * weights[:, 0] + climbs[1].value * weights[:, 1])
    )


def test_what_is_silent_does_not_drown_the_others_in_half_precision(activation):
    half = activation.relu().half()
    half[:, 2] = 0
    climbs = [climb(Term("a", "norm", (some,)), half) for some in (2, 3)]
    directions, factor, _ = seeds(climbs, torch.full((3, 2), 0.5))
    expected = climbs[1].direction.float() * (0.5 * climbs[1].scale)[:, None, None, None]
    found = directions[1].float() * factor[:, None, None, None]
    torch.testing.assert_close(found, expected, rtol=2e-3, atol=1e-6)
    assert found.flatten(1).norm(dim=1) == pytest.approx([0.5] * 3, rel=2e-3)
    assert not directions[0].any()


def test_one_term_seeds_with_the_bare_activation(activation):
    (direction,), _, _ = seeds([climb(Term("a"), activation)], torch.full((3, 1), -2.0))
    assert direction is activation


def test_layers_behind_a_global_pooling_have_no_place():
    flat = torch.randn(2, 9, generator=torch.Generator().manual_seed(2))
    for objective in OBJECTIVES:
        assert climb(Term("fc", objective, (3, 4)), flat).value.shape == (2,)
    climbs = [climb(Term("fc"), flat), climb(Term("fc", "mean", (1,)), flat)]
    directions, _, _ = seeds(climbs, torch.ones(2, 2))
    assert all(d.shape == flat.shape for d in directions)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_each_sample_climbs_a_channel_of_its_own(objective, activation):
    each = climb(
        Term("layer", objective, "each"), activation, channel=torch.tensor([4.0, 0.0, 2.0])
    )
    for k, channel in enumerate((4, 0, 2)):
        alone = climb(Term("layer", objective, (channel,)), activation[k : k + 1])
        torch.testing.assert_close(each.value[k : k + 1], alone.value)
        torch.testing.assert_close(each.scale[k : k + 1], alone.scale)
        assert torch.equal(each.direction[k : k + 1], alone.direction)


def test_a_silent_channel_is_woken_by_the_whole_layer(activation):
    activation = activation.relu()
    activation[0, 2] = 0
    each = climb(Term("layer", "mean", "each"), activation, channel=torch.full((3,), 2.0))
    assert torch.equal(each.direction[0], torch.full_like(each.direction[0], 1 / 5))
    assert (each.direction[1:, 3] == 0).all()
    assert each.direction.dtype == activation.dtype


def test_a_channel_for_each_sample_is_needed(activation):
    with pytest.raises(ValueError, match="channel of its own"):
        climb(Term("layer", channels="each"), activation)
