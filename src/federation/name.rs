//! Names: one rule for nodes and documents that are named here. What is there already, or comes from peers, is read under a
//! wider one, so that no name is lost.

use crate::layer::{DocumentName, DocumentNameError};
use crate::limits::NODE_NAME_BYTES_MAX;

/// Why a text is no name of a node or a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeNameError {
    /// No character at all.
    #[error("a name has at least one character")]
    Empty,
    /// It has more than [`NODE_NAME_BYTES_MAX`] bytes.
    #[error("a name has at most {NODE_NAME_BYTES_MAX} bytes")]
    TooLong,
    /// It would change the terminal or the page on which it is printed, or be invisible there.
    #[error("a name has no control characters and no invisible ones")]
    Invisible,
    /// It would look like another name in print.
    #[error("a name does not begin or end with a space")]
    Space,
    /// It would read as a path: `peer/document`.
    #[error("a name has no `/`")]
    Slash,
    /// It would pass for an identity.
    #[error("a name does not begin like an identity, with `did:` or `z6Mk`")]
    Identity,
    /// The program prints it for something else.
    #[error("this word is printed for something else")]
    Taken,
}

/// Words that the program prints where the name of a node could stand.
const PRINTED: [&str; 4] = ["(you)", "you", "-", "?"];

/// Words that it prints in the place of any name.
const PRINTED_ANYWHERE: [&str; 6] = ["(you)", "you", "(deleted)", "(none)", "(all who listen)", "(unknown)"];

/// Whether a node may be given this name here.
///
/// # Errors
///
/// The first rule that it breaks.
pub fn check_new_node_name(name: &str) -> Result<(), NodeNameError> {
    check_node_name(name)?;
    check_print(name)
}

/// Whether a document may be made under this name here.
///
/// # Errors
///
/// The first rule that it breaks: of all document names, or of those that are new.
pub fn check_new_document_name(name: &str) -> Result<DocumentName, NewDocumentNameError> {
    let read = DocumentName::new(name)?;
    match name {
        n if n.trim() != n => Err(NodeNameError::Space.into()),
        n if n.starts_with("did:") || n.starts_with("z6Mk") => Err(NodeNameError::Identity.into()),
        n => Ok(check_print(n).map(|()| read)?),
    }
}

/// Why a text is no name of a new document.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NewDocumentNameError {
    /// No document has such a name.
    #[error(transparent)]
    Document(#[from] DocumentNameError),
    /// It would be taken for something else in print.
    #[error(transparent)]
    Print(#[from] NodeNameError),
}

/// Refuses what is invisible in print, or means something else there, whatever its case and width.
fn check_print(name: &str) -> Result<(), NodeNameError> {
    let plain: String = name.chars().map(narrow).flat_map(char::to_lowercase).collect();
    match plain.as_str() {
        n if n.chars().any(|c| is_invisible(c) || is_blank(c)) => Err(NodeNameError::Invisible),
        n if PRINTED_ANYWHERE.contains(&n) || n.bytes().all(|b| b.is_ascii_punctuation()) => {
            Err(NodeNameError::Taken)
        }
        _ => Ok(()),
    }
}

/// The usual form of a character of full width.
fn narrow(c: char) -> char {
    match c {
        '\u{ff01}'..='\u{ff5e}' => char::from_u32(u32::from(c) - 0xfee0).unwrap_or(c),
        c => c,
    }
}

/// Fillers, selectors and tags: nothing is seen of them, and two names that look alike differ by them.
fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{61c}'
            | '\u{115f}' | '\u{1160}'
            | '\u{17b4}' | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// Whether a text may be the name of a node.
///
/// # Errors
///
/// The first rule that it breaks.
pub fn check_node_name(name: &str) -> Result<(), NodeNameError> {
    match name {
        "" => Err(NodeNameError::Empty),
        n if n.len() > NODE_NAME_BYTES_MAX => Err(NodeNameError::TooLong),
        n if n.chars().any(is_invisible) => Err(NodeNameError::Invisible),
        n if n.trim() != n => Err(NodeNameError::Space),
        n if n.contains('/') => Err(NodeNameError::Slash),
        n if n.starts_with("did:") || n.starts_with("z6Mk") => Err(NodeNameError::Identity),
        n if PRINTED.contains(&n) => Err(NodeNameError::Taken),
        _ => Ok(()),
    }
}

/// Control characters, and those that Unicode calls format characters and a name has no use for: zero width, direction.
fn is_invisible(c: char) -> bool {
    let is_format = matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    c.is_control() || is_format || matches!(c, '\u{2028}' | '\u{2029}')
}

/// A name that a peer gives itself: none if it breaks the rule, so that a peer with such a name is met all the same, and shown
/// by its identity.
pub fn usable_name(name: &str) -> Option<String> {
    check_node_name(name).is_ok().then(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_new_is_named_like_what_is_printed_or_unseen() {
        let names = [
            "(you)",
            "(YOU)",
            "\u{ff08}you\u{ff09}",
            "\u{ff08}\u{ff39}\u{ff2f}\u{ff35}\u{ff09}",
            "(deleted)",
            "-",
            ".",
            "..",
            "*",
            "?",
            " ",
            "\u{3000}",
            "a\u{200b}b",
            "a\u{3164}",
            "\u{2800}",
            "a\u{fe0f}",
            "did:key:z6Mk",
            "z6MkhaXgBZ",
            " a",
            "",
        ];
        for name in names {
            assert!(check_new_node_name(name).is_err(), "{name:?}");
            assert!(check_new_document_name(name).is_err(), "{name:?}");
        }
        for name in ["plan", "Dienstplan März", "notes.2", "(draft)", "山小屋", "🛶", "a-b", "C++"] {
            assert!(check_new_node_name(name).is_ok() && check_new_document_name(name).is_ok(), "{name:?}");
        }
        // What is there is read.
        for name in ["(YOU)", ".", "a\u{fe0f}"] {
            assert!(usable_name(name).is_some() && DocumentName::new(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn each_rule_has_its_reason() {
        let long = "x".repeat(65);
        for (name, why) in [
            ("", NodeNameError::Empty),
            (long.as_str(), NodeNameError::TooLong),
            ("a\u{1b}[2J", NodeNameError::Invisible),
            ("hut\u{200b}", NodeNameError::Invisible),
            ("\u{202e}tuh", NodeNameError::Invisible),
            (" hut", NodeNameError::Space),
            ("hut ", NodeNameError::Space),
            ("hut/plan", NodeNameError::Slash),
            ("did:key:z6Mk", NodeNameError::Identity),
            ("z6MkhaXgBZ", NodeNameError::Identity),
            ("(you)", NodeNameError::Taken),
        ] {
            assert_eq!(check_node_name(name), Err(why), "{name:?}");
            assert_eq!(usable_name(name), None, "{name:?}");
        }
        for name in ["hut", "field station 2", "Дом", "山小屋", "🛶", &"x".repeat(64)] {
            assert_eq!(check_node_name(name), Ok(()), "{name:?}");
        }
    }
}
