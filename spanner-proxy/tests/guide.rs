//! The guide is true: every file that it shows is read by what reads it in service, and every link
//! within it leads somewhere.
#![expect(clippy::unwrap_used, reason = "tests fail loudly")]

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use spanner_cedar::Cedar;
use spanner_core::token::Preset;
use spanner_proxy::METRICS;
use spanner_proxy::config::Config;
use spanner_ship::Format;
use spanner_tower::surface::Surface;
use spanner_tower::{Bearer, Issuer};

/// What stands around a part of an access directory.
const ORGANIZATION: &str = r#"
environments = ["staging", "production"]
groups = ["nlp", "qa", "support", "ml-governance"]
issuers = ["corp"]
"#;
const MANIFEST: &str = r#"
model = "acme/sentiment"
owner = "group:nlp"
[grants.production]
caller = ["group:support"]
"#;
/// What stands around a part of a configuration.
const CONFIGURATION: &str = r#"
[[issuer]]
name = "corp"
url = "https://id.example.com"
audiences = ["models"]
[[upstream]]
surface = "openai"
url = "http://127.0.0.1:9000"
environment = "production"
"#;

/// A fenced block of a page.
struct Block {
    page: PathBuf,
    line: usize,
    language: String,
    text: String,
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/src");
    let mut folders = vec![root];
    let mut pages = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => folders.push(path),
                false if path.extension().is_some_and(|it| it == "md") => pages.push(path),
                false => {}
            }
        }
    }
    pages
}

fn blocks() -> Vec<Block> {
    let mut blocks = Vec::new();
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        let mut open: Option<Block> = None;
        for (index, line) in text.lines().enumerate() {
            match (open.take(), line.strip_prefix("```")) {
                (None, Some(language)) => {
                    open = Some(Block {
                        page: page.clone(),
                        line: index + 1,
                        language: language.to_owned(),
                        text: String::new(),
                    });
                }
                (Some(block), Some(_)) => blocks.push(block),
                (Some(mut block), None) => {
                    block.text.push_str(line);
                    block.text.push('\n');
                    open = Some(block);
                }
                (None, None) => {}
            }
        }
        assert!(open.is_none(), "{}: a block is not closed", page.display());
    }
    blocks
}

/// Reads an access directory with this file in it, and runs its cases.
fn access(name: &str, text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    write("organization.toml", ORGANIZATION);
    write("models/acme/sentiment.toml", MANIFEST);
    match name {
        "organization.toml" if !text.contains("environments") => {
            write(name, &format!("{ORGANIZATION}{text}"));
        }
        _ => write(name, text),
    }
    let access = Cedar::from_dir(folder.path()).map_err(|error| error.to_string())?;
    if name.starts_with("cases/") {
        let report = access.test_cases().map_err(|error| error.to_string())?;
        assert!(report.is_good(), "{report:?}");
    }
    Ok(())
}

/// Reads a configuration of which this is a part, or the whole.
fn configuration(text: &str) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("spanner.toml");
    let whole = match text.contains("[[upstream]]") {
        true => text.to_owned(),
        false => format!("{text}{CONFIGURATION}"),
    };
    // No secret is at hand here: each is a file instead.
    let secret = folder.path().join("secret");
    fs::write(&secret, "secret").unwrap();
    let mut written = String::new();
    for line in whole.lines() {
        let line = match line.split_once("{ env = ") {
            Some((before, _)) => format!("{before}{{ file = {secret:?} }}"),
            None => line.to_owned(),
        };
        written.push_str(&line);
        written.push('\n');
    }
    fs::write(&file, written).unwrap();
    let (_, problems) = Config::read(&file);
    match problems.is_empty() {
        true => Ok(()),
        false => Err(problems.to_string()),
    }
}

fn issuers(text: &str) -> Result<(), String> {
    let issuers = Issuer::from_toml(text).map_err(|error| error.to_string())?;
    let mut bearer = Bearer::builder();
    for issuer in issuers {
        bearer = bearer.issuer(issuer);
    }
    bearer
        .build()
        .map(|_| ())
        .map_err(|error| error.to_string())
}

#[tokio::test]
async fn every_file_of_the_guide_is_read_without_a_problem() {
    let mut read = 0;
    for block in blocks() {
        let text = block.text.as_str();
        let result = match block.language.as_str() {
            "toml,issuers" => issuers(text),
            "toml,organization" => access("organization.toml", text),
            "toml,manifest" => access("models/acme/sentiment.toml", text),
            "toml,cases" => access("cases/guide.toml", text),
            "cedar,policy" => access("policies/guide.cedar", text),
            "toml,proxy" => configuration(text),
            "toml,surface" => Surface::from_toml("guide", text)
                .map(|_| ())
                .map_err(|error| error.to_string()),
            language => {
                let unread = [
                    "",
                    "text",
                    "sh",
                    "python",
                    "yaml",
                    "ini",
                    "dockerfile",
                    "toml,cargo",
                ];
                let rust = language.starts_with("rust");
                assert!(
                    rust || unread.contains(&language),
                    "{}:{}: `{language}` is read by nothing",
                    block.page.display(),
                    block.line
                );
                continue;
            }
        };
        let place = format!("{}:{}", block.page.display(), block.line);
        assert_eq!(result, Ok(()), "{place}:\n{text}");
        read += 1;
    }
    assert!(read > 20, "{read} files were read");
}

/// The places to which a page links within the guide, with the heading.
fn links(text: &str) -> Vec<(String, Option<String>)> {
    let targets = text.split("](").skip(1);
    let targets = targets.filter_map(|rest| rest.split(')').next());
    let within = targets.filter(|target| !target.contains("://"));
    within
        .map(|target| match target.split_once('#') {
            Some((page, heading)) => (page.to_owned(), Some(heading.to_owned())),
            None => (target.to_owned(), None),
        })
        .collect()
}

/// How mdBook writes the anchor of a heading.
fn anchors(text: &str) -> Vec<String> {
    let headings = text
        .lines()
        .filter_map(|line| line.trim_start_matches('#').strip_prefix(' '));
    let anchor = |heading: &str| {
        let kept = heading.to_lowercase();
        let kept = kept
            .chars()
            .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
        kept.collect::<String>().trim().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

#[test]
fn every_link_of_the_guide_leads_to_a_page_and_a_heading() {
    let mut followed = 0;
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for (target, heading) in links(&text) {
            let to = match target.is_empty() {
                true => page.clone(),
                false => page.parent().unwrap().join(&target),
            };
            let there = fs::read_to_string(&to);
            assert!(there.is_ok(), "{}: no page `{target}`", page.display());
            if let Some(heading) = heading {
                let known = anchors(&there.unwrap());
                assert!(
                    known.contains(&heading),
                    "{}: `{target}` has no heading `{heading}`: {known:?}",
                    page.display()
                );
            }
            followed += 1;
        }
    }
    assert!(followed > 20, "{followed} links were followed");
}

#[test]
fn every_page_is_in_the_summary() {
    let all = pages();
    let summary = all
        .iter()
        .find(|page| page.ends_with("SUMMARY.md"))
        .unwrap();
    let text = fs::read_to_string(summary).unwrap();
    let folder = summary.parent().unwrap();
    for page in &all {
        let name = page.strip_prefix(folder).unwrap().display().to_string();
        let listed = name == "SUMMARY.md" || text.contains(&format!("({name})"));
        assert!(listed, "`{name}` is in no chapter");
    }
}

/// A page of the guide.
fn page(name: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs/src")
        .join(name);
    fs::read_to_string(page).unwrap()
}

/// What of some words a text does not have in backticks.
fn unnamed<'w>(words: impl IntoIterator<Item = &'w str>, text: &str) -> Vec<&'w str> {
    let words = words.into_iter();
    words
        .filter(|word| !text.contains(&format!("`{word}`")))
        .collect()
}

#[test]
fn the_guide_names_every_surface_and_every_preset() {
    let surfaces = unnamed(spanner_tower::surface::built_in(), &page("surfaces.md"));
    assert!(
        surfaces.is_empty(),
        "name these in the table of docs/src/surfaces.md: {surfaces:?}"
    );
    let presets = Preset::ALL.iter().map(|preset| preset.as_str());
    let identity: Vec<String> = pages()
        .iter()
        .filter(|page| page.to_string_lossy().contains("identity"))
        .map(|page| fs::read_to_string(page).unwrap())
        .collect();
    let identity = identity.concat().replace(['"', '\''], "`");
    let presets = unnamed(presets, &identity);
    assert!(
        presets.is_empty(),
        "name these presets in a page of docs/src/identity/: {presets:?}"
    );
}

#[test]
fn the_guide_names_every_metric_and_no_other() {
    let page = page("operate.md");
    let known: Vec<&str> = METRICS.iter().map(|metric| metric.name).collect();
    assert_eq!(unnamed(known.iter().copied(), &page), Vec::<&str>::new());
    let words = page.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let metrics = words.filter(|word| word.starts_with("spanner_"));
    let strangers: Vec<&str> = metrics.filter(|word| !known.contains(word)).collect();
    assert_eq!(strangers, Vec::<&str>::new(), "add them to METRICS");
}

#[test]
fn the_guide_names_every_format_of_a_shipment() {
    let formats = Format::ALL.iter().map(|format| format.as_str());
    let formats = unnamed(formats, &page("audit.md"));
    assert!(
        formats.is_empty(),
        "name these in the table of docs/src/audit.md: {formats:?}"
    );
}

#[test]
fn the_guide_has_advice_for_every_reason() {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../spanner-core/src");
    let mut reasons: Vec<String> = Vec::new();
    for file in files(&source, ".rs") {
        if file.ends_with("tests.rs") || file.components().any(|it| it.as_os_str() == "tests") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        for word in text.split("=> \"").skip(1) {
            let word = word.split('"').next().unwrap();
            if let Some((class, rest)) = word.split_once('.')
                && CLASSES.contains(&class)
                && rest.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            {
                reasons.push(word.to_owned());
            }
        }
    }
    assert!(reasons.len() > 70, "{}", reasons.len());
    let missing = unnamed(reasons.iter().map(String::as_str), &page("errors.md"));
    assert!(
        missing.is_empty(),
        "say in the table of docs/src/errors.md what to do about {missing:?}"
    );
    // What a stranger can cause has a test that causes it.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let rows: Vec<String> = [
        "spanner-core/tests",
        "spanner-tower/tests",
        "spanner-tower/src",
        "spanner-tower/surfaces",
    ]
    .iter()
    .flat_map(|folder| ["rs", "toml", "jsonl", "json"].map(|end| (folder, end)))
    .flat_map(|(folder, end)| files(&root.join(folder), &format!(".{end}")))
    .map(|file| fs::read_to_string(file).unwrap())
    .collect();
    let caused = |reason: &&String| {
        let class = reason.split('.').next().unwrap();
        ["auth", "token", "request", "route"].contains(&class)
    };
    let untested: Vec<&String> = reasons
        .iter()
        .filter(caused)
        .filter(|reason| {
            !rows
                .iter()
                .any(|text| text.contains(&format!("\"{reason}\"")))
        })
        .collect();
    assert!(
        untested.is_empty(),
        "add a row to spanner-tower/tests/data/attacks.toml (or spanner-core/tests/data/token.toml) that is refused with {untested:?}"
    );
}

#[test]
fn the_guide_explains_every_member_of_a_record() {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let record = fs::read_to_string(workspace.join("spanner-core/src/record.rs")).unwrap();
    let members: Vec<&str> = record
        .lines()
        .filter_map(|line| line.strip_prefix("    pub ")?.split_once(": "))
        .map(|(name, _)| name)
        .filter(|name| name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'))
        .collect();
    assert!(members.len() > 60, "{members:?}");
    let missing = unnamed(members.iter().copied(), &page("record.md"));
    assert!(
        missing.is_empty(),
        "say in docs/src/record.md what these members of a record mean: {missing:?}"
    );
    let ocsf = fs::read_to_string(workspace.join("spanner-ship/src/ocsf.rs")).unwrap();
    let words: HashSet<&str> = ocsf
        .split(|c: char| !c.is_alphanumeric() && c != '_')
        .collect();
    let unmapped: Vec<&str> = members
        .into_iter()
        .filter(|member| !words.contains(member) && !NOT_IN_OCSF.contains(member))
        .collect();
    assert!(
        unmapped.is_empty(),
        "map these in spanner-ship/src/ocsf.rs (at least as `unmapped`), or list them in `NOT_IN_OCSF`: {unmapped:?}"
    );
}

/// Members of a record that OCSF events leave out: details of a credential that the ledger has,
/// under the identifier that the event carries.
const NOT_IN_OCSF: [&str; 9] = [
    "auth_age_s",
    "groups_complete",
    "key_id",
    "left_out",
    "origin",
    "token_age_s",
    "token_age_unknown",
    "token_expires",
    "token_max_age_s",
];

/// The files below a folder whose names end so.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => files.extend(self::files(&path, end)),
            false if path.to_string_lossy().ends_with(end) => files.push(path),
            false => {}
        }
    }
    files
}

/// What the reasons in records begin with.
const CLASSES: [&str; 12] = [
    "audit",
    "auth",
    "authz",
    "guard",
    "introspection",
    "keys",
    "policy",
    "proofs",
    "request",
    "route",
    "share",
    "token",
];
