"""One rule for data frames: whatever returns rows or codes follows ``set_output``."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_autoenc import AAETransformer, AutoencoderTransformer, GANSampler, VAETransformer

rng = np.random.default_rng(0)
X = pd.DataFrame(rng.normal(size=(60, 3)), columns=["a", "b", "c"], index=np.arange(60) + 7)
CHEAP = {"architecture": (4,), "max_iter": 2, "random_state": 0}
ROWS = {
    "reconstruct": lambda model: model.reconstruct(X),
    "inverse_transform": lambda model: model.inverse_transform(model.transform(X)),
}
CODES = {"transform": lambda model: model.transform(X), "posterior": lambda model: model.posterior(X)[1]}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [AutoencoderTransformer, VAETransformer, AAETransformer])
@pytest.mark.parametrize(("container", "frame"), [("pandas", pd.DataFrame), ("polars", pl.DataFrame)])
def test_rows_and_codes_follow_set_output(kind, container, frame):
    plain = kind(2, **CHEAP).fit(X)
    model = kind(2, **CHEAP).fit(X).set_output(transform=container)
    for name, call in {**ROWS, **CODES}.items():
        if name == "posterior" and not hasattr(model, "posterior"):
            continue
        found, expected = call(model), call(plain)
        assert isinstance(expected, np.ndarray)
        assert isinstance(found, frame)
        assert list(found.columns) == (["a", "b", "c"] if name in ROWS else list(model.get_feature_names_out()))
        np.testing.assert_array_equal(np.asarray(found), expected)
        if container == "pandas":
            assert list(found.index) == list(X.index)


def test_filled_rows_follow_set_output_and_else_are_as_they_came():
    model = AutoencoderTransformer(2, **CHEAP, noise=0.3, noise_kind="masking", init="random").fit(X)
    holes = X.mask(rng.uniform(size=X.shape) < 0.1)
    assert isinstance(model.inpaint(holes), pd.DataFrame)
    assert isinstance(model.inpaint(holes.to_numpy()), np.ndarray)
    model.set_output(transform="polars")
    assert isinstance(model.inpaint(holes), pl.DataFrame)


@pytest.mark.filterwarnings("ignore")
def test_samples_follow_set_output():
    sampler = (
        GANSampler(architecture=(4,), critic=(4,), max_iter=1, random_state=0).fit(X).set_output(transform="pandas")
    )
    codes = np.zeros((4, sampler.n_components_))
    for rows in (sampler.sample(4, random_state=0), sampler.inverse_transform(codes)):
        assert list(rows.columns) == ["a", "b", "c"]


def test_pipelines_go_back_through_data_frames():
    pipe = make_pipeline(StandardScaler(), AutoencoderTransformer(2, **CHEAP)).set_output(transform="pandas").fit(X)
    back = pipe.inverse_transform(pipe.transform(X))
    assert np.asarray(back).shape == X.shape
    vae = VAETransformer(2, **CHEAP).set_output(transform="pandas").fit(X)
    assert list(vae.interpolate(X.iloc[0], X.iloc[1], n_steps=3).columns) == ["a", "b", "c"]
