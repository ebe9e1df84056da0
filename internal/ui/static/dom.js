// What every view draws with. Text is always text: nothing that a daemon
// says becomes markup.

const svgNames = new Set("svg g path rect circle line text title polyline".split(" "));

// h makes an element: h("p", {class: "soft"}, "words", child).
export function h(name, attributes = {}, ...children) {
  const e = svgNames.has(name) ? document.createElementNS("http://www.w3.org/2000/svg", name) : document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (key.startsWith("on")) e.addEventListener(key.slice(2), value);
    else e.setAttribute(key, value === true ? "" : value);
  }
  e.append(...children.flat().filter((c) => c !== undefined && c !== null && c !== false));
  return e;
}

export function size(n) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
  let i = 0;
  while (n >= 1024 && i < units.length - 1) { n /= 1024; i++; }
  return `${i === 0 || n >= 100 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

export function bits(n) {
  const units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s"];
  let i = 0;
  while (n >= 1000 && i < units.length - 1) { n /= 1000; i++; }
  return `${n >= 100 || i === 0 ? Math.round(n) : n.toFixed(1)} ${units[i]}`;
}

export const number = (n) => Math.round(n).toLocaleString("en");

export function rate(n) {
  if (n >= 100) return number(n);
  return String(Number(n.toFixed(n >= 10 ? 1 : 2)));
}

export function span(seconds) {
  if (seconds === null || seconds === undefined) return "no end";
  seconds = Math.max(0, seconds);
  if (seconds < 1) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return [`${Math.floor(seconds / 60)} min`, Math.floor(seconds % 60) && `${Math.floor(seconds % 60)} s`].filter(Boolean).join(" ");
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ${Math.floor(seconds % 3600 / 60)} min`;
  return `${Math.floor(seconds / 86400)} d ${Math.floor(seconds % 86400 / 3600)} h`;
}

export const clock = (t) => new Date(t).toLocaleTimeString("en-GB");

export function moment(t) {
  const d = new Date(t);
  const today = new Date().toDateString() === d.toDateString();
  return (today ? "" : d.toLocaleDateString("en-GB", { day: "numeric", month: "short" }) + " ") + d.toLocaleTimeString("en-GB") + "." + String(d.getMilliseconds()).padStart(3, "0");
}

export const nameOf = (e) => e.nai || e.home_address || "";

export function nodeLink(e, text) {
  const who = e.home_address || e.nai;
  return who ? h("a", { href: "#/node/" + encodeURIComponent(who) }, text || nameOf(e)) : text || "";
}

// say tells a screen reader, in a sentence.
export function say(text) { document.getElementById("said").textContent = text; }

export const still = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
