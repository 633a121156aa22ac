//! Renders a page for a terminal. No name can forge a line, a column or a terminal command.

use spanner_ledger::visible_line;
use unicode_width::UnicodeWidthStr;

use crate::page::{Block, Cell, List, Page, Section, Table, Text};

impl Page {
    /// Renders the page for a terminal.
    #[must_use]
    pub fn text(&self) -> String {
        let mut out = String::new();
        for paragraph in [&Text::from(&*self.title), &self.about] {
            if !paragraph.is_empty() {
                out.push_str(&line(paragraph));
                out.push_str("\n\n");
            }
        }
        for figure in &self.figures {
            out.push_str(&format!("{} {}\n", figure.value, figure.label));
        }
        for (number, part) in self.sections.iter().enumerate() {
            if number > 0 {
                out.push('\n');
            }
            section(part, &mut out);
        }
        for note in &self.notes {
            out.push_str(&format!("\nnote: {note}\n"));
        }
        out
    }
}

fn section(section: &Section, out: &mut String) {
    for heading in [&Text::from(&*section.title), &section.intro] {
        if !heading.is_empty() {
            out.push_str(&line(heading));
            out.push('\n');
        }
    }
    for block in &section.blocks {
        match block {
            Block::Paragraph(it) => out.push_str(&format!("{}\n", line(it))),
            Block::Table(it) => out.push_str(&it.text()),
            Block::Facts(facts) => {
                for (label, value) in facts {
                    let label = visible_line(label, MAX_LABEL);
                    out.push_str(&format!("  {label:<11} {}\n", line(value)));
                }
            }
            Block::List(it) => list(it, out),
        }
    }
}

fn list(list: &List, out: &mut String) {
    if !list.title.is_empty() {
        out.push_str(&format!("{}:\n", visible_line(&list.title, MAX_LINE)));
    }
    for item in &list.items {
        out.push_str(&format!("- {}\n", line(item)));
    }
}

fn line(text: &Text) -> String {
    visible_line(text.raw().trim_end(), MAX_LINE)
}

impl Table {
    /// Renders the table for a terminal: one line per row, with columns of the necessary width.
    #[must_use]
    pub fn text(&self) -> String {
        let head = self.columns.iter().map(|it| it.title.clone()).collect();
        let rows = self.all_rows().map(|row| self.cells(row));
        let lines: Vec<Vec<String>> = std::iter::once(head).chain(rows).collect();
        let widths: Vec<usize> = (0..self.columns.len())
            .map(|column| {
                let cells = lines.iter().filter_map(|line| line.get(column));
                cells.map(|cell| cell.width()).max().unwrap_or_default()
            })
            .collect();
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        let rule = format!("{}\n", rule.join("─┼─"));
        let mut lines = lines.iter().map(|line| self.line(line, &widths));
        let head = lines.next().unwrap_or_default();
        head + &rule + &lines.collect::<String>()
    }

    fn cells(&self, row: &[Cell]) -> Vec<String> {
        let cells = row.iter().zip(&self.columns);
        let cell = |(cell, width): (&Cell, usize)| {
            let lines: Vec<String> = cell.lines.iter().map(Text::raw).collect();
            visible_line(&lines.join("; "), width)
        };
        cells.map(|(it, column)| cell((it, column.width))).collect()
    }

    fn line(&self, line: &[String], widths: &[usize]) -> String {
        let cells = line.iter().zip(widths).zip(&self.columns);
        let cells = cells.map(|((cell, width), column)| {
            let padding = " ".repeat(width.saturating_sub(cell.width()));
            match column.is_number {
                true => format!("{padding}{cell}"),
                false => format!("{cell}{padding}"),
            }
        });
        let line = cells.collect::<Vec<_>>().join(" │ ");
        format!("{}\n", line.trim_end())
    }
}

/// Room for a sentence with a few names. JSON contains the full text.
const MAX_LINE: usize = 400;
const MAX_LABEL: usize = 120;
