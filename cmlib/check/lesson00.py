"""The warm-up exercise of lesson 00."""

from cmlib.check.engine import case, exercise
from cmlib.check.telling import telling


@exercise("00.1", "Accuracy", minutes=5, points=1, difficulty=1)
def accuracy(logits, labels):
    return (logits.argmax(1) == labels).double().mean()


@accuracy.cases
def _(draw):
    def rows(n, classes, about, shift=0.0):
        return lambda: case(draw.normal(n, classes) + shift, draw.integers(classes, n), about=about)
    yield telling(accuracy, rows(400, 3, "three classes, most logits negative", shift=-3))
    yield telling(accuracy, rows(7, 2, "random logits of two classes"))
    yield telling(accuracy, rows(5, 5, "as many classes as rows"))
    yield telling(accuracy, rows(1, 2, "a single row"), hides=("how many answers",))


@accuracy.mistake("You return how many answers are right; divide by the number of rows to get the share.")
def _(logits, labels):
    return (logits.argmax(1) == labels).double().sum()


@accuracy.mistake("You return a percentage; the course uses shares between 0 and 1.")
def _(logits, labels):
    return 100 * (logits.argmax(1) == labels).double().mean()


@accuracy.mistake("argmax runs over the rows; the classes are dimension 1.")
def _(logits, labels):
    return (logits.argmax(0) == labels[: logits.shape[1]]).double().mean()


@accuracy.mistake("This is the share of wrong answers; accuracy is the share of right ones.")
def _(logits, labels):
    return (logits.argmax(1) != labels).double().mean()


@accuracy.mistake("You take the smallest logit of each row; the model's answer is the largest.")
def _(logits, labels):
    return (logits.argmin(1) == labels).double().mean()
