"""Recurrent layers and architectures: what they compute, what they refuse, and series through the estimators."""

import pickle

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.model_selection import GridSearchCV

from sk_autoenc import (
    AAETransformer,
    AutoencoderTransformer,
    ReconstructionOutlierDetector,
    Recurrent,
    VAETransformer,
    load,
    save,
)
from sk_autoenc.initialization.random import initialize_parameters
from sk_autoenc.nn.recurrent import ReadSeries, SeriesLayout, ToSeries, UnrollCode, clock
from tests.instances import describe
from tests.outputs import assert_same, outputs

rng = np.random.default_rng(0)
#: Waves of two channels in eleven steps, 90 of them, with noise.
_PHASE, _TIME = rng.uniform(0, 6, (90, 1, 1)), np.linspace(0, 5, 11)
X = 3 * np.sin(_PHASE + _TIME * [[[1.0], [2.0]]]) + rng.standard_normal((90, 2, 11)) / 4 + 5
SHAPE = X.shape[1:]

_CHEAP = {"architecture": Recurrent(4), "max_iter": 2, "random_state": 0, "device": "cpu"}
SERIES = [
    AutoencoderTransformer(**_CHEAP, noise=0.2, early_stopping=False),
    AutoencoderTransformer(
        **{**_CHEAP, "architecture": Recurrent(5, cell="lstm", num_layers=2, bidirectional=False)},
        init="random",
        early_stopping=False,
    ),
    VAETransformer(**_CHEAP, n_score_samples=2, early_stopping=False),
    AAETransformer(**_CHEAP, critic=(8,)),
]


@pytest.fixture(params=SERIES, ids=describe)
def estimator(request):
    return clone(request.param)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def built(network, seed=1):
    initialize_parameters(network, seeded(seed))
    return network


# -- layers


def test_a_row_holds_its_series_channel_after_channel():
    layout, series = SeriesLayout(2, 3), torch.arange(24).reshape(4, 2, 3)
    steps = layout.to_steps(series.flatten(1))
    assert torch.equal(steps, series.transpose(1, 2))
    assert torch.equal(layout.to_rows(steps), series.flatten(1))
    both = layout.to_rows(torch.cat([steps, 10 + steps], dim=2))
    assert torch.equal(both, torch.cat([series.flatten(1), 10 + series.flatten(1)], dim=1))
    assert layout.n_cells == 6


@pytest.mark.parametrize("n_timepoints", [1, 2, 3, 100])
def test_the_clock_tells_every_step_from_every_other(n_timepoints):
    time = clock(n_timepoints, torch.device("cpu"))
    apart = torch.cdist(time, time) + torch.eye(n_timepoints)
    assert apart.min() > 0.3
    assert torch.equal(time, clock(4 * n_timepoints, torch.device("cpu"))[:n_timepoints, _shared_hands(n_timepoints)])


def _shared_hands(n_timepoints):
    """The columns of a longer clock that a shorter one has, too."""
    short, long = (clock(n, torch.device("cpu")).shape[1] // 2 for n in (n_timepoints, 4 * n_timepoints))
    return [*range(short), *range(long, long + short)]


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_series_is_read_from_both_ends(cell):
    reader = built(ReadSeries(SeriesLayout(1, 6), cell, 4, 1, bidirectional=True))
    series = torch.randn(3, 6, generator=seeded())
    with torch.no_grad():
        for name, parameter in reader.cell.named_parameters():
            if name.endswith("reverse"):
                parameter.copy_(reader.cell.get_parameter(name.removesuffix("_reverse")))
        forward, backward = reader(series).chunk(2, 1)
        there, back = reader(series.flip(1)).chunk(2, 1)
    torch.testing.assert_close(forward, back)
    torch.testing.assert_close(backward, there)
    assert not torch.allclose(forward, backward)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_a_state_depends_on_the_code_and_the_time_alone(cell):
    """What a longer series begins with is what a shorter one is, where both have the same clock."""
    long = built(UnrollCode(3, 8, cell, 4, 2))
    short = UnrollCode(3, 7, cell, 4, 2)
    short.load_state_dict(long.state_dict())
    code = torch.randn(5, 3, generator=seeded())
    torch.testing.assert_close(long(code)[:, :7], short(code))
    assert long(code).std(0).min() > 1e-3


def test_the_last_layer_has_a_bias_for_each_column():
    layer = built(ToSeries(4, SeriesLayout(2, 5), 2))
    assert layer.bias.shape == (20,)
    states = torch.randn(3, 5, 4, generator=seeded())
    torch.testing.assert_close(layer.eval()(states), layer.train()(states))
    assert torch.equal(layer(torch.zeros(3, 5, 4)), layer.bias.expand(3, 20))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_states_start_orthogonal_and_from_the_private_stream(cell):
    one, same, other = (built(UnrollCode(3, 8, cell, 4, 1), seed) for seed in (1, 1, 2))
    for gate in one.cell.weight_hh_l0.split(4):
        torch.testing.assert_close(gate @ gate.T, torch.eye(4), atol=1e-5, rtol=0)
    for name, value in one.state_dict().items():
        assert torch.equal(value, same.state_dict()[name])
        assert "bias" in name or not torch.equal(value, other.state_dict()[name])
    assert one.cell.bias_ih_l0.sum() == (4 if cell == "lstm" else 0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("bidirectional", [True, False])
def test_evaluation_computes_what_training_does(cell, bidirectional):
    layout, rows = SeriesLayout(2, 6), torch.randn(7, 12, generator=seeded())
    reader = built(ReadSeries(layout, cell, 5, 3, bidirectional=bidirectional))
    unroll = built(UnrollCode(4, 9, cell, 5, 2))
    for layer, seen in ((reader, rows), (unroll, rows[:, :4])):
        torch.testing.assert_close(layer.eval()(seen), layer.train()(seen))


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("size", [3, 16, 33])
def test_a_series_gets_the_same_bits_at_any_place_and_with_any_threads(cell, size):
    plan = Recurrent(size, cell=cell, num_layers=2).fitted_to((3, 9))
    encoder = built(plan.make_encoder(27, 5, linear_path=False)).eval()
    decoder = built(plan.make_decoder(5, 54, linear_path=False, bounded=False)).eval()
    rows, order = torch.randn(128, 27, generator=seeded()), torch.randperm(128, generator=seeded())
    before = torch.get_num_threads()
    try:
        with torch.inference_mode():
            torch.set_num_threads(1)
            codes = encoder(rows)
            made = decoder(codes)
            for threads in (1, 3, 4):
                torch.set_num_threads(threads)
                assert torch.equal(encoder(rows[order]), codes[order])
                assert torch.equal(decoder(codes[order]), made[order])
                torch.testing.assert_close(decoder(codes.view(2, 64, 5)), made.view(2, 64, 54), rtol=0, atol=0)
    finally:
        torch.set_num_threads(before)


# -- what is refused


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 0}, "hidden_size must be an integer of 1 or more, got 0"),
        ({"num_layers": True}, "num_layers must be an integer of 1 or more, got True"),
        ({"cell": "rnn"}, r"cell must be one of \['gru', 'lstm'\], got 'rnn'"),
        ({"bidirectional": "yes"}, "bidirectional must be True or False, got 'yes'"),
        ({"code_activation": "sin"}, "code_activation must be one of .* got 'sin'"),
        ({"input_shape": (1, 2, 3)}, r"input_shape must be \(channels, timepoints\).* got \(1, 2, 3\)"),
        ({"input_shape": (3, 5)}, r"input_shape=\(3, 5\) has 15 cells, but rows have shape \(2, 11\)"),
    ],
)
def test_parameters_out_of_range_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        AutoencoderTransformer(architecture=Recurrent(**options)).fit(X)


@pytest.mark.parametrize("penalty", [{"contraction": 0.1}, {"sparsity": 0.1}])
def test_penalties_that_need_a_bounded_decoder_are_refused(penalty):
    with pytest.raises(ValueError, match="does not go with contraction, nor with sparsity without a target"):
        AutoencoderTransformer(**_CHEAP, **penalty).fit(X)
    AutoencoderTransformer(**_CHEAP, sparsity=0.1, sparsity_target=0.2).fit(X)


def test_images_are_refused():
    with pytest.raises(ValueError, match=r"rows of shape \(2, 3, 4\) hold no series"):
        AutoencoderTransformer(**_CHEAP).fit(rng.standard_normal((60, 2, 3, 4)))


def test_series_with_missing_steps_are_refused(estimator):
    with pytest.raises(ValueError, match="NaN"):
        estimator.fit(np.where(X > 7, np.nan, X))


# -- the form of rows


def test_rows_come_back_in_the_form_that_fit_saw(estimator):
    flat_rows = X.reshape(len(X), -1)
    series = clone(estimator).fit(X)
    flat = estimator.set_params(architecture__input_shape=SHAPE).fit(flat_rows)
    assert series.input_shape_ == SHAPE
    codes = series.transform(X)
    np.testing.assert_array_equal(codes, flat.transform(flat_rows))
    for model, rows in ((series, X), (flat, flat_rows)):
        assert model.inverse_transform(codes).shape == model.reconstruct(rows).shape == rows.shape
        if hasattr(model, "sample"):
            assert model.sample(3, random_state=0).shape == (3, *rows.shape[1:])
    np.testing.assert_array_equal(series.reconstruct(X).reshape(len(X), -1), flat.reconstruct(flat_rows))


def test_a_flat_row_is_one_channel(estimator):
    flat, series = clone(estimator).fit(X[:, 0]), estimator.fit(X[:, :1])
    np.testing.assert_array_equal(flat.transform(X[:, 0]), series.transform(X[:, :1]))
    assert flat.reconstruct(X[:, 0]).shape == (90, 11)


def test_one_timepoint_is_a_series(estimator):
    assert np.isfinite(estimator.fit(X[:, :, :1]).transform(X[:, :, :1])).all()


# -- what holds for tables


def test_a_series_is_bit_equal_in_any_company(estimator):
    estimator.fit(X)
    many = np.random.default_rng(1).standard_normal((1030, *SHAPE)) * 3 + 5
    expected, order = outputs(estimator, many), np.random.default_rng(2).permutation(1030)
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            for rows in (order, order[:1], order[:65]):
                assert_same(outputs(estimator, many[rows]), {name: value[rows] for name, value in expected.items()})
    finally:
        torch.set_num_threads(before)


def test_two_fits_agree_and_files_keep_them(estimator, tmp_path):
    expected = outputs(clone(estimator).fit(X), X)
    assert_same(outputs(estimator.fit(X), X), expected)
    save(estimator, tmp_path / "model")
    for opened in (pickle.loads(pickle.dumps(estimator)), load(tmp_path / "model")):
        assert_same(outputs(opened, X), expected)
        opened.partial_fit(X)


def test_training_starts_at_pca_and_stays_there_with_few_series():
    few = X[:35].reshape(35, -1)
    pca = PCA(3).fit(few)
    model = AutoencoderTransformer(3, **_CHEAP).fit(X[:35])
    assert model.linear_
    np.testing.assert_allclose(
        model.reconstruct(X[:35]).reshape(35, -1), pca.inverse_transform(pca.transform(few)), atol=1e-4
    )


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_training_learns_what_no_line_can(cell):
    """One phase makes every series, but PCA needs two components for it."""
    waves = np.sin(_PHASE[:, 0] + _TIME)
    options = {"init": "random", "max_iter": 60, "early_stopping": False, "learning_rate": 0.02, "batch_size": 30}
    model = AutoencoderTransformer(1, architecture=Recurrent(8, cell=cell), random_state=0, device="cpu", **options)
    pca = PCA(1).fit(waves)
    by_pca = np.square(waves - pca.inverse_transform(pca.transform(waves))).sum(1).mean()
    assert model.fit(waves).reconstruction_err_ < 0.8 * by_pca


def test_a_grid_over_the_architecture():
    search = GridSearchCV(clone(SERIES[1]), {"architecture__hidden_size": [2, 3], "architecture__cell": ["gru"]}, cv=2)
    assert search.fit(X).best_estimator_.architecture.cell == "gru"


def test_a_detector_of_clones_of_it():
    rows = X[:, 0].copy()
    rows[:3] = rows[:3].mean(1, keepdims=True) + 20 * rng.standard_normal((3, 11))
    model = AutoencoderTransformer(**_CHEAP)
    scores = ReconstructionOutlierDetector(model, n_estimators=2, random_state=0).fit(rows).score_samples(rows)
    assert scores[:3].max() < scores[3:].min()


def test_series_one_by_one_are_an_array(estimator):
    codes = clone(estimator).fit(X).transform(X)
    np.testing.assert_array_equal(estimator.fit(list(X)).transform(list(X)), codes)
