// Follows a run: loads the body when the server says that there is something new, and finally the files.
const content = document.getElementById("content");
const lost = document.getElementById("lost");
const query = window.location.search;
// The number of the latest request for the body: an answer to an earlier one is not used.
let latest = 0;
let isLoading = false;

async function load() {
  // While someone looks at a part of the run, it stays.
  const isReading = selecting !== null || (view !== null && view !== full);
  if (isLoading || isReading) return;
  isLoading = true;
  try {
    await loadNow();
  } finally {
    isLoading = false;
  }
}

async function loadNow() {
  latest += 1;
  const own = latest;
  const response = await fetch(`body${query}`);
  const body = await response.text();
  if (response.ok && own === latest) replace(body);
}

// Open details stay open, hidden series hidden, and tables where they were scrolled to.
function replace(body) {
  const all = (selector) => [...content.querySelectorAll(selector)];
  const open = all("details[open]").map(nameOf);
  const hidden = all(".legend button[aria-pressed=false]").map(nameOf);
  const scrolled = all(".scroll").map((it) => [it.scrollLeft, it.scrollTop]);
  content.innerHTML = body;
  for (const details of all("details")) details.open = open.includes(nameOf(details));
  all(".scroll").forEach((it, at) => { [it.scrollLeft, it.scrollTop] = scrolled[at] ?? [0, 0]; });
  document.title = `Muster: ${content.querySelector("h1")?.textContent ?? "live"}`;
  hide();
  attach();
  all(".legend button").filter((button) => hidden.includes(nameOf(button))).forEach(toggle);
}

function nameOf(it) {
  return `${it.closest("section")?.id}/${(it.querySelector("summary") ?? it).textContent}`;
}

// The server ends after the run, so the page keeps the files.
async function keepFiles() {
  for (const link of content.querySelectorAll("a[data-file]")) {
    const response = await fetch(link.dataset.file + query);
    if (response.ok) link.href = URL.createObjectURL(await response.blob());
  }
}

const events = new EventSource(`events${query}`);
events.addEventListener("open", () => { lost.hidden = true; });
events.addEventListener("error", () => { lost.hidden = false; });
events.addEventListener("news", load);
events.addEventListener("finished", async () => {
  await loadNow();
  await keepFiles();
  events.close();
});
