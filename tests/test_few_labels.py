"""What lesson 12 polishes: two views, pseudo-labels, questions to ask, a probe, hidden words; each against a
slow and obvious version.
"""

import itertools

import pytest
import torch
from torch.nn.functional import cross_entropy

from cmlib import evaluate, fit, image_encoder, text_encoder
from cmlib.data import Batch, ImageBatch, Pairs, Rows
from cmlib.data.augment import Augment
from cmlib.evaluation.acquisition import entropy, k_centre, margin
from cmlib.evaluation.probe import Probe
from cmlib.losses.pseudo import fixmatch_loss
from cmlib.losses.views import nt_xent
from cmlib.models.word_guesser import WordGuesser
from cmlib.tasks.hidden_words import HiddenWords, hide_words
from cmlib.tasks.two_views import TwoViews
from cmlib.worlds import Chest
from cmlib.worlds.xray import FINDINGS


def views_by_loops(first, second, temperature):
    z = [v / v.norm() for v in (*first, *second)]
    n, total = len(first), 0
    for i, one in enumerate(z):
        scores = [one @ other / temperature for j, other in enumerate(z) if j != i]
        own = one @ z[(i + n) % (2 * n)] / temperature
        total = total - own + torch.stack(scores).exp().sum().log()
    return total / (2 * n)


@pytest.mark.parametrize("n, hidden, temperature", [(2, 3, 0.5), (5, 4, 0.1), (3, 1, 2.0)])
def test_two_views_are_the_loops_forward_and_backward(n, hidden, temperature):
    torch.manual_seed(n)
    both = [torch.randn(n, hidden, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    fast, slow = nt_xent(*both, temperature), views_by_loops(*both, temperature)
    torch.testing.assert_close(fast, slow)
    for quick, plain in zip(torch.autograd.grad(fast, both), torch.autograd.grad(slow, both), strict=True):
        torch.testing.assert_close(quick, plain)


def test_two_views_of_one_point_cost_the_logarithm_of_the_candidates():
    same = torch.ones(6, 4)
    torch.testing.assert_close(nt_xent(same, same, 0.2), torch.tensor(11.0).log())


@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7, 1.0])
def test_fixmatch_is_its_loop_and_leaves_the_weak_view_alone(threshold):
    torch.manual_seed(0)
    strong, weak = (2 * torch.randn(7, 3, dtype=torch.float64) for _ in range(2))
    strong.requires_grad_()
    weak.requires_grad_()
    slow = strong.sum() * 0
    for s, w in zip(strong, weak.detach(), strict=True):
        if w.softmax(0).max() >= threshold:
            slow = slow + cross_entropy(s[None], w.argmax()[None])
    fast = fixmatch_loss(strong, weak, threshold)
    torch.testing.assert_close(fast, slow / 7)
    torch.testing.assert_close(*(torch.autograd.grad(x, strong)[0] for x in (fast, slow / 7)))
    assert torch.autograd.grad(fixmatch_loss(strong, weak, threshold), weak, allow_unused=True)[0] is None


def test_doubt_is_known_for_simple_rows():
    rows = torch.tensor([[1.0, 0, 0], [0.5, 0.5, 0], [1 / 3] * 3])
    torch.testing.assert_close(entropy(rows), torch.tensor([1.0, 2.0, 3.0]).log())
    torch.testing.assert_close(margin(rows), torch.tensor([1.0, 0.0, 0.0]))


@pytest.mark.parametrize("seed", range(3))
def test_k_centre_takes_the_farthest_row_each_time_and_stays_within_twice_the_best_radius(seed):
    torch.manual_seed(seed)
    points, known, k = torch.randn(9, 2, dtype=torch.float64), torch.tensor([4, 0]), 3
    chosen, have = [], known.tolist()
    for _ in range(k):
        left = [row for row in range(9) if row not in have]
        have.append(max(left, key=lambda row: min((points[row] - points[j]).norm() for j in have)))
        chosen.append(have[-1])
    assert k_centre(points, known, k).tolist() == chosen

    def radius(rows):
        return torch.cdist(points, points[rows]).amin(1).max()

    rest = [row for row in range(9) if row not in known.tolist()]
    best = min(radius([*known.tolist(), *more]) for more in itertools.combinations(rest, k))
    assert radius(have) <= 2 * best + 1e-12


def test_a_probe_is_logistic_regression_trained_to_the_end():
    torch.manual_seed(0)
    x, y = torch.randn(60, 5), torch.randint(3, (60,))
    probe = Probe(x, y, 3, l2=0.1)
    z = (x - x.mean(0)) / (x.std(0, correction=0) + 1e-4)
    w = probe.linear.weight.clone().requires_grad_()
    b = probe.linear.bias.clone().requires_grad_()
    (cross_entropy(z @ w.T + b, y) + 0.05 * w.square().sum()).backward()
    assert max(w.grad.abs().max(), b.grad.abs().max()) < 1e-3
    doubled = Probe(torch.cat([x, x[:20]]), torch.cat([y, y[:20]]), 3, 0.1)
    weighted = Probe(x, y, 3, 0.1, weights=torch.cat([torch.full((20,), 2.0), torch.ones(40)]))
    assert (doubled(x) - weighted(x)).abs().max() < 0.2  # but for the mean and spread of the doubled rows


@pytest.fixture(scope="module")
def reader():
    return text_encoder("mini").eval()


def test_hidden_words_are_those_of_the_report_and_their_states_do_not_know_them(reader):
    pairs = Chest().sample(40)
    hidden = hide_words(pairs, FINDINGS, reader, batch_size=7)
    states, words = hidden.extras["states"], hidden.extras["words"]
    for text, row in zip(pairs.texts, words.tolist(), strict=True):
        assert [FINDINGS[k] for k in row if k >= 0] == [w for w in text.split() if w in FINDINGS]
    assert states.shape == (*words.shape, reader.hidden_size) and not states[words < 0].any()
    renamed = [" ".join(FINDINGS[0] if w in FINDINGS else w for w in t.split()) for t in pairs.texts]
    again = hide_words(Pairs(pairs.images, renamed), FINDINGS, reader).extras["states"]
    torch.testing.assert_close(again, states, rtol=1e-4, atol=1e-4)  # whatever stood there


def test_words_that_the_film_tells_are_learned_through_fit_and_the_film_is_looked_at(reader):
    hidden = hide_words(Chest().sample(64), FINDINGS, reader)
    torch.manual_seed(0)
    model = WordGuesser(image_encoder("mini", pretrained=False, image_size=32), reader.hidden_size, 6)
    before = evaluate(model, hidden, task=HiddenWords())["loss"]
    fit(model, hidden, task=HiddenWords(), epochs=4, batch_size=16, learning_rate=2e-3, progress=False)
    assert evaluate(model, hidden, task=HiddenWords())["loss"] < before
    rows = Rows(hidden, None, HiddenWords.targets)
    batch = rows[torch.arange(4)]
    other = Batch(ImageBatch(255 - batch.image.pixels), None, batch.labels, batch.targets)
    assert (model.eval()(batch) - model(other)).abs().max() > 1e-3


def test_two_views_train_through_fit():
    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.image_encoder = image_encoder("cnn", hidden_size=16, image_size=32)

        def forward(self, batch):
            return self.image_encoder(batch.image)

    torch.manual_seed(0)
    films = Pairs(Chest().sample(48).images, None)
    history = fit(Net(), films, task=TwoViews(Augment()), epochs=3, batch_size=16, progress=False)
    assert history[-1]["loss"] < history[0]["loss"]


@pytest.mark.parametrize(
    "call, says",
    [
        (lambda: nt_xent(torch.ones(1, 3), torch.ones(1, 3)), r"at least 2 of them; got \(1, 3\)"),
        (lambda: nt_xent(torch.ones(3, 3), torch.ones(2, 3)), r"got \(3, 3\) and \(2, 3\)"),
        (lambda: nt_xent(torch.ones(3, 3), torch.ones(3, 3), 0.0), r"temperature=0.0 must be above 0"),
        (lambda: fixmatch_loss(torch.ones(3, 2), torch.ones(2, 2)), r"got float32 \(3, 2\) and"),
        (lambda: fixmatch_loss(torch.ones(3, 2), torch.ones(3, 2), 95), "threshold=95 is a probability"),
        (lambda: k_centre(torch.ones(4, 2), torch.tensor([0]), 4), "got k=4 of 4 rows, 1 of them labelled"),
        (lambda: Probe(torch.ones(4, 2), torch.ones(3).long(), 2), "got 4 rows and 3 labels"),
        (lambda: hide_words(Pairs(None, ["a car"]), FINDINGS, text_encoder("mini")), "None of the 6 words"),
    ],
)
def test_what_does_not_fit_is_named(call, says):
    with pytest.raises(ValueError, match=says):
        call()
