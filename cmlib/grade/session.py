"""One answer in its box, asked from the trusted side; no fault of ours becomes a learner's, and no text of a
learner is shown.
"""

from __future__ import annotations

import builtins
import time

from cmlib.check.engine import AnswerRaised
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


class Fault(BaseException):
    """The grader failed, not the learner: no Exception, since a check takes every exception for the
    learner's.
    """


class NotAnswered(NotImplementedError):
    """The learner's code says that it is not written yet; a NotImplementedError of the course itself is
    another thing.
    """


def how_it_ended(code) -> str:
    if type(code) is not int or code == 0:
        return "os._exit: return the value instead"
    return HOW.get(-code, f"signal {-code}") if code < 0 else f"exit status {code}"


class Session:
    """One answer in a `Box`. Whatever it does, asking it either returns data or raises `AnswerRaised` with a
    sentence.
    """

    def __init__(self, box, connection):
        self.box, self.connection = box, connection
        self.broken = self.hopeless = self.closed = False

    def close(self) -> str:
        if self.closed:
            return ""
        self.closed = True
        return self.box.stop(self)

    def ask(self, message: dict, value=None, seconds: float | None = None) -> tuple[dict, object]:
        if self.broken:
            raise AnswerRaised("had already ended its process")
        try:
            frame = frames.pack(message, value)
        except frames.BadFrame as error:
            raise Fault(f"an input is too large for the box: {error}") from None
        seconds = self.box.limits.wall if seconds is None else max(min(seconds, self.box.limits.wall), 0.01)
        try:
            self.connection.settimeout(seconds)
            frames.send(self.connection, frame)
            reply, value = frames.receive(self.connection, time.monotonic() + seconds)
        except TimeoutError:
            self.broken = self.hopeless = True
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
        if "raised" in reply:
            self._raise(reply)
        return reply, value

    def _raise(self, reply):
        if reply.get("open") is True:
            raise NotAnswered
        kind = (
            reply["raised"]
            if isinstance(reply["raised"], str) and reply["raised"] in KINDS
            else "an exception of its own"
        )
        line = reply.get("line")
        where = f" in line {line} of its cell" if type(line) is int and 0 < line < 10_000 else ""
        absent = " (where answers are graded there is neither cmlib nor any package that the course does not install)"
        raise AnswerRaised(f"raises {kind}{where}{absent if kind == 'ModuleNotFoundError' else ''}")
