//! `pull --dry-run`: what a pull would fetch. Corten's own.

use serde_json::Value;

use crate::cli::failure::Outcome;
use crate::cli::{out, units};

/// Shows a plan; with `quiet` its last line only.
pub(super) fn show(plan: &Value, quiet: bool) -> Outcome {
    for line in lines(plan, quiet) {
        out::line(&line);
    }
    Ok(())
}

fn lines(plan: &Value, quiet: bool) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let size = |value: &Value| units::human_size(value.as_f64().unwrap_or_default());
    let layers = plan["Layers"].as_array().map_or(&[][..], Vec::as_slice);
    let mut lines = Vec::new();
    if !quiet {
        lines.push(format!(
            "{}: {}",
            text(&plan["Name"]),
            text(&plan["Platform"])
        ));
        lines.push(format!("Digest: {}", text(&plan["Digest"])));
        let mut rows = vec![["LAYER", "SIZE", "STATUS", "TO FETCH"].map(str::to_owned)];
        rows.extend(layers.iter().map(|layer| {
            let digest = text(&layer["Digest"]);
            let hex = digest.split_once(':').map_or("", |(_, hex)| hex);
            [
                hex.chars().take(12).collect(),
                size(&layer["Size"]),
                text(&layer["Status"]),
                size(&layer["Fetch"]),
            ]
        }));
        let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
        let (a, b, c) = (width(0), width(1), width(2));
        lines.extend(rows.iter().map(|[digest, size, status, fetch]| {
            format!("{digest:a$}   {size:b$}   {status:c$}   {fetch}")
        }));
    }
    let fetched = layers
        .iter()
        .filter(|layer| layer["Fetch"].as_u64() != Some(0))
        .count();
    lines.push(match plan["UpToDate"].as_bool() {
        Some(true) => "Image is up to date: nothing would be fetched".to_owned(),
        _ => format!(
            "Would fetch {} of {}, {fetched} of {} layers",
            size(&plan["Fetch"]),
            size(&plan["Size"]),
            layers.len()
        ),
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::lines;

    #[test]
    fn a_table_and_its_sum() {
        let plan = serde_json::json!({
            "Name": "alpine:3", "Digest": "sha256:ab", "Platform": "linux/amd64",
            "UpToDate": false, "Size": 3_000_000, "Fetch": 500_000,
            "Layers": [
                {"Digest": "sha256:0123456789abcdef", "Size": 1_000_000, "Status": "present",
                    "Fetch": 0},
                {"Digest": "sha256:fedcba9876543210", "Size": 2_000_000, "Status": "partial",
                    "Fetch": 500_000}],
        });
        let all = [
            "alpine:3: linux/amd64",
            "Digest: sha256:ab",
            "LAYER          SIZE   STATUS    TO FETCH",
            "0123456789ab   1MB    present   0B",
            "fedcba987654   2MB    partial   500kB",
            "Would fetch 500kB of 3MB, 1 of 2 layers",
        ];
        assert_eq!(lines(&plan, false), all);
        assert_eq!(lines(&plan, true), all[5..]);
    }
}
