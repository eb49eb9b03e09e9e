"use strict";
// Values at A-scans as maps over the square of the photo, from (-1, -1) to (1, 1).

const PLANE = 320;

/**
 * Values at the points of the mesh: means of the known A-scans around each vertex of a line; between the lines
 * of a star mixtures of two of these. The farther such a point lies from the lines, the longer the stretch
 * of a line that it takes the mean of: detail finer than the gap is not known there, and would be drawn as rings.
 */
function perVertex(values, source) {
  const { nLines, nVertices, mixed, shares } = source.lines;
  const found = new Float32Array(nLines * nVertices + shares.length);
  for (let slice = 0; slice < nLines; slice++) {
    for (let vertex = 0; vertex < nVertices; vertex++) {
      const from = Math.floor(vertex * source.columns / nVertices);
      const to = Math.max(from + 1, Math.floor((vertex + 1) * source.columns / nVertices));
      let sum = 0, many = 0;
      for (let x = from; x < to; x++) {
        const value = values[slice * source.columns + x];
        if (!Number.isNaN(value)) { sum += value; many++; }
      }
      found[slice * nVertices + vertex] = many ? sum / many : NaN;
    }
  }
  shares.forEach((share, at) => {
    const point = nLines * nVertices + at, ends = [mixed[2 * at], mixed[2 * at + 1]];
    const reachMm = Math.min(...ends.map((end) => distanceMm(source.lines, point, end))) / 2;
    const [one, other] = ends.map((end) => meanAlong(found, source.lines, end, reachMm));
    found[point] = one + (other - one) * share;
  });
  return found;
}

function distanceMm({ pointsMm }, one, other) {
  return Math.hypot(pointsMm[2 * one] - pointsMm[2 * other], pointsMm[2 * one + 1] - pointsMm[2 * other + 1]);
}

/** The mean of the known values along a line, weighted by a Gaussian around one of its vertices. */
function meanAlong(found, lines, vertex, sigmaMm) {
  if (Number.isNaN(found[vertex])) return NaN;
  const first = vertex - vertex % lines.nVertices;
  const sigma = sigmaMm / distanceMm(lines, first, first + 1);
  const reach = Math.ceil(2.5 * sigma);
  const last = Math.min(first + lines.nVertices - 1, vertex + reach);
  let sum = 0, weights = 0;
  for (let at = Math.max(first, vertex - reach); at <= last; at++) {
    if (Number.isNaN(found[at])) continue;
    const weight = Math.exp(-0.5 * ((at - vertex) / sigma) ** 2);
    sum += weight * found[at];
    weights += weight;
  }
  return sum / weights;
}

/** A map of values at the A-scans of a source, shape (S, X); NaN where it does not reach. */
function planeOf(source, values, between = true) {
  const { points, triangles } = source.lines;
  const plane = new Float32Array(PLANE * PLANE).fill(NaN);
  if (between) fillTriangles(plane, points, triangles, perVertex(values, source));
  if (!between || !triangles.length) stampLines(plane, source, values);
  return plane;
}

const toPixel = (grid) => (grid + 1) * PLANE / 2 - 0.5;

function fillTriangles(plane, points, triangles, values) {
  for (let at = 0; at < triangles.length; at += 3) {
    const [a, b, c] = triangles.subarray(at, at + 3);
    const [ax, ay, bx, by, cx, cy] = [a, b, c].flatMap((v) => [toPixel(points[2 * v]), toPixel(points[2 * v + 1])]);
    const area = (bx - ax) * (cy - ay) - (cx - ax) * (by - ay);
    if (Math.abs(area) < 1e-6) continue;
    const [left, right] = [Math.max(0, Math.ceil(Math.min(ax, bx, cx))), Math.min(PLANE - 1, Math.max(ax, bx, cx))];
    const [top, bottom] = [Math.max(0, Math.ceil(Math.min(ay, by, cy))), Math.min(PLANE - 1, Math.max(ay, by, cy))];
    for (let y = top; y <= bottom; y++) {
      for (let x = left; x <= right; x++) {
        const u = ((bx - x) * (cy - y) - (cx - x) * (by - y)) / area;
        const v = ((cx - x) * (ay - y) - (ax - x) * (cy - y)) / area;
        if (u < -1e-6 || v < -1e-6 || u + v > 1 + 1e-6) continue;
        plane[y * PLANE + x] = u * values[a] + v * values[b] + (1 - u - v) * values[c];
      }
    }
  }
}

function stampLines(plane, source, values) {
  const reach = 2;
  for (let slice = 0; slice < source.nSlices; slice++) {
    for (let x = 0; x < source.columns; x++) {
      const value = values[slice * source.columns + x];
      if (Number.isNaN(value)) continue;
      const [gx, gy] = ascanAt(source.lines, slice, (x + 0.5) / source.columns);
      const [px, py] = [Math.round(toPixel(gx)), Math.round(toPixel(gy))];
      for (let dy = -reach; dy <= reach; dy++) {
        for (let dx = -reach; dx <= reach; dx++) {
          const inside = px + dx >= 0 && px + dx < PLANE && py + dy >= 0 && py + dy < PLANE;
          if (inside && dx * dx + dy * dy <= reach * reach) plane[(py + dy) * PLANE + px + dx] = value;
        }
      }
    }
  }
}

/** Where a share of the way along a line lies, in grid units: a point for each vertex's middle. */
function ascanAt(lines, slice, share) {
  const at = share * lines.nVertices - 0.5;
  const near = Math.min(lines.nVertices - 2, Math.max(0, Math.floor(at)));
  const first = 2 * (slice * lines.nVertices + near);
  return [0, 1].map((axis) => lines.points[first + axis]
    + (at - near) * (lines.points[first + 2 + axis] - lines.points[first + axis]));
}

/** The slice and the share of the way along it that lie nearest to a point in grid units. */
function nearestAscan(lines, x, y) {
  let best = { distance: Infinity, slice: 0, share: 0 };
  for (let slice = 0; slice < lines.nLines; slice++) {
    for (let vertex = 0; vertex < lines.nVertices; vertex++) {
      // Half a step beyond the outer vertices, where the outer A-scans lie.
      const [ax, ay] = ascanAt(lines, slice, vertex / lines.nVertices);
      const [bx, by] = ascanAt(lines, slice, (vertex + 1) / lines.nVertices);
      const length = (bx - ax) ** 2 + (by - ay) ** 2;
      const along = Math.min(1, Math.max(0, ((x - ax) * (bx - ax) + (y - ay) * (by - ay)) / length));
      const distance = Math.hypot(ax + along * (bx - ax) - x, ay + along * (by - ay) - y);
      if (distance < best.distance) best = { distance, slice, share: (vertex + along) / lines.nVertices };
    }
  }
  return best;
}

/** Millimetres around the fovea at a point of the photo. */
function toMm(placement, x, y) {
  const turn = placement.rotation_deg * Math.PI / 180;
  const [dx, dy] = [x - placement.shift[0], y - placement.shift[1]].map((d) => d * placement.half_width_mm);
  return [Math.cos(turn) * dx + Math.sin(turn) * dy, Math.cos(turn) * dy - Math.sin(turn) * dx];
}

function toGrid(placement, x, y) {
  const turn = placement.rotation_deg * Math.PI / 180;
  return [
    (Math.cos(turn) * x - Math.sin(turn) * y) / placement.half_width_mm + placement.shift[0],
    (Math.sin(turn) * x + Math.cos(turn) * y) / placement.half_width_mm + placement.shift[1],
  ];
}

/** A page of a predicted map: 0 the median, 1 the lower and 2 the upper end of its interval. */
function planeOfMap(map, page) {
  const plane = new Float32Array(PLANE * PLANE).fill(NaN);
  const value = (row, column) => row < 0 || column < 0 || row >= map.size || column >= map.size ? NaN
    : map.values[(page * map.size + row) * map.size + column];
  for (let y = 0; y < PLANE; y++) {
    for (let x = 0; x < PLANE; x++) {
      const [mmX, mmY] = toMm(map.placement, (x + 0.5) * 2 / PLANE - 1, (y + 0.5) * 2 / PLANE - 1);
      const column = (mmX - map.firstMm[0]) / map.pitchMm, row = (mmY - map.firstMm[1]) / map.pitchMm;
      const [left, top] = [Math.floor(column), Math.floor(row)], [right, down] = [column - left, row - top];
      const above = value(top, left) * (1 - right) + value(top, left + 1) * right;
      const below = value(top + 1, left) * (1 - right) + value(top + 1, left + 1) * right;
      plane[y * PLANE + x] = above * (1 - down) + below * down;
    }
  }
  return plane;
}

function planeLess(one, other) {
  return one.map((value, at) => value - other[at]);
}

/** Means of the nine ETDRS fields, NaN where no more than half of a field's area is known. */
function fieldMeans(plane, placement) {
  const fields = [["centre", 0, 0.5, 0], ...["inner", "outer"].flatMap((ring, outer) =>
    ["up", "right", "down", "left"].map((side, quarter) => [`${ring} ${side}`, [0.5, 1.5][outer], [1.5, 3][outer], quarter]))];
  const sums = fields.map(() => [0, 0]);
  const pointMm2 = (2 * placement.half_width_mm / PLANE) ** 2;
  for (let y = 0; y < PLANE; y++) {
    for (let x = 0; x < PLANE; x++) {
      const [mmX, mmY] = toMm(placement, (x + 0.5) * 2 / PLANE - 1, (y + 0.5) * 2 / PLANE - 1);
      const radius = Math.hypot(mmX, mmY);
      if (radius >= 3) continue;
      const quarter = Math.floor(((Math.atan2(mmX, -mmY) * 180 / Math.PI + 45 + 360) % 360) / 90);
      const at = radius < 0.5 ? 0 : (radius < 1.5 ? 1 : 5) + quarter;
      const value = plane[y * PLANE + x];
      if (!Number.isNaN(value)) { sums[at][0]++; sums[at][1] += value; }
    }
  }
  return fields.map(([name, near, far, quarter], at) => {
    const [known, sum] = sums[at];
    const mm2 = Math.PI * (far ** 2 - near ** 2) / (at ? 4 : 1);
    const radius = (near + far) / 2 * (at ? 1 : 0), turn = quarter * Math.PI / 2;
    return { name, mean: known * pointMm2 > mm2 / 2 ? sum / known : NaN, mm: [radius * Math.sin(turn), -radius * Math.cos(turn)] };
  });
}

function planePixels(plane, low, high, colours) {
  const image = new ImageData(PLANE, PLANE);
  const range = high - low || 1;  // one value throughout has none
  for (let at = 0; at < plane.length; at++) {
    if (Number.isNaN(plane[at])) continue;
    const share = Math.min(1, Math.max(0, (plane[at] - low) / range));
    image.data.set([...colours[Math.round(share * (colours.length - 1))], 255], 4 * at);
  }
  return image;
}

/** A share of the known values lies below. */
function quantile(values, share) {
  const known = values.filter((value) => !Number.isNaN(value)).sort();
  return known.length ? known[Math.round(share * (known.length - 1))] : NaN;
}
