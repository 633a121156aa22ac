//! Renders a page as one HTML file without scripts and external resources, for phones, dark mode
//! and paper.

use maud::{Markup, PreEscaped, html};
use spanner_ledger::visible_line;

use crate::page::{
    Block, Cell, Column, Group, List, MAX_TEXT, NameKind, Page, Section, Span, Table, Text, Tone,
};

impl Page {
    /// Renders the page as one self-contained HTML file without scripts.
    #[must_use]
    pub fn html(&self) -> String {
        document(self).into_string()
    }
}

fn document(page: &Page) -> Markup {
    html! {
        (PreEscaped("<!doctype html>\n"))
        html lang="en" {
            head {
                meta charset="utf-8";
                meta http-equiv="Content-Security-Policy" content=(POLICY);
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (visible(&page.title)) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (visible(&page.title)) }
                    p.about { (text(&page.about)) }
                }
                @if !page.figures.is_empty() {
                    ul.figures {
                        @for figure in &page.figures {
                            li class=[class(figure.tone)] { b { (figure.value) } " " (visible(&figure.label)) }
                        }
                    }
                }
                main {
                    @for (number, part) in page.sections.iter().enumerate() { (section(number, part)) }
                    @for note in &page.notes { p.note { "Note: " (visible(note)) } }
                }
            }
        }
    }
}

fn section(number: usize, section: &Section) -> Markup {
    html! {
        section {
            @if !section.title.is_empty() { h2 { (visible(&section.title)) } }
            @if !section.intro.is_empty() { p { (text(&section.intro)) } }
            @for part in &section.blocks { (block(number, &section.title, part)) }
        }
    }
}

fn block(number: usize, title: &str, block: &Block) -> Markup {
    match block {
        Block::Paragraph(words) => html! { p { (text(words)) } },
        Block::Facts(facts) => html! {
            dl { @for (label, value) in facts { dt { (visible(label)) } dd { (text(value)) } } }
        },
        Block::List(it) => list(it),
        Block::Table(it) if it.is_empty() => html! { p.none { "None." } },
        Block::Table(it) => table(number, title, it),
    }
}

fn list(list: &List) -> Markup {
    let items = html! { ul { @for item in &list.items { li { (text(item)) } } } };
    match list.title.is_empty() {
        true => items,
        false => html! {
            details open[list.items.len() <= MAX_OPEN] {
                summary { (visible(&list.title)) " " b { (list.items.len()) } }
                (items)
            }
        },
    }
}

fn table(number: usize, title: &str, table: &Table) -> Markup {
    html! {
        (contents(number, table))
        div.scroll role="region" tabindex="0" aria-label=(visible(title)) {
            table class=[table.is_matrix.then_some("matrix")] {
                thead { tr { @for column in &table.columns { (heading(column)) } } }
                @for (place, group) in table.groups.iter().enumerate() {
                    tbody { (rows(number, place, table, group)) }
                }
            }
        }
    }
}

fn heading(column: &Column) -> Markup {
    let class = column.is_number.then_some("number");
    html! { th scope="col" class=[class] { (visible(&column.title)) } }
}

/// Links to the groups that have a title, if there are several.
fn contents(number: usize, table: &Table) -> Markup {
    let titled = table.groups.iter().enumerate();
    let titled: Vec<_> = titled
        .filter(|(_, group)| !group.title.is_empty())
        .collect();
    html! {
        @if titled.len() > 1 {
            nav {
                @for (place, group) in titled {
                    a href={ "#in-" (number) "-" (place) } {
                        (visible(&group.title)) " " small { (group.rows.len()) }
                    }
                    " "
                }
            }
        }
    }
}

fn rows(number: usize, place: usize, table: &Table, group: &Group) -> Markup {
    html! {
        @if !group.title.is_empty() {
            tr.group {
                th scope="rowgroup" colspan=(table.columns.len()) id={ "in-" (number) "-" (place) } {
                    (visible(&group.title))
                }
            }
        }
        @for row in &group.rows {
            tr {
                @for (place, (it, column)) in row.iter().zip(&table.columns).enumerate() {
                    @if place == 0 && table.is_matrix { th scope="row" { (lines(it)) } }
                    @else { (cell(it, column)) }
                }
            }
        }
    }
}

fn cell(cell: &Cell, column: &Column) -> Markup {
    let tone = class(cell.tone).filter(|_| !cell.is_empty());
    let class = match (tone, column.is_number) {
        (Some(tone), true) => Some(format!("{tone} number")),
        (Some(tone), false) => Some(tone.to_owned()),
        (None, true) => Some("number".to_owned()),
        (None, false) => None,
    };
    html! { td class=[class] { (lines(cell)) } }
}

fn lines(cell: &Cell) -> Markup {
    html! {
        @for (place, line) in cell.lines.iter().enumerate() {
            @if place > 0 { br; }
            (text(line))
        }
    }
}

fn text(text: &Text) -> Markup {
    html! { @for part in &text.spans { (span(part)) } }
}

fn span(span: &Span) -> Markup {
    match span {
        Span::Plain(words) => html! { (visible(words)) },
        Span::Code(code) => html! { code { (visible(code)) } },
        Span::Aside(words) => html! { small { (visible(words)) } },
        Span::Tag(word) => html! { i { (visible(word)) } " " },
        Span::Time(time, precision) => {
            let shown = precision.format(*time);
            html! { time datetime=(shown) { (shown) } }
        }
        Span::Name { name, id, kind } => {
            let class = match kind {
                NameKind::Plain => None,
                NameKind::Person => Some("person"),
                NameKind::Unused => Some("unused"),
            };
            html! { span class=[class] title=(visible(id)) { (visible(name)) } }
        }
    }
}

const fn class(tone: Tone) -> Option<&'static str> {
    match tone {
        Tone::Plain => None,
        Tone::Good => Some("good"),
        Tone::Alarm => Some("alarm"),
        Tone::Muted => Some("muted"),
    }
}

/// Makes invisible characters visible. The template escapes HTML.
fn visible(text: &str) -> String {
    match text.bytes().all(|byte| byte == b' ') {
        true => text.to_owned(),
        false => visible_line(text, MAX_TEXT),
    }
}

/// Loads no resources and runs no scripts.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'";
/// Longer lists are collapsed initially.
const MAX_OPEN: usize = 12;
const STYLE: &str = include_str!("style.css");
