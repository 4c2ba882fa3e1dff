"""Exercises of lesson 02: the joint loss."""

import torch
from torch.nn.functional import cross_entropy, logsigmoid

from cmlib.check.engine import Formula, case, exercise
from cmlib.check.telling import telling


@exercise("02.1", "The published objective", minutes=8, points=2, difficulty=2, grad=(0, 1))
def published_total(text_score, image_score, lam):
    text, image = -logsigmoid(text_score), -logsigmoid(image_score)
    joint_part = text - lam * (1 - lam) * image
    return (lam * text + (1 - lam) * image + joint_part).mean()


@published_total.cases
def _(draw):
    yield case(draw.normal(5), draw.normal(5), 0.3, about="random scores")
    yield case(draw.normal(7), draw.normal(7), 0.0, about="lambda = 0")
    yield case(draw.normal(1), draw.normal(1), 1.0, about="a batch of one and lambda = 1")
    yield case(torch.tensor([-800.0, 3.0, 0.5]).double(), torch.tensor([2.0, -900.0, 1.0]).double(), 0.4,
               about="scores as large as 900")


@published_total.mistake(
    "The image half of the joint term has the sign it should have, not the one that was printed: first write"
    " down the published formula as it stands."
)
def _(t, i, lam):
    t, i = -logsigmoid(t), -logsigmoid(i)
    return (lam * t + (1 - lam) * i + t + lam * (1 - lam) * i).mean()


@published_total.mistake("The joint term is missing: this is only the weighted sum of the two branches.")
def _(t, i, lam):
    return (-lam * logsigmoid(t) - (1 - lam) * logsigmoid(i)).mean()


@published_total.mistake("Lambda and 1 − lambda are swapped: lambda weighs the text branch.")
def _(t, i, lam):
    t, i = -logsigmoid(t), -logsigmoid(i)
    return ((1 - lam) * t + lam * i + t - lam * (1 - lam) * i).mean()


@published_total.mistake(
    "You return the sum over the batch; the mean is wanted, so that the batch size does not act as a "
    "learning rate."
)
def _(t, i, lam):
    return published_total.reference(t, i, lam) * t.numel()


@published_total.mistake(
    "The joint term replaces the two branches here; the total has all three: λ L_text + (1−λ) L_img + "
    "L_joint."
)
def _(t, i, lam):
    return (-logsigmoid(t) + lam * (1 - lam) * logsigmoid(i)).mean()


@published_total.mistake(
    "The first half of the joint term is missing: −log σ(s_t) stands in it with weight 1, besides λ L_text."
)
def _(t, i, lam):
    return (-lam * logsigmoid(t) - (1 - lam) * logsigmoid(i) + lam * (1 - lam) * logsigmoid(i)).mean()


@published_total.mistake(
    "−log σ(s_t) in the joint term has lost its minus sign; only the second half is printed with a plus."
)
def _(t, i, lam):
    t, i = -logsigmoid(t), -logsigmoid(i)
    return (lam * t + (1 - lam) * i - t - lam * (1 - lam) * i).mean()


@published_total.mistake("The logarithm is missing: ℓ(s) is −log σ(s), not −σ(s).")
def _(t, i, lam):
    t, i = -t.sigmoid(), -i.sigmoid()
    return (lam * t + (1 - lam) * i + t - lam * (1 - lam) * i).mean()


@published_total.mistake(
    "The second half of the joint term is missing: + λ(1−λ) log σ(s_i) stands in it as well."
)
def _(t, i, lam):
    return (-(1 + lam) * logsigmoid(t) - (1 - lam) * logsigmoid(i)).mean()


@published_total.mistake(
    "λ(1−λ) weighs the whole joint term here; it stands before the second half alone, log σ(s_i)."
)
def _(t, i, lam):
    t, i = -logsigmoid(t), -logsigmoid(i)
    return (lam * t + (1 - lam) * i + lam * (1 - lam) * (t - i)).mean()


@published_total.mistake("λ(1−λ) weighs the wrong half of the joint term: it belongs to log σ(s_i).")
def _(t, i, lam):
    t, i = -logsigmoid(t), -logsigmoid(i)
    return (lam * t + (1 - lam) * i + lam * (1 - lam) * t - i).mean()


@published_total.mistake("The second half of the joint term has lost its weight λ(1−λ).")
def _(t, i, lam):
    return (-(1 + lam) * logsigmoid(t) - (1 - lam) * logsigmoid(i) + logsigmoid(i)).mean()


@published_total.mistake("log σ is the negative of a loss: every ℓ has lost its minus sign.")
def _(t, i, lam):
    return -published_total.reference(t, i, lam)


@published_total.mistake("The scores are turned round: ℓ(s) = −log σ(s) is small where s is large.")
def _(t, i, lam):
    return published_total.reference(-t, -i, lam)


def _overflowing(collected):
    def wrong(t, i, lam):
        t, i = -torch.sigmoid(t).log(), -torch.sigmoid(i).log()
        each = (1 + lam) * t + (1 - lam) ** 2 * i if collected else \
            lam * t + (1 - lam) * i + t - lam * (1 - lam) * i
        return each.mean()
    return wrong


for _collected in (True, False):  # inf in the one form, inf − inf in the other
    published_total.mistake(
        "log(sigmoid(s)) and log(1 + exp(-s)) are infinite for scores far below zero. Use logsigmoid or "
        "softplus."
    )(_overflowing(_collected))


@published_total.mistake(
    "This is the total of the form that is claimed to be equivalent, from step 5; the published one has no λ "
    "log σ(s_i) + (1−λ) log σ(s_t)."
)
def _(t, i, lam):
    t, i = -logsigmoid(t), -logsigmoid(i)
    return (2 * lam * t + (1 - 3 * lam + lam**2) * i).mean()


@published_total.mistake(
    "Text and image are exchanged in the joint part: its first half is of s_t, its second, with λ(1−λ), of "
    "s_i."
)
def _(t, i, lam):
    t, i = -logsigmoid(t), -logsigmoid(i)
    return (lam * t + (1 - lam) * i + i - lam * (1 - lam) * t).mean()


@published_total.mistake("ℓ(s) is −log σ(s), the surprise; 1 − σ(s) is the probability of being wrong.")
def _(t, i, lam):
    t, i = (-t).sigmoid(), (-i).sigmoid()
    return ((1 + lam) * t + (1 - lam) ** 2 * i).mean()


@published_total.mistake("The joint part is halved; it is a sum of two terms, as printed, and no mean.")
def _(t, i, lam):
    t, i = -logsigmoid(t), -logsigmoid(i)
    return (lam * t + (1 - lam) * i + (t - lam * (1 - lam) * i) / 2).mean()


@published_total.mistake(
    "The joint part here is one loss of the sum of both scores; the published one has a term for each score."
)
def _(t, i, lam):
    return (-lam * logsigmoid(t) - (1 - lam) * logsigmoid(i) - logsigmoid(t + i)).mean()


@published_total.mistake("This is the loss of every row; return one number, their mean.")
def _(t, i, lam):
    t, i = -logsigmoid(t), -logsigmoid(i)
    return lam * t + (1 - lam) * i + t - lam * (1 - lam) * i


@published_total.mistake(
    "In the joint term the image has the weight λ(1−λ) and a plus before its log; yours is 1−λ, as a loss."
)
def _(t, i, lam):
    t, i = -logsigmoid(t), -logsigmoid(i)
    return ((1 + lam) * t + 2 * (1 - lam) * i).mean()


@exercise("02.2", "What the “equivalent” form weighs", minutes=10, points=2, difficulty=2,
          names=("the weight of the text", "the weight of the image"))
def equivalent_weights(lam):
    text = (1 + lam) - (1 - lam)
    image = (1 - lam) ** 2 - lam
    return text, image


@equivalent_weights.cases
def _(draw):
    yield case(draw.uniform(6), about="random lambdas")
    yield case(torch.tensor([0.0, 1.0]).double(), about="lambda = 0 and lambda = 1")


@equivalent_weights.mistake(
    "These are the weights of the published form, before λ log σ(s_i) + (1−λ) log σ(s_t) is added."
)
def _(lam):
    return 1 + lam, (1 - lam) ** 2


@equivalent_weights.mistake(
    "The added terms are log σ = −ℓ, so they lower the weights of ℓ; you raised them."
)
def _(lam):
    return 1 + lam + (1 - lam), (1 - lam) ** 2 + lam


@equivalent_weights.mistake("The two weights are in the wrong order: text first, image second.")
def _(lam):
    return 1 - 3 * lam + lam**2, 2 * lam


@equivalent_weights.mistake(
    "The added terms cross over: λ goes with the image score and 1−λ with the text score."
)
def _(lam):
    return (1 + lam) - lam, (1 - lam) ** 2 - (1 - lam)


@equivalent_weights.mistake(
    "The image's weight takes λ away twice over: the added term is λ log σ(s_i), once."
)
def _(lam):
    return 2 * lam, (1 - lam) ** 2 - 2 * lam


@equivalent_weights.mistake(
    "Only the text has lost its added term; λ log σ(s_i) changes the image's weight too."
)
def _(lam):
    return 2 * lam, (1 - lam) ** 2


@equivalent_weights.mistake(
    "Only the image has lost its added term; (1−λ) log σ(s_t) changes the text's weight too."
)
def _(lam):
    return 1 + lam, 1 - 3 * lam + lam**2


@equivalent_weights.mistake(
    "You started from the joint part with its sign repaired: in the published form the image's weight is "
    "(1−λ) − λ(1−λ)."
)
def _(lam):
    return 2 * lam, (1 - lam) + lam * (1 - lam) - lam


@equivalent_weights.mistake("This is L'_joint alone; the total also has λ L_text + (1−λ) L_img.")
def _(lam):
    return lam, -lam * (1 - lam) - lam


@equivalent_weights.mistake("The square of 1 − λ is 1 − 2λ + λ²: the λ² has the wrong sign in yours.")
def _(lam):
    return 2 * lam, 1 - 3 * lam - lam**2


@equivalent_weights.mistake("The square of 1 − λ is 1 − 2λ + λ²: the λ² is missing in yours.")
def _(lam):
    return 2 * lam, 1 - 3 * lam


@equivalent_weights.mistake(
    "The square of 1 − λ is 1 − 2λ + λ²: its middle term has the wrong sign in yours."
)
def _(lam):
    return 2 * lam, 1 + lam + lam**2


@exercise("02.3", "The mixed derivative", minutes=15, points=3, difficulty=3, rtol=1e-4, atol=1e-6)
def mixed_derivative(loss, text_score, image_score):
    t, i = text_score.detach().requires_grad_(), image_score.detach().requires_grad_()
    slope = torch.autograd.grad(loss(t, i).sum(), t, create_graph=True)[0]
    if not slope.requires_grad:
        return torch.zeros_like(t)
    mixed = torch.autograd.grad(slope.sum(), i, allow_unused=True)[0]
    return torch.zeros_like(t) if mixed is None else mixed


def _second_in(argument):
    def wrong(loss, text_score, image_score):
        t, i = text_score.detach().requires_grad_(), image_score.detach().requires_grad_()
        variable = (t, i)[argument]
        slope = torch.autograd.grad(loss(t, i).sum(), variable, create_graph=True)[0]
        out = (
            torch.autograd.grad(slope.sum(), variable, allow_unused=True)[0] if slope.requires_grad else None
        )
        return torch.zeros_like(t) if out is None else out
    return wrong


@mixed_derivative.cases
def _(draw):
    t, i = draw.normal(6), draw.normal(6)
    # first: on a loss of the sum all second derivatives are equal, and slips look alike
    yield case(Formula("sin(a * b) + a**3", "a", "b"), t, i, about="sin(ab) + a³")
    yield case(Formula("-logsigmoid(a + b)", "a", "b"), t, i, about="a loss on the sum of the scores")
    yield case(
        Formula("-logsigmoid(a) - 0.5 * logsigmoid(b)", "a", "b"),
        t,
        i,
        about="a separable loss (the answer is zero)",
    )
    yield case(Formula("2 * a + b**2", "a", "b"), t, i, about="a loss that is linear in the text score (the "
                                                              "answer is zero)")


mixed_derivative.mistake(
    "This is the second derivative in the text score alone, ∂²L/∂s_t²; the second time, differentiate by the"
    " image score."
)(_second_in(0))
mixed_derivative.mistake(
    "This is the second derivative in the image score alone, ∂²L/∂s_i²; the first time, differentiate by the"
    " text score."
)(_second_in(1))


def _with_slope_of(slope_of):
    """The mixed derivative that comes of another first derivative; zeros where nothing leads on."""
    def wrong(loss, text_score, image_score):
        t, i = text_score.detach().requires_grad_(), image_score.detach().requires_grad_()
        slope = slope_of(loss(t, i), t)
        out = torch.autograd.grad(slope.sum(), i, allow_unused=True)[0] if slope.requires_grad else None
        return torch.zeros_like(t) if out is None else out
    return wrong


mixed_derivative.mistake(
    "Only zeros come back: has the first derivative lost its record? With create_graph=True it can be "
    "differentiated again."
)(_with_slope_of(lambda loss, t: torch.autograd.grad(loss.sum(), t)[0]))
mixed_derivative.mistake(
    "You differentiate a mean, so every row is divided by the batch: sum before you differentiate."
)(_with_slope_of(lambda loss, t: torch.autograd.grad(loss.mean(), t, create_graph=True)[0]))


def _stencil(signs, h, width):
    """Four evaluations around the scores, at (+, +), (+, −), (−, +) and (−, −), with their signs."""
    def wrong(loss, t, i):
        corners = loss(t + h, i + h), loss(t + h, i - h), loss(t - h, i + h), loss(t - h, i - h)
        return sum(sign * corner for sign, corner in zip(signs, corners, strict=True)) / (width * h**2)
    return wrong


for _h in (10.0**-k for k in range(1, 6)):
    for _signs in ((1, -1, 1, -1), (1, 1, -1, -1), (1, 1, 1, 1)):
        mixed_derivative.mistake(
            "The signs of the stencil are wrong: + where both scores move the same way, − where they part."
        )(_stencil(_signs, _h, 4))
    mixed_derivative.mistake("The stencil is divided by h²; its corners lie 2h apart each way: 4h².")(
        _stencil((1, -1, -1, 1), _h, 1))


@mixed_derivative.mistake(
    "These are the two second derivatives added; the mixed one differentiates by each score once."
)
def _(loss, text_score, image_score):
    return _second_in(0)(loss, text_score, image_score) + _second_in(1)(loss, text_score, image_score)


@mixed_derivative.mistake(
    "The sum over the batch is taken once too often: every row has a mixed derivative of its own."
)
def _(loss, text_score, image_score):
    return mixed_derivative.reference(loss, text_score, image_score).sum()


@mixed_derivative.mistake(
    "These are the two first derivatives added, the slope along the diagonal; differentiate one of them by "
    "the other score."
)
def _(loss, text_score, image_score):
    t, i = text_score.detach().requires_grad_(), image_score.detach().requires_grad_()
    return sum(torch.autograd.grad(loss(t, i).sum(), (t, i)))



@mixed_derivative.mistake(
    "This is the product of the two first derivatives, not the derivative of one by the other."
)
def _(loss, text_score, image_score):
    t, i = text_score.detach().requires_grad_(), image_score.detach().requires_grad_()
    a, b = torch.autograd.grad(loss(t, i).sum(), (t, i))
    return a * b


@mixed_derivative.mistake("This is only the first derivative by the text score.")
def _(loss, text_score, image_score):
    t, i = text_score.detach().requires_grad_(), image_score.detach().requires_grad_()
    return torch.autograd.grad(loss(t, i).sum(), t)[0]


@mixed_derivative.mistake("This is only the first derivative by the image score.")
def _(loss, text_score, image_score):
    t, i = text_score.detach().requires_grad_(), image_score.detach().requires_grad_()
    return torch.autograd.grad(loss(t, i).sum(), i)[0]


@mixed_derivative.mistake(
    "This is the loss itself; differentiate it by the text score, then by the image score."
)
def _(loss, text_score, image_score):
    return loss(text_score, image_score)


@exercise("02.4", "Product of experts", minutes=12, points=3, difficulty=3, grad=(0, 1))
def product_of_experts(text_logits, image_logits, labels):
    log_product = text_logits.log_softmax(1) + image_logits.log_softmax(1)
    log_p = log_product - log_product.logsumexp(1, keepdim=True)
    return -log_p.gather(1, labels[:, None]).mean()


@product_of_experts.cases
def _(draw):
    # 7 rows: three classes cannot be equally frequent, and the mean of whole columns is not that of all
    yield case(draw.normal(7, 3), draw.normal(7, 3), draw.integers(3, 7), about="random logits of three "
                                                                                "classes")
    yield case(draw.normal(5, 5), draw.normal(5, 5), draw.integers(5, 5), about="as many rows as classes")
    yield case(draw.normal(1, 2), draw.normal(1, 2), draw.integers(2, 1), about="a batch of one")
    yield telling(
        product_of_experts,
        lambda: case(
            600 * draw.normal(4, 4),
            600 * draw.normal(4, 4),
            draw.integers(4, 4),
            about="logits as large as a thousand",
        ),
    )


@product_of_experts.mistake(
    "For large logits a product of probabilities underflows to 0, and exp() to inf. Stay with logarithms: "
    "log_softmax or cross_entropy."
)
def _(t, i, y):
    q = t.softmax(1) * i.softmax(1)
    return -(q / q.sum(1, keepdim=True))[torch.arange(len(y)), y].log().mean()


@product_of_experts.mistake(
    "This equals the sum of two separate losses, so the branches never meet: a product of probabilities must"
    " be divided by its sum over the classes, and that normaliser is what joins them."
)
def _(t, i, y):
    return cross_entropy(t, y) + cross_entropy(i, y)


@product_of_experts.mistake(
    "This averages the two probabilities (a mixture); a product of experts multiplies them."
)
def _(t, i, y):
    p = (t.softmax(1) + i.softmax(1)) / 2
    return -p[torch.arange(len(y)), y].log().mean()


@product_of_experts.mistake("You average the logits; the logarithm of a product is a sum, without the half.")
def _(t, i, y):
    return cross_entropy((t + i) / 2, y)


@product_of_experts.mistake("The softmax runs over the rows of the batch; it belongs on the classes, dim=1.")
def _(t, i, y):
    q = (t + i).log_softmax(0)
    return -q[torch.arange(len(y)), y].mean()


@product_of_experts.mistake("This is the log of the product, not minus the log: the sign is flipped.")
def _(t, i, y):
    return -cross_entropy(t + i, y)


@product_of_experts.mistake("You multiply the logits; a product of probabilities is a sum of logits.")
def _(t, i, y):
    return cross_entropy(t * i, y)


@product_of_experts.mistake(
    "You multiply the two losses; the product is of the two distributions, class by class."
)
def _(t, i, y):
    return cross_entropy(t, y) * cross_entropy(i, y)


@product_of_experts.mistake(
    "A softmax is taken before the logits are added: stay with logits or log-probabilities."
)
def _(t, i, y):
    return cross_entropy(t.softmax(1) + i.softmax(1), y)


@product_of_experts.mistake(
    "Only one of the two experts speaks: this is the cross-entropy of one branch alone."
)
def _(t, i, y):
    return cross_entropy(t, y)


@product_of_experts.mistake(
    "Only one of the two experts speaks: this is the cross-entropy of one branch alone."
)
def _(t, i, y):
    return cross_entropy(i, y)


@product_of_experts.mistake("You average over all classes; what counts is the column of each row's label.")
def _(t, i, y):
    return -(t + i).log_softmax(1).mean()


@product_of_experts.mistake(
    "[:, labels] takes whole columns for every row; row i needs its own label's: gather, or [arange(n), "
    "labels]."
)
def _(t, i, y):
    return -(t + i).log_softmax(1)[:, y].mean()


@product_of_experts.mistake(
    "A softmax is taken of the product of the probabilities; divide the product by its own sum over the "
    "classes."
)
def _(t, i, y):
    return cross_entropy(t.softmax(1) * i.softmax(1), y)


def _normalised(normaliser):
    """The logits' sum minus another normaliser."""
    def wrong(t, i, y):
        return -(t + i - normaliser(t, i)).gather(1, y[:, None]).mean()
    return wrong


for _sentence, _normaliser in (
    ("The normaliser is that of the text alone; it is the sum over the classes of the product.",
     lambda t, i: t.logsumexp(1, keepdim=True)),
    ("The normaliser is that of the image alone; it is the sum over the classes of the product.",
     lambda t, i: i.logsumexp(1, keepdim=True)),
    ("The normaliser runs over the whole batch; every row has one of its own.",
     lambda t, i: (t + i).flatten().logsumexp(0)),
    ("The normaliser is the log of a sum of probabilities, a logsumexp; yours is the sum of their logs.",
     lambda t, i: (t.log_softmax(1) + i.log_softmax(1)).sum(1, keepdim=True)
     + t.logsumexp(1, keepdim=True) + i.logsumexp(1, keepdim=True)),
):
    product_of_experts.mistake(_sentence)(_normalised(_normaliser))


@product_of_experts.mistake(
    "These are the raw logits: nothing is normalised, and a shift of them changes the "
    "loss."
)
def _(t, i, y):
    return -(t + i).gather(1, y[:, None]).mean()


@product_of_experts.mistake("You take the larger of the two logits; a product of probabilities adds them.")
def _(t, i, y):
    return cross_entropy(torch.maximum(t, i), y)



@product_of_experts.mistake(
    "The logarithm is missing: the loss is minus the log of the probability, not minus the probability."
)
def _(t, i, y):
    return -(t.softmax(1) * i.softmax(1)).gather(1, y[:, None]).mean()


@product_of_experts.mistake(
    "The two sets of logits stand side by side, as if there were twice as many classes; add them class by "
    "class."
)
def _(t, i, y):
    return cross_entropy(torch.cat([t, i], 1), y)


@product_of_experts.mistake(
    "This is the mean of two separate losses, so the branches never meet: multiply the distributions first."
)
def _(t, i, y):
    return (cross_entropy(t, y) + cross_entropy(i, y)) / 2


@exercise("02.5", "Where the published loss leads", minutes=20, points=3, difficulty=4,
          names=("the probabilities", "the speed"))
def end_of_descent(lam, classes, label):
    p = torch.full((classes,), lam / classes, dtype=torch.float64)
    p[label] = p[label] + (1 - lam)
    return p, torch.tensor(-lam * (1 - lam) / classes, dtype=torch.float64)


@end_of_descent.cases
def _(draw):
    for classes, about in ((3, "three classes"), (10, "ten classes"), (2, "two classes")):
        lam = float(draw.uniform(1, low=0.15, high=0.4))
        yield case(lam, classes, int(draw.integers(classes - 1, 1)), about=about)
    yield case(float(draw.uniform(1, low=0.7, high=0.9)), 5, 4, about="λ near 1 and the last of five classes")


def _ends(p_right, p_other=None, speed=None):
    def wrong(lam, classes, label):
        p, s = end_of_descent.reference(lam, classes, label)
        right = p_right(lam, classes)
        other = (1 - right) / (classes - 1) if p_other is None else p_other(lam, classes)
        p = torch.full((classes,), float(other), dtype=torch.float64)
        p[label] = right
        return p, s if speed is None else torch.tensor(speed(lam, classes), dtype=torch.float64)
    return wrong


def _right(lam, classes):
    return 1 - lam + lam / classes


ENDS = {  # what is said of a wrong end: p of the right class, p elsewhere (None: the rest, evenly), speed
    "λ is spread over the wrong classes alone; all C classes share it, the right one included.":
        (lambda lam, c: 1 - lam, None, None),
    "λ and 1 − λ are exchanged: the right class keeps 1 − λ and its share of λ.":
        (lambda lam, c: lam + (1 - lam) / c, None, None),
    "The probabilities add up to more than 1: what is spread has to be taken from the right class.":
        (lambda lam, c: 1 + lam / c, lambda lam, c: lam / c, None),
    "This is where cross-entropy alone would lead, the one-hot label; far down the joint term pulls with λ.":
        (lambda lam, c: 1.0, lambda lam, c: 0.0, None),
    "Here the model knows nothing: a uniform p has other slopes for the right class than for the rest.":
        (lambda lam, c: 1 / c, None, None),
    "The probabilities do not add up to 1: the right class has its share λ/C as well.":
        (lambda lam, c: 1 - lam, lambda lam, c: lam / c, None),
    "The shares of the wrong classes have a factor 1 − λ: it stands before the whole slope, and cancels.":
        (_right, lambda lam, c: lam * (1 - lam) / c, None),
    "λ(1 − λ) is spread over the classes: 1 − λ stands before the whole slope, and cancels in p.":
        (lambda lam, c: 1 - lam * (1 - lam) * (1 - 1 / c), None, None),
    "The speed holds 1 − λ twice: once is the weight of L_img; the other factor is a wrong class's share.":
        (_right, None, lambda lam, c: -(1 - lam) ** 2 / c),
    "The factor λ/C is a wrong class's share of p; yours is λ times the share of the right class.":
        (_right, None, lambda lam, c: -lam * (1 - lam) * _right(lam, c)),
    "The speed holds λ once too often: the weight of L_img is 1 − λ, the other factor a wrong class's share.":
        (_right, None, lambda lam, c: -lam**2 * (1 - lam) / c),
    "The logits fall: the speed is minus the slope, and the slope is positive.":
        (_right, None, lambda lam, c: lam * (1 - lam) / c),
    "The speed has lost the weight 1 − λ of L_img, which stands before everything.":
        (_right, None, lambda lam, c: -lam / c),
    "The logits fall, and their speed has lost the weight 1 − λ of L_img: it is minus the shared slope.":
        (_right, None, lambda lam, c: lam / c),
    "This is the speed of all logits together; each has one C-th of it.":
        (_right, None, lambda lam, c: -lam * (1 - lam)),
    "This is the joint term's pull on the right class; what all classes share is a C-th of it, times 1 − λ.":
        (_right, None, lambda lam, c: -lam),
}
for _sentence, _how in ENDS.items():
    end_of_descent.mistake(_sentence)(_ends(*_how))


@end_of_descent.mistake("The two parts are in the wrong order: probabilities first, then the speed.")
def _(lam, classes, label):
    return end_of_descent.reference(lam, classes, label)[::-1]


@end_of_descent.mistake("The right class is not the one at label.")
def _(lam, classes, label):
    p, speed = end_of_descent.reference(lam, classes, 0)
    return p, speed
