"use strict";

(function () {
  const data = dataOfPage();
  const [own, ...others] = data.pictures;
  const bpp = (p) => (8 * p.bytes) / (data.width * data.height);
  document.getElementById("theme").append(themeButton());
  document.getElementById("facts").textContent =
    `${data.width} x ${data.height} pixels, ${own.name} at ${fileSize(own.bytes)} ` +
    `(${bpp(own).toFixed(3)} bits per pixel), the others at no fewer bytes. ${data.note}`;

  const pictures = [...data.pictures, { name: "Original", src: data.original }];
  const viewer = makeViewer(document.getElementById("viewer"));
  viewer.show(
    pictures,
    data.width,
    data.height,
    others.length ? others[0].name : "Original",
    own.name,
  );

  const body = document.getElementById("table");
  const exact = data.pictures.some((p) => p.ms_ssim !== null);
  const heads = ["codec", "bytes", `against ${own.name}`, "bits per pixel", "setting", "PSNR (dB)"];
  if (exact) heads.push("MS-SSIM");
  body.append(el("thead", {}, el("tr", {}, ...heads.map((h) => el("th", { scope: "col" }, h)))));
  body.append(
    el(
      "tbody",
      {},
      ...data.pictures.map((p) => {
        const more = 100 * (p.bytes / own.bytes - 1);
        const cells = [
          p.name,
          p.bytes.toLocaleString("en"),
          p === own ? "" : `${more < 0 ? "−" : "+"}${Math.abs(more).toFixed(1)} %`,
          bpp(p).toFixed(3),
          String(p.quality),
          p.psnr.toFixed(2),
        ];
        if (exact) cells.push(p.ms_ssim === null ? "" : p.ms_ssim.toFixed(4));
        return el("tr", { class: p === own ? "own" : null }, ...cells.map((c) => el("td", {}, c)));
      }),
    ),
  );
  document
    .getElementById("versions")
    .append(
      ...Object.entries(data.versions).map(([name, text]) =>
        el("li", {}, el("strong", {}, name), `: ${text}`),
      ),
    );
})();
