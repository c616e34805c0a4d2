"""Networks to and from PyTorch: outputs, training that continues, and modules that cannot become networks."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest
from gradient_cases import ACTIVATIONS, LAYERS, PLACES, LayerCase
from hypothesis import given, settings
from hypothesis import strategies as st

import nnfast as nf
from nnfast.cli import main
from nnfast.optimizers import OPTIMIZERS
from nnfast.sequential import network_of

torch = pytest.importorskip("torch", reason="networks to and from PyTorch need torch")
from torch import nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from nnfast.files.pytorch import export  # noqa: E402

DTYPES = ("float32", "float64")
CLOSE = {"float32": 1e-6, "float64": 1e-12}  # relative to the largest output


def normal(*shape: int, dtype: str = "float64") -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(dtype)


def difference(actual, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest output unless that is zero."""
    actual = actual.detach().numpy() if isinstance(actual, torch.Tensor) else actual
    assert actual.shape == expected.shape and actual.dtype == expected.dtype
    return float(np.abs(actual - expected).max() / (np.abs(expected).max() or 1))


def networks(layer: str, dtype: str):
    """A network with the layer in each position."""
    for place in PLACES:
        yield place, LayerCase(layer, place, training=False, weighted=False).network(dtype)


def evaluated(module, x: np.ndarray) -> np.ndarray:
    """What a module computes in evaluation mode."""
    module = copy.deepcopy(module).eval()
    with torch.no_grad():
        return module(torch.from_numpy(x)).numpy()


def check(module, *, shape=(4,), dtype="float32", **options) -> nf.Sequential:
    """Convert a module; the outputs and the module's mode are compared."""
    modes = [part.training for part in module.modules()]
    net = nf.from_torch(module, **options)
    assert [part.training for part in module.modules()] == modes
    x = normal(7, *shape, dtype=dtype)
    expected = evaluated(module, x)
    assert net.dtype == dtype and net.input_shape == shape
    assert difference(net.predict(x).reshape(expected.shape), expected) <= 3 * CLOSE[dtype]
    return net


@pytest.fixture
def default_dtype(dtype):
    """PyTorch's default, which a module without parameters has."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(getattr(torch, dtype))
    yield
    torch.set_default_dtype(default)


# ---- every layer, both ways


@pytest.mark.usefixtures("default_dtype")
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", [*LAYERS, *ACTIVATIONS])
def test_round_trips(layer, dtype):
    largest = 0.0
    for _, net in networks(layer, dtype):
        module, x = net.to_torch(), normal(7, 4, dtype=dtype)
        assert not module.training
        expected = net.predict(x)
        there = difference(module(torch.from_numpy(x)), expected)
        if layer.startswith("ColumnEncoding"):
            assert there <= CLOSE[dtype]
            with pytest.raises(ValueError, match=r"column_encoding1 \(ColumnEncoding\)"):
                nf.from_torch(module, input_shape=4)
            continue
        again = nf.from_torch(module, input_shape=4)
        back = difference(again.predict(x), expected)
        assert max(there, back) <= CLOSE[dtype]
        assert [*again.params] == [*net.params] and (again.flat_params == net.flat_params).all()
        assert all((again.statistics[name] == array).all() for name, array in net.statistics.items())
        largest = max(largest, there, back)
    print(f"{layer}, {dtype}: {largest:.2g}")


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layer", [*LAYERS, *ACTIVATIONS])
def test_copies_pickles_and_exports(layer, dtype, tmp_path):
    largest = 0.0
    for place, net in networks(layer, dtype):
        module, x = net.to_torch(), normal(7, 4, dtype=dtype)
        expected = net.predict(x)
        for twin in (copy.deepcopy(module), pickle.loads(pickle.dumps(module))):
            assert difference(twin(torch.from_numpy(x)), expected) <= CLOSE[dtype]
        if place == "first":  # half a second each
            continue
        export.save(network_of(net), tmp_path / "net.pt2")
        program = torch.export.load(tmp_path / "net.pt2").module()
        for rows in (x[:1], x):
            error = difference(program(torch.from_numpy(rows)), net.predict(rows))
            assert error <= CLOSE[dtype]
            largest = max(largest, error)
    print(f"{layer}, {dtype}: {largest:.2g}")


def test_layers_stay_the_same():
    layers = [
        nf.Rescaling(0.5, 1.0), nf.BatchNorm(momentum=1 / 3, epsilon=1e-3), nf.GaussianNoise(0.1), nf.Dense(6, "relu"),
        nf.Dropout(0.25), nf.Residual([nf.LayerNorm(epsilon=1e-6), nf.Dense(6, nf.activations.ELU(0.5)), nf.Dense(6)]),
        nf.BatchNorm(affine=False), nf.BatchNorm(trainable=False), nf.BatchNorm(affine=False, trainable=False),
        nf.LayerNorm(affine=False), nf.Scale(use_bias=False), nf.Scale(trainable=False),
        nf.Dense(6, "step", use_bias=False, trainable=False), nf.Reshape((2, 3)), nf.Flatten(),
        nf.Dense(3, nf.activations.Softplus(2.0)), nf.Dense(2, "softmax"),
    ]  # fmt: skip
    for dtype in DTYPES:
        net = nf.Sequential(layers, input_shape=5, dtype=dtype, seed=0)
        again = nf.from_torch(net.to_torch())
        assert repr(again) == repr(net)


def test_samples_with_several_axes():
    layers = [
        nf.Scale(), nf.LayerNorm(), nf.BatchNorm(), nf.Activation("softmax"), nf.Residual([nf.Rescaling(2.0)]),
        nf.Dense(4), nf.Reshape((2, 2)), nf.Reshape((4, 1)),
    ]  # fmt: skip
    net = nf.Sequential(layers, input_shape=(3, 2), seed=0)
    x = normal(7, 3, 2, dtype="float32")
    module = net.to_torch()
    assert difference(module(torch.from_numpy(x)), net.predict(x)) <= 1e-6
    again = nf.from_torch(module, input_shape=(3, 2))
    assert again.output_shape == (4, 1)
    assert difference(again.predict(x), net.predict(x)) <= 1e-6


def test_names_of_the_state():
    layers = [nf.Dense(4, "relu"), nf.BatchNorm(), nf.Residual([nf.Dense(4)]), nf.Dense(2, "softmax")]
    module = nf.Sequential(layers, input_shape=3, seed=0).to_torch()
    norm = ["weight", "bias", "running_mean", "running_var", "num_batches_tracked"]
    assert [*module.state_dict()] == [
        "dense1.weight", "dense1.bias", *(f"batch_norm1.{name}" for name in norm), "residual1.dense2.weight",
        "residual1.dense2.bias", "dense3.weight", "dense3.bias",
    ]  # fmt: skip
    assert isinstance(module[:-1][-1], nn.Linear)


def test_the_copy_is_independent_and_torchs_random_numbers_are_left_alone():
    net = nf.Sequential([nf.Dense(4), nf.BatchNorm(), nf.Dropout(0.5)], input_shape=3, seed=0)
    before, state = net.flat_params.copy(), torch.get_rng_state()
    module = net.to_torch()
    other = nf.from_torch(module)
    assert (torch.get_rng_state() == state).all()
    with torch.no_grad():
        for tensor in (*module.parameters(), *module.buffers()):
            tensor += 1
    assert (net.flat_params == before).all() and (other.flat_params == before).all()
    assert (other.statistics["mean1"] == 0).all()


def test_modes():
    layers = [nf.Dropout(0.5), nf.GaussianNoise(1.0), nf.BatchNorm(), nf.BatchNorm(trainable=False)]
    module = nf.Sequential(layers, input_shape=3, seed=0).to_torch()
    module.train()
    assert [part.training for part in module] == [True, True, True, False]
    x = torch.ones(1000, 3)
    assert set(module[0](x).unique().tolist()) == {0.0, 2.0}
    assert abs(float(module[1](x).std()) - 1) < 0.1
    module(x)
    assert (module[2].running_var != 1).all() and (module[3].running_var == 1).all()
    module.eval()
    assert (module[0](x) == x).all() and (module[1](x) == x).all()


def test_frozen_layers():
    net = nf.Sequential([nf.Dense(4), nf.LayerNorm(), nf.Dense(2)], input_shape=3, seed=0)
    net.freeze(0)
    module = net.to_torch()
    assert [p.requires_grad for p in module.parameters()] == [False, False, True, True, True, True]
    assert [layer.trainable for layer in nf.from_torch(module).layers] == [False, True, True]


def test_networks_that_are_not_built():
    with pytest.raises(RuntimeError, match="the input shape of the network is not known yet"):
        nf.Sequential([nf.Dense(3)]).to_torch()


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_random_chains(data):
    width, small = st.integers(1, 5), st.sampled_from([0.1, 1 / 3, 0.5, 0.9])
    activations = ["relu", "tanh", "gelu", "silu", "mish", "elu", "selu", "softplus", "hard_sigmoid", "identity"]

    def layer(depth: int):
        kinds = [
            st.builds(nf.Dense, width, st.sampled_from(activations), use_bias=st.booleans(), trainable=st.booleans()),
            st.builds(nf.Activation, st.sampled_from(activations)),
            st.builds(nf.Rescaling, small, small),
            st.builds(nf.Scale, use_bias=st.booleans(), trainable=st.booleans()),
            st.builds(nf.LayerNorm, affine=st.booleans(), epsilon=st.just(0.1)),
            st.builds(nf.BatchNorm, affine=st.booleans(), momentum=small),
            st.builds(nf.Dropout, small),
            st.builds(nf.GaussianNoise, small),
        ]
        return st.one_of(kinds) if depth == 0 else st.one_of(*kinds, st.just(None))

    layers = []
    for _ in range(data.draw(st.integers(1, 5))):
        drawn = data.draw(layer(1))
        if drawn is None:
            inner = [data.draw(layer(0)) for _ in range(data.draw(st.integers(1, 3)))]
            drawn = nf.Residual([one for one in inner if not isinstance(one, nf.Dense)] or [nf.Activation("tanh")])
        layers.append(drawn)
    layers.append(nf.Dense(2))
    dtype = data.draw(st.sampled_from(DTYPES))
    net = nf.Sequential(layers, input_shape=4, dtype=dtype, seed=0)
    net.flat_params[:] += 0.1 * normal(net.n_parameters, dtype=dtype)
    x = normal(5, 4, dtype=dtype)
    again = nf.from_torch(net.to_torch(), input_shape=4)
    assert difference(again.predict(x), net.predict(x)) <= 4 * CLOSE[dtype]


# ---- modules of one's own


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.wide, self.narrow = nn.LayerNorm(8), nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x):
        return x + self.narrow(F.dropout(F.gelu(self.wide(self.norm(x))), 0.2, self.training))


class Functional(nn.Module):
    """Whatever functions, methods and operators there are."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.5, 1.0, -1.0, 0.0]))
        self.register_buffer("std", torch.tensor([0.5, 2.0, 1.0, 1.5]))
        self.enter, self.blocks, self.leave = nn.Linear(4, 8), nn.Sequential(Block(), Block()), nn.Linear(8, 2)
        self.W, self.b = nn.Parameter(torch.eye(8)), nn.Parameter(torch.full((8,), 0.1))

    def forward(self, x, factor=2.0):
        x = (x.view(x.size(0), -1) - self.mean) / self.std
        x = self.enter(x).relu()
        x = self.blocks(x)
        x = x @ self.W.t() + self.b
        x = x * torch.sigmoid(x)
        x = F.layer_norm(x, (8,))
        x = factor * torch.flatten(x, 1).tanh() - 1
        return F.log_softmax(self.leave(x), dim=-1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_functions_and_methods(dtype):
    module = Functional().to(getattr(torch, dtype))
    net = check(module, dtype=dtype, input_shape=4)
    assert repr(net.layers) == (
        "(Scale(trainable=False), Scale(use_bias=False, trainable=False), Dense(8, activation='relu'), "
        "Residual([LayerNorm(), Dense(16, activation='gelu'), Dropout(0.2), Dense(8)]), "
        "Residual([LayerNorm(), Dense(16, activation='gelu'), Dropout(0.2), Dense(8)]), "
        "Dense(8, activation='silu'), LayerNorm(affine=False), Activation('tanh'), Rescaling(2.0, offset=-1.0), "
        "Dense(2, activation='log_softmax'))"
    )
    assert net.loss_name == "cross_entropy"


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (F.relu, "relu"), (lambda x: x.clamp(min=0), "relu"), (torch.tanh, "tanh"), (torch.sigmoid, "sigmoid"),
        (F.leaky_relu, "leaky_relu"), (F.elu, "elu"), (F.selu, "selu"), (F.gelu, "gelu"), (F.silu, "silu"),
        (lambda x: F.gelu(x, approximate="tanh"), "gelu_tanh"), (F.mish, "mish"), (F.softplus, "softplus"),
        (F.hardsigmoid, "hard_sigmoid"), (lambda x: F.relu6(x + 3) / 6, "hard_sigmoid"),
        (lambda x: x * torch.tanh(F.softplus(x)), "mish"), (lambda x: F.softmax(x, dim=1), "softmax"),
        (lambda x: 0.5 * x * (1 + torch.erf(x / 2**0.5)), "gelu"), (lambda x: (x > 0).float(), "step"),
    ],
)  # fmt: skip
def test_activations_as_functions(function, name):
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(4, 3)

        def forward(self, x):
            return function(self.linear(x))

    assert check(Own()).layers == (nf.Dense(3, name),)


def test_default_losses():
    def loss(last):
        return nf.from_torch(nn.Sequential(nn.Linear(4, 3), last)).loss_name

    assert loss(nn.Softmax(dim=1)) == "cross_entropy"
    assert loss(nn.Sigmoid()) == "binary_cross_entropy"
    assert loss(nn.Identity()) == "mean_squared_error"
    net = nf.from_torch(nn.Linear(4, 3), loss="huber")
    assert net.loss_name == "huber" and net.layers == (nf.Dense(3),)


def test_modules_that_change_in_place():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.other = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x):
            h = self.linear(x)
            r = F.relu(h, inplace=True)
            return self.other(r) + h

    check(Own())
    check(nn.Sequential(nn.Linear(4, 8), nn.ReLU(inplace=True), nn.Linear(8, 1)))

    class Aliased(Own):
        def forward(self, x):
            h = self.linear(x)
            h.view(-1, 4).relu_()
            return h

    with pytest.raises(ValueError, match="its outputs are not those of its layers"):
        nf.from_torch(Aliased())


def test_shapes():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 3), nn.Unflatten(1, (3, 1)))
    net = check(flat, shape=(3, 4), input_shape=(3, 4))
    assert net.output_shape == (3, 1)
    with pytest.raises(ValueError, match=r"0 \(Flatten\): the shape of a sample is not known here: give input_shape"):
        nf.from_torch(flat)
    with pytest.raises(ValueError, match=r"1 \(Linear\): its weights are for 12 features, and samples have shape \(10"):
        nf.from_torch(flat, input_shape=10)
    assert check(nn.LayerNorm(4)).layers == (nf.LayerNorm(),)
    assert check(nn.BatchNorm1d(4)).layers == (nf.BatchNorm(),)
    assert check(nn.Tanh(), input_shape=4).layers == (nf.Activation("tanh"),)
    with pytest.raises(ValueError, match="the shape of a sample is not known: give input_shape"):
        nf.from_torch(nn.Tanh())


def test_layer_norms_without_bias():
    module = nn.Sequential(nn.LayerNorm(4, bias=False), nn.Linear(4, 2, bias=False))
    assert check(module).layers == (nf.LayerNorm(affine=False), nf.Scale(use_bias=False), nf.Dense(2, use_bias=False))


def test_a_frozen_module():
    module = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2))
    module[:2].requires_grad_(False)
    assert [layer.trainable for layer in check(module).layers] == [False, False, True]


def test_weights_that_are_computed():
    from torch.nn.utils import parametrizations

    module = nn.Sequential(parametrizations.spectral_norm(nn.Linear(4, 3)), nn.Tanh())
    before = copy.deepcopy(module.state_dict())
    assert check(module).layers == (nf.Dense(3, "tanh"),)
    assert all((before[name] == tensor).all() for name, tensor in module.state_dict().items())
    module = nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)))
    assert check(module).layers == (nf.Dense(3),)
    with pytest.raises(ValueError, match="^optimizer: the array 0.W of the network is not a parameter of the module"):
        nf.from_torch(module, optimizer=torch.optim.Adam(module.parameters()))


def test_seeds():
    module = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    x, y = normal(20, 4), normal(20, 1)
    nets = [nf.from_torch(module, seed=seed) for seed in (1, 1, 2)]
    for net in nets:
        net.fit(x, y, epochs=2, verbose=0)
    assert (nets[0].flat_params == nets[1].flat_params).all() and (nets[0].flat_params != nets[2].flat_params).any()


def test_what_is_set_around_the_call():
    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear, self.shift = nn.Linear(4, 3), nn.Parameter(torch.ones(4))

        def forward(self, x):
            return self.linear((x - self.shift) * 2.0)

    module = Own()
    for around in (torch.no_grad(), torch.inference_mode(), torch.autocast("cpu"), torch.device("meta")):
        with around:
            net = nf.from_torch(module)
            made = net.to_torch()
        assert net.layers == (nf.Scale(), nf.Rescaling(2.0), nf.Dense(3))
        assert evaluated(made, normal(5, 4, dtype="float32")).shape == (5, 3)
        assert all(parameter.requires_grad for parameter in made.parameters())


# ---- modules that cannot become networks


class Several(nn.Module):
    def forward(self, x, y):
        return x + y


class Pair(nn.Module):
    def forward(self, x):
        return x, x


class Branching(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


class Constant(nn.Module):
    def forward(self, x):
        return torch.ones(3, 4)


class Sizes(nn.Module):
    def forward(self, x):
        return x.view(x.size(1), -1)


class Noisy(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, True)


class WithoutGradient(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        with torch.no_grad():
            x = self.one(x)
        return self.two(x)


class InEvaluation(nn.Module):
    def forward(self, x):
        return x if self.training else 2 * x


class Overwriting(WithoutGradient):
    def forward(self, x):
        h = self.one(x)
        h += self.two(h)
        return h


class Detached(WithoutGradient):
    def forward(self, x):
        return self.two(self.one(x).detach())


class TwoPaths(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, x):
        return self.one(x) + self.two(x)


class Learned(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(2.0))

    def forward(self, x):
        return self.gain * x


def hooked():
    module = nn.Sequential(nn.Linear(4, 3))
    module[0].register_forward_hook(lambda module, inputs, output: 2 * output)
    return module


def partly_frozen():
    module = nn.Sequential(nn.Linear(4, 3))
    module[0].bias.requires_grad_(False)
    return module


def shared():
    linear = nn.Linear(4, 4)
    return nn.Sequential(linear, nn.ReLU(), linear)


def tied():
    module = nn.Sequential(nn.Linear(4, 4, bias=False), nn.ReLU(), nn.Linear(4, 4))
    module[2].weight = module[0].weight
    return module


BAD = {
    "convolution": (lambda: nn.Sequential(nn.Sequential(nn.Linear(4, 4), nn.Conv2d(1, 1, 3))),
        r"module Sequential cannot become a network: 0.1 \(Conv2d\) is not supported: supported are BatchNorm1d"),
    "prelu": (lambda: nn.PReLU(), r"it \(PReLU\) is not supported"),
    "function": (lambda: nn.Sequential(nn.Softsign()), r"0 \(Softsign\) is not supported"),
    "relu6": (lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU6()), r"1 \(ReLU6\): with its inputs and"),
    "softmax": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Softmax(dim=0)), r"1 \(Softmax\) is not .*: give it dim=1"),
    "softplus": (lambda: nn.Softplus(1.0, 5.0), "needs a threshold of 20 at least, got 5.0"),
    "flatten": (lambda: nn.Flatten(0), "only start_dim=1 and end_dim=-1 are supported"),
    "batch norm": (lambda: nn.BatchNorm1d(4, track_running_stats=False), r"it \(BatchNorm1d\) is not .* it needs"),
    "momentum": (lambda: nn.BatchNorm1d(4, momentum=None), "it needs track_running_stats=True and a momentum"),
    "layer norm": (lambda: nn.LayerNorm((2, 2)), "only the last axis can be normalized"),
    "dropout": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Dropout(1.0)), r"1 \(Dropout\): rate must be below 1"),
    "lazy": (lambda: nn.Sequential(nn.LazyLinear(3)), r"0 \(LazyLinear\) has no shape yet: call the module once"),
    "meta": (lambda: nn.Linear(4, 3, device="meta"), "weight is on device meta: move the module to the CPU"),
    "bfloat16": (lambda: nn.Linear(4, 3, dtype=torch.bfloat16), "weight has dtype torch.bfloat16: convert"),
    "half": (lambda: nn.Linear(4, 3).half(), r"weight has dtype torch.float16: .* module.float\(\)"),
    "mixed": (lambda: nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 3).double()), "it has an array of float64"),
    "hook": (hooked, r"0 \(Linear\) has forward hooks, which a network has not"),
    "old weight norm": (lambda: nn.Sequential(nn.utils.weight_norm(nn.Linear(4, 3))), "0 .* has forward hooks"),
    "shared": (shared, "0.weight is used twice, in the layers 0 and 1 of the network"),
    "tied": (tied, "0.weight is used twice"),
    "partly frozen": (partly_frozen, "of 0.weight and 0.bias, which are one layer, only some are frozen"),
    "learned number": (Learned, "gain is learned, and no layer of a network learns such an array"),
    "several inputs": (Several, r"torch.fx cannot trace its forward: .*missing 1 required positional argument: 'y'"),
    "several outputs": (Pair, "it must return one tensor, got .*tuple"),
    "control flow": (Branching, "torch.fx cannot trace its forward: .*control flow"),
    "constant": (Constant, "what it returns is not computed from its input"),
    "sizes": (Sizes, "only that of the batch, x.shape.0., may be used"),
    "random": (Noisy, "its outputs are not those of its layers"),
    "no gradient": (WithoutGradient, "one.weight requires a gradient, but gets none, as in torch.no_grad"),
    "overwriting": (Overwriting, "PyTorch cannot compute its gradients, so it cannot be trained there"),
    "detached": (lambda: Detached(), r"detach \(detach\) is not supported"),
    "modes": (InEvaluation, "its outputs are not those of its layers"),
    "two paths": (TwoPaths, r"add \(add\): it adds two results of which neither is computed from the other"),
    "bilinear": (lambda: nn.Sequential(nn.Linear(4, 3), nn.GLU(1)), r"1 \(GLU\) is not supported"),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature:UserWarning")
@pytest.mark.parametrize("name", BAD)
def test_modules_that_cannot_become_networks(name):
    make, message = BAD[name]
    module = make()
    with pytest.raises(ValueError, match=message):
        nf.from_torch(module, input_shape=4)
    assert all(part.training for part in module.modules())


def test_shared_layers_that_are_frozen():
    check(shared().requires_grad_(False))
    check(tied().requires_grad_(False))


def test_wrong_arguments():
    for bad in (3, nn.Linear, nn.Linear(4, 3).state_dict()):
        with pytest.raises(TypeError, match=r"module must be a torch\.nn\.Module, got"):
            nf.from_torch(bad)
    with pytest.raises(TypeError, match="input_shape"):
        nf.from_torch(nn.Linear(4, 3), input_shape="4")
    with pytest.raises(ValueError, match="loss must be"):
        nf.from_torch(nn.Linear(4, 3), loss="no loss")
    with pytest.raises(TypeError, match=r"optimizer must be one of torch\.optim that nnfast has \(SGD, Adam, "):
        nf.from_torch(nn.Linear(4, 3), optimizer=nf.Adam())
    with pytest.raises(ValueError, match="its loss|cross_entropy"):
        nf.from_torch(nn.Sequential(nn.Linear(4, 1), nn.Tanh()), loss="cross_entropy")


# ---- training that continues

OPTIONS = {
    "sgd": [{"lr": 0.1}, {"lr": 0.1, "momentum": 0.9}, {"lr": 0.1, "momentum": 0.9, "nesterov": True},
            {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}],
    "adam": [{"lr": 0.01}, {"lr": 0.01, "betas": (0.8, 0.9), "eps": 1e-6, "weight_decay": 0.1, "amsgrad": True},
             {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}],
    "adamw": [{"lr": 0.01}, {"lr": 0.01, "amsgrad": True}],
    "nadam": [{"lr": 0.01, "momentum_decay": 0.1}, {"lr": 0.01, "weight_decay": 0.1, "decoupled_weight_decay": True}],
    "adagrad": [{"lr": 0.1, "lr_decay": 0.1, "initial_accumulator_value": 0.5}],
    "rmsprop": [{"lr": 0.01}, {"lr": 0.01, "alpha": 0.9, "momentum": 0.5, "centered": True}],
    "adadelta": [{"lr": 1.0, "rho": 0.8}],
}  # fmt: skip
RUNS = [(name, options) for name, many in OPTIONS.items() for options in many]
X, Y = normal(40, 4), np.tanh(normal(40, 2))


def model():
    """A module with every kind of parameter, one of which is frozen."""
    torch.manual_seed(0)
    module = nn.Sequential(
        nn.Linear(4, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2, bias=False)
    )
    module[3].requires_grad_(False)
    return module.double().train()


def train(module, optimizer, first: int) -> None:
    """Make 5 steps on batches of 8 rows."""
    for i in range(first, first + 5):
        at = i % 5 * 8
        optimizer.zero_grad()
        nn.MSELoss()(module(torch.from_numpy(X[at : at + 8])), torch.from_numpy(Y[at : at + 8])).backward()
        optimizer.step()


def same(module, net: nf.Sequential) -> float:
    """The largest difference of parameters and statistics."""
    expected = nf.from_torch(module)
    pairs = [(net.flat_params, expected.flat_params), *((net.statistics[n], a) for n, a in expected.statistics.items())]
    return max(float(np.abs(actual - wanted).max()) for actual, wanted in pairs)


@pytest.mark.usefixtures("default_dtype")  # NAdam's product of momenta has it
@pytest.mark.parametrize("dtype", ["float64"])
@pytest.mark.parametrize(("name", "options"), RUNS)
def test_training_continues_here(name, options, dtype):
    module = model()
    kind = getattr(torch.optim, OPTIMIZERS[name].__name__)
    optimizer = kind(module.parameters(), foreach=False, **options)
    train(module, optimizer, 0)
    net, ours = nf.from_torch(module, optimizer=optimizer)
    begin = net.flat_params.copy()
    train(module, optimizer, 5)
    net.fit(X, Y, steps=5, batch_size=8, optimizer=ours, shuffle=False, verbose=0)
    assert same(module, net) <= 1e-10
    assert np.abs(net.flat_params - begin).max() > 1e-3


@pytest.mark.usefixtures("default_dtype")  # NAdam's product of momenta has it
@pytest.mark.parametrize("dtype", ["float64"])
@pytest.mark.parametrize(("name", "options"), RUNS)
def test_training_continues_there(name, options, dtype):
    betas = dict(zip(("beta1", "beta2"), options.get("betas", ()), strict=False))
    names = {"lr": "learning_rate", "eps": "epsilon", "lr_decay": "learning_rate_decay"}
    ours = OPTIMIZERS[name](**{names.get(k, k): v for k, v in options.items() if k != "betas"}, **betas)
    net = nf.from_torch(model())
    net.fit(X, Y, steps=5, batch_size=8, optimizer=ours, shuffle=False, verbose=0)
    module, optimizer = net.to_torch(optimizer=ours)
    net.fit(X, Y, steps=5, batch_size=8, optimizer=ours, shuffle=False, verbose=0)
    train(module.train(), optimizer, 5)
    assert same(module, net) <= 1e-10
    again, theirs = nf.from_torch(module, optimizer=optimizer)
    assert theirs == ours and (again.flat_params == nf.from_torch(module).flat_params).all()


def adam(module, **options):
    optimizer = torch.optim.Adam(module.parameters(), **options)
    train(module, optimizer, 0)
    return optimizer


def groups(module):
    return torch.optim.SGD(
        [{"params": module[:3].parameters()}, {"params": module[3:].parameters(), "lr": 0.5}], lr=0.1
    )


def later(module):
    optimizer = adam(module)
    optimizer.state.pop(module[5].weight)
    return optimizer


def misshapen(module):
    optimizer = adam(module)
    optimizer.state[module[0].weight]["exp_avg"] = torch.zeros(2)
    return optimizer


def incomplete(module):
    return torch.optim.Adam(module[:5].parameters())


class Own(torch.optim.Adam):
    pass


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda m: torch.optim.Adamax(m.parameters()), TypeError, "nnfast has .*SGD, Adam.*, got Adamax"),
        (lambda m: torch.optim.LBFGS(m.parameters()), TypeError, "got LBFGS"),
        (lambda m: Own(m.parameters()), TypeError, "got Own"),
        (lambda m: m.parameters(), TypeError, "got generator"),
        (lambda m: adam(m, maximize=True), ValueError, "^optimizer: Adam with maximize=True is not supported"),
        (lambda m: adam(m, eps=0.0), ValueError, "^optimizer: epsilon must be"),
        (groups, ValueError, "^optimizer: its groups of parameters have different lr, 0.1 and 0.5; nnfast has one"),
        (later, ValueError, "^optimizer: it has made 0 steps with 5.weight, and 5 with 0.weight"),
        (misshapen, ValueError, r"^optimizer: its state of 0.weight must have shape \(8, 4\), got \(2,\)"),
        (incomplete, ValueError, "^optimizer: 5.weight, the array 4.W of the network, is not one of its parameters"),
    ],
)
def test_optimizers_that_cannot_be_carried_over(make, error, message):
    module = model()
    optimizer = make(module)
    with pytest.raises(error, match=message):
        nf.from_torch(module, optimizer=optimizer)


def test_an_optimizer_that_has_made_no_step():
    module = model()
    net, ours = nf.from_torch(module, optimizer=torch.optim.AdamW(module.parameters(), lr=0.5))
    assert ours == nf.AdamW(0.5)
    made, optimizer = net.to_torch(optimizer=ours)
    assert not optimizer.state and isinstance(optimizer, torch.optim.AdamW)
    assert [*map(id, optimizer.param_groups[0]["params"])] == [id(p) for p in made.parameters() if p.requires_grad]


def test_groups_with_the_same_settings():
    module = model()
    parameters = [*module.parameters()]
    optimizer = torch.optim.SGD([{"params": parameters[:2]}, {"params": parameters[2:]}], lr=torch.tensor(0.25))
    assert nf.from_torch(module, optimizer=optimizer)[1] == nf.SGD(0.25)


def test_a_learning_rate_that_a_scheduler_has_changed():
    module = model()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)
    train(module, optimizer, 0)
    scheduler.step()
    assert nf.from_torch(module, optimizer=optimizer)[1] == nf.SGD(0.25)


def test_weights_alone_decay():
    module = model()
    weights = [p for p in module.parameters() if p.ndim == 2]
    others = [p for p in module.parameters() if p.ndim == 1]
    optimizer = torch.optim.AdamW([{"params": weights}, {"params": others, "weight_decay": 0.0}], weight_decay=0.5)
    train(module, optimizer, 0)
    net, ours = nf.from_torch(module, optimizer=optimizer)
    assert ours == nf.AdamW(weight_decay=0.5, decay_biases=False)
    made, theirs = net.to_torch(optimizer=ours)
    train(module, optimizer, 5)
    train(made.train(), theirs, 5)
    net.fit(X, Y, steps=5, batch_size=8, optimizer=ours, shuffle=False, verbose=0)
    assert same(module, net) <= 1e-10 and same(made, net) <= 1e-10
    others.append(weights.pop())
    optimizer = torch.optim.AdamW([{"params": weights}, {"params": others, "weight_decay": 0.0}], weight_decay=0.5)
    with pytest.raises(ValueError, match=r"have different weight_decay, 0\.5 and 0\.0; nnfast has one for all, or for"):
        nf.from_torch(module, optimizer=optimizer)


def test_options_that_were_turned_on_since():
    net = nf.from_torch(model())
    net.fit(X, Y, steps=5, batch_size=8, optimizer=nf.Adam(0.01), shuffle=False, verbose=0)
    module, optimizer = net.to_torch(optimizer=nf.Adam(0.01, amsgrad=True))
    net.fit(X, Y, steps=5, batch_size=8, optimizer=nf.Adam(0.01, amsgrad=True), shuffle=False, verbose=0)
    train(module.train(), optimizer, 5)
    assert same(module, net) <= 1e-10


@pytest.mark.parametrize(
    ("optimizer", "error", "message"),
    [
        (nf.Lion(), ValueError, "^optimizer: Lion is not in torch.optim; supported are SGD, Adam"),
        (nf.LBFGS(), ValueError, "^optimizer: LBFGS is not"),
        (nf.Adam(clip_norm=1.0), ValueError, "^optimizer: PyTorch's Adam has no clip_norm"),
        (nf.AdamW(average_decay=0.9), ValueError, "^optimizer: PyTorch's AdamW has no average_decay"),
        (nf.SGD(nf.schedules.Cosine(0.1, steps=100)), ValueError, "^optimizer: its learning rate must be a number"),
        (3, TypeError, "optimizer must be an optimizer"),
        ("sdg", ValueError, "optimizer must be one of"),
    ],
)
def test_optimizers_that_pytorch_lacks(optimizer, error, message):
    with pytest.raises(error, match=message):
        nf.from_torch(model()).to_torch(optimizer=optimizer)


def test_nothing_to_train():
    net = nf.Sequential([nf.Rescaling(2.0)], input_shape=3)
    with pytest.raises(ValueError, match="optimizer: there is nothing to train"):
        net.to_torch(optimizer="adam")


# ---- the command line


@pytest.mark.parametrize("dtype", DTYPES)
def test_export(dtype, tmp_path, monkeypatch, capsys):
    """The file needs PyTorch alone."""
    monkeypatch.chdir(tmp_path)
    layers = [
        nf.BatchNorm(trainable=False), nf.GaussianNoise(0.1), nf.Dense(6, "step"), nf.Scale(), nf.Dropout(0.2),
        nf.Residual([nf.Dense(6, "gelu"), nf.Rescaling(0.5)]), nf.Reshape((2, 3)), nf.Dense(2, "softmax"),
    ]  # fmt: skip
    net = nf.Sequential(layers, input_shape=(2, 2), dtype=dtype, seed=0)
    net.save("net.npz")
    x = normal(7, 2, 2, dtype=dtype)
    np.save("x.npy", x)
    assert main(["export", "net.npz", "--to", "torch"]) == 0
    assert capsys.readouterr().out.startswith("net.pt2: ")
    code = """
import sys, torch, numpy as np
module, x = torch.export.load("net.pt2").module(), torch.from_numpy(np.load("x.npy"))
np.save("y.npy", module(x).detach().numpy())
np.save("one.npy", module(x[:1]).detach().numpy())
assert not any(name.startswith("nnfast") for name in sys.modules)
"""
    subprocess.run([sys.executable, "-P", "-c", code], check=True)
    assert difference(np.load("y.npy"), net.predict(x)) <= CLOSE[dtype]
    assert difference(np.load("one.npy"), net.predict(x[:1])) <= CLOSE[dtype]


def test_export_to_another_file(tmp_path, capsys):
    nf.Sequential([nf.Dense(2)], input_shape=3).save(tmp_path / "net.npz")
    wrong = ["export", str(tmp_path / "net.npz"), "--to", "torch", "--output", str(tmp_path / "net.pt")]
    assert main(wrong) == 2
    assert "--output must end in .pt2" in capsys.readouterr().err
    assert main([*wrong[:-1], str(tmp_path / "there" / "net.pt2")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["net.npz"]
    assert main([*wrong[:-1], str(tmp_path / "other.pt2")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.npz", "other.pt2"]


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch, capsys):
    net = nf.Sequential([nf.Dense(2)], input_shape=3)
    net.save(tmp_path / "net.npz")
    (tmp_path / "net.pt2").write_bytes(b"old")

    def full(program, file):
        file.write(b"new")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch.export, "save", full)
    assert main(["export", str(tmp_path / "net.npz"), "--to", "torch"]) == 1
    assert "net.pt2: No space left on device" in capsys.readouterr().err
    assert (tmp_path / "net.pt2").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["net.npz", "net.pt2"]


# ---- without PyTorch


def test_torch_is_imported_when_needed(tmp_path):
    code = """
import sys, nnfast as nf
assert "torch" not in sys.modules
net = nf.Sequential([nf.Dense(2)], input_shape=3)
nf.from_torch, net.to_torch
assert "torch" not in sys.modules
sys.modules["torch"] = None
for call in (net.to_torch, lambda: nf.from_torch(net)):
    try:
        call()
    except ImportError as error:
        print(error)
net.save("net.npz")
from nnfast.cli import main
print(main(["export", "net.npz", "--to", "torch"]))
"""
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, text=True, capture_output=True, check=True)
    message = "torch is needed for this: pip install 'nnfast[torch]'"
    assert done.stdout.splitlines() == [message, message, "2"]
    assert message in done.stderr
