# %% [markdown]
# # 00 Start here: one ticket, three models
#
# **The one thing to take away:** some questions are answered by neither the picture nor the words, only by both *together*. This
# course teaches you to build, train, test and deliver the models that answer them.
#
# You will be able to
# - say what a cross-modal model can do that two separate models cannot, and show it on one ticket;
# - work with the lessons: predict, write, check, take a hint;
# - read the PyTorch of this course: tensors, gradients, modules;
# - find your way through the course and choose your own path.
#
# **Before this:** you can program in Python and have heard of gradient descent. PyTorch is introduced in section 4, in ten minutes.
#
# **Time:** about 45 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [markdown]
# ## 1. How a lesson works
#
# A lesson is a notebook. Run a cell with **Shift + Enter**; run everything with *Run → Run All Cells*. Every lesson runs from top to bottom before you
# have written a line, so nothing breaks while you think. The first code cell begins the same way everywhere: it finds the course, or on Colab fetches it, then says where it runs and why. It is folded; a click on its dots (on Colab, its title) opens it. Your answers and points are kept in your home folder; on Colab that ends with the machine, unless a mounted Drive keeps it, and the cell says how.

# %% [setup]
import torch
from cmlib import plots
cfg = cmlib.setup("00", full="the encoders of sections 3, 5 and 6")

# %% [markdown]
# `small` and `full` are the same code at two sizes. On a CPU you work with 64-pixel pictures and two small encoders that the course trained itself, and every lesson takes less than a minute.
# On a GPU the same lines load `bert-base-uncased` and `resnet50`.
#
# What this machine has:

# %% tags=["nbval-ignore-output"]
import os
import platform

print(f"{os.cpu_count()} CPU cores, {platform.system()} on {platform.machine()}")
device = torch.cuda.get_device_name() if torch.cuda.is_available() else "none"
print(f"GPU: {device} (none is needed for lessons 00 to 12)")

# %% [markdown]
# ## 2. A desk full of tickets
#
# You work at the refund desk of a toy shop. A customer sends a photo and a message. You answer one question: **refund, or keep?**
#
# The tickets are drawn by a program, so that the truth behind each is known exactly. That is what lets this course say not just "the model got 0.91" but "0.91 of a possible 1.00, and
# here is the kind of ticket it gets wrong". Real pictures and real words come in lesson 07.

# %%
from cmlib.worlds import RefundDesk

desk = RefundDesk(tricky=0.0)
train, test = desk.sample(3000), desk.sample(1000, split="test")
names = "RITS"
situation = test.extras["situation"]
chosen = [int((situation == k).nonzero()[j]) for k in range(4) for j in (0, 1)]
answers = [test.class_names[test.labels[i]] for i in chosen]
titles = [f"{test.texts[i].replace(' .', '.')}\n→ {answer}"
          for i, answer in zip(chosen, answers)]
alt = ("Eight tickets, two of each situation. Whole toys are kept and cracked ones "
       "refunded; sealed parcels go by the message; a blue toy in a carton is kept "
       "where navy was ordered and refunded where red was.")
plots.show(plots.pictures(test.images[chosen], titles, columns=4, size=1.6), alt)
for i, answer in zip(chosen, answers):
    print(names[situation[i]], "|", answer, "|", test.texts[i])

# %% [markdown]
# There are four situations, a quarter of the tickets each:
#
# | | the photo | the message | who can tell |
# |---|---|---|---|
# | **R** | a whole or a cracked toy | praise or complaint | either of them |
# | **I** | a whole or a cracked toy | says nothing | only the photo |
# | **T** | a sealed parcel | praise or complaint | only the message |
# | **S** | a toy in its carton | names the colour that was ordered | only both together |
#
# S is the reason for this course. A blue car is no ground for a refund. "I ordered a red car" is none either. A blue car *and* "I ordered a red car" is.
#
# **Predict before you run.** A perfect judge who sees only photos: how many of all tickets does it get right? Count situation by situation, then compare.

# %%
top = desk.ceilings()
print(f"at best: photo only {top['image']:.3f}, message only {top['text']:.3f}, "
      f"both {top['both']:.3f}")

# %% [markdown]
# ## 3. Three models
#
# Two encoders turn a photo and a message into a vector each; you will open them in lessons 04 and 05. On top sits a small network that decides. The three models differ in one
# argument: what they may look at.

# %% tags=["hide-input"]
from cmlib.course.schematic import Schematic

sketch = Schematic(7, 2)
photo = sketch.box("photo\n3 × 64 × 64", (0.75, 1.5), color=plots.IMAGE)
words = sketch.box("message\nits words", (0.75, 0.5), color=plots.TEXT)
sees = sketch.box("image\nencoder", (2.6, 1.5), color=plots.IMAGE)
reads = sketch.box("text\nencoder", (2.6, 0.5), color=plots.TEXT)
head = sketch.box("head: a small\nnetwork", (4.75, 1.0), color=plots.BOTH)
answer = sketch.box("refund\nor keep", (6.4, 1.0), size=(0.9, 0.5))
sketch.arrow(photo, sees)
sketch.arrow(words, reads)
sketch.arrow(sees, head, "128 numbers", color=plots.IMAGE, shift=(0.15, 0.2))
sketch.arrow(reads, head, "128 numbers", color=plots.TEXT, shift=(0.15, -0.2))
sketch.arrow(head, answer)
sketch.show("Photo and message each pass an encoder and become 128 numbers; one head "
            "reads both vectors and decides between refund and keep.")

# %% [markdown]
# "Photo only" cuts the lower arrow into the head, "message only" the upper one.

# %%
from cmlib import FusionModel, extract, fit, image_encoder, text_encoder

views = {"photo only": ("image",), "message only": ("text",), "both": ("image", "text")}

def new_model(view):
    torch.manual_seed(0)
    return FusionModel(image_encoder(cfg.image_encoder), text_encoder(cfg.text_encoder),
                       n_classes=2, use=views[view])

encoders = new_model("both")
train_vectors, test_vectors = extract(encoders, train), extract(encoders, test)
print(f"a photo becomes {train_vectors.image.shape[1]} numbers, "
      f"a message {train_vectors.text.shape[1]}")

# %%
models = {}
for view in views:
    models[view] = new_model(view).head
    fit(models[view], train_vectors, epochs=20, learning_rate=3e-3, progress=False)

def refund_probability(view, vectors):
    """Probability of a refund for every row, (rows,)."""
    models[view].eval()
    with torch.no_grad():
        return models[view](vectors).softmax(1)[:, 1].cpu()

# %% [markdown]
# One ticket, three opinions. (We picked it: each single model errs on it.)

# %%
ticket = 822
photo = plots.pictures(test.images[[ticket]], columns=1, size=2.2)
plots.show(photo, "A photo of an open carton with a blue robot in it; the message "
                  "below orders a navy one.")
print("message:", test.texts[ticket])
print("truth:  ", test.class_names[test.labels[ticket]])
for view in views:
    p = refund_probability(view, test_vectors)[ticket]
    answer = test.class_names[int(p > 0.5)]
    print(f"{view:13s} probability of a refund {p:.2f} → {answer}")

# %% [markdown]
# The photo alone is a whole toy; the message alone is an order. Each of the two models can only guess, and on this ticket both guess wrong. The model that sees both gets it right. Does it know that navy is a blue, or was this luck? One ticket cannot tell; section 6 asks hundreds.

# %% [markdown]
# ## 4. Ten minutes of PyTorch
#
# Everything in this course is made of three things. If you know them, run the cells and go on.
#
# **A tensor** is a table of numbers with a *shape* and a *dtype*. What you write once happens to every entry; `sum`, `mean` and `argmax` work along the dimension you name, which then disappears from the shape. Tensors of shapes `(3, 1)` and `(2,)` combine by *broadcasting*: sizes are compared from the right, and a 1 stretches.

# %%
logits = torch.tensor([[2.0, -1.0], [0.5, 3.0], [1.0, 0.0]])     # (rows, classes)
print("shape", tuple(logits.shape), "dtype", logits.dtype)
print("largest in every row, dim=1:  ", logits.argmax(dim=1).tolist())
print("largest in every column, dim=0:", logits.argmax(dim=0).tolist())
above = logits > 0.6                                             # (3, 2), bool
print("above 0.6:", above.tolist(), "how many in every row:", above.sum(dim=1).tolist())
print("each row minus its mean, (3, 2) − (3, 1):",
      (logits - logits.mean(dim=1, keepdim=True)).tolist())

# %% [markdown]
# **A gradient** comes from the record that PyTorch keeps of what you compute with a tensor whose `requires_grad` is set. For $f(w) = (3w - 6)^2$ the chain rule says $f'(w) = 2\,(3w-6)\cdot 3$, at $w = 1$ that is $-18$. `torch.autograd.grad(f, w)` returns it; `f.backward()` *adds* it to `w.grad`,
# which is why a training loop sets gradients to zero before each step. `detach()` gives the same numbers without a record, and under `torch.no_grad()` none is kept: for tests, and for the step itself.
#
# **A module** is an object that holds parameters, tensors that an optimiser may change, and says in `forward` what to do with an input. Modules hold modules; `model(x)` calls `forward`. Writing `class Line(nn.Module)` makes a new kind that can do all that the old kind can; later lessons change an optimiser in the same way.

# %%
from torch import nn

w = torch.tensor(1.0, requires_grad=True)
(slope,) = torch.autograd.grad((3 * w - 6) ** 2, w)
print(f"slope of (3w − 6)² at w = 1: {slope.item():.1f}")

class Line(nn.Module):
    """y = slope · x + offset, both learned."""

    def __init__(self):
        super().__init__()                       # nn.Module's own preparations
        self.slope = nn.Parameter(torch.zeros(1))
        self.offset = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.slope * x + self.offset

x = torch.linspace(-1, 1, 50)
y = 2 * x + 1                                    # what the line should find
line = Line()
optimizer = torch.optim.SGD(line.parameters(), lr=0.5)
for _ in range(100):
    loss = (line(x) - y).square().mean()
    optimizer.zero_grad()                        # forget the last step's gradients
    loss.backward()                              # fill .grad of every parameter
    optimizer.step()                             # move each against its gradient
print(f"learned: y = {line.slope.item():.3f} x + {line.offset.item():.3f}; "
      f"loss below 1e-6: {loss.item() < 1e-6}")
assert abs(slope.item() + 18) < 1e-5 and loss.item() < 1e-6

# %% [markdown]
# These six lines, loss, zero, backward, step in a loop, are all of training. `fit` in this lesson is that loop with batches and a few conveniences; lesson 01 derives the loss, lesson 13 trains whole encoders.
#
# ## 5. Your first exercise
#
# One ticket proves nothing. You need a number over all 1,000 test tickets, and the simplest is accuracy: the share of right answers. Write it. An exercise works like this:
#
# 1. Replace `raise NotImplementedError` by your code and run the cell. The last line calls `check`, which tries your function on several inputs, some of them awkward, and answers in one sentence.
# 2. Wrong? The sentence names the likely slip. Change, run again; nothing is lost and nothing is counted against you.
# 3. Stuck? Open the hints one at a time: the idea, the formula, the code with one blank.
#
# Try a wrong answer first, on purpose: return the *number* of right answers instead of their share.

# %% [exercise] 00.1
# Your function receives `logits`, a float tensor of shape `(rows, classes)`, one score for every class, and `labels`, int64 of shape `(rows,)`. The model's answer for a row is the class with the largest
# logit. Return the share of rows where the answer is the label, as a scalar tensor of dtype float64.

# %% [stub]
def accuracy(logits, labels):
    """The share of rows whose largest logit is at the label.

    logits : (rows, classes)   labels : int64 (rows,)   returns : float64 scalar tensor
    """
    raise NotImplementedError

# %% [solution]
def accuracy(logits, labels):
    answers = logits.argmax(dim=1)                 # (rows,)
    return (answers == labels).double().mean()

# %% [hints]
# Find the column of the largest logit in every row, compare it with the label, and average the comparison.
# ---
# `logits.argmax(dim=1)` has shape `(rows,)`. A comparison gives booleans; `.double()` turns them into 0.0 and 1.0, whose mean is a share.
# ---
# ```python
# answers = logits.argmax(dim=1)         # (rows,)
# right = ____                           # (rows,), True where the answer is the label
# # the share is the mean of right, as float64
# ```

# %% [markdown]
# The lesson goes on with the course's own version, whatever you wrote.
#
# ## 6. The numbers
#
# Now the three models on all test tickets, situation by situation, beside what is possible at best.

# %%
from cmlib import evaluate

scores = {view: evaluate(models[view], test_vectors, by=situation, group_names=names)
          for view in views}
table = {view: [score.groups[name].accuracy for name in names]
         for view, score in scores.items()}
print("              all    R      I      T      S")
for view, score in scores.items():
    groups = "  ".join(f"{right:.3f}" for right in table[view])
    print(f"{view:13s} {score.accuracy:.3f}  {groups}")
print(f"at best       {top['image']:.3f} photo only, {top['text']:.3f} message only, "
      f"{top['both']:.3f} both")
single = max(scores["photo only"].accuracy, scores["message only"].accuracy)
assert not encoders.pretrained or scores["both"].accuracy > single + 0.1

# %%
def ceiling(name, view):
    """The best accuracy in one situation of a judge who has this view."""
    only = RefundDesk(probabilities=[float(name == other) for other in names])
    key = {"photo only": "image", "message only": "text", "both": "both"}[view]
    return only.ceilings()[key]

fig, ax = plots.figure(width=7, height=3.2)
for k, (view, color) in enumerate(zip(views, (plots.IMAGE, plots.TEXT, plots.BOTH))):
    places = [group + 0.27 * (k - 1) for group in range(4)]
    ax.bar(places, table[view], 0.25, color=color, label=view)
    best = [ceiling(name, view) for name in names]
    ax.hlines(best, [p - 0.13 for p in places], [p + 0.13 for p in places],
              color="black", lw=2.5, label="at best" if view == "both" else None)
ax.set(title="Only both together can answer S", ylabel="test accuracy", ylim=(0, 1.05),
       xticks=range(4), xticklabels=["R: either tells", "I: photo tells",
                                     "T: message tells", "S: both together"])
ax.legend(ncols=4, loc="lower left", bbox_to_anchor=(0, -0.36))
plots.show(fig, "Test accuracy and ceilings of three models in four situations: in S "
                "photo-only and message-only stay near one half, their ceiling; "
                "the fused model reaches about three quarters of a possible 1.")

# %% [markdown]
# Read the table by column, and look for what does *not* fit the story. In **T** the model that reads only the message is ahead of the one that has both: the fused model gets 128 more numbers, of a sealed parcel, that say nothing here, and has to learn to ignore them. (One training and 250 tickets are thin evidence for so small a gap. Lesson 02 repeats the comparison on five draws of the desk; lessons 06 and 09 return to this price.) (A bar may stand a hair above its line: *at best* is an expectation, and 250 tickets have luck of their own.)
#
# In **S** the fused model is well above a coin and well below 1. Which tickets does it miss? The customers name six colours: *red*, *crimson* and *scarlet* ordered a red toy, *blue*, *azure* and *navy* a blue one. Ask 3,000 new tickets of situation S, sorted by the word.

# %%
only_s = RefundDesk(probabilities=(0, 0, 0, 1), tricky=0.0)
orders = only_s.sample(3000, split="test")
order_vectors = extract(encoders, orders)
right = (refund_probability("both", order_vectors) > 0.5) == order_vectors.labels
words = ("red", "crimson", "scarlet", "blue", "azure", "navy")
says = torch.tensor([next(k for k, word in enumerate(words) if word in text.split())
                     for text in orders.texts])
by_word = {word: right[says == k].double().mean().item()
           for k, word in enumerate(words)}
print("fused, S:", "  ".join(f"{word} {share:.2f}" for word, share in by_word.items()))
plain = {"crimson": "red", "scarlet": "red", "azure": "blue", "navy": "blue"}
behind = [word for word, same in plain.items()
          if by_word[word] < by_word[same] - 0.03]
print(f"tickets that say navy: {int((says == 5).sum())}")
print("more than .03 behind the plain word for the same colour:", ", ".join(behind))
assert not encoders.pretrained or "navy" in behind and min(by_word.values()) > 0.55

# %% [markdown]
# So "it knows that navy is a blue" is true only in part: it does better than a coin with every word, and worse with *navy* than with *blue*, with *crimson* and *scarlet* than with *red*, though they name the same colours. A single ticket that looks like understanding is not evidence of it.
#
# ## 7. Break it
#
# Is it really the *pairing* that the fused model uses? Give every photo another customer's message. Each photo and each message is still perfectly normal; only their partnership is gone. But a control must be able to fail. Beside the fused model stands one that **cannot** compare: it adds the opinions of a photo-only and a
# message-only model, trained together, $f(\text{photo}) + g(\text{message})$. **Predict before you run:** how much does each of them lose?

# %%
from dataclasses import replace

class Additive(nn.Module):
    """f(photo) + g(message): two heads whose logits are added."""

    def __init__(self):
        super().__init__()
        self.photo, self.message = (new_model(view).head for view in
                                    ("photo only", "message only"))

    def forward(self, features):
        return self.photo(features) + self.message(features)

models["additive"] = Additive()
fit(models["additive"], train_vectors, epochs=20, learning_rate=3e-3, progress=False)

def other_partners(vectors):
    """Every message's vector moves to another row; photos and labels stay."""
    order = torch.randperm(len(vectors.labels),
                           generator=torch.Generator().manual_seed(0))
    text = torch.empty_like(vectors.text)
    text[order] = vectors.text[order.roll(1)]
    return replace(vectors, text=text)

shuffled, shuffled_orders = map(other_partners, (test_vectors, order_vectors))

def accuracy_of(name, vectors):
    return evaluate(models[name], vectors).accuracy

print("             all tickets            only S, 3,000 tickets")
print("             right    shuffled      right    shuffled")
drops = {}
for name in ("both", "additive"):
    pairs = [accuracy_of(name, vectors) for vectors in
             (test_vectors, shuffled, order_vectors, shuffled_orders)]
    drops[name] = pairs[0] - pairs[1], pairs[2] - pairs[3]
    print("{:11s}  {:.3f}    {:.3f}         {:.3f}    {:.3f}".format(name, *pairs))
assert not encoders.pretrained or min(drops["both"][0], drops["additive"][0]) > 0.08
assert not encoders.pretrained or drops["both"][1] > 0.15 > 0.05 > drops["additive"][1]

# %% [markdown]
# Over all tickets both fall, the additive model too, though it compares nothing: a sealed parcel with a neutral message tells nobody anything, whatever the model. That drop proves only that both halves are used. The columns on the right take the other situations away: every photo shows a carton, every message orders a colour, before and after. There
# the additive model has nothing to lose, and the fused model falls to a coin. *This* is the pairing.
#
# Keep the habit: before you trust a control, ask which model without the property would pass it too. Lesson 06 goes on from here.
#
# ## 8. Stretch: ceilings with noise
#
# The desk's truth need not be clean: photos may mislead, customers may be wrong. How good can anybody then be?

# %% [exercise] 00.5
# With probability $e_I$ the photo of situations R and I points the wrong way (a crack that was only a shadow), with $e_T$ the message of R and T, and with $e_S$ the comparison of colours in S; the slips are independent, and each probability is below one half. A judge sees which of a whole toy, cracked toy, parcel or carton is on the photo, and what kind of message there is.
#
# **On paper.** Derive the best accuracy from the photo alone, from the message alone, and from both, for shares $(p_R, p_I, p_T, p_S)$. The hard part is R with both: two witnesses, one of them less reliable. When they agree? When they disagree?
#
# **Checked.** Write the three as a function of `shares`, float `(4,)` in the order R, I, T, S, and `noise`, float `(3,)` in the order $e_I, e_T, e_S$; return the tuple `(photo, message, both)` of scalar tensors.

# %% [stub]
def ceilings(shares, noise):
    """Best accuracies from the photo, from the message, and from both.

    shares : (4,), R, I, T, S   noise : (3,), photo, message, colours
    returns : (photo, message, both), scalar tensors
    """
    raise NotImplementedError

# %% [solution]
def ceilings(shares, noise):
    r, i, t, s = shares
    e_photo, e_message, e_colors = noise
    photo = (r + i) * (1 - e_photo) + (t + s) / 2
    message = (r + t) * (1 - e_message) + (i + s) / 2
    both = (r * (1 - torch.minimum(e_photo, e_message)) + i * (1 - e_photo)
            + t * (1 - e_message) + s * (1 - e_colors))
    return photo, message, both

# %% [hints]
# Go through the four situations, one judge at a time: where does this judge know something, and how often is that right? Elsewhere half of the guesses are right.
# ---
# Photo: $(p_R+p_I)(1-e_I) + \frac12(p_T+p_S)$. With both in R: where the witnesses agree, follow them; where they disagree, believe the one who errs less often. Write down the four cases right-right, right-wrong, wrong-right, wrong-wrong with their probabilities, and add those in which the judge ends right.
# ---
# ```python
# r, i, t, s = shares
# photo = (r + i) * (1 - noise[0]) + (t + s) / 2
# # message likewise, with the situations in which the message knows something
# in_r = ____                  # both witnesses: one of the two rates decides alone
# ```

# %% [answer]
# Photo: in R and I it is right with $1-e_I$; in T it shows a parcel and in S a toy whose order is unknown, so half of the answers are right. Message: the same with R and T. Both see which situation it is, so I, T and S give $1-e_I$, $1-e_T$ and $1-e_S$.
#
# R with both: let $e_I\le e_T$. If the witnesses agree, the label that they name is the likelier one, since $(1-e_I)(1-e_T) > e_Ie_T$. If they disagree, the photo is right with probability proportional to $(1-e_I)e_T$ and the message to $e_I(1-e_T)$; the first is at least as large, so follow the photo.
# In *every* case the judge does what the photo says, and is right with $1-e_I = 1-\min(e_I, e_T)$. The second, weaker witness adds nothing: two witnesses can never outvote each other. (Three could.)
# All in all: $p_R(1-\min(e_I,e_T)) + p_I(1-e_I) + p_T(1-e_T) + p_S(1-e_S)$, which `RefundDesk(noise=…).ceilings()` finds by enumeration.

# %% [map]
# ## 9. The map

# %% [markdown]
# Three ways through them:
# - **everything**, in order: about an hour and a half each;
# - **I train models already**: 02, 03, 06, 07, 13;
# - **I want the mathematics**: 01, 02, 06.

# %% [markdown]
# ## 10. Recap
#
# You can now
# - name the four situations of a cross-modal question and say who can answer each;
# - read an accuracy against its ceiling, situation by situation;
# - use the shuffled-pairs control, and ask which other model would pass it;
# - read a tensor's shape, a gradient and a module, and the six lines of a training loop;
# - work through an exercise with `check` and the hints; `cmlib.report()` shows all that you have done.

# %% [quiz]
# ? A model that sees only photos reaches 0.75 on this desk. What follows?
# - It is a bad model :: 0.75 is the best that any photo-only model can reach here: it is right in R and I, and at a coin flip in T and S.
# + It has learned everything that a photo can tell here :: R and I give ½ of all tickets, and half of the other half are right by chance: 0.75 is the ceiling.
# - It needs more training data :: No amount of data moves a ceiling: the photo does not contain the answer in T and S.
# ? Why report accuracy per situation?
# - It makes the table longer and more scientific :: It costs space; it earns it only by showing something the average hides.
# - The situations have different sizes :: Here they have the same size, and it is still worth it.
# + An average can hide a kind of ticket that is never learned :: A fused model with 0.875 overall may be perfect in three situations and blind in the fourth.
# ? A fused model keeps its accuracy when the pairs are shuffled. What do you conclude?
# + It does not use the pairing :: If breaking the partnership costs nothing, the partnership was not used. It may use both halves all the same, as the additive model does.
# - It is robust :: Robustness means surviving noise that leaves the answer in place; here the answer itself has gone.
# - Shuffling was done wrongly :: Possible, and worth a look, but the first suspicion falls on the model.
# ? Your check says "You return how many answers are right". What do you do?
# - Ask somebody for the solution at once :: You would get one, but you learn more by changing one line.
# - Restart the kernel :: Nothing is broken; a wrong answer leaves everything as it was.
# + Divide by the number of rows and run the cell again :: The sentence names the slip; a mean of zeros and ones is the share.

# %% [markdown]
# **Glossary**: *modality*, a kind of input, such as pictures or words · *encoder*, a network that turns an input into a vector · *logit*, a score before softmax · *ceiling*, the best accuracy that any model can reach with this information ·
# *fused model*, one that decides from several modalities · *control*, the same experiment with the supposed cause taken away ·
# *tensor*, a table of numbers with a shape and a dtype · *gradient*, the derivative of a loss in every parameter · *module*, an object with parameters and a `forward`.
#
# **References**
# - T. Baltrušaitis, C. Ahuja, L.-P. Morency, *Multimodal machine learning: a survey and taxonomy*, IEEE TPAMI 41 (2019): the map of the field, by what has to be solved rather than by application.
# - P. P. Liang, A. Zadeh, L.-P. Morency, *Foundations and trends in multimodal machine learning*, ACM Computing Surveys 56 (2024): what changed since, with the theory of interactions such as S.
#
# Your progress so far, here and in every later lesson:

# %% [progress]
