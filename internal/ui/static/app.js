// The frame: which view is shown, the theme, and what all views share.

import { h, span } from "./dom.js";
import { ask, hear, listen } from "./api.js";
import { Meter } from "./charts.js";
import * as views from "./views.js";

const state = { status: null, counters: [], meter: new Meter(), events: [] };
const main = document.getElementById("main"), nav = document.getElementById("nav"), health = document.getElementById("health");

const pages = [
  ["", "Overview", views.overview, () => true],
  ["bindings", "Bindings", views.bindings, (roles) => roles.includes("home-agent")],
  ["visitors", "Visitors", views.visitors, (roles) => roles.includes("foreign-agent")],
  ["registrations", "Registrations", views.registrations, () => true],
  ["counters", "Counters", views.counters, () => true],
];

let leave = null, here = null;
function route(focus) {
  const [, name = "", ...rest] = location.hash.split("/");
  if (here === location.hash) return;
  here = location.hash;
  leave?.();
  main.replaceChildren();
  const page = pages.find(([n]) => n === name);
  if (name === "node" && rest.length) {
    leave = views.node(main, state, decodeURIComponent(rest.join("/")));
    document.title = decodeURIComponent(rest.join("/")) + " – careof";
  } else {
    leave = (page ?? pages[0])[2](main, state);
    document.title = (page ?? pages[0])[1] + " – careof";
  }
  frame();
  if (focus) { main.focus({ preventScroll: true }); scrollTo(0, 0); }
}

let framed = "";
function frame() {
  const roles = (state.status?.roles ?? []).map((r) => r.role), name = location.hash.split("/")[1] ?? "";
  const what = JSON.stringify([roles, name]);
  if (what === framed) return;
  framed = what;
  nav.replaceChildren(...pages.filter(([, , , fits]) => fits(roles)).map(([n, title]) => h("a", { href: "#/" + n, "aria-current": n === name ? "page" : null }, title)));
}

// What is added up to a rate of registrations and of denials, by role.
const accepted = /^(home-agent\.registrations_(bound|refreshed|moved|deregistered)|foreign-agent\.registrations_accepted|mobile-node\.registered)$/;
const denied = /\.(denied|refused)[_-]\d+$/;

async function poll() {
  try {
    const [{ status }, { counters }] = await Promise.all([ask("status"), ask("counters")]);
    state.status = status; state.counters = counters;
    const values = { sent: status.forwarded.sent_bytes * 8, received: status.forwarded.received_bytes * 8, accepted: 0, denied: 0 };
    for (const c of counters) {
      values["= " + c.name] = c.value;
      if (accepted.test(c.name)) values.accepted += c.value;
      if (denied.test(c.name)) values.denied += c.value;
    }
    state.meter.add(Date.now(), values);
    healthy(true, `up ${span((Date.now() - new Date(status.started)) / 1000)}`);
    document.getElementById("about").textContent = `careof ${status.version} · ${status.plane} plane on ${status.device}, MTU ${status.mtu} · ${status.config_file}`;
    frame();
  } catch (error) {
    healthy(false, "no answer: " + error.message);
  }
}

function healthy(good, text) {
  health.className = "health " + (good ? "good" : "bad");
  if (health.textContent !== text) health.textContent = text;
}

// The theme: as the system says, until somebody chooses.
const button = document.getElementById("theme");
const icons = { light: "M12 4V2M12 22v-2M4 12H2M22 12h-2M6 6L4.6 4.6M19.4 19.4L18 18M6 18l-1.4 1.4M19.4 4.6L18 6M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8", dark: "M20 14.5A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.5" };
const dark = matchMedia("(prefers-color-scheme: dark)");
const theme = () => document.documentElement.dataset.theme ?? (dark.matches ? "dark" : "light");
function paint() {
  const other = theme() === "dark" ? "light" : "dark";
  button.setAttribute("aria-label", `Use the ${other} theme`);
  button.replaceChildren(h("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, h("path", { d: icons[other] })));
}
try { const chosen = localStorage.getItem("theme"); if (chosen === "dark" || chosen === "light") document.documentElement.dataset.theme = chosen; } catch { /* not allowed to keep anything */ }
button.addEventListener("click", () => {
  document.documentElement.dataset.theme = theme() === "dark" ? "light" : "dark";
  try { localStorage.setItem("theme", theme()); } catch { /* then it is for this page only */ }
  paint();
});
dark.addEventListener("change", paint);
paint();

// "/" goes to the search, as in many programs.
addEventListener("keydown", (e) => {
  if (e.key === "/" && !/^(INPUT|TEXTAREA)$/.test(document.activeElement.tagName)) {
    const input = main.querySelector("input[type=search]");
    if (input) { e.preventDefault(); input.focus(); }
  }
});
document.querySelector(".skip").addEventListener("click", (e) => { e.preventDefault(); main.focus(); });

let soon;
hear((e) => {
  soon ??= setTimeout(async () => {
    soon = undefined;
    try {
      ({ status: state.status } = await ask("status"));
      for (const ear of state.meter.ears) ear();
    } catch { /* the next poll says so */ }
  }, 400);
  state.events.push(e);
  if (state.events.length > 200) state.events.shift();
});
listen(() => {}, () => {});
addEventListener("hashchange", () => route(true));
poll().then(() => route(false));
setInterval(poll, 2000);
