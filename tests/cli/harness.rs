//! A node's folder, the binary run on it, and daemons that end with their test.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long anything may take that should take moments, on a machine that is busy with other tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A folder of its own for one node.
pub(crate) struct NodeDir {
    _outer: tempfile::TempDir,
    pub(crate) folder: PathBuf,
}

impl NodeDir {
    /// An empty place; the node's folder itself is not there yet.
    pub(crate) fn empty() -> Self {
        let outer = tempfile::tempdir().unwrap();
        let folder = outer.path().join("node");
        NodeDir { _outer: outer, folder }
    }

    /// A place with a node that stays on this machine and looks at no container engine.
    pub(crate) fn with_node(name: &str) -> Self {
        let place = NodeDir::empty();
        place.ok(&["init", "--name", name]);
        place.setting("listen = [\"0.0.0.0:8662\", \"[::]:8662\"]", "listen = [\"127.0.0.1:0\"]");
        place.setting("mdns = true", "mdns = false");
        place.setting("loopback = false", "loopback = true");
        place.setting("containers = \"auto\"", "containers = \"off\"");
        // A tor that happens to run on this machine is none of a test's business.
        place.setting("\nenabled = true\n\n# Its SOCKS port", "\nenabled = false\n\n# Its SOCKS port");
        place
    }

    /// Changes one line of `tombolo.toml`.
    pub(crate) fn setting(&self, from: &str, to: &str) {
        let path = self.folder.join("tombolo.toml");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "no `{from}` in {text}");
        std::fs::write(path, text.replacen(from, to, 1)).unwrap();
    }

    /// The binary on this folder, not yet started.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tombolo"));
        command.env_remove("RUST_LOG").env_remove("DOCKER_HOST").env("TOMBOLO_DATA_DIR", &self.folder);
        command.stdin(Stdio::null()).args(arguments);
        command
    }

    /// Runs the binary to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Runs it, expects success, gives standard output without the last line break.
    pub(crate) fn ok(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8(output.stdout).unwrap();
        text.strip_suffix('\n').unwrap_or(&text).to_owned()
    }

    /// Runs it with `--json`, expects success, gives the JSON.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let text = self.ok(&[arguments, &["--json"]].concat());
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{arguments:?}: {e}: {text}"))
    }

    /// Runs it, expects this exit code and nothing on standard output, gives standard error.
    pub(crate) fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {error}");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{arguments:?}");
        assert!(!error.contains("panicked"), "{error}");
        error
    }

    /// Runs it with `--json`, expects exit code 1, gives the error's code.
    pub(crate) fn error_code(&self, arguments: &[&str]) -> String {
        let error = self.fails(1, &[arguments, &["--json"]].concat());
        let json: Value = serde_json::from_str(&error).unwrap_or_else(|e| panic!("{e}: {error}"));
        assert!(json["error"]["message"].is_string(), "{error}");
        json["error"]["code"].as_str().unwrap().to_owned()
    }

    /// Starts the daemon and waits until it answers.
    pub(crate) fn up(&self) -> Daemon {
        self.up_with(&[])
    }

    /// The same with further arguments.
    pub(crate) fn up_with(&self, arguments: &[&str]) -> Daemon {
        self.up_in(&[], arguments)
    }

    /// The same in an environment with these variables.
    pub(crate) fn up_in(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Daemon {
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = self.command(&[&["up", "--json"], arguments].concat());
        command.envs(variables.iter().copied());
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let log = || std::fs::read_to_string(self.folder.join("log")).unwrap();
        let told = serde_json::from_str(&line).unwrap_or_else(|_| panic!("`up` said {line:?}: {}", log()));
        Daemon { child, told, _stdout: stdout }
    }

    /// One raw request over the socket, as curl would send it: status line and body.
    pub(crate) fn http(&self, request: &str) -> (String, String) {
        let answer = self.http_raw(request);
        let status = answer.lines().next().unwrap_or_default().to_owned();
        (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }

    /// The same, the whole answer.
    pub(crate) fn http_raw(&self, request: &str) -> String {
        let mut stream = UnixStream::connect(self.folder.join("control.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(request.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// The hash of a document, as `ls` shows it.
    pub(crate) fn hash(&self, doc: &str) -> Option<String> {
        let documents = self.json(&["ls"]);
        let document = documents.as_array().unwrap().iter().find(|d| d["name"] == doc)?;
        Some(document["hash"].as_str().unwrap().to_owned())
    }

    pub(crate) fn did(&self) -> String {
        self.json(&["id"])["did"].as_str().unwrap().to_owned()
    }
}

/// A daemon; killed when dropped.
pub(crate) struct Daemon {
    child: Child,
    told: Value,
    // Held open: a daemon must survive a closed output, but these tests are not about that.
    _stdout: BufReader<ChildStdout>,
}

impl Daemon {
    /// The line that `up` printed when it was up.
    pub(crate) fn told(&self) -> &Value {
        &self.told
    }

    /// The UDP address it listens on.
    pub(crate) fn address(&self) -> String {
        self.told["addresses"][0].as_str().unwrap().to_owned()
    }

    /// Memory of the process, kB.
    pub(crate) fn resident_kb(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Sends it a signal, such as `-STOP`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Ends it as an init system would; gives the exit code.
    pub(crate) fn terminate(mut self) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        wait(&mut self.child).code()
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits for a child that should end by itself.
pub(crate) fn wait(child: &mut Child) -> std::process::ExitStatus {
    let end = Instant::now() + PATIENCE;
    loop {
        match child.try_wait().unwrap() {
            Some(status) => return status,
            None if Instant::now() > end => {
                child.kill().unwrap();
                panic!("still running after {PATIENCE:?}");
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Asks again and again until the answer is yes.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The permission bits of a file.
pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
