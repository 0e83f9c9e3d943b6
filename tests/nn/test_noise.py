"""Normal and heavy-tailed noise against scipy: densities, the heads' parameters, and draws."""

import numpy as np
import pytest
import torch
from scipy import integrate, stats

from sk_autoenc import Gaussian, StudentT
from sk_autoenc.nn.noise import (
    GaussianNoise,
    NoiseOutput,
    StudentNoise,
    draw_student,
    student_log_normalizer,
    student_log_prob,
)

D = 4
LIKELIHOODS = {"gaussian": Gaussian(), "student_t": StudentT()}


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def output(rng, n=5, *, correlated=True, dtype=np.float64):
    """Hand-made noise of ``n`` rows, tails from heavy to light."""
    whitener = np.tril(rng.normal(size=(D, D)), -1) + np.diag(rng.uniform(0.5, 2, D))
    location, log_scale, log_axes = (
        rng.normal(size=(n, D)),
        0.3 * rng.normal(size=(n, D)),
        0.4 * rng.normal(size=(n, D)),
    )
    parts = (location, log_scale, whitener, np.array([1.3, 3.0, 30.0, 1e6]), log_axes)
    raw = NoiseOutput(*(torch.from_numpy(part.astype(dtype)) for part in parts))
    return raw if correlated else raw._replace(whitener=None, log_axes=None)


def whiteners(raw):
    """The matrix that whitens each row: from the docstring of ``NoiseOutput``."""
    whitener = np.eye(D) if raw.whitener is None else raw.whitener.numpy()
    log_axes = torch.zeros_like(raw.log_scale) if raw.log_axes is None else raw.log_axes
    for log_scale, log_axis in zip(raw.log_scale.numpy(), log_axes.numpy(), strict=True):
        yield np.diag(np.exp(-log_axis)) @ whitener @ np.diag(np.exp(-log_scale))


def covariances(raw):
    """Covariance, for normal noise, of each row."""
    for matrix in whiteners(raw):
        root = np.linalg.inv(matrix)
        yield root @ root.T


# -- densities in closed form


@pytest.mark.parametrize("correlated", [True, False])
def test_gaussian_log_prob_is_that_of_the_covariance(rng, correlated):
    raw, x = output(rng, correlated=correlated), rng.normal(size=(5, D))
    expected = [
        stats.multivariate_normal.logpdf(row, mean, covariance)
        for row, mean, covariance in zip(x, raw.location.numpy(), covariances(raw), strict=True)
    ]
    np.testing.assert_allclose(Gaussian().log_prob(raw, torch.from_numpy(x)).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("correlated", [True, False])
def test_student_log_prob_is_that_of_independent_axes(rng, correlated):
    raw, x = output(rng, correlated=correlated), rng.normal(size=(5, D)) * 3
    expected = []
    for row, mean, matrix in zip(x, raw.location.numpy(), whiteners(raw), strict=True):
        on_axes = stats.t.logpdf(matrix @ (row - mean), raw.degrees.numpy()).sum()
        expected.append(on_axes + np.log(np.linalg.det(matrix)))
    np.testing.assert_allclose(StudentT().log_prob(raw, torch.from_numpy(x)).numpy(), expected, rtol=1e-8)


def test_leading_axes_are_draws_of_the_code(rng):
    raw, x = output(rng), torch.from_numpy(rng.normal(size=(5, D)))
    by_row = {name: torch.stack([getattr(raw, name)] * 2) for name in ("location", "log_scale", "log_axes")}
    doubled = raw._replace(**by_row)
    for likelihood in LIKELIHOODS.values():
        one, two = likelihood.log_prob(raw, x), likelihood.log_prob(doubled, x)
        torch.testing.assert_close(two, torch.stack([one, one]))


@pytest.mark.parametrize("degrees", [1.2, 4.0, 1e5])
def test_student_density_integrates_to_one(degrees):
    raw = NoiseOutput(*(torch.tensor(part, dtype=torch.float64) for part in ([[0.7]], [[-0.4]], [[1.5]], [degrees])))

    def density(x):
        return float(StudentT().log_prob(raw, torch.tensor([[x]], dtype=torch.float64)).exp())

    parts = [integrate.quad(density, *ends)[0] for ends in ((-np.inf, 0.7), (0.7, np.inf))]
    assert sum(parts) == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-7), (torch.float32, 5e-7)])
def test_log_normalizer_is_exact_for_few_and_very_many_degrees(dtype, tolerance):
    degrees = torch.logspace(0, 13, 200, dtype=torch.float64).to(dtype)
    expected = stats.t.logpdf(0.0, degrees.double().numpy().clip(max=1e9))  # the limit from there on
    np.testing.assert_allclose(student_log_normalizer(degrees).numpy(), expected, atol=tolerance, rtol=0)


def test_many_degrees_are_normal_noise_in_float32():
    noise = torch.linspace(-40, 40, 81)
    normal = stats.norm.logpdf(noise.double().numpy())
    degrees = torch.tensor(StudentNoise.NORMAL).exp()
    np.testing.assert_allclose(student_log_prob(noise, degrees).numpy(), normal, rtol=1e-6)


@pytest.mark.parametrize("far", [1e3, 1e15])
def test_gradients_at_extreme_residuals_are_finite_and_bounded(far):
    head = StudentNoise(2, "row", correlated=True)
    with torch.no_grad():
        head.set(torch.eye(2))
        head.init_tails()
    out = torch.zeros(1, 6, requires_grad=True)
    log_prob = StudentT().log_prob(head(out), torch.full((1, 2), far)).sum()
    log_prob.backward()
    assert log_prob.isfinite()
    gradients = [out.grad, head.tails.grad, head.mixing.grad]
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert out.grad.abs().max() < 2 * StudentNoise.AT_START  # squared errors would pull by the residual


# -- the heads


@pytest.mark.parametrize("correlated", [True, False])
def test_color_undoes_whiten(rng, correlated):
    raw, x = output(rng, correlated=correlated), torch.from_numpy(rng.normal(size=(5, D)))
    torch.testing.assert_close(raw.color(raw.whiten(x)), x)


@pytest.mark.parametrize("head_class", [GaussianNoise, StudentNoise])
def test_a_row_s_variances_scale_its_noise_along_features_and_axes(rng, head_class):
    head, whitener = head_class(D, "row", correlated=True), output(rng).whitener.float()
    change, zeros, noise = torch.tensor([[0.5, -0.5, 0.0, 9.0]]), torch.zeros(1, D), torch.ones(1, D)
    held = torch.tensor([0.5, -0.5, 0.0, 4.0])  # the last one is held to the greatest change
    with torch.no_grad():
        head.set(whitener)
        plain = head(torch.zeros(1, 3 * D))
        wide, long = head(torch.cat([zeros, change, zeros], 1)), head(torch.cat([zeros, zeros, change], 1))
    torch.testing.assert_close(wide.whitener, whitener)
    torch.testing.assert_close(wide.color(noise), plain.color(noise) * held.exp())
    torch.testing.assert_close(long.color(noise), plain.color(noise * held.exp()))
    for changed in (wide, long):
        torch.testing.assert_close(changed.log_det() - plain.log_det(), torch.tensor([4.0]))


@pytest.mark.parametrize(("variance", "n_changes"), [("row", 0), ("feature", D), ("shared", 1), (0.5, 0)])
def test_what_has_a_variance_of_its_own(variance, n_changes):
    head = StudentT(variance).make_head(D)
    assert (0 if head.change is None else len(head.change)) == n_changes
    assert StudentT(variance).n_outputs(D, noise=True) == (3 * D if variance == "row" else D)
    assert StudentT(variance, correlated=False).n_outputs(D, noise=True) == (2 * D if variance == "row" else D)


def test_training_starts_with_tails_and_the_variance_that_was_set():
    head = StudentNoise(1, "feature", correlated=False)
    with torch.no_grad():
        head.set(torch.tensor([0.25]))
        assert head(torch.zeros(1, 1)).degrees > 1e12
        head.init_tails()
        raw = head(torch.zeros(1, 1))
    assert float(raw.degrees) == pytest.approx(30)
    assert stats.t.var(float(raw.degrees), scale=float(raw.log_scale.exp())) == pytest.approx(16)


def test_a_scale_that_the_user_gave_stays():
    head = StudentNoise(1, 0.5, correlated=False)
    with torch.no_grad():
        head.set(torch.tensor([0.25]))
        head.init_tails()
    assert float(head.start) == 0.25


def test_degrees_are_held_above_one():
    head = StudentNoise(2, "feature", correlated=False)
    with torch.no_grad():
        head.tails.copy_(torch.tensor([-50.0, 50.0]))
        degrees = head(torch.zeros(1, 2)).degrees
    assert degrees[0] > 1.04
    assert degrees[1].isfinite()


# -- draws


@pytest.mark.parametrize("degrees", [1.1, 3.0, 30.0, 1e13])
def test_draws_follow_student_s_t(degrees):
    generator = torch.Generator().manual_seed(0)
    drawn = draw_student(torch.Size([20_000]), torch.tensor([degrees]), generator).numpy()
    assert stats.kstest(drawn, stats.t(min(degrees, 1e9)).cdf).pvalue > 0.01


def test_draw_is_whitened_to_student_s_t_and_reads_the_generator_alone(rng):
    raw = output(rng, n=1)
    raw = raw._replace(location=raw.location.expand(4000, D), log_scale=raw.log_scale.expand(4000, D))
    state = torch.get_rng_state()
    drawn = StudentT().draw(raw, torch.Generator().manual_seed(1))
    assert drawn.dtype == raw.location.dtype
    assert torch.equal(torch.get_rng_state(), state)
    for axis, degrees in zip(raw.whiten(drawn).numpy().T, raw.degrees.numpy(), strict=True):
        assert stats.kstest(axis, stats.t(degrees).cdf).pvalue > 0.01
    torch.testing.assert_close(drawn, StudentT().draw(raw, torch.Generator().manual_seed(1)))
