"""Twelve tasks through the one ``fit``: each learns, by a score above a floor that its control does not
reach.

The tasks are in tasks_in_use.py and in cmlib/tasks.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tasks_in_use import (
    Boxes,
    Captioner,
    Captions,
    Cloze,
    Distil,
    DpSgd,
    DualEncoder,
    FlowMatching,
    KindAndCrack,
    MaskedWords,
    Modulated,
    Photo,
    Reader,
    Triplet,
    TwoBranches,
    TwoHeads,
    Velocity,
    remembers,
    tagged,
    toys,
    two_views,
)

from cmlib.data import Features, Pairs
from cmlib.data.tree import leaves
from cmlib.evaluation import evaluate
from cmlib.fusion import Concat
from cmlib.tasks import Classify, Contrast, Regress, Tag
from cmlib.training.fit import fit
from cmlib.training.predict import keep_all, predict, prepare
from cmlib.worlds import RefundDesk

QUICK = {"epochs": 6, "batch_size": 16, "learning_rate": 0.01, "progress": False}


def photos(n: int, split: str = "train") -> Pairs:
    """The toys without their captions, for models that read no words."""
    return replace(toys(n, split), texts=None)


def unlabelled(pairs: Pairs) -> Pairs:
    return replace(pairs, labels=None, class_names=())


def other_labels(pairs: Pairs) -> Pairs:
    """A control: the same labels, each at another row."""
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
    return replace(pairs, labels=pairs.labels[order])


# --- rows that are compared ---


def test_contrastive_each_photo_finds_its_caption_among_a_hundred():
    model, task = DualEncoder(), Contrast()
    train, valid = unlabelled(toys(300)), unlabelled(toys(100, "valid"))
    assert evaluate(model, valid, task=task)["recall@1"] < 0.1
    history = fit(model, train, valid, task=task, monitor="valid_recall@1", **QUICK)
    scores = evaluate(model, valid, task=task)
    assert scores["recall@1"] > 0.7  # two photos with one caption share the hit: .82 is all there is
    assert scores["recall@1"] == pytest.approx(history["valid_recall@1"].max(), abs=1e-6)
    assert evaluate(model, valid.shuffled_partners(), task=task)["recall@1"] < 0.1


def test_triplet_the_nearest_photo_shows_the_same_kind_of_toy():
    model, valid = Photo(16), photos(100, "valid")
    assert evaluate(model, valid, task=Triplet())["recall@1"] < 0.9
    fit(model, photos(300), valid, task=Triplet(), **QUICK)
    assert evaluate(model, valid, task=Triplet())["recall@1"] > 0.95


# --- outputs and labels of other forms ---


def test_two_heads_learn_at_once_and_both_losses_are_written_down():
    model, valid = KindAndCrack(), photos(100, "valid")
    before = evaluate(model, valid, task=TwoHeads())
    assert before["kind_accuracy"] < 0.5 and before["crack_accuracy"] < 0.85
    history = fit(model, photos(300), valid, task=TwoHeads(), **QUICK)
    assert history["valid_kind_accuracy"][-1] > 0.9 and history["valid_crack_accuracy"][-1] > 0.95
    assert history["kind_loss"] + history["crack_loss"] == pytest.approx(history["loss"], abs=1e-5)
    assert history["valid_crack_loss"][-1] < history["valid_crack_loss"][0] and "kind_loss" in repr(history)
    kept = predict(model, valid)
    assert kept["kind"].shape == (100, 8) and kept["cracked"].shape == (100, 1)


def test_tags_fifteen_questions_about_one_photo():
    train, valid = tagged(photos(300)), tagged(photos(100, "valid"))
    model, control = Photo(15), Photo(15)
    assert evaluate(model, valid, task=Tag())["accuracy"] < 0.9
    fit(model, train, valid, task=Tag(), **QUICK)
    fit(control, other_labels(train), task=Tag(), **QUICK)
    assert evaluate(model, valid, task=Tag())["accuracy"] > 0.96
    assert evaluate(control, valid, task=Tag())["accuracy"] < 0.88  # always no: .83


def test_regression_how_much_of_the_photo_is_covered():
    def covered(pairs):
        x0, y0, x1, y1 = pairs.extras["box"].unbind(1)
        return replace(pairs, labels=10 * (x1 - x0) * (y1 - y0), class_names=())  # tenths

    train, valid, model, control = covered(photos(300)), covered(photos(100, "valid")), Photo(1), Photo(1)
    settings = QUICK | {"epochs": 8, "batch_size": 8, "learning_rate": 0.02}
    fit(model, train, valid, task=Regress(), monitor="valid_error", **settings)
    fit(control, other_labels(train), task=Regress(), **settings)
    scores = evaluate(model, valid, task=Regress())
    assert scores["r2"] > 0.7 and scores["error"] == pytest.approx(scores["loss"] ** 0.5)
    assert evaluate(control, valid, task=Regress())["r2"] < 0.2


def test_boxes_around_the_toy():
    model, valid = Photo(4, everywhere=True), photos(100, "valid")
    assert evaluate(model, valid, task=Boxes())["iou"] < 0.1
    fit(model, photos(300), valid, task=Boxes(), monitor="valid_iou", **QUICK | {"learning_rate": 0.002})
    middle = photos(300).extras["box"].mean(0).expand(100, 4)  # the same box for every photo
    assert Boxes().score(middle, valid)["iou"] < 0.6
    assert evaluate(model, valid, task=Boxes())["iou"] > 0.66


# --- words ---


def test_captions_are_written_word_for_word():
    model, valid, task = Captioner(), toys(100, "valid"), Captions()
    assert evaluate(model, valid, task=task)["exact"] == 0
    rates = {"decoder": 0.02, "head": 0.02, "image": 0.0}
    settings = QUICK | {"epochs": 8, "batch_size": 8, "learning_rate": rates}
    history = fit(model, toys(300), valid, task=task, monitor="valid_exact", **settings)
    assert history["valid_exact"].max() > 0.8
    assert evaluate(model, valid.shuffled_partners(), task=task)["exact"] > 0.8  # it reads photos, not texts
    other = replace(valid, images=valid.images.roll(1, 0))
    assert evaluate(model, other, task=task)["exact"] < 0.1
    kept = keep_all(model, task, model, prepare(model, valid, task.targets))
    assert all(tensor.shape == (100,) for tensor in leaves(kept))  # never the logits of a vocabulary


def test_masked_words_are_told_from_the_others():
    train, valid = (Pairs(None, RefundDesk().sample(200, split).texts) for split in ("train", "valid"))
    model = Cloze()
    task = MaskedWords(model.tokenizer.mask_token_id)
    assert evaluate(model, valid, task=task)["accuracy"] < 0.05
    fit(model, train, valid, task=task, monitor="valid_accuracy", **QUICK)
    assert evaluate(model, valid, task=task)["accuracy"] > 0.6
    words = [text.split() for text in valid.texts]
    backwards = Pairs(None, [" ".join(reversed(text)) for text in words])
    assert evaluate(model, backwards, task=task)["accuracy"] < 0.5


# --- inputs that are drawn ---


def test_flow_matching_noise_becomes_points_of_the_class_that_was_asked_for():
    def centres(labels):
        return 2 * torch.stack([(labels * torch.pi / 2).cos(), (labels * torch.pi / 2).sin()], 1)

    def points(n, seed):
        draw = torch.Generator().manual_seed(seed)
        labels = torch.randint(0, 4, (n,), generator=draw)
        return Features(centres(labels) + 0.2 * torch.randn(n, 2, generator=draw), torch.ones(n, 0), labels)

    def near(model):
        wanted = torch.arange(200) % 4
        return ((FlowMatching.draw(model, wanted) - centres(wanted)).norm(dim=1) < 0.8).float().mean()

    model = Velocity(4)
    assert near(model) < 0.3
    settings = QUICK | {"epochs": 20, "batch_size": 64}
    history = fit(model, points(1000, 0), points(200, 1), task=FlowMatching(), **settings)
    assert near(model) > 0.9 and history["valid_loss"].min() < 0.5 < history["valid_loss"][0]


# --- other gradients ---


def test_distillation_a_student_of_photos_learns_from_a_teacher_of_words():
    teacher = Reader(8)
    fit(teacher, toys(300), epochs=8, batch_size=16, learning_rate=0.03, progress=False)
    weights = [parameter.clone() for parameter in teacher.parameters()]
    student, task = Photo(8), Distil(teacher)
    student.tokenizer = teacher.tokenizer
    train, valid = unlabelled(toys(300)), toys(100, "valid")
    assert evaluate(student, valid, task=task)["agreement"] < 0.5
    fit(student, train, unlabelled(valid), task=task, monitor="valid_agreement", **QUICK)
    assert evaluate(student, valid, task=task)["agreement"] > 0.8
    assert evaluate(student, valid).accuracy > 0.8  # and it never saw a label
    assert evaluate(student, valid.shuffled_partners(), task=task)["agreement"] < 0.4
    assert all(
        torch.equal(a, b) and b.grad is None for a, b in zip(weights, teacher.parameters(), strict=True)
    )


def test_modulation_slows_the_branch_that_is_ahead():
    train, valid = two_views(400, 0), two_views(200, 1)
    model = TwoBranches()
    assert evaluate(model, valid, task=Modulated())["accuracy"] < 0.8
    fit(model, train, valid, task=Modulated(noise=0.1), **QUICK)
    assert evaluate(model, valid, task=Modulated())["accuracy"] > 0.9

    def first(alpha, parts):
        task = remembers(Modulated(alpha=alpha))
        fit(TwoBranches(), train, task=task, epochs=1, batch_size=400, accumulate=parts, progress=False)
        image, text = np.split(np.array(task.seen[0]), [10])  # 4 × 2 weights and 2 biases, then the text
        return image, text

    plain, slowed = first(0.0, 1), first(2.0, 1)
    factors = [(b / a).round(4) for a, b in zip(plain, slowed, strict=True)]
    assert {len(set(factor.tolist())) for factor in factors} == {1}  # one factor a branch
    assert sorted(factor[0] for factor in factors)[1] == 1 > min(factor[0] for factor in factors) > 0
    for whole, cut in zip(slowed, first(2.0, 3), strict=True):
        np.testing.assert_allclose(cut, whole, atol=1e-6)


def net(head: str = "linear") -> Concat:
    torch.manual_seed(0)
    return Concat(4, 3, 2, head=head, normalize=False)


def test_dp_sgd_learns_although_no_row_can_be_told():
    model, valid = net(), two_views(200, 1)
    assert evaluate(model, valid).accuracy < 0.6
    fit(model, two_views(400, 0), valid, task=DpSgd(clip=1.0, noise=1.0), **QUICK)
    assert evaluate(model, valid).accuracy > 0.85
    blind = net()
    fit(blind, two_views(400, 0), task=DpSgd(clip=1.0, noise=1000.0), **QUICK)
    assert evaluate(blind, valid).accuracy < 0.8


def test_dp_sgd_without_clip_and_noise_is_the_plain_gradient():
    def gradients(task, **settings):
        task, data = remembers(task), two_views(61, 0)
        data = Features(data.image.double(), data.text.double(), data.labels)
        fit(net("mlp").double(), data, task=task, epochs=1, batch_size=20, progress=False, **settings)
        return np.array(task.seen)

    plain = gradients(Classify())
    for parts in (1, 3):
        np.testing.assert_allclose(gradients(DpSgd(1e9, 0.0), accumulate=parts), plain, rtol=0, atol=1e-9)
    clipped = np.linalg.norm(gradients(DpSgd(0.01, 0.0)), axis=1)
    assert (clipped < 0.01 + 1e-12).all() and (clipped > 0.001).all()
    noise = (gradients(DpSgd(0.01, 50.0)) - gradients(DpSgd(0.01, 0.0)))[0]
    assert noise.std() == pytest.approx(50 * 0.01 / 20, rel=0.1)  # of the mean over 20 rows


def test_recall_counts_a_tie_by_chance():
    """Else a model that says the same of everything would find every partner, or none."""
    same = {"image": torch.ones(5, 3), "text": torch.ones(5, 3), "scale": torch.tensor(10.0)}
    assert Contrast().score(same, None)["recall@1"] == pytest.approx(1 / 5)
    draw = torch.Generator().manual_seed(0)
    image, text = torch.randn(9, 2, generator=draw), torch.randn(9, 2, generator=draw)
    logits = torch.nn.functional.cosine_similarity(image[:, None], text[None], dim=2)
    own = [logits.argmax(dim) == torch.arange(9) for dim in (0, 1)]
    found = Contrast().score({"image": image, "text": text, "scale": torch.tensor(1.0)}, None)
    assert found["recall@1"] == pytest.approx(torch.stack(own).double().mean().item())
