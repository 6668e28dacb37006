// Compare the model in Node.js with vectors.json; exit code 1 when it differs.
import { readFile } from 'node:fs/promises';

process.on('uncaughtException', ({ message }) => { // of a file that is missing or damaged
  console.error(`FAILED: ${message.split('\n')[0]} (sha256sum -c SHA256SUMS checks all files)`);
  process.exit(1);
});
const { open } = await import('./node.js');
const read = async (name) => JSON.parse(await readFile(new URL(name, import.meta.url)));
const { input, output, tolerance, score_tolerance: most, vectors } = await read('vectors.json');
const { run, classify } = await open();
const comparable = output.gives === 'probabilities' ? Math.exp : (logit) => logit;
let [labels, furthest, scores] = [0, 0, 0];
for (const each of vectors) {
  const [{ height, width }, data] = [input, Uint8Array.from(each.pixels)];
  const [found, logits] = [await classify({ data, width, height }), await run(data)];
  const differences = each.logits.map((logit, at) => comparable(logit) - comparable(logits[at]));
  furthest = Math.max(furthest, ...differences.map(Math.abs));
  labels += each.decided && found.index === each.index && found.isUnknown === each.is_unknown;
  scores = Math.max(scores, Math.abs(found.score - each.score));
}
const decided = vectors.filter((each) => each.decided).length;
console.log(`labels of the model: ${labels} of ${decided} decided equal, ${
  vectors.length - decided} too near to tell`);
console.log(`scores within ${scores.toPrecision(3)} (tolerance ${most.toPrecision(3)}), ${
  output.gives} within ${furthest.toPrecision(3)} (tolerance ${tolerance.toPrecision(3)})`);
const passed = decided > 0 && labels === decided && furthest <= tolerance && scores <= most;
console.log(passed ? 'passed' : 'FAILED');
process.exit(passed ? 0 : 1);
