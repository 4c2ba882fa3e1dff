"""The worlds keep their promises: a row never changes, the truth is exact, words decode, boxes hold the
toys.
"""

import hashlib
import inspect
import re
import subprocess
import sys
from collections import Counter
from functools import partial

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cmlib.worlds import COLORS, FINDINGS, KINDS, SITUATIONS, ZONES, Chest, RefundDesk, Toys, chest, toys
from cmlib.worlds.drawings import DRAWINGS
from cmlib.worlds.draws import Draws, row_draws
from cmlib.worlds.render import Photographer
from cmlib.worlds.sprites import CRACKS, POSES, sprite
from cmlib.worlds.words import (
    BROKEN,
    CHATTER,
    FINE,
    GREETINGS,
    NEUTRAL,
    ORDERED,
    ORDERED_NOT,
    OTHERS,
    SYNONYMS,
    TWINS,
)
from cmlib.worlds.xray import finding

WORLDS = {
    "desk": RefundDesk(n_colors=3, noise=(0.1, 0.2, 0.05), seed=3),
    "chest": Chest(seed=3),
    "toys": Toys(seed=3),
}
DEFAULT = (0.25, 0.25, 0.25, 0.25)
SETTINGS = [(DEFAULT, (0, 0, 0)), ((0.4, 0.2, 0.2, 0.2), (0.05, 0.1, 0.05)),
            ((0, 0, 0, 1), (0, 0, 0.3)), ((0.7, 0.3, 0, 0), (0.2, 0.1, 0))]


def same(a, b):
    assert (
        torch.equal(a.images, b.images) and list(a.texts) == list(b.texts) and torch.equal(a.labels, b.labels)
    )
    for name, values in a.extras.items():
        other = b.extras[name]
        assert torch.equal(values, other) if isinstance(values, torch.Tensor) else values == other, name


def digest(pairs):
    return hashlib.sha256(pairs.images.numpy().tobytes() + "|".join(pairs.texts).encode()).hexdigest()


# --- a row is a row ---

@pytest.fixture(scope="module")
def reference():
    return {name: world.sample(40) for name, world in WORLDS.items()}


@pytest.mark.parametrize("name", WORLDS)
@settings(max_examples=8, deadline=None)
@given(start=st.integers(0, 39), n=st.integers(0, 40))
def test_a_row_does_not_depend_on_n_or_start(reference, name, start, n):
    n = min(n, 40 - start)
    same(WORLDS[name].sample(n, start=start), reference[name][start:start + n])


def test_a_row_does_not_depend_on_the_process():
    code = (f"import hashlib\nfrom cmlib.worlds import *\n{inspect.getsource(digest)}\n"
            "print(*(digest(w(seed=3).sample(3, start=21)) for w in (Chest, Toys)))")
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == [digest(world(seed=3).sample(24)[21:]) for world in (Chest, Toys)]


@pytest.mark.parametrize("name", WORLDS)
def test_other_splits_and_seeds_are_other_rows(reference, name):
    train, test, other = (
        reference[name],
        WORLDS[name].sample(40, "test"),
        type(WORLDS[name])(seed=4).sample(40),
    )
    for rows in (test, other):
        assert not any(torch.equal(a, b) for a, b in zip(train.images, rows.images, strict=True))


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize(
    ("slip", "meant"),
    [
        ("trian", "train"),
        ("tran", "train"),
        ("Train", "train"),
        ("train ", "train"),
        ("training", "train"),
        ("tset", "test"),
        ("tests", "test"),
        ("TEST", "test"),
        ("val", "valid"),
        ("vaild", "valid"),
        ("validation", "valid"),
    ],
)
def test_a_misspelt_split_is_not_another_sequence(name, slip, meant):
    with pytest.raises(ValueError) as caught:
        WORLDS[name].sample(2, split=slip)
    assert str(caught.value) == (f'sample(split={slip!r}) looks like a misspelt "{meant}": write that, or, '
                                 'for a sequence of '
                                 f'its own, a name less like it, such as "{meant} 2".')


def test_every_other_name_is_a_sequence_of_its_own():
    names = [
        "train",
        "valid",
        "test",
        "pretraining train",
        "pretraining test",
        "warm-up",
        "benchmark",
        "train 2",
        "test2",
        "demo",
        "dev",
        "holdout",
    ]
    assert len({digest(WORLDS["desk"].sample(2, split=name)) for name in names}) == len(names)


def test_draws_are_uniform_and_unrelated():
    n = 20_000
    draws = Draws(0, "test", range(n))
    columns = np.column_stack([draws.uniform("a"), draws.uniform("b"),
                               Draws(1, "test", range(n)).uniform("a"), draws.uniform("c", 3)])
    assert np.abs(columns.mean(0) - 0.5).max() < 4 * np.sqrt(1 / 12 / n)
    off_diagonal = np.corrcoef(columns.T) - np.eye(6)
    assert np.abs(off_diagonal).max() < 4.5 / np.sqrt(n)
    assert abs(np.corrcoef(columns[1:, 0], columns[:-1, 0])[0, 1]) < 4 / np.sqrt(n)


# --- what can be known ---

@pytest.mark.parametrize("k", [2, 3, 6])
@pytest.mark.parametrize("p,e", SETTINGS)
def test_ceilings_are_the_closed_forms(p, e, k):
    (p_r, p_i, p_t, p_s), (e_i, e_t, e_s) = p, e
    desk = RefundDesk(k, p, e)
    assert float(desk.joint_table().sum()) == pytest.approx(1)
    assert desk.ceilings() == pytest.approx(
        {
            "image": (p_r + p_i) * (1 - e_i) + (p_t + p_s) / 2,
            "text": (p_r + p_t) * (1 - e_t) + (p_i + p_s) / 2,
            "both": p_r * (1 - min(e_i, e_t)) + p_i * (1 - e_i) + p_t * (1 - e_t) + p_s * (1 - e_s),
            "prior": 0.5,
        }
    )


def sampled(desk, n):
    return desk._latents(row_draws("desk", desk.seed, n, "train", 0))


@pytest.mark.parametrize("k", [2, 6])
@pytest.mark.parametrize("p,e", SETTINGS)
def test_joint_table_is_what_is_sampled(p, e, k):
    desk, n = RefundDesk(k, p, e, seed=1), 40_000
    z = sampled(desk, n)
    counts = np.zeros((2, 3 + k, 3 + k))
    np.add.at(counts, (z["label"], z["image_symbol"], z["text_symbol"]), 1)
    exact = desk.joint_table().numpy()
    assert (counts[exact == 0] == 0).all()
    assert (np.abs(counts / n - exact) <= 4 * np.sqrt(exact * (1 - exact) / n) + 1e-12).all()
    guess = {
        "image": exact.sum(2).argmax(0)[z["image_symbol"]],
        "text": exact.sum(1).argmax(0)[z["text_symbol"]],
        "both": exact.argmax(0)[z["image_symbol"], z["text_symbol"]],
    }
    for name, rule in guess.items():
        ceiling = desk.ceilings()[name]
        assert (
            abs((rule == z["label"]).mean() - ceiling)
            <= 4 * np.sqrt(max(ceiling * (1 - ceiling), 0) / n) + 1e-12
        )


@pytest.mark.parametrize("k", [2, 4])
def test_colours_alone_say_nothing(k):
    table = RefundDesk(k, noise=(0, 0, 0.1)).joint_table()
    for marginal in (table.sum(2), table.sum(1)):
        assert torch.allclose(marginal[0, 3:], marginal[1, 3:], rtol=1e-12)
    n = 40_000
    z = sampled(RefundDesk(k, (0, 0, 0, 1), seed=2), n)
    for name in ("image_symbol", "text_symbol", "color", "ordered_color", "kind", "size", "pose", "crack"):
        for value in np.unique(z[name]):
            here = z["label"][z[name] == value]
            assert abs(here.mean() - 0.5) < 4.5 * 0.5 / np.sqrt(len(here)), (name, value)


def test_a_sealed_parcel_looks_the_same_whatever_is_inside(monkeypatch):
    desk = RefundDesk(probabilities=(0, 0, 1, 0))
    before = desk.sample(20).images
    latents = RefundDesk._latents
    monkeypatch.setattr(RefundDesk, "_latents", lambda self, draws: (z := latents(self, draws)) | {
        "kind": (z["kind"] + 1) % 8, "label": 1 - z["label"]})
    assert torch.equal(desk.sample(20).images, before)


def test_extras_agree_with_each_other():
    pairs = RefundDesk(n_colors=4, seed=5).sample(400)
    z, y = pairs.extras, pairs.labels
    s = z["situation"]
    assert SITUATIONS == ("R", "I", "T", "S") and pairs.class_names == ("keep", "refund")
    assert set(s.tolist()) == {0, 1, 2, 3}
    assert torch.equal(z["cracked"][s < 2], y[s < 2]) and (z["cracked"][s == 2] == -1).all()
    assert torch.equal((z["color"] != z["ordered_color"])[s == 3].long(), y[s == 3])
    assert (z["ordered_color"][s != 3] == -1).all()
    assert z["color"][s == 3].max() < 4 and z["color"][s != 3].max() == 5


# --- the words ---

WORD_COLOR = {word: c for c, color in enumerate(COLORS) for word in SYNONYMS[color]}
ABOUT_ORDER = re.compile(r"\b(ordered|order|invoice|asked for|paid for)\b")
NOT_ORDERED = re.compile(r"did not order the \w+|, not the \w+ one|not the \w+ \w+ but|brother ordered the "
                         r"\w+")
BESIDE_THE_POINT = re.compile(r"the box is|the old one|at first|feared")
BAD = r"\b(broken|damaged|cracked|cracks?|scratch|damage|fell apart|two pieces)\b"
GOOD = r"\b(fine|intact|whole|perfect|perfectly|well|happy|one piece|as good as new|works?)\b"
NEGATION = r"\b(not|no|nothing|cannot|without)\b"


def decode(text):
    """The meaning of a message by rules of grammar, written without looking at how messages are made."""
    found = set()
    for sentence in re.split(r" [.?]", text):
        sentence = sentence.strip().replace("anything but", "not")
        if ABOUT_ORDER.search(sentence):
            found |= {3 + WORD_COLOR[w] for w in NOT_ORDERED.sub(" ", sentence).split() if w in WORD_COLOR}
        for clause in re.split(r" , | but ", sentence):
            if not re.search(
                r"my neighbour|my sister|my son|in the advert|gave a friend|shop window|one day", clause
            ):
                clause = "" if "at first" not in clause and BESIDE_THE_POINT.search(clause) else clause
                if "at first" not in clause and re.search(f"{BAD}|{GOOD}", clause):
                    found.add(int(bool(re.search(BAD, clause)) != bool(re.search(NEGATION, clause))))
    assert len(found) <= 1, (text, found)
    return found.pop() if found else 2


@pytest.mark.parametrize("k", [2, 6])
def test_the_message_says_exactly_its_symbol(monkeypatch, k):
    monkeypatch.setattr("cmlib.worlds.desk._take_photos", lambda photos, z: z["label"])  # words only: quicker
    pairs = RefundDesk(k, noise=(0.1, 0.1, 0.1), seed=8).sample(5000)
    wrong = [
        (t, b)
        for t, b in zip(pairs.texts, pairs.extras["text_symbol"].tolist(), strict=True)
        if decode(t) != b
    ]
    assert not wrong, wrong[:5]
    assert all(t == t.lower() and "  " not in t and "{" not in t for t in pairs.texts)
    assert not any(re.search(r"\ba [aeiou]|\ban [^aeiou]", t) for t in pairs.texts)
    assert len(set(pairs.texts)) > 3000


def test_a_bag_of_words_cannot_read_the_twins():
    assert all(Counter(fine.split()) == Counter(broken.split()) and fine != broken for fine, broken in TWINS)


TEMPLATES = {
    one for kind in (GREETINGS, CHATTER, OTHERS, FINE, BROKEN, NEUTRAL, ORDERED, ORDERED_NOT, *TWINS)
    for one in kind
}


def templates_of(texts):
    """Every sentence template that occurs in the texts: found in them, not in how they are made."""
    text, found = "|".join(texts), set()
    for template in TEMPLATES:
        words = re.sub(r"\\{\w\\}", r"\\w+", re.escape(template))
        if re.search(rf"(?:^|\||[.,?] ){words}(?=$|\||\s)", text):
            found.add(template)
    return found


def test_held_out_templates_are_in_no_text_that_is_trained_on(monkeypatch):
    monkeypatch.setattr("cmlib.worlds.desk._take_photos", lambda photos, z: z["label"])  # words only: quicker
    desk = RefundDesk(n_colors=6, held_out=True, seed=8)
    train, valid, test = (desk.sample(3000, split=split) for split in ("train", "valid", "test"))
    seen, new = templates_of([*train.texts, *valid.texts]), templates_of(test.texts)
    assert not seen & new and seen | new == TEMPLATES
    assert not set(train.texts) & set(test.texts)
    for pairs in (train, test):
        for text, symbol in zip(pairs.texts, pairs.extras["text_symbol"].tolist(), strict=True):
            assert decode(text) == symbol


def test_templates_are_held_out_only_when_asked(monkeypatch):
    monkeypatch.setattr("cmlib.worlds.desk._take_photos", lambda photos, z: z["label"])
    train, test = (RefundDesk(n_colors=6, seed=8).sample(3000, split=split) for split in ("train", "test"))
    assert templates_of(train.texts) == templates_of(test.texts)


def test_captions_tags_and_questions_tell_the_truth():
    scenes = Toys(seed=2).sample(300)
    e = scenes.extras
    kind_of = {word: kind for kind in KINDS for word in SYNONYMS[kind]}
    for i in range(len(scenes)):
        n = int(e["count"][i])
        kinds = [KINDS[k] for k in e["kind"][i, :n]]
        colors = [COLORS[c] for c in e["color"][i, :n]]
        assert (
            (e["kind"][i, n:] == -1).all()
            and (e["boxes"][i, n:] == 0).all()
            and scenes.labels[i] == e["kind"][i, 0]
        )
        said = re.split(r" (?:there is no|no|it does not show any) ", scenes.texts[i].replace("toys", ""))[0]
        assert [kind_of[w] for w in said.split() if w in kind_of] == kinds
        assert [COLORS[WORD_COLOR[w]] for w in said.split() if w in WORD_COLOR] == colors
        left_to_right = sorted(range(n), key=lambda o: (e["x"][i, o], e["y"][i, o]))
        assert [w for w in e["captions"][i].split() if w in KINDS] == [kinds[o] for o in left_to_right]
        both = {f"{c} {k}" for c, k in zip(colors, kinds, strict=True)}
        assert set(e["tags"][i]) - {"cracked"} == {*kinds, *colors, *both}
        assert ("cracked" in e["tags"][i]) == bool((e["cracked"][i] == 1).any())
        for question, answer in e["questions"][i]:
            about = [kind_of[w] for w in question.split() if w in kind_of]
            if question.startswith("how many"):
                assert answer == ("one", "two", "three", "four")[n - 1]
            elif "left of" in question:
                a, b = (e["x"][i, kinds.index(k)] for k in about)
                assert answer == ("yes" if a < b else "no")
            elif question.startswith("what color"):
                assert answer == colors[kinds.index(about[0])] and kinds.count(about[0]) == 1
            elif question.startswith("is there"):
                assert answer == ("yes" if about[0] in kinds else "no")
            else:
                assert answer == ("yes" if "cracked" in e["tags"][i] else "no")


# --- the pictures ---

@pytest.mark.parametrize("kind", DRAWINGS)
def test_a_sprite_fills_its_box(kind):
    for pose in range(POSES):
        patch = sprite(kind, 39, pose, shadow=0.0)
        ys, xs = np.nonzero(patch.keep < 0.98)
        assert (xs.min(), ys.min(), xs.max() + 1, ys.max() + 1) == patch.box


def test_toys_are_inside_their_boxes(monkeypatch):
    monkeypatch.setattr(toys, "sprite", partial(sprite, shadow=0.0))
    pairs = Toys(seed=6).sample(40)
    monkeypatch.setattr(Photographer, "paste", lambda *_: None)
    changed = (pairs.images != Toys(seed=6).sample(40).images).any(1)
    for i, mask in enumerate(changed):
        covered = torch.zeros_like(mask)
        for x0, y0, x1, y1 in pairs.extras["boxes"][i].tolist():
            covered[y0:y1, x0:x1] = True
            assert y1 == 0 or mask[y0:y1, x0:x1].float().mean() > 0.25
        assert not (mask & ~covered).any()


def test_desk_boxes_hold_the_toy(monkeypatch):
    monkeypatch.setattr("cmlib.worlds.desk.sprite", partial(sprite, shadow=0.0))
    desk = RefundDesk(probabilities=(0.4, 0.3, 0.3, 0), seed=6)
    pairs = desk.sample(40)
    monkeypatch.setattr(Photographer, "paste", lambda *_: None)
    changed = (pairs.images != desk.sample(40).images).any(1)
    for mask, (x0, y0, x1, y1) in zip(changed, pairs.extras["box"].tolist(), strict=True):
        ys, xs = mask.nonzero(as_tuple=True)
        found = torch.tensor([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1])
        assert (found - torch.tensor([x0, y0, x1, y1])).abs().max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_cracks_are_easy_to_see(kind):
    """A crack changes many pixels by a lot, at every size, on dark toys and on pale ones."""
    for size in (29, 47):
        for crack in range(1, CRACKS + 1):
            whole, broken = sprite(kind, size), sprite(kind, size, 0, crack)
            for grey in (60, 200):
                difference = np.abs(
                    (whole.fixed + whole.main * grey) - (broken.fixed + broken.main * grey)
                ).mean(0)
                assert (difference > 40).sum() > 1.1 * size, (kind, size, crack, grey)


def test_right_is_the_patients_right(monkeypatch):
    films = Chest(seed=9).sample(120)
    monkeypatch.setattr(chest, "finding", lambda *a: np.zeros_like(finding(*a)))
    empty = Chest(seed=9).sample(120)
    seen = 0
    for i in (films.extras["count"] == 1).nonzero()[:, 0].tolist():
        brighter = (films.images[i, 0].float() - empty.images[i, 0].float()).clamp(min=0)
        ys, xs = (brighter > 3).nonzero(as_tuple=True)
        x0, y0, x1, y1 = films.extras["boxes"][i, 0].tolist()
        assert x0 <= xs.min() and xs.max() < x1 and y0 <= ys.min() and ys.max() < y1
        side = ZONES[films.extras["zone"][i, 0]].split()[0]
        assert side == ("right" if xs.float().mean() < 32 else "left")
        assert f"the {ZONES[films.extras['zone'][i, 0]]} zone" in films.texts[i]
        seen += 1
    assert seen > 20


def test_reports_name_what_is_there_and_deny_what_is_not():
    films = Chest(seed=1).sample(400)
    for i in range(len(films)):
        n = int(films.extras["count"][i])
        kinds = [FINDINGS[k] for k in films.extras["kind"][i, :n]]
        assert len(set(kinds)) == n and films.labels[i] == (FINDINGS.index(kinds[0]) + 1 if n else 0)
        assert films.extras["findings"][i].sum() == n
        sentences = [s.strip() for s in films.texts[i].split(" .") if s.strip()]
        affirmed = {f: s for s in sentences for f in FINDINGS if f in s.split() and "zone" in s}
        denied = {f for s in sentences for f in FINDINGS if f in s.split() and "zone" not in s}
        assert set(affirmed) == set(kinds) and denied and not denied & set(kinds)
        for slot, kind in enumerate(kinds):
            assert ZONES[films.extras["zone"][i, slot]] in affirmed[kind]
            assert bool(re.search(r"\b(large|big|extensive)\b", affirmed[kind])) == (slot == 0)


@pytest.mark.parametrize("name", WORLDS)
def test_an_empty_sample_is_empty(name):
    assert len(WORLDS[name].sample(0)) == 0


# --- bad input ---

@pytest.mark.parametrize(
    "arguments,error,sentence",
    [
        ({"probabilities": (0.5, 0.5, 0.5, 0)}, ValueError, r"must sum to 1; these sum to 1\.5"),
        ({"probabilities": (1.5, -0.5, 0, 0)}, ValueError, "must not be negative"),
        ({"probabilities": (0.5, 0.5)}, ValueError, "give 4 numbers, for R, I, T, S"),
        ({"probabilities": 0.5}, ValueError, "give 4 numbers"),
        ({"probabilities": (float("nan"), 0, 0, 1)}, ValueError, "give 4 numbers"),
        ({"n_colors": 1}, ValueError, "choose 2 to 6 colours"),
        ({"n_colors": 7}, ValueError, "choose 2 to 6 colours"),
        ({"n_colors": 2.5}, TypeError, r"n_colors=…\) must be a whole number; got 2\.5"),
        ({"noise": (0, 0.5, 0)}, ValueError, r"at least 0 and below 0\.5"),
        ({"noise": (-0.1, 0, 0)}, ValueError, "at least 0"),
        ({"noise": (0, 0)}, ValueError, "give 3 numbers"),
        ({"seed": "a"}, TypeError, "seed=…"),
    ],
)
def test_desk_says_what_is_wrong(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        RefundDesk(**arguments)


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("arguments,error,sentence", [
    ((-1,), ValueError, "must not be negative; got n=-1"), ((1, "train", -2), ValueError, "start=-2"),
    ((1.5,), TypeError, r"n=…\) must be a whole number"),
    ((1, 3), TypeError, 'a name such as "train"'), ((1, ""), TypeError, "a name"),
])
def test_sample_says_what_is_wrong(name, arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        WORLDS[name].sample(*arguments)
