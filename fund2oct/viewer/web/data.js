"use strict";
// What the page holds: read from its JSON tags, an eye at a time, when it is looked at.

const about = JSON.parse(document.getElementById("about").textContent);
const EYES_KEPT = 3;
const loaded = new Map();

/** An eye with its pictures decoded and its numbers unpacked; a promise, kept for the last few eyes. */
function loadEye(number) {
  if (!loaded.has(number)) {
    loaded.set(number, unpackEye(JSON.parse(document.getElementById(`eye-${number}`).textContent)));
    if (loaded.size > EYES_KEPT) loaded.delete(loaded.keys().next().value);
  }
  return loaded.get(number);
}

async function unpackEye(eye) {
  const [scans, sources] = await Promise.all([
    Promise.all(eye.scans.map(unpackScan)),
    Promise.all(eye.sources.map(unpackSource)),
  ]);
  for (const source of sources) source.lines = source.scan === null ? null : scans[source.scan];
  return { ...eye, scans, sources };
}

async function unpackScan(scan) {
  const found = { ...scan };
  for (const name of ["points", "pointsMm", "mixed", "shares", "triangles"]) found[name] = await unpackArray(scan[name]);
  return found;
}

async function unpackSource(source) {
  const found = { ...source, map: source.map && await unpackMap(source.map) };
  if (!source.shape) return found;
  const [slices, rows, columns] = source.shape;
  return {
    ...found, nSlices: slices, rows, columns, dz: source.rowUm,
    volume: await decodeStack(source.slices, rows, columns),
    lesions: source.lesions && await decodeStack(source.lesions, rows, columns),
    surfaces: await unpackDepths(source.surfaces),
    layers: await unpackDepths(source.layers),
    pose: await unpackDepths(source.pose),
  };
}

async function unpackMap(map) {
  return { ...map, size: map.depths.shape[1], values: await unpackDepths(map.depths) };
}

/** Micrometres, NaN where unknown. */
async function unpackDepths(packed) {
  if (!packed) return null;
  const steps = await unpackArray(packed);
  return Float32Array.from(steps, (step) => step === about.unknown ? NaN : step * about.depthStepUm);
}

async function unpackArray(packed) {
  const bytes = Uint8Array.from(atob(packed.data), (letter) => letter.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  const buffer = await new Response(plain).arrayBuffer();
  const types = { int32: Int32Array, uint32: Uint32Array, float32: Float32Array };
  return new types[packed.type](buffer);
}

/** Grey values of pictures of one size, one after the other; a missing picture is black. */
async function decodeStack(urls, rows, columns) {
  const stack = new Uint8Array(urls.length * rows * columns);
  const canvas = new OffscreenCanvas(columns, rows);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  for (const [number, url] of urls.entries()) {
    if (!url) continue;
    const picture = new Image();
    picture.src = url;
    await picture.decode();
    context.drawImage(picture, 0, 0);
    const pixels = context.getImageData(0, 0, columns, rows).data;
    const start = number * rows * columns;
    for (let at = 0; at < rows * columns; at++) stack[start + at] = pixels[4 * at];
  }
  return stack;
}

/** Thickness from the inner limiting membrane to the pigment epithelium at each A-scan, micrometres. */
function thicknessOf(source) {
  if (!source.surfaces) return null;
  const many = source.nSlices * source.columns;
  const upper = about.surfaces.indexOf("ILM") * many, lower = about.surfaces.indexOf("RPE") * many;
  const found = new Float32Array(many);
  for (let at = 0; at < many; at++) found[at] = source.surfaces[lower + at] - source.surfaces[upper + at];
  return found;
}

/** Whether slice s of both lies over the same line of the photo; by "pointsMm", whether both have the same pattern. */
function sameLines(one, other, places = "points") {
  if (!one.lines || !other.lines || one.nSlices !== other.nSlices) return false;
  const a = one.lines[places], b = other.lines[places];
  return a.length === b.length && a.every((value, at) => Math.abs(value - b[at]) < 0.05);
}
