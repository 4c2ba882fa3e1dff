"""Batches: every row once, the same ones for the same seed, little padding; rows on the device before they
are asked for.
"""

import threading
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cmlib.data.batch import Batch, Features, TextBatch
from cmlib.data.loader import batches, prefetch
from cmlib.data.pairs import Pairs
from cmlib.data.rows import Rows
from cmlib.data.tokens import collate, pad
from cmlib.encoders import text_encoder
from cmlib.training.accumulate import parts_of
from cmlib.training.distributed import Team
from cmlib.training.fit import fit


def draw(seed=0):
    return torch.Generator().manual_seed(seed)


def pairs(n=40, seed=0):
    words = ["is", "this", "the", "blue", "ball", "that", "i", "ordered", "?"]
    lengths = torch.randint(1, 10, (n,), generator=draw(seed)).tolist()
    images = torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=draw(seed))
    return Pairs(images, [" ".join(words[:k]) for k in lengths], torch.arange(n) % 2, ("keep", "refund"))


@given(
    n=st.integers(1, 300),
    size=st.integers(1, 70),
    seed=st.integers(0, 5),
    pool=st.integers(1, 4),
    long=st.booleans(),
)
def test_every_row_exactly_once_and_the_same_batches_for_the_same_seed(n, size, seed, pool, long):
    lengths = torch.randint(1, 100, (n,), generator=draw(seed + 100)) if long else None
    cut = batches(n, size, draw(seed), lengths, pool)
    assert sorted(torch.cat(cut).tolist()) == list(range(n))
    assert len(cut) == -(-n // size) and sorted(map(len, cut))[1:] == [size] * (len(cut) - 1)
    again = batches(n, size, draw(seed), lengths, pool)
    assert all(torch.equal(a, b) for a, b in zip(cut, again, strict=True))


def test_epochs_differ_and_plain_batches_are_one_permutation():
    one = draw()
    first, second = batches(100, 7, one), batches(100, 7, one)
    expected = torch.randperm(100, generator=draw())
    assert torch.equal(torch.cat(first), expected) and not torch.equal(torch.cat(second), expected)


def test_rows_of_like_length_share_a_batch():
    lengths = torch.randint(5, 65, (4000,), generator=draw(1))

    def padding(cut):
        computed = sum(int(lengths[b].max()) * len(b) for b in cut)
        return 1 - lengths.sum().item() / computed

    loose, tight = padding(batches(4000, 32, draw())), padding(batches(4000, 32, draw(), lengths))
    assert loose > 0.4 and tight < 0.03
    firsts = [int(lengths[b].max()) for b in batches(4000, 32, draw(), lengths)[:20]]
    # short ones do not all come first
    assert firsts != sorted(firsts) and firsts != sorted(firsts, reverse=True)
    with pytest.raises(ValueError, match="3 lengths for 4 rows"):
        batches(4, 2, draw(), torch.ones(3))


@pytest.mark.parametrize("index", [torch.arange(40), torch.tensor([7]), torch.tensor([3, 39, 3])])
def test_rows_are_what_collate_makes_of_the_same_pairs(index):
    data, tokenizer = pairs(), text_encoder("bag").tokenizer
    rows, expected = Rows(data, tokenizer)[index], collate(data[index], tokenizer)
    for ours, theirs in (
        (rows.image.pixels, expected.image.pixels),
        (rows.text.input_ids, expected.text.input_ids),
        (rows.text.attention_mask, expected.text.attention_mask),
        (rows.labels, expected.labels),
    ):
        assert torch.equal(ours, theirs) and ours.dtype == theirs.dtype
    assert torch.equal(Rows(data, tokenizer).to("cpu")[index].text.input_ids, rows.text.input_ids)


def blank(texts, **settings):
    """A tokenizer without [CLS] and [SEP]: of spaces nothing is left."""
    return {"input_ids": [[7] * len(text.split()) for text in texts]}


blank.pad_token_id = 0


@pytest.mark.parametrize("read", [Rows, collate])
def test_a_text_of_which_no_token_is_left_is_named_by_row(read):
    data = replace(pairs(12), texts=["a ball"] * 3 + ["  "] + ["a"] * 8)
    with pytest.raises(ValueError, match=r"^Row 3 has no token: its text is '  ', of which the tokenizer "
                                         r"leaves nothing; write a"):
        read(data, blank)
    data = replace(data, texts=["a"] + [""] * 11)
    with pytest.raises(
        ValueError, match=r"^Row 1 \(and 2, 3, 4, 5, 6, 7, 8, …\) has no token: its text is ''"
    ):
        read(data, blank)


def test_a_batch_without_a_valid_token_is_one_sentence():
    ids, mask = torch.ones(4, 3, dtype=torch.int64), torch.ones(4, 3, dtype=torch.int64)
    mask[2] = 0
    with pytest.raises(ValueError, match=r"^Row 2 of a TextBatch has no token: attention_mask is 0 "
                                         r"everywhere, .*; leave the row out"):
        TextBatch(ids, mask)
    with pytest.raises(ValueError, match=r"^Row 0 \(and 1, 2, 3\) of a TextBatch"):
        TextBatch(ids[:, :0], mask[:, :0])
    with pytest.raises(ValueError, match="^Row 1 of a TextBatch"):
        pad([[5], []])
    # never waits
    assert (
        len(TextBatch(ids[:0], mask[:0])) == 0
        and TextBatch(ids.to("meta"), mask.to("meta")).attention_mask.is_meta
    )


def test_a_copy_to_the_cpu_waits_and_one_to_another_device_does_not(monkeypatch):
    asked, move = [], torch.Tensor.to

    def noted(tensor, device, non_blocking=False):
        asked.append((str(device), non_blocking))
        return move(tensor, device)

    monkeypatch.setattr(torch.Tensor, "to", noted)
    batch = TextBatch(torch.ones(2, 3, dtype=torch.int64), torch.ones(2, 3, dtype=torch.int64))
    for device, settings in (("cpu", {}), ("meta", {}), ("cpu", {"non_blocking": True})):
        batch.to(device, **settings)  # two tensors
    assert asked == [("cpu", False)] * 2 + [("meta", True)] * 2 + [("cpu", True)] * 2


class Reads(nn.Module):
    """A model of Pairs that remembers the width of every batch."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.text_encoder, self.head, self.widths = text_encoder("bag", hidden_size=4), nn.Linear(4, 2), []
        self.tokenizer = self.text_encoder.tokenizer

    def forward(self, batch: Batch):
        if self.training:
            self.widths.append(batch.text.input_ids.shape[1])
        return self.head(self.text_encoder(batch.text))


def test_fit_pads_less_when_bucketed():
    def padded(**settings):
        net = Reads()
        fit(net, pairs(200), epochs=2, batch_size=10, progress=False, **settings)
        assert len(net.widths) == 40
        return sum(net.widths)

    assert padded(bucketed=True) < 0.75 * padded()
    with pytest.raises(ValueError, match="Features have none"):
        fit(
            nn.Linear(1, 1),
            Features(torch.ones(4, 1), torch.ones(4, 1), torch.arange(4) % 2),
            epochs=1,
            bucketed=True,
        )


def test_augmentation_changes_training_batches_only():
    def swapped(batch):
        return replace(batch, labels=1 - batch.labels)

    data, settings = pairs(), {"epochs": 3, "batch_size": 20, "progress": False}
    augmented = fit(Reads(), data, data, augment=swapped, **settings)
    expected = fit(Reads(), replace(data, labels=1 - data.labels), data, **settings)
    assert augmented.batch_loss == expected.batch_loss and repr(augmented) == repr(expected)


@given(n=st.integers(1, 60), size=st.integers(1, 6), accumulate=st.integers(1, 5))
def test_the_rows_of_the_processes_are_disjoint_and_complete(n, size, accumulate):
    data = Features(torch.zeros(100, 1), torch.zeros(100, 1), torch.arange(100))
    index = torch.randperm(100, generator=draw(n))[:n]
    own = [
        [
            row
            for part in parts_of(data, index, accumulate, Team(rank, size))
            if part.share
            for row in part.rows.tolist()
        ]
        for rank in range(size)
    ]
    assert sorted(row for rows in own for row in rows) == sorted(index.tolist())
    assert max(map(len, own)) - min(map(len, own)) <= 1


def parts(n=9):
    data = Features(torch.arange(30.).view(30, 1), torch.ones(30, 1), torch.arange(30))
    return lambda item: parts_of(data, torch.tensor([item, item + 1]), 2)


def check_prefetch(device):
    for item, made in enumerate(prefetch(parts(), range(9), device)):
        assert [part.batch.labels.tolist() for part in made] == [[item], [item + 1]]
        assert all(
            part.batch.image.device.type == device.type and part.rows.device.type == "cpu" for part in made
        )
    assert item == 8 and not list(prefetch(parts(), [], device))


def test_prefetch_keeps_the_order_on_a_cpu():
    check_prefetch(torch.device("cpu"))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
def test_prefetch_keeps_the_order_on_a_gpu():
    check_prefetch(torch.device("cuda", 0))
    resident = Features(
        torch.arange(30.0).view(30, 1).cuda(), torch.ones(30, 1).cuda(), torch.arange(30).cuda()
    )
    made = list(prefetch(lambda i: parts_of(resident, torch.tensor([i])), range(5), torch.device("cuda", 0)))
    assert [part.batch.labels.item() for one in made for part in one] == list(range(5))


class Pretend:
    """Stands in for torch.cuda where there is no GPU: the thread, the order and the errors are real, the
    copies are not.
    """

    def __init__(self, *_):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def wait_stream(self, other):
        pass

    def wait_event(self, event):
        pass

    def record_event(self):
        return self


@pytest.fixture
def gpu(monkeypatch):
    for name in ("Stream", "stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Pretend)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda tensor: tensor)
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda tensor, stream: None)
    to = torch.Tensor.to
    monkeypatch.setattr(torch.Tensor, "to", lambda tensor, device, **_: to(tensor, "cpu"))
    return torch.device("cuda", 0)


def test_a_thread_loads_ahead_in_order(gpu):
    begun = []

    def load(item):
        begun.append(item)
        return parts()(item)

    stream = prefetch(load, range(9), gpu, depth=2)
    assert next(stream)[0].batch.labels.tolist() == [0] and threading.active_count() > 1
    assert [made[0].batch.labels.item() for made in stream] == list(range(1, 9)) and begun == list(range(9))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]


def test_a_worker_that_dies_is_heard_at_its_turn_and_leaves_no_thread(gpu):
    def load(item):
        if item == 3:
            raise OSError("the picture of row 3 cannot be read")
        return parts()(item)

    got = []
    with pytest.raises(OSError, match="^the picture of row 3 cannot be read$"):
        for made in prefetch(load, range(9), gpu):
            got.append(made[0].batch.labels.item())
    assert got == [0, 1, 2]
    stream = prefetch(parts(), range(9), gpu)
    next(stream)
    stream.close()  # Ctrl-C in the middle of an epoch
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")]
