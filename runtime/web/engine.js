// Run a Hemline artifact in a browser: its logits are Python's.
// The files of npm packages (hemline/npm_packages.py) are beside this module, or at `base`.

const ARRAYS = { float32: Float32Array, int8: Int8Array, uint8: Uint8Array };
const LEAST_PROBABILITY = Math.fround(1e-9); // stands for 0 under a logarithm, as in decoder.py

/**
 * Open the bytes of an artifact; throws an Error with one line that says why it cannot be used.
 *
 * The stamp in the file is used, or the given one; `locate` returns where a file of a package is;
 * `gpu` runs a .tflite by WebGPU. Returns {stamp, run, delegate, importMs, loadMs, memoryBytes}:
 * `run` turns the uint8 pixels of one image (height, width, channels) into the Float32Array of its
 * logits, or of another output by name, or into an array of these for an array of names, which
 * takes one inference; async for .onnx and WebGPU.
 */
export async function loadArtifact(bytes, {
  base = import.meta.url, locate = (name) => new URL(name, base).href, stamp: given = null,
  relaxed = runsSimd([65, 1, 253, 15, 65, 2, 253, 15, 253, 128, 2]), gpu = false,
} = {}) {
  const { stamp: own, model } = await readStamp(bytes);
  const stamp = given ?? own;
  if (!stamp.outputs) throw Error(`an older Hemline wrote ${stamp.name}: export it again`);
  if (!runsSimd([65, 0, 253, 15, 253, 98])) throw Error('no WebAssembly SIMD: update this browser');
  const open = stamp.format === 'onnx' ? openOnnx : openTflite;
  const asked = performance.now();
  const { invoke, started, ...facts } = await open(model, stamp.input, { locate, relaxed, gpu });
  const [importMs, loadMs] = [started - asked, performance.now() - started];
  const encode = encoder(stamp.input);
  const specOf = (name) => {
    const spec = stamp.outputs.find((each) => each.name === name);
    if (spec === undefined) throw Error(`${stamp.name} has no output ${name}`);
    return spec;
  };
  const run = (pixels, asked = 'logits') => {
    const specs = [asked].flat().map(specOf);
    const real = (all) => {
      const found = all.map((stored, at) => realValues(specs[at], stored));
      return Array.isArray(asked) ? found : found[0];
    };
    const stored = invoke(encode(pixels), specs);
    return stored.then?.(real) ?? real(stored);
  };
  return { stamp, run, importMs, loadMs, ...facts };
}

// Return {stamp, model}; where a stamp is and what its hash covers: contract/stamp.py.
async function readStamp(bytes) {
  const isTflite = new TextDecoder().decode(bytes.subarray(4, 8)) === 'TFL3';
  let stamp, model, hashed;
  try {
    ({ stamp, model, hashed } = await (isTflite ? archived(bytes) : embedded(bytes)));
  } catch {
    throw Error('this file has no Hemline stamp');
  }
  if (globalThis.crypto?.subtle) { // only on https and localhost
    const digest = new Uint8Array(await crypto.subtle.digest('SHA-256', hashed));
    const hex = Array.from(digest, (each) => each.toString(16).padStart(2, '0')).join('');
    if (hex !== stamp.payload_sha256) throw Error(`${stamp.name} was modified: copy it again`);
  }
  return { stamp, model };
}

// Read the zip of one member behind a .tflite.
async function archived(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const directory = view.getUint32(bytes.length - 6, true);
  const [packed, start] = [20, 42].map((at) => view.getUint32(directory + at, true));
  const [name, extra] = [26, 28].map((at) => view.getUint16(start + at, true));
  const body = bytes.subarray(start + 30 + name + extra).subarray(0, packed);
  const text = new Blob([body]).stream().pipeThrough(new DecompressionStream('deflate-raw'));
  const model = bytes.subarray(0, start);
  return { stamp: await new Response(text).json(), model, hashed: model };
}

// Read the metadata property of an .onnx; the digits of its own hash count as zeros.
function embedded(bytes) {
  const text = (from, to) => new TextDecoder().decode(bytes.subarray(from, to));
  const entries = [...fields(bytes, 0, bytes.length)].filter(([number]) => number === 14);
  const pairs = entries.map(([, from, to]) => [...fields(bytes, from, to)]);
  const [, [, from, to]] = pairs.find(([[, ...key]]) => text(...key) === 'hemline');
  const [stamp, hashed] = [JSON.parse(text(from, to)), bytes.slice()];
  const at = from + text(from, to).indexOf(stamp.payload_sha256); // the text is in ASCII
  hashed.fill(48, at, at + stamp.payload_sha256.length);
  return { stamp, model: bytes, hashed };
}

// Yield [number, start, end] of each field with a length in a protobuf message.
function* fields(bytes, at, end) {
  const varint = () => {
    for (let value = 0, scale = 1; ; scale *= 128) {
      value += (bytes[at] & 127) * scale;
      if (!(bytes[at++] & 128)) return value;
    }
  };
  while (at < end) {
    const tag = varint();
    const wire = tag % 8;
    const size = wire === 2 ? varint() : { 1: 8, 5: 4 }[wire] ?? 0;
    if (wire === 0) varint();
    if (wire === 2) yield [(tag - wire) / 8, at, at + size];
    at += size;
  }
}

// Whether instructions that leave a vector are valid here.
function runsSimd(code) {
  const body = [code.length + 2, 0, ...code, 11];
  const head = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0];
  return WebAssembly.validate(new Uint8Array([...head, 10, body.length + 1, 1, ...body]));
}

// Return a function from pixels to the tensor, with a table for each channel, as in pixels.py.
function encoder({ dtype, height, width, channels, bgr, mean, std, scale, zero_point: zero }) {
  const [low, high] = dtype === 'int8' ? [-128, 127] : [0, 255];
  const stored = (real) => {
    if (dtype === 'float32') return real;
    let step = Math.round(real / scale);
    if (step - real / scale === 0.5 && step % 2 !== 0) step -= 1; // half to even, as numpy rounds
    return Math.min(high, Math.max(low, step + zero));
  };
  const tables = Array.from({ length: channels }, (_, at) => ARRAYS[dtype].from(
    { length: 256 }, (__, pixel) => stored((pixel - (mean[at] ?? mean)) / (std[at] ?? std)),
  ));
  const tensor = new ARRAYS[dtype](height * width * channels);
  return (pixels) => {
    if (pixels?.length !== tensor.length || pixels.BYTES_PER_ELEMENT !== 1) {
      throw Error(`an image has ${tensor.length} bytes here`);
    }
    tables.forEach((table, at) => {
      const source = bgr ? channels - 1 - 2 * at : 0;
      for (let to = at; to < tensor.length; to += channels) tensor[to] = table[pixels[to + source]];
    });
    return tensor;
  };
}

// Return the float32 values of a stored output, as in decoder.py.
function realValues({ dtype, gives, scale, zero_point: zero }, stored) {
  const real = Float32Array.from(stored, dtype === 'float32' ? undefined
    : (each) => Math.fround(each - zero) * Math.fround(scale));
  if (gives !== 'probabilities') return real;
  return real.map((each) => Math.log(Math.max(each, LEAST_PROBABILITY)));
}

// LiteRT's wasm below its JavaScript interface, which refuses int8 tensors and a free batch size.
async function openTflite(model, { height, width, channels, dtype }, { locate, relaxed, gpu }) {
  const glue = relaxed ? 'litert_wasm_internal' : 'litert_wasm_compat_internal';
  const { default: factory } = await import(locate(`${glue}.mjs`));
  const print = () => {};
  const wasm = await factory({ locateFile: locate, print, printErr: print });
  wasm.setupLogging();
  const started = performance.now();
  const { device, ...used } = gpu ? await gpuDevice() : { device: null };
  const environment = wasm.LiteRtEnvironment.create(device);
  const at = wasm._malloc(model.length);
  wasm.HEAPU8.set(model, at);
  const parsed = wasm.loadModel(environment, at, model.length);
  const options = { accelerator: gpu ? 'webgpu' : 'wasm', cpuOptions: { numThreads: 1 } };
  options.environment = { liteRtEnvironment: environment, webGpuDevice: device };
  const compiled = await wasm.compileModel(environment, parsed, { ...options, gpuOptions: {} });
  const isWhole = compiled.isFullyAccelerated();
  if (gpu && !(isWhole && dtype === 'float32')) throw Error('WebGPU runs files in float only');
  const sizes = new wasm.VectorInt32();
  for (const size of [1, height, width, channels]) sizes.push_back(size);
  const { value } = parsed.getInputTensorType(0, 0).elementType();
  const type = wasm.LiteRtRankedTensorType.create({ value }, wasm.LiteRtLayout.create(sizes));
  const bytes = height * width * channels * ARRAYS[dtype].BYTES_PER_ELEMENT;
  const { LiteRtTensorBufferType: { HOST_MEMORY }, LiteRtTensorBufferLockMode: mode } = wasm;
  const memoryBytes = () => wasm.HEAPU8.length;
  if (gpu) {
    const invoke = onGpu(wasm, environment, compiled, device, type, bytes);
    return { invoke, ...used, started, memoryBytes };
  }
  const buffer = wasm.LiteRtTensorBuffer.createManaged(environment, HOST_MEMORY, type, bytes);
  const invoke = (tensor, specs) => {
    const to = buffer.lock(mode.WRITE);
    wasm.HEAPU8.set(new Uint8Array(tensor.buffer), to);
    buffer.unlock();
    const outputs = compiled.run(0, [buffer]);
    const found = specs.map(({ position, dtype: kind }) => {
      const from = outputs[position].lock(mode.READ);
      const raw = wasm.HEAPU8.slice(from, from + outputs[position].packedSize());
      outputs[position].unlock();
      return new ARRAYS[kind](raw.buffer);
    });
    for (const each of outputs) each.delete();
    return found;
  };
  const delegate = `XNNPACK${isWhole ? '' : ' in part'}, WebAssembly ${
    relaxed ? 'relaxed ' : ''}SIMD`;
  return { invoke, delegate, started, memoryBytes };
}

// Return a device without float16, and what it is.
async function gpuDevice() {
  const adapter = await navigator.gpu?.requestAdapter({ powerPreference: 'high-performance' });
  if (!adapter) throw Error('no WebGPU: it needs a GPU, and https or localhost');
  const names = ['maxBufferSize', 'maxStorageBufferBindingSize', 'maxStorageBuffersPerShaderStage'];
  const requiredLimits = Object.fromEntries(names.map((name) => [name, adapter.limits[name]]));
  const { vendor, architecture, isFallbackAdapter: software } = adapter.info;
  const delegate = `WebGPU on ${vendor} ${architecture}${software ? ' (software)' : ''}`;
  return { device: await adapter.requestDevice({ requiredLimits }), delegate, software };
}

function onGpu(wasm, environment, compiled, device, type, size) {
  const { STORAGE, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage;
  const input = device.createBuffer({ size, usage: STORAGE | COPY_SRC | COPY_DST });
  const { WEB_GPU_BUFFER_PACKED: kind } = wasm.LiteRtTensorBufferType;
  const imported = wasm.WebGPU.importJsBuffer(input);
  const given = [environment, type, kind, imported, size];
  const buffer = wasm.LiteRtTensorBuffer.createFromWebGpuBuffer(...given);
  const read = async (output, kind) => {
    const from = wasm.WebGPU.getJsObject(output.getWebGpuBuffer());
    const to = device.createBuffer({ size: from.size, usage: COPY_DST | MAP_READ });
    const encoder = device.createCommandEncoder();
    encoder.copyBufferToBuffer(from, 0, to, 0, from.size);
    device.queue.submit([encoder.finish()]);
    await to.mapAsync(GPUMapMode.READ);
    const raw = to.getMappedRange().slice(0, output.packedSize());
    to.destroy();
    return new ARRAYS[kind](raw);
  };
  return async (tensor, specs) => {
    device.queue.writeBuffer(input, 0, tensor);
    const outputs = await compiled.run(0, [buffer]);
    const found = await Promise.all(specs.map((each) => read(outputs[each.position], each.dtype)));
    for (const each of outputs) each.delete();
    return found;
  };
}

async function openOnnx(model, { height, width, channels, dtype }, { locate }) {
  const ort = await import(locate('ort.wasm.min.mjs'));
  const [mjs, wasm] = ['mjs', 'wasm'].map((ending) => locate(`ort-wasm-simd-threaded.${ending}`));
  Object.assign(ort.env.wasm, { numThreads: 1, wasmPaths: { mjs, wasm } });
  ort.env.logLevel = 'fatal';
  const { Memory } = WebAssembly;
  const memories = []; // that the runtime makes: no interface tells their size
  WebAssembly.Memory = function memory(limits) {
    return memories[memories.push(new Memory(limits)) - 1];
  };
  await ort.InferenceSession.create(new Uint8Array(1)).catch(() => {}); // compiles the wasm
  WebAssembly.Memory = Memory;
  const started = performance.now();
  const session = await ort.InferenceSession.create(model, { logSeverityLevel: 3 });
  const invoke = async (tensor, specs) => {
    const names = specs.map(({ position }) => session.outputNames[position]);
    const given = new ort.Tensor(dtype, tensor, [1, height, width, channels]);
    const outputs = await session.run({ [session.inputNames[0]]: given }, names);
    return names.map((name) => outputs[name].data);
  };
  const memoryBytes = () => memories.reduce((sum, { buffer }) => sum + buffer.byteLength, 0);
  return { invoke, delegate: 'WebAssembly SIMD', started, memoryBytes };
}
