"use strict";
// All nights of the telescopes that this page is for: each writes its own data, which load as scripts.
// Those of the newest years are loaded and shown first.

const LONGEST_SILENCE = 36 * 3600e3, RECENT = 180, MOST_FOUND = 300, ROLLING = 30, FORGOTTEN = 4;
const NEWEST_YEARS = 2;  // hold the last 12 months and the last 90 nights
const LATEST = "the last 12 months";
const CELL = 11, LEFT = 14, TOP = 12;
const METRICS = {
  state: ["State"], science_h: ["Hours of science", 1], fwhm: ["FWHM, ″", 2], zero_point: ["Zero point, mag", 2], sky: ["Sky, ADU/s", 0],
  faulty: ["Frames held back", 0], bias: ["Bias level, ADU", 0], read_noise: ["Read noise, ADU", 2],
};
const TRENDS = [
  ["fwhm", "Median FWHM of each night, ″", 2], ["zero_point", "Zero point, mag: falls with dust, cloud and ageing mirrors", 2], ["bias", "Bias level, ADU", 0],
  ["read_noise", "Read noise, ADU", 2], ["science_h", "Hours of science", 1],
];
// Matplotlib's cividis, seven steps: light enough to dark for every kind of sight.
const CIVIDIS = ["#00224e", "#2a3f6d", "#575d6d", "#7d7c78", "#a59c74", "#d2c060", "#fee838"];
const COLOURS = 6;
const DAY = 86400000;

const telescopes = parsed("telescopes") || [];
const standings = {}, years = {}, broken = [];

// The data scripts call this; in what order they come is not known. The nights of a year become objects.
function site(name, value) {
  const [year] = name.match(/-\d{4}$/) || [], telescope = year ? name.slice(0, -year.length) : name;
  if (!year) { standings[name] = value; return; }
  const columns = Object.entries(value);
  years[name] = value.night.map((_, at) => {
    const one = {telescope};
    for (const [column, values] of columns) one[column] = values[at];
    return one;
  });
}

async function load(name) {
  await loadScript(`data/${name}.js`);
  if (!(name in years) && !(name in standings)) broken.push(`data/${name}.js`);
}

function yearsOf(telescope) { return (standings[telescope] || {years: []}).years; }
function loadYears(telescope, chosen) { return Promise.all(chosen.map((year) => load(`${telescope}-${year}`))); }

// Nights of a telescope that are known by now, oldest first.
function nightsOf(telescope) {
  return yearsOf(telescope).flatMap((year) => years[`${telescope}-${year}`] || []).sort((a, b) => (a.night < b.night ? -1 : 1));
}

const link = (one, ...children) => el("a", {href: `${one.telescope}/${one.night}/night.html`}, ...children);
const written = (night) => `${night.slice(0, 4)}-${night.slice(4, 6)}-${night.slice(6)}`;

function card(telescope, all) {
  const standing = standings[telescope], last = all[telescope][all[telescope].length - 1];
  if (!standing) return el("div", {class: "box failed"}, badge("failed"), " ", el("b", null, telescope), el("p", null, "its data cannot be read"));
  const success = standing.success ? Date.parse(standing.success) : null, silent = standing.scheduled && (success === null || Date.now() - success > LONGEST_SILENCE);
  const state = silent ? "failed" : last ? last.state : "none";
  const usual = last && median(all[telescope].slice(-90).map((one) => one.fwhm));
  const good = !standing.scheduled ? "runs by hand only" : success === null ? "no good run yet" : `last good run ${ago(success)} ago`;
  return el("div", {class: `box ${state}`}, badge(state), " ", el("b", null, el("a", {href: `${telescope}.html`}, telescope)),
    last ? [el("div", {class: "value"}, `${number(last.delivered)} of ${number(last.due)}`),
      el("div", {class: "small"}, "frames of ", link(last, written(last.night)), `, ${number(last.bytes / 1e9, 1)} GB`),
      el("div", {class: "small"}, last.science_h ? `${number(last.science_h, 1)} of ${number(last.dark_h, 1)} dark hours` : "no science",
        last.fwhm === null ? "" : ` · FWHM ${number(last.fwhm, 2)}″`, usual === null || last.fwhm === null ? "" : ` (usual ${number(usual, 2)}″)`)] : el("div", {class: "small"}, "no night yet"),
    el("div", {class: silent ? "small red" : "small"}, good));
}

function needs(all, whole) {
  const rows = [];
  const box = (state, telescope, ...words) => rows.push([["failed", "incomplete", "attention"].indexOf(state), el("div", {class: `box ${state}`}, badge(state), " ", el("b", null, telescope), " ", ...words)]);
  for (const telescope of telescopes) {
    const standing = standings[telescope], nights = all[telescope];
    if (!standing) continue;
    standing.problems.forEach((problem) => box("failed", telescope, el("span", {class: "wrap"}, problem), el("div", null, el("code", null, `tail -50 ${standing.workdir}/logs/run.log`))));
    nights.slice(-30).filter((one) => ["failed", "incomplete", "attention"].includes(one.state)).reverse()
      .forEach((one) => box(one.state, telescope, link(one, written(one.night)), ": ", el("span", {class: "wrap"}, one.headline)));
    const last = [...nights].reverse().find((one) => one.due), quiet = last && Math.floor((Date.now() - dateOf(last.night)) / DAY) - 1;
    if (last && quiet >= FORGOTTEN) box("attention", telescope, `no frames for ${quiet} nights, the last ones of `, link(last, written(last.night)));
  }
  if (!rows.length && !broken.length) return whole ? el("p", null, badge("ok"), " Nothing: every telescope is well.") : el("p", null, "Reading older nights …");
  return el("div", null, rows.sort((a, b) => a[0] - b[0]).map(([, node]) => node));
}

// The calendar: a year and telescope is one picture with a path for each class of nights.

function svg(tag, attributes, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

// Which nights a calendar shows: those of a year, or of the last twelve months.
function spanOf(choice, newest) {
  const from = choice === LATEST ? new Date(dateOf(newest).getTime() - 364 * DAY) : new Date(Date.UTC(+choice, 0, 1));
  return {from: nightOf(from), to: choice === LATEST ? newest : `${choice}1231`, monday: from.getTime() - (from.getUTCDay() + 6) % 7 * DAY};
}

function placeOf(night, span) {
  const day = Math.round((dateOf(night) - span.monday) / DAY);
  return [LEFT + Math.floor(day / 7) * CELL, TOP + (day % 7) * CELL];
}

const GLYPHS = {attention: "m4.5 2v3.5m0 1.2v1", incomplete: "m1.5 4.5h1.2m1 0h1.2m1 0h1.2", failed: "m2 2l5 5m0 -5l-5 5"};
const SQUARE = `h${CELL - 2}v${CELL - 2}h-${CELL - 2}z`;

const within = (night, span) => span.from <= night && night <= span.to;

function edgesOf(all, metric, span) {
  const values = telescopes.flatMap((telescope) => all[telescope].filter((one) => within(one.night, span)).map((one) => one[metric])).filter((value) => value !== null).sort((a, b) => a - b);
  if (!values.length) return null;
  const [low, high] = [quantile(values, 0.02), quantile(values, 0.98)];
  return CIVIDIS.map((_, step) => low + (high - low) * step / CIVIDIS.length);
}

function calendar(telescope, nights, span, metric, edges, say) {
  const mine = nights.filter((one) => within(one.night, span)), at = new Map(mine.map((one) => [one.night, one])), paths = {}, glyphs = [];
  const months = [];
  for (let day = dateOf(span.from), night = span.from; night <= span.to; day = new Date(day.getTime() + DAY), night = nightOf(day)) {
    const one = at.get(night), [x, y] = placeOf(night, span);
    if (day.getUTCDate() === 1) months.push(svg("text", {x: x + CELL, y: 8}, "JFMAMJJASOND"[day.getUTCMonth()]));
    let kind = one ? one.state : "none";
    if (metric !== "state") kind = !one || one[metric] === null || !edges ? "none" : String(Math.max(0, edges.findLastIndex((edge) => one[metric] >= edge)));
    (paths[kind] = paths[kind] || []).push(`M${x} ${y}${SQUARE}`);
    if (metric === "state" && GLYPHS[kind]) glyphs.push(`M${x} ${y}${GLYPHS[kind]}`);
  }
  const chosen = svg("path", {class: "chosen", d: ""});
  const picture = svg("svg", {class: "calendar", viewBox: `0 0 ${LEFT + 54 * CELL} ${TOP + 7 * CELL}`, "aria-hidden": "true"}, ...months,
    ...Object.entries(paths).map(([kind, cells]) => svg("path", kind in STATES ? {class: `cells-${kind}`, d: cells.join("")} : {fill: CIVIDIS[+kind], d: cells.join("")})),
    svg("path", {class: "glyphs", d: glyphs.join("")}), chosen);
  const holder = el("div", {class: "scroll", tabindex: 0, role: "group", "aria-label": `Nights of ${telescope}, ${written(span.from)} to ${written(span.to)}: arrow keys move, Enter opens`}, picture);
  let current = mine.length ? mine[mine.length - 1].night : span.from;
  function choose(night) {
    if (!within(night, span)) return;
    current = night;
    const [x, y] = placeOf(night, span), one = at.get(night);
    chosen.setAttribute("d", `M${x} ${y}${SQUARE}`);
    const value = one && metric !== "state" ? `, ${METRICS[metric][0]} ${one[metric] === null ? "not measured" : number(one[metric], METRICS[metric][1])}` : "";
    say(one ? `${telescope} ${written(night)}: ${STATES[one.state][1]}, ${number(one.delivered)} of ${number(one.due)} frames${value}` : `${telescope} ${written(night)}: no data`);
  }
  function nightAt(event) {
    const box = picture.getBoundingClientRect(), scale = (LEFT + 54 * CELL) / box.width;
    const week = Math.floor(((event.clientX - box.left) * scale - LEFT) / CELL), day = Math.floor(((event.clientY - box.top) * scale - TOP) / CELL);
    if (week < 0 || day < 0 || day > 6) return null;
    return nightOf(new Date(span.monday + (week * 7 + day) * DAY));
  }
  function open() { if (at.has(current)) location.href = `${telescope}/${current}/night.html`; }
  holder.addEventListener("focus", () => choose(current));
  picture.addEventListener("mousemove", (event) => { const night = nightAt(event); if (night) choose(night); });
  picture.addEventListener("click", (event) => { const night = nightAt(event); if (night) { choose(night); open(); } });
  holder.addEventListener("keydown", (event) => {
    const days = {ArrowUp: -1, ArrowDown: 1, ArrowLeft: -7, ArrowRight: 7}[event.key];
    if (days) { choose(nightOf(new Date(dateOf(current).getTime() + days * DAY))); event.preventDefault(); }
    if (event.key === "Enter") open();
  });
  return el("div", null, el("h3", null, telescope), holder);
}

function calendars(all) {
  const known = [...new Set(telescopes.flatMap(yearsOf))].sort().reverse();
  const year = el("select", {id: "year"}, [LATEST, ...known].map((one) => el("option", null, one)));
  const newest = telescopes.flatMap((telescope) => all[telescope].map((one) => one.night)).sort().pop();
  const metric = el("select", {id: "metric"}, Object.entries(METRICS).map(([name, [words]]) => el("option", {value: name}, words)));
  const legend = el("div", {class: "legend"}), pictures = el("div", {class: "calendars"}), said = el("p", {class: "quiet small", "aria-live": "polite"}, "Point at a night, or use the arrow keys; Enter opens it.");
  function show() {
    const span = spanOf(year.value, newest), edges = metric.value === "state" ? null : edgesOf(all, metric.value, span), digits = METRICS[metric.value][1];
    legend.replaceChildren(...(metric.value === "state" ? Object.keys(STATES).map((state) => el("span", null, badge(state), ` ${STATES[state][1]}`)) :
      (edges || []).map((edge, step) => el("span", null, el("i", {style: `background:${CIVIDIS[step]}`}), `from ${number(edge, digits)}`))));
    pictures.replaceChildren(...telescopes.map((telescope) => calendar(telescope, all[telescope], span, metric.value, edges, (words) => { said.textContent = words; })));
    for (const holder of pictures.querySelectorAll(".scroll")) holder.scrollLeft = year.value === LATEST ? holder.scrollWidth : 0;
  }
  year.addEventListener("change", show);
  metric.addEventListener("change", show);
  if (newest) requestAnimationFrame(show);
  return [el("h2", null, "Nights"), el("p", null, el("label", null, "Nights of ", year), el("label", null, "Show ", metric)), legend, pictures, said];
}

// Find a target or a date: the whole of it is a linear scan.

function finder(all) {
  const input = el("input", {id: "find", type: "search", placeholder: "TRAPPIST-1, 2024-06", autocomplete: "off"}), results = el("div", {"aria-live": "polite"});
  input.addEventListener("input", () => {
    const every = telescopes.flatMap((telescope) => all[telescope]).sort((a, b) => (a.night < b.night ? 1 : -1));
    const words = input.value.trim().toLowerCase(), date = words.replaceAll("-", "");
    if (words.length < 2) { results.replaceChildren(); return; }
    const isDate = /^\d{4,8}$/.test(date), hours = new Map(), found = [];
    for (const one of every) {
      const targets = Object.entries(one.targets).filter(([name]) => isDate ? one.night.startsWith(date) : name.toLowerCase().includes(words));
      if (!targets.length && !(isDate && one.night.startsWith(date))) continue;
      found.push([one, targets]);
      for (const [name, time] of targets) { const sum = hours.get(name) || [0, 0]; hours.set(name, [sum[0] + time, sum[1] + 1]); }
    }
    const totals = [...hours].sort((a, b) => b[1][0] - a[1][0]).slice(0, 20).map(([name, [time, count]]) => el("li", null, `${name}: ${number(time, 1)} h in ${plural(count, "night")}`));
    const rows = found.slice(0, MOST_FOUND).map(([one, targets]) => [link(one, written(one.night)), one.telescope, el("span", null, badge(one.state), ` ${STATES[one.state][1]}`), `${number(one.delivered)} of ${number(one.due)}`,
      number(one.science_h, 1), number(one.fwhm, 2), targets.map(([name, time]) => `${name} ${number(time, 1)} h`).join(", ")]);
    results.replaceChildren(el("p", null, plural(found.length, "night")), el("ul", {class: "small"}, totals),
      table([["Night", null], ["Telescope", null], ["State", null], ["Frames", "n"], ["Science h", "n"], ["FWHM ″", "n"], ["Targets", "wrap"]], rows));
  });
  return [el("h2", null, "Find"), el("p", null, el("label", {for: "find"}, "Target or date"), input), results];
}

// Trends: a dot a night and a median of thirty; each camera that a telescope had is a series.

function rolling(values) {
  const recent = [], sorted = [];
  return values.map((value) => {
    if (value === null) return null;
    if (recent.push(value) > ROLLING) sorted.splice(sorted.indexOf(recent.shift()), 1);
    let at = sorted.length;
    while (at && sorted[at - 1] > value) at -= 1;
    sorted.splice(at, 0, value);
    return sorted.length < 8 ? null : sorted[sorted.length >> 1];
  });
}

function trends(all, parent) {
  const every = telescopes.flatMap((telescope) => all[telescope]);
  if (!every.length) return;
  const names = [...new Set(every.map((one) => one.night))].sort(), x = names.map((night) => dateOf(night) / 1000), rank = new Map(names.map((night, at) => [night, at]));
  const groups = new Map();
  for (const one of every) {
    const key = `${one.telescope} ${one.camera}`;
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(one);
  }
  const seen = {}, keyed = [...groups].map(([name, nights]) => {
    const {telescope} = nights[0];
    seen[telescope] = (seen[telescope] || 0) + 1;
    return {name, nights, colour: `--t${(standings[telescope].colour || 0) % COLOURS}`, hollow: seen[telescope] > 1};
  });
  parent.append(el("div", {class: "keys"}, keyed.map((one) => el("span", null, el("i", {style: `border-color:var(${one.colour});background:${one.hollow ? "none" : `var(${one.colour})`}`}), one.name))));
  const whole = {min: x[0] - 86400, max: x[x.length - 1] + 86400}, last = {min: Math.max(whole.min, whole.max - RECENT * 86400), max: whole.max};
  const width = parent.clientWidth;
  const drawn = TRENDS.map(([metric, title, digits]) => {
    const series = keyed.flatMap(({name, nights, colour, hollow}) => {
      const values = Array(x.length).fill(null), line = Array(x.length).fill(null), own = nights.map((one) => one[metric]), smooth = rolling(own);
      nights.forEach((one, at) => { values[rank.get(one.night)] = own[at]; line[rank.get(one.night)] = smooth[at]; });
      return own.some((value) => value !== null) ? [{name, colour, hollow, values}, {name: `${name}, median`, colour, line: true, values: line}] : [];
    });
    return series.length ? chart(parent, {title, width, x, series, digits, sync: "trends", dates: true, size: 3, view: last}) : null;
  }).filter(Boolean);
  const button = el("button", {type: "button"}, "Show all years");
  let everything = false;
  button.addEventListener("click", () => {
    everything = !everything;
    button.textContent = everything ? `Show the last ${RECENT} days` : "Show all years";
    drawn.forEach((plot) => plot.setScale("x", everything ? whole : last));
  });
  parent.prepend(el("p", {class: "quiet small"}, "Drag to zoom, double click to see all. A line is the median of 30 nights. As tables: ",
    ...telescopes.flatMap((one, at) => [at ? ", " : "", el("a", {href: `${one}.csv`}, `${one}.csv`)]), "."), button);
}

function readNights(all) {
  for (const telescope of telescopes) all[telescope] = nightsOf(telescope);
  return all;
}

let reported = 0;
function reportBroken() {
  const names = broken.slice(reported);
  reported = broken.length;
  if (names.length || !telescopes.length) alertOf(`Damaged or missing: ${names.join(", ") || "the list of telescopes"}. What it says of other telescopes is right; the next run writes the file again.`);
}

// Today and what needs attention: both may change once older nights are known.
function today(all, whole) {
  return [el("h2", null, "Today"), el("div", {class: "cards"}, telescopes.map((telescope) => card(telescope, all))), el("h2", null, "Needs attention"), needs(all, whole)];
}

function older(telescope) { return yearsOf(telescope).slice(0, -NEWEST_YEARS); }

async function start() {
  await Promise.all(telescopes.map(async (telescope) => {
    await load(telescope);
    await loadYears(telescope, yearsOf(telescope).slice(-NEWEST_YEARS));
  }));
  const all = readNights({}), first = el("div"), curves = el("div"), more = telescopes.some((telescope) => older(telescope).length);
  const alone = telescopes.length === 1, newest = Math.max(...Object.values(standings).map((one) => Date.parse(one.written)));
  const old = Object.keys(standings).length && Date.now() - newest > LONGEST_SILENCE;
  first.append(...today(all, !more));
  page.replaceChildren(...document.querySelectorAll("[role=alert]"), ...[
    alone ? el("nav", {"aria-label": "Pages"}, el("a", {href: "index.html"}, "All telescopes")) : null,
    el("h1", null, alone ? telescopes[0] : "SPECULOOS to ESO"),
    Object.keys(standings).length ? el("p", {class: old ? "red" : "quiet small"}, `Data written ${ago(newest)} ago.`) : null,
    first, ...calendars(all), ...finder(all), el("h2", null, "Trends"), curves].filter(Boolean));
  reportBroken();
  root.dataset.ready = "first";
  await shown();
  if (more) {
    await Promise.all(telescopes.map((telescope) => loadYears(telescope, older(telescope))));
    first.replaceChildren(...today(readNights(all), true));
    reportBroken();
    // What was asked for meanwhile has found the newest years only.
    const [find, year] = ["find", "year"].map((id) => document.getElementById(id));
    if (find.value) find.dispatchEvent(new Event("input"));
    if (year.value !== LATEST) year.dispatchEvent(new Event("change"));
  }
  // The library of the charts is a text of the page until they are drawn: what is seen first does not wait for it.
  document.head.append(el("script", null, document.getElementById("library").textContent));
  trends(all, curves);
  root.dataset.ready = "all";
}

start();
