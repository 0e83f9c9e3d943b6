"""The container of a cycle-consistent game: a translator each way, their averages, and a critic of each domain."""

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from sk_autoenc.nn import averages


class Translator(nn.Module):
    r"""Rows of one domain to rows of the other: :math:`g \odot x + b + a \odot f(x)`, or :math:`b + f(x)`.

    The first form is for rows of the same shape. It starts at the identity, with :math:`g = 1` and :math:`a = b = 0`
    (Bachlechner et al. 2020, https://arxiv.org/abs/2003.04887). A gain of its own for each cell can turn its sign,
    which a network takes long to learn.

    Parameters
    ----------
    encoder, decoder : nn.Module
        :math:`f`, ``(n, n_in) -> (n, n_components) -> (n, n_out)``.
    n_out : int
        Number of cells of a translated row.
    has_identity : bool
        Whether rows of both domains have the same shape.
    """

    def __init__(self, encoder: nn.Module, decoder: nn.Module, n_out: int, *, has_identity: bool):
        super().__init__()
        self.encoder, self.decoder = encoder, decoder
        self.shift = nn.Parameter(torch.zeros(n_out))
        self.gain = nn.Parameter(torch.ones(n_out)) if has_identity else None
        self.share = nn.Parameter(torch.zeros(n_out)) if has_identity else None

    def initialize(self, generator: torch.Generator) -> None:
        """Start at the identity, where there is one."""
        self.become_identity()

    @torch.no_grad()
    def become_identity(self) -> None:
        """Leave rows as they are; without an identity, add nothing to the network's."""
        self.shift.zero_()
        if self.gain is not None and self.share is not None:
            self.gain.fill_(1.0)
            self.share.zero_()

    def forward(self, x: Tensor) -> Tensor:
        made = self.decoder(self.encoder(x))
        if self.gain is None or self.share is None:
            return made + self.shift
        return self.gain * x + self.shift + self.share * made


class CycleGan(nn.Module):
    """Translators both ways, which learn; their averages, which translate; critics, and a classifier of the content.

    Parameters
    ----------
    translators, averages : dict of str to nn.Module
        ``"forth"`` and ``"back"``, of one form.
    critics : dict of str to nn.Module
        ``"a"`` and ``"b"``, ``(n, n_features) -> (n,)``.
    classifier : nn.Module or None
        ``(n, n_features) -> (n, n_classes)``, logits of classes that both domains share.
    """

    age: Tensor

    def __init__(
        self,
        translators: Mapping[str, nn.Module],
        averages: Mapping[str, nn.Module],
        critics: Mapping[str, nn.Module],
        classifier: nn.Module | None = None,
    ):
        super().__init__()
        self.translators, self.critics = nn.ModuleDict({**translators}), nn.ModuleDict({**critics})
        self.averages = nn.ModuleDict({**averages}).requires_grad_(False)
        self.classifier = classifier
        self.register_buffer("age", torch.zeros(()))  # number of steps that the averages have followed

    def initialize(self, generator: torch.Generator) -> None:
        """The averages begin as the translators."""
        self.age.zero_()
        self.restart_averages()

    def forward(self, x: Tensor, generator: Any = None) -> Tensor:
        return self.averages["forth"](x)

    def translate(self, x: Tensor) -> Tensor:
        """Rows of A as rows of B, by the average."""
        return self.averages["forth"](x)

    def translate_back(self, y: Tensor) -> Tensor:
        """Rows of B as rows of A, by the average."""
        return self.averages["back"](y)

    def become_identity(self) -> None:
        """Let both translators, and their averages, leave rows as they are."""
        for translator in (*self.translators.values(), *self.averages.values()):
            cast(Translator, translator).become_identity()

    def follow(self, decay: float) -> None:
        """Move the averages towards the translators, faster while they are young."""
        averages.follow(self.averages, self.translators, self.age, decay)

    def restart_averages(self) -> None:
        """Make the averages equal to the translators."""
        averages.restart(self.averages, self.translators)


class ReplayBuffer:
    """Translated rows of earlier rounds, half of which a critic sees in place of new ones (Shrivastava et al. 2017).

    Parameters
    ----------
    size : int
        Number of rows that are kept; 0 gives new rows back.
    """

    def __init__(self, size: int):
        self.size = size
        self.rows: Tensor | None = None

    def exchange(self, new: Tensor, generator: torch.Generator) -> Tensor:
        """As many rows: each new one, or with probability 1/2 a kept one, whose place the new one takes."""
        kept = self.rows
        if not self.size:
            return new
        if kept is None or len(kept) < self.size:
            self.rows = new[: self.size].clone() if kept is None else torch.cat([kept, new])[: self.size]
            return new
        places = torch.randint(len(kept), (len(new),), generator=generator, device=new.device)
        is_old = torch.rand(len(new), 1, generator=generator, device=new.device) < 0.5
        shown = torch.where(is_old, kept[places], new)
        chosen = is_old[:, 0].nonzero()[:, 0]
        kept[places[chosen]] = new[chosen]
        return shown
