"""Data as a model is fed it: pairs, typed batches, rows, the loader. Nothing here knows a model."""

from cmlib.data.batch import Batch, Features, ImageBatch, TextBatch
from cmlib.data.loader import batches, prefetch
from cmlib.data.pairs import Pairs
from cmlib.data.rows import Rows
from cmlib.data.states import States
from cmlib.data.tokens import collate, pad, tokenise

__all__ = [
    "Batch",
    "Features",
    "ImageBatch",
    "Pairs",
    "Rows",
    "States",
    "TextBatch",
    "batches",
    "collate",
    "pad",
    "prefetch",
    "tokenise",
]
