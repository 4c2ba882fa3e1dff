"""Fusion and models against the slow and obvious version."""

import copy
import itertools

import pytest
import torch
from torch import nn

from cmlib.data.batch import Batch, Features, ImageBatch, TextBatch
from cmlib.data.pairs import Pairs
from cmlib.fusion import additive_ceiling, additive_part
from cmlib.fusion.concat import Concat
from cmlib.models.fusion_model import FusionModel
from cmlib.models.majority import Majority
from cmlib.training.freeze import freeze
from cmlib.training.predict import extract, predict
from cmlib.worlds import RefundDesk


class Letters:
    """A tokenizer small enough to see through: one id per letter."""

    pad_token_id = 0

    def __call__(self, texts, **_):
        return {"input_ids": [[1 + ord(letter) % 20 for letter in text] for text in texts]}


class Pixels(nn.Module):
    hidden_size, image_size = 5, 8

    def __init__(self):
        super().__init__()
        self.norm, self.linear, self.calls = nn.BatchNorm2d(3), nn.Linear(3, 5), 0

    def forward(self, batch: ImageBatch):
        self.calls += 1
        return self.linear(self.norm(batch.pixels.float() / 255).mean((2, 3)))


class Words(nn.Module):
    hidden_size = 3

    def __init__(self):
        super().__init__()
        self.tokenizer, self.embedding, self.dropout = Letters(), nn.Embedding(30, 3), nn.Dropout(0.5)

    def forward(self, batch: TextBatch):
        mask = batch.attention_mask[..., None]
        return (self.dropout(self.embedding(batch.input_ids)) * mask).sum(1) / mask.sum(1)


def pairs(n=11, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return Pairs(torch.randint(0, 256, (n, 3, 8, 8), generator=draw, dtype=torch.uint8),
                 ["abcdefg"[: 1 + i % 7] for i in range(n)], torch.arange(n) % 2, ("keep", "refund"))


def features(n=6, image=5, text=3):
    draw = torch.Generator().manual_seed(1)
    return Features(
        torch.randn(n, image, generator=draw), 100 * torch.randn(n, text, generator=draw), torch.arange(n) % 2
    )


@pytest.mark.parametrize("normalize", [True, False])
def test_linear_concat_is_one_matrix_on_both_halves_forward_and_gradient(normalize):
    torch.manual_seed(0)
    model, x = Concat(5, 3, 4, head="linear", normalize=normalize), features()
    halves = [x.image, x.text]
    if normalize:
        halves = [
            torch.stack([(row - row.mean()) / (row.var(unbiased=False) + 1e-5).sqrt() for row in half])
            for half in halves
        ]
    weight = model.head.weight.detach().clone().requires_grad_()
    manual = torch.stack(
        [weight @ torch.cat([i, t]) + model.head.bias.detach() for i, t in zip(*halves, strict=True)]
    )
    logits = model(x)
    torch.testing.assert_close(logits, manual)
    logits.square().sum().backward()
    manual.square().sum().backward()
    torch.testing.assert_close(model.head.weight.grad, weight.grad, rtol=1e-4, atol=1e-3)


def test_mlp_head_solves_exclusive_or_and_linear_cannot():
    a, b = torch.randint(0, 2, (2, 400), generator=torch.Generator().manual_seed(0))
    x = Features(nn.functional.one_hot(a, 2).float(), nn.functional.one_hot(b, 2).float(), a ^ b)
    accuracy = {}
    for head in ("linear", "mlp"):
        torch.manual_seed(0)
        model = Concat(2, 2, 2, head=head, normalize=False)
        for _ in range(60):  # gradient descent, written out
            gradient = torch.autograd.grad(
                nn.functional.cross_entropy(model(x), x.labels), list(model.parameters())
            )
            with torch.no_grad():
                for parameter, g in zip(model.parameters(), gradient, strict=True):
                    parameter -= 0.5 * g
        accuracy[head] = (model(x).argmax(1) == x.labels).float().mean().item()
    assert accuracy["mlp"] == 1.0
    assert accuracy["linear"] <= 0.76  # a line puts at most three of the four corners right


def test_the_additive_part_of_a_sum_is_the_sum_and_of_anything_the_nearest_sum():
    draw = torch.Generator().manual_seed(0)
    f, g, any_logits = (torch.randn(*shape, 2, generator=draw, dtype=torch.float64)
                        for shape in ((6, 1), (1, 6), (6, 6)))
    torch.testing.assert_close(additive_part(f + g), (f + g).diagonal().T)
    design = torch.cat([torch.eye(6).repeat_interleave(6, 0), torch.eye(6).repeat(6, 1)], 1).double()
    fitted = design @ torch.linalg.pinv(design) @ any_logits.reshape(36, 2)  # least squares: the nearest sum
    torch.testing.assert_close(additive_part(any_logits), fitted.reshape(6, 6, 2).diagonal().T)


def test_the_linear_head_only_adds_and_the_mlp_does_not():
    torch.manual_seed(0)
    x, n = features(), 6
    every = Features(x.image.repeat_interleave(n, 0), x.text.repeat(n, 1), x.labels.repeat(n))
    for head, adds in (("linear", True), ("mlp", False)):
        logits = Concat(5, 3, 2, head)(every).reshape(n, n, 2)
        assert torch.allclose(additive_part(logits), logits.diagonal().T, atol=1e-5) == adds


def test_the_additive_ceiling_is_the_best_of_all_patterns_without_an_exclusive_or():
    draw = torch.Generator().manual_seed(0)
    for a, b in ((2, 2), (3, 3), (2, 4), (3, 1)):
        table = torch.rand(2, a, b, generator=draw, dtype=torch.float64).square()
        best = 0.0
        for bits in itertools.product((0, 1), repeat=a * b):
            says = torch.tensor(bits).reshape(a, b)
            rows = [{int(j) for j in row.nonzero()} for row in says]
            if all(one <= other or other <= one for one in rows for other in rows):  # the rows are nested
                best = max(best, float(torch.where(says == 1, table[1], table[0]).sum()))
        assert additive_ceiling(table) == pytest.approx(best)
    assert additive_ceiling(RefundDesk(n_colors=2).joint_table()) == pytest.approx(15 / 16)
    assert additive_ceiling(RefundDesk(4, (0, 0, 0, 1)).joint_table()[:, 3:, 3:]) == pytest.approx(3 / 4)


def test_normalisation_removes_the_scale_of_a_half():
    torch.manual_seed(0)
    x, model = features(), Concat(5, 3, 2)
    louder = Features(x.image, 1000 * x.text, x.labels)
    torch.testing.assert_close(model(x), model(louder), rtol=1e-3, atol=1e-4)
    plain = Concat(5, 3, 2, normalize=False)
    assert (plain(x) - plain(louder)).abs().max() > 1


@pytest.mark.parametrize(("seen", "ignored"), [("image", "text"), ("text", "image")])
def test_a_one_modality_head_ignores_the_other_half(seen, ignored):
    model, x = Concat(5, 3, 2, "mlp", use=(seen,)), features()
    other = {name: getattr(x, name) for name in ("image", "text", "labels")}
    torch.testing.assert_close(
        model(x), model(Features(**(other | {ignored: torch.full_like(other[ignored], 9.0)})))
    )
    assert not torch.allclose(model(x), model(Features(**(other | {seen: other[seen].flip(0)}))))


def test_fusion_model_is_encoders_then_head_and_extract_equals_forward():
    torch.manual_seed(0)
    model, data = FusionModel(Pixels(), Words(), 2, head="mlp"), pairs()
    logits = predict(model, data, batch_size=4)
    found = extract(model, data, batch_size=3)
    assert found.image.shape == (11, 5) and found.text.shape == (11, 3) and not found.image.requires_grad
    torch.testing.assert_close(model.head.eval()(found), logits)
    torch.testing.assert_close(found.labels, data.labels)


def test_a_model_has_real_weights_where_both_encoders_have():
    image, text = Pixels(), Words()
    assert not FusionModel(image, text, 2).pretrained
    image.pretrained = True
    assert not FusionModel(image, text, 2).pretrained
    text.pretrained = True
    assert FusionModel(image, text, 2).pretrained


def test_image_only_model_never_runs_the_other_encoder():
    model = FusionModel(Pixels(), Words(), 2, use=("text",))
    predict(model, pairs())
    assert model.image_encoder.calls == 0


def test_predict_leaves_the_mode_as_it_was():
    model = FusionModel(Pixels(), Words(), 2).train()
    assert not predict(model, pairs()).requires_grad
    assert model.training and model.text_encoder.dropout.training


def test_majority_predicts_the_most_frequent_class_for_everyone():
    model = Majority(torch.tensor([2, 0, 2, 1, 2]), 4)
    assert predict(model, features()).argmax(1).tolist() == [2] * 6
    assert predict(model, features()).isfinite().all()


def test_frozen_batchnorm_and_dropout_stay_in_eval_whatever_the_loop_does():
    encoder = freeze(Pixels())
    before = copy.deepcopy(encoder.state_dict())
    text = freeze(Words())
    batch = Batch(
        ImageBatch(pairs().images),
        TextBatch(torch.ones(11, 2, dtype=torch.int64), torch.ones(11, 2, dtype=torch.int64)),
        pairs().labels,
    )
    model = FusionModel(encoder, text, 2)
    model.train()
    torch.testing.assert_close(model(batch), model(batch))
    for name, tensor in encoder.state_dict().items():
        torch.testing.assert_close(tensor, before[name])
    assert not any(p.requires_grad for p in encoder.parameters()) and model.head.training
    freeze(encoder, False).train()
    encoder(batch.image)
    assert not torch.equal(encoder.norm.running_mean, before["norm.running_mean"])


def test_a_copy_of_a_frozen_module_freezes_itself():
    twin = copy.deepcopy(freeze(Words()))
    twin.train()
    ids = TextBatch(torch.ones(4, 2, dtype=torch.int64), torch.ones(4, 2, dtype=torch.int64))
    torch.testing.assert_close(twin(ids), twin(ids))


@pytest.mark.parametrize(("call", "error", "words"), [
    (lambda: Concat(5, 3, 2, head="mpl"), ValueError, "did you mean 'mlp'"),
    (lambda: Concat(5, 3, 1), ValueError, "at least 2"),
    (lambda: Concat(5, 3, 2, use=("sound",)), ValueError, "sound"),
    (lambda: Concat(3, 5, 2)(features()), ValueError, "swapped"),
    (lambda: Concat(5, 3, 2)(torch.zeros(2, 8)), TypeError, "float32 (2, 8)"),
    (lambda: additive_part(torch.zeros(3, 2)), ValueError, "(n, n, classes)"),
    (lambda: additive_ceiling(torch.zeros(2, 9, 2)), ValueError, "at most 8"),
    (lambda: FusionModel(Words(), Pixels(), 2), TypeError, "swapped"),
    (lambda: FusionModel(Pixels(), Words(), 2)(features()), TypeError, "collate"),
    (lambda: predict(Concat(5, 3, 2), pairs()), TypeError, "extract"),
    (lambda: predict(Concat(5, 3, 2), [1, 2]), TypeError, "list"),
    (lambda: predict(Concat(5, 3, 2), features()[:0]), ValueError, "no rows"),
])
def test_bad_input_is_one_sentence(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
