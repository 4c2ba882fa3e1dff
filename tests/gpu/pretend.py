"""A device that is not there: its tensors lie in the CPU's memory and are marked, and an operation that mixes
marked and unmarked ones fails as it would on a GPU.

    with Pretended("mps") as gpu:
        model.to("mps")(batch.to("mps"))    # computed on the CPU; x.device says mps:0

The mark is on the memory and not on the Python object: a view, a Parameter around it or a deep copy cannot
lose it. What torch computes behind Python's back (gradients) is marked when it is first looked at.
"""

from __future__ import annotations

import contextlib

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode

# moving data between devices is what these are for
CROSSING = {"__deepcopy__", "__set__", "copy_", "swap_tensors"}
# these ask about types and identity, not about data
ASKING = {"is_", "is_same_size", "result_type", "can_cast", "_has_compatible_shallow_copy_type"}
# a tensor on a GPU may be indexed from the CPU, and lengths of rows stay on the CPU everywhere
PACKING = {"_pack_padded_sequence", "_pad_packed_sequence"}
FROM_THE_CPU = {"__getitem__", "__setitem__", "index_put_", "lstm", "gru", *PACKING}


class Pretended(TorchFunctionMode):
    """kind : a type of device that torch knows and this machine lacks; it exists within the block."""

    def __init__(self, kind: str = "mps"):
        super().__init__()
        self.device, self.marks = torch.device(kind, 0), {}

    def has(self, tensor: torch.Tensor) -> bool:
        key = _memory(tensor)
        return key is not None and key._cdata in self.marks

    def mark(self, value) -> None:
        for tensor in _tensors(value):
            memory = _memory(tensor)
            if memory is not None and memory._cdata not in self.marks:
                # a weak reference keeps the address from being used again
                self.marks[memory._cdata] = StorageWeakRef(memory)
        if len(self.marks) > 20_000:
            self.marks = {key: weak for key, weak in self.marks.items() if not weak.expired()}

    def means(self, where) -> bool | None:
        """Whether a device, a name or a tensor is (on) this device; None if it is none of these."""
        if isinstance(where, torch.Tensor):
            return self.has(where)
        if isinstance(where, str | torch.device):
            with contextlib.suppress(RuntimeError):
                kind = torch.device(where).type
                return None if kind == "meta" else kind == self.device.type  # a plan is nowhere
        return None

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs, name = dict(kwargs or {}), getattr(func, "__name__", "")
        owner = getattr(getattr(func, "__self__", None), "__name__", "")
        if name == "__get__":
            return self._attribute(func, owner, args)
        if name in ("to", "cpu") and isinstance(args[0], torch.Tensor):
            return self._moved(func, args, kwargs)
        if name in ("numpy", "__array__") and self.has(args[0]):
            raise TypeError(f"can't convert {self.device} tensor to numpy. Use Tensor.cpu() first.")
        wanted = self.means(kwargs.get("device"))
        if wanted is not None:
            kwargs["device"] = "cpu"
        here = self._refuse_mixed(name, args, kwargs)
        result = func(*args, **kwargs)
        if name not in CROSSING | ASKING and (here if wanted is None else wanted):
            self.mark(result[0] if name in PACKING else result)
        if name == "__deepcopy__" and self.has(args[0]):
            self.mark(result)
        return result

    def _attribute(self, func, owner, args):
        mine = self.has(args[0])
        if owner == "device" and mine:
            return self.device
        if owner in ("is_cuda", "is_mps") and mine:
            return owner == f"is_{self.device.type}"
        result = func(*args)
        if mine:  # a gradient, for example
            self.mark(result)
        return result

    def _moved(self, func, args, kwargs):
        tensor, rest, target = args[0], list(args[1:]), self.has(args[0])
        if func.__name__ == "cpu":
            target = False
        for place, value in [*enumerate(rest), *kwargs.items()]:
            where = None if isinstance(value, str) and value in ("", "none") else self.means(value)
            if where is None:
                continue
            target = where
            if not isinstance(value, torch.Tensor):
                (rest if isinstance(place, int) else kwargs)[place] = "cpu"
        result = func(tensor, *rest, **kwargs)
        if target != self.has(tensor) and _memory(result) is not None:
            if _same(result, tensor):  # torch sees nothing to do: it is on the CPU already
                result = result.clone()
            if target:
                self.mark(result)
        elif target:
            self.mark(result)
        return result

    def _refuse_mixed(self, name, args, kwargs) -> bool:
        """Whether an argument is on this device; RuntimeError if another one with rows is not."""
        given = list(_tensors((args, kwargs)))
        if name in CROSSING or name in ASKING:
            return False
        mine = [self.has(tensor) for tensor in given]
        if not any(mine):
            return False
        strangers = [t for t, is_mine in zip(given, mine, strict=True) if not is_mine and t.dim() > 0]
        if strangers and not (name in FROM_THE_CPU and mine[0]):
            shape = tuple(strangers[0].shape)
            raise RuntimeError(f"Expected all tensors to be on the same device, but {name} found "
                               f"{self.device} and cpu (shape {shape})")
        return True


def _tensors(value):
    if isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _tensors(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _memory(tensor):
    """The memory of a tensor; None if it has none of its own, as inside vmap."""
    try:
        return tensor.untyped_storage()
    except (RuntimeError, NotImplementedError):
        return None


def _same(one, other) -> bool:
    return _memory(one)._cdata == _memory(other)._cdata
