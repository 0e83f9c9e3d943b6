"""How near predicted images come to true ones: PSNR and SSIM, higher is better."""

import math
from numbers import Real
from typing import Any

import numpy as np
from scipy.ndimage import gaussian_filter
from sklearn.utils import assert_all_finite, check_scalar, gen_batches

from sk_autoenc.data.validation import as_array

#: Standard deviation of the window of SSIM in pixels, and its reach to either side (Wang et al. 2004: 11 x 11).
_SIGMA, _REACH = 1.5, 5

#: Constants that keep the quotients of SSIM from 0 / 0, as shares of the range (Wang et al. 2004).
_K1, _K2 = 0.01, 0.03

_BLOCK = 64


def psnr_score(y_true: Any, y_pred: Any, *, data_range: float, average: str = "pixels") -> float:
    r"""Peak signal-to-noise ratio in dB, :math:`10 \log_{10}(R^2 / \mathrm{MSE})`; higher is better.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples, ...)
        True and predicted images, or other rows of one shape.
    data_range : float
        Distance *R* between the lowest and the highest value that a pixel can have, such as 1 or 255.
    average : {"pixels", "images"}, default="pixels"
        ``"pixels"``: of the mean squared error over all pixels of all images. ``"images"``: the mean of each image's
        own ratio. A few images that are nearly perfect then outweigh all others.

    Returns
    -------
    float
        The ratio; infinite where the prediction is perfect.

    See Also
    --------
    ssim_score : Compares structure instead of single pixels.

    Examples
    --------
    >>> import numpy as np
    >>> round(psnr_score(np.zeros((2, 8, 8)), np.full((2, 8, 8), 0.1), data_range=1), 6)
    20.0

    >>> from sklearn.metrics import make_scorer
    >>> scorer = make_scorer(psnr_score, data_range=1)  # for cross_val_score and GridSearchCV
    """
    true, predicted, data_range = _checked(y_true, y_pred, data_range)
    if average not in ("pixels", "images"):
        raise ValueError(f"average must be 'pixels' or 'images', got {average!r}.")
    errors = np.square(true - predicted).reshape(len(true), -1).mean(axis=1)
    errors = errors.mean(keepdims=True) if average == "pixels" else errors
    with np.errstate(divide="ignore"):
        return float(np.mean(10 * np.log10(data_range**2 / errors)))


def ssim_score(y_true: Any, y_pred: Any, *, data_range: float, channels_last: bool = False) -> float:
    r"""Mean structural similarity of images [1]_; 1 where they are equal.

    Around every pixel, means, variances and the covariance of both images are taken under a normal window of 11 x 11
    pixels with a standard deviation of 1.5:

    .. math::

        \frac{(2 \mu_x \mu_y + C_1)(2 \sigma_{xy} + C_2)}{(\mu_x^2 + \mu_y^2 + C_1)(\sigma_x^2 + \sigma_y^2 + C_2)}

    with :math:`C_1 = (0.01 R)^2` and :math:`C_2 = (0.03 R)^2`. The mean leaves out five pixels at each border, where
    windows reach beyond the image. It equals scikit-image's ``structural_similarity`` with ``gaussian_weights=True``
    and ``use_sample_covariance=False``.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples, height, width) or (n_samples, n_channels, height, width)
        True and predicted images. Channels are compared one by one. In images with a side below 11 pixels, the mean
        is over all pixels.
    data_range : float
        Distance *R* between the lowest and the highest value that a pixel can have, such as 1 or 255.
    channels_last : bool, default=False
        Whether channels are the last axis of four.

    Returns
    -------
    float
        Mean over pixels, channels and images.

    See Also
    --------
    psnr_score : Compares single pixels.

    References
    ----------
    .. [1] Wang, Bovik, Sheikh, Simoncelli (2004). Image quality assessment: from error visibility to structural
       similarity. IEEE Transactions on Image Processing 13.

    Examples
    --------
    >>> import numpy as np
    >>> image = np.eye(16)[None]
    >>> ssim_score(image, image, data_range=1), round(ssim_score(image, 0 * image, data_range=1), 4)
    (1.0, 0.0021)
    """
    true, predicted, data_range = _checked(y_true, y_pred, data_range)
    if true.ndim not in (3, 4):
        raise ValueError(
            f"y_true must have the shape (n_samples, height, width), or four axes with channels, got {true.shape}."
        )
    if true.ndim == 4 and channels_last:
        true, predicted = (np.moveaxis(images, -1, 1) for images in (true, predicted))
    blocks = gen_batches(len(true), _BLOCK)
    return float(math.fsum(_similarities(true[b], predicted[b], data_range).sum() for b in blocks) / len(true))


def _similarities(x: np.ndarray, y: np.ndarray, data_range: float) -> np.ndarray:
    """Mean similarity of each image; ``(n,)``."""
    c1, c2 = (_K1 * data_range) ** 2, (_K2 * data_range) ** 2
    mean_x, mean_y = _smooth(x), _smooth(y)
    variances = _smooth(x * x) - mean_x**2 + _smooth(y * y) - mean_y**2
    covariance = _smooth(x * y) - mean_x * mean_y
    similarity = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    similarity /= (mean_x**2 + mean_y**2 + c1) * (variances + c2)
    if min(x.shape[-2:]) > 2 * _REACH:
        similarity = similarity[..., _REACH:-_REACH, _REACH:-_REACH]
    return similarity.reshape(len(x), -1).mean(axis=1)


def _smooth(images: np.ndarray) -> np.ndarray:
    """Mean of each pixel's surroundings under the window."""
    axes = (images.ndim - 2, images.ndim - 1)
    return gaussian_filter(images, _SIGMA, radius=_REACH, axes=axes)


def _checked(y_true: Any, y_pred: Any, data_range: float) -> tuple[np.ndarray, np.ndarray, float]:
    """Both as float64, of one shape, and the range."""
    true, predicted = (np.asarray(as_array(y), dtype=np.float64) for y in (y_true, y_pred))
    for name, y in (("y_true", true), ("y_pred", predicted)):
        assert_all_finite(y, input_name=name)
    if true.shape != predicted.shape:
        raise ValueError(f"y_pred must have the shape of y_true, {true.shape}, got {predicted.shape}.")
    if true.ndim < 2 or not true.size:
        raise ValueError(f"y_true must have two axes or more, and no axis of length 0, got shape {true.shape}.")
    check_scalar(data_range, "data_range", Real, min_val=0, max_val=math.inf, include_boundaries="neither")
    return true, predicted, float(data_range)
