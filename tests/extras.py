"""One small task for each package of the extra ``more``, whose answer is known without it.

``python tests/extras.py`` does all of them: in the locked environment (test_extras.py) and in Colab's, which
has no pytest (tests/colab/test_extras.py).
"""

from __future__ import annotations

import copy
import sys
import tempfile
from pathlib import Path

import torch
from torch import nn


def tune() -> None:
    """The minimum of a parabola."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=0))
    study.optimize(lambda trial: (trial.suggest_float("x", -10, 10) - 2) ** 2, n_trials=40)
    assert abs(study.best_params["x"] - 2) < 1, study.best_params


def adapt() -> None:
    """LoRA begins as the model it adapts, and trains rank × (in + out) numbers a layer."""
    from peft import LoraConfig, get_peft_model
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    model = BertModel(BertConfig(vocab_size=50, **shape)).eval()
    ids = torch.arange(10)[None]
    before = model(ids).last_hidden_state
    adapted = get_peft_model(model, LoraConfig(r=3, target_modules=["query"])).eval()
    assert torch.equal(adapted(ids).last_hidden_state, before)
    assert sum(p.numel() for p in adapted.parameters() if p.requires_grad) == 2 * 3 * (16 + 16)


def attribute() -> None:
    """Integrated gradients of a linear model are weight × input."""
    from captum.attr import IntegratedGradients

    torch.manual_seed(0)
    model, x = nn.Linear(5, 3), torch.randn(4, 5)
    found = IntegratedGradients(model).attribute(x, target=1)
    torch.testing.assert_close(found.float(), model.weight[1] * x, atol=1e-5, rtol=1e-5)


def gradients_of_rows() -> None:
    """The gradient of each row, beside a loop over the rows; and a privacy loss that grows with the steps."""
    from opacus import GradSampleModule
    from opacus.accountants import RDPAccountant

    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)), torch.randn(6, 5)
    rows = GradSampleModule(copy.deepcopy(model), loss_reduction="sum")
    rows(x).square().sum().backward()
    for i, row in enumerate(x):
        model.zero_grad()
        model(row[None]).square().sum().backward()
        for mine, theirs in zip(model.parameters(), rows.parameters(), strict=True):
            torch.testing.assert_close(theirs.grad_sample[i], mine.grad)
    accountant, spent = RDPAccountant(), []
    for _ in range(2):
        accountant.step(noise_multiplier=1.0, sample_rate=0.01)
        spent.append(accountant.get_epsilon(delta=1e-5))
    assert 0 < spent[0] < spent[1] < 2, spent


def export() -> None:
    """What torch exports, through onnx and onnxscript, answers the same for another number of rows."""
    import numpy as np
    import onnx
    import onnxruntime

    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(5, 4), nn.GELU(), nn.Linear(4, 2)).eval(), torch.randn(7, 5)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        rows = torch.export.Dim("rows")
        torch.onnx.export(
            model, (x[:3],), path, input_names=["x"], dynamic_shapes=({0: rows},), dynamo=True, verbose=False
        )
        onnx.checker.check_model(onnx.load(path))
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"x": x.numpy()})
    np.testing.assert_allclose(found, model(x).detach().numpy(), atol=1e-5)


TASKS = {
    "optuna": tune,
    "peft": adapt,
    "captum": attribute,
    "opacus": gradients_of_rows,
    "onnxruntime": export,
}


if __name__ == "__main__":
    for name in sys.argv[1:] or TASKS:
        TASKS[name]()
        print(f"{name}: right", flush=True)
