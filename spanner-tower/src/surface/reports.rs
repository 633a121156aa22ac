//! Where the responses of APIs report usage and failures: `surfaces/reports.toml`, compiled.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use http::{HeaderMap, HeaderName};
use serde::Deserialize;
use spanner_core::Usage;

use super::Dialect;
use super::location::{FieldPath, JsonPath, LocationText, Want};

/// One API's table: where its responses report what.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct ApiFile {
    /// Its failures count for a surface of this dialect that names no API; `*` for any.
    dialect: Option<String>,
    served: Vec<String>,
    tokens_in: Vec<String>,
    tokens_out: Vec<String>,
    tokens_total: Vec<String>,
    tokens_cached: Vec<String>,
    tokens_cache_written: Vec<String>,
    tokens_reasoning: Vec<String>,
    tokens_tools: Vec<String>,
    search_units: Vec<String>,
    failed: Vec<String>,
    stream_failed: Vec<String>,
    error_type: Vec<String>,
}

/// What a row is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Topic {
    /// What was used.
    Used(Measure),
    /// Which model answered.
    Served,
    /// That it failed.
    Failed {
        /// Whether only a message of a stream can say so.
        stream: bool,
    },
    /// What the failure is called, where there is one.
    ErrorType,
}

/// A member of [`Usage`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Measure {
    Input,
    Output,
    Total,
    Cached,
    CacheWritten,
    Reasoning,
    Tools,
    SearchUnits,
}

/// Where a row looks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Source {
    /// A place of a JSON document, and the text that must stand there, if any will not do.
    Json(usize, Option<String>),
    /// A field of a protobuf message.
    Field(FieldPath),
    /// A header of the answer.
    Header(HeaderName),
    /// The name of an event (`text/event-stream`).
    Event(String),
}

/// What the responses of a route report.
#[derive(Debug, Default)]
pub(crate) struct Reports {
    rows: Vec<(Topic, Source)>,
    places: Arc<[JsonPath]>,
    reads_fields: bool,
}

/// A text in a table is not a place, or an API has no table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Unknown;

impl Reports {
    /// Those of these APIs.
    pub(super) fn of(names: &[&str], own: Option<&ApiFile>) -> Result<Self, Unknown> {
        let known = names.iter().map(|name| TABLE.get(*name).ok_or(Unknown));
        let mut apis = known.collect::<Result<Vec<_>, _>>()?;
        apis.extend(own);
        Self::compiled(&apis, |_, _| true)
    }

    /// Those of an API of this dialect: what was used wherever one says it, and failures
    /// where the dialect's own API does.
    pub(crate) fn of_dialect(dialect: Dialect) -> Self {
        let mut apis: Vec<&ApiFile> = TABLE.values().collect();
        // What is added to other APIs' answers comes after what those say themselves.
        apis.sort_by_key(|api| api.dialect.is_none());
        let counts = |api: &ApiFile, source: &str| {
            let due = [Some("*"), Some(dialect.as_str())];
            !source.starts_with("pb:") && due.contains(&api.dialect.as_deref())
        };
        Self::compiled(&apis, counts).unwrap_or_default()
    }

    /// `fails` says of which APIs, and places, failures count.
    fn compiled(
        apis: &[&ApiFile],
        fails: impl Fn(&ApiFile, &str) -> bool,
    ) -> Result<Self, Unknown> {
        let mut reports = Self::default();
        let mut places = Vec::new();
        for api in apis {
            for (topic, texts) in api.rows() {
                let used = matches!(topic, Topic::Used(_) | Topic::Served);
                for text in texts {
                    let counts = match used {
                        // A field's number means nothing without its API.
                        true => !text.starts_with("pb:") || fails(api, text),
                        false => fails(api, text),
                    };
                    let row = (topic, source(text, &mut places)?);
                    if counts && !reports.rows.contains(&row) {
                        reports.reads_fields |= matches!(row.1, Source::Field(_));
                        reports.rows.push(row);
                    }
                }
            }
        }
        reports.places = places.into();
        Ok(reports)
    }

    /// What to look for. Of each topic, the first row that is present counts.
    pub(crate) fn rows(&self) -> &[(Topic, Source)] {
        &self.rows
    }

    /// The places of JSON documents that rows look at.
    pub(crate) fn places(&self) -> Arc<[JsonPath]> {
        Arc::clone(&self.places)
    }

    /// Whether protobuf messages report anything.
    pub(crate) const fn reads_fields(&self) -> bool {
        self.reads_fields
    }

    /// What the answer's head reports already.
    pub(crate) fn of_head(&self, headers: &HeaderMap) -> Usage {
        let mut usage = Usage::default();
        for (topic, source) in &self.rows {
            if let (Topic::Used(measure), Source::Header(name)) = (topic, source) {
                let text = headers.get(name).and_then(|value| value.to_str().ok());
                let slot = measure.of(&mut usage);
                *slot = slot.or_else(|| text?.trim().parse().ok());
            }
        }
        usage
    }
}

impl Measure {
    /// Its member.
    pub(crate) const fn of(self, usage: &mut Usage) -> &mut Option<u64> {
        match self {
            Self::Input => &mut usage.input,
            Self::Output => &mut usage.output,
            Self::Total => &mut usage.total,
            Self::Cached => &mut usage.cached,
            Self::CacheWritten => &mut usage.cache_written,
            Self::Reasoning => &mut usage.reasoning,
            Self::Tools => &mut usage.tools,
            Self::SearchUnits => &mut usage.search_units,
        }
    }
}

impl ApiFile {
    fn rows(&self) -> [(Topic, &[String]); 12] {
        let used = Topic::Used;
        [
            (used(Measure::Input), &self.tokens_in),
            (used(Measure::Output), &self.tokens_out),
            (used(Measure::Total), &self.tokens_total),
            (used(Measure::Cached), &self.tokens_cached),
            (used(Measure::CacheWritten), &self.tokens_cache_written),
            (used(Measure::Reasoning), &self.tokens_reasoning),
            (used(Measure::Tools), &self.tokens_tools),
            (used(Measure::SearchUnits), &self.search_units),
            (Topic::Served, &self.served),
            (Topic::Failed { stream: false }, &self.failed),
            (Topic::Failed { stream: true }, &self.stream_failed),
            (Topic::ErrorType, &self.error_type),
        ]
    }
}

/// Reads `/pointer`, `/pointer=text`, `pb:1.2`, `header:name` or `event:name`.
fn source(text: &str, places: &mut Vec<JsonPath>) -> Result<Source, Unknown> {
    if text.starts_with('/') {
        let (pointer, due) = match text.split_once('=') {
            Some((pointer, due)) => (pointer, Some(due.to_owned())),
            None => (text, None),
        };
        let steps = super::location::steps(pointer).map_err(|_| Unknown)?;
        let want = Want::Value;
        let place = JsonPath { steps, want };
        let index = places.iter().position(|known| *known == place);
        let index = index.unwrap_or_else(|| {
            places.push(place);
            places.len() - 1
        });
        return Ok(Source::Json(index, due));
    }
    match text.split_once(':') {
        Some(("header", name)) => name.parse().map(Source::Header).map_err(|_| Unknown),
        Some(("event", name)) if !name.is_empty() => Ok(Source::Event(name.to_owned())),
        Some(("pb", _)) => match LocationText::parse(text) {
            Ok(LocationText::Field(steps)) => Ok(Source::Field(FieldPath {
                steps,
                number: true,
            })),
            _ => Err(Unknown),
        },
        _ => Err(Unknown),
    }
}

/// The APIs of `surfaces/reports.toml`. A test reads the file; what cannot be read reports
/// nothing.
static TABLE: LazyLock<BTreeMap<String, ApiFile>> =
    LazyLock::new(|| toml::from_str(TEXT).unwrap_or_default());

const TEXT: &str = include_str!("../../surfaces/reports.toml");

/// All names, for an error.
pub(super) fn all() -> String {
    let names = TABLE.keys().map(|name| format!("`{name}`"));
    names.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_can_be_read_and_belongs_to_a_dialect_or_a_surface() {
        let table: BTreeMap<String, ApiFile> = toml::from_str(TEXT).unwrap();
        for (name, api) in &table {
            let reports = Reports::of(&[name], None).unwrap();
            let rows: usize = api.rows().iter().map(|(_, texts)| texts.len()).sum();
            assert_eq!(reports.rows().len(), rows, "{name} says something twice");
            if let Some(dialect) = api.dialect.as_ref().filter(|it| *it != "*") {
                assert!(Dialect::named(dialect).is_some(), "{name}: {dialect}");
            }
        }
    }

    #[test]
    fn a_surface_without_apis_reads_usage_everywhere_and_failures_of_its_dialect() {
        let fails = |dialect, text: &str| {
            let reports = Reports::of_dialect(dialect);
            let place = |source: &Source| match source {
                Source::Event(name) => format!("event:{name}") == text,
                _ => false,
            };
            let rows = reports.rows().iter();
            rows.filter(|(topic, _)| matches!(topic, Topic::Failed { .. }))
                .any(|(_, source)| place(source))
        };
        assert!(fails(Dialect::OpenAi, "event:response.failed"));
        assert!(!fails(Dialect::Anthropic, "event:response.failed"));
        assert!(!fails(Dialect::Problem, "event:response.failed"));
        let everywhere = Reports::of_dialect(Dialect::Problem);
        assert!(everywhere.rows().len() > 60 && !everywhere.reads_fields());
    }
}
