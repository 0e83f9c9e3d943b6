"""Pipelines and searches in files: bit-equal, only what skops trusts, and hostile files refused by ``ValueError``."""

import io
import json

import numpy as np
import pytest
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.feature_selection import SelectKBest
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, RidgeClassifier
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler
from skops.io._protocol import PROTOCOL

from sk_autoenc import (
    MLP,
    AutoencoderTransformer,
    ReconstructionOutlierDetector,
    VAETransformer,
    Vocabulary,
    load,
    save,
)
from tests.hostile_files import Content, changed, content_of, get, places

X, codes = load_iris(return_X_y=True)
y = np.array(["setosa", "versicolor", "virginica"])[codes]
CHEAP = {"architecture": (4,), "max_iter": 2, "random_state": 0, "device": "cpu"}
OURS = AutoencoderTransformer(2, **CHEAP, early_stopping=False)
STEP = "autoencodertransformer"
COMPOSITES = {
    "pipeline": make_pipeline(SimpleImputer(), StandardScaler(), OURS, LogisticRegression()),
    "columns": make_column_transformer((OURS, slice(0, 3)), (OneHotEncoder(handle_unknown="ignore"), [3])),
    "union": make_union(OURS, SelectKBest(k=1)),
    "detector": make_pipeline(StandardScaler(), ReconstructionOutlierDetector(n_steps=2, random_state=0)),
    "search": GridSearchCV(
        make_pipeline(StandardScaler(), OURS), {f"{STEP}__architecture": [(3,), MLP((4,))]}, cv=2, refit=True
    ),
    "search over models": GridSearchCV(
        make_pipeline(OURS, LogisticRegression()),
        {STEP: [OURS, VAETransformer(1, **CHEAP, early_stopping=False)]},
        cv=2,
    ),
    "votes": VotingClassifier([("ours", make_pipeline(OURS, LogisticRegression())), ("theirs", RidgeClassifier())]),
}


def _results(model):
    for method in ("predict_proba", "transform", "score_samples"):
        if hasattr(model, method):
            found = getattr(model, method)(X)
            yield found.toarray() if hasattr(found, "toarray") else found


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", COMPOSITES)
def test_what_comes_back_is_what_was_saved(name, tmp_path):
    saved = COMPOSITES[name].fit(X, y)
    save(saved, tmp_path / "model")
    opened = load(tmp_path / "model")
    assert repr(opened) == repr(saved)
    for found, expected in zip(_results(opened), _results(saved), strict=True):
        np.testing.assert_array_equal(found, expected)
    if name.startswith("search"):
        assert opened.best_params_.keys() == saved.best_params_.keys()
        np.testing.assert_array_equal(opened.cv_results_["mean_test_score"], saved.cv_results_["mean_test_score"])
        assert repr(opened.cv_results_["params"]) == repr(saved.cv_results_["params"])
    opened.fit(X, y)


def test_words_and_data_frames_and_one_model_in_two_places(tmp_path):
    words = ["a deep network", "a wide network", "deep and wide", "a tree"] * 3
    pipeline = make_pipeline(TfidfVectorizer(), OURS).fit(words)
    np.testing.assert_array_equal(_back(pipeline, tmp_path).transform(words), pipeline.transform(words))
    framed = make_pipeline(StandardScaler(), OURS).set_output(transform="pandas").fit(X)
    assert list(_back(framed, tmp_path).transform(X).columns) == list(framed.transform(X).columns)
    opened = _back(COMPOSITES["votes"].fit(X, y), tmp_path)
    assert opened.estimators_[0][0] is opened.named_estimators_["ours"][0]


def _back(model, folder):
    save(model, folder / "model")
    return load(folder / "model")


def test_what_a_running_program_keeps_is_left_out(tmp_path):
    pipeline = make_pipeline(StandardScaler(), OURS, memory=str(tmp_path / "cache")).fit(X)
    assert _back(pipeline, tmp_path).memory is None
    assert pipeline.memory is not None


class Mine(LogisticRegression):
    """Of a user."""


@pytest.mark.parametrize(
    ("model", "said"),
    [
        (make_pipeline(OURS, RandomForestClassifier(2)), "Pipeline holds sklearn.tree._tree.Tree, which cannot be"),
        (make_pipeline(OURS, Mine()), r"Pipeline holds tests\.test_composites\.Mine"),
        (make_pipeline(FunctionTransformer(lambda rows: rows), OURS), r"Pipeline holds .*<lambda>"),
        (make_pipeline(StandardScaler(), LogisticRegression()), "must hold a model of this library, but Pipeline has"),
    ],
    ids=("trees", "derived", "functions", "none of ours"),
)
def test_what_needs_pickle_is_refused_by_name(model, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        save(model.fit(X, y), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


# -- files of strangers


@pytest.fixture(scope="module")
def content():
    return content_of(make_pipeline(StandardScaler(), OURS, LogisticRegression()).fit(X, y))


def _node(module, name, loader="ObjectNode", **others):
    return {"__class__": name, "__module__": module, "__loader__": loader, **others}


def _of_arguments(*arguments):
    return _node("builtins", "tuple", "TupleNode", content=[_text(value) for value in arguments])


def _text(value):
    return _node("builtins", "str", "JsonNode", content=json.dumps(value), is_json=True)


_SYSTEM = _node("os", "system", "FunctionNode")
_SCALER = ("sklearn.preprocessing._data", "StandardScaler")

#: Nodes, and what is said of them.
NODES = {
    "a program": (
        _node("os", "system", "ConstructorFromReduceNode", content=_of_arguments("touch it_ran")),
        "must not make a 'system'",
    ),
    "a function that is trusted, called": (
        _node(
            "sklearn.feature_selection._univariate_selection",
            "f_classif",
            "ConstructorFromReduceNode",
            content=_of_arguments([[1.0]], [1]),
        ),
        "must not make a 'f_classif'",
    ),
    "a void as large as its argument": (
        _node("numpy", "void", "NdArrayNode", type="numpy", file="0.npy"),
        "must not make a 'void'",
    ),
    "a function": (_SYSTEM, "os.system"),
    "a type": (_node("subprocess", "Popen", "TypeNode"), "subprocess.Popen"),
    "an object": (_node("subprocess", "Popen", content=None), "subprocess.Popen"),
    "our class": (_node("sk_autoenc.estimators.vae", "VAETransformer", content=None), "vae.VAETransformer"),
    "a method": (_node(*_SCALER, "MethodNode", content={"func": "fit", "obj": _node(*_SCALER)}), "StandardScaler.fit"),
    "an operator": (_node("operator", "methodcaller", "OperatorFuncNode", attrs=_of_arguments("fit")), "methodcaller"),
    "a partial": (
        _node(
            "functools",
            "partial",
            "PartialNode",
            content={"func": _SYSTEM, "args": _of_arguments("touch it_ran"), "kwds": _text({}), "namespace": _text({})},
        ),
        "functools.partial.*os.system",
    ),
    "a tree": (
        _node("sklearn.tree._tree", "Tree", "TreeNode", __reduce__={"args": _of_arguments(1)}, content=_text({})),
        "_tree.Tree",
    ),
    "an unknown loader": (_node("os", "system", "Nothing"), "loader Nothing"),
    "an earlier node": (_node("builtins", "list", "CachedNode", __id__=1), "no identities"),
    "an identity": ({**_text("a"), "__id__": 1}, "no identities"),
    "a part that is not there": (
        _node("builtins", "slice", "SliceNode", content={"start": "sk_autoenc.part", "stop": 7, "step": None}),
        "has the part 7, of 1",
    ),
    "a path": (_node("numpy", "ndarray", "NdArrayNode", type="numpy", file="/etc/passwd"), "each array once"),
}


def _with_mean(content, node):
    """With another node where the mean of the scaler stands, whose array is gone."""
    path = next(path for path in places(content.config) if path and path[-1] == "mean_")
    gone = f"composite.{get(content.config, path)['file']}"
    kept = {name: array for name, array in content.arrays.items() if name != gone}
    return Content(changed(content, path, node).config, kept)


@pytest.mark.parametrize("name", NODES)
def test_nodes_of_strangers_are_refused_by_name_and_nothing_runs(name, content, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    node, said = NODES[name]
    _with_mean(content, node).write(tmp_path / "file")
    with pytest.raises(ValueError, match=f"file.*holds no estimator that can be used: .*{said}"):
        load(tmp_path / "file")
    assert not (tmp_path / "it_ran").exists()


def _array(header, n_bytes):
    """An array (npy) of any header."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, header)
    return np.frombuffer(file.getvalue() + bytes(n_bytes), dtype=np.uint8)


@pytest.mark.parametrize(
    ("array", "said"),
    [
        (_array({"descr": "<f8", "fortran_order": False, "shape": (10**12,)}, 8), "another size than its header"),
        (_array({"descr": "<f8", "fortran_order": False, "shape": (-1,)}, 8), "another size than its header"),
        (_array({"descr": "|O", "fortran_order": False, "shape": (1,)}, 8), "dtype object"),
        (_array({"descr": "|V0", "fortran_order": False, "shape": (10**12,)}, 0), r"dtype \|?V"),
        (_array({"descr": "<U0", "fortran_order": False, "shape": (10**12,)}, 0), "dtype <U0"),
        (np.frombuffer(b"PK\x03\x04" + bytes(60), dtype=np.uint8), "no array that can be stored"),
        (np.frombuffer(b"\x80\x04" + bytes(60), dtype=np.uint8), "no array that can be stored"),
        (np.zeros(4), "must be bytes"),
    ],
    ids=("huge", "negative", "objects", "void", "empty strings", "archive", "pickle", "floats"),
)
def test_arrays_are_those_of_their_headers(array, said, content, tmp_path):
    name = next(name for name in content.arrays if name.startswith("composite."))
    Content(content.config, {**content.arrays, name: array}).write(tmp_path / "file")
    with pytest.raises(ValueError, match=said):
        load(tmp_path / "file")


def test_an_array_has_one_place(content, tmp_path):
    """Otherwise a small file of many nodes would take as often the memory of its largest array."""
    paths = [path for path in places(content.config) if path and path[-1] == "file"]
    name = get(content.config, paths[0])
    changed(content, paths[1], name).write(tmp_path / "file")
    with pytest.raises(ValueError, match="must have each array once"):
        load(tmp_path / "file")
    Content(content.config, {**content.arrays, "composite.more": content.arrays[f"composite.{name}"]}).write(
        tmp_path / "file"
    )
    with pytest.raises(ValueError, match="must have each array once"):
        load(tmp_path / "file")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"parts": []}, "has the part 0, of 0"),
        ({"parts": [1]}, "parts must be objects of this library"),
        ({"parts": None}, "parts must be a list, got None"),
        ({"composite": 5}, "must have each array once"),
        ({"composite": _text("no estimator")}, "must have each array once"),
    ],
)
def test_parts_are_ours_and_all_of_them_are_used(edit, said, content, tmp_path):
    made = Content({**content.config, **edit}, content.arrays)
    if "parts" in edit:
        made = Content(made.config, {k: v for k, v in content.arrays.items() if not k.startswith("parts.")})
    made.write(tmp_path / "file")
    with pytest.raises(ValueError, match=said):
        load(tmp_path / "file")
    more = {**content.config, "parts": [*content.config["parts"], {"class": "MLP", "params": MLP().get_params()}]}
    more["parts"][1]["params"]["hidden_layer_sizes"] = {"tuple": [4]}
    Content(more, content.arrays).write(tmp_path / "file")
    with pytest.raises(ValueError, match="has 1 parts, but the file 2"):
        load(tmp_path / "file")


def test_what_is_no_estimator_of_scikit_learn_is_refused(tmp_path):
    vocabulary = content_of(Vocabulary().fit(["ab"]))
    mark = _node("builtins", "slice", "SliceNode", content={"start": "sk_autoenc.part", "stop": 0, "step": None})
    for nodes in (mark, _node("builtins", "list", "ListNode", content=[mark])):
        config = {"composite": {**nodes, "protocol": PROTOCOL}, "parts": [vocabulary.config]}
        Content(config, vocabulary.arrays).write(tmp_path / "file")
        with pytest.raises(ValueError, match="which is no estimator of scikit-learn"):
            load(tmp_path / "file")
