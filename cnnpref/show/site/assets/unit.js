// The page of a unit: keys, and the values of a trace under the pointer.
"use strict";
{
  const press = id => { const input = document.getElementById(id); if (!input || input.disabled) return false; input.click() };
  const follow = id => { const link = document.getElementById(id); if (!link) return false; location.href = link.href };
  Object.assign(CNNPREF_KEYS, {
    1: () => press("v1"), 2: () => press("v2"), 3: () => press("v3"),
    ArrowLeft: event => event.target.matches("input") ? false : follow("before"),
    ArrowRight: event => event.target.matches("input") ? false : follow("after"),
  });

  const figure = x => Math.abs(x) >= 1e7 || (x && Math.abs(x) < 1e-3) ? x.toExponential(2)
    : Math.abs(x) >= 100 ? Math.round(x).toLocaleString("en").replaceAll(",", "\u202f") : String(+x.toPrecision(3));

  for (const chart of document.querySelectorAll(".trace svg")) {
    const steps = JSON.parse(chart.dataset.steps), values = JSON.parse(chart.dataset.values);
    const points = chart.querySelector("polyline").points, told = chart.parentElement.querySelector(".read");
    const best = told.innerHTML, cursor = document.createElementNS("http://www.w3.org/2000/svg", "path");
    cursor.setAttribute("class", "cursor");
    let at = -1;

    const show = place => {
      at = Math.min(steps.length - 1, Math.max(0, place));
      cursor.setAttribute("d", `M${points[at].x} 0V96`);
      chart.append(cursor);
      const strong = document.createElement("b");
      strong.textContent = figure(values[at]).replace("-", "−");
      told.replaceChildren("step ", String(steps[at]), ": ", strong);
    };
    const leave = () => { at = -1; cursor.remove(); told.innerHTML = best };

    chart.addEventListener("pointermove", event => {
      const box = chart.getBoundingClientRect(), x = (event.clientX - box.left) / box.width * 320;
      let near = 0;
      for (let k = 1; k < points.length; k++) if (Math.abs(points[k].x - x) < Math.abs(points[near].x - x)) near = k;
      show(near);
    });
    chart.addEventListener("pointerleave", leave);
    chart.addEventListener("blur", leave);
    chart.addEventListener("keydown", event => {
      const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!by || event.ctrlKey || event.altKey || event.metaKey) return;
      show(at < 0 ? (by > 0 ? 0 : steps.length - 1) : at + by);
      event.preventDefault();
      event.stopPropagation();
    });
  }
}
