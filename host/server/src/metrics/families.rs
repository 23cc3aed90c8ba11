//! Every metric there is: its name, its labels, what it means, and where it is read.
//!
//! Names, labels and meanings are promises to dashboards and alerts: new ones may
//! come, those that are here stay.

use portcullis_runtime::{Cause, Rung};

use super::scrape::{Family, Metric, Samples, Seen, SeenPolicy};
use crate::tls::HandshakeFailure;

type Read = fn(&Seen<'_>, &mut Samples);

const fn counter(name: &'static str, labels: &'static [&'static str], doc: &'static str, read: Read) -> Family {
    Family { name, metric: Metric::Counter, lasting: false, labels, doc, read }
}

/// A counter that is kept with the state.
const fn total(name: &'static str, labels: &'static [&'static str], doc: &'static str, read: Read) -> Family {
    Family { lasting: true, ..counter(name, labels, doc, read) }
}

const fn gauge(name: &'static str, labels: &'static [&'static str], doc: &'static str, read: Read) -> Family {
    Family { name, metric: Metric::Gauge, lasting: false, labels, doc, read }
}

const fn histogram(name: &'static str, labels: &'static [&'static str], doc: &'static str, read: Read) -> Family {
    Family { name, metric: Metric::Histogram, lasting: false, labels, doc, read }
}

/// Every metric, in the order in which it is written.
pub const FAMILIES: &[Family] = &[
    // What comes in, and what becomes of it.
    total("portcullis_requests_total", &[], "Requests that reached the gate.", |seen, out| {
        out.one(seen.running.counters.requests.get())
    }),
    total(
        "portcullis_attempts_total",
        &["outcome"],
        "Login attempts whose secret was checked: success or failure.",
        |seen, out| {
            out.labelled(["failure"], seen.running.counters.attempts_failed.get());
            out.labelled(["success"], seen.running.counters.attempts_succeeded.get());
        },
    ),
    total(
        "portcullis_verified_requests_total",
        &[],
        "Requests with a pair of id and secret verified a moment ago: no attempts.",
        |seen, out| out.one(seen.running.counters.verified.get()),
    ),
    total(
        "portcullis_refusals_total",
        &["why"],
        "Requests turned away: banned (423), waiting or busy (429), malformed (400, 405) or overloaded (503).",
        |seen, out| {
            let counters = &seen.running.counters;
            out.labelled(["banned"], counters.refused_banned.get());
            out.labelled(["waiting"], counters.refused_waiting.get());
            out.labelled(["busy"], counters.refused_busy.get());
            out.labelled(["malformed"], counters.refused_malformed.get());
            out.labelled(["overloaded"], counters.refused_overloaded.get());
        },
    ),
    total(
        "portcullis_denied_total",
        &[],
        "Events that no policy could judge and whose operator wants that to be a 503.",
        |seen, out| out.one(seen.running.counters.denied.get()),
    ),
    // What other proxies ask and report.
    total(
        "portcullis_checks_total",
        &["answer"],
        "Requests that other proxies asked about: passed, banned (423), waiting (429) or malformed (400). Refusals are \
         counted in portcullis_refusals_total, too.",
        |seen, out| {
            let counters = &seen.running.counters;
            out.labelled(["passed"], counters.checks_passed.get());
            out.labelled(["banned"], counters.checks_banned.get());
            out.labelled(["waiting"], counters.checks_waiting.get());
            out.labelled(["malformed"], counters.checks_malformed.get());
        },
    ),
    total(
        "portcullis_reported_events_total",
        &["result"],
        "Events that were reported: judged, banned (the source was already, so they weren't judged) or rejected (no \
         events).",
        |seen, out| {
            let counters = &seen.running.counters;
            out.labelled(["judged"], counters.reported_judged.get());
            out.labelled(["banned"], counters.reported_banned.get());
            out.labelled(["rejected"], counters.reported_rejected.get());
        },
    ),
    total(
        "portcullis_askers_untrusted_total",
        &[],
        "Requests to decide.address from peers that aren't in decide.trusted (403).",
        |seen, out| out.one(seen.running.counters.askers_untrusted.get()),
    ),
    // What policies order.
    total("portcullis_waits_ordered_total", &[], "Waits that policies ordered.", |seen, out| {
        out.one(seen.running.counters.waits.get())
    }),
    total(
        "portcullis_bans_ordered_total",
        &["fate"],
        "Bans that policies ordered: enforced, spared (the source is never banned) or log-only (over \
         guard.max_bans_per_minute).",
        |seen, out| {
            let counters = &seen.running.counters;
            out.labelled(["enforced"], counters.bans.get());
            out.labelled(["spared"], counters.bans_spared.get());
            out.labelled(["log-only"], counters.bans_log_only.get());
        },
    ),
    counter(
        "portcullis_orders_total",
        &["policy", "kind", "code", "fate"],
        "Orders by policy and reason code since the start; 16 codes of a policy are told apart, the rest is other.",
        |seen, out| {
            for one in seen.running.counters.orders.counted() {
                out.labelled([&one.policy, one.kind.name(), &one.code, one.fate.name()], one.count);
            }
        },
    ),
    gauge(
        "portcullis_bans",
        &[],
        "Bans kept; those that have just ended are included for some seconds.",
        |seen, out| {
            out.one(seen.sizes.bans);
        },
    ),
    gauge(
        "portcullis_waits",
        &[],
        "Waits kept; those that have just ended are included for some seconds.",
        |seen, out| out.one(seen.sizes.waits),
    ),
    total(
        "portcullis_bans_displaced_total",
        &[],
        "Active bans that had to go because as many were active as can be.",
        |seen, out| out.one(seen.running.counters.bans_displaced.get()),
    ),
    counter(
        "portcullis_waits_evicted_total",
        &[],
        "Active waits that had to go for others since the start.",
        |seen, out| out.one(seen.sizes.waits_evicted),
    ),
    gauge("portcullis_policy_states", &["policy"], "States that a policy keeps for subjects.", |seen, out| {
        for table in &seen.sizes.tables {
            out.labelled([&table.policy], table.states);
        }
    }),
    counter(
        "portcullis_policy_states_evicted_total",
        &["policy"],
        "Live states that had to go for others since the start.",
        |seen, out| {
            for table in &seen.sizes.tables {
                out.labelled([&table.policy], table.evicted);
            }
        },
    ),
    // Policies and their plugins.
    gauge(
        "portcullis_policy_info",
        &["policy", "kind", "mode", "plugin", "version", "sha256"],
        "1 for each policy in force, with what it runs.",
        |seen, out| {
            for policy in &seen.policies {
                let plugin = policy.loaded.judge.primary().plugin();
                let (what, digest) = (plugin.description(), plugin.digest_hex());
                let kind = policy.kind().name();
                out.labelled([policy.name(), kind, policy.mode(), &what.name, &what.version, &digest], true);
            }
        },
    ),
    counter(
        "portcullis_policy_calls_total",
        &["policy", "kind"],
        "Events that were put to the policy since its plugin or settings changed.",
        |seen, out| each(seen, out, |policy| policy.counted.calls),
    ),
    histogram(
        "portcullis_policy_judge_seconds",
        &["policy", "kind"],
        "Time that a policy took to judge, whatever rung answered; one call in 8 of a thread is timed.",
        |seen, out| {
            for policy in &seen.policies {
                out.labelled([policy.name(), policy.kind().name()], policy.times.clone());
            }
        },
    ),
    counter(
        "portcullis_policy_failures_total",
        &["policy", "kind", "rung", "cause"],
        "Failed calls by rung (first: any instance, fresh: a new one, bundle: the bundle's plugin) and cause.",
        |seen, out| {
            for policy in &seen.policies {
                for rung in Rung::ALL {
                    for cause in Cause::ALL {
                        let labels = [policy.name(), policy.kind().name(), rung.name(), cause.name()];
                        out.labelled(labels, policy.counted.failed_on(rung, cause));
                    }
                }
            }
        },
    ),
    counter(
        "portcullis_policy_recovered_total",
        &["policy", "kind"],
        "Failed calls that a new instance answered.",
        |seen, out| each(seen, out, |policy| policy.counted.recovered),
    ),
    counter(
        "portcullis_policy_fallbacks_total",
        &["policy", "kind"],
        "Events that were left to on_failure, in quarantine or not.",
        |seen, out| each(seen, out, |policy| policy.counted.fallbacks),
    ),
    counter(
        "portcullis_policy_fallbacks_spared_total",
        &["policy", "kind"],
        "Of the fallbacks, those of a source that the plugin kept failing for: it wasn't called.",
        |seen, out| each(seen, out, |policy| policy.counted.spared),
    ),
    counter(
        "portcullis_policy_denied_total",
        &["policy", "kind"],
        "Events that the policy's on_failure denied.",
        |seen, out| each(seen, out, |policy| policy.counted.denied),
    ),
    counter("portcullis_policy_quarantines_total", &["policy", "kind"], "Quarantines begun.", |seen, out| {
        each(seen, out, |policy| policy.counted.quarantines);
    }),
    gauge(
        "portcullis_policy_quarantined",
        &["policy", "kind"],
        "Whether the policy's plugin is in quarantine: failing for many sources, and not called for a while.",
        |seen, out| {
            let now = seen.running.gatekeeper.gate().clock().now();
            each(seen, out, |policy| u64::from(policy.counted.quarantined_until.is_some_and(|until| now < until)));
        },
    ),
    gauge(
        "portcullis_policy_over_cap",
        &["policy", "kind"],
        "Whether the policy is over guard.max_bans_per_minute, so that its bans aren't enforced.",
        |seen, out| {
            each(seen, out, |policy| u64::from(seen.tripped.iter().any(|over| *over.policy == *policy.name())));
        },
    ),
    total(
        "portcullis_guard_trips_total",
        &[],
        "Times that a policy went over guard.max_bans_per_minute.",
        |seen, out| out.one(seen.running.counters.guard_trips.get()),
    ),
    total("portcullis_shadow_orders_total", &[], "Orders that shadow policies would have given.", |seen, out| {
        out.one(seen.running.counters.shadow_orders.get())
    }),
    counter(
        "portcullis_policy_log_lines_dropped_total",
        &["policy", "kind"],
        "Log lines of the plugin over the number that one call may write.",
        |seen, out| each(seen, out, |policy| policy.counted.log_lines_dropped),
    ),
    counter(
        "portcullis_shadow_events_total",
        &["policy", "kind", "what"],
        "Events of a shadow policy: judged, ordered (it would have acted), agreed (an enforcing one of its kind did \
         too), refused (it would have had them refused), login-refused (of these, successful logins), failed.",
        |seen, out| {
            for policy in seen.policies.iter().filter(|policy| policy.mode() == "shadow") {
                let counts = seen.running.gatekeeper.gate().store().shadow(policy.name()).report(0).counts;
                for (what, count) in [
                    ("judged", counts.judged),
                    ("ordered", counts.orders),
                    ("agreed", counts.agreed),
                    ("refused", counts.refused),
                    ("login-refused", counts.logins_refused),
                    ("failed", counts.failed),
                ] {
                    out.labelled([policy.name(), policy.kind().name(), what], count);
                }
            }
        },
    ),
    // The service behind, and connections.
    histogram(
        "portcullis_upstream_head_seconds",
        &[],
        "Time from sending a request on to the head of the answer; one answer in 8 of a thread is timed.",
        |seen, out| out.one(seen.running.counters.upstream_times.distribution()),
    ),
    total(
        "portcullis_upstream_failures_total",
        &[],
        "Requests that the service behind didn't answer (502, 503, 504).",
        |seen, out| out.one(seen.running.counters.upstream_failed.get()),
    ),
    gauge("portcullis_connections", &[], "Connections of clients, tunnels included.", |seen, out| {
        out.one(seen.running.connections.used());
    }),
    gauge("portcullis_connections_max", &[], "Connections of clients that there may be at once.", |seen, out| {
        out.one(seen.running.connections.limit());
    }),
    total(
        "portcullis_connections_refused_total",
        &[],
        "Connections over that number, closed with a 503.",
        |seen, out| out.one(seen.running.counters.connections_refused.get()),
    ),
    // Listeners.
    total(
        "portcullis_handshakes_total",
        &["result"],
        "TLS handshakes: full, resumed, or failed of timeout, crowded (closed for others), client (it didn't go on), \
         not-tls, incompatible, certificate (the client's) or other.",
        |seen, out| {
            let counters = &seen.running.counters;
            out.labelled(["full"], counters.handshakes_full.get());
            out.labelled(["resumed"], counters.handshakes_resumed.get());
            for failure in HandshakeFailure::ALL {
                out.labelled([failure.name()], counters.handshakes_failed(failure).get());
            }
        },
    ),
    gauge(
        "portcullis_handshakes_under_way",
        &[],
        "PROXY headers and TLS handshakes that are waited for.",
        |seen, out| out.one(seen.running.handshakes.get()),
    ),
    gauge(
        "portcullis_certificate_expiry_timestamp_seconds",
        &["file"],
        "When a certificate of a listener expires.",
        |seen, out| {
            for certificate in seen.in_force.certificates() {
                out.labelled([&certificate.file().display().to_string()], seconds(certificate.not_after()));
            }
        },
    ),
    total(
        "portcullis_connections_closed_total",
        &["why"],
        "Connections closed before a request: banned, or where a PROXY header is required untrusted (not in \
         source.trusted_proxies), malformed or late.",
        |seen, out| {
            let counters = &seen.running.counters;
            out.labelled(["banned"], counters.closed_banned.get());
            out.labelled(["untrusted"], counters.proxy_headers_untrusted.get());
            out.labelled(["malformed"], counters.proxy_headers_malformed.get());
            out.labelled(["late"], counters.proxy_headers_late.get());
        },
    ),
    total(
        "portcullis_certified_requests_total",
        &[],
        "Requests of clients whom a certificate names, in place of credentials.",
        |seen, out| out.one(seen.running.counters.certified.get()),
    ),
    // Durable state, journal and log.
    gauge(
        "portcullis_state_lag_seconds",
        &[],
        "How far the state's file is behind the memory; absent where the state isn't durable.",
        |seen, out| {
            if let Some(state) = &seen.state {
                out.one(state.lag.as_secs_f64());
            }
        },
    ),
    gauge("portcullis_state_pending", &[], "Changes that wait to be written to the state's file.", |seen, out| {
        if let Some(state) = &seen.state {
            out.one(state.pending);
        }
    }),
    gauge("portcullis_state_failing", &[], "Whether the state's file can't be written at the moment.", |seen, out| {
        if let Some(state) = &seen.state {
            out.one(state.failing.is_some());
        }
    }),
    counter(
        "portcullis_state_unsettled_replies_total",
        &[],
        "Replies that left before the ban that they followed was durable, since the disk took too long.",
        |seen, out| {
            if let Some(state) = &seen.state {
                out.one(state.unsettled_replies);
            }
        },
    ),
    counter("portcullis_state_commits_total", &[], "Commits to the state's file.", |seen, out| {
        if let Some(state) = &seen.state {
            out.one(state.commits);
        }
    }),
    counter(
        "portcullis_state_late_commits_total",
        &[],
        "Commits later than 100 ms after the first change in them.",
        |seen, out| {
            if let Some(state) = &seen.state {
                out.one(state.late_commits);
            }
        },
    ),
    gauge("portcullis_state_last_commit_seconds", &[], "How long the last commit took.", |seen, out| {
        if let Some(state) = &seen.state {
            out.one(state.last_commit.as_secs_f64());
        }
    }),
    gauge(
        "portcullis_state_rewriting",
        &[],
        "Whether so much waited that all of the state is being written anew.",
        |seen, out| {
            if let Some(state) = &seen.state {
                out.one(state.rewriting);
            }
        },
    ),
    gauge("portcullis_state_bytes", &[], "Size of the state's file, its log included.", |seen, out| {
        if let Some(state) = &seen.state {
            out.one(state.file_bytes);
        }
    }),
    gauge("portcullis_firewall_elements", &[], "Networks that the firewall keeps out.", |seen, out| {
        if let Some(firewall) = &seen.firewall {
            out.one(firewall.elements);
        }
    }),
    gauge("portcullis_firewall_lag_seconds", &[], "How far the firewall is behind the bans.", |seen, out| {
        if let Some(firewall) = &seen.firewall {
            out.one(firewall.lag.as_secs_f64());
        }
    }),
    gauge("portcullis_firewall_pending", &[], "Changes that wait to be in force in the firewall.", |seen, out| {
        if let Some(firewall) = &seen.firewall {
            out.one(firewall.pending);
        }
    }),
    gauge(
        "portcullis_firewall_failing",
        &[],
        "Whether the firewall isn't kept as it should be at the moment.",
        |seen, out| {
            if let Some(firewall) = &seen.firewall {
                out.one(firewall.failing.is_some());
            }
        },
    ),
    counter(
        "portcullis_firewall_stopped_packets_total",
        &[],
        "Packets of banned sources that the firewall has stopped.",
        |seen, out| {
            if let Some(firewall) = &seen.firewall {
                out.one(firewall.stopped_packets);
            }
        },
    ),
    counter("portcullis_firewall_transactions_total", &[], "Transactions that changed the firewall.", |seen, out| {
        if let Some(firewall) = &seen.firewall {
            out.one(firewall.transactions);
        }
    }),
    gauge("portcullis_firewall_last_transaction_seconds", &[], "How long the last of them took.", |seen, out| {
        if let Some(firewall) = &seen.firewall {
            out.one(firewall.last_transaction.as_secs_f64());
        }
    }),
    counter(
        "portcullis_firewall_mended_total",
        &[],
        "Changes by others of the firewall's table that were mended.",
        |seen, out| {
            if let Some(firewall) = &seen.firewall {
                out.one(firewall.mended);
            }
        },
    ),
    // Watched logs.
    counter(
        "portcullis_watch_lines_total",
        &["watch", "kind"],
        "Lines of a watch's logs: event, other (of the format, and of nothing that policies judge) or unknown.",
        |seen, out| {
            for watch in &seen.watches {
                let name = watch.config.name.as_str();
                out.labelled([name, "event"], watch.counts.events.get());
                out.labelled([name, "other"], watch.counts.others.get());
                out.labelled([name, "unknown"], watch.counts.unknown.get());
            }
        },
    ),
    counter(
        "portcullis_watch_events_total",
        &["watch", "what"],
        "Events in a watch's logs: request, failed-login or successful-login; a request that failed to log in is both.",
        |seen, out| {
            for watch in &seen.watches {
                let name = watch.config.name.as_str();
                out.labelled([name, "request"], watch.counts.requests.get());
                out.labelled([name, "failed-login"], watch.counts.failed_logins.get());
                out.labelled([name, "successful-login"], watch.counts.successful_logins.get());
            }
        },
    ),
    counter(
        "portcullis_watch_events_not_judged_total",
        &["watch", "why"],
        "Events that weren't judged: late (older than watch.max_lateness), ahead (of the clock) or banned (their source \
         was already).",
        |seen, out| {
            for watch in &seen.watches {
                let name = watch.config.name.as_str();
                out.labelled([name, "late"], watch.counts.late.get());
                out.labelled([name, "ahead"], watch.counts.ahead.get());
                out.labelled([name, "banned"], watch.counts.banned.get());
            }
        },
    ),
    counter(
        "portcullis_watch_failures_total",
        &["watch", "what"],
        "Times that a log couldn't be read or the command had ended (unreadable), or that something was gone before it \
         was read (lost).",
        |seen, out| {
            for watch in &seen.watches {
                out.labelled([watch.config.name.as_str(), "unreadable"], watch.counts.failures.get());
                out.labelled([watch.config.name.as_str(), "lost"], watch.counts.lost.get());
            }
        },
    ),
    gauge(
        "portcullis_watch_sources",
        &["watch"],
        "Logs that are followed, or 1 while the command runs.",
        |seen, out| {
            for watch in &seen.watches {
                out.labelled([watch.config.name.as_str()], watch.counts.sources.get());
            }
        },
    ),
    gauge(
        "portcullis_watch_behind_bytes",
        &["watch"],
        "Bytes of a watch's logs that are yet to be read.",
        |seen, out| {
            for watch in &seen.watches {
                out.labelled([watch.config.name.as_str()], watch.counts.behind_bytes.get());
            }
        },
    ),
    gauge(
        "portcullis_watch_behind_seconds",
        &["watch"],
        "Age of the last event that was read, while there is more to read; else 0.",
        |seen, out| {
            for watch in &seen.watches {
                let behind = std::time::Duration::from_millis(watch.counts.behind_ms.get());
                out.labelled([watch.config.name.as_str()], behind.as_secs_f64());
            }
        },
    ),
    counter("portcullis_journal_events_total", &[], "Events that the journal has taken.", |seen, out| {
        out.one(seen.journal.written);
    }),
    counter(
        "portcullis_journal_dropped_total",
        &[],
        "Events that the journal hasn't: its queue was full or the disk failed.",
        |seen, out| out.one(seen.journal.dropped),
    ),
    gauge("portcullis_journal_bytes", &[], "Size of the journal's segments.", |seen, out| {
        out.one(seen.journal.bytes);
    }),
    gauge("portcullis_journal_failing", &[], "Whether the journal can't be written at the moment.", |seen, out| {
        out.one(seen.journal.failing.is_some());
    }),
    counter(
        "portcullis_log_lines_lost_total",
        &["why"],
        "Lines that aren't in the log: dropped (its queue was full), unwritten (the disk or reader failed), suppressed \
         (refusals over their rate).",
        |seen, out| {
            out.labelled(["dropped"], seen.log.dropped);
            out.labelled(["unwritten"], seen.log.unwritten);
            out.labelled(["suppressed"], seen.log.refusals_suppressed);
        },
    ),
    // The server.
    total(
        "portcullis_swaps_total",
        &["result"],
        "Changes of configuration, plugins or credentials: ok (in force) or refused.",
        |seen, out| {
            out.labelled(["ok"], seen.running.counters.swaps.get());
            out.labelled(["refused"], seen.running.counters.swaps_refused.get());
        },
    ),
    gauge(
        "portcullis_in_force_since_timestamp_seconds",
        &[],
        "When the present configuration was put in force.",
        |seen, out| out.one(seconds(seen.in_force.since)),
    ),
    gauge("portcullis_build_info", &["version"], "1, with the program's version.", |_, out| {
        out.labelled([env!("CARGO_PKG_VERSION")], true);
    }),
    gauge("process_start_time_seconds", &[], "When the server began to serve.", |seen, out| {
        out.one(seconds(seen.running.started));
    }),
    counter("process_cpu_seconds_total", &[], "CPU time of the process.", |seen, out| {
        out.one(seen.process.cpu_seconds);
    }),
    gauge("process_resident_memory_bytes", &[], "Memory of the process.", |seen, out| {
        if let Some(bytes) = seen.process.resident_bytes {
            out.one(bytes);
        }
    }),
    gauge("process_threads", &[], "Threads of the process.", |seen, out| {
        if let Some(threads) = seen.process.threads {
            out.one(threads);
        }
    }),
    gauge("process_open_fds", &[], "Files and sockets that the process has open.", |seen, out| {
        if let Some(open) = seen.process.open_files {
            out.one(open);
        }
    }),
    gauge("process_max_fds", &[], "Files and sockets that it may have open.", |seen, out| {
        if let Some(most) = seen.process.max_files {
            out.one(most);
        }
    }),
];

/// One number of each policy in force.
fn each(seen: &Seen<'_>, out: &mut Samples, number: impl Fn(&SeenPolicy) -> u64) {
    for policy in &seen.policies {
        out.labelled([policy.name(), policy.kind().name()], number(policy));
    }
}

fn seconds(at: jiff::Timestamp) -> f64 {
    at.as_duration().as_secs_f64()
}
