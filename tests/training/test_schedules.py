"""Learning-rate schedules: their first, largest and last values."""

import math

import pytest

from sk_autoenc.training.schedules import rise_and_fall


def test_the_rate_rises_and_falls_in_half_cosines():
    shares = [rise_and_fall(step, 100) for step in range(100)]
    assert shares[0] == pytest.approx(0.04)
    assert max(shares) == shares[29] == 1
    assert shares[99] == pytest.approx(1e-4)
    assert shares[15] == pytest.approx(1 - 0.96 * (1 + math.cos(math.pi * 15 / 29)) / 2)
