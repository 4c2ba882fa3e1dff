"""On a device that is only pretended (tests/gpu/pretend.py): every lesson keeps its models and data together,
and every large module runs where ``setup`` said.
"""

import copy
from contextlib import nullcontext
from threading import current_thread, main_thread

import pytest
import torch
from gpu.parts import play, stand_ins
from gpu.pretend import Pretended
from torch import nn
from transformers import BertModel  # noqa: F401  # it cannot be imported within a torch function mode

import cmlib
from cmlib.data.batch import Batch, Features, ImageBatch, TextBatch
from cmlib.data.device import device_of, home, set_home
from cmlib.encoders import image_encoder, stand_in, text_encoder
from cmlib.fusion.concat import Concat
from cmlib.models import FusionModel, Majority, load_model, save_model

LARGE = 100_000  # parameters


@pytest.fixture
def gpu():
    with Pretended() as device:
        yield device


# The pretended device itself: what a GPU refuses, it refuses


def test_what_is_moved_there_is_there_and_what_is_made_of_it(gpu):
    x = torch.randn(3, 4)
    there = x.to("mps")
    assert (x.device.type, there.device.type) == ("cpu", "mps")
    made = [there + 1, there[0], there.T, there.double(), torch.zeros_like(there)]
    made.append(torch.ones(2, device="mps"))
    assert {tensor.device.type for tensor in made} == {"mps"}
    assert {(there + 1).cpu().device.type, there.to("cpu").device.type} == {"cpu"}
    torch.testing.assert_close((there + 1).cpu(), x + 1)


def test_a_module_its_copy_its_gradients_and_its_optimiser_are_there(gpu):
    net = copy.deepcopy(nn.Linear(4, 2).to("mps"))
    net(torch.randn(3, 4).to("mps")).sum().backward()
    optimizer = torch.optim.AdamW(net.parameters())
    optimizer.step()
    state = optimizer.state[net.weight]["exp_avg"]
    assert {t.device.type for t in (net.weight, net.weight.grad, state)} == {"mps"}
    assert net.to("cpu").weight.device.type == "cpu"


@pytest.mark.parametrize("mix", [
    lambda here, there: here + there,
    lambda here, there: torch.cat([here, there]),
    lambda here, there: nn.functional.linear(here, there),
    lambda here, there: nn.Linear(4, 2).to("mps")(here),
    lambda here, there: nn.functional.cross_entropy(there, torch.zeros(3, dtype=torch.int64)),
    lambda here, there: here[there[:, 0].long()],
])
def test_mixing_is_refused(gpu, mix):
    with pytest.raises(RuntimeError, match="Expected all tensors to be on the same device"):
        mix(torch.ones(3, 4), torch.ones(3, 4).to("mps"))


def test_what_a_gpu_allows_is_allowed(gpu):
    there = torch.ones(3, 4).to("mps")
    assert (there * torch.tensor(2.0))[torch.tensor([0, 2])].device.type == "mps"
    with pytest.raises(TypeError, match="Tensor.cpu"):
        there.numpy()


# The library: models are made at home, data come to them


def half(rows=3):
    return Features(torch.randn(rows, 5), torch.randn(rows, 3), torch.arange(rows) % 2)


def words():
    return TextBatch(torch.full((3, 4), 7), torch.ones(3, 4, dtype=torch.int64))


def photos():
    return ImageBatch(torch.randint(0, 256, (3, 3, 64, 64), dtype=torch.uint8))


@pytest.mark.parametrize(("make", "batch"), [
    (lambda: text_encoder("bag"), words),
    (lambda: text_encoder("lstm"), words),
    (lambda: text_encoder("mini"), words),
    (lambda: text_encoder("mini", pooling="cls"), words),
    (lambda: image_encoder("cnn"), photos),
    (lambda: image_encoder("mini"), photos),
    (lambda: Concat(5, 3, 2), half),
    (lambda: Majority(torch.tensor([0, 1, 1]), 2), half),
])
def test_a_model_made_at_home_reads_a_batch_from_the_cpu(gpu, make, batch):
    set_home("mps")
    model, read = make().eval(), batch()
    assert device_of(model) == gpu.device and home().type == "mps"
    answer = model(read)
    assert answer.device == gpu.device
    set_home("cpu")
    twin = make().eval()
    twin.load_state_dict({name: value.cpu() for name, value in model.state_dict().items()})
    torch.testing.assert_close(answer.cpu(), twin(read))


def test_a_seed_gives_the_same_weights_at_every_home(gpu):
    torch.manual_seed(3)
    here = Concat(5, 3, 2)
    set_home("mps")
    torch.manual_seed(3)
    torch.testing.assert_close(Concat(5, 3, 2).head.weight.cpu(), here.head.weight, rtol=0, atol=0)


@pytest.mark.parametrize("head", ["mlp", Concat(128, 128, 2)])
def test_a_head_follows_its_encoders_and_the_batch_follows_both(gpu, head):
    encoders = image_encoder("mini").to("mps"), text_encoder("mini").to("mps")
    model = FusionModel(*encoders, 2, head=head)
    assert device_of(model.head) == gpu.device and home().type == "cpu"
    assert model(Batch(photos(), words(), torch.zeros(3, dtype=torch.int64))).device == gpu.device


def test_what_is_there_already_is_not_copied(gpu):
    from cmlib.data.device import follow

    set_home("mps")
    head, there = Concat(5, 3, 2), half().to("mps")
    assert follow(there, head) is there
    assert follow(half(), head).image.device == gpu.device


def test_a_model_that_is_loaded_is_at_home_whole(gpu, tmp_path):
    model = FusionModel(image_encoder("cnn"), text_encoder("bag"), 2)
    save_model(model, tmp_path)
    set_home("mps")
    again = load_model(tmp_path)
    assert {tensor.device for tensor in again.state_dict().values()} == {gpu.device}
    pairs = cmlib.worlds.RefundDesk().sample(4)
    torch.testing.assert_close(cmlib.predict(again, pairs), cmlib.predict(model, pairs))


def test_extract_and_predict_give_what_the_cpu_can_read(gpu):
    set_home("mps")
    pairs = cmlib.worlds.RefundDesk().sample(20)
    model = FusionModel(image_encoder("mini"), text_encoder("mini"), 2)
    vectors = cmlib.extract(model, pairs)
    assert {t.device.type for t in (vectors.image, vectors.text, vectors.labels)} == {"cpu"}
    assert cmlib.predict(model, pairs).device.type == "cpu"
    cmlib.fit(model.head, vectors, epochs=1, progress=False)
    assert device_of(model.head) == gpu.device
    assert 0 <= cmlib.evaluate(model.head, vectors).accuracy <= 1


# The lessons


@pytest.fixture
def pretended_setup(monkeypatch):
    """``setup`` on a machine whose GPU is the pretended one: full, with small stand-ins, where a lesson has a
    full part.
    """
    real = cmlib.setup
    stand_ins.place(small=True)

    def setup(lesson, full=None, **settings):
        if full is None:
            return real(lesson, **settings)
        return real(lesson, scale="full", device="mps", full=full, **settings)

    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    monkeypatch.setattr(cmlib, "setup", setup)
    yield
    for name in ("bert-base-uncased", "resnet50"):
        stand_in(name, None)


@pytest.fixture
def ran():
    """{(class, parameters): devices} of every large module whose forward pass was called."""
    seen = {}

    def note(module, inputs):
        count = sum(parameter.numel() for parameter in module.parameters())
        # no place has a plan, which has no numbers; a layer that is computed again in a backward pass, and a
        # server that answers in a thread of its own, are where the pretence does not reach
        beyond = torch._C._current_graph_task_id() != -1 or current_thread() is not main_thread()
        if count >= LARGE and not beyond and not any(p.is_meta for p in module.parameters()):
            where = seen.setdefault((type(module).__name__, count), set())
            where.update(parameter.device.type for parameter in module.parameters())

    hook = nn.modules.module.register_module_forward_pre_hook(note)
    yield seen
    hook.remove()


@pytest.mark.filterwarnings("ignore:__array")  # numpy meets a function mode
@pytest.mark.parametrize("lesson", play.SOURCES)
def test_a_lesson_runs_to_its_end_with_its_large_modules_where_setup_said(
    lesson, pretended_setup, ran, monkeypatch
):
    monkeypatch.chdir(play.ROOT / "notebooks")
    play.cut_training_short(put=monkeypatch.setattr)
    space, source = play.namespace(), play.SOURCES[lesson]
    # a lesson without a full part has nothing there, and runs faster without its being looked for
    with Pretended() if play.has_full_part(source) else nullcontext():
        for line, error in play.play(source, space, judged=False):
            if error is not None and play.lacks_data(error):
                pytest.skip(f"no data: {error}")
            assert error is None, f"{source.name}, cell at line {line}: {error}"
    chosen = torch.device(space["cfg"].device).type
    elsewhere = {module: devices for module, devices in ran.items() if devices != {chosen}}
    assert not elsewhere, f"setup said {chosen}"
    assert ran or chosen == "cpu"


@pytest.mark.parametrize("lesson", play.SOURCES)
def test_a_lessons_cells_are_plain_python(lesson):
    """No magics, no shell lines, no await outside a function: they run without IPython."""
    for line, text in play.cells(play.SOURCES[lesson]):
        try:
            compile(text, "cell", "exec")
        except SyntaxError as error:
            pytest.fail(f"{play.SOURCES[lesson].name}, cell at line {line}: {error}")
