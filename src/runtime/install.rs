//! Runs the operator's command for deploys, and follows the operator's catalogue.
//!
//! The command is a template of words; `{id}`, `{version}` and `{url}` in them are filled in, and no shell reads the result.
//! What it writes is read as it comes and only its end is kept, so a program that never stops writing takes no memory. A
//! program over its time is ended with everything that it started.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, SystemTime};

use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::process_group::ProcessGroup;
use super::template::filled;
use super::{NodeClient, Task};
use crate::commands::{CommandKey, Deploy, OUTPUT_BYTES_MAX, RunEnd, RunResult, tail_of};
use crate::folder::load_catalogue;
use crate::node::Input;
use crate::system_clock::next_look;

/// How long the last output of a program may take to be read once it has ended.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// An install that is to be run.
pub(crate) type Install = (CommandKey, Deploy);

/// What the operator set for deploys.
#[derive(Clone, Debug)]
pub(crate) struct InstallSettings {
    /// The command, as words; empty where there is none.
    pub(crate) template: Vec<String>,
    /// How long it may take.
    pub(crate) timeout: Duration,
    /// The file that holds the catalogue.
    pub(crate) catalogue: PathBuf,
}

/// Runs installs as long as it is held. Dropped, it ends those that run.
pub(crate) struct Installer {
    tasks: JoinSet<()>,
}

impl Installer {
    /// Starts to take installs, and to follow the catalogue.
    pub(crate) fn start(
        settings: InstallSettings,
        installs: mpsc::Receiver<Install>,
        client: NodeClient,
    ) -> Installer {
        let mut tasks = JoinSet::new();
        tasks.spawn(follow_catalogue(settings.catalogue.clone(), client.clone()));
        tasks.spawn(serve(settings, installs, client));
        Installer { tasks }
    }

    /// Ends the installs that run; their outcome is unknown at the next start.
    pub(crate) async fn shutdown(mut self) {
        self.tasks.shutdown().await;
    }
}

async fn serve(settings: InstallSettings, mut installs: mpsc::Receiver<Install>, client: NodeClient) {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            install = installs.recv() => match install {
                Some((key, deploy)) => {
                    tracing::info!(app = deploy.id, version = deploy.version, "installing for a peer");
                    let words = words_of(&settings.template, &deploy);
                    let (client, timeout) = (client.clone(), settings.timeout);
                    running.spawn(async move {
                        let result = run(&words, timeout).await;
                        tracing::info!(app = deploy.id, "{}", result.end);
                        let _ = client.send(Task::Input(Input::Installed { key, result })).await;
                    });
                }
                None => break,
            },
            Some(ended) = running.join_next() => {
                if let Err(error) = ended {
                    tracing::error!("an install was not run to its end: {error}");
                }
            }
        }
    }
}

/// The template with its places filled.
fn words_of(template: &[String], deploy: &Deploy) -> Vec<String> {
    let places =
        [("{id}", deploy.id.as_str()), ("{version}", &deploy.version), ("{url}", &deploy.marketplace_url)];
    filled(template, &places)
}

/// Runs a program to its end, or to the end of its time.
pub(super) async fn run(words: &[String], timeout: Duration) -> RunResult {
    let not_started = |why: io::Error| {
        let program = words.first().map_or("", String::as_str);
        RunResult { end: RunEnd::NotStarted, output: format!("{program}: {why}") }
    };
    match Program::spawn(words) {
        Ok(program) => program.watch(timeout).await,
        Err(error) => not_started(error),
    }
}

/// A program that runs, with the pipe that it writes to.
struct Program {
    child: tokio::process::Child,
    group: ProcessGroup,
    output: pipe::Receiver,
}

impl Program {
    fn spawn(words: &[String]) -> io::Result<Program> {
        let (program, arguments) = words.split_first().ok_or(io::ErrorKind::NotFound)?;
        // One pipe for both: what was written first stands first.
        let (read, write) = io::pipe()?;
        let output = pipe::Receiver::from_owned_fd(read.into())?;
        let mut command = tokio::process::Command::new(program);
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(write.try_clone()?)
            .stderr(write)
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn()?;
        let group = ProcessGroup::of(&child);
        Ok(Program { child, group, output })
    }

    async fn watch(mut self, timeout: Duration) -> RunResult {
        let mut tail = Tail::default();
        let ended = tokio::time::timeout(timeout, ended(&mut self.child, &mut self.output, &mut tail)).await;
        let end = match ended {
            Ok(Ok(status)) => {
                // Waited for: its id may be another's from now on.
                self.group.forget();
                let _ = tokio::time::timeout(LAST_OUTPUT, read_all(&mut self.output, &mut tail)).await;
                end_of(status)
            }
            Ok(Err(error)) => return RunResult { end: RunEnd::NotStarted, output: error.to_string() },
            Err(_) => {
                self.group.kill();
                let _ = self.child.wait().await;
                RunEnd::TimedOut
            }
        };
        RunResult { end, output: tail.text() }
    }
}

/// Reads until the program has ended. What it leaves running may hold the pipe open: its own end is what counts.
async fn ended(
    child: &mut tokio::process::Child,
    output: &mut pipe::Receiver,
    tail: &mut Tail,
) -> io::Result<ExitStatus> {
    tokio::select! {
        status = child.wait() => return status,
        () = read_all(output, tail) => {}
    }
    child.wait().await
}

/// Reads until the pipe is closed.
async fn read_all(output: &mut pipe::Receiver, tail: &mut Tail) {
    let mut buffer = [0; OUTPUT_BYTES_MAX];
    while let Ok(count) = output.read(&mut buffer).await {
        let Some(bytes) = buffer.get(..count).filter(|bytes| !bytes.is_empty()) else { return };
        tail.push(bytes);
    }
}

fn end_of(status: ExitStatus) -> RunEnd {
    let number = |number: i32| u8::try_from(number).ok();
    match (status.code(), status.signal().and_then(number)) {
        (Some(0), _) => RunEnd::Success,
        // A unix exit code is one byte.
        (Some(code), _) => RunEnd::Exit(number(code).filter(|code| *code > 0).unwrap_or(u8::MAX)),
        (None, signal) => RunEnd::Signal(signal.filter(|signal| *signal > 0).unwrap_or(u8::MAX)),
    }
}

/// The last bytes of an output.
#[derive(Default)]
struct Tail(Vec<u8>);

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
        let surplus = self.0.len().saturating_sub(OUTPUT_BYTES_MAX);
        self.0.drain(..surplus);
    }

    /// The text, without the control characters that move a cursor.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let shown = text.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect::<String>();
        // Bytes that are no text take three each as replacement characters.
        tail_of(&shown, OUTPUT_BYTES_MAX).trim_end().to_owned()
    }
}

/// Reads the catalogue again when its file has changed.
async fn follow_catalogue(path: PathBuf, client: NodeClient) {
    let mut seen = mark_of(&path);
    loop {
        tokio::time::sleep_until(next_look()).await;
        let mark = mark_of(&path);
        if mark == seen {
            continue;
        }
        seen = mark;
        let read = {
            let path = path.clone();
            tokio::task::spawn_blocking(move || load_catalogue(&path)).await
        };
        let Ok(catalogue) = read else { return };
        tracing::info!("{} was read again", path.display());
        if client.send(Task::Input(Input::Catalogue(catalogue))).await.is_err() {
            return;
        }
    }
}

/// What shows that a file is another one than before.
fn mark_of(path: &Path) -> Option<(u64, Option<SystemTime>)> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.len(), metadata.modified().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::CommandId;
    use crate::runtime::tests::client_and_tasks;
    use tombolo_transports::PeerId;

    fn deploy() -> Deploy {
        Deploy::new("web", "1.2", "https://m.example/{id}").unwrap()
    }

    fn words(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn places_are_filled_once_and_other_braces_stay() {
        let template = words(&["/bin/x", "{id}:{version}", "--from={url}", "{{id}}", "{other}", "{"]);
        let expected =
            words(&["/bin/x", "web:1.2", "--from=https://m.example/{id}", "{web}", "{other}", "{"]);
        assert_eq!(words_of(&template, &deploy()), expected);
    }

    async fn shell(script: &str, timeout: Duration) -> RunResult {
        run(&words(&["/bin/sh", "-c", script]), timeout).await
    }

    const LONG: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_end_and_the_last_output_of_a_program_are_reported() {
        let ended = shell("echo one; echo two >&2; echo three", LONG).await;
        assert_eq!(ended, RunResult { end: RunEnd::Success, output: "one\ntwo\nthree".into() });
        assert_eq!(shell("exit 3", LONG).await.end, RunEnd::Exit(3));
        assert_eq!(shell("kill -TERM $$", LONG).await.end, RunEnd::Signal(15));
        let missing = run(&words(&["/nonexistent/x"]), LONG).await;
        assert_eq!(missing.end, RunEnd::NotStarted);
        assert!(missing.output.contains("/nonexistent/x"), "{}", missing.output);
    }

    /// Words of a peer reach the program as they are: no shell reads them.
    #[tokio::test]
    async fn no_shell_reads_the_words() {
        let ended = run(&words(&["/bin/echo", "$(id)", ";", "`id`", "a b"]), LONG).await;
        assert_eq!(ended.output, "$(id) ; `id` a b");
    }

    #[tokio::test]
    async fn a_program_that_writes_without_end_is_read_without_end_and_kept_in_part() {
        let ended = shell("yes | head -c 5000000; printf last", LONG).await;
        assert_eq!(ended.end, RunEnd::Success);
        assert!(ended.output.len() <= OUTPUT_BYTES_MAX && ended.output.ends_with("y\nlast"));
        let garbage = shell("head -c 9000 /dev/urandom", LONG).await;
        assert!(garbage.output.len() <= OUTPUT_BYTES_MAX);
    }

    #[tokio::test]
    async fn a_program_over_its_time_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let script = format!("echo begun; (sleep 2; echo late > '{}') & sleep 30", mark.display());
        let ended = shell(&script, Duration::from_millis(500)).await;
        assert_eq!(ended, RunResult { end: RunEnd::TimedOut, output: "begun".into() });
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!mark.exists(), "it outlived its program");
    }

    /// The pipe stays open in the hands of what a program leaves behind, like a container's monitor.
    #[tokio::test]
    async fn a_program_that_leaves_something_running_has_ended() {
        let ended = tokio::time::timeout(Duration::from_secs(5), shell("sleep 7 & echo up", LONG)).await;
        assert_eq!(ended.expect("waited for the pipe to close").output, "up");
    }

    #[tokio::test]
    async fn an_install_comes_back_with_its_key() {
        let (client, mut tasks) = client_and_tasks();
        let (installs_in, installs) = mpsc::channel(1);
        let settings = InstallSettings {
            template: words(&["/bin/echo", "{id}", "{version}"]),
            timeout: LONG,
            catalogue: "/nonexistent/catalogue.toml".into(),
        };
        let installer = Installer::start(settings, installs, client);
        let key = CommandKey { sender: PeerId([1; 32]), id: CommandId([2; 16]) };
        installs_in.send((key, deploy())).await.unwrap();
        match tasks.recv().await {
            Some(Task::Input(Input::Installed { key: of, result })) => {
                assert_eq!((of, result.output.as_str()), (key, "web 1.2"));
            }
            _ => panic!("something else came"),
        }
        installer.shutdown().await;
    }
}
