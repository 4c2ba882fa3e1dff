"""An exported model gives the same logits where there is no cmlib."""

import json
import subprocess
import sys

import pytest
import torch

from cmlib import FusionModel, fit, image_encoder, predict, text_encoder
from cmlib.data import collate
from cmlib.delivery import export_model
from cmlib.worlds import RefundDesk

ELSEWHERE = """
import json, sys, torch
extra = {"card.json": ""}
model = torch.export.load(sys.argv[1], extra_files=extra).module()
pixels, ids, mask, expected = torch.load(sys.argv[2])
worst = 0.0
for rows in (slice(0, 1), slice(0, 5), slice(0, None)):
    worst = max(worst, (model(pixels[rows], ids[rows], mask[rows]) - expected[rows]).abs().max().item())
longer = torch.nn.functional.pad(ids, (0, 9)), torch.nn.functional.pad(mask, (0, 9))
worst = max(worst, (model(pixels, *longer) - expected).abs().max().item())
assert not any(name.startswith("cmlib") for name in sys.modules)
print(json.dumps([worst, json.loads(extra["card.json"])]))
"""


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("make", [
    lambda: FusionModel(image_encoder("mini"), text_encoder("mini"), 2),
    lambda: FusionModel(image_encoder("cnn"), text_encoder("bag"), 2, "linear"),
    lambda: FusionModel(image_encoder("cnn"), text_encoder("bag"), 2, use=("text",)),
])
def test_the_file_runs_without_cmlib_for_any_batch(make, tmp_path):
    torch.manual_seed(0)
    desk, model = RefundDesk(), make()
    rows = desk.sample(12, split="valid")
    fit(model, desk.sample(24), epochs=1, progress=False)
    model.class_names, model.training = ("keep", "refund"), True
    file = export_model(model, tmp_path / "model.pt2")
    assert model.training  # as it was
    batch = collate(rows, model.tokenizer)
    inputs = batch.image.pixels, batch.text.input_ids, batch.text.attention_mask
    torch.save((*inputs, predict(model, rows)), tmp_path / "inputs.pt")
    call = [sys.executable, "-I", "-c", ELSEWHERE, file, tmp_path / "inputs.pt"]
    worst, card = json.loads(subprocess.run(call, cwd=tmp_path, capture_output=True, check=True).stdout)
    assert worst < 1e-5 and card["class_names"] == ["keep", "refund"] and card["max_tokens"] == 128
    assert card["inputs"]["pixels"] == "uint8 (batch, 3, 64, 64)"


@pytest.mark.parametrize("make, part", [
    (lambda: torch.nn.Linear(2, 2), "takes a FusionModel; got Linear"),
    (lambda: FusionModel(image_encoder("cnn"), text_encoder("lstm"), 2), "An LSTM stops at the last word"),
])
def test_what_cannot_be_exported_is_named(make, part, tmp_path):
    with pytest.raises(TypeError) as caught:
        export_model(make(), tmp_path / "model.pt2")
    assert part in str(caught.value)
