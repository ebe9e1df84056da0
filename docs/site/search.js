// Finds pages that have every word, best title first. pages is in index.js.
"use strict";
(() => {
  const input = document.getElementById("search"), found = document.getElementById("found");
  const lower = pages.map(p => ({ ...p, title: p.Title.toLowerCase(), text: p.Text.toLowerCase() }));

  function search(query) {
    const words = query.toLowerCase().split(/\s+/).filter(Boolean);
    if (!words.length) return [];
    return lower
      .filter(p => words.every(w => p.title.includes(w) || p.text.includes(w)))
      .map(p => ({ p, score: words.reduce((s, w) => s + (p.title.includes(w) ? 100 : 0) + p.text.split(w).length - 1, 0), at: p.text.indexOf(words[0]) }))
      .sort((a, b) => b.score - a.score)
      .slice(0, 12);
  }

  function show() {
    const hits = search(input.value);
    found.replaceChildren(...hits.map(({ p, at }) => {
      const link = document.createElement("a"), title = document.createElement("b"), excerpt = document.createElement("small"), item = document.createElement("li");
      link.href = p.Path;
      title.textContent = p.Title;
      excerpt.textContent = at < 0 ? "" : "… " + p.Text.slice(Math.max(0, at - 60), at + 100) + " …";
      link.append(title, excerpt);
      item.append(link);
      return item;
    }));
    if (input.value.trim() && !hits.length) {
      const none = document.createElement("li");
      none.textContent = "No page has all of these words.";
      found.append(none);
    }
    found.hidden = !input.value.trim();
  }

  input.addEventListener("input", show);
  addEventListener("keydown", e => {
    if (e.key === "/" && document.activeElement !== input) { e.preventDefault(); input.focus(); }
    if (e.key === "Escape") { input.value = ""; show(); input.blur(); }
    if (e.key === "ArrowDown" || e.key === "ArrowUp") {
      const links = [...found.querySelectorAll("a")], at = links.indexOf(document.activeElement);
      if (!links.length || (at < 0 && document.activeElement !== input)) return;
      e.preventDefault();
      const to = at + (e.key === "ArrowDown" ? 1 : -1);
      (to < 0 ? input : links[Math.min(to, links.length - 1)]).focus();
    }
  });
})();
