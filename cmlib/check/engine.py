"""The engine of a check: cases go in, what comes back is compared with a trusted reference.

An exercise is declared beside its reference, which carries the name that the learner's function must have::

    @exercise("01.1", "Binary cross-entropy", minutes=6, points=2, difficulty=1, grad=(0,))
    def bce(logit, label): ...

    @bce.cases
    def _(draw): yield case(draw.normal(5), draw.bits(5), about="random logits")

    @bce.mistake("The sign is flipped: a loss falls when the label becomes more likely.")
    def _(logit, label): ...
"""

from __future__ import annotations

import contextlib
import copy
import inspect
import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from cmlib.check import detective, gradients, raised
from cmlib.check.compare import alike, difference, kind_of, numbers
from cmlib.check.formula import Formula
from cmlib.check.inplace import is_changed, remembered
from cmlib.check.raised import AnswerRaised, Failed

__all__ = [
    "EXERCISES",
    "AnswerRaised",
    "Case",
    "Draw",
    "Exercise",
    "Formula",
    "NotAnswered",
    "Verdict",
    "case",
    "exercise",
    "judge",
    "properties",
]

EXERCISES: dict[str, Exercise] = {}


@dataclass(frozen=True)
class Case:
    """One input. ``about`` completes the sentence "the result is wrong for …"."""

    args: tuple
    about: str


def case(*args, about: str) -> Case:
    return Case(args, about)


class Draw:
    """Seeded test inputs, float64 unless said otherwise."""

    def __init__(self, seed: int):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape, dtype=torch.float64):
        return torch.randn(*shape, generator=self.generator, dtype=dtype)

    def uniform(self, *shape, low=0.0, high=1.0):
        return low + (high - low) * torch.rand(*shape, generator=self.generator, dtype=torch.float64)

    def integers(self, high: int, *shape, low: int = 0):
        return torch.randint(low, high, shape, generator=self.generator)

    def bits(self, *shape):
        return self.integers(2, *shape).double()


@dataclass(frozen=True)
class Verdict:
    """state : "passed", "failed" or "open" (not answered yet); message : one sentence."""

    id: str
    state: str
    message: str
    points: int


@dataclass
class Exercise:
    """kind : "function", "module", "training", "number" or "choice"; difficulty : 1 to 5; see the module's
    example.

    grad : positions of the arguments whose gradients are compared as well
    names : of the parts of a result that is a tuple or a list, as they stand in a sentence: "the weight"
    detective : whether general slips are looked for as well (`cmlib.check.detective`)
    long_form : a second right solution, written out as a learner would; see `worked`
    call : how the learner's object meets a case, ``call(answer, *args)``; by default ``answer(*args)``. A
        number or a choice is read by it: ``call(function that returns what was given)``
    """

    id: str
    title: str
    reference: Callable
    minutes: int
    points: int
    difficulty: int
    kind: str = "function"
    grad: tuple[int, ...] = ()
    call: Callable = lambda answer, *args: answer(*args)
    rtol: float = 1e-6
    atol: float = 1e-9
    names: tuple[str, ...] = ()
    detective: bool = True
    long_form: Callable | None = None
    make_cases: Callable[[Draw], Iterable[Case]] = field(default=lambda draw: [case(about="your answer")])
    mistakes: list[tuple[str, Callable]] = field(default_factory=list)
    more_cases: list[Callable[[Draw], Iterable[Case]]] = field(default_factory=list)

    @property
    def name(self) -> str:
        return self.reference.__name__

    @property
    def stretch(self) -> bool:
        """NN.5 is a lesson's stretch exercise: checked is a consequence of what is written on paper."""
        return self.id.endswith(".5")

    def cases(self, function):
        self.make_cases = function
        return self

    def also(self, function):
        """Further cases, such as an instructor's own, after those of the course."""
        self.more_cases.append(function)
        return self

    def worked(self, function):
        """``function`` is the reference written out, where that is one call of a library: general slips are
        looked for in it.
        """
        self.long_form = function
        return self

    def argument_names(self, count: int) -> list[str]:
        """What the arguments of a case are called in a sentence."""
        own = inspect.signature(Exercise.__dataclass_fields__["call"].default).parameters
        signature = inspect.signature(self.call)
        names = list(signature.parameters)[1:]
        if signature.parameters.keys() == own.keys():
            names = list(inspect.signature(self.reference).parameters)
        return [f"`{names[k]}`" if k < len(names) else f"argument {k + 1}" for k in range(count)]

    def mistake(self, sentence: str):
        def add(function):
            self.mistakes.append((sentence, function))
            return self
        return add

    def __call__(self, *args, **kwargs):
        return self.reference(*args, **kwargs)


def exercise(id: str, title: str, **settings) -> Callable[[Callable], Exercise]:
    def register(reference):
        EXERCISES[id] = Exercise(id, title, reference, **settings)
        return EXERCISES[id]
    return register


class NotAnswered(NotImplementedError):
    """The learner's own code says that it is not written yet. A NotImplementedError of torch, or of the
    course itself, is another thing.
    """


def judge(exercise: Exercise, answer: Any, seed: int = 0) -> Verdict:
    """Compare ``answer`` with the reference on every case; stop at the first difference."""
    try:
        for _, sentence in properties(exercise, answer, seed, again=True):
            if sentence:
                return Verdict(exercise.id, "failed", sentence, exercise.points)
    except NotAnswered:
        return Verdict(exercise.id, "open", "not answered yet", exercise.points)
    return Verdict(exercise.id, "passed", "right", exercise.points)


def properties(
    exercise: Exercise, answer: Any, seed: int = 0, again: bool = False
) -> Iterator[tuple[str, str | None]]:
    """(name of a property, None or the sentence that says what is wrong) for every case, and for its
    gradients where they count. Only the first that fails is looked into; of the others nobody reads.

    again : whether the answer may be called once more to decide between two explanations
    Raises ``NotAnswered`` when the exercise is not answered yet.
    """
    try:
        _contract(exercise, answer)
    except Failed as failed:
        yield "a value of the right kind", failed.sentence
        return
    looks, before = True, []
    ahead = (one for make in (exercise.make_cases, *exercise.more_cases) for one in make(Draw(seed)))
    while one := next(ahead, None):
        ahead, rest = itertools.tee(ahead)
        others = itertools.chain(rest, before) if again else ()  # drawn only where they are needed
        sentence, found = _sentence(_compare_values, exercise, answer, one, looks, others, before)
        looks = looks and not sentence
        yield one.about, sentence
        if exercise.grad:
            sentence = sentence or _sentence(gradients.compare, exercise, one, *found)[0]
            looks = looks and not sentence
            yield f"the gradient for {one.about}", sentence
        before = [*before, one]


def _sentence(compare, *args) -> tuple[str | None, Any]:
    """(None, what ``compare`` returns), or (the sentence with which it fails, None)."""
    try:
        return None, compare(*args)
    except Failed as failed:
        return failed.sentence, None


def _contract(exercise, answer):
    if answer is None or answer is Ellipsis:
        raise NotAnswered
    wants_call = exercise.kind in ("function", "module", "training")
    if wants_call and not callable(answer):
        raise Failed(f'Give the function itself, check("{exercise.id}", {exercise.name}), not its result '
                     f"(you gave {kind_of(answer)}).")
    if not wants_call and callable(answer):
        raise Failed(f"This exercise wants a {exercise.kind}, and you gave a function: pass its result.")


def _compare_values(exercise, answer, one: Case, looks=True, others=(), passed=()) -> tuple:
    """(got, want, arguments of the reference, arguments of the answer); raises Failed where they differ.

    others : cases that the answer may be asked for as well; passed : cases that it got right before this one
    """
    if exercise.kind in ("number", "choice"):
        got, want = (_plain(exercise.call(given)) for given in (lambda: answer, exercise.reference))
        if isinstance(want, float):
            got = _number(got)
        if difference(got, want, exercise.rtol, exercise.atol) is not None:
            _meet_a_mistake(exercise, got, want, lambda wrong: _plain(wrong()))
            raise Failed(_too_far(got, want))
        return got, want, (), ()
    args, theirs = _fresh(one.args, exercise.grad), _fresh(one.args, exercise.grad)
    want = exercise.call(exercise.reference, *args)
    before = [remembered(a) for a in theirs]
    got = _run(exercise, answer, theirs, one)
    for name, old, new in zip(exercise.argument_names(len(theirs)), before, theirs, strict=True):
        if is_changed(old, new):
            kind = "tensor" if isinstance(new, torch.Tensor) else type(new).__name__
            raise Failed(f"Your function changes {name} in place; work on a new {kind} instead.")
    problem = difference(got, want, exercise.rtol, exercise.atol, exercise.names)
    if problem is None:
        return got, want, args, theirs
    if looks:
        def rerun(function, case=one):
            return exercise.call(function, *_fresh(case.args, exercise.grad))

        others, more = itertools.tee(_asking(exercise, answer, others))
        right = [(args, exercise.call(exercise.reference, *_fresh(args, exercise.grad)))
                 for args in (other.args for other in passed)]
        _meet_a_mistake(exercise, got, want, rerun, others, one.args, right)
        if exercise.detective and not alike(got, want, exercise.rtol, exercise.atol):
            slip = detective.slip(exercise, one, got, want, more, lambda args: exercise.call(
                answer, *_fresh(args, exercise.grad)), right)
            if slip:
                raise Failed(slip)
    raise Failed(problem if problem[0].isupper() else f"The result is wrong for {one.about}: {problem}")


def _asking(exercise, answer, others):
    """(case, what the answer returns for it) for cases that it can take."""
    for other in others:
        with contextlib.suppress(Exception):
            yield other, exercise.call(answer, *_fresh(other.args, exercise.grad))


def _run(exercise, answer, args, one):
    try:
        return exercise.call(answer, *args)
    except NotAnswered:  # said by a box
        raise
    except NotImplementedError as error:
        if raised.by_a_stub(error):
            raise NotAnswered from None
        raise Failed(raised.told(error, answer, one.about)) from None
    except AnswerRaised as error:
        raise Failed(f"Your code {error} for {one.about}.") from None
    except RecursionError:
        raise Failed("Your function calls itself without end.") from None
    except Exception as error:
        raise Failed(raised.told(error, answer, one.about)) from None


def _meet_a_mistake(exercise, got, want, rerun, others=(), args=(), passed=()):
    """Raise the sentence of a known mistake that gives ``got``, before anything is said of its form. Of
    several that do, the one that explains most of the other cases. Where the result says little, so that two
    mistakes may well give it, none that another case contradicts (a plain share, nan, texts), or that no more
    cases confirm than contradict (one number).

    others : (case, what the answer returns for it)
    passed : (arguments, what is wanted) of the cases that the answer got right: who made a mistake would have
        made it there too
    """
    tolerances, found, known = (exercise.rtol, exercise.atol), numbers(got), []
    for sentence, wrong in exercise.mistakes:
        try:
            predicted = rerun(wrong)
        except Exception:
            continue
        same = difference(got, predicted, *tolerances) is None
        tells = same and difference(predicted, want, *tolerances) is not None
        if tells or (alike(got, predicted, *tolerances) and not alike(predicted, want, *tolerances)):
            known.append((sentence, wrong))
    known = [one for one in known if isinstance(want, str) or detective.agrees(
        lambda args, wrong=one[1]: exercise.call(wrong, *_fresh(args, exercise.grad)), passed, *tolerances)]
    if not known:
        return
    votes, contradicted = [0] * len(known), set()
    texts, number = isinstance(got, list) and found is None, found is not None and found.numel() == 1
    little = texts or (found is not None and (bool(found.isnan().all()) or detective.is_simple(got, args)))
    most = 20 if texts else 6 if little or number or len(known) > 1 else 0
    for other, result in itertools.islice(others, most):
        right, shown = rerun(exercise.reference, other), numbers(result)
        if shown is not None and not shown.isfinite().all():
            continue  # another slip breaks it there
        for k, (_, wrong) in enumerate(known):
            with contextlib.suppress(Exception):
                predicted = rerun(wrong, other)
                if not alike(result, predicted, *tolerances):
                    votes[k] -= 1
                    contradicted.add(k)
                elif not alike(predicted, right, *tolerances):
                    votes[k] += 1
    left = [k for k in range(len(known))
            if k not in contradicted or not (little or (number and votes[k] < 1))]
    if left:
        raise Failed(known[max(left, key=votes.__getitem__)][0])


def _too_far(got, want) -> str:
    """A ratio or a distance would give a single number, or a choice, away."""
    if isinstance(want, float):
        return (
            "Your number is nan."
            if math.isnan(got)
            else f"Your number is too {'large' if got > want else 'small'}."
        )
    return (
        f"The answer {got!r} is not right."
        if isinstance(got, type(want))
        else f"Give {kind_of(want)}; you gave {kind_of(got)}."
    )


def _number(value) -> float:
    try:
        return float(value)
    except (TypeError, ValueError, RuntimeError):
        raise Failed(f"Give one number; you gave {kind_of(value)}.") from None


def _fresh(args, grad):
    return [_copied(a).requires_grad_() if i in grad and isinstance(a, torch.Tensor) else _copied(a)
            for i, a in enumerate(args)]


def _copied(value):
    """As `copy.deepcopy`, which takes thirty times as long for the weights of a network."""
    if isinstance(value, torch.Tensor):
        return value.detach().clone()
    if type(value) is dict:
        return {key: _copied(part) for key, part in value.items()}
    return type(value)(map(_copied, value)) if type(value) in (list, tuple) else copy.deepcopy(value)


def _plain(value):
    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex():
        return float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value.strip().lower() if isinstance(value, str) else value
