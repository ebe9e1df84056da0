// Rates over the last minutes, drawn by hand. They are measured here, from
// counters that are asked for every two seconds.

import { h, clock, span } from "./dom.js";

const room = 150; // samples: five minutes

// A Meter keeps what some counters were.
export class Meter {
  constructor() { this.samples = []; this.ears = new Set(); }

  // add takes the counters of now; what went down began anew.
  add(time, values) {
    const last = this.samples.at(-1);
    const sample = { time, values, rates: {} };
    if (last) {
      const passed = (time - last.time) / 1000;
      if (passed <= 0) return;
      for (const [name, value] of Object.entries(values)) {
        const before = last.values[name];
        sample.rates[name] = before === undefined || value < before ? 0 : (value - before) / passed;
      }
    }
    this.samples.push(sample);
    if (this.samples.length > room) this.samples.shift();
    for (const ear of this.ears) ear();
  }

  rate(name) { return this.samples.at(-1)?.rates[name] ?? 0; }

  // grown is by how much a counter has grown as far back as is known.
  grown(name) {
    return this.samples.reduce((sum, s, i) => i === 0 ? 0 : sum + Math.max(0, (s.values[name] ?? 0) - (this.samples[i - 1].values[name] ?? 0)), 0);
  }
}

// chart draws rates of a meter: lines are [counter, words, class].
export function chart(meter, title, lines, format) {
  const svg = h("svg", { role: "img", preserveAspectRatio: "none" });
  const value = h("b", {});
  const figure = h("figure", { class: "card chart" },
    h("figcaption", {}, h("span", {}, title), lines.length > 1 && lines.map(([, words, kind]) => h("span", { class: "key " + (kind || "") }, words)), value), svg);
  let hover = null;
  const draw = () => {
    const wide = svg.clientWidth || 360, tall = 104, base = tall - 16;
    const samples = meter.samples.slice(1);
    svg.setAttribute("viewBox", `0 0 ${wide} ${tall}`);
    const most = nice(Math.max(0, ...samples.flatMap((s) => lines.map(([name]) => s.rates[name] ?? 0))));
    // A minute at least, and then all there is.
    const across = Math.max(30, samples.length - 1);
    const x = (i) => wide - (samples.length - 1 - i) * wide / across;
    const y = (v) => base - v / most * (base - 8);
    const parts = [
      h("line", { class: "grid", x1: 0, x2: wide, y1: base, y2: base }), h("line", { class: "grid", x1: 0, x2: wide, y1: 8, y2: 8 }),
      h("text", { class: "axis", x: 0, y: 4 }, format(most)),
      h("text", { class: "axis", x: 0, y: tall - 2 }, span(across * 2) + " ago"), h("text", { class: "axis", x: wide, y: tall - 2, "text-anchor": "end" }, "now"),
    ];
    for (const [name, , kind] of lines) {
      if (samples.length < 2) continue;
      const d = samples.map((s, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(s.rates[name] ?? 0).toFixed(1)}`).join("");
      parts.push(h("g", { class: kind || "" }, h("path", { class: "area", d: `${d}L${wide} ${base}L${x(0).toFixed(1)} ${base}Z` }), h("path", { class: "line", d })));
    }
    let shown = samples.length - 1, when = "";
    if (hover !== null && samples.length) {
      shown = Math.max(0, Math.min(samples.length - 1, Math.round(samples.length - 1 - (1 - hover) * across)));
      when = clock(samples[shown].time) + "  ";
      parts.push(h("line", { class: "cursor", x1: x(shown), x2: x(shown), y1: 4, y2: base }));
    }
    const text = lines.map(([name]) => format(samples[shown]?.rates[name] ?? 0)).join("  ·  ");
    value.textContent = when + text;
    svg.setAttribute("aria-label", `${title}: now ${lines.map(([name, words]) => `${words} ${format(meter.rate(name))}`).join(", ")}; highest in sight ${format(most)}`);
    svg.replaceChildren(...parts);
  };
  svg.addEventListener("pointermove", (e) => { hover = e.offsetX / svg.clientWidth; draw(); });
  svg.addEventListener("pointerleave", () => { hover = null; draw(); });
  meter.ears.add(draw);
  requestAnimationFrame(draw);
  figure.close = () => meter.ears.delete(draw);
  return figure;
}

// nice is the next round number above.
function nice(n) {
  if (n <= 0) return 1;
  const power = Math.pow(10, Math.floor(Math.log10(n)));
  for (const m of [1, 2, 5, 10]) if (n <= m * power) return m * power;
  return n;
}
