"""Programs that hard-code "cuda" run on the CPU where no GPU is used, and nothing changes where one is."""

from __future__ import annotations

import io
import operator
import timeit

import pytest
import torch
import torch.utils._device

from isaac_standin import devices

pytestmark = [
    pytest.mark.sim,
    pytest.mark.mujoco,
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:torch.set_default_tensor_type"),
]

CPU = torch.device("cpu")


@pytest.fixture
def said():
    """Redirect devices for the time of a test, and return the lines that were said."""
    lines: list[str] = []
    with devices.redirect(gpu=False, say=lines.append):
        yield lines


def zeros(rows: int, device: str):
    """Return zeros; TorchScript compiles it."""
    return torch.zeros(rows, 2, device=device)


def random(rows: int, device: torch.device):
    """Return zeros by way of several factories; TorchScript compiles it."""
    made = torch.rand(rows, 2, device=device) + torch.tensor([1.0, 2.0], device=device)
    return torch.zeros_like(made).to(device)


class Scaled(torch.nn.Module):
    """A module with a parameter and a buffer."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(3, 2)
        self.register_buffer("scale", torch.ones(2))

    def forward(self, x):
        """Return the scaled output."""
        return self.linear(x) * self.scale


@pytest.mark.parametrize("device", ["cuda", "cuda:0", "cuda:1", torch.device("cuda"), torch.device("cuda", 3), 0, 2])
def test_each_form_of_a_gpu_is_the_cpu(said, device):
    """Text, numbers and `torch.device` land on the CPU, in factories and in moves."""
    x = torch.arange(5, device=device)
    assert x.tolist() == [0, 1, 2, 3, 4]
    assert x.device == CPU
    assert x.to(device) is x
    assert x.to(device=device) is x
    assert x.to(device, torch.float64).dtype == torch.float64
    assert x.cuda(device) is x
    assert x.new_zeros(3, device=device).shape == (3,)


def test_what_is_no_gpu_is_unchanged(said):
    """The CPU, the meta device and None are left as they are, and a wrong name still fails."""
    assert torch.ones(2, device="meta").is_meta
    assert torch.ones(2, device=None).device == CPU
    assert torch.ones(2).to("cpu").device == CPU
    assert torch.ones(2).to(torch.float64).dtype == torch.float64
    assert torch.ones(2).to(torch.ones(3, dtype=torch.int32)).dtype == torch.int32
    with pytest.raises(RuntimeError):
        torch.ones(2, device="cudas")
    assert said == []


def test_the_list_of_factories_has_all_that_pytorch_lists():
    """Every function for which PyTorch's own default device counts is on our list."""
    ours = set()
    for name in devices.FACTORIES:
        ours.add(operator.attrgetter(name)(torch))
    missing = [function.__name__ for function in torch.utils._device._device_constructors() if function not in ours]
    assert missing == []


def test_modules_stay_on_the_cpu(said):
    """A module that is moved to a GPU in any way computes on the CPU."""
    for module in (Scaled().to("cuda:0"), Scaled().to(1), Scaled().cuda(), torch.nn.Linear(3, 2, device="cuda")):
        assert module(torch.ones(4, 3, device="cuda")).device == CPU
        assert {parameter.device for parameter in module.parameters()} == {CPU}


def test_scripted_functions_take_a_gpu():
    """TorchScript's functions get the CPU as argument, and functions that are scripted later still compile."""
    scripted_before = torch.jit.script(zeros)
    with devices.redirect(gpu=False, say=len):
        scripted_after = torch.jit.script(random)
        assert scripted_before(3, "cuda:0").shape == (3, 2)
        assert scripted_before(rows=3, device="cuda").device == CPU
        assert scripted_after(7, torch.device("cuda")).shape == (7, 2)


def test_a_scripted_module_is_saved_and_loaded_for_a_gpu(said):
    """`torch.jit.load` with and without `map_location`, and `.to` of what was loaded."""
    written = io.BytesIO()
    torch.jit.save(torch.jit.script(Scaled()), written)
    for options in ({}, {"map_location": "cuda:0"}, {"map_location": torch.device("cuda")}):
        written.seek(0)
        loaded = torch.jit.load(written, **options).to("cuda").cuda()
        assert loaded(torch.ones(5, 3)).shape == (5, 2)


@pytest.mark.parametrize(
    "location",
    ["cuda", torch.device("cuda:1"), {"cuda:1": "cuda:0"}, lambda storage, where: storage.cuda(0), None],
)
def test_checkpoints_are_loaded_to_the_cpu(said, monkeypatch, location):
    """A file that was written on a GPU is read to the CPU, with all forms of `map_location` and without it."""
    written = io.BytesIO()
    with monkeypatch.context() as patch:
        patch.setattr(torch.serialization, "location_tag", lambda storage: "cuda:2")
        torch.save({"weights": torch.arange(3)}, written)
    written.seek(0)
    assert torch.load(written, map_location=location)["weights"].tolist() == [0, 1, 2]


def test_defaults_and_generators(said):
    """Default device, default type and generators of a GPU are those of the CPU."""
    torch.set_default_device("cuda")
    try:
        assert torch.zeros(2).device == CPU
    finally:
        torch.set_default_device(None)
    with torch.device("cuda"):
        assert torch.zeros(2).device == CPU
    generator = torch.Generator(device="cuda").manual_seed(3)
    expected = torch.rand(2, generator=torch.Generator().manual_seed(3))
    assert torch.equal(torch.rand(2, generator=generator, device="cuda"), expected)
    assert isinstance(torch.default_generator, torch.Generator)
    assert torch.cuda.FloatTensor(4).device == CPU
    assert torch.ones(2).type("torch.cuda.LongTensor").dtype == torch.int64


def test_calls_of_torch_cuda_do_nothing(said):
    """Choosing a GPU, waiting for it, seeding it and emptying its cache are no errors."""
    torch.cuda.set_device(1)
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.manual_seed(1)
    torch.cuda.manual_seed_all(1)
    with torch.cuda.device(0):
        assert torch.ones(2, pin_memory=True).pin_memory().device == CPU
    assert torch.zeros(2, device=f"cuda:{torch.cuda.current_device()}").device == CPU


def test_one_line_names_the_first_place(said):
    """The line is said once, and names the line of the program."""
    line = test_one_line_names_the_first_place.__code__.co_firstlineno + 3
    torch.zeros(2, device="cuda")
    torch.zeros(2, device="cuda")
    assert len(said) == 1
    assert f"{__file__}:{line})" in said[0]


def test_a_redirection_is_undone():
    """Afterwards PyTorch is what it was: the same functions, and no GPU."""
    places = [(torch, "zeros"), (torch, "load"), (torch, "Generator"), (torch.cuda, "device"), (torch.nn.Module, "to")]
    places += [(torch.Tensor, "to"), (torch.Tensor, "cuda"), (torch.jit, "load"), (torch.cuda, "FloatTensor")]
    before = [getattr(owner, name) for owner, name in places]
    own = set(vars(torch.Tensor))
    known_to_torchscript = dict(torch.jit._builtins._get_builtin_table())
    with devices.redirect(gpu=False, say=len) as redirection:
        changed = [getattr(owner, name) is not was for (owner, name), was in zip(places, before, strict=True)]
        redirection.undo()
    assert all(changed)
    assert [getattr(owner, name) for owner, name in places] == before
    assert set(vars(torch.Tensor)) == own
    assert torch.jit._builtins._get_builtin_table() == known_to_torchscript
    if not torch.cuda.is_available():
        with pytest.raises((AssertionError, RuntimeError)):
            torch.zeros(2, device="cuda")


def test_a_second_redirection_is_the_first(said):
    """Redirecting again does not wrap functions twice."""
    zeros = torch.zeros
    assert devices.redirect(gpu=False) is devices.redirect(gpu=False)
    assert torch.zeros is zeros


def test_nothing_is_touched_where_a_gpu_is_used():
    """With a GPU, every function of PyTorch is its own."""
    functions = (torch.zeros, torch.Tensor.to, torch.load, torch._C.ScriptFunction.__call__, torch.cuda.synchronize)
    with devices.redirect(gpu=True):
        now = (torch.zeros, torch.Tensor.to, torch.load, torch._C.ScriptFunction.__call__, torch.cuda.synchronize)
        assert now == functions


def test_operations_on_tensors_cost_no_more(said):
    """An addition is PyTorch's own function, and a factory costs less than 10 us more."""
    assert torch.Tensor.add is torch._C.TensorBase.add
    assert torch.Tensor.__add__ is torch._C.TensorBase.__add__
    original = torch.zeros.__wrapped__
    redirected = min(timeit.repeat(lambda: torch.zeros(64, 8, device="cuda"), number=200, repeat=5)) / 200
    direct = min(timeit.repeat(lambda: original(64, 8, device="cpu"), number=200, repeat=5)) / 200
    assert redirected - direct < 1e-5
