"""Threads: the tests' networks are tiny, and one thread each is fastest when tests run side by side."""

import torch

torch.set_num_threads(1)
