"use strict";
// The card of the surfaces in 3D, drawn by three.js where the page carries it.

const solid = { ready: false, built: null };
const SHOWN_FIRST = ["ILM", "RPE", "BM"];

function startSolid() {
  const stage = document.getElementById("solid");
  if (typeof THREE === "undefined") return;
  try {
    solid.renderer = new THREE.WebGLRenderer({ antialias: true, alpha: true });
  } catch {
    const note = document.createElement("p");
    note.className = "nothing";
    note.textContent = "This browser draws no WebGL";
    stage.append(note);
    return;
  }
  stage.append(solid.renderer.domElement);
  solid.renderer.domElement.setAttribute("aria-hidden", "true");
  solid.scene = new THREE.Scene();
  solid.camera = new THREE.PerspectiveCamera(32, 4 / 3, 0.1, 200);
  solid.scene.add(new THREE.HemisphereLight(0xffffff, 0x445066, 0.75));
  const lamp = new THREE.DirectionalLight(0xffffff, 0.55);
  lamp.position.set(-5, 9, 6);
  solid.scene.add(lamp);
  solid.shape = new THREE.Group();
  solid.scene.add(solid.shape);
  solid.controls = new THREE.OrbitControls(solid.camera, solid.renderer.domElement);
  solid.controls.enablePan = false;
  solid.controls.addEventListener("change", renderSolid);
  // The wheel scrolls the page until the view is chosen.
  solid.controls.enableZoom = false;
  stage.addEventListener("focus", () => { solid.controls.enableZoom = true; });
  stage.addEventListener("blur", () => { solid.controls.enableZoom = false; });
  stage.addEventListener("pointerdown", () => stage.focus({ preventScroll: true }));
  stage.addEventListener("keydown", turnByKey);
  new ResizeObserver(fitSolid).observe(stage);
  solid.ready = true;
  turnHome();
}

function turnHome() {
  if (!solid.ready) return;
  solid.camera.position.set(3.6, 5.6, 9.6);
  solid.controls.target.set(0, 0, 0);
  solid.controls.update();
  renderSolid();
}

function turnByKey(event) {
  const turns = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const zooms = { "+": 0.9, "=": 0.9, "-": 1 / 0.9 };
  if (!(event.key in turns) && !(event.key in zooms)) return;
  event.preventDefault();
  event.stopPropagation();
  const place = new THREE.Spherical().setFromVector3(solid.camera.position);
  const [around, over] = turns[event.key] ?? [0, 0];
  place.theta += 0.1 * around;
  place.phi = Math.min(3.1, Math.max(0.05, place.phi + 0.1 * over));
  place.radius *= zooms[event.key] ?? 1;
  solid.camera.position.setFromSpherical(place);
  solid.controls.update();
  renderSolid();
}

function fitSolid() {
  const { clientWidth, clientHeight } = document.getElementById("solid");
  if (!clientWidth) return;
  solid.renderer.setPixelRatio(Math.min(2, window.devicePixelRatio || 1));
  solid.renderer.setSize(clientWidth, clientHeight, false);
  solid.camera.aspect = clientWidth / clientHeight;
  solid.camera.updateProjectionMatrix();
  renderSolid();
}

function renderSolid() {
  solid.renderer.render(solid.scene, solid.camera);
}

/** The sources whose surfaces can be drawn: one line alone has none. */
function solidSources(eye) {
  return eye.sources.filter((source) => source.shape && source.surfaces && source.lines?.triangles.length);
}

function drawSolid(eye, state) {
  const sources = solid.ready ? solidSources(eye) : [];
  document.getElementById("solid-card").hidden = typeof THREE === "undefined" || (solid.ready && !sources.length);
  if (!sources.length) return;
  const source = sources.find((each) => each.name === state.solid) ?? sources[0];
  document.getElementById("tall-out").textContent = `${state.tall}×`;
  const built = JSON.stringify([eye.key, source.name, state.tall, state.solidOf, state.drape]);
  if (solid.built === built && solid.slice === state.slice) return;
  if (solid.built !== built) {
    drapePhoto(eye);
    [...solid.shape.children].forEach(discard);
    buildSurfaces(source, state);
  } else {
    discard(solid.lit);
  }
  solid.lit = litLine(source, state);
  solid.shape.add(solid.lit);
  Object.assign(solid, { built, slice: state.slice });
  renderSolid();
}

function discard(child) {
  solid.shape.remove(child);
  child.geometry.dispose();
  child.material.dispose();
}

/** The photo as what the inner surface is painted with. */
function drapePhoto(eye) {
  document.getElementById("drape-label").hidden = !eye.photo;
  if (solid.drapedWith === eye.key) return;
  solid.photo?.dispose();
  solid.photo = eye.photo && new THREE.TextureLoader().load(eye.photo, renderSolid);
  solid.drapedWith = eye.key;
}

/** Heights above the pose's curve in millimetres, at the vertices of the lines. */
function heightsOf(source, number) {
  const many = source.nSlices * source.columns;
  const heights = new Float32Array(many);
  for (let at = 0; at < many; at++) heights[at] = ((source.pose?.[at] ?? 0) - source.surfaces[number * many + at]) / 1000;
  return perVertex(heights, source);
}

function buildSurfaces(source, state) {
  const { pointsMm, triangles } = source.lines;
  about.surfaces.forEach((name, number) => {
    if (!state.solidOf.includes(name)) return;
    const heights = heightsOf(source, number);
    const places = new Float32Array(3 * heights.length);
    heights.forEach((height, at) => places.set([pointsMm[2 * at], state.tall * height, pointsMm[2 * at + 1]], 3 * at));
    const whole = [];
    for (let at = 0; at < triangles.length; at += 3) {
      const corners = triangles.subarray(at, at + 3);
      if (corners.every((corner) => !Number.isNaN(heights[corner]))) whole.push(...corners);
    }
    // Unknown heights belong to no triangle, but would spoil the bounds.
    places.forEach((value, at) => { if (Number.isNaN(value)) places[at] = 0; });
    const geometry = new THREE.BufferGeometry();
    geometry.setAttribute("position", new THREE.BufferAttribute(places, 3));
    geometry.setIndex(whole);
    geometry.computeVertexNormals();
    const draped = name === "ILM" && state.drape && solid.photo;
    // Row 0 of a texture is the photo's lowest one.
    if (draped) geometry.setAttribute("uv", new THREE.BufferAttribute(source.lines.points.map((grid, at) => at % 2 ? (1 - grid) / 2 : (1 + grid) / 2), 2));
    const see = name === "ILM" && !draped && state.solidOf.length > 1;
    const material = new THREE.MeshLambertMaterial({
      color: draped ? 0xffffff : SURFACE_COLOURS[number], map: draped ? solid.photo : null,
      side: THREE.DoubleSide, transparent: see, opacity: see ? 0.6 : 1, depthWrite: !see,
    });
    const mesh = new THREE.Mesh(geometry, material);
    mesh.renderOrder = -number;
    solid.shape.add(mesh);
  });
  const floor = new THREE.GridHelper(10, 10, 0x556070, 0x3a424e);
  floor.position.y = -0.3 * state.tall;
  solid.shape.add(floor);
}

/** The current slice, drawn on the inner surface. */
function litLine(source, state) {
  const { pointsMm, nVertices } = source.lines;
  const slice = Math.min(state.slice, source.nSlices - 1);
  const heights = heightsOf(source, about.surfaces.indexOf("ILM"));
  const places = [];
  for (let at = slice * nVertices; at < (slice + 1) * nVertices; at++) {
    if (!Number.isNaN(heights[at])) places.push(new THREE.Vector3(pointsMm[2 * at], state.tall * heights[at] + 0.02, pointsMm[2 * at + 1]));
  }
  const geometry = new THREE.BufferGeometry().setFromPoints(places);
  return new THREE.Line(geometry, new THREE.LineBasicMaterial({ color: 0xffd54a }));
}
