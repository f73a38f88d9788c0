"use strict";

// A chart of curves or of single points, drawn as SVG. No charting library: the smallest that
// would do weighs more than the rest of the page.
// series: {name, colour, dash, points: [{x, y, text}], line}
function makeChart(root, options) {
  const NS = "http://www.w3.org/2000/svg";
  const node = (tag, attributes, ...children) => {
    const made = document.createElementNS(NS, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    made.append(...children);
    return made;
  };
  const box = el("div", { class: "chart" });
  const tip = el("div", { class: "tip", hidden: true });
  const spoken = el("p", { class: "soft", "aria-live": "polite" });
  root.replaceChildren(box, spoken);
  let series = [];
  let at = null; // [series, point] that is shown
  let spots = []; // {s, p, px, py}
  let mark = null;

  function ticks(low, high, log, count) {
    if (log) {
      const found = [];
      const steps = log === 2 ? [1] : high / low > 200 ? [1] : [1, 2, 5];
      for (let e = -20; e <= 20; e++) {
        found.push(...steps.map((n) => n * log ** e).filter((v) => v >= low && v <= high));
      }
      return found;
    }
    const raw = (high - low) / count;
    const power = 10 ** Math.floor(Math.log10(raw));
    const unit = [1, 2, 5, 10].map((n) => n * power).find((n) => n >= raw);
    const found = [];
    for (let v = Math.ceil(low / unit) * unit; v <= high + unit * 1e-9; v += unit) found.push(v);
    return found;
  }

  /** The range to draw of some values: without the few that lie so far out that they would flatten
      all others. */
  function range(values) {
    const sorted = [...values].sort((a, b) => a - b),
      at = (share) => sorted[Math.round(share * (sorted.length - 1))];
    const [q1, q3] = [at(0.25), at(0.75)],
      far = 3 * (q3 - q1);
    const inside = sorted.filter((v) => v >= q1 - far && v <= q3 + far);
    const whole = sorted.at(-1) - sorted[0],
      left = inside.at(-1) - inside[0];
    const few = sorted.length - inside.length <= Math.max(1, sorted.length / 10);
    return sorted.length >= 6 && few && left > 0 && left < whole / 1.8
      ? [inside[0], inside.at(-1)]
      : [sorted[0], sorted.at(-1)];
  }

  const plain = (v) => String(Number(v.toPrecision(4)));

  function draw() {
    const width = Math.max(300, box.clientWidth || root.clientWidth || 900);
    const height = Math.round(Math.min(560, Math.max(300, width * 0.52)));
    const margin = { left: 52, right: 14, top: 12, bottom: 46 };
    const points = series.flatMap((s) => s.points);
    const svg = node("svg", {
      viewBox: `0 0 ${width} ${height}`,
      tabindex: "0",
      role: "group",
      "aria-label":
        `${options.label()}. Arrow keys: left and right along a curve, ` +
        "up and down between curves.",
    });
    spots = [];
    mark = null;
    if (points.length) {
      const log = options.xLog;
      const fx = log ? Math.log : (v) => v;
      const ext = (values) => [Math.min(...values), Math.max(...values)];
      let [x0, x1] = ext(points.map((p) => fx(p.x)));
      let [y0, y1] = range(points.map((p) => p.y));
      const [least, most] = [y0, y1]; // points beyond are drawn at the edge, as triangles
      const padX = (x1 - x0 || 1) * 0.03,
        padY = (y1 - y0 || 1) * 0.05;
      [x0, x1, y0, y1] = [x0 - padX, x1 + padX, y0 - padY, y1 + padY];
      const inner = {
        w: width - margin.left - margin.right,
        h: height - margin.top - margin.bottom,
      };
      const px = (x) => margin.left + ((fx(x) - x0) / (x1 - x0)) * inner.w;
      const py = (y) =>
        margin.top + (1 - (Math.min(y1, Math.max(y0, y)) - y0) / (y1 - y0)) * inner.h;
      const back = log ? Math.exp : (v) => v;
      const wanted = ticks(back(x0), back(x1), log, Math.max(2, Math.floor(inner.w / 90)));
      const xTicks = options.xWhole ? wanted.filter(Number.isInteger) : wanted;
      let last = -Infinity;
      for (const x of xTicks) {
        if (px(x) - last < 12 + 8 * plain(x).length) continue;
        last = px(x);
        svg.append(
          node("line", {
            class: "grid",
            x1: px(x),
            x2: px(x),
            y1: margin.top,
            y2: margin.top + inner.h,
          }),
          node(
            "text",
            { x: px(x), y: height - margin.bottom + 18, "text-anchor": "middle" },
            plain(x),
          ),
        );
      }
      for (const y of ticks(y0, y1, 0, 7)) {
        svg.append(
          node("line", {
            class: "grid",
            x1: margin.left,
            x2: width - margin.right,
            y1: py(y),
            y2: py(y),
          }),
          node("text", { x: margin.left - 7, y: py(y) + 4, "text-anchor": "end" }, plain(y)),
        );
      }
      svg.append(
        node(
          "text",
          { x: margin.left + inner.w / 2, y: height - 8, "text-anchor": "middle" },
          options.xLabel(),
        ),
        node(
          "text",
          {
            x: 14,
            y: margin.top + inner.h / 2,
            "text-anchor": "middle",
            transform: `rotate(-90 14 ${margin.top + inner.h / 2})`,
          },
          options.yLabel(),
        ),
      );
      series.forEach((s, i) => {
        if (s.line !== false) {
          const path = s.points
            .map((p, k) => `${k ? "L" : "M"}${px(p.x).toFixed(1)} ${py(p.y).toFixed(1)}`)
            .join("");
          svg.append(
            node("path", {
              d: path,
              fill: "none",
              stroke: s.colour,
              class: "curve",
              "data-name": s.name,
              "stroke-width": s.own ? 3 : 1.8,
              "stroke-dasharray": s.dash.join(" "),
              "stroke-linejoin": "round",
            }),
          );
        }
        s.points.forEach((p, k) => {
          spots.push({ s: i, p: k, px: px(p.x), py: py(p.y) });
          if (p.y < least || p.y > most) {
            const [x, y, up] = [px(p.x), py(p.y), p.y > most ? 1 : -1];
            svg.append(
              node("path", {
                class: "beyond",
                d: `M${x - 7} ${y + 9 * up}L${x + 7} ${y + 9 * up}L${x} ${y - 2 * up}Z`,
                fill: "var(--card)",
                stroke: s.colour,
                "stroke-width": 1.6,
              }),
              node("text", { x: x + 10, y: y + 4 + 8 * up }, plain(p.y)),
            );
            return;
          }
          svg.append(
            node("circle", {
              cx: px(p.x),
              cy: py(p.y),
              r: s.line === false ? 6 : s.own ? 4 : 3,
              fill: s.hollow ? "var(--card)" : s.colour,
              stroke: s.colour,
              "stroke-width": 1.6,
            }),
          );
          if (s.line === false) {
            const right = px(p.x) > width - 150;
            svg.append(
              node(
                "text",
                {
                  x: px(p.x) + (right ? -10 : 10),
                  y: py(p.y) + 4,
                  "text-anchor": right ? "end" : "start",
                },
                s.name,
              ),
            );
          }
        });
      });
      mark = node("circle", { r: 8, fill: "none", "stroke-width": 2.5, visibility: "hidden" });
      svg.append(mark);
    } else {
      svg.append(
        node("text", { x: width / 2, y: height / 2, "text-anchor": "middle" }, "Nothing chosen."),
      );
    }
    svg.addEventListener("pointermove", (event) => {
      const area = svg.getBoundingClientRect();
      const k = width / area.width;
      const mx = (event.clientX - area.left) * k,
        my = (event.clientY - area.top) * k;
      let best = null,
        distance = 40 * 40;
      for (const spot of spots) {
        const d = (spot.px - mx) ** 2 + (spot.py - my) ** 2;
        if (d < distance) [best, distance] = [spot, d];
      }
      show(best, k);
    });
    svg.addEventListener("pointerleave", () => show(null));
    svg.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[
        event.key
      ];
      if (!step || !series.length) return;
      event.preventDefault();
      let [s, p] = at ?? [0, step[1] ? -step[1] : 0];
      s = (s + step[0] + series.length) % series.length;
      p = Math.min(series[s].points.length - 1, Math.max(0, p + step[1]));
      show(
        spots.find((spot) => spot.s === s && spot.p === p),
        width / svg.getBoundingClientRect().width,
        true,
      );
    });
    box.replaceChildren(svg, tip);
  }

  function show(spot, k = 1, speak = false) {
    tip.hidden = !spot;
    at = spot ? [spot.s, spot.p] : null;
    if (mark) mark.setAttribute("visibility", spot ? "visible" : "hidden");
    if (!spot) return;
    const s = series[spot.s];
    const point = s.points[spot.p];
    tip.replaceChildren(el("strong", {}, s.name), el("br"), point.text);
    mark.setAttribute("cx", spot.px);
    mark.setAttribute("cy", spot.py);
    mark.setAttribute("stroke", s.colour);
    const left = spot.px / k,
      top = spot.py / k;
    const toLeft = left + tip.offsetWidth + 20 > box.clientWidth;
    tip.style.left = `${Math.max(0, toLeft ? left - tip.offsetWidth - 14 : left + 14)}px`;
    tip.style.top = `${Math.max(0, top - tip.offsetHeight - 8)}px`;
    if (speak) spoken.textContent = `${s.name}: ${point.text}`;
  }

  let drawnWidth = 0;
  new ResizeObserver(() => {
    if (Math.abs(box.clientWidth - drawnWidth) > 1) {
      drawnWidth = box.clientWidth;
      draw();
    }
  }).observe(box);

  return {
    set(next) {
      series = next.filter((s) => s.points.length);
      at = null;
      tip.hidden = true;
      draw();
    },
  };
}

// A row of buttons that switch series on and off; `changed` gets the set of those that are on.
function makeLegend(root, entries, changed) {
  const on = new Set(entries.filter((e) => e.on).map((e) => e.name));
  const buttons = entries.map((entry) => {
    const sample = document.createElementNS("http://www.w3.org/2000/svg", "svg");
    sample.setAttribute("width", "26");
    sample.setAttribute("height", "10");
    sample.setAttribute("aria-hidden", "true");
    sample.innerHTML =
      `<line x1="0" x2="26" y1="5" y2="5" stroke="${entry.colour}" stroke-width="3" ` +
      `stroke-dasharray="${entry.dash.join(" ")}"/>`;
    const button = el(
      "button",
      {
        type: "button",
        "aria-pressed": String(entry.on),
        onclick: () => {
          if (!on.delete(entry.name)) on.add(entry.name);
          button.setAttribute("aria-pressed", String(on.has(entry.name)));
          changed(on);
        },
      },
      sample,
      entry.name,
    );
    return button;
  });
  root.append(...buttons);
  return on;
}
