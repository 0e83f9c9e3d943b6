"""The layout that docs/design.md promises: imports go one way, and no module does what belongs elsewhere."""

import ast
import io
import tokenize
from pathlib import Path

import pytest

import sk_autoenc

ROOT = Path(sk_autoenc.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))

EACH_FILE = pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))

#: Rank of each module or package; a file imports from lower ranks, or from its own package.
RANKS = {
    "_compat": 0,
    "_messages": 0,
    "losses": 0,
    "storage": 0,
    "data": 1,
    "nn": 1,
    "metrics": 2,
    "priors": 2,
    "likelihoods": 2,
    "architectures": 2,
    "initialization": 3,
    "training": 4,
    "outliers": 6,
    "base": 5,
    "estimators": 8,
    "inspection": 9,
    "composites": 1,
    "persistence": 9,
    "onnx_export": 9,
    "__init__": 10,
}


#: Code lines that a file has at most, without docstrings, comments and blank lines.
MOST_LINES = 350

#: Names that begin with an underscore and are public all the same: the methods of a NamedTuple.
NAMED_TUPLE = {"_replace", "_asdict", "_fields"}

#: What a library has no public name for: the module inside one that ``torch.compile`` returns, a step of all weights in
#: one call, and what scikit-learn knows of parameters.
NO_PUBLIC_NAME = {"_orig_mod", "_foreach_lerp_", "_get_param_names", "_parameter_constraints", "_validate_params"}

#: Not code: what tokens of these kinds take is not counted.
NOT_CODE = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
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


@EACH_FILE
def test_imports_go_one_way(path):
    if path == ROOT / "__init__.py":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path.name} imports relatively"
            # From the root a file may import modules below it, such as ``losses``, but no public class.
            from_root = node.module == "sk_autoenc"
            modules = [f"sk_autoenc.{alias.name}" for alias in node.names] if from_root else [node.module]
        else:
            continue
        for module in modules:
            library, *inside = module.split(".")
            if library == "sk_autoenc":
                is_module = bool(inside) and inside[0] in RANKS
                assert is_module, f"{path.name} imports {module} through the package root"
                is_below = RANKS[inside[0]] < RANKS[_name(path)]
                assert is_below or inside[0] == _name(path), f"{path.name} imports {module}"


@EACH_FILE
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


@EACH_FILE
def test_files_say_what_they_hold_and_stay_short(path):
    tree = ast.parse(path.read_text())
    assert ast.get_docstring(tree) or not path.read_text(), f"{path.name} has no first line"
    assert _n_code_lines(path, tree) <= MOST_LINES


def _n_code_lines(path: Path, tree: ast.Module) -> int:
    """Lines of a file without docstrings, comments and blank lines."""
    code: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type not in NOT_CODE:
            code |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        has_docstring = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if has_docstring and ast.get_docstring(node) is not None:
            code -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(code)


@EACH_FILE
def test_private_names_are_read_by_their_owners_alone(path):
    """``x._name`` is for self, cls, super(), a base of a class of the file, and where the file itself defines it."""
    tree = ast.parse(path.read_text())
    owned, bases = _defined_names(tree), _base_names(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and str(node.module).startswith("sk_autoenc"):
            hidden = [alias.name for alias in node.names if alias.name.startswith("_")]
            assert not hidden, f"{path.name}:{node.lineno} imports {hidden}"
        if isinstance(node, ast.Attribute):
            owner, name = node.value, node.attr
        elif _is_call_of(node, "getattr", "hasattr", "setattr") and isinstance(node.args[1], ast.Constant):
            owner, name = node.args[0], str(node.args[1].value)
        else:
            continue
        is_private = name.startswith("_") and not name.endswith("__") and name not in NAMED_TUPLE | NO_PUBLIC_NAME
        is_own = isinstance(owner, ast.Name) and owner.id in {"self", "cls", *bases}
        if is_private and not is_own and not _is_call_of(owner, "super"):
            assert name in owned, f"{path.name}:{node.lineno} reads {ast.unparse(node)}"


def _is_call_of(node: ast.AST, *names: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in names


def _defined_names(tree: ast.Module) -> set[str]:
    """Functions, methods, classes, variables and attributes that a file defines."""
    found = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            found.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            found |= {node.attr} if isinstance(node.value, ast.Name) and node.value.id in ("self", "cls") else set()
    return found


def _base_names(tree: ast.Module) -> set[str]:
    classes = [node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    return {base.id for node in classes for base in node.bases if isinstance(base, ast.Name)}


@EACH_FILE
def test_nobody_asks_a_likelihood_or_an_architecture_for_its_class(path):
    """Whatever depends on one is an attribute or a method of it, so that a user's own is as good."""
    if _name(path) in ("likelihoods", "architectures"):
        return
    classes = {
        node.name
        for folder in ("likelihoods", "architectures")
        for file in (ROOT / folder).glob("*.py")
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.ClassDef)
    }
    for node in ast.walk(ast.parse(path.read_text())):
        if _is_call_of(node, "isinstance", "issubclass"):
            asked = {part.id for part in ast.walk(node.args[1]) if isinstance(part, ast.Name)}
            asked |= {part.attr for part in ast.walk(node.args[1]) if isinstance(part, ast.Attribute)}
            assert not asked & classes, f"{path.name}:{node.lineno} asks {ast.unparse(node)}"
