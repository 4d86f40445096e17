//! The names of documents, and those that the engine itself uses.

use std::cmp::Ordering;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::limits::NAME_BYTES_MAX;

/// A document's name: 1 to 64 bytes of text without `/`, `\` or control characters.
///
/// It is a part of each name of a layer, so copies share its bytes.
#[derive(Clone)]
pub struct DocumentName(NameText);

#[derive(Clone)]
enum NameText {
    /// One of those that stand in the program.
    Static(&'static str),
    Shared(Arc<str>),
}

/// Why a text is no document name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DocumentNameError {
    /// No bytes at all.
    #[error("it is empty")]
    Empty,
    /// The name is longer than [`NAME_BYTES_MAX`].
    #[error("it is longer than {NAME_BYTES_MAX} bytes")]
    TooLong,
    /// It would read as a path, or as the name of a peer before that of a document.
    #[error("`/` and `\\` are not allowed in it")]
    Slash,
    /// It would change the terminal it is printed on.
    #[error("control characters are not allowed in it")]
    Control,
}

impl DocumentName {
    /// The node state of its owner.
    pub const STATE: &'static str = "state";
    /// Who reads and writes its owner's documents.
    pub const AUDIENCE: &'static str = "audience";
    /// The key under which radios speak of its owner's documents, sealed for each of its readers.
    pub const KEYS: &'static str = "keys";
    /// What became of the commands that others sent to its owner.
    pub const DEPLOYS: &'static str = "deploys";
    /// The alarms that its owner reports, has acknowledged, and sends messages about.
    pub const ALARMS: &'static str = "alarms";

    /// What the name of a brief ends in.
    pub const BRIEF: &'static str = ".brief";

    /// The name of this document's brief, if it is not too long for one and not a brief itself.
    pub fn brief(&self) -> Option<Self> {
        let is_brief = self.as_str().ends_with(Self::BRIEF);
        Self::new(&format!("{}{}", self.as_str(), Self::BRIEF)).ok().filter(|_| !is_brief)
    }

    /// A name from outside.
    ///
    /// # Errors
    ///
    /// The rule that the name breaks.
    pub fn new(text: &str) -> Result<Self, DocumentNameError> {
        Self::check(text)?;
        Ok(DocumentName(NameText::Shared(text.into())))
    }

    /// A name that stands in the program.
    pub(crate) fn reserved(text: &'static str) -> Self {
        debug_assert!(Self::check(text).is_ok(), "reserved names are valid document names");
        DocumentName(NameText::Static(text))
    }

    fn check(text: &str) -> Result<(), DocumentNameError> {
        if text.is_empty() {
            return Err(DocumentNameError::Empty);
        }
        if text.len() > NAME_BYTES_MAX {
            return Err(DocumentNameError::TooLong);
        }
        if text.contains(['/', '\\']) {
            return Err(DocumentNameError::Slash);
        }
        if text.chars().any(char::is_control) {
            return Err(DocumentNameError::Control);
        }
        Ok(())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        match &self.0 {
            NameText::Static(text) => text,
            NameText::Shared(text) => text,
        }
    }

    /// Whether only the owner writes the document, whatever its audience: what the engine itself writes, and briefs.
    pub fn is_owners_alone(&self) -> bool {
        self.is_reserved() || self.as_str().ends_with(Self::BRIEF)
    }

    /// Whether the engine itself writes the document.
    pub fn is_reserved(&self) -> bool {
        matches!(
            self.as_str(),
            Self::STATE | Self::AUDIENCE | Self::KEYS | Self::DEPLOYS | Self::ALARMS | "state.brief"
        )
    }
}

/// So that a table by name can be asked with any text.
impl std::borrow::Borrow<str> for DocumentName {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

impl std::fmt::Debug for DocumentName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("DocumentName").field(&self.as_str()).finish()
    }
}

impl PartialEq for DocumentName {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl Eq for DocumentName {}

impl PartialOrd for DocumentName {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for DocumentName {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_str().cmp(other.as_str())
    }
}

impl Hash for DocumentName {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    /// Where the bytes of a name stand is no part of it.
    #[test]
    fn a_name_of_the_program_is_the_same_name_from_outside() {
        let (here, outside) = (DocumentName::reserved("state"), DocumentName::new("state").unwrap());
        assert_eq!(here, outside);
        assert_eq!(here.cmp(&outside), Ordering::Equal);
        assert!(here < DocumentName::new("state.brief").unwrap() && here > DocumentName::reserved("keys"));
        assert!(HashSet::from([here]).contains(&outside));
    }
}
