"use strict";
// What is shown, and what changes it: the controls, the keys and the link in the address bar.

const state = {
  number: 0, slice: 0, ascan: 0, mode: "side", with: about.names[1] ?? "", mix: 50, swapped: false, play: true,
  pose: "posed", square: false, surfaces: true, layers: false, lesions: false, black: 0, white: 255,
  lines: true, fields: false, map: "none", cover: 75, between: true,
  slab: 1, slabUm: [0, 0], solid: "", solidOf: SHOWN_FIRST, tall: 3, drape: true,
};
/** What a link says, beside the eye's key. */
const LINKED = ["slice", "ascan", "mode", "with", "map", "pose", "slab"];
const byId = (id) => document.getElementById(id);
let eye = null;
let waiting = false;

/** The source in whose rows and columns all slices are drawn. */
function eyeFrame() {
  return eye?.sources.find((source) => source.shape);
}

function ascanShare(frame, { ascan }) {
  return (ascan + 0.5) / frame.columns;
}

/** Change what is shown, and draw it at the next frame. */
function update(changes) {
  Object.assign(state, changes);
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    if (eye) draw();
  });
}

async function goToEye(number, changes = {}) {
  byId("main").setAttribute("aria-busy", "true");
  const share = eyeFrame() ? ascanShare(eyeFrame(), state) : 0.5;
  const came = await loadEye(number);
  eye = came;
  const frame = eyeFrame();
  Object.assign(state, { number, ascan: frame ? Math.floor(share * frame.columns) : 0 }, changes);
  if (frame) {
    state.slice = Math.min(frame.nSlices - 1, Math.max(0, state.slice));
    state.ascan = Math.min(frame.columns - 1, Math.max(0, state.ascan));
  }
  view.zoom = 1;
  fillChoices();
  byId("main").setAttribute("aria-busy", "false");
  update({});
}

/** The controls that depend on the eye. */
function fillChoices() {
  const frame = eyeFrame(), shown = eye.sources.filter((source) => source.shape);
  byId("eye").value = state.number;
  const facts = [eye.laterality, eye.diagnosis];
  if (frame) facts.push(`${frame.nSlices} ${frame.nSlices === 1 ? "slice" : "slices"} of ${frame.columns} × ${frame.rows}`);
  byId("about-eye").textContent = facts.filter(Boolean).join(" · ");
  byId("photo-image").hidden = !eye.photo;
  if (eye.photo) byId("photo-image").src = eye.photo;
  byId("photo-title").textContent = eye.photoIsLocalizer ? "Localizer" : "Photo";
  byId("no-photo").hidden = Boolean(eye.photo);
  const others = shown.slice(1).map((source) => source.name);
  if (!others.includes(state.with)) state.with = others[0] ?? "";
  fillSelect(byId("with"), others.map((name) => [name, name]), state.with);
  const maps = mapsOf(eye);
  if (!maps.some((map) => map.id === state.map)) state.map = "none";
  fillSelect(byId("map"), [["none", "none"], ...maps.map((map) => [map.id, map.label])], state.map);
  const solids = solidSources(eye).map((source) => source.name);
  fillSelect(byId("solid-of"), solids.map((name) => [name, name]), solids.includes(state.solid) ? state.solid : solids[0]);
  byId("solid-of").parentElement.hidden = solids.length < 2;
  byId("slice").max = frame ? frame.nSlices - 1 : 0;
  byId("slice").parentElement.hidden = frame?.nSlices === 1;
  byId("layers-label").hidden = !eye.sources.some((source) => source.layers);
  byId("lesions-label").hidden = !eye.sources.some((source) => source.lesions);
  const asFirst = byId("pose").querySelector("[value=real]");
  asFirst.hidden = shown.length < 2;
  asFirst.textContent = `as in ${frame?.name}`;
  if (shown.length < 2 && state.pose === "real") state.pose = "posed";
}

function fillSelect(select, options, value) {
  select.replaceChildren(...options.map(([id, label]) => new Option(label, id)));
  if (value !== undefined) select.value = value;
}

function draw() {
  const frame = eyeFrame();
  const comparing = frame && eye.sources.some((source) => source !== frame && source.shape && sameLines(frame, source));
  const many = eye.sources.filter((source) => source.shape).length > 2;
  byId("modes").hidden = !comparing;
  for (const button of byId("modes").children) button.setAttribute("aria-pressed", button.dataset.mode === state.mode);
  byId("with-label").hidden = !comparing || !many;
  byId("mix-label").hidden = !comparing || state.mode !== "blend";
  byId("flicker-tools").hidden = !comparing || state.mode !== "flicker";
  for (const id of ["surfaces", "layers", "lesions", "square", "lines", "fields", "between", "play", "drape"]) byId(id).checked = state[id];
  for (const id of ["slice", "mix", "black", "white", "cover", "map", "pose", "slab", "tall", "with"]) byId(id).value = state[id];
  [byId("slab-top").value, byId("slab-bottom").value] = state.slabUm;
  drawPhoto(eye, state);
  drawSlices(eye, state);
  drawEnFace(eye, state);
  drawSolid(eye, state);
  sayWhere(frame);
  writeLink();
}

function sayWhere(frame) {
  if (!frame) return;
  byId("slice-out").textContent = `${state.slice} of 0–${frame.nSlices - 1}`;
  byId("slice").setAttribute("aria-valuetext", `slice ${state.slice} of 0 to ${frame.nSlices - 1}`);
  const um = thicknessOf(frame)?.[state.slice * frame.columns + state.ascan];
  const thick = um >= 0 ? `, thickness ${Math.round(um)} micrometres` : "";
  byId("status").textContent = `Eye ${eye.key}, slice ${state.slice}, A-scan ${state.ascan}${thick}`;
}

function stepSlice(by) {
  const frame = eyeFrame();
  if (frame) update({ slice: Math.min(frame.nSlices - 1, Math.max(0, state.slice + by)) });
}

function stepEye(by) {
  const number = state.number + by;
  if (number >= 0 && number < about.keys.length) goToEye(number);
}

function writeLink() {
  const words = new URLSearchParams({ eye: eye.key });
  for (const name of LINKED) if (state[name] !== "") words.set(name, state[name]);
  history.replaceState(null, "", `#${words}`);
}

/** What the address says: `#eye=KEY&slice=2`. Without a key it stays at the eye. */
function readLink() {
  const words = new URLSearchParams(location.hash.slice(1));
  const changes = {};
  for (const name of LINKED) {
    const word = words.get(name);
    if (word === null) continue;
    if (typeof state[name] !== "number") changes[name] = word;
    else if (Number.isInteger(Number(word))) changes[name] = Number(word);
  }
  if (!SLABS[changes.slab]) delete changes.slab;
  else changes.slabUm = SLABS[changes.slab].um;
  if (!["side", "blend", "flicker", "difference"].includes(changes.mode)) delete changes.mode;
  if (!["posed", "real", "flat"].includes(changes.pose)) delete changes.pose;
  const key = words.get("eye");
  return [key === null ? state.number : Math.max(0, about.keys.indexOf(key)), changes];
}

function listen() {
  const on = (id, name, change) => byId(id).addEventListener(name, (event) => update(change(event.target)));
  for (const id of ["surfaces", "layers", "lesions", "square", "lines", "fields", "between", "play", "drape"]) {
    on(id, "change", (box) => ({ [id]: box.checked }));
  }
  for (const id of ["slice", "mix", "black", "white", "cover", "tall"]) on(id, "input", (slider) => ({ [id]: Number(slider.value) }));
  for (const id of ["map", "pose", "with"]) on(id, "change", (select) => ({ [id]: select.value }));
  on("solid-of", "change", (select) => ({ solid: select.value }));
  on("slab", "change", (select) => ({ slab: Number(select.value), slabUm: SLABS[select.value].um }));
  on("slab-top", "change", (box) => ({ slabUm: [Number(box.value), state.slabUm[1]] }));
  on("slab-bottom", "change", (box) => ({ slabUm: [state.slabUm[0], Number(box.value)] }));
  for (const button of byId("modes").children) button.addEventListener("click", () => update({ mode: button.dataset.mode }));
  byId("swap").addEventListener("click", () => update({ swapped: !state.swapped }));
  byId("zoom-in").addEventListener("click", () => zoomBy(1.5));
  byId("zoom-out").addEventListener("click", () => zoomBy(1 / 1.5));
  byId("reset").addEventListener("click", reset);
  byId("turn-home").addEventListener("click", turnHome);
  byId("eye").addEventListener("change", (event) => goToEye(Number(event.target.value)));
  byId("eye-back").addEventListener("click", () => stepEye(-1));
  byId("eye-on").addEventListener("click", () => stepEye(1));
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  // "Skip to the slices" writes a part of the page into the address, and no eye: the link is written anew.
  window.addEventListener("hashchange", () => byId(location.hash.slice(1)) ? update({}) : goToEye(...readLink()));
  window.addEventListener("keydown", pressed);
  new ResizeObserver(() => update({})).observe(byId("panes"));
  const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  state.play = !calm;
  // Two swaps a second: more than three flashes a second can do harm.
  setInterval(() => { if (state.mode === "flicker" && state.play) update({ swapped: !state.swapped }); }, 500);
  listenToPanes();
  listenToPhoto();
  listenToEnFace();
}

function reset() {
  view.zoom = 1;
  update({ black: 0, white: 255 });
}

function pressed(event) {
  const within = event.target.closest("input, select, dialog, button");
  if (event.ctrlKey || event.metaKey || event.altKey || within?.matches("select, dialog, input[type=number]")) return;
  // A slider moves itself, a button is pressed by the space bar.
  if (within?.matches("input[type=range]") && event.key.startsWith("Arrow")) return;
  if (within && event.key === " ") return;
  const modes = { 1: "side", 2: "blend", 3: "flicker", 4: "difference" };
  const toggles = { s: "surfaces", b: "layers", l: "lesions" };
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const ascan = (by) => {
    const frame = eyeFrame();
    if (frame) update({ ascan: Math.min(frame.columns - 1, Math.max(0, state.ascan + by * (event.shiftKey ? 10 : 1))) });
  };
  const actions = {
    ArrowUp: () => stepSlice(-1), ArrowDown: () => stepSlice(1),
    ArrowLeft: () => ascan(-1), ArrowRight: () => ascan(1),
    n: () => stepEye(1), p: () => stepEye(-1),
    f: () => update({ pose: state.pose === "flat" ? "posed" : "flat" }),
    "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), 0: reset,
    "?": () => byId("help").showModal(),
  };
  if (key in modes) update({ mode: modes[key] });
  else if (key in toggles) update({ [toggles[key]]: !state[toggles[key]] });
  else if (key === " " && state.mode === "flicker") update({ swapped: !state.swapped });
  else if (key in actions) actions[key]();
  else return;
  event.preventDefault();
}

function start() {
  fillSelect(byId("eye"), about.keys.map((key, number) => [number, key]));
  fillSelect(byId("slab"), SLABS.map((slab, number) => [number, slab.name]));
  byId("made-by").textContent = `fund2oct ${about.version}: ${about.names.join(", ")}`;
  byId("solid-checks").replaceChildren(...about.surfaces.map((name, number) => {
    const label = document.createElement("label"), box = document.createElement("input"), mark = document.createElement("i");
    label.className = "check";
    Object.assign(box, { type: "checkbox", checked: state.solidOf.includes(name) });
    mark.style.background = SURFACE_COLOURS[number];
    box.addEventListener("change", () =>
      update({ solidOf: about.surfaces.filter((each) => each === name ? box.checked : state.solidOf.includes(each)) }));
    label.append(box, mark, name);
    return label;
  }));
  startSolid();
  listen();
  goToEye(...readLink()).catch((error) => {
    byId("trouble").hidden = false;
    byId("trouble").textContent = `This page needs a browser of 2023 or later (${error.message}).`;
    throw error;
  });
}

start();
