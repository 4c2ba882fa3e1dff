# %% [markdown]
# # 07 Real pictures, real words
#
# **The one thing to take away:** on real data the hard part is not the three lines that train a model. It is knowing what your number means: which rows belong together, how sure it
# is, which rows it hides, and what happens when the pictures change.
#
# You will be able to
# - find the rows that must not be torn apart by a split, and measure what it costs when they are;
# - put a confidence interval on any accuracy, test whether it keeps its promise, and compare two models on the same rows;
# - say which classes need the picture and which the words, and for which your rows do not carry the answer;
# - test a model under a shift of its pictures and of its words;
# - load your own pictures, texts and labels from a CSV file, train on them with the same lines, and keep the model.
#
# **Before this:** [03](03_inputs.ipynb) (splits by group) and [06](06_concatenation.ipynb) (frozen encoders, concatenation, seeds).
#
# **Time:** about 95 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import textwrap
from collections import Counter
from dataclasses import replace
import torch
from tqdm.auto import tqdm
from cmlib import datasets, plots
from cmlib.course.schematic import Schematic
from cmlib.datasets import emoji, grouped_split
from cmlib.evaluation import classification as metrics
cfg = cmlib.setup("07", full="the encoders of sections 5 to 9")

# %% [markdown]
# ## 1. Too good
#
# The drawn worlds of lessons 00 to 06 had an exact truth. The large collections of real pictures with words are **COCO** (123,000 photographs with labels, five captions each, boxes and masks of 80 kinds of things) and **Open Images** (nine million, with labels and boxes of 600 kinds, and spoken narratives for a part). They are too large for this lesson; `cmlib.datasets` can load both, lesson 16 writes captions and lesson 18 searches. Everything
# below applies to them word for word, above all sections 2 to 4: COCO holds near-copies, too. Small enough to carry are pictures that somebody drew for a purpose and names that somebody else gave them, the emoji: Google's Noto pictures, English names, and as the label one of nine categories, assigned by Unicode. Whose work they are
# is shown when they are first loaded, as their licences ask.
#
# `variants=True` asks for every named picture: the runner, the man running and the woman running. Before any network, try the simplest method there is: **one nearest neighbour in pixels.** Shrink every picture to 16 × 16, split the rows at random, and give each test picture the class of the training picture
# that lies closest.
#
# **Predict before you run.** Nine classes; the largest has a fifth of the rows. How often is this right, over all test rows, and on the rows of "People & Body" (hands, people, professions, families)?

# %%
everything = emoji("all", size=64, variants=True)
share = torch.bincount(everything.labels).double() / len(everything)
print(f"{len(everything)} rows, {len(everything.class_names)} classes")
for name, s in zip(everything.class_names, share.tolist()):
    print(f"  {name:18s} {s:.3f} of the rows")

small = torch.nn.functional.interpolate(everything.images.float() / 255, size=(16, 16),
                                        mode="area")
thumbs = small.flatten(1)               # (rows, 768)
distance = torch.cdist(thumbs, thumbs)  # (rows, rows)
people = everything.labels == everything.class_names.index("People & Body")

def neighbour(train_rows, test_rows):
    """The training row closest in pixels to each test row, (test rows,)."""
    return train_rows[distance[test_rows][:, train_rows].argmin(1)]

# no groups: every row by itself
train_rows, _, test_rows = grouped_split(everything.labels, seed=0)
closest = neighbour(train_rows, test_rows)
right = everything.labels[closest] == everything.labels[test_rows]
person = people[test_rows]
print(f"{len(test_rows)} test rows, {int(person.sum())} of them People & Body")
print(f"accuracy: all test rows {right.double().mean():.3f}, "
      f"People & Body {right[person].double().mean():.3f}")
assert right[person].double().mean() > 0.85

# %% [markdown]
# Sixteen by sixteen pixels, no learning at all, and people are recognised nearly always. Before you believe it, look at what the method found: three test pictures above, their nearest training pictures below.

# %%
group = everything.extras["group"]
lucky = [j for j in range(len(test_rows))
         if person[j] and right[j] and group[test_rows[j]] == group[closest[j]]][5:23:6]
shown = torch.cat([test_rows[lucky], closest[lucky]])
titles = [everything.texts[i] for i in shown]
alt = ("Three test pictures of people and below each its nearest training picture: a "
       "blond man above a bald one, a woman artist above an artist, a fairy above a "
       "man fairy, each pair the same drawing with other hair or clothes.")
plots.show(plots.pictures(everything.images[shown], titles, columns=3, size=1.6), alt)
for j in lucky:
    print(f"{everything.texts[test_rows[j]]:28s} <- {everything.texts[closest[j]]}")

# %% [markdown]
# The test set asks what the training set has already said: the same drawing with other hair or other clothes, and the same label. In a hospital these would be two X-rays of one patient, in a shop two photos of one article. The number is not false. It answers another
# question, "how well do I recognise what I have seen?", and you wanted to know about what you have not seen. This is **leakage**.
#
# ## 2. Who belongs together
#
# An emoji is a short string of Unicode code points. You need four kinds:
#
# | code points | meaning | example |
# |---|---|---|
# | U+1F3FB to U+1F3FF | five skin tones, right after a person or a hand | 👋🏽 = 👋 + U+1F3FD |
# | U+FE0F | "in colour, please"; changes nothing else | ❤️ = ❤ + U+FE0F |
# | U+200D | the *joiner*: glues two parts into one picture | 🧑‍🚀 = 🧑 + U+200D + 🚀 |
# | U+2640, U+2642 | the signs ♀ and ♂; glued on, they set the gender | 🏃‍♀️ = 🏃 + U+200D + ♀ + U+FE0F |
#
# And man (U+1F468), woman (U+1F469) and person (U+1F9D1) are three code points for one drawing. A **group key** sends every variant to the same string. Worked example: 👩🏼‍🚀 is woman, tone, joiner, rocket. Take the tone away, put the person
# in the woman's place: person, joiner, rocket. That is also the key of 👨🏿‍🚀. The drawing walks through it.

# %% tags=["hide-input"]
sketch = Schematic(9.2, 1.75)
steps = [("as it comes",
          ["woman\n1F469", "tone\n1F3FC", "joiner\n200D", "rocket\n1F680"]),
         ("tones and FE0F out", ["woman\n1F469", "", "joiner\n200D", "rocket\n1F680"]),
         ("woman → person", ["person\n1F9D1", "", "joiner\n200D", "rocket\n1F680"])]
for place, (name, parts) in enumerate(steps):
    left = 0.1 + 3.1 * place
    sketch.text(name, (left + 1.3, 1.5))
    for k, words in enumerate(parts):
        color = (plots.TEXT, plots.BOTH, plots.GREY, plots.IMAGE)[k]
        sketch.box(words or "gone", (left + 0.35 + 0.68 * k, 0.95), (0.62, 0.5),
                   color if words else plots.GREY, filled=bool(words), fontsize=7)
    if place:
        sketch.arrow((left - 0.32, 0.95), (left + 0.02, 0.95))
sketch.text("every variant of the astronaut ends in the same string: one key, one "
            "group, one side of the split", (4.6, 0.35))
sketch.show("Three steps from an emoji to its key: woman, tone, joiner, rocket; the "
            "tone is removed; woman becomes person. Person, joiner, rocket is the key "
            "that every variant of the astronaut shares.")

# %% [exercise] 07.1
# Your function receives `emoji`, a string of one emoji, and returns its key, a string: (1) remove the five skin tones and U+FE0F; (2) replace man and woman by person; (3) cut at the joiners, and drop a part
# that is only ♀ or ♂ and stands *after* a joiner; (4) glue what is left with joiners again. The sign ♀ alone, as an emoji of its own, stays.

# %% [stub]
def group_key(emoji):
    """The string that all variants of an emoji share.

    emoji : str, the code points of one emoji    returns : str
    """
    raise NotImplementedError

# %% [solution]
def group_key(emoji):
    gone = {"\ufe0f"} | {chr(code) for code in range(0x1F3FB, 0x1F400)}
    plain = "".join(sign for sign in emoji if sign not in gone)
    for adult in ("\U0001F468", "\U0001F469"):
        plain = plain.replace(adult, "\U0001F9D1")
    first, *rest = plain.split("\u200d")
    rest = [part for part in rest if part not in ("\u2640", "\u2642")]
    return "\u200d".join([first, *rest])

# %% [hints]
# A Python string is a sequence of code points, so you can walk over it sign by sign. Clean first, cut at the joiners second.
# ---
# `"\u200d"` is the joiner; `text.split("\u200d")` gives the parts, `"\u200d".join(parts)` glues them. The first part always stays; of the others drop `"\u2640"` and `"\u2642"`.
# ---
# ```python
# gone = {"\ufe0f", *map(chr, range(0x1F3FB, 0x1F400))}
# plain = ____                                   # without them, and with one adult for all
# first, *rest = plain.split("\u200d")           # of `rest`, two kinds of parts go
# ```

# %%
sizes = Counter(group)
print(f"{len(everything)} rows fall into {len(sizes)} groups; "
      f"the largest has {max(sizes.values())} rows")
norway = everything.texts.index("flag: norway")
bouvet = everything.texts.index("flag: bouvet island")
print("flags of Norway and Bouvet Island equal in every pixel:",
      bool(torch.equal(everything.images[norway], everything.images[bouvet])))
print("in one group:", group[norway] == group[bouvet])
assert group[norway] == group[bouvet]

# %% [markdown]
# From here the lesson uses the library's key, `extras["group"]`. It goes further than yours: hair colours, couples, families, and flags that are equal pixel by pixel, as in the last two lines above: two "countries", one picture. Such rules are found by looking, not by thinking.
#
# ## 3. How sure is a number?
#
# In section 1, People & Body had 58 test rows. Would another 58 say the same? Call the number of rows $n$, the number of right ones $k$, and $\hat p = k/n$. Each row is right with an unknown probability $p$. All of these are plain numbers.
#
# **Step 1.** One row, right (1) or wrong (0), has variance $p(1-p)$. So the mean $\hat p$ of $n$ independent rows scatters around $p$ with standard deviation $\sqrt{p(1-p)/n}$, and in 95 of 100 test sets it lies within $z = 1.96$ of these (for large $n$).
#
# **Step 2.** The usual interval puts $\hat p$ for the unknown $p$ under the root: $\hat p \pm z\sqrt{\hat p(1-\hat p)/n}$. At $k = n$ it has width zero: after 12 right answers out of 12 it is *certain* that the model never errs. That is absurd.
#
# **Step 3.** Wilson (1927) keeps the true $p$ under the root and asks which $p$ are compatible with $\hat p$: those with $(\hat p - p)^2 \le z^2\,p(1-p)/n$. Multiplied out, this is a quadratic inequality,
#
# $$\Big(1+\frac{z^2}{n}\Big)p^2 - \Big(2\hat p+\frac{z^2}{n}\Big)p + \hat p^2 \le 0,$$
#
# and the two roots of its left side are the ends of the interval:
#
# $$\frac{\hat p + \frac{z^2}{2n} \pm z\sqrt{\frac{\hat p(1-\hat p)}{n} + \frac{z^2}{4n^2}}}{1 + \frac{z^2}{n}}.$$
#
# **A worked example.** 12 of 12, $z^2 \approx 3.84$: the root is $z\sqrt{0 + 3.84/576} = 0.16$, the numerator $1 + 0.16 \pm 0.16$, the denominator $1.32$. So the interval runs from $1/1.32 \approx 0.757$ to $1$.

# %% [exercise] 07.6
# An interval makes a promise: *in 95 of 100 test sets I hold the true $p$.* Test it. Somebody drew many test sets of `n` rows from a world whose true accuracy is `p`. Your function receives `right`, int64 `(sets,)`, the number of right rows in each; `n`, an integer; `p` and `z`, floats. For every
# test set compute both 95 % intervals from its $k$ alone, the usual one of step 2 and Wilson's; return two floats, the share of test sets whose usual interval holds `p` (ends included), and the share whose Wilson interval does: their **coverage**.

# %% [stub]
def coverage(right, n, p, z=1.96):
    """How often the usual and Wilson's interval hold the true share.

    right : int64 (sets,)   n : int   p, z : float   returns : (usual, wilson), floats
    """
    raise NotImplementedError

# %% [solution]
def coverage(right, n, p, z=1.96):
    share = right.double() / n                                            # (sets,)
    half = z * (share * (1 - share) / n).sqrt()
    usual = (share - half <= p) & (p <= share + half)
    half = z * (share * (1 - share) / n + z**2 / (4 * n**2)).sqrt()
    centre, scale = share + z**2 / (2 * n), 1 + z**2 / n
    wilson = ((centre - half) / scale <= p) & (p <= (centre + half) / scale)
    return usual.double().mean().item(), wilson.double().mean().item()

# %% [hints]
# All test sets at once: `right / n` is a whole tensor of shares, and both intervals are two tensors of ends.
# ---
# With $\hat p$ `(sets,)`: usual ends $\hat p \pm z\sqrt{\hat p(1-\hat p)/n}$; Wilson's as in step 3. An interval holds $p$ where low ≤ p *and* p ≤ high; a mean of booleans is a share.
# ---
# ```python
# share = right.double() / n
# half = z * (share * (1 - share) / n).sqrt()
# usual = ____
# # the same again with Wilson's three numbers; then two means
# ```

# %%
for k, n in ((12, 12), (0, 12), (120, 120), (124, 247)):
    low, high = metrics.wilson(k, n)
    print(f"{k:3d} of {n:3d}: {k / n:.3f}, 95 % interval {low:.3f} to {high:.3f}")
assert abs(metrics.wilson(12, 12)[0] - 0.757) < 1e-3

from cmlib.check import find

ours = find("07.6")  # the course's own version of your function
draw = torch.Generator().manual_seed(0)
print("promised 0.95, kept in 20,000 test sets:   usual   Wilson")
for n, p in ((12, 0.9), (58, 0.9), (58, 0.97), (247, 0.5), (247, 0.97)):
    right = (torch.rand(20_000, n, generator=draw) < p).sum(1)
    usual, wilson = ours(right, n, p)
    print(f"{n:4d} rows, true accuracy {p:.2f}:"
          f"              {usual:.3f}    {wilson:.3f}")
    assert wilson > 0.92

# %% [markdown]
# The first line is the worked example. The table below it holds the promise against 20,000 test sets each: **the usual interval breaks it** where rows are few or models good, just where it looks most convincing; Wilson's stays near 0.95. The line "124 of 247" has the size of the test set in section 5: whatever the models do there, one accuracy is known to about ±.06. Remember that before a difference of .02 excites you.
#
# An interval assumes that the rows are **independent**. Five variants of one drawing are not five pieces of evidence: groups matter a second time, as the next section shows.
#
# ## 4. What the leak costs
#
# First a detector, which you can run on any data set that anyone hands you.

# %% [exercise] 07.3
# Your function receives `groups` and `splits`, two lists of strings of equal length, one entry per row: the row's group, and `"train"`, `"valid"` or `"test"`. Return the list of groups whose rows lie in more than one split, each
# once, sorted. For a clean split that is `[]`.

# %% [stub]
def torn_groups(groups, splits):
    """Groups with rows in more than one split.

    groups, splits : list of str, one per row    returns : sorted list of str
    """
    raise NotImplementedError

# %% [solution]
def torn_groups(groups, splits):
    homes = {}
    for group, split in zip(groups, splits):
        homes.setdefault(group, set()).add(split)
    return sorted(group for group, home in homes.items() if len(home) > 1)

# %% [hints]
# For every group collect the set of splits in which it was seen.
# ---
# A dict from group to set; `homes.setdefault(key, set())` gives the set of a key, and makes an empty one where there is none. A group is torn when its set has more than one element.
# ---
# ```python
# homes = {}
# for group, split in zip(groups, splits):
#     ____                                # remember that this group was seen in this split
# # a group is torn when it was seen in two; names, each once, in alphabetical order
# ```

# %% [markdown]
# Now the cost. Two splits, by row and by group, test different rows, and rows differ in difficulty. So keep the split by row, keep its test rows, and hide from **each test row its own group mates** in training: a mask per row. (To drop them from the training set for everybody would hurt the other rows as well.) Five splits, each with and without the mask: pairs. A control hides as many training rows of the same class that are no mates.

# %%
key = {name: k for k, name in enumerate(dict.fromkeys(group))}
group_id = torch.tensor([key[name] for name in group])  # (rows,)

def leak_experiment(seed):
    """Accuracy on the same test rows, with and without each row's mates in training.

    returns : all rows with, without; People & Body with, without, and with as many
    other rows of the same class hidden; torn groups
    """
    train_rows, _, test_rows = grouped_split(everything.labels, seed=seed)
    far = distance[test_rows][:, train_rows]                       # (test, train)
    mates = group_id[test_rows][:, None] == group_id[train_rows]   # (test, train)
    same = everything.labels[test_rows][:, None] == everything.labels[train_rows]
    luck = torch.rand(far.shape, generator=torch.Generator().manual_seed(seed))
    luck = luck.masked_fill(~same | mates, -1)
    rank = luck.argsort(1, descending=True).argsort(1)
    strangers = rank < mates.sum(1, keepdim=True)                  # (test, train)
    person, scores = people[test_rows], []
    for hidden in (torch.zeros_like(mates), mates, strangers):
        closest = train_rows[far.masked_fill(hidden, torch.inf).argmin(1)]
        right = (everything.labels[closest] == everything.labels[test_rows]).double()
        scores.append((right.mean().item(), right[person].mean().item()))
    torn = set(group_id[test_rows].tolist()) & set(group_id[train_rows].tolist())
    in_all, in_people = zip(*scores)
    return *in_all[:2], *in_people, len(torn)

leak = torch.tensor([leak_experiment(seed) for seed in range(5)], dtype=torch.float64)
with_all, without_all, with_people, without_people, control, torn = leak.T
print(f"torn between train and test: {torn.mean():.1f} groups")
print(f"all test rows:  with mates {with_all.mean():.3f}, "
      f"each row's mates hidden {without_all.mean():.3f}")
print(f"People & Body:  with mates {with_people.mean():.3f}, "
      f"each row's mates hidden {without_people.mean():.3f}")
print("  as many rows of its own class hidden that are no mates, the control: "
      f"{control.mean():.3f}")
lost = with_people - without_people  # paired: the same rows
print("People & Body loses more than 0.1 in every split:", bool((lost > 0.1).all()))
print("all rows lose more than 0.02 in every split:",
      bool((with_all - without_all > 0.02).all()))
assert (lost > 0.1).all() and (with_all - without_all > 0.02).all()
assert (with_people - control).abs().max() < 0.05

fig, ax = plots.figure(width=7, height=2.9)
for seed in range(5):
    ax.plot([0, 1], [with_people[seed], without_people[seed]], "o-", color=plots.TEXT,
            label="People & Body" if seed == 0 else None)
    ax.plot([0, 1], [with_all[seed], without_all[seed]], "s--", color=plots.IMAGE,
            label="all test rows" if seed == 0 else None)
ax.set(xticks=[0, 1], xticklabels=["mates in training", "each row's mates hidden"],
       xlim=(-0.3, 1.6), ylim=(0.4, 1), ylabel="accuracy",
       title="The same test rows, five splits")
ax.legend(loc="center right")
plots.show(fig, "Accuracy of the nearest neighbour on the same test rows with and "
                "without their group mates in training: on People and Body every one "
                "of five splits falls by 15 to 36 points, over all rows each falls a "
                "little.")

# %% [markdown]
# On People & Body the leak is worth about a quarter of the rows, on the very same rows, and it is the mates that are worth it: the control hides as many rows of the same class and loses next to nothing. Over all rows it is worth a few points, because most classes have no variants, and a few points are what people publish: as much as fusion will gain in section 5. **An average hides a leak as well as it hides a failure.**
#
# And the interval? A torn group makes the number too high; an unnoticed group also makes its interval too narrow, for the mates in a test set are not independent pieces of evidence. How many rows they are worth is the stretch exercise of section 10.
#
# ## 5. The same three lines
#
# From here on every group is represented by its plainest member (`variants=False`, the default), and the split is the library's. One row per group: nothing can be torn, and no row is a variant of another.
#
# Then come encoders, fit, evaluate, as you wrote them for the refund desk (marked line 1, 2, 3). Nobody has told the two mini encoders what an emoji category is. The image encoder was trained on drawn toys and drawn chests and has never seen an emoji; the text encoder has read the *training* names, with words masked out,
# and no others.
#
# **Predict before you run.** Which is better here, pictures or names? And how much does having both add?

# %%
from cmlib import FusionModel, extract, fit, image_encoder, predict, text_encoder
from cmlib.fusion import Concat
from cmlib.models import Majority

sets = {split: emoji(split, size=64) for split in ("train", "valid", "test")}
names = sets["train"].class_names
all_groups = [g for pairs in sets.values() for g in pairs.extras["group"]]
print({split: len(pairs) for split, pairs in sets.items()},
      " torn groups:", len(all_groups) - len(set(all_groups)))
assert len(all_groups) == len(set(all_groups))

torch.manual_seed(0)
encoders = FusionModel(image_encoder(cfg.image_encoder),
                       text_encoder(cfg.text_encoder), len(names))        # line 1
features = {split: extract(encoders, pairs) for split, pairs in sets.items()}
print(f"image features {tuple(features['train'].image.shape)}, "
      f"text features {tuple(features['train'].text.shape)}")

views = {"image only": ("image",), "text only": ("text",), "fused": ("image", "text")}

def train_head(use, seed, features=features, n_classes=len(names)):
    torch.manual_seed(seed)
    widths = features["train"].image.shape[1], features["train"].text.shape[1]
    head = Concat(*widths, n_classes, "mlp", use=use, dropout=0.2)
    fit(head, features["train"], features["valid"], epochs=10, learning_rate=3e-3,
        seed=seed, progress=False)                                        # line 2
    return head

heads = {view: [] for view in views}
for seed in tqdm(range(5), desc="seeds"):
    for view, use in views.items():
        heads[view].append(train_head(use, seed))
scores = {view: [metrics.evaluate(head, features["test"]) for head in five]
          for view, five in heads.items()}                                # line 3
majority = Majority(features["train"].labels, len(names))
floor = metrics.evaluate(majority, features["test"])

print(f"{'':11s} accuracy of 5 seeds   95 % interval    macro F1")
low, high = floor.interval
print(f"{'majority':11s} {floor.accuracy:.3f}                 "
      f"{low:.3f} to {high:.3f}   {floor.macro_f1:.3f}")
for view, five in scores.items():
    accuracy = torch.tensor([score.accuracy for score in five])
    f1 = torch.tensor([score.macro_f1 for score in five])
    low, high = metrics.wilson(float(accuracy.mean()) * floor.n, floor.n)
    print(f"{view:11s} {accuracy.mean():.3f} ± {accuracy.std():.3f}         "
          f"{low:.3f} to {high:.3f}   {f1.mean():.3f}")
    assert low > floor.accuracy

# %% [markdown]
# Two uncertainties stand side by side, and they are different things. **±** is the spread over seeds: the same test rows, another start of the head. The **interval** is about the rows: one head of this accuracy, another draw of emoji. Here the second is several times the first, so more seeds would not help; more rows would. (Macro F1, in the last column, is the subject of section 6.)
#
# Majority marks the floor, .158: everything above it was learned. And .534 is what two small frozen encoders get from 1,151 rows; nothing in this data set promises that 1.0 is within reach.
#
# **Does the fused model win?** Its interval overlaps those of the others, and many a report would stop here: "not significant". But overlapping intervals answer the wrong question, because all three models answered *the same* rows. An odd emoji is odd for
# all of them, and what is common cancels in the difference. So take the difference row by row, a tensor (rows,), and see how its *mean* varies when the rows are drawn again, with replacement, a few thousand times: the **bootstrap**.

# %%
def hits(five, rows):
    """The share of the five heads that are right on each row, float64 (rows,)."""
    right = [predict(head, rows).argmax(1) == rows.labels for head in five]
    return torch.stack(right).double().mean(0)

def paired(first, second, draws=4000):
    """Mean difference on the same rows (rows,), with its 95 % bootstrap interval."""
    d = first - second
    source = torch.Generator().manual_seed(0)
    drawn = torch.randint(len(d), (draws, len(d)), generator=source)
    again = d[drawn].mean(1)  # (draws,)
    low, high = again.quantile(torch.tensor([0.025, 0.975], dtype=d.dtype)).tolist()
    return d.mean().item(), low, high

hit = {view: hits(five, features["test"]) for view, five in heads.items()}
for other in ("image only", "text only"):
    gain, low, high = paired(hit["fused"], hit[other])
    print(f"fused minus {other}: {gain:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}")
    assert cfg.text_encoder != "mini" or gain > 0.02

# %% [markdown]
# Both intervals lie above zero, and both only just. The fair sentence is: *on this test set the fused model gains some six points over either modality; with 247 rows, a gain of one point or of ten would be compatible with what was seen.* The gain
# is not a law: on memes, a published concatenation came out *below* its text-only model (61.5 against 62.8 % test accuracy, Kiela et al. 2020; the paper's figures differ between its versions, so name the version when you quote one).
#
# ## 6. Which classes need which modality
#
# One number for nine classes of different sizes favours the large ones. So count per class $k$: $TP_k$ rows of class $k$ that were called $k$ (hits), $FP_k$ rows of other classes that were called $k$ (false alarms), $FN_k$ rows of class $k$ that were called something else (misses). Three shares follow:
#
# $$\text{precision}_k = \frac{TP_k}{TP_k + FP_k},\qquad \text{recall}_k = \frac{TP_k}{TP_k + FN_k},\qquad F_{1,k} = \frac{2\,TP_k}{2\,TP_k + FP_k + FN_k}.$$
#
# $F_1$ is the harmonic mean of the first two, and its mean over the classes, **macro F1**, gives every class the same say, however rare. In numbers: 3 hits, 1 false alarm and 5 misses have precision 3/4, recall 3/8 and $F_1 = 6/12 = 1/2$.
#
# Two corners decide whether two libraries agree. A class that occurs but is *never predicted* has $TP = 0$, so $F_1 = 0$, and it counts. A class that neither occurs nor is predicted has $0/0$: there is nothing to measure, and it does not count.

# %% [exercise] 07.4
# Your function receives `labels` and `guesses`, both int64 `(rows,)` with values below `n_classes`, and `n_classes`. Return macro F1 as a scalar tensor of dtype float64. It must agree with `cmlib.evaluation.classification`, which agrees with torchmetrics and
# scikit-learn.

# %% [stub]
def macro_f1(labels, guesses, n_classes):
    """Mean F1 over the classes that occur, as a label or as a guess.

    labels, guesses : int64 (rows,)   n_classes : int   returns : float64 scalar tensor
    """
    raise NotImplementedError

# %% [solution]
def macro_f1(labels, guesses, n_classes):
    count = lambda classes: torch.bincount(classes, minlength=n_classes)
    hits = count(labels[labels == guesses]).double()    # TP
    both = count(labels) + count(guesses)               # 2 TP + FP + FN
    occurs = both > 0
    return (2 * hits[occurs] / both[occurs]).mean()

# %% [hints]
# Every guess of class k is a hit or a false alarm; every label k is a hit or a miss. So you need only three counts per class.
# ---
# $2\,TP + FP + FN$ = (how often k was guessed) + (how often k is true). `torch.bincount(x, minlength=n_classes)` counts every class at once.
# ---
# ```python
# count = lambda classes: torch.bincount(classes, minlength=n_classes)
# hits = count(____).double()                # TP: the classes of which rows?
# both = count(labels) + count(guesses)
# # then F1 of every class that has one, and their mean
# ```

# %%
from cmlib.data import Features

# mean F1 of a class (classes,), and its test rows
f1 = {view: torch.stack([s.f1 for s in five]).mean(0) for view, five in scores.items()}
rows_of = torch.bincount(features["test"].labels).tolist()
lead = f1["image only"] - f1["text only"]  # (classes,)

every = features.values()
whole = Features(*(torch.cat([getattr(f, part) for f in every])
                   for part in ("image", "text", "labels")))

def lead_in(split):
    """F1 of image only minus text only on other test rows, (classes,)."""
    draw = torch.Generator().manual_seed(split)
    order = torch.randperm(len(whole.labels), generator=draw)
    parts = dict(zip(sets, order.split([len(pairs) for pairs in sets.values()])))
    again = {name: Features(whole.image[rows], whole.text[rows], whole.labels[rows])
             for name, rows in parts.items()}
    image, text = (train_head(views[view], split, again)
                   for view in ("image only", "text only"))
    rows = again["test"]
    return metrics.evaluate(image, rows).f1 - metrics.evaluate(text, rows).f1

others = torch.stack([lead_in(split) for split in range(10)])  # (splits, classes)
ahead = dict(zip(names, (others > 0).sum(0).tolist()))
behind = dict(zip(names, (others < 0).sum(0).tolist()))
here = dict(zip(names, lead.tolist()))
sizes = ", ".join(f"{name.split(' ')[0]} {n}" for name, n in zip(names, rows_of))
print(textwrap.fill(f"test rows of each class: {sizes}", 90))
claims = {
    "these rows: image ahead on smileys, text on objects, by more than 0.05":
        here["Smileys & Emotion"] > 0.05 and here["Objects"] < -0.05,
    "ten other splits: text ahead on flags in at least nine": behind["Flags"] >= 9,
    "image ahead on people, animals and food in at least eight":
        min(ahead[name] for name in names[1:4]) >= 8,
    "on smileys and objects each ahead in at least two":
        min(count[name] for count in (ahead, behind)
            for name in ("Smileys & Emotion", "Objects")) >= 2}
for claim, holds in claims.items():
    print(f"{claim}: {holds}")
assert cfg.image_encoder != "mini" or all(claims.values())

fig, (ax, right_ax) = plots.figure(1, 2, width=9.6, height=4.2)
for j, (view, color) in enumerate(zip(views, (plots.IMAGE, plots.TEXT, plots.BOTH))):
    places = [k + 0.27 * (j - 1) for k in range(len(names))]
    ax.barh(places, f1[view], 0.25, color=color, label=view)
    for place, value in zip(places, f1[view].tolist()):
        if value < 0.02:
            ax.text(0.01, place, f"{value:.2f}", va="center", fontsize=7, color=color)
ax.set(title="F1 on the 247 test rows", xlim=(0, 1), xlabel="F1",
       yticks=range(len(names)), yticklabels=names)
ax.legend(loc="center right")
ax.invert_yaxis()
for k in range(len(names)):
    right_ax.plot(others[:, k], [k] * len(others), "|", color=plots.GREY, ms=11,
                  label=None if k else "ten other splits")
right_ax.plot(lead, range(len(names)), "o", color="black", label="these test rows")
right_ax.axvline(0, color="black", lw=0.8)
right_ax.set(title="Image only minus text only", yticks=range(len(names)),
             yticklabels=[], ylim=ax.get_ylim(),
             xlabel="← the name    lead in F1    the picture →")
right_ax.legend(loc="center right")
plots.show(fig, "Left, F1 of nine emoji classes for three models on one test set. "
                "Right, the picture's lead over the name there, a dot, among the leads "
                "in ten other splits, ticks: on flags every tick is on the name's "
                "side, on people, animals and food nearly all are on the "
                "picture's; on smileys and objects they lie on both sides of zero.")

# %% [markdown]
# Look at the left panel, and a story writes itself: smileys, people and symbols need the picture, objects and flags the words, food neither. Each line of that story hangs on 13 to 39 rows, and section 3 has said what those are worth. So the cell drew ten other splits of the same 1,645 emoji, each with heads of its own: the ticks on the
# right. (The text encoder read the names of the first split's training rows, so the other splits favour words a little.)
#
# - **Flags: the words,** in at least nine of ten. Every name begins with "flag:". The name does not *describe* the class, it *announces* it. That is how the world labels things, and section 7 shows what it is worth.
# - **People, Animals, Food & Drink: the picture,** in at least eight of ten. On these test rows food looked like a class for nobody. That was the draw.
# - **Smileys, Objects: nobody knows.** On these rows the picture leads on smileys and the name on objects. On other rows the sign turns: there is no story to tell.
# - **The others** lean one way and no further. Count their ticks, and remember that a fair coin falls 7 to 3 or further apart in a third of all tens. (The splits share rows, so even ten of ten is less than ten independent verdicts.)
#
# **Thirty rows do not carry a story about a class.** You will read such stories, with reasons that sound good; ask for the splits. One thing the table of one split does show: on these rows the image-only model finds next to nothing of Activities, which accuracy hides and macro F1 counts.
#
# Now the rows behind the numbers: those where exactly one of the single models is right, and those where only the fused one is. The five heads of a model vote.

# %%
def vote_of(five):
    """The class with the highest mean probability of five heads, (rows,)."""
    shares = [predict(head, features["test"]).softmax(1) for head in five]
    return torch.stack(shares).mean(0).argmax(1)

vote = {view: vote_of(five) for view, five in heads.items()}
ok = {view: guess == sets["test"].labels for view, guess in vote.items()}
image, text, fused = (ok[view] for view in views)
kinds = {"words mislead": image & ~text, "picture misleads": ~image & text,
         "only together": ~image & ~text & fused}
for kind, rows in kinds.items():
    low, high = metrics.wilson(int(fused[rows].sum()), int(rows.sum()))
    share, there = int(rows.sum()) / len(rows), fused[rows].double().mean()
    print(f"{kind:17s} {share:.3f} of the test rows; there the fused model is right on "
          f"{there:.3f} ({low:.2f} to {high:.2f})")

def gallery(kind="words mislead", page=0.0):
    rows = kinds[kind].nonzero()[:, 0]
    rows = rows.roll(-4 * int(page))[:4].tolist()  # after the last page comes the first
    fig, axes = plots.figure(1, 4, width=9.2, height=2.7)
    for ax, i in zip(axes, rows):
        ax.imshow(sets["test"].images[i].permute(1, 2, 0).numpy())
        calls = [f"{view.removesuffix(' only')}: {names[guess[i]]}"
                 for view, guess in vote.items()]
        ax.set_title("\n".join([sets["test"].texts[i], *calls]),
                     fontsize=8, fontweight="normal", loc="center")
        ax.axis("off")
    return fig

plots.show(gallery("words mislead"),
           "Four test emoji. A cat with tears of joy: the picture says smiley, the "
           "name a place. Three hands: the picture says people, the name objects. On "
           "all four the fused model sides with the picture and is right.")
plots.show(gallery("picture misleads"),
           "Four test emoji. A white heart: symbol by picture, rightly smiley by "
           "name, food to the fused model. Lungs: food by picture and to the fused "
           "model, rightly people by name. A person kneeling and a person in bed: an "
           "object and a place by picture, people by name and to the fused model.")
plots.explore(gallery,
              "Four test emoji with their names and what the three models call them.",
              kind=list(kinds), page=(0.0, 11.0, 1.0, 0.0))

# %% [markdown]
# Look for a pattern in the first row before reading on.
#
# Three hands are "Objects" to the text model, and a cat that weeps for joy is a place; the picture puts all four right. In the second row the pictures are honest and the category is a convention: lungs are People & Body, a white heart is Smileys & Emotion, a person in bed is filed under people and not under furniture. Only the words carry that. And
# the fused model is no referee: it follows the words on the two persons, the picture on the lungs, and calls the heart Food & Drink, which neither had said.
#
# And the fused model? Where just one of the two is misled, it sides with the right one on 0.674 of the rows if that is the picture, and on 0.500 if it is the words. The two intervals overlap widely: whether it trusts pictures more, these rows do not say. What they say is that it is far from always siding with the right one. Its weights are the same for every row: it learned *whom to trust on average* and has nothing to decide whom to trust *this time*. That is the subject of lesson 08.
# Browse the rest with the slider, "only together" too: there both single models fail.
#
# ## 7. Break it: the world shifts
#
# A test split answers for data *like the training data*. Yours will arrive as a scan without colour, in dark mode, or typed in a hurry. So change one thing at a time in the test rows, and leave the models as they are.
#
# **Predict before you run.** Which of these hurts most: grey pictures, dark background, a quarter turn, a blur; capitals, typing errors, the word "flag:" left out? And does the fused model fall less than the better single one, or more?

# %%
def grey(images):
    # how bright red, green and blue look
    weight = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    light = (images.float() * weight).sum(1, keepdim=True).round()
    return light.to(torch.uint8).repeat(1, 3, 1, 1)

def dark(images):
    white = images.amin(1, keepdim=True) > 247
    return torch.where(white, torch.tensor(40, dtype=torch.uint8), images)

def blurred(images):
    resize = torch.nn.functional.interpolate
    small = resize(images.float(), size=(12, 12), mode="area")
    return resize(small, size=images.shape[2:], mode="bilinear").round().to(torch.uint8)

def typos(text):
    """Swap the second and third letter of every word of four letters or more."""
    words = [w[0] + w[2] + w[1] + w[3:] if len(w) > 3 else w for w in text.split()]
    return " ".join(words)

test = sets["test"]
pixels = {"none": test.images, "grey": grey(test.images),
          "dark background": dark(test.images),
          "quarter turn": test.images.rot90(1, (2, 3)), "blur": blurred(test.images)}
shown = test.texts.index("closed umbrella")
five = torch.stack([images[shown] for images in pixels.values()])
plots.show(plots.pictures(five, list(pixels), columns=5, size=1.5),
           "A closed purple umbrella five times: as it is; grey, where shape is left "
           "and colour gone; on a dark background; lying on its side; and blurred to "
           "12 by 12 pixels, where colour is left and shape gone.")
cut = encoders.text_encoder.tokenizer.tokenize
for text in (test.texts[shown], typos(test.texts[shown])):
    print(f"{text} → {' '.join(cut(text))}")

shifts = {name: replace(test, images=images) for name, images in pixels.items()}
words = {"CAPITALS": [text.upper() for text in test.texts],
         "typing errors": [typos(text) for text in test.texts],
         'no "flag:"': [text.removeprefix("flag: ") for text in test.texts]}
shifts |= {name: replace(test, texts=texts) for name, texts in words.items()}

def accuracies(pairs):
    """Mean accuracy of the five heads of every view on these rows."""
    rows = extract(encoders, pairs)
    return {view: hits(five, rows).mean().item() for view, five in heads.items()}

shifted = {name: accuracies(pairs) for name, pairs in shifts.items()}
print(f"{'':16s} image  text   fused")
for name, row in shifted.items():
    print(f"{name:16s} " + "  ".join(f"{v:.3f}" for v in row.values()))
assert shifted["CAPITALS"] == shifted["none"]
on_dark = shifted["dark background"]
assert cfg.image_encoder != "mini" or on_dark["fused"] < on_dark["text only"] - 0.03

# %% [markdown]
# Capitals do nothing at all: the tokenizer lower-cases, so the ids are the same, and the code asserts equality. It is worth having one shift whose result you know.
#
# Everything else hurts the model that reads what was changed, and in three ways that you will meet again:
#
# 1. **A model leans on what was easy.** Without its colour a picture is worth less than half (0.482 to 0.222). A blur to 12 × 12 pixels, which keeps colour and destroys shape, costs less (0.361). Perhaps the encoder, trained on toys whose colours matter, still looks for colour first; this table cannot prove it.
# 2. **Two letters swapped per word ruin the words** (0.474 to 0.203): two known words become nine pieces that mean nothing, as the lines under the pictures show. Leaving out the single word "flag:" takes text from 0.474 to 0.325; the rest of the name, a country, says little to it.
# 3. **The second modality cushions, and it can also drag down.** With typing errors the fused model keeps 0.416, twice what text keeps. But on a dark background it has 0.399 and text alone 0.474: it would be better off without the picture, and does not know it. Without "flag:" it is the words that drag: fused 0.406, the picture alone 0.482.
#
# ## 8. Your own pictures, texts and labels
#
# A CSV file with three columns is enough: the path of a picture, a text, the name of a class. Since this lesson you want a fourth, for the group. Here a small one is written into a temporary folder, as if you had made it: things to eat and things that live.

# %%
import csv
import tempfile
from pathlib import Path
from PIL import Image

temporary = tempfile.TemporaryDirectory()
own = Path(temporary.name)
source = emoji("all", size=72)
kept = {"Food & Drink": "food", "Animals & Nature": "nature"}
wanted = {source.class_names.index(name): label for name, label in kept.items()}
table = [["image", "text", "label", "product"]]
for i in range(len(source)):
    label = wanted.get(int(source.labels[i]))
    if label:
        picture = source.images[i].permute(1, 2, 0).numpy()
        Image.fromarray(picture).save(own / f"{i}.png")
        table.append([f"{i}.png", source.texts[i], label, source.extras["group"][i]])
with open(own / "mine.csv", "w", newline="", encoding="utf-8") as file:
    csv.writer(file).writerows(table)
print(*(own / "mine.csv").read_text(encoding="utf-8").splitlines()[:4], sep="\n")

mine = {split: datasets.folder(own / "mine.csv", size=64, split=split, group="product")
        for split in ("train", "valid", "test")}
print({split: len(pairs) for split, pairs in mine.items()}, mine["train"].class_names)
mine_features = {split: extract(encoders, pairs) for split, pairs in mine.items()}
mine_hits = {}
for view, use in views.items():
    five = [train_head(use, seed, mine_features, n_classes=2) for seed in range(5)]
    right = hits(five, mine_features["test"])
    mine_hits[view] = right
    low, high = metrics.wilson(float(right.sum()), len(right))
    print(f"{view:11s} {right.mean():.3f}   95 % interval {low:.3f} to {high:.3f}")
gain, low, high = paired(mine_hits["fused"], mine_hits["image only"])
print(f"fused minus image only: {gain:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}")
low, high = metrics.wilson(650, 1000)
print(f"650 right of 1,000 rows would be known to ± {(high - low) / 2:.3f}")

# %% [markdown]
# The same `extract`, the same `train_head`, the same `hits`. And the fused model is *below* image-only. Should you report that the words are harmful here? Compare row by row: the interval of the difference reaches from -.114 to +.038, so harm, no effect and help are all compatible with these 42 test rows. The
# last line says how far 1,000 rows would take you with one accuracy. **Count your test rows before you compare models.**
#
# Now two mistakes that everybody makes in a CSV: a file name with swapped letters, and a class with swapped letters.

# %%
def try_with(row, column, value, **settings):
    """Write the table with one changed cell, load it, and print the answer."""
    broken = [list(cells) for cells in table]
    broken[row - 1][table[0].index(column)] = value
    with open(own / "broken.csv", "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(broken)
    try:
        pairs = datasets.folder(own / "broken.csv", **settings)
        print(f"accepted: {len(pairs)} rows with {len(pairs.class_names)} classes "
              f"{pairs.class_names}")
    except ValueError as error:
        print(textwrap.fill(str(error).replace(str(own), "your folder"), 99))

try_with(2, "image", table[1][0].replace(".png", ".pgn"))
try_with(5, "label", "fodo", class_names=("food", "nature"))
try_with(5, "label", "fodo")

# %% [markdown]
# The first two answers name the row, the column, the value and the mend. The row number is that of a spreadsheet: the header is row 1. The third is the second file again, loaded without `class_names`: accepted, with a third class of one row. **Say which classes you expect.**
#
# A file of your own works the same way: `datasets.folder("path/to/mine.csv", group="patient")`.
#
# A trained model is for pictures that come tomorrow. **Keep it, load it, predict.** A head alone reads features, so first put it on its encoders; what each logit stands for belongs to the model, too. `save_model` writes a folder, `load_model` makes the model from it, and `predict` takes the path of a picture with its words.

# %%
from cmlib.models import load_model, save_model

head = five[0]  # of the last view, fused
model = FusionModel(encoders.image_encoder, encoders.text_encoder, 2, head)
model.class_names = mine["train"].class_names
folder = save_model(model, own / "kept")
files = sorted(file for file in folder.rglob("*") if file.is_file())
print("\n".join(file.relative_to(folder).as_posix() for file in files))
print(f"in all {sum(file.stat().st_size for file in files) / 1e6:.1f} MB")

loaded = load_model(folder)
row = next(row for row in table if row[1] == mine["test"].texts[0])
logits = predict(loaded, (own / row[0], row[1]))  # (1, 2)
print(f'picture {row[0]} and "{row[1]}": {loaded.class_names[logits.argmax()]}')
equal = torch.equal(predict(loaded, mine["test"]), predict(model, mine["test"]))
print("the loaded model gives the same logits on all your test rows:", equal)
assert equal and loaded.class_names == ("food", "nature")

# %% [markdown]
# The weights are numbers in a safetensors file; the card `model.json` says how to build the model around them, names the classes, and holds a checksum of every file. Nothing in the folder can run code when it is loaded, as a pickle can. Loading compares the checksums first: a file that was
# cut on its way is refused, not half used. And the answer has a name, not a number: the classes came along.
#
# ## 9. Scale
#
# One name changes the encoder, and no other line. So take two others for the text, in the place of the pretrained mini BERT: the **same BERT without its pretraining**, and the plainest of all, a **bag of words**. Both have random weights and keep them; each seed draws new ones.
#
# **Predict before you run:** how much does throwing the pretraining away cost? And throwing BERT away?

# %%
def with_words(seed, name, **settings):
    """The same image features, beside text features of a random encoder."""
    torch.manual_seed(seed)
    model = FusionModel(encoders.image_encoder, text_encoder(name, **settings),
                        len(names))
    words = {split: extract(model, replace(pairs, images=None)).text
             for split, pairs in sets.items()}
    return {split: Features(f.image, words[split], f.labels)
            for split, f in features.items()}

plain = {"fresh BERT": [with_words(seed, cfg.text_encoder, pretrained=False)
                        for seed in range(5)],
         "bag of words": [with_words(seed, "bag") for seed in range(5)]}
bought = {}
for view in ("text only", "fused"):
    print(f"{view}, pretrained BERT: {hit[view].mean():.3f}")
    for name, encoded in plain.items():
        right = torch.stack([hits([train_head(views[view], seed, f)], f["test"])
                             for seed, f in enumerate(encoded)])  # (seeds, rows)
        gain, low, high = paired(right.mean(0), hit[view])
        bought[view, name] = gain
        print(f"  {name:12s} {right.mean():.3f}, minus pretrained {gain:+.3f}, "
              f"95 % interval {low:+.3f} to {high:+.3f}")
if cfg.text_encoder == "mini":
    assert min(bought.values()) > -0.03 and bought["text only", "bag of words"] > 0
    assert abs(bought["text only", "fresh BERT"]) < 0.05

# %% [markdown]
# Nothing that these rows can show. The fresh BERT is the control: the same layers, the same width, and only the pretraining gone; its interval has zero in its midst, with words alone and fused. So here the pretraining bought no visible gain. With words alone the random bag is even ahead of the pretrained BERT, by an interval that ends
# at the edge of zero (with other seeds now below, now above it), and fused nothing is left of that. A likely reason: the mini BERT has read refund messages and chest reports, and some emoji names. To fill in *their* masked words it had to tell colours, complaints and findings apart; "otter" and "ferry" were hardly worth the space. Random vectors at least
# keep different words different. **Pretraining pays in so far as what was read resembles what is asked.** On the refund desk (lesson 04) it does.
#
# BERT and a ResNet-50 have read and seen far more than emoji. On a GPU the setup cell picks `bert-base-uncased` and `resnet50`, and every line above stays as it is. What they reach here has **not been measured yet**, so no number stands here; lesson 13 trains them.
#
# ## 10. What a group is worth
#
# One question is left from section 4: 58 test rows that share drawings are fewer than 58 pieces of evidence. How many?

# %% [exercise] 07.5
# **On paper first.** $n$ test rows fall into groups of sizes $m_1, \dots, m_G$. Each row is right with probability $p$; two rows of one group are correlated, with coefficient $\rho$, two rows of different groups are independent. (a) Derive the variance of the accuracy $\hat p$, the mean of the $n$ rows. (b) How many *independent* rows $n_\text{eff}$ would have the
# same variance? (c) What do $\rho = 0$ and $\rho = 1$ give, and what follows for the width of an interval?
#
# **Then compute it.** Your function receives `sizes`, int64 `(groups,)`, and `rho`, a float; it returns $n_\text{eff}$, a float.

# %% [stub]
def effective_rows(sizes, rho):
    """How many independent rows these groups are worth.

    sizes : int64 (groups,)   rho : float, 0 to 1   returns : float
    """
    raise NotImplementedError

# %% [solution]
def effective_rows(sizes, rho):
    sizes = sizes.double()
    n = sizes.sum()
    return float(n**2 / (sizes + rho * sizes * (sizes - 1)).sum())

# %% [hints]
# The variance of a sum is the sum of all covariances, of every row with every row. Most of them are zero. Which are not?
# ---
# $\mathrm{Var}(\sum_i x_i) = \sum_{i,j}\mathrm{Cov}(x_i, x_j)$: $p(1-p)$ for $i = j$, and $\rho\,p(1-p)$ for two different rows of a group, of which a group of $m$ has $m(m-1)$ ordered pairs. Compare with $p(1-p)/n_\text{eff}$.
# ---
# ```python
# sizes = sizes.double()
# n = sizes.sum()
# spread = ____            # Var(sum) in units of p (1 - p)
# # Var(mean) = spread / n**2 = 1 / n_eff
# ```

# %% [answer]
# (a) $\mathrm{Var}(\hat p) = \frac{1}{n^2}\sum_{i,j}\mathrm{Cov}(x_i,x_j) = \frac{p(1-p)}{n^2}\sum_g\big(m_g + \rho\,m_g(m_g-1)\big)$: the diagonal gives $m_g$ per group, the ordered pairs within it $m_g(m_g-1)$, each $\rho$ times as large.
#
# (b) $p(1-p)/n_\text{eff}$ equals that for $n_\text{eff} = n^2 \big/ \sum_g\big(m_g + \rho\,m_g(m_g-1)\big)$. With equal sizes it is $n/(1 + (m-1)\rho)$, the "design effect" of surveys.
#
# (c) $\rho = 0$: $n$, every row counts. $\rho = 1$: $n^2/\sum m_g^2$, the number of groups if all are equally large, fewer if not. An interval computed from $n$ rows is too narrow by $\sqrt{n/n_\text{eff}}$.

# %%
rows_of_people = (people[test_rows]).nonzero()[:, 0]  # in the split of section 1
sizes = torch.bincount(group_id[test_rows[rows_of_people]])
sizes = sizes[sizes > 0]
n = int(sizes.sum())
print(f"People & Body in the test set of section 1: {n} rows in {len(sizes)} groups, "
      f"the largest of {int(sizes.max())}")

def correlation_of_mates(splits):
    """How far two group mates in a test set are right or wrong together: rho."""
    together = alone = 0.0
    for seed in splits:
        train_rows, _, test_rows = grouped_split(everything.labels, seed=seed)
        test_rows = test_rows[people[test_rows]]
        closest = neighbour(train_rows, test_rows)
        right = (everything.labels[closest] == everything.labels[test_rows]).double()
        off = right - right.mean()
        mates = group_id[test_rows][:, None] == group_id[test_rows]
        mates.fill_diagonal_(False)
        together += float(torch.outer(off, off)[mates].sum())
        alone += float(mates.sum() * off.square().mean())
    return together / alone

worth = find("07.5")
rho = correlation_of_mates(range(100))
print(f"measured over 100 splits: rho = {rho:.2f}")
for name, r in (("as measured", rho), ("mates always right together", 1.0)):
    effective = worth(sizes, r)
    print(f"{name:28s} worth {effective:.1f} rows, "
          f"interval {(n / effective) ** 0.5:.2f} times as wide")
assert 0.1 < rho < 0.4

# %% [markdown]
# The worst case, $\rho = 1$, halves the test set; the $\rho$ that this method has on these people costs a sixth of it. So do not take the worst case for the answer: measure $\rho$, then compute. It belongs to a method and its data; another method on the same groups has another.
#
# ## 11. Recap
#
# You can now
# - build a group key, detect torn groups, and say what a leak costs;
# - give an accuracy its interval, keep it apart from the spread over seeds, and compare two models on the same rows;
# - compute macro F1 with its corners, and tell a class that needs one modality from one that the draw of rows favours;
# - measure a shift in one modality at a time;
# - bring your own data, understand what the loader tells you, and keep the trained model;
# - test whether an interval keeps its promise, and say what rows in groups are worth.
#
# `cmlib.report()` shows all lessons, with your points, on one page.

# %% [quiz]
# ? Two models are right on .55 and .47 of the same 247 rows; the Wilson intervals overlap. What follows?
# - The difference is chance :: Overlapping intervals do not show that. They ignore that both models saw the same rows.
# + Compare them row by row :: What is common to both, hard and easy rows, cancels in the difference, so the paired interval is usually narrower.
# - The first is better :: Perhaps. But neither the two numbers nor their intervals tell you.
# ? A data set has five photos of every article. You split at random by photo. What is wrong with the test accuracy?
# + It is too high, and its interval is too narrow :: The model has met nearly every test article in training, and five photos of one article are not five independent pieces of evidence.
# - It is too low, since the test set is small :: A small test set makes the number uncertain, not low.
# - Nothing, if the classes are balanced :: Balance does not help: the leak is about articles, not about classes.
# ? A class with 4 of 247 rows is never predicted. Which number shows it?
# - Accuracy :: It loses at most 4/247 = .016, less than its own uncertainty.
# - The spread over seeds :: Every seed may ignore the same class.
# + Macro F1 :: The class counts with F1 = 0, a ninth of the mean.
# ? All test pictures arrive in dark mode, and the fused model becomes worse than text only. Why does it not just ignore the picture?
# - Its text half has been damaged too :: The words are the same, and the text half computes what it always did.
# + It learned how far to trust pictures when they were reliable :: Concatenation has no way to notice that its input has changed; the weights are fixed. Lesson 26 returns to this.
# - Its learning rate was too high :: The models are not trained again in a shift test.

# %% [markdown]
# **Glossary**: *leakage*, information about the test rows that training should not have · *group*, rows that must stay in one split · *Wilson interval*, the shares compatible with k of n · *paired comparison*, of two models on the same rows ·
# *recall*, the share of a class's rows that are found · *macro F1*, the mean over classes of the harmonic mean of precision and recall · *domain shift*, test data from another source than the training data · *bootstrap*, redrawing the rows to see how a number varies.
#
# **References**
# - T.-Y. Lin et al., *Microsoft COCO: common objects in context*, ECCV 2014; A. Kuznetsova et al., *The Open Images dataset V4*, International Journal of Computer Vision 128 (2020): the large collections named in section 1.
# - E. B. Wilson, *Probable inference, the law of succession, and statistical inference*, Journal of the American Statistical Association 22 (1927): two pages that mend the interval of step 2.
# - L. D. Brown, T. T. Cai, A. DasGupta, *Interval estimation for a binomial proportion*, Statistical Science 16 (2001): how badly the usual interval behaves, and that Wilson's is a good default.
# - S. Kapoor, A. Narayanan, *Leakage and the reproducibility crisis in machine-learning-based science*, Patterns 4 (2023): leaks like that of section 1 in published work of many fields.
# - D. Hendrycks, T. Dietterich, *Benchmarking neural network robustness to common corruptions and perturbations*, ICLR 2019: section 7 for ImageNet, with strengths.
# - D. Kiela et al., *The hateful memes challenge: detecting hate speech in multimodal memes*, NeurIPS 2020: the concatenation of section 5 that falls behind its own text model.
# - Unicode Technical Standard 51, *Unicode Emoji*: skin tones, joiners and U+FE0F, as used in section 2.
#
# Pictures: Noto Emoji, © Google, SIL Open Font License 1.1. Names: EmojiBase, MIT.

# %% [progress]
