// What may be done to a call that is active: hang up, mute, hold. It is asked once, and it is said what
// became of it.

import { html, useEffect, useRef, useState } from './html.js';
import { callPath, may, send, words } from './api.js';
import { isActive, statusName, statusOf } from './status.js';
import { Text } from './text.js';
import { Button, Dialog, Icon, Popover, toast } from './ui.js';

/** Whether this call can be told something by this session. */
function controllable(session, call) {
  return may(session, 'control') && isActive(call);
}

const ORDERS = [
  ['Mute', { mute_status: 'mute' }, 'The call is muted'],
  ['Unmute', { mute_status: 'unmute' }, 'The call is no longer muted'],
  ['Hold in its conference', { conf_hold_status: 'hold' }, 'The call is on hold'],
  ['Take off hold', { conf_hold_status: 'unhold' }, 'The call is no longer on hold'],
];

/** A button with all that can be done. `small`: for a row of a list. */
export function CallControl({ session, call, small = false }) {
  const [asking, setAsking] = useState(false);
  const [waiting, setWaiting] = useState(false);
  const status = statusOf(call);
  const asked = useRef(false);

  useEffect(() => {
    if (asked.current && !isActive(call)) {
      asked.current = false;
      toast(`The call has ended: ${statusName(status)}.`, 'good');
    }
  }, [status]);

  if (!controllable(session, call)) return null;

  const order = async (body, done) => {
    setWaiting(true);
    try {
      const answer = await send(callPath(call.account_sid, call.call_sid), { method: 'PUT', body });
      toast(done ? `${done}: the feature server has accepted it (${answer.status}).` : 'The feature server hangs up. The call ends with its next event.', 'good');
      return true;
    } catch (error) {
      toast(`Not done. ${words(error)}`, 'bad');
      return false;
    } finally {
      setWaiting(false);
    }
  };
  const hangUp = async () => {
    asked.current = true;
    // Before the answer there is nothing to complete.
    const done = await order({ call_status: call.call_status === 'in-progress' ? 'completed' : 'no-answer' });
    if (!done) asked.current = false;
    setAsking(false);
  };

  return html`<span class="call-control no-print">
    ${small
      ? html`<${Button} kind="quiet" small icon="hangup" label="Hang up" disabled=${waiting} onClick=${() => setAsking(true)} />`
      : html`<${Button} kind="danger" icon="hangup" disabled=${waiting} onClick=${() => setAsking(true)}>Hang up<//>`}
    <${Popover} label="More for this call" icon="more" kind=${small ? 'quiet small' : ''} end>
      ${(close) => html`<div class="menu">
        ${ORDERS.map(([name, body, done]) => html`<button key=${name} type="button" class="menu-item" disabled=${waiting} onClick=${() => { close(); order(body, done); }}>
          <${Icon} name=${/hold/i.test(name) ? 'hold' : 'mute'} />${name}
        </button>`)}
      </div>`}
    <//>
    ${asking && html`<${Dialog} title="Hang up this call?" close=${() => setAsking(false)}>
      <p><b><${Text} value=${call.from} most=${60} /></b> → <b><${Text} value=${call.to} most=${60} /></b>, ${statusName(status).toLowerCase()}. Both sides are disconnected.</p>
      <div class="dialog-end">
        <${Button} onClick=${() => setAsking(false)}>Keep it<//>
        <${Button} kind="danger" icon="hangup" disabled=${waiting} onClick=${hangUp}>${waiting ? 'Hanging up…' : 'Hang up'}<//>
      </div>
    <//>`}
  </span>`;
}
