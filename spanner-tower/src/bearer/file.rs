//! Providers as a file says them: no code for a new one.
//!
//! ```toml
//! [providers.corp]                     # the alias
//! preset   = "keycloak"                # what follows is laid over it
//! issuer   = "https://kc.acme.example/realms/ml"
//! audience = ["spanner"]
//!
//! [providers.ours]
//! issuer   = "https://id.acme.example"
//! audience = "models"
//! subject  = ["/employee_id"]          # a member of a claim mapping
//! kind     = [{ kind = "service", when = { prefix = ["/employee_id", "svc-"] } }]
//! ```
//!
//! | member | meaning |
//! |---|---|
//! | `preset` | the mapping that this one is laid over; default `oidc` |
//! | `issuer`, or `issuer_template`, `issuer_template_claim` and `tenants` | the `iss` of its tokens; see [`Issuer::tenants_of`]. May be left out for `entra`, `google`, `github_actions` and `hugging_face` |
//! | `tenants` | with `issuer`: see [`Issuer::tenants`] |
//! | `audience`, `danger_any_audience` | a text or a list; one of the two is needed |
//! | `authorized_parties`, `algs` | lists; see [`Issuer::authorized_parties`], [`Issuer::algorithms`] |
//! | `jwks_url`, `jwks_file`, `jwks` | where the keys are, if discovery does not find them. The file is read again when it changes: see [`Issuer::jwks_file`] |
//! | `clock_skew`, `max_token_age`, `max_token_lifetime` | spans such as `"60s"`, `"30d"`; `"none"` for no maximum |
//! | `profile` | `"rfc9068"`; see [`Issuer::rfc9068`] |
//! | `delegation`, `ignore_self_act` | `false` is [`Issuer::refuse_delegation`]; `true` is [`Issuer::ignore_self_act`] |
//! | `introspection` | `{ url, client_id, client_secret, client_secret_env, client_secret_file, auth, prefixes, kept_for, kept_through_outage }`: see [`Introspection`]. `url` is discovered if left out, `auth` is `basic` (the default) or `post`, and one of the three says the secret; its file is read again when it changes, the variable only at start |
//! | `organizations` | with the preset `hugging_face_whoami`: see [`Issuer::hugging_face_tokens`] |
//! | `require_binding` | `true`; see [`Issuer::require_binding`] |
//! | `danger_allow_http_loopback`, `danger_allow_unverified_binding` | `true`; see [`Issuer`] |
//!
//! All others are members of a [claim mapping](spanner_core::token#claim-mappings).

use std::fmt;
use std::time::Duration;

use jiff::{Span, SpanRelativeTo};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use spanner_core::token::{ClaimMapping, Preset};
use toml::{Table, Value};

use super::issuer::Issuer;
use super::providers::{ENTRA, GITHUB_ACTIONS, GOOGLE, HUGGING_FACE};
use crate::keys::FileKeys;
use crate::opaque::{ClientSecret, Introspection};

/// The longest file of providers, in bytes.
const MAX_BYTES: usize = 1 << 20;

impl Issuer {
    /// The providers of a text in TOML. See the [module](self).
    ///
    /// # Errors
    /// [`ProvidersError`] with everything that is wrong with the text. What is wrong with
    /// the providers themselves (no audience, an issuer that is no URL) is told by
    /// [`BearerBuilder::build`](super::BearerBuilder::build), with all others.
    pub fn from_toml(text: &str) -> Result<Vec<Self>, ProvidersError> {
        if text.len() > MAX_BYTES {
            let problem = format!("it has {} bytes, at most {MAX_BYTES} are read", text.len());
            return Err(ProvidersError::one("", problem));
        }
        let file: File = toml::from_str(text)
            .map_err(|error| ProvidersError::one("", error.to_string().trim_end()))?;
        if file.providers.is_empty() {
            return Err(ProvidersError::one("providers", "there is none"));
        }
        let (mut issuers, mut problems) = (Vec::new(), Vec::new());
        for (alias, members) in file.providers {
            match provider(&alias, members) {
                Ok(issuer) => issuers.push(issuer),
                Err(found) => problems.extend(found),
            }
        }
        if problems.is_empty() {
            Ok(issuers)
        } else {
            Err(ProvidersError { problems })
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    providers: std::collections::BTreeMap<String, Table>,
}

/// The members of one provider, taken one by one; what is left is its claim mapping.
struct Members {
    alias: String,
    left: Table,
    problems: Vec<ProviderProblem>,
}

fn provider(alias: &str, members: Table) -> Result<Issuer, Vec<ProviderProblem>> {
    let mut members = Members {
        alias: alias.to_owned(),
        left: members,
        problems: Vec::new(),
    };
    let preset = members.preset();
    let issuer = members.issuer(preset).alias(alias);
    let issuer = members.mapping(issuer.preset(preset));
    let issuer = members.limits(issuer);
    let issuer = members.keys(issuer);
    let issuer = members.introspection(issuer);
    let issuer = members.rest(issuer);
    if members.problems.is_empty() {
        Ok(issuer)
    } else {
        Err(members.problems)
    }
}

impl Members {
    fn add(&mut self, member: &str, problem: impl Into<String>) {
        self.problems.push(ProviderProblem {
            place: format!("providers.{}.{member}", self.alias),
            problem: problem.into(),
        });
    }

    /// Takes a member of a type.
    fn take<T: DeserializeOwned>(&mut self, member: &str) -> Option<T> {
        let value = self.left.remove(member)?;
        value
            .try_into()
            .map_err(|error| self.add(member, error.message()))
            .ok()
    }

    /// Takes a text or a list of them.
    fn take_list(&mut self, member: &str) -> Option<Vec<String>> {
        match self.left.get(member) {
            Some(Value::String(_)) => self.take(member).map(|one| vec![one]),
            _ => self.take(member),
        }
    }

    fn take_flag(&mut self, member: &str) -> bool {
        self.take(member).unwrap_or(false)
    }

    /// Takes a span of time; `none` is no limit.
    fn take_span(&mut self, member: &str) -> Option<Option<Duration>> {
        let text: String = self.take(member)?;
        let span = span(&text);
        if span.is_none() {
            let problem = format!("{text:?} is no span such as `60s`, `10m`, `12h`, `30d`, `none`");
            self.add(member, problem);
        }
        span
    }

    fn issuer(&mut self, preset: Preset) -> Issuer {
        let mut url: Option<String> = self.take("issuer");
        if preset == Preset::HuggingFaceWhoami {
            let organizations = self.take_list("organizations").unwrap_or_default();
            return match url {
                Some(url) => Issuer::hugging_face_tokens_at(url, organizations),
                None => Issuer::hugging_face_tokens(organizations),
            };
        }
        let mut template: Option<String> = self.take("issuer_template");
        if url.is_none() && template.is_none() {
            url = only_issuer(preset).map(str::to_owned);
            template = (preset == Preset::Entra).then(|| ENTRA.to_owned());
        }
        let claim: Option<String> = self.take("issuer_template_claim");
        let tenants = self.take_list("tenants");
        let issuer = match (url, template) {
            (Some(url), None) => {
                if claim.is_some() {
                    self.add("issuer_template_claim", "it goes with `issuer_template`");
                }
                let issuer = Issuer::oidc(url);
                return match tenants {
                    Some(listed) if listed.is_empty() => {
                        self.add("tenants", "the list is empty, so nobody could call");
                        issuer
                    }
                    Some(listed) => issuer.tenants(listed),
                    None => issuer,
                };
            }
            (None, Some(template)) => template,
            (Some(_), Some(_)) => {
                self.add("issuer", "there is an `issuer_template` too; give one");
                String::new()
            }
            (None, None) => {
                self.add(
                    "issuer",
                    "it is missing: the `iss` of the tokens, byte for byte",
                );
                String::new()
            }
        };
        Issuer::tenants_of(
            issuer,
            claim.unwrap_or_else(|| "/tid".to_owned()),
            tenants.unwrap_or_default(),
        )
    }

    fn limits(&mut self, mut issuer: Issuer) -> Issuer {
        for audience in self.take_list("audience").unwrap_or_default() {
            issuer = issuer.audience(audience);
        }
        if self.take_flag("danger_any_audience") {
            issuer = issuer.danger_any_audience();
        }
        if let Some(parties) = self.take_list("authorized_parties") {
            issuer = issuer.authorized_parties(parties);
        }
        match self.take_span("clock_skew") {
            Some(Some(skew)) => issuer = issuer.clock_skew(skew),
            Some(None) => self.add("clock_skew", "it cannot be `none`"),
            None => {}
        }
        if let Some(age) = self.take_span("max_token_age") {
            issuer = issuer.max_token_age(age);
        }
        if let Some(lifetime) = self.take_span("max_token_lifetime") {
            issuer = issuer.max_token_lifetime(lifetime);
        }
        match self.take::<String>("profile").as_deref() {
            None => {}
            Some("rfc9068") => issuer = issuer.rfc9068(),
            Some(other) => self.add("profile", format!("{other:?} is not `rfc9068`")),
        }
        issuer
    }

    fn keys(&mut self, mut issuer: Issuer) -> Issuer {
        let (url, file) = (self.take("jwks_url"), self.take::<String>("jwks_file"));
        let text: Option<String> = self.take("jwks");
        if [url.is_some(), file.is_some(), text.is_some()]
            .into_iter()
            .filter(|given| *given)
            .count()
            > 1
        {
            self.add("jwks_url", "give one of `jwks_url`, `jwks_file` and `jwks`");
        }
        if let Some(url) = url {
            let url: String = url;
            issuer = issuer.jwks_url(url);
        }
        if let Some(text) = text {
            issuer = issuer.static_jwks(text);
        }
        if let Some(path) = file {
            match FileKeys::new(&path) {
                Ok(_) => issuer = issuer.jwks_file(path),
                Err(problem) => self.add("jwks_file", problem.to_string()),
            }
        }
        issuer
    }

    fn introspection(&mut self, issuer: Issuer) -> Issuer {
        let Some(asked) = self.take::<Asked>("introspection") else {
            return issuer;
        };
        let Asked {
            url,
            client_id,
            auth,
            prefixes,
            kept_for,
            kept_through_outage,
            ..
        } = &asked;
        let secret = match asked.secret() {
            Ok(secret) => secret,
            Err(problem) => {
                self.add("introspection", problem);
                return issuer;
            }
        };
        let mut introspection = match url {
            Some(url) => Introspection::at(url),
            None => Introspection::discovered(),
        };
        introspection = match auth {
            Auth::Basic => introspection.client_secret_basic(client_id, secret),
            Auth::Post => introspection.client_secret_post(client_id, secret),
        };
        for prefix in prefixes {
            introspection = introspection.prefix(prefix);
        }
        if let Some(time) = self.span_in("introspection.kept_for", kept_for.as_deref()) {
            introspection = introspection.kept_for(time);
        }
        let member = "introspection.kept_through_outage";
        if let Some(time) = self.span_in(member, kept_through_outage.as_deref()) {
            introspection = introspection.kept_through_outage(time);
        }
        issuer.introspection(introspection)
    }

    /// A span of time that must be one, if it is there.
    fn span_in(&mut self, member: &str, text: Option<&str>) -> Option<Duration> {
        let text = text?;
        let time = span(text).flatten();
        if time.is_none() {
            self.add(member, format!("{text:?} is no span such as `30s`"));
        }
        time
    }

    fn rest(&mut self, mut issuer: Issuer) -> Issuer {
        if self.take("delegation") == Some(false) {
            issuer = issuer.refuse_delegation();
        }
        if self.take_flag("ignore_self_act") {
            issuer = issuer.ignore_self_act();
        }
        if self.take_flag("require_binding") {
            issuer = issuer.require_binding();
        }
        if self.take_flag("danger_allow_unverified_binding") {
            issuer = issuer.allow_unverified_binding();
        }
        if self.take_flag("danger_allow_http_loopback") {
            issuer = issuer.danger_allow_http_loopback();
        }
        let left: Vec<String> = self.left.keys().cloned().collect();
        for member in left {
            self.add(&member, "there is no such member");
        }
        issuer
    }

    fn preset(&mut self) -> Preset {
        let preset: Option<String> = self.take("preset");
        match preset.map(|word| word.parse::<Preset>()) {
            Some(Ok(preset)) => preset,
            Some(Err(unknown)) => {
                self.add("preset", unknown.to_string());
                Preset::Oidc
            }
            None => Preset::Oidc,
        }
    }

    /// The members of the mapping, each on its own, so that every mistake is told.
    fn mapping(&mut self, issuer: Issuer) -> Issuer {
        let mut mapping = ClaimMapping::default();
        for member in ClaimMapping::MEMBERS.iter().copied() {
            let Some(value) = self.left.remove(member) else {
                continue;
            };
            let alone = Table::from_iter([(member.to_owned(), value)]);
            match alone.try_into::<ClaimMapping>() {
                Ok(one) => mapping = one.over(mapping),
                Err(error) => self.add(member, error.message()),
            }
        }
        issuer.mapping(mapping)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    url: Option<String>,
    client_id: String,
    client_secret: Option<String>,
    client_secret_env: Option<String>,
    client_secret_file: Option<String>,
    #[serde(default)]
    auth: Auth,
    #[serde(default)]
    prefixes: Vec<String>,
    kept_for: Option<String>,
    kept_through_outage: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Auth {
    #[default]
    Basic,
    Post,
}

impl Asked {
    fn secret(&self) -> Result<ClientSecret, String> {
        let named = (
            &self.client_secret,
            &self.client_secret_env,
            &self.client_secret_file,
        );
        let secret = match named {
            (Some(secret), None, None) => secret.clone(),
            (None, Some(name), None) => std::env::var(name)
                .map_err(|_| format!("the variable `{name}` is not set, or is no text"))?,
            (None, None, Some(path)) => return ClientSecret::file(path),
            _ => {
                return Err(
                    "give one of `client_secret`, `client_secret_env` and `client_secret_file`"
                        .to_owned(),
                );
            }
        };
        match secret.is_empty() {
            true => Err("the client's secret is empty".to_owned()),
            false => Ok(secret.into()),
        }
    }
}

/// The issuer of a provider that has only one.
const fn only_issuer(preset: Preset) -> Option<&'static str> {
    match preset {
        Preset::Google => Some(GOOGLE),
        Preset::GithubActions => Some(GITHUB_ACTIONS),
        Preset::HuggingFace => Some(HUGGING_FACE),
        _ => None,
    }
}

fn span(text: &str) -> Option<Option<Duration>> {
    if text == "none" {
        return Some(None);
    }
    let span: Span = text.parse().ok()?;
    let span = span.to_duration(SpanRelativeTo::days_are_24_hours()).ok()?;
    Duration::try_from(span).ok().map(Some)
}

/// Why a file of providers cannot be used: everything at once.
///
/// `Debug` is the same text as `Display`, since that is what `main` shows of an error.
#[derive(Clone, PartialEq, Eq)]
pub struct ProvidersError {
    problems: Vec<ProviderProblem>,
}

/// One thing that is wrong with a file of providers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ProviderProblem {
    /// Where: `providers.corp.audience`; empty for the file as a whole.
    pub place: String,
    /// What.
    pub problem: String,
}

impl ProvidersError {
    fn one(place: &str, problem: impl Into<String>) -> Self {
        Self {
            problems: vec![ProviderProblem {
                place: place.to_owned(),
                problem: problem.into(),
            }],
        }
    }

    /// The problems, provider by provider.
    #[must_use]
    pub fn problems(&self) -> &[ProviderProblem] {
        &self.problems
    }
}

impl fmt::Display for ProviderProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, problem } = self;
        match place.is_empty() {
            true => f.write_str(problem),
            false => write!(f, "`{place}`: {problem}"),
        }
    }
}

impl fmt::Display for ProvidersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the providers cannot be used")?;
        self.problems
            .iter()
            .try_for_each(|problem| write!(f, "; {problem}"))
    }
}

impl fmt::Debug for ProvidersError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ProvidersError {}
