"""Exercises of lesson 12: self-supervision and few labels."""

from functools import partial

import torch
from torch.nn.functional import cross_entropy, normalize

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


# 12.1 -------------------------------------------------------------------------------------------------------
@exercise("12.1", "Two views find one another", minutes=18, points=3, difficulty=3, grad=(0, 1))
def two_views_loss(first, second, temperature):
    n = len(first)
    views = torch.cat([first, second])  # (2n, hidden)
    views = views / views.norm(dim=1, keepdim=True)
    logits = views @ views.T / temperature  # (2n, 2n)
    myself = torch.eye(2 * n, dtype=torch.bool)
    logits = logits.masked_fill(myself, -torch.inf)
    partner = torch.cat([torch.arange(n, 2 * n), torch.arange(n)])
    own = logits[torch.arange(2 * n), partner]  # (2n,)
    return (logits.logsumexp(dim=1) - own).mean()


@two_views_loss.cases
def _(draw):
    for n, hidden, temperature, about in (
        (4, 5, 0.5, "4 films"),
        (2, 3, 0.2, "2 films, a low temperature"),
        (3, 3, 2.0, "3 films and 3 numbers each"),
    ):
        yield telling(
            two_views_loss,
            lambda n=n, hidden=hidden, temperature=temperature, about=about: case(
                2 * draw.normal(n, hidden), draw.normal(n, hidden), temperature, about=about
            ),
        )


def _views(first, second, temperature, unit=normalize, hide=True, partner=None, value=-torch.inf):
    views = unit(torch.cat([first, second]))
    logits = views @ views.T / temperature
    if hide:
        logits = logits.masked_fill(torch.eye(len(views), dtype=torch.bool), value)
    partner = torch.arange(len(views)).roll(len(first)) if partner is None else partner
    return logits, partner


@two_views_loss.mistake(
    "The diagonal is not masked: every view finds itself, with cosine 1, and the partner never wins. A view"
    " has 2n − 1 candidates, without itself."
)
def _(first, second, temperature):
    return cross_entropy(*_views(first, second, temperature, hide=False))


@two_views_loss.mistake(
    "You set the diagonal to 0: that is a logit like any other, e⁰ = 1 in the sum. It has to be −∞, so that"
    " it adds nothing."
)
def _(first, second, temperature):
    return cross_entropy(*_views(first, second, temperature, value=0.0))


@two_views_loss.mistake("The vectors are not brought to length 1: the similarity is a cosine.")
def _(first, second, temperature):
    return cross_entropy(*_views(first, second, temperature, unit=lambda x: x))


@two_views_loss.mistake(
    "First views are compared with second views alone (InfoNCE, lesson 11): here the other first views are "
    "candidates too, 2n − 1 for each view."
)
def _(first, second, temperature):
    logits = normalize(first) @ normalize(second).T / temperature
    rows = torch.arange(len(first))
    return (cross_entropy(logits, rows) + cross_entropy(logits.T, rows)) / 2


@two_views_loss.mistake(
    "Only the first views look, and only at the second views (InfoNCE in one direction, lesson 11): all 2n "
    "views look, each at the 2n − 1 others."
)
def _(first, second, temperature):
    logits = normalize(first) @ normalize(second).T / temperature
    return cross_entropy(logits, torch.arange(len(first)))


@two_views_loss.mistake(
    "The right place of row i is row i itself: a view looks for its partner, n rows further on, and is no "
    "candidate itself."
)
def _(first, second, temperature):
    itself = torch.arange(2 * len(first))
    return cross_entropy(*_views(first, second, temperature, hide=False, partner=itself))


@two_views_loss.mistake(
    "The partner is the next row; the views are two blocks, [first; second], so it stands n rows further on."
)
def _(first, second, temperature):
    following = torch.arange(2 * len(first)).roll(1)
    return cross_entropy(*_views(first, second, temperature, partner=following))


@two_views_loss.mistake(
    "The views stand in turns, first, second, first, …, but the partner is sought n rows further on: then it "
    "is the row beside. Stack them as [first; second]."
)
def _(first, second, temperature):
    turns = torch.stack([first, second], dim=1).flatten(0, 1)
    return cross_entropy(*_views(turns[: len(first)], turns[len(first) :], temperature))


@two_views_loss.mistake(
    "Only the first views look for their partners; the second views look too: the mean is over all 2n."
)
def _(first, second, temperature):
    logits, partner = _views(first, second, temperature)
    return cross_entropy(logits[: len(first)], partner[: len(first)])


@two_views_loss.mistake(
    "The partner of row k stands n rows further on, not beside it: the views are two blocks, [first; "
    "second]."
)
def _(first, second, temperature):
    beside = torch.arange(2 * len(first)).reshape(-1, 2).flip(1).flatten()
    return cross_entropy(*_views(first, second, temperature, partner=beside))


@two_views_loss.mistake("You multiply by the temperature; the cosines are divided by it.")
def _(first, second, temperature):
    return two_views_loss.reference(first, second, 1 / temperature)


@two_views_loss.mistake("The temperature is missing: divide the cosines by it.")
def _(first, second, temperature):
    return two_views_loss.reference(first, second, 1.0)


@two_views_loss.mistake("You add up the 2n views; the mean is wanted.")
def _(first, second, temperature):
    return cross_entropy(*_views(first, second, temperature), reduction="sum")


@two_views_loss.mistake("You divide the sum over all 2n views by n; the mean is over 2n.")
def _(first, second, temperature):
    return 2 * two_views_loss.reference(first, second, temperature)


@two_views_loss.mistake("This is the share of the partner, a probability; the loss is −log of it.")
def _(first, second, temperature):
    logits, partner = _views(first, second, temperature)
    return logits.softmax(1)[torch.arange(len(logits)), partner].mean()


@two_views_loss.mistake(
    "The sum over the candidates leaves the partner out; only the view itself is left out."
)
def _(first, second, temperature):
    logits, partner = _views(first, second, temperature)
    rows = torch.arange(len(logits))
    own = logits[rows, partner]
    others = logits.clone()
    others[rows, partner] = -torch.inf
    return (others.logsumexp(1) - own).mean()


@two_views_loss.mistake("This is 1 − the share of the partner; the loss is −log of that share.")
def _(first, second, temperature):
    logits, partner = _views(first, second, temperature)
    return (1 - logits.softmax(1)[torch.arange(len(logits)), partner]).mean()


@two_views_loss.mistake("The logarithm is missing: log of the sum of all eˢ, minus the partner's logit.")
def _(first, second, temperature):
    logits, partner = _views(first, second, temperature)
    return (logits.exp().sum(1) - logits[torch.arange(len(logits)), partner]).mean()


for _left_out in (0, 1):
    @two_views_loss.mistake("The log is of the *sum* over the candidates; you take their mean.")
    def _(first, second, temperature, left_out=_left_out):
        count = torch.tensor(2.0 * len(first) - left_out, dtype=first.dtype)
        return two_views_loss.reference(first, second, temperature) - count.log()


@two_views_loss.mistake("Cross-entropy takes logits and has the softmax in it; you apply it a second time.")
def _(first, second, temperature):
    logits, partner = _views(first, second, temperature)
    return cross_entropy(logits.softmax(1), partner)


for _which in (0, 1):
    @two_views_loss.mistake("Only one of the two blocks is brought to length 1; both are.")
    def _(first, second, temperature, which=_which):
        both = [first, second]
        both[which] = normalize(both[which])
        return cross_entropy(*_views(*both, temperature, unit=lambda x: x))


for _unit in (normalize, lambda x: x):
    @two_views_loss.mistake("These are distances; the similarity is a cosine.")
    def _(first, second, temperature, unit=_unit):
        views = unit(torch.cat([first, second]))
        apart = (views[:, None] - views[None]).square().sum(2).clamp(min=1e-30).sqrt()
        _, partner = _views(first, second, temperature)
        hidden = torch.eye(len(views), dtype=torch.bool)
        return cross_entropy((-apart / temperature).masked_fill(hidden, -torch.inf), partner)


for _inside, _own in ((True, False), (False, True)):
    @two_views_loss.mistake("The temperature divides every logit, the partner's and all in the sum.")
    def _(first, second, temperature, inside=_inside, own=_own):
        (logits, partner), (plain, _) = (_views(first, second, t) for t in (temperature, 1.0))
        rows = torch.arange(len(logits))
        return ((logits if inside else plain).logsumexp(1) - (logits if own else plain)[rows, partner]).mean()


for _partner in (lambda n: torch.arange(n).repeat(2), lambda n: torch.arange(2 * n)):
    @two_views_loss.mistake(
        "The right place of a view is its own here, and that is masked, so that the loss is infinite: the "
        "partner of a first view stands n rows further on."
    )
    def _(first, second, temperature, partner=_partner):
        return cross_entropy(*_views(first, second, temperature, partner=partner(len(first))))


# 12.2 -------------------------------------------------------------------------------------------------------
@exercise("12.2", "Labels that a model gives itself", minutes=14, points=3, difficulty=3, grad=(0, 1))
def sure_label_loss(strong_logits, weak_logits, threshold):
    weak = weak_logits.detach().softmax(dim=1)  # (batch, classes)
    confidence = weak.max(dim=1).values  # (batch,)
    label = weak.argmax(dim=1)  # (batch,)
    sure = (confidence >= threshold).to(strong_logits.dtype)  # 1 or 0, (batch,)
    log_p = strong_logits.log_softmax(dim=1)  # (batch, classes)
    each = -log_p[torch.arange(len(label)), label]  # (batch,)
    return (sure * each).sum() / len(label)


@sure_label_loss.cases
def _(draw):
    def one(rows, classes, threshold, about):
        return case(2 * draw.normal(rows, classes), 2 * draw.normal(rows, classes), threshold, about=about)

    at = ("exactly the threshold", "Every class at or above")
    yield telling(sure_label_loss, lambda: one(6, 3, 0.7, "6 rows, of which some are sure"), hides=at)
    yield telling(sure_label_loss, lambda: one(7, 4, 0.6, "7 rows and 4 classes"), hides=at)
    yield telling(
        sure_label_loss,
        lambda: case(2 * draw.normal(6, 4), draw.normal(6, 4), 0.35, about="a threshold below one half"),
        hides=at[:1],
    )
    unsure = 0.01 * draw.normal(3, 3)
    yield case(draw.normal(3, 3), unsure, 0.95, about="a model that is sure of nothing (0 is wanted)")
    sure = torch.tensor([[9.0, 0, 0], [0, 0, 9.0]]).double()
    yield case(draw.normal(2, 3), sure, 0.95, about="a model that is sure of every row")
    certain = torch.tensor([[50.0, 0, 0], [0, 2, 1], [0, 0, 50]]).double()  # probabilities of exactly 1
    yield case(draw.normal(3, 3), certain, 1.0, about="rows that are exactly as sure as the threshold asks")


def _pieces(strong, weak, threshold):
    weak = weak.detach().softmax(1)
    confidence, label = weak.max(1)
    sure = (confidence >= threshold).to(strong.dtype)
    return sure, cross_entropy(strong, label, reduction="none"), weak, label


@sure_label_loss.mistake(
    "You divide by the rows that are sure; FixMatch divides by all rows, so that few sure rows weigh "
    "little."
)
def _(strong_logits, weak_logits, threshold):
    sure, each, _, _ = _pieces(strong_logits, weak_logits, threshold)
    return (sure * each).sum() / sure.sum().clamp(min=1)


@sure_label_loss.mistake("Every row counts here: a row below the threshold has no label, and adds 0.")
def _(strong_logits, weak_logits, threshold):
    return _pieces(strong_logits, weak_logits, threshold)[1].mean()


@sure_label_loss.mistake("A row with exactly the threshold counts too: at least means ≥, not >.")
def _(strong_logits, weak_logits, threshold):
    _, each, weak, _ = _pieces(strong_logits, weak_logits, threshold)
    return ((weak.max(1).values > threshold) * each).mean()


@sure_label_loss.mistake("The mask is on the wrong side: the sure rows count, the unsure ones do not.")
def _(strong_logits, weak_logits, threshold):
    sure, each, _, _ = _pieces(strong_logits, weak_logits, threshold)
    return ((1 - sure) * each).mean()


@sure_label_loss.mistake(
    "The views are exchanged: the weak view gives the label, and the strong view learns it."
)
def _(strong_logits, weak_logits, threshold):
    sure, each, _, _ = _pieces(weak_logits, strong_logits, threshold)
    return (sure * each).mean()


@sure_label_loss.mistake("The label is the strong view's own favourite: the weak view gives the label.")
def _(strong_logits, weak_logits, threshold):
    sure = _pieces(strong_logits, weak_logits, threshold)[0]
    return (sure * cross_entropy(strong_logits, strong_logits.argmax(1), reduction="none")).mean()


@sure_label_loss.mistake("Whether a row is sure is asked of the strong view; the weak view is asked.")
def _(strong_logits, weak_logits, threshold):
    sure = _pieces(strong_logits, strong_logits, threshold)[0]
    return (sure * _pieces(strong_logits, weak_logits, threshold)[1]).mean()


@sure_label_loss.mistake(
    "The target is the weak view's whole softmax; FixMatch takes a hard label, its likeliest class."
)
def _(strong_logits, weak_logits, threshold):
    sure, _, weak, _ = _pieces(strong_logits, weak_logits, threshold)
    return (sure * cross_entropy(strong_logits, weak, reduction="none")).mean()


@sure_label_loss.mistake(
    "The threshold is compared with the logits: it is a probability, so take the softmax first."
)
def _(strong_logits, weak_logits, threshold):
    sure = (weak_logits.detach().max(1).values >= threshold).to(strong_logits.dtype)
    return (sure * _pieces(strong_logits, weak_logits, threshold)[1]).mean()


@sure_label_loss.mistake("You add up the rows; the mean over all rows is wanted.")
def _(strong_logits, weak_logits, threshold):
    sure, each, _, _ = _pieces(strong_logits, weak_logits, threshold)
    return (sure * each).sum()


@sure_label_loss.mistake("This is the share of sure rows; their loss is wanted.")
def _(strong_logits, weak_logits, threshold):
    return _pieces(strong_logits, weak_logits, threshold)[0].mean() + 0 * strong_logits.sum()


@sure_label_loss.mistake(
    "The loss is weighted by how sure the weak view is: a row at or above the threshold counts as one."
)
def _(strong_logits, weak_logits, threshold):
    sure, each, weak, _ = _pieces(strong_logits, weak_logits, threshold)
    return (sure * weak.max(1).values * each).mean()


@sure_label_loss.mistake(
    "Every class at or above the threshold counts as a label here; a row has one label, its likeliest class."
)
def _(strong_logits, weak_logits, threshold):
    weak = weak_logits.detach().softmax(1)
    return -((weak >= threshold) * strong_logits.log_softmax(1)).sum(1).mean()


@sure_label_loss.mistake("A row costs 1 − the probability of its label here; −log of it is wanted.")
def _(strong_logits, weak_logits, threshold):
    sure, each, _, _ = _pieces(strong_logits, weak_logits, threshold)
    return (sure * (1 - (-each).exp())).mean()


@sure_label_loss.mistake(
    "You set the logits of the other rows to 0, and such a row still costs the log of the number of classes: "
    "it adds 0 to the sum."
)
def _(strong_logits, weak_logits, threshold):
    sure, _, _, label = _pieces(strong_logits, weak_logits, threshold)
    return cross_entropy(strong_logits * sure[:, None], label)


@sure_label_loss.mistake("Only the weak view is asked whether it is sure; you ask the strong view as well.")
def _(strong_logits, weak_logits, threshold):
    sure, each, _, _ = _pieces(strong_logits, weak_logits, threshold)
    return (sure * _pieces(strong_logits, strong_logits, threshold)[0] * each).mean()


@sure_label_loss.mistake(
    "The largest probability is compared with the threshold; you compare its distance to the second."
)
def _(strong_logits, weak_logits, threshold):
    _, each, weak, _ = _pieces(strong_logits, weak_logits, threshold)
    return ((_margin(weak) >= threshold) * each).mean()


# 12.3 -------------------------------------------------------------------------------------------------------
@exercise("12.3", "Which rows to ask about", minutes=10, points=2, difficulty=2)
def most_doubtful(probabilities, k):
    ordered = probabilities.sort(dim=1, descending=True).values  # (rows, classes)
    margin = ordered[:, 0] - ordered[:, 1]  # (rows,)
    return margin.argsort()[:k]


@most_doubtful.cases
def _(draw):
    def one(rows, classes, k, about):
        logits = 1.5 * draw.normal(rows, classes)
        return case(logits.softmax(1), k, about=about)

    yield telling(most_doubtful, lambda: one(9, 4, 3, "9 rows, of which 3 are asked for"))
    yield telling(most_doubtful, lambda: one(12, 5, 4, "12 rows and 5 classes"))
    yield one(6, 2, 6, "two classes, and all rows asked for")
    yield one(5, 3, 1, "a single row to choose")


def _margin(p):
    best = p.topk(2, dim=1).values
    return best[:, 0] - best[:, 1]


@most_doubtful.mistake("These are the rows of which the model is surest: a small margin is doubt.")
def _(probabilities, k):
    return _margin(probabilities).argsort(descending=True)[:k]


@most_doubtful.mistake(
    "These are the last k rows of an ascending order, of which the model is surest: take the first k."
)
def _(probabilities, k):
    return _margin(probabilities).argsort()[-k:]


@most_doubtful.mistake("You compare the second likeliest class with the third; compare the likeliest two.")
def _(probabilities, k):
    best = probabilities.topk(3, dim=1).values
    return (best[:, 1] - best[:, 2]).argsort()[:k]


@most_doubtful.mistake(
    "This is least confidence, 1 − the largest probability: a row may have a small largest probability and "
    "still no rival. The two likeliest classes are compared."
)
def _(probabilities, k):
    return probabilities.max(1).values.argsort()[:k]


@most_doubtful.mistake("This is the entropy of all classes; the margin compares the two likeliest.")
def _(probabilities, k):
    return (probabilities * probabilities.log()).sum(1).argsort()[:k]


@most_doubtful.mistake(
    "This is the distance from the likeliest class to the least likely; its nearest rival is the second "
    "likeliest."
)
def _(probabilities, k):
    return (probabilities.max(1).values - probabilities.min(1).values).argsort()[:k]


@most_doubtful.mistake("You compare class 0 with class 1, whatever they are: sort each row first.")
def _(probabilities, k):
    return (probabilities[:, 0] - probabilities[:, 1]).abs().argsort()[:k]


@most_doubtful.mistake("The rows are the right ones in the wrong order: the most doubtful stands first.")
def _(probabilities, k):
    return _margin(probabilities).argsort()[:k].flip(0)


@most_doubtful.mistake("The rows are the right ones, sorted by their number: the most doubtful stands first.")
def _(probabilities, k):
    return _margin(probabilities).argsort()[:k].sort().values


@most_doubtful.mistake("These are the margins; the numbers of the rows are wanted.")
def _(probabilities, k):
    return _margin(probabilities).sort().values[:k]


@most_doubtful.mistake("This is the rank of each row among all; the numbers of the k first rows are wanted.")
def _(probabilities, k):
    return _margin(probabilities).argsort().argsort()[:k]


@most_doubtful.mistake("You compare the two *least* likely classes; the two likeliest are compared.")
def _(probabilities, k):
    least = probabilities.sort(1).values
    return (least[:, 1] - least[:, 0]).argsort()[:k]


@most_doubtful.mistake("The most doubtful row of all is left out: take the first k.")
def _(probabilities, k):
    return _margin(probabilities).argsort()[1 : k + 1]


@most_doubtful.mistake(
    "This is the spread (or the sum of squares) of all classes; the margin compares the two likeliest."
)
def _(probabilities, k):
    return probabilities.std(1).argsort()[:k]


@most_doubtful.mistake(
    "This is how far the likeliest class is from one half; with more than two classes its rival need not "
    "have the rest."
)
def _(probabilities, k):
    return (probabilities.amax(1) - 0.5).abs().argsort()[:k]


@most_doubtful.mistake("You compare the *numbers* of the two likeliest classes; compare their probabilities.")
def _(probabilities, k):
    best = probabilities.topk(2, dim=1).indices
    return (best[:, 0] - best[:, 1]).abs().argsort()[:k]


@most_doubtful.mistake("`k` is how many rows are wanted, not how many classes are compared: that is two.")
def _(probabilities, k):
    best = probabilities.topk(min(k, probabilities.shape[1]), dim=1).values
    return (best[:, 0] - best[:, -1]).argsort()[:k]


@most_doubtful.mistake("These are the likeliest classes of those rows; the numbers of the rows are wanted.")
def _(probabilities, k):
    return probabilities.argmax(1)[_margin(probabilities).argsort()[:k]]


# 12.4 -------------------------------------------------------------------------------------------------------
@exercise("12.4", "Rows that are far from all that is known", minutes=15, points=3, difficulty=3)
def farthest_rows(features, labelled, k):
    distance = (features[:, None] - features[None]).square().sum(dim=2).sqrt()  # (rows, rows)
    nearest = distance[:, labelled].min(dim=1).values  # (rows,): to the nearest row that has a label
    chosen = []
    for _ in range(k):
        row = int(nearest.argmax())
        chosen.append(row)
        nearest = torch.minimum(nearest, distance[:, row])
    return torch.tensor(chosen)


def _apart(exercise, draw_one, hides=(), near=()):
    """A telling case on which known mistakes with different sentences have different results, those with a
    text of ``near`` aside: they are seldom apart from others that say nearly the same.
    """
    for _ in range(100):
        found, said = telling(exercise, draw_one, hides), {}
        for sentence, wrong in exercise.mistakes:
            if not any(text in sentence for text in (*hides, *near)):
                result = tuple(wrong(*found.args).flatten().mul(1e9).round().tolist())
                said.setdefault(result, set()).add(sentence)
        if all(len(sentences) == 1 for sentences in said.values()):
            break
    return found


@farthest_rows.cases
def _(draw):
    def one(rows, size, known, k, about):
        order = draw.uniform(rows).argsort()
        return case(draw.normal(rows, size), order[:known], k, about=about)

    yield _apart(farthest_rows, lambda: one(12, 3, 3, 4, "12 rows, of which 3 have labels"))
    yield telling(farthest_rows, lambda: one(10, 2, 2, 5, "10 rows in the plane"))
    yield one(6, 4, 1, 5, "all rows that are left")


def _distances(features):
    return torch.cdist(features, features)


@farthest_rows.mistake(
    "The distances are never updated: after a row is chosen it counts as known, and its neighbours are near"
    " it."
)
def _(features, labelled, k):
    return _distances(features)[:, labelled].amin(1).topk(k).indices


@farthest_rows.mistake(
    "You take the mean distance to the known rows; a row is covered by the nearest of them."
)
def _(features, labelled, k):
    return _greedy(features, labelled, k, lambda d: d.mean(1))


@farthest_rows.mistake(
    "You take the distance to the farthest of the known rows; a row is covered by the nearest."
)
def _(features, labelled, k):
    return _greedy(features, labelled, k, lambda d: d.amax(1))


@farthest_rows.mistake("You choose the nearest row, the one best covered; the farthest is wanted.")
def _(features, labelled, k):
    return _greedy(features, labelled, k, lambda d: -d.amin(1))


def _one_by_one(features, labelled, k, update, taken=False):
    """Greedy choice where ``update(nearest, distances to the new row)`` is the learner's."""
    distance, chosen = _distances(features), []
    nearest = distance[:, labelled].amin(1)
    for _ in range(k):
        chosen.append(int(nearest.argmax()))
        nearest = update(nearest, distance[:, chosen[-1]]).clone()
        if taken:
            nearest[chosen[-1]] = 0.0
    return torch.tensor(chosen)


_SMALLER = (
    "You keep the larger of the two distances, or only that to the new row: every row keeps the smaller of "
    "what it had and its distance to the new row."
)


@farthest_rows.mistake(_SMALLER)
def _(features, labelled, k):
    return _one_by_one(features, labelled, k, torch.maximum)


@farthest_rows.mistake(_SMALLER)
def _(features, labelled, k):
    return _one_by_one(features, labelled, k, torch.maximum, taken=True)


@farthest_rows.mistake(_SMALLER)
def _(features, labelled, k):
    return _one_by_one(features, labelled, k, lambda nearest, new: new)


@farthest_rows.mistake(
    "The numbers count within the rows that have no label; return the numbers in `features`."
)
def _(features, labelled, k):
    chosen = farthest_rows.reference(features, labelled, k)
    rest = [row for row in range(len(features)) if row not in labelled.tolist()]
    return torch.tensor([rest.index(row) for row in chosen.tolist()])


@farthest_rows.mistake(
    "This is the distance to the mean of the known rows; a row is covered by the nearest of them."
)
def _(features, labelled, k):
    known, chosen = labelled.tolist(), []
    for _ in range(k):
        score = (features - features[known].mean(0)).norm(dim=1)
        score[known] = -torch.inf
        chosen.append(int(score.argmax()))
        known.append(chosen[-1])
    return torch.tensor(chosen)


@farthest_rows.mistake(
    "The minimum runs over the rows: each *known* row gets a distance. One number for each row of `features` "
    "is wanted, to the nearest known row."
)
def _(features, labelled, k):
    return _distances(features)[labelled].amin(1).argsort(descending=True)[:k]


@farthest_rows.mistake("Only the last chosen row counts as known from then on: the others stay known.")
def _(features, labelled, k):
    distance, chosen = _distances(features), []
    nearest = distance[:, labelled].amin(1)
    for _ in range(k):
        chosen.append(int(nearest.argmax()))
        nearest = distance[:, chosen[-1]].clone()
        nearest[labelled] = 0.0
        nearest[chosen] = 0.0
    return torch.tensor(chosen)


@farthest_rows.mistake(
    "The labelled rows are forgotten once the first row is chosen: distances are to all known rows."
)
def _(features, labelled, k):
    distance, chosen = _distances(features), [int(_distances(features)[:, labelled].amin(1).argmax())]
    for _ in range(k - 1):
        nearest = distance[:, chosen].amin(1)
        chosen.append(int(nearest.argmax()))
    return torch.tensor(chosen)


@farthest_rows.mistake("The features are used as they are; you bring each to mean 0 and spread 1 first.")
def _(features, labelled, k):
    return farthest_rows.reference((features - features.mean(0)) / features.std(0), labelled, k)


for _one in (slice(0, 1), slice(-1, None)):
    @farthest_rows.mistake("Only one of the labelled rows counts as known here; all of them are.")
    def _(features, labelled, k, one=_one):
        return farthest_rows.reference(features, labelled[one], k)


@farthest_rows.mistake("The row chosen first is left out: write down the farthest row before you go on.")
def _(features, labelled, k):
    return farthest_rows.reference(features, labelled, k + 1)[1:]


@farthest_rows.mistake("`k` counts the new rows; the labelled ones are not among them.")
def _(features, labelled, k):
    return farthest_rows.reference(features, labelled, max(1, k - len(labelled)))


@farthest_rows.mistake("These are products of the features; Euclidean distances are wanted.")
def _(features, labelled, k):
    nearest, chosen = -(features @ features[labelled].T).amax(1), []
    for _ in range(k):
        chosen.append(int(nearest.argmax()))
        nearest = torch.minimum(nearest, -features @ features[chosen[-1]])
    return torch.tensor(chosen)


@farthest_rows.mistake("These are angles (cosines); distances between the features are wanted.")
def _(features, labelled, k):
    return farthest_rows.reference(normalize(features), labelled, k)


@farthest_rows.mistake(
    "This is the L1 distance, the sum of absolute differences; the Euclidean one is wanted."
)
def _(features, labelled, k):
    return _greedy(features, labelled, k, lambda d: d.amin(1), torch.cdist(features, features, p=1))


@farthest_rows.mistake(
    "The rows are the right ones, sorted by their number: they stand in the order in which they were "
    "chosen."
)
def _(features, labelled, k):
    return farthest_rows.reference(features, labelled, k).sort().values


def _greedy(features, labelled, k, cover, distance=None):
    """Rows chosen one by one by the largest ``cover`` of their distances to the known ones."""
    distance = _distances(features) if distance is None else distance
    known, chosen = labelled.tolist(), []
    for _ in range(k):
        score = cover(distance[:, known])
        score[known] = -torch.inf
        chosen.append(int(score.argmax()))
        known.append(chosen[-1])
    return torch.tensor(chosen)


# 12.5 -------------------------------------------------------------------------------------------------------
@exercise("12.5", "The ceiling of what was declared equal", minutes=20, points=3, difficulty=4)
def invariant_ceiling(table, moves):
    count = table.shape[1]
    linked = torch.eye(count, dtype=torch.bool)  # (pictures, pictures)
    for move in moves:
        linked[torch.arange(count), move] = True
    linked = linked | linked.T
    for _ in range(count):  # chains of any length
        linked = linked.double() @ linked.double() > 0
    orbit = linked.int().argmax(dim=1)  # the first picture of each orbit stands for it
    best = torch.zeros((), dtype=table.dtype)
    for first in orbit.unique():
        inside = table[:, orbit == first]  # (labels, pictures of this orbit)
        best = best + inside.sum(dim=1).max()
    return best


@invariant_ceiling.cases
def _(draw):
    def one(labels, pictures, about):
        """Two moves that leave most pictures alone; one orbit is a chain that needs both of them."""
        table = draw.uniform(labels, pictures) ** 4
        order = draw.uniform(pictures).argsort()
        moves = torch.arange(pictures).repeat(2, 1)
        a, b, c, d, e, f = order[:6]
        moves[0, a], moves[1, b], moves[0, c], moves[1, e] = b, c, d, f
        moves[1, d] = c
        return case(table / table.sum(), moves, about=about)

    def forked(about):
        """Two moves lead away from a, to b and c; from d and e they lead to f; g, h, i are a chain."""
        table = draw.uniform(3, 10) ** 4
        a, b, c, d, e, f, g, h, i, _ = draw.uniform(10).argsort()
        moves = torch.arange(10).repeat(2, 1)
        moves[0, a], moves[1, a], moves[0, d], moves[1, e], moves[0, g], moves[1, h] = b, c, f, f, h, i
        return case(table / table.sum(), moves, about=about)

    later = ("rounds", "carry", "into one", "turned round")  # right on these chains, wrong on those below
    for labels, pictures in ((3, 8), (2, 7)):
        near = ("smaller of its own number", "after two steps", "same places", "you average their")
        draw_one = partial(one, labels, pictures, f"{pictures} pictures and two augmentations")
        yield _apart(invariant_ceiling, draw_one, later, near=near)
    both_ways = partial(forked, "10 pictures, and moves that part and that meet")
    yield telling(invariant_ceiling, both_ways, ("rounds", "after two steps"))
    # Numbers that are handed on in the order of the pictures, the smaller or the larger, go one step a round.
    long = torch.tensor([0, 2, 3, 4, 5, 6, 7, 8, 0, 10, 11, 12, 13, 14, 15, 16, 16])
    table = draw.uniform(3, 17)
    table[1] += 1.0  # the answer of whatever is left apart; the ends of the chains decide for all
    table[0, 0] += 30.0
    table[0, 16] += 30.0
    yield case(table / table.sum(), long[None], about="17 pictures in two long chains")
    table = draw.uniform(3, 4)
    still, turn = torch.arange(4)[None], torch.arange(4).roll(1)[None]
    yield case(table / table.sum(), still, about="an augmentation that changes nothing")
    yield case(table / table.sum(), turn, about="an augmentation that leads from each picture to the next")


def _links(table, moves, both_ways=True, steps=None):
    """bool (pictures, pictures): which are joined by a chain of so many steps."""
    count = table.shape[1]
    linked = torch.eye(count, dtype=torch.bool)
    for move in moves:
        linked[torch.arange(count), move] = True
    linked = linked | linked.T if both_ways else linked
    for _ in range(count.bit_length() if steps is None else steps):  # each doubles the length of a chain
        linked = linked.double() @ linked.double() > 0
    return linked


def _sums(table, moves, **how):
    """What each orbit holds, (labels, orbits)."""
    first = _links(table, moves, **how).int().argmax(1)
    number = first.unique(return_inverse=True)[1]
    return torch.zeros(len(table), int(number.max()) + 1, dtype=table.dtype).index_add(1, number, table)


@invariant_ceiling.mistake(
    "The maximum is taken picture by picture, before the orbit is added up: that is the ceiling of an "
    "encoder that keeps everything. Inside an orbit all pictures get one answer."
)
def _(table, moves):
    return table.amax(0).sum()


@invariant_ceiling.mistake(
    "This is the ceiling without any picture, the most frequent label: each orbit may have an answer of its"
    " own."
)
def _(table, moves):
    return table.sum(1).amax()


@invariant_ceiling.mistake(
    "Only the first augmentation counts here: they act together, and a chain may use them all."
)
def _(table, moves):
    return _sums(table, moves[:1]).amax(0).sum()


@invariant_ceiling.mistake(
    "Each augmentation has orbits of its own here, and you keep the lowest ceiling: together they join more"
    " pictures, along chains that change from one to the other."
)
def _(table, moves):
    return torch.stack([_sums(table, move[None]).amax(0).sum() for move in moves]).amin()


@invariant_ceiling.mistake(
    "Your chains end after one step: if a leads to b and b to c, all three are one orbit."
)
def _(table, moves):
    return _sums(table, moves, steps=0).amax(0).sum()


@invariant_ceiling.mistake(
    "Your chains end after two steps: they go on for as long as a move leads further."
)
def _(table, moves):
    return _sums(table, moves, steps=1).amax(0).sum()


def _added_up(table, number):
    """The ceiling for orbits given by a number, or a tuple, for each picture."""
    names = sorted(set(number))
    place = torch.tensor([names.index(one) for one in number])
    return torch.zeros(len(table), len(names), dtype=table.dtype).index_add(1, place, table).amax(0).sum()


@invariant_ceiling.mistake(
    "You put all moves into one, each after the other: every move may also be used alone, so a picture is "
    "joined with what each of them makes of it."
)
def _(table, moves):
    end = torch.arange(table.shape[1])
    for move in moves:
        end = move[end]
    return _sums(table, end[None]).amax(0).sum()


@invariant_ceiling.mistake(
    "Your chains run forwards and are only then turned round: two pictures that lead to the same third one "
    "are equal as well, so every single step runs both ways."
)
def _(table, moves):
    linked = _links(table, moves, both_ways=False)
    return _added_up(table, (linked | linked.T).int().argmax(1).tolist())


@invariant_ceiling.mistake(
    "You join the pictures that all moves lead to the same places; equal are a picture and what a move makes "
    "of it."
)
def _(table, moves):
    return _added_up(table, [tuple(column) for column in moves.T.tolist()])


@invariant_ceiling.mistake(
    "Each augmentation has orbits of its own here, and you average their ceilings: together they join more "
    "pictures, along chains that change from one to the other."
)
def _(table, moves):
    return torch.stack([_sums(table, move[None]).amax(0).sum() for move in moves]).mean()


@invariant_ceiling.mistake("These are the numbers of the best labels, added up; their probabilities are.")
def _(table, moves):
    return _sums(table, moves).argmax(0).sum().to(table.dtype)


def _handed_on(table, moves, rounds):
    orbit = list(range(table.shape[1]))
    for _ in range(rounds):
        for move in moves.tolist():
            for x, y in enumerate(move):
                orbit[x] = orbit[y] = min(orbit[x], orbit[y])
    number = torch.tensor(orbit).unique(return_inverse=True)[1]
    return torch.zeros(len(table), int(number.max()) + 1, dtype=table.dtype).index_add(1, number, table)


_ROUNDS = (
    "The numbers are handed on in too few rounds for a long chain: go on until nothing changes, or for as "
    "many rounds as there are pictures."
)


@invariant_ceiling.mistake(_ROUNDS)
def _(table, moves):
    return _handed_on(table, moves, 2).amax(0).sum()


@invariant_ceiling.mistake(_ROUNDS)
def _(table, moves):
    return _handed_on(table, moves, 3).amax(0).sum()


@invariant_ceiling.mistake(
    "You carry each picture's probability to its target: that goes forwards, one step a move. Find the "
    "orbits first, along chains in both directions."
)
def _(table, moves):
    for move in moves:
        table = torch.zeros_like(table).index_add(1, move, table)
    return table.amax(0).sum()


@invariant_ceiling.mistake(
    "You take the largest single entry of each orbit: add its pictures up first, label by label."
)
def _(table, moves):
    first = _links(table, moves).int().argmax(1)
    return torch.stack([table[:, first == one].amax() for one in first.unique()]).sum()


@invariant_ceiling.mistake(
    "Your chains run forwards only: what an augmentation turns into one another is equal, in both "
    "directions."
)
def _(table, moves):
    return _sums(table, moves, both_ways=False).amax(0).sum()


@invariant_ceiling.mistake(
    "Each picture takes the smaller of its own number and its target's, once: numbers have to be handed on "
    "along chains, forwards and backwards."
)
def _(table, moves):
    number = torch.arange(table.shape[1])
    for move in moves:
        number = torch.minimum(number, move)
    return torch.stack([table[:, number == one].sum(1).amax() for one in number.unique()]).sum()


@invariant_ceiling.mistake(
    "You average over the orbits: add them up; their weights are in the table already."
)
def _(table, moves):
    return _sums(table, moves).amax(0).mean()


@invariant_ceiling.mistake(
    "You divide each orbit by its own probability: then rare and frequent orbits weigh the same."
)
def _(table, moves):
    sums = _sums(table, moves)
    return (sums.amax(0) / sums.sum(0)).mean()


@invariant_ceiling.mistake("You divide each orbit by its own probability: it is in the table already.")
def _(table, moves):
    sums = _sums(table, moves)
    return (sums.amax(0) / sums.sum(0)).sum()


@invariant_ceiling.mistake("This is the error that is left; the accuracy is wanted.")
def _(table, moves):
    return 1 - _sums(table, moves).amax(0).sum()


@invariant_ceiling.mistake("The maximum runs over the orbits; it runs over the labels, once for each orbit.")
def _(table, moves):
    return _sums(table, moves).amax(1).sum()


@invariant_ceiling.mistake(
    "Each picture adds the best of its orbit, so an orbit of three counts three times: every orbit adds "
    "once."
)
def _(table, moves):
    linked = _links(table, moves).to(table.dtype)
    return (table @ linked).amax(0).sum()
