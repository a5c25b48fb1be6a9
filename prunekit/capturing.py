"""Record once what a GPU is told to do, and have it done again and again.

A small network keeps a GPU busy for less time than Python takes to tell it what to do. So a function that does the same
each time to tensors of the same shapes is recorded as a CUDA graph, and then costs one instruction.
"""

from collections import Counter
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from .turns import turn

WARM_UP = 3  # calls before recording: libraries choose their kernels, and optimizers make their state


class Captured:
    """`function`, which takes tensors and returns nothing: what it does, it does to tensors that live on.

    It is called as it is, and on a GPU, from the fourth call with tensors of the same shapes on, replayed. What it does
    must then depend on the values in tensors only. Values that change from call to call go through its arguments, or
    through tensors that are changed in place.
    """

    def __init__(self, function: Callable[..., None]):
        self.function = function
        self.calls: Counter[tuple] = Counter()
        self.recordings: dict[tuple, Recording] = {}

    def __call__(self, *inputs: Tensor) -> None:
        shapes = tuple(x.shape for x in inputs)
        if shapes not in self.recordings:
            with turn():
                self.calls[shapes] += 1
                if self.calls[shapes] <= WARM_UP or not inputs[0].is_cuda:
                    self.function(*inputs)
                    return
                self.recordings[shapes] = Recording(self.function, inputs)
        self.recordings[shapes].play(inputs)


class Recording:
    """A CUDA graph of one call of `function`, and the tensors from which it reads its inputs."""

    def __init__(self, function: Callable[..., None], inputs: Sequence[Tensor]):
        self.inputs = [x.clone() for x in inputs]
        self.graph = torch.cuda.CUDAGraph()
        stream = torch.cuda.current_stream()
        own = None if stream == torch.cuda.default_stream() else stream  # the default stream cannot be recorded
        # Other threads may go on allocating memory meanwhile.
        with torch.cuda.graph(self.graph, stream=own, capture_error_mode="thread_local"):
            function(*self.inputs)

    def play(self, inputs: Sequence[Tensor]) -> None:
        """Have it done with `inputs`."""
        for own, x in zip(self.inputs, inputs, strict=True):
            own.copy_(x)
        self.graph.replay()
