"""How a sentence speaks of a piece of the reference without giving it away, and what calls are called."""

from __future__ import annotations

import ast
from dataclasses import dataclass

# what is missing where a call is replaced by what it is done to: (kind, word)
MISSING = {
    "sqrt": ("power", "square root"), "log": ("power", "logarithm"), "exp": ("power", "exp"),
    "square": ("power", "square"), "abs": ("power", "absolute value"), "log1p": ("power", "log(1 + …)"),
    "log2": ("power", "logarithm"), "softmax": ("step", "softmax"), "log_softmax": ("step", "log_softmax"),
    "sigmoid": ("step", "sigmoid"), "logsigmoid": ("step", "logarithm of the sigmoid"),
    "relu": ("step", "relu"), "gelu": ("step", "GELU"), "tanh": ("step", "tanh"),
    "softplus": ("step", "softplus"), "clamp": ("step", "bound (clamp)"),
    "clamp_min": ("step", "bound (clamp)"), "nan_to_num": ("step", "replacement of nan"),
    "round": ("rounding", "rounding"), "floor": ("rounding", "rounding down"),
    "ceil": ("rounding", "rounding up"), "int": ("rounding", "cut to a whole number"),
    "transpose": ("transpose", "transpose"), "t": ("transpose", "transpose"),
    "permute": ("transpose", "change of dimensions"), "masked_fill": ("mask", "mask"),
    "flip": ("order", "flip"), "sorted": ("order", "sorting"), "sort": ("order", "sorting"),
    "reversed": ("order", "reversal"), "cumsum": ("step", "cumsum"), "pad": ("step", "padding"),
    "unique": ("step", "reduction to different ones"), "set": ("step", "reduction to different ones"),
    "norm": ("step", "norm"), "layer_norm": ("step", "layer norm"), "batch_norm": ("step", "batch norm"),
    "normalize": ("step", "division by the length"), "strip": ("step", "strip()"),
    "lower": ("step", "lower()"), "removeprefix": ("step", "removal of what stands in front"),
    "mean": ("reduction", "mean"), "sum": ("reduction", "sum"), "conv2d": ("step", "convolution"),
    "logsumexp": ("step", "logsumexp"), "linear": ("step", "linear map"),
}  # fmt: skip
# what is written in the place of a call: (kind, other calls)
OTHERS = {
    "mean": ("reduction", "sum", "amax"), "sum": ("reduction", "mean", "amax", "prod"),
    "amax": ("reduction", "mean", "amin", "sum"), "amin": ("reduction", "amax"), "max": ("reduction", "min"),
    "min": ("reduction", "max"), "maximum": ("reduction", "minimum"), "minimum": ("reduction", "maximum"),
    "argmax": ("order", "argmin"), "argmin": ("order", "argmax"), "argsort": ("order", "sort"),
    "logsumexp": ("step", "sum", "amax", "mean"),
    "softmax": ("step", "log_softmax", "sigmoid", "exp"), "log_softmax": ("step", "softmax", "logsigmoid"),
    "sigmoid": ("step", "tanh", "logsigmoid", "relu"), "logsigmoid": ("step", "sigmoid", "softplus"),
    "tanh": ("step", "sigmoid"), "relu": ("step", "gelu", "sigmoid", "abs"),
    "gelu": ("step", "relu", "silu", "sigmoid", "tanh"), "softplus": ("step", "relu", "sigmoid", "exp"),
    "var": ("power", "std"), "std": ("power", "var"), "sqrt": ("power", "square"),
    "square": ("power", "sqrt", "abs"), "log": ("power", "log2", "log10", "log1p"),
    "exp": ("power", "expm1", "exp2"), "logaddexp": ("step", "maximum"), "sin": ("step", "cos"),
    "cos": ("step", "sin"), "any": ("step", "all"), "all": ("step", "any"),
    "floor": ("rounding", "ceil", "round"), "ceil": ("rounding", "floor", "round"),
    "round": ("rounding", "floor", "ceil", "int"), "startswith": ("order", "endswith"),
    "zeros": ("step", "ones"), "ones": ("step", "zeros"), "zeros_like": ("step", "ones_like"),
    "ones_like": ("step", "zeros_like"), "tril": ("mask", "triu"), "triu": ("mask", "tril"),
    "avg_pool2d": ("reduction", "max_pool2d"), "max_pool2d": ("reduction", "avg_pool2d"),
    "layer_norm": ("step", "normalize"), "cumsum": ("step", "cumprod"),
}  # fmt: skip
POOLS = ("mean", "sum", "amax", "amin", "var", "std", "norm", "any", "all", "max", "min")
# calls whose whole numbers are dimensions
ALONG = {*POOLS, "argmax", "argmin", "softmax", "log_softmax", "cumsum", "cat", "stack", "flip", "sort",
         "argsort", "prod", "logsumexp", "unsqueeze", "normalize", "roll", "transpose", "median", "cumprod"}
MODULES = ("torch", "F", "functional", "math", "layers", "losses", "nn", "np")
NAMED = {"amax": "a maximum", "amin": "a minimum", "max": "a maximum", "min": "a minimum"}


def a(name: str) -> str:
    return NAMED.get(name) or f"{'an' if name[0] in 'aeio' else 'a'} {name}"


def called(node: ast.Call) -> str:
    return getattr(node.func, "attr", "") or getattr(node.func, "id", "")


@dataclass(frozen=True)
class Scene:
    """Where a slip is made.

    parameters : of the exercise, the only names that a sentence may use
    own : of this function; local : what it binds itself, with the expression where there is only one
    texts : the texts in it; operands : the names that something is done to in arithmetic
    origins : local name → the parameters that it is made of
    """

    parameters: tuple[str, ...]
    own: tuple[str, ...] = ()
    local: dict = None
    texts: tuple[str, ...] = ()
    operands: frozenset = frozenset()
    origins: dict = None

    def __call__(self, node, bare="a term") -> str:
        """An expression in words."""
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return self(node.operand, bare)
        if isinstance(node, ast.Constant):
            return repr(node.value) if isinstance(node.value, (int, float)) else "a text"
        if isinstance(node, ast.Name) and node.id in self.parameters:
            return f"`{node.id}`"
        names = self.names(node) or self.origin(node)
        of = f" with {' and '.join(names[:3])}" if names else ""
        if isinstance(node, ast.Call):
            name = called(node)
            if name == "len":
                return f"the length of {names[0]}" if names else "a length"
            if name in MISSING:
                return f"the {MISSING[name][1]}{of}"
        if any(isinstance(n, ast.Attribute) and n.attr == "shape" for n in ast.walk(node)):
            return f"a size of {names[0]}" if len(names) == 1 else "a size"
        return f"{bare}{of}"

    def names(self, node) -> list[str]:
        return list(dict.fromkeys(f"`{n.id}`" for n in ast.walk(node)
                                  if isinstance(n, ast.Name) and n.id in self.parameters))

    def origin(self, node) -> list[str]:
        """The parameters that the local names are made of, where they are one or two."""
        found = dict.fromkeys(f"`{name}`" for n in ast.walk(node) if isinstance(n, ast.Name)
                              for name in (self.origins or {}).get(n.id, ()))
        return list(found) if len(found) <= 2 else []

    def near(self, node) -> str:
        names = (self.names(node) or self.origin(node))[:2]
        return f" (where {' and '.join(names)} enter{'s' * (len(names) == 1)})" if names else ""
