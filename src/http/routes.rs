//! Paths. warp takes them apart; what they name is a [`Resource`], and methods come later, so that
//! a known path with an unknown method can be answered as such.

use std::net::SocketAddr;
use std::pin::pin;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::header::EXPECT;
use http::{HeaderMap, Method, Version};
use warp::filters::BoxedFilter;
use warp::{Buf, Filter, Stream};

use super::reading::OtherEnd;
use super::reply::{ApiError, Response};
use super::{
    ApiContext, PeerAddr, Recognised, calls, changes, control, document, health, hook, list,
    metrics, stats,
};
use crate::meter::Routes;

/// What is read of the body of a refused request.
const DRAIN_BYTES: usize = 8 * 1024 * 1024;
/// How long.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// What a path names. Sids are as they stand in the path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Resource {
    /// `/v1/Accounts/{AccountSid}/Calls`
    Calls(String),
    /// `/v1/Accounts/{AccountSid}/Calls/{CallSid}`
    Call(String, String),
    /// `/v1/Accounts/{AccountSid}/Calls/{CallSid}/events`
    Events(String, String),
    /// `/v1/Accounts/{AccountSid}/CallStats`
    CallStats(String),
    /// `/v1/Accounts/{AccountSid}/Calls/changes`; no sid reads so.
    Changes(String),
    /// `/v1/Calls/changes`
    AllChanges,
    /// `/v1/Accounts/{AccountSid}/CallCount`
    CallCount(String),
    /// `/v1/hooks/call-status`
    Hook,
    /// `/`
    Front,
    /// `/livez`
    Live,
    /// `/readyz`
    Ready,
    /// `/openapi.json`
    Openapi,
    /// `/docs`
    Docs,
    /// `/llms.txt`
    Llms,
    /// `/metrics`
    Metrics,
    /// Anything else.
    Unknown,
}

/// The paths that are answered, by their templates, and one name for all others.
pub const TEMPLATES: Routes = &[
    "/v1/Accounts/{AccountSid}/Calls",
    "/v1/Accounts/{AccountSid}/Calls/{CallSid}",
    "/v1/Accounts/{AccountSid}/Calls/{CallSid}/events",
    "/v1/Accounts/{AccountSid}/CallStats",
    "/v1/Accounts/{AccountSid}/Calls/changes",
    "/v1/Calls/changes",
    "/v1/Accounts/{AccountSid}/CallCount",
    "/v1/hooks/call-status",
    "/livez",
    "/readyz",
    "/openapi.json",
    "/docs",
    "/llms.txt",
    "/metrics",
    "/",
    "other",
];

/// Extension of an answer: which of the [`TEMPLATES`] the path of its request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Route(pub usize);

impl Route {
    /// All paths that are not answered.
    pub const OTHER: Self = Self(TEMPLATES.len() - 1);

    /// The template.
    pub fn template(self) -> &'static str {
        TEMPLATES.get(self.0).copied().unwrap_or_default()
    }
}

impl Resource {
    fn route(&self) -> Route {
        match self {
            Self::Calls(_) => Route(0),
            Self::Call(..) => Route(1),
            Self::Events(..) => Route(2),
            Self::CallStats(_) => Route(3),
            Self::Changes(_) => Route(4),
            Self::AllChanges => Route(5),
            Self::CallCount(_) => Route(6),
            Self::Hook => Route(7),
            Self::Live => Route(8),
            Self::Ready => Route(9),
            Self::Openapi => Route(10),
            Self::Docs => Route(11),
            Self::Llms => Route(12),
            Self::Metrics => Route(13),
            Self::Front => Route(14),
            Self::Unknown => Route::OTHER,
        }
    }
}

/// Extension of a request: its version of HTTP.
#[derive(Debug, Clone, Copy)]
pub(super) struct Protocol(pub Version);

/// The parts of a request that handlers look at.
pub(super) struct ApiRequest<'a> {
    pub context: &'a Arc<ApiContext>,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
    pub query: &'a str,
    /// Where the connection comes from.
    pub peer: Option<SocketAddr>,
    /// Whether the end of an answer of unknown length can be told from its middle.
    pub has_chunks: bool,
    /// Whoever is at the other end.
    pub client: Option<OtherEnd>,
    pub recognised: &'a Recognised,
}

/// All routes.
pub(super) fn routes(context: Arc<ApiContext>) -> BoxedFilter<(Response,)> {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    resource()
        .and(warp::any().map(move || context.clone()))
        .and(warp::method())
        .and(warp::header::headers_cloned())
        .and(query)
        .and(warp::ext::optional::<PeerAddr>())
        .and(warp::ext::optional::<OtherEnd>())
        .and(warp::ext::optional::<Protocol>())
        .and(warp::ext::optional::<Recognised>())
        .and(warp::body::stream())
        .then(
            |resource: Resource,
             context: Arc<ApiContext>,
             method,
             headers,
             query: String,
             peer,
             client,
             protocol,
             recognised,
             body| async move {
                let recognised = Option::unwrap_or_default(recognised);
                let old = |protocol: Protocol| protocol.0 < Version::HTTP_11;
                let has_chunks = !Option::is_some_and(protocol, old);
                let peer = Option::map(peer, |peer: PeerAddr| peer.0);
                let request = ApiRequest {
                    context: &context,
                    method: &method,
                    headers: &headers,
                    query: &query,
                    peer,
                    has_chunks,
                    client,
                    recognised: &recognised,
                };
                let route = resource.route();
                let mut reply =
                    answer(resource, request, body).await.unwrap_or_else(Response::from);
                reply.extensions_mut().insert(route);
                reply
            },
        )
        .boxed()
}

async fn answer<B: Buf>(
    resource: Resource,
    request: ApiRequest<'_>,
    body: impl Stream<Item = Result<B, warp::Error>> + Send,
) -> Result<Response, ApiError> {
    let mut body = pin!(body);
    let answer = reach(resource, &request, body.as_mut()).await;
    // Whoever waits for a "100 Continue" has sent nothing yet.
    if answer.is_err() && !request.headers.contains_key(EXPECT) {
        // Nobody's place is kept for what is only thrown away.
        let known = request.recognised.get();
        request.recognised.set(false);
        drain(body).await;
        request.recognised.set(known);
    }
    answer
}

/// Reads what is left of a refused request's body, within bounds: a connection that is closed while
/// the client sends may lose the answer, too.
pub(super) async fn drain<B: Buf, E>(mut body: impl Stream<Item = Result<B, E>> + Unpin) {
    let read = async {
        let mut left = DRAIN_BYTES;
        while let Some(Ok(part)) = body.next().await {
            left = left.saturating_sub(part.remaining());
            if left == 0 {
                return;
            }
        }
    };
    let _in_time = tokio::time::timeout(DRAIN_TIME, read).await;
}

async fn reach<B: Buf>(
    resource: Resource,
    request: &ApiRequest<'_>,
    body: impl Stream<Item = Result<B, warp::Error>> + Send,
) -> Result<Response, ApiError> {
    match resource {
        Resource::Calls(account) if *request.method == Method::POST => {
            control::create(request, &account, body).await
        }
        Resource::Call(account, sid) if matches!(*request.method, Method::PUT | Method::POST) => {
            control::update(request, &account, &sid, body).await
        }
        Resource::Calls(account) => list::list(request, &account).await,
        Resource::Call(account, sid) => calls::call(request, &account, &sid).await,
        Resource::Events(account, sid) => calls::events(request, &account, &sid).await,
        Resource::Changes(account) => changes::of_account(request, &account).await,
        Resource::AllChanges => changes::of_all(request).await,
        Resource::CallCount(account) => calls::count(request, &account).await,
        Resource::CallStats(account) => stats::call_stats(request, &account).await,
        Resource::Hook => hook::call_status(request, body).await,
        Resource::Live => health::live(request),
        Resource::Ready => health::ready(request),
        Resource::Front => document::front(request),
        Resource::Openapi => document::openapi(request),
        Resource::Docs => document::docs(request),
        Resource::Llms => document::llms(request),
        Resource::Metrics => metrics::metrics(request).await,
        Resource::Unknown => Err(ApiError::not_found("no such path")),
    }
}

/// As in jambonz, the words of a path are matched in either case, and one slash may end it.
fn resource() -> BoxedFilter<(Resource,)> {
    let account = word::<V1>().and(word::<Accounts>()).and(warp::path::param());
    let account = account.map(|_: V1, _: Accounts, sid: String| sid);
    let calls = account.and(word::<Calls>()).and(warp::path::end());
    let calls = calls.map(|account, _: Calls| Resource::Calls(account));
    let call = account.and(word::<Calls>()).and(warp::path::param()).and(warp::path::end());
    let call = call.map(|account, _: Calls, sid| Resource::Call(account, sid));
    let events = account.and(word::<Calls>()).and(warp::path::param());
    let events = events.and(word::<Events>()).and(warp::path::end());
    let events = events.map(|account, _: Calls, sid, _: Events| Resource::Events(account, sid));
    let stats = account.and(word::<CallStats>()).and(warp::path::end());
    let stats = stats.map(|account, _: CallStats| Resource::CallStats(account));
    let changes = account.and(word::<Calls>()).and(word::<Changes>()).and(warp::path::end());
    let changes = changes.map(|account, _: Calls, _: Changes| Resource::Changes(account));
    let all = word::<V1>().and(word::<Calls>()).and(word::<Changes>()).and(warp::path::end());
    let all = all.map(|_: V1, _: Calls, _: Changes| Resource::AllChanges);
    let count = account.and(word::<CallCount>()).and(warp::path::end());
    let count = count.map(|account, _: CallCount| Resource::CallCount(account));
    let hook = word::<V1>().and(word::<Hooks>()).and(word::<CallStatus>()).and(warp::path::end());
    let hook = hook.map(|_: V1, _: Hooks, _: CallStatus| Resource::Hook);
    let live = word::<Livez>().and(warp::path::end()).map(|_: Livez| Resource::Live);
    let ready = word::<Readyz>().and(warp::path::end()).map(|_: Readyz| Resource::Ready);
    let call = changes.or(all).unify().or(call).unify();
    let known = calls.or(call).unify().or(count).unify().or(hook).unify();
    let known = known.or(events).unify().or(stats).unify();
    let known = known.or(live).unify().or(ready).unify();
    let metrics = word::<Metrics>().and(warp::path::end()).map(|_: Metrics| Resource::Metrics);
    let known = known.or(described()).unify().or(metrics).unify();
    known.or(warp::any().map(|| Resource::Unknown)).unify().boxed()
}

/// What tells of the API itself.
fn described() -> BoxedFilter<(Resource,)> {
    let openapi = word::<Openapi>().and(warp::path::end()).map(|_: Openapi| Resource::Openapi);
    let docs = word::<Docs>().and(warp::path::end()).map(|_: Docs| Resource::Docs);
    let llms = word::<Llms>().and(warp::path::end()).map(|_: Llms| Resource::Llms);
    let front = warp::path::end().map(|| Resource::Front);
    openapi.or(docs).unify().or(llms).unify().or(front).unify().boxed()
}

fn word<W: FromStr + Send + 'static>() -> impl Filter<Extract = (W,), Error = warp::Rejection> + Copy
{
    warp::path::param()
}

macro_rules! words {
    ($($name:ident = $text:literal),+) => {$(
        struct $name;

        impl FromStr for $name {
            type Err = ();

            fn from_str(text: &str) -> Result<Self, ()> {
                text.eq_ignore_ascii_case($text).then_some(Self).ok_or(())
            }
        }
    )+};
}
words!(
    V1 = "v1",
    Accounts = "accounts",
    Calls = "calls",
    Changes = "changes",
    CallCount = "callcount",
    CallStats = "callstats",
    Events = "events",
    Hooks = "hooks",
    CallStatus = "call-status",
    Livez = "livez",
    Readyz = "readyz",
    Openapi = "openapi.json",
    Docs = "docs",
    Llms = "llms.txt",
    Metrics = "metrics"
);

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;
    use tower_service::Service as _;

    use super::*;

    #[tokio::test]
    async fn paths_are_matched_in_either_case_and_with_one_slash_at_the_end() {
        let calls = Resource::Calls("a".to_owned());
        for (path, resource) in [
            ("/v1/Accounts/a/Calls", calls.clone()),
            ("/V1/accounts/a/calls/", calls),
            ("/v1/Accounts/a/Calls/b", Resource::Call("a".to_owned(), "b".to_owned())),
            ("/v1/Accounts/a/Calls/changes", Resource::Changes("a".to_owned())),
            ("/V1/accounts/a/calls/Changes/", Resource::Changes("a".to_owned())),
            ("/v1/Calls/changes", Resource::AllChanges),
            ("/v1/Accounts/a/CallCount/", Resource::CallCount("a".to_owned())),
            ("/v1/Accounts/a/Calls/b/events", Resource::Events("a".to_owned(), "b".to_owned())),
            ("/v1/Accounts/a/CallStats", Resource::CallStats("a".to_owned())),
            ("/v1/hooks/call-status", Resource::Hook),
            ("/livez", Resource::Live),
            ("/readyz", Resource::Ready),
            ("/openapi.json", Resource::Openapi),
            ("/docs/", Resource::Docs),
            ("/LLMS.txt", Resource::Llms),
            ("/metrics/", Resource::Metrics),
            ("/v1/Accounts/a/Calls//", Resource::Unknown),
            ("/v1/Accounts/a/Calls/b/c", Resource::Unknown),
            ("/Accounts/a/Calls", Resource::Unknown),
            ("/", Resource::Front),
        ] {
            let named = super::resource().map(|resource: Resource| format!("{resource:?}"));
            let request = http::Request::get(path).body(String::new()).unwrap();
            let Ok(reply) = warp::service(named).call(request).await;
            let body = reply.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, format!("{resource:?}"), "{path}");
        }
    }

    #[test]
    fn each_resource_has_the_template_of_its_own_path() {
        let own = |resource: Resource| resource.route().template();
        let (a, b) = ("a".to_owned(), "b".to_owned());
        let source = include_str!("routes.rs");
        let mut seen = 0;
        for (name, resource) in [
            ("Calls(String)", Resource::Calls(a.clone())),
            ("Call(String, String)", Resource::Call(a.clone(), b.clone())),
            ("Events(String, String)", Resource::Events(a.clone(), b)),
            ("CallStats(String)", Resource::CallStats(a.clone())),
            ("Changes(String)", Resource::Changes(a.clone())),
            ("AllChanges", Resource::AllChanges),
            ("CallCount(String)", Resource::CallCount(a)),
            ("Hook", Resource::Hook),
            ("Live", Resource::Live),
            ("Ready", Resource::Ready),
            ("Openapi", Resource::Openapi),
            ("Docs", Resource::Docs),
            ("Llms", Resource::Llms),
            ("Metrics", Resource::Metrics),
            ("Front", Resource::Front),
        ] {
            let (before, _) = source.split_once(&format!("\n    {name},\n")).unwrap();
            let described = before.lines().last().unwrap().split('`').nth(1).unwrap();
            assert_eq!(own(resource), described);
            seen += 1;
        }
        assert_eq!((seen, own(Resource::Unknown)), (TEMPLATES.len() - 1, "other"));
    }
}
