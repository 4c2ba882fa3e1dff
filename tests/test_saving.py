"""A whole model is kept and had back bit by bit, knows its classes, and answers one new picture and text."""

import csv
import io
import json
import warnings
import zipfile

import pytest
import torch
from PIL import Image

from cmlib import FusionModel, evaluate, fit, freeze, image_encoder, predict, text_encoder
from cmlib.data import Batch, Pairs, Rows, collate, doubts
from cmlib.datasets import folder, pair
from cmlib.models import load_model, save_model
from cmlib.worlds import RefundDesk

HEAD = ["image", "text", "label"]


@pytest.fixture
def fresh(monkeypatch):
    """Nothing was said before."""
    monkeypatch.setattr(doubts, "_said", set())


def model_of(image="cnn", text="bag", n_classes=2, head="linear", **settings):
    torch.manual_seed(0)
    return FusionModel(image_encoder(image), text_encoder(text), n_classes, head, **settings)


@pytest.fixture(scope="module")
def desk():
    desk = RefundDesk()
    return desk.sample(24), desk.sample(12, split="valid")


@pytest.mark.parametrize(
    "make",
    [
        lambda: model_of("mini", "mini", head="mlp"),
        lambda: model_of("cnn", "lstm", normalize=False),
        lambda: model_of("mini", "bag", use=("image",)),
        lambda: FusionModel(
            image_encoder("cnn", hidden_size=64, image_size=32), text_encoder("mini", pooling="cls"), 5
        ),
        lambda: FusionModel(
            image_encoder("resnet18", pretrained=False, channels_last=True),
            text_encoder("bag", hidden_size=16),
            3,
        ),
    ],
)
def test_what_is_loaded_gives_the_same_bits(make, desk, tmp_path):
    model = make()
    model.class_names = tuple("abcdefgh"[: model.n_classes])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.01)
    again = load_model(save_model(model, tmp_path / "kept"))
    assert torch.equal(predict(again, desk[1]), predict(model, desk[1]))
    assert again.class_names == model.class_names and not again.training
    assert [(name, t.shape) for name, t in again.state_dict().items()] == [
        (name, t.shape) for name, t in model.state_dict().items()]
    card = json.loads((tmp_path / "kept" / "model.json").read_text())
    assert card["class_names"] == list(model.class_names) and len(card["sha256"]) >= 3
    for file in (tmp_path / "kept").rglob("*"):
        assert (
            not file.is_file() or not zipfile.is_zipfile(file) and not file.read_bytes().startswith(b"\x80")
        )


def test_a_trained_and_half_frozen_model_and_one_that_was_saved_before(desk, tmp_path):
    model = model_of("mini", "mini")
    freeze(model.image_encoder)
    save_model(model, tmp_path)
    fit(model, *desk, epochs=1, progress=False)
    again = load_model(save_model(model, tmp_path))
    assert (
        torch.equal(predict(again, desk[1]), predict(model, desk[1]))
        and again.class_names == desk[0].class_names
    )
    fit(again, *desk, epochs=1, progress=False)  # it learns on


def test_torch_save_of_a_whole_model_works_too(desk):
    model, file = model_of("mini", "mini"), io.BytesIO()
    model.class_names = ("keep", "refund")
    torch.save(model, file)
    file.seek(0)
    again = torch.load(file, weights_only=False)
    assert (
        torch.equal(predict(again, desk[1]), predict(model, desk[1]))
        and again.class_names == model.class_names
    )


@pytest.fixture
def kept(tmp_path):
    return save_model(model_of(), tmp_path / "kept")


def change(name, act):
    return lambda kept: act(kept / name)


def card(**facts):
    def act(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | facts))
    return change("model.json", act)


DAMAGED = {
    "no card": (change("model.json", lambda p: p.unlink()), FileNotFoundError, "no model.json"),
    "cut card": (
        change("model.json", lambda p: p.write_text(p.read_text()[:90])),
        ValueError,
        "no card of a model",
    ),
    "a list": (change("model.json", lambda p: p.write_text("[1]")), ValueError, "no card of a model"),
    "cut weights": (
        change("model.safetensors", lambda p: p.write_bytes(p.read_bytes()[:999])),
        ValueError,
        "SHA-256",
    ),
    "no weights": (change("model.safetensors", lambda p: p.unlink()), ValueError, "is missing"),
    "changed words": (
        change("tokenizer/tokenizer.json", lambda p: p.write_text("{}")),
        ValueError,
        "damaged or changed",
    ),
    "no words": (change("tokenizer/tokenizer.json", lambda p: p.unlink()), ValueError, "is missing"),
    "one file more": (
        change("tokenizer/code.py", lambda p: p.write_text("1/0")),
        ValueError,
        "not on the card",
    ),
    "another version": (card(format=2), ValueError, "format 2 and this cmlib reads 1"),
    "a part that is not there": (card(text={}), ValueError, "lacks a part of the model"),
    "another size": (card(n_classes=3), ValueError, "another architecture"),
    "an unknown encoder": (card(image={"name": "mini2"}), ValueError, "did you mean 'mini'?"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_folder_that_was_changed_is_refused_in_one_sentence(name, kept):
    act, error, part = DAMAGED[name]
    act(kept)
    with pytest.raises(error) as caught:
        load_model(kept)
    assert part in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "make, part",
    [
        (lambda: torch.nn.Linear(2, 2), "this is a Linear"),
        (
            lambda: FusionModel(image_encoder("cnn"), text_encoder("bag"), 2, torch.nn.Identity()),
            "the head Identity",
        ),
    ],
)
def test_a_model_of_other_parts_is_refused_with_what_to_do(make, part, tmp_path):
    with pytest.raises(TypeError) as caught:
        save_model(make(), tmp_path / "kept")
    assert part in str(caught.value) and "torch.save(model.state_dict(), " in str(caught.value)
    assert not (tmp_path / "kept").exists()


# ------------------------------------------------------------------------------------------------------------
# one picture and a text, tables without labels


@pytest.fixture
def own(tmp_path):
    """write(rows) → a CSV of pictures 0.png … 3.png in four colours."""
    for i in range(4):
        Image.new("RGB", (64, 64), (60 * i, 0, 0)).save(tmp_path / f"{i}.png")

    def write(rows, head=HEAD, name="own.csv"):
        with open(tmp_path / name, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([head, *rows])
        return tmp_path / name

    write.at = tmp_path
    return write


def test_predict_takes_one_picture_and_a_text_or_a_table(own):
    model, rows = model_of(), [[f"{i}.png", f"text {i}"] for i in range(4)]
    path = own(rows, HEAD[:2])
    logits = predict(model, path)
    assert torch.equal(logits, predict(model, folder(path, label=None))) and logits.shape == (4, 2)
    one = predict(model, (own.at / "2.png", "text 2"))
    assert torch.equal(one, predict(model, pair(own.at / "2.png", "text 2"))) and torch.allclose(
        one, logits[2:3]
    )
    with pytest.raises(ValueError, match=r"predict\(model, \(picture, text\)\)"):
        predict(model, own.at / "2.png")


def test_a_model_of_one_half_reads_that_half_alone(own):
    model = model_of(use=("text",))
    both = predict(model, (own.at / "2.png", "text"))
    assert torch.allclose(predict(model, (None, "text")), both, atol=1e-6)


def test_a_table_of_one_class_is_evaluated_with_the_names_of_the_model(own):
    model = model_of()
    model.class_names = ("cat", "dog")
    path = own([[f"{i}.png", f"text {i}", "dog"] for i in range(4)])
    found = evaluate(model, folder(path, class_names=model.class_names))
    assert found.n == 4 and found.confusion[0].tolist() == [0, 0]


# ------------------------------------------------------------------------------------------------------------
# classes


def pairs(names, labels=(0, 1, 0, 1)):
    texts = ["red", "blue", "green", "grey"]
    return Pairs(torch.zeros(4, 3, 16, 16, dtype=torch.uint8), texts, torch.tensor(labels), tuple(names))


CAT_DOG, ANT_CAT = ("cat", "dog"), ("ant", "cat", "dog")


@pytest.mark.parametrize(
    "wrap", [lambda pairs, model: pairs, lambda pairs, model: Rows(pairs, model.tokenizer)]
)
def test_two_sets_that_number_their_classes_differently_are_refused_before_training(wrap):
    model = model_of(n_classes=3)
    before = [parameter.clone() for parameter in model.parameters()]
    with pytest.raises(ValueError) as caught:
        fit(model, wrap(pairs(ANT_CAT), model), wrap(pairs(CAT_DOG), model), epochs=1, progress=False)
    assert "0 is 'ant' in the training data ('ant', 'cat', 'dog') and 'cat' in the validation data" in str(
        caught.value
    )
    assert "same class_names" in str(caught.value) and model.class_names == ()
    assert all(map(torch.equal, model.parameters(), before))


def test_a_model_knows_its_classes_and_refuses_others():
    model = model_of(n_classes=3)
    fit(model, pairs(CAT_DOG), epochs=1, progress=False)
    assert model.class_names == CAT_DOG
    for call in (lambda data: evaluate(model, data), lambda data: fit(model, data, epochs=1, progress=False)):
        with pytest.raises(ValueError, match="0 is 'cat' in the model"):
            call(pairs(ANT_CAT))
    assert evaluate(model, pairs(CAT_DOG)).class_names == ("cat", "dog", "2")
    fit(model, pairs((*CAT_DOG, "eel"), (0, 1, 2, 1)), epochs=1, progress=False)  # goes on after the same two
    assert model.class_names == ("cat", "dog", "eel")


# ------------------------------------------------------------------------------------------------------------
# texts: unknown words, cut ones


def heard(act):
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        act()
    return [str(one.message) for one in found]


@pytest.mark.parametrize("words", [
    "\u043a\u0440\u0430\u0441\u043d\u044b\u0439 \u043a\u0440\u0443\u0433", "\u7ea2\u8272\u5706\u5f62",
    "\u062f\u0627\u0626\u0631\u0629 \u062d\u0645\u0631\u0627\u0621",
])
def test_foreign_words_are_told_once(words, fresh):
    model = model_of()
    data = Pairs(None, ["a red circle", words, words], torch.tensor([0, 1, 0]), CAT_DOG)
    said = heard(lambda: [Rows(data, model.tokenizer) for _ in range(3)])
    assert len(said) == 1 and "unknown to the tokenizer (row 1: " in said[0] and "multilingual" in said[0]
    few = Pairs(None, ["a red circle and a blue square"] * 9 + [words[:2]], None)
    assert not heard(lambda: Rows(few, model.tokenizer))


def test_cut_texts_are_told_once_and_max_tokens_moves_the_cut(fresh):
    data = Pairs(None, ["red " * 200 + "circle", "red circle"], None)
    model = model_of()
    said = heard(lambda: [Rows(data, model.tokenizer) for _ in range(3)])
    assert len(said) == 1 and "1 of these 2 texts are longer than 128 tokens (row 0: 203)" in said[0]
    assert Rows(data, model.tokenizer).lengths.tolist() == [128, 4]
    long = text_encoder("bag", max_tokens=300)
    assert not heard(lambda: Rows(data, long.tokenizer))
    assert (
        Rows(data, long.tokenizer).lengths[0] == collate(data, long.tokenizer).text.input_ids.shape[1] == 203
    )


def test_max_tokens_is_kept_with_the_model_and_has_limits(tmp_path):
    torch.manual_seed(0)
    model = FusionModel(image_encoder("cnn"), text_encoder("bag", max_tokens=300), 2)
    assert load_model(save_model(model, tmp_path)).tokenizer.max_tokens == 300
    assert text_encoder("mini", max_tokens=64).tokenizer.max_tokens == 64
    with pytest.raises(ValueError, match="max_tokens=256 must be a whole number from 3 to 128"):
        text_encoder("mini", max_tokens=256)
    with pytest.raises(ValueError, match="max_tokens='64'"):
        text_encoder("bag", max_tokens="64")


def test_a_batch_of_the_halves_that_are_there():
    assert isinstance(collate(pair(text="red"), model_of().tokenizer), Batch)


def test_a_file_is_no_folder_to_save_into(tmp_path):
    (tmp_path / "m").write_text("mine")
    with pytest.raises(ValueError, match="m is a file: give save_model a folder"):
        save_model(model_of(), tmp_path / "m")
    assert (tmp_path / "m").read_text() == "mine"


@pytest.mark.parametrize("names", [["a", "b", "c"], "ab", [1, 2], None])
def test_a_card_whose_names_are_not_those_of_its_classes_is_refused(names, tmp_path):
    folder = save_model(model_of(), tmp_path / "m")
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps(card | {"class_names": names}))
    with pytest.raises(ValueError, match="for 2 classes: it was changed"):
        load_model(folder)
