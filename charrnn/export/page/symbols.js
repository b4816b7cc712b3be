"use strict";
// The last symbols of a text, as codes: which n-grams end with the newest one, and what followed
// when the last few were read before. These are charrnn/model/ngram_hash.py and matching.py again.
//
// A symbol's code is its id plus 1; 0 is the start symbol, and whatever comes before a text.

// The rows of the n-grams of 2, 3, ... symbols, counted through all tables: arithmetic of unsigned
// integers of 32 bits.
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

// The lengths of the matches that are looked for, ascending.
function matchLengths({ match_length: length }) {
  return [length, Math.floor((7 * length + 2) / 4), 3 * length];
}

// A history is the first `count` of some codes. It begins with zeros, so that the first symbols
// have as many before them as the longest match; zeros further back would be followed by zeros.
function emptyHistory(config) {
  const count = matchLengths(config).at(-1);
  return { codes: new Array(count).fill(0), count };
}

// A history with one more code. It shares the array of the one before, which still ends where it
// did: a page keeps the state after each symbol, and thousands of codes in each would be too many.
// Where another text has gone on from there, it takes a copy of what can still matter.
function longerHistory({ codes, count }, code, config) {
  const kept = config.match_window + matchLengths(config).at(-1) - 1;
  const own = codes.length === count ? codes : codes.slice(Math.max(0, count - kept), count);
  own.push(code);
  return { codes: own, count: own.length };
}

// The code that followed the latest match of each length; 0 without a match. Going back from the
// newest symbol, a place that is a longer match is one of the shorter lengths too, so these are
// found in order.
function followers({ codes, count }, config) {
  const lengths = matchLengths(config);
  const newest = count - 1, longest = lengths.at(-1);
  const first = Math.max(newest - config.match_window, longest - 1);
  const found = [];
  for (let place = newest - 1; place >= first && found.length < lengths.length; place--) {
    let same = 0;
    while (same < longest && codes[place - same] === codes[newest - same]) same++;
    while (same >= lengths[found.length]) found.push(codes[place + 1]);
  }
  return lengths.map((_, n) => found[n] || 0);
}
