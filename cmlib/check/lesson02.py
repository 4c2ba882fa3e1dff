"""Exercises of lesson 02: the joint loss."""

import torch
from torch.nn.functional import cross_entropy, logsigmoid

from cmlib.check.engine import Formula, case, exercise
from cmlib.check.telling import telling


@exercise("02.1", "The published objective", minutes=8, points=2, difficulty=2, grad=(0, 1))
def published_total(text_score, image_score, lam):
    text, image = -logsigmoid(text_score), -logsigmoid(image_score)
    return (lam * text + (1 - lam) * image + text - lam * (1 - lam) * image).mean()


@published_total.cases
def _(draw):
    yield case(draw.normal(5), draw.normal(5), 0.3, about="random scores")
    yield case(draw.normal(7), draw.normal(7), 0.0, about="lambda = 0")
    yield case(draw.normal(1), draw.normal(1), 1.0, about="a batch of one and lambda = 1")
    yield case(torch.tensor([-800.0, 3.0, 0.5]).double(), torch.tensor([2.0, -900.0, 1.0]).double(), 0.4,
               about="scores as large as 900")


@published_total.mistake("The image half of the joint term has the sign it should have, not the one that was "
                         "printed: "
                         "first write down the published formula as it stands.")
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


@published_total.mistake("You return the sum over the batch; the mean is wanted, so that the batch size does "
                         "not act as a "
                         "learning rate.")
def _(t, i, lam):
    return published_total.reference(t, i, lam) * t.numel()


@published_total.mistake("log(sigmoid(s)) overflows for scores far below zero: the sigmoid is exactly 0 "
                         "there. Use logsigmoid.")
def _(t, i, lam):
    t, i = -torch.sigmoid(t).log(), -torch.sigmoid(i).log()
    return (lam * t + (1 - lam) * i + t - lam * (1 - lam) * i).mean()


@published_total.mistake("This is the loss of every row; return one number, their mean.")
def _(t, i, lam):
    t, i = -logsigmoid(t), -logsigmoid(i)
    return lam * t + (1 - lam) * i + t - lam * (1 - lam) * i


@exercise("02.2", "What the “equivalent” form weighs", minutes=10, points=2, difficulty=2)
def equivalent_weights(lam):
    return 2 * lam, 1 - 3 * lam + lam**2


@equivalent_weights.cases
def _(draw):
    yield case(draw.uniform(6), about="random lambdas")
    yield case(torch.tensor([0.0, 1.0]).double(), about="lambda = 0 and lambda = 1")


@equivalent_weights.mistake("These are the weights of the published form, before λ log σ(s_i) + (1−λ) log "
                            "σ(s_t) is added.")
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


@equivalent_weights.mistake("The added terms cross over: λ goes with the image score and 1−λ with the text "
                            "score.")
def _(lam):
    return (1 + lam) - lam, (1 - lam) ** 2 - (1 - lam)


@equivalent_weights.mistake("This is L'_joint alone; the total also has λ L_text + (1−λ) L_img.")
def _(lam):
    return lam, -lam * (1 - lam) - lam


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
    yield case(Formula("-logsigmoid(a + b)", "a", "b"), t, i, about="a loss on the sum of the scores")
    yield case(Formula("sin(a * b) + a**3", "a", "b"), t, i, about="sin(ab) + a³")
    yield case(
        Formula("-logsigmoid(a) - 0.5 * logsigmoid(b)", "a", "b"),
        t,
        i,
        about="a separable loss (the answer is zero)",
    )
    yield case(Formula("2 * a + b**2", "a", "b"), t, i, about="a loss that is linear in the text score (the "
                                                              "answer is zero)")


mixed_derivative.mistake("This is the second derivative in the text score alone, ∂²L/∂s_t²; the second time, "
                         "differentiate by the image score.")(_second_in(0))
mixed_derivative.mistake("This is the second derivative in the image score alone, ∂²L/∂s_i²; the first time, "
                         "differentiate by the text score.")(_second_in(1))


@mixed_derivative.mistake("This is the product of the two first derivatives, not the derivative of one by "
                          "the other.")
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


@exercise("02.4", "Product of experts", minutes=12, points=3, difficulty=3, grad=(0, 1))
def product_of_experts(text_logits, image_logits, labels):
    return cross_entropy(text_logits + image_logits, labels)


@product_of_experts.cases
def _(draw):
    yield case(draw.normal(6, 3), draw.normal(6, 3), draw.integers(3, 6), about="random logits of three "
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


@product_of_experts.mistake("exp() overflows for large logits. Stay with logarithms: log_softmax or "
                            "cross_entropy.")
def _(t, i, y):
    q = t.softmax(1) * i.softmax(1)
    return -(q / q.sum(1, keepdim=True))[torch.arange(len(y)), y].log().mean()


@product_of_experts.mistake("This equals the sum of two separate losses, so the branches never meet: a "
                            "product of probabilities must "
                            "be divided by its sum over the classes, and that normaliser is what joins them.")
def _(t, i, y):
    return cross_entropy(t, y) + cross_entropy(i, y)


@product_of_experts.mistake("This averages the two probabilities (a mixture); a product of experts "
                            "multiplies them.")
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
