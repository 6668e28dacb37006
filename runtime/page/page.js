// Pictures and camera frames go to the worker; its predictions are shown.
const $ = (id) => document.getElementById(id);
const json = (id) => JSON.parse($(id)?.textContent ?? '{}');
const page = json('page'); // {artifact, packages, examples, similar, offline}, of writing.py
const LARGEST_PIXELS = 50e6; // of a picture, as in hemline/pictures/images.py
const ON_SHELF = 40; // own pictures that can be shown again, beside the examples
const SHOWN = 30; // of the names of classes
const CAMERA = {
  NotAllowedError: 'The camera is blocked: allow it for this page in the browser’s settings.',
  NotFoundError: 'There is no camera: connect one, or choose a picture.',
  NotReadableError: 'Another program uses the camera: close it and try again.',
};
const [video, picture, state] = [$('video'), $('picture'), document.documentElement.dataset];
const waiting = new Map(); // for answers of the worker
let [worker, stamp, tiles, stream, asked, shelved] = [null, null, null, null, 0, 0];

function ask(name, request, moved = []) {
  worker.postMessage({ id: ++asked, name, request }, moved);
  return new Promise((resolve, reject) => waiting.set(asked, { resolve, reject }));
}

function startWorker(address) {
  worker = new Worker(address);
  worker.onmessage = ({ data: { id, answer, problem } }) => {
    const { resolve, reject } = waiting.get(id);
    waiting.delete(id);
    if (problem) reject(Error(problem));
    else resolve(answer);
  };
  const missing = Error('worker.js is missing: copy the whole page again');
  worker.onerror = () => waiting.forEach(({ reject }) => reject(missing));
}

function element(tag, ...children) {
  const made = document.createElement(tag);
  made.append(...children);
  return made;
}

function report(problem) {
  $('problem').textContent = problem;
  $('problem').hidden = !problem;
}

const milliseconds = (value) => ( // some browsers' clocks tick in 1 ms
  value === 0 ? '< 1 ms' : `${value < 10 ? value.toPrecision(2) : value.toFixed(0)} ms`);
const percent = (score) => `${(100 * score).toFixed(1)} %`;

// Return the image of what a model takes.
function imageOf(pixels) {
  const { width, height, channels } = stamp.input;
  const image = new ImageData(width, height);
  image.data.fill(255);
  for (let at = 0; at < width * height; at++) {
    for (let channel = 0; channel < 3; channel++) {
      image.data[4 * at + channel] = pixels[at * channels + (channels === 3 ? channel : 0)];
    }
  }
  return image;
}

function draw(canvas, source, most) {
  const [width, height] = [source.videoWidth ?? source.width, source.videoHeight ?? source.height];
  const share = Math.min(1, most / Math.max(width, height));
  canvas.width = Math.max(1, Math.round(width * share));
  canvas.height = Math.max(1, Math.round(height * share));
  canvas.classList.toggle('small', Math.max(width, height) < 200);
  canvas.getContext('2d').drawImage(source, 0, 0, canvas.width, canvas.height);
}

// Return the bitmap of an image file: upright, in the colours that are stored.
async function decoded(file) {
  const [address, image] = [URL.createObjectURL(file), new Image()];
  const unreadable = `${file.name} cannot be read: use PNG, JPEG, WebP, GIF, AVIF or BMP`;
  try { // a small file can be an enormous picture: its header comes first
    await new Promise((resolve, reject) => {
      Object.assign(image, { onload: resolve, onerror: () => reject(Error(unreadable)) });
      image.src = address;
    });
    const { naturalWidth: width, naturalHeight: height } = image;
    if (width * height > LARGEST_PIXELS) {
      throw Error(`${file.name} has ${width} × ${height} pixels: scale it down first`);
    }
    return await createImageBitmap(file, { colorSpaceConversion: 'none' })
      .catch(() => { throw Error(unreadable); });
  } finally {
    URL.revokeObjectURL(address);
  }
}

function predict(source, width, height, isJpeg = false) {
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext('2d', { willReadFrequently: true });
  context.drawImage(source, 0, 0, width, height);
  const { data: pixels } = context.getImageData(0, 0, width, height);
  return ask('classify', { pixels, width, height, isJpeg }, [pixels.buffer]);
}

function show(
  { label, index, isUnknown, scores, seen, prepareMs, classifyMs, similar = [] }, source,
) {
  const text = isUnknown ? 'Unknown' : label;
  if ($('label').textContent !== text) $('label').textContent = text; // else it is read out again
  $('result').classList.remove('none');
  $('result').classList.toggle('unknown', isUnknown);
  $('note').textContent = isUnknown
    ? `Not enough like any class. The closest is ${stamp.labels[index]}.` : source;
  const best = [...scores.keys()].sort((a, b) => scores[b] - scores[a]).slice(0, 3);
  while ($('top').children.length < best.length) {
    $('top').append(element('li', element('span'), element('span'), element('i')));
  }
  best.forEach((at, row) => {
    const [name, share, bar] = $('top').children[row].children;
    [name.textContent, share.textContent] = [stamp.labels[at], percent(scores[at])];
    bar.style.setProperty('--score', scores[at]);
  });
  [$('seen').width, $('seen').height] = [stamp.input.width, stamp.input.height];
  $('seen').getContext('2d').putImageData(imageOf(seen), 0, 0);
  $('prepared').textContent = milliseconds(prepareMs);
  $('classified').textContent = milliseconds(classifyMs);
  similar.forEach(showSimilar);
  $('similar').hidden = !similar.length;
  state.shown = Number(state.shown ?? 0) + 1;
}

// Show an image of the index: its tile, label, name, and the cosine of the angle.
function showSimilar({ at, similarity }, place) {
  const { names, labels, width, height, columns } = page.similar;
  const list = $('similar').querySelector('ul');
  if (!list.children[place]) {
    const canvas = element('canvas');
    [canvas.width, canvas.height, canvas.className] = [width, height, 'small'];
    list.append(element('li', canvas, element('strong'), element('span'), element('span')));
  }
  const [canvas, label, angle, name] = list.children[place].children;
  const [x, y] = [width * (at % columns), height * Math.floor(at / columns)];
  canvas.getContext('2d').drawImage(tiles, x, y, width, height, 0, 0, width, height);
  [label.textContent, angle.textContent] = [labels[at], similarity.toFixed(3)];
  name.textContent = names[at];
}

// Classify a file, or an example {name, image}, and show it.
async function classify(item) {
  const bitmap = await (item.image ? createImageBitmap(item.image) : decoded(item));
  const answer = await predict(bitmap, bitmap.width, bitmap.height, item.type === 'image/jpeg');
  show(answer, item.image ? `Example of ${item.name}` : item.name);
  hold(bitmap, `The picture: ${item.name}`);
  item.button ??= shelve(item, bitmap);
  const text = $('label').textContent;
  item.button.children[1].textContent = text === item.name ? '' : text;
  mark(item.button);
  bitmap.close();
}

// Classify pictures one after the other; what is wrong with some is reported at the end.
async function classifyAll(items) {
  const problems = [];
  stopCamera();
  report('');
  for (const item of items) await classify(item).catch(({ message }) => problems.push(message));
  const [first, ...more] = problems;
  report(more.length ? `${first}. ${more.length} more of ${items.length} cannot be used` : first);
  if (items.length && problems.length === items.length) showNothing();
}

function showNothing() {
  mark(null);
  $('result').classList.add('none');
  [picture.hidden, $('empty').hidden] = [true, false];
  [$('label').textContent, $('note').textContent] = ['No prediction', 'Choose another picture.'];
  $('top').replaceChildren();
  $('similar').hidden = true;
  $('seen').width = 0;
  $('prepared').textContent = $('classified').textContent = '–';
}

function hold(source, name) {
  draw(picture, source, 1200);
  picture.setAttribute('aria-label', name);
  [picture.hidden, $('empty').hidden] = [false, true];
}

function mark(button) {
  document.querySelector('[aria-current]')?.removeAttribute('aria-current');
  button?.setAttribute('aria-current', 'true');
}

// Put a small copy of a picture on the shelf, the newest first; examples keep their order.
function shelve(item, source) {
  const canvas = element('canvas');
  draw(canvas, source, 176);
  const button = element('button', canvas, element('strong'), element('span', item.name));
  button.type = 'button';
  button.addEventListener('click', () => classifyAll([item]));
  const place = element('li', button);
  if (item.image) $('pictures').append(place);
  else $('pictures').prepend(place);
  if (!item.image && ++shelved > ON_SHELF) {
    $('pictures').children[ON_SHELF].remove();
    $('kept').textContent = `The last ${ON_SHELF} of ${shelved} are kept.`;
  }
  $('shelf').hidden = false;
  return button;
}

async function startCamera() {
  report('');
  $('camera').disabled = true;
  try {
    if (!navigator.mediaDevices) throw Error('it needs https, or localhost');
    const wanted = { facingMode: 'environment', width: { ideal: 640 } };
    const opened = await navigator.mediaDevices.getUserMedia({ video: wanted });
    stream = opened;
    opened.getVideoTracks()[0].addEventListener('ended', () => {
      stopCamera();
      report('The camera is gone: connect it, then start it again.');
    });
    video.srcObject = opened;
    await video.play();
    [video.hidden, $('live').hidden] = [false, false];
    [$('empty').hidden, picture.hidden] = [true, true];
    [$('camera').textContent, $('camera').disabled] = ['Stop camera', false];
    mark(null);
    await watch(opened);
  } catch (error) {
    stopCamera();
    $('camera').disabled = false;
    report(CAMERA[error.name] ?? `The camera cannot be used: ${error.message}`);
  }
}

async function watch(opened) {
  const nextFrame = (next) => ('requestVideoFrameCallback' in video
    ? video.requestVideoFrameCallback(next) : requestAnimationFrame(next));
  while (stream === opened) {
    const answer = await predict(video, video.videoWidth, video.videoHeight);
    if (stream === opened) show(answer, 'Camera');
    await new Promise(nextFrame);
  }
}

function stopCamera() {
  if (!stream) return;
  if (video.videoWidth) hold(video, 'The last frame of the camera');
  for (const track of stream.getTracks()) track.stop();
  [stream, video.srcObject] = [null, null];
  [video.hidden, $('live').hidden] = [true, true];
  $('camera').textContent = 'Use camera';
}

function listen() {
  $('file').addEventListener('change', async ({ target }) => {
    await classifyAll([...target.files]);
    target.value = ''; // the same file may be chosen again
  });
  $('camera').addEventListener('click', () => (stream ? stopCamera() : startCamera()));
  document.addEventListener('paste', ({ clipboardData }) => classifyAll([...clipboardData.files]));
  const over = (event) => {
    event.preventDefault();
    $('stage').classList.toggle('over', event.type === 'dragover');
  };
  for (const kind of ['dragover', 'dragleave', 'drop']) document.addEventListener(kind, over);
  document.addEventListener('drop', ({ dataTransfer }) => classifyAll([...dataTransfer.files]));
}

function named(labels) {
  const rest = labels.length - SHOWN;
  return labels.slice(0, SHOWN).join(', ') + (rest > 0 ? ` and ${rest} more` : '');
}

function describe({ bytes, test }) {
  const { input, labels, model, name, unknown_threshold: threshold } = stamp;
  const kind = { 1: 'gray', 3: 'colour' }[input.channels] ?? `${input.channels} channels`;
  $('size').textContent = `${input.width} × ${input.height}, ${kind}`;
  const facts = {
    Model: `${model}, ${name}, ${(bytes / 1000).toFixed(0)} kB`,
    Classes: named(labels),
    Unknown: stamp.distance ? `at a distance of more than ${stamp.distance.threshold.toFixed(1)}`
      : threshold > 0 ? `at most ${percent(threshold)} certain` : 'never',
    'Self-test': `${test.images} images, at most ${test.worst.toPrecision(2)} off the model `
      + `that was exported (${test.tolerance.toPrecision(2)} is allowed)`,
  };
  if (page.similar) facts['Similar images'] = `the nearest of ${page.similar.names.length}`;
  for (const [name, text] of Object.entries(facts)) {
    $('about').append(element('div', element('dt', name), element('dd', text)));
  }
}

const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));

async function start() {
  const contents = json('contents'); // of a page in a single file
  for (const name of Object.keys(contents)) contents[name] = bytesOf(contents[name]);
  const program = contents['worker.js'];
  if (!program && window.location.protocol === 'file:') {
    throw Error('open it from a server (run python3 -m http.server in this folder), '
      + 'or pack it with --single-file');
  }
  const script = program && new Blob([program], { type: 'text/javascript' });
  startWorker(script ? URL.createObjectURL(script) : 'worker.js');
  const opened = await ask('open', { ...page, contents });
  ({ stamp, tiles } = opened);
  describe(opened);
  if (!opened.test.passed) throw Error('the self-test failed: do not use it in this browser');
  const examples = opened.images.map((pixels, at) => (
    { name: page.examples[at].name, image: imageOf(pixels) }));
  for (const each of examples) each.button = shelve(each, await createImageBitmap(each.image));
  listen();
  [$('file').disabled, $('camera').disabled, state.state] = [false, false, 'ready'];
  $('state').textContent = 'Ready: self-test passed';
  if (examples.length) await classifyAll([examples[0]]);
  else $('note').textContent += ` The classes are ${named(stamp.labels)}.`;
}

async function keepOffline() {
  const { serviceWorker } = navigator;
  if (!page.offline || !serviceWorker) return;
  let { controller } = serviceWorker; // which gave this page
  serviceWorker.addEventListener('controllerchange', () => {
    if (controller) $('update').hidden = false;
    ({ controller } = serviceWorker);
  });
  $('reload').addEventListener('click', () => window.location.reload());
  await serviceWorker.register('service_worker.js');
  await serviceWorker.ready;
  $('offline').textContent = 'It also works without a network.';
}

[state.state, $('state').textContent] = ['loading', 'Loading'];
start().catch((error) => {
  state.state = 'failed';
  $('state').textContent = 'Not usable';
  const [title, reason] = [element('strong', 'This page cannot be used here'), error.message];
  $('empty').replaceChildren($('empty').firstElementChild, title, element('span', reason));
});
keepOffline().catch(() => { $('offline').textContent = 'It needs a network each time.'; });
