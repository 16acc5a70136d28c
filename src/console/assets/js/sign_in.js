// Sign in with a token, or with the link of `rollcall open`.

import { html, useEffect, useRef, useState } from './html.js';
import { json, words } from './api.js';
import { Button, Field, Note } from './ui.js';

/** The code of a sign-in link, taken out of the address at once. */
function takeCode() {
  const code = new URLSearchParams(window.location.hash.slice(1)).get('code');
  if (code) window.history.replaceState(null, '', window.location.pathname + window.location.search);
  return code;
}

/** `over`: the session has ended by itself. After signing in, the page stays where it was. */
export function SignIn({ over, lost, url, navigate, signedIn, session }) {
  const [token, setToken] = useState('');
  const [shown, setShown] = useState(false);
  // Whose calls a token of jambonz is for: rollcall does not know such a token by itself.
  const [ofJambonz, setOfJambonz] = useState(false);
  const [kind, setKind] = useState('account_sid');
  const [sid, setSid] = useState('');
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState();
  const field = useRef();

  const exchange = async (body) => {
    setBusy(true);
    setError(undefined);
    try {
      const value = await json('/console/api/session', { method: 'POST', body, quiet: true });
      setToken('');
      signedIn(value);
      if (url.page === 'sign-in') navigate('/console/', { replace: true });
    } catch (failure) {
      setBusy(false);
      setError(body.code ? codeSays(failure) : tokenSays(failure));
      field.current?.focus();
    }
  };

  useEffect(() => {
    const code = takeCode();
    if (code) exchange({ code });
    else if (session) navigate('/console/', { replace: true });
    else field.current?.focus();
  }, []);

  const submit = (event) => {
    event.preventDefault();
    const given = token.trim();
    if (!given) {
      setError('Enter a token.');
      field.current.focus();
    } else exchange({ token: given, ...(ofJambonz ? { [kind]: sid.trim() } : {}) });
  };

  return html`<main class="sign-in">
    <form class="card" onSubmit=${submit} autocomplete="on">
      <div class="brand"><${Mark} /><span>rollcall</span></div>
      <h1>Sign in</h1>
      ${over && html`<${Note} kind="warn">Your session is over. Sign in again, and this page goes on where it was.<//>`}
      ${lost && html`<${Note} kind="warn">The server cannot be reached at the moment.<//>`}
      <${Field} label="Token" error=${error}>
        ${(about) => html`<div class="secret">
          <input ref=${field} ...${about} class="input mono" type=${shown ? 'text' : 'password'} name="token" value=${token}
            autocomplete="current-password" autocapitalize="off" spellcheck=${false} placeholder="rc_…"
            onInput=${(event) => setToken(event.target.value)} />
          <button type="button" class="link" aria-pressed=${shown ? 'true' : 'false'} onClick=${() => setShown(!shown)}>${shown ? 'Hide' : 'Show'}</button>
        </div>`}
      <//>
      <label class="check"><input type="checkbox" checked=${ofJambonz} onChange=${(event) => setOfJambonz(event.target.checked)} />It is a token of jambonz</label>
      ${ofJambonz && html`<${Field} label="Its account or service provider" hint="The sid, as the jambonz portal shows it">
        ${(about) => html`<div class="of-jambonz">
          <select class="select" aria-label="What the token belongs to" value=${kind} onChange=${(event) => setKind(event.target.value)}>
            <option value="account_sid">Account</option><option value="service_provider_sid">Service provider</option>
          </select>
          <input class="input mono" ...${about} value=${sid} required autocomplete="off" spellcheck=${false} placeholder="9351f46a-678c-…" onInput=${(event) => setSid(event.target.value)} />
        </div>`}
      <//>`}
      <${Button} kind="primary" type="submit" disabled=${busy}>${busy ? 'Signing in…' : 'Sign in'}<//>
      <p class="hint">At the shell of the server, <code>rollcall open</code> prints a link that signs you in. A token is made by <code>rollcall token create</code>.</p>
    </form>
  </main>`;
}

function tokenSays(failure) {
  if (failure.status === 401) return 'This token is not known here, or it has been revoked or has expired.';
  return words(failure);
}

function codeSays(failure) {
  if (failure.status === 401) {
    return 'This link has been used, or it is older than a minute. Make another one with `rollcall open`, or enter a token.';
  }
  return words(failure);
}

export function Mark() {
  return html`<svg class="mark" viewBox="0 0 32 32" width="22" height="22" aria-hidden="true">
    <rect width="32" height="32" rx="7" class="mark-ground" />
    <path d="M8 10h16M8 16h10M8 22h13" class="mark-lines" />
    <circle cx="24" cy="16" r="2.2" class="mark-dot" />
  </svg>`;
}
