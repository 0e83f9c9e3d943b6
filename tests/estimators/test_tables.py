"""Autoencoders of tables: data frames of any columns go in, and data frames of the same types come out."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline

from sk_autoenc import AAETransformer, AutoencoderTransformer, VAETransformer, load, save

rng = np.random.default_rng(0)
N = 300
SEX = rng.choice(["f", "m"], N)
FRAME = pd.DataFrame(
    {
        "sex": SEX,
        "wage": np.where(SEX == "f", rng.normal(50, 5, N), rng.normal(30, 5, N)).round(1),
        "children": pd.array(rng.poisson(1.5, N), dtype="Int64"),
        "member": SEX == "f",
        "since": pd.Timestamp("2020-01-01") + pd.to_timedelta(rng.integers(0, 500, N), unit="D"),
        "size": pd.Categorical(np.where(SEX == "f", "S", "L"), categories=["S", "M", "L"], ordered=True),
    }
)
HOLES = FRAME.mask(rng.random(FRAME.shape) < 0.1).astype(FRAME.dtypes.to_dict() | {"member": "boolean"})

SMALL = {"architecture": (16,), "random_state": 0, "device": "cpu"}
MODELS = [
    AutoencoderTransformer(2, max_iter=30, learning_rate=0.01, **SMALL),
    VAETransformer(2, max_iter=30, learning_rate=0.01, n_score_samples=8, **SMALL),
    AAETransformer(2, max_iter=20, learning_rate=0.01, critic=(8,), **SMALL),
]


@pytest.fixture(scope="module", params=MODELS, ids=lambda model: type(model).__name__)
def model(request):
    return clone(request.param).fit(HOLES)


def test_rows_come_back_with_the_types_names_and_index_of_fit(model):
    frame = HOLES.set_axis(range(100, 100 + N))
    made = model.reconstruct(frame)
    assert made.dtypes.equals(HOLES.dtypes)
    assert made.index.equals(frame.index)
    assert not made.isna().to_numpy().any()
    assert model.inverse_transform(model.transform(HOLES)).dtypes.equals(HOLES.dtypes)
    assert list(model.feature_names_in_) == list(HOLES)


def test_codes_tell_what_columns_share_also_where_cells_are_missing(model):
    made = model.reconstruct(HOLES)
    assert (made["sex"] == FRAME["sex"]).mean() > 0.9
    missing = HOLES["sex"].isna()
    assert (made.loc[missing, "sex"] == FRAME.loc[missing, "sex"]).mean() > 0.9


def test_samples_are_frames(model):
    if hasattr(model, "sample"):
        made = model.sample(500, random_state=0)
        assert made.dtypes.equals(HOLES.dtypes)
        assert made.groupby("sex")["wage"].mean()["f"] > made.groupby("sex")["wage"].mean()["m"] + 8
        assert (made["wage"] == made["wage"].round(1)).all()


def test_scores_belong_to_rows_and_leave_missing_cells_out(model):
    scores = model.score_samples(HOLES)
    assert np.isfinite(scores).all()
    np.testing.assert_array_equal(model.score_samples(HOLES[7:8]), scores[7:8])
    swapped = HOLES.assign(member=~HOLES["member"])
    assert model.score(HOLES) > model.score(swapped) + 0.5


def test_an_unknown_level_is_read_as_a_missing_cell(model):
    strange, missing = HOLES[:3].copy(), HOLES[:3].copy()
    strange["sex"], missing["sex"] = "x", None
    np.testing.assert_array_equal(model.transform(strange), model.transform(missing))


def test_files_hold_the_table(model, tmp_path):
    save(model, tmp_path / "model.safetensors")
    again = load(tmp_path / "model.safetensors")
    np.testing.assert_array_equal(again.transform(HOLES), model.transform(HOLES))
    pd.testing.assert_frame_equal(again.reconstruct(HOLES), model.reconstruct(HOLES))


def test_training_goes_on_with_the_same_columns(model):
    more = clone(model).set_params(max_iter=2).fit(HOLES)
    more.partial_fit(HOLES[:50])
    assert more.transform(HOLES).shape == (N, 2)
    with pytest.raises(ValueError, match="feature names"):
        more.transform(HOLES[["wage", *HOLES.columns.drop("wage")]])


def test_codes_are_features_in_a_pipeline():
    X, y = HOLES.drop(columns="member"), FRAME["member"]
    pipe = make_pipeline(clone(MODELS[0]), LogisticRegression())
    assert pipe.fit(X[:200], y[:200]).score(X[200:], y[200:]) > 0.85


def test_polars_frames_come_back_as_polars():
    frame = pl.DataFrame({"k": ["a", None, "b"] * 20, "x": [0.5, 1.5, 2.25] * 20})
    made = clone(MODELS[0]).set_params(max_iter=2).fit(frame).reconstruct(frame)
    assert made.schema == frame.schema


def test_frames_of_complete_numbers_are_read_as_the_array_of_their_values():
    X = rng.random((60, 3))
    frame = pd.DataFrame(X, columns=list("abc"))
    one, other = (clone(MODELS[0]).set_params(max_iter=2).fit(rows) for rows in (X, frame))
    np.testing.assert_array_equal(one.transform(X), other.transform(frame))


def test_a_likelihood_that_is_named_reads_numbers_alone():
    with pytest.raises(ValueError, match=r"X must hold numbers, got strings in .sex."):
        AutoencoderTransformer(likelihood="gaussian", **SMALL).fit(FRAME[["sex", "wage"]])
    with pytest.raises(ValueError, match="column 'name': it is text"):
        AutoencoderTransformer(**SMALL).fit(FRAME.assign(name=[f"person {i}" for i in range(N)]))
