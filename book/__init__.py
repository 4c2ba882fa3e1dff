"""The book: pages from the notebooks, guides and docstrings; `make book` and `make pdf`."""
