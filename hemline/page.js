"use strict";
// Progressive enhancement of a page that can be read without it: tables that sort, plots, downloads.

const quantity = (text) => {
  const found = text.replaceAll(",", "").replace("\u2212", "-").match(/[-+]?\d+(\.\d+)?(e[-+]?\d+)?/);
  return found ? Number(found[0]) : NaN;
};

function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, at) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const numeric = head.classList.contains("number");
      const sign = head.ariaSort === "ascending" ? -1 : 1;
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.ariaSort = sign > 0 ? "ascending" : "descending";
      const key = (row) => (numeric ? quantity(row.cells[at].textContent) : row.cells[at].textContent);
      const order = (a, b) => {
        const [x, y] = [key(a), key(b)];
        if (!numeric) return sign * x.localeCompare(y, undefined, { numeric: true });
        // what is not known comes last either way
        return Number.isNaN(x) - Number.isNaN(y) || sign * (x - y) || 0;
      };
      table.tBodies[0].append(...[...table.tBodies[0].rows].sort(order));
    });
  });
}

async function loadLibrary() {
  const packed = document.getElementById("library").textContent;
  const bytes = Uint8Array.from(atob(packed), (sign) => sign.charCodeAt(0));
  const plain = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const script = document.createElement("script");
  script.textContent = await new Response(plain).text();
  document.head.append(script);
  Bokeh.set_log_level("error");
}

const drawn = new Map();

async function draw(box) {
  // colours stand in the plots as names of the page's own, light or dark
  const style = getComputedStyle(document.documentElement);
  const source = document.getElementById(box.dataset.plot).textContent;
  const text = source.replace(/var\((--[a-z]+)\)/g, (_, name) => style.getPropertyValue(name).trim());
  drawn.get(box)?.clear();
  box.replaceChildren();
  drawn.set(box, await Bokeh.embed.embed_item(JSON.parse(text), box));
}

// a finger does not hover: what it taps is pointed at
function point(tap) {
  if (tap.pointerType !== "touch") return;
  const { clientX, clientY } = tap;
  const move = { clientX, clientY, view: window, isPrimary: true, bubbles: true, composed: true };
  const target = tap.composedPath()[0];
  // after the finger has left
  setTimeout(() => target.dispatchEvent(new PointerEvent("pointermove", move)), 50);
}

async function drawAll() {
  const boxes = [...document.querySelectorAll("[data-plot]")];
  if (!boxes.length) return;
  try {
    await loadLibrary();
    for (const box of boxes) {
      await draw(box);
      box.addEventListener("pointerup", point, true);
    }
  } catch (error) {
    boxes.forEach((box) => box.replaceChildren(`This browser cannot draw the plot: ${error.message}`));
    return;
  }
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const tell = () => (document.documentElement.dataset.drawn = dark.matches ? "dark" : "light");
  dark.addEventListener("change", () => Promise.all(boxes.map(draw)).then(tell));
  tell();
}

function csv(rows) {
  const columns = [...new Set(rows.flatMap(Object.keys))];
  const field = (value) => {
    const text = value === null || value === undefined ? "" : typeof value === "object" ? JSON.stringify(value) : String(value);
    return /[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [columns, ...rows.map((row) => columns.map((name) => row[name]))]
    .map((line) => line.map(field).join(",") + "\r\n")
    .join("");
}

function download(button) {
  button.hidden = false;
  button.addEventListener("click", () => {
    const data = document.getElementById("data").textContent;
    const [text, type] = button.dataset.download.endsWith(".csv")
      ? [csv(JSON.parse(data).cells), "text/csv"]
      : [data, "application/json"];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type }));
    link.download = button.dataset.download;
    link.click();
    URL.revokeObjectURL(link.href);
  });
}

document.querySelectorAll("table.sortable").forEach(sortable);
document.querySelectorAll("[data-download]").forEach(download);
drawAll();
