"use strict";
// The card of the photo: scan lines, a map over it with its colour bar, and the ETDRS fields.

const THICKNESS_UM = [150, 500];
const RINGS_MM = [0.5, 1.5, 3];

/** The maps that an eye offers, each with its words, its colours and a function that makes it. */
function mapsOf(eye, between = true) {
  const maps = [];
  const offer = (id, label, note, kind, placement, make) => maps.push({ id, label, note, kind, placement, make });
  const answers = [];
  for (const source of eye.sources) {
    const { name, map, lines } = source;
    const found = source.shape && source.surfaces && lines
      ? (between) => planeOf(source, thicknessOf(source), between) : null;
    const where = `Found in the slices${between ? ", filled in between the lines" : ""}.`;
    if (found) offer(`found:${name}`, `Thickness in ${name}`, where, "thickness", lines.placement, found);
    if (map) {
      const percent = Math.round(100 * map.interval);
      const page = (number) => () => planeOfMap(map, number);
      const add = (id, label, kind, make) => offer(`${id}:${name}`, label, "At each place of the photo.", kind, map.placement, make);
      add("median", `Thickness predicted by ${name}`, "thickness", page(0));
      add("low", `Lower end of its ${percent}% interval, ${name}`, "thickness", page(1));
      add("high", `Upper end of its ${percent}% interval, ${name}`, "thickness", page(2));
      add("width", `Width of its ${percent}% interval, ${name}`, "width", () => planeLess(planeOfMap(map, 2), planeOfMap(map, 1)));
    }
    const answer = map ? () => planeOfMap(map, 0) : found;
    if (answer) answers.push({ name, answer, placement: map ? map.placement : lines.placement });
  }
  const [first, ...others] = answers;
  for (const { name, answer, placement } of others) {
    const make = (between) => planeLess(answer(between), first.answer(between));
    offer(`less:${name}`, `Thickness of ${name} − ${first.name}`, "Blue is thinner, red is thicker.", "difference", placement, make);
  }
  return maps;
}

/** Colours and range of a map. */
function scaleOf(kind, plane) {
  if (kind === "difference") {
    const most = quantile(plane.map(Math.abs), 0.98) || 0;
    const reach = Math.max(50, Math.ceil(most / 25) * 25);
    return { low: -reach, high: reach, colours: about.colormaps.RdBu_r };
  }
  if (kind === "width") {
    return { low: 0, high: Math.max(20, Math.ceil((quantile(plane, 0.99) || 0) / 20) * 20), colours: about.colormaps.magma };
  }
  const [low, high] = [quantile(plane, 0.01), quantile(plane, 0.99)];
  return {
    low: Math.min(THICKNESS_UM[0], Math.floor((low || 200) / 50) * 50),
    high: Math.max(THICKNESS_UM[1], Math.ceil((high || 200) / 50) * 50), colours: about.colormaps.viridis,
  };
}

function drawPhoto(eye, state) {
  const maps = mapsOf(eye, state.between);
  const chosen = maps.find((map) => map.id === state.map);
  const canvas = document.getElementById("photo-map"), bar = document.getElementById("bar");
  canvas.hidden = bar.hidden = !chosen;
  document.getElementById("cover-label").hidden = !chosen;
  document.getElementById("fields-label").hidden = !chosen;
  const parts = [];
  if (chosen) {
    const plane = remembered(eye, `${chosen.id} ${state.between}`, () => chosen.make(state.between));
    const scale = scaleOf(chosen.kind, plane);
    canvas.width = canvas.height = PLANE;
    canvas.getContext("2d").putImageData(planePixels(plane, scale.low, scale.high, scale.colours), 0, 0);
    canvas.style.opacity = state.cover / 100;
    drawBar(bar, scale, chosen);
    if (state.fields) parts.push(...fieldParts(plane, chosen.placement));
  }
  if (state.lines) parts.unshift(...lineParts(state, parts.length > 0));
  document.getElementById("photo-lines").replaceChildren(...parts);
}

/** What an eye's map was computed to be, so that a step to the next slice does not compute it again. */
function remembered(eye, name, make) {
  eye.remembered ??= new Map();
  if (!eye.remembered.has(name)) eye.remembered.set(name, make());
  return eye.remembered.get(name);
}

function drawBar(bar, { low, high, colours }, map) {
  const stops = colours.map((colour) => `rgb(${colour.join(" ")})`).join(", ");
  bar.querySelector(".gradient").style.background = `linear-gradient(to right, ${stops})`;
  const step = roundLength((high - low) / 3.5), ticks = [];
  for (let um = Math.ceil(low / step) * step; um <= high; um += step) {
    const tick = document.createElement("span"), share = (um - low) / (high - low);
    tick.textContent = um > 0 && map.kind === "difference" ? `+${um}` : `${um}`.replace("-", "−");
    tick.style.left = `${100 * share}%`;
    tick.style.translate = `${-100 * share}%`;
    ticks.push(tick);
  }
  bar.querySelector(".ticks").replaceChildren(...ticks);
  document.getElementById("bar-note").textContent = `${map.label}, in µm. ${map.note}`;
}

/** The scan lines; `quiet` leaves the lit one alone. */
function lineParts(state, quiet) {
  const frame = eyeFrame();
  if (!frame?.lines) return [];
  const { lines } = frame, parts = [];
  const many = lines.nLines > 16;
  const path = (slice) => {
    const ends = [...Array(lines.nVertices + 1).keys()].map((at) => ascanAt(lines, slice, at / lines.nVertices));
    return `M${ends.map((point) => point.map((value) => value.toFixed(4)).join(" ")).join("L")}`;
  };
  for (let slice = 0; slice < lines.nLines && !quiet; slice++) {
    parts.push(svgPart("path", { class: "line", d: path(slice), style: many ? "stroke-opacity:0.25" : "" }));
  }
  parts.push(svgPart("path", { class: "under", d: path(state.slice) }), svgPart("path", { class: "lit", d: path(state.slice) }));
  for (let slice = 0; slice < lines.nLines; slice++) {
    if (quiet || (many && slice !== state.slice)) continue;
    const [end, before] = [ascanAt(lines, slice, 1), ascanAt(lines, slice, 0.9)];
    const length = Math.hypot(end[0] - before[0], end[1] - before[1]);
    const [x, y] = [0, 1].map((axis) => end[axis] + (end[axis] - before[axis]) / length * 0.07);
    parts.push(svgPart("text", { class: slice === state.slice ? "number on" : "number", x, y }, slice));
  }
  const [x, y] = ascanAt(lines, state.slice, ascanShare(frame, state));
  parts.push(svgPart("ellipse", { class: "dot", cx: x, cy: y, rx: 0.022, ry: 0.022 }));
  return parts;
}

function fieldParts(plane, placed) {
  // The fields are upright on the photo, however the scan is turned.
  const placement = { ...placed, rotation_deg: 0 };
  const parts = RINGS_MM.map((radius) => {
    const [cx, cy] = placement.shift;
    return svgPart("circle", { class: "etdrs", cx, cy, r: radius / placement.half_width_mm });
  });
  for (const turn of [1, 3, 5, 7].map((eighth) => eighth * Math.PI / 4)) {
    const [[x1, y1], [x2, y2]] = [0.5, 3].map((radius) => toGrid(placement, radius * Math.sin(turn), -radius * Math.cos(turn)));
    parts.push(svgPart("line", { class: "etdrs", x1, y1, x2, y2 }));
  }
  for (const { mean, mm } of fieldMeans(plane, placement)) {
    const [x, y] = toGrid(placement, ...mm);
    if (!Number.isNaN(mean)) parts.push(svgPart("text", { class: "mean", x, y }, Math.round(mean)));
  }
  return parts;
}

/** Go to the A-scan that lies nearest to a click. */
function listenToPhoto() {
  const stage = document.getElementById("photo");
  let held = false;
  const go = (event) => {
    const box = stage.getBoundingClientRect();
    goToPoint((event.clientX - box.left) / box.width * 2 - 1, (event.clientY - box.top) / box.height * 2 - 1);
  };
  stage.addEventListener("pointerdown", (event) => { held = event.pointerType === "mouse"; });
  stage.addEventListener("pointermove", (event) => { if (held && event.buttons) go(event); });
  stage.addEventListener("pointerup", () => { held = false; });
  stage.addEventListener("click", go);
}

function goToPoint(x, y) {
  const frame = eyeFrame();
  if (!frame?.lines) return;
  const { slice, share } = nearestAscan(frame.lines, x, y);
  update({ slice, ascan: Math.min(frame.columns - 1, Math.floor(share * frame.columns)) });
}
