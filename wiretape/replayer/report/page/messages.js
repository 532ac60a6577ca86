// Two messages side by side, as rows {left, right, mark, why, rule}. A side that has nothing is null.
// Marks come from the verdict alone: "bad" where it found a difference, "kept" where it accepted the
// value as generated, "loose" where the two are not equal and mean the same.
"use strict";

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/;
const LITERAL = /-?\d[\d.eE+-]*|true|false|null/y;
const STRING = /"(?:[^"\\\u0000-\u001f]|\\.)*"/y;
const MAX_DEPTH = 200;

// JSON with every literal as it is spelled; null where the text is no JSON.
function readJson(text) {
  let at = 0;
  const space = () => { while (" \t\r\n".includes(text[at]) && at < text.length) at++; };
  const token = (pattern) => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match === null) throw new SyntaxError("no JSON");
    at = pattern.lastIndex;
    return match[0];
  };
  const listed = (end, item) => {
    const items = [];
    at++;
    space();
    if (text[at] === end) { at++; return items; }
    for (;;) {
      items.push(item());
      space();
      if (text[at] === end) { at++; return items; }
      if (text[at] !== ",") throw new SyntaxError("no JSON");
      at++;
    }
  };
  const value = (depth) => {
    if (depth > MAX_DEPTH) throw new SyntaxError("too deep");
    space();
    if (text[at] === "{") {
      return { open: "{", close: "}", items: listed("}", () => {
        space();
        const name = token(STRING);
        space();
        if (text[at++] !== ":") throw new SyntaxError("no JSON");
        return [name, value(depth + 1)];
      }) };
    }
    if (text[at] === "[") {
      return { open: "[", close: "]", items: listed("]", () => ["", value(depth + 1)]) };
    }
    return { raw: text[at] === '"' ? token(STRING) : token(LITERAL) };
  };
  try {
    const found = value(0);
    space();
    return at === text.length ? found : null;
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}

// A JSON path in one spelling, and with every index as [*].
function spell(path) {
  return path.replace(/\['((?:[^'\\]|\\.)*)'\]/g, (_, name) => member(name));
}
function member(name) { return NAME.test(name) ? "." + name : `[${ascii(JSON.stringify(name))}]`; }
function ascii(text) {
  return text.replace(/[^\x00-\x7f]/g, (c) => "\\u" + c.charCodeAt(0).toString(16).padStart(4, "0"));
}
function general(path) { return path.replace(/\[\d+\]/g, "[*]"); }
function unquote(raw) { try { return JSON.parse(raw); } catch { return raw; } }

function jsonRows(recorded, live, marks) {
  const rows = [];
  const lines = (node, lead, depth, comma, out) => {
    const pad = "  ".repeat(depth);
    if (node.raw !== undefined || node.items.length === 0) {
      out.push(pad + lead + (node.raw ?? node.open + node.close) + comma);
      return out;
    }
    out.push(pad + lead + node.open);
    node.items.forEach(([name, item], place) => lines(
      item, name ? name + ": " : "", depth + 1, place + 1 < node.items.length ? "," : "", out));
    out.push(pad + node.close + comma);
    return out;
  };
  const row = (left, right, path) => {
    const bad = marks.differs.get(spell(path));
    const kept = left !== right && left !== null && right !== null && marks.accepted.get(general(path));
    rows.push({
      left, right,
      mark: bad ? "bad" : left === right ? "" : kept ? "kept" : "loose",
      why: bad ?? (kept || ""),
    });
  };
  const apart = (left, right, path, why) => {
    const mark = marks.differs.get(spell(path)) ?? why;
    for (let i = 0; i < Math.max(left.length, right.length); i++) {
      rows.push({
        left: left[i] ?? null, right: right[i] ?? null, mark: mark === undefined ? "loose" : "bad",
        why: i === 0 ? mark ?? "" : "",
      });
    }
  };
  const walk = (a, b, path, depth, leads, commas) => {
    const pad = "  ".repeat(depth);
    if (a.raw !== undefined && b.raw !== undefined) {
      row(pad + leads[0] + a.raw + commas[0], pad + leads[1] + b.raw + commas[1], path);
      return;
    }
    if (a.open !== b.open || a.items.length * b.items.length === 0) {
      apart(lines(a, leads[0], depth, commas[0], []), lines(b, leads[1], depth, commas[1], []), path);
      return;
    }
    rows.push({ left: pad + leads[0] + a.open, right: pad + leads[1] + b.open, mark: "", why: "" });
    const left = b.items.map((item, place) => ({ item, place, taken: false }));
    const byName = new Map(left.map((other) => [other.item[0], other]));
    a.items.forEach(([name, item], place) => {
      const here = path + (name ? member(unquote(name)) : `[${place}]`);
      const other = name ? byName.get(name) : left[place];
      const comma = place + 1 < a.items.length ? "," : "";
      if (other === undefined) {
        apart(lines(item, name ? name + ": " : "", depth + 1, comma, []), [], here);
        return;
      }
      other.taken = true;
      const lead = name ? name + ": " : "";
      // The comma says only how many follow, which is told by the rows.
      walk(item, other.item[1], here, depth + 1, [lead, lead], [comma, comma]);
    });
    left.filter((other) => !other.taken).forEach(({ item: [name, item], place }) => {
      const here = path + (name ? member(unquote(name)) : `[${place}]`);
      apart([], lines(item, name ? name + ": " : "", depth + 1, "", []), here);
    });
    rows.push({ left: pad + a.close + commas[0], right: pad + b.close + commas[1], mark: "", why: "" });
  };
  walk(recorded, live, "$", 0, ["", ""], ["", ""]);
  return rows;
}

// Lines that are the same stand beside each other (longest common subsequence, where it is cheap).
function textRows(recorded, live, mark) {
  const a = recorded.split("\n"), b = live.split("\n");
  let start = 0, end = 0;
  while (start < a.length && start < b.length && a[start] === b[start]) start++;
  while (end < a.length - start && end < b.length - start && a.at(-1 - end) === b.at(-1 - end)) end++;
  const rows = a.slice(0, start).map((line) => ({ left: line, right: line, mark: "", why: "" }));
  const left = a.slice(start, a.length - end), right = b.slice(start, b.length - end);
  const add = (l, r) => rows.push({ left: l, right: r, mark: l === r ? "" : mark, why: "" });
  if (left.length * right.length > 250000 || left.length === right.length) {
    for (let i = 0; i < Math.max(left.length, right.length); i++) add(left[i] ?? null, right[i] ?? null);
  } else {
    const wide = right.length + 1;
    const best = new Uint32Array((left.length + 1) * wide);
    for (let i = left.length - 1; i >= 0; i--) {
      for (let j = right.length - 1; j >= 0; j--) {
        best[i * wide + j] = left[i] === right[j] ? best[(i + 1) * wide + j + 1] + 1
          : Math.max(best[(i + 1) * wide + j], best[i * wide + j + 1]);
      }
    }
    let i = 0, j = 0;
    while (i < left.length || j < right.length) {
      if (i < left.length && j < right.length && left[i] === right[j]) add(left[i++], right[j++]);
      else if (j >= right.length || (i < left.length && best[(i + 1) * wide + j] >= best[i * wide + j + 1])) add(left[i++], null);
      else add(null, right[j++]);
    }
  }
  return rows.concat(a.slice(a.length - end).map((line) => ({ left: line, right: line, mark: "", why: "" })));
}

function hexLines(encoded) {
  const bytes = Uint8Array.from(atob(encoded), (c) => c.charCodeAt(0));
  const lines = [];
  for (let at = 0; at < bytes.length; at += 16) {
    const part = [...bytes.subarray(at, at + 16)];
    const shown = part.map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "."));
    lines.push(`${at.toString(16).padStart(6, "0")}  ${part.map((b) => b.toString(16).padStart(2, "0")).join(" ").padEnd(48)} ${shown.join("")}`);
  }
  return lines.join("\n");
}

function contentRows(recorded, live, marks) {
  const texts = [recorded, live].map((side) => side === null ? "" : side.base64 !== undefined ? hexLines(side.base64) : side.text);
  const cut = [recorded, live].map((side) => side !== null && side.cut ? `… ${side.length} bytes in all` : null);
  let rows;
  const trees = texts.map((text) => (text ? readJson(text) : null));
  if (recorded === null || live === null) {
    const only = trees[recorded === null ? 1 : 0];
    const shown = only === null ? texts : recorded === null ? ["", pretty(only)] : [pretty(only), ""];
    rows = shown[recorded === null ? 1 : 0].split("\n").map((line) => ({
      left: recorded === null ? null : line, right: live === null ? null : line,
      mark: marks.lone, why: "",
    }));
  } else if (trees[0] !== null && trees[1] !== null) {
    rows = jsonRows(trees[0], trees[1], marks);
  } else {
    rows = textRows(texts[0], texts[1], marks.text);
  }
  if (cut[0] !== null || cut[1] !== null) rows.push({ left: cut[0], right: cut[1], mark: "loose", why: "" });
  return rows;
}

function pretty(tree) { return jsonRows(tree, tree, { differs: new Map(), accepted: new Map() }).map((row) => row.left).join("\n"); }

function fieldRows(recorded, live, marks, part) {
  const rows = [];
  const others = new Map();
  for (const [name, value] of live) {
    const key = name.toLowerCase();
    if (!others.has(key)) others.set(key, []);
    others.get(key).push(`${name}: ${value}`);
  }
  const add = (key, left, right) => {
    const bad = marks.differs.get(`${part} ${key}`);
    const kept = marks.accepted.get(`${part} ${key}`);
    const same = left !== null && right !== null && left.slice(key.length) === right.slice(key.length);
    rows.push({ left, right, mark: bad ? "bad" : same ? "" : kept ? "kept" : "loose", why: bad ?? (same ? "" : kept ?? "") });
  };
  for (const [name, value] of recorded) {
    const key = name.toLowerCase();
    add(key, `${name}: ${value}`, others.get(key)?.shift() ?? null);
  }
  for (const [key, left] of others) left.forEach((line) => add(key, null, line));
  return rows;
}

function messageRows(recorded, live, detail, side) {
  const judged = side === "response";
  const differs = new Map(), accepted = new Map();
  for (const { kind, place, reason } of judged ? detail.differences : []) {
    differs.set(kind === "field" || kind === "trailer" ? `${kind} ${place}` : spell(place), reason);
  }
  for (const one of judged ? detail.accepted : []) {
    accepted.set(one.part === "json" ? one.name : `${one.part} ${one.name}`, `${one.kind}: ${one.why}`);
  }
  const bad = (kinds) => judged && detail.differences.some((one) => kinds.includes(one.kind));
  const marks = {
    differs, accepted,
    text: bad(["text", "bytes", "content", "xml", "csv", "form", "multipart", "event", "json"]) ? "bad" : judged ? "kept" : "loose",
    lone: judged ? "bad" : "loose",
  };
  const first = {
    left: recorded.line, right: live === null ? null : live.line,
    mark: bad(["status", "response"]) ? "bad" : live !== null && recorded.line !== live.line ? "loose" : "",
    why: differs.get("status") ?? differs.get("response") ?? "",
  };
  const rows = [first, ...fieldRows(recorded.fields, live === null ? [] : live.fields, live === null ? { differs: new Map(), accepted } : marks, "field")];
  const contents = [recorded.content, live === null ? null : live.content];
  if (contents[0] !== null || contents[1] !== null) {
    const found = contentRows(contents[0], contents[1], marks);
    if (found.length > 0) found[0].rule = true;
    rows.push(...found);
  }
  if (recorded.trailers.length + (live?.trailers.length ?? 0) > 0) {
    const found = fieldRows(recorded.trailers, live?.trailers ?? [], marks, "trailer");
    found[0].rule = true;
    rows.push(...found);
  }
  return rows;
}
