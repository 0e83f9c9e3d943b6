"""Learning-rate schedules: their first, largest and last values."""

import math

import pytest

from sk_autoenc.training.schedules import cosine, final_phase, rise_and_fall


def test_the_rate_rises_and_falls_in_half_cosines():
    shares = [rise_and_fall(step, 100) for step in range(100)]
    assert shares[0] == pytest.approx(0.04)
    assert max(shares) == shares[29] == 1
    assert shares[99] == pytest.approx(1e-4)
    assert shares[15] == pytest.approx(1 - 0.96 * (1 + math.cos(math.pi * 15 / 29)) / 2)


def test_the_cosine_rises_over_a_tenth_of_the_steps():
    assert [cosine(progress) for progress in (0.0, 0.05, 0.1, 0.55, 1.0)] == pytest.approx([0, 0.5, 1, 0.5, 0])


def test_the_final_phase_falls_from_a_half():
    assert [final_phase(progress) for progress in (0.0, 0.5, 1.0)] == pytest.approx([0.5, 0.25, 0])
