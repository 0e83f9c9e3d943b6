"""Detectors of rows of data frames: mixed columns, missing cells, unseen levels, parts by column, files."""

import pickle

import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from sk_autoenc import ReconstructionOutlierDetector, load, save
from sk_autoenc.data.indicators import TableScaling
from sk_autoenc.nn.cells import CellPredictor
from sk_autoenc.nn.chain import ColumnOutcomes
from tests.data.test_tabular import SERIES

N = 400
draw = np.random.default_rng(0)
CITY = draw.choice(["Rome", "Oslo", "Bonn"], N)
PLACE = pd.Series(CITY).map({"Rome": 25.0, "Oslo": 5.0, "Bonn": 12.0}).to_numpy()
FRAME = pd.DataFrame(
    {
        "city": CITY,
        "warmth": (PLACE + draw.normal(size=N)).round(1),
        "country": pd.Categorical(pd.Series(CITY).map({"Rome": "it", "Oslo": "no", "Bonn": "de"})),
        "snow": PLACE < 8,
        "day": pd.Timestamp("2024-01-01") + pd.to_timedelta(draw.integers(0, 90, N), unit="D"),
        "guests": draw.poisson(3, N),
    }
)
#: Every twentieth row has the country of the next one, unless that is the same.
MIXED = FRAME.assign(country=FRAME["country"].where(np.arange(N) % 20 > 0, np.roll(FRAME["country"], -1)))
IS_MIXED = (MIXED["country"] != FRAME["country"]).to_numpy()
HOLES = FRAME.mask(draw.random(FRAME.shape) < 0.1)
SMALL = {"n_steps": 10, "n_estimators": 2, "random_state": 0}


@pytest.fixture(scope="module")
def detector():
    return ReconstructionOutlierDetector(random_state=0).fit(MIXED)


def test_rows_whose_cells_contradict_each_other_are_found_and_the_column_is_named(detector):
    scores = -detector.score_samples(MIXED)
    assert roc_auc_score(IS_MIXED, scores) > 0.98
    parts = detector.explain(MIXED)
    assert parts.columns.tolist() == FRAME.columns.tolist()
    np.testing.assert_allclose(parts.sum(axis=1), scores, rtol=1e-9)
    assert parts[IS_MIXED].mean().idxmax() == "country"
    assert set(detector.predict(MIXED)) == {-1, 1}


def test_a_number_far_from_all_others_and_an_unseen_level_are_unusual(detector):
    usual = FRAME[1:2]
    score = -detector.score_samples(usual)
    for name, value in {"warmth": 400.0, "city": "Kiel", "guests": -7}.items():
        strange = usual.assign(**{name: [value]})
        assert -detector.score_samples(strange) > score + 1
        assert detector.explain(strange).iloc[0].idxmax() == name
    with pytest.raises(ValueError, match=r"column 'warmth' .* finite, got inf"):
        detector.score_samples(usual.assign(warmth=np.inf))


@pytest.mark.parametrize("rows", [HOLES, HOLES[["warmth", "guests"]].to_numpy(dtype=float)], ids=["frame", "array"])
def test_missing_cells_count_as_not_observed(rows):
    model = ReconstructionOutlierDetector(**SMALL).fit(rows)
    scores, parts = model.score_samples(rows), np.asarray(model.explain(rows))
    missing = pd.DataFrame(rows).isna().to_numpy()
    observed = ~missing.all(axis=1)
    assert np.isfinite(scores).all()
    assert (parts[missing & observed[:, None]] == 0).all()
    np.testing.assert_allclose(parts.sum(axis=1), -scores, rtol=1e-6)
    np.testing.assert_array_equal(model.score_samples(rows[7:8]), scores[7:8])
    without = np.median(scores[~missing.any(axis=1)])
    assert abs(np.median(scores[missing.any(axis=1)]) - without) < 0.5 * abs(without)


def test_complete_arrays_score_as_ever_and_new_rows_may_have_missing_cells():
    X = draw.normal(size=(120, 4))
    model = ReconstructionOutlierDetector(**SMALL).fit(X)
    hole, median = X[:1].copy(), X[:1].copy()
    hole[0, 1], median[0, 1] = np.nan, model._medians[1]
    np.testing.assert_array_equal(model.score_samples(hole), model.score_samples(median))
    assert model.__sklearn_tags__().input_tags.allow_nan
    assert not ReconstructionOutlierDetector(PCA(1)).__sklearn_tags__().input_tags.allow_nan


@pytest.mark.parametrize("residual", ["auto", "robust", "latent"])
def test_files_and_pickles_hold_the_whole_detector(residual, tmp_path):
    model = ReconstructionOutlierDetector(**SMALL, residual=residual, calibration_fraction=0.2).fit(HOLES)
    save(model, tmp_path / "model.safetensors")
    for again in (load(tmp_path / "model.safetensors"), pickle.loads(pickle.dumps(model))):
        np.testing.assert_array_equal(again.score_samples(HOLES), model.score_samples(HOLES))
        pd.testing.assert_frame_equal(again.explain(HOLES[:5]), model.explain(HOLES[:5]))
        np.testing.assert_array_equal(again.predict_pvalue(HOLES), model.predict_pvalue(HOLES))
    again = clone(model).fit(HOLES)
    np.testing.assert_array_equal(again.score_samples(HOLES), model.score_samples(HOLES))


def test_polars_frames_give_the_same_scores_and_frames_of_parts():
    frame = pl.from_pandas(FRAME)
    model = ReconstructionOutlierDetector(**SMALL).fit(frame)
    parts = model.explain(frame)
    assert parts.columns == frame.columns
    np.testing.assert_allclose(parts.to_numpy().sum(axis=1), -model.score_samples(frame), rtol=1e-9)


def test_what_reads_no_tables_is_refused_with_the_way_out():
    with pytest.raises(ValueError, match=r"autoencoder must be None for data frames .* OneHotEncoder"):
        ReconstructionOutlierDetector(PCA(1)).fit(FRAME)
    with pytest.raises(ValueError, match=r"residual must be auto, neighbors or robust for data frames.*got 'squared'"):
        ReconstructionOutlierDetector(residual="squared").fit(FRAME)
    with pytest.raises(ValueError, match="column 'name': it is text"):
        ReconstructionOutlierDetector().fit(FRAME.assign(name=[f"person {i}" for i in range(N)]))


def test_a_category_counts_as_one_column():
    X = np.column_stack([draw.normal(size=N), draw.integers(0, 5, N), draw.integers(0, 2, N)])
    scaling = TableScaling.fit(X, [0, 5, 2])
    made = scaling.apply_clipped(X, 50.0)
    variances = np.bincount(scaling.owner, weights=made.var(axis=0))
    np.testing.assert_allclose(variances, 1.0, rtol=1e-4)
    assert (scaling.apply_clipped(np.full((1, 3), np.nan), 50.0) == 0).all()
    np.testing.assert_array_equal(scaling.of_columns(torch.ones(1, made.shape[1])), [np.bincount(scaling.owner)])


def test_each_cell_is_predicted_from_all_others_but_itself():
    columns = [ColumnOutcomes(3), ColumnOutcomes(4, (0, 1, 2, 3)), ColumnOutcomes(2)]
    network, generator = CellPredictor(columns, 8), torch.Generator().manual_seed(0)
    with torch.no_grad():
        network.initialize(generator)
        for weight in network.parameters():
            weight.normal_(generator=generator)
        x = torch.tensor([[0.0, 3.0, 1.0], [2.0, torch.nan, 0.0]])
        found = network.log_prob_given_others(x)
        for column in range(3):
            shown = x.clone()
            shown[:, column] = torch.nan
            expected = network.log_prob(x, shown)[:, column]
            torch.testing.assert_close(found[:, column], expected)
    assert found[1, 1] == 0


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(st.sampled_from(["a", "b", "c"]), SERIES, min_size=1), st.booleans())
def test_any_frame_is_scored_or_the_error_names_a_column(columns, duplicated):
    frame = pd.DataFrame(columns)
    frame = pd.concat([frame, frame], ignore_index=True) if duplicated else frame
    try:
        model = ReconstructionOutlierDetector(n_steps=1, n_estimators=1, random_state=0).fit(frame)
    except (ValueError, TypeError) as error:
        if "column '" in str(error) or str(error).startswith(("Input X", "X must", "X contains")):
            return
        raise
    assert np.isfinite(model.score_samples(frame)).all()
    assert model.explain(frame).columns.tolist() == frame.columns.tolist()
