"""One evaluation for every kind of answer."""

from cmlib.evaluation.classification import Metrics, evaluate, score, wilson
from cmlib.evaluation.paired import Paired, paired
from cmlib.tasks.scores import auc, f1, top_k

__all__ = ["Metrics", "Paired", "auc", "evaluate", "f1", "paired", "score", "top_k", "wilson"]
