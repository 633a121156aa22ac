//! The page model: the content of a report, independent of its format.
//!
//! Texts are not escaped. Each renderer escapes them for its format, in one place.

use std::borrow::Cow;

use spanner_core::Timestamp;

/// One report. [`Page::html`], [`Page::markdown`] and [`Page::text`] render it.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Page {
    /// The title. Empty if the page is only for a terminal.
    pub title: String,
    /// The scope of the report.
    pub about: Text,
    /// The key figures.
    pub figures: Vec<Figure>,
    /// The sections, in order.
    pub sections: Vec<Section>,
    /// What the report omits, one sentence each.
    pub notes: Vec<String>,
}

/// A number with its unit.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Figure {
    /// The number.
    pub value: u64,
    /// The label, in the singular or plural as the number requires.
    pub label: String,
    /// The emphasis.
    pub tone: Tone,
}

/// A section with a heading.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Section {
    /// The heading. A section without a heading continues the previous one.
    pub title: String,
    /// An introduction. Empty if the heading suffices.
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
    /// Labels with values, one per line.
    Facts(Vec<(String, Text)>),
    /// A list.
    List(List),
}

/// A list of short texts.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct List {
    /// A title for the items. HTML collapses a long list that has a title.
    pub title: String,
    /// The items.
    pub items: Vec<Text>,
}

/// A table with columns and groups of rows.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Table {
    /// The columns.
    pub columns: Vec<Column>,
    /// The rows, in groups. Most tables have one group without a title.
    pub groups: Vec<Group>,
    /// Whether HTML gives all columns the same width and makes the first cell of each row a
    /// heading.
    pub is_matrix: bool,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Column {
    /// The heading.
    pub title: String,
    /// Whether the column contains numbers, which are right-aligned.
    pub is_number: bool,
    /// The maximum width in a terminal, in characters.
    pub width: usize,
}

/// A group of rows in a table.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Group {
    /// The group's title. Empty if it has none.
    pub title: String,
    /// The rows, with one cell per column.
    pub rows: Vec<Vec<Cell>>,
}

/// A cell of a table.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Cell {
    /// The lines of the cell. Each is escaped on its own, so none can imitate another.
    pub lines: Vec<Text>,
    /// The emphasis.
    pub tone: Tone,
}

/// The emphasis of a part of a page.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Tone {
    /// No emphasis.
    #[default]
    Plain,
    /// A desirable state.
    Good,
    /// A state that a person should check.
    Alarm,
    /// Less important than its surroundings.
    Muted,
}

/// A text whose parts have different formats.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Text {
    pub(crate) spans: Vec<Span>,
}

/// A part of a [`Text`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Span {
    /// Plain words.
    Plain(String),
    /// A point in time. It is never broken across lines.
    Time(Timestamp, Precision),
    /// An identifier.
    Code(String),
    /// A word that classifies the following text, such as a role.
    Tag(String),
    /// Less important words, such as the owner after a model.
    Aside(String),
    /// A name. HTML shows the identifier as a tooltip.
    Name {
        /// The name.
        name: String,
        /// The identifier.
        id: String,
        /// The kind of name.
        kind: NameKind,
    },
}

/// The precision of a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Precision {
    /// Days.
    Day,
    /// Seconds.
    Second,
    /// Milliseconds.
    Millisecond,
}

/// A property of a name that a reader should notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum NameKind {
    /// No special property.
    Plain,
    /// The name identifies a single person.
    Person,
    /// The holder did not use its grant.
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

    /// Adds a point in time with a precision of seconds.
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

    /// Whether the text is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.iter().all(Span::is_empty)
    }

    /// The words without formatting or escaping.
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

    /// The words without escaping.
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
    /// A number with the singular and the plural of its label.
    #[must_use]
    pub fn new(value: u64, one: &str, several: &str) -> Self {
        let label = if value == 1 { one } else { several };
        Self {
            value,
            label: label.to_owned(),
            tone: Tone::Plain,
        }
    }

    /// Emphasizes the figure unless it is zero.
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

    /// Marks columns that contain numbers, by title.
    #[must_use]
    pub fn numbers(mut self, titles: &[&str]) -> Self {
        for column in &mut self.columns {
            column.is_number |= titles.contains(&&*column.title);
        }
        self
    }

    /// Adds a group of rows without a title.
    #[must_use]
    pub fn rows(mut self, rows: impl IntoIterator<Item = Vec<Cell>>) -> Self {
        self.groups.push(Group {
            title: String::new(),
            rows: rows.into_iter().collect(),
        });
        self
    }

    /// All rows of all groups.
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

    /// Sets the emphasis.
    #[must_use]
    pub const fn tone(mut self, tone: Tone) -> Self {
        self.tone = tone;
        self
    }

    /// Whether the cell is empty.
    pub(crate) fn is_empty(&self) -> bool {
        self.lines.iter().all(Text::is_empty)
    }
}

impl From<u64> for Cell {
    fn from(number: u64) -> Self {
        Self::new(number.to_string())
    }
}

/// The maximum length of a part of a text, in characters. It suffices for a list of callers or a
/// reason; JSON contains the full text.
pub(crate) const MAX_TEXT: usize = 600;
