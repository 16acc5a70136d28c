// The machines of a cluster: its nodes, as this one hears them, and the servers that have its log.

import { html } from '../html.js';
import { number, span } from '../time.js';
import { Icon } from '../ui.js';

const STATES = {
  live: ['ok', 'check', 'up with the log'],
  starting: ['unknown', 'info', 'reads the log'],
  away: ['warning', 'alert', 'no quorum of servers'],
  behind: ['failed', 'close', 'behind the log'],
  different: ['failed', 'close', 'not the log that was applied'],
  'giving back': ['warning', 'alert', 'gives back what the log has lost'],
  stopped: ['failed', 'close', 'applies nothing more'],
};

// Seconds after which a node counts as silent, as in `status`.
const SILENT = 30;

export function Nodes({ cluster }) {
  const { node, applied, last, kept, nodes, servers, leader } = cluster;
  return html`<div class="pair">
    <section class="card" aria-label="Nodes"><header><h2>Nodes of ${cluster.cluster}</h2></header><div class="scroll"><table class="table">
      <thead><tr><th scope="col">Node</th><th scope="col">Log</th><th scope="col">Kept</th><th scope="col">Heard</th></tr></thead>
      <tbody>
        <tr><th scope="row">${node}<small class="below">this one</small></th><td><${State} cluster=${cluster} /></td>
          <td>${number(kept.count)}</td><td class="muted">now</td></tr>
        ${nodes.map((one) => html`<tr key=${one.node}><th scope="row">${one.node}</th>
          <td><${Other} node=${one} behind=${last - one.applied} /></td>
          <td>${one.heard ? number(one.kept) : ''}</td><td>${one.heard ? `${span(one.seen_seconds)} ago` : `not for ${span(one.seen_seconds)}`}</td></tr>`)}
      </tbody></table></div>
      <p class="card-body hint">Message ${number(applied)} of ${number(last)} is applied here. What is kept stands on one disk until the log takes it.</p></section>
    <section class="card" aria-label="Servers of the log"><header><h2>Servers of the log</h2></header><div class="scroll"><table class="table">
      <thead><tr><th scope="col">Server</th><th scope="col">Replica</th><th scope="col">Release</th></tr></thead>
      <tbody>${servers.map((one) => html`<tr key=${one.name}><th scope="row">${one.name}</th>
        <td><${Replica} server=${one} leads=${one.name === leader} />${one.trouble ? html`<small class="below">${one.trouble}</small>` : null}</td>
        <td>${one.version ?? html`<span class="muted">not known</span>`}</td></tr>`)}</tbody></table></div></section>
  </div>`;
}

function Level({ level, icon, children }) {
  return html`<span class=${`level ${level}`}><${Icon} name=${icon} />${children}</span>`;
}

function State({ cluster }) {
  const [level, icon, words] = STATES[cluster.state] ?? ['unknown', 'info', cluster.state];
  return cluster.state === 'live' && cluster.lag.messages > 0 ? behind(cluster.lag.messages) : html`<${Level} level=${level} icon=${icon}>${words}<//>`;
}

function Other({ node, behind: messages }) {
  if (!node.heard && node.seen_seconds <= SILENT) return html`<span class="muted">not heard yet</span>`;
  if (node.heard && !node.same_log) return html`<${Level} level="failed" icon="close">reads another log<//>`;
  if (node.seen_seconds > SILENT) return html`<${Level} level="warning" icon="alert">silent<//>`;
  if (node.trouble) return html`<${Level} level="failed" icon="close">${STATES[node.state]?.[2] ?? node.state}<//>`;
  return behind(messages);
}

function behind(messages) {
  return messages > 0 ? missing(messages) : html`<${Level} level="ok" icon="check">up with the log<//>`;
}

function missing(messages) {
  return `${number(messages)} ${messages === 1 ? 'message' : 'messages'} behind`;
}

function Replica({ server, leads }) {
  if (server.offline) return html`<${Level} level="failed" icon="close">away<//>`;
  if (server.deleted) return html`<${Level} level="failed" icon="alert">has lost ${number(server.deleted)} messages<//>`;
  if (leads) return 'leads';
  if (server.behind) return server.trouble ? html`<${Level} level="warning" icon="alert">${missing(server.behind)}<//>` : missing(server.behind);
  if (server.current) return html`<${Level} level="ok" icon="check">current<//>`;
  return server.current === false ? html`<${Level} level="warning" icon="alert">not current<//>` : html`<span class="muted">not known</span>`;
}
