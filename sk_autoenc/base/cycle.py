"""The game of translators between two domains: its losses and turns, where it starts, and how it is evaluated."""

from collections.abc import Iterator
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from sk_autoenc.base.sampler import evenly
from sk_autoenc.data.dataset import Rows
from sk_autoenc.data.unpaired import Unpaired
from sk_autoenc.initialization.start import Start
from sk_autoenc.losses import AdversarialLoss
from sk_autoenc.nn.cycle import CycleGan, ReplayBuffer
from sk_autoenc.training.adversarial import FreshBatches, GameState
from sk_autoenc.training.selection import pairwise_distances

#: Rows of each domain that are compared at most.
_N_COMPARED = 1000


def huber_error(rows: Tensor, others: Tensor) -> Tensor:
    """Mean over cells of the absolute difference less a half, or half its square where it is below 1; shape ().

    The absolute value of the paper has a kink at 0, which would hold translators at the identity that they start from.
    """
    return F.smooth_l1_loss(rows, others)


def critic_loss(module: CycleGan, x: Tensor, y: Tensor, state: GameState, loss: AdversarialLoss) -> Tensor:
    """Both critics' mean losses, on real rows and on translated ones, of which half are of earlier rounds."""
    with torch.no_grad():
        made = {"a": module.translators["back"](y), "b": module.translators["forth"](x)}
    shown = {name: state.memory[name].exchange(rows, state.generator) for name, rows in made.items()}
    real = {"a": x, "b": y}
    of_a, of_b = (
        loss.critic(critic(real[name]), critic(shown[name])).mean() for name, critic in module.critics.items()
    )
    return of_a + of_b


def content_loss(classifier: Any, rows: Tensor, translated: Tensor, labels: Tensor) -> Tensor:
    r"""Cross-entropy of the class of a translated row to the class of the row, where known, else to what is predicted.

    Hoffman et al. (2018), https://arxiv.org/abs/1711.03213. The classifier itself does not learn by it.
    """
    with torch.no_grad():
        wanted = classifier(rows).softmax(-1)
        known = labels >= 0
        wanted[known] = F.one_hot(labels[known], wanted.shape[1]).to(wanted)
    return -(wanted * classifier(translated).log_softmax(-1)).sum(-1).mean()


def cycle_turns(
    module: CycleGan,
    batches: FreshBatches,
    state: GameState,
    *,
    loss: AdversarialLoss,
    cycle_weight: float,
    identity_weight: float,
    content_weight: float,
    n_replayed: int,
    ema: float,
) -> Iterator[tuple[str, Tensor]]:
    r"""One round: the classifier, if there is one, then the critics, then both translators.

    The translators minimise

    .. math::

        L_B(F(x)) + L_A(G(y)) + \lambda \left(|G(F(x)) - x| + |F(G(y)) - y|\right)
        + \mu \left(|F(y) - y| + |G(x) - x|\right) + \nu \, C

    with the generator's losses :math:`L` of the critics, differences by :func:`huber_error`, and the cross-entropy
    :math:`C` of the content both ways (Zhu et al. 2017, https://arxiv.org/abs/1703.10593).
    """
    for name in ("a", "b"):
        state.memory.setdefault(name, ReplayBuffer(n_replayed))
    data, batch = cast(Unpaired, batches.dataset), next(batches)
    others = data.draw_other(len(batch), state.generator)
    x, y = batch.x, data.other[others]
    if module.classifier is not None:
        rows, labels = data.draw_labelled(len(batch), state.generator)  # none if all known classes are held out
        yield "classifier", F.cross_entropy(module.classifier(rows), labels, reduction="sum") / max(1, len(rows))
    yield "critics", critic_loss(module, x, y, state, loss)
    forth, back, critics = *module.translators.values(), module.critics
    as_b, as_a = forth(x), back(y)
    with torch.no_grad():
        real = {"a": critics["a"](x), "b": critics["b"](y)}
    total = loss.generator(real["b"], critics["b"](as_b)).mean() + loss.generator(real["a"], critics["a"](as_a)).mean()
    total = total + cycle_weight * (huber_error(back(as_b), x) + huber_error(forth(as_a), y))
    if identity_weight:
        total = total + identity_weight * (huber_error(forth(y), y) + huber_error(back(x), x))
    if module.classifier is not None and content_weight:
        of_x = content_loss(module.classifier, x, as_b, cast(Tensor, batch.y))
        total = total + content_weight * (of_x + content_loss(module.classifier, y, as_a, data.other_labels[others]))
    yield "translators", total
    module.follow(ema)


class IdentityStart(Start):
    """Translators that leave rows as they are, in the network's units; a model that may be kept."""

    is_model = True

    def refit(self, module: Any, rows: Rows) -> None:
        module.become_identity()


def held_out_both_ways(net: Any, held_out: Rows) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Held-out rows of B and translated ones of A; the same for A. Each at most 1000, on the CPU."""
    data: Any = held_out
    x, y = (
        rows[index[evenly(len(index), _N_COMPARED).to(index.device)]]
        for rows, index in ((data.data, data.index), (data.other, data.other_index))
    )
    module = net.plain_module
    was_training = module.training
    module.eval()
    with torch.inference_mode():
        as_b, as_a = module.translate(x), module.translate_back(y)
    module.train(was_training)
    return (y.cpu(), as_b.cpu()), (x.cpu(), as_a.cpu())


def energy_both_ways(net: Any, held_out: Rows) -> Tensor:
    r"""What held-out rows add to the energy distance of translated rows to the other domain, mean of both ways.

    The distance :math:`2 E|y - f| - E|y - y'| - E|f - f'|` is the mean over rows of :math:`E|y - f| - E|y - y'|` plus
    the mean over translations of :math:`E|f - y| - E|f - f'|`. It moves by twice these parts when a row or a
    translation changes, as pairs hold two. A held-out row has parts in both ways, as itself and as its translation.
    So the figures are the mean distance, plus what each row moves it by: their standard error is that of the distance.
    """
    (y, as_b), (x, as_a) = held_out_both_ways(net, held_out)
    (of_y, of_as_b), (of_x, of_as_a) = _parts_of_energy(y, as_b), _parts_of_energy(x, as_a)
    of_b, of_a, n = of_y + of_as_a, of_x + of_as_b, len(x) + len(y)
    distance = (of_b.mean() + of_a.mean()) / 2
    return torch.cat([distance + (parts - parts.mean()) * n / len(parts) for parts in (of_b, of_a)])


def _parts_of_energy(real: Tensor, made: Tensor) -> tuple[Tensor, Tensor]:
    """The parts of rows and of translations; their means add up to the energy distance."""
    between = pairwise_distances(real, made)
    return (
        between.mean(1) - pairwise_distances(real, real).mean(1),
        between.mean(0) - pairwise_distances(made, made).mean(1),
    )


def cycle_errors(module: CycleGan, rows: Tensor, *, forth_first: bool) -> Tensor:
    """Squared error of every row that went to the other domain and back, summed over cells; float64."""
    first, second = module.averages["forth"], module.averages["back"]
    if not forth_first:
        first, second = second, first
    with torch.inference_mode():
        parts = [(second(first(some)) - some).double().square().sum(1) for some in rows.split(1024)]
    return torch.cat(parts).cpu()


def total_variance(rows: Tensor) -> Tensor:
    """Sum of the variances of the cells, float64; 1 where all are constant."""
    found = rows.double().var(0, correction=0).sum().cpu()
    return torch.where(found > 0, found, 1.0)
