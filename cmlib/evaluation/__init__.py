"""One evaluation for every kind of answer."""

from cmlib.evaluation.classification import Metrics, evaluate, score, wilson
from cmlib.evaluation.paired import Paired, paired
from cmlib.evaluation.retrieval import equal_rows, recall_at
from cmlib.tasks.scores import auc, f1, top_k

__all__ = [
    "Metrics", "Paired", "auc", "equal_rows", "evaluate", "f1", "paired", "recall_at", "score", "top_k",
    "wilson",
]
