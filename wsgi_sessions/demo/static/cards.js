// The cards: faults and what they cost, what a background call finds, and who uses the session, live. Without this file their
// buttons work all the same, as forms and links.
"use strict";

const SECOND = 1000;
const dataForm = document.getElementById("data-form");
const download = document.getElementById("download");
const progress = document.getElementById("progress");

// A form that is sent may end the session, and what is called in the background then be refused:
// the page is on its way out, so nothing is asked for it any more.
const leaving = new AbortController();
document.addEventListener("submit", (event) => event.defaultPrevented || leaving.abort());
window.addEventListener("pageshow", (event) => event.persisted && location.reload());

// A background call, for one part of the page.
async function update(path, part) {
  const response = await fetch(path, { signal: leaving.signal });
  if (!response.ok) {
    throw new Error(`${path} was answered with ${response.status}`);
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  document.querySelector(`#${part} .state`).replaceChildren(...page.body.childNodes);
}

function report(part, error) {
  if (leaving.signal.aborted) {
    return;
  }
  document.querySelector(`#${part} .state`).textContent = `That failed: ${error.message}. Load the page again.`;
}

// -- new data ----------------------------------------------------------------------------------

dataForm?.addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    // The answer is a redirect to the page, which is not what is wanted here.
    await fetch(dataForm.action, { method: "POST", redirect: "manual" });
    await update("/freshness", "freshness");
  } catch (error) {
    report("freshness", error);
  }
});

// A link to the page that one is on would go to its top.
document.getElementById("freshness").addEventListener("click", (event) => {
  if (event.target.matches(".reload")) {
    event.preventDefault();
    location.reload();
  }
});

// -- the download ------------------------------------------------------------------------------

async function watch() {
  try {
    if (!document.hidden) {
      await update("/use", "use");
    }
  } catch (error) {
    report("use", error); // and again: a store that was stopped comes back
  }
  if (!leaving.signal.aborted) {
    setTimeout(watch, SECOND);
  }
}

async function read() {
  const response = await fetch(download.href);
  if (!response.ok) {
    throw new Error(`the download was answered with ${response.status}`);
  }
  const total = Number(response.headers.get("Content-Length"));
  const reader = response.body.getReader();
  let bytes = 0;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    bytes += part.value.length;
    progress.value = bytes / total;
  }
}

download?.addEventListener("click", async (event) => {
  event.preventDefault();
  if (!progress.hidden) {
    return;
  }
  progress.value = 0;
  progress.hidden = false;
  try {
    await read();
  } catch (error) {
    report("use", error);
  } finally {
    progress.hidden = true;
  }
});

if (download) {
  setTimeout(watch, SECOND);
}

// -- faults ------------------------------------------------------------------------------------

const strip = document.getElementById("strip");
const outcome = document.getElementById("report");
const PULSE = 250;
const PULSES = 30;
const JSON_PLEASE = { Accept: "application/json" };

// One request that counts in the session, as a square in the strip: its worker, or what it met.
async function pulse() {
  const square = strip.appendChild(document.createElement("li"));
  try {
    const response = await fetch("/pulse", { method: "POST", signal: leaving.signal });
    if (response.ok) {
      const answer = await response.json();
      square.className = colour(answer.number);
      square.title = `answered by worker ${answer.number}, process ${answer.worker}`;
      square.textContent = answer.number;
      return answer;
    }
    square.className = "refused";
    square.textContent = response.status;
    const after = response.headers.get("Retry-After");
    square.title = `refused with ${response.status}, Retry-After: ${after}`;
    return { refused: response.status };
  } catch {
    square.className = "refused";
    square.title = "cut off with its worker";
    square.textContent = "✗";
    return { cut: true };
  }
}

// Pulses at their own pace, whatever becomes of the earlier ones.
async function pulses() {
  const pending = [];
  for (let number = 0; number < PULSES; number += 1) {
    pending.push(pulse());
    await new Promise((resolve) => { setTimeout(resolve, PULSE); });
  }
  return Promise.all(pending);
}

function sum(answers, before) {
  const good = answers.filter((answer) => "pulses" in answer);
  return {
    good: good.length,
    counted: Math.max(before, ...good.map((answer) => answer.pulses)) - before,
    refused: answers.filter((answer) => answer.refused === 503).length,
    cut: answers.filter((answer) => answer.cut).length,
    workers: [...new Set(good.map((answer) => answer.number))].sort(),
    last: good.slice(-10).map((answer) => answer.worker),
  };
}

function told(kind, result, answer) {
  const tally = `${result.good} answered, ${result.counted} counted in your session`;
  const all = result.counted >= result.good && result.counted <= result.good + result.cut;
  const end = all ? "nothing lost." : "that does not add up!";
  if (kind === "stop") {
    return `While the store was stopped, ${result.refused} requests got a 503 with Retry-After. Then it was back: ${tally}, ${end}`;
  }
  const dead = result.last.includes(answer.killed) ? "is still there" : "is dead";
  const cut = result.cut ? `, ${result.cut} cut off with it` : "";
  return `Process ${answer.killed} ${dead}${cut}. Workers ${result.workers.join(", ")} went on: ${tally}, ${end}`;
}

async function breakIt(kind, target) {
  const body = new URLSearchParams(new FormData(target));
  const response = await fetch(target.action, { method: "POST", body, headers: JSON_PLEASE });
  if (!response.ok) {
    throw new Error(`${response.status}: load the page again`);
  }
  const answer = { ...await response.json(), killed: Number(body.get("pid")) };
  outcome.textContent = kind === "stop" ? "The store does not answer …" : `Process ${answer.killed} is killed …`;
  outcome.textContent = told(kind, sum(await pulses(), answer.pulses), answer);
}

for (const kind of ["kill", "stop"]) {
  document.getElementById(`${kind}-form`)?.addEventListener("submit", async (event) => {
    event.preventDefault();
    const buttons = document.querySelectorAll("#faults button");
    buttons.forEach((each) => { each.disabled = true; });
    strip.replaceChildren();
    try {
      await breakIt(kind, event.target);
    } catch (error) {
      outcome.textContent = `That failed: ${error.message}`;
    } finally {
      buttons.forEach((each) => { each.disabled = kind === "kill" && each.form.id === "kill-form"; });
    }
  });
}
