"""What every estimator of this library promises beyond scikit-learn's checks; one list of instances.

``any_estimator`` is each autoencoder and each outlier detector, ``estimator`` each autoencoder: it has codes and a net.
"""

import concurrent.futures
import contextlib
import copy
import inspect
import io
import pickle
import pickletools
import re

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import torch
from scipy import sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.callback import ProgressBar, ScoringMonitor
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.experimental import enable_halving_search_cv  # noqa: F401 - scikit-learn's own switch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, HalvingGridSearchCV
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from skorch.callbacks import Callback

from sk_autoenc import AutoencoderTransformer
from sk_autoenc.training.inference import LARGE_BLOCK, SMALL_BLOCK
from tests.instances import DETECTORS, INSTANCES, describe
from tests.outputs import METHODS, assert_same, methods_of, outputs

rng = np.random.default_rng(0)
X = rng.standard_normal((90, 6)) * [1, 2, 3, 1, 1, 1] + 5
X_IRIS, Y_IRIS = load_iris(return_X_y=True)


@pytest.fixture(params=INSTANCES, ids=describe)
def estimator(request):
    return clone(request.param)


@pytest.fixture(params=INSTANCES + DETECTORS, ids=describe)
def any_estimator(request):
    return clone(request.param)


_SHARED = {}


def fitted(estimator):
    """The estimator fitted to X; a model that tests share, who change nothing of it."""
    key = describe(estimator)
    if key not in _SHARED:
        model = clone(estimator).fit(X)
        _SHARED[key] = model, outputs(model, X)
    return _SHARED[key][0]


def expected_outputs(estimator):
    """What the estimator says of X when it is fitted to X."""
    return fitted(estimator) and _SHARED[describe(estimator)][1]


@pytest.fixture(scope="module", autouse=True)
def _shared_models_are_unchanged():
    yield
    for model, expected in _SHARED.values():
        assert_same(outputs(model, X), expected)
    _SHARED.clear()


def learned(model):
    """What training has set: the weights of a net, or the scores of a detector, which may have other members."""
    if hasattr(model, "net_"):
        return [value.clone().numpy() for value in model.net_.module_.state_dict().values()]
    return [model.score_samples(X)]


def differ(one, other):
    return any(not np.array_equal(left, right) for left, right in zip(one, other, strict=True))


# -- parameters


def test_clone_keeps_every_parameter(any_estimator):
    assert clone(any_estimator).get_params().keys() == any_estimator.get_params().keys()
    assert repr(clone(any_estimator).get_params()) == repr(any_estimator.get_params())


def test_fit_changes_no_parameter(any_estimator):
    before = joblib.hash(any_estimator.get_params())
    assert joblib.hash(any_estimator.fit(X).get_params()) == before


def test_parameters_set_after_fit_change_no_prediction(any_estimator):
    before = outputs(any_estimator.fit(X), X)
    others = {"n_components": 5, "architecture": (3, 3), "likelihood": "poisson", "init": "random", "noise": 0.4}
    others |= {"beta": 3.0, "prior": "normal", "n_importance_samples": 2, "n_score_samples": 3}
    others |= {"residual": "squared", "novelty": True, "n_estimators": 1, "contamination": 0.3, "autoencoder": PCA(1)}
    any_estimator.set_params(**{name: value for name, value in others.items() if name in any_estimator.get_params()})
    assert_same(outputs(any_estimator, X), before)
    assert_same(outputs(pickle.loads(pickle.dumps(any_estimator)), X), before)


def test_y_is_ignored(any_estimator):
    assert inspect.signature(any_estimator.fit).parameters["y"].default is None
    for y in (["a"] * len(X), [1, 2], object()):
        assert_same(outputs(clone(any_estimator).fit(X, y), X), expected_outputs(any_estimator))


# -- determinism and private randomness


def test_two_fits_agree_bit_for_bit(any_estimator):
    for _ in range(2):
        assert_same(outputs(any_estimator.fit(X), X), expected_outputs(any_estimator))


def test_another_seed_gives_another_model(any_estimator):
    other = clone(any_estimator).set_params(random_state=1).fit(X)
    assert differ(learned(fitted(any_estimator)), learned(other))


def test_global_generators_are_untouched(any_estimator):
    numpy_before, torch_before = np.random.get_state(), torch.random.get_rng_state()  # noqa: NPY002 - it is the matter
    outputs(any_estimator.fit(X), X)
    if hasattr(any_estimator, "partial_fit"):
        any_estimator.partial_fit(X)
    if hasattr(any_estimator, "explain"):
        any_estimator.explain(X[:5])
    pickle.loads(pickle.dumps(any_estimator))
    assert torch.equal(torch.random.get_rng_state(), torch_before)
    for left, right in zip(np.random.get_state(), numpy_before, strict=True):  # noqa: NPY002 - it is the matter
        np.testing.assert_array_equal(left, right)


def test_a_random_state_instance_advances(any_estimator):
    shared = np.random.RandomState(0)
    one = clone(any_estimator).set_params(random_state=shared)
    one.random_state = shared
    one.fit(X)
    first = learned(one)
    assert differ(first, learned(one.fit(X)))


def test_threads_give_the_same_numbers(any_estimator):
    expected = expected_outputs(any_estimator)
    with concurrent.futures.ThreadPoolExecutor(3) as pool:
        for result in pool.map(lambda _: outputs(clone(any_estimator).fit(X), X), range(4)):
            assert_same(result, expected)


def test_threads_may_share_a_fitted_model(any_estimator):
    model, expected = fitted(any_estimator), expected_outputs(any_estimator)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for result in pool.map(lambda _: outputs(model, X), range(8)):
            assert_same(result, expected)


@pytest.mark.parametrize("estimator", [INSTANCES[0], INSTANCES[-1]], ids=describe)  # each imports torch twice
def test_processes_give_the_same_numbers(estimator):
    grid = {"n_components": [1, 2]}
    serial, parallel = (GridSearchCV(estimator, grid, cv=2, n_jobs=jobs, refit=False).fit(X) for jobs in (None, 2))
    np.testing.assert_array_equal(serial.cv_results_["mean_test_score"], parallel.cv_results_["mean_test_score"])


# -- inference


#: scikit-learn's own transformers, as members of a detector, may round a row by its place among others.
OURS = INSTANCES + [detector for detector in DETECTORS if not isinstance(detector.autoencoder, PCA)]


@pytest.mark.parametrize("estimator", OURS, ids=describe)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_is_bit_equal_whatever_the_other_rows(estimator, dtype):
    estimator = fitted(estimator) if dtype == X.dtype else clone(estimator).fit(X.astype(dtype))
    many = np.random.default_rng(1).standard_normal((LARGE_BLOCK + 70, 6)).astype(dtype) * 3 + 5
    expected = outputs(estimator, many)
    order = np.random.default_rng(2).permutation(len(many))
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3, 4):
            torch.set_num_threads(threads)
            for rows, layout in (
                (order, np.ascontiguousarray),
                (order[: LARGE_BLOCK + 1], np.asfortranarray),
                *((order[:n], np.ascontiguousarray) for n in (1, SMALL_BLOCK - 1, SMALL_BLOCK + 1)),
            ):
                found = outputs(estimator, layout(many[rows]))
                assert_same(found, {name: value[rows] for name, value in expected.items()})
    finally:
        torch.set_num_threads(before)


def test_output_dtype_is_that_of_the_input(any_estimator):
    for dtype, expected in ((np.float32, np.float32), (np.float64, np.float64), (np.int64, np.float64)):
        rows = X.astype(dtype)
        model = fitted(any_estimator) if dtype == X.dtype else any_estimator.fit(rows)
        for value in outputs(model, rows).values():
            assert value.dtype == expected
        if hasattr(model, "inverse_transform"):
            assert model.inverse_transform(model.transform(rows)).dtype == expected


@pytest.mark.parametrize("likelihood", ["bernoulli", "poisson", "multinomial"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_row_is_bit_equal_whatever_the_likelihood(likelihood, dtype):
    counts = np.random.default_rng(0).poisson(2.0, (LARGE_BLOCK + 70, 37)).astype(dtype)
    counts = counts.clip(max=1) if likelihood == "bernoulli" else counts
    model = AutoencoderTransformer(3, architecture=(8,), max_iter=1, likelihood=likelihood, random_state=0).fit(counts)
    expected, order = outputs(model, counts), np.random.default_rng(1).permutation(len(counts))
    before = torch.get_num_threads()
    try:
        for threads in (1, 3, 4):
            torch.set_num_threads(threads)
            for rows in (order, order[:1], order[:63]):
                assert_same(outputs(model, counts[rows]), {name: value[rows] for name, value in expected.items()})
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("likelihood", ["poisson", "multinomial"])
def test_counts_far_beyond_the_training_rows_give_finite_numbers(likelihood):
    counts = np.random.default_rng(0).poisson(2.0, (100, 5)).astype(float)
    model = AutoencoderTransformer(2, likelihood=likelihood, max_iter=20, random_state=0).fit(counts)
    for value in outputs(model, counts * 1e6).values():
        assert np.isfinite(value).all()


def test_the_default_architecture_has_parameters_in_a_search():
    search = GridSearchCV(AutoencoderTransformer(max_iter=1), {"architecture__activation": ["relu", "tanh"]}, cv=2)
    assert search.fit(X).best_estimator_.architecture.hidden_layer_sizes == (128, 64)


def test_callbacks_do_not_stand_in_the_way_of_training_on():
    estimator = AutoencoderTransformer(max_iter=1, callbacks=[Callback()], random_state=0, warm_start=True)
    assert estimator.fit(X).partial_fit(X).fit(X).n_iter_ == 3


def test_units_do_not_matter(estimator):
    """A power of two changes no mantissa, so the model is the same bit for bit."""
    small, large = fitted(estimator), clone(estimator).fit(1024 * X)
    np.testing.assert_array_equal(small.transform(X), large.transform(1024 * X))
    np.testing.assert_array_equal(1024 * small.reconstruct(X), large.reconstruct(1024 * X))


def test_round_trip(estimator):
    model = fitted(estimator)
    np.testing.assert_allclose(model.inverse_transform(model.transform(X)), model.reconstruct(X), rtol=1e-5)
    if isinstance(model, AutoencoderTransformer):
        errors = np.square(X - model.reconstruct(X)).sum(axis=1)
        np.testing.assert_allclose(model.score_samples(X), -errors, rtol=1e-4, atol=1e-6)
    assert model.score(X) == pytest.approx(model.score_samples(X).mean())
    assert estimator.fit_transform(X).shape == (len(X), estimator.n_components)


# -- fitted state


def test_pickle_keeps_predictions(any_estimator):
    model, expected = fitted(any_estimator), expected_outputs(any_estimator)
    for opened in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        assert_same(outputs(opened, X), expected)
        opened.partial_fit(X) if hasattr(opened, "partial_fit") else opened.fit(X + 1)
    assert_same(outputs(model, X), expected)


def test_pickles_are_small_and_hold_plain_arrays(any_estimator):
    content = pickle.dumps(fitted(any_estimator))
    modules = {name.split()[0].split(".")[0] for _, name in globals_of(content)}
    assert modules.isdisjoint({"torch", "skorch"})
    assert len(content) < 50_000 * getattr(any_estimator, "n_estimators", 1)


def globals_of(content):
    """Classes and functions that a pickle names."""
    found, strings = [], []
    for code, value, _ in pickletools.genops(content):
        if code.name == "GLOBAL":
            found.append((code.name, value))
        elif code.name == "STACK_GLOBAL":
            found.append((code.name, strings[-2]))
        elif isinstance(value, str):
            strings.append(value)
    return found


def test_a_pickle_of_a_gpu_model_opens_here(estimator):
    if torch.cuda.is_available():
        pytest.skip("needs a machine without CUDA")
    model = copy.deepcopy(fitted(estimator))
    model.device_ = "cuda"
    with pytest.warns(UserWarning, match="it uses the CPU"):
        opened = pickle.loads(pickle.dumps(model))
    assert_same(outputs(opened, X), expected_outputs(estimator))


def test_unfitted_is_said(any_estimator):
    for name in (*METHODS, "inverse_transform", "score", "predict", "explain"):
        if hasattr(any_estimator, name):
            with pytest.raises(NotFittedError):
                getattr(any_estimator, name)(X)


def test_a_refit_that_fails_leaves_no_half_state(estimator):
    class Broken(Callback):
        def on_epoch_end(self, net, **kwargs):
            raise RuntimeError("broken on purpose")

    estimator.fit(X)
    estimator.set_params(callbacks=[Broken()])
    with pytest.raises(RuntimeError, match="on purpose"):
        estimator.fit(X[:, :4])
    with pytest.raises(NotFittedError):
        estimator.transform(X)
    assert not hasattr(estimator, "n_features_in_")


def test_training_on_that_fails_leaves_the_model_as_it_was(estimator):
    class BrokenLater(Callback):
        def on_batch_end(self, net, **kwargs):
            if len(net.history) > estimator.max_iter:
                raise RuntimeError("broken on purpose")

    estimator.set_params(callbacks=[BrokenLater()], early_stopping=False).fit(X)
    expected, epochs = outputs(estimator, X), estimator.n_iter_
    with pytest.raises(RuntimeError, match="on purpose"):
        estimator.partial_fit(X)
    assert_same(outputs(estimator, X), expected)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == epochs


def test_ctrl_c_keeps_the_weights_so_far_and_goes_on(estimator):
    class Interrupted(Callback):
        def on_epoch_end(self, net, **kwargs):
            if len(net.history) == 2:
                press()

    def press():
        raise KeyboardInterrupt

    estimator.set_params(callbacks=[Interrupted()])
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X)
    assert np.isfinite(estimator.transform(X)).all()
    with pytest.raises(KeyboardInterrupt):
        estimator.set_params(early_stopping=False).fit(X)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 2
    assert np.isfinite(estimator.transform(X)).all()


def test_ctrl_c_in_the_first_epoch_leaves_what_it_says(estimator):
    class Interrupted(Callback):
        def on_batch_end(self, net, **kwargs):
            self.n_batches = getattr(self, "n_batches", 0) + 1
            if self.n_batches == 3:
                press()

    def press():  # a raise statement in the callback itself would be the callback's wish, and no Ctrl-C
        raise KeyboardInterrupt

    estimator.set_params(callbacks=[Interrupted()], early_stopping=False, learning_rate=0.05, batch_size=8)
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(X)
    assert estimator.n_iter_ == 0
    if hasattr(estimator, "linear_"):
        assert estimator.linear_ == hasattr(estimator.net_.module_.encoder, "linear_path")
    if getattr(estimator, "linear_", False):
        codes = estimator.transform(X)
        middle = estimator.inverse_transform((codes[:1] + codes[1:2]) / 2)
        ends = estimator.inverse_transform(codes[:2])
        np.testing.assert_allclose(middle[0], ends.mean(0), atol=1e-4 * np.abs(X).max())


# -- training on


def test_partial_fit_goes_on(estimator):
    for _ in range(3):
        estimator.partial_fit(X)
    assert estimator.n_iter_ == len(estimator.loss_curve_) == 3
    with pytest.raises(ValueError, match="features"):
        estimator.partial_fit(X[:, :3])
    estimator.set_params(n_components=3)
    with pytest.raises(ValueError, match="n_components must be 2"):
        estimator.partial_fit(X)


def test_warm_start_goes_on(estimator):
    estimator.set_params(warm_start=True)
    once = estimator.fit(X).n_iter_
    assert estimator.fit(X).n_iter_ > once
    estimator.set_params(warm_start=False)
    assert estimator.fit(X).n_iter_ == once


# -- data of every size and kind


@pytest.mark.parametrize("n_rows", [1, 2, 3, 31, 32, 33])
def test_any_number_of_rows(estimator, n_rows):
    estimator.set_params(batch_size=32).fit(X[:n_rows])
    for value in outputs(estimator, X).values():
        assert np.isfinite(value).all()


def test_constant_and_duplicate_columns(estimator):
    odd = np.column_stack([X[:, 0], X[:, 0], np.full(len(X), 7.0), np.zeros(len(X))])
    values = outputs(estimator.fit(odd), odd)
    assert all(np.isfinite(value).all() for value in values.values())
    assert np.isfinite(estimator.fit(np.ones((20, 3))).score(np.ones((20, 3))))
    if estimator.init == "auto" and getattr(estimator, "sparsity_target", None) is None:
        np.testing.assert_allclose(estimator.reconstruct(np.ones((20, 3))), 1.0, rtol=1e-6)


def test_more_features_than_rows_and_more_components_than_features(estimator):
    wide = np.random.default_rng(0).standard_normal((7, 40))
    assert np.isfinite(estimator.fit(wide).score(wide))
    estimator.set_params(n_components=9)
    assert estimator.fit(X).transform(X).shape == (len(X), 9)


def test_bad_values_name_themselves(any_estimator):
    if not any_estimator.__sklearn_tags__().input_tags.allow_nan:
        with pytest.raises(ValueError, match="NaN"):
            any_estimator.fit(np.where(X > 9, np.nan, X))
    with pytest.raises(ValueError, match=r"float32.*1e\+300"):
        any_estimator.fit(np.where(X > 9, 1e300, X))
    model = fitted(any_estimator)
    for name in methods_of(model):
        with pytest.raises(ValueError, match=r"float32.*1e\+300"):
            getattr(model, name)(np.full((1, 6), 1e300))
    if hasattr(model, "inverse_transform"):
        with pytest.raises(ValueError, match=r"columns, .* got 5"):
            model.inverse_transform(np.zeros((2, 5)))


def test_sparse_rows_are_read_or_refused_with_the_way_out(any_estimator):
    if any_estimator.__sklearn_tags__().input_tags.sparse:
        model = any_estimator.fit(sparse.csr_array(X))
        found = getattr(model, "transform" if hasattr(model, "transform") else "score_samples")(sparse.csr_array(X))
        assert np.isfinite(found).all()
        assert len(found) == len(X)
        return
    with pytest.raises(TypeError, match=rf"{type(any_estimator).__name__} needs dense rows.*TruncatedSVD.*Recommender"):
        any_estimator.fit(sparse.csr_array(X))


def test_read_only_memory_map(any_estimator, tmp_path):
    np.save(tmp_path / "x.npy", X)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    assert_same(outputs(any_estimator.fit(mapped), mapped), expected_outputs(any_estimator))


def test_tensors_where_arrays_go(any_estimator):
    tensor = torch.from_numpy(X).requires_grad_()
    assert_same(outputs(any_estimator.fit(tensor), tensor), expected_outputs(any_estimator))


def test_codes_may_be_tensors(estimator):
    model, codes = fitted(estimator), expected_outputs(estimator)["transform"]
    with config_context(array_api_dispatch=False):
        np.testing.assert_array_equal(model.inverse_transform(torch.from_numpy(codes)), model.inverse_transform(codes))


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames_in_and_out(estimator, library):
    names = list("abcdef")
    frame = pd.DataFrame(X, columns=names) if library == "pandas" else pl.DataFrame(X, schema=names)
    codes = estimator.set_output(transform=library).fit(frame).transform(frame)
    assert isinstance(codes, type(frame))
    assert list(codes.columns) == list(estimator.get_feature_names_out())
    assert list(estimator.feature_names_in_) == names
    estimator.set_output(transform="default")
    np.testing.assert_array_equal(np.asarray(codes), expected_outputs(estimator)["transform"])


# -- inside scikit-learn


def pipeline(estimator):
    return Pipeline([("scale", StandardScaler()), ("codes", estimator), ("classify", LogisticRegression())])


@pytest.mark.parametrize("search", [GridSearchCV, HalvingGridSearchCV])
def test_nested_parameters_in_a_search(estimator, search):
    estimator.set_params(architecture=clone(INSTANCES[-1]).architecture)
    grid = [
        {"codes__n_components": [n_components], "codes__architecture__activation": [activation]}
        for n_components, activation in ((1, "relu"), (3, "tanh"))
    ]
    found = search(pipeline(estimator), grid, cv=2, n_jobs=None).fit(X_IRIS, Y_IRIS)
    assert found.best_score_ > 0.5
    assert set(found.best_params_) == set(grid[0])
    assert len(found.cv_results_["params"]) >= 2


def test_column_transformer_and_feature_union(estimator):
    parts = ColumnTransformer([("left", estimator, [0, 1, 2]), ("right", clone(estimator), [3, 4, 5])])
    assert parts.fit_transform(X).shape == (len(X), 4)
    union = FeatureUnion([("scaled", StandardScaler()), ("codes", estimator)])
    assert union.fit_transform(X).shape == (len(X), 8)


def test_each_epoch_is_a_task(estimator):
    class Counts:
        begun = ended = 0

        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context):
            self.begun += context.task_name == "epoch"

        def on_fit_task_end(self, estimator, context):
            self.ended += context.task_name == "epoch"
            assert context.task_name != "epoch" or estimator.n_iter_ == self.ended

    counts = Counts()
    estimator.set_callbacks(counts).fit(X)
    assert counts.begun == counts.ended == estimator.n_iter_


def test_progress_bars_show_the_fit(any_estimator):
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        any_estimator.set_callbacks(ProgressBar()).fit(X)
    assert f"{type(any_estimator).__name__} - fit" in shown.getvalue()
    assert "100%" in shown.getvalue()


def test_progress_bars_of_searches_show_epochs(estimator):
    search = GridSearchCV(pipeline(clone(estimator).set_callbacks()), {"codes__n_components": [2]}, cv=2, n_jobs=2)
    search.set_callbacks(ProgressBar(max_propagation_depth=None))
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        search.fit(X_IRIS, Y_IRIS)
    assert type(estimator).__name__ in shown.getvalue()


def test_scoring_monitor_records_every_epoch(estimator):
    monitor = ScoringMonitor(scoring=lambda fitted, X, y: {"score": fitted.score(X)})
    estimator.set_callbacks(monitor).fit(X_IRIS, Y_IRIS)
    scores = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == estimator.n_iter_


def test_a_callback_of_scikit_learn_can_stop_training(estimator):
    class StopAtOnce:
        def setup(self, estimator, context): ...
        def teardown(self, estimator, context): ...
        def on_fit_task_begin(self, estimator, context): ...
        def on_fit_task_end(self, estimator, context):
            return context.task_name == "epoch"

    estimator.set_callbacks(StopAtOnce()).fit(X)
    assert estimator.n_iter_ == 1


def test_silence(any_estimator, capfd):
    outputs(make_pipeline(StandardScaler(), any_estimator).fit(X), X)
    assert capfd.readouterr() == ("", "")
    any_estimator.set_params(verbose=1).fit(X)
    assert re.search("train_loss|step 1?6 of|clone 2 of 2|step 10 of 10", capfd.readouterr().out)


def test_no_weight_or_buffer_is_left_as_memory_had_it(estimator, monkeypatch):
    """Modules are built without memory of their own; whatever nobody sets would be what the memory held before."""
    expected = expected_outputs(estimator)
    to_empty = torch.nn.Module.to_empty

    def to_poison(module, **kwargs):
        module = to_empty(module, **kwargs)
        for tensor in module.state_dict().values():
            tensor.fill_(torch.nan)
        return module

    monkeypatch.setattr(torch.nn.Module, "to_empty", to_poison)
    assert_same(outputs(estimator.fit(X), X), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_torchs_default_dtype_does_not_matter(any_estimator, dtype):
    expected, content = expected_outputs(any_estimator), pickle.dumps(fitted(any_estimator))
    torch.set_default_dtype(dtype)
    try:
        for found in (outputs(clone(any_estimator).fit(X), X), outputs(pickle.loads(content), X)):
            for name, values in found.items():  # python's numbers round otherwise beside those of float64
                np.testing.assert_allclose(values, expected[name], rtol=1e-4, atol=1e-5)
    finally:
        torch.set_default_dtype(torch.float32)


def test_torchs_default_device_does_not_matter(any_estimator):
    """A tensor that was made on the default device, which has no memory here, would be an error."""
    expected, content = expected_outputs(any_estimator), pickle.dumps(fitted(any_estimator))
    torch.set_default_device("meta")
    try:
        for model in (clone(any_estimator).fit(X), pickle.loads(content)):
            assert_same(outputs(model, X), expected)
    finally:
        torch.set_default_device(None)
