"""What generative adversarial networks share: the turns above, from parameters to a plan below."""

import math
from collections.abc import Iterator
from functools import partial
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from sk_autoenc._compat import Interval, StrOptions
from sk_autoenc.architectures import Architecture, architecture_object, checked_architecture
from sk_autoenc.base.estimator import FitRequest, bound_to_rows
from sk_autoenc.base.sampler import NeuralSampler, draw_beside, some_of
from sk_autoenc.base.tables import read_table
from sk_autoenc.data.dataset import Batch, Rows
from sk_autoenc.data.observed import SampledRows
from sk_autoenc.data.tabular import Table, is_table
from sk_autoenc.data.validation import check_range
from sk_autoenc.initialization.mixture import MixtureStart
from sk_autoenc.initialization.start import Start
from sk_autoenc.likelihoods import Gaussian
from sk_autoenc.losses import (
    ADVERSARIAL_LOSSES,
    AdversarialLoss,
    between,
    one_centred_penalty,
    squared_gradient_norm,
)
from sk_autoenc.nn.gan import Critic, GenerativeAdversarialNetwork, MixtureMap, SpectralLinear
from sk_autoenc.priors import NormalPrior
from sk_autoenc.training.adversarial import FreshBatches, Game, GameState, Player
from sk_autoenc.training.builder import check_net_params
from sk_autoenc.training.plan import OptimizerOptions, Plan
from sk_autoenc.training.randomness import make_generator
from sk_autoenc.training.selection import EnergyScores

#: No momentum, as players that move would otherwise circle each other.
_ADAM_OPTIONS = {"betas": (0.0, 0.99)}

#: What ``"auto"`` stands for: steps of the critic in a fit; rows a step of tables, whose networks are small, and of
#: images and series; rates. More rows a step balance the shares of groups of rows.
N_STEPS = 5000
_TABLE_BATCH, _IMAGE_BATCH = 512, 128
_RATE, _GENTLE_RATE = 5e-3, 1e-3

#: Weight of a zero-centred penalty at the first and at the last step, in units of the rows' total variance; that of
#: Gulrajani's is the paper's.
_FIRST_WEIGHT, _LAST_WEIGHT, _GULRAJANI_WEIGHT = 0.05, 0.0015, 10.0

#: Critic's steps for each of the generator, where a critic has to follow closely.
_WASSERSTEIN_STEPS = 5

#: Critics of so many columns at most read their sine and cosine, too.
FEW_COLUMNS = 16

#: Numbers of a code at most, unless more are asked for.
_MOST_COMPONENTS = 64

#: Bound of every weight of a clipped critic, which is the paper's.
_CLIP = 0.01

PENALTIES = ("r1", "r1_r2", "gulrajani", "clipping")

#: What holds the slope of a Wasserstein critic, and of no other.
_WASSERSTEIN_PENALTIES = ("gulrajani", "clipping")


class Penalty(NamedTuple):
    """What holds the critic's slope, and how strongly at the first and at the last step."""

    kind: str | None
    first: float = 0.0
    last: float = 0.0

    def weight(self, progress: float) -> float:
        """It falls geometrically as training makes progress from 0 to 1."""
        return self.first * (self.last / self.first) ** min(progress, 1.0)


def critic_loss(
    module: GenerativeAdversarialNetwork,
    batch: Batch,
    generated: Tensor,
    state: GameState,
    *,
    loss: AdversarialLoss,
    penalty: Penalty,
) -> Tensor:
    r"""The critic's mean loss on pairs of rows, and its penalty.

    With weight :math:`\gamma`, R1 adds :math:`\frac\gamma2 E\lVert\nabla D(x)\rVert^2`, R2 the same of generated rows,
    and Gulrajani's penalty :math:`\gamma E(\lVert\nabla D\rVert - 1)^2` of rows between the two.
    """
    rows = torch.cat([batch.x, generated])
    condition = None if batch.y is None else torch.cat([batch.y, batch.y])
    zero_centred = penalty.kind in ("r1", "r1_r2")
    rows.requires_grad_(zero_centred)
    said = module.critic(rows, condition)
    total = loss.critic(*said.chunk(2)).mean()
    if penalty.kind in (None, "clipping"):
        return total
    weight = penalty.weight(state.progress)
    if zero_centred:
        squared = squared_gradient_norm(said, rows)
        squared = squared if penalty.kind == "r1_r2" else squared[: len(generated)]
        return total + weight / 2 * squared.sum() / len(generated)
    share = torch.rand(len(generated), 1, generator=state.generator, device=generated.device, dtype=generated.dtype)
    middle = between(batch.x, generated, share).requires_grad_()
    return total + weight * one_centred_penalty(module.critic(middle, batch.y), middle).mean()


@torch.no_grad()
def clip_weights(critic: nn.Module) -> None:
    """Bring every weight into [-0.01, 0.01], as the first Wasserstein GAN (Arjovsky et al., 2017)."""
    for weight in critic.parameters():
        weight.clamp_(-_CLIP, _CLIP)


def gan_turns(
    module: GenerativeAdversarialNetwork,
    batches: FreshBatches,
    state: GameState,
    *,
    loss: AdversarialLoss,
    penalty: Penalty,
    n_critic: int,
    ema: float,
) -> Iterator[tuple[str, Tensor]]:
    """One round: the critic's steps, each on fresh rows, then the generator's, and its average follows."""
    for _ in range(n_critic):
        batch = next(batches)
        with torch.no_grad():
            generated = module.generate(len(batch), state.generator, batch.y)
        yield "critic", critic_loss(module, batch, generated, state, loss=loss, penalty=penalty)
        if penalty.kind == "clipping":
            clip_weights(module.critic)
    with torch.no_grad():
        real = module.critic(batch.x, batch.y)
    generated = module.generate(len(batch), state.generator, batch.y)
    yield "generator", loss.generator(real, module.critic(generated, batch.y)).mean()
    module.follow(ema)


def wasserstein_distance(net: Any, held_out: Rows) -> dict[str, float]:
    """By how much the critic rates held-out rows above as many generated ones, on average, by its name."""
    batch, module = some_of(held_out), net.plain_module
    codes = module.draw_codes(len(batch), make_generator(net.seed, "validation")).to(batch.x.device)
    module.eval()
    with torch.inference_mode():
        real, made = module.critic(batch.x, batch.y), module.critic(module.decode(codes, batch.y), batch.y)
    return {"wasserstein_distance": float(real.double().mean() - made.double().mean())}


class Sizes(NamedTuple):
    """What parameters say of the networks, worked out once for a plan; ``n_features`` are those that they read."""

    architecture: Architecture
    critic: Architecture
    n_features: int
    n_components: int
    n_condition: int = 0


def length_of_codes(sampler: "AdversarialSampler", n_inputs: int) -> int:
    """Length of a code that these parameters ask for, where networks read so many columns."""
    return sampler._n_latent(n_inputs)


def _named(table: Table, wrong: np.ndarray) -> str:
    """Names of the columns with a wrong cell, of which some are shown."""
    names = [repr(table.names[column]) for column in np.flatnonzero(wrong.any(axis=0))]
    return ", ".join(names[:5]) + (" and others" if len(names) > 5 else "")


class AdversarialSampler(NeuralSampler):
    """What samplers share that learn by a game of a generator and a critic."""

    _parameter_constraints: dict = {
        **NeuralSampler._parameter_constraints,
        "n_components": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "architecture": ["array-like", Architecture],
        "critic": ["array-like", Architecture, StrOptions({"auto"})],
        "loss": [StrOptions(set(ADVERSARIAL_LOSSES))],
        "gradient_penalty": [StrOptions({"auto", *PENALTIES}), None],
        "n_critic": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "spectral_norm": ["boolean"],
        "ema": [Interval(Real, 0, 1, closed="left")],
        "max_iter": [Interval(Integral, 1, None, closed="left"), StrOptions({"auto"})],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
    }

    # -- the hooks of kinds of games

    def _has_mixture(self) -> bool:
        """Whether the generator starts at a gaussian mixture."""
        return False

    #: What reads rows.
    _rows_class: type[SampledRows] = SampledRows

    def _new_preprocessor(self, shape: tuple[int, ...], dtype: str, **options: Any) -> SampledRows:
        """What reads rows of this shape; ``options`` are further arguments of the class."""
        return self._rows_class(Gaussian(), shape, dtype, values=self.values, **options)

    def _make_critic(self, sizes: Sizes, data: Any) -> Critic:
        """The critic of rows; ``data`` is fitted when this is called."""
        has_waves = sizes.critic.reads_columns and sizes.n_features <= FEW_COLUMNS
        n_inputs = Critic.n_inputs(sizes.n_features, has_waves=has_waves)
        return Critic(self._critic_network(sizes.critic, n_inputs, 1), has_waves=has_waves)

    def _n_condition(self, data: Any) -> int:
        """Length of the condition that both players read; ``data`` is fitted when this is called."""
        return 0

    # -- rows in

    @property
    def _reads_columns(self) -> bool:
        """Whether both players read columns, and not images."""
        return self._as_architecture("architecture").reads_columns and self._critic_reads_columns

    def _validate(self, X, *, reset: bool, finite: bool = True) -> np.ndarray:
        """Rows as a 2-D array; those of a data frame of mixed columns are encoded, float64."""
        if not (self._reads_columns and is_table(X) if reset else self._data.is_table):
            return super()._validate(X, reset=reset, finite=finite)
        if self.values == "unbounded":
            raise ValueError(
                "values must be 'observed' or 'real' for data frames of mixed columns, as samples have the types of "
                "these, got 'unbounded'."
            )
        X = read_table(self, X, reset=reset)
        table = Table().fit(X) if reset else self._data.table
        encoded = table.encode(X, unseen="kept")
        self._check_cells(table, encoded)
        check_range(encoded, "X")
        if reset:
            self.input_shape_ = encoded.shape[1:]
            self._data = self._new_preprocessor(self.input_shape_, "float64", by_feature=True, table=table)
        return encoded

    def _check_cells(self, table: Table, encoded: np.ndarray) -> None:
        """Refuse missing cells, and levels that the fit did not see, by the names of their columns."""
        is_unknown = ~table.is_number & (encoded < 0)
        if names := _named(table, np.isnan(encoded)):
            raise ValueError(
                f"X must have no missing cells for {type(self).__name__}, got some in {names}. Fill them by "
                "AutoencoderImputer, or use TabularSampler, which reads and draws missing cells."
            )
        if names := _named(table, is_unknown):
            raise ValueError(f"X must hold levels of the training rows, got others in {names}; fit again to all rows.")

    # -- from parameters to a plan

    def _make_plan(self, request: FitRequest) -> Plan:
        self._check_combinations()
        architecture = bound_to_rows(self._as_architecture("architecture"), request)
        if self._has_mixture() and not architecture.reads_columns:
            raise ValueError(f"init='mixture' goes with an MLP, got architecture={self.architecture!r}.")
        data = request.data  # of a fit that goes on, or of a table
        if data is None:
            assert request.X is not None
            dtype = request.X.dtype.name
            data = self._new_preprocessor(request.shape, dtype, by_feature=architecture.reads_columns)
        critic = (
            architecture if self._critic_is_auto else bound_to_rows(self._as_architecture("critic"), request, "critic")
        )
        sizes = Sizes(architecture, critic, data.n_inputs, self._n_latent(data.n_inputs))
        prior = NormalPrior(n_components=sizes.n_components)
        return Plan(
            module=partial(self._make_module, sizes, data),
            game=self._game(data.n_features, is_chunk=request.is_chunk),
            start=MixtureStart(request.seed) if self._has_mixture() else Start(),
            data=data,
            splits=self._splits(request),
            selection=self._selection(data),
            keeps_start_unevaluated=True,
            phases=self._phases(request),
            optimizer=self._optimizer_options(),
            attributes={"latent_": prior, "n_components_": sizes.n_components} if request.is_first else {},
            verbose=self.verbose,
        )

    def _selection(self, data: SampledRows) -> EnergyScores:
        further = wasserstein_distance if self.loss == "wasserstein" else None
        draw = partial(draw_beside, as_drawn=data.as_drawn)
        return EnergyScores(self.n_iter_no_change, self.tol, draw, further, stops=self.early_stopping)

    @property
    def _critic_is_auto(self) -> bool:
        return isinstance(self.critic, str)

    @property
    def _critic_reads_columns(self) -> bool:
        return self._as_architecture("architecture" if self._critic_is_auto else "critic").reads_columns

    def _check_combinations(self) -> None:
        if (self.net_params or {}).get("compile"):
            raise ValueError("net_params: 'compile' would have no effect on players that train in turns.")
        if self.gradient_penalty in _WASSERSTEIN_PENALTIES and self.loss != "wasserstein":
            raise ValueError(
                f"loss must be 'wasserstein' with gradient_penalty={self.gradient_penalty!r}, which bounds the slope "
                f"of that critic; got loss={self.loss!r}."
            )
        if self.spectral_norm and not self._critic_reads_columns:
            raise ValueError(f"critic must be an MLP with spectral_norm=True, got {self.critic!r}.")

    def _as_architecture(self, name: str) -> Architecture:
        """The architecture of a player; widths are short for an MLP with leaky ReLUs."""
        architecture = checked_architecture(getattr(self, name), name, activation="leaky_relu")
        if architecture.code_activation != "identity":
            raise ValueError(f"{name}: code_activation must be 'identity', got {architecture.code_activation!r}.")
        if architecture.reads_sequences:
            raise ValueError(f"{name} must be an MLP or Convolutional, got {architecture!r}.")
        return architecture

    def _n_latent(self, n_features: int) -> int:
        """Length of a code for so many columns; a mixture needs one for each, and for the component."""
        is_auto = isinstance(self.n_components, str)
        asked = min(n_features, _MOST_COMPONENTS) if is_auto else int(self.n_components)
        return max(asked, n_features + 1) if self._has_mixture() else asked

    def _make_module(self, sizes: Sizes, data: Any) -> GenerativeAdversarialNetwork:
        has_mixture = self._has_mixture()
        n_read = GenerativeAdversarialNetwork.n_read(
            sizes.n_components, sizes.n_features, has_mixture=has_mixture, n_condition=self._n_condition(data)
        )
        generator, average = (
            sizes.architecture.make_decoder(n_read, sizes.n_features, linear_path=False, bounded=False)
            for _ in range(2)
        )
        return GenerativeAdversarialNetwork(
            generator,
            average,
            self._make_critic(sizes, data),
            n_components=sizes.n_components,
            mixture=MixtureMap(sizes.n_features) if has_mixture else None,
        )

    def _critic_network(self, critic: Architecture, n_inputs: int, n_outputs: int) -> Any:
        """The critic's network, with spectral norms where these are asked for."""
        if not self.spectral_norm:
            return critic.make_encoder(n_inputs, n_outputs, linear_path=False)
        make_encoder: Any = critic.make_encoder
        return make_encoder(n_inputs, n_outputs, linear_path=False, linear=SpectralLinear)

    def _game(self, n_features: int, *, is_chunk: bool) -> Game:
        turns = partial(
            gan_turns,
            loss=ADVERSARIAL_LOSSES[self.loss],
            penalty=self._penalty(n_features, is_chunk=is_chunk),
            n_critic=self._critic_steps,
            ema=self.ema,
        )
        return Game(turns, {"critic": Player(("critic",)), "generator": Player(("generator",))}, _ADAM_OPTIONS)

    @property
    def _critic_steps(self) -> int:
        if not isinstance(self.n_critic, str):
            return self.n_critic
        return _WASSERSTEIN_STEPS if self.loss == "wasserstein" else 1

    def _penalty(self, n_features: int, *, is_chunk: bool) -> Penalty:
        """The penalty on the critic's slope; scaled rows have a total variance of their number of columns."""
        kind = self.gradient_penalty
        if kind == "auto":
            kind = None if self.spectral_norm else "gulrajani" if self.loss == "wasserstein" else "r1_r2"
        if kind is None:
            return Penalty(None)
        if kind == "clipping":
            return Penalty(kind)
        if kind == "gulrajani":
            return Penalty(kind, _GULRAJANI_WEIGHT, _GULRAJANI_WEIGHT)
        first, last = _FIRST_WEIGHT * n_features, _LAST_WEIGHT * n_features
        if is_chunk:  # chunks have no course of training
            first = last = math.sqrt(first * last)
        return Penalty(kind, first, last)

    # -- what "auto" stands for

    def _n_epochs(self, request: FitRequest) -> int:
        if not isinstance(self.max_iter, str):
            return self.max_iter
        n_rows = 1 if request.X is None else len(request.X)
        splits = self._splits(request)
        n_rows = len(splits[0][0]) if splits else n_rows
        steps = max(1, n_rows // self._optimizer_options().rows_per_step(n_rows))
        return -(-N_STEPS // steps)

    def _optimizer_options(self) -> OptimizerOptions:
        rate, batch_size = self.learning_rate, self.batch_size
        is_table = self._as_architecture("architecture").reads_columns
        if isinstance(batch_size, str):
            batch_size = _TABLE_BATCH if is_table else _IMAGE_BATCH
        if isinstance(rate, str):
            rate = _RATE if is_table and not self._has_mixture() else _GENTLE_RATE
        return OptimizerOptions(
            self.optimizer,
            rate,
            self.weight_decay,
            batch_size,
            check_net_params(self.net_params),
        )

    def set_params(self, **params):
        """Set parameters, those of the architecture as ``architecture__<name>`` also where it is a bare tuple.

        Parameters
        ----------
        **params : dict
            Names and values.

        Returns
        -------
        self : object
            The estimator.
        """
        for owner in ("architecture", "critic"):
            nested = any(name.startswith(f"{owner}__") for name in params)
            value = getattr(self, owner)
            if nested and owner not in params and not isinstance(value, str):
                setattr(self, owner, architecture_object(value, activation="leaky_relu"))
        return super().set_params(**params)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        players = (getattr(self, name, ()) for name in ("architecture", "critic"))
        tags.input_tags.categorical = all(getattr(player, "reads_columns", True) for player in players)
        return tags

    def _remedy(self) -> str:
        used = self._parameters
        advice = ["a larger max_iter"]
        if used.gradient_penalty not in ("auto", "r1_r2"):
            advice.insert(0, f"gradient_penalty='auto' instead of {used.gradient_penalty!r}")
        if used.loss != "relativistic":
            advice.insert(0, f"loss='relativistic' instead of {used.loss!r}")
        return f"Try {', or '.join(advice)}."
