"""Translation: corpus BLEU of English captions into German (Multi30k, test 2016) beside baselines without a network.

Learned of the 29 000 training pairs; figures are cased BLEU of the 1000 test captions of 2016 by greedy decoding and by
a beam of four, as sacrebleu has it. Beside the translator what one gets without any network: the German caption of the
nearest English training caption in counts of words and pairs of words (TF-IDF), and the most probable German word of
each English word by IBM model 1. The time per step is compared with a hand-written loop around the same network.
"""

import time

import numpy as np
import pandas as pd
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.neighbors import NearestNeighbors

from benchmarks.common import (
    Target,
    alternate,
    arguments,
    data_file,
    figures_table,
    fixed,
    ratio,
    save,
    table,
    use_threads,
)
from sk_autoenc import SequenceTranslator, Vocabulary
from sk_autoenc.metrics import bleu_score

WORDS = Vocabulary(r"\w+|[^\w\s]", separator=" ")

TARGETS = [
    Target("BLEU, test 2016, beam 4", lambda results: results["figures"]["bleu"]["ours, beam 4"]["bleu"], "≥", 30.0),
    Target(
        "BLEU above the nearest caption and word by word",
        lambda results: min(
            results["figures"]["bleu"]["ours, beam 4"]["bleu"] - results["figures"]["bleu"][name]["bleu"]
            for name in ("nearest caption", "word by word")
        ),
        ">",
        0.0,
    ),
    Target("time per step over a hand-written loop", lambda results: results["figures"]["step ratio"], "≤", 1.15),
]


def captions(split: str, n: int | None) -> tuple[np.ndarray, np.ndarray]:
    """English and German captions of a split."""
    frame = pd.read_csv(data_file("multi30k/multi30k_en_de_fr.csv.gz"))
    some = frame[frame.split == split][:n]
    return some.en.to_numpy(), some.de.to_numpy()


def translator(n_subwords: int, **parameters) -> SequenceTranslator:
    """Ours, with pieces of words for each language."""
    options = {"validation_fraction": 0.03, "random_state": 0, "device": "cpu", **parameters}
    vocabulary = Vocabulary(subwords=n_subwords)
    return SequenceTranslator(vocabulary, target_vocabulary=vocabulary, **options)


def nearest_caption(train: tuple[np.ndarray, np.ndarray], test: np.ndarray) -> np.ndarray:
    """The German of the nearest English training caption."""
    counts = TfidfVectorizer(ngram_range=(1, 2), token_pattern=r"\w+").fit(train[0])
    nearest = NearestNeighbors(n_neighbors=1, metric="cosine").fit(counts.transform(train[0]))
    return train[1][nearest.kneighbors(counts.transform(test), return_distance=False)[:, 0]]


def word_by_word(train: tuple[np.ndarray, np.ndarray], test: np.ndarray) -> list[str]:
    """The most probable translation of each word, in the same order; unknown words are copied."""
    model = SequenceTranslator(WORDS, target_vocabulary=WORDS, hidden_size=1, max_iter=1, early_stopping=False)
    model.set_params(learning_rate=1e-9, batch_size=512, device="cpu", random_state=0).fit(*train)
    source, target = (v.tokens_.tolist() for v in (model.vocabulary_, model.target_vocabulary_))
    lexicon = model.lexicon_[: len(source), : len(target)]
    best = dict(zip(source, np.asarray(lexicon.argmax(axis=1)).ravel(), strict=True))
    cut = model.vocabulary_.tokenize(test)
    return [" ".join(target[best[word]] if word in best else word for word in words) for words in cut]


def hand_written(model: SequenceTranslator, rows, n_rows: int):
    """One epoch in a plain loop: the same network, batches, dropout, optimizer and number of steps."""
    module = model.net_.plain_module
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-9, weight_decay=0.0, fused=True)
    generator = torch.Generator().manual_seed(0)

    def epoch() -> None:
        module.train()
        order = torch.randperm(n_rows, generator=generator)
        for chosen in order.split(model.batch_size):
            optimizer.zero_grad()
            x, y = rows.data[chosen], rows.target[chosen]
            x, y = x[:, : int((x >= 0).sum(1).max())], y[:, : int((y >= 0).sum(1).max())]
            (-module.log_prob(x, y, generator)).mean().backward()
            optimizer.step()

    return epoch


def step_ratio(train: tuple[np.ndarray, np.ndarray], n_rows: int, rounds: int, clock: str, **parameters) -> dict:
    """Times of ours and of a plain loop over the same rows."""
    pairs = [side[:n_rows] for side in train]
    model = translator(1000, max_iter=1, early_stopping=False, **parameters).fit(*pairs)
    rows = model._data.dataset(pairs[0], "cpu", pairs[1])
    model.net_.set_optimizer_options(1e-9, 0.0, model.batch_size)
    return alternate(
        {"ours": lambda: model.net_.train(rows, epochs=1), "hand-written": hand_written(model, rows, n_rows)},
        rounds,
        clock,
    )


def run(options) -> None:
    """Measure the contenders."""
    use_threads(options.threads)
    quick = options.quick
    train = captions("train", 200 if quick else options.rows)
    test = captions("val" if options.validate else "test_2016_flickr", 20 if quick else None)
    parameters = {"max_iter": 1 if quick else options.epochs, "hidden_size": 16 if quick else options.hidden_size}
    parameters |= {"learning_rate": options.learning_rate, "dropout": options.dropout, "cell": options.cell}
    rounds = {"bleu": {}}
    for name, baseline in (("nearest caption", nearest_caption), ("word by word", word_by_word)):
        rounds["bleu"][name] = {"bleu": bleu_score(test[1], baseline(train, test[0]))}
    begin = time.perf_counter(), time.process_time()
    model = translator(200 if quick else options.subwords, verbose=1, **parameters).fit(*train)
    fit = time.perf_counter() - begin[0], time.process_time() - begin[1]
    for beam_size in (1, 4):
        begin = time.process_time()
        made = model.set_params(beam_size=beam_size).predict(test[0])
        rounds["bleu"][f"ours, beam {beam_size}"] = {
            "bleu": bleu_score(test[1], made),
            "fit_wall": fit[0],
            "fit_processor": fit[1],
            "predict_processor": time.process_time() - begin,
        }
        print(rounds["bleu"], made[:3], flush=True)
    times = step_ratio(
        train, 64 if quick else 640, 1 if quick else 7, options.clock, hidden_size=parameters["hidden_size"]
    )
    figures = {**rounds, "step ratio": ratio(times, "ours", "hand-written"), "is_baseline": model.is_baseline_}
    examples = [[english, german, found] for english, german, found in zip(*test, made, strict=True)][:3]
    save(options, {**figures, "examples": examples, "n_iter": model.n_iter_})


def report(results) -> str:
    """BLEU of all, the time, and three translations."""
    columns = {
        "BLEU": ("bleu", 1),
        "fit, wall s": ("fit_wall", 0),
        "fit, processor s": ("fit_processor", 0),
        "1000 captions, processor s": ("predict_processor", 0),
    }
    if results is None:
        return table(["translation", *columns], [])
    figures = results["figures"]
    step = fixed(figures["step ratio"], 3)
    lines = [
        figures_table("translation", figures["bleu"], columns),
        f"Epochs: {figures['n_iter']}. Time per step over that of a hand-written loop: {step}.",
        table(["English", "reference", "ours, beam 4"], figures["examples"]),
    ]
    return "\n\n".join(lines)


def parser():
    """Options of this script."""
    parser = arguments(__doc__, TARGETS)
    parser.add_argument("--epochs", type=int, default=9, help="epochs (default 9: below 20 minutes of one core)")
    parser.add_argument("--rows", type=int, default=None, help="training pairs (default: all)")
    parser.add_argument("--subwords", type=int, default=4000, help="tokens of each language (default 4000)")
    parser.add_argument("--hidden-size", type=int, default=256, help="units (default 256)")
    parser.add_argument("--learning-rate", type=float, default=0.004, help="size of the steps (default 0.004)")
    parser.add_argument("--dropout", type=float, default=0.2, help="share of dropped cells (default 0.2)")
    parser.add_argument("--cell", default="gru", choices=["gru", "lstm", "transformer"])
    parser.add_argument("--validate", action="store_true", help="captions of the validation split; not stored")
    return parser


if __name__ == "__main__":
    run(parser().parse_args())
