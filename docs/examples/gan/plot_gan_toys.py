"""
Eight groups in a ring
======================

A GAN that has collapsed draws some groups of rows and forgets the others. A ring of eight normal distributions shows
it at once. Here ``GANSampler`` starts at random weights, and at a gaussian mixture.
"""

import matplotlib.pyplot as plt
import numpy as np

from sk_autoenc import GANSampler

rng = np.random.default_rng(0)
angles = 2 * np.pi * np.arange(8) / 8
centers = np.column_stack([np.cos(angles), np.sin(angles)])
X = centers[rng.integers(8, size=3000)] + 0.08 * rng.standard_normal((3000, 2))

# %%
# 400 steps from random weights, and 100 from a mixture that BIC chooses. The default is 5000 steps of 512 rows, which
# take a minute.

shared = {"batch_size": 256, "random_state": 0, "device": "cpu"}
gans = {
    'init="random", 100 steps': GANSampler(max_iter=9, **shared),
    'init="random", 400 steps': GANSampler(max_iter=37, **shared),
    'init="mixture", 100 steps': GANSampler(init="mixture", max_iter=9, **shared),
}
for gan in gans.values():
    gan.fit(X)

# %%
# A group counts as found if 1 % of the samples are within three standard deviations of its centre.

_, axes = plt.subplots(1, 4, figsize=(12, 3.2), layout="constrained", sharex=True, sharey=True)
axes[0].scatter(*X[:1500].T, s=2, color="gray")
axes[0].set_title("training rows")
for axis, (name, gan) in zip(axes[1:], gans.items(), strict=True):
    samples = gan.sample(1500, random_state=0)
    distances = np.linalg.norm(samples[:, None] - centers, axis=2)
    inside = distances.min(axis=1) < 3 * 0.08
    found = np.bincount(distances.argmin(axis=1)[inside], minlength=8) >= 15
    energy = gan.sample_quality_["energy_distance"]
    axis.scatter(*samples.T, s=2)
    axis.set_title(name)
    print(f"{name}: {found.sum()} groups, {inside.mean():.0%} within 3 sd, energy distance {energy:.4f}")

# %%
# No start loses a group. From random weights, samples lie on bridges between the groups for long, as a network maps a
# connected cloud of codes, and the bridges grow thin with more steps. A mixture has separate groups from the first step
# on. If held-out rows say that the network adds nothing, the mixture is the result; ``is_mixture_`` says so.

print(gans['init="mixture", 100 steps'].is_mixture_)
