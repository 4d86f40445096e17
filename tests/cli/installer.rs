//! A node that lets its peers install apps: a catalogue, and a command of the operator that writes down each run.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::harness::NodeDir;

pub(crate) const CATALOGUE: &str = "marketplace-url = \"https://market.example\"\n\n[[app]]\nid = \"web\"\nversions = [\"1.2\"]\n\n[[app]]\nid = \"slow\"\n";

/// Lets peers install apps on a node: by a script that notes its arguments, waits as long as `hold` is there, and speaks.
pub(crate) fn allow(place: &NodeDir) -> PathBuf {
    let runs = place.folder.join("runs");
    let script = place.folder.join("install.sh");
    let text = format!(
        "#!/bin/sh\nprintf '%s\\n' \"$*\" >> '{0}/runs'\nwhile [ -e '{0}/hold' ]; do sleep 0.05; done\necho \"$1 is installed\"\n[ \"$1\" != broken ]\n",
        place.folder.display()
    );
    write_program(&script, &text);
    let command = format!("\ncommand = [\"{}\", \"{{id}}\", \"{{version}}\", \"{{url}}\"]", script.display());
    place.setting("\ncommand = []", &command);
    std::fs::write(place.folder.join("catalogue.toml"), CATALOGUE).unwrap();
    runs
}

pub(crate) fn write_program(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

pub(crate) fn runs(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}
