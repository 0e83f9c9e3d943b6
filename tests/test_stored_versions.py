"""Files that each version has saved still open, and say what they said; run as a script, it adds this version's."""

import json
from pathlib import Path

import numpy as np
import pytest

from sk_autoenc import VAETransformer, __version__, load, save

FILES = Path(__file__).parent / "files"
ROWS = np.linspace(-1, 2, 12).reshape(4, 3) ** 2


def outputs(model):
    return {"transform": model.transform(ROWS), "score_samples": model.score_samples(ROWS)}


@pytest.mark.parametrize("path", sorted(FILES.glob("*.safetensors")), ids=lambda path: path.stem)
def test_a_file_of_this_version_opens(path):
    expected = json.loads(path.with_suffix(".json").read_text())
    for name, found in outputs(load(path)).items():
        np.testing.assert_allclose(found, expected[name], rtol=1e-4, atol=1e-5, err_msg=name)


def test_this_version_has_a_file():
    assert (FILES / f"{__version__}.safetensors").exists(), "python -m tests.test_stored_versions"


if __name__ == "__main__":
    rows = np.random.default_rng(0).standard_normal((60, 3)) @ [[2, 1, 0], [0, 1, 1], [0, 0, 0.5]]
    model = VAETransformer(2, architecture=(4,), max_iter=3, random_state=0, device="cpu").fit(rows)
    save(model, FILES / f"{__version__}.safetensors")
    said = {name: found.tolist() for name, found in outputs(model).items()}
    (FILES / f"{__version__}.json").write_text(json.dumps(said))
