"""The displays: what they hold, what they draw, and what they refuse."""

import importlib
import runpy
import sys
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from matplotlib.colors import to_rgba
from sklearn.decomposition import PCA
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity
from sklearn.neural_network import MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler

import sk_autoenc.inspection
from sk_autoenc import AutoencoderTransformer, Convolutional, ReconstructionOutlierDetector, Recurrent, VAETransformer
from sk_autoenc.inspection import (
    AttentionDisplay,
    ComponentKLDisplay,
    LatentDisplay,
    LatentTraversalDisplay,
    LossCurveDisplay,
    OutlierExplanationDisplay,
    ReconstructionDisplay,
    SampleGridDisplay,
    SegmentationDisplay,
    SyntheticTableDisplay,
)

matplotlib.use("Agg")
import matplotlib.pyplot as plt

CHEAP = {"architecture": (8,), "max_iter": 4, "random_state": 0, "device": "cpu"}


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(0).normal(size=(60, 6)) + 1.0


@pytest.fixture(scope="module")
def fitted(X):
    return AutoencoderTransformer(3, **CHEAP, sparsity=0.1).fit(X)


@pytest.fixture(scope="module")
def generative(X):
    return VAETransformer(3, **CHEAP).fit(X)


# -- what is common


@pytest.mark.parametrize(
    "path", sorted(Path(sk_autoenc.inspection.__file__).parent.glob("*.py")), ids=lambda path: path.stem
)
def test_matplotlib_is_not_needed_to_import(path, monkeypatch):
    for name in ("matplotlib", "matplotlib.pyplot"):
        monkeypatch.setitem(sys.modules, name, None)
    runpy.run_path(str(path))


@pytest.mark.parametrize(
    "display",
    [
        ComponentKLDisplay([1.0]),
        LatentDisplay([[0.0, 1.0]]),
        LatentTraversalDisplay([[[0.0]]], tiers=[""], steps=[""]),
        LossCurveDisplay({"training": [1.0]}),
        OutlierExplanationDisplay([1.0]),
        ReconstructionDisplay([[0.0]], [[1.0]]),
        SampleGridDisplay([[0.0]]),
    ],
    ids=lambda display: type(display).__name__,
)
def test_plotting_without_matplotlib_names_the_extra(display, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    monkeypatch.setattr(matplotlib, "pyplot", None)
    with pytest.raises(ImportError, match=rf"{type(display).__name__}.plot.*pip install sk-autoenc\[plot\]"):
        display.plot()


def test_all_names_are_displays_that_draw_into_the_given_axes(X, generative):
    of_other_models = {AttentionDisplay, SegmentationDisplay, SyntheticTableDisplay}  # they have tests of their own
    without_rows = {ComponentKLDisplay, LossCurveDisplay, SampleGridDisplay}
    detector = ReconstructionOutlierDetector(n_steps=5, random_state=0).fit(X)
    for name in sk_autoenc.inspection.__all__:
        display_class = getattr(importlib.import_module("sk_autoenc.inspection"), name)
        if display_class in of_other_models:
            continue
        figure, ax = plt.subplots()
        rows = () if display_class in without_rows else (X,)
        estimator = detector if display_class is OutlierExplanationDisplay else generative
        display = display_class.from_estimator(estimator, *rows, ax=ax)
        assert type(display) is display_class
        assert display.ax_ is ax
        assert display.figure_ is figure
        assert display.plot() is display, "plot must return the display"
        assert display.ax_ is not ax, "a second plot makes its own figure"
        figure.draw_without_rendering()


# -- losses


def test_loss_curves_are_those_of_the_estimator(fitted):
    display = LossCurveDisplay.from_estimator(fitted, terms=True, color="red")
    assert list(display.curves) == ["training", "validation", "reconstruction", "sparsity"]
    names = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    drawn = dict(zip(names, display.ax_.lines, strict=True))
    expected = {"training": fitted.loss_curve_, "validation": fitted.validation_loss_curve_, **fitted.loss_curves_}
    assert drawn.keys() == expected.keys()
    for name, line in drawn.items():
        np.testing.assert_array_equal(line.get_xdata(), 1 + np.arange(len(expected[name])))
        np.testing.assert_array_equal(line.get_ydata(), expected[name])
        assert line is display.lines_[name]
        assert line.get_color() == "red"


def test_no_validation_curve_without_held_out_rows(X):
    estimator = AutoencoderTransformer(**CHEAP, early_stopping=False).fit(X)
    assert list(LossCurveDisplay.from_estimator(estimator).curves) == ["training"]


def test_losses_of_other_estimators_are_drawn_too(X):
    regressor = MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, tol=1e9, n_iter_no_change=1).fit(X, X)
    assert LossCurveDisplay.from_estimator(regressor).curves == {"training": regressor.loss_curve_}


def test_log_scale(fitted):
    assert LossCurveDisplay.from_estimator(fitted, log_scale=True).ax_.get_yscale() == "log"
    assert LossCurveDisplay.from_estimator(fitted).ax_.get_yscale() == "linear"
    with pytest.raises(ValueError, match=r"curves must be above 0 with log_scale=True, got -2\.5 in the validation"):
        LossCurveDisplay({"training": [1, 2], "validation": [1, -2.5]}).plot(log_scale=True)


def test_estimators_without_losses_are_refused(X):
    with pytest.raises(TypeError, match="estimator must have loss_curve_, which PCA does not have"):
        LossCurveDisplay.from_estimator(PCA(2).fit(X))


# -- images and series as such

QUICK = {"max_iter": 1, "random_state": 0, "device": "cpu"}


@pytest.fixture(scope="module")
def series():
    """Of two channels and of unequal lengths."""
    rng = np.random.default_rng(0)
    return [rng.normal(size=(2, length)) for length in (4, 9, 6, 9, 3, 7)]


@pytest.mark.parametrize("channels_last", [False, True])
def test_images_in_colour(channels_last):
    shown = np.random.default_rng(0).random((12, 4, 5, 3))  # as matplotlib takes them
    images = shown if channels_last else np.moveaxis(shown, -1, 1)
    model = VAETransformer(2, architecture=Convolutional((2,), channels_last=channels_last), **QUICK).fit(images)
    display = ReconstructionDisplay.from_estimator(model, images, n_samples=3)
    assert display.axes_.shape == (2, 3)
    low, high = images[:3].min(), images[:3].max()
    for panel, image in zip(display.axes_[0], shown, strict=False):
        np.testing.assert_allclose(panel.images[0].get_array(), (image - low) / (high - low))
    assert SampleGridDisplay.from_estimator(model, n_samples=4).axes_[0, 0].images[0].get_array().shape == (4, 5, 3)
    assert LatentTraversalDisplay.from_estimator(model, images, n_steps=2).axes_[0, 0].images
    # the same by hand, on a scale of the user's
    by_hand = SampleGridDisplay(images.reshape(12, -1), image_shape=images.shape[1:]).plot(vmin=0, vmax=1)
    np.testing.assert_allclose(by_hand.axes_[0, 1].images[0].get_array(), shown[1])


def test_flat_rows_are_drawn_as_what_the_architecture_says_they_hold(X):
    grey = Convolutional((2,), input_shape=(1, 2, 3))
    model = make_pipeline(StandardScaler(), AutoencoderTransformer(2, architecture=grey, **QUICK)).fit(X)
    display = ReconstructionDisplay.from_estimator(model, X, n_samples=2)
    np.testing.assert_array_equal(display.axes_[0, 1].images[0].get_array(), X[1].reshape(2, 3))
    for channels_last in (False, True):
        shape = (3, 2) if channels_last else (2, 3)
        lines = Convolutional((2,), input_shape=shape, channels_last=channels_last)
        model = VAETransformer(2, architecture=lines, **QUICK).fit(X)
        display = ReconstructionDisplay.from_estimator(model, X, n_samples=2)
        first = X[1].reshape(3, 2).T if channels_last else X[1].reshape(2, 3)
        np.testing.assert_array_equal([line.get_ydata() for line in display.axes_[0, 1].lines[:2]], first)
        assert LatentTraversalDisplay.from_estimator(model, X).rows.shape == (9, 9, 2, 3)
        assert len(SampleGridDisplay.from_estimator(model, n_samples=2).axes_[0, 0].lines) == 2


def test_what_an_architecture_says_of_other_rows_is_not_taken(X):
    """It speaks of what PCA makes of the rows."""
    inner = AutoencoderTransformer(2, architecture=Convolutional((2,), input_shape=(1, 2, 2)), **QUICK)
    display = ReconstructionDisplay.from_estimator(make_pipeline(PCA(4), inner).fit(X), X, n_samples=1)
    np.testing.assert_array_equal(display.axes_[0, 0].lines[0].get_ydata(), X[0])


def test_images_of_two_channels_are_lines():
    images = np.random.default_rng(0).random((12, 2, 4, 4))
    model = AutoencoderTransformer(2, architecture=Convolutional((2,)), **QUICK).fit(images)
    (row, _) = ReconstructionDisplay.from_estimator(model, images, n_samples=1).axes_[0, 0].lines
    np.testing.assert_array_equal(row.get_ydata(), images[0].ravel())


def test_lines_of_series_stop_at_their_ends(series):
    model = AutoencoderTransformer(2, architecture=Recurrent(4, unequal_lengths=True), **QUICK).fit(series)
    display = ReconstructionDisplay.from_estimator(model, series, X_noisy=series, n_samples=3)
    expected = model.reconstruct(series)
    for i, panel in enumerate(display.axes_[0]):
        assert [line.get_linestyle() for line in panel.lines] == ["-", "-", ":", ":", "--", "--"]
        assert [line.get_color() for line in panel.lines] == ["C0", "C1"] * 3, "a colour for each channel"
        for line, channel in zip(panel.lines, [*series[i], *series[i], *expected[i]], strict=True):
            there = np.isfinite(line.get_ydata())
            np.testing.assert_array_equal(np.flatnonzero(there), np.arange(len(channel)))
            np.testing.assert_allclose(line.get_ydata()[there], channel)
        assert panel.get_xlim() == display.axes_[0, 1].get_xlim(), "one time for all"
        assert np.isfinite(panel.get_ylim()).all()
    legend = [text.get_text() for text in display.ax_.get_legend().get_texts()]
    assert legend == ["row", "noisy", "reconstruction"]
    padded = np.full((6, 2, 9), np.nan)
    for row, case in zip(padded, series, strict=True):
        row[:, : case.shape[1]] = case
    for other in (SampleGridDisplay(series).plot(), SampleGridDisplay(padded).plot()):
        np.testing.assert_array_equal(other.axes_[0, 1].lines[1].get_ydata(), series[1][1])


def test_noisy_series_of_other_lengths(series):
    model = AutoencoderTransformer(2, architecture=Recurrent(4, unequal_lengths=True), **QUICK).fit(series)
    with pytest.raises(ValueError, match=r"X_noisy must have the shape of X, \[\(2, 4\), .* got \[\(2, 7\)"):
        ReconstructionDisplay.from_estimator(model, series, X_noisy=series[::-1])


# -- codes


def test_rows_are_drawn_at_their_codes(X):
    grey = Convolutional((2,), input_shape=(1, 2, 3))
    model = AutoencoderTransformer(2, architecture=grey, **QUICK).fit(X)
    display = LatentDisplay.from_estimator(model, X, show_rows=True)
    codes = model.transform(X)
    sides = 0.08 * np.ptp([display.ax_.get_xlim(), display.ax_.get_ylim()], axis=1)
    assert 5 < len(display.shown_) == len(display.panels_) < len(X)
    display.figure_.draw_without_rendering()
    for i, panel in zip(display.shown_, display.panels_, strict=True):
        np.testing.assert_array_equal(panel.images[0].get_array(), X[i].reshape(2, 3))
        box = panel.get_window_extent()
        middle = display.ax_.transData.transform(codes[i])
        np.testing.assert_allclose([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2], middle, atol=0.01)
        apart = np.abs(codes[display.shown_] - codes[i]) / sides
        assert (apart.max(axis=1) >= 1).sum() == len(display.shown_) - 1, "no two cover each other"
    for i in range(len(X)):
        near = (np.abs(codes[display.shown_] - codes[i]) / sides).max(axis=1).min()
        assert near < 1, "there is no room for another one"


def test_series_are_drawn_at_their_codes_as_lines(series):
    model = AutoencoderTransformer(2, architecture=Recurrent(4, unequal_lengths=True), **QUICK).fit(series)
    display = LatentDisplay.from_estimator(model, series, show_rows=True)
    for i, panel in zip(display.shown_, display.panels_, strict=True):
        values = panel.lines[1].get_ydata()
        np.testing.assert_array_equal(values[np.isfinite(values)], series[i][1])


def test_codes_without_rows(X, fitted):
    display = LatentDisplay.from_estimator(fitted, X)
    assert len(display.shown_) == len(display.panels_) == len(display.ax_.child_axes) == 0
    with pytest.raises(ValueError, match="image_shape must be"):
        LatentDisplay.from_estimator(fitted, X, show_rows=True, image_shape=(2, 2))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LatentDisplay(X[:, :2], rows=X[:5]).plot()


def test_chosen_components_are_drawn(X, fitted):
    display = LatentDisplay.from_estimator(fitted, X, components=(2, 0), s=3)
    np.testing.assert_array_equal(display.scatters_[0].get_offsets(), fitted.transform(X)[:, [2, 0]])
    assert display.scatters_[0].get_sizes() == [3]
    assert display.ax_.get_xlabel() == "autoencodertransformer2"
    assert display.ax_.get_ylabel() == "autoencodertransformer0"
    assert display.legend_ is None
    assert display.colorbar_ is None


@pytest.mark.parametrize("n_classes", [3, 12], ids=["list of colours", "gradient"])
@pytest.mark.parametrize("as_class", [int, float, str], ids=lambda kind: kind.__name__)
def test_classes_get_a_colour_each_and_a_legend(X, fitted, n_classes, as_class):
    y = [as_class(i % n_classes) for i in range(len(X))]
    display = LatentDisplay.from_estimator(fitted, X, y=y)
    codes = fitted.transform(X)[:, :2]
    labels = [text.get_text() for text in display.legend_.get_texts()]
    assert labels == [str(value) for value in np.unique(y)]
    colors = [tuple(points.get_facecolor()[0]) for points in display.scatters_]
    assert len(set(colors)) == n_classes
    if n_classes <= 10:
        assert colors == [to_rgba(f"tab:{name}") for name in ("blue", "orange", "green")]
    else:
        assert (colors[0], colors[-1]) == (plt.get_cmap("turbo")(0.0), plt.get_cmap("turbo")(1.0))
    for value, points in zip(np.unique(y), display.scatters_, strict=True):
        np.testing.assert_array_equal(points.get_offsets(), codes[np.asarray(y) == value])
    assert display.colorbar_ is None


@pytest.mark.parametrize("y", [np.linspace(0.0, 1.0, 60), np.arange(60)], ids=["real", "many whole numbers"])
def test_values_get_a_colour_bar(X, fitted, y):
    display = LatentDisplay.from_estimator(fitted, X, y=y, cmap="plasma")
    np.testing.assert_array_equal(display.scatters_[0].get_array(), y)
    assert display.colorbar_.cmap.name == "plasma"
    assert display.legend_ is None


def test_codes_as_data_frames(X):
    transformer = make_pipeline(StandardScaler(), PCA(2)).set_output(transform="pandas").fit(X)
    display = LatentDisplay.from_estimator(transformer, X)
    np.testing.assert_array_equal(display.codes, transformer.transform(X).to_numpy())
    assert display.ax_.get_ylabel() == "pca1"


def test_a_code_of_one_component_has_no_plane(X):
    one = PCA(1).fit(X)
    for draw in (LatentDisplay.from_estimator, partial(LatentTraversalDisplay.from_estimator, kind="plane")):
        with pytest.raises(ValueError, match="codes of 2 components or more to draw a plane, got 1"):
            draw(one, X)


@pytest.mark.parametrize("components", [(0, 3), (-1, 0), (0, 1, 2), (0,)])
def test_components_out_of_range(X, fitted, components):
    with pytest.raises(ValueError, match=rf"components must be two integers from 0 to 2.*got \{str(components)[:-1]}"):
        LatentDisplay.from_estimator(fitted, X, components=components)


def test_y_of_another_length(X, fitted):
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        LatentDisplay.from_estimator(fitted, X, y=[0, 1])


# -- reconstructions


def test_images_stand_above_their_reconstructions(X, fitted):
    display = ReconstructionDisplay.from_estimator(fitted, X, n_samples=3, image_shape=(2, 3), cmap="viridis")
    assert display.axes_.shape == (2, 3)
    expected = [X[:3], fitted.reconstruct(X[:3])]
    for tier, values in zip(display.axes_, expected, strict=True):
        for panel, value in zip(tier, values, strict=True):
            (image,) = panel.images
            np.testing.assert_array_equal(image.get_array(), value.reshape(2, 3))
            assert image.get_clim() == (X[:3].min(), X[:3].max()), "one scale for all"
            assert image.cmap.name == "viridis"
    display.figure_.draw_without_rendering()
    above, below = (panel.get_window_extent() for panel in display.axes_[:, 0])
    assert above.y0 >= below.y1


def test_noisy_rows_are_what_is_reconstructed(X, fitted):
    noisy = X + 3.0
    display = ReconstructionDisplay.from_estimator(fitted, X, X_noisy=noisy, n_samples=2, image_shape=(2, 3))
    assert [tier[0].get_ylabel() for tier in display.axes_] == ["row", "noisy", "reconstruction"]
    for tier, values in zip(display.axes_, [X, noisy, fitted.reconstruct(noisy)], strict=True):
        np.testing.assert_array_equal(tier[1].images[0].get_array(), values[1].reshape(2, 3))


def test_lines_over_the_features(X, fitted):
    display = ReconstructionDisplay.from_estimator(fitted, X, n_samples=4, linestyle="--")
    assert display.axes_.shape == (1, 4)
    expected = fitted.reconstruct(X[:4])
    for i, panel in enumerate(display.axes_[0]):
        row, reconstruction = panel.lines
        np.testing.assert_array_equal(row.get_ydata(), X[i])
        np.testing.assert_array_equal(reconstruction.get_ydata(), expected[i])
        assert row.get_linestyle() == "--"
        assert panel.get_ylim() == display.axes_[0, 0].get_ylim(), "one scale for all"
    assert [text.get_text() for text in display.ax_.get_legend().get_texts()] == ["row", "reconstruction"]


def test_any_transformer_that_can_go_back(X):
    pipeline = make_pipeline(StandardScaler(), PCA(2)).fit(X)
    display = ReconstructionDisplay.from_estimator(pipeline, X, n_samples=100)
    np.testing.assert_array_equal(display.reconstructions, pipeline.inverse_transform(pipeline.transform(X)))


def test_counts_are_reconstructed_with_their_totals():
    counts = np.random.default_rng(0).poisson(5.0, size=(40, 4))
    estimator = AutoencoderTransformer(**CHEAP, likelihood="multinomial").fit(counts)
    display = ReconstructionDisplay.from_estimator(estimator, counts, n_samples=5)
    np.testing.assert_allclose(np.sum(display.reconstructions, axis=1), counts[:5].sum(axis=1), rtol=1e-5)


def test_what_cannot_be_reconstructed(X, fitted):
    with pytest.raises(TypeError, match="inverse_transform, which Normalizer does not have"):
        ReconstructionDisplay.from_estimator(Normalizer().fit(X), X)
    with pytest.raises(ValueError, match="n_samples == 0, must be >= 1"):
        ReconstructionDisplay.from_estimator(fitted, X, n_samples=0)
    with pytest.raises(ValueError, match=r"X_noisy must have the shape of X, \(60, 6\), got \(2, 6\)"):
        ReconstructionDisplay.from_estimator(fitted, X, X_noisy=X[:2])


@pytest.mark.parametrize("image_shape", [(2, 2), (6,), (1, 3, 2), (3, 2, 2)])
def test_image_shapes_that_do_not_fit(X, fitted, image_shape):
    with pytest.raises(ValueError, match=r"image_shape must be .* 6 cells, the number of features, got \("):
        ReconstructionDisplay.from_estimator(fitted, X, image_shape=image_shape)


# -- samples


def test_samples_fill_a_grid_of_images(generative):
    display = SampleGridDisplay.from_estimator(
        generative, n_samples=7, random_state=1, image_shape=(2, 3), n_columns=4, cmap="viridis"
    )
    rows = generative.sample(7, random_state=1)
    np.testing.assert_array_equal(display.rows, rows)
    assert display.axes_.shape == (2, 4)
    for panel, row in zip(display.axes_.flat[:7], rows, strict=True):
        (image,) = panel.images
        np.testing.assert_array_equal(image.get_array(), row.reshape(2, 3))
        assert image.get_clim() == (rows.min(), rows.max()), "one scale for all"
        assert image.cmap.name == "viridis"
    assert [panel.get_visible() for panel in display.axes_.flat] == [True] * 7 + [False]


def test_images_with_axes_of_their_own_are_shown(X):
    images = X.reshape(-1, 1, 2, 3)
    options = {"architecture": Convolutional((2,)), "max_iter": 1, "random_state": 0, "device": "cpu"}
    model = VAETransformer(2, **options).fit(images)
    shown = ReconstructionDisplay.from_estimator(model, images, n_samples=3, image_shape=(2, 3))
    expected = [*images[:3, 0], *model.reconstruct(images[:3])[:, 0]]
    for panel, image in zip(shown.axes_.flat, expected, strict=True):
        np.testing.assert_allclose(panel.images[0].get_array(), image)
    assert SampleGridDisplay.from_estimator(model, n_samples=4, image_shape=(2, 3)).axes_.shape == (2, 2)


def test_samples_as_lines(generative):
    display = SampleGridDisplay.from_estimator(generative, n_samples=5, random_state=1, mean=True, linestyle="--")
    rows = generative.sample(5, random_state=1, mean=True)
    assert display.axes_.shape == (2, 3)
    for panel, row in zip(display.axes_.flat[:5], rows, strict=True):
        (line,) = panel.lines
        np.testing.assert_array_equal(line.get_ydata(), row)
        assert line.get_linestyle() == "--"
        assert panel.get_ylim() == display.axes_[0, 0].get_ylim(), "one scale for all"


def test_samples_of_other_estimators(X):
    kernel = KernelDensity().fit(X)
    display = SampleGridDisplay.from_estimator(kernel, n_samples=4, random_state=3)
    np.testing.assert_array_equal(display.rows, kernel.sample(4, random_state=3))
    mixture = GaussianMixture(2, random_state=0).fit(X)
    draws = [SampleGridDisplay.from_estimator(mixture, n_samples=4, random_state=seed).rows for seed in (3, 3, 4, None)]
    np.testing.assert_array_equal(draws[0], draws[1])
    assert not np.array_equal(draws[0], draws[2])
    np.testing.assert_array_equal(draws[3], mixture.sample(4)[0])
    assert mixture.random_state == 0, "the estimator itself is left as it is"


def test_samples_as_data_frames(X):
    estimator = VAETransformer(2, **CHEAP).set_output(transform="pandas").fit(X)
    display = SampleGridDisplay.from_estimator(estimator, n_samples=3, random_state=0)
    np.testing.assert_array_equal(display.rows, estimator.sample(3, random_state=0).to_numpy())


def test_what_cannot_be_sampled(X, fitted, generative):
    with pytest.raises(TypeError, match="estimator must have sample, which AutoencoderTransformer does not have"):
        SampleGridDisplay.from_estimator(fitted)
    with pytest.raises(TypeError, match="mean must be False for KernelDensity"):
        SampleGridDisplay.from_estimator(KernelDensity().fit(X), mean=True)
    with pytest.raises(ValueError, match="n_samples == 0, must be >= 1"):
        SampleGridDisplay.from_estimator(generative, n_samples=0)
    with pytest.raises(ValueError, match="n_columns == 0, must be >= 1"):
        SampleGridDisplay(X, n_columns=0).plot()
    with pytest.raises(ValueError, match=r"image_shape must be .* 6 cells, the number of features, got \(2, 2\)"):
        SampleGridDisplay(X, image_shape=(2, 2)).plot()


# -- traversals


def test_each_component_moves_through_its_quantiles(X, generative):
    display = LatentTraversalDisplay.from_estimator(
        generative, X, row=4, components=[2, 0], n_steps=5, percentiles=(0.1, 0.9), image_shape=(2, 3)
    )
    codes, names = generative.transform(X), generative.get_feature_names_out()
    for tier, component in enumerate([2, 0]):
        path = np.repeat(codes[4:5], 5, axis=0)
        path[:, component] = np.quantile(codes[:, component], [0.1, 0.3, 0.5, 0.7, 0.9])
        np.testing.assert_allclose(display.rows[tier], generative.inverse_transform(path), rtol=1e-6)
        assert display.axes_[tier, 0].get_ylabel() == names[component]
        for panel, row in zip(display.axes_[tier], display.rows[tier], strict=True):
            np.testing.assert_array_equal(panel.images[0].get_array(), row.reshape(2, 3))
    assert [panel.get_xlabel() for panel in display.axes_[-1]] == ["0.1", "0.3", "0.5", "0.7", "0.9"]
    assert display.ax_.get_xlabel() == "quantile"


def test_the_plane_of_two_components_rises_to_the_right_and_upwards(X):
    pca = PCA(3).fit(X)
    display = LatentTraversalDisplay.from_estimator(pca, X, kind="plane", components=(1, 2), n_steps=4)
    codes = pca.transform(np.reshape(display.rows, (-1, 6))).reshape(4, 4, 3)
    shares = [0.05, 0.35, 0.65, 0.95]
    across, up = np.quantile(pca.transform(X)[:, 1:], shares, axis=0).T
    np.testing.assert_allclose(codes[..., 0], pca.transform(X)[:, 0].mean(), atol=1e-12)
    np.testing.assert_allclose(codes[..., 1], np.tile(across, (4, 1)), atol=1e-12)
    np.testing.assert_allclose(codes[..., 2], np.tile(up[::-1, None], (1, 4)), atol=1e-12)
    assert [panel.get_ylabel() for panel in display.axes_[:, 0]] == [f"{value:.2g}" for value in up[::-1]]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("pca1", "pca2")
    np.testing.assert_array_equal(display.axes_[0, 3].lines[0].get_ydata(), display.rows[0, 3])


def test_codes_of_two_components_are_shown_as_a_plane(X):
    assert LatentTraversalDisplay.from_estimator(PCA(2).fit(X), X, n_steps=3).axes_.shape == (3, 3)
    assert LatentTraversalDisplay.from_estimator(PCA(2).fit(X), X, n_steps=3, kind="components").axes_.shape == (2, 3)
    assert LatentTraversalDisplay.from_estimator(PCA(4).fit(X), X, n_steps=3).axes_.shape == (4, 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "line"}, "kind must be 'auto', 'components' or 'plane', got 'line'"),
        ({"components": (0, 3)}, r"components must be integers from 0 to 2.*got \(0, 3\)"),
        ({"kind": "plane", "components": (0, 1, 2)}, "components must be two integers from 0 to 2"),
        ({"n_steps": 1}, "n_steps == 1, must be >= 2"),
        ({"percentiles": (0.9, 0.1)}, r"percentiles must be two increasing numbers from 0 to 1, got \(0.9, 0.1\)"),
        ({"row": 60}, "row == 60, must be <= 59"),
        ({"image_shape": (2, 2)}, "image_shape must be"),
    ],
)
def test_traversals_out_of_range(X, generative, options, message):
    with pytest.raises(ValueError, match=message):
        LatentTraversalDisplay.from_estimator(generative, X, **options)


def test_there_is_no_way_back_from_some_codes(X):
    with pytest.raises(TypeError, match="estimator must have inverse_transform, which Normalizer does not have"):
        LatentTraversalDisplay.from_estimator(Normalizer().fit(X), X)


# -- KL divergences


@pytest.mark.parametrize("sort", [False, True])
def test_divergences_are_those_of_the_estimator(generative, sort):
    display = ComponentKLDisplay.from_estimator(generative, sort=sort, color="red")
    kl, names = generative.kl_per_component_, generative.get_feature_names_out()
    order = np.argsort(-kl) if sort else np.arange(3)
    np.testing.assert_array_equal([bar.get_height() for bar in display.bars_], kl[order])
    assert [label.get_text() for label in display.ax_.get_xticklabels()] == list(names[order])
    assert {bar.get_facecolor() for bar in display.bars_} == {to_rgba("red")}


def test_divergences_of_other_estimators(fitted):
    with pytest.raises(TypeError, match="must have kl_per_component_, which AutoencoderTransformer does not have"):
        ComponentKLDisplay.from_estimator(fitted)


def test_images_are_found_in_pipelines_within_pipelines():
    images = np.random.default_rng(0).random((20, 1, 6, 6))
    flat = images.reshape(20, 36)
    inner = AutoencoderTransformer(2, architecture=Convolutional((4,), input_shape=(1, 6, 6)), max_iter=1)
    for pipeline in (make_pipeline(StandardScaler(), inner), make_pipeline(StandardScaler(), make_pipeline(inner))):
        display = ReconstructionDisplay.from_estimator(pipeline.fit(flat), flat, n_samples=3)
        assert display.axes_.shape == (2, 3)


@pytest.mark.parametrize(
    "draw",
    [
        lambda fitted, X: LatentTraversalDisplay.from_estimator(fitted, X, components=[0.5]),
        lambda fitted, X: ReconstructionDisplay.from_estimator(fitted, X, n_samples=2.5),
        lambda fitted, X: OutlierExplanationDisplay([1.0, 2.0]).plot(n_features=-1),
    ],
)
def test_numbers_of_things_are_whole(draw, fitted, X):
    with pytest.raises((ValueError, TypeError), match=r"components must be|n_samples must be|n_features == -1"):
        draw(fitted, X)
