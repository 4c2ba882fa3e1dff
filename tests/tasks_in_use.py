"""Twelve tasks with their small models, as a lesson would write them: all are trained by the one ``fit``.

Who wants to write a task of their own reads one of these beside ``cmlib/tasks/base.py``. Contrast, Tag,
Regress and Classify are in ``cmlib.tasks``; here are only models for them.
"""

from dataclasses import replace
from functools import cache

import torch
from torch import nn
from torch.nn.functional import (
    binary_cross_entropy_with_logits,
    cross_entropy,
    kl_div,
    log_softmax,
    mse_loss,
    normalize,
    one_hot,
    softmax,
)

from cmlib.data import Features, Pairs, TextBatch
from cmlib.encoders import image_encoder, text_encoder
from cmlib.tasks import Classify, Task
from cmlib.training.freeze import freeze
from cmlib.worlds import COLORS, KINDS, RefundDesk

SIDE = 64  # pixels of a photo


# --- the data ---


@cache
def toys(n: int, split: str = "train") -> Pairs:
    """Photos of one toy with a caption, "a large cracked red car"; label: its kind, one of eight.

    extras: caption, cracked (0 or 1), color, box (x0, y0, x1, y1, as shares of the side)
    """
    pairs = RefundDesk(probabilities=(1, 0, 0, 0)).sample(n, split)
    facts = zip(*(pairs.extras[name].tolist() for name in ("size", "cracked", "color", "kind")), strict=True)
    captions = [
        f"a {('small', 'large')[size]} {'cracked ' * cracked}{COLORS[color]} {KINDS[kind]}"
        for size, cracked, color, kind in facts
    ]
    chosen = {name: pairs.extras[name] for name in ("cracked", "color")}
    extras = chosen | {"caption": captions, "box": pairs.extras["box"].float() / SIDE}
    return Pairs(pairs.images, captions, pairs.extras["kind"], KINDS, extras)


def tagged(pairs: Pairs) -> Pairs:
    """The same photos, with 15 questions each: is it a ball, …, is it red, …, is it cracked?"""
    e = pairs.extras
    answers = [one_hot(pairs.labels, len(KINDS)), one_hot(e["color"], len(COLORS)), e["cracked"][:, None]]
    names = (*KINDS, *COLORS, "cracked")
    return replace(pairs, labels=torch.cat(answers, 1).float(), class_names=names)


def two_views(n: int, seed: int) -> Features:
    """Two classes; each half tells, the text (3 numbers) more plainly than the image (4)."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 2, (n,), generator=draw)
    sign = (2.0 * labels - 1)[:, None]
    image, text = torch.randn(n, 4, generator=draw) + 0.5 * sign, torch.randn(n, 3, generator=draw) + sign
    return Features(image, text, labels)


# --- models ---


class Photo(nn.Module):
    """Frozen mini ResNet, then one layer: a photo → ``size`` numbers.

    everywhere : read all 4 × 4 places of the map, not their mean (where something is matters)
    """

    def __init__(self, size: int, everywhere: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.image_encoder, self.everywhere = freeze(image_encoder("mini")), everywhere
        width = self.image_encoder.hidden_size * (16 if everywhere else 1)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size))

    def forward(self, batch):
        encoder = self.image_encoder
        x = encoder.feature_map(batch.image).flatten(1) if self.everywhere else encoder(batch.image)
        return self.head(x)  # (batch, size)


class KindAndCrack(Photo):
    """Two heads: {"kind": logits (batch, 8), "cracked": a logit (batch, 1)}."""

    def __init__(self):
        super().__init__(len(KINDS) + 1)

    def forward(self, batch):
        x = super().forward(batch)
        return {"kind": x[:, :-1], "cracked": x[:, -1:]}


class DualEncoder(nn.Module):
    """Photos and texts in one space, and a temperature that is learned (CLIP, Radford et al. 2021)."""

    def __init__(self, image=None, text=None, size: int = 32):
        super().__init__()
        torch.manual_seed(0)
        self.image_encoder = image or freeze(image_encoder("mini"))
        self.text_encoder = text or text_encoder("bag", hidden_size=size)
        self.image = nn.Linear(self.image_encoder.hidden_size, size)
        self.text = nn.Linear(self.text_encoder.hidden_size, size)
        self.log_scale = nn.Parameter(torch.tensor(10.0).log())

    @property
    def tokenizer(self):
        return self.text_encoder.tokenizer

    def forward(self, batch):
        image, text = self.image_encoder(batch.image), self.text_encoder(batch.text)
        return {"image": self.image(image), "text": self.text(text), "scale": self.log_scale.exp()}


class Captioner(nn.Module):
    """A GRU that begins with the photo and writes a word at a time (Vinyals et al. 2015)."""

    def __init__(self, size: int = 64):
        super().__init__()
        torch.manual_seed(0)
        self.image_encoder, words = freeze(image_encoder("mini")), text_encoder("bag", hidden_size=size)
        self.tokenizer, self.words = words.tokenizer, words.embedding
        width = self.image_encoder.hidden_size
        self.begin = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, size), nn.Tanh())
        self.decoder, self.next = nn.GRU(size, size, batch_first=True), nn.Linear(size, len(self.tokenizer))

    def branches(self):
        return {"image": self.image_encoder, "decoder": [self.words, self.decoder, self.next]}

    def forward(self, batch, ids):
        state = self.begin(self.image_encoder(batch.image))[None]  # (1, batch, size)
        return self.next(self.decoder(self.words(ids), state)[0])  # (batch, tokens, vocabulary)


class Reader(nn.Module):
    """Logits from the words alone."""

    def __init__(self, n_classes: int):
        super().__init__()
        torch.manual_seed(0)
        self.text_encoder = text_encoder("bag", hidden_size=16)
        self.tokenizer, self.head = self.text_encoder.tokenizer, nn.Linear(16, n_classes)

    def forward(self, batch):
        return self.head(self.text_encoder(batch.text))


class Cloze(nn.Module):
    """The mini BERT with a layer that says which word stood in each place."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.text_encoder = freeze(text_encoder("mini"))
        self.tokenizer = self.text_encoder.tokenizer
        self.word = nn.Linear(self.text_encoder.hidden_size, len(self.tokenizer))

    def forward(self, text: TextBatch):
        return self.word(self.text_encoder.states(text))  # (batch, tokens, vocabulary)


class Velocity(nn.Module):
    """Which way a point moves at time t, knowing its class: (batch, 2)."""

    def __init__(self, n_classes: int, size: int = 64):
        super().__init__()
        torch.manual_seed(0)
        self.n_classes = n_classes
        self.net = nn.Sequential(
            nn.Linear(3 + n_classes, size), nn.GELU(), nn.Linear(size, size), nn.GELU(), nn.Linear(size, 2)
        )

    def forward(self, batch, point, time):
        return self.net(torch.cat([point, time, one_hot(batch.labels, self.n_classes)], 1))


class TwoBranches(nn.Module):
    """Logits of the image and of the text; the prediction is their sum."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.image_encoder, self.text_encoder = nn.Linear(4, 2), nn.Linear(3, 2)

    def branches(self):
        return {"image": self.image_encoder, "text": self.text_encoder}

    def forward(self, batch):
        return torch.stack(
            [self.image_encoder(batch.image), self.text_encoder(batch.text)], 1
        )  # (batch, 2, 2)


# --- tasks ---


class Triplet(Task):
    """A row is nearer to rows of its class than to others, by a margin (Schroff et al. 2015). Outputs (batch,
    size); labels: classes.

    Learned from are semi-hard negatives: further away than the positive, but not by the margin.
    """

    separable = False

    def __init__(self, margin: float = 0.2):
        self.margin = margin

    def objective(self, outputs, batch):
        distance = 2 - 2 * normalize(outputs, dim=1) @ normalize(outputs, dim=1).T  # (batch, batch)
        same = batch.labels[:, None] == batch.labels
        positive = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device)
        gap = distance[:, None, :] - distance[:, :, None]  # (anchor, positive, negative)
        chosen = positive[:, :, None] & ~same[:, None, :] & (gap > 0) & (gap < self.margin)
        return (self.margin - gap)[chosen].sum() / chosen.sum().clamp(min=1)

    def keep(self, outputs, batch):
        return outputs

    def score(self, kept, rows):
        nearest = torch.cdist(kept, kept).fill_diagonal_(torch.inf).argmin(1)
        right = (rows.labels[nearest] == rows.labels).double().mean().item()
        return {"loss": self.objective(kept, rows).item(), "recall@1": right}


class TwoHeads(Task):
    """What kind of toy, and is it cracked? Outputs {"kind": (batch, 8), "cracked": (batch, 1)}."""

    targets = ("cracked",)

    def objective(self, outputs, batch):
        cracked = batch.targets["cracked"].float()[:, None]
        kind = cross_entropy(outputs["kind"], batch.labels)
        crack = binary_cross_entropy_with_logits(outputs["cracked"], cracked)
        return {"loss": kind + crack, "kind_loss": kind, "crack_loss": crack}

    def keep(self, outputs, batch):
        return outputs

    def score(self, kept, rows):
        kind = (kept["kind"].argmax(1) == rows.labels).double().mean().item()
        crack = ((kept["cracked"][:, 0] > 0) == rows.extras["cracked"]).double().mean().item()
        losses = self.objective(kept, rows.answers(torch.arange(len(rows))))
        found = {name: loss.item() for name, loss in losses.items()}
        return found | {"kind_accuracy": kind, "crack_accuracy": crack}


class Boxes(Task):
    """Where the toy is. Outputs (batch, 4), of which the sigmoid is x0, y0, x1, y1 as shares of the side."""

    targets = ("box",)

    def objective(self, outputs, batch):
        return (outputs.sigmoid() - batch.targets["box"]).abs().mean()

    def keep(self, outputs, batch):
        return outputs.sigmoid()

    def score(self, kept, rows):
        true = rows.extras["box"]
        low, high = torch.maximum(kept[:, :2], true[:, :2]), torch.minimum(kept[:, 2:], true[:, 2:])
        both = (high - low).clamp(min=0).prod(1)  # (rows,): the area that both cover
        areas = [(box[:, 2:] - box[:, :2]).clamp(min=0).prod(1) for box in (kept, true)]
        overlap = both / (sum(areas) - both)
        return {"loss": (kept - true).abs().mean().item(), "iou": overlap.mean().item()}


class Captions(Task):
    """The next word, given the photo and the words before it (teacher forcing). The loss is that of a whole
    caption, its mean over the rows: no row counts more because another is short.
    """

    targets = ("caption",)

    def forward(self, call, batch):
        return call(batch, batch.targets["caption"].input_ids[:, :-1])

    def surprise(self, logits, batch):
        """Of each word, 0 where there is none: (batch, tokens − 1)."""
        ids, mask = (
            getattr(batch.targets["caption"], name)[:, 1:] for name in ("input_ids", "attention_mask")
        )
        return cross_entropy(logits.mT, ids, reduction="none") * mask

    def objective(self, outputs, batch):
        return self.surprise(outputs, batch).sum(1).mean()

    def keep(self, outputs, batch):
        words = batch.targets["caption"]
        right = (outputs.argmax(2) == words.input_ids[:, 1:]) | (words.attention_mask[:, 1:] == 0)
        # all right with the true words before them: greedy decoding writes this caption
        return {"loss": self.surprise(outputs, batch).sum(1), "exact": right.all(1).float()}

    def score(self, kept, rows):
        return {name: values.double().mean().item() for name, values in kept.items()}


class MaskedWords(Task):
    """A word of each text is hidden, another one every time, and has to be told from the rest (Devlin et al.
    2019).
    """

    def __init__(self, mask_id: int):
        self.mask_id = mask_id

    def forward(self, call, batch):
        ids, mask = batch.text.input_ids, batch.text.attention_mask
        words = mask.sum(1) - 2  # all but [CLS] and [SEP]
        place = 1 + (torch.rand(len(ids), device=ids.device) * words).long()  # (batch,)
        hidden = one_hot(place, ids.shape[1]).bool()  # (batch, tokens)
        return {
            "logits": call(TextBatch(ids.where(~hidden, self.mask_id), mask))[hidden],
            "true": ids[hidden],
        }

    def objective(self, outputs, batch):
        return cross_entropy(outputs["logits"], outputs["true"])

    def keep(self, outputs, batch):  # two numbers a row, never the logits of the vocabulary
        loss = cross_entropy(outputs["logits"], outputs["true"], reduction="none")
        return {"loss": loss, "accuracy": (outputs["logits"].argmax(1) == outputs["true"]).float()}

    def score(self, kept, rows):
        return {name: values.double().mean().item() for name, values in kept.items()}


class FlowMatching(Task):
    """The velocity of the straight way from noise to a point of the data (Lipman et al. 2023); the points are
    ``image`` of Features.
    """

    def forward(self, call, batch):
        noise, time = torch.randn_like(batch.image), torch.rand(len(batch), 1, device=batch.image.device)
        point = (1 - time) * noise + time * batch.image
        return {"velocity": call(batch, point, time), "way": batch.image - noise}

    def objective(self, outputs, batch):
        return mse_loss(outputs["velocity"], outputs["way"])

    @staticmethod
    @torch.no_grad()
    def draw(model, labels, steps: int = 40):
        """Points (len(labels), 2), from noise, by Euler's steps."""
        point = torch.randn(len(labels), 2, generator=torch.Generator().manual_seed(0))
        batch = Features(point, point, labels)
        for step in range(steps):
            point = point + model(batch, point, torch.full((len(labels), 1), step / steps)) / steps
        return point


class Distil(Task):
    """The answers of a teacher, softened by a temperature, instead of labels (Hinton et al. 2015)."""

    def __init__(self, teacher: nn.Module, temperature: float = 2.0):
        self.teacher, self.temperature = freeze(teacher).eval(), temperature

    def forward(self, call, batch):
        with torch.no_grad():
            taught = self.teacher(batch)
        return {"student": call(batch), "teacher": taught}

    def objective(self, outputs, batch):
        t = self.temperature
        student, teacher = log_softmax(outputs["student"] / t, 1), log_softmax(outputs["teacher"] / t, 1)
        return t * t * kl_div(student, teacher, reduction="batchmean", log_target=True)

    def keep(self, outputs, batch):
        return outputs

    def score(self, kept, rows):
        same = kept["student"].argmax(1) == kept["teacher"].argmax(1)
        return {"loss": self.objective(kept, None).item(), "agreement": same.double().mean().item()}


class Modulated(Classify):
    """OGM-GE (Peng et al. 2022): the branch that is ahead learns more slowly, by 1 − tanh(alpha · lead).

    Outputs (batch, branches, classes), of which the sum is the prediction. noise : GE, as a share of the
    gradient's own spread.
    """

    def __init__(self, names=("image", "text"), alpha: float = 1.0, noise: float = 0.0):
        super().__init__()
        self.names, self.alpha, self.noise, self.sure = names, alpha, noise, None

    def objective(self, outputs, batch):
        sure = softmax(outputs.detach(), 2)[torch.arange(len(outputs)), :, batch.labels]  # (batch, branches)
        self.sure = sure.sum(0) if self.sure is None else self.sure + sure.sum(0)  # of all parts
        return self.loss(outputs.sum(1), batch.labels)

    def adjust(self, model):
        ratio = self.sure / (self.sure.sum() - self.sure)  # of each branch to the other
        slower, self.sure = 1 - torch.tanh(self.alpha * (ratio - 1).clamp(min=0)), None
        for name, factor in zip(self.names, slower, strict=True):
            for parameter in model.branches()[name].parameters():
                parameter.grad *= factor
                parameter.grad += self.noise * parameter.grad.std() * torch.randn_like(parameter.grad)

    def keep(self, outputs, batch):
        return outputs.sum(1)


class DpSgd(Classify):
    """DP-SGD (Abadi et al. 2016): each row's gradient is cut to norm ``clip``; noise hides whose it was."""

    def __init__(self, clip: float, noise: float):
        super().__init__()
        self.clip, self.noise, self.rows = clip, noise, 0

    def gradients(self, model, call, batch, share, backward):
        outputs = self.forward(call, batch)
        losses = cross_entropy(outputs, batch.labels, reduction="none")  # (batch,)
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        for loss in losses:
            own = torch.autograd.grad(loss, parameters, retain_graph=True)
            norm = torch.stack([gradient.norm() for gradient in own]).norm()
            weight = share / len(losses) * (self.clip / norm).clamp(max=1)
            for parameter, gradient in zip(parameters, own, strict=True):
                parameter.grad = weight * gradient + (0 if parameter.grad is None else parameter.grad)
        self.rows += len(losses)
        return {"loss": losses.mean()}, outputs

    def adjust(self, model):
        spread, self.rows = self.noise * self.clip / self.rows, 0
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.grad += spread * torch.randn_like(parameter.grad)


# --- for tests of gradients ---


def remembers(task: Task) -> Task:
    """The same task, which keeps the gradient of every whole batch, one row of numbers, in ``task.seen``."""

    class Remembers(type(task)):
        def adjust(self, model):
            super().adjust(model)
            found = [p.grad.flatten() for p in model.parameters() if p.grad is not None]
            self.seen.append(torch.cat(found).tolist())

    task.seen = []
    Remembers.__name__ = type(task).__name__
    task.__class__ = Remembers
    return task
