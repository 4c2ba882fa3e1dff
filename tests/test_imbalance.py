"""Two branches and what keeps both learning; each part beside a slow, obvious version."""

import math

import pytest
import torch
from torch.nn.functional import cosine_similarity, cross_entropy

from cmlib.data import Features
from cmlib.losses.balance import gradient_cosine, joint_and_single, modulation
from cmlib.models.branches import Branches
from cmlib.tasks import Branched
from cmlib.training.fit import fit
from cmlib.training.predict import predict


def drawn(n=7, classes=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    image, text = (torch.randn(n, classes, generator=draw, dtype=torch.float64) for _ in range(2))
    return image, text, torch.randint(classes, (n,), generator=draw)


def tickets(n=60, seed=0):
    """The image half tells plainly, the text half faintly."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (n,), generator=draw)
    sign = (2.0 * labels - 1)[:, None]
    image, text = torch.randn(n, 5, generator=draw) + 2 * sign, torch.randn(n, 3, generator=draw) + 0.5 * sign
    return Features(image, text, labels)


# The loss


@pytest.mark.parametrize("weights", [(1, 0, 0), (0, 1, 0), (0, 0.5, 2), (1, 0.3, 0.7)])
def test_the_loss_is_three_cross_entropies(weights):
    image, text, labels = drawn()
    halves = [z.clone().requires_grad_() for z in (image, text)]
    slow = [z.clone().requires_grad_() for z in (image, text)]
    loss = joint_and_single(*halves, labels, weights)
    want = 0
    for weight, z in zip(weights, (slow[0] + slow[1], *slow), strict=True):
        rows = [-(z[k, y] - z[k].exp().sum().log()) for k, y in enumerate(labels.tolist())]
        want = want + weight * sum(rows) / len(rows)
    torch.testing.assert_close(loss, want)
    loss.backward()
    want.backward()
    for fast, one in zip(halves, slow, strict=True):
        torch.testing.assert_close(torch.zeros_like(one) if fast.grad is None else fast.grad, one.grad)


def test_a_loss_of_weight_0_leaves_its_branch_without_gradient():
    image, text, labels = drawn()
    image.requires_grad_()
    text.requires_grad_()
    joint_and_single(image, text, labels, (0, 1, 0)).backward()
    assert image.grad is not None and text.grad is None


# The brake


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_brake_is_the_published_one(alpha):
    image, text, labels = drawn(seed=2)
    sure = [sum(z[k].softmax(0)[y].item() for k, y in enumerate(labels.tolist())) for z in (image, text)]
    want = []
    for one, other in (sure, sure[::-1]):
        want.append(1 - math.tanh(alpha * one / other) if one > other else 1.0)
    torch.testing.assert_close(modulation(image, text, labels, alpha), torch.tensor(want).double())


def test_the_brake_has_no_gradient():
    image, text, labels = drawn()
    assert not modulation(image.requires_grad_(), text, labels).requires_grad


# The angle


def test_the_angle_is_that_of_the_long_vectors():
    model = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Linear(3, 2)).double()
    x, other = torch.randn(6, 4).double(), torch.randn(6, 4).double()
    first, second = model(x).square().mean(), model(other).sin().sum()
    cosine, ratio = gradient_cosine(first, second, model.parameters())
    long = [torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(model.parameters()))])
            for loss in (model(x).square().mean(), model(other).sin().sum())]
    torch.testing.assert_close(cosine, cosine_similarity(*long, dim=0))
    torch.testing.assert_close(ratio, long[0].norm() / long[1].norm())


def test_a_parameter_that_is_not_reached_counts_as_0():
    a, b = torch.tensor([3.0], requires_grad=True), torch.tensor([4.0], requires_grad=True)
    cosine, ratio = gradient_cosine((a + b).sum(), a.sum(), [a, b])
    torch.testing.assert_close(cosine, torch.tensor(0.5).sqrt())
    torch.testing.assert_close(ratio, torch.tensor(2.0).sqrt())


# The task


def gradients(task, parts=1):
    torch.manual_seed(0)
    model, rows = Branches(5, 3), tickets(20)
    seen = []

    class Noted(type(task)):
        def adjust(self, model):
            super().adjust(model)
            seen.append([p.grad.clone() for p in model.parameters()])

    task.__class__ = Noted
    fit(model, rows, epochs=1, task=task, batch_size=20, accumulate=parts, progress=False)
    return seen[0], model


@pytest.mark.parametrize("parts", [1, 4])
def test_the_brake_multiplies_the_gradients_of_one_branch(parts):
    plain, _ = gradients(Branched())
    braked, _ = gradients(Branched(alpha=1.0), parts)
    torch.manual_seed(0)
    model, rows = Branches(5, 3), tickets(20)
    outputs = model(rows)
    factor = modulation(outputs["image"], outputs["text"], rows.labels)
    half = len(plain) // 2  # the image branch's parameters come first
    for k, (one, other) in enumerate(zip(plain, braked, strict=True)):
        torch.testing.assert_close(other, one * factor[int(k >= half)], atol=1e-6, rtol=1e-4)


def test_a_control_leaves_the_other_branch_as_it_was():
    torch.manual_seed(0)
    model, rows = Branches(5, 3), tickets()
    before = [p.clone() for p in model.text.parameters()]
    fit(model, rows, epochs=2, task=Branched((0, 1, 0)), progress=False)
    assert all(torch.equal(a, b) for a, b in zip(before, model.text.parameters(), strict=True))


def test_dropout_silences_one_branch_of_a_row_and_never_both():
    task, labels = Branched(drop=0.6), torch.zeros(4000, dtype=torch.int64)
    image, text = torch.tensor([[0.0, 3.0]]).expand(4000, 2), torch.tensor([[0.0, 5.0]]).expand(4000, 2)
    torch.manual_seed(0)
    loss = float(task.objective({"image": image, "text": text}, Features(image, text, labels)))
    each = [float(cross_entropy(torch.tensor([[0.0, z]]), labels[:1])) for z in (3.0, 5.0, 8.0)]
    assert abs(loss - (0.3 * each[0] + 0.3 * each[1] + 0.4 * each[2])) < 0.1


def test_the_answer_is_the_sum_of_both():
    torch.manual_seed(0)
    model, rows = Branches(5, 3), tickets()
    history = fit(model, rows, rows, epochs=40, task=Branched((1, 1, 1)), batch_size=20,
                  progress=False, learning_rate=1e-2, monitor="valid_accuracy")
    found = predict(model, rows)
    assert set(found) == {"image", "text"} and found["image"].shape == (60, 2)
    assert history[-1]["valid_accuracy"] > 0.8


def test_states_are_what_the_last_layer_reads():
    torch.manual_seed(0)
    model, rows = Branches(5, 3, hidden_size=6), tickets(4)
    states = model.states(rows)
    assert states.image.shape == states.text.shape == (4, 6)
    torch.testing.assert_close(model.text[-1](states.text), model(rows)["text"])


# What is refused


@pytest.mark.parametrize("call, sentence", [
    (lambda: Branches(0, 3), "image_size=0: a branch reads features of width 1 or more; a modality that "),
    (lambda: Branches(5, 3)(torch.zeros(2, 5)), "Branches reads Features; got "),
    (lambda: Branches(5, 3)(Features(torch.zeros(2, 3), torch.zeros(2, 5))),
     "Features.image must have shape (batch, 5); got "),
    (lambda: Branches(5, 3)(Features(torch.zeros(2, 5), torch.zeros(2, 0))),
     "Features.text must have shape (batch, 3); got "),
    (lambda: joint_and_single(torch.zeros(2, 3), torch.zeros(2, 2), torch.zeros(2).long()),
     "Both branches must give logits of one shape, (batch, n_classes); got "),
    (lambda: joint_and_single(*drawn(), weights=(0, 0, 0)),
     "weights=(0, 0, 0) of the joint, the image and the text loss: none is negative, and one is above 0."),
    (lambda: joint_and_single(*drawn(), weights=(1, -1, 0)), "weights=(1, -1, 0) of the joint, "),
    (lambda: modulation(*drawn(), alpha=-1), "alpha=-1 must be 0 (no brake) or more."),
    (lambda: modulation(torch.zeros(2, 3), torch.zeros(2, 2), torch.zeros(2).long()), "Both branches must "),
    (lambda: Branched(alpha=float("nan")), "alpha=nan must be 0 (no brake) or more."),
    (lambda: Branched(drop=1.0), "drop=1.0: the share of rows with one modality is from 0 to below 1."),
    (lambda: gradient_cosine(*(torch.ones(1, requires_grad=True).sum() for _ in range(2)),
                             [torch.ones(1, requires_grad=True)]),
     "The first loss reaches none of these 1 parameters: there is no gradient to compare."),
])
def test_bad_input_gets_one_sentence(call, sentence):
    with pytest.raises((ValueError, TypeError)) as error:
        call()
    assert str(error.value).startswith(sentence) and "\n" not in str(error.value)
