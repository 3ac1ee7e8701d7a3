// The status page: reads the server's own API and shows it. All text goes in by textContent, so a name is never markup.
"use strict";

const EVERY_MS = 5000;
const PATIENCE_MS = 4000;
let token = ""; // in this page's memory only
let chosen = "";
let timer = 0;

const find = (id) => document.getElementById(id);

class ServerError extends Error {
  constructor(status, text) {
    super(text);
    this.status = status;
  }
}

async function ask(path, method = "GET") {
  const headers = { Accept: "application/json" };
  if (token) headers.Authorization = `Bearer ${token}`;
  const options = { method, headers, cache: "no-store", credentials: "omit", redirect: "error" };
  options.signal = AbortSignal.timeout(PATIENCE_MS);
  if (method === "POST") {
    headers["Content-Type"] = "application/json";
    options.body = "{}";
  }
  const answer = await fetch(path, options);
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new ServerError(answer.status, String(body.error ?? `status ${answer.status}`));
  return body;
}

function element(name, text = "", attributes = {}) {
  const made = document.createElement(name);
  made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function row(cells, heads = 1) {
  const made = element("tr");
  cells.forEach((cell, place) => {
    const box = place < heads ? element("th", "", { scope: "row" }) : element("td");
    box.append(cell instanceof Node ? cell : String(cell));
    made.append(box);
  });
  return made;
}

function header(cells) {
  const line = element("tr");
  for (const cell of cells) line.append(element("th", cell, { scope: "col" }));
  const head = element("thead");
  head.append(line);
  return head;
}

const is = (value) => typeof value === "number" && Number.isFinite(value);
const count = (value) => (is(value) ? value.toLocaleString("en") : "–");
const error = (value) => (is(value) ? (value === 0 ? "0" : value.toPrecision(3)) : "–");

function bytes(value) {
  if (!is(value)) return "–";
  const units = ["B", "kB", "MB", "GB", "TB"];
  let place = 0;
  while (value >= 999.5 && place < units.length - 1) {
    value /= 1000;
    place += 1;
  }
  return `${place ? value.toPrecision(3) : value} ${units[place]}`;
}

function seconds(value) {
  if (!is(value)) return "–";
  if (value >= 1 || value === 0) return `${Number(value.toPrecision(3))} s`;
  return value >= 1e-3 ? `${(value * 1e3).toPrecision(3)} ms` : `${(value * 1e6).toPrecision(3)} µs`;
}

function age(startedAt) {
  if (!is(startedAt)) return "–";
  const minutes = Math.max(0, Math.floor((Date.now() / 1000 - startedAt) / 60));
  const [days, hours] = [Math.floor(minutes / 1440), Math.floor(minutes / 60) % 24];
  return days ? `${days} d ${hours} h` : hours ? `${hours} h ${minutes % 60} min` : `${minutes} min`;
}

const share = (part, whole, show) => (is(whole) ? `${show(part)} of ${show(whole)}` : show(part));

function tell(text, kind) {
  const state = find("state");
  if (state.textContent !== text) state.textContent = text;
  state.className = kind;
}

function showLoad(load) {
  const { requests = {}, queue = {}, workers = {}, keys = {}, memory = {} } = load;
  const facts = [
    ["Running", count(requests.running)],
    ["Waiting", share(queue.waiting, queue.capacity, count)],
    ["Workers", share(workers.alive, workers.wanted, count)],
    ["Workers replaced", count(workers.restarts)],
    ["Predictions", count(requests.done)],
    ["Failed", count(requests.failed)],
    ["Keys on disk", share(keys.bytes, keys.capacity_bytes, bytes)],
    ["Keys in memory", share(memory.keys_bytes, memory.keys_capacity_bytes, bytes)],
    ["Up for", age(load.started_at)],
  ];
  find("load").replaceChildren(
    ...facts
      .filter(([, value]) => value !== "–")
      .map(([name, value]) => {
        const box = element("div");
        box.append(element("dt", name), element("dd", value));
        return box;
      }),
  );
  if (load.draining) tell(`Shutting down, version ${load.version}`, "warn");
  else if (load.ready) tell(`Ready, version ${load.version}`, "good");
  else tell(`Not ready, version ${load.version}`, "bad");
}

const READY = { READY: "good", UNAVAILABLE: "bad", LOADING: "warn", UNLOADING: "warn" };

async function showModels() {
  const index = await ask("/v2/repository/index", "POST");
  const entries = Array.isArray(index) ? index : [];
  const rows = await Promise.all(
    entries.map(async (entry) => {
      const name = String(entry.name);
      let protection = "–";
      if (entry.state === "READY") {
        const facts = await ask(`/v2/models/${encodeURIComponent(name)}`).catch(() => ({}));
        protection = String(facts.parameters?.tacit_protection ?? facts.platform ?? "–");
      }
      const state = element("span", entry.reason ? `${entry.state}: ${entry.reason}` : String(entry.state));
      state.className = READY[entry.state] ?? "";
      const button = element("button", "Show", {
        type: "button",
        "aria-label": `Show ${name}`,
        "aria-pressed": String(name === chosen),
      });
      button.addEventListener("click", () => choose(name));
      if (entry.state !== "READY") button.disabled = true;
      return row([element("code", name), entry.version ?? "", protection, state, button]);
    }),
  );
  const body = find("models").tBodies[0];
  const focused = document.activeElement?.getAttribute("aria-label");
  body.replaceChildren(...rows);
  if (focused) [...body.querySelectorAll("button")].find((b) => b.getAttribute("aria-label") === focused)?.focus();
  find("models-note").textContent = rows.length ? "" : "No model is served.";
}

async function choose(name) {
  chosen = name;
  for (const button of find("models").querySelectorAll("button")) {
    button.setAttribute("aria-pressed", String(button.getAttribute("aria-label") === `Show ${name}`));
  }
  const path = `/v2/models/${encodeURIComponent(name)}`;
  const nothing = (failure) => ({ failure: failure.message });
  const [offer, prices] = await Promise.all([
    ask(`${path}/plans`).catch(nothing),
    ask(`${path}/explain`).catch(nothing),
  ]);
  if (chosen !== name) return; // the reader has chosen another one meanwhile
  find("details-title").textContent = name;
  showPlans(offer);
  showPrices(prices);
  find("details").hidden = false;
  find("details-title").focus();
}

function showPlans(offer) {
  const plans = Array.isArray(offer.plans) ? offer.plans : [];
  const body = element("tbody");
  for (const plan of plans) {
    body.append(
      row([
        plan.batch === 1 ? "one sample" : `${count(plan.batch)} samples`,
        seconds(plan.seconds),
        bytes(plan.request_bytes),
        bytes(plan.response_bytes),
        bytes(plan.key_bytes),
        error(plan.error_bound),
        element("code", String(plan.plan_id ?? "").slice(0, 12)),
      ]),
    );
  }
  if (!plans.length) body.append(row([offer.failure ?? "none: this model is served without encryption"]));
  const heads = ["Request", "Seconds", "Up", "Down", "Keys", "Largest error", "Plan"];
  find("plans").replaceChildren(...(plans.length ? [header(heads)] : []), body);
}

const who = (sight) => `${(sight.who ?? []).join(", ") || "nobody"}${sight.note ? ` (${sight.note})` : ""}`;

function showPrices(prices) {
  const plans = Array.isArray(prices.plans) ? prices.plans : [];
  const refusals = Array.isArray(prices.refusals) ? prices.refusals : [];
  const table = find("prices");
  const lists = find("assumptions");
  lists.replaceChildren();
  if (!plans.length && !refusals.length) {
    const body = element("tbody");
    body.append(row([prices.failure ?? "no price list"]));
    table.replaceChildren(body);
    return;
  }
  const things = [...new Set(plans.flatMap((plan) => Object.keys(plan.sees ?? {})))];
  const lines = [
    ...things.map((thing) => [`who sees ${thing}`, (plan) => (plan.sees?.[thing] ? who(plan.sees[thing]) : "–")]),
    ["seconds of the provider", (plan) => seconds(plan.seconds)],
    ["seconds of the owner", (plan) => seconds(plan.owner_seconds)],
    ["up, one request", (plan) => bytes(plan.bytes_up)],
    ["down, one answer", (plan) => bytes(plan.bytes_down)],
    ["keys, once", (plan) => bytes(plan.key_bytes)],
    ["memory of the provider", (plan) => bytes(plan.memory_bytes)],
    ["largest error", (plan) => error(plan.error_bound)],
    ["parameters", (plan) => plan.parameters ?? "–"],
  ];
  const body = element("tbody");
  for (const [title, cell] of lines) {
    body.append(row([title, ...plans.map(cell), ...refusals.map(() => "–")]));
  }
  if (refusals.length) {
    body.append(row(["refused", ...plans.map(() => "–"), ...refusals.map((refusal) => refusal.reason ?? "")]));
  }
  const names = [...plans, ...refusals].map((plan) => String(plan.protection));
  table.replaceChildren(header(["", ...names]), body);
  for (const plan of plans) {
    const list = element("ul");
    for (const assumption of plan.assumptions ?? []) list.append(element("li", String(assumption)));
    lists.append(element("h3", `${plan.protection} assumes`), list);
  }
}

async function refresh(everything = false) {
  window.clearTimeout(timer);
  try {
    const load = await ask("/v2/load");
    find("access").hidden = true;
    find("load-note").textContent = "";
    showLoad(load);
    if (everything) await showModels();
  } catch (failure) {
    if (failure.status === 401 || failure.status === 403) {
      find("refused").textContent = token ? "The server does not know this token." : "";
      find("access").hidden = false;
      tell("The server asks who you are", "warn");
      return;
    }
    tell("The server does not answer", "bad");
    find("load-note").textContent = failure.message ?? "";
  }
  timer = window.setTimeout(() => refresh(++rounds % 6 === 0), EVERY_MS);
}

let rounds = 0;
find("access").addEventListener("submit", (event) => {
  event.preventDefault();
  token = find("token").value.trim();
  find("token").value = "";
  refresh(true);
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden) window.clearTimeout(timer);
  else if (find("access").hidden) refresh(true);
});
refresh(true);
