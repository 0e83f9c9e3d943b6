"""Two processes train the model of one process, by an objective and by a game."""

import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from sk_autoenc import AAETransformer, AutoencoderTransformer, data_parallel
from sk_autoenc.data.dataset import Rows
from sk_autoenc.training.adversarial import Game, Player
from sk_autoenc.training.nets import ObjectiveNet
from sk_autoenc.training.parallel import Share
from sk_autoenc.training.plan import OptimizerOptions, Phase, Plan
from sk_autoenc.training.run import run

ROOT = Path(__file__).parent.parent.parent


class Pair(nn.Module):
    """Two players."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(3, 2), nn.Linear(2, 3)


def turns(module, batches, state):
    for player in ("first", "second"):
        x = next(batches).x
        yield player, (module.second(module.first(x).tanh()) - x).square().mean()


def weights_of(net: ObjectiveNet) -> np.ndarray:
    return np.concatenate([w.detach().numpy().ravel() for w in net.plain_module.parameters()])


def fits() -> dict[str, np.ndarray]:
    """Weights after training by an objective with early stopping, by a game, and by a game with noise."""
    X = np.random.default_rng(0).normal(size=(645, 3)).astype(np.float32) ** 3
    small = {"architecture": (6,), "max_iter": 3, "batch_size": 101, "random_state": 0, "device": "cpu"}
    objective = AutoencoderTransformer(2, init="random", **small).fit(X)
    game = Plan(
        module=Pair,
        game=Game(turns, {"first": Player(("first",)), "second": Player(("second",))}),
        phases=(Phase(2),),
        optimizer=OptimizerOptions(learning_rate=0.01, batch_size=101),
    )
    noisy = AAETransformer(2, **small).partial_fit(X)
    return {
        "objective": weights_of(objective.net_),
        "loss_curve": np.array([*objective.loss_curve_, *objective.validation_loss_curve_]),
        "game": weights_of(run(game, Rows(torch.from_numpy(X)), seed=0, device="cpu").net),
        "noisy": weights_of(noisy.net_),
    }


def test_two_processes_train_the_model_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    script = (
        "import sys, numpy, torch; torch.set_num_threads(1); from tests.training.test_parallel import *\n"
        "with data_parallel(): numpy.savez(sys.argv[1], **fits())"
    )
    common = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", script, str(tmp_path / f"{rank}.npz")],
            cwd=ROOT,
            env={**common, "RANK": str(rank)},
        )
        for rank in range(2)
    ]
    expected = fits()
    assert [process.wait(600) for process in processes] == [0, 0]
    first, second = (np.load(tmp_path / f"{rank}.npz") for rank in range(2))
    for name, alone in expected.items():
        np.testing.assert_array_equal(first[name], second[name])
        assert first[name].shape == alone.shape
        if name != "noisy":
            np.testing.assert_allclose(first[name], alone, rtol=1e-3, atol=1e-4)


def test_shares_of_a_batch_are_its_rows_and_their_weights_make_its_mean(monkeypatch):
    index, values, found, mean = torch.arange(7), torch.arange(7.0) ** 2, [], 0.0
    monkeypatch.setattr("sk_autoenc.training.parallel.n_processes", lambda: 3)
    for rank in range(3):
        monkeypatch.setattr("sk_autoenc.training.parallel.rank", partial(int, rank))
        share = Share()
        part = share(index)
        found += part.tolist()
        mean += share.weight * float(values[part].mean()) / 3
    assert sorted(found) == index.tolist()
    assert mean == pytest.approx(float(values.mean()))
    assert share(index[:2]).tolist() == [0]
    assert share.weight == 0


def test_a_process_that_torchrun_has_not_started_is_told_so(monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(RuntimeError, match="torchrun"), data_parallel():
        pass
