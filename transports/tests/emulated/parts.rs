//! Real parts: programs that a test starts, and what it prints where they cannot be had.

use super::PATIENCE;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};

/// Set in the copy of a test that runs in a namespace of its own.
const INSIDE: &str = "TOMBOLO_TEST_NAMESPACE";

/// Whether this test is too slow for a quick run; prints so if it is.
pub(crate) fn quick() -> bool {
    let quick = std::env::var("TOMBOLO_QUICK").is_ok_and(|quick| quick == "1");
    if quick {
        println!("SKIPPED: quick run, real radios are left out");
    }
    quick
}

/// Whether a program is there.
pub(crate) fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs the test of this name again in a network namespace of its own, where this process may make one: Dire Wolf listens
/// on all interfaces. Returns whether it did, so that nothing is left to do here.
pub(crate) fn ran_in_namespace(test: &str) -> bool {
    let possible = Command::new("unshare").args(["-n", "true"]).stderr(Stdio::null()).status();
    if std::env::var_os(INSIDE).is_some() || !possible.is_ok_and(|status| status.success()) {
        return false;
    }
    let output = Command::new("unshare")
        .args(["-n", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{test} failed in its namespace:\n{told}{error}");
    // Not the copy's own summary: it would be counted as a test of its own.
    told.lines()
        .filter(|line| line.starts_with("totals:") || line.starts_with("SKIPPED:"))
        .for_each(|line| println!("{line}"));
    true
}

/// Whether ALSA can speak to PulseAudio.
fn has_sound_plugin() -> bool {
    let plugin = "alsa-lib/libasound_module_pcm_pulse.so";
    let below = std::fs::read_dir("/usr/lib").into_iter().flatten().flatten().map(|entry| entry.path());
    below.chain(["/usr/lib".into(), "/usr/lib64".into()]).any(|folder| folder.join(plugin).is_file())
}

/// Two Dire Wolf TNCs on one air. Dropped, they are gone.
pub(crate) struct Direwolf {
    folder: PathBuf,
    settings: Vec<(&'static str, String)>,
    pub(crate) kiss: Vec<String>,
}

impl Direwolf {
    /// The pair, unless this machine cannot have it: then a line is printed, in the words that `scripts/test` counts.
    pub(crate) fn start(settings: &[(&'static str, &str)]) -> Option<Self> {
        for (program, package) in [("direwolf", "direwolf"), ("pulseaudio", "pulseaudio libasound2-plugins")]
        {
            if !has(program) {
                println!("SKIPPED: needs {program} (apt install {package})");
                return None;
            }
        }
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("tombolo-dw-{}-{number}", std::process::id()));
        let settings = settings.iter().map(|(name, value)| (*name, value.to_string())).collect();
        let mut pair = Self { folder, settings, kiss: vec![] };
        let told = pair.command(&["start"]);
        pair.kiss = told.lines().filter_map(|line| line.split_once('=')).map(|(_, at)| at.into()).collect();
        assert_eq!(pair.kiss.len(), 2, "{told}");
        Some(pair)
    }

    /// One command of the script.
    pub(crate) fn command(&self, arguments: &[&str]) -> String {
        let output = Command::new(lab("direwolf"))
            .args(arguments)
            .env("DW_DIR", &self.folder)
            .env("DW_BAUD", "9600")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "direwolf {}: {error}", arguments.join(" "));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Direwolf {
    fn drop(&mut self) {
        let _ = Command::new(lab("direwolf")).arg("stop").env("DW_DIR", &self.folder).status();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// A program that reports its work line by line. Dropping it ends it.
pub(crate) struct Program {
    child: Child,
    lines: Receiver<String>,
}

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (tell, lines) = channel();
        std::thread::spawn(move || stdout.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { child, lines }
    }

    /// The next line, unless it takes too long or there is none any more.
    pub(crate) fn line(&self) -> Option<String> {
        self.lines.recv_timeout(PATIENCE).ok()
    }

    /// A line that is there already.
    pub(crate) fn line_now(&self) -> Option<String> {
        self.lines.try_recv().ok()
    }

    /// The lines up to the one that begins like this, that one included.
    #[track_caller]
    pub(crate) fn until(&self, begins: &str) -> Vec<String> {
        let mut told = vec![];
        loop {
            let Some(line) = self.line() else { panic!("no line {begins:?} after {told:?}") };
            told.push(line);
            if told.last().is_some_and(|line| line.starts_with(begins)) {
                return told;
            }
        }
    }

    pub(crate) fn write(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().unwrap();
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).unwrap();
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A Python that has these PyPI packages, in a folder that is kept; where they cannot be had, a line is printed, in
/// the words that `scripts/test` counts.
pub(crate) fn python(packages: &[&str]) -> Option<PathBuf> {
    let names: Vec<_> = packages.iter().map(|package| package.split('=').next().unwrap()).collect();
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("python-{}", packages.join("-")));
    let python = folder.join("bin/python");
    // Tests of several processes want the same: one makes it, the others wait.
    let lock = std::fs::File::create(folder.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if !folder.join("complete").exists() {
        let _ = std::fs::remove_dir_all(&folder);
        let made = Command::new("python3").args(["-m", "venv"]).arg(&folder).output();
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--retries", "1"];
        let installed = made.is_ok_and(|made| made.status.success())
            && Command::new(&python).args(pip).args(packages).output().is_ok_and(|pip| pip.status.success());
        if !installed {
            println!("SKIPPED: needs the PyPI package {0} (pip install {0})", names.join(" "));
            return None;
        }
        std::fs::write(folder.join("complete"), "").unwrap();
    }
    Some(python)
}

/// Where a script of the lab is.
pub(crate) fn lab(script: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../scripts/lab")).join(script)
}

/// Where a client of another make is driven from.
pub(crate) fn client(script: &str) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/emulated")).join(script)
}
