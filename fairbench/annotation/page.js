"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const AHEAD = 4; // pictures that are decoded before they are needed
  const { items, questions, words } = data;
  const storageKey = `fairbench-annotation-${data.page}`;
  const $ = (id) => document.getElementById(id);
  const empty = () => ({ at: 0, answers: {}, history: [] });
  let state = empty();
  let active = 0;
  let exported = true;
  let storageWorks = true;

  // --- what is kept in this browser ---

  function load() {
    try {
      const text = localStorage.getItem(storageKey);
      localStorage.setItem(storageKey, text ?? JSON.stringify(state));
      const kept = text && JSON.parse(text);
      if (kept && kept.answers && Array.isArray(kept.history)) state = kept;
    } catch {
      storageBlocked();
    }
    if (!(state.at >= 0 && state.at <= items.length)) state.at = 0;
  }

  function save() {
    exported = false;
    if (!storageWorks) return;
    try {
      localStorage.setItem(storageKey, JSON.stringify(state));
    } catch {
      storageBlocked();
    }
  }

  function storageBlocked() {
    storageWorks = false;
    $("storage").hidden = false;
  }

  // --- pictures: a few are decoded ahead, the others stay text ---

  const pictures = new Map();

  function picture(index) {
    if (!pictures.has(index)) {
      const image = new Image(items[index].width, items[index].height);
      image.src = `data:image/jpeg;base64,${items[index].jpeg}`;
      image.decode().catch(() => {});
      pictures.set(index, image);
    }
    return pictures.get(index);
  }

  function preload() {
    for (const index of [...pictures.keys()]) {
      if (index < state.at - 1 || index > state.at + AHEAD) pictures.delete(index);
    }
    for (let i = state.at; i <= Math.min(state.at + AHEAD, items.length - 1); i += 1) picture(i);
  }

  // --- answers ---

  const answersOf = (index) => state.answers[items[index].item] ?? questions.map(() => "");
  const isDone = (index) => answersOf(index).every(Boolean);
  const count = () => items.reduce((n, _, index) => n + isDone(index), 0);
  const firstOpen = (index) => Math.max(0, answersOf(index).indexOf(""));

  function remember() {
    state.history.push([state.at, active, answersOf(state.at)]);
    if (state.history.length > 2000) state.history.shift();
  }

  function answer(question, word) {
    if (state.at >= items.length || !picture(state.at).complete) return;
    active = question;
    remember();
    state.answers[items[state.at].item] = answersOf(state.at).map((given, q) => (q === question ? word : given));
    if (isDone(state.at)) next();
    else active = firstOpen(state.at);
    save();
    show();
  }

  function answerAll(word) {
    if (state.at >= items.length || !picture(state.at).complete) return;
    remember();
    state.answers[items[state.at].item] = questions.map(() => word);
    next();
    save();
    show();
  }

  function next() {
    const open = items.map((_, index) => index).filter((index) => !isDone(index));
    state.at = open.find((index) => index > state.at) ?? open[0] ?? items.length;
    active = state.at < items.length ? firstOpen(state.at) : 0;
  }

  function undo() {
    const last = state.history.pop();
    if (!last) return;
    const [at, question, before] = last;
    state.at = at;
    active = question;
    state.answers[items[at].item] = before;
    save();
    show();
  }

  function go(step) {
    const at = state.at + step;
    if (at < 0 || at > items.length || (at === items.length && count() < items.length)) return;
    state.at = at;
    active = at < items.length ? firstOpen(at) : 0;
    save();
    show();
  }

  // --- the screen: built once, and changed for each picture ---

  function element(tag, text, properties = {}) {
    const made = Object.assign(document.createElement(tag), properties);
    if (text) made.append(text);
    return made;
  }

  function button(key, text, act) {
    const made = element("button", "", { type: "button" });
    if (key) made.append(element("kbd", key));
    made.append(text);
    made.addEventListener("click", act);
    return made;
  }

  const fields = questions.map((question, q) => {
    const field = element("fieldset");
    field.append(element("legend", question.legend));
    const row = element("div", "", { className: "row" });
    const buttons = [...question.labels, words.cannotTell].map((word, i) => {
      const last = i === question.labels.length;
      const key = last ? "0" : i < 9 ? String(i + 1) : "";
      const made = button(key, question.meanings[word] ?? word, () => answer(q, word));
      row.append(made);
      return [word, made];
    });
    field.append(row);
    $("questions").append(field);
    return { field, buttons };
  });
  const nobody = button("n", words.noPerson, () => answerAll(words.noPerson));
  const skip = button("s", "skip this picture", () => answerAll(words.skipped));
  $("whole").append(nobody, skip);
  $("moves").append(
    button("←", "back", () => go(-1)),
    button("→", "forward", () => go(1)),
    button("u", "undo", undo),
    button("", "Export answers", exportAnswers),
  );

  function show() {
    const done = count();
    const finished = state.at >= items.length;
    $("work").hidden = finished;
    $("end").hidden = !finished;
    $("bar").value = done;
    $("count").textContent = finished ? "" : `Picture ${state.at + 1} of ${items.length}, ${done} done`;
    if (finished) return;
    preload();
    const image = picture(state.at);
    image.alt = `Picture ${state.at + 1} of ${items.length}`;
    if ($("frame").firstChild !== image) $("frame").replaceChild(image, $("frame").firstChild);
    const box = items[state.at].box;
    $("face").hidden = !box;
    if (box) {
      ["left", "top", "width", "height"].forEach((side, i) => { $("face").style[side] = `${100 * box[i]}%`; });
    }
    $("about").textContent = box ? words.aboutFace : words.aboutImage;
    const own = answersOf(state.at);
    fields.forEach(({ field, buttons }, q) => {
      field.classList.toggle("active", q === active);
      for (const [word, made] of buttons) made.setAttribute("aria-pressed", String(own[q] === word));
    });
    fields[active].field.scrollIntoView({ block: "nearest" });
    const all = (word) => String(own.every((given) => given === word));
    nobody.setAttribute("aria-pressed", all(words.noPerson));
    skip.setAttribute("aria-pressed", all(words.skipped));
  }

  // --- export ---

  function exportAnswers() {
    const header = ["annotator", "item", ...questions.map((question) => question.name)];
    const rows = items.map((item, index) => [data.annotator, item.item, ...answersOf(index)]);
    const text = cells.csv([header, ...rows]);
    const link = element("a", "", { download: `annotations-${data.annotator}.csv` });
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv" }));
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
    exported = true;
  }

  // --- keys ---

  const KEYS = {
    ArrowLeft: () => go(-1),
    ArrowRight: () => go(1),
    ArrowUp: () => { active = Math.max(0, active - 1); show(); },
    ArrowDown: () => { active = Math.min(questions.length - 1, active + 1); show(); },
    Backspace: undo,
    u: undo,
    s: () => answerAll(words.skipped),
    n: () => answerAll(words.noPerson),
    0: () => answer(active, words.cannotTell),
  };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.altKey || event.metaKey || $("intro").hidden === false) return;
    const label = /^[1-9]$/.test(event.key) ? questions[active].labels[Number(event.key) - 1] : undefined;
    const act = label === undefined ? KEYS[event.key] : () => answer(active, label);
    if (!act || event.repeat) return;
    event.preventDefault();
    act();
  });

  window.addEventListener("beforeunload", (event) => {
    if (!storageWorks && !exported) event.preventDefault();
  });

  $("start").addEventListener("click", () => {
    $("intro").hidden = true;
    $("screen").hidden = false;
    show();
  });
  $("save").addEventListener("click", exportAnswers);
  $("review").addEventListener("click", () => go(-1));

  load();
  active = state.at < items.length ? firstOpen(state.at) : 0;
  $("bar").max = items.length;
  const done = count();
  if (done) $("start").textContent = `Go on (${done} of ${items.length} done)`;
})();
