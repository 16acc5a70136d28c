import { html } from '../html.js';

export function History() {
  return html`<div class="page"><h1>History</h1></div>`;
}
