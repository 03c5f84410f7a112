"""Where no GPU can be used, run programs that hard-code "cuda" on the CPU.

    with redirect(gpu=False):
        torch.zeros(3, device="cuda:0")  # is on the CPU

The functions of PyTorch that take a device are replaced by functions that turn "cuda", "cuda:1", `torch.device("cuda")`
and GPU numbers into "cpu". The alternative, a `TorchFunctionMode`, would cost 2 to 4 us at every call of PyTorch, even
at `x.shape`. Time of a call [us], on one core of a shared machine, with tensors of shape (64, 8):

    call                              PyTorch   redirected   with a mode
    torch.zeros(64, 8, device="cpu")      2.8          3.3           5.1
    a.to("cpu")                           0.7          1.8           4.7
    a + b                                 3.0          2.7           5.0
    a.shape                               0.1          0.1           3.3

    python -m timeit -s "import torch; from isaac_standin import devices; devices.redirect(gpu=False)" \
        "torch.zeros(64, 8, device='cpu')"

What cannot be redirected:

- `torch.device("cuda")` is still a CUDA device, and tensors say that they are on "cpu": `str(x.device) == "cuda"`,
  `x.is_cuda` and `x.device == torch.device("cuda")` are false.
- "cuda" that is written inside a TorchScript function or file; as its argument it is redirected.
- functions that were taken from PyTorch before, as `from torch import zeros` does ahead of `import isaacgym`.
- streams, events, graphs, and questions about the GPU, such as `torch.cuda.is_available()`: PyTorch answers them, or
  raises its own errors.
"""

from __future__ import annotations

import contextlib
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.jit._builtins
import torch.utils._device

from mapush.device.gpu_errors import hide_gpu

# by name: functions of torch that take `device` as a keyword
FACTORIES = (
    *("arange", "as_tensor", "asarray", "bartlett_window", "blackman_window", "empty", "empty_like", "empty_permuted"),
    *(
        "empty_quantized",
        "empty_strided",
        "eye",
        "from_file",
        "full",
        "full_like",
        "hamming_window",
        "hann_window",
        "kaiser_window",
    ),
    *("linspace", "logspace", "nested.nested_tensor", "normal", "ones", "ones_like", "rand", "rand_like", "randint"),
    *("randint_like", "randn", "randn_like", "randperm", "range", "scalar_tensor", "sparse_bsc_tensor"),
    *("sparse_bsr_tensor", "sparse_compressed_tensor", "sparse_coo_tensor", "sparse_csc_tensor", "sparse_csr_tensor"),
    *("tensor", "tril_indices", "triu_indices", "vander", "zeros", "zeros_like", "fft.fftfreq", "fft.rfftfreq"),
)
NEW_METHODS = ("new_empty", "new_empty_strided", "new_full", "new_ones", "new_tensor", "new_zeros")
DONE_ALREADY = ("set_device", "synchronize", "reset_peak_memory_stats", "reset_max_memory_allocated")
TYPES = (
    *("BoolTensor", "ByteTensor", "CharTensor", "DoubleTensor", "FloatTensor", "HalfTensor", "IntTensor"),
    *("LongTensor", "ShortTensor"),
)
_NOT_THE_PROGRAM = (str(Path(torch.__file__).parent), str(Path(__file__).parent))
_MISSING = object()

Say = Callable[[str], Any]


class Redirection:
    """What was replaced in PyTorch; as a context manager it ends with the block.

    Args:
      say: is called with one line when a device is redirected for the first time.
    """

    def __init__(self, say: Say) -> None:
        self._say: Say | None = say
        self._replaced: list[tuple[Any, str, Any]] = []
        self._scripted: list[int] = []

    def __enter__(self) -> Redirection:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None):
        self.undo()

    def undo(self) -> None:
        """Restore PyTorch; harmless if it was restored already."""
        global _active
        while self._replaced:
            owner, name, original = self._replaced.pop()
            if original is _MISSING:
                delattr(owner, name)  # it was inherited
            else:
                setattr(owner, name, original)
        table = torch.jit._builtins._get_builtin_table()
        for key in self._scripted:
            del table[key]
        self._scripted.clear()
        if _active is self:
            _active = None
            hide_gpu(None)

    def replace(self, owner: Any, name: str, wrap: Callable[[Redirection, Any], Any]) -> None:
        """Replace an attribute by what `wrap` makes of it."""
        original = getattr(owner, name)
        replacement = wrap(self, original)
        self._replaced.append((owner, name, vars(owner).get(name, _MISSING)))
        setattr(owner, name, replacement)
        builtin = torch.jit._builtins._find_builtin(original)
        if builtin is not None:  # so that TorchScript still knows the function
            torch.jit._builtins._register_builtin(replacement, builtin)
            self._scripted.append(id(replacement))

    def device(self, device: Any) -> Any:
        """Return "cpu" for a CUDA device, and anything else unchanged."""
        if not is_cuda(device):
            return device
        self.note()
        return "cpu"

    def note(self) -> None:
        """Say once that the program uses the CPU, and where it first asked for a GPU."""
        if self._say is not None:
            say, self._say = self._say, None
            say(f'isaac_standin: no GPU is used: what the program puts on "cuda" is on the CPU (first at {_caller()})')


_active: Redirection | None = None


def redirect(*, gpu: bool, say: Say | None = None) -> Redirection:
    """Redirect "cuda" to the CPU in this process, unless a GPU is used; a second call changes nothing.

    Args:
      gpu: whether a GPU is used; then nothing is touched.
      say: is called once with a line that says so; by default it is printed to stderr.

    Returns:
      what was replaced, to undo it.
    """
    global _active
    if gpu:
        return Redirection(_print)
    if _active is not None:
        return _active
    redirection = Redirection(say or _print)
    torch.jit._builtins._get_builtin_table()  # PyTorch lists its functions at the first use; that must come before
    torch.utils._device._device_constructors()
    try:
        for part in (_redirect_tensors, _redirect_files, _redirect_scripts, _redirect_defaults, _redirect_cuda):
            part(redirection)
    except BaseException:
        redirection.undo()
        raise
    _active = redirection
    hide_gpu("in this process, the stand-in for Isaac Gym puts on the CPU what is meant for a GPU")
    return redirection


def is_cuda(device: Any) -> bool:
    """Return whether `device` is a GPU, in any form that PyTorch accepts: text, number or `torch.device`."""
    if isinstance(device, str):
        return device == "cuda" or device.startswith("cuda:")
    if isinstance(device, torch.device):
        return device.type == "cuda"
    return isinstance(device, int) and not isinstance(device, bool)


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _caller() -> str:
    """Return file and line of the program that called PyTorch."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_NOT_THE_PROGRAM):
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _redirect_tensors(redirection: Redirection) -> None:
    """Redirect what makes, moves and pins tensors. `Module.to` and `Module.cuda` call these for each parameter."""
    for name in FACTORIES:
        owner: Any = torch
        *modules, function = name.split(".")
        for module in modules:
            owner = getattr(owner, module)
        redirection.replace(owner, function, _by_keyword)
    for name in NEW_METHODS:
        redirection.replace(torch.Tensor, name, _by_keyword)
    redirection.replace(torch.Tensor, "to", _by_position)
    redirection.replace(torch.nn.Module, "to", _by_position)
    redirection.replace(torch.Tensor, "type", _cast)
    for owner in (torch.Tensor, torch.UntypedStorage, torch.storage.TypedStorage):
        redirection.replace(owner, "cuda", _stay)
    redirection.replace(torch.Tensor, "pin_memory", _stay)


def _by_keyword(redirection: Redirection, original: Any) -> Any:
    @functools.wraps(original)
    def made(*args: Any, **kwargs: Any) -> Any:
        if "device" in kwargs:
            kwargs["device"] = redirection.device(kwargs["device"])
        if "pin_memory" in kwargs:
            kwargs["pin_memory"] = False  # memory can be pinned only for a GPU
        return original(*args, **kwargs)

    return made


def _by_position(redirection: Redirection, original: Any) -> Any:
    @functools.wraps(original)
    def moved(self: Any, *args: Any, **kwargs: Any) -> Any:
        if args:
            args = (redirection.device(args[0]), *args[1:])
        elif "device" in kwargs:
            kwargs["device"] = redirection.device(kwargs["device"])
        return original(self, *args, **kwargs)

    return moved


def _cast(_: Redirection, original: Any) -> Any:
    @functools.wraps(original)
    def typed(self: Any, dtype: Any = None, *args: Any, **kwargs: Any) -> Any:
        return original(self, _cpu_type(dtype), *args, **kwargs)

    return typed


def _stay(redirection: Redirection, original: Any) -> Any:
    @functools.wraps(original)
    def stayed(self: Any, *_: Any, **__: Any) -> Any:
        redirection.note()
        return self

    return stayed


def _redirect_files(redirection: Redirection) -> None:
    """Read what was saved on a GPU, with or without `map_location`, to the CPU."""
    redirection.replace(torch, "load", _on_cpu)
    redirection.replace(torch.jit, "load", _on_cpu)


def _on_cpu(redirection: Redirection, original: Any) -> Any:
    @functools.wraps(original)
    def loaded(f: Any, map_location: Any = None, *args: Any, **kwargs: Any) -> Any:
        if map_location is None or isinstance(map_location, dict):
            map_location = "cpu"
        return original(f, redirection.device(map_location), *args, **kwargs)

    return loaded


def _redirect_scripts(redirection: Redirection) -> None:
    """Redirect the devices among the arguments of TorchScript functions and methods."""
    redirection.replace(torch._C.ScriptFunction, "__call__", _with_cpu)
    redirection.replace(torch._C.ScriptMethod, "__call__", _with_cpu)


def _with_cpu(redirection: Redirection, original: Any) -> Any:
    def called(self: Any, *args: Any, **kwargs: Any) -> Any:
        redirected = []
        for value in args:
            redirected.append(_named_device(redirection, value))
        for name, value in kwargs.items():
            kwargs[name] = _named_device(redirection, value)
        return original(self, *redirected, **kwargs)

    return called


def _named_device(redirection: Redirection, value: Any) -> Any:
    """Redirect text and `torch.device`; a number among any arguments is a number."""
    if isinstance(value, int) or not is_cuda(value):
        return value
    redirection.note()
    if isinstance(value, str):
        return "cpu"
    return torch.device("cpu")


def _redirect_defaults(redirection: Redirection) -> None:
    """Redirect default devices, default types, and generators of random numbers."""
    redirection.replace(torch.utils._device.DeviceContext, "__init__", _by_position)
    redirection.replace(torch, "set_default_device", _default_device)
    redirection.replace(torch, "set_default_tensor_type", _default_type)
    redirection.replace(torch, "Generator", _generator)


def _default_device(redirection: Redirection, original: Any) -> Any:
    @functools.wraps(original)
    def set_default_device(device: Any) -> None:
        original(redirection.device(device))

    return set_default_device


def _default_type(_: Redirection, original: Any) -> Any:
    @functools.wraps(original)
    def set_default_tensor_type(t: Any) -> None:
        original(_cpu_type(t))

    return set_default_tensor_type


def _cpu_type(dtype: Any) -> Any:
    """Return "torch.FloatTensor" for "torch.cuda.FloatTensor", and anything else unchanged."""
    if isinstance(dtype, str):
        return dtype.replace("torch.cuda.", "torch.")
    return dtype


def _generator(redirection: Redirection, original: Any) -> Any:
    """Return a class that makes generators on the CPU, and of which each generator is an instance."""

    class InstancesOfOriginal(type(original)):  # type: ignore[misc]  # known only when it runs
        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, original)

    class Generator(original, metaclass=InstancesOfOriginal):  # type: ignore[misc]
        def __new__(cls, device: Any = "cpu") -> Any:
            return original(redirection.device(device))

    return Generator


def _redirect_cuda(redirection: Redirection) -> None:
    """Let the calls of `torch.cuda` that only choose a GPU or wait for it do nothing."""
    for name in DONE_ALREADY:
        redirection.replace(torch.cuda, name, _nothing)
    redirection.replace(torch.cuda, "current_device", _first)
    redirection.replace(torch.cuda, "device", _no_context)
    for name in TYPES:
        redirection.replace(torch.cuda, name, functools.partial(_type_on_cpu, name=name))


def _nothing(redirection: Redirection, original: Any) -> Any:
    @functools.wraps(original)
    def done(*_: Any, **__: Any) -> None:
        redirection.note()

    return done


def _first(redirection: Redirection, original: Any) -> Any:
    @functools.wraps(original)
    def current_device() -> int:
        redirection.note()
        return 0

    return current_device


def _no_context(_: Redirection, __: Any) -> Any:
    return contextlib.nullcontext


def _type_on_cpu(_: Redirection, __: Any, *, name: str) -> Any:
    return getattr(torch, name)
