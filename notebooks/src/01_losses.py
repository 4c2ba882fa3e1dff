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
# - choose between one-hot targets, smoothing, class weights and Huber, knowing what each does to the gradient;
# - tell L2 regularisation from decoupled decay, and read the first line of a training log like a detective.
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
# model is not true. By section 9 you will know what, from the digits alone. For that you need to know where a loss comes from.
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
# **The repair.** Take any number $m$ out of the sum:
#
# $$\log\sum_k e^{z_k} = \log\Big(e^{m}\sum_k e^{z_k-m}\Big) = m + \log\sum_k e^{z_k-m}.$$
#
# With $m = \max_k z_k$ the largest exponent is exactly 0: no term overflows, and the sum is at least 1, so its logarithm exists. For the binary case, logits $(0, z)$, this says
#
# $$\log(1+e^{z}) = \max(z, 0) + \log\big(1+e^{-|z|}\big).$$

# %%
def naive_softmax_loss(z, y):
    return torch.log(torch.exp(z).sum()) - z[y]

def stable_softmax_loss(z, y):
    m = z.max()
    return m + torch.log(torch.exp(z - m).sum()) - z[y]

for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
    limit = math.log(torch.finfo(dtype).max)
    print(f"{str(dtype)[6:]:10s} exp overflows above {limit:7.2f}")
z = torch.tensor([100.0, 95.0, 0.0])  # the same model for every shift: true loss 0.0067
for shift in (0.0, -300.0, 1e4):
    naive = naive_softmax_loss(z + shift, 0).item()
    stable = stable_softmax_loss(z + shift, 0).item()
    print(f"logits shifted by {shift:6.0f}: naive {naive:6.4f}, stable {stable:.4f}")
    assert not math.isfinite(naive) and abs(stable - math.log1p(math.exp(-5))) < 2e-3

# %% [exercise] 01.1
# Write binary cross-entropy from logits. Your function receives `logits`, float, and `labels`, the same shape, 0, 1 or a probability in between; it returns the **mean** as a scalar tensor.
# It must stay finite for logits of ±1000 and let the gradient through. Do not clip: a clipped probability has no gradient.

# %% [stub]
def binary_cross_entropy(logits, labels):
    """Mean of log(1 + e^z) − y z, finite for every z.

    logits, labels : any shape, the same    returns : scalar tensor
    """
    raise NotImplementedError

# %% [solution]
def binary_cross_entropy(logits, labels):
    zero = torch.zeros_like(logits)
    # log(e^0 + e^z), with the maximum taken out
    log_normaliser = torch.logaddexp(zero, logits)
    return (log_normaliser - labels * logits).mean()

# %% [hints]
# Never compute $p$. Start from the form of step 5 and replace only the part that overflows.
# ---
# $\ell = \max(z,0) - yz + \log(1+e^{-|z|})$, elementwise in the shape of the logits, then the mean. `torch.log1p(x)` is an exact $\log(1+x)$ for tiny $x$.
# ---
# ```python
# zero = torch.zeros_like(logits)
# log_normaliser = torch.maximum(logits, zero) + ____
# return (log_normaliser - labels * logits).mean()
# ```

# %% [markdown]
# From here on the lesson uses the course's versions, yours with checks for bad input. Read them: `cmlib/losses.py` is short.
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

# %%
from cmlib.losses import cross_entropy, huber

z = torch.tensor([[2.0, 1.0, 0.0]], dtype=torch.float64, requires_grad=True)
loss = cross_entropy(z, torch.tensor([1]))
loss.backward()
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
# return ____ / len(logits)
# ```

# %% [markdown]
# ## 5. Three witnesses
#
# You now have the gradient by hand. Two more witnesses can confirm it: autograd, and the definition of a derivative. A *finite difference* moves one logit by $h$ and looks at the loss:
#
# $$\text{forward: } \frac{\ell(z+h)-\ell(z)}{h} = \ell' + \tfrac{h}{2}\ell'' + \dots \qquad
# \text{central: } \frac{\ell(z+h)-\ell(z-h)}{2h} = \ell' + \tfrac{h^2}{6}\ell''' + \dots$$
#
# A smaller $h$ makes the remainder smaller. **Predict before you run:** which $h$ between $10^{-1}$ and $10^{-14}$ gives the best derivative in float64?

# %%
torch.manual_seed(0)
logits, labels = torch.randn(500, 4, dtype=torch.float64), torch.randint(4, (500,))
# (500,): the derivative of each row's loss in its logit 0
by_hand = (logits.softmax(1) - one_hot(labels, 4))[:, 0]

def row_losses(z):
    return z.logsumexp(1) - z.gather(1, labels[:, None])[:, 0]

def difference_error(h, central=True, dtype=torch.float64):
    """Root mean square error of the finite difference over 500 rows."""
    z, move = logits.to(dtype), torch.tensor([h, 0, 0, 0], dtype=dtype)
    low, width = (z - move, 2 * h) if central else (z, h)
    slope = (row_losses(z + move) - row_losses(low)).double() / width
    return (slope - by_hand).square().mean().sqrt().item()

# %%
z = logits.clone().requires_grad_()
autograd = torch.autograd.grad(row_losses(z).sum(), z)[0][:, 0]
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

fig, ax = plots.figure(width=6, height=2.5)
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
# ## 6. Move a logit
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
    fig, (left, right) = plots.figure(1, 2, width=6.6, height=2.5)
    left.bar(range(3), p, color=[plots.BOTH, plots.GREY, plots.GREY])
    left.bar(range(3), [1, 0, 0], fill=False, edgecolor="black", ls="--")
    for c, push in enumerate(([1, 0, 0] - p.numpy()) / temperature):
        left.text(c, p[c] + 0.03, f"{push:+.2f}", ha="center")
    left.set(title="probability, target, push y − p", xticks=range(3),
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

# %%
# the same picture for readers without a kernel, and the numbers behind the answers
plots.show(logit_picture(), "At logit -1 the right class has probability 0.09; its "
                            "push is +0.91; the loss is a hinge-like curve whose slope "
                            "ends at -1.")
for T in (0.25, 1.0, 4.0):
    for logit in (-6.0, 6.0):
        z = torch.tensor([[logit, 1.0, 0.0]], requires_grad=True)
        loss = cross_entropy(z / T, torch.tensor([0]))
        loss.backward()
        print(f"T = {T:.2f}, logit {logit:+.0f}: loss {loss.item():7.4f}, "
              f"gradient {z.grad[0, 0].item():+.4f}")

# %% [markdown]
# At $T=1$ a confidently wrong answer is pushed with a force of nearly 1, never more. That bound makes cross-entropy trainable: compare the squared error, whose push grows with the error (section 7).
# A right answer at logit 6 is pushed with less than 0.01: training spends its effort on the rows it still gets wrong.
#
# ## 7. Other targets, other weights
#
# **Label smoothing.** A one-hot target is reached only at infinite logits, so training never stops pulling. Give a share $\varepsilon$ of the target to all $C$ classes evenly:
#
# $$q_c = (1-\varepsilon)\,\mathbf{y}_c + \frac{\varepsilon}{C},\qquad \ell = -\sum_c q_c\log p_c,\qquad \frac{\partial\ell}{\partial z_c} = p_c - q_c .$$
#
# The derivation of section 4 holds for any target that adds up to 1, so the gradient is again *says minus should say*. It is zero at $p = q$: finite logits, with a gap of $\log\frac{q_y}{q_\text{other}}$ between right and wrong.
#
# Note the consequence for reading logs: with smoothing the lowest possible loss is not 0 but the entropy of $q$, here 0.2911.
#
# **Class weights.** With 9 rows of class 0 for each row of class 1, "always 0" is already 90 % right. Weights $w_c$ make rare classes count more; the mean becomes a weighted mean:
#
# $$L = \frac{\sum_i w_{y_i}\,\ell_i}{\sum_i w_{y_i}} .$$
#
# They change *what the model estimates*. A model that sees no features learns the weighted class shares: with $w = 1/\text{frequency}$ it says 50 : 50, and its probabilities are no longer those of the world.

# %%
epsilon, C = 0.1, 3
right, other = 1 - epsilon + epsilon / C, epsilon / C
gap = math.log(right / other)
z = torch.tensor([[gap, 0.0, 0.0]], dtype=torch.float64, requires_grad=True)
loss = cross_entropy(z, torch.tensor([0]), label_smoothing=epsilon)
loss.backward()
print(f"target: right {right:.4f}, others {other:.4f}; "
      f"best gap ln({right / other:.0f}) = {gap:.4f}")
zero = bool(z.grad.abs().max() < 1e-12)
print(f"loss there {loss.item():.4f}, gradient zero: {zero}")
surer = 3 * z.detach()
farther = cross_entropy(surer, torch.tensor([0]), label_smoothing=epsilon).item()
print(f"three times as sure costs {farther:.4f}: more, though the answer is right")
assert farther > loss.item()

def learned_prior(weights):
    """What a bias alone learns from 900 zeros and 100 ones."""
    y = torch.tensor([0] * 900 + [1] * 100)
    bias = torch.zeros(2, dtype=torch.float64, requires_grad=True)
    for _ in range(300):
        loss = cross_entropy(bias.expand(1000, 2), y, weights)
        slope, = torch.autograd.grad(loss, bias)
        bias = (bias - 1.0 * slope).detach().requires_grad_()
    return bias.softmax(0).tolist()

weighted = torch.tensor([1 / 0.9, 1 / 0.1])
for name, weights in (("no weights", None), ("weights 1/0.9 and 1/0.1", weighted)):
    print(f"{name:24s}", [f"{v:.3f}" for v in learned_prior(weights)])

# %% [markdown]
# **Huber.** For a number instead of a class, the likelihood of step 1 becomes a Gaussian, and its $-\log$ is the squared error $e^2/2$. Its push is $e$ itself, so one absurd row can outvote all others. The absolute error pushes with $\pm1$, but is
# just as rough for tiny errors. *Huber's* loss takes each where it is good:
#
# $$\ell_\delta(e) = \begin{cases} e^2/2 & |e|\le\delta\\ \delta\,(|e|-\delta/2) & |e|>\delta\end{cases}\qquad \ell_\delta'(e) = \text{clamp}(e, -\delta, \delta).$$
#
# What is the best single guess for the numbers 0, 1, 2, 2.5 and 60? On paper for $\delta = 1$: the pushes $\text{clamp}(m - x_i)$ must add up to 0, so $1 + (m-1) + (m-2) + (m-2.5) - 1 = 0$ and $m = 5.5/3$.

# %%
x = torch.tensor([0.0, 1.0, 2.0, 2.5, 60.0], dtype=torch.float64)

def best_guess(loss):
    m = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    for _ in range(400):
        slope, = torch.autograd.grad(loss(m.expand(5), x), m)
        m = (m - 0.5 * slope).detach().requires_grad_()
    return m.item()

def squared(m, x):
    return ((m - x) ** 2 / 2).mean()

print(f"squared error {best_guess(squared):.4f} (the mean)")
print(f"Huber, δ = 1  {best_guess(huber):.4f}")
print(f"Huber, δ = 5  {best_guess(lambda m, x: huber(m, x, 5.0)):.4f}")
print(f"absolute      {x.median().item():.4f} (the median)")
assert abs(best_guess(huber) - 5.5 / 3) < 1e-9

# %% [exercise] 01.3
# Put smoothing and weights together, so that the result equals `torch.nn.functional.cross_entropy`. Your function receives `logits`, float `(n, C)`, `labels`, int64 `(n,)`, `class_weights`, float `(C,)`,
# and the number `label_smoothing`; it returns a scalar tensor. PyTorch's rule: each class's term has *that class's* weight, and the total is divided by the sum of the weights of the rows' labels,
#
# $$L = \frac{\sum_i\sum_c w_c\,q_{ic}\,(-\log p_{ic})}{\sum_i w_{y_i}} .$$

# %% [stub]
def weighted_cross_entropy(logits, labels, class_weights, label_smoothing):
    """Cross-entropy with class weights and label smoothing, equal to PyTorch's.

    logits : (n, C)   labels : int64 (n,)   class_weights : (C,)
    label_smoothing : float   returns : scalar tensor
    """
    raise NotImplementedError

# %% [solution]
def weighted_cross_entropy(logits, labels, class_weights, label_smoothing):
    C = logits.shape[1]
    surprise = logits.logsumexp(1, keepdim=True) - logits    # (n, C): -log p
    targets = (1 - label_smoothing) * one_hot(labels, C) + label_smoothing / C
    return (class_weights * targets * surprise).sum() / class_weights[labels].sum()

# %% [hints]
# Three tensors of shape `(n, C)` meet in the numerator: weights (by broadcasting), smoothed targets, surprises. Only the denominator needs the labels as indices.
# ---
# $q$ = `(1 - e) * one_hot(labels, C) + e / C`, all `(n, C)`; $-\log p$ = log-sum-exp of the row minus the logits; the denominator indexes `class_weights`, `(C,)`, by `labels` and sums over the rows.
# ---
# ```python
# targets = (1 - label_smoothing) * one_hot(labels, C) + label_smoothing / C
# surprise = logits.logsumexp(1, keepdim=True) - logits
# return (class_weights * targets * surprise).sum() / ____
# ```

# %% [markdown]
# ## 8. Two kinds of decay
#
# The loss is not all that moves the weights. The update rule is often printed as
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
# With L2, λ hardly matters: $\lambda w$ is the only gradient there is, Adam scales it to about 1, and the weight walks one $\eta$ per step. A weight with large gradients has the opposite fate: λw drowns in them and is divided away. So Adam with L2 decays the idle
# weights too fast and the busy ones too slowly. Decoupled decay shrinks each by the same factor. Here is a whole path, on the quadratic $f(w) = \frac12\big(10\,(w_1-2)^2 + 0.3\,(w_2-1.5)^2\big)$: steep in $w_1$, flat in $w_2$.

# %%
curvature = torch.tensor([10.0, 0.3]).double()
best = torch.tensor([2.0, 1.5]).double()
slope, start, decay = lambda w: curvature * (w - best), [-1.5, 3.0], 0.3

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
ridge = curvature * best / (curvature + decay)  # the lowest point of f + λ/2 |w|²
for name, path in paths.items():
    print(f"{name:15s} after 200 steps: ({path[-1, 0]:.3f}, {path[-1, 1]:.3f})")
print("lowest point of f: (2.000, 1.500); "
      f"of f + λ/2 |w|²: ({ridge[0]:.3f}, {ridge[1]:.3f})")
late = walk(torch.optim.AdamW, slope, start, 3000, lr=0.05, weight_decay=decay)[-1]
print(f"AdamW           after 3000 steps: ({late[0]:.3f}, {late[1]:.3f})")
sgd = (paths["SGD + L2"] - paths["SGD, decoupled"]).abs().max()
adam = (paths["Adam + L2"] - paths["AdamW"]).norm(dim=1).max()
print("SGD: both paths agree to 1e-12:", bool(sgd < 1e-12))
print(f"Adam: the paths are up to {adam:.3f} apart")
assert sgd < 1e-12 and adam > 0.5

# %%
fig, axes = plots.figure(1, 2, width=6.4, height=2.7, sharey=True)
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
# Three of the paths end at the cross, the lowest point of the penalised loss: there the busy weight has lost 3 % of its value, the idle one half. AdamW does not minimise that penalised loss. It shrinks both coordinates by the same factor per step, as a brake:
# after 3,000 steps it is still on its way to the star, the lowest point of $f$ itself. (There is no noise here. With the noise of mini-batches Adam's steps shrink and the decay gains weight.)
#
# A trap of names: in PyTorch `Adam(weight_decay=…)` is L2 and `AdamW(weight_decay=…)` is decoupled. Same argument, two algorithms. The course trains with AdamW, as BERT's fine-tuning recipes do.

# %% [exercise] 01.4
# Write one step of AdamW and match `torch.optim.AdamW`. Your function receives `weight`, `gradient` and the two running means `mean` and `square`, four float tensors of one shape; `step`, which is 1 for the first step; `learning_rate` and `weight_decay`.
# It returns the tuple `(weight, mean, square)`, all new. Use $\beta_1 = 0.9$, $\beta_2 = 0.999$ and $\epsilon = 10^{-8}$, with
#
# $$m \leftarrow \beta_1 m + (1-\beta_1) g,\quad v \leftarrow \beta_2 v + (1-\beta_2) g^2,\quad \hat m = \frac{m}{1-\beta_1^t},\quad \hat v = \frac{v}{1-\beta_2^t},\quad
# \text{Adam's step} = -\eta\,\frac{\hat m}{\sqrt{\hat v}+\epsilon} .$$
#
# The formula says nothing about the decay. You know where it goes; it acts on the weight as it was before the step.

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
# adam = learning_rate * (mean / (1 - 0.9**step)) / ((square / (1 - 0.999**step)).sqrt() + 1e-8)
# return weight - adam - ____, mean, square
# ```

# %% [markdown]
# ## 9. ln C, and the log explained
#
# A model that knows nothing gives every class $p = 1/C$. Its surprise is the same for every row: $-\log\frac1C = \ln C$. So the first number of a training log counts the classes, or rather the outputs: $C = e^{\text{loss}}$. This check costs one line,
# at any scale. A real BERT that guesses masked words should start near $\ln 30522$ if it is random and far below if its weights were loaded. (Nothing else in this lesson changes at `full` scale, so nothing was run there.)
#
# The loss counts **ten** outputs. The accuracy of 51 % speaks of **two** labels: with ten balanced classes, guessing is right 10 % of the time. Both can be true of one program: a softmax with ten outputs, trained on labels that are only ever 0 or 1. Eight outputs
# are never right. Test that suspicion: the same data, the same training, once with two outputs and once with ten. Features carry little signal (the labels are nearly noise), as a log that ends at 57 % suggests. Five seeds.

# %%
outputs = {"two classes": 2, "ten digits": 10, "ImageNet": 1000,
           "BERT's word pieces": 30522}
for what, C in outputs.items():
    z = torch.zeros(1, C, dtype=torch.float64)
    uniform = cross_entropy(z, torch.tensor([0])).item()
    print(f"{what:20s} ln {C:<6d} = {uniform:.4f}")
print(f"published start: exp(2.3025) = {math.exp(2.3025):.3f} outputs")
print(f"published end:   exp(-2.2567) = {math.exp(-2.2567):.4f}, "
      "the (geometric) mean probability of the right class")

def train_log(outputs, seed, steps=700, rate=0.01):
    """Softmax regression: loss, accuracy, probability on classes 0 and 1, per step."""
    torch.manual_seed(seed)
    x = torch.randn(1000, 20, dtype=torch.float64)
    y = (torch.rand(1000) < torch.sigmoid(0.4 * x[:, 0])).long()
    w, b = 0.001 * torch.randn(20, outputs).double(), torch.zeros(outputs).double()
    target, log = one_hot(y, outputs).double(), []
    for _ in range(steps + 1):
        p = (x @ w + b).softmax(1)
        loss, right = -(p * target).sum(1).log(), (p.argmax(1) == y).double()
        log.append([loss.mean(), right.mean(), p[:, :2].sum(1).mean()])
        push = (p - target) / 1000                     # the gradient is x'(p − y)/n
        w, b = w - rate * x.T @ push, b - rate * push.sum(0)
    return torch.tensor(log)                           # (steps + 1, 3)

logs = {outputs: torch.stack([train_log(outputs, seed) for seed in range(5)])
        for outputs in (2, 10)}                        # each (5, steps + 1, 3)

# %%
reached = (logs[10][:, :, 0].mean(0) <= 2.2567).nonzero()[0].item()
print("mean ± std of 5 seeds       loss             accuracy         "
      "probability on classes 0 and 1")
for outputs, log in logs.items():
    for name, step in (("start", 0), ("step 5", 5), ("at 2.2567", reached),
                       ("step 700", 700)):
        means, stds = log[:, step].mean(0), log[:, step].std(0)
        cells = [f"{mean:.4f} ± {std:.4f}" for mean, std in zip(means, stds)]
        print(f"{outputs:2d} outputs, {name:10s}   " + "  ".join(cells))
ten, two = logs[10], logs[2]
assert (two[:, :, 0] < 0.70).all() and (ten[:, 0, 0] - math.log(10)).abs().max() < 0.01
assert (ten[:, 5, 1] > 0.5).all() and (ten[:, reached, 2] < 0.25).all()
assert (ten[:, 700, 0] < 1.5).all()

# %%
fig, ax = plots.figure(width=6, height=2.5)
when = torch.arange(1, 702)
for outputs, color in ((10, plots.TEXT), (2, plots.IMAGE)):
    losses = logs[outputs][:, :, 0]                    # (5, steps + 1)
    label = f"{outputs} outputs, two kinds of label"
    ax.semilogx(when, losses.mean(0), color=color, label=label)
    ax.fill_between(when, losses.amin(0), losses.amax(0), color=color, alpha=0.2, lw=0)
ax.plot([1, reached + 1], [2.3025, 2.2567], "k*", ms=9,
        label="published first and last line")
for C in (2, 10):
    ax.text(700, math.log(C) - 0.19, f"ln {C}", ha="right")
    ax.axhline(math.log(C), color="black", lw=0.8, ls=":")
ax.set(title="The published log is the first moment of the wrong model",
       xlabel="step + 1", ylabel="training loss", ylim=(0, 2.6))
ax.legend(loc="lower left", bbox_to_anchor=(0, 0.3))
plots.show(fig, "Ten outputs on two labels start at ln 10 and pass the published end "
                "after a few steps; two outputs never leave 0.69.")

# %% [markdown]
# The ten-output model reproduces both lines. (The strength of the signal, and with it the final accuracy, was our choice; the losses and the jump of the accuracy were not.) It starts at ln 10. Its *accuracy* leaves 10 % within five steps, since the two outputs that occur are lifted above the other eight at once. Its *loss* is still near 2.26 when about four fifths of its probability lie on classes that do not exist.
# Go on for 700 steps and the loss is far lower: if the published program was this one, it had hardly begun to learn when it ended. The two-output model never shows a loss above 0.70.
#
# **How sure is this?** Two other readings give the same first number; a detective names them.
# - Two heads whose losses are *added* start at $\ln C_1 + \ln C_2 = \ln(C_1C_2)$. A two-class and a *five*-class head would give ln 10. Two two-class heads give only $2\ln 2 = 1.386$.
# - A two-class model can lose 2.30 if it is wildly overconfident at the start. How wildly, the next cell computes.

# %%
spread = torch.linspace(0.1, 10, 991, dtype=torch.float64)
u = torch.linspace(-8, 8, 4001, dtype=torch.float64)
bell = torch.exp(-u**2 / 2) / math.sqrt(2 * math.pi) * (u[1] - u[0])
# the mean loss for random logit gaps
losses = torch.logaddexp(torch.zeros(1).double(), spread[:, None] * u)
expected = (losses * bell).sum(1)
needed = spread[(expected - 2.3025).abs().argmin()].item()
modest = expected[(spread - 0.5).abs().argmin()]
print("two outputs start at 2.3025 if the gap between their logits has a standard "
      f"deviation of {needed:.2f}")
print("with a gap of 0.5, still generous for a fresh layer, "
      f"the start is {modest:.4f}")
assert 5 < needed < 6

# %% [markdown]
# The gap would need a standard deviation above five, and the loss would have to agree with ln 10 to four digits by luck. Ten outputs need no luck. The verdict: **the printed log cannot come from the model as described**; a softmax with ten outputs on two-class labels shows exactly such numbers.
#
# ## 10. Recap
#
# You can now
# - derive $\ell = \log\sum_k e^{z_k} - z_y$ from a likelihood and differentiate it to $p - \mathbf{y}$ without notes;
# - say which part of a loss overflows or cancels, in which precision, and repair it with the maximum taken out;
# - choose $h \approx \varepsilon^{1/3}$ and float64 to check a gradient, and know why;
# - say what smoothing, class weights and Huber do to the target, the estimate and the push;
# - tell `Adam(weight_decay=…)` from `AdamW(weight_decay=…)`, and compare the first line of a log with $\ln C$.
#
# **On paper, before you go:** derive $p - y$ for the binary loss and for the softmax. If either takes more than three lines, look at section 4 once more.

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
# **Glossary**: *logit*, an unbounded score before sigmoid or softmax · *likelihood*, the probability a model gives to what happened · *surprise*, minus the logarithm of a probability · *cross-entropy*, the mean surprise · *log-sum-exp*, the logarithm of the softmax's normaliser ·
# *finite difference*, a derivative from two evaluations · *label smoothing*, a target that keeps a share for every class · *decoupled decay*, shrinking weights outside the gradient.
#
# **References**
# - C. Szegedy et al., *Rethinking the Inception architecture for computer vision*, CVPR 2016: section 7 introduces label smoothing as used here.
# - P. J. Huber, *Robust estimation of a location parameter*, Annals of Mathematical Statistics 35 (1964): the loss that is quadratic near zero and linear far away, for the problem of section 7.
# - I. Loshchilov and F. Hutter, *Decoupled weight decay regularization*, ICLR 2019: L2 and decay agree for SGD and not for Adam; introduces AdamW.
# - D. P. Kingma and J. Ba, *Adam: a method for stochastic optimization*, ICLR 2015: algorithm 1 is exercise 01.4 without the decay.
# - N. J. Higham, *Accuracy and stability of numerical algorithms*, SIAM 2002: rounding, cancellation, and the step of a finite difference.

# %% [progress]
