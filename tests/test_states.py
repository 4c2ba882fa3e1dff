"""States: what encoders give before pooling; once pooled they are Features, and they train as they are."""

import pytest
import torch
from torch import nn

from cmlib import FusionModel, extract, fit, image_encoder, predict, text_encoder
from cmlib.data import Pairs, States
from cmlib.training.predict import extract_states
from cmlib.worlds import RefundDesk


@pytest.fixture(scope="module")
def model():
    return FusionModel(image_encoder("mini"), text_encoder("mini"), 2).eval()


def test_pooled_states_are_the_features(model):
    pairs = RefundDesk().sample(30)
    states, features = extract_states(model, pairs, 8), extract(model, pairs)
    assert states.states["image"].shape == (30, 16, 128)
    pooled = states.pooled()
    torch.testing.assert_close(pooled.image, features.image, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(pooled.text, features.text, rtol=1e-4, atol=1e-5)
    assert torch.equal(pooled.labels, pairs.labels)


def test_rows_are_no_longer_than_their_longest(model):
    states = extract_states(model, Pairs(None, ["a car", "a red car that is broken", "a car"]))
    assert list(states.states) == ["text"]
    few = states[torch.tensor([2, 0])]
    longest, words = int(states.mask("text")[0].sum()), states.states["text"]
    assert few.states["text"].shape[1] == longest < words.shape[1]
    torch.testing.assert_close(few.states["text"], words[[2, 0], :longest])


@pytest.mark.parametrize("encode", [extract, extract_states, predict])
def test_encoding_leaves_every_module_in_the_mode_that_it_was_in(encode):
    eye, reader = image_encoder("mini").eval(), text_encoder("mini").train()
    outer = FusionModel(eye, reader, n_classes=2)
    encode(outer, RefundDesk().sample(4))
    assert outer.training and reader.training and not any(part.training for part in eye.modules())


def test_a_head_on_states_trains_and_predicts_as_on_features():
    torch.manual_seed(0)
    states = States(
        {"sound": torch.randn(40, 5, 3), "text": torch.randn(40, 4, 2)},
        {"text": torch.arange(4) < torch.randint(1, 5, (40, 1))},
        labels=torch.randint(2, (40,)),
    )

    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 2)

        def forward(self, batch: States):
            return self.linear(batch.states["sound"].mean(1))

    head = Head()
    fit(head, states, states[:8], epochs=2, batch_size=16)
    logits = predict(head, states, batch_size=7)
    torch.testing.assert_close(logits, head(states).detach())


def test_targets_travel_with_their_rows():
    states = States({"sound": torch.randn(3, 2, 2)}, targets={"name": ["a", "b", "c"]})
    assert states[torch.tensor([2, 0])].targets == {"name": ["c", "a"]}
    assert len(states.to("cpu")) == 3 and states.mask("sound").all()


def sound(*shape):
    return {"sound": torch.zeros(shape)}


@pytest.mark.parametrize(
    "make, says",
    [
        (lambda: States({}), "at least one modality"),
        (lambda: States(sound(4, 3)), r"States\['sound'\] must have shape .* got float32 \(4, 3\)"),
        (lambda: States(sound(4, 0, 3)), "with one of them at least"),
        (lambda: States(sound(4, 2, 3) | {"text": torch.zeros(5, 2, 3)}), "4 sound, 5 text"),
        (lambda: States(sound(4, 2, 3), {"text": torch.ones(4, 2).bool()}), "a mask of 'text', and no"),
        (lambda: States(sound(4, 2, 3), {"sound": torch.ones(4, 2)}), r"must be bool \(4, 2\)"),
        (lambda: States(sound(4, 2, 3), labels=torch.zeros(3).long()), "3 labels"),
    ],
)
def test_what_does_not_fit_is_named(make, says):
    with pytest.raises(ValueError, match=says):
        make()
