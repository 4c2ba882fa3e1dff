"""Metrics against plain Python."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmlib import FusionModel, extract, fit, image_encoder, predict, text_encoder
from cmlib.data.batch import Features
from cmlib.evaluation.classification import confusion_matrix, evaluate, score, wilson
from cmlib.evaluation.paired import paired
from cmlib.fusion.concat import Concat
from cmlib.models.majority import Majority
from cmlib.tasks import Tag
from cmlib.worlds import RefundDesk

rows = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60)


def one_hot(guesses, n_classes=4):
    return torch.nn.functional.one_hot(torch.tensor(guesses), n_classes).float()


@settings(deadline=None, max_examples=60)
@given(rows)
def test_every_number_equals_its_definition_in_plain_python(pairs):
    guess, truth = [g for g, _ in pairs], [t for _, t in pairs]
    found = score(one_hot(guess), torch.tensor(truth))
    f1 = {}
    for c in range(4):
        hit = sum(g == c == t for g, t in pairs)
        precision = hit / guess.count(c) if c in guess else 0.0
        recall = hit / truth.count(c) if c in truth else 0.0
        assert found.precision[c].item() == pytest.approx(precision) and found.recall[
            c
        ].item() == pytest.approx(recall)
        if c in guess or c in truth:
            f1[c] = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
        for p in range(4):
            assert found.confusion[c, p] == sum(g == p and t == c for g, t in pairs)
    assert found.macro_f1 == pytest.approx(sum(f1.values()) / len(f1))
    assert found.accuracy == pytest.approx(sum(g == t for g, t in pairs) / len(pairs))


@settings(deadline=None, max_examples=40)
@given(rows)
def test_groups_partition_the_rows(pairs):
    guess, truth = [g for g, _ in pairs], [t for _, t in pairs]
    by = ["abc"[i % 3] for i in range(len(pairs))]
    found = score(one_hot(guess), torch.tensor(truth), by=by)
    assert sum(share.n for share in found.groups.values()) == len(pairs)
    for name, share in found.groups.items():
        inside = [g == t for (g, t), b in zip(pairs, by, strict=True) if b == name]
        assert (share.right, share.n) == (sum(inside), len(inside))


@settings(deadline=None)
@given(st.integers(1, 3000), st.data())
def test_wilson_solves_its_own_equation(n, data):
    right = data.draw(st.integers(0, n))
    low, high = wilson(right, n)
    assert 0 <= low <= right / n <= high <= 1
    for p in {low, high} - {0.0, 1.0}:  # the ends are where |p̂ − p| is 1.96 standard errors of p
        assert abs(right / n - p) == pytest.approx(1.96 * math.sqrt(p * (1 - p) / n), abs=1e-9)


def test_the_table_is_fixed_width_and_has_three_decimals():
    found = score(one_hot([0, 1, 1, 1], 2), torch.tensor([0, 1, 0, 1]), by=torch.tensor([0, 0, 3, 3]),
                  group_names=("R", "I", "T", "S"), class_names=("keep", "refund"))
    lines = str(found).splitlines()
    assert lines[1].split()[:2] == ["all", "0.750"] and lines[3].split()[:2] == ["S", "0.500"]
    assert len({len(line) for line in lines[:4]}) == 1
    assert found.groups["R"].accuracy == 1.0 and math.isclose(found.macro_f1, (2 / 3 + 0.8) / 2, rel_tol=1e-6)


def test_evaluate_takes_the_rows_of_the_data_in_order():
    x = Features(torch.eye(3), torch.zeros(3, 1), torch.tensor([0, 0, 1]))
    assert evaluate(Majority(x.labels, 2), x).recall.tolist() == [1.0, 0.0]


def test_a_group_name_or_length_that_does_not_fit_is_one_sentence():
    x = Features(torch.zeros(3, 2), torch.zeros(3, 2), torch.tensor([0, 1, 1]))
    with pytest.raises(ValueError, match="no extra 'situation'"):
        evaluate(Concat(2, 2, 2), x, by="situation")
    with pytest.raises(ValueError, match="2 groups for 3 rows"):
        evaluate(Concat(2, 2, 2), x, by=[0, 1])
    with pytest.raises(ValueError, match="2 rows of logits for 3 labels"):
        score(torch.zeros(2, 2), torch.tensor([0, 1, 1]))


@pytest.mark.parametrize("label", [2, -1])
def test_a_label_without_a_logit_is_one_sentence(label):
    with pytest.raises(ValueError) as caught:
        score(torch.zeros(3, 2), torch.tensor([0, 1, label]))
    assert str(caught.value) == f"Row 2 has label {label}, but the logits are of 2 classes (0 to 1)."


def test_confusion_keeps_absent_classes():
    assert confusion_matrix(torch.tensor([0]), torch.tensor([0]), 3).shape == (3, 3)


def test_torchmetrics_counts_the_same():
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_confusion_matrix,
        multiclass_f1_score,
    )

    g = torch.Generator().manual_seed(5)
    logits, labels = torch.randn(200, 4, generator=g), torch.randint(4, (200,), generator=g)
    ours = score(logits, labels)
    assert ours.accuracy == pytest.approx(multiclass_accuracy(logits, labels, 4, average="micro").item())
    assert ours.macro_f1 == pytest.approx(multiclass_f1_score(logits, labels, 4, average="macro").item())
    assert torch.equal(ours.confusion, multiclass_confusion_matrix(logits, labels, 4))


# Two models on the same rows

halves = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@settings(deadline=None)
@given(halves)
def test_the_paired_test_is_a_binomial_test_of_the_rows_where_two_models_differ(rights):
    from scipy.stats import binomtest

    found = paired(*map(torch.tensor, zip(*rights, strict=True)))
    only = [sum(a and not b for a, b in rights), sum(b and not a for a, b in rights)]
    assert [found.first_only, found.second_only, found.n] == [*only, len(rights)]
    wanted = binomtest(only[0], sum(only)).pvalue if sum(only) else 1.0
    assert found.p_value == pytest.approx(wanted)
    low, high = found.interval
    assert -1 <= low < high <= 1 and found.difference == pytest.approx(
        sum(a - b for a, b in rights) / len(rights)
    )


def test_the_interval_of_a_difference_holds_the_truth_95_times_in_100():
    draw, held = torch.Generator().manual_seed(0), 0
    for _ in range(2000):
        easy, luck = torch.rand(2, 200, generator=draw)
        # .85 and .75 right, alike on most rows
        first, second = easy < 0.85, (easy < 0.75) ^ (luck < 0.06)
        low, high = paired(first, second).interval
        held += low <= 0.85 - (0.75 * 0.94 + 0.25 * 0.06) <= high
    assert held / 2000 == pytest.approx(0.95, abs=0.012)


def test_many_rows_are_counted_and_bad_ones_are_one_sentence():
    many = torch.arange(9000) < 6000
    assert paired(many, ~many).p_value < 1e-200 and paired(many, many).p_value == 1
    assert str(paired(many, many.roll(50))).endswith("only the second 50; p = 1")
    with pytest.raises(ValueError, match="got 3 and 2 rows"):
        paired(many[:3], many[:2])
    for bad in (torch.ones(3), torch.ones(2, 2, dtype=torch.bool), many[:0]):
        with pytest.raises(ValueError, match="two bool tensors"):
            paired(many[:3], bad)


def test_the_classes_of_features_and_of_other_tasks_are_compared_too():
    pairs = RefundDesk().sample(12)
    other = replace(pairs, class_names=pairs.class_names[::-1])
    model = FusionModel(image_encoder("cnn"), text_encoder("bag"), 2)
    train, valid = extract(model, pairs), extract(model, other)
    assert train[:3].class_names == pairs.class_names
    with pytest.raises(ValueError, match="number their classes differently"):
        fit(Concat(128, 128, 2), train, valid, epochs=1, progress=False)
    tags = replace(pairs, labels=torch.rand(12, 2).round(), class_names=("old", "wet"))
    model.class_names = ("wet", "old")
    with pytest.raises(ValueError, match="number their classes differently"):
        evaluate(model, tags, task=Tag())
    with pytest.raises(TypeError, match="evaluate needs rows with labels"):
        evaluate(model, "photo.png")


def test_a_model_of_both_halves_says_which_one_the_rows_lack():
    model = FusionModel(image_encoder("cnn"), text_encoder("bag"), 2)
    photos = replace(RefundDesk().sample(4), texts=None)
    with pytest.raises(ValueError, match="reads image and text, and these rows have no texts"):
        predict(model, photos)
    assert predict(FusionModel(image_encoder("cnn"), text_encoder("bag"), 2, use=("image",)), photos).shape
