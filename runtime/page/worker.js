// Open the artifact and classify pictures beside the page, so that it stays quick.
import { decode } from './decoder.js';
import { loadArtifact } from './engine.js';
import { kept, prepare } from './pixels.js';
import { searcher } from './similar.js';

const LEAST_MS = 5; // of a measurement: clocks of browsers tick in up to 1 ms
const MANY = 4; // test images, of which one may be farther off, by contract/parity.py
const SIMILAR = 12; // images that are shown
let [model, similarTo] = [null, null];

// `contents` are the bytes of files by name, where the page is a single file; else it is empty.
async function open({ artifact, packages, examples, similar, contents }) {
  const bytesOf = async (name) => {
    if (name in contents) return contents[name];
    const response = await fetch(name).catch(() => null);
    if (!response?.ok) throw Error(`${name} is missing: copy the whole page again`);
    return new Uint8Array(await response.arrayBuffer());
  };
  const addressOf = async (name) => {
    const type = name.endsWith('.js') ? 'text/javascript' : 'application/wasm';
    if (type === 'text/javascript' && !(name in contents)) return new URL(name, self.location).href;
    return URL.createObjectURL(new Blob([await inflated(await bytesOf(name))], { type }));
  };
  const [bytes, ...addresses] = await Promise.all([bytesOf(artifact), ...packages.map(addressOf)]);
  const packed = (name) => name.replace(/mjs$/, 'js').replace(/wasm$/, 'wasm.gz');
  const locate = (name) => addresses[packages.indexOf(packed(name))];
  model = await loadArtifact(bytes, { locate, relaxed: false });
  const images = await Promise.all(examples.map(({ pixels }) => unpacked(pixels)));
  let tiles = null;
  if (similar) {
    const [vectors, sheet] = await Promise.all(['similar.bin', 'similar.webp'].map(bytesOf));
    similarTo = searcher(new Int8Array(vectors), vectors.length / similar.names.length);
    tiles = await createImageBitmap(new Blob([sheet], { type: 'image/webp' }));
  }
  return { stamp: model.stamp, bytes: bytes.length, test: await selfTest(), images, tiles };
}

// Return the bytes that were compressed by gzip, or by a server that has not told.
async function inflated(bytes, form = 'gzip') {
  if (form === 'gzip' && (bytes[0] !== 31 || bytes[1] !== 139)) return bytes;
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream(form));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

const unpacked = (text) => (
  inflated(Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)), 'deflate'));

// Run the test images inside the artifact: the same logits as when it was exported?
async function selfTest() {
  const { tolerance, test_vectors: vectors, outputs } = model.stamp;
  const { gives } = outputs.find(({ name }) => name === 'logits');
  const value = (each) => (gives === 'probabilities' ? Math.exp(each) : each);
  const worst = [];
  for (const { pixels, logits } of vectors) {
    const found = await model.run(await unpacked(pixels));
    const off = logits.map((each, at) => Math.abs(value(each) - value(found[at])));
    worst.push(Math.max(...off)); // NaN where one is
  }
  const [images, far] = [worst.length, worst.filter((each) => !(each <= tolerance)).length];
  const passed = far <= (images < MANY ? 0 : 1);
  return { passed, worst: Math.max(...worst), tolerance, images };
}

async function classify({ pixels, width, height, isJpeg }) {
  const started = performance.now();
  const { stamp, run } = model;
  const side = Math.max(stamp.input.height, stamp.input.width);
  const picture = kept(pixels, width, height, { side, isJpeg });
  const seen = prepare(picture.pixels, picture.width, picture.height, stamp);
  const prepareMs = performance.now() - started;
  const names = stamp.distance || similarTo ? ['logits', 'embedding'] : ['logits'];
  const outputs = await run(seen, names);
  const begun = performance.now();
  let calls = 0;
  for (; calls === 0 || performance.now() - begun < LEAST_MS; calls++) await run(seen);
  const classifyMs = (performance.now() - begun) / calls;
  const similar = similarTo?.(outputs[1], SIMILAR);
  return { ...decode(stamp, ...outputs), seen, prepareMs, classifyMs, similar };
}

self.onmessage = async ({ data: { id, name, request } }) => {
  try {
    self.postMessage({ id, answer: await { open, classify }[name](request) });
  } catch (error) {
    self.postMessage({ id, problem: String(error?.message ?? error) });
  }
};
