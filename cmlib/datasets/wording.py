"""How a table's problems are put into words: values cut short, names that were meant."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from difflib import get_close_matches

SHOWN = 5  # problems in one message
INVISIBLE = dict.fromkeys(map(ord, "\u200b\u200c\u200d\u2060\ufeff\u00ad"))  # zero-width signs, soft hyphen


def short(value, most: int = 60) -> str:
    """repr of a value, cut in the middle where it is long."""
    shown = repr(value)
    if len(shown) <= most:
        return shown
    return f"{shown[: most - 20]} … {shown[-15:]} ({len(shown):,} characters)"


def listed(names: Iterable, most: int = 8) -> str:
    """'cat', 'cow', 'dog': eight at most, and how many there are in all."""
    names = list(names)
    more = f", … ({len(names):,} in all)" if len(names) > most else ""
    return ", ".join(short(name) for name in names[:most]) + more


def plain(text: str) -> str:
    """What a reader sees of a text: composed, lower case, single spaces, nothing invisible."""
    return " ".join(unicodedata.normalize("NFKC", text).translate(INVISIBLE).casefold().split())


def meant(value: str, names: Iterable[str]) -> str:
    """"; did you mean 'dog'?" of the name that is nearest, or nothing."""
    by_plain = {}
    for name in names:
        by_plain.setdefault(plain(name), name)
    near = get_close_matches(plain(value)[:200], by_plain, 1)
    return f"; did you mean {short(by_plain[near[0]])}?" if near else ""


def sentence(text: str) -> str:
    """With one full stop or question mark at its end."""
    return text if text.endswith("?") else text.rstrip(".") + "."


def problems_of(name: str, problems: list[str]) -> str:
    """The message for what is wrong with a table: one sentence, or the first five of several."""
    if len(problems) == 1:
        return sentence(f"{name}, {problems[0]}")
    lines = "".join(f"\n  {problem};" for problem in problems[:SHOWN])
    shown = f"first {SHOWN} of {len(problems):,}" if len(problems) > SHOWN else f"{len(problems)}"
    header = "" if name.lower().endswith(("json", "jsonl")) else " (row 1 is the header)"
    return f"{name} was not loaded; its {shown} problems{header}:{lines.rstrip(';')}."
