"""Samples per CPU-second: cmlib.training.fit.fit against a bare PyTorch loop on the same model, interleaved A
B A B.

    OMP_NUM_THREADS=1 python benchmarks/fit.py

CPU-seconds, not seconds on the wall, so that a busy machine changes little; the ratio is the cost of what fit
adds (schedule, clipping, NaN check, history, typed batches). Both in one process: between two processes the
same code differs by a tenth, by where their memory happens to lie, and that is the noise of throughput.py.
"""

import copy
import statistics
import time

import torch
from torch.nn.functional import cross_entropy

from cmlib.data.batch import Features
from cmlib.data.pairs import Pairs
from cmlib.data.rows import Rows
from cmlib.encoders import image_encoder, text_encoder
from cmlib.fusion.concat import Concat
from cmlib.models.fusion_model import FusionModel
from cmlib.training.fit import fit


def bare(model, rows, epochs, batch_size=64):
    """The least that trains: AdamW in its fastest form, shuffled batches, nothing else."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], fused=True)
    model.train()
    for _ in range(epochs):
        for index in torch.randperm(len(rows)).split(batch_size):
            batch = rows[index]
            optimizer.zero_grad()
            cross_entropy(model(batch), batch.labels).backward()
            optimizer.step()


def compare(name, model, data, epochs, repeats=5):
    def one(train):
        net = copy.deepcopy(model)
        started = time.process_time()
        train(net)
        return len(data) * epochs / (time.process_time() - started)

    def ours(net):
        fit(net, data, epochs=epochs, progress=False)

    def theirs(net):  # tokenised once too: the point of the comparison is the loop
        bare(net, Rows(data, net.tokenizer) if isinstance(data, Pairs) else data, epochs)

    one(ours), one(theirs)  # the first run pays for imports and allocations
    speeds = [(one(ours), one(theirs)) for _ in range(repeats)]
    a, b = (statistics.median(column) for column in zip(*speeds, strict=True))
    ratio = statistics.median(x / y for x, y in speeds)
    print(f"{name:28}  fit {a:9,.0f}  bare {b:9,.0f}  samples per CPU-second  ratio {ratio:.2f}")


def main():
    torch.set_num_threads(1)
    torch.manual_seed(0)
    features = Features(torch.randn(4096, 128), torch.randn(4096, 128), torch.randint(0, 2, (4096,)))
    compare("MLP head on features", Concat(128, 128, 2, head="mlp"), features, epochs=4)
    images = torch.randint(0, 256, (256, 3, 64, 64), dtype=torch.uint8)
    pairs = Pairs(
        images, ["is this the blue ball that i ordered ?"] * 256, torch.arange(256) % 2, ("keep", "refund")
    )
    mini = FusionModel(image_encoder("mini", pretrained=False), text_encoder("mini", pretrained=False), 2)
    compare("mini ResNet + mini BERT", mini, pairs, epochs=1)
    large = FusionModel(
        image_encoder("resnet18", pretrained=False, image_size=64), text_encoder("mini", pretrained=False), 2
    )
    compare("ResNet-18 + mini BERT", large, pairs[:96], epochs=1)


if __name__ == "__main__":
    main()
