//! A page as one HTML file: no script, no address that is fetched, readable on paper.

use super::markdown::MAX_CELL;
use super::page::{Cell, Page, Section, Tone};
use crate::visible::visible_line as plain;

pub(super) fn write(page: &Page) -> String {
    let title = text(&page.title);
    let figures: String = page
        .figures
        .iter()
        .map(|(figure, what, tone)| {
            let class = class(*tone);
            format!("<li{class}><b>{}</b> {}</li>\n", text(figure), text(what))
        })
        .collect();
    let sections: String = page.sections.iter().map(of).collect();
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n<title>{title}</title>\n\
         <style>{STYLE}</style>\n</head>\n<body>\n<h1>{title}</h1>\n<p class=\"about\">{}</p>\n\
         <ul class=\"figures\">\n{figures}</ul>\n{sections}</body>\n</html>\n",
        text(&page.about)
    )
}

fn of(section: &Section) -> String {
    let (title, note) = (text(section.title), text(&section.note));
    if section.rows.is_empty() {
        return format!("<h2>{title}</h2>\n<p>{note}</p>\n<p class=\"none\">None.</p>\n");
    }
    let first = section.rows.first();
    let heads: String = section
        .head
        .iter()
        .zip(first.into_iter().flatten())
        .map(|(head, cell)| match cell.tone {
            Tone::Number | Tone::AlarmNumber => format!("<th class=\"number\">{}</th>", text(head)),
            _ => format!("<th>{}</th>", text(head)),
        })
        .collect();
    let rows: String = section
        .rows
        .iter()
        .map(|row| {
            let cells: String = row.iter().map(cell).collect();
            format!("<tr>{cells}</tr>\n")
        })
        .collect();
    format!(
        "<h2>{title}</h2>\n<p>{note}</p>\n<div class=\"wide\"><table>\n<thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody>\n</table></div>\n"
    )
}

fn cell(cell: &Cell) -> String {
    let tone = match cell.texts.iter().all(String::is_empty) {
        true => Tone::Plain,
        false => cell.tone,
    };
    let texts: Vec<String> = cell.texts.iter().map(|it| text(it)).collect();
    format!("<td{}>{}</td>", class(tone), texts.join("<br>"))
}

const fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Plain => "",
        Tone::Number => " class=\"number\"",
        Tone::Good => " class=\"good\"",
        Tone::Alarm => " class=\"alarm\"",
        Tone::AlarmNumber => " class=\"alarm number\"",
    }
}

/// A text that means itself.
fn text(text: &str) -> String {
    if text.is_empty() {
        return String::new();
    }
    let mut out = String::new();
    for character in plain(text, MAX_CELL).chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            _ => out.push(character),
        }
    }
    out
}

const STYLE: &str = "
:root { color-scheme: light dark; --line: #d4d7dc; --soft: #5b626d; --alarm: #a4161a; --good: #14683f; --band: #f5f6f8; }
@media (prefers-color-scheme: dark) { :root { --line: #3a3f47; --soft: #a4abb6; --alarm: #ff8a80; --good: #7bd7a5; --band: #1d2126; } }
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 84rem; padding: 0 1.5rem; }
h1 { font-size: 1.7rem; margin: 0; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .2rem; }
p { margin: .2rem 0 .8rem; color: var(--soft); max-width: 60rem; }
.figures { display: flex; flex-wrap: wrap; gap: .7rem; list-style: none; margin: 1.2rem 0; padding: 0; }
.figures li { border: 1px solid var(--line); border-radius: .4rem; padding: .5rem .9rem; color: var(--soft); }
.figures b { display: block; font-size: 1.4rem; line-height: 1.2; color: CanvasText; }
.figures .alarm, .figures .alarm b { color: var(--alarm); border-color: var(--alarm); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th { text-align: left; color: var(--soft); font-weight: 600; white-space: nowrap; }
th, td { border-bottom: 1px solid var(--line); padding: .35rem .7rem .35rem 0; vertical-align: top; }
td { overflow-wrap: break-word; max-width: 24rem; }
tbody tr:nth-child(even) { background: var(--band); }
.number { text-align: right; font-variant-numeric: tabular-nums; }
td.alarm { color: var(--alarm); font-weight: 600; }
td.good { color: var(--good); font-weight: 600; }
.none { font-style: italic; }
@media print { body { margin: 0; max-width: none; } .wide { overflow: visible; } tr { break-inside: avoid; } }
";
