# %% [markdown]
# # 00 Start here: one ticket, three models
#
# **The one thing to take away:** some questions are answered by neither the picture nor the words, only by both *together*. This
# course teaches you to build, train, test and deliver the models that answer them.
#
# You will be able to
# - say what a cross-modal model can do that two separate models cannot, and show it on one ticket;
# - work with the lessons: predict, write, check, take a hint;
# - find your way through the course and choose your own path;
# - say what your machine can run.
#
# **Before this:** you can program in Python and have heard of gradient descent. Nothing else.
#
# **Time:** about 30 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [markdown]
# ## 1. How a lesson works
#
# A lesson is a notebook. Run a cell with **Shift + Enter**; run everything with *Run → Run All Cells*. Every lesson runs from top to bottom before you
# have written a line, so nothing breaks while you think. The first code cell begins the same way everywhere: it finds the course, or on Colab fetches it, then says where it runs and why. It is folded; a click on its dots (on Colab, its title) opens it.

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
titles = [f"{test.texts[i]}\n→ {test.class_names[test.labels[i]]}" for i in chosen]
alt = ("Eight tickets, two of each situation: a photo of a toy, a parcel or a carton, "
       "the message below it, and the right decision.")
plots.show(plots.pictures(test.images[chosen], titles, columns=4, size=1.6), alt)
for i in chosen:
    answer = test.class_names[test.labels[i]]
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
        return models[view](vectors).softmax(1)[:, 1]

# %% [markdown]
# One ticket, three opinions:

# %%
ticket = 822
photo = plots.pictures(test.images[[ticket]], columns=1, size=2.2)
plots.show(photo, "A photo of one open carton with a toy in it.")
print("message:", test.texts[ticket])
print("truth:  ", test.class_names[test.labels[ticket]])
for view in views:
    p = refund_probability(view, test_vectors)[ticket]
    answer = test.class_names[int(p > 0.5)]
    print(f"{view:13s} probability of a refund {p:.2f} → {answer}")

# %% [markdown]
# The photo alone is a whole toy; the message alone is an order. Each of the two models can only guess, and on this ticket both guess wrong. The model that sees both compares the two colours, and knows that navy is a blue.

# %% [markdown]
# ## 4. Your first exercise
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
# answers = logits.argmax(dim=____)
# return (answers == labels).double().mean()
# ```

# %% [markdown]
# The lesson goes on with the course's own version, whatever you wrote.
#
# ## 5. The numbers
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
fig, ax = plots.figure(width=7, height=2.8)
for k, (view, color) in enumerate(zip(views, (plots.IMAGE, plots.TEXT, plots.BOTH))):
    places = [situation + 0.27 * (k - 1) for situation in range(4)]
    ax.bar(places, table[view], 0.25, color=color, label=view)
ax.axhline(0.5, color="black", lw=1, ls="--")
ax.text(3.5, 0.5, "coin flip", va="center", fontsize=9)
ax.set(title="Only both together can answer S", ylabel="test accuracy", ylim=(0, 1.02),
       xticks=range(4), xticklabels=["R: either tells", "I: photo tells",
                                     "T: message tells", "S: both together"])
ax.legend(ncols=3, loc="lower left", bbox_to_anchor=(0, -0.42))
plots.show(fig, "Test accuracy of three models in four situations: in S the "
                "single-modality models stay at a coin flip and the fused model does "
                "not.")

# %% [markdown]
# ## 6. Break it
#
# Is it really the *pairing* that the fused model uses? Give every photo another customer's message. Each photo and each message is still perfectly normal; only their partnership is gone.

# %%
shuffled = extract(encoders, test.shuffled_partners(seed=0))
broken = evaluate(models["both"], shuffled, by=situation)
print(f"fused model: right pairs {scores['both'].accuracy:.3f}, "
      f"shuffled pairs {broken.accuracy:.3f}")
assert not encoders.pretrained or broken.accuracy < scores["both"].accuracy - 0.15

# %% [markdown]
# You will meet this control again in lesson 06. A model that shows no drop here has not fused anything.

# %% [map]
# ## 7. The map

# %% [markdown]
# Three ways through them:
# - **everything**, in order: about an hour and a half each;
# - **I train models already**: 02, 03, 06, 07;
# - **I want the mathematics**: 01, 02, 06.

# %% [markdown]
# ## 8. Recap
#
# You can now
# - name the four situations of a cross-modal question and say who can answer each;
# - read an accuracy against its ceiling, situation by situation;
# - use the shuffled-pairs control;
# - work through an exercise with `check` and the hints.

# %% [quiz]
# ? A model that sees only photos reaches 0.75 on this desk. What follows?
# - It is a bad model :: 0.75 is the best that any photo-only model can reach here: it is right in R and I, and at a coin flip in T and S.
# + It has learned everything that a photo can tell here :: R and I give ½ of all tickets, and half of the other half are right by chance: 0.75 is the ceiling.
# - It needs more training data :: No amount of data moves a ceiling: the photo does not contain the answer in T and S.
# ? Why report accuracy per situation?
# - It makes the table longer and more scientific :: It costs space; it earns it only by showing something the average hides.
# - The situations have different sizes :: Here they have the same size, and it is still worth it.
# + An average can hide a kind of ticket that is never learned :: A fused model with 0.875 overall may be perfect in three situations and blind in the fourth.
# ? The fused model keeps its accuracy when the pairs are shuffled. What do you conclude?
# + It relies on one modality, or on neither :: If breaking the partnership costs nothing, the partnership was not used.
# - It is robust :: Robustness means surviving noise that leaves the answer in place; here the answer itself has gone.
# - Shuffling was done wrongly :: Possible, and worth a look, but the first suspicion falls on the model.
# ? Your check says "You return how many answers are right". What do you do?
# - Ask somebody for the solution at once :: You would get one, but you learn more by changing one line.
# - Restart the kernel :: Nothing is broken; a wrong answer leaves everything as it was.
# + Divide by the number of rows and run the cell again :: The sentence names the slip; a mean of zeros and ones is the share.

# %% [markdown]
# **Glossary**: *modality*, a kind of input, such as pictures or words · *encoder*, a network that turns an input into a vector · *logit*, a score before softmax · *ceiling*, the best accuracy that any model can reach with this information ·
# *fused model*, one that decides from several modalities · *control*, the same experiment with the supposed cause taken away.
#
# **References**
# - T. Baltrušaitis, C. Ahuja, L.-P. Morency, *Multimodal machine learning: a survey and taxonomy*, IEEE TPAMI 41 (2019): the map of the field, by what has to be solved rather than by application.
# - P. P. Liang, A. Zadeh, L.-P. Morency, *Foundations and trends in multimodal machine learning*, ACM Computing Surveys 56 (2024): what changed since, with the theory of interactions such as S.
#
# Your progress so far, here and in every later lesson:

# %% [progress]
