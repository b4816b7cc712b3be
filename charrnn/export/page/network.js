"use strict";
// The network, one symbol at a time, over typed arrays.
//
//   id -> input layer -> layers: cell, residual, layer norm -> attention -> output layer -> logits
//
// This is charrnn/model/numpy_model.py again, and the equations of a cell are those of the file of
// its name in charrnn/model/cells/. A state is never changed after it was returned, so that any
// number of continuations can start from it.

const NORM_EPSILON = 1e-5;
const MAX_CACHED_INPUTS = 4096; // symbols whose product with the first layer's matrix is kept

const sigmoid = (x) => 1 / (1 + Math.exp(-x));
const softplus = (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
const ACTIVATIONS = { tanh: Math.tanh, relu: (x) => Math.max(x, 0), sigmoid };

// Each cell: `gates`, blocks of rows in its matrices; `states`, arrays that it carries, the first of
// which is its output; and `step`, from the input's sums, the state's sums and the state before to
// the state after. All arrays have `size` entries per gate.
const CELLS = {
  rnn: {
    gates: 1,
    states: 1,
    step(size, own, recurrent, before, activation) {
      const h = new Float32Array(size);
      for (let j = 0; j < size; j++) h[j] = activation(own[j] + recurrent[j]);
      return [h];
    },
  },
  gru: {
    gates: 3,
    states: 1,
    step(size, own, recurrent, [before]) {
      const h = new Float32Array(size);
      for (let j = 0; j < size; j++) {
        const r = sigmoid(own[j] + recurrent[j]);
        const z = sigmoid(own[size + j] + recurrent[size + j]);
        const n = Math.tanh(own[2 * size + j] + r * recurrent[2 * size + j]);
        h[j] = n + z * (before[j] - n);
      }
      return [h];
    },
  },
  lstm: {
    gates: 4,
    states: 2,
    step(size, own, recurrent, [, before]) {
      const h = new Float32Array(size);
      const c = new Float32Array(size);
      for (let j = 0; j < size; j++) {
        const i = sigmoid(own[j] + recurrent[j]);
        const f = sigmoid(own[size + j] + recurrent[size + j]);
        const g = Math.tanh(own[2 * size + j] + recurrent[2 * size + j]);
        const o = sigmoid(own[3 * size + j] + recurrent[3 * size + j]);
        c[j] = f * before[j] + i * g;
        h[j] = o * Math.tanh(c[j]);
      }
      return [h, c];
    },
  },
  mingru: {
    gates: 2,
    states: 1,
    step(size, own, recurrent, [before]) {
      const h = new Float32Array(size);
      for (let j = 0; j < size; j++) {
        h[j] = before[j] + sigmoid(own[j]) * (own[size + j] - before[j]);
      }
      return [h];
    },
  },
  minlstm: {
    gates: 3,
    states: 1,
    step(size, own, recurrent, [before]) {
      const h = new Float32Array(size);
      for (let j = 0; j < size; j++) {
        const admitted = sigmoid(softplus(-own[j]) - softplus(-own[size + j])); // i / (f + i)
        h[j] = before[j] + admitted * (own[2 * size + j] - before[j]);
      }
      return [h];
    },
  },
};

class Network {
  // `config`: the fields of ModelConfig. `weights`: by name, {shape, values}, as in a model file.
  constructor(config, weights) {
    this.config = config;
    this.weights = weights;
    this.start = config.vocab_size; // the start symbol, read before a text's first symbol
    this.cell = CELLS[config.cell];
    this.activation = ACTIVATIONS[config.activation];
    this.layers = Array.from({ length: config.num_layers }, (_, n) => this.prepareLayer(n));
    this.cachedInputs = new Map();
  }

  prepareLayer(number) {
    const { config, cell, weights } = this;
    const get = (name) => weights[`layers.${number}.${name}`];
    const rows = cell.gates * config.hidden_size;
    return {
      inputs: get("cell.rnn.weight_ih_l0") || get("cell.weight"),
      bias: (get("cell.rnn.bias_ih_l0") || get("cell.bias")).values,
      recurrent: get("cell.rnn.weight_hh_l0"),
      recurrentBias: (get("cell.rnn.bias_hh_l0") || { values: null }).values,
      normWeight: config.layer_norm ? get("norm.weight").values : null,
      normBias: config.layer_norm ? get("norm.bias").values : null,
      fromInput: new Float32Array(rows), // sums of the current step
      fromState: new Float32Array(rows),
    };
  }

  // Before the first symbol: zeros, and nothing to attend to. `codes` are those of the last symbols.
  initialState() {
    const zeros = () => new Float32Array(this.config.hidden_size);
    const layers = this.layers.map(() => Array.from({ length: this.cell.states }, zeros));
    const codes = new Array(Math.max(0, (this.config.ngram_embedding || 0) - 1)).fill(0);
    return { layers, memory: [], codes };
  }

  // Read one symbol. Returns the logits of the next one and the state after the step.
  step(id, state) {
    const codes = [...state.codes, id === this.start ? 0 : id + 1];
    const sums = this.ngramSums(codes);
    let values = this.input(id, this.ngramsTo("input") ? sums : null);
    const layers = this.layers.map((layer, number) => {
      const before = state.layers[number];
      const own = number ? affine(layer.inputs, values, layer.bias, layer.fromInput)
        : this.firstSums(id, values);
      if (layer.recurrent) affine(layer.recurrent, before[0], layer.recurrentBias, layer.fromState);
      const { hidden_size: size } = this.config;
      const after = this.cell.step(size, own, layer.fromState, before, this.activation);
      values = this.finish(layer, after[0], values);
      return after;
    });
    const memory = this.config.attention ? this.remember(values, state.memory) : state.memory;
    if (this.config.attention) values = this.attend(values, memory);
    if (this.ngramsTo("output")) {
      const past = affine(this.weights["ngrams.skip.weight"], sums);
      values = values.map((value, j) => value + past[j]);
    }
    return { logits: this.output(values), state: { layers, memory, codes: codes.slice(1) } };
  }

  // The input layer: the symbol's embedding, and those of the n-grams that end with it.
  input(id, sums) {
    const { shape: [, width], values } = this.weights["embedding.weight"];
    const own = values.subarray(id * width, (id + 1) * width);
    return sums ? own.map((value, j) => value + sums[j]) : own;
  }

  // The sum of the embeddings of the n-grams that end with the last code.
  ngramSums(codes) {
    if (!this.config.ngram_embedding) return null;
    const sum = new Float32Array(this.config.embedding_size);
    const table = this.weights["ngrams.weight"];
    for (const row of ngramRows(codes, this.config.ngram_rows)) {
      const place = table.places.get(row); // a row that training has never touched is zero
      for (let j = 0; place !== undefined && j < sum.length; j++) {
        sum[j] += table.values[place * sum.length + j];
      }
    }
    return sum;
  }

  // Whether n-gram embeddings go there: "input" or "output".
  ngramsTo(end) {
    const { ngram_embedding: highest, ngram_path: path } = this.config;
    return Boolean(highest) && (path === end || path === "both");
  }

  // The first layer's sums; without n-grams there, they depend on the symbol alone.
  firstSums(id, values) {
    const [layer] = this.layers;
    if (this.ngramsTo("input")) {
      return affine(layer.inputs, values, layer.bias, layer.fromInput);
    }
    const found = this.cachedInputs.get(id);
    if (found) return found;
    const sums = affine(layer.inputs, values, layer.bias, new Float32Array(layer.bias.length));
    if (this.cachedInputs.size < MAX_CACHED_INPUTS) this.cachedInputs.set(id, sums);
    return sums;
  }

  // What follows a cell: the residual connection, and layer norm.
  finish(layer, outputs, inputs) {
    let values = outputs;
    if (this.config.residual && inputs.length === outputs.length) {
      values = outputs.map((value, j) => value + inputs[j]);
    }
    return layer.normWeight ? normalise(values, layer.normWeight, layer.normBias) : values;
  }

  // The attention's memory with the newest state, at most `attention` of them.
  remember(values, memory) {
    const { weights, config } = this;
    const key = normalise(
      values, weights["attention.norm.weight"].values, weights["attention.norm.bias"].values);
    return [...memory, key].slice(-config.attention);
  }

  // Attend from the newest state, which is the last one in the memory.
  attend(values, memory) {
    const { weights } = this;
    const size = values.length;
    const query = affine(weights["attention.query.weight"], memory.at(-1));
    const scores = memory.map((key) => dot(query, 0, key, size) / Math.sqrt(size));
    const highest = Math.max(...scores);
    const shares = scores.map((score) => Math.exp(score - highest));
    const total = shares.reduce((sum, share) => sum + share, 0);
    const mixed = new Float32Array(size);
    memory.forEach((key, n) => {
      for (let j = 0; j < size; j++) mixed[j] += (shares[n] / total) * key[j];
    });
    const answer = affine(weights["attention.output.weight"], mixed);
    return values.map((value, j) => value + answer[j]);
  }

  output(values) {
    const { weights, config } = this;
    const matrix = config.tied ? weights["embedding.weight"] : weights["head_weight"];
    const head = affine(matrix, values, weights["head_bias"].values);
    return config.adaptive ? this.adaptiveOutput(head, values) : head;
  }

  // Log probabilities of an adaptive softmax: the head's last entries are those of its tails.
  adaptiveOutput(head, values) {
    const { weights, config } = this;
    const headLogs = logSoftmax(head);
    const tails = [0, 1].map((number) => `tails.${number}`);
    const first = head.length - tails.length;
    const logits = new Float32Array(config.vocab_size);
    logits.set(headLogs.subarray(0, first));
    let place = first;
    tails.forEach((tail, number) => {
      const narrow = affine(weights[`${tail}.project`], values);
      const inside = affine(weights[`${tail}.weight`], narrow, weights[`${tail}.bias`].values);
      for (const log of logSoftmax(inside)) logits[place++] = log + headLogs[first + number];
    });
    return logits;
  }
}

// The rows of the n-grams of 2, 3, ... symbols, counted through all tables, as in
// charrnn/model/ngram_hash.py: arithmetic of unsigned integers of 32 bits.
function ngramRows(codes, rowsOfTable) {
  const rows = [];
  let factor = 1, total = 0;
  for (let back = 0; back < codes.length; back++) {
    total = (total + Math.imul(codes[codes.length - 1 - back], factor)) | 0;
    factor = Math.imul(factor, 0x9e3779b1);
    if (back === 0) continue;
    const mixed = Math.imul(total ^ (total >>> 15), 0x2c1b3c6d);
    rows.push(((mixed ^ (mixed >>> 13)) >>> 0) % rowsOfTable + (back - 1) * rowsOfTable);
  }
  return rows;
}

// matrix @ vector + bias; of a matrix with more rows than the bias, only the first ones count. Four
// rows at a time, so that the processor need not wait for one addition before the next.
function affine({ shape: [rows, columns], values }, vector, bias = null, out = null) {
  const count = bias ? bias.length : rows;
  const sums = out || new Float32Array(count);
  let row = 0;
  for (; row + 3 < count; row += 4) {
    const first = row * columns;
    const second = first + columns, third = second + columns, fourth = third + columns;
    let a = 0, b = 0, c = 0, d = 0;
    for (let j = 0; j < columns; j++) {
      const value = vector[j];
      a += values[first + j] * value;
      b += values[second + j] * value;
      c += values[third + j] * value;
      d += values[fourth + j] * value;
    }
    sums[row] = a;
    sums[row + 1] = b;
    sums[row + 2] = c;
    sums[row + 3] = d;
  }
  for (; row < count; row++) sums[row] = dot(values, row * columns, vector, columns);
  for (let n = 0; bias && n < count; n++) sums[n] += bias[n];
  return sums;
}

function dot(values, begin, vector, length) {
  let sum = 0;
  for (let j = 0; j < length; j++) sum += values[begin + j] * vector[j];
  return sum;
}

function normalise(values, weight, bias) {
  let mean = 0, variance = 0;
  for (const value of values) mean += value / values.length;
  for (const value of values) variance += (value - mean) ** 2 / values.length;
  const scale = 1 / Math.sqrt(variance + NORM_EPSILON);
  return values.map((value, j) => (value - mean) * scale * weight[j] + bias[j]);
}

function logSoftmax(logits) {
  let highest = -Infinity, total = 0;
  for (const logit of logits) highest = Math.max(highest, logit);
  for (const logit of logits) total += Math.exp(logit - highest);
  const shift = highest + Math.log(total);
  return logits.map((logit) => logit - shift);
}
