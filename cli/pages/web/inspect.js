"use strict";

(function () {
  const data = dataOfPage();
  const byId = (id) => document.getElementById(id);
  const number = (value, digits = 0) =>
    value.toLocaleString("en", {
      minimumFractionDigits: digits,
      maximumFractionDigits: digits,
    });
  const percent = (part, whole) => `${number((100 * part) / whole, 1)} %`;
  const pixels = data.width * data.height;
  const side = data.cell_side;

  byId("theme").append(themeButton());
  byId("facts").textContent = [
    `${data.width} x ${data.height} pixels, ${data.mode}`,
    `${number(data.bytes)} bytes, ${number((8 * data.bytes) / pixels, 3)} bits per pixel`,
    `gain index ${data.gain_index}, model ${data.model}`,
    data.psnr === null ? null : `PSNR ${number(data.psnr, 2)} dB`,
  ]
    .filter(Boolean)
    .join("; ");
  byId("notes").append(...data.notes.map((text) => el("li", {}, text)));
  byId("notes").hidden = !data.notes.length;

  bitMap();
  partsTable();
  pictures();
  channels();
  region();

  function bitMap() {
    const rows = data.cells.length,
      columns = data.cells[0].length;
    const heat = el("img", { class: "heat", src: data.heat, alt: "" });
    heat.style.width = `${(100 * columns * side) / data.width}%`;
    heat.style.height = `${(100 * rows * side) / data.height}%`;
    const cell = el("div", { class: "cell", hidden: true });
    cell.style.width = `${(100 * side) / data.width}%`;
    cell.style.height = `${(100 * side) / data.height}%`;
    const image = el("img", {
      src: data.pictures[0].src,
      alt: "the decoded image under a map of its bits",
      width: data.shown[0],
      height: data.shown[1],
    });
    const stage = el(
      "div",
      {
        class: "overlay",
        tabindex: "0",
        role: "group",
        "aria-label": "Map of the bits. Arrow keys go from cell to cell.",
      },
      image,
      heat,
      cell,
    );
    const widest = Math.max(data.width, 640);
    stage.style.width = `min(100%, ${(74 * data.width) / data.height}vh, ${widest}px)`;
    const slider = el("input", {
      type: "range",
      min: "0",
      max: "100",
      value: "70",
      id: "mix",
      oninput: () => mix(slider.value / 100),
    });
    // colours of the image would pass for heat
    const mix = (share) => {
      heat.style.opacity = share;
      image.style.filter = `grayscale(${Math.min(1, 2 * share)})`;
    };
    mix(0.7);
    const here = el("output", { "aria-live": "polite" }, "point at a cell, or use arrow keys");
    let x = 0,
      y = 0;
    const total = data.bits.cells;
    const show = () => {
      const bits = data.cells[y][x];
      cell.hidden = false;
      cell.style.left = `${(100 * x * side) / data.width}%`;
      cell.style.top = `${(100 * y * side) / data.height}%`;
      const share = (bits * rows * columns) / Math.max(total, 1e-9);
      here.textContent =
        `column ${x}, row ${y}: ${number(bits, 1)} bits, ` +
        `${number(bits / side / side, 2)} per pixel, ${number(share, 2)} times the mean`;
    };
    stage.addEventListener("pointermove", (event) => {
      const box = stage.getBoundingClientRect();
      x = Math.min(
        columns - 1,
        Math.max(0, Math.floor((((event.clientX - box.left) / box.width) * data.width) / side)),
      );
      y = Math.min(
        rows - 1,
        Math.max(0, Math.floor((((event.clientY - box.top) / box.height) * data.height) / side)),
      );
      show();
    });
    stage.addEventListener("keydown", (event) => {
      const step = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[
        event.key
      ];
      if (!step) return;
      x = Math.min(columns - 1, Math.max(0, x + step[0]));
      y = Math.min(rows - 1, Math.max(0, y + step[1]));
      show();
      event.preventDefault();
    });
    byId("map").append(
      stage,
      el(
        "div",
        { class: "bar" },
        el("label", { for: "mix" }, "Heat"),
        slider,
        el("span", { class: "ramp", title: "few bits to many" }),
        here,
      ),
    );
    const flat = data.cells.flat().sort((a, b) => b - a);
    const tenth = flat.slice(0, Math.max(1, Math.round(flat.length / 10)));
    byId("map-help").textContent =
      `A cell is ${side} x ${side} pixels. Colours go by the square root of the bits, up to ` +
      `${number(flat[0], 0)} bits; the median is ${number(flat[flat.length >> 1], 1)}. ` +
      `The tenth of the cells with the most bits takes ${percent(
        tenth.reduce((a, b) => a + b, 0),
        total,
      )} of them. Ideal code lengths; those of ` +
      "a hyper-latent are shared by the cells it serves.";
  }

  function partsTable() {
    const all = data.bits.file;
    const hyper = data.bits["of them hyper-latents"];
    const rows = [
      ["latents, by cell", data.bits.cells - hyper],
      ["hyper-latents, by cell", hyper],
      ...Object.entries(data.bits.rest),
    ].filter(([, bits]) => bits !== 0);
    const cells = ([name, bits]) => [
      name,
      number(bits, 1),
      number(bits / 8, 1),
      percent(bits, all),
    ];
    const row = (kind) => (r) => el("tr", { class: kind }, ...cells(r).map((c) => el("td", {}, c)));
    const sum = rows.reduce((total, [, bits]) => total + bits, 0);
    byId("parts").append(
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          ...["part", "bits", "bytes", "of the file"].map((h) => el("th", { scope: "col" }, h)),
        ),
      ),
      el("tbody", {}, ...rows.map(row(null)), row("sum")(["the file", sum])),
    );
  }

  function pictures() {
    const viewer = makeViewer(byId("viewer"));
    const names = data.pictures.map((p) => p.name);
    const right = names.find((n) => n.startsWith("Linear")) ?? names[1] ?? names[0];
    viewer.show(data.pictures, data.shown[0], data.shown[1], names[0], right);
    const texts = [];
    if (data.psnr !== null)
      texts.push(
        `The decoded image has ${number(data.psnr, 2)} dB PSNR against the original` +
          (data.psnr_linear === null
            ? "."
            : `, the linear path alone ${number(data.psnr_linear, 2)} dB.`),
      );
    if (data.error_levels)
      texts.push(
        `The error map shows the mean absolute error of the colours, amplified ` +
          `${256 / data.error_levels} times: white is ${data.error_levels} levels or more.`,
      );
    if (names.some((n) => n.startsWith("Linear")))
      texts.push(
        "The decoder g_s is a linear map of each cell's latents " +
          "plus a network; the linear path alone is the picture without the network, the " +
          "network's part what it adds, amplified around grey.",
      );
    byId("picture-facts").textContent = texts.join(" ");
    byId("pictures").hidden = names.length < 2;
  }

  function channels() {
    const list = data.channels;
    byId("channels").hidden = !list.length;
    if (!list.length) return;
    const total = data.bits.cells;
    let sum = 0,
      half = 0;
    for (const c of list) {
      sum += c.bits;
      half += 1;
      if (sum >= total / 2) break;
    }
    byId("channel-facts").textContent =
      `${list.length} channels have bits; the first ${half} take ` +
      `${percent(sum, total)} of all bits of the cells.`;
    const tried = new Set(data.responses.map((r) => r.channel));
    drawBars(list, total, tried);
    if (!data.responses.length) return;
    const [left, top, width, height] = data.window;
    byId("card-facts").textContent =
      "Left: what g_s draws from an impulse of this channel's mean magnitude in one cell, less " +
      `g_s of zeros. Right: what the channel gives to the image at ${left},${top} ` +
      `(${width} x ${height} pixels), that is g_s of the latents less g_s of the latents ` +
      "without it. Both are amplified around grey by the factors stated.";
    byId("cards").append(
      ...data.responses.map((r) =>
        el(
          "figure",
          { class: "card", id: `channel-${r.channel}` },
          el(
            "div",
            { class: "pictures" },
            el("img", { src: r.impulse, alt: `impulse response of channel ${r.channel}` }),
            el("img", { src: r.present, alt: `part of the image from channel ${r.channel}` }),
          ),
          el(
            "figcaption",
            {},
            el("strong", {}, `Channel ${r.channel}`),
            `: ${number(r.bits)} bits, ${percent(r.bits, total)}. `,
            el(
              "span",
              { class: "soft" },
              `Impulse of ${number(r.amplitude, 2)} steps, up to ${number(r.peak, 1)} levels, ` +
                `shown x${r.factors[0]}; its part x${r.factors[1]}, ` +
                `root mean square ${number(Math.sqrt(r.loss), 2)} levels.`,
            ),
          ),
        ),
      ),
    );
  }

  function drawBars(list, total, tried) {
    const svgNode = (tag, attributes) => {
      const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
      return node;
    };
    const width = 1200,
      height = 180;
    const svg = svgNode("svg", {
      viewBox: `0 0 ${width} ${height}`,
      tabindex: "0",
      role: "img",
      "aria-label":
        "Bits of each channel, most first. Left and right arrow keys go from channel to channel.",
    });
    const step = width / list.length;
    const bars = list.map((c, i) => {
      const tall = Math.max(1, (c.bits / list[0].bits) * (height - 4));
      const bar = svgNode("rect", {
        x: i * step,
        y: height - tall,
        width: Math.max(0.6, step * 0.85),
        height: tall,
      });
      if (tried.has(c.channel)) bar.classList.add("tried");
      svg.append(bar);
      return bar;
    });
    const text = el(
      "p",
      { class: "soft", "aria-live": "polite" },
      tried.size
        ? `Those in colour are drawn below. Point at a bar, or use arrow keys.`
        : "Point at a bar, or use arrow keys.",
    );
    let at = -1;
    const show = (i) => {
      if (at >= 0) bars[at].classList.remove("here");
      document.querySelectorAll(".card.chosen").forEach((card) => card.classList.remove("chosen"));
      at = Math.min(list.length - 1, Math.max(0, i));
      const c = list[at];
      bars[at].classList.add("here");
      byId(`channel-${c.channel}`)?.classList.add("chosen");
      text.textContent =
        `${at + 1}. channel ${c.channel}: ${number(c.bits, 1)} bits, ${percent(c.bits, total)}, ` +
        `mean square ${number(c.mean_square, 3)} steps²`;
    };
    svg.addEventListener("pointermove", (event) => {
      const box = svg.getBoundingClientRect();
      show(Math.floor(((event.clientX - box.left) / box.width) * list.length));
    });
    svg.addEventListener("keydown", (event) => {
      const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (!move) return;
      show(at + move);
      event.preventDefault();
    });
    byId("bars").append(svg, text);
  }

  function region() {
    byId("region").hidden = !data.region;
    if (!data.region) return;
    const found = data.region;
    const [left, top, width, height] = found.region;
    const share = (name) => found[name] && `${number(100 * found[name].own_cells, 1)} %`;
    const texts = [
      `Region ${left},${top}, ${width} x ${height} pixels, ` +
        `contrast ${number(found.contrast, 1)} levels. ` +
        `g_s sees ${found.cells_seen} cells for it. Of the gradient times the latents, ` +
        `${share("gradient")} is in the region's own cells.`,
    ];
    if (found.relevance)
      texts.push(
        `Layer-wise relevance puts ${share("relevance")} there; ` +
          `${number(100 * found.relevance.sum, 1)} % of the contrast arrives at the latents, ` +
          "the rest stays with biases and epsilon.",
      );
    else texts.push(`No layer-wise relevance: ${found.why_no_relevance}.`);
    texts.push(
      "Grad-CAM weights channels by their mean gradient in the region, and so lights up " +
        "wherever in the image the same channels are at work.",
    );
    byId("region-facts").textContent = texts.join(" ");
    byId("maps").append(
      ...data.maps.map((map) =>
        el(
          "figure",
          {},
          el("img", { src: map.src, alt: map.name }),
          el("figcaption", {}, map.name),
        ),
      ),
    );
    const titles = { gradient: "gradient times latents", relevance: "layer-wise relevance" };
    byId("region-tables").append(
      ...Object.entries(titles)
        .filter(([name]) => found[name])
        .map(([name, title]) =>
          el(
            "div",
            { class: "scroll" },
            el(
              "table",
              {},
              el(
                "thead",
                {},
                el(
                  "tr",
                  {},
                  el("th", { scope: "col" }, `channel, by ${title}`),
                  el("th", { scope: "col" }, "of the contrast"),
                ),
              ),
              el(
                "tbody",
                {},
                ...found[name].channels.map(([channel, value]) =>
                  el(
                    "tr",
                    {},
                    el("td", {}, `channel ${channel}`),
                    el("td", {}, `${number(100 * value, 2)} %`),
                  ),
                ),
              ),
            ),
          ),
        ),
    );
  }
})();
