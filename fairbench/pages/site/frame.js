"use strict";
// What all pages do: charts that answer, tables that are sorted and copied. Everything from outside becomes text.
const frame = (() => {
  const make = (tag, content, attributes) => {
    const element = document.createElement(tag);
    if (content !== undefined && content !== null) element.textContent = content;
    for (const [name, value] of Object.entries(attributes || {})) element.setAttribute(name, value);
    return element;
  };
  const find = (selector) => document.querySelector(selector);

  // Charts

  // data: charts (name -> specification) and styles (light, dark). onClick(item): a mark of a chart was clicked.
  function drawCharts(data, onClick) {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    for (const place of document.querySelectorAll("[data-chart]")) {
      const spec = data.charts[place.dataset.chart];
      const said = { role: "img", "aria-label": place.querySelector("img").alt };
      const holder = make("div");
      vegaEmbed(holder, spec, { ast: true, actions: false, renderer: "svg", mode: "vega-lite", config: data.styles[dark ? "dark" : "light"] })
        .then((result) => {
          place.replaceChildren(holder);
          holder.querySelector("svg").setAttribute("aria-hidden", "true"); // the holder says what it shows
          holder.removeAttribute("aria-roledescription"); // Vega's own words, which hold no numbers
          for (const [name, words] of Object.entries(said)) holder.setAttribute(name, words);
          holder.querySelectorAll("[role], [aria-roledescription]").forEach((part) => {
            for (const name of ["role", "aria-roledescription", "aria-label", "tabindex"]) part.removeAttribute(name);
          });
          if (place.dataset.click) result.view.addEventListener("click", (event, item) => onClick(item));
        })
        .catch((problem) => console.error(problem)); // the static picture stays
    }
  }

  // Tables

  // tables: Markdown and LaTeX of each table of the page.
  function addCopying(tables) {
    document.querySelectorAll("[data-table]").forEach((place) => {
      const forms = tables[Number(place.dataset.table)];
      const row = make("p", null, { class: "copy" });
      for (const [form, text] of Object.entries({ Markdown: forms.markdown, LaTeX: forms.latex, CSV: csv(place.querySelector("table")) })) {
        const button = make("button", `Copy as ${form}`, { type: "button" });
        button.addEventListener("click", () => copy(text, button));
        row.append(button, " ");
      }
      place.append(row);
    });
  }

  // A number that is shown rounded stands in its <data> as it is.
  const exact = (cell) => (cell.querySelector("data") || {}).value || cell.textContent;

  const csv = (table) => cells.csv([...table.rows].map((row) => [...row.cells].map(exact)));

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
    const value = (row) => exact(row.cells[column]).trim();
    const number = (text) => Number.parseFloat(text);
    const compare = (a, b) => {
      const [x, y] = [value(a), value(b)];
      const both = !Number.isNaN(number(x)) && !Number.isNaN(number(y));
      return (both ? number(x) - number(y) : x.localeCompare(y)) * (rising ? 1 : -1);
    };
    const body = table.tBodies[0];
    body.append(...[...body.rows].sort(compare));
  }

  return { make, find, drawCharts, addCopying, addSorting };
})();
