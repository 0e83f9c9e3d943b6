"""The noise kinds: how much, what, and from which generator."""

import pytest
import torch

from sk_autoenc.nn.convolution import ImageLayout
from sk_autoenc.nn.corruption import NOISE_KINDS, Corruption

ROWS, COLUMNS = 2000, 10


@pytest.fixture
def x():
    """Rows without zeros, each feature in a range of its own."""
    rows = torch.rand(ROWS, COLUMNS, generator=torch.Generator().manual_seed(0))
    return 1 + rows + torch.arange(COLUMNS)


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def corruption(kind, amount, x):
    layer = Corruption(kind, amount, x.shape[1], ImageLayout(1, 2, COLUMNS // 2, False))
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


@pytest.mark.parametrize("kind", ["masking", "salt_and_pepper", "block"])
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


def hidden_by_blocks(amount, layout, n_rows=500):
    """Which cells a block hides, as images ``(n_rows, n_channels, height, width)``."""
    noisy = Corruption("block", amount, layout.n_cells, layout)(torch.ones(n_rows, layout.n_cells), seeded(1))
    return layout.to_maps(noisy) == 0


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_block_is_one_rectangle_in_all_channels(channels_last):
    hidden = hidden_by_blocks(0.3, ImageLayout(2, 12, 10, channels_last))
    assert torch.equal(hidden[:, 0], hidden[:, 1])
    in_rows, in_columns = hidden[:, 0].any(2), hidden[:, 0].any(1)
    assert torch.equal(hidden[:, 0], in_rows[:, :, None] & in_columns[:, None, :])
    for inside in (in_rows, in_columns):
        n_begins = (inside[:, 1:] > inside[:, :-1]).sum(1) + inside[:, 0]
        assert (n_begins == 1).all()


@pytest.mark.parametrize("amount", [0.1, 1 / 3, 0.6])
def test_a_block_has_its_share_of_the_area(amount):
    hidden = hidden_by_blocks(amount, ImageLayout(1, 60, 40, False))[:, 0].double()
    assert (hidden.mean((1, 2)) - amount).abs().max() < 0.03


def test_blocks_have_every_shape_and_place():
    hidden = hidden_by_blocks(0.25, ImageLayout(1, 12, 12, False), n_rows=5000)[:, 0]
    heights = hidden.any(2).sum(1)
    assert heights.unique().tolist() == list(range(3, 13))
    assert hidden.double().mean(0).min() > 0.005  # corners are hidden too
    full = hidden[heights == 12].any(1).double().argmax(1)  # strips of full height: where they begin
    assert full.unique().tolist() == list(range(10))


def warp(layout, amount, maps, seed=1, center=None):
    """Maps through the corruption, as maps."""
    layer = Corruption("warp", amount, layout.n_cells, layout)
    if center is not None:
        layer.set_center(center)
    return layout.to_maps(layer(layout.to_rows(maps), seeded(seed)))


def test_a_warp_moves_times_by_the_given_deviation():
    """Of a series whose values are its times, far from the ends, the noise is what times are moved by."""
    layout, amount = ImageLayout(1, 1, 91, False), 0.03
    times = torch.arange(91.0).expand(ROWS, 1, 1, 91)
    moves = (warp(layout, amount, times) - times)[:, 0, 0]
    knots = moves[:, 20:80:10]  # of ten from end to end one at every tenth time: N(0, (amount * length)²)
    deviation = amount * 91
    assert knots.std().item() == pytest.approx(deviation, rel=4.5 / (2 * knots.numel()) ** 0.5)
    assert abs(knots.mean().item()) < 4.5 * deviation / knots.numel() ** 0.5
    assert (torch.corrcoef(knots.T) - torch.eye(6)).abs().max() < 4.5 / ROWS**0.5
    torch.testing.assert_close(moves[:, 25:75:10], (knots[:, :-1] + knots[:, 1:]) / 2, rtol=0, atol=1e-4)


@pytest.mark.parametrize("channels_last", [False, True])
def test_a_warp_moves_all_channels_alike_and_each_row_by_itself(channels_last):
    layout = ImageLayout(2, 1, 40, channels_last)
    maps = torch.randn(1, 1, 1, 40, generator=seeded(0)) * torch.tensor([1.0, -3.0])[:, None, None]
    moved = warp(layout, 0.1, maps.expand(50, -1, -1, -1))
    torch.testing.assert_close(moved[:, 1], -3 * moved[:, 0])
    assert (moved[1:] != moved[:1]).flatten(1).any(1).all()
    assert maps.amin() <= moved.amin() <= moved.amax() <= maps.amax()  # ends repeat, and nothing else comes in


def test_a_warp_of_images_moves_rows_and_columns():
    layout = ImageLayout(1, 30, 20, False)
    down = torch.arange(30.0)[:, None].expand(5, 1, 30, 20)
    across = torch.arange(20.0).expand(5, 1, 30, 20)
    for values, other in ((down, 3), (across, 2)):
        moved = warp(layout, 0.1, values)
        assert not torch.equal(moved, values)
        torch.testing.assert_close(moved, moved.narrow(other, 0, 1).expand_as(moved))  # all columns, or rows, alike


def test_a_warp_moves_the_rows_with_their_centre():
    layout = ImageLayout(1, 1, 40, False)
    rows, center = torch.randn(30, 1, 1, 40, generator=seeded(0)), torch.linspace(-5, 5, 40)
    expected = warp(layout, 0.1, rows + center) - center
    torch.testing.assert_close(warp(layout, 0.1, rows, center=center), expected)
    assert set(Corruption("warp", 0.1, 40, layout).state_dict()) == {"center"}
