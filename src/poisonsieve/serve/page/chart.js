/**
 * Histograms of confidences as SVG, drawn at the width there is, so that type keeps its size on a phone.
 *
 * Colours come from style.css by class, and follow the reader's light or dark.
 */

import { svg } from "./dom.js";
import { confidence } from "./format.js";

/**
 * @typedef {"calibration" | "passed" | "rejected"} Kind
 * @typedef {{counts: number[], kind: Kind}} Bars
 * @typedef {object} Chart
 * @property {number[]} edges one more than there are counts
 * @property {Bars[]} bars stacked, from the bottom
 * @property {number[]} [outline] counts of another group, drawn as a line
 * @property {boolean} open whether confidences have no upper end, so that the last bin also holds those beyond it
 * @property {number} gamma
 * @property {{confidence: number, rejected: boolean}} [marker]
 * @property {string} label what a screen reader says in place of the picture
 */

const HEIGHT = 168;
const TOP = 36; // two lines of labels: the marker's, and gamma's below it
const BOTTOM = 22;
const SIDE = 12;
const LEAST = 1.5; // pixels of a bar that is not empty: one text is to be seen among thousands
const LETTER = 8.3; // the width of a digit in bold, at most

/** Draws into a host, and again whenever the host's width changes. */
export class ChartView {
  /** @param {HTMLElement} host */
  constructor(host) {
    this.host = host;
    /** @type {Chart | null} */
    this.chart = null;
    this.width = 0;
    new ResizeObserver(() => {
      if (Math.abs(host.clientWidth - this.width) >= 1) this.draw();
    }).observe(host);
  }

  /** @param {Chart} chart */
  show(chart) {
    this.chart = chart;
    this.draw();
  }

  draw() {
    this.width = this.host.clientWidth;
    if (this.chart === null || this.width < 2 * SIDE + 40) return;
    this.host.replaceChildren(picture(this.chart, this.width));
  }
}

/**
 * @param {Chart} chart
 * @param {number} width
 */
function picture(chart, width) {
  const { edges } = chart;
  const [low, high] = [edges[0], edges[edges.length - 1]];
  const inside = width - 2 * SIDE;
  const x = (/** @type {number} */ value) =>
    SIDE + (inside * (Math.min(high, Math.max(low, value)) - low)) / (high - low || 1);
  const floor = HEIGHT - BOTTOM;
  const shares = chart.bars.map((bars) => ({ kind: bars.kind, values: sharesOf(bars.counts, chart.bars) }));
  const outline = chart.outline ? sharesOf(chart.outline, [{ counts: chart.outline }]) : [];
  const stacked = edges.slice(1).map((_, bin) => shares.reduce((sum, group) => sum + group.values[bin], 0));
  const highest = Math.max(...stacked, ...outline) || 1;
  const tall = (/** @type {number} */ share) => (share > 0 ? Math.max(LEAST, ((floor - TOP) * share) / highest) : 0);

  const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": chart.label });
  drawing.append(
    svg("rect", { class: "beyond", x: x(chart.gamma), y: TOP, width: width - SIDE - x(chart.gamma), height: floor - TOP }),
  );
  edges.slice(1).forEach((edge, bin) => {
    let top = floor;
    for (const group of shares) {
      const height = tall(group.values[bin]);
      if (height === 0) continue;
      top -= height;
      const left = x(edges[bin]);
      drawing.append(
        svg("rect", { class: `bin ${group.kind}`, x: left + 0.5, y: top, width: Math.max(1, x(edge) - left - 1), height }),
      );
    }
  });
  if (chart.outline) drawing.append(svg("path", { class: "outline", d: steps(edges, outline, x, (share) => floor - tall(share)) }));
  drawing.append(svg("line", { class: "axis", x1: SIDE, x2: width - SIDE, y1: floor, y2: floor }));
  const end = chart.open ? `${Number(high.toPrecision(2))} and more` : "";
  for (const tick of ticks(low, high, width < 420 ? 3 : 5)) {
    drawing.append(svg("line", { class: "axis", x1: x(tick), x2: x(tick), y1: floor, y2: floor + 4 }));
    const free = end === "" || x(tick) + (LETTER * String(tick).length) / 2 < width - LETTER * (end.length + 1);
    if (free) drawing.append(label(String(tick), x(tick), HEIGHT - 5, width, "tick"));
  }
  if (end !== "") drawing.append(label(end, width, HEIGHT - 5, width, "tick"));
  drawing.append(
    svg("line", { class: "gamma", x1: x(chart.gamma), x2: x(chart.gamma), y1: TOP - 2, y2: floor }),
  );
  if (chart.marker) drawing.append(...marker(chart.marker, x(chart.marker.confidence), floor, width));
  drawing.append(gammaLabel(chart, x, width)); // above the marker's line, which its halo interrupts
  return drawing;
}

/**
 * On the other side of gamma than the marker, where the two are so close that the marker would go through it.
 *
 * @param {Chart} chart
 * @param {(value: number) => number} x
 * @param {number} width
 */
function gammaLabel(chart, x, width) {
  const text = `gamma ${confidence(chart.gamma)}`;
  const at = x(chart.gamma);
  const size = LETTER * text.length;
  const apart = chart.marker ? x(chart.marker.confidence) - at : Infinity;
  if (Math.abs(apart) > size / 2 + 4) return label(text, at, TOP - 6, width, "gamma-label");
  const left = (apart >= 0 && at > size + 4) || at + size + 4 > width;
  return svg("text", { class: "gamma-label", x: left ? at - 3 : at + 3, y: TOP - 6, "text-anchor": left ? "end" : "start" }, text);
}

/**
 * @param {{confidence: number, rejected: boolean}} shown
 * @param {number} at
 * @param {number} floor
 * @param {number} width
 */
function marker(shown, at, floor, width) {
  const kind = shown.rejected ? "rejected" : "passed";
  return [
    svg("line", { class: `marker ${kind}`, x1: at, x2: at, y1: 17, y2: floor }),
    svg("path", { class: `marker-head ${kind}`, d: `M${at - 5} ${floor + 8}L${at} ${floor}L${at + 5} ${floor + 8}Z` }),
    label(`this text ${confidence(shown.confidence)}`, at, 13, width, `marker-label ${kind}`),
  ];
}

/**
 * Text centred at `at`, moved in where it would leave the picture.
 *
 * @param {string} text
 * @param {number} at
 * @param {number} y
 * @param {number} width
 * @param {string} kind
 */
function label(text, at, y, width, kind) {
  const half = (LETTER * text.length) / 2;
  const anchor = at < half + 2 ? "start" : at > width - half - 2 ? "end" : "middle";
  const x = anchor === "start" ? Math.max(2, at - SIDE) : anchor === "end" ? Math.min(width - 2, at + SIDE) : at;
  return svg("text", { class: kind, x, y, "text-anchor": anchor }, text);
}

/**
 * Counts as shares of all counts of these groups.
 *
 * @param {number[]} counts
 * @param {{counts: number[]}[]} groups
 */
function sharesOf(counts, groups) {
  const all = groups.reduce((sum, group) => sum + group.counts.reduce((total, each) => total + each, 0), 0);
  return counts.map((each) => (all === 0 ? 0 : each / all));
}

/**
 * The outline of a histogram.
 *
 * @param {number[]} edges
 * @param {number[]} shares
 * @param {(value: number) => number} x
 * @param {(share: number) => number} y
 */
function steps(edges, shares, x, y) {
  const points = shares.map((share, bin) => `L${x(edges[bin])} ${y(share)}L${x(edges[bin + 1])} ${y(share)}`);
  return `M${x(edges[0])} ${y(0)}${points.join("")}L${x(edges[edges.length - 1])} ${y(0)}`;
}

/**
 * Round numbers between low and high, about `wanted` of them.
 *
 * @param {number} low
 * @param {number} high
 * @param {number} wanted
 */
export function ticks(low, high, wanted) {
  const rough = (high - low) / wanted;
  if (!(rough > 0)) return [low];
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => each >= rough) ?? 10 * power;
  const found = [];
  for (let index = Math.ceil(low / step - 1e-9); index * step <= high + 1e-9 * step; index++) {
    found.push(Number((index * step).toPrecision(6)));
  }
  return found;
}
