// The console: who is signed in, which page, and the connection to the server.

import { html, render, useCallback, useEffect, useErrorBoundary, useLayoutEffect, useRef, useState } from './html.js';
import { json, may, onState, isLost, tell } from './api.js';
import { read, changed, address } from './url.js';
import { preference, prefer } from './store.js';
import { Shell } from './shell.js';
import { SignIn } from './sign_in.js';
import { Empty, Toasts, Waiting, Button } from './ui.js';

// Each page is read when it is looked at first, and the others once nothing else is to do.
const PAGES = {
  live: () => import('./pages/live.js').then((module) => module.Live),
  history: () => import('./pages/history.js').then((module) => module.History),
  calls: () => import('./pages/call.js').then((module) => module.Call),
  statistics: () => import('./pages/statistics.js').then((module) => module.Statistics),
  operation: () => import('./pages/operation.js').then((module) => module.Operation),
};
// How often a page asks for its session, in milliseconds, where that may be idle for longer.
const USED_EVERY = 600_000;
const TITLES = { live: 'Live', history: 'History', calls: 'Call', statistics: 'Statistics', operation: 'Operation' };

/** The present URL, and what changes it. */
function useUrl() {
  const [url, setUrl] = useState(() => read(window.location));
  const navigate = useCallback((to, { replace = false } = {}) => {
    const before = read(window.location);
    const href = typeof to === 'string' ? to : changed(before, to);
    if (href !== before.href) {
      // Whether "back" stays within the console.
      if (replace) window.history.replaceState(window.history.state, '', href);
      else window.history.pushState({ inside: true }, '', href);
    }
    const after = read(window.location);
    setUrl({ ...after, top: after.path !== before.path });
  }, []);
  // A new page begins at its top, once the old one has seen where it was left.
  useLayoutEffect(() => {
    if (!url.top) return;
    window.scrollTo(0, 0);
    // A screen reader goes on there.
    document.getElementById('page')?.focus({ preventScroll: true });
  }, [url]);
  useEffect(() => {
    window.history.scrollRestoration = 'manual';
    const moved = () => setUrl({ ...read(window.location), back: true });
    // Links within the console need no new document.
    const clicked = (event) => {
      if (event.defaultPrevented || event.button !== 0) return;
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
      const link = event.target.closest?.('a[href]');
      if (!link || link.target || link.hasAttribute('download')) return;
      const to = new URL(link.href);
      if (to.origin !== window.location.origin || !to.pathname.startsWith('/console')) return;
      if (to.hash && to.pathname === window.location.pathname) return;
      event.preventDefault();
      navigate(to.pathname + to.search);
    };
    window.addEventListener('popstate', moved);
    document.addEventListener('click', clicked);
    return () => {
      window.removeEventListener('popstate', moved);
      document.removeEventListener('click', clicked);
    };
  }, []);
  return [url, navigate];
}

/** The zone: what the URL says, else what was chosen last, else that of the viewer. */
function useZone(url, navigate) {
  const said = url.params.get('zone');
  const zone = said === 'utc' || said === 'local' ? said : (preference('zone') ?? 'local');
  const setZone = useCallback(
    (next) => {
      prefer('zone', next === 'utc' ? 'utc' : undefined);
      navigate({ zone: next === 'utc' ? 'utc' : null }, { replace: true });
    },
    [navigate],
  );
  useEffect(() => {
    if (!said && zone === 'utc') navigate({ zone: 'utc' }, { replace: true });
  }, [url.href]);
  return [zone === 'utc' ? 'utc' : 'local', setZone];
}

/** The session: undefined until it is known, null where nobody is signed in. */
function useSession() {
  const [session, setSession] = useState();
  const [over, setOver] = useState(false);
  // An answer counts as long as nothing newer is known.
  const turn = useRef(0);
  const ask = useCallback(async () => {
    turn.current += 1;
    const own = turn.current;
    let found;
    try {
      found = await json('/console/api/session', { quiet: true });
    } catch (error) {
      if (error.status !== 401) return;
      found = null;
    }
    if (own !== turn.current) return;
    setSession((before) => {
      if (before && !found) setOver(true);
      return found;
    });
  }, []);
  // An open page uses its session, whether it asks for anything else or not.
  const every = session ? Math.min(USED_EVERY, session.idle_seconds * 300) : undefined;
  useEffect(() => {
    if (!every) return undefined;
    const timer = setInterval(() => !document.hidden && ask(), every);
    return () => clearInterval(timer);
  }, [every]);
  useEffect(() => {
    ask();
    const seen = () => !document.hidden && ask();
    document.addEventListener('visibilitychange', seen);
    const off = onState((state) => {
      if (state === 'back' || state === 'refused') ask();
      if (state === 'over') {
        turn.current += 1;
        setOver(true);
        setSession(null);
      }
    });
    return () => {
      document.removeEventListener('visibilitychange', seen);
      off();
    };
  }, []);
  const signedIn = useCallback((value) => {
    turn.current += 1;
    setOver(false);
    setSession(value);
  }, []);
  return { session, over, signedIn };
}

/** Whether the server cannot be reached; asks for it until it can. */
function useLost() {
  const [lost, setLost] = useState(isLost());
  useEffect(() => onState((state) => (state === 'lost' || state === 'back') && setLost(state === 'lost')), []);
  useEffect(() => {
    if (!lost) return undefined;
    let wait = 500;
    let timer;
    const ask = async () => {
      try {
        const answer = await fetch('/livez', { cache: 'no-store' });
        if (answer.ok) {
          tell('back');
          return;
        }
      } catch {
        // Still away.
      }
      wait = Math.min(wait * 1.5, 5000);
      timer = setTimeout(ask, wait);
    };
    timer = setTimeout(ask, wait);
    return () => clearTimeout(timer);
  }, [lost]);
  return lost;
}

/** The component of a page: undefined until it is read, null where there is no such page. */
function usePage(name) {
  const [found, setFound] = useState({});
  useEffect(() => {
    let left = false;
    PAGES[name]?.().then(
      (component) => !left && setFound({ name, component }),
      (error) => !left && setFound({ name, error }),
    );
    const idle = window.requestIdleCallback ?? ((then) => setTimeout(then, 1000));
    idle(() => !left && Object.values(PAGES).forEach((page) => page().catch(() => {})), { timeout: 4000 });
    return () => {
      left = true;
    };
  }, [name]);
  if (!Object.hasOwn(PAGES, name)) return { component: null };
  return found.name === name ? found : {};
}

function App() {
  const [url, navigate] = useUrl();
  const [zone, setZone] = useZone(url, navigate);
  const { session, over, signedIn } = useSession();
  const lost = useLost();
  const { component: Page, error } = usePage(url.page);

  useEffect(() => {
    const name = session ? TITLES[url.page] : 'Sign in';
    document.title = name ? `${name} · rollcall` : 'rollcall';
  }, [url.page, session === null]);

  if (session === undefined) {
    return html`<main class="boot">
      ${lost ? html`<p role="alert">The server cannot be reached. This page tries again.</p>` : html`<${Waiting} />`}
    </main>`;
  }
  if (session === null || url.page === 'sign-in') {
    return html`<${SignIn} over=${over} lost=${lost} url=${url} navigate=${navigate} signedIn=${signedIn} session=${session} />`;
  }
  // A page begins anew for another account or token: what was read for one is not shown as that of the other.
  const account = url.params.get('account') ?? undefined;
  const isRefused = ['statistics', 'calls'].includes(url.page) && !may(session, 'read');
  return html`<${Shell} ...${{ session, url, navigate, zone, setZone, lost, account, signedIn }}>
    ${error && html`<div class="page"><div class="note bad" role="alert"><div>This page could not be read. After an upgrade of rollcall it has to be loaded anew. <${Button} small onClick=${() => window.location.reload()}>Load it<//></div></div></div>`}
    ${Page === undefined && !error && html`<div class="page"><${Waiting} /></div>`}
    ${Page && isRefused && html`<div class="page"><${Empty} title="This page is for tokens that may read" icon="search"><p>The role ${session.role} sees the lists of calls.</p><//></div>`}
    ${Page && !isRefused
      ? html`<${Guarded} key=${[url.page, account, session.token_id].join()}>
          <${Page} session=${session} url=${url} navigate=${navigate} zone=${zone} account=${account} />
        <//>`
      : Page === null && html`<div class="page"><h1>No such page</h1><p><a href=${address('live')}>To the calls</a></p></div>`}
  <//>`;
}

/** What fails in a page leaves the others alone. */
function Guarded({ children }) {
  const [error, reset] = useErrorBoundary((caught) => console.error(caught));
  if (!error) return children;
  return html`<div class="page">
    <div class="note bad" role="alert"><div>
      <p>This page has failed: ${String(error.message ?? error)}</p>
      <${Button} small onClick=${reset}>Try again<//>
    </div></div>
  </div>`;
}

render(html`<${App} /><${Toasts} />`, document.getElementById('app'));
