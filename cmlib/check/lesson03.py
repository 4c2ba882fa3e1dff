"""Exercises of lesson 03: two kinds of input."""

import math

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
    # two cases in which the slips of the search give different pieces
    whole = {"[UNK]", "toy", "to", "t", "##toy", "##o", "##y"}
    yield case("toy", whole, about="a word that is in the vocabulary")
    gap = {"[UNK]", "a", "b", "abc", "##abc", "##a", "##b", "##c", "##ab"}
    yield case("abcab", gap, about="a word whose longest first piece has a gap below it")
    yield case("toys", vocab, about="a word of two pieces")
    two_ways = {"[UNK]", "ab", "a", "##b", "##c", "##bc"}
    yield case("abc", two_ways, about="a word that could be cut in several ways")
    yield case("unable", vocab, about="a word whose first letters have a short and a long entry")
    yield case("uncracked", vocab, about="a word with a long piece at its start and one in its middle")
    yield case("toytoy", vocab, about="a word whose second half is in the vocabulary only as a beginning")
    yield case("toyz", vocab, about="a word whose end is not in the vocabulary")
    yield case("toyzs", vocab, about="a word whose middle is not in the vocabulary")
    yield case("unbreakable", vocab, about="a word whose longest first piece leads into a dead end")
    yield case("s", vocab, about="a letter that is in the vocabulary only as a continuation")
    unknown = (
        "keep the pieces found before", "replace single letters", "only the pieces found before",
        "leave out the letter",
        "return the word itself", "return nothing", "yours is the bare text",
    )
    for about in (
        "a random word of three pieces",
        "a random word of two pieces",
        "a random word whose end is not in the vocabulary",
        "a random word whose middle is not in the vocabulary",
        "a random word that leads into a dead end",
    ) * 2:
        yield case(*_built(draw, about), about=about)
    for _ in range(4):
        yield telling(
            wordpiece, lambda: _over_abc(draw),
            hides=(*unknown, "never goes back", "missing for the first time", "cannot go on with a word"),
        )
    for _ in range(2):
        yield telling(
            wordpiece,
            lambda: _over_abc(draw),
            hides=(
                "shortest piece", "with ## in front", "without their ##", "never goes back", "from the right",
                "reversed order", "Only the first piece", "never tried", "given up", "yours begins with it",
                "fewest pieces", "of a single letter", "one letter on",
            ),
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


@wordpiece.mistake(
    "You take the shortest piece that fits; WordPiece tries the longest first and then shortens it from the "
    "right."
)
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


@wordpiece.mistake("The pieces are in reversed order: the beginning of the word comes first.")
def _(word, vocab):
    return wordpiece.reference(word, vocab)[::-1]


@wordpiece.mistake(
    "Only the first piece of the word is returned; go on from where it ends, until the word is used up."
)
def _(word, vocab):
    return wordpiece.reference(word, vocab)[:1]


@wordpiece.mistake(
    "A word that cannot be cut becomes a list with one entry, [\"[UNK]\"]; yours is the bare text."
)
def _(word, vocab):
    pieces = wordpiece.reference(word, vocab)
    return "[UNK]" if pieces == ["[UNK]"] else pieces



@wordpiece.mistake("The pieces are one text; return a list with one string per piece.")
def _(word, vocab):
    return " ".join(wordpiece.reference(word, vocab))


@wordpiece.mistake("A word that cannot be cut becomes the list [\"[UNK]\"]; you return the word itself.")
def _(word, vocab):
    pieces = wordpiece.reference(word, vocab)
    return [word] if pieces == ["[UNK]"] else pieces


@wordpiece.mistake("A word that cannot be cut becomes the list [\"[UNK]\"]; you return nothing.")
def _(word, vocab):
    pieces = wordpiece.reference(word, vocab)
    return [] if pieces == ["[UNK]"] else pieces


def _greedy(word, vocab, look="##", stuck="give up"):
    pieces, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            if (look if start else "") + word[start:end] in vocab:
                break
        else:
            if stuck == "give up":
                return pieces + ["[UNK]"]
            pieces += ["[UNK]"] if stuck == "next letter" else []
            start += 1
            continue
        pieces.append(("##" if start else "") + word[start:end])
        start = end
    return pieces


def _cut(word, vocab, shortest=1, step=None):
    """The greedy rule; with candidates of a least length, or with a step of its own to the next place."""
    pieces, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        ends = [e for e in range(len(word), start + shortest - 1, -1) if mark + word[start:e] in vocab]
        if not ends:
            return ["[UNK]"]
        pieces.append(mark + word[start:ends[0]])
        start = start + step if step else ends[0]
    return pieces


@wordpiece.mistake("Continuing pieces are written with ## in front, in the lookup and in the result.")
def _(word, vocab):
    pieces = wordpiece.reference(word, vocab)
    return [piece.removeprefix("##") for piece in pieces]


@wordpiece.mistake(
    "The continuing pieces are looked up without their ##: “toy” begins a word, “##toy” goes on with one, "
    "and they are two different entries."
)
def _(word, vocab):
    pieces = _greedy(word, vocab, look="")
    return ["[UNK]"] if "[UNK]" in pieces else pieces


@wordpiece.mistake(
    "The continuing pieces are looked up, and written, without their ##: “toy” begins a word, “##toy” goes "
    "on with one, and they are two different entries."
)
def _(word, vocab):
    pieces = _greedy(word, vocab, look="")
    return ["[UNK]"] if "[UNK]" in pieces else [piece.removeprefix("##") for piece in pieces]


@wordpiece.mistake("Where no piece fits, the whole word becomes one [UNK]; you keep the pieces found before.")
def _(word, vocab):
    return _greedy(word, vocab)


@wordpiece.mistake(
    "Where no piece fits, the whole word becomes one [UNK]; you replace single letters and go on."
)
def _(word, vocab):
    return _greedy(word, vocab, stuck="next letter")


@wordpiece.mistake(
    "Where no piece fits, you return only the pieces found before; the whole word becomes [\"[UNK]\"]."
)
def _(word, vocab):
    return [piece for piece in _greedy(word, vocab) if piece != "[UNK]"]


@wordpiece.mistake(
    "Where no piece fits, you leave out the letter and go on; the whole word becomes [\"[UNK]\"]."
)
def _(word, vocab):
    return _greedy(word, vocab, stuck="skip") or ["[UNK]"]


@wordpiece.mistake(
    "You go back and try a shorter piece when the rest does not fit; WordPiece is greedy and never goes "
    "back: a dead end makes the word [UNK]."
)
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


@wordpiece.mistake(
    "You cut from the right end; WordPiece begins at the left, and takes the longest piece there."
)
def _(word, vocab):
    pieces, end = [], len(word)
    while end:
        for start in range(end):
            if ("##" if start else "") + word[start:end] in vocab:
                break
        else:
            return ["[UNK]"]
        pieces.insert(0, ("##" if start else "") + word[start:end])
        end = start
    return pieces


@wordpiece.mistake(
    "You look for the cut with the fewest pieces; WordPiece takes the longest at each place, and looks no "
    "further."
)
def _(word, vocab):
    best = {0: []}  # the fewest pieces up to each place
    for end in range(1, len(word) + 1):
        cuts = [[*best[start], ("##" if start else "") + word[start:end]] for start in range(end)
                if start in best and ("##" if start else "") + word[start:end] in vocab]
        if cuts:
            best[end] = min(cuts, key=len)
    return best.get(len(word), ["[UNK]"])


@wordpiece.mistake(
    "A piece of a single letter is never tried: the shortest candidate is word[start:start + "
    "1]."
)
def _(word, vocab):
    return _cut(word, vocab, shortest=2)


@wordpiece.mistake(
    "After a piece the next one begins where it ends, start = end; yours begins one letter "
    "on."
)
def _(word, vocab):
    return _cut(word, vocab, step=1)


# before the next one, which gives up in the same way wherever a word has several pieces
@wordpiece.mistake("A word that is no entry itself is cut into pieces before it is given up.")
def _(word, vocab):
    return [word] if word in vocab else ["[UNK]"]


@wordpiece.mistake(
    "The whole of what is left is never tried: the first candidate ends at len(word), and word[start:end] "
    "leaves out the letter at end."
)
def _(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        ends = [e for e in range(len(word) - 1, start, -1) if mark + word[start:e] in vocab]
        if not ends:
            return ["[UNK]"]
        pieces.append(mark + word[start:ends[0]])
        start = ends[0]
    return pieces


@wordpiece.mistake(
    "You lengthen a piece until it is missing for the first time; a longer one may be there. Shorten from "
    "the right."
)
def _(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        mark, end = "##" if start else "", start
        while end < len(word) and mark + word[start:end + 1] in vocab:
            end += 1
        if end == start:
            return ["[UNK]"]
        pieces.append(mark + word[start:end])
        start = end
    return pieces


@wordpiece.mistake(
    "Where no piece with ## fits you take one that begins words; a beginning cannot go on with a word."
)
def _(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        mark = "##" if start else ""
        found = [(e, m + word[start:e]) for e in range(len(word), start, -1) for m in (mark, "")
                 if m + word[start:e] in vocab]
        if not found:
            return ["[UNK]"]
        start, piece = found[0]
        pieces.append(piece)
    return pieces


@wordpiece.mistake("The ## belongs only to pieces that do not begin the word; yours begins with it.")
def _(word, vocab):
    pieces, start = [], 0
    while start < len(word):
        ends = [e for e in range(len(word), start, -1) if "##" + word[start:e] in vocab]
        if not ends:
            return ["[UNK]"]
        pieces.append("##" + word[start:ends[0]])
        start = ends[0]
    return pieces


@wordpiece.mistake("The ## belongs only to pieces that do not begin the word; yours begins with it.")
def _(word, vocab):
    pieces = wordpiece.reference(word, vocab)
    return pieces if pieces == ["[UNK]"] else ["##" + pieces[0], *pieces[1:]]


@exercise("03.2", "Pad with a mask", minutes=8, points=2, difficulty=2,
          names=("`input_ids`", "`attention_mask`"))
def pad_with_mask(token_ids, pad_id):
    longest = max(len(row) for row in token_ids)
    ids = torch.tensor([row + [pad_id] * (longest - len(row)) for row in token_ids], dtype=torch.int64)
    mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in token_ids], dtype=torch.int64)
    return ids, mask


@pad_with_mask.cases
def _(draw):
    def row(length):
        return draw.integers(90, length, low=10).tolist()
    # four, in an order that no turn and no reversal brings into that of their lengths
    yield case([row(4), row(2), row(7), row(5)], 0, about="four rows of lengths 4, 2, 7 and 5")
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


@pad_with_mask.mistake(
    "The mask is read off the ids (ids != pad_id), so a real token that happens to equal pad_id vanishes: "
    "build it from the lengths."
)
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


@pad_with_mask.mistake("The two tensors are in the wrong order: input_ids first, then attention_mask.")
def _(rows, pad_id):
    return pad_with_mask.reference(rows, pad_id)[::-1]


@pad_with_mask.mistake("One column too many: the batch is as long as its longest row.")
def _(rows, pad_id):
    ids, mask = pad_with_mask.reference([*rows, [0] * (max(map(len, rows)) + 1)], pad_id)
    return ids[:-1], mask[:-1]


@pad_with_mask.mistake("Rows and positions are exchanged: the shape is (batch, tokens).")
def _(rows, pad_id):
    ids, mask = pad_with_mask.reference(rows, pad_id)
    return ids.T, mask.T


@pad_with_mask.mistake(
    "The mask holds the padding id or the ids themselves; it is 1 on a token and 0 on padding."
)
def _(rows, pad_id):
    ids, mask = pad_with_mask.reference(rows, pad_id)
    return ids, ids * mask


@pad_with_mask.mistake("Behind the tokens the mask holds pad_id; it is 0 there, whatever the padding's id.")
def _(rows, pad_id):
    ids, mask = pad_with_mask.reference(rows, pad_id)
    return ids, torch.where(mask == 1, 1, pad_id)


@pad_with_mask.mistake("The mask counts the places of the tokens; it is 1 on every token.")
def _(rows, pad_id):
    ids, mask = pad_with_mask.reference(rows, pad_id)
    return ids, mask.cumsum(1) * mask


@pad_with_mask.mistake(
    "The mask is the length of each row; make a 1 for every token and a 0 for every padding."
)
def _(rows, pad_id):
    ids, mask = pad_with_mask.reference(rows, pad_id)
    return ids, mask.sum(1)


@pad_with_mask.mistake(
    "The mask is one too long: the first place of padding has a 1 as well. A row of n tokens has the places "
    "0 … n − 1."
)
def _(rows, pad_id):
    ids, mask = pad_with_mask.reference(rows, pad_id)
    return ids, (torch.arange(mask.shape[1]) <= mask.sum(1, keepdim=True)).long()


@pad_with_mask.mistake("The mask is one too short: the last token of every row has a 0.")
def _(rows, pad_id):
    ids, mask = pad_with_mask.reference(rows, pad_id)
    places = torch.arange(mask.shape[1])
    return ids, (places < mask.sum(1, keepdim=True) - 1).long()



@pad_with_mask.mistake(
    "The tokens of every row are in reversed order; padding stands behind them, and nothing moves."
)
def _(rows, pad_id):
    return pad_with_mask.reference([row[::-1] for row in rows], pad_id)


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


@masked_mean.mistake(
    "The padding is left out of the sum but still counted: divide by the number of tokens of each row, not "
    "by the length of the batch."
)
def _(states, mask):
    return (states * mask[..., None]).mean(1)


@masked_mean.mistake("This is the sum over the tokens; divide by how many there are in each row.")
def _(states, mask):
    return (states * mask[..., None]).sum(1)


@masked_mean.mistake("The mask is used upside down: this is the mean of the padding.")
def _(states, mask):
    return masked_mean.reference(states, 1 - mask)


@masked_mean.mistake(
    "A row of padding alone divides 0 by 0: its mean is defined as zero, so keep the divisor at 1 or more."
)
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


@masked_mean.mistake(
    "This is the mean over everything, hidden units too; the tokens alone go, and hidden stays."
)
def _(states, mask):
    return (states * mask[..., None]).mean((1, 2))


@masked_mean.mistake("You take the largest value over the tokens (max pooling); the mean is wanted.")
def _(states, mask):
    return states.masked_fill(mask[..., None] == 0, -torch.inf).amax(1)


@masked_mean.mistake("You divide by the square root of the count; a mean divides by the count.")
def _(states, mask):
    return (states * mask[..., None]).sum(1) / mask.sum(1, keepdim=True).clamp(min=1).sqrt()


@masked_mean.mistake(
    "A softmax is taken of the mask, so padding keeps a weight; multiply by the mask as it "
    "is."
)
def _(states, mask):
    return (states * mask.to(states).softmax(1)[..., None]).sum(1)


@masked_mean.mistake("The mean of each row is averaged over the batch as well; every row keeps its own.")
def _(states, mask):
    return masked_mean.reference(states, mask).mean(0, keepdim=True)


@masked_mean.mistake("The first token is left out; here [CLS] counts as every other token.")
def _(states, mask):
    return masked_mean.reference(states[:, 1:], mask[:, 1:])


@masked_mean.mistake("The last token's state is taken, not the mean over the tokens.")
def _(states, mask):
    return states[torch.arange(len(states)), mask.sum(1) - 1]


@masked_mean.mistake(
    "The mask is read as a length, so a row with holes takes the first positions; multiply by the mask."
)
def _(states, mask):
    lengths = mask.sum(1, keepdim=True)
    return masked_mean.reference(states, (torch.arange(mask.shape[1]) < lengths).long())



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
    count, in_test = len(groups.unique()), len(groups[test].unique())
    exact = test_share * count
    expected = max(1, round(exact))
    others = [answer(groups, test_share, seed + k)[1].sort().values for k in range(1, 7)]
    same_size = all(len(groups[other].unique()) == in_test for other in others)
    if in_test != expected or not same_size:
        named = {min(count, max(1, round(test_share * len(groups)))): "rows", math.ceil(exact): "up",
                 int(exact): "down", count - expected: "swapped", 0: "names" if round(exact) else "none"}
        unnamed = "many" if in_test > 2 * expected else "share" if in_test and same_size else "names"
        return unnamed if in_test == expected else named.get(in_test, unnamed)
    if not all(torch.equal(a.sort().values, b.sort().values) for a, b in zip(first, again, strict=True)):
        return "repeat"
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
    mixed = torch.arange(30).repeat(4)[draw.uniform(120).argsort()]
    yield case(mixed, 0.1, 0, about="120 rows of 30 groups")
    yield case(torch.arange(10).repeat_interleave(3) * 7 + 100, 0.2, 3, about="groups with numbers that do "
                                                                              "not begin at 0")
    yield case(
        torch.cat([torch.zeros(50, dtype=torch.int64), torch.arange(1, 13), draw.integers(13, 28, low=1)]),
        0.3,
        1,
        about="one group that holds more than half of the rows",
    )
    yield case(mixed, 0.18, 4, about="a test share of 5.4 groups, which rounds down to 5")
    yield case(mixed, 0.19, 4, about="a test share of 5.7 groups, which rounds up to 6")
    yield case(torch.arange(30), 0.1, 5, about="groups of one row each")
    yield case(torch.arange(15).repeat(4), 0.02, 2, about="a test share of less than one group")


def _draw_groups(groups, seed, how_many):
    """A split whose test part has ``how_many(number of groups)`` groups."""
    names = groups.unique()
    order = torch.randperm(len(names), generator=torch.Generator().manual_seed(seed))
    in_test = torch.isin(groups, names[order[: how_many(len(names))]])
    return torch.where(~in_test)[0], torch.where(in_test)[0]


@split_by_group.mistake(
    "Some groups are on both sides of the split: choose whole groups, then take all their rows."
)
def _(groups, test_share, seed):
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    cut = round(test_share * len(groups))
    return order[cut:], order[:cut]


@split_by_group.mistake(
    "Every row number from 0 to rows − 1 must stand in exactly one of the two parts: return numbers of rows "
    "(not of groups), and do not assume that groups are called 0, 1, 2, …"
)
def _(groups, test_share, seed):
    return groups.unique(), groups.unique()


@split_by_group.mistake("Return two int64 tensors of row numbers: (train_rows, test_rows).")
def _(groups, test_share, seed):
    return torch.zeros(len(groups), dtype=torch.bool), torch.ones(len(groups), dtype=torch.bool)


@split_by_group.mistake("The two parts are in the wrong order: train_rows first, then test_rows.")
def _(groups, test_share, seed):
    return split_by_group.reference(groups, test_share, seed)[::-1]


@split_by_group.mistake(
    "The number of groups in the test part is wrong: test_share counts groups, rounded to the nearest, and "
    "at least one."
)
def _(groups, test_share, seed):
    return _draw_groups(groups, seed, lambda count: max(1, round(test_share * count)) + 2)


@split_by_group.mistake(
    "You round the number of test groups up; it is rounded to the nearest, as Python's round does."
)
def _(groups, test_share, seed):
    return _draw_groups(groups, seed, lambda count: math.ceil(test_share * count))


@split_by_group.mistake(
    "You round the number of test groups down; it is rounded to the nearest, and at least one."
)
def _(groups, test_share, seed):
    return _draw_groups(groups, seed, lambda count: int(test_share * count))


@split_by_group.mistake("The test part is empty: a small share still takes one group, max(1, …).")
def _(groups, test_share, seed):
    return _draw_groups(groups, seed, lambda count: round(test_share * count))


@split_by_group.mistake(
    "Far too many groups are in the test part: it is a share of the rows, counted in groups; take that share "
    "of len(groups.unique()). (set(groups) has an entry for every row.)"
)
def _(groups, test_share, seed):
    return _draw_groups(groups, seed, lambda count: max(1, round(test_share * len(groups))))


@split_by_group.mistake(
    "The number of groups in the test part hangs on the seed, or is 0: draw as many of groups.unique() as "
    "test_share says. Groups need not be called 0, 1, 2, …, and a share of the rows is none of the groups."
)
def _(groups, test_share, seed):
    return _draw_groups(groups, seed, lambda count: max(1, round(test_share * count)) + seed % 2)


@split_by_group.mistake(
    "Far too many groups are in the test part: did you draw rows, or from set(groups)? A set keeps the "
    "entries of a tensor apart even where they are equal; draw from groups.unique()."
)
def _(groups, test_share, seed):
    return _draw_groups(groups, seed, lambda count: 2 * max(1, round(test_share * count)) + 1)


@split_by_group.mistake(
    "Two calls with the same seed give different splits: let a generator that is seeded with seed draw the "
    "order."
)
def _(groups, test_share, seed):
    return split_by_group.reference(groups, test_share, int(torch.randint(2**31, ())))


@split_by_group.mistake(
    "The seed changes nothing: shuffle the groups before you choose some for the test part."
)
def _(groups, test_share, seed):
    return split_by_group.reference(groups, test_share, 0)


@exercise("03.5", "How leaky is a random split?", minutes=20, points=3, difficulty=4)
def leak_share(sizes, test_rows):
    total = int(sizes.sum())
    share = torch.zeros((), dtype=torch.float64)
    for size in sizes.tolist():
        all_in_test = 1.0
        for k in range(1, size):
            all_in_test = all_in_test * (test_rows - k) / (total - k)
        share = share + size / total * (1 - all_in_test)
    return share


@leak_share.cases
def _(draw):
    yield case(draw.integers(6, 5, low=2) + torch.arange(5), 9, about="five groups of different sizes")
    yield case(torch.full((150,), 4), 150, about="150 toys of four photos, a quarter of them for the test")
    yield case(torch.tensor([2, 2, 2, 3]), int(draw.integers(8, 1, low=5)), about="pairs and a triple")
    yield case(torch.tensor([1, 1, 4, 1]), 5, about="three rows that are alone in their group")
    yield case(torch.tensor([9, 2, 3]), 4, about="a group larger than the test part")


def _leak(all_in_test, weigh=None):
    """The share with another chance that all mates are test rows, or other weights of the groups."""
    def wrong(sizes, test_rows):
        total, share = int(sizes.sum()), torch.zeros((), dtype=torch.float64)
        for size in sizes.tolist():
            weight = size / total if weigh is None else weigh(size, total, len(sizes))
            share = share + weight * (1 - all_in_test(size, total, test_rows))
        return share
    return wrong


def _all_in_test(size, total, test_rows):
    return math.prod((test_rows - k) / (total - k) for k in range(1, size))


def _all_in_training(size, total, test_rows):
    return math.prod((total - test_rows - k) / (total - 1 - k) for k in range(size - 1))


LEAKS = {  # what is said of a wrong leak: the chance that no mate is in training, the weights of the groups
    "The first mate has T − 1 of N − 1 places, and each further one has one less: the factors are "
    "(T − k)/(N − k).": (lambda s, n, t: ((t - 1) / (n - 1)) ** (s - 1), None),
    "One mate in the training part is a leak; you ask for all of them, and leave the row's own place free.":
        (lambda s, n, t: 1 - math.prod((n - t - k) / (n - k) for k in range(s - 1)), None),
    "You draw with replacement: each mate that is a test row leaves one place less, so the factors are "
    "(T − k)/(N − k).": (lambda s, n, t: (t / n) ** (s - 1), None),
    "The row itself has a place already: the first mate has T − 1 of N − 1 places, not T of N.":
        (lambda s, n, t: math.prod((t - k) / (n - k) for k in range(s - 1)), None),
    "All s rows of the group are drawn here; the row itself has its place, and s − 1 mates are left.":
        (lambda s, n, t: math.prod((t - k) / (n - k) for k in range(s)), None),
    "You count only rows whose mates are all in the training part; one mate there is a leak.":
        (lambda s, n, t: 1 - _all_in_training(s, n, t) * (s > 1), None),
    "You count a single mate; a row of a group of s has s − 1 of them, and any one leaks.":
        (lambda s, n, t: (t - 1) / (n - 1) if s > 1 else 1, None),
    "The exponent counts the row itself; it has s − 1 mates, and they are drawn without replacement.":
        (lambda s, n, t: (t / n) ** s, None),
    "This is the training share alone; a row with several mates leaks more often, a row without any never.":
        (lambda s, n, t: t / n, None),
    "This is how many mates a test row has in training, on average; a row leaks once, however many.":
        (lambda s, n, t: 1 - (s - 1) * (n - t) / (n - 1), None),
    "You ask for mates that are all in training, and count the row's own test place as one of theirs.":
        (lambda s, n, t: 1 - math.prod((n - t - k) / (n - k) for k in range(1, s)), None),
    "Every group counts alike; test rows are rows, so a group counts with its size.":
        (_all_in_test, lambda s, n, g: 1 / g),
    "This is the expected number of test rows divided by nothing: a share divides by all rows.":
        (_all_in_test, lambda s, n, g: s),
    "The factors count training places; a mate that stays with the row takes one of the T − k test places.":
        (lambda s, n, t: math.prod((n - t - k) / (n - k) for k in range(1, s)), None),
    "The groups are weighed with s²; one row is drawn, and a group counts with its share of the rows, s/N.":
        (_all_in_test, lambda s, n, g: s * s / n),
    "This is the share that does not leak: one minus it is wanted.":
        (lambda s, n, t: 1 - _all_in_test(s, n, t), None),
    "The mate has to be in the training part, and you ask for one in the test part.":
        (_all_in_training, None),
    "A row without mates cannot leak: for s = 1 the empty product is 1.":
        (lambda s, n, t: _all_in_test(s, n, t) if s > 1 else 0, None),
}
for _sentence, _how in LEAKS.items():
    leak_share.mistake(_sentence)(_leak(*_how))


@leak_share.mistake("This is the share of all rows that are test rows and leak: leave out the factor T/N.")
def _(sizes, test_rows):
    return leak_share.reference(sizes, test_rows) * test_rows / sizes.sum()


@leak_share.mistake(
    "All groups have the mean size here; each has its own, and the leak is no straight line in "
    "it."
)
def _(sizes, test_rows):
    total = int(sizes.sum())
    mean = round(total / len(sizes))
    return torch.tensor(1 - _all_in_test(mean, total, test_rows), dtype=torch.float64)


@leak_share.mistake("You multiply by the number of test rows: their share is wanted, not their number.")
def _(sizes, test_rows):
    return leak_share.reference(sizes, test_rows) * test_rows
