"""Lesson 19's parts: phrases, masks and skins of scenes; the finder, its task, and the boxes that it finds.
"""

import hashlib
import math

import pytest
import torch
from answers.lesson19 import ap_by_sweep, focal_by_parts, giou_by_loops
from torch.testing import assert_close

from cmlib import FusionModel, fit, image_encoder, text_encoder
from cmlib.data import Pairs, States
from cmlib.data.batch import ImageBatch
from cmlib.evaluation.detection import box_average_precision, detections
from cmlib.models.finder import Finder, FinerMap, cells_of, middles
from cmlib.tasks.find import Find
from cmlib.training.scenes import extract_scenes
from cmlib.worlds import COLORS, KINDS, Toys
from cmlib.worlds.masks import toy_masks
from cmlib.worlds.phrases import APART, Phrase, phrases
from cmlib.worlds.skins import Skin
from cmlib.worlds.words import SYNONYMS

MEANS = {word: name for name, words in SYNONYMS.items() for word in words}
LINKS = {"to the left of": (0, -1), "left of": (0, -1), "to the right of": (0, 1), "right of": (0, 1),
         "above": (1, -1), "behind": (1, -1), "below": (1, 1), "in front of": (1, 1)}


def named(words, extras, row):
    """The toys that a phrase names, read word by word."""
    link = next((link for link in LINKS if f" {link} " in words), None)
    head, _, mark = words.partition(f" {link} ") if link else (words, "", "")

    def fits(noun):
        toys = range(int(extras["count"][row]))
        for word in noun.removeprefix("the ").split():
            name = MEANS.get(word, word)
            looks = [("kind", KINDS), ("color", COLORS), ("size", ("small", "large")),
                     ("cracked", ("", "cracked"))]
            for key, values in looks:
                if name in values:
                    toys = [toy for toy in toys if int(extras[key][row, toy]) == values.index(name)]
        return set(toys)

    if link is None:
        return fits(head)
    axis, sign = LINKS[link]
    at = extras["xy"[axis]][row].tolist()
    near = {a for a in fits(head) for b in fits(mark) if a != b and sign * (at[a] - at[b]) > APART}
    return near - fits(mark)


def test_every_phrase_names_the_toys_that_its_words_say():
    pairs = Toys().sample(400, split="test", start=50)
    told = phrases(pairs.extras, split="test", start=50)
    for row, some in enumerate(told):
        for phrase in some:
            assert set(phrase.hits) == named(phrase.words, pairs.extras, row), phrase
    every = [phrase for some in told for phrase in some]
    assert 0.2 < sum(not phrase.hits for phrase in every) / len(every) < 0.3
    assert {phrase.form for phrase in every} == {"kind", "color", "size", "cracked", "relation", "needed"}
    assert all(len(phrase.hits) < 2 for phrase in every if phrase.form in ("relation", "needed"))


def test_the_same_row_gets_the_same_words_whatever_is_asked_beside_it():
    late = Toys().sample(3, start=7)
    assert phrases(late.extras, start=7) == phrases(Toys().sample(10).extras)[7:]


def test_phrases_are_the_same_in_every_process():
    # a set with None in it, say, has an order of its own in every process
    told = phrases(Toys().sample(200).extras)
    digest = hashlib.md5(repr(told).encode(), usedforsecurity=False).hexdigest()
    assert digest == "aa2cefd2fded5bd02894cc1ce717be0f"


def test_masks_are_of_the_pictures_that_toys_draws_and_fill_their_boxes():
    pairs, which = Toys(3).sample(60, split="valid", start=5), toy_masks(60, "valid", 5, seed=3)
    exact = 0
    for row in range(60):
        assert int(which[row].max()) <= int(pairs.extras["count"][row])
        for toy in range(int(pairs.extras["count"][row])):
            x0, y0, x1, y1 = pairs.extras["boxes"][row, toy].tolist()
            y, x = (which[row] == toy + 1).nonzero(as_tuple=True)
            assert x0 <= x.min() and x.max() < x1 and y0 <= y.min() and y.max() < y1
            exact += [x.min(), y.min(), x.max() + 1, y.max() + 1] == [x0, y0, x1, y1]
    assert exact > 0.8 * int(pairs.extras["count"].sum())  # the others are partly hidden


@pytest.mark.parametrize("name", ["signs", "prints"])
def test_a_skin_is_drawn_row_by_row_and_can_be_talked_about(name):
    skin = Skin(name)
    pairs = skin.sample(120)
    assert pairs.images.shape == (120, 3, 64, 64) and pairs.images.dtype == torch.uint8
    assert torch.equal(skin.sample(2, start=5).images, pairs.images[5:7])
    there = torch.arange(4) < pairs.extras["count"][:, None]
    x0, y0, x1, y1 = pairs.extras["boxes"][there].unbind(1)
    assert (x0 < x1).all() and (y0 < y1).all() and x0.min() >= 0 and x1.max() <= 64
    # a scene may hold all four kinds, and some phrases name nothing all the same
    told = phrases(pairs.extras, n=8, absent=0.6, kinds=skin.kinds, thing=skin.thing)
    assert all(word in {w for k in skin.kinds for w in SYNONYMS.get(k, (k,))} | {skin.thing}
               for some in told for phrase in some for word in phrase.words.split()[-1:])


def test_a_skin_that_is_not_there_is_said():
    with pytest.raises(ValueError, match="There is no skin 'ponies'; there are 'signs' and 'prints'."):
        Skin("ponies")


# The finder


def some_states(rows=3, phrases=2, tokens=4, cells=25, image=6, text=5, seed=0):
    draw = torch.Generator().manual_seed(seed)
    words = torch.randn(rows, phrases, tokens, text, generator=draw)
    words[:, :, -1] = 0  # a token that has ended
    corner = 0.6 * torch.rand(rows, 3, 2, generator=draw)
    boxes = torch.cat([corner, corner + 0.1 + 0.3 * torch.rand(rows, 3, 2, generator=draw)], 2)
    hits = torch.rand(rows, phrases, 3, generator=draw) < 0.4
    return States({"image": torch.randn(rows, cells, image, generator=draw), "phrases": words.flatten(2)},
                  targets={"boxes": boxes, "hits": hits})


@pytest.mark.parametrize("looks", [1, 2])
def test_a_finder_reads_maps_and_texts_of_any_size_and_no_padding(looks):
    torch.manual_seed(0)
    states, finder = some_states(), Finder(6, 5, hidden_size=8, looks=looks).eval()
    outputs = finder(states)
    assert outputs["score"].shape == (3, 2, 25) and outputs["box"].shape == (3, 2, 25, 4)
    assert (outputs["box"][..., :2] < outputs["box"][..., 2:]).all()
    longer = torch.cat([states.states["phrases"], torch.zeros(3, 2, 10)], 2)
    again = finder(States({**states.states, "phrases": longer}))
    assert_close(again["score"], outputs["score"])
    moved = (outputs["box"][..., :2] + outputs["box"][..., 2:]) / 2 - middles(25)
    assert moved.abs().max() <= 1.5 / 5 + 1e-6


def test_looks_must_be_one_or_two():
    with pytest.raises(ValueError, match="looks=3 is 1 or 2"):
        Finder(6, 5, looks=3)


def test_cells_are_those_in_which_middles_lie():
    at = middles(16)
    boxes = torch.cat([at - 0.2, at + 0.2], 1)
    assert cells_of(boxes, 16).tolist() == list(range(16))
    assert cells_of(torch.tensor([0.9, 0.0, 1.1, 0.1]), 16) == 3  # a middle on the edge


@pytest.mark.parametrize("name", ["mini", "resnet18"])
def test_the_finer_map_is_twice_as_fine(name):
    encoder = image_encoder(name, pretrained=False, image_size=64)
    batch = ImageBatch(torch.zeros(2, 3, 64, 64, dtype=torch.uint8))
    coarse, fine = encoder.eval().feature_map(batch), FinerMap(encoder)
    grid = fine.feature_map(batch)
    assert grid.shape[2] == 2 * coarse.shape[2] and grid.shape[1] == fine.hidden_size > coarse.shape[1]


# The task


def test_the_loss_is_focal_over_cells_plus_giou_at_the_right_cells():
    torch.manual_seed(1)
    states = some_states(rows=4)
    finder = Finder(6, 5, hidden_size=8)
    outputs = {name: value.detach().double() for name, value in finder(states).items()}
    boxes, hits = states.targets["boxes"].double(), states.targets["hits"]
    heat = box = 0.0
    for row in range(4):
        for phrase in range(2):
            right = torch.zeros(25, dtype=torch.float64)
            for thing in range(3):
                if hits[row, phrase, thing]:
                    x, y = (boxes[row, thing, :2] + boxes[row, thing, 2:]) / 2
                    cell = min(int(y * 5), 4) * 5 + min(int(x * 5), 4)
                    right[cell] = 1.0
                    pair = outputs["box"][row, phrase, cell][None], boxes[row, thing][None]
                    box += 1 - giou_by_loops(*pair)[0, 0]
            heat += focal_by_parts(outputs["score"][row, phrase], right, 2.0, 0.5).sum()
    batch = States(states.states, targets={"boxes": boxes, "hits": hits}).answers(slice(None))
    values = Find(box=0.3).objective(outputs, batch)
    assert_close(values["heat"], heat / 8)
    assert_close(values["box"], box / 8)
    assert_close(values["loss"], heat / 8 + 0.3 * box / 8)


def test_without_the_loss_of_boxes_the_boxes_have_no_gradient():
    states, finder = some_states(), Finder(6, 5, hidden_size=8)
    Find(box=0.0).objective(finder(states), states.answers(slice(None)))["loss"].backward()
    assert not finder.box.weight.grad.any() and finder.score.weight.grad.any()


def test_point_and_accuracy_are_shares_of_the_phrases_that_name_something():
    at = middles(4)
    box = torch.cat([at - 0.2, at + 0.2], 1)
    score = torch.full((1, 3, 4), -9.0)
    score[0, 0, 1] = score[0, 1, 2] = score[0, 2, 0] = 5.0
    hits = torch.tensor([[[True, False], [True, False], [False, False]]])
    states = States({"image": torch.zeros(1, 4, 1)}, targets={"boxes": box[[1, 3]][None], "hits": hits})
    task = Find()
    kept = task.keep({"score": score, "box": box.expand(1, 3, 4, 4)}, states.answers(slice(None)))
    scores = task.score(kept, states)
    assert (scores["point"], scores["accuracy"]) == (0.5, 0.5)


@pytest.mark.parametrize(
    "box, says",
    [
        ((0.2, 0.2, 1.3, 0.6), r"Box 1 of row 2 of train, \(0.2, 0.2, 1.3, 0.6\), leaves the picture"),
        ((-0.2, 0.2, 0.3, 0.6), "leaves the picture, which runs from 0 to 1 each way: divide pixels"),
        ((0.6, 0.2, 0.3, 0.6), "is empty: x0 < x1 and y0 < y1 must hold"),
        ((0.2, 0.4, 0.3, 0.4), "is empty"),
    ],
)
def test_a_box_that_cannot_be_is_said(box, says):
    states = some_states()
    states.targets["hits"][2, 0, 1] = True
    states.targets["boxes"][2, 1] = torch.tensor(box)
    with pytest.raises(ValueError, match=says):
        fit(Finder(6, 5, hidden_size=8), states, task=Find(), epochs=1, progress=False)


# Scenes and boxes


@pytest.fixture(scope="module")
def encoders():
    torch.manual_seed(0)
    return FusionModel(FinerMap(image_encoder("mini")), text_encoder("mini"), n_classes=2)


def test_scenes_are_maps_words_and_boxes_in_parts_of_the_side(encoders):
    pairs = Toys().sample(3)
    told = phrases(pairs.extras, n=2)
    scenes = extract_scenes(encoders, pairs, told)
    assert scenes.states["image"].shape == (3, 64, 192)
    assert_close(scenes.targets["boxes"] * 64, pairs.extras["boxes"].float())
    for row in range(3):
        for number in range(2):
            alone = extract_scenes(encoders, Pairs(pairs.images[[row]], None), [[told[row][number]]])
            words = alone.states["phrases"][0, 0]
            assert_close(scenes.states["phrases"][row, number, :len(words)], words, atol=1e-4, rtol=1e-4)
            assert not scenes.states["phrases"][row, number, len(words):].any()
            things = scenes.targets["hits"][row, number].nonzero()[:, 0].tolist()
            assert tuple(things) == told[row][number].hits


def test_a_phrase_without_words_is_said(encoders):
    pairs = Toys().sample(1)
    with pytest.raises(ValueError, match="Phrase 1 of row 0 is ' ': it has no words, so there is nothing"):
        extract_scenes(encoders, pairs, [[Phrase("the car", "kind", ()), Phrase(" ", "kind", ())]])


def test_nothing_is_found_where_no_cell_reaches_the_threshold():
    outputs = {"score": torch.full((1, 2, 4), -3.0), "box": torch.rand(1, 2, 4, 4)}
    outputs["score"][0, 1, 2] = 1.0
    (nothing, one), = detections(outputs, 0.5)
    assert nothing[0].shape == (0, 4) and nothing[1].shape == (0,)
    assert_close(one[0], outputs["box"][0, 1, 2][None])
    assert_close(one[1], torch.tensor([1.0]).sigmoid())


@pytest.mark.parametrize("seed", range(5))
def test_average_precision_is_that_of_an_exhaustive_loop(seed):
    draw = torch.Generator().manual_seed(seed)
    corner = torch.rand(8, 2, generator=draw, dtype=torch.float64)
    truths = torch.cat([corner, corner + 0.3 + torch.rand(8, 2, generator=draw, dtype=torch.float64)], 1)
    of = torch.randint(8, (25,), generator=draw)
    boxes = truths[of] + 0.15 * torch.randn(25, 4, generator=draw, dtype=torch.float64)
    corners = boxes.view(25, 2, 2)
    boxes = torch.cat([corners.amin(1), corners.amax(1)], 1)
    shown = torch.randint(3, (8,), generator=draw)
    some = boxes, torch.rand(25, generator=draw), shown[of], truths, shown
    assert math.isclose(box_average_precision(*some), float(ap_by_sweep(*some)), abs_tol=1e-9)
    assert box_average_precision(*some, iou=0.9) <= box_average_precision(*some)


def test_without_boxes_nothing_is_found_and_without_true_boxes_there_is_no_recall():
    assert box_average_precision(torch.rand(0, 4), torch.rand(0), torch.zeros(0).long(), torch.rand(1, 4),
                                 torch.zeros(1).long()) == 0
    with pytest.raises(ValueError, match="There are no true boxes"):
        box_average_precision(torch.rand(2, 4), torch.rand(2), torch.zeros(2).long(), torch.rand(0, 4),
                              torch.zeros(0).long())
