"use strict";
// A text, read symbol by symbol, and what the model made of each; and a writer of new text.

const LIKELIEST = 5; // symbols that are kept of each prediction
const MAX_KEPT_BYTES = 1 << 27; // of the states and logits after all symbols

// What every reader needs: {network, tokenizer, separator, unknownBits}. A text of records has a
// separator, and each record starts anew.
class Reader {
  constructor(model) {
    this.model = model;
    const { num_layers: layers, hidden_size: size, vocab_size: symbols } = model.network.config;
    const bytes = 4 * (size * (layers * model.network.cell.states + 1) + symbols);
    this.limit = Math.max(200, Math.floor(MAX_KEPT_BYTES / bytes));
    this.symbols = []; // {id, isStart}: all of the text
    this.tokens = []; // those that were read: {id, isStart, text, bits, rank, likeliest, after}
    this.isCut = false; // whether the text was longer than can be read
  }

  // Change the text. What is read of the beginning that stays the same is kept.
  setText(text) {
    const all = encodeRecords(this.model, text);
    this.isCut = all.length > this.limit;
    this.symbols = all.slice(0, this.limit);
    this.points = Array.from(text);
    this.place = 0; // in `points`, after the last token
    const decoder = this.model.tokenizer.decoder();
    let kept = 0;
    for (const { id, isStart, text: own } of this.tokens) {
      const now = this.symbols[kept];
      const length = Array.from(own).length;
      const shown = this.points.slice(this.place, this.place + length).join("");
      if (!now || now.id !== id || now.isStart !== isStart || shown !== own) break;
      decoder.feed(id);
      this.place += length;
      kept++;
    }
    this.tokens.length = kept;
    this.decoder = decoder;
    return kept;
  }

  get isDone() {
    return this.tokens.length === this.symbols.length;
  }

  // Read the next symbol.
  advance() {
    const { network, tokenizer, unknownBits } = this.model;
    const { id, isStart } = this.symbols[this.tokens.length];
    const before = isStart ? network.step(network.start, network.initialState())
      : this.tokens.at(-1).after;
    const own = logSoftmax(before.logits)[id];
    const token = {
      id,
      isStart,
      text: this.take(this.decoder.feed(id)),
      bits: -own / Math.LN2 + (id === tokenizer.unknown ? unknownBits : 0),
      rank: 1 + before.logits.reduce((sum, logit) => sum + (logit > before.logits[id]), 0),
      likeliest: likeliest(before.logits, LIKELIEST),
    };
    token.after = network.step(id, before.state);
    this.tokens.push(token);
    return token;
  }

  // The characters of the text that a symbol stands for; it may show an unknown one differently.
  take(decoded) {
    const begin = this.place;
    this.place += Array.from(decoded).length;
    return this.points.slice(begin, this.place).join("");
  }
}

// A text as symbols, each record by itself.
function encodeRecords({ tokenizer, separator }, text) {
  const parts = separator === null ? [text] : text.split(separator).map((part) => part + separator);
  if (separator !== null) parts.push(parts.pop().slice(0, -separator.length));
  return parts.flatMap((part) =>
    Array.from(tokenizer.encode(part), (id, n) => ({ id, isStart: n === 0 })));
}

// A unit's activation: its last state, squashed for an lstm, whose state is a memory cell.
function activation(network, state, layer, unit) {
  const value = state.layers[layer].at(-1)[unit];
  return network.config.cell === "lstm" ? Math.tanh(value) : value;
}

// Writes new text after a prompt. `rules`: {temperature, topP, seed, stop, length}.
class Writer {
  constructor(model, prompt, rules) {
    const { network, tokenizer, separator } = model;
    this.model = model;
    this.rules = { ...rules, banned: tokenizer.unknown, random: randomNumbers(rules.seed) };
    this.stops = [rules.stop, separator].filter((stop) => stop);
    this.decoder = tokenizer.decoder();
    this.written = ""; // after the prompt
    this.isDone = false;
    const ids = tokenizer.encode(prompt);
    this.tail = openTail(tokenizer, ids);
    const tail = ids.slice(ids.length - this.tail.length);
    this.skip = decodeAll(tokenizer, tail).length; // the tail's text, which is drawn again
    this.after = network.step(network.start, network.initialState());
    for (const id of ids.slice(0, ids.length - tail.length)) {
      this.after = network.step(id, this.after.state);
    }
  }

  // Draw the next symbol. Returns {id, text, bits, likeliest}; `text` may be empty.
  next() {
    const { network } = this.model;
    const { logits, state } = this.after;
    const [place] = this.tail;
    const id = draw(place ? keepOnly(logits, place.choices) : logits, this.rules);
    this.tail = place && id === place.id ? this.tail.slice(1) : [];
    this.after = network.step(id, state);
    const whole = this.decoder.feed(id);
    const text = whole.slice(this.skip);
    this.skip -= whole.length - text.length;
    const bits = -logSoftmax(logits)[id] / Math.LN2;
    return { id, text: this.cut(text), bits, likeliest: likeliest(logits, LIKELIEST) };
  }

  // The text up to where writing stops.
  cut(text) {
    const before = this.written.length;
    this.written += text;
    const found = this.stops.map((stop) =>
      this.written.indexOf(stop, Math.max(0, before - stop.length + 1)));
    const ends = [this.rules.length, ...found.filter((place) => place >= 0)];
    const end = Math.min(...ends);
    if (this.written.length >= end) {
      this.isDone = true;
      this.written = this.written.slice(0, end);
    }
    return this.written.slice(before);
  }
}

function keepOnly(logits, choices) {
  return logits.map((logit, id) => (choices.has(id) ? logit : -Infinity));
}

function decodeAll(tokenizer, ids) {
  const decoder = tokenizer.decoder();
  return ids.map((id) => decoder.feed(id)).join("") + decoder.flush();
}

// Token healing, as in charrnn/sampling/token_healing.py: a model of pieces would continue `Wha`
// badly, as it never saw this piece before a `t`. The end of a prompt that other symbols begin with
// is therefore drawn again, each symbol from itself and those that begin with all of the rest.
function openTail(tokenizer, ids) {
  if (!tokenizer.spellings) return []; // no symbol begins with another
  const { spellings } = tokenizer;
  const longest = spellings.reduce((most, one) => Math.max(most, one.length), 0);
  const choices = [];
  let rest = "", begin = ids.length;
  for (let place = ids.length - 1; place >= 0; place--) {
    rest = spellings[ids[place]] + rest;
    if (rest.length > longest) break;
    const found = new Set([ids[place]]);
    spellings.forEach((one, id) => one.startsWith(rest) && found.add(id));
    choices.unshift(found);
    if (found.size > 1) begin = place;
  }
  const tail = ids.slice(begin);
  return tail.map((id, n) => ({ id, choices: choices.at(n - tail.length) }));
}
