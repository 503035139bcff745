"use strict";
// Rows as CSV. Text that a spreadsheet would take for a formula gets an apostrophe, which our readers take off.
const cells = (() => {
  const isNumber = (text) => /^[+-]?((\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|inf|nan)$/.test(text);
  const guarded = (text) => (/^'*[=+\-@\t]/.test(text) && !isNumber(text) ? `'${text}` : text);
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
  const csv = (rows) => `${rows.map((row) => row.map((cell) => quoted(guarded(cell))).join(",")).join("\n")}\n`;
  return { csv };
})();
