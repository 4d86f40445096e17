//! Apps from a program or a file that the operator names, as JSON or as lines:
//!
//! ```text
//! [{"id": "web", "status": "running", "version": "1.2"}, {"id": "db", "status": "stopped"}]
//! ```
//!
//! ```text
//! web running 1.2 unhealthy
//! # a comment
//! db stopped
//! ```
//!
//! A row that cannot be read is left out and counted. Names of fields and words count in any case. A file that was written just now is
//! read again until it stays as it is.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::sync::mpsc;

use crate::node::{App, AppHealth, AppStatus};
use crate::probe::foreign::{AppList, Row, checked_id, rows_of, strict, text_of};
use crate::probe::{Reading, STALE_AFTER};
use crate::runtime::NodeClient;
use crate::runtime::process_group::ProcessGroup;

/// Bytes read of a list; a longer one is refused.
pub const LIST_BYTES_MAX: u64 = 1024 * 1024;
/// How long a program may take; then it is ended.
pub const PROGRAM_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the last output of a program may take to be read once it has ended.
const LAST_OUTPUT: Duration = Duration::from_millis(200);

/// A file that was written no longer ago than this may be written still.
const FRESH: Duration = Duration::from_millis(500);
/// It is read again after so long, so many times at most.
const READ_AGAIN: (Duration, usize) = (Duration::from_millis(150), 6);

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
    /// No line of it is an app.
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

    pub(super) fn path(&self) -> &Path {
        match self {
            ListSource::Program(path, _) | ListSource::File(path) => path,
        }
    }

    /// Reads the list at an interval. A list that cannot be read leaves the last one in place, which is then reported as stale.
    pub(crate) async fn watch(
        self,
        every: Duration,
        found: mpsc::Sender<(&'static str, Reading)>,
        client: NodeClient,
    ) {
        let mut failures = 0;
        loop {
            let (reading, problem) = match self.read().await {
                Ok(list) => {
                    failures = 0;
                    let problem = list.problem(&self.path().display().to_string());
                    (Some(Reading::Apps(list.apps)), problem)
                }
                Err(error) => {
                    failures += 1;
                    ((failures == STALE_AFTER).then_some(Reading::Stale), Some(error.to_string()))
                }
            };
            if let Some(reading) = reading
                && found.send((self.name(), reading)).await.is_err()
            {
                return;
            }
            client.problem(self.name(), problem);
            tokio::time::sleep(every).await;
        }
    }

    /// What it has now.
    pub(super) async fn bytes(&self) -> Result<Vec<u8>, ListError> {
        match self {
            ListSource::Program(path, arguments) => run(path, arguments).await,
            ListSource::File(path) => read_settled(path).await,
        }
    }

    /// The list as it is now.
    pub(crate) async fn read(&self) -> Result<AppList, ListError> {
        let bytes = self.bytes().await?;
        let path = self.path().to_owned();
        parse(&text_of(&bytes)).map_err(|(line, why)| ListError::Line { path, line, why })
    }
}

async fn run(path: &Path, arguments: &[String]) -> Result<Vec<u8>, ListError> {
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
    let Some(stdout) = child.stdout.take() else { return Ok(Vec::new()) };
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

/// Reads a file that may be written just now: again and again, until it is older than a moment.
async fn read_settled(path: &Path) -> Result<Vec<u8>, ListError> {
    let (pause, times_max) = READ_AGAIN;
    let mut times = 0;
    loop {
        times += 1;
        match read_file(path.to_owned()).await {
            Ok((bytes, age)) if times >= times_max || age.is_some_and(|age| age > FRESH) => return Ok(bytes),
            // A file that is replaced is gone for a moment.
            Err(ListError::Read { source, .. })
                if times < times_max && source.kind() == std::io::ErrorKind::NotFound => {}
            Ok(_) => {}
            Err(error) => return Err(error),
        }
        tokio::time::sleep(pause).await;
    }
}

/// A file's bytes, and how long ago it was written; `None` where that is in the future or not known.
async fn read_file(path: PathBuf) -> Result<(Vec<u8>, Option<Duration>), ListError> {
    use std::io::Read;
    let read = {
        let path = path.clone();
        move || {
            // Opening a pipe would wait for a writer.
            if !std::fs::metadata(&path)?.is_file() {
                return Ok(None);
            }
            let mut bytes = Vec::new();
            let mut file = std::fs::File::open(path)?.take(LIST_BYTES_MAX + 1);
            file.read_to_end(&mut bytes)?;
            // Looked at after it was read: what was written meanwhile shows.
            let age = file.get_ref().metadata()?.modified().ok().and_then(|at| at.elapsed().ok());
            Ok(Some((bytes, age)))
        }
    };
    let read = tokio::task::spawn_blocking(read).await.map_err(std::io::Error::other).and_then(|read| read);
    match read {
        Ok(Some((bytes, age))) => Ok((checked(&path, bytes)?, age)),
        Ok(None) => Err(ListError::NotAFile { path }),
        Err(source) => Err(ListError::Read { path, source }),
    }
}

fn is_too_long(text: &[u8]) -> bool {
    u64::try_from(text.len()).is_ok_and(|bytes| bytes > LIST_BYTES_MAX)
}

fn checked(path: &Path, bytes: Vec<u8>) -> Result<Vec<u8>, ListError> {
    if is_too_long(&bytes) { Err(ListError::TooLong { path: path.to_owned() }) } else { Ok(bytes) }
}

/// Reads a list, without the rows that cannot be read.
///
/// # Errors
/// A line, from 1, and what is wrong with it: of a text that is no list, or of the first row where none can be read.
fn parse(text: &str) -> Result<AppList, (usize, String)> {
    let mut list = AppList::default();
    let trimmed = text.trim();
    if trimmed.starts_with('[') {
        let list_text = strict(trimmed);
        let rows = rows_of(&list_text).map_err(|error| (error.line(), error.to_string()))?;
        for (n, row) in rows.iter().enumerate() {
            list.take(n + 1, Row::read(row.get()).and_then(|row| of_row(&row)).map(Some));
        }
    } else if let (true, Ok(row)) = (trimmed.starts_with('{'), Row::read(trimmed)) {
        // One object over many lines; `of_line` takes objects of a line each.
        list.take(1, of_row(&row).map(Some));
    } else {
        let lines = text.lines().enumerate().map(|(n, line)| (n + 1, line.trim()));
        for (n, line) in lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#')) {
            list.take(n, of_line(line).map(Some));
        }
    }
    match list.first_fault.take_if(|_| list.apps.is_empty()) {
        Some(fault) => Err(fault),
        None => Ok(list),
    }
}

fn of_row(row: &Row) -> Result<App, String> {
    let id = row.text(&["id", "name"]).ok_or("it has no id")?;
    let status = row.text(&["status", "state"]).ok_or("it has no status")?;
    let health = row.text(&["health"]).and_then(|word| AppHealth::read(&word));
    Ok(App { id: checked_id(id)?, status: status_of(&status)?, version: row.text(&["version"]), health })
}

fn of_line(line: &str) -> Result<App, String> {
    if line.starts_with('{') {
        return of_row(&Row::read(line.trim_end_matches(','))?);
    }
    let mut words = line.split_whitespace();
    let (Some(id), Some(status)) = (words.next(), words.next()) else {
        return Err(format!("`{line}` is not `id status version`"));
    };
    let status = status_of(status)?;
    let version = words.next().filter(|version| *version != "-").map(str::to_owned);
    let health =
        match words.next() {
            None => None,
            Some(word) => Some(AppHealth::read(word).ok_or_else(|| {
                format!("`{word}` behind the version is not healthy, unhealthy or starting")
            })?),
        };
    match words.next() {
        None => Ok(App { id: checked_id(id.to_owned())?, status, version, health }),
        Some(more) => Err(format!("`{more}` is one word too many after `id status version health`")),
    }
}

fn status_of(word: &str) -> Result<AppStatus, String> {
    let known = [
        ("running", AppStatus::Running),
        ("stopped", AppStatus::Stopped),
        ("installed", AppStatus::Installed),
    ];
    let status =
        known.into_iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, status)| status);
    status.ok_or_else(|| format!("`{word}` is not running, stopped or installed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_and_json_read_the_same() {
        let lines = parse("# mine\nweb running 1.2\n\n  db stopped\n").unwrap();
        let json = r#"[{"id":"web","status":"running","version":"1.2"}, {"id":"db","status":"stopped"}]"#;
        assert_eq!(parse(json).unwrap(), lines);
        assert_eq!(parse(&json.replace("\"id\"", "\"ID\"").replace("running", "Running")).unwrap(), lines);
        let objects = json.trim_matches(['[', ']']).replace("}, {", "},\n{");
        assert_eq!(parse(&objects).unwrap(), lines);
        assert_eq!(parse("").unwrap(), AppList::default());
    }

    #[test]
    fn a_list_without_one_readable_row_is_a_mistake_with_its_line() {
        assert_eq!(parse("\nweb up\ndb up").unwrap_err().0, 2);
        assert_eq!(parse("web").unwrap_err().0, 1);
        assert_eq!(parse("web running 1 2").unwrap_err().0, 1);
        assert_eq!(parse("[{\"id\":\"a\"}]").unwrap_err().0, 1);
        assert_eq!(parse("[{\"id\":\"a\",").unwrap_err().0, 1);
    }

    /// The kind: all or nothing. One odd row of each form costs itself.
    #[test]
    fn an_odd_row_is_left_out_and_counted() {
        for text in [
            "web running\nodd up\ndb stopped",
            "web running\nodd\ndb stopped",
            "web running\nod\u{fffd}d running\ndb stopped",
            "web running\n{\"id\":\ndb stopped",
            r#"[{"id":"web","status":"running"},{"id":"odd"},{"id":"db","status":"stopped"}]"#,
            r#"[{"id":"web","status":"running"},null,{"id":"db","status":"stopped"}]"#,
            r#"[{"id":"web","status":"running"},{"status":"running"},{"id":"db","status":"stopped"}]"#,
            r#"[{"id":"web","status":"running"},{"id":"o","status":"running","n":1e999},{"id":"db","status":"stopped"}]"#,
            r#"[{"id":"web","status":"running"},{"id":"\ud800","status":"running"},{"id":"db","status":"stopped"}]"#,
        ] {
            let list = parse(text).unwrap();
            let ids: Vec<_> = list.apps.iter().map(|app| app.id.as_str()).collect();
            assert_eq!((ids, list.left_out), (vec!["web", "db"], 1), "{text}");
            assert!(list.problem("f").unwrap().starts_with("f: 1 row is left out; row 2: "), "{text}");
        }
    }

    #[test]
    fn health_and_odd_values_of_optional_fields_leave_a_row_readable() {
        let read = |text: &str| {
            let app = parse(text).unwrap().apps.remove(0);
            (app.version, app.health)
        };
        assert_eq!(read("web running 1.2 Unhealthy"), (Some("1.2".into()), Some(AppHealth::Unhealthy)));
        assert_eq!(read("web running - healthy"), (None, Some(AppHealth::Healthy)));
        assert_eq!(
            read(r#"[{"Name":"web","State":"RUNNING","version":2,"health":"STARTING"}]"#),
            (Some("2".into()), Some(AppHealth::Starting))
        );
        assert_eq!(read(r#"[{"id":"web","status":"running","version":[1],"health":{}}]"#), (None, None));
        assert_eq!(read("{\n \"id\": \"web\",\n \"status\": \"running\"\n}"), (None, None));
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_a_list_or_a_mistake(text in "\\PC{0,80}") {
            for text in [format!("[{text}"), format!("{{{text}"), text] {
                if let Ok(list) = parse(&text) {
                    proptest::prop_assert!(list.apps.iter().all(|app| !app.id.is_empty()));
                }
            }
        }
    }

    #[tokio::test]
    async fn a_program_lists_fails_or_is_missing() {
        let shell = |script: &str| ListSource::Program("/bin/sh".into(), vec!["-c".into(), script.into()]);
        assert_eq!(shell("echo web running").read().await.unwrap().apps.len(), 1);
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
        assert_eq!(read.expect("waited for the pipe to close").unwrap().apps.len(), 1);
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

    /// A writer that is half way through: what it has written so far is no list, or one without its last rows.
    #[tokio::test]
    async fn a_file_that_is_being_written_is_read_again() {
        for (half, whole) in [
            (
                r#"[{"id":"web","status":"running"},{"id":"#,
                r#"[{"id":"web","status":"running"},{"id":"db","status":"stopped"}]"#,
            ),
            ("web running\ndb sto", "web running\ndb stopped\n"),
            ("", "web running\ndb stopped\n"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("apps");
            std::fs::write(&path, half).unwrap();
            let source = ListSource::File(path.clone());
            let reading = tokio::spawn(async move { source.read().await });
            tokio::time::sleep(Duration::from_millis(50)).await;
            std::fs::write(&path, whole).unwrap();
            assert_eq!(reading.await.unwrap().unwrap().apps.len(), 2, "{half}");
        }
    }

    /// A list that cannot be read again does not look fresh.
    #[tokio::test]
    async fn a_source_that_fails_twice_is_stale_and_fresh_again_with_the_next_list() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("apps");
        let script = format!("cat '{}'", path.display());
        let source = ListSource::Program("/bin/sh".into(), vec!["-c".into(), script]);
        let (found, mut readings) = mpsc::channel(1);
        let client = crate::runtime::tests::client_of_no_node();
        std::fs::write(&path, "web running\n").unwrap();
        let watching = tokio::spawn(source.watch(Duration::from_millis(20), found, client));
        assert!(matches!(readings.recv().await, Some((_, Reading::Apps(apps))) if apps.len() == 1));
        std::fs::remove_file(&path).unwrap();
        loop {
            match readings.recv().await {
                Some((_, Reading::Apps(_))) => {}
                Some((_, Reading::Stale)) => break,
                None => panic!("the watch has ended"),
            }
        }
        std::fs::write(&path, "web running\n").unwrap();
        assert!(matches!(readings.recv().await, Some((_, Reading::Apps(apps))) if apps.len() == 1));
        watching.abort();
    }

    #[tokio::test]
    async fn a_file_is_read_whole_or_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("apps");
        assert!(matches!(ListSource::File(path.clone()).read().await, Err(ListError::Read { .. })));
        std::fs::write(&path, "web installed 3\n").unwrap();
        assert_eq!(ListSource::File(path.clone()).read().await.unwrap().apps[0].status, AppStatus::Installed);
        std::fs::write(&path, [0xff]).unwrap();
        assert!(matches!(ListSource::File(path.clone()).read().await, Err(ListError::Line { .. })));
        std::fs::write(&path, vec![b'#'; 2 * 1024 * 1024]).unwrap();
        assert!(matches!(ListSource::File(path).read().await, Err(ListError::TooLong { .. })));
    }
}
