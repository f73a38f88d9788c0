"use strict";

(function () {
  const data = dataOfPage();
  const viewer = makeViewer(document.getElementById("viewer"));
  const table = document.getElementById("table");
  const chooser = document.getElementById("photos");
  document.getElementById("theme").append(themeButton());

  /** One photograph: its pictures in the viewer, its numbers in the table. */
  function show(photo) {
    const [own, ...others] = photo.pictures;
    const bpp = (p) => (8 * p.bytes) / (photo.width * photo.height);
    const apart = Math.max(0, ...others.map((p) => Math.abs(p.bytes / own.bytes - 1)));
    const near = others.length ? `, the others within ${(100 * apart).toFixed(1)} % of that` : "";
    const name = data.photos.length > 1 ? `${photo.name}: ` : "";
    document.getElementById("facts").textContent =
      `${name}${photo.width} x ${photo.height} pixels, ` +
      `${own.name} at ${fileSize(own.bytes)} (${bpp(own).toFixed(3)} bits per pixel)${near}. ` +
      photo.note;
    viewer.show(
      [...photo.pictures, { name: "Original", src: photo.original }],
      photo.width,
      photo.height,
      others.length ? others[0].name : "Original",
      own.name,
    );
    const columns = [
      ["codec", (p) => p.name],
      ["bytes", (p) => p.bytes.toLocaleString("en")],
      [
        `against ${own.name}`,
        (p) => {
          const more = 100 * (p.bytes / own.bytes - 1);
          return p === own ? "" : `${more < 0 ? "\u2212" : "+"}${Math.abs(more).toFixed(1)} %`;
        },
      ],
      ["bits per pixel", (p) => bpp(p).toFixed(3)],
      ["setting", (p) => String(p.quality)],
      ["PSNR (dB)", (p) => p.psnr.toFixed(2)],
      ["SSIMULACRA 2", (p) => p.ssimulacra2?.toFixed(1) ?? ""],
      ["MS-SSIM", (p) => p.ms_ssim?.toFixed(4) ?? ""],
    ].filter(([, of]) => photo.pictures.some((p) => of(p) !== ""));
    const cells = (tag, values, more) => values.map((v) => el(tag, more ?? {}, v));
    table.replaceChildren(
      el(
        "thead",
        {},
        el(
          "tr",
          {},
          ...cells(
            "th",
            columns.map(([name]) => name),
            { scope: "col" },
          ),
        ),
      ),
      el(
        "tbody",
        {},
        ...photo.pictures.map((p) =>
          el(
            "tr",
            { class: p === own ? "own" : null },
            ...cells(
              "td",
              columns.map(([, of]) => of(p)),
            ),
          ),
        ),
      ),
    );
    for (const [i, button] of [...chooser.children].entries())
      button.setAttribute("aria-pressed", String(data.photos[i] === photo));
  }

  chooser.hidden = data.photos.length < 2;
  chooser.append(
    ...data.photos.map((photo) =>
      el("button", { type: "button", onclick: () => show(photo) }, photo.name),
    ),
  );
  document
    .getElementById("versions")
    .append(
      ...Object.entries(data.versions).map(([name, text]) =>
        el("li", {}, el("strong", {}, name), `: ${text}`),
      ),
    );
  show(data.photos[0]);
})();
