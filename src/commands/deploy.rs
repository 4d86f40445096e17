//! Deploy: installing an app at a peer. Its words end up as arguments of an operator's program, so their form is narrow.

use serde::{Deserialize, Serialize};

/// Characters of an app's id or version.
const NAME_CHARS_MAX: usize = 64;
/// Bytes of a marketplace URL.
pub const MARKETPLACE_BYTES_MAX: usize = 256;

/// A request to install an app.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deploy {
    /// The id of the app, `[A-Za-z0-9][A-Za-z0-9._+-]{0,63}`.
    pub id: String,
    /// The version, of the same form.
    pub version: String,
    /// Where the app comes from; empty where the catalogues name no marketplace.
    pub marketplace_url: String,
}

/// Why a deploy is not well-formed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadDeploy {
    /// The id has another form.
    #[error("`{0}` cannot be an app's id: 1 to 64 of A-Z a-z 0-9 . _ + -, the first a letter or digit")]
    Id(String),
    /// The version has another form.
    #[error("`{0}` cannot be a version: 1 to 64 of A-Z a-z 0-9 . _ + -, the first a letter or digit")]
    Version(String),
    /// The marketplace is no URL that could be passed on.
    #[error(
        "a marketplace is at most 256 bytes, without spaces and control characters, and does not begin with `-`"
    )]
    Marketplace,
}

impl Deploy {
    /// A deploy of these words.
    ///
    /// # Errors
    /// The word that does not have its form.
    pub fn new(id: &str, version: &str, marketplace_url: &str) -> Result<Self, BadDeploy> {
        let deploy = Deploy {
            id: id.to_owned(),
            version: version.to_owned(),
            marketplace_url: marketplace_url.to_owned(),
        };
        deploy.check().map(|()| deploy)
    }

    /// Checks the form of each word.
    ///
    /// # Errors
    /// The word that does not have its form.
    pub fn check(&self) -> Result<(), BadDeploy> {
        if !is_name(&self.id) {
            return Err(BadDeploy::Id(self.id.clone()));
        }
        if !is_name(&self.version) {
            return Err(BadDeploy::Version(self.version.clone()));
        }
        if !is_marketplace(&self.marketplace_url) {
            return Err(BadDeploy::Marketplace);
        }
        Ok(())
    }
}

/// Whether a text matches `[A-Za-z0-9][A-Za-z0-9._+-]{0,63}`.
pub(super) fn is_name(text: &str) -> bool {
    let starts = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-');
    starts && text.len() <= NAME_CHARS_MAX && text.bytes().all(fits)
}

/// Whether a text can be a marketplace: what follows `{url}` in the operator's command must stay one plain word.
pub(super) fn is_marketplace(text: &str) -> bool {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace();
    text.len() <= MARKETPLACE_BYTES_MAX && !text.starts_with('-') && text.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_plain_words_are_names() {
        for good in ["web", "1", "a.b_c+d-e", &"x".repeat(64)] {
            assert!(is_name(good), "{good}");
        }
        for bad in ["", "-rf", ".a", "a b", "a/b", "ä", "a\n", "a;b", "$(x)", "{url}", &"x".repeat(65)] {
            assert!(!is_name(bad), "{bad}");
        }
    }

    #[test]
    fn a_marketplace_is_one_word_and_no_option() {
        assert_eq!(Deploy::new("web", "1", "https://m.example/x?a=b").map(|d| d.id), Ok("web".to_owned()));
        for bad in ["-x", "a b", "a\tb", "a\0", &"x".repeat(257)] {
            assert_eq!(Deploy::new("web", "1", bad), Err(BadDeploy::Marketplace), "{bad}");
        }
    }
}
