//! The documents that are made from the code say what the code says.
#![allow(clippy::unwrap_used, reason = "a broken test stops")]

use std::path::Path;

use portcullis::metrics::{FAMILIES, Family};

/// Set to have the documents written anew.
const WRITE: &str = "PORTCULLIS_WRITE_DOCS";

/// Compares the document with what the code says, or writes it.
fn stands(name: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(name);
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, text).unwrap();
    }
    let stands = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(stands, text, "{name} is out of date: run with {WRITE}=1");
}

#[test]
fn the_list_of_metrics_is_that_of_the_code() {
    let text = format!(
        "# Metrics\n\n\
         Made from the code; `{WRITE}=1 cargo test -p portcullis --test reference` writes it anew. \
         `GET /metrics` of the administration answers them in Prometheus' text format. Names, labels and meanings \
         stay as they are; new ones may come. A lasting counter goes on over restarts where the state is durable; the \
         others begin at 0 with the process, those of a policy also when its plugin or settings change.\n\n\
         [`grafana-dashboard.json`](grafana-dashboard.json) shows them.\n\n{}",
        portcullis::metrics::reference()
    );
    stands("METRICS.md", &text);
}

#[test]
fn the_openapi_document_is_that_of_the_code() {
    let text = portcullis::admin::routes::openapi().to_pretty_json().unwrap();
    stands("openapi.json", &format!("{text}\n"));
}

#[test]
fn the_document_for_other_proxies_is_that_of_the_code() {
    let text = portcullis::decide::openapi().to_pretty_json().unwrap();
    stands("decide.openapi.json", &format!("{text}\n"));
}

#[test]
fn the_configuration_reference_is_that_of_the_code() {
    let text = format!(
        "# Configuration\n\n\
         Made from the code; `{WRITE}=1 cargo test -p portcullis --test reference` writes it anew.\n\
         `portcullis.sample.toml` shows the keys in use. NAME is `wait`, `ban`, `scanner` or a name of your own \
         (`[a-z0-9-]{{1,32}}`). Relative paths start at the file's folder.\n\n{}",
        portcullis::config::reference()
    );
    stands("CONFIG.md", &text);
}

#[test]
fn the_dashboard_asks_only_for_metrics_that_there_are() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("grafana-dashboard.json");
    let dashboard: serde_json::Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut asked = Vec::new();
    expressions(&dashboard, &mut asked);
    let names = regex::Regex::new(r"\b(?:portcullis|process)_[a-z0-9_]+").unwrap();
    let written: Vec<String> = FAMILIES.iter().flat_map(Family::written).collect();
    let mut shown = std::collections::BTreeSet::new();
    for expression in &asked {
        for name in names.find_iter(expression) {
            assert!(written.iter().any(|written| written == name.as_str()), "{} in {expression}", name.as_str());
            shown.insert(name.as_str());
        }
    }
    let hidden = FAMILIES.iter().filter(|family| family.written().iter().all(|name| !shown.contains(name.as_str())));
    let hidden: Vec<_> = hidden.map(|family| family.name).collect();
    assert!(hidden.is_empty(), "it doesn't show {hidden:?}");
}

/// Every string under the keys `expr` and `query`.
fn expressions<'a>(value: &'a serde_json::Value, into: &mut Vec<&'a str>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str() {
                    Some(text) if key == "expr" || key == "query" => into.push(text),
                    _ => expressions(value, into),
                }
            }
        }
        serde_json::Value::Array(values) => values.iter().for_each(|value| expressions(value, into)),
        serde_json::Value::Null
        | serde_json::Value::Bool(_)
        | serde_json::Value::Number(_)
        | serde_json::Value::String(_) => {}
    }
}
