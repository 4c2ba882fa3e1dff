"""Two towers against the slow and obvious version, forward and gradient, with padding and uneven sizes."""

import math

import pytest
import torch

from cmlib.data import Features, States
from cmlib.models import TwoTowers
from cmlib.models.two_towers import Tower
from cmlib.tasks import Contrast
from cmlib.training.fit import fit

LENGTHS = (4, 1, 6, 3, 5)


def states(batch: int = 5, cells: int = 7, dtype=torch.float32) -> States:
    draw = torch.Generator().manual_seed(0)
    image = torch.randn(batch, cells, 6, generator=draw, dtype=dtype)
    text = torch.randn(batch, 6, 4, generator=draw, dtype=dtype)
    mask = torch.arange(6) < torch.tensor(LENGTHS[:batch])[:, None]
    return States({"image": image, "text": text}, {"text": mask})


def slow(tower: Tower, rows: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """One row, one query, one place after another."""
    found = []
    for row, real in zip(rows, mask, strict=True):
        read = row[real]  # (places, size)
        if not tower.queries:
            found.append(tower.out(sum(read) / len(read)))
            continue
        centred = read - read.mean(1, keepdim=True)
        unit = centred / (centred.square().mean(1, keepdim=True) + tower.norm.eps).sqrt()
        unit = unit * tower.norm.weight + tower.norm.bias
        if tower.place is not None:
            unit = torch.stack([one + tower.place[k] for k, one in enumerate(unit)])
        reads = []
        for query in range(tower.queries):
            scores = [(tower.score.weight[query] * one).sum() + tower.score.bias[query] for one in unit]
            total = sum(score.exp() for score in scores)
            reads.append(sum(s.exp() / total * tower.value(one) for s, one in zip(scores, unit, strict=True)))
        found.append(tower.out(torch.cat(reads)))
    return torch.stack(found)


@pytest.mark.parametrize("settings", [{}, {"queries": 3, "cells": 7}, {"queries": 0}, {"queries": 1}])
def test_towers_equal_the_obvious_version(settings):
    torch.manual_seed(1)
    rows, model = states(dtype=torch.float64), TwoTowers(6, 4, hidden_size=5, **settings).double()
    got = model(rows)
    for name in ("image", "text"):
        tower = getattr(model, name)
        want = slow(tower, rows.states[name], rows.mask(name))
        assert got[name].shape == (5, 5)
        torch.testing.assert_close(got[name], want)
        weigh = torch.randn(5, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
        ours, theirs = (torch.autograd.grad((out * weigh).sum(), list(tower.parameters()))
                        for out in (got[name], want))
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other)


def test_padding_is_never_read():
    model, rows = TwoTowers(6, 4, hidden_size=5), states()
    louder = rows.states["text"] + 1e3 * ~rows.mask("text")[..., None]
    again = States(rows.states | {"text": louder}, rows.masks)
    torch.testing.assert_close(model(rows)["text"], model(again)["text"])


def test_one_modality_alone_and_further_texts():
    model, rows = TwoTowers(6, 4, hidden_size=5), states()
    text = rows.states["text"]
    alone = model(States({"text": text}, rows.masks))
    assert set(alone) == {"text", "scale"}
    more = model(States(rows.states | {"hard": text}, rows.masks | {"hard": rows.mask("text")}))
    torch.testing.assert_close(more["hard"], more["text"])
    torch.testing.assert_close(more["text"], alone["text"])


def test_the_scale_is_one_over_the_temperature_and_at_most_100():
    assert TwoTowers(6, 4)(states())["scale"].item() == pytest.approx(1 / 0.07, rel=1e-5)
    assert TwoTowers(6, 4, temperature=1e-4)(states())["scale"].item() == pytest.approx(100, rel=1e-5)
    assert TwoTowers(6, 4, bias=-10)(states())["bias"].item() == -10
    assert TwoTowers(6, 4, temperature=0.5).log_scale.item() == pytest.approx(math.log(2), rel=1e-5)


@pytest.mark.parametrize("temperature", [0, 0.0, -0.1])
def test_a_temperature_of_0_is_refused(temperature):
    with pytest.raises(ValueError, match=rf"temperature={temperature} must be above 0: .* 0\.07\."):
        TwoTowers(6, 4, temperature=temperature)


def test_what_is_no_states_is_refused():
    with pytest.raises(TypeError, match="TwoTowers reads States, as extract_states gives them; got Features"):
        TwoTowers(6, 4)(Features(torch.zeros(2, 6), torch.zeros(2, 4)))


def test_an_empty_modality_is_refused_before_the_first_step():
    rows = states()
    alone = States({"image": rows.states["image"]})
    with pytest.raises(ValueError, match="Contrast compares what the model calls 'image' and.*gave image"):
        fit(TwoTowers(6, 4), alone, task=Contrast(), epochs=1, progress=False)


def test_fit_learns_which_text_belongs_to_which_picture():
    torch.manual_seed(0)
    facts = torch.randn(64, 1, 4)
    rows = States({"image": torch.cat([facts, facts.flip(2)], 2).expand(-1, 7, -1)[..., :6] + 0.0,
                   "text": facts.expand(-1, 6, -1) + 0.0})
    model = TwoTowers(6, 4, hidden_size=16, queries=2)
    history = fit(model, rows, rows, task=Contrast(), epochs=20, batch_size=32, learning_rate=1e-2,
                  progress=False)
    assert history["valid_recall@1"][-1] > 0.8
