// Run the jobs of one runner, as bench/devices/browser/device.py writes them.
import { loadArtifact } from './engine.js';

const LEAST_MS = 5; // of a sample: clocks of browsers tick in up to 0.1 ms
const WARM_MS = 500; // until the wasm is compiled with all optimizations
const fetched = async (path) => new Uint8Array(await (await fetch(path)).arrayBuffer());
let opened = null;

async function timed(run, images, { warmup, invocations }) {
  let [at, count] = [0, 1];
  const calls = async () => {
    const started = performance.now();
    for (let n = 0; n < count; n++) {
      const logits = run(images[at++ % images.length]);
      if (logits instanceof Promise) await logits;
    }
    return performance.now() - started;
  };
  for (let n = 0; n < warmup; n++) await calls();
  for (const end = performance.now() + WARM_MS; performance.now() < end;) {
    if (await calls() < 1.2 * LEAST_MS) count = Math.ceil(count * 1.2);
  }
  const samples = [];
  while (samples.length < invocations) samples.push(await calls() / count);
  return samples;
}

// Return the bytes of the runtime that this worker has fetched, from a cache or not.
function transferred() {
  const files = performance.getEntriesByType('resource');
  const own = files.filter(({ name }) => /\.(mjs|wasm)$/.test(name));
  return own.reduce((sum, { encodedBodySize }) => sum + encodedBodySize, 0);
}

async function result(job) {
  const [fresh, pixels] = [opened === null, await fetched('images')];
  opened ??= await loadArtifact(await fetched('artifact'), job);
  const { run, delegate, software, importMs, memoryBytes } = opened;
  const size = pixels.length / job.count;
  const image = (_, at) => pixels.subarray(at * size, at * size + size);
  const images = Array.from({ length: job.count }, image);
  const started = performance.now();
  await run(images[0]);
  const [loadMs, firstMs] = fresh ? [opened.loadMs, performance.now() - started] : [0, 0];
  const samplesMs = job.invocations ? await timed(run, images, job) : [];
  const found = [];
  for (const each of job.outputs.length ? images : []) found.push(await run(each, job.outputs));
  const rows = job.outputs.flatMap((_, at) => found.map((each) => each[at]));
  const facts = { delegate: `${delegate}, ${crossOriginIsolated ? '' : 'not '}isolated`, software, importMs };
  Object.assign(facts, { loadMs, firstMs, samplesMs, memoryBytes: memoryBytes() });
  return [Object.assign(facts, { transferredBytes: transferred() }), ...rows];
}

onmessage = async ({ data: job }) => {
  const failed = (error) => [{ failure: String(error?.message ?? error) }];
  const [facts, ...rows] = await result(job).catch(failed);
  postMessage({ facts, body: new Blob([JSON.stringify(facts), '\n', ...rows]) });
};
