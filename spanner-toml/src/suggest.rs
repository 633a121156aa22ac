//! "did you mean": suggestions for words that are not known.

use crate::lookalike;

/// A word of a file in backticks, cut to what fits a line. Confusable words have their code points
/// beside them.
#[must_use]
pub fn quoted(word: &str) -> String {
    let cut: String = word.chars().take(MAX_QUOTED).collect();
    let shown = lookalike::marked(&cut);
    if cut.len() < word.len() {
        format!("`{shown}…`")
    } else {
        format!("`{shown}`")
    }
}

/// Advice for an unknown word: `did you mean …?` with the nearest known word, or `otherwise` if
/// none is near.
pub fn suggestion<'w>(
    word: &str,
    known: impl IntoIterator<Item = &'w str>,
    otherwise: &str,
) -> String {
    let word: String = word.chars().take(MAX_QUOTED).collect();
    let near = known
        .into_iter()
        .map(|candidate| (strsim::damerau_levenshtein(&word, candidate), candidate))
        .filter(|(distance, candidate)| *distance <= (candidate.len() * 2 / 5).clamp(1, 3))
        .min();
    match near {
        Some((_, candidate)) => format!("did you mean {}?", quoted(candidate)),
        None => otherwise.to_owned(),
    }
}

/// Words in backticks, separated by commas; at most eight.
pub fn listed<'w>(words: impl IntoIterator<Item = &'w str>) -> String {
    let mut quoted_words: Vec<String> = words.into_iter().map(quoted).collect();
    let count = quoted_words.len();
    quoted_words.truncate(MAX_LISTED);
    let mut text = quoted_words.join(", ");
    if count > MAX_LISTED {
        text.push_str(", …");
    }
    text
}

/// The number of characters of a file's word that are quoted: the longest alias and group fit.
const MAX_QUOTED: usize = 80;

/// The number of words in a list of known words.
const MAX_LISTED: usize = 8;
