"""One step of a model as an ONNX graph, built from its weights and not traced.

    inputs     ids (batch) int64, and each array of the state, state.0, state.1, ...
    outputs    logits (batch, vocab_size), and the state after the step, next.0, next.1, ...

The batch may have any size. States are those of `charrnn.model.shapes.state_shapes`; before the
first symbol, which is the start symbol, they are zeros. The loop over a text is the caller's, so a
graph has no length of a text in it. A cell's part of the graph comes from its own equations, which
are run on values that record what is done with them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper

from charrnn.config.cells import CELLS
from charrnn.config.model import ModelConfig
from charrnn.export.onnx_matches import embedded, followers
from charrnn.export.onnx_values import Graph, Integers, Value
from charrnn.model.cells import equations, gate_activations
from charrnn.model.ngram_hash import ngram_rows
from charrnn.model.numpy_layers import NORM_EPSILON
from charrnn.model.shapes import SKIP, TABLES, cell_states, state_shapes, tails

Weights = Mapping[str, npt.NDArray[Any]]

OPSET, IR_VERSION = 18, 8  # of onnx 1.13, 2022: the first with BitwiseXor
ACTIVATIONS = {"sigmoid": "Sigmoid", "tanh": "Tanh", "relu": "Relu"}


def step_graph(config: ModelConfig, weights: Weights) -> onnx.ModelProto:
    """Return the graph of one step of a model.

    Args:
        config: The shape of the network.
        weights: Named and shaped as `charrnn.model.shapes.weight_shapes` says.
    """
    graph = Graph()
    builder = _Builder(
        config, graph, {name: graph.constant(weights[name], name) for name in weights}
    )
    shapes = state_shapes(config)
    state = [Value(graph, f"state.{number}") for number in range(len(shapes))]
    logits, after = builder.step(Value(graph, "ids"), state)
    outputs = {"logits": logits} | {f"next.{number}": one for number, one in enumerate(after)}
    for name, value in outputs.items():
        graph.nodes.append(helper.make_node("Identity", [value.name], [name]))
    return _model(config, graph)


def _model(config: ModelConfig, graph: Graph) -> onnx.ModelProto:
    """Return the finished model of a graph, checked."""
    number = TensorProto.FLOAT
    shapes: list[list[int | str]] = [["batch", *shape] for shape in state_shapes(config)]

    def states(prefix: str) -> list[Any]:
        return [
            helper.make_tensor_value_info(f"{prefix}.{place}", number, shape)
            for place, shape in enumerate(shapes)
        ]

    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, ["batch"])
    logits = helper.make_tensor_value_info("logits", number, ["batch", config.vocab_size])
    inputs, outputs = [ids, *states("state")], [logits, *states("next")]
    whole = helper.make_graph(graph.nodes, "charrnn", inputs, outputs, graph.constants)
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(whole, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


@dataclass(frozen=True)
class _Builder:
    """Adds the parts of a network to a graph."""

    config: ModelConfig
    graph: Graph
    weights: Mapping[str, Value]

    def step(self, ids: Value, state: Sequence[Value]) -> tuple[Value, list[Value]]:
        """Return the logits and the state after a step."""
        count, after = CELLS[self.config.cell].num_states, list[Value]()
        values, codes, past = self.input(ids, state)
        for layer in range(self.config.num_layers):
            before = tuple(state[layer * count : (layer + 1) * count])
            values, carried = self.layer(layer, values, before)
            after += carried
        if self.config.attention:
            end = cell_states(self.config)
            values, memory = self.attention(values, *state[end : end + 2])
            after += memory
        for found, weight in past:
            values = values + self.affine(found, weight)
        return self.output(values), [*after, *codes]

    def input(
        self, ids: Value, state: Sequence[Value]
    ) -> tuple[Value, list[Value], list[tuple[Value, str]]]:
        """Return the first layer's input, the last codes, and what passes all layers.

        The latter are values, each with the name of the matrix that leads them to the output layer.
        """
        values = self.graph.add("Gather", self.weights["embedding.weight"], ids, axis=0)
        codes, past = list[Value](), list[tuple[Value, str]]()
        if self.config.ngram_embedding:
            sums, last = self.ngrams(ids, state[-2 if self.config.match_window else -1])
            codes.append(last)
            values = values + sums if self.config.ngrams_to_input else values
            past += [(sums, SKIP)] if self.config.ngrams_to_output else []
        if self.config.match_window:
            found, last = self.matches(ids, state[-1])
            codes.append(last)
            values = values + self.affine(found, "matches.input_weight")
            past.append((found, "matches.output_weight"))
        return values, codes, past

    def recent(self, ids: Value, before: Value, one: Value) -> Value:
        """Return the codes of the last symbols as integers, those of `ids` included."""
        size = self.graph.constant(np.array(self.config.vocab_size + 1, np.int64))
        added = self.graph.add("Add", ids, one)
        code = self.graph.add("Mod", added, size)  # the start symbol's is 0
        earlier = self.graph.add("Cast", before, to=TensorProto.INT64)
        return self.graph.add("Concat", earlier, self.graph.add("Unsqueeze", code, one), axis=1)

    def remembered(self, codes: Value, count: int, one: Value) -> Value:
        """Return all of `count` codes but the first, as the state has them."""
        end = self.graph.constant(np.array([count], np.int64))
        last = self.graph.add("Slice", codes, one, end, one)
        return self.graph.add("Cast", last, to=TensorProto.FLOAT)

    def matches(self, ids: Value, before: Value) -> tuple[Value, Value]:
        """Return the embeddings of what followed before, and the codes of the last symbols."""
        one = self.graph.constant(np.array([1], np.int64))
        codes = self.recent(ids, before, one)
        found = embedded(followers(codes, self.config), self.weights["embedding.weight"])
        return found, self.remembered(codes, self.config.match_history + 1, one)

    def ngrams(self, ids: Value, before: Value) -> tuple[Value, Value]:
        """Return the sum of the embeddings of n-grams, and the codes of the last symbols."""
        graph = self.graph
        one = graph.constant(np.array([1], np.int64))
        codes = self.recent(ids, before, one)
        rows = list(ngram_rows(Integers(codes, self.config.ngram_embedding), self.config))
        joined = graph.add("Concat", *(row.value for row in rows), axis=1)
        found = graph.add("Gather", self.weights[TABLES], joined, axis=0)
        sums = graph.add("ReduceSum", found, one, keepdims=0)
        return sums, self.remembered(codes, self.config.ngram_embedding, one)

    def layer(
        self, number: int, values: Value, before: tuple[Value, ...]
    ) -> tuple[Value, tuple[Value, ...]]:
        """Return a layer's output and its state after the step."""
        prefix, config = f"layers.{number}.", self.config
        gates = self.gates(f"{prefix}cell.", values, before[0])
        after = equations(config.cell).step(gates, before, self.graph)
        output, input_size = after[0], config.hidden_size if number else config.embedding_size
        if config.residual and input_size == config.hidden_size:
            output = output + values
        return (self.norm(f"{prefix}norm.", output) if config.layer_norm else output), after

    def gates(self, prefix: str, values: Value, hidden: Value) -> tuple[Any, ...]:
        """Return a layer's gates, as its cell's equations expect them."""
        kinds = gate_activations(self.config)
        if not CELLS[self.config.cell].recurrent:
            own = self.split(self.affine(values, f"{prefix}weight", f"{prefix}bias"))
            return tuple(map(self.activated, kinds, own))
        own, recurrent = (
            self.split(
                self.affine(one, f"{prefix}rnn.weight_{way}_l0", f"{prefix}rnn.bias_{way}_l0")
            )
            for one, way in ((values, "ih"), (hidden, "hh"))
        )
        return tuple(
            (one, other) if kind == "split" else self.activated(kind, one + other)
            for kind, one, other in zip(kinds, own, recurrent, strict=True)
        )

    def split(self, sums: Value) -> list[Value]:
        """Return the parts of (batch, gates * hidden_size) that belong to each gate."""
        count = len(gate_activations(self.config))
        sizes = self.graph.constant(np.full(count, self.config.hidden_size, np.int64))
        return self.graph.add_many("Split", count, sums, sizes, axis=1)

    def activated(self, kind: str, value: Value) -> Value:
        """Apply what a gate's kind says."""
        return self.graph.add(ACTIVATIONS[kind], value) if kind in ACTIVATIONS else value

    def affine(self, values: Value, weight: str, bias: str = "") -> Value:
        """Return `weight @ values + bias`."""
        inputs = [self.weights[name] for name in (weight, bias) if name]
        return self.graph.add("Gemm", values, *inputs, transB=1)

    def norm(self, prefix: str, values: Value) -> Value:
        """Apply layer norm."""
        inputs = [self.weights[f"{prefix}{name}"] for name in ("weight", "bias")]
        epsilon = float(NORM_EPSILON)
        return self.graph.add("LayerNormalization", values, *inputs, axis=-1, epsilon=epsilon)

    def attention(self, values: Value, memory: Value, count: Value) -> tuple[Value, list[Value]]:
        """Attend to the last states; see `charrnn.model.attention`."""
        graph, span = self.graph, self.config.attention
        key = self.norm("attention.norm.", values)
        place = graph.constant(np.array([1], np.int64))
        end = graph.constant(np.array([span], np.int64))
        rest = graph.add("Slice", memory, place, end, place)
        memory = graph.add("Concat", rest, graph.add("Unsqueeze", key, place), axis=1)
        count = graph.add("Min", count + 1.0, float(span))
        query = self.affine(key, "attention.query.weight") * self.config.hidden_size**-0.5
        last = graph.constant(np.array([2], np.int64))
        scores = graph.add("MatMul", memory, graph.add("Unsqueeze", query, last))
        scores = graph.add("Squeeze", scores, last)
        exists = graph.add(
            "GreaterOrEqual", graph.constant(np.arange(span, dtype=np.float32)), float(span) - count
        )
        shares = graph.add("Softmax", graph.add("Where", exists, scores, -1e30), axis=1)
        mixed = graph.add("MatMul", graph.add("Unsqueeze", shares, place), memory)
        answer = self.affine(graph.add("Squeeze", mixed, place), "attention.output.weight")
        return values + answer, [memory, count]

    def output(self, values: Value) -> Value:
        """Return the logits, or log probabilities if the softmax is adaptive."""
        head = self.head(values)
        rare = tails(self.config)
        if not rare:
            return head
        first = rare[0][0]
        sizes = self.graph.constant(np.array([first] + [1] * len(rare), np.int64))
        logs = self.graph.add("LogSoftmax", head, axis=1)
        parts = self.graph.add_many("Split", 1 + len(rare), logs, sizes, axis=1)
        for number in range(len(rare)):
            prefix = f"tails.{number}."
            narrow = self.affine(values, f"{prefix}project")
            inside = self.affine(narrow, f"{prefix}weight", f"{prefix}bias")
            parts[1 + number] = self.graph.add("LogSoftmax", inside, axis=1) + parts[1 + number]
        return self.graph.add("Concat", *parts, axis=1)

    def head(self, values: Value) -> Value:
        """Apply the output layer; a tied one is the embedding without the start symbol's row."""
        if not self.config.tied:
            return self.affine(values, "head_weight", "head_bias")
        begin, end = (
            self.graph.constant(np.array([row], np.int64)) for row in (0, self.config.vocab_size)
        )
        rows = self.graph.add("Slice", self.weights["embedding.weight"], begin, end, begin)
        return self.graph.add("Gemm", values, rows, self.weights["head_bias"], transB=1)
