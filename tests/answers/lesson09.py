"""Right and wrong answers to lesson 09, as learners write them."""

import math

import torch
from torch.nn import functional as F

# 09.1 two-weight gradient flow


def _root(total, time):
    low, high = 0.0, total * time + 1.0
    for _ in range(200):
        middle = (low + high) / 2
        if middle + torch.tensor(middle, dtype=torch.float64).exp().item() < 1 + total * time:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def weights_by_bisection(strengths, time):
    total = float((strengths**2).sum())
    return strengths / total * _root(total, time)


def weights_by_fixed_point(strengths, time):
    """m ← log(1 + S t − m), which contracts wherever it starts below."""
    total = strengths.square().sum()
    m = torch.zeros((), dtype=torch.float64)
    for _ in range(4000):
        m = (m + torch.log1p((total * time - m).clamp(min=0))) / 2
    return m / total * strengths


def _weights(total=lambda s: float((s**2).sum()), root=_root, share=lambda s: s / (s**2).sum()):
    return lambda strengths, time: share(strengths) * root(total(strengths), time)


def weights_alone(strengths, time):
    return torch.stack([s / s**2 * _root(float(s**2), time) for s in strengths])


def weights_in_steps(strengths, time):
    """Euler's method."""
    weights, dt = torch.zeros_like(strengths), time / 1000
    for _ in range(1000):
        weights = weights + dt * strengths * torch.sigmoid(-(strengths * weights).sum())
    return weights


def weights_broken_off(strengths, time):
    total = float((strengths**2).sum())
    m = math.log1p(total * time)
    for _ in range(2):
        m -= (m + math.exp(m) - 1 - total * time) / (1 + math.exp(m))
    return m / total * strengths


def weights_half_halved(strengths, time):
    """A bisection broken off."""
    total = float((strengths**2).sum())
    low, high = 0.0, math.log(1 + total * time)
    for _ in range(20):
        middle = 0.5 * (low + high)
        if middle + math.exp(middle) - 1 - total * time < 0:
            low = middle
        else:
            high = middle
    return (low + high) / 2 * strengths / total


def weights_by_p(strengths, time):
    """The residual p, so that m − e^(−m) = S t − 1."""
    def root(total, time):
        low, high = 0.0, total * time + 1
        for _ in range(200):
            m = (low + high) / 2
            low, high = (m, high) if m - math.exp(-m) < total * time - 1 else (low, m)
        return m
    return _weights(root=root)(strengths, time)


# 09.2 auxiliary losses


def own_by_cross_entropy(image, text, labels, weight):
    return F.cross_entropy(image + text, labels) + weight * (
        F.cross_entropy(image, labels) + F.cross_entropy(text, labels)
    )


def own_by_nll(image, text, labels, weight):
    def cost(z):
        return F.nll_loss(z.log_softmax(-1), labels)

    return sum(w * cost(z) for w, z in ((1.0, text + image), (weight, text), (weight, image)))


def _own(joint=1.0, image=None, text=None, mix=torch.add):
    def with_own_losses(i, t, labels, weight):
        a, b = (weight if w is None else w(weight) for w in (image, text))
        total = joint * F.cross_entropy(mix(i, t), labels)
        return total + a * F.cross_entropy(i, labels) + b * F.cross_entropy(t, labels)
    return with_own_losses


def own_unstable(image, text, labels, weight):
    def cost(z):
        return -(z.exp() / z.exp().sum(1, keepdim=True))[range(len(labels)), labels].log().mean()
    return cost(image + text) + weight * (cost(image) + cost(text))


def own_with_a_small_number(image, text, labels, weight):
    def cost(z):
        return -torch.log(z.softmax(1)[range(len(labels)), labels] + 1e-8).mean()
    return cost(image + text) + weight * (cost(image) + cost(text))


# 09.3 the brake


def brake_by_loop(image, text, labels, alpha):
    sure = [sum(F.softmax(z, dim=1)[k, y] for k, y in enumerate(labels.tolist())) for z in (image, text)]
    factors = []
    for one, other in ((0, 1), (1, 0)):
        ratio = sure[one] / sure[other]
        factors.append(1 - torch.tanh(alpha * ratio) if ratio > 1 else torch.ones((), dtype=ratio.dtype))
    return torch.stack(factors)


def brake_by_means(image, text, labels, alpha):
    rows = torch.arange(len(labels))
    p_image = image.softmax(1)[rows, labels].mean()
    p_text = text.softmax(1)[rows, labels].mean()
    rho = torch.stack([p_image / p_text, p_text / p_image])
    return torch.where(rho > 1, 1 - (alpha * rho).tanh(), torch.ones_like(rho))


def _braked(sure=lambda z, y: z.softmax(1)[range(len(y)), y].sum(),
            formula=lambda a, r: 1 - torch.tanh(a * r), which=lambda r: r > 1):
    def brake(image, text, labels, alpha):
        a, b = sure(image, labels), sure(text, labels)
        ratio = torch.stack([a / b, b / a])
        return torch.where(which(ratio), formula(alpha, ratio), torch.ones_like(ratio))
    return brake


def brake_loser(image, text, labels, alpha):
    return brake_by_loop(text, image, labels, alpha)


def brake_by_if(image, text, labels, alpha):
    """Two ways to the same probability: where they are equal, neither is braked."""
    p = image.softmax(-1).gather(1, labels[:, None]).mean()
    q = torch.log_softmax(text, 1).exp().gather(1, labels.view(-1, 1)).mean()
    one = torch.ones_like(p)
    return torch.stack([1 - torch.tanh(alpha * p / q) if p > q else one,
                        1 - torch.tanh(alpha * q / p) if q > p else one])


def brake_to_zero(image, text, labels, alpha):
    factors = brake_by_loop(image, text, labels, alpha)
    return torch.where(factors < 1, factors, torch.zeros_like(factors))


def _chances(image, text, labels):
    return (z.softmax(1).gather(1, labels[:, None]).squeeze(1) for z in (image, text))


def brake_of_a_share(image, text, labels, alpha):
    p, q = (x.sum() for x in _chances(image, text, labels))
    share = torch.stack([p, q]) / (p + q)
    return torch.where(share > 0.5, 1 - torch.tanh(alpha * share), 1.0)


def brake_of_a_difference(image, text, labels, alpha):
    p, q = (x.mean() for x in _chances(image, text, labels))
    lead = torch.stack([p - q, q - p])
    return torch.where(lead > 0, 1 - torch.tanh(alpha * lead), 1.0)


def brake_of_each_row(image, text, labels, alpha):
    p, q = _chances(image, text, labels)
    rho = torch.stack([p / q, q / p])
    return torch.where(rho > 1, 1 - torch.tanh(alpha * rho), 1.0).mean(1)


def brake_of_the_image(image, text, labels, alpha):
    p, q = (x.sum() for x in _chances(image, text, labels))
    one = torch.ones_like(p)
    return torch.stack([1 - torch.tanh(alpha * p / q) if p > q else one, one])


# 09.4 the angle


def _vectors(joint, alone):
    pairs = list(zip(joint, alone, strict=True))
    a = torch.cat([(torch.zeros_like(y) if x is None else x).flatten() for x, y in pairs])
    b = torch.cat([(torch.zeros_like(x) if y is None else y).flatten() for x, y in pairs])
    return a, b


def angle_by_cosine_similarity(joint, alone):
    a, b = _vectors(joint, alone)
    return torch.stack([F.cosine_similarity(a, b, dim=0), a.norm() / b.norm()])


def angle_by_hand(joint, alone):
    dot = sum((x * y).sum() for x, y in zip(joint, alone, strict=True) if x is not None and y is not None)
    n, m = (torch.sqrt(sum(x.pow(2).sum() for x in side if x is not None)) for side in (joint, alone))
    return torch.stack([dot / n / m, n / m])


def _seen(change):
    def angle(joint, alone):
        return change(*_vectors(joint, alone))
    return angle


def angle_of_the_common(joint, alone):
    both = [(x, y) for x, y in zip(joint, alone, strict=True) if x is not None and y is not None]
    return angle_by_hand([x for x, _ in both], [y for _, y in both])


def angle_mean(joint, alone):
    both = [(x, y) for x, y in zip(joint, alone, strict=True) if x is not None and y is not None]
    cosines = [F.cosine_similarity(x.flatten(), y.flatten(), dim=0) for x, y in both]
    return torch.stack([sum(cosines) / len(cosines), angle_by_hand(joint, alone)[1]])


def angle_l1(joint, alone):
    a, b = _vectors(joint, alone)
    return torch.stack([a @ b / a.norm(1) / b.norm(1), a.norm(1) / b.norm(1)])


def angle_mean_ratio(joint, alone):
    both = [(x, y) for x, y in zip(joint, alone, strict=True) if x is not None and y is not None]
    ratios = [x.norm() / y.norm() for x, y in both]
    return torch.stack([angle_by_hand(joint, alone)[0], sum(ratios) / len(ratios)])


def angle_by_size(joint, alone):
    both = [(x, y) for x, y in zip(joint, alone, strict=True) if x is not None and y is not None]
    dots = [F.cosine_similarity(x.flatten(), y.flatten(), dim=0) * x.numel() for x, y in both]
    return torch.stack([sum(dots) / sum(x.numel() for x, _ in both), angle_by_hand(joint, alone)[1]])


def angle_until_none(joint, alone):
    reached = []
    for x, y in zip(joint, alone, strict=True):
        if x is None or y is None:
            break
        reached.append((x, y))
    return angle_by_hand([x for x, _ in reached], [y for _, y in reached])


def _angle_where(side):
    """Leaves a parameter out of both where this side is None."""
    def angle(joint, alone):
        kept = [pair for pair in zip(joint, alone, strict=True) if pair[side] is not None]
        return angle_by_hand([x for x, _ in kept], [y for _, y in kept])
    return angle


def angle_of_means(joint, alone):
    n, m = (torch.cat([x.flatten() for x in side if x is not None]).pow(2).mean().sqrt()
            for side in (joint, alone))
    return torch.stack([angle_by_hand(joint, alone)[0], n / m])


# 09.5 the law of starvation


def starved_by_potential(gain, start, ratio, depth):
    """Through the function whose change is the integral of s r dt: log u, or u^(2−L) / (2−L)."""
    start = torch.tensor(start, dtype=torch.float64)
    if depth == 2:
        return torch.exp(start.log() + ratio * (gain.log() - start.log()))
    k = 2 - depth
    level = start**k / k + ratio * (gain**k / k - start**k / k)
    return (level * k) ** (1 / k)


def starved_by_cases(gain, start, ratio, depth):
    if depth == 1:
        return start + ratio * (gain - start)
    if depth == 2:
        return start * torch.pow(gain / start, ratio)
    inverse = (1 - ratio) / start ** (depth - 2) + ratio / gain ** (depth - 2)
    return (1 / inverse) ** (1 / (depth - 2))


def starved_not_added(gain, start, ratio, depth):
    if depth == 2:
        return start * (gain / start) ** ratio
    return (ratio * (gain ** (2 - depth) - start ** (2 - depth))) ** (1 / (2 - depth))


def starved_turned(gain, start, ratio, depth):
    if depth == 2:
        return start * (gain / start) ** ratio
    return (start ** (depth - 2) + ratio * (gain ** (depth - 2) - start ** (depth - 2))) ** (1 / (depth - 2))


def starved_outer(gain, start, ratio, depth):
    if depth == 2:
        return start * (gain / start) ** ratio
    return (start ** (2 - depth) + ratio * (gain ** (2 - depth) - start ** (2 - depth))) ** (1 / depth)


RIGHT = {
    "09.1": [weights_by_bisection, weights_by_fixed_point],
    "09.2": [own_by_cross_entropy, own_by_nll],
    "09.3": [brake_by_loop, brake_by_means, brake_by_if],
    "09.4": [angle_by_cosine_similarity, angle_by_hand],
    "09.5": [starved_by_potential, starved_by_cases],
}
WRONG = {
    "09.1": [
        (weights_alone, "train alone"),
        (_weights(total=lambda s: float(s.sum()), share=lambda s: s / s.sum()), "sum of the squared"),
        (_weights(share=lambda s: s**2 / (s**2).sum()), "margins s·w"),
        (lambda s, t: s * t / 2, "residual at ½"),
        (lambda s, t: s / (s**2).sum() * torch.log1p((s**2).sum() * t), "e^m alone"),
        (_weights(share=lambda s: s), "not divided by S"),
        (_weights(share=lambda s: 1 / s / len(s)), "evenly"),
        (_weights(share=lambda s: torch.ones_like(s) / s.sum()), "strengths themselves"),
        (weights_in_steps, "small steps are not nine digits"),
        (weights_broken_off, "Newton broken off after two steps is not nine digits"),
        (weights_half_halved, "20 halvings are not nine digits"),
        (lambda s, t: s * t, "residual out"),
        (_weights(share=lambda s: torch.ones_like(s) / (s**2).sum()), "All weights are equal"),
        (_weights(total=lambda s: float(s.norm()), share=lambda s: s / s.norm()), "not its root"),
        (_weights(share=lambda s: 1 / s), "strengths alone"),
        (weights_by_p, "upside down"),
    ],
    "09.2": [
        (lambda i, t, y, w: F.cross_entropy(i + t, y), "only the first"),
        (_own(joint=0.0), "joint loss is missing"),
        (_own(mix=lambda i, t: (i + t) / 2), "mean of the logits"),
        (_own(text=lambda w: 0.0), "text branch has no loss"),
        (_own(image=lambda w: 0.0), "image branch has no loss"),
        (_own(image=lambda w: 1 - w), "split the weight"),
        (lambda i, t, y, w: own_by_nll(i, t, y, 1.0), "weight is missing"),
        (lambda i, t, y, w: own_by_nll(i, t, y, w) * len(y), "add the rows up"),
        (lambda i, t, y, w: own_by_nll(i, t, y, w / 2), "average the two"),
        (lambda i, t, y, w: -own_by_nll(i, t, y, w), "sign"),
        (lambda i, t, y, w: w * own_by_nll(i, t, y, 1.0), "weight the joint loss as well"),
        (lambda i, t, y, w: own_by_nll(i, t, y, w) + w * F.cross_entropy(i + t, y), "1 + λ times"),
        (lambda i, t, y, w: F.cross_entropy(t + i, y) + w * max(F.cross_entropy(i, y), F.cross_entropy(t, y)),
         "larger of the branches'"),
        (_own(text=lambda w: 1.0), "parentheses are missing"),
        (_own(image=lambda w: 1.0), "before the text's loss only"),
        (lambda i, t, y, w: own_by_nll(i, t, y, w) / (1 + 2 * w), "sum of the weights"),
        (lambda i, t, y, w: own_by_nll(i, t, y, w * len(y)), "in the branches' own losses"),
        (own_with_a_small_number, "small number"),
        (own_unstable, "large"),
        (lambda i, t, y, w: own_by_nll(i.detach(), t, y, w), "image"),
    ],
    "09.3": [
        (brake_loser, "exchanged"),
        (_braked(which=lambda r: r < 9e9), "Both branches"),
        (_braked(formula=lambda a, r: torch.tanh(a * r)), "itself"),
        (_braked(formula=lambda a, r: 1 - torch.tanh(a * (r - 1))), "above 1"),
        (_braked(formula=lambda a, r: 1 - torch.tanh(r)), "α is missing"),
        (_braked(formula=lambda a, r: 1 - a * torch.tanh(r)), "before the tanh"),
        (_braked(sure=lambda z, y: z.softmax(1).max(1).values.sum()), "largest probability"),
        (_braked(sure=lambda z, y: z.softmax(0)[range(len(y)), y].sum()), "over the rows"),
        (_braked(sure=lambda z, y: z[range(len(y)), y].sum()), "raw logits"),
        (_braked(formula=lambda a, r: r, which=lambda r: r < 9e9), "two ratios"),
        (_braked(which=lambda r: r >= 1), "nobody is ahead"),
        (_braked(sure=lambda z, y: z.sigmoid()[range(len(y)), y].sum()), "sigmoid of each logit"),
        (_braked(sure=lambda z, y: z.exp()[range(len(y)), y].sum()), "e to the logits"),
        (_braked(formula=lambda a, r: 1 - math.tanh(a) * r), "outside the tanh"),
        (_braked(sure=lambda z, y: z.log_softmax(1)[range(len(y)), y].mean().exp()), "average logarithms"),
        (_braked(formula=lambda a, r: torch.exp(-a * r)), "e^(−α ρ)"),
        (_braked(sure=lambda z, y: 1 / (1 - z.softmax(1)[range(len(y)), y]).sum()), "wrong classes"),
        (brake_of_a_share, "is a share"),
        (brake_of_a_difference, "difference of the mean"),
        (brake_of_each_row, "factor for each row"),
        (brake_of_the_image, "ever braked"),
        (brake_to_zero, "gets 0 from you"),
        (_braked(sure=lambda z, y: (z.argmax(1) == y).double().sum()), "count right answers"),
        (_braked(sure=lambda z, y: 1 / F.cross_entropy(z, y)), "compare the losses"),
    ],
    "09.4": [
        (angle_mean, "average the cosines"),
        (angle_of_the_common, "None means 0"),
        (_seen(lambda a, b: torch.stack([a @ b, a.norm() / b.norm()])), "dot product"),
        (_seen(lambda a, b: torch.stack([a @ b / (a @ a * (b @ b)), a @ a / (b @ b)])), "roots"),
        (_seen(lambda a, b: torch.stack([a @ b / a.norm() / b.norm(), b.norm() / a.norm()])), "upside down"),
        (lambda j, a: angle_by_hand(j, a).flip(0), "exchanged"),
        (lambda j, a: angle_by_hand(j, a).abs(), "absolute"),
        (lambda j, a: angle_by_hand(j[:1], a[:1]), "first parameter"),
        (_seen(lambda a, b: torch.stack([a @ b / a.norm() / b.norm(), a @ a / (b @ b)])), "its root is"),
        (_seen(lambda a, b: torch.stack([a @ b / (b @ b), a.norm() / b.norm()])), "squared length"),
        (_seen(lambda a, b: torch.stack([torch.acos(a @ b / a.norm() / b.norm()), a.norm() / b.norm()])),
         "angle itself"),
        (_seen(lambda a, b: torch.stack([(1 - (a @ b / a.norm() / b.norm()) ** 2).sqrt(),
                                         a.norm() / b.norm()])), "sine"),
        (_seen(lambda a, b: torch.stack([a @ b / a.norm() / b.norm(), a.abs().max() / b.abs().max()])),
         "largest entries"),
        (_seen(lambda a, b: torch.stack([a @ b / a.norm() / b.norm(), a.norm() / (a.norm() + b.norm())])),
         "sum of both"),
        (_seen(lambda a, b: torch.stack([a @ b / a.norm() / b.norm(), (a - b).norm() / b.norm()])),
         "length of the difference"),
        (lambda j, a: torch.stack([1 - angle_by_hand(j, a)[0], angle_by_hand(j, a)[1]]), "a distance"),
        (lambda j, a: torch.stack([angle_by_hand(j, a)[0], angle_by_hand(j, a)[1].log()]), "logarithm"),
        (lambda j, a: torch.stack([angle_of_the_common(j, a)[0], angle_by_hand(j, a)[1]]), "In the cosine's"),
        (lambda j, a: torch.stack([angle_by_hand(j, a)[0], angle_of_the_common(j, a)[1]]), "In the ratio of"),
        (angle_by_size, "by their sizes"),
        (angle_until_none, "first None"),
        (_angle_where(0), "Where the joint gradient is None"),
        (_angle_where(1), "Where the other gradient is None"),
        (angle_of_means, "average the squares"),
        (angle_l1, "add up |g|"),
        (angle_mean_ratio, "parameters' ratios"),
    ],
    "09.5": [
        (lambda g, s, r, d: s * (g / s) ** r, "two layers, used for every depth"),
        (lambda g, s, r, d: s + r * (g - s), "law for one layer"),
        (lambda g, s, r, d: starved_by_cases(g, s, 1 / r, d), "upside down"),
        (lambda g, s, r, d: starved_by_cases(g, s, r, d) ** d, "the logit"),
        (lambda g, s, r, d: starved_by_potential(g, s, r, d + 1), "one layer off"),
        (lambda g, s, r, d: starved_by_cases(g, s, r, d) - s, "start from 0"),
        (lambda g, s, r, d: g * 1.0, "own gain"),
        (lambda g, s, r, d: g**r if d == 2 else starved_by_cases(g, s, r, d), "start divides"),
        (lambda g, s, r, d: r * g, "multiply the stronger gain"),
        (lambda g, s, r, d: starved_by_cases(g, s, r ** (1 / d), d), "root of the ratio"),
        (lambda g, s, r, d: r * starved_by_cases(g, s, r, d) ** d, "share of the logit"),
        (lambda g, s, r, d: starved_by_cases(g, s, r / d, d), "factor L too many"),
        (lambda g, s, r, d: (s**d + r * (g**d - s**d)) ** (1 / d), "not L: "),
        (lambda g, s, r, d: starved_by_cases(g, s, r, d) / s, "growth u_i / u_0"),
        (starved_not_added, "is not added"),
        (starved_turned, "turned round"),
        (starved_outer, "not 1/L"),
    ],
}
