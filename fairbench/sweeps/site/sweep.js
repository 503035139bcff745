"use strict";
// The page is complete without this script, which draws charts that answer and lets people sort and copy tables.
const fairbench = (() => {
  function give(name, data) {
    frame.drawCharts(data, () => {});
    frame.addCopying(data.tables);
    frame.addSorting();
  }

  return { give };
})();
