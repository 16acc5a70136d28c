// A table as a file of comma-separated values.

// Texts that spreadsheets run, or whose first character they take for a mark of their own: as the server has it.
const FORMULA = /^['\p{Cc}]|^[\s\p{Cc}\u200b\u200e\u200f\ufeff]*[=+\-@＝＋－＠]/u;

/** The text of rows of cells; null and undefined are empty. */
export function csv(rows) {
  return `${rows.map((row) => row.map(cell).join(',')).join('\r\n')}\r\n`;
}

function cell(value) {
  let text = value === null || value === undefined ? '' : String(value);
  // A spreadsheet would take it for a formula. A number with its plus stays as it is.
  if (typeof value === 'string' && FORMULA.test(text) && !/^\+\d+$/.test(text)) text = `'${text}`;
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

/** Has the browser save a text as a file. */
export function save(name, text, type = 'text/csv') {
  const address = URL.createObjectURL(new Blob([text], { type: `${type};charset=utf-8` }));
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}
