"""What a report says of a hidden case: which property failed, and with what kind of slip.

An answer sees the hidden inputs while it runs, and chooses what it returns and raises. So nothing that it
made up (keys, shapes, numbers, lines, messages) may stand in a report: it could send the inputs to a friend.
Every sentence that leaves here is one of the few below, or one of the exercise's known mistakes; a sentence
of the judge that is none of them becomes "The result is wrong for …". Of a slip that nobody listed only its
kind is told, one of `FAMILIES`.
"""

from __future__ import annotations

import re

from cmlib.check.compare import Slip
from cmlib.check.engine import Exercise
from cmlib.grade.session import UNSENDABLE

EXCEPTIONS = (
    "ArithmeticError", "AssertionError", "AttributeError", "EOFError", "FileNotFoundError", "ImportError",
    "IndexError", "KeyError", "KeyboardInterrupt", "MemoryError", "ModuleNotFoundError", "NameError",
    "NotImplementedError", "OSError", "OverflowError", "PermissionError", "RecursionError", "RuntimeError",
    "StopIteration", "SystemExit", "TypeError", "UnboundLocalError", "ValueError", "ZeroDivisionError",
)  # fmt: skip
ENDINGS = (
    "no memory or processor time was left", "a segmentation fault", "an abort",
    "its processor time was used up", "a file grew too large", "os._exit: return the value instead",
)  # fmt: skip
RAISES, ENDS = re.compile(r"raises (\w+)"), re.compile(r"ends its own process(?: \((.*)\))?")
BEFORE = "The values are right, but "
# (a part of the judge's sentence, what is told instead); the first that is found counts
KINDS = tuple((re.compile(pattern), text) for pattern, text in (
    (r"^The values are right, but no gradient flows",
     BEFORE + "no gradient flows through them: did you use .item(), .detach() or float()?"),
    (r"^The values are right, but going backwards your code",
     BEFORE + "going backwards your code {deed} ({about})."),
    (r"^The values are right, but going backwards",
     BEFORE + "going backwards fails ({about}): is a tensor changed in place after it was used?"),
    (r"^The values are right, but the gradient .* not finite", BEFORE + "they are not finite: {about}."),
    (r"^The values are right, but the gradient",
     BEFORE + "this is wrong: {about}. Is a part of the computation detached or done in NumPy?"),
    (r"^Your function changes ", "Your function changes an argument in place; work on a new tensor instead."),
    (r"^Your function calls itself without end", "Your function calls itself without end."),
    (r"^Your code ", "Your code {deed} for {about}."),
    (r"^Give the function itself", "Give the function itself to the check, not its result."),
    (r"^This exercise wants a (?:number|choice), and you gave a function",
     "This exercise wants a value, and you gave a function: pass its result."),
    (r"^Give one number", "Give one number."),
    (r"^Your number is nan", "Your number is nan."),
    (r"^Your number is too large", "Your number is too large."),
    (r"^Your number is too small", "Your number is too small."),
    (r"[Ss]hape is wrong", "The shape of the result is wrong for {about}."),
    (r"dtype is wrong", "The dtype of the result is wrong for {about}."),
    (r"(?:nan|inf) appears", "Not every value of the result is finite for {about}."),
    (r"[Rr]eturn a dict with the keys", "Return a dict with the keys that the exercise names ({about})."),
    (r"parts where", "The number of parts of the result is wrong for {about}."),
    (r"[Rr]eturn (?:a tensor|the |an? |\d|one |two |True|text|None)|^Give ",
     "The result is of another type than the exercise asks for ({about})."),
))  # fmt: skip
GENERAL = "The result is wrong for {about}."
# What is told of a slip that `cmlib.check.detective` found: its kind, and nothing of what the answer gave.
FAMILIES = {
    "sign": "A sign is wrong, or a condition is turned round, for {about}.",
    "factor": "A factor or a divisor is missing, wrong or too many, for {about}.",
    "constant": "A constant is missing, wrong or too many, for {about}.",
    "transpose": "The transpose, or another order of dimensions, is wanted for {about}.",
    "axis": "A step runs over the wrong dimension, for {about}.",
    "reduction": "A sum, a mean or a maximum stands where another is wanted, for {about}.",
    "order": "The order of the values is wrong for {about}.",
    "shift": "Something is off by one place for {about}.",
    "mask": "The mask is upside down or has no effect, for {about}.",
    "argument": "An argument has no effect, or stands in the place of another, for {about}.",
    "power": "A square, a root, a logarithm or an exp is missing or too many, for {about}.",
    "step": "A step is missing, or is one too many, for {about}.",
    "size": "Large numbers break a step, or are cut off on the way, for {about}.",
    "rounding": "The result is rounded, or not rounded where it must be, for {about}.",
}


def told(exercise: Exercise, about: str, sentence: str) -> str:
    """What may be said of a property of a hidden case, ``about``, for which the judge found ``sentence``."""
    if any(sentence == known for known, _ in exercise.mistakes):
        return sentence
    if isinstance(sentence, Slip) and not sentence.startswith("The shape is wrong"):
        return FAMILIES[sentence.kind].format(about=about)
    for pattern, text in KINDS:
        if pattern.search(sentence):
            return text.format(about=about, deed=deed(sentence))
    return GENERAL.format(about=about)


def deed(sentence: str) -> str:
    """What became of the call, of a few possibilities: the text completes "Your code …"."""
    for text in UNSENDABLE.values():
        if text in sentence:
            return text
    if "takes longer than" in sentence or "took too long before" in sentence:
        return "takes longer than is allowed"
    ended = ENDS.search(sentence)
    if ended or "had already ended" in sentence or "has ended its process" in sentence:
        how = ended[1] if ended and ended[1] in ENDINGS else ""
        return "ends its own process" + (f" ({how})" if how else "")
    raised = RAISES.search(sentence)
    if raised and raised[1] in EXCEPTIONS:
        absent = " (cmlib is not there where answers are graded, nor is what the course does not install)"
        return f"raises {raised[1]}" + (absent if raised[1] in ("ImportError", "ModuleNotFoundError") else "")
    if "sends something unreadable" in sentence:
        return "sends something unreadable"
    if "returns gradients of another shape" in sentence:
        return "returns gradients of another shape or type"
    return "raises an exception"
