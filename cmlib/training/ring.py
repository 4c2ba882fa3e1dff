"""An all-reduce by hand, with messages between neighbours only; torch.distributed has its own, in C++."""

from __future__ import annotations

import torch
from torch import Tensor
from torch import distributed as dist


def ring_all_reduce(x: Tensor) -> tuple[Tensor, int]:
    """The sum of ``x`` over all processes, and how many numbers this one has sent for it.

    x : any shape, the same in every process. Each of n processes cuts it into n chunks; in n − 1 steps they
    travel round the ring and are added up, in n − 1 more the sums do (Patarasuk & Yuan 2009).
    """
    rank, n = dist.get_rank(), dist.get_world_size()
    chunks, sent = list(x.flatten().tensor_split(n)), 0
    for step in range(2 * (n - 1)):
        adding = step < n - 1
        go = (rank - step) % n if adding else (rank + 1 - (step - (n - 1))) % n
        come = (go - 1) % n
        arrived = torch.empty_like(chunks[come])
        sending = dist.isend(chunks[go].contiguous(), (rank + 1) % n)
        dist.recv(arrived, (rank - 1) % n)
        sending.wait()
        sent += chunks[go].numel()
        chunks[come] = chunks[come] + arrived if adding else arrived
    return torch.cat(chunks).reshape(x.shape), sent
