// Shows an answer as a headline and rows with bars.

import { isClear } from "./drawing.mjs";

const MOST_ROWS = 8; // more would push the times off the screen

/** Show an answer in the page. */
export function show(answer, { headline, rows, colours }) {
  const lines = LINES[answer.kind](answer, colours);
  headline.textContent = HEADLINES[answer.kind](answer);
  rows.replaceChildren(...lines.slice(0, MOST_ROWS).map(makeRow));
  if (lines.length > MOST_ROWS) {
    const text = `and ${lines.length - MOST_ROWS} more`;
    rows.append(Object.assign(document.createElement("li"), { className: "more", textContent: text }));
  }
}

const HEADLINES = {
  classes: ({ ranking, isKnown }) => (isKnown ? ranking[0].label : "unknown"),
  labels: ({ ranking }) => ranking.filter(({ isPresent }) => isPresent).map(({ label }) => label).join(", ") || "no label",
  boxes: ({ objects }) => (objects.length === 1 ? "1 object" : `${objects.length || "no"} objects`),
  mask: ({ areas }) => (areas.length === 1 ? "1 class" : `${areas.length} classes`),
};

// Kind of an answer -> its rows: a name, a share from 0 to 1, and perhaps a colour.
const LINES = {
  classes: ({ ranking }) => ranking.map(({ label, probability }) => ({ name: label, share: probability })),
  labels: ({ ranking }) =>
    ranking.map(({ label, probability, isPresent }) => ({ name: label, share: probability, isFaint: !isPresent })),
  boxes: ({ objects }, colours) =>
    objects.map(({ name, score, label }) => ({ name, share: score, colour: colours[label] })),
  mask: ({ areas }, colours) =>
    areas.map((area) => ({ ...area, colour: isClear(area) ? undefined : colours[area.label] })),
};

function makeRow({ name, share, colour, isFaint = false }) {
  const row = document.createElement("li");
  row.classList.toggle("faint", isFaint);
  const parts = ["swatch", "name", "value", "bar"].map((className) =>
    Object.assign(document.createElement("span"), { className }),
  );
  const [swatch, label, value, bar] = parts;
  if (colour) swatch.style.background = `rgb(${colour})`;
  swatch.hidden = !colour;
  label.textContent = name;
  value.textContent = `${(100 * share).toFixed(1)} %`;
  bar.append(document.createElement("i"));
  bar.firstChild.style.width = `${100 * share}%`;
  if (colour) bar.firstChild.style.background = `rgb(${colour})`;
  row.append(...parts);
  return row;
}
