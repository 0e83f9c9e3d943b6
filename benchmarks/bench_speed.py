"""Time per training step, whole ``fit`` included, against the loops and libraries that people would use instead.

Same work for all: 20 000 rows of 64 features (float32), layers 64-128-64-16-64-128-64, ReLU, squared error, batches of
256, the same number of epochs. A figure is the wall time of the whole call divided by the number of steps, so it
carries everything a user waits for: validation of the input, scaling, set-up, the final pass. Contenders run in
alternation; what is compared is the median over rounds of the ratio within a round.

Targets: ours (plain: init="random", no early stopping, constant rate) at most 1.15 × the hand-written loop with fused
Adam, at most 0.40 × PyOD's AutoEncoder, and below scikit-learn's ``MLPRegressor(X, X)``.

Small differences that remain: PyOD and MLPRegressor apply ReLU to the 16 codes too; PyOD standardises every feature
(its default) where ours centres and divides by one number, and scores all rows at the end as ours does; ours clears
gradients, decays weights and keeps the last finite weights of every epoch, the loops do not.
"""

import contextlib
import io
import itertools
import warnings

import numpy as np
import torch
from common import alternate, arguments, print_table, ratio, save, use_threads
from pyod.models.auto_encoder import AutoEncoder as PyODAutoEncoder
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPRegressor
from torch import nn

from sk_autoenc import MLP, AutoencoderTransformer

BATCH = 256
OURS, LOOP = "ours, plain", "loop, fused Adam"


def ours(X, epochs, device="cpu", *, plain=True, **parameters):
    """One fit of our estimator; ``plain`` turns off what the loops do not do."""
    if plain:
        as_the_loop = {"optimizer": "adam", "weight_decay": 0.0, "learning_rate_schedule": "constant"}
        parameters = {"init": "random", "early_stopping": False, **as_the_loop, **parameters}
    AutoencoderTransformer(
        16,
        architecture=MLP((128, 64), activation="relu"),
        batch_size=BATCH,
        max_iter=epochs,
        device=device,
        random_state=0,
        **parameters,
    ).fit(X)


def hand_written(X, epochs, device="cpu", *, fused=True):
    """The loop that one would write in an afternoon."""
    sizes = [64, 128, 64, 16, 64, 128, 64]
    layers = []
    for i, (n_in, n_out) in enumerate(itertools.pairwise(sizes)):
        layers += [nn.Linear(n_in, n_out), nn.ReLU()] if i not in (2, 5) else [nn.Linear(n_in, n_out)]
    network = nn.Sequential(*layers).to(device)
    optimizer = torch.optim.Adam(network.parameters(), lr=0.002, fused=fused or None)
    rows = torch.from_numpy(X).to(device)
    for _ in range(epochs):
        for chosen in torch.randperm(len(rows), device=device).split(BATCH):
            batch = rows[chosen]
            optimizer.zero_grad()
            loss = (network(batch) - batch).square().sum(-1).mean()
            loss.backward()
            optimizer.step()
    loss.item()  # waits for the device


def pyod(X, epochs, **parameters):
    """One fit of PyOD's autoencoder."""
    with contextlib.redirect_stdout(io.StringIO()):
        PyODAutoEncoder(
            hidden_neuron_list=[128, 64, 16],
            hidden_activation_name="relu",
            batch_size=BATCH,
            epoch_num=epochs,
            device="cpu",
            verbose=0,
            **parameters,
        ).fit(X)


def regressor(X, epochs):
    """One fit of scikit-learn's network from X to X."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        sizes = (128, 64, 16, 64, 128)
        MLPRegressor(hidden_layer_sizes=sizes, batch_size=BATCH, max_iter=epochs, n_iter_no_change=epochs + 1).fit(X, X)


def contenders(X, epochs):
    """What runs on the CPU, by name."""
    return {
        OURS: lambda: ours(X, epochs),
        "ours, plain, cosine rate (default)": lambda: ours(X, epochs, learning_rate_schedule="cosine"),
        "ours, defaults (init, validation, cosine)": lambda: ours(X, epochs, plain=False, n_iter_no_change=epochs),
        LOOP: lambda: hand_written(X, epochs),
        "loop, default Adam": lambda: hand_written(X, epochs, fused=False),
        "MLPRegressor(X, X)": lambda: regressor(X, epochs),
        "PyOD, no batch norm, no dropout": lambda: pyod(X, epochs, batch_norm=False, dropout_rate=0.0),
        "PyOD, its defaults": lambda: pyod(X, epochs),
    }


def report(options):
    """Measure, print, store."""
    use_threads(options.threads)
    n_rows, epochs, rounds = (2_000, 2, 2) if options.quick else (20_000, options.epochs, options.rounds)
    X = np.random.default_rng(0).standard_normal((n_rows, 64), dtype=np.float32)
    n_steps = epochs * -(-n_rows // BATCH)

    times = alternate(contenders(X, epochs), rounds, options.clock)
    on_gpu = {}
    if torch.cuda.is_available():
        calls = {OURS: lambda: ours(X, epochs, "cuda"), LOOP: lambda: hand_written(X, epochs, "cuda")}
        on_gpu = alternate(calls, rounds, options.clock)

    rows, figures = [], {}
    for name, elapsed in times.items():
        figures[name] = {
            "microseconds_per_step": 1e6 * float(np.median(elapsed)) / n_steps,
            "ours_divided_by_it": ratio(times, OURS, name),
            "it_divided_by_loop": ratio(times, name, LOOP),
        }
        gpu = 1e6 * float(np.median(on_gpu[name])) / n_steps if name in on_gpu else None
        figures[name]["gpu_microseconds_per_step"] = gpu
        shown = gpu if gpu or name not in (OURS, LOOP) else "unmeasured"
        rows.append([name, *list(figures[name].values())[:3], shown])
    print_table(["contender", "µs / step", "ours, plain / it", "it / loop", "GPU µs / step"], rows)
    if on_gpu:
        figures["gpu_ratio"] = ratio(on_gpu, OURS, LOOP)
        print(f"GPU: ours, plain / loop = {figures['gpu_ratio']:.3f}")

    for name, limit in ((LOOP, 1.15), ("MLPRegressor(X, X)", 1.0), ("PyOD, no batch norm, no dropout", 0.40)):
        reached = figures[name]["ours_divided_by_it"]
        print(f"ours / {name}: {reached:.3f}, target {limit:.2f}: {'met' if reached <= limit else 'MISSED'}")
    save(options, figures, rows=n_rows, batch=BATCH, epochs_run=epochs, rounds_run=rounds)


if __name__ == "__main__":
    parser = arguments(__doc__)
    parser.add_argument("--epochs", type=int, default=10, help="epochs per fit (default 10)")
    parser.add_argument("--rounds", type=int, default=15, help="rounds of alternation (default 15)")
    report(parser.parse_args())
