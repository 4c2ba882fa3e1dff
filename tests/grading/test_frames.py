"""What crosses the wall: every honest value comes back exactly, and no hostile byte passes the check or
breaks the judge.
"""

import enum
import json
import math
import os
import socket
import struct
import threading
import time
import tracemalloc
import warnings

import fuzz
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmlib import check
from cmlib.check.formula import Formula
from cmlib.grade import frames
from cmlib.grade.frames import BadFrame


def there_and_back(value, message=None):
    raw = frames.pack(message or {}, value)
    _, header, _ = frames.PREFIX.unpack(raw[:12])
    return frames.unpack(raw[12:12 + header], raw[12 + header:])[1]


def identical(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return (
            isinstance(b, torch.Tensor)
            and (a.dtype, a.shape, a.requires_grad) == (b.dtype, b.shape, b.requires_grad)
            and bits(a) == bits(b)
        )
    if type(a) is not type(b):
        return False
    if isinstance(a, float):
        return struct.pack("d", a) == struct.pack("d", b) or (math.isnan(a) and math.isnan(b))
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(identical, a, b))
    if isinstance(a, dict):
        return list(a) == list(b) and all(identical(a[k], b[k]) for k in a)
    return a == b


def bits(t):
    t = t.detach().contiguous()
    return t.reshape(-1).view(torch.uint8).numpy().tobytes() if t.numel() else b""


@st.composite
def tensors(draw):
    dtype = draw(st.sampled_from(list(frames.DTYPES.values())))
    shape = draw(st.lists(st.integers(0, 3), max_size=4))
    size = math.prod(shape) * dtype.itemsize
    raw = draw(st.binary(min_size=size, max_size=size))
    t = (
        torch.frombuffer(bytearray(raw), dtype=torch.uint8).view(dtype).reshape(shape)
        if size
        else torch.empty(shape, dtype=dtype)
    )
    t = t.view(torch.uint8).ne(0) if dtype is torch.bool and size else t.clone()
    return t.requires_grad_(draw(st.booleans()) and (dtype.is_floating_point or dtype.is_complex))


plain = (
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
)
keys = (
    st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(st.characters(exclude_categories=["Cs"]))
)
values = st.recursive(
    plain | tensors(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(keys, inner, max_size=4)
        | st.sets(keys, max_size=4)
    ),
    max_leaves=12,
)


@given(values)
def test_every_value_comes_back_exactly(value):
    assert identical(value, there_and_back(value))


@pytest.mark.parametrize("dtype", frames.DTYPES.values(), ids=str)
@pytest.mark.parametrize("shape", [(), (0,), (2, 0, 3), (1,), (2, 3)])
def test_every_dtype_and_shape(dtype, shape):
    torch.manual_seed(0)
    t = (torch.randn(shape) * 100).to(dtype)
    assert identical(t, there_and_back(t))
    assert identical(t.T if t.ndim == 2 else t, there_and_back(t.T if t.ndim == 2 else t))


def test_nan_payloads_and_signed_zeros_keep_their_bits():
    patterns = torch.tensor([0x7FF8000000000001, 0x7FF0000000000001, -1, -(1 << 63), 1])
    t = patterns.view(torch.float64)
    assert identical(t, there_and_back(t))
    assert math.copysign(1, there_and_back(-0.0)) == -1


def test_views_expansions_conjugates_and_subclasses_arrive_plain():
    base = torch.arange(12.0).reshape(3, 4)
    for t in (
        base[:, 1:3],
        base.T,
        torch.ones(1).expand(5),
        base[::2],
        base[0, ::4],
        base[::3, ::4],
        torch.nn.Parameter(base),
    ):
        got = there_and_back(t)
        assert type(got) is torch.Tensor
        assert torch.equal(got, t.detach())
    z = torch.tensor([1 + 2j]).conj()
    assert torch.equal(there_and_back(z), torch.tensor([1 - 2j]))
    assert torch.equal(there_and_back(torch.tensor([1 + 2j]).conj().imag), torch.tensor([-2.0]))


def test_what_is_no_value_arrives_as_foreign_and_numbers_of_numpy_as_numbers():
    import numpy as np
    assert there_and_back(object()) is frames.FOREIGN
    assert there_and_back(2**63) is frames.FOREIGN
    assert there_and_back(np.zeros(3)) is frames.ARRAY
    assert there_and_back(np.float64(0.5)) == 0.5
    assert there_and_back(np.int64(3)) == 3
    assert there_and_back(np.array(0.25)) == 0.25 and there_and_back(np.array(True)) is True
    assert there_and_back(enum.IntEnum("Way", "left right").right) == 2
    assert there_and_back("\ud800") == "?"


def test_a_formula_is_one_only_inside_the_box():
    raw = frames.pack({}, Formula("a + 1", "a"))
    _, header, _ = frames.PREFIX.unpack(raw[:12])
    assert frames.unpack(raw[12:12 + header], b"", formulas=True)[1](1) == 2
    with pytest.raises(BadFrame):
        frames.unpack(raw[12:12 + header], b"")


def frame(value, tensors=(), body=b"", message=None):
    return json.dumps({"message": message or {}, "value": value, "tensors": list(tensors)}).encode(), body


FORGED = {
    "not JSON": (b"{", b""),
    "no UTF-8": (b"\xff\xfe", b""),
    "another object": (b'{"message":{}}', b""),
    "a list": (b"[]", b""),
    "a key twice": (b'{"message":{},"message":{},"value":["none"],"tensors":[]}', b""),
    "NaN": (b'{"message":{"a":NaN},"value":["none"],"tensors":[]}', b""),
    "an integer of 5000 digits": (
        b'{"message":{"a":' + b"9" * 5000 + b'},"value":["none"],"tensors":[]}',
        b"",
    ),
    "brackets without end": (b"[" * 500_000, b""),
    "a message that is a list": (b'{"message":[],"value":["none"],"tensors":[]}', b""),
    "an unknown tag": frame(["pickle", "gASV"]),
    "a bare value": frame(3),
    "an empty value": frame([]),
    "too deep": frame(json.loads('["list",[' * 20 + '["none"]' + "]]" * 20)),
    "true as an integer": frame(["int", True]),
    "an integer of 65 bits": frame(["int", 1 << 63]),
    "a float in decimal": frame(["float", "1e5x"]),
    "a float beyond all": frame(["float", "0x1p+99999"]),
    "a dict with a tensor as key": frame(
        ["dict", [[["tensor", 0], ["none"]]]], [["uint8", [1], False]], b"1"
    ),
    "a dict with a key twice": frame(["dict", [[["int", 1], ["none"]], [["bool", True], ["none"]]]]),
    "a set of lists": frame(["set", [["list", []]]]),
    "no such tensor": frame(["tensor", 0]),
    "tensor −1": frame(["tensor", -1], [["uint8", [1], False]], b"1"),
    "a tensor named twice": frame(["list", [["tensor", 0], ["tensor", 0]]], [["uint8", [1], True]], b"1"),
    "a tensor that is not used": frame(["none"], [["uint8", [1], False]], b"1"),
    "more body than tensors": frame(["none"], [], b"1"),
    "less body than tensors": frame(["tensor", 0], [["int64", [1], False]], b"1"),
    "a negative dimension": frame(["tensor", 0], [["uint8", [-1], False]]),
    "a dimension that is true": frame(["tensor", 0], [["uint8", [True], False]], b"1"),
    "a huge dimension": frame(["tensor", 0], [["uint8", [1 << 40], False]]),
    "a product that overflows": frame(["tensor", 0], [["float64", [1 << 26] * 8, False]]),
    "an empty product that overflows": frame(["tensor", 0], [["float64", [1 << 26] * 7 + [0], False]]),
    "nine dimensions": frame(["tensor", 0], [["uint8", [1] * 9, False]], b"1"),
    "an unknown dtype": frame(["tensor", 0], [["object", [1], False]], b"12345678"),
    "a flag that is a number": frame(["tensor", 0], [["uint8", [1], 1]], b"1"),
}


@pytest.mark.parametrize("name", FORGED)
def test_a_forged_frame_is_refused_in_one_sentence(name):
    with pytest.raises(BadFrame) as refusal:
        frames.unpack(*FORGED[name])
    assert "\n" not in str(refusal.value)
    assert 5 < len(str(refusal.value)) < 200


def test_a_byte_of_two_is_no_boolean():
    value = frames.unpack(*frame(["tensor", 0], [["bool", [3], False]], b"\x00\x02\xff"))[1]
    assert value.tolist() == [False, True, True]
    assert int(value.sum()) == 2


def test_whole_numbers_need_no_gradient_whatever_the_sender_says():
    assert not frames.unpack(*frame(["tensor", 0], [["int64", [1], True]], bytes(8)))[1].requires_grad


def receive(send, seconds=5.0):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        sender = threading.Thread(target=send, args=(theirs,), daemon=True)
        sender.start()
        try:
            return frames.receive(ours, time.monotonic() + seconds)
        finally:
            ours.close()
            sender.join()


def drip(connection):
    for byte in frames.pack({}, "x" * 100):
        try:
            connection.send(bytes([byte]))
        except OSError:
            return
        time.sleep(0.05)


def test_a_slow_drip_ends_at_the_deadline():
    start = time.monotonic()
    with pytest.raises(TimeoutError):
        receive(drip, 0.3)
    assert time.monotonic() - start < 1


@pytest.mark.parametrize(
    "prefix", [(b"HTTP", 1, 1), (b"CML1", 1 << 21, 0), (b"CML1", 0, 1 << 26), (b"CML1", 2**32 - 1, 2**32 - 1)]
)
def test_a_wrong_beginning_or_a_huge_length_is_refused_before_it_is_read(prefix):
    with pytest.raises(BadFrame):
        receive(lambda c: c.sendall(struct.pack("<4sII", *prefix)))


def test_a_frame_cut_short_is_an_end():
    def send(connection):
        connection.sendall(frames.pack({}, "x")[:-1])
        connection.shutdown(socket.SHUT_WR)
    with pytest.raises(EOFError):
        receive(send)


def test_the_largest_frame_costs_the_judge_no_more_than_three_times_its_size():
    size = frames.MAX_BODY
    header, _ = frame(["tensor", 0], [["uint8", [size], False]])
    raw = struct.pack("<4sII", b"CML1", len(header), size) + header + bytes(size)
    tracemalloc.start()
    try:
        receive(lambda c: c.sendall(raw))
        assert tracemalloc.get_traced_memory()[1] < 3 * size + (1 << 22)
    finally:
        tracemalloc.stop()
    with pytest.raises(BadFrame):
        frames.pack({}, torch.zeros(size + 1, dtype=torch.uint8))


def test_descriptors_sent_along_are_not_taken():
    def send(connection):
        socket.send_fds(connection, [frames.pack({}, "x")], [0] * 20)
    before = len(os.listdir("/proc/self/fd"))
    assert receive(send)[1] == "x"
    assert len(os.listdir("/proc/self/fd")) == before


LIGHT = [
    e for lesson in check.lessons() for e in check.exercises(lesson) if e.id not in ("04.4", "05.3", "05.4")
] + fuzz.VALUES


def test_hostile_values_never_pass_and_never_crash_the_judge():
    sent, passes, crashes, seed = 0, [], [], 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        while sent < 8_000:
            for exercise in LIGHT:
                asked, passed, crashed = fuzz.attack(exercise, seed)
                sent, passes, crashes = sent + asked, passes + passed, crashes + crashed
            seed += 1
    assert (passes, crashes) == ([], [])


def test_the_fuzz_can_fail():
    """A judge that looks away is found out."""
    from cmlib.check import compare, engine
    exercise = check.find("01.2")
    real, engine.difference = engine.difference, lambda *_: None
    try:
        assert any(fuzz.attack(exercise, seed)[1] for seed in range(20))
    finally:
        engine.difference = real
    assert real is compare.difference
