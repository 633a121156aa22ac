//! The table of routes, from which the dispatcher, the guard's surface and the OpenAPI document
//! are derived.
//!
//! A row without a handler does not compile, because the dispatcher matches every operation. A
//! schema that a row names and `schemas.json` lacks fails a test, and so does an unused schema.

use std::fmt::Write as _;

use http::Method;
use percent_encoding::percent_decode_str;
use spanner_core::{Fault, ModelName, PromotionId};
use spanner_tower::surface::Surface;

use super::reply::Reply;

/// One route.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) operation: Operation,
    pub(super) verb: Verb,
    /// The path below [`BASE`]. `{model}` is a model's name, including slashes. `{id}` is the
    /// identifier of a promotion.
    pub(super) path: &'static str,
    /// The `operationId` in the OpenAPI document.
    pub(super) id: &'static str,
    pub(super) summary: &'static str,
    /// The action and environment that are authorized, in words.
    pub(super) decided: &'static str,
    /// The callers that the guard admits. The handler then authorizes each step in its target
    /// environment.
    pub(super) admits: Admits,
    pub(super) query: &'static [Query],
    pub(super) body: Option<Body>,
    pub(super) answer: Answer,
}

/// The method of a route. `GET` includes `HEAD`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Get,
    Post,
}

/// The callers that the guard admits to a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admits {
    /// Everybody.
    Everybody,
    /// Every caller with a valid credential.
    Known,
}

/// A query parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Query {
    Environment,
    Standing,
}

/// The body of a request.
#[derive(Debug)]
pub(super) struct Body {
    /// Its schema in `schemas.json`.
    pub(super) schema: &'static str,
    pub(super) is_required: bool,
}

/// The response on success.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) description: &'static str,
    /// Its schema in `schemas.json`; `None` for any object.
    pub(super) schema: Option<&'static str>,
}

/// The base path of the API.
pub(super) const BASE: &str = "/spanner/v1";

/// Generates the operations, grouped by their path variable, and the table of routes.
macro_rules! routes {
    ($($kind:ident: $about:literal {
        $($name:ident = $verb:ident $path:literal { $($field:ident: $value:expr),* $(,)? })*
    })*) => {
        $(
            #[doc = $about]
            #[derive(Debug, Clone, Copy, PartialEq, Eq)]
            pub(super) enum $kind { $($name),* }
        )*

        /// The operation of a route.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(super) enum Operation { $($kind($kind)),* }

        /// The table of routes.
        pub(super) static ROUTES: &[Route] = &[$($(Route {
            operation: Operation::$kind($kind::$name),
            verb: Verb::$verb,
            path: $path,
            $($field: $value),*
        },)*)*];
    };
}

const fn required(schema: &'static str) -> Option<Body> {
    Some(Body {
        schema,
        is_required: true,
    })
}

const fn optional(schema: &'static str) -> Option<Body> {
    Some(Body {
        schema,
        is_required: false,
    })
}

const fn ok(description: &'static str, schema: &'static str) -> Answer {
    Answer {
        status: 200,
        description,
        schema: Some(schema),
    }
}

routes! {
    Service: "Operations without a path variable." {
        Description = Get "/openapi.json" {
            id: "description",
            summary: "This document.",
            decided: "Nothing is decided.",
            admits: Admits::Everybody,
            query: &[],
            body: None,
            answer: Answer { status: 200, description: "OpenAPI 3.1.", schema: None },
        }
        Models = Get "/models" {
            id: "models",
            summary: "The models that the caller may list or read.",
            decided: "`list` or `read`, per model and environment.",
            admits: Admits::Known,
            query: &[],
            body: None,
            answer: ok("The models.", "Models"),
        }
        Explain = Post "/explain" {
            id: "explain",
            summary: "Explains why a request is allowed or refused, and how to obtain permission.",
            decided: "Nothing for the caller's own permissions; `administer` on the model for others'.",
            admits: Admits::Known,
            query: &[],
            body: required("Explain"),
            answer: ok("The answer for each party.", "Explained"),
        }
        Promotions = Get "/promotions" {
            id: "promotions",
            summary: "The promotions that the caller may read.",
            decided: "`read`, `promote`, `approve` or `administer`, in the source or the target environment of each promotion.",
            admits: Admits::Known,
            query: &[Query::Environment, Query::Standing],
            body: None,
            answer: ok("The promotions, the oldest first.", "Promotions"),
        }
        Propose = Post "/promotions" {
            id: "propose",
            summary: "Proposes a model, as it is in force in the source environment.",
            decided: "`promote`, in the source or the target environment.",
            admits: Admits::Known,
            query: &[],
            body: required("Propose"),
            answer: Answer {
                status: 201,
                description: "The promotion.",
                schema: Some("Promotion"),
            },
        }
    }
    Model: "Operations on a model." {
        Access = Get "/models/{model}/access" {
            id: "access",
            summary: "Who may do what with a model, and why.",
            decided: "`read`, in the environment.",
            admits: Admits::Known,
            query: &[Query::Environment],
            body: None,
            answer: ok("Grants and guardrails.", "Access"),
        }
        History = Get "/models/{model}/history" {
            id: "history",
            summary: "The promotion steps of a model, with who took them.",
            decided: "`read`, in each environment.",
            admits: Admits::Known,
            query: &[Query::Environment],
            body: None,
            answer: ok("What is in force, and every step.", "History"),
        }
        Rollback = Post "/models/{model}/rollback" {
            id: "rollback",
            summary: "Rolls back the last promotion and restores what was in force before.",
            decided: "`promote`, in the source or the target environment; `administer`, in the target environment, in an emergency.",
            admits: Admits::Known,
            query: &[],
            body: required("Rollback"),
            answer: ok("The promotion that was rolled back.", "Promotion"),
        }
    }
    Promotion: "Operations on a promotion." {
        Read = Get "/promotions/{id}" {
            id: "promotion",
            summary: "One promotion, with the access that it changes.",
            decided: "`read`, in the source or the target environment.",
            admits: Admits::Known,
            query: &[],
            body: None,
            answer: ok("The promotion.", "Promotion"),
        }
        Approve = Post "/promotions/{id}/approve" {
            id: "approve",
            summary: "Approves the promotion as shown.",
            decided: "`approve`, in the target environment.",
            admits: Admits::Known,
            query: &[],
            body: optional("Approve"),
            answer: ok("The promotion.", "Promotion"),
        }
        Reject = Post "/promotions/{id}/reject" {
            id: "reject",
            summary: "Rejects the promotion.",
            decided: "`approve`, in the target environment.",
            admits: Admits::Known,
            query: &[],
            body: required("Reject"),
            answer: ok("The promotion.", "Promotion"),
        }
        Withdraw = Post "/promotions/{id}/withdraw" {
            id: "withdraw",
            summary: "Withdraws the promotion.",
            decided: "`read`, in the source or the target environment.",
            admits: Admits::Known,
            query: &[],
            body: optional("Withdraw"),
            answer: ok("The promotion.", "Promotion"),
        }
        Promote = Post "/promotions/{id}/promote" {
            id: "promote",
            summary: "Puts the promotion in force.",
            decided: "`promote`, in the source or the target environment; `administer`, in the target environment, in an emergency.",
            admits: Admits::Known,
            query: &[],
            body: optional("Promote"),
            answer: ok("The promotion.", "Promotion"),
        }
    }
}

/// A parsed request: an operation with its path variable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ParsedRequest {
    Service(Service),
    Model(Model, ModelName),
    Promotion(Promotion, PromotionId),
}

impl Verb {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }

    fn is(self, method: &Method) -> bool {
        match self {
            Self::Get => matches!(*method, Method::GET | Method::HEAD),
            Self::Post => *method == Method::POST,
        }
    }
}

impl Query {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Environment => "environment",
            Self::Standing => "standing",
        }
    }
}

impl Operation {
    /// The name of its path variable.
    pub(super) const fn variable(self) -> Option<&'static str> {
        match self {
            Self::Service(_) => None,
            Self::Model(_) => Some("model"),
            Self::Promotion(_) => Some("id"),
        }
    }
}

/// Finds the route of a method and a path. The guard has rejected paths with dot segments and
/// similar ambiguities.
pub(super) fn read(method: &Method, path: &str) -> Result<ParsedRequest, Reply> {
    let rest = path.strip_prefix(BASE).ok_or_else(unknown)?;
    let mut routes = ROUTES.iter().filter(|route| route.verb.is(method));
    let found = routes.find_map(|route| Some((route.operation, captured(route, rest)?)));
    let (operation, captured) = found.ok_or_else(unknown)?;
    Ok(match operation {
        Operation::Service(operation) => ParsedRequest::Service(operation),
        Operation::Model(operation) => ParsedRequest::Model(operation, model(captured)?),
        Operation::Promotion(operation) => ParsedRequest::Promotion(operation, id(captured)?),
    })
}

/// The value of a route's path variable if the path matches the route; empty for a route without
/// a variable.
fn captured<'p>(route: &Route, path: &'p str) -> Option<&'p str> {
    let Some((before, rest)) = route.path.split_once('{') else {
        return (route.path == path).then_some("");
    };
    let (_, after) = rest.split_once('}')?;
    let captured = path.strip_prefix(before)?.strip_suffix(after)?;
    let has_slashes = route.operation.variable() == Some("model");
    (has_slashes || !captured.contains('/')).then_some(captured)
}

/// The routes in the format of a surface file.
pub(super) fn surface_text() -> String {
    let mut text = String::from("dialect = \"problem\"\nroutes = [\n");
    for route in ROUTES {
        let (verb, path) = (
            route.verb.as_str(),
            route.path.replace("{model}", "{model:enc*}"),
        );
        let action = match route.admits {
            Admits::Everybody => "public",
            Admits::Known => "whoami",
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(
            text,
            "  {{ method = \"{verb}\", path = \"{BASE}{path}\", action = \"{action}\" }},"
        );
    }
    text.push_str("]\n");
    text
}

/// The surface of the API, for a guard.
#[must_use]
#[expect(
    clippy::expect_used,
    reason = "the text is made from the table, and read by this crate's tests"
)]
pub fn surface() -> Surface {
    Surface::from_toml("spanner", &surface_text()).expect("the table is a well-formed surface")
}

fn model(text: &str) -> Result<ModelName, Reply> {
    let decoded = percent_decode_str(text).decode_utf8_lossy();
    ModelName::new(&decoded).map_err(|error| {
        let advice = "write the model's name as its API spells it";
        Reply::malformed("model", &error, advice)
    })
}

/// An invalid identifier is answered like an unknown one.
fn id(text: &str) -> Result<PromotionId, Reply> {
    text.parse().map_err(|_| {
        let what = "this is not the identifier of a promotion";
        let advice = "look for it in `GET /spanner/v1/promotions`";
        Reply::failure(404, Fault::UnknownRoute, "promotion", &what, advice)
    })
}

fn unknown() -> Reply {
    let what = "the administration API has no such method and path";
    let advice = "see `GET /spanner/v1/openapi.json`";
    Reply::failure(404, Fault::UnknownRoute, "route", &what, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn model_names_may_contain_slashes() {
        let id = "019a3c5e-0000-7000-8000-000000000000";
        let model =
            |operation, name: &str| Some(ParsedRequest::Model(operation, name.parse().unwrap()));
        for (method, path, due) in [
            (
                "GET",
                "models",
                Some(ParsedRequest::Service(Service::Models)),
            ),
            (
                "HEAD",
                "models",
                Some(ParsedRequest::Service(Service::Models)),
            ),
            ("POST", "models", None),
            (
                "GET",
                "models/gpt-4o/access",
                model(Model::Access, "gpt-4o"),
            ),
            (
                "GET",
                "models/acme/sentiment/history",
                model(Model::History, "acme/sentiment"),
            ),
            (
                "POST",
                "models/a%2Fb/rollback",
                model(Model::Rollback, "a/b"),
            ),
            ("GET", "models/acme//access", None),
            ("GET", "models/access", None),
            (
                "GET",
                &format!("promotions/{id}"),
                Some(ParsedRequest::Promotion(
                    Promotion::Read,
                    id.parse().unwrap(),
                )),
            ),
            (
                "POST",
                &format!("promotions/{id}/reject"),
                Some(ParsedRequest::Promotion(
                    Promotion::Reject,
                    id.parse().unwrap(),
                )),
            ),
            ("GET", &format!("promotions/{id}/reject"), None),
            ("GET", "promotions/7", None),
            ("POST", &format!("promotions/{id}/sign"), None),
            ("GET", "secrets", None),
        ] {
            let method: Method = method.parse().unwrap();
            let found = read(&method, &format!("{BASE}/{path}"));
            assert_eq!(found.ok(), due, "{method} {path}");
        }
    }

    #[test]
    fn each_route_names_the_variable_of_its_operation() {
        let _ = surface();
        for route in ROUTES {
            let variable = route.path.split_once('{');
            let variable = variable.and_then(|(_, rest)| Some(rest.split_once('}')?.0));
            assert_eq!(variable, route.operation.variable(), "{route:?}");
            let of_this = ROUTES.iter().filter(|it| it.operation == route.operation);
            let with_this_id = ROUTES.iter().filter(|it| it.id == route.id);
            assert_eq!((of_this.count(), with_this_id.count()), (1, 1), "{route:?}");
        }
    }
}
