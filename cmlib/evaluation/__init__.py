"""One evaluation for every kind of answer."""

from cmlib.evaluation.classification import Metrics, evaluate, score, wilson

__all__ = ["Metrics", "evaluate", "score", "wilson"]
