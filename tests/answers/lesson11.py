"""Right and wrong answers to lesson 11, as learners write them."""

import math

import torch
from torch.nn import functional as F

# 11.1 InfoNCE and its gradient

def info_by_autograd(cosines, temperature):
    leaf = cosines.clone().requires_grad_()
    own = torch.arange(len(leaf))
    loss = (F.cross_entropy(leaf / temperature, own) + F.cross_entropy(leaf.T / temperature, own)) / 2
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


def info_by_loops(cosines, temperature):
    n = len(cosines)
    loss, gradient = cosines.new_zeros(()), torch.zeros_like(cosines)
    for i in range(n):
        across, down = cosines[i] / temperature, cosines[:, i] / temperature
        loss = loss - F.log_softmax(across, 0)[i] / (2 * n) - F.log_softmax(down, 0)[i] / (2 * n)
        gradient[i] += across.softmax(0) / (2 * n * temperature)
        gradient[:, i] += down.softmax(0) / (2 * n * temperature)
        gradient[i, i] -= 1 / (n * temperature)
    return loss, gradient


def _info(change_loss=lambda loss, c, t: loss, change=lambda gradient, c, t: gradient, ways="both"):
    def contrast_and_gradient(c, t):
        own = torch.arange(len(c))
        eye = torch.eye(len(c)).to(c)
        first = F.cross_entropy(c / t, own), ((c / t).softmax(1) - eye) / len(c) / t
        second = F.cross_entropy(c.T / t, own), ((c / t).softmax(0) - eye) / len(c) / t
        if ways == "both":
            loss, gradient = (first[0] + second[0]) / 2, (first[1] + second[1]) / 2
        elif ways == "sum":
            loss, gradient = first[0] + second[0], first[1] + second[1]
        else:
            loss, gradient = first if ways == "photos" else second
        return change_loss(loss, c, t), change(gradient, c, t)
    return contrast_and_gradient


def info_overflows(cosines, temperature):
    e = (cosines / temperature).exp()
    own, eye = e.diagonal(), torch.eye(len(e)).to(e)
    p, q = e / e.sum(1, keepdim=True), e / e.sum(0, keepdim=True)
    loss = -((own / e.sum(1)).log().mean() + (own / e.sum(0)).log().mean()) / 2
    return loss, (p + q - 2 * eye) / (2 * len(e) * temperature)


def info_without_keepdim(cosines, temperature):
    e = (cosines / temperature - (cosines / temperature).max()).exp()
    p, q = e / e.sum(1), e / e.sum(0)
    loss = -(p.diagonal().log() + q.diagonal().log()).mean() / 2
    return loss, (p + q - 2 * torch.eye(len(e)).to(e)) / (2 * len(e) * temperature)


def info_over_all_entries(cosines, temperature):
    z = cosines / temperature
    rows, columns = z.log_softmax(1), z.log_softmax(0)
    return -(rows + columns).mean() / 2, info_by_autograd(cosines, temperature)[1]


def info_clamped(cosines, temperature):
    z = (cosines / temperature).clamp(-50, 50)
    rows, columns = z.log_softmax(1), z.log_softmax(0)
    error = rows.exp() + columns.exp() - 2 * torch.eye(len(z)).to(z)
    return -(rows.diagonal() + columns.diagonal()).mean() / 2, error / (2 * len(z) * temperature)


def info_without_own(cosines, temperature):
    z, eye = cosines / temperature, torch.eye(len(cosines)).to(cosines)
    e = z.exp() * (1 - eye)
    loss = (e.sum(1).log() + e.sum(0).log()).mean() / 2 - z.diagonal().mean()
    error = e / e.sum(1, keepdim=True) + e / e.sum(0) - 2 * eye
    return loss, error / (2 * len(z) * temperature)


def info_of_probabilities(cosines, temperature):
    leaf, own = cosines.clone().requires_grad_(), torch.arange(len(cosines))
    p, q = (leaf / temperature).softmax(1), (leaf.T / temperature).softmax(1)
    loss = (F.cross_entropy(p, own) + F.cross_entropy(q, own)) / 2
    return loss.detach(), torch.autograd.grad(loss, leaf)[0]


# 11.2 the sigmoid loss

def sigmoid_by_bce(cosines, scale, bias):
    logits = cosines * scale + bias
    own = torch.eye(len(logits)).to(logits)
    return F.binary_cross_entropy_with_logits(logits, own, reduction="sum") / len(logits)


def sigmoid_by_loops(cosines, scale, bias):
    total = 0
    for i in range(len(cosines)):
        for j in range(len(cosines)):
            z = 1 if i == j else -1
            total = total - F.logsigmoid(z * (scale * cosines[i, j] + bias))
    return total / len(cosines)


def _pairs(sign=lambda n: 2 * torch.eye(n).double() - 1, logits=lambda c, s, b: s * c + b,
           end=lambda cost: cost.sum() / len(cost)):
    def sigmoid_loss(cosines, scale, bias):
        return end(-F.logsigmoid(sign(len(cosines)) * logits(cosines, scale, bias)))
    return sigmoid_loss


def sigmoid_clamped(cosines, scale, bias):
    sign = 2 * torch.eye(len(cosines)).to(cosines) - 1
    return -torch.sigmoid(sign * (scale * cosines + bias)).clamp_min(1e-7).log().sum() / len(cosines)


def sigmoid_by_bce_of_signs(cosines, scale, bias):
    sign = 2 * torch.eye(len(cosines)).to(cosines) - 1
    return F.binary_cross_entropy_with_logits(scale * cosines + bias, sign, reduction="sum") / len(sign)


def sigmoid_by_hinge(cosines, scale, bias):
    sign = 2 * torch.eye(len(cosines)).to(cosines) - 1
    return F.relu(1 - sign * (scale * cosines + bias)).sum() / len(cosines)


def _balanced(cost):
    own = torch.eye(len(cost)).bool()
    return cost[own].mean() + cost[~own].mean()


# 11.3 zero-shot

def zero_by_normalize(image, prompts, scale):
    classes = F.normalize(F.normalize(prompts, dim=-1).sum(1), dim=-1)
    return torch.softmax(F.normalize(image, dim=-1) @ classes.t() * scale, dim=-1)


def zero_by_loops(image, prompts, scale):
    rows = []
    for x in image:
        scores = []
        for templates in prompts:
            mean = sum(t / t.norm() for t in templates) / len(templates)
            scores.append(scale * torch.dot(x, mean) / x.norm() / mean.norm())
        rows.append(torch.stack(scores).softmax(0))
    return torch.stack(rows)


def one(x):
    return F.normalize(x, dim=-1)


def _zero(look=one, read=one, join=lambda p: p.mean(1), again=one, end=lambda z: z.softmax(-1)):
    return lambda image, prompts, scale: end(scale * look(image) @ again(join(read(prompts))).T)


# 11.4 in parts

def parts_by_autograd(image_parts, text_parts, W_image, W_text, scale):
    W, V = W_image.clone().requires_grad_(), W_text.clone().requires_grad_()
    with torch.no_grad():
        images, texts = ([x @ w.T for x in parts] for parts, w in ((image_parts, W), (text_parts, V)))
    f, t = torch.cat(images).requires_grad_(), torch.cat(texts).requires_grad_()
    z, own = scale * f @ t.T, torch.arange(len(f))
    ((F.cross_entropy(z, own) + F.cross_entropy(z.T, own)) / 2).backward()
    at = 0
    for x, y in zip(image_parts, text_parts, strict=True):
        (x @ W.T).backward(f.grad[at:at + len(x)])
        (y @ V.T).backward(t.grad[at:at + len(y)])
        at += len(x)
    return W.grad, V.grad


def parts_at_once(image_parts, text_parts, W_image, W_text, scale):
    x, y = torch.cat(image_parts), torch.cat(text_parts)
    z = scale * (x @ W_image.T) @ (y @ W_text.T).T
    e = (z.softmax(1) + z.softmax(0) - 2 * torch.eye(len(z)).to(z)) * scale / 2 / len(z)
    return (e @ y @ W_text.T).T @ x, (e.T @ x @ W_image.T).T @ y


def _own_parts(weigh):
    def gradients_in_parts(image_parts, text_parts, W_image, W_text, scale):
        total = sum(map(len, image_parts))
        grads = [parts_at_once([x], [y], W_image, W_text, scale)
                 for x, y in zip(image_parts, text_parts, strict=True)]
        shares = [weigh(len(x), total, len(grads)) for x in image_parts]
        return tuple(sum(share * g[k] for share, g in zip(shares, grads, strict=True)) for k in (0, 1))
    return gradients_in_parts


def _error(change, turn=lambda e: e.T):
    def gradients_in_parts(image_parts, text_parts, W_image, W_text, scale):
        x, y = torch.cat(image_parts), torch.cat(text_parts)
        z = scale * (x @ W_image.T) @ (y @ W_text.T).T
        e = change(z, torch.eye(len(z)).to(z), scale)
        return (e @ y @ W_text.T).T @ x, (turn(e) @ x @ W_image.T).T @ y
    return gradients_in_parts


def parts_without_moving_on(image_parts, text_parts, W_image, W_text, scale):
    f, t = torch.cat(image_parts) @ W_image.T, torch.cat(text_parts) @ W_text.T
    z = scale * f @ t.T
    e = (z.softmax(1) + z.softmax(0) - 2 * torch.eye(len(z)).to(z)) * scale / 2 / len(z)
    gf, gt = e @ t, e.T @ f
    return (sum(gf[:len(x)].T @ x for x in image_parts), sum(gt[:len(y)].T @ y for y in text_parts))


def _start_of_part(start, chunk=None):
    """Each part takes the gradients from row ``start(part, first, own)`` on."""
    def gradients_in_parts(image_parts, text_parts, W_image, W_text, scale):
        image, text = torch.cat(image_parts) @ W_image.T, torch.cat(text_parts) @ W_text.T
        z = scale * image @ text.T
        e = (z.softmax(1) + z.softmax(0) - 2 * torch.eye(len(z)).to(z)) * scale / 2 / len(z)
        sent, grads, first = (e @ text, e.T @ image), [0, 0], len(image_parts[0])
        for part, pair in enumerate(zip(image_parts, text_parts, strict=True)):
            for k, rows in enumerate(pair):
                begin = start(part, first, len(rows))
                mine = sent[k][begin:begin + (first if chunk else len(rows))][:len(rows)]
                grads[k] = grads[k] + mine.T @ rows[:len(mine)]
        return tuple(grads)
    return gradients_in_parts


def parts_of_unit_vectors(image_parts, text_parts, W_image, W_text, scale):
    W, V = W_image.clone().requires_grad_(), W_text.clone().requires_grad_()
    z = scale * one(torch.cat(image_parts) @ W.T) @ one(torch.cat(text_parts) @ V.T).T
    own = torch.arange(len(z))
    return torch.autograd.grad((F.cross_entropy(z, own) + F.cross_entropy(z.T, own)) / 2, (W, V))


def parts_exchanged(image_parts, text_parts, W_image, W_text, scale):
    x, y = torch.cat(image_parts), torch.cat(text_parts)
    f, t = x @ W_image.T, y @ W_text.T
    z = scale * f @ t.T
    e = (z.softmax(1) + z.softmax(0) - 2 * torch.eye(len(z)).to(z)) * scale / 2 / len(z)
    return (e.T @ f).T @ x, (e @ t).T @ y


def parts_of_own_questions(image_parts, text_parts, W_image, W_text, scale):
    x, y = torch.cat(image_parts), torch.cat(text_parts)
    f, t = x @ W_image.T, y @ W_text.T
    z, eye = scale * f @ t.T, torch.eye(len(x)).to(x)
    e, g = (scale * (z.softmax(dim) - eye) / len(z) / 2 for dim in (1, 0))
    return (e @ t).T @ x, (g.T @ f).T @ y


def parts_by_their_number(image_parts, text_parts, W_image, W_text, scale):
    found = parts_at_once(image_parts, text_parts, W_image, W_text, scale)
    rows = sum(map(len, image_parts))
    return tuple(gradient * rows / len(image_parts) for gradient in found)


def _vectors(image_parts, text_parts, W_image, W_text, scale):
    x, y = torch.cat(image_parts), torch.cat(text_parts)
    f, t = x @ W_image.T, y @ W_text.T
    return x, y, f, t, scale * f @ t.T, torch.eye(len(x)).to(x)


def parts_weighed(image_parts, text_parts, W_image, W_text, scale):
    x, y, f, t, z, eye = _vectors(image_parts, text_parts, W_image, W_text, scale)
    e = (z.softmax(1) + z.softmax(0) - 2 * eye) * scale / 2 / len(z)
    sizes = [len(part) for part in image_parts]
    weights = torch.cat([torch.full((n, 1), n / len(x)).to(x) for n in sizes])
    return (weights * (e @ t)).T @ x, (weights * (e.T @ f)).T @ y


def parts_up_to_the_vectors(image_parts, text_parts, W_image, W_text, scale):
    _, _, f, t, z, eye = _vectors(image_parts, text_parts, W_image, W_text, scale)
    e = (z.softmax(1) + z.softmax(0) - 2 * eye) * scale / 2 / len(z)
    return e @ t, e.T @ f


def parts_of_own_columns(image_parts, text_parts, W_image, W_text, scale):
    x, y, f, t, z, eye = _vectors(image_parts, text_parts, W_image, W_text, scale)
    q = torch.cat([part.softmax(0) for part in z.split([len(part) for part in image_parts])])
    e = (z.softmax(1) + q - 2 * eye) * scale / 2 / len(z)
    return (e @ t).T @ x, (e.T @ f).T @ y


def parts_asking_alone(image_parts, text_parts, W_image, W_text, scale):
    """Each part with a graph, the others as numbers; its own rows ask, and nobody else."""
    _, _, f, t, _, _ = _vectors(image_parts, text_parts, W_image, W_text, scale)
    W, V = W_image.clone().requires_grad_(), W_text.clone().requires_grad_()
    at, loss = 0, 0
    for x, y in zip(image_parts, text_parts, strict=True):
        mine = slice(at, at + len(x))
        images, texts, at = x @ W.T, y @ V.T, at + len(x)
        own = torch.arange(len(f))[mine]
        every_t = torch.cat([t[:mine.start], texts, t[mine.stop:]])
        every_f = torch.cat([f[:mine.start], images, f[mine.stop:]])
        loss = loss + F.cross_entropy(scale * images @ every_t.T, own, reduction="sum")
        loss = loss + F.cross_entropy(scale * texts @ every_f.T, own, reduction="sum")
    return torch.autograd.grad(loss / 2 / len(f), (W, V))


# 11.5 equal captions

def limits_by_counts(text):
    _, counts = text.unique(return_counts=True)
    share = counts.double() / len(text)
    return (share * counts.double().log()).sum(), torch.tensor(len(counts) / len(text), dtype=torch.float64)


def limits_by_loop(text):
    rows = text.tolist()
    counts = [rows.count(one) for one in rows]
    return (torch.tensor(sum(math.log(m) for m in counts) / len(rows), dtype=torch.float64),
            torch.tensor(sum(1 / m for m in counts) / len(rows), dtype=torch.float64))


def _limits(change):
    def limits(text):
        m = (text.unsqueeze(0) == text.unsqueeze(1)).sum(0).double()
        return change(m, text.unique(return_counts=True)[1].double())
    return limits


def limits_of_neighbours(text):
    runs = torch.unique_consecutive(text, return_counts=True)[1].double()
    m = runs.repeat_interleave(runs.long())
    return m.log().mean(), (1 / m).mean()


def limits_of_later_rows(text):
    m = torch.stack([(text[i:] == one).sum() for i, one in enumerate(text)]).double()
    return m.log().mean(), (1 / m).mean()


RIGHT = {
    "11.1": [info_by_autograd, info_by_loops],
    "11.2": [sigmoid_by_bce, sigmoid_by_loops],
    "11.3": [zero_by_normalize, zero_by_loops],
    "11.4": [parts_by_autograd, parts_at_once],
    "11.5": [limits_by_counts, limits_by_loop],
}
WRONG = {
    "11.1": [
        (_info(ways="photos"), "Only the photos"),
        (_info(ways="texts"), "Only the texts"),
        (_info(ways="sum"), "halved"),
        (_info(change=lambda g, c, t: g * t), "lacks 1/temperature"),
        (_info(change=lambda g, c, t: g * t * t), "multiplied by the temperature"),
        (_info(change=lambda g, c, t: g * len(c)), "lacks the 1/batch"),
        (_info(change=lambda g, c, t: -g), "wrong sign"),
        (_info(change=lambda g, c, t: g + torch.eye(len(c)).to(c) / len(c) / t), "softmax alone"),
        (_info(change=lambda g, c, t: g + torch.eye(len(c)).to(c) / len(c) / t / 2), "taken away once"),
        (lambda c, t: _info()(c, 1.0), "no effect"),
        (lambda c, t: (info_by_autograd(c, 1 / t)[0], _info()(c * t, 1.0)[1] / t), "divide by it"),
        (info_overflows, "0.001"),
        (lambda c, t: info_by_autograd(c, t)[0], "2"),
        (info_without_keepdim, "lack `keepdim=True`"),
        (info_over_all_entries, "mean over all entries"),
        (info_clamped, "Logits that are clamped"),
        (_info(change=lambda g, c, t: g / t), "temperature twice"),
        (_info(change=lambda g, c, t: g / 2), "halved twice"),
        (_info(change=lambda g, c, t: 2 * g), "lacks the ½"),
        (_info(change_loss=lambda loss, c, t: -sum((c / t).softmax(k).trace() for k in (0, 1)) / 2 / len(c)),
         "logarithm is missing"),
        (info_without_own, "own pair is left out"),
        (lambda c, t: (info_without_own(c, t)[0], info_by_autograd(c, t)[1]), "own pair is left out"),
        (info_of_probabilities, "taken of a softmax"),
        (lambda c, t: (info_of_probabilities(c, t)[0], info_by_autograd(c, t)[1]), "taken of a softmax"),
        (_info(change_loss=lambda loss, c, t: -((c / t).softmax(1).diag() + 1e-9).log().mean() / 2
               - ((c / t).softmax(0).diag() + 1e-9).log().mean() / 2), "bounds its logarithm"),
    ],
    "11.2": [
        (_pairs(end=lambda cost: cost.mean()), "mean over all pairs"),
        (_pairs(end=lambda cost: cost.sum()), "not divided"),
        (_pairs(sign=lambda n: 1 - 2 * torch.eye(n).double()), "turned round"),
        (_pairs(sign=lambda n: torch.eye(n).double()), "sign 0"),
        (_pairs(end=lambda cost: cost.diagonal().mean()), "Only the right pairs"),
        (_pairs(logits=lambda c, s, b: s * c), "bias is missing"),
        (_pairs(logits=lambda c, s, b: s * (c + b)), "multiplied by the scale"),
        (_pairs(logits=lambda c, s, b: c / s + b), "divide by the scale"),
        (lambda c, s, b: info_by_autograd(c, 1 / s)[0], "softmax loss of exercise 11.1"),
        (lambda c, s, b: -((2 * torch.eye(len(c)).to(c) - 1) * (s * c + b)).sigmoid().log().sum() / len(c),
         "overflows"),
        (sigmoid_clamped, "probability that is clamped"),
        (sigmoid_by_bce_of_signs, "targets of 0 and 1"),
        (_pairs(end=_balanced), "averaged apart"),
        (_pairs(end=lambda cost: _balanced(cost) / 2), "averaged apart"),
        (_pairs(logits=lambda c, s, b: torch.tensor(s).double().exp() * c + b), "taken for a logarithm"),
        (_pairs(logits=lambda c, s, b: min(s, 100) * c + b), "held at 100"),
        (_pairs(logits=lambda c, s, b: s * c + b - b * torch.eye(len(c)).to(c)), "wrong pairs alone"),
        (_pairs(logits=lambda c, s, b: s * c + b * torch.eye(len(c)).to(c)), "right pairs alone"),
        (_pairs(end=lambda cost: (1 - (-cost).exp()).sum() / len(cost)), "logarithm is missing"),
        (sigmoid_by_hinge, "hinge"),
        (_pairs(logits=lambda c, s, b: (s * c + b).clamp(-30, 30)), "Logits that are clamped"),
    ],
    "11.3": [
        (_zero(again=lambda p: p), "not brought back to length 1"),
        (_zero(read=lambda p: p), "before they are normalised"),
        (_zero(look=lambda x: x), "photos are not normalised"),
        (_zero(look=lambda x: x, read=lambda p: p, again=lambda p: p), "Nothing is normalised"),
        (_zero(join=lambda p: p[:, 0]), "first template"),
        (_zero(end=lambda z: z), "softmax over the classes is missing"),
        (_zero(end=lambda z: z.softmax(0)), "over the photos"),
        (lambda i, p, s: _zero()(i, p, 1.0), "scale is left out"),
        (lambda i, p, s: _zero()(i, p, 1 / s), "divide by the scale"),
        (lambda i, p, s: (s * F.normalize(i) @ F.normalize(p, dim=-1).flatten(0, 1).T).reshape(
            len(i), *p.shape[:2]).amax(2).softmax(1), "best template"),
        (lambda i, p, s: sum(zero_by_normalize(i, p[:, [k]], s) for k in range(p.shape[1])) / p.shape[1],
         "average the probabilities"),
        (_zero(look=lambda x: one((x - x.mean(0)) / x.std(0, correction=0))), "standardised over the batch"),
        (_zero(look=lambda x: one(x - x.mean(1, keepdim=True))), "mean over its numbers"),
        (_zero(join=lambda p: p.sum(1), again=lambda p: p), "templates are added up"),
        (_zero(*[lambda x: F.normalize(x, p=1, dim=-1)] * 2, again=lambda x: F.normalize(x, p=1, dim=-1)),
         "absolute values"),
        (_zero(end=lambda z: z.sigmoid()), "with a sigmoid"),
        (_zero(end=lambda z: F.one_hot(z.argmax(-1), z.shape[-1]).double()), "choice alone"),
        (_zero(end=lambda z: z / z.sum(-1, keepdim=True)), "exponentials first"),
        (_zero(join=lambda p: p.view(p.shape[1], p.shape[0], -1).mean(0)), "mixed up"),
        (lambda i, p, s: _zero()(i, p, math.exp(s)), "taken for a logarithm"),
        (lambda i, p, s: (-s * torch.cdist(one(i), one(one(p).mean(1)))).softmax(1), "minus the distance"),
        (lambda i, p, s: (s * one(i) @ one(p).flatten(0, 1).T).softmax(1).unflatten(1, p.shape[:2]).sum(2),
         "over all sentences"),
    ],
    "11.4": [
        (_own_parts(lambda n, total, parts: n / total), "weighed by their rows"),
        (_own_parts(lambda n, total, parts: 1 / parts), "parts are averaged"),
        (_own_parts(lambda n, total, parts: 1), "parts are added up"),
        (_error(lambda z, eye, s: (z.softmax(1) - eye) * s / len(z)), "Only the photos"),
        (_error(lambda z, eye, s: (z.softmax(1) + z.softmax(0) - 2 * eye) * s / len(z)), "so halve"),
        (_error(lambda z, eye, s: (z.softmax(1) + z.softmax(0) - 2 * eye) / 2 / len(z)), "factor `scale`"),
        (_error(lambda z, eye, s: (z.softmax(1) + z.softmax(0) - 2 * eye) * s / 2), "1/batch is missing"),
        (_error(lambda z, eye, s: (z.softmax(1) + z.softmax(0) - 2 * eye) * s / 2 / len(z), turn=lambda e: e),
         "transposed"),
        (parts_without_moving_on, "move on"),
        (_error(lambda z, eye, s: (z.softmax(1) - eye) * s / 2 / len(z)), "half of two ways"),
        (_error(lambda z, eye, s: (z.softmax(0) - eye) * s / 2 / len(z)), "half of two ways"),
        (_error(lambda z, eye, s: (z.softmax(1) + z.softmax(0) - eye) * s / 2 / len(z)), "taken away once"),
        (_error(lambda z, eye, s: (z.softmax(1) + z.softmax(0)) * s / 2 / len(z)), "own pair's 1 is missing"),
        (_start_of_part(lambda part, first, own: part * own), "its number times its own rows"),
        (_start_of_part(lambda part, first, own: part * first), "rows of the first part"),
        (_start_of_part(lambda part, first, own: part * first, chunk=True), "rows of the first part"),
        (parts_of_unit_vectors, "not normalised"),
        (parts_exchanged, "are exchanged"),
        (parts_of_own_questions, "its own question alone"),
        (parts_by_their_number, "over the number of parts"),
        (lambda A, B, W, V, s: tuple(g * sum(map(len, A)) / len(A[0]) for g in parts_at_once(A, B, W, V, s)),
         "that of the first part"),
        (parts_weighed, "share of the rows"),
        (parts_up_to_the_vectors, "by the vectors"),
        (parts_of_own_columns, "photos of one part"),
        (parts_asking_alone, "own questions alone"),
    ],
    "11.5": [
        (_limits(lambda m, g: (g.log().mean(), (1 / m).mean())), "loss is averaged over the different"),
        (_limits(lambda m, g: (m.mean().log(), (1 / m).mean())), "logarithm of the mean"),
        (_limits(lambda m, g: (m.log().mean(), 1 / m.mean())), "over the mean number"),
        (_limits(lambda m, g: (m.log().mean(), (m == 1).double().mean())), "1 time in m"),
        (_limits(lambda m, g: (m.log2().mean(), (1 / m).mean())), "bits"),
        (_limits(lambda m, g: (math.log(len(m)) - m.log().mean(), (1 / m).mean())), "batch can show"),
        (_limits(lambda m, g: (torch.zeros(()).double(), (1 / m).mean())), "left out of the account"),
        (_limits(lambda m, g: ((m - 1).clamp(min=1).log().mean(), (1 / (m - 1).clamp(min=1)).mean())),
         "other equal rows only"),
        (_limits(lambda m, g: ((m - 1).log().mean(), (1 / (m - 1)).mean())), "other equal rows only"),
        (_limits(lambda m, g: (m.log().mean() / 2, (1 + (1 / m).mean()) / 2)), "no smaller than one"),
        (_limits(lambda m, g: (m.log().mean() / 2, (1 / m).mean())), "loss of the columns is left out"),
        (_limits(lambda m, g: ((g * g.log()).mean(), (1 / g).mean())), "divide by that of the rows"),
        (limits_of_neighbours, "side by side"),
        (_limits(lambda m, g: ((m.log() / m).mean(), (1 / m).mean())), "divided by its m"),
        (_limits(lambda m, g: (m.log().mean(), ((1 + 1 / m) / 2).mean())), "counts as perfect"),
        (_limits(lambda m, g: (m.log().mean(), (g / len(m)).pow(2).sum())), "chance that two rows"),
        (_limits(lambda m, g: (-(1 / m).mean().log(), (1 / m).mean())), "logarithm of the mean of 1/m"),
        (_limits(lambda m, g: (m.log().mean(), torch.exp(-m.log().mean()))), "geometric"),
        (_limits(lambda m, g: (m.log().mean(), torch.ones(()).double())), "count as found"),
        (limits_of_later_rows, "counted once"),
    ],
}
