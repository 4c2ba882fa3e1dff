"""The trusted side of the box: start it, put one answer in, ask it, take it out again; no fault of ours becomes a learner's."""

from __future__ import annotations

import builtins
import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch

from cmlib.check.engine import AnswerRaised
from cmlib.grade import frames
from cmlib.grade.cgroups import Group
from cmlib.grade.inside import Limits, complaint
from cmlib.grade.walls import Wall

PACKAGE = Path(__file__).resolve().parent.parent
INSIDE = ("check/formula.py", "grade/frames.py", "grade/cells.py", "grade/slicing.py", "grade/seccomp.py", "grade/similarity.py", "grade/worker.py")
ABSENT = "def __getattr__(name):\n    raise ModuleNotFoundError(f'the course itself is not here: no cmlib.{name}')\n"
START = 120.0  # seconds; importing torch on a slow disk takes its time
KINDS = {name for name, kind in vars(builtins).items() if isinstance(kind, type) and issubclass(kind, BaseException)}


class Fault(BaseException):
    """The grader failed, not the learner: no Exception, since a check takes every exception for the learner's."""


class NotAnswered(NotImplementedError):
    """The learner's code says that it is not written yet; a NotImplementedError of the course itself is another thing."""


def stage() -> Path:
    """A folder with the few files of ours that the box may see."""
    for old in Path(tempfile.gettempdir()).glob("cmlib-box-*-*"):  # of graders that were killed
        if not Path("/proc", old.name.split("-")[2]).exists():
            shutil.rmtree(old, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"cmlib-box-{os.getpid()}-"))
    for name in INSIDE:
        target = folder / "cmlib" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(PACKAGE / name, target)
    for place in ("cmlib", "cmlib/check", "cmlib/grade"):
        (folder / place / "__init__.py").touch()
    (folder / "cmlib" / "__init__.py").write_text(ABSENT)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


def probe(wall: Wall) -> None:
    """Raises `Fault` unless a box comes up behind this wall and takes an answer."""
    files = stage()
    try:
        with Box(wall, files, slot=999) as box:
            box.answer().close()
    finally:
        shutil.rmtree(files, ignore_errors=True)


class Box:
    """One slot: a worker behind the wall, started when first needed and again after it broke."""

    def __init__(self, wall: Wall, files: Path, slot: int = 0, limits: Limits | None = None):
        self.wall, self.files, self.slot, self.limits = wall, files, slot, limits or Limits()
        self.process = self.control = self.group = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def start(self) -> None:
        kind = socket.SOCK_SEQPACKET if self.wall.nested else socket.SOCK_STREAM
        self.control, theirs = socket.socketpair(socket.AF_UNIX, kind)
        command = self.wall.command(self.files, self.slot, self.limits)
        if not self.wall.engine:  # which has control groups of its own
            self.group = Group(self.limits, f"{os.getpid()}-{self.slot}")
            command = self.group.around(command)
        try:
            self.process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, start_new_session=True,
                                            env=None if self.wall.engine else {"PATH": os.environ.get("PATH", os.defpath)})
        except OSError as error:
            raise Fault(f"the box could not be started: {error}") from None
        finally:
            theirs.close()
        try:
            if self.wall.nested:
                self._expect(b"ready", START)
            else:
                frames.receive(self.control, time.monotonic() + START)
        except (OSError, EOFError, Fault, frames.BadFrame) as error:
            self.process.kill()
            said = complaint(self.process.stderr.read(4096))  # ours: no learner has run yet
            self.close()
            raise Fault(f"the box did not come up ({said or error or 'it closed at once'})") from None

    def close(self) -> None:
        if self.control:
            self.control.close()
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process.stderr.close()
            self.wall.end(self.slot)
        if self.group:
            self.group.close()
        self.process = self.control = self.group = None

    def next_learner(self) -> None:
        """Where learners cannot be kept apart inside one box, each gets a new one."""
        if not self.wall.nested:
            self.close()

    def _expect(self, what: bytes | None, seconds: float) -> bytes:
        self.control.settimeout(seconds)
        try:
            said = self.control.recv(4096)
        except TimeoutError:
            raise Fault(f"the box was silent for {seconds:.0f} s") from None
        if what is not None and said != what:
            raise Fault(said.decode("utf-8", "replace") or "the box closed")
        return said

    def answer(self) -> Session:
        """A new child for one answer; raises `Fault`."""
        try:
            if self.process is None or self.process.poll() is not None:
                self.close()
                self.start()
            if not self.wall.nested:
                frames.send(self.control, frames.pack({"do": "start"}))
                return self._ready(self.control)
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
            with theirs:
                socket.send_fds(self.control, [b"start"], [theirs.fileno()])
            try:
                self._expect(b"started", 30)
                return self._ready(ours)
            except BaseException:
                ours.close()
                raise
        except OSError as error:
            self.close()
            raise Fault(f"the box could not be reached: {error}") from None
        except Fault:
            self.close()
            raise

    def _ready(self, connection) -> Session:
        """Nothing of a learner has run before the child says this, so all that goes wrong up to here is a fault of ours."""
        try:
            said, _ = frames.receive(connection, time.monotonic() + 30)
        except (EOFError, frames.BadFrame, TimeoutError) as error:
            raise Fault(f"a child of the box did not come up ({str(error) or type(error).__name__})") from None
        if said.get("ready") is not True:
            raise Fault(f"a child of the box could not be confined: {str(said.get('fault'))[:300]}")
        return Session(self, connection)

    def stop(self, session: Session) -> str:
        """End the child; returns how it ended, as a learner would say it, or "" when it was we who ended it."""
        try:
            if self.wall.nested:
                session.connection.close()
                self.control.send(b"stop")
                return _how(json.loads(self._expect(None, 30))["ended"])
            if session.broken:
                self.close()
                return ""
            frames.send(self.control, frames.pack({"do": "end"}))
            frames.receive(self.control, time.monotonic() + 30)
        except (OSError, EOFError, ValueError, KeyError, TypeError, Fault, AttributeError):
            self.close()
        return ""


HOW = {9: "no memory or processor time was left", 11: "a segmentation fault", 6: "an abort", 24: "its processor time was used up",
       25: "a file grew too large", 4: "an illegal instruction", 7: "a bus error", 8: "a floating point exception"}


def _how(code) -> str:
    if type(code) is not int or code == 0:
        return "os._exit: return the value instead"
    return HOW.get(-code, f"signal {-code}") if code < 0 else f"exit status {code}"


class Session:
    """One answer in its box. Whatever it does, asking it either returns data or raises `AnswerRaised` with a sentence."""

    def __init__(self, box: Box, connection):
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
            raise AnswerRaised(f"ends its own process ({_how(reply['ended'])})")
        if "raised" in reply:
            self._raise(reply)
        return reply, value

    def _raise(self, reply):
        if reply.get("open") is True:
            raise NotAnswered
        kind = reply["raised"] if isinstance(reply["raised"], str) and reply["raised"] in KINDS else "an exception of its own"
        line = reply.get("line")
        where = f" in line {line} of its cell" if type(line) is int and 0 < line < 10_000 else ""
        absent = " (where answers are graded there is neither cmlib nor any package that the course does not install)"
        raise AnswerRaised(f"raises {kind}{where}{absent if kind == 'ModuleNotFoundError' else ''}")


class Remote:
    """The learner's function, as the trusted side calls it: arguments go in, arrays come back, gradients flow through.

    session : returns the living session of the answer, at every call
    """

    def __init__(self, session: Callable[[], Session]):
        self.session = session

    def __call__(self, *args, **kwargs):
        session = self.session()
        reply, value = session.ask({"do": "call"}, (args, kwargs))
        changed = reply.get("changed")
        for position, argument in enumerate(args):
            if isinstance(argument, torch.Tensor) and isinstance(changed, list) and position in changed:
                _spoil(argument)
        sources = [a for a in args if isinstance(a, torch.Tensor) and a.requires_grad]
        leaves: list[torch.Tensor] = []
        frames.encode(value, leaves)
        leaves = [t for t in leaves if t.requires_grad]
        if not (sources and leaves and type(reply.get("call")) is int):
            return _replace(value, {id(t): t.detach() for t in leaves})
        attached = _Attach.apply(session, reply["call"], len(sources), *sources, *(t.detach() for t in leaves))
        return _replace(value, {id(old): new for old, new in zip(leaves, attached, strict=True)})


def _spoil(argument):
    """The box says that the answer changed this argument; the check then sees that it did."""
    with torch.no_grad():
        argument.copy_(argument == 0)


def _replace(value, by):
    if isinstance(value, torch.Tensor):
        return by.get(id(value), value)
    if isinstance(value, (list, tuple)):
        return type(value)(_replace(v, by) for v in value)
    if isinstance(value, dict):
        return {_replace(k, by): _replace(v, by) for k, v in value.items()}
    return Unseen(value) if type(value) is str else value


class Unseen(str):
    """A learner's text: compared as it is, never printed, since an answer could return what it was given."""

    def __str__(self):
        return "…"

    __repr__ = __str__

    def __format__(self, _):
        return "…"


class _Attach(torch.autograd.Function):
    """The outputs of an answer whose graph lives in the box: going back asks the box for the vector-Jacobian product."""

    @staticmethod
    def forward(ctx, session, call, count, *tensors):
        ctx.session, ctx.call, ctx.sources = session, call, [(t.shape, t.dtype) for t in tensors[:count]]
        return tuple(t.clone() for t in tensors[count:])

    @staticmethod
    def backward(ctx, *cotangents):
        _, gradients = ctx.session.ask({"do": "back", "call": ctx.call}, [c.contiguous() for c in cotangents])
        fit = isinstance(gradients, list) and len(gradients) == len(ctx.sources) and all(
            g is None or (isinstance(g, torch.Tensor) and (g.shape, g.dtype) == wanted)
            for g, wanted in zip(gradients, ctx.sources, strict=True))
        if not fit:
            raise AnswerRaised("returns gradients of another shape or type")
        return None, None, None, *(g if g is None else g.detach() for g in gradients), *(None for _ in cotangents)
