// Where the pixels of a network's input lie in the picture that it was made of: parckit.processing.geometry.

export class Geometry {
  /**
   * A point of the picture at (y, x) lies in the input at y * scale[0] - offset[0], x * scale[1] - offset[1].
   *
   * @param pictureSize [height, width], pixels.
   * @param inputSize [height, width], pixels.
   * @param scale pixels of the input per pixel of the picture, [along the height, along the width].
   * @param offset pixels that were cut off at the [top, left]; negative where padding was added.
   */
  constructor({ pictureSize, inputSize, scale, offset }) {
    Object.assign(this, { pictureSize, inputSize, scale, offset });
  }

  /** Return a box [left, top, right, bottom] of the input in pixels of the picture, cut at its borders or not. */
  boxToPicture(box, { cut = true } = {}) {
    return box.map((side, index) => {
      const axis = index % 2 ? 0 : 1;
      const place = (side + this.offset[axis]) / this.scale[axis];
      return Math.fround(cut ? Math.min(Math.max(place, 0), this.pictureSize[axis]) : place);
    });
  }

  /** Return where the middles of the picture's rows (axis 0) or columns (axis 1) lie in the input. */
  placesInInput(axis) {
    return Float64Array.from(
      { length: this.pictureSize[axis] },
      (_, index) => (index + 0.5) * this.scale[axis] - this.offset[axis],
    );
  }
}
