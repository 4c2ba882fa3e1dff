"""Recall@1 without sorting, against the full sort: CPU-seconds and memory of a search over galleries of 500
to 100,000 rows: python benchmarks/recall.py [largest gallery]

Both take turns, and the best of three counts; memory is the peak of what torch holds beside the similarity.
The full sort is how many programs compute recall: argsort every row, then look for the relevant rows.
"""

import sys
import time

import torch
from torch.profiler import ProfilerActivity, profile

from cmlib.evaluation import recall_at

QUERIES, TURNS = 500, 3


def sorted_recall(similarity, relevant, k=1):
    """Recall@k by a full sort; ties fall as the sort leaves them."""
    order = similarity.argsort(dim=1, descending=True)
    return relevant.gather(1, order)[:, :k].any(1).double().mean().item()


def seconds(way, *args) -> float:
    begun = time.process_time()
    way(*args)
    return time.process_time() - begun


def peak_mb(way, *args) -> float:
    """The most that was allocated at a time, followed allocation by allocation."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        way(*args)
    held = most = 0
    for event in watched.profiler.kineto_results.events():
        if event.name() == "[memory]":
            held += event.nbytes()
            most = max(most, held)
    return most / 1e6


def by_recall(similarity, relevant):
    return recall_at(similarity, 1, relevant)


if __name__ == "__main__":
    torch.set_num_threads(1)
    largest = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    print(f"{QUERIES} queries      counted                sorted")
    for gallery in (size for size in (500, 2_000, 8_000, 30_000, 100_000) if size <= largest):
        draw = torch.Generator().manual_seed(gallery)
        similarity = torch.randn(QUERIES, gallery, generator=draw)
        relevant = torch.randint(gallery // 4, (QUERIES, 1), generator=draw) == torch.arange(gallery) // 4
        args = similarity, relevant
        assert abs(by_recall(*args) - sorted_recall(*args)) < 1e-9  # no ties here
        times = [[seconds(way, *args) for way in (by_recall, sorted_recall)] for _ in range(TURNS)]
        counted, whole = (min(column) for column in zip(*times, strict=True))
        less, more = (peak_mb(way, *args) for way in (by_recall, sorted_recall))
        print(f"gallery {gallery:7,}  {counted:7.3f} s {less:6.0f} MB   {whole:7.3f} s {more:6.0f} MB")
