"""Scores beside the accuracy against slow and obvious ones, as monitors of fit, and what evaluate refuses."""

import math

import pytest
import torch

from cmlib import evaluate, fit
from cmlib.data import Features, Pairs
from cmlib.evaluation import auc, f1, score, top_k
from cmlib.models import Majority
from cmlib.tasks import Classify, Tag


def test_auc_is_the_share_of_pairs_in_the_right_order():
    draw = torch.Generator().manual_seed(0)
    for n, levels in ((7, 3), (40, 5), (90, 1000)):  # few levels: many ties
        scores, truth = (
            torch.randint(levels, (n,), generator=draw).float(),
            torch.rand(n, generator=draw) < 0.3,
        )
        truth[:2] = torch.tensor([True, False])
        pairs = [(a > b) + (a == b) / 2 for a in scores[truth].tolist() for b in scores[~truth].tolist()]
        assert auc(scores, truth) == pytest.approx(sum(pairs) / len(pairs))
    assert math.isnan(auc(scores, torch.ones(n, dtype=torch.bool)))


def test_f1_of_each_column():
    guess = torch.tensor([[1, 0, 0], [1, 0, 0], [0, 0, 0], [1, 1, 0]]).bool()
    truth = torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 0], [1, 0, 0]]).bool()
    found = f1(guess, truth).tolist()
    assert found[:2] == [pytest.approx(2 * 2 / (3 + 3)), 0.0] and math.isnan(found[2])


def test_top_k_counts_the_k_largest():
    logits, labels = torch.tensor([[3.0, 2, 1], [3.0, 2, 1], [1.0, 2, 3]]), torch.tensor([1, 2, 2])
    assert [top_k(logits, labels, k) for k in (1, 2, 3, 9)] == [
        pytest.approx(1 / 3),
        pytest.approx(2 / 3),
        1,
        1,
    ]


def features(labels, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return Features(torch.randn(len(labels), 3, generator=draw), torch.zeros(len(labels), 1), labels)


class Line(torch.nn.Linear):
    def forward(self, batch):
        return super().forward(batch.image)


def test_the_scores_of_classify_are_those_of_the_metrics():
    labels = torch.arange(60) % 3
    data, model = features(labels), Line(3, 4)  # one class that never occurs
    task = Classify(scores=("macro_f1", "auc", "top_2"))
    found, metrics = evaluate(model, data, task=task), evaluate(model, data)
    assert found["macro_f1"] == pytest.approx(metrics.macro_f1) and found["accuracy"] == metrics.accuracy
    with torch.no_grad():
        shares = model(data).softmax(1)
    assert found["auc"] == pytest.approx(sum(auc(shares[:, k], labels == k) for k in range(3)) / 3)
    assert found["top_2"] == top_k(shares, labels, 2) >= found["accuracy"]


@pytest.mark.parametrize("name", ["macro_f1", "auc", "top_1"])
def test_a_score_is_the_monitor_of_fit(name):
    data = features((features(torch.arange(80)).image[:, 0] > 0).long())
    torch.manual_seed(0)
    task, model = Classify(scores=(name,)), Line(3, 2)
    history = fit(
        model, data, data, epochs=8, learning_rate=0.1, task=task, monitor=f"valid_{name}", progress=False
    )
    best = max(epoch[f"valid_{name}"] for epoch in history)
    assert evaluate(model, data, task=task)[name] == pytest.approx(best) and best > 0.8


def test_the_scores_of_tags():
    labels = (features(torch.arange(50)).image > 0).float()
    data, model = features(labels), Line(3, 3)
    torch.nn.init.eye_(model.weight)
    torch.nn.init.zeros_(model.bias)
    assert evaluate(model, data, task=Tag(("auc", "macro_f1"))) == {
        "loss": pytest.approx(0.4, abs=0.1),
        "accuracy": 1,
        "auc": 1,
        "macro_f1": 1,
    }


@pytest.mark.parametrize("make, part", [
    (lambda: Classify(scores=("f1",)), "There is no score 'f1'; there are macro_f1, auc, top_5 (or another"),
    (lambda: Classify(scores=("top_0",)), "no score 'top_0'"),
    (lambda: Tag(scores=("top_5",)), "no score 'top_5'; there are macro_f1, auc."),
])
def test_no_such_score(make, part):
    with pytest.raises(ValueError) as caught:
        make()
    assert part in str(caught.value)


def test_a_task_without_scores_is_what_it_was_in_a_checkpoint():
    assert vars(Classify()).keys() == {"loss"} and vars(Tag()) == {}


# ------------------------------------------------------------------------------------------------------------
# evaluate


PIXELS = torch.zeros(4, 3, 8, 8, dtype=torch.uint8)


def test_the_majority_reads_nothing():
    pairs = Pairs(PIXELS, ["a", "b", "c", "d"], torch.tensor([0, 1, 1, 1]), ("cat", "dog"))
    found = evaluate(Majority(pairs.labels, 2), pairs)
    assert found.accuracy == 0.75 and "cat" in str(found)
    assert evaluate(Majority(pairs.labels, 2), Pairs(None, pairs.texts, pairs.labels, ("cat", "dog"))).n == 4


def test_rows_without_labels_are_refused_in_a_sentence():
    with pytest.raises(ValueError, match="no labels to compare the answers with: predict"):
        evaluate(Majority(torch.tensor([0, 1]), 2), Pairs(PIXELS, None))
    with pytest.raises(
        ValueError, match=r"got float32 \(4, 2\) and float32 \(4, 2\): give evaluate the task"
    ):
        score(torch.zeros(4, 2), torch.zeros(4, 2))


def test_class_names_that_are_fewer_or_more_than_the_classes():
    logits, labels = torch.eye(3)[[0, 1, 2, 2]], torch.tensor([0, 1, 2, 0])
    assert score(logits, labels, class_names=("cat", "dog")).class_names == ("cat", "dog", "2")
    print(score(logits, labels, class_names=("cat", "dog")))
    with pytest.raises(ValueError, match="There are 4 class names, and the logits are of 3 classes"):
        score(logits, labels, class_names=tuple("abcd"))


def test_the_print_of_a_thousand_classes_fits_a_page():
    labels = torch.cat([torch.arange(1000), torch.full((9,), 777)])
    printed = str(score(torch.nn.functional.one_hot(labels, 1000).float(), labels))
    assert len(printed) < 4000 and "the 40 most frequent of 1,000 classes" in printed and "\n777 " in printed


def test_a_model_and_a_set_that_number_their_classes_differently():
    pairs = Pairs(PIXELS, None, torch.tensor([0, 1, 1, 1]), ("cat", "dog"))
    model = Majority(torch.tensor([0, 1, 2]), 3)
    model.class_names = ("ant", "cat", "dog")
    with pytest.raises(ValueError, match=r"0 is 'ant' in the model \('ant', 'cat', 'dog'\) and 'cat' in the "
                                         r"data"):
        evaluate(model, pairs)
    model.class_names = ("cat", "dog", "eel")
    assert evaluate(model, pairs).class_names == ("cat", "dog", "eel")
