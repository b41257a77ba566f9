// The race: sends all requests without waiting for answers (browsers keep about six under way) and
// shows what the server has kept. Everything else on the page works without this file.
"use strict";

const form = document.getElementById("race-form");
const button = form.querySelector("button");
const verdict = document.getElementById("verdict");
const steps = Array.from({ length: Number(form.dataset.steps) }, (_, index) => index + 1);

async function post(path) {
  const response = await fetch(path, { method: "POST" });
  if (!response.ok) {
    throw new Error(`${path} was answered with ${response.status}: ${await response.text()}`);
  }
}

// The lanes as they were before any race, then a dot filled for each answer.
function clear(lane) {
  const box = document.getElementById(`lane-${lane}`);
  box.querySelector(".score").textContent = "under way";
  box.querySelector(".detail").textContent = "";
  box.querySelector(".dots").setAttribute("aria-label", "under way");
  for (const dot of box.querySelectorAll(".dot")) {
    dot.className = "dot waiting";
    dot.textContent = "";
  }
}

async function send(lane, step) {
  await post(`/race/${lane}/${step}`);
  document.querySelector(`#lane-${lane} [data-step="${step}"]`).className = "dot answered";
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
  verdict.textContent = page.getElementById("verdict").textContent;
}

async function race() {
  await post("/race/start");
  for (const [lane, name] of [["shared", "wsgi-sessions"], ["naive", "the naive session"]]) {
    verdict.textContent = `${steps.length} requests to ${name} …`;
    await Promise.all(steps.map((step) => send(lane, step)));
  }
  await post("/race/finish");
  await show();
}

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  button.disabled = true;
  document.querySelector("#race .notice")?.remove();
  clear("shared");
  clear("naive");
  try {
    await race();
  } catch (error) {
    verdict.textContent = `The race was interrupted. ${error.message}`;
  } finally {
    button.disabled = false;
    button.focus();
  }
});
