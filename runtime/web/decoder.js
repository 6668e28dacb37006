// From the outputs of one image to a prediction, as runtime/decoder.py makes it.

/**
 * Return {label, index, score, isUnknown, distance, scores}: `label` is null where the model does
 * not know the image, `index` and `score` are those of the best class all the same. A stamp with a
 * `distance` needs the `embedding` too, a Float32Array; without one `distance` is null.
 */
export function decode(stamp, logits, embedding = null) {
  const { labels, temperature, unknown_threshold: threshold } = stamp;
  const most = logits.reduce((best, each) => Math.max(best, each));
  const powers = Array.from(logits, (each) => Math.exp((each - most) / temperature));
  const sum = powers.reduce((total, each) => total + each);
  const scores = powers.map((each) => each / sum);
  const index = logits.indexOf(most);
  const distance = stamp.distance ? distanceOf(stamp.distance, embedding) : null;
  const isKnown = stamp.distance ? distance <= stamp.distance.threshold : scores[index] > threshold;
  const label = isKnown ? labels[index] : null;
  return { label, index, score: scores[index], isUnknown: !isKnown, distance, scores };
}

const matrices = new WeakMap(); // of the stamps' parts: unpacked once

// Return the rows of a matrix in base64 of int8 with a scale for each row (class_distance.py).
function rowsOf(part) {
  if (!matrices.has(part)) {
    const steps = Int8Array.from(atob(part.values), (each) => each.charCodeAt(0));
    const size = steps.length / part.scales.length;
    const row = (at) => Array.from(steps.subarray(at * size, at * size + size));
    matrices.set(part, part.scales.map((scale, at) => row(at).map((each) => each * scale)));
  }
  return matrices.get(part);
}

// Return the distance of an embedding to the nearest class, as runtime/unknown.py measures it.
function distanceOf({ mean, directions, variances, centers, rest }, embedding) {
  const away = rowsOf(mean)[0].map((each, at) => embedding[at] - each);
  const dot = (row) => row.reduce((sum, each, at) => sum + each * away[at], 0);
  const along = rowsOf(directions).map(dot);
  const classes = rowsOf(centers);
  const toClass = (_, at) => along.reduce((sum, z, row) => sum + (z - classes[row][at]) ** 2, 0);
  const nearest = Math.min(...classes[0].map(toClass));
  const leftOut = along.reduce((left, z, row) => left - variances[row] * z * z, dot(away));
  return Math.sqrt(nearest + (rest ? Math.max(0, leftOut) / rest : 0));
}
