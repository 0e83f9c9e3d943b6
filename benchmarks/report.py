"""Render benchmarks/README.md from the stored results: ``python -m benchmarks.report``; ``--check`` only compares."""

import argparse
import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.common import COMPARISONS, commit_of, measured, reached, shown, stored, table, verdict

FOLDER = Path(__file__).parent
README = FOLDER / "README.md"

#: Scripts with the titles of their sections, in the order of the report.
SCRIPTS = {
    "defaults": "A fit at default parameters",
    "speed": "Speed of training",
    "gallery_swaps": "One word changed in scikit-learn's gallery",
    "transform": "Speed of `transform`",
    "memory": "Memory of `fit`",
    "streams": "Rows that are not in memory",
    "parallel": "Two processes",
    "floor": "The linear floor",
    "manifolds": "Manifolds",
    "mnist30": "MNIST to 30 numbers",
    "denoise": "Denoising",
    "codes": "Codes as features",
    "vae_speed": "Speed of training a VAE",
    "vae_mnist": "Log-probability of binarised MNIST",
    "exactness": "Exactness",
    "density": "Density",
    "samples": "Samples as training rows",
    "aae_mnist": "Codes against the prior",
    "sharpness": "Are an AAE's samples sharper?",
    "outliers": "Outliers in tables",
    "outliers_calibration": "Calibrated alarms",
    "outliers_speed": "Speed and memory of the outlier detector",
    "outliers_series": "Outliers in series",
    "table_outliers": "Outliers in mixed tables",
    "images": "Images",
    "series": "Series",
    "strings": "Strings",
    "gan_toys": "Toys for a GAN",
    "gan_images": "Images of a class",
    "cyclegan": "Translation without pairs",
    "recommender": "Recommendations",
    "imputation": "Missing cells",
    "tables": "Synthetic tables",
    "frames": "Data frames as arrays",
    "translation": "Translation",
    "pairs": "Images from images",
    "segmentation": "A class for each pixel",
    "few_labels": "Few labels",
    "gan_tables": "Tables for a GAN, and its alarm",
    "over_sampling": "Over-sampling",
}

HEAD = """\
<!-- Written by `make report` from benchmarks/results/*.json. Do not edit: change a script, its results or a note. -->

# Benchmarks

Each script answers one question. It measures our figure beside its baselines in the same run, prints the tables below,
and stores figures, settings, machine and commit in `results/<name>.json`. `make report` writes this page from these
files. No figure here is copied by hand.

```
pip install -e . --group benchmarks
export SK_AUTOENC_DATA=<folder with the data sets, see below>
python -m benchmarks.bench_speed --threads 2
make report
```

`--help` says what a script measures, and its targets. `--quick` is a smoke test with tiny sizes. Its figures mean
nothing and are stored apart, as `results/<name>.quick.json`, which git ignores. `tests/test_benchmarks.py` runs it.

- Figures of speed and memory are ratios. Contenders alternate, and the median over rounds of the ratio within a round
  counts. On a busy machine use `--threads 1 --clock processor`, which counts processor time.
- Settings were chosen on held-out training rows or on other splits, never on rows that are reported. `--validate`
  judges on such rows and stores nothing.
- A result that was stored before commits were recorded says "commit not recorded".
- What was tried on the way to a figure is in [notes](notes).

## The data folder

Scripts that read data sets find them in the folder that the environment variable `SK_AUTOENC_DATA` names. The other
scripts make their rows or take those of scikit-learn. A script stops with a message if a file is missing. Every file
opens with numpy or pandas alone; `X` holds rows, `y` labels, and splits are those of the publisher.

| path | contents |
| ---- | -------- |
| `mnist/mnist.npz` | `X_train`, `y_train`, `X_test`, `y_test`; images (n, 28, 28), uint8 |
| `fashion_mnist/fashion_mnist.npz` | the same |
| `olivetti/olivetti.npz` | faces: `X` (400, 64, 64), uint8, and `y`, the person from 0 to 39 |
| `adbench/<number>_<name>.npz` | tables of ADBench: `X` (rows, features) and `y`, 1 for an anomaly |
| `tables/<name>.csv.gz` | `penguins`, `mpg`, `diamonds`, `adult`, `credit_g`, `ames_housing`, `titanic` |
| `ucr/<name>.npz` | UCR series: `X_train`, `y_train`, `X_test`, `y_test`; series (n, channels, times) |
| `ecg5000/ecg5000.npz` | heart beats: `X_train`, `y_train`, `X_test`, `y_test`; 140 values, `y` 1 for abnormal |
| `nab/nab.csv.gz` | NAB series, long format: `series`, `value`, `in_anomaly_window` |
| `smiles/zinc_subset.csv.gz` | molecules: `smiles`, and `split`, `valid` to train and `test` to test |
| `multi30k/multi30k_en_de_fr.csv.gz` | captions: `en`, and `split`, `train` to train and `test_2016_flickr` to test |
"""


def script(name: str):
    """The module of a script."""
    return importlib.import_module(f"benchmarks.bench_{name}")


def summary() -> Iterator[str]:
    """All targets, then the misses with what was tried."""
    rows, misses = [], []
    for name in SCRIPTS:
        results = stored(name)
        for target in script(name).TARGETS:
            figure = reached(target, results)
            found = verdict(target, figure)
            bound = f"{target.comparison} {shown(target.bound)}"
            commit = "" if figure is None else commit_of(results, target.machine)
            rows.append([f"[{name}](#{anchor(name)})", target.name, bound, figure, found, commit])
            if figure is not None and not COMPARISONS[target.comparison](figure, target.bound):
                by = f"missed by {shown(abs(figure - target.bound))}"
                misses.append(f"- **{target.name}** ({bound}): {by}. {target.note}".strip())
    yield "## Targets"
    yield table(["script", "figure", "target", "reached", "", "commit"], rows)
    yield "Targets that are missed:"
    yield "\n".join(misses) or "None."


def anchor(name: str) -> str:
    """GitHub's link to the section of a script."""
    kept = "".join(c for c in heading(name).lower() if c.isalnum() or c in " -_")
    return kept.replace(" ", "-")


def heading(name: str) -> str:
    """Title of the section of a script."""
    return f"{SCRIPTS[name]}: `bench_{name}.py`"


def section(name: str) -> Iterator[str]:
    """Question and protocol, tables, and a link to the notes."""
    results = stored(name)
    yield f"## {heading(name)}"
    yield script(name).__doc__.strip()
    if results is None:
        yield "Not measured yet."
    else:
        by_parts = {"parts", "only"} & results["settings"].keys()
        yield ("Parts are run one by one; this is the last run. " if by_parts else "") + measured(results)
        yield script(name).report(results)
    if (FOLDER / "notes" / f"{name}.md").exists():
        yield f"What was tried: [notes/{name}.md](notes/{name}.md)."


def render() -> str:
    """The whole page."""
    sections = [part for name in SCRIPTS for part in section(name)]
    return without_padding("\n\n".join([HEAD.strip(), *summary(), *sections]) + "\n")


def without_padding(text: str) -> str:
    """Tables without the spaces that align them in a terminal."""
    lines = [re.sub("-{3,}", "---", re.sub(" +", " ", x)) if x.startswith("|") else x for x in text.splitlines()]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 if README.md is not what the results say")
    text = render()
    if not parser.parse_args().check:
        README.write_text(text)
    elif text != README.read_text():
        sys.exit("benchmarks/README.md is not what the stored results say: run `make report`.")


if __name__ == "__main__":
    main()
