"""The course's own WordPiece tokenizer: about 1,500 pieces instead of BERT's 30,522, with BERT's rules and
special tokens.
"""

from __future__ import annotations

import string
from collections.abc import Iterable
from pathlib import Path

from cmlib.encoders.weights import DATA

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
FOLDER = "mini-tokenizer"


def mini_tokenizer(folder: str | Path = DATA / FOLDER):
    """The shipped tokenizer as a ``transformers.BertTokenizer``: lower case, [CLS] words [SEP], [PAD] = 0."""
    vocab = Path(folder) / "vocab.txt"
    if not vocab.is_file():
        raise FileNotFoundError(f"The tokenizer's {vocab} is missing: run `make weights`, or clone the "
                                "course whole.")
    from transformers import BertTokenizer

    pieces = vocab.read_text(encoding="utf-8").split("\n")[:-1]
    return BertTokenizer(
        vocab={piece: i for i, piece in enumerate(pieces)}, do_lower_case=True, model_max_length=128
    )


def train_wordpiece(texts: Iterable[str], vocab_size: int = 2000) -> list[str]:
    """Learn WordPiece (Schuster & Nakajima 2012) from texts: the pieces, in the order of their ids.

    Every letter, digit and mark is always a piece, alone and continuing (##): no word is ever only [UNK].
    """
    from tokenizers import BertWordPieceTokenizer

    signs = string.ascii_lowercase + string.digits + string.punctuation
    tokenizer = BertWordPieceTokenizer(lowercase=True)
    tokenizer.train_from_iterator([*texts, signs], vocab_size=vocab_size - 2 * len(signs), min_frequency=2,
                                  limit_alphabet=1000, special_tokens=list(SPECIAL), show_progress=False)
    learned = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
    always = [*signs, *("##" + sign for sign in signs if sign.isalnum())]
    pieces = [*SPECIAL, *always, *(piece for piece, _ in learned)]
    return list(dict.fromkeys(pieces))
