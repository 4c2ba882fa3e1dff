"""Exercises of lesson 06: feature concatenation."""

import torch
from torch.nn.functional import gelu, layer_norm

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


@exercise("06.1", "From maps and tokens to one vector", minutes=12, points=2, difficulty=2, grad=(0, 1))
def joint_features(feature_map, token_states, attention_mask):
    picture = feature_map.mean((2, 3))
    mask = attention_mask[:, :, None].to(token_states.dtype)
    words = (token_states * mask).sum(1) / mask.sum(1)
    return torch.cat([picture, words], dim=1)


@joint_features.cases
def _(draw):
    def features(batch, channels, side, tokens, hidden, about):
        mask = (torch.arange(tokens) < 1 + draw.integers(tokens, batch)[:, None]).long()
        return case(
            draw.normal(batch, channels, side, side + 1),
            draw.normal(batch, tokens, hidden),
            mask,
            about=about,
        )

    for settings in (
        (3, 4, 2, 5, 6, "messages of different lengths"),
        (1, 2, 3, 4, 3, "a batch of one"),
        (4, 3, 1, 2, 3, "feature maps of one row"),
    ):
        yield telling(joint_features, lambda settings=settings: features(*settings))


@joint_features.mistake("The padding is not masked: average only the tokens where the mask is 1.")
def _(feature_map, token_states, attention_mask):
    return torch.cat([feature_map.mean((2, 3)), token_states.mean(1)], 1)


@joint_features.mistake("You divide by the padded length; divide by the number of real tokens of each row.")
def _(feature_map, token_states, attention_mask):
    words = (token_states * attention_mask[:, :, None]).sum(1) / token_states.shape[1]
    return torch.cat([feature_map.mean((2, 3)), words], 1)


@joint_features.mistake("The halves are in the wrong order: F = [F_I ; F_T], the picture first.")
def _(feature_map, token_states, attention_mask):
    f = joint_features.reference(feature_map, token_states, attention_mask)
    return torch.cat([f[:, feature_map.shape[1]:], f[:, :feature_map.shape[1]]], 1)


@joint_features.mistake("You take the largest value of each channel; the course's encoders average over "
                        "positions.")
def _(feature_map, token_states, attention_mask):
    f = joint_features.reference(feature_map, token_states, attention_mask)
    return torch.cat([feature_map.amax((2, 3)), f[:, feature_map.shape[1]:]], 1)


@joint_features.mistake("You sum over the positions of the feature map; the mean is wanted, so that a larger "
                        "picture is not a louder one.")
def _(feature_map, token_states, attention_mask):
    f = joint_features.reference(feature_map, token_states, attention_mask)
    return torch.cat([feature_map.sum((2, 3)), f[:, feature_map.shape[1]:]], 1)


@exercise("06.2", "The ceilings of a table", minutes=12, points=2, difficulty=3)
def ceilings(table):
    return table.sum(2).amax(0).sum(), table.sum(1).amax(0).sum(), table.amax(0).sum()


@ceilings.cases
def _(draw):
    def random(shape, about):
        table = draw.uniform(*shape)
        return case(table / table.sum(), about=about)

    for settings in (
        ((2, 3, 4), "a random table"),
        ((3, 2, 2), "three labels"),
        ((2, 5, 1), "a message that never varies"),
    ):
        yield telling(ceilings, lambda settings=settings: random(*settings))
    equal = torch.tensor([[[0.25, 0.0], [0.0, 0.25]], [[0.0, 0.25], [0.25, 0.0]]]).double()
    yield case(equal, about="the exclusive-or table")


@ceilings.mistake("The order is wrong: image only, text only, both.")
def _(table):
    return table.sum(1).amax(0).sum(), table.sum(2).amax(0).sum(), table.amax(0).sum()


@ceilings.mistake("You take the maximum before summing out the modality that is not seen: the image-only "
                  "judge does not know b.")
def _(table):
    return table.amax(2).amax(0).sum(), table.amax(1).amax(0).sum(), table.amax(0).sum()


@ceilings.mistake("You average over the symbols; their probabilities are already in the table, so sum.")
def _(table):
    return table.sum(2).amax(0).mean(), table.sum(1).amax(0).mean(), table.amax(0).mean()


@ceilings.mistake("You take the smallest entry for each symbol: that is the error rate of the best judge, "
                  "for two labels.")
def _(table):
    return table.sum(2).amin(0).sum(), table.sum(1).amin(0).sum(), table.amin(0).sum()


def _call(answer, image, text, weights):
    return answer(image, text, **weights)


@exercise("06.3", "The concatenation head", minutes=15, points=3, difficulty=3, grad=(0, 1), call=_call)
def concat_head(image, text, W1, b1, W2, b2):
    halves = [layer_norm(x, x.shape[1:]) for x in (image, text)]
    return gelu(torch.cat(halves, 1) @ W1.T + b1) @ W2.T + b2


@concat_head.cases
def _(draw):
    for batch, image, text, hidden, classes, about in (
        (4, 5, 3, 6, 2, "random features"),
        (1, 2, 4, 3, 3, "a batch of one"),
        (6, 3, 3, 6, 6, "equal sizes"),
    ):
        weights = {
            "W1": draw.normal(hidden, image + text),
            "b1": draw.normal(hidden),
            "W2": draw.normal(classes, hidden),
            "b2": draw.normal(classes),
        }
        yield case(draw.normal(batch, image), draw.normal(batch, text), weights, about=about)
    yield case(
        1000 * draw.normal(3, 4),
        0.01 * draw.normal(3, 2),
        {"W1": draw.normal(5, 6), "b1": draw.normal(5), "W2": draw.normal(2, 5), "b2": draw.normal(2)},
        about="an image half ten thousand times larger than the text half",
    )


@concat_head.mistake(
    "The halves are not normalised: bring each to zero mean and unit variance per row first."
)
def _(image, text, W1, b1, W2, b2):
    return gelu(torch.cat([image, text], 1) @ W1.T + b1) @ W2.T + b2


@concat_head.mistake("You normalise after concatenating: then the larger half still drowns the smaller. "
                     "Normalise each half by itself.")
def _(image, text, W1, b1, W2, b2):
    f = torch.cat([image, text], 1)
    return gelu(layer_norm(f, f.shape[1:]) @ W1.T + b1) @ W2.T + b2


@concat_head.mistake("The non-linearity is missing: two linear layers in a row are one linear layer, and "
                     "that cannot compare.")
def _(image, text, W1, b1, W2, b2):
    halves = [layer_norm(x, x.shape[1:]) for x in (image, text)]
    return (torch.cat(halves, 1) @ W1.T + b1) @ W2.T + b2


@concat_head.mistake("This is ReLU; the head uses GELU.")
def _(image, text, W1, b1, W2, b2):
    halves = [layer_norm(x, x.shape[1:]) for x in (image, text)]
    return (torch.cat(halves, 1) @ W1.T + b1).relu() @ W2.T + b2


@concat_head.mistake("The text half comes first in your vector; the weights expect [F_I ; F_T].")
def _(image, text, W1, b1, W2, b2):
    halves = [layer_norm(x, x.shape[1:]) for x in (text, image)]
    return gelu(torch.cat(halves, 1) @ W1.T + b1) @ W2.T + b2


@exercise("06.4", "Accuracy per situation", minutes=8, points=2, difficulty=2)
def accuracy_by_group(right, group, n_groups):
    count = torch.bincount(group, minlength=n_groups)
    return torch.bincount(group, right.double(), minlength=n_groups) / count


@accuracy_by_group.cases
def _(draw):
    yield telling(
        accuracy_by_group,
        lambda: case(
            draw.integers(2, 40).bool(), draw.integers(4, 40), 4, about="random answers in four groups"
        ),
        hides=("empty group",),
    )
    yield case(torch.tensor([True, False, True]), torch.tensor([2, 2, 0]), 4, about="groups without a single "
                                                                                    "row (nan is wanted "
                                                                                    "there)")
    yield telling(
        accuracy_by_group,
        lambda: case(draw.integers(2, 9).bool(), torch.zeros(9, dtype=torch.int64), 1, about="one group"),
        hides=("empty group", "all rows"),
    )


@accuracy_by_group.mistake("An empty group has no accuracy: return nan there, not 0.")
def _(right, group, n_groups):
    return accuracy_by_group.reference(right, group, n_groups).nan_to_num(0.0)


@accuracy_by_group.mistake("You count the right answers; divide by the number of rows of the group.")
def _(right, group, n_groups):
    return torch.bincount(group, right.double(), minlength=n_groups)


@accuracy_by_group.mistake("You divide by all rows; divide by the number of rows of the group.")
def _(right, group, n_groups):
    return torch.bincount(group, right.double(), minlength=n_groups) / len(group)


@accuracy_by_group.mistake("This is each group's share of the right answers; divide by the rows of the group "
                           "instead.")
def _(right, group, n_groups):
    return torch.bincount(group, right.double(), minlength=n_groups) / right.sum()
