"""Files by strangers: opened as what they say, or refused by ``ValueError``; nothing runs, is written or allocated."""

import copy
import os
import random
import socket
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save as to_bytes

from sk_autoenc import AutoencoderTransformer, VAETransformer, load, persistence, save
from tests.hostile_files import ROWS, Content, all_named, changed, content_of, examples_of_files, outcome, random_file

KINDS = (
    "autoencoder", "vae", "aae", "images", "tokens", "series", "categories", "gan", "conditional_gan",
    "text_gan", "classifier", "few_values", "vae_classifier", "aae_classifier", "detector", "detector_of_clones",
    "imputer", "imputer_of_frames", "recommender", "regressor", "image_regressor", "segmenter", "translator",
    "cycle_gan", "gan_of_table",
    "table", "vae_of_table", "vocabulary", "pipeline",
)  # fmt: skip


@pytest.fixture(scope="module")
def examples():
    return examples_of_files()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file"


@pytest.mark.parametrize("kind", KINDS)
def test_valid_files_open(kind, examples, path):
    assert outcome(examples[kind], path) == "opened"


@pytest.mark.parametrize("kind", KINDS[:-1])  # of a Pipeline, tests/test_composites.py tells
def test_every_field_is_needed(kind, examples, path):
    for name in examples[kind].config["state"]:
        content = examples[kind].copy()
        del content.config["state"][name]
        content.write(path)
        with pytest.raises(ValueError, match=f"lacks '{name}'"):
            load(path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("part", range(4))
def test_what_is_hostile_is_refused_or_opens_as_what_it_says(kind, part, examples, path):
    """Some of the named files each time the tests run; all of them are in reach of ``make fuzz``."""
    named = list(all_named(examples[kind]))
    assert len(named) > 150
    chosen = random.Random(f"{kind} {part}").sample(named, 25)
    for _, content in chosen:
        outcome(content, path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_random_edits_with_a_right_checksum(kind, seed, examples, path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # devices that are not here
        for number in range(15):
            outcome(random_file(examples[kind], random.Random(f"test {seed} {number}")), path)


@pytest.mark.parametrize(
    ("where", "value", "said"),
    [
        (("state", "transform"), 5, "'transform'"),
        (("state", "__class__"), 5, "'__class__'"),
        (("state", "_parameter_constraints"), {"dict": {}}, "_parameter_constraints"),
        (("state", "n_features_in_"), 5, "n_features_in_ is 5"),
        (("state", "n_features_in_"), True, r"n_features_in_ must be an integer .*got True"),
        (("state", "device_"), "/dev/null", "device_"),
        (("state", "_parameters"), 5, "_parameters must be a AutoencoderTransformer, got 5"),
        (("state", "_parameters", "params", "batch_size"), 0, "'batch_size'"),
        (("state", "_parameters", "params", "architecture"), {"tuple": [0]}, "hidden_layer_sizes"),
        (("state", "_parameters", "params", "architecture"), {"tuple": [7]}, r"weights.*\(6, 4\).*\(7, 4\)"),
        (("state", "_parameters", "params", "callbacks"), {"list": [1]}, "callbacks cannot be stored"),
        (("state", "_parameters", "params", "likelihood"), "poisson", "likelihood='poisson' in the fit"),
        (("state", "loss_curve_"), {"list": ["a"]}, "loss_curve_ must be a list of numbers"),
        (("class",), "os", "'os', which is none"),
        (("class",), "VAETransformer", "VAETransformer has 'contraction'"),
    ],
)
def test_messages_name_what_is_wrong(where, value, said, examples, path):
    changed(examples["autoencoder"], where, value).write(path)
    with pytest.raises(ValueError, match=said):
        load(path)


@pytest.mark.parametrize(
    ("kind", "name", "said"),
    [
        ("autoencoder", "an_array_too_many", "'more', which belongs nowhere"),
        ("autoencoder", "nested_values_40", "levels deep"),
        ("autoencoder", "nested_lists_100000", "nested too deep"),
        ("autoencoder", "config_twice", "'class' stands twice"),
        ("autoencoder", "state._seed_is_beyond_64_bits", "64 bits"),
        ("autoencoder", "huge_n_components", "n_components=1000000000, but the file has"),
        ("autoencoder", "huge_many_layers", "20001 layers"),
        ("autoencoder", "huge_wide", "weights lack .decoder.nonlinear.4.bias"),
        ("autoencoder", "huge_dilation", "dilation=1000000000 is more than"),
        ("autoencoder", "huge_rows", "cells"),
        ("autoencoder", "runs_text_for_optimizer", "must be a number"),
        ("autoencoder", "state.device_is_text", "device must be a string like"),
        ("autoencoder", "state.architecture.tuple.0_is_zero", "hidden_layer_sizes must have integers"),
        ("autoencoder", "dropped__data.scaling", "scaling must be there"),
        ("autoencoder", "_data.scaling.center_longer", "scaling is for 5 features"),
        ("vae", "huge_prior", "codes of length 1e.09"),
        ("vae", "huge_covariances", "more than 16777216 numbers"),
        ("categories", "state.likelihood.params.n_categories_is_half", "n_categories must be"),
        ("categories", "state._data.state.likelihood.params.n_categories_is_null", "list of 5 integers after fit"),
        ("images", "state._data.state.shape_is_tuple", "tuple of 1 to 16"),
        ("detector", "state._ensemble.dict.sizes.list.0_is_large", "begins with 1000000000, but rows have 4"),
        ("detector", "_ensemble.weights.weights.0_transposed", "shape"),
        ("detector", "_measure.table_gone", "the array '_measure.table' is not there"),
        ("detector", "_measure.sigma_negative", "above 0"),
        ("detector", "_measure.factors_longer", r"_measure\['factors'\] must have the shape \(2,\)"),
        ("gan", "state.n_components__is_large", "n_components=1000000000, but the file has"),
        ("gan", "_weights.mixture.means_longer", "mixture.means"),
        ("gan", "_data.low_longer", r"low must have the shape \(4,\)"),
        ("gan", "state._data.state.observed_is_list", "observed has 1 columns"),
        ("conditional_gan", "huge_n_components", "codes have 1000000000 numbers"),
        ("conditional_gan", "dropped_state.classes_", "lacks 'classes_'"),
        ("conditional_gan", "_data.counts_empty", "targets, but counts are 0"),
        ("conditional_gan", "state.sampling_strategy.pairs_is_list", "pairs must"),
        ("text_gan", "state.classes_.strings_is_bare_list", "strings must be a list of strings"),
        ("vocabulary", "state.tokens_.objects.0_is_text", "must begin with unknown"),
    ],
)
def test_it_is_said_what_is_wrong(kind, name, said, examples, path):
    named = dict(all_named(examples[kind])) | {"dropped__data.scaling": _unscaled(examples[kind])}
    named[name].write(path)
    with pytest.raises(ValueError, match=said):
        load(path)


def _unscaled(content):
    """Without a scaling, and without its arrays."""
    if content.config["class"] == "Vocabulary" or "_data" not in content.config["state"]:
        return content
    content = changed(content, ("state", "_data"), copy.deepcopy(content.config["state"]["_data"]))
    content.config["state"]["_data"]["state"]["scaling"] = None
    return Content(content.config, {k: v for k, v in content.arrays.items() if not k.startswith("_data.scaling")})


def test_what_reads_rows_is_for_those_of_the_model(examples, path):
    flat = {"tuple": [4]}  # as many cells as the images have
    changed(examples["images"], ("state", "_data", "state", "shape"), flat).write(path)
    with pytest.raises(ValueError, match=r"_data is for rows of shape \(4,\), but input_shape_ is \(1, 2, 2\)"):
        load(path)


@pytest.mark.parametrize("name", ["classes_", "class_weight_"])
def test_a_segmenter_has_the_classes_of_what_reads_its_masks(name, examples, path):
    content = examples["segmenter"].copy()
    content.arrays[name] = content.arrays[name][:1]
    content.write(path)
    with pytest.raises(ValueError, match=f"SegNetSegmenter.{name} must be"):
        load(path)


def test_members_are_for_the_rows_of_their_detector(examples, path):
    content = changed(examples["detector_of_clones"], ("state", "n_features_in_"), 2)
    content = changed(content, ("state", "input_shape_"), {"tuple": [2]})
    Content(content.config, {**content.arrays, "_medians": content.arrays["_medians"][:2]}).write(path)
    with pytest.raises(ValueError, match="a member is for 4 features, but rows have 2"):
        load(path)


def test_a_detector_whose_networks_overflow_still_scores(examples, path):
    """Reconstructions are then NaN, of which no neighbour is the nearest."""
    content, name = examples["detector"], "_ensemble.weights.biases.1"
    huge = np.full_like(content.arrays[name], np.finfo(np.float32).max)
    Content(content.config, {**content.arrays, name: huge}).write(path)
    assert (load(path).score_samples(ROWS) == -np.inf).all()


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda array: array.astype(np.float64), "float64"),
        (lambda array: array.T.copy(), r"\(4, 6\)"),
        (lambda array: array * np.nan, "NaN or infinite"),
        (lambda array: array * np.inf, "NaN or infinite"),
    ],
    ids=("dtype", "shape", "nan", "inf"),
)
def test_weights_are_those_of_the_network_and_finite(made, said, examples, path):
    content, name = examples["autoencoder"], "_weights.encoder.nonlinear.0.weight"
    Content(content.config, {**content.arrays, name: made(content.arrays[name])}).write(path)
    with pytest.raises(ValueError, match=said), np.errstate(invalid="ignore"):
        load(path)


def test_scales_are_positive_and_one_for_each_feature(examples, path):
    content, name = examples["vae"], "_data.scaling.scale"
    for scale in (np.zeros(4), np.ones(3), -np.ones(4), np.full(4, np.nan)):
        Content(content.config, {**content.arrays, name: scale}).write(path)
        with pytest.raises(ValueError, match="scale"):
            load(path)


def _with(path, dtype, n_bytes):
    """A file by hand, with a dtype that NumPy has not."""
    head = f'{{"a":{{"dtype":"{dtype}","shape":[2],"data_offsets":[0,{n_bytes}]}}}}'.encode()
    path.write_bytes(len(head).to_bytes(8, "little") + head + bytes(n_bytes))


@pytest.mark.parametrize(("dtype", "n_bytes"), [("BF16", 4), ("F8_E4M3", 2), ("F8_E5M2", 2), ("F4", 1)])
def test_dtypes_that_numpy_lacks_are_refused(dtype, n_bytes, path):
    _with(path, dtype, n_bytes)
    with pytest.raises(ValueError, match=dtype):
        load(path)


def test_only_regular_files_are_opened(tmp_path):
    """A pipe without a writer would be waited for."""
    os.mkfifo(tmp_path / "pipe")
    server = socket.socket(socket.AF_UNIX)
    server.bind(os.path.relpath(tmp_path / "socket"))
    for target in (tmp_path / "pipe", tmp_path, Path("/dev/zero"), tmp_path / "socket"):
        with pytest.raises(ValueError, match="no regular file"):
            load(target)
    server.close()


@pytest.mark.parametrize("what", ["name", "dtype", "shape", "content", "order"])
def test_the_checksum_is_one_of_names_dtypes_shapes_and_contents(what, examples, path):
    """Each is changed alone, with the bytes as they were, and the checksum of before."""
    content = examples["autoencoder"]
    first, *_, last = sorted(content.arrays)
    array = content.arrays[last]
    arrays = {
        "name": {(f"{name}0" if name == last else name): value for name, value in content.arrays.items()},
        "dtype": {**content.arrays, last: array.view(np.int32)},
        "shape": {**content.arrays, last: array.reshape(1, *array.shape)},
        "content": {**content.arrays, last: array + 1},
        "order": {**content.arrays, first: content.arrays[last], last: content.arrays[first]},
    }[what]
    content.write(path)
    metadata, _ = persistence._read(path)
    path.write_bytes(to_bytes(arrays, metadata=metadata))
    with pytest.raises(ValueError, match="checksum does not fit"):
        load(path)


def test_a_compiled_model_opens_uncompiled(path):
    net_params = {"compile": False, "compile__mode": "default", "optimizer__betas": (0.8, 0.9)}
    model = AutoencoderTransformer(1, architecture=(4,), max_iter=1, net_params=net_params).fit(ROWS)
    save(model, path)
    assert load(path).net_params == load(path)._parameters.net_params == {"optimizer__betas": (0.8, 0.9)}
    assert "compile" not in persistence._read(path)[0]["config"]


class VAE(VAETransformer):
    """Derived, with another name."""


def test_derived_classes_are_refused_whatever_their_name(path):
    def fit_like_a_stranger(kind):
        return kind(1, architecture=(4,), max_iter=1).fit(ROWS)

    same_name = type("AutoencoderTransformer", (AutoencoderTransformer,), {})
    for kind in (VAE, same_name):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = fit_like_a_stranger(kind)
        with pytest.raises(ValueError, match="of no derived class"):
            save(model, path)
        assert not path.exists()


def test_an_attribute_of_the_user_is_refused(path):
    model = AutoencoderTransformer(1, architecture=(4,), max_iter=1).fit(ROWS)
    model.note_ = "mine"
    with pytest.raises(ValueError, match="'note_'"):
        save(model, path)


#: Runs in a process that may have 300 MB more than what it has once all is imported, and is told what it does.
STRANGER = """
import os, resource, sys, time, warnings
from pathlib import Path
from tests import hostile_files
from sk_autoenc import load

warnings.simplefilter("ignore")
folder, script = Path(sys.argv[1]), sys.argv[2]
contents = hostile_files.examples_of_files()
files = {}
for kind in ("autoencoder", "vae", "aae"):
    for generate in (hostile_files.huge, lambda content: hostile_files.executing(content, script)):
        for name, content in generate(contents[kind]):
            files[f"{kind}_{name}"] = content
    if kind == "autoencoder":
        files |= dict(hostile_files.hostile_configs(contents[kind]))
for name, content in files.items():
    content.write(folder / name)
contents["autoencoder"].write(folder / "valid")
load(folder / "valid").transform(hostile_files.ROWS)

there = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (there + 300 * 2**20,) * 2)
done = []

def watch(event, args):
    if event in ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.fork", "ctypes.dlopen"):
        done.append(event)
    if event.startswith(("socket.", "os.rename", "os.remove", "os.mkdir")):
        done.append(event)
    if event == "open" and isinstance(args[2], int) and args[2] & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
        done.append(f"open {args[0]}")

sys.addaudithook(watch)
for name in files:
    start = time.process_time()
    try:
        opened = load(folder / name)
        assert "runs_" in name, f"{name} has been opened"
        opened.reconstruct(hostile_files.ROWS)
    except ValueError:
        pass
    took = time.process_time() - start
    assert took < 1.5, f"{name} took {took:.1f} s"
    assert not done, f"{name} did {done}"
print(len(files), "files")
"""


def test_nothing_runs_is_written_or_allocated(tmp_path):
    """Not for any file that asks for it, in a process with little memory."""
    script = tmp_path / "compiler"
    script.write_text(f"#!/bin/sh\ntouch {tmp_path / 'it_ran'}\n")
    script.chmod(0o755)
    (tmp_path / "files").mkdir()
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(STRANGER), str(tmp_path / "files"), str(script)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        timeout=300,
        cwd=Path(__file__).parents[1],
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert int(ran.stdout.split()[-2]) > 60
    assert not (tmp_path / "it_ran").exists()
    assert sorted(item.name for item in tmp_path.iterdir()) == ["compiler", "files"]


def test_what_a_file_cannot_hold_is_not_written(path):
    """A file that ``load`` would refuse for its size, or for a value, is refused by ``save``."""
    model = AutoencoderTransformer(1, architecture=(4,), max_iter=1).fit(ROWS)
    with pytest.raises(ValueError, match="n_components"):
        save(model.set_params(n_components=-1), path)
    assert not path.exists()
    assert content_of(model.set_params(n_components=1)).config["class"] == "AutoencoderTransformer"
