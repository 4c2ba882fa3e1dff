"""One answer in its box, asked from the trusted side; no fault of ours becomes a learner's, and no text of a
learner is shown.
"""

from __future__ import annotations

import builtins
import math
import time

from cmlib.check.engine import AnswerRaised, NotAnswered
from cmlib.grade import frames

KINDS = {
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
}
HOW = {
    9: "no memory or processor time was left",
    11: "a segmentation fault",
    6: "an abort",
    24: "its processor time was used up",
    25: "a file grew too large",
    4: "an illegal instruction",
    7: "a bus error",
    8: "a floating point exception",
}


UNSENDABLE = {  # what a box says of a result that it cannot send, and how it is told
    "large": "returns more than fits into 33 MB",
    "many": "returns something of too many parts",
    "deep": "returns something that is nested too deeply",
    "itself": "returns something that contains itself",
}


class Fault(BaseException):
    """The grader failed, not the learner: no Exception, since a check takes every exception for the
    learner's.
    """


class Spent(Fault):
    """The learner's answers have taken all the time that they get: a human decides about the rest."""


def how_it_ended(code) -> str:
    if type(code) is not int or code == 0:
        return "os._exit: return the value instead"
    return HOW.get(-code, f"signal {-code}") if code < 0 else f"exit status {code}"


class Clock:
    """The seconds that the answers of one learner may take together; only the box's time counts."""

    def __init__(self, seconds: float = math.inf):
        self.total, self.spent = seconds, 0.0

    @property
    def left(self) -> float:
        return self.total - self.spent

    def sentence(self) -> str:
        return (f"this learner's answers have taken {self.total / 60:.4g} minutes together, which is all the "
                "time that they get")


class Session:
    """One answer in a `Box`. Whatever it does, asking it either returns data or raises `AnswerRaised` with a
    sentence.

    is_stub : whether "not answered" is what the code as a whole says; raised : the kinds of exceptions so far
    """

    def __init__(self, box, connection):
        self.box, self.connection = box, connection
        self.broken = self.hopeless = self.closed = self.is_stub = False
        self.clock, self.raised = box.clock, set()

    def close(self) -> str:
        if self.closed:
            return ""
        self.closed = True
        return self.box.stop(self)

    def ask(self, message: dict, value=None, seconds: float | None = None) -> tuple[dict, object]:
        """The reply, within ``seconds`` (of `Limits.wall`, where none are given) and what the clock has."""
        if self.broken:
            raise AnswerRaised("had already ended its process")
        try:
            frame = frames.pack(message, value)
        except frames.BadFrame as error:
            raise Fault(f"an input is too large for the box: {error}") from None
        seconds = max(min(seconds or self.box.limits.wall, self.clock.left), 0.01)
        start = time.monotonic()
        try:
            reply, value = self._exchange(frame, seconds)
        finally:
            self.clock.spent += time.monotonic() - start
        if "unsendable" in reply:
            raise AnswerRaised(UNSENDABLE.get(str(reply["unsendable"]), "sends something unreadable"))
        if "raised" in reply:
            self.tell(reply)
        return reply, value

    def _exchange(self, frame, seconds):
        try:
            self.connection.settimeout(seconds)
            frames.send(self.connection, frame)
            reply, value = frames.receive(self.connection, time.monotonic() + seconds)
        except TimeoutError:
            self.broken = self.hopeless = True
            if seconds >= self.clock.left:
                raise Spent(self.clock.sentence()) from None
            raise AnswerRaised(f"takes longer than {seconds:g} s") from None
        except (EOFError, OSError):
            self.broken = True
            how = self.close()
            raise AnswerRaised("ends its own process" + (f" ({how})" if how else "")) from None
        except frames.BadFrame as error:
            self.broken = True
            raise AnswerRaised(f"sends something unreadable ({error})") from None
        if "ended" in reply and not self.box.wall.nested:  # said by the worker, in the place of an answer
            self.broken = self.closed = True
            self.box.close()
            raise AnswerRaised(f"ends its own process ({how_it_ended(reply['ended'])})")
        return reply, value

    def tell(self, reply: dict):
        """Raise for an exception in the box: `NotAnswered` where a stub says so, else `AnswerRaised`."""
        if self.is_stub and reply.get("open") is True:
            raise NotAnswered
        kind = str(reply.get("raised"))
        kind = kind if kind in KINDS else "an exception of its own"
        self.raised.add(kind)
        line = reply.get("line")
        where = f" in line {line} of its cell" if type(line) is int and 0 < line < 10_000 else ""
        absent = ""
        if kind == "ModuleNotFoundError":
            absent = (" (where answers are graded there is neither cmlib nor any package that the course "
                      "does not install)")
        raise AnswerRaised(f"raises {kind}{where}{absent}")
