"""How data/ was made: the two tasks, tiny runs of every part, the judge, and files that must not change."""

import json
import subprocess
import sys
from functools import cache

import pytest
import torch
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from cmlib import image_encoder
from cmlib.data.batch import Batch, ImageBatch, TextBatch
from cmlib.data.files import sha256
from cmlib.data.pairs import Pairs
from cmlib.encoders import judge
from cmlib.encoders.attributes import ATTRIBUTES, Heads, Judge
from cmlib.encoders.tokenizer import mini_tokenizer
from cmlib.encoders.weights import DATA
from cmlib.training.predict import predict, prepare
from cmlib.worlds import KINDS, Toys
from recipes import mini_encoders
from recipes.card import TOLERANCE, compare, model_card
from recipes.masked_words import MaskedWords, Reader
from recipes.mini_encoders import Size, accuracies, learn, main
from recipes.naming import Attributes, Namer
from recipes.scenes import ABSENT, BLOCK, SEED, SHARES, pictures, scenes

TRUNKS = {
    "mini-bert": "c753848ed5ef801d79f47c7069f4ebe8490931e6c0e630a717afd69319833b63",
    "mini-resnet": "7b10cbe60bbd5309f207d6361f7b07b0981fc51b53eac098c04e12f53859b736",
}


@cache
def held_out() -> Pairs:
    return pictures("test", 3 * BLOCK)


def card() -> dict:
    return json.loads((DATA / "weights.json").read_text())


@pytest.mark.parametrize("name", TRUNKS)
def test_the_trunks_that_all_lessons_stand_on_have_not_changed(name):
    assert sha256(DATA / f"{name}.safetensors") == TRUNKS[name]


def test_the_card_for_people_says_what_the_card_for_the_loader_says():
    assert (DATA / "README.md").read_text() == model_card(card())


def test_a_rebuild_has_the_accuracies_that_are_stated():
    for name in TRUNKS:
        entry = card()[f"{name}.safetensors"]
        assert entry["rebuilt"] == pytest.approx(entry["held-out accuracy"], abs=0.01)


def test_the_judge_is_as_good_as_its_card_says():
    stated = card()["mini-attributes.safetensors"]["held-out accuracy"]
    found = accuracies(judge(), held_out(), Attributes())
    assert set(found) == set(stated) == set(ATTRIBUTES)
    for name, accuracy in found.items():  # 768 of the 4,096 scenes: up to 153 toys, 231 films
        assert accuracy == pytest.approx(stated[name], abs=0.015), name
    encoder = image_encoder("mini", pretrained=False)  # the control: heads that look at another map
    torch.manual_seed(0)
    blind = accuracies(Judge(encoder, judge().heads), held_out(), Attributes())
    assert all(blind[name] < found[name] - 0.05 for name in found), blind


def test_the_judge_reads_pictures_and_never_learns():
    chosen, batch = judge(), ImageBatch(held_out().images[:4])
    logits = chosen(batch)
    assert {name: tuple(value.shape) for name, value in logits.items()} == {
        name: (4, len(attribute.names)) for name, attribute in ATTRIBUTES.items()
    }
    parent = nn.ModuleList([chosen]).train()
    assert parent.training and not any(part.training for part in chosen.modules())
    assert not any(parameter.requires_grad for parameter in chosen.parameters())
    torch.testing.assert_close(chosen(Batch(batch, None))["kind"], logits["kind"])
    torch.testing.assert_close(predict(chosen, held_out()[:4])["count"], logits["count"])
    pixels = batch.pixels.float().requires_grad_()
    chosen(ImageBatch(pixels))["kind"][:, 0].sum().backward()  # what lesson 25 asks of it
    assert pixels.grad.abs().sum() > 0


def test_every_scene_has_the_attributes_of_its_world_and_no_others():
    found = scenes("test", 2 * BLOCK)
    assert len(found) == 2 * BLOCK and len(found.texts) == 2 * BLOCK and set(found.extras) == set(ATTRIBUTES)
    has = {name: x.reshape(len(x), -1)[:, 0] != ABSENT for name, x in found.extras.items()}
    for name, attribute in ATTRIBUTES.items():
        share = has[name].double().mean().item()
        limit = SHARES[attribute.world]
        assert share == pytest.approx(limit, abs=0.01) or (
            name in ("kind", "cracked", "size") and 0.3 < share < limit
        )
    assert torch.equal(has["kind"], has["color"] & (found.extras["container"] != 1))  # hidden in a parcel
    assert torch.equal(has["size"], has["color"] & (found.extras["container"] != 2))
    toys = Toys(SEED).sample(51, split="pretraining test")
    start = 128  # of the first block: after the desk
    assert torch.equal(found.images[start : start + 51], toys.images)
    for row, kinds in enumerate(toys.extras["kind"].tolist()):
        assert found.extras["kinds"][start + row].tolist() == [float(k in kinds) for k in range(len(KINDS))]


def test_the_loss_of_attributes_leaves_out_what_a_picture_does_not_have():
    torch.manual_seed(0)
    rows = prepare(nn.Identity(), held_out()[:BLOCK], Attributes.targets)
    batch = rows[torch.arange(BLOCK)]
    outputs = {name: torch.randn(BLOCK, len(a.names), dtype=torch.float64) for name, a in ATTRIBUTES.items()}
    expected = 0.0
    for name, attribute in ATTRIBUTES.items():
        for logits, target in zip(outputs[name], batch.targets[name], strict=True):
            if attribute.many and target[0] != ABSENT:
                one = binary_cross_entropy_with_logits(logits, target.double())
            elif not attribute.many and target != ABSENT:
                one = cross_entropy(logits[None], target[None])
            else:
                continue
            expected += one.item() / SHARES[attribute.world] / BLOCK
    assert Attributes().objective(outputs, batch).item() == pytest.approx(expected, rel=1e-5)
    # in parts the same: a part may have no toy at all
    cuts = torch.arange(BLOCK).split(100)
    parts = [
        Attributes().objective({k: v[cut] for k, v in outputs.items()}, rows[cut]) * len(cut) for cut in cuts
    ]
    assert sum(parts).item() / BLOCK == pytest.approx(expected, rel=1e-5)


def test_a_fifth_of_the_words_is_hidden_and_never_a_special_piece():
    torch.manual_seed(0)
    task, ids = MaskedWords(1000, 4), torch.arange(1000).repeat(200, 1)
    shown, chosen = task.hide(ids)
    assert not chosen[:, :5].any() and torch.equal(shown[~chosen], ids[~chosen])
    assert chosen[:, 5:].double().mean().item() == pytest.approx(0.2, abs=0.01)
    now, was = shown[chosen], ids[chosen]
    shares = [(now == 4), (now != 4) & (now != was), (now == was)]
    assert [x.double().mean().item() for x in shares] == pytest.approx([0.8, 0.1, 0.1], abs=0.01)
    assert int(shown.min()) == 0 and int(shown[:, 5:].min()) >= 4


def test_the_model_sees_the_hidden_text_and_is_asked_for_the_words_that_were_there():
    torch.manual_seed(0)
    ids, asked = torch.randint(5, 50, (20, 9)), []
    batch = Batch(None, TextBatch(ids, torch.ones_like(ids)))

    def model(batch, chosen):
        asked.append((batch.text.input_ids, chosen))
        return torch.zeros(int(chosen.sum()), 50)

    outputs = MaskedWords(50, 4).forward(model, batch)
    ((shown, chosen),) = asked
    assert (shown[chosen] == 4).any() and torch.equal(shown[~chosen], ids[~chosen])
    assert torch.equal(outputs["words"], ids[chosen])
    assert torch.equal(outputs["rows"].bincount(minlength=20), chosen.sum(1))


def test_masked_words_score_words_and_weigh_rows():
    task = MaskedWords(50, 4)
    outputs = {"logits": torch.randn(3, 50, dtype=torch.float64), "words": torch.tensor([7, 8, 9]),
               "rows": torch.tensor([0, 2, 2])}  # fmt: skip
    outputs["logits"][0, 7] = 99.0
    ids = torch.full((4, 3), 5)
    batch = Batch(None, TextBatch(ids, torch.ones_like(ids)))
    each = cross_entropy(outputs["logits"], outputs["words"], reduction="none")
    assert task.objective(outputs, batch).item() == pytest.approx(each.sum().item() / 4)
    kept = task.keep({name: x.float() if x.is_floating_point() else x for name, x in outputs.items()}, batch)
    assert kept["hidden"].tolist() == [1, 0, 2, 0] and kept["right"][0] == 1
    scores = task.score(kept, None)
    assert scores["loss"] == pytest.approx(each.mean().item(), rel=1e-5)
    assert scores["hidden words"] == pytest.approx(kept["right"].sum().item() / 3)


def test_the_image_recipe_learns():
    torch.manual_seed(0)
    encoder = image_encoder("mini", pretrained=False)
    model = Namer(encoder, Heads(encoder.hidden_size))
    few = held_out()[:BLOCK]
    steps = learn(model, pictures("train", 5 * BLOCK), Attributes(), Size(0, 3, 96, 4e-3))
    found = accuracies(model, few, Attributes())
    assert steps == 42
    for name in ("color", "count", "container"):
        answers = few.extras[name][few.extras[name] != ABSENT]
        most = answers.bincount().max().item() / len(answers)  # who always gives the same answer
        assert found[name] > most + 0.2, (name, most, found[name])


def test_the_text_recipe_learns():
    torch.manual_seed(0)
    tokenizer = mini_tokenizer()
    model, task = Reader(tokenizer), MaskedWords(len(tokenizer), tokenizer.mask_token_id)
    texts = list(scenes("train", BLOCK).texts[:8])
    steps = learn(model, Pairs(None, texts * 40), task, Size(0, 10, 32, 2e-3), bucketed=True)
    words = torch.tensor([i for ids in tokenizer(texts)["input_ids"] for i in ids if i > task.mask_id])
    most = words.bincount().max().item() / len(words)
    found = accuracies(model, Pairs(None, texts * 10), task)["hidden words"]
    assert steps == 100 and found > most + 0.15, (most, found)


def test_the_command_builds_a_part_beside_data_and_says_when_it_is_worse(tmp_path, monkeypatch, capsys):
    before = {path: path.read_bytes() for path in DATA.glob("*.*")}
    monkeypatch.setitem(mini_encoders.SIZES, "heads", Size(BLOCK, 2, 64, 1e-2))
    monkeypatch.setattr(mini_encoders, "HELD_OUT", BLOCK)
    # so few scenes do not reach the stated figures
    assert main(["--part", "heads", "--out", str(tmp_path)]) == 1
    assert "stated" in capsys.readouterr().out
    entry = json.loads((tmp_path / "weights.json").read_text())["mini-attributes.safetensors"]
    assert entry["sha256"] == sha256(tmp_path / "mini-attributes.safetensors") and entry["steps"] == 8
    assert set(entry["held-out accuracy"]) == set(ATTRIBUTES)
    assert before == {path: path.read_bytes() for path in DATA.glob("*.*")}
    with pytest.raises(SystemExit):
        main(["--ship", "--out", str(tmp_path)])
    monkeypatch.setattr(mini_encoders, "DATA", tmp_path / "data")
    main(["--part", "heads", "--ship"])
    assert sha256(tmp_path / "data/mini-attributes.safetensors") == entry["sha256"]  # the same bits again


def test_an_accuracy_that_is_off_by_more_than_a_hundredth_is_found():
    stated = card()["mini-bert.safetensors"]["held-out accuracy"]
    assert compare("mini-bert", stated) == 0
    assert compare("mini-bert", {"hidden words": stated["hidden words"] - 0.011}) > TOLERANCE


def test_help_works_from_the_shell():
    found = subprocess.run([sys.executable, "-m", "recipes.mini_encoders", "--help"], cwd=DATA.parent,
                           capture_output=True, text=True, timeout=120, check=False)  # fmt: skip
    assert found.returncode == 0 and "--ship" in found.stdout and "build/weights" in found.stdout
