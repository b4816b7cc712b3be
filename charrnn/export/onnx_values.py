"""Values of an ONNX graph that is being built: arithmetic with them adds nodes to the graph.

So the equations of a cell and the hash of n-grams, which are written for arrays of NumPy and torch,
write themselves into a graph.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper, numpy_helper


@dataclass(frozen=True)
class Value:
    """A result in a graph; arithmetic with it adds to the graph."""

    graph: "Graph"
    name: str

    def __add__(self, other: "Value | float") -> "Value":
        return self.graph.add("Add", self, other)

    def __sub__(self, other: "Value | float") -> "Value":
        return self.graph.add("Sub", self, other)

    def __mul__(self, other: "Value | float") -> "Value":
        return self.graph.add("Mul", self, other)

    def __rsub__(self, other: float) -> "Value":
        return self.graph.add("Sub", other, self)

    def __neg__(self) -> "Value":
        return self.graph.add("Neg", self)


@dataclass(frozen=True)
class Integers:
    """Integers in a graph, (batch, columns) and at least 0, with the arithmetic of a hash.

    Operators that ONNX lacks for int64 are written by others that give the same for such numbers.
    """

    value: Value
    columns: int = 1

    @property
    def shape(self) -> tuple[None, int]:
        """The size of the batch, which is not known, and the number of columns."""
        return None, self.columns

    def __getitem__(self, places: tuple[slice, slice]) -> "Integers":
        begin, end = places[1].start, places[1].stop
        ends = (self._vector(begin), self._vector(end), self._vector(1))
        return Integers(self.value.graph.add("Slice", self.value, *ends), end - begin)

    def __add__(self, other: "Integers | int") -> "Integers":
        return self._combined("Add", other)

    __radd__ = __add__

    def __mul__(self, other: int) -> "Integers":
        return self._combined("Mul", other)

    def __mod__(self, other: int) -> "Integers":
        return self._combined("Mod", other)

    def __and__(self, ones: int) -> "Integers":
        return self % (ones + 1)

    def __rshift__(self, bits: int) -> "Integers":
        return self._combined("Div", 1 << bits)

    def __xor__(self, other: "Integers") -> "Integers":
        return self._combined("BitwiseXor", other)

    def _combined(self, operator: str, other: "Integers | int") -> "Integers":
        number = other.value if isinstance(other, Integers) else self._vector(other)
        return Integers(self.value.graph.add(operator, self.value, number), self.columns)

    def _vector(self, number: int) -> Value:
        return self.value.graph.constant(np.array([number], np.int64))


@dataclass
class Graph:
    """The nodes and constants of a graph that is being built.

    It is also the module of arrays that the equations of a cell are given; see
    `charrnn.model.cells`.
    """

    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def add(self, operator: str, *inputs: "Value | float", **attributes: Any) -> Value:
        """Add a node with one output."""
        return self.add_many(operator, 1, *inputs, **attributes)[0]

    def add_many(
        self, operator: str, count: int, *inputs: "Value | float", **attributes: Any
    ) -> list[Value]:
        """Add a node with `count` outputs."""
        names = [one.name if isinstance(one, Value) else self.number(one).name for one in inputs]
        outputs = [f"{operator}.{len(self.nodes)}.{number}" for number in range(count)]
        self.nodes.append(helper.make_node(operator, names, outputs, **attributes))
        return [Value(self, name) for name in outputs]

    def constant(self, array: npt.NDArray[Any], name: str = "") -> Value:
        """Add a constant."""
        name = name or f"constant.{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return Value(self, name)

    def number(self, value: float) -> Value:
        """Add a number."""
        return self.constant(np.array(value, np.float32))

    def tanh(self, value: Value) -> Value:
        """Return the hyperbolic tangent."""
        return self.add("Tanh", value)

    def zeros_like(self, value: Value) -> Value:
        """Return zeros."""
        return value * 0.0

    def logaddexp(self, one: Value, other: Value) -> Value:
        """Return log(exp(one) + exp(other))."""
        return one + self.add("Softplus", other - one)
