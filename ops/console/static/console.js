"use strict";
// Updates lamps, parts and times while the page is open. The page is complete without this file.

const lamps = Array.from(document.querySelectorAll(".lamps a"));

// Thousands of lamps may change at once: a frame changes only this many, so that it stays short.
const PER_FRAME = 100;
const due = new Map();
function setLamp(number, lamp, words) {
  if (due.size === 0) requestAnimationFrame(setDue);
  due.set(number, [lamp, words]);
}
function setDue() {
  let left = PER_FRAME;
  for (const [number, [lamp, words]] of due) {
    if (left-- === 0) break;
    const link = lamps[number];
    link.className = lamp;
    link.setAttribute("aria-label", `${link.dataset.node}: ${words}`);
    due.delete(number);
  }
  if (due.size > 0) requestAnimationFrame(setDue);
}

// A part that holds the focus is replaced only after the focus leaves it.
const waiting = new Map();
function setPart(name, html) {
  const place = document.getElementById(name);
  if (!place) return;
  if (place.contains(document.activeElement)) {
    waiting.set(name, html);
    return;
  }
  waiting.delete(name);
  place.innerHTML = html; // escaped by the server
}
document.addEventListener("focusout", () => setTimeout(() => waiting.forEach((html, name) => setPart(name, html))));

function ago(milliseconds) {
  const seconds = Math.max(0, Math.floor(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}
function tick() {
  for (const time of document.querySelectorAll("time[data-ago]")) {
    time.textContent = ago(Date.now() - Date.parse(time.dateTime));
  }
}

function follow(since) {
  const link = document.getElementById("link");
  let number = since;
  let source = null;
  const open = () => {
    source = new EventSource(`/live?since=${number}`);
    source.onopen = () => { link.hidden = true; };
    source.onerror = () => {
      link.textContent = "The console does not answer; this page may be out of date.";
      link.hidden = false;
    };
    source.onmessage = (message) => {
      number = Number(message.lastEventId);
      const change = JSON.parse(message.data);
      for (const [place, lamp, words] of change.lamps) setLamp(place, lamp, words);
      for (const [name, html] of Object.entries(change.parts)) setPart(name, html);
      tick();
    };
    source.addEventListener("reload", () => location.reload());
  };
  open();
  const pause = document.createElement("button");
  pause.className = "quiet pause";
  pause.textContent = "Pause";
  pause.setAttribute("aria-pressed", "false");
  pause.addEventListener("click", () => {
    const paused = pause.getAttribute("aria-pressed") === "false";
    pause.setAttribute("aria-pressed", String(paused));
    if (paused) source.close();
    else open();
  });
  document.getElementById("h-events").after(pause);
}

// Each group of lamps is one tab stop; the arrow keys move within it.
function moveFocus(event) {
  const link = event.target.closest(".lamps a");
  if (!link) return;
  const links = Array.from(link.closest(".lamps").querySelectorAll("a"));
  const at = links.indexOf(link);
  const top = links[0].offsetTop;
  const columns = links.findIndex((other) => other.offsetTop > top);
  const row = columns < 1 ? links.length : columns;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -row, ArrowDown: row, Home: -at, End: links.length - 1 - at };
  if (!(event.key in steps)) return;
  event.preventDefault();
  const next = links[at + steps[event.key]];
  if (!next) return;
  link.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

const tip = document.getElementById("tip");
function showTip(event) {
  const link = event.target.closest ? event.target.closest(".lamps a") : null;
  tip.hidden = !link;
  if (link) tip.textContent = link.getAttribute("aria-label");
}

tick();
setInterval(tick, 1000);
if (tip) {
  const nodes = document.querySelector(".nodes");
  nodes.addEventListener("keydown", moveFocus);
  nodes.addEventListener("pointerover", showTip);
  nodes.addEventListener("pointerleave", showTip);
  nodes.addEventListener("focusin", showTip);
  nodes.addEventListener("focusout", showTip);
}
if (document.body.dataset.live) follow(Number(document.body.dataset.live));
