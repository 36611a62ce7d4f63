//! Aligned columns as Go's text/tabwriter makes them with docker's settings: at least ten
//! columns wide, three spaces apart, blocks of lines aligned for themselves.

const MIN_WIDTH: usize = 10;
const PADDING: usize = 3;

/// docker's tables.
pub(crate) fn align(text: &str) -> String {
    align_with(text, MIN_WIDTH, PADDING)
}

/// Aligns the tab-separated cells of `text`. The last cell of a line belongs to no column.
pub(crate) fn align_with(text: &str, min_width: usize, padding: usize) -> String {
    let lines: Vec<Vec<&str>> = text
        .split('\n')
        .map(|line| line.split('\t').collect())
        .collect();
    let mut writer = Writer {
        lines: &lines,
        widths: Vec::new(),
        out: String::with_capacity(text.len() * 2),
        min_width,
        padding,
    };
    writer.format(0, lines.len());
    // Splitting made one line too many of the final line end.
    writer.out.pop();
    writer.out
}

struct Writer<'a> {
    lines: &'a [Vec<&'a str>],
    widths: Vec<usize>,
    out: String,
    min_width: usize,
    padding: usize,
}

impl Writer<'_> {
    fn format(&mut self, mut first: usize, last: usize) {
        let column = self.widths.len();
        let has_column = |line: &Vec<&str>| column + 1 < line.len();
        let mut at = first;
        while at < last {
            if !has_column(&self.lines[at]) {
                at += 1;
                continue;
            }
            // Lines above have no such column: they are done.
            self.write(first, at);
            first = at;
            let mut width = self.min_width;
            while at < last && has_column(&self.lines[at]) {
                let cell = self.lines[at][column].chars().count();
                width = width.max(cell + self.padding);
                at += 1;
            }
            self.widths.push(width);
            self.format(first, at);
            self.widths.pop();
            first = at;
        }
        self.write(first, last);
    }

    fn write(&mut self, first: usize, last: usize) {
        for line in &self.lines[first..last] {
            for (column, cell) in line.iter().enumerate() {
                self.out.push_str(cell);
                if let Some(width) = self.widths.get(column).filter(|_| column + 1 < line.len()) {
                    let pad = width.saturating_sub(cell.chars().count());
                    self.out.extend(std::iter::repeat_n(' ', pad));
                }
            }
            self.out.push('\n');
        }
    }
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn columns() {
        assert_eq!(
            align("A\tBB\tC\nlonger than ten\tx\ty\n"),
            "A                 BB        C\nlonger than ten   x         y\n"
        );
        assert_eq!(align("alone\n"), "alone\n");
        assert_eq!(
            align("a\tb\nplain\nlong long long\tb\n"),
            "a         b\nplain\nlong long long   b\n"
        );
    }
}
