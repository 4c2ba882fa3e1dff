# %% [markdown]
# # 01 Losses from first principles
#
# **The one thing to take away:** a classification loss is the surprise at the right answer, and its gradient in the logits is
# always *what the model says minus what it should say*, p − y.
#
# You will be able to
# - derive binary and softmax cross-entropy from a likelihood, and their gradient p − y, on half a page of paper;
# - write losses that stay finite for every logit, and say why the textbook form does not;
# - check any gradient against a second witness, with the step size that floating point allows;
# - split any cross-entropy into an entropy, which no model can lower, and a divergence, which training lowers;
# - write Adam from memory, tell L2 regularisation from decoupled decay, and read the first line of a training log
#   like a detective.
#
# **Before this:** [lesson 00](00_start_here.ipynb); derivatives of exp and log; what gradient descent is.
#
# **Time:** about 85 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}.

# %% [setup]
import math
import torch
from torch.nn.functional import one_hot
from cmlib import plots
cfg = cmlib.setup("01")

# %% [markdown]
# ## 1. A training log that cannot be
#
# An article describes a network that reads a text and looks at a picture and sorts the pair into **two** classes, with a softmax at the end.
# It prints the log of its training. These are the first line and the last:
#
# | | loss | accuracy |
# |---|---|---|
# | first epoch | 2.3025 | 51 % |
# | last epoch | 2.2567 | 56.9 % |
#
# The loss falls, the accuracy rises. Most readers turn the page.
#
# **Predict before you run.** A model with two classes and tiny random weights knows nothing yet. Which loss does it show? Write a number down.

# %%
rows, labels = torch.randn(2000, 20), torch.randint(2, (2000,))
tiny_weights = 0.01 * torch.randn(20, 2)
start = torch.nn.functional.cross_entropy(rows @ tiny_weights, labels).item()
print(f"two classes, tiny random weights: loss {start:.4f}")
print(f"the published log begins at       loss {2.3025:.4f}, "
      f"{2.3025 / start:.1f} times as high")
assert abs(start - math.log(2)) < 0.01

fig, ax = plots.figure(width=6, height=2.4)
ax.plot([0, 1], [2.3025, 2.2567], "o-", color=plots.TEXT)
ax.annotate("published log", (0.5, 2.28), (0.5, 1.95), color=plots.TEXT, ha="center")
ax.axhline(start, color=plots.IMAGE, ls="--")
ax.annotate("a two-class model that knows nothing", (0.5, start), (0.5, start + 0.1),
            color=plots.IMAGE, ha="center")
ax.set(title="Worse than knowing nothing, from first line to last",
       ylabel="loss", xticks=[0, 1],
       xticklabels=["first epoch", "last epoch"], ylim=(0, 2.6), xlim=(-0.2, 1.2))
plots.show(fig, "The published loss stays near 2.3 from first to last epoch, far above "
                "the 0.69 of a two-class model that knows nothing.")

# %% [markdown]
# The log claims to be better than a coin at guessing (56.9 %) and more than three times as surprised as a coin. Something that the article says about its
# model can hardly be true. By section 10 you will know what, from the digits alone. For that you need to know where a loss comes from.
#
# ## 2. From likelihood to loss
#
# | symbol | meaning | shape |
# |---|---|---|
# | $n,\ C$ | number of rows, number of classes | numbers |
# | $z$ | logits, what the model computes; any real numbers | $(n,)$ binary, $(n, C)$ softmax |
# | $p$ | probabilities made from $z$ | as $z$ |
# | $y$ | the label: 0 or 1; or a class number $0 \dots C-1$ | $(n,)$ |
# | $\sigma(z) = 1/(1+e^{-z})$ | the logistic function | |
#
# **Step 1. One row.** The model says "1" with probability $p$. The probability it gives to what happened is $p$ if $y=1$ and $1-p$ if $y=0$. One formula for both:
#
# $$P(y) = p^{\,y}\,(1-p)^{1-y}.$$
#
# **Step 2. All rows.** Independent rows multiply: the *likelihood* is $\prod_i P(y_i)$. A good model makes it large.
#
# **Step 3. Take the logarithm.** A product of a thousand probabilities underflows; its logarithm is a sum. Turn the sign, so that smaller is better, and divide by $n$:
#
# $$L = -\frac1n\sum_{i=1}^{n}\big(y_i\log p_i + (1-y_i)\log(1-p_i)\big).$$
#
# This is **binary cross-entropy**. Each term is $-\log$ of the probability of what happened: the *surprise*. Certain and right costs 0, a coin costs $\ln 2 = 0.693$, certain and wrong costs $\infty$.
#
# **In numbers.** Three rows, $p = (0.9,\ 0.2,\ 0.6)$ and $y = (1, 0, 0)$. The probabilities of what happened are $0.9,\ 0.8,\ 0.4$; the cell below step 5 prints the rest.
#
# **Step 4. More classes.** Any logits become probabilities with the *softmax*: make them positive with exp, divide by the sum.
#
# $$p_c = \frac{e^{z_c}}{\sum_{k} e^{z_k}},\qquad \ell = -\log p_y = \underbrace{\log\textstyle\sum_k e^{z_k}}_{\text{log-sum-exp}} - z_y .$$
#
# This is **softmax cross-entropy**: *log of the normaliser minus the score of the right answer*.
#
# **Step 5. Binary is the case $C=2$ with logits $(0, z)$.** Then $p_1 = e^z/(1+e^z) = \sigma(z)$ and the formula of step 4 reads
#
# $$\ell = \log(1+e^{z}) - y z .$$
#
# Nothing but $z$ occurs: no $p$, no $\log p$. For $y=1$ this is $\log(1+e^{-z})$, for $y=0$ it is $\log(1+e^{z})$. Write the label as $\pm1$ instead and both are
# $\ell(s) = \log(1+e^{-s}) = -\log\sigma(s)$ with $s = \pm z$. Lesson 02 uses that form.

# %%
p, y = torch.tensor([0.9, 0.2, 0.6]), torch.tensor([1.0, 0.0, 0.0])
happened = p**y * (1 - p) ** (1 - y)
surprise = -happened.log()
print("probability of what happened", [f"{v:.1f}" for v in happened.tolist()])
print("surprise                    ", [f"{v:.4f}" for v in surprise.tolist()])
print(f"loss = mean surprise = {surprise.mean():.4f};  "
      f"likelihood = {happened.prod():.4f} = exp(-3 × loss)")
assert torch.isclose(happened.prod(), torch.exp(-3 * surprise.mean()))

z, y = torch.linspace(-4, 4, 9, dtype=torch.float64), 1.0
by_probability = -(y * torch.sigmoid(z).log() + (1 - y) * (1 - torch.sigmoid(z)).log())
by_logit = torch.log(1 + torch.exp(z)) - y * z
two_logits = torch.stack([torch.zeros_like(z), z], dim=1)  # (9, 2)
by_softmax = two_logits.logsumexp(1) - two_logits[:, 1]
print("three forms, one loss:", [f"{v:.3f}" for v in by_logit[::2].tolist()])
assert torch.allclose(by_probability, by_logit) and torch.allclose(by_softmax, by_logit)

fig, ax = plots.figure(width=6, height=2.9)
p = torch.linspace(0.005, 1, 400)
ax.plot(p, -p.log(), color=plots.TEXT)
marks = {0.9: "sure and right: 0.105", 0.5: "a coin: 0.693",
         0.1: "right one time in ten: 2.303", 0.01: "sure and wrong: 4.605"}
for at, words in marks.items():
    height = -math.log(at)
    ax.plot(at, height, "o", color=plots.TEXT)
    right = at > 0.8
    ax.annotate(words, (at, height), (1 if right else at + 0.02, height + 0.3),
                fontsize=9, ha="right" if right else "left")
ax.set(title="The surprise −log p: flat near 1, a cliff near 0", ylim=(0, 5.5),
       xlabel="probability p that the model gave to what happened", ylabel="−log p")
plots.show(fig, "The curve −log p falls from a cliff at p = 0 to zero at p = 1: 4.605 "
                "at 0.01, 2.303 at 0.1, 0.693 at one half, 0.105 at 0.9.")

# %% [markdown]
# ## 3. Where the formula breaks
#
# On paper the three forms are equal. In float32 they are not. **Predict before you run:** a model is right and very sure, $z = 100$ and $y = 1$. The loss should be 0. What does the
# textbook form give?

# %%
def textbook(z, y):
    p = 1 / (1 + torch.exp(-z))
    return -(y * torch.log(p) + (1 - y) * torch.log(1 - p))

print("    z   y   textbook      true")
for z in (2.0, 20.0, 100.0):
    for y in (0.0, 1.0):
        value = textbook(torch.tensor(z), y).item()
        true = math.log1p(math.exp(-z)) + (1 - y) * z
        print(f"{z:5.0f}  {y:2.0f}  {value:9.4f} {true:9.4f}")
assert math.isinf(textbook(torch.tensor(20.0), 0.0))
assert math.isnan(textbook(torch.tensor(20.0), 1.0))

# %% [markdown]
# Already at $z = 20$ the sigmoid rounds to exactly 1, since float32 has no number between $1 - 6\cdot10^{-8}$ and 1. Then $\log(1-p) = -\infty$. For $y=0$ the loss is infinite instead of 20. For $y=1$,
# where the model is **right**, it is $0\cdot(-\infty) = $ nan, and one nan in a batch makes every weight nan at the next step.
#
# The softmax breaks at the other end: $e^{89}$ is more than float32 can hold.
#
# **Act one: finite.** Take any number $m$ out of the sum:
#
# $$\log\sum_k e^{z_k} = \log\Big(e^{m}\sum_k e^{z_k-m}\Big) = m + \log\sum_k e^{z_k-m}.$$
#
# With $m = \max_k z_k$ the largest exponent is exactly 0: no term overflows, and the sum is at least 1, so its logarithm exists.
#
# **Act two: right.** The loss is this number minus $z_y$. Logits of size $10^4$ stand in float32 about 0.001 apart. Add a small logarithm to such an $m$ first, and it is rounded to that grid; subtracting $z_y$ afterwards does not bring it
# back. So subtract the large numbers from each other *first*, where they cancel exactly, and add the small one last:
#
# $$\ell = (m - z_y) + \log\sum_k e^{z_k-m}.$$
#
# The binary loss knows act two without any shift: for a model that is right and sure, $\log(1+e^z) - z$ subtracts two numbers of size $z$ to find one of size $e^{-z}$. The second table has that form (finite, since `torch.logaddexp` takes the maximum out) beside `cmlib.losses.binary_cross_entropy`.
#
# **Predict before you run:** the three softmax forms, for logits that are shifted by 0, 10,000 and 1,000,000. A shift changes no probability. Which digits of 0.0067 survive?

# %%
from cmlib import losses

def naive_softmax_loss(z, y):
    return torch.log(torch.exp(z).sum()) - z[y]

def finite_softmax_loss(z, y):
    m = z.max()
    return m + torch.log(torch.exp(z - m).sum()) - z[y]

def exact_softmax_loss(z, y):
    m = z.max()
    return (m - z[y]) + torch.log(torch.exp(z - m).sum())

for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
    limit = math.log(torch.finfo(dtype).max)
    print(f"{str(dtype)[6:]:10s} exp overflows above {limit:7.2f}")
true = math.log1p(math.exp(-5) + math.exp(-100))
z = torch.tensor([100.0, 95.0, 0.0])  # the same model for every shift
print(f"true loss {true:.6f}")
for shift in (0.0, 1e4, 1e6):
    naive, finite, exact = (loss(z + shift, 0).item() for loss in (
        naive_softmax_loss, finite_softmax_loss, exact_softmax_loss))
    print(f"shifted by {shift:9,.0f}: naive {naive:.6f}, finite {finite:.6f}, "
          f"exact {exact:.6f}")
    assert not math.isfinite(naive) and abs(exact - true) < 1e-6
assert finite == 0.0

one = torch.ones(1)
print("    z   y = 1: true    log(1 + e^z) − z    the course's")
for logit in (5.0, 10.0, 15.0, 20.0):
    z = torch.tensor([logit])
    finite = (torch.logaddexp(torch.zeros(1), z) - one * z).item()
    ours = losses.binary_cross_entropy(z, one).item()
    true = math.log1p(math.exp(-logit))
    print(f"{logit:5.0f}   {true:13.3e}   {finite:17.3e}   {ours:13.3e}")
    assert abs(ours / true - 1) < 1e-5
assert finite == 0.0

# %% [exercise] 01.1
# Write binary cross-entropy from logits. Your function receives `logits`, float, and `labels`, the same shape, 0, 1 or a probability in between; it returns the **mean** as a scalar tensor.
# It must stay finite for logits of ±1000 and let the gradient through. Do not clip: a clipped probability has no gradient.
#
# The softmax of logits $(0, z)$ has shown both acts; what is $m$ here, and which numbers are large? The check accepts every finite form. To see whether yours is also right, call it on $z = 15$, $y = 1$ in float32.

# %% [stub]
def binary_cross_entropy(logits, labels):
    """Mean of log(1 + e^z) − y z, finite for every z.

    logits, labels : any shape, the same    returns : scalar tensor
    """
    raise NotImplementedError

# %% [solution]
def binary_cross_entropy(logits, labels):
    zero = torch.zeros_like(logits)
    # log(e^0 + e^z) − y z with the maximum taken out, the large numbers first
    large = torch.maximum(logits, zero) - labels * logits
    return (large + torch.log1p(torch.exp(-logits.abs()))).mean()

# %% [hints]
# Never compute $p$. Start from the form of step 5, $\log(e^0+e^z) - yz$, and take the larger of the two exponents out.
# ---
# $m = \max(z, 0)$, elementwise, and what remains under the logarithm is $1 + e^{-|z|}$. Collect $m - yz$ first. `torch.log1p(x)` is an exact $\log(1+x)$ for tiny $x$.
# ---
# ```python
# large = torch.maximum(logits, torch.zeros_like(logits)) - labels * logits
# small = ____            # a logarithm between 0 and ln 2, whatever the logit
# return (large + small).mean()
# ```

# %% [markdown]
# From here on the lesson uses the course's versions, which also check their input. Read them: `cmlib/losses/classification.py` is short.
#
# ## 4. The gradient is p − y
#
# Now the reason why these losses won. Take a sheet of paper; this is all of it.
#
# **Binary.** $\ell = \log(1+e^{z}) - yz$. Differentiate term by term:
#
# $$\frac{d\ell}{dz} = \frac{e^z}{1+e^z} - y = \sigma(z) - y = p - y. \qquad\blacksquare$$
#
# **Softmax.** $\ell = \log\sum_k e^{z_k} - z_y$. The derivative of the log-sum-exp in $z_c$ is its own term over the sum, which is the softmax; the derivative of $z_y$ is 1 for $c=y$ and 0 otherwise. Write the label as
# a one-hot row $\mathbf{y}$:
#
# $$\frac{\partial\ell}{\partial z_c} = \frac{e^{z_c}}{\sum_k e^{z_k}} - [c = y] = p_c - \mathbf{y}_c. \qquad\blacksquare$$
#
# Read it: every class is pushed down by the probability it was given; the right one is pushed up by 1. The pushes of a row add up to 0. A row that is already right pushes nothing.
# The gradient is never larger than 1 per logit, however wrong the model is. For a linear layer $z = xW$, the chain rule adds one factor: $\partial L/\partial W = x^\top(p-\mathbf{y})/n$.
#
# **In numbers.** One row, $z = (2, 1, 0)$, right class 1.
#
# $e^z = (7.389,\ 2.718,\ 1)$, sum $11.107$, $p = (0.665,\ 0.245,\ 0.090)$, loss $= -\log 0.245 = 1.408$, gradient $= (0.665,\ -0.755,\ 0.090)$.
#
# **The long way round**, as it is usually printed: $\dfrac{dL}{d\varphi} = -\dfrac1N\sum\Big(\dfrac{y}{p}-\dfrac{1-y}{1-p}\Big)\dfrac{\partial p}{\partial\varphi}$, with $\varphi$ any parameter. It is correct:
# the bracket is $\frac{y-p}{p(1-p)}$, and $\partial p/\partial z = p(1-p)$ cancels its denominator. But it cancels on *paper*. A computer evaluates the parts first, and for a sure model that is $\frac{1}{0}\cdot 0$.

# %% tags=["hide-input"]
from cmlib.course.schematic import Schematic

sketch = Schematic(7, 1.35)
names = ("logits z\n(n, C)", "softmax p\n(n, C)", "$−\\log\\,p_y$\n(n,)",
         "mean\nloss L")
boxes = [sketch.box(name, (0.75 + 1.83 * k, 0.8), color=color)
         for k, (name, color) in enumerate(zip(names, (
             plots.IMAGE, plots.GREY, plots.GREY, plots.TEXT)))]
for k, step in enumerate(("$p_y\\,([c = y] − p_c)$", "$−1/p_y$", "$1/n$")):
    sketch.arrow(boxes[k], boxes[k + 1])
    sketch.text(f"slope {step}", (1.665 + 1.83 * k, 1.22), fontsize=9)
sketch.path([(6.24, 0.55), (6.24, 0.32), (0.75, 0.32), (0.75, 0.55)],
            color=plots.TEXT)
sketch.text("backwards: the slopes multiply to $(p_c − [c = y])/n$, and no $p_y$ is "
            "left to divide by", (3.5, 0.12), color=plots.TEXT)
sketch.show("From logits through softmax and −log to the mean: the slopes "
            "p_y([c = y] − p_c), −1/p_y and 1/n multiply to (p_c − [c = y])/n.")

# %%
from cmlib.losses import cross_entropy

z = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64, requires_grad=True)
loss = cross_entropy(z, torch.tensor([1]))
loss.backward()
powers = z.detach()[0].exp()
print("e^z", [f"{v:.3f}" for v in powers.tolist()], f"sum {powers.sum():.3f}, p",
      [f"{v:.3f}" for v in (powers / powers.sum()).tolist()])
by_autograd = [f"{v:+.3f}" for v in z.grad[0].tolist()]
print(f"loss {loss.item():.3f}, gradient by autograd", by_autograd)
print(f"sum of the gradient {abs(z.grad.sum().item()):.3f}")

z = torch.tensor([3.0, -200.0])
y = torch.tensor([1.0, 1.0])
p = torch.sigmoid(z)
printed = -(y / p - (1 - y) / (1 - p)) * p * (1 - p)
print("as printed:", [f"{v:.4f}" for v in printed.tolist()])
print("p - y:     ", [f"{v:.4f}" for v in (p - y).tolist()])
assert printed.isnan().tolist() == [False, True]

# %% [exercise] 01.2
# Write the gradient of the **mean** softmax cross-entropy with respect to the logits, by hand. Your function receives `logits`, float `(n, C)`, and `labels`, int64 `(n,)`;
# it returns a tensor `(n, C)`. Logits may be as large as 1000.

# %% [stub]
def softmax_gradient(logits, labels):
    """d(mean cross-entropy)/d(logits).

    logits : (n, C)    labels : int64 (n,)    returns : (n, C)
    """
    raise NotImplementedError

# %% [solution]
def softmax_gradient(logits, labels):
    probabilities = logits.softmax(dim=1)                     # (n, C)
    targets = one_hot(labels, num_classes=logits.shape[1])    # (n, C)
    return (probabilities - targets) / len(logits)            # the mean divides by n

# %% [hints]
# You derived the gradient of one row. What does "mean over the rows" do to it?
# ---
# $(p - \mathbf{y})/n$ with $p$ = softmax over `dim=1` and $\mathbf{y}$ the one-hot labels, all `(n, C)`. If you write the softmax yourself, shift each row by its maximum.
# ---
# ```python
# probabilities = logits.softmax(dim=1)
# targets = one_hot(labels, num_classes=logits.shape[1])
# return ____                 # (n, C), the gradient of a mean over n rows
# ```

# %% [markdown]
# ## 5. Why not the squared error?
#
# A probability is a number, so why not $\frac12(p-y)^2$? Its gradient in the logit has one more factor, from $\partial p/\partial z = p(1-p)$:
#
# $$\frac{d}{dz}\,\tfrac12\big(\sigma(z)-y\big)^2 = (p-y)\;p\,(1-p).$$
#
# That factor is $\frac14$ at $p=\frac12$ and goes to 0 at *both* ends. At the right end this is welcome. At the wrong end it is not: a model that is sure and wrong, the row that needs the largest push, gets almost none. The log-likelihood is the loss whose
# $1/(p(1-p))$ cancels it. **In numbers,** $y=1$ and $z=-6$: $p = 0.0025$; cross-entropy pushes with $-0.998$, the squared error with $-0.0025$.
#
# **Predict before you run.** A linear model starts sure and wrong: its weights are the true direction times $-8$. How many steps of descent does each loss need until 90 % of 1,000 new rows are right, at rates 0.3, 3 and 300? Ten seeds, each with its own data; both losses get the same.

# %%
from tqdm.auto import tqdm

def race(seed, squared, rate, most=1000):
    """Steps until 90 % of the test rows are right; ``most`` where that never comes."""
    torch.manual_seed(seed)
    true = torch.nn.functional.normalize(torch.randn(20).double(), dim=0)
    x = torch.randn(2000, 20).double()
    y, w = (x @ true > 0).double(), -8 * true
    for step in range(most):
        if ((x[1000:] @ w > 0) == (y[1000:] > 0)).double().mean() >= 0.9:
            return step
        p = (x[:1000] @ w).sigmoid()
        push = p - y[:1000]
        push = push * p * (1 - p) if squared else push
        w = w - rate * x[:1000].T @ push / 1000
    return most

p = torch.tensor(-6.0).sigmoid()
print(f"z = −6, y = 1: p = {p:.4f}, push of cross-entropy {p - 1:.3f}, "
      f"of the squared error {(p - 1) * p * (1 - p):.4f}")
rates = 0.3, 3.0, 300.0
races = torch.tensor([[[race(seed, squared, rate) for squared in (False, True)]
                       for rate in rates]
                      for seed in tqdm(range(10), desc="seeds")])   # (seed, rate, loss)
for k, rate in enumerate(rates):
    fast, slow = races[:, k, 0], races[:, k, 1]
    end = "never within 1,000" if (slow == 1000).all() else \
        f"{int(slow.min())} to {int(slow.max())}"
    print(f"rate {rate}: cross-entropy {int(fast.min())} to {int(fast.max())} steps, "
          f"squared error {end}")
    assert (slow > (10 if rate < 10 else 1) * fast).all()

# %% [markdown]
# At a rate that is a hundred times larger the squared error gets there as well, if a model can bear such a rate: its valley is the right one, and only the slope at the far side is missing. (What hurts here can help elsewhere: a *mislabelled* row is also sure and wrong. Lesson 26 comes back to that.)
#
# ## 6. Three witnesses
#
# You now have the gradient by hand. Two more witnesses can confirm it: autograd, and the definition of a derivative. A *finite difference* moves one logit by $h$ and looks at the loss:
#
# $$\text{forward: } \frac{\ell(z+h)-\ell(z)}{h} = \ell' + \tfrac{h}{2}\ell'' + \dots \qquad
# \text{central: } \frac{\ell(z+h)-\ell(z-h)}{2h} = \ell' + \tfrac{h^2}{6}\ell''' + \dots$$
#
# A smaller $h$ makes the remainder smaller. **Predict before you run:** which $h$ between $10^{-1}$ and $10^{-14}$ gives the best derivative in float64?

# %%
from cmlib.check.lesson01 import softmax_gradient

torch.manual_seed(0)
logits, labels = torch.randn(500, 4, dtype=torch.float64), torch.randint(4, (500,))
# (500,): the derivative of each row's loss in its logit 0, without the mean's 1/n
by_hand = 500 * softmax_gradient(logits, labels)[:, 0]

def row_losses(z):
    return z.logsumexp(1) - z.gather(1, labels[:, None])[:, 0]

def difference_error(h, central=True, dtype=torch.float64):
    """Root mean square error of the finite difference over 500 rows."""
    z, move = logits.to(dtype), torch.tensor([h, 0, 0, 0], dtype=dtype)
    low, width = (z - move, 2 * h) if central else (z, h)
    slope = (row_losses(z + move) - row_losses(low)).double() / width
    return (slope - by_hand).square().mean().sqrt().item()

z = logits.clone().requires_grad_()
autograd = torch.autograd.grad(row_losses(z).sum(), z)[0][:, 0]
for dtype in (torch.float64, torch.float32):
    print(f"ε^(1/3) in {str(dtype)[6:]}: {torch.finfo(dtype).eps ** (1 / 3):.0e}")
agree = bool((autograd - by_hand).abs().max() < 1e-14)
print("by hand and autograd agree to 1e-14:", agree)
steps = 10.0 ** -torch.arange(1, 14.1, 0.5, dtype=torch.float64)
hs, single = steps.tolist(), torch.float32
curves = {"forward, float64": [difference_error(h, central=False) for h in hs],
          "central, float64": [difference_error(h) for h in hs],
          "central, float32": [difference_error(h, dtype=single) for h in hs]}
for (name, errors), bound in zip(curves.items(), (1e-7, 1e-9, 1e-4)):
    print(f"{name}: best error below {bound:.0e}: {min(errors) < bound}; "
          f"at h = 1e-13 above 1e-4: {errors[-3] > 1e-4}")
    assert min(errors) < bound and errors[-3] > 1e-4

fig, ax = plots.figure(width=6.5, height=3)
colors = plots.GREY, plots.IMAGE, plots.TEXT
rules = 2**-26, 2 ** (-52 / 3), 2 ** (-23 / 3)
for (name, errors), color, rule in zip(curves.items(), colors, rules):
    ax.loglog(steps, errors, color=color, label=name)
    best = steps[torch.tensor(errors).argmin()].item()
    ax.plot(best, min(errors), "o", color=color)
    assert rule / 12 < best < rule * 12
ax.set(title="Too large, and the curve bends; too small, and digits cancel",
       xlabel="step h of the finite difference", ylabel="error (rms)")
ax.legend()
plots.show(fig, "Error of finite differences against step size: three U shapes, best "
                "for central differences in float64 near a step of 1e-5.")

# %% [markdown]
# The right arm of each U is the remainder, slope 1 for forward and 2 for central. The left arm is cancellation: $\ell(z+h)$ and $\ell(z)$ agree in nearly all their digits, the difference keeps only the rounding, of size $\varepsilon$, and dividing by $h$
# blows it up to $\varepsilon/h$. Balance the two: $h \approx \sqrt{\varepsilon}$ for forward, $h \approx \varepsilon^{1/3}$ for central.
#
# In float64, $\varepsilon = 2.2\cdot10^{-16}$ gives $6\cdot10^{-6}$; in float32 it is near $0.005$, and at best five digits are right. (Far left in float32, $z+h$ rounds to $z$: the difference is 0 and all of the derivative is lost.) This is why
# `torch.autograd.gradcheck`, and every check of this course, works in float64.
#
# ## 7. Move a logit
#
# Three classes, the first is right. Two sliders: the logit of the right class (the others stay at 1 and 0), and a *temperature* $T$, which divides all logits before the softmax. Find out
# - where the loss stops falling, and what the gradient does there;
# - what a model that is confidently wrong feels (logit −6): does the push grow without end?
# - what $T = 4$ does to the probabilities, and $T = 0.25$. The chain rule gives the gradient in $z$ a factor: $(p - \mathbf{y})/T$.

# %%
def logit_picture(logit=-1.0, temperature=1.0):
    others = torch.tensor([1.0, 0.0])
    p = (torch.cat([torch.tensor([logit]), others]) / temperature).softmax(0)
    line = torch.linspace(-6, 6, 121)
    z = torch.cat([line[:, None], others.expand(121, 2)], 1) / temperature
    curve = z.log_softmax(1)[:, 0]
    fig, (left, right) = plots.figure(1, 2, width=7, height=2.8)
    left.bar(range(3), p, color=[plots.BOTH, plots.GREY, plots.GREY])
    left.bar(range(3), [1, 0, 0], fill=False, edgecolor="black", ls="--")
    for c, slope in enumerate((p.numpy() - [1, 0, 0]) / temperature):
        left.text(c, p[c] + 0.03, f"{slope:+.2f}".replace("-", "−"), ha="center")
    left.set(title="p, target (dashed), gradient", xticks=range(3),
             xticklabels=["right", "wrong", "wrong"], ylim=(0, 1.2))
    right.plot(line, -curve, color=plots.TEXT, label="loss")
    gradient = (curve.exp() - 1) / temperature
    right.plot(line, gradient, color=plots.IMAGE, label="gradient")
    right.plot([logit] * 2, [-p[0].log(), (p[0] - 1) / temperature], "ko")
    right.set(title="loss and gradient", xlabel="logit of the right class",
              ylim=(-4.2, 8))
    right.legend()
    return fig

plots.explore(logit_picture,
              "Probabilities beside loss and gradient as the logit of the right class "
              "and the temperature move.",
              logit=(-6, 6, 0.5, -1), temperature=(0.25, 4, 0.25, 1))

# the same picture for readers without a kernel, and the numbers behind the answers
plots.show(logit_picture(), "At logit -1 the right class has probability 0.09 and the "
                            "gradient -0.91, the others +0.67 and +0.24; the loss "
                            "falls with a slope between -1 and 0.")
for T in (0.25, 1.0, 4.0):
    for logit in (-6.0, 6.0):
        z = torch.tensor([[logit, 1.0, 0.0]], requires_grad=True)
        loss = cross_entropy(z / T, torch.tensor([0]))
        loss.backward()
        print(f"T = {T:.2f}, logit {logit:+.0f}: loss {loss.item():7.4f}, "
              f"gradient {z.grad[0, 0].item():+.4f}")

# %% [markdown]
# At $T=1$ a confidently wrong answer is pushed with a force of nearly 1: never more, so that no row can throw the weights away, and never less, so that none is given up (section 5).
# A right answer at logit 6 is pushed with less than 0.01: training spends its effort on the rows it still gets wrong.
#
# ## 8. Entropy, divergence, and soft targets
#
# So far the target was one class. Let it be a whole distribution $q$: labels that people disagree on, a teacher's opinion, or a softened one-hot row. The mean surprise of $p$ when $q$ happens is the general **cross-entropy**, and adding and subtracting
# $\sum_c q_c\log q_c$ splits it in two:
#
# $$\underbrace{-\sum_c q_c\log p_c}_{\text{cross-entropy}} \;=\; \underbrace{-\sum_c q_c\log q_c}_{H(q),\ \text{entropy}} \;+\; \underbrace{\sum_c q_c\log\frac{q_c}{p_c}}_{\mathrm{KL}(q\,\Vert\,p),\ \text{divergence}}$$
#
# - The **entropy** $H(q)$ is the surprise that is left to somebody who knows $q$ exactly: 0 for a one-hot target, $\ln C$ for a uniform one. No model can lower it. ($0\log 0$ counts as 0, its limit.)
# - The **Kullback–Leibler divergence** is what a model pays besides for believing $p$. It is never negative: $\log x\le x-1$ gives $-\mathrm{KL} = \sum_c q_c\log\frac{p_c}{q_c} \le \sum_c q_c\big(\frac{p_c}{q_c}-1\big) \le 0$, with equality only at $p=q$. It is no distance: the two directions differ.
#
# **In numbers,** $q = (\frac12,\frac12)$ and $p = (0.9, 0.1)$: $H = \ln 2 = 0.693$, cross-entropy $\frac12(0.105+2.303) = 1.204$, so $\mathrm{KL}(q\Vert p) = 0.511$. The other way round $\mathrm{KL}(p\Vert q) = 0.9\ln 1.8 + 0.1\ln 0.2 = 0.368$.
#
# **Label smoothing** is the case you will use. A one-hot target is reached only at infinite logits, so training never stops pulling. Give a share $\varepsilon$ of the target to all $C$ classes evenly:
#
# $$q_c = (1-\varepsilon)\,\mathbf{y}_c + \frac{\varepsilon}{C},\qquad \frac{\partial\ell}{\partial z_c} = p_c - q_c .$$
#
# (The derivation of section 4 holds for any target that adds up to 1.) The gradient is zero at $p = q$: finite logits, with a gap of $\log\frac{q_y}{q_\text{other}}$ between right and wrong. The loss there is not 0 but $H(q)$: remember that when you read a log.

# %%
def divergence(q, p):
    return (q * (q / p).log()).sum()

q, p = torch.tensor([0.5, 0.5]), torch.tensor([0.9, 0.1])
print(f"H(q) {-(q * q.log()).sum():.3f}, cross-entropy {-(q * p.log()).sum():.3f}, "
      f"KL(q‖p) {divergence(q, p):.3f}, KL(p‖q) {divergence(p, q):.3f}")

epsilon, C = 0.1, 3
right, other = 1 - epsilon + epsilon / C, epsilon / C
q = torch.tensor([right, other, other], dtype=torch.float64)
entropy = -(q * q.log()).sum().item()
gap = math.log(right / other)
z = torch.tensor([[gap, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
loss = cross_entropy(z, torch.tensor([0]), label_smoothing=epsilon)
loss.backward()
print(f"target: right {right:.4f}, others {other:.4f}; "
      f"best gap ln({right / other:.0f}) = {gap:.4f}")
zero = bool(z.grad.abs().max() < 1e-12)
print(f"at this gap: loss {loss.item():.4f} = entropy {entropy:.4f} "
      f"+ divergence {abs(loss.item() - entropy):.4f}; gradient zero: {zero}")
surer = cross_entropy(3 * z.detach(), torch.tensor([0]), label_smoothing=epsilon).item()
print(f"three times as sure: loss {surer:.4f} = entropy {entropy:.4f} "
      f"+ divergence {surer - entropy:.4f}, though the answer is right")
assert zero and abs(loss.item() - entropy) < 1e-12 and surer > loss.item()

# %% [exercise] 01.6
# Split a cross-entropy. Your function receives `targets`, float `(n, C)`, a distribution in every row, in which some entries may be exactly 0; and `logits`, float `(n, C)`, as large as 1000.
# It returns the tuple `(entropy, divergence)`: the means over the rows of $H(q)$ and of $\mathrm{KL}(q\Vert p)$, $p$ the softmax of the logits, each a scalar tensor.

# %% [stub]
def entropy_and_divergence(targets, logits):
    """Means over the rows of H(q) and KL(q ‖ softmax(z)), in nats.

    targets : q (n, C), may hold zeros   logits : z (n, C)
    returns : (entropy, divergence), two scalar tensors
    """
    raise NotImplementedError

# %% [solution]
def entropy_and_divergence(targets, logits):
    log_p = logits - logits.logsumexp(dim=1, keepdim=True)        # (n, C)
    q_log_q = torch.xlogy(targets, targets)                       # 0 where q is 0
    return -q_log_q.sum(1).mean(), (q_log_q - targets * log_p).sum(1).mean()

# %% [hints]
# Compute the two halves of KL apart, $\sum_c q_c\log q_c$ and $\sum_c q_c\log p_c$: the first is minus the entropy. Which entry of the first breaks?
# ---
# $\log p$ is the logits minus their log-sum-exp over `dim=1`, $(n, C)$, and never infinite. `torch.xlogy(a, b)` is $a\log b$, and 0 where $a = 0$. Sum over the classes, then average over the rows.
# ---
# ```python
# log_p = logits - logits.logsumexp(dim=1, keepdim=True)
# q_log_q = torch.xlogy(targets, targets)
# divergence = ____                       # (n,): what is left of q log q when q log p is taken away
# return -q_log_q.sum(1).mean(), divergence.mean()
# ```

# %% [markdown]
# ## 9. Adam, and two kinds of decay
#
# Plain descent uses one rate for all weights, though their gradients $g$ may differ by factors of a thousand. **Adam** divides each weight's step by the size that its own gradients have had lately. It keeps two running means per weight, both from 0, and $t$ counts the steps from 1:
#
# $$m \leftarrow \beta_1 m + (1-\beta_1)\, g,\qquad v \leftarrow \beta_2 v + (1-\beta_2)\, g^2,\qquad \beta_1 = 0.9,\ \beta_2 = 0.999 .$$
#
# **The bias.** Suppose that $g$ is the same at every step. Then $m = (1-\beta_1)(1+\beta_1+\dots+\beta_1^{t-1})\,g = (1-\beta_1^t)\,g$, and likewise $v = (1-\beta_2^t)\,g^2$: both are too small at first, since they started at 0, and not equally so. Dividing by these factors undoes it:
#
# $$\hat m = \frac{m}{1-\beta_1^t},\qquad \hat v = \frac{v}{1-\beta_2^t},\qquad w \leftarrow w - \eta\,\frac{\hat m}{\sqrt{\hat v}+\epsilon},\qquad \epsilon = 10^{-8}.$$
#
# With a constant gradient the fraction is $\pm1$: every weight walks one $\eta$ per step, whatever the size of $g$. Without the correction the first step would be $0.1/\sqrt{0.001}=3.2$ times as long, and it gets worse before it gets better (first line of the output below).
#
# **Decay.** The loss is not all that moves the weights. The update rule is often printed as
#
# $$w \leftarrow w - \eta\,\nabla L - \eta\lambda w,$$
#
# with the learning rate $\eta$ and the *decay* $\lambda$. (**This λ is not the λ of lesson 02**, which shares a loss between two branches. PyTorch calls this one `weight_decay`.) It can be reached in two ways.
#
# - **L2 regularisation**: add $\frac{\lambda}{2}\lVert w\rVert^2$ to the loss. Its gradient is $\lambda w$, so the optimiser receives $g + \lambda w$.
# - **Decoupled decay**: the optimiser receives $g$ alone; the weight is shrunk besides, by $\eta\lambda w$.
#
# *Plain gradient descent:* $w - \eta(g + \lambda w) = w - \eta g - \eta\lambda w$. The same, term by term.
#
# *Adam* divides what it receives by its own running size. With L2, $\lambda w$ goes through that division; decoupled, it does not. **Predict before you run:** a weight gets no gradient at all ($g = 0$), $\eta = 0.01$. How far does
# Adam with L2 move it from 2 in 100 steps, for λ = 0.1 and for λ = 0.001?

# %%
print("steps too long without bias correction:",
      ", ".join(f"×{(1 - 0.9**t) / math.sqrt(1 - 0.999**t):.2f} at {t}"
                for t in (1, 10, 100, 1000)))

def walk(optimizer, gradient, start, steps, **settings):
    """The path of a weight vector: (steps + 1, size)."""
    w = torch.nn.Parameter(torch.tensor(start, dtype=torch.float64))
    descent, path = optimizer([w], **settings), [w.detach().clone()]
    for _ in range(steps):
        w.grad = gradient(w.detach())
        descent.step()
        path.append(w.detach().clone())
    return torch.stack(path)

for decay in (0.1, 0.001):
    idle = {}
    for name, rule in (("Adam + L2", torch.optim.Adam), ("AdamW", torch.optim.AdamW)):
        path = walk(rule, torch.zeros_like, [2.0], 100, lr=0.01, weight_decay=decay)
        idle[name] = path[-1].item()
    print(f"λ = {decay:5.3f}: Adam + L2 moves 2 to {idle['Adam + L2']:.4f}; "
          f"AdamW to {idle['AdamW']:.4f} = 2 (1 - ηλ)^100")
    assert abs(idle["AdamW"] - 2 * (1 - 0.01 * decay) ** 100) < 1e-12
    assert 0.9 < idle["Adam + L2"] < 1.1

# %% [markdown]
# With L2, λ hardly matters: $\lambda w$ is the only gradient there is, Adam scales it to about 1, and the weight walks one $\eta$ per step. A weight with large gradients has the opposite fate: λw drowns in them and is divided away. So on the way
# Adam with L2 decays the idle weights too fast and the busy ones too slowly. Decoupled decay shrinks each by the same factor. Here is a whole path, on the quadratic $f(w) = \frac12\big(10\,(w_1-2)^2 + 0.3\,(w_2-1.5)^2\big)$: steep in $w_1$, flat in $w_2$.

# %%
steepness = torch.tensor([10.0, 0.3]).double()
best = torch.tensor([2.0, 1.5]).double()
slope, start, decay = lambda w: steepness * (w - best), [-1.5, 3.0], 0.3

def sgd_decoupled(parameters, lr, weight_decay):
    class Rule(torch.optim.SGD):
        def step(self):
            w = parameters[0]
            w.data = w.data - lr * w.grad - lr * weight_decay * w.data
    return Rule(parameters, lr=lr)

rules = {"SGD + L2": torch.optim.SGD, "SGD, decoupled": sgd_decoupled,
         "Adam + L2": torch.optim.Adam, "AdamW": torch.optim.AdamW}
paths = {name: walk(rule, slope, start, 200, lr=0.05, weight_decay=decay)
         for name, rule in rules.items()}
ridge = steepness * best / (steepness + decay)  # the lowest point of f + λ/2 |w|²
for name, path in paths.items():
    print(f"{name:15s} after 200 steps: ({path[-1, 0]:.3f}, {path[-1, 1]:.3f})")
print("lowest point of f: (2.000, 1.500); "
      f"of f + λ/2 |w|²: ({ridge[0]:.3f}, {ridge[1]:.3f})")
late = walk(torch.optim.AdamW, slope, start, 3000, lr=0.05, weight_decay=decay)[-1]
print(f"AdamW           after 3000 steps: ({late[0]:.3f}, {late[1]:.3f})")
beyond = torch.tensor([5.0, 4.0]).double()  # the same quadratic, its lowest point here
held = walk(torch.optim.AdamW, lambda w: steepness * (w - beyond), start, 3000, lr=0.05,
            weight_decay=decay)[-1]
print(f"AdamW, lowest point moved to (5, 4), after 3000 steps: "
      f"({held[0]:.3f}, {held[1]:.3f}); 1/λ = {1 / decay:.3f}")
torch.manual_seed(0)
print("AdamW with noise on each gradient, flat weight, mean of the last 1500 steps:")
flat = []
for noise in (0.1, 1.0, 3.0):
    noisy = walk(torch.optim.AdamW,
                 lambda w: slope(w) + noise * torch.randn(5, 2).double(), [start] * 5,
                 3000, lr=0.05, weight_decay=decay)        # five walks side by side
    flat.append(noisy[1500:, :, 1].mean(0))
    print(f"    noise of size {noise}: {flat[-1].mean():.2f} ± {flat[-1].std():.2f}")
assert (held < 1 / decay).all() and (held > 3).all()
assert flat[0].min() > 1.2 > 0.9 > flat[1].max() > flat[1].min() > 0.6 > flat[2].max()
sgd = (paths["SGD + L2"] - paths["SGD, decoupled"]).abs().max()
adam = (paths["Adam + L2"] - paths["AdamW"]).norm(dim=1).max()
print("SGD: both paths agree to 1e-12:", bool(sgd < 1e-12))
print(f"Adam: the paths are up to {adam:.3f} apart")
assert sgd < 1e-12 and adam > 0.5

fig, axes = plots.figure(1, 2, width=7, height=3, sharey=True)
sides = torch.linspace(-1.8, 3, 60), torch.linspace(0.3, 3.2, 60)
a, b = torch.meshgrid(*sides, indexing="xy")
height = 5 * (a - 2) ** 2 + 0.15 * (b - 1.5) ** 2
for ax, names in zip(axes, (("SGD + L2", "SGD, decoupled"), ("Adam + L2", "AdamW"))):
    ax.contour(a, b, height, levels=[0.05, 0.3, 2, 10, 30], colors="#BBBBBB",
               linewidths=0.8)
    ax.grid(False)
    for name, color, style in zip(names, (plots.TEXT, plots.IMAGE), ("-", "--")):
        ax.plot(*paths[name].T, style, color=color, label=name, lw=2.5)
        ax.plot(*paths[name][-1], "o", color=color)
    ax.plot(*best, "k*", ms=10)
    ax.plot(*ridge, "kX", ms=7)
    rule = names[0].split()[0]
    ax.set(title=f"{rule}: {'one path' if rule == 'SGD' else 'two paths'}",
           xlabel="$w_1$ (steep)")
    ax.legend(loc="lower left")
axes[0].set_ylabel("$w_2$ (flat)")
plots.show(fig, "Paths on a quadratic: with SGD, L2 and decoupled decay coincide; with "
                "Adam they part. Star: lowest point of f; cross: of f plus penalty.")

# %% [markdown]
# Three of the paths end at the cross, the lowest point of the penalised loss: there the steep weight has lost 3 % of its value, the flat one half. Without noise both kinds of L2 come to rest at that same point, since there $g+\lambda w = 0$, and zero divided by any size is zero: what Adam's division changes is the way there, and a weight that never gets a gradient. AdamW does not minimise that penalised loss. It shrinks both coordinates by the same factor per step, as a brake:
# after 3,000 steps it is still on its way to the star, the lowest point of $f$ itself. It gets there only because the star lies within reach. Under a steady gradient Adam's step is $\eta$ and the brake takes $\eta\lambda |w|$, so a weight on its way out stands still where both are equal, at $|w| = 1/\lambda$:
# with the lowest point at (5, 4) both coordinates are held below $1/0.3 = 3.33$. (With the usual $\lambda = 0.01$ that wall stands at 100. With the noise of mini-batches Adam's steps shrink and the decay gains weight: the larger the noise, the closer to 0 the flat weight settles. Noise of size 1 happens to bring it to the cross, since Adam then divides by about 1, as plain descent does; three times as much carries it well past.)
#
# A trap of names: in PyTorch `Adam(weight_decay=…)` is L2 and `AdamW(weight_decay=…)` is decoupled. Same argument, two algorithms. The course trains with AdamW, as BERT's fine-tuning recipes do.

# %% [exercise] 01.4
# Write one step of AdamW and match `torch.optim.AdamW`. Your function receives `weight`, `gradient` and the two running means `mean` and `square`, four float tensors of one shape; `step`, which is 1 for the first step; `learning_rate` and `weight_decay`.
# It returns the tuple `(weight, mean, square)` as they are after the step, all new, with $\beta_1 = 0.9$, $\beta_2 = 0.999$ and $\epsilon = 10^{-8}$.
#
# Adam stands at the top of this section, without its decay. You know where that goes; it acts on the weight as it was before the step.

# %% [stub]
def adamw_step(weight, gradient, mean, square, step, learning_rate, weight_decay):
    """One step of AdamW.

    weight, gradient, mean, square : one shape   step : int, from 1
    learning_rate, weight_decay : float
    returns : (weight, mean, square) after the step
    """
    raise NotImplementedError

# %% [solution]
def adamw_step(weight, gradient, mean, square, step, learning_rate, weight_decay):
    mean = 0.9 * mean + 0.1 * gradient
    square = 0.999 * square + 0.001 * gradient**2
    mean_hat = mean / (1 - 0.9**step)    # both means start at 0; this undoes the bias
    square_hat = square / (1 - 0.999**step)
    adam = learning_rate * mean_hat / (square_hat.sqrt() + 1e-8)
    decay = learning_rate * weight_decay * weight
    return weight - adam - decay, mean, square

# %% [hints]
# The gradient goes into the running means untouched. The decay never meets them.
# ---
# $w \leftarrow w - \eta\,\hat m/(\sqrt{\hat v}+\epsilon) - \eta\lambda w$, elementwise. Return $m$ and $v$, not $\hat m$ and $\hat v$: the correction belongs to this step only.
# ---
# ```python
# mean = 0.9 * mean + 0.1 * gradient
# square = 0.999 * square + 0.001 * gradient**2
# mean_hat, square_hat = mean / (1 - 0.9**step), square / (1 - 0.999**step)
# return ____, mean, square           # two things are taken from the weight
# ```

# %% [markdown]
# ## 10. ln C, and the log explained
#
# A model that gives every class $p = 1/C$ has the same surprise for every row: $-\log\frac1C = \ln C$. So the first number of a training log counts the outputs, $C = e^{\text{loss}}$, **if the logits are small at the start**. That *if* is worth a look: a fresh `nn.Linear(20, 10)` on inputs of
# unit variance has logits that differ, and each difference costs something. The cell below prints where 200 such layers start. At full scale the check is as cheap: a real BERT that guesses masked words starts near $\ln 30522$ if its last layer is small and random, and far below if its weights were loaded.

# %%
outputs = {"two classes": 2, "ten digits": 10, "ImageNet": 1000,
           "BERT's word pieces": 30522}
for what, C in outputs.items():
    z = torch.zeros(1, C, dtype=torch.float64)
    uniform = cross_entropy(z, torch.tensor([0])).item()
    print(f"{what:20s} ln {C:<6d} = {uniform:.4f}")
print(f"published start: exp(2.3025) = {math.exp(2.3025):.3f} outputs")

def fresh(seed):
    """Loss of a fresh ten-way layer, and the spread of a fresh two-way layer's gap."""
    torch.manual_seed(seed)
    x, y = torch.randn(2000, 20), torch.randint(2, (2000,))
    z = torch.nn.Linear(20, 2)(x)
    loss = cross_entropy(torch.nn.Linear(20, 10)(x), y)
    return torch.stack([loss, (z[:, 1] - z[:, 0]).std()]).detach()

starts, gaps = torch.stack([fresh(seed) for seed in range(200)]).T
print(f"200 fresh nn.Linear(20, 10): start {starts.mean():.2f} on average, "
      f"{starts.min():.1f} to {starts.max():.1f}")
print(f"200 fresh nn.Linear(20, 2): the two logits differ with std {gaps.mean():.2f}")
assert starts.mean() > 2.4

# %% [markdown]
# The published loss counts **ten** outputs, and the accuracy of 51 % speaks of **two** labels: with ten balanced classes, guessing is right 10 % of the time. Both can be true of one program: a softmax with ten outputs, trained on labels that are only ever 0 or 1. Eight outputs
# are never right. Test that suspicion, on data whose features carry little signal, as a log that ends at 57 % suggests. Four starts, ten seeds each, everything else alike, and a rate so low that the first ten-thousandths of the loss can be seen:
#
# - two outputs, random weights of size 0.001;
# - ten outputs, random weights of size 0.001, of size 0.00001, and weights of exactly zero.
#
# **Predict before you run:** which of them shows the log's *first* line, 2.3025 together with 51 %?

# %%
def train_log(outputs, size, seed, rate=2e-4, steps=650):
    """Softmax regression on two kinds of label: loss, accuracy, and the probability
    on classes other than these two, (steps + 1, 3).
    """
    torch.manual_seed(seed)
    x = torch.randn(1000, 20, dtype=torch.float64)
    y = (torch.rand(1000) < torch.sigmoid(0.4 * x[:, 0])).long()
    w = size * torch.randn(20, outputs).double()
    b, target, log = torch.zeros(outputs).double(), one_hot(y, outputs).double(), []
    for _ in range(steps + 1):
        p = (x @ w + b).exp()                          # small logits: none overflows
        p = p / p.sum(1, keepdim=True)
        log.append([-(p * target).sum(1).log().mean(),
                    (p.argmax(1) == y).double().mean(), p[:, 2:].sum(1).mean()])
        push = (p - target) / 1000                     # the gradient is x'(p − y)/n
        w, b = w - rate * x.T @ push, b - rate * push.sum(0)
    return torch.tensor(log)

ways = {"2 outputs, 1e-3": (2, 1e-3), "10 outputs, 1e-3": (10, 1e-3),
        "10 outputs, 1e-5": (10, 1e-5), "10 outputs, zero": (10, 0.0)}
logs = {name: [] for name in ways}
for seed in tqdm(range(10), desc="seeds"):
    for name, way in ways.items():
        logs[name].append(train_log(*way, seed))
logs = {name: torch.stack(runs) for name, runs in logs.items()}   # (10, steps + 1, 3)

def at(log, loss):
    """What the step shows whose loss is nearest to ``loss``, (seeds, 3)."""
    step = (log[:, :, 0] - loss).abs().argmin(1)
    return log[torch.arange(len(log)), step]

two, *tens = logs.values()
print(f"2 outputs: highest loss {two[:, :, 0].max():.2f}, "
      f"never near 2.3: {bool(two[:, :, 0].max() < 0.7)}")
print("accuracy, ten seeds:   at the start       at 2.3025       at 2.2567   "
      "p on the other eight")
for name, log in zip(list(ways)[1:], tens):
    found = [log[:, 0, 1], *(at(log, loss)[:, 1] for loss in (2.3025, 2.2567))]
    print(f"{name:19s}" + "".join(f"    {v.min():.2f} to {v.max():.2f}" for v in found)
          + f"{at(log, 2.2567)[:, 2].mean():14.2f}")
first = [at(log, 2.3025)[:, 1] for log in tens]
assert first[0].max() < 0.2 and first[1].min() > 0.4 and first[2].min() > 0.45
assert two[:, :, 0].max() < 0.7
assert all(at(log, 2.2567)[:, 1].min() > 0.5 for log in tens)

fig, (left, right) = plots.figure(1, 2, width=7, height=3)
colors = plots.IMAGE, plots.GREY, plots.BOTH, plots.TEXT
for name, color in zip(ways, colors):
    log = logs[name].mean(0)                           # (steps + 1, 3)
    left.semilogx(range(1, len(log) + 1), log[:, 0], color=color, label=name)
    if name.startswith("10"):
        right.plot(log[:, 0], log[:, 1], color=color, label=name)
left.plot([2, 540], [2.3025, 2.2567], "k*", ms=10, label="published lines")
right.plot([2.3025, 2.2567], [0.51, 0.569], "k*", ms=10)
for C in (2, 10):
    left.axhline(math.log(C), color="black", lw=0.8, ls=":")
    left.text(1.3, math.log(C) - 0.2, f"ln {C}")
left.set(title="Ten outputs, not two", xlabel="step + 1", ylabel="training loss",
         ylim=(0, 2.6))
left.legend(loc="lower left", bbox_to_anchor=(0, 0.3), fontsize=8)
right.set(title="The first line needs logits next to zero",
          xlabel="training loss, falling →", ylabel="accuracy",
          xlim=(2.305, 2.254), ylim=(0, 0.65))
right.legend(loc="lower right", fontsize=8)
plots.show(fig, "Left: ten outputs start at ln 10, two stay at 0.69. Right, accuracy "
                "against loss: from weights of zero or 1e-5 it is about a half at "
                "once, near both published points; from 1e-3 it begins at 0.1.")

# %% [markdown]
# The two-output model never shows a loss above 0.70. All ten-output models show the *last* line: accuracy has long reached its 57 %, since the two outputs that occur are lifted above the other eight, while four fifths of the probability still lie on classes that do not exist. (The strength of the
# signal, and with it the final accuracy, was our choice.)
#
# The *first* line is harder. From weights of size 0.001 the accuracy at 2.3025 is that of a ten-way guess. From weights a hundred times smaller it is about a half there already, and from zero weights a little more: between logits that are all but equal the slightest push decides. (ln 10 = 2.302585 is printed as 2.3026. The published 2.3025 is a step or two later, or was cut off and not rounded.)
# So the log needs two things: ten outputs, and logits next to zero at the start, as a last layer that is initialised to zero, or close to it, would give. And it had hardly begun to learn when it ended: the way from 2.26 to the 0.69 of two outputs, learning that eight classes never occur, still lay before it.
#
# **How sure is this?** Other readings give the same first number; a detective names them.
# - Two heads whose losses are *added* start at $\ln C_1 + \ln C_2 = \ln(C_1C_2)$. A two-class and a *five*-class head would give ln 10. Two two-class heads give only $2\ln 2 = 1.386$.
# - A two-class model can lose 2.3025 if it is wildly overconfident. With 51 % right, the right rows cost at most $\ln 2$ each, so the wrong ones cost at least $(2.3025 - 0.51\ln 2)/0.49 = 3.98$ on average: it would have to give the truth 1.9 % there. How wild its logits would be, the next cell computes.

# %%
spread = torch.linspace(0.1, 10, 991, dtype=torch.float64)
u = torch.linspace(-8, 8, 4001, dtype=torch.float64)
bell = torch.exp(-u**2 / 2) / math.sqrt(2 * math.pi) * (u[1] - u[0])
# the mean loss for random logit gaps
expected = torch.logaddexp(torch.zeros(1).double(), spread[:, None] * u) @ bell
needed = spread[(expected - 2.3025).abs().argmin()].item()
modest = expected[(spread - gaps.mean()).abs().argmin()]
wrong = (2.3025 - 0.51 * math.log(2)) / 0.49
print("51 % right at 2.3025: the wrong rows give the truth at most "
      f"{math.exp(-wrong):.3f}")
print("two outputs start at 2.3025 if the gap between their logits has a standard "
      f"deviation of {needed:.2f};")
print(f"with that of a fresh layer, {gaps.mean():.2f}, the start is {modest:.3f}")
assert 5 < needed < 6

# %% [markdown]
# The gap would need a standard deviation above five, some seven times that of a fresh layer, and the loss would have to agree with ln 10 to four digits by luck. Ten outputs need no luck. The verdict: **the printed log can hardly come from the model as described**; a softmax with ten outputs on two-class labels,
# begun next to zero, shows numbers like these.
#
# ## 11. Stretch: the curvature is a variance
#
# One derivative told what the loss pushes. The next tells whether descent can be trusted: does a softmax loss have false valleys?

# %% [exercise] 01.5
# **On paper.** Take one row, $\ell(z) = \log\sum_k e^{z_k} - z_y$, with $p$ = softmax.
# 1. Differentiate $p_c - \mathbf{y}_c$ once more and write the matrix of second derivatives $H$ with $p$ alone.
# 2. For a direction $v$, show that $v^\top H v$ is the *variance* of a quantity under $p$. Which one? Conclude that $\ell$ is convex in $z$, and in the weights of a linear model.
# 3. In which direction is the curvature 0 whatever $p$ is, and what does that say about logits?
#
# **Checked.** Write $v^\top H v$ for every row. Your function receives `logits`, float `(n, C)`, as large as 1000, and `direction`, float `(C,)`; it returns `(n,)`. One of the directions has entries near $10^6$ that differ by about 1: act two of section 3 applies.

# %% [stub]
def curvature(logits, direction):
    """Second derivative of each row's cross-entropy along a direction, vᵀHv.

    logits : (n, C)    direction : v (C,)    returns : (n,), never negative
    """
    raise NotImplementedError

# %% [solution]
def curvature(logits, direction):
    p = logits.softmax(dim=1)                            # (n, C)
    mean = (p * direction).sum(1, keepdim=True)          # (n, 1)
    return (p * (direction - mean) ** 2).sum(1)          # large numbers first

# %% [hints]
# Only the softmax depends on $z$: $\partial p_c/\partial z_k$ is $p_c(1-p_c)$ for $k=c$ and $-p_cp_k$ otherwise. Put $v$ on both sides and sort the sum.
# ---
# $H = \mathrm{diag}(p) - pp^\top$, so $v^\top Hv = \sum_c p_cv_c^2 - \big(\sum_c p_cv_c\big)^2$: which statistic is a mean of squares minus a squared mean? It has a second form in which nothing cancels.
# ---
# ```python
# p = logits.softmax(dim=1)
# mean = ____                        # of the entries of v, as each row's p sees them, (n, 1)
# # what is left is the mean, under p, of something that cannot be negative
# ```

# %% [answer]
# 1. $\partial p_c/\partial z_k = p_c([c=k]-p_k)$, and $\mathbf{y}$ is constant, so $H = \mathrm{diag}(p) - pp^\top$. The label has gone: the curvature does not depend on what is right.
# 2. $v^\top Hv = \sum_c p_cv_c^2 - (\sum_c p_cv_c)^2 = \mathbb{E}_p[v^2] - \mathbb{E}_p[v]^2 = \mathrm{Var}_p(v) = \sum_c p_c (v_c - \mathbb{E}_p[v])^2 \ge 0$. A function whose second derivative is non-negative in every direction is convex. For $z = xW$ the logits are linear in $W$, and a
#    convex function of a linear one is convex: no false valleys. (With a hidden layer $z$ is no longer linear in the weights, and the guarantee is gone.)
# 3. In the direction $(1,\dots,1)$: a constant has no variance. Adding one number to all logits changes neither $p$ nor $\ell$: the shift of section 3. A second reading: where $p$ is nearly one-hot the variance is nearly 0 in *every* direction, so the loss is flat far out and steepest in curvature at the coin flip.
#    Popoviciu's inequality bounds it by $\frac14(\max v-\min v)^2$.

# %% [markdown]
# ## 12. Appendix: class weights and Huber
#
# <details><summary>Two more losses by name, for when you need them: open it then</summary>
#
# **Class weights.** With 9 rows of class 0 for each row of class 1, "always 0" is already 90 % right. Weights $w_c$ make rare classes count more; the mean becomes a weighted mean, $L = \sum_i w_{y_i}\ell_i \big/ \sum_i w_{y_i}$ (`cross_entropy(…, class_weights=w)`; with smoothing, PyTorch gives each class's term *that class's* weight). They change
# *what the model estimates*: a model that sees no features learns the weighted class shares. With $w = 1/\text{frequency}$ it says 50 : 50, and its probabilities are no longer those of the world.
#
# **Huber.** For a number instead of a class, the likelihood of step 1 becomes a Gaussian, and its $-\log$ is the squared error $e^2/2$. Its push is $e$ itself, so one absurd row can outvote all others. The absolute error pushes with $\pm1$, but is just as rough for tiny errors. *Huber's* loss takes each where it is good:
#
# $$\ell_\delta(e) = \begin{cases} e^2/2 & |e|\le\delta\\ \delta\,(|e|-\delta/2) & |e|>\delta\end{cases}\qquad \ell_\delta'(e) = \text{clamp}(e, -\delta, \delta).$$
#
# The best single guess for 0, 1, 2, 2.5 and 60, with $\delta = 1$: the pushes $\text{clamp}(m - x_i)$ must add up to 0, so $1 + (m-1) + (m-2) + (m-2.5) - 1 = 0$ and $m = 5.5/3$. Lesson 26 measures all of them under wrong labels.
#
# </details>

# %% tags=["hide-input"]
def descend(loss, start):
    """Where 400 steps of descent end."""
    w = start.double().requires_grad_()
    for _ in range(400):
        slope, = torch.autograd.grad(loss(w), w)
        w = (w - 0.5 * slope).detach().requires_grad_()
    return w.detach()

y = torch.tensor([0] * 900 + [1] * 100)
for name, weights in (("no weights", None),
                      ("weights 1/0.9 and 1/0.1", torch.tensor([1 / 0.9, 1 / 0.1]))):
    bias = descend(lambda b: cross_entropy(b.expand(1000, 2), y, weights),
                   torch.zeros(2))
    shares = [f"{v:.3f}" for v in bias.softmax(0).tolist()]
    print(f"a bias alone, from 900 zeros and 100 ones: {name:24s}{shares}")
x = torch.tensor([0.0, 1.0, 2.0, 2.5, 60.0], dtype=torch.float64)
guess = descend(lambda m: losses.huber(m.expand(5), x), torch.zeros(1)).item()
print(f"best guess: squared error {x.mean():.4f} (the mean), Huber {guess:.4f}, "
      f"absolute {x.median():.4f} (the median)")
assert abs(guess - 5.5 / 3) < 1e-9

# %% [markdown]
# ## 13. Recap
#
# You can now
# - derive $\ell = \log\sum_k e^{z_k} - z_y$ from a likelihood and differentiate it to $p - \mathbf{y}$ without notes;
# - say which part of a loss overflows or cancels, in which precision, and repair it: the maximum taken out, the large numbers first;
# - say what a squared error on probabilities lacks, and choose $h \approx \varepsilon^{1/3}$ and float64 to check a gradient;
# - split a cross-entropy into entropy and divergence, and say what smoothing does to both;
# - write Adam with its bias correction, tell `Adam(weight_decay=…)` from `AdamW(weight_decay=…)`, and compare the first line of a log with $\ln C$.
#
# **On paper, before you go:** derive $p - y$ for the binary loss and for the softmax. If either takes more than three lines, look at section 4 once more. `cmlib.report()` shows what you have done, over all lessons.

# %% [quiz]
# ? Your three-class model starts at a loss of 1.10, and its accuracy is 33 %. What do you conclude?
# - It is broken: a loss above 1 means wrong labels :: A loss is a surprise, not an error rate; it has no upper bound at 1.
# + It starts as it should :: ln 3 = 1.0986: it gives every class one third, and guesses right one third of the time.
# - The learning rate is too low :: Before the first step the learning rate has done nothing yet.
# ? A loss is computed as `torch.log(torch.sigmoid(z)).mean() * -1` for rows with label 1. Which row makes trouble first in float32?
# - z = 0 :: sigmoid(0) is 0.5 and its logarithm is harmless.
# - z = 50 :: The sigmoid rounds to 1, and log 1 = 0 is the right loss to 21 digits.
# + z = -150 :: The sigmoid is smaller than the smallest float32, rounds to 0, and its logarithm is minus infinity; the true loss is 150.
# ? With label smoothing 0.1 the training loss of your four-class model stops at 0.35 and will not fall further, though accuracy is 100 %. Why?
# + The lowest value is the entropy of the smoothed target :: The gradient p − q is zero at p = q, and there the loss equals the entropy of q = (0.925, 0.025, 0.025, 0.025), which is 0.349.
# - The model has too few parameters :: It classifies every training row correctly; capacity is not what holds the loss up.
# - The gradient vanishes because the sigmoid saturates :: From logits the gradient is p − q, with no factor p(1 − p) that could vanish early.
# ? You switch from SGD to Adam, keep `weight_decay=0.01` as an argument of the optimiser, and weights that hardly ever get a gradient collapse to zero. What happened?
# - Adam's learning rate is larger by itself :: The rate is what you give; what differs is the division by the gradient's running size.
# - Decoupled decay shrinks idle weights by the factor 1 − ηλ :: True of AdamW, and slow: with η = 0.001 a weight keeps 99 % after 1,000 steps.
# - The loss is no longer convex :: The optimiser does not change the loss.
# + `Adam` adds λw to the gradient and rescales it :: For an idle weight λw is the whole gradient, and Adam blows it up to a full step of size η, whatever λ is.

# %% [markdown]
# **Glossary**: *logit*, an unbounded score before sigmoid or softmax · *likelihood*, the probability a model gives to what happened · *surprise*, minus the logarithm of a probability · *cross-entropy*, the mean surprise · *entropy*, the cross-entropy of a distribution with itself ·
# *Kullback–Leibler divergence*, cross-entropy minus entropy · *log-sum-exp*, the logarithm of the softmax's normaliser · *bias correction*, dividing a running mean by the weight it has gathered so far ·
# *finite difference*, a derivative from two evaluations · *label smoothing*, a target that keeps a share for every class · *decoupled decay*, shrinking weights outside the gradient.
#
# **References**
# - C. Szegedy et al., *Rethinking the Inception architecture for computer vision*, CVPR 2016: section 7 introduces label smoothing as used here.
# - P. J. Huber, *Robust estimation of a location parameter*, Annals of Mathematical Statistics 35 (1964): the loss that is quadratic near zero and linear far away, for the problem of section 12.
# - I. Loshchilov and F. Hutter, *Decoupled weight decay regularization*, ICLR 2019: L2 and decay agree for SGD and not for Adam; introduces AdamW.
# - D. P. Kingma and J. Ba, *Adam: a method for stochastic optimization*, ICLR 2015: algorithm 1 is exercise 01.4 without the decay, section 3 the bias correction.
# - T. M. Cover and J. A. Thomas, *Elements of information theory*, Wiley 2006: chapter 2 has entropy and divergence, with all their inequalities.
# - N. J. Higham, *Accuracy and stability of numerical algorithms*, SIAM 2002: rounding, cancellation, and the step of a finite difference.

# %% [progress]
