"""Runs in the rivals' own environment: Lightning."""

try:
    import lightning.pytorch as lightning
except ImportError:  # its older name
    import pytorch_lightning as lightning
from serve import serve
from task import CLIP, Plain
from torch import nn
from torch.utils.data import DataLoader


class Module(lightning.LightningModule):
    def __init__(self, task):
        super().__init__()
        self.net, self.task = Plain(task), task

    def training_step(self, batch, _index):
        return self.net(**batch)["loss"]

    def configure_optimizers(self):
        optimizer, schedule = self.task.optimizer(fused=self.task.tuned or None)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def configure_gradient_clipping(self, optimizer, gradient_clip_val=None, gradient_clip_algorithm=None):
        if self.task.tuned:  # Lightning itself refuses to clip for a fused optimiser under autocast
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)
        else:
            super().configure_gradient_clipping(optimizer, gradient_clip_val, gradient_clip_algorithm)


def train(task, turn):
    size, data, how = task.size, task.dataset(turn["tier"]), task.loader(turn["tier"])
    loader = DataLoader(data, batch_size=size.batch, sampler=task.order(), collate_fn=data.collate, **how)
    quiet = (
        dict.fromkeys(
            ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False
        )
        if task.tuned
        else {}
    )
    trainer = lightning.Trainer(
        max_epochs=size.epochs,
        accelerator="gpu" if task.gpu else "cpu",
        devices=1,
        gradient_clip_val=CLIP,
        precision="bf16-mixed" if size.precision == "bf16" else "32-true",
        default_root_dir=task.folder / "lightning",
        **quiet,
    )
    trainer.fit(Module(task), loader)


if __name__ == "__main__":
    serve(train)
