"""How well predicted masks agree with true ones, from one confusion matrix over all pixels."""

from typing import Any, NamedTuple

import numpy as np

from sk_autoenc.data.validation import as_array

#: Labels at most, as there is a count for each pair of them.
_MOST_LABELS = 4096


class SegmentationReport(NamedTuple):
    """What :func:`segmentation_report` finds; ``recall`` and ``iou`` have one entry for each of ``labels``."""

    accuracy: float
    mean_recall: float
    mean_iou: float
    labels: np.ndarray
    recall: np.ndarray
    iou: np.ndarray
    confusion: np.ndarray


def segmentation_report(y_true: Any, y_pred: Any, *, labels: Any = None, void_label: Any = None) -> SegmentationReport:
    """Accuracy, recall and intersection over union of masks, over all pixels of all images together [1]_.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples, height, width)
        True and predicted labels of the pixels.
    labels : array-like of shape (n_labels,) or None, default=None
        The classes, in the order of the report; None takes all that occur in either, in ascending order. Pixels whose
        true label is none of them raise a ``ValueError``.
    void_label : label or None, default=None
        Pixels with this true label are left out, whatever is predicted there.

    Returns
    -------
    SegmentationReport
        ``accuracy``: share of pixels that are right. ``recall``: the same of each class's pixels. ``iou``: pixels
        of the class in both masks, over those in either. ``mean_recall`` and ``mean_iou`` average over classes. A class
        without true pixels has NaN as recall, one that is in neither mask as ``iou``, too; means leave NaN out.
        ``confusion``: counts of pixels, true classes in rows; predictions that are none of ``labels`` are the last
        column.

    See Also
    --------
    mean_iou_score : Its ``mean_iou`` alone, for ``make_scorer``.

    References
    ----------
    .. [1] Long, Shelhamer, Darrell (2015). Fully convolutional networks for semantic segmentation. CVPR.

    Examples
    --------
    >>> report = segmentation_report([[[0, 0, 1, 9]]], [[[0, 1, 1, 1]]], void_label=9)
    >>> report.iou.tolist(), round(report.accuracy, 3)
    ([0.5, 0.5], 0.667)
    """
    true, predicted = (np.asarray(as_array(y)) for y in (y_true, y_pred))
    if true.shape != predicted.shape:
        raise ValueError(f"y_pred must have the shape of y_true, {true.shape}, got {predicted.shape}.")
    true, predicted = true.ravel(), predicted.ravel()
    if void_label is not None:
        seen = true != void_label
        true, predicted = true[seen], predicted[seen]
    if not len(true):
        raise ValueError(f"y_true must have a pixel that is not void_label={void_label!r}, got none.")
    known = np.union1d(true, predicted) if labels is None else np.asarray(labels)
    if len(known) > _MOST_LABELS:
        raise ValueError(f"masks must have at most {_MOST_LABELS} labels, got {len(known)}; are they continuous?")
    confusion = _confusion(true, predicted, known)
    right, of_true, of_predicted = np.diagonal(confusion), confusion.sum(axis=1), confusion[:, :-1].sum(axis=0)
    with np.errstate(invalid="ignore"):
        recall, iou = right / of_true, right / (of_true + of_predicted - right)
    accuracy = float(right.sum() / len(true))
    return SegmentationReport(
        accuracy, float(np.nanmean(recall)), float(np.nanmean(iou)), known, recall, iou, confusion
    )


def mean_iou_score(y_true: Any, y_pred: Any, *, labels: Any = None, void_label: Any = None) -> float:
    """Mean intersection over union of the classes, over all pixels of all images; higher is better.

    Parameters
    ----------
    y_true, y_pred : array-like of shape (n_samples, height, width)
        True and predicted labels of the pixels.
    labels : array-like of shape (n_labels,) or None, default=None
        The classes; None takes all that occur in either.
    void_label : label or None, default=None
        Pixels with this true label are left out.

    Returns
    -------
    float
        The mean over classes that occur in either mask.

    See Also
    --------
    segmentation_report : All figures.

    Examples
    --------
    >>> mean_iou_score([[[0, 0, 1, 1]]], [[[0, 1, 1, 1]]])  # (1/2 + 2/3) / 2
    0.5833333333333333
    """
    return segmentation_report(y_true, y_pred, labels=labels, void_label=void_label).mean_iou


def _confusion(true: np.ndarray, predicted: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Counts of pixels, ``(n_labels, n_labels + 1)``; the last column has predictions that are none of the labels."""
    if len(np.unique(labels)) != len(labels):
        raise ValueError(f"labels must hold each class once, got {labels.tolist()}.")
    order = np.argsort(labels)
    rows, columns = (_numbers(y, labels, order) for y in (true, predicted))
    if (foreign := rows == len(labels)).any():
        raise ValueError(
            f"y_true holds {true[foreign][0]!r}, which is none of labels={labels.tolist()}; is it void_label?"
        )
    size = len(labels) + 1
    return np.bincount(rows * size + columns, minlength=len(labels) * size).reshape(len(labels), size)


def _numbers(y: np.ndarray, labels: np.ndarray, order: np.ndarray) -> np.ndarray:
    """The place of each value in the labels; their number for values that are none of them."""
    place = np.searchsorted(labels, y, sorter=order).clip(max=len(labels) - 1)
    found = order[place]
    return np.where(labels[found] == y, found, len(labels))
