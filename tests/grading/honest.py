"""Honest ways to write one right answer to exercise 01.1, as data: what passes `check` passes the grader.

Every style is a list of cells. Most get full marks; a few need what is not there where answers are graded,
and have to reach a human, with what is missing named.
"""

from __future__ import annotations

from textwrap import dedent

FULL = ""  # what stands in the sentence for the human, or nothing
CHECK = 'check("01.1", binary_cross_entropy)'
IMPORTS = "import torch\nfrom torch import nn"


def answer(sign="-1.0", head="", soft="torch.logaddexp(logits, torch.zeros_like(logits))"):
    return (f"{head}def binary_cross_entropy(logits, labels):\n"
            f"    return ({soft} + ({sign}) * labels * logits).mean()")


def cells(text: str) -> list[str]:
    """Cells are divided by lines of three dashes; ANSWER(sign) is the answer with that sign before its label
    term.
    """
    return [part.strip("\n") for part in dedent(text).split("\n---\n")]


def style(text: str, sign: str = "-1.0", **more) -> list[str]:
    return [IMPORTS, *cells(text), answer(sign, **more), CHECK]


MINUS = "torch.full((1,), -1.0, dtype=torch.float64)"
FULL_MARKS = {
    "plain": style("x = 1"),
    "a config filled by a bare call": style("""
        CONFIG = {}
        def setup(config):
            config["sign"] = -1.0
        setup(CONFIG)""", 'CONFIG["sign"]'),
    "a config filled in an assignment": style("""
        CONFIG = {}
        def setup(config):
            config["sign"] = -1.0
            return 7
        _ = setup(CONFIG)""", 'CONFIG["sign"]'),
    "a config filled in a loop": style("""
        CONFIG = {}
        def setup(config):
            config["sign"] = -1.0
        for _ in range(2):
            setup(CONFIG)""", 'CONFIG["sign"]'),
    "a config filled in an assertion": style("""
        CONFIG = {}
        def setup(config):
            config["sign"] = -1.0
            return True
        assert setup(CONFIG)""", 'CONFIG["sign"]'),
    "init.constant_": style(
        "SIGN = torch.zeros(1, dtype=torch.float64)\nnn.init.constant_(SIGN, -1.0)", "SIGN"),
    "out=": style(
        "SIGN = torch.zeros(1, dtype=torch.float64)\ntorch.neg(torch.ones(1).double(), out=SIGN)", "SIGN"),
    "a method in place": style("SIGN = torch.zeros(1, dtype=torch.float64)\nSIGN.fill_(-1)", "SIGN"),
    "a view in place": style(
        "BOTH = torch.zeros(2, dtype=torch.float64)\nview = BOTH[1:]\nview -= 1", "BOTH[1]"),
    "global in a function": style("""
        SIGN = 1.0
        def mend():
            global SIGN
            SIGN = -1.0
        mend()""", "SIGN"),
    "global without a value before": style("""
        def mend():
            global SIGN
            SIGN = -1.0
        ---
        mend()""", "SIGN"),
    "globals()": style('globals()["SIGN"] = -1.0', "SIGN"),
    "the module itself": style('import sys\nsetattr(sys.modules[__name__], "SIGN", -1.0)', "SIGN"),
    "a heap": style("import heapq\nheap = [3.0]\nheapq.heappush(heap, -1.0)", "heap[0]"),
    "map(xs.append, …)": style("xs = []\nlist(map(xs.append, [1.0, -1.0]))", "xs[1]"),
    "a queue that eats": style(
        "from collections import deque\nxs = []\ndeque(map(xs.append, [-1.0]), maxlen=0)", "xs[0]"),
    "setattr": style('class Config: pass\nconfig = Config()\nsetattr(config, "sign", -1.0)', "config.sign"),
    "vars().update": style("""
        import types
        config = types.SimpleNamespace(sign=1.0)
        vars(config).update(sign=-1.0)""", "config.sign"),
    "a patched method": style("""
        class Sign:
            def get(self): return 1.0
        ---
        def better(self): return -1.0
        Sign.get = better""", "Sign().get()"),
    "a method patched by a call": style("""
        class Sign:
            def get(self): return 1.0
        ---
        def patch(cls):
            cls.get = lambda self: -1.0
        patch(Sign)""", "Sign().get()"),
    "a patched library": style(
        "torch.Tensor.soft = lambda z: torch.logaddexp(z, torch.zeros_like(z))", soft="logits.soft()"),
    "a registry of functions": style("""
        REGISTRY = {}
        def register(function):
            REGISTRY[function.__name__] = function
            return function
        ---
        @register
        def soft(z):
            return torch.logaddexp(z, torch.zeros_like(z))""", soft='REGISTRY["soft"](logits)'),
    "a registry of classes": style("""
        class Base:
            known = {}
            def __init_subclass__(cls):
                Base.known[cls.__name__] = cls
        ---
        class Sign(Base):
            value = -1.0""", 'Base.known["Sign"].value'),
    "single dispatch": style("""
        import functools
        @functools.singledispatch
        def sign(x): return 1.0
        ---
        @sign.register
        def _(x: torch.Tensor): return -1.0""", "sign(logits)"),
    "jit.script": style("""
        @torch.jit.script
        def soft(z: torch.Tensor) -> torch.Tensor:
            return torch.logaddexp(z, torch.zeros_like(z))""", soft="soft(logits)"),
    "compile": style("pass", head="@torch.compile\n"),
    "the source of a function": style("""
        import inspect
        def sign(): return -1.0
        SIGN = -1.0 if "-1.0" in inspect.getsource(sign) else 1.0""", "SIGN"),
    "a helper file that a cell writes": [
        "%%writefile helpers.py\nSIGN = -1.0", "import helpers", *style("pass", "helpers.SIGN")],
    "names out of a file that a cell writes": [
        "%%writefile helpers_too.py\nSIGN = -1.0", "from helpers_too import SIGN", *style("pass", "SIGN")],
    "a data file of its own": style(
        'torch.save(torch.full((1,), -1.0).double(), "w.pt")\nSIGN = torch.load("w.pt")', "SIGN"),
    "a slow needed cell": style("import time\ntime.sleep(2.5)\nSIGN = time.sleep(0) or -1.0", "SIGN"),
    "a slow cell beside it": style("""
        import time
        CONFIG = {}
        def train(config):
            time.sleep(2.5)
            config["sign"] = -1.0
        train(CONFIG)""", 'CONFIG["sign"]'),
    "state across cells": style("total = 1.0\n---\ntotal -= 1\n---\ntotal -= 1", "total"),
    "state across cells by a call": style("""
        counts = [1.0]
        def down(xs):
            xs[0] -= 1
        ---
        down(counts)
        ---
        down(counts)""", "counts[0]"),
    "a thread": style("""
        import threading
        found = {}
        thread = threading.Thread(target=found.update, kwargs={"sign": -1.0})
        thread.start()
        thread.join()""", 'found["sign"]'),
    "weights filled without a gradient": style("""
        layer = nn.Linear(1, 1, bias=False).double()
        with torch.no_grad():
            layer.weight.fill_(-1.0)
        layer.requires_grad_(False)""", "layer.weight[0]"),
    "weights loaded by a call": style("""
        layer = nn.Linear(1, 1, bias=False).double().requires_grad_(False)
        nn.utils.vector_to_parameters(torch.full((1,), -1.0).double(), layer.parameters())""",
        "layer.weight[0]"),
    "top-level await": style(
        "import asyncio\nasync def sign(): return -1.0\nSIGN = await sign()", "SIGN"),
    "exec": style('exec("SIGN = -1.0")', "SIGN"),
    "numpy in place": style("import numpy as np\nxs = np.ones(1)\nnp.put(xs, 0, -1.0)", "float(xs[0])"),
    "a sorted list": style("xs = [1.0, -1.0]\nxs.sort()", "xs[0]"),
    "a context manager": style("""
        import contextlib
        seen = []
        @contextlib.contextmanager
        def noting():
            seen.append(-1.0)
            yield
        with noting():
            pass""", "seen[0]"),
    "an answer that shows": [
        IMPORTS, answer().replace("    return", "    display(labels)\n    return"), CHECK],
    "an answer that prints": [
        IMPORTS, answer().replace("    return", "    print(labels)\n    return"), CHECK],
    "another name": [IMPORTS, answer().replace("binary_cross_entropy", "mine"), 'check("01.1", mine)'],
    "an object": [IMPORTS, """\
class Loss:
    def __call__(self, logits, labels):
        return (torch.logaddexp(logits, torch.zeros_like(logits)) - labels * logits).mean()""",
        'loss = Loss()\ncheck("01.1", loss)'],
    "a bound method": [IMPORTS, """\
class Loss:
    def of(self, logits, labels):
        return (torch.logaddexp(logits, torch.zeros_like(logits)) - labels * logits).mean()""",
        'check("01.1", answer=Loss().of)'],
    "a partial function": [IMPORTS, """\
import functools
def loss(sign, logits, labels):
    return (torch.logaddexp(logits, torch.zeros_like(logits)) + sign * labels * logits).mean()""",
        'check("01.1", functools.partial(loss, -1.0))'],
    "checks in a loop": [IMPORTS, answer().replace("binary_cross_entropy", "mine"), """\
ANSWERS = {"01.1": mine}
for number, function in ANSWERS.items():
    check(number, function)"""],
    "check under another name": [IMPORTS, answer().replace("binary_cross_entropy", "mine"),
                                 'ask = check\nask("01.1", mine)'],
    "made by a factory that is filled later": [IMPORTS, """\
signs = []
def make(signs):
    def binary_cross_entropy(logits, labels):
        return (torch.logaddexp(logits, torch.zeros_like(logits)) + signs[0] * labels * logits).mean()
    return binary_cross_entropy
binary_cross_entropy = make(signs)
def fill(xs): xs.append(-1.0)
fill(signs)""", CHECK],
    "wrong first, then right": [IMPORTS, answer("1.0"), CHECK, answer(), CHECK],
    "the stub left above": [
        IMPORTS, "def binary_cross_entropy(logits, labels):\n    raise NotImplementedError", answer(), CHECK],
    "a file that a shell line writes": [
        IMPORTS, '!echo "SIGN = -1.0" > by_shell.py', "import by_shell", answer("by_shell.SIGN"), CHECK],
    "a file that a cell of bash writes": [
        IMPORTS, '%%bash\necho "SIGN = -1.0" > by_bash.py', "import by_bash", answer("by_bash.SIGN"), CHECK],
    "what a shell line prints": [
        IMPORTS, "sign = -1.0\nlines = !echo {sign}", answer("float(lines[0])"), CHECK],
    "%env": [IMPORTS, "%env SIGN=-1.0", "import os", answer('float(os.environ["SIGN"])'), CHECK],
    "%run": [IMPORTS, "%%writefile to_run.py\nSIGN = -1.0", "%run to_run.py", answer("SIGN"), CHECK],
    "the names of the shell": [IMPORTS, 'get_ipython().user_ns["SIGN"] = -1.0', answer("SIGN"), CHECK],
    "extensions and help": [IMPORTS, "%load_ext autoreload\n%autoreload 2", "torch.exp?", answer(), CHECK],
    "an id that is computed": [IMPORTS, answer(), 'check(f"01.{1}", binary_cross_entropy)'],
    "a seed that the lesson sets, too": style(
        "torch.manual_seed(0)\nfirst = torch.rand(1)\nsecond = torch.rand(1)\n---\n"
        "SIGN = -1.0 if abs(float(second) - 0.7682) < 1e-3 else 1.0", "SIGN"),
    "magics": [IMPORTS, "%%time\nSIGN = -1.0", "%pwd", answer("SIGN"), "%time " + CHECK],
}  # fmt: skip
HUMAN = {
    "a data file left at home": (style("import numpy as np\nSIGN = np.loadtxt(HOME)", "float(SIGN)"),
                                 "FileNotFoundError"),
    "a file read in the answer": (
        [IMPORTS, answer("float(open(HOME).read())"), CHECK], "a file that is not there"),
    "a helper file left at home": (
        ["import sys\nsys.path.insert(0, HOME[:-9])\nimport helpers_at_home", *style(
            "pass", "helpers_at_home.SIGN")], "ModuleNotFoundError"),
    "a magic that is not known": (
        [IMPORTS, "%alias_magic clock time", "%clock SIGN = -1.0", answer("SIGN"), CHECK], "ImportError"),
    "the settings of the course": (
        [IMPORTS, 'import cmlib\ncfg = cmlib.setup("01")',
         answer().replace("    return", "    logits = logits.to(cfg.device)\n    return"), CHECK],
        "ModuleNotFoundError"),
    "a function of the course": (
        [IMPORTS, "from cmlib.losses import binary_cross_entropy", CHECK], "ModuleNotFoundError"),
}  # fmt: skip
