// Classify pictures with @ARTIFACT@ in Node.js 18 or later.
import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import { open as openAnywhere } from './classifier.js';

/** Open the model; see classifier.js. */
export function open({ base = import.meta.url, read = readFile } = {}) {
  // LiteRT's code is a script of the older kind, which finds these in Node.js
  const names = { __filename: fileURLToPath(base), __dirname: fileURLToPath(new URL('.', base)) };
  Object.assign(globalThis, { require: createRequire(base), ...names });
  return openAnywhere({ base, read });
}
