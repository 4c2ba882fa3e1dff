"""Tasks: what a model is trained for and how it is scored."""

from cmlib.tasks.base import Task
from cmlib.tasks.branched import Branched
from cmlib.tasks.classify import Classify
from cmlib.tasks.contrast import Contrast, SigmoidContrast
from cmlib.tasks.regress import Regress
from cmlib.tasks.tag import Tag

__all__ = ["Branched", "Classify", "Contrast", "Regress", "SigmoidContrast", "Tag", "Task"]
