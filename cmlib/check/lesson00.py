"""Exercises of lesson 00: accuracy, and the ceilings of a noisy desk."""

import torch
from torch.nn.functional import one_hot

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


@exercise("00.1", "Accuracy", minutes=5, points=1, difficulty=1)
def accuracy(logits, labels):
    answers = logits.argmax(1)
    return (answers == labels).double().mean()


@accuracy.cases
def _(draw):
    def rows(n, classes, about, shift=0.0, first=0.0):
        above = first * (torch.arange(n) == 0).double()[:, None]  # the largest logit of all stands in row 0
        return lambda: case(draw.normal(n, classes) + shift + above, draw.integers(classes, n), about=about)
    yield telling(accuracy, rows(400, 3, "three classes, most logits negative", shift=-3, first=5))
    half = "above one half"  # of two classes the larger is above it
    same = half, "entry by entry"
    yield telling(accuracy, rows(7, 2, "random logits of two classes"), hides=same)
    yield telling(accuracy, rows(5, 5, "as many classes as rows"), hides=("number of classes",))
    # where one row has two classes
    same = (*same, "how many answers", "names no dimension", "the two largest", "with every label",
            "accuracies of the classes")
    yield telling(accuracy, rows(1, 2, "a single row"), hides=same)


@accuracy.mistake("You return how many answers are right; divide by the number of rows to get the share.")
def _(logits, labels):
    return (logits.argmax(1) == labels).double().sum()


@accuracy.mistake("You return a percentage; the course uses shares between 0 and 1.")
def _(logits, labels):
    return 100 * (logits.argmax(1) == labels).double().mean()


@accuracy.mistake("argmax runs over the rows; the classes are dimension 1.")
def _(logits, labels):
    return (logits.argmax(0) == labels).double().mean()


@accuracy.mistake("This is the share of wrong answers; accuracy is the share of right ones.")
def _(logits, labels):
    return (logits.argmax(1) != labels).double().mean()


@accuracy.mistake("You take the smallest logit of each row; the model's answer is the largest.")
def _(logits, labels):
    return (logits.argmin(1) == labels).double().mean()


@accuracy.mistake(
    "No row counts as right: do you compare the largest logit itself, not its place, argmax, or divide with "
    "//?"
)
def _(logits, labels):
    return (logits.max(1).values == labels).double().mean()


@accuracy.mistake("Your argmax names no dimension, so the whole table has one answer; every row has its own.")
def _(logits, labels):
    return (logits.argmax() == labels).double().mean()


@accuracy.mistake(
    "Every answer is compared with every label: one of the two has a dimension too many, (rows, 1) against "
    "(rows,)."
)
def _(logits, labels):
    return (logits.argmax(1, keepdim=True) == labels).double().mean()


@accuracy.mistake(
    "You ask whether the logit of class 1 is above 0; the answer is the class whose logit is the largest."
)
def _(logits, labels):
    return ((logits[:, 1] > 0).long() == labels).double().mean()


@accuracy.mistake(
    "A class counts only with a probability above one half here; it is the answer where it is the largest."
)
def _(logits, labels):
    return ((logits.softmax(1) > 0.5).long().argmax(1) == labels).double().mean()


@accuracy.mistake(
    "This is the mean of the accuracies of the classes; every row counts alike, whatever its class."
)
def _(logits, labels):
    right = (logits.argmax(1) == labels).double()
    return torch.stack([right[labels == k].mean() for k in labels.unique()]).mean()


@accuracy.mistake("You divide by the number of classes; the share is of the rows.")
def _(logits, labels):
    return (logits.argmax(1) == labels).double().sum() / logits.shape[1]


@accuracy.mistake("You divide by the number of entries, rows times classes; the share is of the rows.")
def _(logits, labels):
    return (logits.argmax(1) == labels).double().sum() / logits.numel()


@accuracy.mistake(
    "This is the mean probability of the label; accuracy counts how often the label has the largest logit."
)
def _(logits, labels):
    return logits.softmax(1).gather(1, labels[:, None]).mean()


@accuracy.mistake(
    "You measure how far class numbers lie apart; a class is right or wrong, and its number has no size."
)
def _(logits, labels):
    return ((logits.argmax(1) - labels) ** 2).double().mean()


@accuracy.mistake(
    "Rows of zeros and ones are compared entry by entry, so that places count where both are 0; one class is "
    "compared with one label."
)
def _(logits, labels):
    classes = logits.shape[1]
    return (one_hot(logits.argmax(1), classes) == one_hot(labels, classes)).double().mean()


@accuracy.mistake(
    "Your rows count as right when the label is among the two largest; only the largest counts."
)
def _(logits, labels):
    best = logits.topk(min(2, logits.shape[1]), 1).indices
    return (best == labels[:, None]).any(1).double().mean()


@exercise("00.5", "Ceilings with noise", minutes=15, points=2, difficulty=3,
          names=("the photo's", "the message's", "that of both"))
def ceilings(shares, noise):
    r, i, t, s = shares
    e_photo, e_message, e_colors = noise
    photo = (r + i) * (1 - e_photo) + (t + s) / 2
    message = (r + t) * (1 - e_message) + (i + s) / 2
    in_r = r * (1 - torch.minimum(e_photo, e_message))
    return photo, message, in_r + i * (1 - e_photo) + t * (1 - e_message) + s * (1 - e_colors)


@ceilings.cases
def _(draw):
    def shares():
        parts = draw.uniform(4, low=0.1)
        return parts / parts.sum()

    def noise(photo, message):
        return 0.05 * draw.uniform(3) + torch.tensor([photo, message, 0.2]).double()
    yield case(shares(), noise(0.05, 0.3), about="photos that err less often than messages")
    yield case(shares(), noise(0.3, 0.05), about="messages that err less often than photos")
    yield case(shares(), torch.zeros(3).double(), about="a desk without noise")
    yield case(torch.tensor([1.0, 0, 0, 0]).double(), noise(0.1, 0.25), about="situation R alone")


def _in_r(rate):
    """All three with another rate of errors in R for the judge of both."""
    def wrong(shares, noise):
        photo, message, both = ceilings.reference(shares, noise)
        better = torch.minimum(noise[0], noise[1])
        return photo, message, both + shares[0] * (better - rate(noise[0], noise[1]))
    return wrong


TWO_WITNESSES = {  # what is said of a wrong rate of errors in R: the rate, of those of photo and message
    "In R a judge of both does not err only where both witnesses do: where they disagree, one of them is "
    "right, and the judge does not know which.": lambda a, b: a * b,
    "In R the errors of both witnesses are added up; the judge follows one, and the other misleads nobody.":
        lambda a, b: a + b,
    "In R both witnesses' chances of being right are added up; the judge follows one, the better one.":
        lambda a, b: a + b - 1,
    "In R you trust the weaker witness: follow the one who errs less often.": torch.maximum,
    "In R you average the witnesses, or flip a coin where they disagree; follow the better one alone.":
        lambda a, b: (a + b) / 2,
    "In R you count only tickets where both witnesses are right: where they disagree, the better one is "
    "still more often right than not.": lambda a, b: 1 - (1 - a) * (1 - b),
    "In R you always follow the photo; when the message errs less often, follow the message.": lambda a, b: a,
    "In R you always follow the message; when the photo errs less often, follow the photo.": lambda a, b: b,
}
for _sentence, _rate in TWO_WITNESSES.items():
    ceilings.mistake(_sentence)(_in_r(_rate))


@ceilings.mistake("One modality alone is not lost where it knows nothing: half of its guesses are right.")
def _(shares, noise):
    (r, i, t, _), (e_photo, e_message, _) = shares, noise
    return (r + i) * (1 - e_photo), (r + t) * (1 - e_message), ceilings.reference(shares, noise)[2]


@ceilings.mistake("The photo alone is not lost where it knows nothing: half of its guesses are right.")
def _(shares, noise):
    photo, message, both = ceilings.reference(shares, noise)
    return photo - (shares[2] + shares[3]) / 2, message, both


@ceilings.mistake("The message alone is not lost where it knows nothing: half of its guesses are right.")
def _(shares, noise):
    photo, message, both = ceilings.reference(shares, noise)
    return photo, message - (shares[1] + shares[3]) / 2, both


@ceilings.mistake("A guess needs no witness: where the photo knows nothing its noise changes nothing.")
def _(shares, noise):
    photo, message, both = ceilings.reference(shares, noise)
    return photo - noise[0] * (shares[2] + shares[3]) / 2, message, both


@ceilings.mistake("A guess needs no witness: where nothing is known the noise changes nothing.")
def _(shares, noise):
    (_, i, t, s), (photo, message, both) = shares, ceilings.reference(shares, noise)
    return photo - noise[0] * (t + s) / 2, message - noise[1] * (i + s) / 2, both


@ceilings.mistake("In S a judge of one modality guesses too, and is right half of the time.")
def _(shares, noise):
    photo, message, both = ceilings.reference(shares, noise)
    return photo - shares[3] / 2, message - shares[3] / 2, both


@ceilings.mistake(
    "The photo knows something in R and I, the message in R and T; in yours the photo knows something in T."
)
def _(shares, noise):
    (r, i, t, s), (_, message, both) = shares, ceilings.reference(shares, noise)
    return (r + t) * (1 - noise[0]) + (i + s) / 2, message, both


@ceilings.mistake(
    "The message knows something in R and T, the photo in R and I; in yours the message knows something in I."
)
def _(shares, noise):
    (r, i, t, s), (photo, _, both) = shares, ceilings.reference(shares, noise)
    return photo, (r + i) * (1 - noise[1]) + (t + s) / 2, both


@ceilings.mistake("I and T are exchanged: shares are in the order R, I, T, S.")
def _(shares, noise):
    return ceilings.reference(shares[[0, 2, 1, 3]], noise)


@ceilings.mistake(
    "The message errs with a rate of its own, noise[1]; in yours it errs as often as the photo."
)
def _(shares, noise):
    (r, i, t, s), (photo, _, both) = shares, ceilings.reference(shares, noise)
    return photo, (r + t) * (1 - noise[0]) + (i + s) / 2, both


@ceilings.mistake("In I only the photo knows anything: there is no better of two witnesses to follow.")
def _(shares, noise):
    photo, message, both = ceilings.reference(shares, noise)
    return photo, message, both + shares[1] * (noise[0] - torch.minimum(noise[0], noise[1]))


@ceilings.mistake("In S the comparison of colours errs as well, with noise[2].")
def _(shares, noise):
    photo, message, both = ceilings.reference(shares, noise)
    return photo, message, both + shares[3] * noise[2]


@ceilings.mistake(
    "In S only the comparison of colours errs, with noise[2]; cracks and praise play no part there."
)
def _(shares, noise):
    photo, message, both = ceilings.reference(shares, noise)
    others = (1 - noise[0]) * (1 - noise[1])
    return photo, message, both - shares[3] * (1 - noise[2]) * (1 - others)


@ceilings.mistake(
    "In S the judge of both compares the colours and does not guess: only noise[2] misleads "
    "it."
)
def _(shares, noise):
    photo, message, both = ceilings.reference(shares, noise)
    return photo, message, both - shares[3] * (0.5 - noise[2])


@ceilings.mistake(
    "Alone nobody compares colours: noise[2] changes nothing in the ceilings of the photo and of the message."
)
def _(shares, noise):
    photo, message, both = ceilings.reference(shares, noise)
    less = shares[3] / 2 * noise[2]
    return photo - less, message - less, both


@ceilings.mistake("The noise has no effect.")
def _(shares, noise):
    return ceilings.reference(shares, torch.zeros_like(noise))


@ceilings.mistake(
    "The situations of one judge are mixed up: the photo knows something in R and I, the message in R and T."
)
def _(shares, noise):
    r, i, t, s = shares
    return (*ceilings.reference(torch.stack([r, t, i, s]), noise)[:2], ceilings.reference(shares, noise)[2])


@ceilings.mistake("The rates of error are mixed up: noise is in the order photo, message, colours.")
def _(shares, noise):
    return ceilings.reference(shares, noise[[1, 0, 2]])


@ceilings.mistake("The two modalities are exchanged: the photo's ceiling comes first.")
def _(shares, noise):
    photo, message, both = ceilings.reference(shares, noise)
    return message, photo, both


@ceilings.mistake(
    "In R both know something, and the judge of both does not guess: R is missing from the last ceiling."
)
def _(shares, noise):
    photo, message, both = ceilings.reference(shares, noise)
    return photo, message, both - shares[0] * (1 - torch.minimum(noise[0], noise[1]))


@ceilings.mistake(
    "S is answered by both together, not by one of them: alone the photo and the message guess there."
)
def _(shares, noise):
    photo, message, both = ceilings.reference(shares, noise)
    more = shares[3] * (0.5 - noise[2])
    return photo + more, message + more, both


@ceilings.mistake(
    "With both the judge is not only as good as the better of the two ceilings: go through the situations "
    "again."
)
def _(shares, noise):
    photo, message, _ = ceilings.reference(shares, noise)
    return photo, message, torch.maximum(photo, message)


@ceilings.mistake(
    "In S the comparison of colours has a rate of its own, noise[2]; those of photo and message belong to R,"
    " I and T."
)
def _(shares, noise):
    photo, message, both = ceilings.reference(shares, noise)
    return photo, message, both + shares[3] * ((1 - noise[0]) * (1 - noise[1]) - (1 - noise[2]))
