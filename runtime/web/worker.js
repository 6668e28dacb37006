// Run jobs as bench/devices/browser/device.py writes them, one after the other.
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

async function result(job) {
  const [fresh, pixels] = [opened === null, await fetched('images')];
  opened ??= await loadArtifact(await fetched('artifact'), job);
  const { run, delegate, importMs, memoryBytes } = opened;
  const size = pixels.length / job.count;
  const image = (_, at) => pixels.subarray(at * size, at * size + size);
  const images = Array.from({ length: job.count }, image);
  const started = performance.now();
  await run(images[0]);
  const [loadMs, firstMs] = fresh ? [opened.loadMs, performance.now() - started] : [0, 0];
  const samplesMs = job.invocations ? await timed(run, images, job) : [];
  const rows = [];
  for (const name of job.outputs) for (const each of images) rows.push(await run(each, name));
  const facts = { delegate: `${delegate}, ${crossOriginIsolated ? '' : 'not '}isolated`, importMs };
  Object.assign(facts, { loadMs, firstMs, samplesMs, memoryBytes: memoryBytes() });
  return [JSON.stringify(facts), '\n', ...rows];
}

for (;;) {
  const job = await (await fetch('job')).json();
  const failed = (error) => [JSON.stringify({ failure: String(error?.message ?? error) })];
  await fetch('result', { method: 'POST', body: new Blob(await result(job).catch(failed)) });
}
