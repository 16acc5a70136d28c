// What the server says, as it says it on the command line: between backticks stand commands.

import { html } from '../html.js';

export function Said({ text }) {
  const parts = String(text ?? '').split(/`([^`\n]+)`/);
  return parts.map((part, n) => (n % 2 ? html`<code key=${n}>${part}</code>` : part));
}
