"""Ours: what the lessons call, on each tier."""

from serve import serve
from task import CLIP, SEED, WARMUP

from cmlib.datasets import folder
from cmlib.training.fit import fit


def train(task, turn):
    tier, size = turn["tier"], task.size
    data = folder(task.csv, size=size.pixels, cache=turn["cache"]) if tier == 3 else task.rows(tier)
    fit(
        task.model,
        data,
        epochs=size.epochs,
        batch_size=size.batch,
        learning_rate=size.rate,
        warmup=WARMUP,
        clip=CLIP,
        seed=SEED,
        loss=task.loss,
        precision=size.precision,
        compile=task.compile,
        progress=False,
    )


if __name__ == "__main__":
    serve(train)
