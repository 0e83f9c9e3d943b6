"""The plan of one fit, a frozen object: made once from an estimator's parameters, and carried out by ``run``."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from sk_autoenc.data.dataset import Rows, batch_sizes
from sk_autoenc.data.splits import Split
from sk_autoenc.initialization.start import Start
from sk_autoenc.training.adversarial import Game
from sk_autoenc.training.nets import Objective
from sk_autoenc.training.selection import BY_ROW, RowLosses, Selection

#: Steps of an epoch, as far as limits of the number of rows per step allow.
_STEPS = 20


@dataclass(frozen=True)
class PhaseUpdate:
    """The result of a phase's ``prepare``: further arguments of the module, and fitted attributes."""

    module_arguments: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Phase:
    """Epochs with one schedule of the rate and one set of arguments.

    Parameters
    ----------
    epochs : int
        Largest number of epochs. The schedule has this length, also if early stopping ends the first phase before.
    schedule : str
        How the rate changes: a name in ``schedules.SHAPES``.
    share_of_best : float or None
        The length of a later phase as a share of the best epoch of the first phase; at most ``epochs``.
    module_arguments, loss_arguments : mapping
        Arguments of the module and of the objective in training steps. Evaluation does not use them.
    prepare : callable or None
        ``(net, rows) -> PhaseUpdate``, called before the phase begins.
    """

    epochs: int
    schedule: str = "constant"
    share_of_best: float | None = None
    module_arguments: Mapping[str, Any] = field(default_factory=dict)
    loss_arguments: Mapping[str, Any] = field(default_factory=dict)
    prepare: Callable[[Any, Rows], PhaseUpdate] | None = None


@dataclass(frozen=True)
class OptimizerOptions:
    """Rule and size of the steps."""

    rule: str = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.0
    batch_size: int | str = "auto"
    net_params: Mapping[str, Any] | None = None

    def rows_per_step(self, n_rows: int) -> int:
        """``"auto"``: a twentieth of the rows, at least 32 and at most 512."""
        if isinstance(self.batch_size, str):
            return min(max(-(-n_rows // _STEPS), 32), 512)
        return min(self.batch_size, n_rows)

    def epochs_of(self, n_rows: int, most: int) -> int:
        """``most`` epochs; if an epoch has more than 20 steps, as many as take no more steps than these would."""
        return max(1, most * _STEPS // max(_STEPS, len(batch_sizes(n_rows, self.rows_per_step(n_rows)))))


@dataclass(frozen=True)
class Plan:
    """The plan of one fit.

    Parameters
    ----------
    module : callable
        ``() -> nn.Module``; its weights need not be set.
    objective : callable or None
        ``(output, batch, **arguments) -> {name: term}``. It is minimised, and gives the losses of held-out rows.
    game : Game or None
        Turns of players with their own losses. The objective, if there is one, then only evaluates held-out rows.
    start : Start
        Where training starts.
    data : object
        The preprocessor, which turns rows into a dataset and back; fitted on training rows.
    splits : sequence of Split
        Rows to train on and to hold out: one split, folds, or none.
    selection : Selection
        How held-out rows are evaluated.
    keeps_start_unevaluated : bool
        Whether the start is the result if no rows are held out, because they are too few to evaluate a network.
    phases : tuple of Phase
        The first phase trains on the training rows and is evaluated. Later phases train on all rows.
    optimizer : OptimizerOptions
        Rule and size of the steps.
    n_warmup_epochs : int
        Epochs over which the objective's argument ``kl_weight`` rises to 1.
    evaluation_arguments : mapping
        Arguments of the module in the evaluation of held-out rows.
    attributes : mapping
        Fitted attributes to set before training.
    is_batchable : bool
        Whether ``torch.func.vmap`` takes module and objective, so that the networks of folds can train side by side.
    verbose : int
        Above 0, a line is printed for each epoch.
    """

    module: Callable[[], nn.Module]
    objective: Objective | None = None
    game: Game | None = None
    start: Start = field(default_factory=Start)
    data: Any = None
    splits: Sequence[Split] = ()
    selection: Selection = BY_ROW
    keeps_start_unevaluated: bool = False
    phases: tuple[Phase, ...] = (Phase(1),)
    optimizer: OptimizerOptions = field(default_factory=OptimizerOptions)
    n_warmup_epochs: int = 0
    evaluation_arguments: Mapping[str, Any] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    is_batchable: bool = False
    verbose: int = 0

    def __post_init__(self) -> None:
        if self.objective is None and self.game is None:
            raise ValueError("Plan: objective or game must be given, got None for both.")
        if len(self.phases) > 1 and not self.splits:
            raise ValueError(f"phases must be one where no rows are held out, got {len(self.phases)}.")
        if self.splits and self.objective is None and isinstance(self.selection, RowLosses):
            raise ValueError(
                "Plan: selection=RowLosses needs an objective, which gives the losses of held-out rows, got "
                "objective=None; use selection=WholeFigure, or hold no rows out (early_stopping=False)."
            )
        if self.is_batchable and not (self.game is None and isinstance(self.selection, RowLosses)):
            raise ValueError("Plan: is_batchable needs an objective without a game, and selection=RowLosses.")
