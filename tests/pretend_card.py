"""A device that is none: its tensors hold real numbers on the processor, and what a card would refuse is refused.

Code that mixes tensors of the card with those of the processor, or hands one of the card to numpy, fails here as it would
on a GPU, on a machine without one. It says nothing of kernels, precision or speed.
"""

import contextlib
import sys
from collections.abc import Iterator

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

aten = torch.ops.aten
#: A device type that torch knows, and that autograd serves with the processor's own thread.
DEVICE = torch.device("lazy", 0)
_COPIES = {aten._to_copy.default, aten.copy_.default, aten.lift_fresh.default}
#: Indices may be on the processor where values are on the card, as on a real one.
_INDEXING = {aten.index.Tensor, aten.index_put.default, aten.index_put_.default, aten._index_put_impl_.default}


class Card(torch.Tensor):
    """A tensor that says it is on the device."""

    held: torch.Tensor

    @staticmethod
    def __new__(cls, held):
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            layout=held.layout,
            device=DEVICE,
        )
        self.held = held
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})

    def tolist(self):
        return self.held.tolist()

    def numpy(self, *args, **kwargs):
        raise TypeError("can't convert a tensor of the card to numpy; use .cpu() first")

    __array__ = numpy

    # Only for writing and comparing: safetensors and pickle look at the storage.
    def untyped_storage(self):
        return self.held.untyped_storage()

    def data_ptr(self):
        return self.held.data_ptr()

    def __reduce_ex__(self, protocol):
        return self.held.detach().__reduce_ex__(protocol)


def _run(function, args, kwargs):
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    cards = any(isinstance(each, Card) for each in tensors)
    strangers = any(not isinstance(each, Card) and each.dim() > 0 for each in tensors)
    if cards and strangers and function not in _COPIES | _INDEXING:
        raise RuntimeError(f"expected all tensors to be on the same device ({function})")
    if cards and function in _INDEXING and not isinstance(args[0], Card):
        raise RuntimeError(f"indices are on the card, what they index is not ({function})")
    asked = kwargs.get("device")
    on_card = cards
    if asked is not None:
        on_card = torch.device(asked).type == DEVICE.type
        kwargs = {**kwargs, "device": torch.device("cpu") if on_card else asked}
    if function is aten.copy_.default:
        on_card = isinstance(args[0], Card)
    result = function(*tree_map(_held, args), **tree_map(_held, kwargs))
    name = function.overloadpacket.__name__
    if name.endswith("_") and not name.endswith("__") and isinstance(args[0], torch.Tensor):
        return args[0]
    return tree_map(lambda value: _wrapped(value) if on_card else value, result)


def _held(value):
    return value.held if isinstance(value, Card) else value


def _wrapped(value):
    plain = isinstance(value, torch.Tensor) and not isinstance(value, Card) and value.device.type == "cpu"
    return Card(value) if plain else value


class _Dispatch(TorchDispatchMode):
    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _run(function, args, kwargs or {})


class _Lifts(TorchFunctionMode):
    """What torch does below Python with lists: it makes tensors on the device, which there are no kernels for."""

    def __torch_function__(self, function, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if (
            function in (torch.tensor, torch.as_tensor)
            and torch.device(kwargs.get("device") or "cpu").type == DEVICE.type
        ):
            device, grad = kwargs.pop("device"), kwargs.pop("requires_grad", False)
            return function(*args, **kwargs).to(device).requires_grad_(grad)
        if function is torch.Tensor.__setitem__ and isinstance(args[0], Card) and isinstance(args[2], torch.Tensor):
            table, place, value = args
            if isinstance(place, int):
                return table.select(0, place).copy_(value)
            return table.index_put_((torch.tensor(place) if isinstance(place, list) else place,), value)
        if function is torch.Tensor.__getitem__ and isinstance(args[0], Card) and isinstance(args[1], list):
            return args[0].index_select(0, torch.tensor(args[1]).to(DEVICE))
        return function(*args, **kwargs)


def _without_inference_mode(monkeypatch) -> None:
    """Only gradients are off in such blocks: inference tensors cannot be wrapped."""

    def enter(self):
        self.instead = torch.no_grad()
        self.instead.__enter__()

    monkeypatch.setattr(torch.inference_mode, "__enter__", enter)
    monkeypatch.setattr(torch.inference_mode, "__exit__", lambda self, *error: self.instead.__exit__(*error))


@contextlib.contextmanager
def pretended(monkeypatch) -> Iterator[None]:
    """Inside the block, models are put on the device, and the Trainer trains there."""
    import accelerate
    import safetensors.torch
    import transformers

    import poisonsieve.models.lm.causal
    import poisonsieve.models.load
    import poisonsieve.tuning.trainer

    for module in (poisonsieve.models.load, poisonsieve.models.lm.causal):
        monkeypatch.setattr(module, "pick_device", lambda: DEVICE)
    arguments = transformers.TrainingArguments
    plain = arguments.__init__
    # The fused optimizer is a kernel of its own for each device.
    monkeypatch.setattr(arguments, "__init__", lambda self, **given: plain(self, **{**given, "optim": "adamw_torch"}))
    monkeypatch.setattr(arguments, "device", property(lambda self: (self._setup_devices, DEVICE)[1]))
    monkeypatch.setattr(accelerate.Accelerator, "device", property(lambda self: DEVICE))
    _without_inference_mode(monkeypatch)
    write = safetensors.torch.save_file

    def save_file(tensors, *args, **kwargs):
        return write({name: _held(value).detach().contiguous() for name, value in tensors.items()}, *args, **kwargs)

    for module in list(sys.modules.values()):
        for name in ("save_file", "safe_save_file"):
            if vars(module).get(name) is write:
                monkeypatch.setattr(module, name, save_file)
    with _Dispatch(), _Lifts():
        yield
