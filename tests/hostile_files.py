"""Hostile files: what a stranger may write, with the checksum made right, beside what ``save`` writes.

``python -m tests.hostile_files 5000`` (``make fuzz``) loads as many random ones for every estimator of
``examples_of_files`` and prints how many were refused, how many opened, and what else happened.
"""

import copy
import json
import math
import random
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from safetensors.numpy import save_file
from sklearn.base import BaseEstimator
from sklearn.frozen import FrozenEstimator
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sk_autoenc import (
    MLP,
    AAEClassifier,
    AAETransformer,
    AutoencoderImputer,
    AutoencoderRecommender,
    AutoencoderTransformer,
    Categorical,
    ConditionalGANSampler,
    Convolutional,
    CycleGANTransformer,
    EncoderDecoderRegressor,
    GANSampler,
    GaussianMixturePrior,
    PretrainedClassifier,
    PretrainedRegressor,
    ReconstructionOutlierDetector,
    Recurrent,
    SegNetSegmenter,
    SequenceTranslator,
    TabularSampler,
    VAEClassifier,
    VAETransformer,
    Vocabulary,
    load,
    persistence,
    save,
)

ROWS = np.random.default_rng(0).standard_normal((40, 4))
FRAME = pd.DataFrame({"x": ROWS[:, 0], "c": np.where(ROWS[:, 1] > 0, "a", "b"), "b": ROWS[:, 2] > 0})


class Content(NamedTuple):
    """What a file holds."""

    config: Any
    arrays: dict[str, np.ndarray]

    def copy(self) -> "Content":
        return Content(copy.deepcopy(self.config), dict(self.arrays))

    def write(self, path: Path) -> None:
        """As ``save`` would, with a right checksum; a config that is a string is written as it is."""
        text = self.config if isinstance(self.config, str) else json.dumps(self.config)
        arrays = {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in self.arrays.items()}
        checksum = persistence._checksum(text, arrays)
        save_file(arrays, path, metadata={"format": persistence._FORMAT, "config": text, "sha256": checksum})


def content_of(estimator: Any) -> Content:
    """What ``save`` writes of a fitted estimator."""
    with tempfile.TemporaryDirectory() as folder:
        save(estimator, Path(folder) / "file")
        metadata, arrays = persistence._read(Path(folder) / "file")
    return Content(json.loads(metadata["config"]), arrays)


def examples_of_files() -> dict[str, Content]:
    """A valid file of each kind."""
    cheap = {"architecture": (6,), "max_iter": 2, "random_state": 0, "device": "cpu"}
    tokens = np.random.default_rng(0).integers(0, 3, (40, 5)).astype(float)
    tokens[:5, 3:] = np.nan
    series = Recurrent(3, unequal_lengths=True)
    models = {
        "autoencoder": (AutoencoderTransformer(**cheap, net_params={"optimizer__betas": (0.8, 0.9)}), ROWS),
        "vae": (VAETransformer(**cheap, n_score_samples=4, prior="gaussian_mixture"), ROWS),
        "aae": (AAETransformer(**cheap, critic=(4,), prior=GaussianMixturePrior.pinwheel(3)), ROWS),
        "images": (AutoencoderTransformer(**{**cheap, "architecture": Convolutional((2,))}), ROWS.reshape(-1, 1, 2, 2)),
        "tokens": (VAETransformer(1, **{**cheap, "architecture": series}, likelihood="categorical"), tokens),
        "series": (VAETransformer(1, **{**cheap, "architecture": series}), tokens),
        "categories": (
            AAETransformer(**cheap, likelihood=Categorical([3] * 5), critic=MLP((4,))),
            np.nan_to_num(tokens),
        ),
        "gan": (GANSampler(**cheap, init="mixture", critic=(4,)), ROWS),
        "conditional_gan": (
            ConditionalGANSampler(**cheap, critic=Convolutional((2,), input_shape=(1, 4)), sampling_strategy={1: 30}),
            ROWS,
            np.arange(40) % 3,
        ),
        "gan_of_table": (ConditionalGANSampler(**cheap), FRAME.dropna(), np.arange(len(FRAME.dropna())) % 2),
        "text_gan": (ConditionalGANSampler(**cheap), ROWS, np.array(["a", "bc"])[np.arange(40) % 2]),
        "classifier": (
            PretrainedClassifier(AutoencoderTransformer(**cheap), max_iter=1, random_state=0, device="cpu"),
            ROWS,
            np.array(["a", "bc", None], dtype=object)[np.arange(40) % 3],
        ),
        "few_values": (
            PretrainedRegressor(
                FrozenEstimator(VAETransformer(**cheap, early_stopping=False).fit(ROWS)),
                max_iter=1,
                early_stopping=False,
                device="cpu",
            ),
            ROWS,
            np.where(np.arange(40) % 2, ROWS[:, 0], np.nan),
        ),
        "vae_classifier": (VAEClassifier(2, **cheap), ROWS, np.arange(40) % 3 - 1),
        "aae_classifier": (AAEClassifier(2, **cheap, critic=(4,), early_stopping=False), ROWS, np.arange(40) % 3),
        "detector": (ReconstructionOutlierDetector(n_steps=2, n_estimators=2, random_state=0), ROWS),
        "detector_of_clones": (
            ReconstructionOutlierDetector(AutoencoderTransformer(**cheap), n_estimators=2, residual="latent"),
            ROWS,
        ),
        "imputer": (AutoencoderImputer(**cheap, add_indicator=True), np.where(ROWS > 1, np.nan, ROWS)),
        "imputer_of_frames": (AutoencoderImputer(**cheap), FRAME),
        "cycle_gan": (CycleGANTransformer(**cheap, critic=(4,)), ROWS, ROWS[:30, :3]),
        "recommender": (AutoencoderRecommender(2, **cheap, threshold=1.0), np.abs(ROWS) * 2),
        "translator": (
            SequenceTranslator(Vocabulary(), hidden_size=4, max_iter=1, device="cpu"),
            ["ab", "c"],
            ["B", "A"],
        ),
        "regressor": (EncoderDecoderRegressor(**cheap, critic=(4,)), ROWS, ROWS[:, :2]),
        "image_regressor": (
            EncoderDecoderRegressor(**{**cheap, "architecture": Convolutional((2,))}, baseline="filter"),
            ROWS.reshape(-1, 1, 2, 2),
            ROWS.reshape(-1, 1, 2, 2),
        ),
        "segmenter": (
            SegNetSegmenter((2,), stem=1, max_iter=2, random_state=0, device="cpu", void_label=0.0),
            ROWS.reshape(-1, 1, 2, 2),
            np.arange(160).reshape(-1, 2, 2) % 3,
        ),
        "table": (TabularSampler(**cheap), FRAME),
        "vae_of_table": (VAETransformer(1, **cheap, n_score_samples=4), FRAME),
        "vocabulary": (Vocabulary(unknown="?"), ["ab", "c"]),
        "pipeline": (make_pipeline(StandardScaler(), AutoencoderTransformer(**cheap, early_stopping=False)), ROWS),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # hardly trained
        return {name: content_of(model.fit(*given)) for name, (model, *given) in models.items()}


# -- places in a file

Path_ = tuple[Any, ...]


def places(value: Any, path: Path_ = ()) -> Iterator[Path_]:
    """Where values stand in a config."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield from places(item, (*path, key))


def get(config: Any, path: Path_) -> Any:
    """The value at a place."""
    for key in path:
        config = config[key]
    return config


def changed(content: Content, path: Path_, value: Any) -> Content:
    """With another value at a place."""
    return content._replace(config=_replaced(content.config, path, value))


def _replaced(config: Any, path: Path_, value: Any) -> Any:
    """With another value at a place; copied along the way to it, and not elsewhere."""
    if not path:
        return value
    key, *others = path
    found = copy.copy(config)
    found[key] = _replaced(config[key], tuple(others), value) if others else value
    return found


def dropped(content: Content, path: Path_) -> Content:
    """Without what stands at a place, and without its array."""
    owner, gone = copy.copy(get(content.config, path[:-1])), get(content.config, path)
    del owner[path[-1]]
    gone = gone["array"] if isinstance(gone, dict) and set(gone) == {"array"} else None
    arrays = {name: array for name, array in content.arrays.items() if name != gone}
    return Content(_replaced(content.config, path[:-1], owner), arrays)


# -- what a stranger may do, by name

#: Values of every type, some of them extreme.
VALUES: dict[str, Any] = {
    "null": None,
    "true": True,
    "zero": 0,
    "minus": -1,
    "half": 0.5,
    "nan": math.nan,
    "infinity": math.inf,
    "large": 10**9,
    "beyond_64_bits": 2**70,
    "beyond_floats": 10**400,
    "empty_text": "",
    "text": "__class__",
    "path": "/etc/passwd",
    "list": {"list": [1]},
    "tuple": {"tuple": []},
    "objects": {"objects": ["a", 1]},
    "dict": {"dict": {"__class__": 1}},
    "bare_list": [1, 2],
    "bare_dict": {"a": 1, "b": 2},
    "no_array": {"array": "nothing"},
    "mlp": {"class": "MLP", "params": {}},
    "foreign_class": {"class": "os.system", "params": {"command": "true"}},
    "foreign_form": {"class": "Scaling", "params": {}},
    "unknown_kind": {"pickle": "gASVCg=="},
    "surrogate": "\ud800",
}

#: Names that a state must not have.
NAMES = (
    "transform", "fit", "__class__", "__dict__", "__init__", "__getstate__", "__setstate__", "_parameter_constraints",
    "_get_param_names", "_make_plan", "_plan_for_loading", "net_", "coef_", "_ensemble_", "", "a.b", "sk_autoenc",
)  # fmt: skip


def hostile_configs(content: Content) -> Iterator[tuple[str, Content]]:
    """Configs that are none, whatever the file."""
    for depth in (40, 2_000, 100_000):
        yield f"nested_lists_{depth}", content._replace(config="[" * depth + "]" * depth)
        nested = '{"list": [' * depth + "]}" * depth
        yield (
            f"nested_values_{depth}",
            content._replace(config=json.dumps(content.config)[:-2] + f', "a": {nested}}}}}'),
        )
    for name, text in {
        "no_json": "{", "empty": "", "digits": "1" * 5000, "many_brackets": "[" + "[]," * 2**20 + "[]]",
        "long": '"' + "a" * (2**25) + '"', "twice": '{"class": "MLP", "class": "Vocabulary", "state": {}}',
        "number": "1", "null": "null", "list": "[]", "no_state": '{"class": "Vocabulary"}',
        "empty_state": '{"class": "Vocabulary", "state": {}}', "state_list": '{"class": "Vocabulary", "state": []}',
        "class_of_list": '{"class": [], "state": {}}', "by_params": '{"class": "Vocabulary", "params": {}}',
        "no_estimator": '{"class": "Scaling", "state": {"center": 0, "scale": 1}}',
        "abstract": '{"class": "Likelihood", "state": {}}', "function": '{"class": "load", "state": {}}',
    }.items():  # fmt: skip
        yield f"config_{name}", content._replace(config=text)


def hostile_fields(content: Content) -> Iterator[tuple[str, Content]]:
    """Every field dropped, and made each of :data:`VALUES`; names that a state has not."""
    for path in places(content.config):
        if path:
            where = ".".join(map(str, path))
            yield f"dropped_{where}", dropped(content, path)
            for name, value in VALUES.items():
                yield f"{where}_is_{name}", changed(content, path, value)
    states = [path for path in places(content.config) if path and path[-1] in ("state", "params", "dict")]
    for path in states:
        for name in NAMES:
            yield f"named_{'.'.join(map(str, path))}.{name}", changed(content, (*path, name), 5)


def hostile_arrays(content: Content) -> Iterator[tuple[str, Content]]:
    """Arrays of other shapes, dtypes and values, some too many, too few, or in two places."""
    for name, array in content.arrays.items():
        for what, made in _changed_arrays(array).items():
            yield f"{name}_{what}", Content(content.config, {**content.arrays, name: made})
        yield f"{name}_gone", Content(content.config, {k: v for k, v in content.arrays.items() if k != name})
        renamed = {(f"{k}x" if k == name else k): v for k, v in content.arrays.items()}
        yield f"{name}_renamed", Content(content.config, renamed)
    yield "an_array_too_many", Content(content.config, {**content.arrays, "more": np.zeros(2)})


def _changed_arrays(array: np.ndarray) -> dict[str, np.ndarray]:
    made = {
        "longer": np.concatenate([array.reshape(-1), array.reshape(-1)[:1]]),
        "with_an_axis": array[None],
        "empty": array.reshape(-1)[:0],
        "transposed": np.ascontiguousarray(array.T) if array.ndim > 1 else array.reshape(-1, 1),
        "float16": array.astype(np.float16),
        "int8": array.astype(np.int8),
        "bool": array.astype(bool),
        "other_float": array.astype(np.float64 if array.dtype == np.float32 else np.float32),
        "scalar": np.zeros((), array.dtype),
    }
    if array.dtype.kind == "f" and array.size:
        for name, value in (("nan", np.nan), ("inf", np.inf)):
            made[name] = array.copy()
            made[name].reshape(-1)[-1] = value
        made |= {"negative": -np.abs(array) - 1, "huge": np.full_like(array, np.finfo(array.dtype).max)}
    return made


def huge(content: Content) -> Iterator[tuple[str, Content]]:
    """Files that ask for much more memory or time than they have bytes; only for estimators with a net."""
    then: Path_ = ("state", "_parameters", "params")
    wide = {"tuple": [200_000, 200_000]}
    edits: dict[str, dict[Path_, Any]] = {
        "n_components": {(*then, "n_components"): 10**9},
        "wide": {(*then, "architecture"): wide},
        "many_layers": {(*then, "architecture"): {"tuple": [1] * 20_000}},
        "many_stages": {(*then, "architecture"): _architecture("Convolutional", channels={"tuple": [1] * 20_000})},
        "recurrent_layers": {(*then, "architecture"): _architecture("Recurrent", num_layers=20_000)},
        "recurrent_wide": {(*then, "architecture"): _architecture("Recurrent", hidden_size=10**6)},
        "kernel": {(*then, "architecture"): _architecture("Convolutional", kernel_size=10**9 + 1)},
        "dilation": {(*then, "architecture"): _architecture("Convolutional", dilation=10**9)},
        "overflow": {(*then, "architecture"): {"tuple": [2**40, 2**40, 2**40]}},
        "rows": {
            ("state", "n_features_in_"): 10**12,
            ("state", "input_shape_"): {"tuple": [10**12]},
            ("state", "_data", "state", "shape"): {"tuple": [10**12]},
        },
        "categories": {
            (*then, "likelihood"): _categorical(10**10),
            ("state", "_data", "state", "likelihood"): _categorical({"list": [10**10] * 4}),
            ("state", "_data", "state", "scaling"): None,
        },
    }
    if "prior" in get(content.config, then):
        normal = {"class": "NormalPrior", "params": {"scale": 1.0, "n_components": 10**9}}
        edits["prior"] = {(*then, "prior"): normal}
        edits["fitted_prior"] = {("state", "prior_"): normal}
        means = {"list": [{"list": [0.0] * 100_000}]}
        mixture = {"class": "GaussianMixturePrior", "params": {"means": means, "covariances": 1.0, "weights": None}}
        edits["covariances"] = {(*then, "prior"): mixture}
    for name, values in edits.items():
        found = content
        for path, value in values.items():
            found = changed(found, path, value)
        used = json.dumps(found.config)
        yield f"huge_{name}", Content(found.config, {k: v for k, v in found.arrays.items() if json.dumps(k) in used})


def _architecture(name: str, **params: Any) -> dict[str, Any]:
    made = {"Convolutional": Convolutional, "Recurrent": Recurrent}[name]()
    plain = {key: {"tuple": list(v)} if isinstance(v, tuple) else v for key, v in made.get_params(deep=False).items()}
    return {"class": name, "params": {**plain, **params}}


def _categorical(n_categories: Any) -> dict[str, Any]:
    return {"class": "Categorical", "params": {"n_categories": n_categories}}


def executing(content: Content, script: str) -> Iterator[tuple[str, Content]]:
    """Files that would have a compiler run a script, or something written; they may open, but must not do it."""
    for name, net_params in {
        "compiler": {"compile": True, "compile__options": {"dict": {"cpp.cxx": {"tuple": [script]}}}},
        "debug_folder": {"compile": True, "compile__options": {"dict": {"trace.enabled": True}}},
        "backend": {"compile": True, "compile__backend": script},
        "late": {"compile": 1, "compile__mode": "max-autotune"},
        "text_for_optimizer": {"optimizer__betas": script},
        "module": {"module": script},
        "nested": {"optimizer__a__b": 1},
    }.items():
        found = changed(content, ("state", "net_params"), {"dict": net_params})
        yield f"runs_{name}", changed(found, ("state", "_parameters", "params", "net_params"), {"dict": net_params})


def all_named(content: Content) -> Iterator[tuple[str, Content]]:
    """Every hostile file of this content that has a name."""
    for generate in (hostile_configs, hostile_fields, hostile_arrays):
        yield from generate(content)
    if "_parameters" in content.config.get("state", {}):
        yield from huge(content)
        yield from executing(content, "/nonexistent/program")


# -- random ones


def random_file(content: Content, rng: random.Random) -> Content:
    """One to three random edits of a valid file: of values, names, arrays, or bytes of its config."""
    for _ in range(rng.randint(1, 3)):
        edit: Callable[[Content, random.Random], Content] = rng.choice(
            (_other_value, _other_value, _other_value, _moved, _without, _other_array, _other_text, _other_name)
        )
        if isinstance(content.config, str):
            break
        content = edit(content, rng)
    return content


def _some_place(content: Content, rng: random.Random) -> Path_:
    return rng.choice([path for path in places(content.config) if path] or [()])


def _other_value(content: Content, rng: random.Random) -> Content:
    path = _some_place(content, rng)
    value = get(content.config, path)
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**64
    if is_number and rng.random() < 0.7:
        others = [value * factor for factor in (-1, 0, 1, 2, 3, 0.5, 1e-9, 10**6, 10**12)]
        return changed(content, path, rng.choice((value + 1, value - 1, float(value), *others)))
    return changed(content, path, rng.choice(list(VALUES.values())))


def _moved(content: Content, rng: random.Random) -> Content:
    """What stands at one place also stands at another."""
    value = copy.deepcopy(get(content.config, _some_place(content, rng)))
    return changed(content, _some_place(content, rng), value)


def _without(content: Content, rng: random.Random) -> Content:
    path = _some_place(content, rng)
    content = content.copy()
    if path:
        del get(content.config, path[:-1])[path[-1]]
    return content


def _other_array(content: Content, rng: random.Random) -> Content:
    if not content.arrays:
        return content
    name = rng.choice(sorted(content.arrays))
    made = rng.choice(list(_changed_arrays(content.arrays[name]).values()))
    return Content(content.config, {**content.arrays, name: made})


def _other_text(content: Content, rng: random.Random) -> Content:
    """Characters of the JSON changed, dropped or repeated."""
    text = json.dumps(content.config)
    start = rng.randrange(len(text))
    end = min(len(text), start + rng.randint(0, 8))
    piece = rng.choice(("", text[start:end] * 2, rng.choice('[]{},:"\\019-eEnNtI'), '"\\u0000"', "1e400", "-0"))
    text = text[:start] + piece + text[end:]
    try:
        return content._replace(config=json.loads(text))
    except ValueError:
        return content._replace(config=text)


def _other_name(content: Content, rng: random.Random) -> Content:
    path = _some_place(content, rng)
    if not path or not isinstance(path[-1], str):
        return content
    content = content.copy()
    owner = get(content.config, path[:-1])
    owner[rng.choice((*NAMES, *owner))] = owner.pop(path[-1])
    return content


# -- what must come of it


def outcome(content: Content, path: Path) -> str:
    """``"refused"``, or ``"opened"`` as what the file says; anything else raises ``AssertionError``."""
    content.write(path)
    try:
        opened = load(path)
    except ValueError as error:
        if str(path) not in str(error):
            raise AssertionError(f"the message does not name the file: {error}") from error
        return "refused"
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}") from error
    if "composite" in content.config:  # of scikit-learn's objects, types are checked, and not what they hold
        assert isinstance(opened, BaseEstimator)
        return "opened"
    _use(opened)
    again = content_of(opened)
    assert _comparable(again.config) == _comparable(content.config), "it opens as something else"
    assert again.arrays.keys() == content.arrays.keys(), "its arrays are others"
    for name, array in again.arrays.items():
        np.testing.assert_array_equal(array, content.arrays[name])
    return "opened"


def _use(opened: Any) -> None:
    """What opens can be used, or says by ``ValueError`` why not."""
    reads_strings = isinstance(opened, Vocabulary | SequenceTranslator)
    rows: Any = ["ab"] if reads_strings else np.ones((3, opened.n_features_in_))
    if hasattr(opened, "columns_"):
        rows = FRAME.mask(ROWS[:, :3] > 0.5)
    only_draws = hasattr(opened, "latent_") or isinstance(opened, TabularSampler)
    calls = {"sample": 3} if only_draws else dict.fromkeys(("transform", "predict", "score_items"), rows)
    for method, argument in calls.items():
        if hasattr(opened, method):
            try:
                with np.errstate(all="ignore"):
                    getattr(opened, method)(argument)
            except ValueError:
                pass
            except Exception as error:
                raise AssertionError(f"{method}: {type(error).__name__}: {error}") from error


def _comparable(config: Any) -> str:
    """The config as text, without the choices that ``load`` takes out of a file."""
    config = json.loads(config) if isinstance(config, str) else copy.deepcopy(config)
    for path in [path for path in places(config) if path and path[-1] in ("net_params", "sha256")]:
        get(config, path[:-1])[path[-1]] = None
    return json.dumps(config, sort_keys=True)


def fuzz(content: Content, n_files: int, seed: int = 0) -> Counter[str]:
    """How many of so many random files were refused, opened, or neither, with the first failures."""
    found: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # devices that are not here
        for number in range(n_files):
            made = random_file(content, random.Random(f"{seed} {number}"))
            try:
                found[outcome(made, Path(folder) / "file")] += 1
            except AssertionError as error:
                found[f"{error!s:.200} (seed {seed} {number})"] += 1
    return found


def main(n_files: int) -> int:
    """Fuzz every kind of file; returns the number of failures."""
    n_failures = 0
    for name, content in examples_of_files().items():
        start, found = time.perf_counter(), fuzz(content, n_files)
        failures = {what: n for what, n in found.items() if what not in ("refused", "opened")}
        n_failures += sum(failures.values())
        print(  # noqa: T201 - what make fuzz is for
            f"{name:20} refused {found['refused']:5}  opened {found['opened']:5}  failures {sum(failures.values()):3}  "
            f"{time.perf_counter() - start:.0f} s",
            flush=True,
        )
        for what in failures:
            print("    ", what)  # noqa: T201
    return n_failures


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]) if len(sys.argv) > 1 else 5000) > 0)
