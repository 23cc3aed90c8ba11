//! Runs a scenario twice at once: on instances that have judged before, as in
//! service, and on a fresh one for each call. What is expected is looked for in
//! the first; where the second answers differently, a policy keeps something
//! that the host doesn't see.

use std::collections::{BTreeMap, BTreeSet};
use std::mem::discriminant;
use std::time::Duration;

use portcullis_domain::{Event, Keep, Outcome, Request as Requested, Subject, Timestamp};
use portcullis_runtime::Mode;

use super::bind::Bound;
use super::check::Tally;
use super::model::{Action, EventProblem, Expect, Kept, KeptBytes, Step, Times, Ttl, When};
use super::report::{CALLS_MAX, Happened, HiddenState, PROBLEMS_MAX, Problem, Report, StepReport};
use crate::observed::{Call, Told};
use crate::plan::PolicyPlan;
use crate::world::{Login, OpenError, Reaction, RestartKeeps, World};

impl Bound {
    /// Runs it.
    ///
    /// # Errors
    /// [`OpenError`] if a plugin can't be put in force.
    pub fn run(&self) -> Result<Report, OpenError> {
        let mut run = Run {
            pooled: World::open(self.plan.clone(), Mode::Pooled)?,
            fresh: World::open(self.plan.clone(), Mode::FreshPerCall)?,
            start: self.plan.start,
            ends: BTreeMap::new(),
            hidden: Vec::new(),
        };
        let step = |(index, step): (usize, &Step)| Running::new(&mut run, index, step).run(self.swaps.get(&index));
        let steps = self.steps.iter().enumerate().map(step).collect();
        Ok(Report { name: self.name.clone(), file: self.file.clone(), steps, hidden: run.hidden })
    }
}

/// The two worlds, and what is known about them.
struct Run {
    pooled: World,
    fresh: World,
    start: Timestamp,
    /// Until when a policy's state is kept, by policy, format and subject; the
    /// gate itself only says whether it still is.
    ends: BTreeMap<(String, String, Subject), Option<Timestamp>>,
    hidden: Vec<HiddenState>,
}

impl Run {
    fn worlds(&mut self) -> [&mut World; 2] {
        [&mut self.pooled, &mut self.fresh]
    }

    fn since_start(&self) -> Duration {
        self.pooled.now().since(self.start)
    }

    /// Looks for a difference, and remembers what is kept until when.
    fn compare(&mut self, step: usize, line: usize, n: u32, pooled: &[Call], fresh: &[Call]) {
        // What comes after the first difference follows from it: a ban in one
        // world alone keeps other policies there from being asked.
        let same = !self.hidden.is_empty() || pooled == fresh;
        let length = if same { 0 } else { pooled.len().max(fresh.len()) };
        for index in 0..length {
            let (one, other) = (pooled.get(index), fresh.get(index));
            let Some(call) = one.or(other).filter(|_| one != other) else { continue };
            self.hidden.push(HiddenState {
                step,
                line,
                n: if n > 0 { n } else { u32::try_from(index + 1).unwrap_or(u32::MAX) },
                policy: call.policy.to_string(),
                subject: call.subject.clone(),
                pooled: one.cloned(),
                fresh: other.cloned(),
            });
            // Of one event there is one call of each policy, and they don't hear of
            // each other; among many at once what comes later follows here too.
            if n == 0 {
                break;
            }
        }
        for call in pooled {
            let Ok(judgement) = &call.answer else { continue };
            let key = || {
                let format = self.format(&call.policy);
                (call.policy.to_string(), format, call.subject.clone())
            };
            match &judgement.keep {
                Keep::Unchanged => {}
                _ if judgement.format != 0 => {}
                Keep::Forget => drop(self.ends.remove(&key())),
                Keep::Put(kept) => {
                    let key = key();
                    self.ends.insert(key, kept.ttl.map(|ttl| call.at.after(ttl)));
                }
            }
        }
    }

    /// How the policy's state is written.
    fn format(&self, policy: &str) -> String {
        let plan = self.pooled.plan().policies.iter().find(|plan| plan.name == policy);
        plan.map_or_else(String::new, |plan| plan.plugin.description().state_format.as_str().to_owned())
    }

    fn subject(&self, policy: &PolicyPlan, whose: &Who) -> Subject {
        let source = self.pooled.source(whose.from);
        let request =
            Requested { source, client_id: whose.client.as_ref(), method: "", path: "", status: 0, attributes: &[] };
        Subject::of(policy.subject, &Event::Request(&request))
    }
}

/// Who an event was about.
struct Who {
    client: Option<portcullis_domain::ClientId>,
    from: std::net::IpAddr,
}

/// One step under way.
struct Running<'r> {
    run: &'r mut Run,
    index: usize,
    step: &'r Step,
    tally: Tally,
    events: u64,
    problems: Vec<Problem>,
    problems_more: u64,
    event: Option<Happened>,
    failed: BTreeSet<String>,
    last: Option<Who>,
}

impl<'r> Running<'r> {
    fn new(run: &'r mut Run, index: usize, step: &'r Step) -> Self {
        Self {
            run,
            index,
            step,
            tally: Tally::default(),
            events: 0,
            problems: Vec::new(),
            problems_more: 0,
            event: None,
            failed: BTreeSet::new(),
            last: None,
        }
    }

    fn run(mut self, swap: Option<&Vec<PolicyPlan>>) -> StepReport {
        self.pass_time();
        let at = self.run.since_start();
        match (&self.step.action, self.step.times) {
            (Action::Nothing, _) => {}
            (Action::Restart(keeps), _) => self.restart(*keeps),
            (Action::Swap(_), _) => self.swap(swap),
            (Action::Attempt(_), Times::Parallel { count, takes }) => self.parallel(count, takes),
            (
                Action::Attempt(_) | Action::Request(_),
                Times::Repeat { count, every } | Times::Parallel { count, takes: every },
            ) => {
                self.repeat(count, every);
            }
        }
        self.look();
        let Self { index, step, tally, events, problems, problems_more, event, .. } = self;
        StepReport {
            number: index + 1,
            step: step.clone(),
            at,
            events,
            sums: tally.list(),
            problems,
            problems_more,
            event,
        }
    }

    /// Events can be very many and say little new: neither may they hide what
    /// else came otherwise.
    fn problem(&mut self, problem: Problem) {
        if self.problems.iter_mut().any(|known| known.takes_in(&problem)) {
            return;
        }
        let alike = |known: &&Problem| discriminant(*known) == discriminant(&problem);
        if problem.last_event().is_some() && self.problems.iter().filter(alike).count() >= PROBLEMS_MAX {
            self.problems_more += 1;
        } else {
            self.problems.push(problem);
        }
    }

    fn pass_time(&mut self) {
        match self.step.when {
            When::After(after) => self.run.worlds().iter().for_each(|world| world.advance(after)),
            When::At(at) => {
                let (target, now) = (self.run.start.after(at), self.run.since_start());
                if at < now {
                    self.problem(Problem::Past { at, now });
                }
                self.run.worlds().iter().for_each(|world| world.advance_to(target));
            }
        }
    }

    fn restart(&mut self, keeps: RestartKeeps) {
        if keeps == RestartKeeps::Nothing {
            self.run.ends.clear();
        }
        for world in self.run.worlds() {
            if let Err(error) = world.restart(keeps) {
                self.problems.push(Problem::Broken { why: error.to_string() });
                return;
            }
        }
    }

    fn swap(&mut self, policies: Option<&Vec<PolicyPlan>>) {
        let Some(policies) = policies else {
            return self.problem(Problem::Broken { why: "nothing to swap to".to_owned() });
        };
        for world in self.run.worlds() {
            if let Err(error) = world.swap(policies.clone()) {
                self.problems.push(Problem::Broken { why: error.to_string() });
                return;
            }
        }
    }

    fn repeat(&mut self, count: u32, every: Duration) {
        for n in 1..=count {
            if n > 1 {
                self.run.worlds().iter().for_each(|world| world.advance(every));
            }
            let (reactions, status) = match self.react(n) {
                Ok(Some(reacted)) => reacted,
                Ok(None) => return,
                Err((key, cause)) => return self.problem(Problem::Broken { why: format!("{key}: {cause}") }),
            };
            let [calls, fresh] = self.run.worlds().map(|world| world.take_calls());
            let [told, _] = self.run.worlds().map(|world| world.take_told());
            self.run.compare(self.index + 1, self.step.line, n, &calls, &fresh);
            let [reaction, _] = reactions;
            let at = self.run.since_start();
            self.event(Happened { n, at, reply: reaction.reply(status), reaction, calls, calls_more: 0, told });
        }
    }

    /// One event in both worlds, and what it would be answered; `None` if it is none.
    fn react(&mut self, n: u32) -> Result<Option<([Reaction; 2], u16)>, EventProblem> {
        match &self.step.action {
            Action::Attempt(attempt) => {
                let login = attempt.login(n)?;
                let reactions = self.run.worlds().map(|world| world.login(&login));
                self.last = Some(Who { client: login.client, from: login.from });
                Ok(Some((reactions, status(attempt.outcome))))
            }
            Action::Request(request) => {
                let visit = request.visit(n)?;
                let reactions = self.run.worlds().map(|world| world.request(&visit));
                self.last = Some(Who { client: visit.client, from: visit.from });
                Ok(Some((reactions, request.status)))
            }
            Action::Nothing | Action::Restart(_) | Action::Swap(_) => Ok(None),
        }
    }

    fn parallel(&mut self, count: u32, takes: Duration) {
        let Action::Attempt(attempt) = &self.step.action else { return };
        let logins: Result<Vec<Login>, _> = (1..=count).map(|n| attempt.login(n)).collect();
        let logins = match logins {
            Ok(logins) => logins,
            Err((key, cause)) => return self.problem(Problem::Broken { why: format!("{key}: {cause}") }),
        };
        let [reactions, _] = self.run.worlds().map(|world| world.logins_at_once(&logins, takes));
        let [mut calls, fresh] = self.run.worlds().map(|world| world.take_calls());
        let [mut told, _] = self.run.worlds().map(|world| world.take_told());
        self.run.compare(self.index + 1, self.step.line, 0, &calls, &fresh);
        self.fail(1, &told);
        let calls_more = calls.len().saturating_sub(CALLS_MAX);
        calls.truncate(CALLS_MAX);
        told.truncate(CALLS_MAX);
        self.last = logins.last().map(|login| Who { client: login.client.clone(), from: login.from });
        let status = status(attempt.outcome);
        for (n, reaction) in (1..).zip(&reactions) {
            self.check(n, reaction, reaction.reply(status));
        }
        let wrong = self.problems.iter().find_map(|problem| match problem {
            Problem::Event { n, .. } => Some(*n),
            Problem::Failed { .. }
            | Problem::Sound { .. }
            | Problem::Sum { .. }
            | Problem::Kept { .. }
            | Problem::Ttl { .. }
            | Problem::Past { .. }
            | Problem::Broken { .. } => None,
        });
        let at = self.run.since_start();
        let shown = (1..=count).zip(reactions).filter(|(n, _)| wrong.is_none_or(|wrong| wrong == *n)).last();
        self.event = shown.map(|(n, reaction)| {
            let reply = reaction.reply(status);
            Happened { n, at, reply, reaction, calls, calls_more, told }
        });
    }

    /// One event is over.
    fn event(&mut self, event: Happened) {
        let sound = self.problems.is_empty();
        self.fail(event.n, &event.told);
        self.check(event.n, &event.reaction, event.reply);
        if sound || self.event.is_none() {
            self.event = Some(event);
        }
    }

    fn check(&mut self, n: u32, reaction: &Reaction, reply: u16) {
        self.events += 1;
        self.tally.add(reaction);
        if let Some(expect) = &self.step.expect
            && !expect.holds(reaction, reply)
        {
            let (expected, came) = (expect.clone(), reaction.clone());
            self.problem(Problem::Event { n, last: n, expected, came, reply });
        }
    }

    /// Plugins that failed, and whether they may.
    fn fail(&mut self, n: u32, told: &[Told]) {
        let forgiven = self.step.expect.as_ref().is_some_and(Expect::forgives);
        for told in told {
            let Told::Failed { policy, rung, failure } = told else { continue };
            if !forgiven && !self.step.failing.contains(policy) {
                let (policy, rung, failure) = (policy.clone(), *rung, failure.clone());
                self.problem(Problem::Failed { n, last: n, policy, rung, failure });
            }
            self.failed.insert(policy.clone());
        }
    }

    /// What is to be looked at once all events are over.
    fn look(&mut self) {
        let step = self.step;
        for policy in step.failing.iter().filter(|policy| !self.failed.contains(*policy)).cloned().collect::<Vec<_>>() {
            self.problem(Problem::Sound { policy });
        }
        for &(sum, expected) in &step.total {
            let came = self.tally.get(sum);
            if came != expected {
                self.problem(Problem::Sum { sum, expected, came });
            }
        }
        for kept in &step.kept {
            self.look_at(kept);
        }
        // Nothing that happened here is part of the next step.
        for world in self.run.worlds() {
            drop((world.take_calls(), world.take_told()));
        }
    }

    fn look_at(&mut self, expected: &Kept) {
        let policy = self.run.pooled.plan().policies.iter().find(|policy| policy.name == expected.policy);
        let whose = match (&expected.of, &self.last) {
            (Some(of), _) => {
                // Where the source isn't known it isn't part of the subject.
                let nowhere = std::net::IpAddr::V6(std::net::Ipv6Addr::UNSPECIFIED);
                Some(Who { client: of.client.clone(), from: of.from.unwrap_or(nowhere) })
            }
            (None, Some(last)) => Some(Who { client: last.client.clone(), from: last.from }),
            (None, None) => None,
        };
        let (Some(policy), Some(whose)) = (policy, whose) else {
            let why = format!("kept.{}: there is no such policy, or no subject", expected.policy);
            return self.problem(Problem::Broken { why });
        };
        let subject = self.run.subject(policy, &whose);
        let policy = policy.name.clone();
        let kept = self.run.pooled.kept(&policy, &subject);
        if !expected.what.holds(kept.as_ref()) {
            let expected = expected.what.clone();
            let (policy, subject, came) = (policy.clone(), subject.clone(), kept.clone());
            self.problem(Problem::Kept { policy, subject, expected, came });
        }
        let Some(ttl) = expected.ttl else { return };
        if expected.what == KeptBytes::Nothing {
            return;
        }
        let key = (policy.clone(), self.run.format(&policy), subject.clone());
        let now = self.run.pooled.now();
        let came = kept.and_then(|_| self.run.ends.get(&key)).map(|end| match end {
            None => Ttl::None,
            Some(end) => Ttl::Remaining(end.since(now)),
        });
        if came != Some(ttl) {
            self.problem(Problem::Ttl { policy, subject, expected: ttl, came });
        }
    }
}

/// What a login is answered when the gate lets it through.
const fn status(outcome: Outcome) -> u16 {
    match outcome {
        Outcome::Failure => 401,
        Outcome::Success => 200,
    }
}

impl Problem {
    /// The last of the events that it is about, if it is about events.
    const fn last_event(&self) -> Option<u32> {
        match self {
            Self::Event { last, .. } | Self::Failed { last, .. } => Some(*last),
            Self::Sound { .. }
            | Self::Sum { .. }
            | Self::Kept { .. }
            | Self::Ttl { .. }
            | Self::Past { .. }
            | Self::Broken { .. } => None,
        }
    }

    /// Whether the next event came to the same in all that is told of it; then
    /// it is part of this one.
    fn takes_in(&mut self, next: &Self) -> bool {
        match (self, next) {
            (Self::Event { last, came, reply, .. }, Self::Event { n, came: next_came, reply: next_reply, .. })
                if last.saturating_add(1) == *n && reply == next_reply && came.to_string() == next_came.to_string() =>
            {
                *last = *n;
                true
            }
            // Attempts at the same instant are all the first.
            (
                Self::Failed { last, policy, rung, failure, .. },
                Self::Failed { n, policy: next_policy, rung: next_rung, failure: next_failure, .. },
            ) if (*last == *n || last.saturating_add(1) == *n)
                && *policy == *next_policy
                && *rung == *next_rung
                && failure.to_string() == next_failure.to_string() =>
            {
                *last = *n;
                true
            }
            _ => false,
        }
    }
}
