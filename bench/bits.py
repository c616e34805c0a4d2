"""Compare the bits of two builds: train a thousand small networks, and write a digest of each to a file.

``python bench/bits.py FILE``, run by the interpreters of two builds at the same SIMD level (``NNFAST_SIMD``), writes
equal files if the builds compute the same: every layer, activation, loss, optimizer and schedule, both dtypes, several
batch sizes and numbers of threads; training, prediction and gradients, numerical ones too. It uses public names only.
"""

import hashlib
import itertools
import json
import sys
import warnings

import numpy as np

import nnfast as nf

warnings.simplefilter("ignore")  # some of these trainings warn, rightly
nf.set_num_threads(1)
A = nf.activations
out = {}


def digest(*arrays):
    h = hashlib.sha1()
    for a in arrays:
        a = np.ascontiguousarray(a)
        h.update(str((a.dtype, a.ndim and a.size)).encode())
        h.update(a.tobytes())
    return h.hexdigest()[:16]


def state(net):
    return [net.flat_params, *net.statistics.values()]


def data(n, f, units, kind, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, f))
    x[rng.random(x.shape) < 0.1] = 0
    s = np.tanh(x @ rng.normal(size=(f, units)))
    y = {
        "labels": s.argmax(1) if units > 1 else (s[:, 0] > 0).astype(int),
        "onehot": np.eye(units)[s.argmax(1)],
        "bits": (s > 0).astype(float),
        "values": s,
        "counts": np.floor(1.5 * np.exp(s)),
        "positive": np.exp(s),
    }[kind]
    return x, y


def run(
    name,
    layers,
    loss,
    kind,
    opt,
    dtype,
    batch,
    n=53,
    f=6,
    units=3,
    steps=25,
    weights=False,
    shuffle=True,
    numerical=False,
    val=True,
):
    x, y = data(n, f, units, kind)
    net = nf.Sequential(layers, input_shape=f, loss=loss, dtype=dtype, seed=7)
    w = np.random.default_rng(1).random(n) if weights else None
    kw = {"steps": steps, "batch_size": batch, "shuffle": shuffle}
    if isinstance(opt, nf.LBFGS):
        kw = {"epochs": 6}
    if numerical:
        kw["gradient"] = "numerical"
    h = net.fit(
        x,
        y,
        optimizer=opt,
        verbose=0,
        sample_weight=w,
        validation_data=(x[:9], y[:9]) if val and not weights else None,
        **kw,
    )
    g = net.gradient(x[:11], y[:11], wrt=[*net.params, "x"] if len(net.params) else ["x"])
    o = net.forward(x[: batch + 1], training=True)
    gi = net.backward(np.ones_like(o))
    parts = [
        *state(net),
        h.step_loss,
        h.learning_rate,
        *[np.array(v) for v in h.values()],
        *g.values(),
        o,
        gi,
        net.predict(x),
        net.predict_one(x[0]),
        np.array(net.loss(x, y)),
    ]
    if dtype == "float64" and len(net.params) and n * net.n_parameters < 40000:
        parts += list(net.numerical_gradient(x[:9], y[:9], wrt=[*net.params, "x"], verbose=0).values())
    assert name not in out, name
    out[name] = digest(*parts)


ACTS = [
    "identity",
    "step",
    "sigmoid",
    "tanh",
    "relu",
    "leaky_relu",
    "elu",
    "selu",
    "gelu",
    "gelu_tanh",
    "silu",
    "softplus",
    "hard_sigmoid",
    "softmax",
    "log_softmax",
]
OBJ = {"leaky_relu_.2": A.LeakyReLU(0.2), "elu_.5": A.ELU(0.5), "softplus_2": A.Softplus(2.0), "gelu_t": A.GELU("tanh")}
D = ("float32", "float64")
for a, dt in itertools.product(ACTS + list(OBJ), D):
    act = OBJ.get(a, a)
    for b in (1, 8, 40):
        run(f"act {a} {dt} {b}", [nf.Dense(7, act), nf.Dense(3, "softmax")], None, "labels", nf.SGD(0.1), dt, b)
    run(
        f"act layer {a} {dt}",
        [nf.Dense(7), nf.LayerNorm(), nf.Activation(act), nf.Dense(3)],
        None,
        "values",
        nf.Adam(0.01),
        dt,
        16,
    )
L = nf.losses
LOSS = [
    ("cross_entropy", "softmax", "labels"),
    ("cross_entropy", "log_softmax", "onehot"),
    ("binary_cross_entropy", "sigmoid", "bits"),
    ("mean_squared_error", "identity", "values"),
    ("mean_squared_error", "sigmoid", "bits"),
    ("mean_squared_error", "softmax", "onehot"),
    ("sum_squared_error", "tanh", "values"),
    ("mean_absolute_error", "identity", "values"),
    ("huber", "identity", "values"),
    ("log_cosh", "identity", "values"),
    ("poisson", "identity", "counts"),
    ("hinge", "identity", "bits"),
    ("kl_divergence", "softmax", "onehot"),
    ("kl_divergence", "log_softmax", "onehot"),
    (L.CrossEntropy(0.1), "softmax", "labels"),
    (L.CrossEntropy(0.1), "softmax", "onehot"),
    (L.BinaryCrossEntropy(0.2), "sigmoid", "bits"),
    (L.Huber(0.3), "identity", "values"),
    (L.Poisson(log_input=False), "softplus", "counts"),
    (L.Quantile(0.3), "identity", "values"),
    ("sum_squared_error", "step", "bits"),
]
for (loss, a, k), dt, w, b in itertools.product(LOSS, D, (False, True), (4, 30)):
    run(
        f"loss {loss} {a} {k} {dt} {w} {b}",
        [nf.Dense(9, "tanh"), nf.Dense(3, a)],
        loss,
        k,
        nf.Adam(0.01),
        dt,
        b,
        weights=w,
    )
for dt in D:
    run(
        f"loss quantiles {dt}",
        [nf.Dense(9, "tanh"), nf.Dense(6)],
        L.Quantile([0.1, 0.5, 0.9]),
        "values",
        nf.Adam(0.01),
        dt,
        8,
        units=2,
    )
    run(
        f"loss wide labels {dt}",
        [nf.Dense(9, "tanh"), nf.Dense(50, "softmax")],
        None,
        "labels",
        nf.Adam(0.01),
        dt,
        8,
        units=50,
    )
S = nf.schedules


def opts():
    yield "sgd", nf.SGD(0.05)
    yield "sgdm", nf.SGD(0.05, momentum=0.9)
    yield "sgdn", nf.SGD(0.05, momentum=0.9, nesterov=True, weight_decay=1e-2)
    yield "sgdd", nf.SGD(0.05, momentum=0.9, dampening=0.3, decay_biases=False, weight_decay=1e-2)
    yield "sgdclip", nf.SGD(0.05, clip_norm=0.1)
    yield "sgdclipv", nf.SGD(0.05, clip_value=0.01, average_decay=0.9)
    yield "adam", nf.Adam(0.01)
    yield "adamams", nf.Adam(0.01, amsgrad=True, weight_decay=1e-2)
    yield "adamdec", nf.Adam(0.01, decoupled_weight_decay=True, weight_decay=1e-2, clip_norm=0.5, clip_value=0.1)
    yield "adamw", nf.AdamW(0.01, decay_biases=False)
    yield "adamwams", nf.AdamW(0.01, amsgrad=True, average_decay=0.99)
    yield "nadam", nf.NAdam(0.01)
    yield "nadamw", nf.NAdam(0.01, weight_decay=0.1, decoupled_weight_decay=True)
    yield "adagrad", nf.Adagrad(0.05, learning_rate_decay=0.1, initial_accumulator_value=0.1)
    yield "rmsprop", nf.RMSprop(0.01)
    yield "rmspropc", nf.RMSprop(0.01, centered=True, momentum=0.5, weight_decay=1e-3)
    yield "adadelta", nf.Adadelta(0.5, weight_decay=1e-3)
    yield "lbfgs", nf.LBFGS()
    yield "cosine", nf.Adam(S.Cosine(0.01, steps=20, warmup=3))
    yield "onecycle", nf.SGD(S.OneCycle(0.1, steps=25), momentum=0.9)
    yield "steps", nf.SGD(S.Step(0.1, step_size=2, gamma=0.5, by="epoch"))
    yield "exp", nf.SGD(S.Exponential(0.1, gamma=0.9))
    yield "inv", nf.Adam(S.InverseTime(0.01, steps=3))
    yield "const", nf.Adam(S.Constant(0.01, warmup=5))
    yield "plateau", nf.Adam(S.ReduceOnPlateau(0.05, patience=0, monitor="loss"))


for (name, o), dt, b in itertools.product(list(opts()), D, (5, 16, 60)):
    run(
        f"opt {name} {dt} {b}",
        [nf.Dense(11, "relu", l2=0.01 if b == 5 else 0.0), nf.BatchNorm(), nf.Dense(3, "softmax")],
        None,
        "labels",
        o,
        dt,
        b,
        n=54,
    )
    run(
        f"opt plain {name} {dt} {b}",
        [nf.Dense(33, "tanh"), nf.Dense(3, "softmax")],
        None,
        "labels",
        o,
        dt,
        b,
        shuffle=not isinstance(o, nf.LBFGS) and b != 16,
    )
LAY = {
    "dense nobias": lambda: nf.Dense(6, "gelu", use_bias=False),
    "dense pen": lambda: nf.Dense(6, "softplus", l1=0.02, l2=0.03),
    "dense frozen": lambda: nf.Dense(6, "silu", trainable=False, l2=0.03),
    "rescaling": lambda: nf.Rescaling(-0.7, 0.2),
    "dropout": lambda: nf.Dropout(0.4),
    "noise": lambda: nf.GaussianNoise(0.3),
    "bn": lambda: nf.BatchNorm(momentum=0.3, epsilon=1e-3),
    "bn pen": lambda: nf.BatchNorm(l1=0.02, l2=0.03),
    "bn plain": lambda: nf.BatchNorm(affine=False),
    "bn frozen": lambda: nf.BatchNorm(trainable=False),
    "ln": lambda: nf.LayerNorm(epsilon=1e-3),
    "ln pen": lambda: nf.LayerNorm(l1=0.02, l2=0.03),
    "ln plain": lambda: nf.LayerNorm(affine=False),
    "ln frozen": lambda: nf.LayerNorm(trainable=False),
    "res": lambda: nf.Residual([nf.Dense(8, "gelu_tanh"), nf.Dense(6)]),
    "res norms": lambda: nf.Residual([nf.BatchNorm(), nf.Dropout(0.2), nf.LayerNorm()]),
    "res res": lambda: nf.Residual(
        [
            nf.Residual([nf.Dense(6, "silu"), nf.BatchNorm(epsilon=0.1), nf.GaussianNoise(0.1)]),
            nf.Residual([nf.Dropout(0.3)]),
        ]
    ),
}
for (name, make), dt, b in itertools.product(LAY.items(), D, (7, 16, 40)):
    run(
        f"layer first {name} {dt} {b}",
        [make(), nf.Dense(3, "softmax")],
        None,
        "labels",
        nf.Adam(0.02),
        dt,
        b,
        weights=b == 16,
    )
    run(
        f"layer mid {name} {dt} {b}",
        [nf.Dense(6, "tanh"), make(), nf.Dense(3, "sigmoid")],
        None,
        "bits",
        nf.SGD(0.1, momentum=0.5, clip_norm=3.0 if b == 7 else None),
        dt,
        b,
    )
    run(
        f"layer last {name} {dt} {b}",
        [nf.Dense(6), make()],
        None,
        "values",
        nf.AdamW(0.02, decay_biases=b == 7),
        dt,
        b,
        units=6,
    )
    if b == 7:
        run(
            f"layer numerical {name} {dt}",
            [nf.Dense(6, "tanh"), make(), nf.Dense(3, "softmax")],
            None,
            "labels",
            nf.SGD(0.1),
            dt,
            b,
            numerical=True,
            steps=3,
        )
for dt, b in itertools.product(D, (1, 3, 16, 17, 100, 300)):
    run(
        f"size book {dt} {b}",
        [nf.Dense(50, "sigmoid"), nf.Dense(10, "softmax")],
        None,
        "labels",
        nf.SGD(0.1),
        dt,
        b,
        n=310,
        f=120,
        units=10,
        steps=12,
    )
    run(
        f"size wide {dt} {b}",
        [nf.Dense(257, "relu"), nf.Dense(130, "relu"), nf.Dense(10, "softmax")],
        None,
        "labels",
        nf.Adam(),
        dt,
        b,
        n=310,
        f=64,
        units=10,
        steps=6,
    )
    run(f"size one {dt} {b}", [nf.Dense(1)], None, "values", nf.SGD(0.01), dt, b, n=310, f=3, units=1)
    run(
        f"size deep {dt} {b}",
        [nf.Dense(16, "relu") for _ in range(8)] + [nf.Dense(1, "sigmoid")],
        None,
        "bits",
        nf.Adam(),
        dt,
        b,
        n=310,
        f=16,
        units=1,
    )
for threads in (2, 3):
    nf.set_num_threads(threads)
    for dt in D:
        run(
            f"threads {threads} {dt}",
            [
                nf.Dense(257, "relu"),
                nf.BatchNorm(),
                nf.Dropout(0.3),
                nf.Dense(130, "relu"),
                nf.LayerNorm(),
                nf.Dense(10, "softmax"),
            ],
            None,
            "labels",
            nf.Adam(),
            dt,
            300,
            n=310,
            f=64,
            units=10,
            steps=6,
        )
with open(sys.argv[1], "w") as file:
    json.dump(out, file, indent=0, sort_keys=True)
print(len(out), "networks", nf.__file__)
