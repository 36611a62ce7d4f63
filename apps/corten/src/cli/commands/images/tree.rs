//! `images --tree`: images with the platforms that their indexes list, as docker 28 draws them.

use dockerapi::ImageSummary;

use crate::cli::{out, tty, units};

/// Between columns.
const SPACING: usize = 3;
/// Where there is no terminal to ask, and the least that is used of one.
const WIDTH: usize = 80;
const LEAST: usize = 20;
/// The first column is not made narrower: others go.
const NARROWEST: usize = 12;
const WARNING: &str = "WARNING: This is an experimental feature. The output may change and \
                       shouldn't be depended on.";

const TITLE: &str = "\x1b[39m\x1b[1m";
const NAME: &str = "\x1b[34m\x1b[1m";
const NORMAL: &str = "\x1b[39m";
const FAINT: &str = "\x1b[39m\x1b[2m";
const END: &str = "\x1b[0m";

/// What the columns show.
struct Details {
    id: String,
    usage: String,
    content: String,
    in_use: bool,
}

struct Child {
    platform: String,
    available: bool,
    details: Details,
}

struct Top {
    names: Vec<String>,
    details: Details,
    children: Vec<Child>,
    created: i64,
}

/// A column: title, width, and whether it is right-aligned.
type Column = (&'static str, usize, bool);

/// Draws images; those without any name are left out unless `all`.
pub(super) fn draw(images: Vec<ImageSummary>, all: bool) {
    let dangling = |image: &ImageSummary| {
        let none = |names: &[String], none: &str| names.iter().all(|name| name == none);
        none(&image.repo_tags, "<none>:<none>") && none(&image.repo_digests, "<none>@<none>")
    };
    let wanted = images.into_iter().filter(|image| all || !dangling(image));
    let mut tops: Vec<Top> = wanted.map(top).collect();
    tops.sort_by_key(|top| std::cmp::Reverse(top.created));
    let is_terminal = out::is_terminal();
    let width = is_terminal.then(|| usize::from(tty::size().1));
    let width = width.filter(|width| *width > 0);
    out::print(&Drawing::new(is_terminal, width, &tops).text(&tops));
}

#[allow(
    clippy::cast_precision_loss,
    reason = "sizes are shown with three digits"
)]
fn top(image: ImageSummary) -> Top {
    let size = |size: i64| units::decimal_size(size as f64, 3, "");
    let short = |id: &str| {
        let hex = id.trim_start_matches("sha256:");
        hex.chars().take(12).collect::<String>()
    };
    let mut in_use = image.containers > 0;
    let mut content = 0;
    let mut children = Vec::new();
    for manifest in image.manifests.into_iter().flatten() {
        content += manifest.size.content;
        let Some(data) = manifest.image_data.filter(|_| manifest.kind == "image") else {
            continue;
        };
        let used = data.containers.is_some_and(|ids| !ids.is_empty());
        in_use |= used;
        children.push(Child {
            platform: data.platform.to_string(),
            available: manifest.available,
            details: Details {
                id: short(&manifest.id),
                usage: size(manifest.size.total),
                content: size(manifest.size.content),
                in_use: used,
            },
        });
    }
    Top {
        names: image.repo_tags,
        details: Details {
            id: short(&image.id),
            usage: size(image.size),
            content: size(content),
            in_use,
        },
        children,
        created: image.created,
    }
}

struct Drawing {
    is_terminal: bool,
    /// Columns of the terminal; 0 without one.
    full: usize,
    width: usize,
    columns: Vec<Column>,
    /// Some image's platform is in use: there is a mark for it.
    marks: bool,
    /// Some image has platforms: a line between images.
    spaced: bool,
}

impl Drawing {
    fn new(is_terminal: bool, terminal: Option<usize>, tops: &[Top]) -> Self {
        let full = terminal.unwrap_or(0);
        let width = if full == 0 { WIDTH } else { full }.max(LEAST);
        let mut columns: Vec<Column> = vec![
            ("IMAGE", 0, false),
            ("ID", 12, false),
            ("DISK USAGE", 10, true),
            ("CONTENT SIZE", 12, true),
            ("EXTRA", 5, false),
        ];
        let mut left = width;
        for index in 1..columns.len() {
            let taken = columns[index].1 + SPACING;
            if left < taken + NARROWEST {
                columns.truncate(index);
                break;
            }
            left -= taken;
        }
        let names = tops.iter().flat_map(|top| &top.names).map(String::len);
        let children = || tops.iter().flat_map(|top| &top.children);
        // In bytes, as docker counts.
        let platforms = children().map(|child| child.platform.len() + "└─ ".len());
        let widest = names.chain(platforms).fold("IMAGE".len(), usize::max);
        columns[0].1 = left.min(widest);
        Self {
            is_terminal,
            full,
            width,
            columns,
            marks: children().any(|child| child.details.in_use),
            spaced: children().next().is_some(),
        }
    }

    fn text(&self, tops: &[Top]) -> String {
        let mut text = String::new();
        match self.is_terminal {
            true => text.push_str(&format!("\x1b[93m{WARNING}{END}\n")),
            false => text.push_str(&format!("{WARNING}\n")),
        }
        text.push_str(&self.legend());
        text.push('\n');
        // Bold whatever reads it, as docker's.
        let titles = self.columns.iter();
        let titles = titles.map(|column| cell(*column, TITLE, column.0));
        text.push_str(&titles.collect::<Vec<_>>().join(&" ".repeat(SPACING)));
        text.push('\n');
        for top in tops {
            self.names(top, &mut text);
            self.details(&top.details, self.color(NORMAL), &mut text);
            if !top.children.is_empty() || self.spaced {
                text.push('\n');
            }
            for (number, child) in top.children.iter().enumerate() {
                let color = self.color(if child.available { NORMAL } else { FAINT });
                let branch = match number + 1 == top.children.len() {
                    true => "└─ ",
                    false => "├─ ",
                };
                let platform = format!("{branch}{}", child.platform);
                text.push_str(&cell(self.columns[0], color, &platform));
                self.details(&child.details, color, &mut text);
                text.push('\n');
            }
            text.push('\n');
        }
        text
    }

    fn color(&self, color: &'static str) -> &'static str {
        if self.is_terminal { color } else { "" }
    }

    fn legend(&self) -> String {
        let (legend, length) = match self.is_terminal {
            false => (" Info ->  U In Use ".to_owned(), 19),
            true => {
                let header =
                    format!("\x1b[1m\x1b[106m\x1b[30mi{END}{END} \x1b[96mInfo → {END}{END}");
                (format!("{header} {} In Use ", self.mark(true)), 21)
            }
        };
        format!(
            "{}{legend}\n",
            " ".repeat(self.width.saturating_sub(length))
        )
    }

    fn mark(&self, in_use: bool) -> String {
        let text = match (in_use, self.is_terminal) {
            (true, true) => return format!("\x1b[38;5;0m\x1b[48;5;14m U {END}"),
            (true, false) => "U",
            (false, true) => "   ",
            (false, false) => " ",
        };
        text.to_owned()
    }

    /// The longest first; the last stands next to the other columns.
    fn names(&self, top: &Top, text: &mut String) {
        let mut names = top.names.clone();
        names.sort_by_key(|name| std::cmp::Reverse(name.len()));
        let Some((last, others)) = names.split_last() else {
            let color = self.color(FAINT);
            text.push_str(&cell(self.columns[0], color, "<untagged>"));
            return;
        };
        let color = self.color(NAME);
        for name in others {
            let shown = if self.full == 0 {
                name.clone()
            } else {
                shorten(name, self.full)
            };
            text.push_str(&colored(color, &shown));
            text.push('\n');
        }
        text.push_str(&cell(self.columns[0], color, last));
    }

    fn details(&self, details: &Details, color: &str, text: &mut String) {
        let mark = match self.marks {
            true => self.mark(details.in_use),
            false => String::new(),
        };
        let values = [&details.id, &details.usage, &details.content];
        for (column, value) in self.columns.iter().skip(1).zip(values) {
            text.push_str(&" ".repeat(SPACING));
            text.push_str(&cell(*column, color, value));
        }
        if let Some(column) = self.columns.get(4) {
            text.push_str(&" ".repeat(SPACING));
            let shown = match (self.marks, self.is_terminal) {
                (false, _) => 0,
                (true, true) => 3,
                (true, false) => 1,
            };
            text.push_str(&mark);
            text.push_str(&" ".repeat(column.1 - shown));
        }
    }
}

fn colored(color: &str, text: &str) -> String {
    match color {
        "" => text.to_owned(),
        color => format!("{color}{text}{END}"),
    }
}

fn cell((_, width, right): Column, color: &str, text: &str) -> String {
    let length = text.chars().count();
    if length > width {
        return colored(color, &shorten(text, width));
    }
    let fill = " ".repeat(width - length);
    match right {
        true => format!("{fill}{}", colored(color, text)),
        false => format!("{}{fill}", colored(color, text)),
    }
}

/// Cut to so many characters, the last of which tells that it was cut.
fn shorten(text: &str, width: usize) -> String {
    if text.chars().count() < width {
        return text.to_owned();
    }
    let mut cut: String = text.chars().take(width.saturating_sub(1)).collect();
    cut.push('…');
    cut
}

#[cfg(test)]
mod tests {
    use super::{Drawing, top};

    /// What docker 28.2.2 draws of the same.
    #[test]
    fn as_docker_draws_it() {
        let digest = |two: &str| format!("sha256:{}", two.repeat(32));
        let manifest = |two: &str, platform: &str, available: bool, size: (i64, i64)| {
            let used = available.then(|| serde_json::json!(["x"]));
            serde_json::json!({
                "ID": digest(two), "Available": available, "Kind": "image",
                "Descriptor": {"mediaType": "a", "digest": digest(two), "size": 1},
                "Size": {"Content": size.0, "Total": size.1},
                "ImageData": {
                    "Platform": {"os": "linux", "architecture": platform},
                    "Size": {"Unpacked": 5}, "Containers": used,
                },
            })
        };
        let images = serde_json::json!([
            {"Id": digest("cd"), "RepoTags": ["bb:latest"], "Created": 2, "Size": 99},
            {"Id": digest("ab"), "RepoTags": ["zz:1", "127.0.0.1:5000/multi:1"], "Created": 1,
                "Size": 2_345_678, "Containers": 1, "Manifests": [
                    manifest("11", "amd64", true, (1234, 1_234_567)),
                    manifest("22", "arm64", false, (0, 0)),
                ]},
            {"Id": digest("ef"), "RepoDigests": ["x@y"], "Created": 0, "Size": 99},
        ]);
        let images: Vec<dockerapi::ImageSummary> = serde_json::from_value(images).expect("rows");
        let tops: Vec<_> = images.into_iter().map(top).collect();
        let plain = "\
WARNING: This is an experimental feature. The output may change and shouldn't be depended on.
                                                              Info ->  U In Use \n
\x1b[39m\x1b[1mIMAGE\x1b[0m                    \x1b[39m\x1b[1mID\x1b[0m             \x1b[39m\x1b[1mDISK USAGE\x1b[0m   \x1b[39m\x1b[1mCONTENT SIZE\x1b[0m   \x1b[39m\x1b[1mEXTRA\x1b[0m
bb:latest                cdcdcdcdcdcd          99B             0B        \n
127.0.0.1:5000/multi:1
zz:1                     abababababab       2.35MB         1.23kB   U    
├─ linux/amd64           111111111111       1.23MB         1.23kB   U    
└─ linux/arm64           222222222222           0B             0B        \n
<untagged>               efefefefefef          99B             0B        \n
";
        assert_eq!(Drawing::new(false, None, &tops).text(&tops), plain);
        let narrow = Drawing::new(true, Some(40), &tops).text(&tops);
        assert!(narrow.contains(
            "\x1b[39m\x1b[2m└─ linux/ar…\x1b[0m   \x1b[39m\x1b[2m222222222222\x1b[0m           \x1b[39m\x1b[2m0B\x1b[0m\n"
        ), "{narrow}");
        let legend = "\x1b[1m\x1b[106m\x1b[30mi\x1b[0m\x1b[0m \x1b[96mInfo → \x1b[0m\x1b[0m \x1b[38;5;0m\x1b[48;5;14m U \x1b[0m In Use \n";
        assert!(
            narrow.contains(&format!("\n{}{legend}\n", " ".repeat(19))),
            "{narrow}"
        );
    }
}
