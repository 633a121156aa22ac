//! A review as one HTML file: the matrix of models and environments, and what stands around
//! it. It has no script, and everything in it is escaped.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::text::sections;
use super::{Granted, Review};
use spanner_toml::lookalike;

/// A row of the matrix: what is granted on one model, or on every one.
type Row<'r> = BTreeMap<&'r str, Vec<&'r Granted>>;

/// The rows, by namespace and model, each with its owner.
type Rows<'r> = BTreeMap<(&'r str, &'r str), (Option<&'r str>, Row<'r>)>;

pub(super) fn page(review: &Review) -> String {
    let mut page = String::new();
    let title = "Who may do what";
    let _: std::fmt::Result = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<header><h1>{title}</h1>\n<p>models: {} · grants: {} · guardrails: {} · access <code>{}</code></p></header>\n",
        review.models.len(),
        review.grants.len(),
        review.guardrails.len(),
        escaped(&review.digest),
    );
    look(review, &mut page);
    matrix(review, &mut page);
    roles(review, &mut page);
    guardrails(review, &mut page);
    grants(review, &mut page);
    page.push_str("</body>\n</html>\n");
    page
}

/// What deserves a look.
fn look(review: &Review, page: &mut String) {
    page.push_str("<section id=\"look\"><h2>What deserves a look</h2>\n");
    let sections = sections(review);
    if sections.is_empty() {
        page.push_str("<p class=\"good\">Nothing that this review knows of.</p>\n");
    }
    for (title, lines) in &sections {
        let open = if lines.len() <= MAX_OPEN { " open" } else { "" };
        let items: String = lines
            .iter()
            .map(|line| format!("<li>{}</li>\n", escaped(line)))
            .collect();
        let _: std::fmt::Result = writeln!(
            page,
            "<details{open}><summary>{} <b>{}</b></summary>\n<ul>\n{items}</ul></details>",
            escaped(title),
            lines.len()
        );
    }
    page.push_str("</section>\n");
}

fn matrix(review: &Review, page: &mut String) {
    let mut every = Row::new();
    let mut rows: Rows<'_> = BTreeMap::new();
    for governed in &review.models {
        let owner = governed.owner.as_deref();
        rows.insert(key(&governed.model), (owner, Row::new()));
    }
    for grant in &review.grants {
        let row = match &grant.model {
            None => &mut every,
            Some(model) => {
                let owner = grant.owner.as_deref();
                let entry = rows.entry(key(model.as_str()));
                &mut entry.or_insert_with(|| (owner, Row::new())).1
            }
        };
        row.entry(grant.environment.as_str())
            .or_default()
            .push(grant);
    }
    page.push_str("<section id=\"matrix\"><h2>By model and environment</h2>\n");
    contents(&rows, page);
    page.push_str("<table class=\"matrix\">\n<thead><tr><th>model</th>");
    for environment in &review.environments {
        let _: std::fmt::Result = write!(page, "<th>{}</th>", escaped(environment));
    }
    page.push_str("</tr></thead>\n<tbody class=\"every\">\n");
    line(review, "every model", None, &every, page);
    page.push_str("</tbody>\n");
    let (mut last, mut number) = (None, 0);
    for ((space, model), (owner, row)) in &rows {
        let space = *space;
        if last != Some(space) {
            if last.is_some() {
                page.push_str("</tbody>\n");
            }
            let columns = review.environments.len() + 1;
            let _: std::fmt::Result = writeln!(
                page,
                "<tbody>\n<tr class=\"space\"><th colspan=\"{columns}\" id=\"in-{number}\">{}</th></tr>",
                escaped(space)
            );
            number += 1;
            last = Some(space);
        }
        line(review, model, *owner, row, page);
    }
    if last.is_some() {
        page.push_str("</tbody>\n");
    }
    page.push_str("</table></section>\n");
}

/// Links to the namespaces, where there are several.
fn contents(rows: &Rows<'_>, page: &mut String) {
    let mut spaces: BTreeMap<&str, usize> = BTreeMap::new();
    for (space, _) in rows.keys() {
        *spaces.entry(space).or_default() += 1;
    }
    if spaces.len() < 2 {
        return;
    }
    page.push_str("<nav>");
    for (number, (space, count)) in spaces.into_iter().enumerate() {
        let _: std::fmt::Result = write!(
            page,
            "<a href=\"#in-{number}\">{}&nbsp;<small>{count}</small></a> ",
            escaped(space)
        );
    }
    page.push_str("</nav>\n");
}

/// One row: in each environment, each role with its holders.
fn line(review: &Review, model: &str, owner: Option<&str>, row: &Row<'_>, page: &mut String) {
    let owner = owner.map(|owner| format!("<small>{}</small>", escaped(owner)));
    let _: std::fmt::Result = write!(
        page,
        "<tr><th scope=\"row\">{}{}</th>",
        escaped(model),
        owner.unwrap_or_default()
    );
    for environment in &review.environments {
        let mut by_role: BTreeMap<&str, Vec<&Granted>> = BTreeMap::new();
        for grant in row.get(environment.as_str()).into_iter().flatten() {
            by_role.entry(&grant.role).or_default().push(grant);
        }
        page.push_str("<td>");
        for (role, grants) in by_role {
            let holders: Vec<String> = grants.iter().map(|grant| holder(grant)).collect();
            let _: std::fmt::Result = write!(
                page,
                "<div><i>{}</i> {}</div>",
                escaped(role),
                holders.join(", ")
            );
        }
        page.push_str("</td>");
    }
    page.push_str("</tr>\n");
}

fn holder(grant: &Granted) -> String {
    let unused = grant.usage.is_some_and(|usage| usage.count == 0);
    let class = match (grant.individual, unused) {
        (true, _) => " class=\"person\"",
        (false, true) => " class=\"unused\"",
        (false, false) => "",
    };
    format!(
        "<span{class} title=\"{}\">{}</span>",
        escaped(&grant.policy),
        escaped(&grant.holder)
    )
}

/// What each role that is granted allows.
fn roles(review: &Review, page: &mut String) {
    let roles: BTreeMap<&str, String> = review
        .grants
        .iter()
        .map(|grant| (&*grant.role, grant.actions()))
        .collect();
    page.push_str("<section id=\"roles\"><h2>Roles</h2>\n<dl>\n");
    for (role, actions) in roles {
        let _: std::fmt::Result = writeln!(
            page,
            "<dt>{}</dt><dd>{}</dd>",
            escaped(role),
            escaped(&actions)
        );
    }
    page.push_str("</dl></section>\n");
}

fn guardrails(review: &Review, page: &mut String) {
    if review.guardrails.is_empty() {
        return;
    }
    page.push_str("<section id=\"guardrails\"><h2>Guardrails</h2>\n<ul>\n");
    for guardrail in &review.guardrails {
        let _: std::fmt::Result = writeln!(page, "<li>{}</li>", escaped(&guardrail.line()));
    }
    page.push_str("</ul></section>\n");
}

/// Every grant by the id that records have.
fn grants(review: &Review, page: &mut String) {
    page.push_str("<section id=\"grants\"><h2>Every grant</h2>\n<table>\n<thead><tr><th>grant, as records name it</th><th>holder</th><th>role</th><th>reason</th><th>last used</th></tr></thead>\n<tbody>\n");
    for grant in &review.grants {
        let last = grant.usage.map(|usage| match usage.last {
            Some(time) => time.strftime("%Y-%m-%d").to_string(),
            None => "never".to_owned(),
        });
        let _: std::fmt::Result = writeln!(
            page,
            "<tr><td><code>{}</code></td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            escaped(&grant.policy),
            escaped(&grant.holder),
            escaped(&grant.role),
            escaped(grant.reason.as_deref().unwrap_or_default()),
            last.unwrap_or_default(),
        );
    }
    page.push_str("</tbody>\n</table></section>\n");
}

/// The namespace and the whole name.
fn key(model: &str) -> (&str, &str) {
    let inner = model.strip_prefix('/').unwrap_or(model);
    let space = inner
        .split_once('/')
        .map_or("(no namespace)", |(space, _)| space);
    (space, model)
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in lookalike::marked(text).chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            c => escaped.push(c),
        }
    }
    escaped
}

/// Lists of more lines are folded at first.
const MAX_OPEN: usize = 12;

const STYLE: &str = include_str!("style.css");
