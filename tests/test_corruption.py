"""The noise kinds: how much, what, and from which generator."""

import pytest
import torch

from sk_autoenc.corruption import NOISE_KINDS, Corruption

ROWS, COLUMNS = 2000, 10


@pytest.fixture
def x():
    """Rows without zeros, each feature in a range of its own."""
    rows = torch.rand(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))
    return 1 + rows + torch.arange(COLUMNS)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def corruption(kind, amount, x):
    layer = Corruption(kind, amount, x.shape[1])
    layer.set_range(x.amin(0), x.amax(0))
    return layer


def binomial_bounds(share, n, deviations=4.5):
    margin = deviations * (share * (1 - share) / n) ** 0.5
    return share - margin, share + margin


@pytest.mark.parametrize("amount", [0.1, 0.3, 0.75])
def test_masking_sets_a_share_of_the_cells_to_zero(x, amount):
    noisy = corruption("masking", amount, x)(x, seeded(1))
    changed = noisy != x
    low, high = binomial_bounds(amount, x.numel())
    assert low < changed.double().mean() < high
    assert (noisy[changed] == 0).all()
    per_column, (low, high) = changed.double().mean(0), binomial_bounds(amount, ROWS)
    assert ((low < per_column) & (per_column < high)).all()


def test_masking_draws_every_cell_on_its_own(x):
    changed = (corruption("masking", 0.5, x)(x, seeded(1)) == 0).double()
    correlation = torch.corrcoef(changed.T) - torch.eye(COLUMNS)
    assert correlation.abs().max() < 4.5 / ROWS**0.5


@pytest.mark.parametrize("amount", [0.2, 0.5])
def test_salt_and_pepper_uses_both_ends_of_each_feature_alike(x, amount):
    noisy = corruption("salt_and_pepper", amount, x)(x, seeded(1))
    low, high = (x.amin(0), x.amax(0))
    salt, pepper = (noisy == high).double().mean(0), (noisy == low).double().mean(0)
    lower, upper = binomial_bounds(amount / 2, ROWS)
    slack = 1 / ROWS  # each end is also one of the clean values
    for share in (salt, pepper):
        assert ((lower <= share) & (share <= upper + slack)).all()
    untouched = (noisy != low) & (noisy != high)
    assert torch.equal(noisy[untouched], x[untouched])


@pytest.mark.parametrize("amount", [0.3, 2.0])
def test_gaussian_noise_has_the_given_deviation(x, amount):
    noise = corruption("gaussian", amount, x)(x, seeded(1)) - x
    cells = noise.numel()
    assert noise.std().item() == pytest.approx(amount, rel=4.5 / (2 * cells) ** 0.5)
    assert abs(noise.mean().item()) < 4.5 * amount / cells**0.5
    # normal: 68.3 % within one deviation
    low, high = binomial_bounds(0.6827, cells)
    assert low < (noise.abs() < amount).double().mean() < high


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_the_generator_alone_decides(x, kind):
    layer, before, state = corruption(kind, 0.4, x), x.clone(), torch.get_rng_state()
    first = layer(x, seeded(1))
    torch.manual_seed(123)
    state = torch.get_rng_state()
    assert torch.equal(layer(x, seeded(1)), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(layer(x, seeded(2)), first)
    assert torch.equal(x, before)


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_every_call_draws_anew(x, kind):
    layer, generator = corruption(kind, 0.4, x), seeded(1)
    assert not torch.equal(layer(x, generator), layer(x, generator))


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_no_amount_leaves_the_rows(x, kind):
    assert torch.equal(corruption(kind, 0.0, x)(x, seeded(1)), x)


@pytest.mark.parametrize("kind", ["masking", "salt_and_pepper"])
def test_the_whole_amount_leaves_no_cell(x, kind):
    noisy = corruption(kind, 1.0, x)(x, seeded(1))
    ends = torch.stack([x.amin(0), x.amax(0)]) if kind == "salt_and_pepper" else torch.zeros(1, COLUMNS)
    assert (noisy.unsqueeze(0) == ends.unsqueeze(1)).any(0).all()


@pytest.mark.parametrize("kind", NOISE_KINDS)
def test_shape_and_dtype_are_kept(x, kind):
    noisy = corruption(kind, 0.4, x)(x, seeded(1))
    assert noisy.shape == x.shape
    assert noisy.dtype == x.dtype


def test_the_range_is_part_of_the_state():
    """It is saved with the weights, and only by the kind that reads it."""
    assert set(Corruption("salt_and_pepper", 0.1, 3).state_dict()) == {"low", "high"}
    assert not Corruption("masking", 0.1, 3).state_dict()
    assert not Corruption("gaussian", 0.1, 3).state_dict()
