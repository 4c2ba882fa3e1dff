"""What a class did, in numbers for the page: distribution, exercises from the hardest on, commonest
mistakes.
"""

from __future__ import annotations

import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from itertools import groupby

from cmlib.grade.tables import Row

STATES = {
    "passed": "passed",
    "partial": "partly right",
    "failed": "failed",
    "error": "did not run",
    "open": "not answered",
    "missing": "not handed in",
    "needs a human": "waiting for a human",
}
NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?!\w)")


def histogram(rows: list[Row], bins: int = 10) -> dict:
    """Learners by share of the points before lateness: heights for a drawing of 100, counts, and the sentence
    that says the same.

    Only learners whose points are final: whoever waits for a human is not in it.
    """
    shares = sorted(row.points / row.of for row in rows if row.of and row.state != "needs a human")
    counts = Counter(min(bins - 1, int(share * bins + 1e-9)) for share in shares)
    most = max(counts.values(), default=1)
    bars = [
        {
            "low": 100 * i // bins,
            "high": 100 * (i + 1) // bins,
            "count": counts[i],
            "height": round(100 * counts[i] / most, 2),
        }
        for i in range(bins)
    ]
    return {"bars": bars, "n": len(shares), "median": statistics.median(shares) if shares else None,
            "mean": statistics.fmean(shares) if shares else None}


def exercises(rows: list[Row], known: Iterable, seconds: Mapping[str, list[float]]) -> list[dict]:
    """For every exercise: states, mean share of its points, its commonest mistake, median seconds; the lowest
    share first.
    """
    found = []
    for one in known:
        entries = [row.exercises[one.id] for row in rows if one.id in row.exercises]
        judged = [e["points"] / e["of"] for e in entries if e["of"] and e["state"] != "needs a human"]
        states = Counter(e["state"] for e in entries)
        worst = mistakes(rows, [one.id], 1)
        found.append(
            {
                "id": one.id,
                "title": one.title,
                "points": one.points,
                "share": statistics.fmean(judged) if judged else None,
                "n": len(entries),
                "states": [
                    (state, label, states[state], 100 * states[state] / len(entries))
                    for state, label in STATES.items()
                    if states[state]
                ],
                "mistake": worst[0] if worst else None,
                "seconds": statistics.median(seconds[one.id]) if seconds.get(one.id) else None,
            }
        )
    return sorted(
        found, key=lambda e: (e["share"] is None, e["share"] if e["share"] is not None else 0, e["id"])
    )


def mistakes(rows: list[Row], ids: Iterable[str], most: int) -> list[dict]:
    """The commonest sentences. Those that differ in their numbers alone ("off by up to 0.31") are counted
    together, with … for the number.
    """
    seen: dict[tuple[str, str], Counter] = defaultdict(Counter)
    for row in rows:
        for id in ids:
            e = row.exercises.get(id)
            if e and e["state"] in ("partial", "failed", "error"):
                seen[id, NUMBER.sub("…", e["message"]).replace("….", "…")][e["message"]] += 1
    found = [
        {
            "id": id,
            "count": sum(texts.values()),
            "sentence": next(iter(texts)) if len(texts) == 1 else pattern,
        }
        for (id, pattern), texts in seen.items()
    ]
    return sorted(found, key=lambda m: (-m["count"], m["id"], m["sentence"]))[:most]


def likenesses(
    found: list[tuple[str, str, str, float]], names: Mapping[str, Row], most: int = 40
) -> list[dict]:
    """Pairs of learners with the exercises that they share, those with the most first."""
    by_pair = [(pair, sorted((id, share) for _, _, id, share in items))
               for pair, items in groupby(sorted(found), key=lambda p: p[:2])]
    ranked = sorted(by_pair, key=lambda p: (-sum(share for _, share in p[1]), p[0]))
    return [{"a": names[a], "b": names[b], "shared": shared} for (a, b), shared in ranked[:most]]
