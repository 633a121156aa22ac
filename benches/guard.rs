//! Measures the cost of a guard per request, compared with the same service without one, and with
//! `tower-oauth2-resource-server` and `jwt-authorizer` verifying the same token.
//!
//! `cargo run --release -p spanner-benches --bin guard`. Variants are interleaved in
//! each round, so that other load on the machine affects all of them. Each figure is the median of all
//! rounds. `--rounds N` sets their number (default 300).

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use jwt_authorizer::{AuthError, IntoLayer, JwtAuthorizer, Validation};
use spanner_cedar::Cedar;
use spanner_core::record::Decision;
use spanner_core::testing::Rules;
use spanner_core::token::Algorithm;
use spanner_core::{AuditSink, Count, Receipt, Room, SinkFault};
use spanner_ledger::{Durability, Ledger};
use spanner_tower::mock_idp::MockIdp;
use spanner_tower::{Bearer, GuardLayer, Issuer, surface};
use tokio::runtime::Runtime;
use tower::{Layer, Service, service_fn};
use tower_oauth2_resource_server::claims::DefaultClaims;
use tower_oauth2_resource_server::server::OAuth2ResourceServer;
use tower_oauth2_resource_server::tenant::TenantConfiguration;

type Failure = Box<dyn std::error::Error + Send + Sync>;
type Body = Full<Bytes>;

/// Requests per run of a warm variant.
const BATCH: usize = 100;

fn main() -> Result<(), Failure> {
    let rounds = rounds()?;
    let runtime = Arc::new(
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?,
    );
    let stage = Arc::new(Stage::new()?);
    let mut warm = warm(&stage, &runtime)?;
    let mut cold = cold(&stage, &runtime);
    println!("{rounds} rounds; medians; requests of 300 bytes with an RS256 token\n");
    report("One request, keys at hand", &mut warm, rounds)?;
    report(
        "Made new, with its first request",
        &mut cold,
        rounds.div_ceil(3),
    )
}

fn rounds() -> Result<usize, Failure> {
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, _) => Ok(300),
        (Some("--rounds"), Some(rounds)) => {
            let rounds: usize = rounds.parse()?;
            if rounds == 0 {
                Err("`--rounds` must be at least 1".into())
            } else {
                Ok(rounds)
            }
        }
        _ => Err("the only option is `--rounds <number>`".into()),
    }
}

/// A variant: a run returns the time of one request.
struct Variant {
    name: &'static str,
    turn: Box<dyn FnMut() -> Result<Duration, Failure>>,
    times: Vec<Duration>,
}

impl Variant {
    fn new(name: &'static str, turn: impl FnMut() -> Result<Duration, Failure> + 'static) -> Self {
        Self {
            name,
            turn: Box::new(turn),
            times: Vec::new(),
        }
    }

    fn median(&self) -> Duration {
        let mut times = self.times.clone();
        times.sort_unstable();
        times.get(times.len() / 2).copied().unwrap_or_default()
    }
}

/// Measures the variants interleaved and prints a table. The first is the base of `added`, the
/// second the base of the ratio.
fn report(title: &str, variants: &mut [Variant], rounds: usize) -> Result<(), Failure> {
    for round in 0..=rounds {
        for variant in &mut *variants {
            let time = (variant.turn)()?;
            // The first round warms up.
            if round > 0 {
                variant.times.push(time);
            }
        }
    }
    let base = variants.first().map_or(Duration::ZERO, Variant::median);
    let added = |variant: &Variant| variant.median().saturating_sub(base).as_secs_f64() * 1e6;
    let ours = variants.get(1).map_or(0.0, added);
    println!("| {title} | µs | added µs | ratio |\n|---|--:|--:|--:|");
    for (index, variant) in variants.iter().enumerate() {
        let micros = variant.median().as_secs_f64() * 1e6;
        let (added, ratio) = match index {
            0 => (String::new(), String::new()),
            _ => (
                format!("{:.1}", added(variant)),
                format!("{:.2}", added(variant) / ours),
            ),
        };
        println!("| {} | {micros:.1} | {added} | {ratio} |", variant.name);
    }
    println!();
    Ok(())
}

/// What all variants share: the keys, the token, and the folder of ledgers.
struct Stage {
    jwks: String,
    issuer: String,
    token: String,
    folder: tempfile::TempDir,
}

const ACCESS: [(&str, &str); 2] = [
    (
        "organization.toml",
        "environments = [\"production\"]\ngroups = [\"support\"]\nissuers = [\"corp\"]\n",
    ),
    (
        "models/acme/sentiment.toml",
        "model = \"acme/sentiment\"\nowner = \"group:support\"\n\
         [grants.production]\ncaller = [\"group:support\"]\n",
    ),
];

impl Stage {
    fn new() -> Result<Self, Failure> {
        let idp = MockIdp::of("https://id.example.com", Algorithm::Rs256);
        let token = idp
            .token()
            .sub("sam")
            .groups(["support"])
            .audience("models")
            .sign();
        let (jwks, issuer) = (idp.jwks(), idp.issuer().to_owned());
        Ok(Self {
            jwks,
            issuer,
            token,
            folder: tempfile::tempdir()?,
        })
    }

    fn requests(&self, count: usize) -> Result<Vec<Request<Body>>, Failure> {
        let body = Bytes::from_static(
            br#"{"model": "acme/sentiment", "messages": [{"role": "user", "content": "Thanks, the support was quick and helpful, and everything works again. Please tell your colleagues, too, that their answer of last week solved what I had asked about before; there is nothing left to do in this matter."}]}"#,
        );
        let request = |_| {
            let request = Request::post("/v1/chat/completions")
                .header("authorization", format!("Bearer {}", self.token))
                .header("content-type", "application/json")
                .body(Full::from(body.clone()));
            request.map_err(Failure::from)
        };
        (0..count).map(request).collect()
    }

    /// The authenticator, which verifies a token with every request, as the peers do, or once a minute.
    fn callers(&self, tokens: Tokens) -> Result<Bearer, Failure> {
        let issuer = Issuer::oidc(&self.issuer).alias("corp").audience("models");
        let builder = Bearer::builder().issuer(issuer.static_jwks(&self.jwks));
        let builder = match tokens {
            Tokens::Verified => builder.cached_tokens(0),
            Tokens::Kept => builder,
        };
        Ok(builder.build()?)
    }

    fn guard(
        &self,
        cedar: bool,
        tokens: Tokens,
        sink: impl AuditSink,
    ) -> Result<GuardLayer, Failure> {
        let callers = self.callers(tokens)?;
        let builder = match cedar {
            true => GuardLayer::builder(callers, Cedar::from_files(ACCESS)?, sink),
            false => GuardLayer::builder(callers, Rules::allow(|_| true), sink),
        };
        Ok(builder
            .environment("production".parse()?)
            .surface(surface::openai())
            .build()?)
    }

    fn ledger(&self, name: &str, durability: Durability) -> Result<Ledger, Failure> {
        Ok(Ledger::builder(self.folder.path().join(name))
            .durability(durability)
            .open()?)
    }

    async fn resource_server(&self) -> Result<OAuth2ResourceServer<DefaultClaims>, Failure> {
        let tenant = TenantConfiguration::static_builder(&self.jwks).audiences(&["models"]);
        let server = OAuth2ResourceServer::builder().add_tenant(tenant.build()?);
        server
            .build()
            .await
            .map_err(|error| error.to_string().into())
    }

    fn jwt_authorizer(&self) -> JwtAuthorizer {
        let validation = Validation::new().iss(&[&self.issuer]).aud(&["models"]);
        JwtAuthorizer::from_jwks_text(&self.jwks).validation(validation)
    }
}

fn warm(stage: &Stage, runtime: &Arc<Runtime>) -> Result<Vec<Variant>, Failure> {
    let relaxed = stage.ledger("relaxed", Durability::Relaxed)?;
    let durable = stage.ledger("durable", Durability::PowerLoss)?;
    let server = runtime.block_on(stage.resource_server())?.into_layer();
    let authorizer = runtime
        .block_on(stage.jwt_authorizer().build())?
        .into_layer();
    let guards = [
        (
            "Spanner, every token verified, records thrown away",
            BATCH,
            stage.guard(true, Tokens::Verified, Void)?,
        ),
        (
            "Spanner, tokens kept, records thrown away",
            BATCH,
            stage.guard(true, Tokens::Kept, Void)?,
        ),
        (
            "Spanner, tokens kept, recording to a file (`Relaxed`)",
            BATCH,
            stage.guard(true, Tokens::Kept, relaxed)?,
        ),
        (
            "Spanner, tokens kept, recording through a sync (`PowerLoss`)",
            1,
            stage.guard(true, Tokens::Kept, durable)?,
        ),
    ];
    let mut variants = vec![measured(
        "unguarded",
        stage,
        runtime,
        BATCH,
        service_fn(serve),
    )?];
    for (name, batch, guard) in guards {
        variants.push(measured(
            name,
            stage,
            runtime,
            batch,
            guard.layer(service_fn(serve)),
        )?);
    }
    let server = server.layer(service_fn(serve));
    variants.push(measured(
        "tower-oauth2-resource-server",
        stage,
        runtime,
        BATCH,
        server,
    )?);
    let authorizer = authorizer.layer(service_fn(serve_other));
    variants.push(measured(
        "jwt-authorizer",
        stage,
        runtime,
        BATCH,
        authorizer,
    )?);
    Ok(variants)
}

/// Building a layer from a key set, with its first request. Spanner decides by a rule in memory here,
/// since the peers do not decide anything.
fn cold(stage: &Arc<Stage>, runtime: &Arc<Runtime>) -> Vec<Variant> {
    let turn = |make: fn(&Stage) -> Making<'_>| {
        let (stage, runtime) = (Arc::clone(stage), Arc::clone(runtime));
        move || {
            let mut requests = stage.requests(1)?;
            let request = requests.pop().ok_or("no request")?;
            let start = Instant::now();
            runtime.block_on(async { make(&stage)(request).await })?;
            Ok(start.elapsed())
        }
    };
    vec![
        Variant::new(
            "unguarded",
            turn(|_| {
                Box::new(move |request| {
                    Box::pin(async move { exchange(&mut service_fn(serve), request).await })
                })
            }),
        ),
        Variant::new(
            "Spanner",
            turn(|stage| {
                Box::new(move |request| {
                    Box::pin(async move {
                        let guard = stage.guard(false, Tokens::Kept, Void)?;
                        exchange(&mut guard.layer(service_fn(serve)), request).await
                    })
                })
            }),
        ),
        Variant::new(
            "tower-oauth2-resource-server",
            turn(|stage| {
                Box::new(move |request| {
                    Box::pin(async move {
                        let server = stage.resource_server().await?.into_layer();
                        exchange(&mut server.layer(service_fn(serve)), request).await
                    })
                })
            }),
        ),
        Variant::new(
            "jwt-authorizer",
            turn(|stage| {
                Box::new(move |request| {
                    Box::pin(async move {
                        let authorizer = stage.jwt_authorizer().build().await?.into_layer();
                        exchange(&mut authorizer.layer(service_fn(serve_other)), request).await
                    })
                })
            }),
        ),
    ]
}

/// Builds a layer and sends one request through it.
type Making<'a> = Box<dyn FnOnce(Request<Body>) -> Made<'a> + 'a>;
type Made<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + 'a>>;

/// Sends requests one by one and reads each response to its end.
fn measured<S, A, R>(
    name: &'static str,
    stage: &Stage,
    runtime: &Arc<Runtime>,
    batch: usize,
    mut service: S,
) -> Result<Variant, Failure>
where
    S: Service<Request<Body>, Response = A, Error = Infallible> + 'static,
    A: Into<Response<R>>,
    R: http_body::Body<Data = Bytes>,
    R::Error: std::fmt::Debug,
{
    let requests = stage.requests(batch)?;
    let runtime = Arc::clone(runtime);
    Ok(Variant::new(name, move || {
        let requests = requests.clone();
        let count = u32::try_from(requests.len())?;
        let start = Instant::now();
        runtime.block_on(async {
            for request in requests {
                exchange(&mut service, request).await?;
            }
            Ok::<_, Failure>(())
        })?;
        Ok(start.elapsed() / count)
    }))
}

async fn exchange<S, A, R>(service: &mut S, request: Request<Body>) -> Result<(), Failure>
where
    S: Service<Request<Body>, Response = A, Error = Infallible>,
    A: Into<Response<R>>,
    R: http_body::Body<Data = Bytes>,
    R::Error: std::fmt::Debug,
{
    let (parts, body) = service.call(request).await?.into().into_parts();
    let read = body.collect().await.map_err(|error| format!("{error:?}"))?;
    let served = parts.status.is_success() && read.to_bytes() == ANSWER;
    served
        .then_some(())
        .ok_or_else(|| format!("a variant answers {}", parts.status).into())
}

const ANSWER: &str = "{\"choices\": []}";

/// The guarded service, which reads the request and responds.
async fn serve<B: http_body::Body>(request: Request<B>) -> Result<Response<Body>, Infallible>
where
    B::Error: std::fmt::Debug,
{
    let length = request
        .into_body()
        .collect()
        .await
        .map_or(0, |body| body.to_bytes().len());
    let answer = if length == 0 {
        Bytes::new()
    } else {
        Bytes::from_static(ANSWER.as_bytes())
    };
    Ok(Response::new(Full::from(answer)))
}

/// A response type into which `jwt-authorizer` can convert its errors.
struct Other(Response<Body>);

impl From<AuthError> for Other {
    fn from(_: AuthError) -> Self {
        let mut response = Response::new(Body::default());
        *response.status_mut() = http::StatusCode::UNAUTHORIZED;
        Self(response)
    }
}

impl From<Other> for Response<Body> {
    fn from(other: Other) -> Self {
        other.0
    }
}

async fn serve_other(request: Request<Body>) -> Result<Other, Infallible> {
    serve(request).await.map(Other)
}

/// Whether a token's signature is verified with every request.
#[derive(Debug, Clone, Copy)]
enum Tokens {
    Verified,
    Kept,
}

/// A sink that acknowledges at once and stores nothing.
#[derive(Debug, Clone, Copy)]
struct Void;

impl AuditSink for Void {
    fn record(&self, _: Decision) -> Result<Receipt, SinkFault> {
        let acknowledged = Box::pin(std::future::ready(Ok(())));
        Ok(Receipt {
            acknowledged,
            room: Room::new(|_| ()),
        })
    }

    fn count(&self, _: Count) {}
}
