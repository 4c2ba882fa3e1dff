"""Right and wrong answers of lesson 01, as learners write them."""

import math

import torch
import torch.nn.functional as F


def bce_softplus(logits, labels):
    return (
        torch.maximum(logits, torch.zeros_like(logits))
        - labels * logits
        + torch.log1p(torch.exp(-logits.abs()))
    ).mean()


def bce_logsigmoid(z, y):
    return (
        sum(-(b * F.logsigmoid(a) + (1 - b) * F.logsigmoid(-a)) for a, b in zip(z.flatten(), y.flatten()))
        / z.numel()
    )


def bce_cancels(z, y):
    """Finite, and without a digit where it is sure and right: accepted; the lesson shows better."""
    return (torch.logaddexp(torch.zeros_like(z), z) - y * z).mean()


def bce_naive(z, y):
    p = 1 / (1 + torch.exp(-z))
    return -torch.mean(y * torch.log(p) + (1 - y) * torch.log(1 - p))


def bce_clipped(z, y):
    p = torch.sigmoid(z).clamp(1e-7, 1 - 1e-7)
    return -(y * p.log() + (1 - y) * (1 - p).log()).mean()


def bce_one_sided(z, y):
    return -(y * F.logsigmoid(z)).mean()


def bce_exp(z, y):
    return (torch.log(1 + z.exp()) - y * z).mean()


def bce_rows(z, y):
    return torch.logaddexp(torch.zeros_like(z), z) - y * z


def gradient_shifted(logits, labels):
    e = torch.exp(logits - logits.max(dim=1, keepdim=True).values)
    p = e / e.sum(1, keepdim=True)
    p[torch.arange(len(labels)), labels] -= 1
    return p / len(labels)


def gradient_autograd(logits, labels):
    z = logits.clone().requires_grad_()
    return torch.autograd.grad(F.cross_entropy(z, labels), z)[0]


def hot(z, y):
    return F.one_hot(y, z.shape[1])


def gradient_naive(z, y):
    p = z.exp() / z.exp().sum(1, keepdim=True)
    return (p - hot(z, y)) / len(z)


def gradient_right_class_only(z, y):
    g = torch.zeros_like(z)
    for i, c in enumerate(y):
        g[i, c] = (z[i].softmax(0)[c] - 1) / len(z)
    return g


def bce_for_plus_minus_one(z, y):
    return torch.log(1 + torch.exp(-(y * z).clamp(min=-500))).mean()


def bce_mended_afterwards(z, y):
    p = torch.sigmoid(z)
    rows = y * torch.log(p) + (1 - y) * torch.log(1 - p)
    return -torch.nan_to_num(rows).mean()


def bce_eps_in_the_logarithm(z, y):
    p = torch.sigmoid(z)
    return -(y * torch.log(p + 1e-12) + (1 - y) * torch.log(1 - p + 1e-12)).mean()


def split_by_rows(targets, logits):
    log_p = F.log_softmax(logits, dim=1)
    entropy, divergence = 0.0, 0.0
    for q, lp in zip(targets, log_p):
        some = q > 0
        entropy = entropy - (q[some] * q[some].log()).sum()
        divergence = divergence + (q[some] * (q[some].log() - lp[some])).sum()
    return entropy / len(targets), divergence / len(targets)


def split_by_torch(targets, logits):
    log_p = logits.log_softmax(1)
    divergence = F.kl_div(log_p, targets, reduction="batchmean")
    return F.cross_entropy(logits, targets) - divergence, divergence


def split_nan(targets, logits):
    h = -(targets * targets.log()).sum(1).mean()
    return h, -(targets * logits.log_softmax(1)).sum(1).mean() - h


def split_reversed(targets, logits):
    p, lp = logits.softmax(1), logits.log_softmax(1)
    h = -torch.xlogy(targets, targets).sum(1).mean()
    return h, (p * (lp - targets.log())).sum(1).mean()


def split_unsubtracted(targets, logits):
    h = -torch.xlogy(targets, targets).sum(1).mean()
    return h, -(targets * logits.log_softmax(1)).sum(1).mean()


def split_over_entries(targets, logits):
    h = -torch.xlogy(targets, targets).mean()
    return h, -(targets * logits.log_softmax(1)).mean() - h


def split_in_bits(targets, logits):
    h, d = split_by_torch(targets, logits)
    return h / math.log(2), d / math.log(2)


def split_columns(targets, logits):
    h = -torch.xlogy(targets, targets).sum(1).mean()
    return h, -(targets * logits.log_softmax(0)).sum(1).mean() - h


def split_rounds(targets, logits):
    h = -torch.xlogy(targets, targets).sum(1).mean()
    return h, -(targets * logits.softmax(1).log()).sum(1).mean() - h


def split_entropy_of_p(targets, logits):
    p = logits.softmax(1)
    return -torch.xlogy(p, p).sum(1).mean(), split_by_torch(targets, logits)[1]


def curvature_by_autograd(logits, direction):
    rows = []
    for z in logits:
        h = torch.autograd.functional.hessian(lambda x: torch.logsumexp(x, 0), z)
        rows.append((direction - direction.mean()) @ h @ (direction - direction.mean()))
    return torch.stack(rows)


def curvature_by_pairs(logits, direction):
    """Half the mean squared difference of two draws."""
    p = logits.softmax(1)
    apart = direction[:, None] - direction[None, :]
    return 0.5 * torch.einsum("nc,nk,ck->n", p, p, apart**2)


def curvature_one_pass(logits, direction):
    p = torch.softmax(logits, 1)
    return p @ direction**2 - (p @ direction) ** 2


def curvature_by_matrix(logits, direction):
    p = logits.softmax(1)
    h = torch.diag_embed(p) - p[:, :, None] * p[:, None, :]
    return torch.einsum("c,nck,k->n", direction, h, direction)


def curvature_diagonal(logits, direction):
    p = logits.softmax(1)
    return ((p - p**2) * direction**2).sum(1)


def curvature_product(logits, direction):
    p = logits.softmax(1)
    return p * (direction - (p @ direction)[:, None])


def adamw_by_hand(weight, gradient, mean, square, step, learning_rate, weight_decay):
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient**2
    corrected = mean / (1 - 0.9**step), square / (1 - 0.999**step)
    update = corrected[0] / (corrected[1].sqrt() + 1e-8)
    return weight - learning_rate * (update + weight_decay * weight), mean, square


def adamw_by_torch(w, g, m, v, t, rate, decay):
    p = torch.nn.Parameter(w.clone())
    p.grad = g.clone()
    optimizer = torch.optim.AdamW([p], lr=rate, weight_decay=decay, foreach=False)
    optimizer.state[p] = {"step": torch.tensor(float(t - 1)), "exp_avg": m.clone(), "exp_avg_sq": v.clone()}
    optimizer.step()
    return p.detach(), optimizer.state[p]["exp_avg"], optimizer.state[p]["exp_avg_sq"]


def bce_one_maximum(logits, labels):
    m = max(0, logits.max())
    return ((m - labels * logits) + (torch.exp(-m) + torch.exp(logits - m)).log()).mean()


def split_overflows(targets, logits):
    log_p = logits - logits.exp().sum(1, keepdim=True).log()
    entropy = -torch.xlogy(targets, targets).sum(1)
    return entropy.mean(), (-(targets * log_p).sum(1) - entropy).mean()


def curvature_naive(logits, direction):
    p = logits.exp() / logits.exp().sum(1, keepdim=True)
    return (p * (direction - (p * direction).sum(1, keepdim=True)) ** 2).sum(1)


def adam(w, g, m, v, t, rate, decay, eps=1e-8):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return w - rate * (m / (1 - 0.9**t)) / ((v / (1 - 0.999**t)) ** 0.5 + eps), m, v


def adam_l2(w, g, m, v, t, rate, decay):
    return adam(w, g + decay * w, m, v, t, rate, decay)


def adamw_unscaled(w, g, m, v, t, rate, decay):
    new, m, v = adam(w, g, m, v, t, rate, decay)
    return new - decay * w, m, v


def adamw_growing(w, g, m, v, t, rate, decay):
    new, m, v = adam(w, g, m, v, t, rate, decay)
    return new + rate * decay * w, m, v


def adamw_afterwards(w, g, m, v, t, rate, decay):
    new, m, v = adam(w, g, m, v, t, rate, decay)
    return new - rate * decay * new, m, v


def adamw_uncorrected(w, g, m, v, t, rate, decay):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return (1 - rate * decay) * w - rate * m / (v.sqrt() + 1e-8), m, v


def adamw_wrong_state(w, g, m, v, t, rate, decay):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    m, v = m / (1 - 0.9**t), v / (1 - 0.999**t)
    return (1 - rate * decay) * w - rate * m / (v.sqrt() + 1e-8), m, v


def adamw_eps_inside(w, g, m, v, t, rate, decay):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    return (1 - rate * decay) * w - rate * m / (1 - 0.9**t) / (v / (1 - 0.999**t) + 1e-8).sqrt(), m, v


def adamw_eps_corrected(w, g, m, v, t, rate, decay):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    size = (v.sqrt() + 1e-8) / (1 - 0.999**t) ** 0.5
    return (1 - rate * decay) * w - rate * m / (1 - 0.9**t) / size, m, v


def adamw_ascent(w, g, m, v, t, rate, decay):
    new, m, v = adamw_by_hand(w, -g, -m, v, t, rate, decay)
    return new, -m, v


def adamw_late(w, g, m, v, t, rate, decay):
    _, m, v = adam(w, g, m, v, t, rate, decay)
    mh, vh = m / (1 - 0.9 ** (t + 1)), v / (1 - 0.999 ** (t + 1))
    return w - rate * mh / (vh.sqrt() + 1e-8) - rate * decay * w, m, v


def adamw_unsquared(w, g, m, v, t, rate, decay):
    m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g
    mh, vh = m / (1 - 0.9**t), v / (1 - 0.999**t)
    return w - rate * mh / (vh.sqrt() + 1e-8) - rate * decay * w, m, v


def adamw_swapped_betas(w, g, m, v, t, rate, decay):
    m, v = 0.999 * m + 0.001 * g, 0.9 * v + 0.1 * g * g
    mh, vh = m / (1 - 0.999**t), v / (1 - 0.9**t)
    return w - rate * mh / (vh.sqrt() + 1e-8) - rate * decay * w, m, v


RIGHT = {
    "01.1": [bce_softplus, bce_logsigmoid, F.binary_cross_entropy_with_logits, bce_cancels],
    "01.2": [gradient_shifted, gradient_autograd],
    "01.6": [split_by_rows, split_by_torch],
    "01.4": [adamw_by_hand, adamw_by_torch],
    "01.5": [curvature_by_autograd, curvature_by_pairs],
}
WRONG = {
    "01.1": [
        (bce_naive, "rounds to exactly 0 or 1"),
        (bce_clipped, "clipped"),
        (bce_one_sided, "y = 0 have a surprise too"),
        (bce_exp, "exp(1000) is infinite"),
        (bce_rows, "one loss per row"),
        (lambda z, y: bce_softplus(z, y) * len(z.flatten()), "the sum over the batch"),
        (lambda z, y: -bce_softplus(z, y), "sign is flipped"),
        (lambda z, y: bce_softplus(-z, y), "labels are swapped"),
        (lambda z, y: bce_softplus(z, y).item(), "Return a tensor of shape ()"),
        (lambda z, y: bce_softplus(z.detach(), y), "no gradient flows"),
        (bce_for_plus_minus_one, "for labels of -1 and +1"),
        (bce_mended_afterwards, "replaced afterwards"),
        (bce_eps_in_the_logarithm, "clipped"),
        (lambda z, y: ((torch.sigmoid(z) - y) ** 2).mean(), "squared error"),
        (lambda z, y: F.softplus(z).mean(), "term y z is missing"),
        (lambda z, y: -(y * F.logsigmoid(z) + F.logsigmoid(-z)).mean(), "is missing"),
        (bce_one_maximum, "for the whole batch"),
        (lambda z, y: bce_softplus(z.clamp(-50, 50), y), "logit is clipped"),
        (lambda z, y: F.softplus(-(2 * y - 1) * z).mean(), "weighs both surprises"),
        (lambda z, y: bce_softplus(z, y.round()), "must not be rounded"),
        (lambda z, y: (z - y * z + torch.log1p(torch.exp(-z.abs()))).mean(), "where it is negative too"),
    ],
    "01.2": [
        (lambda z, y: z.softmax(1) - hot(z, y), "division by the number of rows is missing"),
        (lambda z, y: z.softmax(1) * (1 - z.softmax(1)) / len(z), "behind it stands the logarithm"),
        (lambda z, y: (z.softmax(1) - y[:, None]) / len(z), "class number itself"),
        (lambda z, y: (hot(z, y) - z.softmax(1)) / len(z), "the gradient points uphill"),
        (lambda z, y: (z.softmax(0) - hot(z, y)) / len(z), "runs down the columns"),
        (lambda z, y: ((z.softmax(1) - hot(z, y)) / z.numel()), "over rows only"),
        (lambda z, y: z.softmax(1) / len(z), "target is missing"),
        (gradient_right_class_only, "in the denominator"),
        (gradient_naive, "shift every row"),
        (lambda z, y: (z.sigmoid() - hot(z, y)) / len(z), "sigmoid of its own"),
        (lambda z, y: (z.softmax(1) - hot(z, y)) / z.shape[1], "number of classes"),
        (lambda z, y: (z.log_softmax(1) - hot(z, y)) / len(z), "not log p"),
    ],
    "01.6": [
        (split_nan, "0 times log 0"),
        (split_reversed, "the wrong way"),
        (split_unsubtracted, "the divergence is what is left"),
        (split_over_entries, "average over all entries"),
        (split_in_bits, "bits"),
        (split_columns, "down the columns"),
        (split_rounds, "rounds to exactly 0"),
        (split_overflows, "exp(1000) is infinite"),
        (lambda q, z: (split_by_torch(q, z)[0], F.cross_entropy(z, q.argmax(1))), "as if it were certain"),
        (lambda q, z: (split_by_torch(q, z)[0], sum(split_by_torch(q, z)) + split_by_torch(q, z)[0]),
         "adds the entropy"),
        (split_entropy_of_p, "the model's p"),
        (lambda q, z: split_by_torch(q, z)[::-1], "entropy first"),
    ],
    "01.4": [
        (adam_l2, "that is L2 regularisation"),
        (adamw_unscaled, "not multiplied by the learning rate"),
        (adamw_growing, "makes the weight grow"),
        (adamw_afterwards, "after its step"),
        (adamw_uncorrected, "bias correction is missing"),
        (adamw_wrong_state, "returned as the state"),
        (adamw_eps_inside, "under the square root"),
        (adam, "decay has no effect"),
        (adamw_ascent, "climbs"),
        (adamw_late, "one step too many"),
        (adamw_unsquared, "not squared"),
        (adamw_swapped_betas, "exchanged"),
        (lambda w, g, m, v, t, rate, decay: (adamw_by_hand(w, g, m, v, t, rate, decay)[0], m, v),
         "as they were"),
        (adamw_eps_corrected, "before the bias correction"),
        (lambda w, g, m, v, t, rate, decay: adam(w, g, m, v, t, rate * (1 + decay), decay),
         "scales Adam's step"),
    ],
    "01.5": [
        (curvature_one_pass, "lost its digits"),
        (curvature_by_matrix, "lost its digits"),
        (curvature_diagonal, "on the diagonal"),
        (curvature_product, "multiply by v once more"),
        (lambda z, v: z.softmax(1) @ v**2, "squared mean is missing"),
        (lambda z, v: z.softmax(1) @ v, "first derivative"),
        (lambda z, v: curvature_by_pairs(z, v).sqrt(), "standard deviation"),
        (lambda z, v: curvature_by_pairs(z, v).sum() / len(z), "one number per row"),
        (curvature_naive, "shift every row"),
        (lambda z, v: v.var().expand(len(z)), "plain variance"),
    ],
}
