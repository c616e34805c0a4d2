"""What every description has: fields with checks, the constructor that follows from them, and the registry of names."""

from __future__ import annotations

import copy
import inspect
import pickle
from typing import ClassVar

import numpy as np
import pytest

import nnfast as nf
from nnfast import activations, losses, optimizers, reference
from nnfast._description import Description, Field
from nnfast._validation import check_bool, check_float, check_int
from nnfast.activations import resolve_activation
from nnfast.kernels import arrays as kernels


def _array(name: str, value: object) -> np.ndarray | None:
    return None if value is None else np.array(value)


class Shape(Description, noun="a shape"):
    kind: ClassVar[str]
    corners: int = Field(lambda name, value: check_int(name, value, 0))
    filled: bool = Field(check_bool, default=False, kw_only=True)


class Regular(Shape, name="regular"):
    side: float = Field(check_float, default=1.0)
    center: object = Field(_array, default=None, kw_only=True, in_files=False)
    area: object = Field(lambda name, value: value, default=None, kw_only=True, shown=False)

    def settle(self) -> None:
        if self.corners == 2:
            raise ValueError(f"corners must not be 2, got side={self.side}")
        vars(self).update(length=self.corners * self.side)


def test_fields_become_the_constructor() -> None:
    assert list(inspect.signature(Regular).parameters) == ["corners", "side", "center", "area", "filled"]
    parameters = inspect.signature(Regular).parameters
    assert parameters["corners"].default is inspect.Parameter.empty
    assert (parameters["side"].default, parameters["side"].annotation) == (1.0, "float")
    assert [p.kind is p.KEYWORD_ONLY for p in parameters.values()] == [False, False, True, True, True]
    shape = Regular(3, np.float64(2), filled=True)
    assert (shape.corners, shape.side, shape.filled, shape.length) == (3, 2.0, True, 6.0)
    assert not hasattr(Regular, "corners"), "a field must not be found on the class"


@pytest.mark.parametrize(
    ("arguments", "names", "message"),
    [
        ((), {}, r"^Regular\(\) missing a required argument: 'corners'"),
        ((), {"side": 2}, r"^Regular\(\) missing a required argument: 'corners'"),
        ((1, 2, 3), {}, r"^Regular\(\) too many positional arguments"),
        ((1,), {"corners": 3}, r"^Regular\(\) multiple values for argument 'corners'"),
        ((1,), {"colour": 3}, r"^Regular\(\) got an unexpected keyword argument 'colour'"),
        ((1.5,), {}, "^corners must be an integer"),
    ],
)
def test_arguments_that_do_not_fit(arguments: tuple, names: dict, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        Regular(*arguments, **names)


def test_checks_across_fields() -> None:
    with pytest.raises(ValueError, match="^corners must not be 2, got side=1.0"):
        Regular(2)


def test_what_is_shown_compared_and_written() -> None:
    shape = Regular(3, 2, center=[1.0, -0.0], area=3)
    assert repr(shape) == "Regular(3, side=2.0, center=array(...))"
    assert repr(Regular(3, side=1, filled=False)) == "Regular(3)"
    assert shape == Regular(3, 2, center=[1.0, 0.0], area=3) != Regular(3, 2, center=[1.0, 1.0], area=3)
    assert hash(shape) == hash(Regular(3, 2, center=[1.0, 0.0], area=3))
    assert shape.config() == {"kind": "regular", "corners": 3, "side": 2.0, "area": 3}
    assert Shape.from_config(shape.config()) == Regular(3, 2, area=3)
    for twin in (copy.copy(shape), copy.deepcopy(shape)):
        assert twin == shape
        assert vars(twin).keys() == vars(shape).keys()
    with pytest.raises(AttributeError, match="^a shape is a description and does not change: make a new Regular with"):
        shape.side = 3.0


@pytest.mark.parametrize(
    ("config", "error", "message"),
    [
        ({"corners": 3}, KeyError, "kind"),
        ({"kind": "round", "corners": 3}, ValueError, "^unknown kind of shape 'round'"),
        ({"kind": "regular"}, KeyError, "corners"),
        ({"kind": "regular", "corners": 3, "center": 1}, ValueError, "^a shape of kind 'regular' has no 'center'"),
        ({"kind": "regular", "corners": 2}, ValueError, "^corners must not be 2"),
    ],
)
def test_configs_that_describe_nothing(config: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Shape.from_config(config)


def test_only_a_new_name_enters_the_registry() -> None:
    class Other(Regular):
        kind = "other"

    assert Shape.registry == {"regular": Regular}
    with pytest.raises(TypeError, match="^a shape named 'regular' exists already: Regular"):

        class Again(Regular, name="regular"):
            pass

    assert Shape.registry == {"regular": Regular}
    families = (nf.activations.Activation, nf.losses.Loss, nf.optimizers.Optimizer, Shape)
    assert len({id(family.registry) for family in families}) == len(families)

    class MySGD(nf.SGD):
        pass

    assert optimizers.NAMES["sgd"] is nf.SGD


def test_fields_that_are_not_inherited() -> None:
    class Circle(Shape, inherit=False):
        radius: float = Field(check_float)

    assert list(Circle.fields) == ["radius"]
    assert repr(Circle(2)) == "Circle(2.0)"


@pytest.mark.parametrize("kind", [*optimizers.NAMES.values(), nf.losses.Huber, nf.activations.GELU])
def test_signatures_are_those_that_help_shows(kind: type) -> None:
    first = next(iter(inspect.signature(kind).parameters.values()))
    assert kind(**{first.name: first.default}) == kind()
    assert pickle.loads(pickle.dumps(kind())) == kind()


# ---- facts of activations and losses

X = np.linspace(-4, 4, 81).reshape(-1, 3)  # with the corners of all, and zero
BETWEEN = X[:-1] + 0.037


@pytest.mark.parametrize("name", activations.NAMES)
def test_facts_of_activations(name: str) -> None:
    """As the twins have them: what is flat, mixes, never negative or unbounded."""
    activation, function = resolve_activation(name), getattr(reference, name)
    parameter = () if activation.alpha == 0 else (activation.alpha,)
    values, step = function(BETWEEN, *parameter), 1e-6
    slopes = (function(BETWEEN + step, *parameter) - values) / step
    assert activation.flat == (not slopes.any())
    changed = BETWEEN.copy()
    changed[:, 0] += 0.5
    assert activation.mixes == (function(changed, *parameter)[:, 1:] != values[:, 1:]).any()
    far = function(np.array([[-1e3, 0.0, 1e3]]), *parameter)
    if activation.not_negative:
        assert far.min() >= 0
    if activation.unbounded:
        assert far.min() < -1
        assert far.max() > 1
    if activation.logarithms:
        np.testing.assert_allclose(np.exp(values).sum(axis=1), 1)
    elif activation.classes:
        np.testing.assert_allclose(values.sum(axis=1), 1)


@pytest.mark.parametrize("name", activations.NAMES)
def test_activations_without_kinks_have_a_derivative_that_does_not_jump(name: str) -> None:
    activation, function = resolve_activation(name), getattr(reference, name)
    parameter = () if activation.alpha == 0 else (activation.alpha,)
    x = np.linspace(-4, 4, 80_001).reshape(-1, 1)
    if activation.mixes:
        x = np.hstack([x, np.zeros_like(x)])
    slopes = np.diff(function(x, *parameter)[:, 0]) / 1e-4
    assert activation.kinks == (np.abs(np.diff(slopes)).max() > 1e-2)


@pytest.mark.parametrize("name", activations.NAMES)
def test_derivatives_from_the_input_are_those_that_kernels_keep(name: str) -> None:
    activation = resolve_activation(name)
    try:
        kernels.apply_keep(np.ones((1, 2)), name, activation.alpha)
    except ValueError:
        assert not activation.from_input
    else:
        assert activation.from_input


@pytest.mark.parametrize("name", losses.NAMES)
def test_kernels_of_losses_exist(name: str) -> None:
    kind = losses.LOSSES[name]
    assert {name, *kind.fused.values()} <= set(kernels.LOSSES)
    assert set(kind.fused) <= set(activations.NAMES)
    loss = kind([0.5]) if kind.example else kind()
    assert len(loss.numbers()) <= 2
    for activation in activations.NAMES:
        assert resolve_activation(activation).loss in losses.NAMES


def test_the_hyperparameters_of_lbfgs_are_its_own() -> None:
    assert list(nf.LBFGS.fields) == ["history_size", "tolerance", "gradient_tolerance", "max_evaluations"]
    assert repr(nf.LBFGS(history_size=5)) == "LBFGS(history_size=5)"
    with pytest.raises(TypeError, match=r"^LBFGS\(\) got an unexpected keyword argument 'learning_rate'"):
        nf.LBFGS(learning_rate=0.1)


@pytest.mark.parametrize("kind", [getattr(nf.schedules, name) for name in nf.schedules.__all__])
def test_keyword_only_fields_of_a_base_class_come_last(kind: type) -> None:
    names = list(inspect.signature(kind).parameters)
    assert names[0] == "learning_rate"
    assert names[-1] == ("minimum" if kind is nf.schedules.ReduceOnPlateau else "by")


def test_an_array_may_be_an_argument() -> None:
    shape = Regular(3, center=np.array([1.0, 2.0]))
    assert repr(shape) == "Regular(3, center=array(...))"
