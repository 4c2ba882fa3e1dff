"""An exported model gives the same logits where there is no cmlib."""

import json
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from conftest import need

from cmlib import FusionModel, fit, image_encoder, predict, text_encoder
from cmlib.data import collate
from cmlib.delivery import export, export_model
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


MODELS = [
    lambda: FusionModel(image_encoder("mini"), text_encoder("mini"), 2),
    lambda: FusionModel(image_encoder("cnn"), text_encoder("bag"), 2, "linear"),
    lambda: FusionModel(image_encoder("cnn"), text_encoder("bag"), 2, use=("text",)),
]


def trained(make):
    """(a model after one epoch, pixels, input_ids, attention_mask of other rows, its logits)"""
    torch.manual_seed(0)
    desk, model = RefundDesk(), make()
    rows = desk.sample(12, split="valid")
    fit(model, desk.sample(24), epochs=1, progress=False)
    model.class_names = ("keep", "refund")
    batch = collate(rows, model.tokenizer)
    inputs = batch.image.pixels, batch.text.input_ids, batch.text.attention_mask
    return model, inputs, predict(model, rows)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("make", MODELS)
def test_the_file_runs_without_cmlib_for_any_batch(make, tmp_path):
    model, inputs, expected = trained(make)
    model.training = True
    file = export_model(model, tmp_path / "model.pt2")
    assert model.training  # as it was
    torch.save((*inputs, expected), tmp_path / "inputs.pt")
    call = [sys.executable, "-I", "-c", ELSEWHERE, file, tmp_path / "inputs.pt"]
    worst, card = json.loads(subprocess.run(call, cwd=tmp_path, capture_output=True, check=True).stdout)
    assert worst < 1e-5 and card["class_names"] == ["keep", "refund"] and card["max_tokens"] == 128
    assert card["inputs"]["pixels"] == "uint8 (batch, 3, 64, 64)"


@pytest.mark.parametrize("make", MODELS)
def test_onnxruntime_gives_the_same_logits_for_any_batch(make, tmp_path):
    for package in ("onnxscript", "onnxruntime"):
        need(f'{package} (pip install -e ".[more]")', find_spec(package))
    import onnxruntime

    model, (pixels, ids, mask), expected = trained(make)
    file = export_model(model, tmp_path / "model.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]  # one file holds all of it
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    card = json.loads(session.get_modelmeta().custom_metadata_map["card.json"])
    assert card["class_names"] == ["keep", "refund"]
    pad = torch.nn.functional.pad
    for rows, more in ((1, 0), (5, 0), (12, 0), (12, 9)):
        inputs = {"pixels": pixels[:rows], "input_ids": pad(ids, (0, more))[:rows]}
        inputs["attention_mask"] = pad(mask, (0, more))[:rows]
        wanted = {one.name for one in session.get_inputs()}  # of a text model no pixels are asked for
        assert wanted <= inputs.keys() and "input_ids" in wanted
        (found,) = session.run(None, {name: inputs[name].numpy() for name in wanted})
        assert (torch.from_numpy(found) - expected[:rows]).abs().max() < 1e-5


def test_without_onnx_its_install_line_is_named(monkeypatch, tmp_path):
    monkeypatch.setattr(export, "find_spec", lambda name: None if name == "onnxscript" else find_spec(name))
    model = FusionModel(image_encoder("cnn"), text_encoder("bag"), 2)
    with pytest.raises(ImportError) as caught:
        export_model(model, tmp_path / "model.onnx")
    assert str(caught.value) == ("A .onnx file is written by onnxscript, which is not installed here: "
                                 'pip install -e ".[more]", or export to a .pt2 file.')


@pytest.mark.parametrize("make, part", [
    (lambda: torch.nn.Linear(2, 2), "takes a FusionModel; got Linear"),
    (lambda: FusionModel(image_encoder("cnn"), text_encoder("lstm"), 2), "An LSTM stops at the last word"),
])
def test_what_cannot_be_exported_is_named(make, part, tmp_path):
    with pytest.raises(TypeError) as caught:
        export_model(make(), tmp_path / "model.pt2")
    assert part in str(caught.value)


@pytest.mark.parametrize(
    "name, size, says",
    [("m.pkl", None, r"m\.pkl: a model is exported to a \.pt2 or an \.onnx file"),
     ("m.pt2", 0, "whole number of pixels from 8 to 1024; got 0")],
)
def test_what_cannot_be_written_is_one_sentence(name, size, says, tmp_path):
    with pytest.raises(ValueError, match=says):
        export_model(MODELS[1](), tmp_path / name, image_size=size)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there_is_made(tmp_path):
    assert export_model(MODELS[1](), tmp_path / "new" / "m.pt2").is_file()
