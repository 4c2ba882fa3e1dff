"""Real data: files fetched and checked (``fetch``), emoji with their names (``emoji``), the learner's own rows (``folder``)."""

from .emojis import ATTRIBUTION, emoji
from .fetching import SOURCES, fetch
from .splits import grouped_split

__all__ = ["ATTRIBUTION", "SOURCES", "emoji", "fetch", "grouped_split"]
