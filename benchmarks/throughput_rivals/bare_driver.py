"""A loop written by hand: as in the tutorials, and as someone writes it who has profiled it."""

import torch
from serve import serve
from task import CLIP, Plain
from torch import nn
from torch.utils.data import DataLoader


def train(task, turn):
    net, size, data, order = Plain(task), task.size, task.dataset(turn["tier"]), task.order()
    optimizer, schedule = task.optimizer(fused=task.tuned or None)
    loader = DataLoader(
        data, batch_size=size.batch, sampler=order, collate_fn=data.collate, **task.loader(turn["tier"])
    )
    parameters, total = list(net.parameters()), 0.0
    for _ in range(size.epochs):
        # tensors need no loader: a batch is one gather
        for batch in (
            map(data.__getitems__, torch.tensor(list(order)).split(size.batch))
            if task.tuned and turn["tier"] < 3
            else loader
        ):
            batch = {name: value.to(task.device, non_blocking=task.tuned) for name, value in batch.items()}
            optimizer.zero_grad()
            with task.precision.autocast():
                loss = net(**batch)["loss"]
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, CLIP)
            optimizer.step()
            schedule.step()
            if not task.tuned:
                total += loss.item()


if __name__ == "__main__":
    serve(train)
