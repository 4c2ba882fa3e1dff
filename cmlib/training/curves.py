"""Curves for people to watch: TensorBoard in a folder, and Weights & Biases when its key is set."""

from __future__ import annotations

import logging
import os
import uuid
from contextlib import contextmanager, suppress
from pathlib import Path


def place(log: str | Path | bool | None, checkpoint: str | Path | None) -> Path | None:
    """The folder of the curves: ``log``, else ``checkpoint/log``; None where there is neither, or
    log=False.
    """
    if log is True:
        raise ValueError("log=True names no folder: give one, or leave log out and the curves go to "
                         "checkpoint/log.")
    log = Path(checkpoint, "log") if log is None and checkpoint is not None else log
    return None if log in (None, False) else Path(log)


def read(folder: str | Path) -> dict[str, tuple[list[int], list[float]]]:
    """{name: (steps, values)} of the curves that ``Log`` wrote into a folder, each step once however often
    the run was stopped: what one log is drawn from, or two, one over the other.
    """
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    if not any(Path(folder).glob("events.*")):
        raise FileNotFoundError(f"There are no curves in {folder}: give the folder that fit got as log=…, or "
                                "checkpoint/log.")
    logger = logging.getLogger("tensorboard")  # it warns of a run that was stopped and went on: that is known
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        events = EventAccumulator(str(folder), {"scalars": 0}).Reload()  # 0: every point
    finally:
        logger.setLevel(level)
    points = {name: events.Scalars(name) for name in events.Tags()["scalars"]}
    return {name: ([p.step for p in found], [p.value for p in found]) for name, found in points.items()}


class Log:
    """scalars(step, {"loss": 0.3, …}) draws, leaving the block ends. With ``folder=None`` nothing happens.

    The first point that is drawn hides what an earlier run has drawn in the folder from that step on: a run
    that was killed and goes on from its checkpoint has each step once, and a new run has the curves for
    itself. The same run of W&B goes on.
    """

    def __init__(self, folder: Path | None, settings: dict | None = None):
        self.folder, self.settings, self.board, self.run = folder, settings, None, None
        if folder is None:
            return
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            raise ModuleNotFoundError("The curves are written for TensorBoard, which is not installed: pip "
                                      "install tensorboard, or "
                                      "say log=False.") from None
        self.writer, self.wandb = SummaryWriter, None
        if os.environ.get("WANDB_API_KEY"):
            try:
                import wandb
            except ImportError:
                raise ModuleNotFoundError("WANDB_API_KEY is set, but Weights & Biases is not installed: pip "
                                          "install wandb, or "
                                          "unset the key.") from None
            self.wandb = wandb

    def scalars(self, step: int, values: dict[str, float]) -> None:
        if self.folder is None:
            return
        with self._told():
            if self.board is None:
                self.board = self.writer(str(self.folder), purge_step=step)
                if self.wandb:
                    self.run = self.wandb.init(
                        project="cmlib",
                        dir=str(self.folder),
                        config=self.settings,
                        id=self._name(),
                        resume="allow",
                    )
            for name, value in values.items():
                self.board.add_scalar(name, value, step)
        if self.run is not None:
            self.run.log(values, step=step)

    def flush(self) -> None:
        """Bring what was drawn to the disk: a checkpoint goes on from here."""
        if self.board is not None:
            with self._told():
                self.board.flush()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_error):
        if self.board is not None:
            with suppress(OSError) if kind else self._told():  # never in place of what ended the run
                self.board.close()
        if self.run is not None:
            self.run.finish()

    def _name(self):
        """The id of this run at W&B, kept with the curves."""
        path = self.folder / "wandb-id"
        if not path.exists():
            path.write_text(uuid.uuid4().hex)
        return path.read_text()

    @contextmanager
    def _told(self):
        try:
            yield
        except OSError as error:
            raise OSError(f"The curves could not be written to {self.folder} ({error.strerror or error}): "
                          "free some space, choose "
                          "another folder, or say log=False.") from None
