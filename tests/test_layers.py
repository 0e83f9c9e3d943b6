"""The layout that docs/design.md promises: imports go one way, and no module does what belongs elsewhere."""

import ast
from pathlib import Path

import pytest

import sk_autoenc

ROOT = Path(sk_autoenc.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

#: Rank of each module or package; a file imports from lower ranks, or from its own package.
RANKS = {
    "_compat": 0,
    "losses": 0,
    "storage": 0,
    "data": 1,
    "nn": 1,
    "metrics": 1,
    "priors": 2,
    "likelihoods": 2,
    "architectures": 2,
    "initialization": 3,
    "training": 4,
    "outliers": 6,
    "base": 5,
    "estimators": 8,
    "inspection": 9,
    "persistence": 9,
    "__init__": 10,
}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def _imports(path: Path) -> list[tuple[str, bool]]:
    """Modules that the file imports, and whether at module level."""
    tree = ast.parse(path.read_text())
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(alias.name, node in tree.body) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.module != "sk_autoenc":  # the root itself is then imported for a module in it, or for a name
                found.append((node.module, node in tree.body))
            found += [(f"{node.module}.{alias.name}", node in tree.body) for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path):
    for module, _ in _imports(path):
        assert _may_import(_name(path), module), f"{path.name} imports {module}"


def _may_import(name: str, module: str) -> bool:
    """Whether a file of this rank may import a module; not the root, nor its names: it imports all modules."""
    parts = module.split(".")
    if parts[0] != "sk_autoenc":
        return True
    if len(parts) == 1:
        return False
    return parts[1] in RANKS and (RANKS[parts[1]] < RANKS[name] or parts[1] == name)


def test_importing_the_root_is_no_way_around():
    assert not _may_import("persistence", "sk_autoenc")
    assert not _may_import("persistence", "sk_autoenc.save")
    assert not _may_import("data", "sk_autoenc.estimators.vae")
    assert _may_import("persistence", "sk_autoenc.storage")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_each_library_is_imported_where_it_belongs(path):
    name = _name(path)
    for module, at_module_level in _imports(path):
        library = module.split(".")[0]
        if library == "sklearn":
            assert name not in ("nn", "losses"), f"{path.name} imports {module}"
            private = any(part.startswith("_") for part in module.split("."))
            assert name == "_compat" or not private, f"{path.name} imports {module}"
        if library == "skorch":
            assert name in ("training", "base"), f"{path.name} imports {module}"
        if library == "matplotlib":
            assert not at_module_level, f"{path.name} imports {module} at module level"


def test_an_estimator_file_imports_no_other_estimator_file():
    for path in (ROOT / "estimators").glob("*.py"):
        assert not any("sk_autoenc.estimators" in module for module, _ in _imports(path)), path.name


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_files_say_what_they_hold_and_stay_short(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not path.read_text(), f"{path.name} has no first line"
    assert len(path.read_text().splitlines()) <= 500
