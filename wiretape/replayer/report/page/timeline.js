// What was asked of the service and what it asked, over time: one lane each.
"use strict";

const LANE = 22, LABEL = 190, AXIS = 20, MAX_LANES = 9;
const WORST = ["not_run", "same", "answered", "outside", "moved", "out", "unfit", "unanswered", "missing", "differs"];

// Bars of one lane; where several fall on one pixel they are one, as bad as the worst.
function laneBars(items, from, scale, top) {
  const columns = new Map();
  for (const item of items) {
    const x = Math.floor((item.at - from) * scale);
    const wide = Math.max(2, item.took * scale);
    const known = columns.get(x);
    if (known === undefined) columns.set(x, { ...item, x, wide, more: 0 });
    else {
      const worse = WORST.indexOf(item.state) > WORST.indexOf(known.state);
      columns.set(x, { ...(worse ? item : known), x, wide: Math.max(wide, known.wide), more: known.more + 1 });
    }
  }
  return [...columns.values()].map((item) => draw("rect", {
    class: `bar ${item.state}`, x: LABEL + item.x, y: top + 4, width: item.wide.toFixed(1), height: LANE - 8, rx: 1.5,
    "data-position": item.position >= 0 ? item.position : null,
  }, draw("title", {}, `${item.text}${item.more ? ` and ${item.more} more here` : ""}\n${item.state.replace("_", " ")}, ${took(item.took) || "no time"}`)));
}

function timeScale(svg, from, span, width, height) {
  const room = width - LABEL - 10;
  const step = niceStep(span / 6);
  for (let at = 0; at <= span; at += step) {
    const x = LABEL + (at / span) * room;
    svg.append(draw("line", { class: "grid", x1: x, x2: x, y1: 0, y2: height - AXIS }),
      draw("text", { class: "axis", x, y: height - 5, "text-anchor": at === 0 ? "start" : "middle" }, at === 0 ? "0" : took(at)));
  }
}
function niceStep(rough) {
  const power = 10 ** Math.floor(Math.log10(Math.max(rough, 1)));
  return [1, 2, 5, 10].map((n) => n * power).find((step) => step >= rough);
}

// `lanes`: [[label, items]]; an item is {at, took, state, text, position}, times in µs.
function drawTimeline(holder, lanes) {
  const items = lanes.flatMap(([, listed]) => listed);
  holder.replaceChildren();
  if (items.length === 0) {
    holder.append(make("p", { class: "empty" }, "Nothing of this took place."));
    return;
  }
  const from = items.reduce((least, item) => Math.min(least, item.at), Infinity);
  const span = Math.max(1, items.reduce((most, item) => Math.max(most, item.at + item.took), 0) - from);
  const width = Math.max(480, holder.clientWidth || 1200);
  const height = lanes.length * LANE + AXIS;
  const svg = draw("svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });
  lanes.forEach(([label, listed], place) => {
    const top = place * LANE;
    svg.append(draw("rect", { class: "lane", x: LABEL, y: top + 2, width: width - LABEL - 10, height: LANE - 4, rx: 3 }));
    const short = label.length > 27 ? label.slice(0, 26) + "…" : label;
    svg.append(draw("text", { x: 0, y: top + 15 }, short, draw("title", {}, label)));
  });
  timeScale(svg, from, span, width, height);
  lanes.forEach(([, listed], place) => {
    svg.append(...laneBars(listed, from, (width - LABEL - 10) / span, place * LANE));
  });
  holder.append(svg);
}

// Lanes of the whole run; side is "live" or "recorded".
function runLanes(data, side) {
  const inbound = data.rows.map((row, position) => ({
    at: side === "live" ? row.live_at : row.recorded_at, took: side === "live" ? row.live : row.recorded,
    state: row.state, text: `${position + 1}  ${row.method} ${row.target}`, position,
  }));
  const lanes = new Map();
  for (const call of data.calls) {
    const at = side === "live" ? call.live_at : call.recorded_at;
    if (at === null) continue;
    if (!lanes.has(call.upstream)) lanes.set(call.upstream, []);
    lanes.get(call.upstream).push({
      at, took: side === "live" ? call.live : call.recorded, state: call.state, text: call.call, position: call.position,
    });
  }
  const named = [...lanes].sort((a, b) => (a[0] < b[0] ? -1 : 1));
  const rest = named.splice(MAX_LANES - 1).flatMap(([, listed]) => listed);
  if (rest.length > 0) named.push(["other upstreams", rest]);
  return [["inbound", inbound.filter((item) => item.at !== null)], ...named];
}

// One exchange and its calls, recorded above live.
function exchangeLanes(data, row, side) {
  const at = side === "live" ? row.live_at : row.recorded_at;
  if (at === null) return [];
  const calls = data.calls.filter((call) => call.position === row.position);
  return [
    [side, [{ at: 0, took: side === "live" ? row.live : row.recorded, state: row.state, text: `${row.method} ${row.target}`, position: -1 }]],
    ...calls.filter((call) => (side === "live" ? call.live_at : call.recorded_at) !== null).map((call) => [
      `↳ ${call.upstream.replace(/:80$/, "")} ${call.call}`,
      [{ at: (side === "live" ? call.live_at : call.recorded_at) - at, took: side === "live" ? call.live : call.recorded, state: call.state, text: call.call, position: -1 }],
    ]),
  ];
}
