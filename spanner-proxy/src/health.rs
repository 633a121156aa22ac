//! What probes and scrapers ask: `/spanner/live`, `/spanner/ready`, `/spanner/metrics`.
//!
//! 1. Nobody is asked who they are, so nothing is said that a caller could not find out: no name
//!    of a person or a policy anywhere; and where callers come in ([`Detail::Brief`]), no name of
//!    a model, an issuer or a shipment, and no address of a server. Whoever operates the service
//!    asks at `admin_listen`, or opens the details with `public_probes = "full"`.
//! 2. What makes the service ready is said at [`Readiness`].

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Response, StatusCode};
use http_body_util::Full;
use serde_json::{Value, json};
use spanner_admin::operate::{Detail, ListStatus, Readiness};
use spanner_tower::bearer::Revocations;

use crate::meters;
use crate::ship::Watches;

/// What is asked about when a probe comes. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Health {
    pub(crate) readiness: Readiness,
    /// The list of revocations, if one is configured.
    pub(crate) revocations: Option<RevocationList>,
    /// Where shipments of the ledger stand.
    pub(crate) ships: Watches,
    /// How much is said of it.
    pub(crate) detail: Detail,
}

/// The list of revocations, and whether its file could be read at last.
#[derive(Clone)]
pub(crate) struct RevocationList {
    pub(crate) list: Revocations,
    pub(crate) stale: Arc<AtomicBool>,
}

impl RevocationList {
    fn status(&self) -> ListStatus {
        ListStatus {
            is_stale: self.stale.load(Ordering::Relaxed),
            entries: self.list.len(),
        }
    }
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
        let revocations = self.revocations.as_ref().map(RevocationList::status);
        let report = self.readiness.report(revocations, self.detail).await;
        let mut states = report.states;
        if !self.ships.is_empty() {
            states.insert("ship".to_owned(), self.ships.readiness(self.detail));
        }
        let status = match report.is_ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        text(status, JSON, Value::Object(states).to_string())
    }

    fn metrics(&self) -> Page {
        let Readiness {
            bearer,
            access,
            promotions,
            ledger,
        } = &self.readiness;
        bearer.publish_readiness();
        self.ships.publish();
        meters::ledger(ledger);
        let access = access.status();
        meters::stale("access", access.last_error.is_some());
        meters::stale("manifests", !access.broken.is_empty());
        meters::void_grants(access.void.len());
        for (environment, models) in promotions.unapproved() {
            meters::unapproved(environment.as_str(), models);
        }
        if let Some(revocations) = &self.revocations {
            let stale = revocations.stale.load(Ordering::Relaxed);
            meters::stale("revocations", stale);
        }
        let page = meters::page().map(|page| match self.detail {
            Detail::Full => page,
            _ => meters::without_names(&page),
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
