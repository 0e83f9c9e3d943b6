"""What detectors owe their users: defaults as chosen, robust to wild cells and dense groups, sound ranks and parts."""

import math

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA, KernelPCA
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from sk_autoenc import AutoencoderTransformer, ReconstructionOutlierDetector, VAETransformer
from sk_autoenc.data.validation import cast_within
from sk_autoenc.outliers.ensembles import CloneCommittee, Standardization, _errors
from sk_autoenc.outliers.scores import CodeDistance, NeighborDistance, Rarity
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.schedules import rise_and_fall

X = np.random.default_rng(0).standard_normal((600, 6))


def auroc(is_outlier, detector, rows):
    return roc_auc_score(is_outlier, -detector.score_samples(rows))


# -- what was chosen by benchmark


@pytest.mark.parametrize(
    ("novelty", "ks", "n_compared", "power", "weight"), [(False, [8, 32], 256, 0.25, 0.8), (True, [1, 5], 600, 0.33, 0)]
)
def test_the_default_is_the_one_that_was_measured(novelty, ks, n_compared, power, weight):
    found = ReconstructionOutlierDetector(novelty=novelty, n_steps=2, random_state=0).fit(X)
    measure, committee = found._measure, found._committee
    rows, made = committee.standardize(X), committee.reconstruct(X)
    order = torch.randperm(600, generator=make_generator(found._seed, "split"))[:512]
    typical = ((rows - made)[:, order].square().sum(-1).median(1).values / 6).sqrt()
    torch.testing.assert_close(measure.distance.sigma, typical.detach() ** power)
    assert measure.distance.ks.tolist() == ks
    assert measure.distance.prototypes.shape == (8, n_compared, 12)
    tail = torch.quantile(measure.rarity.parts(rows[order]).sum(1), 0.9).item()
    assert measure.units[1].item() * tail == pytest.approx(weight, rel=0.02)
    tail = torch.quantile(measure.distance.parts(rows[order], made[:, order]).sum(1), 0.9).item()
    assert measure.units[0].item() * tail == pytest.approx(1, rel=0.02)


def test_rows_that_are_trimmed_are_not_learnt():
    losses = [
        ReconstructionOutlierDetector(n_steps=3, trim=trim, random_state=0).fit(X).loss_curve_[0]
        for trim in (0.3, 0.1, 0.0)
    ]
    assert losses == sorted(losses)
    assert losses[0] < 0.8 * losses[2]


def test_the_rate_rises_and_falls_in_half_cosines():
    shares = [rise_and_fall(step, 100) for step in range(100)]
    assert shares[0] == pytest.approx(0.04)
    assert max(shares) == shares[29] == 1
    assert shares[99] == pytest.approx(1e-4)
    assert shares[15] == pytest.approx(1 - 0.96 * (1 + math.cos(math.pi * 15 / 29)) / 2)


def test_distances_are_in_units_of_their_median():
    rows = torch.tensor(X[:100], dtype=torch.float32)
    chosen = torch.arange(100)[None]
    measure, distances = NeighborDistance.fit(rows, chosen, rows[None], rows[None], ks=(3,), power=1.0)
    assert distances.median().item() == pytest.approx(1)
    torch.testing.assert_close(measure.parts(rows, rows[None]).sum(1).float(), distances)


@pytest.mark.parametrize("transformer", [None, PCA(2)])
def test_members_compare_with_rows_of_their_own(transformer):
    found = ReconstructionOutlierDetector(transformer, n_estimators=3, max_samples=50, n_steps=2, random_state=0).fit(X)
    prototypes, sigma = found._measure.distance.prototypes, found._measure.distance.sigma
    rows, made = found._committee.standardize(X).float(), found._committee.reconstruct(X).detach().float()
    places = torch.cat([made, (rows - made) / sigma[:, None, None]], dim=-1)
    own = torch.cdist(prototypes, places, compute_mode="donot_use_mm_for_euclid_dist").min(2)
    assert own.values.max() < 1e-4
    assert all(len(numbers.unique()) == len(numbers) for numbers in own.indices)
    assert not torch.equal(own.indices[0].sort().values, own.indices[1].sort().values)


@pytest.mark.parametrize("novelty", [False, True])
def test_reference_rows_are_themselves_though_bits_of_their_reconstructions_differ(novelty):
    """Of two rows of a member one is compared with the other, and not with itself."""
    rows = torch.tensor(X[:40], dtype=torch.float32)
    chosen = torch.arange(40)[None]
    off = rows + 1e-6 * torch.randn(rows.shape, generator=torch.Generator().manual_seed(0))
    options = {"ks": (1, 5) if novelty else (8, 32), "power": 0.25}
    exact, rounded = (NeighborDistance.fit(rows, chosen, made[None], rows[None], **options)[0] for made in (rows, off))
    torch.testing.assert_close(exact.unit, rounded.unit)


# -- rows that are meant to mislead


@pytest.mark.parametrize("novelty", [False, True])
@pytest.mark.parametrize("n_rows", [60, 600])
@pytest.mark.parametrize("wild", [1e3, 1e30])
def test_a_wild_cell_blinds_no_column(novelty, n_rows, wild):
    rows = np.random.default_rng(1).standard_normal((n_rows, 6))
    is_outlier = np.arange(n_rows) < n_rows // 50
    rows[is_outlier, 3] += 8
    rows[-7, 3] = wild
    found = ReconstructionOutlierDetector(novelty=novelty, random_state=0).fit(rows[~is_outlier] if novelty else rows)
    others = np.arange(n_rows) != n_rows - 7
    assert auroc(is_outlier[others], found, rows[others]) > (0.98 if n_rows == 600 else 0.8)
    assert found.score_samples(rows).argmin() == n_rows - 7


def test_spreads_are_of_usual_values():
    rows = np.random.default_rng(0).standard_normal((90, 5))
    rows[:, 1] = np.arange(90) < 4  # nearly constant
    rows[:, 2] = 7.0
    expected = Standardization.fit(rows)
    np.testing.assert_allclose(expected.center, rows.mean(0))
    np.testing.assert_allclose(expected.spread, [*rows[:, :2].std(0), 7, *rows[:, 3:].std(0)])
    rows[50] = 1e30
    held = Standardization.fit(rows)
    assert (held.spread[[0, 1, 3, 4]] < 4 * expected.spread[[0, 1, 3, 4]]).all()


def test_a_far_value_does_not_widen_the_bins():
    values = torch.linspace(-2, 2, 200)[:, None]
    bins = Rarity.fit(torch.cat([values, torch.full((1, 1), 49.0)]))._bin(values)
    assert len(bins.unique()) > 8


def test_a_dense_group_does_not_vouch_for_itself():
    rows = np.random.default_rng(0).standard_normal((1000, 6))
    is_outlier = np.arange(1000) < 50
    rows[:50] *= 0.1
    rows[:50, :3] += 3
    assert auroc(is_outlier, ReconstructionOutlierDetector(random_state=0).fit(rows), rows) > 0.95


def test_a_change_of_what_was_constant_is_noticed():
    for constant, other in ((7.0, 7.5), (1e6, 1.1e6), (0.0, 0.5)):
        found = ReconstructionOutlierDetector(n_steps=2, random_state=0).fit(np.c_[X, np.full(600, constant)])
        rows = np.c_[X[:200], np.full(200, constant)]
        changed = np.c_[X[:200], np.full(200, other)]
        assert (found.score_samples(changed) < np.median(found.score_samples(rows))).mean() > 0.9


# -- decisions and ranks


def test_rows_are_their_own_reference_rows_also_after_rounding():
    found = ReconstructionOutlierDetector(n_steps=5, novelty=True, contamination=0.1, random_state=0).fit(X)
    for rows in (X.astype(np.float32), X.round(5)):
        assert 58 <= (found.predict(rows) == -1).sum() <= 62
        np.testing.assert_allclose(found.score_samples(rows), found.score_samples(X), rtol=0.02)


def test_a_clone_whose_last_bits_hang_on_company_gives_the_same_scores():
    rows = X[:150].astype(np.float32)
    kernel = KernelPCA(3, kernel="rbf", fit_inverse_transform=True)
    found = ReconstructionOutlierDetector(kernel, n_estimators=2, novelty=True, random_state=0).fit(rows)
    alone = np.concatenate([found.score_samples(rows[i : i + 1]) for i in range(0, 150, 10)])
    np.testing.assert_allclose(alone, found.score_samples(rows)[::10], rtol=1e-4)


def test_ranks_do_not_hang_on_the_dtype():
    """Rows of zeros and ones have many equal scores, and the same values in both dtypes."""
    rows = (np.random.default_rng(0).random((300, 5)) < 0.4).astype(float)
    found = ReconstructionOutlierDetector(n_steps=2, calibration_fraction=0.3, random_state=0).fit(rows[:200])
    small = rows[200:].astype(np.float32)
    np.testing.assert_array_equal(found.predict_pvalue(small), found.predict_pvalue(rows[200:]))
    np.testing.assert_array_equal(found.predict(small), found.predict(rows[200:]))


def test_decisions_are_made_in_float64(monkeypatch):
    found = ReconstructionOutlierDetector(n_steps=2, random_state=0).fit(X)
    around = found.offset_ + 1e-12 * np.array([-1.0, 1.0])
    monkeypatch.setattr(found, "_score", lambda rows: around)
    assert found.predict(X[:2].astype(np.float32)).tolist() == [-1, 1]
    assert (found.decision_function(X[:2].astype(np.float32)) < 0).tolist() == [True, False]


def test_finite_scores_stay_finite_in_float32():
    found = cast_within(np.array([-1e300, 1.5, -np.inf]), np.dtype(np.float32))
    np.testing.assert_array_equal(found, np.array([-np.finfo(np.float32).max, 1.5, -np.inf], dtype=np.float32))


def test_rows_that_are_held_out_teach_nothing():
    fits = ReconstructionOutlierDetector(n_steps=3, calibration_fraction=0.2, random_state=0)
    found = fits.fit(X)
    order = torch.randperm(600, generator=make_generator(found._seed, "split")).numpy()
    held_out, others = order[:120], order[120:]
    np.testing.assert_array_equal(found.calibration_scores_, np.sort(found.score_samples(X[held_out])))
    expected = found.score_samples(X[others])
    changed = X.copy()
    changed[held_out] += 100
    np.testing.assert_array_equal(fits.fit(changed).score_samples(X[others]), expected)
    assert fits.calibration_scores_.max() < expected.min()


# -- parts by feature


class LinearScore(PCA):
    """A score whose parts are known: a sum over features; minus infinity on one side."""

    weights = np.array([1.0, -2.0, 3.0])
    limit = np.inf

    def score_samples(self, X):
        return np.where(X[:, 0] > self.limit, -np.inf, X @ self.weights)


class HalfSpace(LinearScore):
    limit = 1.5


class Nowhere(LinearScore):
    """Possible only with a positive first feature, whose median is negative: no median makes a row possible."""

    def score_samples(self, X):
        return np.where(X[:, 0] <= 0, -np.inf, X @ self.weights)


def explained(transformer, rows):
    found = ReconstructionOutlierDetector(
        transformer, n_estimators=2, trim=0, residual="log_likelihood", random_state=0
    ).fit(rows)
    return found, found.explain(rows)


def test_occlusion_by_hand():
    rows = X[:100, :3]
    found, parts = explained(LinearScore(2), rows)
    typical = np.sort(rows, axis=0)[49]
    by_feature = -(rows - typical) * LinearScore.weights
    np.testing.assert_allclose(parts, by_feature - (typical @ LinearScore.weights) / 3)
    np.testing.assert_allclose(parts.sum(1), -found.score_samples(rows))


def test_impossible_rows_are_explained_by_what_makes_them_so():
    rows = X[:100, :3]
    _, parts = explained(HalfSpace(2), rows)
    impossible = rows[:, 0] > 1.5
    assert impossible.any()
    np.testing.assert_array_equal(parts[impossible], [[np.inf, 0, 0]] * impossible.sum())
    assert np.isfinite(parts[~impossible]).all()
    rows = rows - np.array([1.0, 0, 0])
    detector = ReconstructionOutlierDetector(Nowhere(2), n_estimators=1, trim=0, residual="log_likelihood")
    with pytest.raises(ValueError, match=r"offset_ would be .* residual='log_likelihood'"):
        detector.fit(rows)
    detector.set_params(contamination=0.5, random_state=0).fit(rows + np.array([3.0, 0, 0]))
    detector._typical = np.array([-1.0, 0, 0])
    parts = detector.explain(rows)
    possible = rows[:, 0] > 0
    assert np.isfinite(parts[possible]).all()
    np.testing.assert_allclose(parts[possible].sum(1), -detector.score_samples(rows[possible]))
    assert np.isposinf(parts[~possible]).all()


# -- what cannot work is said


@pytest.mark.filterwarnings("ignore:Codes have collapsed")
def test_rare_categories_do_not_break_the_fit():
    rows = np.zeros((200, 2), dtype=int)
    rows[:, 1] = np.arange(200) % 3
    rows[7, 0] = 1
    model = VAETransformer(1, likelihood="categorical", architecture=(8,), max_iter=2, early_stopping=False)
    found = ReconstructionOutlierDetector(model, n_estimators=2, random_state=0).fit(rows)
    assert found.score_samples(rows).argmin() == 7


def test_errors_and_warnings_name_what_to_change():
    with pytest.raises(ValueError, match=r"trim=0\.1 leaves 9 of 10 rows .* PCA .*use trim=0"):
        ReconstructionOutlierDetector(PCA(10)).fit(np.c_[X, X][:10])
    with pytest.raises(ValueError, match=r"the class PCA; write autoencoder=PCA\(\)"):
        ReconstructionOutlierDetector(PCA).fit(X)
    for rows in (X, (X + 10).astype(np.float32)):
        with pytest.warns(UserWarning, match="gives training rows back up to rounding.*residual='squared'"):
            ReconstructionOutlierDetector(PCA(), residual="squared", random_state=0).fit(rows)


# -- clones of models with a density or of categories


def test_rows_beyond_all_distance_are_outliers():
    """Correlated noise multiplies by infinity there, and no comparison with NaN would be true."""
    rows = X[:200] + X[:200, :1]
    far = rows[:2].copy()
    far[0, 0] = 1e38
    model = VAETransformer(2, max_iter=2, early_stopping=False, random_state=0)
    scores = clone(model).fit(rows).score_samples(far)
    assert scores[0] == -np.inf
    assert np.isfinite(scores[1])
    detector = ReconstructionOutlierDetector(model, n_estimators=2, trim=0, calibration_fraction=0.2, random_state=0)
    assert detector.fit(rows).predict(far)[0] == -1
    assert detector.predict_pvalue(far)[0] == pytest.approx(1 / 41)


class ScoresNothing(PCA):
    def score_samples(self, X):
        return np.full(len(X), np.nan)


def test_a_score_that_is_none_is_the_lowest():
    detector = ReconstructionOutlierDetector(PCA(2), residual="log_likelihood", n_estimators=1, random_state=0).fit(X)
    detector._committee.members = [ScoresNothing(2).fit(X)]
    assert (detector.score_samples(X[:3]) == -np.inf).all()
    assert (detector.predict(X[:3]) == -1).all()


@pytest.mark.parametrize("in_pipeline", [False, True])
def test_categories_are_trimmed_by_their_probability(in_pipeline):
    draw = np.random.default_rng(0)
    C = np.column_stack([draw.integers(0, 12, 400), draw.integers(0, 3, 400)]).astype(float)
    model = AutoencoderTransformer(1, likelihood="categorical", architecture=(8,), max_iter=3, random_state=0)
    model = make_pipeline(FunctionTransformer(), model) if in_pipeline else model
    errors = _errors(model.fit(C), C, Standardization.fit(C))
    np.testing.assert_array_equal(errors.numpy(), -model.score_samples(C))


def test_pvalues_count_ties_as_no_less_unusual():
    """Where rows have few values, a new one that ties with held-out rows is not more unusual than they are."""
    rows = np.random.default_rng(0).integers(0, 2, (120, 3)).astype(float)
    detector = ReconstructionOutlierDetector(n_steps=2, calibration_fraction=0.3, random_state=0).fit(rows)
    pvalues, scores = detector.predict_pvalue(rows), detector.score_samples(rows)
    held_out = detector.calibration_scores_
    assert np.isin(scores, held_out).all()
    np.testing.assert_allclose(pvalues, [(1 + (held_out <= score).sum()) / (1 + len(held_out)) for score in scores])


def test_codes_of_lower_rank_have_a_distance():
    draw = np.random.default_rng(0)
    code = torch.from_numpy(draw.standard_normal((200, 2)))
    idle = torch.cat([code, torch.zeros(200, 1)], dim=1)
    torch.testing.assert_close(CodeDistance.fit([idle]).total([idle]), CodeDistance.fit([code]).total([code]))


def test_spreads_take_few_reconstructions(monkeypatch):
    n_made = []

    def counted(self, X, original=CloneCommittee.reconstruct):
        n_made.append(len(X))
        return original(self, X)

    monkeypatch.setattr(CloneCommittee, "reconstruct", counted)
    rows = np.random.default_rng(0).standard_normal((9000, 3)).astype(np.float32)
    for residual, most in (("squared", 512), ("robust", 2048)):
        n_made.clear()
        detector = ReconstructionOutlierDetector(PCA(1), residual=residual, n_estimators=1, novelty=True, trim=0)
        detector.fit(rows)
        assert sum(n_made) == most + 512  # and those whose scores set the offset
