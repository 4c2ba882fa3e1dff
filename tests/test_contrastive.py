"""Losses and tasks that compare the rows of a batch, against loops; forward, gradient, bad input."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from cmlib.data import Features
from cmlib.losses import info_nce, sigmoid_contrast
from cmlib.tasks import Contrast, SigmoidContrast
from cmlib.tasks.contrast import prompt_logits
from cmlib.training.fit import fit


def vectors(batch=5, size=3):
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(batch, size, generator=draw, dtype=torch.float64).requires_grad_() for _ in range(3)]


def outputs(**more):
    image, text, hard = vectors()
    return {"image": image, "text": text, "scale": torch.tensor(4.0).double().requires_grad_()} | {
        name: hard if value is None else value for name, value in more.items()}


def slow_contrast(found):
    """−ln of the share of the own text among all texts (and hard ones), and of the own picture."""
    image, text = (normalize(found[name], dim=1) for name in ("image", "text"))
    hard = normalize(found["hard"], dim=1) if "hard" in found else []
    total = 0
    for i in range(len(image)):
        texts = [(found["scale"] * image[i] @ one).exp() for one in [*text, *hard]]
        pictures = [(found["scale"] * one @ text[i]).exp() for one in image]
        total = total - (texts[i] / sum(texts)).log() / 2 - (pictures[i] / sum(pictures)).log() / 2
    return total / len(image)


def slow_sigmoid(found):
    image, text = (normalize(found[name], dim=1) for name in ("image", "text"))
    total = 0
    for i, x in enumerate(image):
        for j, t in enumerate(text):
            logit = found["scale"] * x @ t + found["bias"]
            p = 1 / (1 + (-logit).exp())
            total = total - (p if i == j else 1 - p).log()
    return total / len(image)


@pytest.mark.parametrize(("task", "slow", "more"), [
    (Contrast(), slow_contrast, {}),
    (Contrast(), slow_contrast, {"hard": None}),
    (SigmoidContrast(), slow_sigmoid, {"bias": torch.tensor(-1.5).double().requires_grad_()}),
])
def test_the_objective_equals_the_loops(task, slow, more):
    found = outputs(**more)
    want, got = slow(found), task.objective(found, None)
    torch.testing.assert_close(got, want)
    pairs = (torch.autograd.grad(one, list(found.values())) for one in (got, want))
    for ours, theirs in zip(*pairs, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_hard_texts_only_add_to_the_loss():
    assert Contrast().objective(outputs(hard=None), None) > Contrast().objective(outputs(), None)


def test_info_nce_is_the_objective_of_contrast():
    found = outputs()
    torch.testing.assert_close(info_nce(found["image"], found["text"], 1 / found["scale"]),
                               Contrast().objective(found, None))


def test_a_sigmoid_survives_large_logits():
    logits = torch.full((3, 3), -4000.0).fill_diagonal_(4000.0)
    assert sigmoid_contrast(logits) == 0
    assert sigmoid_contrast(-logits) == pytest.approx(3 * 4000)


def test_the_bias_of_nothing_known_is_the_log_odds_of_a_right_pair():
    bias = torch.zeros((), requires_grad=True)
    (slope,) = torch.autograd.grad(sigmoid_contrast(torch.zeros(9, 9) + bias - math.log(8)), bias)
    assert abs(slope) < 1e-6


def test_prompts_are_averaged_as_directions():
    draw = torch.Generator().manual_seed(1)
    image = torch.randn(3, 5, generator=draw, dtype=torch.float64)
    prompts = torch.randn(4, 2, 5, generator=draw, dtype=torch.float64)
    got = prompt_logits(image, prompts, 7.0)
    for i, x in enumerate(image):
        for k, templates in enumerate(prompts):
            mean = sum(one / one.norm() for one in templates) / 2
            torch.testing.assert_close(got[i, k], 7 * x @ mean / x.norm() / mean.norm())


# --- bad input ---


@pytest.mark.parametrize("prompts", [(4, 5), (4, 0, 5), (4, 2, 6)])
def test_prompts_of_another_form_are_refused(prompts):
    with pytest.raises(ValueError, match=r"prompts \(classes, templates, hidden_size\), a template at least"):
        prompt_logits(torch.ones(3, 5), torch.ones(prompts))


@pytest.mark.parametrize(("image", "text", "temperature", "sentence"), [
    ((1, 3), (1, 3), 0.1, "A batch of one row has nothing to be compared with"),
    ((4, 3), (4, 3), 0.0, r"temperature=0\.0 must be above 0"),
    ((4, 3), (4, 3), -1, "temperature=-1 must be above 0"),
    ((4, 3), (5, 3), 0.1, r"as many rows and columns .* float32 \(4, 3\) and float32 \(5, 3\)"),
    ((4, 3), (4, 2), 0.1, r"as many rows and columns .* float32 \(4, 3\) and float32 \(4, 2\)"),
    ((4, 0), (4, 0), 0.1, "a modality that is missing cannot be compared"),
])
def test_bad_features_get_one_sentence(image, text, temperature, sentence):
    with pytest.raises(ValueError, match=sentence):
        info_nce(torch.ones(image), torch.ones(text), temperature)


def test_a_table_that_is_not_square_is_refused():
    with pytest.raises(ValueError, match=r"must be \(batch, batch\); got float32 \(3, 4\)"):
        sigmoid_contrast(torch.zeros(3, 4))


class Given(torch.nn.Module):
    """A model whose outputs are given, times one weight."""

    def __init__(self, image, text, **more):
        super().__init__()
        self.weight, self.given, self.more = torch.nn.Parameter(torch.ones(())), (image, text), more

    def forward(self, features):
        image, text = self.given
        n = len(features)
        return {"image": self.weight * torch.ones(n, image), "text": self.weight * torch.ones(n, text),
                "scale": self.weight * 1.0} | self.more


@pytest.mark.parametrize(("model", "task", "rows", "sentence"), [
    (Given(3, 2), Contrast(), 4, r"both \(batch, hidden_size\); .* float32 \(4, 3\) and float32 \(4, 2\)"),
    (Given(3, 3), SigmoidContrast(), 4, "the model gave none: TwoTowers"),
    (Given(3, 3), Contrast(), 1, "A batch of one row has nothing to be compared with"),
])
def test_bad_outputs_are_refused_before_the_first_step(model, task, rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit(model, Features(torch.ones(rows, 2), torch.ones(rows, 2)), task=task, epochs=1, progress=False)
