"""A model of full size trained in float16 with a loss scale, as on a GPU that has no bfloat16 (a T4).

    python benchmarks/gpu/half.py report.json [--smoke]
"""

from __future__ import annotations

import math
import sys
from pathlib import Path

import play
import stand_ins


def main(path: Path, smoke: bool) -> None:
    import torch

    import cmlib
    from cmlib import FusionModel, fit, image_encoder, text_encoder
    from cmlib.worlds import RefundDesk

    report = play.Report(path, cells=1)
    stand_ins.place(small=smoke)
    cfg = cmlib.setup("13", scale="full", full="everything is trained in float16, as on a T4")
    report.write(scale=cfg.name, device=cfg.device)
    pairs = RefundDesk().sample(64 if smoke else 1024)
    model = FusionModel(image_encoder(cfg.image_encoder), text_encoder(cfg.text_encoder), n_classes=2)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    history = fit(model, pairs, epochs=2, batch_size=32, precision="fp16", progress=False,
                  learning_rate={"text": 2e-5, "image": 1e-4, "head": 1e-3})
    moved = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    losses = [round(loss, 4) for loss in history.batch_loss]
    works = all(map(math.isfinite, losses)) and sum(moved) > len(moved) / 2
    said = (f"loss {losses[0]} to {losses[-1]} in {len(losses)} steps, {sum(moved)} of {len(moved)} tensors "
            "moved")
    report.write(cell=1, state="done" if works else "failed", said=said)
    print(said)


if __name__ == "__main__":
    main(Path(sys.argv[1]), "--smoke" in sys.argv)
