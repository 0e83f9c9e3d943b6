"""
Draw digits
===========

Whatever has a density can be drawn from. Three models learn what images of digits look like and draw new ones:
:class:`~sklearn.mixture.GaussianMixture`, :class:`~sklearn.neighbors.KernelDensity` and
:class:`~sk_autoenc.VAETransformer`. A few good pictures of samples prove little, so there are figures, too.
"""

# %%
# The data: images of 8 by 8 pixels with values from 0 to 16. A third is held out, to be compared with.

from sklearn.datasets import load_digits
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import train_test_split
from sklearn.neighbors import KernelDensity

from sk_autoenc import Gaussian, VAETransformer
from sk_autoenc.inspection import SampleGridDisplay
from sk_autoenc.metrics import energy_distance, neighbor_distance_ratio, precision_recall_density_coverage

X = load_digits().data
X_train, X_test = train_test_split(X, test_size=1 / 3, random_state=0)

# %%
# Three samplers
# --------------
# The VAE has 16 numbers per image and one noise variance per pixel. Codes of digits do not fill a normal distribution
# evenly, so for drawing it takes a mixture that is fitted to the codes of the training rows.

models = {
    "GaussianMixture": GaussianMixture(30, reg_covar=0.3, random_state=0).fit(X_train),
    "KernelDensity": KernelDensity(bandwidth=1.6).fit(X_train),
    "VAE": VAETransformer(16, likelihood=Gaussian("feature"), random_state=0).fit(X_train),
}
options = {"n_samples": 20, "n_columns": 10, "image_shape": (8, 8), "vmin": 0, "vmax": 16, "random_state": 0}
for name, model in models.items():
    SampleGridDisplay.from_estimator(model, **options).figure_.suptitle(name)

# %%
# Every model of rows with noise draws that noise, too. What the VAE's decoder expects, without it, is smoother:

SampleGridDisplay.from_estimator(models["VAE"], mean=True, **options).figure_.suptitle("VAE, mean=True")

# %%
# What is a good sample?
# ----------------------
# One number cannot say. Samples may look right and all be alike (high precision, low recall), be as varied as the rows
# and look wrong, or be copies. ``copies?`` is the distance from the nearest training row, beside that of held-out
# rows: 1 is as it should be, and much less says that training rows come back. The first line is for real rows that no
# model has seen; no sampler need do better.

seen, unseen = train_test_split(X_test, test_size=0.5, random_state=0)
n = len(unseen)
samples = {
    "real rows": seen[:n],
    "GaussianMixture": models["GaussianMixture"].sample(n)[0],
    "KernelDensity": models["KernelDensity"].sample(n, random_state=0),
    "VAE": models["VAE"].sample(n, random_state=0),
    "VAE, mean=True": models["VAE"].sample(n, random_state=0, mean=True),
}
print("                 energy precision    recall  coverage   copies?")
for name, rows in samples.items():
    rows = rows.clip(0, 16)
    quality = precision_recall_density_coverage(unseen, rows)
    figures = [quality.precision, quality.recall, quality.coverage, neighbor_distance_ratio(rows, X_train, unseen)]
    print(f"{name:16s} {energy_distance(unseen, rows).statistic:6.2f}", *(f"{figure:9.2f}" for figure in figures))

# %%
# On these 1198 images of 64 pixels the mixture draws best: nearly all its samples look real, and they are varied. The
# kernel density covers everything, because it gives back training rows with some noise. The VAE's samples are no
# copies. They are farther from training rows than real images are, because of its noise and of draws between digits.
# Without noise nearly every sample looks real, but they vary too little. A picture does not show this difference;
# precision and recall do.
