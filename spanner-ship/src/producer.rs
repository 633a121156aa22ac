//! The producer of the events, as formats name it.

/// The organization that OCSF and syslog messages name as the producer of the events.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use]
pub struct Producer {
    pub(crate) vendor: String,
    pub(crate) enterprise_number: u32,
}

impl Producer {
    /// The number that IANA reserves for documentation (RFC 5612). Spanner has no number of its own.
    pub const DOCUMENTATION: u32 = 32_473;

    /// The vendor in OCSF (`metadata.product.vendor_name`). Default: `Spanner`.
    pub fn vendor(mut self, name: impl Into<String>) -> Self {
        self.vendor = name.into();
        self
    }

    /// Sets the private enterprise number in syslog, which makes the identifier of the structured
    /// data unique: `spanner@NUMBER` (RFC 5424 §6.3.2). Use the number that IANA assigned to your
    /// organization. Default: [`DOCUMENTATION`](Self::DOCUMENTATION), which is assigned to nobody
    /// and therefore cannot collide with a product that has its own number.
    pub const fn enterprise_number(mut self, number: u32) -> Self {
        self.enterprise_number = number;
        self
    }
}

impl Default for Producer {
    fn default() -> Self {
        Self {
            vendor: "Spanner".to_owned(),
            enterprise_number: Self::DOCUMENTATION,
        }
    }
}
