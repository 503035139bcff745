"use strict";
// Single pictures: as they stand in the gallery, and larger in a dialog. Everything from outside becomes text.
const viewer = (() => {
  const { make } = frame;
  const SVG = "http://www.w3.org/2000/svg";
  let run = null;
  let place = null; // {images(): those that are shown, focus(index): goes to one in the gallery}
  let dialog = null;
  let index = 0;

  const spaced = (word) => word.replaceAll("_", " ");
  const withNumber = ([label, probability]) => `${label ?? "unclear"}${probability === null ? "" : ` ${probability.toFixed(2)}`}`;
  const name = (image) => `${run.prompts[image.prompt].name} ${image.sample}`;
  // Labellers that read another label of a face than this run's, or of one attribute; `others` follows run.others.
  const dissenting = (face, attribute) => run.others.filter((_, i) => {
    const other = (face.others || [])[i];
    return other && Object.keys(other).some((each) => (attribute === undefined || each === attribute) && other[each] !== face.labels[each][0]);
  });

  function start(data, shown) {
    run = data;
    place = shown;
    dialog = make("dialog", null, { class: "viewer", "aria-labelledby": "viewer-name" });
    dialog.addEventListener("close", () => place.focus(index));
    dialog.addEventListener("click", (event) => event.target === dialog && dialog.close()); // on what is around it
    dialog.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (step === undefined) return;
      event.preventDefault();
      show(index + step);
    });
    document.body.append(dialog);
  }

  function open(wanted) {
    dialog.replaceChildren();
    show(wanted);
    dialog.showModal();
    dialog.querySelector("button").focus();
  }

  function show(wanted) {
    const images = place.images();
    if (wanted < 0 || wanted >= images.length) return;
    index = wanted;
    const held = dialog.contains(document.activeElement) ? document.activeElement.textContent : null;
    const image = images[index];
    const bar = make("div", null, { class: "bar" });
    for (const [words, disabled, act] of [
      ["Close", false, () => dialog.close()],
      ["Previous", index === 0, () => show(index - 1)],
      ["Next", index === images.length - 1, () => show(index + 1)],
    ]) {
      const button = make("button", words, { type: "button", "aria-disabled": String(disabled) }); // keeps its focus
      button.addEventListener("click", act);
      bar.append(button);
    }
    bar.append(make("span", `${index + 1} of ${images.length}`, { role: "status" }));
    dialog.replaceChildren(bar, make("h2", name(image), { id: "viewer-name" }), picture(image, "eager"), facts(image));
    for (const button of bar.querySelectorAll("button")) if (button.textContent === held) button.focus();
  }

  // What is known of an image: its faces as a table, then the rest.
  function facts(image) {
    const all = make("div", null, { class: "facts" });
    if (image.faces.length) all.append(faces(image));
    const prompt = run.prompts[image.prompt];
    const rest = make("dl");
    const known = [["prompt", prompt.text], ["asked", image.asked], ["status", spaced(image.status)], ["error", image.error],
      ["sample", image.sample], ["seed", image.seed], ["size", image.size && `${image.size[0]} x ${image.size[1]} pixels`], ["image id", image.id]];
    for (const [term, value] of known) {
      if (value === null || value === undefined) continue;
      const pair = make("div");
      pair.append(make("dt", term), make("dd", value));
      rest.append(pair);
    }
    all.append(rest);
    return all;
  }

  function faces(image) {
    const attributes = Object.keys(run.attributes);
    const table = make("table");
    const head = make("tr");
    for (const words of ["face", ...attributes.map(spaced), ...run.others.map((other) => `as read by ${other}`)]) head.append(make("th", words, { scope: "col" }));
    table.createTHead().append(head);
    const body = table.createTBody();
    image.faces.forEach((face, i) => {
      const row = make("tr");
      row.append(make("th", `${i + 1}${face.counted ? "" : ", left out"}`, { scope: "row" }));
      for (const attribute of attributes) row.append(make("td", withNumber(face.labels[attribute])));
      run.others.forEach((_, other) => row.append(make("td", second((face.others || [])[other]))));
      body.append(row);
    });
    const frameOfTable = make("div", null, { class: "wide", tabindex: "0", role: "region", "aria-label": "Its faces" });
    frameOfTable.append(table);
    return frameOfTable;
  }

  const second = (labels) => (labels ? Object.values(labels).map((label) => label ?? "unclear").join(", ") : "not matched");

  function words(image) {
    const read = image.faces.map((face) => {
      const own = Object.values(face.labels).map(withNumber).join(", ");
      const against = dissenting(face).map((labeller) => `; ${labeller}: ${second(face.others[run.others.indexOf(labeller)])}`);
      return own + (face.counted ? "" : " (left out)") + against.join("");
    });
    return read.length ? read : [spaced(image.status)];
  }

  function figure(image, position) {
    const element = make("figure", null, { "data-image": image.id });
    const button = make("button", null, { type: "button", tabindex: position === 0 ? "0" : "-1", "data-position": position });
    button.append(picture(image, "lazy"));
    button.addEventListener("click", () => open(position));
    const list = make("ul");
    for (const text of words(image)) list.append(make("li", text));
    const caption = make("figcaption", name(image));
    caption.append(list);
    element.append(button, caption);
    return element;
  }

  function picture(image, loading) {
    const shown = make("span", null, { class: "picture" });
    const described = `${run.prompts[image.prompt].name}, image ${image.sample}: ${words(image).join("; ")}`;
    if (image.file) shown.append(make("img", null, { src: image.file, alt: described, loading, decoding: "async" }), boxes(image));
    else {
      shown.append(make("span", `${name(image)}: `, { class: "unseen" }));
      shown.append(make("span", image.error || (image.status === "ok" ? "left out" : spaced(image.status)), { class: "absent" }));
    }
    return shown;
  }

  function boxes(image) {
    const [width, height] = image.size;
    const drawing = document.createElementNS(SVG, "svg");
    drawing.setAttribute("viewBox", `0 0 ${width} ${height}`);
    drawing.setAttribute("aria-hidden", "true");
    const draw = (kind, attributes, text) => {
      const mark = document.createElementNS(SVG, kind);
      for (const [key, value] of Object.entries(attributes)) mark.setAttribute(key, value);
      if (text) mark.textContent = text;
      drawing.append(mark);
    };
    image.faces.forEach((face, i) => {
      if (!face.box) return;
      const [left, top, right, bottom] = face.box;
      const kind = face.counted ? "counts" : "other";
      draw("rect", { x: left, y: top, width: right - left, height: bottom - top, class: kind });
      // The number that the face has in the table, where there are several.
      if (image.faces.length > 1) draw("text", { x: left + width / 60, y: top + height / 14, "font-size": height / 14, class: kind }, String(i + 1));
    });
    return drawing;
  }

  return { start, figure, dissenting };
})();
