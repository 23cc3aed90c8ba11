//! Results for continuous integration. What a file or a plugin says is encoded
//! by the crate that writes the XML; what XML can't hold is left out here.

use std::io;
use std::time::Duration;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{Failed, Outcome, Summary, Tested};

/// It ran, and came to something else.
const FAILURE: &str = "failure";
/// It didn't run.
const ERROR: &str = "error";

/// One file as the format knows it.
struct Case {
    name: String,
    file: String,
    took: Duration,
    problem: Option<Problem>,
}

/// Why it didn't pass.
struct Problem {
    element: &'static str,
    message: String,
    details: String,
}

pub(super) fn text(tested: &[Tested], summary: &Summary) -> Result<String, Failed> {
    let cases: Vec<_> = tested.iter().map(case).collect();
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 4);
    write(&mut writer, &cases, summary.took).map_err(|error| Failed::Machine(error.into()))?;
    let mut text = String::from_utf8(writer.into_inner()).map_err(|error| Failed::Machine(error.into()))?;
    text.push('\n');
    Ok(text)
}

fn case(one: &Tested) -> Case {
    let problem = match &one.outcome {
        Outcome::Unreadable(why) => Some(Problem {
            element: ERROR,
            message: why.lines().next().unwrap_or_default().to_owned(),
            details: why.clone(),
        }),
        Outcome::Ran(report) if report.passed() => None,
        Outcome::Ran(report) => {
            let problem = report.steps.iter().flat_map(|step| &step.problems).next();
            let message = problem.map_or("hidden state".to_owned(), ToString::to_string);
            Some(Problem { element: FAILURE, message, details: report.details().join("\n") })
        }
    };
    Case { name: one.name().to_owned(), file: one.file.clone(), took: one.took, problem }
}

fn write(writer: &mut Writer<Vec<u8>>, cases: &[Case], took: Duration) -> io::Result<()> {
    let having = |element: &str| {
        let problems = cases.iter().filter_map(|case| case.problem.as_ref());
        problems.filter(|problem| problem.element == element).count().to_string()
    };
    let (tests, took) = (cases.len().to_string(), seconds(took));
    let (failures, errors) = (having(FAILURE), having(ERROR));
    let counts =
        [("tests", &*tests), ("skipped", "0"), ("failures", &*failures), ("errors", &*errors), ("time", &*took)];
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let suites = writer.create_element("testsuites").with_attribute(("name", "portcullis test"));
    suites.with_attributes(counts).write_inner_content(|writer| {
        let suite = writer.create_element("testsuite").with_attribute(("name", "scenarios"));
        suite
            .with_attributes(counts)
            .write_inner_content(|writer| cases.iter().try_for_each(|case| write_case(writer, case)))?;
        Ok(())
    })?;
    Ok(())
}

fn write_case(writer: &mut Writer<Vec<u8>>, case: &Case) -> io::Result<()> {
    let (name, file, took) = (held(&case.name), held(&case.file), seconds(case.took));
    let element = writer.create_element("testcase");
    let element = element.with_attributes([("name", &*name), ("classname", &*file), ("time", &*took)]);
    let Some(problem) = &case.problem else {
        element.write_empty()?;
        return Ok(());
    };
    element.write_inner_content(|writer| {
        let message = held(&problem.message);
        let element = writer.create_element(problem.element).with_attribute(("message", &*message));
        element.write_text_content(BytesText::new(&held(&problem.details)))?;
        Ok(())
    })?;
    Ok(())
}

/// The text without what XML 1.0 can't hold or advises against, such as what
/// moves a terminal's cursor; not even as a reference could it stand there.
fn held(text: &str) -> String {
    let holds = |c: &char| matches!(c, '\t' | '\n') || !(c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}'));
    text.chars().filter(holds).collect()
}

fn seconds(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use quick_xml::Reader;
    use quick_xml::events::BytesStart;

    use super::*;

    fn failed(element: &'static str, file: &str, why: &str) -> Case {
        let problem = Problem { element, message: why.to_owned(), details: why.to_owned() };
        Case { name: file.to_owned(), file: file.to_owned(), took: Duration::from_millis(1500), problem: Some(problem) }
    }

    fn attributes(start: &BytesStart<'_>) -> Vec<String> {
        let values = start.attributes().map(|attribute| String::from_utf8(attribute.unwrap().value.into_owned()));
        values.map(Result::unwrap).collect()
    }

    #[test]
    fn whatever_is_said_the_xml_is_sound_and_says_it() {
        let worst: String = ('\0'..='\u{ff}').chain(['\u{fffd}', '\u{fffe}', '\u{ffff}', '\u{10ffff}']).collect();
        let passed = Case { problem: None, ..failed(ERROR, "c", "") };
        let cases = [failed(FAILURE, &worst, &format!("]]>{worst}--")), failed(ERROR, "b", ""), passed];
        let mut writer = Writer::new_with_indent(Vec::new(), b' ', 4);
        write(&mut writer, &cases, Duration::from_secs(4)).unwrap();
        let xml = String::from_utf8(writer.into_inner()).unwrap();
        assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites "), "{xml}");
        assert!(xml.chars().all(|c| c == '\t' || c == '\n' || !c.is_control()), "{xml:?}");
        assert!(!xml.contains(['\u{fffe}', '\u{ffff}']), "{xml:?}");
        assert!(xml.contains(";&lt;=&gt;?@") && xml.contains("~\u{a0}"), "{xml}");
        let (mut reader, mut elements) = (Reader::from_str(&xml), Vec::new());
        loop {
            let event = reader.read_event().unwrap();
            if let Event::Start(start) | Event::Empty(start) = &event {
                let name = String::from_utf8(start.name().as_ref().to_vec()).unwrap();
                elements.push((name, attributes(start)));
            }
            if event == Event::Eof {
                break;
            }
        }
        let names: Vec<_> = elements.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["testsuites", "testsuite", "testcase", "failure", "testcase", "error", "testcase"]);
        assert_eq!(elements[1].1, ["scenarios", "3", "0", "1", "1", "4.000"]);
        assert_eq!(elements[6].1, ["c", "c", "1.500"]);
    }
}
