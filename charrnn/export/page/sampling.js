"use strict";
// From logits to the next symbol. These are the rules of charrnn/sampling/logits.py.

// Numbers in [0, 1) that depend on the seed alone (mulberry32, by Tommy Ettinger).
function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

// Draw an id. A temperature of 0 takes the likeliest; `topP` keeps the likeliest symbols that
// together have this probability; `banned` is an id that is never drawn, or null.
function draw(logits, { temperature, topP, banned, random }) {
  const ranked = rank(logits).filter((id) => id !== banned && logits[id] > -Infinity);
  if (temperature === 0) return ranked[0];
  const highest = logits[ranked[0]];
  const shares = ranked.map((id) => Math.exp((logits[id] - highest) / temperature));
  const total = shares.reduce((sum, share) => sum + share, 0);
  let kept = 0, sum = 0;
  while (kept < shares.length && (topP >= 1 || sum < topP * total)) sum += shares[kept++];
  let left = random() * sum;
  const place = shares.findIndex((share) => (left -= share) < 0);
  return ranked[place >= 0 && place < kept ? place : kept - 1];
}

// Ids in descending order of their logits; equals in ascending order of id.
function rank(logits) {
  return Array.from(logits.keys()).sort((a, b) => logits[b] - logits[a] || a - b);
}

// The `count` likeliest symbols as [id, probability], the likeliest first.
function likeliest(logits, count) {
  const logs = logSoftmax(logits);
  const best = [];
  for (let id = 0; id < logs.length; id++) {
    if (best.length === count && logs[id] <= logs[best.at(-1)]) continue;
    let place = best.length;
    while (place > 0 && logs[id] > logs[best[place - 1]]) place--;
    best.splice(place, 0, id);
    best.length = Math.min(best.length, count);
  }
  return best.map((id) => [id, Math.exp(logs[id])]);
}
