"use strict";
// Vectors and matrices, as the network needs them, over typed arrays.

const NORM_EPSILON = 1e-5;

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

// The sum of two vectors, as a new one.
function plus(one, other) {
  return one.map((value, j) => value + other[j]);
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
