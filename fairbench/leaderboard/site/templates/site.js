"use strict";
// The pages are complete without this script, which lets people choose and sort rows, and draws charts that answer.
const fairbench = (() => {
  const { make, find } = frame;

  function give(name, data) {
    frame.drawCharts(data, () => {});
    frame.addCopying(data.tables);
    frame.addSorting();
    addFilters(data.filters);
  }

  // What an element says of itself: column -> values.
  const facets = (element) => JSON.parse(element.dataset.facets);

  function addFilters(names) {
    const form = find(".filters");
    if (!form) return;
    const all = [...document.querySelectorAll("[data-facets]")];
    for (const [column, words] of Object.entries(names)) {
      const values = [...new Set(all.flatMap((each) => facets(each)[column]))].sort();
      if (values.length < 2) continue;
      const choice = make("select", null, { name: column });
      choice.append(make("option", "all", { value: "" }), ...values.map((value) => make("option", value, { value: `=${value}` })));
      const label = make("label", words);
      label.append(choice);
      form.append(label);
    }
    if (form.children.length === 0) return;
    form.addEventListener("change", () => choose(form, all));
    choose(form, all);
  }

  function choose(form, all) {
    const chosen = [...new FormData(form)].filter(([, value]) => value !== "");
    for (const each of all) each.hidden = !chosen.every(([column, value]) => facets(each)[column].includes(value.slice(1)));
    for (const group of document.querySelectorAll(".group")) group.hidden = !group.querySelector("[data-facets]:not([hidden])");
    const count = find(".count");
    count.textContent = `${all.filter((each) => !each.hidden).length} of ${all.length} ${count.dataset.noun}`;
  }

  return { give };
})();
