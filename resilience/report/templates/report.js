(function () {
  "use strict";
  const data = document.getElementById("plot-data").textContent;
  const dark = JSON.parse(document.getElementById("plot-dark").textContent);
  const wantsDark = window.matchMedia("(prefers-color-scheme: dark)");
  const plots = document.getElementById("plots");
  const still = document.getElementById("static-timeline");
  let range = null;
  let drawn = 0;

  // A finger that scrolls the page must not be caught by a plot. Bokeh draws inside shadow roots.
  function letFingersScroll(node) {
    for (const each of node.querySelectorAll("*")) {
      if (each.classList.contains("bk-events")) each.style.touchAction = "pan-y";
      if (each.shadowRoot) letFingersScroll(each.shadowRoot);
    }
  }

  async function draw() {
    const turn = ++drawn;
    const text = wantsDark.matches ? data.replace(/#[0-9a-f]{6}\b/g, (color) => dark[color] || color) : data;
    const whole = JSON.parse(text);
    for (const each of document.querySelectorAll(".plot")) each.replaceChildren();
    plots.hidden = false;
    const views = await window.Bokeh.embed.embed_items(whole.docs, whole.items);
    if (turn !== drawn) return;
    still.hidden = true;
    const roots = window.Bokeh.documents[window.Bokeh.documents.length - 1].roots();
    range = roots[0].x_range;
    if (window.matchMedia("(pointer: coarse)").matches) {
      for (const root of roots) root.toolbar.active_drag = null;
      letFingersScroll(document);
    }
    return views;
  }

  function show(start, end) {
    if (range) range.setv({ start: Math.max(0, start), end: Math.min(range.bounds[1], end) });
  }

  document.addEventListener("click", (event) => {
    const link = event.target.closest("[data-at]");
    if (link) show(Number(link.dataset.at) - 5, Number(link.dataset.at) + 5);
    if (event.target.id === "whole-run" && range) show(range.bounds[0], range.bounds[1]);
  });
  wantsDark.addEventListener("change", draw);
  draw().catch((error) => {
    plots.hidden = true;
    still.hidden = false;
    console.error(error);
  });
})();
