"""Modules of one number whose course in training is known, and callbacks that note or do something."""

import torch
from skorch.callbacks import Callback
from torch import nn

from sk_autoenc.training.builder import fit_callbacks
from sk_autoenc.training.nets import ObjectiveNet
from sk_autoenc.training.selection import ROOT_LOSS, RowLosses


class Point(nn.Module):
    """One number that the objective moves; the output is that number and the row."""

    def __init__(self, start=0.0):
        super().__init__()
        self.at = nn.Parameter(torch.tensor(float(start)))

    def forward(self, x, generator=None):
        return self.at.expand(len(x))


class Noise(Point):
    """Draws a normal number per row."""

    def forward(self, x, generator=None):
        return torch.randn(len(x), generator=generator) + 0 * self.at


def squared_distance(output, batch):
    return {"distance": (output - batch.x[:, 0]).square()}


def make_net(module, objective, *, lr=0.1, batch_size=4, optimizer=torch.optim.SGD, **kwargs):
    net = ObjectiveNet(
        module, objective, optimizer=optimizer, lr=lr, batch_size=batch_size, device="cpu", seed=5, **kwargs
    )
    return net.initialize()


def callbacks_of_a_fit(**kwargs):
    patience, tol = kwargs.pop("patience", None), kwargs.pop("tol", 0.0)
    selection = None if patience is None else RowLosses(patience, tol, kwargs.pop("comparison", ROOT_LOSS))
    return fit_callbacks(**{"schedule": "constant", "n_steps": 100, "selection": selection, **kwargs})


class Spy(Callback):
    """Notes a figure of the net at every epoch's end."""

    def __init__(self, figure):
        self.figure, self.seen = figure, []

    def on_epoch_end(self, net, **kwargs):
        self.seen.append(self.figure(net))


class After(Callback):
    """Does something at the end of an epoch."""

    def __init__(self, epoch, deed):
        self.epoch, self.deed = epoch, deed

    def on_epoch_end(self, net, **kwargs):
        if net.history[-1, "epoch"] == self.epoch:
            self.deed()
