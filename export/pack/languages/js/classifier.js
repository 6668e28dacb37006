// Classify pictures with @ARTIFACT@, in browsers; in Node.js import node.js.
import { decode } from './decoder.js';
import { loadArtifact } from './engine.js';
import { prepare } from './pixels.js';

async function fetched(address) {
  const response = await fetch(address);
  if (!response.ok) throw Error(`${address} is missing: serve all files of the pack`);
  return response.arrayBuffer();
}

/**
 * Open the model. `base` is the address of the folder with the files of the pack, `read` returns
 * the bytes at an address. Returns {stamp, run, classify}:
 *
 * - `classify({ data, width, height })` takes a picture of any size, such as an ImageData, and
 *   returns {label, index, score, isUnknown, distance, scores}; `label` is null where it is unknown.
 * - `run(pixels)` returns the logits of bytes of the model's size.
 */
export async function open({ base = import.meta.url, read = fetched } = {}) {
  const bytes = new Uint8Array(await read(new URL('@ARTIFACT@', base)));
  const { stamp, run } = await loadArtifact(bytes, { base, relaxed: false });
  const classify = async (picture) => {
    const { data, width, height } = picture ?? {};
    const pixels = prepare(data, width, height, stamp);
    const names = stamp.distance ? ['logits', 'embedding'] : ['logits'];
    return decode(stamp, ...await run(pixels, names));
  };
  return { stamp, run, classify };
}
