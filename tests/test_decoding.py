"""Pictures are decoded by as many threads as there are cores, in order, and not further ahead than needed."""

import os
import threading

import pytest

from cmlib.datasets.threads import ahead


@pytest.fixture(params=[1, 5])
def n_cores(request, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(request.param)), raising=False)
    monkeypatch.setattr(os, "process_cpu_count", lambda: request.param, raising=False)
    return request.param


def test_all_cores_decode_whatever_omp_num_threads_says(n_cores):
    meeting = threading.Barrier(n_cores, timeout=20)  # broken if fewer than n_cores threads ever stand in it

    def work(item):
        meeting.wait()
        return item, threading.current_thread().name

    done = [future.result() for future in ahead(work, range(4 * n_cores))]
    assert [item for item, _ in done] == list(range(4 * n_cores))
    assert len({name for _, name in done}) == n_cores


def test_what_nobody_takes_is_not_decoded(n_cores):
    started = []
    coming = ahead(started.append, range(1000))
    next(coming).result()
    coming.close()
    assert len(started) <= 4 * n_cores + 1
