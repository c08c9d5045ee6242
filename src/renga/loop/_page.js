"use strict";
// Numbers under the pointer, in all charts at once, as they share the axis of steps. The page says all without it, too.
const known = new WeakMap();
const plots = () => document.querySelectorAll(".plot");

function read(plot) {
  if (!known.has(plot)) {
    const found = JSON.parse(plot.parentElement.querySelector("script").textContent);
    const outputs = plot.parentElement.querySelectorAll("output");
    found.lines.forEach((line, i) => Object.assign(line, { output: outputs[i], last: outputs[i].textContent }));
    found.axis = plot.parentElement.querySelector(".axis");
    known.set(plot, found);
  }
  return known.get(plot);
}

function nearest(xs, x) {
  let low = 0, high = xs.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (xs[middle] < x) low = middle + 1; else high = middle;
  }
  return low > 0 && x - xs[low - 1] < xs[low] - x ? low - 1 : low;
}

const text = (y) => (y === null || y === undefined ? "–" : String(+y.toPrecision(4)));

function show(x) {
  document.body.classList.add("pointing");
  for (const plot of plots()) {
    const { span, against, lines, axis } = read(plot);
    const longest = lines.reduce((a, b) => (b.x.length > a.x.length ? b : a));
    const at = longest.x[nearest(longest.x, x)];
    let cursor = plot.querySelector(".cursor");
    if (!cursor) plot.append(cursor = Object.assign(document.createElement("i"), { className: "cursor" }));
    cursor.style.left = `${(100 * (at - span[0])) / (span[1] - span[0] || 1)}%`;
    axis.textContent = `${against} ${at.toLocaleString("en")}`;
    for (const line of lines) {
      const i = nearest(line.x, at);
      const band = line.low ? ` (${text(line.low[i])} … ${text(line.high[i])})` : "";
      line.output.textContent = text(line.y[i]) + band;
    }
  }
}

function hide() {
  document.body.classList.remove("pointing");
  for (const plot of plots()) {
    const { against, lines, axis } = read(plot);
    plot.querySelector(".cursor")?.remove();
    axis.textContent = against;
    for (const line of lines) line.output.textContent = line.last;
  }
}

const plotOf = (event) => event.target.closest?.(".plot");

function point(event) {
  const plot = plotOf(event);
  if (!plot) return hide();
  const { span } = read(plot), box = plot.getBoundingClientRect();
  show(span[0] + (span[1] - span[0]) * Math.min(1, Math.max(0, (event.clientX - box.left) / box.width)));
}

let place = 0;
document.addEventListener("pointermove", point);
document.addEventListener("pointerdown", point);
document.documentElement.addEventListener("pointerleave", hide);
document.addEventListener("focusout", hide);
document.addEventListener("keydown", (event) => {
  const plot = plotOf(event);
  const go = { ArrowLeft: -1, ArrowRight: 1, Home: -Infinity, End: Infinity }[event.key];
  if (!plot || go === undefined) return;
  event.preventDefault();
  const { x } = read(plot).lines[0];
  place = Math.min(x.length - 1, Math.max(0, place + go));
  show(x[place]);
});
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => (part.open = true)));
