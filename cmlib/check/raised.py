"""What ends a check, and what an exception in an answer says to its author: one sentence, with the line and
what to do.
"""

from __future__ import annotations

import dis
import re
import sysconfig
import traceback
from pathlib import Path

RAISE = dis.opmap["RAISE_VARARGS"]
LIBRARIES = tuple(
    str(Path(place).resolve())
    for place in (*(sysconfig.get_paths()[name] for name in ("purelib", "platlib", "stdlib")),
                  Path(__file__).parents[1])
)
# (what an exception says, what is added to it)
HELP = tuple((re.compile(pattern), text) for pattern, text in (
    (r"missing the required .forward. function", "the module has no method called forward; is it misspelt?"),
    (r"could not infer output dtype|[Ii]nput dtype must be either a floating point or complex",
     "a mean needs decimal numbers, so turn them into .double() first"),
    (r"not implemented for '(?:Long|Int|Bool|Byte|Short)'|only support floating point",
     "whole numbers, or True and False, are no decimal numbers: turn them into .double() first"),
    (r"with two bool tensors|(?:with|on) a bool tensor",
     "True and False cannot be subtracted: .double() first, or ~ to turn a mask round"),
    (r"Boolean value of Tensor with more than one value",
     "a condition wants one truth value, and this tensor has many: use torch.where, .any() or .all()"),
    (r"requires grad\. Use tensor\.detach", "NumPy cannot carry gradients: stay with torch"),
    (r"does not require grad and does not have a grad_fn",
     "nothing to differentiate: a first derivative without create_graph=True, or something detached?"),
    (r"grad can be implicitly created only for scalar", "add up with .sum() before you differentiate"),
    (r"appears to not have been used in the graph",
     "what you differentiate does not depend on it: allow_unused=True gives None there"),
    (r"leaf Variable that requires grad.*in-place", "do not change an argument in place"),
    (r"(?:must match|mat1 and mat2 shapes|Expected size|size mismatch|shapes cannot be multiplied)",
     "the shapes do not fit: print them, and see which dimension is in another place"),
    (r"expected scalar type|same dtype|dtypes? .*(?:different|match)",
     "the dtypes differ: bring both to one"),
    (r"Dimension out of range", "the tensor has fewer dimensions than you say"),
))  # fmt: skip


class Failed(Exception):
    """The check stops here; the only argument is the learner's sentence."""

    @property
    def sentence(self) -> str:
        return self.args[0]  # perhaps a `Slip`, which knows its kind; str() would forget it


class AnswerRaised(Exception):
    """The learner's code raised elsewhere (in the box of a grader), or could not be asked at all; the text
    completes "Your code …".
    """


def by_a_stub(error: NotImplementedError) -> bool:
    """Whether the learner's own code says ``raise NotImplementedError``: torch raises it as well, for a mean
    of True and False or a module without forward.
    """
    place = error.__traceback__
    while place.tb_next:
        place = place.tb_next
    code = place.tb_frame.f_code
    return not _of_a_library(code.co_filename) and code.co_code[place.tb_lasti] == RAISE


def _of_a_library(file: str) -> bool:
    return not file.startswith("<") and str(Path(file).resolve()).startswith(LIBRARIES)


def told(error: Exception, answer, about: str) -> str:
    """The sentence: kind, line of the cell, case, what Python says, and what it may mean."""
    name = getattr(answer, "__name__", "")
    lines = [
        f.lineno
        for f in traceback.extract_tb(error.__traceback__)
        if f.name == name or f.filename.startswith("<") or "ipykernel" in f.filename
    ]
    where = f" in line {lines[-1]} of your cell" if lines else ""
    text = str(error).strip().split("\n")[0][:160]
    means = next((means for pattern, means in HELP if pattern.search(str(error))), "")
    means = f" ({means})" if means else ""
    return f"Your code raises {type(error).__name__}{where} for {about}: {text}{means}"
