"""Adversarial training: the skorch net whose players train in turns, each on its own loss, and the ``Game``."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

import torch
from skorch.callbacks import LRScheduler
from torch import Tensor

from sk_autoenc.data.dataset import Batch, Rows, WholeBatches
from sk_autoenc.training.nets import ObjectiveNet, clear_gradients


class Player(NamedTuple):
    """A player: the children of the module that it trains, and their learning rate in units of the net's."""

    parts: tuple[str, ...]
    rate: float = 1.0


@dataclass
class GameState:
    """State that the turns of one training share, from round to round."""

    generator: torch.Generator
    progress: float = 0.0  # share of the planned epochs of the phase that is done
    memory: dict[str, Any] = field(default_factory=dict)  # what turns keep for later rounds, by their own names


#: A generator function of ``(module, batches, state)`` that yields ``(player, loss)`` in the order of play. A loss is
#: computed when its turn comes, so it sees the steps of the turns before. ``next(batches)`` gives fresh rows at every
#: call. So does ``next(batches.extra)``, whose batches do not count towards the end of the epoch.
Turns = Callable[[Any, "FreshBatches", GameState], Iterator[tuple[str, Tensor]]]


class Game(NamedTuple):
    """The turns of one round, the players by name, and default options of optimizers of the Adam family."""

    turns: Turns
    players: dict[str, Player]
    adam_options: dict[str, Any] = {}


class FreshBatches:
    """Endless batches; each pass over the rows has a new order. Batches of ``extra`` do not count towards the epoch."""

    def __init__(self, batches: WholeBatches):
        self.batches, self.n_given = batches, 0
        self.n_rows = 0
        self._pass = iter(batches)

    def __iter__(self):
        return self

    @property
    def dataset(self) -> Rows:
        """The rows of which batches are gathered."""
        return self.batches.rows

    @cached_property
    def extra(self) -> "FreshBatches":
        return FreshBatches(self.batches)

    def __next__(self) -> Batch:
        batch = next(self._pass, None)
        if batch is None:
            self._pass = iter(self.batches)
            batch = next(self._pass)
        self.n_given, self.n_rows = self.n_given + 1, len(batch)
        return batch


class AdversarialNet(ObjectiveNet):
    """Trains the players' parts of ``module`` in turns; ``criterion`` only evaluates held-out rows.

    An epoch ends after as many batches as the rows fill, not counting ``extra`` ones. Every player has its own
    optimizer, with its own moments, and its own loss curve. The loss of the epoch is the sum of the players' losses.

    Parameters
    ----------
    module, criterion, **kwargs
        As for :class:`ObjectiveNet`.
    game : Game
        The turns and the players.
    """

    _refused = ObjectiveNet._refused | {
        LRScheduler: "sets the rate of one optimizer, but every player has its own; use learning_rate_schedule."
    }
    prefixes_ = [*ObjectiveNet.prefixes_, "optimizer"]  # skorch registers this name only for a single optimizer

    def __init__(self, module, criterion, *, game, **kwargs):
        super().__init__(module, criterion, **kwargs)
        self.game = game

    def initialize(self):
        super().initialize()
        self.state_ = GameState(self.noise_)
        self.named_ = {name: self._parameters_of(player) for name, player in self.game.players.items()}
        return self

    def initialize_optimizer(self, triggered_directly=None):
        self.optimizer_ = {}
        for name, player in self.game.players.items():
            args, kwargs = self.get_params_for_optimizer("optimizer", self._parameters_of(player))
            self.optimizer_[name] = self.optimizer(*args, **{**kwargs, "lr": self.lr * player.rate})
        return self

    def _parameters_of(self, player: Player) -> list[tuple[str, Tensor]]:
        return [(name, p) for name, p in self.module_.named_parameters() if name.split(".")[0] in player.parts]

    def optimizers(self):
        return [(self.optimizer_[name], player.rate) for name, player in self.game.players.items()]

    def run_single_epoch(self, iterator, training, prefix, step_fn, **fit_params):
        """Rounds over the rows; records every player's mean loss with a single wait for the device."""
        self._set_training(training)
        self._n_rows, self._sums = {}, {}
        batches = FreshBatches(iterator)
        while batches.n_given < len(iterator):
            self.state_.progress = (self._n_done + batches.n_given / len(iterator)) / self._n_planned
            self.notify("on_batch_begin", training=training)
            n_before = batches.n_given
            self._play(batches)
            self.notify("on_batch_end", training=training, n_batches=batches.n_given - n_before)
        self._record_losses(batches.n_given)

    def _play(self, batches: FreshBatches) -> None:
        """One round; a loss trains the parts of its player and nothing else."""
        for name, loss in self.game.turns(self.module_, batches, self.state_):
            clear_gradients(self.optimizer_[name])
            moved = [p for _, p in self.named_[name] if p.requires_grad]  # all but those that a callback froze
            self._descend(loss, self.optimizer_[name], iter(self.named_[name]), moved=moved)
            self._add_to_losses({name: loss}, batches.n_rows)
