"""What an index costs and what it misses, up to a million photos: the log that lesson 18 draws.

    OMP_NUM_THREADS=1 python benchmarks/search_index.py [largest gallery] > data/runs/search_index.json

Some 25 CPU-minutes for a million, most of them for drawing and encoding the photos, which all cores share;
the searches are timed on one thread, query by query, with nothing beside them. The rivals are those of faiss
(pip install faiss-cpu), where it is installed.

Every vector is that of a photo of its own: towers as lesson 18 trains them see toys that are drawn for this
purpose. A query is a photo or a caption that is not of the gallery; recall is the share of its ten nearest
rows that an index also gives among its ten.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import time
from importlib.util import find_spec

import torch
from torch.nn.functional import normalize

from cmlib import FusionModel, fit, image_encoder, predict, text_encoder
from cmlib.data import Pairs
from cmlib.delivery.search_index import InvertedFile, ProductCodes
from cmlib.models import TwoTowers
from cmlib.tasks import Contrast
from cmlib.training.predict import extract_states
from cmlib.worlds import Toys

GALLERIES, QUERIES, K, PART = (10_000, 100_000, 1_000_000), 200, 10, 5_000
LISTS = {10_000: 64, 100_000: 256, 1_000_000: 1024}
PROBES = (1, 4, 16, 64)


def two_models():
    """The frozen encoders, and the towers of lesson 18 on them."""
    torch.manual_seed(0)
    encoders = FusionModel(image_encoder("mini"), text_encoder("mini"), 2)
    rows = extract_states(encoders, Toys().sample(4000))
    torch.manual_seed(0)
    towers = TwoTowers(128, 128, cells=16)
    fit(towers, rows, task=Contrast(), epochs=9, batch_size=256, learning_rate=3e-3, progress=False)
    return encoders, towers


def photos(part: int) -> torch.Tensor:
    """Vectors of PART toys that belong to no lesson, (PART, 128); in a process that `begin` has prepared."""
    pairs = Toys().sample(PART, "index", start=part * PART)
    rows = extract_states(_models[0], Pairs(pairs.images, None))
    return normalize(predict(_models[1], rows)["image"], dim=1)


def begin(models) -> None:
    global _models
    torch.set_num_threads(1)
    _models = models


def vectors(models, n: int) -> torch.Tensor:
    context = torch.multiprocessing.get_context("spawn")
    with context.Pool(os.cpu_count(), begin, (models,)) as pool:
        found = []
        for some in pool.imap(photos, range(-(-n // PART))):
            found.append(some.clone())  # out of shared memory, of which there may be little
            print(f"{len(found) * PART:,} photos", file=sys.stderr, flush=True)
    return torch.cat(found)[:n].contiguous()


class Timer:
    """CPU-seconds of what stands in its block."""

    def __enter__(self):
        self.begun = time.process_time()
        return self

    def __exit__(self, *_):
        self.seconds = round(time.process_time() - self.begun, 2)


def measured(name, search, queries, truth, size, build=0.0, probes=0) -> dict:
    """One row of the log. search(query) → the K nearest rows; size : bytes a row."""
    row = {"name": name, "probes": probes, "bytes": size, "build": build}
    for half, some in queries.items():
        took, found = [], []
        for query, wanted in zip(some, truth[half], strict=True):
            begun = time.perf_counter()
            rows = search(query)
            took.append(time.perf_counter() - begun)
            found.append(len(set(rows.tolist()) & set(wanted.tolist())) / K)
        milliseconds = 1e3 * statistics.median(took)
        row[half] = {"recall": round(statistics.fmean(found), 4), "ms": round(milliseconds, 3)}
    print(row, file=sys.stderr, flush=True)
    return row


def ours(gallery, queries, truth) -> list[dict]:
    n, size = gallery.shape
    found = [measured("exact", lambda query: (gallery @ query).topk(K).indices, queries, truth, 4 * size)]
    with Timer() as timer:
        lists = InvertedFile(gallery, LISTS[n])
    found += [measured("inverted file", lambda query, p=p: lists.search(query, K, p), queries, truth,
                       4 * size + 8, timer.seconds, p) for p in PROBES]
    with Timer() as timer:
        codes = ProductCodes(gallery, 16)

    def again(query, most=100):
        some = codes.scores(query).topk(most).indices
        return some[(gallery[some] @ query).topk(K).indices]

    found.append(measured("codes", lambda query: codes.scores(query).topk(K).indices, queries, truth, 16,
                          timer.seconds))
    found.append(measured("codes, best 100 again", again, queries, truth, 16 + 4 * size, timer.seconds))
    return found


def rivals(gallery, queries, truth) -> list[dict]:
    """faiss on the same vectors, built with all cores, asked on one."""
    import faiss

    n, size = gallery.shape
    data, found = gallery.numpy(), []

    def ask(name, index, size, build, probes=0):
        faiss.omp_set_num_threads(1)
        found.append(measured(f"faiss {name}", lambda query: index.search(query[None].numpy(), K)[1][0],
                              queries, truth, size, build, probes))

    def built(index):
        faiss.omp_set_num_threads(os.cpu_count())
        with Timer() as timer:
            index.train(data[:200_000])
            index.add(data)
        return timer.seconds

    flat = faiss.IndexFlatIP(size)
    ask("exact", flat, 4 * size, built(flat))
    lists = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, LISTS[n], faiss.METRIC_INNER_PRODUCT)
    seconds = built(lists)
    for probes in PROBES:
        lists.nprobe = probes
        ask("inverted file", lists, 4 * size + 8, seconds, probes)
    codes = faiss.IndexPQ(size, 16, 8, faiss.METRIC_INNER_PRODUCT)
    ask("codes", codes, 16, built(codes))
    graph = faiss.IndexHNSWFlat(size, 16, faiss.METRIC_INNER_PRODUCT)
    seconds = built(graph)
    for width in (16, 64, 256):
        graph.hnsw.efSearch = width
        ask("graph (HNSW)", graph, 4 * size + 4 * 2 * 16, seconds, width)
    return found


def main(largest: int = GALLERIES[-1]):
    models = two_models()
    torch.set_num_threads(1)
    asked = Toys().sample(QUERIES, "index queries")
    states = extract_states(models[0], asked)
    queries = {half: normalize(some, dim=1) for half, some in predict(models[1], states).items()
               if half != "scale"}
    gallery, log = vectors(models, largest), {}
    for n in (size for size in GALLERIES if size <= largest):
        some = gallery[:n].clone()
        truth = {half: (rows @ some.T).topk(K).indices for half, rows in queries.items()}
        log[n] = ours(some, queries, truth) + (rivals(some, queries, truth) if find_spec("faiss") else [])
    json.dump({"processor": platform.processor(), "torch": torch.__version__, "size": gallery.shape[1],
               "queries": QUERIES, "galleries": log}, sys.stdout, indent=1)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
