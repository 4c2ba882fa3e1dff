"""Every rule about a lesson's source, broken on purpose: a sentence says where, the rule, what was found."""

import re

import lesson_rules as rules
import pytest
from conftest import ROOT

EXAMPLE = ROOT / "notebooks" / "src" / "02_joint_loss.py"
CELL = "\n# %%\n"  # the first of several: what is planted goes below its marker
PLANTS = {
    "a title of its own": (
        "# # 02 The joint loss\n", "# # 02 A joint loss\n",
        "the title is the one of curriculum.toml, '# 02 The joint loss'; found '# 02 A joint loss'."),
    "something left to write": (
        "# You can now\n", "# You can now TODO\n",
        "nothing is left to write; lines with TODO: 1, the first '# You can now TODO'…."),
    "no measured time": (
        "{{measured}}", "a minute",
        "line 1: the passport tells what a machine needs, as {{measured}}."),
    "another last cell": (
        "# %% [progress]", "# %%\nprint()",
        "the last cell is [progress], which shows the points and how to hand in; found [code]."),
    "setup comes late": (
        "# %% [setup]", "# %%\nprint()\n# %% [setup]",
        "02_joint_loss.py: the first code cell, and no other, is a [setup] cell; found 1."),
    "an exercise less": (
        "# %% [exercise] 02.4", "# %% [exercise] 02.3",
        "a lesson has four exercises, and last its stretch exercise 02.5; found 02.1, 02.2, 02.3, 02.3"),
    "a stretch that is not checked": (
        "# %% [exercise] 02.4", "# %% [exercise] 02.9", "There is no exercise '02.9'; did you mean '02."),
    "an exercise without its hints": (
        "# %% [hints]", "# %% [stub]\nx = 1\n\n# %% [hints]",
        "of the cells [exercise], [stub], [solution], [hints], in this order; found [exercise], [stub], "),
    "a hint without its blank": (
        "____", "x", "the third hint is code with one blank, written ____; found none."),
    "a quiz of three": ("\n# ? ", "\n# ", "a quiz has four questions; found 3."),
    "two right answers": (
        "\n# - They balance", "\n# + They balance",
        "a question has three or four options and one of them is right (+); "),
    "sections out of order": (
        "# ## 2. ", "# ## 5. ", "sections are numbered in order, '## 1. …'; found [1, 5, "),
    "a dead link": (
        "(01_losses.ipynb)", "(08_zoo.ipynb)",
        "a link leads to a lesson that is there or to https://…; found '08_zoo.ipynb'."),
    "a plain address": (
        "# You can now\n", "# You can now http://example.org\n",
        "an address begins with https:// and has a host; found 'http://example.org'."),
    "a magic": (
        CELL, f"{CELL}%matplotlib inline\n",
        "cells are plain Python, without magics, and await only in functions; line 1 of the cell: "),
    "an await": (
        CELL, f"{CELL}await 1\n",
        "await only in functions; line 1 of the cell: 'await' outside function."),
    "a wide line": (CELL, f"{CELL}# {'x' * 87}\n", "code is at most 88 columns wide; found 89."),
    "a comment for nbval": (
        CELL, f"{CELL}# NBVAL_SKIP\n",
        'what nbval does with a cell is a tag, # %% tags=["nbval-ignore-output"]; found a comment.'),
    "a semicolon": (CELL, f"{CELL}print();\n{CELL}", "no semicolon hides a result; found one at the end."),
    "a bare object": (
        CELL, f"{CELL}cfg\n{CELL}",
        "what a reader should see is printed or shown by a call; the last line is the bare object 'cfg'."),
}


@pytest.mark.parametrize("what", PLANTS)
def test_a_broken_rule_says_itself(tmp_path, what):
    old, new, sentence = PLANTS[what]
    text = EXAMPLE.read_text("utf-8")
    assert old in text
    source = tmp_path / EXAMPLE.name
    source.write_text(text.replace(old, new, 1), "utf-8")
    found = rules.broken(source)
    assert any(sentence in line for line in found), found
    assert all(line.startswith("02_joint_loss.py") and "\n" not in line for line in found), found


def test_a_lesson_has_thirty_to_fifty_five_cells_of_which_half_are_prose(tmp_path):
    source = tmp_path / EXAMPLE.name
    source.write_text(EXAMPLE.read_text("utf-8") + "\n# %%\nprint(1)\n" * 40, "utf-8")
    found = [re.sub(r"\d+(?= of|\.$)", "N", line) for line in rules.broken(source)]
    assert "02_joint_loss.py: a lesson has 30 to 55 cells; found N." in found
    assert "02_joint_loss.py: at least half of the cells are prose; found N of N." in found


def test_a_lesson_that_is_not_planned_is_said(tmp_path):
    source = tmp_path / "02_other.py"
    source.write_text(EXAMPLE.read_text("utf-8"), "utf-8")
    (sentence,) = rules.broken(source)
    assert sentence == ("02_other.py: the slug of lesson 02 in curriculum.toml is the one of its file, "
                        "'other'; found 'joint_loss'.")


def test_a_lesson_without_drawing_stretch_exercise_and_page_of_progress_is_told(tmp_path):
    text = EXAMPLE.read_text("utf-8").replace("chematic", "rawing").replace("cmlib.report()", "a page")
    for exercise in re.findall(r"# %% \[exercise\] 02\.5.*?(?=# %% \[markdown\])", text, flags=re.DOTALL):
        text = text.replace(exercise, "")
    source = tmp_path / EXAMPLE.name
    source.write_text(text, "utf-8")
    found = "\n".join(rules.broken(source))
    assert "and last its stretch exercise 02.5; found 02.1, 02.2, 02.3, 02.4." in found
    assert "a lesson draws its mechanism in a folded cell, # %% tags=[\"hide-input\"]" in found
    assert "the recap, a lesson's last section, names `cmlib.report()`" in found
