"""Strings: how many tokens of molecules (SMILES) and captions come back from a code, and what a VAE's samples are.

Trained on training strings, reported on held-out ones. A token counts as right if it stands in its place in what is
decoded greedily, the end included; beside the autoencoder what one gets without any network: the nearest training
string in counts of token pairs (TF-IDF), and the most common token of each place. Of samples: the share that is
well-formed (brackets and ring bonds in pairs; atoms that RDKit accepts, where it is installed), new and distinct.

There is no target; figures are reported by length.
"""

import re
from collections import Counter

import numpy as np
import pandas as pd
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

from benchmarks.common import (
    arguments,
    data_file,
    fixed,
    installed,
    machine,
    save,
    stored_figures,
    table,
    use_threads,
)
from sk_autoenc import AutoencoderTransformer, Recurrent, VAETransformer, Vocabulary

SMILES = r"\[[^]]*\]|Br|Cl|%\d\d|."
WORDS = r"\w+|[^\w\s]"


def molecules(n_train: int, n_test: int) -> tuple[Vocabulary, np.ndarray, np.ndarray]:
    """SMILES of the ZINC subset: training and test strings."""
    frame = pd.read_csv(data_file("smiles/zinc_subset.csv.gz"))
    train, test = (frame.smiles[frame.split == part].to_numpy() for part in ("valid", "test"))
    order = np.random.default_rng(0).permutation(len(train))[:n_train]
    return Vocabulary(SMILES, unknown="?", max_length=110), train[order], test[:n_test]


def captions(n_train: int, n_test: int) -> tuple[Vocabulary, np.ndarray, np.ndarray]:
    """English captions of pictures in lower case: training and test strings."""
    frame = pd.read_csv(data_file("multi30k/multi30k_en_de_fr.csv.gz"))
    train, test = (frame.en[frame.split == part].str.lower().to_numpy() for part in ("train", "test_2016_flickr"))
    return Vocabulary(WORDS, separator=" ", min_count=3, unknown="?", max_length=50), train[:n_train], test[:n_test]


TARGETS = []
N_COMPONENTS = 64
SETS = {"molecules": molecules, "captions": captions}


def right(made: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Share of each row's tokens, its end included, that stand in their places."""
    made, rows = np.nan_to_num(made, nan=-1), np.nan_to_num(rows, nan=-1)
    lengths = (rows >= 0).sum(axis=1)
    counted = np.arange(rows.shape[1]) <= lengths[:, None]
    return ((made == rows) & counted).sum(axis=1) / counted.sum(axis=1)


def most_common(train: np.ndarray, n: int) -> np.ndarray:
    """The most common token of each place, n times."""
    filled = np.nan_to_num(train, nan=-1).astype(int)
    row = [Counter(column.tolist()).most_common(1)[0][0] for column in filled.T]
    return np.tile(np.where(np.array(row) < 0, np.nan, row), (n, 1))


def nearest(vocabulary: Vocabulary, train: np.ndarray, test: np.ndarray) -> np.ndarray:
    """The training string nearest to each test string, by the angle between counts of tokens and their pairs."""
    counts = TfidfVectorizer(token_pattern=vocabulary.token_pattern, ngram_range=(1, 2), lowercase=False)
    known = counts.fit_transform(train)
    return train[
        NearestNeighbors(n_neighbors=1, metric="cosine").fit(known).kneighbors(counts.transform(test))[1][:, 0]
    ]


def by_length(shares: np.ndarray, lengths: np.ndarray) -> list[float]:
    """Mean share of right tokens in all strings and in thirds of them by length; share of strings without an error."""
    low, high = np.quantile(lengths, [1 / 3, 2 / 3])
    thirds = lengths <= low, (lengths > low) & (lengths <= high), lengths > high
    return [float(shares.mean()), *(float(shares[third].mean()) for third in thirds), float((shares == 1).mean())]


def is_well_formed(smiles: str) -> bool:
    """Whether brackets and ring bonds come in pairs, and no bond or branch stands alone."""
    bare = re.sub(r"\[[^\[\]]*\]", "A", smiles)
    if not bare or "[" in bare or "]" in bare or bare[0] in "()=#-/\\123456789%" or bare[-1] in "(=#-/\\":
        return False
    depth = 0
    for sign in bare:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth < 0:
            return False
    rings = Counter(re.findall(r"%\d\d|\d", bare))
    return depth == 0 and "()" not in bare and all(count % 2 == 0 for count in rings.values())


def judge_samples(
    name: str, model: VAETransformer, vocabulary: Vocabulary, train: np.ndarray, held_out, n: int
) -> dict:
    """Divergence and log-probability in nats; shares of samples that are distinct, new, and as they should be."""
    strings = vocabulary.inverse_transform(model.sample(n, random_state=0))
    found = {
        "kl": float(model.kl_per_component_.sum()),
        "nats": float(model.score(held_out, n_samples=64)),
        "distinct": len(set(strings)) / len(strings),
        "new": float(np.mean([string not in set(train) for string in strings])),
        "examples": strings[:5].tolist(),
    }
    if name == "molecules":
        found["well-formed"] = float(np.mean([is_well_formed(string) for string in strings]))
        if installed("rdkit"):
            from rdkit import Chem, RDLogger, rdBase

            RDLogger.DisableLog("rdApp.*")
            found["rdkit"] = rdBase.rdkitVersion
            found["valid"] = float(np.mean([Chem.MolFromSmiles(string) is not None for string in strings]))
    return found


def models(options) -> dict:
    """The networks, by name."""
    shared = {
        "architecture": Recurrent(options.hidden_size, unequal_lengths=True),
        "likelihood": "categorical",
        "batch_size": 128,
        "learning_rate": 0.004,
        "max_iter": options.epochs,
        "random_state": 0,
        "device": "cpu",
    }
    of_vae = {"n_warmup_epochs": options.epochs // 2, **shared}
    return {
        "AutoencoderTransformer": AutoencoderTransformer(N_COMPONENTS, **shared),
        "VAETransformer, beta=0.1": VAETransformer(N_COMPONENTS, beta=0.1, **of_vae),
        "VAETransformer, beta=1": VAETransformer(N_COMPONENTS, beta=1.0, **of_vae),
    }


def measure(name: str, options) -> dict:
    """What every model makes of one set: accuracy, and of those that draw, what samples are."""
    vocabulary, train, test = SETS[name](options.n_train, options.n_test)
    if options.validate:
        train, test = np.split(train, [-(len(train) // 20)])
    rows, held_out = vocabulary.fit_transform(train), vocabulary.transform(test)
    lengths = (~np.isnan(held_out)).sum(axis=1)
    made = {
        "most common token of each place": most_common(rows, len(test)),
        "nearest training string": vocabulary.transform(nearest(vocabulary, train, test)),
    }
    found: dict = {
        method: {"accuracy": by_length(right(strings, held_out), lengths)} for method, strings in made.items()
    }
    for method, model in models(options).items():
        if options.only_model in method:
            model.fit(rows)
            found[method] = {"accuracy": by_length(right(model.reconstruct(held_out), held_out), lengths)}
            if isinstance(model, VAETransformer):
                found[method] |= judge_samples(name, model, vocabulary, train, held_out, options.n_test)
            print(name, method, found[method], flush=True)
    low, high = np.quantile(lengths, [1 / 3, 2 / 3])
    header = [name, "all", f"up to {low:.0f}", f"up to {high:.0f}", "longer", "without an error"]
    return {"header": header, "methods": found, "machine": machine()}


def with_stored(name: str, found: dict, options) -> dict:
    """All sets, with what other runs measured: each model takes long."""
    figures = stored_figures("strings", options)
    methods = {**figures.get(name, {}).get("methods", {}), **found["methods"]}
    return {**figures, name: {**found, "methods": methods}}


def run(options) -> None:
    """Measure and store, set by set."""
    options.n_test = 1000
    if options.quick:
        options.n_train, options.n_test, options.epochs, options.hidden_size = 100, 20, 1, 8
    use_threads(options.threads)
    for name in SETS:
        if options.only in (None, name):
            save(options, with_stored(name, measure(name, options), options))


def report(results) -> str:
    """A table for each set."""
    more = {"kl": 1, "nats": 1, "well-formed": 3, "valid": 3, "distinct": 2, "new": 2}
    parts = []
    for found in results["figures"].values():
        shown = [name for name in more if any(name in method for method in found["methods"].values())]
        rows = [
            [method, *map(fixed, figures["accuracy"]), *(fixed(figures.get(name), more[name]) for name in shown)]
            for method, figures in found["methods"].items()
        ]
        parts.append(
            table([*found["header"], *({"kl": "KL, nats", "nats": "held-out nats"}.get(n, n) for n in shown)], rows)
        )
    return "\n\n".join(parts)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--only", choices=sorted(SETS), help="this set alone; others stay as they are stored")
    parser.add_argument(
        "--only-model", default="", help="models with this in their name; others stay as they are stored"
    )
    parser.add_argument(
        "--validate", action="store_true", help="on a twentieth of the training strings; nothing is stored"
    )
    parser.add_argument("--n-train", type=int, default=24000)
    parser.add_argument("--epochs", type=int, default=14)
    parser.add_argument("--hidden-size", type=int, default=128)
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
