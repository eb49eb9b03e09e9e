"use strict";
// Slices as pictures: resampled to the frame of the first source, so that they can be compared.

const SURFACE_COLOURS = ["#56b4e9", "#cc79a7", "#e69f00", "#f0e442"];
const LESION_COLOURS = ["#f0e442", "#e69f00", "#56b4e9", "#0072b2", "#cc79a7", "#009e73", "#d55e00", "#ffffff"];
const LAYER_COLOUR = "#7cf5a5";
const FLAT = 0.6;

/**
 * How far an A-scan is moved down, in micrometres, to lie as `pose` says: "posed", "real" or "flat".
 * `frame` is the first source.
 */
function offsetUm(source, frame, slice, column, pose) {
  if (pose === "posed" || !source.pose || (pose === "real" && source === frame)) return 0;
  const own = source.pose[slice * source.columns + column];
  if (pose === "flat") return FLAT * frame.rows * frame.dz - own;
  if (!frame.pose || frame.nSlices !== source.nSlices) return 0;
  const there = Math.min(frame.columns - 1, Math.floor((column + 0.5) * frame.columns / source.columns));
  return frame.pose[slice * frame.columns + there] - own;
}

/** Column of a source under a column of the frame. */
function columnUnder(source, frame, column) {
  return Math.min(source.columns - 1, Math.floor((column + 0.5) * source.columns / frame.columns));
}

/** Values of a slice, or of its labels, in the frame's rows and columns; -1 outside of the source. */
function sliceInFrame(source, frame, slice, pose, labels = false) {
  const { rows, columns } = frame;
  const stack = labels ? source.lesions : source.volume;
  const start = slice * source.rows * source.columns;
  const found = new Float32Array(rows * columns);
  for (let x = 0; x < columns; x++) {
    const from = columnUnder(source, frame, x);
    const offset = offsetUm(source, frame, slice, from, pose);
    for (let z = 0; z < rows; z++) {
      const row = ((z + 0.5) * frame.dz - offset) / source.dz - 0.5;
      const near = labels ? Math.round(row) : Math.floor(row), share = labels ? 0 : row - near;
      const next = share > 1e-4 ? near + 1 : near;
      if (near < 0 || next >= source.rows) { found[z * columns + x] = -1; continue; }
      const a = stack[start + near * source.columns + from];
      const b = stack[start + next * source.columns + from];
      found[z * columns + x] = a + (b - a) * share;
    }
  }
  return found;
}

function blended(one, other, share) {
  return one.map((value, at) => value < 0 || other[at] < 0 ? Math.max(value, other[at])
    : value * (1 - share) + other[at] * share);
}

/** Grey values as pixels; black and white are the ends of the contrast. */
function greyPixels(values, columns, black, white) {
  const image = new ImageData(columns, values.length / columns);
  const gain = 255 / Math.max(1, white - black);
  for (let at = 0; at < values.length; at++) {
    const grey = values[at] < 0 ? 0 : Math.min(255, Math.max(0, (values[at] - black) * gain));
    image.data.set([grey, grey, grey, values[at] < 0 ? 0 : 255], 4 * at);
  }
  return image;
}

/** The second less the first: blue where it is darker, red where it is brighter. */
function differencePixels(one, other, columns) {
  const image = new ImageData(columns, one.length / columns);
  const colours = about.colormaps.RdBu_r;
  for (let at = 0; at < one.length; at++) {
    if (one[at] < 0 || other[at] < 0) continue;
    const share = Math.min(1, Math.max(0, (other[at] - one[at]) / 255 + 0.5));
    image.data.set([...colours[Math.round(share * (colours.length - 1))], 255], 4 * at);
  }
  return image;
}

function labelPixels(labels, columns) {
  const image = new ImageData(columns, labels.length / columns);
  for (let at = 0; at < labels.length; at++) {
    if (labels[at] < 1) continue;
    image.data.set([...rgbOf(LESION_COLOURS[labels[at] - 1] ?? "#ffffff"), 130], 4 * at);
  }
  return image;
}

function rgbOf(hex) {
  return [1, 3, 5].map((at) => parseInt(hex.slice(at, at + 2), 16));
}

function asCanvas(image) {
  const canvas = new OffscreenCanvas(image.width, image.height);
  canvas.getContext("2d").putImageData(image, 0, 0);
  return canvas;
}

/** Make a canvas as fine as the screen; gives its context, in which a unit is a CSS pixel. */
function fitCanvas(canvas, width, height) {
  const fine = Math.min(3, window.devicePixelRatio || 1);
  const [wide, high] = [Math.round(width * fine), Math.round(height * fine)];
  if (canvas.width !== wide || canvas.height !== high) Object.assign(canvas, { width: wide, height: high });
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(fine, 0, 0, fine, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/** Lines of depths over a slice. `view` says which part of the frame is shown. */
function drawDepths(context, source, frame, slice, pose, depths, colours, view, size) {
  const many = source.nSlices * source.columns;
  context.lineWidth = 1.6;
  context.lineJoin = "round";
  for (let number = 0; number < depths.length / many; number++) {
    context.strokeStyle = colours[number % colours.length];
    context.beginPath();
    let drawing = false;
    for (let x = 0; x < source.columns; x++) {
      const depth = depths[number * many + slice * source.columns + x];
      if (Number.isNaN(depth)) { drawing = false; continue; }
      const row = (depth + offsetUm(source, frame, slice, x, pose)) / frame.dz;
      const column = (x + 0.5) * frame.columns / source.columns;
      const px = (column - view.left) / view.wide * size.width;
      const py = (row - view.top) / view.high * size.height;
      if (drawing) context.lineTo(px, py); else context.moveTo(px, py);
      drawing = true;
    }
    context.stroke();
  }
}

/** How wide a column of the frame is in a slice of a source, micrometres: its slices may differ in length. */
function columnUm(source, frame, slice) {
  return source.ascanUm[slice] * source.columns / frame.columns;
}

/** Bars of a round length along and across the retina: light ones, or dark ones on a light picture. */
function drawScale(context, frame, wideUm, view, size, dark) {
  const [ink, edge] = dark ? ["#1a1a1a", "rgb(255 255 255 / 75%)"] : ["#ffffff", "rgb(0 0 0 / 75%)"];
  const [umAcross, umDown] = [view.wide * wideUm / size.width, view.high * frame.dz / size.height];
  const across = roundLength(umAcross * size.width / 5), down = roundLength(umDown * size.height / 5);
  const [x, y] = [size.width - 12, size.height - 12];
  const [wide, high] = [across / umAcross, down / umDown];
  for (const [colour, line] of [[edge, 4], [ink, 2]]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.beginPath();
    context.moveTo(x - wide, y);
    context.lineTo(x, y);
    context.lineTo(x, y - high);
    context.stroke();
  }
  context.font = "600 11px system-ui, sans-serif";
  context.textAlign = "right";
  context.textBaseline = "middle";
  for (const [text, height] of [[`${across} µm`, y - 11], [`${down} µm`, Math.max(8, y - high)]]) {
    context.strokeStyle = edge;
    context.lineWidth = 3;
    context.strokeText(text, x - 8, height);
    context.fillStyle = ink;
    context.fillText(text, x - 8, height);
  }
}

function roundLength(um) {
  const power = 10 ** Math.floor(Math.log10(um));
  return power * [5, 2, 1].find((step) => step * power <= um);
}
