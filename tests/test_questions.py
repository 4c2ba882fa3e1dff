"""Questions about pictures: the worlds that ask them, the reader that looks, the files and marks of VQA."""

import json
import re
from itertools import combinations

import pytest
import torch
from torch.nn.functional import normalize

from cmlib.data import Pairs, States
from cmlib.data.shared import SharedStates
from cmlib.datasets.vqa import answer_labels, check_questions, plain_answer, read_vqa
from cmlib.encoders.tokenizer import mini_tokenizer
from cmlib.evaluation.people import best_guess, vqa_accuracy
from cmlib.models.grounded_reader import Aligner, GroundedReader, late_interaction
from cmlib.worlds import KINDS, Toys
from cmlib.worlds.printed import WORDS, with_cards
from cmlib.worlds.questions import CANNOT_TELL, TYPES, ask, scenes
from cmlib.worlds.words import SYNONYMS

NAMES = {word: kind for kind in KINDS for word in SYNONYMS[kind]}


@pytest.fixture(scope="module")
def scene():
    return with_cards(Toys().sample(300), 0.5, seed=1)


# Questions of the world


def true_answer(text, toys, word):
    """The answer from the words of the question alone, by another way than the world's."""
    named = [NAMES[one] for one in text.split() if one in NAMES]
    of = [[toy for toy in toys if toy.kind == name] for name in named]
    if text.startswith("how many"):
        return ("one", "two", "three", "four")[len(toys) - 1]
    if text.startswith("is there"):
        return "yes" if of[0] else "no"
    if "cracked" in text or "broken" in text:
        return "yes" if sum(toy.cracked for toy in toys) else "no"
    if "say" in text or "printed" in text:
        return WORDS[word]
    if "card" in text:
        left = (of[0][0].x < 32) == (text.split()[2] != "card")
        return "yes" if left and len(of[0]) == 1 else "no"
    if text.startswith("is the"):
        (a,), (b,) = of
        assert abs(a.x - b.x) > 6
        return "yes" if a.x < b.x else "no"
    if "color is the toy" in text:
        (start,) = of[0]
        assert len(toys) > 2
        near = {"next to": lambda t: abs(start.y - t.y) < 12 < abs(start.x - t.x),
                "above": lambda t: abs(start.x - t.x) < 12 < start.y - t.y,
                "below": lambda t: abs(start.x - t.x) < 12 < t.y - start.y}
        way = next(near[name] for name in near if name in text)
        (toy,) = filter(way, toys)
        return toy.color
    return of[0][0].color if len(of[0]) == 1 else CANNOT_TELL


def test_every_answer_is_true(scene):
    asked = ask(scene, dict.fromkeys((*TYPES, "word", "absent", "card place"), 3), seed=2)
    toys, words = scenes(scene), scene.extras["word"].tolist()
    for text, label, row in zip(asked.texts, asked.labels.tolist(), asked.picture.tolist(), strict=True):
        assert asked.class_names[label] == true_answer(text, toys[row], words[row]), (text, toys[row])
    assert set(asked.extras["type"]) == {*TYPES, "word", "absent", "card place"}


def test_questions_are_asked_at_most_as_often_as_wanted_and_no_question_twice(scene):
    asked = ask(scene, {"exists": 3, "left of": 2}, seed=2)
    rows = list(zip(asked.picture.tolist(), asked.texts, strict=True))
    assert len(set(rows)) == len(rows)
    counts = asked.picture[torch.tensor([one == "exists" for one in asked.extras["type"]])].bincount()
    assert counts.max() == 3 and counts.min() >= 1


def test_a_row_is_asked_the_same_whatever_stands_behind_it(scene):
    whole, few = ask(scene, seed=3), ask(scene[:50], seed=3)
    kept = whole.picture < 50
    assert few.texts == [text for text, keep in zip(whole.texts, kept, strict=True) if keep]


def test_an_unknown_type_is_named(scene):
    with pytest.raises(ValueError, match="no type of question 'shape'; there are count, exists"):
        ask(scene, {"shape": 1})


@pytest.mark.parametrize("each", [{"word": 1}, {"count": 0}, {}])
def test_scenes_that_cannot_be_asked_say_so(each):
    with pytest.raises(ValueError, match="None of these 2 scenes can be asked"):
        ask(Toys().sample(2), each)


@pytest.mark.parametrize("wrong", [{"share": 1.5}, {"words": ()}])
def test_cards_want_a_share_and_a_word(wrong):
    with pytest.raises(ValueError, match="a share from 0 to 1 and at least one word"):
        with_cards(Toys().sample(2), **wrong)


def test_a_card_changes_its_quarter_and_nothing_else():
    plain = Toys().sample(60)
    carded = with_cards(plain, 0.5, seed=4)
    laid = carded.extras["card"] >= 0
    assert 10 < laid.sum() < 50 and torch.equal(laid, carded.extras["word"] >= 0)
    changed = (carded.images != plain.images).any(1)
    assert not changed[~laid].any()
    for row in laid.nonzero()[:, 0].tolist():
        y, x = changed[row].nonzero(as_tuple=True)
        quarter = int(carded.extras["card"][row])
        assert x.min() >= (0, 28)[quarter % 2] and x.max() < (40, 64)[quarter % 2]
        assert y.min() >= (0, 32)[quarter // 2] and y.max() < (32, 64)[quarter // 2]
        taken = [(x >= 32) + 2 * (y >= 32) for x, y in zip(
            plain.extras["x"][row].tolist(), plain.extras["y"][row].tolist(), strict=True) if x >= 0]
        assert quarter not in taken
        assert carded.texts[row] == f"{plain.texts[row]} the card says {WORDS[carded.extras['word'][row]]} ."
    again = Toys().sample(60)
    assert torch.equal(plain.images, again.images)  # not changed in place


@pytest.mark.parametrize("word", ["quiz", "sales", "go"])
def test_a_word_that_no_card_holds_is_named(word):
    with pytest.raises(ValueError, match=f"four letters out of a d e .*; got '{word}'"):
        with_cards(Toys().sample(2), words=("sale", word))


# Rows that share pictures and texts


def shared(rows=7):
    draw = torch.Generator().manual_seed(0)
    mask = torch.arange(6) < torch.tensor([[6], [3], [4]])
    where = {"image": torch.randint(4, (rows,), generator=draw),
             "text": torch.randint(3, (rows,), generator=draw)}
    return SharedStates({"image": torch.randn(4, 9, 5, generator=draw),
                         "text": torch.randn(3, 6, 8, generator=draw)},
                        {"text": mask}, torch.arange(rows), rows=where)


def test_shared_rows_are_gathered_as_if_each_had_its_own():
    rows = shared()
    own = States({name: values[rows.rows[name]] for name, values in rows.states.items()},
                 {"text": rows.masks["text"][rows.rows["text"]]}, rows.labels)
    index = torch.tensor([5, 0, 5, 2])
    found, wanted = rows[index], own[index]
    assert len(rows) == 7 and type(found) is States
    for name in ("image", "text"):
        assert torch.equal(found.states[name], wanted.states[name])
    assert torch.equal(found.masks["text"], wanted.masks["text"])
    assert torch.equal(found.labels, wanted.labels)


@pytest.mark.parametrize("where", [{}, {"image": torch.tensor([4]), "text": torch.tensor([0])}])
def test_rows_that_point_nowhere_are_refused(where):
    rows = shared()
    with pytest.raises(ValueError, match=r"rows\['image'\], numbers from 0 to 3 of its 4 entries"):
        SharedStates(rows.states, rows.masks, rows=where)


def test_each_picture_and_each_question_is_encoded_once():
    from cmlib import FusionModel, image_encoder, text_encoder
    from cmlib.training.predict import extract_states
    from cmlib.training.sharing import extract_shared

    model = FusionModel(image_encoder("mini"), text_encoder("mini"), n_classes=2)
    pairs = ask(Toys().sample(3))
    found = extract_shared(model, pairs)
    assert len(found.states["image"]) == 3 and len(found.states["text"]) == len(set(pairs.texts))
    own = extract_states(model, pairs)
    index = torch.arange(len(pairs))
    torch.testing.assert_close(found[index].states["image"], own.states["image"])
    length = found[index].states["text"].shape[1]
    keep = own.masks["text"][:, :length, None]
    torch.testing.assert_close(found[index].states["text"] * keep, own.states["text"][:, :length] * keep,
                               rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match="Question 1 is empty"):
        extract_shared(model, Pairs(pairs.images, ["is it red ?", " ", "why ?"]))


def test_the_first_and_the_last_token_are_no_words():
    from cmlib.training.sharing import words_alone

    rows = States({"text": torch.randn(3, 6, 8)}, {"text": torch.arange(6) < torch.tensor([[6], [3], [4]])})
    kept = words_alone(rows).masks["text"]
    assert kept.sum(1).tolist() == [4, 1, 2] and not kept[:, 0].any() and kept[:, 1].all()
    assert rows.masks["text"].sum() == 13  # the other States are as they were


# Words that look


def test_late_interaction_is_what_loops_find_gradients_too():
    torch.manual_seed(0)
    cells, words = (torch.randn(*shape, dtype=torch.float64, requires_grad=True)
                    for shape in ((3, 5, 4), (2, 6, 4)))
    weights = torch.rand(2, 6, dtype=torch.float64)
    weights[1, 4:] = 0
    weights = (weights / weights.sum(1, keepdim=True)).requires_grad_()
    def best(t, w, p):
        return torch.stack([words[t, w] @ cells[p, c] for c in range(5)]).max()

    slow = torch.stack([torch.stack([sum(weights[t, w] * best(t, w, p) for w in range(6)) for p in range(3)])
                        for t in range(2)])
    fast = late_interaction(cells, words, weights)
    torch.testing.assert_close(fast, slow)
    pull = torch.randn(2, 3, dtype=torch.float64)
    for a, b in zip(torch.autograd.grad((fast * pull).sum(), (cells, words, weights)),
                    torch.autograd.grad((slow * pull).sum(), (cells, words, weights)), strict=True):
        torch.testing.assert_close(a, b)


def a_reader(**settings):
    torch.manual_seed(1)
    places = torch.stack([torch.arange(9) % 3 - 1.0, torch.arange(9) // 3 - 1.0], 1)
    settings |= {"hidden_size": 10, "value_size": 7}
    return GroundedReader(Aligner(5, 8, size=4), 5, 8, 6, places, **settings).eval()


def test_the_aligner_gives_vectors_of_length_1_and_no_weight_to_padding():
    states = shared()[torch.arange(7)]
    found = Aligner(5, 8, size=4)(states)
    for name in ("cells", "words"):
        torch.testing.assert_close(found[name], normalize(found[name], dim=2))
    assert not found["weights"][~states.masks["text"]].any()
    torch.testing.assert_close(found["weights"].sum(1), torch.ones(7))


@pytest.mark.parametrize("steps", [1, 2])
def test_padding_and_the_other_rows_of_a_batch_say_nothing(steps):
    rows, reader = shared(), a_reader(steps=steps)
    together = reader(rows[torch.arange(7)])
    alone = torch.cat([reader(rows[torch.tensor([row])]) for row in range(7)])
    torch.testing.assert_close(together, alone)
    assert together.shape == (7, 6)


def test_the_places_of_both_looks_are_what_loops_find():
    rows, reader = shared(), a_reader()
    states = rows[torch.tensor([1, 4])]
    torch.nn.init.normal_(reader.order)
    found = reader.looks(states)
    aligned = reader.aligner(states)
    for row in range(2):
        word = aligned["words"][row] @ aligned["cells"][row].T  # (tokens, cells)
        look = (word * reader.log_sharp.exp()).softmax(1)
        scores = reader.choose(reader.text_norm(states.states["text"][row])) + reader.order[:len(word)]
        scores = scores[:, 0]
        scores = scores.where(states.mask("text")[row], torch.tensor(-torch.inf))
        x, y = (scores.softmax(0) @ (look @ reader.places)).tolist()
        torch.testing.assert_close(found["first"][row, 0], scores.softmax(0) @ look)
        torch.testing.assert_close(found["read"][row, 0, 1:3], 3 * torch.tensor([x, y]))
        a = reader.direction(found["asked"][row])
        thing = reader.thing(reader.image_norm(states.states["image"][row]))[:, 0]
        second = torch.stack([
            a[0] * (u - x) + a[1] * (v - y) + a[2] * (u - x) ** 2 + a[3] * (v - y) ** 2
            + a[4] * t
            for (u, v), t in zip(reader.places.tolist(), thing, strict=True)]).softmax(0)
        torch.testing.assert_close(found["second"][row], second)


# Files and marks


def test_fifty_rows_in_the_layout_of_vqa_are_read(tmp_path):
    files = written(tmp_path)
    rows = read_vqa(*files)
    assert len(rows) == 50 and rows[3].question_id == 303 and rows[3].type == "how many"
    assert rows[3].answers == ("two",) * 7 + ("three",) * 3 and rows[3].image_id == 3


def written(folder, questions=None, annotations=None):
    """50 questions of the world in two files, with seven of ten people right; or what is given."""
    if questions is None:
        asked = ask(Toys().sample(50), {"count": 1})
        questions, annotations = [], []
        for row, (text, label) in enumerate(zip(asked.texts, asked.labels.tolist(), strict=True)):
            truth, other = asked.class_names[label], asked.class_names[(label + 1) % 4]
            people = [truth] * 7 + [other] * 3 if row != 3 else ["two"] * 7 + ["three"] * 3
            questions.append({"question_id": 300 + row, "image_id": row, "question": text})
            annotations.append({
                "question_id": 300 + row, "image_id": row, "question_type": "how many",
                "answer_type": "number", "multiple_choice_answer": truth,
                "answers": [{"answer_id": k + 1, "answer": one, "answer_confidence": "yes"}
                            for k, one in enumerate(people)]})
    paths = folder / "questions.json", folder / "annotations.json"
    paths[0].write_text(json.dumps({"info": {}, "questions": questions}), "utf-8")
    paths[1].write_text(json.dumps({"info": {}, "annotations": annotations}), "utf-8")
    return paths


QUESTION = {"question_id": 1, "image_id": 5, "question": "what ?"}
SAID = {"question_id": 1, "image_id": 5, "answers": [{"answer": "red"}] * 10}


@pytest.mark.parametrize(
    ("questions", "annotations", "sentence"),
    [
        ([QUESTION | {"question": "  "}], [SAID], "Question 1 in .*questions.json is empty: write it"),
        ([QUESTION, QUESTION], [SAID], "question 1 stands there more than once"),
        ([QUESTION, QUESTION | {"question_id": 2}], [SAID], "Question 2 stands in .*questions.json and not"),
        ([QUESTION], [SAID, SAID | {"question_id": 7}], "Question 7 stands in .*annotations.json and not in"),
        ([{"question_id": 1, "question": "what ?"}], [SAID], "not laid out like the questions .*'image_id'"),
        ([{"image_id": 1}], [SAID], "is not laid out like the questions of VQA"),
    ],
)
def test_what_is_wrong_with_a_file_is_one_sentence(tmp_path, questions, annotations, sentence):
    files = written(tmp_path, questions, annotations)
    with pytest.raises(ValueError, match=sentence) as caught:
        read_vqa(*files)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_json_is_named(tmp_path):
    files = written(tmp_path, [QUESTION], [SAID])
    files[0].write_text("question,answer", "utf-8")
    with pytest.raises(ValueError, match=r"questions.json is not laid out like the questions .*JSONDecode"):
        read_vqa(*files)


def test_answers_are_compared_as_the_data_set_writes_them():
    written_so = {"Two.": "2", "a Red ball": "red ball", "none": "0", "YES": "yes"}
    assert {one: plain_answer(one) for one in written_so} == written_so
    found = answer_labels(["Red.", "two", "a blue"], ("one", "2", "blue", "red"))
    assert found.tolist() == [3, 1, 2]


def test_answers_never_seen_in_training_are_counted_and_named():
    answers = ["teal", "red", "Teal", "mauve", "teal"]
    some = "('teal' × 2, 'Teal' × 1, 'mauve' × 1)"
    sentence = re.escape(f"4 of these 5 answers stand in no training row {some}")
    with pytest.raises(ValueError, match=sentence):
        answer_labels(answers, ("red", "blue"))
    assert answer_labels(answers, ("red", "blue"), unseen=-1).tolist() == [-1, 0, -1, -1, -1]


def test_an_empty_question_and_one_that_is_too_long_are_refused():
    tokenizer = mini_tokenizer()
    check_questions(["what color is the duck ?"], tokenizer)
    with pytest.raises(ValueError, match="Question 1 is empty: write one, or leave the row out"):
        check_questions(["why ?", ""], tokenizer)
    with pytest.raises(ValueError, match="Question 0 has 203 tokens .* and this encoder takes 128"):
        check_questions(["red " * 200 + "?"], tokenizer)


def test_the_marks_are_the_mean_over_all_sets_of_nine():
    draw = torch.Generator().manual_seed(0)
    answer, given = torch.randint(3, (40,), generator=draw), torch.randint(-1, 3, (40, 10), generator=draw)
    slow = [sum(min(sum(g == a and g >= 0 for g in nine) / 3, 1) for nine in combinations(people, 9)) / 10
            for a, people in zip(answer.tolist(), given.tolist(), strict=True)]
    torch.testing.assert_close(vqa_accuracy(answer, given), torch.tensor(slow, dtype=torch.float64))
    assert not vqa_accuracy(torch.full((3,), -1), torch.full((3, 10), -1)).any()  # they agree with none
    with pytest.raises(ValueError, match=r"answers \(rows,\) and those of people \(rows, people\)"):
        vqa_accuracy(answer, given[0])


def test_the_best_guess_is_what_loops_count():
    draw = torch.Generator().manual_seed(0)
    question, answer = 2 * torch.randint(5, (60,), generator=draw), torch.randint(4, (60,), generator=draw)
    asked = torch.arange(-3, 14)
    slow = []
    for one in asked.tolist():
        mine = [a for q, a in zip(question.tolist(), answer.tolist(), strict=True) if q == one]
        mine = mine or answer.tolist()
        slow.append(max(sorted(set(mine)), key=mine.count))
    assert best_guess(question, answer, asked).tolist() == slow
    with pytest.raises(ValueError, match=r"questions and answers \(rows,\), a row at least"):
        best_guess(question[:0], answer[:0], asked)
