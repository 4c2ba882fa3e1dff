"""Search: average precision and thresholds against the obvious, tags of cells, the index, what is refused."""

from itertools import permutations

import pytest
import torch
from torchmetrics.functional.retrieval import retrieval_average_precision

from cmlib.data import States
from cmlib.delivery.search_index import InvertedFile, ProductCodes, k_means, nearest_centre
from cmlib.evaluation.average_precision import average_precision
from cmlib.evaluation.thresholds import cheapest_thresholds
from cmlib.models.cell_tags import CellTags, at_one_cell


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def by_orders(scores, relevant):
    """The mean over all orders of the gallery, each sorted stably."""
    found = []
    for order in permutations(range(len(scores))):
        ranked = sorted(order, key=lambda row: -scores[row])
        hits = [relevant[row] for row in ranked]
        found.append(sum(sum(hits[:k + 1]) / (k + 1) for k, hit in enumerate(hits) if hit) / sum(hits))
    return sum(found) / len(found)


@pytest.mark.parametrize("rows", [1, 2, 5, 7])
@pytest.mark.parametrize("values", [1, 2, 3, 50])
def test_average_precision_is_the_mean_over_all_orders_of_what_ties(rows, values):
    draw = torch.Generator().manual_seed(10 * rows + values)
    scores = torch.randint(values, (3, rows), generator=draw).double()
    relevant = torch.rand(3, rows, generator=draw) < 0.5
    relevant[torch.arange(3), torch.randint(rows, (3,), generator=draw)] = True
    want = [by_orders(*map(torch.Tensor.tolist, pair)) for pair in zip(scores, relevant, strict=True)]
    torch.testing.assert_close(average_precision(scores, relevant), torch.tensor(want, dtype=torch.float64))


def test_average_precision_without_ties_is_that_of_torchmetrics():
    scores, relevant = drawn(5, 400), drawn(5, 400, seed=1) > 1

    def theirs(scores):
        return torch.stack([retrieval_average_precision(*pair)
                            for pair in zip(scores, relevant, strict=True)])

    found = average_precision(scores, relevant).float()
    torch.testing.assert_close(found, theirs(scores.exp()))
    # as lesson 18 says: what scores 0 or less is there not relevant, wherever it stands
    assert (found - theirs(scores)).abs().max() > 0.01


def test_equal_scores_have_about_the_share_of_what_is_relevant():
    relevant = torch.arange(1000) % 4 == 0
    assert average_precision(torch.zeros(1, 1000), relevant[None]).item() == pytest.approx(0.25, abs=0.01)


@pytest.mark.parametrize("scores, relevant, error, says", [
    (torch.ones(3), torch.ones(3).bool(), TypeError, "as float (queries, gallery); got float32 (3,)"),
    (torch.ones(2, 3), torch.ones(2, 3), TypeError, "must be bool (2, 3) like the scores; got float32"),
    (torch.ones(2, 0), torch.ones(2, 0).bool(), ValueError, "The scores are (2, 0): there is nothing"),
    (torch.tensor([[1.0, torch.nan]]), torch.ones(1, 2).bool(), ValueError, "query 0 have nan"),
    (torch.ones(2, 2), torch.tensor([[True, False], [False, False]]), ValueError, "Query 1 has no relevant"),
])
def test_what_has_no_average_precision_is_refused_in_one_sentence(scores, relevant, error, says):
    with pytest.raises(error) as raised:
        average_precision(scores, relevant)
    assert says in str(raised.value) and "\n" not in str(raised.value)


def test_the_cheapest_threshold_of_each_tag_is_the_first_of_the_cheapest():
    scores, truth = drawn(30, 4).mul(3).round() / 3, drawn(30, 4, seed=1) > 0.3
    candidates = torch.tensor([0.0, 1 / 3, -1.0, 2.0, 9.0])
    got = cheapest_thresholds(scores, truth, candidates, 3, 1)
    for tag in range(4):
        costs = [sum(3 * (y and s < t) + (s >= t and not y)
                     for s, y in zip(scores[:, tag].tolist(), truth[:, tag].tolist(), strict=True))
                 for t in candidates.tolist()]
        assert got[tag] == candidates[costs.index(min(costs))]
    with pytest.raises(ValueError, match=r"truth as bool of the same shape; got float32 \(30, 4\) and float"):
        cheapest_thresholds(scores, scores, candidates, 3, 1)


def test_honest_probabilities_are_cut_at_the_formula():
    draw = torch.Generator().manual_seed(0)
    p = torch.rand(200_000, 1, generator=draw)
    truth = torch.rand(200_000, 1, generator=draw) < p
    found = cheapest_thresholds(p, truth, torch.arange(1, 100) / 100, 4.0, 1.0)
    assert found.item() == pytest.approx(1 / 5, abs=0.03)


def test_a_photo_has_the_tag_of_its_best_cell():
    torch.manual_seed(0)
    model, states = CellTags(6, 5, hidden_size=7), States({"image": drawn(4, 3, 6)})
    logits = model(states)
    for photo in range(4):
        cells = torch.stack([model.net(cell) for cell in states.states["image"][photo]])
        torch.testing.assert_close(logits[photo], cells.max(0).values)
    logits[0, 2].backward()
    assert model.net[3].weight.grad.abs().sum(1).nonzero().flatten().tolist() == [2]


def test_two_tags_of_one_cell():
    first, second = drawn(3, 5, 2), drawn(3, 5, 4, seed=1)
    want = torch.einsum("bxc,bxk->bxck", first.sigmoid(), second.sigmoid()).amax(1)
    torch.testing.assert_close(at_one_cell(first, second), want)
    with pytest.raises(ValueError, match=r"the same cells; got float32 \(3, 5, 2\) and float32 \(3, 4, 4\)"):
        at_one_cell(first, second[:, :4])


def test_k_means_leaves_nobody_nearer_to_another_centre():
    rows = torch.cat([drawn(50, 3, seed=k) / 10 + 5 * torch.eye(3)[k] for k in range(3)])
    centres = k_means(rows, 3, steps=20, seed=1)
    near = torch.cdist(rows, centres).argmin(1)
    assert torch.equal(near, nearest_centre(rows, centres))
    for k in range(3):
        torch.testing.assert_close(centres[k], rows[near == k].mean(0), atol=1e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="151 centres of 150 vectors: choose 1 to 150"):
        k_means(rows, 151)


def test_an_inverted_file_finds_what_stands_in_the_nearest_lists():
    rows, queries = drawn(200, 8), drawn(10, 8, seed=1)
    index = InvertedFile(rows, 9)
    lists = nearest_centre(rows, index.centres)
    assert torch.equal(index.rows.sort().values, torch.arange(200))
    for query in queries:
        assert torch.equal(index.search(query, 5, 9), (rows @ query).topk(5).indices)
        assert torch.equal(index.search(query, 5, 99), (rows @ query).topk(5).indices)
        for probes in (1, 3):
            near = (index.centres @ query).topk(probes).indices.tolist()
            inside = [row for row in range(200) if lists[row].item() in near]
            inside.sort(key=lambda row, query=query: -(rows[row] @ query).item())
            assert index.search(query, 5, probes).tolist() == inside[:5]
    alone = InvertedFile(rows[:1], 1)  # a gallery of one
    assert alone.search(queries[0]).tolist() == [0]


def test_codes_are_the_nearest_centres_and_scores_their_inner_products():
    rows, query = drawn(300, 12), drawn(12, seed=1)
    codes = ProductCodes(rows, 4, n_centres=16)
    assert codes.codes.shape == (4, 300) and codes.codes.dtype == torch.uint8
    for row in range(0, 300, 37):
        score = 0.0
        for part in range(4):
            piece = rows[row, 3 * part:3 * part + 3]
            near = (codes.centres[part] - piece).norm(dim=1).argmin()
            assert near == codes.codes[part, row]
            score += (codes.centres[part, near] @ query[3 * part:3 * part + 3]).item()
        assert codes.scores(query)[row].item() == pytest.approx(score, abs=1e-5)
    exact = ProductCodes(rows[:10], 4)  # as many centres as rows: nothing is lost
    torch.testing.assert_close(exact.scores(query), rows[:10] @ query)
    with pytest.raises(ValueError, match="Vectors of 12 numbers cannot be cut into 5 equal parts"):
        ProductCodes(rows, 5)
    with pytest.raises(ValueError, match="n_centres=300: a code is one byte, and numbers 1 to 256 centres"):
        ProductCodes(rows, 4, 300)
    with pytest.raises(ValueError, match="probes=0 lists and k=10 rows: 1 or more of each"):
        InvertedFile(rows, 3).search(query, probes=0)
