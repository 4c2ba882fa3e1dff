"""Rows per CPU-second: cmlib's fit beside two loops written by hand, on the same model, in turns A B C A B C.

    OMP_NUM_THREADS=1 python benchmarks/fit.py

barest : the least that trains, and AdamW as one fused kernel
fair   : a loop that does what anybody wants of a run: the learning rate rises and falls, the gradient is
         clipped, the loss of every step is read, and AdamW is the kernel that fit takes for this model
CPU-seconds, not seconds on the wall, so that a busy machine changes little; fit / fair is the cost of what
fit adds (typed batches, the check for NaN, the history). All in one process: between two processes the same
code differs by a tenth, by where their memory happens to lie, and that is the noise of throughput.py.
"""

import copy
import gc
import math
import statistics
import time

import torch
from torch.nn.functional import cross_entropy
from torch.nn.utils import clip_grad_norm_

from cmlib.data.batch import Features
from cmlib.data.pairs import Pairs
from cmlib.data.rows import Rows
from cmlib.encoders import image_encoder, text_encoder
from cmlib.fusion.concat import Concat
from cmlib.models.fusion_model import FusionModel
from cmlib.training.fit import fit
from cmlib.training.optim import adamw, rate, set_rate

RATE, WARMUP, CLIP = 1e-3, 0.1, 1.0  # fit's own defaults
GOAL = 0.9  # of the fair loop, for heads on features


def barest(model, rows, epochs, batch_size):
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, fused=True)
    model.train()
    for _ in range(epochs):
        for index in torch.randperm(len(rows)).split(batch_size):
            batch = rows[index]
            optimizer.zero_grad()
            cross_entropy(model(batch), batch.labels).backward()
            optimizer.step()


def fair(model, rows, epochs, batch_size):
    optimizer, losses = adamw(model, RATE), []
    parameters = [p for p in model.parameters() if p.requires_grad]
    steps = epochs * math.ceil(len(rows) / batch_size)
    model.train()
    for _ in range(epochs):
        for index in torch.randperm(len(rows)).split(batch_size):
            batch = rows[index]
            set_rate(optimizer, rate(len(losses), steps, round(WARMUP * steps)))
            optimizer.zero_grad()
            loss = cross_entropy(model(batch), batch.labels)
            loss.backward()
            clip_grad_norm_(parameters, CLIP)
            optimizer.step()
            losses.append(loss.item())


def ours(model, rows, epochs, batch_size):
    fit(model, rows, epochs=epochs, batch_size=batch_size, learning_rate=RATE, progress=False)


def compare(name, model, rows, epochs, batch_size, repeats):
    """Print the median speed of each loop and, of the turns side by side, the median ratios."""

    def speed(loop):
        net = copy.deepcopy(model)
        gc.collect()  # the loop before leaves its rubbish to nobody
        started = time.process_time()
        loop(net, rows, epochs, batch_size)
        return len(rows) * epochs / (time.process_time() - started)

    loops = (ours, barest, fair)
    for loop in loops:  # the first run pays for imports and allocations
        speed(loop)
    turns = [[speed(loop) for loop in loops] for _ in range(repeats)]
    fit_speed, barest_speed, fair_speed = (statistics.median(column) for column in zip(*turns, strict=True))
    of_barest = statistics.median(a / b for a, b, _ in turns)
    of_fair = statistics.median(a / c for a, _, c in turns)
    print(
        f"{name:28}{batch_size:7}{fit_speed:12,.0f}{barest_speed:12,.0f}{fair_speed:12,.0f}"
        f"{of_barest:14.2f}{of_fair:12.2f}",
        flush=True,
    )
    return of_fair


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{'rows per CPU-second':28}{'batch':>7}{'fit':>12}{'barest':>12}{'fair':>12}"
          f"{'fit / barest':>14}{'fit / fair':>12}")
    features = Features(torch.randn(3000, 128), torch.randn(3000, 128), torch.randint(0, 2, (3000,)))
    kinds = (("mlp", 128, 6), ("mlp", 32, 3), ("linear", 128, 12), ("linear", 32, 4))
    heads = [
        compare(f"{head} head on features", Concat(128, 128, 2, head), features, epochs, batch_size, 9)
        for head, batch_size, epochs in kinds
    ]
    images = torch.randint(0, 256, (256, 3, 64, 64), dtype=torch.uint8)
    texts = ["is this the blue ball that i ordered ?"] * len(images)
    pairs = Pairs(images, texts, torch.arange(len(images)) % 2, ("keep", "refund"))
    words = text_encoder("mini", pretrained=False)
    rows = Rows(pairs, words.tokenizer)  # tokenised once for every loop: the point is the loop
    mini = FusionModel(image_encoder("mini", pretrained=False), words, 2)
    compare("mini ResNet + mini BERT", mini, rows, 1, 64, 5)
    large = FusionModel(image_encoder("resnet18", pretrained=False, image_size=64), words, 2)
    compare("ResNet-18 + mini BERT", large, Rows(pairs[:96], words.tokenizer), 1, 64, 5)
    worst = min(heads)
    said = "holds" if worst >= GOAL else "MISSED"
    print(f"{said}: heads on features, fit / fair at least {worst:.2f} (wanted: {GOAL})")


if __name__ == "__main__":
    main()
