"""Real data: public files (``fetch``), emoji with their names (``emoji``), the learner's own rows
(``folder``).
"""

from .emojis import ATTRIBUTION, emoji
from .fetching import fetch
from .folders import folder
from .sources import SOURCES
from .splits import grouped_split

__all__ = ["ATTRIBUTION", "SOURCES", "emoji", "fetch", "folder", "grouped_split"]
