//! What a method and path ask for.

use http::Method;
use percent_encoding::percent_decode_str;
use spanner_core::{Fault, ModelName, PromotionId};

use super::reply::Reply;

/// One request of the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    Models,
    Access(ModelName),
    History(ModelName),
    Rollback(ModelName),
    Explain,
    Promotions,
    Propose,
    Promotion(PromotionId),
    Step(PromotionId, Step),
}

/// A step of a promotion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Approve,
    Reject,
    Withdraw,
    Promote,
}

/// Reads a path. The guard has seen to it that it has no dot segments and the like.
pub(super) fn read(method: &Method, path: &str) -> Result<Route, Reply> {
    let rest = path.strip_prefix("/spanner/v1/").ok_or_else(unknown)?;
    let reads = matches!(*method, Method::GET | Method::HEAD);
    let posts = *method == Method::POST;
    match rest {
        "models" if reads => return Ok(Route::Models),
        "explain" if posts => return Ok(Route::Explain),
        "promotions" if reads => return Ok(Route::Promotions),
        "promotions" if posts => return Ok(Route::Propose),
        _ => {}
    }
    let (folder, rest) = rest.split_once('/').ok_or_else(unknown)?;
    match folder {
        "models" => {
            let (name, what) = rest.rsplit_once('/').ok_or_else(unknown)?;
            let model = model(name)?;
            match what {
                "access" if reads => Ok(Route::Access(model)),
                "history" if reads => Ok(Route::History(model)),
                "rollback" if posts => Ok(Route::Rollback(model)),
                _ => Err(unknown()),
            }
        }
        "promotions" => match rest.split_once('/') {
            None if reads => Ok(Route::Promotion(id(rest)?)),
            Some((promotion, step)) if posts => {
                let step = match step {
                    "approve" => Step::Approve,
                    "reject" => Step::Reject,
                    "withdraw" => Step::Withdraw,
                    "promote" => Step::Promote,
                    _ => return Err(unknown()),
                };
                Ok(Route::Step(id(promotion)?, step))
            }
            _ => Err(unknown()),
        },
        _ => Err(unknown()),
    }
}

fn model(text: &str) -> Result<ModelName, Reply> {
    let decoded = percent_decode_str(text).decode_utf8_lossy();
    ModelName::new(&decoded).map_err(|error| {
        let advice = "write the model's name as its API spells it";
        Reply::malformed("model", &error, advice)
    })
}

/// A promotion that is none is unknown, however it is spelled.
fn id(text: &str) -> Result<PromotionId, Reply> {
    text.parse().map_err(|_| {
        let what = "this is no promotion's identifier";
        let advice = "look for it in `GET /spanner/v1/promotions`";
        Reply::failure(404, Fault::UnknownRoute, "promotion", &what, advice)
    })
}

fn unknown() -> Reply {
    let what = "the administration has no such method and path";
    let advice = "see `GET /spanner/v1/openapi.json`";
    Reply::failure(404, Fault::UnknownRoute, "route", &what, advice)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_model_has_as_many_parts_as_it_has() {
        let id = "019a3c5e-0000-7000-8000-000000000000";
        for (method, path, due) in [
            ("GET", "models", Some(Route::Models)),
            ("HEAD", "models", Some(Route::Models)),
            ("POST", "models", None),
            (
                "GET",
                "models/gpt-4o/access",
                Some(Route::Access("gpt-4o".parse().unwrap())),
            ),
            (
                "GET",
                "models/acme/sentiment/history",
                Some(Route::History("acme/sentiment".parse().unwrap())),
            ),
            (
                "POST",
                "models/a%2Fb/rollback",
                Some(Route::Rollback("a/b".parse().unwrap())),
            ),
            ("GET", "models/acme//access", None),
            ("GET", "models/access", None),
            (
                "GET",
                &format!("promotions/{id}"),
                Some(Route::Promotion(id.parse().unwrap())),
            ),
            (
                "POST",
                &format!("promotions/{id}/reject"),
                Some(Route::Step(id.parse().unwrap(), Step::Reject)),
            ),
            ("GET", &format!("promotions/{id}/reject"), None),
            ("GET", "promotions/7", None),
            ("POST", &format!("promotions/{id}/sign"), None),
            ("GET", "secrets", None),
        ] {
            let method: Method = method.parse().unwrap();
            let found = read(&method, &format!("/spanner/v1/{path}"));
            assert_eq!(found.ok(), due, "{method} {path}");
        }
    }
}
