"""What torchrun starts in test_ddp.py: the script of one process, unchanged. Arguments: folder, then the
settings as JSON.

nan : this row is broken; kill : the second process dies at this step, the first time.
"""

import json
import os
import signal
import sys
from pathlib import Path

import torch
from torch import nn

from cmlib.data.batch import Features
from cmlib.fusion.concat import Concat
from cmlib.training.fit import fit


class Unused(Concat):
    """With a layer that forward never runs, as the pooler of a BERT from the hub is."""

    def __init__(self):
        torch.manual_seed(0)
        super().__init__(4, 3, 2, head="mlp", hidden_size=8)
        self.pooler = nn.Linear(3, 3)
        self.double()

    def branches(self):
        """Its norms stand for encoders: they learn, and rest while the head is alone."""
        return dict(self.normalize)


def data(n, seed):
    draw = torch.Generator().manual_seed(seed)
    image = torch.randn(n, 4, generator=draw, dtype=torch.float64)
    text = torch.randn(n, 3, generator=draw, dtype=torch.float64)
    return Features(image, text, (image[:, 0] + text[:, 0] > 0).long())


def main(folder: str, settings: dict) -> dict:
    """Train and return what can be compared; under torchrun each process leaves it in a file of its own."""
    nan, kill = settings.pop("nan", None), settings.pop("kill", None)
    rows, seen, net = data(29, 0), [], Unused()
    if nan is not None:
        rows.image[nan] = torch.nan

    def loss(logits, labels):
        seen.append(len(labels) if logits.requires_grad else -len(labels))
        if (
            os.environ.get("RANK") == "1"
            and sum(n > 0 for n in seen) == kill
            and not (done := Path(folder, "killed")).exists()
        ):
            done.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return nn.functional.cross_entropy(logits, labels)

    found = {"error": None}
    try:
        history = fit(net, rows, data(11, 1), batch_size=8, loss=loss, progress=False, **settings)
        found |= {
            "batch_loss": history.batch_loss,
            "valid_loss": history["valid_loss"].tolist(),
            "best": history.best_epoch,
        }
    except FloatingPointError as error:
        found["error"] = str(error)
    found |= {"weights": [p.tolist() for p in net.parameters()], "seen": seen}
    Path(folder, f"rank{os.environ.get('RANK', 'none')}.json").write_text(json.dumps(found))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    for number, each in enumerate(json.loads(sys.argv[2])):
        place = Path(sys.argv[1], str(number))
        place.mkdir(exist_ok=True)
        main(str(place), each)
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()
