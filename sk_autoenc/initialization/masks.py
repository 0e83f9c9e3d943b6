"""Baselines of masks: frequencies of classes, the same at each place, and a logistic regression of the pixels around.

All are linear in the image, so each is a kernel and a bias for every class and pixel. That with the lowest loss on
held-out training images is where training starts.
"""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from scipy.ndimage import gaussian_filter
from sklearn import config_context
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from sk_autoenc.data.masks import MaskedImages
from sk_autoenc.initialization.baselines import neighbourhoods, set_range
from sk_autoenc.initialization.start import Start
from sk_autoenc.nn.convolution import ImageLayout
from sk_autoenc.nn.pairs import Baseline, PairLayout, PairNetwork, kernel_size

#: The baselines, each before those that replace it only if their loss is lower.
BASELINES = ("prior", "position", "local")

#: Frequencies at a place are smoothed over this share of the shorter side, and get so many images with the classes'
#: frequencies in all places beside the training images.
_SMOOTHING, _PRIOR_IMAGES = 0.05, 1.0

#: Pixels that the regression is fitted to at most, its inverse penalty, and its steps.
_MOST_PIXELS, _INVERSE_PENALTY, _N_STEPS = 15_000, 0.1, 60

#: Folds in which baselines are compared, and images at most.
_N_FOLDS, _MOST_IMAGES = 3, 150


def scores_of(image: ImageLayout, n_classes: int) -> PairLayout:
    """Images, and scores of each pixel with a channel for each class."""
    return PairLayout(image, ImageLayout(n_classes, image.height, image.width, channels_last=False))


class MaskStart(Start):
    """At a linear baseline of masks, beside a network whose scores are still zero.

    Parameters
    ----------
    data : MaskedImages
        What reads images and masks.
    image : ImageLayout
        How rows hold images.
    name : str
        One of ``BASELINES``, or ``"auto"``.
    loss : callable
        ``(scores, numbers) -> (n,)``.
    seed : int
        Seeds the choice of images and pixels.
    """

    is_model = True

    def __init__(
        self,
        data: MaskedImages,
        image: ImageLayout,
        *,
        name: str,
        loss: Callable[[Tensor, Tensor], Tensor],
        seed: int,
    ):
        self.data, self.image, self.loss, self.seed = data, image, loss, seed
        self.name = name

    @property
    def layout(self) -> PairLayout:
        """Of images, and of scores; the number of classes is known when the data are fitted."""
        return scores_of(self.image, self.data.n_classes)

    def set(self, module: Any, rows: Any) -> None:
        x, y = rows.data[rows.index], rows.target[rows.index]
        if self.name == "auto":  # once for a fit, by its first rows, which are all that it trains on
            self.name = self._choose(x, y)
        self._fit(self.name, x, y, module.baseline)
        with torch.no_grad():
            set_range(module, x)
            module.gain.fill_(1.0)
            module.silence()

    def refit(self, module: PairNetwork, rows: Any) -> None:
        self.set(module, rows)

    def _choose(self, x: Tensor, y: Tensor) -> str:
        """The name of the baseline with the lowest loss on images that it was not fitted to."""
        if len(x) < 2:
            return BASELINES[0]
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(self.seed))[:_MOST_IMAGES]
        losses: dict[str, list[Tensor]] = {name: [] for name in BASELINES}
        for held_out in order.tensor_split(min(_N_FOLDS, len(order))):
            train = order[~torch.isin(order, held_out)]
            for name in BASELINES:
                baseline = Baseline(self.data.n_features, self.layout.output.n_cells, self.layout).eval()
                self._fit(name, x[train], y[train], baseline)
                with torch.no_grad():
                    losses[name].append(self.loss(baseline(x[held_out]), y[held_out]))
        means = {name: float(torch.cat(found).double().mean()) for name, found in losses.items()}
        return min(BASELINES, key=means.__getitem__)

    def _fit(self, name: str, x: Tensor, y: Tensor, baseline: Baseline) -> None:
        numbers = y.unflatten(1, self.data.target_shape).numpy()
        frequency, scores = self._frequency(numbers), None
        if name != "prior":
            scores = self._of_places(numbers, frequency)
        kernel = None
        if name == "local":
            assert scores is not None, "places come before pixels"
            kernel, scores = self._of_pixels(x, numbers, scores)
        if scores is None:
            scores = np.broadcast_to(self._log(frequency)[:, None, None], (len(frequency), *self.data.target_shape))
        bias = torch.from_numpy(np.ascontiguousarray(scores)).float().flatten()
        baseline.set(BASELINES.index(name), bias, kernel=kernel)

    def _frequency(self, numbers: np.ndarray) -> np.ndarray:
        """Share of each class among the pixels, none of which is 0; ``(n_classes,)``."""
        counts = np.bincount(numbers.ravel() + 1, minlength=self.data.n_classes + 1)[1:] + 1.0
        return counts / counts.sum()

    def _log(self, frequency: np.ndarray) -> np.ndarray:
        """Scores of classes with these frequencies along the first axis, by whose softmax the loss is lowest."""
        assert self.data.class_weight is not None, "fit before a start is set"
        weight = self.data.class_weight.clip(1e-6).reshape(-1, *(1,) * (frequency.ndim - 1))
        return np.log(frequency * weight)

    def _of_places(self, numbers: np.ndarray, frequency: np.ndarray) -> np.ndarray:
        """Scores from the smoothed frequencies at each place; ``(n_classes, height, width)``."""
        spread = _SMOOTHING * min(self.data.target_shape)
        counts = np.stack([(numbers == c).sum(axis=0) for c in range(self.data.n_classes)]).astype(np.float64)
        counts = gaussian_filter(counts, (0, spread, spread), mode="nearest")
        counts += _PRIOR_IMAGES * frequency[:, None, None]
        return self._log(counts / counts.sum(axis=0))

    def _of_pixels(self, x: Tensor, numbers: np.ndarray, places: np.ndarray) -> tuple[Tensor, np.ndarray]:
        """Kernel and scores at each place of a logistic regression on the pixels around, and on scores of places."""
        assert self.data.class_weight is not None, "fit before a start is set"
        size, layout = kernel_size(self.layout), self.layout
        shape = (self.data.n_classes, layout.n_in, *size)
        features, labels = self._some_pixels(x, numbers, places)
        if len(known := np.unique(labels)) < 2:
            return torch.zeros(shape), places
        with warnings.catch_warnings(), config_context(array_api_dispatch=False):
            warnings.simplefilter("ignore", ConvergenceWarning)  # some more steps would change little
            model = LogisticRegression(C=_INVERSE_PENALTY, max_iter=_N_STEPS)
            model.fit(features, labels, sample_weight=self.data.class_weight[labels])
        coef, intercept = model.coef_, model.intercept_
        if len(known) == 2:
            coef, intercept = np.vstack([-coef, coef]) / 2, np.concatenate([-intercept, intercept]) / 2
        n_taps = features.shape[1] - self.data.n_classes
        kernel = np.zeros((self.data.n_classes, n_taps))
        kernel[known] = coef[:, :n_taps]
        scores = np.full(places.shape, places.min() + float(intercept.min()))  # of classes that no chosen pixel has
        scores[known] = np.einsum("kc,chw->khw", coef[:, n_taps:], places) + intercept[:, None, None]
        return torch.from_numpy(kernel).float().reshape(shape), scores

    def _some_pixels(self, x: Tensor, numbers: np.ndarray, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Pixels around, and scores of the place, of some pixels with a class; and these classes."""
        generator = torch.Generator().manual_seed(self.seed)
        n_each = max(1, -(-_MOST_PIXELS // len(x)))
        features, labels = [], []
        for image, mask in zip(x.split(1), numbers, strict=True):
            valid = torch.from_numpy(np.flatnonzero(mask.ravel() >= 0))
            chosen = valid[torch.randperm(len(valid), generator=generator)[:n_each]]
            taps = neighbourhoods(self.layout.input_maps(image), kernel_size(self.layout))[chosen]
            features.append(np.hstack([taps.numpy(), places.reshape(len(places), -1)[:, chosen].T]))
            labels.append(mask.ravel()[chosen])
        return np.concatenate(features), np.concatenate(labels)
