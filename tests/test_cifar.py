"""ResNet-20 against a second implementation written from its state dict, with random and with the published
weights.
"""

import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from cmlib.encoders import cifar

PUBLISHED = Path(os.environ.get("CMLIB_MIRROR", "/nowhere")) / (
    "raw.githubusercontent.com/akamaster/pytorch_resnet_cifar10/d5489e8995e81e91ce6b1d69dcc98ad579b0b153/pretrained_models"
)
needs_weights = pytest.mark.skipif(not PUBLISHED.is_dir(), reason="CMLIB_MIRROR has no published weights")


def slow_forward(x, w, blocks=3):
    """From the paper and the names in the file; batch norm and option A written out, nothing shared with the
    library.
    """
    def norm(x, name):
        scale = w[name + ".weight"] / torch.sqrt(w[name + ".running_var"] + 1e-5)
        return (
            x * scale[:, None, None] + (w[name + ".bias"] - w[name + ".running_mean"] * scale)[:, None, None]
        )

    x = F.relu(norm(F.conv2d(x, w["conv1.weight"], padding=1), "bn1"))
    for stage in (1, 2, 3):
        for i in range(blocks):
            name = f"layer{stage}.{i}"
            stride = 2 if stage > 1 and i == 0 else 1
            y = F.relu(norm(F.conv2d(x, w[name + ".conv1.weight"], stride=stride, padding=1), name + ".bn1"))
            y = norm(F.conv2d(y, w[name + ".conv2.weight"], padding=1), name + ".bn2")
            if stride == 2:
                quarter = y.shape[1] // 4
                for c in range(x.shape[1]):
                    for r in range(y.shape[2]):
                        for s in range(y.shape[3]):
                            y[:, quarter + c, r, s] += x[:, c, 2 * r, 2 * s]
            else:
                y = y + x
            x = F.relu(y)
    return x.sum((2, 3)) / (x.shape[2] * x.shape[3]) @ w["linear.weight"].T + w["linear.bias"]


@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 13), (32, 32)])
def test_random_weights_match_the_slow_forward(height, width):
    torch.manual_seed(height)
    model = cifar.CifarResNet().double()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            (
                module.running_mean.normal_(0, 0.3),
                module.running_var.uniform_(0.2, 2),
                module.weight.data.uniform_(0.5, 1.5),
            )
            module.bias.data.normal_(0, 0.3)
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(model.eval()(x), slow_forward(x, model.state_dict()))


@needs_weights
@pytest.mark.parametrize(
    ("name", "blocks", "parameters"),
    [("resnet20-12fca82f.th", 3, 269722), ("resnet56-4bfd9763.th", 9, 853018)],
)
def test_the_published_weights_match_the_slow_forward(name, blocks, parameters):
    model = cifar.cifar_resnet(PUBLISHED / name, blocks)
    assert not model.training and sum(p.numel() for p in model.parameters()) == parameters
    x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(
            model(x), slow_forward(x, cifar.load_weights(PUBLISHED / name), blocks), rtol=1e-4, atol=1e-4
        )
        torch.testing.assert_close(model.linear(model.features(x)), model(x))


@needs_weights
def test_the_published_network_recognises_drawings():
    """Would fail with other statistics, swapped channels or swapped classes."""
    from cmlib.datasets import emoji

    sheet = emoji("all")
    drawn = {
        "delivery truck": "truck",
        "ship": "ship",
        "automobile": "automobile",
        "airplane": "airplane",
        "horse": "horse",
        "frog": "frog",
        "dog": "dog",
        "cat face": "cat",
        "deer": "deer",
        "duck": "bird",
    }
    pictures = sheet[[sheet.texts.index(name) for name in drawn]].images
    with torch.no_grad():
        found = cifar.cifar_resnet(PUBLISHED / "resnet20-12fca82f.th")(cifar.prepare(pictures)).argmax(1)
    assert [cifar.CLASSES[i] for i in found] == list(drawn.values())


@needs_weights
def test_weights_of_another_architecture_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="another architecture than ResNet-20: 'layer1.3.bn1.bias' is too "
                                         "much"):
        cifar.cifar_resnet(PUBLISHED / "resnet56-4bfd9763.th")
    with pytest.raises(ValueError, match="another architecture than ResNet-56: .* is missing"):
        cifar.cifar_resnet(PUBLISHED / "resnet20-12fca82f.th", 9)


def test_tensors_of_another_shape_are_refused_in_one_sentence(tmp_path):
    weights = cifar.CifarResNet(3).state_dict() | {"linear.weight": torch.zeros(100, 64)}
    torch.save({"state_dict": weights}, tmp_path / "cifar100.th")
    with pytest.raises(ValueError, match=r"^cifar100.th holds another architecture than ResNet-20: "
                                         r"'linear.weight' is \(100, 64\) "
                                         r"there and \(10, 64\) here.$"):
        cifar.cifar_resnet(tmp_path / "cifar100.th")


@pytest.mark.parametrize("content", [b"", b"<html>log in first</html>", {"weights": {}}, {"state_dict": [1]}])
def test_a_file_that_is_no_checkpoint_is_refused(tmp_path, content):
    path = tmp_path / "broken.th"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(ValueError, match="broken.th is not a checkpoint") as caught:
        cifar.load_weights(path)
    assert caught.value.__suppress_context__


def test_prepare_gives_what_the_weights_expect():
    pixels = torch.randint(256, (2, 3, 32, 32), dtype=torch.uint8)
    expected = (pixels[1, 2, 5, 7].double() / 255 - 0.406) / 0.225
    assert cifar.prepare(pixels)[1, 2, 5, 7].item() == pytest.approx(expected.item(), abs=1e-5)
    flat = torch.full((1, 3, 72, 50), 200, dtype=torch.uint8)
    torch.testing.assert_close(
        cifar.prepare(flat)[0, :, 3, 4], cifar.prepare(flat[:, :, :32, :32])[0, :, 3, 4]
    )
    with pytest.raises(ValueError, match=r"\(batch, 3, height, width\); got shape \(3, 32, 32\)"):
        cifar.prepare(torch.zeros(3, 32, 32))


def test_option_a_keeps_every_second_place_and_surrounds_with_zero_channels():
    x = torch.randn(1, 2, 5, 4)
    out = cifar.shortcut_a(x, 4, 2)
    assert out.shape == (1, 4, 3, 2) and not out[:, [0, 3]].any()
    assert torch.equal(out[:, 1:3], x[:, :, ::2, ::2])
    assert torch.equal(cifar.shortcut_a(x, 2, 1), x)
