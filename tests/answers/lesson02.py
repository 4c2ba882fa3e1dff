"""Right and wrong answers to lesson 02, as learners write them."""

import torch
import torch.nn.functional as F


def total_softplus(text_score, image_score, lam):
    return ((1 + lam) * F.softplus(-text_score) + (1 - lam) ** 2 * F.softplus(-image_score)).mean()


def total_term_by_term(text_score, image_score, lam):
    zero = torch.zeros_like(text_score)
    branches = lam * torch.logaddexp(zero, -text_score) + (1 - lam) * torch.logaddexp(zero, -image_score)
    joint = torch.logaddexp(zero, -text_score) + lam * (1 - lam) * F.logsigmoid(image_score)
    return torch.mean(branches + joint)


def total_repaired_sign(text_score, image_score, lam):
    joint = -F.logsigmoid(text_score) - lam * (1 - lam) * F.logsigmoid(image_score)
    return (-lam * F.logsigmoid(text_score) - (1 - lam) * F.logsigmoid(image_score) + joint).mean()


def total_without_joint(text_score, image_score, lam):
    return lam * F.softplus(-text_score).mean() + (1 - lam) * F.softplus(-image_score).mean()


def total_swapped(text_score, image_score, lam):
    joint = -F.logsigmoid(text_score) + lam * (1 - lam) * F.logsigmoid(image_score)
    return (-(1 - lam) * F.logsigmoid(text_score) - lam * F.logsigmoid(image_score) + joint).mean()


def total_detached(text_score, image_score, lam):
    return total_softplus(text_score, image_score.detach(), lam)


def mixed_by_differences(loss, text_score, image_score, h=1e-4):
    def at(a, b):
        return loss(text_score + a * h, image_score + b * h)
    return (at(1, 1) - at(1, -1) - at(-1, 1) + at(-1, -1)) / (4 * h * h)


def mixed_by_hessian(loss, text_score, image_score):
    rows = [torch.autograd.functional.hessian(lambda t, i: loss(t, i).sum(), (t, i))[0][1]
            for t, i in zip(text_score, image_score, strict=True)]
    return torch.stack(rows)


def mixed_image_twice(loss, text_score, image_score):
    i = image_score.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(text_score, i).sum(), i, create_graph=True)
    return torch.autograd.grad(slope.sum(), i)[0]


def mixed_text_twice(loss, text_score, image_score):
    t = text_score.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(t, image_score).sum(), t, create_graph=True)
    return torch.autograd.grad(slope.sum(), t)[0]


def mixed_breaks_when_separable(loss, text_score, image_score):
    t, i = text_score.clone().requires_grad_(), image_score.clone().requires_grad_()
    (slope,) = torch.autograd.grad(loss(t, i).sum(), t, create_graph=True)
    return torch.autograd.grad(slope.sum(), i)[0]


def mixed_first_only(loss, text_score, image_score):
    t = text_score.clone().requires_grad_()
    return torch.autograd.grad(loss(t, image_score).sum(), t)[0]


def experts_by_hand(text_logits, image_logits, labels):
    log_product = text_logits.log_softmax(1) + image_logits.log_softmax(1)
    return (log_product.logsumexp(1) - log_product.gather(1, labels[:, None])[:, 0]).mean()


def experts_summed_losses(text_logits, image_logits, labels):
    return F.cross_entropy(text_logits, labels) + F.cross_entropy(image_logits, labels)


def experts_mixture(text_logits, image_logits, labels):
    p = 0.5 * text_logits.softmax(-1) + 0.5 * image_logits.softmax(-1)
    return F.nll_loss(p.log(), labels)


def experts_unnormalised(text_logits, image_logits, labels):
    return F.nll_loss(text_logits.log_softmax(1) + image_logits.log_softmax(1), labels)


def experts_overflow(text_logits, image_logits, labels):
    p = text_logits.softmax(1) * image_logits.softmax(1)
    p = p / p.sum(1, keepdim=True)
    return F.nll_loss(p.log(), labels)


def mixed_without_record(loss, text_score, image_score):
    t, i = text_score.clone().requires_grad_(), image_score.clone().requires_grad_()
    slope = torch.autograd.grad(loss(t, i).sum(), t)[0]
    slope.requires_grad_()
    mixed = torch.autograd.grad(slope.sum(), i, allow_unused=True)[0]
    return torch.zeros_like(t) if mixed is None else mixed


def mixed_of_the_mean(loss, text_score, image_score):
    t, i = text_score.clone().requires_grad_(), image_score.clone().requires_grad_()
    slope = torch.autograd.grad(loss(t, i).mean(), t, create_graph=True)[0]
    if not slope.requires_grad:
        return torch.zeros_like(t)
    mixed = torch.autograd.grad(slope.sum(), i, allow_unused=True)[0]
    return torch.zeros_like(t) if mixed is None else mixed


def end_by_smoothing(lam, classes, label):
    p = (1 - lam) * F.one_hot(torch.tensor(label), classes).double() + lam / classes
    return p, torch.tensor(lam * (lam - 1) / classes).double()


def end_by_descent(lam, classes, label):
    """Follow the slopes themselves, with σ(−z_y) = 1."""
    z, y = torch.zeros(classes, dtype=torch.float64), F.one_hot(torch.tensor(label), classes).double()
    for _ in range(20000):
        slope = (1 - lam) * (z.softmax(0) - y + lam * y)
        z = z - slope
    return z.softmax(0), -slope.mean()


def end_wrong_classes(lam, classes, label):
    p = torch.full((classes,), lam / (classes - 1), dtype=torch.float64)
    p[label] = 1 - lam
    return p, torch.tensor(-lam * (1 - lam) / classes).double()


def end_not_normalised(lam, classes, label):
    p = torch.full((classes,), lam / classes, dtype=torch.float64)
    p[label] = 1 - lam
    return p, torch.tensor(-lam * (1 - lam) / classes).double()


def end_exchanged(lam, classes, label):
    p = torch.full((classes,), (1 - lam) / classes, dtype=torch.float64)
    p[label] += lam
    return p, torch.tensor(-lam * (1 - lam) / classes).double()


RIGHT = {
    "02.1": [total_softplus, total_term_by_term],
    "02.2": [
        lambda lam: (lam + lam, 1 - lam * (3 - lam)),
        lambda lam: ((1 + lam) - (1 - lam), (1 - lam) ** 2 - lam),
    ],
    "02.3": [mixed_by_differences, mixed_by_hessian],
    "02.4": [experts_by_hand, lambda t, i, y: F.nll_loss((t + i).log_softmax(1), y)],
    "02.5": [end_by_smoothing, end_by_descent],
}
WRONG = {
    "02.1": [
        (total_repaired_sign, "as it stands"),
        (total_without_joint, "joint term is missing"),
        (total_swapped, "lambda weighs the text"),
        (lambda t, i, lam: total_softplus(t, i, lam) * len(t), "sum over the batch"),
        (total_detached, "gradient with respect to image_score"),
        (lambda t, i, lam: (2 * lam * F.softplus(-t) + (1 - 3 * lam + lam**2) * F.softplus(-i)).mean(),
         "claimed to be equivalent"),
        (lambda t, i, lam: (lam * F.softplus(-t) + (1 - lam) * F.softplus(-i) + F.softplus(-i)
                            - lam * (1 - lam) * F.softplus(-t)).mean(), "exchanged in the joint part"),
        (lambda t, i, lam: total_softplus(t, i, lam).item(), "Return a tensor"),
        (lambda t, i, lam: (F.softplus(-t) - lam * (1 - lam) * F.softplus(-i)).mean(), "has all three"),
        (lambda t, i, lam: total_softplus(-t, -i, lam), "turned round"),
        (lambda t, i, lam: ((1 + lam) * F.softplus(-t) + (1 - lam) * F.softplus(-i)).mean(), "second half"),
        (lambda t, i, lam: (lam * F.softplus(-t) + (1 - lam) * F.softplus(-i)
                            + lam * (1 - lam) * (F.softplus(-t) - F.softplus(-i))).mean(),
         "whole joint term"),
        (lambda t, i, lam: -((1 + lam) * t.sigmoid().log() + (1 - lam) ** 2 * i.sigmoid().log()).mean(),
         "infinite for scores"),
    ],
    "02.2": [
        (lambda lam: (1 + lam, (1 - lam) ** 2), "published form"),
        (lambda lam: (2 + 0 * lam, 1 - lam + lam**2), "you raised them"),
        (lambda lam: (1 - 3 * lam + lam**2, 2 * lam), "wrong order"),
        (lambda lam: 2 * lam, "Return 2 values"),
        (lambda lam: (lam, lam**2 - 2 * lam), "alone"),
        (lambda lam: (2 * lam, (1 - lam) ** 2), "Only the text"),
        (lambda lam: (2 * lam, 1 - lam - lam**2), "sign repaired"),
    ],
    "02.3": [
        (mixed_image_twice, "second derivative in the image"),
        (mixed_text_twice, "second derivative in the text"),
        (mixed_breaks_when_separable, "separable loss"),
        (mixed_first_only, "first derivative by the text"),
        (mixed_without_record, "create_graph=True"),
        (mixed_of_the_mean, "sum before you differentiate"),
        (lambda loss, t, i, h=1e-3: (loss(t + h, i + h) - loss(t + h, i - h) + loss(t - h, i + h)
                                     - loss(t - h, i - h)) / (4 * h * h), "signs of the stencil"),
        (lambda loss, t, i: 2 * mixed_by_differences(loss, t, i), "2 times"),
    ],
    "02.4": [
        (experts_summed_losses, "never meet"),
        (experts_mixture, "mixture"),
        (experts_unnormalised, "normaliser"),
        (experts_overflow, "underflows"),
        (lambda t, i, y: F.cross_entropy(t.softmax(1) * i.softmax(1), y), "softmax is taken of the product"),
        (lambda t, i, y: -((t + i) - t.logsumexp(1, keepdim=True)).gather(1, y[:, None]).mean(),
         "of the text alone"),
        (lambda t, i, y: -((t + i) - (t + i).logsumexp((0, 1))).gather(1, y[:, None]).mean(),
         "the whole batch"),
        (lambda t, i, y: -(t + i).log_softmax(1).mean(), "over all classes"),
        (lambda t, i, y: F.cross_entropy((t + i) / 2, y), "without the half"),
        (lambda t, i, y: F.cross_entropy(t * i, y), "multiply the logits"),
        (lambda t, i, y: F.cross_entropy(t.softmax(1) + i.softmax(1), y), "softmax is taken before"),
    ],
    "02.5": [
        (end_wrong_classes, "the right one included"),
        (end_exchanged, "are exchanged"),
        (lambda lam, c, y: (end_by_smoothing(lam, c, y)[0], torch.tensor(lam * (1 - lam) / c).double()),
         "logits fall"),
        (lambda lam, c, y: (end_by_smoothing(lam, c, y)[0], torch.tensor(-lam / c).double()), "weight 1 − λ"),
        (lambda lam, c, y: (end_by_smoothing(lam, c, y)[0], torch.tensor(-lam * (1 - lam)).double()),
         "all logits together"),
        (lambda lam, c, y: end_by_smoothing(lam, c, y)[::-1], "probabilities first"),
        (end_not_normalised, "do not add up to 1"),
        (lambda lam, c, y: (end_by_smoothing(lam, c, y)[0], torch.tensor(-(1 - lam) ** 2 / c).double()),
         "1 − λ twice"),
    ],
}
