"use strict";
// Adds values under the pointer, zooming in time, and hiding of series. Everything is visible without it.
const tooltip = document.getElementById("tooltip");
let timeCharts = [];
let full = null;
let view = null;
// The chart in which a part is being selected, with the fraction at which that began.
let selecting = null;

const plain = (value) => String(+value.toPrecision(3));
const duration = (ms) => ms < 0.9995 ? `${plain(ms * 1e3)} µs` : ms < 999.5 ? `${plain(ms)} ms` : `${plain(ms / 1e3)} s`;
const element = (name, parent) => parent.appendChild(document.createElementNS(parent.namespaceURI, name));

function fraction(svg, event) {
  const box = svg.getBoundingClientRect();
  return Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
}

function valueAtHeight(svg, event) {
  const { y, yFrom, yTo, height } = svg.dataset;
  const share = 1 - (event.clientY - svg.getBoundingClientRect().top) / +height;
  if (y !== "log" || share < 0 || share > 1) return null;
  return +yFrom * Math.pow(+yTo / +yFrom, share);
}

// The row of the data table that belongs to a time: intervals are equally long except the last.
function row(figure, ms) {
  const rows = figure.querySelectorAll(".data tbody tr");
  if (!rows.length) return null;
  const length = rows.length > 1 ? firstEnd(rows[0]) - full.from : full.to - full.from;
  return rows[Math.min(rows.length - 1, Math.floor((ms - full.from) / length))];
}

function firstEnd(row) {
  return parseFloat(row.cells[0].textContent.split("–")[1].replace(/,/g, "")) * 1e3;
}

function describe(svg, event) {
  const figure = svg.closest(".figure");
  const lines = [];
  if (svg.dataset.from !== undefined) {
    const ms = view.from + fraction(svg, event) * (view.to - view.from);
    const cells = row(figure, ms);
    const heads = figure.querySelectorAll(".data thead th");
    if (cells) [...cells.cells].forEach((cell, at) => lines.push(at ? `${heads[at].textContent}  ${cell.textContent}` : cell.textContent));
    else lines.push(`${plain(ms / 1e3)} s`);
  }
  const value = valueAtHeight(svg, event);
  if (value !== null && figure.querySelector(".data") === null) lines.push(duration(value));
  return lines.join("\n");
}

function show(svg, event) {
  const text = describe(svg, event);
  tooltip.hidden = text === "";
  tooltip.textContent = text;
  const left = event.clientX + 14;
  tooltip.style.left = `${Math.min(left, window.innerWidth - tooltip.offsetWidth - 8)}px`;
  tooltip.style.top = `${Math.max(8, event.clientY - tooltip.offsetHeight - 12)}px`;
  for (const other of timeCharts) {
    const line = other.querySelector(".cursor");
    line.setAttribute("visibility", svg.dataset.from !== undefined ? "visible" : "hidden");
    const x = `${fraction(svg, event) * 100}%`;
    line.setAttribute("x1", x);
    line.setAttribute("x2", x);
  }
}

function hide() {
  tooltip.hidden = true;
  for (const svg of timeCharts) svg.querySelector(".cursor").setAttribute("visibility", "hidden");
}

function zoom(from, to) {
  view = { from, to };
  for (const svg of timeCharts) {
    const plot = svg.querySelector(".plot");
    const [, , , height] = plot.getAttribute("viewBox").split(" ");
    const width = +plot.dataset.width;
    const scale = width / (full.to - full.from);
    plot.setAttribute("viewBox", `${(from - full.from) * scale} 0 ${(to - from) * scale} ${height}`);
    for (const text of svg.querySelectorAll(".x-tick, .event-number")) move(text, from, to);
  }
}

function move(text, from, to) {
  text.dataset.at ??= full.from + parseFloat(text.getAttribute("x")) / 100 * (full.to - full.from);
  const share = (+text.dataset.at - from) / (to - from);
  text.setAttribute("x", `${share * 100}%`);
  text.setAttribute("visibility", share >= 0 && share <= 1 ? "visible" : "hidden");
}

// Prepares the charts of the page, again after they were replaced.
function attach() {
  timeCharts = [...document.querySelectorAll("svg.chart[data-from]")];
  full = timeCharts.length ? { from: +timeCharts[0].dataset.from, to: +timeCharts[0].dataset.to } : null;
  [view, selecting] = [full, null];
  for (const svg of document.querySelectorAll("svg.chart")) {
    svg.addEventListener("pointermove", (event) => show(svg, event));
    svg.addEventListener("pointerleave", hide);
  }
  for (const svg of timeCharts) attachTime(svg);
  for (const button of document.querySelectorAll(".legend button")) {
    button.addEventListener("click", () => toggle(button));
  }
}

function attachTime(svg) {
  const plot = svg.querySelector(".plot");
  plot.dataset.width = plot.getAttribute("viewBox").split(" ")[2];
  const line = element("line", svg);
  line.setAttribute("class", "cursor");
  line.setAttribute("visibility", "hidden");
  line.setAttribute("y1", "0");
  line.setAttribute("y2", svg.dataset.height);
  const selection = element("rect", svg);
  selection.setAttribute("class", "selection");
  selection.setAttribute("visibility", "hidden");
  selection.setAttribute("y", "0");
  selection.setAttribute("height", svg.dataset.height);
  // A finger scrolls the page.
  svg.addEventListener("pointerdown", (event) => {
    if (event.button === 0 && event.pointerType !== "touch") selecting = { svg, start: fraction(svg, event) };
  });
  svg.addEventListener("pointermove", (event) => {
    if (selecting?.svg !== svg) return;
    const now = fraction(svg, event);
    selection.setAttribute("visibility", "visible");
    selection.setAttribute("x", `${Math.min(selecting.start, now) * 100}%`);
    selection.setAttribute("width", `${Math.abs(now - selecting.start) * 100}%`);
  });
  svg.addEventListener("dblclick", () => {
    zoom(full.from, full.to);
    view = full;
  });
  svg.setAttribute("aria-description", "Drag to zoom in, double-click to show all");
}

function toggle(button) {
  const isShown = button.getAttribute("aria-pressed") !== "true";
  button.setAttribute("aria-pressed", String(isShown));
  for (const line of button.closest(".figure").querySelectorAll(`.plot .line.${button.dataset.series}`)) {
    line.setAttribute("visibility", isShown ? "visible" : "hidden");
  }
}

window.addEventListener("pointercancel", () => { selecting = null; });
window.addEventListener("pointerup", (event) => {
  if (selecting === null) return;
  const { svg, start } = selecting;
  const now = fraction(svg, event);
  const [low, high] = [Math.min(start, now), Math.max(start, now)];
  selecting = null;
  svg.querySelector(".selection").setAttribute("visibility", "hidden");
  const length = view.to - view.from;
  if (high - low > 0.01) zoom(view.from + low * length, view.from + high * length);
});

attach();
