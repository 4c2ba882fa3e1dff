"""More of `hostile`: attacks through whole notebooks (cells that the answer does not need, files that a cell
writes, claims of success, what remembers calls of check) and through results that no frame can hold.
"""

from __future__ import annotations

from hostile import TYPE, Hostile, body, cell

RIGHT = "def ANSWER(logits, labels):\n    return right(logits, labels)"
WRONG = "def ANSWER(logits, labels):\n    return logits.sum()"


def beside(name, text, answer=WRONG, most=0.0, says="", human=False, claims=False):
    """A cell that the answer does not need, and then the answer."""
    return Hostile(name, f"{text}\n---\n{answer}", most, says, human=human, claims=claims)


CELLS = [
    beside("a needless endless loop, and right", "while True: pass", RIGHT, 2.0),
    beside("a needless exit, and right", "os._exit(0)", RIGHT, 2.0),
    beside("a needless crash, and right", "ctypes.string_at(0)", RIGHT, 2.0),
    beside("a needless 30 GB, and right", "x = bytearray(30 << 30)", RIGHT, 2.0),
    beside("a needless fork bomb, and right", "while True: os.fork()", RIGHT, 2.0),
    beside("a needless endless loop, and wrong", "while True: pass"),
    beside("a needless exit, and wrong", "os._exit(0)"),
    beside("a needless crash, and wrong", "ctypes.string_at(0)"),
    beside("a needless kill of all, and wrong", "os.kill(-1, 9)"),
    beside("a needless fork bomb, and wrong", "while True: os.fork()"),
    beside("a needless SystemExit, and wrong", "raise SystemExit"),
    beside("a needless frame, and wrong", "say({'call': 0, 'changed': []}, torch.zeros(()).double())"),
    beside("many needless frames, and wrong", "for _ in range(1000): say({'call': 0}, torch.zeros(()))"),
    beside("patched frames in a needless cell", "frames.pack = lambda *a: b'CML1' + bytes(8)"),
    beside("patched torch in a needless cell", "torch.allclose = torch.equal = lambda *a, **k: True"),
    beside("patched Answer in a needless cell", """\
import cmlib.grade.answering as mine
mine.Answer.call = lambda *a: ({"call": 0, "changed": [], "passed": True, "points": 99}, True)"""),
    beside("another main module", "sys.modules['__main__'] = None"),
    beside("no modules at all", "sys.modules.clear()"),
    beside("no builtins", "builtins.__dict__.clear()"),
    beside("descriptors closed in a needless cell", "os.closerange(0, 9999)"),
    beside("an endless coroutine, needless", "import asyncio\nawait asyncio.sleep(10 ** 9)"),
    cell("an endless coroutine, needed", """
        import asyncio
        x = await asyncio.sleep(10 ** 9)
        def ANSWER(logits, labels): return x""", says="takes longer than"),
    beside("threads that outlive their cell", """\
def busy():
    while True: pass
for _ in range(10): threading.Thread(target=busy, daemon=True).start()""", says=""),
    beside("an alarm", "signal.signal(14, lambda *a: os._exit(0))\nsignal.setitimer(0, 0.01, 0.01)"),
    beside("a tracer", "sys.settrace(lambda *a: os._exit(0))"),
    beside("a profile that hangs", "sys.setprofile(lambda *a: time.sleep(9))"),
    beside("a recursion limit of 5", "tell(lambda: sys.setrecursionlimit(5))"),
    beside("a collector that is off", "gc.disable()\ngc.collect = lambda *a: os._exit(0)"),
    beside("a shell line that kills all", "!kill -9 -1"),
    beside("a shell that forks", "%%bash\nf() { f | f & }\nf\nf"),
    beside("a script that is a device", "%run /dev/zero"),
    beside("another shell", "get_ipython = None\n!ls"),
    cell("a shell line that spies", """
        seen = !cat /etc/shadow /proc/*/environ /proc/*/cmdline; ls / /root /work /tmp /home; env
        def ANSWER(logits, labels): return list(seen)""", says=TYPE),
    *(Hostile(f"{name}, claimed", code, 0.0, "the file says that it passed", human=True, claims=True)
      for name, code in {
          "wrong": WRONG,
          "zero": "def ANSWER(logits, labels): return torch.zeros((), dtype=torch.float64)",
          "a crash": "def ANSWER(logits, labels): os._exit(0)",
          "a loop": "def ANSWER(logits, labels):\n    while True: pass",
          "an exception": "def ANSWER(logits, labels): return 1 / 0",
          "a stub": "def ANSWER(logits, labels):\n    raise NotImplementedError",
          "no Python": "def ANSWER(logits, labels):\n    return (1",
      }.items()),
    Hostile("right, and claimed", RIGHT, 2.0, claims=True),
]  # fmt: skip
CHECKS = [
    beside("answers remembered for another", """\
import cmlib.check
cmlib.check.ANSWERS["01.1"] = lambda *a: torch.zeros(()).double()
cmlib.check.ANSWERS["01.2"] = None"""),
    beside("check replaced", "def check(*a): say({'passed': True}, True)"),
    beside("check of all", "for i in range(100):\n    check(f'0{i // 10}.{i % 10}', lambda *a: 1)"),
    beside("check of odd things", "check([], 1)\ncheck(3, {})\ncheck('01.1')\ncheck(*range(99))"),
    beside("what remembers, replaced", """\
check.__globals__['ANSWERS'] = type('D', (dict,), {'get': os._exit})()"""),
    cell("what remembers hangs", """
        class D(dict):
            def get(self, key): return time.sleep(99)
        check.__globals__["ANSWERS"] = D()
        import cmlib.grade.answering as mine
        mine.ANSWERS = D()
        def ANSWER(logits, labels): return 1"""),
    beside("a check inside the check", "check('01.1', check)\ncheck('01.1', check('01.1', 1))"),
    beside("display followed outwards", "display.__globals__['frames'].encode = lambda *a: ['bool', True]"),
    beside("the cache of lines", "import linecache\nlinecache.cache = None"),
    cell("a source that lies", """
        import linecache, inspect
        linecache.cache["<cell 1>"] = 9, None, ["def ANSWER(z, y): return right(z, y)"], ""
        def ANSWER(logits, labels): return eval(inspect.getsource(ANSWER)[:9])"""),
    *(cell(f"a cell that writes a file, {number}", f"%%writefile {file}\n{text}\n---\n{WRONG}")
      for number, (file, text) in enumerate({
          "torch.py": "allclose = lambda *a: True", "json.py": "raise SystemExit", "sitecustomize.py": "1",
          "cmlib.py": "check = 3", "../cmlib/check.py": "x = 1", "/box/cmlib/grade/frames.py": "x = 1",
          "/etc/passwd": "root::0:0::/:", "/proc/self/mem": "x", "/dev/full": "x", "a/b/c/d.py": "x",
          "'": "x", "$(id)": "x", "\\x00": "x", "x" * 300: "x", "-a": "x", "": "x", "-a torch.py": "x = 1",
      }.items())),
    beside("a thousand cells", "\n---\n".join(f"x{i} = {i}" for i in range(1000))),
    beside("a thousand magics", "\n---\n".join("%%time\n!ls\n%cd /" for _ in range(300))),
]  # fmt: skip
RESULTS = [
    body("a list that holds itself", "x = []\nx.append(x)\nreturn x", says="contains itself"),
    body("a dict that holds itself", "x = {}\nx['a'] = x\nreturn x", says="contains itself"),
    body("two lists that hold each other", "x, y = [], []\nx.append(y)\ny.append(x)\nreturn x",
         says="contains itself"),
    body("a subclass that holds itself", "class L(list): pass\nx = L()\nx.append({1: x})\nreturn x",
         says="contains itself"),
    body("a hundred levels", "x = 1\nfor _ in range(100): x = [x]\nreturn x", says="nested too deeply"),
    body("20,000 levels", "x = 1\nfor _ in range(20_000): x = [x]\nreturn x", says="nested too deeply"),
    body("a thousand dicts deep", "x = 1\nfor _ in range(1000): x = {'a': (x,)}\nreturn x",
         says="nested too deeply"),
    body("a doubling list", "x = [1]\nfor _ in range(10): x = [x, x, x, x]\nreturn x", says="Your code"),
    body("a million numbers", "return list(range(10 ** 6))", says="of too many parts"),
    body("a dict of a million", "return dict.fromkeys(range(10 ** 6))", says="of too many parts"),
    body("a set of a million", "return set(range(10 ** 6))", says="of too many parts"),
    body("a text of 9 MB", "return 'x' * 9_000_000", says="of too many parts"),
    # 40 MB are enough: at 400 a busy machine may see the clock run out first
    body("40 MB", "return torch.ones(5_000_000).double()", says="more than fits into 33 MB"),
    body("a view of 80 TB", "return torch.ones(1).expand(10 ** 13)", says="more than fits into 33 MB"),
    body("many tensors of 20 MB", "return [torch.ones(2_500_000).double() for _ in range(5)]",
         says="more than fits into 33 MB"),
    body("a meta tensor", "return torch.ones((), device='meta')", says=TYPE),
    body("a sparse tensor", "return torch.eye(3).double().to_sparse()"),
    body("a quantized tensor", "return torch.quantize_per_tensor(torch.ones(3), 1.0, 0, torch.qint8)"),
    body("a tensor of 70 dimensions", "return torch.ones([1] * 60).double()"),
    body("a number of 400 digits", "return 10 ** 400", says=TYPE),
    body("infinity", "return torch.tensor(float('inf')).double()", says="Not every value"),
    body("a generator", "return (x for x in logits)", says=TYPE),
    body("an object array", "return np.array([{}, []], dtype=object)", says=TYPE),
    body("a formula", "from cmlib.check.formula import Formula\nreturn Formula('x * 0', 'x')"),
    body("a module", "return torch", says=TYPE),
    body("text of halves", "return '\\ud800' * 99", says=TYPE),
    body("keys that are no text", "return {(1, 2): 3}"),
    body("keys twice", "return {1: 2, True: 3, 1.0: 4, '1': 5}"),
    body("lying sizes", """
        class T(torch.Tensor):
            def numel(self): return 0
            def element_size(self): return -1
        return torch.ones(9).as_subclass(T)"""),
    body("a lying list", """
        class L(list):
            def __iter__(self): return iter(int, 1)
        return L([1])"""),
    body("a lying dict", """
        class D(dict):
            def items(self): return iter(lambda: (1, 2), 3)
            def keys(self): return self
            def __iter__(self): return iter(int, 1)
        return D(a=1)"""),
    body("an exception that is no text", "class E(Exception):\n    def __str__(self): return 3\nraise E"),
    body("an exception without parents", """
        class M(type):
            def mro(cls): return [cls, *Exception.__mro__[:1], BaseException, object]
        class E(Exception, metaclass=M): pass
        raise E"""),
    body("an exception chain of 10,000", """
        e = None
        for _ in range(10 ** 4):
            new = ValueError()
            new.__context__, e = e, new
        raise e""", says="ValueError"),
    cell("not answered at the fourth call", """
        calls = []
        def ANSWER(logits, labels):
            calls.append(1)
            if len(calls) > 3: raise NotImplementedError
            return right(logits, labels)""", 1.99, "NotImplementedError"),
    body("not answered in a hurry", "raise NotImplementedError if logits.sum() else 0", says="raises"),
    cell("right once in each life", """
        calls = []
        def ANSWER(logits, labels):
            calls.append(1)
            if len(calls) > 1: os._exit(0)
            return right(logits, labels)""", 1.99, "ends its own process"),
]  # fmt: skip
CELLWISE = CELLS + CHECKS + RESULTS
