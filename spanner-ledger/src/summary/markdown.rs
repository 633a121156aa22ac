//! A page as Markdown (CommonMark with tables). Whatever a name contains is text: no
//! heading, link, tag, row or column.

use super::page::{Page, Section, Tone};
use crate::visible::visible_line as plain;

pub(super) fn write(page: &Page) -> String {
    let mut out = format!("# {}\n\n{}\n\n", text(&page.title), text(&page.about));
    for (figure, what, _) in &page.figures {
        out.push_str(&format!("- **{}** {what}\n", text(figure)));
    }
    for section in &page.sections {
        out.push_str(&of(section));
    }
    out
}

fn of(section: &Section) -> String {
    let mut out = format!("\n## {}\n\n{}\n\n", section.title, text(&section.note));
    if section.rows.is_empty() {
        out.push_str("None.\n");
        return out;
    }
    out.push_str(&line(section.head.iter().map(|it| (*it).to_owned())));
    let first = section.rows.first();
    let rules = first.into_iter().flatten().map(|cell| match cell.tone {
        Tone::Number | Tone::AlarmNumber => "--:".to_owned(),
        _ => "---".to_owned(),
    });
    out.push_str(&line(rules));
    for row in &section.rows {
        let cells = row.iter().map(|cell| {
            let texts: Vec<String> = cell.texts.iter().map(|it| text(it)).collect();
            match (cell.tone, texts.join("; ")) {
                (Tone::Alarm | Tone::AlarmNumber, text) if !text.is_empty() => {
                    format!("**{text}**")
                }
                (_, text) => text,
            }
        });
        out.push_str(&line(cells));
    }
    out
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.collect();
    format!("| {} |\n", cells.join(" | "))
}

/// A text that means itself.
pub(super) fn text(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    for character in plain(text, MAX_CELL).chars() {
        // Any ASCII punctuation may be escaped; these would mean something, `:` and `.` as
        // part of a link that is recognized without brackets.
        if matches!(character, '<' | '>' | '&') {
            out.push_str(match character {
                '<' => "&lt;",
                '>' => "&gt;",
                _ => "&amp;",
            });
            continue;
        }
        if r"\`*_[]|#~!@$".contains(character) {
            out.push('\\');
        }
        out.push(character);
    }
    out.replace("://", r":\/\/").replace("www.", r"www\.")
}

/// The longest text is a list of callers, or a reason that somebody wrote.
pub(super) const MAX_CELL: usize = 600;
