"""A pretended GPU: tensors that say they are on ``cuda:0`` and live in the processor's memory.

To torch's C++ they are ``meta`` tensors, which its autograd and transforms take on any build; each operation reaches
:func:`_run`, which computes on the values inside. So a run there has the digits of a run on the CPU, while

- an operation that mixes devices raises, as on a GPU (a CPU tensor of no dimension is a number, and may join);
- an operation for which the host waits on a GPU is written down in ``Pretended.waits``, with the line that asked;
- generators, ``torch.cuda``'s clocks and memory, and pickles know the device.

What it cannot see: kernels, their order of additions, and speed.
"""

import contextlib
import linecache
import sys
from pathlib import Path
from unittest import mock

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

CUDA, CPU = torch.device("cuda", 0), torch.device("cpu")

# On a GPU the host waits for their result: sizes that depend on data, checks of a factorisation, numbers
WAITING = (
    "_local_scalar_dense", "_linalg_check_errors", "_unique", "_unique2", "allclose", "bincount", "equal", "histc",
    "is_nonzero", "linalg_lstsq", "masked_select", "nonzero", "unique_consecutive", "unique_dim",
)  # fmt: skip
_COPIES = ("_to_copy", "copy_")
_INDEXING = ("index", "index_put", "index_put_", "_unsafe_index")
_STAGED = 64 * 1024  # bytes: such a copy to the device is queued, a larger one may wait


class OnCuda(torch.Tensor):
    """A tensor of the pretended device; ``inner`` holds its values."""

    device = property(lambda self: CUDA)
    is_cuda = property(lambda self: True)
    __torch_function__ = torch._C._disabled_torch_function_impl

    @staticmethod
    def __new__(cls, inner):
        found = torch.Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device="meta",
        )  # fmt: skip
        found.inner = inner
        return found

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})

    def __repr__(self, **_):
        return f"OnCuda({self.inner})"

    def __reduce_ex__(self, protocol):
        return _unpickled, (self.inner, self.requires_grad)


def _unpickled(inner, requires_grad):
    return OnCuda(inner).requires_grad_(requires_grad)


def _named(device):
    """Return the pretended device for every way to say ``cuda``, or what was said."""
    if isinstance(device, str | torch.device):
        kind = torch.device(device).type
        return CUDA if kind in ("cuda", "meta") else device
    return device


class Generator(torch.Generator):
    """A generator that says where it is; its numbers are the CPU's."""

    def __new__(cls, device="cpu"):
        found = super().__new__(cls)
        found.place = torch.device(_named(device))
        return found

    device = property(lambda self: self.place)

    def set_state(self, state):
        if isinstance(state, OnCuda):
            raise TypeError("RNG state must be a torch.ByteTensor")
        return super().set_state(state)


_active = []


def _wait(why):
    """Write down that the host waits, and the line of ours that asked."""
    frame = sys._getframe(1)
    while frame is not None and not any(top in frame.f_code.co_filename for top in ("/rebel_theory/", "/rebel_bench/")):
        frame = frame.f_back
    if _active:
        place = "the test" if frame is None else f"{Path(frame.f_code.co_filename).name}:{frame.f_lineno}"
        line = "" if frame is None else linecache.getline(frame.f_code.co_filename, frame.f_lineno).strip()
        _active[-1].waits.append(f"{why} at {place}: {line}")


def _each(of, x):
    """Return arguments or results with ``of`` applied to their tensors."""
    if isinstance(x, torch.Tensor):
        return of(x)
    if isinstance(x, list | tuple):
        return type(x)([_each(of, y) for y in x])
    return {k: _each(of, y) for k, y in x.items()} if isinstance(x, dict) else x


def _run(func, args, kwargs):
    """Return an operation on the values inside, or raise what a GPU's would."""
    name = func.overloadpacket.__name__
    tensors = []
    _each(tensors.append, (args, kwargs))
    there = [isinstance(x, OnCuda) for x in tensors]
    to = kwargs.get("device")
    result_there = any(there) if to is None else torch.device(_named(to)).type == "cuda"
    if name in _COPIES:
        source = args[1] if name == "copy_" else args[0]
        result_there = there[0] if name == "copy_" else result_there
        if isinstance(source, OnCuda) != result_there:
            queued = (args[2:] or (kwargs.get("non_blocking", False),))[0]
            if not (queued and result_there and source.nbytes <= _STAGED):
                _wait(f"a copy to the {'device' if result_there else 'host'}")
    elif name in _INDEXING:
        indices = [x for x in args[1] if x is not None]
        if any(x.dtype in (torch.bool, torch.uint8) for x in indices):
            _wait(f"{name} with a mask")
        if any(there) and not all(isinstance(x, OnCuda) for x in indices):
            _wait(f"{name} with an index from the host")
    elif any(there) and any(x.dim() for x, t in zip(tensors, there, strict=True) if not t):
        raise RuntimeError(f"{func}: expected all tensors to be on the same device, found cpu and cuda:0")
    elif any(there) and (name in WAITING or (name == "repeat_interleave" and kwargs.get("output_size") is None)):
        _wait(name)
    if to is not None:
        kwargs = {**kwargs, "device": CPU}
    inner_args, inner_kwargs = _each(lambda x: x.inner if isinstance(x, OnCuda) else x, (args, kwargs))
    if "non_blocking" in inner_kwargs:
        inner_kwargs = {**inner_kwargs, "non_blocking": False}
    if name == "_to_copy" and isinstance(args[0], OnCuda) != result_there:
        found = func(*inner_args, **inner_kwargs).clone()
    else:
        found = func(*inner_args, **inner_kwargs)
    known = {id(x.inner): x for x in tensors if isinstance(x, OnCuda)}  # in place, the tensor itself comes back

    def outside(x):
        return known[id(x)] if id(x) in known else OnCuda(x)

    return _each(outside, found) if result_there else found


class _Operations(TorchDispatchMode):
    """What has no tensor of the device among its arguments: it is made there."""

    def __init__(self):
        super().__init__()
        self._mode_key = torch._C._TorchDispatchModeKey.FAKE  # or torch would look for a driver

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Words(TorchFunctionMode):
    """``cuda`` by any name, and what C++ would refuse of a ``meta`` tensor."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = {k: _named(v) if k == "device" else v for k, v in (kwargs or {}).items()}
        name = getattr(func, "__name__", "")
        if args and isinstance(args[0], OnCuda):
            if name == "tolist":
                return args[0].cpu().tolist()
            if name == "new_tensor":
                return torch.tensor(*args[1:], **{"dtype": args[0].dtype, "device": CUDA, **kwargs})
        if name == "to":
            args = (args[0], *(_named(x) for x in args[1:]))
        stream = kwargs.get("generator")
        if isinstance(stream, torch.Generator):  # here, for C++ makes a new object of it
            known = [CUDA] * any(isinstance(x, OnCuda) for x in args)
            place = torch.device(kwargs["device"]) if kwargs.get("device") is not None else (known or [CPU])[0]
            if getattr(stream, "device", CPU).type != place.type:
                raise RuntimeError(f"{name}: a generator on {stream.device} for a tensor on {place}")
        return func(*args, **kwargs)


class Pretended(contextlib.ExitStack):
    """``with Pretended() as gpu``: a machine with one GPU; ``gpu.waits`` lists what the host waited for."""

    def __init__(self):
        super().__init__()
        self.waits = []
        self.autocasts = []
        self.asked = []  # of torch.cuda

    def __enter__(self):
        super().__enter__()
        lifted = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)
        self.callback(torch._C._set_only_lift_cpu_tensors, lifted)

        def asked(name, value):
            def answer(device=None, *_, **__):
                self.asked.append((name, str(device)))
                return value

            return mock.patch.object(torch.cuda, name, answer)

        def autocast(kind, dtype=None, enabled=True):
            if enabled:
                self.autocasts.append((kind, dtype))
            return contextlib.nullcontext()

        for patch in (
            mock.patch.object(torch, "Generator", Generator),
            mock.patch.object(torch, "autocast", autocast),
            asked("is_available", True), asked("synchronize", None), asked("get_device_name", "a pretended GPU"),
            asked("reset_peak_memory_stats", None), asked("max_memory_allocated", 3_000_000),
            asked("memory_allocated", 1_000_000), asked("empty_cache", None),
        ):  # fmt: skip
            self.enter_context(patch)
        self.enter_context(_Operations())
        self.enter_context(_Words())
        _active.append(self)
        self.callback(_active.pop)
        return self
