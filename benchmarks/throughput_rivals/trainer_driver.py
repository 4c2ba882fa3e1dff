"""Runs in the rivals' own environment: transformers.Trainer."""

import accelerate  # noqa: F401  Trainer says only at the first turn that it needs it
from serve import serve
from task import CLIP, Plain
from transformers import Trainer, TrainingArguments


class Ordered(Trainer):
    """The order of rows is the only thing that Trainer cannot be told by an argument."""

    def _get_train_sampler(self, train_dataset=None):
        return self.order


def train(task, turn):
    size, data = task.size, task.dataset(turn["tier"])
    settings = {
        "output_dir": str(task.folder / "trainer"),
        "num_train_epochs": size.epochs,
        "per_device_train_batch_size": size.batch,
        "max_grad_norm": CLIP,
        "remove_unused_columns": False,
        "use_cpu": not task.gpu,
        "bf16": size.precision == "bf16",
    }
    if task.tuned:
        settings |= {
            "logging_strategy": "no",
            "save_strategy": "no",
            "disable_tqdm": True,
            "logging_nan_inf_filter": False,
            "accelerator_config": {"non_blocking": True},
        }
        settings |= {f"dataloader_{name}": value for name, value in task.loader(turn["tier"]).items()}
    elif turn["tier"] == 1:
        settings |= {"dataloader_pin_memory": False}  # its default fails on tensors that are on the GPU
    trainer = Ordered(
        Plain(task),
        TrainingArguments(**settings),
        train_dataset=data,
        data_collator=data.collate,
        optimizers=task.optimizer(fused=True),
    )  # fused is Trainer's default
    trainer.order = task.order()
    trainer.train()


if __name__ == "__main__":
    serve(train)
