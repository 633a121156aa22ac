//! The matrix of grants: one row per model, one column per environment.

use std::collections::BTreeMap;

use spanner_cedar::{Granted, Review};

use super::{holder, marked};
use crate::page::{Block, Cell, Group, Section, Span, Table, Text};

/// The grants on one model, by environment.
#[derive(Default)]
struct Line<'r> {
    owner: Option<&'r str>,
    grants: BTreeMap<&'r str, Vec<&'r Granted>>,
}

pub(super) fn section(review: &Review) -> Section {
    let (mut every, mut lines) = (Line::default(), BTreeMap::new());
    for governed in &review.models {
        let line: &mut Line<'_> = lines.entry(key(&governed.model)).or_default();
        line.owner = governed.owner.as_deref();
    }
    for grant in &review.grants {
        let line = match &grant.model {
            None => &mut every,
            Some(model) => lines.entry(key(model.as_str())).or_default(),
        };
        line.owner = line.owner.or(grant.owner.as_deref());
        let grants = line.grants.entry(grant.environment.as_str());
        grants.or_default().push(grant);
    }
    every.owner = None;
    let mut groups = vec![Group {
        title: String::new(),
        rows: vec![row(review, "every model", &every)],
    }];
    for ((namespace, model), line) in &lines {
        if groups.last().is_none_or(|last| last.title != *namespace) {
            groups.push(Group {
                title: (*namespace).to_owned(),
                rows: Vec::new(),
            });
        }
        if let Some(last) = groups.last_mut() {
            last.rows.push(row(review, model, line));
        }
    }
    let environments = review.environments.iter().map(String::as_str);
    let mut table = Table::new(std::iter::once("model").chain(environments));
    table.groups = groups;
    table.is_matrix = true;
    Section {
        title: "By model and environment".to_owned(),
        blocks: vec![Block::Table(table)],
        ..Section::default()
    }
}

fn row(review: &Review, model: &str, line: &Line<'_>) -> Vec<Cell> {
    let owner = line
        .owner
        .map(|owner| Text::new().span(Span::Aside(marked(owner).into_owned())));
    let name = Text::from(marked(model));
    let name = Cell::list(std::iter::once(name).chain(owner));
    let cells = review.environments.iter().map(|environment| {
        let mut by_role: BTreeMap<&str, Vec<&Granted>> = BTreeMap::new();
        for grant in line.grants.get(environment.as_str()).into_iter().flatten() {
            by_role.entry(&grant.role).or_default().push(grant);
        }
        Cell::list(by_role.into_iter().map(|(role, grants)| {
            let mut text = Text::new().span(Span::Tag(role.to_owned()));
            for (place, grant) in grants.into_iter().enumerate() {
                if place > 0 {
                    text = text.and(", ");
                }
                text = text.span(holder(grant));
            }
            text
        }))
    });
    std::iter::once(name).chain(cells).collect()
}

/// The namespace of a model, and the model's full name.
fn key(model: &str) -> (&str, &str) {
    let inner = model.strip_prefix('/').unwrap_or(model);
    let namespace = inner.split_once('/').map(|(namespace, _)| namespace);
    (namespace.unwrap_or("(no namespace)"), model)
}
