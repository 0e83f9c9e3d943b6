"""The documentation is true: docstrings are complete, their examples run, and so does every block of the guides."""

import ast
import doctest
import importlib
import inspect
import pkgutil
import re
import runpy
import textwrap
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest

import sk_autoenc
import sk_autoenc.inspection
import sk_autoenc.metrics
import sk_autoenc.onnx_export
from sk_autoenc.data.splits import FEW_ROWS, MIN_ROWS, N_FOLDS

matplotlib.use("Agg")

ROOT = Path(__file__).parents[1]
PUBLIC = [getattr(package, name) for package in (sk_autoenc, sk_autoenc.inspection) for name in package.__all__]
CLASSES = [thing for thing in PUBLIC if inspect.isclass(thing)]
FUNCTIONS = [
    thing
    for module in (sk_autoenc.metrics, sk_autoenc.onnx_export)
    for name, thing in vars(module).items()
    if inspect.isfunction(thing) and thing.__module__.startswith(module.__name__) and not name.startswith("_")
]
MODULES = [info.name for info in pkgutil.walk_packages(sk_autoenc.__path__, "sk_autoenc.")]
METHODS = [
    method
    for thing in CLASSES
    for name in dir(thing)
    if not name.startswith("_") and inspect.isroutine(method := getattr(thing, name))
    if (method.__module__ or "").startswith("sk_autoenc")
]

#: Pages whose code blocks run. The account of the design shows sketches, and is read only.
PAGES = [
    path
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "docs").rglob("*.rst"))]
    if path.exists()
    and path.name != "design.md"
    and not {"_build", "_templates", "auto_examples", "generated"} & set(path.relative_to(ROOT).parts)
]


def sections(docstring: str | None) -> dict[str, str]:
    """The sections of a numpydoc docstring, by title."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", inspect.cleandoc(docstring or ""), flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def documented_parameters(docstring: str | None) -> dict[str, str]:
    """What a docstring says of each parameter's type and default, in its order."""
    entries = re.findall(r"^(\S.*?) : (.*)$", sections(docstring).get("Parameters", ""), flags=re.MULTILINE)
    return {name.strip("*"): kind for names, kind in entries for name in names.split(", ")}


def parameters(function) -> dict[str, inspect.Parameter]:
    """The parameters of a function or a class, without ``self``."""
    return {name: value for name, value in inspect.signature(function).parameters.items() if name != "self"}


def code_blocks(path: Path) -> str:
    """The Python blocks of a page as one module, every line where it stands in the page."""
    lines = path.read_text(encoding="utf-8").splitlines()
    opening = r"(\s*)```python\s*$" if path.suffix == ".md" else r"(\s*)\.\. code-block:: python\s*$"
    code = [""] * len(lines)
    i = 0
    while i < len(lines):
        if not (match := re.match(opening, lines[i])):
            i += 1
            continue
        start = i = i + 1
        while i < len(lines) and not _ends(path, lines[i], match[1]):
            i += 1
        code[start:i] = textwrap.dedent("\n".join(lines[start:i])).splitlines() or [""] * (i - start)
        code += [""] * (len(lines) - len(code))
    return "\n".join(code)


def _ends(path: Path, line: str, indent: str) -> bool:
    if path.suffix == ".md":
        return line.strip() == "```"
    return bool(line.strip()) and len(line) - len(line.lstrip()) <= len(indent)


@pytest.fixture(autouse=True)
def _closed_figures():
    yield
    plt.close("all")


# -- docstrings


@pytest.mark.parametrize("thing", CLASSES, ids=lambda thing: thing.__name__)
def test_class_docstrings_have_their_sections(thing):
    found = sections(thing.__doc__)
    assert "Examples" in found
    assert ">>>" in found["Examples"]
    assert ("Parameters" in found) == bool(_own_parameters(thing))


@pytest.mark.parametrize("thing", CLASSES, ids=lambda thing: thing.__name__)
def test_constructor_parameters_are_documented_in_order_with_their_defaults(thing):
    documented = documented_parameters(thing.__doc__)
    expected = _own_parameters(thing)
    assert list(documented) == list(expected)
    for name, parameter in expected.items():
        if parameter.default is inspect.Parameter.empty:
            assert "default" not in documented[name]
        else:
            stated = re.search(r"default=(.*)$", documented[name])
            assert stated, f"{name} states no default"
            same = parameter.default is np.nan if stated[1] == "np.nan" else _is_default(stated[1], parameter)
            assert same, f"{name} states the default {stated[1]}"


def _is_default(stated: str, parameter: inspect.Parameter) -> bool:
    return ast.literal_eval(stated) == parameter.default


def _own_parameters(thing) -> dict[str, inspect.Parameter]:
    return {} if thing.__init__ is object.__init__ else parameters(thing)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_function_docstrings_are_complete(function):
    found = sections(function.__doc__)
    asked = {"Parameters"} if parameters(function) else set()
    asked |= {"Returns"} if inspect.signature(function).return_annotation not in (None, "None") else set()
    assert asked | {"Examples"} <= set(found)
    assert ">>>" in found["Examples"]
    named = [
        name
        for line in re.findall(r"^\S[^:\n]*", found.get("Parameters", ""), re.MULTILINE)
        for name in line.split(", ")
    ]
    assert [name.strip(" *") for name in named] == list(parameters(function))
    for name, kind in documented_parameters(function.__doc__).items():
        if stated := re.search(r"default=(.*)$", kind):
            assert ast.literal_eval(stated[1]) == parameters(function)[name].default


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.__qualname__)
def test_public_methods_say_what_they_do(method):
    assert method.__doc__, f"{method.__qualname__} has no docstring"
    if "Parameters" in sections(method.__doc__):
        assert list(documented_parameters(method.__doc__)) == list(parameters(method))


@pytest.mark.parametrize("name", ["sk_autoenc", *MODULES])
def test_docstring_examples_run(name, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(importlib.import_module(name), raise_on_error=False)
    assert result.failed == 0


def test_every_public_class_has_examples_that_are_run():
    tested = {
        test.name
        for name in MODULES
        for test in doctest.DocTestFinder().find(importlib.import_module(name))
        if test.examples
    }
    assert tested >= {f"{thing.__module__}.{thing.__name__}" for thing in CLASSES}


# -- pages


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_code_blocks_run(path, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    exec(compile(code_blocks(path), str(path), "exec"), {"__name__": "__page__"})


def test_guide_and_start_page_have_code_that_is_run():
    for name in ("index.rst", "guide/index.rst"):
        assert "from sk_autoenc import" in code_blocks(ROOT / "docs" / name)


@pytest.mark.parametrize("suffix", [".md", ".rst"])
def test_blocks_are_found_where_they_stand(tmp_path, suffix):
    pages = {
        ".md": """
            Text

            ```python
            a = 1

            if a:
                b = 2
            ```

            ```
            not python
            ```
            - item

              ```python
              c = 3
              ```
            """,
        ".rst": """
            Text

            .. code-block:: python

                a = 1

                if a:
                    b = 2

            .. code-block:: none

                not python

            - item

              .. code-block:: python

                  c = 3
            """,
    }
    page = textwrap.dedent(pages[suffix])
    path = tmp_path / f"page{suffix}"
    path.write_text(page)
    code, namespace = code_blocks(path), {}
    exec(code, namespace)
    assert (namespace["a"], namespace["b"], namespace["c"]) == (1, 2, 3)
    for line, original in zip(code.splitlines(), page.splitlines(), strict=False):
        assert not line or line.strip() == original.strip()


def test_guide_states_the_numbers_of_rows_that_the_code_knows():
    guide = (ROOT / "docs" / "guide" / "training.rst").read_text(encoding="utf-8")
    assert N_FOLDS == 4, "the guide speaks of quarters"
    for text in (f"* - {FEW_ROWS} or more", f"* - {MIN_ROWS} to {FEW_ROWS - 1}", f"* - fewer than {MIN_ROWS}"):
        assert text in guide
    assert f"With {MIN_ROWS} to {FEW_ROWS - 1} rows" in guide


def test_links_of_the_readme_lead_to_files():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert links
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_every_example_has_a_place_in_the_gallery_and_every_page_one_in_the_guide():
    order = runpy.run_path(str(ROOT / "docs" / "gallery_order.py"))["ORDER"]
    examples = (ROOT / "docs" / "examples").glob("*/plot_*.py")
    assert {(path.parent.name, path.stem) for path in examples} == {
        (folder, name) for folder, names in order.items() for name in names
    }
    index = (ROOT / "docs" / "guide" / "index.rst").read_text(encoding="utf-8")
    listed = re.findall(r"^   (\w+)$", index, flags=re.MULTILINE)
    assert {path.stem for path in (ROOT / "docs" / "guide").glob("*.rst")} == {"index", *listed}


# -- the list of what is public


def test_every_public_name_has_a_page():
    listed = (ROOT / "docs" / "api" / "index.rst").read_text(encoding="utf-8")
    names = set(re.findall(r"^   (\w+)$", listed, flags=re.MULTILINE))
    assert names == {thing.__name__ for thing in [*PUBLIC, *FUNCTIONS]}
