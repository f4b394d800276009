"use strict";
const PERSON = [["m", "with_mask", "with a mask"], ["b", "without_mask", "without a mask"], ["i", "incorrect_mask", "worn incorrectly"],
  ["u", "unsure", "cannot tell"], ["n", "not_a_face", "not a face"]];
const MOMENT = [["n", "nobody", "nobody here"], ["y", "somebody", "somebody is here"]];
const WORDS = Object.fromEntries([...PERSON, ...MOMENT].map(([, verdict, words]) => [verdict, words]));
const AROUND_S = 1;
const AHEAD = 4;
const $ = (id) => document.getElementById(id);
const state = { items: [], queue: [], at: 0, whole: false, zoom: 1, times: [], loaded: new Map(), sample: null };

async function start() {
  state.items = await (await fetch("/api/items")).json();
  for (const [id, value] of [["state", (item) => item.state], ["place", (item) => item.place]]) {
    for (const name of [...new Set(state.items.map(value))].filter(Boolean).sort()) {
      $(id).append(new Option(WORDS[name] || name, name));
    }
  }
  await askProgress();
  rebuild();
}

async function askProgress() {
  const found = await (await fetch("/api/progress")).json();
  state.sample = found;
}

function rebuild() {
  const current = state.queue[state.at];
  const low = Number($("low").value) / 100, high = Number($("high").value) / 100;
  state.queue = state.items.filter((item) =>
    ($("show").value === "all" || ($("show").value === "done") === Boolean(item.verdict))
    && (!$("state").value || item.state === $("state").value) && (!$("place").value || item.place === $("place").value)
    && item.px >= Number($("least").value) && (item.p === null || (item.p >= low && item.p <= high)));
  state.at = Math.max(0, state.queue.indexOf(current));
  show();
}

function address(item) {
  return `${state.whole || item.person === null ? "/frame/" : "/picture/"}${item.number}`;
}

// pictures of the next items are fetched and decoded before they are asked for
function load(item) {
  const from = address(item);
  if (!state.loaded.has(from)) {
    const image = new Image();
    image.src = from;
    state.loaded.set(from, image);
    if (state.loaded.size > 40) state.loaded.delete(state.loaded.keys().next().value);
  }
  return state.loaded.get(from);
}

async function show() {
  const item = state.queue[state.at];
  $("video").pause();
  $("video").hidden = true;
  $("message").hidden = Boolean(item);
  $("frame").hidden = !item;
  $("play").disabled = !item?.video;
  progress();
  if (!item) {
    const isDone = state.items.every((one) => one.verdict);
    $("message").textContent = !state.items.length ? "There is nothing to review."
      : isDone ? "Everything is reviewed. Ctrl-C in the terminal ends the review." : "Nothing left with these filters.";
    $("who").textContent = "";
    $("facts").replaceChildren();
    $("verdicts").replaceChildren();
    return;
  }
  $("who").textContent = item.person === null ? "Is somebody here?" : `Person ${item.person}`;
  const facts = [["file", item.name], ["place", item.place], ["when", item.when], ["face", item.px ? `${item.px} px` : ""],
    ["verdict", item.verdict ? WORDS[item.verdict] : "none yet"]];
  $("facts").replaceChildren(...facts.filter(([, text]) => text).flatMap(([name, text]) => {
    const term = document.createElement("dt"), text_ = document.createElement("dd");
    term.textContent = name;
    text_.textContent = text;
    return [term, text_];
  }));
  $("verdicts").replaceChildren(...(item.person === null ? MOMENT : PERSON).map(([key, verdict, words]) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dataset.verdict = verdict;
    button.setAttribute("aria-pressed", String(item.verdict === verdict));
    button.append(Object.assign(document.createElement("kbd"), { textContent: key.toUpperCase() }), words);
    button.addEventListener("click", () => judge(verdict));
    return button;
  }));
  const image = load(item);
  try {
    await image.decode();
    $("picture").src = image.src;
    $("error").hidden = true;
  } catch {
    $("picture").removeAttribute("src");
    complain("The picture cannot be read. The input may have been moved.");
  }
  if (state.queue[state.at] !== item) return;
  $("picture").alt = item.person === null ? `A moment in ${item.name}` : `Person ${item.person} in ${item.name}`;
  $("picture").dataset.number = item.number;
  fit(item, image);
  for (const next of state.queue.slice(state.at + 1, state.at + 1 + AHEAD)) load(next);
}

function fit(item, image) {
  const stage = $("stage").getBoundingClientRect();
  const scale = Math.min((stage.width - 32) / image.naturalWidth, (stage.height - 32) / image.naturalHeight, state.whole ? 4 : 8) * state.zoom;
  $("picture").width = Math.round(image.naturalWidth * scale);
  $("picture").height = Math.round(image.naturalHeight * scale);
  const isBoxed = Boolean(item.box) && state.whole;
  $("box").hidden = !isBoxed;
  if (isBoxed) {
    const [left, top, right, bottom] = item.box, by = $("picture").width / item.size[0];
    Object.assign($("box").style, { left: `${left * by}px`, top: `${top * by}px`, width: `${(right - left) * by}px`, height: `${(bottom - top) * by}px` });
  }
}

function progress() {
  const done = state.items.filter((item) => item.verdict).length, total = state.items.length;
  const recent = state.times.slice(-20).sort((a, b) => a - b);
  const each = recent.length > 2 ? recent[Math.floor(recent.length / 2)] : 3;
  const minutes = Math.ceil((total - done) * each / 60);
  let text = `${done} of ${total} reviewed by ${state.sample.reviewer}`;
  if (done < total) text += `, about ${minutes} min left`;
  const rate = state.sample.rate;
  if (rate) text += `. So far ${(100 * rate[0]).toFixed(1)} % with a mask (${(100 * rate[1]).toFixed(1)} to ${(100 * rate[2]).toFixed(1)} %)`;
  if (state.sample.narrow) text += ": the interval is as narrow as asked, you may stop";
  $("progress").textContent = text;
  $("bar").max = Math.max(total, 1);
  $("bar").value = done;
}

function complain(text) {
  $("error").textContent = text;
  $("error").hidden = false;
}

async function send(path, body) {
  try {
    const answer = await fetch(path, { method: "POST", body: JSON.stringify(body) });
    if (!answer.ok) throw new Error(await answer.text());
    return await answer.json();
  } catch (error) {
    complain(`Not stored: ${error.message}. Is maskbatch review still running?`);
    return null;
  }
}

let since = performance.now();
function judge(verdict) {
  const item = state.queue[state.at];
  if (!item) return;
  state.times.push((performance.now() - since) / 1000);
  since = performance.now();
  const before = item.verdict;
  item.verdict = verdict;
  state.at += 1;
  show();
  send("/api/verdict", { number: item.number, verdict }).then(async (stored) => {
    if (stored === null) {
      item.verdict = before;
      progress();
    } else if (state.sample.rate !== undefined) {
      await askProgress();
      progress();
    }
  });
}

async function undo() {
  const answer = await send("/api/undo", {});
  if (answer === null) return;
  if (answer.number !== null) {
    const fresh = await (await fetch("/api/items")).json();
    state.items[answer.number].verdict = fresh[answer.number].verdict;
    const position = state.queue.indexOf(state.items[answer.number]);
    if (position < 0) return rebuild();
    state.at = position;
  }
  show();
}

function step(by) {
  state.at = Math.max(0, Math.min(state.queue.length, state.at + by));
  show();
}

function play() {
  const item = state.queue[state.at], video = $("video");
  if (!item || !item.video) return;
  if (!video.hidden) {
    video.pause();
    video.hidden = true;
    $("frame").hidden = false;
    return;
  }
  const from = Math.max(0, item.time_s - AROUND_S), to = item.time_s + AROUND_S;
  const source = `/video/${item.number}`;
  if (video.dataset.source !== source) {
    video.src = source;
    video.dataset.source = source;
  }
  video.hidden = false;
  $("frame").hidden = true;
  video.currentTime = from;
  video.ontimeupdate = () => { if (video.currentTime >= to) video.currentTime = from; };
  video.play().catch(() => complain("This browser cannot play the video. The whole frame (F) works."));
}

function zoom(by) {
  state.zoom = Math.max(0.5, Math.min(6, state.zoom * by));
  show();
}

const KEYS = {
  z: undo, backspace: undo, arrowleft: () => step(-1), arrowright: () => step(1), s: () => step(1), " ": play,
  f: () => { state.whole = !state.whole; state.zoom = 1; show(); }, "+": () => zoom(1.5), "-": () => zoom(1 / 1.5),
};
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || /INPUT|SELECT/.test(event.target.tagName)) return;
  const item = state.queue[state.at], key = event.key.toLowerCase();
  const verdict = item && (item.person === null ? MOMENT : PERSON).find(([own]) => own === key);
  if (verdict) judge(verdict[1]);
  else if (KEYS[key]) KEYS[key]();
  else return;
  event.preventDefault();
});
for (const [id, act] of [["undo", undo], ["back", () => step(-1)], ["skip", () => step(1)], ["whole", KEYS.f], ["play", play],
  ["closer", KEYS["+"]], ["wider", KEYS["-"]]]) $(id).addEventListener("click", act);
$("filters").addEventListener("input", rebuild);
$("filters").addEventListener("submit", (event) => event.preventDefault());
// a menu that was used with the mouse, and a number after Enter, give the keyboard back: the next key is a verdict
let isMouse = false;
$("filters").addEventListener("pointerdown", () => { isMouse = true; });
$("filters").addEventListener("keydown", (event) => {
  isMouse = false;
  if (event.key === "Enter" && event.target.tagName === "INPUT") event.target.blur();
});
$("filters").addEventListener("change", (event) => { if (isMouse && event.target.tagName === "SELECT") event.target.blur(); });
window.addEventListener("resize", () => { const item = state.queue[state.at]; if (item) fit(item, load(item)); });
start();
