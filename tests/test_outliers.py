"""Outlier detection: what the measures compute, what the detector promises, and data of every size and kind."""

import concurrent.futures
import copy
import pickle
from functools import partial

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA, KernelPCA
from sklearn.exceptions import NotFittedError
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sk_autoenc import (
    AAETransformer,
    AutoencoderTransformer,
    Convolutional,
    ReconstructionOutlierDetector,
    Recurrent,
    VAETransformer,
    Vocabulary,
    load,
    save,
)
from sk_autoenc.inspection import OutlierExplanationDisplay
from sk_autoenc.outliers import base
from sk_autoenc.outliers.batched_networks import AutoencoderEnsemble, train_ensemble
from sk_autoenc.outliers.ensembles import Standardization, deal
from sk_autoenc.outliers.scores import (
    RULE_ROWS,
    CodeDistance,
    NeighborDistance,
    NeighborsAndRarity,
    Rarity,
    SquaredResiduals,
)
from tests.instances import DETECTORS

matplotlib.use("Agg")

rng = np.random.default_rng(0)
X = rng.standard_normal((90, 6)) * [1, 2, 3, 1, 1, 1] + 5

#: Rows on a plane in six dimensions, and 20 rows off it whose single values are usual.
PLANE = np.random.default_rng(1).standard_normal((400, 2)) @ np.random.default_rng(2).standard_normal((2, 6))
OFF = np.column_stack([np.random.default_rng(j).permutation(PLANE[:, j])[:20] for j in range(6)])
PLANTED, IS_OUTLIER = np.vstack([PLANE, OFF]), np.arange(420) >= 400


@pytest.fixture(params=DETECTORS, ids=[f"{i}" for i in range(len(DETECTORS))])
def detector(request):
    return clone(request.param)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


# -- the ensemble of networks


def test_an_ensemble_is_its_members():
    ensemble = AutoencoderEnsemble(3, [5, 7, 2])
    ensemble.initialize(generator())
    x = torch.randn(11, 5, generator=generator())
    code, made = ensemble.encode(x), ensemble(x)
    for m in range(3):
        weights = [(w[m], b[m]) for w, b in zip(ensemble.weights, ensemble.biases, strict=True)]
        (w0, b0), (w1, b1), (w2, b2), (w3, b3) = weights
        expected = torch.nn.functional.silu(x @ w0 + b0) @ w1 + b1
        torch.testing.assert_close(code[m], expected)
        torch.testing.assert_close(made[m], torch.nn.functional.silu(expected @ w2 + b2) @ w3 + b3)


def test_members_train_as_if_alone():
    """Their losses share no term, so the gradient of one does not reach another."""
    ensemble = AutoencoderEnsemble(2, [4, 6, 1])
    ensemble.initialize(generator())
    x = torch.randn(2, 20, 4, generator=generator(1))
    (ensemble(x)[0] - x[0]).square().mean().backward()
    assert all(p.grad[0].abs().sum() > 0 and p.grad[1].abs().sum() == 0 for p in ensemble.parameters())


def test_what_does_not_fit_is_not_learnt():
    rows = torch.randn(500, 1, generator=generator()) @ torch.ones(1, 8)
    odd = torch.randn(25, 8, generator=generator(1)) * 6
    errors = {}
    for trim in (0.0, 0.2):
        ensemble = AutoencoderEnsemble(4, [8, 32, 1])
        ensemble.initialize(generator())
        options = {"n_steps": 200, "batch_size": 128, "learning_rate": 0.006, "generator": generator(2)}
        losses = train_ensemble(ensemble, torch.cat([rows, odd]), trim=trim, **options)
        assert losses[-1] < losses[0]
        errors[trim] = (ensemble(rows) - rows).square().mean().item() / (ensemble(odd) - odd).square().mean().item()
    assert errors[0.2] < 0.5 * errors[0.0]


def test_rows_are_dealt_without_repetition():
    hands = deal(100, 30, 8, generator())
    assert hands.shape == (8, 30)
    assert all(len(set(hand.tolist())) == 30 for hand in hands)
    assert len(set(hands[:3].flatten().tolist())) == 90
    assert hands[:3].tolist() != hands[3:6].tolist()


# -- the measures


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


def test_rarity_is_minus_the_log_frequency():
    values = torch.tensor([0.0] * 90 + [1.0] * 10)[:, None]
    measure = Rarity.fit(torch.cat([values, torch.full((100, 1), 7.0)], dim=1))
    parts = measure.parts(torch.tensor([[0.0, 7.0], [1.0, 7.0], [0.5, 7.0], [-9.0, 7.5]])).numpy()
    np.testing.assert_allclose(parts[:2, 0], -np.log([90.1 / 103, 10.1 / 103]), rtol=1e-6)
    np.testing.assert_allclose(parts[2:, 0], -np.log(0.1 / 103), rtol=1e-6)
    np.testing.assert_allclose(parts[:, 1], [0, 0, 0, -np.log(0.1 / 103)], rtol=1e-6)  # constant in training


def test_a_value_beyond_a_long_tail_is_as_rare_as_one_that_no_row_has():
    tail = torch.tensor(np.random.default_rng(0).standard_t(1.5, (2000, 1)), dtype=torch.float32)
    measure = Rarity.fit(tail)
    assert measure.parts(10 * tail.max()[None, None]).item() == pytest.approx(-np.log(0.1 / 2003), rel=1e-6)
    assert measure.parts(tail.max()[None, None]).item() < 5


def test_both_measures_are_in_units_of_their_tail():
    rows = torch.randn(1000, 4, generator=generator())
    made = 0.5 * rows[None]
    chosen = deal(1000, 50, 1, generator())
    of_chosen, of_first = made[:, chosen[0]], made[:, :RULE_ROWS]
    measure = NeighborsAndRarity.fit(rows, chosen, of_chosen, of_first, ks=(8,), power=0.5, rarity_weight=0.25)
    far, rare = measure.distance.parts(rows, made) * measure.units[0], measure.rarity.parts(rows) * measure.units[1]
    distance, rarity = far.sum(1), rare.sum(1)
    both = torch.hypot(distance, rarity)
    expected = (far * distance[:, None] + rare * rarity[:, None]) / both[:, None]
    torch.testing.assert_close(measure.parts(rows, made), expected)
    torch.testing.assert_close(expected.sum(1), both)
    assert torch.quantile(distance[:RULE_ROWS], 0.9).item() == pytest.approx(1, rel=0.05)
    assert torch.quantile(rarity[:RULE_ROWS], 0.9).item() == pytest.approx(0.25, rel=0.05)


def test_reference_rows_stand_where_scored_rows_do_whatever_the_dtype():
    """Clones reconstruct in float64; rows are scored in float32."""
    rows = torch.randn(100, 4, generator=generator())
    made, chosen = rows.sin()[None], torch.arange(100)[None]
    fit = partial(NeighborsAndRarity.fit, ks=(8,), power=0.5, rarity_weight=0.25)
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


def test_classic_measures_are_those_of_the_autoencoder():
    pca = PCA(2).fit(X)
    error = np.square(X - pca.inverse_transform(pca.transform(X))).sum(1)
    options = {"n_estimators": 1, "max_samples": 1.0, "trim": 0.0, "random_state": 0}
    squared = ReconstructionOutlierDetector(PCA(2), residual="squared", **options).fit(X)
    np.testing.assert_allclose(squared.score_samples(X), -error, rtol=1e-9)
    likelihood = ReconstructionOutlierDetector(PCA(2), residual="log_likelihood", **options).fit(X)
    np.testing.assert_allclose(likelihood.score_samples(X), pca.score_samples(X), rtol=1e-9)


# -- what it is for


@pytest.mark.parametrize("novelty", [False, True])
def test_rows_off_the_plane_are_found(novelty):
    train = PLANE[:200] if novelty else PLANTED
    found = ReconstructionOutlierDetector(novelty=novelty, random_state=0).fit(train)
    assert roc_auc_score(IS_OUTLIER, -found.score_samples(PLANTED)) > 0.9


def test_similar_outliers_do_not_vouch_for_each_other():
    draw = np.random.default_rng(0)
    clump = 2.5 + 0.1 * draw.standard_normal((80, 6))
    rows = np.vstack([draw.standard_normal((1000, 6)), clump])
    scores = -ReconstructionOutlierDetector(random_state=0).fit(rows).score_samples(rows)
    assert roc_auc_score(np.arange(1080) >= 1000, scores) > 0.8


@pytest.mark.parametrize("residual", ["robust", "squared", "neighbors"])
def test_any_transformer_finds_them(residual):
    for transformer in (
        PCA(2),
        KernelPCA(2, fit_inverse_transform=True),
        make_pipeline(StandardScaler(), PCA(2)),
        AutoencoderTransformer(2, max_iter=2, early_stopping=False),
    ):
        found = ReconstructionOutlierDetector(transformer, n_estimators=2, residual=residual, random_state=0)
        assert roc_auc_score(IS_OUTLIER, -found.fit(PLANTED).score_samples(PLANTED)) > 0.9, transformer


def test_a_trimmed_refit_forgets_the_outliers():
    options = {"n_estimators": 1, "max_samples": 1.0, "residual": "squared", "random_state": 0}
    untrimmed, trimmed = (
        -ReconstructionOutlierDetector(PCA(2), trim=trim, **options).fit(PLANTED).score_samples(PLANTED)
        for trim in (0.0, 0.1)
    )
    assert untrimmed[:400].mean() > 1e-3  # the outliers have turned the plane
    assert trimmed[:400].max() < 1e-9


def test_a_model_with_a_density_is_scored_by_it():
    vae = VAETransformer(2, max_iter=2, n_score_samples=8, random_state=0)
    found = ReconstructionOutlierDetector(vae, n_estimators=2, random_state=0).fit(PLANE[:100])
    assert found.residual_ == "log_likelihood"
    expected = np.mean([member.score_samples(PLANTED) for member in found._committee.members], axis=0)
    np.testing.assert_allclose(found.score_samples(PLANTED), expected, rtol=1e-6)


@pytest.mark.parametrize("novelty", [False, True])
def test_groups_of_outliers_get_no_place_in_the_prior(novelty):
    pipe = make_pipeline(StandardScaler(), VAETransformer(2, max_iter=1, n_score_samples=2))
    found = ReconstructionOutlierDetector(pipe, n_estimators=2, novelty=novelty, random_state=0).fit(PLANE[:100])
    assert {member[-1].prior for member in found._committee.members} == {"auto" if novelty else "normal"}
    assert pipe[-1].prior == "auto"


def test_clones_differ_by_seed_and_by_subsample():
    found = ReconstructionOutlierDetector(
        AutoencoderTransformer(1, max_iter=1, random_state=5), n_estimators=2, max_samples=30, random_state=0
    ).fit(X)
    one, two = found._committee.members
    assert one.random_state != two.random_state
    assert not np.array_equal(one.transform(X), two.transform(X))
    assert found.autoencoder.random_state == 5
    assert found.max_samples_ == 30


# -- decisions


@pytest.mark.parametrize("contamination", [0.01, 0.1, 0.33, 0.5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_contamination_is_exact_on_the_training_rows(contamination, dtype):
    rows = X.astype(dtype)
    found = ReconstructionOutlierDetector(n_steps=5, contamination=contamination, random_state=0)
    assert (found.fit_predict(rows) == -1).sum() == round(contamination * len(rows))
    np.testing.assert_array_equal(found.predict(rows) == -1, found.decision_function(rows) < 0)
    rounding = 0 if dtype == np.float64 else 1e-6  # decisions are made before scores are rounded to float32
    expected = found.score_samples(rows) - found.offset_
    np.testing.assert_allclose(found.decision_function(rows), expected, rtol=0, atol=rounding)


def test_automatic_threshold_is_the_lower_fence_of_the_box_plot():
    found = ReconstructionOutlierDetector(n_steps=5, random_state=0).fit(X)
    first, third = np.quantile(found.score_samples(X), [0.25, 0.75])
    assert found.offset_ == pytest.approx(first - 1.5 * (third - first))


def test_pvalues_are_ranks_among_the_held_out_rows():
    found = ReconstructionOutlierDetector(n_steps=5, calibration_fraction=0.2, random_state=0).fit(X)
    held_out = found.calibration_scores_
    assert len(held_out) == 18
    pvalues = found.predict_pvalue(PLANTED[:50])
    scores = found.score_samples(PLANTED[:50])
    np.testing.assert_allclose(pvalues, [(1 + (held_out <= s).sum()) / 19 for s in scores])


def test_pvalues_hold_their_level():
    """Over 300 splits of normal rows; the 99.9 % binomial band around 0.1 is 0.045 to 0.16."""
    draw = np.random.default_rng(0)
    alarms = 0
    for seed in range(300):
        rows = draw.standard_normal((60, 3)) ** 3
        found = ReconstructionOutlierDetector(n_steps=1, n_estimators=1, calibration_fraction=0.5, random_state=seed)
        alarms += found.fit(rows[:59]).predict_pvalue(rows[59:])[0] <= 0.1
    assert 0.045 < alarms / 300 < 0.16


def test_pvalues_need_held_out_rows():
    found = ReconstructionOutlierDetector(n_steps=1, random_state=0).fit(X)
    with pytest.raises(ValueError, match="calibration_fraction was None; set it"):
        found.predict_pvalue(X)


# -- explanations


def test_explanations_add_up(detector):
    detector.fit(X)
    for rows in (X, X[:1], X * 3):
        parts = detector.explain(rows)
        assert parts.shape == rows.shape
        np.testing.assert_allclose(parts.sum(axis=1), -detector.score_samples(rows), rtol=1e-9, atol=1e-9)


def test_the_odd_feature_is_named(detector):
    odd = X[:5].copy()
    odd[:, 4] += 40
    detector.set_params(calibration_fraction=None).fit(X)
    if detector.residual_ != "latent":  # one code need not see the feature
        assert (detector.explain(odd).argmax(axis=1) == 4).all()


def test_explanations_come_as_the_rows_do():
    names = list("abcdef")
    found = ReconstructionOutlierDetector(n_steps=2, random_state=0)
    frame = pd.DataFrame(X, columns=names, index=np.arange(90) + 7)
    parts = found.fit(frame).explain(frame)
    assert list(parts.columns) == names
    assert list(parts.index) == list(frame.index)
    again = found.explain(pl.DataFrame(X, schema=names))
    assert isinstance(again, pl.DataFrame)
    np.testing.assert_array_equal(again.to_numpy(), parts.to_numpy())
    assert isinstance(found.fit(X).explain(X), np.ndarray)
    assert found.explain(X.astype(np.float32)).dtype == np.float32


def test_the_display_shows_the_largest_parts_first():
    frame = pd.DataFrame(X, columns=list("abcdef"))
    frame.loc[3, "e"] = 60
    found = ReconstructionOutlierDetector(n_steps=5, random_state=0).fit(frame)
    display = OutlierExplanationDisplay.from_estimator(found, frame, row=3, n_features=2)
    assert display.ax_.get_yticklabels()[0].get_text() == "e = 60"
    widths = [bar.get_width() for bar in display.bars_]
    assert len(widths) == 3  # and the others
    assert sum(widths) == pytest.approx(-found.score_samples(frame.iloc[3:4])[0])
    assert OutlierExplanationDisplay.from_estimator(found, frame).values[4] == 60
    with pytest.raises(ValueError, match=r"row must be a position from 0 to 89.*got 90"):
        OutlierExplanationDisplay.from_estimator(found, frame, row=90)
    with pytest.raises(TypeError, match="PCA has not"):
        OutlierExplanationDisplay.from_estimator(PCA().fit(X), X)
    assert len(OutlierExplanationDisplay(np.ones(30)).plot(n_features=5).bars_) == 6
    plt.close("all")


@pytest.mark.parametrize(
    ("step", "names"),
    [(StandardScaler(), list("abcdef")), (FunctionTransformer(pd.DataFrame.to_numpy), None)],
    ids=["names", "none"],
)
def test_a_pipelines_last_step_is_explained(step, names):
    frame = pd.DataFrame(X, columns=list("abcdef"))
    pipeline = make_pipeline(step, ReconstructionOutlierDetector(n_steps=5, random_state=0)).fit(frame)
    display = OutlierExplanationDisplay.from_estimator(pipeline, frame, row=3)
    seen = step.transform(frame)
    np.testing.assert_array_equal(display.parts, pipeline[-1].explain(seen)[3])
    np.testing.assert_array_equal(display.values, seen[3])
    assert display.names == names
    plt.close("all")


def test_names_of_outer_steps_are_not_those_of_inner_ones():
    frame = pd.DataFrame(X, columns=list("abcdef"))
    detector = ReconstructionOutlierDetector(n_steps=5, random_state=0)
    inner = make_pipeline(FunctionTransformer(lambda X: np.asarray(X)[:, :4]), detector)
    display = OutlierExplanationDisplay.from_estimator(make_pipeline(StandardScaler(), inner).fit(frame), frame, row=3)
    assert display.names is None
    assert len(display.parts) == 4
    plt.close("all")


@pytest.mark.parametrize("outer", ["alone", "passthrough", "nested"])
def test_pipelines_of_any_kind_are_explained(outer):
    detector = ReconstructionOutlierDetector(n_steps=5, random_state=0)
    steps = {"alone": [detector], "passthrough": ["passthrough", detector], "nested": [StandardScaler()]}[outer]
    steps = [*steps, make_pipeline(PCA(6), detector)] if outer == "nested" else steps
    display = OutlierExplanationDisplay.from_estimator(make_pipeline(*steps).fit(X), X, row=3)
    assert len(display.parts) == 6
    plt.close("all")


# -- determinism, private randomness, fitted state


def test_two_fits_agree_and_seeds_matter(detector):
    first = detector.fit(X).score_samples(X)
    np.testing.assert_array_equal(clone(detector).fit(X).score_samples(X), first)
    assert not np.array_equal(clone(detector).set_params(random_state=1).fit(X).score_samples(X), first)


def test_global_generators_are_untouched_and_y_is_ignored(detector):
    numpy_before, torch_before = np.random.get_state()[1].copy(), torch.random.get_rng_state()  # noqa: NPY002 - it is the matter
    expected = detector.fit(X).score_samples(X)
    detector.explain(X)
    np.testing.assert_array_equal(detector.fit(X, ["a"]).score_samples(X), expected)
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    np.testing.assert_array_equal(np.random.get_state()[1], numpy_before)  # noqa: NPY002 - it is the matter


def test_a_random_state_instance_advances():
    found = ReconstructionOutlierDetector(n_steps=1, random_state=np.random.RandomState(0))
    assert not np.array_equal(found.fit(X).score_samples(X), found.fit(X).score_samples(X))


def test_threads_give_the_same_numbers(detector):
    expected = clone(detector).fit(X).score_samples(X)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for scores in pool.map(lambda _: clone(detector).fit(X).score_samples(X), range(4)):
            np.testing.assert_array_equal(scores, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("instance", [DETECTORS[0], DETECTORS[1], DETECTORS[2], DETECTORS[5]], ids=["0", "1", "2", "5"])
def test_a_row_is_bit_equal_in_any_company(instance, dtype):
    detector = clone(instance).fit(X.astype(dtype))
    many = np.random.default_rng(1).standard_normal((1100, 6)).astype(dtype) * 3 + 5
    scores, parts = detector.score_samples(many), detector.explain(many[:70])
    order = np.random.default_rng(2).permutation(len(many))
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for rows in (order, order[:1], order[:63], order[:65]):
                np.testing.assert_array_equal(detector.score_samples(many[rows]), scores[rows])
            np.testing.assert_array_equal(detector.score_samples(np.asfortranarray(many)), scores)
            np.testing.assert_array_equal(detector.explain(many[3:4]), parts[3:4])
    finally:
        torch.set_num_threads(before)


def test_pickles_keep_scores_and_plain_arrays(detector):
    expected = detector.fit(X).score_samples(X)
    for opened in (pickle.loads(pickle.dumps(detector)), copy.deepcopy(detector)):
        np.testing.assert_array_equal(opened.score_samples(X), expected)
        np.testing.assert_array_equal(opened.explain(X).shape, X.shape)
    measure = detector.__getstate__()["_measure"]
    assert measure is None or all(type(value) is np.ndarray for value in measure.values())


def test_parameters_set_after_fit_change_no_score(detector):
    expected = detector.fit(X).score_samples(X)
    detector.set_params(residual="squared", novelty=True, n_estimators=1, contamination=0.3, autoencoder=PCA(1))
    np.testing.assert_array_equal(detector.score_samples(X), expected)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(detector)).score_samples(X), expected)


def test_networks_are_saved_without_pickle_and_foreign_clones_refused(tmp_path):
    found = ReconstructionOutlierDetector(n_steps=2, calibration_fraction=0.2, random_state=0).fit(X)
    save(found, tmp_path / "detector")
    opened = load(tmp_path / "detector")
    np.testing.assert_array_equal(opened.score_samples(X), found.score_samples(X))
    np.testing.assert_array_equal(opened.predict_pvalue(X), found.predict_pvalue(X))
    with pytest.raises(ValueError, match=r"autoencoder holds PCA\(.*cannot be stored without pickle"):
        save(ReconstructionOutlierDetector(PCA(1)).fit(X), tmp_path / "clones")


def test_a_fit_that_fails_leaves_no_half_state():
    found = ReconstructionOutlierDetector(n_steps=2, random_state=0).fit(X)
    with pytest.raises(ValueError, match="learning_rate=1e"):
        found.set_params(learning_rate=1e38, n_steps=5).fit(X[:, :3])
    with pytest.raises(NotFittedError):
        found.score_samples(X)
    assert not hasattr(found, "n_features_in_")


# -- data of every size and kind


@pytest.mark.parametrize("n_rows", [1, 2, 3, 10, 33])
@pytest.mark.parametrize("n_columns", [1, 2, 6])
def test_few_rows_and_columns(n_rows, n_columns):
    rows = X[:n_rows, :n_columns]
    for novelty in (False, True):
        found = ReconstructionOutlierDetector(novelty=novelty, n_steps=3, random_state=0).fit(rows)
        assert np.isfinite(found.score_samples(X[:, :n_columns])).all()
        assert np.isfinite(found.offset_)


def test_constant_columns_duplicates_and_mixed_scales(detector):
    odd = np.column_stack([X[:, 0], X[:, 0] * 1e12, X[:, 1] * 1e-12, np.full(90, 0.1), np.repeat([1.0, 2.0], 45)])
    odd = np.vstack([odd, odd])
    assert np.isfinite(detector.fit(odd).score_samples(odd)).all()


def test_nothing_but_constants():
    ones = np.ones((20, 3))
    for detector in DETECTORS[:3]:
        scores = clone(detector).fit(ones).score_samples(np.vstack([ones, ones + 1e30]))
        assert np.isfinite(scores).all()
        assert scores[0] > scores[-1]


def test_units_do_not_matter():
    scale = np.array([1, 1024, 2.0**-20, 4, 1, 1])
    small, large = (ReconstructionOutlierDetector(n_steps=5, random_state=0).fit(rows) for rows in (X, X * scale))
    np.testing.assert_array_equal(small.score_samples(X), large.score_samples(X * scale))


def test_a_column_that_is_constant_but_for_rounding_is_constant():
    odd = np.column_stack([X, np.where(np.arange(90) % 2, 0.1 + 0.2, 0.3)])
    standardization = Standardization.fit(odd)
    assert standardization.spread[-1] == pytest.approx(0.3)
    np.testing.assert_allclose(standardization.spread[:-1], X.std(0))
    assert Standardization.fit((odd * 1e-9 + 1).astype(np.float32)).spread.tolist() == [1.0] * 7


def test_wild_values_stay_finite():
    found = ReconstructionOutlierDetector(n_steps=5, random_state=0).fit(np.vstack([X, np.full((1, 6), 1e30)]))
    scores = found.score_samples(np.vstack([X[:5], np.full((1, 6), 3e38), np.full((1, 6), -3e38)]))
    assert np.isfinite(scores).all()
    with pytest.raises(ValueError, match=r"1e\+300.*float32"):
        found.score_samples(np.full((1, 6), 1e300))


def test_more_columns_than_rows_and_a_table_beyond_the_sample(monkeypatch):
    wide = np.random.default_rng(0).standard_normal((40, 1500)).astype(np.float32)
    assert np.isfinite(ReconstructionOutlierDetector(n_steps=2, random_state=0).fit(wide).score_samples(wide)).all()
    monkeypatch.setattr("sk_autoenc.estimators.outlier_detector.MOST_ROWS", 50)
    found = ReconstructionOutlierDetector(n_steps=2, contamination=0.1, calibration_fraction=0.1, random_state=0).fit(X)
    assert (found.predict(X) == -1).sum() == 9
    assert found.max_samples_ == 25


def test_output_dtype_is_that_of_the_input(detector):
    for dtype, expected in ((np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float64)):
        rows = X.astype(dtype)
        assert detector.fit(rows).score_samples(rows).dtype == expected
        assert detector.explain(rows).dtype == expected
        assert detector.decision_function(rows).dtype == expected


# -- errors


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"residual": "log_likelihood"}, "residual='log_likelihood' needs an autoencoder with score_samples"),
        ({"autoencoder": StandardScaler(), "residual": "log_likelihood"}, "autoencoder=StandardScaler has not"),
        ({"autoencoder": load_digits}, "autoencoder must have fit, which function has not"),
        ({"calibration_fraction": 0.001}, r"calibration_fraction=0.001 of n_samples=90 is 0 rows"),
        ({"contamination": 0.6}, "contamination.*0.6"),
        ({"trim": 1.0}, "trim.*1.0"),
        ({"max_samples": 0}, "max_samples.*0"),
        ({"residual": "mse"}, "residual.*mse"),
    ],
)
def test_errors_name_parameter_and_value(parameters, message):
    with pytest.raises((ValueError, TypeError), match=message):
        ReconstructionOutlierDetector(**parameters).fit(X)


@pytest.mark.parametrize(
    "autoencoder",
    [
        AutoencoderTransformer(2, architecture=Recurrent(4), max_iter=2),
        VAETransformer(2, architecture=Convolutional((4,), input_shape=(2, 12)), max_iter=2, n_score_samples=4),
        PCA(2),
        None,
    ],
    ids=["recurrent", "vae", "pca", "default"],
)
def test_rows_may_have_axes_of_their_own(autoencoder):
    series = np.random.default_rng(0).normal(size=(60, 2, 12)).cumsum(axis=2)
    detector = ReconstructionOutlierDetector(autoencoder, n_estimators=2, random_state=0).fit(series)
    assert detector.input_shape_ == (2, 12)
    flat = series.reshape(60, 24)
    np.testing.assert_array_equal(detector.score_samples(series), detector.score_samples(flat))
    parts = detector.explain(series)
    assert parts.shape == series.shape
    np.testing.assert_array_equal(parts.reshape(60, 24), detector.explain(flat))
    np.testing.assert_allclose(parts.sum(axis=(1, 2)), -detector.score_samples(series), rtol=1e-6)
    with pytest.raises(ValueError, match=r"rows of shape \(4, 6\), but .* was fitted on rows of shape \(2, 12\)"):
        detector.predict(series.reshape(60, 4, 6))


def _waves(lengths, seed=0):
    """Series of two channels that are waves of one frequency."""
    draw = np.random.default_rng(seed)
    return [np.sin(draw.uniform(0, 6) + np.arange(n) / 2 * np.array([[1.0], [2.0]])) for n in lengths]


def _unequal_detector(**parameters):
    autoencoder = AutoencoderTransformer(3, architecture=Recurrent(8, unequal_lengths=True), max_iter=30, device="cpu")
    return ReconstructionOutlierDetector(autoencoder, **{"n_estimators": 2, "random_state": 0, **parameters})


@pytest.mark.parametrize("residual", ["auto", "latent"])
def test_series_may_differ_in_length(residual, monkeypatch):
    lengths = np.random.default_rng(1).integers(4, 12, 80)
    series = _waves(lengths)
    detector = _unequal_detector(residual=residual, calibration_fraction=0.2).fit(series)
    scores = detector.score_samples(series)
    assert np.isfinite(scores).all()
    one, longest = 7, int(lengths.max())
    np.testing.assert_array_equal(detector.score_samples([series[one]]), scores[[one]])
    rows = np.full((80, 2, longest), np.nan)
    for row, case in zip(rows, series, strict=True):
        row[:, : case.shape[1]] = case
    np.testing.assert_array_equal(detector.score_samples(rows), scores)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(detector)).score_samples(series), scores)
    parts = detector.explain(series[:5])
    assert [part.shape for part in parts] == [case.shape for case in series[:5]]
    np.testing.assert_allclose([part.sum() for part in parts], -scores[:5], rtol=1e-6)
    monkeypatch.setattr(base, "_OCCLUDED_AT_ONCE", 7)
    for part, again in zip(parts, detector.explain(series[:5]), strict=True):
        np.testing.assert_array_equal(part, again)
    assert (detector.explain(rows[:5])[np.isnan(rows[:5])] == 0).all()
    display = OutlierExplanationDisplay.from_estimator(detector, series, row=2, n_features=3)
    largest = np.unravel_index(parts[2].argmax(), parts[2].shape)
    assert display.ax_.get_yticklabels()[0].get_text().startswith(f"channel {largest[0]}, time {largest[1]} = ")
    plt.close(display.figure_)
    with pytest.raises(ValueError, match="longest possible here has"):
        detector.predict(_waves([longest + 1]))


@pytest.mark.parametrize("residual", ["log_likelihood", "latent"])
def test_detectors_of_series_are_saved_with_their_members(residual, tmp_path):
    series = _waves(np.tile(np.arange(4, 9), 12))
    detector = _unequal_detector(residual=residual, calibration_fraction=0.2).fit(series)
    save(detector, tmp_path / "detector")
    found = load(tmp_path / "detector")
    for method in ("score_samples", "predict", "predict_pvalue"):
        np.testing.assert_array_equal(getattr(found, method)(series), getattr(detector, method)(series))
    np.testing.assert_array_equal(found.explain(series[:1])[0], detector.explain(series[:1])[0])


@pytest.mark.parametrize("residual", ["neighbors", "squared"])
def test_detectors_with_autoencoders_of_this_library_are_saved(residual, tmp_path):
    autoencoder = AutoencoderTransformer(2, max_iter=2, device="cpu")
    detector = ReconstructionOutlierDetector(autoencoder, n_estimators=2, residual=residual, random_state=0).fit(X)
    save(detector, tmp_path / "detector")
    np.testing.assert_array_equal(load(tmp_path / "detector").score_samples(X), detector.score_samples(X))


def test_unlike_series_of_any_length_are_outliers():
    usual, others = _waves(np.tile(np.arange(6, 12), 30)), _waves(np.arange(6, 12), seed=5)
    noise = np.random.default_rng(2)
    odd = [case + noise.normal(size=case.shape) for case in others]
    scores = _unequal_detector(novelty=True, trim=0).fit(usual).score_samples([*others, *odd])
    assert scores[:6].min() > scores[6:].max()


@pytest.mark.parametrize("max_samples", [1.0, 30])
def test_trimming_leaves_out_series_by_their_mean_error_not_by_their_length(max_samples):
    class Member(AutoencoderTransformer):
        """One that expects 0 everywhere, and keeps the lengths of what it was fitted on."""

        def fit(self, X, y=None):
            self.fitted_on_ = (~np.isnan(X)).sum(axis=1)
            self.largest_ = np.nanmax(X, axis=1)
            return self

        def score_samples(self, X):
            return -np.nansum(np.square(X), axis=1)

    long, short = np.full((30, 20), 1.0), np.concatenate([np.full((10, 4), 1.5), np.full((10, 16), np.nan)], axis=1)
    odd = np.full((10, 20), 2.0)
    rows = np.concatenate([long, short, odd])  # squared errors of 20, 9 and 80: of 1, 2.25 and 4 a cell
    detector = _unequal_detector(n_estimators=4, max_samples=max_samples, trim=0.4)
    detector.set_params(autoencoder=Member(architecture=Recurrent(unequal_lengths=True))).fit(rows)
    for member in detector._committee.members:
        assert member.largest_.max() < 2.0  # none that is odd
        if max_samples == 1.0:
            np.testing.assert_array_equal(member.fitted_on_, np.full(30, 20))


def test_trimming_of_a_subsample_without_ends_goes_by_errors_too():
    usual, odd = _waves([8] * 59), [9 * case for case in _waves([8] * 5, seed=3)]
    series = [_waves([5], seed=9)[0], *odd, *usual]
    detector = _unequal_detector(n_estimators=4, max_samples=0.5, trim=0.2).fit(series)
    scores = detector.score_samples(series)
    assert scores[1:6].max() < scores[6:].min()


@pytest.mark.parametrize("scale", [1024.0, 1 / 1024])
def test_units_and_lengths_do_not_decide_which_series_are_outliers(scale):
    lengths = np.random.default_rng(4).integers(5, 40, 120)
    series = _waves(lengths)
    autoencoder = VAETransformer(
        2, architecture=Recurrent(6, unequal_lengths=True), max_iter=4, n_score_samples=4, device="cpu"
    )
    detector = ReconstructionOutlierDetector(autoencoder, n_estimators=1, random_state=0)
    expected = detector.fit(series)
    scores, outliers = expected.score_samples(series), expected.predict(series)
    scaled = [scale * case for case in series]
    found = clone(detector).fit(scaled)
    np.testing.assert_allclose(found.score_samples(scaled), scores - np.log(scale), rtol=1e-5)
    np.testing.assert_array_equal(found.predict(scaled), outliers)


def test_the_longest_series_is_explained_though_no_other_reaches_its_end():
    series = [*_waves(np.tile(np.arange(4, 9), 12)), *_waves([12], seed=7)]
    for seed in range(3):
        detector = _unequal_detector(calibration_fraction=0.3, random_state=seed).fit(series)
        (parts,) = detector.explain(series[-1:])
        assert parts.shape == (2, 12)
        np.testing.assert_allclose(parts.sum(), -detector.score_samples(series[-1:])[0], rtol=1e-6)


def test_series_may_be_shorter_than_the_architecture_allows_and_have_no_holes():
    series = _waves(np.tile(np.arange(4, 9), 10))
    detector = _unequal_detector()
    detector.autoencoder.set_params(architecture__input_shape=(2, 20))
    assert detector.fit(series).input_shape_ == (2, 20)
    assert len(detector.predict(_waves([1, 20]))) == 2
    holed = np.full((50, 2, 8), 1.0)
    holed[33, :, 4] = np.nan
    with pytest.raises(ValueError, match="NaN inside series 33"):
        _unequal_detector().fit(holed)


def test_an_autoencoder_that_was_fitted_before_is_read_as_it_is_set():
    autoencoder = AutoencoderTransformer(2, max_iter=2, device="cpu").fit(X)
    autoencoder.set_params(architecture=Recurrent(4, unequal_lengths=True))
    detector = ReconstructionOutlierDetector(autoencoder, n_estimators=1, random_state=0)
    assert len(detector.fit(_waves([4, 5, 6, 7] * 5)).predict(_waves([3]))) == 1


def test_autoencoders_of_series_without_scores_are_judged_by_their_codes():
    autoencoder = AAETransformer(
        2, architecture=Recurrent(4, unequal_lengths=True), prior="swiss_roll", max_iter=2, device="cpu"
    )
    detector = ReconstructionOutlierDetector(autoencoder, n_estimators=1, random_state=0)
    with pytest.raises(ValueError, match=r"trim=0\.1 goes by score_samples"):
        detector.fit(_waves([4, 5, 6, 7] * 5))
    assert detector.set_params(trim=0).fit(_waves([4, 5, 6, 7] * 5)).residual_ == "latent"


@pytest.mark.parametrize("residual", ["neighbors", "robust", "squared"])
def test_measures_of_cells_refuse_series_of_unequal_lengths(residual):
    with pytest.raises(ValueError, match=f"residual='{residual}' compares rows cell by cell"):
        _unequal_detector(residual=residual).fit(_waves([4, 5, 6, 7]))
    with pytest.raises(ValueError, match="series of unequal lengths, which need an autoencoder"):
        ReconstructionOutlierDetector().fit(_waves([4, 5, 6, 7]))


def test_strings_may_be_outliers():
    draw = np.random.default_rng(0)
    usual = ["ab" * int(n) for n in draw.integers(2, 6, 150)]
    vocabulary = Vocabulary().fit([*usual, "ba"])
    autoencoder = AutoencoderTransformer(
        2, architecture=Recurrent(8, unequal_lengths=True), likelihood="categorical", max_iter=40, batch_size=32
    )
    detector = ReconstructionOutlierDetector(autoencoder, n_estimators=1, trim=0, random_state=0)
    detector.fit(vocabulary.transform(usual))
    scores = detector.score_samples(vocabulary.transform(["ababab", "abbaab", "bababa"]))
    assert scores[0] > scores[1:].max()
    assert (detector.explain(vocabulary.transform(["", "ab"]))[0] == 0).all()
    expected = detector.score_samples(vocabulary.transform(["", "ab"]))
    changed = copy.copy(detector).set_params(autoencoder=PCA(2))
    np.testing.assert_array_equal(changed.score_samples(vocabulary.transform(["", "ab"])), expected)


# -- what would be silently wrong


class OftenImpossible(PCA):
    """A model in whose eyes every other row cannot be."""

    def score_samples(self, X):
        return np.where(np.arange(len(X)) % 2, -np.inf, 0.0)


@pytest.mark.parametrize("contamination", ["auto", 0.1])
def test_training_rows_without_a_finite_score_are_refused(contamination):
    detector = ReconstructionOutlierDetector(
        OftenImpossible(2), n_estimators=1, trim=0, residual="log_likelihood", contamination=contamination
    )
    with pytest.raises(ValueError, match=r"offset_ would be .* no finite score"):
        detector.fit(X)


def test_constant_features_have_no_units():
    scores = []
    for unit in (1, 1000):
        rows = np.c_[X, np.full(len(X), 0.5 * unit)]
        new = rows[:5].copy()
        new[:, -1] *= 1.8
        scores.append(ReconstructionOutlierDetector(novelty=True, random_state=0).fit(rows).score_samples(new))
    np.testing.assert_allclose(*scores, rtol=1e-6)


def test_too_few_rows_for_small_p_values_are_told():
    with pytest.warns(UserWarning, match=r"holds out 9 rows, so no p-value can be below 0\.1; 0\.05 takes 19"):
        detector = ReconstructionOutlierDetector(calibration_fraction=0.1, random_state=0).fit(X)
    assert detector.predict_pvalue(np.full((1, 6), 1e3)) == pytest.approx(0.1)


@pytest.mark.parametrize("widths", [(0,), (-3,), (3.5,)])
def test_widths_are_checked(widths):
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        ReconstructionOutlierDetector(hidden_layer_sizes=widths).fit(X)
