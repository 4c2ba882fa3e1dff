"""Scores of a search. ``recall_at`` stands with the tasks, whose scores it is part of."""

from cmlib.tasks.recall import equal_rows, recall_at

__all__ = ["equal_rows", "recall_at"]
