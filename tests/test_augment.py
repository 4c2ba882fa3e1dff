"""Augmentation against a slow loop over pixels, and a run with it that is stopped and goes on to the same
bits.
"""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import cross_entropy

from cmlib.data.augment import Augment
from cmlib.data.batch import Batch, Features, ImageBatch, TextBatch
from cmlib.data.pairs import Pairs
from cmlib.encoders import image_encoder, text_encoder
from cmlib.models.fusion_model import FusionModel
from cmlib.training.fit import fit

OFF = {"area": (1, 1), "ratio": (1, 1), "brightness": 0, "contrast": 0}


def batch(n=6, height=8, width=8, dtype=torch.uint8):
    pixels = torch.randint(0, 256, (n, 3, height, width), generator=torch.Generator().manual_seed(0)).to(
        dtype
    )
    ids = torch.ones(n, 2, dtype=torch.int64)
    return Batch(ImageBatch(pixels), TextBatch(ids, ids), torch.arange(n))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
def test_identity_settings_change_nothing(dtype):
    one = batch(dtype=dtype)
    assert torch.equal(Augment(**OFF)(one).image.pixels, one.image.pixels)
    # through the grid: the whole picture
    whole = Augment(**OFF | {"ratio": (1, 1 + 1e-12)})(one).image.pixels
    torch.testing.assert_close(whole, one.image.pixels, rtol=0, atol=1e-3)
    found = Augment()(one)
    assert found.image.pixels.dtype == dtype and found.image.pixels.shape == one.image.pixels.shape
    assert (
        found.text is one.text
        and found.labels is one.labels
        and not torch.equal(found.image.pixels, one.image.pixels)
    )


def test_a_flip_is_exact_and_every_second_picture_is_flipped():
    one = batch(200)
    torch.manual_seed(0)
    found, was = Augment(**OFF, flip=True)(one).image.pixels, one.image.pixels
    flipped = (found == was.flip(3)).flatten(1).all(1)
    assert ((found == was).flatten(1).all(1) | flipped).all() and 70 < flipped.sum() < 130


def sample(picture, x, y):
    """The value at a place between pixel centres, one pixel after the other; beyond the edge is the edge."""
    height, width = len(picture), len(picture[0])
    left, top = math.floor(x), math.floor(y)

    def at(column, row):
        return picture[min(max(row, 0), height - 1)][min(max(column, 0), width - 1)]

    across, down = x - left, y - top
    upper = (1 - across) * at(left, top) + across * at(left + 1, top)
    lower = (1 - across) * at(left, top + 1) + across * at(left + 1, top + 1)
    return (1 - down) * upper + down * lower


@given(
    seed=st.integers(0, 10_000),
    low=st.floats(0.1, 1),
    wide=st.floats(0.5, 2),
    brightness=st.floats(0, 0.9),
    contrast=st.floats(0, 0.9),
)
def test_crop_and_light_are_those_of_a_slow_loop(seed, low, wide, brightness, contrast):
    one, augment = (
        batch(2, 5, 7, torch.float64),
        Augment((low, 1), (0.5, 0.5 * wide + 0.5), False, brightness, contrast),
    )
    torch.manual_seed(seed)
    found = augment(one).image.pixels
    torch.manual_seed(seed)
    for number, (area, ratio, left, top, light, sharp, _) in enumerate(torch.rand(2, 7).tolist()):
        area, ratio = low + (1 - low) * area, 0.5 * (wide + 1) ** ratio
        width, height = min(1, math.sqrt(area * ratio)) * 7, min(1, math.sqrt(area / ratio)) * 5
        first, upper = left * (7 - width), top * (5 - height)
        new = [
            [
                [
                    sample(channel, first + (c + 0.5) * width / 7 - 0.5, upper + (r + 0.5) * height / 5 - 0.5)
                    for c in range(7)
                ]
                for r in range(5)
            ]
            for channel in one.image.pixels[number].tolist()
        ]
        new = torch.tensor(new, dtype=torch.float64) * (1 + brightness * (2 * light - 1))
        new = ((new - new.mean()) * (1 + contrast * (2 * sharp - 1)) + new.mean()).clamp(0, 255)
        torch.testing.assert_close(found[number], new, rtol=0, atol=1e-2)


def test_every_picture_has_its_own_draw_and_seeds_reproduce():
    same = batch(40)
    same = Batch(ImageBatch(same.image.pixels[:1].expand(40, -1, -1, -1)), same.text, same.labels)
    torch.manual_seed(3)
    one = Augment()(same).image.pixels
    assert len({picture.numpy().tobytes() for picture in one}) == 40
    assert not torch.equal(Augment()(same).image.pixels, one)
    torch.manual_seed(3)
    assert torch.equal(Augment()(same).image.pixels, one)


def test_crops_stay_inside_and_keep_the_area():
    maps = Augment((0.25, 0.75), (0.5, 2)).crops(torch.rand(5000, 4))
    width, height, x, y = maps[:, 0, 0], maps[:, 1, 1], maps[:, 0, 2], maps[:, 1, 2]
    assert (
        (x.abs() + width <= 1 + 1e-6).all()
        and (y.abs() + height <= 1 + 1e-6).all()
        and not maps[:, [0, 1], [1, 0]].any()
    )
    assert (width * height).max() <= 0.75 + 1e-6 and (width * height).mean() == pytest.approx(0.5, abs=0.03)


def run(folder=None, stop=None):
    draw, calls = torch.Generator().manual_seed(0), []

    def interrupted(logits, labels):
        calls.append(1)
        if len(calls) == stop:
            raise KeyboardInterrupt
        return cross_entropy(logits, labels)

    pairs = Pairs(
        torch.randint(0, 256, (30, 3, 16, 16), dtype=torch.uint8, generator=draw),
        ["is this it"] * 30,
        torch.arange(30) % 2,
        ("a", "b"),
    )
    torch.manual_seed(0)
    model = FusionModel(
        image_encoder("cnn", hidden_size=8, image_size=16), text_encoder("bag", hidden_size=4), 2
    )
    history = fit(
        model,
        pairs,
        epochs=3,
        batch_size=8,
        augment=Augment(flip=True),
        loss=interrupted,
        checkpoint=folder,
        every=1,
        progress=False,
    )
    return [p.tolist() for p in model.parameters()], history.batch_loss


@pytest.mark.parametrize("stop", [3, 6, 12])
def test_a_run_that_was_stopped_in_the_middle_of_an_epoch_goes_on_to_the_same_bits(tmp_path, stop):
    run(tmp_path, stop)
    assert run(tmp_path) == run()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_on_a_gpu_nothing_is_waited_for():
    one = batch(64, 32, 32).to("cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        assert Augment(flip=True)(one).image.pixels.is_cuda
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"area": (0, 1)}, r"area=\(0, 1\) must be two numbers above 0, .* shares of the picture"),
        ({"area": (0.5, 1.5)}, "at most 1"),
        ({"ratio": (2, 1)}, "the smaller one first: width"),
        ({"brightness": 1}, "brightness=1 must lie from 0"),
        ({"contrast": -0.1}, "contrast=-0.1"),
    ],
)
def test_bad_settings_are_one_sentence(settings, words):
    with pytest.raises(ValueError, match=words):
        Augment(**settings)


def test_features_have_no_pictures():
    with pytest.raises(TypeError, match="Augment changes pictures; got Features: train on Pairs"):
        Augment()(Features(torch.ones(2, 3), torch.ones(2, 3), torch.arange(2)))
