package ui

// audit is run in the page and lists what somebody would stumble over who
// does not see well, or does not use a mouse: controls without a name,
// pictures without words, ids that are there twice, cells outside of tables,
// and text that hardly differs from its ground (WCAG 2.2, 1.4.3: 4.5 to 1, and
// 3 to 1 for large text).
const audit = `
const found = [];
const what = (e) => e.tagName.toLowerCase() + "." + (e.getAttribute("class") || "") + " " + JSON.stringify((e.textContent || "").trim().slice(0, 30));
const name = (e) => e.getAttribute("aria-label") || (e.labels && e.labels[0] && e.labels[0].textContent) || (e.textContent || "").trim() || e.getAttribute("placeholder");
for (const e of document.querySelectorAll("a[href], button, input, [role=link], [role=img], [role=table], [role=log], svg:not([aria-hidden])")) {
  if (!name(e) && !e.closest("[aria-hidden]")) found.push("has no name: " + what(e));
}
const ids = new Set();
for (const e of document.querySelectorAll("[id]")) { if (ids.has(e.id)) found.push("twice: #" + e.id); ids.add(e.id); }
for (const e of document.querySelectorAll("[aria-labelledby]")) if (!document.getElementById(e.getAttribute("aria-labelledby"))) found.push("labelled by nothing: " + what(e));
for (const e of document.querySelectorAll("[role=row]")) if (!e.closest("[role=table]")) found.push("a row without a table: " + what(e));
if (document.querySelectorAll("h1").length !== 1) found.push("headings of the first level: " + document.querySelectorAll("h1").length);
if (!document.documentElement.lang) found.push("no language");

const numbers = (c) => { const n = c.match(/[\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
const light = (c) => { const [r, g, b] = c.map((v) => { v /= 255; return v <= .04045 ? v / 12.92 : Math.pow((v + .055) / 1.055, 2.4); }); return .2126 * r + .7152 * g + .0722 * b; };
const ground = (e) => {
  for (let at = e; at; at = at.parentElement) {
    const c = numbers(getComputedStyle(at).backgroundColor);
    if (c[3] === 1) return c;
  }
  return [255, 255, 255, 1];
};
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const seen = new Set();
while (walker.nextNode()) {
  const e = walker.currentNode.parentElement;
  if (!walker.currentNode.textContent.trim() || !e.checkVisibility() || e.closest(".hidden, .skip, script, style, noscript, title, .loading, .fresh")) continue;
  const svg = e instanceof SVGElement, style = getComputedStyle(e);
  const c = numbers(svg ? style.fill : style.color);
  const box = svg && e.closest(".vertex") ? ground(e.closest("section")) : ground(e);
  const [a, b] = [light(c), light(box)].sort((x, y) => y - x);
  const ratio = (a + .05) / (b + .05), size = parseFloat(style.fontSize);
  const enough = size >= 24 || size >= 18.66 && style.fontWeight >= 700 ? 3 : 4.5;
  const key = e.className + style.color + box;
  if (ratio < enough && !seen.has(key)) { seen.add(key); found.push("hardly legible, " + ratio.toFixed(2) + ": " + what(e)); }
}
return found;
`

// audited reports what the audit finds in the page as it is now.
func (b *browser) audited(where string) {
	b.t.Helper()
	var found []string
	b.eval(audit, &found)
	for _, one := range found {
		b.t.Errorf("%s: %s", where, one)
	}
}
