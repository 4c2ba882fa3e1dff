"""Several processes, one training: who they are, which rows are whose, and sums over all of them.

``torchrun --nproc-per-node 2 lesson.py`` starts them; the script itself does not change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import distributed as dist
from torch import nn

from cmlib.data.tree import interleave


@contextmanager
def waiting() -> Iterator[None]:
    """TimeoutError, in one sentence, where another process hangs; with NCCL its watchdog ends this one."""
    try:
        yield
    except RuntimeError as error:
        if not any(words in str(error) for words in ("Timed out waiting", "Application timeout")):  # gloo's
            raise
        raise TimeoutError(f"Process {dist.get_rank()} of {dist.get_world_size()} has waited for another one "
                           "until its timeout: that one hangs, or takes fewer steps.") from None


@dataclass(frozen=True)
class Team:
    """The processes that train one model together; alone, a team of one for whom nothing is sent.

    rank : the number of this process, 0 … size − 1; process 0 writes logs and checkpoints; size : how many
        there are.
    Row k of a batch belongs to process k mod size. Every process has to call ``total``, ``gather``, ``rows``
    and ``wait``: each of them waits for the others.
    """

    rank: int = 0
    size: int = 1

    @waiting()
    def total(self, value: torch.Tensor) -> torch.Tensor:
        """The sum over all processes."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value

    @waiting()
    def gather(self, value) -> list:
        """The values of all processes, in the order of their ranks, on every process."""
        if self.size == 1:
            return [value]
        values = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    @waiting()
    def rows(self, own: torch.Tensor, n: int) -> torch.Tensor:
        """The n rows of a batch whose rows rank, rank + size, … are ``own``; without gradients, on every
        process.
        """
        if self.size == 1:
            return own
        most = -(-n // self.size)
        padded = own.new_zeros(most, *own.shape[1:])
        padded[: len(own)] = own
        shares = [torch.empty_like(padded) for _ in range(self.size)]
        dist.all_gather(shares, padded)
        return interleave([share[: len(range(rank, n, self.size))] for rank, share in enumerate(shares)], n)

    @waiting()
    def agree(self, tensors: Sequence[torch.Tensor]) -> None:
        """Give all processes the values of process 0, in place."""
        if self.size > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    @waiting()
    def wait(self) -> None:
        if self.size > 1:
            dist.barrier()


ALONE = Team()


def join(device: torch.device) -> Team:
    """The team of this process: that of torch.distributed, started here if torchrun has left its settings;
    else alone. A process waits 600 seconds for the others, or as many as CMLIB_TIMEOUT says.
    """
    if not dist.is_available():
        return ALONE
    if not dist.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1 or "MASTER_ADDR" not in os.environ:
            return ALONE
        local = int(os.environ.get("LOCAL_RANK", "0"))
        if device.type == "cuda" and device.index != local:
            raise ValueError(f"Process {local} of this machine has its model on {device}, where another one "
                             "works: take the device of cmlib.setup, or call torch.cuda.set_device("
                             "int(os.environ['LOCAL_RANK'])) before the model goes to \"cuda\".")
        given = os.environ.get("CMLIB_TIMEOUT", "600")
        if not given.isdecimal() or not 0 < int(given) < 10**6:
            raise ValueError(f"CMLIB_TIMEOUT={given!r} is how many seconds a process waits for the others: a "
                             "whole number from 1 to 999999.")
        timeout = timedelta(seconds=int(given))
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=timeout)
    return Team(dist.get_rank(), dist.get_world_size()) if dist.get_world_size() > 1 else ALONE


def spread(model: nn.Module, team: Team, device: torch.device) -> nn.Module:
    """The model as DistributedDataParallel, which averages gradients over the team (Li et al. 2020); alone,
    the model itself.
    """
    if team.size == 1:
        return model
    # unused: a one-modality baseline, or the pooler of a hub's BERT
    return nn.parallel.DistributedDataParallel(
        model, device_ids=[device] if device.type == "cuda" else None, find_unused_parameters=True)


@contextmanager
def summing(model: nn.Module, last: bool) -> Iterator[None]:
    """Around forward and backward of a part: only the last part of a batch talks to the other processes."""
    with waiting(), nullcontext() if last or not hasattr(model, "no_sync") else model.no_sync():
        yield


def same_buffers(model: nn.Module, team: Team) -> None:
    """Running statistics of process 0 on all: DDP sends them before a forward pass, and the last one leaves
    them apart.
    """
    team.agree(list(model.buffers()))
