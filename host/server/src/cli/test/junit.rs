//! Results for continuous integration. What a file or a plugin says is encoded
//! by the crate that writes the XML; what XML can't hold is left out here.

use std::io;
use std::time::Duration;

use quick_xml::Writer;
use quick_xml::events::{BytesDecl, BytesText, Event};

use super::{Failed, Outcome, Summary, Tested};

pub(super) fn text(tested: &[Tested], summary: &Summary) -> Result<String, Failed> {
    let mut writer = Writer::new_with_indent(Vec::new(), b' ', 4);
    write(&mut writer, tested, summary).map_err(|error| Failed::Machine(error.into()))?;
    let mut text = String::from_utf8(writer.into_inner()).map_err(|error| Failed::Machine(error.into()))?;
    text.push('\n');
    Ok(text)
}

fn write(writer: &mut Writer<Vec<u8>>, tested: &[Tested], summary: &Summary) -> io::Result<()> {
    let (tests, took) = (tested.len().to_string(), seconds(summary.took));
    let (failures, errors) = (summary.failed.to_string(), summary.unreadable.to_string());
    let counts =
        [("tests", &*tests), ("skipped", "0"), ("errors", &*errors), ("failures", &*failures), ("time", &*took)];
    writer.write_event(Event::Decl(BytesDecl::new("1.0", Some("UTF-8"), None)))?;
    let suites = writer.create_element("testsuites").with_attribute(("name", "portcullis test"));
    suites.with_attributes(counts).write_inner_content(|writer| {
        let suite = writer.create_element("testsuite").with_attribute(("name", "scenarios"));
        suite
            .with_attributes(counts)
            .write_inner_content(|writer| tested.iter().try_for_each(|one| case(writer, one)))?;
        Ok(())
    })?;
    Ok(())
}

fn case(writer: &mut Writer<Vec<u8>>, one: &Tested) -> io::Result<()> {
    let (name, file, took) = (held(one.name()), held(&one.file), seconds(one.took));
    let case = writer.create_element("testcase");
    let case = case.with_attributes([("name", &*name), ("classname", &*file), ("time", &*took)]);
    let (what, message, details) = match &one.outcome {
        Outcome::Unreadable(why) => ("error", why.lines().next().unwrap_or_default().to_owned(), why.clone()),
        Outcome::Ran(report) if report.passed() => {
            case.write_empty()?;
            return Ok(());
        }
        Outcome::Ran(report) => {
            let problem = report.steps.iter().flat_map(|step| &step.problems).next();
            let message = problem.map_or("hidden state".to_owned(), ToString::to_string);
            ("failure", message, report.details().join("\n"))
        }
    };
    case.write_inner_content(|writer| {
        let problem = writer.create_element(what).with_attribute(("message", &*held(&message)));
        problem.write_text_content(BytesText::new(&held(&details)))?;
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

    fn unreadable(file: &str, why: &str) -> Tested {
        Tested {
            file: file.to_owned(),
            outcome: Outcome::Unreadable(why.to_owned()),
            took: Duration::from_millis(1500),
        }
    }

    fn attribute(start: &BytesStart<'_>, name: &str) -> String {
        start.try_get_attribute(name).unwrap().unwrap().unescape_value().unwrap().into_owned()
    }

    #[test]
    fn whatever_is_said_the_xml_is_sound_and_says_it() {
        let worst: String = ('\0'..='\u{ff}').chain(['\u{fffd}', '\u{fffe}', '\u{ffff}', '\u{10ffff}']).collect();
        let tested = [unreadable(&format!("a{worst}"), &format!("]]>{worst}--")), unreadable("b", "")];
        let xml = text(&tested, &Summary::of(&tested)).unwrap();
        assert!(xml.starts_with("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites ") && xml.ends_with(">\n"));
        assert!(xml.chars().all(|c| c == '\t' || c == '\n' || !c.is_control()), "{xml:?}");
        assert!(!xml.contains(['\u{fffe}', '\u{ffff}']), "{xml:?}");
        let (mut reader, mut names) = (Reader::from_str(&xml), Vec::new());
        loop {
            match reader.read_event().unwrap() {
                Event::Start(start) => {
                    names.push(String::from_utf8(start.name().as_ref().to_vec()).unwrap());
                    if start.name().as_ref() == b"testcase" {
                        assert_eq!(attribute(&start, "time"), "1.500");
                    } else if start.name().as_ref() == b"testsuite" {
                        let counts = ["tests", "errors", "failures", "time"].map(|name| attribute(&start, name));
                        assert_eq!(counts, ["2", "2", "0", "3.000"]);
                    }
                }
                Event::Eof => break,
                _ => {}
            }
        }
        assert_eq!(names, ["testsuites", "testsuite", "testcase", "error", "testcase", "error"]);
        assert!(xml.contains("&lt;=&gt;") && xml.contains("~\u{a0}"), "{xml}");
    }
}
