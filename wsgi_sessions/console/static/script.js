// Reads the board again every ten seconds while the page is seen. Everything works without this file.
"use strict";

const SECONDS = 10;
const button = document.getElementById("refresh");
let isOn = true;

async function refresh() {
  const response = await fetch("/console/board");
  if (!response.ok) {
    throw new Error(`the console answered with ${response.status}`);
  }
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  document.getElementById("board").replaceWith(page.getElementById("board"));
}

function report(error) {
  const line = document.getElementById("as-of");
  line.textContent = `Not refreshed: ${error.message}. Was the console stopped?`;
  line.className = "status bad";
}

async function watch() {
  if (isOn && !document.hidden) {
    await refresh().catch(report);
  }
  setTimeout(watch, SECONDS * 1000);
}

button?.addEventListener("click", () => {
  isOn = !isOn;
  button.setAttribute("aria-pressed", String(isOn));
  button.textContent = isOn ? "Refreshing" : "Paused";
});

if (button) {
  button.hidden = false;
  setTimeout(watch, SECONDS * 1000);
}

// Ending cannot be undone.
for (const form of document.querySelectorAll("form.revoke")) {
  form.addEventListener("submit", (event) => {
    if (!confirm("End it? The user has to log in again there.")) {
      event.preventDefault();
    }
  });
}
