"""Several processes that train one model: `torchrun --nproc_per_node N`, each takes a part of every batch.

Models are not wrapped: gates hang on their modules and checkpoints on the names of their weights. Gradients
are summed in one flat message behind the backward pass, so that one process and several do the same sums.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import torch

from qaprune import stage
from qaprune.errors import InputError


@dataclass(frozen=True)
class Processes:
    """This process among those that train together."""

    index: int = 0
    count: int = 1

    @property
    def main(self) -> bool:
        """Whether it is the one that writes."""
        return self.index == 0

    def part(self, windows: np.ndarray) -> np.ndarray:
        """This process's share of a batch; may be empty."""
        return windows[self.index :: self.count]

    def add_up(self, parameters: Iterable[torch.Tensor], loss: torch.Tensor) -> None:
        """Replace each gradient, and the loss, by its sum over the processes, in place and in one message.

        Parameters that got no gradient here count as zero.
        """
        if self.count == 1:
            return
        from accelerate.utils import reduce

        tensors = [loss]
        for parameter in parameters:
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            tensors.append(parameter.grad)
        flat = reduce(torch.cat([tensor.flatten() for tensor in tensors]), "sum")
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def agree(self, number: int) -> bool:
        """Whether all processes name the same number."""
        if self.count == 1:
            return True
        from accelerate.utils import gather_object

        return len(set(gather_object([number]))) == 1


ALONE = Processes()


def join(expected: int, device: torch.device) -> tuple[Processes, torch.device]:
    """Meet the other processes, and say which device is this one's.

    Their number must be the one that the config names: a launcher that starts fewer without a word would
    train with other batches than the record says.
    """
    launched = stage.launched_processes()
    if launched != expected:
        raise InputError(
            f"compute.processes: expected {expected}, but {launched} run here; "
            f"start the stage with torchrun --nproc_per_node {expected} --no-python"
        )
    if expected == 1:
        return ALONE, device
    if device.type == "cuda" and (found := torch.cuda.device_count()) < expected:
        raise InputError(
            f"compute.processes: expected a GPU for each of {expected}, but torch finds {found}"
        )
    from accelerate import PartialState

    state = PartialState(cpu=device.type == "cpu")
    return Processes(state.process_index, state.num_processes), state.device
