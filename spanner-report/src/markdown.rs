//! Renders a page as Markdown (CommonMark with tables). No name can forge a heading, link, tag,
//! row or column.

use spanner_ledger::visible_line;

use crate::page::{Block, Cell, List, MAX_TEXT, Page, Section, Span, Table, Text, Tone};

impl Page {
    /// Renders the page as Markdown, for a report or an issue.
    #[must_use]
    pub fn markdown(&self) -> String {
        let mut out = format!("# {}\n\n{}\n\n", words(&self.title), text(&self.about));
        for figure in &self.figures {
            out.push_str(&format!("- **{}** {}\n", figure.value, figure.label));
        }
        for part in &self.sections {
            section(part, &mut out);
        }
        for note in &self.notes {
            out.push_str(&format!("\nNote: {}\n", words(note)));
        }
        out
    }
}

fn section(section: &Section, out: &mut String) {
    if !section.title.is_empty() {
        out.push_str(&format!("\n## {}\n", words(&section.title)));
    }
    if !section.intro.is_empty() {
        out.push_str(&format!("\n{}\n", text(&section.intro)));
    }
    for block in &section.blocks {
        out.push('\n');
        match block {
            Block::Paragraph(it) => out.push_str(&format!("{}\n", text(it))),
            Block::Table(it) if it.is_empty() => out.push_str("None.\n"),
            Block::Table(it) => table(it, out),
            Block::Facts(facts) => {
                for (label, value) in facts {
                    out.push_str(&format!("- {}: {}\n", words(label), text(value)));
                }
            }
            Block::List(it) => list(it, out),
        }
    }
}

fn list(list: &List, out: &mut String) {
    if !list.title.is_empty() {
        out.push_str(&format!("{}:\n\n", words(&list.title)));
    }
    for item in &list.items {
        out.push_str(&format!("- {}\n", text(item)));
    }
}

fn table(table: &Table, out: &mut String) {
    line(table.columns.iter().map(|it| words(&it.title)), out);
    let rules = table.columns.iter().map(|it| match it.is_number {
        true => "--:".to_owned(),
        false => "---".to_owned(),
    });
    line(rules, out);
    for row in table.all_rows() {
        line(row.iter().map(cell), out);
    }
}

fn line(cells: impl Iterator<Item = String>, out: &mut String) {
    let cells: Vec<String> = cells.collect();
    out.push_str(&format!("| {} |\n", cells.join(" | ")));
}

fn cell(cell: &Cell) -> String {
    let lines: Vec<String> = cell.lines.iter().map(text).collect();
    let text = lines.join("; ");
    match cell.tone {
        Tone::Alarm if !cell.is_empty() => format!("**{text}**"),
        Tone::Plain | Tone::Good | Tone::Muted | Tone::Alarm => text,
    }
}

fn text(text: &Text) -> String {
    text.spans.iter().map(span).collect()
}

fn span(span: &Span) -> String {
    match span {
        Span::Code(it) => code(it),
        Span::Time(..) => span.raw(),
        Span::Plain(_) | Span::Aside(_) | Span::Name { .. } => words(&span.raw()),
        Span::Tag(_) => format!("{} ", words(&span.raw())),
    }
}

/// A code span. Only the column separator needs escaping in it.
fn code(code: &str) -> String {
    match code.contains('`') {
        true => words(code),
        false => format!("`{}`", visible_line(code, MAX_TEXT).replace('|', r"\|")),
    }
}

/// Escapes Markdown syntax in a text.
fn words(text: &str) -> String {
    if text.bytes().all(|byte| byte == b' ') {
        return text.to_owned();
    }
    let mut out = String::new();
    for character in visible_line(text, MAX_TEXT).chars() {
        // CommonMark allows a backslash before any ASCII punctuation. `:` and `.` are escaped
        // below, where they are part of a link that is recognized without brackets.
        match character {
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '&' => out.push_str("&amp;"),
            _ => {
                if r"\`*_[]|#~!@$".contains(character) {
                    out.push('\\');
                }
                out.push(character);
            }
        }
    }
    out.replace("://", r":\/\/").replace("www.", r"www\.")
}
