"""The warm-up exercise of lesson 00."""

from cmlib.check.engine import case, exercise


@exercise("00.1", "Accuracy", minutes=5, points=1, difficulty=1)
def accuracy(logits, labels):
    return (logits.argmax(1) == labels).double().mean()


@accuracy.cases
def _(draw):
    yield case(draw.normal(400, 3) - 3, draw.integers(3, 400), about="three classes, most logits negative")
    yield case(draw.normal(7, 2), draw.integers(2, 7), about="random logits of two classes")
    yield case(draw.normal(5, 5), draw.integers(5, 5), about="as many classes as rows")
    yield case(draw.normal(1, 2), draw.integers(2, 1), about="a single row")


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
