"""One thread per process: the tests run side by side, and networks this small gain nothing from a second core."""

import torch

torch.set_num_threads(1)
