"use strict";
// The tokenizers: text to ids, and ids to text. These are charrnn/tokenizers/ again.

// `table`: {kind, unknown, ...}, see charrnn/export/page/tokenizer.py. Returns {kind, size, unknown,
// encode(text) -> ids, decoder() -> {feed(id) -> text, flush() -> text}}.
function makeTokenizer(table) {
  return table.kind === "char" ? new CharTokenizer(table) : new ByteFallbackTokenizer(table);
}

class CharTokenizer {
  constructor({ kind, characters }) {
    this.kind = kind;
    this.unknown = 0;
    this.symbols = ["\ufffd", ...characters];
    this.size = this.symbols.length;
    this.ids = new Map(this.symbols.map((symbol, id) => [symbol, id]).slice(1));
  }

  encode(text) {
    return Array.from(text, (character) => this.ids.get(character) ?? this.unknown);
  }

  decoder() {
    return { feed: (id) => this.symbols[id], flush: () => "" };
  }
}

// Ids 0 .. 255 are the bytes; the others are `symbols`, strings. What has no symbol is spelled.
class ByteFallbackTokenizer {
  constructor({ kind, symbols = [], pattern = "", characters = 0, scores = [] }) {
    this.kind = kind;
    this.unknown = null;
    this.symbols = symbols;
    this.size = 256 + symbols.length;
    this.ids = new Map(symbols.map((symbol, n) => [symbol, 256 + n]));
    this.characters = characters; // word: as many of the first symbols spell units, and are none
    this.scores = scores; // bpe and unigram: each symbol's
    this.lowest = Math.fround(scores.reduce((low, score) => Math.min(low, score), Infinity) - 10);
    this.longest = symbols.reduce((most, symbol) => Math.max(most, [...symbol].length), 1);
    this.pattern = pattern && new RegExp(pattern, "gu");
    this.spellings = symbols.length ? spellings(symbols) : null;
  }

  encode(text) {
    if (this.kind === "byte") return [...utf8(text)];
    const encode = { word: "encodeUnit", bpe: "mergePairs", unigram: "bestPath" }[this.kind];
    return (text.match(this.pattern) || []).flatMap((unit) => this[encode](unit));
  }

  encodeUnit(unit) {
    const id = this.ids.get(unit);
    if (id !== undefined && id >= 256 + this.characters) return [id];
    return Array.from(unit).flatMap((one) => this.spell(one, 256 + this.characters));
  }

  spell(character, end) {
    const id = this.ids.get(character);
    return id === undefined || id >= end ? [...utf8(character)] : [id];
  }

  // Byte pair encoding: merge the pair whose symbol has the highest score, the leftmost of equals.
  mergePairs(span) {
    const parts = Array.from(span);
    const scoreAt = (n) => {
      const id = n + 1 < parts.length ? this.ids.get(parts[n] + parts[n + 1]) : undefined;
      return id === undefined ? -Infinity : this.scores[id - 256];
    };
    const scores = parts.map((_, n) => scoreAt(n));
    for (;;) {
      let best = 0;
      for (let n = 1; n < scores.length; n++) if (scores[n] > scores[best]) best = n;
      if (!(scores[best] > -Infinity)) break;
      parts.splice(best, 2, parts[best] + parts[best + 1]);
      scores.splice(best + 1, 1);
      for (const n of [best - 1, best]) if (n >= 0) scores[n] = scoreAt(n);
    }
    return parts.flatMap((part) => this.spell(part, Infinity));
  }

  // The segmentation with the highest sum of scores, which are log probabilities (Viterbi).
  bestPath(span) {
    const parts = Array.from(span);
    const best = new Float32Array(parts.length + 1).fill(-Infinity);
    const from = new Array(parts.length + 1).fill(-1);
    best[0] = 0;
    for (let begin = 0; begin < parts.length; begin++) {
      let piece = "";
      for (let end = begin + 1; end <= Math.min(parts.length, begin + this.longest); end++) {
        piece += parts[end - 1];
        const id = this.ids.get(piece);
        if (id === undefined && end > begin + 1) continue;
        const score = best[begin] + (id === undefined ? this.lowest : this.scores[id - 256]);
        if (from[end] < 0 || Math.fround(score) > best[end]) {
          best[end] = score;
          from[end] = begin;
        }
      }
    }
    const pieces = [];
    for (let end = parts.length; end > 0; end = from[end]) {
      pieces.unshift(parts.slice(from[end], end).join(""));
    }
    return pieces.flatMap((piece) => this.spell(piece, Infinity));
  }

  decoder() {
    const bytes = new Utf8Decoder();
    const feed = (id) => {
      const spelling = id < 256 ? [id] : utf8(this.symbols[id - 256]);
      return Array.from(spelling, (byte) => bytes.feed(byte)).join("");
    };
    return { feed, flush: () => bytes.flush() };
  }
}

// The bytes of each id, as a string with a character for each byte.
function spellings(symbols) {
  const bytes = Array.from({ length: 256 }, (_, byte) => String.fromCharCode(byte));
  return [...bytes, ...symbols.map((symbol) => String.fromCharCode(...utf8(symbol)))];
}

// The bytes of a text; half of a surrogate pair becomes U+FFFD.
function utf8(text) {
  const escaped = encodeURIComponent(text.replace(LONE_SURROGATE, "\ufffd"));
  const bytes = escaped.match(/%..|[^%]/g) || [];
  return Uint8Array.from(bytes, (one) =>
    one.length > 1 ? parseInt(one.slice(1), 16) : one.charCodeAt(0));
}
const LONE_SURROGATE = /\p{Surrogate}/gu;

// Holds back the bytes of a character until it is complete; what is no UTF-8 becomes U+FFFD.
class Utf8Decoder {
  constructor() {
    this.reset();
  }

  reset() {
    this.point = 0; // the bits so far
    this.needed = 0; // bytes to come
    this.low = 0x80; // the range of the next one
    this.high = 0xbf;
  }

  feed(byte) {
    if (this.needed === 0) return this.begin(byte);
    if (byte < this.low || byte > this.high) return this.flush() + this.begin(byte);
    this.low = 0x80;
    this.high = 0xbf;
    this.point = (this.point << 6) | (byte & 63);
    this.needed -= 1;
    return this.needed ? "" : String.fromCodePoint(this.point);
  }

  begin(byte) {
    this.reset();
    if (byte < 0x80) return String.fromCharCode(byte);
    if (byte < 0xc2 || byte > 0xf4) return "\ufffd";
    this.needed = byte < 0xe0 ? 1 : byte < 0xf0 ? 2 : 3;
    this.point = byte & (0x3f >> this.needed);
    if (byte === 0xe0) this.low = 0xa0;
    if (byte === 0xed) this.high = 0x9f;
    if (byte === 0xf0) this.low = 0x90;
    if (byte === 0xf4) this.high = 0x8f;
    return "";
  }

  flush() {
    const cut = this.needed > 0;
    this.reset();
    return cut ? "\ufffd" : "";
  }
}
