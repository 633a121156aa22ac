//! An issuer as data: the one format of issuers in TOML.
//!
//! ```toml
//! [[issuer]]
//! name      = "corp"                   # the alias in principals and records
//! preset    = "keycloak"               # the mapping that the keys below are laid over
//! url       = "https://kc.acme.example/realms/ml"
//! audiences = ["spanner"]
//!
//! [[issuer]]
//! name      = "ours"
//! url       = "https://id.acme.example"
//! audiences = "models"
//! subject   = ["/employee_id"]         # a key of a claim mapping
//! kind      = [{ kind = "service", when = { prefix = ["/employee_id", "svc-"] } }]
//! ```
//!
//! [`IssuerConfig::KEYS`] has every key with its meaning; the proxy reads the same format.
//! The old spellings `[providers.corp]` for `[[issuer]]`, `issuer` for `url`, `audience` for
//! `audiences` and `algs` for `algorithms` are accepted with a hint.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use spanner_core::token::{ClaimMapping, Preset, RulesProblem};
use spanner_toml::{
    Key, Kind, Position, Problem, Problems, Source, Table, Toml, quoted, serde_words,
};

use super::issuer::{Issuer, IssuerProblem};
use super::providers::{ENTRA, GITHUB_ACTIONS, GOOGLE, HUGGING_FACE};
use super::{Bearer, BearerError};
use crate::keys::FileKeys;
use crate::opaque::{ClientSecret, Introspection};

/// The maximum size of a file of issuers, in bytes: thousands of issuers fit.
const MAX_BYTES: usize = 1 << 20;

/// The name of the text in problems of [`Issuer::from_toml`].
const NAME: &str = "issuers";

/// An issuer as configured by its table in a file, without the secrets and keys that the table
/// refers to.
///
/// Reading a table touches no other file and no variable of the environment;
/// [`IssuerConfig::issuer`] does.
#[derive(Clone)]
pub struct IssuerConfig {
    alias: String,
    preset: Preset,
    url: Option<String>,
    template: Option<String>,
    template_claim: Option<String>,
    tenants: Option<Vec<String>>,
    organizations: Vec<String>,
    audiences: Vec<String>,
    authorized_parties: Option<Vec<String>>,
    clock_skew: Option<Duration>,
    max_token_age: Option<Option<Duration>>,
    max_token_lifetime: Option<Option<Duration>>,
    rfc9068: bool,
    refuse_delegation: bool,
    flags: Flags,
    keys: Option<KeysConfig>,
    introspection: Option<IntrospectionConfig>,
    mapping: ClaimMapping,
    places: Places,
}

#[derive(Clone, Copy)]
struct Flags {
    ignore_self_act: bool,
    require_binding: bool,
    any_audience: bool,
    unverified_binding: bool,
    http_loopback: bool,
}

/// Where the keys are, if they are not discovered.
#[derive(Clone)]
enum KeysConfig {
    Url(String),
    File(PathBuf),
    Text(String),
}

#[derive(Clone)]
struct IntrospectionConfig {
    url: Option<String>,
    client_id: String,
    secret: SecretSource,
    auth: ClientAuth,
    prefixes: Vec<String>,
    kept_for: Option<Duration>,
    kept_through_outage: Option<Duration>,
}

/// Where a client's secret comes from.
#[derive(Clone)]
enum SecretSource {
    Text(String),
    Variable(String),
    File(PathBuf),
}

#[derive(Clone, Copy)]
enum ClientAuth {
    Basic,
    Post,
}

/// The positions of the table and its keys in the file.
#[derive(Clone)]
struct Places {
    file: String,
    table: Position,
    keys: BTreeMap<String, Position>,
}

impl Issuer {
    /// Reads the issuers of a text in TOML. See the [module](self).
    ///
    /// # Errors
    /// Every problem of the text, with its position in `issuers`. Problems of the issuers
    /// themselves (no audience, an issuer that is not a URL) are reported by
    /// [`BearerBuilder::build`](super::BearerBuilder::build).
    pub fn from_toml(text: &str) -> Result<Vec<Self>, Problems> {
        let mut problems = Problems::new("the issuers have");
        if text.len() > MAX_BYTES {
            let what = format!("it has {} bytes, at most {MAX_BYTES} are read", text.len());
            problems.file(NAME, what, "split it");
            return Err(problems);
        }
        let source = Source::new(NAME, text);
        let configs = match Toml::parse(source, &mut problems) {
            Some(toml) => IssuerConfig::read_all(&toml, &mut problems),
            None => Vec::new(),
        };
        let issuers: Vec<Self> = configs
            .iter()
            .filter_map(|config| config.issuer(&mut problems))
            .collect();
        for hint in problems.hints() {
            tracing::warn!("{hint}");
        }
        problems.none_or(issuers)
    }
}

impl IssuerConfig {
    fn read_all(toml: &Toml<'_>, problems: &mut Problems) -> Vec<Self> {
        let root = toml.table(["issuer", "providers"].as_slice(), problems);
        let base = Path::new("");
        let mut all: Vec<Self> = Vec::new();
        for table in root.tables("issuer", problems) {
            all.extend(Self::read(table, base, problems));
        }
        if let Some(providers) = root.table("providers", problems) {
            for (name, table) in providers.all_tables(problems) {
                let what = format!("`[providers.{}]` is the old spelling", name.value);
                let advice = format!("write `[[issuer]]` with `name = \"{}\"`", name.value);
                problems.hint(table.source(), name.at, what, advice);
                let table = table.with(Self::KEYS, problems);
                all.push(Self::of(name.value, table, base, problems));
            }
        }
        if all.is_empty() && problems.is_empty() {
            root.whole("there is no issuer", "add `[[issuer]]`", problems);
        }
        all
    }

    /// Reads the table of an issuer (`[[issuer]]`). Relative paths in it are relative to `base`.
    /// Returns `None` if the table has no name; values with other problems are left out.
    pub fn read(table: Table<'_>, base: &Path, problems: &mut Problems) -> Option<Self> {
        let table = table.with(Self::KEYS, problems);
        let what_for = "`name = \"corp\"`: the alias in principals and records";
        let name = table.required_text("name", what_for, problems)?;
        Some(Self::of(name.value, table, base, problems))
    }

    fn of(alias: &str, table: Table<'_>, base: &Path, problems: &mut Problems) -> Self {
        let word = table.text("preset", problems);
        let preset = word.and_then(|word| {
            let read = word.value.parse::<Preset>();
            let read = read.map_err(|unknown| {
                table.problem(
                    word.at,
                    format!("`preset`: {unknown}"),
                    "name another",
                    problems,
                );
            });
            read.ok()
        });
        let preset = preset.unwrap_or(Preset::Oidc);
        let (url, template) = identity(table, preset, problems);
        let tenants = list(table, "tenants", problems);
        if template.is_none() && tenants.as_ref().is_some_and(Vec::is_empty) {
            let what = "the list of `tenants` is empty, so nobody could call";
            table.problem(table.at_key("tenants"), what, "name one", problems);
        }
        let mut flag = |key| table.flag(key, problems).unwrap_or_default();
        let flags = Flags {
            ignore_self_act: flag("ignore_self_act"),
            require_binding: flag("require_binding"),
            any_audience: flag("danger_any_audience"),
            unverified_binding: flag("danger_allow_unverified_binding"),
            http_loopback: flag("danger_allow_http_loopback"),
        };
        let text = |key, problems: &mut Problems| {
            let text = table.text(key, problems)?;
            Some(text.value.to_owned())
        };
        let profile = table.choice("profile", &[("rfc9068", ())], problems);
        Self {
            alias: alias.to_owned(),
            preset,
            url,
            template,
            template_claim: text("issuer_template_claim", problems),
            tenants,
            organizations: list(table, "organizations", problems).unwrap_or_default(),
            audiences: list(table, "audiences", problems).unwrap_or_default(),
            authorized_parties: list(table, "authorized_parties", problems),
            clock_skew: table.duration("clock_skew", problems).map(|it| it.value),
            max_token_age: table.duration_or_none("max_token_age", problems),
            max_token_lifetime: table.duration_or_none("max_token_lifetime", problems),
            rfc9068: profile.is_some(),
            refuse_delegation: table.flag("delegation", problems) == Some(false),
            flags,
            keys: keys(table, base, problems),
            introspection: IntrospectionConfig::read(table, base, problems),
            mapping: mapping(table, problems),
            places: Places::of(table),
        }
    }

    /// The alias in principals and records.
    #[must_use]
    pub fn alias(&self) -> &str {
        &self.alias
    }

    /// Where the table is in its file.
    #[must_use]
    pub const fn position(&self) -> Position {
        self.places.table
    }

    /// The first audience.
    #[must_use]
    pub fn audience(&self) -> Option<&str> {
        self.audiences.first().map(String::as_str)
    }

    /// Whether its addresses may be `http` on the loopback interface.
    #[must_use]
    pub const fn allows_http_loopback(&self) -> bool {
        self.flags.http_loopback
    }

    /// Moves the issuer to another address on the loopback interface, without a preset: for a
    /// provider that is started together with the service.
    pub fn move_to_loopback(&mut self, url: &str) {
        self.preset = Preset::Oidc;
        self.url = Some(url.to_owned());
        (self.template, self.template_claim, self.tenants) = (None, None, None);
        self.keys = None;
        self.flags.http_loopback = true;
    }

    /// The issuer, with the secrets and files that its table refers to. `None` if there is a
    /// problem.
    pub fn issuer(&self, problems: &mut Problems) -> Option<Issuer> {
        let before = problems.all().len();
        if let Some(KeysConfig::File(path)) = &self.keys
            && let Err(problem) = FileKeys::new(path)
        {
            self.note("jwks_file", problem, problems);
        }
        let introspection = self.introspection.as_ref().map(|it| it.build());
        let introspection = introspection.transpose().unwrap_or_else(|problem| {
            self.note("introspection", problem, problems);
            None
        });
        (problems.all().len() == before).then(|| self.with(introspection))
    }

    /// The issuer, if it is usable on its own. Each problem is reported at the key that causes
    /// it.
    pub fn check(&self, problems: &mut Problems) -> Option<Issuer> {
        let reported: Vec<Position> = problems.all().iter().filter_map(|it| it.position).collect();
        let issuer = self.issuer(problems)?;
        match Bearer::builder().issuer(issuer).build() {
            Ok(_) => self.issuer(problems),
            Err(error) => {
                let mut found = Problems::default();
                self.note_all(&error, &mut found);
                for problem in found.all() {
                    // A value that could not be read is reported already; its consequences are
                    // not.
                    if problem.position.is_none_or(|it| !reported.contains(&it)) {
                        problems.push(problem.clone());
                    }
                }
                None
            }
        }
    }

    fn with(&self, introspection: Option<Introspection>) -> Issuer {
        let mut issuer = self.identity().alias(&self.alias).preset(self.preset);
        issuer = issuer.mapping(self.mapping.clone());
        for audience in &self.audiences {
            issuer = issuer.audience(audience);
        }
        if let Some(parties) = &self.authorized_parties {
            issuer = issuer.authorized_parties(parties);
        }
        if let Some(skew) = self.clock_skew {
            issuer = issuer.clock_skew(skew);
        }
        if let Some(age) = self.max_token_age {
            issuer = issuer.max_token_age(age);
        }
        if let Some(lifetime) = self.max_token_lifetime {
            issuer = issuer.max_token_lifetime(lifetime);
        }
        if self.rfc9068 {
            issuer = issuer.rfc9068();
        }
        issuer = match &self.keys {
            Some(KeysConfig::Url(url)) => issuer.jwks_url(url),
            Some(KeysConfig::File(path)) => issuer.jwks_file(path),
            Some(KeysConfig::Text(text)) => issuer.static_jwks(text),
            None => issuer,
        };
        if let Some(introspection) = introspection {
            issuer = issuer.introspection(introspection);
        }
        if self.refuse_delegation {
            issuer = issuer.refuse_delegation();
        }
        let Flags {
            ignore_self_act,
            require_binding,
            any_audience,
            unverified_binding,
            http_loopback,
        } = self.flags;
        for (is_set, set) in [
            (
                ignore_self_act,
                Issuer::ignore_self_act as fn(Issuer) -> Issuer,
            ),
            (require_binding, Issuer::require_binding),
            (any_audience, Issuer::danger_any_audience),
            (unverified_binding, Issuer::danger_allow_unverified_binding),
            (http_loopback, Issuer::danger_allow_http_loopback),
        ] {
            if is_set {
                issuer = set(issuer);
            }
        }
        issuer
    }

    fn identity(&self) -> Issuer {
        if self.preset == Preset::HuggingFaceWhoami {
            let organizations = self.organizations.clone();
            return match &self.url {
                Some(url) => Issuer::hugging_face_tokens_at(url, organizations),
                None => Issuer::hugging_face_tokens(organizations),
            };
        }
        let tenants = self.tenants.clone();
        match (&self.template, tenants) {
            (Some(template), tenants) => {
                let claim = self.template_claim.as_deref().unwrap_or("/tid");
                Issuer::tenants_of(template, claim, tenants.unwrap_or_default())
            }
            (None, Some(tenants)) if !tenants.is_empty() => {
                Issuer::oidc(self.url.clone().unwrap_or_default()).tenants(tenants)
            }
            (None, _) => Issuer::oidc(self.url.clone().unwrap_or_default()),
        }
    }

    /// Reports the problems of an issuer at the keys that cause them.
    fn note_all(&self, error: &BearerError, problems: &mut Problems) {
        for problem in error.problems() {
            match problem {
                IssuerProblem::Rules(rules) | IssuerProblem::Together(rules) => {
                    for problem in rules.problems() {
                        match problem {
                            RulesProblem::Mapping {
                                member, problem, ..
                            } => self.note(member, problem, problems),
                            other => self.note(rules_key(other), other, problems),
                        }
                    }
                }
                IssuerProblem::Alias { .. } => self.note("name", problem, problems),
                IssuerProblem::Address { error, .. } => {
                    self.note(self.address_key(&error.to_string()), problem, problems);
                }
                IssuerProblem::Keys { .. } | IssuerProblem::KeysFile { .. } => {
                    self.note("jwks_file", problem, problems);
                }
                IssuerProblem::NoOrganization { .. } => {
                    self.note("organizations", problem, problems);
                }
                IssuerProblem::NoTenant { .. } | IssuerProblem::Tenant { .. } => {
                    self.note("tenants", problem, problems);
                }
                IssuerProblem::Template { .. } => self.note("issuer_template", problem, problems),
                IssuerProblem::NoClient { .. } | IssuerProblem::Prefix { .. } => {
                    self.note("introspection", problem, problems);
                }
                IssuerProblem::NoBundle { .. } | IssuerProblem::Origin { .. } => {
                    self.note("url", problem, problems);
                }
            }
        }
    }

    /// The key whose address a problem names.
    fn address_key(&self, problem: &str) -> &'static str {
        let names = |url: &str| problem.contains(&format!("`{url}`"));
        let asked = self.introspection.as_ref().and_then(|it| it.url.as_deref());
        match &self.keys {
            Some(KeysConfig::Url(url)) if names(url) => "jwks_url",
            _ if asked.is_some_and(names) => "introspection",
            _ => "url",
        }
    }

    /// Reports a problem at a key, or at the table if the key is absent.
    fn note(&self, key: &str, what: impl fmt::Display, problems: &mut Problems) {
        let key = match key {
            "algs" => "algorithms",
            key => key,
        };
        let (what, _) = serde_words(&what.to_string());
        // The problem may begin with the issuer's address or alias.
        let what = match what.strip_prefix("issuer `") {
            Some(rest) => rest.split_once("`: ").map_or(rest, |(_, rest)| rest),
            None => &what,
        };
        let Places { file, table, keys } = &self.places;
        let alias = quoted(&self.alias);
        let (position, what) = match keys.get(key) {
            Some(position) => (position, format!("issuer {alias}, `{key}`: {what}")),
            None => (table, format!("issuer {alias}: {what}")),
        };
        problems.push(Problem::new(file, Some(*position), what, "correct it"));
    }
}

impl Places {
    fn of(table: Table<'_>) -> Self {
        let source = table.source();
        let keys = IssuerConfig::KEYS.iter().map(|key| key.name);
        let keys = keys.filter(|key| table.has(key)).map(|key| {
            let position = source.position(table.at_key(key));
            (key.to_owned(), position)
        });
        Self {
            file: source.name.to_owned(),
            table: source.position(table.at()),
            keys: keys.collect(),
        }
    }
}

impl IntrospectionConfig {
    fn read(table: Table<'_>, base: &Path, problems: &mut Problems) -> Option<Self> {
        let table = table.section("introspection", INTROSPECTION_KEYS, problems)?;
        let text = |key, problems: &mut Problems| {
            let text = table.text(key, problems)?;
            Some(text.value.to_owned())
        };
        let client_id = table.required_text("client_id", "`client_id = \"guard\"`", problems);
        let secrets = [
            text("client_secret", problems).map(SecretSource::Text),
            text("client_secret_env", problems).map(SecretSource::Variable),
            text("client_secret_file", problems).map(|path| SecretSource::File(base.join(path))),
        ];
        let mut secrets = secrets.into_iter().flatten();
        let secret = match (secrets.next(), secrets.next()) {
            (Some(secret), None) => Some(secret),
            _ => {
                table.whole(
                    "the secret of the client comes from one place",
                    "give one of `client_secret`, `client_secret_env` and `client_secret_file`",
                    problems,
                );
                None
            }
        };
        let auths = [("basic", ClientAuth::Basic), ("post", ClientAuth::Post)];
        let auth = table.choice("auth", &auths, problems);
        let prefixes = list(table, "prefixes", problems).unwrap_or_default();
        Some(Self {
            url: text("url", problems),
            kept_for: table.duration("kept_for", problems).map(|it| it.value),
            kept_through_outage: table
                .duration("kept_through_outage", problems)
                .map(|it| it.value),
            client_id: client_id?.value.to_owned(),
            secret: secret?,
            auth: auth.unwrap_or(ClientAuth::Basic),
            prefixes,
        })
    }

    fn build(&self) -> Result<Introspection, String> {
        let secret = self.secret.resolve()?;
        let mut introspection = match &self.url {
            Some(url) => Introspection::at(url),
            None => Introspection::discovered(),
        };
        introspection = match self.auth {
            ClientAuth::Basic => introspection.client_secret_basic(&self.client_id, secret),
            ClientAuth::Post => introspection.client_secret_post(&self.client_id, secret),
        };
        for prefix in &self.prefixes {
            introspection = introspection.prefix(prefix);
        }
        if let Some(time) = self.kept_for {
            introspection = introspection.kept_for(time);
        }
        if let Some(time) = self.kept_through_outage {
            introspection = introspection.kept_through_outage(time);
        }
        Ok(introspection)
    }
}

impl SecretSource {
    fn resolve(&self) -> Result<ClientSecret, String> {
        let secret = match self {
            Self::Text(secret) => secret.clone(),
            Self::Variable(name) => std::env::var(name)
                .map_err(|_| format!("the variable `{name}` is not set, or is no text"))?,
            Self::File(path) => return ClientSecret::file(path),
        };
        match secret.is_empty() {
            true => Err("the client's secret is empty".to_owned()),
            false => Ok(secret.into()),
        }
    }
}

/// The `iss` of the tokens, or its template.
fn identity(
    table: Table<'_>,
    preset: Preset,
    problems: &mut Problems,
) -> (Option<String>, Option<String>) {
    let url = table.text("url", problems);
    let template = table.text("issuer_template", problems);
    if url.is_some() && template.is_some() {
        let what = "there are both `url` and `issuer_template`";
        table.problem(table.at_key("url"), what, "remove one of the two", problems);
    }
    if template.is_none() && url.is_some() && table.has("issuer_template_claim") {
        let what = "`issuer_template_claim` goes with `issuer_template`";
        let at = table.at_key("issuer_template_claim");
        table.problem(at, what, "remove it, or give the template", problems);
    }
    let mut url = url.map(|it| it.value.to_owned());
    let mut template = template.map(|it| it.value.to_owned());
    if url.is_none() && template.is_none() {
        url = only_issuer(preset).map(str::to_owned);
        template = (preset == Preset::Entra).then(|| ENTRA.to_owned());
        let known = url.is_some() || template.is_some() || preset == Preset::HuggingFaceWhoami;
        if !known && !table.has("url") && !table.has("issuer_template") {
            let what_for =
                "the `iss` of the tokens, byte for byte: `url = \"https://id.example.com\"`";
            table.require("url", what_for, problems);
        }
    }
    (url, template)
}

fn keys(table: Table<'_>, base: &Path, problems: &mut Problems) -> Option<KeysConfig> {
    let url = table.text("jwks_url", problems);
    let file = table.text("jwks_file", problems);
    let text = table.text("jwks", problems);
    let given = [
        url.map(|it| (it.at, KeysConfig::Url(it.value.to_owned()))),
        file.map(|it| (it.at, KeysConfig::File(base.join(it.value)))),
        text.map(|it| (it.at, KeysConfig::Text(it.value.to_owned()))),
    ];
    let mut given = given.into_iter().flatten();
    let first = given.next();
    if let Some((at, _)) = given.next() {
        let what = "the keys come from one place";
        let advice = "give one of `jwks_url`, `jwks_file` and `jwks`";
        table.problem(at, what, advice, problems);
    }
    first.map(|(_, keys)| keys)
}

/// Reads the claim mapping key by key, so that every mistake is reported.
fn mapping(table: Table<'_>, problems: &mut Problems) -> ClaimMapping {
    let mut mapping = ClaimMapping::default();
    for member in ClaimMapping::MEMBERS.iter().copied() {
        let key = match member {
            "algs" => "algorithms",
            member => member,
        };
        if let Some(one) = table.read_as::<ClaimMapping>(key, member, problems) {
            mapping = one.over(mapping);
        }
    }
    mapping
}

fn list(table: Table<'_>, key: &str, problems: &mut Problems) -> Option<Vec<String>> {
    let texts = table.one_or_more(key, problems).into_iter();
    let texts = texts.map(|text| text.value.to_owned()).collect();
    table.has(key).then_some(texts)
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

/// The key that a problem of an issuer's rules is about.
const fn rules_key(problem: &RulesProblem) -> &'static str {
    match problem {
        RulesProblem::Issuer { .. } => "url",
        RulesProblem::NoAudience { .. }
        | RulesProblem::EmptyAudience { .. }
        | RulesProblem::AnyAudience { .. } => "audiences",
        RulesProblem::ClockSkew { .. } => "clock_skew",
        _ => "",
    }
}

impl fmt::Debug for IssuerConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may hold a secret.
        f.debug_struct("IssuerConfig")
            .field("alias", &self.alias)
            .finish_non_exhaustive()
    }
}

impl IssuerConfig {
    /// Every key of an issuer's table.
    pub const KEYS: &'static [Key] = &[
        Key::new("name", Kind::Text("name"), "The alias of the issuer: principals (`user:corp/alice`) and records carry it. Grants name principals by it, so changing it makes them others.").required(),
        Key::new("url", Kind::Text("URL"), "The `iss` of its tokens, byte for byte. Keys are found by OpenID Connect Discovery below it. May be left out with the presets `entra`, `google`, `github_actions` and `hugging_face`, and with `issuer_template`.").old("issuer"),
        Key::new("audiences", Kind::Texts("audience"), "The audiences (`aud`) of which a token must have one. Required, except with `danger_any_audience`.").old("audience"),
        Key::new("preset", Kind::Text("preset"), "The claim mapping of a known provider, which the mapping keys below are laid over. See [Identity](identity.md).").default("\"oidc\""),
        Key::new("issuer_template", Kind::Text("URL"), "The `iss` of a provider with an issuer per tenant, with one place in braces: `https://login.example.com/{tid}/v2.0`. Instead of `url`."),
        Key::new("issuer_template_claim", Kind::Text("JSON pointer"), "The claim that must agree with the tenant of the template. Default: `/tid`."),
        Key::new("tenants", Kind::Texts("tenant"), "The tenants whose tokens are accepted. Required with a template and with presets of providers that everybody can get tokens from."),
        Key::new("organizations", Kind::Texts("organization"), "With the preset `hugging_face_whoami`: the organizations whose members are accepted."),
        Key::new("algorithms", Kind::Other("list of algorithms"), "The signature algorithms that are accepted. Default: those of the preset.").old("algs"),
        Key::new("authorized_parties", Kind::Texts("client"), "The clients (`azp`) that tokens may be issued to. Default: any."),
        Key::new("jwks_url", Kind::Text("URL"), "The address of the keys, without discovery."),
        Key::new("jwks_file", Kind::Text("path"), "A file with the keys (a JWK Set). It is read again on change and on SIGHUP."),
        Key::new("jwks", Kind::Text("JSON"), "The keys themselves (a JWK Set)."),
        Key::new("clock_skew", Kind::Duration, "How far the issuer's clock may be off.").default("\"60s\""),
        Key::new("max_token_age", Kind::DurationOrNone, "How old a token (`iat`) may be; `none` for any age.").default("\"30d\""),
        Key::new("max_token_lifetime", Kind::DurationOrNone, "How long a token may be valid (`exp` - `iat`); `none` for any time.").default("\"none\""),
        Key::new("profile", Kind::Choice(&["rfc9068"]), "Requires the JWT profile for access tokens (RFC 9068)."),
        Key::new("introspection", Kind::Table(INTROSPECTION_KEYS), "Asks the issuer about opaque tokens (RFC 7662). Signed tokens are verified as before."),
        Key::new("delegation", Kind::Flag, "`false` refuses tokens with an actor.").default("true"),
        Key::new("ignore_self_act", Kind::Flag, "Ignores an actor that is the subject itself.").default("false"),
        Key::new("require_binding", Kind::Flag, "Requires that each token is bound to a key of its sender (DPoP, mTLS).").default("false"),
        Key::new("danger_any_audience", Kind::Flag, "Accepts tokens for any audience, also those that were made for other services.").default("false"),
        Key::new("danger_allow_unverified_binding", Kind::Flag, "Accepts bound tokens without a proof.").default("false"),
        Key::new("danger_allow_http_loopback", Kind::Flag, "Accepts `http` addresses on the loopback interface. A process that can listen on that port can sign as anybody.").default("false"),
        Key::new("typ", MAPPING, "Mapping: the accepted `typ` headers; `\"\"` is a header without one."),
        Key::new("key_use", MAPPING, "Mapping: the `use` of keys, `sig` or `jwt-svid`."),
        Key::new("header_only", MAPPING, "Mapping: the only header parameters that a token may have."),
        Key::new("id_tokens", MAPPING, "Mapping: `true` where the provider has no other JWTs than ID tokens."),
        Key::new("issuer_regex", MAPPING, "Mapping: `[pointer, expression]`, what names the issuer where `iss` does not."),
        Key::new("audience_from", MAPPING, "Mapping: the pointer to the audience, if it is not in `aud`."),
        Key::new("reject", MAPPING, "Mapping: conditions that refuse a token."),
        Key::new("require", MAPPING, "Mapping: pointers that must find something."),
        Key::new("subject", MAPPING, "Mapping: pointers, of which the first that finds something is the subject."),
        Key::new("subject_template", MAPPING, "Mapping: the subject as a text with pointers in braces."),
        Key::new("subject_fallback", MAPPING, "Mapping: `{ template, when }`, for tokens without any of these."),
        Key::new("client", MAPPING, "Mapping: pointers to the OAuth client."),
        Key::new("tenant", MAPPING, "Mapping: pointers to the tenant."),
        Key::new("tenant_regex", MAPPING, "Mapping: `[pointer, expression]` for the tenant."),
        Key::new("kind", MAPPING, "Mapping: `{ kind, when }` rules, of which the first that holds says the caller's kind."),
        Key::new("default_kind", MAPPING, "Mapping: the kind where no rule holds."),
        Key::new("groups", MAPPING, "Mapping: where the groups are: names of claims, paths of names (`[[\"realm_access\", \"roles\"]]`), or selectors."),
        Key::new("roles", MAPPING, "Mapping: where the roles are, as for `groups`."),
        Key::new("scopes", MAPPING, "Mapping: where the scopes are, as for `groups`."),
        Key::new("actor", MAPPING, "Mapping: `{ at, subject, kind, default_kind, max_depth }`, the party that acts for the subject."),
        Key::new("actor_from_client", MAPPING, "Mapping: `{ when, kind }`, when the client is the acting party."),
        Key::new("incomplete_groups", MAPPING, "Mapping: conditions for a token that does not list all groups."),
        Key::new("group_overage", MAPPING, "Mapping: whether such a token is to be flagged (`flag`) or refused (`refuse`)."),
    ];
}

/// A key of a claim mapping.
const MAPPING: Kind = Kind::Other("claim mapping");

const INTROSPECTION_KEYS: &[Key] = &[
    Key::new(
        "url",
        Kind::Text("URL"),
        "The introspection endpoint. Default: discovered.",
    ),
    Key::new("client_id", Kind::Text("name"), "The client that asks.").required(),
    Key::new(
        "client_secret",
        Kind::Text("secret"),
        "Its secret. One of the three is needed.",
    ),
    Key::new(
        "client_secret_env",
        Kind::Text("variable"),
        "The variable with its secret, read at start.",
    ),
    Key::new(
        "client_secret_file",
        Kind::Text("path"),
        "The file with its secret, read again on change and on SIGHUP.",
    ),
    Key::new(
        "auth",
        Kind::Choice(&["basic", "post"]),
        "How the client authenticates.",
    )
    .default("\"basic\""),
    Key::new(
        "prefixes",
        Kind::Texts("prefix"),
        "The prefixes of opaque tokens of this issuer. Default: any that is no other issuer's.",
    ),
    Key::new(
        "kept_for",
        Kind::Duration,
        "How long an answer counts, at most 5 minutes.",
    )
    .default("\"30s\""),
    Key::new(
        "kept_through_outage",
        Kind::Duration,
        "How much longer a good answer counts while the issuer cannot be asked. Default: 60 s while it asks for patience, none while it is down.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_key_of_a_mapping_is_described() {
        for member in ClaimMapping::MEMBERS {
            let is_described = |key: &Key| key.name == *member || key.old == Some(member);
            assert!(IssuerConfig::KEYS.iter().any(is_described), "{member}");
        }
    }
}
