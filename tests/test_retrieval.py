"""Recall at k against counting over every order of the rows that tie; equal rows; what is refused."""

from itertools import permutations

import pytest
import torch

from cmlib.evaluation.retrieval import equal_rows, recall_at
from cmlib.tasks import recall


def by_orders(similarity, k, relevant):
    """The share of queries found, averaged over all orders of the gallery, each sorted stably."""
    n, total, orders = similarity.shape[1], 0.0, list(permutations(range(similarity.shape[1])))
    for order in orders:
        order = list(order)
        for row, wanted in zip(similarity[:, order].tolist(), relevant[:, order].tolist(), strict=True):
            first = sorted(range(n), key=lambda j: -row[j])[:k]
            total += any(wanted[j] for j in first)
    return total / len(orders) / len(similarity)


@pytest.mark.parametrize("queries, gallery", [(6, 6), (3, 5), (7, 2), (1, 1)])
@pytest.mark.parametrize("values", [1, 2, 3, 100])
def test_recall_is_the_mean_over_all_orders_of_what_ties(queries, gallery, values):
    draw = torch.Generator().manual_seed(queries * 10 + values)
    similarity = torch.randint(values, (queries, gallery), generator=draw).double()
    relevant = torch.rand(queries, gallery, generator=draw) < 0.4
    relevant[torch.arange(queries), torch.randint(gallery, (queries,), generator=draw)] = True
    for k in range(1, gallery + 1):
        assert recall_at(similarity, k, relevant) == pytest.approx(by_orders(similarity, k, relevant))
    assert recall_at(similarity, gallery, relevant) == 1


def test_without_relevant_a_query_looks_for_its_own_row(monkeypatch):
    similarity = torch.randint(3, (7, 7), generator=torch.Generator().manual_seed(0)).float()
    whole = recall_at(similarity, 2)
    assert whole == pytest.approx(recall_at(similarity, 2, torch.eye(7, dtype=torch.bool)))
    monkeypatch.setattr(recall, "AT_ONCE", 15)  # two queries at a time, and a last one alone
    assert recall_at(similarity, 2) == pytest.approx(whole)


@pytest.mark.parametrize("k", [1, 10, 500])
def test_equal_scores_find_k_of_n(k):
    assert recall_at(torch.ones(500, 500), k) == pytest.approx(k / 500)
    assert recall_at(torch.full((500, 500), -torch.inf), k) == pytest.approx(k / 500)


def test_a_large_gallery_loses_no_digits():
    similarity = torch.zeros(3, 100_000)
    assert recall_at(similarity, 10, torch.arange(100_000).expand(3, -1) < 5) == pytest.approx(
        1 - (99_995 / 100_000) ** 10, rel=1e-3)


def test_duplicates_of_the_own_row_count():
    texts = ["a red car", "a blue car", "a red car", "a duck"]
    same = equal_rows(texts)
    assert same.int().tolist() == [[1, 0, 1, 0], [0, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 1]]
    assert torch.equal(same, equal_rows(torch.tensor([7, 3, 7, 1])))
    similarity = same.double()  # texts that say the same lie at the same place
    assert recall_at(similarity) == pytest.approx(0.75)  # the two red cars are found by chance
    assert recall_at(similarity, relevant=same) == 1


@pytest.mark.parametrize("similarity, k, relevant, error, says", [
    (torch.ones(3, 0), 1, None, ValueError, "3 queries and a gallery of 0 rows: there is nothing to find"),
    (torch.ones(0, 3), 1, None, ValueError, "0 queries and a gallery of 3 rows"),
    (torch.ones(3, 3).long(), 1, None, TypeError, "as float (queries, gallery); got int64 (3, 3)"),
    (torch.ones(3), 1, None, TypeError, "as float (queries, gallery); got float32 (3,)"),
    ([[1.0]], 1, None, TypeError, "got list"),
    (torch.ones(3, 3), 0, None, ValueError, "k=0 of a gallery of 3 rows: choose k from 1 to 3"),
    (torch.ones(3, 3), 4, None, ValueError, "k=4 of a gallery of 3 rows"),
    (torch.tensor([[1.0, 2], [torch.nan, 1]]), 1, None, ValueError, "query 1 has nan in it"),
    (torch.ones(3, 4), 1, None, ValueError, "give relevant, bool (queries, gallery)"),
    (torch.ones(3, 3), 1, torch.eye(3), TypeError, "must be bool (3, 3) like the similarity; got float32"),
    (torch.ones(3, 3), 1, torch.eye(2).bool(), TypeError, "got bool (2, 2)"),
    (torch.ones(2, 2), 1, torch.tensor([[True, True], [False, False]]), ValueError,
     "Query 1 has no relevant row in the gallery"),
])
def test_what_cannot_be_searched_is_refused_in_one_sentence(similarity, k, relevant, error, says):
    with pytest.raises(error) as raised:
        recall_at(similarity, k, relevant)
    assert says in str(raised.value) and "\n" not in str(raised.value)


def test_one_text_is_no_list_of_texts():
    with pytest.raises(TypeError, match="got one text, 'a red car'"):
        equal_rows("a red car")
