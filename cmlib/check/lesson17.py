"""Exercises of lesson 17: visual question answering."""

from itertools import permutations

import torch

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


# 17.1 -------------------------------------------------------------------------------------------------------
@exercise("17.1", "The best answer without looking", minutes=12, points=2, difficulty=2)
def blind(question, answer, asked):
    overall = answer.bincount().argmax()
    found = []
    for one in asked.tolist():
        mine = answer[question == one]  # what this question was answered by
        found.append(mine.bincount().argmax() if len(mine) else overall)
    return torch.stack(found)


_GIVEN = torch.tensor([  # six questions, and how often each of five answers was given to them
    [0, 3, 0, 2, 0], [0, 3, 0, 2, 1], [2, 2, 0, 1, 0], [0, 0, 0, 5, 0], [3, 0, 2, 2, 4], [0, 0, 2, 1, 2]])


@blind.cases
def _(draw):
    def one():
        row, numbers, names, asked = (draw.uniform(n).argsort() for n in (int(_GIVEN.sum()), 12, 5, 12))
        pair = torch.arange(_GIVEN.numel()).repeat_interleave(_GIVEN.flatten())[row]  # question and answer
        return case(numbers[pair // 5], names[pair % 5], torch.cat([asked, asked[:2]]),
                    about=f"{len(row)} training rows, and questions of which half were never asked before")

    yield telling(blind, one)
    yield telling(blind, one)
    yield case(torch.tensor([3, 3]), torch.tensor([6, 4]), torch.tensor([3, 8, 3, 0]),
               about="one question, asked twice with two answers, and others that nobody asked before")


def _each(of_rows, of_none=None):
    """``of_rows(answers of the question, all answers)`` for every question that is asked."""
    def slip(question, answer, asked):
        other = torch.as_tensor((of_none or _most_of_all)(question, answer))
        found = {one: torch.as_tensor(of_rows(answer[question == one], answer))
                 for one in set(question.tolist())}
        return torch.stack([found.get(one, other) for one in asked.tolist()])
    return slip


def _most(answers):
    return answers.bincount().argmax()


def _most_of_all(question, answer):
    return _most(answer)


def _last_most(counts):
    return len(counts) - 1 - counts.flip(0).argmax()


def _winners(question, answer):
    return torch.stack([_most(answer[question == one]) for one in question.unique().tolist()])


def _per_question(question, answer):
    return torch.stack([(question == one).sum() for one in question.unique().tolist()])


for _sentence, _slip in {
    "Every question gets the answer that is most frequent of all: count the answers of each question apart.":
        lambda q, a, asked: _most(a).expand(len(asked)),
    "This is the rarest answer of the question; the most frequent one is wanted.": _each(
        lambda mine, every: torch.where(mine.bincount() > 0, mine.bincount(), 1_000_000).argmin()),
    "A question that was never asked before is answered by answer 0: take the most frequent answer of all.":
        _each(lambda mine, every: _most(mine), lambda q, a: 0),
    "A question that was never asked before is answered by −1: take the most frequent answer of all.":
        _each(lambda mine, every: _most(mine), lambda q, a: -1),
    "A question that was never asked before gets the answer that wins in the largest number of questions; "
    "the most frequent one over all rows is wanted.":
        _each(lambda mine, every: _most(mine), lambda q, a: _most(_winners(q, a))),
    "A question that was never asked before gets the rarest answer of all; the most frequent one is wanted.":
        _each(lambda mine, every: _most(mine),
              lambda q, a: torch.where(a.bincount() > 0, a.bincount(), 1_000_000).argmin()),
    "A question that was never asked before gets the answer of the question with the most rows: count over "
    "all rows.": _each(lambda mine, every: _most(mine), lambda q, a: _winners(q, a)[
        _per_question(q, a).argmax()]),
    "Of answers that are equally frequent you take the one with the largest number; the smallest is wanted.":
        _each(lambda mine, every: _last_most(mine.bincount()), lambda q, a: _last_most(a.bincount())),
    "Of answers that are equally frequent you take the one that stands first in the rows; the one with the "
    "smallest number is wanted.": _each(
        lambda mine, every: max(dict.fromkeys(mine.tolist()), key=mine.tolist().count)),
    "These are counts of the most frequent answers; the answers themselves are wanted.":
        _each(lambda mine, every: mine.bincount().max(), lambda q, a: a.bincount().max()),
    "These are shares of the most frequent answers; the answers themselves are wanted.":
        _each(lambda mine, every: mine.bincount().max() / len(mine),
              lambda q, a: a.bincount().max() / len(a)),
    "This is the second most frequent answer of the question; the most frequent one is wanted.": _each(
        lambda mine, every: mine.bincount(minlength=2).argsort(descending=True, stable=True)[1]),
    "These are places among the answers that the question had (torch.unique puts them side by side); the "
    "answers themselves are wanted.": _each(
        lambda mine, every: mine.unique(return_counts=True)[1].argmax(),
        lambda q, a: a.unique(return_counts=True)[1].argmax()),
    "These are numbers of rows; the answers are wanted.": lambda q, a, asked: torch.stack([
        (q == one).int().argmax() for one in asked]),
    "Answers are names and not amounts: this is their median, and the most frequent one is wanted.":
        _each(lambda mine, every: mine.median()),
    "Answers are names and not amounts: this is their mean, and the most frequent one is wanted.":
        _each(lambda mine, every: mine.double().mean().round().long()),
    "A question that was never asked before gets the answer of the one whose number is nearest: take the "
    "most frequent answer of all.":
        lambda q, a, asked: blind.reference(q, a, q[(asked[:, None] - q).abs().argmin(1)]),
    "This is the first answer that the question got; count all of them.": _each(lambda mine, every: mine[0]),
    "This is the last answer that the question got, which is what a dict keeps that is filled row by row; "
    "count all of them.": _each(lambda mine, every: mine[-1]),
    "This is the largest number among the answers of the question; the most frequent answer is wanted.":
        _each(lambda mine, every: mine.max()),
    "This is the smallest number among the answers of the question; the most frequent answer is wanted.":
        _each(lambda mine, every: mine.min()),
    "Questions and answers are exchanged: you look for rows whose answer has the number of the question.":
        lambda q, a, asked: blind.reference(a, q, asked),
    "The questions of the training rows are answered; those in `asked` are wanted.":
        lambda q, a, asked: blind.reference(q, a, q),
    "The share of each answer is divided by its share over all questions, which favours rare ones: take the "
    "most frequent answer as it is.": _each(lambda mine, every: (
        mine.bincount(minlength=int(every.max()) + 1) / every.bincount().clamp(min=1)).argmax()),
    "The answers of all questions are added to the counts of each: count those of the question alone.":
        _each(lambda mine, every: torch.cat([mine, every]).bincount().argmax()),
    "There is one answer for each different question, in the order of their numbers; give one for each row "
    "of `asked`.": lambda q, a, asked: blind.reference(q, a, asked.unique()),
}.items():
    blind.mistake(_sentence)(_slip)
    if "their median" in _sentence:  # and of all answers, where nobody asked the question
        blind.mistake(_sentence)(_each(lambda mine, every: mine.median(), lambda q, a: a.median()))
    if "their mean" in _sentence:
        blind.mistake(_sentence)(_each(lambda mine, every: mine.double().mean().round().long(),
                                       lambda q, a: a.double().mean().round().long()))
    if "stands first in the rows" in _sentence:  # and of all answers, where nobody asked the question
        blind.mistake(_sentence)(_each(
            lambda mine, every: max(dict.fromkeys(mine.tolist()), key=mine.tolist().count),
            lambda q, a: max(dict.fromkeys(a.tolist()), key=a.tolist().count)))


# 17.2 -------------------------------------------------------------------------------------------------------
@exercise("17.2", "Late interaction", minutes=15, points=3, difficulty=3, grad=(0, 1))
def fits(cells, words, mask):
    similarity = torch.einsum("tws,pcs->tpwc", words, cells)
    best = similarity.max(dim=3).values  # (texts, pictures, tokens): the most similar cell of each word
    real = mask[:, None, :].to(best.dtype)  # (texts, 1, tokens)
    return (best * real).sum(dim=2) / real.sum(dim=2)


@fits.cases
def _(draw):
    def one(pictures, cells, texts, tokens, about):
        lengths = draw.integers(tokens + 1, texts, low=1)
        lengths[0], lengths[1] = tokens, max(1, tokens - 2)
        mask = torch.arange(tokens) < lengths[:, None]
        return case(draw.normal(pictures, cells, 3), draw.normal(texts, tokens, 3), mask, about=about)

    yield telling(fits, lambda: one(3, 4, 2, 5, "3 pictures of 4 cells and 2 texts of up to 5 words"))
    yield telling(fits, lambda: one(2, 3, 4, 4, "2 pictures of 3 cells and 4 texts of up to 4 words"))
    yield telling(fits, lambda: one(3, 5, 3, 4, "as many pictures as texts"))


def _similar(cells, words):
    return torch.einsum("tws,pcs->tpwc", words, cells)


def _over_words(best, mask):
    real = mask[:, None, :].to(best.dtype)
    return (best * real).sum(2) / real.sum(2)


def _lone(similarity, mask):
    return similarity.masked_fill(~mask[:, None, :, None], -torch.inf)


def _unit(x):
    return torch.nn.functional.normalize(x, dim=-1)


for _sentence, _slip in {
    "The cells are averaged: a word is about one thing, so take its most similar cell.":
        lambda c, w, m: _over_words(_similar(c, w).mean(3), m),
    "The similarities of all cells are added up: take the most similar cell.":
        lambda c, w, m: _over_words(_similar(c, w).sum(3), m),
    "The words are averaged first and then choose one cell together; every word chooses its own.":
        lambda c, w, m: ((_similar(c, w) * m[:, None, :, None]).sum(2) / m.sum(1)[:, None, None]).amax(2),
    "Only the best word counts; take the mean over the words.":
        lambda c, w, m: _lone(_similar(c, w), m).amax((2, 3)),
    "Padding is counted: the mean runs over the words that the mask lets through.":
        lambda c, w, m: _similar(c, w).amax(3).mean(2),
    "Padding is left out of the sum, and still counted in the division: divide by the real words of each "
    "text.": lambda c, w, m: (_similar(c, w).amax(3) * m[:, None]).sum(2) / m.shape[1],
    "The words are added up, so long texts fit everything better: take the mean.":
        lambda c, w, m: (_similar(c, w).amax(3) * m[:, None]).sum(2),
    "The mask is used the wrong way round: it is True on the words that count.":
        lambda c, w, m: (_similar(c, w).amax(3) * ~m[:, None]).sum(2) / (~m).sum(1)[:, None].clamp(min=1),
    "The result is transposed: texts are the rows, pictures the columns.":
        lambda c, w, m: fits.reference(c, w, m).T,
    "For each cell you take the best word, and the mean over the cells; it is the other way round.":
        lambda c, w, m: _lone(_similar(c, w), m).amax(2).mean(2),
    "Both ways are averaged, words to cells and cells to words; only that of the words is wanted.":
        lambda c, w, m: (fits.reference(c, w, m) + _lone(_similar(c, w), m).amax(2).mean(2)) / 2,
    "The vectors are brought to length 1 first; compare them as they are, by inner products.":
        lambda c, w, m: fits.reference(_unit(c), _unit(w), m),
    "A logsumexp over the cells is a soft largest, and above it: take the largest.":
        lambda c, w, m: _over_words(_similar(c, w).logsumexp(3), m),
    "The cells are weighed by a softmax; take the most similar one alone.":
        lambda c, w, m: _over_words((_similar(c, w).softmax(3) * _similar(c, w)).sum(3), m),
    "The least similar cell is taken: the most similar one is wanted.":
        lambda c, w, m: _over_words(_similar(c, w).amin(3), m),
    "These are numbers of cells; how similar the best one is, is wanted.":
        lambda c, w, m: _over_words(_similar(c, w).argmax(3).to(c.dtype), m),
    "Every text is compared with the picture of its own row alone: all pairs are wanted.":
        lambda c, w, m: fits.reference(c, w, m).diagonal(),
    "The mean of the real words is divided by the square root of the size: this is no attention.":
        lambda c, w, m: fits.reference(c, w, m) / c.shape[2] ** 0.5,
    "Distances are compared; nearness is the inner product here.":
        lambda c, w, m: _over_words(-torch.cdist(w[:, None], c[None]).amin(3), m),
    "The last real word of each text decides alone; take the mean over the words.":
        lambda c, w, m: _similar(c, w).amax(3)[torch.arange(len(w)), :, m.sum(1) - 1],
    "The first word of each text decides alone; take the mean over the words.":
        lambda c, w, m: _similar(c, w).amax(3)[:, :, 0],
    "The median of the words is taken; their mean is wanted.": lambda c, w, m: torch.stack([
        _similar(c, w).amax(3)[t][:, m[t]].quantile(0.5, dim=1) for t in range(len(w))]),
    "For each cell you take the best word, padding among them, and the mean over the cells; every word takes "
    "its best cell, and the mean runs over the real words.": lambda c, w, m: _similar(c, w).amax(2).mean(2),
    "Padding is set to −∞ and averaged with the rest: leave it out of the mean.":
        lambda c, w, m: _similar(c, w).amax(3).masked_fill(~m[:, None], -torch.inf).mean(2),
    "The first word of each text is left out: all that the mask lets through count.":
        lambda c, w, m: (_similar(c, w).amax(3) * m[:, None])[..., 1:].sum(2) / (m.sum(1, True) - 1).clamp(1),
    "The sum over the words is divided by the number of cells: divide by the real words of each text.":
        lambda c, w, m: (_similar(c, w).amax(3) * m[:, None]).sum(2) / c.shape[1],
    "Padding gets a huge negative number and is averaged with the rest: leave it out of the mean.":
        lambda c, w, m: _similar(c, w).amax(3).masked_fill(~m[:, None], -1e9).mean(2),
    "The similarities are made positive: a word that points away from a cell does not fit it.":
        lambda c, w, m: _over_words(_similar(c, w).abs().amax(3), m),
    "The similarities are squared: a word that points away from a cell does not fit it.":
        lambda c, w, m: _over_words(_similar(c, w).pow(2).amax(3), m),
    "Negative similarities are cut off at 0; a word that fits nowhere counts against the picture.":
        lambda c, w, m: _over_words(_similar(c, w).amax(3).clamp(min=0), m),
}.items():
    fits.mistake(_sentence)(_slip)
    if "numbers of cells" in _sentence:  # and of padding's
        fits.mistake(_sentence)(lambda c, w, m: _similar(c, w).argmax(3).to(c.dtype).mean(2))


# 17.3 -------------------------------------------------------------------------------------------------------
@exercise("17.3", "Where a look goes", minutes=12, points=2, difficulty=2, grad=(0,))
def expected_place(scores, rows, columns):
    weights = torch.softmax(scores, dim=1)  # (batch, cells)
    cell = torch.arange(rows * columns)
    column, row = (cell % columns).to(scores.dtype), (cell // columns).to(scores.dtype)
    x = 2 * column / max(columns - 1, 1) - min(columns - 1, 1)
    y = 2 * row / max(rows - 1, 1) - min(rows - 1, 1)
    places = torch.stack([x, y], dim=1)  # (cells, 2)
    return weights @ places


@expected_place.cases
def _(draw):
    for batch, rows, columns in ((4, 3, 5), (2, 5, 2)):  # places that float32 holds exactly
        yield telling(expected_place, lambda b=batch, r=rows, c=columns: case(
            2 * draw.normal(b, r * c), r, c, about=f"{b} maps of {r} rows and {c} columns"),
            hides=("single",))
    yield case(draw.normal(3, 5), 1, 5, about="maps of one row: y is 0 there")
    yield case(draw.normal(3, 3), 3, 1, about="maps of one column: x is 0 there")


def _axis(n, low=-1.0, high=1.0):
    return torch.linspace(low, high, n, dtype=torch.float64) if n > 1 else torch.zeros(1, dtype=torch.float64)


def _edge(n):
    return torch.linspace(-1, 1, n, dtype=torch.float64)  # of one number: −1


def _steps(n):
    return 2 * torch.arange(n, dtype=torch.float64) / (n - 1) - 1


def _middle(n):
    return (2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1


def _place(weigh=lambda s: s.softmax(1), axes=lambda r, c: (_axis(c), _axis(r)), by_column=False, swap=False):
    def slip(scores, rows, columns):
        x, y = axes(rows, columns)
        weights = weigh(scores).unflatten(1, (columns, rows)).mT if by_column else weigh(scores).unflatten(
            1, (rows, columns))
        found = [(weights.sum(1) * x).sum(1), (weights.sum(2) * y).sum(1)]
        return torch.stack(found[::-1] if swap else found, 1)
    return slip


for _sentence, _slip in {
    "x and y are exchanged: x, along the columns, comes first.": _place(swap=True),
    "The cells are read column by column; they stand row by row, so the column is the rest by `columns`.":
        _place(by_column=True),
    "The column of a cell is its remainder by the number of columns, and its row the quotient by it; you use "
    "the number of rows.": lambda s, r, c: s.softmax(1) @ torch.stack([
        2 * (torch.arange(r * c) % r) / max(c - 1, 1) - 1,
        2 * (torch.arange(r * c) // r) / max(r - 1, 1) - 1], 1).to(s.dtype),
    "There is no softmax: the weights of a place must not be negative, and sum to 1.": _place(lambda s: s),
    "The exponentials are not divided by their sum: the weights of a place sum to 1, so take the softmax.":
        _place(torch.exp),
    "The scores are divided by the root of the number of cells before the softmax: this is no attention.":
        _place(lambda s: (s / s.shape[1] ** 0.5).softmax(1)),
    "The scores are divided by their sum, which may be negative or near 0: take their softmax.":
        _place(lambda s: s / s.sum(1, keepdim=True)),
    "This is the place of the best cell alone; the expected place is wanted, a mean over all cells.":
        _place(lambda s: torch.nn.functional.one_hot(s.argmax(1), s.shape[1]).to(s.dtype)),
    "Places run from 0 to 1; they run from −1 to 1, so that 0 is the middle.":
        _place(axes=lambda r, c: (_axis(c, 0.0), _axis(r, 0.0))),
    "Places run from 0 to 2; they run from −1 to 1, so that 0 is the middle.":
        _place(axes=lambda r, c: (_axis(c, 0.0, 2.0), _axis(r, 0.0, 2.0))),
    "The weights of a column are averaged over its rows, and those of a row over its columns: add them up.":
        lambda s, r, c: expected_place.reference(s, r, c) / torch.tensor([r, c]),
    "The middle of the first cell is −1 and that of the last 1; you take −1 and 1 for the edges of the "
    "picture.": _place(axes=lambda r, c: (_middle(c), _middle(r))),
    "y grows upwards; the first row is the uppermost, at −1, and y points down.":
        _place(axes=lambda r, c: (_axis(c), _axis(r, 1.0, -1.0))),
    "x grows to the left; the first column is the leftmost, at −1.":
        _place(axes=lambda r, c: (_axis(c, 1.0, -1.0), _axis(r))),
    "The softmax runs over the rows of the batch; each map has a softmax of its own, over its cells.":
        _place(lambda s: s.softmax(0)),
    "The softmax is taken twice, which makes every look nearly even.":
        _place(lambda s: s.softmax(1).softmax(1)),
    "A sigmoid lets every cell speak for itself; the weights of a place sum to 1, so take a softmax.":
        _place(torch.sigmoid),
    "A sigmoid, divided by its sum, is no softmax: high scores are flattened.":
        _place(lambda s: s.sigmoid() / s.sigmoid().sum(1, keepdim=True)),
    "Columns are divided by their number; there are columns − 1 steps from the first to the last.":
        _place(axes=lambda r, c: tuple(2 * torch.arange(n).double() / n - 1 for n in (c, r))),
    "These are numbers of columns and rows; scale them so that they run from −1 to 1.":
        _place(axes=lambda r, c: (torch.arange(c).double(), torch.arange(r).double())),
    "The sum is divided by the number of cells as well; the weights sum to 1 already.":
        lambda s, r, c: expected_place.reference(s, r, c) / (r * c),
    "The scores are squared or made positive before the softmax; take them as they are.":
        _place(lambda s: s.abs().softmax(1)),
    "The softmax is of the negative scores: the worst cell weighs most.": _place(lambda s: (-s).softmax(1)),
    "A single column or row is at −1 here; it is the first and the last at once, and its place is 0.":
        _place(axes=lambda r, c: (_edge(c), _edge(r))),
    "A single column or row divides by 0 steps, and nan comes out; its place is 0.":
        _place(axes=lambda r, c: (_steps(c), _steps(r))),
    "The scores are added up over rows and columns before the softmax: take one softmax over all cells, and "
    "add up its weights.": lambda s, r, c: torch.stack([
        (s.unflatten(1, (r, c)).sum(1).softmax(1) * _axis(c)).sum(1),
        (s.unflatten(1, (r, c)).sum(2).softmax(1) * _axis(r)).sum(1)], 1),
    "The softmax runs over each row of a map alone; one softmax runs over all its cells.":
        lambda s, r, c: torch.stack([
            (s.unflatten(1, (r, c)).softmax(2).sum(1) * _axis(c)).sum(1),
            (s.unflatten(1, (r, c)).softmax(2).sum(2) * _axis(r)).sum(1)], 1),
    "Only x is found: give x and y, (batch, 2).": lambda s, r, c: expected_place.reference(s, r, c)[:, :1],
    "All cells weigh the same here, whatever the scores are.": _place(
        lambda s: torch.zeros_like(s).softmax(1)),
}.items():
    expected_place.mistake(_sentence)(_slip)
    if "there are columns − 1 steps" in _sentence:
        expected_place.mistake(_sentence)(_place(axes=lambda r, c: tuple(
            2 * torch.arange(n).double() / n - 1 if n > 1 else torch.zeros(1) for n in (c, r))))
        expected_place.mistake(_sentence)(_place(axes=lambda r, c: tuple(  # in float32
            (2 * torch.arange(n) / n - 1).double() for n in (c, r))))


# 17.4 -------------------------------------------------------------------------------------------------------
@exercise("17.4", "Accuracy among ten people", minutes=12, points=3, difficulty=3)
def accuracy_among(answer, given):
    people = given.shape[1]
    total = torch.zeros(len(answer), dtype=torch.float64)
    for left_out in range(people):
        others = torch.cat([given[:, :left_out], given[:, left_out + 1:]], dim=1)  # (rows, people − 1)
        agree = (others == answer[:, None]).sum(dim=1)
        total = total + torch.clamp(agree / 3, max=1)
    return total / people


@accuracy_among.cases
def _(draw):
    def one(rows, people, answers, about):
        given = torch.where(draw.bits(rows, people).bool(), draw.integers(answers, rows, people),
                            draw.integers(answers, rows, 1))
        answer = torch.where(draw.bits(rows).bool(), given[:, 0], given[:, -1])
        answer[:1] = answers  # nobody's
        return case(answer, given, about=about)

    for rows in (9, 11):
        yield telling(accuracy_among, lambda r=rows: one(
            r, 10, 6, f"{r} questions, each answered by 10 people"), hides=("whatever the number of people",))
    agree = torch.arange(10) < torch.arange(11)[:, None]
    yield case(torch.ones(11, dtype=torch.int64), agree.long(), about="0, 1, 2, … 10 of 10 people agree")
    yield telling(accuracy_among, lambda: one(12, 7, 5, "12 questions, each answered by 7 people"))


def _agree(answer, given):
    return (given == answer[:, None]).sum(1).double()


def _out(answer, given, of):
    """``of(agreeing others)`` for each person left out, (rows, people)."""
    hit = (given == answer[:, None]).double()
    return of(hit.sum(1, keepdim=True) - hit)


def _third(agree):
    return (agree / 3).clamp(max=1)


for _sentence, _slip in {
    "Nobody is left out: each of the people is left out once, and the mean of these is wanted.":
        lambda a, g: _third(_agree(a, g)),
    "This is the share of people who agree; three of the others are enough for full marks.":
        lambda a, g: _agree(a, g) / g.shape[1],
    "Right is only what most people said: everybody who agrees counts, up to three.":
        lambda a, g: (a == g.mode(1).values).double(),
    "One who agrees is enough for full marks here; three are wanted, and fewer give a part.":
        lambda a, g: (_agree(a, g) > 0).double(),
    "Three or more give full marks, and fewer nothing; fewer give a part: one third each.":
        lambda a, g: (_agree(a, g) >= 3).double(),
    "Three of the others give full marks, and fewer nothing; fewer give a part: one third each.":
        lambda a, g: _out(a, g, lambda n: (n >= 3).double()).mean(1),
    "More than three give more than full marks: cut each at 1 before the mean.":
        lambda a, g: _out(a, g, lambda n: n / 3).mean(1),
    "The marks for each one left out are added up: take their mean.":
        lambda a, g: _out(a, g, _third).sum(1),
    "The sum is divided by one less than there are people: each of them is left out once.":
        lambda a, g: _out(a, g, _third).sum(1) / (g.shape[1] - 1),
    "Only those who agree are left out in turn; everybody is.":
        lambda a, g: torch.where(_agree(a, g) > 0, _third(_agree(a, g) - 1), 0.0),
    "Only the last of the people is left out, and the mean over who is left out is missing.":
        lambda a, g: _third(_agree(a, g[:, :-1])),
    "Only the first of the people is left out, and the mean over who is left out is missing.":
        lambda a, g: _third(_agree(a, g[:, 1:])),
    "This is the mean over all questions; give one number for each.":
        lambda a, g: _out(a, g, _third).mean(),
    "The marks are percentages; give shares from 0 to 1.": lambda a, g: 100 * _out(a, g, _third).mean(1),
    "Each is cut at 1 from below, and above 1 it stays: cut what is larger than 1.":
        lambda a, g: _out(a, g, lambda n: (n / 3).clamp(min=1)).mean(1),
    "Who is left out is taken off twice where he agrees: leave each of the people out once.":
        lambda a, g: ((_agree(a, g)[:, None] - 2 * (g == a[:, None])) / 3).clamp(0, 1).mean(1),
    "Who is left out is counted twice where he agrees: he is to be taken off.": lambda a, g: _third(
        _agree(a, g)[:, None] + (g == a[:, None])).mean(1),
    "Four are asked for full marks: three of the others are enough.":
        lambda a, g: _out(a, g, lambda n: (n / 4).clamp(max=1)).mean(1),
    "Two are enough for full marks here: three of the others are wanted.":
        lambda a, g: _out(a, g, lambda n: (n / 2).clamp(max=1)).mean(1),
    "Those who disagree are counted: count the others who gave this answer.":
        lambda a, g: _out(a, g, lambda n: _third(g.shape[1] - 1 - n)).mean(1),
    "The sum is divided by ten, whatever the number of people: each of them is left out once.":
        lambda a, g: _out(a, g, _third).sum(1) / 10,
    "A third of the others is asked for full marks, whatever the number of people: three of them are enough.":
        lambda a, g: _out(a, g, lambda n: (3 * n / (g.shape[1] - 1)).clamp(max=1)).mean(1),
    "The last of the people is never left out: the mean runs over all of them.":
        lambda a, g: _out(a, g, _third)[:, :-1].mean(1),
    "The first of the people is never left out: the mean runs over all of them.":
        lambda a, g: _out(a, g, _third)[:, 1:].mean(1),
    "Who agrees is counted over the questions; count over the people who answered this one.":
        lambda a, g: _third((g == a[:, None]).sum(0, keepdim=True) - (g == a[:, None]).double()).mean(1),
    "The first 0, 1, 2, … people are kept in turn; keep all but one.": lambda a, g: torch.stack(
        [_third(_agree(a, g[:, :k])) for k in range(g.shape[1])], 1).mean(1),
    "The people are scored by one another; it is `answer` that is to be scored among them.":
        lambda a, g: _third((g[:, :, None] == g[:, None]).double().sum(2) - 1).mean(1),
    "A third of the people is asked for full marks, not three of them: n/3, whatever their number.":
        lambda a, g: _out(a, g, lambda n: (3 * n / g.shape[1]).clamp(max=1)).mean(1),
}.items():
    accuracy_among.mistake(_sentence)(_slip)


# 17.5 -------------------------------------------------------------------------------------------------------
@exercise("17.5", "The best sum of two opinions", minutes=30, points=4, difficulty=5)
def best_sum(truth, weight):
    words, pictures = truth.shape
    right_yes, right_no = weight * truth, weight * ~truth  # what each answer of a pair earns
    best = torch.zeros((), dtype=torch.float64)
    for order in permutations(range(words)):  # from the largest f to the smallest
        gain = (right_yes - right_no)[list(order)]  # of yes in the place of no, (words, pictures)
        none = torch.zeros(1, pictures, dtype=torch.float64)
        said = torch.cat([none, gain.cumsum(dim=0)])  # yes to the first 0, 1, 2, … words
        total = right_no.sum() + said.max(dim=0).values.sum()  # every picture has its own threshold, −g
        best = torch.maximum(best, total)
    return best


@best_sum.cases
def _(draw):
    def one(words, pictures, about):
        while True:
            weight = draw.uniform(words, pictures) ** 2 + 0.02
            truth, weight = draw.bits(words, pictures).bool(), weight / weight.sum()
            alone = [round(float(_by(truth, weight, over)), 9) for over in ((0, 1), 1, 0)]
            if len(set(alone)) == 3:  # else one slip would pass for another
                return case(truth, weight, about=about)

    yield telling(best_sum, lambda: one(4, 6, "4 words and 6 pictures"))
    yield telling(best_sum, lambda: one(3, 7, "3 words and 7 pictures"))
    half = torch.full((3, 3), 1 / 12, dtype=torch.float64) + torch.eye(3, dtype=torch.float64) / 12
    yield case(torch.eye(3, dtype=torch.bool), half, about="pictures of one toy each, as often yes as no")
    yield case(torch.tensor([[True, False], [False, True]]), torch.full((2, 2), 0.25, dtype=torch.float64),
               about="the XOR of two words and two pictures")


def _by(truth, weight, over):
    """The best that one answer can do for everything (over both axes), for each word (1) or picture (0)."""
    return torch.maximum((weight * truth).sum(over), (weight * ~truth).sum(over)).sum()


def _of_orders(truth, weight, pick=max, said=lambda n: range(n + 1), orders=None):
    words = len(truth)
    gain = weight * truth.double() - weight * (~truth).double()  # of saying yes
    found = []
    for order in permutations(range(words)) if orders is None else orders(words):
        steps = torch.cat([torch.zeros(1, truth.shape[1], dtype=weight.dtype), gain[list(order)].cumsum(0)])
        steps = steps[list(said(words))]
        found.append(steps.amax(0).sum())
    return (weight * ~truth).sum() + pick(found)


def _additive_fit(truth, weight):
    """Yes where the mean of the row plus that of the column is above the mean of all."""
    y, w = truth.double(), weight
    fit = ((y * w).sum(1) / w.sum(1))[:, None] + (y * w).sum(0) / w.sum(0) - (y * w).sum() / w.sum()
    return (w * ((fit > 0.5) == truth)).sum()


def _product_fit(truth, weight):
    y, w = truth.double(), weight
    both = ((y * w).sum(1) / w.sum(1))[:, None] * ((y * w).sum(0) / w.sum(0))
    return (w * ((both > 0.25) == truth)).sum()


for _sentence, _slip in {
    "Only one answer for everything is tried, yes or no: the word and the picture both have a say.":
        lambda t, w: _by(t, w, (0, 1)),
    "Only the words have a say, f alone: the pictures have one as well.":
        lambda t, w: _by(t, w, 1),
    "Only the pictures have a say, g alone: the words have one as well.":
        lambda t, w: _by(t, w, 0),
    "Every pair has an answer of its own here, or a wrong yes costs nothing, and that is no sum of two "
    "opinions.":
        lambda t, w: w.sum(),
    "The words stand in one order only, the given one; f may put them in any.":
        lambda t, w: _of_orders(t, w, orders=lambda n: [tuple(range(n))]),
    "The words are only tried in the order given and its reverse; f may put them in any.":
        lambda t, w: _of_orders(t, w, orders=lambda n: [tuple(range(n)), tuple(reversed(range(n)))]),
    "The words are only sorted by how often the answer is yes: the best order may be another one.":
        lambda t, w: _of_orders(t, w, orders=lambda n: [(w * t).sum(1).argsort(descending=True).tolist()]),
    "Every picture says yes to one word at least here; it may also say no to all.":
        lambda t, w: _of_orders(t, w, said=lambda n: range(1, n + 1)),
    "Every picture says no to one word at least here; it may also say yes to all.":
        lambda t, w: _of_orders(t, w, said=lambda n: range(n)),
    "The pairs are not weighed: some are asked more often than others.":
        lambda t, w: _of_orders(t, torch.full_like(w, 1 / w.numel())),
    "The worst order of the words is taken; the best one is wanted.": lambda t, w: _of_orders(t, w, min),
    "Only the order that was tried last counts here: keep the best of all.":
        lambda t, w: _of_orders(t, w, lambda found: found[-1]),
    "The mean over all orders of the words is taken; the best one is wanted.":
        lambda t, w: _of_orders(t, w, lambda found: sum(found) / len(found)),
    "This is how often the best sum is wrong; how often it is right is wanted.":
        lambda t, w: 1 - _of_orders(t, w),
    "f and g are set to the shares of yes, and no better ones are looked for.": _additive_fit,
    "f is the share of yes of a word, g that of a picture, and their product decides: that is no sum, and "
    "not the best.": _product_fit,
    "Every order says yes to one word alone; a picture says yes to all words before its threshold.":
        lambda t, w: (w * ~t).sum() + ((w * t.double() - w * (~t).double()).amax(0).clamp(min=0)).sum(),
    "What is earned by *no* everywhere is left out: what yes gains comes on top of it.":
        lambda t, w: _of_orders(t, w) - (w * ~t).sum(),
    "You start from what *yes* everywhere earns, and the gains of yes are counted from *no* everywhere.":
        lambda t, w: _of_orders(t, w) - (w * ~t).sum() + (w * t).sum(),
    "Only the given order is tried, turned round to start at each word; f may put the words in any.":
        lambda t, w: _of_orders(t, w, orders=lambda n: [[(k + j) % n for j in range(n)] for k in range(n)]),
    "The words are only sorted by what their yes gains in all: the best order may be another one.":
        lambda t, w: _of_orders(t, w, orders=lambda n: [
            torch.where(t, w, -w).sum(1).argsort(descending=True).tolist()]),
    "The pairs that are right are counted; their weights are wanted.":
        lambda t, w: _of_orders(t, torch.ones_like(w)),
}.items():
    best_sum.mistake(_sentence)(_slip)
