"""What lesson 14 polishes: low-rank layers, adapters, a prefix, drift; peft and loops are the oracles."""

import copy
from importlib.util import find_spec

import pytest
import torch
from conftest import need
from torch import nn

from cmlib import text_encoder
from cmlib.data.tokens import collate
from cmlib.evaluation.drift import drift
from cmlib.models.adapters import Adapter, Prefix, add_adapters, add_prefix, learn_only
from cmlib.models.lora import LoRA, add_lora, merge_lora
from cmlib.worlds import RefundDesk


@pytest.fixture(scope="module")
def mini():
    return text_encoder("mini").eval()


@pytest.fixture(scope="module")
def words(mini):
    return collate(RefundDesk().sample(6), mini.tokenizer).text


def learning(model) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def stir(model):
    """Numbers in the place of the zeros that a fresh LoRA or adapter begins with."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and name.rpartition(".")[2] in ("up", "weight", "bias"):
            nn.init.normal_(parameter, std=0.05)


# One layer


@pytest.mark.parametrize(("rows", "inputs", "outputs", "rank", "alpha"), [
    ((5,), 4, 3, 2, 8), ((2, 3), 3, 7, 3, None), ((1,), 6, 6, 1, 0.5),
])
def test_a_low_rank_layer_is_its_loop_forward_and_backward(rows, inputs, outputs, rank, alpha):
    torch.manual_seed(rank)
    layer = LoRA(nn.Linear(inputs, outputs), rank, alpha).double()
    nn.init.normal_(layer.up)
    x = torch.randn(*rows, inputs, dtype=torch.float64, requires_grad=True)
    weight = layer.linear.weight.detach().clone()
    for j in range(outputs):
        for i in range(inputs):
            narrow = sum(layer.up[j, k] * layer.down[k, i] for k in range(rank)).item()
            weight[j, i] += (rank if alpha is None else alpha) / rank * narrow
    slow = x @ weight.T + layer.linear.bias
    torch.testing.assert_close(layer(x), slow)
    torch.testing.assert_close(layer.delta(), weight - layer.linear.weight)
    fast_grad, slow_grad = (torch.autograd.grad(y.square().sum(), x)[0] for y in (layer(x), slow))
    torch.testing.assert_close(fast_grad, slow_grad)
    torch.testing.assert_close(copy.deepcopy(layer).merged()(x), slow)


def test_a_fresh_layer_changes_nothing_and_moves_up_first():
    plain = nn.Linear(5, 3)
    layer, x = LoRA(copy.deepcopy(plain), 2), torch.randn(4, 5)
    assert torch.equal(layer(x), plain(x))
    layer(x).square().sum().backward()
    assert layer.down.grad.abs().max() == 0 < layer.up.grad.abs().max()
    assert layer.linear.weight.grad is None and layer.linear.bias.grad is None


def test_a_merge_is_rounded_once_to_the_format_of_the_weight():
    torch.manual_seed(0)
    layer = LoRA(nn.Linear(40, 30), 2, 4)
    nn.init.normal_(layer.up, std=0.003)
    layer.linear.bfloat16()
    old = layer.linear.weight.clone()
    wanted = (old.double() + layer.delta().double()).bfloat16()
    merged = layer.merged().weight
    assert merged.dtype == torch.bfloat16 and torch.equal(merged, wanted) and not torch.equal(merged, old)


@pytest.mark.parametrize("rank", [0, 4, -1, 1.0, True, "2"])
def test_a_rank_that_the_weight_does_not_have_is_refused(rank):
    with pytest.raises(ValueError, match=rf"rank={rank!r} must be a whole number from 1 to 3, since the "
                                         r"weight is \(3, 5\)"):
        LoRA(nn.Linear(5, 3), rank)


# A whole BERT


def test_a_bert_with_lora_is_that_of_peft(mini, words):
    need("peft", find_spec("peft"))
    import peft

    theirs = copy.deepcopy(mini)
    settings = peft.LoraConfig(r=4, lora_alpha=8, target_modules=["query", "value"], lora_dropout=0.0,
                               bias="none")
    theirs.model = peft.get_peft_model(theirs.model, settings)
    ours = copy.deepcopy(mini)
    add_lora(ours.model, 4, 8)
    assert learning(ours) == theirs.model.get_nb_trainable_parameters()[0] == 4096
    torch.manual_seed(0)
    layers = [part for part in ours.modules() if isinstance(part, LoRA)]
    peft_layers = [part for part in theirs.modules() if hasattr(part, "lora_A") and len(part.lora_A)]
    with torch.no_grad():
        for own, other in zip(layers, peft_layers, strict=True):
            own.up.normal_(std=0.05)
            other.lora_A["default"].weight.copy_(own.down)
            other.lora_B["default"].weight.copy_(own.up)
    torch.testing.assert_close(ours(words), theirs(words))
    for model in (ours, theirs):
        model(words).square().sum().backward()
    for own, other in zip(layers, peft_layers, strict=True):
        torch.testing.assert_close(own.down.grad, other.lora_A["default"].weight.grad)
        torch.testing.assert_close(own.up.grad, other.lora_B["default"].weight.grad)
    said = ours(words).detach()
    theirs.model = theirs.model.merge_and_unload()
    merge_lora(ours)
    torch.testing.assert_close(ours(words), theirs(words))
    torch.testing.assert_close(ours(words), said)
    assert list(ours.state_dict()) == list(mini.state_dict())


@pytest.mark.parametrize(("where", "numbers"), [
    (("query", "value"), 2 * 2 * 256), (("attention.output.dense",), 2 * 256),
    (("intermediate.dense", "query"), 2 * (640 + 256)), (("dense",), 2 * (256 + 640 + 640)),
])
def test_lora_goes_where_it_is_told(mini, where, numbers):
    assert learning(add_lora(copy.deepcopy(mini.model), 1, where=where)) == numbers


def test_what_cannot_be_done_says_so(mini):
    model = copy.deepcopy(mini.model)
    with pytest.raises(ValueError, match="No linear layer is called 'q_proj'; the names end in query, key, "
                                         "value, dense"):
        add_lora(model, 2, where=("query", "q_proj"))
    with pytest.raises(ValueError, match="There is no LoRA layer to merge"):
        merge_lora(model)
    add_lora(model, 2)
    with pytest.raises(ValueError, match="has LoRA layers already: merge_lora"):
        add_lora(model, 2)


def test_adapters_change_nothing_at_first_and_follow_both_halves(mini, words):
    ours = copy.deepcopy(mini)
    add_adapters(ours.model, 8)
    assert torch.equal(ours(words), mini(words))
    assert learning(ours) == 2 * 2 * (8 * 128 + 8 + 8 * 128 + 128)
    x, one = torch.randn(3, 4, dtype=torch.float64), Adapter(4, 2).double()
    stir(one)
    narrow = x @ one.down.weight.T + one.down.bias
    bent = narrow * 0.5 * (1 + torch.erf(narrow / 2**0.5))
    torch.testing.assert_close(one(x), x + bent @ one.up.weight.T + one.up.bias)


def test_a_prefix_is_attention_over_more_keys(mini, words):
    """Against softmax by loops, row by row, without padding."""
    attention = copy.deepcopy(mini.model.encoder.layer[0].attention.self)
    torch.manual_seed(0)
    ours = Prefix(attention, 3)
    hidden = torch.randn(2, 5, 128)
    q, k, v = (getattr(attention, name)(hidden) for name in ("query", "key", "value"))
    for row in range(2):
        keys, values = torch.cat([ours.keys, k[row]]), torch.cat([ours.values, v[row]])
        for head in range(4):
            own = slice(32 * head, 32 * (head + 1))
            scores = (q[row][:, own] @ keys[:, own].T / 32**0.5).softmax(1)
            torch.testing.assert_close(ours(hidden)[0][row][:, own], scores @ values[:, own], atol=1e-5,
                                       rtol=1e-4)


def test_a_bert_with_a_prefix_reads_no_padding(mini, words):
    ours = copy.deepcopy(mini)
    torch.manual_seed(0)
    add_prefix(ours.model, 4)
    assert learning(ours) == 2 * 2 * 4 * 128
    together = ours(words)
    for row in range(len(words)):
        alone = words[torch.tensor([row])]
        n = int(alone.attention_mask.sum())
        short = type(words)(alone.input_ids[:, :n], alone.attention_mask[:, :n])
        torch.testing.assert_close(ours(short)[0], together[row], atol=1e-5, rtol=1e-4)
    assert not torch.allclose(together, mini(words), atol=1e-3)
    # with no prefix it is the attention of transformers
    plain = copy.deepcopy(mini)
    add_prefix(plain.model, 0)
    torch.testing.assert_close(plain(words), mini(words), atol=1e-5, rtol=1e-4)


def test_only_what_is_named_learns(mini):
    model = copy.deepcopy(mini.model)
    layers = sum(p.numel() for p in model.encoder.layer[1].parameters())
    assert learning(learn_only(model, ("layer.1.",))) == layers
    biases = sum(p.numel() for name, p in model.named_parameters() if name.endswith("bias"))
    assert learning(learn_only(model, (".bias",))) == biases
    assert learning(learn_only(model)) == 0


# Drift


@pytest.mark.parametrize(("rows", "size"), [(2, 1), (7, 3), (3, 9)])
def test_drift_is_its_loop_and_its_squares_add_up(rows, size):
    torch.manual_seed(rows)
    before, after = (torch.randn(rows, size, dtype=torch.float64) + 3 for _ in range(2))
    way = [[after[i, j] - before[i, j] for j in range(size)] for i in range(rows)]
    mean = [sum(row[j] for row in way) / rows for j in range(size)]
    spread = sum((before[i, j] - before[:, j].mean()) ** 2 for i in range(rows) for j in range(size))
    rest = sum((way[i][j] - mean[j]) ** 2 for i in range(rows) for j in range(size))
    shift_part, rest_part = drift(before, after)
    assert shift_part == pytest.approx((rows * sum(m**2 for m in mean) / spread).sqrt().item())
    assert rest_part == pytest.approx((rest / spread).sqrt().item())
    assert shift_part**2 + rest_part**2 == pytest.approx(((after - before).norm() ** 2 / spread).item())


@pytest.mark.parametrize(("before", "after", "says"), [
    (torch.zeros(3, 2), torch.zeros(3, 3), r"got \(3, 2\) and \(3, 3\)"),
    (torch.zeros(1, 2), torch.zeros(1, 2), "the same two rows or more"),
    (torch.ones(3, 2), torch.zeros(3, 2), "Before, all rows are one vector"),
])
def test_what_has_no_drift_is_refused(before, after, says):
    with pytest.raises(ValueError, match=says):
        drift(before, after)
