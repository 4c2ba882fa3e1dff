"""The detective names slips that nobody listed, and says nothing where it does not know."""

import contextlib
import time

import pytest
import torch

from cmlib.check import detective, exercises, lessons
from cmlib.check.compare import Slip
from cmlib.check.detective import mutants, slips
from cmlib.check.engine import Draw, Exercise, case, judge, properties
from cmlib.grade.kinds import FAMILIES


def blend(states, mask, share):
    """The reference: (rows, tokens, width), (rows, tokens), number → (rows, width)."""
    keep = mask[..., None].double()
    mean = (states * keep).sum(1) / keep.sum(1)
    spread = ((states - mean[:, None]) ** 2 * keep).sum(1) / keep.sum(1)
    return (1 - share) * mean + share * (spread + 1e-5).sqrt()


def blend_cases(draw):
    yield case(draw.normal(3, 5, 4), torch.tensor([[1] * 5, [1, 1, 0, 0, 0], [1] * 3 + [0] * 2]), 0.3,
               about="three rows")
    yield case(draw.normal(2, 4, 2), torch.tensor([[1, 0, 1, 0], [0, 1, 1, 1]]), 0.8, about="holes")


BLEND = Exercise("99.1", "Blend", blend, 1, 1, 1, make_cases=blend_cases)


def parts(states, mask, eps=1e-5, root=True):
    keep = mask[..., None].double()
    mean = (states * keep).sum(1) / keep.sum(1)
    spread = ((states - mean[:, None]) ** 2 * keep).sum(1) / keep.sum(1)
    return mean, (spread + eps).sqrt() if root else spread + eps


def outside(x, m, s):
    mean, spread = parts(x, m, eps=0.0)
    return (1 - s) * mean + s * (spread + 1e-5)


def over_all(x, m, s):
    keep = m[..., None].double()
    mean = (x * keep).sum(1) / keep.sum()
    spread = ((x - mean[:, None]) ** 2 * keep).sum(1) / keep.sum(1)
    return (1 - s) * mean + s * (spread + 1e-5).sqrt()


def absolute(x, m, s):
    keep = m[..., None].double()
    mean = (x * keep).sum(1) / keep.sum(1)
    spread = ((x - mean[:, None]).abs() * keep).sum(1) / keep.sum(1)
    return (1 - s) * mean + s * (spread + 1e-5).sqrt()


WRONG = {  # name of the slip: (answer, what must be said, of which kind)
    "exchanged shares": (lambda x, m, s: blend(x, m, 1 - s), "`share` and 1 − `share` are exchanged.",
                         "argument"),
    "mask upside down": (lambda x, m, s: blend(x, 1 - m, s), "The mask `mask` is upside down.", "mask"),
    "no mask": (lambda x, m, s: blend(x, torch.ones_like(m), s), "The mask `mask` has no effect.", "mask"),
    "share ignored": (lambda x, m, s: blend(x, m, 0), "`share` has no effect: this is the result for 0.",
                      "argument"),
    "no root": (lambda x, m, s: (1 - s) * parts(x, m)[0] + s * parts(x, m, root=False)[1],
                "The square root is missing", "power"),
    "epsilon": (outside, "The small number ε is added after the root, and must stand under it.", "constant"),
    "a difference": (lambda x, m, s: (1 - s) * parts(x, m)[0] - s * parts(x, m)[1],
                     "is subtracted, and must be added", "sign"),
    "a factor": (lambda x, m, s: parts(x, m)[0] + s * parts(x, m)[1], "The factor of a term with `share`",
                 "factor"),
    "over all": (over_all, "The sum runs over all dimensions at once", "axis"),
    "absolute value": (absolute, "An absolute value stands where a square is wanted", "power"),
    "a half": (lambda x, m, s: blend(x, m, s) / 2, "Every value is 0.5 times what it should be.", "factor"),
    "sign": (lambda x, m, s: -blend(x, m, s), "The sign is wrong: every value is the negative", "sign"),
    "a constant": (lambda x, m, s: blend(x, m, s) + 1, "is off by the same constant.", "constant"),
    "order": (lambda x, m, s: blend(x, m, s).flip(0), "in reversed order along dimension 0", "order"),
    "shift": (lambda x, m, s: blend(x, m, s).roll(1, 1), "shifted by one place along dimension 1", "shift"),
    "softmax": (lambda x, m, s: blend(x, m, s).softmax(1), "a softmax too many, over dimension 1", "step"),
    "pooled": (lambda x, m, s: blend(x, m, s).mean(1), "you return the mean over dimension 1", "reduction"),
    "rounded": (lambda x, m, s: blend(x, m, s).round(), "is rounded to whole numbers", "rounding"),
    "transposed": (lambda x, m, s: blend(x, m, s).T, "This is the transpose", "transpose"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_slip_that_nobody_listed_is_named(name):
    answer, says, kind = WRONG[name]
    verdict = judge(BLEND, answer)
    assert verdict.state == "failed" and says in verdict.message, verdict.message
    assert isinstance(verdict.message, Slip) and verdict.message.kind == kind and kind in FAMILIES


@pytest.mark.parametrize("answer", [
    lambda x, m, s: blend(x, m, s) + 1e-3 * x[:, 0] ** 2,
    lambda x, m, s: blend(x, m, s) * (1 + 0.01 * torch.arange(x.shape[2])),
    lambda x, m, s: torch.where(blend(x, m, s) > 0, blend(x, m, s), 7.0),  # explained only in part
])
def test_what_no_slip_explains_whole_is_not_explained(answer):
    assert "off by up to" in judge(BLEND, answer).message


def test_an_argument_that_is_never_read_is_named():
    message = judge(BLEND, lambda x, m, s: blend(x, m, 0.6)).message
    assert message == "`share` has no effect: your function returns the same for another one."


def test_only_the_wrong_part_need_be_explained():
    def both(x, y):
        return x.square().sum(), (x + 2 * y).sum()

    def cases(draw):
        yield case(draw.normal(5), draw.normal(5), about="five numbers")
    pair = Exercise("99.4", "Pair", both, 1, 1, 1, make_cases=cases, names=("the first", "the second"))
    assert judge(pair, lambda x, y: (both(x, y)[0], (x - 2 * y).sum())).message.startswith("In the second, ")
    two = judge(pair, lambda x, y: (x.abs().sum(), both(x, y)[1] + x[0])).message
    assert two.startswith("In the first, ")  # the second has a slip of its own


def test_what_breaks_for_large_numbers_alone_is_said():
    def soft(x):
        return x.logsumexp(0)

    def cases(draw):
        yield case(draw.normal(5), about="five numbers")
        yield case(1000 * draw.normal(5), about="large numbers")
    one = Exercise("99.5", "Soft maximum", soft, 1, 1, 1, make_cases=cases)
    assert judge(one, lambda x: x.exp().sum().log()).message.startswith("Only large numbers break it")
    cut = judge(one, lambda x: x.clamp(max=50).logsumexp(0)).message
    assert cut.startswith("Only large numbers go wrong")


def count(labels, guesses):
    return (labels == guesses).double().mean()


def count_cases(draw):
    for n in (8, 12, 20, 30):
        yield case(draw.integers(3, n), draw.integers(3, n), about=f"{n} rows")


COUNT = Exercise("99.2", "Share", count, 1, 1, 1, make_cases=count_cases)


@pytest.mark.parametrize(("answer", "says"), [
    (lambda a, b: torch.tensor(0.0).double(), "Your function returns the same for different inputs."),
    (lambda a, b: torch.tensor(1.0).double(), "Your function returns the same for different inputs."),
    (lambda a, b: (a != b).double().mean(), "A condition is turned round"),
    (lambda a, b: (a == b).double().sum() / (len(a) - 1), "is a mean divided by one more or less than that?"),
    (lambda a, b: (a[:-1] == b[1:]).double().mean(), "off by up to"),
])
def test_simple_results_need_more_than_one_case(answer, says):
    """Two slips easily give the same share; only what holds in other cases as well is said."""
    assert says in judge(COUNT, answer).message


def test_a_slip_that_shows_in_one_case_by_chance_is_not_said():
    once = iter([0, 1, 1, 1, 1, 1, 1, 1])

    def answer(a, b):  # in the first case as if turned round, then something else
        return ((a != b) if next(once) == 0 else (a == b) & (a > 0)).double().mean()
    assert "turned round" not in judge(COUNT, answer).message


def surprise(logits, labels):
    return torch.nn.functional.cross_entropy(logits, labels)


def surprise_by_hand(logits, labels):
    log_p = logits.log_softmax(1)
    return -log_p[torch.arange(len(labels)), labels].mean()


def test_a_reference_that_is_one_call_is_written_out_for_the_detective():
    def cases(draw):
        yield case(draw.normal(5, 3), draw.integers(3, 5), about="five rows")
    short = Exercise("99.3", "Surprise", surprise, 1, 1, 1, make_cases=cases)
    long = Exercise("99.3", "Surprise", surprise, 1, 1, 1, make_cases=cases).worked(surprise_by_hand)

    def over_rows(logits, labels):
        return -logits.log_softmax(0)[torch.arange(len(labels)), labels].mean()
    assert "off by up to" in judge(short, over_rows).message
    assert judge(long, over_rows).message.startswith("The log_softmax runs over the wrong dimension")


WITH_A_LONG_FORM = [e for number in lessons() for e in exercises(number) if e.long_form]


@pytest.mark.parametrize("exercise", WITH_A_LONG_FORM, ids=lambda e: e.id)
def test_every_long_form_is_right(exercise):
    assert judge(exercise, exercise.long_form).state == "passed"
    assert mutants.mutants(exercise.long_form), "its source must be readable: no closure, no lambda"


def test_it_costs_little_and_leaves_the_random_numbers_alone():
    judge(BLEND, WRONG["no root"][0])  # the mutants are made once
    state = torch.get_rng_state()
    start = time.process_time()
    for _ in range(5):
        judge(BLEND, lambda x, m, s: blend(x, m, s) + x[:, 0] ** 2)
    assert (time.process_time() - start) / 5 < 0.5  # some 50 ms; ten times as much where others are at work
    assert torch.equal(state, torch.get_rng_state())


def test_a_slip_in_the_detective_is_no_slip_of_the_check(monkeypatch):
    monkeypatch.setattr(detective, "search", lambda *args: 1 / 0)
    assert "off by up to" in judge(BLEND, WRONG["no root"][0]).message


def test_without_asking_again_the_answer_is_called_once_for_each_case():
    calls = []

    def answer(a, b):
        calls.append(1)
        return (a != b).double().mean()
    list(properties(COUNT, answer, 0))
    assert len(calls) == 4


def test_every_kind_of_slip_is_told_in_graded_reports():
    assert set(slips.RANK) == set(FAMILIES)
    for number in lessons():
        for exercise in exercises(number):
            kinds = {slip.kind for slip, _ in mutants.mutants(exercise.reference)}
            assert kinds <= set(FAMILIES)


def test_a_mutant_cannot_run_for_ever_nor_change_the_course():
    before, ended = dict(vars(detective)), []
    for slip, mutant in mutants.mutants(countdown):
        ended.append(slip)
        with contextlib.suppress(Exception):  # it may also raise, as any wrong answer
            mutant(5)
    assert len(ended) > 5
    assert dict(vars(detective)) == before


def countdown(n):
    total = 0
    while n > 0:
        total = total + n
        n = n - 1
    return total


@pytest.mark.parametrize("number", lessons())
def test_hypotheses_are_made_without_errors_for_every_exercise(number):
    """For the first case of each: the detective finds nothing in a right answer, and does not stumble."""
    for exercise in exercises(number):
        if exercise.kind == "function" and exercise.detective:
            one = next(iter(exercise.make_cases(Draw(0))))
            right = exercise.call(exercise.reference, *one.args)
            assert detective.search(exercise, one, right, right) is None, exercise.id


def test_a_flood_of_parts_costs_nothing():
    def answer(x, m, s):
        return [[[0.0] * 100] * 100] * 100
    start = time.process_time()
    assert "you return a list" in judge(BLEND, answer).message
    assert time.process_time() - start < 2
