"""The semi-supervised adversarial autoencoder: losses of its players, and samples that belong to their class."""

import math

import numpy as np
import pytest
import torch
from sklearn.datasets import load_iris
from sklearn.neighbors import KNeighborsClassifier
from torch import nn

from sk_autoenc import AAEClassifier
from sk_autoenc.data.dataset import Batch
from sk_autoenc.estimators.aae_classifier import class_turns, critics_loss
from sk_autoenc.training.adversarial import GameState

X, Y = load_iris(return_X_y=True)
FEW = np.where(np.arange(150) % 3 == 0, Y, -1)


class Constant(nn.Module):
    """Critics and an encoder that say the same of every row."""

    def __init__(self, log_odds, said):
        super().__init__()
        self.log_odds, self.said = torch.tensor(log_odds), said
        self.likelihood = self

    def target(self, x, generator):
        return x

    def forward(self, x, generator=None):
        return torch.full((len(x),), -4.0)

    def both(self, x):
        return self.log_odds.expand(len(x), -1), torch.zeros(len(x), 1)

    def critics(self, probabilities, code):
        return torch.full((len(code),), self.said), torch.full((len(code),), self.said)


def losses(module, y):
    batches = iter([Batch(torch.zeros(len(y), 3), y)])
    state = GameState(torch.Generator().manual_seed(0))
    turns = class_turns(module, batches, state, shares=torch.tensor([0.5, 0.5]), label_weight=2.0)
    return {name: float(loss) for name, loss in turns}


def test_losses_of_all_players_by_hand():
    y = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, 0.0, 0.0]])
    found = losses(Constant([math.log(0.8), math.log(0.2)], 0.0), y)
    assert found["autoencoder"] == pytest.approx(4.0)
    assert found["critics"] == pytest.approx(4 * math.log(2))
    assert found["encoder"] == pytest.approx(2 * math.log(2))
    assert found["classifier"] == pytest.approx(-2 * (math.log(0.8) + math.log(0.2)) / 2)


def test_without_a_label_in_the_batch_the_classifier_has_loss_zero():
    assert losses(Constant([0.0, 0.0], 0.0), torch.zeros(4, 3))["classifier"] == 0.0


def test_critics_that_say_real_of_everything_pay_for_generated_rows():
    found = critics_loss(
        Constant([0.0, 0.0], 2.0),
        torch.full((5, 2), 0.5),
        torch.zeros(5, 1),
        torch.tensor([0.5, 0.5]),
        torch.Generator().manual_seed(0),
    )
    assert float(found) == pytest.approx(2 * (math.log1p(math.exp(-2)) + math.log1p(math.exp(2))), rel=1e-5)


def test_samples_are_rows_of_their_class():
    model = AAEClassifier(2, architecture=(32,), max_iter=150, random_state=0, early_stopping=False).fit(X, FEW)
    rows, labels = model.sample(50, y=[0, 2], random_state=0)
    assert KNeighborsClassifier(5).fit(X, Y).score(rows, labels) > 0.8
    assert model.score(X, Y) > 0.85
    assert set(model.loss_curves_) == {"autoencoder", "critics", "encoder", "classifier"}


def test_parameters_that_cannot_be_combined_are_refused():
    with pytest.raises(ValueError, match="net_params: 'compile' would have no effect"):
        AAEClassifier(net_params={"compile": True}).fit(X, FEW)
    with pytest.raises(ValueError, match="critic: MLP: hidden_layer_sizes must have integers of 1 or more"):
        AAEClassifier(critic=(0,)).fit(X, FEW)
