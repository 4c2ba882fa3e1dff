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

import copy
import inspect
import math
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from cmlib.check.compare import difference, kind_of
from cmlib.check.formula import Formula

__all__ = [
    "EXERCISES",
    "AnswerRaised",
    "Case",
    "Draw",
    "Exercise",
    "Formula",
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
    call : how the learner's object meets a case, ``call(answer, *args)``; by default ``answer(*args)``
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


class _Failed(Exception):
    """The check stops here; the text is the learner's sentence."""


class AnswerRaised(Exception):
    """The learner's code raised elsewhere (in the box of a grader), or could not be asked at all; the text
    completes "Your code …".
    """


def judge(exercise: Exercise, answer: Any, seed: int = 0) -> Verdict:
    """Compare ``answer`` with the reference on every case; stop at the first difference."""
    try:
        for _, sentence in properties(exercise, answer, seed):
            if sentence:
                return Verdict(exercise.id, "failed", sentence, exercise.points)
    except NotImplementedError:
        return Verdict(exercise.id, "open", "not answered yet", exercise.points)
    return Verdict(exercise.id, "passed", "right", exercise.points)


def properties(exercise: Exercise, answer: Any, seed: int = 0) -> Iterator[tuple[str, str | None]]:
    """(name of a property, None or the sentence that says what is wrong) for every case, and for its
    gradients where they count.

    Raises ``NotImplementedError`` when the exercise is not answered yet.
    """
    try:
        _contract(exercise, answer)
    except _Failed as failed:
        yield "a value of the right kind", str(failed)
        return
    for make_cases in (exercise.make_cases, *exercise.more_cases):
        for one in make_cases(Draw(seed)):
            sentence, found = _sentence(_compare_values, exercise, answer, one)
            yield one.about, sentence
            if exercise.grad:
                sentence = sentence or _sentence(_compare_gradients, exercise, one, *found)[0]
                yield f"the gradient for {one.about}", sentence


def _sentence(compare, *args) -> tuple[str | None, Any]:
    """(None, what ``compare`` returns), or (the sentence with which it fails, None)."""
    try:
        return None, compare(*args)
    except _Failed as failed:
        return str(failed), None


def _contract(exercise, answer):
    if answer is None or answer is Ellipsis:
        raise NotImplementedError
    wants_call = exercise.kind in ("function", "module", "training")
    if wants_call and not callable(answer):
        raise _Failed(f'Give the function itself, check("{exercise.id}", {exercise.name}), not its result '
                      f"(you gave a {kind_of(answer)}).")
    if not wants_call and callable(answer):
        raise _Failed(f"This exercise wants a {exercise.kind}, and you gave a function: pass its result.")


def _compare_values(exercise, answer, one: Case) -> tuple:
    """(got, want, arguments of the reference, arguments of the answer); raises _Failed where they differ."""
    if exercise.kind in ("number", "choice"):
        got, want = _plain(answer), _plain(exercise.reference())
        if isinstance(want, float):
            got = _number(got)
        _compare(exercise, one, got, want, lambda wrong: _plain(wrong()), _too_far)
        return got, want, (), ()
    args, theirs = _fresh(one.args, exercise.grad), _fresh(one.args, exercise.grad)
    want = exercise.call(exercise.reference, *args)
    before = copy.deepcopy([a.detach() if isinstance(a, torch.Tensor) else None for a in theirs])
    got = _run(exercise, answer, theirs, one)
    for position, (old, new) in enumerate(zip(before, theirs, strict=True)):
        if old is not None and not torch.equal(old.nan_to_num(), new.detach().nan_to_num()):
            raise _Failed(f"Your function changes argument {position + 1} in place; work on a new tensor "
                          "instead.")
    _compare(exercise, one, got, want, lambda wrong: exercise.call(wrong, *_fresh(one.args, exercise.grad)))
    return got, want, args, theirs


def _run(exercise, answer, args, one):
    try:
        return exercise.call(answer, *args)
    except NotImplementedError:
        raise
    except AnswerRaised as raised:
        raise _Failed(f"Your code {raised} for {one.about}.") from None
    except RecursionError:
        raise _Failed("Your function calls itself without end.") from None
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        lines = [
            f.lineno
            for f in frames
            if f.name == getattr(answer, "__name__", "")
            or f.filename.startswith("<")
            or "ipykernel" in f.filename
        ]
        where = f" in line {lines[-1]} of your cell" if lines else ""
        text = str(error).strip().split("\n")[0][:160]
        raise _Failed(f"Your code raises {type(error).__name__}{where} for {one.about}: {text}") from None


def _compare(exercise, one, got, want, rerun, describe=None):
    problem = difference(got, want, exercise.rtol, exercise.atol)
    if problem is None:
        return
    for sentence, wrong in exercise.mistakes:
        try:
            predicted = rerun(wrong)
        except Exception:
            continue
        if difference(got, predicted, exercise.rtol, exercise.atol) is None \
                and difference(predicted, want, exercise.rtol, exercise.atol) is not None:
            raise _Failed(sentence)
    problem = describe(got, want) if describe else problem
    raise _Failed(problem if problem[0].isupper() else f"The result is wrong for {one.about}: {problem}")


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
        raise _Failed(f"Give one number; you gave a {kind_of(value)}.") from None


def _compare_gradients(exercise, one, got, want, args, theirs):
    names = list(inspect.signature(exercise.reference).parameters)
    if not isinstance(got, torch.Tensor) or not got.requires_grad:
        raise _Failed("The values are right, but no gradient flows through them: did you use .item(), "
                      ".detach() or float()?")
    weight = torch.linspace(1, 2, want.numel(), dtype=want.dtype).reshape(want.shape)
    for position in exercise.grad:
        expected = torch.autograd.grad(
            (want * weight).sum(), args[position], retain_graph=True, allow_unused=True
        )[0]
        try:
            found = torch.autograd.grad(
                (got * weight).sum(), theirs[position], retain_graph=True, allow_unused=True
            )[0]
        except AnswerRaised as raised:
            raise _Failed(
                f"The values are right, but going backwards your code {raised} for {one.about}."
            ) from None
        except Exception as error:
            raise _Failed(f"The values are right, but going backwards raises {type(error).__name__} for "
                          f"{one.about}: is a tensor "
                          "changed in place after it was used?") from None
        name = names[position] if position < len(names) else f"argument {position + 1}"
        expected = torch.zeros_like(args[position]) if expected is None else expected
        found = torch.zeros_like(args[position]) if found is None else found
        if not found.isfinite().all():
            raise _Failed(f"The values are right, but the gradient with respect to {name} is not finite for "
                          f"{one.about}.")
        if not torch.allclose(found, expected, rtol=1e-5, atol=1e-8):
            raise _Failed(f"The values are right, but the gradient with respect to {name} is wrong for "
                          f"{one.about}: "
                          "is a part of the computation detached or done in NumPy?")


def _fresh(args, grad):
    return [a.detach().clone().requires_grad_(i in grad) if isinstance(a, torch.Tensor) else copy.deepcopy(a)
            for i, a in enumerate(args)]


def _plain(value):
    if isinstance(value, torch.Tensor) and value.numel() == 1 and not value.is_complex():
        return float(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value.strip().lower() if isinstance(value, str) else value
