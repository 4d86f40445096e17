//! Names of nodes: one rule for those that an operator chooses and those that come from peers.

use crate::limits::NODE_NAME_BYTES_MAX;

/// Why a text is no name of a node.
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
