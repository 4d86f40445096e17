//! Who may open a file, by the modes of the file and of the folders above it: pure, to explain a refusal of the system.

use std::path::PathBuf;

/// Permission bits of one class.
pub(super) const READ: u32 = 4;
pub(super) const WRITE: u32 = 2;
pub(super) const SEARCH: u32 = 1;

/// A user of this machine, as the process runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct LocalUser {
    pub(super) uid: u32,
    /// The groups of the process.
    pub(super) gids: Vec<u32>,
    /// The name, or the number where it has none.
    pub(super) name: String,
    /// The names of the groups that it is in by the system's list, which a login before does not have yet.
    pub(super) listed_groups: Vec<String>,
}

/// What the system shows of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileFacts {
    pub(super) path: PathBuf,
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// The permission bits of the file.
    pub(super) mode: u32,
    /// The names of owner and group, or their numbers.
    pub(super) owner: String,
    pub(super) group: String,
}

impl LocalUser {
    /// Whether the modes of a file give all these bits.
    pub(super) fn may(&self, file: &FileFacts, bits: u32) -> bool {
        let shift = match () {
            () if self.uid == 0 => return true,
            () if self.uid == file.uid => 6,
            () if self.gids.contains(&file.gid) => 3,
            () => 0,
        };
        file.mode >> shift & bits == bits
    }
}

/// The file that stands in the way: a folder that may not be searched, or the last of the path, which needs `bits`. The path
/// starts at the root.
pub(super) fn blocked_at<'a>(user: &LocalUser, path: &'a [FileFacts], bits: u32) -> Option<&'a FileFacts> {
    let (last, folders) = path.split_last()?;
    let closed = folders.iter().find(|folder| !user.may(folder, SEARCH));
    closed.or_else(|| Some(last).filter(|last| !user.may(last, bits)))
}

/// The file with its owner, group and mode, for a reason.
pub(super) fn described(file: &FileFacts) -> String {
    let FileFacts { path, owner, group, mode, .. } = file;
    format!("{} (owner {owner}, group {group}, mode {mode:03o})", path.display())
}

/// What lets the user pass: membership of the file's group, if the group has the bits; else none.
pub(super) fn group_remedy(user: &LocalUser, file: &FileFacts, bits: u32) -> Option<String> {
    let (name, group) = (&user.name, &file.group);
    if file.mode >> 3 & bits != bits || file.gid == 0 {
        return None;
    }
    if user.listed_groups.contains(group) {
        return Some(format!(
            "{name} is in the group {group} since its last login: log in again, and start the node again"
        ));
    }
    Some(format!("`adduser {name} {group}` as root, then log in again and start the node again"))
}

/// The name of an id in the text of `/etc/passwd` or `/etc/group`.
pub(super) fn name_of_id(text: &str, id: u32) -> Option<String> {
    let named = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, _, number) = (fields.next()?, fields.next()?, fields.next()?);
        (number.parse() == Ok(id)).then_some(name)
    });
    named.map(str::to_owned)
}

/// The groups that list a user, in the text of `/etc/group`.
pub(super) fn groups_listing(text: &str, user: &str) -> Vec<String> {
    let lists = |line: &&str| {
        line.rsplit_once(':').is_some_and(|(_, members)| members.split(',').any(|name| name == user))
    };
    text.lines().filter(lists).filter_map(|line| line.split(':').next()).map(str::to_owned).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::cli::doctor) fn file(path: &str, owner: u32, group: u32, mode: u32) -> FileFacts {
        let name = |id: u32| match id {
            0 => "root".to_owned(),
            20 => "dialout".to_owned(),
            108 => "debian-tor".to_owned(),
            1000 => "ada".to_owned(),
            id => id.to_string(),
        };
        FileFacts { path: path.into(), uid: owner, gid: group, mode, owner: name(owner), group: name(group) }
    }

    pub(in crate::cli::doctor) fn ada() -> LocalUser {
        LocalUser { uid: 1000, gids: vec![1000], name: "ada".to_owned(), listed_groups: Vec::new() }
    }

    #[test]
    fn the_class_that_applies_decides_alone() {
        let user = LocalUser { gids: vec![1000, 20], ..ada() };
        assert!(user.may(&file("x", 1000, 0, 0o600), READ | WRITE));
        assert!(!user.may(&file("x", 1000, 20, 0o077), READ), "the owner's bits, not the group's");
        assert!(user.may(&file("x", 0, 20, 0o660), READ | WRITE));
        assert!(!user.may(&file("x", 0, 20, 0o606), READ), "the group's bits, not those of others");
        assert!(!user.may(&file("x", 0, 0, 0o660), READ) && user.may(&file("x", 0, 0, 0o664), READ));
        assert!(LocalUser { uid: 0, ..ada() }.may(&file("x", 5, 5, 0), READ));
    }

    #[test]
    fn the_first_closed_part_of_a_path_stands_in_the_way() {
        let path = |folder: u32, socket: u32| {
            [
                file("/", 0, 0, 0o755),
                file("/run/tor", 108, 108, folder),
                file("/run/tor/control", 108, 108, socket),
            ]
        };
        let at = |path: &[FileFacts], user: &LocalUser| {
            blocked_at(user, path, READ | WRITE).map(|file| file.path.display().to_string())
        };
        assert_eq!(at(&path(0o750, 0o660), &ada()).as_deref(), Some("/run/tor"));
        assert_eq!(at(&path(0o755, 0o660), &ada()).as_deref(), Some("/run/tor/control"));
        let member = LocalUser { gids: vec![108], ..ada() };
        assert_eq!(at(&path(0o750, 0o660), &member), None);
        assert_eq!(at(&path(0o750, 0o600), &member).as_deref(), Some("/run/tor/control"));
        assert_eq!(at(&[], &ada()), None);
    }

    #[test]
    fn the_remedy_is_the_group_only_where_the_group_may() {
        let socket = file("/run/tor/control", 108, 108, 0o660);
        let remedy = group_remedy(&ada(), &socket, READ | WRITE).unwrap();
        assert!(remedy.contains("`adduser ada debian-tor`"), "{remedy}");
        let listed = LocalUser { listed_groups: vec!["debian-tor".to_owned()], ..ada() };
        assert!(group_remedy(&listed, &socket, READ).unwrap().contains("log in again"));
        assert_eq!(group_remedy(&ada(), &file("x", 108, 108, 0o600), READ), None);
        assert_eq!(group_remedy(&ada(), &file("x", 0, 0, 0o660), READ), None, "never the group of root");
    }

    #[test]
    fn names_are_read_from_the_systems_lists() {
        let groups = "root:x:0:\ndialout:x:20:direwolf,ada\nada:x:1000:\nodd\n:::\n";
        assert_eq!(name_of_id(groups, 20).as_deref(), Some("dialout"));
        assert_eq!(name_of_id(groups, 21), None);
        assert_eq!(groups_listing(groups, "ada"), ["dialout"]);
        assert!(groups_listing(groups, "ad").is_empty());
    }
}
