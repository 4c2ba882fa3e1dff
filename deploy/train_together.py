"""One script for one process or for many: it looks who else is there, and what starts it decides.

    python deploy/train_together.py                                      # alone
    torchrun --standalone --nproc-per-node 2 deploy/train_together.py    # two processes here
    sbatch deploy/train.sbatch                                           # two machines, Slurm
    kubectl apply -f deploy/train-job.yaml                               # two machines, Kubernetes

Each process takes its own GPU where there are some, else the CPU. With --checkpoint FOLDER a run that was
stopped goes on from the last checkpoint when the same command is given again. A process waits 600 seconds for
the others, or as many as CMLIB_TIMEOUT says, and then ends all.
"""

import argparse
import os
import sys

import torch

import cmlib
from cmlib import FusionModel, fit, image_encoder, text_encoder
from cmlib.worlds import RefundDesk


def main():
    settings = argparse.ArgumentParser(description="Train the refund desk's model, alone or together.")
    settings.add_argument("--rows", type=int, default=2000, help="tickets to learn from")
    settings.add_argument("--epochs", type=int, default=3)
    settings.add_argument("--batch-size", type=int, default=64, help="of all processes together")
    settings.add_argument("--checkpoint", default=None, help="a folder that every machine sees")
    given = settings.parse_args()
    cfg = cmlib.setup("15", full="bert-base-uncased and resnet50 are trained")
    desk = RefundDesk()
    train, valid = desk.sample(given.rows), desk.sample(500, split="valid")
    torch.manual_seed(0)
    model = FusionModel(image_encoder(cfg.image_encoder), text_encoder(cfg.text_encoder), n_classes=2)
    history = fit(model, train, valid, epochs=given.epochs, batch_size=given.batch_size, learning_rate=1e-4,
                  precision=cfg.precision, checkpoint=given.checkpoint, progress=False)
    if os.environ.get("RANK", "0") == "0":  # one process writes
        losses = ", ".join(f"{value:.4f}" for value in history["valid_loss"].tolist())
        print(f"processes: {os.environ.get('WORLD_SIZE', '1')}; validation loss after each epoch: {losses}")
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


if __name__ == "__main__":
    try:
        main()
    except TimeoutError as error:  # another process hangs
        sys.exit(str(error))
