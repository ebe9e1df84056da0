// The views. Each is a function that fills main and returns how to leave it.

import { h, size, bits, number, rate, span, clock, moment, nodeLink, nameOf, say } from "./dom.js";
import { ask, codes, hear, sentence, particulars, tone } from "./api.js";
import { Map as Picture } from "./topology.js";
import { chart } from "./charts.js";
import { table } from "./table.js";

const tag = (text, kind = "") => h("span", { class: "tag " + kind }, text);

export function overview(main, state) {
  const tiles = h("div", { class: "tiles" });
  const warnings = h("div", { hidden: true });
  const picture = new Picture();
  const shown = h("span", { class: "soft" });
  const feed = h("ul", { class: "feed", role: "log", "aria-label": "Events", tabindex: 0 });
  const charts = [
    chart(state.meter, "Registrations", [["accepted", "accepted", ""]], (v) => rate(v) + "/s"),
    chart(state.meter, "Traffic", [["sent", "out", ""], ["received", "in", "second"]], bits),
    chart(state.meter, "Denials", [["denied", "denied", "alarm"]], (v) => rate(v) + "/s"),
  ];
  main.append(
    h("h1", { class: "hidden" }, "Overview"), warnings, tiles,
    h("div", { class: "split" },
      h("section", { class: "card", "aria-labelledby": "who" }, h("header", {}, h("h2", { id: "who" }, "Who is where"), shown), picture.svg),
      h("section", { class: "card", "aria-labelledby": "what" }, h("header", {}, h("h2", { id: "what" }, "What happens")), feed)),
    h("div", { class: "three" }, charts));

  const tile = (name, value, unit, under, alarm) => h("dl", { class: "card tile" + (alarm ? " alarm" : "") }, h("dt", {}, name), h("dd", {}, value, unit && h("small", {}, unit)), h("dd", { class: "under hidden" }), h("p", { class: "under" }, under));
  const drawTiles = () => {
    const s = state.status;
    if (!s) return;
    const list = [];
    for (const role of s.roles ?? []) {
      const [first, ...rest] = role.summary.split(", ");
      if (role.role === "home-agent") {
        const n = /(\d+) bindings/.exec(role.summary), of = /(\d+) mobile nodes known/.exec(role.summary);
        list.push(tile("Bindings", number(n?.[1] ?? 0), "", `of ${number(of?.[1] ?? 0)} mobile nodes known`));
      } else if (role.role === "foreign-agent") {
        const n = /(\d+) visitors/.exec(role.summary), p = /(\d+) pending/.exec(role.summary);
        list.push(tile("Visitors", number(n?.[1] ?? 0), "", `${number(p?.[1] ?? 0)} wait for their home agent`));
      } else list.push(tile(first.replace("home address ", "") || "Mobile node", role.state, "", rest.join(", "), role.state === "idle"));
    }
    const denied = state.meter.grown("denied");
    list.push(
      tile("Registrations", rate(state.meter.rate("accepted")), "/s", `${number(state.meter.grown("accepted"))} in the last minutes`),
      tile("Traffic", bits(state.meter.rate("sent") + state.meter.rate("received")), "", `${size(s.forwarded.sent_bytes)} out, ${size(s.forwarded.received_bytes)} in`),
      tile("Denials", number(denied), "", denied ? "in the last minutes: see Registrations" : "none in the last minutes", denied > 0));
    tiles.replaceChildren(...list);
    warnings.hidden = !s.warnings?.length;
    warnings.replaceChildren(...(s.warnings ?? []).map((w) => h("p", { class: "card warning", role: "note" }, w)));
  };
  drawTiles();
  state.meter.ears.add(drawTiles);

  let last = 0, due;
  const redraw = async () => {
    due = undefined; last = performance.now();
    try {
      const { topology } = await ask("topology");
      picture.draw(topology);
      shown.textContent = topology.shown < topology.nodes ? `${number(topology.shown)} of ${number(topology.nodes)} nodes, the latest to move` : `${number(topology.nodes)} node${topology.nodes === 1 ? "" : "s"}`;
    } catch { /* the header says that the daemon does not answer */ }
  };
  // At most two pictures a second, however much happens.
  const soon = () => { due ??= setTimeout(redraw, Math.max(250, 500 - (performance.now() - last))); };
  const timer = setInterval(soon, 5000);
  redraw();

  // A mobile node judges its links itself; then the host's word is one too many.
  const news = (e) => !(e.event.startsWith("link-") && !e.role && state.status?.roles?.some((r) => r.role === "mobile-node"));
  const line = (e, fresh) => h("li", { class: fresh ? "fresh" : "" }, h("time", { datetime: e.time }, clock(e.time)),
    h("span", {}, e.event.startsWith("link-") ? e.link : nodeLink(e), " ", !nameOf(e) && !e.link && (e.role || ""), " ", sentence(e), " ", (tone(e.event) === "bad" || tone(e.event) === "amber") && e.why && h("span", { class: "soft" }, e.why)));
  const fill = () => feed.replaceChildren(...state.events.filter(news).slice(-100).reverse().map((e) => line(e)));
  fill();
  let waiting = [];
  const show = () => {
    const list = waiting; waiting = [];
    feed.prepend(...list.slice(-100).reverse().map((e) => line(e, true)));
    while (feed.children.length > 100) feed.lastChild.remove();
  };
  const deaf = hear((e) => {
    if (news(e)) {
      if (!waiting.length) requestAnimationFrame(show);
      waiting.push(e);
    }
    if (Date.now() - new Date(e.time) > 5000) return;
    if ((e.event === "moved" || e.event === "registered" || e.event === "bound") && e.home_address) picture.mark(e.home_address);
    if (e.event === "moved") say(`${nameOf(e)} ${sentence(e)}`);
    soon();
  });
  return () => { deaf(); clearInterval(timer); clearTimeout(due); picture.close(); state.meter.ears.delete(drawTiles); charts.forEach((c) => c.close()); };
}

const openNode = (b) => { location.hash = "#/node/" + encodeURIComponent(b.home_address || b.nai); };
const stateTag = (s) => tag(s, { active: "good", accepted: "good", "half-bound": "amber", pending: "amber" }[s] ?? "");

function listed(main, title, t) {
  main.append(h("div", { class: "tools" }, h("h1", {}, title), t.count, t.search), t.box);
  return () => t.close();
}

export function bindings(main) {
  return listed(main, "Bindings", table({
    what: "bindings", label: "Bindings", order: "home_address", open: openNode,
    columns: [
      { key: "home_address", title: "Home address", wide: "1.1fr", cell: (b) => nodeLink(b, h("span", { class: "mono" }, b.home_address)) },
      { key: "nai", title: "Name", wide: "1.6fr", cell: (b) => b.nai || "" },
      { key: "care_of_address", title: "Care-of address", wide: "1.2fr", cell: (b) => h("span", { class: "mono" }, b.care_of_address) },
      { key: "endpoint", title: "Tunnel to", wide: "1.4fr", cell: (b) => h("span", { class: "mono" }, b.endpoint) },
      { key: "encapsulation", title: "Tunnel", wide: "120px", cell: (b) => [tag(b.encapsulation), " ", b.nat && tag("NAT")] },
      { key: "state", title: "State", wide: "96px", cell: (b) => stateTag(b.state) },
      { key: "remaining", title: "Remaining", wide: "100px", right: true, cell: (b) => span(b.remaining) },
      { key: "sent_bytes", title: "Out", wide: "82px", right: true, cell: (b) => size(b.counters.sent_bytes) },
      { key: "received_bytes", title: "In", wide: "82px", right: true, cell: (b) => size(b.counters.received_bytes) },
    ],
  }));
}

export function visitors(main) {
  return listed(main, "Visitors", table({
    what: "visitors", label: "Visitors", order: "home_address", open: openNode,
    columns: [
      { key: "home_address", title: "Home address", wide: "1.1fr", cell: (v) => nodeLink(v, h("span", { class: "mono" }, v.home_address || v.nai)) },
      { key: "nai", title: "Name", wide: "1.5fr", cell: (v) => v.nai || "" },
      { key: "home_agent", title: "Home agent", wide: "1.1fr", cell: (v) => h("span", { class: "mono" }, v.home_agent) },
      { key: "interface", title: "Interface", wide: "100px", cell: (v) => v.interface },
      { key: "link_layer_address", title: "Link-layer address", wide: "1.2fr", cell: (v) => h("span", { class: "mono" }, v.link_layer_address) },
      { key: "encapsulation", title: "Tunnel", wide: "110px", sort: false, cell: (v) => tag(v.encapsulation || "its own") },
      { key: "state", title: "State", wide: "100px", cell: (v) => stateTag(v.state) },
      { key: "remaining", title: "Remaining", wide: "110px", right: true, cell: (v) => span(v.remaining) },
    ],
  }));
}

export function registrations(main, state) {
  const denials = h("div", { class: "codes" });
  const t = table({
    what: "registrations", label: "Latest registrations", order: "-time", open: (r) => (r.home_address || r.nai) && openNode(r), refresh: 2000,
    columns: [
      { key: "time", title: "Time", wide: "110px", cell: (r) => r.time ? h("time", { datetime: r.time }, clock(r.time)) : "" },
      { key: "home_address", title: "Mobile node", wide: "1.5fr", cell: (r) => nodeLink(r) || r.uplink },
      { key: "care_of_address", title: "Care-of address", wide: "1.1fr", sort: false, cell: (r) => h("span", { class: "mono" }, r.care_of_address || "") },
      { key: "source", title: "From", wide: "1.3fr", sort: false, cell: (r) => h("span", { class: "mono" }, r.source || r.home_agent || "") },
      { key: "code", title: "Answer", wide: "1.6fr", cell: (r) => [tag(r.code || "ok", r.code > 1 ? "bad" : "good"), " ", r.state] },
      { key: "granted", title: "Lifetime", wide: "100px", right: true, sort: false, cell: (r) => r.code > 1 ? "" : span(r.granted) },
    ],
  });
  main.append(
    h("div", { class: "tools" }, h("h1", {}, "Registrations")),
    h("section", { class: "card", "aria-labelledby": "denied" }, h("header", {}, h("h2", { id: "denied" }, "Denials, explained"), h("span", { class: "soft" }, "since the daemon’s start")), denials),
    h("div", { class: "tools" }, h("h2", {}, "The latest"), t.search, t.count), t.box);
  let before = "";
  const draw = async () => {
    const known = await codes();
    const counts = {};
    for (const c of state.counters) {
      const m = /(?:denied|refused)[_-](\d+)$/.exec(c.name);
      if (m && c.value) counts[+m[1]] = (counts[+m[1]] ?? 0) + c.value;
    }
    const now = JSON.stringify(counts);
    if (now === before) return;
    before = now;
    const open = new Set([...denials.querySelectorAll("details[open]")].map((d) => d.dataset.code));
    const rows = Object.entries(counts).sort((a, b) => b[1] - a[1]).map(([number_, n]) => {
      const c = known.get(+number_) ?? { text: "unassigned code", means: "", do: "", rfc: "" };
      return h("details", { "data-code": number_, open: open.has(number_) }, h("summary", {}, h("b", {}, number_), h("span", {}, c.text), tag(`${number(n)}×`, "bad")),
        h("div", { class: "why" }, h("p", {}, c.means), h("p", {}, h("b", {}, "What to do: "), c.do), h("p", { class: "soft" }, c.rfc, "; ", h("code", {}, `careof explain ${number_}`))));
    });
    denials.replaceChildren(...(rows.length ? rows : [h("p", { class: "empty" }, "Nothing has been denied.")]));
  };
  draw();
  state.meter.ears.add(draw);
  return () => { t.close(); state.meter.ears.delete(draw); };
}

export function counters(main, state) {
  const body = h("tbody");
  const input = h("input", { type: "search", placeholder: "Name or meaning …", "aria-label": "Search counters", spellcheck: "false" });
  const zero = h("input", { type: "checkbox", id: "zero" });
  const draw = () => {
    const words = input.value.toLowerCase().split(/\s+/);
    const list = state.counters.filter((c) => (zero.checked || c.value) && words.every((w) => (c.name + " " + (c.meaning ?? "")).toLowerCase().includes(w)));
    body.replaceChildren(...list.map((c) => h("tr", {}, h("td", { class: "mono" }, c.name), h("td", { class: "soft" }, c.meaning ?? ""), h("td", { class: "right" }, number(c.value)), h("td", { class: "right soft" }, state.meter.rate("= " + c.name) ? rate(state.meter.rate("= " + c.name)) + "/s" : ""))));
    if (!list.length) body.append(h("tr", {}, h("td", { colspan: 4, class: "empty" }, "No counter fits.")));
  };
  input.addEventListener("input", draw);
  zero.addEventListener("change", draw);
  main.append(
    h("div", { class: "tools" }, h("h1", {}, "Counters"), h("label", { class: "soft", for: "zero" }, zero, " show zeros"), h("div", { class: "search" }, h("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, h("circle", { cx: 11, cy: 11, r: 7 }), h("path", { d: "M20 20l-4-4" })), input)),
    h("div", { class: "card" }, h("table", { class: "plain" }, h("thead", {}, h("tr", {}, ["Counter", "Meaning", "Value", "Rate"].map((t, i) => h("th", { scope: "col", class: i > 1 ? "right" : "" }, t)))), body)));
  draw();
  state.meter.ears.add(draw);
  return () => state.meter.ears.delete(draw);
}

export function node(main, state, who) {
  const facts = h("div"), where = h("div", { class: "where" }), line = h("ol", { class: "timeline" });
  const title = h("h1", {}, who);
  main.append(h("div", { class: "tools" }, title),
    facts,
    h("section", { class: "card", "aria-labelledby": "lanes" }, h("header", {}, h("h2", { id: "lanes" }, "Where it was")), where),
    h("section", { class: "card", "aria-labelledby": "story" }, h("header", {}, h("h2", { id: "story" }, "Registrations and moves"), h("span", { class: "soft" }, "as far as the daemon remembers")), line));
  let moments = [], gone = false;
  const draw = async () => {
    let bound = [], visits = [];
    try {
      [{ timeline: moments }, bound, visits] = await Promise.all([
        ask("timeline/" + encodeURIComponent(who)), ask("binding/" + encodeURIComponent(who)).then((b) => b.binding, () => []),
        ask("visitors?limit=20&search=" + encodeURIComponent(who)).then((b) => b.visitors.filter((v) => v.home_address === who || v.nai === who), () => []),
      ]);
    } catch { return; }
    if (gone) return;
    const named = bound[0]?.nai || moments.find((m) => m.nai)?.nai;
    if (named && named !== who) title.replaceChildren(named, " ", h("span", { class: "soft mono" }, who));
    const fact = (name, value) => h("div", {}, h("dt", {}, name), h("dd", {}, value));
    facts.replaceChildren(...bound.map((b) => h("section", { class: "card", "aria-label": "Binding" }, h("header", {}, h("h2", {}, "Binding"), h("span", {}, stateTag(b.state))), h("dl", { class: "facts" },
      fact("Care-of address", h("span", { class: "mono" }, b.care_of_address)), fact("Tunnel to", h("span", { class: "mono" }, b.endpoint)),
      fact("Tunnel", `${b.encapsulation}${b.nat ? ", through a NAT" : ""}${b.reverse_tunnel ? "" : ", one way"}${b.encrypted ? ", encrypted" : ", not encrypted"}`),
      fact("Remaining", `${span(b.remaining)} of ${span(b.granted)}`), fact("Bound since", moment(b.since)),
      fact("Sent to it", `${size(b.counters.sent_bytes)}, ${number(b.counters.sent_packets)} packets`), fact("Received from it", `${size(b.counters.received_bytes)}, ${number(b.counters.received_packets)} packets`)))),
    ...visits.map((v) => h("section", { class: "card", "aria-label": "Visit" }, h("header", {}, h("h2", {}, "Visit"), h("span", {}, stateTag(v.state))), h("dl", { class: "facts" },
      fact("Home agent", h("span", { class: "mono" }, v.home_agent)), fact("Interface", v.interface), fact("Link-layer address", h("span", { class: "mono" }, v.link_layer_address)), fact("Remaining", span(v.remaining))))));
    if (!bound.length && !visits.length) facts.append(h("p", { class: "card empty" }, "It is not bound now."));
    lanes(where, moments);
    line.replaceChildren(...(moments.length ? moments.map((m) => h("li", { class: tone(m.event) },
      h("time", { datetime: m.time }, moment(m.time)), h("i", { "aria-hidden": "true" }),
      h("div", {}, h("p", {}, sentence(m).replace(/^./, (c) => c.toUpperCase()), " ", m.times > 1 && tag(`${number(m.times)}×`, tone(m.event)), " ", m.code > 1 && h("a", { href: "#/registrations" }, "what does that mean?")),
        h("p", {}, particulars(m)), m.refreshes > 0 && h("p", {}, `then renewed ${number(m.refreshes)}×, last at ${clock(m.refreshed)}`)))) : [h("li", {}, h("p", { class: "empty" }, "The daemon remembers nothing about it."))]));
  };
  draw();
  const deaf = hear((e) => { if (e.home_address === who || e.nai === who) { say(sentence(e)); draw(); } });
  const timer = setInterval(draw, 5000);
  return () => { gone = true; deaf(); clearInterval(timer); };
}

// lanes draws at which care-of address a node was when.
function lanes(box, moments) {
  const stays = [];
  let open = null;
  for (const m of [...moments].reverse()) {
    const t = new Date(m.time).getTime();
    if (["bound", "moved", "registered", "restored"].includes(m.event) && m.care_of_address) {
      if (open && open.at === m.care_of_address) continue;
      if (open) open.to = t;
      open = { at: m.care_of_address, from: t, to: null };
      stays.push(open);
    } else if (["unbound", "expired", "lost", "home", "deregistered", "revoked"].includes(m.event) && open) { open.to = t; open = null; }
  }
  if (!stays.length) { box.replaceChildren(h("p", { class: "soft" }, "No stay is remembered.")); return; }
  const now = Date.now(), begin = stays[0].from, length = Math.max(1000, now - begin);
  const places = [...new Set(stays.map((s) => s.at))];
  const wide = Math.max(500, box.clientWidth - 36), left = 150, step = 26, tall = places.length * step + 22;
  const x = (t) => left + (t - begin) / length * (wide - left - 2);
  const colours = ["var(--accent)", "var(--second)", "var(--warn)", "var(--faint)"];
  box.replaceChildren(h("svg", { viewBox: `0 0 ${wide} ${tall}`, role: "img", "aria-label": "Stays: " + stays.map((s) => `${s.at} from ${clock(s.from)} to ${s.to ? clock(s.to) : "now"}`).join("; ") },
    places.map((p, i) => [h("text", { x: 0, y: i * step + 17 }, p), h("line", { class: "tick", x1: left, x2: wide, y1: i * step + 25, y2: i * step + 25 })]).flat(),
    stays.map((s) => { const r = h("rect", { x: x(s.from), y: places.indexOf(s.at) * step + 5, width: Math.max(3, x(s.to ?? now) - x(s.from) - 1), height: 16 }, h("title", {}, `${s.at}: ${clock(s.from)} to ${s.to ? clock(s.to) : "now"}`)); r.style.fill = colours[places.indexOf(s.at) % colours.length]; return r; }),
    h("text", { class: "axis", x: left, y: tall - 4 }, moment(begin).replace(/\.\d+$/, "")), h("text", { class: "axis", x: wide, y: tall - 4, "text-anchor": "end" }, "now")));
}
