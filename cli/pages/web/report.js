"use strict";

(function () {
  const data = dataOfPage();
  const byId = (id) => document.getElementById(id);
  const signed = (v, digits = 1) =>
    v === null || v === undefined
      ? "–"
      : `${v < 0 ? "−" : v > 0 ? "+" : ""}${Math.abs(v).toFixed(digits)}`;
  const own = (name) => name === "aei";
  const options = (pairs) => pairs.map(([value, text]) => el("option", { value }, text));
  byId("theme").append(themeButton());
  const machine = data.environment;
  byId("facts").textContent =
    `Real file bytes. BD-rate is the change in bytes at equal quality against ` +
    `${data.anchor}; negative is smaller. Measured on ${machine.cpu}, ${machine.cpus} CPUs.`;

  // Rate-distortion chart
  const metric = byId("metric"),
    image = byId("image"),
    headers = byId("headers");
  metric.append(...options(Object.entries(data.metrics)));
  const singles = Object.keys(data.single);
  image.append(...options([["", `mean of ${data.images}`], ...singles.map((n) => [n, n])]));
  image.parentElement.hidden = !singles.length;
  const codecs = Object.keys(data.codecs).filter((n) => (data.curves.psnr[n] ?? []).length > 1);
  const firsts = new Set();
  const entries = codecs.map((name) => {
    const family = data.codecs[name].family;
    const on = !firsts.has(family) || codecs.length <= 6;
    firsts.add(family);
    return { name, on, ...data.styles[name] };
  });
  const papers = Object.keys(data.published).map((name, i) => ({
    name: `${name} (published)`,
    key: name,
    on: false,
    dash: [2, 2 + (i % 3)],
    colour: [
      "#b07aa1",
      "#59a14f",
      "#e15759",
      "#4e79a7",
      "#f28e2b",
      "#76b7b2",
      "#9c755f",
      "#7f7f7f",
    ][i % 8],
  }));
  const chart = makeChart(byId("chart"), {
    xLog: 2,
    label: () => "Rate-distortion curves",
    xLabel: () =>
      headers.value === "bare"
        ? "bits per pixel, headers not counted"
        : "bits per pixel, whole files",
    yLabel: () => data.metrics[metric.value],
  });
  function drawChart(on = shown) {
    const m = metric.value;
    headers.parentElement.hidden = image.value !== "";
    const source = image.value
      ? (data.single[image.value][m] ?? {})
      : headers.value === "bare"
        ? data.bare[m]
        : data.curves[m];
    const unit = data.metrics[m].endsWith("(dB)") ? "dB" : "";
    const series = entries
      .filter((e) => on.has(e.name) && source[e.name])
      .map((e) => ({
        ...e,
        own: own(e.name),
        points: source[e.name].map(([x, y]) => ({
          x,
          y,
          text: `${x.toFixed(3)} bits per pixel, ${y.toFixed(2)} ${unit}`,
        })),
      }));
    const paperKey = { psnr: "psnr", ms_ssim: "ms_ssim_db" }[m];
    if (!image.value && paperKey && headers.value !== "bare") {
      for (const e of papers.filter((p) => on.has(p.name))) {
        const curve = data.published[e.key];
        if (!curve[paperKey]) continue;
        series.push({
          ...e,
          hollow: true,
          points: curve.bpp.map((x, i) => ({
            x,
            y: curve[paperKey][i],
            text: `${x.toFixed(3)} bits per pixel, ${curve[paperKey][i].toFixed(2)} dB`,
          })),
        });
      }
    }
    chart.set(series);
  }
  const shown = makeLegend(byId("legend"), [...entries, ...papers], drawChart);
  for (const select of [metric, image, headers])
    select.addEventListener("change", () => drawChart());
  drawChart();
  byId("papers").hidden = !papers.length;

  // Tables that sort by a click on a heading
  function table(root, heads, rows) {
    const body = el("tbody");
    const fill = () =>
      body.replaceChildren(
        ...rows.map((row) =>
          el(
            "tr",
            { class: own(row.name) ? "own" : null },
            ...row.cells.map((c, i) =>
              el(
                "td",
                { class: heads[i].text ? "text" : null },
                c.text,
                c.more ? el("span", { class: "range" }, ` ${c.more}`) : null,
              ),
            ),
          ),
        ),
      );
    const cells = heads.map((head, i) => {
      const th = el(
        "th",
        { scope: "col", "aria-sort": "none", class: head.text ? "text" : null },
        el(
          "button",
          {
            type: "button",
            onclick: () => {
              const up = th.getAttribute("aria-sort") !== "ascending";
              cells.forEach((c) => c.setAttribute("aria-sort", "none"));
              th.setAttribute("aria-sort", up ? "ascending" : "descending");
              const key = (row) => row.cells[i].value ?? null;
              rows.sort((a, b) => {
                const [x, y] = [key(a), key(b)];
                // Unknown ones come last.
                if (x === null || y === null) return (x === null) - (y === null);
                return (typeof x === "number" ? x - y : x.localeCompare(y)) * (up ? 1 : -1);
              });
              fill();
            },
          },
          head.name,
        ),
      );
      return th;
    });
    fill();
    root.append(el("thead", {}, el("tr", {}, ...cells)), body);
  }

  const columns = {
    psnr: "PSNR",
    psnr_without_headers: "PSNR, no headers",
    ...data.metrics,
    psnr_yuv: "PSNR YCbCr",
    ms_ssim: "MS-SSIM",
  };
  columns.psnr = "PSNR";
  const present = Object.keys(columns).filter((k) =>
    data.bd_rate.some((r) => typeof r[k] === "number"),
  );
  const paperRows = Object.entries(data.published).map(([name, c]) => ({
    codec: `${name} (published)`,
    psnr: c.bd_rate,
    psnr_window: c.bd_rate_window,
  }));
  table(
    byId("bd"),
    [{ name: "codec" }, ...present.map((k) => ({ name: columns[k] }))],
    [...data.bd_rate, ...paperRows]
      .filter((r) => present.some((k) => typeof r[k] === "number"))
      .map((r) => ({
        name: r.codec,
        cells: [
          { text: r.codec, value: r.codec },
          ...present.map((k) => {
            const range = r[`${k}_interval`],
              window = r[`${k}_window`];
            if (typeof r[k] !== "number") return { text: "–" };
            const more =
              (range ? `[${signed(range[0])}, ${signed(range[1])}] ` : "") +
              `${window[0].toFixed(1)}–${window[1].toFixed(1)}`;
            return { text: `${signed(r[k])} %`, value: r[k], more };
          }),
        ],
      })),
  );

  // Bytes at equal quality, in windows
  const equal = data.windows,
    equalCodec = byId("equal-codec"),
    equalMetric = byId("equal-metric");
  byId("equal").hidden = !Object.keys(equal).length;
  const tests = new Set(
    Object.values(equal).flatMap((byWindow) => Object.values(byWindow).flatMap(Object.keys)),
  );
  equalCodec.append(...options([...tests].map((name) => [name, name])));
  equalMetric.append(...options(Object.keys(equal).map((name) => [name, data.metrics[name]])));
  function drawEqual() {
    const byWindow = equal[equalMetric.value] ?? {},
      windows = Object.keys(byWindow);
    const found = windows.map((w) => byWindow[w][equalCodec.value] ?? {});
    byId("equal-table").replaceChildren();
    table(
      byId("equal-table"),
      [
        { name: "against" },
        { name: "tuned for", text: true },
        ...windows.map((name) => ({ name })),
      ],
      [...new Set(found.flatMap(Object.keys))].map((name) => ({
        name,
        cells: [
          { text: name, value: name },
          { text: data.codecs[name].tuned_for ?? "", value: data.codecs[name].tuned_for },
          ...found.map((others) => {
            if (!others[name]) return { text: "–" };
            const [percent, low, high, images, worstImage, worst] = others[name];
            const range = low === null ? "" : `[${signed(low)}, ${signed(high)}] `;
            return {
              text: `${signed(percent)} %`,
              value: percent,
              more: `${range}${images}, ${worstImage} ${signed(worst)}`,
            };
          }),
        ],
      })),
    );
  }
  for (const select of [equalCodec, equalMetric]) select.addEventListener("change", drawEqual);
  drawEqual();

  // BD-rate of each image
  const single = byId("single");
  const perImage = Object.keys(data.bd_rate_per_image).filter((k) => k !== "images");
  const names = data.bd_rate_per_image.images;
  byId("per-image").hidden = !perImage.length || names.length > 200;
  if (perImage.length && names.length <= 200) {
    const bars = makeChart(byId("bars"), {
      xLog: 0,
      xWhole: true,
      label: () => "BD-rate of each image, in order of the first codec chosen",
      xLabel: () => "images, in order of the first codec chosen",
      yLabel: () => `BD-rate against ${data.anchor} (%)`,
    });
    const drawBars = (on) => {
      const chosen = perImage.filter((n) => on.has(n));
      if (!chosen.length) {
        bars.set([]);
        return;
      }
      const order = names
        .map((_, i) => i)
        .sort(
          (a, b) => data.bd_rate_per_image[chosen[0]][a] - data.bd_rate_per_image[chosen[0]][b],
        );
      bars.set(
        chosen.map((name) => ({
          name,
          ...data.styles[name],
          own: own(name),
          points: order
            .map((i, x) => ({
              x: x + 1,
              y: data.bd_rate_per_image[name][i],
              text: `${names[i]}: ${signed(data.bd_rate_per_image[name][i])} %`,
            }))
            .filter((p) => p.y !== null),
        })),
      );
    };
    const on = makeLegend(
      single,
      entries.filter((e) => perImage.includes(e.name)),
      drawBars,
    );
    drawBars(on);
  }

  // Speed
  const times = data.timings;
  byId("speed").hidden = !times;
  if (times) {
    byId("speed-facts").textContent =
      `Median of runs per image (${times.repeats}) and of images (${times.images}, about ` +
      `${times.megapixels} megapixels), threads: ${times.threads}, ` +
      "one codec at a time, in memory. " +
      (times.load_average
        ? `Load average of the machine afterwards: ${times.load_average[0]}.`
        : "");
    const rate = Object.fromEntries(data.bd_rate.map((r) => [r.codec, r.psnr]));
    const which = byId("which");
    const scatter = makeChart(byId("scatter"), {
      xLog: 10,
      label: () => "BD-rate against time",
      xLabel: () => `seconds to ${which.value === "encode_s" ? "encode" : "decode"}`,
      yLabel: () => `BD-rate against ${data.anchor} (%)`,
    });
    const drawScatter = () =>
      scatter.set(
        times.codecs
          .filter((t) => typeof rate[t.codec] === "number")
          .map((t) => ({
            name: t.codec,
            ...data.styles[t.codec],
            line: false,
            points: [
              {
                x: t[which.value],
                y: rate[t.codec],
                text: `${t[which.value].toFixed(4)} s, ${signed(rate[t.codec])} %`,
              },
            ],
          })),
      );
    which.addEventListener("change", drawScatter);
    drawScatter();
    table(
      byId("times"),
      ["codec", "quality", "bits per pixel", "encode (s)", "decode (s)"].map((name) => ({ name })),
      times.codecs.map((t) => ({
        name: t.codec,
        cells: [
          { text: t.codec, value: t.codec },
          { text: String(t.quality), value: t.quality },
          t.bpp === null ? { text: "–" } : { text: t.bpp.toFixed(3), value: t.bpp },
          { text: t.encode_s.toFixed(4), value: t.encode_s },
          { text: t.decode_s.toFixed(4), value: t.decode_s },
        ],
      })),
    );
    byId("time-notes").append(
      ...times.codecs.filter((t) => t.note).map((t) => el("li", {}, `${t.codec}: ${t.note}.`)),
    );
  }

  // Pictures
  const shownPictures = data.pictures;
  byId("pictures").hidden = !shownPictures;
  if (shownPictures) {
    const copies = shownPictures.images
      .flatMap((i) => [i.original_psnr, ...i.pictures.map((p) => p.copy_psnr)])
      .filter(Boolean);
    byId("picture-facts").textContent =
      `Every codec at the setting whose file is nearest to ${shownPictures.bpp} bits per pixel. ` +
      "Formats that browsers know are shown from the files themselves; the original and the " +
      `others from copies of at least ${Math.min(...copies)} dB, while PSNR and MS-SSIM were ` +
      "measured on the exact pixels.";
    const viewer = makeViewer(byId("viewer"));
    const choice = byId("picture");
    choice.append(...options(shownPictures.images.map((p, i) => [i, p.name])));
    const show = () => {
      const p = shownPictures.images[Number(choice.value)];
      const all = [...p.pictures, { name: "Original", src: p.original }];
      viewer.show(
        all,
        p.width,
        p.height,
        all.find((q) => !own(q.name)).name,
        own(all[0].name) ? all[0].name : all[1].name,
      );
      byId("picture-table").replaceChildren();
      table(
        byId("picture-table"),
        ["codec", "bytes", "setting", "PSNR (dB)", "MS-SSIM"].map((name) => ({ name })),
        p.pictures.map((q) => ({
          name: q.name,
          cells: [
            { text: q.name, value: q.name },
            { text: q.bytes.toLocaleString("en"), value: q.bytes },
            { text: String(q.quality), value: q.quality },
            { text: q.psnr.toFixed(2), value: q.psnr },
            q.ms_ssim === null ? { text: "–" } : { text: q.ms_ssim.toFixed(4), value: q.ms_ssim },
          ],
        })),
      );
    };
    const turn = (by) => {
      choice.value =
        (Number(choice.value) + by + shownPictures.images.length) % shownPictures.images.length;
      show();
    };
    byId("previous").addEventListener("click", () => turn(-1));
    byId("next").addEventListener("click", () => turn(1));
    choice.addEventListener("change", show);
    show();
  }

  // What was run, where
  table(
    byId("codecs"),
    [
      { name: "codec" },
      { name: "settings", text: true },
      { name: "tuned for", text: true },
      { name: "version", text: true },
    ],
    Object.entries(data.codecs).map(([name, c]) => ({
      name,
      cells: [
        { text: name, value: name },
        { text: c.settings, value: c.settings },
        { text: c.tuned_for ?? "", value: c.tuned_for },
        { text: c.version, value: c.version },
      ],
    })),
  );
  byId("left-out").append(
    ...Object.entries(data.left_out).map(([name, why]) => el("li", {}, `${name}: ${why}`)),
  );
  byId("sources").append(
    ...Object.entries(data.published).map(([name, c]) => el("li", {}, `${name}: ${c.source}`)),
  );
  const facts = {
    CPU: machine.cpu,
    CPUs: machine.cpus,
    "load average": (machine.load_average ?? []).join(", "),
    system: `${machine.system}, ${machine.machine}`,
    Python: machine.python,
    ...machine.versions,
    ...machine.variables,
  };
  byId("machine").append(
    el(
      "tbody",
      {},
      ...Object.entries(facts).map(([k, v]) =>
        el("tr", {}, el("td", {}, k), el("td", { class: "text" }, String(v))),
      ),
    ),
  );
})();
