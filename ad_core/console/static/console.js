// Keys, swapping of the main part, zoom and the map. Every page works without it, but for the map.
"use strict";

const $ = (selector, from = document) => from.querySelector(selector);
const view = { scale: 1, x: 0, y: 0 };
let busy = false;

// Puts the main part of another page in place of this one's. A page that is none of the console's,
// such as the log-in, is loaded whole.
function swap(text, address, { push }) {
  const page = new DOMParser().parseFromString(text, "text/html");
  const main = $("main", page);
  if (!main || !$("meta[name=csrf]", page)) {
    location.assign(address);
    return;
  }
  const held = document.activeElement?.getAttribute("href");
  document.title = page.title;
  $("meta[name=csrf]").content = $("meta[name=csrf]", page).content;
  $("nav").replaceWith($("nav", page));
  $("main").replaceWith(main);
  if (push) {
    history.pushState(null, "", address);
    scrollTo(0, 0);
    main.focus({ preventScroll: true });
  } else if (held) $(`main [href="${CSS.escape(held)}"]`)?.focus({ preventScroll: true });
  begin();
}

function say(text) {
  $("#status").textContent = text;
}

// Asks for a page, and shows it.
async function ask(address, options = {}, push = true) {
  if (busy) return;
  busy = true;
  $("main").classList.add("loading");
  try {
    const answer = await fetch(address, { credentials: "same-origin", ...options });
    const text = await answer.text();
    const html = (answer.headers.get("content-type") ?? "").startsWith("text/html");
    if (!html) say(`Not done (${answer.status}): ${text.slice(0, 200)}`);
    else {
      say("");
      swap(text, answer.url, { push });
    }
  } catch {
    say("The service does not answer. Load the page again, and see what was noted.");
  } finally {
    busy = false;
    $("main").classList.remove("loading");
  }
}

function send(form, button) {
  const body = new URLSearchParams(new FormData(form));
  if (button?.name) body.append(button.name, button.value);
  const headers = { "X-CSRF-Token": $("meta[name=csrf]").content };
  return ask(form.getAttribute("action"), { method: "POST", body, headers });
}

document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.getAttribute("action") === "/logout") return;
  event.preventDefault();
  if (form.method === "post") {
    send(form, event.submitter);
    return;
  }
  const asked = new URLSearchParams(new FormData(form));
  ask(`${form.getAttribute("action")}?${asked}`);
});

document.addEventListener("change", (event) => {
  if (event.target.form?.hasAttribute("data-auto")) event.target.form.requestSubmit();
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[href^='/']");
  if (event.target.closest("[data-do]")) act(event.target.closest("[data-do]").dataset.do);
  if (!link || link.hasAttribute("download") || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  ask(link.getAttribute("href"));
});

addEventListener("popstate", () => ask(location.href, {}, false));

// The map, and the zoom of the picture.
function act(what) {
  if (what === "map") toggleMap();
  else if (what === "fit") Object.assign(view, { scale: 1, x: 0, y: 0 });
  else zoom(what === "in" ? 1.4 : 1 / 1.4);
  place();
}

function toggleMap() {
  const map = $("#map");
  if (!map) return;
  map.hidden = !map.hidden;
  $("[data-do=map]").setAttribute("aria-pressed", String(!map.hidden));
}

function zoom(factor, at) {
  const stage = $("#stage");
  if (!stage) return;
  const box = stage.getBoundingClientRect();
  const [x, y] = at ?? [box.width / 2, box.height / 2];
  const scale = Math.min(16, Math.max(1, view.scale * factor));
  view.x = x - ((x - view.x) * scale) / view.scale;
  view.y = y - ((y - view.y) * scale) / view.scale;
  view.scale = scale;
}

function place() {
  const sheet = $("#sheet");
  if (!sheet) return;
  const { width, height } = $("#stage").getBoundingClientRect();
  view.x = Math.min(0, Math.max(width * (1 - view.scale), view.x));
  view.y = Math.min(0, Math.max(height * (1 - view.scale), view.y));
  sheet.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
  sheet.classList.toggle("near", view.scale >= 4);
}

function dragging(stage) {
  let from = null;
  stage.addEventListener("pointerdown", (event) => {
    from = [event.clientX - view.x, event.clientY - view.y];
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!from) return;
    [view.x, view.y] = [event.clientX - from[0], event.clientY - from[1]];
    place();
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => (from = null));
  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoom(event.deltaY < 0 ? 1.2 : 1 / 1.2, [event.clientX - box.left, event.clientY - box.top]);
    place();
  }, { passive: false });
}

// Keys. In a field they write, but for Enter and Escape.
const MOVES = { ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60] };
const ACTS = { " ": "map", "+": "in", "=": "in", "-": "out", "0": "fit" };

function pressed(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat) return;
  const field = event.target.closest("input:not([type=checkbox]), select, textarea");
  if (field) inField(event, field);
  else if (event.key === " " && event.target.closest("button, input")) return;
  else if ($("#stage") && event.key in ACTS) take(event, () => act(ACTS[event.key]));
  else if (event.target.id === "stage" && event.key in MOVES) {
    take(event, () => {
      view.x += MOVES[event.key][0];
      view.y += MOVES[event.key][1];
      place();
    });
  } else if (event.key === "2" && $("#defect")) take(event, () => $("#defect").focus());
  else byKey(event);
}

function byKey(event) {
  const own = event.target.closest("a, button");
  const target = $(`[data-key="${CSS.escape(event.key)}"]`);
  if (target && !(own && event.key === "Enter")) take(event, () => target.click());
}

// Enter in the type of a defect is the verdict "defect".
function inField(event, field) {
  if (event.key === "Escape") take(event, () => $("main").focus());
  else if (event.key === "Enter" && field.id === "defect") {
    take(event, () => $("[data-key='2']").click());
  }
}

function take(event, what) {
  event.preventDefault();
  what();
}

document.addEventListener("keydown", pressed);

// What a page needs when it has come.
function begin() {
  Object.assign(view, { scale: 1, x: 0, y: 0 });
  if ($("#stage")) dragging($("#stage"));
}

setInterval(() => {
  const seconds = Number($("main").dataset.refresh ?? 0);
  const writing = document.activeElement?.closest("input, select");
  if (seconds && !document.hidden && !writing) ask(location.href, {}, false);
}, 10_000);

begin();
