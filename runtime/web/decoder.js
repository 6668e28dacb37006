// From the logits of one image to a prediction, as runtime/decoder.py makes it.

/**
 * Return {label, index, score, isUnknown, scores}: `label` is null where the model does not know
 * the image, `index` and `score` are those of the best class all the same.
 */
export function decode({ labels, temperature, unknown_threshold: threshold }, logits) {
  const most = logits.reduce((best, each) => Math.max(best, each));
  const powers = Array.from(logits, (each) => Math.exp((each - most) / temperature));
  const sum = powers.reduce((total, each) => total + each);
  const scores = powers.map((each) => each / sum);
  const index = logits.indexOf(most);
  const isUnknown = scores[index] <= threshold;
  const label = isUnknown ? null : labels[index];
  return { label, index, score: scores[index], isUnknown, scores };
}
