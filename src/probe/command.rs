//! Apps from a program or a file that the operator names, as JSON or as lines:
//!
//! ```text
//! [{"id": "web", "status": "running", "version": "1.2"}, {"id": "db", "status": "stopped"}]
//! ```
//!
//! ```text
//! web running 1.2
//! # a comment
//! db stopped
//! ```

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::node::{App, AppStatus};
use crate::runtime::NodeClient;
use crate::runtime::process_group::ProcessGroup;

/// Bytes read of a list; a longer one is refused.
pub const LIST_BYTES_MAX: u64 = 1024 * 1024;
/// How long a program may take; then it is ended.
pub const PROGRAM_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last output of a program may take to be read once it has ended.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// Where a list of apps comes from.
#[derive(Clone, Debug)]
pub(crate) enum ListSource {
    /// A program and its arguments, run without a shell.
    Program(PathBuf, Vec<String>),
    /// A file, read whole.
    File(PathBuf),
}

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// The program or the file cannot be run or read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The path of the program or file.
        path: PathBuf,
        /// The error that the system returned.
        source: std::io::Error,
    },
    /// A pipe, a folder, a device: reading it might never end.
    #[error("{} is no regular file", path.display())]
    NotAFile {
        /// The path of the program or file.
        path: PathBuf,
    },
    /// The program ended with a failure.
    #[error("{} ended with {status}", path.display())]
    Failed {
        /// The path of the program or file.
        path: PathBuf,
        /// The status with which it ended.
        status: std::process::ExitStatus,
    },
    /// The program does not end.
    #[error("{} took longer than {} s", path.display(), PROGRAM_TIMEOUT.as_secs())]
    Slow {
        /// The path of the program or file.
        path: PathBuf,
    },
    /// The list is too long.
    #[error("{} lists more than {LIST_BYTES_MAX} bytes", path.display())]
    TooLong {
        /// The path of the program or file.
        path: PathBuf,
    },
    /// A line of it is not an app.
    #[error("{}, line {line}: {why}", path.display())]
    Line {
        /// The path of the program or file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        why: String,
    },
}

impl ListSource {
    /// The source's name in `status`.
    fn name(&self) -> &'static str {
        match self {
            ListSource::Program(..) => "apps_command",
            ListSource::File(_) => "apps_file",
        }
    }

    /// Reads the list at an interval. A list that cannot be read leaves the last one in place.
    pub(crate) async fn watch(
        self,
        every: Duration,
        found: mpsc::Sender<(&'static str, Vec<App>)>,
        client: NodeClient,
    ) {
        loop {
            let problem = match self.read().await {
                Ok(apps) => {
                    if found.send((self.name(), apps)).await.is_err() {
                        return;
                    }
                    None
                }
                Err(error) => Some(error.to_string()),
            };
            client.problem(self.name(), problem);
            tokio::time::sleep(every).await;
        }
    }

    /// The list as it is now.
    pub(crate) async fn read(&self) -> Result<Vec<App>, ListError> {
        let (path, text) = match self {
            ListSource::Program(path, arguments) => (path, run(path, arguments).await?),
            ListSource::File(path) => (path, read_file(path.clone()).await?),
        };
        parse(&text).map_err(|(line, why)| ListError::Line { path: path.clone(), line, why })
    }
}

async fn run(path: &Path, arguments: &[String]) -> Result<String, ListError> {
    let read = |source| ListError::Read { path: path.to_owned(), source };
    let mut child = tokio::process::Command::new(path)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(read)?;
    let mut group = ProcessGroup::of(&child);
    let Some(stdout) = child.stdout.take() else { return Ok(String::new()) };
    let work = async {
        let (mut stdout, mut text) = (stdout.take(LIST_BYTES_MAX + 1), Vec::new());
        // What it leaves running in the background may hold the pipe open: its own end is what counts.
        let status = tokio::select! {
            status = child.wait() => status.map_err(read)?,
            // What is over the limit is not read, so the program is not waited for either.
            ended = stdout.read_to_end(&mut text) => match ended {
                Err(source) => return Err(read(source)),
                Ok(_) if is_too_long(&text) => return Err(ListError::TooLong { path: path.to_owned() }),
                Ok(_) => child.wait().await.map_err(read)?,
            },
        };
        // Waited for: its id may be another's from now on.
        group.forget();
        if let Ok(rest) = tokio::time::timeout(LAST_OUTPUT, stdout.read_to_end(&mut text)).await {
            rest.map_err(read)?;
        }
        let text = checked(path, text)?;
        if status.success() { Ok(text) } else { Err(ListError::Failed { path: path.to_owned(), status }) }
    };
    let slow = |_| ListError::Slow { path: path.to_owned() };
    tokio::time::timeout(PROGRAM_TIMEOUT, work).await.map_err(slow)?
}

async fn read_file(path: PathBuf) -> Result<String, ListError> {
    use std::io::Read;
    let read = {
        let path = path.clone();
        move || {
            // Opening a pipe would wait for a writer.
            if !std::fs::metadata(&path)?.is_file() {
                return Ok(None);
            }
            let mut text = Vec::new();
            std::fs::File::open(path)?.take(LIST_BYTES_MAX + 1).read_to_end(&mut text)?;
            Ok(Some(text))
        }
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other).and_then(|text| text);
    match read {
        Ok(Some(text)) => checked(&path, text),
        Ok(None) => Err(ListError::NotAFile { path }),
        Err(source) => Err(ListError::Read { path, source }),
    }
}

fn is_too_long(text: &[u8]) -> bool {
    u64::try_from(text.len()).is_ok_and(|bytes| bytes > LIST_BYTES_MAX)
}

fn checked(path: &Path, text: Vec<u8>) -> Result<String, ListError> {
    if is_too_long(&text) {
        return Err(ListError::TooLong { path: path.to_owned() });
    }
    String::from_utf8(text).map_err(|_| ListError::Line {
        path: path.to_owned(),
        line: 1,
        why: "no UTF-8".into(),
    })
}

/// Reads a list; the error is a line, from 1, and what is wrong with it.
fn parse(text: &str) -> Result<Vec<App>, (usize, String)> {
    if text.trim_start().starts_with('[') {
        return serde_json::from_str(text).map_err(|e| (e.line(), e.to_string()));
    }
    let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    lines.map(|(n, line)| app(line).map_err(|why| (n, why))).collect()
}

fn app(line: &str) -> Result<App, String> {
    let mut words = line.split_whitespace();
    let (Some(id), Some(status)) = (words.next(), words.next()) else {
        return Err(format!("`{line}` is not `id status version`"));
    };
    let status = match status {
        "running" => AppStatus::Running,
        "stopped" => AppStatus::Stopped,
        "installed" => AppStatus::Installed,
        other => return Err(format!("`{other}` is not running, stopped or installed")),
    };
    let version = words.next().map(str::to_owned);
    match words.next() {
        None => Ok(App { id: id.to_owned(), status, version }),
        Some(more) => Err(format!("`{more}` is one word too many after `id status version`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_json_read_the_same() {
        let lines = parse("# mine\nweb running 1.2\n\n  db stopped\n").unwrap();
        let json = r#"[{"id":"web","status":"running","version":"1.2"},{"id":"db","status":"stopped"}]"#;
        assert_eq!(parse(json).unwrap(), lines);
        assert_eq!(parse("").unwrap(), []);
    }

    #[test]
    fn a_mistake_is_named_with_its_line() {
        assert_eq!(parse("web running\ndb up").unwrap_err().0, 2);
        assert_eq!(parse("web").unwrap_err().0, 1);
        assert_eq!(parse("web running 1 2").unwrap_err().0, 1);
        assert_eq!(parse("[{\"id\":\"a\"}]").unwrap_err().0, 1);
    }

    #[tokio::test]
    async fn a_program_lists_fails_or_is_missing() {
        let shell = |script: &str| ListSource::Program("/bin/sh".into(), vec!["-c".into(), script.into()]);
        assert_eq!(shell("echo web running").read().await.unwrap().len(), 1);
        assert!(matches!(shell("exit 3").read().await, Err(ListError::Failed { .. })));
        assert!(matches!(shell("yes web running").read().await, Err(ListError::TooLong { .. })));
        let missing = ListSource::Program("/nonexistent/apps".into(), Vec::new());
        assert!(matches!(missing.read().await, Err(ListError::Read { .. })));
    }

    /// The pipe stays open in the hands of what a program leaves behind: its list counts all the same.
    #[tokio::test]
    async fn a_program_that_leaves_something_running_has_ended() {
        let source =
            ListSource::Program("/bin/sh".into(), vec!["-c".into(), "sleep 7 & echo web running".into()]);
        let read = tokio::time::timeout(Duration::from_secs(5), source.read()).await;
        assert_eq!(read.expect("waited for the pipe to close").unwrap().len(), 1);
    }

    /// A program whose list is too long is ended, with the programs that it started.
    #[tokio::test]
    async fn a_program_is_ended_with_what_it_started() {
        let folder = tempfile::tempdir().unwrap();
        let mark = folder.path().join("mark");
        let script = format!("(sleep 2; echo late > '{}') & yes web running", mark.display());
        let source = ListSource::Program("/bin/sh".into(), vec!["-c".into(), script]);
        assert!(matches!(source.read().await, Err(ListError::TooLong { .. })));
        tokio::time::sleep(Duration::from_secs(3)).await;
        assert!(!mark.exists(), "it outlived its program");
    }

    #[tokio::test]
    async fn a_pipe_is_refused_instead_of_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let read = tokio::time::timeout(Duration::from_secs(5), ListSource::File(path).read()).await;
        assert!(matches!(read.expect("it was opened"), Err(ListError::NotAFile { .. })));
    }

    #[tokio::test]
    async fn a_file_is_read_whole_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("apps");
        assert!(matches!(ListSource::File(path.clone()).read().await, Err(ListError::Read { .. })));
        std::fs::write(&path, "web installed 3\n").unwrap();
        assert_eq!(ListSource::File(path.clone()).read().await.unwrap()[0].status, AppStatus::Installed);
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(ListSource::File(path.clone()).read().await, Err(ListError::Line { .. })));
        std::fs::write(&path, vec![b'#'; 2 * 1024 * 1024]).unwrap();
        assert!(matches!(ListSource::File(path).read().await, Err(ListError::TooLong { .. })));
    }
}
