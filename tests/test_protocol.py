"""What ``fit`` makes of a task: scores and the best epoch, branches, the recipe, wrong tasks, the copy of the
weights.
"""

import math
from dataclasses import fields, replace

import pytest
import torch
from tasks_in_use import (
    Captioner,
    Captions,
    FlowMatching,
    Photo,
    Reader,
    TwoBranches,
    Velocity,
    toys,
    two_views,
)
from test_batching import Pretend
from torch import nn
from torch.nn.functional import cross_entropy

from cmlib.data import Features, Pairs
from cmlib.data.rows import Rows
from cmlib.encoders import image_encoder, text_encoder
from cmlib.evaluation import evaluate
from cmlib.fusion import Concat
from cmlib.models import FusionModel
from cmlib.tasks import Classify, Contrast, Regress, Tag, Task
from cmlib.training import snapshot
from cmlib.training.fit import fit
from cmlib.training.optim import groups
from cmlib.training.precision import choose
from cmlib.training.recipe import Recipe
from cmlib.training.snapshot import Snapshot
from cmlib.worlds import KINDS

SETTINGS = {"epochs": 2, "batch_size": 32, "progress": False}


def net(**settings) -> Concat:
    torch.manual_seed(0)
    return Concat(4, 3, 2, head="mlp", normalize=False, hidden_size=16, **settings)


def weights(model) -> torch.Tensor:
    return torch.cat([tensor.flatten().double() for tensor in model.state_dict().values()])


# --- which epoch is the best ---


class Told(Classify):
    """A score that is told, epoch by epoch, whatever was learned."""

    def __init__(self, name: str, values: list[float]):
        super().__init__()
        self.name, self.told = name, iter(values)

    def score(self, kept, rows):
        # the first of them is asked of four rows, before the first step
        return {"loss": 1.0, self.name: 0.0 if len(kept) == 4 else next(self.told)}


@pytest.mark.parametrize(
    ("name", "lower", "best"),
    [
        ("accuracy", None, 2),
        ("recall@1", None, 2),
        ("iou", (), 2),
        ("box_loss", None, 3),
        ("root_error", None, 3),
        ("perplexity", None, 2),  # nobody can know
        ("perplexity", ("perplexity",), 3),
        ("explained_loss", ("perplexity",), 2),
    ],
)
def test_losses_and_errors_fall_other_scores_rise_and_lower_says_otherwise(name, lower, best):
    task = Told(name, [0.5, 0.7, 0.2, 0.6])
    task.lower = lower
    history = fit(net(), two_views(60, 0), two_views(40, 1), task=task, monitor=f"valid_{name}",
                  **SETTINGS | {"epochs": 4})  # fmt: skip
    assert history.best_epoch == best and history[f"valid_{name}"].tolist() == [0.5, 0.7, 0.2, 0.6]


def test_the_loss_falls_whatever_else_is_better_when_smaller():
    class WordErrors(Classify):
        lower = ("word_errors",)

    assert (
        WordErrors().falls("loss")
        and WordErrors().falls("word_errors")
        and not WordErrors().falls("accuracy")
    )
    data, wrong = two_views(200, 0), two_views(200, 1)
    wrong = replace(wrong, labels=1 - wrong.labels)  # the more is learned, the worse
    history = fit(net(), data, wrong, task=WordErrors(), **SETTINGS | {"epochs": 5, "learning_rate": 0.01})
    assert history.best_epoch == 1


def test_without_validation_rows_the_last_epoch_is_the_best_whatever_the_monitor():
    """It used to be the first, for a score that rises: accuracy .516 after 20 epochs."""
    for monitor in ("valid_loss", "valid_accuracy"):
        model, last = net(), []

        class Looks(Classify):
            def adjust(self, _, last=last, model=model):
                last[:] = [weights(model)]

        data = two_views(300, 0)
        history = fit(
            model, data, task=Looks(), monitor=monitor, **SETTINGS | {"epochs": 6, "learning_rate": 0.01}
        )
        assert history.best_epoch == 6
        assert (weights(model) - last[0]).abs().max() < 1e-3  # the weights before the last, tiny step
        assert (model(data).argmax(1) == data.labels).double().mean() > 0.9


@pytest.mark.parametrize(
    "valid",
    [two_views(40, 1), toys(8, "valid"), Rows(replace(toys(8, "valid"), texts=None))],
    ids=["Features", "Pairs", "Rows"],
)
def test_an_unknown_score_is_refused_before_the_first_step_with_the_nearest(valid):
    steps = []

    class Counts(Classify):
        def objective(self, outputs, batch):
            steps.append(1)
            return super().objective(outputs, batch)

    model = net() if isinstance(valid, Features) else Photo(8)
    data = replace(valid, texts=None) if isinstance(valid, Pairs) else valid
    with pytest.raises(
        ValueError,
        match=r"^There is no score monitor='valid_acuracy'; did you mean 'valid_accuracy'\? "
        r"This task has valid_loss, valid_accuracy\.$",
    ):
        fit(model, data, data, task=Counts(), monitor="valid_acuracy", **SETTINGS)
    assert not steps
    with pytest.raises(ValueError, match="monitor='accuracy' must be a score of the validation data"):
        fit(model, data, data, monitor="accuracy", **SETTINGS)


def test_what_a_task_draws_for_a_score_is_the_same_every_time_and_moves_no_other_number():
    def points(n, seed):
        data = two_views(n, seed)
        return Features(data.image[:, :2], data.text, data.labels)

    def trained(valid=None, **settings):
        model = Velocity(2)
        settings = SETTINGS | {"epochs": 3} | settings
        return fit(model, points(60, 0), valid, task=FlowMatching(), **settings), weights(model)

    still = trained(points(40, 1), learning_rate=0.0)[0]["valid_loss"]
    assert still[0] == still[1] == still[2]  # the weights are the same, so are the scores
    alone, scored = trained(), trained(points(40, 1), monitor="valid_loss")
    assert alone[0].batch_loss == scored[0].batch_loss


# --- branches ---


class Decoder(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Module()
        self.body.embedding = nn.Embedding(5, 4)
        self.body.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.photo, self.rest = nn.Linear(4, 4), nn.Linear(4, 2)

    def branches(self):
        return {"photo": self.photo, "decoder": [self.body]}

    def forward(self, batch):
        x = self.photo(batch.image) + self.body.embedding.weight.mean(0)
        for layer in self.body.layers:
            x = x + layer(x)
        return self.rest(x)


def peaks(model, rate, **settings):
    """The learning rate of every parameter by its name."""
    of = {p: group["peak"] for group in groups(model, rate, **settings) for p in group["params"]}
    return {name: of[parameter] for name, parameter in model.named_parameters()}


def test_a_branch_of_any_name_has_its_rate_and_its_layers_learn_ever_more_slowly_downwards():
    found = peaks(Decoder(), {"photo": 1.0, "decoder": 0.1, "head": 2.0}, layer_decay=0.5)
    assert found["photo.weight"] == 1 and found["rest.bias"] == 2
    expected = [0.1, 0.05, 0.025, 0.0125]
    names = [*(f"body.layers.{k}.weight" for k in (2, 1, 0)), "body.embedding.weight"]
    assert [found[name] for name in names] == pytest.approx(expected)
    history = fit(Decoder(), two_views(60, 0), recipe=Recipe(layer_decay=0.5),
                  learning_rate={"photo": 0.01, "decoder": 0.01, "head": 0.01}, **SETTINGS)  # fmt: skip
    assert history["loss"][1] < history["loss"][0]


def test_branches_are_named_in_their_order_and_the_nearest_is_proposed():
    with pytest.raises(
        ValueError,
        match=r"no branch 'decodr'; did you mean 'decoder'\? The branches are photo, decoder, "
        r"head\.$",
    ):
        groups(Decoder(), {"decodr": 0.1})
    with pytest.raises(ValueError, match="no number for the branch 'photo': add one, or freeze that branch"):
        groups(Decoder(), {"decoder": 0.1, "head": 0.1})
    with pytest.raises(ValueError, match="The branches are image, text, head"):
        groups(TwoBranches(), {"txt": 0.1})
    both = FusionModel(image_encoder("cnn", hidden_size=16), text_encoder("bag", hidden_size=8), 2)
    assert list(both.branches()) == ["text", "image", "head"]


# --- the recipe ---

OTHER = {
    "weight_decay": 0.5,
    "warmup": 0.5,
    "clip": 0.01,
    "accumulate": 3,
    "precision": "bf16",
    "layer_decay": 0.5,
    "ema": 0.5,
    "compile": True,
    "bucketed": True,
    "head_first": 1,
    "every": 2,
    "sampler": lambda rows, batch_size, generator: torch.arange(len(rows)).flip(0).split(batch_size),
}


@pytest.fixture
def compiler(monkeypatch):
    """One that needs no minute: it only says that it was there."""
    made = []
    monkeypatch.setattr(torch, "compile", lambda model, **_: made.append(model) or model)
    monkeypatch.setattr("cmlib.training.fit.check_compiler", lambda device: None)
    return made


@pytest.mark.parametrize("name", [field.name for field in fields(Recipe)])
def test_every_setting_does_something_and_means_the_same_beside_the_recipe(name, compiler, tmp_path):
    words = Pairs(None, toys(60).texts, toys(60).labels, KINDS)

    def trained(**settings):
        model, data = (Reader(8), words) if name == "bucketed" else (Decoder(), two_views(60, 0))
        fit(
            model,
            data,
            checkpoint=tmp_path / str(len(list(tmp_path.iterdir()))),
            log=False,
            **SETTINGS | settings,
        )
        return weights(model)

    plain, already = trained(), len(compiler)
    ours = trained(recipe=Recipe(**{name: OTHER[name]}))
    assert torch.equal(ours, trained(**{name: OTHER[name]}))
    assert torch.equal(ours, trained(recipe=Recipe(every=7), **{name: OTHER[name]}))
    if name == "accumulate":  # parts add up to the batch: rounding may tell, and not on every processor
        torch.testing.assert_close(ours, plain)
    else:  # how often it is saved, and by whom it is computed, changes nothing in what is learned
        assert torch.equal(plain, ours) == (name in ("compile", "every"))
    assert (already, len(compiler)) == (0, 3 if name == "compile" else 0)


def test_a_checkpoint_is_written_every_so_many_steps(tmp_path, monkeypatch):
    from cmlib.training.run import Run

    steps = []
    monkeypatch.setattr(Run, "save", lambda run, folder, team: steps.append(run.step))
    fit(net(), two_views(160, 0), checkpoint=tmp_path, log=False, recipe=Recipe(every=2), **SETTINGS)
    assert steps == [2, 4, 5, 6, 8, 10]


@pytest.mark.parametrize(
    ("setting", "near"),
    [
        ("acumulate", "accumulate"),
        ("wieght_decay", "weight_decay"),
        ("warm_up", "warmup"),
        ("batchsize", "batch_size"),
        ("learning_rat", "learning_rate"),
        ("moniter", "monitor"),
    ],
)
def test_an_unknown_setting_is_refused_with_the_nearest(setting, near):
    with pytest.raises(
        TypeError, match=rf"^fit has no setting '{setting}'; did you mean '{near}'\? A Recipe has weight_"
    ):
        fit(net(), two_views(8, 0), epochs=1, **{setting: 1})


def test_a_recipe_cannot_be_changed_by_accident_and_refuses_what_makes_no_sense():
    with pytest.raises(AttributeError):
        Recipe().clip = 2.0
    for wrong, said in (
        ({"warmup": 2}, "^warmup=2 is the share"),
        ({"clip": 0}, "^clip=0 is the largest norm"),
        ({"clip": -1.0}, "^clip=-1.0"),
        ({"accumulate": 0}, "^accumulate=0 must be"),
        ({"every": 0.5}, "^every=0.5 must be"),
        ({"layer_decay": 2.0}, "^layer_decay=2.0 must lie"),
        ({"ema": 1.5}, "^ema=1.5 must lie"),
        ({"precision": "bf61"}, "did you mean 'bf16'"),
        ({"bucketed": True}, "Features have none"),
    ):
        with pytest.raises(ValueError, match=said):
            fit(net(), two_views(8, 0), epochs=1, recipe=Recipe(**wrong))
    assert Recipe(precision=choose("fp32")).facts()["precision"] == "fp32"


# --- tasks that are wrong ---


def with_objective(give):
    class Wrong(Task):
        def objective(self, outputs, batch):
            return give(cross_entropy(outputs, batch.labels))

    return Wrong()


def run(task, model=None, data=None, **settings):
    return lambda: fit(model or net(), data or two_views(8, 0), task=task, **SETTINGS | settings)


def labels(values):
    data = two_views(8, 0)
    return Features(data.image, data.text, values)


class Dicts(TwoBranches):
    def forward(self, batch):
        return dict(zip(("image", "text"), super().forward(batch).unbind(1), strict=True))


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (
            run(Classify(), loss=cross_entropy),
            ValueError,
            "fit got a task and a loss: the loss is part of the task",
        ),
        (run(Classify), TypeError, "Classify'> is no Task: call its class."),
        (run(cross_entropy), TypeError, "is no Task: derive its class from cmlib.tasks.Task."),
        (run(Task()), NotImplementedError, "Task has no objective."),
        (run(with_objective(lambda loss: {"total": loss})), ValueError, "Wrong gave total and no 'loss'"),
        (run(with_objective(lambda loss: {})), ValueError, "Wrong gave nothing and no 'loss'"),
        (
            run(with_objective(lambda loss: loss.expand(8))),
            ValueError,
            "gave float32 (8,) as 'loss': it must be one",
        ),
        (
            run(with_objective(lambda loss: {"loss": loss, "part": 0.5})),
            ValueError,
            "gave float as 'part': it must be",
        ),
        (
            run(with_objective(lambda loss: loss.item())),
            TypeError,
            "Wrong gave float: it must give a scalar tensor",
        ),
        (run(with_objective(lambda loss: None)), TypeError, "Wrong gave NoneType"),
        (run(Classify(), data=labels(None)), ValueError, "The rows of train have no labels, and to classify"),
        (
            run(Classify(), data=labels(torch.rand(8))),
            ValueError,
            "The labels of train are float32 and not class numbers",
        ),
        (
            run(Classify(), data=labels(torch.arange(8))),
            ValueError,
            "run from 0 to 7, but the model has 2 classes",
        ),
        (
            run(Classify(), Dicts()),
            ValueError,
            "To classify, a model gives logits (batch, n_classes); this one gave dict",
        ),
        (
            run(Contrast()),
            ValueError,
            "calls 'image' and 'text', at its 'scale', in a dict; it gave float32 (8, 2).",
        ),
        (run(Contrast(), Dicts()), ValueError, "it gave image, text."),
        (
            run(Tag()),
            ValueError,
            "Tag wants the labels of train as float (rows, questions) of 0 and 1; they are int64 (8,)",
        ),
        (
            run(Tag(), data=labels(torch.rand(8, 3))),
            ValueError,
            "answer 3 questions, but the model has 2 logits",
        ),
        (
            run(Tag(), data=labels(torch.full((8, 2), 2.0))),
            ValueError,
            "run from 2 to 2; yes is 1 and no is 0",
        ),
        (run(Tag(), data=labels(torch.full((8, 2), math.nan))), ValueError, "run from nan to nan; yes is 1"),
        (run(Tag(), Dicts(), labels(torch.rand(8, 2))), ValueError, "Tag wants logits (batch, questions)"),
        (
            run(Regress()),
            ValueError,
            "Regress wants the labels of train as float values; they are int64: labels.float()",
        ),
        (
            run(Regress(), data=labels(torch.rand(8))),
            ValueError,
            "have 1 values a row, but the model gives 2",
        ),
        (
            run(Regress(), data=labels(torch.rand(8, 2) / 0)),
            ValueError,
            "The label of row 0 of train is not a finite",
        ),
        (
            run(Regress(), Dicts(), labels(torch.rand(8))),
            ValueError,
            "Regress wants values (batch, n) of the model",
        ),
        (
            run(Captions()),
            ValueError,
            "The task reads 'caption' of every row, and these Features carry no targets",
        ),
        (
            run(Captions(), Captioner(), Pairs(None, ["a"] * 4)),
            ValueError,
            "The task reads the extra 'caption'",
        ),
    ],
)
def test_a_task_that_is_wrong_is_told_in_one_sentence(call, error, said):
    with pytest.raises(error) as caught:
        call()
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_rows_for_validation_are_checked_too():
    with pytest.raises(ValueError, match="^The rows of valid have no labels"):
        fit(net(), two_views(8, 0), labels(None), **SETTINGS)


def test_what_is_evaluated_is_checked_too_and_once():
    with pytest.raises(ValueError, match="^The labels of data answer 3 questions, but"):
        evaluate(net(), labels(torch.zeros(8, 3)), task=Tag())
    seen = []

    class Counts(Classify):
        def check(self, name, rows, outputs):
            seen.append((name, len(rows), tuple(outputs.shape)))

    evaluate(net(), two_views(8, 0), batch_size=3, task=Counts())
    assert seen == [("data", 8, (3, 2))]


def test_what_a_task_makes_of_the_outputs_is_what_its_check_gets():
    class Doubles(Classify):
        def forward(self, call, batch):
            return {"logits": call(batch), "drawn": torch.rand(len(batch))}

        def objective(self, outputs, batch):
            self.drawn = getattr(self, "drawn", outputs["drawn"])
            return self.loss(outputs["logits"], batch.labels)

        def check(self, name, rows, outputs):
            self.checked = outputs

    task, other, model = Doubles(), Doubles(), net(dropout=0.5)
    fit(model, two_views(8, 0), task=task, **SETTINGS)
    assert set(task.checked) == {"logits", "drawn"} and len(task.checked["logits"]) == 8
    Doubles.check = Task.check
    fit(net(dropout=0.5), two_views(8, 0), task=other, **SETTINGS)
    assert torch.equal(task.drawn, other.drawn)  # to look moves no random number


# --- the copy of the weights ---


def places(copy: Snapshot) -> list[int]:
    return [tensor.data_ptr() for tensor in copy.tensors.values()]


def test_only_better_epochs_are_copied_each_over_the_one_before(monkeypatch):
    taken, seen = [], set()

    class Counted(Snapshot):
        def take(self):
            super().take()
            taken.append(weights(self.model))
            seen.add(tuple(places(self)))

    monkeypatch.setattr("cmlib.training.run.Snapshot", Counted)
    model, scores = net(), [0.5, 0.7, 0.2, 0.6, 0.8, 0.1]
    settings = SETTINGS | {"epochs": 6, "monitor": "valid_accuracy"}
    history = fit(model, two_views(60, 0), two_views(40, 1), task=Told("accuracy", scores), **settings)
    assert history.best_epoch == 5 and len(taken) == 1 + 3  # the weights it began with; epochs 1, 2 and 5
    assert torch.equal(weights(model), taken[-1]) and len(seen) == 1
    own = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert not own & set(next(iter(seen)))


def test_the_copy_has_every_number_format_and_layout():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).to(memory_format=torch.channels_last)
    model[1].num_batches_tracked += 7
    before, copy = {name: tensor.clone() for name, tensor in model.state_dict().items()}, Snapshot(model)
    for tensor in model.state_dict().values():
        tensor.zero_()
    copy.put_back()
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]) and tensor.stride() == before[name].stride()


class OnGpu(torch.Tensor):
    """A tensor of the CPU that says it is on a GPU."""

    is_cuda = True
    device = torch.device("cuda", 0)


class Stream(Pretend):
    """Writes down in which order what was waited for."""

    said: list[str] = []  # noqa: RUF012
    device = torch.device("cuda", 0)

    def wait_stream(self, other):
        self.said.append("the copy waits for the steps")

    def wait_event(self, event):
        self.said.append("the steps wait for the copy")

    def synchronize(self):
        self.said.append("the host waits for the copy")


@pytest.mark.parametrize("room", [True, False])
def test_on_a_gpu_it_stays_there_while_there_is_room_else_it_goes_to_pinned_memory(room, monkeypatch):
    model, made = nn.Linear(3, 2), []
    state = {name: tensor.detach().as_subclass(OnGpu) for name, tensor in model.state_dict().items()}
    monkeypatch.setattr(model, "state_dict", lambda: state)
    monkeypatch.setattr(snapshot, "fits_beside", lambda tensors, gpu: room)
    for name in ("Stream", "stream", "current_stream"):
        monkeypatch.setattr(torch.cuda, name, Stream)
    empty_like = torch.empty_like

    def allocated(tensor, **where):
        made.append(where)
        return empty_like(torch.Tensor(tensor))

    monkeypatch.setattr(torch, "empty_like", allocated)
    monkeypatch.setattr(Stream, "said", [])
    copy, before = Snapshot(model), model.weight.detach().clone()
    at = places(copy)
    copy.settle()
    with torch.no_grad():
        model.weight += 1
    copy.take()
    assert places(copy) == at and torch.equal(torch.Tensor(copy.tensors["weight"]), before + 1)
    copy.settle()
    with torch.no_grad():
        model.weight.zero_()
    copy.put_back()
    assert torch.equal(model.weight.detach(), before + 1)
    if room:
        assert made == [{}, {}] and Stream.said == []
    else:
        assert made == [{"device": "cpu", "pin_memory": True}] * 2
        once = ["the copy waits for the steps", "the steps wait for the copy"]
        assert Stream.said == [*once, *once, "the host waits for the copy"]


def test_a_copy_takes_a_twentieth_of_the_free_memory_at_most(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda gpu: (100_000, 200_000))
    gpu, tensors = torch.device("cuda", 0), [torch.zeros(1000), torch.zeros(250)]  # 5,000 bytes
    assert snapshot.fits_beside(tensors, gpu)
    assert not snapshot.fits_beside([*tensors, torch.zeros(1)], gpu)
