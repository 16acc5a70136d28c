// What surrounds every page: navigation, account, time zone, theme, help, and the connection.

import { html, useEffect, useMemo, useRef, useState } from './html.js';
import { json, may } from './api.js';
import { address } from './url.js';
import { preference, prefer } from './store.js';
import { zoneName } from './time.js';
import { accountName } from './account.js';
import { Mark } from './sign_in.js';
import { Dialog, Icon, Popover, toast, useKeys } from './ui.js';

const PAGES = [
  ['live', 'Live', 'l'],
  ['history', 'History', 'h'],
  ['statistics', 'Statistics', 's'],
  ['operation', 'Operation', 'o'],
];

function seen(session, page) {
  if (page === 'operation') return may(session, 'operate');
  if (page === 'statistics') return may(session, 'read');
  return may(session, 'read') || may(session, 'export');
}

const KEYS = [
  ['Everywhere', [
    ['?', 'These keys'],
    ['g l', 'Live'],
    ['g h', 'History'],
    ['g s', 'Statistics'],
    ['g o', 'Operation'],
    ['/', 'Search'],
    ['t', 'Light or dark'],
    ['z', 'Your time or UTC'],
    ['Esc', 'Close what is open'],
  ]],
  ['In lists', [
    ['j or ↓', 'Next'],
    ['k or ↑', 'Previous'],
    ['Enter', 'Open the call'],
    ['u', 'Back from the call'],
    ['r', 'Read anew'],
    ['Home End', 'First, last'],
  ]],
  ['In charts', [
    ['← →', 'Bar by bar'],
    ['Enter', 'Its calls'],
  ]],
];

export function Shell({ session, url, navigate, zone, setZone, lost, account, signedIn, children }) {
  const [help, setHelp] = useState(false);
  const [theme, setTheme] = useTheme();
  const pages = PAGES.filter(([page]) => seen(session, page));
  const going = useRef(0);

  const toggleZone = () => setZone(zone === 'utc' ? 'local' : 'utc');
  const toggleTheme = () => setTheme(isDark() ? 'light' : 'dark');
  const go = (page) => () => {
    if (Date.now() - going.current > 1200) return false;
    going.current = 0;
    if (pages.some(([known]) => known === page)) navigate(address(page));
    return true;
  };
  useKeys({
    '?': () => setHelp(true),
    g: () => { going.current = Date.now(); },
    l: go('live'),
    h: go('history'),
    s: go('statistics'),
    o: go('operation'),
    t: toggleTheme,
    z: toggleZone,
    '/': () => {
      const box = document.querySelector('input[type=search]');
      if (box) {
        box.focus();
        box.select();
      } else navigate(address('history'));
    },
  });

  const signOut = async () => {
    try {
      await json('/console/api/session', { method: 'DELETE', quiet: true });
    } catch (error) {
      if (error.status !== 401) {
        toast('You are still signed in: the server cannot be reached.', 'bad');
        return;
      }
    }
    signedIn(null);
  };

  const here = url.page === 'calls' ? 'history' : url.page;
  return html`
    <a class="skip" href="#page" onClick=${(event) => { event.preventDefault(); document.getElementById('page').focus(); }}>To the content</a>
    <header class="top">
      <a class="brand" href=${address('live')} aria-label="rollcall, to the live calls"><${Mark} /><span>rollcall</span></a>
      <nav class="pages" aria-label="Pages">
        ${pages.map(([page, name]) => html`<a key=${page} href=${address(page)} aria-current=${page === here ? 'page' : undefined}>
          <${Icon} name=${page} /><span>${name}</span>
        </a>`)}
      </nav>
      <div class="tools">
        ${session.scope !== 'account' && html`<${AccountChooser} ...${{ session, account, navigate, url }} />`}
        <button type="button" class="button quiet zone" onClick=${toggleZone} title=${zone === 'utc' ? 'Times are UTC; press for yours' : `Times are yours (${zoneName('local')}); press for UTC`}>
          <${Icon} name="zone" /><span class="zone-name">${zone === 'utc' ? 'UTC' : zoneName('local')}</span>
        </button>
        <${Popover} label="You and this page" icon="more" kind="quiet" end>
          ${(close) => html`<div class="menu">
            <div class="menu-head">
              <strong>${session.name ?? 'Signed in'}</strong>
              <span>${who(session)}</span>
            </div>
            <div class="menu-row"><span>Theme</span>
              <div class="segments" role="group" aria-label="Theme">
                ${[['auto', 'Auto'], ['light', 'Light'], ['dark', 'Dark']].map(([key, name]) => html`<button key=${key} type="button" aria-pressed=${theme === key ? 'true' : 'false'} onClick=${() => setTheme(key)}>${name}</button>`)}
              </div>
            </div>
            <button type="button" class="menu-item" onClick=${() => { close(); setHelp(true); }}><${Icon} name="help" />Keys<kbd class="end">?</kbd></button>
            <a class="menu-item" href="/docs" target="_blank" rel="noopener"><${Icon} name="info" />The API</a>
            <button type="button" class="menu-item" onClick=${signOut}><${Icon} name="out" />Sign out</button>
            <div class="menu-foot">rollcall ${session.version}${session.demo ? ', with sample calls' : ''}</div>
          </div>`}
        <//>
      </div>
    </header>
    ${lost && html`<div class="lost" role="alert"><${Icon} name="alert" />The connection to the server is lost. This page tries again by itself; what you see may be old.</div>`}
    <p class="print-only">rollcall, ${printedOf(session, account)}; times of ${zoneName(zone)}. <span>${window.location.origin + url.href}</span></p>
    <main id="page" tabindex="-1">${children}</main>
    ${help && html`<${Help} close=${() => setHelp(false)} pages=${pages} />`}
  `;
}

function who(session) {
  const roles = { full: 'may do everything', read: 'may read', 'read-masked': 'may read, numbers are masked', export: 'may read lists' };
  const scopes = { admin: 'All accounts', service_provider: 'Accounts of a service provider', account: 'One account' };
  return `${scopes[session.scope] ?? session.scope}; ${roles[session.role] ?? session.role}`;
}

function printedOf(session, account) {
  const sid = session.scope === 'account' ? session.account_sid : account;
  return sid ? accountName(session, sid) : 'all accounts';
}

function isDark() {
  const set = document.documentElement.dataset.theme;
  return set ? set === 'dark' : window.matchMedia('(prefers-color-scheme: dark)').matches;
}

function useTheme() {
  const [theme, set] = useState(() => preference('theme') ?? 'auto');
  const choose = (next) => {
    prefer('theme', next === 'auto' ? undefined : next);
    if (next === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
    set(next);
  };
  return [theme, choose];
}

const SID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

function AccountChooser({ session, account, navigate }) {
  const [typed, setTyped] = useState('');
  const all = session.accounts ?? [];
  const found = useMemo(() => {
    const part = typed.trim().toLowerCase();
    const fits = all.filter((one) => `${one.name ?? ''} ${one.account_sid}`.toLowerCase().includes(part));
    return fits.slice(0, 100);
  }, [typed, all]);
  const choose = (sid, close) => {
    close();
    setTyped('');
    navigate({ account: sid ?? null });
  };
  const text = account ? accountName(session, account) : session.scope === 'admin' ? 'All accounts' : 'All my accounts';
  const own = SID.test(typed.trim()) && !found.length;
  return html`<${Popover} label="Account" text=${html`<span class="account-name">${text}</span>`} kind="quiet" end class="account">
    ${(close) => html`<div class="menu accounts">
      ${all.length > 7 && html`<input class="input" type="text" aria-label="Find an account" placeholder="Name or sid" value=${typed} onInput=${(event) => setTyped(event.target.value)} />`}
      <div class="menu-list">
        <button type="button" class="menu-item" aria-current=${!account ? 'true' : undefined} onClick=${() => choose(undefined, close)}>All accounts${!account && html`<span class="end"><${Icon} name="check" /></span>`}</button>
        ${found.map((one) => html`<button key=${one.account_sid} type="button" class="menu-item" aria-current=${one.account_sid === account ? 'true' : undefined} onClick=${() => choose(one.account_sid, close)}>
          <span class="two">${one.name || 'Without a name'}<small>${one.account_sid}</small></span>${one.account_sid === account && html`<span class="end"><${Icon} name="check" /></span>`}
        </button>`)}
        ${own && html`<button type="button" class="menu-item" onClick=${() => choose(typed.trim().toLowerCase(), close)}>${typed.trim()}</button>`}
        ${!found.length && !own && html`<p class="hint">No account has this name.${session.accounts_more ? ' Not all are listed here: enter the whole sid.' : ''}</p>`}
      </div>
    </div>`}
  <//>`;
}

function Help({ close, pages }) {
  const shown = (key) => !key.startsWith('g ') || pages.some(([, , letter]) => key === `g ${letter}`);
  useEffect(() => {
    const again = (event) => event.key === '?' && close();
    document.addEventListener('keydown', again);
    return () => document.removeEventListener('keydown', again);
  }, []);
  return html`<${Dialog} title="Keys" close=${close} wide>
    <div class="keys">
      ${KEYS.map(([title, keys]) => html`<section key=${title}>
        <h3>${title}</h3>
        <dl>${keys.filter(([key]) => shown(key)).map(([key, what]) => html`<div key=${key}><dt>${key.split(' ').map((part) => (part === 'or' ? ' or ' : html`<kbd>${part}</kbd> `))}</dt><dd>${what}</dd></div>`)}</dl>
      </section>`)}
    </div>
  <//>`;
}
