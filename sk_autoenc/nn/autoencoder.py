"""The container of an autoencoder: corrupt, encode, decode; it returns a NamedTuple."""

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sk_autoenc.nn.blocks import linear_by_row
from sk_autoenc.nn.corruption import Corruption
from sk_autoenc.nn.recurrent import SeriesDecoder


class AutoencoderOutput(NamedTuple):
    code: Tensor  # (batch, n_components)
    raw: Tensor  # (batch, n_outputs): the decoder's output, which the likelihood reads
    jacobian_norm: Tensor | None  # (batch,): unbiased estimate of the encoder's squared Jacobian norm


class Standardize(nn.Module):
    """``(x - center) / scale``, with one scale for all features, after ``x`` is clipped to the range of training rows.

    Without clipping, codes of large counts would be large, and the decoded rate is the exponential of the output. This
    is a module and no :class:`~sk_autoenc.data.scaling.Scaling`, because the likelihood needs the rows in their own
    units: only the encoder's input is scaled, inside the network.

    Parameters
    ----------
    n_inputs : int
        Number of columns of the result.
    read : callable
        Applied first; turns categories into indicators.
    """

    center: Tensor
    scale: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, n_inputs: int, read: Callable[[Tensor], Tensor]):
        super().__init__()
        self.read = read
        self.register_buffer("center", torch.zeros(n_inputs))
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("low", torch.zeros(n_inputs))
        self.register_buffer("high", torch.zeros(n_inputs))

    def forward(self, x: Tensor) -> Tensor:
        return (self.read(x).clamp(self.low, self.high) - self.center) / self.scale

    def set(self, center: Tensor, scale: float, low: Tensor, high: Tensor) -> None:
        """Set the centre of every column, one scale, and every column's lowest and highest value."""
        self.center.copy_(center)
        self.scale.fill_(scale)
        self.low.copy_(low)
        self.high.copy_(high)


class Whitening(nn.Module):
    """An affine map after which codes of the training rows have mean 0 and covariance 1, and back.

    It is the identity in training, and set afterwards.
    """

    center: Tensor
    into: Tensor
    back: Tensor

    def __init__(self, n_components: int):
        super().__init__()
        self.register_buffer("center", torch.zeros(n_components))
        self.register_buffer("into", torch.eye(n_components))
        self.register_buffer("back", torch.eye(n_components))

    def initialize(self, generator: torch.Generator) -> None:
        """Set the identity; nothing is drawn."""
        self.set(torch.zeros_like(self.center), torch.eye(len(self.center)), torch.eye(len(self.center)))

    def set(self, center: Tensor, into: Tensor, back: Tensor) -> None:
        """Set the mean of codes, the matrix after which their covariance is 1, and its inverse."""
        self.center.copy_(center)
        self.into.copy_(into)
        self.back.copy_(back)

    def forward(self, code: Tensor) -> Tensor:
        centred = code - self.center
        return linear_by_row(centred, self.into, torch.zeros_like(self.center))

    def undo(self, code: Tensor) -> Tensor:
        return linear_by_row(code, self.back, self.center)


def decode_like(decoder: nn.Module, code: Tensor, x: Tensor | None) -> Any:
    """The decoder's output for codes of the rows ``x``; in training, a decoder of series stops where these end."""
    return decoder(code, like=x) if isinstance(decoder, SeriesDecoder) else decoder(code)


class Autoencoder(nn.Module):
    """An encoder and a decoder. With a generator the corruption is drawn; without one nothing is random.

    Parameters
    ----------
    encoder, decoder : nn.Module
        ``(batch, n_features) -> (batch, n_components)`` and back to ``(batch, n_outputs)``.
    standardize : Standardize or None
        Standardises the encoder's input; None if rows are scaled before the network.
    corruption : Corruption or None
        ``(rows, generator) -> rows``, applied to the standardised rows.
    contractive : bool
        Whether ``jacobian_norm`` is computed, for a penalty.
    whitening : Whitening or None
        Applied to codes that are given out, and undone in codes that come back; training does without.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        standardize: Standardize | None = None,
        corruption: Corruption | None = None,
        contractive: bool = False,
        whitening: Whitening | None = None,
    ):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.standardize, self.corruption = standardize, corruption
        self.contractive, self.whitening = contractive, whitening

    def encoder_input(self, x: Tensor) -> Tensor:
        """The standardised rows, which the encoder reads."""
        return x if self.standardize is None else self.standardize(x)

    def encode(self, x: Tensor) -> Tensor:
        code = self.encoder(self.encoder_input(x))
        return code if self.whitening is None else self.whitening(code)

    def decode(self, code: Tensor) -> Tensor:
        return self.decoder(code if self.whitening is None else self.whitening.undo(code))

    def forward(self, x: Tensor, generator: torch.Generator | None = None) -> AutoencoderOutput:
        seen = self.encoder_input(x)
        if generator is None:
            code, jacobian_norm = self.encoder(seen), None
            return AutoencoderOutput(code, self.decoder(code), jacobian_norm)
        if self.corruption is not None:
            seen = self.corruption(seen, generator)
        if self.contractive:
            code, jacobian_norm = self._code_and_jacobian_norm(seen, generator)
        else:
            code, jacobian_norm = self.encoder(seen), None
        return AutoencoderOutput(code, decode_like(self.decoder, code, x), jacobian_norm)

    def _code_and_jacobian_norm(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Codes, and ‖Jᵀ u‖² with u ~ N(0, I), whose mean is the squared Frobenius norm of the Jacobian J.

        It differentiates backward twice. Forward-mode differentiation has one state for the whole process, so it fails
        in threads.
        """
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            code = self.encoder(x)
            probe = torch.randn(code.shape, generator=generator, device=x.device, dtype=x.dtype)
            (along,) = torch.autograd.grad(code, x, probe, create_graph=True)
        return code, along.square().sum(-1)
