import { html } from '../html.js';

export function Live() {
  return html`<div class="page"><h1>Live</h1></div>`;
}
