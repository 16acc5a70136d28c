import { html } from '../html.js';

export function Statistics() {
  return html`<div class="page"><h1>Statistics</h1></div>`;
}
