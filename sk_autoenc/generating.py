"""What models that generate can do: draw rows, and walk from one row to another."""

from typing import Any

import numpy as np
import torch
from sklearn.utils.validation import check_is_fitted
from torch import Tensor

from sk_autoenc._compat import in_chosen_container
from sk_autoenc.autoencoding import BaseAutoencoder
from sk_autoenc.base import as_array
from sk_autoenc.training.seeding import draw_seed, make_generator

_BLOCK = 1024


class GenerativeAutoencoder(BaseAutoencoder):
    """An autoencoder whose codes follow a prior, so that decoded draws from it look like rows."""

    #: What codes are drawn from; an object of ``priors.py`` or alike.
    prior_: Any

    def sample(self, n_samples=1, random_state=None, *, mean=False):
        """Draw rows: codes from the prior, decoded, with the noise that the likelihood has.

        Parameters
        ----------
        n_samples : int, default=1
            Number of rows.
        random_state : int, RandomState instance or None, default=None
            Seeds the draws; an integer gives the same rows at every call.
        mean : bool, default=False
            Whether to return what the decoder expects for each code, without noise.

        Returns
        -------
        ndarray of shape (n_samples, n_features)
            Rows in the units and the dtype of the rows that ``fit`` saw; a DataFrame with their names after
            ``set_output(transform="pandas")`` or ``"polars"``.
        """
        check_is_fitted(self)
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}.")
        generator = make_generator(draw_seed(random_state), "sampling")
        codes = self.prior_.sample(n_samples, generator)
        module, likelihood = self.net_.module_, self._likelihood
        parts = []
        with torch.inference_mode():
            for code in codes.to(self.device_).split(_BLOCK):
                if mean:
                    parts.append(likelihood.mean(module.decode(code).cpu()))
                else:  # drawn on the CPU, so that a seed gives the same noise on every device
                    parts.append(likelihood.draw(_to_cpu(module.observe(code)), generator))
        rows = self._in_units_of_rows(torch.cat(parts).numpy(), np.dtype(self._dtype))
        return in_chosen_container(self, rows)

    def interpolate(self, a, b, n_steps=10):
        """Rows on the way from one row to another: the straight line between their codes, decoded.

        Parameters
        ----------
        a, b : array-like of shape (n_features,)
            Two rows.
        n_steps : int, default=10
            Number of rows, those of both ends included.

        Returns
        -------
        ndarray of shape (n_steps, n_features)
            What the decoder expects along the line; a DataFrame after ``set_output(transform="pandas")``.
        """
        check_is_fitted(self)
        if n_steps < 2:
            raise ValueError(f"n_steps must be at least 2, got {n_steps}.")
        ends = np.stack([np.asarray(as_array(end)).reshape(-1) for end in (a, b)])
        codes = np.asarray(self.transform(ends))
        share = np.linspace(0, 1, n_steps, dtype=codes.dtype)[:, None]
        rows = self.inverse_transform((1 - share) * codes[:1] + share * codes[1:])
        return in_chosen_container(self, rows)


def _to_cpu(raw: Any) -> Any:
    return raw.cpu() if isinstance(raw, Tensor) else type(raw)(*(part.cpu() for part in raw))
