"use strict";
// The page of a run is complete without this script, but for its pictures. Everything from outside becomes text.
const fairbench = (() => {
  const PAGE = 120; // pictures that are added at a time
  let run = null;
  const images = [];
  let missing = 0;
  let shown = [];
  let count = 0;

  const { make, find } = frame;

  function give(name, data) {
    if (name === "page") {
      run = data;
      frame.drawCharts(run, choose);
      frame.addCopying(run.tables);
      frame.addSorting();
      missing = run.chunks.length;
      for (const chunk of run.chunks) document.body.append(make("script", null, { src: chunk }));
    } else if (name.startsWith("images")) {
      images.push(...data);
      missing -= 1;
      if (missing === 0) begin(); // a page without pictures has no chunks
    }
  }

  // Charts

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

  return { give };
})();
