"""Right and wrong answers to lesson 12, as learners write them."""

import torch
from torch.nn import functional as F

# 12.1 two views


def views_by_loops(first, second, temperature):
    z = [v / v.norm() for v in (*first, *second)]
    total = 0
    for i in range(len(z)):
        scores = {j: z[i] @ z[j] / temperature for j in range(len(z)) if j != i}
        own = scores[(i + len(first)) % len(z)]
        total = total - torch.log(torch.exp(own) / sum(torch.exp(s) for s in scores.values()))
    return total / len(z)


def views_by_cross_entropy(first, second, temperature):
    z = F.normalize(torch.cat((first, second)), dim=-1)
    sim = (z @ z.T).div(temperature)
    sim = sim - torch.diag_embed(torch.full((len(z),), 1e12, dtype=z.dtype))
    return F.cross_entropy(sim, (torch.arange(len(z)) + len(first)) % len(z))


def _views(hide=True, value=-1e9, unit=True, partner=None, reduction="mean", divide=True):
    def two_views_loss(first, second, temperature):
        z = torch.cat([first, second])
        z = F.normalize(z, dim=1) if unit else z
        sim = z @ z.t()
        sim = sim / temperature if divide else sim * temperature
        if hide:
            sim = sim.masked_fill(torch.eye(len(z)).bool(), value)
        target = partner(len(first)) if partner else torch.arange(len(z)).roll(len(first))
        return F.cross_entropy(sim, target, reduction=reduction)
    return two_views_loss


def views_one_way(first, second, temperature):
    a, b = F.normalize(first, dim=1), F.normalize(second, dim=1)
    return F.cross_entropy(a @ b.T / temperature, torch.arange(len(a)))


def views_clip(first, second, temperature):
    a, b = F.normalize(first, dim=1), F.normalize(second, dim=1)
    sim, own = a @ b.T / temperature, torch.arange(len(a))
    return (F.cross_entropy(sim, own) + F.cross_entropy(sim.T, own)) / 2


def views_in_turns(first, second, temperature):
    z = F.normalize(torch.stack([first, second], 1).flatten(0, 1), dim=1)
    sim = (z @ z.T / temperature).fill_diagonal_(-1e9)
    return F.cross_entropy(sim, torch.arange(len(z)).roll(len(first)))


def views_with(of, unit=lambda z: F.normalize(z, dim=1)):
    """of(logits with −∞ on the diagonal, place of each view's partner, vectors, temperature)."""
    def two_views_loss(first, second, temperature):
        z = unit(torch.cat([first, second]))
        sim = (z @ z.T / temperature).masked_fill(torch.eye(len(z)).bool(), -torch.inf)
        return of(sim, torch.arange(len(z)).roll(len(first)), z, temperature)
    return two_views_loss


def _own(sim, partner):
    return sim[torch.arange(len(sim)), partner]


def views_by_distance(first, second, temperature):
    z = F.normalize(torch.cat([first, second]), dim=1)
    sim = (-torch.cdist(z, z) / temperature).masked_fill(torch.eye(len(z)).bool(), -torch.inf)
    return F.cross_entropy(sim, torch.arange(len(z)).roll(len(first)))


# 12.2 fixmatch


def fixmatch_by_loop(strong_logits, weak_logits, threshold):
    total = strong_logits.sum() * 0
    for strong, weak in zip(strong_logits, weak_logits, strict=True):
        p = torch.softmax(weak, 0)
        if p.max() >= threshold:
            total = total - torch.log_softmax(strong, 0)[p.argmax()]
    return total / len(strong_logits)


def fixmatch_by_where(strong_logits, weak_logits, threshold):
    with torch.no_grad():
        sure, label = torch.softmax(weak_logits, dim=-1).max(dim=-1)
    each = F.cross_entropy(strong_logits, label, reduction="none")
    return torch.where(sure >= threshold, each, torch.zeros_like(each)).mean()


def _fix(mask=lambda sure: sure, over=lambda each, sure: each.mean(), target=None, swap=False):
    def fixmatch_loss(strong_logits, weak_logits, threshold):
        s, w = (weak_logits, strong_logits) if swap else (strong_logits, weak_logits)
        p = w.detach().softmax(1)
        sure = (p.max(1).values >= threshold).double()
        label = p.argmax(1) if target is None else target(s, p)
        return over(mask(sure) * F.cross_entropy(s, label, reduction="none"), sure)
    return fixmatch_loss


def fixmatch_sees_logits(strong_logits, weak_logits, threshold):
    top, label = weak_logits.detach().max(1)
    return ((top >= threshold) * F.cross_entropy(strong_logits, label, reduction="none")).mean()


def fixmatch_strict(strong_logits, weak_logits, threshold):
    sure, label = weak_logits.detach().softmax(1).max(1)
    return ((sure > threshold) * F.cross_entropy(strong_logits, label, reduction="none")).mean()


def fixmatch_every_class(strong_logits, weak_logits, threshold):
    sure = (weak_logits.detach().softmax(1) >= threshold).double()
    return -(sure * strong_logits.log_softmax(1)).sum(1).mean()


def fixmatch_zeroed(strong_logits, weak_logits, threshold):
    top, label = weak_logits.detach().softmax(1).max(1)
    return F.cross_entropy(torch.where((top >= threshold)[:, None], strong_logits, 0.0), label)


def fixmatch_of_margins(strong_logits, weak_logits, threshold):
    best = weak_logits.detach().softmax(1).topk(2, dim=1)
    each = F.cross_entropy(strong_logits, best.indices[:, 0], reduction="none")
    return (each * (best.values[:, 0] - best.values[:, 1] >= threshold)).mean()


def fixmatch_both_sure(strong_logits, weak_logits, threshold):
    top, label = weak_logits.detach().softmax(1).max(1)
    sure = (top >= threshold) & (strong_logits.detach().softmax(1).amax(1) >= threshold)
    return (F.cross_entropy(strong_logits, label, reduction="none") * sure).mean()


# 12.3 margins


def doubtful_by_topk(probabilities, k):
    two = probabilities.topk(2, dim=1).values
    return (two[:, 1] - two[:, 0]).topk(k).indices


def doubtful_by_list(probabilities, k):
    def margin(row):
        best, second = sorted(probabilities[row].tolist())[-1:-3:-1]
        return best - second
    return torch.tensor(sorted(range(len(probabilities)), key=margin)[:k])


# 12.4 k-centre


def centre_by_loops(features, labelled, k):
    known, chosen = labelled.tolist(), []
    for _ in range(k):
        best = max((row for row in range(len(features)) if row not in known),
                   key=lambda row: min(float((features[row] - features[j]).norm()) for j in known))
        known.append(best)
        chosen.append(best)
    return torch.tensor(chosen)


def centre_by_cdist(features, labelled, k):
    near = torch.cdist(features, features[labelled]).amin(1)
    chosen = torch.empty(k, dtype=torch.int64)
    for turn in range(k):
        chosen[turn] = near.argmax()
        near = near.minimum(torch.cdist(features, features[chosen[turn]][None])[:, 0])
    return chosen


def _centre(cover):
    def k_centre(features, labelled, k):
        known, chosen = labelled.tolist(), []
        for _ in range(k):
            score = cover(torch.cdist(features, features[known]))
            score[known] = -9e9
            chosen.append(int(score.argmax()))
            known.append(chosen[-1])
        return torch.tensor(chosen)
    return k_centre


def _centre_kept(keep, taken=False):
    def k_centre(features, labelled, k):
        near, chosen = torch.cdist(features, features[labelled]).amin(1), []
        for _ in range(k):
            row = int(near.argmax())
            chosen.append(row)
            near = keep(near, torch.cdist(features, features[row : row + 1])[:, 0])
            if taken:
                near[row] = 0
        return torch.tensor(chosen)
    return k_centre


def centre_in_the_rest(features, labelled, k):
    free = torch.ones(len(features), dtype=torch.bool)
    free[labelled] = False
    rest, chosen = features[free], []
    near = torch.cdist(rest, features[labelled]).amin(1)
    for _ in range(k):
        row = int(near.argmax())
        chosen.append(row)
        near = torch.minimum(near, torch.cdist(rest, rest[row : row + 1])[:, 0])
    return torch.tensor(chosen)


def centre_from_the_mean(features, labelled, k):
    known = labelled.tolist()
    for _ in range(k):
        far = (features - features[known].mean(0)).norm(dim=1)
        far[known] = -1
        known.append(int(far.argmax()))
    return torch.tensor(known[len(labelled) :])


# 12.5 the ceiling


def _ceiling_of(table, orbit):
    return sum(table[:, orbit == one].sum(1).max() for one in orbit.unique())


def ceiling_in_rounds(rounds):
    def ceiling(table, moves):
        orbit = torch.arange(table.shape[1])
        for _ in range(rounds):
            for move in moves:
                for x, y in enumerate(move.tolist()):
                    orbit[x] = orbit[y] = min(int(orbit[x]), int(orbit[y]))
        return _ceiling_of(table, orbit)
    return ceiling


def ceiling_until_still(table, moves):
    orbit, before = torch.arange(table.shape[1]), None
    while before is None or not torch.equal(before, orbit):
        before = orbit.clone()
        for move in moves:
            for x, y in enumerate(move.tolist()):
                orbit[x] = orbit[y] = min(int(orbit[x]), int(orbit[y]))
    return _ceiling_of(table, orbit)


def ceiling_one_target(table, moves):
    orbit = torch.arange(table.shape[1])
    for move in moves:
        orbit = torch.minimum(orbit, move)
    return _ceiling_of(table, orbit)


def ceiling_carried(table, moves):
    for move in moves:
        table = torch.zeros_like(table).index_add(1, move, table)
    return table.amax(0).sum()


def _orbits(table, moves):
    orbit = torch.arange(table.shape[1])
    for _ in range(table.shape[1]):
        for move in moves:
            low = torch.minimum(orbit, orbit[move])
            orbit = torch.minimum(orbit, low).scatter_reduce(0, move, low, "amin")
    return orbit


def ceiling_largest_entry(table, moves):
    orbit = _orbits(table, moves)
    return sum(table[:, orbit == one].max() for one in orbit.unique())


def ceiling_by_union(table, moves):
    leader = list(range(table.shape[1]))

    def find(x):
        while leader[x] != x:
            x = leader[x]
        return x

    for move in moves.tolist():
        for x, y in enumerate(move):
            leader[find(x)] = find(y)
    found = {}
    for x in range(table.shape[1]):
        found[find(x)] = found.get(find(x), 0) + table[:, x]
    return sum(column.max() for column in found.values())


def ceiling_by_least(table, moves):
    orbit = torch.arange(table.shape[1])
    for _ in range(table.shape[1]):
        for move in moves:
            low = torch.minimum(orbit, orbit[move])
            orbit = torch.minimum(orbit, low)
            orbit = orbit.scatter_reduce(0, move, low, "amin")
    return (table @ F.one_hot(orbit).to(table.dtype)).amax(0).sum()


def _orbit_sums(table, moves):
    orbit = _orbits(table, moves)
    return (table @ F.one_hot(orbit).double())[:, orbit.unique()]


def ceiling_one_step(table, moves):
    orbit = torch.arange(table.shape[1])
    for move in moves:
        orbit = torch.minimum(orbit, orbit[move])
    return (table @ F.one_hot(orbit).double()).amax(0).sum()


def ceiling_of_one_move(table, moves):
    end = torch.arange(table.shape[1])
    for move in moves:
        end = move[end]
    return ceiling_by_union(table, end[None])


def ceiling_turned_round_at_the_end(table, moves):
    n = table.shape[1]
    step = torch.eye(n, dtype=torch.float64)
    for move in moves:
        step[torch.arange(n), move] = 1
    reached = torch.linalg.matrix_power(step, n) > 0
    return _ceiling_of(table, (reached | reached.T).double().argmax(1))


def ceiling_two_steps(table, moves):
    n = table.shape[1]
    step = torch.eye(n, dtype=torch.float64)
    for move in moves:
        step[torch.arange(n), move] = step[move, torch.arange(n)] = 1
    return _ceiling_of(table, (step @ step > 0).double().argmax(1))


def ceiling_of_equal_targets(table, moves):
    found = {}
    for x, column in enumerate(moves.T.tolist()):
        found[tuple(column)] = found.get(tuple(column), 0) + table[:, x]
    return sum(one.max() for one in found.values())


RIGHT = {
    "12.1": [views_by_loops, views_by_cross_entropy],
    "12.2": [fixmatch_by_loop, fixmatch_by_where],
    "12.3": [doubtful_by_topk, doubtful_by_list],
    "12.4": [centre_by_loops, centre_by_cdist],
    "12.5": [ceiling_by_union, ceiling_by_least, ceiling_until_still],
}
WRONG = {
    "12.1": [
        (_views(hide=False), "diagonal is not masked"),
        (_views(value=0.0), "the diagonal to 0"),
        (_views(unit=False), "length 1"),
        (views_clip, "2n − 1"),
        (_views(partner=lambda n: torch.arange(2 * n).view(-1, 2).flip(1).flatten()), "n rows further on"),
        (_views(partner=lambda n: torch.arange(2 * n).roll(1)), "is the next row"),
        (_views(hide=False, partner=lambda n: torch.arange(2 * n)), "row i itself"),
        (views_in_turns, "stand in turns"),
        (views_one_way, "in one direction"),
        (_views(divide=False), "divided by it"),
        (lambda a, b, t: views_by_cross_entropy(a, b, 1.0), "temperature is missing"),
        (_views(reduction="sum"), "mean is wanted"),
        (lambda a, b, t: 2 * views_by_loops(a, b, t), "divide"),
        (views_with(lambda sim, p, z, t: F.cross_entropy(sim.softmax(1), p)), "a second time"),
        (views_with(lambda sim, p, z, t: (sim.exp().sum(1) - _own(sim, p)).mean()), "logarithm is missing"),
        (views_with(lambda sim, p, z, t: (sim.exp().mean(1).log() - _own(sim, p)).mean()), "take their mean"),
        (views_with(lambda sim, p, z, t: 1 - _own(sim.softmax(1), p).mean()), "1 − the share"),
        (views_with(lambda sim, p, z, t: (sim.logsumexp(1) - (z * z[p]).sum(1)).mean()), "partner's and all"),
        (views_with(lambda sim, p, z, t: F.cross_entropy(sim, torch.arange(len(p)))), "loss is infinite"),
        (lambda a, b, t: _views(unit=False)(F.normalize(a, dim=1), b, t), "one of the two blocks"),
        (views_by_distance, "These are distances"),
        (lambda a, b, t: (-views_by_loops(a, b, t)), "sign"),
        (lambda a, b, t: views_by_cross_entropy(a.detach(), b, t), "first"),
    ],
    "12.2": [
        (_fix(over=lambda each, sure: each.sum() / sure.sum().clamp(min=1)), "divides by all rows"),
        (_fix(mask=lambda sure: 1), "Every row counts"),
        (_fix(mask=lambda sure: 1 - sure), "wrong side"),
        (_fix(swap=True), "exchanged"),
        (_fix(target=lambda s, p: s.argmax(1)), "own favourite"),
        (_fix(target=lambda s, p: p), "hard label"),
        (fixmatch_sees_logits, "softmax first"),
        (fixmatch_strict, "exactly the threshold"),
        (fixmatch_every_class, "Every class at or above"),
        (fixmatch_zeroed, "the log of the number of classes"),
        (fixmatch_both_sure, "the strong view as well"),
        (fixmatch_of_margins, "its distance to the second"),
        (_fix(over=lambda each, sure: (sure * (1 - (-each).exp())).mean()), "1 − the probability"),
        (_fix(over=lambda each, sure: each.sum()), "mean over all rows"),
        (lambda s, w, t: fixmatch_by_loop(s.detach(), w, t), "gradient"),
    ],
    "12.3": [
        (lambda p, k: doubtful_by_topk(p, len(p)).flip(0)[:k], "surest"),
        (lambda p, k: doubtful_by_topk(p, len(p))[-k:], "last k rows"),
        (lambda p, k: p.topk(3, 1).values.diff(dim=1)[:, 1].neg().argsort()[:k], "with the third"),
        (lambda p, k: p.max(1).values.topk(k, largest=False).indices, "least confidence"),
        (lambda p, k: torch.special.entr(p).sum(1).topk(k).indices, "entropy"),
        (lambda p, k: (p.amax(1) - p.amin(1)).argsort()[:k], "least likely"),
        (lambda p, k: (p[:, 0] - p[:, 1]).abs().argsort()[:k], "class 0 with class 1"),
        (lambda p, k: doubtful_by_topk(p, k).sort().values, "sorted by their number"),
        (lambda p, k: p.sort(1).values[:, :2].diff(dim=1)[:, 0].argsort()[:k], "two *least* likely"),
        (lambda p, k: doubtful_by_topk(p, len(p))[1 : k + 1], "is left out"),
        (lambda p, k: p.square().sum(1).argsort()[:k], "sum of squares"),
        (lambda p, k: (p.amax(1) - 0.5).abs().argsort()[:k], "from one half"),
        (lambda p, k: p.topk(2, 1).indices.diff(dim=1)[:, 0].abs().argsort()[:k], "*numbers* of the two"),
        (lambda p, k: p.argmax(1)[doubtful_by_topk(p, k)], "likeliest classes of those rows"),
        (lambda p, k: doubtful_by_topk(p, k).flip(0), "wrong order"),
    ],
    "12.4": [
        (lambda f, known, k: torch.cdist(f, f[known]).amin(1).argsort(descending=True)[:k], "never updated"),
        (_centre(lambda d: d.mean(1)), "mean distance"),
        (_centre(lambda d: d.amax(1)), "farthest of the known"),
        (_centre(lambda d: -d.amin(1)), "nearest row"),
        (_centre_kept(torch.maximum), "keeps the smaller"),
        (_centre_kept(torch.maximum, taken=True), "keeps the smaller"),
        (_centre_kept(lambda near, new: new), "keeps the smaller"),
        (centre_in_the_rest, "within the rows that have no label"),
        (centre_from_the_mean, "mean of the known rows"),
        (lambda f, known, k: torch.cdist(f[known], f).amin(1).topk(min(k, len(known))).indices,
         "minimum runs over the rows"),
        (lambda f, known, k: centre_by_cdist(F.normalize(f, dim=1), known, k), "cosines"),
        (lambda f, known, k: centre_by_loops(f, known, k).sort().values, "sorted by their number"),
        (lambda f, known, k: centre_by_cdist((f - f.mean(0)) / f.std(0), known, k), "mean 0 and spread 1"),
        (lambda f, known, k: centre_by_cdist(f, known[-1:], k), "one of the labelled rows"),
        (lambda f, known, k: centre_by_cdist(f, known, k + 1)[1:], "chosen first is left out"),
        (lambda f, known, k: centre_by_cdist(f, known, max(1, k - len(known))), "counts the new rows"),
    ],
    "12.5": [
        (lambda t, m: t.max(0).values.sum(), "picture by picture"),
        (lambda t, m: t.sum(1).max(), "without any picture"),
        (lambda t, m: ceiling_by_union(t, m[:1]), "first augmentation"),
        (lambda t, m: min(ceiling_by_union(t, one[None]) for one in m), "orbits of its own"),
        (ceiling_in_rounds(2), "too few rounds"),
        (ceiling_in_rounds(3), "too few rounds"),
        (ceiling_in_rounds(6), "two long chains"),
        (ceiling_one_target, "handed on along chains"),
        (ceiling_of_one_move, "all moves into one"),
        (ceiling_turned_round_at_the_end, "turned round"),
        (ceiling_two_steps, "after two steps"),
        (ceiling_of_equal_targets, "to the same places"),
        (lambda t, m: sum(ceiling_by_union(t, one[None]) for one in m) / len(m), "average their ceilings"),
        (lambda t, m: _orbit_sums(t, m).argmax(0).sum().double(), "numbers of the best labels"),
        (lambda t, m: (_orbit_sums(t, m).amax(0) / _orbit_sums(t, m).sum(0)).sum(), "in the table already"),
        (ceiling_carried, "to its target"),
        (ceiling_largest_entry, "largest single entry"),
        (lambda t, m: _orbit_sums(t, m).amax(0).mean(), "average over the orbits"),
        (lambda t, m: (_orbit_sums(t, m).amax(0) / _orbit_sums(t, m).sum(0)).mean(), "weigh the same"),
        (lambda t, m: 1 - ceiling_by_union(t, m), "the error"),
        (lambda t, m: _orbit_sums(t, m).amax(1).sum(), "over the labels"),
    ],
}
