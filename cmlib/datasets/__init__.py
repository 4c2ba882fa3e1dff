"""Real data: public files (``fetch``), emoji with their names (``emoji``), the learner's own rows
(``folder``), one new row (``pair``).
"""

from .checking import SkippedRows
from .emojis import ATTRIBUTION, emoji
from .fetching import fetch
from .folders import folder
from .one import as_pairs, pair
from .sources import SOURCES
from .splits import grouped_split

__all__ = ["ATTRIBUTION", "SOURCES", "SkippedRows", "as_pairs", "emoji", "fetch", "folder", "grouped_split",
           "pair"]
