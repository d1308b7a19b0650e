// Follows a run: loads the body when the server says that there is something new, and finally the files.
const content = document.getElementById("content");
const query = window.location.search;
let isLoading = false;

async function load() {
  // While someone reads a part of a chart, it stays.
  const isReading = selecting !== null || (view !== null && view !== full);
  if (isLoading || isReading) return;
  isLoading = true;
  try {
    const response = await fetch(`body${query}`);
    if (response.ok) replace(await response.text());
  } finally {
    isLoading = false;
  }
}

// Details that were open stay open.
function replace(body) {
  const open = [...content.querySelectorAll("details[open]")].map(nameOf);
  content.innerHTML = body;
  for (const details of content.querySelectorAll("details")) details.open = open.includes(nameOf(details));
  document.title = `Muster: ${content.querySelector("h1")?.textContent ?? "live"}`;
  hide();
  attach();
}

function nameOf(details) {
  return `${details.closest("section")?.id}/${details.querySelector("summary").textContent}`;
}

// The server ends after the run, so the page keeps the files.
async function keepFiles() {
  for (const link of content.querySelectorAll("a[data-file]")) {
    const response = await fetch(link.dataset.file + query);
    if (response.ok) link.href = URL.createObjectURL(await response.blob());
  }
}

const events = new EventSource(`events${query}`);
events.addEventListener("news", load);
events.addEventListener("finished", async () => {
  view = full;
  selecting = null;
  isLoading = false;
  await load();
  await keepFiles();
  events.close();
});
