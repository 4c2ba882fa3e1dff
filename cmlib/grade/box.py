"""One box behind a wall: start it, put an answer in, take it out again."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from cmlib.grade import frames
from cmlib.grade.cgroups import Group
from cmlib.grade.inside import Limits, complaint
from cmlib.grade.session import Clock, Fault, Session, how_it_ended
from cmlib.grade.walls import Wall

PACKAGE = Path(__file__).resolve().parent.parent
INSIDE = (
    "check/formula.py",
    "check/inplace.py",
    "grade/frames.py",
    "grade/cells.py",
    "grade/slicing.py",
    "grade/seccomp.py",
    "grade/shell.py",
    "grade/similarity.py",
    "grade/answering.py",
    "grade/worker.py",
)
ABSENT = (
    "def __getattr__(name):\n"
    "    raise ModuleNotFoundError(f'the course itself is not here: no cmlib.{name}')\n"
)
REMEMBERS = (  # a notebook may call check in any way: its id and answer are kept for `answering`
    "ANSWERS = {}\n"
    "def check(id, answer=None):\n"
    "    ANSWERS[id] = answer\n"
)
START = 120.0  # seconds; importing torch on a slow disk takes its time


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
    for place, text in (("cmlib", ABSENT), ("cmlib/check", REMEMBERS), ("cmlib/grade", "")):
        (folder / place / "__init__.py").write_text(text)
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
        self.clock = Clock(self.limits.learner)  # of the learner whose answers are in it

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
            self.process = subprocess.Popen(
                command,
                stdin=theirs,
                stdout=theirs,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env=None if self.wall.engine else {"PATH": os.environ.get("PATH", os.defpath)},
            )
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
        self.clock = Clock(self.limits.learner)
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
            used = self.process is not None and self.process.poll() is None
            if not used:
                self.close()
                self.start()
            if not self.wall.nested:
                return self._in_place_of_the_last(used)
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

    def _in_place_of_the_last(self, used: bool) -> Session:
        """Without namespaces of its own an answer may leave processes behind that speak in its place: then a
        new box.
        """
        try:
            frames.send(self.control, frames.pack({"do": "start"}))
            return self._ready(self.control)
        except (Fault, OSError):
            if not used:
                raise
            self.close()
            self.start()
            return self._in_place_of_the_last(False)

    def _ready(self, connection) -> Session:
        """Nothing of a learner has run before the child says this, so all that goes wrong up to here is a
        fault of ours.
        """
        try:
            said, _ = frames.receive(connection, time.monotonic() + 30)
        except (EOFError, frames.BadFrame, TimeoutError) as error:
            raise Fault(
                f"a child of the box did not come up ({str(error) or type(error).__name__})"
            ) from None
        if said.get("ready") is not True:
            raise Fault(f"a child of the box could not be confined: {str(said.get('fault'))[:300]}")
        return Session(self, connection)

    def stop(self, session: Session) -> str:
        """End the child; returns how it ended, as a learner would say it, or "" when it was we who ended
        it.
        """
        try:
            if self.wall.nested:
                session.connection.close()
                self.control.send(b"stop")
                return how_it_ended(json.loads(self._expect(None, 30))["ended"])
            if session.broken:
                self.close()
                return ""
            frames.send(self.control, frames.pack({"do": "end"}))
            frames.receive(self.control, time.monotonic() + 30)
        except (OSError, EOFError, ValueError, KeyError, TypeError, Fault, AttributeError):
            self.close()
        return ""
