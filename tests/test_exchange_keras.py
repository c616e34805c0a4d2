"""Networks from models of Keras, with the backend that is installed (or that KERAS_BACKEND names)."""

import importlib.util
import os

import numpy as np
import pytest

import nnfast as nf

for name in ("torch", "jax", "tensorflow"):
    if importlib.util.find_spec(name):
        os.environ.setdefault("KERAS_BACKEND", name)
os.environ.setdefault("JAX_ENABLE_X64", "1")  # else JAX computes in float32 what is float64
keras = pytest.importorskip("keras", reason="Keras is not installed")
K = keras.layers

pytestmark = [  # warnings about what Keras itself does
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:::keras"),
    pytest.mark.filterwarnings("ignore:Layer .*:UserWarning"),
]
DTYPE = keras.config.floatx()
TOLERANCE = {"float32": 1e-6, "float64": 1e-12}[DTYPE]


def samples(*shape):
    return np.random.default_rng(0).normal(size=(20, *(shape or (6,)))).astype(DTYPE)


def randomize(model):
    """Give all weights values with which they count."""
    random = np.random.default_rng(1)
    for variable in model.weights:
        positive = "variance" in variable.name or "gamma" in variable.name
        values = random.normal(size=tuple(variable.shape)) * 0.5
        variable.assign((np.abs(values) + 0.5 if positive else values).astype(variable.dtype))
    return model


def predicted(model, x):
    return np.array(keras.ops.convert_to_numpy(model(x, training=False)))


def close(net, model, x):
    expected = predicted(model, x)
    assert net.dtype == DTYPE
    scale = max(1.0, np.abs(expected).max())
    found = net.predict(x)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE * scale)


def sequential(*layers, shape=(6,)):
    return randomize(keras.Sequential([keras.Input(shape), *layers]))


def dense_of(units, activation):
    return [K.Dense(units, activation=activation)]


CASES = {
    **{f"Dense {name}": lambda name=name: dense_of(4, name) for name in [
        None, "linear", "relu", "leaky_relu", "elu", "selu", "gelu", "silu", "swish", "softplus", "mish", "sigmoid",
        "hard_sigmoid", "tanh", "softmax", "log_softmax",
    ]},
    "no bias": lambda: [K.Dense(4, use_bias=False), K.Dense(3)],
    "Activation": lambda: [K.Activation("gelu"), K.Dense(3), K.Activation("tanh")],
    "linear Activation": lambda: [K.Activation("linear")],
    "ReLU": lambda: [K.Dense(4), K.ReLU(), K.Dense(3), K.ReLU(negative_slope=0.3)],
    "LeakyReLU": lambda: [K.LeakyReLU(), K.LeakyReLU(negative_slope=0.1), K.Dense(3)],
    "ELU": lambda: [K.ELU(alpha=0.7), K.Dense(3)],
    "Softmax": lambda: [K.Dense(3), K.Softmax()],
    "Softmax of an axis": lambda: [K.Dense(3), K.Softmax(axis=1)],
    "BatchNormalization": lambda: [K.BatchNormalization(), K.Dense(3)],
    "BatchNormalization options": lambda: [K.BatchNormalization(axis=1, momentum=0.8, epsilon=0.1), K.Dense(3)],
    "BatchNormalization without": lambda: [K.BatchNormalization(center=False, scale=False)],
    "BatchNormalization center": lambda: [K.BatchNormalization(scale=False)],
    "BatchNormalization scale": lambda: [K.BatchNormalization(center=False), K.Dense(3)],
    "LayerNormalization": lambda: [K.LayerNormalization(), K.Dense(3)],
    "LayerNormalization options": lambda: [K.LayerNormalization(axis=1, epsilon=0.1), K.Dense(3)],
    "LayerNormalization without": lambda: [K.LayerNormalization(center=False, scale=False)],
    "LayerNormalization center": lambda: [K.LayerNormalization(scale=False)],
    "LayerNormalization scale": lambda: [K.LayerNormalization(center=False), K.Dense(3)],
    "noise": lambda: [K.Dropout(0.5), K.GaussianNoise(0.5), K.Dropout(0.0), K.Dense(3)],
    "shapes": lambda: [K.Flatten(), K.Reshape((2, 3)), K.Activation("relu"), K.Reshape((-1,)), K.Dense(3), K.Flatten()],
    "Rescaling": lambda: [K.Rescaling(0.5, offset=-1), K.Dense(3)],
    "Rescaling each": lambda: [K.Rescaling([1, 2, 3, 4, 5, 6.0], offset=[0, 0, 1, 0, 0, 0.5]), K.Dense(3)],
    "Normalization": lambda: [K.Normalization(mean=[1, 2, 3, 4, 5, 6], variance=[1, 2, 3, 4, 5, 0]), K.Dense(3)],
    "Normalization by one": lambda: [K.Normalization(axis=None, mean=1.0, variance=4.0), K.Dense(3)],
    "Normalization inverted": lambda: [K.Normalization(mean=[1.0] * 6, variance=[2.0] * 6, invert=True), K.Dense(3)],
    "Identity": lambda: [K.Identity(), K.Dense(3)],
    "models": lambda: [
        keras.Sequential([K.Dense(5, "relu"), keras.Sequential([K.Dense(4), K.LayerNormalization()])]), K.Dense(3),
    ],
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_layers(case):
    model = sequential(*CASES[case]())
    net = nf.from_keras(model, seed=0)
    x = samples()
    if case == "Normalization":  # the last feature does not vary, and is divided by 1e-7
        x[:, 5] = 6
    close(net, model, x)


def test_fused_activations():
    net = nf.from_keras(sequential(K.Dense(4), K.ReLU(), K.Dense(3, kernel_regularizer="l2"), K.Softmax()))
    assert net.layers == (nf.Dense(4, "relu"), nf.Dense(3, "softmax", l2=0.01))
    assert net.loss_name == "cross_entropy"


def test_adapted_normalization():
    x = samples() * 3 + 100
    layer = K.Normalization()
    layer.adapt(x)
    model = keras.Sequential([keras.Input((6,)), layer, K.Dense(3, "tanh")])
    net = nf.from_keras(model)
    np.testing.assert_allclose(net.predict(x), predicted(model, x), atol=10 * TOLERANCE)
    assert [layer.trainable for layer in net.layers] == [False, False, True]
    image = K.Normalization()
    x = samples(2, 3)
    image.adapt(x)
    model = keras.Sequential([keras.Input((2, 3)), image, K.Flatten(), K.Dense(3, "tanh")])
    net = nf.from_keras(model)
    assert net.input_shape == (2, 3)
    np.testing.assert_allclose(net.predict(x), predicted(model, x), atol=10 * TOLERANCE)


def test_residuals():
    inputs = keras.Input((6,))
    x = K.Dense(8, "relu", name="first")(inputs)
    x = x + K.Dense(8, "tanh")(K.LayerNormalization()(x))
    y = K.BatchNormalization()(x)
    y = K.Add()([K.Dense(8)(y), y])
    x = K.Add()([y, x])
    x = K.Add()([x, x])
    block = keras.Input((8,))
    block_model = keras.Model(block, K.Add()([block, K.Dense(8, "silu")(block)]), name="block")
    x = block_model(x)
    x = K.Add()([x, keras.Sequential([K.Dense(4, "relu"), K.Dense(8)])(x)])
    model = randomize(keras.Model(inputs, K.Dense(2, name="last")(x)))
    net = nf.from_keras(model)
    close(net, model, samples())
    kinds = [type(layer).__name__ for layer in net.layers]
    assert kinds == ["Dense", "Residual", "Residual", "Residual", "Residual", "Residual", "Dense"]
    np.testing.assert_array_equal(net.params["6.W"], model.get_layer("last").get_weights()[0])


def test_random_architectures():
    random = np.random.default_rng(0)
    names = list(CASES)
    for _ in range(10):
        inputs = keras.Input((6,))
        x = inputs
        for _ in range(random.integers(1, 6)):
            y = x
            for case in random.choice(names, 2):
                if case not in ("Rescaling each", "Normalization", "Normalization inverted", "shapes"):
                    for layer in CASES[case]():
                        y = layer(y)
            width = int(x.shape[-1])
            x = K.Add()([x, K.Dense(width)(y)]) if random.random() < 0.5 else y
        model = randomize(keras.Model(inputs, x))
        net = nf.from_keras(model)
        data = samples()
        expected = predicted(model, data)
        np.testing.assert_allclose(
            net.predict(data), expected, rtol=0, atol=30 * TOLERANCE * max(1, np.abs(expected).max())
        )


def test_models_at_the_end_of_models():
    inner = functional(lambda x: K.Dense(3, "softmax")(x + K.Dense(6)(x)))
    model = randomize(functional(lambda x: inner(K.Dropout(0.5)(K.Dense(6, "relu")(x)))))
    close(nf.from_keras(model), model, samples())
    outer = functional(lambda x: keras.Sequential([K.Dense(4), K.Softmax()])(inner(x)))
    close(nf.from_keras(outer), outer, samples())
    part = keras.Model(inner.inputs, inner.layers[-2].output)
    close(nf.from_keras(part), part, samples())


def test_frozen_layers():
    model = sequential(K.Dense(4, trainable=False), K.BatchNormalization(), K.Dense(3))
    inner = keras.Sequential([keras.Input((3,)), K.Dense(2), K.LayerNormalization(center=False)])
    inner.trainable = False
    model.add(inner)
    model.layers[1].trainable = False
    net = nf.from_keras(model)
    assert [layer.trainable for layer in net.layers] == [False, False, True, False, False, False]
    model.trainable = False
    assert not any(layer.trainable for layer in nf.from_keras(model).layers)


def test_copies():
    model = sequential(K.Dense(3))
    net = nf.from_keras(model)
    before = predicted(model, samples())
    net.flat_params[...] = 0
    np.testing.assert_array_equal(predicted(model, samples()), before)


# ---- losses


@pytest.mark.parametrize(
    ("activation", "given", "expected"),
    [
        (None, "mse", nf.losses.MeanSquaredError()),
        (None, "mean_absolute_error", nf.losses.MeanAbsoluteError()),
        (None, lambda: keras.losses.Huber(), nf.losses.Huber()),
        (None, lambda: keras.losses.huber, nf.losses.Huber()),
        (None, "log_cosh", nf.losses.LogCosh()),
        (None, "hinge", nf.losses.Hinge()),
        ("softplus", "poisson", nf.losses.Poisson(log_input=False)),
        ("sigmoid", "binary_crossentropy", nf.losses.BinaryCrossEntropy()),
        ("sigmoid", lambda: keras.losses.BinaryCrossentropy(label_smoothing=0.1),
         nf.losses.BinaryCrossEntropy(label_smoothing=0.1)),
        ("softmax", "sparse_categorical_crossentropy", nf.losses.CrossEntropy()),
        ("softmax", lambda: [keras.losses.CategoricalCrossentropy(label_smoothing=0.1)],
         nf.losses.CrossEntropy(label_smoothing=0.1)),
        ("softmax", "kl_divergence", nf.losses.KLDivergence()),
        ("softmax", None, nf.losses.CrossEntropy()),
        ("sigmoid", None, nf.losses.BinaryCrossEntropy()),
    ],
)  # fmt: skip
def test_losses(activation, given, expected):
    model = sequential(K.Dense(3, activation))
    given = given() if callable(given) else given
    if given is not None:
        model.compile(loss=given)
    net = nf.from_keras(model)
    assert net.loss_function == expected
    if given is not None and not isinstance(given, list):
        x = samples()
        random = np.random.default_rng(2)
        if given == "hinge":
            y = random.integers(0, 2, (20, 3)) * 2.0 - 1
        elif given == "sparse_categorical_crossentropy":
            y = random.integers(0, 3, 20)
        elif activation == "softmax":
            y = random.dirichlet(np.ones(3), 20)
        else:
            y = random.integers(0, 2, (20, 3)).astype(float)
        found = np.mean(keras.ops.convert_to_numpy(keras.losses.get(given)(y, model(x))))
        assert net.loss(x, y) == pytest.approx(found, rel=1e-5)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("cosine_similarity", r"its loss cosine_similarity is not supported: give one with loss="),
        (lambda: lambda y, p: keras.ops.mean(y - p), r"its loss <lambda> is not supported"),
        (
            lambda: keras.losses.SparseCategoricalCrossentropy(from_logits=True),
            "has from_logits=True, which is not sup",
        ),
        (lambda: keras.losses.MeanSquaredError(reduction="sum"), "has reduction='sum'"),
        (lambda: keras.losses.Huber(delta=2.0), "its loss Huber has a delta that its configuration does not contain"),
        ("categorical_crossentropy", "its loss does not fit: loss 'cross_entropy' needs an output layer with"),
    ],
)
def test_losses_that_are_not_supported(given, message):
    model = sequential(K.Dense(3))
    model.compile(loss=given() if callable(given) else given)
    with pytest.raises(ValueError, match=message):
        nf.from_keras(model)
    assert nf.from_keras(model, loss="huber").loss_name == "huber"


# ---- training goes on

OPTIMIZERS = {
    "Adam": (lambda: keras.optimizers.Adam(0.01), lambda: nf.Adam(0.01, epsilon=1e-7, corrected_epsilon=True)),
    "Adam amsgrad": (
        lambda: keras.optimizers.Adam(0.01, amsgrad=True, epsilon=1e-3),
        lambda: nf.Adam(0.01, epsilon=1e-3, corrected_epsilon=True, amsgrad=True),
    ),
    "AdamW": (
        lambda: keras.optimizers.AdamW(0.01, weight_decay=0.1),
        lambda: nf.AdamW(0.01, epsilon=1e-7, corrected_epsilon=True, weight_decay=0.1),
    ),
    "Nadam": (
        lambda: keras.optimizers.Nadam(0.01, beta_2=0.99),
        lambda: nf.NAdam(0.01, beta2=0.99, epsilon=1e-7, momentum_decay=1.0),
    ),
    "SGD": (lambda: keras.optimizers.SGD(0.1), lambda: nf.SGD(0.1)),
    "SGD momentum": (lambda: keras.optimizers.SGD(0.1, momentum=0.9), lambda: nf.SGD(0.1, momentum=0.9)),
    "SGD nesterov": (
        lambda: keras.optimizers.SGD(0.1, momentum=0.8, nesterov=True),
        lambda: nf.SGD(0.1, momentum=0.8, nesterov=True),
    ),
    "Lion": (lambda: keras.optimizers.Lion(0.01), lambda: nf.Lion(0.01)),
    "Adadelta": (
        lambda: keras.optimizers.Adadelta(1.0, rho=0.9),
        lambda: nf.Adadelta(1.0, rho=0.9, epsilon=1e-7),
    ),
}


@pytest.mark.skipif(keras.backend.backend() == "numpy", reason="Keras on NumPy does not train")
@pytest.mark.parametrize("case", OPTIMIZERS)
def test_steps_are_those_of_keras(case):
    theirs, ours = (make() for make in OPTIMIZERS[case])
    inner = keras.Sequential([K.Dense(5, "tanh"), K.Dense(4, trainable=False)])
    model = sequential(inner, K.LayerNormalization(), K.Dense(2))
    model.compile(theirs, "mse", run_eagerly=True)
    x, y = samples(), samples(2)
    model.fit(x, y, batch_size=20, epochs=4, shuffle=False, verbose=0)
    net = nf.from_keras(model)
    before = net.flat_params.copy()
    model.fit(x, y, batch_size=20, epochs=4, shuffle=False, verbose=0)
    for _ in range(4):
        net.train_step(x, y, optimizer=ours)
    assert np.abs(net.flat_params - before).max() > 1e-3
    # in float64, Keras keeps the learning rate in float32
    tolerance = {"float32": 1e-5, "float64": 1e-8}[DTYPE]
    np.testing.assert_allclose(net.predict(x), predicted(model, x), rtol=0, atol=tolerance)
    again = nf.from_keras(model)
    again.flat_params[...] = before
    again.reset_optimizer()
    for _ in range(4):
        again.train_step(x, y, optimizer=ours)
    differs = not np.allclose(again.predict(x), net.predict(x), rtol=0, atol=1e-4)
    assert differs == (case != "SGD")  # without its state


@pytest.mark.skipif(keras.backend.backend() == "numpy", reason="Keras on NumPy does not train")
def test_states_that_are_left_out():
    x, y = samples(), samples(2)
    for optimizer in (
        keras.optimizers.RMSprop(), keras.optimizers.Adagrad(), keras.optimizers.Ftrl(),
        keras.optimizers.Adam(gradient_accumulation_steps=2),
    ):  # fmt: skip
        model = sequential(K.Dense(2))
        model.compile(optimizer, "mse", run_eagerly=True)
        model.fit(x, y, verbose=0)
        net = nf.from_keras(model)
        close(net, model, x)
        net.fit(x, y, epochs=1, verbose=0)


# ---- errors


def functional(make):
    inputs = keras.Input((6,))
    return keras.Model(inputs, make(inputs))


class OwnCall(keras.Model):
    def __init__(self):
        super().__init__()
        self.dense = K.Dense(3)

    def call(self, x):
        return self.dense(x) * 2


class OwnSequential(keras.Sequential):
    def call(self, x, training=None, mask=None):
        return super().call(x) * 2


class OwnDense(K.Dense):
    def call(self, x, training=None):
        return super().call(x) * 2


def shared():
    layer = K.Dense(6)
    return functional(lambda x: layer(layer(x)))


def shared_in_a_model():
    layer = K.Dense(6, name="inner")
    return sequential(layer, keras.Sequential([layer]))


def with_lora():
    model = sequential(K.Dense(3, name="d"))
    model.layers[0].enable_lora(2)
    return model


def several_losses():
    model = sequential(K.Dense(2))
    model.compile(loss=["mse", "mae"])
    return model


def several_inputs():
    first, second = keras.Input((6,)), keras.Input((6,))
    return keras.Model([first, second], K.Dense(2)(first + second))


def several_outputs():
    inputs = keras.Input((6,))
    return keras.Model(inputs, [K.Dense(2)(inputs), K.Dense(2)(inputs)])


def quantized():
    model = sequential(K.Dense(3, name="small"))
    model.quantize("int8")
    return model


def own_call():
    model = OwnCall()
    model(samples())
    return model


ERRORS = {
    "convolution": (
        lambda: sequential(K.Reshape((6, 1)), K.Conv1D(2, 3, name="conv"), K.Flatten()),
        r"model cannot become a network: conv \(Conv1D\) is not supported: supported are Dense, Activation,",
    ),
    "recurrent": (lambda: sequential(K.Reshape((6, 1)), K.LSTM(2, name="rnn")), r"rnn \(LSTM\) is not supported"),
    "embedding": (lambda: sequential(K.Embedding(9, 2, name="e"), K.Flatten()), r"e \(Embedding\) is not supported"),
    "PReLU": (lambda: sequential(K.PReLU(name="p")), r"p \(PReLU\) is not supported"),
    "alpha dropout": (lambda: sequential(K.AlphaDropout(0.1, name="a")), r"a \(AlphaDropout\) is not supported"),
    "lambda": (lambda: sequential(K.Lambda(lambda x: x * 2, name="f")), r"f \(Lambda\) is not supported"),
    "activation": (lambda: sequential(K.Dense(3, "softsign", name="d")), r"d \(Dense\): activation 'softsign' is not"),
    "own activation": (
        lambda: sequential(K.Activation(lambda x: x * 2, name="d")), r"d \(Activation\): activation .* is not supp",
    ),
    "relu6": (lambda: sequential(K.ReLU(6.0, name="r")), r"r \(ReLU\): max_value and threshold are not supported"),
    "dense on two axes": (
        lambda: sequential(K.Dense(3, name="d"), shape=(2, 6)), r"d \(Dense\): samples must have one axis, got shape",
    ),
    "norm on two axes": (
        lambda: sequential(K.BatchNormalization(name="b"), shape=(2, 6)), r"b \(BatchNormalization\): samples must",
    ),
    "softmax on two axes": (
        lambda: sequential(K.Softmax(name="s"), shape=(2, 6)), r"s \(Softmax\): samples must have one axis",
    ),
    "softmax on another axis": (
        lambda: sequential(K.Softmax(axis=1, name="s"), shape=(2, 6)), r"s \(Softmax\): axis=1 is not supported",
    ),
    "activation softmax": (
        lambda: sequential(K.Activation("softmax", name="s"), shape=(2, 6)), r"s \(Activation\): samples must have one",
    ),
    "rms": (lambda: sequential(K.RMSNormalization(name="n")), r"n \(RMSNormalization\) is not supported"),
    "renorm": (
        lambda: sequential(K.BatchNormalization(renorm=True, name="b")), r"b \(BatchNormalization\): renorm is not",
    ),
    "noise shape": (
        lambda: sequential(K.Dropout(0.5, noise_shape=(1, 6), name="d")), r"d \(Dropout\): noise_shape is not",
    ),
    "own call": (own_call, r"\(OwnCall\) has a call method of its own, whose layers are not known: build it"),
    "own sequential": (lambda: OwnSequential([keras.Input((6,)), K.Dense(2)]), r"\(OwnSequential\) has a call method"),
    "own layer": (lambda: sequential(OwnDense(3, name="d")), r"d \(OwnDense\) is not supported"),
    "not built": (lambda: keras.Sequential([K.Dense(2)], name="m"), r"m \(Sequential\) is not built: call its build"),
    "unknown sizes": (
        lambda: keras.Sequential([keras.Input((None, 6)), K.ReLU()]), r"shape of a sample must be known, got \(None",
    ),
    "several inputs": (several_inputs, r"\(Functional\) must have one input, and has 2"),
    "several outputs": (several_outputs, r"\(Functional\) must have one output, and has 2"),
    "shared weights": (shared, r"\(Dense\) is used twice, with the same weights"),
    "shared in a model": (shared_in_a_model, r"inner \(Dense\) is used twice, with the same weights"),
    "LoRA": (with_lora, r"d \(Dense\): its weights lora_kernel_a, lora_kernel_b are not supported"),
    "several losses": (several_losses, r"its loss \['mse', 'mae'\] is not supported: give one with loss="),
    "sum of branches": (
        lambda: functional(lambda x: K.Add(name="a")([K.Dense(2)(x), K.Dense(2)(x)])),
        r"a \(Add\) adds two results of which neither is computed from the other",
    ),
    "sum of three": (
        lambda: functional(lambda x: K.Add(name="a")([x, K.Dense(6)(x), K.Dense(6)(x)])),
        r"a \(Add\) has 3 inputs, which is supported only of sums",
    ),
    "broadcast": (
        lambda: functional(lambda x: K.Dense(1)(x) + x), r"add.* \(Add\) adds samples of shapes \(6,\) and \(1,\)",
    ),
    "concatenation": (
        lambda: functional(lambda x: K.Concatenate(name="c")([x, K.Dense(6)(x)])), r"c \(Concatenate\) has 2 inputs",
    ),
    "operator": (lambda: functional(lambda x: K.Dense(2)(x * 2.0)), r"operator multiply.* \(Multiply\) is not support"),
    "constant": (lambda: functional(lambda x: K.Dense(2)(x + 1.0)), r"operator add.* \(Add\) is not supported"),
    "training": (
        lambda: functional(lambda x: K.Dropout(0.5, name="d")(x, training=True)), r"d \(Dropout\) is called with train",
    ),
    "mixed precision": (
        lambda: sequential(K.Dense(2, dtype="mixed_float16", name="d")),
        r"d \(Dense\) computes in float16 with variables of float32: only float32 and float64 are supported; build",
    ),
    "half precision": (lambda: sequential(K.Dense(2, dtype="bfloat16", name="d")), r"d \(Dense\) computes in bfloat16"),
    "two dtypes": (
        lambda: sequential(K.Dense(2, dtype="float32"), K.Dense(2, dtype="float64", name="d")),
        r"d \(Dense\) has weights of float64, and those before of float32",
    ),
    "quantized": (quantized, r"small \(Dense\) is quantized \(int8\)"),
}  # fmt: skip


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    make, message = ERRORS[case]
    with pytest.raises(ValueError, match=message):
        nf.from_keras(make())


def test_what_is_no_model():
    for wrong in (None, 3, "model.keras", K.Dense(3), keras.Sequential):
        with pytest.raises(TypeError, match=r"model must be a model of Keras 3, got .*keras.saving.load_model"):
            nf.from_keras(wrong)
    with pytest.raises(TypeError, match="seed"):
        nf.from_keras(sequential(K.Dense(3)), seed="a")


def test_saved_models(tmp_path):
    model = functional(lambda x: K.Dense(2, "softmax")(x + K.Dense(6, "relu")(x)))
    model.compile("adam", "sparse_categorical_crossentropy")
    model.save(tmp_path / "model.keras")
    net = nf.from_keras(keras.saving.load_model(tmp_path / "model.keras"))
    close(net, model, samples())
    assert net.loss_name == "cross_entropy"


def test_double_precision():
    """Against NumPy: Keras itself rounds some results to its default dtype."""
    model = sequential(K.Dense(4, "relu", dtype="float64"), K.Dense(2, dtype="float64"))
    net = nf.from_keras(model)
    (W, b), (V, c) = (layer.weights for layer in model.layers)
    W, b, V, c = (np.array(keras.ops.convert_to_numpy(array.value)) for array in (W, b, V, c))
    assert net.dtype == W.dtype == np.float64
    x = samples().astype(np.float64)
    np.testing.assert_allclose(net.predict(x), np.maximum(x @ W + b, 0) @ V + c, rtol=0, atol=1e-12)
