//! `portcullis top`: a running server, live. One thread looks at the server,
//! this one draws and listens to keys: a server that doesn't answer leaves the
//! keys alone.

mod draw;
mod look;
mod view;

use std::io::{self, IsTerminal as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use crossbeam_channel::{Receiver, Sender, bounded};
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::{DefaultTerminal, Terminal};
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::client::{Client, ServerArgs};
use crate::cli::{Failed, print};

use draw::Style;
use look::Look;
use view::{Sort, View};

/// Longest wait for a key before what else may have happened is looked at.
const KEY_TIME_MAX: Duration = Duration::from_millis(50);
/// Columns of a frame where nobody says how many there are.
const WIDTH_DEFAULT: u16 = 80;
/// Lines of a frame that is printed.
const HEIGHT_ONCE: u16 = 34;

#[derive(Args)]
pub(in crate::cli) struct TopArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Seconds between two looks at the server
    #[arg(long, value_name = "SECONDS", default_value = "1", value_parser = interval)]
    interval: Duration,
    /// Print one frame as text and end
    #[arg(long)]
    once: bool,
}

fn interval(text: &str) -> Result<Duration, String> {
    let seconds = text.parse::<f64>().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "expected seconds from 0.1 to 3600".to_owned())
}

pub(in crate::cli) fn top(args: &TopArgs) -> Result<(), Failed> {
    let client = args.server.client()?;
    // The first look is taken here: where there is no server, that is the answer.
    let first = Look::at(&client)?;
    if args.once {
        std::thread::sleep(args.interval);
        let mut view = View::of(first);
        view.next(Look::at(&client)?);
        return print(&frame(&view, super::width().unwrap_or(WIDTH_DEFAULT))?);
    }
    if !io::stdout().is_terminal() {
        return Err(Failed::Usage("top draws on a terminal; --once prints one frame".to_owned()));
    }
    let ended = Arc::new(AtomicBool::new(false));
    end_on_signals(Arc::clone(&ended))?;
    let looks = keep_looking(client, args.interval)?;
    let mut terminal = ratatui::try_init().context("can't draw on this terminal")?;
    let watched = watch(&mut terminal, View::of(first), &looks, &ended);
    let restored = ratatui::try_restore();
    watched.context("can't draw on this terminal")?;
    Ok(restored.context("can't leave the terminal as it was")?)
}

/// One frame as text.
fn frame(view: &View, width: u16) -> Result<String, Failed> {
    let mut terminal = Terminal::new(TestBackend::new(width, HEIGHT_ONCE)).context("can't draw")?;
    terminal.draw(|frame| draw::draw(frame, view, Style::Plain)).context("can't draw")?;
    let buffer = terminal.backend().buffer();
    let mut text = String::new();
    for line in buffer.content.chunks(usize::from(width)) {
        let line: String = line.iter().map(ratatui::buffer::Cell::symbol).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    Ok(format!("{}\n", text.trim_end()))
}

/// Looks at the server time and again, as long as anybody wants to know.
fn keep_looking(client: Client, interval: Duration) -> Result<Receiver<Result<Look, String>>, Failed> {
    let (looks, looked) = bounded(1);
    let look = move |looks: Sender<_>| {
        loop {
            std::thread::sleep(interval);
            if looks.send(Look::at(&client).map_err(|error| error.to_string())).is_err() {
                return;
            }
        }
    };
    std::thread::Builder::new().name("look".to_owned()).spawn(move || look(looks)).context("can't start")?;
    Ok(looked)
}

/// A signal ends it as the key does, so that the terminal is left as it was.
fn end_on_signals(ended: Arc<AtomicBool>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().context("can't start")?;
    let guard = runtime.enter();
    let kinds = [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()];
    let signals: Result<Vec<_>, _> = kinds.into_iter().map(signal).collect();
    let mut signals = signals.context("can't take signals")?;
    drop(guard);
    let wait = move || {
        runtime.block_on(async {
            let [terminate, interrupt, hang_up, quit] = signals.as_mut_slice() else { return };
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
                _ = hang_up.recv() => {}
                _ = quit.recv() => {}
            }
        });
        ended.store(true, Ordering::Relaxed);
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(wait).context("can't start")?;
    Ok(())
}

/// Draws what is seen until somebody has seen enough.
fn watch(
    terminal: &mut DefaultTerminal,
    mut view: View,
    looks: &Receiver<Result<Look, String>>,
    ended: &AtomicBool,
) -> io::Result<()> {
    let style =
        if std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty()) { Style::Plain } else { Style::Colour };
    let mut changed = true;
    while !ended.load(Ordering::Relaxed) {
        if changed {
            terminal.draw(|frame| draw::draw(frame, &view, style))?;
        }
        changed = false;
        for look in looks.try_iter() {
            match look {
                Ok(look) => view.next(look),
                Err(error) => view.lost(&error),
            }
            changed = true;
        }
        if event::poll(KEY_TIME_MAX)? {
            // Any other event means another size, or that something else was drawn over it.
            if let Event::Key(key) = event::read()?
                && key.kind != KeyEventKind::Release
            {
                match key {
                    KeyEvent { code: KeyCode::Char('q') | KeyCode::Esc, .. } => return Ok(()),
                    KeyEvent { code: KeyCode::Char('c'), modifiers: KeyModifiers::CONTROL, .. } => return Ok(()),
                    KeyEvent { code: KeyCode::Char('p' | ' '), .. } => view.pause(),
                    KeyEvent { code: KeyCode::Char('s'), .. } => view.sort = view.sort.next(),
                    _ => {}
                }
            }
            changed = true;
        }
    }
    Ok(())
}

impl Sort {
    const fn next(self) -> Self {
        match self {
            Self::Latest => Self::Most,
            Self::Most => Self::Latest,
        }
    }
}

#[cfg(test)]
mod tests;
