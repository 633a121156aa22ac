//! What probes and scrapers ask: `/spanner/live`, `/spanner/ready`, `/spanner/metrics`.
//!
//! 1. Nobody is asked who they are, so nothing is said that a caller could not find out: no name
//!    of a person or a policy anywhere; and where callers come in ([`Detail::Brief`]), no name of
//!    a model, an issuer or a shipment, and no address of a server. Whoever operates the service
//!    asks at `admin_listen`, or opens the details with `public_probes = "full"`.
//! 2. Ready means that some caller can be served: the ledger stores, and there is an issuer
//!    whose keys are at hand. One issuer that is down is its callers' trouble and is shown;
//!    it does not take the service from the others'.
//! 3. Models that nobody approved, since the ledger began without promotions, are counted; so is
//!    what promoted manifests name and is gone. Neither makes the service unready.
//! 4. An access that was not reloaded is shown as `stale`. What was in force still is, so it
//!    does not make the service unready.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use spanner_admin::Promotions;
use spanner_cedar::Cedar;
use spanner_tower::Bearer;
use spanner_tower::bearer::{IssuerReadiness, Revocations};
use spanner_tower::keys::KeyState;

use crate::meters;
use crate::ship::Watches;
use crate::watched::Watched;
use crate::words;

/// What is asked about when a probe comes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) bearer: Bearer,
    pub(crate) access: Cedar,
    pub(crate) promotions: Promotions,
    pub(crate) ledger: Watched,
    /// The list of revocations, if one is configured.
    pub(crate) revocations: Option<ReadList>,
    /// Where shipments of the ledger stand.
    pub(crate) ships: Watches,
    /// How much is said of it.
    pub(crate) detail: Detail,
}

/// How much the pages say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Detail {
    /// Whether all is well, without the names and addresses of what is behind: for everybody.
    Brief,
    /// All of it: for whoever operates the service.
    Full,
}

/// A list that is read again and again.
#[derive(Clone)]
pub(crate) struct ReadList {
    pub(crate) list: Revocations,
    /// Whether it could not be read the last time.
    pub(crate) stale: Arc<AtomicBool>,
}

pub(crate) type Page = Response<Full<Bytes>>;

impl Health {
    /// The page at a path, if there is one.
    pub(crate) async fn page(&self, method: &Method, path: &str) -> Option<Page> {
        if !matches!(path, LIVE | READY | METRICS) {
            return None;
        }
        if *method != Method::GET && *method != Method::HEAD {
            return Some(not_allowed());
        }
        Some(match path {
            LIVE => text(StatusCode::OK, JSON, json!({"live": true}).to_string()),
            READY => self.ready().await,
            _ => self.metrics(),
        })
    }

    async fn ready(&self) -> Page {
        let issuers = self.bearer.readiness();
        let storing = self.ledger.is_storing().await;
        let ready = storing && issuers.iter().any(IssuerReadiness::is_ready);
        let status = self.access.status();
        let problems = status.last_error.as_ref();
        let problems = problems.map_or(0, |error| error.problems().len() + error.more());
        let mut page = json!({
            "ready": ready,
            "issuers": issuers.iter().map(|it| issuer(it, self.detail)).collect::<Vec<_>>(),
            "access": {
                "state": currency(status.last_error.is_some()),
                "digest": &*status.digest,
                "problems": problems,
                "broken_manifests": status.broken.len(),
            },
            "ledger": {"state": if storing { "storing" } else { "failing" }},
            "promotions": {
                "unapproved": self.unapproved(),
                "void_grants": status.void.len(),
            },
        });
        if let (Some(revocations), Some(members)) = (&self.revocations, page.as_object_mut()) {
            let stale = revocations.stale.load(Ordering::Relaxed);
            let says = json!({"state": currency(stale), "entries": revocations.list.len()});
            members.insert("revocations".to_owned(), says);
        }
        if let Some(members) = page.as_object_mut().filter(|_| !self.ships.is_empty()) {
            members.insert("ship".to_owned(), self.ships.readiness(self.detail));
        }
        let status = match ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        text(status, JSON, page.to_string())
    }

    /// How many models are in force that nobody approved, by environment.
    fn unapproved(&self) -> serde_json::Map<String, Value> {
        let counts = self.promotions.unapproved().into_iter();
        counts
            .map(|(environment, models)| (environment.to_string(), json!(models)))
            .collect()
    }

    fn metrics(&self) -> Page {
        self.bearer.publish_readiness();
        self.ships.publish();
        self.ledger.publish();
        let access = self.access.status();
        meters::stale("access", access.last_error.is_some());
        meters::stale("manifests", !access.broken.is_empty());
        meters::void_grants(access.void.len());
        for (environment, models) in self.promotions.unapproved() {
            meters::unapproved(environment.as_str(), models);
        }
        if let Some(revocations) = &self.revocations {
            let stale = revocations.stale.load(Ordering::Relaxed);
            meters::stale("revocations", stale);
        }
        let page = meters::page().map(|page| match self.detail {
            Detail::Full => page,
            Detail::Brief => meters::without_names(&page),
        });
        match page {
            Some(page) => text(StatusCode::OK, PROMETHEUS, page),
            None => text(
                StatusCode::NOT_FOUND,
                JSON,
                json!({"metrics": null}).to_string(),
            ),
        }
    }
}

const fn currency(stale: bool) -> &'static str {
    match stale {
        true => "stale",
        false => "current",
    }
}

fn issuer(issuer: &IssuerReadiness, detail: Detail) -> Value {
    let keys = issuer.keys.as_ref();
    let state = keys.map(|keys| match keys.state {
        KeyState::Cold => "cold",
        KeyState::Fresh => "fresh",
        KeyState::Stale => "stale",
        _ => "unavailable",
    });
    let mut page = json!({
        "ready": issuer.is_ready(),
        "keys": state,
        "keys_age_s": keys.and_then(|keys| keys.age).map(|age| age.as_secs()),
    });
    if let (Detail::Full, Some(members)) = (detail, page.as_object_mut()) {
        let last_error = keys.and_then(|keys| keys.last_error.as_deref());
        let last_error = last_error.map(words::line);
        members.insert("name".to_owned(), issuer.issuer.as_str().into());
        members.insert("url".to_owned(), words::line(&issuer.url).into());
        members.insert("last_error".to_owned(), last_error.into());
    }
    page
}

/// Answers at an address where nothing but these pages is served.
pub(crate) fn nothing_else() -> Page {
    let body = json!({
        "type": "about:blank",
        "title": "not_found",
        "status": 404,
        "detail": format!("only {LIVE}, {READY} and {METRICS} are served here"),
    });
    text(StatusCode::NOT_FOUND, PROBLEM, body.to_string())
}

fn not_allowed() -> Page {
    let body = json!({
        "type": "about:blank",
        "title": "method_not_allowed",
        "status": 405,
        "detail": "this page can only be read; use GET",
    });
    let mut page = text(StatusCode::METHOD_NOT_ALLOWED, PROBLEM, body.to_string());
    let allowed = HeaderValue::from_static("GET, HEAD");
    page.headers_mut().insert(ALLOW, allowed);
    page
}

fn text(status: StatusCode, media_type: &'static str, body: String) -> Page {
    let mut page = Response::new(Full::from(body));
    *page.status_mut() = status;
    let headers = page.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("spanner-origin", HeaderValue::from_static("guard"));
    page
}

const LIVE: &str = "/spanner/live";
const READY: &str = "/spanner/ready";
const METRICS: &str = "/spanner/metrics";

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
