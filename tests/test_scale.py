"""`Scale`: values computed by hand and by PyTorch, initial values, and errors. tests/gradient_cases.py has the rest."""

from __future__ import annotations

import numpy as np
import pytest
from numpy_network import unchanged
from tolerances import assert_close

import nnfast as nf

X, GRADIENT = np.array([[1.0, 2.0], [3.0, 4.0]]), np.array([[1.0, 2.0], [3.0, 4.0]]) / 2


def scale(dtype="float64", **arguments):
    return nf.Sequential([nf.Scale(gamma_initializer=[2.0, -1.0], **arguments)], input_shape=2, dtype=dtype)


# ---- values


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_hand_computed(dtype):
    net = scale(dtype, beta_initializer=[0.5, 1.0])
    np.testing.assert_array_equal(net.predict(X), [[2.5, -1.0], [6.5, -3.0]])
    np.testing.assert_array_equal(net.forward(X, training=True), net.predict(X))
    np.testing.assert_array_equal(net.backward(GRADIENT), [[1.0, -1.0], [3.0, -2.0]])
    assert net.grads["gamma1"].tolist() == [5.0, 10.0]  # 1*0.5 + 3*1.5, 2*1 + 4*2
    assert net.grads["beta1"].tolist() == [2.0, 3.0]
    net.update(nf.SGD(0.5))
    assert net.params["gamma1"].tolist() == [-0.5, -6.0]
    assert net.params["0.beta"].tolist() == [-0.5, -0.5]


def test_hand_computed_without_beta():
    net = scale(use_bias=False)
    assert list(net.params) == ["gamma1"]
    np.testing.assert_array_equal(net.predict(X), [[2.0, -2.0], [6.0, -4.0]])
    net.forward(X, training=True)
    np.testing.assert_array_equal(net.backward(GRADIENT), [[1.0, -1.0], [3.0, -2.0]])
    assert net.flat_grads.tolist() == [5.0, 10.0]


def test_penalties_are_on_gamma():
    plain, penalised = scale(beta_initializer=3.0), scale(beta_initializer=3.0, l1=0.5, l2=0.25)
    assert penalised.loss(X, X) - plain.loss(X, X) == 0.5 * 3 + 0.25 * 5
    found, without = penalised.gradient(X, X), plain.gradient(X, X)
    np.testing.assert_array_equal(found["gamma1"] - without["gamma1"], [0.5 + 1.0, -0.5 - 0.5])
    np.testing.assert_array_equal(found["beta1"], without["beta1"])


def test_weight_decay_spares_it_as_it_spares_norms():
    for decays, expected in ((True, [1.8, -0.9]), (False, [2.0, -1.0])):
        net = scale()
        net.forward(X, training=True)
        net.backward(0 * X)
        net.update(nf.SGD(0.1, weight_decay=1.0, decay_biases=decays))
        assert_close(net.params["gamma1"], expected)


def test_each_number_of_a_sample_has_its_own():
    net = nf.Sequential([nf.Scale(gamma_initializer=np.arange(6.0))], input_shape=(2, 3), dtype="float64")
    assert net.params["gamma1"].shape == net.params["beta1"].shape == (6,)
    x = np.random.default_rng(0).normal(size=(4, 2, 3))
    np.testing.assert_array_equal(net.predict(x), x * np.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize("use_bias", [True, False])
def test_training_is_that_of_pytorch(use_bias):
    torch = pytest.importorskip("torch", reason="the trajectories of PyTorch need torch")
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(40, 5)), rng.normal(size=(40, 3))
    layers = [nf.Scale(use_bias=use_bias), nf.Dense(7, "tanh"), nf.Scale(use_bias=use_bias), nf.Dense(3)]
    net = nf.Sequential(layers, input_shape=5, dtype="float64", seed=0)
    net.flat_params[:] += 0.3 * rng.normal(size=net.n_parameters)
    theirs = {name: torch.tensor(array, requires_grad=True) for name, array in net.params.items()}
    optimizer = torch.optim.Adam(theirs.values(), lr=0.01)

    def forward(z):
        for i in ("1", "2"):
            z = z * theirs[f"gamma{i}"] + theirs.get(f"beta{i}", 0.0)
            z = z @ theirs[f"W{i}"] + theirs[f"b{i}"]
            z = torch.tanh(z) if i == "1" else z
        return z

    losses = []
    for step in range(60):
        rows = slice(8 * (step % 5), 8 * (step % 5) + 8)
        loss = ((forward(torch.tensor(x[rows])) - torch.tensor(y[rows])) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    history = net.fit(x, y, steps=60, batch_size=8, optimizer=nf.Adam(0.01), shuffle=False, verbose=0)
    assert_close(history.step_loss, losses, scale=1 + np.abs(losses), kind="PyTorch")
    for name, array in net.params.items():
        assert_close(array, theirs[name].detach().numpy(), scale=1 + np.abs(array), kind="PyTorch")
    outputs = forward(torch.tensor(x)).detach().numpy()
    assert_close(net.predict(x), outputs, scale=1 + np.abs(outputs), kind="PyTorch")


# ---- arguments and files


def test_it_begins_as_the_identity():
    x = np.random.default_rng(0).normal(size=(5, 33)).astype(np.float32)
    np.testing.assert_array_equal(nf.Sequential([nf.Scale()], input_shape=33).predict(x), x)


def test_the_summary_shows_it(capsys):
    scale(use_bias=False).summary()
    nf.Sequential([nf.Residual([nf.Scale(l2=0.5)])], input_shape=2).summary()
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["Scale(use_bias=False,", "gamma_initializer=array(...))", "(n,", "2)", "2"] in lines
    assert ["Scale(l2=0.5)", "(n,", "2)", "4"] in lines


def test_files_keep_what_was_learned(tmp_path):
    net = scale(beta_initializer=0.5, l2=0.1)
    net.train_step(X, X, nf.SGD(0.1))
    net.save(tmp_path / "net.npz")
    again = nf.load(tmp_path / "net.npz")
    assert again.params["gamma1"].tolist() == net.params["gamma1"].tolist() != [2.0, -1.0]
    assert again.layers == (nf.Scale(l2=0.1),)  # files hold no initial values


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"use_bias": 1}, TypeError, "^use_bias must be True or False, got 1"),
        ({"gamma_initializer": "ones"}, TypeError, "^gamma_initializer must hold real numbers, got 'ones'"),
        ({"gamma_initializer": np.nan}, ValueError, "^gamma_initializer must be finite"),
        ({"beta_initializer": [[1.0]]}, ValueError, r"^beta_initializer must have .*got .*\(1, 1\)"),
        ({"use_bias": False, "beta_initializer": 1}, ValueError, "^beta_initializer has no effect with use_bias=False"),
        ({"l1": -1}, ValueError, "^l1 must be a finite number in .*got -1.0"),
        ({"trainable": None}, TypeError, "^trainable must be True or False, got None"),
    ],
)
def test_what_it_refuses(arguments, error, message):
    with pytest.raises(error, match=message):
        nf.Scale(**arguments)


@pytest.mark.parametrize("name", ["gamma_initializer", "beta_initializer"])
def test_initial_values_of_another_shape(name):
    for values in ([1.0], [1.0, 2.0, 3.0]):
        net = nf.Sequential([nf.Scale(**{name: values}), nf.Dense(1)], seed=0)
        message = rf"^{name} must have shape \(2,\), got \({len(values)},\)"
        with unchanged(net), pytest.raises(ValueError, match=message):
            net.build(2)
