// The list of exchanges, what is shown of one, and the time line. What is chosen stands in the
// address (#state=differs&endpoint=…&text=…&open=3), so that it can be sent to somebody.
"use strict";

(() => {
  const ROW = 34, AROUND = 12;
  const raw = JSON.parse(byId("index").textContent);
  const data = {
    rows: raw.rows.map(([endpoint, method, target, state, id, recorded, live, recorded_at, live_at, differing], position) => ({
      position, endpoint: raw.endpoints[endpoint], method, target, state: raw.states[state], id,
      recorded, live, recorded_at, live_at, differing,
    })),
    calls: raw.calls.map(([upstream, call, position, state, recorded_at, recorded, live_at, live]) => ({
      upstream: raw.upstreams[upstream], call, position, state, recorded_at, recorded, live_at, live,
    })),
  };
  let lines = null;
  const detailLines = () => (lines ??= byId("details").textContent.trim().split("\n"));
  const list = byId("list"), detail = byId("detail"), inside = byId("rows"), timeline = byId("timeline");
  let shown = [], chosen = -1, side = data.rows.some((row) => row.live_at !== null) ? "live" : "recorded";
  const filter = { state: "", endpoint: "", text: "" };

  // As the page spells what is not ASCII, or would end the element that holds it.
  const spelled = (text) => ascii(JSON.stringify(text).slice(1, -1)).replace(/[<>&]/g, (c) => "\\u00" + c.charCodeAt(0).toString(16)).toLowerCase();

  function matches(row, text, inPage) {
    if (filter.state && row.state !== filter.state) return false;
    if (filter.endpoint && row.endpoint !== filter.endpoint) return false;
    if (!text) return true;
    if (`${row.method} ${row.target} ${row.id} ${row.position + 1}`.toLowerCase().includes(text)) return true;
    return detailLines()[row.position].toLowerCase().includes(inPage);
  }

  function apply() {
    const text = filter.text.trim().toLowerCase(), inPage = spelled(text);
    shown = data.rows.filter((row) => matches(row, text, inPage));
    byId("shown").textContent = shown.length === data.rows.length ? plural(shown.length, "exchange") : `${shown.length.toLocaleString("en")} of ${plural(data.rows.length, "exchange")}`;
    inside.style.height = `${shown.length * ROW}px`;
    list.scrollTop = 0;
    for (const button of byId("states").children) button.setAttribute("aria-pressed", String(button.dataset.state === filter.state));
    byId("endpoint").value = filter.endpoint;
    if (byId("text").value !== filter.text) byId("text").value = filter.text;
    paint();
  }

  // Only the rows in sight are there.
  function paint() {
    const from = Math.max(0, Math.floor(list.scrollTop / ROW) - AROUND);
    const to = Math.min(shown.length, Math.ceil((list.scrollTop + (list.clientHeight || 800)) / ROW) + AROUND);
    inside.replaceChildren(...shown.slice(from, to).map((row, place) => {
      const node = make("button", {
        class: `row ${row.state}`, type: "button", "data-position": row.position, title: `${row.method} ${row.target}`,
        "aria-current": row.position === chosen ? "true" : null,
      }, make("span", { class: "n" }, String(row.position + 1)), make("span", { class: "what" }, `${row.method} ${row.target}`),
      row.state === "same" ? make("span", { class: "took" }, took(row.live)) : make("span", { class: `tag ${row.state}` }, row.state.replace("_", " ")));
      node.style.top = `${(from + place) * ROW}px`;
      return node;
    }));
    if (shown.length === 0) inside.replaceChildren(make("p", { class: "empty" }, "No exchange is like this."));
  }

  function remember() {
    const words = new URLSearchParams();
    for (const [name, value] of Object.entries(filter)) if (value) words.set(name, value);
    if (chosen >= 0) words.set("open", String(chosen + 1));
    history.replaceState(null, "", `#${words}`);
  }

  function open(position, move = true) {
    if (!(position in data.rows)) return;
    chosen = position;
    const place = shown.findIndex((row) => row.position === position);
    const top = place * ROW;
    if (move && place >= 0 && (top < list.scrollTop || top + ROW > list.scrollTop + list.clientHeight)) {
      list.scrollTop = Math.max(0, top - list.clientHeight / 2);
    }
    paint();
    remember();
    show(data.rows[position], JSON.parse(detailLines()[position]));
    detail.scrollTop = 0;
  }

  function show(row, known) {
    const parts = [
      make("h3", {}, `${row.method} ${row.target}`),
      make("div", { class: "facts" }, make("span", { class: `tag ${row.state}` }, row.state.replace("_", " ")),
        make("span", {}, `exchange ${row.position + 1} of ${data.rows.length}`), make("code", {}, row.id),
        make("span", {}, [row.recorded ? `recorded ${took(row.recorded)}` : "", row.live ? `live ${took(row.live)}` : ""].filter(Boolean).join(" → "))),
    ];
    if (known.note) parts.push(make("p", { class: "hint" }, known.note));
    if (known.cause) parts.push(make("p", {}, known.cause));
    if (known.differences.length > 0) parts.push(make("h4", {}, "What differs"), differences(known.differences));
    if (known.messages) {
      for (const part of ["response", "request"]) {
        const recorded = known[part], live = known[`live_${part}`];
        if (recorded === null) continue;
        const same = live === 0;
        parts.push(make("h4", {}, part === "request" ? "Request" : "Response"), sideBySide(
          messageRows(recorded, same ? recorded : live, known, part),
          part === "request" ? "sent" : live === null ? "live: none" : "live"));
      }
    } else parts.push(make("p", { class: "weak" }, "The messages of this exchange are not in this page: it would have become too large."));
    if (known.accepted.length > 0) parts.push(make("h4", {}, "Accepted as generated"), acceptedTable(known.accepted));
    for (const one of ["recorded", "live"]) {
      const lanes = exchangeLanes(data, row, one);
      if (lanes.length > 1) {
        const holder = make("div", { class: "waterfall" });
        parts.push(make("h4", {}, one === "live" ? "Upstream calls, live" : "Upstream calls, recorded"), holder);
        queueMicrotask(() => drawTimeline(holder, lanes));
      }
    }
    detail.replaceChildren(...parts);
  }

  function differences(listed) {
    const rows = listed.map((one) => make("tr", {}, make("td", { class: "mono" }, `${one.kind === "field" || one.kind === "trailer" || one.kind === "query" ? one.kind + " " : ""}${one.place}`),
      make("td", { class: "mono expected" }, one.expected ?? "(absent)"), make("td", { class: "mono actual" }, one.actual ?? "(absent)"), make("td", {}, one.reason)));
    return table(["place", "expected", "actual", "reason"], rows);
  }
  function acceptedTable(listed) {
    return table(["class", "place", "recorded", "live", "why"], listed.map((one) => make("tr", {}, make("td", {}, one.kind),
      make("td", { class: "mono" }, `${one.part} ${one.name}`), make("td", { class: "mono" }, one.recorded), make("td", { class: "mono" }, one.live), make("td", {}, one.why))));
  }
  function table(names, rows) {
    return make("div", { class: "scroll" }, make("table", {}, make("thead", {}, make("tr", {}, ...names.map((name) => make("th", {}, name)))), make("tbody", {}, ...rows)));
  }
  function sideBySide(rows, name) {
    const cell = (text, why) => make("div", { class: text === null ? "none" : null }, text, why ? make("span", { class: "why" }, why) : null);
    return make("div", { class: "diff" }, make("div", { class: "line head" }, make("div", {}, "recorded"), make("div", {}, name)),
      ...rows.map((row) => make("div", { class: `line ${row.mark}${row.rule ? " rule" : ""}` }, cell(row.left, row.right === null ? row.why : ""), cell(row.right, row.right === null ? "" : row.why))));
  }

  function paintTimeline() {
    for (const button of byId("sides").children) button.setAttribute("aria-pressed", String(button.dataset.side === side));
    drawTimeline(timeline, runLanes(data, side));
  }

  function fromAddress() {
    const words = new URLSearchParams(location.hash.slice(1));
    for (const name of Object.keys(filter)) filter[name] = words.get(name) ?? "";
    apply();
    const wanted = Number(words.get("open")) - 1;
    const first = shown.find((row) => row.state !== "same") ?? shown[0];
    if (wanted >= 0) open(wanted);
    else if (first !== undefined) { open(first.position); }
    else detail.replaceChildren(make("p", { class: "empty" }, "Nothing to show."));
  }

  function choose(change) {
    Object.assign(filter, change);
    apply();
    if (shown.length > 0 && !shown.some((row) => row.position === chosen)) open(shown[0].position);
    else remember();
  }

  const counts = new Map(raw.states.map((state) => [state, 0]));
  for (const row of data.rows) counts.set(row.state, counts.get(row.state) + 1);
  byId("states").append(...["", ...raw.states.filter((state) => counts.get(state) > 0)].map((state) => make("button", {
    type: "button", "data-state": state, on: { click: () => choose({ state }) },
  }, state === "" ? "all" : `${state.replace("_", " ")} ${counts.get(state).toLocaleString("en")}`)));
  byId("endpoint").append(...[...raw.endpoints].sort().map((endpoint) => make("option", { value: endpoint }, endpoint)));
  byId("endpoint").addEventListener("change", (event) => choose({ endpoint: event.target.value }));
  let typing = 0;
  byId("text").addEventListener("input", (event) => {
    clearTimeout(typing);
    typing = setTimeout(() => choose({ text: event.target.value }), 120);
  });
  let painting = 0;
  list.addEventListener("scroll", () => { painting ||= requestAnimationFrame(() => { painting = 0; paint(); }); });
  list.addEventListener("click", (event) => {
    const row = event.target.closest("[data-position]");
    if (row !== null) open(Number(row.dataset.position), false);
  });
  list.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    const place = shown.findIndex((row) => row.position === chosen) + (step ?? 0);
    if (step === undefined || !(place in shown)) return;
    event.preventDefault();
    open(shown[place].position);
    inside.querySelector("[aria-current]")?.focus();
  });
  byId("sides").addEventListener("click", (event) => {
    if (event.target.dataset.side) { side = event.target.dataset.side; paintTimeline(); }
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-open], .timeline [data-position]");
    if (link === null) return;
    event.preventDefault();
    Object.assign(filter, { state: "", endpoint: "", text: "" });
    apply();
    open(Number(link.dataset.open ?? link.dataset.position));
    byId("exchanges").scrollIntoView({ block: "start" });
  });
  addEventListener("resize", () => { paint(); paintTimeline(); });
  addEventListener("hashchange", fromAddress);
  for (const node of document.querySelectorAll(".needs-script")) node.hidden = false;
  fromAddress();
  paintTimeline();
})();
