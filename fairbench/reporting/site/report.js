"use strict";
// The page of a run is complete without this script, but for its pictures. Everything from outside becomes text.
const fairbench = (() => {
  const PAGE = 120; // pictures that are added at a time
  let run = null;
  const images = [];
  let missing = 0;
  let shown = [];
  let count = 0;

  const make = (tag, content, attributes) => {
    const element = document.createElement(tag);
    if (content !== undefined && content !== null) element.textContent = content;
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    return element;
  };
  const find = (selector) => document.querySelector(selector);

  function give(name, data) {
    if (name === "run") {
      run = data;
      drawCharts();
      addCopying();
      addSorting();
      missing = run.chunks.length;
      for (const chunk of run.chunks) document.body.append(make("script", null, { src: chunk }));
    } else if (name.startsWith("images")) {
      images.push(...data);
      missing -= 1;
      if (missing === 0) begin(); // a page without pictures has no chunks
    }
  }

  // Charts

  function drawCharts() {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    for (const place of document.querySelectorAll("[data-chart]")) {
      const spec = run.charts[place.dataset.chart];
      const holder = make("div", null, { role: "img", "aria-label": place.querySelector("img").alt });
      vegaEmbed(holder, spec, { ast: true, actions: false, renderer: "svg", mode: "vega-lite", config: run.styles[dark ? "dark" : "light"] })
        .then((result) => {
          place.replaceChildren(holder);
          holder.querySelector("svg").setAttribute("aria-hidden", "true"); // the holder says what it shows
          holder.querySelectorAll("[role], [aria-roledescription]").forEach((part) => {
            for (const name of ["role", "aria-roledescription", "aria-label", "tabindex"]) part.removeAttribute(name);
          });
          if (place.dataset.click) result.view.addEventListener("click", (event, item) => choose(item));
        })
        .catch((problem) => console.error(problem)); // the static picture stays
    }
  }

  function choose(item) {
    const subject = item && item.datum && item.datum.subject;
    const index = run.prompts.findIndex((prompt) => prompt.subject === subject);
    if (index < 0) return;
    find("[name=prompt]").value = String(index);
    filter();
    find("#pictures").scrollIntoView();
  }

  // Pictures

  function select(name, title, options) {
    const label = make("label", title);
    const choice = make("select", null, { name });
    for (const [value, text] of [["", "all"], ...options]) choice.append(make("option", text, { value }));
    label.append(choice);
    return label;
  }

  function begin() {
    images.sort((a, b) => a.prompt - b.prompt || a.sample - b.sample);
    const form = find(".filters");
    form.append(select("prompt", "Prompt", run.prompts.map((prompt, i) => [String(i), prompt.subject])));
    for (const [attribute, labels] of Object.entries(run.attributes))
      form.append(select(`label ${attribute}`, attribute, [...labels.map((label) => [label, label]), ["\u0000", "unclear"]]));
    const statuses = [...new Set(images.map((image) => image.status))].sort();
    form.append(select("status", "Status", statuses.map((status) => [status, status.replaceAll("_", " ")])));
    form.append(select("faces", "Faces", [["none", "none"], ["one", "one"], ["several", "several"], ["left out", "left out by the policy"]]));
    const label = make("label", "Least sure label, at most");
    label.append(make("input", null, { type: "number", name: "sure", min: "0", max: "1", step: "0.05" }));
    form.append(label);
    form.addEventListener("input", filter);
    form.addEventListener("submit", (event) => event.preventDefault());
    find(".more").addEventListener("click", add);
    new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && add(), { rootMargin: "600px" }).observe(find(".more"));
    filter();
  }

  function leastSure(image) {
    const all = image.faces.flatMap((face) => Object.values(face.labels).map(([, probability]) => probability));
    return Math.min(1, ...all.filter((probability) => probability !== null));
  }

  const FACES = {
    none: (image) => image.faces.length === 0,
    one: (image) => image.faces.length === 1,
    several: (image) => image.faces.length > 1,
    "left out": (image) => image.faces.some((face) => !face.counted),
  };

  function filter() {
    const chosen = Object.fromEntries([...new FormData(find(".filters"))].filter(([, value]) => value !== ""));
    shown = images.filter((image) => {
      if ("prompt" in chosen && image.prompt !== Number(chosen.prompt)) return false;
      if ("status" in chosen && image.status !== chosen.status) return false;
      if ("faces" in chosen && !FACES[chosen.faces](image)) return false;
      if ("sure" in chosen && (image.faces.length === 0 || leastSure(image) > Number(chosen.sure))) return false;
      return Object.keys(run.attributes).every((attribute) => {
        const wanted = chosen[`label ${attribute}`];
        if (wanted === undefined) return true;
        return image.faces.some((face) => face.counted && (face.labels[attribute][0] ?? "\u0000") === wanted);
      });
    });
    count = 0;
    find(".gallery").replaceChildren();
    find(".count").textContent = `${shown.length} of ${images.length} images`;
    add();
  }

  function add() {
    find(".gallery").append(...shown.slice(count, count + PAGE).map(figure));
    count = Math.min(shown.length, count + PAGE);
    find(".more").hidden = count >= shown.length;
  }

  function figure(image) {
    const prompt = run.prompts[image.prompt];
    const element = make("figure", null, { "data-image": image.id });
    const picture = make("div", null, { class: "picture" });
    const words = image.faces.map((face) => Object.entries(face.labels).map(([, [label, probability]]) =>
      `${label ?? "unclear"} ${probability === null ? "" : probability.toFixed(2)}`.trim()).join(", ") + (face.counted ? "" : " (left out)"));
    if (image.file) {
      const described = `${prompt.subject}, image ${image.sample}: ${words.join("; ") || image.status.replaceAll("_", " ")}`;
      picture.append(make("img", null, { src: image.file, alt: described, loading: "lazy", decoding: "async" }), boxes(image));
    } else {
      picture.append(make("div", image.error || image.status.replaceAll("_", " "), { class: "absent" }));
    }
    const list = make("ul");
    for (const text of words.length ? words : [image.status.replaceAll("_", " ")]) list.append(make("li", text));
    list.append(make("li", `seed ${image.seed}`));
    if (image.asked !== null) list.append(make("li", `asked: ${image.asked}`));
    const caption = make("figcaption", `${prompt.subject} ${image.sample}`);
    caption.append(list);
    element.append(picture, caption);
    return element;
  }

  function boxes(image) {
    const space = "http://www.w3.org/2000/svg";
    const drawing = document.createElementNS(space, "svg");
    drawing.setAttribute("viewBox", `0 0 ${image.size[0]} ${image.size[1]}`);
    drawing.setAttribute("aria-hidden", "true");
    for (const face of image.faces) {
      if (!face.box) continue;
      const [left, top, right, bottom] = face.box;
      const mark = document.createElementNS(space, "rect");
      for (const [name, value] of Object.entries({ x: left, y: top, width: right - left, height: bottom - top })) mark.setAttribute(name, value);
      if (!face.counted) mark.setAttribute("class", "other");
      drawing.append(mark);
    }
    return drawing;
  }

  // Tables

  function addCopying() {
    document.querySelectorAll("[data-table]").forEach((place) => {
      const forms = run.tables[Number(place.dataset.table)];
      const row = make("p", null, { class: "copy" });
      for (const [form, text] of Object.entries({ Markdown: forms.markdown, LaTeX: forms.latex, CSV: csv(place.querySelector("table")) })) {
        const button = make("button", `Copy as ${form}`, { type: "button" });
        button.addEventListener("click", () => copy(text, button));
        row.append(button, " ");
      }
      place.append(row);
    });
  }

  function csv(table) {
    // A cell that a spreadsheet would take for a formula gets an apostrophe; numbers do not.
    const field = (text) => {
      const safe = /^[=+\-@\t]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text;
      return /[",\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
    };
    return [...table.rows].map((row) => [...row.cells].map((cell) => field(cell.textContent)).join(",")).join("\n") + "\n";
  }

  function copy(text, button) {
    const area = make("textarea");
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy"); // navigator.clipboard is absent on pages from disk
    area.remove();
    const words = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = words; }, 1500);
  }

  function addSorting() {
    for (const table of document.querySelectorAll("[data-table] table")) {
      [...table.tHead.rows[0].cells].forEach((head, column) => {
        const button = make("button", null, { type: "button" });
        button.append(...head.childNodes);
        button.addEventListener("click", () => sort(table, head, column));
        head.append(button);
      });
    }
  }

  function sort(table, head, column) {
    const rising = head.getAttribute("aria-sort") !== "ascending";
    for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", rising ? "ascending" : "descending");
    const value = (row) => row.cells[column].textContent.trim();
    const number = (text) => Number.parseFloat(text);
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      const both = !Number.isNaN(number(x)) && !Number.isNaN(number(y));
      return (both ? number(x) - number(y) : x.localeCompare(y)) * (rising ? 1 : -1);
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
  }

  return { give };
})();
