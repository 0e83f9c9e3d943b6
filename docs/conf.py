"""How Sphinx builds the site: ``make docs``. Nothing is fetched from the network."""

import importlib
import os
import re
import sys
from pathlib import Path

# The examples' networks and tables are small, and one thread is fastest for them. NumPy and scikit-learn read this
# when they are imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import matplotlib
import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
sk_autoenc = importlib.import_module("sk_autoenc")
gallery_order = importlib.import_module("gallery_order")

matplotlib.use("Agg")
torch.set_num_threads(1)

project = "sk-autoenc"
version = release = sk_autoenc.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
    "myst_parser",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".rst": "restructuredtext", ".md": "markdown"}
exclude_patterns = ["_build", "_templates", "examples"]
templates_path = ["_templates"]

# The pages of classes list their members themselves, from _templates/autosummary/class.rst.
numpydoc_show_class_members = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 3

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "auto_examples",
    "filename_pattern": r"/plot_",
    "subsection_order": [f"examples/{name}" for name in gallery_order.ORDER],
    "within_subsection_order": "gallery_order.EasiestFirst",
    "doc_module": ("sk_autoenc",),
    "backreferences_dir": "api/generated/backreferences",
    "reference_url": {"sk_autoenc": None},
    "abort_on_example_error": True,
    "capture_repr": (),
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
}

html_theme = "pydata_sphinx_theme"
html_title = f"sk-autoenc {version}"
html_static_path = ["_static"]
html_css_files = ["cards.css"]
html_show_copyright = False
html_theme_options = {"show_toc_level": 2, "navigation_with_keys": False}


def quote_fitted_names(app, what, name, obj, options, lines):
    """Quote names that end in an underscore in types, lest they be read as links."""
    is_type = re.compile(r" : |^(nd)?array.* of shape \(")
    lines[:] = [re.sub(r"\b(\w+_)(?=[,)])", r"``\1``", line) if is_type.search(line) else line for line in lines]


def drop_references_to_scikit_learn(app, what, name, obj, options, lines):
    """Methods that are scikit-learn's own refer to pages of its site."""
    if (getattr(obj, "__module__", None) or "").startswith("sklearn."):
        lines[:] = [re.sub(r":ref:`([^`<]+?)(\s*<[^`>]+>)?`", r"\1", line) for line in lines]


def read_benchmarks(app, docname, source):
    """The page of the benchmarks is their README; its links to files of the repository become names of these."""
    if docname == "benchmarks":
        readme = HERE.parent / "benchmarks" / "README.md"
        app.env.note_dependency(readme, docname=docname)
        text = re.sub(r"^<!--.*?-->\s*", "", readme.read_text(encoding="utf-8"), flags=re.DOTALL)
        source[0] = re.sub(r"\[([^]]+)\]\((?!https?:|#)([^)]+)\)", r"\1 (`benchmarks/\2`)", text)


def setup(app):
    app.connect("source-read", read_benchmarks)
    app.connect("autodoc-process-docstring", quote_fitted_names, priority=100)  # before numpydoc
    app.connect("autodoc-process-docstring", drop_references_to_scikit_learn)
