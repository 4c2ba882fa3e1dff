"""Folders as platforms leave them, notebooks of every age, and files that want to break whoever reads
them.
"""

import json
import os
import random
import socket
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cmlib.authoring import notebooks as author
from cmlib.check.retired import RETIRED
from cmlib.grade import reading, submissions
from cmlib.grade.submissions import Submission, collect

NAME = "published_total"
CELLS = ["import torch", 'def published_total(a, b, lam):\n    return a\n\ncheck("02.1", published_total)']
STUB = [
    "import torch",
    """def published_total(a, b, lam):
    raise NotImplementedError

check("02.1", published_total)""",
]


def notebook(cells=CELLS, **more):
    return json.dumps(
        {
            "cells": [{"cell_type": "code", "source": c, "outputs": []} for c in cells],
            "nbformat": 4,
            "metadata": {},
            **more,
        }
    ).encode()


def answers(cells=CELLS, **more):
    return json.dumps(
        {"format": "cmlib-submission-1", "learner": "mallory", "answers": {"02.1": {"cells": cells}}, **more}
    ).encode()


def write(folder, files, time=1_700_000_000):
    for name, data in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        os.utime(path, (time, time))
    return folder


def one(folder, data, name="ada.ipynb") -> Submission:
    [submission] = collect(write(folder, {name: data}))
    return submission


def cells_of(submission):
    return submission.cells("02.1", NAME)


@pytest.mark.parametrize(
    "name, learner",
    [
        ("ada.ipynb", "ada"),
        ("ada/x.ipynb", "ada"),
        ("ada/deep/er/x.ipynb", "ada"),
        ("ada", "ada"),
        ("ada.b.ipynb", "ada.b"),
        ("submission-02-ada.json", "ada"),
        ("submission-01_02-ada-lovelace.json", "ada-lovelace"),
        ("submission-02-.json", "submission-02-"),
        ("ada.ipynb.txt", "ada"),
        ("Ada.IPYNB", "Ada"),
        ("report.pdf", "report"),
        ("lovelaceada_123_4567_02_joint_loss.ipynb", "lovelaceada_123"),
        ("lovelaceada_LATE_123_4567_hw-2.ipynb", "lovelaceada_123"),
        ("lovelaceada_123_4567_submission-02-bob.json", "lovelaceada_123"),
        ("a_b_12_34_x.ipynb", "a_b_12"),
        ("Ada Lovelace_12345_assignsubmission_file_/x.ipynb", "Ada Lovelace_12345"),
        ("Ada_Lovelace_12345_assignsubmission_file_x.ipynb", "Ada_Lovelace_12345"),
        ("Ada Lovelace_12345_assignsubmission_onlinetext/x.ipynb", "Ada Lovelace_12345"),
        ("Zoe\u0308/x.ipynb", "Zo\u00eb"),
        ("\u202eevil/x.ipynb", "\\u202eevil"),
        ("a\nb/x.ipynb", "a\\nb"),
        ("\u0645\u06cc\u200c\u062f/x.ipynb", "\u0645\u06cc\u200c\u062f"),
    ],
)
def test_learners_are_named_as_the_platform_names_them(tmp_path, name, learner):
    assert [s.learner for s in collect(write(tmp_path, {name: notebook()}))] == [learner]


def test_a_name_that_is_no_text(tmp_path):
    for raw in (b"\xff.ipynb", b"\xfe.ipynb"):
        (tmp_path / os.fsdecode(raw)).write_bytes(notebook())
    found = collect(tmp_path)
    assert [s.learner for s in found] == ["\\xfe", "\\xff"] and all(cells_of(s) == CELLS for s in found)
    assert json.dumps([s.files for s in found], ensure_ascii=False).encode()


def test_what_is_not_handed_in_is_no_learner(tmp_path):
    write(
        tmp_path,
        {
            ".DS_Store": b"x",
            "__MACOSX/ada/._x.ipynb": b"x",
            "ada/.ipynb_checkpoints/x.ipynb": notebook(STUB),
            "ada/x.ipynb": notebook(),
        },
    )
    [ada] = collect(tmp_path)
    assert ada.files == ("ada/x.ipynb",) and not ada.notes


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(NotADirectoryError, match=r"missing is not a folder of submissions\.$"):
        collect(tmp_path / "missing")


def test_several_files_of_one_learner_are_one_submission(tmp_path):
    write(
        tmp_path,
        {"ada_1_22_a.ipynb": notebook(), "ada_1_33_b.json": answers(), "ada_2_44_c.ipynb": notebook()},
    )
    assert [(s.learner, len(s.files)) for s in collect(tmp_path)] == [("ada_1", 2), ("ada_2", 1)]


@pytest.mark.parametrize(
    "data",
    [
        notebook(),
        notebook([c + "\r\n" for c in CELLS]),
        b"\xef\xbb\xbf" + notebook(),
        json.dumps(json.loads(notebook()), indent=1).replace("\n", "\r\n").encode(),
        notebook().decode().encode("utf-16"),
        notebook([list("ab"), *CELLS]),
        notebook(metadata={"kernelspec": {"name": "conda-env-my env-py", "language": 3}}),
        json.dumps(
            {
                "worksheets": [
                    {"cells": [{"cell_type": "code", "input": c, "language": "python"} for c in CELLS]}
                ],
                "nbformat": 3,
            }
        ).encode(),
        json.dumps(
            {
                "worksheets": [
                    {"cells": [{"cell_type": "code", "input": c.splitlines(True)}]} for c in CELLS
                ],
                "nbformat": 2,
            }
        ).encode(),
        notebook(nbformat="4", signature=None),
        notebook().replace(rb"\n", b"\n"),
        answers(),
        answers(made=[], learner=None, more={"x": 1}),
        notebook().replace(b'"nbformat": 4', b'"nbformat": ' + b"9" * 5000),
        notebook().replace(b'"nbformat": 4', b'"nbformat": NaN'),
    ],
    ids=range(15),
)
def test_honest_oddities_are_read_without_a_note(tmp_path, data):
    submission = one(tmp_path, data, "ada.ipynb")
    assert [c.strip() for c in cells_of(submission)][-2:] == CELLS and not submission.notes


def test_characters_that_are_not_utf8_cost_only_themselves(tmp_path):
    submission = one(tmp_path, notebook(["# caf-", *CELLS]).replace(b"caf-", b"caf\xe9"))
    assert cells_of(submission)[0] == "# caf\ufffd"
    assert submission.notes == ("In ada.ipynb, some characters are not UTF-8 and read as \ufffd.",)


def test_lone_surrogates_can_be_stored_afterwards(tmp_path):
    assert cells_of(one(tmp_path, notebook(["x = '\ud800'", *CELLS])))[0] == "x = '?'"


BAD = {
    "empty": (b"", "it is empty"),
    "blank": (b" \n", "it is empty"),
    "binary": (random.Random(0).randbytes(5000), "it is not JSON"),
    "cut": (notebook()[:-30], "it is not JSON, or cut off"),
    "deep": (b"[" * 100_000, "nested too deeply"),
    "deep object": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "nested too deeply"),
    "list": (b"[]", "neither a notebook nor"),
    "number": (b"3", "neither a notebook nor"),
    "no cells": (b"{}", "neither a notebook nor"),
    "cells no list": (b'{"cells": {"a": 1}}', "neither a"),
    "large": (b" " * 50_000_001, "larger than 50 MB"),
    "zip bomb": (b'{"cells": [' + b"{}," * 6_000_000 + b"{}]}", "far too many parts"),
    "commas": (b'{"cells": [' + b"0," * 9_000_000 + b"0]}", "far too many parts"),
    "keys": (b'{"a":"b",' * 2_000_000, "far too many parts"),
    "texts": (b'["",' + b'"\\"a",' * 2_500_000, "far too many parts"),
    "other format": (answers(format="cmlib-submission-3"), "no submission of the form"),
    "answers no dict": (answers(answers=[]), "no submission of the"),
    "outputs and more": (b'{"outputs": [1], "x": [' + b"0," * 3_000_000 + b"0]}", "far too many parts"),
    "other form, no cells": (answers(format="cmlib-submission-2"), "no submission of the"),
}
MAY_BE_HONEST = ("large", "outputs and more")  # for a human


@pytest.mark.parametrize("kind", BAD)
def test_what_cannot_be_read_is_one_note_and_the_rest_is_used(tmp_path, kind):
    data, why = BAD[kind]
    write(tmp_path, {"ada/bad.ipynb": data, "ada/good.ipynb": notebook()})
    [submission] = collect(tmp_path)
    assert (
        len(submission.notes) == 1
        and submission.notes[0].startswith("ada/bad.ipynb was not read: ")
        and why in submission.notes[0]
    )
    assert cells_of(submission) == CELLS and len(submission.digest) == 64
    assert submission.faults == (submission.notes if kind in MAY_BE_HONEST else ())


def test_reading_the_largest_files_takes_little_memory(tmp_path):
    write(tmp_path, {f"ada/{i}.ipynb": data for i, (data, _) in enumerate(BAD.values())})
    tracemalloc.start()
    [submission] = collect(tmp_path)
    assert len(submission.notes) == len(BAD)
    assert tracemalloc.get_traced_memory()[1] < 150e6
    tracemalloc.stop()


@pytest.mark.parametrize(
    "cells, left",
    [
        ([*CELLS, "x" * 300_000], CELLS),
        (["# \U0001f600" * 20_000, *CELLS], CELLS),
        ([*CELLS, *["x = 1"] * 9000], 5000),
        ([*CELLS, *["y" * 150_000] * 9], 6),
    ],
)
def test_code_that_would_not_fit_into_a_frame_is_left_out(tmp_path, cells, left):
    submission = one(tmp_path, notebook(cells))
    got = cells_of(submission)
    assert (got if isinstance(left, list) else len(got)) == left and len(json.dumps(got)) < 1 << 20
    assert len(submission.notes) == 1 and "too long, or too many, and left out" in submission.notes[0]
    assert submission.faults == submission.notes
    assert "200 KB a cell and 700 KB together" in submission.notes[0]


def test_a_plot_of_millions_of_numbers_costs_nothing(tmp_path):
    """21 MB of outputs, of which no text of the code may be taken for one."""
    book = json.loads(notebook(['x = {"outputs": [1]}', *CELLS]))
    book["cells"][0]["outputs"] = [{"data": {"y": [0.12345678] * 2_100_000}, "text": ['a"]\\', "]"]}]
    data = json.dumps(book).encode()
    assert len(data) > 21e6
    submission = one(tmp_path, data)
    assert cells_of(submission) == ['x = {"outputs": [1]}', *CELLS] and not submission.notes


def test_many_large_files_are_not_all_read(tmp_path, monkeypatch):
    monkeypatch.setattr(submissions, "MOST_BYTES", 1000)
    write(tmp_path, {f"ada/{k}.ipynb": notebook(["x" * 200]) for k in range(4)})
    [submission] = collect(tmp_path)
    assert submission.faults[-1] == "ada/3.ipynb was not read: all files together are larger than 0 MB."


def test_what_a_file_says_of_its_own_answers_is_kept_as_a_claim(tmp_path):
    book = json.loads(notebook())
    printed = {"output_type": "stream", "name": "stdout", "text": "✓ 02.1 Total: right (2 points)\n✗ 02.2 …"}
    book["cells"][1]["outputs"] = [printed, 3, {"text": ["✓ 02.3", " x\n"]}, {"text": {"a": 1}}]
    assert one(tmp_path, json.dumps(book).encode()).passed("02.3")
    whole = {"format": "cmlib-submission-2", "cells": CELLS, "answers": ["02.1"], "passed": ["02.1", 3]}
    submission = one(tmp_path / "b", json.dumps(whole).encode(), "submission-02-ada.json")
    assert submission.passed("02.1") and not submission.passed("02.2") and cells_of(submission) == CELLS


def test_a_folder_that_cannot_be_opened_is_no_fault_of_the_learner(tmp_path, monkeypatch):
    (tmp_path / "ada").mkdir()
    (tmp_path / "ada" / "x.ipynb").write_bytes(notebook())
    real = os.scandir

    def closed(path):
        if str(path).endswith("ada"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)
    monkeypatch.setattr(os, "scandir", closed)
    [submission] = collect(tmp_path)
    assert submission.faults == submission.notes == ("ada could not be read: Permission denied.",)


def test_odd_cells_are_counted_and_left_out(tmp_path):
    cells = json.loads(notebook())["cells"]
    odd = [
        3,
        None,
        {"cell_type": "code"},
        {"cell_type": "code", "source": [1]},
        {"cell_type": ["code"], "source": "x"},
        {"cell_type": "markdown"},
    ]
    submission = one(tmp_path, json.dumps({"cells": odd + cells}).encode())
    [note] = submission.notes
    assert cells_of(submission) == CELLS
    assert note == "In ada.ipynb, 4 cells are not written as a notebook writes them and left out."


def test_links_pipes_and_sockets_are_noted_and_never_opened(tmp_path):
    folder = write(tmp_path / "in", {"ada/x.ipynb": notebook(), "bob/y.txt": b"?"})
    (folder / "ada/link.ipynb").symlink_to("/etc/passwd")
    (folder / "ada/up").symlink_to(folder)
    os.mkfifo(folder / "ada/pipe.ipynb")
    (folder / "eve").symlink_to(folder / "ada")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(folder / "ada/socket.json"))
        ada, bob, eve = collect(folder)
        assert ada.notes == (
            "ada/link.ipynb is a link and was not read.",
            "ada/pipe.ipynb is not a plain file and was not read.",
            "ada/socket.json is not a plain file and was not read.",
            "ada/up is a link and was not read.",
        )
    assert cells_of(ada) == CELLS and ada.files == ("ada/x.ipynb",)
    assert (eve.learner, eve.files, eve.notes) == ("eve", (), ("eve is a link and was not read.",))
    assert "it is not JSON" in bob.notes[0]


def test_a_file_that_turns_into_a_link_or_vanishes_after_the_search(tmp_path):
    write(tmp_path, {"ada/x.ipynb": notebook(), "ada/y.ipynb": notebook()})
    [submission] = collect(tmp_path)
    (tmp_path / "ada/x.ipynb").unlink()
    (tmp_path / "ada/x.ipynb").symlink_to("/etc/passwd")
    (tmp_path / "ada/y.ipynb").unlink()
    os.mkfifo(tmp_path / "ada/y.ipynb")
    assert (
        cells_of(submission) == []
        and len(submission.notes) == 2
        and len(submission.faults) == 1
        and submission.digest
    )


def test_files_of_other_kinds_are_one_note(tmp_path):
    write(
        tmp_path,
        {f"ada/{n}": b"x" for n in ("a.csv", "b.png", "c.zip", "d.pdf")} | {"ada/x.ipynb": notebook()},
    )
    [submission] = collect(tmp_path)
    [note] = submission.notes
    unread = "ada/a.csv, ada/b.png, ada/c.zip, \u2026."
    assert note == f"4 files are neither .ipynb nor .json and not read: {unread}"


def test_modules_beside_a_notebook_are_written_before_its_cells(tmp_path):
    write(tmp_path, {"ada/x.ipynb": notebook(), "ada/no module.py": b"", "ada/odd.py": b"\xff\xfe"})
    write(tmp_path, {"ada/helpers.py": b"A = 1\n", "ada/more/helpers.py": b"A = 2\n"})
    os.utime(tmp_path / "ada/helpers.py", (1_600_000_000,) * 2)
    write(tmp_path, {"eve_7_9_x.ipynb": notebook(), "eve_7_9_helpers.py": b"B = 1\n", "bob.py": b"C = 1\n"})
    ada, bob, eve = collect(tmp_path)
    writes = "__import__('pathlib').Path('helpers.py').write_text({!r}, 'utf-8')"
    assert cells_of(ada) == [writes.format("A = 2\n"), *CELLS]
    assert cells_of(eve) == [writes.format("B = 1\n"), *CELLS]
    assert ada.notes == (
        "ada/no module.py was not read: no line can import a file of that name.",
        "ada/odd.py was not read: it is not UTF-8.",
    )
    assert cells_of(bob) == [] and bob.notes == ("There is no notebook, only bob.py.",)
    before = ada.digest
    (tmp_path / "ada/helpers.py").write_text("A = 3\n")
    assert collect(tmp_path)[0].digest != before  # graded again


def test_modules_without_end_are_left_out(tmp_path):
    large = b"x = '" + b"y" * 120_000 + b"'\n"
    write(tmp_path, {"ada/x.ipynb": notebook(), "ada/a.py": large, "ada/b.py": large, "ada/c.py": b"A = 1"})
    [ada] = collect(tmp_path)
    assert len(cells_of(ada)) == 2 + len(CELLS)
    assert ada.notes == ("a.py was not read: modules may have 200 KB together.",)


def test_an_empty_folder_says_so(tmp_path):
    (tmp_path / "ada").mkdir()
    [submission] = collect(tmp_path)
    assert submission.notes == ("Nothing was handed in: there is no file.",) and cells_of(submission) == []


def test_floods_of_files_folders_and_notes(tmp_path):
    write(
        tmp_path,
        {f"many/{i:03}.ipynb": notebook() for i in range(230)}
        | {f"bad/{i:03}.ipynb": b"" for i in range(50)},
    )
    (tmp_path / "flood").mkdir()
    for i in range(10_050):
        (tmp_path / "flood" / f"{i}.ipynb").touch()
    (tmp_path / "deep" / "/".join("d" * 30)).mkdir(parents=True)
    bad, deep, flood, many = collect(tmp_path)
    assert len(many.files) == 200 and many.notes == ("Only the first 200 of 230 files were read.",)
    [note] = flood.notes
    assert flood.files == ()
    assert note == "Nothing in flood was read: it holds more than 10000 files and folders."
    assert len(bad.notes) == 21 and bad.notes[-1] == "There are 30 more notes of this kind."
    assert deep.notes[0].endswith("is nested too deeply and was not read.")


def test_too_much_code_in_all_files_together(tmp_path):
    write(tmp_path, {f"ada/{i}.ipynb": notebook(["y" * 150_000] * 4) for i in range(9)})
    [submission] = collect(tmp_path)
    assert (
        len(submission.sources) == 5
        and "there is too much code in all files together" in submission.notes[-1]
    )


def test_the_newest_file_that_mentions_the_exercise_counts(tmp_path):
    write(tmp_path, {"ada/old.ipynb": notebook(["old", *CELLS])}, 1_600_000_000)
    write(tmp_path, {"ada/new.ipynb": notebook(["new", *CELLS])}, 1_700_000_000)
    write(tmp_path, {"ada/other.ipynb": notebook(['check("03.1", f)', "published_total = 3"])}, 1_800_000_000)
    write(tmp_path, {"ada/fresh copy.ipynb": notebook(STUB)}, 1_900_000_000)
    [submission] = collect(tmp_path)
    assert cells_of(submission)[0] == "new" and submission.modified == 1_900_000_000
    assert submission.cells("03.1", "f")[0] == 'check("03.1", f)' and submission.cells("04.1", NAME) == []


ANSWERED, UNTOUCHED = "def old(x):\n    return x", "def old(x):\n    raise NotImplementedError"


@pytest.mark.parametrize(("cells", "found"), [
    ([ANSWERED, "check('02.9', old)"], "02.9"),
    ([ANSWERED + "\ncheck('02.9', old)"], "02.9"),
    (["check('02.9', lambda x: x)"], "02.9"),
    ([UNTOUCHED, "check('02.9', old)"], ""),
    ([ANSWERED], ""),
    ([ANSWERED, "check('02.9', old)", "check('02.1', old)"], ""),  # the lesson of today is there, too
])
def test_an_answer_to_a_replaced_exercise_is_found(tmp_path, monkeypatch, cells, found):
    monkeypatch.setitem(RETIRED, "02.9", "02.1")
    submission = one(tmp_path, notebook(cells))
    assert submission.before("02.1") == found and submission.before("02.2") == ""


def test_an_answer_to_a_replaced_exercise_is_found_in_the_first_form_of_a_submission(tmp_path, monkeypatch):
    monkeypatch.setitem(RETIRED, "02.9", "02.1")
    old = {"format": "cmlib-submission-1", "answers": {"02.9": {"cells": [ANSWERED]}}}
    assert one(tmp_path, json.dumps(old).encode(), "old.json").before("02.1") == "02.9"


def test_of_equally_old_files_the_submission_counts_then_the_later_name(tmp_path):
    write(tmp_path, {f"ada/x-{i}.ipynb": notebook([f"# {i}", *CELLS]) for i in (2, 10, 9)})
    assert cells_of(collect(tmp_path)[0])[0] == "# 10"
    write(tmp_path, {"ada/a.json": answers(["# own", *CELLS])})
    assert cells_of(collect(tmp_path)[0])[0] == "# own"


@pytest.mark.parametrize(
    "cell",
    [
        "check('02.1', 3)",
        'check( "02.1", f)',
        'cmlib.check.check(id="02.1", answer=f)',
        "def published_total(x): pass",
        "    class published_total:",
        "published_total = lambda: 3",
    ],
)
def test_what_mentions_an_exercise(tmp_path, cell):
    assert cells_of(one(tmp_path, notebook([cell]))) == [cell]


@pytest.mark.parametrize(
    "cell",
    ["check('02.11', 3)", "x = published_total", "published_total == 3", "def published_total_2(): pass"],
)
def test_what_does_not(tmp_path, cell):
    assert cells_of(one(tmp_path, notebook([cell]))) == []


def test_the_digest_changes_with_names_and_bytes_and_with_nothing_else(tmp_path):
    def digest(files, time=1):
        [submission] = collect(
            write(Path(os.fsencode(tmp_path / str(random.random())).decode()), files, time)
        )
        return submission.digest
    base = digest({"ada/x.ipynb": b"1", "ada/y.ipynb": b"2"})
    assert base == digest({"ada/y.ipynb": b"2", "ada/x.ipynb": b"1"}, time=99)
    others = [
        digest(f)
        for f in (
            {"ada/x.ipynb": b"12", "ada/y.ipynb": b""},
            {"ada/x.ipynb": b"1", "ada/z.ipynb": b"2"},
            {"ada/x.ipynb": b"1"},
        )
    ]
    assert len({base, *others}) == 4


def test_times_beyond_all_calendars(tmp_path):
    path = write(tmp_path, {"ada.ipynb": notebook()}) / "ada.ipynb"
    os.utime(path, (-5, -5))
    assert collect(tmp_path)[0].modified == 0
    os.utime(path, (2**33, 2**33))
    assert 0 < collect(tmp_path)[0].modified <= 253402300799


def test_a_class_of_a_thousand_does_not_stay_in_memory(tmp_path):
    data = notebook(["x = 1  # " + "y" * 50_000, *CELLS])
    write(tmp_path, {f"{i:04}.ipynb": data for i in range(300)})
    submissions = collect(tmp_path)
    tracemalloc.start()
    assert all(cells_of(s) for s in submissions)
    assert tracemalloc.get_traced_memory()[0] < 3e6
    tracemalloc.stop()


# what any bytes and any structures give: a submission, with notes that are one sentence each
def harmless(folder, data):
    submission = one(folder, data, random.Random(data).choice(["ada.ipynb", "submission-02-ada.json"]))
    assert all(
        isinstance(c, str) and c.encode() is not None
        for id in ("02.1", "x")
        for c in submission.cells(id, NAME)
    )
    assert all(note.endswith(".") and note.isprintable() for note in submission.notes), submission.notes
    assert submission.learner == "ada" and len(submission.digest) == 64
    json.dumps([submission.files, submission.notes, submission.modified], ensure_ascii=False).encode()


@settings(max_examples=400)
@given(st.binary(max_size=300))
def test_random_bytes(tmp_path_factory, data):
    harmless(tmp_path_factory.mktemp("in"), data)


@settings(max_examples=400)
@given(st.data())
def test_a_notebook_with_random_damage(tmp_path_factory, data):
    text = bytearray(data.draw(st.sampled_from([notebook(), answers()])))
    for _ in range(data.draw(st.integers(1, 5))):
        place = data.draw(st.integers(0, len(text)))
        text[place:place + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    harmless(tmp_path_factory.mktemp("in"), bytes(text))


KEYS = st.sampled_from(
    ["cells", "worksheets", "cell_type", "source", "input", "format", "answers", "02.1", "metadata", "id"]
)
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(st.characters(exclude_categories=()), max_size=9),
    st.sampled_from(["code", "cmlib-submission-1", "check('02.1', x)", "02.1"]),
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=30,
)
CELL = (
    st.fixed_dictionaries({"cell_type": st.just("code") | VALUES, "source": st.lists(LEAVES) | VALUES})
    | VALUES
)
NOTEBOOK = st.fixed_dictionaries(
    {"cells": st.lists(CELL, max_size=4) | VALUES}, optional={"worksheets": VALUES}
)
OWN = st.fixed_dictionaries(
    {"format": st.just("cmlib-submission-1"), "answers": st.dictionaries(KEYS | st.text(max_size=5), VALUES)}
)


@settings(max_examples=400)
@given(st.one_of(VALUES, NOTEBOOK, OWN))
def test_random_structures(tmp_path_factory, value):
    harmless(tmp_path_factory.mktemp("in"), json.dumps(value).encode())


@given(
    st.text(max_size=400),
    st.sampled_from(["check(", "check('02.1'", " \n", "published_total", "def ", "a", "="]),
    st.integers(1, 3000),
)
def test_text_searches_stay_linear(text, piece, times):
    source = reading.Source("x", 0.0, (text, piece * times, piece * times + text))
    assert isinstance(source.ids | source.names, frozenset) and source.looks_answered("02.1", NAME) in (
        True,
        False,
    )


@pytest.mark.parametrize("source", author.sources(), ids=lambda source: source.stem)
@pytest.mark.parametrize("solved", [False, True], ids=["learner", "solved"])
def test_the_course_itself(tmp_path, source, solved):
    from cmlib.check import exercises

    book = author.build(source, solved)
    submission = one(tmp_path, json.dumps(book).encode(), "ada.ipynb")
    expected = ["".join(c["source"]) for c in book["cells"] if c["cell_type"] == "code"]
    for e in exercises(source.name[:2]):
        assert submission.cells(e.id, e.name) == expected and not submission.notes
        assert submission.sources[0].looks_answered(e.id, e.name) == solved or e.id in (
            "03.1",
            "03.3",
        )
