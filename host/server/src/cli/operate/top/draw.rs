//! A view on a terminal of any size: what doesn't fit is left out from below. It
//! must not know where the view comes from.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style as Look};
use ratatui::text::Line;
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table};

use super::view::{OrderRow, Sort, View, time};

/// From so many columns on there is room for reasons and plugins.
const WIDE: u16 = 120;
/// Columns for whom something hits, where there is room for more: an IPv6 network.
const WHOM_WIDTH: u16 = 28;
/// Columns that the rates need.
const RATES_WIDTH: u16 = 37;
const KEYS: &str = "q quit   p pause   s sort";

/// Whether colours are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Colour,
}

impl Style {
    const fn bold(self) -> Look {
        Look::new().add_modifier(Modifier::BOLD)
    }

    /// For what isn't as it should be.
    const fn alarm(self) -> Look {
        match self {
            Self::Plain => self.bold(),
            Self::Colour => self.bold().fg(Color::Red),
        }
    }

    const fn quiet(self) -> Look {
        match self {
            Self::Plain => Look::new(),
            Self::Colour => Look::new().add_modifier(Modifier::DIM),
        }
    }

    const fn well(self, well: bool) -> Look {
        if well { Look::new() } else { self.alarm() }
    }
}

pub(super) fn draw(frame: &mut Frame<'_>, view: &View, style: Style) {
    let policies = u16::try_from(view.policies().len()).unwrap_or(u16::MAX);
    let health = view.health();
    let lines = u16::try_from(health.len()).unwrap_or(u16::MAX);
    let [head, traffic, judges, orders, around, keys] = Layout::vertical([
        Constraint::Length(2),
        Constraint::Length(12),
        Constraint::Length(policies.saturating_add(2)),
        Constraint::Min(3),
        Constraint::Length(lines.saturating_add(1)),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    let halves = |area: Rect| -> [Rect; 2] {
        Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(2).areas(area)
    };
    draw_head(frame, head, view, style);
    let narrow = Constraint::Length(RATES_WIDTH.min(frame.area().width / 2));
    let rates = if frame.area().width >= WIDE { Constraint::Fill(1) } else { narrow };
    let [left, right] = Layout::horizontal([rates, Constraint::Fill(1)]).spacing(2).areas(traffic);
    draw_rates(frame, left, view, style);
    draw_refused(frame, right, view, style);
    draw_policies(frame, judges, view, style);
    let [left, right] = halves(orders);
    let (bans, ordered) = view.bans();
    draw_orders(frame, left, &format!("bans: {bans} in force, ordered last"), &ordered, style);
    let (waits, ordered) = view.waits();
    draw_orders(frame, right, &format!("waits: {waits} in force, ordered last"), &ordered, style);
    let lines: Vec<_> = health.into_iter().map(|(line, well)| Line::styled(line, style.well(well))).collect();
    frame.render_widget(Paragraph::new(lines).block(section("health", style)), around);
    let sort = match view.sort {
        Sort::Latest => "latest first",
        Sort::Most => "most first",
    };
    frame.render_widget(Line::styled(format!("{KEYS} ({sort})"), style.quiet()), keys);
}

fn section(title: &str, style: Style) -> Block<'_> {
    Block::new()
        .borders(Borders::TOP)
        .border_style(style.quiet())
        .title(Line::styled(format!("{title} "), style.bold()))
}

fn draw_head(frame: &mut Frame<'_>, area: Rect, view: &View, style: Style) {
    let troubles = view.troubles();
    let state = match (&view.lost, view.paused, troubles.as_slice()) {
        (Some(why), ..) => Line::styled(format!("NO ANSWER: {why}"), style.alarm()),
        (None, true, _) => Line::styled("PAUSED", style.alarm()),
        (None, false, []) => Line::raw("ready: does all that it should"),
        (None, false, troubles) => Line::styled(format!("NOT READY: {}", troubles.join("; ")), style.alarm()),
    };
    frame.render_widget(Paragraph::new(vec![Line::styled(view.title(), style.bold()), state]), area);
}

fn header<const N: usize>(names: [&str; N], style: Style) -> Row<'static> {
    Row::new(names.map(|name| Cell::new(name.to_owned()))).style(style.quiet())
}

fn number(text: String) -> Cell<'static> {
    Cell::new(Line::raw(text).right_aligned())
}

fn draw_rates(frame: &mut Frame<'_>, area: Rect, view: &View, style: Style) {
    let rows = view.rates().into_iter().map(|rate| {
        Row::new([
            Cell::new(rate.name),
            number(format!("{:.1}", rate.per_second)),
            number(format!("{:.0}", rate.total)),
        ])
    });
    let widths = [Constraint::Length(18), Constraint::Length(10), Constraint::Fill(1)];
    let header = Row::new([Cell::new(""), number("PER SECOND".to_owned()), number("SO FAR".to_owned())]);
    let table = Table::new(rows, widths).header(header.style(style.quiet()));
    frame.render_widget(table.block(section("traffic", style)), area);
}

/// A text in so many columns; where it is cut that is seen.
fn fitted(text: String, columns: u16) -> Cell<'static> {
    let columns = usize::from(columns);
    if text.chars().count() <= columns {
        return Cell::new(text);
    }
    let cut: String = text.chars().take(columns.saturating_sub(1)).collect();
    Cell::new(format!("{cut}…"))
}

fn draw_refused(frame: &mut Frame<'_>, area: Rect, view: &View, style: Style) {
    let room = area.width.saturating_sub(10 + 6 + 7 + 3);
    let rows = view.refused().into_iter().map(|one| {
        Row::new([fitted(one.source, room), Cell::new(one.why), number(one.times.to_string()), number(one.ago)])
    });
    let widths = [Constraint::Fill(1), Constraint::Length(10), Constraint::Length(6), Constraint::Length(7)];
    let table = Table::new(rows, widths).header(header(["SOURCE", "WHY", " TIMES", "    AGO"], style));
    frame.render_widget(table.block(section("refused", style)), area);
}

fn draw_policies(frame: &mut Frame<'_>, area: Rect, view: &View, style: Style) {
    let wide = area.width >= WIDE;
    let rows = view.policies().into_iter().map(|policy| {
        let mut cells = vec![
            Cell::new(policy.name),
            Cell::new(policy.kind),
            number(format!("{:.1}", policy.calls)),
            number(time(policy.p50)),
            number(time(policy.p99)),
            number(format!("{:.0}", policy.orders_per_minute)),
            number(policy.failures.to_string()),
            Cell::new(policy.state).style(style.well(policy.well)),
        ];
        if wide {
            cells.insert(2, Cell::new(policy.plugin));
            cells.insert(8, number(policy.fallbacks.to_string()));
        }
        Row::new(cells)
    });
    let mut names = vec!["POLICY", "KIND", "  CALLS/S", "    P50", "    P99", "ORDERS/MIN", "FAILED", "STATE"];
    let mut widths = vec![
        Constraint::Fill(2),
        Constraint::Length(7),
        Constraint::Length(9),
        Constraint::Length(7),
        Constraint::Length(7),
        Constraint::Length(10),
        Constraint::Length(6),
        Constraint::Fill(1),
    ];
    if wide {
        names.insert(2, "PLUGIN");
        names.insert(8, "FELL BACK");
        widths.insert(2, Constraint::Fill(2));
        widths.insert(8, Constraint::Length(9));
    }
    let header = Row::new(names.into_iter().map(Cell::new)).style(style.quiet());
    frame.render_widget(Table::new(rows, widths).header(header).block(section("policies", style)), area);
}

fn draw_orders(frame: &mut Frame<'_>, area: Rect, title: &str, orders: &[OrderRow], style: Style) {
    let wide = area.width >= WIDE / 2;
    let others = 8 + 8 + 7 + 3;
    let room = if wide { WHOM_WIDTH } else { area.width.saturating_sub(others) };
    let rows = orders.iter().map(|order| {
        let mut cells = vec![
            fitted(order.whom.clone(), room),
            Cell::new(order.policy.clone()),
            number(order.length.clone()),
            number(order.ago.clone()),
        ];
        if wide {
            cells.insert(2, fitted(order.why.clone(), area.width.saturating_sub(others + 1 + room)));
        }
        Row::new(cells)
    });
    let mut names = vec!["WHOM", "BY", "    FOR", "    AGO"];
    let mut widths =
        vec![Constraint::Length(room), Constraint::Length(8), Constraint::Length(8), Constraint::Length(7)];
    if wide {
        names.insert(2, "WHY");
        widths.insert(2, Constraint::Fill(1));
    }
    let header = Row::new(names.into_iter().map(Cell::new)).style(style.quiet());
    frame.render_widget(Table::new(rows, widths).header(header).block(section(title, style)), area);
}
