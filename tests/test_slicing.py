"""What of a notebook an answer needs: every honest way to write one, and texts that want to break the
slicer.
"""

import ast
import builtins
import shutil
import subprocess
import sys
from functools import lru_cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmlib.authoring import notebooks as author
from cmlib.check import exercises, run
from cmlib.grade import box
from cmlib.grade.slicing import NotFound, Unreadable, answered, everything, statements

CHECK = 'check("09.1", f)'
STUB = 'def f(x):\n    """Twice x."""\n    raise NotImplementedError\n\n' + CHECK
LESSONS = author.sources()


@lru_cache
def code_cells(source, solved=True):
    cells = author.build(source, solved)["cells"]
    return tuple("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")


def execute(cells, name, id):
    """The answer, from the slice alone, in a namespace that cannot import the course."""
    def without_course(module, *args, **kwargs):
        if module.split(".")[0] in ("cmlib", "plots"):
            raise ImportError(f"{module} is not to be had here")
        return builtins.__import__(module, *args, **kwargs)
    names = {"__builtins__": vars(builtins) | {"__import__": without_course}, "__name__": "__main__"}
    for _, node in statements(cells, name, id):
        exec(compile(ast.Module([node], []), "<cell>", "exec"), names)  # noqa: S102
    return names[name]


def value(*cells, x=3):
    answer = execute(list(cells), "f", "09.1")
    return answer(x) if callable(answer) else answer


def texts(*cells):
    return [ast.unparse(node) for _, node in statements(list(cells), "f", "09.1")]


@pytest.mark.parametrize("lesson", LESSONS, ids=lambda source: source.stem)
def test_every_solved_notebook_passes_from_its_slices_alone_and_every_untouched_one_is_open(lesson):
    solved, learner = list(code_cells(lesson)), list(code_cells(lesson, solved=False))
    for e in exercises(lesson.name[:2]):
        assert run(e.id, execute(solved, e.name, e.id)).state == "passed", e.id
        assert answered(solved, e.name, e.id)
        assert run(e.id, execute(learner, e.name, e.id)).state == "open", e.id
        assert not answered(learner, e.name, e.id)
        assert not any("check(" in ast.unparse(node) for _, node in statements(solved, e.name, e.id))


def test_only_what_is_needed_is_kept():
    cells = ["import math, missing_module\nprint('hello')", "import math\nimport plots\nplots.show(3)",
             "for step in range(10**9):\n    loss = step", "def f(x):\n    print(x)\n    loss = "
                                                           "math.floor(x)\n    return 2 * loss\n" + CHECK]
    assert texts(*cells) == ["import math", ast.unparse(ast.parse(cells[3]).body[0])]
    assert [cell for cell, _ in statements(cells, "f", "09.1")] == [1, 3]


@pytest.mark.parametrize(
    "cells",
    [
        ["def f(x):\n    return 2 * x\n" + CHECK],
        ["def f(x):\n    return 2 * x", CHECK],
        ["f = lambda x: 2 * x", "check('09.1', f)"],
        ["check('09.1', lambda x: 2 * x)"],
        ["def my_own(x):\n    return 2 * x", STUB, "check('09.1', my_own)"],
        [STUB, "def my_own(x):\n    return 2 * x", "check(id='09.1', answer=my_own)"],
        [STUB, "def f(x):\n    return 2 * x"],
        [STUB, "def f(x):\n    return 2 * x\n" + CHECK, STUB],
        [STUB, "def f(x):\n    return 2 * x\n" + CHECK, "from cmlib.check.lesson09 import f"],
        ["def f(x):\n    return 5 * x\n" + CHECK, "def f(x):\n    return 2 * x\n" + CHECK],
        ["def f(x):\n    return 2 * x\n" + CHECK] * 3,
        [
            "def f(x):\n    return 2 * x\n\ncmlib.check.check('09.1', f)",
            "def f(x):\n    return 'another use of the name'",
        ],
        [
            "def double(x):\n    return 2 * x\n\ndef f(x):\n    return double(x)\n" + CHECK,
            "double = 'used again by the course'",
        ],
        ["def f(x):\n    return double(x)\n" + CHECK, "def double(x):\n    return 2 * x"],
        [
            "factor = twice()\ndef f(x):\n    return factor * x\n" + CHECK,
            "def twice():\n    return TWO",
            "TWO = 2",
        ],
        ["table = {}\nfor i in range(9):\n    table[i] = 2 * i", "def f(x):\n    return table[x]\n" + CHECK],
        [
            "table = []",
            "for i in range(9):\n    table.append(2 * i)",
            "def f(x):\n    return table[x]\n" + CHECK,
        ],
        ["two = 1", "two += 1", "def f(x):\n    return two * x\n" + CHECK],
        ["two = 1\nif two == 1:\n    two = 2", "def f(x):\n    return two * x\n" + CHECK],
        ["two = 2\nif '':\n    two = 5", "def f(x):\n    return two * x\n" + CHECK],
        ["i = missing.module()", "for i in [1, 2]:\n    two = i", "def f(x):\n    return two * x\n" + CHECK],
        [
            "try:\n    from numpy import absent as two\nexcept ImportError:\n    two = 2",
            "def f(x):\n    return two * x\n" + CHECK,
        ],
        ["with open('/dev/null') as file:\n    two = 2", "def f(x):\n    return two * x\n" + CHECK],
        ["if (two := 2) > 1:\n    pass", "def f(x, k=two):\n    return k * x\n" + CHECK],
        ["from math import *\ndef f(x):\n    return floor(2.5) * x\n" + CHECK],
        ["from functools import lru_cache", "@lru_cache\ndef f(x):\n    return 2 * x\n" + CHECK],
        [
            "class Base:\n    size = 2",
            "class F(Base):\n    def __call__(self, x):\n        return self.size * x\nf = F()\n" + CHECK,
        ],
        ["class F:\n    pass", "F.__call__ = lambda self, x: 2 * x", "f = F()", CHECK],
        [
            "words = [2]\ndef build():\n    return words[0]\ntwo = build()\nwords = [7]\ndef f(x):\n    "
            "return two "
            "* x\n" + CHECK
        ],
        ["x = 7; total = 2", "def f(x):\n    total = x\n    return total + total\n" + CHECK],
        ["\ufeff" + "def f(x):\r\n    return 2 * x\r\n\r\n" + CHECK],
        ["def f(x):\r    return 2 * x\r" + CHECK],
        ["    def f(x):\n        return 2 * x\n    " + CHECK],
        [">>> def f(x):\n...     return 2 * x\n>>> " + CHECK],
        [
            "%matplotlib inline\n!ls -l {x}\nfiles = !ls\nf?\n%load_ext autoreload\ndef f(x):\n    return 2 "
            "* x\n"
            + CHECK
        ],
        ["%%time\ndef f(x):\n    return 2 * x\n" + CHECK],
        ["\n\n%%time\n%%capture out\n%matplotlib inline\ndef f(x):\n    return 2 * x\n" + CHECK],
        # as IPython's In has it
        ["get_ipython().run_cell_magic('time', '', 'def f(x):\\n    return 2 * x\\n')", CHECK],
        ["%time two = 1 + 1", "three = %time 3", "def f(x):\n    return two * three * x / 3\n" + CHECK],
        [
            "%%bash\ndef f(x) {",
            "%%html\n<b>",
            "def = 3",
            "pip install x",
            "def f(x):\n    return 2 * x\n" + CHECK,
        ],
        ["def f(x):\n    return 2 * x\n" + CHECK, "def f(x):\n    return 2 * (x\n" + CHECK],
        ["print(1)", "await something()", "def f(x):\n    return 2 * x\n_ = " + CHECK],
        ["def f(x):\n    return sum([x, x])\n" + CHECK, "sum = 5"],
    ],
    ids=lambda cells: cells[0][:25],
)
def test_honest_notebooks(cells):
    assert value(*cells) == 6


def test_everything_is_all_down_to_the_check_but_what_was_handed_out_and_is_not_needed():
    given = ["import torch\nimport math", "def helper(x):\n    return x", "slow = helper(torch)\nprint(slow)"]
    own = ["def fill(c):\n    c.append(helper(2))", "xs = []\nfill(xs)", "def f(x):\n    return xs[0] * x"]
    cells = [*given, *own, CHECK, "after = 1"]
    found, has_check = everything(cells, "f", "09.1", given)
    assert [ast.unparse(node).split("\n")[0] for _, node in found] == [
        "def helper(x):", "def fill(c):", "xs = []", "fill(xs)", "def f(x):", "check('09.1', f)"]
    assert has_check and len(everything(cells, "f", "09.1")[0]) == 10
    found, has_check = everything(["ANSWERS = {}", "def g(x): pass", "check(*ANSWERS)"], "f", "09.1")
    assert (len(found), has_check) == (3, False)


def test_a_seed_that_the_lesson_sets_is_kept_with_everything():
    given = ["import torch", "torch.manual_seed(0)", "print(torch.rand(1))"]
    own = ["first = torch.rand(1)\nxs = [torch.rand(1)]", "def f(x):\n    return xs[0] * x", CHECK]
    found, _ = everything([*given, *own], "f", "09.1", given)
    assert [ast.unparse(node) for _, node in found][:3] == [
        "import torch", "torch.manual_seed(0)", "first = torch.rand(1)"]


def test_a_cell_that_writes_a_file_is_kept_and_writes_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    text = "%%writefile helper_of_a_test.py\nTWO = 2\nprint('%d')"
    assert value(text, "from helper_of_a_test import TWO\ndef f(x): return TWO * x", CHECK) == 6
    assert (tmp_path / "helper_of_a_test.py").read_text("utf-8") == "TWO = 2\nprint('%d')\n"


@pytest.mark.parametrize("cells, expected", [
    (["answer = 0.3\ncheck('09.1', answer)"], 0.3),
    (["check('09.1', 0.3)"], 0.3),
    (["rate = 3", "check('09.1', rate / 10)"], 0.3),
    (["f = 0.3", "check('09.1', f)"], 0.3),
    (["check('09.1', ...)", "check('09.1', 'b')"], "b"),
    (["check('09.1', 'b')", "check('09.1', ...)"], "b"),
    (["check('09.1', ...)"], ...),
    (["f = None\n" + CHECK], None),
])
def test_numbers_and_choices(cells, expected):
    assert value(*cells) == expected


@pytest.mark.parametrize("cell, is_answered", [
    (STUB, False),
    ("def f(x):\n    raise NotImplementedError('your code')\n" + CHECK, False),
    ("def f(x):\n    y = x\n    raise NotImplementedError\n    return y\n" + CHECK, False),
    ("def f(x):\n    if x < 0:\n        raise NotImplementedError\n    return 2 * x\n" + CHECK, True),
    ("def f(x):\n    return x\n    raise NotImplementedError\n" + CHECK, True),
    ("def f(x):\n    pass\n" + CHECK, True),
    ("class f:\n    def g(self):\n        raise NotImplementedError\n" + CHECK, False),
    ("print(3)", False),
])
def test_a_stub_is_not_an_answer(cell, is_answered):
    assert answered([cell], "f", "09.1") == is_answered


def test_lines_are_those_of_the_cell():
    for text, line in (
        ("\n\n!ls\ndef f(x):\n    return x", 4),
        ("\n%%time\n\ndef f(x):\n    return x", 4),
        ("def f(x):\n    return x", 1),
    ):
        [(_, node)] = statements([text], "f", "09.1")
        assert node.lineno == line


def test_setting_the_default_dtype_is_kept_and_seeding_is_not():
    kept = texts(
        "import torch\ntorch.set_default_dtype(torch.float64)\ntorch.manual_seed(0)",
        "def f(x):\n    return torch.ones(x)\n" + CHECK,
    )
    assert kept[:2] == ["import torch", "torch.set_default_dtype(torch.float64)"] and len(kept) == 3


def test_imports_of_two_submodules_are_both_kept():
    assert texts("import xml.dom", "import xml.sax", "def f(x):\n    return xml\n" + CHECK)[:2] == [
        "import xml.dom",
        "import xml.sax",
    ]


@pytest.mark.parametrize("cells", [["print(3)", "def = 4"], ["def g(x):\n    return x\n" + CHECK], []])
def test_nothing_there(cells):
    with pytest.raises(NotFound, match=r"^No cell defines f, the answer to exercise 09\.1\.$"):
        statements(cells, "f", "09.1")
    assert not answered(cells, "f", "09.1")


def test_hostile_sizes_end_soon():
    chain = "\n".join(f"a{i} = a{i - 1}" for i in range(1, 3_000)) + "\nf = a2999"
    assert len(statements([chain], "f", "09.1")) == 3_000
    assert len(statements(["\n".join(["f = 0"] + ["f += 1"] * 3_000)], "f", "09.1")) == 3_001
    with pytest.raises(Unreadable, match="too entangled"):
        statements(["\n".join(["if f: f = f"] * 3000)], "f", "09.1")


@pytest.mark.parametrize("cells, cell, line", [
    ([STUB, "def f(x):\n    return 2 * (x\n" + CHECK], 1, 2),
    (["print(1)", "\n\n!ls\ndef f(x):\n    return = x"], 1, 5),
    (["f == 3\nf = = 3"], 0, 2),
    (["def helper(x)\n    return x", "def f(x):\n    return helper(x)\n" + CHECK], 0, 1),
    (["check('09.1', lambda x: )"], 0, 1),
    (["def f(x):\n    return x\nreturn 3"], 0, 3),
    (["def f(x):\n    return '\0'"], 0, 1),
])
def test_a_needed_cell_that_is_not_python_is_named_with_its_line(cells, cell, line):
    with pytest.raises(
        Unreadable, match=rf"^The cell with (f|helper) is not Python: .* in line {line}\.$"
    ) as caught:
        statements(cells, "f", "09.1")
    assert (caught.value.cell, caught.value.line) == (cell, line)


def test_slicing_runs_on_the_staged_files_alone():
    """The box has no course: only the files that `box.stage` puts there."""
    folder = box.stage()
    program = f"""
import sys
sys.path.insert(0, {str(folder)!r})
from cmlib.grade.slicing import statements
print(len(statements(['%%time\\nf = 3'], 'f', '09.1')))
print([m for m in sys.modules if m.split('.')[0] in ('torch', 'numpy')])
ours = [module for name, module in sys.modules.items() if name.startswith('cmlib')]
print(all(getattr(module, '__file__', '').startswith({str(folder)!r}) for module in ours))"""
    out = subprocess.run([sys.executable, "-I", "-c", program], capture_output=True, text=True, check=False)
    shutil.rmtree(folder)
    assert out.stdout.split() == ["1", "[]", "True"], out.stderr


NASTY = [
    "(" * 5000,
    "-" * 50_000 + "1",
    "f = " + "(" * 150 + ")" * 150,
    "\0",
    "\ud800",
    "def f(x): return f\n" * 500,
    "%%time\n" * 2000,
    "f = " + "f(" * 90 + ")" * 90,
    "\n".join(f"a{i} = a{i - 1} + a{i + 1}" for i in range(200)) + "\nf = a7",
    "from f import *; f = f.f",
    "x" * 100_000,
    "\x0c\x0b",
    "f = 1" + "+1" * 20_000,
    "if 1:\n" + "".join(" " * i + "if 1:\n" for i in range(1, 99)) + " " * 99 + "f = 1",
    "%time " * 500,
    "check('09.1')",
    "check(*['09.1'], **f)",
    "check('09.1', (yield))",
    "global f\nf = 1",
    "del f",
    "match f:\n    case {**f}: pass",
]


@pytest.mark.parametrize("text", NASTY, ids=lambda t: t[:12].encode("ascii", "replace").decode())
def test_nasty_texts_give_statements_or_a_sentence(text):
    for cells in ([text], [text, STUB], [STUB, text], [text, "f = 2\n" + CHECK]):
        try:
            assert all(isinstance(node, ast.stmt) for _, node in statements(cells, "f", "09.1"))
        except (NotFound, Unreadable) as error:
            assert str(error).endswith(".")


@st.composite
def mutated_notebooks(draw):
    """A real notebook after a few accidents: cells cut, doubled, swapped, glued, and characters lost or
    gained.
    """
    lesson = draw(st.sampled_from(LESSONS[:4]))
    cells = list(code_cells(lesson))
    for _ in range(draw(st.integers(1, 6))):
        i, j = (draw(st.integers(0, len(cells) - 1)) for _ in range(2))
        cut = draw(st.integers(0, len(cells[i])))
        match draw(st.sampled_from(["cut", "double", "swap", "glue", "drop", "insert"])):
            case "cut":
                cells[i] = cells[i][:cut]
            case "double":
                cells.insert(j, cells[i])
            case "swap":
                cells[i], cells[j] = cells[j], cells[i]
            case "glue":
                cells[i] += cells[j]
            case "drop":
                cells[i] = cells[i][:cut] + cells[i][cut + 1:]
            case "insert":
                cells[i] = (
                    cells[i][:cut]
                    + draw(
                        st.sampled_from(["\0", "(", "\n", "%%time\n", "!", "\ufeff", "'''", " ", "\t", "é"])
                    )
                    + cells[i][cut:]
                )
    return lesson.name[:2], cells


@settings(max_examples=60)
@given(mutated_notebooks())
def test_mutated_notebooks_never_raise_anything_else(notebook):
    lesson, cells = notebook
    for e in exercises(lesson):
        try:
            found = statements(cells, e.name, e.id)
        except (NotFound, Unreadable):
            continue
        assert found and all(0 <= cell < len(cells) and isinstance(node, ast.stmt) for cell, node in found)


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=3), st.booleans()),
        min_size=1,
        max_size=12,
    )
)
def test_the_slice_computes_what_the_whole_notebook_does(lines):
    """Oracle: run everything from top to bottom. Only programs that run are compared."""
    cells = []
    for target, used, is_function in lines:
        expression = " + ".join([f"{u}()" if is_function else f"value({u})" for u in used] + ["1"])
        cells.append(
            f"def {target}(depth=[]):\n    return {expression}" if is_function else f"{target} = {expression}"
        )
    cells = ["def value(x):\n    return x if isinstance(x, int) else 7", *cells, "f = 10 * value(a)"]
    names = {}
    try:
        for text in cells:
            exec(text, names)  # noqa: S102
    except (NameError, TypeError, RecursionError):
        return
    assert execute(cells, "f", "09.1") == names["f"]


@pytest.mark.parametrize(
    "written, kept",
    [
        ('Path("helpers.py").write_text("k = 2")', True),
        ("module.write_text(code)", True),  # it may be one
        ('(home / "README.md").write_text(card)', False),
        ('(Path(".") / "notes.txt").write_text("mine")', False),
    ],
)
def test_a_file_that_is_written_is_taken_along_where_it_may_be_imported(written, kept):
    found = texts(written, "def f(x):\n    return 2 * x", CHECK)
    assert any("write_text" in text for text in found) is kept
