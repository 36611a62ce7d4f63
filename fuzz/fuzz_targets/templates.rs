//! A template of a client over a document.
#![no_main]

use gotemplate::{Template, Value};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(template) = Template::parse("", text) else {
        return;
    };
    let document = serde_json::json!({
        "Name": "n", "List": [1, 2.5, "x", null, true], "Map": {"a": {"b": -1}}, "Empty": {}
    });
    let value = Value::from(document);
    let _ = template.execute(&value);
    let _ = template.execute_strict(&value);
    let _ = template.execute_header(&value);
});
