// Classify pictures in Node.js: npm install --no-save sharp, then node example.js PICTURE…
import sharp from 'sharp';
import { open } from './node.js';

const { classify } = await open();

async function labelled(path) {
  const image = sharp(path).rotate().toColourspace('srgb').ensureAlpha().raw();
  const { data, info } = await image.toBuffer({ resolveWithObject: true });
  const { label, score } = await classify({ data, width: info.width, height: info.height });
  return `${label ?? 'unknown'} (${(100 * score).toFixed(1)} %)`;
}

for (const path of process.argv.slice(2)) {
  console.log(`${path}: ${await labelled(path).catch(({ message }) => message)}`);
}
