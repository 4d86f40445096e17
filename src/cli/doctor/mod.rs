//! `doctor`: checks what a node needs of its machine and of its federation, and names the remedy.
//!
//! Three steps, apart from each other: `look` reads the machine and returns facts, `checks` makes a verdict of them without any
//! IO, and this file prints the verdicts. The exit code is 1 if something needs doing.

mod checks;
mod look;
mod notify_checks;
mod permission;
mod tor_checks;
mod tor_probe;

use serde::Serialize;

use super::error::{CliError, CliResult};
use super::{CliContext, print};

/// The columns of a terminal.
const WIDTH: usize = 78;
/// The columns before the reason: verdict and name of the check.
const REASON_COLUMN: usize = 29;

/// Whether anything has to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum CheckVerdict {
    /// Nothing has to be done.
    Ok,
    /// The node works; something may be worth a look.
    Warning,
    /// Something that the settings ask for does not work.
    NeedsDoing,
}

/// The result of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    verdict: CheckVerdict,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

impl Finding {
    fn ok(check: &'static str, reason: impl Into<String>) -> Self {
        Finding { check, verdict: CheckVerdict::Ok, reason: reason.into(), remedy: None }
    }

    fn warning(check: &'static str, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding { check, verdict: CheckVerdict::Warning, reason: reason.into(), remedy: Some(remedy.into()) }
    }

    fn needs_doing(check: &'static str, reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        Finding {
            check,
            verdict: CheckVerdict::NeedsDoing,
            reason: reason.into(),
            remedy: Some(remedy.into()),
        }
    }

    fn is_ok(&self) -> bool {
        self.verdict == CheckVerdict::Ok
    }
}

#[derive(Serialize)]
struct DoctorReport {
    checks: Vec<Finding>,
    warnings: usize,
    needs_doing: usize,
}

pub(super) fn run(context: &CliContext) -> CliResult {
    let checks = checks::all(&look::facts(&context.node));
    let count = |verdict: CheckVerdict| checks.iter().filter(|finding| finding.verdict == verdict).count();
    let (warnings, needs_doing) = (count(CheckVerdict::Warning), count(CheckVerdict::NeedsDoing));
    let report = DoctorReport { warnings, needs_doing, checks };
    if context.json {
        let text = serde_json::to_string(&report).expect("texts and numbers have a JSON form");
        print::exact(&text)?;
    } else {
        for finding in &report.checks {
            print::line(&lines(finding).join("\n"))?;
        }
        print::line(&summary(&report))?;
    }
    match report.needs_doing {
        0 => Ok(()),
        _ => Err(CliError::shown("needs_doing")),
    }
}

fn summary(report: &DoctorReport) -> String {
    let warnings = print::count(report.warnings as u64, "warning");
    match report.needs_doing {
        0 => format!("nothing needs doing; {warnings}"),
        1 => format!("1 check needs doing; {warnings}"),
        n => format!("{n} checks need doing; {warnings}"),
    }
}

/// The verdict, the check and the reason, then the remedy, in lines that a terminal holds.
fn lines(finding: &Finding) -> Vec<String> {
    let verdict = match finding.verdict {
        CheckVerdict::Ok => "ok",
        CheckVerdict::Warning => "warning",
        CheckVerdict::NeedsDoing => "needs doing",
    };
    let mut lines = print::wrapped(&finding.reason, REASON_COLUMN, WIDTH);
    if let Some(first) = lines.first_mut() {
        *first = format!("{verdict:<13}{:<16}{}", finding.check, first.trim_start());
    }
    if let Some(remedy) = &finding.remedy {
        lines.extend(print::wrapped(&format!("-> {remedy}"), REASON_COLUMN, WIDTH));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_is_printed_with_its_remedy_in_columns() {
        let reason = "the socket /run/tor/control belongs to debian-tor, which this user is no member of";
        let printed = lines(&Finding::needs_doing("tor control", reason, "`adduser ada debian-tor`"));
        assert!(printed[0].starts_with("needs doing  tor control     the socket /run"), "{printed:?}");
        assert!(printed.iter().all(|line| line.chars().count() <= WIDTH), "{printed:?}");
        assert!(printed.last().unwrap().trim_start().starts_with("-> `adduser"), "{printed:?}");
        assert_eq!(lines(&Finding::ok("disk", "4 GB free")), ["ok           disk            4 GB free"]);
    }
}
