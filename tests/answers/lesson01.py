"""Right and wrong answers of lesson 01, as learners write them."""

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


def weighted_by_rows(logits, labels, class_weights, label_smoothing):
    n, classes = logits.shape
    surprise = torch.logsumexp(logits, 1, keepdim=True) - logits
    target = torch.full((n, classes), label_smoothing / classes, dtype=logits.dtype)
    target[torch.arange(n), labels] += 1 - label_smoothing
    return (target * class_weights * surprise).sum() / class_weights[labels].sum()


def weighted_in_two_parts(z, y, w, e):
    log_p = F.log_softmax(z, dim=1)
    right = -(w[y] * log_p[torch.arange(len(y)), y]).sum()
    even = -(w * log_p).sum() / z.shape[1]
    return ((1 - e) * right + e * even) / w[y].sum()


def weighted_row_count(z, y, w, e):
    q = hot(z, y) * (1 - e) + e / z.shape[1]
    return -(q * w * z.log_softmax(1)).sum(1).mean()


def weighted_label_weight(z, y, w, e):
    q = hot(z, y) * (1 - e) + e / z.shape[1]
    rows = -(q * z.log_softmax(1)).sum(1)
    return (w[y] * rows).sum() / w[y].sum()


def weighted_others_only(z, y, w, e):
    q = torch.full_like(z, e / (z.shape[1] - 1)).scatter(1, y[:, None], 1 - e)
    return -(q * w * z.log_softmax(1)).sum() / w[y].sum()


def weighted_too_much(z, y, w, e):
    q = hot(z, y) + e / z.shape[1]
    return -(q * w * z.log_softmax(1)).sum() / w[y].sum()


def weighted_sum_of_classes(z, y, w, e):
    q = hot(z, y) * (1 - e) + e / z.shape[1]
    return -(q * w * z.log_softmax(1)).sum() / w.sum()


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


RIGHT = {
    "01.1": [bce_softplus, bce_logsigmoid, F.binary_cross_entropy_with_logits],
    "01.2": [gradient_shifted, gradient_autograd],
    "01.3": [weighted_by_rows, weighted_in_two_parts],
    "01.4": [adamw_by_hand, adamw_by_torch],
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
    ],
    "01.2": [
        (lambda z, y: z.softmax(1) - hot(z, y), "division by the number of rows is missing"),
        (lambda z, y: (hot(z, y) - z.softmax(1)) / len(z), "the gradient points uphill"),
        (lambda z, y: (z.softmax(0) - hot(z, y)) / len(z), "runs down the columns"),
        (lambda z, y: ((z.softmax(1) - hot(z, y)) / z.numel()), "over rows only"),
        (lambda z, y: z.softmax(1) / len(z), "target is missing"),
        (gradient_right_class_only, "in the denominator"),
        (gradient_naive, "shift every row"),
    ],
    "01.3": [
        (weighted_row_count, "sum of the rows' weights"),
        (weighted_label_weight, "weight of that class"),
        (weighted_others_only, "wrong classes only"),
        (weighted_too_much, "adds up to more than 1"),
        (weighted_sum_of_classes, "sum over classes"),
        (lambda z, y, w, e: F.cross_entropy(z, y, label_smoothing=e), "class weights have no effect"),
        (lambda z, y, w, e: F.cross_entropy(z, y, weight=w), "smoothing has no effect"),
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
    ],
}
