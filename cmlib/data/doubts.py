"""What is not wrong but rarely meant, said once: words that a tokenizer does not know, texts that are cut."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

MOST_UNKNOWN = 0.2  # of the tokens of a set
_said: set[tuple] = set()


def say_once(key: tuple, message: str, kind=UserWarning) -> None:
    """A warning, the first time only: three splits of a table, or three models of a set, share a doubt."""
    if (key, message) not in _said:
        _said.add((key, message))
        warnings.warn(message, kind, stacklevel=4)


def doubt_texts(texts: Sequence[str], ids: Sequence[list[int]], tokenizer, max_tokens: int) -> None:
    """One warning where more than 20 % of the tokens are unknown, one where texts are cut.

    ids : of each text, cut at max_tokens, as ``tokenise`` gives them
    """
    key = (len(texts), texts[0][:200], texts[-1][:200])
    for said in (_unknown(texts, ids, tokenizer), _cut(texts, ids, tokenizer, max_tokens)):
        if said:
            say_once(key, said)


def _unknown(texts, ids, tokenizer) -> str | None:
    sign, special = getattr(tokenizer, "unk_token_id", None), set(getattr(tokenizer, "all_special_ids", ()))
    if sign is None:
        return None
    lost = [row.count(sign) for row in ids]
    tokens = sum(sum(i == sign or i not in special for i in row) for row in ids)
    if sum(lost) <= MOST_UNKNOWN * tokens:
        return None
    row = lost.index(max(lost))
    return (
        f"{sum(lost) / tokens:.0%} of the tokens of these {len(ids):,} texts are unknown to the tokenizer "
        f"(row {row}: {texts[row][:60]!r}), and to the model they are all one word: take a text encoder that "
        'knows the language, such as text_encoder("bert-base-multilingual-cased").'
    )


def _cut(texts, ids, tokenizer, max_tokens: int) -> str | None:
    full = [row for row, found in enumerate(ids) if len(found) >= max_tokens]
    if not full:
        return None
    whole = tokenizer([texts[row] for row in full], verbose=False)["input_ids"]
    cut = {row: len(found) for row, found in zip(full, whole, strict=True) if len(found) > max_tokens}
    if not cut:
        return None
    row = max(cut, key=cut.get)
    return (
        f"{len(cut):,} of these {len(ids):,} texts are longer than {max_tokens} tokens (row {row}: "
        f"{cut[row]:,}) and are cut there: what follows is never read. Put what matters first, or take a "
        "text encoder with more positions: text_encoder(…, max_tokens=512)."
    )
