//! \[pure\] The comparison as an SVG: a panel per kind of traffic, a bar per program, a line from the lowest to the highest
//! reading. It follows the reader's light or dark scheme.

use std::fmt::Write;

use super::case::Case;
use super::program::{FLOOR, Program};
use super::results::{Results, Spread};

const PANELS_PER_ROW: usize = 2;
const PANEL_WIDTH: f64 = 440.0;
const LABEL_WIDTH: f64 = 150.0;
const BAR_WIDTH: f64 = 180.0;
const ROW_HEIGHT: f64 = 22.0;
const BAR_HEIGHT: f64 = 13.0;
const TITLE_HEIGHT: f64 = 34.0;
const PANEL_GAP: f64 = 14.0;
const HEAD_HEIGHT: f64 = 52.0;
const MARGIN: f64 = 16.0;

const STYLE: &str = "\
text{font:12px system-ui,sans-serif;fill:#1f2328}.head{font-size:15px;font-weight:600}.sub{fill:#59636e}\
.case{font-weight:600}.page{fill:#ffffff}.floor{fill:#8c959f}.other{fill:#c69026}.xrtc{fill:#0969da}\
.spread{stroke:#1f2328;stroke-width:1.5;opacity:.65}.axis{stroke:#d1d9e0}\
@media(prefers-color-scheme:dark){text{fill:#e6edf3}.sub{fill:#9198a1}.page{fill:#0d1117}.floor{fill:#656c76}\
.other{fill:#d29922}.xrtc{fill:#4493f8}.spread{stroke:#e6edf3}.axis{stroke:#3d444d}}";

/// Draws the CPU time per packet of these cases.
pub(super) fn cost(results: &Results, cases: &[Case], machine: &str) -> String {
    let panels: Vec<Panel> = cases.iter().map(|case| Panel::of(results, case)).collect();
    let scale = panels.iter().flat_map(|panel| &panel.bars).map(|bar| bar.cost.high).fold(0.1, f64::max);
    let mut body = String::new();
    let mut top = HEAD_HEIGHT + MARGIN;
    for row in panels.chunks(PANELS_PER_ROW) {
        for (column, panel) in row.iter().enumerate() {
            panel.draw(&mut body, MARGIN + column as f64 * PANEL_WIDTH, top, scale);
        }
        top += row.iter().map(Panel::height).fold(0.0, f64::max) + PANEL_GAP;
    }
    let columns = panels.len().clamp(1, PANELS_PER_ROW) as f64;
    page(&body, columns * PANEL_WIDTH + 2.0 * MARGIN, top, machine)
}

fn page(body: &str, width: f64, height: f64, machine: &str) -> String {
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width:.0} {height:.0}\" width=\"{width:.0}\" height=\"{height:.0}\" role=\"img\">\n\
         <title>CPU time per forwarded packet</title>\n<style>{STYLE}</style>\n\
         <rect class=\"page\" width=\"100%\" height=\"100%\"/>\n\
         <text class=\"head\" x=\"{MARGIN}\" y=\"28\">CPU time per forwarded packet, µs (less is better)</text>\n\
         <text class=\"sub\" x=\"{MARGIN}\" y=\"47\">Bars: median. Lines: lowest to highest. ×: to the bare forwarder, same round. {}</text>\n\
         {body}</svg>\n",
        escape(machine)
    )
}

struct Panel {
    title: String,
    bars: Vec<Bar>,
}

struct Bar {
    program: Program,
    cost: Spread,
    ratio: Option<Spread>,
}

impl Panel {
    fn of(results: &Results, case: &Case) -> Panel {
        let bar = |program| {
            let cost = results.spread(case, program, |reading| reading.cpu_per_packet)?;
            Some(Bar { program, cost, ratio: results.ratio(case, program) })
        };
        Panel { title: case.title(), bars: results.programs().into_iter().filter_map(bar).collect() }
    }

    fn height(&self) -> f64 {
        TITLE_HEIGHT + ROW_HEIGHT * self.bars.len() as f64
    }

    fn draw(&self, out: &mut String, left: f64, top: f64, scale: f64) {
        text(out, "case", left, top + 16.0, "start", &self.title);
        let zero = left + LABEL_WIDTH;
        let (first, last) = (top + TITLE_HEIGHT - 6.0, top + self.height());
        let _ = writeln!(out, r#"<line class="axis" x1="{zero}" x2="{zero}" y1="{first}" y2="{last}"/>"#);
        for (i, bar) in self.bars.iter().enumerate() {
            bar.draw(out, zero, top + TITLE_HEIGHT + ROW_HEIGHT * i as f64, BAR_WIDTH / scale);
        }
    }
}

impl Bar {
    fn draw(&self, out: &mut String, zero: f64, top: f64, per_micro: f64) {
        let middle = top + BAR_HEIGHT / 2.0;
        let place = |value: f64| zero + value * per_micro;
        text(out, "", zero - 8.0, middle + 4.0, "end", self.program.title());
        let _ = writeln!(
            out,
            r#"<rect class="{}" x="{zero}" y="{top:.1}" width="{:.1}" height="{BAR_HEIGHT}"/>"#,
            self.class(),
            self.cost.median * per_micro
        );
        let _ = writeln!(
            out,
            r#"<line class="spread" x1="{:.1}" x2="{:.1}" y1="{middle:.1}" y2="{middle:.1}"/>"#,
            place(self.cost.low),
            place(self.cost.high)
        );
        let ratio = self.ratio.map_or_else(String::new, |ratio| format!("  {:.2}×", ratio.median));
        let value = format!("{:.2}{ratio}", self.cost.median);
        text(out, "", place(self.cost.high) + 8.0, middle + 4.0, "start", &value);
    }

    fn class(&self) -> &'static str {
        match self.program {
            program if program.is_xrtc() => "xrtc",
            FLOOR | Program::BareNaive | Program::BareGso => "floor",
            _ => "other",
        }
    }
}

fn text(out: &mut String, class: &str, x: f64, y: f64, anchor: &str, text: &str) {
    let text = escape(text);
    let _ =
        writeln!(out, r#"<text class="{class}" x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::results::Record;
    use super::*;
    use crate::bench::load::Reading;

    #[test]
    fn a_plot_has_a_bar_per_reading_and_hurts_no_parser() {
        let mut results = Results::default();
        for case in ["1200x1", "172x10", "1200x1,n=5000"] {
            for (program, cost) in [(Program::Bare, 4.0), (Program::XrtcHalf, 4.4), (Program::Coturn, 8.0)] {
                let reading = Reading { cpu_per_packet: Some(cost), ..Reading::default() };
                results.records.push(Record { case: case.parse().unwrap(), program, round: 0, reading });
            }
        }
        let svg = cost(&results, &results.cases(), "a <machine> & more");
        assert_eq!(svg.matches("<rect class=\"xrtc\"").count(), 3);
        assert_eq!(svg.matches("<rect ").count(), 1 + 9);
        assert!(svg.contains("a &lt;machine&gt; &amp; more") && svg.contains("4.40  1.10×"), "{svg}");
        // The longest bar takes the whole width, the floor half of it.
        assert!(svg.contains("width=\"180.0\"") && svg.contains("width=\"90.0\""), "{svg}");
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
        for element in ["text", "style", "title", "svg"] {
            let (opened, closed) = (format!("<{element}"), format!("</{element}>"));
            assert_eq!(svg.matches(&opened).count(), svg.matches(&closed).count(), "{element}");
        }
    }

    #[test]
    fn nothing_measured_is_an_empty_page() {
        assert!(cost(&Results::default(), &[], "m").ends_with("</svg>\n"));
    }
}
