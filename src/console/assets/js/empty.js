// No calls yet: where jambonz has to send them, and a call to try it with.

import { html, useState } from './html.js';
import { json, may } from './api.js';
import { address, callAddress } from './url.js';
import { Button, Copy, Empty, ErrorNote, Note, useLoad } from './ui.js';

/** Where the webhooks of calls go to, as the browser sees the server. */
export function webhookUrl() {
  return `${window.location.origin}/v1/hooks/call-status#rc=5&rp=ct,5xx`;
}

/** Says how calls get here. Those who may operate see the accounts' users, and can send a call to try it. */
export function NoCalls({ session, account }) {
  const operates = may(session, 'operate');
  const asked = useLoad(
    (signal) => (operates ? Promise.all(['operation', 'accounts'].map((what) => json(`/console/api/${what}`, { signal }))) : Promise.resolve([])),
    [operates],
  );
  const [operation, accounts = []] = asked.value ?? [];
  const mine = account ? accounts.filter((one) => one.account_sid === account) : accounts;
  const url = operation?.connect?.webhook_url ?? webhookUrl();
  return html`<${Empty} title="No calls yet" icon="phone">
    <p>rollcall shows the calls of which it hears. In the jambonz portal, open <b>Applications</b>, choose one, and set
      its <b>call status webhook</b> to POST to:</p>
    <p class="paste"><code>${url}</code><${Copy} text=${url} label="Copy the address" /></p>
    ${operates ? html`<${Users} accounts=${mine} />`
      : html`<p>Who runs this server can say which user and password go with it.</p>`}
    ${operates && html`<${TestEvent} accounts=${mine} session=${session} />`}
  <//>`;
}

function Users({ accounts }) {
  const users = accounts.filter((one) => one.hook_user);
  if (users.length === 0) {
    return html`<p>jambonz signs webhooks with the webhook secret of the account: <a href=${address('operation', { part: 'accounts' })}>enter it
      here</a>, or choose a user and a password there, and give both to the webhook.</p>`;
  }
  return html`<p>With the user ${users.slice(0, 3).map((one, n) => html`${n > 0 && ', '}<code key=${one.account_sid}>${one.hook_user}</code>
    ${users.length > 1 && ` (${one.name || one.account_sid})`}`)}${users.length > 3 && ' and others'} and its password.</p>`;
}

/** A button that sends a sample call of an account by the way that webhooks take. */
export function TestEvent({ accounts, sent }) {
  const [chosen, setChosen] = useState('');
  const [state, setState] = useState({});
  const account = chosen || accounts[0]?.account_sid;
  if (!account) return null;
  const send = async () => {
    setState({ busy: true });
    try {
      const call = await json('/console/api/test-event', { method: 'POST', body: { account_sid: account } });
      setState({ call });
      sent?.(call);
    } catch (error) {
      setState({ error });
    }
  };
  return html`<div class="test-event">
    ${accounts.length > 1 && html`<select class="select" aria-label="Account of the test call" value=${account}
      onChange=${(event) => setChosen(event.target.value)}>
      ${accounts.map((one) => html`<option key=${one.account_sid} value=${one.account_sid}>${one.name || one.account_sid}</option>`)}
    </select>`}
    <${Button} icon="phone" onClick=${send} disabled=${state.busy}>Send a test call<//>
    ${state.call && html`<${Note} kind="good">The test call arrived.
      <a href=${callAddress(state.call)}>Show it</a><//>`}
    ${state.error && html`<${ErrorNote} error=${state.error} />`}
  </div>`;
}
