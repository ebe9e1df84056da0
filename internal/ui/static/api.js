// Questions to the daemon, and its events.

export class Unanswered extends Error {}

export async function ask(path) {
  let response;
  try {
    response = await fetch("api/v1/" + path, { cache: "no-store" });
  } catch {
    throw new Unanswered("the dashboard's server does not answer (is `careof ui` running?)");
  }
  const body = await response.json().catch(() => ({ error: response.statusText }));
  if (response.status === 502) throw new Unanswered(body.error);
  if (!response.ok) throw new Error(body.error || response.statusText);
  return body;
}

let known;
// codes are all reply codes, explained, by number.
export function codes() {
  known ??= fetch("api/codes").then((r) => r.json()).then((b) => new Map(b.codes.map((c) => [c.code, c])));
  return known;
}

// Kinds that tell a person something. Renewals are numbers, not news.
const kinds = ["bound", "moved", "unbound", "expired", "restored", "denied", "failed", "registered", "refused", "lost", "home", "deregistered", "resync", "link-up", "link-down", "revoked"];

const ears = new Set();

// hear calls ear with each event until the function that it returns is called.
export function hear(ear) {
  ears.add(ear);
  return () => ears.delete(ear);
}

// listen opens the stream. The browser resumes it after the last event that it
// saw, by itself.
export function listen(opened, closed) {
  const source = new EventSource("api/v1/events?after=0&kinds=" + kinds.join(","));
  source.onopen = opened;
  source.onerror = () => {
    closed();
    if (source.readyState === EventSource.CLOSED) setTimeout(() => listen(opened, closed), 3000);
  };
  for (const kind of [...kinds, "gap"]) {
    source.addEventListener(kind, (m) => {
      const e = JSON.parse(m.data);
      for (const ear of ears) ear(e);
    });
  }
}

const words = {
  bound: ["is bound at", "good"], moved: ["moved to", "good"], unbound: ["deregistered", ""], expired: ["ran out", "amber"], restored: ["came back at", ""],
  denied: ["was denied", "bad"], failed: ["failed", "bad"], registered: ["registered at", "good"], refused: ["was refused", "bad"], lost: ["lost its registration", "amber"],
  home: ["is at home", "good"], deregistered: ["ended its registration", ""], resync: ["resynchronised its clock", ""], "link-up": ["is up", ""], "link-down": ["is down", "amber"],
  revoked: ["was revoked", "amber"], gap: ["events are missing here", "amber"],
};

// tone is the colour of a kind of event.
export const tone = (kind) => words[kind]?.[1] ?? "";

// sentence says what happened, without who.
export function sentence(e) {
  const verb = words[e.event]?.[0] ?? e.event;
  let text = verb;
  if (/ (at|to)$/.test(verb)) text = e.care_of_address ? `${verb} ${e.care_of_address}` : verb.replace(/ (at|to)$/, "");
  if (e.code) text += `: ${e.code}`;
  if (e.event === "link-up" || e.event === "link-down") return text;
  if (e.link) text += ` on ${e.link}`;
  return text;
}

// particulars are what else an event tells.
export function particulars(e) {
  const list = [];
  if (e.why) list.push(e.why);
  if (e.endpoint && e.care_of_address && !e.endpoint.startsWith(e.care_of_address)) list.push(`from ${e.endpoint.replace(/:0$/, "")}`);
  if (e.home_agent) list.push(`home agent ${e.home_agent}`);
  if (e.encapsulation) list.push(e.encapsulation);
  if (e.took) list.push(`${(e.took / 1e6).toFixed(1)} ms`);
  return list.join(", ");
}
