// The race: sends all requests to both lanes without waiting for answers (browsers keep about six
// under way) and shows what the server has kept. Everything else on the page works without this file.
"use strict";

const form = document.getElementById("race-form");
const button = form.querySelector("button");
const verdict = document.getElementById("verdict");
const steps = Array.from({ length: Number(form.dataset.steps) }, (_, index) => index + 1);
const LANES = ["shared", "naive"];
const COLOURS = 6;
const colour = (number) => `w${number ? ((number - 1) % COLOURS) + 1 : 0}`;
let workers = {}; // who answered each step of each lane

const isFirst = location.search === "?welcome"; // where the server leads a new visitor
if (isFirst) {
  history.replaceState(null, "", `/${location.hash}`);
}

async function post(path) {
  const response = await fetch(path, { method: "POST" });
  if (!response.ok) {
    throw new Error(`${path} was answered with ${response.status}: ${await response.text()}`);
  }
  return response.json();
}

const dot = (lane, step) => document.querySelector(`#lane-${lane} [data-step="${step}"]`);

// The lanes as they were before any race, then a dot filled for each answer.
function clear(lane) {
  const box = document.getElementById(`lane-${lane}`);
  box.querySelector(".score").textContent = "under way";
  box.querySelector(".detail").textContent = "";
  box.querySelector(".dots").setAttribute("aria-label", "under way");
  for (const each of box.querySelectorAll(".dot")) {
    each.className = "dot waiting";
    each.textContent = "";
  }
}

async function send(lane, step) {
  const { number } = await post(`/race/${lane}/${step}`);
  workers[`${lane} ${step}`] = number;
  dot(lane, step).className = `dot answered ${colour(number)}`;
}

// What is kept is counted by the server: the page is read again, and its parts are put in place.
async function show() {
  const response = await fetch("/");
  if (!response.ok) {
    throw new Error(`the page was answered with ${response.status}`);
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  for (const selector of [".answers", "#session", "#lane-shared", "#lane-naive"]) {
    document.querySelector(selector).replaceWith(page.querySelector(selector));
  }
  for (const lost of document.querySelectorAll("#lane-naive .dot.lost")) {
    lost.classList.add(colour(workers[`naive ${lost.dataset.step}`]));
  }
  verdict.textContent = page.getElementById("verdict").textContent;
}

async function race() {
  workers = {};
  await post("/race/start");
  verdict.textContent = `${steps.length} requests to each session …`;
  await Promise.all(steps.flatMap((step) => LANES.map((lane) => send(lane, step))));
  await post("/race/finish");
  await show();
}

async function run() {
  button.disabled = true;
  document.querySelector("#race .notice")?.remove();
  LANES.forEach(clear);
  try {
    await race();
  } catch (error) {
    verdict.textContent = `The race was interrupted. ${error.message}`;
  } finally {
    button.disabled = false;
    button.textContent = "Race again";
  }
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  await run();
  button.focus({ preventScroll: true });
});

if (isFirst) {
  run();
}
