"""Captions: their words, decoders that cannot see ahead, decoding, scores against slow ones, COCO's file."""

import itertools
import json
import math
from collections import Counter

import pytest
import torch
from PIL import Image
from torchmetrics.functional.text import bleu_score

from cmlib import fit, predict
from cmlib.data import States
from cmlib.data.vocabulary import END, PAD, START, LikeLengths, Vocabulary
from cmlib.datasets import folder
from cmlib.datasets.coco import coco_table
from cmlib.evaluation.generation import CiderD, bleu, phrase_f1
from cmlib.models.captioner import Captioner, LSTMCaptioner
from cmlib.models.decoding import beam_search, draw_words
from cmlib.models.prefix_gpt2 import PrefixGPT2, small_gpt2, trained_gpt2
from cmlib.tasks.caption import Caption
from cmlib.worlds import Toys
from cmlib.worlds.reading_order import quarter_captions

TEXTS = ["a red car", "a blue duck and a red car", "a duck", "a red duck and a blue car and a duck"]


def makers(n_words, size=6, cells=5):
    return {
        "transformer": lambda: Captioner(size, cells, n_words, hidden_size=16, n_heads=2),
        "lstm": lambda: LSTMCaptioner(size, cells, n_words, hidden_size=16),
        "lstm, first state": lambda: LSTMCaptioner(size, cells, n_words, hidden_size=16, attends=False),
        "gpt2": lambda: PrefixGPT2(size, small_gpt2(n_words, 16, 2, 2)),
    }


def captions(texts=TEXTS, size=6, cells=5):
    vocabulary = Vocabulary.of(texts)
    torch.manual_seed(0)
    words = vocabulary.encode(texts)
    return vocabulary, States({"image": torch.randn(len(texts), cells, size)}, targets={"words": words})


# words ------------------------------------------------------------------------------------------------------
def test_texts_come_back():
    vocabulary = Vocabulary.of(TEXTS)
    ids = vocabulary.encode(TEXTS)
    assert ids.shape == (4, 12) and (ids[:, 0] == START).all() and ((ids == END).sum(1) == 1).all()
    assert vocabulary.decode(ids) == TEXTS
    assert vocabulary.words[:3] == ("<pad>", "<s>", "</s>") and len(vocabulary) == 3 + 6
    ids[0, 2:] = torch.tensor([END, *[vocabulary.number["duck"]] * 9])
    assert vocabulary.decode(ids)[0] == "a"  # what stands behind the end is not read


def test_an_empty_caption_and_an_unknown_word_are_one_sentence_each():
    vocabulary = Vocabulary.of(TEXTS)
    with pytest.raises(ValueError, match=r"^Caption 1 is empty: there is no word to learn or to compare; "
                                         r"leave its row out\.$"):
        vocabulary.encode(["a car", "  "])
    with pytest.raises(ValueError, match=r"^Caption 0 has the word 'cat', which is none of the 6 words of "
                                         r"this vocabulary: make it of all captions, Vocabulary"):
        vocabulary.encode(["a cat"])


def test_captions_of_like_length_share_a_batch():
    words = torch.zeros(100, 12, dtype=torch.int64)
    lengths = torch.arange(100) % 10 + 2
    for row, length in enumerate(lengths):
        words[row, :length] = 1
    rows = States({"image": torch.zeros(100, 1, 1)}, targets={"words": words})
    batches = LikeLengths("words")(rows, 8, torch.Generator().manual_seed(0))
    assert len(batches) == 13 and sorted(torch.cat(batches).tolist()) == list(range(100))
    assert max(int(lengths[b].max() - lengths[b].min()) for b in batches) <= 1
    again = LikeLengths("words")(rows, 8, torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(batches, again, strict=True))


def test_captions_by_quarter_go_as_one_reads_a_page():
    pairs = Toys(seed=3).sample(200)
    facts = pairs.extras
    for row, text in enumerate(quarter_captions(pairs)):
        toys = text.split(" and ")
        count = int(facts["count"][row])
        assert len(toys) == count
        assert Counter(toys) == Counter(facts["captions"][row].split(" and "))  # the same toys
        places = {}
        for k in range(count):
            places[int(facts["y"][row, k] > 32), int(facts["x"][row, k] > 32)] = k
        kinds = [toy.split()[-1] for toy in toys]
        assert kinds == [pairs.class_names[int(facts["kind"][row, places[q]])] for q in sorted(places)]
        where = facts["x"][row, :count], facts["y"][row, :count]
        assert all(min(abs(int(v) - edge) for edge in (32,)) >= 10 for axis in where for v in axis)


# decoders ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("name", makers(9))
def test_no_decoder_sees_ahead(name):
    vocabulary, states = captions()
    torch.manual_seed(1)
    model = makers(len(vocabulary))[name]()
    changed = states.targets["words"].clone()
    changed[:, 4:] = 5
    before = predict(model, states)
    after = predict(model, States(states.states, targets={"words": changed}))
    assert before.shape == (4, 11, len(vocabulary))
    assert torch.allclose(before[:, :4], after[:, :4], atol=1e-5)
    assert not torch.allclose(before[:, 4:], after[:, 4:], atol=1e-3)
    other = predict(model, States({"image": states.states["image"].roll(1, 0)}, targets=states.targets))
    assert not torch.allclose(before, other, atol=1e-4)  # and it looks


def test_without_its_mask_a_decoder_sees_ahead():
    vocabulary, states = captions()
    torch.manual_seed(1)
    model = Captioner(6, 5, len(vocabulary), hidden_size=16, n_heads=2, causal=False)
    changed = states.targets["words"].clone()
    changed[:, 4:] = 5
    after = predict(model, States(states.states, targets={"words": changed}))
    assert not torch.allclose(predict(model, states)[:, :4], after[:, :4], atol=1e-3)


@pytest.mark.parametrize("name", makers(9))
def test_word_by_word_is_as_all_at_once(name):
    vocabulary, states = captions()
    torch.manual_seed(2)
    model = makers(len(vocabulary))[name]().eval()
    words = states.targets["words"]
    whole = predict(model, states)
    memory = model.memory(states.states["image"])
    for place in range(1, 6):
        assert torch.allclose(model.next_word(memory, words[:, :place]), whole[:, place - 1], atol=1e-5)


@pytest.mark.parametrize("name", makers(9))
def test_a_decoder_learns_four_captions_by_heart(name):
    vocabulary, states = captions()
    torch.manual_seed(0)
    model = makers(len(vocabulary))[name]()
    fit(model, states, task=Caption(), epochs=150, batch_size=4, learning_rate=1e-2, progress=False,
        sampler=LikeLengths("words"))
    ids, log_p = beam_search(model.next_word, model.memory(states.states["image"]), 12)
    assert vocabulary.decode(ids) == TEXTS and (log_p > -2).all()


def test_a_caption_that_is_too_long_says_so():
    model = Captioner(6, 5, 9, longest=4, hidden_size=16, n_heads=2)
    with pytest.raises(ValueError, match=r"^5 words are more than the 4 places of this Captioner: make it "
                                         r"with longest=5 or more\.$"):
        model.logits(model.memory(torch.zeros(1, 5, 6)), torch.ones(1, 5, dtype=torch.int64))
    with pytest.raises(TypeError, match="A captioner is trained on States with a target 'words'"):
        model(States({"image": torch.zeros(1, 5, 6)}))


def test_the_task_is_the_log_probability_of_whole_captions():
    vocabulary, states = captions()
    torch.manual_seed(0)
    outputs, words = torch.randn(4, 11, len(vocabulary), requires_grad=True), states.targets["words"]
    slow = []
    for z, w in zip(outputs, words, strict=True):
        total = 0.0
        for place in range(1, len(w)):
            if w[place] != PAD:
                total = total - torch.log(z[place - 1].exp()[w[place]] / z[place - 1].exp().sum())
        slow.append(total)
    loss = Caption().objective(outputs, states)
    assert torch.allclose(loss, torch.stack(slow).mean(), atol=1e-5)
    both = (loss, torch.stack(slow).mean())
    grads = [torch.autograd.grad(one, outputs, retain_graph=True)[0] for one in both]
    assert torch.allclose(*grads, atol=1e-6)
    scores = Caption().score(Caption().keep(outputs.detach(), states), states)
    assert scores["loss"] == pytest.approx(loss.item(), rel=1e-5)
    perfect = torch.nn.functional.one_hot(words[:, 1:], len(vocabulary)).float()
    assert Caption().score(Caption().keep(perfect, states), states) | {"loss": 0} == {
        "loss": 0, "words": 1.0, "whole": 1.0}


def test_a_trained_gpt2_keeps_its_words(tmp_path):
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    pieces = ByteLevelBPETokenizer()
    pieces.train_from_iterator(TEXTS, vocab_size=270, special_tokens=["<|endoftext|>"])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces._tokenizer, eos_token="<|endoftext|>")
    tokenizer.save_pretrained(tmp_path)
    torch.manual_seed(0)
    config = {"vocab_size": pieces.get_vocab_size(), "n_embd": 16, "n_layer": 1, "n_head": 2}
    whole = GPT2LMHeadModel(GPT2Config(**config))
    whole.save_pretrained(tmp_path)
    vocabulary = Vocabulary.of(TEXTS)
    few = trained_gpt2(vocabulary, str(tmp_path))
    old, new = (model.transformer.wte.weight.detach() for model in (whole, few))
    assert new.shape == (len(vocabulary), 16) and few.lm_head.weight.shape == new.shape
    for word, number in list(vocabulary.number.items())[3:]:
        assert torch.allclose(new[number], old[pieces.encode(f" {word}").ids].mean(0), atol=1e-6)
    assert torch.equal(new[END], old[pieces.token_to_id("<|endoftext|>")])
    states = captions()[1]
    assert predict(PrefixGPT2(6, few), states).shape == (4, 11, len(vocabulary))


# decoding ---------------------------------------------------------------------------------------------------
def tree(seed, n_words):
    """Scores of a next word that depend on everything before it."""
    weights = torch.randn(64, n_words, generator=torch.Generator().manual_seed(seed))

    def next_word(memory, words):
        key = (words * 7 ** torch.arange(words.shape[1])).sum(1) + memory[:, 0].long()
        scores = 2 * weights[key % 64].clone()
        scores[:, :2] = -torch.inf  # neither padding nor a second start
        return scores

    return next_word


def exhaustive(next_word, memory, longest, n_words):
    """The best caption of all, one row."""
    best, found = -math.inf, None
    for path in itertools.product(range(2, n_words), repeat=longest - 1):
        path = path[: path.index(END) + 1] if END in path else path
        total, words = 0.0, [START]
        for word in path:
            total += float(next_word(memory, torch.tensor([words])).log_softmax(1)[0, word])
            words.append(word)
        if total > best:
            best, found = total, words
    return best, found


@pytest.mark.parametrize("n_words", [4, 5])
def test_a_wide_beam_finds_what_looking_at_every_caption_finds(n_words):
    memory = torch.arange(4.0)[:, None]
    for seed in range(4):
        next_word = tree(seed, n_words)
        # a wide beam is one that keeps every beginning of a short tree: of two steps
        ids, log_p = beam_search(next_word, memory, 3, n_words)
        for row in range(4):
            best, found = exhaustive(next_word, memory[row : row + 1], 3, n_words)
            assert log_p[row].item() == pytest.approx(best, abs=1e-4)
            assert [k for k in ids[row].tolist() if k != PAD] == found


def test_a_beam_is_what_a_list_of_beginnings_finds():
    """Against a slow one, in uneven steps: ended captions stay, unended ones are given back as they are."""
    for seed, width, longest in ((0, 2, 5), (1, 3, 6), (2, 4, 4), (3, 1, 7)):
        next_word, memory = tree(seed, 6), torch.arange(3.0)[:, None]
        ids, log_p = beam_search(next_word, memory, longest, width)
        for row in range(3):
            kept = [(0.0, [START])]
            for _ in range(longest - 1):
                longer = []
                for total, words in kept:
                    if words[-1] == END:
                        longer.append((total, words))
                        continue
                    scores = next_word(memory[row : row + 1], torch.tensor([words])).log_softmax(1)[0]
                    longer += [(total + float(scores[k]), [*words, k]) for k in range(2, 6)]
                kept = sorted(longer, reverse=True)[:width]
            assert [k for k in ids[row].tolist() if k != PAD] == kept[0][1]
            assert log_p[row].item() == pytest.approx(kept[0][0], abs=1e-4)


def test_a_beam_wider_than_the_vocabulary_is_one_sentence():
    with pytest.raises(ValueError, match=r"^A beam of 7 over 6 words: there are not so many first words to "
                                         r"keep; choose width from 1 to 6\.$"):
        beam_search(tree(0, 6), torch.zeros(1, 1), 5, 7)
    with pytest.raises(ValueError, match=r"^A beam of 0 over"):
        beam_search(tree(0, 6), torch.zeros(1, 1), 5, 0)


def test_words_are_drawn_with_their_probabilities():
    def next_word(memory, words):
        p = torch.tensor([0.0, 0.0, 0.5, 0.3, 0.2])
        return p.log().expand(len(words), 5)

    draw = torch.Generator().manual_seed(0)
    ids = draw_words(next_word, torch.zeros(4000, 1), 2, draw)
    shares = torch.bincount(ids[:, 1], minlength=5) / 4000
    assert torch.allclose(shares, torch.tensor([0, 0, 0.5, 0.3, 0.2]), atol=0.03)
    cold = draw_words(next_word, torch.zeros(4000, 1), 2, draw, temperature=0.5)
    expected = torch.tensor([0, 0, 0.25, 0.09, 0.04]) / 0.38
    assert torch.allclose(torch.bincount(cold[:, 1], minlength=5) / 4000, expected, atol=0.03)
    long = draw_words(next_word, torch.zeros(200, 1), 30, draw)
    ended = (long == END).int().cumsum(1).roll(1, 1)[:, 1:] > 0
    assert (long[:, 1:][ended] == PAD).all() and (long[:, 1:][~ended] != PAD).all()
    with pytest.raises(ValueError, match=r"^temperature=0 must be above 0: scores are divided by it"):
        draw_words(next_word, torch.zeros(1, 1), 3, draw, temperature=0)


# scores -----------------------------------------------------------------------------------------------------
def spoiled(seed, rows=30):
    draw = torch.Generator().manual_seed(seed)

    def text(more):
        length = int(torch.randint(4, 12, (1,), generator=draw)) + more
        return " ".join("abcdef"[k] for k in torch.randint(6, (length,), generator=draw).tolist())

    references = [[text(0), text(8)] for _ in range(rows)]
    candidates = []
    for several in references:
        words = several[0].split()
        words[int(torch.randint(len(words), (1,), generator=draw))] = "a"
        candidates.append(" ".join(words[: len(words) - int(torch.randint(2, (1,), generator=draw))]))
    return candidates, references


@pytest.mark.parametrize("seed", range(4))
def test_bleu_is_that_of_torchmetrics(seed):
    candidates, references = spoiled(seed)
    for several in (references, [one[:1] for one in references], [one[1:] for one in references]):
        for most in (1, 2, 4):
            assert bleu(candidates, several, most) == pytest.approx(
                bleu_score(candidates, several, n_gram=most).item(), abs=1e-6)
    assert bleu(["", "a b c d e"], [["a b"], ["a b c d e"]]) == pytest.approx(
        bleu_score(["", "a b c d e"], [["a b"], ["a b c d e"]]).item(), abs=1e-6)
    assert bleu(["a b c"], [["a b c"]]) == 0  # no run of four, and nothing is smoothed


def slow_cider_d(candidates, references, corpus):
    """Vedantam et al. 2015, written out: vectors over all n-grams that occur anywhere."""

    def runs(text, n):
        words = text.split()
        return [" ".join(words[i : i + n]) for i in range(len(words) - n + 1)]

    scores = []
    for candidate, several in zip(candidates, references, strict=True):
        of_n = []
        for n in (1, 2, 3, 4):
            everything = [*corpus, *references, [candidate]]
            grams = sorted({g for texts in everything for t in texts for g in runs(t, n)})
            seen = {g: sum(any(g in runs(t, n) for t in texts) for texts in corpus) for g in grams}
            idf = {g: math.log(len(corpus) / max(1, seen[g])) for g in grams}
            mean = 0.0
            for text in several:
                c = torch.tensor([runs(candidate, n).count(g) * idf[g] for g in grams], dtype=torch.float64)
                s = torch.tensor([runs(text, n).count(g) * idf[g] for g in grams], dtype=torch.float64)
                length = len(candidate.split()) - len(text.split())
                norms = c.norm() * s.norm()
                cosine = (torch.minimum(c, s) @ s / norms) if norms else torch.tensor(0.0)
                mean += math.exp(-(length**2) / (2 * 6**2)) * float(cosine) / len(several)
            of_n.append(10 * mean)
        scores.append(sum(of_n) / 4)
    return scores


@pytest.mark.parametrize("seed", range(2))
def test_cider_d_is_the_slow_one_of_the_paper(seed):
    candidates, references = spoiled(seed, 8)
    candidates[0] = "z " + candidates[0]  # a word that no reference has
    candidates[1] = candidates[1][:1]  # one word: no longer runs
    for corpus in (references, spoiled(seed + 10, 12)[1]):
        score, slow = CiderD(corpus), slow_cider_d(candidates, references, corpus)
        got = [score([one], [several]) for one, several in zip(candidates, references, strict=True)]
        assert got == pytest.approx(slow, abs=1e-9)
        assert score(candidates, references) == pytest.approx(sum(slow) / len(slow), abs=1e-9)
    several = [["a b c d e"], ["f g h i j k"], ["l m n o"]]
    assert CiderD(several)([one[0] for one in several], several) == pytest.approx(10)


def test_toys_that_exchange_their_kinds_keep_every_word():
    truth, swapped = "a red car and a blue duck", "a red duck and a blue car"
    assert phrase_f1([swapped], [truth], " ") == [1.0] and phrase_f1([swapped], [truth]) == [0.0]
    assert phrase_f1(["a blue duck and a red car"], [truth]) == [1.0]
    assert phrase_f1(["a red car", "", "a red car and a red car"], [truth] * 3) == [2 / 3, 0.0, 0.5]


def test_what_cannot_be_compared_is_one_sentence():
    for score in (bleu, CiderD([["a"]]), phrase_f1):
        with pytest.raises(TypeError, match="^Captions are compared row by row: give lists of texts; got"):
            score("a car", ["a car"])
        with pytest.raises(ValueError, match="^1 captions and references of 2 rows: there must be as many"):
            score(["a"], ["a", "b"])
        with pytest.raises(ValueError, match="^Row 1 has an empty reference"):
            score(["a", "b"], ["a", " "] if score is phrase_f1 else [["a"], [" "]])
    for score in (bleu, CiderD([["a"]])):  # not letter by letter
        with pytest.raises(TypeError, match=r"^Row 0 has the reference 'a car': it needs a list of texts, "):
            score(["a car"], ["a car"])
    with pytest.raises(TypeError, match=r"^Row 1 has the reference 'b': it needs a list of texts, "):
        CiderD([["a"], "b"])
    with pytest.raises(TypeError, match=r"^Row 0 has the reference \['a'\]: it needs one text, no list\.$"):
        phrase_f1(["a"], [["a"]])


# COCO -------------------------------------------------------------------------------------------------------
def coco_file(place, n=5):
    """Photos and four captions each, as captions_val2017.json has them."""
    images, annotations = [], []
    for number in range(n):
        name = f"{number + 139:012d}.jpg"
        Image.new("RGB", (40 + number, 30), (40 * number, 90, 200)).save(place / name)
        images.append({"license": 2, "file_name": name, "coco_url": "", "height": 30, "width": 40 + number,
                       "date_captured": "2013-11-21 01:34:01", "flickr_url": "", "id": number + 139})
        annotations += [{"image_id": number + 139, "id": 10 * number + k,
                         "caption": f"A picture that is the {word} of {number}.\n"}
                        for k, word in enumerate(("first", "second", "third", "fourth"))]
    content = {"info": {"year": 2017}, "licenses": [{"id": 2}], "images": images, "annotations": annotations}
    file = place / "captions_val2017.json"
    file.write_text(json.dumps(content))
    return file, content


def test_cocos_official_file_is_read_with_shared_photos(tmp_path):
    file, content = coco_file(tmp_path)
    pairs = folder(coco_table(file, tmp_path / "captions.jsonl"), label=None)
    assert len(pairs) == 20 and len(pairs.images) == 5
    assert pairs.texts[0] == "A picture that is the first of 0."
    assert pairs.texts == [one["caption"].strip() for one in content["annotations"]]
    parts = folder(tmp_path / "captions.jsonl", label=None, split=("train", "valid", "test"),
                   fractions=(0.6, 0.2, 0.2))
    names = [set(part.extras["image"]) for part in parts]
    assert sum(map(len, parts)) == 20 and sum(map(len, names)) == 5  # a photo's captions stay together


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda c: c["annotations"].__setitem__(3, {"image_id": 7, "caption": "a"}),
         "captions_val2017.json: caption 3 is of image_id 7, and no such picture is among its images"),
        (lambda c: c["annotations"][5].__setitem__("caption", " \n"),
         "captions_val2017.json: caption 5, of 000000000140.jpg, is empty: leave it out."),
        (lambda c: c.pop("images"), "captions_val2017.json is no file of COCO captions (KeyError: 'images')"),
        (lambda c: c["annotations"][0].pop("caption"), "is no file of COCO captions (KeyError: 'caption')"),
    ],
)
def test_a_file_that_is_no_coco_file_is_one_sentence(tmp_path, change, sentence):
    file, content = coco_file(tmp_path)
    change(content)
    file.write_text(json.dumps(content))
    with pytest.raises(ValueError) as told:
        coco_table(file, tmp_path / "captions.jsonl")
    assert sentence in str(told.value) and "\n" not in str(told.value)


def test_a_file_that_is_no_json_is_told(tmp_path):
    file = tmp_path / "captions_val2017.json"
    file.write_text("PK\x03\x04")
    with pytest.raises(ValueError, match="is no file of COCO captions"):
        coco_table(file, tmp_path / "t.jsonl")
