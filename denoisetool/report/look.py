"""How the page looks, in light and dark, and the few lines of script that move its sliders."""

from __future__ import annotations

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f5f5f3; --card: #ffffff; --ink: #1d1d1f; --soft: #66666b; --line: #dcdcd8;
  --accent: #0a66c2; --bad: #b3261e;
  --zoom: 1; --dpr: 1;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #161618; --card: #212124; --ink: #ececee; --soft: #a2a2a8; --line: #38383d;
    --accent: #6cb0f5; --bad: #ff8a80;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 73rem;
  background: var(--page); color: var(--ink);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif;
}
h1 { margin: 0; font-size: 1.7rem; line-height: 1.25; font-weight: 650; }
h2 { margin: 2.5rem 0 .75rem; font-size: 1.15rem; font-weight: 650; }
h3 { margin: 0; font-size: 1rem; font-weight: 650; overflow-wrap: anywhere; }
p { margin: .35rem 0; }
.soft { color: var(--soft); }
.path { overflow-wrap: anywhere; }
.bad { color: var(--bad); }
.tiles {
  display: flex; flex-wrap: wrap; gap: 1px;
  margin: 1.25rem 0; padding: 0; overflow: hidden;
  background: var(--line); border: 1px solid var(--line); border-radius: 10px;
}
.tiles > div { flex: 1 0 12rem; padding: .7rem .9rem; background: var(--card); }
@media (max-width: 40rem) { .tiles > div { flex-basis: 8.5rem; } }
.tiles dt { color: var(--soft); font-size: .82rem; }
.tiles dd { margin: 0; font-size: 1.15rem; font-weight: 600; font-variant-numeric: tabular-nums; }
.curve { width: 100%; max-width: 42rem; overflow: visible; }
.curve polyline { fill: none; stroke: var(--accent); stroke-width: 2.5; }
.curve line { stroke: var(--line); }
.curve text { fill: var(--soft); font-size: 14px; }
.bar {
  position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; gap: .25rem 1rem;
  align-items: center; margin: 0 -1.25rem; padding: .5rem 1.25rem;
  background: var(--page); border-bottom: 1px solid var(--line);
}
.bar fieldset { display: flex; gap: .9rem; margin: 0; padding: 0; border: 0; }
.bar legend { float: left; margin-right: .9rem; padding: 0; color: var(--soft); }
.bar label { cursor: pointer; white-space: nowrap; }
.cards {
  display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 1rem; margin-top: 1rem;
}
.magnified .cards { grid-template-columns: minmax(0, 1fr); }
.magnified article { grid-column: auto; }
@media (max-width: 72rem) {
  .cards { grid-template-columns: minmax(0, 1fr); }
  .cards article { grid-column: auto; }
}
article {
  grid-column: span 2; min-width: 0; scroll-margin-top: 4rem; padding: 1rem 1.1rem 1.1rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 10px;
}
article.small { grid-column: auto; }
.facts { display: flex; flex-wrap: wrap; gap: .1rem 1.5rem; margin: .3rem 0 .8rem; padding: 0; }
.facts div { display: flex; gap: .4rem; }
.facts dt { color: var(--soft); }
.facts dd { margin: 0; font-variant-numeric: tabular-nums; }
.crops { display: flex; flex-wrap: wrap; gap: 1rem; }
figure { margin: 0; max-width: 100%; }
figcaption { margin-top: .35rem; color: var(--soft); font-size: .85rem; }
.frame { max-width: 100%; overflow-x: auto; }
.pair {
  --at: 50%; position: relative; overflow: hidden; border-radius: 4px;
  width: calc(var(--w) * var(--zoom) / var(--dpr) * 1px);
  height: calc(var(--h) * var(--zoom) / var(--dpr) * 1px);
}
.pair img {
  position: absolute; inset: 0; width: 100%; height: 100%;
  image-rendering: pixelated; user-select: none;
}
.pair .after { clip-path: inset(0 0 0 var(--at)); }
.pair::after {
  content: ""; position: absolute; top: 0; bottom: 0; left: var(--at); width: 2px;
  margin-left: -1px; background: #fff; box-shadow: 0 0 0 1px #0008; pointer-events: none;
}
.pair span {
  position: absolute; bottom: .4rem; padding: 0 .45rem; border-radius: 3px; font-size: .75rem;
  background: #000a; color: #fff; pointer-events: none;
}
.pair span:nth-of-type(1) { left: .4rem; }
.pair span:nth-of-type(2) { right: .4rem; }
.pair input {
  position: absolute; inset: 0; width: 100%; height: 100%; margin: 0; z-index: 1;
  appearance: none; background: none; opacity: 0; cursor: ew-resize; touch-action: pan-y;
}
.pair input::-webkit-slider-thumb { appearance: none; width: 1px; height: 100vh; }
.pair input::-moz-range-thumb { width: 1px; height: 100vh; border: 0; }
.pair:focus-within { outline: 3px solid var(--accent); outline-offset: 2px; }
.pair:has(input:focus:not(:focus-visible)) { outline: none; }
.scroll { overflow-x: auto; border: 1px solid var(--line); border-radius: 10px; }
table { width: 100%; border-collapse: collapse; background: var(--card); font-size: .9rem; }
th, td { padding: .45rem .8rem; text-align: left; vertical-align: top; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
tr + tr, tbody tr { border-top: 1px solid var(--line); }
td.n, th.n { text-align: right; white-space: nowrap; font-variant-numeric: tabular-nums; }
td:first-child { overflow-wrap: anywhere; min-width: 12rem; }
a { color: var(--accent); }
footer { margin-top: 2.5rem; color: var(--soft); font-size: .85rem; }
@media print { .bar { display: none; } article { break-inside: avoid; } }
"""

SCRIPT = """
const root = document.documentElement.style;
const fit = () => root.setProperty("--dpr", window.devicePixelRatio || 1);
fit();
addEventListener("resize", fit);
const show = (slider) => {
  slider.parentElement.style.setProperty("--at", slider.value + "%");
  slider.setAttribute("aria-valuetext", slider.value + " % before");
};
for (const slider of document.querySelectorAll(".pair input")) show(slider);
addEventListener("input", ({ target }) => {
  if (target.name === "zoom") {
    root.setProperty("--zoom", target.value);
    document.body.classList.toggle("magnified", target.value > 1);
  } else if (target.matches(".pair input")) show(target);
});
"""
