"""On a real GPU: what a pretended one cannot show; its copies are never late, and its sums never differ."""

import math

import pytest
import torch
from torch import nn

import cmlib
from cmlib.data.batch import Batch, Features, ImageBatch, TextBatch
from cmlib.data.device import device_of, follow, home, set_home
from cmlib.encoders import image_encoder, text_encoder
from cmlib.fusion.concat import Concat
from cmlib.models import FusionModel
from cmlib.worlds import RefundDesk

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU on this machine")
LONG = 200_000_000  # clock cycles: about a tenth of a second


@pytest.fixture(autouse=True)
def home_on_the_cpu():
    yield
    set_home("cpu")


class Late(nn.Module):
    """Gives its feature long after its call has returned, as a large encoder does."""

    hidden_size, image_size = 64, 8

    def __init__(self):
        super().__init__()
        self.linear, self.tokenizer = nn.Linear(3, 64), text_encoder("bag").tokenizer

    def forward(self, batch):
        pixels = isinstance(batch, ImageBatch)
        x = batch.pixels.float().mean((2, 3)) if pixels else batch.input_ids[:, :3].float()
        torch.cuda._sleep(LONG)
        return self.linear(x)


def full():
    return cmlib.setup("06", scale="full", full="everything")


def test_setup_makes_the_gpu_the_home_of_models():
    chosen = full()
    ampere = torch.cuda.get_device_capability()[0] >= 8
    assert (chosen.device, chosen.precision) == ("cuda", "bf16" if ampere else "fp16")
    assert home().type == "cuda" and device_of(Concat(5, 3, 2)).type == "cuda"


@pytest.mark.parametrize(("make", "batch"), [
    (lambda: text_encoder("lstm"), TextBatch(torch.full((3, 4), 7), torch.ones(3, 4, dtype=torch.int64))),
    (lambda: text_encoder("mini"), TextBatch(torch.full((3, 4), 7), torch.ones(3, 4, dtype=torch.int64))),
    (lambda: image_encoder("mini"), ImageBatch(torch.full((3, 3, 64, 64), 90, dtype=torch.uint8))),
])
def test_a_batch_from_the_cpu_gives_what_it_gives_on_the_cpu(make, batch):
    set_home("cuda")
    model = make().eval()
    set_home("cpu")
    twin = make().eval()
    twin.load_state_dict({name: value.cpu() for name, value in model.state_dict().items()})
    # convolutions multiply in TensorFloat32 by default: 10 bits
    torch.testing.assert_close(model(batch).cpu(), twin(batch), rtol=1e-2, atol=1e-2)


def test_extracted_features_have_arrived_when_they_are_read():
    set_home("cuda")
    model, pairs = FusionModel(Late().cuda(), Late().cuda(), 2), RefundDesk().sample(24)
    found = cmlib.extract(model, pairs, batch_size=24)
    read = {name: getattr(found, name).clone() for name in ("image", "text", "labels")}
    torch.cuda.synchronize()
    again = cmlib.extract(model, pairs, batch_size=24)
    torch.cuda.synchronize()
    for name, value in read.items():
        torch.testing.assert_close(value, getattr(again, name), msg=f"{name} was read before it had arrived")
    torch.testing.assert_close(read["labels"], pairs.labels)


def test_features_that_follow_a_module_to_the_cpu_have_arrived():
    x = torch.randn(4096, 64)
    there, head = x.cuda(), Concat(64, 64, 2)
    torch.cuda._sleep(LONG)
    late = Features(there + 1, there + 1, torch.zeros(len(x), dtype=torch.int64, device="cuda"))
    here = follow(late, head)
    torch.testing.assert_close(here.image, x + 1)


def test_a_model_trains_and_answers_there():
    full()
    desk = RefundDesk(probabilities=(1, 0, 0, 0), tricky=0.0)
    pairs = desk.sample(400)
    model = FusionModel(image_encoder("mini"), text_encoder("mini"), 2)
    vectors = cmlib.extract(model, pairs)
    history = cmlib.fit(model.head, vectors, epochs=5, learning_rate=3e-3, progress=False)
    assert history["loss"][-1] < 0.5 * history["loss"][0]
    assert cmlib.predict(model, pairs).device.type == "cpu"
    assert cmlib.evaluate(model, desk.sample(200, split="test")).accuracy > 0.8


@pytest.mark.parametrize("precision", ["fp16", "bf16"])
def test_a_whole_model_trains_in_short_formats(precision):
    if precision == "bf16" and torch.cuda.get_device_capability()[0] < 8:
        pytest.skip("this GPU has no bfloat16")
    set_home("cuda")
    model = FusionModel(image_encoder("mini"), text_encoder("mini"), 2)
    pairs = RefundDesk(probabilities=(1, 0, 0, 0), tricky=0.0).sample(256)
    history = cmlib.fit(model, pairs, epochs=3, batch_size=32, precision=precision, progress=False)
    assert all(map(math.isfinite, history.batch_loss)) and history["loss"][-1] < history["loss"][0]


def test_a_batch_that_is_there_is_not_copied():
    set_home("cuda")
    model = FusionModel(image_encoder("mini"), text_encoder("mini"), 2).eval()
    words = TextBatch(torch.full((3, 4), 7), torch.ones(3, 4, dtype=torch.int64))
    batch = Batch(ImageBatch(torch.zeros(3, 3, 64, 64, dtype=torch.uint8)), words, torch.arange(3) % 2)
    there = batch.to("cuda", non_blocking=False)
    assert follow(there, model) is there
    torch.testing.assert_close(model(there), model(batch))
