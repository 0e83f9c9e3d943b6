"""Threads: the tests' networks are tiny, and one thread each is fastest when tests run side by side.

Tests that ask for more threads than there are cores would wait for each other in loops that keep the cores busy, three
to nine times as long. OpenMP reads its policy when torch loads it, so it is set before.
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

torch.set_num_threads(1)
