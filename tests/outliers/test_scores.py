"""Measures of outlyingness, computed by hand."""

from functools import partial

import numpy as np
import pytest
import torch

from sk_autoenc.outliers.ensembles import draw_without_replacement
from sk_autoenc.outliers.scores import (
    N_REFERENCE_ROWS,
    CodeDistance,
    HistogramScore,
    NeighborDistance,
    NeighborsAndHistogram,
    SquaredResiduals,
)
from tests.outliers.data import NORMAL, generator


def by_hand(place, prototypes, k):
    """Squared differences to the k-th nearest prototype that is not the row itself."""
    squares = np.square(place - prototypes)
    order = list(np.argsort(squares.sum(1), kind="stable"))
    if squares[order[0]].sum() == 0:
        order = order[1:]
    return squares[order[k - 1]]


def test_neighbor_distance_by_hand():
    rows = torch.randn(40, 3, generator=generator())
    made = torch.stack([0.5 * rows, rows.roll(1, dims=1)])
    prototypes, sigma = torch.randn(2, 17, 6, generator=generator(1)), torch.tensor([0.5, 2.0])
    unit, ks = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([1, 4])
    prototypes[0, 3] = torch.cat([made[0, 0], (rows[0] - made[0, 0]) / 0.5])  # row 0 itself
    found = NeighborDistance(prototypes, sigma, unit, ks).parts(rows, made).numpy()
    for i in range(40):
        expected = np.zeros(3)
        for m in range(2):
            place = torch.cat([made[m, i], (rows[i] - made[m, i]) / sigma[m]]).numpy()
            parts = [
                by_hand(place, prototypes[m].numpy(), k) / u.item() for k, u in zip(ks.tolist(), unit[m], strict=True)
            ]
            part = max(parts, key=np.sum)
            expected += (part[:3] + part[3:]) / 2
        np.testing.assert_allclose(found[i], expected, rtol=1e-5)


def test_duplicates_of_a_reference_row_are_its_neighbours():
    rows = torch.zeros(10, 2)
    chosen = torch.arange(10)[None]
    measure, distances = NeighborDistance.fit(rows, chosen, rows[None], rows[None], ks=(1, 5), power=1.0)
    assert distances.abs().max() == 0
    assert measure.parts(rows, rows[None]).abs().max() == 0
    assert torch.isfinite(measure.parts(rows + 3, rows[None])).all()


def test_distances_are_in_units_of_their_median():
    rows = torch.tensor(NORMAL[:100], dtype=torch.float32)
    chosen = torch.arange(100)[None]
    measure, distances = NeighborDistance.fit(rows, chosen, rows[None], rows[None], ks=(3,), power=1.0)
    assert distances.median().item() == pytest.approx(1)
    torch.testing.assert_close(measure.parts(rows, rows[None]).sum(1).float(), distances)


@pytest.mark.parametrize("novelty", [False, True])
def test_reference_rows_are_themselves_though_bits_of_their_reconstructions_differ(novelty):
    """Of two rows of a member one is compared with the other, and not with itself."""
    rows = torch.tensor(NORMAL[:40], dtype=torch.float32)
    chosen = torch.arange(40)[None]
    off = rows + 1e-6 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    options = {"ks": (1, 5) if novelty else (8, 32), "power": 0.25}
    exact, rounded = (NeighborDistance.fit(rows, chosen, made[None], rows[None], **options)[0] for made in (rows, off))
    torch.testing.assert_close(exact.unit, rounded.unit)


def test_histogram_score_is_minus_the_log_frequency():
    values = torch.tensor([0.0] * 90 + [1.0] * 10)[:, None]
    measure = HistogramScore.fit(torch.cat([values, torch.full((100, 1), 7.0)], dim=1))
    parts = measure.parts(torch.tensor([[0.0, 7.0], [1.0, 7.0], [0.5, 7.0], [-9.0, 7.5]])).numpy()
    np.testing.assert_allclose(parts[:2, 0], -np.log([90.1 / 103, 10.1 / 103]), rtol=1e-6)
    np.testing.assert_allclose(parts[2:, 0], -np.log(0.1 / 103), rtol=1e-6)
    np.testing.assert_allclose(parts[:, 1], [0, 0, 0, -np.log(0.1 / 103)], rtol=1e-6)  # constant in training


def test_a_value_beyond_a_long_tail_is_as_rare_as_one_that_no_row_has():
    tail = torch.tensor(np.random.default_rng(0).standard_t(1.5, (2000, 1)), dtype=torch.float32)
    measure = HistogramScore.fit(tail)
    assert measure.parts(10 * tail.max()[None, None]).item() == pytest.approx(-np.log(0.1 / 2003), rel=1e-6)
    assert measure.parts(tail.max()[None, None]).item() < 5


def test_a_far_value_does_not_widen_the_bins():
    values = torch.linspace(-2, 2, 200)[:, None]
    measure = HistogramScore.fit(torch.cat([values, torch.full((1, 1), 49.0)]))
    assert measure.parts(values).mean() > np.log(8)  # the entropy of more than eight bins


def test_both_measures_are_in_units_of_their_tail():
    rows = torch.randn(1000, 4, generator=generator())
    made = 0.5 * rows[None]
    chosen = draw_without_replacement(1000, 50, 1, generator())
    of_chosen, of_first = made[:, chosen[0]], made[:, :N_REFERENCE_ROWS]
    measure = NeighborsAndHistogram.fit(rows, chosen, of_chosen, of_first, ks=(8,), power=0.5, histogram_weight=0.25)
    far, rare = (
        measure.distance.parts(rows, made) * measure.factors[0],
        measure.histogram.parts(rows) * measure.factors[1],
    )
    distance, rarity = far.sum(1), rare.sum(1)
    both = torch.hypot(distance, rarity)
    expected = (far * distance[:, None] + rare * rarity[:, None]) / both[:, None]
    torch.testing.assert_close(measure.parts(rows, made), expected)
    torch.testing.assert_close(expected.sum(1), both)
    assert torch.quantile(distance[:N_REFERENCE_ROWS], 0.9).item() == pytest.approx(1, rel=0.05)
    assert torch.quantile(rarity[:N_REFERENCE_ROWS], 0.9).item() == pytest.approx(0.25, rel=0.05)


def test_reference_rows_stand_where_scored_rows_do_whatever_the_dtype():
    """Clones reconstruct in float64; rows are scored in float32."""
    rows = torch.randn(100, 4, generator=generator())
    made, chosen = rows.sin()[None], torch.arange(100)[None]
    fit = partial(NeighborsAndHistogram.fit, ks=(8,), power=0.5, histogram_weight=0.25)
    one, other = fit(rows, chosen, made, made), fit(rows, chosen, made.double(), made.double())
    assert torch.equal(one.distance.prototypes, other.distance.prototypes)


def test_robust_residuals_by_hand():
    rows = torch.tensor([[1.0, 0.0], [2.0, 0.0], [3.0, 0.0], [100.0, 1e-9]])
    measure = SquaredResiduals.fit(rows, torch.zeros(1, 4, 2))
    root = np.sqrt((1 + 4 + 9 + 1e4) / 4)
    expected = np.square(np.array([1, 2, 3, 100]) / max(1.4826 * 2, 0.1 * root))
    np.testing.assert_allclose(measure.parts(rows, torch.zeros(1, 4, 2))[:, 0], expected, rtol=1e-6)


def test_code_distance_is_that_of_mahalanobis():
    code = (
        torch.randn(200, 3, generator=generator(), dtype=torch.float64)
        @ torch.randn(3, 3, generator=generator(1)).double()
    )
    found = CodeDistance.fit([code, code * 7 + 3]).total([code, code * 7 + 3])
    centered = (code - code.mean(0)).numpy()
    expected = np.einsum("ij,jk,ik->i", centered, np.linalg.inv(centered.T @ centered / 200), centered)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_codes_of_lower_rank_have_a_distance():
    draw = np.random.default_rng(0)
    code = torch.from_numpy(draw.standard_normal((200, 2)))
    idle = torch.cat([code, torch.zeros(200, 1)], dim=1)
    torch.testing.assert_close(CodeDistance.fit([idle]).total([idle]), CodeDistance.fit([code]).total([code]))
