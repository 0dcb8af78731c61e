"use strict";
const NAMES = ["overlay", "rgb", "thermal"];
const STAGE_COLORS = ["#7d8691", "#5a6068", "#b58900", "#6c71c4", "#2aa198", "#d0568e", "#859900"];
const GAP_S = 1.5; // longer pauses between frames show as gaps
const LOST_MS = 3000; // the view speaks at least twice a second
const $ = id => document.getElementById(id);
const style = getComputedStyle(document.documentElement);
const color = name => style.getPropertyValue("--" + (name || "none")).trim() || style.getPropertyValue("--none").trim();
let records = [], last = null, words = {modes: {}, reasons: {}};

function element(kind, text, parent) {
  const made = document.createElement(kind);
  if (text !== undefined) made.textContent = text;
  if (parent) parent.appendChild(made);
  return made;
}

// Images: each is asked for when it is new and the one before has been drawn, so that a slow
// connection skips images instead of queueing them.
const shown = {}, busy = {};
async function load(name, sequence) {
  if (busy[name] || sequence === shown[name]) return;
  busy[name] = true;
  try {
    const reply = await fetch(name + ".jpg?" + sequence);
    if (!reply.ok) return;
    const image = document.querySelector(`#${name} img`), before = image.src;
    image.src = URL.createObjectURL(await reply.blob());
    await image.decode();
    image.hidden = false;
    if (before) URL.revokeObjectURL(before);
  } catch (error) {
    // The event stream tells when the connection is gone.
  } finally {
    shown[name] = sequence;
    busy[name] = false;
  }
}

// The page's panel, and the mode in which its camera is left out.
const UNUSED = {rgb: "thermal_only", thermal: "optical_only"};

function showImages(images, status) {
  for (const name of NAMES) {
    const box = $(name), state = images[name];
    box.querySelector(".topic").textContent = state.topic;
    box.querySelector(".message").textContent = state.message;
    box.querySelector(".age").textContent = state.stale ? "stopped, last image shown"
      : status.mode && status.mode === UNUSED[name] ? "not used" : "";
    box.classList.toggle("stale", state.stale || (state.message !== "" && state.sequence > 0));
    if (state.sequence) load(name, state.sequence);
    else box.querySelector("img").hidden = true;
  }
}

function showStatus(status) {
  const silent = !status.mode;
  $("mode").dataset.mode = status.mode || "";
  $("mode").textContent = silent ? (status.answered ? "no answers" : "waiting") : status.mode_words;
  $("reason").textContent = silent ? (status.answered ? "for the last seconds" : "for the first answer") : status.reason_words;
  document.title = (silent ? "no answers" : status.mode_words) + " - csknet";
  $("rate").textContent = status.rate_hz.toFixed(1);
  $("latency").textContent = status.p50_ms === undefined ? "-" : `${status.p50_ms.toFixed(0)} / ${status.p95_ms.toFixed(0)} ms`;
  const dropped = status.dropped.reduce((sum, row) => sum + row[2], 0);
  $("answered").textContent = status.answered;
  $("dropped").textContent = dropped;
  $("engine").textContent = status.engine || "-";
  const rows = $("drops").tBodies[0];
  rows.replaceChildren();
  if (!dropped) element("td", "none", element("tr", undefined, rows)).className = "soft";
  for (const [reason, why, count] of status.dropped) {
    const row = element("tr", undefined, rows);
    for (const text of [count, reason, why]) element("td", text, row);
  }
  showStages(status.stages || []);
}

function showStages(stages) {
  const bar = document.createElement("div"), box = $("stages");
  box.replaceChildren(bar);
  stages.forEach(([name, ms], i) => {
    const part = element("i", undefined, bar);
    Object.assign(part.style, {flex: Math.max(ms, 0) + " 0 0", background: STAGE_COLORS[i], margin: 0, borderRadius: 0});
    if (ms < 0.05) return;
    const label = element("span", undefined, box);
    element("i", undefined, label).style.background = STAGE_COLORS[i];
    label.append(`${name} ${ms.toFixed(1)} ms`);
  });
}

function showLegend(classes) {
  const key = JSON.stringify(classes);
  if ($("legend").dataset.key === key) return;
  $("legend").dataset.key = key;
  $("legend").replaceChildren();
  for (const {name, color: [r, g, b]} of classes) {
    const item = element("li", undefined, $("legend"));
    element("i", undefined, item).style.background = `rgb(${r}, ${g}, ${b})`;
    item.append(name.replaceAll("_", " "));
  }
}

// The timeline: a record is [time, mode, reason, total ms, inference ms]; no mode means dropped.
function draw() {
  if (!last) return;
  const canvas = $("timeline"), scale = devicePixelRatio || 1;
  const width = canvas.clientWidth, height = canvas.clientHeight;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const g = canvas.getContext("2d");
  g.scale(scale, scale);
  g.font = "12px system-ui, sans-serif";
  const left = 62, right = width - 6, start = last.now - last.history_s;
  const x = t => left + (right - left) * (t - start) / last.history_s;
  const answered = records.filter(record => record[1]);
  drawModes(g, answered, x, 4, 44);
  drawDrops(g, records.filter(record => !record[1]), x, 52, 10);
  drawLatency(g, answered, x, left, right, 72, height - 92);
  g.fillStyle = color("soft");
  g.textAlign = "center";
  for (let ago = 0; ago <= last.history_s; ago += last.history_s / 4)
    g.fillText(ago ? `${ago} s ago` : "now", Math.min(x(last.now - ago), right - 14) + (ago === last.history_s ? 22 : 0), height - 4);
}

// Return stretches without a gap in which record[column] is the same.
function runsOf(answered, column) {
  const runs = [];
  answered.forEach((record, i) => {
    const t = record[0], next = i + 1 < answered.length ? answered[i + 1][0] : last.now;
    const end = next - t > GAP_S ? t + GAP_S / 10 : next, run = runs[runs.length - 1];
    if (run && run.value === record[column] && t - run.end < 1e-6) run.end = end;
    else runs.push({start: t, end, value: record[column]});
  });
  return runs;
}

function drawModes(g, answered, x, top, height) {
  const write = (run, text, y) => {
    const room = x(run.end) - x(run.start) - 10;
    if (g.measureText(text).width > room) {
      while (text && g.measureText(text + "\u2026").width > room) text = text.slice(0, -1);
      if (text.length < 3) return;
      text += "\u2026";
    }
    g.fillText(text, x(run.start) + 6, y);
  };
  g.fillStyle = color("soft");
  g.textAlign = "left";
  g.fillText("mode", 0, top + height / 2 + 4);
  for (const run of runsOf(answered, 1)) {
    g.fillStyle = color(run.value);
    g.fillRect(x(run.start), top, Math.max(1, x(run.end) - x(run.start)), height);
    g.fillStyle = "#fff";
    write(run, words.modes[run.value] || run.value, top + 18);
  }
  for (const run of runsOf(answered, 2)) write(run, words.reasons[run.value] || run.value, top + 35);
}

function drawDrops(g, drops, x, top, height) {
  g.fillStyle = color("soft");
  g.textAlign = "left";
  g.fillText("dropped", 0, top + height);
  g.fillStyle = color("bad");
  for (const [t] of drops) g.fillRect(x(t) - 1, top, 2, height);
}

function drawLatency(g, answered, x, left, right, top, height) {
  const peak = answered.reduce((most, record) => Math.max(most, record[3]), 0);
  const step = 10 ** Math.floor(Math.log10(Math.max(peak, 1)));
  const most = Math.ceil(Math.max(peak, 1) / step) * step;
  const y = ms => top + height * (1 - ms / most);
  g.textAlign = "left";
  g.fillStyle = color("soft");
  g.fillText("latency", 0, top + 12);
  g.textAlign = "right";
  g.fillText(most + " ms", left - 6, top + 26);
  g.fillText("0", left - 6, top + height);
  g.fillStyle = color("line");
  for (const part of [0, 0.5, 1]) g.fillRect(left, y(most * part), right - left, 1);
  for (const [column, ink, name, offset] of [[4, STAGE_COLORS[5], "inference", 130], [3, "#e8eaed", "from arrival to answer", 0]]) {
    g.strokeStyle = g.fillStyle = ink;
    g.beginPath();
    let before = -Infinity;
    for (const record of answered) {
      if (record[0] - before > GAP_S) g.moveTo(x(record[0]), y(record[column]));
      else g.lineTo(x(record[0]), y(record[column]));
      before = record[0];
    }
    g.stroke();
    g.textAlign = "left";
    g.fillText(name, left + 6 + (offset ? 140 : 0), top + 12);
  }
}

let heard = performance.now();
function show(event) {
  heard = performance.now();
  last = JSON.parse(event.data);
  if (last.first) { records = []; words = last.words; }
  records.push(...last.records);
  const start = last.now - last.history_s;
  records = records.filter(record => record[0] >= start);
  showImages(last.images, last.status);
  showStatus(last.status);
  showBanner(last.silence);
  showLegend(last.classes);
  draw();
}

function showBanner(text) {
  // Changed only when it has to be: screen readers read it out every time.
  if ($("banner").textContent !== text) $("banner").textContent = text;
  $("banner").hidden = !text;
}

let events;
function connect() {
  events = new EventSource("events");
  events.onmessage = show;
  events.onerror = showLost;
}
// What is on the page must not be taken for the present.
function showLost() {
  $("mode").dataset.mode = "";
  $("mode").textContent = "no connection";
  $("reason").textContent = "what is shown is old";
  for (const name of NAMES) $(name).classList.add("stale");
  showBanner("The view does not answer; is it still running, and the network up? Trying again.");
}
// A network that just goes silent raises no error.
setInterval(() => { if (!document.hidden && performance.now() - heard > LOST_MS) showLost(); }, 500);
// A page nobody sees costs the robot nothing.
document.addEventListener("visibilitychange", () => {
  events.close();
  heard = performance.now();
  if (!document.hidden) connect();
});
addEventListener("resize", draw);
connect();
