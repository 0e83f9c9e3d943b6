"""OutlierExplanationDisplay: which parts and names it shows."""

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from sklearn.decomposition import PCA
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler

from sk_autoenc import ReconstructionOutlierDetector
from sk_autoenc.inspection import OutlierExplanationDisplay
from tests.outliers.data import X

matplotlib.use("Agg")


def test_the_display_shows_the_largest_parts_first():
    frame = pd.DataFrame(X, columns=list("abcdef"))
    frame.loc[3, "e"] = 60
    found = ReconstructionOutlierDetector(n_steps=5, random_state=0).fit(frame)
    display = OutlierExplanationDisplay.from_estimator(found, frame, row=3, n_features=2)
    assert display.ax_.get_yticklabels()[0].get_text() == "e = 60"
    widths = [bar.get_width() for bar in display.bars_]
    assert len(widths) == 3  # and the others
    assert sum(widths) == pytest.approx(-found.score_samples(frame.iloc[3:4])[0])
    assert OutlierExplanationDisplay.from_estimator(found, frame).values[4] == 60
    with pytest.raises(ValueError, match=r"row must be an integer from 0 to 89.*got 90"):
        OutlierExplanationDisplay.from_estimator(found, frame, row=90)
    with pytest.raises(TypeError, match="PCA does not have"):
        OutlierExplanationDisplay.from_estimator(PCA().fit(X), X)
    assert len(OutlierExplanationDisplay(np.ones(30)).plot(n_features=5).bars_) == 6
    plt.close("all")


@pytest.mark.parametrize(
    ("step", "names"),
    [(StandardScaler(), list("abcdef")), (FunctionTransformer(pd.DataFrame.to_numpy), None)],
    ids=["names", "none"],
)
def test_a_pipelines_last_step_is_explained(step, names):
    frame = pd.DataFrame(X, columns=list("abcdef"))
    pipeline = make_pipeline(step, ReconstructionOutlierDetector(n_steps=5, random_state=0)).fit(frame)
    display = OutlierExplanationDisplay.from_estimator(pipeline, frame, row=3)
    seen = step.transform(frame)
    np.testing.assert_array_equal(display.parts, pipeline[-1].explain(seen)[3])
    np.testing.assert_array_equal(display.values, seen[3])
    assert display.names == names
    plt.close("all")


def test_names_of_outer_steps_are_not_those_of_inner_ones():
    frame = pd.DataFrame(X, columns=list("abcdef"))
    detector = ReconstructionOutlierDetector(n_steps=5, random_state=0)
    inner = make_pipeline(FunctionTransformer(lambda X: np.asarray(X)[:, :4]), detector)
    display = OutlierExplanationDisplay.from_estimator(make_pipeline(StandardScaler(), inner).fit(frame), frame, row=3)
    assert display.names is None
    assert len(display.parts) == 4
    plt.close("all")


@pytest.mark.parametrize("outer", ["alone", "passthrough", "nested"])
def test_pipelines_of_any_kind_are_explained(outer):
    detector = ReconstructionOutlierDetector(n_steps=5, random_state=0)
    steps = {"alone": [detector], "passthrough": ["passthrough", detector], "nested": [StandardScaler()]}[outer]
    steps = [*steps, make_pipeline(PCA(6), detector)] if outer == "nested" else steps
    display = OutlierExplanationDisplay.from_estimator(make_pipeline(*steps).fit(X), X, row=3)
    assert len(display.parts) == 6
    plt.close("all")
