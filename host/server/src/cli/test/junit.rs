//! Results for continuous integration. What a file or a plugin says is encoded
//! by the crate that writes the XML, which leaves out what XML can't hold.

use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::{Failed, Outcome, Summary, Tested};

pub(super) fn text(tested: &[Tested], summary: &Summary) -> Result<String, Failed> {
    let mut suite = TestSuite::new("scenarios");
    suite.set_time(summary.took);
    for one in tested {
        let failed = |kind, message: &str, details: String| {
            let mut status = TestCaseStatus::non_success(kind);
            status.set_message(message).set_description(details);
            status
        };
        let status = match &one.outcome {
            Outcome::Unreadable(why) => {
                let first = why.lines().next().unwrap_or_default();
                failed(NonSuccessKind::Error, first, why.clone())
            }
            Outcome::Ran(report) if report.passed() => TestCaseStatus::success(),
            Outcome::Ran(report) => {
                let details = report.details();
                let problem = report.steps.iter().flat_map(|step| &step.problems).next();
                let message = problem.map_or("hidden state".to_owned(), ToString::to_string);
                failed(NonSuccessKind::Failure, &message, details.join("\n"))
            }
        };
        let mut case = TestCase::new(one.name(), status);
        case.set_classname(one.file.as_str()).set_time(one.took);
        suite.add_test_case(case);
    }
    let mut report = Report::new("portcullis test");
    report.set_time(summary.took).add_test_suite(suite);
    report.to_string().map_err(|error| Failed::Machine(error.into()))
}
