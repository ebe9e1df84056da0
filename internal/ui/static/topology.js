// The live picture: who is where. Columns from the home network to the nodes;
// a node that moves is seen gliding to its new place.

import { h, still, say } from "./dom.js";

const columns = [
  ["home-network", "Home networks"], ["home-agent", "Home agents"], ["foreign-agent network", "Visited networks"], ["link uplink", "Links"], ["mobile-node", "Mobile nodes"],
];
const row = 64, nodeRow = 25, head = 34;

export class Map {
  constructor() {
    this.svg = h("svg", { class: "map", role: "group", "aria-label": "Topology" });
    this.wires = h("g", { "aria-hidden": "true" });
    this.ghosts = h("g", { "aria-hidden": "true" });
    this.things = h("g");
    this.heads = h("g", { "aria-hidden": "true" });
    this.svg.append(this.heads, this.wires, this.ghosts, this.things);
    this.at = {}; // id -> {x, y, element, …}
    this.data = null;
    this.moved = {};
    this.width = 900;
    this.observer = new ResizeObserver(([r]) => {
      const width = Math.max(560, r.contentRect.width);
      if (Math.abs(width - this.width) > 4) { this.width = width; if (this.data) this.draw(this.data); }
    });
    this.observer.observe(this.svg);
  }

  close() { this.observer.disconnect(); cancelAnimationFrame(this.frame); }

  // mark makes the next picture show that a node has moved.
  mark(address) { this.moved["node " + address] = true; }

  draw(data) {
    this.data = data;
    const lanes = columns.map(([kinds]) => data.vertices.filter((v) => kinds.split(" ").includes(v.kind)));
    const used = lanes.map((l, i) => i).filter((i) => lanes[i].length);
    const tall = Math.max(396, head + 14 + Math.max(0, ...used.map((i) => lanes[i].length * (i === 4 ? nodeRow : row))));
    this.svg.setAttribute("viewBox", `0 0 ${this.width} ${tall}`);
    this.svg.setAttribute("height", tall);
    this.heads.replaceChildren();
    const wide = this.width / used.length;
    const seen = new Set();
    used.forEach((lane, column) => {
      const x = wide * (column + .5);
      this.heads.append(h("text", { class: "column", x, y: 20 }, columns[lane][1]));
      const step = lane === 4 ? nodeRow : row;
      let list = lanes[lane];
      if (lane === 4) list = this.byPlace(list, data);
      const top = head + (tall - head - list.length * step) / 2 + step / 2;
      list.forEach((v, i) => {
        seen.add(v.id);
        this.place(v, { x: lane === 4 ? wide * column + 22 : x, y: top + i * step, w: Math.min(168, wide - 26), room: wide - 44 });
      });
    });
    for (const id of Object.keys(this.at)) {
      if (!seen.has(id)) { this.at[id].element.remove(); delete this.at[id]; }
    }
    // In the order in which the keyboard should meet them.
    for (const v of lanes.flat()) this.things.append(this.at[v.id].element);
    this.svg.setAttribute("aria-label", `Topology: ${data.nodes} mobile nodes, ${data.shown} of them shown`);
    this.glide();
  }

  // byPlace sorts nodes so that those at one place stand together.
  byPlace(list, data) {
    const place = {}, order = {};
    data.vertices.forEach((v, i) => { order[v.id] = i; });
    for (const e of data.edges) if (e.kind === "attachment") place[e.to] = order[e.from];
    return [...list].sort((a, b) => (place[a.id] ?? 0) - (place[b.id] ?? 0));
  }

  place(v, to) {
    let one = this.at[v.id];
    const what = JSON.stringify([v.label, v.detail, v.state, v.nodes, v.self, Math.round(to.w), Math.round(to.room)]);
    if (!one || one.what !== what) {
      const element = v.kind === "mobile-node" ? this.node(v, Math.floor(to.room / 7.4)) : this.box(v, to.w);
      one?.element.remove();
      one = this.at[v.id] = { x: to.x, y: to.y, ...one, element, what };
      this.things.append(element);
    }
    one.v = v;
    one.from = { x: one.x, y: one.y };
    one.to = to;
    if (this.moved[v.id]) {
      delete this.moved[v.id];
      one.element.classList.remove("moved");
      void one.element.getBoundingClientRect(); // so that the pulse begins anew
      one.element.classList.add("moved");
      clearTimeout(one.calm);
      one.calm = setTimeout(() => one.element.classList.remove("moved"), 4000);
      if (one.from.y !== to.y) {
        const ghost = h("path", { class: "ghost", d: curve(one.from, to) });
        this.ghosts.append(ghost);
        setTimeout(() => ghost.remove(), 2700);
      }
    }
  }

  box(v, w) {
    const words = (text, most) => text.length > most ? text.slice(0, most - 1) + "…" : text;
    const label = `${v.detail || v.kind} ${v.label}${v.nodes ? `, ${v.nodes} mobile nodes` : ""}${v.self ? ", this daemon" : ""}`;
    const many = v.nodes ? `${v.nodes.toLocaleString("en")} node${v.nodes === 1 ? "" : "s"}` : "";
    const kind = { "visited network": many ? "" : "visited network", "behind a NAT": many ? "NAT" : "behind a NAT" }[v.detail] ?? v.detail;
    const detail = [kind, v.self && "here", many].filter(Boolean).join(" · ");
    return h("g", { class: `vertex ${v.self ? "self" : ""}`, role: "img", "aria-label": label, "data-id": v.id },
      h("title", {}, label),
      h("rect", { x: -w / 2, y: -22, width: w, height: 44, rx: 9 }),
      v.state && h("circle", { class: "mark " + ({ unusable: "grey", home: "" }[v.state] ?? ""), cx: -w / 2 + 12, cy: 0, r: 3.5 }),
      h("text", { y: -3 }, words(v.label, w / 7.6)),
      h("text", { class: "detail", y: 13 }, words(detail, w / 5.6)));
  }

  node(v, most) {
    const who = v.id.slice(5);
    const open = () => { location.hash = "#/node/" + encodeURIComponent(who); };
    return h("g", {
      class: "vertex node", role: "link", tabindex: 0, "aria-label": `mobile node ${v.label}, ${v.detail || ""}, ${v.state || ""}`, "data-id": v.id,
      onclick: open, onkeydown: (e) => { if (e.key === "Enter") open(); },
    }, h("title", {}, v.detail || v.label),
      h("circle", { class: "halo", r: 6 }), h("circle", { class: "ring", r: 10 }),
      h("circle", { class: "mark " + ({ "half-bound": "amber", pending: "amber", registering: "amber", idle: "grey", deregistered: "grey" }[v.state] ?? ""), r: 5 }),
      h("text", { x: 14, y: 4 }, v.label.length > most ? v.label.slice(0, most - 1) + "…" : v.label));
  }

  // glide moves everything to where it belongs, in half a second.
  glide() {
    cancelAnimationFrame(this.frame);
    const moves = Object.values(this.at).some((o) => Math.hypot(o.from.x - o.to.x, o.from.y - o.to.y) > 1);
    const time = still() || !moves ? 0 : 700, start = performance.now();
    const step = (now) => {
      const t = time ? Math.min(1, (now - start) / time) : 1;
      const ease = t < .5 ? 4 * t * t * t : 1 - Math.pow(-2 * t + 2, 3) / 2;
      for (const o of Object.values(this.at)) {
        o.x = o.from.x + (o.to.x - o.from.x) * ease;
        o.y = o.from.y + (o.to.y - o.from.y) * ease;
        o.element.setAttribute("transform", `translate(${o.x.toFixed(1)} ${o.y.toFixed(1)})`);
      }
      this.wire();
      if (t < 1) this.frame = requestAnimationFrame(step);
    };
    step(start);
  }

  wire() {
    const paths = [];
    for (const e of this.data.edges) {
      let a = this.at[e.from], b = this.at[e.to];
      if (!a || !b) continue;
      if (a.to.x > b.to.x) [a, b] = [b, a];
      const from = { x: a.x + edge(a), y: a.y }, to = { x: b.x - edge(b), y: b.y };
      const d = curve(from, to);
      if (e.kind === "tunnel" && e.active) paths.push(h("path", { class: "tunnel", d }), h("path", { class: "flow", d }));
      else paths.push(h("path", { class: "wire" + (e.active ? "" : " off"), d }));
    }
    this.wires.replaceChildren(...paths);
  }

  announce(e) { say(`${e.nai || e.home_address} moved to ${e.care_of_address}`); }
}

const edge = (o) => o.v.kind === "mobile-node" ? 7 : o.to.w / 2;

function curve(a, b) {
  const bend = Math.max(18, Math.abs(b.x - a.x) / 2);
  return `M${a.x.toFixed(1)} ${a.y.toFixed(1)}C${(a.x + bend).toFixed(1)} ${a.y.toFixed(1)} ${(b.x - bend).toFixed(1)} ${b.y.toFixed(1)} ${b.x.toFixed(1)} ${b.y.toFixed(1)}`;
}
