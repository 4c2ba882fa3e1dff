"""Inside the box: a fork server that has torch ready, and the children in which learners' code runs.

The server speaks over descriptor 0 with the grader (datagrams: ``start`` with a socket, ``stop``) and never
sees a learner's byte. Every ``start`` forks a child into namespaces of its own: no other process, no /proc,
an empty /tmp, no capability, no new namespace. The child answers frames: ``read`` (parse), ``run`` (define
the answer), ``call`` and ``back`` (gradients). It knows inputs; references, seeds and verdicts stay on the
other side.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import select
import signal
import socket
import sys
from contextlib import suppress

import torch

from cmlib.grade import frames, seccomp, slicing
from cmlib.grade.answering import answer_frames

# CLONE_NEWNS, NEWIPC, NEWUSER, NEWPID, NEWNET (Linux, sched.h)
NEW = 0x20000 | 0x08000000 | 0x10000000 | 0x20000000 | 0x40000000
PR_SET_DUMPABLE = 4  # Linux, prctl.h: whether others of the same user may look into this process
NOSUID, NODEV, NOEXEC, RDONLY, BIND, RECURSIVE = 2, 4, 8, 1, 4096, 16384
libc = ctypes.CDLL(None, use_errno=True)


def warm_up(optimizers: bool) -> None:
    """What is imported and set up lazily, once, while /proc can still be read."""
    x = torch.ones(2, 2, requires_grad=True)
    # with cotangents given it imports sympy, for seconds
    torch.autograd.grad([x @ x], [x], [torch.ones(2, 2)])
    torch.nn.functional.gelu(torch.ones(2))
    if optimizers:  # the first step imports the compiler, for seconds
        optimizer = torch.optim.Adam([x])
        x.sum().backward()
        optimizer.step()
    slicing.statements(["!ls\nx = 1"], "x", "00.0")


def serve(limits: dict) -> None:
    """The fork server: one child at a time, until the grader hangs up."""
    control = socket.socket(fileno=os.dup(0))
    os.dup2(os.open(os.devnull, os.O_RDWR), 0)
    control.send(b"ready")
    monitor = child = 0
    while True:
        order, descriptors, _, _ = socket.recv_fds(control, 64, 1)
        if not order:
            return
        if order == b"start":
            monitor, child, problem = fork_child(descriptors[0], limits)
            os.close(descriptors[0])
            control.send(problem.encode() or b"started")
        elif order == b"stop":
            control.send(json.dumps(end(monitor, child)).encode())


def serve_one_learner(limits: dict) -> None:
    """Without namespaces of our own (a container, another user): one answer after another over descriptors 0
    and 1, then the end.
    """
    # a learner's process has the same user: it must not write into this one
    libc.prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    pipes = Pipes(os.dup(0), os.dup(1))
    for descriptor in (0, 1):
        os.dup2(os.open(os.devnull, os.O_RDWR), descriptor)
    pipes.sendall(frames.pack({"ready": True}))
    while True:
        try:
            frames.receive(pipes)  # "start"; what follows is the child's
        except EOFError:
            return
        child = os.fork()
        if child == 0:
            libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # /proc/self must be writable until it is given up
            _confine(pipes, limits)
        pipes.sendall(frames.pack({"ended": _watch(child, pipes.incoming)}))


def _watch(child: int, grader: int) -> int:
    """How the child ended; when the grader hangs up, whether killed or done with it, everything ends here."""
    both = select.poll()
    ended = os.pidfd_open(child)
    both.register(ended, select.POLLIN)
    both.register(grader, 0)  # only that it hangs up: what it sends is for the child
    if any(descriptor == grader for descriptor, _ in both.poll()):
        os.kill(child, signal.SIGKILL)
        os._exit(0)
    os.close(ended)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


class Pipes:
    """Two descriptors with the methods of a socket that frames need."""

    def __init__(self, incoming: int, outgoing: int):
        self.incoming, self.outgoing = incoming, outgoing

    def settimeout(self, seconds):
        pass

    def recv(self, count):
        return os.read(self.incoming, count)

    def sendall(self, data):
        while data:
            data = data[os.write(self.outgoing, data):]


def fork_child(connection: int, limits: dict) -> tuple[int, int, str]:
    """(pid of the child's monitor, pid of the child, "" or what went wrong)."""
    read, write = os.pipe()
    monitor = os.fork()
    if monitor == 0:
        try:
            os.close(read)
            child = _enter_namespaces()
            if child == 0:
                os.dup2(connection, 3)
                os.closerange(4, 1 << 16)
                _confine(socket.socket(fileno=3), limits)  # does not return
            os.write(write, b"%d" % child)
            os.close(write)
            _, status = os.waitpid(child, 0)
            os._exit(os.waitstatus_to_exitcode(status) & 0xFF)  # −9 for SIGKILL becomes 247
        except OSError as error:
            os.write(write, f"no namespace of its own for a learner: {error}".encode())
            os._exit(1)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        said = pipe.read().decode()
    return (monitor, int(said), "") if said.isdigit() else (monitor, 0, said or "the child did not start")


def end(monitor: int, child: int) -> dict:
    """Kill what still runs (its namespace dies with it) and say how the child ended."""
    with suppress(ProcessLookupError):
        if child:  # nobody else can have its pid yet: only this server and its monitor make processes here
            os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(monitor, 0)
    code = os.waitstatus_to_exitcode(status)
    return {"ended": code - 256 if code > 128 else code}  # negative: the signal


def _check(result: int, what: str) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _enter_namespaces() -> int:
    uid, gid = os.getuid(), os.getgid()
    _check(libc.unshare(NEW), "unshare")
    for name, text in (("setgroups", "deny"), ("uid_map", f"1000 {uid} 1"), ("gid_map", f"1000 {gid} 1")):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)
    return os.fork()


def _confine(connection, limits: dict) -> None:
    """Give up everything that a learner's code does not need, say that it is gone; then answer frames."""
    try:
        _give_up(limits)
        frames.send(connection, frames.pack({"ready": True}))
    except BaseException as error:  # ours: no learner has run yet
        frames.send(connection, frames.pack({"fault": str(error)[:300] or type(error).__name__}))
        os._exit(1)
    try:
        answer_frames(connection)
    finally:
        os._exit(0)


def _give_up(limits: dict) -> None:
    os.setsid()  # else kill(0, …) would reach the server, which is of the same group
    with open("/proc/self/statm") as file:
        mapped = int(file.read().split()[0]) * resource.getpagesize()
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write("1000")  # when memory ends, this process is the one to go
    if limits["nested"]:
        python = {
            p: os.open(p, os.O_PATH)
            for p in {sys.prefix, sys.base_prefix}
            if p.startswith(("/tmp/", "/dev/shm/"))
        }
        for place in (b"/tmp", b"/dev/shm"):
            _check(
                libc.mount(b"tmpfs", place, b"tmpfs", NOSUID | NODEV, b"size=%d" % limits["disk"]),
                "a private /tmp",
            )
        for (
            place,
            descriptor,
        ) in python.items():  # Python itself lies where the empty folder now is: put it back
            os.makedirs(place, exist_ok=True)
            _check(
                libc.mount(
                    b"/proc/self/fd/%d" % descriptor, os.fsencode(place), None, BIND | RECURSIVE, None
                ),
                "Python under /tmp",
            )
            os.close(descriptor)
        with open("/proc/sys/user/max_user_namespaces", "w") as file:
            file.write("0")
        _check(
            libc.mount(b"tmpfs", b"/proc", b"tmpfs", NOSUID | NODEV | NOEXEC | RDONLY, b"size=4096"),
            "an empty /proc",
        )
    for what, limit in ((resource.RLIMIT_AS, mapped + limits["memory"]), (resource.RLIMIT_CPU, limits["cpu"]),
                        (resource.RLIMIT_NPROC, limits["processes"]), (resource.RLIMIT_FSIZE, limits["disk"]),
                        (resource.RLIMIT_NOFILE, 256), (resource.RLIMIT_CORE, 0)):
        resource.setrlimit(what, (limit, limit))
    _drop_capabilities()
    nowhere = os.open(os.devnull, os.O_RDWR)
    for descriptor in (1, 2):
        os.dup2(nowhere, descriptor)
    os.chdir("/tmp")


def _drop_capabilities() -> None:
    for capability in range(64):
        libc.prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP
    header, nothing = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
    _check(libc.capset(header, nothing), "capset")
    _check(libc.prctl(38, 1, 0, 0, 0), "no_new_privs")
    seccomp.install(libc)


if __name__ == "__main__":
    uid, limits = int(sys.argv[1]), json.loads(sys.argv[2])
    if uid and os.getuid() == 0:  # the wall was built by root: be an ordinary user inside
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
        # the change of uid took it away: /proc/self must stay writable
        libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    warm_up(limits["optimizers"])
    (serve if limits["nested"] else serve_one_learner)(limits)
