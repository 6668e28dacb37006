// Turn a picture of any size into the pixels that a model sees: Python's, pixel for pixel.
// The steps are those of hemline/pictures (preprocessing.py, scaling.py), where their reasons are.
// Sums are made in float64 and kept in float32, in which numpy makes them.

const f32 = Math.fround;
const LUMA = [0.299, 0.587, 0.114].map(f32);
const CLOSE = 0.05 * 255; // of the largest distance in RGB, as a mean over the channels
const JUDGED = 128; // pixels of the longer side of the copy on which the background is judged
const LIGHT = 127.5;
const HIDDEN = 64; // a drawing this close to the ground is laid on the other one
const LOBES = 3; // of Lanczos' window
const KEPT_PIXELS = 4e6; // of a larger photograph a reduced copy is kept
const DRAFT_SIDE = 1024; // pixels of the shorter side that a JPEG is unpacked to at least
const LARGEST_SIDE = 32768;

/**
 * Return the pixels that a model sees, a Uint8Array (height, width, channels).
 *
 * `pixels` are bytes (height, width, 1, 3 or 4), row by row, a fourth channel being opacity: what
 * getImageData returns. `stamp` is that of the artifact. Throws an Error with one line.
 */
export function prepare(pixels, width, height, { input: spec, preprocessing }) {
  if (pixels?.BYTES_PER_ELEMENT !== 1) {
    throw Error('the pixels of a picture are bytes: a Uint8Array, or what getImageData returns');
  }
  const channels = pixels.length / (width * height);
  if (![1, 3, 4].includes(channels) || Math.max(width, height) > LARGEST_SIDE) {
    throw Error(`${pixels.length} bytes are not a picture of ${width} × ${height} pixels`);
  }
  const picture = { values: pixels, height, width, channels };
  if (height === spec.height && width === spec.width) {
    if (channels === spec.channels) return Uint8Array.from(pixels);
    return inChannels(opaque(picture, 0), spec.channels);
  }
  if (preprocessing === 'product-photo') return productPhoto(opaque(picture, 255), spec);
  if (preprocessing !== 'stretch') throw Error(`${preprocessing} is not known here: update it`);
  const wide = scaled(opaque(picture, 0), lanczos(height, spec.height), lanczos(width, spec.width));
  return inChannels({ ...wide, values: rounded(wide.values) }, spec.channels);
}

/**
 * Return {pixels, width, height} of a photograph as read_picture keeps it: of an opaque one of over
 * 4 megapixels a reduced copy. `side` is the longer side of the model. Python unpacks a large JPEG
 * at a half, a quarter or an eighth; here pixels are averaged instead, which looks the same.
 */
export function kept(pixels, width, height, { side = 0, isJpeg = false } = {}) {
  const channels = pixels.length / (width * height);
  if (channels === 4 && !isOpaque(pixels)) return { pixels, width, height };
  const part = Math.min(width, height) / Math.max(DRAFT_SIDE, side);
  const draft = isJpeg ? [8, 4, 2].find((factor) => factor <= part) : 1;
  const image = reduced({ values: pixels, width, height, channels }, draft ?? 1);
  const excess = image.width * image.height / KEPT_PIXELS;
  const most = Math.floor(Math.min(image.width, image.height) / Math.max(1, side));
  const factor = excess > 1 ? Math.min(most, Math.max(2, halfToEven(Math.sqrt(excess)))) : 1;
  const { values, ...size } = reduced(image, factor);
  return { pixels: values, width: size.width, height: size.height };
}

// Average squares of `factor` pixels in the integers of pillow's Image.reduce.
function reduced(image, factor) {
  if (factor <= 1) return image;
  const { values, channels } = image;
  const [height, width] = [image.height, image.width].map((size) => Math.ceil(size / factor));
  const small = new Uint8ClampedArray(height * width * channels);
  for (let row = 0, to = 0; row < height; row++) {
    const bottom = Math.min(image.height, (row + 1) * factor);
    for (let column = 0; column < width; column++) {
      const right = Math.min(image.width, (column + 1) * factor);
      const count = (bottom - row * factor) * (right - column * factor);
      const multiplier = Math.floor(f32(2 ** 32 / (256 * count)));
      for (let channel = 0; channel < channels; channel++) {
        let sum = count >> 1;
        for (let y = row * factor; y < bottom; y++) {
          const line = y * image.width * channels + channel;
          for (let x = column * factor; x < right; x++) sum += values[line + x * channels];
        }
        small[to++] = Math.imul(sum, multiplier) >>> 24;
      }
    }
  }
  return { values: small, height, width, channels };
}

function isOpaque(pixels) {
  for (let at = 3; at < pixels.length; at += 4) if (pixels[at] !== 255) return false;
  return true;
}

// Lay a picture on `background` (0 or 255), or on the other where it could hardly be seen.
function opaque(picture, background) {
  const { values, channels } = picture;
  if (channels !== 4) return picture;
  let [weight, light] = [0, 0];
  for (let at = 0; at < values.length; at += 4) {
    weight += values[at + 3];
    light += luma(values, at) * values[at + 3];
  }
  const isPartly = weight > 0 && weight < 255 * values.length / 4;
  const isHidden = isPartly && Math.abs(light / weight - background) < HIDDEN;
  const ground = isHidden ? 255 - background : background;
  const laid = new Uint8Array(values.length / 4 * 3);
  for (let from = 0, to = 0; from < values.length; from += 4, to += 3) {
    const opacity = values[from + 3];
    for (let channel = 0; channel < 3; channel++) {
      const mixed = values[from + channel] * opacity + ground * (255 - opacity);
      laid[to + channel] = (mixed + 127) / 255; // an array of bytes cuts off
    }
  }
  return { ...picture, values: laid, channels: 3 };
}

function inChannels({ values, channels }, wanted) {
  if (channels === wanted) return Uint8Array.from(values);
  const repeated = (_, at) => values[Math.floor(at / wanted)];
  if (channels === 1) return Uint8Array.from({ length: values.length * wanted }, repeated);
  if (wanted === 1) return rounded(gray({ values, channels }).values);
  throw Error(`the model needs ${wanted} channels: the image has ${channels}`);
}

function productPhoto(picture, spec) {
  const [found, inside] = trimmed(picture);
  const inColour = sharpened(fitted(inside, spec));
  const isGray = spec.channels === 1 && inColour.channels === 3;
  const [background, drawn] = isGray ? [[luma(found, 0)], gray(inColour)] : [found, inColour];
  const { channels } = drawn;
  const canvas = Float32Array.from(
    { length: spec.height * spec.width * channels }, (_, at) => background[at % channels]);
  const [top, left] = [spec.height - drawn.height, spec.width - drawn.width].map((gap) => gap >> 1);
  const line = drawn.width * channels;
  for (let row = 0; row < drawn.height; row++) {
    const to = ((top + row) * spec.width + left) * channels;
    canvas.set(drawn.values.subarray(row * line, (row + 1) * line), to);
  }
  const values = rounded(onBlack(canvas, background));
  return inChannels({ values, channels }, spec.channels);
}

// Return the background, and the part of a picture inside it.
function trimmed(picture) {
  const { height, width, channels } = picture;
  const share = Math.min(1, JUDGED / Math.max(height, width));
  const [rows, columns] = [height, width].map((size) => Math.max(1, halfToEven(size * share)));
  const { values } = scaled(picture, area(height, rows), area(width, columns));
  const corners = [0, columns - 1, (rows - 1) * columns, rows * columns - 1];
  const background = Array.from({ length: channels }, (_, channel) => {
    const sorted = corners.map((at) => values[at * channels + channel]).sort((a, b) => a - b);
    return f32((sorted[1] + sorted[2]) / 2); // the median
  });
  const [seenRows, seenColumns] = [new Uint8Array(rows), new Uint8Array(columns)];
  for (let at = 0; at < rows * columns; at++) {
    let sum = 0;
    for (let channel = 0; channel < channels; channel++) {
      sum += (values[at * channels + channel] - background[channel]) ** 2;
    }
    if (Math.sqrt(sum / channels) > CLOSE) {
      seenRows[Math.floor(at / columns)] = seenColumns[at % columns] = 1;
    }
  }
  if (!seenRows.includes(1)) return [background, picture];
  const [[top, bottom], [left, right]] = [span(seenRows, height), span(seenColumns, width)];
  const inside = new Uint8Array((bottom - top) * (right - left) * channels);
  for (let row = top, to = 0; row < bottom; row++, to += (right - left) * channels) {
    const from = (row * width + left) * channels;
    inside.set(picture.values.subarray(from, from + (right - left) * channels), to);
  }
  return [background, { values: inside, height: bottom - top, width: right - left, channels }];
}

// Return the first and the last pixel, of `size`, that the seen parts of a side cover.
function span(seen, size) {
  const end = seen.lastIndexOf(1) + 1;
  return [Math.floor(seen.indexOf(1) * size / seen.length), Math.ceil(end * size / seen.length)];
}

function fitted(picture, spec) {
  const { height, width } = picture;
  const share = Math.min(spec.height / height, spec.width / width);
  const [rows, columns] = [height, width].map((size) => Math.max(1, halfToEven(size * share)));
  const weights = share < 1 ? area : lanczos;
  return scaled(picture, weights(height, rows), weights(width, columns));
}

// Add the difference from a copy that a Gaussian of radius and deviation 1 blurred.
function sharpened({ values, height, width, channels }) {
  const [lines, sharp] = [new Float32Array(values.length), new Float32Array(values.length)];
  const beside = f32(Math.exp(-0.5));
  const [outer, inner] = [f32(beside / f32(1 + 2 * beside)), f32(1 / f32(1 + 2 * beside))];
  const blurred = (from, at, back, ahead) => (
    outer * from[at - back] + inner * from[at] + outer * from[at + ahead]);
  const step = width * channels;
  for (let at = 0; at < values.length; at++) {
    lines[at] = blurred(values, at, at < step ? 0 : step, at + step < values.length ? step : 0);
  }
  for (let at = 0; at < values.length; at++) {
    const column = at % step;
    const [back, ahead] = [column < channels, column >= step - channels];
    const blur = f32(blurred(lines, at, back ? 0 : channels, ahead ? 0 : channels));
    sharp[at] = Math.min(255, Math.max(0, 2 * values[at] - blur));
  }
  return { values: sharp, height, width, channels };
}

// Return values on a black background: negated if it is light, and drawn out to 0 … 255.
function onBlack(values, background) {
  const isLight = (background.length === 3 ? luma(background, 0) : background[0]) >= LIGHT;
  return values.map((value, at) => {
    const ground = background[at % background.length];
    const [above, room] = isLight ? [ground - value, ground] : [value - ground, 255 - ground];
    return f32(above) * f32(255 / Math.max(room, LIGHT));
  });
}

function gray({ values, ...shape }) {
  const light = Float32Array.from({ length: values.length / 3 }, (_, at) => luma(values, 3 * at));
  return { ...shape, values: light, channels: 1 };
}

function luma(values, at) {
  return f32(LUMA[0] * values[at] + LUMA[1] * values[at + 1] + LUMA[2] * values[at + 2]);
}

// Return {from, weights} for each pixel of the target: those of a Lanczos filter, without zeros.
function lanczos(source, target) {
  const wide = Math.max(source / target, 1);
  const sinc = (x) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x));
  return filter(source, target, LOBES * wide, (distance) => (
    Math.abs(distance) < LOBES * wide ? sinc(distance / wide) * sinc(distance / wide / LOBES) : 0));
}

// The same of the part of each pixel under the new one.
function area(source, target) {
  const reach = source / target / 2;
  return filter(source, target, reach, (distance) => (
    Math.max(0, Math.min(distance + 0.5, reach) - Math.max(distance - 0.5, -reach))));
}

function filter(source, target, reach, weight) {
  return Array.from({ length: target }, (_, to) => {
    const centre = (to + 0.5) * source / target;
    const from = Math.max(0, Math.floor(centre - reach));
    const count = Math.min(source, Math.ceil(centre + reach)) - from;
    const weights = Array.from({ length: count }, (__, at) => weight(from + at + 0.5 - centre));
    const sum = weights.reduce((total, each) => total + each);
    return { from, weights: Float32Array.from(weights, (each) => each / sum) };
  });
}

// Scale a picture by the weights of its new rows and columns; values may overshoot 0 … 255.
function scaled({ values, width, channels }, rows, columns) {
  const step = width * channels;
  const [sums, lines] = [new Float64Array(step), new Float32Array(rows.length * step)];
  rows.forEach(({ from, weights }, row) => {
    sums.fill(0);
    weights.forEach((weight, at) => {
      const line = (from + at) * step;
      if (weight !== 0) for (let x = 0; x < step; x++) sums[x] += weight * values[line + x];
    });
    lines.set(sums, row * step);
  });
  const small = new Float32Array(rows.length * columns.length * channels);
  let to = 0;
  for (let row = 0; row < rows.length; row++) {
    for (const { from, weights } of columns) {
      for (let channel = 0; channel < channels; channel++) {
        let [sum, at] = [0, row * step + from * channels + channel];
        for (let x = 0; x < weights.length; x++, at += channels) sum += weights[x] * lines[at];
        small[to++] = sum;
      }
    }
  }
  return { values: small, height: rows.length, width: columns.length, channels };
}

function rounded(values) {
  return Uint8Array.from(values, (value) => Math.min(255, Math.max(0, halfToEven(value))));
}

function halfToEven(value) {
  const whole = Math.round(value);
  return whole - value === 0.5 && whole % 2 !== 0 ? whole - 1 : whole;
}
