//! The routes of the API: each is one line of [`ROUTES`] and one function. `Allow`, 404, 405, the
//! methods of a preflight and the labels of metrics come from this table.
//!
//! As in jambonz, the words of a path are matched in either case, and one slash may end it. Sids are
//! passed on as they stand in the path, without decoding.

use std::future::Future;
use std::pin::Pin;
use std::sync::LazyLock;

use http::Method;

use super::auth::{
    Action, Principal, account_of, authorize, authorize_provider, bearer, provider_of, wrong_sid,
};
use super::error::ApiError;
use super::request::ApiRequest;
use super::response::Response;
use super::{
    calls, console, control, docs, feed, health, jambonz, list, log_position, metrics, near_path,
    recent_calls, stats, webhook,
};
use crate::domain::{AccountSid, CallId, ServiceProviderSid};
use crate::meter;
use crate::upstream::Subject;

/// The label of all paths that are not answered.
const OTHER: &str = "other";
/// The label of all paths of the console, which have a table of their own.
const CONSOLE: &str = "/console";

type Answer<'r> = Pin<Box<dyn Future<Output = Result<Response, ApiError>> + Send + 'r>>;

/// What answers a route, and what is checked before it is asked.
#[derive(Debug)]
pub(super) enum Handler {
    /// Anyone may ask.
    Open(fn(&ApiRequest<'_>) -> Result<Response, ApiError>),
    /// Senders of events, whom the handler itself authenticates.
    Sender(for<'r> fn(&'r mut ApiRequest<'_>) -> Answer<'r>),
    /// A token that may do this.
    Token(Action, for<'r> fn(&'r mut ApiRequest<'_>) -> Answer<'r>),
    /// A token that may do this with all accounts.
    AllAccounts(Action, for<'r> fn(&'r mut ApiRequest<'_>) -> Answer<'r>),
    /// A token that may do this with all accounts of the service provider of the path.
    Provider(Action, for<'r> fn(&'r mut ApiRequest<'_>, ServiceProviderSid) -> Answer<'r>),
    /// A token that may do this with the account of the path.
    Account(Action, for<'r> fn(&'r mut ApiRequest<'_>, AccountSid) -> Answer<'r>),
    /// The same as the portal of jambonz asks, which reads refusals in its own way.
    PortalAccount(Action, for<'r> fn(&'r mut ApiRequest<'_>, AccountSid) -> Answer<'r>),
    /// The same, with the accounts of the service provider of the path.
    PortalProvider(Action, for<'r> fn(&'r mut ApiRequest<'_>, ServiceProviderSid) -> Answer<'r>),
    /// A token that may do this with a call of the account of the path.
    Call(Action, for<'r> fn(&'r mut ApiRequest<'_>, CallId) -> Answer<'r>),
}

#[derive(Debug)]
pub(super) struct Route {
    pub method: Method,
    /// The path; sids stand in braces. Also the label of metrics.
    pub template: &'static str,
    pub handler: Handler,
}

macro_rules! handler {
    (Open, $handler:path) => {
        Handler::Open($handler)
    };
    (Sender, $handler:path) => {
        Handler::Sender(|request| Box::pin($handler(request)))
    };
    (Token $action:ident, $handler:path) => {
        Handler::Token(Action::$action, |request| Box::pin($handler(request)))
    };
    (AllAccounts $action:ident, $handler:path) => {
        Handler::AllAccounts(Action::$action, |request| Box::pin($handler(request)))
    };
    (Account $action:ident, $handler:path) => {
        Handler::Account(Action::$action, |request, account| Box::pin($handler(request, account)))
    };
    (Provider $action:ident, $handler:path) => {
        Handler::Provider(Action::$action, |request, provider| {
            Box::pin($handler(request, provider))
        })
    };
    (PortalAccount $action:ident, $handler:path) => {
        Handler::PortalAccount(Action::$action, |request, account| {
            Box::pin($handler(request, account))
        })
    };
    (PortalProvider $action:ident, $handler:path) => {
        Handler::PortalProvider(Action::$action, |request, provider| {
            Box::pin($handler(request, provider))
        })
    };
    (Call $action:ident, $handler:path) => {
        Handler::Call(Action::$action, |request, call| Box::pin($handler(request, call)))
    };
}

macro_rules! routes {
    ($($method:ident $template:literal $kind:ident $($action:ident)? => $handler:path;)*) => {
        &[$(Route {
            method: Method::$method,
            template: $template,
            handler: handler!($kind $($action)?, $handler),
        }),*]
    };
}

/// Every route. GET answers HEAD, too. A path with fixed words stands before one that has a sid in
/// their place.
pub(super) static ROUTES: &[Route] = routes! {
    GET    "/v1/Accounts/{AccountSid}/Calls"                  Account List => list::of_account;
    POST   "/v1/Accounts/{AccountSid}/Calls"                  Account Write => control::create;
    GET    "/v1/Accounts/{AccountSid}/Calls/changes"          Account List => feed::of_account;
    GET    "/v1/Accounts/{AccountSid}/Calls/{CallSid}"        Call Read => calls::call;
    PUT    "/v1/Accounts/{AccountSid}/Calls/{CallSid}"        Call Write => control::update;
    POST   "/v1/Accounts/{AccountSid}/Calls/{CallSid}"        Call Write => control::update;
    DELETE "/v1/Accounts/{AccountSid}/Calls/{CallSid}"        Call Write => calls::delete;
    GET    "/v1/Accounts/{AccountSid}/Calls/{CallSid}/events" Call Read => calls::events;
    GET    "/v1/Accounts/{AccountSid}/CallCount"              Account Read => calls::count_of_account;
    GET    "/v1/Accounts/{AccountSid}/CallStats"              Account Read => stats::of_account;
    GET    "/v1/Accounts/{AccountSid}/RecentCalls"            PortalAccount List => recent_calls::of_account;
    GET    "/v1/ServiceProviders/{ServiceProviderSid}/RecentCalls" PortalProvider List => recent_calls::of_provider;
    GET    "/v1/ServiceProviders/{ServiceProviderSid}/Calls"  Provider List => list::of_provider;
    GET    "/v1/ServiceProviders/{ServiceProviderSid}/Calls/changes" Provider List => feed::of_provider;
    GET    "/v1/ServiceProviders/{ServiceProviderSid}/CallCount" Provider Read => calls::count_of_provider;
    GET    "/v1/ServiceProviders/{ServiceProviderSid}/CallStats" Provider Read => stats::of_provider;
    GET    "/v1/Calls"                                        AllAccounts List => list::of_all;
    GET    "/v1/CallCount"                                    AllAccounts Read => calls::count_of_all;
    GET    "/v1/CallStats"                                    AllAccounts Read => stats::of_all;
    GET    "/v1/Calls/changes"                                AllAccounts List => feed::of_all;
    POST   "/v1/hooks/call-status"                            Sender => webhook::call_status;
    GET    "/livez"                                           Open => health::live;
    GET    "/readyz"                                          Open => health::ready;
    GET    "/metrics"                                         Token Scrape => metrics::metrics;
    GET    "/openapi.json"                                    Open => docs::openapi;
    GET    "/docs"                                            Open => docs::docs;
    GET    "/llms.txt"                                        Open => docs::llms;
    GET    "/"                                                Open => docs::front;
};

/// A path with all of its routes.
pub(super) struct Resource {
    pub template: &'static str,
    segments: Vec<&'static str>,
    routes: Vec<&'static Route>,
    /// The methods that it answers, as `Allow` has them.
    allow: String,
}

static RESOURCES: LazyLock<Vec<Resource>> = LazyLock::new(|| {
    let mut resources: Vec<Resource> = Vec::new();
    for route in ROUTES {
        let segments = || route.template.trim_start_matches('/').split('/').collect();
        let found = resources.iter().position(|resource| resource.template == route.template);
        let at = found.unwrap_or_else(|| {
            let (routes, allow) = (Vec::new(), String::new());
            let template = route.template;
            resources.push(Resource { template, segments: segments(), routes, allow });
            resources.len() - 1
        });
        let Some(resource) = resources.get_mut(at) else { continue };
        let between = if resource.allow.is_empty() { "" } else { ", " };
        let head = if route.method == Method::GET { ", HEAD" } else { "" };
        resource.allow.extend([between, route.method.as_str(), head]);
        resource.routes.push(route);
    }
    resources
});

/// The labels of metrics: the templates of all paths, and one name for paths that are not answered.
pub fn templates() -> meter::Routes {
    static TEMPLATES: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
        RESOURCES.iter().map(|resource| resource.template).chain([OTHER, CONSOLE]).collect()
    });
    &TEMPLATES
}

/// The templates of all paths, and their segments.
pub(super) fn templates_of_routes() -> impl Iterator<Item = (&'static str, &'static [&'static str])>
{
    RESOURCES.iter().map(|resource| (resource.template, resource.segments.as_slice()))
}

/// The methods of all routes, as a preflight has them.
pub(super) fn methods() -> String {
    let mut methods: Vec<&str> = Vec::new();
    for method in RESOURCES.iter().flat_map(|resource| resource.allow.split(", ")) {
        if !methods.contains(&method) {
            methods.push(method);
        }
    }
    methods.join(",")
}

/// What a path names.
#[derive(Clone, Copy)]
pub(super) struct Target<'p> {
    /// Where it stands among [`templates`].
    pub label: usize,
    resource: Option<&'static Resource>,
    /// What comes behind `/console`, where it is a path of the console.
    console: Option<&'p str>,
    path: &'p str,
    account: &'p str,
    provider: &'p str,
    call: &'p str,
}

impl<'p> Target<'p> {
    pub fn of(path: &'p str) -> Self {
        let (label, resource) = (RESOURCES.len(), None);
        let console = console::rest_of(path);
        let mut target =
            Self { label, resource, console, path, account: "", provider: "", call: "" };
        if console.is_some() {
            target.label += 1;
            return target;
        }
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        for (label, resource) in RESOURCES.iter().enumerate() {
            let mut segments = path.split('/');
            let matches = resource.segments.iter().all(|expected| match segments.next() {
                Some("") if !expected.is_empty() => false,
                Some(sid) if *expected == "{AccountSid}" => {
                    target.account = sid;
                    true
                }
                Some(sid) if *expected == "{ServiceProviderSid}" => {
                    target.provider = sid;
                    true
                }
                Some(sid) if *expected == "{CallSid}" => {
                    target.call = sid;
                    true
                }
                Some(word) => word.eq_ignore_ascii_case(expected),
                None => false,
            });
            if matches && segments.next().is_none() {
                return Self { label, resource: Some(resource), ..target };
            }
        }
        target
    }

    pub fn template(self) -> &'static str {
        let other = if self.console.is_some() { CONSOLE } else { OTHER };
        self.resource.map_or(other, |resource| resource.template)
    }

    /// Whether senders of events are answered here.
    pub fn takes_events(self) -> bool {
        self.resource.is_some_and(Resource::takes_events)
    }

    /// Asks jambonz about the token of a request, where rollcall does not know it and the path says whose
    /// calls are meant.
    pub async fn recognise(self, request: &mut ApiRequest<'_>) {
        let method = request.method;
        jambonz::recognise(request, || self.subject(method)).await;
    }

    /// Whose calls are meant; none where the path names nobody or does not answer the method.
    fn subject(self, method: &Method) -> Option<Result<Subject, ApiError>> {
        match self.resource?.route(method)?.handler {
            Handler::Account(..) | Handler::PortalAccount(..) | Handler::Call(..) => {
                Some(account_of(self.account).map(Subject::Account))
            }
            Handler::Provider(..) | Handler::PortalProvider(..) => {
                Some(provider_of(self.provider).map(Subject::ServiceProvider))
            }
            Handler::Open(_)
            | Handler::Sender(_)
            | Handler::Token(..)
            | Handler::AllAccounts(..) => None,
        }
    }

    /// What a request reads, for the audit log: `account SID`, with the call where one is meant; none where it
    /// reads no calls.
    pub fn read_object(self, method: &Method) -> Option<String> {
        let route = self.resource?.route(method).filter(|_| method.is_safe())?;
        let (account, provider) = (self.account, self.provider);
        match route.handler {
            Handler::Account(..) | Handler::PortalAccount(..) => Some(format!("account {account}")),
            Handler::Provider(..) | Handler::PortalProvider(..) => {
                Some(format!("service provider {provider}"))
            }
            Handler::Call(..) => Some(format!("account {account}, call {}", self.call)),
            Handler::AllAccounts(..) => Some("all accounts".to_owned()),
            Handler::Open(_) | Handler::Sender(_) | Handler::Token(..) => None,
        }
    }

    /// Answers a client that may ask. The order of checks is that of jambonz:
    /// path 404, method 405, token 401, account sid 400, permission 403, call sid 400. What the answer has to show
    /// at least comes after them: nobody waits for that without a token.
    pub async fn answer(self, request: &mut ApiRequest<'_>) -> Result<Response, ApiError> {
        let no_path = || {
            let near = near_path::near(self.path);
            let near = near.map(|template| format!("; did you mean {template}?"));
            ApiError::not_found(format!("no such path{}", near.unwrap_or_default()))
        };
        if let Some(rest) = self.console {
            return console::answer(request, rest).await;
        }
        let resource = self.resource.ok_or_else(no_path)?;
        let route = resource.route(request.method).ok_or_else(|| resource.wrong_method())?;
        let (position, answered) = match route.handler {
            Handler::Open(answer) => return answer(request),
            Handler::Sender(answer) => return answer(request).await,
            Handler::Token(action, answer) => {
                bearer(request).and_then(|token| token.may(action))?;
                return answer(request).await;
            }
            Handler::AllAccounts(action, answer) => {
                bearer(request).and_then(Principal::reaches_all)?.may(action)?;
                (log_position::at_least(request).await?, answer(request).await)
            }
            Handler::Account(action, answer) => {
                let account = authorize(request, self.account, action)?;
                (log_position::at_least(request).await?, answer(request, account).await)
            }
            Handler::Provider(action, answer) => {
                let provider = authorize_provider(request, self.provider, action)?;
                (log_position::at_least(request).await?, answer(request, provider).await)
            }
            Handler::PortalAccount(action, answer) => {
                let account = authorize(request, self.account, action);
                let account = account.map_err(ApiError::for_portal)?;
                (log_position::at_least(request).await?, answer(request, account).await)
            }
            Handler::PortalProvider(action, answer) => {
                let provider = authorize_provider(request, self.provider, action);
                let provider = provider.map_err(ApiError::for_portal)?;
                (log_position::at_least(request).await?, answer(request, provider).await)
            }
            Handler::Call(action, answer) => {
                let account = authorize(request, self.account, action)?;
                let sid = self.call.parse();
                let sid = sid.map_err(|error| wrong_sid("call sid", self.call, error))?;
                let position = log_position::at_least(request).await?;
                (position, answer(request, CallId { account, sid }).await)
            }
        };
        let mut reply = answered?;
        // What was changed says itself how far that has come.
        log_position::put(&mut reply, position.filter(|_| request.method.is_safe()));
        Ok(reply)
    }
}

impl Resource {
    fn route(&self, method: &Method) -> Option<&'static Route> {
        let method = if *method == Method::HEAD { &Method::GET } else { method };
        self.routes.iter().find(|route| route.method == *method).copied()
    }

    fn takes_events(&self) -> bool {
        self.routes.iter().any(|route| matches!(route.handler, Handler::Sender(_)))
    }

    fn wrong_method(&self) -> ApiError {
        if self.takes_events() {
            return webhook::wrong_method(&self.allow);
        }
        ApiError::method(&self.allow, format!("this path answers {}", self.allow))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    use super::*;

    #[test]
    fn paths_are_matched_in_either_case_and_with_one_slash_at_the_end() {
        for (path, template, account, call) in [
            ("/v1/Accounts/a/Calls", "/v1/Accounts/{AccountSid}/Calls", "a", ""),
            ("/V1/accounts/a/calls/", "/v1/Accounts/{AccountSid}/Calls", "a", ""),
            ("/v1/Accounts/a/Calls/b", "/v1/Accounts/{AccountSid}/Calls/{CallSid}", "a", "b"),
            ("/v1/Accounts/%3A/Calls/b", "/v1/Accounts/{AccountSid}/Calls/{CallSid}", "%3A", "b"),
            ("/v1/Accounts/a/Calls/changes", "/v1/Accounts/{AccountSid}/Calls/changes", "a", ""),
            ("/V1/accounts/a/calls/Changes/", "/v1/Accounts/{AccountSid}/Calls/changes", "a", ""),
            ("/v1/Calls/changes", "/v1/Calls/changes", "", ""),
            ("/v1/calls/", "/v1/Calls", "", ""),
            ("/v1/CALLCOUNT", "/v1/CallCount", "", ""),
            ("/v1/CallStats", "/v1/CallStats", "", ""),
            (
                "/v1/ServiceProviders/p/calls",
                "/v1/ServiceProviders/{ServiceProviderSid}/Calls",
                "",
                "",
            ),
            ("/v1/ServiceProviders/p/Calls/b", "other", "", ""),
            ("/v1/Accounts/a/CallCount/", "/v1/Accounts/{AccountSid}/CallCount", "a", ""),
            (
                "/v1/Accounts/a/Calls/b/events",
                "/v1/Accounts/{AccountSid}/Calls/{CallSid}/events",
                "a",
                "b",
            ),
            ("/v1/Accounts/a/CallStats", "/v1/Accounts/{AccountSid}/CallStats", "a", ""),
            ("/v1/Accounts/a/recentcalls", "/v1/Accounts/{AccountSid}/RecentCalls", "a", ""),
            ("/v1/Accounts/a/RecentCalls/b", "other", "", ""),
            ("/v1/hooks/call-status", "/v1/hooks/call-status", "", ""),
            ("/livez", "/livez", "", ""),
            ("/readyz", "/readyz", "", ""),
            ("/openapi.json", "/openapi.json", "", ""),
            ("/docs/", "/docs", "", ""),
            ("/LLMS.txt", "/llms.txt", "", ""),
            ("/metrics/", "/metrics", "", ""),
            ("/v1/Accounts/a/Calls//", "other", "", ""),
            ("/v1/Accounts//Calls", "other", "", ""),
            ("/v1/Accounts/a/Calls/b/c", "other", "", ""),
            ("/Accounts/a/Calls", "other", "", ""),
            ("*", "other", "", ""),
            ("/", "/", "", ""),
            ("/console", "/console", "", ""),
            ("/console/calls/a/b", "/console", "", ""),
            ("/consoles", "other", "", ""),
        ] {
            let target = Target::of(path);
            assert_eq!(target.template(), template, "{path}");
            assert_eq!(templates().get(target.label), Some(&template), "{path}");
            if template != OTHER && template != CONSOLE {
                assert_eq!((target.account, target.call), (account, call), "{path}");
            }
        }
    }

    #[test]
    fn every_route_is_found_by_its_own_path() {
        for route in ROUTES {
            let target = Target::of(route.template);
            assert_eq!(target.template(), route.template);
            let found = target.resource.unwrap().route(&route.method).unwrap();
            assert!(std::ptr::eq(found, route), "{route:?} stands in the table twice");
        }
        let distinct: BTreeSet<_> = templates().iter().collect();
        assert_eq!(distinct.len(), templates().len());
    }

    #[test]
    fn sids_stand_in_a_path_where_the_handler_takes_them() {
        for Route { template, handler, .. } in ROUTES {
            let account = matches!(
                handler,
                Handler::Account(..) | Handler::PortalAccount(..) | Handler::Call(..)
            );
            assert_eq!(template.contains("/{AccountSid}/"), account, "{template}");
            let provider = matches!(handler, Handler::Provider(..) | Handler::PortalProvider(..));
            assert_eq!(template.contains("/{ServiceProviderSid}/"), provider, "{template}");
            let call = matches!(handler, Handler::Call(..));
            assert_eq!(template.contains("/{CallSid}"), call, "{template}");
        }
    }

    /// What [`ROUTES`] have, and what the description has: path, method, and whether it needs a token.
    #[test]
    fn every_route_is_described_and_no_other() {
        let answers = |resource: &'static Resource| {
            let methods = resource.allow.split(", ");
            methods.map(move |method| {
                let route = resource.route(&method.parse().unwrap()).unwrap();
                let open = matches!(route.handler, Handler::Open(_));
                (resource.template.to_owned(), method.to_lowercase(), open)
            })
        };
        let routed: BTreeSet<_> = RESOURCES.iter().flat_map(answers).collect();
        assert!(routed.len() > ROUTES.len());
        let document: Value = serde_json::from_str(include_str!("openapi.json")).unwrap();
        let mut described = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if method != "parameters" {
                    let open = operation["security"].as_array().is_some_and(Vec::is_empty);
                    described.insert((path.clone(), method.clone(), open));
                }
            }
        }
        assert_eq!(described, routed);
    }

    #[test]
    fn a_preflight_names_the_methods_of_all_routes() {
        assert_eq!(methods(), "GET,HEAD,POST,PUT,DELETE");
    }
}
