// The mask of an object where it lies inside the picture: parckit.processing.masks.

const LEAST = 0.5; // probability above which a pixel belongs to the object

/**
 * Return {left, top, height, width, data}: a byte for each pixel of the box that is inside the picture, 1 in the object.
 *
 * @param shares probabilities over the box, side x side.
 * @param box [left, top, right, bottom] in pixels of the picture; it may reach beyond its borders.
 */
export function maskPart(shares, side, box, [pictureHeight, pictureWidth]) {
  const points = side + 2; // a border of zeros
  const grid = new Float32Array(points * points);
  for (let row = 0; row < side; row++) {
    grid.set(shares.slice(row * side, (row + 1) * side), (row + 1) * points + 1);
  }
  const columns = placesInGrid(box[0], box[2], pictureWidth, points);
  const rows = placesInGrid(box[1], box[3], pictureHeight, points);
  const [height, width] = [rows.places.length, columns.places.length];
  const data = new Uint8Array(height * width);
  rows.places.forEach((down, y) => {
    const row = Math.min(Math.floor(down), points - 2);
    columns.places.forEach((across, x) => {
      const column = Math.min(Math.floor(across), points - 2);
      const above = between(grid, row * points + column, across - column);
      const below = between(grid, (row + 1) * points + column, across - column);
      data[y * width + x] = above * (1 - (down - row)) + below * (down - row) > LEAST ? 1 : 0;
    });
  });
  return { left: columns.start, top: rows.start, height, width, data };
}

function between(grid, index, share) {
  return grid[index] * (1 - share) + grid[index + 1] * share;
}

/** Return the first pixel of a box inside the picture, and where its pixels inside lie in the grid. */
function placesInGrid(low, high, length, points) {
  const [middle, half] = [(low + high) / 2, ((high - low) / 2) * (points / (points - 2))];
  const [first, last] = [Math.trunc(middle - half), Math.trunc(middle + half)];
  const start = Math.max(first, 0);
  const count = Math.max(0, Math.min(last + 1, length) - start);
  const scale = points / Math.max(last - first + 1, 1);
  const places = Array.from({ length: count }, (_, pixel) =>
    Math.min(Math.max((start + pixel - first + 0.5) * scale - 0.5, 0), points - 1),
  );
  return { start, places };
}
