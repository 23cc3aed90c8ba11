//! Results for machines.

use portcullis_harness::domain::{Keep, StateBytes, Verdict};
use portcullis_harness::scenario::{Happened, HiddenState, Problem, Report, StepReport};
use portcullis_harness::{Call, Told};
use serde_json::{Value, json};

use super::{Outcome, Summary, Tested};

pub(super) fn text(tested: &[Tested], summary: &Summary) -> String {
    let Summary { passed, failed, unreadable, steps, events, took } = summary;
    let whole = json!({
        "passed": failed + unreadable == 0,
        "summary": {
            "passed": passed,
            "failed": failed,
            "unreadable": unreadable,
            "steps": steps,
            "events": events,
            "seconds": took.as_secs_f64(),
        },
        "scenarios": tested.iter().map(scenario).collect::<Vec<_>>(),
    });
    format!("{whole:#}\n")
}

fn scenario(tested: &Tested) -> Value {
    let (file, seconds) = (&tested.file, tested.took.as_secs_f64());
    match &tested.outcome {
        Outcome::Unreadable(why) => {
            json!({ "file": file, "status": "unreadable", "mistakes": why.lines().collect::<Vec<_>>() })
        }
        Outcome::Ran(report) => json!({
            "file": file,
            "name": report.name,
            "status": status(report),
            "seconds": seconds,
            "without_plugin": tested.without_plugin,
            "events": report.events(),
            "steps": report.steps.iter().map(step).collect::<Vec<_>>(),
            "hidden_state": report.hidden.iter().map(hidden).collect::<Vec<_>>(),
        }),
    }
}

fn status(report: &Report) -> &'static str {
    if report.passed() { "passed" } else { "failed" }
}

fn step(step: &StepReport) -> Value {
    let sums: serde_json::Map<_, _> =
        step.sums.iter().map(|(sum, count)| (sum.name().to_owned(), json!(count))).collect();
    json!({
        "step": step.number,
        "line": step.step.line,
        "note": step.step.note,
        "what": step.step.to_string(),
        "at_ms": u64::try_from(step.at.as_millis()).ok(),
        "passed": step.passed(),
        "events": step.events,
        "came": sums,
        "problems": step.problems.iter().map(problem).collect::<Vec<_>>(),
        "problems_more": step.problems_more,
        "event": step.event.as_ref().map(happened),
    })
}

fn problem(problem: &Problem) -> Value {
    let (kind, events, policy) = match problem {
        Problem::Event { n, last, .. } => ("event", Some((n, last)), None),
        Problem::Failed { n, last, policy, .. } => ("plugin-failed", Some((n, last)), Some(policy)),
        Problem::Sound { policy } => ("plugin-did-not-fail", None, Some(policy)),
        Problem::Sum { .. } => ("total", None, None),
        Problem::Kept { policy, .. } => ("kept", None, Some(policy)),
        Problem::Ttl { policy, .. } => ("ttl", None, Some(policy)),
        Problem::Past { .. } => ("past", None, None),
        Problem::Broken { .. } => ("broken", None, None),
    };
    let (event, event_last) = events.unzip();
    json!({ "kind": kind, "event": event, "event_last": event_last, "policy": policy, "message": problem.to_string() })
}

fn happened(event: &Happened) -> Value {
    json!({
        "event": event.n,
        "at_ms": u64::try_from(event.at.as_millis()).ok(),
        "came": event.reaction.to_string(),
        "reply": event.reply,
        "calls": event.calls.iter().map(call).collect::<Vec<_>>(),
        "calls_more": event.calls_more,
        "told": event.told.iter().map(told).collect::<Vec<_>>(),
    })
}

fn hidden(hidden: &HiddenState) -> Value {
    json!({
        "step": hidden.step,
        "line": hidden.line,
        "event": hidden.n,
        "policy": hidden.policy,
        "pooled": hidden.pooled.as_ref().map(call),
        "fresh": hidden.fresh.as_ref().map(call),
    })
}

fn call(call: &Call) -> Value {
    let (verdict, duration, reason) = match call.answer.as_ref().map(|judgement| &judgement.verdict) {
        Err(_denied) => ("denied", None, None),
        Ok(Verdict::Pass) => ("pass", None, None),
        Ok(Verdict::Wait(order)) => ("wait", Some(order.duration), Some(&order.reason)),
        Ok(Verdict::Ban(order)) => ("ban", Some(order.duration), Some(&order.reason)),
    };
    let keep = match call.answer.as_ref().map(|judgement| &judgement.keep) {
        Err(_) | Ok(Keep::Unchanged) => "unchanged",
        Ok(Keep::Forget) => "forget",
        Ok(Keep::Put(_)) => "put",
    };
    json!({
        "policy": &*call.policy,
        "at_unix_ms": call.at.as_millis(),
        "verdict": verdict,
        "duration_ms": duration.and_then(|duration| u64::try_from(duration.as_millis()).ok()),
        "reason": reason.map(|reason| json!({ "code": reason.code(), "text": reason.text() })),
        "keep": keep,
        "before": call.before.as_ref().map(hex),
        "after": call.after().as_ref().map(hex),
    })
}

fn told(told: &Told) -> Value {
    match told {
        Told::Failed { policy, failure, .. } => {
            json!({ "policy": policy, "failed": failure.cause.name(), "message": failure.to_string() })
        }
        Told::Log { policy, message, .. } => json!({ "policy": policy, "log": message }),
    }
}

fn hex(state: &StateBytes) -> String {
    state.iter().map(|byte| format!("{byte:02x}")).collect()
}
