# %% [markdown]
# # 05 Seeing: from convolution to ResNet
#
# **The one thing to take away:** a ResNet is one small window slid over the picture, again and again, plus a plus sign. The window makes it see the same thing
# everywhere, the plus sign makes depth trainable, and what it has seen stands in its pooled *features*, of which the class scores keep only a part.
#
# You will be able to
# - compute a convolution by hand, with stride and padding, and match `torch.nn.functional.conv2d`;
# - say how large a layer's output is and how much of the picture one of its numbers has seen;
# - measure what depth does to gradients, with and without shortcuts, and say what is depth and what is initialisation;
# - write ResNet-20 from a file of weights, and get the numbers that a trusted implementation gets;
# - say what is lost when a program passes on class scores instead of features, and measure it;
# - count what a ResNet-50 is made of.
#
# **Before this:** [lesson 01](01_losses.ipynb) (cross-entropy and gradients), and [lesson 03](03_inputs.ipynb) for pixels and normalisation.
#
# **Time:** about 95 minutes of yours. The machine needs {{measured}}; GPU: {{gpu}}. Downloads: 1.1 MB of weights and 11 MB of pictures, once.

# %% [setup]
import copy
import torch
import torch.nn.functional as F
from torch import nn
from tqdm.auto import tqdm
from cmlib import plots
from cmlib.course.schematic import Schematic
from cmlib.datasets import emoji, fetch
from cmlib.encoders import cifar
from cmlib.worlds import KINDS, RefundDesk
cfg = cmlib.setup("05")

# %% [markdown]
# ## 1. A network that has never seen a drawing
#
# Here is a real network with real weights: ResNet-20, trained by Yerlan Idelbayev on the 50,000 photographs of CIFAR-10, each 32 × 32 pixels, each of one of ten
# classes. The file of weights records 91.78 % as its best accuracy on the test photographs; the photographs are not part of this course, so you cannot check that number here.
#
# What you can do is show it something else. Among the emoji there are 29 drawings of something that has a CIFAR-10 class.
#
# **Predict before you run.** It was trained on photographs only. Guessing gives 10 %. On how many of the 29 drawings is its best class the right one? And what will it say
# about a rose, a teddy bear, a turtle, which belong to none of its classes?

# %%
net = cifar.cifar_resnet(fetch("cifar10-resnet20"))
drawings = emoji("all")
DRAWN = {  # class → Unicode code points
    "airplane": "2708 1f6e9", "automobile": "1f697 1f698 1f699 1f3ce",
    "bird": "1f426 1f54a 1f985 1f986 1f424", "cat": "1f408 1f431", "deer": "1f98c",
    "dog": "1f415 1f436 1f429", "frog": "1f438", "horse": "1f40e 1f434",
    "ship": "1f6a2 26f5 1f6e5 1f6f3 1f6a4", "truck": "1f69a 1f69b 1f6fb 1f692",
}
places = {code: row for row, code in enumerate(drawings.extras["codepoints"])}
sheet = drawings[[places[code] for codes in DRAWN.values() for code in codes.split()]]
truth = torch.tensor([label for label, codes in enumerate(DRAWN.values())
                      for _ in codes.split()])
# (29, 3, 32, 32): shrunk, and normalised with the statistics of these weights
photos = cifar.prepare(sheet.images)
print(f"{len(sheet)} drawings; {sum(p.numel() for p in net.parameters())} parameters")
print("classes:", ", ".join(cifar.CLASSES))
file = torch.load(fetch("cifar10-resnet20"), weights_only=True, map_location="cpu")
print(f"best accuracy on CIFAR-10's test photographs, says the file: "
      f"{file['best_prec1']:.2f} %")

@torch.no_grad()
def opinion(pixels):
    """Class and probability of the best guess for uint8 pictures (n, 3, h, w)."""
    best = net(cifar.prepare(pixels)).softmax(1).max(1)
    return [cifar.CLASSES[i] for i in best.indices], best.values

accuracy = (net(photos).argmax(1) == truth).double().mean().item()
print(f"accuracy on the drawings: {accuracy:.3f}")
outside = ("rose", "teddy bear", "turtle", "house", "soccer ball", "octopus")
others = drawings[[drawings.texts.index(name) for name in outside]]
for name, guess, p in zip(others.texts, *opinion(others.images)):
    print(f"{name:12s} → {guess:10s} {p:.3f}")
shown = sheet[[2, 13, 20, 7, 11, 16]]
guesses = opinion(shown.images)[0] + opinion(others.images)[0]
names = shown.texts + others.texts
titles = [f"{name}\n→ {guess}" for name, guess in zip(names, guesses)]
images = torch.cat([shown.images, others.images])
plots.show(plots.pictures(images, titles, columns=6, size=1.25),
           "Twelve emoji with the network's answers. Above, three hits and its only "
           "three mistakes; below, things outside its classes, named with confidence: "
           "a rose and a soccer ball are birds, a teddy bear a dog, a turtle a frog, "
           "a house a truck, an octopus an airplane.")
assert accuracy > 0.85

# %% [markdown]
# The upper row shows three of its hits and its only three mistakes. Two lessons at once. Nine drawings in ten are right, although no drawing was ever shown in training: something in these 0.27 million numbers responds to what makes a truck a truck. And a rose is a
# *bird*, with 0.99. Softmax divides 100 % among the ten classes it has; there is no place for "none of these", and a high probability is no sign of knowing.
#
# Now ask for something else: which *colour* is the car? The ten scores have no place for that either. Does the network know it all the same, somewhere inside? At the end of this lesson you will
# have measured it. First, open the network: it is made of one operation, one normalisation and one plus sign.
#
# ## 2. One window, slid everywhere
#
# **Step 1.** Take a picture $x$ with $C$ channels, $(C, H, W)$, and a *kernel* $w$ of shape $(C, K_h, K_w)$. Lay the kernel on the picture with its corner at row $i$, column $j$, multiply what lies on top of each other, and add:
#
# $$y_{ij} = \sum_{c=1}^{C}\sum_{a=0}^{K_h-1}\sum_{b=0}^{K_w-1} w_{c\,a\,b}\; x_{c,\;i+a,\;j+b}$$
#
# One number per place: how much does the window at $(i, j)$ look like the kernel? **Step 2.** Several kernels, one after another, give several output channels: $w$ is $(C_{out}, C_{in}, K_h, K_w)$ and
# $y$ is $(C_{out}, H', W')$. **Step 3.** With *stride* $s$ the window moves $s$ pixels at a time: read at $i\,s + a$, $j\,s + b$. **Step 4.** With *padding* $p$ the picture first gets a frame of $p$ zeros on all four sides.
#
# A mathematician would call this *cross-correlation*: in a convolution the kernel is turned by 180° first. For learned kernels it makes no difference, the network would simply learn
# the turned one; for weights from a file it makes all the difference.
#
# **In numbers.** The window's four pixels times the kernel's four, for each of the four places:
#
# $$x=\begin{pmatrix}1&2&0\\0&3&1\\2&1&4\end{pmatrix},\quad w=\begin{pmatrix}1&0\\-1&2\end{pmatrix}:\qquad y_{00} = 1\cdot1+2\cdot0-0\cdot1+3\cdot2 = 7$$

# %% tags=["hide-input"]
sketch = Schematic(8.4, 2.7)
pixels = [["1", "2", "0"], ["0", "3", "1"], ["2", "1", "4"]]
first_window = [[plots.IMAGE, plots.IMAGE, None], [plots.IMAGE, plots.IMAGE, None],
                [None, None, None]]
last_window = [[None, None, None], [None, plots.TEXT, plots.TEXT],
               [None, plots.TEXT, plots.TEXT]]
kernel_colors = [[plots.GREY] * 2] * 2
kernel_words = [["1", "0"], ["−1", "2"]]
for y, window, color, answer in ((2.0, first_window, plots.IMAGE, "7"),
                                 (0.65, last_window, plots.TEXT, "10")):
    picture = sketch.grid((0.9, y), window, 0.36, pixels)
    kernel = sketch.grid((3.0, y), kernel_colors, 0.36, kernel_words)
    sketch.text("times,\nplace by place", (2.04, y + 0.22), fontsize=8)
    sketch.arrow(picture, kernel, color=color)
    sums = "1·1 + 2·0 + 0·(−1) + 3·2"
    if answer == "10":
        sums = "3·1 + 1·0 + 1·(−1) + 4·2"
    total = sketch.box(f"{sums} = {answer}", (5.2, y), (2.4, 0.5), color)
    sketch.arrow(kernel, total, color=color)
    sketch.text("and add", (3.68, y + 0.13), fontsize=8)
    place = [[plots.IMAGE, None], [None, None]] if answer == "7" else \
        [[None, None], [None, plots.TEXT]]
    out = sketch.grid((7.5, y), place, 0.42, [["7", "1"], ["0", "10"]])
    sketch.arrow(total, out, color=color)
sketch.show("The 2 by 2 kernel lies on the upper left corner of a 3 by 3 picture: "
            "products add up to 7, the first number of the answer; on the lower right "
            "corner the same kernel gives 10, the last.")

# %%
x = torch.tensor([[1.0, 2, 0], [0, 3, 1], [2, 1, 4]])[None, None]  # (1, 1, 3, 3)
kernel = torch.tensor([[1.0, 0], [-1, 2]])[None, None]             # (1, 1, 2, 2)
print("as in the formula ", F.conv2d(x, kernel)[0, 0].tolist())
print("kernel turned 180°", F.conv2d(x, kernel.flip(2, 3))[0, 0].tolist())
framed = [tuple(F.conv2d(x, kernel, padding=1, stride=s).shape) for s in (1, 2)]
print("with padding 1    ", framed[0], " with stride 2 as well", framed[1])
assert F.conv2d(x, kernel)[0, 0, 0, 0] == 7

# %% [exercise] 05.1
# Write the convolution of steps 1 to 4. Your function receives `x` of shape `(n, c_in, h, w)`, `kernel` of shape `(c_out, c_in, kh, kw)`, and the integers `stride` and `padding`; it
# returns `(n, c_out, h', w')` with $h' = \lfloor (h + 2p - k_h)/s \rfloor + 1$ and likewise $w'$, in the dtype of `x`. No bias. Kernels need not be square, and sizes need not be even.
#
# Of course `F.conv2d` would pass. You would have skipped the one thing that everything after this is made of.

# %% [stub]
def conv2d(x, kernel, stride=1, padding=0):
    """x : (n, c_in, h, w)   kernel : (c_out, c_in, kh, kw)   →   (n, c_out, h', w')"""
    raise NotImplementedError

# %% [solution]
def conv2d(x, kernel, stride=1, padding=0):
    # the frame: left, right, above, below
    x = F.pad(x, (padding, padding, padding, padding))
    kh, kw = kernel.shape[2:]
    rows = (x.shape[2] - kh) // stride + 1
    columns = (x.shape[3] - kw) // stride + 1
    down, along = (rows - 1) * stride + 1, (columns - 1) * stride + 1
    total = 0
    for a in range(kh):
        for b in range(kw):  # one kernel pixel at a time, for all places at once
            # (n, c_in, rows, columns)
            seen = x[:, :, a:a + down:stride, b:b + along:stride]
            total = total + torch.einsum("ncij,oc->noij", seen, kernel[:, :, a, b])
    return total

# %% [hints]
# Two ways lead there. Loop over the places (i, j), cut out the window, multiply by every kernel and sum; or loop over the kernel's pixels (a, b), which are far fewer, and handle all places at
# once. Frame the picture first, and the padding is done.
# ---
# Place $(i, j)$ reads rows $is \dots is + k_h - 1$ and columns $js \dots js + k_w - 1$ of the framed picture: a window `(n, c_in, kh, kw)`. Against the kernels `(c_out, c_in, kh, kw)` it gives
# `(n, c_out)`, summed over three axes. Fill a result made with `x.new_zeros(...)`, which has the dtype of `x`.
# ---
# ```python
# framed = F.pad(x, (padding,) * 4)
# out = x.new_zeros(len(x), len(kernel), rows, columns)
# for i in range(rows):
#     for j in range(columns):
#         window = framed[:, :, ____]    # rows from i · stride on, columns from j · stride on
#         # every kernel times this window, summed over c, a and b, goes to out[:, :, i, j]
# ```

# %% [markdown]
# Why this operation and not a full matrix? Two properties, both consequences of *the same kernel everywhere*. It needs few numbers; and when the picture moves, the answer moves with it (it is **equivariant** to
# shifts), so a toy learned on the left is known on the right. The first layer of ResNet-20 takes 3 channels to 16. And the *whole* network, with its strides?

# %%
first = net.conv1.weight.detach()  # (16, 3, 3, 3)
print(f"kernel: {first.numel()} numbers;  a full matrix between the same layers: "
      f"{(3 * 32 * 32) * (16 * 32 * 32):,}")
moved = torch.roll(photos, 4, dims=3)  # four pixels to the right
before, after = F.conv2d(photos, first, padding=1), F.conv2d(moved, first, padding=1)
gap = (torch.roll(before, 4, dims=3) - after).abs()
gap = gap[:, :, :, 6:-1].max().item()  # without the border: pixels wrapped round there
print("one layer: moving the picture moves the answer:", gap < 1e-5)
with torch.no_grad():
    still = net.features(photos)  # (29, 64)
    print("the whole network, picture moved by")
    for step in (1, 2, 4):
        shifted = torch.roll(photos, step, dims=3)
        change = (net.features(shifted) - still).norm() / still.norm()
        right = (net(shifted).argmax(1) == truth).double().mean()
        print(f"  {step} pixels: features change by {change:.3f}, accuracy {right:.3f}")
assert gap < 1e-5

# %% [markdown]
# One layer of stride 1 is equivariant; the network is so only roughly. Two things break it. Behind a stride of 2, a shift by one pixel falls between the places: other windows are computed, not the same ones moved (averaging before each stride helps: Zhang 2019).
# And the frame of zeros does not move with the picture; how many numbers of the last map have seen it, the next section tells.
#
# ## 3. How large is the answer, and how much has it seen?
#
# **Size.** A frame of $p$ on both sides, and the first window takes $k$ pixels; every further window needs $s$ more:
# $n' = \lfloor (n + 2p - k)/s \rfloor + 1$. With $k=3,\ p=1$: stride 1 keeps the size, stride 2 halves it (rounding up).
#
# **Receptive field.** A number in the first layer has seen $k$ pixels in a row. A number in the second layer sees $k$ neighbours of the first, whose windows overlap. Keep two numbers while you walk
# through the layers: the *field* $r$, and the *jump* $g$, the distance in input pixels between neighbours of the current map. Before any layer $r = 1$, $g = 1$. Then each layer does
#
# $$r \leftarrow r + (k-1)\,g,\qquad g \leftarrow g\,s.$$
#
# **In numbers.** Two layers of $3\times3$, stride 1: $r = 1 + 2 + 2 = 5$. Let the first have stride 2: $r = 1 + 2\cdot1 = 3$, $g = 2$, then $r = 3 + 2\cdot2 = 7$. A stride costs nothing and doubles what every later layer *adds*.

# %% [exercise] 05.2
# Your function receives `size`, the input's height or width, and `layers`, a list of triples `(kernel, stride, padding)` from the first layer to the last. It returns two integers,
# `(output_size, receptive_field)`.

# %% [stub]
def geometry(size, layers):
    """layers : [(kernel, stride, padding), …]   →   (output_size, receptive_field)"""
    raise NotImplementedError

# %% [solution]
def geometry(size, layers):
    field, jump = 1, 1
    for kernel, stride, padding in layers:
        size = (size + 2 * padding - kernel) // stride + 1
        # neighbours are as far apart as the strides BEFORE this layer made them
        field += (kernel - 1) * jump
        jump *= stride
    return size, field

# %% [hints]
# Walk through the layers once, with three numbers in hand: size, field, jump. In what order must field and jump be updated?
# ---
# Both rules stand in this section, under **Size** and **Receptive field**; start with $r = g = 1$. In Python `//` rounds down. Nothing stops at the rim: a field may be larger than the picture.
# ---
# ```python
# field, jump = 1, 1
# for kernel, stride, padding in layers:
#     size = ____     # the windows that fit whole
#     # then field and jump, in the order that your first thought about them demands
# ```

# %% [markdown]
# A formula about what a number *has seen* can be tested by asking the number. Differentiate one place of the last map with respect to the input: pixels that it has seen have a gradient, all others have exactly
# zero. All kernels are set to 1 here, so that nothing cancels.

# %%
same, halved = (3, 1, 1), (3, 2, 1)  # (kernel, stride, padding)
# the longest way through
resnet20_layers = [same] * 7 + [halved] + [same] * 5 + [halved] + [same] * 5
canvas = torch.zeros(1, 1, 128, 128, dtype=torch.float64, requires_grad=True)
value = canvas
for kernel_size, stride, padding in resnet20_layers:
    mean = torch.full((1, 1, kernel_size, kernel_size), 1 / kernel_size**2).double()
    value = F.conv2d(value, mean, stride=stride, padding=padding)
seen = torch.autograd.grad(value[0, 0, 16, 16], canvas)[0][0, 0]
rows = int((seen.sum(1) > 0).sum())
core = seen.sum(1).cumsum(0)
half = int(((core > 0.25) & (core < 0.75)).sum())
print(f"last map {value.shape[2]} wide; pixels in a row with a gradient: {rows}")
print(f"half of the influence comes from the middle {half} rows")
try:
    print("your formula says:", geometry(128, resnet20_layers))
except NotImplementedError:
    print("your formula is not written yet: 05.2")
assert rows == 81

# %% [markdown]
# The field is 81 pixels, and the pictures are 32: on paper every number of the last map has seen everything. Look at the second line, though. The influence is bell-shaped, since far more paths lead through the
# centre than through the rim; the *effective* field is a good deal smaller (Luo et al. 2016).
#
# ## 4. Look: what one kernel answers to
#
# Nobody designs kernels any more, yet designing one shows what a kernel can say. The kernel below is dark on one side and bright on the other, and you can turn it by the angle θ:
# $k_\theta = \cos\theta\; k_{\to} + \sin\theta\; k_{\downarrow}$. A convolution is linear in its kernel, so the answer to the turned kernel is the same mixture of two fixed answers.
#
# **Predict before you move the slider:** at θ = 0, which sides of the boat's sail light up, and which vanish? At what angle does the *opposite* side of everything answer?

# %%
# toys on a table, six colours, eight kinds
desk = RefundDesk(n_colors=6, probabilities=(1, 0, 0, 0))
toys = desk.sample(1200)
whole_and_large = (toys.extras["size"] == 1) & (toys.extras["cracked"] == 0)

def first_of(kind):
    """The place of the first large, uncracked toy of this kind."""
    wanted = (toys.extras["kind"] == KINDS.index(kind)) & whole_and_large
    return int(wanted.nonzero()[0])

boat = first_of("boat")
grey = toys.images[boat].double().mean(0)[None, None] / 255  # (1, 1, 64, 64)
# answers where it gets brighter to the right
across = torch.tensor([[-1.0, 0, 1], [-2, 0, 2], [-1, 0, 1]]).double()[None, None]

def turned(angle):
    """Kernel at this angle (1, 1, 3, 3) and its answer after relu (1, 1, 62, 62)."""
    theta = torch.deg2rad(torch.tensor(float(angle)))
    kernel = theta.cos() * across + theta.sin() * across.transpose(2, 3)
    return kernel, F.conv2d(grey, kernel).relu()

def draw(angle):
    kernel, answer = turned(angle)
    fig, axes = plots.figure(1, 3, width=6.6, height=2.5)
    titles = "picture", f"kernel, θ = {angle:.0f}°", "after relu"
    for ax, image, title in zip(axes, (grey, kernel, answer), titles, strict=True):
        ax.imshow(image[0, 0], cmap="gray", interpolation="nearest")
        ax.set_title(title)
        ax.axis("off")
    return fig

alt = ("A toy boat, an edge kernel and its answer. At 0 degrees only edges that get "
       "brighter to the right light up, upright or slanted; the others stay black.")
plots.explore(draw, alt, angle=(0.0, 360.0, 15.0, 0.0))
plots.show(draw(0.0), alt)
print("strongest answer at 0°, 90°, 180°:",
      "  ".join(f"{turned(a)[1].max():.3f}" for a in (0, 90, 180)))
down = across.transpose(2, 3)
mixed = 0.75**0.5 * F.conv2d(grey, across) + 0.5 * F.conv2d(grey, down)
same = F.conv2d(grey, turned(30)[0]) - mixed
assert same.abs().max() < 1e-6

# %% [markdown]
# Half a turn later every edge that answered is silent, and its opposite answers: relu keeps only one sign. That is why a network needs several channels even for one kind of edge.
#
# ## 5. Why a plus sign
#
# More layers see more and can say more. For years they also made networks *worse*, on the training set too: a 56-layer network had a higher training error than a 20-layer one (He et al. 2016), although it could have
# copied the shallow one and left the other layers idle. The repair is a single character. Where a plain layer computes $x_{l+1} = F_l(x_l)$, a residual layer computes
#
# $$x_{l+1} = x_l + F_l(x_l).$$
#
# What does that do to a gradient? Write $J_l = \partial F_l/\partial x_l$, a square matrix as wide as $x_l$ is long. The chain rule multiplies:
#
# $$\text{plain: } \prod_l J_l \qquad\qquad \text{residual: } \prod_l (I + J_l) = I + \sum_l J_l + \sum_{l<m} J_m J_l + \dots$$
#
# The first summand is $I$: one path leads past all branches. The others are all longer paths, $2^L$ of them together (Veit et al. 2016). (The stacks below, and the first ResNets, apply one more relu *after* each sum, so that even the straight path is cut wherever a sum is negative.)
#
# **In numbers**, with one number per layer and $L = 20$. Plain: $0.5^{20} \approx 10^{-6}$ vanishes, $1.5^{20} \approx 3325$ explodes. Residual with $J = 0.1$ and $-0.1$ in turn: $(1.1\cdot0.9)^{10} \approx 0.904$. But with $J = 0.5$ throughout it is
# $1.5^{20}$ again, and with $J = -0.9$ it is $0.1^{20}$: the other paths can blow the straight one up, or cancel it. A shortcut helps **where the branch is small beside it**, and in no other case by itself.
#
# **Which size should weights start with?** A number of the next map is $z = \sum w\,x$ over $n = 9C$ products (the *fan-in*). With independent weights of mean 0, $\mathrm{Var}(z) = n\,\mathrm{Var}(w)\,\overline{x^2}$. The relu before it kept half of a symmetric distribution, $\overline{x^2} = \tfrac12\mathrm{Var}(z_\text{before})$. So
# each layer multiplies the variance by $\tfrac n2\mathrm{Var}(w)$, which is 1 for $\mathrm{Var}(w) = 2/n$: **He initialisation** (2015), uniform numbers up to $\sqrt{6/n}$. PyTorch's `Conv2d` draws up to $\sqrt{1/n}$ by default: $\mathrm{Var}(w) = 1/(3n)$, and each layer multiplies sizes by $\sqrt{1/6} \approx 0.41$.
#
# **Predict before you run** the cell below the drawing. Stacks of 8 to 64 convolutions; the gradient's norm at the *first* layer's weights, at initialisation. Plain or residual; at PyTorch's default size, at He's, and at He's with batch normalisation. Which of the six grows with depth, which falls?

# %% tags=["hide-input"]
sketch = Schematic(9.0, 3.1)
for y, name, residual in ((2.45, "plain", False), (0.95, "residual", True)):
    x_in = sketch.box("x", (0.9, y), (0.5, 0.45))
    one = sketch.box("conv 3×3\nBN, relu", (2.4, y), (1.25, 0.55), plots.IMAGE)
    two = sketch.box("conv 3×3\nBN", (4.2, y), (1.25, 0.55), plots.IMAGE)
    sketch.text(name, (0.9, y + 0.45))
    sketch.arrow(x_in, one)
    sketch.arrow(one, two)
    end = (5.85, y)
    if residual:
        plus = sketch.box("+", end, (0.4, 0.4), plots.TEXT)
        sketch.arrow(two, plus, "F(x)")
        sketch.path([(0.9, y - 0.23), (0.9, y - 0.65), (5.85, y - 0.65),
                     (5.85, y - 0.2)], plots.TEXT)
        sketch.text("shortcut: x itself", (3.3, y - 0.52), fontsize=8, color=plots.TEXT)
        relu = sketch.box("relu", (7.1, y), (0.7, 0.45))
        sketch.arrow(plus, relu)
        sketch.arrow(relu, (8.5, y), "x + F(x)", shift=(0.1, 0.15))
    else:
        relu = sketch.box("relu", (7.1, y), (0.7, 0.45))
        sketch.arrow(two, relu)
        sketch.arrow(relu, (8.5, y), "F(x)", shift=(0.1, 0.15))
sketch.show("Two blocks of two convolutions with batch norm. In the plain one, what "
            "comes out is F(x) alone; in the residual one, x runs past both "
            "convolutions and is added to F(x) before the last relu.")

# %%
SIZES = {"default": 1.0, "He": 6.0}  # of n · bound²

def first_gradient(depth, residual, size, normalise, seed, width=16):
    """Norm of the loss's gradient at a stack's first kernel, at initialisation."""
    g = torch.Generator().manual_seed(seed)
    bound = (SIZES[size] / (9 * width)) ** 0.5
    draw = lambda: torch.rand(width, width, 3, 3, generator=g, dtype=torch.float64)
    kernels = [((2 * draw() - 1) * bound).requires_grad_() for _ in range(depth)]
    norm = lambda z: F.batch_norm(z, None, None, training=True) if normalise else z
    x = torch.randn(8, width, 8, 8, generator=g, dtype=torch.float64)
    head = torch.randn(width, 10, generator=g, dtype=torch.float64) / width**0.5
    labels = torch.randint(10, (8,), generator=g)
    for one, two in zip(kernels[::2], kernels[1::2], strict=True):  # a block has two
        branch = norm(F.conv2d(x, one, padding=1)).relu()
        branch = norm(F.conv2d(branch, two, padding=1))
        x = (x + branch if residual else branch).relu()
    loss = F.cross_entropy(x.mean((2, 3)) @ head, labels)
    return torch.autograd.grad(loss, kernels[0])[0].norm().item()

depths, seeds = (8, 16, 32, 64), range(5)
starts = {"default": ("default", False), "He": ("He", False),
          "He, batch norm": ("He", True)}
found = {}  # (start, residual) → log10 of the norm (depths, seeds)
for start, settings in starts.items():
    for residual in (False, True):
        norms = [[first_gradient(depth, residual, *settings, seed) for seed in seeds]
                 for depth in depths]
        found[start, residual] = torch.tensor(norms).log10()
print("log10 of the norm, mean of five seeds      8      16      32      64 layers")
for (start, residual), log in found.items():
    name = f"{start}: {'residual' if residual else 'plain'}"
    print(f"{name:36s}", *(f"{mean:7.2f}" for mean in log.mean(1)))
change = {key: log[-1] - log[0] for key, log in found.items()}  # each (seeds,)
fall = change["default", False]
claims = {
    "default: plain loses more than 20 powers of ten": fall.max() < -20,
    "default: residual changes by less than 1": change["default", True].abs().max() < 1,
    "He: plain changes by less than 3": change["He", False].abs().max() < 3,
    "He: residual gains more than 3": change["He", True].min() > 3,
    "batch norm: plain gains more than 3":
        change["He, batch norm", False].min() > 3,
    "batch norm: residual gains less than 1.5":
        change["He, batch norm", True].max() < 1.5,
}
print("from 8 to 64 layers, in every seed:")
for claim, holds in claims.items():
    print(f"  {claim}: {bool(holds)}")
assert all(claims.values())
ends = found["default", False].mean(1)
print(f"default, plain: every layer multiplies the norm by "
      f"{10 ** ((ends[-1] - ends[0]) / 56):.3f}, and √(1/6) = {6**-0.5:.3f}")

fig, axes = plots.figure(1, 3, width=9, height=3.1)
for ax, start in zip(axes, starts, strict=True):
    for residual, color in ((False, plots.TEXT), (True, plots.BOTH)):
        log = found[start, residual]
        ax.plot(depths, 10 ** log.mean(1), "o-", ms=4, color=color,
                label="residual" if residual else "plain")
        ax.fill_between(depths, 10 ** log.amin(1), 10 ** log.amax(1),
                        color=color, alpha=0.25, lw=0)
    ax.set(yscale="log", xlabel="convolutions in the stack", xticks=depths, title=start)
axes[0].set_ylabel("gradient at the first layer")
axes[0].legend()
plots.show(fig, "Gradient at the first layer against depth, log scales that differ: "
                "at the default size the plain stack falls by 23 powers of ten; at "
                "He's the plain one hardly falls and the residual one explodes; with "
                "batch norm the plain one explodes and the residual one grows little.")

# %% [markdown]
# Mind the axes: the left one spans more than twenty powers of ten, the others about four. Read them slowly, since most of the common story is wrong.
# - **Default size, plain: vanishes**, by just about the $\sqrt{1/6}$ that you computed. That is not what depth does, it is what *too small weights* do.
# - **He's size, plain: hardly vanishes.** The right start, and no shortcut, carries a gradient through 64 layers.
# - **He's size, residual: explodes.** Each sum adds a branch as large as the shortcut, so every block doubles the variance. The shortcut that tamed the default made this worse.
# - **Batch norm** turns it round once more: the plain stack explodes (He and colleagues say in the same paper that with batch norm plain gradients do *not* vanish; Yang et al. explain it), the residual one grows slowly.
#
# So the degradation that they saw has another cause, and a norm is not the whole story. The direct question is: can the deep stack be *trained*? Take batch norm and He's start, and ask for little: learn the colours of 32 toys by heart, in 100 steps; where that is not enough, in 300. Ten networks, from ten seeds, are trained at once:
# `vmap` runs one network's code on ten stacked sets of weights, and Adam treats every number by itself.

# %%
from torch.func import functional_call, stack_module_state, vmap

class Stack(nn.Module):
    def __init__(self, depth, residual, width=8, classes=6):
        super().__init__()
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1)
        self.head, self.residual = nn.Linear(width, classes), residual
        self.layers = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1, bias=False),
                          nn.BatchNorm2d(width, track_running_stats=False))
            for _ in range(depth))
        for layer in self.layers:
            nn.init.kaiming_uniform_(layer[0].weight, nonlinearity="relu")  # He's size

    def forward(self, x):
        x = self.stem(x).relu()
        for one, two in zip(self.layers[::2], self.layers[1::2], strict=True):
            branch = two(one(x).relu())
            x = (x + branch if self.residual else branch).relu()
        return self.head(x.mean((2, 3)))

few = F.avg_pool2d(toys.images[:32].float() / 127.5 - 1, 8)  # (32, 3, 8, 8)
colours = toys.extras["color"][:32]

def by_heart(depth, residual, rate, n=10, steps=100):
    """Training losses of n networks, (n, steps)."""
    networks = []
    for seed in range(n):
        torch.manual_seed(seed)
        networks.append(Stack(depth, residual))
    weights, _ = stack_module_state(networks)
    descent = torch.optim.Adam(weights.values(), lr=rate)
    curves = []
    for _ in range(steps):
        logits = vmap(lambda w: functional_call(networks[0], w, (few,)))(weights)
        losses = torch.stack([F.cross_entropy(one, colours) for one in logits])
        descent.zero_grad()
        losses.sum().backward()
        descent.step()
        curves.append(losses.detach())
    return torch.stack(curves, dim=1)

settings = {(0.01, False, 8): 100, (0.01, False, 32): 300, (0.01, True, 8): 100,
            (0.01, True, 32): 100, (0.003, False, 8): 100, (0.003, False, 32): 100,
            (0.003, True, 32): 100}  # (rate, residual, depth) → steps
curves = {(rate, residual, depth): by_heart(depth, residual, rate, steps=steps)
          for (rate, residual, depth), steps in tqdm(settings.items(), "ten networks")}

fig, axes = plots.figure(1, 2, width=9, height=3.9, sharey=True)
looks = {(False, 8): (plots.GREY, "plain, 8 layers"),
         (False, 32): (plots.TEXT, "plain, 32 layers"),
         (True, 8): ("#56B4E9", "residual, 8 layers"),
         (True, 32): (plots.BOTH, "residual, 32 layers")}
for ax, rate in zip(axes, (0.01, 0.003), strict=True):
    for (residual, depth), (color, name) in looks.items():
        if (rate, residual, depth) in curves:
            lines = curves[rate, residual, depth].T
            ax.plot(lines, color=color, lw=0.9, alpha=0.7)
            ax.plot([], [], color=color, label=name)
    ax.set(yscale="log", ylim=(1e-4, 4), title=f"Adam at rate {rate}", xlabel="step")
axes[0].set_ylabel("loss on the 32 toys")
handles, labels = axes[0].get_legend_handles_labels()
fig.legend(handles, labels, ncols=4, loc="outside lower center")
plots.show(fig, "Training losses of ten networks of each kind. At rate 0.01 the "
                "plain networks of 8 layers fall soon, while those of 32 layers fall "
                "at very different steps, mostly after step 100, and two stay above "
                "0.5; of 8 and of 32 residual layers nearly all fall early. At 0.003 "
                "the plain networks of 32 layers are a little behind those of 8 after "
                "100 steps; nearly all residual ones of 32 are far ahead.")
last = {key: losses[:, 99] for key, losses in curves.items()}
late = curves[0.01, False, 32][:, 299]
fast = {(residual, depth): last[0.01, residual, depth] for residual, depth in looks}
claims = {
    "100 steps, plain 8: at least eight of ten below 0.2":
        (fast[False, 8] < 0.2).sum() >= 8,
    "100 steps, plain 32: at least four of ten above 0.2":
        (fast[False, 32] > 0.2).sum() >= 4,
    "100 steps, residual 8: at least eight of ten below 0.2":
        (fast[True, 8] < 0.2).sum() >= 8,
    "100 steps, residual 32: at least eight of ten below 0.2":
        (fast[True, 32] < 0.2).sum() >= 8,
    "300 steps, plain 32: at least six of ten below 0.2": (late < 0.2).sum() >= 6,
}
print("at rate 0.01, after")
for claim, holds in claims.items():
    print(f"  {claim}: {bool(holds)}")
middle = {key: last[0.003, *key].median() for key in looks if (0.003, *key) in last}
slow = middle[False, 32] > max(middle[False, 8], middle[True, 32])
print("at rate 0.003 the middle plain network of 32 layers is behind those of 8 plain\n"
      "  and of 32 residual layers:", bool(slow))
assert all(claims.values()) and slow

# %% [markdown]
# That is the degradation's milder form, in your own hands: on the *training* set, four times the layers come **late and unsure** without the plus sign. Look at ten seeds, not at one: at rate 0.01 about half of the deep plain networks, or more, were still stuck after 100 steps; left running, most of them arrive. At 0.003 they are behind after 100 steps; where they end was not tried. So
# "cannot be trained" would be too much. That deep plain stacks can be worse even at the end is what the paper shows, on far larger tasks. With the plus sign, 32 layers learn nearly as surely as 8. The start matters: a residual block whose branch says little is nearly the identity, so a deep residual stack begins life as a shallow one (De and Smith 2020).
#
# ## 6. Batch normalisation leads two lives
#
# Per channel, $\mathrm{BN}(z) = \gamma\,\dfrac{z - \mu}{\sqrt{\sigma^2 + \varepsilon}} + \beta$ with $\varepsilon = 10^{-5}$; $\mu, \sigma^2, \gamma, \beta$ each have one number per channel. Where do $\mu$ and $\sigma^2$ come from?
# - **train mode**: from *this batch*, over its pictures and places; and a running average of them is kept on the side.
# - **eval mode**: from that running average, stored with the weights. One picture's answer no longer depends on its neighbours.
#
# **Predict before you run.** The real network, the same 29 drawings, left in train mode by mistake: all in one batch, then one by one. And afterwards, correctly back in eval mode: is the accuracy of section 1 restored?

# %%
@torch.no_grad()
def hits(logits):
    return (logits.argmax(1) == truth).double().mean().item()

forgotten = copy.deepcopy(net).train()
with torch.no_grad():
    print(f"eval mode                       {hits(net(photos)):.3f}")
    together, alone = copy.deepcopy(forgotten), forgotten
    print(f"train mode, one batch of 29     {hits(together(photos)):.3f}")
    answers = torch.cat([alone(one[None]) for one in photos])
    print(f"train mode, one by one          {hits(answers):.3f}")
    print(f"eval mode again, after the last {hits(forgotten.eval()(photos)):.3f}")
    assert hits(net(photos)) > hits(forgotten(photos)) > 0.5

# %% [markdown]
# One by one, a picture is normalised by itself, which throws away how bright and how contrasted each channel was; most of what it knew is gone. And the last line is the insidious one: merely *looking* in train mode overwrote the running averages. No
# training step, no error, no warning, and the weights on disk still right. `model.eval()` before you look, always; `torch.no_grad()` does something else.

# %% [exercise] 05.3
# Write one residual block as ResNet has it, in eval mode: $\;\mathrm{relu}\big(\mathrm{BN}_2(k_2 * \mathrm{relu}(\mathrm{BN}_1(k_1 * x))) + \text{shortcut}\big)$.
#
# Your function receives `x` `(n, c_in, h, w)`; `shortcut` `(n, c_out, h', w')`, which is what must be added; `weights`, a dict with `conv1.weight` `(c_out, c_in, 3, 3)`, `conv2.weight` `(c_out, c_out, 3, 3)` and, for
# `bn1` and `bn2`, the four vectors `.weight` (γ), `.bias` (β), `.running_mean`, `.running_var`, each `(c_out,)`; and `stride`, which belongs to the first convolution. Both have padding 1 and no bias. It returns `(n, c_out, h', w')`. Use `F.conv2d`; write batch norm out.

# %% [stub]
def basic_block(x, shortcut, weights, stride=1):
    """x : (n, c_in, h, w)   shortcut : (n, c_out, h', w')   weights : dict of tensors

    returns : (n, c_out, h', w')
    """
    raise NotImplementedError

# %% [solution]
def basic_block(x, shortcut, weights, stride=1):
    def batch_norm(z, name):  # z : (n, c_out, h', w')
        names = "running_mean", "running_var", "weight", "bias"
        vectors = (weights[f"{name}.{each}"] for each in names)
        mean, var, gamma, beta = (v[:, None, None] for v in vectors)  # (c_out, 1, 1)
        return gamma * (z - mean) / (var + 1e-5).sqrt() + beta

    inner = F.conv2d(x, weights["conv1.weight"], stride=stride, padding=1)
    inner = batch_norm(inner, "bn1").relu()
    branch = batch_norm(F.conv2d(inner, weights["conv2.weight"], padding=1), "bn2")
    return (branch + shortcut).relu()

# %% [hints]
# The branch may end below zero: it corrects the shortcut in both directions. So only one relu stands inside it, and the other comes after the sum.
# ---
# A vector of shape `(c_out,)` must meet a map of shape `(n, c_out, h, w)`: index it with `[:, None, None]` and it becomes `(c_out, 1, 1)`. Divide by $\sqrt{\sigma^2 + 10^{-5}}$, with σ² = `running_var`.
# ---
# ```python
# def batch_norm(z, name):
#     wide = {p: weights[f"{name}.{p}"][:, None, None]
#             for p in ("running_mean", "running_var", "weight", "bias")}
#     return ____                       # the formula of this section, on the four of them
# # then conv, batch_norm, relu, conv, batch_norm; and only now the shortcut
# ```

# %% [markdown]
# ## 7. ResNet-20, with its real weights
#
# The whole network, for pictures of 32 × 32:
#
# | part | what | output |
# |---|---|---|
# | stem | 3 × 3 convolution to 16 channels, BN, relu | (n, 16, 32, 32) |
# | `layer1` | 3 blocks, 16 channels | (n, 16, 32, 32) |
# | `layer2` | 3 blocks, 32 channels, the first with stride 2 | (n, 32, 16, 16) |
# | `layer3` | 3 blocks, 64 channels, the first with stride 2 | (n, 64, 8, 8) |
# | pool | mean over the 64 places: the **features** | (n, 64) |
# | `linear` | 64 → 10, with bias: the **logits** | (n, 10) |
#
# In two blocks $x$ and the branch have different shapes, so $x$ cannot simply be added. CIFAR's ResNet uses the paper's **option A**, which needs no parameters: take every second row and column of $x$, and surround its channels with
# zero channels, half of them before and half behind. From 16 to 32: 8 zero channels, the 16 old ones, 8 zero channels.
#
# Exercise 05.4 puts your `basic_block` nine times in a row. `part` picks the weights of one block out of the file's names.

# %%
def part(weights, prefix):
    """part(weights, "layer1.0.") → what 05.3 receives: conv1.weight, bn1.weight, …"""
    return {name.removeprefix(prefix): value for name, value in weights.items()
            if name.startswith(prefix)}

# torch.load(…, weights_only=True): tensors only, no code is run
weights = cifar.load_weights(fetch("cifar10-resnet20"))
names = list(weights)
print(len(weights), "tensors:", ", ".join(names[:3]), "…", ", ".join(names[-2:]))
print("the block layer2.0:", {name: tuple(value.shape) for name, value
                              in part(weights, "layer2.0.").items() if "conv" in name})

def on_real_weights(function):
    """Your network and cmlib's on the 29 drawings, with the published weights."""
    try:
        features, logits = function(photos, weights)
        pairs = (features, net.features(photos)), (logits, net(photos))
        gap = max((mine - trusted).abs().max().item() for mine, trusted in pairs)
        print("real weights: features and logits agree with cmlib's to 0.001:",
              gap < 1e-3, f"· accuracy {hits(logits):.3f}")
    except NotImplementedError:
        print("real weights: resnet20 is not written yet; "
              "the lesson goes on with cmlib's.")
    except Exception as error:
        print(f"real weights: resnet20 does not run yet ({type(error).__name__}).")

# %% [exercise] 05.4
# Write ResNet-20. Your function receives `x` `(n, 3, h, w)`, already normalised, and `weights`, a dict with the file's names (`conv1.weight`, `bn1.…`, `layer1.0.conv1.weight`, …, `linear.weight`, `linear.bias`). It
# returns two tensors: the features `(n, 64)` and the logits `(n, 10)`. Heights and widths may be odd. Use `part`, and your `basic_block` of 05.3.
#
# The check draws random weights. The line before it runs your function with the published ones, against `cifar.CifarResNet`, which is built from PyTorch's own modules and shares no line with yours.

# %% [stub]
def resnet20(x, weights):
    """x : (n, 3, h, w)   weights : dict of tensors

    returns : features (n, 64), logits (n, 10)
    """
    raise NotImplementedError

on_real_weights(resnet20)

# %% [solution]
def resnet20(x, weights):
    def option_a(x, channels, stride):
        zeros = (channels - x.shape[1]) // 2  # on each side
        return F.pad(x[:, :, ::stride, ::stride], (0, 0, 0, 0, zeros, zeros))

    names = "running_mean", "running_var", "weight", "bias"
    x = F.conv2d(x, weights["conv1.weight"], padding=1)  # (n, 16, h, w)
    x = F.batch_norm(x, *(weights[f"bn1.{name}"] for name in names)).relu()
    for stage, channels in ((1, 16), (2, 32), (3, 64)):
        for i in range(3):
            stride = 2 if stage > 1 and i == 0 else 1
            first = part(weights, f"layer{stage}.{i}.")
            x = basic_block(x, option_a(x, channels, stride), first, stride)
    features = x.mean((2, 3))  # (n, 64)
    logits = F.linear(features, weights["linear.weight"], weights["linear.bias"])
    return features, logits

on_real_weights(resnet20)

# %% [hints]
# Three nested things: a stem, three stages of three blocks, a mean and a linear layer. Only the blocks `layer2.0` and `layer3.0` have stride 2, and only there does the shortcut need option A; with stride 1 and equal channels option A is the identity, so you may call it
# everywhere.
# ---
# Every second row and column: `x[:, :, ::2, ::2]`, `(n, c, ⌈h/2⌉, ⌈w/2⌉)`, which also fits odd sizes. `F.pad` counts pairs from the *last* axis: `(0, 0, 0, 0, before, behind)` leaves width and height alone and pads the channels. The mean over the places: `x.mean((2, 3))`.
# ---
# ```python
# for stage, channels in ((1, 16), (2, 32), (3, 64)):
#     for i in range(3):
#         stride = 2 if stage > 1 and i == 0 else 1
#         own = part(weights, f"layer{stage}.{i}.")
#         x = basic_block(x, ____, own, stride)     # option A: a line of its own
# ```

# %% [markdown]
# ## 8. What it sees on the way
#
# Stop the network after the stem and after each stage, and look at the maps. For every map, the four channels that vary most, for one of the refund desk's toys; bright means a strong answer.

# %%
car = first_of("car")
with torch.no_grad():
    # (1, 16, 32, 32), (1, 16, 32, 32), (1, 32, 16, 16), (1, 64, 8, 8)
    maps = net.maps(cifar.prepare(toys.images[car:car + 1]))
fig, axes = plots.figure(4, 5, width=7.4, height=6.0)
stages = "stem", "layer1", "layer2", "layer3"
for row, found_map, name in zip(axes, maps, stages, strict=True):
    busiest = found_map[0].var((1, 2)).argsort(descending=True)[:4]
    for a, c in zip(row[1:], busiest, strict=True):
        a.imshow(found_map[0, c], cmap="gray", interpolation="nearest")
    _, channels, height, width = found_map.shape
    row[0].text(0.5, 0.5, f"{name}\n{channels} channels\n{height} × {width}",
                ha="center", va="center", fontsize=10)
    zeros = (found_map == 0).double().mean()
    print(f"{name}: {tuple(found_map.shape)}, share of exact zeros {zeros:.3f}")
toy = axes[0, 0]
toy.clear()
toy.imshow(toys.images[car].permute(1, 2, 0), interpolation="nearest")
toy.set_title("toy → stem\n16 channels, 32 × 32", fontsize=8, loc="center",
              fontweight="normal")
for a in axes.flat:
    a.axis("off")
plots.show(fig, "Feature maps of a toy car, four channels of each stage: after the "
                "stem and layer1 the car is still a picture with outlines; in layer2 "
                "its parts are coarse patches; in layer3 a few of 8 by 8 squares are "
                "bright and the car cannot be recognised.")

# %% [markdown]
# Early maps are pictures: edges, colours, and the zeros of relu. Late maps are answers: 64 questions, each asked at 8 × 8 places. The mean over the places, which comes next, keeps *how much* of each answer there was and forgets *where*.
#
# And what does it say about 1,200 drawn toys? Three of the eight kinds have a class of its own; five have none.

# %%
with torch.no_grad():
    batches = cifar.prepare(toys.images).split(50)
    features = torch.cat([net.features(batch) for batch in batches])  # (1200, 64)
    logits = net.linear(features)                                     # (1200, 10)
kind, guess, sure = toys.extras["kind"], logits.argmax(1), logits.softmax(1).amax(1)
for name, wanted in (("car", "automobile"), ("boat", "ship"), ("duck", "bird")):
    called = guess[kind == KINDS.index(name)] == cifar.CLASSES.index(wanted)
    share = called.double().mean()
    print(f"{name:5s} called {wanted:10s} in a share of {share:.3f}")
    assert share > 0.5
known = sum(kind == KINDS.index(name) for name in ("car", "boat", "duck")).bool()
print("mean probability of the best class: "
      f"kinds with a class {sure[known].mean():.3f}, "
      f"kinds without one {sure[~known].mean():.3f}")
surer = (sure[known][:, None] > sure[~known]).double().mean()
print("of a toy with a class and one without, it is surer of the first in a share of "
      f"{surer:.2f}")
assert surer < 0.8

# %% [markdown]
# The three kinds it could know it mostly knows, less reliably than the emoji. On the five others it is nearly as confident as on those three, and a coin would guess which is which in half the pairs: its confidence hardly warns you when it leaves the world it was trained in (lesson 26 returns to this).
#
# ## 9. Break it: logits are not features
#
# A published program joins a ResNet-50 to a BERT by concatenating the ResNet's **1000 class logits** with BERT's token states, `(batch, tokens, 768)`, along axis 1. That line does not even run. Suppose
# the shapes were mended: would the logits do as a description of the picture?
#
# **A proof first.** The logits are $z = W f + b$ with features $f$ `(64,)` and $W$ `(10, 64)`. A direction $n$ with $W n = 0$ can be added to $f$ and no logit moves, so nothing that varies along it can be read from $z$. There are at least
# $64 - 10 = 54$ such directions, and for ResNet-50 with $W$ `(1000, 2048)` at least 1048. In the other direction nothing is lost: whatever a linear layer can read from $z$, it can read from $f$.

# %%
try:
    torch.cat([torch.zeros(2, 1000), torch.zeros(2, 12, 768)], dim=1)
except RuntimeError:
    print("torch.cat refuses: 2 axes cannot be joined to 3")
W = net.linear.weight.detach()                       # (10, 64)
print("singular values of W:", "  ".join(f"{s:.2f}" for s in torch.linalg.svdvals(W)))
unseen = torch.linalg.svd(W)[2][10:]                 # (54, 64): directions with W n = 0
nudge = torch.randn(1200, 54, generator=torch.Generator().manual_seed(0)) @ unseen
lengths = features.norm(dim=1, keepdim=True)
nudge = nudge * lengths / nudge.norm(dim=1, keepdim=True)  # as long as the features
change = (net.linear(features + nudge) - logits).abs().max().item()
print("features changed by 100 % of their length, logits unchanged:", change < 1e-3)
assert change < 1e-3

# %% [markdown]
# Nine singular values are large and one is nearly zero: adding a constant to all logits does not change a softmax, so training let that direction wither. Ten logits carry nine numbers.
#
# **Then the measurement.** A *linear probe*: freeze the network, and ask one linear layer (least squares, in closed form) to name a property of the toy. If it can, the property is there to be read. Four descriptions, each beside the majority guess:
# the 10 logits; 10 random mixtures of the features, to see whether *ten* is the trouble or *logits*; the 64 features; and the 64 features of a ResNet-20 with random weights.
#
# **Predict before you run.** Which property gains most from logits to features? Is there one for which training was no help at all?

# %%
def probe(inputs, target, seed):
    """Accuracy on 400 toys of a ridge classifier fitted on 800 others.

    inputs : (1200, d)   target : int64 (1200,)
    """
    order = torch.randperm(1200, generator=torch.Generator().manual_seed(seed))
    fit, test = order[:800], order[800:]
    x = inputs.double()
    x = (x - x[fit].mean(0)) / (x[fit].std(0) + 1e-6)
    x = torch.cat([x, torch.ones(1200, 1)], 1)
    goal = F.one_hot(target).double()[fit]
    products = x[fit].T @ x[fit] + torch.eye(x.shape[1])
    plan = torch.linalg.solve(products, x[fit].T @ goal)
    return ((x[test] @ plan).argmax(1) == target[test]).double().mean().item()

@torch.no_grad()
def untrained(seed):
    """Features (1200, 64) of random weights; batch norm has averaged over 200 toys."""
    torch.manual_seed(seed)
    model = cifar.CifarResNet().train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # a plain average over what it sees
    model(cifar.prepare(toys.images[:200]))
    model.eval()
    return torch.cat([model.features(batch) for batch in batches])

def mixed(seed):
    return features @ torch.randn(64, 10, generator=torch.Generator().manual_seed(seed))

# for every seed its own split of the same toys, mixture and untrained network
inputs = {
    "10 logits": [logits] * 5,
    "10 mixtures": [mixed(seed) for seed in seeds],
    "64 features": [features] * 5,
    "64, untrained": [untrained(seed) for seed in seeds],
}
targets = {"kind (8)": "kind", "colour (6)": "color", "cracked (2)": "cracked",
           "size (2)": "size", "table (4)": "table"}
truths = {name: torch.as_tensor(toys.extras[key]) for name, key in targets.items()}
table = {}  # property → description → accuracies (5,)
for name, target in truths.items():
    table[name] = {
        label: torch.tensor([probe(x[seed], target, seed) for seed in seeds])
        for label, x in inputs.items()
    }

print(f"{'property':12s} majority" + "".join(f"{label:>15s}" for label in inputs))
for name, target in truths.items():
    majority = target.bincount().max() / 1200
    means = "".join(f"{right.mean():15.3f}" for right in table[name].values())
    print(f"{name:12s}    {majority:.3f}{means}")
least = min((r["64 features"] - r["10 logits"]).min() for r in table.values())
print("in every split the features beat the logits by more than 0.05 on all five:",
      bool(least > 0.05))
assert least > 0.05
fig, ax = plots.figure(width=8.4, height=3.4)
colors = plots.TEXT, "#E69F00", plots.IMAGE, plots.GREY
for i, (label, color) in enumerate(zip(inputs, colors, strict=True)):
    rows = [table[name][label] for name in targets]
    ax.bar([n + 0.2 * i for n in range(5)], [r.mean() for r in rows], 0.19,
           yerr=[r.std() for r in rows], color=color, label=label)
ax.set(xticks=[n + 0.3 for n in range(5)], ylabel="accuracy of a linear probe",
       ylim=(0, 1.02), title="What can be read from each description")
ax.set_xticklabels(targets)
ax.legend(ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.12))
ax.grid(axis="x", visible=False)
plots.show(fig, "Bars of probe accuracy: for each of five properties the 64 features "
                "beat the 10 logits; even untrained features beat the logits on "
                "colour, size and table.")
ahead = min((table[name]["64, untrained"] - table[name]["10 logits"]).mean()
            for name in ("colour (6)", "size (2)", "table (4)"))
print("in the mean even untrained features beat them on colour, size and table:",
      bool(ahead > 0))
gain = {name: (r["64 features"] - r["64, untrained"]).mean()
        for name, r in table.items()}
print("what training added to the 64 features:\n ",
      "  ".join(f"{name} {value:+.3f}" for name, value in gain.items()))
assert ahead > 0 and gain["kind (8)"] > 0.5
assert gain["kind (8)"] > 3 * max(gain["colour (6)"], gain["table (4)"])
assert all((r["10 logits"].mean() - r["10 mixtures"].mean()).abs() < 0.1
           for r in table.values())

# %% [markdown]
# For all five properties, in each of five splits of the toys, the features beat the logits, by more than 0.05 at the least and far more for most. The random mixtures show why: it is the *ten*. Ten numbers
# picked without knowing the question do not hold what 64 do, and ten picked to name CIFAR's classes tell hardly more about a toy than ten mixtures drawn at random.
#
# The last column keeps you honest. On colour, size and table, the features of a network with **random weights** tell more than the trained network's logits. And what training added to the features is large for the
# kind and small for colour and table: a car is a car in any colour, so training on classes gives little reason to learn it. "Pretrained" is not a synonym of "better"; it means *better at what
# resembles the task it was trained for*. (Five untrained networks, not one: the first that we tried beat the trained one on colour, and the claim that it made so tempting did not survive the other four.)
#
# **What to pass on**, then: the pooled features `(batch, 64)`; for ResNet-50 `(batch, 2048)`, by replacing its last layer with the identity. **At full scale** `image_encoder("resnet50")` returns exactly that; this probe has not been measured there.
#
# ## 10. From ResNet-20 to ResNet-50
#
# You have written a ResNet. The one that everybody downloads differs in four things, all of them for pictures of 224 × 224 and a thousand classes.
#
# - **The stem** shrinks the picture by four at once: a 7 × 7 convolution with stride 2 from 3 to 64 channels, BN, relu, and a **max-pool**: the largest of every 3 × 3 window, stride 2, which keeps *whether* an edge was there and blurs *where*.
# - **The bottleneck** replaces the two 3 × 3 convolutions: a 1 × 1 convolution narrows $4c$ channels to $c$, the 3 × 3 works on $c$, a second 1 × 1 widens to $4c$ again. A 1 × 1 convolution mixes channels at one place and sees no neighbour. BN follows each of the three.
# - **The projection**: where the shape changes, in the first block of *each* of the four stages, the shortcut is a 1 × 1 convolution with BN, learned, in place of option A.
# - **Stages** of 3, 4, 6 and 3 blocks with widths $c$ = 64, 128, 256, 512, which give back 256, 512, 1,024 and 2,048 channels. The mean over 7 × 7 places gives the 2,048 features; one linear layer the 1,000 logits.
#
# | network | year | the idea |
# |---|---|---|
# | VGG-16 | 2014 | nothing but 3 × 3 convolutions, 13 of them, and three huge linear layers: 138 million numbers. Two 3 × 3 see 5 × 5 at 18/25 of its price |
# | Inception | 2014 | windows of several sizes side by side, each behind a 1 × 1 that narrows first: 7 million numbers; the bottleneck comes from here |
# | ResNet-50 | 2015 | the plus sign, with bottlenecks, over 50 layers |

# %% tags=["hide-input"]
sketch = Schematic(9.4, 3.3)
stages = [("stem\n7×7, stride 2\nmax-pool", "64\n56×56", plots.GREY),
          ("3 blocks\nc = 64", "256\n56×56", plots.IMAGE),
          ("4 blocks\nc = 128", "512\n28×28", plots.IMAGE),
          ("6 blocks\nc = 256", "1,024\n14×14", plots.IMAGE),
          ("3 blocks\nc = 512", "2,048\n7×7", plots.IMAGE),
          ("mean\nlinear", "1,000", plots.BOTH)]
before = (0.0, 2.6)
for place, (words, size, color) in enumerate(stages):
    box = sketch.box(words, (0.85 + 1.52 * place, 2.6), (1.0, 0.75), color)
    sketch.arrow(before, box)
    sketch.text(size, (1.61 + 1.52 * place, 2.38), fontsize=7)
    before = box
sketch.arrow(before, (9.38, 2.6))
sketch.text("one bottleneck:", (0.75, 1.05))
parts = [("1×1\n4c → c", plots.TEXT), ("3×3\nc → c", plots.IMAGE),
         ("1×1\nc → 4c", plots.TEXT)]
before = (1.5, 1.05)
for place, (words, color) in enumerate(parts):
    box = sketch.box(words, (2.6 + 1.6 * place, 1.05), (1.0, 0.6), color)
    sketch.arrow(before, box, "4c" if place == 0 else "BN, relu",
                 shift=(-0.12 if place == 0 else 0, 0.14))
    before = box
plus = sketch.box("+", (7.35, 1.05), (0.4, 0.4))
sketch.arrow(before, plus, "BN", shift=(0, 0.14))
sketch.arrow(plus, (8.9, 1.05), "relu, 4c", shift=(0, 0.14))
sketch.path([(1.75, 1.05), (1.75, 0.33), (7.35, 0.33), (7.35, 0.85)])
sketch.text("shortcut: x, or in a stage's first block a 1×1 with BN", (4.55, 0.46),
            fontsize=8)
sketch.show("ResNet-50: a stem of a 7 by 7 convolution and a max-pool, four stages of "
            "3, 4, 6 and 3 bottlenecks whose maps shrink from 56 to 7 pixels while "
            "channels grow from 256 to 2,048, a mean and a linear layer. Below, a "
            "bottleneck narrows by 1 by 1, looks by 3 by 3, widens by 1 by 1 and adds "
            "its shortcut.")

# %%
from torchvision.models import resnet50

with torch.device("meta"):  # shapes without numbers: nothing is downloaded or drawn
    published = resnet50()
    basic = nn.Conv2d(256, 256, 3, bias=False).weight.numel() * 2
parts = list(published.layer1[1].children())
narrow = sum(part.weight.numel() for part in parts if isinstance(part, nn.Conv2d))
print(f"ResNet-50: {sum(p.numel() for p in published.parameters()):,} learned numbers")
print(f"convolutions of a block on 256 channels: bottleneck {narrow:,}, "
      f"two 3 × 3 {basic:,}")

# %% [exercise] 05.5
# **On paper first.** (a) Show that the convolutions of a bottleneck on $4c$ channels have $17c^2$ weights, and compare with two 3 × 3 convolutions on $4c$ and on $c$ channels. (b) What does a second bottleneck add to the receptive field? (c) Why does stage 1 need a projection, although its stride is 1?
#
# **Then count a whole network.** Your function receives `blocks`, four integers, the bottlenecks of each stage, `(3, 4, 6, 3)` for a ResNet-50, and the integer `classes`; it returns the number of *learned* numbers, an integer: convolutions (without bias), the γ and β of every batch norm, and the last layer
# (with bias). Of course a network built by torchvision would tell you the number. You would have skipped the walk through it: count.

# %% [stub]
def resnet_parameters(blocks, classes):
    """Learned numbers of a ResNet of bottlenecks.

    blocks : four ints   classes : int   returns : int
    """
    raise NotImplementedError

# %% [solution]
def resnet_parameters(blocks, classes):
    conv = lambda c_in, c_out, k: k * k * c_in * c_out + 2 * c_out  # and its batch norm
    total, c_in = conv(3, 64, 7), 64
    for stage in range(4):
        c = 64 * 2**stage
        for i in range(blocks[stage]):
            total += conv(c_in, c, 1) + conv(c, c, 3) + conv(c, 4 * c, 1)
            total += conv(c_in, 4 * c, 1) if i == 0 else 0  # the projection
            c_in = 4 * c
    return total + c_in * classes + classes

# %% [hints]
# Write a helper that counts one convolution with its batch norm, and walk through the network with the number of channels in hand.
# ---
# A $k\times k$ convolution from $a$ to $b$ channels with its batch norm: $k^2ab + 2b$. A block reads the channels that come in (64 at first, then four times the width of the block before) and gives back $4c$.
# ---
# ```python
# conv = lambda a, b, k: ____
# total, channels = conv(3, 64, 7), 64
# # four stages of width 64 · 2**stage; three convolutions a block; the first block of a
# # stage has a fourth; in the end 2,048 features meet the classes
# ```

# %% [answer]
# (a) $1\cdot4c\cdot c + 9\,c\cdot c + 1\cdot c\cdot4c = 17c^2$. Two 3 × 3 convolutions on $c$ channels have $18c^2$, so a bottleneck is about as dear as a basic block *of its narrow width* and carries four times as many channels from block to block; on $4c$ channels they would have $2\cdot9\cdot16c^2 = 288c^2$, seventeen times as many.
# What is given up: the 3 × 3, the only part that sees neighbours, works on $c$ channels.
#
# (b) $(k-1)g$ with $k = 3$ for the middle convolution and $k = 1$, which adds nothing, for the others: $2g$. Two 3 × 3 convolutions would add $4g$. Layers of a bottleneck count as depth and see no further.
#
# (c) The stem gives 64 channels and the first block gives back 256: shapes differ although sizes do not, and $x$ cannot be added. (A network of basic blocks, such as ResNet-18, has no projection there.)

# %% [markdown]
# ## 11. Recap
#
# You can now
# - compute a convolution, its output size and its receptive field, and test the last by a gradient;
# - say what a shortcut does to a product of Jacobians, what batch norm does, and why vanishing alone does not explain the degradation;
# - tell train mode from eval mode by the damage it does;
# - load published weights into a network of your own and prove that it is the same network;
# - choose features over logits, with a proof and a measurement;
# - say what makes a ResNet-50, and count it.
#
# `cmlib.report()` shows all lessons, with your points, on one page.

# %% [quiz]
# ? A layer has kernel 5, stride 2, padding 2 and an input of 32 × 32. How large is its output?
# - 15 × 15 :: You may have added the padding once. (32 + 2·2 − 5) // 2 + 1 = 15 + 1.
# + 16 × 16 :: (32 + 4 − 5) // 2 + 1 = 31 // 2 + 1 = 15 + 1 = 16: with padding (k − 1)/2, stride 2 halves the size.
# - 32 × 32 :: That would be stride 1: padding (k − 1)/2 keeps the size only then.
# - 14 × 14 :: That is the size without padding: (32 − 5) // 2 + 1 = 14.
# ? A colleague measures that the gradient at the first layer of a plain 64-layer stack is $10^{-26}$ and concludes: depth makes gradients vanish, so networks need shortcuts. What is wrong?
# - Nothing: that is why ResNets were invented :: The paper itself says that with batch norm plain gradients do not vanish; what it repairs is training.
# - It is a matter of the last layer's size :: One layer cannot give 26 powers of ten.
# + It may be the weights' size, not the depth: at He's size the same stack loses little more than one power of ten :: PyTorch's default multiplies by √(1/6) per layer; at He's size the shortcut is what makes gradients explode.
# ? You load published weights, forget model.eval(), and predict one picture at a time under torch.no_grad(). What happens?
# + Each picture is normalised by its own statistics, and the running averages are overwritten as well :: Both: the answers are poor now, and stay worse after switching to eval mode. no_grad stops gradients, not the bookkeeping of batch norm.
# - Nothing, since no_grad is on :: no_grad stops the recording of gradients; whether batch norm uses the batch is decided by the mode.
# - An error, since batch norm needs more than one picture :: With maps of several places there are enough values to normalise by, so nothing is raised.
# ? Why can no layer on top of the 10 logits do better, in the limit of much data, than the best one on top of the 64 features?
# - Because logits are noisier than features :: They are an exact function of the features; no noise is added.
# + Because the logits are a function of the features :: Whatever is computed from z = Wf + b can be computed from f by putting that layer first; the reverse fails along the 54 directions that W sends to zero.
# - Because softmax squashes them :: The probe saw the raw logits, before any softmax.

# %% [markdown]
# **Glossary**: *kernel*, the small window of weights · *stride*, pixels from one window to the next · *padding*, the frame of zeros · *equivariant*, moving with its input · *receptive field*, the input pixels that one number can depend on · *shortcut*,
# the path round a block · *He initialisation*, weights of variance 2/fan-in · *bottleneck*, 1 × 1, 3 × 3, 1 × 1 · *projection*, a learned shortcut that changes the shape · *running statistics*, batch norm's averages for eval mode · *linear probe*, a linear layer that asks what frozen features contain.
#
# **References**
# - K. He, X. Zhang, S. Ren, J. Sun, *Deep residual learning for image recognition*, CVPR 2016: degradation, shortcuts, and in section 4.2 the ResNet-20 of this lesson.
# - K. He, X. Zhang, S. Ren, J. Sun, *Delving deep into rectifiers*, ICCV 2015: the initialisation of section 5.
# - K. Simonyan, A. Zisserman, *Very deep convolutional networks for large-scale image recognition*, ICLR 2015: VGG. C. Szegedy et al., *Going deeper with convolutions*, CVPR 2015: Inception.
# - R. Zhang, *Making convolutional networks shift-invariant again*, ICML 2019: what strides do to shifts, and a cure.
# - Y. Idelbayev, *Proper ResNet implementation for CIFAR10/CIFAR100 in PyTorch*, 2018, BSD 2-Clause: the published weights.
# - S. Ioffe and C. Szegedy, *Batch normalization*, ICML 2015: the formula and its two modes.
# - A. Veit, M. Wilber, S. Belongie, *Residual networks behave like ensembles of relatively shallow networks*, NeurIPS 2016: the 2^L paths.
# - G. Yang et al., *A mean field theory of batch normalization*, ICLR 2019: why gradients explode in plain stacks with batch norm.
# - S. De and S. Smith, *Batch normalization biases residual blocks towards the identity function in deep networks*, NeurIPS 2020: why deep residual stacks start out shallow.
# - W. Luo, Y. Li, R. Urtasun, R. Zemel, *Understanding the effective receptive field in deep convolutional neural networks*, NeurIPS 2016: the bell shape.
# - A. Krizhevsky, *Learning multiple layers of features from tiny images*, 2009: CIFAR-10.

# %% [progress]
