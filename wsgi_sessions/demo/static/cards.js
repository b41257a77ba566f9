// The cards: what a background call finds, and who uses the session, live. Without this file their
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
    setTimeout(watch, SECOND);
  } catch (error) {
    report("use", error);
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
