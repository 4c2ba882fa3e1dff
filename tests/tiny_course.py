"""A course of two tiny lessons, for the tests of what makes lessons."""

from conftest import ROOT

from cmlib import check
from cmlib.authoring import curriculum
from cmlib.authoring import notebooks as author
from cmlib.check.engine import EXERCISES

CURRICULUM = '''\
[[part]]
letter = "A"
title = "Beginnings"
learn = "begin"

[[part.lesson]]
number = "00"
slug = "tiny"
title = "A tiny lesson"
learn = "do little"

[[part.lesson]]
number = "01"
title = "Later"
learn = "wait"

[[part]]
letter = "B"
title = "Endings"
learn = "end"

[[part.lesson]]
number = "02"
slug = "last"
title = "The last lesson"
learn = "stop"
'''

# In a function, so that the learner's namespace has no `chance` before the stub.
STRETCH = '''\
from cmlib.check.engine import case, exercise

def stretch():
    from cmlib.check import lesson00  # whose own 00.5 gives way to this one

    @exercise("00.5", "Chance", minutes=9, points=2, difficulty=3)
    def chance(classes):
        return 1 / classes

    @chance.cases
    def _(draw):
        yield case(4.0, about="four classes")

    @chance.mistake("This is the number of classes, not a chance.")
    def _(classes):
        return classes

stretch()
'''

SOURCE = f'''\
# %% [markdown]
# # 00 A tiny lesson
# Runs in {{{{measured}}}}.

# %% [setup]
{STRETCH}
# %%
from cmlib import plots
fig, ax = plots.figure(width=4, height=2)
ax.plot([0, 1, 4])
plots.show(fig, alt="A line that rises from zero to four in two steps.")
print("loss", 0.5)

# %% tags=["nbval-ignore-output"]
print("another machine, another line")

# %% [exercise] 00.1
# Write accuracy.

# %% [stub]
def accuracy(logits, labels):
    """(rows, classes), (rows,) → scalar"""
    raise NotImplementedError

# %% [solution]
def accuracy(logits, labels):
    return (logits.argmax(1) == labels).double().mean()

# %% [hints]
# Count.
# ---
# $a = 1/n$
# ---
# `____`

# %% [exercise] 00.5
# Prove on paper what a guess is worth; then write it.

# %% [stub]
def chance(classes):
    raise NotImplementedError

# %% [solution]
def chance(classes):
    return 1 / classes

# %% [hints]
# Count the classes.
# ---
# $1/n$
# ---
# `1 / ____`

# %% [answer]
# Every class is guessed as often as any other, so one guess in $n$ is right.

# %% [quiz]
# ? Which is right?
# - this :: because not
# + that :: because
#   of this
# ? And here?
# + one :: yes
# - two :: no

# %% [map]
# ## The map

# %% [progress]
'''

LAST = '''\
# %% [markdown]
# # 02 The last lesson

# %% [setup]
print("the end")
'''


def make(folder, patch):
    """Its folder ``notebooks``, below ``folder``; from now on it is the course, with its exercise 00.5."""
    (folder / "cmlib").symlink_to(ROOT / "cmlib")
    notebooks = folder / "notebooks"
    (notebooks / "src").mkdir(parents=True)
    (notebooks / "src" / "00_tiny.py").write_text(SOURCE, "utf-8")
    (notebooks / "src" / "02_last.py").write_text(LAST, "utf-8")
    (folder / "curriculum.toml").write_text(CURRICULUM, "utf-8")
    patch.setattr(author, "NOTEBOOKS", notebooks)
    patch.setattr(curriculum, "FILE", folder / "curriculum.toml")
    own_exercises(patch)
    exec(STRETCH, {"__name__": "stretch"})  # noqa: S102
    return notebooks


def own_exercises(patch):
    """Exercises that are declared from now on are forgotten after the test."""
    for number in check.lessons():
        check.exercises(number)  # those of the course are read once: before the list is copied
    patch.setattr("cmlib.check.EXERCISES", EXERCISES.copy())
    patch.setattr("cmlib.check.engine.EXERCISES", check.EXERCISES)


def source_of(number):
    return next(source for source in author.sources() if source.name.startswith(number))


def texts(notebook):
    return ["".join(cell["source"]) for cell in notebook["cells"]]
