"""Curves for people to watch: TensorBoard in a folder, and Weights & Biases when its key is set."""

from __future__ import annotations

import os
from pathlib import Path


class Log:
    """scalars(step, {"loss": 0.3, …}) draws, leaving the block ends. With ``folder=None`` nothing happens."""

    def __init__(self, folder: str | Path | None, settings: dict | None = None):
        self.board = self.run = None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ModuleNotFoundError("log=… writes for TensorBoard, which is not installed: pip install tensorboard, or leave "
                                      "log out.") from None
        if os.environ.get("WANDB_API_KEY"):
            try:
                import wandb
            except ImportError:
                raise ModuleNotFoundError("WANDB_API_KEY is set, but Weights & Biases is not installed: pip install wandb, or "
                                          "unset the key.") from None
            Path(folder).mkdir(parents=True, exist_ok=True)
            self.run = wandb.init(project="cmlib", dir=str(folder), config=settings)
        self.board = SummaryWriter(str(folder))

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, step)
        if self.run is not None:
            self.run.log(values, step=step)

    def __enter__(self):
        return self

    def __exit__(self, *_error):
        if self.board is not None:
            self.board.close()
        if self.run is not None:
            self.run.finish()
