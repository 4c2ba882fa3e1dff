"""Questions and answers in the layout of VQA v2 (Goyal et al. 2017): one JSON file of questions, one of
annotations, in which ten people have answered each.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from cmlib.data.tokens import most_tokens

from .wording import short

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(number) for number, word in enumerate(_WORDS)} | {"none": "0"}


@dataclass(frozen=True)
class VqaRow:
    """type : how the data set groups the question; answers : what each of the people said, as in the file."""

    question_id: int
    image_id: int
    question: str
    type: str
    answers: tuple[str, ...]


def read_vqa(questions: str | Path, annotations: str | Path) -> list[VqaRow]:
    """The questions of one file with the answers of another, in the order of the questions.

    ValueError names a file that has another layout, a question without a word, one that stands there twice,
    and one that only one of the files has.
    """
    asked, said = _entries(questions, "questions"), _entries(annotations, "annotations")
    for number in asked.keys() ^ said.keys():
        has, lacks = (questions, annotations) if number in asked else (annotations, questions)
        raise ValueError(f"Question {number} stands in {has} and not in {lacks}: the two files are not of "
                         "the same set.")
    if empty := [number for number, one in asked.items() if not one["question"].strip()]:
        raise ValueError(f"Question {empty[0]} in {questions} is empty: write it, or leave it out of both.")
    return [VqaRow(number, one["image_id"], one["question"], said[number].get("question_type", ""),
                   tuple(person["answer"] for person in said[number]["answers"]))
            for number, one in asked.items()]


def _entries(path, name: str) -> dict[int, dict]:
    """The entries of a file by their question_id."""
    try:
        entries = json.loads(Path(path).read_text("utf-8"))[name]
        needs = ("image_id", "question" if name == "questions" else "answers")
        found = {entry["question_id"]: entry | {need: entry[need] for need in needs} for entry in entries}
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f'{path} is not laid out like the {name} of VQA, {{"{name}": [{{"question_id": …, '
                         f'"image_id": …, …}}, …]}} ({type(error).__name__}: {error}).') from None
    if len(found) < len(entries):
        twice = Counter(entry["question_id"] for entry in entries).most_common(1)[0][0]
        raise ValueError(f"{path}: question {twice} stands there more than once.")
    return found


def plain_answer(answer: str) -> str:
    """As the data set writes answers: small letters, digits for number words, no article, no full stop."""
    words = answer.lower().replace(".", " ").split()
    return " ".join(_DIGITS.get(word, word) for word in words if word not in ("a", "an", "the"))


def answer_labels(answers: Sequence[str], known: Sequence[str], unseen: int | None = None) -> torch.Tensor:
    """int64 (rows,), the place of each answer in ``known``, compared as ``plain_answer`` writes them.

    unseen : the label of an answer that is not among them, such as −1, which no model gives. None: ValueError
        says how many there are, and which.
    """
    places = {plain_answer(answer): place for place, answer in reversed(list(enumerate(known)))}
    lost = Counter(answer for answer in answers if plain_answer(answer) not in places)
    if lost and unseen is None:
        some = ", ".join(f"{short(answer)} × {count}" for answer, count in lost.most_common(3))
        raise ValueError(
            f"{lost.total():,} of these {len(answers):,} answers stand in no training row ({some}), and a "
            "model that chooses among known answers cannot give them: leave these rows out in training, and "
            "in a test count them as wrong, with answer_labels(…, unseen=-1)."
        )
    return torch.tensor([places.get(plain_answer(answer), unseen) for answer in answers])


def check_questions(questions: Sequence[str], tokenizer) -> None:
    """ValueError for a question without a word, or with more tokens than the encoder takes."""
    most = most_tokens(tokenizer)
    ids = tokenizer(list(questions), verbose=False)["input_ids"]
    for row, (question, tokens) in enumerate(zip(questions, ids, strict=True)):
        if not question.strip():
            raise ValueError(f"Question {row} is empty: write one, or leave the row out.")
        if len(tokens) > most:
            raise ValueError(f"Question {row} has {len(tokens):,} tokens ({short(question)}), and this "
                             f"encoder takes {most}: what follows would never be read. Shorten it, or take "
                             "text_encoder(…, max_tokens=…) up to the positions that it has.")
