"use strict";
// What the reader of the page sees and does.

const data = JSON.parse(document.getElementById("data").textContent);
const network = new Network(data.config, unpackWeights(data.weights));
const tokenizer = makeTokenizer(data.tokenizer);
const { separator, unknownBits } = data;
const model = { network, tokenizer, separator, unknownBits };

const SLICE = 12; // milliseconds of computing before the browser gets its turn
const SURPRISAL = [2, 4, 6, 8, 12]; // bits per character from which a level begins
const MEMORY = [0.03, 0.1, 0.3, 0.7]; // fractions of the greatest dependence
const ACTIVATION = [0.2, 0.45, 0.75]; // fractions of the greatest activation
const CELL_SIZE = 12; // pixels of a unit in the maps
const CONTROLS = /[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff]/g;

const $ = (id) => document.getElementById(id);
const level = (value, limits) => limits.filter((limit) => value >= limit).length;
const round = (value, digits) => value.toLocaleString("en", { maximumFractionDigits: digits });
const codePoint = (character) =>
  `\u27e8U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u27e9`;
const visible = (text) => text.replace(CONTROLS, codePoint);

// An element with a text, which is never read as HTML.
function element(name, text = "", className = "") {
  const made = document.createElement(name);
  made.textContent = text;
  if (className) made.className = className;
  return made;
}

// The name of a symbol: its text, with white space made visible.
function symbolName(id) {
  if (id === tokenizer.unknown) return "unknown";
  const decoder = tokenizer.decoder();
  const text = decoder.feed(id);
  if (!text && id < 256) return `byte ${id.toString(16).toUpperCase()}`;
  const signs = { " ": "\u2423", "\n": "\u21b5", "\t": "\u21e5" };
  return visible(text.replace(/[ \n\t]/g, (sign) => signs[sign]) + decoder.flush());
}

// A text in which each symbol has a colour, and one is marked, by pointer or arrow keys.
class TextView {
  constructor(box, onSelect) {
    this.box = box;
    this.onSelect = onSelect;
    this.spans = [];
    this.selected = -1;
    const select = (event) => {
      const index = this.spans.indexOf(event.target);
      if (index >= 0) this.select(index);
    };
    box.addEventListener("pointerover", select);
    box.addEventListener("click", select);
    box.addEventListener("keydown", (event) => this.onKey(event));
  }

  truncate(length) {
    for (const span of this.spans.splice(length)) span.remove();
    if (this.selected >= length) this.selected = -1;
  }

  append(tokens, classOf) {
    const added = tokens.map(({ text }, n) => {
      const span = element("span");
      this.paint(span, text, classOf(this.spans.length + n));
      return span;
    });
    this.spans.push(...added);
    this.box.append(...added);
  }

  repaint(tokens, classOf) {
    this.spans.forEach((span, n) => this.paint(span, tokens[n].text, classOf(n)));
    if (this.selected >= 0) this.spans[this.selected].classList.add("cursor");
  }

  paint(span, text, className) {
    const shown = visible(className ? text.replace(/\n/g, "\u21b5\n") : text);
    if (span.textContent !== shown) span.textContent = shown;
    span.className = className;
  }

  select(index) {
    this.spans[this.selected]?.classList.remove("cursor");
    this.selected = index;
    this.spans[index].classList.add("cursor");
    this.onSelect(index);
  }

  onKey(event) {
    const moves = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -20, ArrowDown: 20 };
    const last = this.spans.length - 1;
    const ends = { Home: 0, End: last };
    if (last < 0 || !(event.key in moves || event.key in ends)) return;
    event.preventDefault();
    const place = event.key in ends ? ends[event.key] : this.selected + moves[event.key];
    this.select(Math.max(0, Math.min(last, place)));
    this.spans[this.selected].scrollIntoView({ block: "nearest" });
  }
}

// The likeliest symbols at a place, and what stood there.
function showDetails(box, token) {
  const bits = `${round(token.bits, 2)} bits`;
  const rank = token.rank ? `, rank ${round(token.rank, 0)} of ${round(tokenizer.size, 0)}` : "";
  const list = element("ol");
  for (const [id, probability] of token.likeliest) {
    const item = element("li");
    const meter = element("meter");
    meter.value = probability;
    meter.setAttribute("aria-hidden", "true");
    const isOwn = id === token.id ? "symbol given" : "symbol";
    item.append(element("span", symbolName(id), isOwn), meter,
      element("span", `${round(100 * probability, 1)} %`));
    list.append(item);
  }
  const head = element("p");
  head.append(element("b", symbolName(token.id), "symbol"), `  ${bits}${rank}`);
  box.replaceChildren(head, element("p", "The likeliest symbols here:"), list);
}

const surprisalClass = ({ bits, text }) => {
  const found = level(bits / Math.max(1, text.length), SURPRISAL);
  return found ? `s${found}` : "";
};

// ---- Write ----

const writing = { tokens: [], timer: 0, seconds: 0, drawn: 0 };
const writtenView = new TextView($("written"), (index) => {
  const token = writing.tokens[index];
  if (token.likeliest) showDetails($("written-details"), token);
});
const writtenClass = (index) => {
  const token = writing.tokens[index];
  return token.likeliest ? surprisalClass(token) : "given";
};

function rules() {
  const number = (id, low, high) => Math.min(high, Math.max(low, Number($(id).value) || 0));
  return {
    temperature: number("temperature", 0, 1.5),
    topP: number("top-p", 0.05, 1),
    seed: number("seed", 0, 2 ** 32 - 1),
    length: number("length", 1, 100000),
    stop: $("stop").value.replace(/\\n/g, "\n"),
  };
}

function startWriting() {
  stopWriting();
  const prompt = separator === null ? $("prompt").value : $("prompt").value.split(separator).pop();
  const strange = new Set(tokenizer.unknown === null ? [] : Array.from(prompt)
    .filter((character) => tokenizer.encode(character)[0] === tokenizer.unknown));
  if (strange.size) {
    $("write-status").textContent = "The model has never seen: "
      + Array.from(strange, (one) => `${visible(one)} (U+${one.codePointAt(0).toString(16)})`)
        .join(", ");
    return;
  }
  writtenView.truncate(0);
  Object.assign(writing, { tokens: [], seconds: 0, drawn: 0 });
  writing.writer = new Writer(model, prompt, rules());
  addWritten([{ text: prompt }]);
  $("halt").disabled = false;
  $("write-status").textContent = "Writing \u2026";
  writeOn();
}

function addWritten(tokens) {
  const shown = tokens.filter(({ text }) => text);
  writing.tokens.push(...shown);
  writtenView.append(shown, writtenClass);
}

function writeOn() {
  const speed = Number($("speed").value);
  const began = performance.now();
  const tokens = [];
  do {
    tokens.push(writing.writer.next());
  } while (!speed && !writing.writer.isDone && performance.now() - began < SLICE);
  writing.seconds += (performance.now() - began) / 1000;
  writing.drawn += tokens.length;
  addWritten(tokens);
  $("written").scrollTop = $("written").scrollHeight;
  if (writing.writer.isDone) stopWriting();
  else writing.timer = setTimeout(writeOn, speed ? 1000 / speed : 0);
}

function stopWriting() {
  clearTimeout(writing.timer);
  $("halt").disabled = true;
  if (!writing.drawn) return;
  const speed = round(writing.drawn / writing.seconds, 0);
  $("write-status").textContent = `${round(writing.writer.written.length, 0)} characters; `
    + `${round(writing.drawn, 0)} symbols, computed at ${speed} a second.`;
}

// ---- Look inside ----

const reader = new Reader(model);
const look = { timer: 0, lens: "surprisal", layer: 0, unit: 0, shown: null, greatest: 1 };
const memory = data.memory && { lags: data.memory.lags, rows: decode(data.memory.data) };

const HELP = {
  surprisal: "How many bits each character took: the more, the less the model expected it.",
  unit: "How active a unit is after each symbol: orange above zero, blue below.",
  memory: "Point at a symbol: those before it are shaded by how much its prediction depends on "
    + "them: the norm of the gradient of its loss by the inputs that they are in.",
};
const LEGENDS = {
  surprisal: [["", "under 2"], ["s1", "2"], ["s2", "4"], ["s3", "6"], ["s4", "8"],
    ["s5", "12 or more bits per character"]],
  unit: [["n3", "\u2212"], ["n2", ""], ["n1", ""], ["", "0"], ["p1", ""], ["p2", ""],
    ["p3", "+"]],
  memory: [["", "little"], ["m1", ""], ["m2", ""], ["m3", ""], ["m4", "most"]],
};

const textView = new TextView($("text"), (index) => {
  showDetails($("text-details"), reader.tokens[index]);
  if (look.lens === "memory") repaint();
  drawMaps();
});

const isExcerpt = () => $("own").value === data.excerpt.text;

const LENS_CLASSES = {
  surprisal: (index) => surprisalClass(reader.tokens[index]),
  unit: (index) => activationClass(unitValue(index) / look.greatest),
  memory(index) {
    const lag = textView.selected - index; // 1 is the symbol before
    if (!memory || !isExcerpt() || lag < 1 || lag > memory.lags) return "";
    const found = level(memory.rows[textView.selected * memory.lags + lag - 1] / 255, MEMORY);
    return found ? `m${found}` : "";
  },
};

const classOf = (index) => LENS_CLASSES[look.lens](index);
const shownUnit = () => look.shown || look;

function unitValue(index) {
  const { layer, unit } = shownUnit();
  return activation(network, reader.tokens[index].after.state, layer, unit);
}

function activationClass(share) {
  const found = level(Math.abs(share), ACTIVATION);
  return found ? `${share < 0 ? "n" : "p"}${found}` : "";
}

function repaint() {
  if (look.lens === "unit") {
    const values = reader.tokens.map((_, index) => Math.abs(unitValue(index)));
    look.greatest = values.reduce((most, value) => Math.max(most, value), 1e-6);
  }
  textView.repaint(reader.tokens, classOf);
}

function setLens(lens) {
  look.lens = lens;
  $("legend").replaceChildren(...LEGENDS[lens].map(([name, text]) =>
    element("span", text || "\u00a0", name)));
  $("lens-help").textContent = HELP[lens];
  if (lens === "memory" && !(memory && isExcerpt())) {
    $("lens-help").textContent += memory ? " It was measured for the excerpt only."
      : " It was not measured for this page.";
  }
  for (const radio of document.getElementsByName("lens")) radio.checked = radio.value === lens;
  repaint();
}

function readText() {
  clearTimeout(look.timer);
  const kept = reader.setText($("own").value);
  textView.truncate(kept);
  if (look.lens === "memory") setLens("memory");
  readOn();
}

function readOn() {
  const began = performance.now(), tokens = [];
  while (!reader.isDone && performance.now() - began < SLICE) tokens.push(reader.advance());
  textView.append(tokens, classOf);
  $("look-status").textContent = readingStatus();
  if (!reader.isDone) {
    look.timer = setTimeout(readOn, 0);
    return;
  }
  repaint();
  drawMaps();
  if (isExcerpt()) showCheck();
}

function readingStatus() {
  const { tokens, symbols } = reader;
  if (!reader.isDone) return `Reading \u2026 ${round(tokens.length, 0)} of ${symbols.length}`;
  if (!tokens.length) return "There is nothing to read.";
  const bits = tokens.reduce((sum, token) => sum + token.bits, 0);
  const characters = Array.from(tokens.map(({ text }) => text).join("")).length;
  const unknown = tokens.filter(({ id }) => id === tokenizer.unknown).length;
  return `${round(bits / Math.max(1, characters), 3)} bits per character over `
    + `${round(characters, 0)} characters, read from the beginning of a text.`
    + (unknown ? ` ${unknown} of them are unknown to the model.` : "")
    + (reader.isCut ? " The rest is too long for this page." : "");
}

// Compare this script with what charrnn computed when it made the page.
function showCheck() {
  const differences = reader.tokens.map(({ bits }, n) => Math.abs(bits - data.excerpt.bits[n]));
  const greatest = Math.max(...differences);
  const digits = greatest.toExponential(1);
  $("check").dataset.greatest = greatest;
  $("check").textContent = (greatest < 1e-3 ? "Checked just now in your browser: " : "Warning: ")
    + `over the ${round(differences.length, 0)} symbols of the excerpt, this page's script and `
    + `charrnn, with the same weights, differ by at most ${digits} bits a symbol.`;
}

// ---- Units ----

function chooseUnit(layer, unit) {
  Object.assign(look, { layer, unit, shown: null });
  $("layer").value = layer + 1;
  $("unit").value = unit + 1;
  for (const button of $("named-units").children) {
    const { layer: own, unit: ownUnit } = button.dataset;
    button.setAttribute("aria-pressed", String(Number(own) === layer && Number(ownUnit) === unit));
  }
  setLens("unit");
  drawMaps();
}

function chooseByNumber() {
  const clamp = (id, most) => Math.min(most, Math.max(1, Math.round(Number($(id).value)) || 1)) - 1;
  chooseUnit(clamp("layer", data.config.num_layers), clamp("unit", data.config.hidden_size));
}

// Show another unit while the pointer is on it, without choosing it.
function showUnit(shown) {
  look.shown = shown;
  if (look.lens !== "unit") setLens("unit");
  repaint();
}

function makeMaps() {
  const { num_layers: layers, hidden_size: units } = data.config;
  for (let layer = 0; layer < layers; layer++) {
    const canvas = element("canvas");
    const figure = element("figure");
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", `Activations of the ${units} units of layer ${layer + 1}`);
    const unitAt = ({ offsetX, offsetY }) => {
      const scale = canvas.width / canvas.clientWidth;
      const column = Math.floor((offsetX * scale) / CELL_SIZE);
      const unit = Math.floor((offsetY * scale) / CELL_SIZE) * columnCount() + column;
      return unit < units ? { layer, unit } : null;
    };
    canvas.addEventListener("pointermove", (event) => showUnit(unitAt(event)));
    canvas.addEventListener("pointerleave", () => showUnit(null));
    canvas.addEventListener("click", (event) => {
      const found = unitAt(event);
      if (found) chooseUnit(found.layer, found.unit);
    });
    figure.append(canvas, element("figcaption", `Layer ${layer + 1}, ${round(units, 0)} units`));
    $("maps").append(figure);
  }
  for (const named of data.units) {
    const r = round(named.correlation, 2);
    const name = `${named.property}: layer ${named.layer + 1}, unit ${named.unit + 1} (r = ${r})`;
    const button = element("button", name);
    button.type = "button";
    Object.assign(button.dataset, { layer: named.layer, unit: named.unit });
    button.addEventListener("click", () => chooseUnit(named.layer, named.unit));
    $("named-units").append(button);
  }
  $("layer").max = layers;
  $("unit").max = units;
}

const columnCount = () =>
  Math.max(8, Math.min(64, Math.floor($("maps").clientWidth / CELL_SIZE)));

function drawMaps() {
  const index = textView.selected >= 0 ? textView.selected : reader.tokens.length - 1;
  if (index < 0) return;
  const style = getComputedStyle(document.documentElement);
  const colours = new Map();
  const colour = (name) => {
    const found = colours.get(name) || style.getPropertyValue(`--${name || "pane"}`);
    colours.set(name, found);
    return found;
  };
  const { state } = reader.tokens[index].after;
  const columns = columnCount();
  [...$("maps").getElementsByTagName("canvas")].forEach((canvas, layer) => {
    const units = data.config.hidden_size;
    canvas.width = columns * CELL_SIZE;
    canvas.height = Math.ceil(units / columns) * CELL_SIZE;
    const pen = canvas.getContext("2d");
    const values = Array.from({ length: units }, (_, n) => activation(network, state, layer, n));
    const most = network.config.cell === "lstm" ? 1
      : values.reduce((greatest, value) => Math.max(greatest, Math.abs(value)), 1e-6);
    values.forEach((value, n) => {
      const x = (n % columns) * CELL_SIZE, y = Math.floor(n / columns) * CELL_SIZE;
      pen.fillStyle = colour(activationClass(value / most));
      pen.fillRect(x, y, CELL_SIZE - 1, CELL_SIZE - 1);
      if (layer !== look.layer || n !== look.unit) return;
      pen.strokeStyle = colour("on-pane");
      pen.lineWidth = 2;
      pen.strokeRect(x, y, CELL_SIZE - 1, CELL_SIZE - 1);
    });
  });
}

// ---- Samples during training ----

function showSample() {
  const { step, text } = data.samples[Number($("sample").value)];
  $("sample-step").textContent = `step ${round(step, 0)}`;
  $("sample").setAttribute("aria-valuetext", `step ${step}`);
  $("sample-text").textContent = visible(text);
}

// ---- Begin ----

$("write-form").addEventListener("submit", (event) => {
  event.preventDefault();
  startWriting();
});
$("halt").addEventListener("click", stopWriting);
for (const id of ["temperature", "top-p"]) {
  const show = () => { $(`${id}-shown`).textContent = $(id).value; };
  $(id).addEventListener("input", show);
  show(); // a browser may keep what was set before a reload
}
for (const radio of document.getElementsByName("lens")) {
  radio.addEventListener("change", () => setLens(radio.value));
}
for (const id of ["layer", "unit"]) $(id).addEventListener("change", chooseByNumber);
$("own").addEventListener("input", readText);
$("restore").addEventListener("click", () => {
  $("own").value = data.excerpt.text;
  readText();
});
window.addEventListener("resize", drawMaps);
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawMaps);
if ($("sample")) {
  $("sample").addEventListener("input", showSample);
  $("sample").value = data.samples.length - 1;
  showSample();
}
makeMaps();
setLens("surprisal");
$("own").value = data.excerpt.text;
readText();
