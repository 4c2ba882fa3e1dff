"""Tasks: what a model is trained for and how it is scored."""

from cmlib.tasks.base import Task
from cmlib.tasks.classify import Classify
from cmlib.tasks.contrast import Contrast
from cmlib.tasks.regress import Regress
from cmlib.tasks.tag import Tag

__all__ = ["Classify", "Contrast", "Regress", "Tag", "Task"]
