//! The page model: what a report says, before it has a form.
//!
//! Texts in it are raw. Each renderer escapes them for its form, in one place.

use std::borrow::Cow;

use spanner_core::Timestamp;

/// One report. [`Page::html`], [`Page::markdown`] and [`Page::text`] render it.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The title; empty if only a terminal shows the page.
    pub title: String,
    /// What the page covers.
    pub about: Text,
    /// The figures at a glance.
    pub figures: Vec<Figure>,
    /// The sections, in order.
    pub sections: Vec<Section>,
    /// What the report leaves out, in a sentence each.
    pub notes: Vec<String>,
}

/// A number with its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figure {
    /// The number.
    pub value: u64,
    /// What is counted, in singular or plural as the number asks.
    pub label: String,
    /// How much it matters.
    pub tone: Tone,
}

/// One part of a page, under a heading of its own.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Section {
    /// The heading; a section without one continues the section before.
    pub title: String,
    /// What the section shows; empty if the heading says it.
    pub intro: Text,
    /// The content, in order.
    pub blocks: Vec<Block>,
}

/// A piece of content.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Block {
    /// A paragraph.
    Paragraph(Text),
    /// A table.
    Table(Table),
    /// Labels with their values, a line each.
    Facts(Vec<(String, Text)>),
    /// A list.
    List(List),
}

/// A list of short texts.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct List {
    /// What the items have in common. HTML folds a list with a title if it is long.
    pub title: String,
    /// The items.
    pub items: Vec<Text>,
}

/// Rows under columns.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, in groups. Most tables have one group without a title.
    pub groups: Vec<Group>,
    /// Whether HTML gives all columns the same width and each row a heading.
    pub is_matrix: bool,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Column {
    /// The heading.
    pub title: String,
    /// Whether it holds numbers, which are aligned at the right.
    pub is_number: bool,
    /// The greatest width in a terminal, in characters.
    pub width: usize,
}

/// Rows that belong together.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Group {
    /// What they have in common; empty if nothing.
    pub title: String,
    /// The rows, each with a cell per column.
    pub rows: Vec<Vec<Cell>>,
}

/// One place in a table.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Cell {
    /// The lines. No line can be mistaken for another one.
    pub lines: Vec<Text>,
    /// How much it matters.
    pub tone: Tone,
}

/// How much a reader should notice something.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tone {
    /// No more than its surroundings.
    #[default]
    Plain,
    /// It is as it should be.
    Good,
    /// Somebody should look at it.
    Alarm,
    /// It matters less than its surroundings.
    Muted,
}

/// A text with parts that have a form of their own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Text {
    pub(crate) spans: Vec<Span>,
}

/// A part of a [`Text`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Span {
    /// Words.
    Plain(String),
    /// A point in time, which never breaks across lines.
    Time(Timestamp, Precision),
    /// An identifier.
    Code(String),
    /// A word that classifies what follows it, such as a role.
    Tag(String),
    /// Words that matter less than what is before them, such as an owner.
    Aside(String),
    /// A name, with the identifier that a pointer reveals.
    Name {
        /// The name.
        name: String,
        /// The identifier.
        id: String,
        /// The kind of name.
        kind: NameKind,
    },
}

/// How exactly a time is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// To the day.
    Day,
    /// To the second.
    Second,
    /// To the millisecond.
    Millisecond,
}

/// What a reader should know about a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameKind {
    /// Nothing.
    Plain,
    /// One person.
    Person,
    /// A holder that did not use what it holds.
    Unused,
}

impl Text {
    /// An empty text.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds words.
    #[must_use]
    pub fn and(mut self, words: impl Into<String>) -> Self {
        self.spans.push(Span::Plain(words.into()));
        self
    }

    /// Adds a point in time, to the second.
    #[must_use]
    pub fn time(self, time: Timestamp) -> Self {
        self.span(Span::Time(time, Precision::Second))
    }

    /// Adds an identifier.
    #[must_use]
    pub fn code(self, code: impl Into<String>) -> Self {
        self.span(Span::Code(code.into()))
    }

    /// Adds a part.
    #[must_use]
    pub fn span(mut self, span: Span) -> Self {
        self.spans.push(span);
        self
    }

    /// Whether there is nothing to read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.iter().all(Span::is_empty)
    }

    /// The words, without forms and not escaped.
    #[must_use]
    pub fn raw(&self) -> String {
        self.spans.iter().map(Span::raw).collect()
    }
}

impl Span {
    fn is_empty(&self) -> bool {
        match self {
            Self::Plain(text) | Self::Code(text) | Self::Tag(text) | Self::Aside(text) => {
                text.is_empty()
            }
            Self::Name { name, .. } => name.is_empty(),
            Self::Time(..) => false,
        }
    }

    /// The words of it, not escaped.
    pub(crate) fn raw(&self) -> String {
        match self {
            Self::Plain(text) | Self::Code(text) | Self::Tag(text) | Self::Aside(text) => {
                text.clone()
            }
            Self::Name { name, .. } => name.clone(),
            Self::Time(time, precision) => precision.format(*time),
        }
    }
}

impl Precision {
    pub(crate) fn format(self, time: Timestamp) -> String {
        let format = match self {
            Self::Day => "%Y-%m-%d",
            Self::Second => "%Y-%m-%dT%H:%M:%SZ",
            Self::Millisecond => "%Y-%m-%dT%H:%M:%S%.3fZ",
        };
        time.strftime(format).to_string()
    }
}

impl From<&str> for Text {
    fn from(words: &str) -> Self {
        Self::new().and(words)
    }
}

impl From<String> for Text {
    fn from(words: String) -> Self {
        Self::new().and(words)
    }
}

impl From<Cow<'_, str>> for Text {
    fn from(words: Cow<'_, str>) -> Self {
        Self::new().and(words)
    }
}

impl From<Timestamp> for Text {
    fn from(time: Timestamp) -> Self {
        Self::new().time(time)
    }
}

impl Figure {
    /// A number of things.
    #[must_use]
    pub fn new(value: u64, one: &str, several: &str) -> Self {
        let label = if value == 1 { one } else { several };
        Self {
            value,
            label: label.to_owned(),
            tone: Tone::Plain,
        }
    }

    /// The same, noticeable unless it is zero.
    #[must_use]
    pub const fn alarm(mut self) -> Self {
        if self.value > 0 {
            self.tone = Tone::Alarm;
        }
        self
    }
}

impl Section {
    /// A section with one table.
    #[must_use]
    pub fn table(title: impl Into<String>, intro: impl Into<Text>, table: Table) -> Self {
        Self {
            title: title.into(),
            intro: intro.into(),
            blocks: vec![Block::Table(table)],
        }
    }
}

impl List {
    /// Items under a title.
    #[must_use]
    pub fn new<T: Into<Text>>(
        title: impl Into<String>,
        items: impl IntoIterator<Item = T>,
    ) -> Self {
        Self {
            title: title.into(),
            items: items.into_iter().map(Into::into).collect(),
        }
    }
}

impl Table {
    /// An empty table with these columns.
    #[must_use]
    pub fn new<'c>(columns: impl IntoIterator<Item = &'c str>) -> Self {
        Self {
            columns: columns.into_iter().map(Column::new).collect(),
            ..Self::default()
        }
    }

    /// Marks columns that hold numbers.
    #[must_use]
    pub fn numbers(mut self, titles: &[&str]) -> Self {
        for column in &mut self.columns {
            column.is_number |= titles.contains(&&*column.title);
        }
        self
    }

    /// Adds rows without a title of their own.
    #[must_use]
    pub fn rows(mut self, rows: impl IntoIterator<Item = Vec<Cell>>) -> Self {
        self.groups.push(Group {
            title: String::new(),
            rows: rows.into_iter().collect(),
        });
        self
    }

    /// Every row of every group.
    pub(crate) fn all_rows(&self) -> impl Iterator<Item = &Vec<Cell>> {
        self.groups.iter().flat_map(|group| &group.rows)
    }

    /// Whether there are no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.all_rows().next().is_none()
    }
}

impl Column {
    fn new(title: &str) -> Self {
        Self {
            title: title.to_owned(),
            is_number: false,
            width: MAX_TEXT,
        }
    }
}

impl Cell {
    /// A cell with one line.
    #[must_use]
    pub fn new(text: impl Into<Text>) -> Self {
        Self::list([text.into()])
    }

    /// A cell with a line for each text.
    #[must_use]
    pub fn list(lines: impl IntoIterator<Item = Text>) -> Self {
        Self {
            lines: lines.into_iter().collect(),
            tone: Tone::Plain,
        }
    }

    /// The same with a tone.
    #[must_use]
    pub const fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    /// Whether there is nothing to read.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.iter().all(Text::is_empty)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::new(number.to_string())
    }
}

/// The longest part of a text that is rendered, in characters: a list of callers, or a reason that
/// somebody wrote. JSON has all of it.
pub(crate) const MAX_TEXT: usize = 600;
