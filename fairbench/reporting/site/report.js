"use strict";
// The page of a run is complete without this script, but for its pictures. Everything from outside becomes text.
const fairbench = (() => {
  const PAGE = 60; // pictures that are added at a time; 1 to 6 columns have no gaps
  const UNCLEAR = " unclear"; // labels have no blanks at their ends
  const STATE = "#pictures?"; // the address holds what is chosen
  let run = null;
  const images = [];
  let missing = 0;
  let shown = [];
  let count = 0;
  let ownAddress = false;
  let nearEnd = null;

  const { make, find } = frame;

  function give(name, data) {
    if (name === "page") {
      run = { others: [], ...data };
      frame.drawCharts(run, (item) => item && item.datum && choose(item.datum.name));
      frame.addCopying(run.tables);
      frame.addSorting();
      missing = run.chunks.length;
      for (const chunk of run.chunks) document.body.append(make("script", null, { src: chunk }));
    } else if (name.startsWith("images")) {
      for (const image of data) images.push(image);
      missing -= 1;
      if (missing === 0) begin(); // a page without pictures has no chunks
    }
  }

  // From charts to pictures

  const known = (name) => run.prompts.some((prompt) => prompt.name === name);
  const address = (pairs) => STATE + new URLSearchParams(pairs);

  function choose(name) {
    if (!known(name)) return;
    location.hash = address([["prompt", name]]);
  }

  // What a click on a mark does, as links for the keyboard.
  function addLinks() {
    for (const place of document.querySelectorAll("[data-click]")) {
      const values = run.charts[place.dataset.chart].data.values;
      const names = [...new Set(values.map((value) => value.name))].filter(known);
      const list = make("ul", null, { class: "subjects" });
      for (const name of names) {
        const item = make("li");
        item.append(make("a", name, { href: address([["prompt", name]]) }));
        list.append(item);
      }
      const details = make("details", null, { class: "files" });
      details.append(make("summary", "Pictures of a prompt"), list);
      place.closest("figure").append(details);
    }
  }

  // Filters

  function select(name, title, options) {
    const label = make("label", title);
    const choice = make("select", null, { name });
    for (const [value, text] of [["", "all"], ...options]) choice.append(make("option", text, { value }));
    label.append(choice);
    return label;
  }

  const same = (words) => words.map((word) => [word, word]);

  // Each subject; where several prompts have it, also their names.
  function prompts() {
    const subjects = [...new Set(run.prompts.map((prompt) => prompt.subject))];
    return same(subjects.flatMap((subject) => {
      const names = run.prompts.filter((prompt) => prompt.subject === subject).map((prompt) => prompt.name);
      return names.length > 1 && subject ? [subject, ...names] : names;
    }));
  }

  const FACES = {
    none: ["none", (image) => image.faces.length === 0],
    one: ["one", (image) => image.faces.length === 1],
    several: ["several", (image) => image.faces.length > 1],
  };
  const lacks = (face) => Object.values(face.labels).some(([label]) => label === null);
  const COUNTED = {
    yes: ["with a counted face", (image) => image.faces.some((face) => face.counted && !lacks(face))],
    "left out": ["face left out by the policy", (image) => image.faces.some((face) => !face.counted)],
    excluded: ["face excluded: a label is missing", (image) => image.faces.some((face) => face.counted && lacks(face))],
    nothing: ["counts for nothing", (image) => !image.faces.some((face) => face.counted && !lacks(face))],
  };
  const offered = (choices) => Object.entries(choices).map(([value, [text]]) => [value, text]);

  const compared = (face) => face.counted && (face.others || []).some(Boolean);
  const LABELLERS = {
    " differ": ["differ in any label", (image) => image.faces.some((face) => face.counted && viewer.dissenting(face).length)],
    " agree": ["agree", (image) => image.faces.some(compared) && !image.faces.some((face) => face.counted && viewer.dissenting(face).length)],
    " unmatched": ["no face of both", (image) => !image.faces.some(compared)],
  };

  function begin() {
    images.sort((a, b) => a.prompt - b.prompt || a.sample - b.sample);
    const form = find(".filters");
    form.append(select("prompt", "Prompt", prompts()));
    for (const [attribute, labels] of Object.entries(run.attributes))
      form.append(select(`label ${attribute}`, attribute.replaceAll("_", " "), [...same(labels), [UNCLEAR, "unclear"]]));
    const statuses = [...new Set(images.map((image) => image.status))].sort();
    form.append(select("status", "Status", statuses.map((status) => [status, status.replaceAll("_", " ")])));
    form.append(select("faces", "Faces", offered(FACES)), select("counted", "Counted", offered(COUNTED)));
    if (run.others.length) {
      const differing = Object.keys(run.attributes).map((attribute) => [attribute, `differ in ${attribute.replaceAll("_", " ")}`]);
      form.append(select("labellers", "Labellers", [...offered(LABELLERS), ...differing]));
    }
    const label = make("label", "Least sure label, at most");
    label.append(make("input", null, { type: "number", name: "sure", min: "0", max: "1", step: "0.05" }));
    const reset = make("button", "Show all", { type: "button" });
    form.append(label, reset);
    form.addEventListener("input", filter);
    form.addEventListener("change", remember);
    form.addEventListener("submit", (event) => event.preventDefault());
    reset.addEventListener("click", () => { form.reset(); filter(); remember(); });
    viewer.start(run, { images: () => shown, focus });
    find(".gallery").addEventListener("keydown", walk);
    find(".more").addEventListener("click", add);
    addLinks();
    nearEnd = new IntersectionObserver((entries) => entries.some((entry) => entry.isIntersecting) && add(), { rootMargin: "600px" });
    // Pictures that were not scrolled to are loaded for print.
    addEventListener("beforeprint", () => document.querySelectorAll(".gallery img").forEach((image) => { image.loading = "eager"; }));
    addEventListener("hashchange", () => (ownAddress ? (ownAddress = false) : follow()));
    filter();
    follow();
  }

  // The address

  const chosen = () => [...new FormData(find(".filters"))].filter(([, value]) => value !== "");

  function remember() {
    const wanted = address(chosen());
    if (wanted === location.hash) return;
    ownAddress = true;
    location.hash = wanted;
  }

  // Choose what the address says; what the page does not have is passed over. Other places of the page keep the choice.
  function follow() {
    if (!location.hash.startsWith(STATE) && location.hash !== "") return;
    const wanted = new URLSearchParams(location.hash.slice(STATE.length));
    for (const control of find(".filters").elements) {
      if (!control.name) continue;
      control.value = wanted.get(control.name) ?? "";
      if (control.selectedIndex === -1) control.selectedIndex = 0;
    }
    filter();
    if (location.hash === "") return;
    const heading = find("#h-pictures");
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    heading.scrollIntoView();
  }

  function leastSure(image) {
    const all = image.faces.flatMap((face) => Object.values(face.labels).map(([, probability]) => probability));
    return Math.min(1, ...all.filter((probability) => probability !== null));
  }

  function filter() {
    const wanted = new Map(chosen());
    const prompt = wanted.get("prompt");
    const has = (name, test) => !wanted.has(name) || test(wanted.get(name));
    const labelled = (image, attribute) => (label) =>
      image.faces.some((face) => face.counted && (face.labels[attribute][0] ?? UNCLEAR) === label);
    const differs = (image) => (how) =>
      how in LABELLERS ? LABELLERS[how][1](image) : image.faces.some((face) => face.counted && viewer.dissenting(face, how).length);
    shown = images.filter((image) => {
      const { subject, text, name } = run.prompts[image.prompt];
      return (prompt === undefined || [subject, text, name].includes(prompt))
        && has("status", (status) => image.status === status)
        && has("faces", (faces) => FACES[faces][1](image))
        && has("counted", (counted) => COUNTED[counted][1](image))
        && has("labellers", differs(image))
        && has("sure", (most) => image.faces.length > 0 && leastSure(image) <= Number(most))
        && Object.keys(run.attributes).every((attribute) => has(`label ${attribute}`, labelled(image, attribute)));
    });
    count = 0;
    find(".gallery").replaceChildren();
    find(".count").textContent = shown.length ? `${shown.length} of ${images.length} images` : `None of ${images.length} images is like this: choose less, or show all.`;
    add();
  }

  // The gallery: one stop of the Tab key, in which arrow keys walk

  function add() {
    const part = make("div", null, { class: "part" });
    part.append(...shown.slice(count, count + PAGE).map((image, i) => viewer.figure(image, count + i)));
    find(".gallery").append(part);
    count = Math.min(shown.length, count + PAGE);
    find(".more").hidden = count >= shown.length;
    nearEnd.unobserve(find(".more")); // so that it speaks again where the end is still near
    nearEnd.observe(find(".more"));
  }

  function focus(position) {
    while (count <= position && count < shown.length) add();
    const button = find(`.gallery [data-position="${position}"]`);
    if (!button) return;
    document.querySelectorAll(".gallery [tabindex='0']").forEach((other) => { other.tabIndex = -1; });
    button.tabIndex = 0;
    button.focus();
  }

  function walk(event) {
    const columns = getComputedStyle(find(".gallery .part")).gridTemplateColumns.split(" ").length;
    const here = Number(event.target.dataset.position);
    const step = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: columns, ArrowUp: -columns, Home: -here, End: count - 1 - here }[event.key];
    if (step === undefined || here + step < 0 || here + step >= shown.length) return;
    event.preventDefault();
    focus(here + step);
  }

  return { give };
})();
