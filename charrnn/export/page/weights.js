"use strict";
// Weights, as the page has them: charrnn/export/page/weights.py again, and the decoder of coder.py.

// `packed`: by name, {shape, dtype: int8 | fp16 | fp32, data, scale}, where `scale` has one fp32
// number a row, by which a row of int8 is multiplied. Returns, by name, {shape, values}.
function unpackWeights(packed) {
  const entries = Object.entries(packed);
  return Object.fromEntries(entries.map(([name, one]) =>
    [name, one.classes ? unpackTable(one) : unpack(one)]));
}

function unpack({ shape, dtype, data, scale }) {
  const values = numbers(dtype, data);
  if (scale) {
    const scales = numbers("fp32", scale);
    const width = values.length / scales.length;
    for (let n = 0; n < values.length; n++) values[n] *= scales[Math.floor(n / width)];
  }
  return { shape, values };
}

// Of the n-grams' tables only some rows are there: those of class 1, then those of class 2, and so
// on, a `part` each. `places` tells where a row is among them.
function unpackTable({ shape, dtype, classes, parts }) {
  const classOf = decode(classes);
  const places = new Map();
  const values = new Float32Array(classOf.reduce((sum, one) => sum + (one > 0), 0) * shape[1]);
  let end = 0;
  parts.forEach(({ scale, data }, part) => {
    classOf.forEach((one, row) => one === part + 1 && places.set(row, places.size));
    for (const value of numbers(dtype, data)) values[end++] = value * scale;
  });
  return { shape, values, places };
}

function numbers(dtype, coded) {
  const { buffer } = decode(coded);
  if (dtype === "fp32") return new Float32Array(buffer);
  if (dtype === "fp16") return Float32Array.from(new Uint16Array(buffer), halfToFloat);
  return Float32Array.from(new Int8Array(buffer));
}

function halfToFloat(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

// Bytes from text: range asymmetric numeral systems, see coder.py.
function decode({ length, frequencies, text }) {
  const bytes = new Uint8Array(length);
  const starts = [];
  const byteAt = new Uint8Array(4096); // that a state's lowest 12 bits mean
  let total = 0;
  frequencies.forEach((frequency, byte) => {
    starts.push(total);
    byteAt.fill(byte, total, total += frequency);
  });
  const digit = (code) => code - 33 - (code > 34) - (code > 60) - (code > 92); // without " < \
  let place = 0;
  const word = () => 91 * digit(text.charCodeAt(place++)) + digit(text.charCodeAt(place++));
  const lanes = Math.ceil(length / 2048);
  const states = Int32Array.from({ length: lanes }, () => word() | (word() << 13) | (word() << 26));
  for (let n = 0, lane = 0; n < length; n++, lane = lane + 1 < lanes ? lane + 1 : 0) {
    const state = states[lane];
    const byte = byteAt[state & 4095];
    const left = frequencies[byte] * (state >> 12) + (state & 4095) - starts[byte];
    states[lane] = left < 65536 ? (left << 13) | word() : left;
    bytes[n] = byte;
  }
  return bytes;
}
