"use strict";
// The network, one symbol at a time, over typed arrays.
//
//   id -> input layer -> layers: cell, residual, layer norm -> attention -> output layer -> logits
//
// This is charrnn/model/numpy_model.py again, and the equations of a cell are those of the file of
// its name in charrnn/model/cells/. A state is never changed after it was returned, so that any
// number of continuations can start from it.

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
    this.matches = Boolean(config.match_window); // older models have no such field
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

  // Before the first symbol: zeros, and nothing to attend to. `codes` are those of the last symbols,
  // for n-grams; `history` has many more of them, for matches.
  initialState() {
    const zeros = () => new Float32Array(this.config.hidden_size);
    const layers = this.layers.map(() => Array.from({ length: this.cell.states }, zeros));
    const codes = new Array(Math.max(0, (this.config.ngram_embedding || 0) - 1)).fill(0);
    return { layers, memory: [], codes, history: this.matches ? emptyHistory(this.config) : null };
  }

  // Read one symbol. Returns the logits of the next one and the state after the step.
  step(id, state) {
    const code = id === this.start ? 0 : id + 1;
    const codes = [...state.codes, code];
    const sums = this.ngramSums(codes);
    const history = this.matches ? longerHistory(state.history, code, this.config) : null;
    const followed = this.matches ? this.followed(history) : null;
    let values = this.input(id, this.ngramsTo("input") ? sums : null, followed);
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
    values = this.pastLayers(values, sums, followed);
    const after = { layers, memory, codes: codes.slice(1), history };
    return { logits: this.output(values), state: after };
  }

  // The input layer: the symbol's embedding, those of the n-grams that end with it, and those of
  // what followed the matches.
  input(id, sums, followed) {
    let values = this.embedding(id);
    if (sums) values = plus(values, sums);
    if (followed) values = plus(values, affine(this.weights["matches.input_weight"], followed));
    return values;
  }

  // What is led past all layers to the output layer.
  pastLayers(values, sums, followed) {
    const { weights } = this;
    if (this.ngramsTo("output")) values = plus(values, affine(weights["ngrams.skip.weight"], sums));
    if (followed) values = plus(values, affine(weights["matches.output_weight"], followed));
    return values;
  }

  embedding(id) {
    const { shape: [, width], values } = this.weights["embedding.weight"];
    return values.subarray(id * width, (id + 1) * width);
  }

  // The embeddings of the symbols that followed the latest matches, side by side, zeros for a length
  // without a match; null if there is no match at all.
  followed(history) {
    const { embedding_size: width } = this.config;
    const codes = followers(history, this.config);
    const values = new Float32Array(codes.length * width);
    codes.forEach((code, n) => code && values.set(this.embedding(code - 1), n * width));
    return codes.some((code) => code) ? values : null;
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

  // The first layer's sums; without n-grams or matches there, they depend on the symbol alone.
  firstSums(id, values) {
    const [layer] = this.layers;
    if (this.matches || this.ngramsTo("input")) {
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
      values = plus(outputs, inputs);
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
    return plus(values, affine(weights["attention.output.weight"], mixed));
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
