"use strict";
// The card of the slices: panes, what is drawn on them, and the profile of the thickness.

const view = { zoom: 1, x: 0.5, y: 0.5 };

/** What the panes show: a title, a note, and the pixels and lines of each. */
function panesOf(eye, state) {
  const shown = eye.sources.filter((source) => source.shape);
  const frame = shown[0];
  const other = shown.find((source) => source.name === state.with) ?? shown[1];
  const slice = (source) => Math.min(state.slice, source.nSlices - 1);
  const values = (source, pose) => sliceInFrame(source, frame, slice(source), pose);
  const alone = (source) => ({
    title: source.name, sources: [source], pose: state.pose,
    image: greyPixels(values(source, state.pose), frame.columns, state.black, state.white),
  });
  if (shown.length < 2 || !sameLines(frame, other)) {
    return { frame, panes: shown.map((source) => ({ ...alone(source), note: whyApart(frame, source) })) };
  }
  // Slices that lie at different heights cannot be compared voxel by voxel.
  const pose = state.pose === "posed" && frame.pose && other.pose ? "real" : state.pose;
  const [one, two] = [values(frame, pose), values(other, pose)];
  const difference = {
    title: `${other.name} − ${frame.name}`, note: `${pose === state.pose ? "" : "aligned: "}blue darker, red brighter`, sources: [], pose, light: true,
    image: differencePixels(one, two, frame.columns),
  };
  if (state.mode === "difference") return { frame, panes: [difference] };
  if (state.mode === "blend") {
    const image = greyPixels(blended(one, two, state.mix / 100), frame.columns, state.black, state.white);
    const title = `${frame.name} ${100 - state.mix}%, ${other.name} ${state.mix}%`;
    return { frame, panes: [{ title, sources: [state.mix > 50 ? other : frame], pose, image }] };
  }
  if (state.mode === "flicker") {
    const source = state.swapped ? other : frame;
    const image = greyPixels(state.swapped ? two : one, frame.columns, state.black, state.white);
    return { frame, panes: [{ title: source.name, note: "flicker", sources: [source], pose, image }] };
  }
  return { frame, panes: [...shown.map(alone), difference] };
}

/** Why a source cannot be compared with the first one; empty where it can. */
function whyApart(frame, source) {
  if (sameLines(frame, source)) return "";
  return sameLines(frame, source, "pointsMm") ? "lies elsewhere on the photo" : "other scan lines";
}

function drawSlices(eye, state) {
  const holder = document.getElementById("panes");
  const profile = document.getElementById("profile-figure");
  // It may stand among the panes, which are thrown away.
  document.getElementById("slice-tools").append(profile);
  const has = eye.sources.some((source) => source.shape);
  document.getElementById("no-volume").hidden = has;
  document.getElementById("slice-tools").hidden = !has;
  if (!has) { holder.replaceChildren(); return; }
  const { frame, panes } = panesOf(eye, state);
  fillPanes(holder, panes.length, "330px");
  holder.classList.toggle("zoomed", view.zoom > 1);
  panes.forEach((pane, number) => drawPane(holder.children[number], pane, frame, state));
  // Where the last row of panes has room, the profile of the thickness takes it.
  const columns = getComputedStyle(holder).gridTemplateColumns.split(" ").length;
  if (panes.length % columns) holder.append(profile);
  document.getElementById("zoom-show").textContent = `${view.zoom.toFixed(1)}×`;
  drawLegend(eye, state);
  drawProfile(eye, state);
}

/** Make a grid hold so many panes, each at least so wide. */
function fillPanes(holder, many, least) {
  while (holder.children.length > many) holder.lastChild.remove();
  while (holder.children.length < many) holder.append(newPane());
  holder.style.setProperty("--pane", many > 1 ? least : "100%");
}

function newPane() {
  const figure = document.createElement("figure");
  figure.className = "pane";
  const caption = document.createElement("figcaption");
  caption.append(document.createElement("b"), document.createElement("span"));
  const canvas = document.createElement("canvas");
  canvas.setAttribute("role", "img");
  figure.append(caption, canvas);
  return figure;
}

function drawPane(figure, pane, frame, state) {
  const [caption, canvas] = figure.children;
  caption.children[0].textContent = pane.title;
  caption.children[1].textContent = pane.note ?? "";
  canvas.setAttribute("aria-label", `Slice ${state.slice} of ${pane.title}, A-scan ${state.ascan + 1}`);
  const width = canvas.clientWidth;
  const own = pane.sources[0] ?? frame;
  const wideUm = columnUm(own, frame, Math.min(state.slice, own.nSlices - 1));
  const proportion = state.square ? frame.rows * frame.dz / (frame.columns * wideUm) : Math.min(0.72, frame.rows / frame.columns);
  const size = { width, height: Math.max(40, Math.round(width * proportion)) };
  const part = shownPart(frame);
  const context = fitCanvas(canvas, size.width, size.height);
  const place = [part.left, part.top, part.wide, part.high, 0, 0, size.width, size.height];
  if (pane.light) {  // what was not scanned is light too, for the dark scale lies over it
    context.fillStyle = "#d5d8dc";
    context.fillRect(0, 0, size.width, size.height);
  }
  context.imageSmoothingEnabled = view.zoom < 6;
  context.drawImage(asCanvas(pane.image), ...place);
  for (const source of pane.sources) {
    const slice = Math.min(state.slice, source.nSlices - 1);
    if (state.lesions && source.lesions) {
      const labels = sliceInFrame(source, frame, slice, pane.pose, true);
      context.imageSmoothingEnabled = false;
      context.drawImage(asCanvas(labelPixels(labels, frame.columns)), ...place);
    }
    const draw = (depths, colours) =>
      drawDepths(context, source, frame, slice, pane.pose, depths, colours, part, size);
    if (state.layers && source.layers) draw(source.layers, [LAYER_COLOUR]);
    if (state.surfaces && source.surfaces) draw(source.surfaces, SURFACE_COLOURS);
  }
  const x = (ascanShare(eyeFrame(), state) * frame.columns - part.left) / part.wide * size.width;
  context.strokeStyle = "rgb(255 213 74 / 75%)";
  context.lineWidth = 1;
  context.setLineDash([5, 4]);
  context.beginPath();
  context.moveTo(x, 0);
  context.lineTo(x, size.height);
  context.stroke();
  context.setLineDash([]);
  drawScale(context, frame, wideUm, part, size, pane.light);
}

/** The part of the frame that the zoom leaves, in its columns and rows. */
function shownPart(frame) {
  const half = 0.5 / view.zoom;
  view.x = Math.min(1 - half, Math.max(half, view.x));
  view.y = Math.min(1 - half, Math.max(half, view.y));
  return {
    left: (view.x - half) * frame.columns, top: (view.y - half) * frame.rows,
    wide: frame.columns / view.zoom, high: frame.rows / view.zoom,
  };
}

/** Zoom by a factor about a point of the pane, given in shares of its width and height. */
function zoomBy(factor, atX = 0.5, atY = 0.5) {
  const before = view.zoom;
  view.zoom = Math.min(12, Math.max(1, view.zoom * factor));
  view.x += (atX - 0.5) * (1 / before - 1 / view.zoom);
  view.y += (atY - 0.5) * (1 / before - 1 / view.zoom);
  update({});
}

function drawLegend(eye, state) {
  const items = [];
  if (state.surfaces && eye.sources.some((source) => source.surfaces)) {
    about.surfaces.forEach((name, number) => items.push([name, SURFACE_COLOURS[number], ""]));
  }
  if (state.layers && eye.sources.some((source) => source.layers)) items.push(["the file's layers", LAYER_COLOUR, ""]);
  if (state.lesions) {
    const there = new Set();
    for (const source of eye.sources) for (const label of source.lesions ?? []) if (label) there.add(label);
    [...there].sort().forEach((label) =>
      items.push([about.lesions[label - 1] ?? `label ${label}`, LESION_COLOURS[label - 1] ?? "#ffffff", "area"]));
  }
  document.getElementById("legend").replaceChildren(...items.map(([name, colour, shape]) => {
    const item = document.createElement("li"), mark = document.createElement("i");
    mark.className = shape;
    mark.style.background = colour;
    item.append(mark, name);
    return item;
  }));
}

const CURVE_COLOURS = ["var(--text)", "var(--accent)", "#e69f00", "#cc79a7", "#56b4e9"];

/** The thickness of each source along the slice. */
function drawProfile(eye, state) {
  const svg = document.getElementById("profile");
  const curves = [];
  for (const source of eye.sources) {
    const values = source.shape && state.slice < source.nSlices && thicknessOf(source);
    if (!values) continue;
    const along = values.subarray(state.slice * source.columns, (state.slice + 1) * source.columns);
    if (along.some((value) => !Number.isNaN(value))) curves.push({ name: source.name, along });
  }
  document.getElementById("profile-figure").hidden = !curves.length;
  if (!curves.length) return;
  const width = svg.clientWidth, height = svg.clientHeight, left = 34, bottom = height - 4;
  const most = Math.max(...curves.map(({ along }) => quantile(along, 1)));
  const top = Math.max(400, Math.ceil(most / 100) * 100);
  const toX = (share) => left + share * (width - left - 2), toY = (um) => bottom - um / top * (bottom - 8);
  const parts = [];
  for (let um = 0; um <= top; um += top > 600 ? 200 : 100) {
    parts.push(svgPart("line", { class: "grid", x1: left, x2: width, y1: toY(um), y2: toY(um) }));
    parts.push(svgPart("text", { x: left - 6, y: toY(um) + 4, "text-anchor": "end" }, um));
  }
  curves.forEach(({ along }, number) => {
    let path = "", drawing = false;
    along.forEach((um, at) => {
      if (Number.isNaN(um)) { drawing = false; return; }
      path += `${drawing ? "L" : "M"}${toX((at + 0.5) / along.length).toFixed(1)} ${toY(um).toFixed(1)}`;
      drawing = true;
    });
    parts.push(svgPart("path", { class: "curve", d: path, style: `stroke:${CURVE_COLOURS[number % 5]}` }));
  });
  const here = toX(ascanShare(eyeFrame(), state));
  parts.push(svgPart("line", { class: "here", x1: here, x2: here, y1: 4, y2: bottom }));
  if (curves.length > 1) {
    let at = left + 8;
    curves.forEach(({ name }, number) => {
      parts.push(svgPart("text", { x: at, y: 18, style: `fill:${CURVE_COLOURS[number % 5]};font-weight:600` }, name));
      at += 16 + 7.2 * name.length;
    });
  }
  svg.replaceChildren(...parts);
}

function svgPart(name, attributes, text) {
  const part = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) part.setAttribute(key, value);
  if (text !== undefined) part.textContent = text;
  return part;
}

/** Pointer, wheel and pinch on the panes. */
function listenToPanes() {
  const holder = document.getElementById("panes");
  const fingers = new Map();
  let turned = 0;
  const shares = (event) => {
    const box = event.target.getBoundingClientRect();
    return [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.height, box];
  };
  const toAscan = (event) => {
    const [x] = shares(event), frame = eyeFrame(), part = shownPart(frame);
    const share = (part.left + x * part.wide) / frame.columns;
    update({ ascan: Math.min(frame.columns - 1, Math.max(0, Math.floor(share * frame.columns))) });
  };
  holder.addEventListener("wheel", (event) => {
    event.preventDefault();
    if (event.ctrlKey || event.metaKey) {
      const [x, y] = shares(event);
      zoomBy(Math.exp(-event.deltaY / 200), x, y);
      return;
    }
    turned += event.deltaMode ? 40 * event.deltaY : event.deltaY;
    if (Math.abs(turned) >= 40) { stepSlice(Math.sign(turned)); turned = 0; }
  }, { passive: false });
  holder.addEventListener("pointerdown", (event) => {
    if (event.target.tagName !== "CANVAS" || event.button) return;
    event.target.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
    if (fingers.size === 1 && view.zoom === 1) toAscan(event);
  });
  holder.addEventListener("pointermove", (event) => {
    if (!fingers.has(event.pointerId)) return;
    const [oldX, oldY] = fingers.get(event.pointerId), [, , box] = shares(event);
    if (fingers.size === 2) {
      const [still] = [...fingers].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
      const before = Math.hypot(oldX - still[0], oldY - still[1]);
      const now = Math.hypot(event.clientX - still[0], event.clientY - still[1]);
      zoomBy(now / Math.max(1, before), (still[0] - box.left) / box.width, (still[1] - box.top) / box.height);
    } else if (view.zoom > 1) {
      view.x -= (event.clientX - oldX) / box.width / view.zoom;
      view.y -= (event.clientY - oldY) / box.height / view.zoom;
      update({});
    } else {
      toAscan(event);
    }
    fingers.set(event.pointerId, [event.clientX, event.clientY]);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    holder.addEventListener(name, (event) => fingers.delete(event.pointerId));
  }
  holder.addEventListener("dblclick", (event) => {
    const [x, y] = shares(event);
    zoomBy(view.zoom > 1 ? 1 / view.zoom : 3, x, y);
  });
}
