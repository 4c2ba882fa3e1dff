"""Hostile frames by the thousand, asked for by the real check through the real `Session`; only the box is
played.

A *pass* is a property that holds although an obvious comparison says that the value is another; a *crash* is
any exception that leaves the judge. Both must not happen.
"""

from __future__ import annotations

import json
import random
import struct
from types import SimpleNamespace

import numpy as np
import torch

from cmlib.check.engine import AnswerRaised, Exercise, properties
from cmlib.grade import frames
from cmlib.grade.remote import Remote, Unseen
from cmlib.grade.session import Clock, NotAnswered, Session
from cmlib.grade.walls import Limits

VALUES = [
    Exercise("98.1", "A number", lambda: 0.375, 1, 1, 1, kind="number"),
    Exercise("98.2", "A choice", lambda: "left", 1, 1, 1, kind="choice"),
    Exercise("98.3", "Yes or no", lambda: True, 1, 1, 1, kind="choice"),
]
BOX = SimpleNamespace(
    limits=Limits(), wall=SimpleNamespace(nested=True), stop=lambda session: "", clock=Clock()
)
SIZES = (
    0,
    1,
    2,
    3,
    4,
    5,
    7,
    8,
    64,
    1 << 20,
    1 << 26,
    (1 << 26) + 1,
    1 << 31,
    1 << 62,
    1 << 63,
    1 << 70,
    -1,
    True,
    1.0,
    "3",
    None,
    [],
)
NUMBERS = (
    0,
    1,
    -1,
    2**31,
    2**53 + 1,
    -(2**63),
    2**63 - 1,
    2**63,
    10**40,
    True,
    False,
    0.5,
    1e308,
    -0.0,
    None,
    "1",
    [],
    {},
)
HEXES = (
    "0x1.8p+1",
    "nan",
    "-nan",
    "inf",
    "-inf",
    "-0x0.0p+0",
    "0x1p+99999",
    "0x1p-1074",
    "1e5",
    "",
    " 1 ",
    "٣",
    "0x",
    "x" * 40,
    "1_0",
)
TEXTS = (
    "",
    "right",
    "[UNK]",
    "\x00",
    "\ud800",
    "a\u202eb",
    "é" * 50,
    "None",
    "nan",
    "<script>",
    "=1+1",
    "\n" * 20,
    "🤝",
)


class Wire:
    """The socket of a session whose other end is a `Forger`."""

    def __init__(self, forger):
        self.forger, self.left = forger, b""

    def settimeout(self, seconds):
        pass

    def sendall(self, data):
        self.left = self.forger.frame(data)

    def recv(self, count):
        part, self.left = self.left[:count], self.left[count:]
        return part


class Forger:
    """An answer that returns what nobody should; `asked` counts its frames."""

    def __init__(self, exercise, seed: int):
        self.exercise, self.random, self.asked, self.right, self.taken = (
            exercise,
            random.Random(seed),
            0,
            None,
            True,
        )

    def __call__(self, *args, **kwargs):
        try:
            with torch.no_grad():
                self.right = self.exercise.reference(*args, **kwargs)
        except Exception:
            self.right = None
        return Remote(lambda: Session(BOX, Wire(self)))(*args, **kwargs)

    def frame(self, asked: bytes) -> bytes:
        self.asked += 1
        r, back = self.random, b'"back"' in asked[:200]
        kind = r.random()
        if kind < 0.03:
            return r.randbytes(r.randrange(40))
        tensors: list = []
        if kind < 0.4 and not back and self.right is not None:
            coded = self.almost(frames.encode(self.right, held := []), held, tensors)
        else:
            coded = self.value(0, tensors)
        described, body = [[t[0], t[1], t[2]] for t in tensors], b"".join(t[3] for t in tensors)
        message = r.choice(
            (
                {"call": 0, "changed": []},
                {"call": 0},
                {},
                {"call": r.choice(NUMBERS), "changed": r.choice(NUMBERS)},
                {"changed": [0, 1, -1, 99, None, "0", 1e400, [0]]},
                {
                    "raised": r.choice((*TEXTS, 3, None, "ValueError", "SystemExit")),
                    "line": r.choice(NUMBERS),
                    "text": r.choice(TEXTS),
                    "open": r.choice((False, 0, "x")),
                },
                {"ended": r.choice(NUMBERS)},
            )
        )
        header = json.dumps({"message": message, "value": coded, "tensors": described}).encode()
        if kind > 0.93:
            header = self.mutated(header)
        if kind > 0.98:
            body = self.mutated(body)
        sizes = (
            (len(header), len(body))
            if r.random() < 0.99
            else (r.choice((0, 1, 2**32 - 1, 1 << 20)), r.choice((0, 2**32 - 1, 1 << 26)))
        )
        return struct.pack("<4sII", b"CML1" if r.random() < 0.995 else r.randbytes(4), *sizes) + header + body

    def mutated(self, data: bytes) -> bytes:
        data, r = bytearray(data), self.random
        for _ in range(r.randrange(1, 6)):
            place = r.randrange(len(data) + 1)
            data[place : place + r.choice((0, 1, 1, 9))] = r.choice(
                (
                    b"",
                    b"[",
                    b"]",
                    b'"',
                    b"9",
                    b"\xff",
                    b"1e999",
                    b"NaN",
                    b"[" * 2000,
                    b"\x00",
                    b'{"a":1,"a":2}',
                    b"9" * 5000,
                    b"\\ud800",
                )
            )
        return bytes(data)

    def tensor(self, tensors) -> list:
        r = self.random
        name = r.choice((*frames.DTYPES, "float63", 3, None) if r.random() < 0.1 else (*frames.DTYPES,))
        shape = [
            r.choice(SIZES if r.random() < 0.2 else SIZES[:6])
            for _ in range(r.choice((0, 1, 1, 2, 2, 3, 4, 9)))
        ]
        count = 1
        for size in shape:
            count *= size if type(size) is int and 0 <= size < 100 else 0
        bytes_each = frames.DTYPES[name].itemsize if name in frames.DTYPES else 1
        length = min(count * bytes_each, 4096)
        if r.random() < 0.05:
            length = max(0, length + r.choice((-1, 1, 7, 8)))
        data = r.randbytes(length) if r.random() < 0.7 else b"\xff" * length
        tensors.append((name, shape, r.choice((True, False, False, 1)) if r.random() < 0.5 else True, data))
        return ["tensor", len(tensors) - 1]

    def value(self, depth: int, tensors: list):
        r = self.random
        tag = r.choice(
            (
                "tensor",
                "tensor",
                "tensor",
                "int",
                "float",
                "text",
                "bool",
                "none",
                "list",
                "tuple",
                "dict",
                "set",
                "array",
                "foreign",
                "formula",
                "other",
                "again",
                "deep",
            )
        )
        inner = [] if depth > 3 else [self.value(depth + 1, tensors) for _ in range(r.randrange(4))]
        match tag:
            case "tensor":
                return self.tensor(tensors)
            case "again":
                return ["tensor", r.choice((0, 1, -1, len(tensors), True, 0.0, "0"))]
            case "int":
                return ["int", r.choice(NUMBERS)]
            case "float":
                return ["float", r.choice((*HEXES, r.uniform(-9, 9).hex()))]
            case "text":
                return ["text", r.choice((*TEXTS, 3))]
            case "bool":
                return ["bool", r.choice((True, False, 1, None))]
            case "list" | "tuple" | "set":
                return [tag, inner]
            case "dict":
                return [
                    "dict",
                    [
                        [["text", r.choice(TEXTS)] if r.random() < 0.7 else self.value(9, tensors), v]
                        for v in inner
                    ],
                ]
            case "formula":
                return ["formula", "__import__('os').abort()", []]
            case "deep":
                value = ["int", 1]
                for _ in range(r.choice((15, 16, 17, 18, 90))):
                    value = ["list", [value]]
                return value
            case "other":
                return r.choice(
                    (
                        ["pickle", "gASV"],
                        [],
                        "x",
                        3,
                        None,
                        {},
                        ["tensor"],
                        ["list", 3],
                        ["dict", [[1]]],
                        [["none"]],
                        ["none", 1],
                    )
                )
        return [tag]

    def almost(self, coded, held: list, tensors: list):
        """The right result with one thing changed, now and then with nothing changed (then its gradient is
        hostile).
        """
        r = self.random
        if coded[0] in ("list", "tuple") and coded[1]:
            place = r.randrange(len(coded[1]))
            parts = [
                self.almost(v, held, tensors) if i == place else self.plain(v, held, tensors)
                for i, v in enumerate(coded[1])
            ]
            return [coded[0], parts[:-1] if r.random() < 0.1 else parts * 2 if r.random() < 0.1 else parts]
        if coded[0] == "tensor":
            return self.wrong_tensor(held[coded[1]], tensors)
        if coded[0] == "text":
            return [
                "text",
                r.choice(
                    (coded[1] + "\u200b", coded[1] + ".", coded[1].upper() + "!", coded[1][:-1] + "\x00")
                ),
            ]
        if coded[0] in ("int", "float"):
            number = coded[1] if coded[0] == "int" else float.fromhex(coded[1])
            if r.random() < 0.3:
                return self.wrong_tensor(torch.tensor(float(number)), tensors)
            return r.choice(
                (
                    ["float", "nan"],
                    ["float", "inf"],
                    ["int", int(number) + 3],
                    ["float", (number + 0.5).hex()],
                    ["text", str(number)],
                    ["list", [coded]],
                )
            )
        return self.value(2, tensors)

    def plain(self, coded, held, tensors):
        if coded[0] == "tensor":
            self.put(held[coded[1]], tensors)
            return ["tensor", len(tensors) - 1]
        return (
            [coded[0], [self.plain(v, held, tensors) for v in coded[1]]]
            if coded[0] in ("list", "tuple")
            else coded
        )

    def put(self, t, tensors):
        t = t.detach().contiguous()
        raw = t.reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b""
        tensors.append((frames.NAMES[t.dtype], list(t.shape), True, raw))

    def wrong_tensor(self, right, tensors):
        r, t = self.random, right.detach().clone()
        change = r.choice(
            (
                "nothing",
                "complex",
                "entry",
                "nan",
                "dtype",
                "shape",
                "scale",
                "more",
                "none",
                "zeros",
                "negative",
                "row",
            )
        )
        if t.is_floating_point() and t.numel():
            flat = t.reshape(-1)
            if change == "entry":
                flat[r.randrange(len(flat))] += r.choice((1e-3, 1.0, 1e6, -1e300))
            if change in ("nan", "row"):
                flat[r.randrange(len(flat))] = r.choice((float("nan"), float("inf"), -float("inf")))
            t = flat.reshape(t.shape)
        t = {
            "complex": lambda: torch.complex(t.double(), torch.ones_like(t.double())),
            "dtype": lambda: t.to(r.choice((*frames.NAMES,))),
            "shape": lambda: t[None],
            "scale": lambda: 3 * t,
            "more": lambda: torch.cat([t.reshape(-1)] * 2),
            "zeros": lambda: torch.zeros_like(t),
            "negative": lambda: t.double().neg() if t.dtype is not torch.bool else ~t,
        }.get(change, lambda: t)()
        self.put(t, tensors)
        return ["tensor", len(tensors) - 1]


def _array(tensor) -> np.ndarray:
    """NumPy knows no bfloat16."""
    return (tensor.detach().float() if tensor.dtype is torch.bfloat16 else tensor.detach()).numpy()


def same(got, want) -> bool:
    """The obvious comparison."""
    if isinstance(want, torch.Tensor):
        return isinstance(got, torch.Tensor) and got.dtype == want.dtype and got.shape == want.shape and bool(
            np.allclose(_array(got), _array(want), rtol=1e-5, atol=1e-8, equal_nan=True))
    if isinstance(want, (list, tuple)):
        return isinstance(got, (list, tuple)) and len(got) == len(want) and all(map(same, got, want))
    if isinstance(want, dict):
        return isinstance(got, dict) and set(got) == set(want) and all(same(got[k], want[k]) for k in want)
    if isinstance(want, str) or want is None or isinstance(want, bool):
        return type(got) in (type(want), Unseen) and got == want
    try:
        return abs(complex(got) - want) <= 1e-5 * abs(want) + 1e-8
    except (TypeError, ValueError):
        return False


def attack(exercise, seed: int) -> tuple[int, list[str], list[str]]:
    """(hostile values sent, passes, crashes) of one check of ``exercise``."""
    forger, seen = Forger(exercise, seed), []

    def watched(call):
        def wrapped(answer, *args):
            got = call(answer, *args)
            if answer is forger:
                seen.append((got, args))
            return got
        return wrapped
    call, passes, crashes, answer = exercise.call, [], [], forger
    exercise.call = watched(call)
    try:
        if exercise.kind in ("number", "choice"):  # its answer is a value, which came in a frame
            forger.right = exercise.reference()
            answer = Session(BOX, Wire(forger)).ask({"do": "run"})[1]
            seen.append((answer, ()))
            if answer is None:
                return forger.asked, [], []
        for name, sentence in properties(exercise, answer, seed):
            if sentence is None:
                got, args = seen[-1]
                if exercise.kind in ("number", "choice"):  # in any form that the exercise reads
                    got = call(lambda: answer)
                fresh = [a.detach() if isinstance(a, torch.Tensor) else a for a in args]
                if name.startswith("the gradient for ") or not same(got, call(exercise.reference, *fresh)):
                    passes.append(f"{exercise.id}, seed {seed}, {name}: {got!r:.200}")
            elif not (isinstance(sentence, str) and sentence.strip()):
                crashes.append(f"{exercise.id}, seed {seed}: no sentence")
    except (NotAnswered, AnswerRaised):
        pass
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        crashes.append(f"{exercise.id}, seed {seed}: {type(error).__name__}: {error}"[:300])
    finally:
        exercise.call = call
    return forger.asked, passes, crashes
