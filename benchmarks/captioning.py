"""What lesson 16 finds with five seeds: the log that it draws. Each seed has training rows, test rows and
models of its own.

    OMP_NUM_THREADS=1 python benchmarks/captioning.py [processes] [seeds] > data/runs/captioning.json

Some 5 CPU-minutes a seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import nn

from cmlib import fit, image_encoder, predict
from cmlib.data import Pairs, States
from cmlib.data.vocabulary import PAD, LikeLengths, Vocabulary
from cmlib.evaluation.generation import CiderD, bleu, phrase_f1
from cmlib.models.captioner import Captioner, LSTMCaptioner
from cmlib.models.cell_tags import CellTags
from cmlib.models.decoding import beam_search, draw_words
from cmlib.models.prefix_gpt2 import PrefixGPT2, small_gpt2
from cmlib.tasks import Tag
from cmlib.tasks.caption import Caption
from cmlib.training.predict import extract_states
from cmlib.worlds import Toys
from cmlib.worlds.reading_order import quarter_captions

sys.path.insert(0, str(Path(__file__).resolve().parent / "shared"))
from seeds import write

ROWS, TEST, LONGEST = 5000, 500, 25
EPOCHS, REWARD_STEPS, SAMPLES = 6, 120, 48
RATES = (1e-4, 3e-4, 1e-3)  # of the steps with a reward, and of their control


class Eyes(nn.Module):
    """An image encoder alone, for extract_states."""

    def __init__(self):
        super().__init__()
        self.image_encoder = image_encoder("mini")


def mean(values) -> float:
    return sum(values) / len(values)


def train(model, cells, words, seed):
    fit(model, States({"image": cells}, targets={"words": words}), task=Caption(), epochs=EPOCHS,
        batch_size=64, learning_rate=3e-3, sampler=LikeLengths("words"), seed=seed, progress=False)
    return model


def written(model, cells, vocabulary, width=1):
    ids, total = [], []
    for part in cells.split(100):
        found, log_p = beam_search(model.next_word, model.memory(part), LONGEST, width)
        ids.append(nn.functional.pad(found, (0, LONGEST - found.shape[1])))
        total.append(log_p)
    return vocabulary.decode(torch.cat(ids)), torch.cat(total)


class Scores:
    def __init__(self, truth, common):
        self.truth, self.cider = truth, CiderD([[text] for text in common])

    def __call__(self, texts, truth=None):
        truth = self.truth if truth is None else truth
        several = [[text] for text in truth]
        return {"exact": mean([a == b for a, b in zip(texts, truth, strict=True)]),
                "toy F1": mean(phrase_f1(texts, truth)), "word F1": mean(phrase_f1(texts, truth, " ")),
                "BLEU-4": bleu(texts, several), "CIDEr-D": self.cider(texts, several)}


def by_position(forced, texts, truth, vocabulary):
    """Of each place: the share of toys that are right after the truth's words, and after its own; and the
    same of the toy that follows a first wrong one.
    """
    found = {}
    places = {k: ([], []) for k in range(1, 5)}
    after = ([], [])
    for row, (right, own) in enumerate(zip(truth, texts, strict=True)):
        true_toys, own_toys, place, wrong_before = right.split(" and "), own.split(" and "), 0, False
        for k, toy in enumerate(true_toys):
            length = len(toy.split())
            told = bool(forced[row, place : place + length].all())
            alone = k < len(own_toys) and own_toys[k] == toy
            places[k + 1][0].append(told)
            places[k + 1][1].append(alone)
            if wrong_before:
                after[0].append(told)
                after[1].append(alone)
                wrong_before = False
            elif not alone and own_toys[:k] == true_toys[:k]:
                wrong_before = True
            place += length + 1
    for k, (told, alone) in places.items():
        found[f"toy {k}, truth's words"], found[f"toy {k}, own words"] = mean(told), mean(alone)
    for words, right in zip(("truth's", "own"), after, strict=True):
        found[f"after a first mistake, {words} words"] = mean(right)
    return found


def rewarded(model, cells, texts, vocabulary, seed, rate):
    """REINFORCE with the greedy caption's reward as baseline (Rennie et al. 2017); the reward is toy F1."""
    draw, optimizer = torch.Generator().manual_seed(seed), torch.optim.Adam(model.parameters(), rate)
    for _ in range(REWARD_STEPS):
        rows = torch.randint(len(cells), (SAMPLES,), generator=draw)
        truth, memory = [texts[row] for row in rows.tolist()], model.memory(cells[rows])
        drawn = draw_words(model.next_word, memory, LONGEST, draw)
        greedy, _ = beam_search(model.next_word, memory, LONGEST)
        gain = torch.tensor(phrase_f1(vocabulary.decode(drawn), truth)) \
            - torch.tensor(phrase_f1(vocabulary.decode(greedy), truth))
        log_p = model.logits(memory, drawn[:, :-1]).log_softmax(2).gather(2, drawn[:, 1:, None])[..., 0]
        loss = -(gain * (log_p * (drawn[:, 1:] != PAD)).sum(1)).mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def more_of_the_same(model, cells, words, seed, rate):
    """The control: as many further steps, as large, with the captions' own cross-entropy."""
    draw, optimizer = torch.Generator().manual_seed(seed), torch.optim.Adam(model.parameters(), rate)
    for _ in range(REWARD_STEPS):
        rows = torch.randint(len(cells), (SAMPLES,), generator=draw)
        batch = States({"image": cells[rows]}, targets={"words": words[rows]})
        loss = Caption().objective(model(batch), batch)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()


def cascade(found, model, texts, cells, learned, train_pairs, test, vocabulary, seed):
    """Is a toy cracked; does a toy stand at the front right: the caption's words, or the picture itself."""
    number = vocabulary.number
    ids = vocabulary.encode(texts)
    p = predict(model, States({"image": cells}, targets={"words": ids})).softmax(2)
    asked = (ids[:, :-1] == number["small"]) | (ids[:, :-1] == number["large"])
    asked = asked[:, : p.shape[1]]
    word = 1 - (1 - p[..., number["cracked"]] * asked).prod(1)

    def facts(pairs):
        e = pairs.extras
        there = torch.arange(4) < e["count"][:, None]
        front_right = ((e["x"] > 32) & (e["y"] > 32) & there).any(1)
        return torch.stack([((e["cracked"] == 1) & there).any(1), front_right], 1)

    truth = facts(test)
    torch.manual_seed(seed)
    tags = CellTags(learned.shape[2], 2)
    fit(tags, States({"image": learned}, labels=facts(train_pairs).float()), task=Tag(), epochs=12,
        batch_size=128, learning_rate=3e-3, seed=seed, progress=False)
    direct = predict(tags, States({"image": cells})).sigmoid()
    says = torch.tensor([float("cracked" in text.split()) for text in texts])
    scores = {"the words": says, "the word's probability": word, "end to end": direct[:, 0]}
    for name, values in scores.items():
        tagged = values > 0.5
        found[f"cracked, {name}: accuracy"] = float((tagged == truth[:, 0]).double().mean())
        tagged = values > 1 / 11
        cost = 10 * (~tagged & truth[:, 0]).double().mean() + (tagged & ~truth[:, 0]).double().mean()
        found[f"cracked, {name}: cost"] = float(cost)
    cracked, taken = truth.double().mean(0).tolist()
    found["cracked, one answer for all: accuracy"] = max(cracked, 1 - cracked)
    found["cracked, one answer for all: cost"] = min(10 * cracked, 1 - cracked)
    # the caption says how many toys there are, and with each number the better guess is made
    counts, learned_counts = ([len(text.split(" and ")) for text in group]
                              for group in (texts, quarter_captions(train_pairs)))
    front = facts(train_pairs)[:, 1].double()
    by_count = {n: front[torch.tensor(learned_counts) == n].mean() > 0.5 for n in (1, 2, 3, 4)}
    guess = torch.tensor([bool(by_count.get(n, True)) for n in counts])
    found["front right, the words"] = float((guess == truth[:, 1]).double().mean())
    found["front right, end to end"] = float(((direct[:, 1] > 0.5) == truth[:, 1]).double().mean())
    found["front right, majority"] = max(taken, 1 - taken)


def measured(seed: int) -> dict[str, float]:
    torch.set_num_threads(1)
    train_pairs = Toys().sample(ROWS, start=seed * ROWS)
    test = Toys().sample(TEST, split="test", start=seed * TEST)
    eyes, found = Eyes(), {}
    learned, cells = (extract_states(eyes, Pairs(p.images, None)).states["image"]
                      for p in (train_pairs, test))
    texts, truth = quarter_captions(train_pairs), quarter_captions(test)
    vocabulary = Vocabulary.of(texts)
    words, true_words = vocabulary.encode(texts), vocabulary.encode(truth)
    scores = Scores(truth, texts)

    def make(kind=Captioner, **settings):
        torch.manual_seed(seed)
        settings |= {"n_layers": 1} if kind is Captioner else {}
        return kind(cells.shape[2], cells.shape[1], len(vocabulary), **settings)

    def note(name, texts, truth=None):
        for score, value in scores(texts, truth).items():
            found[f"{name}: {score}"] = value
        print(seed, name, [round(found[f"{name}: {score}"], 3) for score in ("exact", "toy F1", "BLEU-4")],
              file=sys.stderr, flush=True)

    model = train(make(), learned, words, seed)
    greedy, log_p = written(model, cells, vocabulary)
    note("transformer", greedy)
    asked = States({"image": cells}, targets={"words": true_words})
    kept = Caption().keep(predict(model, asked), asked)
    found["transformer: words after the truth's"] = Caption().score(kept, None)["words"]
    found |= by_position(kept["right"], greedy, truth, vocabulary)

    # decoding
    draw = torch.Generator().manual_seed(seed)
    for width in (3, 8):
        beamed, better = written(model, cells, vocabulary, width)
        note(f"beam {width}", beamed)
        found[f"beam {width}: log p"] = float(better.mean())
        found[f"beam {width}: likelier than greedy"] = float((better > log_p + 1e-4).double().mean())
        found[f"beam {width}: less likely than greedy"] = float((better < log_p - 1e-4).double().mean())
    found["transformer: log p"] = float(log_p.mean())
    for temperature in (1.0, 0.5):
        memory = model.memory(cells)
        drawn = [vocabulary.decode(draw_words(model.next_word, memory, LONGEST, draw, temperature))
                 for _ in range(4)]
        note(f"drawn at {temperature}", drawn[0])
        different = [len(set(four)) for four in zip(*drawn, strict=True)]
        found[f"drawn at {temperature}: different of 4"] = mean(different)
        best = [max(phrase_f1(list(four), [right] * 4)) for *four, right in zip(*drawn, truth, strict=True)]
        found[f"drawn at {temperature}: best toy F1 of 4"] = mean(best)

    # controls
    note("transformer, another picture", written(model, cells.roll(1, 0), vocabulary)[0])
    cascade(found, model, greedy, cells, learned, train_pairs, test, vocabulary, seed)
    blind = train(make(), torch.zeros_like(learned), words, seed)
    note("blind", written(blind, torch.zeros_like(cells), vocabulary)[0])
    drawn = draw_words(blind.next_word, blind.memory(torch.zeros_like(cells)), LONGEST, draw)
    note("blind, drawn", vocabulary.decode(drawn))
    order = torch.randperm(ROWS, generator=torch.Generator().manual_seed(seed))
    shuffled = train(make(), learned[order], words, seed)
    note("trained on shuffled pictures", written(shuffled, cells, vocabulary)[0])

    # other decoders, other order
    looking = train(make(LSTMCaptioner), learned, words, seed)
    note("LSTM with attention", written(looking, cells, vocabulary)[0])
    first = train(make(LSTMCaptioner, attends=False), learned, words, seed)
    note("LSTM, first state", written(first, cells, vocabulary)[0])
    torch.manual_seed(seed)
    gpt2 = train(PrefixGPT2(cells.shape[2], small_gpt2(len(vocabulary))), learned, words, seed)
    note("GPT-2 with a prefix", written(gpt2, cells, vocabulary)[0])
    left = train(make(), learned, vocabulary.encode(train_pairs.extras["captions"]), seed)
    left_texts, left_truth = written(left, cells, vocabulary)[0], test.extras["captions"]
    note("left to right", left_texts, left_truth)
    e = test.extras
    quarters = (e["x"] > 32).long()
    there = torch.arange(4) < e["count"][:, None]
    column = torch.stack([((quarters == side) & there).sum(1) > 1 for side in (0, 1)]).any(0)
    for name, some in (("two in a column", column), ("all in columns of their own", ~column)):
        rows = some.nonzero()[:, 0].tolist()
        orders = (("left to right", left_texts, left_truth), ("transformer", greedy, truth))
        for order_name, a, b in orders:
            found[f"{order_name}, {name}: exact"] = mean([a[k] == b[k] for k in rows])

    # a sequence reward, from the same start
    state = {name: value.clone() for name, value in model.state_dict().items()}
    for rate in RATES:
        model.load_state_dict(state)
        rewarded(model, learned, texts, vocabulary, seed, rate)
        note(f"after a reward, rate {rate:g}", written(model, cells, vocabulary)[0])
        model.load_state_dict(state)
        more_of_the_same(model, learned, words, seed, rate)
        note(f"after as many steps of words, rate {rate:g}", written(model, cells, vocabulary)[0])

    # the mask forgotten: each word sees the one that it is to foretell
    ahead = train(make(causal=False), learned, words, seed)
    told = Caption().score(Caption().keep(predict(ahead, asked), asked), None)
    found["mask forgotten: words after the truth's"] = told["words"]
    note("mask forgotten", written(ahead, cells, vocabulary)[0])
    return found


if __name__ == "__main__":
    write(measured, *map(int, sys.argv[1:3]))
