//! What helps against an alarm, added to the sentence of the node by its code.

/// What follows in the sentence that two machines share this node's key.
pub(crate) const ANOTHER_KEY: &str = ", and `init` it again in an empty folder";
/// What follows where a node waits for what it wrote before.
pub(crate) const CONFIRM: &str =
    "join a peer with `tombolo join CODE`, or, if this key has never been used, start `tombolo up --new`";

/// An alarm with the command that helps; `peer` is the one that it asks to decide about, empty where there is none.
pub(crate) fn alarm(code: &str, message: &str, peer: &str) -> String {
    let peer = shell_word(peer);
    match code {
        "key_used_elsewhere" => format!("{message}{ANOTHER_KEY}"),
        "unconfirmed" => format!("{message}: {CONFIRM}"),
        "own_identity_ended" | "own_key_stolen" => {
            format!("{message}; `init` in an empty folder makes a new node")
        }
        "identity_ended" => format!("{message}: `tombolo remove {peer}` clears it away"),
        "key_stolen" => {
            format!("{message}, with `tombolo remove {peer}` or `tombolo trust {peer} LEVEL`")
        }
        "removed_by" => {
            format!("{message}: ask its operator for a new invite, or `tombolo remove {peer}`")
        }
        "two_machines" => format!("{message}, and made again with `init` in an empty folder"),
        _ => message.to_owned(),
    }
}

/// A name as one word of a command: quoted where a shell would take it apart.
pub(crate) fn shell_word(name: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._+:@-".contains(&byte);
    match !name.is_empty() && name.bytes().all(is_plain) {
        true => name.to_owned(),
        false => format!("'{}'", name.replace('\'', r"'\''")),
    }
}
