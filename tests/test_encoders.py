"""Encoders: shapes, padding, statistics, tokenizer, weights on disk, and every name that does not exist."""

import errno
import json

import pytest
import torch

from cmlib.data.batch import ImageBatch, TextBatch
from cmlib.data.files import sha256
from cmlib.data.tokens import pad
from cmlib.encoders import image_encoder, stand_in, text_encoder, weights
from cmlib.encoders.stand_ins import maker
from cmlib.encoders.tokenizer import FOLDER, SPECIAL, mini_tokenizer, train_wordpiece
from cmlib.encoders.weights import DATA, load, load_shipped

TEXTS = ["it arrived broken .", "is this the blue ball that i ordered ?", "ok", "grinning face with big eyes"]


@pytest.fixture(scope="module")
def encoders():
    torch.manual_seed(0)
    return {name: text_encoder(name).eval() for name in ("bag", "lstm", "mini")}


@pytest.fixture(scope="module")
def mini():
    return image_encoder("mini").eval()


def words(tokenizer, texts=TEXTS):
    return pad(tokenizer(texts)["input_ids"], tokenizer.pad_token_id)


def pictures(n=3, size=64):
    return ImageBatch(
        torch.randint(
            0, 256, (n, 3, size, size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
        )
    )


@pytest.mark.parametrize("name", ["bag", "lstm", "mini"])
def test_padding_does_not_change_text_features(encoders, name):
    encoder = encoders[name]
    together = encoder(words(encoder.tokenizer))
    assert together.shape == (4, encoder.hidden_size)
    for row, text in enumerate(TEXTS):
        torch.testing.assert_close(
            together[row], encoder(words(encoder.tokenizer, [text]))[0], rtol=1e-4, atol=1e-5
        )
    batch = words(encoder.tokenizer)
    noisy = TextBatch(torch.where(batch.attention_mask == 1, batch.input_ids, 77), batch.attention_mask)
    torch.testing.assert_close(encoder(noisy), together, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["bag", "mini"])
def test_the_feature_is_the_mean_of_the_states_that_are_words(encoders, name):
    encoder = encoders[name]
    batch = words(encoder.tokenizer)
    states = encoder.states(batch)
    assert states.shape == (*batch.input_ids.shape, encoder.hidden_size)
    manual = [states[i, : int(batch.attention_mask[i].sum())].mean(0) for i in range(4)]
    torch.testing.assert_close(encoder(batch), torch.stack(manual), rtol=1e-4, atol=1e-5)


def test_bag_forgets_order_and_the_others_do_not(encoders):
    same = {
        name: torch.allclose(
            *encoder(words(encoder.tokenizer, ["broken not fine", "fine not broken"])), atol=1e-4
        )
        for name, encoder in encoders.items()
    }
    assert same == {"bag": True, "lstm": False, "mini": False}


def test_lstm_feature_is_the_state_after_the_last_word(encoders):
    encoder = encoders["lstm"]
    batch = words(encoder.tokenizer)
    last = batch.attention_mask.sum(1) - 1
    torch.testing.assert_close(encoder(batch), encoder.states(batch)[torch.arange(4), last])


def test_cls_pooling_is_the_first_state():
    encoder = text_encoder("mini", pooling="cls").eval()
    batch = words(encoder.tokenizer)
    torch.testing.assert_close(encoder(batch), encoder.states(batch)[:, 0])


def test_tokenizer_has_berts_special_tokens_and_no_word_is_unknown():
    tokenizer = mini_tokenizer()
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL)) == [0, 1, 2, 3, 4] and tokenizer.pad_token_id == 0
    ids = tokenizer(["Zyxwvut, the QUOKKA #9 costs 3.50!"])["input_ids"][0]
    assert ids[0] == 2 and ids[-1] == 3 and 1 not in ids
    assert tokenizer.decode(
        tokenizer(["is it broken ?"])["input_ids"][0], skip_special_tokens=True
    ).startswith("is it broken")
    assert len(tokenizer) <= 2000 and len((DATA / FOLDER / "vocab.txt").read_text().splitlines()) == len(
        tokenizer
    )


def test_wordpiece_learns_whole_words_that_are_frequent_and_keeps_every_letter():
    pieces = train_wordpiece(["refund refund refund please"] * 5, vocab_size=300)
    assert pieces[:5] == list(SPECIAL) and len(set(pieces)) == len(pieces)
    assert "refund" in pieces and {"q", "##q", "7", "##7", "?"} <= set(pieces)


@pytest.mark.parametrize(("name", "places"), [("cnn", 4), ("mini", 4)])
def test_image_features_are_the_mean_of_the_map(name, places):
    encoder = image_encoder(name).eval()
    batch = pictures()
    grid = encoder.feature_map(batch)
    assert grid.shape == (3, encoder.hidden_size, places, places)
    torch.testing.assert_close(encoder(batch), grid.flatten(2).mean(2))


def test_mini_resnet_is_torchvisions_and_small(mini):
    from torchvision.models.resnet import BasicBlock

    blocks = [m for m in mini.modules() if isinstance(m, BasicBlock)]
    assert [block.conv1.out_channels for block in blocks] == [16, 32, 64, 128]
    assert 250_000 < sum(p.numel() for p in mini.parameters()) < 350_000


def test_pixels_are_normalised_with_the_statistics_of_the_weights(mini):
    batch = pictures()
    manual = torch.stack(
        [(batch.pixels[:, c].float() / 255 - mini.mean[c]) / mini.std[c] for c in range(3)], 1
    )
    torch.testing.assert_close(mini.normalise(batch), manual)
    assert {"mean", "std"} <= set(mini.state_dict())
    torch.testing.assert_close(mini(ImageBatch(batch.pixels.float())), mini(batch))


def test_pictures_of_another_size_are_resized_and_layout_does_not_matter(mini):
    assert mini(pictures(size=72)).shape == (3, 128)
    plain = image_encoder("mini", channels_last=False).eval()
    torch.testing.assert_close(plain(pictures()), mini(pictures()), rtol=1e-3, atol=1e-4)


def test_torchvision_resnet_has_features_not_logits():
    encoder = image_encoder("resnet18", pretrained=False, image_size=64).eval()
    assert encoder(pictures(2)).shape == (2, 512) and encoder.feature_map(pictures(2)).shape == (2, 512, 2, 2)


def test_shipped_files_are_what_the_card_says():
    card = json.loads((DATA / "weights.json").read_text())
    assert set(card) == {f"mini-{part}.safetensors" for part in ("attributes", "bert", "resnet")}
    text = (DATA / "README.md").read_text()
    for name, entry in card.items():
        assert sha256(DATA / name) == entry["sha256"] and entry["sha256"] in text
        assert (DATA / name).stat().st_size == entry["bytes"]
    assert sum(entry["bytes"] for entry in card.values()) < 8_000_000


def test_pretrained_means_other_weights_than_fresh():
    shipped, fresh = text_encoder("mini"), text_encoder("mini", pretrained=False)
    name = "model.encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(shipped.state_dict()[name], fresh.state_dict()[name])


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    for name in ("weights.json", "mini-resnet.safetensors"):
        (tmp_path / name).write_bytes((DATA / name).read_bytes())
    file = tmp_path / "mini-resnet.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    monkeypatch.setattr(weights, "DATA", tmp_path)
    module = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="damaged"):
        load_shipped(module, "mini-resnet")
    with pytest.raises(FileNotFoundError, match="make weights"):
        load_shipped(module, "mini-bert")


def test_weights_of_another_architecture_name_the_first_tensor_that_differs(tmp_path):
    from safetensors.torch import save_file

    path, before = tmp_path / "x.safetensors", [torch.nn.Linear(5, 3), torch.nn.Linear(4, 3, bias=False)]
    save_file({"weight": torch.zeros(3, 4), "bias": torch.zeros(3)}, path)
    load(torch.nn.Linear(4, 3), path)
    with pytest.raises(ValueError, match=r"'weight' is \(3, 4\) there and \(3, 5\)"):
        load(before[0], path)
    with pytest.raises(ValueError, match=r"no tensor 'bias'"):
        load(before[1], path)
    # the file's zeros are in neither: nothing was half loaded
    assert all(module.weight.any() for module in before)
    with pytest.raises(ValueError, match=r"has no tensor '0.weight'"):
        load(torch.nn.Sequential(torch.nn.Linear(4, 3)), path)
    for content in (b"not tensors", b"", (DATA / "mini-resnet.safetensors").read_bytes()[:5000]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="not a safetensors file"):
            load(torch.nn.Linear(4, 3), path)
    with pytest.raises(FileNotFoundError, match="no weights file"):
        load(torch.nn.Linear(4, 3), tmp_path / "absent")


@pytest.mark.parametrize(("call", "error", "says"), [
    (lambda: text_encoder("mimi"), ValueError, "did you mean 'mini'"),
    (lambda: image_encoder("resnet81"), ValueError, "did you mean 'resnet18'"),
    (lambda: text_encoder("bag", pooling="cls"), TypeError, "'pooling'"),
    (lambda: image_encoder("cnn", weights=True), TypeError, "'weights'"),
    (lambda: text_encoder("mini", pooling="max"), ValueError, "'max'"),
    (lambda: text_encoder("bag")(pictures()), TypeError, "swapped"),
    (lambda: image_encoder("cnn")(words(mini_tokenizer())), TypeError, "swapped"),
])
def test_bad_input_is_one_sentence(call, error, says):
    with pytest.raises(error) as caught:
        call()
    assert says in str(caught.value)


def test_without_a_network_the_hub_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ConnectionError, match="'mini'"):
        text_encoder("some-group/some-bert")
    with pytest.raises(ValueError, match="save_pretrained"):
        text_encoder(str(tmp_path))


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """An empty cache for torchvision's weights, and the file that it would keep ResNet-18's in."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    file = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    file.parent.mkdir(parents=True)
    return file


@pytest.mark.parametrize("content", ["other", "cut", b"", b"<html>log in first</html>"])
def test_torchvision_weights_that_are_damaged_or_of_another_architecture(hub, content):
    if isinstance(content, bytes):
        hub.write_bytes(content)
    else:
        torch.save({"conv1.weight": torch.zeros(3)}, hub)
        hub.write_bytes(hub.read_bytes()[: 500 if content == "cut" else None])
    with pytest.raises(ValueError) as caught:
        image_encoder("resnet18")
    assert str(caught.value) == (f"The weights of 'resnet18' in {hub} are damaged or belong to another "
                                 "architecture: delete that "
                                 "file, if it is there, and call again.")
    assert caught.value.__suppress_context__


@pytest.mark.parametrize(
    ("number", "error", "says"),
    [
        (errno.ENOSPC, OSError, "is full: free some space for the weights of 'resnet18', or set TORCH_HOME"),
        (
            errno.ECONNREFUSED,
            ConnectionError,
            "cannot be fetched: connect once, use pretrained=False, or 'mini'",
        ),
    ],
)
def test_torchvision_weights_that_cannot_be_fetched_or_kept(hub, monkeypatch, number, error, says):
    def fails(*args, **kwargs):
        raise OSError(number, "…")
    monkeypatch.setattr("torch.hub.download_url_to_file", fails)
    with pytest.raises(error) as caught:
        image_encoder("resnet18")
    assert says in str(caught.value) and caught.value.__suppress_context__ and not hub.exists()


@pytest.mark.parametrize(("number", "says"), [
    (errno.ENOSPC, "The disk is full: free some space for the model 'some/bert', or set HF_HOME"),
    (errno.EACCES, "cannot be written: set HF_HOME to one that can")])
def test_a_full_or_closed_disk_is_not_called_a_missing_network(monkeypatch, number, says):
    def fails(*args, **kwargs):
        raise OSError(number, "…")
    monkeypatch.setattr("huggingface_hub.snapshot_download", fails)
    with pytest.raises(OSError, match=says) as caught:
        text_encoder("some/bert")
    assert not isinstance(caught.value, ConnectionError) and caught.value.__suppress_context__


def test_a_folder_with_weights_of_another_architecture_is_refused(tmp_path, encoders, capfd):
    from safetensors.torch import load_file, save_file

    encoders["mini"].model.save_pretrained(tmp_path)
    encoders["mini"].tokenizer.save_pretrained(tmp_path)
    file, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    tensors, whole = load_file(file), file.read_bytes()
    capfd.readouterr()
    lacks = {name: tensor for name, tensor in tensors.items() if "layer.1" not in name}
    for content, says in (
        (lacks, "have no tensor 'encoder.layer.1."),
        ({"a": torch.zeros(3)}, "have no tensor 'embeddings."),
    ):
        save_file(content, file, metadata={"format": "pt"})
        with pytest.raises(ValueError, match="belong to another architecture than its config.json: they "
                                             f"{says}"):
            text_encoder(str(tmp_path))
    file.write_bytes(whole)
    config.write_text(json.dumps(json.loads(config.read_text()) | {"hidden_size": 64}))
    with pytest.raises(ValueError, match="another architecture than its config.json: their shapes differ"):
        text_encoder(str(tmp_path))
    file.write_bytes(whole[:5000])
    with pytest.raises(ValueError, match="does not hold a whole model"):
        text_encoder(str(tmp_path))
    # the sentence, and not a table of forty tensors before it
    assert "MISSING" not in "".join(capfd.readouterr())


def test_a_local_folder_is_an_encoder(tmp_path, encoders):
    ours = encoders["mini"]
    ours.model.save_pretrained(tmp_path)
    ours.tokenizer.save_pretrained(tmp_path)
    theirs = text_encoder(str(tmp_path)).eval()
    torch.testing.assert_close(
        theirs(words(theirs.tokenizer)), ours(words(ours.tokenizer)), rtol=1e-4, atol=1e-5
    )


# Whether weights are real, and what stands in for them


def test_an_encoder_says_whether_its_weights_are_real(tmp_path, encoders, mini, monkeypatch):
    from cmlib.encoders import zoo

    ours = encoders["mini"]
    ours.model.save_pretrained(tmp_path)
    ours.tokenizer.save_pretrained(tmp_path)
    monkeypatch.setattr(zoo, "load", lambda model, name, member: model)  # as if they had been fetched
    real = [ours, mini, text_encoder(str(tmp_path)), image_encoder("resnet18")]
    fresh = [encoders["bag"], encoders["lstm"], text_encoder("mini", pretrained=False), image_encoder("cnn"),
             image_encoder("mini", pretrained=False), image_encoder("resnet18", pretrained=False),
             text_encoder(str(tmp_path), pretrained=False)]
    assert [encoder.pretrained for encoder in (*real, *fresh)] == [True] * len(real) + [False] * len(fresh)


def test_a_stand_in_is_made_where_real_weights_would_be_loaded_and_only_there():
    names = {"resnet18": image_encoder, "bert-base-uncased": text_encoder}
    asked = []

    def small(encoder, **settings):
        asked.append(settings)
        return encoder("mini", pretrained=False)

    for name, encoder in names.items():
        stand_in(name, lambda encoder=encoder, **settings: small(encoder, **settings))
    try:
        for name, encoder in names.items():
            made = encoder(name)
            assert made.hidden_size == 128 and not made.pretrained
        image_encoder("resnet18", image_size=64)
        assert asked == [{}, {}, {"image_size": 64}]
        assert image_encoder("resnet18", pretrained=False).hidden_size == 512
        with pytest.raises(TypeError, match="has no setting 'imagesize'"):
            image_encoder("resnet18", imagesize=64)
        stand_in("resnet18", lambda **_: small(image_encoder), fresh=True)  # as a saved model asks for it
        assert image_encoder("resnet18", pretrained=False).hidden_size == 128
    finally:
        for name in names:
            stand_in(name, None)
    assert maker("resnet18", {}) is None
