// A table of any length: only the rows in sight are there, and they are
// fetched in pages.

import { h, number, say } from "./dom.js";
import { ask } from "./api.js";

const tall = 38, heading = 42, chunk = 100;

// table shows a list of the daemon's. Columns are {key, title, wide, cell,
// right, sort}; open is called for a row.
export function table({ what, label, columns, open, order, refresh = 5000 }) {
  let search = "", matched = 0, total = 0, focus = 0, sort = order, generation = 0;
  const pages = new Map(), loading = new Set();
  // Tracks must not depend on what is in them, or rows would not line up.
  const grid = columns.map((c) => c.wide.endsWith("fr") ? `minmax(0, ${c.wide})` : c.wide).join(" ");
  const space = h("div", { class: "space", role: "rowgroup" });
  const head = h("div", { class: "row head", role: "row", "aria-rowindex": 1 });
  head.style.gridTemplateColumns = grid;
  const scroll = h("div", { class: "scroll", tabindex: -1, role: "presentation" }, head, space);
  const box = h("div", { class: "card table", role: "table", "aria-label": label }, scroll);
  const count = h("span", { class: "count", role: "status" });
  const lines = new Map();
  const none = h("p", { class: "empty", hidden: true });
  box.append(none);

  for (const c of columns) {
    const cell = h("div", { role: "columnheader", class: c.right ? "right" : "" });
    if (c.sort === false) cell.append(h("span", { class: "plain" }, c.title));
    else cell.append(h("button", { type: "button", onclick: () => { sort = sort === c.key ? "-" + c.key : c.key; start(); } }, c.title));
    cell.sortKey = c.key;
    head.append(cell);
  }

  function start() {
    for (const cell of head.children) {
      cell.setAttribute("aria-sort", sort === cell.sortKey ? "ascending" : sort === "-" + cell.sortKey ? "descending" : "none");
    }
    pages.clear(); generation++; focus = 0;
    scroll.scrollTop = 0;
    draw();
  }

  async function load(page, again) {
    const key = `${generation} ${page}`;
    if (loading.has(key) || pages.has(page) && !again) return;
    loading.add(key);
    const mine = generation;
    try {
      const body = await ask(`${what}?limit=${chunk}&offset=${page * chunk}&search=${encodeURIComponent(search)}&sort=${sort || ""}`);
      if (mine !== generation) return;
      pages.set(page, body[what]);
      if (body.page.matched !== matched || body.page.total !== total || page === 0) {
        matched = body.page.matched; total = body.page.total;
        count.textContent = search ? `${number(matched)} of ${number(total)}` : number(total);
      }
      none.hidden = matched > 0;
      none.textContent = search ? `Nothing among ${number(total)} matches “${search}”.` : "There is nothing yet.";
      box.setAttribute("aria-rowcount", matched + 1);
      draw();
    } catch (error) {
      if (mine === generation) { none.hidden = false; none.textContent = error.message; }
    } finally { loading.delete(key); }
  }

  function draw() {
    if (!pages.size) load(0);
    space.style.height = matched * tall + "px";
    const first = Math.max(0, Math.floor(scroll.scrollTop / tall) - 6);
    const last = Math.min(matched - 1, Math.ceil((scroll.scrollTop + scroll.clientHeight) / tall) + 6);
    for (const [i, line] of lines) if (i < first || i > last) { if (line.contains(document.activeElement)) scroll.focus({ preventScroll: true }); line.remove(); lines.delete(i); }
    let next = null;
    for (let i = last; i >= first; i--) {
      const page = Math.floor(i / chunk);
      const item = pages.get(page)?.[i % chunk];
      if (!item) load(page);
      let line = lines.get(i);
      if (!line) {
        line = h("div", { class: "row line", role: "row", "aria-rowindex": i + 2, onclick: () => line.item && open?.(line.item), onfocus: () => { focus = i; } });
        line.style.gridTemplateColumns = grid;
        line.style.top = i * tall + "px";
        lines.set(i, line);
        space.insertBefore(line, next);
      }
      next = line;
      line.tabIndex = i === focus ? 0 : -1;
      line.classList.toggle("loading", !item);
      if (line.item !== item || !line.firstChild) {
        line.item = item;
        line.replaceChildren(...columns.map((c) => h("div", { role: "cell", class: c.right ? "right" : "" }, item ? c.cell(item) : "…")));
      }
    }
    if (pages.size > 40) for (const page of pages.keys()) if (pages.size > 30 && Math.abs(page * chunk - first) > 10 * chunk) pages.delete(page);
  }

  function go(to) {
    focus = Math.max(0, Math.min(matched - 1, to));
    const top = focus * tall;
    if (top < scroll.scrollTop) scroll.scrollTop = top;
    if (top + tall + heading > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = top + tall + heading - scroll.clientHeight;
    draw();
    lines.get(focus)?.focus({ preventScroll: true });
  }
  scroll.addEventListener("scroll", draw, { passive: true });
  scroll.addEventListener("keydown", (e) => {
    const screen = Math.max(1, Math.floor(scroll.clientHeight / tall) - 1);
    const to = { ArrowDown: focus + 1, ArrowUp: focus - 1, PageDown: focus + screen, PageUp: focus - screen, Home: 0, End: matched - 1 }[e.key];
    if (to !== undefined) { e.preventDefault(); go(to); }
    if (e.key === "Enter" && lines.get(focus)?.item) open?.(lines.get(focus).item);
  });

  const input = h("input", { type: "search", placeholder: "Address, name, state …", "aria-label": `Search ${label.toLowerCase()}`, autocomplete: "off", spellcheck: "false" });
  let wait;
  input.addEventListener("input", () => {
    clearTimeout(wait);
    wait = setTimeout(() => { search = input.value.trim(); start(); load(0).then(() => say(`${number(matched)} found`)); }, 180);
  });
  const fit = () => { scroll.style.height = Math.max(220, innerHeight - box.getBoundingClientRect().top - 76) + "px"; draw(); };
  addEventListener("resize", fit);
  const timer = setInterval(() => {
    const first = Math.floor(scroll.scrollTop / tall / chunk), last = Math.floor((scroll.scrollTop + scroll.clientHeight) / tall / chunk);
    for (let page = first; page <= last; page++) load(page, true);
  }, refresh);
  requestAnimationFrame(() => { fit(); start(); });
  return {
    box, count,
    search: h("div", { class: "search" }, h("svg", { viewBox: "0 0 24 24", "aria-hidden": "true" }, h("circle", { cx: 11, cy: 11, r: 7 }), h("path", { d: "M20 20l-4-4" })), input),
    close() { clearInterval(timer); removeEventListener("resize", fit); },
  };
}
