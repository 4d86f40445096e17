//! Section `[socket]`: which users of this machine may use the local interface.

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// Bytes of a group's name; systems take at most 32.
const GROUP_BYTES_MAX: usize = 64;

/// Section `[socket]`: the local interface.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SocketSettings {
    /// The group whose members may use it, by name or number; none: only the user of the node.
    #[serde(deserialize_with = "group")]
    pub group: Option<String>,
}

fn group<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let is_plain = |byte: u8| byte.is_ascii_graphic() && byte != b':';
    match text.len() <= GROUP_BYTES_MAX && text.bytes().all(is_plain) {
        true => Ok(Some(text).filter(|text| !text.is_empty())),
        false => Err(D::Error::custom(format!("`{text}` is no name of a group, like \"staff\""))),
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    #[test]
    fn a_group_is_a_name_or_none() {
        let read = |group: &str| Config::parse(&format!("name = \"a\"\n[socket]\ngroup = \"{group}\"\n"));
        assert_eq!(read("staff").unwrap().socket.group.as_deref(), Some("staff"));
        assert_eq!(read("").unwrap().socket.group, None);
        assert!(read("a b").unwrap_err().1.contains("staff") && read("a:b").is_err());
    }
}
