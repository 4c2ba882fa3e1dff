"""Which slip an answer has, found without a list: every hypothesis that explains the whole of a failing case
is a suspect; where several remain, or the case says little, the next cases decide.

Three kinds of hypotheses: the right result turned or scaled (`results`), the right steps on other arguments
(`arguments`), and the right steps with one slip in them (`mutants`).
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch

from cmlib.check.compare import Slip, alike, difference, numbers, parts
from cmlib.check.detective import arguments, mutants, results
from cmlib.check.detective.slips import RANK

MORE = 4  # further cases that are asked for to decide
VAGUE = ("step is left out", "is never updated", "part is missing", "special case", "one of two cases")
WEAK = ("times what it should", "same constant", "value is one too", "is too many", "twice", "parentheses",
        "of what is wanted", "minus what is wanted", "where it is added", "square root where",
        "is added where", "is subtracted where", "rounded down", "plain where",
        "is doubled", "is halved", "right entries are there", "rows are there")
ODD = ("step", "reduction", "order", "shift", "power", "rounding", "transpose")
WORK = 300_000  # calls in all that hypotheses may take, some 0.3 s; a reference that trains takes thousands
FEWEST = 30  # hypotheses that are tried even so
TELLING = 2  # cases in which a hypothesis must show, where the results are few and simple values
LARGE = 300.0  # numbers from which on exp overflows somewhere
BROKEN = (  # what is said where only large numbers go wrong
    "Only large numbers break it: an exp overflows, or a logarithm is taken of what has rounded to 0.",
    "Only large numbers go wrong: are they cut off on the way (clamp, an ε inside a logarithm, nan_to_num)?",
    "Only large numbers go wrong, by a little: a difference of two of them has lost its digits.",
)


@dataclass(frozen=True)
class View:
    """What of a result is looked at: all of it, or parts (their keys), which a sentence then names."""

    keys: tuple | None = None
    subject: str = ""

    def __call__(self, value):
        return value if self.keys is None else [value[key] for key in self.keys]

    def told(self, slip: Slip) -> Slip:
        if not self.subject or slip.startswith(self.subject):
            return slip
        return Slip(f"{self.subject}{slip[0].lower()}{slip[1:]}", slip.kind)


@dataclass(frozen=True)
class Suspect:
    """predict : (arguments of a case, what the answer gave, what is wanted) → whether the slip explains it;
    is_odd : whether it is about an argument that is changed before it is used, which few people do.
    """

    slip: Slip
    predict: Callable
    is_odd: bool = False


def slip(exercise, one, got, want, others: Iterable = (), ask: Callable | None = None,
         passed: list = ()) -> str | None:
    """The slip that explains what the answer gave for the case ``one``, or None.

    others : (case, what the answer gives for it), asked for one by one only where they are needed
    ask : what the answer gives for any arguments
    passed : (arguments, what is wanted) of cases that the answer got right, see `agrees`
    Never raises: a check without an explanation is still a check.
    """
    state = torch.get_rng_state()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return search(exercise, one, got, want, others, ask, passed)
        except Exception:
            return None
        finally:
            torch.set_rng_state(state)


def agrees(wrong: Callable, passed, rtol, atol) -> bool:
    """Whether ``wrong(arguments)`` gives what is wanted for every case that an answer passed: who made a slip
    would have made it there too.
    """
    try:
        return all(alike(wrong(args), wanted, rtol, atol) for args, wanted in passed)
    except Exception:
        return False


def search(exercise, one, got, want, others=(), ask=None, passed=()) -> str | None:
    """As `slip`, but raises where a hypothesis is made badly."""
    if not _is_comparable(got, want):
        return None
    asked = _Asked(exercise, others)
    if _is_nan(got) and not _is_nan(want):  # which anything explains: another case says more
        for other, result, wanted in asked.first(MORE):
            if not _is_nan(result) and not alike(result, wanted, exercise.rtol, exercise.atol):
                return search(exercise, other, result, wanted, [known[:2] for known in asked.known])
        return _of_large_numbers(exercise, one, got, want, asked) or _of_nan(one)
    guesses = list(_guesses(exercise, one))
    for view in _views(exercise, got, want):
        if any(_is_nan(part) for part in (view(got) if view.keys else ())):
            return view.told(_of_nan(one))
        found = _search(exercise, one, got, want, asked, guesses, view, passed)
        if found:
            return _with_shapes(view.told(found), got, want)
    return _of_large_numbers(exercise, one, got, want, asked) or \
        (ask and _of_a_dead_argument(exercise, one, got, want, asked, ask))


def _is_nan(value) -> bool:
    found = numbers(value)
    return found is not None and found.numel() > 0 and bool(found.isnan().all())


def _of_nan(one) -> Slip:
    places = "0 / 0, 0 · ∞, ∞ − ∞, and a root or a logarithm of a negative number"
    return Slip(f"Only nan appears for {one.about}: look for {places}.", "size")


def _search(exercise, one, got, want, asked, guesses, view, passed) -> Slip | None:
    suspects = list(_suspects(exercise, one, got, want, guesses, view, passed))
    simple = is_simple(view(got), one.args)
    if simple:  # an oddity explains a few shares too easily, and rounding a 0 or a 1
        number = numbers(view(got))
        few = number is not None and number.numel() == 1 and abs(float(number)) <= 1
        suspects = [s for s in suspects if not (s.is_odd and s.slip.kind in ("step", "rounding"))
                    and not (few and "whole numbers" in s.slip)]
    gave, failing = [got], 1
    for other, result, wanted in asked.first(MORE * (3 if simple else 1)):
        sure = len({s.slip for s in suspects}) < 2 and not any(s.is_odd for s in suspects)
        if sure and not simple:
            break
        left = [s for s in suspects if s.predict(other.args, result, wanted)]
        if not left and not simple:  # a second slip shows there, or an oddity was none
            suspects = [s for s in suspects if not s.is_odd]
            break
        suspects = left
        gave.append(result)
        failing += difference(result, wanted, exercise.rtol, exercise.atol) is not None
    tolerances = exercise.rtol, exercise.atol
    same = all(alike(view(got), view(other), *tolerances) for other in gave)
    if simple and len(gave) > 2 and failing > 1 and same:
        return Slip("Your function returns the same for different inputs.", "argument")
    if not suspects or (simple and failing < TELLING):
        return None
    return min(suspects, key=_rank).slip


class _Asked:
    """(case, what the answer gives for it, what is wanted), each asked for once."""

    def __init__(self, exercise, others):
        self.exercise, self.others, self.known = exercise, iter(others), []

    def first(self, count) -> Iterator[tuple]:
        for k in range(count):
            if k == len(self.known):
                other = next(self.others, None)
                if other is None:
                    return
                wanted = _called(self.exercise, self.exercise.reference, other[0].args)
                self.known.append((*other, wanted))
            yield self.known[k]


def _is_comparable(got, want) -> bool:
    """Whether a result has at least the form of what is wanted; else its form is what is to be said of it."""
    if isinstance(want, (dict, str)):
        return isinstance(got, type(want))
    if isinstance(want, (list, tuple)) and numbers(want) is None:
        return isinstance(got, (list, tuple))
    return numbers(got) is not None or (isinstance(want, (list, tuple)) and isinstance(got, (list, tuple)))


def _views(exercise, got, want) -> Iterator[View]:
    """All that is wrong, and where that is more than one part, the first of them by itself."""
    keys = None
    if isinstance(want, dict) and isinstance(got, dict) and set(got) == set(want):
        keys = list(want)
    elif exercise.names and isinstance(want, (list, tuple)) and isinstance(got, (list, tuple)):
        keys = list(range(len(want))) if len(got) == len(want) else None
    if keys is None:
        yield View()
        return
    told = dict(zip(keys, (name for name, _, _ in parts(got, want, exercise.names)), strict=True))
    wrong = [key for key in keys if not alike(got[key], want[key], exercise.rtol, exercise.atol)]
    some = f"In {' and '.join(told[key] for key in wrong)}, "
    yield View(tuple(wrong), some) if len(wrong) < len(keys) else View()
    if len(wrong) > 1:
        yield View((wrong[0],), f"In {told[wrong[0]]}, ")


def _with_shapes(slip, got, want) -> Slip:
    both = isinstance(got, torch.Tensor) and isinstance(want, torch.Tensor)
    if not both or got.shape == want.shape or "shape is" in slip:
        return slip
    shapes = f"The shape is wrong: yours is {tuple(got.shape)}, and {tuple(want.shape)} is wanted"
    return Slip(f"{shapes}: {slip[0].lower()}{slip[1:]}", slip.kind)


def _rank(suspect) -> tuple:
    """First what says most: a cause before a factor, and before what is only some other value somewhere."""
    slip = suspect.slip
    vague = any(words in slip for words in VAGUE)
    weak = any(words in slip for words in WEAK) or (suspect.is_odd and slip.kind in ODD)
    return 2 * vague + weak, RANK.index(slip.kind), suspect.is_odd


def _guesses(exercise, one) -> Iterator[tuple]:
    """(slip, what gives its result for arguments, its result for those of ``one``, whether it is odd)."""
    def rerun(function, change=list):
        return lambda args: _called(exercise, function, args, change)

    made = [(slip, rerun(exercise.reference, change), True)
            for slip, change in arguments.found(exercise, one.args)]
    for function in filter(None, (exercise.long_form, exercise.reference)):
        made += [(slip, rerun(mutant), False) for slip, mutant in mutants.mutants(function)]
    most = max(FEWEST, WORK // _work(exercise, one))
    if len(made) > most:
        made = sorted(made, key=lambda guess: (guess[2], RANK.index(guess[0].kind)))[:most]
    for slip, run, is_odd in made:
        yield slip, run, run(one.args), is_odd


def _suspects(exercise, one, got, want, guesses, view, passed) -> Iterator[Suspect]:
    tolerances = exercise.rtol, exercise.atol

    def found(args, gave, wanted):
        if view.keys is not None and len(view.keys) == 1:
            return results.found(view(gave)[0], view(wanted)[0], args, *tolerances)
        return results.found(gave, wanted, args, *tolerances, exercise.names)

    def of_the_result(sentence):
        def predict(args, gave, wanted):
            if alike(view(gave), view(wanted), *tolerances):
                return True  # a case that the slip does not touch
            return any(slip == sentence or _without_digits(slip) == _without_digits(sentence)
                       for slip in found(args, gave, wanted))
        return predict

    def fits(predicted, wanted):
        """Whether it has the parts that are looked at."""
        same = type(predicted) is type(wanted) and len(predicted) == len(wanted) if view.keys else True
        return predicted is not RAISES and same

    def of_a_rerun(run):
        def predict(args, gave, wanted):
            predicted = run(args)
            return fits(predicted, wanted) and alike(view(gave), view(predicted), *tolerances)
        return predict

    for slip in found(one.args, got, want):
        yield Suspect(slip, of_the_result(slip))
    wrong, right = view(got), view(want)
    for slip, run, predicted, is_odd in guesses:
        if fits(predicted, want):
            its = view(predicted)
            if alike(wrong, its, *tolerances) and not alike(its, right, *tolerances) \
                    and agrees(run, passed, *tolerances):
                yield Suspect(slip, of_a_rerun(run), is_odd)


RAISES = object()


def _called(exercise, function, args, change=list):
    """What ``function`` gives for the arguments, changed first; `RAISES` where it raises."""
    try:
        return exercise.call(function, *change([_shared(a) for a in args]))
    except Exception:
        return RAISES


def _work(exercise, one) -> int:
    """What one run of the reference costs, in calls; counted, not timed: what is said must not depend on who
    else is at work.
    """
    calls = [0]

    def count(frame, event, argument):
        calls[0] += event in ("call", "c_call")
    before = sys.getprofile()
    sys.setprofile(count)
    try:
        _called(exercise, exercise.reference, one.args)
    finally:
        sys.setprofile(before)
    return calls[0] + results.count(one.args) // 1000 + 1


def _of_large_numbers(exercise, one, got, want, asked) -> Slip | None:
    """What is said where the answer is right for all but large numbers."""
    size = _largest(one.args)
    others = list(asked.first(3 * MORE)) if size >= LARGE else []
    small = [(result, wanted) for other, result, wanted in others if _largest(other.args) < LARGE]
    if not small or not all(alike(*pair, exercise.rtol, exercise.atol) for pair in small):
        return None
    wrong, right = numbers(got), numbers(want)
    if wrong is None or right is None or wrong.shape != right.shape or not right.isfinite().all():
        return None
    if not wrong.isfinite().all():
        return Slip(BROKEN[0], "size")
    off = float((wrong - right).abs().max()) / size
    return Slip(BROKEN[1 if off > 0.05 else 2], "size") if off > 0.05 or off < 1e-6 else None


def _of_a_dead_argument(exercise, one, got, want, asked, ask) -> Slip | None:
    """What is said where the answer gives the same whatever one of its arguments is."""
    if numbers(got) is None or not numbers(got).isfinite().all():
        return None
    tolerances, dead, names = (exercise.rtol, exercise.atol), [], exercise.argument_names(len(one.args))
    for i, name in enumerate(names):
        lives = counts = 0
        for other, _, _ in asked.first(MORE):
            args = [*one.args[:i], other.args[i], *one.args[i + 1:]]
            wanted = _called(exercise, exercise.reference, args)
            if wanted is not RAISES and not alike(wanted, want, *tolerances):
                counts += 1
                lives += not alike(ask(args), got, *tolerances)
        if counts and not lives:
            dead.append(name)
    if len(dead) == 1 and len(names) > 1:
        return Slip(f"{dead[0]} has no effect: your function returns the same for another one.", "argument")
    return None


def _largest(args) -> float:
    found = [float(a.abs().max()) for a in args if isinstance(a, torch.Tensor) and a.is_floating_point()
             and a.numel()]
    return max(found, default=0.0)


def _shared(value):
    """A copy of lists, dicts and sets whose tensors are the same: no right step changes one."""
    if isinstance(value, list):
        return [_shared(part) for part in value]
    if isinstance(value, dict):
        return {key: _shared(part) for key, part in value.items()}
    return set(value) if isinstance(value, set) else value


def _without_digits(text: str) -> str:
    return re.sub(r"[√\d./, ()]*\d[\d./, ()]*", "#", text)


def is_simple(value, args) -> bool:
    """Whether a result is made of a few whole numbers, shares of the input's sizes, or texts only, so that
    two different slips may well give the same.
    """
    if isinstance(value, dict):
        return all(is_simple(part, args) for part in value.values())
    found = numbers(value)
    if found is None:
        return not isinstance(value, (list, tuple)) or all(is_simple(part, args) for part in value)
    found = found[found.isfinite()].reshape(-1, 1)
    if (found.abs() > 1000).any() or len(found.unique()) > 8 or (len(found) > 12 and len(found.unique()) > 2):
        return False
    whole = torch.tensor([1, 3, 7, 16, 20, 100, *results.sizes(args)]).double()
    return not len(found) or bool((((found * whole).round() / whole - found).abs().amin(1) < 1e-9).all())
