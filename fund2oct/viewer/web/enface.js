"use strict";
// The card of the en face views: the mean intensity of a slab at each A-scan, laid where it lies.

/** A slab lies between two surfaces, moved down by so many micrometres; null is the frame's edge. */
const SLABS = [
  { name: "Whole depth", surfaces: [null, null], um: [0, 0] },
  { name: "Retina", surfaces: ["ILM", "RPE"], um: [0, 0] },
  { name: "Nerve fibres", surfaces: ["ILM", "ILM"], um: [0, 40] },
  { name: "Photoreceptors", surfaces: ["RPE", "RPE"], um: [-60, 0] },
  { name: "Epithelium to Bruch's membrane", surfaces: ["RPE", "BM"], um: [-10, 10] },
  { name: "Choroid", surfaces: ["BM", "BM"], um: [20, 150] },
];

/** Mean intensity in a slab, shape (S, X); NaN where a surface is unknown or the slab is empty. */
function slabOf(source, slab, [topUm, bottomUm]) {
  const many = source.nSlices * source.columns;
  const edges = slab.surfaces.map((name) => name === null ? null : about.surfaces.indexOf(name) * many);
  const found = new Float32Array(many).fill(NaN);
  for (let at = 0; at < many; at++) {
    const top = (edges[0] === null ? 0 : source.surfaces[edges[0] + at]) + topUm;
    const bottom = (edges[1] === null ? source.rows * source.dz : source.surfaces[edges[1] + at]) + bottomUm;
    const from = Math.max(0, Math.round(top / source.dz)), to = Math.min(source.rows, Math.round(bottom / source.dz));
    if (!(from < to)) continue;
    const slice = Math.floor(at / source.columns), column = at % source.columns;
    let sum = 0;
    for (let row = from; row < to; row++) sum += source.volume[(slice * source.rows + row) * source.columns + column];
    found[at] = sum / (to - from);
  }
  return found;
}

function drawEnFace(eye, state) {
  const shown = eye.sources.filter((source) => source.shape && source.lines);
  const slab = SLABS[state.slab];
  document.getElementById("enface-card").hidden = !shown.length;
  document.getElementById("slab-note").textContent = slab.surfaces[0] === null
    ? "The mean over each A-scan." : `The mean from ${slab.surfaces.map((name, at) => `${name} ${state.slabUm[at] < 0 ? "−" : "+"} ${Math.abs(state.slabUm[at])} µm`).join(" to ")}.`;
  const holder = document.getElementById("enface");
  const name = `slab ${state.slab} ${state.slabUm} ${state.between}`;
  const usable = shown.filter((source) => slab.surfaces[0] === null || source.surfaces);
  const planes = usable.map((source) =>
    remembered(eye, `${name} ${source.name}`, () => planeOf(source, slabOf(source, slab, state.slabUm), state.between)));
  fillPanes(holder, usable.length, "150px");
  const ends = planes.map((plane, at) => remembered(eye, `${name} ${usable[at].name} ends`, () => [quantile(plane, 0.01), quantile(plane, 0.995)]));
  // A slab of which nothing is known has no ends.
  const known = ends.filter(([end]) => !Number.isNaN(end));
  const low = Math.min(...known.map(([end]) => end)), high = Math.max(...known.map(([, end]) => end));
  const box = usable.length ? boxOf(usable[0].lines) : null;
  usable.forEach((source, at) => {
    const [caption, canvas] = holder.children[at].children;
    caption.children[0].textContent = source.name;
    canvas.setAttribute("aria-label", `En face view of ${source.name}: ${slab.name}`);
    const width = canvas.clientWidth;
    const context = fitCanvas(canvas, width, width);
    const grey = Array.from({ length: 64 }, (_, level) => Array(3).fill(Math.round(level * 255 / 63)));
    const part = [toPixel(box.x) + 0.5, toPixel(box.y) + 0.5, box.size * PLANE / 2, box.size * PLANE / 2];
    context.drawImage(asCanvas(planePixels(planes[at], low, high, grey)), ...part, 0, 0, width, width);
    drawLitLine(context, source, state, box, width);
  });
}

/** The square around the lines, in grid units. */
function boxOf(lines) {
  let [left, top, right, bottom] = [Infinity, Infinity, -Infinity, -Infinity];
  for (let at = 0; at < lines.points.length; at += 2) {
    [left, right] = [Math.min(left, lines.points[at]), Math.max(right, lines.points[at])];
    [top, bottom] = [Math.min(top, lines.points[at + 1]), Math.max(bottom, lines.points[at + 1])];
  }
  const size = 1.06 * Math.max(right - left, bottom - top);
  return { x: (left + right - size) / 2, y: (top + bottom - size) / 2, size };
}

function drawLitLine(context, source, state, box, width) {
  const slice = Math.min(state.slice, source.nSlices - 1);
  const place = (share) => {
    const [x, y] = ascanAt(source.lines, slice, share);
    return [(x - box.x) / box.size * width, (y - box.y) / box.size * width];
  };
  context.strokeStyle = "rgb(255 213 74 / 80%)";
  context.lineWidth = 1.2;
  context.beginPath();
  for (let at = 0; at <= source.lines.nVertices; at++) context.lineTo(...place(at / source.lines.nVertices));
  context.stroke();
  context.fillStyle = "#ffd54a";
  context.beginPath();
  context.arc(...place(ascanShare(eyeFrame(), state)), 4, 0, 2 * Math.PI);
  context.fill();
}

function listenToEnFace() {
  document.getElementById("enface").addEventListener("click", (event) => {
    if (event.target.tagName !== "CANVAS" || !eyeFrame()?.lines) return;
    const place = event.target.getBoundingClientRect(), box = boxOf(eyeFrame().lines);
    goToPoint(box.x + (event.clientX - place.left) / place.width * box.size,
      box.y + (event.clientY - place.top) / place.height * box.size);
  });
}
