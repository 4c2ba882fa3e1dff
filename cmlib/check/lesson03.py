"""Exercises of lesson 03: two kinds of input."""

import torch

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


@exercise("03.1", "WordPiece by hand", minutes=15, points=3, difficulty=3)
def wordpiece(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocab:
                break
        else:
            return ["[UNK]"]
        pieces.append(piece)
        start = end
    return pieces


@wordpiece.cases
def _(draw):
    vocab = {
        "[UNK]",
        "un",
        "unb",
        "u",
        "##n",
        "##b",
        "##break",
        "##brea",
        "##k",
        "##able",
        "##a",
        "##ble",
        "toy",
        "##s",
        "crack",
        "##ed",
        "##crack",
        "uncrack",
    }
    yield case("toy", vocab, about="a word that is in the vocabulary")
    yield case("toys", vocab, about="a word of two pieces")
    yield case("unable", vocab, about="a word whose first letters have a short and a long entry")
    yield case("uncracked", vocab, about="a word with a long piece at its start and one in its middle")
    yield case("toytoy", vocab, about="a word whose second half is in the vocabulary only as a beginning")
    yield case("toyz", vocab, about="a word whose end is not in the vocabulary")
    yield case("toyzs", vocab, about="a word whose middle is not in the vocabulary")
    yield case("unbreakable", vocab, about="a word whose longest first piece leads into a dead end")
    yield case("s", vocab, about="a letter that is in the vocabulary only as a continuation")
    unknown = ("keep the pieces found before", "replace single letters", "only the pieces found before")
    for about in (
        "a random word of three pieces",
        "a random word of two pieces",
        "a random word whose end is not in the vocabulary",
        "a random word whose middle is not in the vocabulary",
        "a random word that leads into a dead end",
    ) * 2:
        yield case(*_built(draw, about), about=about)
    for _ in range(4):
        yield telling(wordpiece, lambda: _over_abc(draw), hides=(*unknown, "never goes back"))
    for _ in range(2):
        yield telling(
            wordpiece,
            lambda: _over_abc(draw),
            hides=("shortest piece", "with ## in front", "without their ##", "never goes back"),
        )


def _built(draw, about):
    """(word, vocab) without a letter that stands twice, so that the word splits as it was put together and in
    no other way.
    """
    letters = "".join("abcdefghijklmnopqrstuvwxyz"[i] for i in draw.uniform(26).argsort().tolist())
    first, second, third, no, other = letters[:3], letters[3:7], letters[7:9], letters[9], letters[10:13]
    vocab = {
        "[UNK]",
        first,
        first[0],
        "##" + first[1:],
        "##" + second,
        "##" + second[:2],
        "##" + second[2:],
        "##" + third,
        "##" + other,
        second + third,
        other,
    }  # the last two only begin words
    if "dead end" in about:
        return first + second, vocab - {"##" + second, "##" + second[:2]} | {
            first[0] + first[1],
            "##" + first[2] + second,
            "##" + first[2],
        }
    return {
        "three": first + second + third,
        "two": first + second,
        "end": first + second + no,
        "middle": first + no + second,
    }[next(word for word in ("three", "two", "end", "middle") if word in about)], vocab


def _over_abc(draw):
    """Pieces that overlap in every way."""
    def text(longest):
        return "".join("abc"[i] for i in draw.integers(3, int(draw.integers(longest, 1, low=1))).tolist())
    pieces = {text(4) for _ in range(6)} | {"##" + text(4) for _ in range(8)} | {"a", "b", "##a", "##c"}
    return case(text(12), pieces, about="a random word over the letters a, b and c")


@wordpiece.mistake("You take the shortest piece that fits; WordPiece tries the longest first and then "
                   "shortens it from the right.")
def _(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        ends = [
            e for e in range(start + 1, len(word) + 1) if ("##" if start else "") + word[start:e] in vocab
        ]
        if not ends:
            return ["[UNK]"]
        pieces.append(("##" if start else "") + word[start:ends[0]])
        start = ends[0]
    return pieces


def _greedy(word, vocab, look="##", stuck="give up"):
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            if (look if start else "") + word[start:end] in vocab:
                break
        else:
            if stuck != "next letter":
                return pieces + ["[UNK]"]
            pieces.append("[UNK]")
            start += 1
            continue
        pieces.append(("##" if start else "") + word[start:end])
        start = end
    return pieces


@wordpiece.mistake("Continuing pieces are written with ## in front, in the lookup and in the result.")
def _(word, vocab):
    pieces = wordpiece.reference(word, vocab)
    return [piece.removeprefix("##") for piece in pieces]


@wordpiece.mistake("The continuing pieces are looked up without their ##: “toy” begins a word, “##toy” goes "
                   "on with one, and they are "
                   "two different entries.")
def _(word, vocab):
    pieces = _greedy(word, vocab, look="")
    return ["[UNK]"] if "[UNK]" in pieces else pieces


@wordpiece.mistake("Where no piece fits, the whole word becomes one [UNK]; you keep the pieces found before.")
def _(word, vocab):
    return _greedy(word, vocab)


@wordpiece.mistake("Where no piece fits, the whole word becomes one [UNK]; you replace single letters and go "
                   "on.")
def _(word, vocab):
    return _greedy(word, vocab, stuck="next letter")


@wordpiece.mistake("Where no piece fits, you return only the pieces found before; the whole word becomes "
                   "[\"[UNK]\"].")
def _(word, vocab):
    return [piece for piece in _greedy(word, vocab) if piece != "[UNK]"]


@wordpiece.mistake("You go back and try a shorter piece when the rest does not fit; WordPiece is greedy and "
                   "never goes back: a dead end "
                   "makes the word [UNK].")
def _(word, vocab):
    def cut(start):
        if start == len(word):
            return []
        for end in range(len(word), start, -1):
            piece = ("##" if start else "") + word[start:end]
            if piece in vocab and (rest := cut(end)) is not None:
                return [piece, *rest]
        return None
    return cut(0) or ["[UNK]"]


@wordpiece.mistake("The ## belongs only to pieces that do not begin the word; yours begins with it.")
def _(word, vocab):
    return ["##" + piece.removeprefix("##") for piece in wordpiece.reference(word, vocab)]


@exercise("03.2", "Pad with a mask", minutes=8, points=2, difficulty=2)
def pad_with_mask(token_ids, pad_id):
    longest = max(len(row) for row in token_ids)
    ids = torch.tensor([row + [pad_id] * (longest - len(row)) for row in token_ids], dtype=torch.int64)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in token_ids], dtype=torch.int64)
    return ids, mask


@pad_with_mask.cases
def _(draw):
    def row(length):
        return draw.integers(90, length, low=10).tolist()
    yield case([row(4), row(2), row(7)], 0, about="three rows of lengths 4, 2 and 7")
    yield case([row(3), row(5)], 99, about="pad_id = 99")
    yield case([row(6)], 0, about="a batch of one")
    yield case([row(3), row(3)], 0, about="rows of one length")
    yield case([[5, 0, 8], [0, 7], [9, 3, 0, 0]], 0, about="rows in which pad_id is also a real token")
    yield case([row(2), [], row(3)], 1, about="a batch with an empty row")


@pad_with_mask.mistake("The padding stands on the left; here it goes behind the tokens.")
def _(rows, pad_id):
    longest = max(map(len, rows))
    return (torch.tensor([[pad_id] * (longest - len(r)) + r for r in rows]),
            torch.tensor([[0] * (longest - len(r)) + [1] * len(r) for r in rows]))


@pad_with_mask.mistake("The mask is inverted: 1 marks a token, 0 marks padding.")
def _(rows, pad_id):
    ids, mask = pad_with_mask.reference(rows, pad_id)
    return ids, 1 - mask


@pad_with_mask.mistake("The padding is always 0; use pad_id.")
def _(rows, pad_id):
    return pad_with_mask.reference(rows, 0)


@pad_with_mask.mistake("The mask is read off the ids (ids != pad_id), so a real token that happens to equal "
                       "pad_id vanishes: build it "
                       "from the lengths.")
def _(rows, pad_id):
    ids, _ = pad_with_mask.reference(rows, pad_id)
    return ids, (ids != pad_id).long()


@pad_with_mask.mistake("The rows are cut to the shortest one; pad the shorter ones to the longest.")
def _(rows, pad_id):
    shortest = min(map(len, rows))
    ids = torch.tensor([r[:shortest] for r in rows], dtype=torch.int64).reshape(len(rows), shortest)
    return ids, torch.ones_like(ids)


@pad_with_mask.mistake("The mask is 1 everywhere: it has to be 0 on the padding.")
def _(rows, pad_id):
    ids, _ = pad_with_mask.reference(rows, pad_id)
    return ids, torch.ones_like(ids)


@pad_with_mask.mistake("The mask is True and False; make it int64, 1 and 0, as the encoders want it.")
def _(rows, pad_id):
    ids, mask = pad_with_mask.reference(rows, pad_id)
    return ids, mask.bool()


@exercise("03.3", "The masked mean", minutes=12, points=3, difficulty=2, grad=(0,))
def masked_mean(states, attention_mask):
    weight = attention_mask.unsqueeze(-1).to(states.dtype)
    return (states * weight).sum(1) / weight.sum(1).clamp(min=1)


def _mask(*lengths, tokens=None):
    return (torch.arange(tokens or max(lengths)) < torch.tensor(lengths)[:, None]).long()


@masked_mean.cases
def _(draw):
    yield case(draw.normal(3, 6, 4), _mask(6, 2, 4), about="three rows of lengths 6, 2 and 4")
    yield case(draw.normal(4, 4, 4), _mask(1, 4, 2, 3), about="as many rows as tokens as hidden units")
    yield case(draw.normal(2, 5, 3), _mask(5, 5), about="a batch without padding")
    yield case(draw.normal(1, 40, 2), _mask(1, tokens=40), about="one token followed by 39 of padding")
    yield case(draw.normal(2, 4, 3), torch.tensor([[0, 1, 1, 0], [1, 0, 1, 1]]), about="a mask with holes")
    yield case(draw.normal(3, 4, 5), _mask(3, 0, 4), about="a batch in which one row is all padding (its "
                                                           "mean is zero)")


@masked_mean.mistake("The padding is not masked: this is the mean over all positions.")
def _(states, mask):
    return states.mean(1)


@masked_mean.mistake("The padding is left out of the sum but still counted: divide by the number of tokens "
                     "of each row, not by the "
                     "length of the batch.")
def _(states, mask):
    return (states * mask[..., None]).mean(1)


@masked_mean.mistake("This is the sum over the tokens; divide by how many there are in each row.")
def _(states, mask):
    return (states * mask[..., None]).sum(1)


@masked_mean.mistake("The mask is used upside down: this is the mean of the padding.")
def _(states, mask):
    return masked_mean.reference(states, 1 - mask)


@masked_mean.mistake("A row of padding alone divides 0 by 0: its mean is defined as zero, so keep the "
                     "divisor at 1 or more.")
def _(states, mask):
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)


@masked_mean.mistake(
    "Every row is divided by the token count of the whole batch; each row has its own count."
)
def _(states, mask):
    return (states * mask[..., None]).sum(1) / mask.sum()


@masked_mean.mistake("One is added to every count; only a count of zero needs mending.")
def _(states, mask):
    return (states * mask[..., None]).sum(1) / (mask.sum(1, keepdim=True) + 1)


@masked_mean.mistake("This is the state of the first token, not the mean over the tokens.")
def _(states, mask):
    return states[:, 0]


@masked_mean.mistake("The mean runs over the batch (dim 0); it belongs on the tokens, dim 1.")
def _(states, mask):
    return (states * mask[..., None]).sum(0) / mask.sum(0).clamp(min=1)[:, None]


def _judge_split(answer, groups, test_share, seed):
    """"right", or the name of the first property that a split lacks: any right split passes, whatever its
    random order.
    """
    def wanted(rows):
        return isinstance(rows, torch.Tensor) and rows.ndim == 1 and rows.dtype == torch.int64

    first, again = answer(groups, test_share, seed), answer(groups, test_share, seed)
    if not (isinstance(first, (tuple, list)) and len(first) == 2 and all(map(wanted, first))):
        return "form"
    train, test = first
    if not torch.equal(torch.cat([train, test]).sort().values, torch.arange(len(groups))):
        return "cover"
    if torch.isin(groups[train], groups[test]).any():
        return "leak"
    count, in_test, in_train = (len(groups.unique()), len(groups[test].unique()), len(groups[train].unique()))
    expected = max(1, round(test_share * count))
    if in_test != expected:
        return "swapped" if in_train == expected else "share"
    if not all(torch.equal(a.sort().values, b.sort().values) for a, b in zip(first, again, strict=True)):
        return "repeat"
    others = [answer(groups, test_share, seed + k)[1].sort().values for k in range(1, 7)]
    return "right" if not all(torch.equal(test.sort().values, other) for other in others) else "seed"


@exercise("03.4", "Split by group", minutes=12, points=2, difficulty=3, call=_judge_split)
def split_by_group(groups, test_share, seed):
    names = groups.unique()
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    chosen = names[order[:max(1, round(test_share * len(names)))]]
    in_test = torch.isin(groups, chosen)
    return (~in_test).nonzero()[:, 0], in_test.nonzero()[:, 0]


@split_by_group.cases
def _(draw):
    yield case(
        torch.arange(20).repeat(5)[draw.uniform(100).argsort()], 0.25, 0, about="100 rows of 20 groups"
    )
    yield case(torch.arange(10).repeat_interleave(3) * 7 + 100, 0.2, 3, about="groups with numbers that do "
                                                                              "not begin at 0")
    yield case(
        torch.cat([torch.zeros(50, dtype=torch.int64), torch.arange(1, 13), draw.integers(13, 28, low=1)]),
        0.3,
        1,
        about="one group that holds more than half of the rows",
    )
    yield case(torch.arange(30), 0.1, 5, about="groups of one row each")
    yield case(torch.arange(15).repeat(4), 0.02, 2, about="a test share of less than one group")


@split_by_group.mistake("Some groups are on both sides of the split: choose whole groups, then take all "
                        "their rows.")
def _(groups, test_share, seed):
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    cut = round(test_share * len(groups))
    return order[cut:], order[:cut]


@split_by_group.mistake("Every row number from 0 to rows − 1 must stand in exactly one of the two parts: "
                        "return numbers of rows (not of "
                        "groups), and do not assume that groups are called 0, 1, 2, …")
def _(groups, test_share, seed):
    return groups.unique(), groups.unique()


@split_by_group.mistake("Return two int64 tensors of row numbers: (train_rows, test_rows).")
def _(groups, test_share, seed):
    return torch.zeros(len(groups), dtype=torch.bool), torch.ones(len(groups), dtype=torch.bool)


@split_by_group.mistake("The two parts are in the wrong order: train_rows first, then test_rows.")
def _(groups, test_share, seed):
    return split_by_group.reference(groups, test_share, seed)[::-1]


@split_by_group.mistake("The number of groups in the test part is wrong: test_share counts groups, rounded "
                        "to the nearest, and at least "
                        "one.")
def _(groups, test_share, seed):
    rows = torch.arange(len(groups))
    return rows, rows[:0]


@split_by_group.mistake("Two calls with the same seed give different splits: let a generator that is seeded "
                        "with seed draw the order.")
def _(groups, test_share, seed):
    return split_by_group.reference(groups, test_share, int(torch.randint(2**31, ())))


@split_by_group.mistake("The seed changes nothing: shuffle the groups before you choose some for the test "
                        "part.")
def _(groups, test_share, seed):
    return split_by_group.reference(groups, test_share, 0)
