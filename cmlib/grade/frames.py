"""What crosses the wall of the box: a strict JSON header and raw numbers. Nothing is ever unpickled or
evaluated.

A frame is ``CML1``, the lengths of header and body (two unsigned 32-bit integers), the header (UTF-8 JSON)
and the body (the bytes of all arrays, one after the other). Values are written as ``[tag, …]``; `decode`
trusts no tag, length or number.

This file runs on both sides of the wall.
"""

from __future__ import annotations

import json
import math
import struct
import time

import torch

from cmlib.check.formula import Formula

MAGIC, PREFIX = b"CML1", struct.Struct("<4sII")
MAX_HEADER, MAX_BODY, MAX_DEPTH, MAX_DIMENSIONS = 1 << 20, 1 << 25, 16, 8
MOST_PARTS = MAX_HEADER // 8  # what is sent takes eight characters at least
DTYPES = {
    str(d).removeprefix("torch."): d
    for d in (
        torch.float64,
        torch.float32,
        torch.float16,
        torch.bfloat16,
        torch.int64,
        torch.int32,
        torch.int16,
        torch.int8,
        torch.uint8,
        torch.bool,
        torch.complex64,
        torch.complex128,
    )
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}


class BadFrame(ValueError):
    """What arrived is no frame, or no value; the text says why, in the sender's terms."""


class Unsendable(BadFrame):
    """A result that no frame can hold. kind : "large", "many", "deep" or "itself"."""

    def __init__(self, kind: str):
        super().__init__(kind)
        self.kind = kind


class Array:
    """A NumPy array that came over the wall: said to be one, of no further use (an exercise wants
    tensors).
    """


class Foreign:
    """Some object that cannot cross the wall."""


ARRAY, FOREIGN = Array(), Foreign()
# as the sentences of a check call them
Array.__name__, Foreign.__name__ = "ndarray", "object of some other type"


def encode(value, tensors: list[torch.Tensor]):
    """JSON for ``value``; its tensors are appended to ``tensors`` and named by position. Raises
    `Unsendable`.
    """
    return _Coder(tensors).code(value)


class _Coder:
    """path : the identities of the lists, dicts and sets around the value that is being coded."""

    def __init__(self, tensors: list[torch.Tensor]):
        self.tensors, self.path, self.parts = tensors, [], 0

    def code(self, value):
        self.parts += 1
        if self.parts > MOST_PARTS:
            raise Unsendable("many")
        kind = type(value)
        if value is None or value is ...:
            return ["none"]
        if kind is bool:
            return ["bool", value]
        if isinstance(value, int):  # a member of an IntEnum, too
            return ["int", int(value)] if -(1 << 63) <= value < 1 << 63 else ["foreign"]
        if isinstance(value, float):
            return ["float", float(value).hex()]
        if kind is str:
            return ["text", value.encode("utf-8", "replace").decode()]
        # also a subclass, such as a named tuple or a Counter
        form = next((t for t in (list, tuple, dict, set, frozenset) if isinstance(value, t)), None)
        if form in (list, tuple):
            return [form.__name__, self.inside(value, form(value))]
        if form in (set, frozenset):
            return ["set", self.inside(value, sorted(value, key=repr))]
        if form is dict:
            both = self.inside(value, [part for item in dict(value).items() for part in item])
            return ["dict", [list(item) for item in zip(both[::2], both[1::2], strict=True)]]
        if isinstance(value, torch.Tensor) and value.dtype in NAMES and not value.is_meta:
            self.tensors.append(value)
            return ["tensor", len(self.tensors) - 1]
        if isinstance(value, Formula):
            return ["formula", value.text, list(value.parameters)]
        return self.of_library(value)

    def inside(self, holder, parts) -> list:
        if id(holder) in self.path:
            raise Unsendable("itself")
        if len(self.path) >= MAX_DEPTH:
            raise Unsendable("deep")
        if self.parts + len(parts) > MOST_PARTS:
            raise Unsendable("many")
        self.path.append(id(holder))
        coded = [self.code(part) for part in parts]
        self.path.pop()
        return coded

    def of_library(self, value):
        import numpy as np

        single = isinstance(value, np.generic | np.ndarray) and value.ndim == 0
        if single and isinstance(value.item(), (bool, int, float)):
            return self.code(value.item())
        if isinstance(value, np.ndarray):
            return ["array"]
        return self.code(str(value)) if isinstance(value, str) else ["foreign"]


def pack(message: dict, value=None) -> bytes:
    """The frame of ``message`` (plain JSON) and ``value`` (anything that `encode` knows)."""
    tensors: list[torch.Tensor] = []
    coded = encode(value, tensors)
    if sum(tensor.numel() * tensor.element_size() for tensor in tensors) > MAX_BODY:
        raise Unsendable("large")
    bodies, described = [], []
    for tensor in tensors:
        plain = (
            tensor.detach().cpu().resolve_conj().resolve_neg().clone(memory_format=torch.contiguous_format)
        )
        raw = plain.reshape(-1).view(torch.uint8).numpy().tobytes() if plain.numel() else b""
        bodies.append(raw)
        described.append([NAMES[plain.dtype], list(plain.shape), bool(tensor.requires_grad)])
    header = json.dumps({"message": message, "value": coded, "tensors": described}, allow_nan=False).encode()
    body = b"".join(bodies)
    if len(header) > MAX_HEADER:
        raise Unsendable("many")
    return PREFIX.pack(MAGIC, len(header), len(body)) + header + body


def unpack(header: bytes, body: bytes, formulas: bool = False) -> tuple[dict, object]:
    """(message, value) of a frame. Tensors that need a gradient come back as leaves that require one.

    formulas : whether texts may become functions; true only inside the box.
    """
    try:
        parsed = json.loads(header.decode("utf-8"), object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise BadFrame(f"the header is not strict JSON: {str(error)[:80]}") from None
    if (
        not isinstance(parsed, dict)
        or set(parsed) != {"message", "value", "tensors"}
        or not isinstance(parsed["message"], dict)
    ):
        raise BadFrame("the header lacks message, value or tensors")
    tensors = _tensors(parsed["tensors"], body)
    value = _decode(parsed["value"], tensors, formulas, 0)
    if any(tensor is not None for tensor in tensors):
        raise BadFrame("a tensor is sent and not used")
    return parsed["message"], value


def _unique(pairs):
    out = dict(pairs)
    if len(out) != len(pairs):
        raise ValueError("a key stands twice")
    return out


def _no_constant(name):
    raise ValueError(f"{name} is not JSON")


def _tensors(described, body) -> list[torch.Tensor]:
    if not isinstance(described, list):
        raise BadFrame("tensors is not a list")
    tensors, start, body = [], 0, memoryview(body)
    for entry in described:
        if not (
            isinstance(entry, list)
            and len(entry) == 3
            and isinstance(entry[0], str)
            and entry[0] in DTYPES
            and isinstance(entry[1], list)
            and isinstance(entry[2], bool)
            and len(entry[1]) <= MAX_DIMENSIONS
            and all(type(d) is int and 0 <= d <= MAX_BODY for d in entry[1])
        ):
            raise BadFrame("a tensor is not described by dtype, shape and a flag")
        dtype, shape, wants_gradient = DTYPES[entry[0]], entry[1], entry[2]
        size = math.prod(shape) * dtype.itemsize
        # an empty shape can overflow, too
        if size > len(body) - start or math.prod(d or 1 for d in shape) > MAX_BODY:
            raise BadFrame("a tensor is longer than the body")
        raw = bytearray(body[start:start + size])  # a copy, which torch may write to
        start += size
        tensor = (
            torch.frombuffer(raw, dtype=torch.uint8).view(dtype).reshape(shape)
            if size
            else torch.empty(shape, dtype=dtype)
        )
        if dtype is torch.bool and size:
            # a byte of 2 is no boolean
            tensor = torch.frombuffer(raw, dtype=torch.uint8).ne(0).reshape(shape)
        tensors.append(
            tensor.requires_grad_(wants_gradient and (dtype.is_floating_point or dtype.is_complex))
        )
    if start != len(body):
        raise BadFrame("the body is longer than its tensors")
    return tensors


def _decode(value, tensors, formulas, depth):
    if depth > MAX_DEPTH or not isinstance(value, list) or not value:
        raise BadFrame("a value is too deep, or not written as [tag, …]")

    def inner(v):
        return _decode(v, tensors, formulas, depth + 1)
    match value:
        case ["none"]:
            return None
        case ["array"]:
            return ARRAY
        case ["foreign"]:
            return FOREIGN
        case ["bool", bool() as flag]:
            return flag
        case ["int", int() as number] if type(number) is int and -(1 << 63) <= number < 1 << 63:
            return number
        case ["float", str() as text] if len(text) <= 32:
            try:
                return float.fromhex(text)
            except (ValueError, OverflowError):
                raise BadFrame("a float is not written in hexadecimal") from None
        case ["text", str() as text]:
            # a lone surrogate could not be written to any file
            return text.encode("utf-8", "replace").decode()
        case ["list", list() as items]:
            return [inner(v) for v in items]
        case ["tuple", list() as items]:
            return tuple(inner(v) for v in items)
        case ["dict", list() as items] if all(isinstance(i, list) and len(i) == 2 for i in items):
            keys = _distinct([inner(k) for k, _ in items])
            return {k: inner(v) for k, (_, v) in zip(keys, items, strict=True)}
        case ["set", list() as items]:
            return set(_distinct([inner(v) for v in items]))
        case ["tensor", int() as position] if (
            type(position) is int and 0 <= position < len(tensors) and tensors[position] is not None
        ):
            # a tensor named a thousand times would become a thousand
            tensor, tensors[position] = tensors[position], None
            return tensor
        case ["formula", str() as text, [*parameters]] if formulas:
            return Formula(text, *parameters)
    raise BadFrame(f"a value has the unknown tag or form {str(value[0])[:20]!r}")


def _distinct(keys):
    if not all(isinstance(k, (str, int, float, bool)) for k in keys) or len(set(keys)) != len(keys):
        raise BadFrame("a dict or set has a member twice, or one that is neither text nor a number")
    return keys


def send(connection, frame: bytes) -> None:
    connection.sendall(frame)


def receive(connection, deadline: float = math.inf, formulas: bool = False) -> tuple[dict, object]:
    """The next frame of a socket. ``TimeoutError`` past ``deadline`` (monotonic seconds), ``EOFError`` when
    it is closed.
    """
    magic, header, body = PREFIX.unpack(_exactly(connection, PREFIX.size, deadline))
    if magic != MAGIC:
        raise BadFrame("what arrived does not begin like a frame")
    if header > MAX_HEADER or body > MAX_BODY:
        raise BadFrame(f"a frame of {header} + {body} bytes is announced, which is too long")
    return unpack(
        bytes(_exactly(connection, header, deadline)), _exactly(connection, body, deadline), formulas
    )


def _exactly(connection, count: int, deadline: float) -> bytearray:
    out = bytearray()
    while len(out) < count:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        connection.settimeout(None if left == math.inf else left)
        chunk = connection.recv(min(count - len(out), 1 << 16))
        if not chunk:
            raise EOFError
        out += chunk
    return out
