"""Losses on distances against loops, forward and gradient; collapse; PK batches; what is refused."""

import pytest
import torch

from cmlib import fit
from cmlib.data import Features
from cmlib.data.sampler import PK
from cmlib.losses.metric import MINING, contrastive_loss, distances, triplet_loss
from cmlib.tasks import Task

SHAPES = [(5, 5), (4, 7), (6, 2)]


def drawn(n, m, seed=0):
    draw = torch.Generator().manual_seed(seed)
    square = (2 * torch.rand(n, m, generator=draw, dtype=torch.float64)).requires_grad_()
    positive = torch.rand(n, m, generator=draw) < 0.4
    negative = ~positive & (torch.rand(n, m, generator=draw) < 0.8)
    return square, positive, negative


def by_loops(square, positive, negative, margin, mining):
    losses = []
    for a in range(square.shape[0]):
        ps = [square[a, p] for p in range(square.shape[1]) if positive[a, p]]
        ns = [square[a, n] for n in range(square.shape[1]) if negative[a, n]]
        if mining == "hardest":
            if ps and ns:
                losses.append(torch.relu(max(ps) - min(ns) + margin))
            continue
        for own in ps:
            if mining == "semi-hard":
                further = [n for n in ns if n > own]
                if ns:
                    losses.append(torch.relu(own - min(further) + margin) if further else 0 * own)
            else:
                losses += [torch.relu(own - n + margin) for n in ns]
    if mining == "violated":
        losses = [loss for loss in losses if loss > 0]
    return sum(losses) / len(losses)


@pytest.mark.parametrize("n, m", SHAPES)
@pytest.mark.parametrize("mining", MINING)
@pytest.mark.parametrize("margin", [0.1, 0.7, 3.0])
def test_the_triplet_loss_is_its_loops_forward_and_backward(n, m, mining, margin):
    square, positive, negative = drawn(n, m)
    slow, fast = (loss(square, positive, negative, margin, mining) for loss in (by_loops, triplet_loss))
    assert fast.item() == pytest.approx(slow.item())
    (slow_slope,), (fast_slope,) = (torch.autograd.grad(loss, square) for loss in (slow, fast))
    assert torch.allclose(slow_slope, fast_slope)


@pytest.mark.parametrize("n, m", SHAPES)
def test_the_contrastive_loss_is_its_loops_forward_and_backward(n, m):
    square, same, _ = drawn(n, m)
    pull = [square[i, j] ** 2 for i in range(n) for j in range(m) if same[i, j]]
    push = [torch.relu(1.2 - square[i, j]) ** 2 for i in range(n) for j in range(m) if not same[i, j]]
    slow, fast = sum(pull) / len(pull) + sum(push) / len(push), contrastive_loss(square, same, 1.2)
    assert fast.item() == pytest.approx(slow.item())
    assert torch.allclose(*(torch.autograd.grad(loss, square)[0] for loss in (slow, fast)))


@pytest.mark.parametrize("mining", MINING)
def test_collapse_costs_exactly_the_margin(mining):
    square, own = torch.full((6, 6), 1.7), torch.eye(6, dtype=torch.bool)
    wanted = 0 if mining == "semi-hard" else 0.3  # no negative is further away than the positive
    assert triplet_loss(square, own, ~own, 0.3, mining).item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("mining", MINING)
def test_a_batch_without_triples_costs_nothing_and_has_a_gradient(mining):
    square, everything = torch.ones(3, 3, requires_grad=True), torch.ones(3, 3, dtype=torch.bool)
    for positive, negative in ((everything, ~everything), (~everything, everything)):
        loss = triplet_loss(square, positive, negative, 0.2, mining)
        assert loss.item() == 0
        assert torch.equal(torch.autograd.grad(loss, square)[0], torch.zeros(3, 3))


def test_distances_are_those_of_torch_and_have_a_gradient_where_rows_are_equal():
    draw = torch.Generator().manual_seed(1)
    a, b = (torch.randn(n, 4, generator=draw, dtype=torch.float64, requires_grad=True) for n in (5, 3))
    weight = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    slow, fast = torch.cdist(a, b), distances(a, b)
    assert torch.allclose(slow, fast)
    for one, other in zip(torch.autograd.grad((slow * weight).sum(), (a, b)),
                          torch.autograd.grad((fast * weight).sum(), (a, b)), strict=True):
        assert torch.allclose(one, other)
    same = torch.randn(200, 16, generator=draw).requires_grad_()
    found = distances(same, same.detach().clone())
    assert not found.isnan().any() and found.min() >= 0
    assert torch.autograd.grad(found.sum(), same)[0].isfinite().all()
    equal = torch.ones(2, 3, requires_grad=True)
    assert torch.equal(torch.autograd.grad(distances(equal, torch.ones(2, 3)).sum(), equal)[0],
                       torch.zeros(2, 3))


@pytest.mark.parametrize("loss", [
    lambda d: contrastive_loss(d, torch.ones_like(d, dtype=torch.bool)),
    lambda d: triplet_loss(d, torch.ones_like(d, dtype=torch.bool), torch.zeros_like(d, dtype=torch.bool)),
])
@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (4, 1)])
def test_a_batch_of_one_has_nothing_to_be_compared_with(loss, shape):
    with pytest.raises(ValueError, match="needs 2 or more of them each way") as raised:
        loss(torch.ones(shape))
    assert "\n" not in str(raised.value)


def test_another_mining_or_table_is_refused():
    square = torch.ones(3, 3)
    with pytest.raises(ValueError, match="no mining 'easy'; there are all, violated, semi-hard, hardest"):
        triplet_loss(square, square > 0, square > 2, mining="easy")
    with pytest.raises(ValueError, match=r"are \(3, 3\) and say who belongs together as \(2, 3\)"):
        contrastive_loss(square, torch.ones(2, 3, dtype=torch.bool))


# PK batches
NAMES = torch.tensor([4, 9, 4, 7, 9, 4, 7, 9, 1, 4])  # 1 occurs once


def rows_of(names):
    return Features(torch.zeros(len(names), 2), torch.zeros(len(names), 0), names)


def test_every_batch_has_p_identities_with_k_different_rows_each():
    def drawn_with(seed):
        return PK(3, 2)(rows_of(NAMES), 6, torch.Generator().manual_seed(seed))

    found = [rows for seed in range(20) for rows in drawn_with(seed)]
    assert len(found) == 20 * 2  # ceil(10 / 6) an epoch
    for rows in found:
        assert len(set(rows.tolist())) == 6
        assert sorted(NAMES[rows].tolist()) == [4, 4, 7, 7, 9, 9]
    assert {row for rows in found for row in rows.tolist()} == set(range(10)) - {8}
    assert all(torch.equal(a, b) for a, b in zip(found[:2], drawn_with(0), strict=True))


def test_fit_trains_on_its_batches():
    seen = []

    class Look(Task):
        separable = False

        def objective(self, outputs, batch):
            seen.append(sorted(batch.labels.tolist()))
            return outputs.square().mean()

    class Linear(torch.nn.Linear):
        def forward(self, batch):
            return super().forward(batch.image)

    fit(Linear(2, 1), rows_of(NAMES), epochs=3, batch_size=6, task=Look(), progress=False, sampler=PK(3, 2))
    assert seen == [[4, 4, 7, 7, 9, 9]] * 6


@pytest.mark.parametrize("p, k, size, says", [
    (1, 2, 2, "PK(1, 2): a batch needs 2 identities or more"),
    (2, 1, 2, "2 rows of each"),
    (2, 2, 8, "PK(2, 2) makes batches of 4 rows, and batch_size is 8"),
    (4, 2, 8, "Of 4 identities 3 have 2 rows or more (1 occur once), and p=4 of them are to share a batch"),
    (3, 4, 12, "Of 4 identities 1 have 4 rows or more"),
])
def test_identities_that_cannot_fill_a_batch_are_refused_in_one_sentence(p, k, size, says):
    with pytest.raises(ValueError) as raised:
        PK(p, k)(rows_of(NAMES), size, torch.Generator())
    assert says in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("names", [None, torch.rand(10)])
def test_rows_without_identities_are_refused(names):
    rows = Features(torch.zeros(10, 2), torch.zeros(10, 0), names)
    with pytest.raises(ValueError, match="PK groups rows by their identity: give them int64"):
        PK(2, 2)(rows, 4, torch.Generator())
