"""Real weights the true way: a hub on this machine, a fresh cache, and every way in which fetching a model
goes wrong.
"""

import contextlib
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hub_server import Hub, Repo

from cmlib.data.batch import ImageBatch
from cmlib.encoders import image_encoder, zoo

# HF_HOME and HF_ENDPOINT are read when huggingface_hub is imported, so a process of its own evaluates what
# the tests ask.
WORKER = """
import json, os, sys, time
out = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
real = time.sleep
# huggingface_hub waits a second before each new attempt
time.sleep = lambda seconds: real(min(seconds, 0.01))
import huggingface_hub.constants
import torch
from cmlib.data import pad
from cmlib.encoders import text_encoder

# it continues after the last whole chunk, usually of 10 MB
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 1000

def make(folder, layers=1, seed=0, dtype=torch.float32, **changed):
    from transformers import BertConfig, BertModel
    from cmlib.encoders.tokenizer import mini_tokenizer
    tokenizer = mini_tokenizer()
    torch.manual_seed(seed)
    shape = dict(vocab_size=len(tokenizer), hidden_size=16, num_hidden_layers=layers,
                 num_attention_heads=2, intermediate_size=32)
    BertModel(BertConfig(**shape | changed)).to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)

def read(name, **settings):
    encoder = text_encoder(name, **settings).eval()
    with torch.no_grad():
        tokens = encoder.tokenizer(["it arrived broken .", "ok"])["input_ids"]
        features = encoder(pad(tokens, encoder.tokenizer.pad_token_id))
    return {"features": features.tolist(), "revision": encoder.revision, "dtype": str(features.dtype)}

for line in sys.stdin:
    try:
        answer = {"value": eval(line)}
    except Exception as error:
        quiet = error.__suppress_context__ or error.__context__ is None
        answer = {"error": type(error).__name__, "says": str(error), "quiet": quiet}
    print(json.dumps(answer), file=out, flush=True)
"""


class Worker:
    def __init__(self, home, endpoint, **environment):
        self.home = home
        self.process = subprocess.Popen(
            [sys.executable, "-c", WORKER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=(home / "stderr").open("w"),
            text=True,
            env={
                **os.environ,
                "HF_HOME": str(home),
                "HF_ENDPOINT": endpoint,
                "no_proxy": "*",
                "HF_HUB_DISABLE_XET": "1",
                "HF_TOKEN": "",
                **environment,
            },
        )

    def __call__(self, expression):
        self.process.stdin.write(expression + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline() or pytest.fail((self.home / "stderr").read_text()))

    def value(self, expression):
        answer = self(expression)
        assert "value" in answer, answer
        return answer["value"]

    def error(self, expression):
        answer = self(expression)
        assert answer.get("quiet"), answer  # one sentence, and no chain of a library's errors under it
        return f"{answer['error']}: {answer['says']}"

    def close(self):
        self.process.stdin.close()
        self.process.wait(30)

    def leftovers(self):
        return [path for path in self.home.rglob("*.incomplete")]


@pytest.fixture(scope="module")
def hub():
    hub = Hub()
    yield hub
    hub.close()


@pytest.fixture(scope="module")
def worker(hub, tmp_path_factory):
    worker = Worker(tmp_path_factory.mktemp("hf"), hub.url)
    yield worker
    worker.close()


@pytest.fixture(scope="module")
def made(worker, tmp_path_factory):
    """Two models as save_pretrained writes them: {"one" | "two": folder}."""
    folders = {name: tmp_path_factory.mktemp(name) for name in ("one", "two")}
    for seed, folder in enumerate(folders.values()):
        worker.value(f"make({str(folder)!r}, seed={seed})")
    return folders


ONE, TWO = "1" * 40, "2" * 40


@pytest.fixture
def repo(hub, made, request):
    """A repository of this test alone, so that nothing of it is in the cache: its name, and what the hub does
    with it.
    """
    files = {
        name: {path.name: path.read_bytes() for path in folder.iterdir()} for name, folder in made.items()
    }
    files["two"] |= {"pytorch_model.bin": b"pickle", "onnx/config.json": b"{}", "README.md": b"words"}
    name = "course/" + hashlib.sha256(request.node.name.encode()).hexdigest()[:12]
    repo = hub.repos[name] = Repo({ONE: files["one"], TWO: files["two"]}, {"main": TWO, "v1": ONE})
    repo.name = name
    hub.asked.clear()
    return repo


def test_a_model_is_fetched_whole_and_nothing_but_what_is_read(hub, worker, made, repo):
    fetched, local = worker.value(f"read({repo.name!r})"), worker.value(f"read({str(made['two'])!r})")
    assert (
        fetched["features"] == local["features"] and fetched["revision"] == TWO and local["revision"] is None
    )
    wanted = {"config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"}
    assert {path.split("/")[-1] for _, path, _ in hub.asked if "/resolve/" in path} == wanted
    # one commit, even if main moves meanwhile
    assert all(TWO in path for _, path, _ in hub.asked if "/resolve/" in path)


def test_a_pinned_commit_in_the_cache_asks_the_hub_nothing(hub, worker, repo):
    first = worker.value(f"read({repo.name!r}, revision={ONE!r})")
    hub.asked.clear()
    assert worker.value(f"read({repo.name!r}, revision={ONE!r})") == first
    assert hub.asked == []


def test_a_revision_is_a_branch_a_tag_or_a_commit(worker, made, repo):
    one, two = (worker.value(f"read({str(folder)!r})")["features"] for folder in made.values())
    for revision, features, commit in (
        ("v1", one, ONE),
        (ONE, one, ONE),
        ("main", two, TWO),
        (TWO, two, TWO),
    ):
        got = worker.value(f"read({repo.name!r}, revision={revision!r})")
        assert got["features"] == features != (two if features is one else one) and got["revision"] == commit
    for revision in ("v9", "9" * 40):
        assert worker.error(f"read({repo.name!r}, revision={revision!r})") == (
            f"ValueError: The model {repo.name!r} has no revision {revision!r}: give one of its branches or "
            "tags, a full commit "
            "hash, or leave revision out for 'main'.")
    assert "has no revisions: leave out revision='v1'" in worker.error(f"read({str(made['one'])!r}, "
                                                                       "revision='v1')")


def test_a_branch_that_moves_is_followed(worker, repo):
    before = worker.value(f"read({repo.name!r})")
    repo.refs["main"] = ONE
    after = worker.value(f"read({repo.name!r})")
    assert (before["revision"], after["revision"]) == (TWO, ONE) and before["features"] != after["features"]


GATED = "The model {!r} is gated: accept its terms on its page, then log in with `hf auth login`."
UNKNOWN = "The hub has no public model {!r}: check its spelling, or log in with "
REFUSED = "The hub refused access to the model {!r} (403): log in again with `hf auth login`."
DOWN = "The model {!r} is not (or not wholly) on this computer and the hub answered 500: connect once"


@pytest.mark.parametrize(("refuses", "says"), [
    ((401, "GatedRepo"), f"PermissionError: {GATED}"),
    ((403, "GatedRepo"), "PermissionError: The model {!r} is gated: "),
    ((401, "RepoNotFound"), f"ValueError: {UNKNOWN}"),
    ((404, "RepoNotFound"), "ValueError: The hub has no public model {!r}: "),
    ((403, ""), f"PermissionError: {REFUSED}"),
    ((500, ""), f"ConnectionError: {DOWN}"),
])
def test_a_refusal_is_one_sentence_and_is_not_remembered(worker, repo, refuses, says):
    repo.refuses = refuses
    assert says.format(repo.name) in worker.error(f"read({repo.name!r})")
    repo.refuses = ()
    assert worker.value(f"read({repo.name!r})")["revision"] == TWO


@pytest.mark.parametrize("name", ["./no/such/folder", "a/b/c", "two words-here", "/no-such"])
def test_what_is_neither_a_folder_nor_a_name(worker, name):
    assert worker.error(f"read({name!r})") == (f"ValueError: {name!r} is neither a folder on this computer "
                                               "nor a name on the hub, "
                                               "such as 'bert-base-uncased' or 'group/model'.")


def test_a_torn_transfer_is_continued(hub, worker, repo):
    repo.cut = [1000, 5000]
    assert worker.value(f"read({repo.name!r})")["revision"] == TWO
    ranges = [wanted for command, path, wanted in hub.asked if "/cdn/" in path and command == "GET"]
    assert ranges == [None, "bytes=1000-", "bytes=6000-"]


def test_a_transfer_that_stays_torn_leaves_nothing_and_can_be_repeated(worker, repo):
    repo.cut = [1000] + [0] * 20
    assert worker.error(f"read({repo.name!r})").startswith(f"ConnectionError: The model {repo.name!r} could "
                                                           "not be fetched whole, "
                                                           "because the link broke (")
    assert worker.leftovers() == []
    repo.cut = []
    assert worker.value(f"read({repo.name!r})")["revision"] == TWO


@pytest.mark.parametrize("file", ["model.safetensors", "config.json"])
def test_another_content_of_the_same_length_is_refused_and_fetched_anew(worker, repo, file):
    repo.swap = {file: repo.commits[TWO][file][:-2] + b"  "}
    expected = f"ValueError: {file} of the model {repo.name!r} has the hash "
    says = worker.error(f"read({repo.name!r})")
    assert says.startswith(expected) and "was damaged or changed on its way and is deleted here" in says
    repo.swap = {}
    good = worker.value(f"read({repo.name!r})")
    (cached,) = (worker.home / "hub" / ("models--" + repo.name.replace("/", "--"))).glob(
        f"snapshots/*/{file}"
    )
    cached.resolve().write_bytes(cached.read_bytes()[:-1] + b"?")  # a disk that forgets
    assert worker.error(f"read({repo.name!r})").startswith(expected)
    assert worker.value(f"read({repo.name!r})") == good


def test_a_store_shared_by_models_is_checked_by_the_announced_hash(worker, repo, tmp_path):
    good = worker.value(f"read({repo.name!r})")
    (cached,) = (worker.home / "hub" / ("models--" + repo.name.replace("/", "--"))).glob(
        "snapshots/*/model.safetensors"
    )
    # named by another hash than SHA-256
    blob, shared = cached.parent / os.readlink(cached), tmp_path / ("f" * 64)
    shared.write_bytes(blob.read_bytes())
    blob.unlink()
    blob.symlink_to(shared)
    assert worker.value(f"read({repo.name!r})") == good


def test_without_a_network_the_cache_is_enough(hub, worker, made, repo, tmp_path_factory):
    online, other = worker.value(f"read({repo.name!r})"), worker.value(f"read({repo.name!r}, revision='v1')")
    hub.repos[part := "course/part-of-it"] = repo
    worker.value(f"read({part!r}, pretrained=False)['revision']")
    offline = Worker(worker.home, hub.url, HF_HUB_OFFLINE="1")
    hub.asked.clear()
    try:
        assert offline.value(f"read({repo.name!r})") == online and offline.value(f"read({repo.name!r}, "
                                                                                 "revision='v1')") == other
        for call, who in (("'course/never-seen'", "'course/never-seen'"), (f"{part!r}", f"{part!r}"),
                          (f"{repo.name!r}, revision='v2'", f"{repo.name!r} at revision 'v2'")):
            assert offline.error(f"read({call})") == (
                f"ConnectionError: The model {who} is not (or not wholly) on this computer and "
                "HF_HUB_OFFLINE is set: connect once "
                "to fetch it, or use 'mini', which is shipped with the course.")
    finally:
        offline.close()
    assert hub.asked == []
    with down(hub):
        assert worker.value(f"read({repo.name!r})") == online
        assert (
            "'course/never-seen' is not (or not wholly) on this computer and the hub cannot be reached"
            in worker.error("read('course/never-seen')")
        )


@contextlib.contextmanager
def down(hub):
    port = hub.server_address[1]
    hub.close()
    try:
        yield
    finally:
        repos = hub.repos
        hub.__init__(port)
        hub.repos = repos


def config(repo, **changed):
    files = repo.commits[TWO]
    files["config.json"] = json.dumps(json.loads(files["config.json"]) | changed).encode()


def test_weights_that_can_run_code_are_not_even_fetched(hub, worker, repo):
    del repo.commits[TWO]["model.safetensors"]
    assert f"The model {repo.name!r} has no model.safetensors: " in worker.error(f"read({repo.name!r})")
    assert not any("pytorch_model.bin" in path for _, path, _ in hub.asked)


def test_code_of_a_model_is_never_run_nor_is_a_person_asked(worker, repo, tmp_path):
    mark = tmp_path / "ran"
    config(repo, model_type="made_up", auto_map={"AutoConfig": "code.Config", "AutoModel": "code.Model"})
    repo.commits[TWO]["code.py"] = f"open({str(mark)!r}, 'w')".encode()
    assert "asks to run code of its own, which the course never does" in worker.error(f"read({repo.name!r})")
    assert not mark.exists()


CLIP = {"model_type": "clip", "hidden_size": None, "vocab_size": None}
UNREAD = "cannot be read as a text model with its tokenizer (ValueError): choose another."
NO_LAYER = "belong to another architecture than its config.json: they have no tensor 'encoder.layer.1"


@pytest.mark.parametrize(("changes", "says"), [
    (CLIP, "is a clip and not one stack of text layers: choose an encoder like BERT"),
    ({"model_type": "made_up"}, UNREAD),
    ({"is_encoder_decoder": True}, "is a bert and not one stack of text layers: choose an encoder like BERT"),
    ({"hidden_size": 32}, "has weights of another architecture than its config.json: their shapes differ"),
    ({"num_hidden_layers": 2}, NO_LAYER),
])
def test_a_repository_that_is_no_text_encoder(worker, repo, changes, says):
    config(repo, **changes)
    found = worker.error(f"read({repo.name!r})")
    assert found.startswith("ValueError") and says in found


@pytest.mark.parametrize("change", ["missing", "too large", "of another model"])
def test_a_tokenizer_that_does_not_fit_is_refused(worker, made, tmp_path, change):
    if change == "missing":  # transformers makes up one of five tokens, and every word is then unknown
        for path in made["one"].iterdir():
            if "token" not in path.name:
                (tmp_path / path.name).write_bytes(path.read_bytes())
    else:
        worker.value(f"make({str(tmp_path)!r}, vocab_size={500 if change == 'too large' else 5000})")
    found = worker.error(f"read({str(tmp_path)!r})")
    assert found.startswith(f"ValueError: The folder {tmp_path} has a tokenizer of ")
    assert "it belongs to another model, or its files are missing" in found


def test_weights_stored_in_half_precision_are_trained_in_float32(worker, tmp_path):
    worker.value(f"make({str(tmp_path)!r}, dtype=torch.float16)")
    assert worker.value(f"read({str(tmp_path)!r})")["dtype"] == "torch.float32"
    assert worker.value(f"read({str(tmp_path)!r}, pretrained=False)")["dtype"] == "torch.float32"


# torchvision's weights


@pytest.fixture(scope="module")
def resnet18():
    from torchvision.models import resnet18

    torch.manual_seed(0)
    return resnet18()


@pytest.fixture
def publish(hub, tmp_path, monkeypatch):
    """publish(bytes): what the server of ResNet-18's weights sends, under a name that promises the hash of
    ``promised``.
    """
    from torchvision.models import ResNet18_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("no_proxy", "*")

    def publish(content, promised=None, cut=None):
        digest = hashlib.sha256(promised or content).hexdigest()[:8]
        hub.plain = {f"models/resnet18-{digest}.pth": (content, {}, cut)}
        monkeypatch.setattr(
            ResNet18_Weights.IMAGENET1K_V1.value, "url", f"{hub.url}/models/resnet18-{digest}.pth"
        )
        return tmp_path / "torch" / "hub" / "checkpoints" / f"resnet18-{digest}.pth"

    return publish


def saved(tensors, path):
    torch.save(tensors, path)
    return path.read_bytes()


def test_torchvisions_weights_are_fetched_once_and_are_the_published_ones(hub, publish, resnet18, tmp_path):
    file = publish(saved(resnet18.state_dict(), tmp_path / "x"))
    hub.asked.clear()
    published = [tensor for name, tensor in resnet18.state_dict().items() if not name.startswith("fc.")]
    for weights in ("IMAGENET1K_V1", "DEFAULT", "ResNet18_Weights.IMAGENET1K_V1"):
        encoder = image_encoder("resnet18", weights=weights)
        assert all(map(torch.equal, encoder.trunk.state_dict().values(), published))
    assert len(hub.asked) == 1 and file.exists()
    assert (encoder.image_size, encoder.hidden_size) == (224, 512) and "image_size=224" in repr(encoder)
    assert encoder.mean.flatten().tolist() == pytest.approx([0.485, 0.456, 0.406])
    # not the size of its training: it says so, and resizes to it
    small = image_encoder("resnet18", image_size=64).eval()
    assert "image_size=64" in repr(small) and small.feature_map(
        ImageBatch(torch.zeros(1, 3, 50, 40))
    ).shape == (1, 512, 2, 2)


@pytest.mark.parametrize("how", ["torn", "changed", "a login page"])
def test_what_has_not_the_promised_hash_is_not_kept(publish, resnet18, tmp_path, how):
    whole = saved(resnet18.state_dict(), tmp_path / "x")
    sent = {"torn": whole, "changed": whole[:-1] + b"?", "a login page": b"<html>log in first</html>"}[how]
    file = publish(sent, promised=whole, cut=1_000_000 if how == "torn" else None)
    with pytest.raises(ValueError, match="What 127.0.0.1 gave as the weights of 'resnet18' is torn or was "
                                         "changed") as caught:
        image_encoder("resnet18")
    assert caught.value.__suppress_context__ and list(file.parent.iterdir()) == []
    publish(whole)
    assert image_encoder("resnet18").hidden_size == 512


def test_a_file_that_changed_in_the_cache_is_refused(publish, resnet18, tmp_path):
    whole = saved(resnet18.state_dict(), tmp_path / "x")
    file = publish(whole)
    file.parent.mkdir(parents=True)
    file.write_bytes(
        saved({name: tensor * 2 for name, tensor in resnet18.state_dict().items()}, tmp_path / "y")
    )
    with pytest.raises(ValueError, match=f"in {file} are damaged or belong to another architecture: delete "
                                         "that file"):
        image_encoder("resnet18")
    file.unlink()
    assert image_encoder("resnet18").hidden_size == 512


class Bomb:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return Path.touch, (self.mark,)


def test_a_pickle_that_would_run_code_is_refused_even_with_the_right_hash(publish, tmp_path):
    publish(saved({"conv1.weight": Bomb(tmp_path / "ran")}, tmp_path / "x"))
    with pytest.raises(ValueError, match="damaged or belong to another architecture"):
        image_encoder("resnet18")
    assert not (tmp_path / "ran").exists()


def test_a_server_that_has_nothing_or_falls_silent(hub, publish, monkeypatch):
    publish(b"")
    hub.plain = {}
    with pytest.raises(ConnectionError, match="cannot be fetched: connect once"):
        image_encoder("resnet18")
    monkeypatch.setattr(zoo, "TIMEOUT", 0.05)
    monkeypatch.setattr(hub, "silent", 0.5, raising=False)
    with pytest.raises(ConnectionError, match="cannot be fetched: connect once"):
        image_encoder("resnet18")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: image_encoder("resnet50", weights="IMAGENET1K_V3"),
            (
                "torchvision has no weights 'IMAGENET1K_V3' for 'resnet50'; it has IMAGENET1K_V1, "
                "IMAGENET1K_V2, DEFAULT, and pretrained=False"
            ),
        ),
        (
            lambda: image_encoder("resnet50", weights=zoo.entry("resnet18", "IMAGENET1K_V1")),
            "no weights 'ResNet18_Weights.IMAGENET1K_V1' for",
        ),
        (lambda: image_encoder("resnet50", weights=None), "no weights 'None' for 'resnet50'"),
        (
            lambda: image_encoder("resnet50", weights="IMAGENET1K_V1", pretrained=False),
            "contradict each other",
        ),
        (
            lambda: image_encoder("resnet50", image_size=(224, 224)),
            "image_size=(224, 224) must be one whole number of pixels",
        ),
        (lambda: image_encoder("mini", image_size=0), "image_size=0 must be"),
    ],
)
def test_weights_and_sizes_that_do_not_exist(call, says):
    with pytest.raises(ValueError) as caught:
        call()
    assert says in str(caught.value)


def test_every_encoders_file_name_ends_in_its_hash():
    from torchvision import models

    from cmlib.encoders.image import KNOWN

    for name in KNOWN[2:]:
        for member in models.get_model_weights(name):
            stem = Path(zoo.entry(name, member.name).url).stem
            assert (
                len(stem.rpartition("-")[2]) == 8
                and int(stem.rpartition("-")[2], 16)
                and zoo.entry(name, member) is member
            )
