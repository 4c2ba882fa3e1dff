"""Does a score hang on the draw? ``python tests/luck.py [SEEDS [EXERCISE …]]`` grades, over drawn seeds and
without a box, every right and wrong answer of ``tests/answers``, and answers that know nothing: constants,
inputs handed back, a table of the printed cases.

It prints each wrong answer whose points differ between seeds, each right one without full points, each
ignorant one with any.
"""

import hashlib
import importlib.util
import sys
import warnings
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch

from cmlib.check import find
from cmlib.check.engine import Draw, properties
from cmlib.grade import frames
from cmlib.grade.scoring import drawn, scored


def load(path):
    spec = importlib.util.spec_from_file_location(f"answers_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


MODULES = {
    path.stem.removeprefix("lesson"): load(path)
    for path in sorted((Path(__file__).parent / "answers").glob("lesson*.py"))
}
IDS = [id for module in MODULES.values() for id in module.WRONG]


def seeds(n: int) -> list[int]:
    """63 bits each, as the grader draws them."""
    return [int.from_bytes(hashlib.sha256(b"%d" % k).digest()[:8], "big") >> 1 for k in range(n)]


def points(exercise, answer, seed: int) -> float:
    """What the grader gives for ``answer``. Without the list of mistakes, which chooses a sentence and never
    a verdict.
    """
    cases, counts = _drawn(exercise.id, seed)
    found = []
    plain = replace(exercise, mistakes=[], detective=False, make_cases=lambda _: cases)
    for one in properties(plain, answer, seed):
        if one[1] and counts[len(found)] and not any(counts[:len(found)]):
            return 0.0  # as `scored` says, sooner
        found.append(one)
    return scored(exercise, found, seed)["points"]


@lru_cache(256)
def _drawn(id: str, seed: int) -> tuple[list, list[bool]]:
    return list(find(id).make_cases(Draw(seed))), drawn(find(id), seed)


def ignorant(exercise) -> dict:
    """{name: answer} of answers that know the cases which the course prints, and the form of a result, and
    nothing else.
    """
    printed: dict[bytes, object] = {}

    def noted(*args, **kwargs):
        printed[_key(args, kwargs)] = value = exercise.reference(*args, **kwargs)
        return value
    for one in exercise.make_cases(Draw(0)):
        exercise.call(noted, *one.args)
    guesses = {
        f"printed result {k}": lambda *_, value=value, **__: value
        for k, value in enumerate(list(printed.values())[:40])
    }
    for number in (
        0,
        1,
        -1,
        0.5,
        2,
        100,
    ):  # more than a learner could do: of the right form, by asking the reference
        guesses[f"all {number}"] = lambda *args, number=number, **kwargs: _filled(
            exercise.reference(*args, **kwargs), number
        )
    for k in range(3):
        guesses[f"argument {k}"] = lambda *args, k=k, **kwargs: (*args, *kwargs.values())[k]
    guesses |= {
        "all arguments": lambda *args, **_: args,
        "no text": lambda *_: "",
        "nothing": lambda *_: [],
        "unknown": lambda *_: ["[UNK]"],
    }
    return guesses | {
        f"table, else {name}": lambda *args, guess=guess, **kwargs: (
            printed[key] if (key := _key(args, kwargs)) in printed else guess(*args, **kwargs)
        )
        for name, guess in guesses.items()
    }


def _key(args, kwargs) -> bytes:
    return frames.pack(
        {},
        (
            [a.detach() if isinstance(a, torch.Tensor) else a for a in args],
            {k: v.detach() for k, v in kwargs.items()},
        ),
    )


def _filled(value, number):
    if isinstance(value, torch.Tensor):
        return (torch.zeros_like(value) + number).to(value.dtype)
    if isinstance(value, (list, tuple)):
        return type(value)(_filled(v, number) for v in value)
    if isinstance(value, dict):
        return {k: _filled(v, number) for k, v in value.items()}
    return value[:0] if isinstance(value, str) else type(value)(number)


def lucky(id: str, over: list[int]) -> list[str]:
    """A line for every answer to exercise ``id`` whose points are not what they should be, whatever the
    seed.
    """
    module, exercise, found = MODULES[id[:2]], find(id), []
    _drawn.cache_clear()
    for k, answer in enumerate(module.RIGHT[id]):
        got = Counter(points(exercise, answer, seed) for seed in over)
        if set(got) != {exercise.points}:
            found.append(f"{id}, right answer {k}: {dict(got)} of {exercise.points}")
    for answer, part in module.WRONG[id]:
        got = Counter(points(exercise, answer, seed) for seed in over)
        if len(got) > 1 or exercise.points in got:
            found.append(f"{id}, wrong answer {part!r}: {dict(got)} of {exercise.points}")
    return found + [
        f"{id}, {name}: {dict(got)} of {exercise.points}"
        for name, answer in ignorant(exercise).items()
        if set(got := Counter(points(exercise, answer, seed) for seed in over)) != {0.0}
    ]


if __name__ == "__main__":
    torch.set_num_threads(1)
    warnings.filterwarnings("ignore")
    lines = [
        print(line, flush=True) or line
        for id in sys.argv[2:] or IDS
        for line in lucky(id, seeds(int((sys.argv[1:] or ["30"])[0])))
    ]
    sys.exit(bool(lines))
