"use strict";
// The page of a night, drawn from its data.

const CHARTS = [
  ["fwhm", "FWHM, ″", 2], ["zero_point", "Zero point, mag: lower is cloud", 2], ["sky", "Sky, ADU/s", 1],
  ["ra_offset", "Pointing in RA, ″ from the sequence's median", 1], ["dec_offset", "Pointing in DEC, ″ from the sequence's median", 1],
  ["rms", "Residual of the stars, ″", 3],
];
const CALIBRATION = "--cal";
const seconds = (time) => Date.parse(time) / 1000;

function targetsOf(night) {
  const names = [...new Set(night.sequences.filter((one) => one.kind === "science").map((one) => one.target))];
  return new Map(names.map((name, at) => [name, {name, colour: `--t${at % 4}`, hollow: at % 8 >= 4}]));
}

function header(night) {
  const begin = dateOf(night.night), end = new Date(begin.getTime() + 86400000);
  const form = (date) => `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}`;
  const same = begin.getUTCMonth() === end.getUTCMonth();
  const words = `${same ? begin.getUTCDate() : form(begin)}–${form(end)} ${end.getUTCFullYear()}`;
  document.title = `${STATES[night.state][0]} ${night.telescope} ${night.night}`;
  return [
    el("nav", {id: "links", "aria-label": "Nights"}, el("a", {href: "night.json"}, "night.json")),
    el("h1", null, `${night.telescope}, night of ${words}`),
    el("p", {class: "quiet small"}, [`Night ${night.night}`, night.camera, ...night.programmes.map((id) => `programme ${id}`),
      `made ${night.made.slice(0, 16).replace("T", " ")} UTC by speculoos-archive ${night.version}`].join(" · ")),
  ];
}

function verdict(night) {
  const at = night.headline.indexOf(". ") + 1;
  const [first, rest] = at ? [night.headline.slice(0, at), night.headline.slice(at)] : [night.headline, ""];
  return el("div", {class: `box verdict ${night.state}`}, badge(night.state), " ", el("b", null, first), rest);
}

function failures(night) {
  return night.failed.map((job) => el("div", {class: "box failed"}, badge("failed"), " ", el("b", {class: "wrap"}, `${job.rule} ${job.what}`),
    el("p", {class: "wrap"}, job.error), job.log ? el("p", null, el("code", null, `tail -50 ${job.log}`)) : null,
    job.tail.length ? el("details", null, el("summary", null, "The last lines of its log"), el("pre", {class: "quiet"}, job.tail.join("\n"))) : null));
}

// How fast the telescope leaves its target, arcsec an hour: the fastest sequence, by the medians of its ends.
function drift({frames}) {
  const rates = [...new Set(frames.sequence)].map((index) => {
    const rows = [...frames.t.keys()].filter((row) => frames.sequence[row] === index && frames.ra_offset[row] !== null);
    const tenth = Math.ceil(rows.length / 10), ends = [rows.slice(0, tenth), rows.slice(-tenth)];
    const moved = (name) => median(ends[1].map((row) => frames[name][row])) - median(ends[0].map((row) => frames[name][row]));
    const hours = rows.length < 20 ? 0 : (frames.t[ends[1][0]] - frames.t[ends[0][0]]) / 3600;
    return hours < 0.2 ? null : Math.hypot(moved("ra_offset"), moved("dec_offset")) / hours;
  }).filter((rate) => rate !== null);
  return rates.length ? `drift ${number(Math.max(...rates), 1)}″/h` : "";
}

function tiles(night) {
  const {counts, times, sky, usual, eso} = night, bias = night.calibration.bias;
  const typical = (name, digits) => usual[name] ? `usual ${range(usual[name], digits)}` : "";
  const gigabytes = `${number(counts.bytes / 1e9, 2)} GB`;
  const tile = (label, value, ...sub) => el("div", {class: "tile"}, el("div", {class: "label"}, label), el("div", {class: "value"}, value || "–"),
    el("div", {class: "sub"}, sub.filter(Boolean).join("; ")));
  const lacking = night.calibration.serves.some((one) => !(one.bias && one.dark && one.flat));
  const share = times.dark_h ? `${Math.round(100 * times.science_h / times.dark_h)} %` : "";
  const clear = night.transparency;
  return el("div", {class: "tiles"},
    tile("Delivered", number(counts.delivered), `of ${number(counts.due)} frames`, gigabytes),
    tile("At ESO", eso ? `${eso.confirmed} of ${counts.products}` : "", eso ? [eso.missing && `${eso.missing} missing`, eso.different && `${eso.different} different`,
      eso.waiting && `${eso.waiting} waiting`, `asked ${eso.asked.slice(0, 16).replace("T", " ")}`].filter(Boolean).join(", ") : "not asked yet"),
    tile("Science", times.science_h ? `${number(times.science_h, 1)} h` : "", times.dark_h && `of ${number(times.dark_h, 1)} dark hours, ${share}`, typical("science_h", 1)),
    tile("FWHM", sky.fwhm && `${number(sky.fwhm[1], 2)}″`, sky.fwhm ? typical("fwhm", 2) : "not measured"),
    tile("Transparency", clear && `${number(clear.worst, 2)} mag`, clear ? `at worst; median ${number(clear.median, 2)}` : "not measured"),
    tile("Sky", sky.sky && `${number(sky.sky[1], sky.sky[1] < 10 ? 1 : 0)} ADU/s`, sky.sky ? typical("sky", 1) : "not measured"),
    tile("Pointing", sky.offset && `${number(sky.offset[1], 0)}″`, sky.offset ? "from RA, DEC" : "not measured", drift(night), typical("offset", 0)),
    tile("Calibrations", night.calibration.serves.length ? (lacking ? "some missing" : "complete") : bias ? "taken" : "", bias && bias.level !== null && `bias ${number(bias.level)} ADU`,
      bias && bias.noise !== null && `noise ${number(bias.noise, 1)}`));
}

function todo(night) {
  const items = night.attention.filter((one) => one.code !== "job"), states = {note: "none"};
  if (!items.length) return [];
  return [el("h2", null, "To do"), ...items.map((one) => {
    const state = states[one.severity] || one.severity;
    return el("div", {class: `box ${state}`}, badge(state), " ", el("span", {class: "wrap"}, one.words),
      one.command ? el("div", null, el("code", null, one.command)) : null, one.guide ? el("div", {class: "quiet small"}, `see ${one.guide}`) : null);
  })];
}

// Exposures that follow each other are one bar.
function bars(times, exptime) {
  const found = [], longest = Math.max(300, 2 * exptime);
  for (const time of times) {
    const last = found[found.length - 1];
    if (last && time - last[1] < longest) last[1] = time + exptime;
    else found.push([time, time + exptime]);
  }
  return found;
}

function timeline(night, targets) {
  const {times, frames} = night, begin = seconds(frames.begin);
  const known = night.sequences.flatMap((one) => [seconds(one.begin), seconds(one.end)]);
  if (!known.length) return [];
  const edges = [times.sunset, times.sunrise].filter(Boolean).map(seconds);
  const from = Math.max(Math.min(...known, ...edges), (edges[0] || -Infinity) - 7200), to = Math.max(...known, ...edges);
  const at = (time) => 100 * (Math.min(Math.max(time, from), to) - from) / (to - from);
  const dusk = times.dusk18 ? [at(seconds(times.dusk18)), at(seconds(times.dawn18))] : [0, 100];
  const shade = `background:linear-gradient(to right,var(--dusk) ${dusk[0]}%,transparent ${dusk[0]}% ${dusk[1]}%,var(--dusk) ${dusk[1]}%)`;
  const rows = [];
  const lane = (name, items) => rows.push(el("div", {class: "name"}, name), el("div", {class: "lane", style: shade}, items));
  const bar = (span, colour, title) => el("span", {style: `left:${at(span[0]).toFixed(2)}%;width:${Math.max(0.15, at(span[1]) - at(span[0])).toFixed(2)}%;background:var(${colour})`, title});
  const gaps = night.gaps.map((gap) => el("span", {class: "gap", style: `left:${at(seconds(gap.begin)).toFixed(2)}%;width:${(at(seconds(gap.end)) - at(seconds(gap.begin))).toFixed(2)}%`,
    title: `no science ${gap.begin.slice(11, 16)} to ${gap.end.slice(11, 16)} UTC`}, gap.minutes >= 40 ? el("b", null, `${gap.minutes} min`) : null));
  for (const target of targets.values()) {
    const items = [], lost = new Set();
    night.sequences.forEach((one, index) => {
      if (one.kind !== "science" || one.target !== target.name) return;
      const mine = frames.t.filter((_, row) => frames.sequence[row] === index).map((time) => begin + time);
      items.push(...bars(mine, one.exptime).map((span) => bar(span, target.colour, `${one.name}, ${clock(span[0])} to ${clock(span[1])} UTC`)));
      frames.t.forEach((time, row) => { if (frames.sequence[row] === index && frames.solved[row] === 0) lost.add(Math.round(2 * at(begin + time)) / 2); });
    });
    lane(target.name, [...items, ...[...lost].map((left) => el("span", {class: "cross", style: `left:${left}%`, title: "unsolved"}, "✕"))]);
  }
  const calibrations = night.sequences.filter((one) => one.kind !== "science" && seconds(one.end) >= from && seconds(one.begin) <= to);
  if (calibrations.length)
    lane("calibrations", calibrations.map((one) => bar([seconds(one.begin), seconds(one.end)], CALIBRATION, `${one.name}, ${one.begin.slice(11, 16)} UTC`)));
  if (gaps.length) lane("dark, no science", gaps);
  const hours = [];
  for (let hour = Math.ceil(from / 3600) * 3600; hour <= to; hour += 3600)
    if (at(hour) > 2 && at(hour) < 98) hours.push(el("span", {style: `left:${at(hour).toFixed(2)}%`}, clock(hour).slice(0, 2)));
  rows.push(el("div", {class: "name quiet small"}, "UTC; grey is twilight"), el("div", {class: "lane hours"}, hours));
  return [el("h2", null, "Through the night"), el("div", {class: "lanes"}, rows)];
}

function keys(targets) {
  return el("div", {class: "keys"}, [...targets.values()].map((one) =>
    el("span", {class: "wrap"}, el("i", {style: `border-color:var(${one.colour});background:${one.hollow ? "none" : `var(${one.colour})`}`}), one.name)));
}

function charts(night, targets, parent) {
  const {frames, sequences, usual} = night, x = frames.t.map((time) => seconds(frames.begin) + time);
  const measured = CHARTS.filter(([name]) => frames[name].some((value) => value !== null));
  if (!measured.length) return;
  const mine = frames.sequence.map((index) => targets.get(sequences[index].target));
  parent.append(el("p", {class: "quiet small screen"}, "Drag to zoom all charts, double click to see all. Grey band: what is usual, half of the last 90 nights. ▲ lies outside."), keys(targets));
  const width = parent.clientWidth;
  for (const [name, title, digits] of measured) {
    const series = [...targets.values()].map((one) => ({...one, values: frames[name].map((value, row) => mine[row] === one ? value : null)}));
    chart(parent, {title, width, x, series: series.filter((one) => one.values.some((value) => value !== null)), band: usual[name], digits, sync: "night", size: x.length > 600 ? 3 : 4.5});
  }
  const halves = new Map();
  x.forEach((time, row) => { const half = 1800 * Math.floor(time / 1800); halves.set(half, [...(halves.get(half) || []), row]); });
  const rows = [...halves].map(([half, members]) => [clock(half), [...new Set(members.map((row) => mine[row].name))].join(", "), number(members.length),
    ...measured.map(([name, , digits]) => number(median(members.map((row) => frames[name][row])), digits))]);
  parent.append(el("details", null, el("summary", null, "As a table: medians of each half hour"),
    table([["UTC", null], ["Target", "wrap"], ["Frames", "n"], ...measured.map(([, title]) => [title.replace(/:.*| from.*/, ""), "n"])], rows)));
}

function esoState(one, asked) {
  const [states, of] = [one.eso, one.products.length], wrong = (states.missing || 0) + (states.different || 0);
  const say = (state, words) => [el("span", null, badge(state), ` ${words}`)];
  if (one.delivered < one.frames) return say("incomplete", `${number(one.frames - one.delivered)} not delivered`);
  if (!asked) return ["not asked yet"];
  if (wrong) return say("attention", `${plural(wrong, "product")} not right`);
  return states.confirmed === of ? say("ok", "confirmed") : say("incomplete", `${states.confirmed || 0} of ${of} confirmed`);
}

function productNames(one) {
  if (one.products.length === 1) return [el("div", {class: "small wrap"}, one.products[0])];
  return [el("details", null, el("summary", null, plural(one.products.length, "product")), el("div", {class: "small wrap"}, one.products.join(" ")))];
}

function shots(name, thumbnails) {
  return Object.entries(thumbnails || {}).filter(([file]) => file.startsWith(`${name}_`) && /^\d{5}\.jpg$/.test(file.slice(name.length + 1)))
    .map(([file, source]) => el("img", {src: source, alt: `frame ${+file.slice(-9, -4) + 1} of ${name}`}));
}

function sequenceTable(night, thumbnails) {
  const science = night.sequences.filter((one) => one.kind === "science");
  if (!science.length) return [];
  const columns = [["First, middle, last", "shots"], ["Target", "wrap"], ["Filter", null], ["Exp. s", "n"], ["Frames", "n"], ["UTC", "n"], ["Solved", "n"], ["FWHM ″", "n"],
    ["Zero point", "n"], ["Pointing ″", "n"], ["ESO", null], ["Product", "wrap"]];
  const shown = columns.map(([title]) => title !== "Zero point" || science.some((one) => one.zero_point !== null));
  const only = (cells) => cells.filter((_, at) => shown[at]);
  return [el("h2", null, "Sequences"), table(only(columns), science.map((one) => only([shots(one.name, thumbnails), one.target, one.filter, number(one.exptime, one.exptime % 1 ? 1 : 0), number(one.frames),
    `${one.begin.slice(11, 16)}–${one.end.slice(11, 16)}`, one.to_solve ? number(one.solved) : "", number(one.fwhm, 2), number(one.zero_point, 2), number(one.offset, 0),
    esoState(one, night.eso), [...productNames(one), ...one.warned.map((words) => el("div", {class: "small wrap"}, `warning: ${one.products.length === 1 ? words.replace(`${one.products[0]}: `, "") : words}`))]])))];
}

function calibrationTable(night, thumbnails) {
  const {bias, dark, flat, serves} = night.calibration, usual = night.usual;
  const rows = [...(bias ? [["bias", bias]] : []), ...dark.map((one) => ["dark", one]), ...flat.map((one) => [`flat ${one.filter}`, one])];
  if (!rows.length) return [];
  const of = (one) => night.sequences.filter((other) => (one.sequences || [one.sequence]).includes(other.name));
  const served = (kind, one) => kind === "bias" ? "all" : serves.filter((setup) => kind === "dark" ? setup.exptime === one.exptime[0] : setup.filter === one.filter)
    .map((setup) => `${setup.filter} ${setup.exptime} s`).join(", ");
  const lines = rows.map(([kind, one]) => [(one.sequences || [one.sequence]).flatMap((name) => shots(name, thumbnails)), kind, range(one.exptime, one.exptime[1] % 1 ? 1 : 0), number(one.frames), range(one.levels),
    kind === "bias" ? range(usual.bias) : "", number(one.noise, 1), number(one.rate, 2), served(kind, one) || "no science of this night", of(one).flatMap(productNames)]);
  const missing = serves.flatMap((setup) => ["bias", "dark", "flat"].filter((kind) => !setup[kind]).map((kind) => `no ${kind} for ${setup.filter} ${setup.exptime} s`));
  return [el("h2", null, "Calibrations"), missing.length ? el("p", null, badge("attention"), ` ${missing.join("; ")}`) : null,
    table([["Picture", "shots"], ["Kind", null], ["Exp. s", "n"], ["Frames", "n"], ["Level ADU", "n"], ["Usual", "n"], ["Noise ADU", "n"], ["Rate ADU/s", "n"], ["Serves", "wrap"], ["Product", "wrap"]], lines)];
}

function groupTable(groups) {
  const rows = groups.flatMap((group) => [...group.files.map(([file, detail]) => [file, detail ? `${group.reason}: ${detail}` : group.reason]),
    ...(group.count > group.files.length ? [[`and ${number(group.count - group.files.length)} more`, `${group.reason}: see frames.csv`]] : [])]);
  return pairs(rows);
}

function pairs(rows) {
  const node = table([["Raw frame", "wrap"], ["Reason", "wrap"]], rows);
  node.classList.add("pairs");
  return node;
}

function undelivered(night) {
  const {faulty, engineering, unsolved} = night.undelivered, {counts} = night;
  const parts = [];
  if (faulty.length) parts.push(el("h3", null, `${number(counts.faulty)} held back`), groupTable(faulty));
  if (unsolved.length) parts.push(el("details", {open: unsolved.length <= 10}, el("summary", null, `${number(counts.unsolved)} unsolved: delivered without sky coordinates, unless held back`), pairs(unsolved)));
  if (engineering.length) parts.push(el("details", null, el("summary", null, `✓ ${number(counts.engineering)} not meant for ESO: ${engineering.map((group) => `${group.count} ${group.reason}`).join(", ")}`), groupTable(engineering)));
  return parts.length ? [el("h2", null, "Not delivered"), ...parts] : [];
}

// Where the page lies among the tables of its night they can be opened; a copy only names them.
function files(night) {
  const here = decodeURI(location.pathname).startsWith(`${night.folder}/`);
  const list = [["frames.csv", "every raw frame"], ["summary.txt", "plain summary"], ["solved/", "plate solutions"], ["archived/", "receipts"], ["confirmed.csv", "what ESO shows"], ["logs/", "logs of the jobs"]]
    .filter(([name]) => name !== "confirmed.csv" || night.eso);
  return [el("h2", null, "Files"), el("p", {class: "small wrap"}, night.folder),
    el("ul", {class: "small"}, list.map(([name, words]) => el("li", null, here ? el("a", {href: name}, name) : name, `: ${words}`)))];
}

// nights.js, beside the folders of all nights, calls this; a page that was mailed has none.
function nights(names, index) {
  const at = names.indexOf(night.night);
  const link = (name, words) => el("a", {href: `../${name}/night.html`, rel: words[0] === "←" ? "prev" : "next"}, words);
  document.getElementById("links").prepend(...[at > 0 ? link(names[at - 1], `← ${names[at - 1]}`) : null,
    at >= 0 && at < names.length - 1 ? link(names[at + 1], `${names[at + 1]} →`) : null, index ? el("a", {href: index}, "All nights") : null].filter(Boolean));
}

const night = parsed("data"), thumbnails = parsed("thumbnails");
if (night) {
  const targets = targetsOf(night), curves = el("div");
  page.replaceChildren(...document.querySelectorAll("[role=alert]"), ...[...header(night), verdict(night), ...failures(night), tiles(night), ...todo(night), ...timeline(night, targets), curves,
    ...sequenceTable(night, thumbnails), ...calibrationTable(night, thumbnails), ...undelivered(night), ...files(night)].filter(Boolean));
  charts(night, targets, curves);
  if (location.protocol === "file:" || location.pathname.endsWith("/night.html")) loadScript("../nights.js");
}
