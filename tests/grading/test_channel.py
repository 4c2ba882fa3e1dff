"""A report is no letter to a friend: whatever an answer does with the hidden inputs, what is told of it is
the same for all inputs.

Each way below turns eight digits of the input into something that was once printed in a report.
"""

import json
from dataclasses import replace
from types import SimpleNamespace

import hostile
import pytest
import torch

from cmlib.check.engine import EXERCISES, case, exercise, judge
from cmlib.grade import box as boxes
from cmlib.grade import grading, kinds, walls
from cmlib.grade.opening import Opening
from cmlib.grade.session import Clock

SEEDS = [grading.seed_of(b"0123456789abcdef", name, "99.1") for name in ("Ann", "Bob", "Eve")]
DIGITS = "    n = int(x.detach().double().abs().flatten()[0] * 1e8) % 10 ** 8\n"
WAYS = {
    "keys": "return {str(n): 1, n: 2}",
    "a shape": "return torch.zeros(n % 1900 + 1, n // 1900 % 1900 + 1)",
    "an empty shape": "return torch.zeros(0, n % 10 ** 7)",
    "a dtype": "return x.to([torch.int8, torch.int16, torch.float16, torch.bool][n % 4])",
    "the size of the mistake": "return 2 * x + n",
    "a multiple": "return x * n",
    "a constant": "return 2 * x + n * torch.ones_like(x)",
    "a multiple in one entry": "return 2 * x * torch.eye(*x.shape).double() * n",
    "text": "return str(n)",
    "text in parts": "return list(str(n))",
    "the number of parts": "return [0] * (n % 1000)",
    "the number of parts of parts": "return [[0] * int(digit) for digit in str(n)]",
    "a name in parts": "return {'a': {str(n): x}, 'b': str(n)}",
    "an integer": "return n",
    "the type's name": "return type(f'T{n}', (), {})()",
    "an exception's name": "raise type(f'E{n}', (Exception,), {})",
    "an exception's text": "raise ValueError(n)",
    "an exception's line": 'exec(compile("\\n" * (n % 9000) + "raise ValueError", "<cell 1>", "exec"))',
    "a missing module": "import importlib\n    importlib.import_module(f'm{n}')",
    "a missing file": "open(f'/{n}')",
    "a missing name": "return eval(f'a{n}')",
    "a missing key": "return {}[n]",
    "the exit status": "os._exit(1 + n % 200)",
    "the signal": "os.kill(os.getpid(), [4, 7, 8, 12, 30, 31][n % 6] if n % 2 else 10)",
    "a tag": "say({}, None) if 0 else os.write(3, frame(['t%d' % n]))\n    time.sleep(9)",
    "a header": "os.write(3, struct.pack('<4sII', b'CML1', n, n))\n    time.sleep(9)",
    "a JSON error": "os.write(3, raw(('[' * (n % 99) + str(n)).encode()))\n    time.sleep(9)",
    "a forged line": "say({'raised': 'ValueError', 'line': n % 9999, 'text': str(n)})\n    time.sleep(9)",
    "a forged kind": "say({'raised': str(n)})\n    time.sleep(9)",
    "a forged reason": "say({'unsendable': str(n)})\n    time.sleep(9)",
    "a forged end": "say({'ended': n})\n    time.sleep(9)",
    "a forged problem": "say({'problem': {'raised': 'OSError', 'text': n}, 'call': n})\n    time.sleep(9)",
    "what is printed": "print(n, flush=True)\n    sys.stderr.write(str(n))\n    return x",
    "which argument is changed": "x.mul_(n)\n    return 2 * x",
    "nan at a place": "out = 2 * x\n    out[n % len(x)] = float('nan')\n    return out",
    "depth": "out = x\n    for _ in range(n % 40 + 20): out = [out]\n    return out",
    "a gradient": "return Gradient.apply(x, n)",
    "a gradient's shape": "return Shape.apply(x, n)",
    "a gradient's exception": "return Raises.apply(x, n)",
}
GRADIENTS = """
class Gradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, n):
        ctx.n = n
        return 2 * x
    @staticmethod
    def backward(ctx, g):
        return 2 * g * ctx.n, None
class Shape(Gradient):
    @staticmethod
    def backward(ctx, g):
        return torch.ones(ctx.n % 999 + 9), None
class Raises(Gradient):
    @staticmethod
    def backward(ctx, g):
        raise ValueError(ctx.n)
def raw(header):
    return struct.pack('<4sII', b'CML1', len(header), 0) + header
def frame(value):
    return raw(json.dumps({"message": {}, "value": value, "tensors": []}).encode())
"""


@pytest.fixture(scope="module")
def twice():
    @exercise("99.1", "Twice", minutes=1, points=2, difficulty=1, grad=(0,))
    def twice(x):
        return 2 * x

    @twice.cases
    def _(draw):
        yield case(draw.normal(4, 3), about="a table")
        yield case(draw.normal(5, 2), about="another table")

    @twice.mistake("You forgot the factor 2.")
    def _(x):
        return x + 0
    yield twice
    del EXERCISES["99.1"]


@pytest.fixture(scope="module")
def box(wall, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("stage")))
        with boxes.Box(wall, boxes.stage(), 95, walls.Limits(memory=1 << 30, wall=2.0)) as one:
            yield one


def report(box, twice, body, seed) -> str:
    cells = [hostile.PRELUDE + GRADIENTS, f"def twice(x):\n{DIGITS}    {body}", 'check("99.1", twice)']
    return json.dumps(grading.grade_answer(box, twice, cells, seed)[0])


@pytest.mark.parametrize("way", WAYS)
def test_no_digit_gets_out(box, twice, way):
    first, second, third = (report(box, twice, WAYS[way], seed) for seed in SEEDS)
    assert first == second == third
    assert json.loads(first)["state"] in ("failed", "partial", grading.HUMAN)


def test_what_fails_in_a_later_life_is_not_told_in_its_own_words(twice):
    """It begins after an input was seen, and the clock tells it when: digits, by how long the first life
    slept before it ended itself.
    """
    lives, kinds_ = [], []

    class Session(SimpleNamespace):
        def ask(self, message, value=None, seconds=None):
            if message["do"] == "read":
                return {"found": True}, []
            problem = {"raised": kinds_[-1], "text": f"life {len(lives)}"}
            return {"callable": True, "defined": True, "problem": problem}, None

    def answer():
        lives.append(Session(broken=False, hopeless=False, close=lambda: "", raised=set()))
        return lives[-1]
    limits = SimpleNamespace(start=9.0)
    box = SimpleNamespace(clock=Clock(), limits=limits, answer=answer)
    for everything, kind, told in (
        (False, "OSError", "a line that it needs raises OSError where answers are graded (life 1)"),
        (True, "OSError", ""),
        (True, "ImportError", "a line above it raises ImportError where answers are graded"),
    ):
        kinds_.append(kind)
        lives.clear()
        opening = Opening(box, twice, ["x = 1"], everything)
        for _ in range(3):
            opening()
            lives[-1].broken = True
            lives[-1].raised.add("NameError")
        assert len(lives) == 3 and opening.lacks() == told


def test_a_known_slip_is_still_named_and_an_exception_is_still_told_by_kind(box, twice):
    told = json.loads(report(box, twice, "return x + 0", SEEDS[0]))["message"]
    assert told == "You forgot the factor 2."
    for body, says in (
        ("return -2 * x", "A sign is wrong, or a condition is turned round, for a table."),
        ("return 5 * x", "A factor or a divisor is missing, wrong or too many, for a table."),
        ("return 2 * x[0]", "The shape of the result is wrong for a table."),
        ("return (2 * x).float()", "The dtype of the result is wrong for a table."),
        ("return x @ x", "Your code raises RuntimeError for a table."),
        ("return 2 * x.detach()", "The values are right, but no gradient flows through them: did you use"),
    ):
        assert json.loads(report(box, twice, body, SEEDS[0]))["message"].startswith(says)


def test_a_case_of_the_instructor_is_as_quiet(box, twice):
    """A dict whose keys are the hidden input: the report has none of them."""
    @exercise("99.2", "Count", minutes=1, points=2, difficulty=1)
    def count(words):
        return {word: words.count(word) for word in words}
    count.cases(lambda draw: [case(["a", "b"], about="two words")])
    private = replace(count, more_cases=[lambda draw: [case(["kX91", "kX92"], about="my own words")]])
    code = "def count(words):\n    return {w: (0 if 'k' in w else 1) for w in words}"
    cells = [code, 'check("99.2", count)']
    for code in (cells[0], cells[0].replace("w: (", "w + '!': (")):
        found = json.dumps(grading.grade_answer(box, private, [code, cells[1]], 3)[0])
        assert "my own words" in found and "kX9" not in found
    del EXERCISES["99.2"]


@pytest.mark.parametrize("wrong", [
    lambda x: -2 * x, lambda x: 5 * x, lambda x: 2 * x + 1, lambda x: x[0], lambda x: (2 * x).half(),
    lambda x: (2 * x) @ x, lambda x: None, lambda x: {"a": 1}, lambda x: [x], lambda x: x * float("nan"),
    lambda x: "text", lambda x: (2 * x).detach(), lambda x: x.T * 2, lambda x: 1 / 0, lambda x: x + x ** 2,
])
def test_what_check_tells_in_full_is_told_in_kind(twice, wrong):
    """No sentence of the judge comes through as it is, and none loses its kind."""
    full = judge(twice, wrong).message
    told = kinds.told(twice, "a table", full)
    fixed = {text for _, text in kinds.KINDS} | {kinds.GENERAL, *kinds.FAMILIES.values()}
    deeds = [kinds.deed(full)]
    assert told in {text.format(about="a table", deed=deed) for text in fixed for deed in deeds}
    assert (told == kinds.GENERAL.format(about="a table")) == ("off by up to" in full)


def test_the_kinds_are_few():
    """So that what is told of a property is a choice among few, whatever the answer does."""
    several = kinds.KINDS, kinds.FAMILIES, kinds.EXCEPTIONS, kinds.ENDINGS
    assert sum(map(len, several)) <= 64  # six bits
    assert not any(torch.is_tensor(text) for _, text in kinds.KINDS)
