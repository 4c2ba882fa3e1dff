"""Trees of tensors: what a model may return and a task may keep, and how parts of it become one again."""

from dataclasses import dataclass, field
from typing import NamedTuple

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from cmlib.data.tree import cat, interleave, leaves, map_tensors


class Point(NamedTuple):
    x: torch.Tensor
    y: torch.Tensor | None


@dataclass(frozen=True)
class Box:
    corners: torch.Tensor
    rows: torch.Tensor = field(metadata={"stays": True})
    words: list = field(default_factory=list)


def tree(rows: range):
    """Every form at once; row k holds the number k."""
    k = torch.tensor(list(rows), dtype=torch.float64)
    return {
        "plain": k,
        "pair": (k[:, None], {"deep": k.long()}),
        "point": Point(k[:, None, None], None),
        "box": Box(k[:, None].expand(-1, 4), k.long(), [f"word {i}" for i in rows]),
        "words": [f"word {i}" for i in rows],
        "nothing": None,
        "temperature": torch.tensor(0.07),
    }


def same(a, b):
    assert type(a) is type(b)
    for ours, theirs in zip(leaves(a), leaves(b), strict=True):
        assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype
    assert a["words"] == b["words"] and a["box"].words == b["box"].words
    assert isinstance(a["point"], Point) and a["point"].y is None and a["nothing"] is None


def test_every_tensor_is_changed_and_everything_else_stays():
    before = tree(range(3))
    after = map_tensors(lambda tensor: tensor + 1, before)
    assert [t.flatten()[0].item() for t in leaves(after)] == pytest.approx([1, 1, 1, 1, 1, 1.07])
    same(map_tensors(lambda tensor: tensor - 1, after) | {"temperature": before["temperature"]}, before)
    assert after["box"].rows is before["box"].rows  # read on the host: it never moves
    assert map_tensors(lambda tensor: tensor, "a word") == "a word"


def test_leaves_come_in_the_order_of_names_and_fields():
    shapes = [tuple(tensor.shape) for tensor in leaves(tree(range(2)))]
    assert shapes == [(2,), (2, 1), (2,), (2, 1, 1), (2, 4), ()]
    assert not list(leaves({"a": None, "b": ["word"]}))


def test_what_transformers_models_return_keeps_its_names():
    from transformers.modeling_outputs import BaseModelOutput

    found = map_tensors(lambda t: t * 2, BaseModelOutput(last_hidden_state=torch.ones(2, 3)))
    assert torch.equal(found.last_hidden_state, torch.full((2, 3), 2.0)) and found.hidden_states is None
    assert torch.equal(cat([found, found]).last_hidden_state, torch.full((4, 3), 2.0))


@given(cuts=st.lists(st.integers(1, 4), min_size=1, max_size=4))
def test_cat_puts_the_rows_after_one_another(cuts):
    starts = [sum(cuts[:i]) for i in range(len(cuts))]
    parts = [tree(range(start, start + n)) for start, n in zip(starts, cuts, strict=True)]
    same(cat(parts), tree(range(sum(cuts))))


@given(n=st.integers(1, 12), size=st.integers(1, 4))
def test_interleave_deals_the_rows_back_as_processes_took_them(n, size):
    size = min(n, size)
    same(interleave([tree(range(rank, n, size)) for rank in range(size)], n), tree(range(n)))


def test_rows_of_different_shapes_are_one_sentence():
    with pytest.raises(
        ValueError, match=r"^Rows of different shapes cannot be put together \(\(2, 3\), \(2, 5\)\): pad"
    ):
        cat([{"words": torch.ones(2, 3)}, {"words": torch.ones(2, 5)}])
    with pytest.raises(ValueError, match="^Rows of different shapes"):
        interleave([torch.ones(2, 3), torch.ones(2, 5)], 4)
    ragged = cat([[torch.ones(3)], [torch.ones(5)]])  # a list has one entry a row, of any shape
    assert [len(row) for row in ragged] == [3, 5]
