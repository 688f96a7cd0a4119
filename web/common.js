"use strict";
// What the pages of a night and of all nights share: elements, numbers, states, charts.

const STATES = {
  ok: ["✓", "delivered"], attention: ["!", "look at it"], incomplete: ["…", "not complete"],
  failed: ["✕", "failed"], none: ["–", "no data"],
};
const root = document.documentElement;
const page = document.getElementById("page");

// Names of targets, files and jobs are only ever set as text.
function el(tag, attributes, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {}))
    if (value !== null && value !== undefined && value !== false) node.setAttribute(name, value);
  node.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== ""));
  return node;
}

// Charts ask for each colour for each of their points; `redraw` reads them from the style again.
const colours = new Map();
function css(name) {
  if (!colours.has(name)) colours.set(name, getComputedStyle(root).getPropertyValue(name).trim());
  return colours.get(name);
}

// A browser takes longer to load its rules for languages than to lay out the page.
function number(value, digits = 0) {
  if (value === null || value === undefined) return "";
  const [whole, ...decimals] = value.toFixed(digits).replace("-", "−").split(".");
  return [whole.replace(/\B(?=(\d{3})+$)/g, ","), ...decimals].join(".");
}

function range(values, digits = 0) {
  if (!values) return "";
  const [low, high] = values.map((value) => number(value, digits));
  return low === high ? low : `${low}–${high}`;
}

function plural(count, word) { return `${number(count)} ${word}${count === 1 ? "" : "s"}`; }

function badge(state) {
  const [glyph, words] = STATES[state];
  return el("span", {class: `badge ${state}`, role: "img", "aria-label": words}, glyph);
}

// A page that could not show something says so; it never looks as if all were well.
function alertOf(words) {
  page.prepend(el("p", {class: "box failed", role: "alert"}, el("b", null, "This page is not whole. "), words));
}
window.addEventListener("error", (event) => {
  if (event instanceof ErrorEvent) alertOf(`${event.message} (${event.filename.split("/").pop()})`);
});
window.addEventListener("unhandledrejection", (event) => alertOf(String(event.reason)));

function parsed(id) {
  try { return JSON.parse(document.getElementById(id).textContent); }
  catch (error) { alertOf("Its data are damaged; the next run writes it again."); return null; }
}

// Resolves when the script has run, or could not be read.
function loadScript(address) {
  const node = el("script", {src: address});
  document.head.append(node);
  return new Promise((resolve) => { node.onload = node.onerror = resolve; });
}

// Resolves when what is there now has been shown.
function shown() { return new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve))); }

function dateOf(night) { return new Date(Date.UTC(+night.slice(0, 4), +night.slice(4, 6) - 1, +night.slice(6, 8))); }
function nightOf(date) { return date.toISOString().slice(0, 10).replaceAll("-", ""); }
function clock(seconds, precise = false) { return new Date(seconds * 1000).toISOString().slice(11, precise ? 19 : 16); }

const MONTHS = "January February March April May June July August September October November December".split(" ");
function day(seconds, step) {
  const date = new Date(seconds * 1000), month = MONTHS[date.getUTCMonth()].slice(0, 3);
  return `${step < 28 * 86400 ? `${date.getUTCDate()} ` : ""}${month}\n${date.getUTCFullYear()}`;
}

function ago(from) {
  const minutes = Math.round((Date.now() - from) / 60000);
  if (minutes < 120) return `${Math.max(0, minutes)} min`;
  return minutes < 72 * 60 ? `${Math.round(minutes / 60)} h` : `${Math.round(minutes / 1440)} days`;
}

function quantile(sorted, share) { return sorted[Math.round(share * (sorted.length - 1))]; }

function median(values) {
  const known = values.filter((value) => value !== null).sort((a, b) => a - b);
  return known.length ? quantile(known, 0.5) : null;
}

function table(columns, rows) {
  return el("table", {class: "stack"},
    el("thead", null, el("tr", null, columns.map(([title, kind]) => el("th", {class: kind, scope: "col"}, title)))),
    el("tbody", null, rows.map((cells) => el("tr", null, cells.map((cell, at) =>
      el("td", {class: columns[at][1], "data-label": columns[at][0]}, cell))))));
}

// Charts: dots against time. Series are {name, colour, hollow, values}, colour a variable of the style.
// Whoever draws several gives their width: to ask for it between them lays out the page each time.

const HEIGHT = 150;
const plots = [];

function limits(series, band) {
  const values = Float64Array.from(series.flatMap((one) => one.values.filter((value) => value !== null))).sort();
  if (!values.length) return null;
  let [low, high] = [quantile(values, 0.01), quantile(values, 0.99)];
  if (band && band[0] < high && band[1] > low) [low, high] = [Math.min(low, band[0]), Math.max(high, band[1])];
  const margin = 0.08 * (high - low) || 0.1 * Math.abs(high) || 1;
  return [low >= 0 && low < margin ? 0 : low - margin, high + margin];
}

function chart(parent, {title, width, x, series, band, digits, sync, dates, view, size = 3.5}) {
  const yRange = limits(series, band);
  if (!yRange) return null;
  const output = el("output", {"aria-live": "off"});
  const holder = el("div", {role: "img", "aria-label": `${title} against time; the medians stand in the table`});
  parent.append(el("figure", null, el("figcaption", null, el("span", null, title), output), holder));
  const ratio = () => window.devicePixelRatio || 1;

  function drawBand(u) {
    const {left, width, top, height} = u.bbox;
    if (!band) return;
    const [high, low] = [u.valToPos(band[1], "y", true), u.valToPos(band[0], "y", true)];
    u.ctx.fillStyle = css("--band");
    const from = Math.max(high, top);
    u.ctx.fillRect(left, from, width, Math.max(0, Math.min(low, top + height) - from));
  }
  function drawOutliers(u) {
    const side = 4 * ratio(), {min, max} = u.scales.x;
    series.forEach((one) => one.values.forEach((value, at) => {
      if (value === null || (value >= yRange[0] && value <= yRange[1]) || x[at] < min || x[at] > max) return;
      const left = u.valToPos(x[at], "x", true), up = value > yRange[1];
      const tip = up ? u.bbox.top : u.bbox.top + u.bbox.height;
      u.ctx.fillStyle = css(one.colour);
      u.ctx.beginPath();
      u.ctx.moveTo(left, tip);
      u.ctx.lineTo(left - side, tip + (up ? 2 : -2) * side);
      u.ctx.lineTo(left + side, tip + (up ? 2 : -2) * side);
      u.ctx.fill();
    }));
  }
  function say(u) {
    const at = u.cursor.idx;
    const here = at === null || at === undefined ? [] : series.filter((one) => one.values[at] !== null && !one.line);
    const when = here.length && (dates ? new Date(x[at] * 1000).toISOString().slice(0, 10) : `${clock(x[at])} UTC`);
    output.textContent = here.map((one) => `${when} · ${one.name} · ${number(one.values[at], digits)}`).join("; ");
  }

  const axis = {stroke: () => css("--quiet"), grid: {stroke: () => css("--line"), width: 1}, ticks: {stroke: () => css("--line"), width: 1, size: 5}, font: "12px system-ui, sans-serif"};
  const options = {
    width: width || 600, height: HEIGHT, legend: {show: false}, tzDate: (time) => uPlot.tzDate(new Date(time * 1000), "Etc/UTC"),
    cursor: {sync: {key: sync}, drag: {x: true, y: false}, y: false, points: {size: 7}},
    scales: {x: {time: true}, y: {range: yRange}},
    axes: [
      {...axis, size: dates ? 42 : 28, ...(dates ? {incrs: [1, 2, 4, 7, 14, 28, 61, 91, 182, 365, 730].map((days) => days * 86400)} : {}), values: (u, splits, at, space, step) => splits.map((time) => (dates ? day(time, step) : clock(time, step < 60)))},
      {...axis, size: 52, values: (u, splits, at, space, step) => splits.map((value) => number(value, step < 1 ? Math.ceil(-Math.log10(step) - 1e-9) : 0))},
    ],
    series: [{}, ...series.map((one) => (one.line ?
      {label: one.name, stroke: () => css(one.colour), width: 2, spanGaps: true, points: {show: false}} :
      {label: one.name, stroke: () => css(one.colour), paths: () => null,
        points: {show: true, size: one.hollow ? size + 2 : size, width: one.hollow ? 1 : 0, stroke: () => css(one.colour), fill: () => css(one.hollow ? "--paper" : one.colour)}}))],
    hooks: {drawClear: [drawBand], draw: [drawOutliers, (u) => { holder.dataset.drawn = +(holder.dataset.drawn || 0) + 1; }], setCursor: [say]},
  };
  const plot = new uPlot(options, [x, ...series.map((one) => one.values)], holder);
  if (view) plot.setScale("x", view);
  plots.push({plot, holder});
  return plot;
}

function resize(printed) {
  for (const {plot, holder} of plots) {
    const size = printed || {width: holder.clientWidth, height: HEIGHT};
    if (size.width && (size.width !== plot.width || size.height !== plot.height)) plot.setSize(size);
  }
}
function redraw() {
  colours.clear();
  for (const {plot} of plots) plot.redraw(true, true);
}

window.addEventListener("resize", () => resize());
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
let opened = [];
window.addEventListener("beforeprint", () => {
  root.classList.add("print");
  opened = [...document.querySelectorAll("details:not([open])")];
  opened.forEach((node) => { node.open = true; });
  resize({width: 680, height: 100});
  redraw();
});
window.addEventListener("afterprint", () => {
  root.classList.remove("print");
  opened.forEach((node) => { node.open = false; });
  resize();
  redraw();
});
