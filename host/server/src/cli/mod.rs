//! The command line: what can be said, and the exit code that answers.

mod bench;
mod check;
mod client;
mod component;
mod harness;
mod inspect;
mod new;
mod operate;
mod replay;
mod serve;
mod shell;
mod test;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::{ConfigError, Override, Overrides, printable};
use crate::watch;

/// It ran, and the answer is no.
const EXIT_NO: u8 = 1;
/// Usage or configuration.
const EXIT_USAGE: u8 = 2;

#[derive(Parser)]
#[command(
    name = "portcullis",
    version,
    about = "Login protection by policy plugins, in front of an HTTP service",
    long_about = "Portcullis stands in front of an HTTP service. For each login attempt and each request it asks \
                  sandboxed WebAssembly policies what to do, and enforces what they say before the reply leaves: \
                  let a client auth id wait (429), ban a source (423).\n\n\
                  Out of the box: 2 s wait after a failed login, 5 failures in a row ban the source for an hour, \
                  two 404s within 20 s mark a scanner and ban it for an hour.",
    after_help = "Try it:  portcullis serve --client alice:wonderland\n         \
                  curl -i -u alice:wonderland http://127.0.0.1:8080/\n\n\
                  Exit codes: 0 done; 1 it ran and the answer is no; 2 usage or configuration."
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    ///
    /// Without --config it listens on 127.0.0.1:8080 with the default policies. A changed
    /// configuration, plugin or credentials file is put in force by itself, or at SIGHUP; SIGTERM
    /// lets requests under way finish and ends the server.
    Serve(ServeArgs),
    /// Load and try a configuration and its plugins, and print what would run
    Check(CheckArgs),
    /// Show what a plugin is: kinds, version, settings, imports, size and digest
    Inspect(InspectArgs),
    /// Begin a policy of your own: a folder that builds and passes its tests
    ///
    /// The policy in it is a small real one of that kind, with settings, state, native tests and
    /// scenarios. The folder's README.md says how it is built, tested, measured and served.
    New(new::NewArgs),
    /// Make a plugin of a WebAssembly module, as compilers for Rust and C leave it
    ///
    /// The module says by itself what it imports and exports: the SDK, or the bindings for C,
    /// have put the interface into it. What comes of it is loaded before it is written.
    Component(component::ComponentArgs),
    /// Run scenarios against a plugin or a whole configuration
    ///
    /// A scenario is a TOML file of events in virtual time and what they have to come to; the
    /// keys are in plugins/SCENARIOS.md. Each runs on instances that have judged before and on
    /// fresh ones: a policy that answers differently has hidden state.
    #[command(after_help = "Exit codes: 0 all passed; 1 some failed; 2 usage or configuration, a plugin that can't \
                            run, or a scenario that can't be read.")]
    Test(test::TestArgs),
    /// Put recorded traffic through policies: who would have waited or been banned
    ///
    /// Reads rportd.log, OpenSSH's lines, access logs of web servers, Portcullis' own logs or anything that a
    /// regular expression describes; plain, gzip or zstd. Time is that of the log.
    #[command(after_help = "Exit codes: 0 done; 1 a log couldn't be opened or read to its end, or is in no known \
                            format; 2 usage, configuration, or a plugin that can't run.")]
    Replay(replay::ReplayArgs),
    /// Measure what calls into plugins cost
    ///
    /// Plugins of one kind judge the same made-up events in turns, each with the state that it
    /// keeps: logins of which one in ten succeeds, or requests of which one in ten is a 404.
    /// Fuel is nearly the WebAssembly instructions of a call, and the same on every machine.
    #[command(after_help = "Exit codes: 0 done; 1 a plugin failed while it was measured; 2 usage, or a plugin that \
                            can't be loaded or refuses its settings.")]
    Bench(bench::BenchArgs),
    /// Show how a running server and its policies do
    #[command(after_help = OPERATE_HELP)]
    Status(operate::StatusArgs),
    /// List who is banned on a running server
    #[command(after_help = OPERATE_HELP)]
    Bans(operate::BansArgs),
    /// Ban a network by hand
    #[command(after_help = OPERATE_HELP)]
    Ban(operate::BanArgs),
    /// Lift bans
    #[command(after_help = OPERATE_HELP)]
    Unban(operate::UnbanArgs),
    /// List who waits on a running server
    #[command(after_help = OPERATE_HELP)]
    Waits(operate::WaitsArgs),
    /// End waits by hand
    #[command(after_help = OPERATE_HELP)]
    Unwait(operate::UnwaitArgs),
    /// Tell why an address is banned or a client has to wait
    ///
    /// What is in force, and from the journal the events that led to it, the oldest first.
    #[command(after_help = OPERATE_HELP)]
    Explain(operate::ExplainArgs),
    /// List what happened on a running server, the newest first, or follow what happens
    #[command(after_help = OPERATE_HELP)]
    Events(operate::EventsArgs),
    /// Load configuration, plugins and credentials anew, and say what came of it
    ///
    /// A changed file is put in force by itself; this does it now, and waits. What is wrong is
    /// refused with the reasons, and what ran goes on running.
    #[command(after_help = OPERATE_HELP)]
    Reload(operate::ReloadArgs),
    /// What policies in shadow would have done on a running server
    #[command(after_help = OPERATE_HELP)]
    Shadow(operate::ShadowArgs),
    /// Policies of a running server that have ordered too many bans
    #[command(after_help = OPERATE_HELP)]
    Guard(operate::GuardArgs),
    /// Watch a running server: rates, who is refused, what policies order and how long they take
    ///
    /// Keys: q ends, p pauses and goes on, s sorts lists by what came last or by what comes most.
    #[command(after_help = OPERATE_HELP)]
    Top(operate::TopArgs),
    /// Print what makes a shell complete commands, options and their values
    ///
    /// For bash, for example: portcullis completions bash > /etc/bash_completion.d/portcullis
    Completions(shell::CompletionsArgs),
    /// Write manual pages, one for each command
    Man(shell::ManArgs),
    /// Runs a command that a watch reads, so that it ends with the server
    #[command(name = watch::RUN, hide = true)]
    RunWatched(RunWatchedArgs),
}

/// Exit codes of commands that speak to a running server.
const OPERATE_HELP: &str = "Exit codes: 0 done; 1 no server answers, or it can't do that; 2 usage.";

#[derive(Args)]
struct ServeArgs {
    /// Configuration file (TOML); every key has a default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Address to listen on, instead of listen.address; can be repeated, port 0 takes a free one
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<String>,
    /// Service to stand in front of, instead of upstream.url
    #[arg(long, value_name = "URL")]
    upstream: Option<String>,
    /// A client that may log in; can be repeated. For trials only: the password shows in the process list
    #[arg(long, value_name = "ID:PASSWORD")]
    client: Vec<String>,
}

#[derive(Args)]
struct RunWatchedArgs {
    server: u32,
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

#[derive(Args)]
struct CheckArgs {
    /// Configuration file (TOML); without it the defaults are checked
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

#[derive(Args)]
struct InspectArgs {
    /// The plugin's file, or bundle:wait, bundle:ban or bundle:scanner
    #[arg(value_name = "PLUGIN.wasm")]
    plugin: String,
    /// Print JSON for machines
    #[arg(long)]
    json: bool,
}

/// What a command came to when it didn't do what was asked. The one place that
/// knows exit codes is [`Failed::exit_code`].
#[derive(Debug, thiserror::Error)]
enum Failed {
    /// The answer is no.
    #[error("{0}")]
    No(String),
    /// Wrong options.
    #[error("{0}")]
    Usage(String),
    /// A wrong configuration.
    #[error("{0}")]
    Config(#[from] ConfigError),
    /// A configuration that names something wrong.
    #[error("{0}")]
    Setup(#[from] crate::setup::SetupError),
    /// The machine doesn't play along.
    #[error("{0:#}")]
    Machine(#[from] anyhow::Error),
}

impl Failed {
    fn exit_code(&self) -> ExitCode {
        match self {
            Self::No(_) | Self::Machine(_) => EXIT_NO.into(),
            Self::Usage(_) | Self::Config(_) | Self::Setup(_) => EXIT_USAGE.into(),
        }
    }
}

/// Does what the command line says.
#[must_use]
pub fn main() -> ExitCode {
    // clap itself exits with 2 for wrong usage and 0 for help.
    let done = match Cli::parse().command {
        Command::Serve(args) => serve::serve(args),
        Command::Check(args) => check::check(&args),
        Command::Inspect(args) => inspect::inspect(&args),
        Command::New(args) => new::new(&args),
        Command::Component(args) => component::component(&args),
        Command::Test(args) => test::test(&args),
        Command::Replay(args) => replay::replay(&args),
        Command::Bench(args) => bench::bench(&args),
        Command::Top(args) => operate::top(&args),
        Command::Completions(args) => shell::completions(&args),
        Command::Man(args) => shell::man(&args),
        Command::RunWatched(args) => watched_command(&args),
        Command::Status(args) => operate::status(&args),
        Command::Bans(args) => operate::bans(&args),
        Command::Ban(args) => operate::ban(&args),
        Command::Unban(args) => operate::unban(&args),
        Command::Waits(args) => operate::waits(&args),
        Command::Unwait(args) => operate::unwait(&args),
        Command::Explain(args) => operate::explain(&args),
        Command::Events(args) => operate::events(&args),
        Command::Reload(args) => operate::reload(&args),
        Command::Shadow(args) => operate::shadow(&args),
        Command::Guard(args) => operate::guard(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            for line in failed.to_string().lines() {
                eprintln!("portcullis: {}", printable(line));
            }
            failed.exit_code()
        }
    }
}

/// Becomes the command; it comes back only if that can't be.
fn watched_command(args: &RunWatchedArgs) -> Result<(), Failed> {
    match watch::run(&args.command, args.server) {
        Ok(never) => match never {},
        Err(error) => Err(Failed::No(format!("{}: {error}", args.command.join(" ")))),
    }
}

/// Writes to the standard output all that a command has to say. `print!` panics
/// where nobody reads on, as after `| head -1`, and where the disk is full.
fn print(text: &str) -> Result<(), Failed> {
    let mut stdout = io::stdout().lock();
    // Flushed: at the program's end nobody would learn that the last line was lost.
    written(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()))
}

/// How writing to the standard output ended.
fn written(ended: io::Result<()>) -> Result<(), Failed> {
    match ended {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(error) => Err(Failed::Machine(anyhow::Error::new(error).context("can't write to the standard output"))),
        Ok(()) => Ok(()),
    }
}

fn overrides(args: &ServeArgs) -> Result<Overrides, Failed> {
    let listen = args.listen.iter().map(|text| (Override::Listen, text.as_str()));
    let upstream = args.upstream.iter().map(|text| (Override::Upstream, text.as_str()));
    let clients = args.client.iter().map(|text| (Override::Client, text.as_str()));
    Overrides::parse(listen.chain(upstream).chain(clients)).map_err(|mistakes| Failed::Usage(mistakes.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }
}
