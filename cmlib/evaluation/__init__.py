"""One evaluation for every kind of answer."""

from cmlib.evaluation.classification import Metrics, evaluate, score, wilson
from cmlib.tasks.scores import auc, f1, top_k

__all__ = ["Metrics", "auc", "evaluate", "f1", "score", "top_k", "wilson"]
