"""Training imports nothing of torch in its first step, and Ctrl-C waits for the end of the import before it."""

import os
import signal
import subprocess
import sys
import threading

import pytest

from sk_autoenc.training.imports import interrupt_delayed

FIRST_FIT = """
import sys
import numpy as np
from sk_autoenc import AutoencoderTransformer, ReconstructionOutlierDetector
from sk_autoenc.training.imports import import_for_training
import_for_training()
import sk_autoenc.base.estimator, sk_autoenc.estimators.outlier_detector
before = set(sys.modules)
X = np.random.default_rng(0).normal(size=(50, 3))
AutoencoderTransformer(architecture=(4,), max_iter=1, device="cpu").fit(X)
ReconstructionOutlierDetector(n_steps=2).fit(X)
print(sorted(name for name in set(sys.modules) - before if name.startswith(("torch._", "torch.fx", "sympy"))))
"""


def test_the_first_fit_of_a_process_imports_nothing_of_torch():
    found = subprocess.run([sys.executable, "-c", FIRST_FIT], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.fixture(autouse=True)
def default_handler():
    """Processes in the background are started without one."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_an_interrupt_takes_effect_at_the_end_of_the_block():
    done = []
    with pytest.raises(KeyboardInterrupt), interrupt_delayed():  # noqa: PT012
        os.kill(os.getpid(), signal.SIGINT)
        done.append("the block went on")
    assert done
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_and_blocks_without_an_interrupt_are_left_alone():
    with interrupt_delayed():
        pass
    found = []

    def in_thread():
        with interrupt_delayed():
            found.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=in_thread)
    thread.start()
    thread.join()
    assert found == [signal.default_int_handler]
