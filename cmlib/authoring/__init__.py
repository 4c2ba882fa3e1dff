"""For authors: notebooks from their sources."""
