"""Benchmarks stay runnable and true: each script runs its smallest case, and the report is what the results say."""

import importlib.util
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import common, report

ROOT = Path(report.__file__).parent.parent
SCRIPTS = sorted(path.stem.removeprefix("bench_") for path in (ROOT / "benchmarks").glob("bench_*.py"))

#: Packages of the benchmarks alone, which the tests' environment need not have.
EXTRAS = {"pyod", "skimage", "aeon", "rdkit"}

#: The smallest case of scripts with parts, first those that need no data.
PARTS = {
    "samples": [["--data", "digits"], ["--data", "mnist"]],
    "series": [["--parts", "speed"], ["--parts", "ucr", "--components", "4"], ["--parts", "ecg5000"]],
    "images": [["--parts", part] for part in ("speed", "compression", "denoising", "inpainting few", "one class")],
    "pairs": [["--parts", "never_below", "step"], ["--parts", "larger", "faces", "clean", "colour", "frames"]],
    "gan_images": [["--parts", "steps"], ["--parts", "mnist", "ecg", "augmentation"]],
    **{name: [["--jobs", "1"]] for name in ("floor", "density", "manifolds")},
}


def test_every_script_and_note_is_in_the_report():
    assert sorted(report.SCRIPTS) == SCRIPTS
    assert {path.stem for path in (ROOT / "benchmarks" / "notes").glob("*.md")} <= set(SCRIPTS)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_states_its_question_and_targets_and_renders_its_stored_results(name):
    script, results = report.script(name), common.stored(name)
    assert len(script.__doc__.strip().splitlines()[0]) > 20
    assert results is None or "|" in script.report(results)  # nobody has measured it yet
    for target in script.TARGETS:
        assert target.comparison in common.COMPARISONS
        figure = common.reached(target, results)
        assert figure is None or np.isfinite(figure)
    assert script.parser().parse_args(["--quick"]).quick


@pytest.mark.parametrize(
    ("name", "arguments"),
    [(name, arguments) for name in SCRIPTS for arguments in PARTS.get(name, [[]])],
    ids=lambda value: value if isinstance(value, str) else "-".join(value) or "all",
)
def test_the_smallest_case_runs(name, arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    script = report.script(name)
    threads = torch.get_num_threads()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            script.run(script.parser().parse_args(["--quick", "--threads", "1", *arguments]))
    except SystemExit as stop:
        if "SK_AUTOENC_DATA" not in str(stop):
            raise
        pytest.skip(str(stop))
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] not in EXTRAS:
            raise
        pytest.skip(f"{error.name} is not installed")
    finally:
        torch.set_num_threads(threads)
    assert f"stored as results/{name}.quick.json" in capsys.readouterr().out
    assert (tmp_path / f"{name}.quick.json").exists()


def test_results_name_the_commit_and_whether_the_tree_was_clean(monkeypatch):
    assert {"commit", "clean"} <= common.machine().keys()
    assert common.commit_of({"machine": {"commit": "0123456789abcdef", "clean": True}}) == "012345678"
    assert common.commit_of({"machine": {"commit": "0123456789abcdef", "clean": False}}) == "012345678, tree not clean"
    assert common.commit_of({"machine": {"date": "2026-11-22"}}) == "not recorded"

    def no_git(*_, **__):
        raise FileNotFoundError("git")

    monkeypatch.setattr(subprocess, "run", no_git)
    assert common.code() == {"commit": None, "clean": None}


def test_a_target_is_met_missed_or_unmeasured():
    target = common.Target("a ratio", lambda results: results["figures"]["ratio"], "≤", 1.15)
    found = [
        common.verdict(target, common.reached(target, results))
        for results in ({"figures": {"ratio": 1.15}}, {"figures": {"ratio": 1.16}}, {"figures": {}}, None)
    ]
    assert found == ["**met**", "**missed**", "unmeasured", "unmeasured"]


def test_figures_of_held_out_rows_are_not_stored(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    options = report.script("exactness").parser().parse_args([])
    options.validate = True
    script = {"__file__": "bench_some.py", "report": lambda results: "", "TARGETS": [], "save": common.save}
    exec("save(options, {})", {**script, "options": options})
    assert "not stored" in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_the_report_is_what_the_stored_results_say(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["report", "--check"])
    report.main()


def test_a_report_that_is_not_what_the_results_say_fails_the_check(tmp_path, monkeypatch):
    (tmp_path / "README.md").write_text(report.README.read_text().replace("**missed**", "**met**"))
    monkeypatch.setattr(report, "README", tmp_path / "README.md")
    monkeypatch.setattr(sys, "argv", ["report", "--check"])
    with pytest.raises(SystemExit, match="make report"):
        report.main()


@pytest.mark.skipif(importlib.util.find_spec("matplotlib") is None, reason="matplotlib is not installed")
def test_the_demo_can_be_imported():
    spec = importlib.util.spec_from_file_location("demo", ROOT / "examples" / "demo.py")
    spec.loader.exec_module(importlib.util.module_from_spec(spec))
