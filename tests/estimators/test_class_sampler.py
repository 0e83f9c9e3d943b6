"""One model for each class: rows of the classes that are asked for, from models of this package and of scikit-learn."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.pipeline import Pipeline

from sk_autoenc import ClassSampler, TabularSampler, VAETransformer, save

X, y_iris = load_iris(return_X_y=True)
VAE = VAETransformer(2, architecture=(8,), max_iter=3, device="cpu")


@pytest.mark.parametrize(
    "model", [VAE, GaussianMixture(), KernelDensity(bandwidth=0.2)], ids=lambda m: type(m).__name__
)
def test_drawn_rows_are_of_their_class(model):
    sampler = ClassSampler(model, random_state=0).fit(X, y_iris)
    rows, labels = sampler.sample(60, random_state=0, y=[2, 0])
    assert labels.tolist() == [2] * 60 + [0] * 60
    for name in (0, 2):
        np.testing.assert_allclose(rows[labels == name].mean(axis=0), X[y_iris == name].mean(axis=0), atol=0.6)
        assert np.abs(rows[labels == name].mean(axis=0) - X[y_iris == 2 - name].mean(axis=0)).max() > 2


def test_classes_are_drawn_in_the_proportions_of_the_training_rows():
    chosen = np.r_[:40, 50:60]
    sampler = ClassSampler(KernelDensity(), random_state=0).fit(X[chosen], y_iris[chosen])
    np.testing.assert_allclose(sampler.class_prior_, [0.8, 0.2])
    _, labels = sampler.sample(5000, random_state=0)
    assert abs((labels == 0).mean() - 0.8) < 0.02


def test_the_same_seed_draws_the_same_rows_and_another_does_not():
    chosen = np.r_[:50, 50:70]
    first, again, other = (
        ClassSampler(VAE, random_state=seed).fit_resample(X[chosen], y_iris[chosen])[0] for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert (first[70:] != other[70:]).all()


def test_a_data_frame_with_string_classes_comes_back_with_its_dtypes():
    frame = pd.DataFrame(X[:120], columns=list("abcd")).astype({"d": "float32"})
    labels = pd.Series(np.array(["x", "y", "z"])[y_iris[:120]], name="kind", dtype="category")
    X_new, y_new = ClassSampler(VAE, random_state=0).fit_resample(frame, labels)
    assert X_new.dtypes.equals(frame.dtypes)
    assert (y_new.name, y_new.dtype) == ("kind", labels.dtype)
    assert y_new.value_counts().to_dict() == {"x": 50, "y": 50, "z": 50}


def test_it_stands_in_a_pipeline_of_imbalanced_learn():
    from imblearn.pipeline import make_pipeline
    from sklearn.linear_model import LogisticRegression

    model = make_pipeline(ClassSampler(VAE, random_state=0), LogisticRegression(max_iter=1000))
    assert isinstance(clone(model), Pipeline)
    assert model.fit(X[:110], y_iris[:110]).score(X, y_iris) > 0.8


def test_what_it_cannot_take_is_refused_by_name():
    with pytest.raises(ValueError, match=r"2 rows of each class, but y has 1 of 2"):
        ClassSampler(VAE).fit(X[:101], y_iris[:101])
    with pytest.raises(ValueError, match="The 'estimator' parameter of ClassSampler must be an object implementing"):
        ClassSampler(IsolationForest()).fit(X, y_iris)
    with pytest.raises(ValueError, match=r"y must hold classes of the training rows, \[0 1 2\], got 7"):
        ClassSampler(KernelDensity()).fit(X, y_iris).sample(y=[0, 7])


def test_what_no_model_can_learn_is_refused_by_name(tmp_path):
    kinds = np.array(["s", "ve", "vi"], dtype=object)[y_iris]
    alone = np.where(np.arange(len(X)) == 0, "alone", kinds)
    with pytest.raises(ValueError, match="2 rows of each class, but y has 1 of 'alone'"):
        ClassSampler(KernelDensity()).fit(X, alone)
    with pytest.raises(ValueError, match="got 'other'"):
        ClassSampler(KernelDensity()).fit(X, kinds).sample(y=np.array(["other"], dtype=object))
    for unknown in (np.where(y_iris == 1, None, kinds), np.where(y_iris == 1, np.nan, y_iris)):
        with pytest.raises(ValueError, match="y must have a class for each row, but 50 are None or NaN"):
            ClassSampler(KernelDensity()).fit_resample(X, unknown)
    frame = pd.DataFrame(X).assign(
        place=pd.Categorical(["here", "there"] * 75), count=pd.array([1, None] * 75, "Int64")
    )
    with pytest.raises(ValueError, match="X must hold numbers, got strings in 'place'"):
        ClassSampler(KernelDensity()).fit_resample(frame.rename(columns=str)[:120], kinds[:120])
    with pytest.raises(ValueError, match="estimator is ClassSampler, whose parts may be of any library; use joblib"):
        save(ClassSampler(KernelDensity()).fit(X, kinds), tmp_path / "model")


@pytest.mark.parametrize("library", [pd, pl], ids=["pandas", "polars"])
def test_data_frames_of_mixed_columns_are_resampled_as_such(library):
    columns = {"kind": ["a", "b", None, "a"] * 15, "n": [1, 2, 3, 4] * 15, "x": [0.5, None, 1.5, 2.0] * 15}
    frame, y = library.DataFrame(columns), np.repeat([0, 1], [40, 20])
    model = ClassSampler(TabularSampler(max_iter=1, random_state=0), random_state=0)
    rows, labels = model.fit_resample(frame, y)
    assert np.bincount(labels).tolist() == [40, 40]
    assert type(rows) is type(frame)
    assert list(rows.dtypes) == list(frame.dtypes)
    assert set(rows["kind"][60:].drop_nulls() if library is pl else rows["kind"][60:].dropna()) <= {"a", "b"}
    drawn, classes = model.sample(3, random_state=0, y=[1, 0])
    assert (drawn.shape, classes.tolist()) == ((6, 3), [1, 1, 1, 0, 0, 0])
