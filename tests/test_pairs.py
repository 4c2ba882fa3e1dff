"""Pairs, batches and rows: halves that are missing, pictures that rows share, targets, and every bad input in
one sentence.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cmlib.data import Batch, Features, ImageBatch, Pairs, Rows, TextBatch, collate
from cmlib.data.augment import Augment
from cmlib.encoders import image_encoder, text_encoder
from cmlib.models import FusionModel
from cmlib.tasks import Contrast
from cmlib.training.fit import fit
from cmlib.training.freeze import freeze
from cmlib.training.predict import extract, predict, prepare

PHOTOS, EACH = 6, 5
WORDS = (
    "how many toys are there ?",
    "is there a ball ?",
    "is any toy cracked ?",
    "what color is it ?",
    "is it red ?",
)


def photos(n=PHOTOS, seed=0):
    return torch.randint(
        0, 256, (n, 3, 16, 16), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )


def questions() -> Pairs:
    """Five questions about each of six photos, in mixed order; every photo is stored once."""
    order = torch.randperm(PHOTOS * EACH, generator=torch.Generator().manual_seed(1))
    picture = order % PHOTOS
    texts = [WORDS[k] for k in (order // PHOTOS).tolist()]
    return Pairs(photos(), texts, picture % 2, ("no", "yes"), {"number": order, "words": texts}, picture)


def repeated(pairs: Pairs) -> Pairs:
    """The same rows with a picture of its own for each."""
    return replace(pairs, images=pairs.images[pairs.picture], picture=None)


def model() -> FusionModel:
    torch.manual_seed(0)
    return FusionModel(
        image_encoder("cnn", hidden_size=16, image_size=16), text_encoder("bag", hidden_size=8), 2
    )


class Counted(nn.Module):
    """Around a trunk: how many pictures did it compute?"""

    def __init__(self, trunk):
        super().__init__()
        self.trunk, self.pictures = trunk, []

    def forward(self, x):
        self.pictures.append(len(x))
        return self.trunk(x)


def freeze_norms(net):
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            freeze(part)


# --- rows that share a picture ---


def test_a_shared_picture_is_encoded_once_and_gives_the_same_features():
    net = model().eval()
    net.image_encoder.trunk = counted = Counted(net.image_encoder.trunk)
    ours, theirs = extract(net, questions()), extract(net, repeated(questions()))
    assert counted.pictures == [PHOTOS, PHOTOS * EACH]
    torch.testing.assert_close(ours.image, theirs.image, rtol=0, atol=1e-6)
    assert torch.equal(ours.text, theirs.text) and len(ours) == PHOTOS * EACH
    torch.testing.assert_close(
        predict(net, questions()), predict(net, repeated(questions())), rtol=0, atol=1e-5
    )
    batch = collate(questions(), net.tokenizer)
    places = net.image_encoder.feature_map(batch.image)
    assert places.shape == (PHOTOS * EACH, 16, 1, 1) and len(batch.image) == len(batch) == PHOTOS * EACH


def test_training_encodes_each_picture_of_a_batch_once_and_ends_with_the_same_weights():
    def trained(pairs):
        net = model().double()
        freeze_norms(net)  # a BatchNorm in training would see each picture once here, five times there
        net.image_encoder.trunk = counted = Counted(net.image_encoder.trunk)
        fit(net, pairs, epochs=2, batch_size=10, progress=False)
        return net, counted.pictures

    (ours, few), (theirs, many) = trained(questions()), trained(repeated(questions()))
    assert many == [10] * 6 and all(n <= PHOTOS for n in few) and len(few) == 6
    for name, tensor in ours.state_dict().items():
        torch.testing.assert_close(tensor, theirs.state_dict()[name], rtol=1e-6, atol=1e-7)


def test_a_slice_keeps_only_the_pictures_that_it_shows():
    pairs = questions()
    for rows in (slice(0, 4), [3, 3, 0], torch.tensor([7, 2]), pairs.picture == 4, slice(0, 0)):
        chosen = pairs[rows]
        index = torch.arange(len(pairs))[rows]
        assert len(chosen) == len(index) and len(chosen.images) == len(pairs.picture[index].unique())
        assert torch.equal(chosen.images[chosen.picture], pairs.images[pairs.picture[index]])
        assert chosen.texts == [pairs.texts[i] for i in index.tolist()]
        assert torch.equal(chosen.extras["number"], pairs.extras["number"][index])
    assert len(pairs[pairs.picture == 4].images) == 1


def test_a_batch_of_rows_holds_each_picture_once():
    pairs, tokenizer = questions(), text_encoder("bag").tokenizer
    index = torch.tensor([4, 0, 9, 4])
    batch = Rows(pairs, tokenizer)[index]
    assert len(batch.image.pixels) == len(pairs.picture[index].unique())
    assert torch.equal(batch.image.spread(batch.image.pixels), pairs.images[pairs.picture[index]])
    moved = Rows(pairs, tokenizer).to("cpu")[index]
    assert torch.equal(moved.image.rows, batch.image.rows) and torch.equal(moved.labels, batch.labels)


def test_a_shared_picture_is_augmented_once():
    batch = Augment()(collate(questions(), text_encoder("bag").tokenizer))
    assert batch.image.pixels.shape == (PHOTOS, 3, 16, 16) and len(batch) == PHOTOS * EACH


# --- halves that are missing ---


def test_images_alone_texts_alone_and_rows_without_labels():
    full = repeated(questions())
    image_only, text_only, bare = (replace(full, **{name: None}) for name in ("texts", "images", "labels"))
    tokenizer = text_encoder("bag").tokenizer
    index = torch.tensor([2, 0])
    assert Rows(image_only)[index].text is None and Rows(image_only).lengths is None
    assert Rows(text_only, tokenizer)[index].image is None and Rows(bare, tokenizer)[index].labels is None
    for pairs in (image_only, text_only, bare):
        assert len(pairs[1:4]) == 3 and len(pairs) == len(full)
    for use, pairs in (("image", image_only), ("text", text_only)):
        torch.manual_seed(0)
        net = model()
        net = FusionModel(net.image_encoder, net.text_encoder, 2, use=(use,))
        history = fit(net, pairs, pairs, epochs=1, progress=False)
        assert history["valid_accuracy"].shape == (1,) and predict(net, pairs).shape == (30, 2)
    answers = Rows(questions(), tokenizer, ("number",)).answers(index)
    assert answers.image is None and answers.text is None and len(answers) == 2
    assert torch.equal(answers.targets["number"], questions().extras["number"][index])


def test_features_of_a_missing_half_are_empty():
    image_only = replace(repeated(questions()), texts=None)
    features = extract(model().eval(), image_only)
    assert features.image.shape == (30, 16) and features.text.shape == (30, 0)


# --- targets ---


def test_targets_of_every_kind_reach_the_batch_in_the_order_of_its_rows():
    n, tokenizer = 6, text_encoder("bag").tokenizer
    boxes = [torch.arange(4.0) + k for k in range(n)]
    words = ["a ball", "a red ball", "a", "is it", "a large red car ?", "no"]
    extras = {
        "tensor": torch.arange(n),
        "array": np.arange(2.0 * n).reshape(n, 2),
        "words": words,
        "boxes": boxes,
    }
    rows = Rows(Pairs(photos(n), None, None, extras=extras), tokenizer, tuple(extras))
    batch = rows[torch.tensor([4, 1])]
    assert batch.targets["tensor"].tolist() == [4, 1]
    assert torch.equal(batch.targets["array"], torch.tensor([[8.0, 9.0], [2.0, 3.0]], dtype=torch.float64))
    assert [box[0].item() for box in batch.targets["boxes"]] == [4, 1]
    told = batch.targets["words"]
    assert (
        isinstance(told, TextBatch)
        and tokenizer.decode(told.input_ids[1], skip_special_tokens=True) == "a red ball"
    )
    few = rows.extras["array"][:2]
    assert isinstance(few, np.ndarray)  # score sees the extras as they were given


def test_features_carry_targets_along_words_too():
    pairs, net = questions(), model().eval()
    features = extract(net, pairs, batch_size=7, targets=("number", "words"))
    index = torch.tensor([11, 3])
    for few in (features[index], features[3:12][torch.tensor([8, 0])]):
        assert torch.equal(few.targets["number"], pairs.extras["number"][index])
        told, expected = few.targets["words"], net.tokenizer([pairs.texts[11], pairs.texts[3]])["input_ids"]
        assert [row[mask == 1].tolist() for row, mask in zip(*vars(told).values(), strict=True)] == expected
    assert torch.equal(features.answers(index).targets["number"], pairs.extras["number"][index])
    assert len(features[index].to("cpu")) == 2


def test_rows_and_features_that_were_made_without_a_target_are_refused():
    made = Rows(questions(), text_encoder("bag").tokenizer, ("number",))
    with pytest.raises(
        ValueError,
        match=r"^The task reads 'box' of every row, and these Rows carry number: make them "
        r"with targets=\('box',\)\.$",
    ):
        prepare(model(), made, ("box",))
    with pytest.raises(ValueError, match="these Features carry no targets"):
        prepare(model(), Features(torch.ones(2, 1), torch.ones(2, 1)), ("box",))
    assert prepare(model(), made, ("number",)) is made


# --- bad input ---

two, words = photos(2), ["a ball", "a car"]
ids = torch.ones(2, 3, dtype=torch.int64)
text = TextBatch(ids, ids)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: Pairs(None, None), TypeError, "Pairs need pictures, texts or both; both are None"),
        (
            lambda: Pairs(two.float(), words),
            TypeError,
            "must be a uint8 tensor .* got float32 (2, 3, 16, 16)",
        ),
        (lambda: Pairs(two, "a ball"), TypeError, "Pairs.texts must be a list of strings"),
        (lambda: Pairs(two, ["a ball", 3]), TypeError, "Pairs.texts must be a list of strings"),
        (lambda: Pairs(two, words[:1]), ValueError, "same number of rows; got {'images': 2, 'texts': 1}"),
        (
            lambda: Pairs(two, words, torch.tensor([0, 2]), ("no", "yes")),
            ValueError,
            "Labels run from 0 to 2",
        ),
        (lambda: Pairs(two, words, torch.tensor([0, 1]).int(), ("no", "yes")), TypeError, "got int32 (2,)"),
        (lambda: Pairs(two, words, [0, 1], ("no", "yes")), TypeError, "got list"),
        (lambda: Pairs(two, words, torch.ones(2, 3), ("red", "round")), ValueError, "answer 3 questions"),
        (lambda: Pairs(two, words, torch.ones(2, 3, 1)), TypeError, "got float32 (2, 3, 1)"),
        (lambda: Pairs(two, words, extras={"box": torch.ones(3, 4)}), ValueError, "'box': 3"),
        (
            lambda: Pairs(two, words, extras={"seed": 7}),
            TypeError,
            "Pairs.extras has 'seed' as int: .* one entry a row",
        ),
        (lambda: Pairs(None, words, picture=torch.tensor([0, 0])), TypeError, "there are no images"),
        (
            lambda: Pairs(two, words, picture=torch.tensor([0, 2])),
            ValueError,
            "picture runs from 0 to 2, .* 2 images",
        ),
        (lambda: Pairs(two, words, picture=torch.tensor([-1, 0])), ValueError, "picture runs from -1 to 0"),
        (lambda: Pairs(two, words, picture=[0, 1]), TypeError, "int64 tensor (rows,); got list"),
        (lambda: Pairs(two, None).shuffled_partners(), ValueError, "no texts to move"),
        (
            lambda: ImageBatch(two[0]),
            TypeError,
            "must have shape (batch, 3, height, width); got uint8 (3, 16, 16)",
        ),
        (
            lambda: ImageBatch(two, torch.tensor([0.0, 1.0])),
            TypeError,
            "ImageBatch.rows must be int64 (batch,)",
        ),
        (lambda: ImageBatch(two, torch.tensor([0, 2])), ValueError, "row 1 .* picture 2, .* 2 pictures"),
        (
            lambda: Batch(text, None),
            TypeError,
            "Batch.image must be an ImageBatch; got TextBatch. .* swapped?",
        ),
        (lambda: Batch(None, ImageBatch(two)), TypeError, "Batch.text must be a TextBatch"),
        (lambda: Batch(ImageBatch(two), text, torch.zeros(3)), ValueError, "got 2 images, 2 texts, 3 labels"),
        (lambda: Batch(None, text, None, {"box": ids[:1]}), ValueError, "got 2 texts, 1 box"),
        (lambda: len(Batch(None, None)), ValueError, "This batch holds nothing, so that it has no length"),
        (
            lambda: Features(None, torch.ones(3, 4)),
            TypeError,
            "Features are tensors .* got NoneType and float32 (3, 4)",
        ),
        (lambda: Features(torch.ones(2, 4), torch.ones(3, 4)), ValueError, "got 2 image, 3 text"),
        (lambda: Features(torch.ones(2, 4), torch.ones(2, 4), torch.ones(1)), ValueError, "1 labels"),
        (lambda: Rows(Pairs(two, words)), TypeError, "no tokenizer"),
        (
            lambda: Rows(Pairs(two, None, extras={"caption": words}), None, ("caption",)),
            TypeError,
            "no tokenizer",
        ),
        (
            lambda: Rows(Pairs(two, None), None, ("box",)),
            ValueError,
            "reads the extra 'box' .* this data has none",
        ),
        (lambda: prepare(model(), Pairs(two, words), "box"), TypeError, "targets='box' .* ('box',)"),
        (
            lambda: prepare(nn.Linear(1, 1), Pairs(two, words)),
            TypeError,
            "Linear has no tokenizer .* texts=None",
        ),
        (lambda: prepare(model(), "emoji"), TypeError, "The data must be Pairs, Features or States; got str"),
        (lambda: prepare(model(), Pairs(two, words)[:0]), ValueError, "The data has no rows"),
        (
            lambda: fit(model(), Pairs(two, words), epochs=1, task=Contrast()),
            ValueError,
            "Contrast .* float32 (2, 2)",
        ),
    ],
)
def test_bad_input_is_one_sentence(call, error, said):
    with pytest.raises(error) as caught:
        call()
    message = str(caught.value)
    pieces = said.split(" .* ")
    assert all(piece in message for piece in pieces) and "\n" not in message and message.endswith((".", "?"))
    assert not caught.value.__context__ or caught.value.__suppress_context__
