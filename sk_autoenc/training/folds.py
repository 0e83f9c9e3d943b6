"""The networks of all folds as one computation.

A step of a small network spends its time on the overhead of operations and not on arithmetic. So the weights of all
folds' networks are stacked, and ``torch.func.vmap`` computes with all of them at once. Every network has its own rows.
Shuffling and noise come from streams of one seed, as they do for networks that train one after the other, so both ways
give the same figures within rounding.
"""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import fields
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from sk_autoenc.data.dataset import Batch, Rows, batch_sizes
from sk_autoenc.training.nets import ObjectiveNet, Terms, clear_gradients, rows_at_once, total_per_row
from sk_autoenc.training.plan import Phase
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.schedules import SHAPES

#: Networks of more weights than this take time for arithmetic and not for overhead, and memory for all of them at once.
FEW_WEIGHTS = 500_000

#: Rows to train on, and rows to hold out.
Fold = tuple[Rows, Rows]


def have_one_shape(folds: Sequence[Fold]) -> bool:
    """Whether folds are alike but for a row, so that their batches can be stacked."""
    sizes = [len(train) for train, _ in folds]
    return max(sizes) - min(sizes) <= 1


class StackedModule:
    """Modules of one kind, with their weights stacked.

    Parameters
    ----------
    modules : sequence of nn.Module
        Modules that differ only in the values of parameters and buffers.
    """

    def __init__(self, modules: Sequence[nn.Module]):
        self.module: Any = copy.deepcopy(modules[0])
        self.tensors: list[Tensor] = []  # each with a first axis for the modules
        self.stacked_of: dict[int, Tensor] = {}  # by the identity of the first module's parameter
        self._places: list[tuple[nn.Module, str]] = []
        for part, *same in zip(self.module.modules(), *(module.modules() for module in modules), strict=True):
            own = [*part.named_parameters(recurse=False), *part.named_buffers(recurse=False)]
            for name, tensor in own:
                stacked = torch.stack([getattr(it, name).detach() for it in same])
                self.tensors.append(stacked.requires_grad_(tensor.requires_grad))
                self.stacked_of[id(getattr(same[0], name))] = stacked
                self._places.append((part, name))
                delattr(part, name)  # a parameter cannot be replaced by the tensors that vmap passes

    def with_weights(self, tensors: Sequence[Tensor]) -> Any:
        """The module with these weights; much faster than ``torch.func.functional_call``."""
        for (part, name), tensor in zip(self._places, tensors, strict=True):
            setattr(part, name, tensor)
        return self.module


class StackedNets:
    """The nets of some folds, which train side by side.

    In every epoch each network sees as many rows as the smallest fold has.

    Parameters
    ----------
    nets : sequence of ObjectiveNet
        A net for each fold, with its options set. They are not trained.
    folds : sequence of Fold
        Rows to train on and rows to hold out.
    phase : Phase
        Its epochs, schedule and arguments.
    """

    def __init__(self, nets: Sequence[ObjectiveNet], folds: Sequence[Fold], phase: Phase):
        self.net, self.phase = nets[0], phase
        self.train = [train for train, _ in folds]
        self.shuffling = [net.shuffling_ for net in nets]
        self.stack = StackedModule([net.plain_module for net in nets])
        self.optimizer = self._make_optimizer()
        self.rates = [group["lr"] for group in self.optimizer.param_groups]
        self.sizes = batch_sizes(min(map(len, self.train)), min(net.batch_size for net in nets))
        self.n_held_out = [len(held_out) for _, held_out in folds]
        # Shorter sets repeat their first row.
        longest = max(self.n_held_out)
        self.held_out = torch.stack([_padded(held_out.index, longest) for _, held_out in folds])

    def train_epoch(self, epoch: int) -> bool:
        """One pass of all networks over their rows; whether all losses are finite."""
        self.stack.module.train()
        arguments = {**self.net.annealed_for(epoch), **self.phase.loss_arguments}
        n_rows, n_steps = sum(self.sizes), self.phase.epochs * len(self.sizes)
        orders = torch.stack(
            [
                rows.index[torch.randperm(len(rows), generator=generator).to(rows.index.device)][:n_rows]
                for rows, generator in zip(self.train, self.shuffling, strict=True)
            ]
        )
        total = torch.zeros((), device=self.net.device)
        for number, chosen in enumerate(orders.split(self.sizes, dim=1), start=(epoch - 1) * len(self.sizes)):
            self._set_rate((number + 0.5) / n_steps)
            terms = self._terms(chosen, self.net.noise_, self.phase.module_arguments, arguments, _mean)
            loss = reduce(torch.add, terms).sum()  # gradients of networks do not mix in the sum
            clear_gradients(self.optimizer)
            loss.backward()
            self.optimizer.step()
            total = total + loss.detach()
        return bool(total.isfinite())

    @torch.no_grad()
    def losses(self) -> Tensor:
        """As ``ObjectiveNet.losses``, of the rows that each network has not seen."""
        self.stack.module.eval()
        noise = make_generator(self.net.seed, "validation", self.net.device)
        found = torch.cat(
            [
                self._terms(chosen, noise, self.net.evaluation_arguments, {}, total_per_row)
                for chosen in self.held_out.split(rows_at_once(self.net.batch_size), dim=1)
            ],
            dim=1,
        )
        return torch.cat([losses[:n] for losses, n in zip(found, self.n_held_out, strict=True)]).double().cpu()

    def _make_optimizer(self) -> torch.optim.Optimizer:
        """The net's optimizer, for the stacked weights: its rules are elementwise, so networks stay apart."""
        original = self.net.optimizer_
        groups = [
            {**group, "params": [self.stack.stacked_of[id(weight)] for weight in group["params"]]}
            for group in original.param_groups
        ]
        return type(original)(groups)

    def _terms(self, chosen: Tensor, noise, module_arguments: Mapping, loss_arguments: Mapping, reduced) -> Any:
        """The objective of rows ``(n_networks, batch)``, ``reduced`` for each network."""
        batch = self.train[0].gather(chosen.flatten())
        named = {field.name: getattr(batch, field.name) for field in fields(batch)}
        by_network = {name: part.unflatten(0, chosen.shape) for name, part in named.items() if part is not None}

        def of_one(tensors: list[Tensor], parts: dict[str, Tensor]) -> Any:
            batch = Batch(**parts)
            output = self.stack.with_weights(tensors)(batch.x, noise, **module_arguments)
            return reduced(self.net.criterion_(output, batch, **loss_arguments))

        return torch.func.vmap(of_one, randomness="same")(self.stack.tensors, by_network)

    def _set_rate(self, progress: float) -> None:
        if (shape := SHAPES[self.phase.schedule]) is not None:
            for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
                group["lr"] = rate * shape(progress)


def _mean(terms: Terms) -> list[Tensor]:
    """The mean of every term."""
    return [term.mean() for term in terms.values()]


def _padded(index: Tensor, length: int) -> Tensor:
    return torch.cat([index, index[:1].expand(length - len(index))])
