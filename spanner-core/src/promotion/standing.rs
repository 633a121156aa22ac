//! The standing of a promotion.

/// The state of a promotion in its life cycle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Standing {
    /// It waits for approvals or for being promoted.
    Open,
    /// It was promoted with its approvals.
    Promoted,
    /// It was promoted without waiting for approvals.
    Emergency,
    /// It was in force before promotions were recorded.
    Adopted,
    /// An approver rejected it.
    Rejected,
    /// The proposer withdrew it.
    Withdrawn,
    /// It was promoted, and then rolled back.
    RolledBack,
}

impl Standing {
    /// All values.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::Promoted,
        Self::Emergency,
        Self::Adopted,
        Self::Rejected,
        Self::Withdrawn,
        Self::RolledBack,
    ];

    /// The standing in words, for people.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Promoted => "promoted",
            Self::Emergency => "promoted in an emergency",
            Self::Adopted => "adopted",
            Self::Rejected => "rejected",
            Self::Withdrawn => "withdrawn",
            Self::RolledBack => "rolled back",
        }
    }

    /// A stable code, for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Emergency => "emergency",
            Self::RolledBack => "rolled_back",
            Self::Open | Self::Promoted | Self::Adopted | Self::Rejected | Self::Withdrawn => {
                self.as_str()
            }
        }
    }
}
